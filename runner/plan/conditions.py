"""From experiments to conditions: the grid of a plan.

A condition that several experiments ask for is one condition.  The baseline comes first,
whether or not an experiment asks for it; the others follow in the order in which the plan
first asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from safety_receipts.receipts.events.grid import condition_id, default_context, fixed_labels
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Experiment,
    ExperimentKind,
    Ordering,
    PlannedCondition,
    ShownContext,
)
from safety_receipts.runner.plan.entries.experiments import (
    BenignSourcesEntry,
    ContextsEntry,
    ExperimentEntry,
    FixedHarmfulEntry,
    OrderingsEntry,
    ResponsePrefixEntry,
    SweepEntry,
)
from safety_receipts.runner.plan.entries.plan_file import PlanFile
from safety_receipts.runner.prompts.contexts import planned_context


@dataclass(frozen=True)
class Grid:
    """What the experiments of a plan come to."""

    conditions: tuple[PlannedCondition, ...]
    """Every condition once, the baseline first."""
    experiments: tuple[Experiment, ...]
    """Which conditions are read together, in the order of the plan."""
    contexts: tuple[ShownContext, ...]
    """Contexts; the first is the default."""
    response_prefixes: tuple[str, ...]
    """Response prefixes in the order of the plan."""


@dataclass(frozen=True)
class _Cell:
    """What an experiment asks for."""

    n_harmful: int
    n_benign: int
    ordering: Ordering = Ordering.SUFFIX
    source: SourceName | None = None
    """None: the default source."""
    prefix: str | None = None
    context: ShownContext = field(default_factory=default_context)


def expand(plan: PlanFile) -> Grid:
    """Return the grid that a plan's experiments ask for.

    Args:
        plan: A plan whose entries do not contradict each other
            (:func:`runner.plan.checks.contradictions`).
    """
    default_source = next(iter(plan.demonstrations.benign), None)
    prefixes = tuple(
        dict.fromkeys(
            prefix
            for entry in plan.experiments
            if entry.response_prefix is not None
            for prefix in entry.response_prefix.prefixes
        )
    )
    conditions: dict[ConditionId, PlannedCondition] = {}

    def take(cell: _Cell) -> ConditionId:
        condition = _condition(cell, default_source, prefixes)
        return conditions.setdefault(condition.id, condition).id

    take(_Cell(0, 0))
    asked = [
        (ExperimentKind(entry.kind), {take(cell) for cell in _cells(entry, default_source)})
        for entry in plan.experiments
    ]
    experiments = tuple(
        Experiment(kind=kind, conditions=tuple(id_ for id_ in conditions if id_ in ids))
        for kind, ids in asked
    )
    # The default first, although no experiment may name it.
    contexts = dict.fromkeys([default_context(), *(c.context for c in conditions.values())])
    return Grid(tuple(conditions.values()), experiments, tuple(contexts), prefixes)


def _condition(
    cell: _Cell, default_source: SourceName | None, prefixes: tuple[str, ...]
) -> PlannedCondition:
    mixes = cell.n_harmful > 0 and cell.n_benign > 0
    ordering = cell.ordering if mixes else None
    source = (cell.source or default_source) if cell.n_benign else None
    plain = cell.context == default_context()
    return PlannedCondition(
        id=condition_id(
            cell.n_harmful,
            cell.n_benign,
            ordering,
            benign_source=None if source == default_source else source,
            prefix_number=None if cell.prefix is None else prefixes.index(cell.prefix) + 1,
            context=None if plain else cell.context.form,
        ),
        n_harmful=cell.n_harmful,
        n_benign=cell.n_benign,
        ordering=ordering,
        labels=fixed_labels(ordering, cell.n_harmful, cell.n_benign, cell.context.n_refusal),
        benign_source=source,
        response_prefix=cell.prefix,
        context=cell.context,
    )


def _cells(entry: ExperimentEntry, default_source: SourceName | None) -> Iterator[_Cell]:
    cells: Iterator[_Cell] = _CELLS[entry.kind](getattr(entry, entry.kind), default_source)
    return cells


def _sweep(entry: SweepEntry, _: SourceName | None) -> Iterator[_Cell]:
    for total in entry.totals:
        for share in entry.harmful_fractions:
            harmful = int(share * total)
            yield _Cell(harmful, total - harmful)


def _fixed_harmful(entry: FixedHarmfulEntry, _: SourceName | None) -> Iterator[_Cell]:
    for ordering in entry.orderings:
        for harmful in entry.harmful:
            for benign in entry.benign:
                yield _Cell(harmful, benign, ordering)


def _orderings(entry: OrderingsEntry, _: SourceName | None) -> Iterator[_Cell]:
    for rule in entry.rules:
        yield _Cell(entry.harmful, entry.benign, rule)


def _response_prefix(entry: ResponsePrefixEntry, _: SourceName | None) -> Iterator[_Cell]:
    for prefix in entry.prefixes:
        yield _Cell(entry.harmful, entry.benign, prefix=prefix)


def _benign_sources(entry: BenignSourcesEntry, _: SourceName | None) -> Iterator[_Cell]:
    for source in entry.sources:
        for benign in entry.benign:
            yield _Cell(entry.harmful, benign, source=source)


def _contexts(entry: ContextsEntry, default_source: SourceName | None) -> Iterator[_Cell]:
    for form in entry.forms:
        gap = entry.gap_turns if form is ContextForm.CONVERSATION else 0
        context = planned_context(
            form,
            gap_turns=gap,
            gap_source=default_source if gap else None,
            n_refusal=entry.n_refusal if form is ContextForm.POLICY else 0,
        )
        yield _Cell(entry.harmful, entry.benign, context=context)


_CELLS: dict[str, Callable[[Any, SourceName | None], Iterator[_Cell]]] = {
    "sweep": _sweep,
    "fixed_harmful": _fixed_harmful,
    "orderings": _orderings,
    "response_prefix": _response_prefix,
    "benign_sources": _benign_sources,
    "contexts": _contexts,
}
