"""Whether the effect holds for each benign source, and is more than length."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import pytest
from observing import Asked, Cell, Chance, logistic, observed, plan_of, spoiled, study_of

from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.sources import SourceEstimates, source_estimates
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import Effect, Grounds, SourcesFinding
from safety_receipts.receipts.model.plan import PlanPredicate

CHATS, TALES, FILLER = "chats", "tales", "filler"
SOURCES = (CHATS, TALES, FILLER)
BENIGN = (0, 4, 16, 64)


def ablation(
    queries: int = 200,
    *,
    sources: tuple[str, ...] = SOURCES,
    benign: tuple[int, ...] = BENIGN,
    harmful: tuple[int, ...] = (8,),
    draw_block: int = 1,
    controls: int = 0,
) -> PlanPredicate:
    """Return a plan in which each source is shown at each number."""
    cells = [
        Cell(h, b, source=source if b else sources[0])
        for source in sources
        for h in harmful
        for b in benign
    ]
    return plan_of(
        [(ExperimentKind.BENIGN_SOURCES, list(dict.fromkeys(cells)))],
        queries=queries,
        sources=sources,
        draw_block=draw_block,
        controls=controls,
    )


def slopes(planted: Mapping[str, float]) -> Chance:
    """Return chances with a slope on log(N_b+1) for each source."""

    def chance(asked: Asked) -> np.ndarray:
        slope = planted.get(asked.condition.benign_source or "", 0)
        return logistic(0.5 + slope * np.log(asked.condition.n_benign + 1))

    return chance


PLANTED = slopes({CHATS: -0.5, TALES: 0.4, FILLER: 0})


def estimates(observations: Observations) -> SourceEstimates:
    found = source_estimates(study_of(observations))
    assert found is not None
    return found


def finding_of(observations: Observations) -> SourcesFinding:
    """Return the finding with uncorrected words."""
    found = estimates(observations)
    return found.finding(dict(found.tests()))


def glm(observations: Observations, parts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Fit one logit a list of places, all at once, with errors clustered by query.

    Returns:
        Coefficients and covariance: a constant and a slope for each part.
    """
    outcomes, rows, queries = [], [], []
    _, count, draws = observations.outcome.shape
    for number, places in enumerate(parts):
        for place in places:
            design = np.zeros((count * draws, 2 * len(parts)))
            design[:, 2 * number] = 1
            design[:, 2 * number + 1] = np.log(observations.plan.conditions[place].n_benign + 1)
            rows.append(design)
            outcomes.append(observations.complied[place].ravel())
            queries.append(np.repeat(np.arange(count), draws))
    api = pytest.importorskip("statsmodels.api")
    fit = api.GLM(
        np.concatenate(outcomes).astype(float), np.vstack(rows), family=api.families.Binomial()
    ).fit(
        tol=1e-12,
        cov_type="cluster",
        cov_kwds={"groups": np.concatenate(queries), "use_correction": False},
    )
    return fit.params, fit.cov_params() * count / (count - 1)


def places_of(plan: PlanPredicate, source: str) -> list[int]:
    """Return the places of a source's conditions and of those without benign demonstrations."""
    return [
        place
        for place, condition in enumerate(plan.conditions)
        if condition.n_harmful and condition.benign_source in (None, source)
    ]


def test_each_source_has_the_slope_that_was_planted() -> None:
    found = finding_of(observed(ablation(), PLANTED))
    assert [slope.source for slope in found.slopes] == list(SOURCES)
    for slope, planted in zip(found.slopes, (-0.5, 0.4, 0), strict=True):
        assert float(slope.interval.lower) < planted < float(slope.interval.upper)
    chats, tales, filler = found.slopes
    assert (chats.effect, chats.grounds) == (Effect.DILUTION, Grounds.SIGNIFICANT)
    assert (tales.effect, tales.grounds) == (Effect.AMPLIFICATION, Grounds.SIGNIFICANT)
    assert filler.effect in (Effect.NONE, Effect.UNDETERMINED)


