"""``receipts run``."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from safety_receipts.receipts.canonical import is_hex32
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.keygen import read_signer
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.runnable import check_runnable
from safety_receipts.runner.present.plan import duration
from safety_receipts.runner.run.event import EventRunner, LoadedStack, RunOptions, SealedRun
from safety_receipts.runner.run.pilot import run_pilot
from safety_receipts.runner.run.progress import RunProgress
from safety_receipts.runner.run.stopping import reasons_told
from safety_receipts.runner.warnings import refuse_warnings

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))? ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)


def byte_size(text: str) -> int:
    """Return a number of bytes that people write as 8GiB, 512M or 1000000.

    K, M, G and T are powers of 1,024.

    Raises:
        UsageError: It is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) + int(match[2] or 0) == 0:
        raise UsageError(f"{text!r} is not a size", hint="write 8GiB, 512M or a number of bytes")
    thousandths = int(match[1]) * 1000 + int((match[2] or "0").ljust(3, "0"))
    return thousandths * _UNITS[match[3].lower()] // 1000


strict_option = click.option("--strict", is_flag=True, help="Refuse a plan that has warnings.")


def checked(
    resolved: ResolvedPlan, output: Output, *, device: str | None, strict: bool
) -> ResolvedPlan:
    """Return a plan that can be run here, with all that is in doubt, which is printed.

    Raises:
        UsageError: Something is in doubt and is to be refused; or as
            :func:`runner.plan.runnable.check_runnable`.
        IncompleteError: As there.
    """
    from safety_receipts.runner.engines.load import resolve_device  # noqa: PLC0415  # torch takes seconds to load

    resolved = check_runnable(resolved, resolve_device(device or "auto").type)
    for warning in resolved.warnings:
        output.note(warning.one_line())
    if strict:
        refuse_warnings(resolved.warnings, resolved.file)
    return resolved


