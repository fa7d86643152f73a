"""A run from plan file to verified bundle.

The checkpoints are tiny and random, the engine and the judges are the real ones.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from running import (
    FaultyJudge,
    Quiet,
    Spy,
    Study,
    closed,
    run,
    verified,
)

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.run.progress import RunProgress


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
    # A random model may well say nothing in its final channel.
    options = RunOptions(memory=2**26, accept_unscored=True)
    run(resolved, tmp_path / "bundle", signer, options=options)
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
    for name, memory in (("wide", 2**28), ("narrow", 2**19)):
        spy = Spy()
        options = RunOptions(memory=memory)
        run(resolved, tmp_path / name, signer, options=options, engine=spy)
        records = Bundle(tmp_path / name).responses()
        answers.append([(record.index, record.response_tokens) for record in records])
        batches.append(spy.batches)
    assert len(batches[0]) < len(batches[1]) / 2
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["wildguard", "chat"])
def test_a_model_can_judge(study: Study, tmp_path: Path, signer: Signer, kind: str) -> None:
    """A random one gives no verdicts: its answers are unscored, and the rates have no value."""
    resolved = study(judge=f"{{kind: {kind}, path: model}}", queries=2, controls=1)
    run(resolved, tmp_path / "b", signer, options=RunOptions(memory=2**26, accept_unscored=True))
    verified(tmp_path / "b", signer)
    assert set(closed(tmp_path / "b")) == {(Outcome.UNSCORED, Reason.JUDGE_PARSE_ERROR)}
    receipt = Bundle(tmp_path / "b").receipt.statement.predicate
    assert receipt.judge.weights == receipt.checkpoint.root
    assert {condition.compliance_rate for condition in receipt.conditions} == {None}


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
    verified(tmp_path / "b", signer, faulty=["second-judge-labels"])
    agreement = Bundle(tmp_path / "b").receipt.statement.predicate.judge_agreement
    assert agreement is not None
    assert agreement.points - agreement.agreed == -(-agreement.points // 3)
    records = list(Bundle(tmp_path / "b").responses())
    assert all(record.outcome is record.judge.outcome for record in records if record.judge)


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


def test_a_bar_moves_inside_a_batch(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its tokens nothing would be seen until a batch is done."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=160)
    monkeypatch.setattr(Output, "side", console)
    written: list[int] = []
    tell = RunProgress._tell_written

    def telling(self: RunProgress, tokens: int) -> None:
        tell(self, tokens)
        written.append(self._written)

    monkeypatch.setattr(RunProgress, "_tell_written", telling)
    resolved = study(queries=10)
    with RunProgress(Output()) as progress:
        run(resolved, tmp_path / "b", signer, watcher=progress)
    assert len(set(written)) > 3
    assert "so far" in shown.getvalue()
    verified(tmp_path / "b", signer)
