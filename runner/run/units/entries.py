"""From what became of a point to its evidence line and its restricted record."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from safety_receipts.receipts.canonical import Sha256, decimal_string, point_id
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
    point_salt,
)
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.prompts.rendering import RenderedPoint
from safety_receipts.runner.prompts.responses import prefix_adopted
from safety_receipts.runner.run.journal import JournalEntry
from safety_receipts.runner.run.judging import AnsweredRequest

_MAX_ERROR = 400


@dataclass(frozen=True)
class EntryMaker:
    """Makes the entries of a run's journal."""

    plan: PlanPredicate
    """The plan."""
    plan_digest: Sha256
    """Its digest."""
    secret: bytes
    """The run's 32 random bytes, from which salts are derived."""

    def entry(self, point: RenderedPoint, one: AnsweredRequest) -> JournalEntry:
        """Return a finished point; its record opens its commitment, and contradicts nothing.

        Args:
            point: The point.
            one: What became of it.

        Raises:
            IntegrityError: The record contradicts itself, or the plan.
        """
        completion, text, judgement = one.completion, one.judgeable.text, one.judgement
        failed = completion.reason is not None
        outcome, reason = _outcome(one)
        error = completion.error or (judgement and judgement.error) or None
        record = RestrictedRecord(
            index=point.index,
            condition=point.condition.id,
            query=point.query_id,
            draw=point.draw,
            demonstrations=point.demonstrations,
            prompt=point.prompt,
            prompt_tokens=len(point.tokens),
            finish=completion.finish,
            response_tokens=completion.tokens,
            text=text,
            outcome=outcome,
            reason=reason,
            error=None if error is None else one_line_message(error),
            judge=recorded_judgement(judgement),
            second_judge=recorded_judgement(one.second),
            salt=point_salt(
                self.secret,
                self.plan_digest,
                point_id(point.condition.id, point.query_id, point.draw),
            ),
        )
        prefix = point.condition.response_prefix
        line = Point(
            commitment=record.commitment(),
            condition=point.condition.id,
            draw=point.draw,
            finish=completion.finish,
            index=point.index,
            labels=point.labels,
            outcome=outcome,
            prefix_adopted=(None if failed or prefix is None else prefix_adopted(text, prefix)),
            prompt_tokens=len(point.tokens),
            query=point.query_id,
            reason=reason,
            response_tokens=len(completion.tokens),
            source=source_of(point.query_id),
        )
        # Now, not after the last of a hundred thousand points.  The commitment was computed from
        # this record: nothing is learnt by computing it again.
        problem = record.contradiction(line, self.plan)
        if problem is not None:
            raise IntegrityError(f"point {point.index}: {problem}")
        return JournalEntry(line, record)


def one_line_message(message: str) -> str:
    """Return a message as a record can hold it."""
    return printable(" ".join(message.split()) or "no message", _MAX_ERROR)


def _outcome(one: AnsweredRequest) -> tuple[Outcome, Reason | None]:
    judgement = one.judgement
    if one.completion.reason is not None:
        return Outcome.FAILED, one.judgeable.reason
    if judgement is None:
        return Outcome.UNSCORED, one.judgeable.reason
    return judgement.outcome, judgement.reason


def recorded_judgement(judgement: Judgement | None) -> RecordedJudgement | None:
    """Return a judgement as a record holds it; None: none was made."""
    if judgement is None:
        return None
    margin = judgement.margin
    return RecordedJudgement(
        outcome=judgement.outcome,
        reason=judgement.reason,
        raw=judgement.raw,
        margin=None if margin is None else decimal_string(Fraction(margin), 6),
    )
