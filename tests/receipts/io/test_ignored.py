"""Private keys and responses stay out of repositories."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import POINTS_FILE, RECEIPT, RESPONSES_FILE
from safety_receipts.receipts.io.ignored import (
    IGNORE_FILE,
    work_tree_that_takes,
    write_ignore_file,
)
from safety_receipts.receipts.unfinished import RUN_JOURNAL
from safety_receipts.verify.audit.journals.calibrations import calibration_journal_path

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of git's."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


@needs_git
def test_what_init_writes_keeps_out_keys_journals_and_responses_and_nothing_else(
    tree: Path,
) -> None:
    write_ignore_file(tree)
    private = [
        tree / "evaluator",
        tree / "mine.key",
        tree / "bundle" / RUN_JOURNAL,
        tree / "bundle" / f"{RUN_JOURNAL}-wal",
        tree / "bundle" / RESPONSES_FILE,
        calibration_journal_path(tree / "calibration.json"),
    ]
    public = [
        tree / "evaluator.pub",
        tree / "plan.yaml",
        tree / "calibration.json",
        tree / "bundle" / POINTS_FILE,
        tree / "bundle" / RECEIPT,
    ]
    (tree / "bundle").mkdir()
    assert [path for path in private if work_tree_that_takes(path)] == []
    assert [path for path in public if not work_tree_that_takes(path)] == []


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).write_text("mine")
    write_ignore_file(tmp_path)
    assert (tmp_path / IGNORE_FILE).read_text() == "mine"


def test_outside_of_a_repository_nothing_is_taken(tmp_path: Path) -> None:
    assert work_tree_that_takes(tmp_path / "key") is None


@needs_git
def test_keygen_warns_of_a_key_that_git_would_take(
    receipts: Callable[..., Any], tree: Path
) -> None:
    (tree / "below").mkdir()
    made = receipts("keygen", tree / "below" / "mine")
    assert made.code == 0
    assert "git would take this private key in" in made.err
    assert f"add the line /below/mine to {tree / IGNORE_FILE}" in made.err
    (tree / IGNORE_FILE).write_text("/below/other\n")
    made = receipts("keygen", tree / "below" / "other")
    assert (made.code, made.err) == (0, "")


@needs_git
def test_where_git_cannot_be_asked_a_key_counts_as_taken(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / IGNORE_FILE).write_text("*\n")
    assert work_tree_that_takes(tree / "key") is None
    monkeypatch.setenv("PATH", "")
    assert work_tree_that_takes(tree / "key") == tree


@needs_git
def test_a_repository_runs_nothing_of_its_own(tree: Path) -> None:
    made = tree / "hook-ran"
    hook = tree / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch '{made}'\n")
    hook.chmod(0o755)
    subprocess.run(["git", "-C", tree, "config", "core.fsmonitor", hook], check=True)
    assert work_tree_that_takes(tree / "key") == tree
    assert not made.exists()
