"""Synthetic events: coherent, reproducible, and said to be what they are."""

from __future__ import annotations

from collections import Counter

import pytest

from safety_receipts.receipts.canonical import event_seed, sha256_hex
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.events.grid import random_labels, shows_draws
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    Mixture,
    paper_sweep,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Outcome

MIXTURES = [Mixture(0, 0, None), Mixture(3, 2, Ordering.RANDOM), Mixture(0, 4, None)]


def test_the_papers_sweep_has_31_conditions() -> None:
    """N ∈ {4 … 128} × φ ∈ {0, ¼, ½, ¾, 1}, and the baseline."""
    sweep = paper_sweep()
    assert len(set(sweep)) == len(sweep) == 31
    assert sweep[0] == Mixture(0, 0, None)
    totals = Counter(mixture.n_harmful + mixture.n_benign for mixture in sweep[1:])
    assert totals == dict.fromkeys((4, 8, 16, 32, 64, 128), 5)
    for mixture in sweep:
        both = mixture.n_harmful > 0 and mixture.n_benign > 0
        assert mixture.ordering is (Ordering.SUFFIX if both else None)


def test_a_synthetic_plan_says_what_it_is() -> None:
    plan = synthetic_plan(MIXTURES, {"alpha": 3})
    assert plan_problems(plan) == []
    assert plan.instrument
    assert plan.engine is ENVIRONMENT.engine is EngineKind.MOCK
    assert plan.checkpoint.name == "synthetic"


def test_the_same_plan_gives_the_same_points() -> None:
    plan, digest = synthetic_plan(MIXTURES, {"alpha": 5}), sha256_hex(b"plan")
    first = list(synthetic_points(plan, digest))
    assert first == list(synthetic_points(plan, digest))
    other = list(synthetic_points(plan, sha256_hex(b"another plan")))
    assert [point.outcome for point, _ in first] != [point.outcome for point, _ in other]


def test_every_record_opens_its_point_and_labels_follow_from_the_seed() -> None:
    plan, digest = synthetic_plan(MIXTURES, {"alpha": 5}), sha256_hex(b"plan")
    conditions = {condition.id: condition for condition in plan.conditions}
    seed = event_seed(digest, None)
    for point, record in synthetic_points(plan, digest):
        assert record.problem(point, plan) is None
        condition = conditions[point.condition]
        expected = None
        if condition.ordering is Ordering.RANDOM:
            block = plan.query_ids.index(point.query)
            expected = random_labels(seed, condition, block, point.draw)
        assert point.labels == expected


def test_one_prompt_has_one_outcome() -> None:
    """As under greedy decoding: draws that show nothing repeat the point."""
    plan = synthetic_plan(MIXTURES, {"alpha": 40}, draws=3)
    outcomes: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for point, record in synthetic_points(plan, sha256_hex(b"plan")):
        outcomes.setdefault((point.condition, point.query), set()).add(
            (record.prompt, point.prompt_tokens)
        )
    for condition in plan.conditions:
        distinct = {len(v) for (id_, _), v in outcomes.items() if id_ == condition.id}
        assert distinct == ({3} if shows_draws(condition) else {1})


def test_outcomes_come_in_the_stated_shares() -> None:
    plan = synthetic_plan([Mixture(0, 0, None), Mixture(4, 0, None)], {"alpha": 3000}, draws=1)
    counts = Counter(point.outcome for point, _ in synthetic_points(plan, sha256_hex(b"plan")))
    shares = {outcome: counts[outcome] / 6000 for outcome in Outcome}
    assert shares[Outcome.COMPLIED] == pytest.approx(0.285, abs=0.02)
    assert shares[Outcome.UNSCORED] == pytest.approx(0.01, abs=0.005)
    assert shares[Outcome.FAILED] == pytest.approx(0.005, abs=0.004)
