"""Audits that hang on a receipt: are they about it, and did a trusted auditor sign them?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from receipts.bundle import MAX_AUDIT_BYTES, Bundle, Signed, read_envelope
from receipts.documents import parse_document
from receipts.dsse import Envelope
from receipts.errors import MalformedError, ReceiptsError
from receipts.keys import PublicKey, TrustSet
from receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    ChallengeKind,
)
from receipts.model.check import CheckLevel, CheckStatus
from receipts.model.receipt import EvaluationPredicate
from receipts.model.statement import (
    AUDIT_START_TYPE,
    CALIBRATION_TYPE,
    EVALUATION_TYPE,
    PLAN_TYPE,
    AuditStartStatement,
    AuditStatement,
    EvaluationStatement,
)
from receipts.strict_json import parse_json
from receipts.text import printable
from verify.audit_arithmetic import arithmetic_problems, draws_problem
from verify.checks import CheckList
from verify.hypotheses import IDENTITY_LEVEL, least_identity
from verify.verdicts import whole_verdict

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
        evaluators: Keys trusted as evaluators; an audit by one of them, or by a key that signed
            the receipt, is a self-audit.
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
            signed.append(_Trusted(path, envelope, keys))
    if receipt is None:
        for audit in signed:
            checks.skip(_LEVEL, _name(audit.path), "needs a receipt that fits its schema")
        return
    readable = tuple(audit for audit in signed if _read(audit, receipt, checks))
    hearing = _Hearing(bundle, receipt, readable)
    for audit in readable:
        status, detail = _judge(hearing, audit)
        by_evaluator = audit.envelope.signed_by(evaluators)
        own = by_evaluator or receipt.envelope.signed_by(TrustSet(audit.keys))
        checks.add(_LEVEL, _name(audit.path), status, ("self-audit: " if own else "") + detail)


def _name(path: Path) -> str:
    return f"audit {path.name[:12]}"


@dataclass
class _Trusted:
    """A statement that a trusted auditor signed."""

    path: Path
    envelope: Envelope
    keys: tuple[PublicKey, ...]
    start: AuditStartPredicate | None = None
    result: AuditPredicate | None = None

    def same_auditor(self, other: _Trusted) -> bool:
        """Say whether a key signed both."""
        return any(key.keyid == one.keyid for key in self.keys for one in other.keys)


@dataclass(frozen=True)
class _Hearing:
    """What trusted auditors signed about a receipt, side by side."""

    bundle: Bundle
    receipt: Signed[EvaluationStatement]
    audits: tuple[_Trusted, ...]

    def start_of(self, audit: _Trusted) -> _Trusted | None:
        """Return the announcement that a result names, if its auditor made it."""
        named = None if audit.result is None else audit.result.start.digest
        for one in self.audits:
            if one.start is not None and one.envelope.digest == named:
                return one if one.same_auditor(audit) else None
        return None

    def results_of(self, start: _Trusted) -> list[_Trusted]:
        """Return its auditor's results of an announcement, the first one first."""
        found = [
            (one.result.finished_at, one.envelope.digest, one)
            for one in self.audits
            if one.result is not None and self.start_of(one) is start
        ]
        return [one for *_, one in sorted(found, key=lambda each: each[:2])]

    def starts_known_to(self, audit: _Trusted) -> int:
        """Return how many announcements its auditor must have known of at a result's end.

        Moments are told to the second: one of the very second it ended may have come after.
        """
        assert audit.result is not None
        own, end = audit.result.start.digest, audit.result.finished_at
        return sum(
            one.start is not None
            and one.same_auditor(audit)
            and (one.envelope.digest == own or one.start.started_at < end)
            for one in self.audits
        )


def _read(audit: _Trusted, receipt: Signed[EvaluationStatement], checks: CheckList) -> bool:
    """Parse a statement into ``audit``; say whether it is one about this receipt."""
    try:
        kind = _kind(audit.envelope, audit.path)
        if kind in _OTHER_TYPES:
            # Whoever copies it here must not turn a good bundle bad.
            return checks.skip(_LEVEL, _name(audit.path), f"not an audit: {kind}")
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


_OTHER_TYPES = {PLAN_TYPE, EVALUATION_TYPE, CALIBRATION_TYPE}

