"""The memory that a judge leaves to the engine, and the memory that it judges in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import Quiet, Study, run
from tiny_judges import tiny_judge

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.runner.checkpoint.model_files import read_weights
from safety_receipts.runner.engines import batches
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.generative import GenerativeJudge
from safety_receipts.runner.judges.room import JudgeRoom, LongestJudged, judge_room
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.journal import Journal
from safety_receipts.runner.run.journal_file import run_journal_path
from safety_receipts.runner.run.stack import judges_here, load_stack, longest_judged

FREE = 2**32


@pytest.fixture
def judged(study: Study, tmp_path: Path) -> ResolvedPlan:
    """A study whose judge is a chat model with weights, of which nothing can be understood."""
    tiny_judge(tmp_path / "judge", JudgeKind.CHAT)
    return study(judge="{kind: chat, path: ../judge}", queries=10)


def room_of(plan: ResolvedPlan) -> JudgeRoom:
    [judge] = judges_here(plan, own=False)
    return judge_room(*judge, longest_judged(plan), "cpu")


def bounds(stack: RunStack) -> tuple[int, int]:
    """Return the bounds of engine and judge, in bytes."""
    assert isinstance(stack.judge, GenerativeJudge)
    assert isinstance(stack.engine, TransformersEngine)
    assert isinstance(stack.judge.engine, TransformersEngine)
    return stack.engine.memory, stack.judge.engine.memory


def test_the_engine_gets_what_the_judge_leaves(
    judged: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "default_memory", lambda device: FREE)
    room = room_of(judged)
    [(_, folder)] = judges_here(judged, own=False)
    assert room.weights == read_weights(folder).bytes  # float32, as they are stored
    assert 0 < room.work < FREE // 4
    assert bounds(load_stack(judged, device="cpu").stack) == (FREE - room.all, room.work)


@pytest.mark.parametrize("part", [0.5, 1.0, 1.5, 2.5])
def test_engine_and_judge_fit_in_what_is_free_and_neither_gets_less_than_half(
    judged: ResolvedPlan, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    room = room_of(judged)
    free = int(part * room.all)
    monkeypatch.setattr(batches, "default_memory", lambda device: free)
    engine, judge = bounds(load_stack(judged, device="cpu").stack)
    assert engine >= free // 2
    assert judge == min(engine, room.work)
    if engine > free // 2:
        assert engine + room.weights + judge <= free


def test_the_same_bound_gives_the_same_parts_whatever_is_free(
    judged: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for free in (FREE, FREE // 64):
        monkeypatch.setattr(batches, "default_memory", lambda device, free=free: free)
        found.append(bounds(load_stack(judged, device="cpu", memory=2**28).stack))
    room = room_of(judged)
    assert found == [(2**28, min(2**28, room.work))] * 2


def test_workers_that_share_a_device_divide_it_as_before(
    judged: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "default_memory", lambda device: FREE)
    assert bounds(load_stack(judged, device="cpu", sharing=2).stack)[0] == FREE // 4


@pytest.mark.parametrize("new_tokens", [6, 60])
def test_the_longest_that_is_judged_fits(judged: ResolvedPlan, new_tokens: int) -> None:
    [(identity, folder)] = judges_here(judged, own=False)
    longest = LongestJudged(query=40, new_tokens=new_tokens)
    room = judge_room(identity, folder, longest, "cpu")
    stack = load_stack(judged, device="cpu", memory=room.work).stack
    engine: Any = stack.judge.engine  # type: ignore[attr-defined]
    reply = identity.max_new_tokens or 0
    tokens = min(engine.context_limit - reply, longest.tokens)
    [completion] = generate_completions(engine, [Request(0, (5,) * tokens, reply, frozenset())])
    assert completion.reason is None, completion.error


def test_a_longer_plan_needs_more_room(judged: ResolvedPlan) -> None:
    [(identity, folder)] = judges_here(judged, own=False)
    rooms = [
        judge_room(identity, folder, LongestJudged(query, tokens), "cpu").work
        for query, tokens in ((10, 16), (10, 64), (4000, 64))
    ]
    assert rooms == sorted(rooms)


def test_a_run_is_held_to_the_judge_s_bound(
    judged: ResolvedPlan, tmp_path: Path, signer: Signer
) -> None:
    """A build that gave the judge the engine's whole bound cut other batches of judgements."""
    folder, watcher = tmp_path / "b", Quiet()
    options = RunOptions(memory=2**27, accept_unscored=True)

    class StoppedError(Exception):
        """The run is stopped."""

    def stop(what: object) -> None:
        raise StoppedError

    watcher.committed = stop  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run(judged, folder, signer, options=options, watcher=watcher)
    path = run_journal_path(folder)
    with Journal.open(path, digest_of(judged.predicate)) as journal:
        before = dict(journal.stack or {})
        assert before.pop("judge memory") == f"{min(2**27, room_of(judged).work)} bytes"
        journal._write("UPDATE run SET stack = ?", [(json.dumps(before),)])
    with pytest.raises(UsageError, match="started with judge memory none, and this is"):
        run(judged, folder, signer, options=options)
