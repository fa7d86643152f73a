"""``receipts plan``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from safety_receipts.receipts.bundle import PLAN
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import (
    PATH,
    beacon_said,
    examples,
    key_option,
    log_settings_option,
    names_log,
    passphrase_option,
    read_signers,
    statement_log,
)
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.runner.commands.options import (
    checked,
    model_options,
    strict_option,
)
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import (
    digest_of,
    refuse_chosen_round,
    renderer_of,
    write_plan,
)
from safety_receipts.runner.present.plan import draw_plan
from safety_receipts.runner.present.prompt import render_prompt
from safety_receipts.runner.prompts.prompt_view import first_point_of, view_prompt
from safety_receipts.runner.run.ahead.resuming import keep_for_run, render
from safety_receipts.runner.run.prices.dry_run import (
    FEW_POINTS,
    Alternatives,
    Pricing,
    dry_run,
)
from safety_receipts.runner.run.progress import RunProgress
from safety_receipts.runner.view.documents.prompt import prompt_document
from safety_receipts.runner.view.judged import judged_lines, template_facts
from safety_receipts.runner.view.plan import plan_document

_ALTERNATIVES = {
    None: Alternatives.FITTING,
    True: Alternatives.COUNTED,
    False: Alternatives.NONE,
}


@click.command(
    epilog=examples(
        "receipts plan study/plan.yaml",
        "receipts plan study/plan.yaml --show-prompt h8-b8-suffix",
        "receipts plan study/plan.yaml --seal --key evaluator --out bundle",
    )
)
@click.argument("plan", type=PATH)
@click.option(
    "--show-prompt",
    metavar="CONDITION[:QUERY]",
    help="Show one prompt as the run will ask it, and where each part of it comes from.",
)
@click.option("--seal", is_flag=True, help="Sign the plan into a bundle.")
@key_option("--key", "Private key that signs the plan.")
@click.option("--out", type=PATH, metavar="BUNDLE", help="Folder of the bundle.")
@passphrase_option
@log_settings_option
@click.option("--device", metavar="DEVICE", help="Where the time is estimated for: cpu, cuda, mps.")
@click.option(
    "--alternatives/--no-alternatives",
    default=None,
    help="Count other draw_blocks whole, or leave them out; default: whole up to "
    f"{FEW_POINTS:,} points, else from a sample.",
)
@strict_option
@model_options
@common_options
def plan(
    *,
    plan: Path,
    seal: bool,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    out: Path | None,
    log_settings: Path | None,
    device: str | None,
    alternatives: bool | None,
    show_prompt: str | None,
    strict: bool,
    allow_pickle: bool,
    beacon_value: str | None,
    beacon_signature: str | None,
    output: Output,
) -> None:
    """Resolve PLAN and say what running it would take; nothing is run.

    Every prompt is rendered and counted.  --seal signs the plan: from then on it cannot change.
    """
    if seal and (not key or out is None):
        raise UsageError("--seal needs --key and --out")
    if not seal and (key or out is not None):
        raise UsageError("--key and --out are for --seal")
    if not seal and names_log():
        raise UsageError("--log is for --seal", hint="add --seal, --key and --out")
    if show_prompt is not None and seal:
        raise UsageError("--show-prompt takes no --seal", hint="show the prompt first, then seal")
    signer = read_signers(key, passphrase_env, output)
    log = statement_log(log_settings, output) if seal else None
    value, _ = beacon_said(beacon_value, beacon_signature)
    with RunProgress(output) as progress:
        resolved = resolve_plan(plan, allow_pickle=allow_pickle, progress=progress.hashing)
        if seal:  # before prompts are counted, which takes a while
            refuse_chosen_round(resolved.predicate)
        resolved = checked(resolved, output, device=device, strict=strict)
        if show_prompt is not None:
            progress.stop()
            _show_prompt(resolved, value, show_prompt, output)
            return
        pricing = _pricing(device, resolved.predicate.checkpoint.dtype, value)
        rendered = render(resolved, value, progress.counting)
        report = dry_run(
            resolved, rendered, pricing, _ALTERNATIVES[alternatives], progress.counting
        )
    if resolved.artifacts.asks_servers:
        output.note(
            "no server was asked: receipts run PLAN --limit 8 tries all that the plan names; do so "
            "before it is sealed"
        )
    sealed = None
    if signer is not None and out is not None:
        sealed = out, write_plan(resolved, out, signer)
        keep_for_run(resolved, rendered, out, output.note)
        if log is not None:
            output.note(log.record(sealed[1], out / PLAN, out).told())
    document = plan_document(resolved, report, digest_of(resolved.predicate), sealed)
    output.result(document, lambda console: draw_plan(document, resolved, console))


def _show_prompt(
    resolved: ResolvedPlan, beacon_value: str | None, wanted: str, output: Output
) -> None:
    index = first_point_of(resolved.predicate, wanted)
    renderer, texts = renderer_of(resolved, beacon_value), resolved.artifacts.texts
    view = view_prompt(renderer, texts, template_facts(resolved), index)
    document = prompt_document(view, resolved)
    control = texts.chat.template.control

    def render(console: Console) -> None:
        render_prompt(view, control, console)
        for line in judged_lines(resolved):
            say(console, printable(line))

    output.result(document, render)


def _pricing(device: str | None, dtype: Dtype, beacon_value: str | None) -> Pricing:
    # torch takes seconds to load
    from safety_receipts.runner.engines.batches import default_memory  # noqa: PLC0415
    from safety_receipts.runner.engines.load import resolve_device  # noqa: PLC0415
    from safety_receipts.runner.engines.throughput import measure_device  # noqa: PLC0415

    place = resolve_device(device or "auto")
    # Memory first: what is measured with takes some.
    memory = default_memory(place)
    return Pricing(measure_device(str(place), dtype), memory, beacon_value)
