"""Plan files to start from."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

PRESETS: Final = ("demo", "paper")
"""Names of the presets, the default first."""


def preset(name: str) -> str:
    """Return the text of a preset."""
    return files(__package__).joinpath(f"{name}.yaml").read_text("utf-8")
