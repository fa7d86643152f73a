"""The run loop: generate a batch of points, judge, commit.

While the engine answers a batch, the one before it is judged, checked and committed in a thread
that follows (:mod:`runner.run.units.follower`), one after the other and in the order of batches:
what is on the disk is what one thread would have put there.  The engine stays where it was, so
that an interrupt stops it at once; what it has answered by then is committed.

Denominators are closed here: every point of a unit gets a line, whatever fails.  What fails
for all points alike (no memory for the model, a judge that cannot be loaded) is not a
property of the points, and stops the run instead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.model.checkpoint import ContextOverflow, overflows
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.runner.engines.answers import closed, in_order
from safety_receipts.runner.engines.engine import (
    Completion,
    Decoding,
    Engine,
    EngineIdentity,
    Generation,
    Request,
)
from safety_receipts.runner.judges.judge import ResponseJudge, needs_device
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.prompts.rendering import RenderedPoint
from safety_receipts.runner.prompts.responses import ResponseReader
from safety_receipts.runner.run.journal import Journal, JournalEntry, JournalEvent
from safety_receipts.runner.run.judging import (
    JUDGED,
    AnsweredRequest,
    AnsweredUnit,
    JudgeableResponse,
    UnitAnswers,
    UnitStack,
    answered_requests,
    known,
)
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.runner.run.served import RunServers, note_answers
from safety_receipts.runner.run.stopping import UnscoredGuard, refuse_if_all_failed
from safety_receipts.runner.run.units.entries import EntryMaker
from safety_receipts.runner.run.units.follower import Follower


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

    def in_order(self, numbers: Sequence[int]) -> Iterator[AnsweredUnit]:
        """Yield the answers of batches in the order given.

        A judge whose weights are in this process has judged them by then: it takes turns with the
        engine, as neither is done sooner where both want one device, and kernels that run side by
        side on it need not give the same bits twice.  Any other judge, rule or server, is asked
        when a unit is called, while the engine goes on.
        """
        stack = self._stack
        in_turn = any(
            judge is not None and needs_device(judge) for judge in (stack.judge, stack.second_judge)
        )
        for answer in in_order(self._generation, numbers):
            batch = self.batches[answer.batch]
            requests = [self._requests[index] for index in batch]
            completions = closed(requests, answer)
            unit = partial(
                answered_requests,
                [completions[request.key] for request in requests],
                [self._queries[index] for index in batch],
                stack.reader,
                stack.judge,
                stack.second_judge,
            )
            del answer, completions  # their memory may be needed for the next one
            yield known(unit()) if in_turn else unit
            del unit

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


_FinishedUnit = Callable[[], list[JournalEntry]]
"""Reads and judges what is not read and judged yet, and returns a unit's entries; called once."""


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
        self._seed = seed
        self._stack = stack
        self._maker = EntryMaker(plan, plan_digest, secret)

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
        commits = _Commits(
            self._stack,
            journal,
            watch,
            clock,
            done,
            silence=None if accept_unscored else UnscoredGuard(len(points)),
            accept_failed=accept_failed,
        )
        with closing(self._answered(points, done)) as units, Follower() as follower:
            for unit in units:
                follower.do(partial(commits.add, unit, self._stack.replaced))
                del unit  # its memory may be needed for the next one

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
        with closing(self._answered(points, done)) as units:
            for unit in units:
                yield unit()

    def _answered(
        self, points: Sequence[RenderedPoint], done: AbstractSet[int]
    ) -> Generator[_FinishedUnit, None, None]:
        """Yield units as the engine has answered them; each is finished when it is called."""
        answers, units = self._units(points)
        with closing(answers):
            wanted = [unit for unit in units if any(p.index not in done for p in unit.points)]
            batches = [unit.batch for unit in wanted if unit.batch is not None]
            answered = answers.in_order(batches)
            for unit in wanted:
                if unit.batch is None:
                    yield partial(self._entries, unit.points, known(_overflowed(unit.points)))
                else:
                    yield partial(self._entries, unit.points, next(answered))

    def _entries(
        self, points: Sequence[RenderedPoint], answered: AnsweredUnit
    ) -> list[JournalEntry]:
        found = zip(points, answered(), strict=True)
        return [self._maker.entry(point, one) for point, one in found]

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


@dataclass
class _Commits:
    """Finishes units and commits them, one after the other; it is called by one thread."""

    stack: UnitStack
    journal: Journal
    watch: Callable[[CommittedCounts], None]
    clock: Callable[[], str]
    done: AbstractSet[int]
    """Indices of points that were finished before."""
    silence: UnscoredGuard | None
    """None: units of which nothing could be scored are accepted."""
    accept_failed: bool
    replaced: int = 0
    """Workers that took a dead one's place, as far as the journal says so."""

    def __post_init__(self) -> None:
        self._answered = bool(self.done)

    def add(self, unit: _FinishedUnit, replaced: int) -> None:
        """Finish a unit, and commit what is new of it.

        Args:
            unit: The unit.
            replaced: Workers that had taken a dead one's place when it was answered.

        Raises:
            ReceiptsError: Nothing can go on; nothing of the unit is committed.
        """
        entries = unit()
        if not self.accept_failed:
            refuse_if_all_failed(entries, answered=self._answered)
        if self.silence is not None:
            self.silence.hear(entries)
        self._answered = True
        new = [entry for entry in entries if entry.point.index not in self.done]
        again = [entry for entry in entries if entry.point.index in self.done]
        if isinstance(self.stack, RunStack):  # no server is asked by workers
            self.stack.servers.confirm()
            note_answers(self.journal, self.stack.servers, again, self.clock())
        self.journal.add(new, self.clock())
        while self.replaced < replaced:
            self.journal.note(JournalEvent.START, self.clock())
            self.replaced += 1
        self.watch(committed(new))


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


def run_of(resolved: ResolvedPlan, stack: UnitStack, secret: bytes, seed: Sha256) -> Run:
    """Return what runs the points of a plan.

    Args:
        resolved: The plan.
        stack: What it is run with.
        secret: The run's 32 random bytes.
        seed: The event's seed.
    """
    plan = resolved.predicate
    return Run(
        plan,
        plan_digest=digest_of(plan),
        seed=seed,
        stack=stack,
        secret=secret,
    )
