"""Bundles side by side: are they comparable, and what differs between each two of them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS, Limit
from safety_receipts.verify.compare.comparability import SettingCheck, SettingStatus, setting_checks
from safety_receipts.verify.compare.comparison import ModelComparison, ModelEffect, compare_models
from safety_receipts.verify.compare.evaluations import Evaluation
from safety_receipts.verify.compare.interaction import (
    FittedModel,
    benign_numbers,
    common_conditions,
    fit_model,
    harmful_queries,
)
from safety_receipts.verify.compare.robustness import with_breakdowns
from safety_receipts.verify.subject import is_instrument

FEWEST = 2
"""Bundles, and numbers of benign demonstrations, for there to be anything to compare."""

FAMILY = (
    "Holm's correction over every test shown: β2 = 0 of each model, and the difference of each "
    "pair; intervals, on which the word none rests, are not corrected"
)
"""Which tests are corrected together."""


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """Everything that is shown of a comparison."""

    evaluations: tuple[Evaluation, ...]
    """The bundles."""
    comparison: ModelComparison
    """Their models, in the same order, and the pairs."""
    checks: tuple[SettingCheck, ...]
    """What is the same and what differs."""
    conditions: tuple[ConditionId, ...]
    """What β2 is fitted to."""
    authentic: bool
    """Whether trusted keys signed all bundles."""

    def notes(self) -> list[str]:
        """Return what a reader must know, in sentences."""
        notes = []
        if not self.authentic:
            notes.append("authenticity was not checked: give --trust KEY.pub")
        sealed = [each.label for each in self.evaluations if each.study is None]
        if sealed:
            notes.append(
                f"without evidence: the sealed numbers of {', '.join(sealed)} are compared as if "
                "independent: conservative where demonstrations move the same queries alike"
            )
        for each, model_effect in zip(self.evaluations, self.comparison.models, strict=True):
            if each.sealed is not None and each.sealed.effect is not model_effect.effect:
                notes.append(
                    f"the receipt of {each.label} says {each.sealed.effect.value}: over its own "
                    f"{len(each.sealed.conditions):,} conditions, corrected for its own tests"
                )
        made = [each.label for each in self.evaluations if is_instrument(each.receipt)]
        if made:
            notes.append(
                f"TEST INSTRUMENT: {', '.join(made)}: such numbers say nothing about any real model"
            )
        if len({each.receipt.training_stage for each in self.evaluations}) > 1:
            notes.append(LIMIT_MEANINGS[Limit.STAGE_ASSOCIATION])
        return notes


def compare_evaluations(
    evaluations: Sequence[Evaluation],
    *,
    authentic: bool,
    common_queries: bool = False,
    force: bool = False,
) -> ComparisonReport:
    """Compare verified bundles: β2 is fitted to the conditions and queries that all have.

    Args:
        evaluations: The bundles, from :func:`verify.compare.evaluations.open_evaluations`.
        authentic: Whether trusted keys signed all of them.
        common_queries: Compare on the queries that all have.
        force: Compare even what should not be; every statement then says so.

    Raises:
        UsageError: They are fewer than two, or not comparable.
        IncompleteError: Sealed numbers are of other conditions or queries, and there is no
            evidence to fit again.
    """
    if len(evaluations) < FEWEST:
        raise UsageError("there is nothing to compare", hint="name two bundles or more")
    checks = setting_checks([each.setting() for each in evaluations], common_queries=common_queries)
    refused = [check for check in checks if check.refuses]
    if refused and not force:
        _refuse(refused, evaluations)
    conditions = _conditions(evaluations)
    queries = _queries(evaluations, common_queries=common_queries)
    models = [_model(each, conditions, queries) for each in evaluations]
    comparison = compare_models(models, [check.name for check in refused])
    return ComparisonReport(
        tuple(evaluations),
        with_breakdowns(comparison, evaluations, conditions, queries),
        (*checks, _conditions_check(evaluations, conditions)),
        conditions,
        authentic,
    )


def _refuse(refused: Sequence[SettingCheck], evaluations: Sequence[Evaluation]) -> None:
    first = refused[0]
    more = f" (and {len(refused) - 1} more reasons)" if len(refused) > 1 else ""
    where = {each.label: each.bundle.folder / PLAN for each in evaluations}
    hints = {"queries": "--common-queries compares on those that all have"}
    raise UsageError(
        f"not comparable: {first.name}: {first.detail}{more}",
        file=where[first.differing[0]],
        hint=hints.get(first.name, "--force compares all the same"),
    )


def _conditions(evaluations: Sequence[Evaluation]) -> tuple[ConditionId, ...]:
    """Return the conditions that all headline findings have.

    Raises:
        UsageError: There is no slope to fit to them.
        IncompleteError: A sealed finding is over others, and there is no evidence to fit again.
    """
    first, *others = evaluations
    for other in others:
        if other.headline.ordering is not first.headline.ordering:
            raise UsageError(
                f"its mixtures are in order {_order(other)}, those of {first.label} in "
                f"order {_order(first)}",
                file=other.bundle.folder / PLAN,
                hint="plan the same fixed_harmful experiment for both",
            )
    found = common_conditions([(each.plan, each.headline.conditions) for each in evaluations])
    if benign_numbers(first.plan, found) < FEWEST:
        raise UsageError(
            f"{len(found):,} conditions are common, with too few numbers of benign demonstrations",
            file=evaluations[-1].bundle.folder / PLAN,
            hint="plan the same fixed_harmful experiment for all",
        )
    for each in evaluations:
        if each.study is None and set(each.headline.conditions) != set(found):
            raise IncompleteError(
                f"its sealed β2 is over {len(each.headline.conditions):,} conditions, of which "
                f"{len(found):,} are common: which needs another fit",
                file=each.bundle.folder,
                hint=f"get the bundle with its {POINTS_FILE}",
            )
    return found


def _order(evaluation: Evaluation) -> str:
    ordering = evaluation.headline.ordering
    return "none" if ordering is None else ordering.value


def _queries(evaluations: Sequence[Evaluation], *, common_queries: bool) -> Set[QueryId]:
    """Return the queries to fit to: those of any, or those of all.

    Raises:
        IncompleteError: A sealed finding is over others, and there is no evidence to fit again.
    """
    asked = [frozenset(harmful_queries(each.plan)) for each in evaluations]
    if not common_queries:
        return frozenset.union(*asked)
    common = frozenset.intersection(*asked)
    if not common:
        raise UsageError("no query is common to all bundles", hint="name query sources alike")
    for each, mine in zip(evaluations, asked, strict=True):
        if each.study is None and mine != common:
            raise IncompleteError(
                f"its sealed β2 is over {len(mine):,} queries, of which {len(common):,} are "
                "common: which needs another fit",
                file=each.bundle.folder,
                hint=f"get the bundle with its {POINTS_FILE}",
            )
    return common


def _model(
    evaluation: Evaluation, conditions: tuple[ConditionId, ...], queries: Set[QueryId]
) -> FittedModel:
    if evaluation.study is None:
        asked = harmful_queries(evaluation.plan)
        return FittedModel(evaluation.label, asked, evaluation.headline, None)
    chosen = (evaluation.headline.ordering, conditions, queries)
    return fit_model(evaluation.label, evaluation.study, chosen, evaluation.seed)


def _conditions_check(
    evaluations: Sequence[Evaluation], conditions: Sequence[ConditionId]
) -> SettingCheck:
    name = "conditions"
    left = [
        f"{number:,} of {each.label}"
        for each in evaluations
        if (number := len(each.headline.conditions) - len(conditions))
    ]
    if not left:
        detail = f"the same {len(conditions):,}"
        return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=False, detail=detail)
    detail = f"{len(conditions):,} are common; left out: {', '.join(left)}"
    return SettingCheck(name, SettingStatus.DIFFERS, refuses=False, warns=True, detail=detail)


def interval_of(one: ModelEffect) -> tuple[float, float, float] | None:
    """Return β2 with the ends of its 95 % interval; None where there is no fit."""
    fit, ends = one.model.finding.clustered, one.model.finding.interval
    if fit is None or ends is None:
        return None
    return float(fit.beta2), float(ends.lower), float(ends.upper)
