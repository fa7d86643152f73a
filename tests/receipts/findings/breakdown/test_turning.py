"""No false labels turn a slope that weigh less than the bound, and some weigh hardly more."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.many_fits import fit_many
from safety_receipts.receipts.findings.breakdown.shares import slope_limits
from safety_receipts.receipts.findings.breakdown.turning import TurningPrice
from safety_receipts.receipts.findings.breakdown.urns import MOST_TICKETS, FittedSlope
from safety_receipts.receipts.findings.fits.clusters import Floats
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.model.findings import Effect

CLOSE = 0.01
"""Part by which the bound may lie below what labels by the fraction weigh at least."""


def slopes(covariates: Floats, box: CountBox, complied: Floats) -> Floats:
    return fit_many(covariates, complied, box.planned)[:, -1]


def weight(box: CountBox, weights: Floats, complied: Floats) -> Floats:
    """Return what labels weigh that make other compliances of a record."""
    above = complied - (box.complied + box.unjudged)
    return np.asarray(
        (weights * np.maximum(0.0, np.maximum(above, box.complied - complied))).sum(1)
    )


def record(
    harmful: list[int], benign: list[int], planned: int, seed: int, slope: float = -0.5
) -> tuple[Floats, CountBox, np.random.Generator]:
    rng = np.random.default_rng(seed)
    covariates = joint_covariates(np.array(harmful, float), np.array(benign, float))
    beta = rng.normal(0, 0.3, covariates.shape[1])
    beta[-1] = slope
    number = np.full(len(harmful), float(planned))
    complied = rng.binomial(planned, 1 / (1 + np.exp(-covariates @ beta))).astype(float)
    unjudged = np.minimum(number - complied, rng.integers(0, 2, len(harmful)))
    return covariates, CountBox(complied, unjudged, number), rng


@pytest.mark.parametrize(
    ("harmful", "benign"),
    [([8, 8, 8], [0, 4, 32]), ([4, 4, 16], [0, 16, 4]), ([8, 32, 8, 32], [0, 0, 16, 16])],
    ids=["one number of harmful ones", "two", "a square"],
)
@pytest.mark.parametrize("limit", [0.0, 0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_bound_is_that_of_all_labellings(
    harmful: list[int], benign: list[int], limit: float, seed: int
) -> None:
    planned = {3: 36, 4: 16}[len(harmful)]
    covariates, box, rng = record(harmful, benign, planned, seed)
    weights = rng.integers(1, 6, len(harmful)).astype(float)
    every = np.array(list(product(range(planned + 1), repeat=len(harmful))), float)
    turned = every[slopes(covariates, box, every) >= limit]
    least = weight(box, weights, turned).min()
    found = TurningPrice(covariates, box, weights).of(1, limit)
    whole = weights.sum()  # labels are whole, and the bound is of parts of them
    assert least - whole - CLOSE * least <= found <= least + 1e-9
    price = TurningPrice(covariates, box, weights)
    assert price.is_at_least(0.999 * found, 1, limit)
    assert not price.is_at_least(least + 1e-6, 1, limit)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_no_labels_turn_it_for_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(4, 30))
    harmful = rng.choice([0, 2, 8, 32], number).tolist()
    benign = [0, 64, *rng.choice([0, 1, 4, 16, 64], number - 2)]
    covariates, box, rng = record(harmful, benign, int(rng.integers(20, 200)), seed, -0.3)
    if np.linalg.matrix_rank(covariates) < covariates.shape[1]:
        return
    weights = rng.integers(0, 11, number).astype(float)
    sign = 1 if slopes(covariates, box, box.complied[None])[0] < 0 else -1
    found = TurningPrice(covariates, box, weights).of(sign, 0.0)
    ends = np.where(rng.random((400, number)) < 0.5, 0.0, box.planned)
    share = rng.random((400, 1))
    tried = np.rint(box.complied + share * (ends - box.complied))
    tried[:200, rng.permutation(number)[: number // 2]] = box.complied[0]
    tried = tried.clip(0, box.planned)
    turned = tried[sign * slopes(covariates, box, tried) >= 0]
    assert (weight(box, weights, turned) >= found - 1e-6).all()


@pytest.mark.parametrize("levels", [(8, 16, 32), (0, 1, 2, 4, 6, 8, 12, 16, 24, 32)])
@pytest.mark.parametrize("seed", [1, 3, 7, 9, 11])
def test_labels_that_weigh_hardly_more_turn_it(seed: int, levels: tuple[int, ...]) -> None:
    """Those of the most influence for their weight are turned, until the slope is at its limit."""
    harmful, benign = zip(*product(levels, (0, 4, 8, 16, 32, 64)), strict=True)
    covariates, box, _ = record(list(harmful), list(benign), 1000, seed, -0.3)
    fitted = FittedSlope(covariates, box, slope_limits(Effect.DILUTION, "0.05"))
    weights = np.array(fitted.tickets(), float)
    assert weights.max() == MOST_TICKETS
    found = TurningPrice(covariates, box, weights).of(1, 0.0)
    least = np.inf
    # One more condition moves at a time, as far as it takes; the order is that at the limit.
    flat = fit_many(covariates[:, :-1], box.complied[None], box.planned)[0]
    rates = 1 / (1 + np.exp(-covariates[:, :-1] @ flat))
    spread = np.sqrt(box.planned * rates * (1 - rates))
    rest = covariates[:, :-1] * spread[:, None]
    part = np.linalg.lstsq(rest, covariates[:, -1] * spread, rcond=None)[0]
    influence = covariates[:, -1] - covariates[:, :-1] @ part
    here = box.complied + np.where(influence > 0, box.unjudged, 0)
    for place in np.argsort(-np.abs(influence) / np.maximum(weights, 1e-9)):
        end = box.planned[place] if influence[place] > 0 else 0.0
        path = np.repeat(here[None], 201, axis=0)
        path[:, place] = np.linspace(here[place], end, 201)
        over = slopes(covariates, box, path) >= 0
        if over.any():
            least = float(weight(box, weights, path[over])[0])
            break
        here[place] = end
    assert found <= least
    assert found >= 0.97 * least


def test_what_is_turned_already_costs_nothing_and_what_none_turns_everything() -> None:
    covariates, box, _ = record([8, 8, 8], [0, 4, 32], 50, 3)
    assert TurningPrice(covariates, box, np.ones(3)).of(1, -3.0) == 0
    unjudged = CountBox(box.complied * 0, box.planned, box.planned)
    assert TurningPrice(covariates, unjudged, np.ones(3)).of(1, 0.0) == 0
    free = TurningPrice(covariates, box, np.zeros(3))
    assert free.of(1, 0.0) == 0


def test_a_slope_without_a_direction_has_no_limits() -> None:
    for effect in (Effect.MIXED, Effect.UNDETERMINED):
        with pytest.raises(ValueError, match="has no direction"):
            slope_limits(effect, "0.05")


def test_an_urn_holds_the_tickets_of_judged_points() -> None:
    covariates, box, _ = record([8, 8, 16, 16], [0, 32, 0, 32], 200, 5)
    for effect in (Effect.DILUTION, Effect.NONE):
        fitted = FittedSlope(covariates, box, slope_limits(effect, "2.0"))
        urn = fitted.urn(fitted.tickets())
        judged = box.planned - box.unjudged
        assert urn.recorded == (np.array(urn.tickets) * judged).sum()
        assert 0 < urn.hidden <= urn.recorded
        assert fitted.size(urn.tickets) == urn.recorded
        assert fitted.takes(urn.hidden, urn.tickets)
        assert not fitted.takes(urn.hidden + 0.02 * urn.recorded, urn.tickets)
