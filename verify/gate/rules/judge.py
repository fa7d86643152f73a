"""The judge can be believed as far as is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from safety_receipts.receipts.findings.counts.rates import rate_string
from safety_receipts.receipts.model.base import Digest
from safety_receipts.receipts.model.judge import (
    GoldAgreement,
    GoldKind,
    Interval,
    JudgeCalibration,
    JudgeKind,
)
from safety_receipts.verify.gate.entries import Listed, RuleEntry, ShareNumber, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts


class JudgeRule(RuleEntry):
    """What the judge has to be, and how often it has to agree with people and with a second one."""

    rule: Literal["judge"]
    kinds: Listed[JudgeKind] | None = None
    """Kinds of judge that are accepted."""
    digests: Listed[Digest] | None = None
    """Digests of judges' identities that are accepted."""
    remote: bool = False
    """Whether it may stand behind an API, where nobody outside can verify its weights."""
    calibrated: bool = True
    """Whether it has to be held against labels that people gave."""
    in_run: bool = False
    """Whether these labels have to be of responses of a run, with demonstrations."""
    sensitivity: ShareNumber | None = None
    """Least lower end of the sensitivity's interval: of compliances that are found."""
    specificity: ShareNumber | None = None
    """Least lower end of the specificity's interval: of refusals that are found."""
    each_stratum: bool = False
    """Whether these two are asked of each stratum of the gold file as well."""
    agreement: ShareNumber | None = None
    """Least share of judged points to which a second, different judge gives the same label; a point
    that it cannot judge counts as another label."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = [alternatives(self.kinds)] if self.kinds else []
        if self.digests:
            parts.append(f"digest {alternatives([each[:16] + '…' for each in self.digests])}")
        if self.calibrated:
            parts.append("calibrated on responses of a run" if self.in_run else "calibrated")
        for name in ("sensitivity", "specificity"):
            if (least := getattr(self, name)) is not None:
                parts.append(f"{name} (lower end) at least {least}")
        if self.agreement is not None:
            parts.append(f"agreement with a second judge at least {self.agreement}")
        if not self.remote:
            parts.append("not remote")
        return ", ".join(parts)

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        asks = self.in_run or self.each_stratum or self.sensitivity or self.specificity
        if not self.asked():
            yield "asks for nothing"
        if asks and not self.calibrated:
            yield "asks for numbers of a calibration: leave out calibrated: false"
        if self.each_stratum and self.sensitivity is None and self.specificity is None:
            yield "each_stratum asks for nothing without sensitivity or specificity"


def decide_judge(rule: JudgeRule, facts: GateFacts) -> Decided:
    """Hold the judge to what is asked of it."""
    judge = facts.receipt.judge
    problems = []
    if rule.kinds is not None and judge.kind not in rule.kinds:
        problems.append(f"its kind is {judge.kind.value}")
    if rule.digests is not None and judge.digest not in rule.digests:
        problems.append(f"its digest is {judge.digest[:16]}…")
    if judge.remote and not rule.remote:
        problems.append("it stands behind an API")
    if rule.calibrated:
        problems += _calibration(rule, judge.calibration)
    if rule.agreement is not None:
        problems += _agreement(rule.agreement, facts)
    good = f"{judge.kind.value}, digest {judge.digest[:16]}…"
    if judge.calibration is not None:
        good += f", calibrated on {_size(judge.calibration):,} responses"
    return Decided.of(problems, good, "receipt: judge, judgeAgreement")


def _size(calibration: JudgeCalibration) -> int:
    return calibration.positives + calibration.negatives


def _calibration(rule: JudgeRule, calibration: JudgeCalibration | None) -> Iterator[str]:
    if calibration is None:
        yield "it is not calibrated"
        return
    if rule.in_run and calibration.gold_kind is not GoldKind.IN_RUN:
        yield f"its gold labels are {calibration.gold_kind.value}, not of a run"
    yield from _agrees(rule, calibration, "")
    if rule.each_stratum:
        if not calibration.strata:
            yield "its gold file has no strata"
        for stratum in calibration.strata:
            yield from _agrees(rule, stratum, f" in stratum {stratum.stratum}")


def _agrees(rule: JudgeRule, found: GoldAgreement, where: str) -> Iterator[str]:
    asked: tuple[tuple[str, str | None, Interval | None], ...] = (
        ("sensitivity", rule.sensitivity, found.sensitivity_interval),
        ("specificity", rule.specificity, found.specificity_interval),
    )
    for name, least, interval in asked:
        if least is None:
            continue
        if interval is None:
            yield f"its {name} is not known{where}"
        elif Fraction(interval.lower) < Fraction(least):
            yield f"its {name} is at least {interval.lower} only{where}"


def _agreement(least: str, facts: GateFacts) -> Iterator[str]:
    second, agreement = facts.receipt.judge.second, facts.receipt.judge_agreement
    if second is None or agreement is None:
        yield "there is no second judge"
        return
    if second.digest == facts.receipt.judge.digest:
        yield "its second judge is the same judge"
    asked = agreement.points + agreement.second_unscored
    if not asked:
        yield "its second judge was asked about no point"
    elif Fraction(agreement.agreed, asked) < Fraction(least):
        yield f"its second judge agrees at {agreement.agreed:,} of {asked:,} points" + (
            f" ({rate_string(agreement.agreed, asked)})"
        )
