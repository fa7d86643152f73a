"""Whether a demonstrated prefix is taken up, by refusals and by compliances."""

from __future__ import annotations

from decimal import Decimal
from math import sqrt

import numpy as np
import pytest
from observing import Asked, Cell, observed, plan_of, spoiled, study_of

from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    REFUSED,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.fits.distributions import student_quantile, t_two_sided
from safety_receipts.receipts.findings.formats import format_findings
from safety_receipts.receipts.model.demonstrations import ExperimentKind
from safety_receipts.receipts.model.findings import AdoptionRate, FormatFinding, FormatWord
from safety_receipts.receipts.model.plan import PlanPredicate

PREFIX = "Answer:"
PLAIN, PREFIXED = 1, 2
"""Places of conditions in :func:`prefixed`."""


def prefixed(
    queries: int = 100, *, draws: int = 2, draw_block: int = 1, controls: int = 0
) -> PlanPredicate:
    return plan_of(
        [
            (ExperimentKind.ORDERINGS, [Cell(4, 4)]),
            (ExperimentKind.RESPONSE_PREFIX, [Cell(4, 4, prefix=PREFIX)]),
        ],
        queries=queries,
        draws=draws,
        draw_block=draw_block,
        controls=controls,
    )


def half(asked: Asked) -> float:
    return 0.5


def finding_of(observations: Observations) -> FormatFinding:
    [finding] = format_findings(study_of(observations))
    return finding


def finding(
    among_refusals: float, among_compliances: float, plan: PlanPredicate | None = None
) -> FormatFinding:
    adopts = (among_refusals, among_compliances)
    return finding_of(observed(plan or prefixed(), half, adopts=adopts))


def test_adoption_is_counted_by_outcome() -> None:
    observations = observed(prefixed(), half, adopts=(0.3, 0.8))
    observations = spoiled(observations, np.s_[PREFIXED, :7], UNSCORED)
    found = finding_of(observations)
    assert (found.condition, found.prefix) == ("h4-b4-suffix-pre:1", PREFIX)
    for among, code in (
        (found.among_refusals, REFUSED),
        (found.among_compliances, COMPLIED),
    ):
        adopted = observations.adopted[PREFIXED][observations.outcome[PREFIXED] == code]
        assert (among.responses, among.adopted) == (adopted.size, adopted.sum())
        assert among.rate == f"{adopted.mean():.6f}"


def bounds(rate: AdoptionRate) -> tuple[float, float]:
    assert rate.lower is not None
    assert rate.upper is not None
    return float(rate.lower), float(rate.upper)


def test_with_one_point_a_query_the_interval_is_wilsons_with_students_quantile() -> None:
    among = finding(0.3, 0.8, prefixed(draws=1)).among_refusals
    n, p = among.responses, among.adopted / among.responses
    t = student_quantile(0.975, n - 1)
    # The clustered variance of one point a query is n/(n − 1) of the binomial one.
    n_effective = n - 1
    centre = (p + t**2 / (2 * n_effective)) / (1 + t**2 / n_effective)
    half_width = (
        t * sqrt(p * (1 - p) / n_effective + t**2 / (4 * n_effective**2)) / (1 + t**2 / n_effective)
    )
    expected = (centre - half_width, centre + half_width)
    assert bounds(among) == pytest.approx(expected, abs=2e-6)


def test_planted_rates_lie_within_the_intervals() -> None:
    found = finding(0.3, 0.8)
    for among, planted in ((found.among_refusals, 0.3), (found.among_compliances, 0.8)):
        lower, upper = bounds(among)
        assert lower < planted < upper
    assert found.gap is not None
    assert Decimal(found.gap.interval.lower) < Decimal("0.5") < Decimal(found.gap.interval.upper)


def test_the_gap_is_tested_as_a_regression_with_clustered_errors_does() -> None:
    observations = observed(prefixed(), half, adopts=(0.45, 0.6))
    complied = observations.complied[PREFIXED].ravel()
    design = np.column_stack([np.ones(complied.size), complied])
    queries = np.repeat(np.arange(100), 2)
    models = pytest.importorskip("statsmodels.regression.linear_model")
    fit = models.OLS(observations.adopted[PREFIXED].ravel().astype(float), design).fit(
        cov_type="cluster", cov_kwds={"groups": queries, "use_correction": False}
    )
    t = fit.params[1] / (fit.bse[1] * sqrt(100 / 99))
    gap = finding_of(observations).gap
    assert gap is not None
    assert gap.p is not None
    assert float(gap.value) == pytest.approx(fit.params[1], abs=1e-6)
    assert float(gap.p) == pytest.approx(t_two_sided(t, 99), rel=1e-5)


def test_refusals_that_adopt_the_prefix_show_that_format_and_compliance_dissociate() -> None:
    found = finding(0.87, 0.9)
    assert found.verdict is FormatWord.DISSOCIATED
    assert found.gap is not None
    assert found.gap.p is not None
    assert Decimal(found.gap.p) > Decimal("0.05")


