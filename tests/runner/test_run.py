"""A run from plan file to verified bundle, whatever fails on the way.

The checkpoints are tiny and random, the engine and the judges are the real ones; faults are
put between them and the run.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies import write_jsonl, write_study

from receipts.bundle import Bundle
from receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    InterruptedByUserError,
    MalformedError,
    UsageError,
)
from receipts.keys import Signer, TrustSet, generate
from receipts.model.check import CheckLevel, CheckStatus
from receipts.model.point import Finish, Outcome, Point, Reason
from runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    Engine,
    EngineIdentity,
    Margins,
    Request,
)
from runner.engines.transformers_engine import TransformersEngine
from runner.event import EventRunner, LoadedStack, RunOptions, Sealed
from runner.execute import Committed
from runner.journal import JOURNAL
from runner.judges.judge import Exchange, Judge, Judgement
from runner.plan import ResolvedPlan, resolve_plan
from runner.stack import load_stack
from verify.integrity import verify_bundle
from verify.selftest import edit_statement


class Quiet:
    """Hears how a run goes on, and counts the commits."""

    def __init__(self) -> None:
        self.commits: list[Committed] = []
        self.before = 0

    def counting(self, done: int, total: int) -> None:
        pass

    def running(self, done: int, total: int) -> None:
        self.before = done

    def committed(self, what: Committed) -> None:
        self.commits.append(what)


class Faulty:
    """An engine in whose answers a test can put faults."""

    def __init__(self, engine: Engine, fault: Callable[[Completion], Completion | None]) -> None:
        self._engine = engine
        self._fault = fault
        self.calls = 0

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    def generate(
        self, requests: Sequence[Request], decoding: Decoding = GREEDY
    ) -> Iterator[Completion]:
        self.calls += 1
        for completion in self._engine.generate(requests, decoding):
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
        cut = engine.batches

        def generate(
            requests: Sequence[Request], decoding: Decoding = GREEDY
        ) -> Iterator[Completion]:
            self.batches += [len(batch) for batch in cut(requests)]
            return plain(requests, decoding)

        plain = engine.generate
        engine.generate = generate  # type: ignore[method-assign]
        return engine


class FaultyJudge:
    """A judge whose answers a test can replace."""

    def __init__(self, judge: Judge, fault: Callable[[list[Judgement]], list[Judgement]]) -> None:
        self._judge = judge
        self._fault = fault
        self.identity = judge.identity

    def judge_many(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        return self._fault(self._judge.judge_many(exchanges))


Study = Callable[..., ResolvedPlan]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Write and resolve a small study."""

    def make(**settings: object) -> ResolvedPlan:
        return resolve_plan(write_study(tmp_path / "study", **settings))  # type: ignore[arg-type]

    return make


@pytest.fixture
def signer() -> Signer:
    return generate()


def run(
    resolved: ResolvedPlan,
    folder: Path,
    signer: Signer,
    *,
    options: RunOptions | None = None,
    engine: Callable[[Engine], Engine] = lambda engine: engine,
    judge: Callable[[Judge], Judge] = lambda judge: judge,
    second_judge: Callable[[Judge], Judge] = lambda judge: judge,
    watcher: Quiet | None = None,
) -> Sealed:
    """Run a plan on the CPU, with what a test puts around engine and judge."""

    def make_stack(plan: ResolvedPlan, memory: int | None) -> LoadedStack:
        loaded = load_stack(plan, device="cpu", memory=memory)
        second = loaded.stack.second_judge
        stack = replace(
            loaded.stack,
            engine=engine(loaded.stack.engine),
            judge=judge(loaded.stack.judge),
            second_judge=None if second is None else second_judge(second),
        )
        return replace(loaded, stack=stack)

    options = options or RunOptions(memory=2**26)
    return EventRunner(resolved, folder, signer, options, make_stack, watcher or Quiet()).run()


def verified(folder: Path, signer: Signer) -> list[Point]:
    """Return the points of a bundle that holds at every level there is."""
    found = verify_bundle(
        Bundle(folder), evaluators=TrustSet([signer.public]), wanted=CheckLevel.BOUND
    )
    assert [c.name for c in found.checks if c.status is CheckStatus.FAILED] == []
    assert found.level is CheckLevel.CONSISTENT
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


