"""The statements of audits: reading them, and the form of a result that names no point.

The points that an audit draws for a rate are those with one recorded outcome, so their ids tell
what became of each, and anybody can compute the ids.  Where evidence is held by auditors the
full form of a result is, too; the public form holds counts, p-values and verdicts.  It holds
none that depends on the outcomes of points that anybody can name: those replayed for the model's
identity, and all points of an audit that asks for new responses, which has no public form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

from safety_receipts.receipts.bundle import BundleWriter, SignedStatement, parse_signed
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditResult,
    OutcomeFindings,
    PublicAuditPredicate,
    RateFindings,
    SecondJudgeFindings,
    SlopeTestFindings,
    audit_traits,
)
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.model.check import Check, CheckStatus
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.statement import (
    PUBLIC_AUDIT_TYPE,
    STATEMENT_TYPE,
    AuditStartStatement,
    AuditStatement,
    PublicAuditStatement,
    subject,
)

AnyAudit: TypeAlias = AuditStatement | AuditStartStatement | PublicAuditStatement

DRAWN_POINTS: Final = "drawn-points"
"""Name of the check that drawn points follow from plan and artifacts."""


def parse_audit(envelope: Envelope, path: Path) -> AnyAudit:
    """Parse an announcement, or a result in either form.

    Raises:
        MalformedError: It is none of these.
    """
    return signed_audit(envelope, path).statement


def signed_audit(envelope: Envelope, path: Path) -> SignedStatement[AnyAudit]:
    """Parse an announcement, or a result in either form, and keep what it was parsed from.

    Raises:
        MalformedError: It is none of these.
    """
    parsed: SignedStatement[AnyAudit] = parse_signed(
        envelope, AuditStartStatement, AuditStatement, PublicAuditStatement, file=path
    )
    return parsed


def has_public_form(full: AuditPredicate) -> bool:
    """Say whether an audit has one.

    New responses are asked for to the first points in an order that anybody can compute: how many
    of them comply, and in which order, tells what became of each.
    """
    return audit_traits(full.method).scores


def public_form(full: AuditPredicate, digest: Sha256) -> PublicAuditPredicate:
    """Return what anybody may know of an audit.

    Args:
        full: Its full form.
        digest: That one's digest.  It is named only where the full form holds random bytes:
            without them guesses of the draws could be tested against it.
    """
    return PublicAuditPredicate(
        **_shared(full, AuditResult) | {"checks": tuple(map(_anonymous, full.checks))},
        conditions=tuple(RateFindings(**_shared(rate, RateFindings)) for rate in full.conditions),
        slope_results=(
            None
            if full.slope_results is None
            else tuple(
                SlopeTestFindings(**_shared(one, SlopeTestFindings)) for one in full.slope_results
            )
        ),
        drawn=len(full.drawn),
        identity_drawn=len(full.identity_drawn),
        outcomes=(
            None
            if full.outcomes is None
            else OutcomeFindings(**_shared(full.outcomes, OutcomeFindings))
        ),
        second_judge=(
            None
            if full.second_judge is None
            else SecondJudgeFindings(**_shared(full.second_judge, SecondJudgeFindings))
        ),
        full=None if full.blinding is None else digest,
    )


def form_key(form: PublicAuditPredicate) -> str:
    """Return what two public forms of one audit have in common.

    The details of checks are left out: who signs one withholds them in words of their own.
    """
    checks = tuple(check.model_copy(update={"detail": ""}) for check in form.checks)
    return form.model_copy(update={"checks": checks}).model_dump_json()


def sign_public_form(full: AuditPredicate, digest: Sha256, signer: Signer) -> Envelope:
    """Sign the public form of an audit.

    Args:
        full: Its full form, of one that has a public one.
        digest: That one's digest.
        signer: The auditor.
    """
    statement = PublicAuditStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", full.receipt.digest),
        predicate_type=PUBLIC_AUDIT_TYPE,
        predicate=public_form(full, digest),
    )
    return sign(statement.to_wire(), signer)


def write_audit(
    statement: AuditStatement, signer: Signer, folder: Path, *, access: EvidenceAccess
) -> tuple[Envelope, Path]:
    """Sign a statement into a folder's ``audits``, and its public form, if any, after it.

    The full form names points with what became of them: its owner alone may read it, unless
    anybody may hold the evidence.

    Args:
        statement: The result.
        signer: The auditor.
        folder: The folder.
        access: Who may hold the evidence of the event.

    Returns:
        The full form, and its path.

    Raises:
        FileAccessError: The folder cannot be written.
    """
    writer, envelope = BundleWriter(folder), sign(statement.to_wire(), signer)
    path = writer.write_audit(envelope, private=access is not EvidenceAccess.PUBLIC)
    if has_public_form(statement.predicate):
        writer.write_audit(sign_public_form(statement.predicate, envelope.digest, signer))
    return envelope, path


def _shared(source: WireModel, model: type[WireModel]) -> dict[str, Any]:
    return {name: getattr(source, name) for name in model.model_fields}


def _anonymous(check: Check) -> Check:
    """Return a check without its detail where that could tell of points.

    Where it failed it could name one, and how many were drawn, each counted once, tells how many
    of those replayed for the model's identity were drawn for a rate.
    """
    if check.status is CheckStatus.FAILED:
        return check.model_copy(update={"detail": "what does not follow stands in the full form"})
    if check.name == DRAWN_POINTS:
        return check.model_copy(update={"detail": "how many stands in the full form"})
    return check
