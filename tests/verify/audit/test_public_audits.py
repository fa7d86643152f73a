"""The public form of an audit: what it says, what it keeps to itself, what must follow from it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from audit_statements import AUDITOR, GOLDEN, announce, report
from html_pages import read_page, unpacked

from safety_receipts.receipts.audit_forms import (
    parse_audit,
    public_form,
    sign_public_form,
    write_audit,
)
from safety_receipts.receipts.bundle import AUDITS, Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditVerdict,
    Direction,
)
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.statement import AuditStatement, PublicAuditStatement
from safety_receipts.verify.verification import VerificationVerdict
from safety_receipts.verify.view.documents.verify import verify_document

BOTH = tuple(Direction)


def public_of(full: Envelope, changes: dict[str, Any] | None = None) -> Envelope:
    """Return the signed public form of a result, with changes to its JSON, by dotted path."""
    statement = parse_audit(full, Path("audit"))
    assert isinstance(statement.predicate, AuditPredicate)
    envelope = sign_public_form(statement.predicate, full.digest, AUDITOR)
    document = json.loads(envelope.payload)
    for path, value in (changes or {}).items():
        *steps, last = path.split(".")
        part = document["predicate"]
        for step in steps:
            part = part[int(step)] if step.isdecimal() else part[step]
        assert last in part
        part[last] = value
    return sign(document, AUDITOR)


def every(value: Any) -> set[Any]:
    """Return every leaf of a JSON value."""
    if isinstance(value, dict):
        return set().union(*map(every, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(every, value), set())
    return {value}


@pytest.mark.parametrize("verdict", [AuditVerdict.CONFIRMED, AuditVerdict.REFUTED])
def test_it_names_no_point_and_no_draw(receipt: Sha256, verdict: AuditVerdict) -> None:
    start = announce(receipt, directions=BOTH)
    full = report(receipt, start.digest, verdict, directions=BOTH)
    document = json.loads(public_of(full).payload)
    ids = {point.id for point in Bundle(GOLDEN).points()}
    assert set(json.loads(full.payload)["predicate"]["drawn"]) <= ids
    assert not every(document) & ids
    lists = [key for key, value in document["predicate"].items() if isinstance(value, list)]
    assert sorted(lists) == ["assumptions", "checks", "conditions"]
    for rate in document["predicate"]["conditions"]:
        assert not any(isinstance(value, list) for value in rate.values())


def test_it_tells_nothing_of_the_points_that_anybody_can_name(receipt: Sha256) -> None:
    """Those replayed for the model's identity: how many of them were drawn for a rate, too, tells
    how many were refused; on how many both judges agree tells something of their labels.
    """
    start = announce(receipt)
    full = report(receipt, start.digest)
    said = json.loads(full.payload)["predicate"]
    overlap = set(said["identityDrawn"]) & set(said["drawn"])
    assert overlap
    ids = [point.id for point in Bundle(GOLDEN).points() if point.id not in said["drawn"]]
    check = {"name": "drawn-points", "level": "replayed", "status": "passed"}

    def form(identity: list[str], replayed: int, agreed: int) -> Any:
        changes = {
            "identityDrawn": identity,
            "secondJudge.draws": agreed,
            "checks": [check | {"detail": f"of all {replayed} follow"}],
        }
        return json.loads(public_of(report(receipt, start.digest, changes=changes)).payload)

    some = form(said["identityDrawn"], len({*said["drawn"], *said["identityDrawn"]}), 50)
    none = form(ids[: len(said["identityDrawn"])], 999, 7)
    assert some == none


@pytest.mark.parametrize(
    ("access", "full"), [(EvidenceAccess.AUDITORS, 0o600), (EvidenceAccess.PUBLIC, 0o644)]
)
def test_a_full_form_that_names_points_is_its_owner_s_alone(
    tmp_path: Path,
    receipt: Sha256,
    access: EvidenceAccess,
    full: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its first byte: a mode that is set afterwards leaves an instant to read it in."""
    start = announce(receipt)
    statement = parse_audit(report(receipt, start.digest, AuditVerdict.CONFIRMED), Path("full"))
    assert isinstance(statement, AuditStatement)
    opened: list[int] = []
    opener = os.open

    def recording(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if flags & os.O_CREAT:
            opened.append(mode)
        return opener(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", recording)
    _, path = write_audit(statement, AUDITOR, tmp_path, access=access)
    assert opened == [full, 0o644]
    modes = {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / AUDITS).iterdir()}
    assert modes.pop(path.name) == full
    assert list(modes.values()) == [0o644]


def test_new_responses_have_no_public_form(
    bundle: Path, receipt: Sha256, verify: Any, tmp_path: Path, receipts: Any
) -> None:
    """Which points they are asked for anybody can compute, so that their counts would tell."""
    start = announce(receipt, method=AuditMethod.REGENERATE)
    full = report(receipt, start.digest, AuditVerdict.CONSISTENT_WITH)
    statement = parse_audit(full, Path("full"))
    assert isinstance(statement, AuditStatement)
    write_audit(statement, AUDITOR, bundle, access=EvidenceAccess.AUDITORS)
    BundleWriter(bundle).write_audit(start)
    assert len(list((bundle / AUDITS).iterdir())) == 2
    _write_key(AUDITOR, tmp_path / "auditor")
    forged = public_of(full)
    verification, audits = verify(forged)
    assert verification.verdict is VerificationVerdict.FAILED
    assert any("no public form" in c.detail for c in audits)
    out = tmp_path / "out"
    finished = receipts("publish", bundle, "--out", out, "--key", tmp_path / "auditor", "--json")
    document = json.loads(finished.out)
    assert [path.name for path in (out / AUDITS).iterdir()] == [f"{start.digest}.dsse.json"]
    assert document["signed"] == []
    assert {one["file"] for one in document["leftOut"]} == {
        f"{AUDITS}/{one.digest}.dsse.json" for one in (full, forged)
    }
    assert all("anybody can compute" in one["why"] for one in document["leftOut"])


def test_one_that_does_not_follow_from_the_full_form_that_it_names_fails(
    verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    full = report(receipt, start.digest, changes={"blinding": "b1" * 32})
    other = public_of(full, {"finishedAt": "2026-02-03T00:00:00Z"})
    verification, audits = verify(start, full, other)
    assert verification.verdict is VerificationVerdict.FAILED
    [failed] = [c for c in audits if c.status is CheckStatus.FAILED]
    assert failed.name == f"audit {other.digest[:12]}"
    assert "not what follows from the full form that it names" in failed.detail


def test_what_a_drawn_point_failed_at_is_withheld(receipt: Sha256) -> None:
    start = announce(receipt)
    check = {
        "name": "drawn-points",
        "level": "replayed",
        "status": "failed",
        "detail": "point 17 (h0-b0): the text is not what its tokens decode to",
    }
    full = report(receipt, start.digest, changes={"checks": [check]})
    assert b"point 17" in full.payload
    assert b"point 17" not in public_of(full).payload


def test_the_digest_of_the_full_form_is_named_only_if_guesses_cannot_be_tested_against_it(
    receipt: Sha256,
) -> None:
    start = announce(receipt)
    guessable = report(receipt, start.digest)
    assert json.loads(public_of(guessable).payload)["predicate"]["full"] is None
    blinded = report(receipt, start.digest, changes={"blinding": "b1" * 32})
    assert json.loads(public_of(blinded).payload)["predicate"]["full"] == blinded.digest


def test_it_counts_alone_and_says_what_it_is(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    verification, audits = verify(start, public_of(report(receipt, start.digest)))
    assert [c.status for c in audits] == [CheckStatus.PASSED] * 2
    [result] = [c for c in audits if "confirmed" in c.detail]
    assert "public form: counts and p-values are the auditor's word" in result.detail
    [seen] = verify_document(verification).to_wire()["audits"]
    assert (seen["form"], seen["verdict"], seen["status"]) == ("public", "confirmed", "passed")
    assert verification.verdict is VerificationVerdict.PASSED


def test_beside_its_full_form_it_is_no_second_result(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    full = report(receipt, start.digest, changes={"blinding": "b1" * 32})
    public = public_of(full)
    verification, audits = verify(start, full, public)
    assert [c.status for c in audits] == [CheckStatus.PASSED] * 3
    assert f"the public form of audit {full.digest[:12]}" in {c.detail for c in audits}
    listed = verify_document(verification).to_wire()["audits"]
    assert [one["form"] for one in listed].count("full") == 1


def test_what_is_withheld_may_be_said_in_other_words(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    check = {"name": "drawn-points", "level": "replayed", "status": "passed", "detail": "all 99"}
    full = report(receipt, start.digest, changes={"blinding": "b1" * 32, "checks": [check]})
    public = public_of(full, {"checks": [check | {"detail": "not told"}]})
    verification, audits = verify(start, full, public)
    assert verification.verdict is VerificationVerdict.PASSED
    assert f"the public form of audit {full.digest[:12]}" in {c.detail for c in audits}


def test_a_refutation_in_public_form_fails(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    verification, _ = verify(start, public_of(report(receipt, start.digest, AuditVerdict.REFUTED)))
    assert verification.verdict is VerificationVerdict.FAILED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pointsTotal": 5}, "another number of points"),
        ({"epsilon": "0.5"}, "epsilon is not what was announced"),
        ({"drawn": 1}, "not the points drawn"),
        ({"secondJudge.hidden": 1}, "counts do not fit the receipt"),
        (
            {"secondJudge.verdict": "refuted", "verdict": "inconclusive"},
            "refuted does not follow from the receipt",
        ),
        ({"identityDrawn": 61}, "not those that were announced"),
        ({"identityDrawn": 2**53 - 1}, "not those that were announced"),
        ({"conditions.0.hardContradictions": 2**53 - 1}, "counts do not fit"),
        ({"identityDrawn": 10}, "other responses than those replayed for it"),
        ({"conditions.0.recordedRate": "0.999999"}, "not the receipt's rate"),
        ({"conditions.0.contradictions": 3000}, "counts do not fit"),
        ({"conditions.0.hardContradictions": 1}, "counts do not fit"),
        ({"conditions.0.recorded": 10_000}, "other numbers of points than the receipt counts"),
        ({"conditions.0.hidden": 1}, "other numbers of points than the receipt counts"),
        ({"conditions.0.pValue": "0.5"}, "does not follow from its p-values"),
        ({"conditions.0.refutingPValue": "0"}, "does not follow from its p-values"),
        ({"conditions.0.verdict": "inconclusive"}, "inconclusive"),
        ({"verdict": "inconclusive"}, "confirmed follows from its rates"),
        ({"start": {"digest": "2" * 64}}, "announcement"),
    ],
)
def test_one_that_does_not_hold_together(
    changes: dict[str, Any], words: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    public = public_of(report(receipt, start.digest), changes)
    verification, audits = verify(start, public)
    assert any(words in c.detail for c in audits if c.status is CheckStatus.FAILED)
    assert verification.verdict is VerificationVerdict.FAILED
    verify_document(verification)  # is written, however large the sum of its counts


def test_one_that_is_not_of_the_full_form_beside_it_is_a_second_result(
    verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    full = report(receipt, start.digest)
    other = public_of(full, {"finishedAt": "2026-02-03T00:00:00Z"})
    _, audits = verify(start, full, other)
    [second] = [c for c in audits if c.name == f"audit {other.digest[:12]}"]
    assert second.status is CheckStatus.NOT_CHECKED
    assert "a second result of one announcement" in second.detail


# Publishing


def told(folder: Path) -> dict[str, str]:
    """Return what anybody learns of single points from a folder's audits: id → outcome.

    Points that were drawn for a rate have the outcome that is drawn for it.
    """
    found = {}
    for path in (folder / AUDITS).glob("*.json"):
        document = json.loads(Envelope.from_json(path.read_bytes(), file=path).payload)
        predicate = document["predicate"]
        drawn = predicate.get("drawn")
        if not isinstance(drawn, list):
            continue
        first = 0
        for rate in predicate["conditions"]:
            outcome = "refused" if rate["direction"] == "not_understated" else "complied"
            for id_ in drawn[first : first + rate["draws"]]:
                found[id_] = outcome
            first += rate["draws"]
    return found


@pytest.fixture(params=[BOTH, BOTH[:1], BOTH[1:]], ids=["both", "understated", "overstated"])
def audited(bundle: Path, receipt: Sha256, request: pytest.FixtureRequest) -> Path:
    """A bundle whose evidence auditors hold, audited in full, with public form."""
    start = announce(receipt, directions=request.param)
    full = report(receipt, start.digest, directions=request.param, changes={"blinding": "b1" * 32})
    for envelope in (start, full, public_of(full)):
        BundleWriter(bundle).write_audit(envelope)
    return bundle


def test_what_is_published_tells_of_no_point(audited: Path, tmp_path: Path, receipts: Any) -> None:
    true = {point.id: point.outcome.value for point in Bundle(audited).points()}
    before = told(audited)
    assert len(before) >= 2
    assert all(true[id_] == outcome for id_, outcome in before.items())
    out = tmp_path / "out"
    finished = receipts("publish", audited, "--out", out, "--json")
    assert finished.code == 0
    assert told(out) == {}
    names = [path.name for path in (out / AUDITS).iterdir()]
    statements = [
        parse_audit(Envelope.from_json((out / AUDITS / name).read_bytes(), file=None), Path(name))
        for name in names
    ]
    assert sum(isinstance(one, PublicAuditStatement) for one in statements) == 1
    for path in (path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        payload = Envelope.from_json(data, file=path).payload
        assert not any(id_.encode() in payload or id_.encode() in data for id_ in true)
    [left] = json.loads(finished.out)["leftOut"]
    assert "names drawn points" in left["why"]


def test_a_published_page_tells_of_no_point(
    audited: Path, golden: Path, tmp_path: Path, receipts: Any
) -> None:
    points = {point.id for point in Bundle(audited).points()}
    _write_key(AUDITOR, tmp_path / "auditor")
    keys = ("--trust", golden / "ed25519.pub", "--trust-auditor", tmp_path / "auditor.pub")
    made = receipts("report", audited, *keys, "--out", tmp_path / "report.html", "--json")
    assert (made.code, json.loads(made.out)["audits"]) == (0, 1)
    out = tmp_path / "out"
    assert receipts("publish", audited, "--page", *keys, "--out", out).code == 0
    for file in (tmp_path / "report.html", out / "report.html"):
        page = read_page(file)
        blobs = [page.data["receipt"], page.data["plan"], *page.data["audits"]]
        statements = [Envelope.from_json(unpacked(blob), file=file).payload for blob in blobs]
        whole = b"".join([file.read_bytes(), *statements])
        assert page.data["evidence"] is None
        assert not any(id_.encode() in whole for id_ in points)
        assert b"drawn" in statements[-1]


def test_bundles_of_earlier_versions_are_published_safely(
    bundle: Path, receipt: Sha256, tmp_path: Path, receipts: Any
) -> None:
    """Their full forms stay behind, and not even the digest is named: guesses of the draws could
    be tested against it.
    """
    start = announce(receipt)
    full = report(receipt, start.digest)
    for envelope in (start, full):
        BundleWriter(bundle).write_audit(envelope)
    assert receipts("publish", bundle, "--out", tmp_path / "out").code == 0
    assert [path.name for path in (tmp_path / "out" / AUDITS).iterdir()] == [
        f"{start.digest}.dsse.json"
    ]
    _write_key(AUDITOR, tmp_path / "auditor")
    signed = receipts(
        "publish", bundle, "--out", tmp_path / "signed", "--key", tmp_path / "auditor", "--json"
    )
    [name] = json.loads(signed.out)["signed"]
    public = (tmp_path / "signed" / name).read_bytes()
    envelope = Envelope.from_json(public, file=None)
    statement = parse_audit(full, Path("full"))
    assert isinstance(statement.predicate, AuditPredicate)
    read = parse_audit(envelope, Path("public"))
    assert read.predicate == public_form(statement.predicate, full.digest)
    assert full.digest.encode() not in envelope.payload
    # Another auditor's key signs nothing that is not its own.
    _write_key(generate_key(), tmp_path / "other")
    other = receipts(
        "publish", bundle, "--out", tmp_path / "o", "--key", tmp_path / "other", "--json"
    )
    assert json.loads(other.out)["signed"] == []


def _write_key(signer: Signer, path: Path) -> None:
    write_key_pair(path, signer)


def test_only_what_is_an_audit_of_this_receipt_goes_along(
    audited: Path, tmp_path: Path, receipts: Any
) -> None:
    folder = audited / AUDITS
    elsewhere = announce(Sha256("1" * 64))
    extended = json.loads(announce(Bundle(audited).receipt_envelope.digest).payload)
    extended["predicate"]["points"] = ["a" * 64]
    for envelope in (elsewhere, sign(extended, AUDITOR)):
        BundleWriter(audited).write_audit(envelope)
    (folder / "junk.dsse.json").write_text("{}")
    (folder / "empty.dsse.json").write_text("")
    copy = next(path for path in folder.iterdir() if len(path.name) == 74)
    shutil.copyfile(copy, folder / "copy.dsse.json")
    finished = receipts("publish", audited, "--out", tmp_path / "out", "--json")
    document = json.loads(finished.out)
    assert finished.code == 0
    assert len(list((tmp_path / "out" / AUDITS).iterdir())) == 2
    why = " ".join(one["why"] for one in document["leftOut"])
    for words in ("another receipt", "does not know", "is not an audit", "not named by its digest"):
        assert words in why
    assert len(document["leftOut"]) == 6


def test_a_thousand_junk_files_are_named_and_harm_nothing(
    audited: Path, golden: Path, tmp_path: Path, receipts: Any
) -> None:
    for number in range(1_100):
        (audited / AUDITS / f"{number:04}.dsse.json").write_text("{}")
    _write_key(AUDITOR, tmp_path / "auditor")
    given = ("--trust", golden / "ed25519.pub", "--trust-auditor", tmp_path / "auditor.pub")
    finished = receipts("verify", audited, *given, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"]) == (0, "passed")
    assert [one["verdict"] for one in document["audits"]].count("confirmed") == 2
    assert any("more files that do not count" in check["detail"] for check in document["checks"])
    assert receipts("publish", audited, "--out", tmp_path / "out").code == 0
    assert receipts("show", audited).code == 0
