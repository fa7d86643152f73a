"""Other projects' programs of logs and witnesses, which `make .venv/peers/.installed` installs.

They say that they need a newer Python than the oldest that is supported here, and run on it; so
they are no dependency, and lie in a folder of their own.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / ".venv" / "peers"
REQUIRED: Final = "RECEIPTS_REQUIRE_PEERS"
"""Environment variable: where it is set, a missing peer is a failure, and no reason to skip."""


def peer(module: str) -> Any:
    """Import a module of theirs; where it is not installed, the calling tests are skipped."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: it hides nothing
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if os.environ.get(REQUIRED) or not module.startswith(str(error.name).split(".", 1)[0]):
            raise
        reason = f"{module} is not installed: make .venv/peers/.installed"
        pytest.skip(reason, allow_module_level=True)
