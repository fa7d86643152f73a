"""Options of commands that load models, and what is done with their values."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.runnable import check_runnable
from safety_receipts.runner.run.pooled.opening import WorkersAsked
from safety_receipts.runner.warnings import refuse_warnings

device_option = click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda, cuda:1, mps; default: an accelerator if there is one.",
)

pickle_option = click.option(
    "--allow-pickle",
    is_flag=True,
    help="Load weights that are pickles, which can run code: only if you trust them.",
)

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))? ?([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)


_workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes that compute, one a device; default: this one alone.",
)
_ray_option = click.option(
    "--ray", metavar="ADDRESS", help="Ray cluster that they run on: HOST:PORT, auto or local."
)


def worker_options(function: click.decorators.FC) -> click.decorators.FC:
    """Add the options of commands that share their work out."""
    return _workers_option(_ray_option(function))


def workers_asked(workers: int, ray: str | None) -> WorkersAsked | None:
    """Return which workers are asked for; None: none, and this process computes.

    Raises:
        UsageError: A cluster is named, and no number of workers.
    """
    if workers:
        return WorkersAsked(workers, ray)
    if ray is not None:
        raise UsageError("--ray takes --workers N", hint="say how many workers are to run there")
    return None


def tell_crowded(asked: WorkersAsked, device: str, threads: int, output: Output) -> None:
    """Say where workers would wait for each other's threads.

    The number of workers must not change how many threads each has, on which the last bits of
    answers depend: that is the user's to choose.
    """
    cores = os.cpu_count() or 1
    crowded = asked.workers > 1 and asked.workers * threads > cores
    if crowded and device == "cpu" and asked.ray is None:
        output.note(
            f"{asked.workers} workers of {threads} threads share {cores} cores; "
            f"OMP_NUM_THREADS={max(1, cores // asked.workers)} would give each its own"
        )


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
        pickle_option,
        click.option("--beacon-value", metavar="HEX", help="The beacon's value, 64 hex digits."),
        click.option(
            "--beacon-signature",
            metavar="HEX",
            help="The signature of its round, 96 hex digits, from which the value follows.",
        ),
    ):
        function = option(function)
    return function


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
