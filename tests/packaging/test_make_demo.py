"""``make demo`` never touches a folder that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    study = tmp_path / "my demo" / "study"
    study.mkdir(parents=True)
    (study / "plan.yaml").write_text("edited for an hour")
    shutil.copy(ROOT / "Makefile", tmp_path)
    made = subprocess.run(
        ["make", "demo", "DEMO=my demo"],
        cwd=tmp_path,
        # As a user's shell runs it, whatever make the tests are run by.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 2
    assert made.stdout == ""
    said = made.stderr.splitlines()[0]
    assert "my demo exists already and is left as it is" in said
    assert "DEMO=another-folder" in said
    assert (study / "plan.yaml").read_text() == "edited for an hour"
    # Refused before an environment is made, which takes minutes.
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", "my demo"}


def test_no_target_removes_a_demonstration() -> None:
    recipes = [line for line in (ROOT / "Makefile").read_text().splitlines() if "rm " in line]
    assert recipes
    assert not any("demo" in line or "DEMO" in line for line in recipes)
