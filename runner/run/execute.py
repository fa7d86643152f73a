"""The run loop: generate a batch of points, judge, commit.

Denominators are closed here: every point of a unit gets a line, whatever fails.  What fails
for all points alike (no memory for the model, a judge that cannot be loaded) is not a
property of the points, and stops the run instead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

from safety_receipts.receipts.canonical import Sha256, decimal_string, point_id
from safety_receipts.receipts.errors import IncompleteError, IntegrityError
from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import ContextOverflow, overflows
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
    point_salt,
)
from safety_receipts.runner.engines.answers import closed, in_order
from safety_receipts.runner.engines.engine import (
    Completion,
    Decoding,
    Engine,
    EngineIdentity,
    Generation,
    Request,
)
from safety_receipts.runner.judges.judge import Judgement, ResponseJudge
from safety_receipts.runner.prompts.rendering import RenderedPoint
from safety_receipts.runner.prompts.responses import ResponseReader, prefix_adopted
from safety_receipts.runner.run.journal import Journal, JournalEntry, JournalEvent
from safety_receipts.runner.run.judging import (
    JUDGED,
    AnsweredRequest,
    JudgeableResponse,
    UnitAnswers,
    UnitStack,
    answered_requests,
)
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.runner.run.served import RunServers, note_answers
from safety_receipts.runner.run.stopping import UnscoredGuard, refuse_if_all_failed

_MAX_ERROR = 400


@dataclass(frozen=True)
class RunStack:
    """What a run is made with."""

    engine: Engine
    """Generates."""
    judge: ResponseJudge
    """Judges."""
    second_judge: ResponseJudge | None
    """Gives a second opinion; None: nobody does."""
    reader: ResponseReader
    """Turns a response's token ids into the text that is judged."""

    @property
    def identity(self) -> EngineIdentity:
        """What its engine is made of."""
        return self.engine.identity

    @property
    def servers(self) -> RunServers:
        """The servers that it asks."""
        return RunServers.of(self.engine, self.judge, self.second_judge)

    @property
    def replaced(self) -> int:
        """Workers that took a dead one's place: there are none."""
        return 0

    def start(
        self, requests: Sequence[Request], queries: Sequence[str], decoding: Decoding
    ) -> StackAnswers:
        """Cut requests into batches; see :class:`runner.run.judging.UnitStack`."""
        return StackAnswers(self, requests, queries, self.engine.start(requests, decoding))


class StackAnswers:
    """Batches that are generated, read and judged in this process.

    The engine may have several batches in flight and finish them in any order; their answers are
    read and judged by one thread and in the order of batches, so that nothing depends on when they
    came.

    Args:
        stack: Answers.
        requests: What is asked.
        queries: What judges are told was asked, one for each.
        generation: The engine's.
    """

    def __init__(
        self,
        stack: RunStack,
        requests: Sequence[Request],
        queries: Sequence[str],
        generation: Generation,
    ) -> None:
        self.batches = generation.batches
        self._stack, self._generation = stack, generation
        self._requests, self._queries = requests, queries

    def in_order(self, numbers: Sequence[int]) -> Iterator[list[AnsweredRequest]]:
        """Yield the answers of batches in the order given."""
        for answer in in_order(self._generation, numbers):
            batch = self.batches[answer.batch]
            requests = [self._requests[index] for index in batch]
            completions = closed(requests, answer)
            yield answered_requests(
                [completions[request.key] for request in requests],
                [self._queries[index] for index in batch],
                self._stack.reader,
                self._stack.judge,
                self._stack.second_judge,
            )

    def close(self) -> None:
        """Give up what was not answered."""
        self._generation.close()


@dataclass(frozen=True)
class CommittedCounts:
    """What a commit added."""

    points: int
    """Points finished."""
    tokens: int
    """Their tokens, prompts and responses."""
    failed: int
    """Points among them that failed."""
    unscored: int
    """Points generated, and judged neither."""
    judged: int
    """Points judged refused or complied."""
    complied: int
    """Points judged complied."""


@dataclass(frozen=True)
class _Unit:
    """Points that are generated, judged and committed together."""

    points: Sequence[RenderedPoint]
    batch: int | None
    """The engine's batch; None: their prompts are too long for it."""


