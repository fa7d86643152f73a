"""The benchmark of the findings: its populations are what they claim, and its parts work."""

from __future__ import annotations

import json
from dataclasses import replace

import findings
import numpy as np
import pytest
from findings_models import coverage, decoys, nulls, published
from findings_models.decoy_kinds import Decoy
from findings_models.designs import FILLER, Design, fixed_harmful, mixture, sweep
from findings_models.judges import Judged
from findings_models.population import (
    Population,
    Spread,
    benign_weights,
    observations,
    of_counts,
    offsets,
)
from findings_models.repeats import Repeats, Share, Simulation
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.findings.counts.observations import COMPLIED, REFUSED, UNSCORED
from safety_receipts.receipts.model.demonstrations import ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.plan import PlanPredicate

SMALL = Design(30)
ROUGH = Spread(1.5, 0.5, 0.3, 0.4)


def population(design: Design, spread: Spread) -> Population:
    plan = design.plan
    return Population(plan, of_counts(plan, -2.0, 0.3, -0.1), spread, benign_weights(plan))


def columns_of(lines: list[str]) -> list[list[str]]:
    """Return the heads of a report's tables."""
    heads = [lines[i - 1] for i, line in enumerate(lines) if line.startswith("|---")]
    return [[name.strip() for name in head.strip("|").split("|")] for head in heads]


class TestDesigns:
    """Plans are those of real studies."""

    def test_the_grid_is_the_studys_with_a_baseline_in_front(self) -> None:
        plan = SMALL.plan
        assert [c.id for c in plan.conditions[:3]] == ["h0-b0", "h8-b0", "h8-b4-suffix"]
        assert len(plan.conditions) == 19
        assert plan.points == 19 * 30 * 2

    def test_experiments_name_conditions_of_the_plan(self) -> None:
        design = Design(
            2,
            fixed=fixed_harmful(orderings=(Ordering.SUFFIX, Ordering.PREFIX)),
            swept=sweep(),
            ordered=tuple(mixture(32, 32, ordering) for ordering in Ordering),
            with_filler=True,
        )
        ids = [condition.id for condition in design.plan.conditions]
        assert len(set(ids)) == len(ids)
        for experiment in design.plan.experiments:
            assert set(experiment.conditions) <= set(ids)
            assert list(experiment.conditions) == sorted(experiment.conditions, key=ids.index)
        assert {e.kind for e in design.plan.experiments} == {
            ExperimentKind.SWEEP,
            ExperimentKind.FIXED_HARMFUL,
            ExperimentKind.ORDERINGS,
            ExperimentKind.BENIGN_SOURCES,
        }

    def test_every_mixture_with_benign_demonstrations_is_filled_again(self) -> None:
        plan = replace(SMALL, with_filler=True).plan
        filled = [c for c in plan.conditions if c.benign_source == FILLER]
        usual = [c for c in plan.conditions if c.benign_source not in (FILLER, None)]
        assert [(c.n_harmful, c.n_benign) for c in filled] == [
            (c.n_harmful, c.n_benign) for c in usual
        ]

    def test_a_plan_is_valid_on_the_wire(self) -> None:
        plan = replace(SMALL, block=8, with_filler=True).plan
        assert PlanPredicate.model_validate_json(json.dumps(plan.to_wire())) == plan
        assert plan.demonstrations.distinct_lists == 8


