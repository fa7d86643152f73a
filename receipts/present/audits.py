"""The audits in a bundle, as they present themselves; nothing is verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.audit_forms import AnyAudit, parse_audit
from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, read_envelope
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import PublicAuditPredicate
from safety_receipts.receipts.model.statement import AuditStartStatement

_MOST: Final = 100
"""Most audits that are listed."""


@dataclass(frozen=True)
class ListedAudit:
    """One file of ``audits/`` that has the form of an audit of this receipt."""

    digest: Sha256
    """Its digest."""
    keyid: str | None
    """Who is said to have signed it."""
    statement: AnyAudit
    """What it says."""

    @property
    def kind(self) -> str:
        """What it is: ``announcement``, ``result``, ``public result``."""
        if isinstance(self.statement, AuditStartStatement):
            return "announcement"
        public = isinstance(self.statement.predicate, PublicAuditPredicate)
        return "public result" if public else "result"

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        said = self.statement.predicate
        result = None if isinstance(self.statement, AuditStartStatement) else self.statement
        return {
            "digest": self.digest,
            "kind": self.kind,
            "keyid": self.keyid,
            "verdict": None if result is None else result.predicate.verdict.value,
            "method": said.method.value,
            "epsilon": said.epsilon,
            "alpha": said.alpha,
            "calibrated": said.calibration is not None,
            "rates": self._rates,
        }

    @property
    def _rates(self) -> int:
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
            f"{verdict}; {self._rates:,} claims on rates, by {said.method.value}, "
            f"ε = {said.epsilon}, α = {said.alpha}, {calibrated}"
        )


def listed_audits(bundle: Bundle) -> tuple[list[ListedAudit], int]:
    """Return the audits of a bundle's receipt, by name, and how many other files there are.

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
    return found, len(files) - len(found)


def show_audits(console: Console, audits: Sequence[ListedAudit], others: int) -> None:
    """List audits; nothing where there are none.

    Args:
        console: Where to.
        audits: The audits.
        others: How many files beside them are no audits of this receipt.
    """
    if not audits and not others:
        return
    console.print(Text("Audits in this bundle (claims until verified)", style="bold"))
    for audit in audits:
        console.print(Text(f"  {printable(audit.words())}"), soft_wrap=True)
    if others:
        console.print(Text(f"  {others:,} other files that are not audits of this receipt"))
    console.print()
