"""``receipts calibrate``: how honest responses look, measured on a small plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, FaultyScores, make_event, refusals, trust
from printed import held
from studies import write_study

from safety_receipts.receipts.bundle import AUDITS
from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.cli import main
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Finish, Outcome
from safety_receipts.receipts.model.statement import (
    CALIBRATION_TYPE,
    AuditStatement,
    CalibrationStatement,
)
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    Engine,
    Generation,
    Request,
)
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.mock import as_they_come
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.verify.audit.calibrate import (
    ALTERNATIVES,
    VARIANTS,
    Calibrator,
    DeviceFormat,
    judge_band,
    worst_of,
)
from safety_receipts.verify.audit.journals.calibrations import calibration_journal_path
from safety_receipts.verify.audit.journals.signed_lines import SignedLines
from safety_receipts.verify.audit.replay import Entry, Replayer
from safety_receipts.verify.audit.session import AuditorCalibration
from safety_receipts.verify.audit.statistics.plausibility import PHI, MarginStatistics
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

Receipts = Callable[..., Any]
LEAST = 40
CPU = ("--device", "cpu", "--memory", str(MEMORY))


@dataclass(frozen=True)
class Calibrated:
    """An event, and a calibration of the auditor's for it."""

    event: Event
    path: Path
    says: CalibrationPredicate
    printed: str
    """What the command printed, with ``--json``."""


