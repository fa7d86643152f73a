"""What a part of the script is, and what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was measured."""

    what: str
    """Measured of what."""
    value: str
    """The figure, with its unit."""
    wanted: str = ""
    """What it is held to; empty: to nothing."""
    held: bool | None = None
    """Whether it was; None: it is held to nothing, or not on this device."""

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how large parts run."""

    device: torch.device
    """Where."""
    tiny: bool
    """Sizes that a CPU takes seconds for: the same code, and figures that mean nothing."""

    @property
    def judged(self) -> bool:
        """Whether speeds are held to what is wanted of them."""
        return self.device.type == "cuda" and not self.tiny


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
