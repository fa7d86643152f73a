"""The registry of corpora, and the one function that reads them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import open_regular
from safety_receipts.runner.corpora.pairs import OWN, PAIRS, ULTRACHAT
from safety_receipts.runner.corpora.reader import ColumnShape, Reader
from safety_receipts.runner.corpora.record import Record, listed
from safety_receipts.runner.corpora.requests import (
    HARMBENCH,
    JAILBREAKBENCH,
    OR_BENCH,
    REDTEAM_2K,
    SORRY_BENCH,
    STRONGREJECT,
    WILDGUARDTEST,
    XSTEST,
)
from safety_receipts.runner.corpora.rows import (
    MAX_ID_CHARACTERS,
    CorpusRow,
    CorpusRows,
    CorpusSource,
    content_id,
    encoded_id,
)
from safety_receipts.runner.corpora.same import REQUEST_RULE, normalised_request
from safety_receipts.runner.corpora.tables import Format, format_of, open_table
from safety_receipts.runner.hub.fetch import fetch

READERS: Mapping[str, Reader] = {
    "harmbench": HARMBENCH,
    "sorry-bench": SORRY_BENCH,
    "wildguardtest": WILDGUARDTEST,
    "redteam-2k": REDTEAM_2K,
    "ultrachat": ULTRACHAT,
    "or-bench": OR_BENCH,
    "xstest": XSTEST,
    "jailbreakbench": JAILBREAKBENCH,
    "strongreject": STRONGREJECT,
    "own": OWN,
    "pairs": PAIRS,
}
"""Every corpus that a plan can name."""

MAX_FILE_ROWS = 5_000_000
"""Most rows of a file; UltraChat has 1.5 million."""

MAX_KEPT_CHARACTERS = 1024**3
"""Most characters of requests and responses kept from one file."""

_MAX_VALUES_SHOWN = 12
_CHUNK_BYTES = 1024 * 1024


def read_corpus(source: CorpusSource, rule: str = REQUEST_RULE) -> CorpusRows:
    """Read a corpus: filter, drop empty and repeated requests, give every row a stable id.

    In this order: rows that ``where`` does not match are left out; rows without a request
    are dropped and counted; rows whose normalised request an earlier row has are dropped
    and counted (the first stays); two rows left with one id are an error.

    Args:
        source: Which corpus, from where, which rows.
        rule: When two requests are one (:func:`runner.corpora.same.normalised_request`).

    Raises:
        UsageError: The source names no known corpus, file or column.
        FileAccessError: The file cannot be opened or fetched.
        MalformedError: It is damaged, of another shape, or too large; or no row is left.
        IncompleteError: A library for Parquet or for the hub is not installed.
    """
    reader = READERS.get(source.corpus)
    if reader is None:
        raise UsageError(
            f"no reader for a corpus named {source.corpus!r}", hint=f"one of {', '.join(READERS)}"
        )
    located = _locate(source, reader)
    # A user's data folder and the hub's cache are full of links, so they are followed here.
    with open_regular(Path(os.path.realpath(located.path))) as stream:
        before = _state(stream)
        digest = _digest(stream, located.file)
        selection = _Selection(source, located.file, rule)
        selection.read(_records(stream, located, reader, selection))
        if _state(stream) != before:
            raise MalformedError(
                "changed while it was read",
                file=located.file,
                hint="run again when the file no longer changes",
            )
    return CorpusRows(
        selected=selection.result(),
        corpus=source.corpus,
        digest=digest,
        rows=selection.rows,
        where=dict(source.where),
        empty_rows=selection.empty_rows,
        duplicate_rows=selection.duplicate_rows,
        hub=source.hub,
        revision=located.commit,
        file=located.hub_file,
        licence=source.licence or reader.licence,
    )


class _Located(NamedTuple):
    """A file that lies on this machine."""

    path: Path
    file: str
    """Its name in errors: a cached file's own path is all hashes."""
    format: Format
    commit: str | None
    hub_file: str | None


def _locate(source: CorpusSource, reader: Reader) -> _Located:
    if source.path is not None and source.hub is None:
        file = os.fspath(source.path)
        return _Located(source.path, file, format_of(file), None, None)
    if source.hub is None or source.path is not None:
        raise UsageError(f"corpus {source.corpus}: give either `path` or `hub`")
    if source.revision is None:
        raise UsageError(
            f"corpus {source.corpus}: `hub` without `revision`",
            hint=f"copy a commit from https://huggingface.co/datasets/{source.hub}/commits/main",
        )
    name = source.file or reader.hub_files.get(source.hub)
    if name is None:
        raise UsageError(
            f"corpus {source.corpus}: which file of {source.hub}?", hint="name it with `file`"
        )
    kind = format_of(name)  # before anything is downloaded
    fetched = fetch(source.hub, name, source.revision)
    shown = f"{source.hub}@{fetched.commit}/{name}"
    return _Located(fetched.path, shown, kind, fetched.commit, name)


