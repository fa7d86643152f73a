"""How fast a device is: a few matrix products and copies, in less than a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.device_speed import Throughput

_SMALLEST_PRODUCT = 256
_LARGEST_PRODUCT = 8192
_LONG_ENOUGH = 0.01
"""Seconds from which the start of one product no longer matters."""

_BUDGET = 0.2
"""Seconds of repeating one measurement."""

_Best = Callable[[Callable[[], None], float], float]

_COPIED_BYTES = 128 * 1024 * 1024
"""More than a cache holds."""


def measure_device(device: str, dtype: Dtype) -> Throughput:
    """Measure the throughput of square matrix products and of copies.

    The best of several repetitions counts, as whatever disturbs one makes it slower only; on a CPU
    the time that other programs had it for is left out, so that a busy half-second makes no slow
    machine.  A model's own products are smaller or oddly shaped, so that a run seldom reaches the
    figure.

    Args:
        device: As torch names it: ``cpu``, ``cuda``, ``cuda:1``.
        dtype: Number format of the products.

    Raises:
        UsageError: torch has no such device.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # the latter where torch was built without it
        raise UsageError(
            f"torch has no device {device!r}", hint="name another, such as cpu"
        ) from None
    with torch.inference_mode():
        best = Stopwatch(torch.get_num_threads()).best if device == "cpu" else Stopwatch(None).best
        size, flops_per_second = _product(device, getattr(torch, dtype.value), best)
        bytes_per_second = _copy(device, best)
    return Throughput(
        flops_per_second,
        bytes_per_second,
        f"measured on {device}: product of {dtype.value} matrices of {size} × {size}, "
        f"copy of {_COPIED_BYTES // 1024**2} MiB",
    )


def _product(device: str, dtype: torch.dtype, best: _Best) -> tuple[int, float]:
    """Return the size measured, the smallest that takes long enough, and operations a second."""
    size = _SMALLEST_PRODUCT
    while True:
        one, other = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
        product = torch.empty_like(one)

        def multiply(
            one: torch.Tensor = one, other: torch.Tensor = other, out: torch.Tensor = product
        ) -> None:
            torch.mm(one, other, out=out)
            out[0, 0].item()  # waits until the device is done

        multiply()  # the first one of a size chooses and loads its kernel
        if size == _LARGEST_PRODUCT or best(multiply, 0) >= _LONG_ENOUGH:
            return size, 2 * size**3 / best(multiply, _BUDGET)
        size *= 2


def _copy(device: str, best: _Best) -> float:
    """Return bytes a second, read and written ones counted alike."""
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def copy() -> None:
        target.copy_(source)
        target[-1].item()

    copy()
    return 2 * _COPIED_BYTES / best(copy, _BUDGET)


@dataclass(frozen=True)
class Stopwatch:
    """Times repetitions of one thing, of which the best counts.

    Where this process computes by itself, a repetition takes no longer than its processor time
    shared among as many cores as were ever seen at work on it: what is more of its wall clock went
    to other programs.
    """

    threads: int | None
    """Threads of this process that compute; None: a device elsewhere does."""
    wall: Callable[[], float] = time.perf_counter
    """Wall clock in seconds."""
    processor: Callable[[], float] = time.process_time
    """Processor time of all threads of this process in seconds."""

    def best(self, action: Callable[[], None], budget: float) -> float:
        """Return the seconds of the fastest of as many runs as the budget allows, at least one.

        Args:
            action: What is timed.
            budget: Seconds of wall clock.
        """
        end = self.wall() + budget
        took: list[tuple[float, float]] = []
        while not took or self.wall() < end:
            start, begun = self.wall(), self.processor()
            action()
            took.append((self.wall() - start, self.processor() - begun))
        best = min(wall for wall, _ in took)
        if self.threads is None:
            return best
        cores = max(spent / wall if wall else 1.0 for wall, spent in took)
        at_work = min(max(cores, 1.0), float(self.threads))
        return min([best, *(spent / at_work for _, spent in took if spent)])  # coarse clocks say 0