def read(path: Path) -> CalibrationStatement:
    envelope = Envelope.from_json(path.read_bytes(), file=path)
    return CalibrationStatement.model_validate_json(envelope.payload)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """84 queries in two conditions, calibrated in two number formats.

    The file's own arithmetic is real; only how many responses it asks for is lowered.
    """
    event = make_event(tmp_path_factory.mktemp("event"), queries=80)
    write_key_pair(event.folder / "auditor", generate_key(), None)
    path = event.folder / "calibration.dsse.json"
    words = ["calibrate", event.resolved.file, "--key", event.folder / "auditor", "--out", path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", LEAST)
        with pytest.raises(SystemExit) as stopped, redirect_stdout(StringIO()) as printed:
            main([str(w) for w in (*words, *CPU[:4], "--dtype", "bfloat16", "--json")])
    assert stopped.value.code == 0
    return Calibrated(event, path, read(path).predicate, printed.getvalue())


def test_the_printed_document_is_of_the_file(calibrated: Calibrated) -> None:
    document = held("cli-calibrate", calibrated.printed)
    says = calibrated.says
    assert document["calibration"] == str(calibrated.path)
    assert document["responses"] == says.responses == sum(b["responses"] for b in document["bins"])
    assert document["stacks"] == [stack.to_wire() for stack in says.stacks]


def test_too_few_points_are_a_usage_error(
    calibrated: Calibrated, receipts: Receipts, tmp_path: Path
) -> None:
    event, out = calibrated.event, tmp_path / "calibration"
    words = ("calibrate", event.resolved.file, "--key", event.folder / "auditor", "--out", out)
    finished = receipts(*words, *CPU)
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert "168 points are too few to calibrate on: at least 1,999" in finished.err
    assert not out.exists()
    out.write_text("mine", "utf-8")
    again = receipts(*words, *CPU)
    assert (again.code, "exists already" in again.err) == (2, True)
    assert out.read_text("utf-8") == "mine"
    nobody = receipts(*words[:-1], tmp_path / "other", "--auditor", "", *CPU)
    assert (nobody.code, nobody.err.count("\n")) == (2, 1)


def test_the_file_is_a_signed_statement_about_the_checkpoint(calibrated: Calibrated) -> None:
    envelope = Envelope.from_json(calibrated.path.read_bytes(), file=calibrated.path)
    signer = load_signer(calibrated.event.folder / "auditor", None)
    assert envelope.signed_by(trust(signer))
    statement, plan = read(calibrated.path), calibrated.event.plan
    assert statement.predicate_type == CALIBRATION_TYPE
    assert statement.subject[0].digest.sha256 == plan.checkpoint.root
    says = calibrated.says
    assert (says.checkpoint, says.sampling) == (plan.checkpoint.root, plan.sampling)
    assert (says.judge, says.judge_band) == (plan.judge.digest, None)
    assert says.ambiguity_rate == "0.000000"


def test_every_format_adds_its_stacks(calibrated: Calibrated) -> None:
    stacks = calibrated.says.stacks
    formats = (Dtype.FLOAT32, Dtype.BFLOAT16)
    assert [(s.dtype, s.name) for s in stacks] == [(d, n) for d in formats for n in VARIANTS]
    assert calibrated.says.reference.dtype is Dtype.FLOAT32
    # fp32 hardly differs from itself, whatever the batches.
    assert all(float(s.largest) < 0.001 for s in stacks if s.dtype is Dtype.FLOAT32)


def test_bins_hold_every_response_once_and_ascend(calibrated: Calibrated) -> None:
    says = calibrated.says
    assert says.responses == calibrated.event.plan.points == len(says.clipped) == len(says.tokens)
    assert says.bins[-1].upto is None
    low = 0
    for each in says.bins:
        high = each.upto or 10**9
        members = [i for i, tokens in enumerate(says.tokens) if low < tokens <= high]
        assert len(each.largest) == len(each.clipped) == len(members) >= LEAST
        for scores in (each.largest, each.clipped):
            values = [Fraction(score) for score in scores]
            assert values == sorted(values)
        assert sorted(Fraction(says.clipped[i]) for i in members) == [
            Fraction(score) for score in each.clipped
        ]
        low = high
    largest = max(Fraction(each.largest[-1]) for each in says.bins)
    assert largest == max(Fraction(stack.largest) for stack in says.stacks)


def test_each_response_counts_with_the_largest_of_all_stacks() -> None:
    one = [_replayed(MarginStatistics(0.1, 0.3, 5)), _replayed(MarginStatistics(0.0, 0.0, 7))]
    other = [_replayed(MarginStatistics(0.2, 0.25, 5)), _replayed(None)]
    # What a stack could not score is left out.
    assert worst_of([one, other]) == [MarginStatistics(0.2, 0.3, 5)]
    assert worst_of([one]) == [MarginStatistics(0.1, 0.3, 5), MarginStatistics(0.0, 0.0, 7)]


def _replayed(
    statistics: MarginStatistics | None, judge_margin: float | None = None
) -> ReplayedPoint:
    refused = Outcome.REFUSED
    missing = None if statistics else "it broke"
    return ReplayedPoint(
        "d" * 64,  # type: ignore[arg-type]
        "h0-b0",  # type: ignore[arg-type]
        refused,
        refused,
        statistics=statistics,
        missing=missing,
        judge_margin=judge_margin,
    )


def test_q_is_phi_and_the_labels_that_turned_on_the_worst_stack(calibrated: Calibrated) -> None:
    says = calibrated.says
    turned = max(Fraction(stack.flipped, says.responses) for stack in says.stacks)
    assert abs(Fraction(says.branch_flip_rate) - turned) < Fraction(1, 10**6)
    digest = calibrated.event.subject().digest
    assert AuditorCalibration(digest, says).flip_rate == PHI + Fraction(says.branch_flip_rate)
    noisy = says.model_copy(update={"branch_flip_rate": "0.300000", "ambiguity_rate": "0.1"})
    assert AuditorCalibration(digest, noisy).flip_rate == PHI + Fraction(4, 10)
    hopeless = says.model_copy(update={"branch_flip_rate": "0.900000"})
    assert AuditorCalibration(digest, hopeless).flip_rate == Fraction(1, 2)


class Turning(FaultyScores):
    """Would have begun every response otherwise, and refuses then."""

    def __init__(self, engine: Engine, refusal: tuple[int, ...]) -> None:
        super().__init__(
            engine, lambda one: replace(one, margins=(0.5, *one.margins[1:]), branch=0)
        )
        self._refusal = refusal

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Answer with one refusal for all."""
        assert {request.begun for request in requests} == {0}
        return as_they_come(
            requests,
            lambda batch: [Completion(one.key, self._refusal, Finish.STOP) for one in batch],
        )


def test_labels_that_turn_are_counted_on_each_stack(calibrated: Calibrated) -> None:
    event, generate_entries = calibrated.event, Calibrator._generate
    refusal = refusals(event.entries())[0][1].response_tokens
    entries: list[Entry] = []

    def keep(self: Calibrator, *given: Any) -> list[Entry]:
        entries.extend(generate_entries(self, *given))
        return entries

    def variants(model: LoadedModel, memory: int | None) -> Iterator[tuple[str, Engine]]:
        engine = TransformersEngine(model, memory=memory)
        yield "honest", engine
        yield "turning", Turning(engine, refusal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", LEAST)
        patch.setattr("safety_receipts.verify.audit.calibrate.ALTERNATIVES", {})
        patch.setattr("safety_receipts.verify.audit.stages.variants", variants)
        patch.setattr(Calibrator, "_generate", keep)
        places = [DeviceFormat(Dtype.FLOAT32, "cpu")]
        says = Calibrator(event.resolved, places, MEMORY).calibrate(None, ignore).predicate
    complied = sum(point.outcome is Outcome.COMPLIED for point, _ in entries)
    assert 0 < complied < len(entries)
    honest, turning = says.stacks
    assert (honest.branched, honest.flipped) == (0, 0)
    assert (turning.branched, turning.flipped) == (len(entries), complied)
    assert says.branch_flip_rate == decimal_string(Fraction(complied, len(entries)), 6)
    assert says.alternatives == ()


def test_a_judge_s_band_is_twice_the_noise_of_its_margin(calibrated: Calibrated) -> None:
    entries = []
    for (point, record), margin in zip(calibrated.event.entries(), ("1.5", "-2"), strict=False):
        assert record.judge is not None
        judge = record.judge.model_copy(update={"margin": margin})
        entries.append((point, record.model_copy(update={"judge": judge})))
    at_all = MarginStatistics(0.0, 0.0, 5)
    replays = [
        [_replayed(at_all, 1.5), _replayed(at_all, -1.75)],
        [_replayed(at_all, 1.625), _replayed(at_all, -2.0)],
    ]
    assert judge_band(entries, replays) == Fraction(1, 2)
    assert judge_band(entries, [[_replayed(at_all), _replayed(at_all)]]) is None


def test_another_model_s_responses_have_larger_margins(tmp_path: Path) -> None:
    """An untrained model is never sure, and rounding its weights turns many of its choices."""
    plan = write_study(
        tmp_path,
        queries=20,
        sampling="{method: seeded, temperature: 1.0, max_new_tokens: 8}",
        experiments=("fixed_harmful: {harmful: [0], benign: [1]}",),
    )
    places = [DeviceFormat(Dtype.FLOAT32, "cpu")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", LEAST)
        statement = Calibrator(resolve_plan(plan), places, MEMORY).calibrate(None, ignore)
    says = statement.predicate
    honest = _mean(says.clipped, says.tokens)
    eight, four = (_mean(each.clipped, each.tokens) for each in says.alternatives)
    assert [each.name for each in says.alternatives] == list(ALTERNATIVES)
    assert honest < eight < four
    assert honest < Fraction(1, 10**5)
    assert four > Fraction(1, 100)


def ignore(done: int, total: int) -> None:
    pass


def _mean(clipped: Sequence[str], tokens: Sequence[int]) -> Fraction:
    return sum(map(Fraction, clipped), Fraction(0)) / sum(tokens)


def test_it_answers_none_of_the_event_s_points(calibrated: Calibrated) -> None:
    """Demonstrations and noise are another seed's: nobody could have fitted them."""
    places = [DeviceFormat(Dtype.FLOAT32, "cpu")]
    calibrator, seen = Calibrator(calibrated.event.resolved, places, MEMORY), []

    def note(self: Calibrator, stack: RunStack, work: Any, chosen: list[int], _: str) -> Any:
        seen.append((work.seed, render_points(work.renderer, chosen)))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", LEAST)
        patch.setattr(Calibrator, "_generate", note)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                calibrator.calibrate(None, ignore)
    (one, first), (other, second) = seen
    assert len({one, other, calibrated.event.subject().seed}) == 3
    shown = [
        {point.demonstrations for point in points if point.demonstrations}
        for points in (first, second)
    ]
    sealed = {r.demonstrations for _, r in calibrated.event.entries() if r.demonstrations}
    assert len(sealed) == 84
    assert len(shown[0] & sealed) <= 1
    assert len(shown[0] & shown[1]) <= 1


# Stopped, and gone on with.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command on a small plan, in steps of few responses."""
    plan = write_study(tmp_path / "study", queries=LEAST)
    write_key_pair(tmp_path / "key", generate_key(), None)
    monkeypatch.setattr("safety_receipts.verify.audit.calibrate.LEAST_RESPONSES", LEAST)
    monkeypatch.setattr("safety_receipts.verify.audit.calibrate.ALTERNATIVE_RESPONSES", 16)
    monkeypatch.setattr("safety_receipts.verify.audit.journals.calibrations.REPLAYED_AT_ONCE", 32)
    return ["calibrate", str(plan), "--key", str(tmp_path / "key"), *CPU]


def stopped_at(step: int) -> Callable[..., None]:
    """Return a way to keep lines that is interrupted after so many."""
    append, calls = SignedLines.append, 0

    def interrupted(self: SignedLines, documents: Any) -> None:
        nonlocal calls
        append(self, documents)
        calls += 1
        if calls == step:
            raise KeyboardInterrupt

    return interrupted


def in_order(out: Path) -> dict[str, Any]:
    """Return what a calibration says, but for when it was made."""
    said = read(out).predicate.to_wire()
    del said["madeAt"]
    return said


def test_a_calibration_that_is_stopped_anywhere_ends_like_one_that_was_not(
    small: list[str], receipts: Receipts, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SignedLines, "append", stopped_at(1))
        begun = receipts(*small, "--out", out)
    assert (begun.code, begun.out, begun.err.count("\n")) == (130, "", 1)
    # One that was never stopped, with the same draws.
    shutil.copy(calibration_journal_path(out), calibration_journal_path(whole))
    assert receipts(*small, "--out", whole).code == 0
    stops = 0
    for step in (2, 3, 1, 4, 2, 5, 99):
        before = calibration_journal_path(out).stat().st_size
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SignedLines, "append", stopped_at(step))
            done = receipts(*small, "--out", out)
        if done.code == 0:
            break
        stops += 1
        assert done.code == 130
        assert "generated and replayed responses are kept (run the same command again" in done.err
        assert calibration_journal_path(out).stat().st_size > before
        assert not out.exists()
    assert stops >= 4
    assert in_order(out) == in_order(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "key", "key.pub", "out", "study", "whole",
    ]  # fmt: skip


