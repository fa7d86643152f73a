"""The total-count hypothesis, on planted points."""

from __future__ import annotations

import numpy as np
import pytest
from observing import Asked, Cell, logistic, observed, plan_of, spoiled

from safety_receipts.receipts.findings.counts.observations import REFUSED
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.total import total_finding, total_verdict
from safety_receipts.receipts.model.demonstrations import ExperimentKind
from safety_receipts.receipts.model.findings import TotalFinding, Verdict
from safety_receipts.receipts.model.plan import PlanPredicate

SWEEP = [Cell(n * quarter // 4, n - n * quarter // 4) for n in (4, 16) for quarter in range(5)]


def sweep(**how: int) -> PlanPredicate:
    return plan_of([(ExperimentKind.SWEEP, [Cell(0, 0), *SWEEP])], **{"queries": 90, **how})  # type: ignore[arg-type]


def total_of(plan: PlanPredicate, complies: object, seed: int = 0) -> TotalFinding:
    finding = total_finding(StudyPoints(observed(plan, complies, seed=seed), newton))  # type: ignore[arg-type]
    assert finding is not None
    return finding


def by_mix(where: Asked) -> np.ndarray:
    return logistic(-1.5 + 0.6 * np.log(where.condition.n_harmful + 1) + 0 * where.query)


def by_total(where: Asked) -> np.ndarray:
    shown = where.condition.n_harmful + where.condition.n_benign
    return logistic(-1.5 + 0.5 * np.log(shown + 1) + np.sin(1.7 * where.query))


def test_rates_that_depend_on_the_mix_reject_it() -> None:
    finding = total_of(sweep(), by_mix)
    assert finding.rejected_as_published
    assert finding.p is not None
    assert total_verdict(finding.p) is Verdict.REJECTED
    assert [row.total for row in finding.rows] == [4, 16]
    assert all(row.df == 4 and len(row.conditions) == 5 for row in finding.rows)


def test_rates_that_depend_on_the_total_do_not() -> None:
    finding = total_of(sweep(), by_total, seed=1)
    assert finding.p is not None
    assert total_verdict(finding.p) is Verdict.NOT_REJECTED


def test_the_published_statistic_is_pearsons() -> None:
    stats = pytest.importorskip("scipy.stats")
    plan = sweep()
    observations = observed(plan, by_mix)
    finding = total_finding(StudyPoints(observations, newton))
    assert finding is not None
    for row in finding.rows:
        places = [observations.condition_places[id_] for id_ in row.conditions]
        complied = observations.complied[places].sum(axis=(1, 2))
        table = np.array([complied, 180 - complied])
        expected = stats.chi2_contingency(table, correction=False)
        assert float(row.chi_square or 0) == pytest.approx(expected.statistic, abs=1e-6)
        assert float(row.p_as_published or 0) == pytest.approx(expected.pvalue, rel=1e-4)


def test_a_copy_of_every_draw_changes_the_published_p_value_and_not_the_clustered() -> None:
    once, twice = sweep(draws=1), sweep(draws=2)
    observations = observed(twice, by_mix, seed=3)
    observations.outcome[:, :, 1] = observations.outcome[:, :, 0]
    doubled = total_finding(StudyPoints(observations, newton))
    single = observed(once, by_mix, seed=3)
    single.outcome[:] = observations.outcome[:, :, :1]
    alone = total_finding(StudyPoints(single, newton))
    assert doubled is not None
    assert alone is not None
    for two, one in zip(doubled.rows, alone.rows, strict=True):
        assert float(two.chi_square or 0) == pytest.approx(2 * float(one.chi_square or 0), abs=1e-5)
        assert two.f == one.f


def test_few_clusters_are_not_tested() -> None:
    for plan in (sweep(queries=29), sweep(draw_block=90)):
        finding = total_of(plan, by_mix)
        assert finding.p is None
        assert total_verdict(finding.p) is Verdict.UNTESTED
        assert finding.rejected_as_published


def test_where_nothing_varies_nothing_is_tested() -> None:
    observations = spoiled(observed(sweep(), by_mix), slice(None), REFUSED)
    finding = total_finding(StudyPoints(observations, newton))
    assert finding is not None
    assert all((row.chi_square, row.f, row.p) == (None, None, None) for row in finding.rows)
    assert finding.p is None


def test_a_plan_without_sweep_has_no_such_finding() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, [Cell(8, 0), Cell(8, 4)])], queries=30)
    only_baseline = plan.model_copy(update={"experiments": plan.experiments[1:]})
    assert total_finding(StudyPoints(observed(only_baseline, by_mix), newton)) is None