def test_conditions_without_benign_demonstrations_belong_to_every_source() -> None:
    found = finding_of(observed(ablation(), PLANTED))
    assert [slope.conditions for slope in found.slopes] == [
        ("h8-b0", "h8-b4-suffix", "h8-b16-suffix", "h8-b64-suffix"),
        ("h8-b0", *(f"h8-b{b}-suffix-src:tales" for b in (4, 16, 64))),
        ("h8-b0", *(f"h8-b{b}-suffix-src:filler" for b in (4, 16, 64))),
    ]


def test_a_slope_is_that_of_a_regression_with_clustered_errors() -> None:
    observations = observed(ablation(), PLANTED)
    params, covariance = glm(observations, [places_of(observations.plan, TALES)])
    slope = finding_of(observations).slopes[1]
    assert float(slope.beta) == pytest.approx(params[1], abs=2e-6)
    assert float(slope.se) == pytest.approx(sqrt(covariance[1, 1]), abs=2e-6)
    assert slope.df == 199


def test_a_difference_knows_that_both_slopes_share_points() -> None:
    """Both fits at once, with the shared points in each, as one regression by query."""
    observations = observed(ablation(), PLANTED)
    plan = observations.plan
    parts = [places_of(plan, CHATS), places_of(plan, FILLER)]
    params, covariance = glm(observations, parts)
    contrast = np.array([0, 1, 0, -1])
    difference, _ = finding_of(observations).length_matched
    assert (difference.source, difference.filler) == (CHATS, FILLER)
    assert float(difference.beta) == pytest.approx(contrast @ params, abs=2e-6)
    se = sqrt(contrast @ covariance @ contrast)
    assert float(difference.se) == pytest.approx(se, abs=2e-6)
    apart = sqrt(covariance[1, 1] + covariance[3, 3])
    assert se < 0.95 * apart


def test_a_source_that_does_more_than_its_length_differs_from_the_filler() -> None:
    chats, tales = finding_of(observed(ablation(), PLANTED)).length_matched
    assert (chats.effect, tales.effect) == (Effect.DILUTION, Effect.AMPLIFICATION)


def test_an_effect_of_length_alone_is_seldom_taken_for_one_of_the_source() -> None:
    """One test in twenty may err; of 200, twenty and more do so once in four hundred."""
    plan = ablation(60, sources=(CHATS, FILLER), benign=(0, 16, 64))
    alike = slopes({CHATS: -0.4, FILLER: -0.4})
    wrong, seen = 0, 0
    for seed in range(200):
        finding = finding_of(observed(plan, alike, seed=seed))
        wrong += finding.length_matched[0].effect in (Effect.DILUTION, Effect.AMPLIFICATION)
        seen += finding.slopes[0].effect is Effect.DILUTION
    assert wrong < 20
    assert seen > 190


def test_equivalence_to_the_filler_can_be_shown() -> None:
    plan = ablation(1500, sources=(CHATS, FILLER), benign=(0, 16, 128))
    alike = slopes({CHATS: -0.4, FILLER: -0.4})
    [difference] = finding_of(observed(plan, alike)).length_matched
    assert (difference.effect, difference.grounds) == (Effect.NONE, Grounds.EQUIVALENT)


def test_tests_are_named_after_sources_and_words_follow_their_corrected_p_values() -> None:
    found = estimates(observed(ablation(), PLANTED))
    tests = dict(found.tests())
    assert list(tests) == [
        "source/chats",
        "source/tales",
        "source/filler",
        "source/chats-less-filler",
        "source/tales-less-filler",
    ]
    finding = found.finding(tests | {"source/chats": "0.06", "source/tales-less-filler": "0.06"})
    chats, tales, _ = finding.slopes
    assert chats.p == tests["source/chats"]
    assert (chats.effect, chats.grounds) == (Effect.UNDETERMINED, Grounds.NEITHER)
    assert tales.effect is Effect.AMPLIFICATION
    less_chats, less_tales = finding.length_matched
    assert less_chats.effect is Effect.DILUTION
    assert (less_tales.effect, less_tales.grounds) == (Effect.UNDETERMINED, Grounds.NEITHER)


