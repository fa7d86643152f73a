"""How many false labels it takes, at least, to turn a slope.

A box (:mod:`.boxes`) allows false labels in every condition at once. Here they are counted over all
conditions together, each with the weight of its condition, and the least sum is asked for at which
the fitted slope reaches a limit.

A slope depends on labels through the compliances y of each condition. It has reached a limit b
where, at some coefficients θ of the other covariates z, the logit with slope b fits all of them
but the slope: Σ z (y − n·p) = 0 and Σ x (y − n·p) ≥ 0, n being planned points, p the logit's
rates and x the slope's covariate. For one θ the least weight of such labels is a linear program,
and every combination of these equations bounds it from below by a knapsack with divisible items,
which is solved by taking what gains most for its weight. At the θ of the least weight the best
combination is the influence: x less what the others explain of it, weighted by n·p·(1 − p); for
the sum of influence · n · p does not change with θ there. All θ are covered by cells, each bounded
as a whole (branch and bound: Land and Doig, Econometrica 28, 1960), so that the result is a lower
bound wherever it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.fits.clusters import Floats

_EDGES: Final = (-np.inf, -8.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0)
"""Where the first cells below 0 part, in logits; those above 0 are their mirror image."""
_CLOSE_ENOUGH: Final = 0.002
"""Part by which the result may lie below the least weight."""
_MOST_CELLS: Final = 20_000
"""Cells of a chart after which the bound is what it is."""
_SETTLED: Final = 1e-9
"""Rates that lie between two as near as this are known."""
_STEEPEST: Final = 0.09623
"""More than the largest second derivative of the logistic function, 1 / (6·√3)."""
_FARTHEST: Final = 700.0
"""A logit is cut to ± this, where exp does not overflow."""
_STEPS: Final = 16
"""Steps towards the best mixture of equations."""
_FINITE: Final = 4.0
"""How far from its one edge the middle of an endless cell is taken to lie, in logits."""


class TurningPrice:
    """The least weight of false labels with which a slope reaches a limit.

    Args:
        covariates: Shape (conditions, 2 or 3): a constant, another but in short fits, the slope's.
        box: The sealed counts; points that were not judged may be either, and cost nothing.
        weights: Weight of a false label of each condition, shape (conditions,), not negative.
    """

    def __init__(self, covariates: Floats, box: CountBox, weights: Floats) -> None:
        self._charts = [
            _ChartSearch(chart, covariates[:, -1], box, weights) for chart in _charts(covariates)
        ]
        """What is spanned by the other covariates, in pieces."""

    def of(self, sign: int, limit: float) -> float:
        """Return a lower bound of it, at most :data:`_CLOSE_ENOUGH` below it where cells suffice.

        Args:
            sign: 1: the slope rises to a limit; −1: it falls to it.
            limit: The limit.

        Returns:
            0 where it is reached already; infinity where no labels reach it.
        """
        return self._search(sign, limit, None)

    def is_at_least(self, weight: float, sign: int, limit: float) -> bool:
        """Say whether cells show that it is as much as that.

        No tolerance of a search goes into it: what one machine finds another one can show.

        Args:
            weight: As much as that.
            sign: As :meth:`of`.
            limit: Likewise.
        """
        return self._search(sign, limit, weight) >= weight

    def _search(self, sign: int, limit: float, wanted: float | None) -> float:
        """Return a lower bound: of at least ``wanted`` if that can be shown, else a close one."""
        nearest, settled = np.inf, np.inf
        for chart in self._charts:
            found, nearest = chart.search(sign, limit, wanted, nearest)
            settled = min(settled, found)
            if wanted is not None and settled < wanted:
                break
        return settled


class _ChartSearch:
    """Searches one chart of the other coefficients.

    Args:
        chart: The chart.
        slope: The slope's covariate, shape (conditions,).
        box: As of :class:`TurningPrice`.
        weights: Likewise.
    """

    def __init__(self, chart: _Chart, slope: Floats, box: CountBox, weights: Floats) -> None:
        self._first, self._basis, self._slope = _first_cells(chart), chart.basis, slope
        self._planned, self._weights = box.planned, weights
        self._least, self._most = box.complied, box.complied + box.unjudged

    def search(
        self, sign: int, limit: float, wanted: float | None, nearest: float
    ) -> tuple[float, float]:
        """Return a lower bound, as :meth:`TurningPrice._search`, and what was nearest.

        Args:
            sign: As :meth:`TurningPrice.of`.
            limit: Likewise.
            wanted: What is to be shown; None: a close bound is looked for.
            nearest: The least that was met in the middle of a cell, in other charts.
        """
        low, high = self._first
        settled, met = np.inf, 0
        while len(low):
            met += len(low)
            bounds = self._quick_bounds(low, high, sign, limit)
            enough = nearest * (1 - _CLOSE_ENOUGH) if wanted is None else wanted
            open_ = bounds < enough
            if open_.any():
                closer, inside = self._bounds(low[open_], high[open_], sign, limit)
                bounds[open_] = np.maximum(bounds[open_], closer)
                nearest = min(nearest, float(inside.min()))
                if wanted is not None and nearest < wanted:
                    return nearest, nearest  # smaller cells would not show it either
                enough = nearest * (1 - _CLOSE_ENOUGH) if wanted is None else wanted
                open_ = bounds < enough
            if met > _MOST_CELLS:
                return float(min(settled, bounds.min())), nearest
            open_ &= self._is_open(low, high, limit)
            settled = min(settled, float(bounds[~open_].min(initial=np.inf)))
            low, high = _halved(low[open_], high[open_])
        return settled, nearest

    def _is_open(self, low: Floats, high: Floats, limit: float) -> NDArray[np.bool_]:
        """Say in which cells rates are not settled yet: elsewhere smaller ones say no more."""
        _, (least, most), _ = self._logits(low, high, limit)
        return np.asarray((most - least).max(axis=1) > _SETTLED)

    def _quick_bounds(self, low: Floats, high: Floats, sign: int, limit: float) -> Floats:
        """Return lower bounds of the weight over cells, by single equations.

        Args:
            low: Shape (cells, parameters).
            high: Likewise.
            sign: As :meth:`search`.
            limit: Likewise.

        Returns:
            Shape (cells,).
        """
        logits, bounds, _ = self._logits(low, high, limit)
        influence = sign * self._influence(_logistic(logits))
        found = self._knapsack(influence, self._boxed(influence, bounds))
        for row in (*self._basis.T, np.ones(len(self._slope))):
            for way in (1.0, -1.0):
                others = np.broadcast_to(way * row, influence.shape)
                found = np.maximum(found, self._knapsack(others, self._boxed(others, bounds)))
        return found

    def _bounds(self, low: Floats, high: Floats, sign: int, limit: float) -> tuple[Floats, Floats]:
        """Return lower bounds by all equations together, over cells and at their middles.

        Args:
            low: As :meth:`_quick_bounds`.
            high: Likewise.
            limit: Likewise.
            sign: Likewise.

        Returns:
            Shape (cells,) each.
        """
        logits, bounds, ends = self._logits(low, high, limit)
        rates = _logistic(logits)
        mixed, inside = self._mixed(sign * self._influence(rates), rates)
        near_low, near_high = _finite(low, high)
        reached = self._curved(mixed, rates, (logits, *ends), (near_high - near_low) / 2)
        reached = np.maximum(reached, self._boxed(mixed, bounds))
        return self._knapsack(mixed, reached), inside

    def _mixed(self, influence: Floats, rates: Floats) -> tuple[Floats, Floats]:
        """Return the influence with as much of the other equations as bounds the weight best.

        The best mixture is looked for by steps, which are halved where none leads further.

        Args:
            influence: Shape (cells, conditions).
            rates: At the middles of the cells.

        Returns:
            The mixtures, and the weight that they take at the middles, shape (cells,).
        """
        best = influence
        found = self._knapsack(best, (best * self._planned * rates).sum(axis=1))
        step = np.abs(influence).max(axis=1, keepdims=True)
        ways = [np.array(way) for way in product((-1, 0, 1), repeat=self._basis.shape[1])]
        for _ in range(_STEPS):
            here, better = best, np.zeros(len(found), bool)
            for way in ways:
                tried = here + step * (self._basis @ way)
                value = self._knapsack(tried, (tried * self._planned * rates).sum(axis=1))
                gains = value > found
                best = np.where(gains[:, None], tried, best)
                found, better = np.where(gains, value, found), better | gains
            step = np.where(better[:, None], step, step / 2)
        return best, found

    def _logits(
        self, low: Floats, high: Floats, limit: float
    ) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return the logits at the middles of cells, and between what rates and logits lie."""
        added = limit * self._slope
        near_low, near_high = _finite(low, high)
        logits = (near_low + near_high) / 2 @ self._basis.T + added
        least = _weighted(low, high, self._basis) + added
        most = added - _weighted(-high, -low, self._basis)
        return logits, (_logistic(least), _logistic(most)), (least, most)

    def _influence(self, rates: Floats) -> Floats:
        """Return the slope's covariate less what the others explain of it, at some rates each."""
        weights = self._planned * rates * (1 - rates) + 1e-9  # so that none vanish
        pairs = self._basis[:, :, None] * self._basis[:, None, :]
        information = np.einsum("kc,cij->kij", weights, pairs)
        explained = (weights * self._slope) @ self._basis
        part = np.linalg.solve(information, explained[:, :, None])[:, :, 0]
        found: Floats = self._slope - part @ self._basis.T
        return found

    def _boxed(self, factors: Floats, rates: tuple[Floats, Floats]) -> Floats:
        """Return the least Σ factor · n · p where each rate lies between two."""
        low, high = rates
        least: Floats = (self._planned * factors * np.where(factors > 0, low, high)).sum(axis=1)
        return least

    def _curved(
        self,
        influence: Floats,
        rates: Floats,
        logits: tuple[Floats, Floats, Floats],
        half: Floats,
    ) -> Floats:
        """Return another bound of the least Σ influence · n · p in cells: Taylor's, of degree two.

        Args:
            influence: Shape (cells, conditions).
            rates: At the middles.
            logits: At the middles, the least and the most.
            half: Half the width of each cell, shape (cells, parameters).
        """
        middle, least, most = logits
        slopes = influence * self._planned * rates * (1 - rates)
        down = (np.abs(slopes @ self._basis) * half).sum(axis=1)
        away = np.maximum(most - middle, middle - least)
        finite = np.asarray(np.isfinite(away).all(axis=1))
        away = np.where(finite[:, None], away, 0.0)
        low, high = _logistic(least), _logistic(most)
        steepest = np.maximum(low * (1 - low), high * (1 - high))
        astride = (low < 0.5) & (high > 0.5)
        steepest = np.where(astride, _STEEPEST, np.minimum(steepest, _STEEPEST))
        bent = (np.abs(influence) * self._planned * steepest * away**2).sum(axis=1) / 2
        found = (influence * self._planned * rates).sum(axis=1) - down - bent
        return np.where(finite, found, -np.inf)

    def _knapsack(self, factors: Floats, reached: Floats) -> Floats:
        """Return the least weight of false labels for which Σ factor · y reaches something.

        Args:
            factors: Shape (cells, conditions).
            reached: Shape (cells,).
        """
        up = factors > 0
        gain = np.abs(factors) * np.where(up, self._planned - self._most, self._least)
        weight = self._weights * np.where(up, self._planned - self._most, self._least)
        needed = reached - (factors * np.where(up, self._most, self._least)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.where(weight > 0, gain / weight, np.where(gain > 0, np.inf, 0.0))
        order = np.argsort(-worth, axis=1, kind="stable")
        gain = np.take_along_axis(gain, order, axis=1)
        weight = np.take_along_axis(weight, order, axis=1)
        after = gain.cumsum(axis=1)
        missing = needed[:, None] - (after - gain)
        taken = np.where(gain > 0, missing / np.where(gain > 0, gain, 1.0), 0.0).clip(0, 1)
        total = (taken * weight).sum(axis=1)
        return np.where(needed <= 0, 0.0, np.where(needed > after[:, -1], np.inf, total))


@dataclass(frozen=True, eq=False)
class _Chart:
    """Some of the lines that the other covariates span, each by its logits at two of their values.

    Between values next to each other, at which logits have other signs: there they run to infinity
    on both sides, and all others beyond them.
    """

    basis: Floats
    """Logits of the conditions by the parameters, shape (conditions, parameters)."""
    signs: tuple[int, ...]
    """Of each parameter: 1: it is above 0; −1: below; 0: anything."""


def _charts(covariates: Floats) -> list[_Chart]:
    """Return charts that hold all lines between them."""
    if covariates.shape[1] == 2:
        return [_Chart(np.ones((len(covariates), 1)), (0,))]
    other = covariates[:, 1]
    values = np.unique(other)
    ends = _between(other, float(values[0]), float(values[-1]))
    charts = [_Chart(ends, (1, 1)), _Chart(ends, (-1, -1))]
    for one, next_ in pairwise(values.tolist()):
        basis = _between(other, one, next_)
        charts += [_Chart(basis, (-1, 1)), _Chart(basis, (1, -1))]
    return charts


def _between(other: Floats, one: float, next_: float) -> Floats:
    """Return how a line through two values of a covariate makes the logits at all of them."""
    part = (other - one) / (next_ - one)
    return np.column_stack([1 - part, part])


def _first_cells(chart: _Chart) -> tuple[Floats, Floats]:
    low_edges, high_edges = [], []
    for sign in chart.signs:
        below, above = np.array(_EDGES), -np.array(_EDGES[::-1])
        edges = {-1: below, 1: above, 0: np.concatenate([below, above[1:]])}[sign]
        low_edges.append(edges[:-1])
        high_edges.append(edges[1:])
    low, high = np.meshgrid(*low_edges, indexing="ij"), np.meshgrid(*high_edges, indexing="ij")
    return (
        np.stack([one.ravel() for one in low], axis=1),
        np.stack([one.ravel() for one in high], axis=1),
    )


def _finite(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return cells of which endless ones are cut."""
    return (
        np.where(np.isfinite(low), low, high - _FINITE),
        np.where(np.isfinite(high), high, low + _FINITE),
    )


def _weighted(low: Floats, high: Floats, basis: Floats) -> Floats:
    """Return the least of ``ends @ basis.T`` for ends between two, which may be infinite."""
    up, down = np.maximum(basis, 0.0), np.minimum(basis, 0.0)
    with np.errstate(invalid="ignore"):
        parts = np.where(up > 0, low[:, None, :] * up, 0.0)
        parts += np.where(down < 0, high[:, None, :] * down, 0.0)
        total: Floats = parts.sum(axis=2)
    return np.where(np.isnan(total), -np.inf, total)


def _logistic(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-logits.clip(-_FARTHEST, _FARTHEST)))
    return found


def _halved(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return cells cut in two along every parameter, endless ones at twice their edge."""
    for place in range(low.shape[1]):
        ends = low[:, place], high[:, place]
        with np.errstate(invalid="ignore"):
            between = (ends[0] + ends[1]) / 2
        at = np.where(
            np.isinf(ends[0]), 2 * ends[1], np.where(np.isinf(ends[1]), 2 * ends[0], between)
        )
        below, above = high.copy(), low.copy()
        below[:, place] = above[:, place] = at
        low, high = np.concatenate([low, above]), np.concatenate([below, high])
    return low, high
