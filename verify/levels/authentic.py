"""Level *authentic*: did a key I trust sign plan and receipt, and have they their form?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle, SignedStatement
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.statement import EvaluationStatement, PlanStatement
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.times.held import HeldSignatures, SignatureTimes

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
    keys: tuple[PublicKey, ...] = ()
    """The trusted keys whose signatures on receipt or plan count."""


def check_authentic(
    bundle: Bundle,
    trust: TrustSet,
    checks: CheckList,
    times: SignatureTimes,
    *,
    required: TrustSet | None = None,
) -> Authenticated:
    """Make the checks of level *authentic*.

    Signatures are verified before payloads are parsed; a failed signature does not stop the
    other checks, which then say what else is wrong.

    Args:
        bundle: The bundle.
        trust: Keys trusted as evaluators.
        checks: Receives the checks.
        times: Holds signatures to the limits of their keys.
        required: Keys of these each of which must have signed plan and receipt; None or empty:
            none.

    Raises:
        FileAccessError: There is no readable receipt.
        MalformedError: The receipt's or plan's file is no DSSE envelope.
    """
    receipt_envelope = bundle.receipt_envelope
    receipt_held = times.sealed(receipt_envelope, RECEIPT, trust)
    _check_signature(_RECEIPT.signature, receipt_envelope, trust, receipt_held, checks)
    receipt = _check_form(_RECEIPT, lambda: bundle.receipt, checks)

    if not bundle.has(PLAN):
        for name in _OF_THE_PLAN:
            checks.skip(name, f"{PLAN} is not in this bundle")
        if required:
            checks.skip(CheckName.REQUIRED_KEYS, f"{PLAN} is not in this bundle")
        _check_validity({"receipt": receipt_held}, checks)
        return Authenticated(None, receipt, receipt_envelope, None, receipt_held.counting)
    plan_envelope = bundle.plan_envelope
    plan_held = times.sealed(plan_envelope, PLAN, trust)
    _check_signature(_PLAN.signature, plan_envelope, trust, plan_held, checks)
    plan = _check_form(_PLAN, lambda: bundle.plan, checks)

    held = {"receipt": receipt_held, "plan": plan_held}
    both = [key for key in receipt_held.counting if key in plan_held.counting]
    if len(trust):
        problem = None if both else "no trusted key signed both"
        checks.decide(CheckName.SAME_SIGNER, problem, "one trusted key signed plan and receipt")
    else:
        checks.skip(CheckName.SAME_SIGNER, _NO_TRUST)
    if required:
        _check_required(required, held, checks)
    _check_validity(held, checks)
    if receipt is not None:
        named = receipt.statement.predicate.plan.digest
        problem = None
        if named != plan_envelope.digest:
            problem = f"the receipt names plan {named[:16]}…, this is {plan_envelope.digest[:16]}…"
        checks.decide(CheckName.PLAN_DIGEST, problem, "the receipt names this plan")
    else:
        checks.skip(CheckName.PLAN_DIGEST, "the receipt does not fit its schema")
    keys = TrustSet((*receipt_held.counting, *plan_held.counting))
    return Authenticated(plan, receipt, receipt_envelope, both[0] if both else None, tuple(keys))


def readable_plan(bundle: Bundle) -> PlanPredicate | None:
    """Return what a bundle's plan says, whoever signed it; None: there is none that can be read."""
    try:
        return bundle.plan.statement.predicate
    except (FileAccessError, MalformedError):
        return None  # the checks of this level say why


_NO_TRUST = "no trusted key was given (--trust KEY.pub)"


def _check_signature(
    name: CheckName,
    envelope: Envelope,
    trust: TrustSet,
    held: HeldSignatures,
    checks: CheckList,
) -> None:
    if not len(trust):
        checks.skip(name, _NO_TRUST)
        return
    claimed = ", ".join(signature.keyid[:16] or "no key id" for signature in envelope.signatures)
    problem = None
    if not held.counting:
        problem = f"no trusted key signed these bytes (signed as {claimed})"
        if held.refused:
            problem = f"no signature of a trusted key counts: {held.refusals()}"
    checks.decide(name, problem, f"signed by {_named(held.counting)}")


def _check_validity(held: Mapping[str, HeldSignatures], checks: CheckList) -> None:
    """Say whether keys are within their limits, where one that signed has some."""
    if not any(one.limited for one in held.values()):
        return
    problem = next((f"{what}: {one.problem}" for what, one in held.items() if one.problem), None)
    good = "keys that signed are within the times of the trust file"
    for what, one in held.items():
        if one.refused:
            good = f"another key's signature counts; on the {what}, {one.refusals()}"
            break
    checks.decide(CheckName.KEY_VALIDITY, problem, good)


def _check_required(
    required: TrustSet, held: Mapping[str, HeldSignatures], checks: CheckList
) -> None:
    problem = None
    for what, one in held.items():
        if missing := [key for key in required if key not in one.counting]:
            problem = f"the {what} is not signed by {_named(missing)}"
            if late := [why for key, why in one.refused if key == missing[0]]:
                problem = (
                    f"the {what}'s signature by {_named(missing[:1])} does not count: {late[0]}"
                )
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
