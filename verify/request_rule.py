"""By which rule requests are compared for a bundle: the one that its plan names."""

from __future__ import annotations

from receipts.bundle import Bundle
from receipts.errors import ReceiptsError
from runner.corpora.same import REQUEST_RULE, known_rule


def request_rule_of(bundle: Bundle) -> str:
    """Return the rule that a bundle's plan names, if it is known; else today's.

    What cannot be read, or names another rule, is told by the checks.
    """
    try:
        return known_rule(bundle.plan.statement.predicate.request_rule)
    except ReceiptsError:
        return REQUEST_RULE
