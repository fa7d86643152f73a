"""``receipts compare``."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import click

from safety_receipts.receipts.bundle import PLAN, POINTS
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.errors import ExitCode, FileAccessError, IncompleteError, UsageError
from safety_receipts.receipts.findings.effects import ALPHA
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.present.output import Output
from safety_receipts.verify.compare.comparability import Sameness, SettingCheck, setting_checks
from safety_receipts.verify.compare.comparison import Comparison, Pair, Worded, compare_models
from safety_receipts.verify.compare.evaluations import Evaluation, open_evaluations
from safety_receipts.verify.compare.interaction import (
    Model,
    benign_numbers,
    common_conditions,
    fit_model,
    harmful_queries,
)
from safety_receipts.verify.present.compare import FAMILY, Compared, interval_of, show_comparison

_PATH = click.Path(path_type=Path)
_FEWEST = 2
"""Bundles, and numbers of benign demonstrations, for there to be anything to compare."""


@click.command()
@click.argument("bundles", type=_PATH, nargs=-1, required=True, metavar="BUNDLE BUNDLE…")
@click.option(
    "--trust",
    type=_PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Evaluator you trust (repeatable): all bundles must be signed by one of these.",
)
@click.option(
    "--common-queries", is_flag=True, help="Compare on the queries that all bundles have."
)
@click.option("--force", is_flag=True, help="Compare even what should not be; the output says so.")
@click.option("--plots", type=_PATH, metavar="FOLDER", help="Draw β2 and rates as SVG.")
@common_options
def compare(
    *,
    bundles: tuple[Path, ...],
    trust: tuple[Path, ...],
    common_queries: bool,
    force: bool,
    plots: Path | None,
    output: Output,
) -> ExitCode:
    """Compare training stages or models: does the effect of benign demonstrations differ?

    Every bundle is verified first.  β2 is fitted to the conditions and queries that all have; the
    differences of each two bundles are tested on the same queries.  Without evidence (published
    copies) sealed numbers are compared as if independent.  Exit code 0: compared; 2: not the same
    judge or queries; 3: a bundle does not verify; 5: evidence is missing.
    """
    if len(bundles) < _FEWEST:
        raise UsageError("there is nothing to compare", hint="name two bundles or more")
    with output.progress("verifying") as progress:
        evaluations = open_evaluations(bundles, TrustSet.load(trust), progress)
    checks = setting_checks([each.setting() for each in evaluations], common_queries=common_queries)
    refused = [check for check in checks if check.refuses]
    if refused and not force:
        _refuse(refused, evaluations)
    conditions = _conditions(evaluations)
    queries = _queries(evaluations, common_queries=common_queries)
    models = [_model(each, conditions, queries) for each in evaluations]
    compared = Compared(
        tuple(evaluations),
        compare_models(models, [check.name for check in refused]),
        (*checks, _conditions_check(evaluations, conditions)),
        conditions,
        authentic=bool(trust),
    )
    drawn = [] if plots is None else _plot(compared, plots)
    document = _document(compared) | {"plots": [str(path) for path in drawn]}
    output.result(document, lambda console: show_comparison(console, compared, quiet=output.quiet))
    for path in drawn:
        output.note(f"wrote {path}")
    return ExitCode.DONE


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
                f"its mixtures are in order {other.headline.ordering}, those of {first.label} in "
                f"order {first.headline.ordering}",
                file=other.bundle.folder / PLAN,
                hint="plan the same fixed_harmful experiment for both",
            )
    found = common_conditions([(each.plan, each.headline.conditions) for each in evaluations])
    if benign_numbers(first.plan, found) < _FEWEST:
        raise UsageError(
            f"{len(found):,} conditions are common, with too few numbers of benign demonstrations",
            file=evaluations[-1].bundle.folder / PLAN,
            hint="plan the same fixed_harmful experiment for all",
        )
    for each in evaluations:
        if each.study is None and set(each.headline.conditions) != set(found):
            raise IncompleteError(
                f"its sealed β2 is over {len(each.headline.conditions):,} conditions, of which "
                f"{len(found):,} are common: that takes another fit",
                file=each.bundle.folder,
                hint=f"get the bundle with its {POINTS}",
            )
    return found


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
                "common: that takes another fit",
                file=each.bundle.folder,
                hint=f"get the bundle with its {POINTS}",
            )
    return common


def _model(
    evaluation: Evaluation, conditions: tuple[ConditionId, ...], queries: Set[QueryId]
) -> Model:
    if evaluation.study is None:
        asked = harmful_queries(evaluation.plan)
        return Model(evaluation.label, asked, evaluation.headline, None)
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
        return SettingCheck(name, Sameness.SAME, refuses=False, warns=False, detail=detail)
    detail = f"{len(conditions):,} are common; left out: {', '.join(left)}"
    return SettingCheck(name, Sameness.DIFFERS, refuses=False, warns=True, detail=detail)


def _plot(compared: Compared, folder: Path) -> list[Path]:
    # matplotlib is not for tables
    from safety_receipts.receipts.figures import plots  # noqa: PLC0415

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", folder) from None
    rows = [
        (one.model.label, *ends)
        for one in compared.comparison.models
        if (ends := interval_of(one)) is not None
    ]
    forest, rates = folder / "beta2.svg", folder / "rates.svg"
    margins = {float(one.model.finding.margin) for one in compared.comparison.models}
    if rows:
        plots.forest_plot(rows, forest, margin=margins.pop() if len(margins) == 1 else None)
    plots.rates_over_benign([(each.label, each.receipt) for each in compared.evaluations], rates)
    return [forest, rates] if rows else [rates]


def _document(compared: Compared) -> dict[str, Any]:
    comparison: Comparison = compared.comparison
    rows = zip(compared.evaluations, comparison.models, strict=True)
    return {
        "models": [_model_json(each, worded) for each, worded in rows],
        "pairs": [_pair_json(pair) for pair in comparison.pairs],
        "family": {
            "method": "holm",
            "alpha": ALPHA,
            "says": FAMILY,
            "tests": [
                {"name": test.name, "p": test.p, "adjusted": test.adjusted}
                for test in comparison.family
            ],
        },
        "conditions": list(compared.conditions),
        "checks": [
            {
                "name": check.name,
                "status": check.status.value,
                "refused": check.refuses,
                "warns": check.warns,
                "detail": check.detail,
            }
            for check in compared.checks
        ],
        "authenticity": "checked" if compared.authentic else "not checked",
        "notes": compared.notes(),
    }


def _model_json(evaluation: Evaluation, worded: Worded) -> dict[str, Any]:
    finding, receipt = worded.model.finding, evaluation.receipt
    fit, worst, sealed = finding.clustered, evaluation.worst, evaluation.sealed
    return {
        "label": evaluation.label,
        "bundle": str(evaluation.bundle.folder),
        "receiptDigest": evaluation.verification.receipt_digest,
        "keyid": evaluation.verification.keyid,
        "checkpoint": receipt.checkpoint.name,
        "root": receipt.checkpoint.root,
        "stage": receipt.training_stage,
        "instrument": receipt.instrument,
        "numbers": "sealed" if evaluation.study is None else "fitted",
        "queries": finding.clusters.queries,
        "points": fit and fit.points,
        "beta2": fit and fit.beta2,
        "se2": fit and fit.se2,
        "interval": finding.interval and finding.interval.to_wire(),
        "p": worded.p,
        "adjusted": worded.adjusted,
        "effect": worded.effect.value,
        "grounds": worded.grounds.value,
        "margin": finding.margin,
        "sealedEffect": sealed and sealed.effect.value,
        "baselineRate": receipt.baseline.compliance_rate,
        "worst": worst and {"condition": worst.id, "rate": worst.compliance_rate},
    }


def _pair_json(pair: Pair) -> dict[str, Any]:
    gap = pair.gap
    return {
        "first": pair.first.model.label,
        "second": pair.second.model.label,
        "difference": gap and gap.slope.to_wire(),
        "interval": gap and gap.interval.to_wire(),
        "paired": gap and gap.paired,
        "adjusted": pair.adjusted,
        "word": pair.statement.word.value,
        "statement": pair.statement.text,
        "declined": pair.statement.declined,
    }
