"""By which rule requests are compared for a bundle: the one that its plan names."""

from __future__ import annotations

from receipts.bundle import Bundle
from receipts.errors import ReceiptsError
from runner.corpora.same import FIRST_REQUEST_RULE, REQUEST_RULE, REQUEST_RULES


def request_rule_of(bundle: Bundle) -> str:
    """Return the rule that a bundle's plan names, if it is known; else today's.

    What cannot be read, or names another rule, is told by the checks.
    """
    try:
        named = bundle.plan.statement.predicate.request_rule or FIRST_REQUEST_RULE
    except ReceiptsError:
        return REQUEST_RULE
    return named if named in REQUEST_RULES else REQUEST_RULE
