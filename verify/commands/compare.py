"""``receipts compare``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.commands.options import (
    log_policy_option,
    require_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.compare.compared import FEWEST, compare_evaluations
from safety_receipts.verify.compare.evaluations import open_evaluations
from safety_receipts.verify.compare.figures import write_comparison_plots
from safety_receipts.verify.present.compare import show_comparison
from safety_receipts.verify.view.documents.compare import compare_document


@click.command(epilog=examples("receipts compare sft dpo --trust evaluator.pub"))
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE BUNDLE…")
@click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Evaluator you trust, or a trust file, .yaml (repeatable): all bundles must be signed by "
    "one of these.",
)
@require_option
@tsa_root_option
@log_policy_option
@click.option(
    "--common-queries", is_flag=True, help="Compare on the queries that all bundles have."
)
@click.option(
    "--force", is_flag=True, help="Compare even what should not be compared; the output says so."
)
@click.option(
    "--plots", type=PATH, metavar="FOLDER", help="Draw β2 and rates into this folder, as SVG."
)
@common_options
def compare(
    *,
    bundles: tuple[Path, ...],
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
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
    if len(bundles) < FEWEST:
        raise UsageError("there is nothing to compare", hint="name two bundles or more")
    trusted = load_trust(trust, KeyRole.EVALUATOR)
    terms = trust_terms(require, tsa_root, log_policy)
    with output.progress("verifying") as progress:
        evaluations = open_evaluations(bundles, trusted, progress, terms)
    compared = compare_evaluations(
        evaluations, authentic=bool(trust or require), common_queries=common_queries, force=force
    )
    drawn = [] if plots is None else write_comparison_plots(compared, plots)
    document = compare_document(compared, drawn)
    output.result(document, lambda console: show_comparison(console, compared, quiet=output.quiet))
    for path in drawn:
        output.note(f"wrote {path}")
    return ExitCode.DONE
