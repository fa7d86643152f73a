"""A receipt whose bytes were verified: what pages, cards and exports take their numbers from."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.bundle import Bundle, SignedStatement
from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.plan import EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.model.statement import EvaluationStatement, PlanStatement
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.times.terms import NOTHING_MORE, TrustTerms
from safety_receipts.verify.verification import Verification


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt that no check contradicts, and that a trusted key signed."""

    bundle: Bundle
    """Its bundle."""
    plan: SignedStatement[PlanStatement]
    """The plan, as it was verified."""
    signed: SignedStatement[EvaluationStatement]
    """The receipt, as it was verified."""
    verification: Verification
    """What verification found."""

    @property
    def predicate(self) -> EvaluationPredicate:
        """What the receipt says."""
        return self.signed.statement.predicate

    @property
    def plan_predicate(self) -> PlanPredicate:
        """What the plan says."""
        return self.plan.statement.predicate

    @property
    def consistent(self) -> bool:
        """Whether its numbers were derived again from the evidence; else that is withheld."""
        return self.verification.level in (CheckLevel.CONSISTENT, CheckLevel.BOUND)


def verify_command(receipt: EvaluationPredicate, *, evidence: bool, audits: bool) -> str:
    """Return the command with which a reader verifies a receipt, words in capitals to be filled in.

    Args:
        receipt: What the receipt says.
        evidence: Whether the evidence was there when it was verified.
        audits: Whether results of auditors are told beside the receipt.

    Returns:
        A command that passes on the copy that readers get: where the evidence stays with
        auditors it asks for no level that needs it.
    """
    words = ["receipts verify BUNDLE"]
    if not evidence or receipt.evidence.access is not EvidenceAccess.PUBLIC:
        words.append("--level authentic")
    if receipt.instrument:
        words.append("--allow-instrument")
    return " ".join((*words, key_words(audits=audits)))


def key_words(*, audits: bool) -> str:
    """Return the options that name a reader's keys; an auditor's where audits are told."""
    return "--trust EVALUATOR.pub" + (" --trust-auditor AUDITOR.pub" if audits else "")


def verified_receipt(
    bundle: Bundle,
    evaluators: TrustSet,
    auditors: TrustSet | None = None,
    *,
    terms: TrustTerms = NOTHING_MORE,
    progress: PointProgress = no_progress,
) -> VerifiedReceipt:
    """Verify a bundle, and return its receipt.

    Where the evidence is withheld its numbers are what a trusted key signed, and no more.

    Args:
        bundle: The bundle.
        evaluators: Keys trusted to sign plans and receipts.
        auditors: Keys trusted to sign audits.
        terms: What is asked of signatures besides whose they are.
        progress: Told how many points are done.

    Raises:
        IntegrityError: A check failed.
        IncompleteError: No trusted key signed plan and receipt.
        FileAccessError, MalformedError: A file is not what it should be.
    """
    verification = verify_bundle(
        bundle,
        evaluators=evaluators,
        auditors=auditors,
        required=terms.required,
        tsa_roots=terms.tsa_roots,
        log=terms.log,
        at=terms.at,
        progress=progress,
    )
    if verification.failed:
        verification.raise_for_failure()
    if verification.level is CheckLevel.NONE:
        raise IncompleteError(
            "no key that you trust is known to have signed plan and receipt",
            file=bundle.folder,
            hint="give the evaluator's public key: --trust KEY.pub",
        )
    # The bundle keeps the envelopes that it read: these are the bytes that were verified.
    return VerifiedReceipt(bundle, bundle.plan, bundle.receipt, verification)
