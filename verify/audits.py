"""Audits that hang on a receipt: are they about it, and did a trusted auditor sign them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from receipts.bundle import MAX_AUDIT_BYTES, Bundle, Signed, read_envelope
from receipts.canonical import Sha256
from receipts.documents import parse_document
from receipts.dsse import Envelope
from receipts.errors import MalformedError, ReceiptsError
from receipts.keys import TrustSet
from receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    ChallengeKind,
)
from receipts.model.base import ConditionId
from receipts.model.check import CheckLevel, CheckStatus
from receipts.model.statement import (
    AUDIT_START_TYPE,
    AuditStartStatement,
    AuditStatement,
    EvaluationStatement,
)
from receipts.strict_json import parse_json
from verify.audit_arithmetic import arithmetic_problems, draws_problem
from verify.checks import CheckList

_LEVEL = CheckLevel.REPLAYED


def check_audits(
    bundle: Bundle,
    receipt: Signed[EvaluationStatement] | None,
    evaluators: TrustSet,
    auditors: TrustSet,
    checks: CheckList,
) -> None:
    """Add one check for each file in ``audits/``.

    Anybody can put a file there, so what no trusted auditor signed is shown and ignored, and
    so is a trusted auditor's audit of another receipt.  What a trusted auditor did sign for
    this receipt counts, also against it; a confirmation counts only with its announcement.

    Args:
        bundle: The bundle.
        receipt: Its receipt, where it has its form.
        evaluators: Keys trusted as evaluators; an audit by one of them is a self-audit.
        auditors: Keys trusted as auditors.
        checks: Receives the checks.
    """
    paths = bundle.audit_files()
    if not len(auditors):
        for path in paths:
            checks.skip(_LEVEL, _name(path), "no trusted auditor was given (--trust-auditor)")
        return
    signed: list[_Trusted] = []
    for path in paths:
        try:
            envelope = read_envelope(path, MAX_AUDIT_BYTES)
        except ReceiptsError as error:
            checks.skip(_LEVEL, _name(path), f"not an audit: {error.message}")
            continue
        keys = envelope.signed_by(auditors)
        if not keys:
            checks.skip(_LEVEL, _name(path), "not signed by a trusted auditor (--trust-auditor)")
        elif path.name != f"{envelope.digest}.dsse.json":
            checks.skip(_LEVEL, _name(path), "is not named by its digest: a copy of another?")
        else:
            signed.append(_Trusted(path, envelope, {key.keyid for key in keys}))
    if receipt is None:
        for audit in signed:
            checks.skip(_LEVEL, _name(audit.path), "needs a receipt that fits its schema")
        return
    readable = [audit for audit in signed if _read(audit, receipt, checks)]
    starts = {audit.envelope.digest: audit for audit in readable if audit.start is not None}
    answered = {audit.result.start.digest for audit in readable if audit.result is not None}
    for audit in readable:
        status, detail = _judge(bundle, audit, receipt, starts, answered)
        own = "self-audit: " if audit.envelope.signed_by(evaluators) else ""
        checks.add(_LEVEL, _name(audit.path), status, own + detail)


def _name(path: Path) -> str:
    return f"audit {path.name[:12]}"


@dataclass
class _Trusted:
    """A statement that a trusted auditor signed."""

    path: Path
    envelope: Envelope
    keyids: set[str]
    start: AuditStartPredicate | None = None
    result: AuditPredicate | None = None


def _read(audit: _Trusted, receipt: Signed[EvaluationStatement], checks: CheckList) -> bool:
    """Parse a statement into ``audit``; say whether it is one about this receipt."""
    try:
        statement = parse_audit(audit.envelope, audit.path)
    except MalformedError as error:
        # It could be a refutation: a gate must not pass because it cannot read.
        problem = f"signed by a trusted auditor, but not readable: {error.message}"
        return checks.decide(_LEVEL, _name(audit.path), problem)
    named = statement.predicate.receipt.digest
    if named != receipt.envelope.digest:
        return checks.skip(_LEVEL, _name(audit.path), f"is about another receipt, {named[:16]}…")
    if statement.subject[0].digest.sha256 != named:
        problem = "its subject is not the receipt it is about"
        return checks.decide(_LEVEL, _name(audit.path), problem)
    if isinstance(statement, AuditStartStatement):
        audit.start = statement.predicate
    else:
        audit.result = statement.predicate
    return True


_CHALLENGES = {
    ChallengeKind.NONCE: "",
    ChallengeKind.BEACON: "beacon value not checked",
    ChallengeKind.SELF: "challenge: self",
}


def _judge(
    bundle: Bundle,
    audit: _Trusted,
    receipt: Signed[EvaluationStatement],
    starts: Mapping[Sha256, _Trusted],
    answered: set[Sha256],
) -> tuple[CheckStatus, str]:
    """Return how the check of one audit of this receipt ends, and what to say of it."""
    evaluation = receipt.statement.predicate
    rates = {condition.id: condition.compliance_rate for condition in evaluation.conditions}
    if audit.start is not None:
        if not {rate.condition for rate in audit.start.rates} <= set(rates):
            return CheckStatus.FAILED, "announces conditions that the receipt has not"
        if audit.envelope.digest not in answered:
            return CheckStatus.NOT_CHECKED, "announced, and no result is here"
        return CheckStatus.PASSED, "announced"
    result = audit.result
    assert result is not None  # a statement is one or the other
    start = starts.get(result.start.digest)
    problem = next(_problems(result, start, audit.keyids, rates, evaluation.evidence.size), None)
    problem = problem or next(arithmetic_problems(result, evaluation), None)
    drawn = ""
    if problem is None:
        problem, drawn = draws_problem(result, evaluation, bundle)
    if problem is not None:
        return CheckStatus.FAILED, problem
    known = f"{result.known_starts} audits known" if result.known_starts > 1 else ""
    how = "" if result.calibration else "uncalibrated"
    if result.method is AuditMethod.REGENERATE:
        how = "regenerated, not replayed"
    said = (how, _CHALLENGES[result.challenge.kind])
    words = ", ".join(filter(None, (*said, known, drawn)))
    terms = f"(ε = {result.epsilon}, α = {result.alpha}, {len(result.drawn):,} draws; {words})"
    if result.verdict is AuditVerdict.REFUTED:
        return CheckStatus.FAILED, f"a trusted auditor refutes this receipt {terms}"
    inconclusive = result.verdict is AuditVerdict.INCONCLUSIVE
    status = CheckStatus.NOT_CHECKED if inconclusive else CheckStatus.PASSED
    return status, f"{result.verdict.value} {terms}"


def _problems(
    result: AuditPredicate,
    start: _Trusted | None,
    keyids: set[str],
    rates: Mapping[ConditionId, str | None],
    points: int,
) -> Iterator[str]:
    """Yield what in an audit contradicts itself, its announcement or the receipt."""
    if start is None or start.start is None or not keyids & start.keyids:
        yield "its announcement (audit-start, by the same auditor) is not here"
        return
    announced = start.start
    for name in AuditTerms.model_fields:
        if getattr(result, name) != getattr(announced, name):
            yield f"{name} is not what was announced"
    tested = [(rate.id, rate.direction) for rate in result.conditions]
    if sorted(tested) != sorted((rate.condition, rate.direction) for rate in announced.rates):
        yield "the rates are not the announced ones"
    if result.points_total != points:
        yield "speaks of another number of points"
    if len(set(result.drawn)) != len(result.drawn):
        yield "a point was drawn twice"
    if sum(rate.draws for rate in result.conditions) != len(result.drawn):
        yield "the draws of its rates are not the points drawn"
    for rate in result.conditions:
        if rate.id not in rates or rate.recorded_rate != rates[rate.id]:
            yield f"{rate.id}: not the receipt's rate"
        part = max(rate.implausible, rate.ambiguous, rate.missing, rate.hard_contradictions)
        if not rate.recorded >= rate.draws >= rate.contradictions >= part:
            yield f"{rate.id}: its counts do not fit each other"
    yield from _verdict_problems(result)


def _verdict_problems(result: AuditPredicate) -> Iterator[str]:
    verdicts = {rate.verdict for rate in result.conditions}
    identified = result.identity is not None and result.identity.passed
    match result.verdict:
        case AuditVerdict.CONFIRMED if verdicts != {AuditVerdict.CONFIRMED} or not identified:
            yield "confirmed as a whole, but not in every rate and the model's identity"
        case AuditVerdict.REFUTED if AuditVerdict.REFUTED not in verdicts:
            yield "refuted as a whole, but in no rate"
        case verdict if verdict is not AuditVerdict.REFUTED and AuditVerdict.REFUTED in verdicts:
            yield "a rate is refuted, and the whole is not"


def parse_audit(envelope: Envelope, path: Path) -> AuditStatement | AuditStartStatement:
    """Parse an announcement or an audit.

    Raises:
        MalformedError: It is neither.
    """
    kind = parse_json(envelope.payload, file=path)
    if isinstance(kind, dict) and kind.get("predicateType") == AUDIT_START_TYPE:
        return parse_document(
            envelope.payload, AuditStartStatement, "audit-start-statement", file=path
        )[0]
    return parse_document(envelope.payload, AuditStatement, "audit-statement", file=path)[0]
