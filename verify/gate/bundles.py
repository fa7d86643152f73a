"""Verifying a bundle, and holding its receipt to a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.verify.gate.gating import GateResult, gate_receipt
from safety_receipts.verify.gate.policy import GatePolicy
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.expected import ExpectedCheckpoint
from safety_receipts.verify.levels.times.terms import TrustTerms
from safety_receipts.verify.verification import Verification

if TYPE_CHECKING:
    from cryptography import x509

    from safety_receipts.verify.compare.evaluations import Evaluation
    from safety_receipts.verify.levels.bound import HeldArtifacts
    from safety_receipts.verify.levels.times.logged import LogTerms

ShownProgress: TypeAlias = Callable[[str], AbstractContextManager[PointProgress]]
"""Shows how far something is, of what it is told: ``verifying``."""


def unseen(_: str) -> AbstractContextManager[PointProgress]:
    """Show nothing of what goes on."""
    return nullcontext(no_progress)


@dataclass(frozen=True)
class GateTerms:
    """What every receipt is held to."""

    policy: GatePolicy
    """The policy."""
    evaluators: TrustSet
    """Keys trusted to sign plans and receipts."""
    auditors: TrustSet
    """Keys trusted to sign audits."""
    at: datetime
    """The moment of the decision, with its time zone."""
    artifacts: Path | None = None
    """A plan file whose paths are the reader's; None: level bound is not asked for."""
    against: Path | None = None
    """An earlier bundle; None: none is named."""
    shipped: ExpectedCheckpoint | None = None
    """The checkpoint that is to be shipped; None: none is named."""
    required: TrustSet | None = None
    """Keys each of which must have signed plan and receipt; None: none."""
    tsa_roots: Sequence[x509.Certificate] = ()
    """Roots of timestamp authorities that timestamps are held to."""
    log: LogTerms | None = None
    """What proofs of logs are held to; None: no log policy is named."""

    @property
    def trust(self) -> TrustTerms:
        """What is asked of signatures besides whose they are."""
        return TrustTerms(self.required, self.tsa_roots, self.log, self.at)


def gate_bundle(bundle: Bundle, terms: GateTerms, shown: ShownProgress = unseen) -> GateResult:
    """Verify a bundle, and hold its receipt to a policy.

    Args:
        bundle: The bundle.
        terms: What its receipt is held to.
        shown: Shows how far verification is.

    Returns:
        The result; no rule is decided where the receipt does not hold.

    Raises:
        IntegrityError: The bundle changed while it was read, or the earlier one does not verify.
        IncompleteError: Evidence of one of two that are compared is missing.
        UsageError: The two are not comparable.
        FileAccessError, MalformedError: A file is not what it should be.
    """
    held = None if terms.artifacts is None else _artifacts(bundle, terms.artifacts, shown)
    with shown("verifying") as progress:
        verification = verify_bundle(
            bundle,
            evaluators=terms.evaluators,
            auditors=terms.auditors,
            required=terms.required,
            wanted=CheckLevel.CONSISTENT if terms.artifacts is None else CheckLevel.BOUND,
            held_artifacts=held,
            tsa_roots=terms.tsa_roots,
            log=terms.log,
            at=terms.at,
            progress=progress,
        )
    return gate_verified(bundle, verification, terms, shown)


def gate_verified(
    bundle: Bundle, verification: Verification, terms: GateTerms, shown: ShownProgress = unseen
) -> GateResult:
    """Hold a receipt that was verified to a policy.

    Args:
        bundle: The bundle that was verified.
        verification: What that found.
        terms: What the receipt is held to.
        shown: Shows how far verification of an earlier one is.

    Raises:
        IntegrityError, IncompleteError, UsageError, FileAccessError, MalformedError: As
            :func:`gate_bundle`.
    """
    earlier: tuple[Evaluation, Evaluation] | None = None
    if terms.against is not None and not verification.failed:
        # Few gates compare, and this takes a while to load.
        from safety_receipts.verify.compare.evaluations import open_evaluations  # noqa: PLC0415

        with shown("verifying") as progress:
            before, this = open_evaluations(
                [terms.against, bundle.folder], terms.evaluators, progress, terms.trust
            )
        earlier = before, this
    return gate_receipt(
        bundle, verification, terms.policy, terms.at, shipped=terms.shipped, earlier=earlier
    )


def _artifacts(bundle: Bundle, plan: Path, shown: ShownProgress) -> HeldArtifacts | None:
    # Reading a receipt takes no tokenizer, and transformers takes seconds to load.
    from safety_receipts.verify.levels.bound import resolve_artifacts  # noqa: PLC0415

    with shown("hashing (bytes)") as progress:
        return resolve_artifacts(
            bundle, plan, all_points=False, nonce=None, allow_pickle=False, progress=progress
        )
