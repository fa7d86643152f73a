"""Inclusion proofs: one evidence line held against a receipt, without the other lines."""

from __future__ import annotations

from pathlib import Path

from safety_receipts.receipts import merkle
from safety_receipts.receipts.bundle import parse_point
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.documents.parse import parse_document
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.grid import planned_point, source_of
from safety_receipts.receipts.io.files import read_own_file
from safety_receipts.receipts.model.envelope import InclusionProof
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList

_MAX_BYTES = 1024 * 1024


def read_proof(path: Path) -> InclusionProof:
    """Read a proof.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is no inclusion proof.
    """
    data = read_own_file(path, _MAX_BYTES)
    proof, _ = parse_document(data, InclusionProof, "inclusion-proof", file=path)
    return proof


def check_proof(
    file: Path,
    receipt_digest: Sha256,
    plan: PlanPredicate | None,
    receipt: EvaluationPredicate | None,
    checks: CheckList,
) -> None:
    """Check that a proof places its line in the receipt, and the line is the planned one.

    Args:
        file: The proof.
        receipt_digest: Digest of the receipt at hand.
        plan: The plan, where it is at hand and has its form.
        receipt: The receipt, where it has its form.
        checks: Receives the check ``proof``.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is no inclusion proof.
    """
    proof = read_proof(file)
    if receipt is None or plan is None:
        checks.skip(CheckName.PROOF, "needs a well-formed receipt and plan")
        return
    problem = proof_problem(proof, file, receipt_digest, plan, receipt)
    good = f"point {proof.index} is in the receipt"
    checks.decide(CheckName.PROOF, problem, good)


def proof_problem(
    proof: InclusionProof,
    file: Path,
    receipt_digest: Sha256,
    plan: PlanPredicate,
    receipt: EvaluationPredicate,
) -> str | None:
    """Return why a proof does not show that a planned point is in a receipt; None: it does.

    Args:
        proof: The proof.
        file: Its file.
        receipt_digest: Digest of the receipt.
        plan: The receipt's plan.
        receipt: The receipt.
    """
    return _path_problem(proof, receipt_digest, receipt) or _line_problem(proof, file, plan)


def _path_problem(
    proof: InclusionProof, receipt_digest: Sha256, receipt: EvaluationPredicate
) -> str | None:
    """Return why the proof does not lead to this receipt, or None."""
    if proof.receipt != receipt_digest:
        return f"is of another receipt, {proof.receipt[:16]}…"
    evidence = receipt.evidence
    if proof.size != evidence.size:
        return f"is for {proof.size} points, the receipt has {evidence.size}"
    leaf = merkle.leaf_hash(proof.line.encode("utf-8"))
    path = [bytes.fromhex(node) for node in proof.path]
    if merkle.verify_inclusion(leaf, proof.index, proof.size, path, bytes.fromhex(evidence.root)):
        return None
    return "the path does not lead to the receipt's root"


def _line_problem(proof: InclusionProof, file: Path, plan: PlanPredicate) -> str | None:
    """Return why the line is not what the plan has at its place, or None."""
    try:
        point = parse_point(proof.line.encode("utf-8"), proof.index + 1, file)
        condition, query, draw = planned_point(plan, proof.index)
    except MalformedError as error:
        return error.one_line()
    except IndexError:
        return f"the plan has no point {proof.index}"
    found = (point.index, point.condition, point.query, point.source, point.draw)
    if found != (proof.index, condition.id, query, source_of(query), draw):
        return f"the line is not point {proof.index} of the plan"
    return None
