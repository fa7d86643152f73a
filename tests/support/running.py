"""What tests of runs share: a quiet watcher, faults to put around engine and judge, checks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import InterruptedByUserError, UsageError
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.log.recording import RecordedEntry, StatementLog
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.point import Outcome, Point, Reason
from safety_receipts.receipts.unfinished import RUN_PROMPTS
from safety_receipts.runner.engines.answers import SynchronousGeneration
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    Engine,
    EngineIdentity,
    Generation,
    Margins,
    Request,
)
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.judge import Exchange, Judgement, ResponseJudge
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.event import EventRunner, RunOptions
from safety_receipts.runner.run.execute import CommittedCounts
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.sealed import SealedRun
from safety_receipts.runner.run.stack import load_stack
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

ROWS = 64
"""Most rows of a batch: few, so that a small study has several."""
Study = Callable[..., ResolvedPlan]
"""Writes and resolves a small study."""


class Quiet:
    """Hears how a run goes on, and counts the commits."""

    def __init__(self) -> None:
        self.commits: list[CommittedCounts] = []
        self.before = 0
        self.begun = False
        self.logged_entries: list[RecordedEntry] = []
        self.notes: list[str] = []

    def counting(self, done: int, total: int) -> None:
        pass

    def noted(self, what: str) -> None:
        self.notes.append(what)

    def running(self, done: int, total: int) -> None:
        self.before, self.begun = done, True

    def committed(self, what: CommittedCounts) -> None:
        self.commits.append(what)

    def logged(self, what: RecordedEntry) -> None:
        self.logged_entries.append(what)


class Faulty:
    """An engine in whose answers a test can put faults."""

    def __init__(self, engine: Engine, fault: Callable[[Completion], Completion | None]) -> None:
        self._engine = engine
        self._fault = fault
        self.batches = 0
        """How many it was asked for."""

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        inner = self._engine.start(requests, decoding)

        def answer(number: int) -> Iterator[Completion]:
            self.batches += 1
            inner.submit(number)
            return self.changed(inner.collect().completions)

        return SynchronousGeneration(inner.batches, answer)

    def changed(self, completions: Iterable[Completion]) -> Iterator[Completion]:
        for completion in completions:
            changed = self._fault(completion)
            if changed is not None:
                yield changed

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        return self._engine.score(requests, decoding)


class Spy:
    """Keeps the sizes of the batches that an engine cuts."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, engine: Engine) -> Engine:
        assert isinstance(engine, TransformersEngine)
        plain = engine.start

        def start(requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
            generation = plain(requests, decoding)
            self.batches += [len(batch) for batch in generation.batches]
            return generation

        engine.start = start  # type: ignore[method-assign]
        return engine


class FaultyJudge:
    """A judge whose answers a test can replace."""

    def __init__(
        self, judge: ResponseJudge, fault: Callable[[list[Judgement]], list[Judgement]]
    ) -> None:
        self._judge = judge
        self._fault = fault
        self.identity = judge.identity

    def judge_many(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        return self._fault(self._judge.judge_many(exchanges))


def run(
    resolved: ResolvedPlan,
    folder: Path,
    signer: Signer,
    *,
    options: RunOptions | None = None,
    engine: Callable[[Engine], Engine] = lambda engine: engine,
    judge: Callable[[ResponseJudge], ResponseJudge] = lambda judge: judge,
    second_judge: Callable[[ResponseJudge], ResponseJudge] = lambda judge: judge,
    watcher: Quiet | None = None,
    log: StatementLog | None = None,
) -> SealedRun:
    """Run a plan on the CPU, with what a test puts around engine and judge."""

    def make_stack(plan: ResolvedPlan, memory: int | None) -> LoadedStack:
        loaded = load_stack(plan, device="cpu", memory=memory, max_rows=ROWS)
        second = loaded.stack.second_judge
        stack = replace(
            loaded.stack,
            engine=engine(loaded.stack.engine),
            judge=judge(loaded.stack.judge),
            second_judge=None if second is None else second_judge(second),
        )
        return replace(loaded, stack=stack)

    options = options or RunOptions(memory=2**26)
    return EventRunner(resolved, folder, signer, options, make_stack, watcher or Quiet(), log).run()


def verified(
    folder: Path,
    signer: Signer,
    resolved: ResolvedPlan | None = None,
    *,
    faulty: Sequence[str] = (),
) -> list[Point]:
    """Return the points of a bundle that holds at every level there is.

    Args:
        folder: The bundle.
        signer: Whose key is trusted.
        resolved: The plan it was run from, to hold its artifacts and all its points to; None:
            commitments are opened, and level bound is not reached.
        faulty: Checks of labels that fail, as the run's judge was not the rule that it is named as.
    """
    found = verify_bundle(
        Bundle(folder),
        evaluators=TrustSet([signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=None if resolved is None else HeldArtifacts(resolved, points=None),
    )
    assert [c.name for c in found.checks if c.status is CheckStatus.FAILED] == list(faulty)
    bound = resolved is not None and not faulty
    assert found.level is (CheckLevel.BOUND if bound else CheckLevel.CONSISTENT)
    assert {c.name: c.status for c in found.checks}["commitments"] is CheckStatus.PASSED
    return list(Bundle(folder).points())


def closed(folder: Path) -> Counter[tuple[Outcome, Reason | None]]:
    """Hold the denominators of every condition; return outcomes and reasons."""
    points = list(Bundle(folder).points())
    receipt = Bundle(folder).receipt.statement.predicate
    assert len(points) == receipt.evidence.size
    for condition in receipt.conditions:
        blocks = [condition.counts, *(source.counts for source in condition.by_source)]
        for counts in blocks:
            assert counts.planned == counts.generated + counts.failed
            assert counts.generated == counts.refused + counts.complied + counts.unscored
    return Counter((point.outcome, point.reason) for point in points)


def interrupted(resolved: ResolvedPlan, folder: Path, signer: Signer, **options: Any) -> int:
    """Run one unit of a plan, and stop; return how many points are kept."""
    watcher, faulty = Quiet(), list[Faulty]()

    def stop(completion: Completion) -> Completion:
        if faulty[0].batches > 1:  # the first is behind the engine, and is committed all the same
            raise KeyboardInterrupt
        return completion

    def stopping(engine: Engine) -> Engine:
        faulty.append(Faulty(engine, stop))
        return faulty[0]

    with pytest.raises(InterruptedByUserError, match=r"\d+ of 96 points are kept"):
        run(
            resolved,
            folder,
            signer,
            engine=stopping,
            watcher=watcher,
            **options,
        )
    (first,) = watcher.commits
    assert ROWS <= first.points < 96
    return first.points


def run_with_kept_prompts(
    resolved: ResolvedPlan,
    folder: Path,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
    **options: Any,
) -> None:
    """Run a plan, or go on with it; no prompt is rendered, and none is kept when it is sealed."""

    def again(_renderer: Renderer, index: int) -> RenderedPoint:
        raise AssertionError(f"point {index} is rendered again")

    watcher = Quiet()
    with monkeypatch.context() as patched:
        patched.setattr(Renderer, "render", again)
        run(resolved, folder, signer, watcher=watcher, **options)
    assert watcher.notes == []
    assert not (folder / RUN_PROMPTS).exists()
    verified(folder, signer, resolved)


def not_loaded(_: object) -> Any:
    """Stand for an engine, or a judge, that cannot be loaded."""
    raise UsageError("cannot be loaded")


def answers(folder: Path) -> list[tuple[object, ...]]:
    """Return what a bundle says of each point, without what its run's secret salts."""
    lines = [json.loads(point.to_line()) for point in Bundle(folder).points()]
    for line in lines:
        del line["commitment"]  # its salt is the run's
    tokens = [record.response_tokens for record in Bundle(folder).responses()]
    return list(zip([json.dumps(line) for line in lines], tokens, strict=True))
