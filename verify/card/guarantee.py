"""What audits by trusted auditors guarantee of a receipt, in words for a model card."""

from __future__ import annotations

from collections.abc import Iterator

from safety_receipts.receipts.model.audit import AuditVerdict, audit_traits
from safety_receipts.receipts.model.base import Digest
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.card.markdown import name_span, sentence_text
from safety_receipts.verify.gate.standing import drawback, risk_of
from safety_receipts.verify.verification import Verification

_STANDS = (AuditVerdict.CONFIRMED, AuditVerdict.CONSISTENT_WITH)


def guarantee_words(verification: Verification) -> Iterator[str]:
    """Yield a sentence of Markdown for each audit, and what is missing.

    An announcement counts once, whichever forms of its result are at hand.

    Args:
        verification: What verification found; no audit refutes the receipt.
    """
    told: dict[Digest, AuditSummary] = {}
    for audit in sorted(verification.audits, key=_full_forms_first):
        told.setdefault(audit.result.start.digest, audit)
    for audit in told.values():
        yield _words(audit)
    unfinished = len(verification.unfinished_audits)
    if unfinished:
        yield f"{counted(unfinished, 'audit')} announced, of which no result is here."
    if not told and not unfinished:
        yield "none by an auditor whose key was trusted when this was written."


def _full_forms_first(audit: AuditSummary) -> tuple[bool, bool, str]:
    return audit.status is not CheckStatus.PASSED, audit.scope.replayed is None, audit.digest


def _words(audit: AuditSummary) -> str:
    result = audit.result
    by = f"key `{audit.keys[0].keyid[:16]}…`"
    if audit.auditor is not None:
        by = f"{name_span(audit.auditor)}, {by}"
    why = drawback(audit, _STANDS)
    if why is not None:
        return f"by {by}: {sentence_text(why)}, and so guarantees nothing (`{audit.digest[:12]}`)."
    how = "confirmed it" if result.verdict is AuditVerdict.CONFIRMED else "found nothing against it"
    risk = f"{float(risk_of(audit)):.6g}"
    limits = "" if result.calibration else ", by limits that nobody calibrated"
    caveat = audit_traits(result.method).caveat
    untied = "" if caveat is None else f" But {caveat}."
    return (
        f"{by} {how} (`{audit.digest[:12]}`): were one of the audited rates off by "
        f"{result.epsilon} or more, this would have been said with a probability of at most "
        f"{risk}{limits}. Audited: {sentence_text(audit.scope.words())}.{untied}"
    )
