"""What a plan's own numbers can decide, held to fits and to chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.findings.outlook import (
    SUPPOSED_RATES,
    PrimaryOutlook,
    draw_block_words,
    planned_freedom,
    primary_outlook,
    undecided_words,
)
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import Experiment, ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import Grounds
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate

KNOWN = Path(__file__).parents[2] / "golden" / "known-answer"
SUFFIX = Ordering.SUFFIX
GRID = [Mixture(h, b, SUFFIX if h and b else None) for h in (4, 8) for b in (0, 8, 32)]


def outlook(queries: int = 200, *, mixtures: Any = GRID, **changes: Any) -> PrimaryOutlook:
    plan = synthetic_plan([Mixture(0, 0, None), *mixtures], {"alpha": queries})
    return primary_outlook(plan.model_copy(update=changes))


@pytest.mark.parametrize("name", ["diluting", "amplifying", "neutral", "recency"])
def test_the_error_expected_is_that_of_the_fit(name: str) -> None:
    """Real responses, of models whose law is known: at their own rate, within a third."""
    bundle = Bundle(KNOWN / name)
    receipt = bundle.receipt.statement.predicate
    found = primary_outlook(bundle.plan.statement.predicate)
    assert receipt.findings is not None
    assert receipt.findings.joint is not None
    assert receipt.findings.joint.clustered is not None
    assert found.conditions == len(receipt.findings.joint.conditions)
    assert found.queries == receipt.findings.joint.clusters.queries
    assert found.grounds is None
    assert undecided_words(found) is None
    rates = [
        float(one.compliance_rate or 0)
        for one in receipt.conditions
        if one.id in receipt.findings.joint.conditions
    ]
    errors = {one.rate: (one.detectable or 0) / (1.959964 + 0.841621) for one in found.supposed}
    spread = np.sqrt([rate * (1 - rate) for rate in (0.2, np.mean(rates))])
    expected = errors[0.2] * spread[0] / spread[1]
    assert 2 / 3 < float(receipt.findings.joint.clustered.se2) / expected < 4 / 3


def test_the_power_is_the_share_of_studies_that_find_the_effect() -> None:
    """Two rates that differ by the stated size, tested 4,000 times."""
    found = outlook(
        300,
        mixtures=[Mixture(8, 8, order) for order in (SUFFIX, Ordering.PREFIX)],
        primary=Hypothesis.ORDERING,
        experiments=_orderings(["h8-b8-suffix", "h8-b8-prefix"]),
    )
    half = found.supposed[SUPPOSED_RATES.index(0.5)]
    assert half.detectable is not None
    draw = np.random.default_rng(7)
    low, high = 0.5 - half.detectable / 2, 0.5 + half.detectable / 2
    one, other = (draw.binomial(600, rate, 4000) / 600 for rate in (low, high))
    error = np.sqrt((one * (1 - one) + other * (1 - other)) / 600)
    assert np.mean(abs(one - other) > 1.959964 * error) == pytest.approx(0.8, abs=0.03)


def _orderings(ids: list[str]) -> tuple[Experiment, ...]:
    conditions = tuple(ConditionId(id_) for id_ in ids)
    return (Experiment(kind=ExperimentKind.ORDERINGS, conditions=conditions),)


def test_more_queries_show_smaller_effects() -> None:
    sizes = [outlook(queries).supposed[1].detectable or 0 for queries in (50, 200, 800)]
    assert sizes[0] == pytest.approx(2 * sizes[1]) == pytest.approx(4 * sizes[2])
    shown = [outlook(queries).supposed[2].none_shown or 0 for queries in (50, 800, 20_000)]
    assert shown == sorted(shown)
    assert shown[-1] > 0.9


@pytest.mark.parametrize(
    ("queries", "grounds", "words"),
    [
        (29, Grounds.FEW_QUERIES, "29 queries of role harmful are fewer than 30"),
        (45, None, None),
    ],
)
def test_few_queries_decide_nothing(
    queries: int, grounds: Grounds | None, words: str | None
) -> None:
    found = outlook(queries)
    assert found.grounds is grounds
    said = undecided_words(found)
    assert (said is None) == (words is None)
    assert words is None or words in (said or "")


@pytest.mark.parametrize(("block", "few"), [(1, False), (20, False), (25, True), ("all", True)])
def test_few_shared_lists_decide_nothing(block: Any, few: bool) -> None:
    plan: PlanPredicate = synthetic_plan([Mixture(0, 0, None), *GRID], {"alpha": 200})
    drawn = plan.demonstrations.model_copy(update={"draw_block": block})
    found = primary_outlook(plan.model_copy(update={"demonstrations": drawn}))
    assert (found.grounds is Grounds.FEW_LISTS) == few
    assert ("shared demonstration lists are fewer than 20" in (undecided_words(found) or "")) == few
    assert (found.lists is None) == (block == 1)
    assert (planned_freedom(found) is None) == few


def test_what_a_draw_block_does_is_said_in_a_sentence() -> None:
    plan: PlanPredicate = synthetic_plan([Mixture(0, 0, None), *GRID], {"alpha": 200})

    def said(block: Any) -> tuple[int | None, str]:
        drawn = plan.demonstrations.model_copy(update={"draw_block": block})
        found = primary_outlook(plan.model_copy(update={"demonstrations": drawn}))
        return planned_freedom(found), draw_block_words(found)

    assert said(1) == (
        199,
        "Every query has lists of its own, so that queries are the only clusters: 199 degrees of "
        "freedom.",
    )
    assert said(20) == (
        19,  # ten blocks with two draws
        "Queries share 20 lists, which are clusters beside them: 19 degrees of freedom, and "
        "intervals that grow with what a list does to its queries.",
    )
    assert said("all") == (
        None,
        "Findings will be undetermined: queries share 2 of 20 lists that are needed.",
    )
    assert draw_block_words(outlook(29)) == (
        "Findings will be undetermined: 29 of role harmful, where 30 queries are needed."
    )


def test_of_a_query_asked_once_at_a_level_no_effect_is_expected_to_be_seen() -> None:
    """One number of benign demonstrations at each level: no query gives both outcomes at one."""
    found = outlook(200, mixtures=[Mixture(4, 0, None), Mixture(8, 8, SUFFIX)])
    assert [one.informative for one in found.supposed] == [0, 0, 0]
    assert "will hardly be decided" in (undecided_words(found) or "")
