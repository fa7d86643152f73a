"""An audit, and what one would take, as tables, remarks and a conclusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditVerdict,
    ChallengeKind,
    FindingVerdict,
    OutcomeFindings,
    RateVerdict,
    SlopeTest,
    SlopeTestFindings,
    audit_traits,
)
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.receipt import ServerAccount
from safety_receipts.receipts.view.numerals import NOTHING, percent
from safety_receipts.receipts.view.servers import account_rows
from safety_receipts.receipts.view.summary import INSTRUMENT
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Conclusion,
    Row,
    Table,
    Tone,
    Words,
)
from safety_receipts.verify.audit.claims import Claim
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, together
from safety_receipts.verify.audit.statistics.hypotheses import least_identity
from safety_receipts.verify.audit.statistics.outcomes import contradicts
from safety_receipts.verify.audit.statistics.scope import SLOPE_CLAIM, Scope, claim_words, name_of
from safety_receipts.verify.audit.statistics.verdicts import hard_in_draws

_LIKELY: Final = 0.8
"""Share of audits below which it is said how often all claims together are confirmed."""
_STANDS: Final = (AuditVerdict.CONFIRMED, AuditVerdict.CONSISTENT_WITH)
_TONES: Final = {
    AuditVerdict.CONFIRMED: Tone.GOOD,
    AuditVerdict.CONSISTENT_WITH: Tone.GOOD,
    AuditVerdict.REFUTED: Tone.BAD,
    AuditVerdict.INCONCLUSIVE: Tone.DOUBTFUL,
}
_SERVED_IDENTITY: Final = "identity of the server's model with that of the responses"
_UNCALIBRATED: Final = (
    "uncalibrated: held to stated limits (receipts calibrate measures honest margins)"
)


def _measures(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, ColumnKind.MEASURE) for name in names)


# What an audit would take


@dataclass(frozen=True)
class Forecast:
    """What an audit would take, and of what it would be."""

    told: Sequence[tuple[Claim, Feasibility]]
    """What confirming each rate would take."""
    agreement: Feasibility | None = None
    """The same of the second judge's agreement; None: there is none."""
    authentic: bool = True
    """Whether signatures were checked with a trusted key."""
    instrument: bool = False
    """Whether the receipt is of a test instrument."""
    scope: Scope | None = None
    """How much of the receipt it would be of; None: that is not said."""
    epsilon: str | None = None
    """The error that each rate is held to, a share; None: that is not said."""
    alpha: str | None = None
    """The risk that is stated, a share; None: that is not said."""
    findings: tuple[str, ...] = ()
    """The findings that it would be of; none: rates alone."""
    slopes: Sequence[tuple[SlopeTest, Feasibility]] = ()
    """What confirming each slope as a whole would take."""

    @property
    def by_rates(self) -> tuple[str, ...]:
        """The findings that would be audited by the rates that they rest on."""
        whole = {test.finding for test, _ in self.slopes}
        return tuple(name for name in self.findings if name not in whole)

    @property
    def everything(self) -> list[Feasibility]:
        """What confirming each of what it would test would take."""
        tested = [one for _, one in (*self.told, *self.slopes)]
        return tested + ([] if self.agreement is None else [self.agreement])


def forecast_table(
    told: Sequence[tuple[Claim, Feasibility]], slopes: Sequence[tuple[SlopeTest, Feasibility]] = ()
) -> Table:
    """Return what confirming each rate would take, and each slope as a whole."""
    return Table(
        "",
        (
            Column("rate of"),
            *_measures("rate %"),
            Column("claim", ColumnKind.WORDS),
            *_measures("drawn from", "false ones needed", "draws at best", "draws, median"),
        ),
        (
            *(_forecast(claim, one) for claim, one in told),
            *(_slope_forecast(test, one) for test, one in slopes),
        ),
    )


def _forecast(claim: Claim, one: Feasibility) -> Row:
    return Row(
        (
            printable(str(name_of(claim.rate))),
            percent(claim.recorded.rate),
            claim_words(claim.rate),
            f"{claim.hypothesis.recorded:,}",
            f"{claim.hypothesis.hidden:,}",
            NOTHING if one.least is None else f"{one.least:,}",
            NOTHING if one.median is None else f"{one.median:,}",
        )
    )


def _slope_forecast(test: SlopeTest, one: Feasibility) -> Row:
    return Row(
        (
            f"slope of {printable(test.finding)}",
            NOTHING,
            SLOPE_CLAIM,
            f"{test.recorded:,} tickets",
            f"{test.hidden:,} tickets",
            NOTHING if one.least is None else f"{one.least:,}",
            NOTHING if one.median is None else f"{one.median:,}",
        )
    )