def test_a_small_study_is_run_sealed_and_verified(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, watcher = study(), Quiet()
    sealed = run(resolved, tmp_path / "bundle", signer, watcher=watcher)
    points = verified(tmp_path / "bundle", signer)
    assert len(points) == resolved.predicate.points == 4 * 8 * 2
    assert (sealed.failed, sealed.before) == (0, False)
    assert sum(commit.points for commit in watcher.commits) == len(points)
    receipt = Bundle(tmp_path / "bundle").receipt.statement.predicate
    assert not receipt.instrument
    assert (receipt.event.restarts, receipt.event.retries, receipt.event.looks) == (0, 0, 0)
    assert sorted(file.name for file in (tmp_path / "bundle").iterdir()) == [
        "plan.dsse.json",
        "points.jsonl.zst",
        "receipt.dsse.json",
        "responses.jsonl.zst",
    ]


@pytest.mark.parametrize("family", ["olmo3", "gpt-oss", "gemma4"])
def test_other_architectures_need_nothing_but_their_folder(
    study: Study, tmp_path: Path, signer: Signer, family: str
) -> None:
    resolved = study(
        family=family,
        experiments=(
            "fixed_harmful: {harmful: [0, 2], benign: [2]}",
            "contexts: {harmful: 1, benign: 1, gap_turns: 1, forms: "
            "[turns, conversation, retrieved, memory, tool, script, policy]}",
        ),
        queries=2,
        controls=1,
    )
    run(resolved, tmp_path / "bundle", signer)
    points = verified(tmp_path / "bundle", signer)
    assert all(point.finish in (Finish.STOP, Finish.LENGTH) for point in points)


@pytest.mark.parametrize(
    "sampling",
    [
        "{method: greedy, max_new_tokens: 6}",
        "{method: seeded, temperature: 0.8, top_p: 0.9, top_k: 40, max_new_tokens: 6}",
    ],
)
def test_other_batches_give_the_same_answers(
    study: Study, tmp_path: Path, signer: Signer, sampling: str
) -> None:
    resolved = study(sampling=sampling, experiments=("fixed_harmful: {harmful: [2], benign: [2]}",))
    answers, batches = [], []
    for name, memory in (("wide", 2**28), ("narrow", 2**21)):
        spy = Spy()
        options = RunOptions(memory=memory)
        run(resolved, tmp_path / name, signer, options=options, engine=spy)
        records = Bundle(tmp_path / name).responses()
        answers.append([(record.index, record.response_tokens) for record in records])
        batches.append(spy.batches)
    assert len(batches[0]) < len(batches[1]) / 2
    assert answers[0] == answers[1]


def test_what_the_engine_leaves_out_fails_and_is_counted(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def leave_out(completion: Completion) -> Completion | None:
        return None if completion.key % 7 == 3 else completion

    resolved = study()
    options = RunOptions(memory=2**26, accept_failed=True)
    sealed = run(
        resolved,
        tmp_path / "bundle",
        signer,
        options=options,
        engine=lambda engine: Faulty(engine, leave_out),
    )
    verified(tmp_path / "bundle", signer)
    outcomes = closed(tmp_path / "bundle")
    assert outcomes[Outcome.FAILED, Reason.ENGINE_ERROR] == len(range(3, 64, 7)) == sealed.failed


def test_an_engine_that_raises_fails_what_it_left_unanswered(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def break_down(completion: Completion) -> Completion:
        if completion.key >= 80:
            raise ValueError("kaput\nand more")
        return completion

    resolved = study(queries=10)
    with pytest.raises(IncompleteError, match="points failed") as raised:
        run(resolved, tmp_path / "b", signer, engine=lambda engine: Faulty(engine, break_down))
    assert "--retry-failed" in raised.value.one_line()
    assert not (tmp_path / "b" / "receipt.dsse.json").exists()
    run(resolved, tmp_path / "b", signer, options=RunOptions(accept_failed=True))
    verified(tmp_path / "b", signer)
    # The engine answers in its own order: what came before the fault is kept.
    assert 16 <= closed(tmp_path / "b")[Outcome.FAILED, Reason.ENGINE_ERROR] < 96 - 64
    errors = {record.error for record in Bundle(tmp_path / "b").responses()}
    assert errors == {None, "ValueError: kaput and more"}


def test_failed_points_can_be_tried_again_and_that_is_counted(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def lose_some(completion: Completion) -> Completion:
        if completion.key in (5, 70):
            return Completion(
                completion.key, (), Finish.ERROR, reason=Reason.OUT_OF_MEMORY, error="no room"
            )
        return completion

    resolved, folder = study(queries=10), tmp_path / "b"
    with pytest.raises(IncompleteError, match="2 points failed"):
        run(resolved, folder, signer, engine=lambda engine: Faulty(engine, lose_some))
    run(resolved, folder, signer, options=RunOptions(memory=2**26, retry_failed=True))
    verified(folder, signer)
    assert closed(folder)[Outcome.FAILED, Reason.OUT_OF_MEMORY] == 0
    event = Bundle(folder).receipt.statement.predicate.event
    assert (event.retries, event.restarts) == (2, 1)
    # Nothing but the failed points was taken from the second try.
    straight = tmp_path / "straight"
    run(resolved, straight, signer)
    assert _answers(folder) == _answers(straight)


def test_an_empty_response_is_unscored_and_never_judged(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    end = resolved.predicate.sampling.end_tokens[0]

    def say_nothing(completion: Completion) -> Completion:
        if completion.key % 2:
            return completion
        return replace(completion, tokens=(end,), finish=Finish.STOP)

    run(
        resolved,
        tmp_path / "b",
        signer,
        engine=lambda engine: Faulty(engine, say_nothing),
    )
    points = verified(tmp_path / "b", signer)
    assert closed(tmp_path / "b")[Outcome.UNSCORED, Reason.EMPTY_RESPONSE] >= len(points) // 2
    for record in Bundle(tmp_path / "b").responses():
        if record.reason is Reason.EMPTY_RESPONSE:
            assert record.judge is None


def _broken(judgement: Judgement, how: str) -> Judgement:
    match how:
        case "not a number":
            return replace(judgement, margin=float("nan"))
        case "endless":
            return replace(judgement, margin=float("inf"))
        case "too much":
            return replace(judgement, raw="x" * 1_000_001)
        case "a point's reason":
            return replace(judgement, outcome=Outcome.FAILED, reason=Reason.OUT_OF_MEMORY)
        case _:
            return replace(judgement, reason=Reason.JUDGE_NA)


@pytest.mark.parametrize(
    "how", ["not a number", "endless", "too much", "a point's reason", "a label with a reason"]
)
def test_what_a_judge_may_not_say_leaves_the_response_unscored(
    study: Study, tmp_path: Path, signer: Signer, how: str
) -> None:
    def break_one(judgements: list[Judgement]) -> list[Judgement]:
        return [_broken(judgements[0], how), *judgements[1:]]

    resolved, folder = study(), tmp_path / "b"
    faulty = {"judge": lambda judge: FaultyJudge(judge, break_one)}
    with pytest.raises(IncompleteError, match="1 judge_error"):
        run(resolved, folder, signer, **faulty)
    run(resolved, folder, signer, options=RunOptions(accept_failed=True), **faulty)
    verified(folder, signer)
    assert closed(folder)[Outcome.UNSCORED, Reason.JUDGE_ERROR] == 1


@pytest.mark.parametrize("how", ["raises", "loses count"])
def test_a_judge_that_breaks_down_is_asked_again_and_that_is_counted(
    study: Study, tmp_path: Path, signer: Signer, how: str
) -> None:
    calls = 0

    def break_down(judgements: list[Judgement]) -> list[Judgement]:
        nonlocal calls
        calls += 1
        if calls != 2:
            return judgements
        if how == "raises":
            raise RuntimeError("the judge is ill")
        return judgements[1:]

    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    with pytest.raises(IncompleteError, match="no response of a whole unit was judged"):
        run(
            resolved,
            folder,
            signer,
            judge=lambda judge: FaultyJudge(judge, break_down),
            watcher=watcher,
        )
    # The unit is not recorded; to go on needs no more than running again.
    assert sum(commit.points for commit in watcher.commits) == 64
    run(resolved, folder, signer)
    verified(folder, signer)
    assert closed(folder)[Outcome.UNSCORED, Reason.JUDGE_ERROR] == 0


def test_a_second_opinion_is_sealed_as_given(study: Study, tmp_path: Path, signer: Signer) -> None:
    def disagree(judgements: list[Judgement]) -> list[Judgement]:
        turned = {Outcome.REFUSED: Outcome.COMPLIED, Outcome.COMPLIED: Outcome.REFUSED}
        return [
            judgement if place % 3 else replace(judgement, outcome=turned[judgement.outcome])
            for place, judgement in enumerate(judgements)
        ]

    resolved = study(judge="{kind: refusal-strings, second: {kind: refusal-strings, name: again}}")
    run(
        resolved,
        tmp_path / "b",
        signer,
        second_judge=lambda judge: FaultyJudge(judge, disagree),
    )
    verified(tmp_path / "b", signer)
    agreement = Bundle(tmp_path / "b").receipt.statement.predicate.judge_agreement
    assert agreement is not None
    assert agreement.points - agreement.agreed == -(-agreement.points // 3)
    records = list(Bundle(tmp_path / "b").responses())
    assert all(record.outcome is record.judge.outcome for record in records if record.judge)


@pytest.mark.parametrize("what", ["engine", "judge"])
def test_what_fails_for_all_alike_stops_the_run_before_anything_is_recorded(
    study: Study, tmp_path: Path, signer: Signer, what: str
) -> None:
    resolved, watcher = study(), Quiet()

    def no_engine(completion: Completion) -> Completion:
        raise OSError("the device is gone")

    def no_judge(judgements: list[Judgement]) -> list[Judgement]:
        raise OSError("the device is gone")

    with pytest.raises(IncompleteError, match="the device is gone"):
        run(
            resolved,
            tmp_path / "b",
            signer,
            engine=(lambda e: Faulty(e, no_engine)) if what == "engine" else (lambda e: e),
            judge=(lambda j: FaultyJudge(j, no_judge)) if what == "judge" else (lambda j: j),
            watcher=watcher,
        )
    assert watcher.commits == []
    run(resolved, tmp_path / "b", signer)
    verified(tmp_path / "b", signer)


def test_a_prompt_that_is_too_long_stops_the_plan_before_it_is_sealed(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(
        context=512, experiments=("fixed_harmful: {harmful: [0, 24], benign: [0, 2]}",)
    )
    with pytest.raises(IncompleteError, match="exceed the model's context") as raised:
        run(resolved, tmp_path / "b", signer)
    assert "context_overflow: fail_point" in raised.value.one_line()
    assert not (tmp_path / "b").exists()


def test_a_prompt_that_is_too_long_fails_its_point_where_the_plan_says_so(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(
        context=512,
        experiments=("fixed_harmful: {harmful: [0, 24], benign: [0, 2]}",),
        more="context_overflow: fail_point\n",
    )
    sealed = run(resolved, tmp_path / "b", signer)
    points = verified(tmp_path / "b", signer)
    failed = [point for point in points if point.outcome is Outcome.FAILED]
    assert sealed.failed == len(failed) > 0
    assert {point.finish for point in failed} == {Finish.OVERFLOW}
    limit = resolved.predicate.prompt.context_limit
    assert all(point.prompt_tokens + 6 > limit for point in failed)
    closed(tmp_path / "b")


def test_an_interrupted_run_says_what_is_kept_and_goes_on(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def stop(completion: Completion) -> Completion:
        if completion.key >= 64:
            raise KeyboardInterrupt
        return completion

    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    with pytest.raises(InterruptedByUserError, match="64 of 96 points are kept"):
        run(resolved, folder, signer, engine=lambda engine: Faulty(engine, stop))
    assert (folder / JOURNAL).exists()
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.before == 64
    verified(folder, signer)
    assert not (folder / JOURNAL).exists()
    assert Bundle(folder).receipt.statement.predicate.event.restarts == 1


def _interrupted(resolved: ResolvedPlan, folder: Path, signer: Signer) -> None:
    """Run one unit of a plan, and stop."""

    def stop(completion: Completion) -> Completion:
        if completion.key >= 64:
            raise KeyboardInterrupt
        return completion

    with pytest.raises(InterruptedByUserError, match="64 of 96 points are kept"):
        run(resolved, folder, signer, engine=lambda engine: Faulty(engine, stop))


@pytest.mark.parametrize("what", ["nothing", "another event's", "another plan's"])
def test_no_receipt_that_is_not_this_runs_makes_its_journal_go(
    study: Study, tmp_path: Path, signer: Signer, what: str
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    _interrupted(resolved, folder, signer)
    before = (folder / JOURNAL).read_bytes()
    if what == "nothing":
        (folder / "receipt.dsse.json").touch()
    else:
        run(resolved, tmp_path / "other", signer)
        for file in (tmp_path / "other").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        if what == "another plan's":
            edit_statement(_rename_plan, resign=True)(folder, signer)
    with pytest.raises((IntegrityError, MalformedError)):
        run(resolved, folder, signer)
    assert (folder / JOURNAL).read_bytes() == before


def _rename_plan(statement: dict[str, Any]) -> None:
    statement["predicate"]["plan"]["digest"] = "0" * 64


def test_a_journal_that_a_kill_left_beside_its_receipt_goes(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    _interrupted(resolved, folder, signer)
    left = (folder / JOURNAL).read_bytes()
    run(resolved, folder, signer)
    (folder / JOURNAL).write_bytes(left)
    assert run(resolved, folder, signer).before
    assert not (folder / JOURNAL).exists()


def test_a_device_that_is_not_there_throws_nothing_away(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    _interrupted(resolved, folder, signer)
    runner = EventRunner(
        resolved,
        folder,
        signer,
        RunOptions(memory=2**26, restart=True),
        lambda plan, memory: load_stack(plan, device="toaster", memory=memory),
        watcher,
    )
    with pytest.raises(UsageError, match="toaster"):
        runner.run()
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.before == 64


def test_a_run_that_another_process_sealed_meanwhile_is_not_repeated(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(), tmp_path / "b"

    class Slow(Quiet):
        def counting(self, done: int, total: int) -> None:
            if done == total and not folder.exists():
                run(resolved, folder, signer)

    sealed = run(resolved, folder, signer, watcher=Slow())
    assert sealed.before
    assert not (folder / JOURNAL).exists()
    verified(folder, signer)


def test_a_full_disk_while_sealing_loses_nothing(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, folder, watcher = study(), tmp_path / "b", Quiet()
    sync = os.fsync

    def full(descriptor: int) -> None:
        if "points.jsonl" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("receipts.files.os.fsync", full)
        with pytest.raises(FileAccessError, match="No space left"):
            run(resolved, folder, signer)
    assert sorted(file.name for file in folder.iterdir()) == [JOURNAL, "plan.dsse.json"]
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.commits == []
    verified(folder, signer)
    assert Bundle(folder).receipt.statement.predicate.event.restarts == 1


@pytest.mark.parametrize(
    "options", [{"restart": True}, {"retry_failed": True}, {"accept_failed": True}]
)
def test_nothing_can_be_done_to_a_sealed_event(
    study: Study, tmp_path: Path, signer: Signer, options: dict[str, bool]
) -> None:
    run(study(), tmp_path / "b", signer)
    with pytest.raises(UsageError, match="is sealed and stays so"):
        run(study(), tmp_path / "b", signer, options=RunOptions(memory=2**26, **options))


def test_a_template_that_drops_a_context_stops_the_plan_before_it_is_sealed(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(
        experiments=(
            "fixed_harmful: {harmful: [0], benign: [2]}",
            "contexts: {harmful: 1, benign: 1, forms: [turns, tool]}",
        ),
        more="context_overflow: fail_point\n",
    )
    template = resolved.artifacts.folder / "chat_template.jinja"
    source = template.read_text("utf-8")
    deaf = "{%- set messages = messages | rejectattr('role', 'equalto', 'tool') | list %}"
    template.write_text(deaf + source, "utf-8")
    with pytest.raises(UsageError, match="h1-b1-suffix-ctx:tool"):
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert not (tmp_path / "b").exists()


def test_two_queries_that_become_one_prompt_stop_the_plan_before_it_is_sealed(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    queries = resolved.file.parent / "queries.jsonl"
    rows = [{"id": "a", "request": "Hide the lamp"}, {"id": "b", "request": "Hide The Lamp"}]
    write_jsonl(queries, rows)
    path = resolved.artifacts.folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    tokenizer["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises((MalformedError, UsageError), match=r"become one prompt|changes"):
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert not (tmp_path / "b").exists()


def test_a_sealed_event_is_not_run_again(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved, folder = study(), tmp_path / "b"
    first = run(resolved, folder, signer)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = run(resolved, folder, signer, engine=lambda engine: pytest.fail("it was run"))
    assert again.before
    assert again.envelope.digest == first.envelope.digest
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_another_plan_in_the_folder_is_refused_and_the_difference_named(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    run(study(), folder, signer)
    changed = study(sampling="{method: greedy, max_new_tokens: 7}")
    with pytest.raises(UsageError, match=r"sampling\.maxNewTokens differs"):
        run(changed, folder, signer)
    with pytest.raises(UsageError, match="another key"):
        run(study(), folder, generate())


def test_a_changed_checkpoint_is_noticed_on_resume(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def stop(completion: Completion) -> Completion:
        if completion.key >= 64:
            raise KeyboardInterrupt
        return completion

    folder = tmp_path / "b"
    with pytest.raises(InterruptedByUserError):
        run(study(queries=10), folder, signer, engine=lambda engine: Faulty(engine, stop))
    resolved = study(queries=10)
    config = resolved.artifacts.folder / "config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(UsageError, match=r"checkpoint\.files\[\d+\]\.sha256 differs"):
        run(resolve_plan(resolved.file), folder, signer)


def test_a_resumed_run_keeps_its_memory_bound_and_refuses_another(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    _interrupted(resolved, folder, signer)
    with pytest.raises(UsageError, match=r"memory class .* and this is"):
        run(resolved, folder, signer, options=RunOptions(memory=2**27))
    run(resolved, folder, signer, options=RunOptions(memory=None))
    environment = Bundle(folder).receipt.statement.predicate.environment
    assert environment.memory_class == f"{2**26} bytes"


def test_starting_over_is_counted(study: Study, tmp_path: Path, signer: Signer) -> None:
    def stop(completion: Completion) -> Completion:
        if completion.key >= 64:
            raise KeyboardInterrupt
        return completion

    resolved, folder = study(queries=10), tmp_path / "b"
    with pytest.raises(InterruptedByUserError):
        run(resolved, folder, signer, engine=lambda engine: Faulty(engine, stop))
    run(resolved, folder, signer, options=RunOptions(memory=2**27, restart=True))
    event = Bundle(folder).receipt.statement.predicate.event
    assert (event.restarts, event.retries, event.discarded) == (1, 0, 64)


def test_looking_at_rates_is_sealed(study: Study, tmp_path: Path, signer: Signer) -> None:
    run(study(), tmp_path / "b", signer, options=RunOptions(memory=2**26, show_rates=True))
    assert Bundle(tmp_path / "b").receipt.statement.predicate.event.looks == 1


def test_random_orders_and_prefixes_reach_the_evidence(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(
        experiments=(
            "fixed_harmful: {harmful: [2], benign: [2]}",
            "orderings: {harmful: 2, benign: 2, rules: [random]}",
            'response_prefix: {harmful: 1, benign: 1, prefixes: ["Answer:"]}',
        )
    )
    run(resolved, tmp_path / "b", signer)
    points = verified(tmp_path / "b", signer)
    by_condition: dict[str, list[Point]] = {}
    for point in points:
        by_condition.setdefault(point.condition, []).append(point)
    assert len({point.labels for point in by_condition["h2-b2-random"]}) > 1
    assert {point.prefix_adopted for point in by_condition["h1-b1-suffix-pre:1"]} <= {True, False}
    assert {point.prefix_adopted for point in by_condition["h0-b0"]} == {None}


def test_a_plan_that_waits_for_a_beacon_needs_its_value(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    text = resolved.file.read_text("utf-8")
    seed = "  draws: 2\n  seed: {beacon: {source: drand-quicknet, round: 7}}\n"
    resolved.file.write_text(text.replace("  draws: 2\n", seed), "utf-8")
    resolved = resolve_plan(resolved.file)
    with pytest.raises(IncompleteError, match="round 7 of drand-quicknet"):
        run(resolved, tmp_path / "b", signer)
    options = RunOptions(memory=2**26, beacon_value="ab" * 32)
    run(resolved, tmp_path / "b", signer, options=options)
    verified(tmp_path / "b", signer)
    beacon = Bundle(tmp_path / "b").receipt.statement.predicate.event.beacon
    assert beacon is not None
    assert beacon.value == "ab" * 32


def _answers(folder: Path) -> list[tuple[object, ...]]:
    lines = [json.loads(point.to_line()) for point in Bundle(folder).points()]
    for line in lines:
        del line["commitment"]  # its salt is the run's
    tokens = [record.response_tokens for record in Bundle(folder).responses()]
    return list(zip([json.dumps(line) for line in lines], tokens, strict=True))
