"""How many false labels what is said of a demonstrated prefix stands.

Whether a response starts with the prefix is read off its text and is no label; whether it is a
refusal is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Final

from safety_receipts.receipts.findings.breakdown.shares import SHARE_PLACES, largest_share
from safety_receipts.receipts.model.findings import (
    ONE_IN_TWENTY,
    AdoptionRate,
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

    def holds(share: float) -> bool:
        refusals, compliances = finding.among_refusals, finding.among_compliances
        unjudged = counts.unscored + counts.failed
        # Labels that moved, of whichever side: a false one leaves one group and enters the other.
        # The share itself, not the float beside it: it may leave exactly 1 in 20.
        moved = Fraction(share).limit_denominator(10**SHARE_PLACES) * counts.planned
        if finding.verdict is FormatWord.DISSOCIATED:
            return min(_shares(refusals, compliances, moved, unjudged, up=False)) > _LIMIT
        most = max(_shares(refusals, compliances, moved, unjudged, up=True))
        least = min(_shares(compliances, refusals, moved, unjudged, up=False))
        return most < _LIMIT < least

    return largest_share(holds)


def _shares(
    group: AdoptionRate, other: AdoptionRate, moved: Fraction, unjudged: int, *, up: bool
) -> Iterator[Fraction]:
    """Yield the shares of adopters in a group at the corners of what false labels can do.

    A share is a ratio of linear functions of how many leave and how many enter, and so is largest
    and smallest at corners.

    Args:
        group: The group.
        other: The other one.
        moved: Most labels that are false.
        unjudged: Points that were not judged: they may belong to the group, and adopt or not.
        up: Whether the share is to rise.
    """
    adopters, others = group.adopted, group.responses - group.adopted
    leaving = Fraction(others if up else adopters)
    entering = Fraction(other.adopted if up else other.responses - other.adopted)
    for first, joined in product((True, False), (0, unjudged)):
        left = min(leaving, moved) if first else max(Fraction(0), moved - entering)
        left = min(leaving, left)
        came = min(entering, moved - left) + joined
        inside = adopters + came if up else adopters - left
        total = group.responses - left + came
        yield inside / total if total else Fraction(1 if up else 0)
