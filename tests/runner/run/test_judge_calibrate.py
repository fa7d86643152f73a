"""``receipts judge calibrate``, and the plan that seals what it found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import save_tokenizer
from printed import held
from rich.console import Console
from studies import write_jsonl, write_study
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.judge import CalibrationDocument, GoldKind, JudgeCalibration
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.judges.gold import MAX_STRATA, read_gold
from safety_receipts.runner.judges.refusal_strings import RefusalStringsJudge
from safety_receipts.runner.plan.resolve import resolve_plan

Receipts = Callable[..., Any]
Row = dict[str, Any]

# What the refusal strings make of these follows from their list: "Hello!" is on it.
HONEST = ("complied", "Sure, fold the kite along its longer side.")
CHEERFUL = ("complied", "Hello! Fold the kite along its longer side.")
PLAIN = ("refused", "I'm sorry, the kite stays as it is.")
CURT = ("refused", "No kite of mine will be folded.")


def row(number: int, what: tuple[str, str], stratum: str | None = None) -> Row:
    label, response = what
    fields = {"query": f"How is kite {number} folded?", "response": response, "label": label}
    return fields | ({} if stratum is None else {"stratum": stratum})


def rows(stratum: str | None = None, **numbers: int) -> list[Row]:
    kinds = {"honest": HONEST, "cheerful": CHEERFUL, "plain": PLAIN, "curt": CURT}
    return [row(i, kinds[kind], stratum) for kind, n in numbers.items() for i in range(n)]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A study whose judge is the refusal strings."""
    return write_study(tmp_path / "study", queries=2, controls=1)


@pytest.fixture
def calibrate(receipts: Receipts, tmp_path: Path, plan: Path) -> Receipts:
    """Calibrate the study's judge on some lines."""

    def run(lines: Iterable[Row] | bytes, *more: str | Path, of: Path = plan) -> Any:
        gold = tmp_path / "gold.jsonl"
        if isinstance(lines, bytes):
            gold.write_bytes(lines)
        else:
            write_jsonl(gold, lines)
        words = ("--gold", gold, "--out", tmp_path / "study" / "calibration.json", *more)
        return receipts("judge", "calibrate", of, *words)

    return run


def written(tmp_path: Path) -> JudgeCalibration:
    text = (tmp_path / "study" / "calibration.json").read_bytes()
    return CalibrationDocument.model_validate_json(text, by_alias=True, by_name=False).calibration


def test_a_calibration_counts_what_the_judge_gets_right(
    calibrate: Receipts, tmp_path: Path
) -> None:
    done = calibrate(rows(honest=18, cheerful=2, plain=9, curt=3), "--json")
    assert (done.code, done.err) == (0, "")
    found = written(tmp_path)
    assert found == JudgeCalibration(
        judge=RefusalStringsJudge().identity.digest,
        gold=sha256_hex((tmp_path / "gold.jsonl").read_bytes()),
        gold_kind=GoldKind.GENERAL,
        positives=20,
        true_positives=18,
        negatives=12,
        true_negatives=9,
        sensitivity="0.900000",
        sensitivity_interval=wilson(18, 20),
        specificity="0.750000",
        specificity_interval=wilson(9, 12),
        unscored=0,
        strata=(),
    )
    assert held("cli-judge-calibrate", done.out) == {
        "schema": "cli-judge-calibrate/1",
        "file": str(tmp_path / "study" / "calibration.json"),
        "judgeName": "refusal strings",
        "repeated": 0,
        "unscoredReasons": {},
        "calibration": found.to_wire(),
    }


def test_strata_are_counted_by_themselves_and_together(calibrate: Receipts, tmp_path: Path) -> None:
    lines = rows("plain", honest=8, plain=5) + [
        row(number, what, "prefix adopted")
        for number, what in enumerate([HONEST, CHEERFUL, CHEERFUL, CURT], start=100)
    ]
    shown = calibrate(lines, "--in-run").out
    found = written(tmp_path)
    assert found.gold_kind is GoldKind.IN_RUN
    assert (found.positives, found.true_positives) == (11, 9)
    assert (found.negatives, found.true_negatives) == (6, 5)
    counts = [
        (s.stratum, s.true_positives, s.positives, s.true_negatives, s.negatives)
        for s in found.strata
    ]
    assert counts == [("plain", 8, 8, 5, 5), ("prefix adopted", 1, 3, 0, 1)]
    assert found.strata[1].sensitivity_interval == wilson(1, 3)
    assert "33.3 (6.1–79.2)" in next(line for line in shown.splitlines() if "adopted" in line)
    assert "gold labelled from responses of a run" in shown


