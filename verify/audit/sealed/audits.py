"""Audits that hang on a receipt: are they about it, and did a trusted auditor sign them?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final

from safety_receipts.receipts.audit_forms import form_key, parse_audit, public_form
from safety_receipts.receipts.beacon.rounds import check_round
from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, SignedStatement, read_envelope
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.documents.versions import predicate_type
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import MalformedError, ReceiptsError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditStartPredicate,
    AuditVerdict,
    ChallengeKind,
    PublicAuditPredicate,
    audit_traits,
)
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    CALIBRATION_TYPE,
    EVALUATION_TYPE,
    FIRST_AUDIT_START_TYPE,
    FIRST_AUDIT_TYPE,
    PLAN_TYPE,
    AuditStartStatement,
    EvaluationStatement,
)
from safety_receipts.verify.audit.sealed.problems import (
    Result,
    draws_of,
    missing_problems,
    points_replayed,
    public_problems,
    result_problems,
    start_problems,
)
from safety_receipts.verify.audit.statistics.scope import Scope, scope_of
from safety_receipts.verify.audit.statistics.verdicts import hard_in_draws
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.times.held import SignatureTimes


def check_audits(
    bundle: Bundle,
    receipt: SignedStatement[EvaluationStatement] | None,
    evaluators: TrustSet,
    auditors: TrustSet,
    checks: CheckList,
    *,
    times: SignatureTimes,
) -> TrustedAudits:
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
        times: Holds signatures to the limits of their keys.

    Returns:
        What trusted auditors signed about this receipt.
    """
    signed = _signed(bundle, auditors, checks, times)
    if receipt is None:
        for audit in signed:
            checks.skip(
                CheckName.AUDIT, "needs a receipt that fits its schema", about=_short(audit.path)
            )
        return TrustedAudits((), ())
    readable = tuple(audit for audit in signed if _read(audit, receipt, checks))
    signed_audits = _SignedAudits(bundle, receipt, readable)
    seen, unfinished = [], []
    for audit in readable:
        status, detail = _status_of(signed_audits, audit)
        by_evaluator = audit.envelope.signed_by(evaluators)
        own = bool(by_evaluator or receipt.envelope.signed_by(TrustSet(audit.keys)))
        checks.add(
            CheckName.AUDIT,
            status,
            ("self-audit: " if own else "") + detail,
            about=_short(audit.path),
        )
        if audit.result is not None:
            scope = _scope(signed_audits, audit.result)
            seen.append(
                AuditSummary(
                    audit.envelope,
                    audit.keys,
                    audit.result,
                    status,
                    scope,
                    auditor=_auditor(signed_audits, audit),
                    self_audit=own,
                )
            )
        elif audit.start is not None and not signed_audits.results_of(audit):
            unfinished.append(UnfinishedAudit(audit.envelope.digest, audit.start.started_at))
    envelopes = tuple(audit.envelope for audit in readable)
    return TrustedAudits(tuple(seen), tuple(unfinished), envelopes)


def _signed(
    bundle: Bundle, auditors: TrustSet, checks: CheckList, times: SignatureTimes
) -> list[_TrustedAudit]:
    """Return what trusted auditors signed; say of other files that they do not count.

    A flood of files can hide an audit no better than its removal can.
    """
    found: list[_TrustedAudit] = []
    files = bundle.audit_files()
    ignored = 0
    for path in files[:_MOST_READ]:
        audit = _trusted(path, auditors, times)
        if isinstance(audit, _TrustedAudit):
            found.append(audit)
            continue
        ignored += 1
        if ignored <= _MOST_NAMED:
            checks.skip(CheckName.AUDIT, audit, about=_short(path))
    if ignored > _MOST_NAMED:
        checks.skip(CheckName.AUDITS, f"{ignored - _MOST_NAMED:,} more files that do not count")
    if len(files) > _MOST_READ:
        why = f"more than {_MOST_READ:,} files: those after, by name, were not looked at"
        checks.skip(CheckName.AUDITS, why)
    return found