class TestPopulations:
    """Rates and correlations are what they are said to be."""

    @given(
        st.floats(0.001, 0.999),
        st.floats(0, 5),
    )
    def test_an_offset_gives_the_marginal_rate(self, rate: float, deviation: float) -> None:
        (offset,) = offsets(np.array([rate]), np.array([deviation]))
        z = np.linspace(-10, 10, 20_001)
        density = np.exp(-(z**2) / 2)
        mean = (density / (1 + np.exp(-offset - deviation * z))).sum() / density.sum()
        assert mean == pytest.approx(rate, abs=1e-4)

    @pytest.mark.parametrize("spread", [Spread(1.5), Spread(1.5, 1.0), ROUGH], ids=str)
    def test_shares_of_many_queries_are_the_marginal_rates(self, spread: Spread) -> None:
        drawn = population(Design(20_000, draws=1), spread)
        shares = drawn.complied(np.random.default_rng(1)).mean(axis=(1, 2))
        assert shares == pytest.approx(drawn.rates, abs=0.02)  # 5.6 standard errors or more

    def test_shares_of_many_lists_are_the_marginal_rates(self) -> None:
        drawn = population(Design(2_000, 10, 4), ROUGH)
        shares = drawn.complied(np.random.default_rng(1)).mean(axis=(1, 2))
        assert shares == pytest.approx(drawn.rates, abs=0.05)

    def test_points_that_show_one_list_are_alike(self) -> None:
        drawn = population(Design(50, 40, "all"), Spread(0, 0, 1e6, 0))
        complied = drawn.complied(np.random.default_rng(1))[1:]
        assert (complied == complied[:, :1]).all()
        assert complied.any()
        assert not complied.all()

    def test_lists_do_nothing_where_none_is_shown(self) -> None:
        lists = Spread(0, 0, 1e6, 0)
        drawn = replace(population(Design(200, 20, "all"), lists), greedy=False)
        baseline = drawn.complied(np.random.default_rng(1))[0]
        assert baseline.mean() == pytest.approx(drawn.rates[0], abs=0.03)
        assert (baseline.any(axis=0) & ~baseline.all(axis=0)).all()

    def test_greedy_draws_without_demonstrations_are_one_outcome(self) -> None:
        complied = population(Design(200), Spread(1.5)).complied(np.random.default_rng(1))
        differ = complied[:, :, 0] != complied[:, :, 1]
        assert not differ[0].any()
        assert differ[1:].any(axis=1).all()

    def test_what_cannot_be_judged_is_neither_refused_nor_complied(self) -> None:
        plan = SMALL.plan
        shape = (len(plan.conditions), 30, 2)
        complied, missing = np.zeros((2, *shape), dtype=bool)
        complied[0], missing[0, 0], missing[1, 0] = True, True, True
        found = observations(plan, complied, missing).outcome
        assert set(found[:2, 0].ravel()) == {UNSCORED}
        assert set(found[0, 1:].ravel()) == {COMPLIED}
        assert set(found[1, 1:].ravel()) == {REFUSED}


class TestJudges:
    """Errors and calibrations are what they are said to be."""

    def test_a_perfect_judge_sees_the_truth(self) -> None:
        drawn = population(SMALL, ROUGH)
        seen = Judged(1.0, 1.0).observations(np.random.default_rng(1), drawn)
        assert (seen.complied == drawn.complied(np.random.default_rng(1))).all()
        calibration = seen.plan.judge.calibration
        assert calibration is not None
        assert calibration.true_positives == calibration.positives
        assert calibration.true_negatives == calibration.negatives

    def test_a_judge_errs_as_often_as_it_says(self) -> None:
        drawn = population(Design(4_000), ROUGH)
        truth = drawn.complied(np.random.default_rng(1))
        seen = Judged(0.8, 0.9).observations(np.random.default_rng(1), drawn).complied
        assert seen[truth].mean() == pytest.approx(0.8, abs=0.01)
        assert seen[~truth].mean() == pytest.approx(0.1, abs=0.01)


class TestDecoys:
    """Each decoy is what it is called."""

    def named(self, name: str) -> Decoy:
        (found,) = [decoy for decoy in decoys.DECOYS if decoy.name == name]
        return found

    def test_names_decide_random_numbers_and_so_are_distinct(self) -> None:
        names = [decoy.name for decoy in decoys.DECOYS]
        assert len(set(names)) == len(names)

    def test_length_counts_whatever_the_kind(self) -> None:
        decoy = self.named("length only")
        by_total: dict[int, set[float]] = {}
        for condition, rate in zip(decoy.plan.conditions, decoy.rates(), strict=True):
            by_total.setdefault(condition.n_harmful + condition.n_benign, set()).add(float(rate))
        assert all(len(rates) == 1 for rates in by_total.values())
        assert len(by_total) > 5

    def test_only_the_last_four_count_under_recency(self) -> None:
        decoy = self.named("recency only")
        rate = dict(zip([c.id for c in decoy.plan.conditions], decoy.rates(), strict=True))
        assert rate["h8-b0"] == rate["h32-b64-suffix"] > rate["h32-b32-interleave"]
        assert rate["h32-b4-prefix"] == rate["h8-b64-prefix"] == rate["h0-b0"]

    def test_random_orders_differ_from_point_to_point(self) -> None:
        decoy = replace(
            self.named("recency only"),
            design=Design(500, ordered=tuple(mixture(32, 32, ordering) for ordering in Ordering)),
        )
        seen = decoy.observed(np.random.default_rng(1))
        place = [c.ordering for c in decoy.plan.conditions].index(Ordering.RANDOM)
        near = seen.harmful_near[place]
        assert (seen.harmful_near[:place] == -1).all()
        assert near.min() >= 0
        assert near.mean() == pytest.approx(4, abs=0.2)
        few, many = seen.complied[place][near < 4].mean(), seen.complied[place][near > 4].mean()
        assert few < many

    def test_a_hump_has_no_slope(self) -> None:
        decoy = self.named("hump over N_b")
        rates = decoy.rates()[1:7]
        slope, _ = np.polyfit(benign_weights(decoy.plan)[1:7], np.log(rates / (1 - rates)), 1)
        assert slope == pytest.approx(0, abs=1e-9)
        assert np.ptp(rates) > 0.09

    def test_shares_of_words_add_up_and_the_right_ones_are_counted(self) -> None:
        lines = decoys.measure(Repeats(4), [self.named("planted dilution")])
        assert columns_of(lines)[0] == list(decoys.COLUMNS)
        (row,) = [line for line in lines if line.startswith("| planted dilution | β2")]
        assert "| dilution | 100.0 % (51.0–100.0) | met | dilution 100.0 % |" in row

    def test_every_kind_of_decoy_answers_its_questions(self) -> None:
        coin = np.random.default_rng(1)
        for decoy in {type(decoy): decoy for decoy in decoys.DECOYS}.values():
            smaller = replace(decoy, design=replace(decoy.design, queries=30))
            assert decoy.right.keys() <= smaller.repeat(coin).words.keys()