_CHALLENGES = {
    ChallengeKind.NONCE: "",
    ChallengeKind.BEACON: "beacon value not checked",
    ChallengeKind.SELF: "challenge: self",
}


def _judge(hearing: _Hearing, audit: _Trusted) -> tuple[CheckStatus, str]:
    """Return how the check of one audit of this receipt ends, and what to say of it."""
    if audit.start is not None:
        return _judge_start(hearing, audit, audit.start)
    evaluation = hearing.receipt.statement.predicate
    result = audit.result
    assert result is not None  # a statement is one or the other
    problem = next(_problems(hearing, audit, result), None)
    problem = problem or next(arithmetic_problems(result, evaluation), None)
    drawn = ""
    if problem is None:
        problem, drawn = draws_problem(result, evaluation, hearing.bundle)
    if problem is not None:
        return CheckStatus.FAILED, problem
    known = f"{result.known_starts} audits known" if result.known_starts > 1 else ""
    how = "" if result.calibration else "uncalibrated"
    if result.method is AuditMethod.REGENERATE:
        how = "regenerated, not replayed"
    said = (how, _CHALLENGES[result.challenge.kind])
    words = ", ".join(filter(None, (*said, known, drawn)))
    terms = f"(ε = {result.epsilon}, α = {result.alpha}, {len(result.drawn):,} draws; {words})"
    broken = next((c for c in result.checks if c.status is CheckStatus.FAILED), None)
    if broken is not None:
        found = printable(f"{broken.name}: {broken.detail}")
        return CheckStatus.FAILED, f"a trusted auditor found that it does not follow: {found}"
    if result.verdict is AuditVerdict.REFUTED:
        return CheckStatus.FAILED, f"a trusted auditor refutes this receipt {terms}"
    inconclusive = result.verdict is AuditVerdict.INCONCLUSIVE
    status = CheckStatus.NOT_CHECKED if inconclusive else CheckStatus.PASSED
    return status, f"{result.verdict.value} {terms}"


def _judge_start(
    hearing: _Hearing, audit: _Trusted, start: AuditStartPredicate
) -> tuple[CheckStatus, str]:
    problem = next(_terms_problems(start), None)
    if problem is not None:
        return CheckStatus.FAILED, problem
    conditions = {each.id for each in hearing.receipt.statement.predicate.conditions}
    if not {rate.condition for rate in start.rates} <= conditions:
        return CheckStatus.FAILED, "announces conditions that the receipt has not"
    if not hearing.results_of(audit):
        return CheckStatus.NOT_CHECKED, "announced, and no result is here"
    return CheckStatus.PASSED, "announced"


def _terms_problems(terms: AuditTerms) -> Iterator[str]:
    """Yield what in an audit's terms makes no audit."""
    for name, share in (("epsilon", terms.epsilon), ("alpha", terms.alpha)):
        if not 0 < Fraction(share) < 1:
            yield f"{name} is {share}: must lie above 0 and below 1"
    challenge = terms.challenge
    beacon = challenge.kind is ChallengeKind.BEACON
    if (challenge.nonce is None) is not beacon or (challenge.beacon is None) is beacon:
        given = "a beacon round and no nonce" if beacon else "a nonce and no beacon round"
        yield f"a challenge of kind {challenge.kind.value} takes {given}"


def _problems(hearing: _Hearing, audit: _Trusted, result: AuditPredicate) -> Iterator[str]:
    """Yield what in an audit contradicts itself, its announcement or the receipt."""
    start = hearing.start_of(audit)
    if start is None or start.start is None:
        yield "its announcement (audit-start, by the same auditor) is not here"
        return
    yield from _terms_problems(result)
    if (result.beacon_value is None) is (result.challenge.kind is ChallengeKind.BEACON):
        yield "a beacon value goes with a challenge of kind beacon, and with no other"
    if hearing.results_of(start)[0] is not audit:
        yield "its announcement has another result"
    if result.known_starts < hearing.starts_known_to(audit):
        yield "states fewer announcements of its auditor than are here"
    announced = start.start
    for name in AuditTerms.model_fields:
        if getattr(result, name) != getattr(announced, name):
            yield f"{name} is not what was announced"
    tested = [(rate.id, rate.direction) for rate in result.conditions]
    if sorted(tested) != sorted((rate.condition, rate.direction) for rate in announced.rates):
        yield "the rates are not the announced ones"
    yield from _count_problems(result, hearing.receipt.statement.predicate)
    yield from _identity_problems(result)
    yield from _verdict_problems(result)


