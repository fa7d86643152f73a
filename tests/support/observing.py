"""Points with planted chances: a plan of any conditions, and outcomes drawn as they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.events.grid import (
    blocks,
    condition_id,
    default_context,
    distinct_lists,
    fixed_labels,
)
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    NEAR,
    REFUSED,
    UNKNOWN,
    Observations,
)
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Experiment,
    ExperimentKind,
    Ordering,
    PlannedCondition,
    ShownContext,
)
from safety_receipts.receipts.model.plan import PlanPredicate

Floats = NDArray[np.float64]
DEFAULT = "benign-proxy"
"""Default benign source."""


@dataclass(frozen=True)
class Cell:
    """A condition, as an experiment asks for it."""

    n_harmful: int
    n_benign: int
    ordering: Ordering = Ordering.SUFFIX
    """Where both kinds are shown."""
    source: str = DEFAULT
    """Of the benign demonstrations."""
    prefix: str | None = None
    form: ContextForm = ContextForm.TURNS


@dataclass(frozen=True, eq=False)
class Asked:
    """Where the points of a condition stand."""

    condition: PlannedCondition
    """The condition."""
    query: NDArray[np.int64]
    """Number of the query, shape (queries, 1)."""
    draw: NDArray[np.int64]
    """Number of the draw, shape (1, draws)."""
    near: NDArray[np.int8]
    """Harmful demonstrations among the last 8 under ``random``, else −1; (queries, draws)."""


Chance = Callable[[Asked], Floats | float]
"""Gives probabilities that broadcast to (queries, draws)."""


def plan_of(
    experiments: Sequence[tuple[ExperimentKind, Sequence[Cell]]],
    *,
    queries: int = 60,
    controls: int = 0,
    draws: int = 2,
    draw_block: int = 1,
    sources: Sequence[str] = (DEFAULT,),
) -> PlanPredicate:
    """Return a coherent plan of the cells that experiments ask for, after the baseline."""
    asked = list(dict.fromkeys([Cell(0, 0), *(c for _, cells in experiments for c in cells)]))
    prefixes = tuple(dict.fromkeys(cell.prefix for cell in asked if cell.prefix is not None))
    forms = dict.fromkeys([ContextForm.TURNS, *(cell.form for cell in asked)])
    planned = {cell: _condition(cell, sources[0], prefixes) for cell in asked}
    base = synthetic_plan(
        [Mixture(0, 0, None)],
        {"alpha": queries},
        controls={"control": controls} if controls else None,
        draws=draws,
    )
    pool = base.demonstrations.benign[0]
    benign = tuple(pool.model_copy(update={"name": SourceName(name)}) for name in sources)
    shown = base.demonstrations.model_copy(update={"benign": benign, "draw_block": draw_block})
    plan = base.model_copy(
        update={
            "conditions": tuple({c.id: c for c in planned.values()}.values()),
            "contexts": tuple(map(_context, forms)),
            "response_prefixes": prefixes,
            "demonstrations": shown,
            "experiments": (
                *base.experiments,
                *(
                    Experiment(kind=kind, conditions=_ids(planned[cell] for cell in cells))
                    for kind, cells in experiments
                ),
            ),
        }
    )
    shown = shown.model_copy(update={"distinct_lists": distinct_lists(plan)})
    points = len(plan.conditions) * len(plan.query_ids) * draws
    plan = plan.model_copy(update={"demonstrations": shown, "points": points})
    assert list(plan_problems(plan)) == []
    return plan


def observed(
    plan: PlanPredicate,
    complies: Chance,
    *,
    adopts: tuple[float, float] = (0.5, 0.5),
    seed: int = 0,
) -> Observations:
    """Return points that comply, and adopt a demonstrated prefix, with planted chances.

    Args:
        plan: The plan.
        complies: Chance of compliance.
        adopts: Chance that a refusal adopts the prefix, and that a compliance does.
        seed: Of numpy's generator.
    """
    rng = np.random.default_rng(seed)
    draws = plan.demonstrations.draws
    shape = (len(plan.conditions), len(plan.query_ids), draws)
    near = np.full(shape, UNKNOWN, dtype=np.int8)
    adopted = near.copy()
    tokens = np.zeros(shape, dtype=np.int64)
    complied = np.zeros(shape, dtype=np.bool_)
    block = np.array(blocks(plan))
    query, draw = np.arange(shape[1])[:, None], np.arange(draws)[None, :]
    for place, condition in enumerate(plan.conditions):
        n_harmful, n_benign = condition.n_harmful, condition.n_benign
        if condition.ordering is Ordering.RANDOM:
            last = min(NEAR, n_harmful + n_benign)
            lists = rng.hypergeometric(n_harmful, n_benign, last, (block[-1] + 1, draws))
            near[place] = lists[block]
        where = Asked(condition, query, draw, near[place])
        complied[place] = rng.random(shape[1:]) < complies(where)
        tokens[place] = 24 + 58 * (n_harmful + n_benign)
        if condition.response_prefix is not None:
            chance = np.where(complied[place], adopts[1], adopts[0])
            adopted[place] = rng.random(shape[1:]) < chance
    outcome = np.where(complied, COMPLIED, REFUSED).astype(np.int8)
    nothing = np.zeros(shape, dtype=np.int8)
    return Observations(plan, outcome, nothing, nothing, tokens, adopted, near)


def spoiled(observations: Observations, where: Any, outcome: int) -> Observations:
    """Return the same points, but for one outcome code at some places of the array."""
    changed, adopted = observations.outcome.copy(), observations.adopted.copy()
    changed[where] = outcome
    if outcome == FAILED:
        adopted[where] = UNKNOWN
    return replace(observations, outcome=changed, adopted=adopted)


def study_of(observations: Observations) -> StudyPoints:
    """Return a study that is fitted with numpy alone."""
    return StudyPoints(observations, newton)


def logistic(logit: Floats | float) -> Floats:
    """Return probabilities of logits."""
    found: Floats = 1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64)))
    return found


def _ids(conditions: Iterable[PlannedCondition]) -> tuple[ConditionId, ...]:
    return tuple(dict.fromkeys(condition.id for condition in conditions))


def _context(form: ContextForm) -> ShownContext:
    if form is ContextForm.TURNS:
        return default_context()
    return ShownContext(
        form=form,
        role="system",
        template=sha256_hex(f"{form.value} template".encode()),
        gap_turns=0,
        gap_source=None,
        n_refusal=0,
    )


def _condition(cell: Cell, default: str, prefixes: tuple[str, ...]) -> PlannedCondition:
    ordering = cell.ordering if cell.n_harmful and cell.n_benign else None
    source = SourceName(cell.source) if cell.n_benign else None
    return PlannedCondition(
        id=condition_id(
            cell.n_harmful,
            cell.n_benign,
            ordering,
            benign_source=None if source == default else source,
            prefix_number=None if cell.prefix is None else prefixes.index(cell.prefix) + 1,
            context=None if cell.form is ContextForm.TURNS else cell.form,
        ),
        n_harmful=cell.n_harmful,
        n_benign=cell.n_benign,
        ordering=ordering,
        labels=fixed_labels(ordering, cell.n_harmful, cell.n_benign),
        benign_source=source,
        response_prefix=cell.prefix,
        context=_context(cell.form),
    )
