"""How old what a gate is shown may be."""

from __future__ import annotations

from datetime import datetime, timedelta

from safety_receipts.receipts.documents.moments import moment, spell


def age_problem(what: str, ended: str, at: datetime, days: int | None) -> str | None:
    """Return why a moment is no fresh one: to come, too old, or none that exists; None: it is.

    Args:
        what: What ended then: ``the event``.
        ended: When, as a document has it.
        at: The moment of the decision.
        days: Largest age; None: any.
    """
    try:
        age = at - moment(ended)
    except ValueError:
        return f"{what} ended at {ended}, which is no moment that exists"
    if age < timedelta():
        return f"{what} ended at {ended}, which is still to come at {spell(at)}"
    if days is not None and age > timedelta(days=days):
        return f"{what} ended at {ended}, more than {days:,} days before {spell(at)}"
    return None