def _trusted(path: Path, auditors: TrustSet, times: SignatureTimes) -> _TrustedAudit | str:
    """Return what a trusted auditor signed, or why a file does not count."""
    if not len(auditors):
        return "no trusted auditor was given (--trust-auditor)"
    try:
        envelope = read_envelope(path, MAX_AUDIT_BYTES)
        held = times.audited(envelope, path, auditors, lambda: _stated(envelope, path))
    except ReceiptsError as error:
        return f"not an audit: {error.message}"
    if held.problem is not None:
        return f"no signature of a trusted auditor counts: {held.problem}"
    if not held.counting:
        return "not signed by a trusted auditor (--trust-auditor)"
    if path.name != f"{envelope.digest}.dsse.json":
        return "is not named by its digest: a copy of another?"
    return _TrustedAudit(path, envelope, held.counting)


def _stated(envelope: Envelope, path: Path) -> str | None:
    """Return the time that a statement gives of itself; None: it cannot be read as an audit."""
    try:
        audit = parse_audit(envelope, path).predicate
    except MalformedError:
        return None
    return audit.started_at if isinstance(audit, AuditStartPredicate) else audit.finished_at


_MOST_NAMED: Final = 100
"""Most files that do not count and are named one by one."""
_LONGEST_NAME: Final = 60
"""Longest name of an auditor in a detail, which has no room for more."""
_MOST_READ: Final = 10_000
"""Most files that are read."""


def _short(path: Path) -> str:
    return path.name[:12]


def _name(path: Path) -> str:
    return f"{CheckName.AUDIT} {_short(path)}"


@dataclass
class _TrustedAudit:
    """A statement that a trusted auditor signed."""

    path: Path
    envelope: Envelope
    keys: tuple[PublicKey, ...]
    start: AuditStartPredicate | None = None
    result: Result | None = None
    kind: str = ""
    """The predicate's type."""

    def same_auditor(self, other: _TrustedAudit) -> bool:
        """Say whether a key signed both."""
        return any(key.keyid == one.keyid for key in self.keys for one in other.keys)


@dataclass(frozen=True)
class _SignedAudits:
    """What trusted auditors signed about a receipt, side by side."""

    bundle: Bundle
    receipt: SignedStatement[EvaluationStatement]
    audits: tuple[_TrustedAudit, ...]

    def start_of(self, audit: _TrustedAudit) -> _TrustedAudit | None:
        """Return the announcement that a result names, if its auditor made it."""
        if audit.result is None:
            return None
        start = self._by_digest.get(audit.result.start.digest)
        if start is None or start.start is None:
            return None
        return start if start.same_auditor(audit) else None

    def full_of(self, audit: _TrustedAudit) -> _TrustedAudit | None:
        """Return the full form, by the same auditor, of a public form; None: it is not here."""
        if not isinstance(audit.result, PublicAuditPredicate):
            return None
        found = self._by_public_form.get(form_key(audit.result), ())
        return next((one for one in found if one.same_auditor(audit)), None)

    def named_by(self, public: PublicAuditPredicate) -> _TrustedAudit | None:
        """Return the full form that a public form names, whoever signed it, if it is here."""
        return None if public.full is None else self._by_digest.get(public.full)

    @cached_property
    def start_problems(self) -> dict[Sha256, str]:
        """What in announcements makes no audit of the receipt, by their digests."""
        receipt = self.receipt.statement.predicate
        return {
            one.envelope.digest: problem
            for one in self.audits
            if one.start is not None
            for problem in islice(start_problems(one.start, receipt), 1)
        }

    @cached_property
    def _by_digest(self) -> dict[Sha256, _TrustedAudit]:
        return {one.envelope.digest: one for one in self.audits}

    @cached_property
    def _by_public_form(self) -> dict[str, list[_TrustedAudit]]:
        found: dict[str, list[_TrustedAudit]] = {}
        for one in self.audits:
            if isinstance(one.result, AuditPredicate):
                form = form_key(public_form(one.result, one.envelope.digest))
                found.setdefault(form, []).append(one)
        return found

    def results_of(self, start: _TrustedAudit) -> list[_TrustedAudit]:
        """Return its auditor's results of an announcement, that one first which counts.

        An announcement has one result.  Two come about where two processes go on with one
        audit, and neither is false: that one counts which says least for the receipt, so that
        nobody can choose.  A public form beside its full form is no second result.
        """
        return self._results.get(start.envelope.digest, [])

    @cached_property
    def _results(self) -> dict[Sha256, list[_TrustedAudit]]:
        found: dict[Sha256, list[tuple[int, str, Sha256, _TrustedAudit]]] = {}
        for one in self.audits:
            start = self.start_of(one)
            if start is None or one.result is None or self.full_of(one) is not None:
                continue
            found.setdefault(start.envelope.digest, []).append(
                (_severity(one.result), one.result.finished_at, one.envelope.digest, one)
            )
        return {
            start: [one for *_, one in sorted(results, key=lambda each: each[:3])]
            for start, results in found.items()
        }

    def starts_known_to(self, audit: _TrustedAudit) -> int:
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


