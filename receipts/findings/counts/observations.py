"""All points of an event as arrays: what every rate, test and fit is computed from.

An event is a full crossing, condition × query × draw, and its points arrive in that order, so
that six small arrays hold what the findings need: some ten bytes a point.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.events.grid import blocks
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason

OUTCOMES: Final = tuple(Outcome)
"""What the codes in :attr:`Observations.outcome` mean."""
REASONS: Final = (None, *Reason)
"""What the codes in :attr:`Observations.reason` mean."""
NEAR: Final = 8
"""Positions before the query whose harmful share is the position gradient's."""
UNKNOWN: Final = -1
"""Code of what a point does not have."""

REFUSED, COMPLIED, UNSCORED, FAILED = (
    OUTCOMES.index(outcome)
    for outcome in (Outcome.REFUSED, Outcome.COMPLIED, Outcome.UNSCORED, Outcome.FAILED)
)
_OUTCOME_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
_REASON_CODES = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, eq=False)
class Observations:
    """The points of one event.

    Arrays have shape (conditions, queries, draws), in the plan's orders.
    """

    plan: PlanPredicate
    outcome: NDArray[np.int8]
    """Index into :data:`OUTCOMES`."""
    reason: NDArray[np.int8]
    """Index into :data:`REASONS`."""
    at_limit: NDArray[np.int8]
    """1 where the response ended at the token limit."""
    prompt_tokens: NDArray[np.int64]
    """Length of the prompt."""
    adopted: NDArray[np.int8]
    """1 where the response starts with the demonstrated prefix, 0 where it does not, −1 where
    none is demonstrated or nothing was generated."""
    harmful_near: NDArray[np.int8]
    """Under ``random`` ordering the harmful demonstrations among the last :data:`NEAR`; else −1."""

    @cached_property
    def condition_places(self) -> dict[ConditionId, int]:
        """Condition id → place in the arrays."""
        return {condition.id: place for place, condition in enumerate(self.plan.conditions)}

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """Points that were called refused or complied."""
        found: NDArray[np.bool_] = (self.outcome == REFUSED) | (self.outcome == COMPLIED)
        return found

    @cached_property
    def complied(self) -> NDArray[np.bool_]:
        """Points that were called complied."""
        found: NDArray[np.bool_] = self.outcome == COMPLIED
        return found

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Place in ``plan.queries`` of each query's source, shape (queries,)."""
        selected = [source.selected for source in self.plan.queries]
        return np.repeat(np.arange(len(selected)), selected)

    @cached_property
    def harmful_queries(self) -> NDArray[np.bool_]:
        """Queries whose role is harmful, shape (queries,): all findings are about them."""
        roles = [source.role is QueryRole.HARMFUL for source in self.plan.queries]
        return np.array(roles, dtype=np.bool_)[self.sources]

    @cached_property
    def requests(self) -> NDArray[np.int64]:
        """Number of each query's request, shape (queries,): several sources may ask the same."""
        numbers = np.arange(len(self.plan.query_ids), dtype=np.int64)
        places = {query: place for place, query in enumerate(self.plan.query_ids)}
        for first, *others in self.plan.same_queries or ():
            numbers[[places[query] for query in others]] = places[first]
        return numbers

    @cached_property
    def lists(self) -> NDArray[np.int64]:
        """Number of the demonstration list of each query and draw, shape (queries, draws).

        Queries of a block share the list of a draw; lists of all conditions with one number
        are one list, cut at different lengths.
        """
        draws = self.plan.demonstrations.draws
        block = np.array(blocks(self.plan), dtype=np.int64)
        return block[:, None] * draws + np.arange(draws)

    @cached_property
    def lists_are_shared(self) -> bool:
        """Whether any two queries see the same demonstrations."""
        return len(np.unique(self.lists)) < self.lists.size

    def of_source(self, name: SourceName) -> NDArray[np.bool_]:
        """Return which queries are of a source, shape (queries,)."""
        names = [source.name for source in self.plan.queries]
        found: NDArray[np.bool_] = self.sources == names.index(name)
        return found


class Observer:
    """Collects points that arrive in plan order.

    Memory grows with the points that came, not with those that a plan announces.
    """

    def __init__(self, plan: PlanPredicate) -> None:
        self._plan = plan
        self._outcome, self._reason = array("b"), array("b")
        self._at_limit, self._adopted, self._near = array("b"), array("b"), array("b")
        self._tokens = array("q")

    def add(self, point: Point) -> None:
        """Take the next point."""
        self._outcome.append(_OUTCOME_CODES[point.outcome])
        self._reason.append(_REASON_CODES[point.reason])
        self._at_limit.append(point.finish is Finish.LENGTH)
        adopted, labels = point.prefix_adopted, point.labels
        self._adopted.append(UNKNOWN if adopted is None else adopted)
        self._near.append(UNKNOWN if labels is None else labels[-NEAR:].count("h"))
        self._tokens.append(point.prompt_tokens)

    def result(self) -> Observations:
        """Return what was collected.

        Raises:
            ValueError: Not all points of the plan came.
        """
        plan = self._plan
        shape = (len(plan.conditions), len(plan.query_ids), plan.demonstrations.draws)
        return Observations(
            plan,
            outcome=np.frombuffer(self._outcome, dtype=np.int8).reshape(shape),
            reason=np.frombuffer(self._reason, dtype=np.int8).reshape(shape),
            at_limit=np.frombuffer(self._at_limit, dtype=np.int8).reshape(shape),
            prompt_tokens=np.frombuffer(self._tokens, dtype=np.int64).reshape(shape),
            adopted=np.frombuffer(self._adopted, dtype=np.int8).reshape(shape),
            harmful_near=np.frombuffer(self._near, dtype=np.int8).reshape(shape),
        )


def observe(points: Iterable[Point], plan: PlanPredicate) -> Observations:
    """Return the arrays of all points of ``plan``, which are in plan order.

    Raises:
        ValueError: They are not all there.
    """
    observer = Observer(plan)
    for point in points:
        observer.add(point)
    return observer.result()
