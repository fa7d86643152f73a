"""Recorded responses judged again: a new sealed event that names the old one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import FaultyJudge
from studies import write_study

from safety_receipts.receipts.bundle import RESPONSES_FILE, Bundle
from safety_receipts.receipts.cli import main
from safety_receipts.receipts.errors import IncompleteError, InterruptedByUserError, UsageError
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key, write_key_pair
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.run.stack import PlanJudges
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts
from safety_receipts.verify.levels.evidence import no_progress
from safety_receipts.verify.rejudge import RejudgeOptions, Rejudger, rejudged_plan

Receipts = Callable[..., Any]
FILES = ("plan.dsse.json", "receipt.dsse.json", "points.jsonl.zst", "responses.jsonl.zst")


@dataclass(frozen=True)
class Judged:
    """A study that was run, and a plan that names another judge."""

    folder: Path
    signer: Signer

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def words(self, out: Path, *more: str | Path, plan: str = "again.yaml") -> list[str | Path]:
        """Return the command that judges again."""
        return [
            *("rejudge", self.bundle, self.folder / plan, "--key", self.folder / "key"),
            *("--out", out, "--device", "cpu", *more),
        ]


def changed_plan(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Write the study's plan under another name, changed."""
    entries = yaml.safe_load((folder / "plan.yaml").read_text("utf-8"))
    change(entries)
    (folder / name).write_text(yaml.safe_dump(entries, sort_keys=False), "utf-8")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Run a small study whose judge cannot be read, and name one that can."""
    folder = tmp_path_factory.mktemp("rejudge")
    signer = generate_key()
    write_study(
        folder,
        queries=6,
        controls=2,
        judge="{kind: chat, path: model}",
        sampling="{method: seeded, temperature: 1, max_new_tokens: 6}",
        experiments=(
            "fixed_harmful: {harmful: [0, 2], benign: [0, 2], orderings: [random]}",
            'response_prefix: {harmful: 1, benign: 1, prefixes: ["Sure,"]}',
        ),
    )
    write_key_pair(folder / "key", signer, None)
    changed_plan(folder, "again.yaml", lambda p: p.update(judge={"kind": "refusal-strings"}))
    words = [
        *("run", folder / "plan.yaml", "--key", folder / "key", "--out", folder / "bundle"),
        *("--device", "cpu", "--memory", "64M", "--accept-unscored"),
    ]
    with pytest.raises(SystemExit, match="5"):  # nothing was scored
        main([str(word) for word in words])
    return Judged(folder, signer)


def test_another_judge_labels_the_same_responses(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    done = receipts(*judged.words(tmp_path / "b", "--json"))
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert (report["scored"], report["unscored"]) == (report["points"], 0)
    old, new = Bundle(judged.bundle), Bundle(tmp_path / "b")
    named = new.receipt.statement.predicate.rejudges
    assert named is not None
    assert (named.receipt, named.plan) == (old.receipt_envelope.digest, old.plan_envelope.digest)
    for before, after in zip(old.responses(), new.responses(), strict=True):
        assert before.response_tokens == after.response_tokens
        assert (before.prompt, before.text) == (after.prompt, after.text)
        assert before.outcome is Outcome.UNSCORED
        assert after.outcome in (Outcome.REFUSED, Outcome.COMPLIED)
        assert before.salt != after.salt
    then, now = (each.receipt.statement.predicate for each in (old, new))
    assert now.event == then.event.model_copy(update={"id": now.event.id})
    assert now.event.id != then.event.id
    assert now.environment == then.environment


def test_the_new_event_holds_at_every_level_with_and_without_the_old_one(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    assert receipts(*judged.words(tmp_path / "b")).code == 0
    resolved = resolve_plan(judged.folder / "again.yaml")
    for original in (None, Bundle(judged.bundle)):
        found = verify_bundle(
            Bundle(tmp_path / "b"),
            evaluators=TrustSet([judged.signer.public]),
            wanted=CheckLevel.BOUND,
            held_artifacts=HeldArtifacts(resolved, points=None),
            original=original,
        )
        assert [c.name for c in found.checks if c.status is CheckStatus.FAILED] == []
        assert found.level is CheckLevel.BOUND
        by_name = {check.name: check for check in found.checks}
        assert by_name["plan-file"].detail == "is the sealed plan's"
        if original is None:
            assert "--original" in by_name["rejudged"].detail
        else:
            assert by_name["original"].status is CheckStatus.PASSED
            assert by_name["original-points"].status is CheckStatus.PASSED
            assert by_name["original-responses"].status is CheckStatus.PASSED
    shown = receipts("show", tmp_path / "b").out
    assert "judged again" in shown
    assert Bundle(judged.bundle).receipt_envelope.digest in shown.replace("\n", "")
    alone = "Refusal strings are the only judge"
    assert alone in shown
    assert alone not in receipts("show", judged.bundle).out


def test_an_original_without_its_records_says_nothing_of_responses(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    """Its lines tell how long responses are: others of the same length would pass for them."""
    assert receipts(*judged.words(tmp_path / "b")).code == 0
    shutil.copytree(judged.bundle, tmp_path / "without")
    (tmp_path / "without" / RESPONSES_FILE).unlink()
    found = verify_bundle(
        Bundle(tmp_path / "b"),
        evaluators=TrustSet([judged.signer.public]),
        original=Bundle(tmp_path / "without"),
    )
    status = {check.name: check.status for check in found.checks}
    assert status["original-points"] is CheckStatus.PASSED
    assert status["original-responses"] is CheckStatus.NOT_CHECKED


def test_judging_again_twice_gives_the_same_bytes(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    for name in ("b", "c"):
        assert receipts(*judged.words(tmp_path / name)).code == 0
    for file in FILES:
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == sorted(FILES)
    again = receipts(*judged.words(tmp_path / "b", "--json"))
    assert (again.code, json.loads(again.out)["sealedBefore"]) == (0, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["sampling"].update(max_new_tokens=7), "sampling.maxNewTokens"),
        (lambda p: p["demonstrations"].update(draws=3), "demonstrations.distinctLists"),
        (lambda p: p.update(name="another"), "name is not what the sealed plan says"),
        (lambda p: p["prompt"].update(system="Be kind."), "prompt.systemPrompt"),
        (lambda p: p["queries"][0].update(licence="MIT"), "queries[0].licence"),
        (lambda p: p.update(judge={"kind": "chat", "path": "model"}), "already judged"),
    ],
)
def test_a_plan_that_differs_elsewhere_is_refused_and_the_place_named(
    receipts: Receipts,
    judged: Judged,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    name = f"{tmp_path.name}.yaml"

    def changed(entries: dict[str, Any]) -> None:
        entries.update(judge={"kind": "refusal-strings"})
        change(entries)

    changed_plan(judged.folder, name, changed)
    refused = receipts(*judged.words(tmp_path / "b", plan=name))
    assert refused.code == 2
    assert said in refused.err
    assert not (tmp_path / "b").exists()


def test_nothing_of_another_checkpoint_is_run(
    receipts: Receipts, judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("a template or tokenizer was loaded")

    changed_plan(
        judged.folder,
        f"{tmp_path.name}.yaml",
        lambda p: (
            p["checkpoint"].update(path=str(tmp_path / "model")),
            p.update(judge={"kind": "refusal-strings"}),
        ),
    )
    shutil.copytree(judged.folder / "model", tmp_path / "model")
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text("Kindly, " + template.read_text("utf-8"), "utf-8")
    monkeypatch.setattr("safety_receipts.runner.plan.resolve.ChatFormat.load", run)
    refused = receipts(*judged.words(tmp_path / "b", plan=f"{tmp_path.name}.yaml"))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "is not what the sealed plan says" in refused.err


def test_a_bundle_of_somebody_else_or_one_that_was_changed_is_not_judged(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    write_key_pair(tmp_path / "other", generate_key(), None)
    words = judged.words(tmp_path / "b")
    words[words.index("--key") + 1] = tmp_path / "other"
    stranger = receipts(*words)
    assert stranger.code == 3
    assert "receipt-signature" in stranger.err
    trusted = receipts(*words, "--trust", judged.folder / "key.pub")
    assert trusted.code == 0
    without = tmp_path / "published"
    assert receipts("publish", judged.bundle, "--out", without).code == 0
    words = judged.words(tmp_path / "c")
    words[1] = without
    assert receipts(*words).code == 5


def test_an_event_that_was_judged_again_is_not_judged_a_third_time(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    assert receipts(*judged.words(tmp_path / "b")).code == 0
    words = judged.words(tmp_path / "c", plan="plan.yaml")
    words[1] = tmp_path / "b"
    refused = receipts(*words)
    assert refused.code == 2
    assert Bundle(judged.bundle).receipt_envelope.digest in refused.err


def test_an_unreadable_judge_stops_judging_again_too(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    changed_plan(
        judged.folder, "wild.yaml", lambda p: p.update(judge={"kind": "wildguard", "path": "model"})
    )
    words = judged.words(tmp_path / "b", plan="wild.yaml")
    stopped = receipts(*words)
    assert stopped.code == 5
    assert "could be scored (judge_parse_error)" in stopped.err
    sealed = receipts(*words, "--accept-unscored")
    assert sealed.code == 5
    assert "0 failed" in sealed.out


def test_a_stop_loses_nothing_and_leaves_no_trace(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    assert receipts(*judged.words(tmp_path / "straight")).code == 0
    original = Bundle(judged.bundle)
    resolved = rejudged_plan(original, resolve_plan(judged.folder / "again.yaml"))
    judge = load_judge(resolved.predicate.judge, None)
    calls: list[int] = []

    def stop(judgements: list[Judgement]) -> list[Judgement]:
        calls.append(len(judgements))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judgements

    rejudger = Rejudger(original, resolved, tmp_path / "b", judged.signer, RejudgeOptions())
    assert rejudger.sealed_before() is None
    judges = PlanJudges(FaultyJudge(judge, stop), None)
    with pytest.raises(InterruptedByUserError, match=r"64 of \d+ points are kept"):
        rejudger.run(judges, {}, no_progress)
    assert sorted(path.name for path in (tmp_path / "b").iterdir())[1:] == ["plan.dsse.json"]
    with pytest.raises(UsageError, match="resume with what it was started with"):
        rejudger.run(judges, {"memory": "less"}, no_progress)
    rejudger.run(judges, {}, no_progress)
    assert calls[0] == 64  # once
    assert len(calls) == 3
    for file in FILES:
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()


def test_what_the_judge_fails_on_is_not_recorded_unasked(judged: Judged, tmp_path: Path) -> None:
    original = Bundle(judged.bundle)
    resolved = rejudged_plan(original, resolve_plan(judged.folder / "again.yaml"))
    judge = load_judge(resolved.predicate.judge, None)

    def ill(judgements: list[Judgement]) -> list[Judgement]:
        return [replace(judgements[0], margin=float("nan")), *judgements[1:]]

    judges = PlanJudges(FaultyJudge(judge, ill), None)
    rejudger = Rejudger(original, resolved, tmp_path / "b", judged.signer, RejudgeOptions())
    with pytest.raises(IncompleteError, match="the judge failed on 1 of 64"):
        rejudger.run(judges, {}, no_progress)
    accepting = replace(rejudger, options=RejudgeOptions(accept_failed=True))
    sealed = accepting.run(judges, {}, no_progress)
    assert sealed.reasons(Outcome.UNSCORED) == {Reason.JUDGE_ERROR: 2}


def test_another_original_and_another_response_are_found_out(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    assert receipts(*judged.words(tmp_path / "b")).code == 0
    trust = ("--trust", judged.folder / "key.pub")
    good = receipts("verify", tmp_path / "b", *trust, "--original", judged.bundle)
    assert good.code == 0
    wrong = receipts("verify", tmp_path / "b", *trust, "--original", tmp_path / "b", "--json")
    assert wrong.code == 3
    failed = [c for c in json.loads(wrong.out)["checks"] if c["status"] == "failed"]
    assert [check["name"] for check in failed] == ["original"]
    none = receipts("verify", judged.bundle, *trust, "--original", tmp_path / "b")
    assert none.code == 2
    assert "does not judge the responses of another event" in none.err


def test_the_second_verifiers_of_the_protocol_agree(
    receipts: Receipts, judged: Judged, tmp_path: Path
) -> None:
    assert receipts(*judged.words(tmp_path / "b")).code == 0
    scripts = Path(__file__).parents[2] / "docs"
    for words in (
        (scripts / "independent.py", tmp_path / "b", judged.folder / "key.pub"),
        (scripts / "rederive.py", judged.folder, tmp_path / "b"),
    ):
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
