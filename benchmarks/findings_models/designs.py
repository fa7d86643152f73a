"""Plans of simulated studies: real plans of synthetic checkpoints, in any design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

from safety_receipts.receipts.events.grid import condition_id, distinct_lists
from safety_receipts.receipts.events.synthetic import (
    PAPER_QUARTERS,
    PAPER_TOTALS,
    Mixture,
    synthetic_plan,
)
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import (
    Experiment,
    ExperimentKind,
    Ordering,
    PlannedCondition,
)
from safety_receipts.receipts.model.plan import PlanPredicate

HARMFUL: Final = (8, 16, 32)
BENIGN: Final = (0, 4, 8, 16, 32, 64)
"""The fixed-harmful grid: 18 conditions."""
FILLER: Final = SourceName("filler")

Cells = tuple[Mixture, ...]


def mixture(n_harmful: int, n_benign: int, ordering: Ordering = Ordering.SUFFIX) -> Mixture:
    """Return a mixture; its order is dropped where there is nothing to order."""
    return Mixture(n_harmful, n_benign, ordering if n_harmful and n_benign else None)


def fixed_harmful(
    harmful: Sequence[int] = HARMFUL, orderings: Sequence[Ordering] = (Ordering.SUFFIX,)
) -> Cells:
    """Return the fixed-harmful grid, each order with its own mixed conditions."""
    return tuple(
        dict.fromkeys(
            mixture(n_harmful, n_benign, ordering)
            for ordering in orderings
            for n_harmful in harmful
            for n_benign in BENIGN
        )
    )


def sweep() -> Cells:
    """Return the 30 mixtures of the main sweep."""
    return tuple(
        mixture(total * quarters // 4, total - total * quarters // 4)
        for total in PAPER_TOTALS
        for quarters in PAPER_QUARTERS
    )


MAIN: Final = fixed_harmful()
"""The grid in ``suffix`` order."""


@dataclass(frozen=True)
class Design:
    """How many of what; every query is asked in every condition."""

    queries: int
    """Queries."""
    draws: int = 2
    """Samplings of demonstrations a query."""
    block: int | Literal["all"] = 1
    """Queries that share a list."""
    fixed: Cells = MAIN
    """Mixtures of the fixed-harmful experiment."""
    swept: Cells = ()
    """Mixtures of the sweep."""
    ordered: Cells = ()
    """Mixtures of the comparison of orders."""
    with_filler: bool = False
    """Whether the fixed-harmful mixtures are run again with a filler source."""
    margin: str = "0.05"
    """Effect margin."""

    @cached_property
    def plan(self) -> PlanPredicate:
        """The plan, with a baseline in first place."""
        cells = dict.fromkeys((mixture(0, 0), *self.fixed, *self.swept, *self.ordered))
        made = synthetic_plan(list(cells), {"simulated": self.queries}, draws=self.draws)
        of = dict(zip(cells, made.conditions, strict=True))
        fillers = tuple(map(_with_filler, self._filled(of))) if self.with_filler else ()
        chosen = {
            ExperimentKind.SWEEP: [of[cell] for cell in self.swept],
            ExperimentKind.FIXED_HARMFUL: [of[cell] for cell in self.fixed],
            ExperimentKind.ORDERINGS: [of[cell] for cell in self.ordered],
            ExperimentKind.BENIGN_SOURCES: [*self._filled(of), *fillers],
        }
        conditions = (*made.conditions, *fillers)
        experiments = tuple(
            Experiment(kind=kind, conditions=tuple(c.id for c in conditions if c in members))
            for kind, members in chosen.items()
            if members
        )
        shown, (benign,) = made.demonstrations, made.demonstrations.benign
        pools = (benign, benign.model_copy(update={"name": FILLER})) if fillers else (benign,)
        plan = made.model_copy(
            update={
                "demonstrations": shown.model_copy(
                    update={"draw_block": self.block, "benign": pools}
                ),
                "effect_margin": self.margin,
                "experiments": experiments,
                "conditions": conditions,
                "points": len(conditions) * self.queries * self.draws,
            }
        )
        counted = plan.demonstrations.model_copy(update={"distinct_lists": distinct_lists(plan)})
        return plan.model_copy(update={"demonstrations": counted})

    @property
    def size(self) -> str:
        """Queries × draws, and lists."""
        lists = distinct_lists(self.plan)
        return f"{self.queries:,} × {self.draws}, {lists:,} lists"

    def at_margin(self, margin: str) -> Design:
        """Return the design with another effect margin."""
        return replace(self, margin=margin)

    def _filled(self, of: dict[Mixture, PlannedCondition]) -> list[PlannedCondition]:
        return [of[cell] for cell in self.fixed if cell.n_benign] if self.with_filler else []


def _with_filler(condition: PlannedCondition) -> PlannedCondition:
    name = condition_id(
        condition.n_harmful, condition.n_benign, condition.ordering, benign_source=FILLER
    )
    return condition.model_copy(update={"id": name, "benign_source": FILLER})
