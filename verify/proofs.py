"""Which inclusion proofs of a bundle anybody may hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import FileAccessError, ReceiptsError
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.published import UnpublishedFile
from safety_receipts.verify.levels.inclusion import proof_problem, read_proof

PROOFS: Final = "proofs"
"""Folder of a bundle in which proofs lie."""
_MOST: Final = 1_000
_SHOWS_A_POINT: Final = (
    "shows what became of a point: only those who may hold the evidence may see it"
)


@dataclass(frozen=True)
class PublishedProofs:
    """What becomes of a bundle's proofs."""

    copied: tuple[Path, ...]
    """Paths in the bundle of those that go along."""
    left: tuple[UnpublishedFile, ...]
    """Those that stay behind."""


def published_proofs(bundle: Bundle, access: EvidenceAccess) -> PublishedProofs:
    """Return which proofs of a receipt's points anybody may hold.

    Args:
        bundle: The bundle; plan and receipt are of one event.
        access: Who may hold its evidence.

    Raises:
        FileAccessError: The folder of proofs cannot be listed.
    """
    folder = bundle.folder / PROOFS
    if folder.is_symlink() or not folder.is_dir():
        return PublishedProofs((), ())
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise FileAccessError.from_os(error, "list", folder) from None
    copied: list[Path] = []
    left: list[UnpublishedFile] = []
    for path in found[:_MOST]:
        place = Path(PROOFS) / path.name
        problem = _problem(bundle, path, access)
        if problem is None:
            copied.append(place)
        else:
            left.append(UnpublishedFile(str(place), problem))
    if len(found) > _MOST:
        more = f"{len(found) - _MOST:,} files more, which were not read"
        left.append(UnpublishedFile(PROOFS, more))
    return PublishedProofs(tuple(copied), tuple(left))


def _problem(bundle: Bundle, path: Path, access: EvidenceAccess) -> str | None:
    """Return why a file stays behind; None: it goes along."""
    try:
        proof = read_proof(path)
    except ReceiptsError as error:
        return f"is not an inclusion proof: {error.message}"
    plan, receipt = bundle.plan.statement.predicate, bundle.receipt.statement.predicate
    problem = proof_problem(proof, path, bundle.receipt_envelope.digest, plan, receipt)
    if problem is not None:
        return problem
    return None if access is EvidenceAccess.PUBLIC else _SHOWS_A_POINT
