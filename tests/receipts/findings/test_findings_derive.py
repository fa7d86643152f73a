"""All findings together: multiplicity, and holding sealed ones to the points."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from experiments import EXPERIMENTS, diluting
from observing import Cell, observed, plan_of

from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.derive import derive, differences, finding_problems, fit
from safety_receipts.receipts.findings.effects import holm
from safety_receipts.receipts.findings.multiplicity import families
from safety_receipts.receipts.model.demonstrations import ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import Effect, Findings, OrderWord, Verdict
from safety_receipts.receipts.model.plan import Hypothesis


@cache
def studied() -> tuple[Observations, Findings]:
    plan = plan_of(EXPERIMENTS, queries=150, sources=("chores", "filler"))
    observations = observed(plan, diluting)
    return observations, derive(observations)


def test_every_experiment_feeds_its_finding() -> None:
    _, findings = studied()
    for name in Findings.model_fields:
        assert getattr(findings, name), name
    assert findings.joint is not None
    assert findings.joint_in_other_orders is not None
    assert [joint.ordering for joint in findings.joint_in_other_orders] == [Ordering.PREFIX]
    assert findings.total is not None
    assert findings.total.verdict is Verdict.REJECTED
    assert findings.orderings is not None
    assert findings.orderings[0].verdict is OrderWord.RECENCY
    assert findings.sources is not None
    effects = {slope.source: slope.effect for slope in findings.sources.slopes}
    assert effects["chores"] is not effects["filler"]
    assert findings.sources.length_matched[0].effect is Effect.DILUTION


def test_what_no_experiment_feeds_is_null() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, [Cell(8, 0), Cell(8, 4)])], queries=30)
    findings = derive(
        observed(plan.model_copy(update={"experiments": plan.experiments[1:]}), diluting)
    )
    for name in ("total", "joint_in_other_orders", "orderings", "formats", "sources", "contexts"):
        assert getattr(findings, name) is None, name
    assert findings.joint is not None


def test_the_primary_hypothesis_stands_apart_and_the_rest_is_corrected() -> None:
    _, findings = studied()
    primary = [test for test in findings.tests if test.role == "primary"]
    assert [test.name for test in primary] == ["joint"]
    assert primary[0].adjusted == primary[0].p
    rest = [test for test in findings.tests if test.role == "secondary"]
    assert {test.name for test in rest} == {
        "total",
        "joint/prefix",
        "ordering/h8-b8/spread",
        "ordering/h8-b8",
        "format/h4-b16-suffix-pre:1",
        "source/chores",
        "source/filler",
        "source/chores-less-filler",
        "context/h4-b16-suffix-ctx:tool",
    }
    assert [test.adjusted for test in rest] == holm([test.p for test in rest])


@pytest.mark.parametrize(
    ("primary", "names"),
    [
        (Hypothesis.TOTAL, ["total"]),
        (Hypothesis.JOINT, ["joint"]),
        (Hypothesis.ORDERING, ["ordering/h8-b8/spread", "ordering/h8-b8"]),
    ],
)
def test_each_hypothesis_can_be_primary(primary: Hypothesis, names: list[str]) -> None:
    tests = [(test.name, test.p) for test in studied()[1].tests]
    found = families(primary, tests)
    assert [test.name for test in found] == [name for name, _ in tests]
    assert [test.name for test in found if test.role == "primary"] == names


def test_a_secondary_effect_must_survive_the_correction() -> None:
    """The same points, with joint primary and secondary: the word can only get weaker."""
    observations, findings = studied()
    plan = observations.plan.model_copy(update={"primary": Hypothesis.TOTAL})
    other = derive(Observations(plan, *(getattr(observations, name) for name in ARRAYS)))
    assert findings.joint is not None
    assert other.joint is not None
    role = {test.name: test.role for test in other.tests}
    assert (role["joint"], role["total"]) == ("secondary", "primary")
    assert other.joint.clustered == findings.joint.clustered


ARRAYS = ("outcome", "reason", "at_limit", "prompt_tokens", "adopted", "harmful_near")


def test_statsmodels_and_numpy_alone_agree() -> None:
    pytest.importorskip("statsmodels")
    observations, findings = studied()
    fitted = fit(observations)
    assert list(finding_problems(fitted, observations)) == []
    assert fitted.joint is not None
    assert findings.joint is not None
    assert fitted.joint.effect is findings.joint.effect


def test_honest_findings_have_no_problems() -> None:
    observations, findings = studied()
    assert list(finding_problems(findings, observations)) == []


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, (*place, name))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _leaves(part, (*place, i))
    else:
        yield place


def _at(document: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        document = document[step]
    return document


def _moved(leaf: Any) -> Any:
    """Return something else of the same kind: numbers by a little more than rounding."""
    if isinstance(leaf, bool) or leaf is None:
        return not leaf
    if isinstance(leaf, int):
        return leaf + 1
    try:
        number = Decimal(leaf)
    except ArithmeticError:
        return leaf + "x"
    places = len(leaf.partition(".")[2])
    return f"{number + Decimal(5).scaleb(-min(places, 6)) + abs(number) / 10000:.{max(places, 6)}f}"


def test_no_number_or_word_can_be_changed() -> None:
    """Each leaf by itself: what is derived from the points differs in that very place."""
    _, findings = studied()
    honest = findings.to_wire()

    for place in _leaves(honest):
        forged = findings.to_wire()
        _at(forged, place[:-1])[place[-1]] = _moved(_at(honest, place))
        found = list(differences(forged, honest))
        assert found, place


def test_rounding_is_forgiven_and_no_more() -> None:
    observations, findings = studied()
    assert findings.joint is not None
    assert findings.joint.clustered is not None
    beta = Decimal(findings.joint.clustered.beta2)
    for away, problems in ((Decimal("0.000001"), 0), (Decimal("0.000020"), 1)):
        fitted = findings.joint.clustered.model_copy(update={"beta2": f"{beta + away:.6f}"})
        joint = findings.joint.model_copy(update={"clustered": fitted})
        changed = findings.model_copy(update={"joint": joint})
        assert len(list(finding_problems(changed, observations))) == problems


def test_findings_depend_on_points_and_plan_alone() -> None:
    observations, findings = studied()
    assert derive(observations) == findings
