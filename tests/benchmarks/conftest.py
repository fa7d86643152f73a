"""Benchmarks are scripts, not an installed package: their folder is put on the path."""

from __future__ import annotations

import sys
from pathlib import Path

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

if _BENCHMARKS.is_dir():
    sys.path.insert(0, str(_BENCHMARKS))
else:  # a source distribution leaves them out
    collect_ignore_glob = ["test_*.py"]
