"""The page without its script: every number is there, and is the sealed one."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from html_pages import read_page, unpacked
from releases import AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

from safety_receipts.receipts.bundle import POINTS_FILE, RECEIPT, Bundle
from safety_receipts.receipts.errors import IntegrityError, UsageError
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.receipts.view.rows import condition_rows
from safety_receipts.verify.page.page import ReportPage, report_page
from safety_receipts.verify.page.sealed import Form, shown_as

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden"
KNOWN = GOLDEN / "known-answer"
BUNDLES = {
    "ed25519": (GOLDEN / "0.1" / "good" / "ed25519", GOLDEN / "0.1" / "ed25519.pub"),
    "p256": (GOLDEN / "0.1" / "good" / "p256", GOLDEN / "0.1" / "p256.pub"),
    "published": (GOLDEN / "0.1" / "good" / "published", GOLDEN / "0.1" / "ed25519.pub"),
    **{
        name: (KNOWN / name, KNOWN / "evaluator.pub")
        for name in ("diluting", "amplifying", "neutral", "recency")
    },
}


def page_of(name: str, **asked: Any) -> ReportPage:
    bundle, key = BUNDLES[name]
    return report_page(Bundle(bundle), TrustSet.load([key]), **asked)


def receipt_of(name: str) -> EvaluationPredicate:
    return Bundle(BUNDLES[name][0]).receipt.statement.predicate


@pytest.mark.parametrize("name", ["ed25519", "published"])
def test_the_command_it_names_passes(name: str, receipts: Callable[..., Any]) -> None:
    bundle, key = BUNDLES[name]
    (words,) = re.findall("receipts verify BUNDLE [^<]+", page_of(name).html.decode())
    given = {"BUNDLE": bundle, "EVALUATOR.pub": key}
    finished = receipts(*(given.get(word, word) for word in words.split()[1:]))
    assert finished.code == 0, finished.err


@pytest.mark.parametrize("name", BUNDLES)
def test_every_number_is_the_sealed_one_at_the_place_it_names(name: str) -> None:
    page = read_page(page_of(name).html)
    assert page.unbound == []
    assert len(page.shown) > 100
    for one in page.shown:
        if one.form in ("digest", "keyid"):
            continue
        assert one.text.strip() == shown_as(page.value(one.place), Form(one.form)), one
    # What is not sealed is of the tool's own words, or follows from a formula: little of it.
    derived = [text for text in page.fixed if text.lstrip("−+").replace(".", "").isdigit()]
    assert len(set(derived)) < 30


@pytest.mark.parametrize("name", BUNDLES)
def test_all_that_is_sealed_of_conditions_stands_on_the_page(name: str) -> None:
    page, receipt = read_page(page_of(name).html), receipt_of(name)
    places = {one.place: one.text.strip() for one in page.shown}
    for index, one in enumerate(receipt.conditions):
        root = f"/r/conditions/{index}"
        assert places[f"{root}/id"] == one.id
        assert places[f"{root}/complianceRate"] == percent(one.compliance_rate)
        assert places[f"{root}/worstCaseRate"] == percent(one.worst_case_rate)
        for field in ("planned", "failed", "unscored", "refused", "complied", "lengthStopped"):
            assert f"{root}/counts/{field}" in places
        if one.interval is not None:
            assert places[f"{root}/interval/lower"] == percent(one.interval.lower)
        if one.baseline_difference is not None:
            assert f"{root}/baselineDifference/value" in places
        if one.control is not None and len(receipt.queries) > 1:
            assert places[f"{root}/control/refusalRate"] == percent(one.control.refusal_rate)
        if len(receipt.queries) > 1:
            assert f"{root}/bySource/{len(receipt.queries) - 1}/complianceRate" in places
    assert len(condition_rows(receipt)) == len(receipt.conditions)


def test_charts_stand_at_sealed_values(tmp_path: Path) -> None:
    html = page_of("diluting").html.decode()
    assert html.count("<figure") == 4
    for place in ("/r/findings/joint/clustered/beta2", "/r/findings/total/rows/0/total"):
        assert place in html
    page = read_page(html.encode())
    assert {"svg", "desc", "caption", "noscript"} <= page.tags


def test_a_page_is_the_same_every_time_and_holds_what_was_signed() -> None:
    made = page_of("diluting", with_evidence=True)
    assert made.html == page_of("diluting", with_evidence=True).html
    page = read_page(made.html)
    bundle = Bundle(BUNDLES["diluting"][0])
    assert unpacked(page.data["receipt"]) == (bundle.folder / RECEIPT).read_bytes()
    assert unpacked(page.data["plan"]) == (bundle.folder / "plan.dsse.json").read_bytes()
    lines = unpacked(page.data["evidence"]).splitlines()
    assert lines == list(bundle.lines(24_000))
    [key] = page.data["keys"]
    assert (key["role"], key["pem"]) == ("evaluator", (KNOWN / "evaluator.pub").read_text())


def test_a_page_loads_nothing() -> None:
    html = page_of("diluting").html.decode()
    assert "default-src 'none'" in unescape(html)
    assert "unsafe" not in html.partition("<body")[0]
    for word in ("<link", "<img", "<iframe", "src=", 'http-equiv="refresh', "style=", " onload"):
        assert word not in html.partition("<script")[0], word


def test_evidence_that_auditors_hold_is_on_no_page(tmp_path: Path) -> None:
    bundle, key = BUNDLES["published"]
    with pytest.raises(UsageError, match="held by auditors"):
        report_page(Bundle(bundle), TrustSet.load([key]), with_evidence=True)
    page = read_page(page_of("ed25519").html)
    assert page.data["evidence"] is None
    assert "held by auditors" in page.text.lower()


def test_without_a_key_the_page_says_that_nobody_vouches_for_it() -> None:
    made = report_page(Bundle(BUNDLES["diluting"][0]), TrustSet())
    page = read_page(made.html)
    assert page.data["keys"] == []
    assert "No key was given" in page.text


@pytest.mark.parametrize(
    "bad", sorted((GOLDEN / "0.1" / "bad").iterdir()), ids=lambda bad: bad.name
)
def test_no_page_is_made_of_what_does_not_hold(bad: Path) -> None:
    if bad.name == "a-response-is-rewritten":
        pytest.skip("no page holds responses, and none was read")
    with pytest.raises(IntegrityError):
        report_page(Bundle(bad), TrustSet.load([GOLDEN / "0.1" / "ed25519.pub"]))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small release with an audit in full and its public form."""
    bundle = seal_release(tmp_path_factory.mktemp("audited") / "bundle", SMALL)
    write_audits(bundle, Audit())
    return bundle


