"""What every export says of its receipt beside the numbers, and what is said of every export."""

from __future__ import annotations

from collections.abc import Iterator

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import AuditVerdict, audit_traits
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.sentences import sentences
from safety_receipts.receipts.view.summary import INSTRUMENT, judge_words
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.subject import is_instrument
from safety_receipts.verify.verified import VerifiedReceipt, verify_command

NOT_DERIVED = (
    "The evidence is not in this bundle, so the numbers are what the evaluator signed: nobody "
    "counted them again."
)
"""What is said where verification ended below level consistent."""


def receipt_facts(verified: VerifiedReceipt) -> dict[str, str]:
    """Return what stands beside the numbers, by name: all of it texts.

    What the receipt is and how to verify it, that it is of a test instrument where it is, how it
    was judged, findings, audits and limits in words.
    """
    receipt = presentable(verified.predicate)
    told = {"test_instrument": INSTRUMENT} if is_instrument(verified.predicate) else {}
    told |= {
        "receipt_sha256": verified.signed.envelope.digest,
        "plan_sha256": verified.plan.envelope.digest,
        "how_to_verify": verify_command(
            receipt,
            evidence=verified.consistent,
            audits=bool(verified.verification.audits),
        ),
        "verified_level": verified.verification.level.value,
        "checkpoint_root_sha256": receipt.checkpoint.root,
        "training_stage": receipt.training_stage,
        "dtype": receipt.checkpoint.dtype.value,
        "quantisation": receipt.checkpoint.quantisation or "none",
        "judge": judge_words(receipt.judge),
        "points": str(receipt.evidence.size),
        "evidence_access": receipt.evidence.access.value,
        "evidence_root": receipt.evidence.root,
        "event_started_at": receipt.event.started_at,
        "event_finished_at": receipt.event.finished_at,
    }
    if not verified.consistent:
        told["not_derived"] = NOT_DERIVED
    for number, sentence in enumerate(sentences(receipt), start=1):
        told[f"finding_{number}"] = sentence.text
    for number, words in enumerate(audit_lines(verified), start=1):
        told[f"audit_{number}"] = words
    return told | {f"limit_{limit.value}": LIMIT_MEANINGS[limit] for limit in receipt.limits}


def audit_lines(verified: VerifiedReceipt) -> Iterator[str]:
    """Yield what trusted auditors found, or announced and never told, a sentence each."""
    for audit in verified.verification.audits:
        yield _audit(audit)
    for unfinished in verified.verification.unfinished_audits:
        yield (
            f"Audit {unfinished.digest[:12]} was announced at {unfinished.started_at}, and has no "
            "result here."
        )


def _audit(audit: AuditSummary) -> str:
    result = audit.result
    calibrated = "calibrated" if result.calibration else "not calibrated"
    caveat = audit_traits(result.method).caveat
    untied = "" if caveat is None else f", {caveat}"
    own = ", signed by the evaluator's own key" if audit.self_audit else ""
    text = (
        f"Audit {audit.digest[:12]}: {result.verdict.value}, ε = {result.epsilon}, "
        f"α = {result.alpha}, {calibrated}{untied}{own}; its check {audit.status.value}."
    )
    confirmed = result.verdict is AuditVerdict.CONFIRMED
    return f"{text} {printable(result.guarantee)}" if confirmed else text


def common_remarks(verified: VerifiedReceipt) -> Iterator[str]:
    """Yield what is said of an export in whatever format."""
    if is_instrument(verified.predicate):
        yield INSTRUMENT
    if not verified.consistent:
        yield NOT_DERIVED


def text_remarks(verified: VerifiedReceipt, *, wanted: bool, there: bool) -> Iterator[str]:
    """Yield why texts of responses are left out.

    Args:
        verified: The receipt.
        wanted: Whether the user asks for them.
        there: Whether the bundle holds them.
    """
    if verified.predicate.evidence.access is not EvidenceAccess.PUBLIC:
        if wanted:
            yield "Texts of responses are left out: evidence access is `auditors`."
    elif wanted and not there:
        yield "Texts of responses are left out: this bundle does not hold them."
    elif not wanted and there:
        yield "Texts of responses are left out: --with-texts adds them."
