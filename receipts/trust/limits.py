"""When a signature of a key counts: the limits of one key, and what is known of a statement's time.

Whoever steals a key can write any time into what they sign.  So a limit in the past is held to when
the signature was *seen* by somebody whom the reader trusts, and only then to what a statement says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from safety_receipts.receipts.documents.moments import spell


@dataclass(frozen=True)
class Seen:
    """The earliest moment at which a signature is known to have been there."""

    time: datetime
    """The moment, with its time zone."""
    by: str | None
    """Who shows it: ``a timestamp``; None: nobody does, and the moment is the reader's own."""


@dataclass(frozen=True)
class KeyLimits:
    """From when and until when a key signs, and whether it was revoked; None: without that limit.

    All moments have a time zone.
    """

    valid_from: datetime | None = None
    """Statements of earlier events were not signed with it."""
    valid_until: datetime | None = None
    """The last moment at which it signs."""
    revoked_at: datetime | None = None
    """The moment from which on anybody may hold it."""

    def __bool__(self) -> bool:
        """Whether there is a limit."""
        return self != KeyLimits()

    def and_those(self, other: KeyLimits) -> KeyLimits:
        """Return the limits that hold where both do."""
        return KeyLimits(
            _chosen(max, self.valid_from, other.valid_from),
            _chosen(min, self.valid_until, other.valid_until),
            _chosen(min, self.revoked_at, other.revoked_at),
        )

    def problem(self, seen: Seen, stated: datetime | None) -> str | None:
        """Return why a signature of the key does not count, or None: it does.

        Args:
            seen: When it is known to have been there.
            stated: The earliest time that the signed statement gives of its event; None: it gives
                none.
        """
        if self.revoked_at is not None and seen.time >= self.revoked_at:
            return f"was revoked at {spell(self.revoked_at)}, and {_known(seen, 'before')}"
        if self.valid_until is not None and seen.time > self.valid_until:
            return f"was valid until {spell(self.valid_until)}, and {_known(seen, 'by then')}"
        if self.valid_from is None:
            return None
        begins = f"is valid from {spell(self.valid_from)} on, and"
        if stated is not None and stated < self.valid_from:
            return f"{begins} this is of {spell(stated)}"
        if seen.time < self.valid_from:
            by = "it is" if seen.by is None else f"{seen.by} shows the signature at"
            return f"{begins} {by} {spell(seen.time)}"
        return None


def _chosen(
    choose: Callable[[datetime, datetime], datetime], one: datetime | None, other: datetime | None
) -> datetime | None:
    if one is None or other is None:
        return one or other
    return choose(one, other)


def _known(seen: Seen, when: str) -> str:
    if seen.by is None:
        return f"nothing shows that the signature was there {when}"
    return f"the earliest that shows the signature, {seen.by}, is of {spell(seen.time)}"