def forecast_remarks(forecast: Forecast) -> Iterator[Words]:
    """Yield what is to be expected, what would help, and what must be known of it.

    Args:
        forecast: What an audit would take.
    """
    told, agreement = forecast.told, forecast.agreement
    hopeless = [printable(str(name_of(claim.rate))) for claim, one in told if one.median is None]
    hopeless += [printable(test.finding) for test, one in forecast.slopes if one.median is None]
    if hopeless:
        yield Words(
            f"unlikely to be confirmed within the budget: {', '.join(hopeless)}",
            Tone.DOUBTFUL,
        )
    if agreement is not None and not agreement.feasible:
        yield Words(
            "the second judge's agreement, and so the audit as a whole, is unlikely to be "
            f"confirmed: both judges agree on only about {agreement.budget:,} of the points for "
            "the model's identity; give more --identity-points, or a larger --epsilon",
            Tone.DOUBTFUL,
        )
    share = together(forecast.everything)
    if share < _LIKELY and not hopeless:
        yield Words(_together(told, share), Tone.DOUBTFUL)
    tested = [one for _, one in (*told, *forecast.slopes)]
    known = [one.median for one in tested if one.median is not None]
    terms = "" if forecast.alpha is None else f" at α = {forecast.alpha}"
    if told and forecast.epsilon is not None:
        terms = f" at ε = {forecast.epsilon}, α = {forecast.alpha}"
    what = "these rates" if told else "this" if len(tested) == 1 else "these slopes"
    if told and forecast.slopes:
        what = "all of these"
    if known:
        yield Words(
            f"about {sum(known):,} draws for {what}{terms}, of which some are of one point, and "
            "points of any outcome for the model's identity"
        )
    if forecast.slopes:
        yield Words(
            "a slope is tested as a whole: a label counts as often as it has tickets, which are "
            "the more the more it moves the slope, and false labels that make it another one (of "
            "the other sign; of none, beyond the margin) have at least so many; no rate is said to "
            "be right by that (--epsilon asks for the rates instead)"
        )
    if forecast.by_rates:
        yield Words(
            f"if all of these are confirmed, {_named(forecast.by_rates)} with them, at the same "
            "risk: a finding whose direction is false has at least one rate that is off by as much"
        )
    if forecast.scope is not None and not told:
        yield Words(
            "this would confirm no rate: whoever falsifies some without making the slope another "
            "one is not found by it",
            Tone.DOUBTFUL,
        )
    elif forecast.scope is not None and not forecast.scope.whole:
        yield Words(
            f"this would leave open {', '.join(forecast.scope.left_open())}: whoever falsifies "
            "what stands there is not found by it",
            Tone.DOUBTFUL,
        )
    if not forecast.authentic:
        yield Words(
            "nobody's signature was checked: an audit needs --trust KEY.pub, and anybody could "
            "have signed this",
            Tone.DOUBTFUL,
        )
    if forecast.instrument:
        yield Words(INSTRUMENT, Tone.ALARM)


def _named(findings: Sequence[str]) -> str:
    names = ", ".join(map(printable, findings))
    return f"the finding {names} is" if len(findings) == 1 else f"the findings {names} are"


def _together(told: Sequence[tuple[Claim, Feasibility]], share: float) -> str:
    parts = [claim for claim, _ in told if claim.rate.source or claim.rate.control]
    alone = [one for claim, one in told if claim not in parts]
    words = (
        "of an honest record all of these together are expected to be confirmed in about "
        f"{share:.0%} of audits"
    )
    if parts:
        words += (
            f", of which the rates of conditions alone in {together(alone):.0%} (--rates "
            "conditions): in a small part one point that looks contradicted by mere noise is "
            "a share of ε"
        )
    return words


# What an audit found


def audited_table(audit: AuditPredicate) -> Table:
    """Return what an audit found about each rate, and each slope as a whole."""
    return Table(
        "",
        (
            Column("rate of"),
            *_measures("rate %"),
            Column("claim", ColumnKind.WORDS),
            *_measures("draws", "against it", "hard", "p"),
            Column("verdict", ColumnKind.WORDS),
        ),
        (
            *map(_audited, audit.conditions),
            *map(_audited_slope, audit.slope_tests or (), audit.slope_results or ()),
        ),
    )


def _audited(rate: RateVerdict) -> Row:
    return Row(
        (
            printable(str(name_of(rate))),
            percent(rate.recorded_rate),
            claim_words(rate),
            f"{rate.draws:,} of {rate.recorded:,}",
            f"{rate.contradictions:,}",
            f"{rate.hard_contradictions:,}",
            _p_value(rate.p_value),
            Words(rate.verdict.value, _TONES[rate.verdict]),
        )
    )


def _audited_slope(test: SlopeTest, found: SlopeTestFindings) -> Row:
    return Row(
        (
            f"slope of {printable(found.finding)}",
            NOTHING,
            SLOPE_CLAIM,
            f"{found.draws:,} of {test.recorded:,} tickets",
            f"{found.contradictions:,}",
            f"{found.hard_contradictions:,}",
            _p_value(found.p_value),
            Words(found.verdict.value, _TONES[found.verdict]),
        )
    )


def _p_value(sealed: str) -> str:
    """Return a p-value with three digits; what is sealed is rounded up, so that zero is zero."""
    p = Decimal(sealed)
    return f"{p:.3g}" if p else "0"


