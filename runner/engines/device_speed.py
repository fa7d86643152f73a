"""How fast a device is, as estimates take it; measured by :mod:`runner.engines.throughput`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Throughput:
    """How fast a device is."""

    flops_per_second: float
    """Floating-point operations a second in the run's number format."""
    bytes_per_second: float
    """Bytes read or written a second, in the device's own memory."""
    source: str
    """Where the figures come from: how they were measured, or who states them."""

    def __post_init__(self) -> None:
        if not (self.flops_per_second > 0 and self.bytes_per_second > 0):
            raise ValueError("a throughput is above 0")

    def seconds(self, flops: float, bytes_moved: float) -> float:
        """Return what computing and moving bytes take together: the longer of the two."""
        return max(flops / self.flops_per_second, bytes_moved / self.bytes_per_second)
