"""How many false labels what is said of a demonstrated prefix stands.

Whether a response starts with the prefix is read off its text and is no label; whether it is a
refusal is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from safety_receipts.receipts.findings.breakdown.shares import SHARE_PLACES, largest_share
from safety_receipts.receipts.model.findings import (
    ONE_IN_TWENTY,
    FormatFinding,
    FormatWord,
)
from safety_receipts.receipts.model.receipt import Counts

_LIMIT: Final = Fraction(ONE_IN_TWENTY)


def adoption_share(finding: FormatFinding, counts: Counts) -> str | None:
    """Return the largest share of false labels at which a word on adoption still holds.

    Args:
        finding: Says that refusals adopt the prefix, or that compliances alone do.
        counts: Of its condition.
    """
    refusals, compliances = finding.among_refusals, finding.among_compliances
    dissociated = finding.verdict is FormatWord.DISSOCIATED

    def holds(share: float) -> bool:
        # In whole parts of a label, and of the share itself, not of the float beside it: it may
        # leave exactly 1 in 20.
        parts = 10**SHARE_PLACES
        false = round(share * parts)
        # Labels that moved, of each side: a false one leaves one group and enters the other.
        moved = false * counts.planned
        unjudged = parts * (counts.unscored + counts.failed)
        one, other = (
            (group.adopted * parts, group.responses * parts) for group in (refusals, compliances)
        )
        if dissociated:
            return all(over > 0 for over in _excesses(one, other, moved, unjudged, up=False))
        return all(over < 0 for over in _excesses(one, other, moved, unjudged, up=True)) and all(
            over > 0 for over in _excesses(other, one, moved, unjudged, up=False)
        )

    return largest_share(holds)


def _excesses(
    group: tuple[int, int], other: tuple[int, int], moved: int, unjudged: int, *, up: bool
) -> Iterator[int]:
    """Yield by how much adopters are too many for 1/20, at the corners of what false labels do.

    Those who leave a group and those who enter it are false labels of two kinds, and rates that are
    confirmed both ways bound each kind by itself. A share rises with both, or falls with both.

    Args:
        group: Adopters and all of the group.
        other: Those of the other one.
        moved: Most labels of each kind that are false.
        unjudged: Points that were not judged: they may belong to the group, and adopt or not.
        up: Whether the share is to rise.

    Yields:
        Whole numbers with the sign of share less 1/20; an empty group adopts throughout, or not
        at all, whichever is worse.
    """
    adopters, responses = group
    leaving = responses - adopters if up else adopters
    entering = other[0] if up else other[1] - other[0]
    left = min(leaving, moved)
    for joined in (0, unjudged):
        came = min(entering, moved) + joined
        inside = adopters + came if up else adopters - left
        total = responses - left + came
        if total:
            yield inside * _LIMIT.denominator - total * _LIMIT.numerator
        else:
            yield 1 if up else -1
