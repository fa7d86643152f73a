"""Inclusion proofs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts import merkle
from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT, Bundle
from safety_receipts.receipts.canonical import point_id
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.events.grid import planned_points
from safety_receipts.receipts.io.lines import read_lines
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.envelope import InclusionProof
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.proof import make_proof, point_called
from safety_receipts.verify.selfcheck.selftest import edit_line, edit_lines, edit_statement


@pytest.fixture(scope="module")
def plan(sealed: Bundle) -> PlanPredicate:
    """The plan of the sealed event."""
    return sealed.plan.statement.predicate


def test_a_point_is_found_by_its_index(plan: PlanPredicate) -> None:
    assert [point_called(plan, str(index)) for index in range(plan.points)] == list(
        range(plan.points)
    )


@pytest.mark.parametrize("digits", [8, 9, 63, 64])
def test_a_point_is_found_by_its_id_or_the_beginning_of_it(
    plan: PlanPredicate, digits: int
) -> None:
    for index, (condition, _, query, draw) in enumerate(planned_points(plan)):
        assert point_called(plan, point_id(condition.id, query, draw)[:digits]) == index


@pytest.mark.parametrize(
    "name",
    ["", "64", "9999999", "-1", "+1", "1.0", "x", "abcdef0", "00000000", "0" * 64, "²", "\u0663"],
)
def test_a_name_that_no_point_has(plan: PlanPredicate, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        point_called(plan, name)
    assert caught.value.hint


def test_a_name_that_two_points_have_is_refused(
    plan: PlanPredicate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_receipts.receipts.proof.point_id", lambda *_: "abcdef01" + "0" * 56)
    with pytest.raises(UsageError, match="64 points are called"):
        point_called(plan, "abcdef01")


def fold(proof: InclusionProof) -> str:
    """Fold a proof to its root by the recursive definition of the path (RFC 6962, 2.1.1)."""

    def root(index: int, size: int, path: list[str]) -> bytes:
        if size == 1:
            assert path == []
            return hashlib.sha256(b"\0" + proof.line.encode()).digest()
        k = 1 << ((size - 1).bit_length() - 1)
        *inner, sibling = path
        other = bytes.fromhex(sibling)
        if index < k:
            return hashlib.sha256(b"\1" + root(index, k, inner) + other).digest()
        return hashlib.sha256(b"\1" + other + root(index - k, size - k, inner)).digest()

    return root(proof.index, proof.size, list(proof.path)).hex()


def test_every_point_can_be_proven(sealed: Bundle) -> None:
    evidence = sealed.receipt.statement.predicate.evidence
    lines = list(sealed.lines(evidence.size))
    for index, line in enumerate(lines):
        proof = make_proof(sealed, str(index))
        assert proof.receipt == sealed.receipt_envelope.digest
        assert (proof.index, proof.size) == (index, len(lines))
        assert proof.line.encode() == line
        assert fold(proof) == evidence.root


def test_a_proof_by_id_is_the_proof_by_index(sealed: Bundle, plan: PlanPredicate) -> None:
    condition, _, query, draw = list(planned_points(plan))[17]
    assert make_proof(sealed, point_id(condition.id, query, draw)) == make_proof(sealed, "17")


def test_a_proof_is_small(sealed: Bundle) -> None:
    assert len(json.dumps(make_proof(sealed, "0").to_wire())) < 2000


def test_no_proof_from_evidence_that_was_tampered_with(fresh: Bundle, signer: Signer) -> None:
    """The changed point, or any other: the proof would not hold."""
    edit_line(5, lambda point: point.update(promptTokens=1))(fresh.folder, signer)
    for name in ("5", "40"):
        with pytest.raises(IntegrityError, match="do not have the receipt's root") as caught:
            make_proof(fresh, name)
        assert caught.value.file == str(fresh.folder / POINTS_FILE)


def test_no_proof_from_evidence_that_lacks_a_line(fresh: Bundle) -> None:
    edit_lines(fresh.folder, lambda lines: lines[:-1], POINTS_FILE)
    with pytest.raises(IntegrityError, match="do not have the receipt's root"):
        make_proof(fresh, "0")


def test_no_proof_from_evidence_with_a_line_too_many(fresh: Bundle) -> None:
    edit_lines(fresh.folder, lambda lines: [*lines, b"{}"], POINTS_FILE)
    with pytest.raises(MalformedError, match="has more than 64 lines"):
        make_proof(fresh, "0")


def test_no_proof_against_the_receipt_of_another_plan(fresh: Bundle, signer: Signer) -> None:
    edit_statement(lambda s: s["predicate"].update(name="another"), file=PLAN, resign=True)(
        fresh.folder, signer
    )
    with pytest.raises(IntegrityError, match="names another plan"):
        make_proof(fresh, "0")


def test_no_proof_from_a_plan_that_contradicts_itself(fresh: Bundle, signer: Signer) -> None:
    """Its number of points could be any."""

    def enlarge(statement: dict[str, Any]) -> None:
        statement["predicate"]["points"] = 65

    edit_statement(enlarge, file=PLAN, resign=True)(fresh.folder, signer)
    digest = Bundle(fresh.folder).plan_envelope.digest
    edit_statement(lambda s: s["predicate"]["plan"].update(digest=digest), resign=True)(
        fresh.folder, signer
    )
    with pytest.raises(IntegrityError, match="points"):
        make_proof(fresh, "64")


def test_no_proof_where_the_receipt_has_another_size(fresh: Bundle, signer: Signer) -> None:
    """Even where the evidence hashes to its root: a point of the plan would be missing."""
    edit_lines(fresh.folder, lambda lines: lines[:10], POINTS_FILE)
    root = merkle.merkle_root(
        read_lines(fresh.folder / POINTS_FILE, max_line=1000, max_lines=10)
    ).hex()
    edit_statement(lambda s: s["predicate"]["evidence"].update(root=root, size=10), resign=True)(
        fresh.folder, signer
    )
    for name in ("5", "40"):
        with pytest.raises(IntegrityError, match="10 points, the plan has 64"):
            make_proof(Bundle(fresh.folder), name)


def test_no_proof_against_another_root(fresh: Bundle, signer: Signer) -> None:
    edit_statement(lambda s: s["predicate"]["evidence"].update(root="ab" * 32), resign=True)(
        fresh.folder, signer
    )
    with pytest.raises(IntegrityError):
        make_proof(Bundle(fresh.folder), "0")


@pytest.mark.parametrize("name", [PLAN, RECEIPT, POINTS_FILE])
def test_a_proof_needs_plan_receipt_and_evidence(fresh: Bundle, name: str) -> None:
    path: Path = fresh.folder / name
    path.unlink()
    with pytest.raises(FileAccessError) as caught:
        make_proof(fresh, "0")
    assert caught.value.file == str(path)
