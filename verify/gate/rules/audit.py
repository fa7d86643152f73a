"""Independent auditors confirmed its rates."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Literal

from safety_receipts.receipts.documents.written import Whole
from safety_receipts.receipts.model.audit import AuditVerdict, ChallengeKind, audit_traits
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.audit.statistics.scope import RateName, recorded_rates
from safety_receipts.verify.gate.entries import (
    DateText,
    Days,
    Glob,
    Listed,
    RuleEntry,
    ShareNumber,
    alternatives,
    of_conditions,
    unmatched,
)
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.gate.moments import age_problem
from safety_receipts.verify.gate.standing import (
    called,
    distinct_auditors,
    drawback,
    risk_of,
    stood_for,
    told_once,
)


class AuditRule(RuleEntry):
    """Audits by trusted auditors, each of whom has to meet all of this; the evaluator's own keys do
    not count.
    """

    rule: Literal["audit"]
    epsilon: ShareNumber
    """Largest error of a rate that an audit may leave open (ε)."""
    alpha: ShareNumber = "0.05"
    """Largest risk of confirming a wrong rate: α times the audits that its auditor announced."""
    auditors: Whole = 1
    """Least number of different auditors."""
    verdicts: Listed[Literal["confirmed", "consistent_with"]] = ("confirmed",)
    """Verdicts that are accepted."""
    conditions: Listed[Glob] = ("*",)
    """Patterns of the conditions whose rates have to be audited."""
    sources: bool = True
    """Whether rates of single query sources have to be audited too."""
    controls: bool = True
    """Whether over-refusals of benign controls have to be audited too."""
    calibrated: bool = True
    """Whether an audit has to name a calibration."""
    identity: bool = True
    """Whether an audit has to have passed the model-identity test, by the named weights."""
    challenges: Listed[ChallengeKind] = (ChallengeKind.NONCE, ChallengeKind.BEACON)
    """Where the randomness of an audit may come from; ``self``: the auditor may have chosen it."""
    not_before: DateText | None = None
    """Earliest day on which an audit may have ended (UTC)."""
    days: Days | None = None
    """Largest age of an audit in days."""
    allow_unfinished: bool = False
    """Whether a trusted auditor may have announced an audit of which no result is here."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        who = "1 auditor" if self.auditors == 1 else f"{self.auditors:,} different auditors"
        left = [] if self.sources else ["but for rates of single sources"]
        left += [] if self.controls else ["but for controls"]
        return ", ".join(
            [
                f"{who}: {alternatives(self.verdicts)}",
                f"ε at most {self.epsilon}, α × announced audits at most {self.alpha}",
                of_conditions(self.conditions),
                *left,
                *(["calibrated"] if self.calibrated else []),
            ]
        )


def decide_audit(rule: AuditRule, facts: GateFacts) -> Decided:
    """Count the auditors whose audits meet what is asked for."""
    audits = facts.verification.audits
    refused = {audit.digest: list(_shortfalls(rule, facts, audit)) for audit in audits}
    met = [audit for audit in audits if not refused[audit.digest]]
    found = distinct_auditors(met)
    problems = unmatched(facts.receipt, rule.conditions)
    if found < rule.auditors:
        problems.append(f"{found:,} of {rule.auditors:,} auditors")
        if not audits:
            problems.append("no result of a trusted auditor is here (--trust-auditor, --audits)")
        short = told_once([one for one in audits if one not in met])
        problems += [f"{called(one)} {refused[one.digest][0]}" for one in short]
    if not rule.allow_unfinished:
        problems += _against(facts)
    good = f"{found:,} auditors: " if found > 1 else "1 auditor: "
    good += ", ".join(map(called, told_once(met)))
    return Decided.of(problems, good, "audits")


def _against(facts: GateFacts) -> Iterator[str]:
    """Yield what a trusted auditor announced, and did not tell."""
    for one in facts.verification.unfinished_audits:
        yield f"audit {one.digest[:12]} was announced at {one.started_at}, and has no result here"


def _shortfalls(rule: AuditRule, facts: GateFacts, audit: AuditSummary) -> Iterator[str]:
    """Yield what keeps an audit from being what is asked for."""
    verdicts = [AuditVerdict(each) for each in rule.verdicts]
    if (why := drawback(audit, verdicts)) is not None:
        yield why
        return
    result = audit.result
    if Fraction(result.epsilon) > Fraction(rule.epsilon):
        yield f"leaves an error of ε = {result.epsilon} open"
    if risk_of(audit) > Fraction(rule.alpha):
        yield f"runs a risk of α = {result.alpha} in each of {result.known_starts:,} audits"
    if rule.calibrated and result.calibration is None:
        yield "names no calibration"
    if rule.identity and (result.identity is None or not result.identity.passed):
        yield (
            "did not pass the model-identity test"
            if result.identity
            else ("made no model-identity test")
        )
    elif rule.identity and not audit_traits(result.method).by_weights:
        yield "tested what a server runs, and not that these are the named weights"
    if result.challenge.kind not in rule.challenges:
        yield f"has a challenge of kind {result.challenge.kind.value}"
    yield from _too_old(rule, facts, audit)
    yield from _left_out(rule, facts, audit, verdicts)


def _too_old(rule: AuditRule, facts: GateFacts, audit: AuditSummary) -> Iterator[str]:
    ended = audit.result.finished_at
    if (why := age_problem("it", ended, facts.at, rule.days)) is not None:
        yield f"is not of a moment that is accepted: {why}"
    if rule.not_before is not None and ended[:10] < rule.not_before:
        yield f"ended at {ended}"


def _left_out(
    rule: AuditRule, facts: GateFacts, audit: AuditSummary, verdicts: list[AuditVerdict]
) -> Iterator[str]:
    receipt = facts.receipt
    wanted = [
        name
        for name in recorded_rates(receipt.queries, receipt.conditions)
        if any(fnmatchcase(name.condition, glob) for glob in rule.conditions)
        and _is_asked(rule, name)
    ]
    stands = stood_for(audit, receipt, verdicts)
    missing = [name for name in wanted if name not in stands]
    if missing:
        yield f"does not stand for {len(missing):,} of {len(wanted):,} rates, such as {missing[0]}"


def _is_asked(rule: AuditRule, name: RateName) -> bool:
    if name.control:
        return rule.controls
    return rule.sources or name.source is None
