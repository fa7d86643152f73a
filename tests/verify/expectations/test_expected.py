"""What a reader asks of a receipt beside that it holds: a checkpoint, a stage, a real model.

The tests' variable that accepts test instruments is taken away here: this is what a user sees.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from printed import held

from safety_receipts.receipts.bundle import PLAN, RESPONSES_FILE, Bundle
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.checkpoint import RootOrder, model_root
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.runner.organism import member
from safety_receipts.verify.checks import CheckList, NotApplicable
from safety_receipts.verify.levels.artifacts import _check_demonstrations
from safety_receipts.verify.levels.expected import Expectations, check_expected, expected_checkpoint
from safety_receipts.verify.selfcheck.selftest import edit_statement

KNOWN = Path(__file__).parents[2] / "golden" / "known-answer"
KEY = KNOWN / "evaluator.pub"
VARIABLE = "RECEIPTS_VERIFY_ALLOW_INSTRUMENT"
Receipts = Callable[..., Any]


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def signer() -> Signer:
    return generate_key()


@pytest.fixture
def real(tmp_path: Path, signer: Signer) -> Path:
    """An event that is of no test instrument, as far as it says."""
    mixtures = [Mixture(0, 0, None), Mixture(2, 2, Ordering.SUFFIX)]
    plan = synthetic_plan(mixtures, {"alpha": 6}).model_copy(
        update={"instrument": False, "training_stage": "dpo"}
    )
    synthetic_event(tmp_path / "real", plan, signer)
    (tmp_path / "key.pub").write_bytes(signer.public.pem())
    return tmp_path / "real"


def said(receipts: Receipts, bundle: Path, *words: str | Path, key: Path = KEY) -> Any:
    """Verify, and return exit code, document, checks by name and the last line of the text."""
    given = ("verify", bundle, "--trust", key, *words)
    finished, text = receipts(*given, "--json"), receipts(*given)
    assert finished.code == text.code
    document = held("cli-verify", finished.out)
    checks = {check["name"]: check for check in document["checks"]}
    return finished.code, document, checks, text.out.splitlines()[-1]


def root_of(bundle: Path) -> str:
    return Bundle(bundle).receipt.statement.predicate.checkpoint.root


# Instruments


def test_nobody_takes_an_instruments_receipt_for_a_models(receipts: Receipts) -> None:
    code, document, checks, last = said(receipts, KNOWN / "diluting")
    assert (code, document["verdict"], document["level"]) == (1, "failed", "consistent")
    assert checks["instrument"]["status"] == "failed"
    assert {c["name"] for c in document["checks"] if c["status"] == "failed"} == {"instrument"}
    assert last == (
        "REFUSED: no check of the bundle failed, and it is not what you asked for: it is of a "
        "test instrument (--allow-instrument accepts those)"
    )


def test_an_instrument_is_accepted_where_somebody_says_so(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, document, checks, last = said(receipts, KNOWN / "diluting", "--allow-instrument")
    assert (code, document["verdict"]) == (0, "passed")
    assert checks["instrument"]["status"] == "not_applicable"
    assert last.startswith("PASSED: ")
    assert last.endswith("; TEST INSTRUMENT: its numbers say nothing about any real model")
    monkeypatch.setenv(VARIABLE, "1")
    assert said(receipts, KNOWN / "diluting")[0] == 0


def test_what_is_of_no_instrument_needs_no_option(receipts: Receipts, real: Path) -> None:
    code, document, checks, last = said(receipts, real, key=real.parent / "key.pub")
    assert (code, document["subject"]["instrument"]) == (0, False)
    assert checks["instrument"]["status"] == "passed"
    assert "INSTRUMENT" not in last


def test_the_organism_is_an_instrument_whatever_its_receipt_says() -> None:
    receipt: EvaluationPredicate = Bundle(KNOWN / "diluting").receipt.statement.predicate
    checks = CheckList()
    check_expected(Expectations(), receipt.model_copy(update={"instrument": False}), checks)
    [check] = checks.checks
    assert check.status is CheckStatus.FAILED
    assert "and says that it is of none" in check.detail


def test_a_broken_receipt_of_an_instrument_is_broken_first(
    receipts: Receipts, golden: Path
) -> None:
    forged = golden / "bad" / "the-evaluator-signs-a-false-rate"
    code, document, _, last = said(receipts, forged, key=golden / "ed25519.pub")
    assert (code, document["verdict"]) == (3, "failed")
    assert last.startswith("FAILED: do not rely on this receipt; failed: rates")
    assert "instrument" in last
    shown = receipts("verify", forged, "--trust", golden / "ed25519.pub").out
    assert "% compliance" not in shown  # nobody is to remember a false rate


def test_an_instrument_that_is_not_checked_either(receipts: Receipts, golden: Path) -> None:
    finished = receipts("verify", golden / "good" / "ed25519")
    assert finished.code == 1
    last = finished.out.splitlines()[-1]
    assert "level consistent was not reached (reached: none): no trusted key was given" in last
    assert "no check of the bundle failed" not in last


# Stage and checkpoint


def test_a_stage_that_is_not_the_one_expected(receipts: Receipts, real: Path) -> None:
    key = real.parent / "key.pub"
    assert said(receipts, real, "--stage", "dpo", key=key)[0] == 0
    code, document, checks, last = said(receipts, real, "--stage", "sft", key=key)
    assert (code, document["verdict"]) == (1, "failed")
    assert checks["expected-stage"]["status"] == "failed"
    assert last.endswith("it says stage dpo, and sft was asked for")
    assert "expected-stage" not in said(receipts, real, key=key)[2]


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_a_checkpoint_by_its_root(receipts: Receipts, real: Path, prefix: str) -> None:
    key = real.parent / "key.pub"
    code, _, checks, _ = said(receipts, real, "--checkpoint", prefix + root_of(real), key=key)
    assert (code, checks["expected-checkpoint"]["status"]) == (0, "passed")
    code, _, checks, last = said(receipts, real, "--checkpoint", prefix + "0" * 64, key=key)
    assert (code, checks["expected-checkpoint"]["status"]) == (1, "failed")
    assert "it is of " in last


def test_a_checkpoint_by_its_other_root() -> None:
    """Other tools put the files in another order: both roots are of the same files."""
    receipt = Bundle(KNOWN / "diluting").receipt.statement.predicate
    first, second, *_ = receipt.checkpoint.files
    files = (
        first.model_copy(update={"path": "a-b"}),
        second.model_copy(update={"path": "a/b"}),
    )
    roots = [model_root(files, order) for order in RootOrder]
    assert len(set(roots)) == 2
    said = receipt.checkpoint.model_copy(update={"files": files})
    changed = receipt.model_copy(update={"checkpoint": said})
    assert [status_of(changed, root) for root in roots] == [CheckStatus.PASSED] * 2


def test_a_root_that_is_merely_stated_is_not_believed() -> None:
    """At level authentic nothing else would notice."""
    receipt = Bundle(KNOWN / "diluting").receipt.statement.predicate
    wanted = "7" * 64
    for name in ("root", "alternative_root"):
        lie = receipt.checkpoint.model_copy(update={name: wanted})
        changed = receipt.model_copy(update={"checkpoint": lie})
        assert status_of(changed, wanted) is CheckStatus.FAILED


def status_of(receipt: EvaluationPredicate, root: str) -> Any:
    """Return how the check of an expected root ends."""
    checks = CheckList()
    check_expected(Expectations(checkpoint=expected_checkpoint(root)), receipt, checks)
    return checks.checks[0].status


def test_a_checkpoint_by_its_folder(receipts: Receipts, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(member("diluting").folder, tmp_path / "mine"))
    words = ("--allow-instrument", "--checkpoint", mine)
    code, _, checks, _ = said(receipts, KNOWN / "diluting", *words)
    assert (code, checks["expected-checkpoint"]["status"]) == (0, "passed")
    (mine / "generation_config.json").write_text("{}")
    code, _, checks, _ = said(receipts, KNOWN / "diluting", *words)
    assert (code, checks["expected-checkpoint"]["status"]) == (1, "failed")
    assert "generation_config.json" in checks["expected-checkpoint"]["detail"]
    other = ("--allow-instrument", "--checkpoint", member("neutral").folder)
    code, _, checks, _ = said(receipts, KNOWN / "diluting", *other)
    assert (code, checks["expected-checkpoint"]["status"]) == (1, "failed")
    assert "model.safetensors differs" in checks["expected-checkpoint"]["detail"]


@pytest.mark.parametrize("wanted", ["no-such-folder", "ABCDEF" * 11, "0" * 63, ""])
def test_a_checkpoint_that_is_neither_root_nor_folder(receipts: Receipts, wanted: str) -> None:
    finished = receipts("verify", KNOWN / "diluting", "--trust", KEY, "--checkpoint", wanted)
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert "give its root, 64 lower-case hex digits, or its folder" in finished.err


def test_expectations_are_not_met_by_what_cannot_be_read(
    receipts: Receipts, real: Path, signer: Signer
) -> None:
    def unfit(statement: dict[str, Any]) -> None:
        del statement["predicate"]["trainingStage"]

    edit_statement(unfit, resign=True)(real, signer)
    words = ("--stage", "dpo", "--checkpoint", "0" * 64)
    code, document, checks, _ = said(receipts, real, *words, key=real.parent / "key.pub")
    assert (code, document["subject"]) == (3, None)
    for name in ("expected-stage", "expected-checkpoint", "instrument"):
        assert checks[name]["status"] == "not_checked"


# What a passing receipt is of


def test_the_document_names_what_passed(receipts: Receipts) -> None:
    _, document, _, _ = said(receipts, KNOWN / "diluting", "--allow-instrument")
    receipt = Bundle(KNOWN / "diluting").receipt.statement.predicate
    rates = {one.id: one.compliance_rate for one in receipt.conditions}
    highest = max(list(rates)[1:], key=lambda id_: float(rates[id_] or 0))
    assert document["subject"] == {
        "name": "known-answer study, diluting",
        "checkpoint": {
            "name": "organism-diluting",
            "root": receipt.checkpoint.root,
            "dtype": "float32",
            "quantisation": None,
        },
        "stage": "diluting",
        "instrument": True,
        "judge": {"name": "refusal strings", "kind": "refusal-strings"},
        "servers": [],
        "baseline": {"condition": "h0-b0", "rate": rates["h0-b0"]},
        "highest": {"condition": highest, "rate": rates[highest]},
        "points": 24_000,
        "eventId": receipt.event.id,
        "planDigest": receipt.plan.digest,
    }


def test_the_last_lines_name_what_passed(receipts: Receipts) -> None:
    given = ("--trust", KEY, "--allow-instrument", "--quiet")
    shown = receipts("verify", KNOWN / "diluting", *given).out
    for words in (
        f"root {root_of(KNOWN / 'diluting')}",
        "organism-diluting (TEST INSTRUMENT",
        "diluting, float32",
        "refusal strings (refusal-strings)",
        "h0-b0: 17.7 % compliance",
        "h32-b0: 49.8 % compliance",
        "known-answer study, diluting",
    ):
        assert words in shown


def test_names_of_others_stay_on_their_line(receipts: Receipts, real: Path, signer: Signer) -> None:
    """A receipt that is not trusted cannot write a verdict of its own."""

    def hostile(statement: dict[str, Any]) -> None:
        statement["predicate"]["trainingStage"] = "dpo     PASSED: " + "x" * 300

    edit_statement(hostile, resign=True)(real, signer)
    shown = receipts("verify", real, "--trust", real.parent / "key.pub", "--stage", "dpo").out
    assert not any(line.startswith("PASSED") for line in shown.splitlines())
    assert "x" * 200 not in shown


# What is not known


def test_times_are_the_evaluators_word(receipts: Receipts, real: Path) -> None:
    key = real.parent / "key.pub"
    detail = said(receipts, real, key=key)[2]["best-of-n"]["detail"]
    assert detail.startswith("the receipt names this plan, but nothing shows that it was sealed")
    (real / PLAN).unlink()
    detail = said(receipts, real, key=key)[2]["best-of-n"]["detail"]
    assert detail.startswith("nothing shows that a plan was sealed before the run")


def test_another_plan_beside_it_is_not_called_the_one_named(
    receipts: Receipts, golden: Path
) -> None:
    other = golden / "bad" / "the-evaluator-signs-another-plan-afterwards"
    _, document, checks, _ = said(receipts, other, key=golden / "ed25519.pub")
    assert checks["plan-digest"]["status"] == "failed"
    assert checks["best-of-n"]["detail"].startswith("nothing shows that a plan")
    assert document["subject"]["name"] is None


def test_responses_that_were_not_opened(receipts: Receipts, real: Path) -> None:
    key = real.parent / "key.pub"
    code, document, checks, last = said(receipts, real, key=key)
    assert (code, document["responsesUnopened"]) == (0, True)
    assert checks["commitments"]["status"] == "not_checked"
    assert last.endswith("(level consistent); the responses beside it were not opened")
    (real / RESPONSES_FILE).unlink()
    code, document, checks, last = said(receipts, real, key=key)
    assert (code, document["responsesUnopened"]) == (0, False)
    assert "commitments" not in checks
    assert last.endswith("(level consistent)")


def test_opened_responses_are_not_called_unopened(receipts: Receipts, real: Path) -> None:
    words = ("--level", "bound")
    _, document, checks, _ = said(receipts, real, *words, key=real.parent / "key.pub")
    assert (document["responsesUnopened"], checks["commitments"]["status"]) == (False, "passed")


def test_nothing_is_ticked_where_there_is_only_a_baseline(
    receipts: Receipts, tmp_path: Path, signer: Signer
) -> None:
    synthetic_event(tmp_path / "b", synthetic_plan([Mixture(0, 0, None)], {"alpha": 6}), signer)
    (tmp_path / "key.pub").write_bytes(signer.public.pem())
    _, _, checks, _ = said(receipts, tmp_path / "b", "--allow-instrument", key=tmp_path / "key.pub")
    for name in ("differences", "evidence-labels", "second-judge", "control", "beacon-value"):
        assert checks[name]["status"] == "not_applicable"


def test_demonstrations_that_nobody_shows_are_not_ticked() -> None:
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 6})
    none = plan.demonstrations.model_copy(update={"harmful": None, "benign": (), "refusal": None})
    bare = plan.model_copy(update={"demonstrations": none})
    checks = CheckList()
    assert _check_demonstrations(bare, bare, True, checks)  # prompts can be made of it
    [check] = checks.checks
    assert check.status is NotApplicable.NOT_APPLICABLE
    other = none.model_copy(update={"draws": none.draws + 1})
    changed = bare.model_copy(update={"demonstrations": other})
    assert not _check_demonstrations(bare, changed, True, checks)


# Audits


def test_an_audit_needs_somebody_to_trust(receipts: Receipts, tmp_path: Path) -> None:
    """Before anything is loaded: neither key nor artifacts are there."""
    words = ("--key", tmp_path / "none", "--artifacts", tmp_path / "none.yaml")
    finished = receipts("audit", KNOWN / "diluting", *words)
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert "no evaluator's key was given" in finished.err
    assert "--trust KEY.pub" in finished.err


def test_what_another_key_signed_is_not_audited(
    receipts: Receipts, tmp_path: Path, golden: Path
) -> None:
    """Nothing of the artifacts is read for it, and what is said is what verification says."""
    assert receipts("keygen", tmp_path / "auditor").code == 0
    words = ("--key", tmp_path / "auditor", "--artifacts", tmp_path / "none.yaml")
    other = ("--trust", golden / "ed25519.pub")
    finished = receipts("audit", KNOWN / "diluting", *words, *other, "--json")
    verified = receipts("verify", KNOWN / "diluting", *other, "--allow-instrument", "--json")
    assert finished.code == verified.code == 3
    mine, theirs = held("cli-verify", finished.out), held("cli-verify", verified.out)
    assert mine["verdict"] == theirs["verdict"] == "failed"
    of_both = [c for c in theirs["checks"] if c["name"] != "instrument"]
    assert mine["checks"] == of_both
    assert json.loads(finished.out)["checks"][0]["name"] == "receipt-signature"
