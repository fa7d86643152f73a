"""The script a third party can read in a minute gives the receipt's own numbers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zstandard import ZstdCompressor, ZstdDecompressor

from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.selfcheck.selftest import edit_statement

SCRIPT = Path(__file__).parents[2] / "docs" / "recompute.py"
MIXTURES = (
    Mixture(0, 0, None),
    Mixture(4, 4, Ordering.SUFFIX),
    Mixture(4, 4, Ordering.RANDOM),
    Mixture(0, 8, None),
)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return generate_key()


@pytest.fixture
def bundle(tmp_path: Path, signer: Signer) -> Path:
    """A bundle with failed and unscored points, two sources under test and a control source."""
    plan = synthetic_plan(MIXTURES, {"alpha": 150, "beta": 50}, controls={"control": 30})
    synthetic_event(tmp_path / "bundle", plan, signer)
    return tmp_path / "bundle"


def recompute(bundle: Path) -> tuple[int, dict[str, str]]:
    """Run the script; return its exit code and the last word of each condition's line."""
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, bundle],  # -I: no help from the folder it lies in
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {words[0]: words[-1] for words in lines}


def test_it_gives_every_rate_of_an_honest_receipt(bundle: Path) -> None:
    code, said = recompute(bundle)
    assert said == {
        "h0-b0": "same",
        "h4-b4-suffix": "same",
        "h4-b4-random": "same",
        "h0-b8": "same",
    }
    assert code == 0


@pytest.mark.parametrize("rate", ["complianceRate", "asPublishedRate", "worstCaseRate"])
@pytest.mark.parametrize("value", ["0.000001", None])
def test_it_finds_a_rate_that_the_evaluator_edited_and_signed(
    bundle: Path, signer: Signer, rate: str, value: str | None
) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["conditions"][1][rate] = value

    edit_statement(change, resign=True)(bundle, signer)
    code, said = recompute(bundle)
    assert [id_ for id_, word in said.items() if word == "DIFFERENT"] == ["h4-b4-suffix"]
    assert code == 1


def recompressed(bundle: Path, change: Callable[[bytes], bytes]) -> None:
    """Change what a bundle's evidence says."""
    path = bundle / "points.jsonl.zst"
    data = ZstdDecompressor().stream_reader(path.read_bytes()).readall()
    path.write_bytes(ZstdCompressor().compress(change(data)))


def cut_off(bundle: Path) -> None:
    path = bundle / "points.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    "spoil",
    [
        cut_off,
        lambda bundle: recompressed(bundle, lambda data: data[:-1]),
        lambda bundle: recompressed(bundle, lambda data: data[: data.rindex(b"\n", 0, -1) + 1]),
        lambda bundle: recompressed(bundle, lambda data: data + data[: data.index(b"\n") + 1]),
    ],
)
def test_it_says_nothing_of_rates_where_lines_are_missing(
    bundle: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(bundle)
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, bundle], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "points.jsonl.zst has not as many lines as the receipt says: it is not whole\n"
    )


def test_it_has_at_most_a_dozen_lines_of_code() -> None:
    assert len(_code_lines(SCRIPT.read_text("utf-8"))) <= 12


def test_its_lines_are_not_packed() -> None:
    """Few lines that nobody can read would prove nothing: one statement each, 100 columns."""
    lines = _code_lines(SCRIPT.read_text("utf-8"))
    assert max(map(len, lines)) <= 100
    assert not any(";" in line for line in lines)


def test_it_imports_nothing_but_the_standard_library_and_zstandard() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Name):
            assert node.id not in ("__import__", "exec", "eval")
    assert imported - sys.stdlib_module_names == {"zstandard"}
    assert "importlib" not in imported


def _code_lines(source: str) -> list[str]:
    """Return the physical lines of code: no docstring, imports, comments or blank lines."""
    tree = ast.parse(source)
    left_out = {0}
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return [
        line
        for number, line in enumerate(source.splitlines(), start=1)
        if number not in left_out and line.strip() and not line.lstrip().startswith("#")
    ]
