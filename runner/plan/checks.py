"""What cannot work in a plan file although each value is one that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Literal

from safety_receipts.receipts.documents.yaml_file import KeyPath
from safety_receipts.receipts.events.coherence import ANSWERED_BY
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, QueryRole
from safety_receipts.runner.plan.entries.demonstrations import DemonstrationsEntry
from safety_receipts.runner.plan.entries.experiments import (
    BenignSourcesEntry,
    ContextsEntry,
    ResponsePrefixEntry,
    SweepEntry,
)
from safety_receipts.runner.plan.entries.plan_file import PlanFile

_Problems = Iterator[tuple[KeyPath, str]]
"""Where, and what is wrong there."""


def contradictions(plan: PlanFile) -> _Problems:
    """Yield what cannot work although each value is one that is allowed."""
    answers = [kind.value for kind in ExperimentKind if kind in ANSWERED_BY[plan.primary]]
    if not any(experiment.kind in answers for experiment in plan.experiments):
        yield (
            ("primary",),
            f"{plan.primary.value} needs an experiment that can answer it: {' or '.join(answers)}",
        )
    yield from _query_problems(plan)
    for i, experiment in enumerate(plan.experiments):
        at = ("experiments", i, experiment.kind)
        check = _CHECKS[experiment.kind]
        for place, message in check(getattr(experiment, experiment.kind), plan.demonstrations):
            yield (*at, *place), message
    yield from _repeated_forms(plan)


def _repeated_forms(plan: PlanFile) -> _Problems:
    """A form is one context: condition ids name the form alone."""
    first: dict[ContextForm, tuple[int, tuple[int, int]]] = {}
    for i, experiment in enumerate(plan.experiments):
        entry = experiment.contexts
        if entry is None:
            continue
        for j, form in enumerate(entry.forms):
            gap = entry.gap_turns if form is ContextForm.CONVERSATION else 0
            refusals = entry.n_refusal if form is ContextForm.POLICY else 0
            earlier, shape = first.setdefault(form, (i, (gap, refusals)))
            if shape != (gap, refusals):
                yield (
                    ("experiments", i, "contexts", "forms", j),
                    f"{form.value} has another gap_turns or n_refusal in experiments[{earlier}]; "
                    "a form has one shape in a plan",
                )


def _query_problems(plan: PlanFile) -> _Problems:
    first: dict[str, int] = {}
    for i, query in enumerate(plan.queries):
        name = query.name or query.corpus
        if name in first:
            key = "corpus" if query.name is None else "name"
            yield (
                ("queries", i, key),
                f"queries[{first[name]}] is named {name} already; give this one another name",
            )
        first.setdefault(name, i)
    if not any(query.role is QueryRole.HARMFUL for query in plan.queries):
        yield ("queries",), "needs a source of role harmful"


def _pool_problems(
    demonstrations: DemonstrationsEntry, kind: Literal["harmful", "benign"], place: KeyPath
) -> _Problems:
    """Say so where ``place`` asks for demonstrations of which there is no pool."""
    if not getattr(demonstrations, kind):
        yield place, f"asks for {kind} demonstrations; demonstrations.{kind} names no pool"


def _sweep_problems(sweep: SweepEntry, demonstrations: DemonstrationsEntry) -> _Problems:
    for i, share in enumerate(sweep.harmful_fractions):
        place = ("harmful_fractions", i)
        for total in sweep.totals:
            if (share * total).denominator != 1:
                yield place, f"{_spelt(share)} of {total} is not a whole number of demonstrations"
        if share > 0:
            yield from _pool_problems(demonstrations, "harmful", place)
        if share < 1:
            yield from _pool_problems(demonstrations, "benign", place)


def _spelt(share: Fraction) -> str:
    """Return a share as it is usually written: 0.25, or 1/3."""
    decimal = str(float(share))
    return decimal if Fraction(decimal) == share else str(share)


def _mixture_problems(entry: Any, demonstrations: DemonstrationsEntry) -> _Problems:
    """Check an entry with ``harmful`` and ``benign``, each a number or several."""
    kinds: tuple[Literal["harmful", "benign"], ...] = ("harmful", "benign")
    for kind in kinds:
        asked = getattr(entry, kind)
        if asked not in (0, (0,)):  # several are distinct, so that one of them is above 0
            yield from _pool_problems(demonstrations, kind, (kind,))


def _prefix_problems(entry: ResponsePrefixEntry, demonstrations: DemonstrationsEntry) -> _Problems:
    yield from _mixture_problems(entry, demonstrations)
    if entry.harmful + entry.benign == 0:
        yield ("prefixes",), "there are no demonstrations whose responses could start with a prefix"


def _source_problems(entry: BenignSourcesEntry, demonstrations: DemonstrationsEntry) -> _Problems:
    yield from _mixture_problems(entry, demonstrations)
    for i, source in enumerate(entry.sources):
        if source not in demonstrations.benign:
            known = ", ".join(demonstrations.benign) or "none"
            yield ("sources", i), f"{source} is not under demonstrations.benign; there: {known}"


def _context_problems(entry: ContextsEntry, demonstrations: DemonstrationsEntry) -> _Problems:
    yield from _mixture_problems(entry, demonstrations)
    if ContextForm.CONVERSATION in entry.forms and entry.gap_turns > 0:
        place = ("forms", entry.forms.index(ContextForm.CONVERSATION))
        yield from _pool_problems(demonstrations, "benign", place)
    if entry.n_refusal > 0 and ContextForm.POLICY not in entry.forms:
        yield ("n_refusal",), "refusal examples are for the form policy only"
    elif entry.n_refusal > 0 and demonstrations.refusal is None:
        yield (
            ("n_refusal",),
            "asks for refusal examples; demonstrations.refusal names no pool",
        )


_CHECKS: dict[str, Callable[[Any, DemonstrationsEntry], _Problems]] = {
    "sweep": _sweep_problems,
    "fixed_harmful": _mixture_problems,
    "orderings": _mixture_problems,
    "response_prefix": _prefix_problems,
    "benign_sources": _source_problems,
    "contexts": _context_problems,
}
"""What to ask of each kind of experiment."""
