"""Plan files and policies to start from."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

PRESETS: Final = ("demo", "paper")
"""Names of the presets, the default first."""
POLICIES: Final = ("starter", "strict")
"""Names of the policies, whose presets are called ``gate-NAME``."""


def preset(name: str) -> str:
    """Return the text of a preset."""
    return files(__package__).joinpath(f"{name}.yaml").read_text("utf-8")
