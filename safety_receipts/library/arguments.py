"""What callers give: a path or several, as text or as path."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

from safety_receipts.receipts.keys import TrustSet
from safety_receipts.verify.levels.expected import is_root

AnyPath: TypeAlias = str | PathLike[str]
"""A path, however it is written."""
AnyPaths: TypeAlias = AnyPath | Iterable[AnyPath]
"""One path or several."""


def path_of(path: AnyPath) -> Path:
    """Return a path; ``~`` is the caller's home."""
    return Path(path).expanduser()


def optional_path(path: AnyPath | None) -> Path | None:
    """Return a path, or None for none."""
    return None if path is None else path_of(path)


def paths_of(paths: AnyPaths | None) -> tuple[Path, ...]:
    """Return one path or several as a tuple; None: none.

    Raises:
        TypeError: One is neither text nor ``os.PathLike``.
    """
    if paths is None:
        return ()
    if isinstance(paths, bytes):
        raise TypeError("a path is text or os.PathLike, and not bytes")
    if isinstance(paths, str | PathLike):
        return (path_of(paths),)
    return tuple(path_of(path) for path in paths)


def trust_of(keys: AnyPaths | None) -> TrustSet:
    """Read public keys.

    Raises:
        KeyFileError: A file is no public key, or one of an unsupported kind.
        FileAccessError: A file cannot be read.
    """
    return TrustSet.load(paths_of(keys))


def named_checkpoint(checkpoint: AnyPath) -> str:
    """Return a checkpoint's root as it is given, or the path of its folder."""
    text = fspath(checkpoint)
    return text if is_root(text) else str(path_of(checkpoint))
