"""Which seed a server is given for a point: a rule that is sealed with the plan.

The noise is the server's own, so that nobody can derive the draws again; that the seed follows from
the sealed plan keeps an evaluator from trying seeds.
"""

from __future__ import annotations

from safety_receipts.receipts.events.dialects import FACTS, SEED_63
from safety_receipts.receipts.model.plan import ServerDialect


def noise_of(dialect: ServerDialect) -> str:
    """Return the rule by which seeds are made for a kind of server."""
    return FACTS[dialect].noise


def server_seed(rule: str, seed: int) -> int:
    """Return the seed that a server is given.

    Args:
        rule: The rule.
        seed: The request's, 0 to 2^64 − 1.
    """
    return seed >> 1 if rule == SEED_63 else seed % (2**32 - 1)
