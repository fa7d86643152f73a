"""The audits in a bundle, as they present themselves; nothing is verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from safety_receipts.receipts.audit_forms import AnyAudit, parse_audit
from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, read_envelope
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.model.audit import PublicAuditPredicate
from safety_receipts.receipts.model.statement import AuditStartStatement

AuditKind: TypeAlias = Literal["announcement", "result", "public result"]
"""What a file of ``audits/`` is."""
_MOST: Final = 100
"""Most audits that are listed."""


@dataclass(frozen=True)
class ListedAudit:
    """One file of ``audits/`` that has the form of an audit of this receipt."""

    digest: Sha256
    """Its digest."""
    keyid: str
    """Who is said to have signed it; empty: nobody is named."""
    statement: AnyAudit
    """What it says."""

    @property
    def kind(self) -> AuditKind:
        """What it is."""
        if isinstance(self.statement, AuditStartStatement):
            return "announcement"
        public = isinstance(self.statement.predicate, PublicAuditPredicate)
        return "public result" if public else "result"

    @property
    def rates(self) -> int:
        """How many claims on rates it is about."""
        if isinstance(self.statement, AuditStartStatement):
            return len(self.statement.predicate.rates)
        return len(self.statement.predicate.conditions)

    def words(self) -> str:
        """Return one line about it."""
        said = self.statement.predicate
        verdict = (
            "announced"
            if isinstance(self.statement, AuditStartStatement)
            else self.statement.predicate.verdict.value
        )
        calibrated = "calibrated" if said.calibration else "uncalibrated"
        return (
            f"{self.kind} {self.digest[:12]}, signed as {(self.keyid or 'no key id')[:16]}: "
            f"{verdict}; {self.rates:,} claims on rates, by {said.method.value}, "
            f"ε = {said.epsilon}, α = {said.alpha}, {calibrated}"
        )


@dataclass(frozen=True)
class Listing:
    """The files in the folder of a bundle's audits."""

    audits: tuple[ListedAudit, ...]
    """Audits of this receipt, by name; of many the first."""
    others: int
    """How many other files there are."""

    def remark(self) -> str | None:
        """Return what is said of the other files; None: there are none."""
        if not self.others:
            return None
        return f"{self.others:,} other files that are not audits of this receipt"


def listed_audits(bundle: Bundle) -> Listing:
    """Return the audits of a bundle's receipt.

    Raises:
        FileAccessError: The folder of audits cannot be listed.
    """
    found: list[ListedAudit] = []
    files, receipt = bundle.audit_files(), bundle.receipt_envelope.digest
    for path in files:
        if len(found) == _MOST:
            break
        try:
            envelope = read_envelope(path, MAX_AUDIT_BYTES)
            statement = parse_audit(envelope, path)
        except ReceiptsError:
            continue
        named = path.name == f"{envelope.digest}.dsse.json"
        if named and statement.predicate.receipt.digest == receipt:
            found.append(ListedAudit(envelope.digest, envelope.signatures[0].keyid, statement))
    return Listing(tuple(found), len(files) - len(found))
