"""Populations whose marginal compliance rates are known by construction.

The logit of a point is

    offset(condition) + a(query) + s(query)·w(condition) + l(list) + m(list)·w(condition)

with independent normal a, s, l and m of mean 0; lists do nothing where none is shown.  A query's
rates are then correlated as those of one query are, and so are a list's.  The offset is set, by
Gauss–Hermite integration over the normals, so that the rate of a condition over all queries and
lists is exactly what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.events.grid import blocks, shows_draws
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    REASONS,
    REFUSED,
    UNKNOWN,
    UNSCORED,
)
from safety_receipts.receipts.findings.counts.observations import Observations as _Observations
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Reason

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_NODES, _MASSES = np.polynomial.hermite_e.hermegauss(120)
_SHARES: Final = _MASSES / _MASSES.sum()
_BISECTIONS: Final = 80


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the random effects, on the logit."""

    query: float = 1.5
    """Of a query's intercept."""
    query_slope: float = 0.0
    """Of its slope on the weight."""
    lists: float = 0.0
    """Of a list's intercept."""
    list_slope: float = 0.0
    """Of its slope on the weight."""

    def __str__(self) -> str:
        return f"{self.query:g} / {self.query_slope:g} / {self.lists:g} / {self.list_slope:g}"


@dataclass(frozen=True, eq=False)
class Population:
    """Queries and lists that a study is drawn from."""

    plan: PlanPredicate
    """The study."""
    rates: Floats
    """Marginal compliance rate of each condition, shape (conditions,)."""
    spread: Spread
    """Random effects."""
    weights: Floats
    """What the random slopes are on, shape (conditions,)."""
    greedy: bool = True
    """Whether draws of a condition that shows no demonstrations are one outcome, repeated."""

    @cached_property
    def shows(self) -> Bools:
        """Which conditions show demonstrations, shape (conditions,)."""
        return np.array([shows_draws(condition) for condition in self.plan.conditions])

    @cached_property
    def lists(self) -> NDArray[np.int64]:
        """List of each query and draw, shape (queries, draws)."""
        draws = self.plan.demonstrations.draws
        return np.array(blocks(self.plan))[:, None] * draws + np.arange(draws)

    @cached_property
    def offsets(self) -> Floats:
        """Offset of each condition, shape (conditions,)."""
        return offsets(self.rates, self.deviations)

    @cached_property
    def deviations(self) -> Floats:
        """Standard deviation of all random effects together, shape (conditions,)."""
        by_query = self.spread.query**2 + (self.spread.query_slope * self.weights) ** 2
        by_list = self.spread.lists**2 + (self.spread.list_slope * self.weights) ** 2
        result: Floats = np.sqrt(by_query + np.where(self.shows, by_list, 0.0))
        return result

    def complied(self, coin: np.random.Generator, given: Floats | None = None) -> Bools:
        """Return who complies, shape (conditions, queries, draws).

        Args:
            coin: Where chance comes from.
            given: Offsets in place of the conditions', same shape.
        """
        spread, weights = self.spread, self.weights[:, None, None]
        queries, draws = self.lists.shape
        listed = int(self.lists.max()) + 1
        intercept, slope = coin.normal(size=(2, queries, 1)) * [
            [[spread.query]],
            [[spread.query_slope]],
        ]
        logits = (self.offsets[:, None, None] if given is None else given) + intercept
        logits = logits + weights * slope
        if spread.lists or spread.list_slope:
            level = coin.normal(0, spread.lists, listed)[self.lists]
            slope = coin.normal(0, spread.list_slope, listed)[self.lists]
            logits = logits + self.shows[:, None, None] * (level + weights * slope)
        uniform = coin.random((len(self.rates), queries, draws))
        if self.greedy:
            uniform = np.where(self.shows[:, None, None], uniform, uniform[:, :, :1])
        found: Bools = uniform < probability(logits)
        return found

    def observations(self, coin: np.random.Generator) -> _Observations:
        """Return a study that judged every point right."""
        return observations(self.plan, self.complied(coin))


def offsets(rates: Floats, deviations: Floats) -> Floats:
    """Return o with E[expit(o + deviation·Z)] = rate, for a standard normal Z.

    Args:
        rates: Shape (n,), above 0 and below 1.
        deviations: Same shape.
    """
    low, high = np.full(len(rates), -60.0), np.full(len(rates), 60.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mean = probability(middle[:, None] + deviations[:, None] * _NODES) @ _SHARES
        low, high = np.where(mean < rates, middle, low), np.where(mean < rates, high, middle)
    result: Floats = (low + high) / 2
    return result


def observations(
    plan: PlanPredicate,
    complied: Bools,
    unscored: Bools | None = None,
    near: NDArray[np.int8] | None = None,
) -> _Observations:
    """Return points as the findings see them.

    Args:
        plan: Their plan.
        complied: Which complied, shape (conditions, queries, draws).
        unscored: Which the judge could not judge, same shape; None: none.
        near: Harmful demonstrations among the last eight, same shape; None: not known.
    """
    missing = np.zeros_like(complied) if unscored is None else unscored
    outcome = np.where(missing, UNSCORED, np.where(complied, COMPLIED, REFUSED)).astype(np.int8)
    shown = np.array([c.n_harmful + c.n_benign for c in plan.conditions], dtype=np.int64)
    unknown = np.full(complied.shape, UNKNOWN, dtype=np.int8)
    return _Observations(
        plan,
        outcome=outcome,
        reason=(missing * REASONS.index(Reason.JUDGE_NA)).astype(np.int8),
        at_limit=np.zeros_like(unknown),
        prompt_tokens=np.broadcast_to((24 + 58 * shown)[:, None, None], complied.shape),
        adopted=unknown,
        harmful_near=unknown if near is None else near,
    )


def of_counts(plan: PlanPredicate, level: float, harmful: float, benign: float) -> Floats:
    """Return the rates of the joint-count model, with marginal coefficients.

    logit rate = level + harmful·log(N_h+1) + benign·log(N_b+1)
    """
    n_harmful = np.array([condition.n_harmful for condition in plan.conditions], float)
    n_benign = np.array([condition.n_benign for condition in plan.conditions], float)
    return probability(level + harmful * np.log(n_harmful + 1) + benign * np.log(n_benign + 1))


def of_total(plan: PlanPredicate, level: float, total: float) -> Floats:
    """Return the rates of the total-count model: logit rate = level + total·log(N+1)."""
    number = np.array([c.n_harmful + c.n_benign for c in plan.conditions], float)
    return probability(level + total * np.log(number + 1))


def benign_weights(plan: PlanPredicate) -> Floats:
    """Return log(N_b+1) / log 65 of each condition: 1 at 64 benign demonstrations."""
    return np.array([log(c.n_benign + 1) / log(65) for c in plan.conditions])


def harmful_shares(plan: PlanPredicate) -> Floats:
    """Return N_h / N of each condition, 0 where there is none."""
    return np.array([c.n_harmful / max(1, c.n_harmful + c.n_benign) for c in plan.conditions])


def probability(logits: Floats) -> Floats:
    """Return expit of logits."""
    result: Floats = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    return result
