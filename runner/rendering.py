"""From a point of the plan to the token ids of its prompt.

Pure in what it is given: a verifier who holds the artifacts renders the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from receipts.canonical import Sha256
from receipts.errors import UsageError
from receipts.grid import blocks, planned_point, shows_examples
from receipts.model.base import QueryId
from receipts.model.demonstrations import Ordering, PlannedCondition
from receipts.model.plan import PlanPredicate
from runner.contexts import messages
from runner.demonstrations import (
    DemonstrationList,
    DrawKey,
    demonstration_list,
    gap_turns,
    shown_labels,
)
from runner.plan import Artifacts
from runner.prompts import prompt_digest


@dataclass(frozen=True, slots=True)
class RenderedPoint:
    """One evaluation point, ready for an engine."""

    index: int
    """Place in plan order."""
    condition: PlannedCondition
    """Its condition."""
    query_id: QueryId
    """Id of its query."""
    query: str
    """Text of its query."""
    draw: int
    """Which sampling of demonstrations."""
    labels: str | None
    """Order of the demonstrations under ``random`` ordering; else None."""
    demonstrations: Sha256 | None
    """Digest of the list shown; None where nothing is."""
    tokens: Sequence[int]
    """Token ids of the prompt."""
    prompt: Sha256
    """Their digest."""


class Renderer:
    """Renders the points of one plan.

    Args:
        plan: The plan.
        artifacts: What its digests stand for.
        seed: The event's seed.
    """

    def __init__(self, plan: PlanPredicate, artifacts: Artifacts, seed: Sha256) -> None:
        self.plan = plan
        self._artifacts = artifacts
        self._seed = seed
        self._blocks = blocks(plan)
        self._places = {query: place for place, query in enumerate(plan.query_ids)}

    def render(self, index: int) -> RenderedPoint:
        """Return point ``index``.

        Raises:
            IndexError: The plan has no such point.
            UsageError: The chat template refuses the conversation, or drops part of it.
        """
        condition, query_id, draw = planned_point(self.plan, index)
        key, labels, shown = self._shown(condition, query_id, draw)
        query = self._query(query_id)
        conversation = messages(
            condition.context,
            shown.items,
            query,
            system=self._artifacts.system,
            gap=gap_turns(
                self._artifacts.pools, condition, key, self.plan.demonstrations.truncation
            ),
        )
        try:
            tokens = self._artifacts.chat.tokens(
                conversation,
                date=self.plan.prompt.date,
                options=self.plan.prompt.template_options,
            )
        except UsageError as error:
            where = f"condition {condition.id}, query {query_id}, draw {draw}"
            raise UsageError(error.message, file=error.file, place=where, hint=error.hint) from None
        return RenderedPoint(
            index=index,
            condition=condition,
            query_id=query_id,
            query=query,
            draw=draw,
            labels=labels if condition.ordering is Ordering.RANDOM else None,
            demonstrations=shown.digest if shows_examples(condition) else None,
            tokens=tokens,
            prompt=prompt_digest(tokens),
        )

    def shown(self, index: int) -> tuple[str, DemonstrationList]:
        """Return the query of point ``index`` and the demonstrations before it, as texts."""
        condition, query_id, draw = planned_point(self.plan, index)
        return self._query(query_id), self._shown(condition, query_id, draw)[2]

    def _shown(
        self, condition: PlannedCondition, query_id: QueryId, draw: int
    ) -> tuple[DrawKey, str, DemonstrationList]:
        key = DrawKey(self._seed, self._blocks[self._places[query_id]], draw)
        labels = shown_labels(condition, key)
        truncation = self.plan.demonstrations.truncation
        pools = self._artifacts.pools
        return key, labels, demonstration_list(pools, condition, labels, key, truncation)

    def _query(self, query_id: QueryId) -> str:
        return self._artifacts.queries[self._places[query_id]]

    def __iter__(self) -> Iterator[RenderedPoint]:
        return map(self.render, range(self.plan.points))