def audit_remarks(audit: AuditPredicate, *, self_audit: bool) -> Iterator[Words]:
    """Yield what an audit found besides, and what must be known of it.

    Args:
        audit: The audit.
        self_audit: Whether the evaluator's key signed it.
    """
    for rate in audit.conditions:
        if rate.reason is not None:
            yield Words(f"{printable(str(name_of(rate)))}: {printable(rate.reason)}")
    for slope in audit.slope_results or ():
        if slope.reason is not None:
            yield Words(f"slope of {printable(slope.finding)}: {printable(slope.reason)}")
    whole = {slope.finding for slope in audit.slope_results or ()}
    for one in audit.finding_verdicts or ():
        words = _finding_words(one, whole=one.finding in whole)
        yield Words(f"finding {words}", _TONES[one.verdict])
    traits = audit_traits(audit.method)
    if traits.caveat is not None:
        yield Words(f"{traits.how}: {traits.caveat}", Tone.DOUBTFUL)
    if audit.environment.server is not None:
        yield from map(Words, _server(audit.environment.server))
    if traits.scores:
        yield Words(_identity(audit))
        yield from _besides(audit)
        if audit.calibration is None:
            yield Words(_UNCALIBRATED, Tone.DOUBTFUL)
    if audit.challenge.kind is ChallengeKind.SELF:
        yield Words("challenge: self (the nonce was given by hand)", Tone.DOUBTFUL)
    if self_audit:
        yield Words("self-audit: the evaluator's own key signed it", Tone.DOUBTFUL)


def _finding_words(one: FindingVerdict, *, whole: bool) -> str:
    if whole:
        return f"{printable(one.finding)}: {one.verdict.value} (the sign of its slope, as a whole)"
    return (
        f"{printable(one.finding)}: {one.verdict.value} (it stands false labels in up to "
        f"{percent(one.share)} % of the points of each of its conditions)"
    )


def _server(account: ServerAccount) -> Iterator[str]:
    for name, text in account_rows("server", account):
        yield f"{name}: {printable(text)}" if name else f"  {printable(text)}"


def _identity(audit: AuditPredicate) -> str:
    test = audit.identity
    what = "model identity" if audit_traits(audit.method).by_weights else _SERVED_IDENTITY
    if test is None:
        why = "no point was replayed"
        if audit.verdict is AuditVerdict.REFUTED:
            why = "a rate is refuted"
        elif any(check.status is CheckStatus.FAILED for check in audit.checks):
            why = "a drawn point does not follow"
        return f"{what}: not tested, as {why}"
    found = "passed" if test.passed else "FAILED"
    least = least_identity(audit.points_total)
    if len(audit.identity_drawn) < least:
        found += f", but {len(audit.identity_drawn):,} points are too few, {least:,} are needed"
    p = "" if test.p_value is None else f", p = {_p_value(test.p_value)}"
    powers = ""
    if test.powers:
        named = (f"{printable(each.alternative)} {Decimal(each.power):.2f}" for each in test.powers)
        powers = f"; power at this size: {', '.join(named)}"
    measured = f"{printable(test.statistic)}: {printable(test.mean)}"
    size = f"{test.responses:,} responses of any outcome"
    return f"{what}: {found} ({size}, {measured}{p}{powers})"


def _besides(audit: AuditPredicate) -> Iterator[Words]:
    """Yield what the points replayed for the model's identity say besides."""
    found, second = audit.outcomes, audit.second_judge
    hard = hard_in_draws(audit)
    if found is not None and found.draws:
        yield _outcomes(found)
        hard += found.hard_contradictions
    if hard:
        yield Words(
            f"hard contradictions: {hard:,} draws contradict the record beyond any numerical "
            "noise: ask the evaluator how they came about",
            Tone.BAD,
        )
    if second is not None:
        yield Words(
            f"second judge: {second.verdict.value} (asked again of {second.draws:,} points on "
            f"which both are recorded to agree, {second.contradictions:,} contradicted, "
            f"p = {_p_value(second.p_value)})"
        )


def _outcomes(found: OutcomeFindings) -> Words:
    many = contradicts(found)
    return Words(
        f"recorded outcomes: {found.contradictions:,} of {found.draws:,} sampled ones "
        f"contradicted, p = {_p_value(found.p_value)}"
        + (": too many for anything to be confirmed" if many else ""),
        Tone.BAD if many else Tone.PLAIN,
    )


def audit_verdict(
    audit: AuditPredicate, scope: Scope, digest: Sha256, *, instrument: bool
) -> Conclusion:
    """Return the verdict, and of how much of the receipt it is.

    Args:
        audit: The audit.
        scope: How much of the receipt it is of.
        digest: Its digest.
        instrument: Whether the receipt is of a test instrument.
    """
    of = "; TEST INSTRUMENT: its numbers say nothing about any real model" if instrument else ""
    verdict = audit.verdict
    partly = "PARTLY " if verdict in _STANDS and not scope.whole else ""
    return Conclusion(
        Words(f"{partly}{verdict.value.upper()}", _TONES[verdict]),
        f"{scope.words()}, ε = {audit.epsilon}, α = {audit.alpha}; audit {digest}{of}",
    )