def _count_problems(result: AuditPredicate, evaluation: EvaluationPredicate) -> Iterator[str]:
    """Yield what in an audit's counts fits neither the receipt nor one another."""
    if result.points_total != evaluation.evidence.size:
        yield "speaks of another number of points"
    if sum(rate.draws for rate in result.conditions) != len(result.drawn):
        yield "the draws of its rates are not the points drawn"
    rates = {condition.id: condition.compliance_rate for condition in evaluation.conditions}
    first = 0
    for rate in result.conditions:
        if rate.id not in rates or rate.recorded_rate != rates[rate.id]:
            yield f"{rate.id}: not the receipt's rate"
        part = max(rate.implausible, rate.ambiguous, rate.missing, rate.hard_contradictions)
        if not rate.recorded >= rate.draws >= rate.contradictions >= part:
            yield f"{rate.id}: its counts do not fit each other"
        # New responses are asked for point by point, for each of a condition's rates.
        mine = result.drawn[first : first + rate.draws]
        if len(set(mine)) != len(mine):
            yield f"{rate.id}: a point was drawn twice"
        first += rate.draws


def _identity_problems(result: AuditPredicate) -> Iterator[str]:
    """Yield what in the model-identity test does not fit the audit or itself."""
    drawn, identity = result.identity_drawn, result.identity
    if len(set(drawn)) != len(drawn) or len(drawn) > result.identity_points:
        yield "the points of its identity test are not those that were announced"
    if identity is None:
        return
    if not 0 < identity.responses <= len(drawn):
        yield "its identity test has other responses than those replayed for it"
    if Fraction(identity.level) != IDENTITY_LEVEL:
        yield f"its identity test is held to a level of {identity.level}"
    if (identity.p_value is None) is not (result.calibration is None):
        yield "its identity test has a p-value exactly if the audit is calibrated"
    if identity.p_value is not None:
        passed = Fraction(identity.p_value) > IDENTITY_LEVEL
        if identity.passed is not passed:
            said = "passed" if identity.passed else "failed"
            yield f"its identity test {said}, at a p-value of {identity.p_value}"


_POSSIBLE = {
    AuditMethod.REPLAY: {
        AuditVerdict.CONFIRMED,
        AuditVerdict.REFUTED,
        AuditVerdict.INCONCLUSIVE,
    },
    AuditMethod.REGENERATE: {AuditVerdict.CONSISTENT_WITH, AuditVerdict.INCONCLUSIVE},
}
"""What each method may say, of a rate and as a whole."""


def _verdict_problems(result: AuditPredicate) -> Iterator[str]:
    rates = [rate.verdict for rate in result.conditions]
    for verdict in (*rates, result.verdict):
        if verdict not in _POSSIBLE[result.method]:
            yield f"{verdict.value}, which no audit by {result.method.value} can say"
    passed = result.identity is not None and result.identity.passed
    least = least_identity(result.points_total)
    identified = passed and len(result.identity_drawn) >= least
    follows = whole_verdict(result.method, rates, identified=identified)
    if result.verdict is not follows:
        few = f", which takes {least} points" if passed and not identified else ""
        yield (
            f"{result.verdict.value} as a whole, but {follows.value} follows from its rates and "
            f"the model's identity{few}"
        )


def _kind(envelope: Envelope, path: Path) -> str | None:
    """Return the predicate type that a statement names.

    Raises:
        MalformedError: It is no JSON.
    """
    statement = parse_json(envelope.payload, file=path)
    kind = statement.get("predicateType") if isinstance(statement, dict) else None
    return kind if isinstance(kind, str) else None


def parse_audit(envelope: Envelope, path: Path) -> AuditStatement | AuditStartStatement:
    """Parse an announcement or an audit.

    Raises:
        MalformedError: It is neither.
    """
    if _kind(envelope, path) == AUDIT_START_TYPE:
        return parse_document(
            envelope.payload, AuditStartStatement, "audit-start-statement", file=path
        )[0]
    return parse_document(envelope.payload, AuditStatement, "audit-statement", file=path)[0]