def test_what_was_replayed_is_not_replayed_again(
    small: list[str], receipts: Receipts, tmp_path: Path
) -> None:
    replayed: list[int] = []
    replay = Replayer.replay

    def counting(self: Replayer, entries: Sequence[Entry]) -> list[ReplayedPoint]:
        replayed.append(len(entries))
        return replay(self, entries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replayer, "replay", counting)
        assert receipts(*small, "--out", tmp_path / "whole").code == 0
        once = sum(replayed)
        replayed.clear()
        for step in (6, 2, 99):
            with pytest.MonkeyPatch.context() as stops:
                stops.setattr(SignedLines, "append", stopped_at(step))
                receipts(*small, "--out", tmp_path / "out")
    assert (tmp_path / "out").exists()
    assert sum(replayed) == once


def test_a_journal_is_its_owner_s_and_holds_the_terms(
    small: list[str], receipts: Receipts, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SignedLines, "append", stopped_at(3))
        receipts(*small, "--out", out)
    journal = calibration_journal_path(out)
    assert journal.stat().st_mode & 0o777 == 0o600
    other = receipts(*small, "--out", out, "--dtype", "bfloat16")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "was begun on other terms (formats and devices)" in other.err
    write_key_pair(tmp_path / "other", generate_key(), None)
    theirs = ["calibrate", small[1], "--key", str(tmp_path / "other"), *CPU, "--out", str(out)]
    refused = receipts(*theirs)
    assert (refused.code, "of another calibration or auditor" in refused.err) == (2, True)
    journal.write_bytes(journal.read_bytes() + b"half a li")  # a kill in the middle of a line
    assert receipts(*small, "--out", out).code == 0