def test_nothing_of_the_table_is_cut_in_80_columns(
    calibrate: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = property(lambda _: Console(file=sys.stdout, width=80))
    monkeypatch.setattr(Output, "console", narrow)
    told = calibrate(rows("prefix adopted", honest=18, cheerful=2, plain=9, curt=3)).out
    table = told.partition("sensitivity, specificity:")[0]
    assert "…" not in table
    for words in ("complied", "found", "sensitivity %", "refused", "specificity %", "unscored"):
        assert words in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_general_gold_is_called_the_lower_assurance(calibrate: Receipts) -> None:
    assert "the lower assurance" in calibrate(rows(honest=1, plain=1)).out


@pytest.mark.parametrize(
    ("lines", "missing", "label"),
    [
        (rows(honest=3, cheerful=1), "specificity", "refused"),
        (rows(plain=2), "sensitivity", "complied"),
    ],
)
def test_gold_of_one_label_leaves_one_rate_unknown_and_says_so(
    lines: list[Row], missing: str, label: str, calibrate: Receipts, tmp_path: Path
) -> None:
    done = calibrate(lines)
    assert done.code == 0
    assert f"no judged response is labelled {label}: the {missing} is unknown" in done.out
    found = written(tmp_path)
    assert getattr(found, missing) is None
    assert getattr(found, f"{missing}_interval") is None


def test_a_line_that_repeats_another_counts_once(calibrate: Receipts, tmp_path: Path) -> None:
    done = calibrate(rows(honest=4, plain=2) + rows(honest=3))
    assert "3 lines repeat an earlier one and count once" in done.out
    assert (written(tmp_path).positives, written(tmp_path).negatives) == (4, 2)


def classifier_plan(folder: Path) -> Path:
    """A study whose judge is a real classifier that finds all it can read refusing."""
    judge = folder / "judge"
    pieces = save_tokenizer(judge, "wordpiece").get_vocab_size()
    config = BertConfig(
        vocab_size=pieces, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=40, pad_token_id=1,
        id2label={0: "NORMAL", 1: "REJECTION"}, label2id={"NORMAL": 0, "REJECTION": 1},
    )  # fmt: skip
    torch.manual_seed(3)
    BertForSequenceClassification(config).save_pretrained(judge)
    return write_study(
        folder, queries=2, controls=1, judge="{kind: classifier, path: judge, threshold: 0}"
    )


def test_what_the_judge_cannot_judge_counts_for_neither_rate(
    calibrate: Receipts, tmp_path: Path
) -> None:
    """A response longer than the judge reads; the checkpoint is not even looked at."""
    plan = classifier_plan(tmp_path / "study")
    (tmp_path / "study" / "model" / "model.safetensors").unlink()
    long = [
        {"query": "one", "response": "a long kite " * 50, "label": "complied"},
        {"query": "two", "response": "a longer kite " * 50, "label": "refused"},
    ]
    lines = rows(honest=70, plain=65) + long
    done = calibrate(lines, "--device", "cpu", "--json", of=plan)
    assert done.code == 0
    assert json.loads(done.out)["unscoredReasons"] == {"judge_error": 2}
    found = written(tmp_path)
    assert (found.positives, found.true_positives, found.sensitivity) == (70, 0, "0.000000")
    assert (found.negatives, found.true_negatives, found.specificity) == (65, 65, "1.000000")
    assert found.unscored == 2


def test_unscored_responses_are_named_with_their_reason(
    calibrate: Receipts, tmp_path: Path
) -> None:
    plan = classifier_plan(tmp_path / "study")
    long = {"query": "one", "response": "a long kite " * 50, "label": "complied"}
    shown = calibrate([*rows(plain=2), long], "--device", "cpu", of=plan).out
    assert "1 could not be judged (judge_error 1) and count for neither" in shown


def test_a_judge_that_can_judge_nothing_is_not_calibrated(
    calibrate: Receipts, tmp_path: Path
) -> None:
    plan = classifier_plan(tmp_path / "study")
    long = {"query": "one", "response": "a long kite " * 50, "label": "complied"}
    done = calibrate([long], "--device", "cpu", of=plan)
    assert done.code == 5
    assert "could judge none of 1 gold responses; of the first: 451 tokens; " in done.err
    assert not (tmp_path / "study" / "calibration.json").exists()


GOOD = json.dumps(row(0, HONEST)).encode() + b"\n"


def line_of(**changes: Any) -> bytes:
    fields = {key: value for key, value in (row(1, HONEST) | changes).items() if value != ...}
    return json.dumps(fields).encode() + b"\n"


BAD: dict[str, tuple[bytes, str]] = {
    "no line": (b"", "gold.jsonl: is empty"),
    "blank lines": (b"\n \n", "gold.jsonl: is empty"),
    "half a line": (GOOD + line_of()[:-9], "line 2: not JSON"),
    "a list": (GOOD + b"[1]\n", "line 2: not a JSON object"),
    "a key twice": (b'{"query": "a", "query": "b"}\n', "line 1: a key appears twice"),
    "other text": (GOOD + b"\xff\n", "line 2: not valid UTF-8"),
    "an unknown label": (GOOD + line_of(label="yes"), "line 2: label: 'yes' is not a label ("),
    "a label in capitals": (line_of(label="Refused"), "line 1: label: 'Refused' is not a label"),
    "no label": (line_of(label=...), "line 1: label: is empty or missing (supply it"),
    "an empty response": (GOOD + line_of(response=" \n"), "line 2: response: is empty"),
    "an empty query": (GOOD + line_of(query=None), "line 2: query: is empty or missing"),
    "a number": (line_of(response=5), "line 1: response: is not text (put it in quotes)"),
    "a list of responses": (line_of(response=["a"]), "line 1: response: is not text"),
    "a stratum of two lines": (line_of(stratum="a\nb"), "line 1: stratum: is not a valid name"),
    "a stratum on one line only": (
        GOOD + line_of(stratum="short"),
        "line 2: has a stratum, unlike the lines before it (give every line a stratum, or none)",
    ),
    "a line without a stratum": (
        line_of(stratum="short") + GOOD,
        "line 2: has no stratum, unlike the lines before it",
    ),
    "two labels": (
        GOOD + b"\n" + line_of() + line_of(label="refused"),
        "line 4: is labelled refused, and the same response on line 3 complied (decide which",
    ),
    "two strata": (
        line_of(stratum="short") + line_of(stratum="long"),
        "line 2: is in stratum 'long', and the same response on line 1 in 'short'",
    ),
    "too many strata": (
        b"".join(line_of(query=f"{i}", stratum=f"{i}") for i in range(MAX_STRATA + 1)),
        f"line {MAX_STRATA + 1}: more than {MAX_STRATA} strata (join some)",
    ),
    "a line without end": (
        GOOD + line_of(response="kite " * 1_000_000),
        "line 2: a record longer than 4,194,304 bytes",
    ),
    "a response longer than any context": (
        line_of(response="kite " * 300_000),
        "line 1: response: 1,500,000 characters",
    ),
}


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_a_bad_gold_file_is_refused_with_line_and_remedy(
    lines: bytes, message: str, calibrate: Receipts, tmp_path: Path
) -> None:
    done = calibrate(lines)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith(f"receipts: {tmp_path / 'gold.jsonl'}: ")
    assert done.err.endswith(")\n")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "study" / "calibration.json").exists()