def model_options(function: click.decorators.FC) -> click.decorators.FC:
    """Add the options of commands that load models."""
    for option in (
        click.option(
            "--allow-pickle",
            is_flag=True,
            help="Load weights that are pickles, which can run code: only if you trust them.",
        ),
        click.option("--beacon-value", metavar="HEX", help="The beacon's value, 64 hex digits."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(path_type=Path), help="Private key that signs plan and receipt."
)
@click.option(
    "--passphrase-env", metavar="VARIABLE", help="Environment variable with the passphrase."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option("--device", help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one.")
@click.option(
    "--memory", metavar="SIZE", help="Bound on memory, of the model and of each judge: 8GiB."
)
@click.option("--restart", is_flag=True, help="Discard what was recorded and start over.")
@click.option("--retry-failed", is_flag=True, help="Try failed points again; counted.")
@click.option("--accept-failed", is_flag=True, help="Seal although points failed.")
@click.option("--accept-unscored", is_flag=True, help="Seal although nothing can be scored.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="A pilot: N points spread over the plan, nothing recorded, nothing sealed.",
)
@click.option("--show-rates", is_flag=True, help="Show running rates; sealed as a look.")
@strict_option
@model_options
@common_options
def run(  # one parameter an option
    *,
    plan: Path,
    key: Path | None,
    passphrase_env: str | None,
    out: Path | None,
    device: str | None,
    memory: str | None,
    restart: bool,
    retry_failed: bool,
    accept_failed: bool,
    accept_unscored: bool,
    limit: int | None,
    show_rates: bool,
    strict: bool,
    allow_pickle: bool,
    beacon_value: str | None,
    output: Output,
) -> ExitCode:
    """Run PLAN and seal the receipt; run again to go on where it stopped.

    The plan is sealed first if it is not.  Exit code 5: points failed, none could be scored, or
    the plan cannot be finished.
    """
    bound = None if memory is None else byte_size(memory)
    options = RunOptions(
        memory=bound,
        beacon_value=beacon_value_of(beacon_value),
        restart=restart,
        retry_failed=retry_failed,
        accept_failed=accept_failed,
        accept_unscored=accept_unscored,
        show_rates=show_rates,
    )

    def make_stack(resolved: ResolvedPlan, memory: int | None) -> LoadedStack:
        from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # torch takes seconds to load

        loaded = load_stack(resolved, device=device, memory=memory, allow_pickle=allow_pickle)
        for note in loaded.notes:
            output.note(note)
        return loaded

    if limit is not None:
        _check_pilot(key, out, options)
    else:
        _check_place(key, out)
    with terminated_like_interrupted(), RunProgress(output, show_rates=show_rates) as progress:
        signer = None if key is None else read_signer(key, passphrase_env, output)
        resolved = resolve_plan(plan, allow_pickle=allow_pickle, progress=progress.hashing)
        resolved = checked(resolved, output, device=device, strict=strict)
        if limit is not None:
            return _pilot(resolved, make_stack(resolved, bound), limit, output)
        assert signer is not None  # as checked above
        assert out is not None
        runner = EventRunner(resolved, out, signer, options, make_stack, progress)
        sealed = runner.run()
    report(sealed, resolved, out, output)
    return sealed.exit_code


def _check_place(key: Path | None, out: Path | None) -> None:
    """Refuse a run that nobody signs, or that has no folder."""
    if key is None or out is None:
        raise UsageError("a run needs --key and --out", hint="or --limit N for a pilot")
    if out == Path():
        raise UsageError("--out names no folder", hint="name a new one")


def beacon_value_of(text: str | None) -> str | None:
    """Return the beacon's value as given on the command line.

    Raises:
        UsageError: It is none.
    """
    if text is not None and not is_hex32(text):
        raise UsageError(
            "the beacon's value should be 64 lower-case hex digits",
            hint="drand calls it randomness",
        )
    return text


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which schedulers and CI stop a run, end as Ctrl-C does."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report(sealed: SealedRun, resolved: ResolvedPlan, folder: Path, output: Output) -> None:
    """Say what was sealed, and how its points ended."""
    points = resolved.predicate.points
    unscored = sealed.reasons(Outcome.UNSCORED)
    failed = sealed.reasons(Outcome.FAILED)
    document = {
        "bundle": str(folder),
        "receiptDigest": sealed.envelope.digest,
        "keyid": sealed.envelope.signatures[0].keyid,
        "points": points,
        "scored": sealed.scored,
        "unscored": sum(unscored.values()),
        "failed": sealed.failed,
        "reasons": {reason.value: number for reason, number in (unscored | failed).items()},
        "sealedBefore": sealed.before,
    }

    def render(console: Console) -> None:
        verb = "was already sealed" if sealed.before else "sealed"
        console.print(
            f"{verb}: {points:,} points, {_counted(failed, 'failed')}, "
            f"{_counted(unscored, 'unscored')}; "
            f"receipt {sealed.envelope.digest}\n"
            f"read it with  receipts show {printable(str(folder))}\n"
            f"check it with receipts verify {printable(str(folder))} --trust KEY.pub",
            soft_wrap=True,
        )

    output.result(document, render)


def _counted(reasons: Mapping[Reason, int], what: str) -> str:
    """Return how many points failed or are unscored, and why."""
    why = f" ({reasons_told(reasons)})" if reasons else ""
    return f"{sum(reasons.values()):,} {what}{why}"


def _check_pilot(key: Path | None, out: Path | None, options: RunOptions) -> None:
    """Refuse what a pilot would ignore: a script that forgets --limit must not think it sealed."""
    asked = {
        "--key": key,
        "--out": out,
        "--restart": options.restart,
        "--retry-failed": options.retry_failed,
        "--accept-failed": options.accept_failed,
        "--accept-unscored": options.accept_unscored,
        "--show-rates": options.show_rates,
        "--beacon-value": options.beacon_value,
    }
    if given := [name for name, value in asked.items() if value not in (None, False)]:
        raise UsageError(
            f"--limit takes no {given[0]}",
            hint="a pilot seals nothing and shows no outcome",
        )


def _pilot(resolved: ResolvedPlan, loaded: LoadedStack, limit: int, output: Output) -> ExitCode:
    """Run some points and say how it went; nothing is kept."""
    pilot = run_pilot(resolved, loaded, limit)
    judged = pilot.outcomes.get(Outcome.REFUSED, 0) + pilot.outcomes.get(Outcome.COMPLIED, 0)
    unscored = pilot.outcomes.get(Outcome.UNSCORED, 0)
    failed = pilot.outcomes.get(Outcome.FAILED, 0)
    whole = pilot.seconds / pilot.points * resolved.predicate.points
    document = {
        "pilot": True,
        "points": pilot.points,
        "judged": judged,
        "unscored": unscored,
        "failed": failed,
        "reasons": dict(pilot.reasons),
        "tokens": pilot.tokens,
        "seconds": round(pilot.seconds, 3),
        "wholeRunSeconds": round(whole, 1),
    }

    def render(console: Console) -> None:
        console.print(
            f"a pilot of {pilot.points:,} points: {judged:,} judged, {unscored:,} unscored, "
            f"{failed:,} failed"
        )
        for reason, number in pilot.reasons.items():
            console.print(f"  {reason}: {number:,}")
        for message in pilot.messages:
            console.print(f"  {printable(message)}", soft_wrap=True)
        console.print(
            f"{pilot.tokens:,} tokens in {pilot.seconds:,.1f} s; all "
            f"{resolved.predicate.points:,} points would take about {duration(whole)}\n"
            "nothing was recorded, nothing is sealed"
        )

    output.result(document, render)
    return ExitCode.DONE if judged and not failed else ExitCode.INCOMPLETE