def test_several_numbers_of_harmful_demonstrations_are_held_fixed() -> None:
    """What they do is no part of the slope, though the plan has more of them where N_b is large."""
    plan = plan_of(
        [
            (
                ExperimentKind.BENIGN_SOURCES,
                [Cell(2, 0), Cell(2, 4), Cell(32, 4), Cell(32, 64), Cell(32, 0)],
            )
        ],
        queries=400,
    )

    def chance(asked: Asked) -> np.ndarray:
        return logistic(-3 + np.log(asked.condition.n_harmful + 1))

    [slope] = finding_of(observed(plan, chance)).slopes
    assert float(slope.interval.lower) < 0 < float(slope.interval.upper)
    assert slope.conditions == tuple(condition.id for condition in plan.conditions[1:])


def test_the_conditions_are_the_experiments_and_plain_ones_without_benign_demonstrations() -> None:
    experiments = [
        (ExperimentKind.BENIGN_SOURCES, [Cell(8, 4, source=TALES), Cell(8, 16, source=TALES)]),
        (ExperimentKind.FIXED_HARMFUL, [Cell(8, 0), Cell(4, 0), Cell(8, 64, source=TALES)]),
        (ExperimentKind.RESPONSE_PREFIX, [Cell(8, 0, prefix="Answer:")]),
        (ExperimentKind.CONTEXTS, [Cell(8, 0, form=ContextForm.TOOL)]),
    ]
    plan = plan_of(experiments, sources=(CHATS, TALES))
    [slope] = finding_of(observed(plan, PLANTED)).slopes
    assert slope.conditions == ("h8-b4-suffix-src:tales", "h8-b16-suffix-src:tales", "h8-b0")


def test_mixed_conditions_are_of_one_order() -> None:
    cells = [Cell(8, b, order) for b in (4, 16) for order in (Ordering.PREFIX, Ordering.SUFFIX)]
    for wanted, chosen in (("suffix", cells), ("prefix", cells[::2])):
        plan = plan_of([(ExperimentKind.BENIGN_SOURCES, chosen)])
        [slope] = finding_of(observed(plan, PLANTED)).slopes
        assert slope.conditions == (f"h8-b4-{wanted}", f"h8-b16-{wanted}")


def test_without_harmful_demonstrations_the_baseline_is_the_reference() -> None:
    plan = ablation(harmful=(0,), benign=(4, 64), sources=(CHATS,))
    [slope] = finding_of(observed(plan, PLANTED)).slopes
    assert slope.conditions == ("h0-b0", "h0-b4", "h0-b64")
    assert slope.effect is Effect.DILUTION


def test_prompt_lengths_are_those_of_the_sources_own_conditions() -> None:
    observations = observed(ablation(), PLANTED)
    slope, *_ = finding_of(observations).slopes
    assert slope.mean_prompt_tokens == f"{np.mean([24 + 58 * (8 + b) for b in (4, 16, 64)]):.2f}"
    place = next(i for i, c in enumerate(observations.plan.conditions) if c.n_benign == 64)
    slope, *_ = finding_of(spoiled(observations, place, FAILED)).slopes
    assert slope.mean_prompt_tokens == f"{np.mean([24 + 58 * (8 + b) for b in (4, 16)]):.2f}"


def test_without_a_filler_there_is_no_difference() -> None:
    found = estimates(observed(ablation(sources=(CHATS, TALES)), PLANTED))
    assert [name for name, _ in found.tests()] == ["source/chats", "source/tales"]
    assert found.finding({}).length_matched == ()