def audit(calibrated: Calibrated, receipts: Receipts, bundle: Path, *words: str | Path) -> Any:
    event = calibrated.event
    who = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file)
    terms = ("--trust", event.key, "--epsilon", "0.2", "--calibration", calibrated.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("safety_receipts.verify.audit.session.LEAST_RESPONSES", LEAST)
        return receipts("audit", bundle, *who, *CPU, *terms, *words)


def test_a_bin_that_could_call_nothing_implausible_is_refused(
    calibrated: Calibrated, receipts: Receipts, tmp_path: Path
) -> None:
    bundle = calibrated.event.copy(tmp_path / "bundle")
    who = ("--key", calibrated.event.folder / "auditor", "--trust", calibrated.event.key)
    mine = ("--artifacts", calibrated.event.resolved.file, "--calibration", calibrated.path)
    finished = receipts("audit", bundle, *who, *mine, *CPU)
    assert (finished.code, "calls nothing implausible" in finished.err) == (2, True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_audit_with_it_says_calibrated(
    calibrated: Calibrated, receipts: Receipts, tmp_path: Path, dtype: str
) -> None:
    bundle = calibrated.event.copy(tmp_path / "bundle")
    finished = audit(calibrated, receipts, bundle, "--dtype", dtype, "--json")
    document = json.loads(finished.out)
    test = document["identity"]
    assert [each["alternative"] for each in test["powers"]] == list(ALTERNATIVES)
    assert document["calibrated"]
    # In fp32 nothing is left to chance; in bfloat16 an honest model fails one test in a hundred.
    assert test["passed"] is (float(test["pValue"]) > 0.01)
    assert test["passed"] or dtype == "bfloat16"
    assert (finished.code, document["verdict"]) == (
        (0, "confirmed") if test["passed"] else (5, "inconclusive")
    )
    digest = Envelope.from_json(calibrated.path.read_bytes(), file=calibrated.path).digest
    path = bundle / AUDITS / f"{document['auditDigest']}.dsse.json"
    envelope = Envelope.from_json(path.read_bytes(), file=path)
    result = AuditStatement.model_validate_json(envelope.payload).predicate
    assert result.calibration == digest
    assert not any("uncalibrated" in said for said in result.assumptions)
    assert result.environment.dtype is Dtype(dtype)


def test_a_calibration_without_the_audit_s_format_is_refused(
    calibrated: Calibrated, receipts: Receipts, tmp_path: Path
) -> None:
    bundle = calibrated.event.copy(tmp_path / "bundle")
    finished = audit(calibrated, receipts, bundle, "--dtype", "float16", "-q")
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert "the calibration has no float16" in finished.err
    assert not (bundle / AUDITS).exists()


def test_a_calibration_of_another_key_or_another_study_is_refused(
    calibrated: Calibrated, receipts: Receipts, tmp_path: Path
) -> None:
    event, bundle = calibrated.event, calibrated.event.copy(tmp_path / "bundle")

    def refused(path: Path, code: int, words: str) -> None:
        finished = audit(replace(calibrated, path=path), receipts, bundle)
        assert (finished.code, finished.out, finished.err.count("\n")) == (code, "", 1), finished
        assert words in finished.err
        assert not (bundle / AUDITS).exists()

    def written(**changes: Any) -> Path:
        statement = read(calibrated.path)
        predicate = statement.predicate.model_copy(update=changes)
        signer = load_signer(event.folder / "auditor", None)
        changed = statement.model_copy(update={"predicate": predicate})
        path = tmp_path / "changed.dsse.json"
        path.write_bytes(sign(changed.to_wire(), signer).to_json())
        return path

    theirs = tmp_path / "theirs.dsse.json"
    theirs.write_bytes(sign(read(calibrated.path).to_wire(), generate_key()).to_json())
    refused(theirs, 3, "is not signed with the auditor's key")
    longer = event.plan.sampling.model_copy(update={"max_new_tokens": 25})
    refused(written(sampling=longer), 2, "is of another sampling than the receipt's")
    refused(written(checkpoint="1" * 64), 2, "is of another checkpoint than the receipt's")
    refused(written(judge="1" * 64), 2, "is of another judge than the receipt's")
    refused(written(chat_template="1" * 64), 2, "is of another chat template than the receipt's")
    refused(tmp_path / "none", 2, "none")
    junk = Path(shutil.copy(event.folder / "auditor.pub", tmp_path / "junk"))
    refused(junk, 2, "junk")
    receipt = Path(shutil.copy(event.bundle / "receipt.dsse.json", tmp_path / "receipt"))
    refused(receipt, 3, "is not signed with the auditor's key")
