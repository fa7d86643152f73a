"""What a release gate loads: nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safety_receipts.runner import presets

BLOCKED = ("torch", "transformers", "pandas", "statsmodels", "scipy", "matplotlib")

PROBE = """
import sys
from safety_receipts.receipts.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stopped:
    code = stopped.code
print("\\nLOADED", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["show", "BUNDLE"], 0),
        (["verify", "BUNDLE", "--trust", "KEY"], 0),
        (["verify", "--help"], 0),
        (["gate", "BUNDLE", "--policy", "STRICT", "--trust", "KEY"], 1),
        (["export", "BUNDLE", "--format", "csv", "--out", "OUT", "--trust", "KEY"], 0),
        (["attach", "BUNDLE", "README.md", "--trust", "KEY"], 1),
        (["prove", "BUNDLE", "3"], 0),
        (["schema", "point"], 0),
    ],
)
def test_nothing_heavy_is_loaded(
    arguments: list[str], code: int, golden: Path, tmp_path: Path
) -> None:
    places = {"BUNDLE": str(golden / "good" / "ed25519"), "KEY": str(golden / "ed25519.pub")}
    places["OUT"] = str(tmp_path / "rates.csv")
    places["STRICT"] = str(Path(presets.__file__).parent / "gate-strict.yaml")
    words = [places.get(word, word) for word in arguments]
    finished = subprocess.run(
        [sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=False
    )
    assert finished.returncode == code, finished.stderr
    loaded = finished.stderr.rpartition("LOADED")[2].split()
    assert "click" in loaded  # the probe sees what is loaded
    assert not set(loaded) & set(BLOCKED)


def test_help_loads_no_models() -> None:
    """``--help`` starts in a blink: neither pydantic nor cryptography is needed to list names."""
    finished = subprocess.run(
        [sys.executable, "-c", PROBE, "--help"], capture_output=True, text=True, check=True
    )
    loaded = finished.stderr.rpartition("LOADED")[2].split()
    assert not set(loaded) & {"pydantic", "cryptography", "jsonschema", "numpy", "rich"}
