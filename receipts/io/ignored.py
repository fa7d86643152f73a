"""What git should not take in: private keys, journals and restricted records."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from safety_receipts.receipts.io.files import create_exclusive

IGNORE_FILE: Final = ".gitignore"
IGNORE_PATTERNS: Final = """\
# What must not get into a repository, as receipts init wrote it.
# Private keys; their public halves, *.pub, are for everybody.
*.key
*.pem
evaluator
auditor
# Journals, which hold responses and the run's secret, and restricted records.
*.sqlite*
.*.journal.jsonl
responses.jsonl.zst
# What a killed command leaves behind.
.*.tmp
"""
"""Patterns for a folder in which studies are made."""

_SECONDS: Final = 10.0


def write_ignore_file(folder: Path) -> None:
    """Write the patterns into a folder; one that has such a file keeps its own.

    Raises:
        FileAccessError: It cannot be written.
    """
    path = folder / IGNORE_FILE
    if not (path.exists() or path.is_symlink()):
        create_exclusive(path, IGNORE_PATTERNS.encode(), mode=0o644)


def work_tree_that_takes(path: Path) -> Path | None:
    """Return the git work tree that would take a file in.

    Args:
        path: The file; it need not exist.

    Returns:
        The top of the tree; None where the file lies in none, or git is told to ignore it.  Where
        git cannot be asked, nothing is taken for ignored.
    """
    folder = path.parent.resolve()
    tree = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    return None if tree is None or _is_ignored(folder, path.name) else tree


def _is_ignored(folder: Path, name: str) -> bool:
    # No program that a repository's configuration names is to run.
    words = ["git", "-c", "core.fsmonitor=false", "check-ignore", "--quiet", "--", f"./{name}"]
    try:
        asked = subprocess.run(
            words, cwd=folder, capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
