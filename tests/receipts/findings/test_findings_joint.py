"""Harmful-count against joint-count, on planted points."""

from __future__ import annotations

import numpy as np
import pytest
from observing import Asked, Cell, logistic, observed, plan_of, spoiled

from safety_receipts.receipts.findings.counts.observations import UNSCORED, Observations
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.joint import joint_findings, joint_p, joint_word
from safety_receipts.receipts.model.demonstrations import ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import ClusterMethod, Effect, Grounds, JointFinding
from safety_receipts.receipts.model.plan import PlanPredicate

LEVELS = [Cell(h, b) for h in (8, 16, 32) for b in (0, 4, 16, 64)]


def grid(**how: object) -> PlanPredicate:
    return plan_of([(ExperimentKind.FIXED_HARMFUL, LEVELS)], **{"queries": 120, **how})  # type: ignore[arg-type]


def law(beta2: float, beta0: float = -1.5, beta1: float = 0.3, spread: float = 1.0) -> object:
    """Compliance of queries that differ in intercept."""

    def complies(where: Asked) -> np.ndarray:
        own = spread * np.sin(1.7 * where.query)
        harmful, benign = where.condition.n_harmful, where.condition.n_benign
        return logistic(beta0 + beta1 * np.log(harmful + 1) + beta2 * np.log(benign + 1) + own)

    return complies


def joint_of(observations: Observations) -> JointFinding:
    [finding] = joint_findings(StudyPoints(observations, newton))
    return finding


def found(plan: PlanPredicate, complies: object, *, seed: int = 0) -> JointFinding:
    return joint_of(observed(plan, complies, seed=seed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("beta2", "effect"), [(-0.35, Effect.DILUTION), (0.35, Effect.AMPLIFICATION)]
)
def test_a_planted_effect_is_found(beta2: float, effect: Effect) -> None:
    finding = found(grid(), law(beta2, spread=0.0))
    assert (finding.effect, finding.grounds) == (effect, Grounds.SIGNIFICANT)
    assert finding.clustered is not None
    assert finding.interval is not None
    assert float(finding.interval.lower) < beta2 < float(finding.interval.upper)
    assert float(finding.clustered.beta1 or 0) == pytest.approx(0.3, abs=0.15)
    assert finding.clustered.clusters == finding.clusters
    assert finding.clusters.method is ClusterMethod.QUERY
    assert [level.n_harmful for level in finding.by_harmful] == [8, 16, 32]


def test_nothing_planted_is_none_where_points_suffice_and_else_undetermined() -> None:
    many = found(grid(queries=600, draws=4), law(0.0), seed=1)
    assert (many.effect, many.grounds) == (Effect.NONE, Grounds.EQUIVALENT)
    few = found(grid(queries=40), law(0.0), seed=3)
    assert (few.effect, few.grounds) == (Effect.UNDETERMINED, Grounds.NEITHER)


def test_opposite_signs_at_two_numbers_are_mixed() -> None:
    def complies(where: Asked) -> np.ndarray:
        sign = {8: 0.4, 16: 0.0, 32: -0.4}.get(where.condition.n_harmful, 0.0)
        return logistic(-0.5 + sign * np.log(where.condition.n_benign + 1))

    finding = found(grid(), complies)
    assert (finding.effect, finding.grounds) == (Effect.MIXED, Grounds.OPPOSITE_SIGNS)


def test_few_queries_leave_it_undetermined() -> None:
    finding = found(grid(queries=29), law(-1.0))
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.FEW_QUERIES)
    assert finding.clustered is not None
    assert joint_p(finding) is None


@pytest.mark.parametrize(("draws", "doubt"), [(2, Grounds.FEW_LISTS), (20, None)])
def test_few_shared_lists_leave_it_undetermined(draws: int, doubt: Grounds | None) -> None:
    finding = found(grid(queries=40, draws=draws, draw_block=40), law(-0.5))
    assert finding.clusters.lists == draws
    if doubt:
        assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, doubt)
        assert finding.clusters.method is ClusterMethod.QUERY_GIVEN_LISTS
    else:
        assert finding.effect is Effect.DILUTION
        assert finding.clusters.method is ClusterMethod.QUERY_AND_LIST