def test_a_filler_without_a_slope_leaves_no_difference() -> None:
    observations = observed(ablation(), PLANTED)
    places = places_of(observations.plan, FILLER)[1:]
    found = finding_of(spoiled(observations, places, UNSCORED))
    assert [slope.source for slope in found.slopes] == [CHATS, TALES]
    assert found.length_matched == ()


@pytest.mark.parametrize(
    "filler", [Cell(32, 16, source=FILLER), Cell(8, 16, Ordering.PREFIX, FILLER)]
)
def test_a_filler_with_other_harmful_numbers_or_orders_is_no_match(filler: Cell) -> None:
    cells = [Cell(8, 0, source=CHATS), Cell(32, 0, source=CHATS), Cell(8, 16, source=CHATS)]
    matching = Cell(8, 16, source=FILLER)
    for added, differences in ((matching, 1), (filler, 0)):
        plan = plan_of([(ExperimentKind.BENIGN_SOURCES, [*cells, added])], sources=(CHATS, FILLER))
        found = finding_of(observed(plan, PLANTED))
        assert [slope.source for slope in found.slopes] == [CHATS, FILLER]
        assert len(found.length_matched) == differences


def test_sources_that_give_the_same_answers_have_no_difference_to_test() -> None:
    observations = observed(ablation(sources=(CHATS, FILLER)), PLANTED)
    chats, filler = (places_of(observations.plan, source)[1:] for source in (CHATS, FILLER))
    outcome = observations.outcome.copy()
    outcome[filler] = outcome[chats][:, :, ::-1]
    observations.outcome[:] = outcome
    found = finding_of(observations)
    assert found.slopes[0].beta == found.slopes[1].beta
    assert found.length_matched == ()


@pytest.mark.parametrize(
    ("plan", "grounds"),
    [
        (ablation(29), Grounds.FEW_QUERIES),
        (ablation(200, draw_block=100), Grounds.FEW_LISTS),
    ],
)
def test_few_queries_or_few_shared_lists_give_slopes_and_no_word(
    plan: PlanPredicate, grounds: Grounds
) -> None:
    found = estimates(observed(plan, slopes({CHATS: -0.8, TALES: 0.8})))
    assert found.tests() == []
    finding = found.finding({})
    assert len(finding.slopes) == 3
    for slope in (*finding.slopes, *finding.length_matched):
        assert (slope.effect, slope.grounds) == (Effect.UNDETERMINED, grounds)


def test_shared_lists_are_clusters_too() -> None:
    [slope, *_] = finding_of(observed(ablation(draw_block=10), PLANTED)).slopes
    assert slope.df == 39


def test_controls_take_no_part() -> None:
    observations = observed(ablation(controls=20), PLANTED)
    changed = spoiled(observations, np.s_[:, 200:], COMPLIED)
    assert finding_of(changed) == finding_of(observations)


def test_one_number_of_benign_demonstrations_has_no_slope() -> None:
    plan = plan_of([(ExperimentKind.BENIGN_SOURCES, [Cell(8, 16)])])
    assert source_estimates(study_of(observed(plan, PLANTED))) is None


def test_a_plan_without_such_an_experiment_has_no_finding() -> None:
    plan = plan_of([(ExperimentKind.FIXED_HARMFUL, [Cell(8, 0), Cell(8, 16)])])
    assert source_estimates(study_of(observed(plan, PLANTED))) is None


@pytest.mark.parametrize(
    "chance",
    [lambda _: 0.0, lambda _: 1.0, lambda asked: float(asked.condition.n_benign > 4)],
)
def test_outcomes_that_never_vary_or_are_parted_give_no_slope(chance: Chance) -> None:
    assert source_estimates(study_of(observed(ablation(), chance))) is None


@pytest.mark.parametrize("outcome", [UNSCORED, FAILED])
def test_where_nothing_was_judged_there_is_nothing_to_say(outcome: int) -> None:
    observations = spoiled(observed(ablation(), PLANTED), np.s_[:], outcome)
    assert source_estimates(study_of(observations)) is None
