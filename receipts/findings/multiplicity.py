"""One level for many tests: Holm's correction over all that is not primary, and the words left.

Words follow from the sealed numbers and from nothing else, so that a receipt without its points
can still be caught in a contradiction with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

from safety_receipts.receipts.findings.effects import holm, slope_word
from safety_receipts.receipts.findings.joint import joint_p, joint_word
from safety_receipts.receipts.findings.orderings import ordering_word
from safety_receipts.receipts.findings.total import total_verdict
from safety_receipts.receipts.model.findings import (
    Findings,
    Grounds,
    HypothesisRole,
    HypothesisTest,
    JointFinding,
    OrderingFinding,
    SlopeFinding,
    SourceDifference,
    SourcesFinding,
    SourceSlope,
)
from safety_receipts.receipts.model.plan import EvaluationSetup, Hypothesis

_TOTAL: Final = "total"
_JOINT: Final = "joint"
_ORDERING: Final = "ordering"
_UNTESTED: Final = (Grounds.FEW_QUERIES, Grounds.FEW_INFORMATIVE, Grounds.FEW_LISTS)

_Slope = TypeVar("_Slope", bound=SlopeFinding)


def settle(findings: Findings, setup: EvaluationSetup) -> Findings:
    """Return findings with corrected p-values and the words that go with them.

    Args:
        findings: Numbers; their own list of tests and their own words are not looked at, except
            where a slope says that it has too few clusters for a test.
        setup: Names the primary hypothesis and the effect margin.
    """
    tests = families(setup.primary, list(_tests(findings)))
    adjusted = {test.name: test.adjusted for test in tests}

    def joint(finding: JointFinding) -> JointFinding:
        effect, grounds = joint_word(finding, adjusted.get(_joint_name(findings, finding)))
        return finding.model_copy(update={"effect": effect, "grounds": grounds})

    def ordering(finding: OrderingFinding) -> OrderingFinding:
        corrected = (adjusted.get(name) for name in _ordering_names(finding))
        return finding.model_copy(update={"verdict": ordering_word(finding, *corrected)})

    def slope(finding: _Slope) -> _Slope:
        p = adjusted.get(_slope_name(finding))
        if p is None:
            return finding
        effect, grounds = slope_word(finding.beta, p, finding.equivalence, setup.effect_margin)
        return finding.model_copy(update={"effect": effect, "grounds": grounds})

    total, others = findings.total, findings.joint_in_other_orders
    changed = {
        "tests": tests,
        "total": total
        and total.model_copy(update={"verdict": total_verdict(adjusted.get(_TOTAL))}),
        "joint": findings.joint and joint(findings.joint),
        "joint_in_other_orders": others and tuple(map(joint, others)),
        "orderings": findings.orderings and tuple(map(ordering, findings.orderings)),
        "sources": findings.sources
        and SourcesFinding(
            slopes=tuple(map(slope, findings.sources.slopes)),
            length_matched=tuple(map(slope, findings.sources.length_matched)),
        ),
    }
    return findings.model_copy(update=changed)


def families(primary: Hypothesis, tests: list[tuple[str, str]]) -> tuple[HypothesisTest, ...]:
    """Correct p-values within the primary family and within all the rest, by Holm.

    The primary family is one test, but for the ordering hypothesis: it has two a mixture.

    Args:
        primary: The hypothesis that the plan names.
        tests: Names and p-values.
    """
    found = {}
    for role in HypothesisRole:
        family = [(name, p) for name, p in tests if _role(primary, name) is role]
        corrected = holm([p for _, p in family])
        for (name, p), adjusted in zip(family, corrected, strict=True):
            found[name] = HypothesisTest(name=name, role=role, p=p, adjusted=adjusted)
    return tuple(found[name] for name, _ in tests)


def _role(primary: Hypothesis, name: str) -> HypothesisRole:
    named = {
        Hypothesis.TOTAL: name == _TOTAL,
        Hypothesis.JOINT: name == _JOINT,
        Hypothesis.ORDERING: name.startswith(f"{_ORDERING}/"),
    }
    return HypothesisRole.PRIMARY if named[primary] else HypothesisRole.SECONDARY


def _tests(findings: Findings) -> Iterator[tuple[str, str]]:
    """Yield names and p-values of all tests that could be made."""
    for name, p in _p_values(findings):
        if p is not None:
            yield name, p


def _p_values(findings: Findings) -> Iterator[tuple[str, str | None]]:
    if findings.total is not None:
        yield _TOTAL, findings.total.p
    for joint in filter(None, (findings.joint, *(findings.joint_in_other_orders or ()))):
        yield _joint_name(findings, joint), joint_p(joint)
    for ordering in findings.orderings or ():
        spread, homogeneity = _ordering_names(ordering)
        yield spread, ordering.spread.p if ordering.spread else None
        yield homogeneity, ordering.p
    for kind, changed in (("format", findings.formats), ("context", findings.contexts)):
        for one in changed or ():
            yield f"{kind}/{one.condition}", one.change.p if one.change else None
    if findings.sources is not None:
        slopes: tuple[SlopeFinding, ...] = findings.sources.slopes
        for slope in (*slopes, *findings.sources.length_matched):
            yield _slope_name(slope), None if slope.grounds in _UNTESTED else slope.p


def _joint_name(findings: Findings, finding: JointFinding) -> str:
    headline = findings.joint is not None and finding.ordering is findings.joint.ordering
    return _JOINT if headline else f"{_JOINT}/{finding.ordering}"


def _ordering_names(finding: OrderingFinding) -> tuple[str, str]:
    mixture = f"{_ORDERING}/h{finding.n_harmful}-b{finding.n_benign}"
    return f"{mixture}/spread", mixture


def _slope_name(slope: SlopeFinding) -> str:
    match slope:
        case SourceSlope():
            return f"source/{slope.source}"
        case SourceDifference():
            return f"source/{slope.source}-less-{slope.filler}"
        case _:
            raise TypeError(f"no test goes with a {type(slope).__name__}")