def _read(
    audit: _TrustedAudit, receipt: SignedStatement[EvaluationStatement], checks: CheckList
) -> bool:
    """Parse a statement into ``audit``; say whether it is one about this receipt."""
    try:
        kind = predicate_type(audit.envelope.payload, file=audit.path)
        if kind in _OTHER_TYPES:
            # Whoever copies it here must not turn a good bundle bad.
            return checks.skip(CheckName.AUDIT, f"not an audit: {kind}", about=_short(audit.path))
        statement = parse_audit(audit.envelope, audit.path)
    except MalformedError as error:
        # It could be a refutation: a gate must not pass because it cannot read.
        problem = f"signed by a trusted auditor, but not readable: {error.message}"
        return checks.decide(CheckName.AUDIT, problem, about=_short(audit.path))
    named = statement.predicate.receipt.digest
    if named != receipt.envelope.digest:
        return checks.skip(
            CheckName.AUDIT, f"is about another receipt, {named[:16]}…", about=_short(audit.path)
        )
    if statement.subject[0].digest.sha256 != named:
        problem = "its subject is not the receipt it is about"
        return checks.decide(CheckName.AUDIT, problem, about=_short(audit.path))
    if isinstance(statement, AuditStartStatement):
        audit.start = statement.predicate
    else:
        audit.result = statement.predicate
    audit.kind = statement.predicate_type
    return True


_OTHER_TYPES = {PLAN_TYPE, EVALUATION_TYPE, CALIBRATION_TYPE}


def _challenge(result: Result) -> str:
    """Return what is to be said of the randomness that drew the points."""
    beacon, value = result.challenge.beacon, result.beacon_value
    if result.challenge.kind is ChallengeKind.SELF:
        return "challenge: self"
    if beacon is None or value is None:
        return ""
    found = check_round(beacon.chain, beacon.round, value, result.beacon_signature)
    passed = found.status is CheckStatus.PASSED
    return f"drawn by {found.detail}" if passed else "beacon value not checked"


def _severity(result: Result) -> int:
    """Return how much a result says for a receipt, from nothing up."""
    if _broken(result) or result.verdict is AuditVerdict.REFUTED:
        return 0
    return 1 if result.verdict is AuditVerdict.INCONCLUSIVE else 2


def _broken(result: Result) -> str | None:
    """Return what the auditor found that does not follow, or None."""
    failed = (check for check in result.checks if check.status is CheckStatus.FAILED)
    return next((printable(f"{check.name}: {check.detail}") for check in failed), None)


def _scope(signed_audits: _SignedAudits, result: Result) -> Scope:
    receipt = signed_audits.receipt.statement.predicate
    return scope_of(
        receipt,
        result.conditions,
        slopes=[one.finding for one in result.slope_results or ()],
        draws=draws_of(result),
        replayed=points_replayed(result),
        looked=audit_traits(result.method).looked,
    )


