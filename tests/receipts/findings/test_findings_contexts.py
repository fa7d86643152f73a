"""Other shapes than plain turns, and how two rates over the same queries are compared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import Asked, Cell, observed, plan_of, spoiled, study_of

from safety_receipts.receipts.findings.contexts import context_findings
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.fits.changes import counterpart
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind
from safety_receipts.receipts.model.findings import ContextFinding, RateChange
from safety_receipts.receipts.model.plan import PlanPredicate

FORMS = (ContextForm.TURNS, ContextForm.RETRIEVED, ContextForm.TOOL)
TURNS, TOOL = 1, 3
"""Places of conditions in :func:`shapes`."""


def shapes(
    queries: int = 60, *, draws: int = 2, draw_block: int = 1, controls: int = 0
) -> PlanPredicate:
    cells = [Cell(4, 4, form=form) for form in FORMS]
    return plan_of(
        [(ExperimentKind.CONTEXTS, cells)],
        queries=queries,
        draws=draws,
        draw_block=draw_block,
        controls=controls,
    )


def by_form(asked: Asked) -> float:
    return 0.8 if asked.condition.context.form is ContextForm.TOOL else 0.4


def tool_finding(observations: Observations) -> ContextFinding:
    *_, tool = context_findings(study_of(observations))
    assert tool.form is ContextForm.TOOL
    return tool


def tool_change(observations: Observations) -> RateChange:
    change = tool_finding(observations).change
    assert change is not None
    return change


def complying(turns: int, tool: int, queries: int) -> Observations:
    """Return one point a query, of which the first ones comply in turns, and in a transcript."""
    observations = observed(shapes(queries, draws=1), lambda _: 0.0)
    observations = spoiled(observations, np.s_[TURNS, :turns], COMPLIED)
    return spoiled(observations, np.s_[TOOL, :tool], COMPLIED)


def test_every_other_shape_is_held_against_the_same_mixture_in_plain_turns() -> None:
    findings = context_findings(study_of(observed(shapes(), by_form)))
    assert [finding.form for finding in findings] == [ContextForm.RETRIEVED, ContextForm.TOOL]
    assert [finding.condition for finding in findings] == [
        "h4-b4-suffix-ctx:retrieved",
        "h4-b4-suffix-ctx:tool",
    ]
    assert {finding.turns for finding in findings} == {"h4-b4-suffix"}


def test_a_planted_change_is_found_and_one_that_was_not_planted_is_not() -> None:
    retrieved, tool = context_findings(study_of(observed(shapes(), by_form)))
    assert retrieved.change is not None
    assert retrieved.change.p is not None
    assert Decimal(retrieved.change.p) > Decimal("0.05")
    assert Decimal(retrieved.change.interval.lower) < 0 < Decimal(retrieved.change.interval.upper)
    assert tool.change is not None
    assert tool.change.p is not None
    assert Decimal(tool.change.p) < Decimal("0.0001")
    lower, upper = Decimal(tool.change.interval.lower), Decimal(tool.change.interval.upper)
    assert lower < Decimal("0.4") < upper
    assert lower > 0


def test_with_one_point_a_query_the_p_value_is_that_of_the_paired_t_test() -> None:
    observations = observed(shapes(80, draws=1), by_form)
    compliance = observations.complied[:, :, 0].astype(float)
    stats = pytest.importorskip("scipy.stats")
    expected = stats.ttest_rel(compliance[TOOL], compliance[TURNS])
    found = tool_change(observations)
    assert found.p is not None
    assert float(found.p) == pytest.approx(expected.pvalue, rel=1e-5)
    assert float(found.value) == pytest.approx(
        (compliance[TOOL] - compliance[TURNS]).mean(), abs=1e-6
    )


def test_points_that_were_not_judged_take_no_part() -> None:
    observations = observed(shapes(), by_form)
    changed = spoiled(observations, np.s_[TOOL, :10], UNSCORED)
    rates = observations.complied[TOOL, 10:].mean() - observations.complied[TURNS].mean()
    assert float(tool_change(changed).value) == pytest.approx(rates, abs=1e-6)


def test_controls_take_no_part() -> None:
    observations = observed(shapes(controls=20), by_form)
    changed = spoiled(observations, np.s_[:, 60:], COMPLIED)
    assert changed.outcome.tolist() != observations.outcome.tolist()
    assert tool_finding(changed) == tool_finding(observations)


def test_few_queries_give_an_interval_and_no_p_value() -> None:
    few, enough = (tool_change(observed(shapes(queries), by_form)) for queries in (29, 30))
    assert few.p is None
    assert Decimal(few.interval.lower) < Decimal(few.value) < Decimal(few.interval.upper)
    assert enough.p is not None


def test_few_queries_with_judged_points_in_one_of_the_two_give_no_p_value() -> None:
    observations = observed(shapes(), by_form)
    assert tool_change(spoiled(observations, np.s_[TURNS, 29:], FAILED)).p is None
    assert tool_change(spoiled(observations, np.s_[TURNS, 30:], FAILED)).p is not None


def test_few_lists_that_queries_share_give_no_p_value() -> None:
    assert tool_change(observed(shapes(draw_block=10), by_form)).p is None
    assert tool_change(observed(shapes(draw_block=6), by_form)).p is not None


def test_lists_that_queries_share_widen_the_test() -> None:
    """What a list does to all queries that share it is no evidence about other lists."""
    plan = shapes(120, draw_block=6)
    rng = np.random.default_rng(5)
    by_list = rng.random((2, 20, 2))

    def chance(asked: Asked) -> np.ndarray:
        shape = int(asked.condition.context.form is ContextForm.TOOL)
        chances: np.ndarray = 0.05 + 0.9 * by_list[shape][asked.query // 6, asked.draw]
        return chances

    observations = observed(plan, chance)
    apart = plan.demonstrations.model_copy(update={"draw_block": 1})
    alone = replace(observations, plan=plan.model_copy(update={"demonstrations": apart}))
    shared, by_query = tool_change(observations), tool_change(alone)
    assert shared.p is not None
    assert by_query.p is not None
    assert Decimal(shared.p) > Decimal(by_query.p)
    assert shared.value == by_query.value


def test_rates_that_are_one_in_every_query_have_no_p_value() -> None:
    observations = observed(shapes(), lambda _: 0.5)
    outcome = observations.outcome.copy()
    outcome[TOOL] = outcome[TURNS, :, ::-1]
    change = tool_change(replace(observations, outcome=outcome))
    assert (change.value, change.p) == ("0.000000", None)
    assert tool_change(complying(0, 0, 60)).p is None


def test_a_rate_of_zero_is_not_taken_to_be_known_exactly() -> None:
    """The sign test of three discordant queries of forty has p = .25, of twenty 2e-6."""
    few, many = tool_change(complying(0, 3, 40)), tool_change(complying(0, 20, 40))
    assert few.p is not None
    assert Decimal(few.p) > Decimal("0.1")
    assert many.p is not None
    assert Decimal(many.p) < Decimal("0.001")


def test_rates_of_zero_and_one_differ() -> None:
    change = tool_change(complying(0, 40, 40))
    assert change.value == "1.000000"
    assert change.p is not None
    assert Decimal(change.p) < Decimal("1e-6")


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_interval_holds_the_difference_and_stays_within_its_range(
    seed: int, turns: float, tool: float
) -> None:
    def chance(asked: Asked) -> float:
        return tool if asked.condition.context.form is ContextForm.TOOL else turns

    change = tool_change(observed(shapes(31), chance, seed=seed))
    lower, upper = Decimal(change.interval.lower), Decimal(change.interval.upper)
    assert -1 <= lower <= Decimal(change.value) <= upper <= 1


def test_without_judged_points_there_is_no_change() -> None:
    observations = observed(shapes(), by_form)
    assert tool_finding(spoiled(observations, TOOL, UNSCORED)).change is None
    assert tool_finding(spoiled(observations, TURNS, FAILED)).change is None
    assert tool_finding(spoiled(observations, np.s_[:], FAILED)).change is None


def test_the_counterpart_may_belong_to_another_experiment() -> None:
    plan = plan_of(
        [
            (ExperimentKind.CONTEXTS, [Cell(4, 4, form=ContextForm.MEMORY)]),
            (ExperimentKind.FIXED_HARMFUL, [Cell(4, 4), Cell(4, 8)]),
        ]
    )
    [finding] = context_findings(study_of(observed(plan, by_form)))
    assert finding.turns == "h4-b4-suffix"


def test_without_a_counterpart_there_is_no_finding() -> None:
    memory = Cell(4, 4, form=ContextForm.MEMORY)
    others = [Cell(4, 8), Cell(4, 4, source="other"), Cell(4, 4, prefix="Answer:")]
    plan = plan_of(
        [(ExperimentKind.CONTEXTS, [memory]), (ExperimentKind.FIXED_HARMFUL, others)],
        sources=("benign-proxy", "other"),
    )
    assert context_findings(study_of(observed(plan, by_form))) == []


def test_only_contexts_experiments_are_looked_at() -> None:
    cells = [Cell(4, 4), Cell(4, 4, form=ContextForm.MEMORY)]
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, cells)])
    assert context_findings(study_of(observed(plan, by_form))) == []


def test_a_counterpart_may_have_other_labels() -> None:
    """Refusal examples of a policy stand in front of the same mixture."""
    plan = shapes()
    *others, policy = plan.conditions
    policy = policy.model_copy(update={"labels": "rr" + str(policy.labels)})
    plan = plan.model_copy(update={"conditions": (*others, policy)})
    study = study_of(observed(plan, by_form))
    assert counterpart(study, TOOL, context=plan.contexts[0]) == TURNS
