"""``receipts run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

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
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.runner.commands.options import (
    byte_size,
    checked,
    device_option,
    model_options,
    strict_option,
    tell_crowded,
    terminated_like_interrupted,
    worker_options,
    workers_asked,
)
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.event import EventRunner, RunOptions
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.loaded import LoadedStack, MakeStack
from safety_receipts.runner.run.pilot import Pilot, run_pilot
from safety_receipts.runner.run.pooled.opening import (
    WorkerOptions,
    WorkersAsked,
    load_pooled,
    refuse_served_file,
    refuse_served_judges,
)
from safety_receipts.runner.run.progress import RunProgress
from safety_receipts.runner.run.sealed import SealedRun
from safety_receipts.runner.run.stopping import reasons_told
from safety_receipts.runner.view.documents.run import pilot_document, run_document
from safety_receipts.runner.view.plan_tables import duration


@click.command(
    epilog=examples(
        "receipts run study/plan.yaml --limit 64",
        "receipts run study/plan.yaml --key evaluator --out bundle",
        "receipts run study/plan.yaml --key evaluator --out bundle --log log.yaml",
    )
)
@click.argument("plan", type=PATH)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="A pilot: N points spread over the plan, nothing recorded, nothing sealed.",
)
@key_option("--key", "Private key that signs plan and receipt.")
@click.option("--out", type=PATH, metavar="BUNDLE", help="Folder of the bundle.")
@passphrase_option
@log_settings_option
@device_option
@click.option(
    "--memory", metavar="SIZE", help="Bound on memory, of the model and of each judge: 8GiB."
)
@click.option("--restart", is_flag=True, help="Discard what was recorded and start over.")
@click.option("--retry-failed", is_flag=True, help="Try failed points again; counted.")
@click.option("--accept-failed", is_flag=True, help="Seal although points failed.")
@click.option("--accept-unscored", is_flag=True, help="Seal although nothing can be scored.")
@click.option("--show-rates", is_flag=True, help="Show running rates; sealed as a look.")
@worker_options
@strict_option
@model_options
@common_options
def run(  # one parameter an option
    *,
    plan: Path,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    out: Path | None,
    log_settings: Path | None,
    device: str | None,
    memory: str | None,
    restart: bool,
    retry_failed: bool,
    accept_failed: bool,
    accept_unscored: bool,
    limit: int | None,
    show_rates: bool,
    workers: int,
    ray: str | None,
    strict: bool,
    allow_pickle: bool,
    beacon_value: str | None,
    beacon_signature: str | None,
    output: Output,
) -> ExitCode:
    """Run PLAN and seal the receipt; run again to go on where it stopped.

    The plan is sealed first if it is not.  Exit code 5: points failed, none could be scored, or
    the plan cannot be finished.
    """
    value, signature = beacon_said(beacon_value, beacon_signature)
    options = RunOptions(
        memory=None if memory is None else byte_size(memory),
        beacon_value=value,
        beacon_signature=signature,
        restart=restart,
        retry_failed=retry_failed,
        accept_failed=accept_failed,
        accept_unscored=accept_unscored,
        show_rates=show_rates,
    )

    asked, pools = workers_asked(workers, ray), ExitStack()
    make_stack = _stack_maker(asked, pools, output, device=device, allow_pickle=allow_pickle)
    if limit is not None:
        _check_pilot(key, out, options)
    else:
        _check_place(key, out)
    if asked is not None:  # now, not after an hour of hashing
        refuse_served_file(plan, judges=True)
    with (
        terminated_like_interrupted(),
        RunProgress(output, show_rates=show_rates) as progress,
        pools,
    ):
        signer = read_signers(key, passphrase_env, output)
        log = None if limit is not None else statement_log(log_settings, output)
        resolved = resolve_plan(plan, allow_pickle=allow_pickle, progress=progress.hashing)
        resolved = checked(resolved, output, device=device, strict=strict)
        if limit is not None:
            stack = make_stack(resolved, options.memory)
            pilot = run_pilot(resolved, stack, limit, progress.piloting)
            progress.stop()
            return _show_pilot(pilot, resolved, output)
        assert signer is not None  # as checked above
        assert out is not None
        runner = EventRunner(resolved, out, signer, options, make_stack, progress, log)
        sealed = runner.run()
    tell_sealed(sealed, resolved, out, output)
    return sealed.exit_code


def _stack_maker(
    asked: WorkersAsked | None,
    pools: ExitStack,
    output: Output,
    *,
    device: str | None,
    allow_pickle: bool,
) -> MakeStack:
    """Return what loads a plan's models, here or in workers.

    Args:
        asked: Which workers; None: none.
        pools: Ends the workers, or a server that was started for the run.
        output: Takes what a user should know.
        device: As the user named it.
        allow_pickle: Whether weights may be pickles.
    """

    def make_stack(resolved: ResolvedPlan, memory: int | None) -> LoadedStack[UnitStack]:
        loaded: LoadedStack[UnitStack]
        if asked is None:
            from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # torch takes seconds to load

            loaded = load_stack(resolved, device=device, memory=memory, allow_pickle=allow_pickle)
            pools.callback(loaded.close)
        else:
            refuse_served_judges(resolved.predicate)
            options = WorkerOptions(asked, device=device, allow_pickle=allow_pickle)
            recipe = options.recipe(resolved, memory)
            tell_crowded(asked, recipe.device, recipe.threads, output)
            loaded = load_pooled(recipe, asked, pools.enter_context, output.note)
        for note in loaded.notes:
            output.note(note)
        return loaded

    return make_stack


def _check_place(key: Sequence[Path], out: Path | None) -> None:
    """Refuse a run that nobody signs, or that has no folder."""
    if not key or out is None:
        raise UsageError("a run needs --key and --out", hint="or --limit N for a pilot")
    if out == Path():
        raise UsageError("--out names no folder", hint="name a new one")


def tell_sealed(sealed: SealedRun, resolved: ResolvedPlan, folder: Path, output: Output) -> None:
    """Say what was sealed, and how its points ended."""
    points = resolved.predicate.points
    unscored = sealed.reasons(Outcome.UNSCORED)
    failed = sealed.reasons(Outcome.FAILED)
    document = run_document(sealed, points, folder)

    def render(console: Console) -> None:
        verb = "was already sealed" if sealed.before else "sealed"
        accepted = " --allow-instrument" if resolved.predicate.instrument else ""
        say(
            console,
            f"{verb}: {points:,} points, {_counted(failed, 'failed')}, "
            f"{_counted(unscored, 'unscored')}; receipt {sealed.envelope.digest}",
        )
        place = printable(str(folder))
        say(console, f"read it with  receipts show {place}")
        say(console, f"check it with receipts verify {place} --trust KEY.pub{accepted}")

    output.result(document, render)


def _counted(reasons: Mapping[Reason, int], what: str) -> str:
    """Return how many points failed or are unscored, and why."""
    why = f" ({reasons_told(reasons)})" if reasons else ""
    return f"{sum(reasons.values()):,} {what}{why}"


def _check_pilot(key: Sequence[Path], out: Path | None, options: RunOptions) -> None:
    """Refuse what a pilot would ignore: a script that forgets --limit must not think it sealed."""
    asked = {
        "--key": bool(key),
        "--out": out,
        "--restart": options.restart,
        "--retry-failed": options.retry_failed,
        "--accept-failed": options.accept_failed,
        "--accept-unscored": options.accept_unscored,
        "--show-rates": options.show_rates,
        "--beacon-value": options.beacon_value,
        "--log": names_log(),
    }
    if given := [name for name, value in asked.items() if value not in (None, False)]:
        raise UsageError(
            f"--limit takes no {given[0]}",
            hint="a pilot seals nothing and shows no outcome",
        )


def _pace(pilot: Pilot, points: int) -> str:
    """Return how fast a pilot was, and how long all points of the plan would take."""
    told = f"{pilot.tokens:,} tokens in {pilot.seconds:,.1f} s; "
    whole = pilot.whole_run_seconds(points)
    shared = pilot.whole_run_seconds_shared(points)
    if whole is not None and shared is not None:
        least, most = duration(shared), duration(whole)
        if least == most:
            return f"{told}all {points:,} points would take about {most}"
        return (
            f"{told}all {points:,} points would take about {least} to {most}: the less, the more "
            "of the time goes into prompts, as all share more beginnings than a pilot's few"
        )
    return (
        f"{told}too few points to say how long all {points:,} would take, as a server is asked for "
        f"many at a time: --limit {min(pilot.enough, points)} gives an estimate"
    )


def _show_pilot(pilot: Pilot, resolved: ResolvedPlan, output: Output) -> ExitCode:
    """Say how a pilot went; nothing is kept of it."""
    document = pilot_document(pilot, resolved.predicate.points)

    def render(console: Console) -> None:
        console.print(
            f"a pilot of {pilot.points:,} points: {document.judged:,} judged, "
            f"{document.unscored:,} unscored, {document.failed:,} failed"
        )
        for reason, number in pilot.reasons.items():
            console.print(f"  {reason}: {number:,}")
        for message in pilot.messages:
            say(console, f"  {printable(message)}")
        if pilot.at_limit:
            limit_ = resolved.predicate.sampling.max_new_tokens
            say(
                console,
                f"  cut at the limit of {limit_:,} new tokens: {pilot.at_limit:,} of "
                f"{pilot.generated:,} responses"
                + (
                    "; what a model says after it is not judged: raise max_new_tokens before the "
                    "plan is sealed"
                    if pilot.mostly_cut
                    else ""
                ),
            )
        say(console, _pace(pilot, resolved.predicate.points))
        console.print("nothing was recorded, nothing is sealed")

    output.result(document, render)
    return ExitCode.DONE if document.judged and not document.failed else ExitCode.INCOMPLETE
