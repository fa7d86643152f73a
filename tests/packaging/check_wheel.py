"""Builds the wheel and uses it from another folder, in an environment of its own.

Run by ``make test-wheel``.  The environment has the wheel and what it declares, and no
source tree, extras or test tools: what a release gate installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "0.1"
PACKAGE = "safety_receipts"
FOLDERS = ("receipts", "schemas", "runner", "verify")
NAMESAKES = ("schemas==0.7.1", "verify==1.1.1")
"""Distributions on the index that install modules of the same names as our folders."""
PIP = ("-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path, expected: int = 0) -> str:
    """Run a command in ``cwd`` and return its output."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != expected:
        sys.exit(f"{command}: exit code {finished.returncode}\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def check_contents(wheel: Path) -> None:
    """The wheel holds the packages, but for the organism's trainer, and no other top level."""
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert top == {PACKAGE}, top
    assert f"{PACKAGE}/py.typed" in names
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and not {"__pycache__", "training"} & set(file.parts):
                assert f"{PACKAGE}/{file.relative_to(ROOT)}" in names, file
    assert not any("/training/" in name for name in names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def check_names(folder: Path, python: Path, wheel: Path) -> None:
    """Nothing of another distribution, nor of the working directory, takes our modules' place."""
    shadows = folder / "shadows"
    for name in FOLDERS:
        (shadows / name).mkdir(parents=True)
        (shadows / name / "__init__.py").write_text("raise ImportError('not this one')\n")
    install = (python, *PIP, "install", "--quiet", "--no-deps")
    trust = ("--trust", GOLDEN / "ed25519.pub", "--allow-instrument")
    words = ("verify", GOLDEN / "good" / "ed25519", *trust)
    # Theirs after ours, then ours after theirs.
    for later in (NAMESAKES, ("--force-reinstall", wheel)):
        run(*install, *later, cwd=folder)
        theirs = "from importlib.util import find_spec; print(find_spec('schemas').origin)"
        assert "site-packages/schemas" in run(python, "-c", theirs, cwd=folder)
        for cwd in (folder, shadows):
            run(python.with_name("receipts"), *words, cwd=cwd)
            run(python, "-m", PACKAGE, *words, cwd=cwd)


def check_library_page(folder: Path, python: Path, wheel: Path) -> None:
    """The page of the library holds where the wheel and its extra are installed."""
    extra = f"{wheel}[findings]"
    run(python, *PIP, "install", "--quiet", "-c", ROOT / "constraints.txt", extra, cwd=folder)
    run(python, "-P", ROOT / "tests" / "docs" / "library_page.py", cwd=folder)


def check_release(folder: Path, receipts: Path) -> None:
    """A gate, a page, a card and tables need nothing but the base install."""
    policy, card = folder / "policy.yaml", folder / "CARD.md"
    bundle = GOLDEN / "good" / "ed25519"
    trust = ("--trust", GOLDEN / "ed25519.pub")
    attach = (receipts, "attach", bundle, card, *trust, "--instrument")
    policy.write_text(
        "version: 1\nrules:\n- {rule: verified, level: consistent}\n"
        "- {rule: instrument, allow: true}\n"
    )
    run(receipts, "gate", bundle, *trust, "--policy", policy, cwd=folder)
    policy.write_text("version: 1\nrules:\n- {rule: rate, measure: rate, at_most: 0.0}\n")
    run(receipts, "gate", bundle, *trust, "--policy", policy, cwd=folder, expected=1)
    run(receipts, "report", bundle, *trust, "--out", "page.html", cwd=folder)
    assert "<script" in (folder / "page.html").read_text("utf-8")
    card.write_text("---\nlicense: mit\n---\n# Model\n", "utf-8")
    run(*attach, cwd=folder)
    run(*attach, "--check", cwd=folder)
    card.write_text(card.read_text("utf-8").replace("value: 0.", "value: 1."), "utf-8")
    run(*attach, "--check", cwd=folder, expected=3)
    run(receipts, "export", bundle, *trust, "--format", "csv", "--out", "table.csv", cwd=folder)
    assert (folder / "table.csv").read_text("utf-8").count("\n") > 2


def main() -> None:
    """Build, install, use."""
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        # From a copy, so that nothing is left in the source tree.
        source = folder / "source"
        shutil.copytree(
            ROOT,
            source,
            ignore=shutil.ignore_patterns(".git", ".venv*", "demo", ".*_cache", ".hypothesis"),
        )
        # The wheel of the sdist: whatever that lacks, this lacks, too.
        run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
        [wheel] = folder.glob("*.whl")
        check_contents(wheel)
        shutil.rmtree(source)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        constraints = ROOT / "constraints.txt"
        run(python, *PIP, "install", "--quiet", "-c", constraints, wheel, cwd=folder)
        receipts = folder / "venv" / "bin" / "receipts"
        for package in ("torch", "pandas", "statsmodels", "scipy", "matplotlib"):
            run(python, "-c", f"import {package}", cwd=folder, expected=1)
        assert "safety-receipts" in run(python, *PIP, "list", cwd=folder)
        run(receipts, "--version", cwd=folder)
        run(receipts, "doctor", cwd=folder)
        run(receipts, "show", GOLDEN / "good" / "ed25519", cwd=folder)
        trust = ("--trust", GOLDEN / "ed25519.pub", "--allow-instrument")
        run(receipts, "verify", GOLDEN / "good" / "ed25519", *trust, cwd=folder)
        run(receipts, "verify", GOLDEN / "good" / "ed25519", *trust[:2], cwd=folder, expected=1)
        bad = GOLDEN / "bad" / "an-outcome-is-flipped"
        run(receipts, "verify", bad, *trust, cwd=folder, expected=3)
        check_release(folder, receipts)
        # The organism is in the wheel; running it takes the extra, and the tool says so.
        run(receipts, "init", "study", cwd=folder)
        assert (folder / "study" / "checkpoint" / "model.safetensors").stat().st_size > 100_000
        missing = run(receipts, "plan", "study/plan.yaml", "--json", cwd=folder, expected=5)
        assert "pip install '.[run]' in a clone of safety-receipts" in missing, missing
        check_names(folder, python, wheel)
        check_library_page(folder, python, wheel)
        print(f"{wheel.name}: built, installed alone and used from another folder")


if __name__ == "__main__":
    main()
