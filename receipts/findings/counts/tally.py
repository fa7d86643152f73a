"""Counting the points of a condition: everything its rates and intervals are computed from.

Counts are exact integers: numpy adds them up in 64 bits, which they cannot leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.events.grid import shows_draws
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    REASONS,
    REFUSED,
    Observations,
)
from safety_receipts.receipts.findings.counts.requests import by_request
from safety_receipts.receipts.model.judge import IntervalMethod
from safety_receipts.receipts.model.point import Reason
from safety_receipts.receipts.model.receipt import Counts

FEWEST_LISTS: Final = 20
"""With fewer lists, shared by queries, their variance cannot be estimated."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Products of two conditions' sums over clusters of judged points; both may be one condition.

    With n_g judged and c_g complied points in cluster g, and m_g and d_g those of the other
    condition.
    """

    clusters: int
    """Clusters in which both have a judged point."""
    cc: int
    """Σ c_g·d_g."""
    cn: int
    """Σ c_g·m_g."""
    nc: int
    """Σ n_g·d_g."""
    nn: int
    """Σ n_g·m_g."""


def count_true(chosen: NDArray[np.bool_]) -> int:
    """Count what is true, as one of Python's own integers."""
    return int(np.count_nonzero(chosen))


def products(c: Integers, n: Integers, d: Integers, m: Integers) -> Sums:
    """Return the sums of products over clusters.

    Args:
        c: Complied points, shape (clusters,).
        n: Judged points.
        d: Complied points of the other condition.
        m: Judged points of the other condition.
    """
    return Sums(
        clusters=count_true((n > 0) & (m > 0)),
        cc=int(c @ d),
        cn=int(c @ m),
        nc=int(n @ d),
        nn=int(n @ m),
    )


class Selection:
    """Some queries of an event.

    Args:
        observations: The event's points.
        queries: Which queries, shape (queries,).
    """

    def __init__(self, observations: Observations, queries: NDArray[np.bool_]) -> None:
        self.queries = queries
        self._requests = observations.requests[queries]
        lists = observations.lists[queries] if observations.lists_are_shared else None
        if lists is not None and lists.size:
            lists = lists - lists.min()
            if np.bincount(lists.ravel()).max() < 2:
                lists = None
        self.lists = lists
        """List of each query and draw, shape (selected, draws); None: no two queries share one."""

    def by_query(self, points: NDArray[np.bool_]) -> Integers:
        """Count points, shape (selected, draws), by query; queries that ask the same are one."""
        counted: Integers = points.sum(axis=1, dtype=np.int64)
        return by_request(counted, self._requests)

    def distinct(self, points: NDArray[np.bool_]) -> int:
        """Count points, shape (selected, draws), those of one request and draw once."""
        return count_true(by_request(points.astype(np.int64), self._requests) > 0)

    def by_list(self, points: NDArray[np.bool_]) -> Integers:
        """Count points, shape (selected, draws), by list."""
        assert self.lists is not None
        return np.bincount(self.lists[points], minlength=int(self.lists.max()) + 1)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over the points of one condition and some queries."""

    refused: int
    complied: int
    unscored: int
    failed: int
    length_stopped: int
    prompt_tokens: int
    """Sum over generated points."""
    distinct_prompts: int
    by_query: Sums
    """Clusters are queries; those of several sources that ask the same are one."""
    by_list: Sums | None
    """Clusters are demonstration lists; None where no two judged points share one."""

    distinct: int
    """Judged points, those of one request and draw counted once."""

    @property
    def judged(self) -> int:
        """Points called refused or complied."""
        return self.refused + self.complied

    @property
    def counts(self) -> Counts:
        """The closed denominators."""
        generated = self.judged + self.unscored
        return Counts(
            planned=generated + self.failed,
            generated=generated,
            failed=self.failed,
            refused=self.refused,
            complied=self.complied,
            unscored=self.unscored,
            length_stopped=self.length_stopped,
        )

    @property
    def method(self) -> IntervalMethod:
        """What the interval of the rate takes to be correlated."""
        if self.by_list is None:
            return IntervalMethod.WILSON_CLUSTERED
        if self.by_list.clusters < FEWEST_LISTS:
            return IntervalMethod.WILSON_CLUSTERED_GIVEN_LISTS
        return IntervalMethod.WILSON_CLUSTERED_TWO_WAY


def tally(observations: Observations, place: int, selection: Selection) -> Tally:
    """Return the sums over one condition.

    Args:
        observations: The event's points.
        place: The condition's place.
        selection: Over which queries.
    """
    queries = selection.queries
    outcome = observations.outcome[place][queries]
    complied = observations.complied[place][queries]
    judged = observations.judged[place][queries]
    generated = outcome != FAILED
    c, n = selection.by_query(complied), selection.by_query(judged)
    total, number = count_true(generated), int(np.count_nonzero(judged))
    shows = shows_draws(observations.plan.conditions[place])
    by_list = None
    if shows and selection.lists is not None:
        listed = selection.by_list(complied), selection.by_list(judged)
        by_list = products(*listed, *listed)
        if by_list.clusters == number:
            by_list = None
    return Tally(
        refused=count_true(outcome == REFUSED),
        complied=count_true(outcome == COMPLIED),
        unscored=total - number,
        failed=outcome.size - total,
        length_stopped=count_true(observations.at_limit[place][queries]),
        prompt_tokens=_exact_sum(observations.prompt_tokens[place][queries][generated]),
        distinct_prompts=total if shows else count_true(generated.any(axis=1)),
        by_query=products(c, n, c, n),
        by_list=by_list,
        distinct=selection.distinct(judged),
    )


def reasons(observations: Observations, place: int, selection: Selection) -> dict[Reason, int]:
    """Count the reasons why points of a condition are unscored or failed; those that occur."""
    found = observations.reason[place][selection.queries]
    numbers = ((reason, count_true(found == code)) for code, reason in enumerate(REASONS))
    return {reason: number for reason, number in numbers if reason is not None and number}


def _exact_sum(values: Integers) -> int:
    # Lengths that a dishonest line states may add up to more than 64 bits.
    high, low = values >> 32, values & 0xFFFFFFFF
    return (int(high.sum()) << 32) + int(low.sum())
