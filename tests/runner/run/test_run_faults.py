"""Whatever fails in a run, every planned point is accounted for."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from running import (
    ROWS,
    Faulty,
    FaultyJudge,
    Quiet,
    Study,
    answers,
    closed,
    run,
    verified,
)
from studies import write_jsonl

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.receipts.unfinished import RUN_JOURNAL, RUN_PROMPTS
from safety_receipts.runner.engines.engine import Completion
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.run.event import RunOptions


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
    answered: list[int] = []

    def break_down(completion: Completion) -> Completion:
        if len(answered) == 80:
            raise ValueError("kaput\nand more")
        answered.append(completion.key)
        return completion

    resolved = study(queries=10)
    with pytest.raises(IncompleteError, match="points failed") as raised:
        run(resolved, tmp_path / "b", signer, engine=lambda engine: Faulty(engine, break_down))
    assert "--retry-failed" in raised.value.one_line()
    assert not (tmp_path / "b" / "receipt.dsse.json").exists()
    run(resolved, tmp_path / "b", signer, options=RunOptions(accept_failed=True))
    verified(tmp_path / "b", signer)
    # What came before the fault is kept.
    assert closed(tmp_path / "b")[Outcome.FAILED, Reason.ENGINE_ERROR] == 16
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
    assert answers(folder) == answers(straight)


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
    verified(folder, signer, faulty=["labels"])
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
    assert ROWS <= sum(commit.points for commit in watcher.commits) < 96
    run(resolved, folder, signer)
    verified(folder, signer)
    assert closed(folder)[Outcome.UNSCORED, Reason.JUDGE_ERROR] == 0


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
        patched.setattr("safety_receipts.receipts.io.files.os.fsync", full)
        with pytest.raises(FileAccessError, match="No space left"):
            run(resolved, folder, signer)
    left = [RUN_JOURNAL, RUN_PROMPTS, "plan.dsse.json"]
    assert sorted(file.name for file in folder.iterdir()) == left
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.commits == []
    verified(folder, signer)
    assert Bundle(folder).receipt.statement.predicate.event.restarts == 1


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
    template = resolved.artifacts.checkpoint.folder / "chat_template.jinja"
    source = template.read_text("utf-8")
    deaf = "{%- set messages = messages | rejectattr('role', 'equalto', 'tool') | list %}"
    template.write_text(deaf + source, "utf-8")
    with pytest.raises(UsageError, match="context tool: the chat template") as raised:
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert "leave tool out of `forms:`" in raised.value.one_line()
    assert not (tmp_path / "b").exists()


def test_all_contexts_that_a_template_cannot_show_are_named_at_once(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(
        experiments=(
            "fixed_harmful: {harmful: [0], benign: [2]}",
            "contexts: {harmful: 1, benign: 1, forms: [turns, retrieved, memory, tool, script]}",
        ),
    )
    template = resolved.artifacts.checkpoint.folder / "chat_template.jinja"
    source = template.read_text("utf-8")
    deaf = "{%- set messages = messages | rejectattr('role', 'in', ['tool', 'system']) | list %}"
    template.write_text(deaf + source, "utf-8")
    with pytest.raises(UsageError, match=r"contexts memory: .*; tool: .*; script: ") as raised:
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert "leave memory and tool and script out of `forms:`" in raised.value.one_line()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("queries", "query asked/q0"),
        ("harmful", "demonstration harmful0 of pool harmful-pairs"),
        ("other", "demonstration other0 of pool second"),
    ],
)
def test_a_row_that_a_template_alters_is_named(
    study: Study, tmp_path: Path, signer: Signer, place: str, named: str
) -> None:
    resolved = study(
        experiments=(
            "fixed_harmful: {harmful: [0, 24], benign: [2]}",
            "benign_sources: {harmful: 0, benign: [24], sources: [second]}",
        ),
        context=4096,
    )
    template = resolved.artifacts.checkpoint.folder / "chat_template.jinja"
    source = template.read_text("utf-8")
    altering = source.replace("content", "content | replace('lamp of row 0', 'lamp')")
    template.write_text(altering, "utf-8")
    for name in {"queries", "controls", "harmful", "benign", "other", "refusals"} - {place}:
        path = resolved.file.parent / f"{name}.jsonl"
        path.write_text(path.read_text("utf-8").replace("lamp of row 0", "jug of row 0"), "utf-8")
    with pytest.raises(UsageError, match=f"drops or changes message .*: {named}") as raised:
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert "take that row out of its corpus" in raised.value.one_line()


def test_two_queries_that_become_one_prompt_stop_the_plan_before_it_is_sealed(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    queries = resolved.file.parent / "queries.jsonl"
    rows = [{"id": "a", "request": "Hide the lamp"}, {"id": "b", "request": "Hide▁the lamp"}]
    write_jsonl(queries, rows)
    path = resolved.artifacts.checkpoint.folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    tokenizer["normalizer"] = spaces
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [tokenizer["decoder"], back]}
    path.write_text(json.dumps(tokenizer), "utf-8")
    with pytest.raises((MalformedError, UsageError), match=r"become one prompt|changes"):
        run(resolve_plan(resolved.file), tmp_path / "b", signer)
    assert not (tmp_path / "b").exists()
