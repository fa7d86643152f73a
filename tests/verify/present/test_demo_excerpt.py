"""What the demonstration shows of the output of a command."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from safety_receipts.verify.commands.demo import command_words
from safety_receipts.verify.present.demo import Captured, Lines, excerpt

PRINTED = """\
\x1b[1mcheckpoint\x1b[0m  organism
            root a309
queries     240
consistent
  ✗  rates   complianceRate is 0.05,
             the counts give 0.25
  ✓  counts  follow
PASSED: a key you trust
signed it

after it
"""


def test_lines_go_on_where_they_are_indented_or_up_to_an_empty_one() -> None:
    kept = excerpt(PRINTED, [Lines("checkpoint"), Lines("  ✗"), Lines("PASSED: ", True)])
    assert kept == [
        "\x1b[1mcheckpoint\x1b[0m  organism",
        "            root a309",
        "  ✗  rates   complianceRate is 0.05,",
        "             the counts give 0.25",
        "PASSED: a key you trust",
        "signed it",
    ]


def test_nothing_is_kept_that_is_not_wanted() -> None:
    assert excerpt(PRINTED, [Lines("REFUSED")]) == []
    assert excerpt(PRINTED, [Lines("queries")]) == ["queries     240"]


def test_what_is_captured_looks_as_on_the_stream_that_it_replaces() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert Captured(Terminal()).isatty()
    assert not Captured(io.StringIO()).isatty()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command of an environment below the working folder, as ``make demo`` makes it."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    command = folder / "receipts"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return command


def test_the_command_is_named_by_its_file_where_it_is_not_on_the_path(installed: Path) -> None:
    assert command_words() == ".venv/bin/receipts"


def test_the_command_is_named_alone_where_it_is_on_the_path(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(installed.parent))
    assert command_words() == "receipts"


def test_another_command_of_that_name_is_not_taken_for_ours(
    installed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "receipts"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert command_words() == ".venv/bin/receipts"


def test_from_elsewhere_the_whole_path_is_named(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert command_words() == str(installed)


def test_without_an_installed_command_the_module_is_named(installed: Path) -> None:
    installed.unlink()
    assert command_words() == "python -m safety_receipts"