def _state(stream: BinaryIO) -> tuple[int, int]:
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns


def _digest(stream: BinaryIO, file: str) -> Sha256:
    digest = hashlib.sha256()
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
        stream.seek(0)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", file) from None
    return Sha256(digest.hexdigest())


def _records(
    stream: BinaryIO, located: _Located, reader: Reader, selection: _Selection
) -> Iterator[Record]:
    """Open the table, check its columns, and return its rows."""
    table = open_table(stream, located.file, located.format)
    shape = reader.shape_of(table.columns, located.file, selection.source.corpus)
    known = {*table.columns, *shape.optional}
    for column in selection.source.where:
        if column not in known:
            raise UsageError(
                f"no column {column!r} to filter by",
                file=located.file,
                hint=f"its columns: {listed(table.columns)}",
            )
    selection.shape = shape
    needed = {*shape.columns, *shape.optional, *selection.source.where} & set(table.columns)
    return table.records(sorted(needed))


class _Selection:
    """Rows of one file as they pass the filter, with what was dropped."""

    shape: ColumnShape

    def __init__(self, source: CorpusSource, file: str, rule: str) -> None:
        self.source = source
        self._rule = rule
        self.rows = 0
        self.empty_rows = 0
        self.duplicate_rows = 0
        self._file = file
        self._selected: list[CorpusRow] = []
        self._requests: set[bytes] = set()
        self._places: dict[str, str] = {}
        self._characters = 0
        self._values: dict[str, dict[str, None]] = {name: {} for name in source.where}

    def read(self, records: Iterable[Record]) -> None:
        """Take all rows."""
        for record in records:
            self.rows += 1
            if self.rows > MAX_FILE_ROWS:
                raise record.error(
                    f"more than {MAX_FILE_ROWS:,} rows", "split the file and name one part"
                )
            if self._matches(record):
                self._take(record)

    def result(self) -> tuple[CorpusRow, ...]:
        """Return the rows that are left.

        Raises:
            MalformedError: None is.
        """
        if not self._selected:
            raise MalformedError(
                f"no request is left of {self.rows:,} rows ({self.empty_rows:,} empty)",
                file=self._file,
                hint=self._seen() or "check that it is the right file",
            )
        return tuple(self._selected)

    def _matches(self, record: Record) -> bool:
        matches = True
        for column, wanted in self.source.where.items():
            if column not in record.values and column not in self.shape.optional:
                raise record.error(
                    f"has no column {column!r} to filter by",
                    f"its columns: {listed(tuple(record.values))}",
                )
            value = record.scalar(column)
            seen = self._values[column]
            if len(seen) < _MAX_VALUES_SHOWN:
                seen[value[:40]] = None
            matches = matches and value == wanted
        return matches

    def _take(self, record: Record) -> None:
        parsed = self.shape.parse(record)
        same = normalised_request(parsed.request, self._rule)
        if not same:
            self.empty_rows += 1
            return
        # A digest, not the text: half a gigabyte less for UltraChat.
        key = hashlib.sha256(same.encode("utf-8")).digest()
        if key in self._requests:
            self.duplicate_rows += 1
            return
        self._requests.add(key)
        self._characters += len(parsed.request) + len(parsed.response or "")
        if self._characters > MAX_KEPT_CHARACTERS:
            raise record.error(
                f"more than {MAX_KEPT_CHARACTERS:,} characters of requests and responses",
                "take fewer rows with `where`, or split the file",
            )
        identity = self._identity(record, parsed.id, parsed.request)
        names = dict.fromkeys((*self.shape.kept, *self.source.where))
        columns = {name: record.scalar(name) for name in names}
        self._selected.append(CorpusRow(identity, parsed.request, parsed.response, columns))

    def _identity(self, record: Record, given: str | None, request: str) -> str:
        identity = content_id(request) if given is None else encoded_id(given)
        if not identity:
            raise record.error("has no id", "give every row one of its own")
        if len(identity) > MAX_ID_CHARACTERS:
            raise record.error(
                f"an id of {len(identity)} characters", f"at most {MAX_ID_CHARACTERS} are allowed"
            )
        first = self._places.setdefault(identity, record.place)
        if first != record.place:
            raise record.error(
                f"the id {identity!r} is that of {first} too", "give every row an id of its own"
            )
        return identity

    def _seen(self) -> str:
        """Return the values that the filtered columns hold."""
        return "; ".join(
            f"{column} holds {', '.join(repr(value) for value in values)}"
            + (", …" if len(values) == _MAX_VALUES_SHOWN else "")
            for column, values in self._values.items()
        )
