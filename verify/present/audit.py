"""An audit as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditVerdict,
    ChallengeKind,
)
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.verify.audit.claims import Claim
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, together
from safety_receipts.verify.audit.statistics.hypotheses import least_identity
from safety_receipts.verify.audit.statistics.outcomes import contradicts
from safety_receipts.verify.audit.statistics.scope import Scope, claim_words, name_of

_LIKELY = 0.8
"""Share of audits below which it is said how often all claims together are confirmed."""
_STANDS = (AuditVerdict.CONFIRMED, AuditVerdict.CONSISTENT_WITH)
_COLOURS = {
    AuditVerdict.CONFIRMED: "green",
    AuditVerdict.CONSISTENT_WITH: "green",
    AuditVerdict.REFUTED: "bold red",
    AuditVerdict.INCONCLUSIVE: "yellow",
}


def show_feasibility(
    console: Console,
    told: Sequence[tuple[Claim, Feasibility]],
    agreement: Feasibility | None = None,
) -> None:
    """Draw what confirming each rate would take, and the agreement of both judges."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("rate of", no_wrap=True)
    table.add_column("rate %", justify="right")
    table.add_column("claim")
    for name in ("drawn from", "false ones needed", "draws at best", "draws, median"):
        table.add_column(name, justify="right")
    for claim, one in told:
        table.add_row(
            Text(printable(str(name_of(claim.rate)))),
            percent(claim.recorded.rate),
            claim_words(claim.rate),
            f"{claim.hypothesis.recorded:,}",
            f"{claim.hypothesis.hidden:,}",
            "–" if one.least is None else f"{one.least:,}",
            "–" if one.median is None else f"{one.median:,}",
        )
    console.print(table)
    hopeless = [str(name_of(claim.rate)) for claim, one in told if one.median is None]
    if hopeless:
        console.print(
            Text(
                "unlikely to be confirmed within the budget: "
                + ", ".join(printable(each) for each in hopeless),
                style="yellow",
            ),
            soft_wrap=True,
        )
    if agreement is not None and not agreement.feasible:
        console.print(
            Text(
                "the second judge's agreement, and so the audit as a whole, is unlikely to be "
                "confirmed: both judges agree on only about "
                f"{agreement.budget:,} of the points for the model's identity; give more "
                "--identity-points, or a larger --epsilon",
                style="yellow",
            ),
            soft_wrap=True,
        )
    everything = [one for _, one in told] + ([] if agreement is None else [agreement])
    if together(everything) < _LIKELY and not hopeless:
        parts = [claim for claim, _ in told if claim.rate.source or claim.rate.control]
        alone = [one for claim, one in told if claim not in parts]
        words = (
            "of an honest record all of these together are expected to be confirmed in about "
            f"{together(everything):.0%} of audits"
        )
        if parts:
            words += (
                f", of which the rates of conditions alone in {together(alone):.0%} (--rates "
                "conditions): in a small part one point that looks contradicted by mere noise is "
                "a share of ε"
            )
        console.print(Text(words, style="yellow"), soft_wrap=True)
    known = [one.median for _, one in told if one.median is not None]
    console.print(
        f"about {sum(known):,} draws for these rates, of which some are of one point, and points "
        "of any outcome for the model's identity",
        soft_wrap=True,
    )


def show_audit(
    console: Console, audit: AuditPredicate, scope: Scope, digest: Sha256, *, self_audit: bool
) -> None:
    """Draw what an audit found.

    Args:
        console: Where to.
        audit: The audit.
        scope: How much of the receipt it is of.
        digest: Its digest.
        self_audit: Whether the evaluator's key signed it.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("rate of", no_wrap=True)
    table.add_column("rate %", justify="right")
    table.add_column("claim")
    for name in ("draws", "against it", "hard", "p"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for rate in audit.conditions:
        table.add_row(
            Text(printable(str(name_of(rate)))),
            percent(rate.recorded_rate),
            claim_words(rate),
            f"{rate.draws:,} of {rate.recorded:,}",
            f"{rate.contradictions:,}",
            f"{rate.hard_contradictions:,}",
            f"{Decimal(rate.p_value):.3g}",
            Text(rate.verdict.value, style=_COLOURS[rate.verdict]),
        )
    console.print(table)
    for rate in audit.conditions:
        if rate.reason is not None:
            name = printable(str(name_of(rate)))
            console.print(Text(f"{name}: {printable(rate.reason)}"), soft_wrap=True)
    notes = []
    if audit.method is AuditMethod.REGENERATE:
        notes.append("regenerated: nothing ties the recorded responses to the model")
    else:
        console.print(Text(_identity(audit)), soft_wrap=True)
        for line in _besides(audit):
            console.print(line, soft_wrap=True)
        if audit.calibration is None:
            notes.append(_UNCALIBRATED)
    if audit.challenge.kind is ChallengeKind.SELF:
        notes.append("challenge: self (the nonce was given by hand)")
    if self_audit:
        notes.append("self-audit: the evaluator's own key signed it")
    for note in notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)
    verdict = audit.verdict
    partly = "PARTLY " if verdict in _STANDS and not scope.whole else ""
    console.print(
        Text(f"{partly}{verdict.value.upper()}: ", style=_COLOURS[verdict]).append(
            f"{scope.words()}, ε = {audit.epsilon}, α = {audit.alpha}; audit {digest}",
            style="default",
        ),
        soft_wrap=True,
    )
    console.print(Text(audit.guarantee), soft_wrap=True)


_UNCALIBRATED = "uncalibrated: held to stated limits (receipts calibrate measures honest margins)"


def _identity(audit: AuditPredicate) -> str:
    test = audit.identity
    if test is None:
        why = "no point was replayed"
        if audit.verdict is AuditVerdict.REFUTED:
            why = "a rate is refuted"
        elif any(check.status is CheckStatus.FAILED for check in audit.checks):
            why = "a drawn point does not follow"
        return f"model identity: not tested, as {why}"
    found = "passed" if test.passed else "FAILED"
    least = least_identity(audit.points_total)
    if len(audit.identity_drawn) < least:
        found += f", but {len(audit.identity_drawn):,} points are too few, {least:,} are needed"
    p = "" if test.p_value is None else f", p = {Decimal(test.p_value):.3g}"
    powers = ""
    if test.powers:
        named = (f"{printable(each.alternative)} {Decimal(each.power):.2f}" for each in test.powers)
        powers = f"; power at this size: {', '.join(named)}"
    what = f"{test.responses:,} responses of any outcome, {printable(test.statistic)}"
    return f"model identity: {found} ({what}{p}{powers})"


def _besides(audit: AuditPredicate) -> Iterator[Text]:
    """Yield what the points replayed for the model's identity say besides."""
    found, second = audit.outcomes, audit.second_judge
    hard = sum(rate.hard_contradictions for rate in audit.conditions)
    if found is not None and found.draws:
        many = contradicts(found)
        yield Text(
            f"recorded outcomes: {found.contradictions:,} of {found.draws:,} sampled ones "
            f"contradicted, p = {Decimal(found.p_value):.3g}"
            + (": too many for anything to be confirmed" if many else ""),
            style="bold red" if many else "",
        )
        hard += found.hard_contradictions
    if hard:
        yield Text(
            f"hard contradictions: {hard:,} draws contradict the record beyond any numerical "
            "noise: ask the evaluator how they came about",
            style="bold red",
        )
    if second is not None:
        yield Text(
            f"second judge: {second.verdict.value} (asked again of {second.draws:,} points on "
            f"which both are recorded to agree, {second.contradictions:,} contradicted, "
            f"p = {Decimal(second.p_value):.3g})"
        )
