"""What pyproject.toml declares is what is tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from safety_receipts.receipts.extras import Extra, install

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_TEXTS = (".py", ".md", ".yaml", ".yml", ".json", ".sh", ".txt")


def _pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _floors(requirements: list[str]) -> dict[str, str]:
    found = {}
    for requirement in requirements:
        name, _, floor = requirement.partition(">=")
        assert re.fullmatch(r"[0-9.]+", floor), f"{requirement}: state a lower bound and no upper"
        found[name] = floor
    return found


def _padded(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return (*parts, *([0] * (4 - len(parts))))


def test_the_lowest_versions_are_the_declared_ones() -> None:
    floors, pins = _floors(PROJECT["dependencies"]), _pins("constraints-minimum.txt")
    assert set(pins) == set(floors)
    for name, floor in floors.items():
        assert _padded(pins[name]) == _padded(floor), name


def test_the_lowest_versions_of_what_runs_are_the_declared_ones() -> None:
    floors = _floors(PROJECT["optional-dependencies"]["run"])
    pins = _pins("constraints-minimum-run.txt")
    assert set(pins) == set(floors) - {"torch"}  # installed in the version of constraints.txt
    for name, pin in pins.items():
        assert _padded(pin) == _padded(floors[name]), name


def test_the_releases_that_an_error_names_are_those_that_are_tested() -> None:
    pytest.importorskip("torch", reason="the error is the engine's, and the engine needs torch")
    from safety_receipts.runner.engines.forward import TESTED

    oldest = _pins("constraints-minimum-run.txt")["transformers"]
    pinned = _pins("constraints.txt")["transformers"]
    assert (oldest, pinned) == TESTED


def test_the_base_install_is_small() -> None:
    assert set(_floors(PROJECT["dependencies"])) == {
        "pydantic",
        "jsonschema",
        "cryptography",
        "rich",
        "click",
        "rfc8785",
        "PyYAML",
        "numpy",
        "zstandard",
    }


def test_everything_ci_installs_is_pinned() -> None:
    pins = {name.lower().replace("_", "-") for name in _pins("constraints.txt")}
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"dev", *get_args(Extra)}
    for requirement in [
        *PROJECT["dependencies"],
        *(one for each in extras.values() for one in each),
    ]:
        name = re.split(r">=|\[", requirement)[0].lower().replace("_", "-")
        assert name in pins, requirement


@pytest.mark.parametrize("extra", get_args(Extra))
def test_an_extra_states_lower_bounds_alone(extra: Extra) -> None:
    assert _floors(PROJECT["optional-dependencies"][extra])


def test_no_hint_names_the_distribution_as_if_an_index_had_it() -> None:
    name, extras = PROJECT["name"], "|".join(PROJECT["optional-dependencies"])
    index_form = re.compile(rf"{name}\[({extras})\]|install\s+(--?\S+\s+)*'?{name}\b")
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("receipts", "schemas", "runner", "verify", "docs", "examples", "benchmarks"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in _TEXTS]
    assert len(files) > 200  # the code base was looked at
    assert [path for path in files if index_form.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("extra", get_args(Extra))
def test_the_hint_names_an_extra_and_a_command_that_works(extra: Extra) -> None:
    assert extra in PROJECT["optional-dependencies"]
    assert install(extra) == f"pip install '.[{extra}]' in a clone of {PROJECT['name']}"


def test_a_checkout_without_links_says_so(tmp_path: Path) -> None:
    """As git makes one where the file system, or a setting, has no symbolic links."""
    package = tmp_path / "safety_receipts"
    package.mkdir()
    shutil.copyfile(ROOT / "safety_receipts" / "__init__.py", package / "__init__.py")
    (package / "receipts").write_text("../receipts")
    done = subprocess.run(
        [sys.executable, "-c", "import safety_receipts"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "this checkout has no symbolic links" in done.stderr