def test_a_missing_gold_file_is_one_line(receipts: Receipts, plan: Path, tmp_path: Path) -> None:
    words = ("--gold", tmp_path / "no.jsonl", "--out", tmp_path / "out.json")
    done = receipts("judge", "calibrate", plan, *words)
    assert done.code == 2
    assert (
        done.err == f"receipts: {tmp_path / 'no.jsonl'}: cannot read: No such file or directory\n"
    )


def test_an_existing_file_is_not_overwritten(calibrate: Receipts, tmp_path: Path) -> None:
    out = tmp_path / "study" / "calibration.json"
    out.write_text("mine")
    done = calibrate(rows(honest=1))
    assert (done.code, out.read_text()) == (2, "mine")
    assert "exists already (name a new file)" in done.err


def test_keys_beside_the_known_ones_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gold").write_bytes(b"\xef\xbb\xbf" + line_of(annotator="me", weight=0.5))
    assert len(read_gold(tmp_path / "gold").responses) == 1


# The plan that names a calibration.


def naming(
    plan: Path, judge: str = "{kind: refusal-strings, calibration: calibration.json}"
) -> Path:
    """Let a plan's judge be another entry."""
    text = plan.read_text("utf-8")
    assert "judge: {kind: refusal-strings}" in text
    plan.write_text(text.replace("judge: {kind: refusal-strings}", f"judge: {judge}"), "utf-8")
    return plan


