"""The public library: what it returns, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import safety_receipts as sr
from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    MalformedError,
    PolicyError,
    UsageError,
)
from safety_receipts.receipts.model.point import Outcome


@pytest.fixture
def receipt(golden: Path) -> sr.Receipt:
    return sr.load(golden / "good" / "ed25519")


def test_what_is_public_is_listed_and_can_be_had() -> None:
    assert sr.__all__ == sorted(sr.__all__, key=lambda name: (name.islower(), name))
    assert dir(sr) == sorted(sr.__all__)
    assert all(getattr(sr, name) is not None for name in sr.__all__)
    assert 4 <= len(sr.__all__) <= 12
    with pytest.raises(AttributeError, match="no attribute 'verify_bundle'"):
        _ = sr.verify_bundle  # type: ignore[attr-defined]


def test_importing_it_loads_next_to_nothing() -> None:
    code = (
        "import sys, safety_receipts; "
        "print({'pydantic', 'cryptography', 'numpy', 'click', 'rich'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class _PathLike:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.mark.parametrize("make", [str, Path, _PathLike])
def test_a_path_may_be_written_in_several_ways(make: Callable[[Path], Any], golden: Path) -> None:
    receipt = sr.load(make(golden / "good" / "ed25519"))
    assert receipt.verify(trust=make(golden / "ed25519.pub"), allow_instrument=True)
    keys = [make(golden / "p256.pub"), make(golden / "ed25519.pub")]
    assert receipt.verify(trust=keys, allow_instrument=True)


def test_a_receipt_is_told_in_one_line(receipt: sr.Receipt) -> None:
    assert repr(receipt) == (
        "<Receipt synthetic (stage none, test instrument): 11 conditions, 264 points, "
        "baseline 37.5 %>"
    )
    assert "not verified here" in receipt._repr_html_()
    assert receipt.digest in receipt._repr_html_()


# Verification


def test_a_verification_is_true_only_if_it_passed(receipt: sr.Receipt, golden: Path) -> None:
    found = receipt.verify(trust=golden / "ed25519.pub", allow_instrument=True)
    assert found
    assert repr(found).startswith("<Verification passed: level consistent; ")
    assert found.failed == ()
    found.raise_for_failure()


def test_an_incomplete_verification_is_false(receipt: sr.Receipt, golden: Path) -> None:
    unsigned = receipt.verify(allow_instrument=True)
    assert not unsigned
    assert unsigned.failed == ()
    with pytest.raises(IncompleteError, match="level consistent was not reached: receipt-sig"):
        unsigned.raise_for_failure()
    unbound = receipt.verify(trust=golden / "ed25519.pub", level="bound", allow_instrument=True)
    assert not unbound
    assert repr(unbound).endswith("bound was asked for>")
    with pytest.raises(IncompleteError, match="level bound was not reached"):
        unbound.raise_for_failure()


def test_a_test_instrument_is_refused_unless_it_is_accepted(
    receipt: sr.Receipt, golden: Path
) -> None:
    found = receipt.verify(trust=golden / "ed25519.pub")
    assert not found
    assert ([check.name for check in found.failed], found.broken) == (["instrument"], ())
    assert found.exit_code == 1
    with pytest.raises(PolicyError, match="instrument: it is of a test instrument"):
        found.raise_for_failure()


def test_what_is_expected_of_a_receipt(receipt: sr.Receipt, golden: Path) -> None:
    key, root = golden / "ed25519.pub", receipt.model.checkpoint.root
    for said in (root, f"sha256:{root}"):
        assert receipt.verify(trust=key, checkpoint=said, stage="none", allow_instrument=True)
    other = receipt.verify(trust=key, checkpoint="0" * 64, stage="sft", allow_instrument=True)
    assert [check.name for check in other.unmet] == ["expected-checkpoint", "expected-stage"]
    forged = sr.load(golden / "bad" / "a-rate-is-edited").verify(trust=key, stage="sft")
    assert forged.exit_code == 3
    with pytest.raises(IntegrityError, match="receipt-signature"):
        forged.raise_for_failure()
    with pytest.raises(UsageError, match="no checkpoint is named by no-such-folder"):
        receipt.verify(trust=key, checkpoint="no-such-folder")


@pytest.mark.parametrize("name", ["an-outcome-is-flipped", "a-rate-is-edited"])
def test_a_failed_verification_is_false_and_says_what_failed(golden: Path, name: str) -> None:
    found = sr.load(golden / "bad" / name).verify(trust=golden / "ed25519.pub")
    assert not found
    assert found.failed
    assert found.failed[0].name in repr(found)
    with pytest.raises(IntegrityError, match=found.failed[0].name):
        found.raise_for_failure()
    assert f"<td>{found.failed[0].name}</td>" in found._repr_html_()


def test_a_level_below_suffices_where_it_is_asked_for(bundle: Path, golden: Path) -> None:
    (bundle / POINTS_FILE).unlink()
    receipt = sr.load(bundle)
    key = golden / "ed25519.pub"
    assert receipt.verify(trust=key, level="authentic", allow_instrument=True)
    assert not receipt.verify(trust=key, allow_instrument=True)


def test_verifying_looks_at_the_files_as_they_are(bundle: Path, golden: Path) -> None:
    """Not at what was there when the bundle was loaded."""
    loaded = sr.load(bundle)
    shutil.copyfile(golden / "good" / "p256" / PLAN, bundle / PLAN)
    assert loaded.verify(trust=golden / "ed25519.pub", allow_instrument=True).broken


def test_another_receipt_than_the_one_that_was_loaded_is_not_verified(
    bundle: Path, golden: Path
) -> None:
    """Else forged rates, loaded before the true file was put back, would stand beside a pass."""
    honest = (bundle / RECEIPT).read_bytes()
    shutil.copyfile(golden / "bad" / "a-rate-is-edited" / RECEIPT, bundle / RECEIPT)
    forged = sr.load(bundle)
    (bundle / RECEIPT).write_bytes(honest)
    with pytest.raises(IntegrityError, match="holds another receipt than the one that was loaded"):
        forged.verify(trust=golden / "ed25519.pub")
    assert sr.load(bundle).verify(trust=golden / "ed25519.pub", allow_instrument=True)


@pytest.mark.parametrize("path", ["a" * 5000, "no/such/folder", ""])
def test_a_path_that_leads_nowhere_is_an_error_of_the_library(path: str) -> None:
    with pytest.raises(sr.ReceiptsError):
        sr.load(path)


@pytest.mark.parametrize("path", [3, b"bytes"])
def test_what_is_no_path_is_a_type_error(path: object, receipt: sr.Receipt) -> None:
    with pytest.raises(TypeError):
        sr.load(path)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        receipt.verify(trust=path)  # type: ignore[arg-type]


def test_no_key_is_no_trust(receipt: sr.Receipt) -> None:
    assert not receipt.verify(trust=None, allow_instrument=True)
    assert not receipt.verify(trust=[], allow_instrument=True)


def test_a_level_that_does_not_exist(receipt: sr.Receipt) -> None:
    with pytest.raises(UsageError, match="there is no level 'replayed'"):
        receipt.verify(level="replayed")  # type: ignore[arg-type]


def test_names_from_outside_are_no_markup(bundle: Path) -> None:
    found = sr.load(bundle).verify()
    hostile = replace(found.checks[0], detail="<script>alert(1)</script>")
    html = type(found)((hostile,), found.wanted, None, None)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


# Rows and frames


def test_rows_hold_what_is_sealed(receipt: sr.Receipt) -> None:
    rows = receipt.conditions()
    for row, condition in zip(rows, receipt.model.conditions, strict=True):
        assert (row.condition, row.n_total) == (
            condition.id,
            condition.n_harmful + condition.n_benign,
        )
        assert row.compliance_rate == float(condition.compliance_rate or "nan")
        assert row.refused + row.complied + row.unscored == row.generated
        assert row.generated + row.failed == row.planned
        assert row.compliance_lower <= row.compliance_rate <= row.compliance_upper  # type: ignore[operator]
    assert rows[0].baseline_difference is None
    assert rows[1].baseline_difference is not None


def test_points_are_those_that_were_sealed(receipt: sr.Receipt) -> None:
    points = list(receipt.points())
    assert [point.point for point in points] == list(range(receipt.model.evidence.size))
    assert {point.outcome for point in points} <= {outcome.value for outcome in Outcome}
    complied = sum(point.outcome == "complied" and point.role == "harmful" for point in points)
    assert complied == sum(row.complied for row in receipt.conditions())


def test_other_points_than_the_sealed_ones_are_refused(bundle: Path, golden: Path) -> None:
    shutil.copyfile(golden / "bad" / "an-outcome-is-flipped" / POINTS_FILE, bundle / POINTS_FILE)
    points = sr.load(bundle).points()
    with pytest.raises(IntegrityError, match="do not have the receipt's root"):
        list(points)


def test_a_published_copy_has_no_points(bundle: Path) -> None:
    (bundle / POINTS_FILE).unlink()
    receipt = sr.load(bundle)
    assert receipt.conditions()
    with pytest.raises(FileAccessError):
        list(receipt.points())


def test_frames_have_the_columns_of_the_rows(receipt: sr.Receipt) -> None:
    pandas = pytest.importorskip("pandas")
    frame = receipt.conditions_df()
    rows = receipt.conditions()
    assert list(frame.columns) == list(rows[0]._fields)
    assert frame.condition.cat.categories.tolist() == [row.condition for row in rows]
    for name in ("compliance_rate", "baseline_difference", "mean_prompt_tokens"):
        assert frame[name].dtype == "float64"
    assert pandas.isna(frame.baseline_difference[0])
    assert frame.ordering.isna().sum() == sum(row.ordering is None for row in rows)


def test_points_can_be_joined_with_what_was_shown(receipt: sr.Receipt) -> None:
    pytest.importorskip("pandas")
    plain, joined = receipt.points_df(), receipt.points_df(join="conditions")
    assert len(plain) == len(joined) == receipt.model.evidence.size
    assert joined.condition.tolist() == plain.condition.tolist()
    shown = {row.condition: (row.n_harmful, row.n_benign) for row in receipt.conditions()}
    found = zip(joined.condition, joined.n_harmful, joined.n_benign, strict=True)
    assert all(shown[condition] == (harmful, benign) for condition, harmful, benign in found)
    assert joined.outcome.cat.categories.tolist() == [outcome.value for outcome in Outcome]
    with pytest.raises(UsageError, match="cannot join 'queries'"):
        receipt.points_df(join="queries")  # type: ignore[arg-type]


def test_without_pandas_there_are_tuples(
    receipt: sr.Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert receipt.conditions()
    with pytest.raises(IncompleteError, match="pandas is not installed") as caught:
        receipt.conditions_df()
    assert "plain tuples" in str(caught.value.hint)


# Findings, comparisons, errors


def test_findings_are_told_in_words(receipt: sr.Receipt) -> None:
    assert receipt.findings
    assert len(receipt.findings.summary().splitlines()) == len(receipt.findings)
    assert receipt.findings.model == receipt.model.findings
    assert receipt.findings._repr_html_().count("<li>") == len(receipt.findings)


def test_a_comparison_has_what_the_command_says(golden: Path) -> None:
    folder = golden.parent / "known-answer"
    stages = [folder / "neutral", str(folder / "diluting")]
    found = sr.compare(stages, trust=folder / "evaluator.pub")
    assert found.authentic
    assert found.statements == ("dilution at diluting, none at neutral",)
    assert repr(found) == "<Comparison: dilution at diluting, none at neutral>"
    [pair] = found.pairs()
    assert (pair.first, pair.second, pair.word) == ("neutral", "diluting", "appeared")
    assert [row.effect for row in found.models()] == ["none", "dilution"]
    assert found.to_dict()["pairs"][0]["statement"] == found.statements[0]
    unsigned = sr.compare(stages)
    assert not unsigned.authentic
    assert any("authenticity was not checked" in note for note in unsigned.notes)


def test_one_bundle_is_nothing_to_compare(golden: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        sr.compare([golden / "good" / "ed25519"])


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"\xff\xfe"])
def test_what_is_no_receipt_is_an_error_of_the_library(content: bytes, bundle: Path) -> None:
    (bundle / RECEIPT).write_bytes(content)
    with pytest.raises(MalformedError):
        sr.load(bundle)
    assert issubclass(MalformedError, sr.ReceiptsError)


def test_a_receipt_stands_wherever_its_path_does(golden: Path) -> None:
    folder = golden.parent / "known-answer"
    found = sr.compare([sr.load(folder / "neutral"), sr.load(folder / "diluting")])
    assert found.statements == ("dilution at diluting, none at neutral",)


def test_a_folder_without_a_receipt_says_what_a_bundle_is(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="is not in this folder") as caught:
        sr.load(tmp_path)
    assert caught.value.hint == "a bundle is the folder that holds receipt.dsse.json"
