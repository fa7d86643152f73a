"""Which seed a server is given for a point: a rule that is sealed with the plan.

The noise is the server's own, so that nobody can derive the draws again; that the seed follows from
the sealed plan keeps an evaluator from trying seeds.
"""

from __future__ import annotations

from typing import assert_never

from safety_receipts.receipts.model.plan import ServerDialect

SEED_63 = "server-seed-63/1"
"""The first 63 bits of the point's seed of noise: vLLM and SGLang take no more."""
SEED_32 = "server-seed-32/1"
"""The point's seed of noise modulo 2^32 − 1: llama.cpp takes 32 bits, of which all ones mean "draw
one"."""


def noise_of(dialect: ServerDialect) -> str:
    """Return the rule by which seeds are made for a kind of server."""
    match dialect:
        case ServerDialect.VLLM | ServerDialect.SGLANG:
            return SEED_63
        case ServerDialect.LLAMACPP:
            return SEED_32
        case _:
            assert_never(dialect)


def server_seed(rule: str, seed: int) -> int:
    """Return the seed that a server is given.

    Args:
        rule: The rule.
        seed: The request's, 0 to 2^64 − 1.
    """
    return seed >> 1 if rule == SEED_63 else seed % (2**32 - 1)
