"""``receipts calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import (
    PATH,
    examples,
    key_option,
    passphrase_option,
    read_signer,
)
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.errors import ExitCode, FileAccessError, UsageError
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.runner.commands.options import (
    byte_size,
    tell_crowded,
    terminated_like_interrupted,
    worker_options,
    workers_asked,
)
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.run.pooled.opening import (
    WorkersAsked,
    own_threads,
    refuse_served,
    refuse_unlike,
    worker_device,
)
from safety_receipts.runner.run.pooled.recipe import HeldPlan
from safety_receipts.verify.commands.options import number, one_line_option
from safety_receipts.verify.view.documents.calibrate import calibrate_document

if TYPE_CHECKING:
    from safety_receipts.verify.audit.stages import DeviceFormat, PooledBench


@click.command(
    epilog=examples("receipts calibrate study/plan.yaml --key auditor --out calibration.json")
)
@click.argument("plan", type=PATH)
@key_option("--key", "The key that will sign the audits.", required=True)
@passphrase_option
@click.option("--out", type=PATH, required=True, help="Calibration file to write.")
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice([each.value for each in Dtype]),
    multiple=True,
    help="Number formats to compare (repeatable); default: the plan's.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="DEVICE",
    help="Devices to compare (repeatable): cpu, cuda, mps.",
)
@click.option(
    "--responses", type=number, metavar="N", help="Honest responses; default: up to 4,000."
)
@click.option("--memory", metavar="SIZE", help="Bound on memory, of model and judge: 8GiB.")
@worker_options
@click.option(
    "--auditor", callback=one_line_option, metavar="NAME", help="Name of the auditor, as free text."
)
@common_options
def calibrate(  # one parameter an option
    *,
    plan: Path,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    out: Path,
    dtypes: tuple[str, ...],
    devices: tuple[str, ...],
    responses: int | None,
    memory: str | None,
    workers: int,
    ray: str | None,
    auditor: str | None,
    output: Output,
) -> ExitCode:
    """Measure how honest responses to PLAN look when replayed, for audits with the same key.

    Responses are generated on the first --device in the plan's number format, and replayed in
    every --dtype on every --device, in other batches and with another attention kernel.  Give
    the formats of both the receipt and the audit: an audit in bfloat16 of a float32 receipt
    needs both.

    Stopped, it goes on where it was with the same command: what was generated and replayed is kept
    beside OUT, in a file that its owner alone may read, until OUT is written.
    """
    if out.exists():
        raise UsageError("exists already", file=out, hint="name a new file")
    if not out.parent.is_dir():  # now, not after an hour
        raise FileAccessError("is not a folder", file=out.parent, hint="make it, or name another")
    bound = None if memory is None else byte_size(memory)
    signer = read_signer(key, passphrase_env, output)
    asked = workers_asked(workers, ray)
    with terminated_like_interrupted(), ExitStack() as pools:
        with output.progress("hashing (bytes)") as progress:
            resolved = resolve_plan(plan, progress=progress)
        if resolved.artifacts.asks_servers:
            output.note(
                "the plan's server is not asked: a calibration is of this machine's own engines"
            )
        own = resolved.predicate.checkpoint.dtype
        from safety_receipts.verify.audit.calibrate import CALIBRATION_RESPONSES, Calibrator  # noqa: PLC0415  # loads torch
        from safety_receipts.verify.audit.journals.calibrations import calibration_lines  # noqa: PLC0415  # loads torch

        places, bench = _places(own, dtypes, devices), None
        if asked is not None:
            bench = _pooled(resolved, places, bound, asked=asked, pools=pools, output=output)
        calibrator = Calibrator(resolved, places, bound, responses or CALIBRATION_RESPONSES, bench)
        with (
            calibration_lines(out, signer) as lines,
            output.progress("generating and replaying responses") as progress,
        ):
            statement = calibrator.calibrate(auditor, progress, lines)
            envelope = sign(statement.to_wire(), signer)
            atomic_write(out, envelope.to_json())
            lines.remove()
    says = statement.predicate
    output.result(
        calibrate_document(out, envelope.digest, says),
        lambda console: _show(console, says, envelope.digest, out),
    )
    return ExitCode.DONE


def _pooled(
    resolved: ResolvedPlan,
    places: Sequence[DeviceFormat],
    memory: int | None,
    *,
    asked: WorkersAsked,
    pools: ExitStack,
    output: Output,
) -> PooledBench:
    """Start workers that load the reference, and return the stacks in them."""
    from safety_receipts.verify.audit.stages import CalibrationRecipe, PooledBench  # noqa: PLC0415  # loads torch

    refuse_served(resolved.predicate)
    kinds = [replace(one, device=worker_device(one.device, asked)) for one in places]
    recipe = CalibrationRecipe(
        HeldPlan(Path(resolved.file).absolute(), resolved.predicate, None),
        tuple(kinds),
        own_threads(),
        memory,
        sharing=asked.workers,
    )
    used = {one.device for one in kinds if one.device is not None}
    device = "cuda" if "cuda" in used else "cpu"
    tell_crowded(asked, device, recipe.threads, output)
    pool = pools.enter_context(
        WorkerPool(asked.places(device, recipe.threads), recipe, asked.workers, output.note)
    )
    refuse_unlike(pool, pool.open(), resolved.predicate)
    return PooledBench(pool)


def _places(own: Dtype, dtypes: tuple[str, ...], devices: tuple[str, ...]) -> list[DeviceFormat]:
    """Return number formats on devices, the plan's own format on the first device first."""
    from safety_receipts.verify.audit.stages import DeviceFormat  # noqa: PLC0415  # loads torch

    formats = dict.fromkeys([own, *(Dtype(each) for each in dtypes)])
    return [DeviceFormat(dtype, device) for dtype in formats for device in devices or (None,)]


def _show(console: Console, says: CalibrationPredicate, digest: Sha256, out: Path) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("stack", "format", "device"):
        table.add_column(name)
    for name in ("largest margin", "branched", "label turned"):
        table.add_column(name, justify="right")
    for stack in says.stacks:
        table.add_row(
            Text(printable(stack.name)),
            stack.dtype.value,
            Text(printable(stack.device)),
            f"{float(stack.largest):.3g}",
            f"{stack.branched:,}",
            f"{stack.flipped:,}",
        )
    console.print(table)
    say(
        console,
        f"{says.responses:,} honest responses in {len(says.bins)} length bins; "
        f"labels turned on the worst stack: {says.branch_flip_rate}; "
        f"ambiguous judgements: {says.ambiguity_rate}",
    )
    say(console, f"{printable(str(out))}: calibration {digest}")