def _status_of(signed_audits: _SignedAudits, audit: _TrustedAudit) -> tuple[CheckStatus, str]:
    """Return how the check of one audit of this receipt ends, and what to say of it."""
    if audit.start is not None:
        return _judge_start(signed_audits, audit, audit.start)
    result = audit.result
    assert result is not None  # a statement is one or the other
    problem, followed = _problem(signed_audits, audit, result)
    if problem is not None:
        return CheckStatus.FAILED, problem
    return _beside_others(signed_audits, audit) or _judge_result(
        signed_audits, audit, result, followed
    )


def _auditor(signed_audits: _SignedAudits, audit: _TrustedAudit) -> str | None:
    """Return the name that an auditor gave in the announcement, or None."""
    start = signed_audits.start_of(audit)
    return None if start is None or start.start is None else start.start.auditor


def _by(signed_audits: _SignedAudits, audit: _TrustedAudit) -> str:
    """Return who signed an audit: the trusted key, and the name that its owner gives."""
    name, key = _auditor(signed_audits, audit), f"{audit.keys[0].keyid[:16]}…"
    return f"by key {key}" if name is None else f"by {printable(name, _LONGEST_NAME)}, key {key}"


def _beside_others(
    signed_audits: _SignedAudits, audit: _TrustedAudit
) -> tuple[CheckStatus, str] | None:
    """Return what becomes of a result that does not count beside another, or None."""
    full = signed_audits.full_of(audit)
    if full is not None:
        return CheckStatus.PASSED, f"the public form of {_name(full.path)}"
    start = signed_audits.start_of(audit)
    assert start is not None  # or there were a problem
    counts = signed_audits.results_of(start)[0]
    if counts is audit or counts.result is None:
        return None
    return CheckStatus.NOT_CHECKED, (
        f"a second result of one announcement: {_name(counts.path)} counts, which says "
        f"{counts.result.verdict.value}; move one of them out of the folder"
    )


def _judge_result(
    signed_audits: _SignedAudits, audit: _TrustedAudit, result: Result, followed: str
) -> tuple[CheckStatus, str]:
    broken = _broken(result)
    if broken is not None:
        return CheckStatus.FAILED, f"a trusted auditor found that it does not follow: {broken}"
    detail = (
        f"{_words(result, _scope(signed_audits, result))} {_terms(result, followed)} "
        f"{_by(signed_audits, audit)}"
    )
    if result.verdict is AuditVerdict.REFUTED:
        return CheckStatus.FAILED, f"a trusted auditor refutes this receipt: {detail}"
    inconclusive = result.verdict is AuditVerdict.INCONCLUSIVE
    return CheckStatus.NOT_CHECKED if inconclusive else CheckStatus.PASSED, detail


def _problem(
    signed_audits: _SignedAudits, audit: _TrustedAudit, result: Result
) -> tuple[str | None, str]:
    """Return what is wrong with a result, or None; and what was recomputed."""
    receipt = signed_audits.receipt.statement.predicate
    start = signed_audits.start_of(audit)
    if start is None or start.start is None:
        return "its announcement (audit-start, by the same auditor) is not here", ""
    if result.known_starts < signed_audits.starts_known_to(audit):
        return "states fewer announcements of its auditor than are here", ""
    problem = _unlike(audit, start) or next(result_problems(result, start.start, receipt), None)
    if problem is None and start.kind == AUDIT_START_TYPE:
        problem = next(missing_problems(result, receipt), None)
    if problem is None and start.envelope.digest in signed_audits.start_problems:
        problem = "its announcement makes no audit of this receipt"
    if problem is not None:
        return problem, ""
    if isinstance(result, PublicAuditPredicate):
        said = "public form: counts and p-values are the auditor's word"
        full = signed_audits.named_by(result)
        if full is not None and signed_audits.full_of(audit) is None:
            return f"is not what follows from the full form that it names, {_name(full.path)}", ""
        return next(public_problems(result, receipt), None), said
    # Most bundles hold no full form, and a gate takes as long as what it loads.
    from safety_receipts.verify.audit.sealed.arithmetic import (  # noqa: PLC0415
        arithmetic_problems,
        draws_problem,
    )

    problem = next(arithmetic_problems(result, receipt), None)
    return (
        (problem, "")
        if problem is not None
        else draws_problem(result, receipt, signed_audits.bundle)
    )


