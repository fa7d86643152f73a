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
    JudgeIdentity,
    JudgeKind,
    traits_of,
)
from safety_receipts.verify.gate.entries import Listed, RuleEntry, ShareNumber, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.gate.servers import (
    AcceptedServer,
    accepted_words,
    answering_problems,
)


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
    remote_second: bool = True
    """Whether the second judge may stand behind an API, where it can be the first one again."""
    server: AcceptedServer | None = None
    """``none``: the tool itself must have run the judge, and the second judge; ``started``: or
    servers that the tool started on the files listed, so that which weights judged was seen; null:
    or any servers."""
    repeatable: bool = False
    """Whether a judge's server must never have given another answer to a request that it had
    answered."""

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
            second = "a second judge" if self.remote_second else "a second judge, not remote,"
            parts.append(f"agreement with {second} at least {self.agreement}")
        if self.server is not None:
            parts.append(accepted_words(self.server))
        if self.repeatable:
            parts.append("the same answers to the same requests")
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
        if not self.remote_second and self.agreement is None:
            yield "remote_second: false asks for nothing without agreement"


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
    environment = facts.receipt.environment
    for whose, server in (
        ("judge's ", environment.judge_server),
        ("second judge's ", environment.second_judge_server),
    ):
        problems += answering_problems(
            server, accepted=rule.server, repeatable=rule.repeatable, whose=whose
        )
    if rule.calibrated:
        problems += _calibration(rule, judge.calibration)
    if rule.agreement is not None:
        problems += _agreement(rule.agreement, facts)
        problems += _place_of_second(rule, judge.second)
    good = f"{judge.kind.value}, digest {judge.digest[:16]}…"
    if judge.calibration is not None:
        good += f", calibrated on {_size(judge.calibration):,} responses"
    return Decided.of(problems, good, "receipt: judge, judgeAgreement, environment")


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
    if (why := _not_independent(facts.receipt.judge, second)) is not None:
        yield f"its second judge is the same judge: {why}"
    asked = agreement.points + agreement.second_unscored
    if not asked:
        yield "its second judge was asked about no point"
    elif Fraction(agreement.agreed, asked) < Fraction(least):
        yield f"its second judge agrees at {agreement.agreed:,} of {asked:,} points" + (
            f" ({rate_string(agreement.agreed, asked)})"
        )


def _place_of_second(rule: JudgeRule, second: JudgeIdentity | None) -> Iterator[str]:
    if second is not None and second.remote and not rule.remote_second:
        yield "its second judge stands behind an API"


def _not_independent(first: JudgeIdentity, second: JudgeIdentity) -> str | None:
    """Return why two judges are one that is asked twice; None: nothing shows that they are.

    An identity's digest holds settings as well, such as the largest length of its output: another
    one of these makes another digest, and the same labels.
    """
    if first.digest == second.digest:
        return "both have the same digest"
    if first.weights is not None and second.weights is not None:
        shared = _weight_files(first) & _weight_files(second)
        return "both have the same weights" if first.weights == second.weights or shared else None
    if first.remote and second.remote:
        same = first.name.casefold() == second.name.casefold()
        return "both ask for the same model" if same else _same_reading(first, second)
    if first.kind is second.kind and traits_of(first.kind).is_rule:
        return f"both are {first.kind.value}"
    return None


def _same_reading(first: JudgeIdentity, second: JudgeIdentity) -> str | None:
    """Return why two judges whose weights nobody can compare are the same."""
    if (first.kind, first.template, first.parser) == (second.kind, second.template, second.parser):
        return "both have the same template and parser, and no weights that could differ"
    return None


def _weight_files(judge: JudgeIdentity) -> set[str]:
    """Return the digests of the files of a judge's weights: a root changes with any other file."""
    ends = (".safetensors", ".bin")
    return {file.sha256 for file in judge.folder_files or () if file.path.endswith(ends)}