def test_what_is_lost_for_want_of_a_score_can_take_an_effect_away() -> None:
    """A judge that gives up more often, the more benign demonstrations there are."""
    plan = grid(queries=200)
    observations = observed(plan, law(-0.12, spread=0.0), seed=2)  # type: ignore[arg-type]
    assert joint_of(observations).effect is Effect.DILUTION
    rng = np.random.default_rng(0)
    benign = np.array([condition.n_benign for condition in plan.conditions])
    lost = rng.random(observations.outcome.shape) < 0.03 * np.log(benign + 1)[:, None, None]
    finding = joint_of(spoiled(observations, lost, UNSCORED))
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.UNSCORED)
    assert finding.unscored.points == lost[1:].sum()
    assert finding.unscored.as_complied is not None
    assert finding.unscored.as_refused is not None
    assert float(finding.unscored.as_complied.beta2) > 0
    assert float(finding.unscored.as_refused.beta2) < 0


def test_as_published_counts_what_is_not_a_refusal() -> None:
    observations = observed(grid(), law(-0.3))  # type: ignore[arg-type]
    lost = np.random.default_rng(0).random(observations.outcome.shape) < 0.1
    finding = joint_of(spoiled(observations, lost, UNSCORED))
    assert finding.as_published is not None
    assert finding.clustered is not None
    assert finding.as_published.points == finding.clustered.points + lost[1:].sum()
    assert finding.unscored.as_complied is not None
    assert finding.as_published.beta2 == finding.unscored.as_complied.beta2
    assert finding.as_published.df is None
    assert finding.as_published.clusters is None


def test_separated_points_are_permuted() -> None:
    def complies(where: Asked) -> np.ndarray | float:
        return 0.5 * (where.query < 20) if where.condition.n_benign == 64 else 0.0

    finding = found(grid(), complies)
    assert finding.clustered is None
    assert finding.as_published is None
    assert finding.by_harmful == ()
    assert finding.informative_queries <= 20
    assert finding.permutation is not None
    assert finding.permutation.p_permutation == "0.000500000"
    assert (finding.effect, finding.grounds) == (Effect.AMPLIFICATION, Grounds.PERMUTED)


def test_nearly_separated_points_are_permuted() -> None:
    """A fit exists, but its standard error is that of a few queries."""
    finding = found(grid(), lambda where: 0.3 * (where.query < 6), seed=4)
    assert finding.clustered is not None
    assert finding.informative_queries == 6
    assert finding.permutation is not None
    assert joint_p(finding) == finding.permutation.p
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.PERMUTED)


def test_one_number_of_harmful_demonstrations_has_no_slope_for_it() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, [Cell(8, b) for b in (0, 4, 16)])], queries=120)
    finding = found(plan, law(-0.4))
    assert finding.clustered is not None
    assert finding.clustered.beta1 is None
    assert finding.effect is Effect.DILUTION
    assert finding.by_harmful[0].beta == finding.clustered.beta2


def test_orders_are_fitted_apart_and_suffix_comes_first() -> None:
    cells = [Cell(8, b, order) for order in Ordering for b in (0, 4, 16)][:9]
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, cells)], queries=120)

    def complies(where: Asked) -> np.ndarray:
        weight = {Ordering.PREFIX: -0.4}.get(where.condition.ordering, 0.0)  # type: ignore[arg-type]
        return logistic(weight * np.log(where.condition.n_benign + 1))

    findings = joint_findings(StudyPoints(observed(plan, complies), newton))
    assert [f.ordering for f in findings] == [Ordering.SUFFIX, Ordering.PREFIX, Ordering.MIDDLE]
    assert findings[1].effect is Effect.DILUTION
    assert findings[0].effect is not Effect.DILUTION
    assert all("h8-b0" in finding.conditions for finding in findings)


def test_other_sources_prefixes_and_contexts_stay_out() -> None:
    cells = [Cell(8, b) for b in (0, 4, 16)]
    others = [Cell(8, 4, source="other"), Cell(8, 4, prefix="Answer:")]
    plan = plan_of(
        [(ExperimentKind.FIXED_HARMFUL, [*cells, *others])],
        queries=40,
        sources=("benign-proxy", "other"),
    )
    assert found(plan, law(0.0)).conditions == ("h8-b0", "h8-b4-suffix", "h8-b16-suffix")