class Run:
    """One run of a sealed plan.

    Args:
        plan: The plan.
        plan_digest: Its digest.
        seed: The event's seed.
        stack: Generates and judges.
        secret: The run's 32 random bytes, from which salts are derived.
    """

    def __init__(
        self,
        plan: PlanPredicate,
        *,
        plan_digest: Sha256,
        seed: Sha256,
        stack: UnitStack,
        secret: bytes,
    ) -> None:
        self.plan = plan
        self._plan_digest = plan_digest
        self._seed = seed
        self._stack = stack
        self._secret = secret

    def execute(
        self,
        points: Sequence[RenderedPoint],
        journal: Journal,
        watch: Callable[[CommittedCounts], None],
        clock: Callable[[], str],
        *,
        accept_failed: bool = False,
        accept_unscored: bool = False,
    ) -> None:
        """Finish every point that is not finished.

        Args:
            points: All points of the plan, in order.
            journal: Takes what becomes of them.
            watch: Told of every commit.
            clock: Tells the time, as the wire spells it.
            accept_failed: Record units that failed whole, and go on.
            accept_unscored: Record units of which nothing could be scored, and go on.

        Raises:
            ReceiptsError: Nothing can go on; what was committed stays.
        """
        done = journal.done()
        answered = bool(done)
        silence = UnscoredGuard(len(points))
        replaced = 0
        with closing(self.finished(points, done)) as units:
            for entries in units:
                if not accept_failed:
                    refuse_if_all_failed(entries, answered=answered)
                if not accept_unscored:
                    silence.hear(entries)
                answered = True
                new = [entry for entry in entries if entry.point.index not in done]
                again = [entry for entry in entries if entry.point.index in done]
                if isinstance(self._stack, RunStack):  # no server is asked by workers
                    self._stack.servers.confirm()
                    note_answers(journal, self._stack.servers, again, clock())
                journal.add(new, clock())
                while replaced < self._stack.replaced:
                    journal.note(JournalEvent.START, clock())
                    replaced += 1
                watch(committed(new))

    def finished(
        self, points: Sequence[RenderedPoint], done: AbstractSet[int] = frozenset()
    ) -> Generator[list[JournalEntry], None, None]:
        """Yield the finished points of one unit after the other, in the units' order.

        Args:
            points: Points of the plan.
            done: Indices of points that were finished before.  A unit all of whose points are
                among them is left out; any other is finished whole, so that the engine's
                batches stay what they were.

        Raises:
            IncompleteError: A prompt is too long, and the plan says abort.
            ReceiptsError: Nothing can be generated, or judged, at all.
        """
        answers, units = self._units(points)
        with closing(answers):
            wanted = [unit for unit in units if any(p.index not in done for p in unit.points)]
            batches = [unit.batch for unit in wanted if unit.batch is not None]
            answered = answers.in_order(batches)
            for unit in wanted:
                found = _overflowed(unit.points) if unit.batch is None else next(answered)
                yield [
                    self._entry(point, one) for point, one in zip(unit.points, found, strict=True)
                ]

    def _units(self, points: Sequence[RenderedPoint]) -> tuple[UnitAnswers, list[_Unit]]:
        """Cut points into units; the cut depends on the points and the engine alone."""
        sampling, prompt = self.plan.sampling, self.plan.prompt
        asked: list[RenderedPoint] = []
        overflowing: list[RenderedPoint] = []
        for point in points:
            if not overflows(len(point.tokens), sampling.max_new_tokens, prompt.context_limit):
                asked.append(point)
            elif prompt.context_overflow is ContextOverflow.ABORT:
                raise overflow_error(point, self.plan)
            else:
                overflowing.append(point)
        requests = [request_of(point, sampling, self._seed) for point in asked]
        queries = [point.query for point in asked]
        answers = self._stack.start(requests, queries, decoding_of(sampling))
        units = [
            _Unit([asked[i] for i in batch], number) for number, batch in enumerate(answers.batches)
        ]
        if overflowing:
            units.append(_Unit(overflowing, None))
        return answers, units

    def _entry(self, point: RenderedPoint, one: AnsweredRequest) -> JournalEntry:
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
                self._secret,
                self._plan_digest,
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
        # Now, not after the last of a hundred thousand points.
        problem = record.contradiction(line, self.plan)
        if problem is not None:
            raise IntegrityError(f"point {point.index}: {problem}")
        return JournalEntry(line, record)


def _overflowed(points: Sequence[RenderedPoint]) -> list[AnsweredRequest]:
    """Return what becomes of points whose prompts are too long."""
    reason = Reason.CONTEXT_OVERFLOW
    return [
        AnsweredRequest(
            Completion(
                point.index,
                (),
                Finish.OVERFLOW,
                reason=reason,
                error=f"a prompt of {len(point.tokens):,} tokens",
            ),
            JudgeableResponse("", reason),
            None,
            None,
        )
        for point in points
    ]


def committed(entries: Sequence[JournalEntry]) -> CommittedCounts:
    """Return what entries add up to."""
    outcomes = [entry.point.outcome for entry in entries]
    return CommittedCounts(
        points=len(entries),
        tokens=sum(e.point.prompt_tokens + e.point.response_tokens for e in entries),
        failed=outcomes.count(Outcome.FAILED),
        unscored=outcomes.count(Outcome.UNSCORED),
        judged=sum(outcome in JUDGED for outcome in outcomes),
        complied=outcomes.count(Outcome.COMPLIED),
    )


def overflow_error(point: RenderedPoint, plan: PlanPredicate) -> IncompleteError:
    """Return the error for a prompt that is too long where the plan says abort."""
    return IncompleteError(
        f"condition {point.condition.id}, query {point.query_id}: a prompt of "
        f"{len(point.tokens):,} tokens and {plan.sampling.max_new_tokens:,} new ones exceed the "
        f"model's context of {plan.prompt.context_limit:,}",
        hint="show fewer or shorter demonstrations, or set context_overflow: fail_point",
    )


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
