"""The second verifier derives the findings of events with effects, shared lists and gaps."""

from __future__ import annotations

import importlib
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from observing import Asked, Cell, Chance, logistic, observed, plan_of, spoiled

from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.findings.counts.observations import (
    FAILED,
    OUTCOMES,
    UNSCORED,
    Observations,
)
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate
from safety_receipts.receipts.model.point import Outcome

chores = partial(Cell, source="chores")
BOTH = (Ordering.SUFFIX, Ordering.PREFIX)
FIXED = (
    ExperimentKind.FIXED_HARMFUL,
    [chores(h, b, order) for order in BOTH for h in (4, 16) for b in (0, 4, 16)],
)
EXPERIMENTS = [
    (ExperimentKind.SWEEP, [chores(8 * k // 4, 8 - 8 * k // 4) for k in range(5)]),
    FIXED,
    (ExperimentKind.ORDERINGS, [chores(8, 8, order) for order in Ordering]),
    (
        ExperimentKind.RESPONSE_PREFIX,
        [chores(4, 16, prefix="Answer:"), chores(16, 4, prefix="Reply:")],
    ),
    (
        ExperimentKind.BENIGN_SOURCES,
        [Cell(4, b, source=s) for s in ("chores", "filler", "letters") for b in (8, 16)],
    ),
    (ExperimentKind.CONTEXTS, [chores(4, 16), chores(4, 16, form=ContextForm.TOOL)]),
]
plan_with = partial(plan_of, sources=("chores", "filler", "letters"))


@pytest.fixture(scope="module")
def second() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module("independent_findings")


def law(benign: float = -0.5, recency: float = 1.5, at: float = -1.0, own: float = 1.0) -> Chance:
    """A law in which chores dilute or amplify, and the order counts."""

    def chance(where: Asked) -> np.ndarray:
        shown = where.condition
        diluted = shown.n_benign if shown.benign_source == "chores" else 0
        logit = at + 0.4 * np.log(shown.n_harmful + 1) + benign * np.log(diluted + 1)
        logit += recency * (shown.ordering is Ordering.SUFFIX)
        near = np.maximum(0, where.near) / 8
        return logistic(logit + near + own * np.sin(1.7 * where.query) + 0.5 * np.cos(where.draw))

    return chance


def with_gaps(observations: Observations) -> Observations:
    """Return the points with one in eleven unscored and one in thirty failed."""
    places = np.arange(observations.outcome.size).reshape(observations.outcome.shape)
    return spoiled(spoiled(observations, places % 11 == 5, UNSCORED), places % 30 == 7, FAILED)


def lines(observations: Observations) -> list[dict[str, Any]]:
    """Return what evidence lines say of the points, as far as findings need it."""
    plan, found = observations.plan, []
    for place in np.ndindex(observations.outcome.shape):
        condition, query = plan.conditions[place[0]], plan.query_ids[place[1]]
        near, adopted = int(observations.harmful_near[place]), int(observations.adopted[place])
        found.append(
            {
                "condition": condition.id,
                "query": query,
                "source": source_of(query),
                "draw": place[2],
                "outcome": OUTCOMES[observations.outcome[place]].value,
                "labels": None if near < 0 else "b" * (9 - near) + "h" * near,
                "prefixAdopted": None if adopted < 0 else bool(adopted),
                "promptTokens": int(observations.prompt_tokens[place]),
            }
        )
    return found


def apart(second: ModuleType, observations: Observations) -> tuple[list[str], dict[str, Any]]:
    """Return where the second verifier differs from the first, and what the first derives."""
    sealed = derive(observations).to_wire()
    problems = second.apart(sealed, second.derive(observations.plan.to_wire(), lines(observations)))
    return list(problems), sealed


def follows(second: ModuleType, observations: Observations) -> dict[str, Any]:
    problems, sealed = apart(second, observations)
    assert problems == []
    return sealed


@pytest.mark.parametrize("gaps", [False, True])
def test_it_agrees_where_no_list_is_shared(second: ModuleType, gaps: bool) -> None:
    observations = observed(plan_with(EXPERIMENTS, queries=60, controls=3), law(benign=-0.9))
    sealed = follows(second, with_gaps(observations) if gaps else observations)
    assert all(part is not None for part in sealed.values())
    joint = sealed["joint"]
    assert joint["clusters"]["method"] == "query"
    assert joint["effect"] == "dilution" or gaps
    assert (joint["unscored"]["points"] > 0) is gaps
    assert joint["lackOfFit"]["p"] is not None
    assert sealed["orderings"][0]["verdict"] == "recency"
    assert sealed["sources"]["lengthMatched"][0]["effect"] == "dilution"
    assert len(sealed["formats"]) == 2


@pytest.mark.parametrize("gaps", [False, True])
def test_it_agrees_where_twenty_lists_are_shared(second: ModuleType, gaps: bool) -> None:
    plan = plan_with(EXPERIMENTS, queries=60, draws=20, draw_block=60)
    observations = observed(plan, law(benign=0.3, at=-2.5), adopts=(0.01, 0.9))
    sealed = follows(second, with_gaps(observations) if gaps else observations)
    assert sealed["joint"]["clusters"]["method"] == "query-and-list"
    assert sealed["joint"]["clustered"]["df"] == 19
    assert sealed["total"]["verdict"] == "rejected"


def test_it_agrees_where_lists_cross_queries_in_blocks(second: ModuleType) -> None:
    plan = plan_with([FIXED, EXPERIMENTS[2]], queries=50, draws=3, draw_block=4)
    sealed = follows(second, with_gaps(observed(plan, law(benign=0.5, recency=0.0))))
    assert sealed["joint"]["clusters"] == {
        "queries": 50,
        "lists": 39,
        "method": "query-and-list",
    }


@pytest.mark.parametrize(
    ("queries", "draws", "block", "grounds"),
    [(60, 3, 60, "few-lists"), (20, 2, 1, "few-queries")],
)
def test_it_agrees_where_nothing_is_concluded(
    second: ModuleType, queries: int, draws: int, block: int, grounds: str
) -> None:
    plan = plan_with(EXPERIMENTS, queries=queries, draws=draws, draw_block=block)
    sealed = follows(second, observed(plan, law()))
    assert sealed["joint"]["grounds"] == grounds
    assert sealed["sources"]["slopes"][0]["grounds"] == grounds
    assert sealed["tests"] == []


def rare(where: Asked) -> np.ndarray:
    """A law under which few queries ever comply, those less often beside benign ones."""
    few = (where.query % 4 == 0) & (where.condition.n_harmful > 0)
    return np.where(few, 0.6 / (1 + where.condition.n_benign), 0.0) + 0 * where.draw


def opposite(where: Asked) -> np.ndarray:
    """A law with dilution at one number of harmful demonstrations, amplification at another."""
    turned = 0.8 if where.condition.n_harmful > 4 else -0.8
    logit = turned * np.log(where.condition.n_benign + 1) + np.sin(where.query)
    return logistic(logit - 0.5) + 0 * where.draw


def flat(where: Asked) -> np.ndarray:
    """A law in which nothing counts."""
    return np.full(np.broadcast_shapes(where.query.shape, where.draw.shape), 0.4)


def bent(where: Asked) -> np.ndarray:
    """A law under which compliance falls with some benign ones, and rises again with more."""
    return flat(where) - 0.25 * (where.condition.n_benign == 4)


def wide(plan: PlanPredicate) -> PlanPredicate:
    return plan.model_copy(update={"effect_margin": "0.2"})


@pytest.mark.parametrize(
    ("chance", "queries", "draws", "grounds"),
    [
        (rare, 100, 1, "permuted"),
        (rare, 60, 2, "permuted"),
        (opposite, 60, 4, "opposite-signs"),
        (flat, 80, 8, "equivalent"),
        (bent, 80, 8, "lack-of-fit"),
        (flat, 40, 1, "neither"),
    ],
)
def test_it_agrees_on_every_ground(
    second: ModuleType, chance: Chance, queries: int, draws: int, grounds: str
) -> None:
    observations = observed(wide(plan_with([FIXED], queries=queries, draws=draws)), chance)
    assert follows(second, observations)["joint"]["grounds"] == grounds
    sealed = follows(second, with_gaps(observations))
    assert sealed["joint"]["unscored"]["asComplied"] is not None


@pytest.mark.parametrize(
    ("chance", "draws", "block"),
    [(flat, 2, 1), (flat, 20, 90), (rare, 1, 1), (rare, 2, 3)],
)
def test_it_agrees_where_queries_ask_the_same(
    second: ModuleType, chance: Chance, draws: int, block: int
) -> None:
    plan = plan_with(EXPERIMENTS, queries=90, draws=draws, draw_block=block)
    ids = plan.query_ids
    groups = ((ids[0], ids[40]), (ids[3], ids[5], ids[89]), (ids[60], ids[61]))
    plan = plan.model_copy(update={"same_queries": groups})
    sealed = follows(second, observed(plan, chance))
    assert sealed["joint"]["clusters"]["queries"] == 86
    assert (sealed["joint"]["permutation"] is not None) is (chance is rare)


def test_it_agrees_where_the_word_depends_on_unscored_points(second: ModuleType) -> None:
    observations = observed(plan_with([FIXED], queries=60), law(benign=-0.9))
    assert follows(second, observations)["joint"]["grounds"] == "significant"
    benign = np.array([condition.n_benign for condition in observations.plan.conditions])
    hidden = (benign > 0)[:, None, None] & (observations.outcome == OUTCOMES.index(Outcome.REFUSED))
    sealed = follows(second, spoiled(observations, hidden, UNSCORED))
    assert sealed["joint"]["effect"] == "undetermined"


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_it_agrees_where_there_is_no_fit(second: ModuleType, chance: float) -> None:
    sealed = follows(second, observed(plan_with(EXPERIMENTS, queries=35), lambda _: chance))
    assert sealed["joint"]["asPublished"] is None
    assert sealed["sources"] is None


def test_it_agrees_where_outcomes_part_at_one_condition(second: ModuleType) -> None:
    def parted(where: Asked) -> np.ndarray:
        return flat(where) * (where.condition.n_benign == 0)

    sealed = follows(second, observed(plan_with(EXPERIMENTS, queries=60), parted))
    assert sealed["joint"]["clustered"] is None
    assert sealed["joint"]["effect"] == "dilution"


def test_it_agrees_where_slopes_have_no_error(second: ModuleType) -> None:
    def alike(where: Asked) -> np.ndarray:
        return 0 * flat(where) + (where.condition.n_benign == 4)

    sealed = follows(second, observed(plan_with([FIXED], queries=60), alike))
    assert sealed["joint"]["clustered"] is None
    assert sealed["joint"]["informativeQueries"] == 60
    assert sealed["joint"]["permutation"]["permutations"] == 1999


def test_it_agrees_where_few_queries_inform_about_a_source(second: ModuleType) -> None:
    sealed = follows(second, observed(plan_with(EXPERIMENTS, queries=80), rare))
    slopes = sealed["sources"]["slopes"]
    assert {slope["grounds"] for slope in slopes} == {"few-informative"}


def test_it_agrees_where_a_sweep_is_all_there_is(second: ModuleType) -> None:
    plan = plan_with([EXPERIMENTS[0]], queries=60)
    sealed = follows(second, with_gaps(observed(plan, law(at=0.0))))
    assert sealed["joint"]["lackOfFit"]["df"] == 3
    assert sealed["jointInOtherOrders"] is None


def test_it_agrees_where_all_conditions_show_one_number_of_harmful_ones(
    second: ModuleType,
) -> None:
    one = (ExperimentKind.FIXED_HARMFUL, [chores(4, benign) for benign in (0, 4, 16)])
    sealed = follows(second, with_gaps(observed(plan_with([one], queries=60), law())))
    assert sealed["joint"]["clustered"]["beta1"] is None


@pytest.mark.parametrize("primary", list(Hypothesis))
def test_it_agrees_on_the_primary_family(second: ModuleType, primary: Hypothesis) -> None:
    plan = plan_with(EXPERIMENTS, queries=60).model_copy(update={"primary": primary})
    sealed = follows(second, observed(plan, law()))
    named = [test["name"] for test in sealed["tests"] if test["role"] == "primary"]
    assert {name.partition("/")[0] for name in named} == {primary.value}
    assert any(Decimal(test["adjusted"]) > Decimal(test["p"]) for test in sealed["tests"])


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_on_coin_flips(second: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, draws = int(rng.integers(30, 50)), int(rng.integers(1, 4))
    plan = plan_with(EXPERIMENTS, queries=queries, draws=draws, draw_block=int(rng.integers(1, 3)))
    chances = rng.random((len(plan.conditions), queries, 1)) ** 2
    places = {condition.id: place for place, condition in enumerate(plan.conditions)}
    observations = observed(plan, lambda where: chances[places[where.condition.id]], seed=seed)
    follows(second, with_gaps(observations))


def test_a_number_that_does_not_follow_is_named(second: ModuleType) -> None:
    observations = observed(plan_with([FIXED], queries=40), law())
    plan, sealed = observations.plan.to_wire(), derive(observations).to_wire()
    second.check_findings(sealed, plan, lines(observations))
    sealed["joint"]["clustered"]["se2"] = "0.000001"
    with pytest.raises(ValueError, match=r"clustered\.se2 is 0\.000001, not "):
        second.check_findings(sealed, plan, lines(observations))
