"""Files of repositories on the Hugging Face hub, at a commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.base import RelativePath

_PATH: TypeAdapter[str] = TypeAdapter(RelativePath)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file in the local cache of the hub."""

    path: Path
    """Where it lies."""
    commit: str
    """Commit of the repository it was taken from, 40 hex digits."""


def fetch(hub: str, file: str, revision: str) -> HubFile:
    """Return a file of a dataset repository, downloaded unless the cache has it.

    The client is huggingface_hub, so its settings apply: ``HF_ENDPOINT``, ``HF_HOME``,
    ``HF_TOKEN``, ``HF_HUB_OFFLINE``.

    Args:
        hub: Repository, ``owner/name``.
        file: Path in the repository.
        revision: Commit, branch or tag; a branch or tag is resolved to its commit.

    Raises:
        FileAccessError: Gated, not found, offline, or the hub fails.
        UsageError: ``hub`` or ``file`` cannot name anything.
        MalformedError: The hub answers with another commit than the one asked for.
        IncompleteError: huggingface_hub is not installed.
    """
    try:
        _PATH.validate_python(file)
    except ValidationError:
        raise UsageError(
            "not the path of a file in a repository", file=file, hint="like data/train.jsonl"
        ) from None
    parts = PurePosixPath(file).parts
    repository = Repository(hub, revision, RepositoryKind.DATASET)
    with _client(repository, file) as client:
        path = Path(client.hf_hub_download(hub, file, repo_type="dataset", revision=revision))
    commit = path.parents[len(parts) - 1].name  # …/snapshots/<commit>/<file>
    if not _COMMIT.fullmatch(commit) or (_COMMIT.fullmatch(revision) and commit != revision):
        raise MalformedError(
            f"the hub gave commit {commit} of {revision}",
            file=repository.name,
            hint="check HF_ENDPOINT: it does not answer as the hub does",
        )
    return HubFile(path, commit)


class RepositoryKind(StrEnum):
    """What a repository holds."""

    DATASET = "dataset"
    MODEL = "model"


@dataclass(frozen=True)
class Repository:
    """A repository at a revision, as errors speak of it."""

    hub: str
    """``owner/name``."""
    revision: str
    """Commit, branch or tag."""
    kind: RepositoryKind

    @property
    def name(self) -> str:
        """The repository and its revision."""
        return f"{self.hub}@{self.revision}"

    @property
    def page(self) -> str:
        """Its page on the hub."""
        folder = "datasets/" if self.kind is RepositoryKind.DATASET else ""
        return f"https://huggingface.co/{folder}{self.hub}"


def fetch_snapshot(hub: str, revision: str, leave_out: Sequence[str]) -> Path:
    """Return the folder of a model repository's files, downloaded unless the cache has them.

    The client's settings apply as in :func:`fetch`.  Files in the folder may be symbolic links
    into the cache.  Where the hub cannot be reached and the client that filled the cache kept
    no listing of the repository, nobody can say whether the folder is whole.

    Args:
        hub: Repository, ``owner/name``.
        revision: Commit, 40 hex digits.
        leave_out: Patterns (``*.bin``) of files that are not downloaded; an older download may
            have left such files in the folder all the same.

    Raises:
        FileAccessError: Gated, not found, offline, or the hub fails.
        UsageError: ``hub`` cannot name anything.
        IncompleteError: huggingface_hub is not installed.
    """
    repository = Repository(hub, revision, RepositoryKind.MODEL)
    with _client(repository, None) as client:
        folder: str = client.snapshot_download(
            hub, revision=revision, ignore_patterns=list(leave_out)
        )
    return Path(folder)


@contextmanager
def _client(repository: Repository, file: str | None) -> Iterator[Any]:
    """Give huggingface_hub, and say its errors in one line with a remedy.

    Args:
        repository: What is asked for.
        file: The file in it; None: all of them.
    """
    thing = "file" if file else "folder"
    try:
        client = import_module("huggingface_hub")  # only where something comes from the hub
        errors = import_module("huggingface_hub.errors")
    except ImportError:
        raise IncompleteError(
            "fetching from the hub needs huggingface_hub",
            file=repository.name,
            hint=f"{install('run')}, or name a {thing} with `path:`",
        ) from None
    try:
        yield client
    except (
        errors.EntryNotFoundError,
        errors.HFValidationError,
        _transport(errors),
        RuntimeError,  # of hf_xet, the chunked transfer
        OSError,
    ) as error:
        raise _told(error, errors, repository, file) from None


def _told(error: Exception, errors: Any, repository: Repository, file: str | None) -> ReceiptsError:
    """Return an error of huggingface_hub's as one of ours."""
    refusal = _refusal(error, errors, repository)
    if refusal is not None:
        return refusal
    kind, place = repository.kind.value, repository.name
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        missing = "the file is not in the local cache" if file else "the local cache lacks files"
        said = f"the hub cannot be reached, and {missing}"
        thing = "file" if file else "folder"
        hint = f"connect and try again, or name a downloaded {thing} with `path:`"
    elif isinstance(error, errors.EntryNotFoundError):
        said = (
            f"the {kind} has no such file at this revision" if file else "a listed file is missing"
        )
        hint = f"see {repository.page}/tree/main and set `file:`" if file else "try again later"
    elif isinstance(error, (_transport(errors), RuntimeError)):
        said, hint = f"the hub failed: {_first_line(error)}", "try again later"
    else:
        said = f"cannot download: {getattr(error, 'strerror', None) or _first_line(error)}"
        hint = "check the space and the rights in HF_HOME, then try again"
    return FileAccessError(said, file=place, place=file, hint=hint)


def _refusal(error: Exception, errors: Any, repository: Repository) -> ReceiptsError | None:
    """Return what the hub says of a repository, whatever file is asked for; None: nothing."""
    kind, place = repository.kind.value, repository.name
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"not the id of a {kind}", file=place, hint="like owner/name")
    if isinstance(error, errors.GatedRepoError):
        said = f"access to this {kind} is gated"
        hint = f"accept the terms at {repository.page}, then set HF_TOKEN"
    elif isinstance(error, errors.RepositoryNotFoundError):
        said = f"no such {kind}, or it is private"
        hint = f"check the id; for a private or gated {kind} set HF_TOKEN"
    elif isinstance(error, errors.RevisionNotFoundError):
        said = f"the {kind} has no such revision"
        hint = f"copy a commit from {repository.page}/commits/main"
    else:
        return None
    return FileAccessError(said, file=place, hint=hint)


def _transport(errors: Any) -> type[Exception]:
    """Return the HTTP client's own error.

    The client is httpx in one release of huggingface_hub and httpx2 in another.
    """
    kind: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    return kind


def _first_line(error: Exception) -> str:
    """Return the first line of a message that may hold a page of a server's HTML."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
