"""Findings are called by allowed words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Final, Literal

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.audit import AuditVerdict, ChallengeKind
from safety_receipts.receipts.model.findings import (
    Effect,
    Findings,
    FormatWord,
    OrderingFinding,
    OrderWord,
    Verdict,
)
from safety_receipts.verify.audit.statistics.findings import breakdowns_of
from safety_receipts.verify.gate.entries import Listed, RuleEntry, ShareNumber, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.gate.standing import drawback, risk_of

_HYPOTHESES = ("joint", "total", "orderings", "formats", "sources")


class FindingRule(RuleEntry):
    """Words that are allowed for each hypothesis; of a hypothesis asked about there has to be a
    finding.
    """

    rule: Literal["finding"]
    joint: Listed[Effect] | None = None
    """The effect of benign demonstrations, in every order in which it is claimed."""
    total: Listed[Verdict] | None = None
    """The hypothesis that only the number of demonstrations matters."""
    orderings: Listed[OrderWord] | None = None
    """The effect of the order, of every mixture."""
    formats: Listed[FormatWord] | None = None
    """Whether a demonstrated format is adopted independently of complying, in every condition."""
    sources: Listed[Effect] | None = None
    """The effect of each benign source."""
    order_spread: ShareNumber | None = None
    """Largest difference between the compliance rates of one mixture in two orders."""
    audited: bool = False
    """Whether each finding that is asked about and points somewhere has to be confirmed by an audit
    of a trusted auditor, by the named weights (``receipts audit --finding``)."""
    alpha: ShareNumber = "0.05"
    """Largest risk of confirming one that is false: α times the audits that its auditor
    announced."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = [
            f"{name}: {alternatives(allowed)}"
            for name in _HYPOTHESES
            if (allowed := getattr(self, name)) is not None
        ]
        if self.order_spread is not None:
            parts.append(f"spread of orders at most {self.order_spread}")
        if self.audited:
            parts.append(f"each audited, α × announced audits at most {self.alpha}")
        return "; ".join(parts)

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        if self.order_spread is None and all(getattr(self, name) is None for name in _HYPOTHESES):
            yield f"asks for nothing: give one of {', '.join((*_HYPOTHESES, 'order_spread'))}"


def decide_finding(rule: FindingRule, facts: GateFacts) -> Decided:
    """Hold the words of the findings to those allowed."""
    source, findings = "receipt: findings", facts.receipt.findings
    if findings is None:
        return Decided.of(["the receipt claims no findings"], "", source)
    problems, told = [], []
    for name in _HYPOTHESES:
        allowed = getattr(rule, name)
        if allowed is None:
            continue
        said = list(_WORDS[name](findings))
        if not said:
            problems.append(f"there is no finding on {name}")
        problems += [f"{what}: {word}" for what, word in said if word not in allowed]
        told += [f"{what}: {word}" for what, word in said]
    if rule.order_spread is not None:
        problems += _spreads(findings, Fraction(rule.order_spread))
    if rule.audited:
        problems += _unaudited(rule, facts)
    return Decided.of(problems, "; ".join(told) or "every spread is within", source)


def _unaudited(rule: FindingRule, facts: GateFacts) -> Iterator[str]:
    """Yield the findings that no audit confirms, though they point somewhere."""
    confirmed = {
        one.finding
        for audit in facts.verification.audits
        if drawback(audit, [AuditVerdict.CONFIRMED]) is None
        and audit.result.challenge.kind is not ChallengeKind.SELF
        and risk_of(audit) <= Fraction(rule.alpha)
        for one in audit.result.finding_verdicts or ()
        if one.verdict is AuditVerdict.CONFIRMED
    }
    kinds = {_KINDS[name] for name in _HYPOTHESES if getattr(rule, name) is not None}
    if rule.order_spread is not None:
        kinds.add(_KINDS["orderings"])
    try:
        breakdowns = breakdowns_of(facts.receipt)
    except IntegrityError as error:
        yield error.message
        return
    for name in breakdowns:
        if name.partition("/")[0] in kinds and name not in confirmed:
            yield (
                f"{name}: no audit of a trusted auditor, confirmed as a whole, confirms it with "
                "points that the auditor could not choose"
            )


def _joint(findings: Findings) -> Iterator[tuple[str, str]]:
    claimed = [] if findings.joint is None else [findings.joint]
    for one in (*claimed, *(findings.joint_in_other_orders or ())):
        order = "" if one.ordering is None else f" in order {one.ordering.value}"
        yield f"joint{order}", one.effect.value


def _total(findings: Findings) -> Iterator[tuple[str, str]]:
    if findings.total is not None:
        yield "total", findings.total.verdict.value


def _orderings(findings: Findings) -> Iterator[tuple[str, str]]:
    for one in findings.orderings or ():
        yield f"orders of {_mixture(one)}", one.verdict.value


def _formats(findings: Findings) -> Iterator[tuple[str, str]]:
    for one in findings.formats or ():
        yield f"format at {one.condition}", one.verdict.value


def _sources(findings: Findings) -> Iterator[tuple[str, str]]:
    for one in () if findings.sources is None else findings.sources.slopes:
        yield f"source {one.source}", one.effect.value


_WORDS: Final[Mapping[str, Callable[[Findings], Iterator[tuple[str, str]]]]] = {
    "joint": _joint,
    "total": _total,
    "orderings": _orderings,
    "formats": _formats,
    "sources": _sources,
}


_KINDS: Final = {
    "joint": "joint",
    "total": "total",
    "orderings": "ordering",
    "formats": "format",
    "sources": "source",
}
"""How names of findings begin, by what a rule calls them."""


def _mixture(finding: OrderingFinding) -> str:
    return f"h{finding.n_harmful}-b{finding.n_benign}"


def _spreads(findings: Findings, most: Fraction) -> Iterator[str]:
    """Yield the mixtures whose rates differ too much by order, or are not known in each."""
    if not findings.orderings:
        yield "there is no finding on orderings"
    for one in findings.orderings or ():
        rates = [Fraction(each.compliance_rate) for each in one.rates if each.compliance_rate]
        if len(rates) < len(one.rates):
            yield f"in some order of {_mixture(one)} no point was judged"
        elif max(rates) - min(rates) > most:
            known = [each.compliance_rate or "" for each in one.rates]
            yield f"orders of {_mixture(one)} differ: {min(known)} to {max(known)}"
