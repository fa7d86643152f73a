"""Moments as documents and command lines spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def moment(text: str) -> datetime:
    """Return the moment that an RFC 3339 text names, in UTC.

    Raises:
        ValueError: It names none.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError("is no time as in RFC 3339: 2026-01-31T23:59:59Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("names no moment that exists") from None


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


def spell(at: datetime) -> str:
    """Return a moment to the second, as documents have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
