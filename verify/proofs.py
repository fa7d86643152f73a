"""Which proofs of a bundle anybody may hold: of points, of times, and of logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import (
    MAX_AUDIT_BYTES,
    PLAN,
    PROOFS,
    RECEIPT,
    Bundle,
    read_envelope,
)
from safety_receipts.receipts.errors import FileAccessError, ReceiptsError
from safety_receipts.receipts.io.files import read_bounded
from safety_receipts.receipts.log.bundle_proofs import proof_name
from safety_receipts.receipts.log.formats.entry import LogEntry, entry_of
from safety_receipts.receipts.log.formats.proof import MAX_LOG_PROOF_BYTES, PROOF_SUFFIX, LogProof
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.published import UnpublishedFile
from safety_receipts.receipts.timestamps.certificates import MAX_CERTIFICATES, parse_certificates
from safety_receipts.receipts.timestamps.files import CERTIFICATE_SUFFIX, REPLY_SUFFIX
from safety_receipts.receipts.timestamps.replies import MAX_REPLY, stamped_bytes, stamps
from safety_receipts.verify.levels.inclusion import proof_problem, read_proof

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


def published_proofs(
    bundle: Bundle, access: EvidenceAccess, audits: Sequence[Path]
) -> PublishedProofs:
    """Return which proofs anybody may hold.

    Args:
        bundle: The bundle; plan and receipt are of one event.
        access: Who may hold its evidence.
        audits: Paths in the bundle of the audits that go along.

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
    judge = _ProofJudge(bundle, access, tuple(audits))
    for path in found[:_MOST]:
        place = Path(PROOFS) / path.name
        problem = judge.problem(path)
        if problem is None:
            copied.append(place)
        else:
            left.append(UnpublishedFile(str(place), problem))
    if len(found) > _MOST:
        more = f"{len(found) - _MOST:,} files more, which were not read"
        left.append(UnpublishedFile(PROOFS, more))
    return PublishedProofs(tuple(copied), tuple(left))


@dataclass(frozen=True)
class _ProofJudge:
    bundle: Bundle
    access: EvidenceAccess
    audits: tuple[Path, ...]

    def problem(self, path: Path) -> str | None:
        """Return why a file stays behind; None: it goes along."""
        try:
            if path.suffix in (REPLY_SUFFIX, CERTIFICATE_SUFFIX):
                return self._timestamp_problem(path)
            if path.suffix == PROOF_SUFFIX:
                return self._log_problem(path)
        except ReceiptsError as error:
            return error.message
        try:
            proof = read_proof(path)
        except ReceiptsError as error:
            return f"is not an inclusion proof: {error.message}"
        plan = self.bundle.plan.statement.predicate
        receipt = self.bundle.receipt.statement.predicate
        digest = self.bundle.receipt_envelope.digest
        problem = proof_problem(proof, path, digest, plan, receipt)
        if problem is not None:
            return problem
        return None if self.access is EvidenceAccess.PUBLIC else _SHOWS_A_POINT

    def _timestamp_problem(self, path: Path) -> str | None:
        """Judge a reply of a timestamp authority, or a certificate."""
        if path.suffix == CERTIFICATE_SUFFIX:
            parse_certificates(read_bounded(path, MAX_CERTIFICATES), path)
            return None
        reply = read_bounded(path, MAX_REPLY)
        bundle = self.bundle
        signed = [bundle.receipt_envelope, *([bundle.plan_envelope] if bundle.has(PLAN) else [])]
        mine = any(stamps(reply, stamped_bytes(envelope)) for envelope in signed)
        return None if mine else "is no timestamp of this plan or receipt"

    def _log_problem(self, path: Path) -> str | None:
        """Judge the proof of a log: readers hold it to logs and witnesses of their own choice."""
        entry = self._logged.get(path.name)
        if entry is None:
            return "is named after no plan, receipt or audit that is published"
        data = read_bounded(path, MAX_LOG_PROOF_BYTES)
        proof = LogProof.parse(data, file=path)
        if proof.to_bytes() != data:
            return "holds more than a proof, or is not written as one"
        return None if proof.holds(entry.leaf()) else "does not lead to the root of its checkpoint"

    @cached_property
    def _logged(self) -> dict[str, LogEntry]:
        """What is logged of the statements that are published, by the names of their proofs."""
        folder = self.bundle.folder
        read = [(self.bundle.receipt_envelope, folder / RECEIPT)]
        if self.bundle.has(PLAN):
            read.append((self.bundle.plan_envelope, folder / PLAN))
        for place in self.audits:
            read.append((read_envelope(folder / place, MAX_AUDIT_BYTES), folder / place))
        entries = [entry_of(envelope, file) for envelope, file in read]
        return {proof_name(one.type, one.digest): one for one in entries}