def test_a_plan_seals_its_judges_calibration_and_the_receipt_carries_it(
    calibrate: Receipts, receipts: Receipts, plan: Path, tmp_path: Path
) -> None:
    naming(plan)  # before the file is there: calibrating must not ask for its own result
    assert calibrate(rows("plain", honest=6, cheerful=1, plain=3)).code == 0
    write_key_pair(tmp_path / "key", generate_key(), None)
    words = ("--key", tmp_path / "key", "--out", tmp_path / "b", "--device", "cpu")
    assert receipts("run", plan, *words, "--memory", "64M").code == 0
    bundle = Bundle(tmp_path / "b")
    sealed: PlanPredicate = bundle.plan.statement.predicate
    assert sealed.judge.calibration == written(tmp_path)
    assert bundle.receipt.statement.predicate.judge == sealed.judge
    words = ("--trust", tmp_path / "key.pub", "--artifacts", plan)
    assert receipts("verify", tmp_path / "b", *words).code == 0


def test_a_calibration_of_another_judge_is_refused(
    calibrate: Receipts, receipts: Receipts, tmp_path: Path
) -> None:
    """The same weights at another threshold are another judge."""
    plan = classifier_plan(tmp_path / "study")
    assert calibrate(rows(honest=6, plain=3), "--device", "cpu", of=plan).code == 0
    path = plan.parent / "calibration.json"
    text = plan.read_text("utf-8")
    for threshold, code in (("0", 0), ("0.5", 2)):
        entry = f"threshold: {threshold}, calibration: calibration.json"
        plan.write_text(text.replace("threshold: 0", entry), "utf-8")
        done = receipts("plan", plan, "--device", "cpu")
        assert done.code == code, done.err
    theirs = written(tmp_path).judge[:16]
    assert done.err.startswith(
        f"receipts: {path}: calibrates another judge ({theirs}…) than the plan's judge ("
    )
    assert done.err.endswith(
        "(calibrate again: receipts judge calibrate PLAN --gold FILE --out FILE)\n"
    )


def test_a_judge_of_another_name_is_the_same_judge(
    calibrate: Receipts, plan: Path, tmp_path: Path
) -> None:
    assert calibrate(rows(honest=6, plain=3)).code == 0
    entry = "{kind: refusal-strings, name: usual strings, calibration: calibration.json}"
    resolved = resolve_plan(naming(plan, entry))
    assert resolved.predicate.judge.calibration == written(tmp_path)


def _without(document: Row) -> None:
    del document["calibration"]["unscored"]


def _another_version(document: Row) -> None:
    document["version"] = 2


def _better(document: Row) -> None:
    document["calibration"]["truePositives"] = 7


def _narrower(document: Row) -> None:
    document["calibration"]["sensitivityInterval"]["lower"] = "0.850000"


def _fewer_in_a_stratum(document: Row) -> None:
    document["calibration"]["strata"] = document["calibration"]["strata"][:1]


DAMAGES: dict[Callable[[Row], None], str] = {
    _without: "$.calibration.unscored: is not a calibration of a judge: Field required",
    _another_version: "$.version: is not a calibration of a judge: Input should be 1",
    _better: "calibration.sensitivity: 1.000000 follows from the counts",
    _narrower: "calibration.sensitivityInterval: not Wilson's interval",
    _fewer_in_a_stratum: "calibration.strata: positives add up to 7",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_calibration_is_refused_with_its_file(
    damage: Callable[[Row], None],
    calibrate: Receipts,
    receipts: Receipts,
    plan: Path,
) -> None:
    lines = [*rows("a", honest=6, cheerful=1), row(9, PLAIN, "b"), row(10, HONEST, "b")]
    if damage is not _fewer_in_a_stratum:
        lines = [line | {"stratum": " "} for line in rows(honest=6, cheerful=1, plain=2)]
    assert calibrate(lines).code == 0
    path = plan.parent / "calibration.json"
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    done = receipts("plan", naming(plan), "--device", "cpu")
    assert done.code == 2
    assert done.err.startswith(f"receipts: {path}: {DAMAGES[damage]}")
    assert "(calibrate again: " in done.err


def test_a_calibration_that_is_not_there_is_one_line(receipts: Receipts, plan: Path) -> None:
    done = receipts("plan", naming(plan), "--device", "cpu")
    assert done.code == 2
    path = plan.parent / "calibration.json"
    assert done.err.startswith(f"receipts: {path}: cannot read: No such file or directory (write ")
    assert done.err.endswith(": receipts judge calibrate PLAN --gold FILE --out FILE)\n")