class TestParts:
    """Each part of the benchmark makes its tables."""

    def test_nulls_have_their_columns(self) -> None:
        rows = nulls.Nulls(
            [replace(nulls.JOINT[0], design=SMALL)],
            [replace(nulls.TOTAL[0], design=replace(nulls.TOTAL[0].design, queries=30))],
            [nulls.ORDER[1]],
            [nulls.FILLED[1]],
        )
        assert columns_of(nulls.measure(Repeats(2), rows)) == [
            list(nulls.JOINT_COLUMNS),
            list(nulls.TOTAL_COLUMNS),
            list(nulls.OTHER_COLUMNS),
        ]

    def test_no_equivalence_hides_at_the_small_margin(self) -> None:
        null = replace(nulls.JOINT[1], design=Design(200))
        said = [null.repeat(np.random.default_rng(seed)) for seed in range(5)]
        assert all(one.tiny is not Effect.NONE for one in said)
        assert any(one.word is Effect.NONE for one in said)

    def test_coverage_has_its_columns(self) -> None:
        truths = [replace(coverage.TRUTHS[0], design=SMALL)]
        assert columns_of(coverage.measure(Repeats(2), truths)) == [list(coverage.COLUMNS)]

    def test_the_corrected_rates_of_a_judge_that_errs_are_held_against_the_truth(self) -> None:
        (truth,) = [truth for truth in coverage.TRUTHS if truth.name == "judge .75 / .98"]
        held = replace(truth, design=SMALL).repeat(np.random.default_rng(1))
        assert set(held.corrected[1:]) <= {0, 1}
        assert held.corrected.mean() > 0.5

    def test_the_published_slopes_keep_their_words(self) -> None:
        for row in published.TABLE:
            assert row.word()[0] is row.finding

    def test_a_standard_error_gives_back_the_published_p_value(self) -> None:
        llama = published.TABLE[1]
        assert llama.se == pytest.approx(0.00756, abs=1e-4)

    def test_the_command_prints_the_section(self, capsys: pytest.CaptureFixture[str]) -> None:
        findings.main(["--part", "published"])
        printed = capsys.readouterr().out.splitlines()
        assert printed[0] == "## Published slopes in a receipt's words"
        assert columns_of(printed) == [list(published.COLUMNS)]


class TestRepeats:
    """Random numbers depend on seed and name alone."""

    def test_a_simulation_gives_the_same_whatever_runs_beside_it(self) -> None:
        first, second = nulls.ORDER[1], nulls.FILLED[1]
        alone = Repeats(3, seed=5).of("alone", [second])
        rows: list[Simulation[bool]] = [first, second]
        both = Repeats(3, seed=5).of("both", rows)
        assert alone[0] == both[1]

    def test_processes_change_no_result(self) -> None:
        null = replace(nulls.TOTAL[0], design=replace(nulls.TOTAL[0].design, queries=30))
        assert Repeats(30).of("one", [null]) == Repeats(30, jobs=2).of("two", [null])

    def test_a_share_states_its_wilson_interval(self) -> None:
        assert f"{Share(5, 100)}" == "5.0 % (2.2–11.2)"
        assert f"{Share(0, 0)}" == "–"
