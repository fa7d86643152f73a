"""Git LFS pointers: three lines of text that stand where a large file should.

A repository cloned without Git LFS, or copied from such a clone, holds them under the names of
the weights and often of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safety_receipts.receipts.errors import MalformedError

_START = b"version https://git-lfs.github.com/spec/"
_LONGEST = 1024
"""A pointer is shorter than this, says its specification."""


def refuse_pointer(data: bytes, path: Path) -> None:
    """Refuse the content of a file that is a pointer.

    Args:
        data: The content, or its first 64 bytes.
        path: The file, for the error.

    Raises:
        MalformedError: It is one.
    """
    if data.startswith(_START):
        raise MalformedError(
            "is a Git LFS pointer, not the file itself",
            file=path,
            hint="run `git lfs pull` where the folder was cloned, or download the file",
        )


def refuse_pointers(paths: Iterable[Path]) -> None:
    """Refuse files that are pointers; those that are missing or cannot be read are left out.

    Raises:
        MalformedError: With the first that is one.
    """
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > _LONGEST:
                continue
            with path.open("rb") as stream:
                data = stream.read(64)
        except OSError:
            continue  # whoever reads it for its content says why it cannot be read
        refuse_pointer(data, path)