def _unlike(audit: _TrustedAudit, start: _TrustedAudit) -> str | None:
    """Return what is wrong with the version of a full form, whose announcement is of another."""
    if start.kind == FIRST_AUDIT_START_TYPE and start.start is not None and start.start.findings:
        return f"its announcement is {start.kind}, which is of no findings"
    if isinstance(audit.result, PublicAuditPredicate):
        return None
    first = audit.kind == FIRST_AUDIT_TYPE
    if first is (start.kind == FIRST_AUDIT_START_TYPE):
        return None
    return f"is {audit.kind}, and its announcement is {start.kind}"


def _words(result: Result, scope: Scope) -> str:
    """Return verdict and scope, and what contradicts the record whatever the verdict."""
    stands = result.verdict in (AuditVerdict.CONFIRMED, AuditVerdict.CONSISTENT_WITH)
    partly = "partly " if stands and not scope.whole else ""
    found = result.outcomes
    hard = hard_in_draws(result)
    hard_outcomes = 0 if found is None else found.hard_contradictions
    words = f"{partly}{result.verdict.value}: {scope.words()}"
    if hard or hard_outcomes:
        words += (
            f"; HARD CONTRADICTIONS: {hard:,} in draws for its rates and slopes, {hard_outcomes:,} "
            "in those for the model's identity"
        )
    if found is not None and found.contradictions:
        words += f"; {found.contradictions:,} of {found.draws:,} sampled outcomes contradicted"
    return words


def _terms(result: Result, followed: str) -> str:
    known = f"{result.known_starts} audits known" if result.known_starts > 1 else ""
    how = "calibrated" if result.calibration else "uncalibrated"
    traits = audit_traits(result.method)
    if not traits.scores:
        how = f"{traits.how}, not replayed"
    elif traits.caveat is not None:
        how = f"{traits.how}: {traits.caveat}; {how}"
    said = ", ".join(filter(None, (how, _challenge(result), known, followed)))
    draws = sum(rate.draws for rate in result.conditions)
    draws += sum(slope.draws for slope in result.slope_results or ())
    return f"(ε = {result.epsilon}, α = {result.alpha}, {draws:,} draws; {said})"


def _judge_start(
    signed_audits: _SignedAudits, audit: _TrustedAudit, start: AuditStartPredicate
) -> tuple[CheckStatus, str]:
    problem = signed_audits.start_problems.get(audit.envelope.digest)
    if problem is not None:
        return CheckStatus.FAILED, problem
    if not signed_audits.results_of(audit):
        return CheckStatus.NOT_CHECKED, "announced, and no result is here"
    return CheckStatus.PASSED, "announced"


@dataclass(frozen=True)
class AuditSummary:
    """A trusted auditor's result, as a program reads it."""

    envelope: Envelope
    """As it was signed."""
    keys: tuple[PublicKey, ...]
    """The trusted keys that signed it: anybody can add a signature that names another."""
    result: Result
    """What it says."""
    status: CheckStatus
    """How its check ended."""
    scope: Scope
    """How much of the receipt it is of."""
    auditor: str | None
    """Name of the auditor, in the auditor's own words; None: none is given."""
    self_audit: bool
    """Whether the evaluator's own key signed it."""

    @property
    def digest(self) -> Sha256:
        """Its digest."""
        return self.envelope.digest


@dataclass(frozen=True)
class UnfinishedAudit:
    """A trusted auditor's announcement of which no result is here."""

    digest: Sha256
    """Its digest."""
    started_at: str
    """When it was announced (UTC), in the auditor's own words."""


@dataclass(frozen=True)
class TrustedAudits:
    """What trusted auditors signed about a receipt."""

    results: tuple[AuditSummary, ...]
    """Their results."""
    unfinished: tuple[UnfinishedAudit, ...]
    """What they announced besides."""
    envelopes: tuple[Envelope, ...] = ()
    """All of it as it was signed, announcements included."""