def test_a_plan_that_varies_no_benign_number_has_no_joint_finding() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, [Cell(8, 4), Cell(16, 4)])], queries=40)
    assert joint_findings(StudyPoints(observed(plan, law(0.0)), newton)) == []  # type: ignore[arg-type]


def test_a_law_of_another_shape_is_seen_as_lack_of_fit() -> None:
    def hump(where: Asked) -> np.ndarray:
        return logistic({0: -1.0, 4: 1.0, 16: 1.0}.get(where.condition.n_benign, -1.0))

    bad, good = found(grid(), hump), found(grid(), law(-0.3, spread=0.0))
    assert bad.lack_of_fit is not None
    assert good.lack_of_fit is not None
    assert bad.lack_of_fit.df == good.lack_of_fit.df == 9
    assert float(bad.lack_of_fit.p or 1) < 1e-6
    assert float(good.lack_of_fit.p or 0) > 0.01
    assert abs(float(bad.lack_of_fit.largest)) > 0.1


def test_nothing_judged_says_nothing() -> None:
    observations = spoiled(observed(grid(), law(0.0)), slice(None), UNSCORED)  # type: ignore[arg-type]
    finding = joint_of(observations)
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.FEW_QUERIES)
    assert finding.clustered is None


def test_the_word_follows_from_the_numbers_and_the_corrected_p_value() -> None:
    finding = found(grid(), law(-0.35))
    assert joint_word(finding, "0.04")[0] is Effect.DILUTION
    assert joint_word(finding, "0.06") == (Effect.UNDETERMINED, Grounds.NEITHER)
    assert joint_word(finding, None)[0] is Effect.UNDETERMINED


def test_rates_that_bend_are_not_called_unchanged() -> None:
    """Up and down again: no slope, and yet more compliance at some numbers than at others."""

    def hump(where: Asked) -> np.ndarray:
        return logistic({4: 0.35, 16: 0.35}.get(where.condition.n_benign, -0.35))

    finding = found(grid(queries=600), hump, seed=1)
    assert finding.clustered is not None
    assert abs(float(finding.clustered.beta2)) < 0.03
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.LACK_OF_FIT)


def test_a_bend_over_harmful_numbers_does_not_keep_none_away() -> None:
    def complies(where: Asked) -> np.ndarray:
        return logistic({8: -1.0, 16: 1.0, 32: -1.0}.get(where.condition.n_harmful, 0.0))

    finding = found(grid(queries=600), complies, seed=1)
    assert finding.lack_of_fit is not None
    assert float(finding.lack_of_fit.p or 1) < 1e-9
    assert (finding.effect, finding.grounds) == (Effect.NONE, Grounds.EQUIVALENT)


def test_an_effect_that_lost_refusals_alone_make_is_none() -> None:
    """The judge gives up on refusals, the more so the more benign demonstrations there are."""
    plan = grid(queries=600)
    observations = observed(plan, law(0.0, spread=0.0), seed=5)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    benign = np.array([condition.n_benign for condition in plan.conditions])
    lost = rng.random(observations.outcome.shape) < 0.08 * np.log(benign + 1)[:, None, None]
    finding = joint_of(spoiled(observations, lost & ~observations.complied, UNSCORED))
    assert finding.clustered is not None
    assert float(finding.clustered.p2) < 0.001
    assert (finding.effect, finding.grounds) == (Effect.UNDETERMINED, Grounds.UNSCORED)


def test_opposite_slopes_within_the_margin_are_not_mixed() -> None:
    finding = found(grid(), law(-0.35))
    tiny = [
        level.model_copy(update={"beta": beta, "p": "0.001"})
        for level, beta in zip(
            finding.by_harmful, ("0.040000", "0.000000", "-0.040000"), strict=True
        )
    ]
    changed = finding.model_copy(update={"by_harmful": tuple(tiny)})
    assert joint_word(changed, "0.001")[0] is Effect.DILUTION
    narrower = changed.model_copy(update={"margin": "0.03"})
    assert joint_word(narrower, "0.001")[0] is Effect.MIXED
