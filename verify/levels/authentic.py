"""Level *authentic*: did a key I trust sign plan and receipt, and have they their form?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from safety_receipts.receipts.bundle import PLAN, Bundle, SignedStatement
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.statement import EvaluationStatement, PlanStatement
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList

S = TypeVar("S", PlanStatement, EvaluationStatement)


@dataclass(frozen=True)
class _Names:
    """The checks that each of the two documents has."""

    signature: CheckName
    schema: CheckName
    canonical: CheckName
    subject: CheckName


_RECEIPT = _Names(
    CheckName.RECEIPT_SIGNATURE,
    CheckName.RECEIPT_SCHEMA,
    CheckName.RECEIPT_CANONICAL,
    CheckName.RECEIPT_SUBJECT,
)
_PLAN = _Names(
    CheckName.PLAN_SIGNATURE,
    CheckName.PLAN_SCHEMA,
    CheckName.PLAN_CANONICAL,
    CheckName.PLAN_SUBJECT,
)
_OF_THE_PLAN = (
    CheckName.PLAN_SIGNATURE,
    CheckName.PLAN_SCHEMA,
    CheckName.PLAN_CANONICAL,
    CheckName.PLAN_SUBJECT,
    CheckName.PLAN_DIGEST,
    CheckName.SAME_SIGNER,
)
"""Checks that need the plan."""


@dataclass(frozen=True)
class Authenticated:
    """What the authentic level found; None where a document is missing or has another form."""

    plan: SignedStatement[PlanStatement] | None
    receipt: SignedStatement[EvaluationStatement] | None
    receipt_envelope: Envelope
    signer: PublicKey | None
    """The trusted key that signed the receipt, and the plan where that is at hand."""


def check_authentic(
    bundle: Bundle, trust: TrustSet, checks: CheckList, *, required: TrustSet | None = None
) -> Authenticated:
    """Make the checks of level *authentic*.

    Signatures are verified before payloads are parsed; a failed signature does not stop the
    other checks, which then say what else is wrong.

    Args:
        bundle: The bundle.
        trust: Keys trusted as evaluators.
        checks: Receives the checks.
        required: Keys each of which must have signed plan and receipt; None or empty: none.

    Raises:
        FileAccessError: There is no readable receipt.
        MalformedError: The receipt's or plan's file is no DSSE envelope.
    """
    receipt_envelope = bundle.receipt_envelope
    receipt_keys = _check_signature(_RECEIPT.signature, receipt_envelope, trust, checks)
    receipt = _check_form(_RECEIPT, lambda: bundle.receipt, checks)

    if not bundle.has(PLAN):
        for name in _OF_THE_PLAN:
            checks.skip(name, f"{PLAN} is not in this bundle")
        if required:
            checks.skip(CheckName.REQUIRED_KEYS, f"{PLAN} is not in this bundle")
        return Authenticated(None, receipt, receipt_envelope, None)
    plan_envelope = bundle.plan_envelope
    plan_keys = _check_signature(_PLAN.signature, plan_envelope, trust, checks)
    plan = _check_form(_PLAN, lambda: bundle.plan, checks)

    both = [key for key in receipt_keys if key in plan_keys]
    if len(trust):
        problem = None if both else "no trusted key signed both"
        checks.decide(CheckName.SAME_SIGNER, problem, "one trusted key signed plan and receipt")
    else:
        checks.skip(CheckName.SAME_SIGNER, _NO_TRUST)
    if required:
        _check_required(required, receipt_envelope, plan_envelope, checks)
    if receipt is not None:
        named = receipt.statement.predicate.plan.digest
        problem = None
        if named != plan_envelope.digest:
            problem = f"the receipt names plan {named[:16]}…, this is {plan_envelope.digest[:16]}…"
        checks.decide(CheckName.PLAN_DIGEST, problem, "the receipt names this plan")
    else:
        checks.skip(CheckName.PLAN_DIGEST, "the receipt does not fit its schema")
    return Authenticated(plan, receipt, receipt_envelope, both[0] if both else None)


def readable_plan(bundle: Bundle) -> PlanPredicate | None:
    """Return what a bundle's plan says, whoever signed it; None: there is none that can be read."""
    try:
        return bundle.plan.statement.predicate
    except (FileAccessError, MalformedError):
        return None  # the checks of this level say why


_NO_TRUST = "no trusted key was given (--trust KEY.pub)"


def _check_signature(
    name: CheckName, envelope: Envelope, trust: TrustSet, checks: CheckList
) -> tuple[PublicKey, ...]:
    if not len(trust):
        checks.skip(name, _NO_TRUST)
        return ()
    keys = envelope.signed_by(trust)
    claimed = ", ".join(signature.keyid[:16] or "no key id" for signature in envelope.signatures)
    problem = None if keys else f"no trusted key signed these bytes (signed as {claimed})"
    checks.decide(name, problem, f"signed by {_named(keys)}")
    return keys


def _check_required(
    required: TrustSet, receipt: Envelope, plan: Envelope, checks: CheckList
) -> None:
    problem = None
    for what, envelope in (("receipt", receipt), ("plan", plan)):
        signed = envelope.signed_by(required)
        if missing := [key for key in required if key not in signed]:
            problem = f"the {what} is not signed by {_named(missing)}"
            break
    checks.decide(CheckName.REQUIRED_KEYS, problem, f"both are signed by {_named(required)}")


def _named(keys: Iterable[PublicKey]) -> str:
    return ", ".join(f"{key.keyid[:16]}… ({key.key_type})" for key in keys)


def _check_form(
    names: _Names, read: Callable[[], SignedStatement[S]], checks: CheckList
) -> SignedStatement[S] | None:
    try:
        signed = read()
    except MalformedError as error:
        place = f"{error.place}: " if error.place else ""
        checks.decide(names.schema, f"{place}{error.message}")
        return None
    detail = "fits its schema"
    if signed.unknown:
        detail += f"; ignored unknown fields: {', '.join(signed.unknown)}"
    checks.decide(names.schema, None, detail)
    problem = None if signed.is_canonical else "the payload is not in RFC 8785 form"
    checks.decide(names.canonical, problem, "RFC 8785 bytes")
    statement = signed.statement
    checkpoint = statement.predicate.checkpoint
    subject = statement.subject[0]
    named = (subject.name, subject.digest.sha256)
    problem = None if named == (checkpoint.name, checkpoint.root) else "is not the checkpoint"
    checks.decide(names.subject, problem, "the checkpoint's name and root")
    return signed