def test_an_audit_stands_on_the_page_in_one_form(audited: Path) -> None:
    bundle = Bundle(audited)
    made = report_page(bundle, TrustSet([EVALUATOR.public]), TrustSet([AUDITOR.public]))
    page = read_page(made.html)
    assert made.audits == len(page.data["audits"])
    verdicts = [one for one in page.shown if one.place == "/a0/verdict"]
    assert [one.text for one in verdicts] == [page.value("/a0/verdict")]
    said = " ".join(page.value("/a0/guarantee").split())
    assert said in page.text
    for index, rate in enumerate(page.value("/a0/conditions")):
        found = Counter(one.place for one in page.shown)
        assert found[f"/a0/conditions/{index}/recordedRate"] == 1
        assert rate["id"] in page.text
    # Whose key is not trusted says nothing here.
    assert report_page(bundle, TrustSet([EVALUATOR.public])).audits == 0


def run_report(receipts: Any, *words: Any) -> Any:
    return receipts("report", *words)


def test_the_command_replaces_a_page_and_nothing_else(tmp_path: Path, receipts: Any) -> None:
    bundle, key = BUNDLES["diluting"]
    out = tmp_path / "report.html"
    finished = run_report(receipts, bundle, "--trust", key, "--out", out, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["level"], document["audits"]) == (0, "consistent", 0)
    assert document["bytes"] == out.stat().st_size
    assert run_report(receipts, bundle, "--trust", key, "--out", out).code == 0
    letter = tmp_path / "letter.html"
    letter.write_text("<p>Dear reader")
    refused = run_report(receipts, bundle, "--trust", key, "--out", letter)
    assert refused.code == 2
    assert "no page of this program" in refused.err
    assert letter.read_text() == "<p>Dear reader"
    link = tmp_path / "link.html"
    link.symlink_to(out)
    assert run_report(receipts, bundle, "--trust", key, "--out", link).code == 2


