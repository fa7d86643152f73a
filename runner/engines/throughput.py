"""How fast a device is: a few matrix products and copies, in less than a second."""

from __future__ import annotations

import time
from collections.abc import Callable

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

_COPIED_BYTES = 128 * 1024 * 1024
"""More than a cache holds."""


def measure_device(device: str, dtype: Dtype) -> Throughput:
    """Measure the throughput of square matrix products and of copies.

    The best of several repetitions counts, as whatever disturbs one makes it slower only.  A
    model's own products are smaller or oddly shaped, so that a run seldom reaches the figure.

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
        size, flops_per_second = _product(device, getattr(torch, dtype.value))
        bytes_per_second = _copy(device)
    return Throughput(
        flops_per_second,
        bytes_per_second,
        f"measured on {device}: product of {dtype.value} matrices of {size} × {size}, "
        f"copy of {_COPIED_BYTES // 1024**2} MiB",
    )


def _product(device: str, dtype: torch.dtype) -> tuple[int, float]:
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
        if size == _LARGEST_PRODUCT or _best(multiply, 0) >= _LONG_ENOUGH:
            return size, 2 * size**3 / _best(multiply, _BUDGET)
        size *= 2


def _copy(device: str) -> float:
    """Return bytes a second, read and written ones counted alike."""
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def copy() -> None:
        target.copy_(source)
        target[-1].item()

    copy()
    return 2 * _COPIED_BYTES / _best(copy, _BUDGET)


def _best(action: Callable[[], None], budget: float) -> float:
    """Return the seconds of the fastest of as many runs as the budget allows, at least one."""
    end = time.perf_counter() + budget
    best = float("inf")
    while True:
        start = time.perf_counter()
        action()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
