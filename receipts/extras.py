"""What to do about a package that is not installed.

The distribution is on no public index, so that no command that names it could work: an extra
is installed from a clone.
"""

from __future__ import annotations

from typing import Literal

Extra = Literal["run", "findings", "inspect", "parquet", "log", "pool"]
"""A group of packages that pyproject.toml names."""


def install(extra: Extra) -> str:
    """Return how to install an extra, for a hint."""
    return f"pip install '.[{extra}]' in a clone of safety-receipts"
