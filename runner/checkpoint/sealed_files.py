"""Are the files of a folder those that a sealed plan lists?

Asked before anything of the folder is run: what is in a template, a tokenizer or a configuration
is then what the plan's evaluator sealed, or nothing of it is run at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from safety_receipts.receipts.model.checkpoint import Checkpoint, CheckpointFile
from safety_receipts.runner.checkpoint.folder import pickled_files
from safety_receipts.runner.checkpoint.unloaded import loaded_by_nothing


def file_problem(
    sealed: Checkpoint, files: Iterable[CheckpointFile], weights: Iterable[str]
) -> str | None:
    """Return in what a folder's files differ from those of a sealed checkpoint, or None.

    The list of files says more than the root, which binds no names, and comes to the same in
    either order.

    Args:
        sealed: The checkpoint that a plan names, with its files.
        files: The folder's.
        weights: Names of the files that the folder's weights are loaded from: these the plan must
            name, pickles included.
    """
    named = {file.path: file for file in sealed.files}
    found = {file.path: file for file in files}
    # A snapshot from the hub is fetched without pickles; a copy of it on a disk may hold some.
    left_out = set(pickled_files(found.values())) if sealed.hub else set()
    left_out -= set(weights)
    for path in sorted({*named, *found}):
        if path not in found:
            return f"{path} is missing"
        if path not in named:
            if path in weights:
                return (
                    f"{path} holds the weights that are loaded, and is not one of the plan's files"
                )
            if path not in left_out and not loaded_by_nothing(path):
                return f"{path} is not one of the plan's files, and could be loaded"
        elif named[path] != found[path]:
            differs = f"{short(found[path].sha256)}, the plan names {short(named[path].sha256)}"
            return f"{path} differs: {differs}"
    return None


def short(digest: str | None) -> str:
    """Return the start of a digest, as a detail spells it."""
    return "none" if digest is None else f"{digest[:16]}…"
