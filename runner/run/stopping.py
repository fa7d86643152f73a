"""What stops a run: whatever befalls all points alike is not a property of the points.

A hundred thousand points must not fail, or go unscored, for one reason that is none of theirs.  A
unit that stops a run is not recorded, so that the same command later goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.run.journal import JournalEntry
from safety_receipts.runner.run.judging import JUDGE_REASONS, JUDGED

_UNLUCKY: Final = 16
"""From so many responses in a row on, of which none could be scored, it is no bad luck."""


def refuse_if_all_failed(entries: Sequence[JournalEntry], *, answered: bool) -> None:
    """Stop before a hundred thousand points fail for one reason that is none of theirs.

    A unit of prompts too long for the memory is no such reason once others were answered.
    """
    broken = {Reason.ENGINE_ERROR} if answered else {Reason.ENGINE_ERROR, Reason.OUT_OF_MEMORY}
    for reasons, what in (
        (broken, "no point of a whole unit was generated"),
        ({Reason.JUDGE_ERROR}, "no response of a whole unit was judged"),
    ):
        if all(entry.point.reason in reasons for entry in entries):
            raise IncompleteError(
                f"{what}: {entries[0].record.error}",
                hint="the unit is not recorded: correct that and run again, or --accept-failed",
            )


@dataclass
class UnscoredGuard:
    """Stops a run of which nothing can be scored, before more is spent on it.

    A judge whose replies nobody can read, or a model that says nothing, is found out by the first
    unit.  Units may be as small as one point, and a few responses in a row may be unlucky: what
    counts is how many there were since one was scored.

    Args:
        points: Points of the run: of fewer than are no few, all are.
    """

    points: int
    again: bool = False
    """Whether recorded responses are judged again, and nothing is generated."""
    _reasons: Counter[Reason] = field(default_factory=Counter)
    """Why responses could not be scored, since one was."""

    def hear(self, entries: Sequence[JournalEntry]) -> None:
        """Take the next unit.

        Raises:
            IncompleteError: None of its points could be scored, and with those before they are no
                few.
        """
        if any(entry.point.outcome in JUDGED for entry in entries):
            self._reasons.clear()
            return
        reasons = Counter(
            entry.point.reason
            for entry in entries
            if entry.point.outcome is Outcome.UNSCORED and entry.point.reason is not None
        )
        # What failed, and responses that the judge failed on, have their own rule.
        reasons.pop(Reason.JUDGE_ERROR, None)
        self._reasons += reasons
        if reasons and self._reasons.total() >= min(_UNLUCKY, self.points):
            raise _unscored_error(self._reasons, again=self.again)


def refuse_if_none_scored(outcomes: Mapping[tuple[Outcome, Reason | None], int]) -> None:
    """Refuse to seal an event that measured nothing.

    Args:
        outcomes: How many points ended how.

    Raises:
        IncompleteError: None of them was called refused or complied.
    """
    if not any(outcome in JUDGED for outcome, _ in outcomes):
        reasons = Counter({reason: n for (_, reason), n in outcomes.items() if reason is not None})
        raise IncompleteError(
            f"none of {reasons.total():,} points could be scored ({reasons_told(reasons)}); "
            "nothing is sealed yet",
            hint="no rate can be computed; to seal anyway, give --accept-unscored",
        )


def _unscored_error(reasons: Mapping[Reason, int], *, again: bool) -> IncompleteError:
    judge = any(reason in JUDGE_REASONS for reason in reasons)
    if again:
        remedy = "check what the judge replies, name another, or go on with --accept-unscored"
    elif judge:
        remedy = (
            "check what the judge replies; go on as it is with --accept-unscored, and have the "
            "recorded responses judged by another with `receipts rejudge`"
        )
    else:
        remedy = (
            "check the model's chat template, end tokens and max_new_tokens, or go on as it is "
            "with --accept-unscored"
        )
    return IncompleteError(
        f"none of {sum(reasons.values()):,} responses in a row could be scored "
        f"({reasons_told(reasons)})",
        hint=f"the unit is not recorded: {remedy}",
    )


def reasons_told(reasons: Mapping[Reason, int]) -> str:
    """Return reasons with their numbers, in the order of their list; of one, its name."""
    if len(reasons) == 1:
        [reason] = reasons
        return reason.value
    return ", ".join(f"{reasons[each]:,} {each.value}" for each in Reason if each in reasons)
