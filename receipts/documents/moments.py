"""Moments as files that people write and command lines spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

RFC_3339: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
"""Pattern of a moment with its time zone (RFC 3339, section 5.6)."""
_RFC_3339: Final = re.compile(RFC_3339)


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


def spell(at: datetime) -> str:
    """Return a moment to the second, as documents have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
