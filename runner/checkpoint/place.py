"""Where a model's folder is: on disk, or on the hub and fetched from there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from safety_receipts.runner.checkpoint.folder import folder_status
from safety_receipts.runner.checkpoint.model_files import PICKLE_ENDINGS
from safety_receipts.runner.hub.fetch import fetch_snapshot


class ArtifactPlace(Protocol):
    """A place on disk, or a repository with a commit."""

    @property
    def path(self) -> Path | None:
        """Folder on disk; None: in a repository."""

    @property
    def hub(self) -> str | None:
        """Repository on the Hugging Face hub; None: on disk."""

    @property
    def revision(self) -> str | None:
        """Commit of that repository."""


def locate(entry: ArtifactPlace, *, root: Path, allow_pickle: bool = False) -> Path:
    """Return the local folder of a model that a plan names, downloaded if need be.

    Args:
        entry: A place on disk, or a repository with a commit.
        root: Folder that relative paths start from: the plan file's.
        allow_pickle: Download files that hold pickles too.

    Raises:
        FileAccessError: No such folder; or gated, not found, offline, or the hub fails.
        UsageError: The repository's name cannot name anything.
        IncompleteError: huggingface_hub is not installed.
        ValueError: The entry has no place.
    """
    if entry.path is not None:
        folder = root / entry.path
        folder_status(folder)
        return folder
    if entry.hub is None or entry.revision is None:
        raise ValueError("the entry has no place")
    leave_out = () if allow_pickle else tuple(f"*{ending}" for ending in PICKLE_ENDINGS)
    return fetch_snapshot(entry.hub, entry.revision, leave_out)
