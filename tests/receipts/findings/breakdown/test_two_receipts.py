"""What false labels a difference between two receipts stands: known answers, and all corners."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.extremes import UNBOUNDED
from safety_receipts.receipts.findings.breakdown.many_fits import fit_many
from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.breakdown.two_receipts import difference_breakdown
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.receipt import Counts
from safety_receipts.receipts.view.words import difference_breakdown_words

KNOWN = Path(__file__).parents[3] / "golden" / "known-answer"
PAIR = ((8, 0), (8, 8))
FIVE = ((8, 0), (8, 8), (8, 64), (32, 0), (32, 64))


def grid(
    mixtures: Sequence[tuple[int, int]], complied: Sequence[int], planned: int, unscored: int = 0
) -> SealedGrid:
    """Return a receipt's conditions with so many compliances of so many points."""
    plan = synthetic_plan(
        [Mixture(h, b, Ordering.SUFFIX if b else None) for h, b in mixtures], {"alpha": 4}
    )
    counts = {
        condition.id: Counts(
            planned=planned,
            generated=planned,
            failed=0,
            refused=planned - number - unscored,
            complied=number,
            unscored=unscored,
            length_stopped=0,
        )
        for condition, number in zip(plan.conditions, complied, strict=True)
    }
    return SealedGrid(plan, plan.conditions, counts)


def extremes(side: SealedGrid, share: float) -> tuple[float, float, bool]:
    """Return the least and the largest slope over all corners, and whether all have a maximum."""
    ids = tuple(side.conditions)
    box, covariates = CountBox.of(side.counts, ids), side.covariates(ids)
    least, most = box.bounds(share)
    ways = np.array(list(product((False, True), repeat=len(ids))))
    fitted: Floats = fit_many(covariates, np.where(ways, most, least), box.planned)
    held = np.abs(fitted @ covariates.T).max() < 12 and np.abs(fitted[:, -1]).max() < UNBOUNDED
    return float(fitted[:, -1].min()), float(fitted[:, -1].max()), bool(held)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), unscored=st.sampled_from([0, 3]))
def test_the_difference_keeps_its_sign_in_all_corners_of_both_boxes_and_no_further(
    seed: int, unscored: int
) -> None:
    rng = np.random.default_rng(seed)
    benign = np.log([b + 1 for _, b in FIVE])
    sides = []
    for slope in (-0.3, 0.2):
        rates = 1 / (1 + np.exp(0.4 - slope * benign))
        complied = rng.binomial(190, rates)
        sides.append(grid(FIVE, complied.tolist(), 200, unscored))
    first, second = sides
    found = difference_breakdown(first, second, tuple(first.conditions), rises=True)
    assert found.share is not None
    for share, holds in ((float(found.share), True), (float(found.share) + 0.001, False)):
        (_, most, held), (least, _, also) = extremes(first, share), extremes(second, share)
        if held and also:
            assert (least - most > 1e-9) is holds
    (least_1, most_1, _), (least_2, most_2, _) = extremes(first, 0.05), extremes(second, 0.05)
    assert found.span.lower is not None
    assert found.span.upper is not None
    assert float(found.span.lower) == pytest.approx(least_2 - most_1, abs=2e-6)
    assert float(found.span.upper) == pytest.approx(most_2 - least_1, abs=2e-6)


def test_two_slopes_that_are_mirrored_meet_where_both_are_flat() -> None:
    falls, rises = grid(PAIR, (500, 400), 1000), grid(PAIR, (500, 600), 1000)
    ids = tuple(falls.conditions)
    # At .05 the rates of each are .45 and .45, or .55 and .55: both slopes are 0.
    there = difference_breakdown(falls, rises, ids, rises=True)
    back = difference_breakdown(rises, falls, ids, rises=False)
    assert there.share == back.share == "0.049"
    assert there.span.lower == "0.000000"
    assert back.span.upper == "0.000000"


def test_a_difference_said_the_wrong_way_round_stands_nothing() -> None:
    falls, rises = grid(PAIR, (500, 400), 1000), grid(PAIR, (500, 600), 1000)
    found = difference_breakdown(falls, rises, tuple(falls.conditions), rises=False)
    assert found.share is None


def test_points_of_either_receipt_without_a_judgement_can_turn_it_alone() -> None:
    falls, rises = grid(PAIR, (500, 400), 1000, 210), grid(PAIR, (500, 600), 1000)
    found = difference_breakdown(falls, rises, tuple(falls.conditions), rises=True)
    assert found.share is None
    assert difference_breakdown_words(found, 2) == (
        "The points that were not judged could by themselves turn this difference around."
    )


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("diluting", "neutral", "0.048"),
        ("diluting", "amplifying", "0.095"),
        ("neutral", "amplifying", "0.050"),
    ],
)
def test_known_answers_differ_by_so_many_false_labels(first: str, second: str, share: str) -> None:
    one, two = (Bundle(KNOWN / each).receipt.statement.predicate for each in (first, second))
    assert one.findings is not None
    assert one.findings.joint is not None
    ids = one.findings.joint.conditions
    found = difference_breakdown(SealedGrid.of(one), SealedGrid.of(two), ids, rises=True)
    assert found.share == share