def test_a_prefix_that_only_compliances_adopt_is_coupled_to_them() -> None:
    found = finding(0.001, 0.52, prefixed(200))
    assert found.verdict is FormatWord.COUPLED
    assert found.gap is not None
    assert found.gap.p is not None
    assert Decimal(found.gap.p) < Decimal("0.0001")


def test_nothing_is_coupled_where_compliances_do_not_adopt_the_prefix_either() -> None:
    found = finding(0, 0, prefixed(200))
    assert found.verdict is FormatWord.UNDETERMINED
    assert found.gap is not None
    assert (found.gap.value, found.gap.p) == ("0.000000", None)


def test_one_in_twenty_is_neither() -> None:
    found = finding(0.05, 0.5)
    lower, upper = bounds(found.among_refusals)
    assert lower < 0.05 < upper
    assert found.verdict is FormatWord.UNDETERMINED


def test_few_queries_or_few_shared_lists_give_rates_and_no_word() -> None:
    for plan in (prefixed(29), prefixed(200, draw_block=50)):
        found = finding(0.9, 0.9, plan)
        assert found.among_refusals.lower is not None
        assert Decimal(found.among_refusals.lower) > Decimal("0.05")
        assert found.gap is not None
        assert found.gap.p is None
        assert found.verdict is FormatWord.UNDETERMINED


def test_few_queries_that_were_refused_give_no_word() -> None:
    observations = observed(prefixed(), lambda _: 1.0, adopts=(1, 1))
    few = spoiled(observations, np.s_[PREFIXED, :29], REFUSED)
    enough = spoiled(observations, np.s_[PREFIXED, :30], REFUSED)
    assert finding_of(few).verdict is FormatWord.UNDETERMINED
    assert finding_of(enough).verdict is FormatWord.DISSOCIATED


def test_refusals_that_are_few_and_never_adopt_do_not_differ_from_rare_adoption() -> None:
    """30 of 1000 and 0 of 30: Fisher's exact test has p = 1."""
    observations = observed(prefixed(1030, draws=1), lambda _: 1.0, adopts=(0, 0))
    observations.adopted[PREFIXED, :30] = 1
    gap = finding_of(spoiled(observations, np.s_[PREFIXED, 1000:], REFUSED)).gap
    assert gap is not None
    assert gap.p is not None
    assert Decimal(gap.p) > Decimal("0.1")
    assert Decimal(gap.interval.lower) < 0 < Decimal(gap.interval.upper)


def test_the_change_is_against_the_same_condition_without_prefix() -> None:
    def chance(asked: Asked) -> float:
        return 0.7 if asked.condition.response_prefix else 0.3

    observations = observed(prefixed(), chance)
    found = finding_of(observations)
    assert found.without_prefix == "h4-b4-suffix"
    assert found.change is not None
    assert found.change.p is not None
    assert Decimal(found.change.p) < Decimal("0.0001")
    rates = observations.complied.mean(axis=(1, 2))
    assert float(found.change.value) == pytest.approx(rates[PREFIXED] - rates[PLAIN], abs=1e-6)


def test_a_plan_without_that_condition_has_no_change() -> None:
    cells = [Cell(4, 4, prefix=PREFIX), Cell(4, 4, prefix="Sure:")]
    plan = plan_of([(ExperimentKind.RESPONSE_PREFIX, cells)])
    findings = format_findings(study_of(observed(plan, half)))
    assert [found.prefix for found in findings] == [PREFIX, "Sure:"]
    assert {found.without_prefix for found in findings} == {None}
    assert {found.change for found in findings} == {None}


def test_controls_take_no_part() -> None:
    observations = observed(prefixed(controls=20), half)
    changed = spoiled(observations, np.s_[:, 100:], COMPLIED)
    assert finding_of(changed) == finding_of(observations)


def test_without_refusals_there_is_no_gap_and_no_word() -> None:
    found = finding_of(observed(prefixed(), lambda _: 1.0))
    nothing = AdoptionRate(responses=0, adopted=0, rate=None, lower=None, upper=None)
    assert found.among_refusals == nothing
    assert found.among_compliances.responses == 200
    assert (found.gap, found.verdict) == (None, FormatWord.UNDETERMINED)
    assert found.change is not None
    assert (found.change.value, found.change.p) == ("0.000000", None)


def test_without_compliances_refusals_that_adopt_still_dissociate() -> None:
    found = finding_of(observed(prefixed(), lambda _: 0.0, adopts=(0.9, 0)))
    assert found.among_compliances.rate is None
    assert (found.gap, found.verdict) == (None, FormatWord.DISSOCIATED)


@pytest.mark.parametrize("outcome", [UNSCORED, FAILED])
def test_where_nothing_was_judged_there_is_nothing_to_say(outcome: int) -> None:
    found = finding_of(spoiled(observed(prefixed(), half), np.s_[:], outcome))
    assert found.among_refusals.responses == found.among_compliances.responses == 0
    assert (found.gap, found.change) == (None, None)
    assert found.verdict is FormatWord.UNDETERMINED


def test_a_plan_without_such_an_experiment_has_no_finding() -> None:
    plan = plan_of([(ExperimentKind.ORDERINGS, [Cell(4, 4), Cell(4, 4, prefix=PREFIX)])])
    assert format_findings(study_of(observed(plan, half))) == []