def test_the_command_leaves_no_page_of_what_does_not_hold(tmp_path: Path, receipts: Any) -> None:
    bundle, key = BUNDLES["diluting"]
    out = tmp_path / "report.html"
    assert run_report(receipts, bundle, "--trust", key, "--out", out).code == 0
    before = out.read_bytes()
    bad = GOLDEN / "0.1" / "bad" / "an-outcome-is-flipped"
    finished = run_report(receipts, bad, "--trust", GOLDEN / "0.1" / "ed25519.pub", "--out", out)
    assert finished.code == 3
    assert out.read_bytes() == before
    assert run_report(receipts, tmp_path / "none", "--out", tmp_path / "x.html").code == 2
    held = GOLDEN / "0.1" / "good" / "ed25519"
    refused = run_report(receipts, held, "--with-evidence", "--out", tmp_path / "x.html")
    assert (refused.code, not (tmp_path / "x.html").exists()) == (2, True)


def test_publish_makes_the_page_anew_and_takes_proofs_along(tmp_path: Path, receipts: Any) -> None:
    source, key = BUNDLES["diluting"]
    bundle = tmp_path / "bundle"
    shutil.copytree(source, bundle)
    (bundle / "report.html").write_text("of whoever put it there")
    proofs = bundle / "proofs"
    proofs.mkdir()
    assert receipts("prove", bundle, "40", "--out", proofs / "40.json").code == 0
    false = json.loads((proofs / "40.json").read_text()) | {"index": 41}
    (proofs / "41.json").write_text(json.dumps(false))
    (proofs / "notes.txt").write_text("not a proof")
    out = tmp_path / "out"
    finished = receipts("publish", bundle, "--page", "--trust", key, "--out", out, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["made"]) == (0, ["report.html"])
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["plan.dsse.json", "proofs", "receipt.dsse.json", POINTS_FILE, "report.html"]
    )
    assert [path.name for path in (out / "proofs").iterdir()] == ["40.json"]
    assert [one["file"] for one in document["leftOut"]] == ["proofs/41.json", "proofs/notes.txt"]
    assert (out / "report.html").read_bytes() == page_of("diluting").html
    assert receipts("publish", bundle, "--trust", key, "--out", tmp_path / "x").code == 2


def test_a_proof_stays_behind_where_auditors_hold_the_evidence(
    tmp_path: Path, receipts: Any
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLES["ed25519"][0], bundle)
    (bundle / "proofs").mkdir()
    assert receipts("prove", bundle, "40", "--out", bundle / "proofs" / "40.json").code == 0
    finished = receipts("publish", bundle, "--out", tmp_path / "out", "--json")
    [left] = json.loads(finished.out)["leftOut"]
    assert "became of a point" in left["why"]
    assert not (tmp_path / "out" / "proofs").exists()


def test_a_picture_that_leaves_something_out_says_so(tmp_path: Path) -> None:
    key = generate_key()
    crossed = [Mixture(n, b, Ordering.SUFFIX) for n in range(1, 11) for b in (2, 4)]
    plan = synthetic_plan([Mixture(0, 0, None), *crossed], {"a": 8}, draws=1)
    synthetic_event(tmp_path / "bundle", plan, key)
    page = read_page(report_page(Bundle(tmp_path / "bundle"), TrustSet([key.public])).html)
    assert "are drawn; the tables have all." in page.text
    assert page.unbound == []
    assert "N_h = 10" in page.text
    assert "the tables have all" not in read_page(page_of("diluting").html).text


def test_audits_of_keys_that_were_not_given_are_counted(audited: Path) -> None:
    page = read_page(report_page(Bundle(audited), TrustSet([EVALUATOR.public])).html)
    assert "further files of audits lie in the bundle, of keys that were not given" in page.text
    trusted = TrustSet([AUDITOR.public])
    page = read_page(report_page(Bundle(audited), TrustSet([EVALUATOR.public]), trusted).html)
    assert "further files of audits" not in page.text
