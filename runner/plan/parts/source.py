"""What every part of a plan is resolved from: the plan file, and how its inputs are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_receipts.receipts.documents.yaml_file import KeyPath, YamlFile
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.runner.checkpoint.folder import (
    HashedFolder,
    hash_folder,
    refuse_pickles,
    refuse_unhashed_weights,
)
from safety_receipts.runner.checkpoint.place import locate
from safety_receipts.runner.corpora.read import read_corpus
from safety_receipts.runner.corpora.rows import CorpusRows, CorpusSource
from safety_receipts.runner.corpora.same import REQUEST_RULE, normalised_request
from safety_receipts.runner.plan.entries.base import Located
from safety_receipts.runner.plan.entries.corpora import CorpusEntry
from safety_receipts.runner.plan.entries.plan_file import PlanFile

HashProgress = Callable[[int, int], None]
"""Told how many bytes of a folder are hashed, and of how many."""


@dataclass(frozen=True)
class PlanSource:
    """A plan file, and how what it names is read."""

    entries: PlanFile
    """What it says."""
    file: YamlFile
    """Where it says it."""
    allow_pickle: bool = False
    """Whether weights may be pickles."""
    progress: HashProgress | None = None
    """Told how much of a folder has been hashed."""
    request_rule: str = REQUEST_RULE
    """When two requests are one."""

    def error(self, place: KeyPath, message: str, hint: str | None = None) -> MalformedError:
        """Return what is wrong with a place of the plan file."""
        return MalformedError(message, file=self.file.path, place=self.file.place(place), hint=hint)

    def path(self, path: Path | None) -> Path | None:
        """Return a path of the plan file's, from its folder; None: there is none."""
        return None if path is None else self.file.path.parent / path

    def folder(self, entry: Located, *, plain: bool = False) -> tuple[Path, HashedFolder]:
        """Return a model's folder, and its files; both are hashed and refused here.

        Args:
            entry: What the plan file names.
            plain: Whether pickles cannot be its weights, whatever is allowed.
        """
        folder = locate(entry, root=self.file.path.parent, allow_pickle=self.allow_pickle)
        # A snapshot is fetched without pickles, and its cache may hold some from elsewhere.
        pickles = self.allow_pickle or entry.hub is None
        hashed = hash_folder(folder, pickles=pickles, progress=self.progress)
        refuse_pickles(hashed, folder, allow=self.allow_pickle)
        refuse_unhashed_weights(hashed, folder, allow_pickle=self.allow_pickle and not plain)
        return folder, hashed

    def corpus(self, entry: CorpusEntry) -> CorpusRows:
        """Return the rows of a file of requests."""
        return read_corpus(
            CorpusSource(
                corpus=entry.corpus,
                path=self.path(entry.path),
                hub=entry.hub,
                revision=entry.revision,
                file=entry.file,
                where=dict(entry.where),
                licence=entry.licence,
            ),
            self.request_rule,
        )

    def same(self, request: str) -> str:
        """Return a request as it is compared with others."""
        return normalised_request(request, self.request_rule)


def last_part(entry: Located, folder: Path) -> str:
    """Return the last part of a path as the plan spells it, wherever it leads."""
    spelt = "" if entry.path is None else entry.path.name
    return spelt or folder.resolve().name


def corpus_fields(name: SourceName, entry: CorpusEntry, rows: CorpusRows) -> dict[str, Any]:
    """Return what is sealed of every file of requests."""
    return {
        "name": name,
        "corpus": rows.corpus,
        "digest": rows.digest,
        "hub": rows.hub,
        "revision": rows.revision,
        "file": rows.file,
        "licence": rows.licence,
        "languages": tuple(entry.languages),
        "rows": rows.rows,
        "where": dict(rows.where),
        "empty_rows": rows.empty_rows,
        "duplicate_rows": rows.duplicate_rows,
    }
