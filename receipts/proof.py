"""Making inclusion proofs."""

from __future__ import annotations

from safety_receipts.receipts import merkle
from safety_receipts.receipts.bundle import POINTS_FILE, Bundle, parse_point
from safety_receipts.receipts.canonical import Sha256, point_id
from safety_receipts.receipts.errors import IntegrityError, UsageError
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.events.grid import planned_points
from safety_receipts.receipts.model.envelope import InclusionProof
from safety_receipts.receipts.model.plan import PlanPredicate

_MIN_ID_DIGITS = 8
_HINT = f"give its index, or its id or at least {_MIN_ID_DIGITS} digits of it"


def point_called(plan: PlanPredicate, name: str) -> int:
    """Return the index of the point called ``name``.

    Args:
        plan: The plan.
        name: The index in decimal, or the point's id or its beginning.

    Raises:
        UsageError: No point, or several, go by that name.
    """
    if name.isascii() and name.isdecimal() and len(name) < _MIN_ID_DIGITS:
        if int(name) < plan.points:
            return int(name)
        raise UsageError(f"no point {name}: the plan has {plan.points:,}", hint=_HINT)
    found = [
        index
        for index, (condition, _, query, draw) in enumerate(planned_points(plan))
        if len(name) >= _MIN_ID_DIGITS and point_id(condition.id, query, draw).startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"{len(found) or 'no'} points are called {name!r}", hint=_HINT)


def make_proof(bundle: Bundle, name: str) -> InclusionProof:
    """Return the inclusion proof of one point.

    Args:
        bundle: A bundle with its evidence.
        name: As for :func:`point_called`.

    Raises:
        UsageError: No point, or several, go by that name.
        FileAccessError, MalformedError: The bundle cannot be read.
        IntegrityError: Plan, receipt and evidence do not belong together, so that no proof
            would hold.
    """
    plan, receipt = bundle.plan.statement.predicate, bundle.receipt.statement.predicate
    evidence = receipt.evidence
    problem = next(iter(plan_problems(plan)), None)
    if receipt.plan.digest != bundle.plan.envelope.digest:
        problem = "the receipt names another plan"
    elif problem is None and plan.points != evidence.size:
        problem = f"{evidence.size:,} points, the plan has {plan.points:,}"
    if problem is not None:
        raise IntegrityError(problem, file=bundle.folder, hint="see: receipts verify")
    index = point_called(plan, name)
    # About 75 bytes a leaf are kept: 7 MB for a paper-sized receipt.
    hashes: list[bytes] = []
    proven = b""
    for number, line in bundle.sealed_lines(evidence):
        if number == index + 1:
            proven = line
        hashes.append(merkle.leaf_hash(line))
    parse_point(proven, index + 1, bundle.folder / POINTS_FILE)  # nothing else is worth proving
    return InclusionProof(
        type="urn:safety-receipts:inclusion-proof:1",
        receipt=bundle.receipt_envelope.digest,
        index=index,
        size=len(hashes),
        line=proven.decode("utf-8"),
        path=tuple(Sha256(node.hex()) for node in merkle.inclusion_proof(hashes, index)),
    )
