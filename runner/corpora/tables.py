"""Raw rows from CSV, JSON-lines and Parquet files: streamed, bounded, never evaluated."""

from __future__ import annotations

import codecs
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, NoReturn, Self

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.runner.corpora.parquet import parquet_rows, parquet_schema
from safety_receipts.runner.corpora.record import NumberText, Record, listed
from safety_receipts.runner.hub.lfs import refuse_pointer

MAX_ROW_BYTES = 4 * 1024 * 1024
"""Longest line of JSON, or lines of one CSV record; the longest conversation of UltraChat is a
twentieth of it."""

_DAMAGED = "the file is damaged or cut off; get it again from its source"


class Format(StrEnum):
    """A file format, named by its usual suffix."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True)
class CorpusTable:
    """A file of rows whose columns are known and whose rows are not read yet."""

    columns: tuple[str, ...]
    """Column names in the order of the file; of JSON lines, those of the first."""
    records: Callable[[Sequence[str]], Iterator[Record]]
    """Reads the rows once; the argument names the columns needed, and others may be left out."""


def format_of(name: str) -> Format:
    """Return the format that a file's name promises.

    Raises:
        MalformedError: No format has its suffix.
    """
    suffix = name.rpartition(".")[2].lower()
    try:
        return Format(suffix)
    except ValueError:
        raise MalformedError(
            "is in no format that is read here",
            file=name,
            hint="name a .csv, .jsonl or .parquet file, unpacked",
        ) from None


def open_table(stream: BinaryIO, file: str, kind: Format) -> CorpusTable:
    """Read the head of a file and return the table it holds.

    Args:
        stream: The file at its start.  It stays the caller's to close, after the last row.
        file: Named in errors.
        kind: The format; text is UTF-8, with or without a byte order mark.

    Raises:
        MalformedError: The file is empty or not in that format.
        FileAccessError: It cannot be read.
    """
    _refuse_other(stream, file)
    match kind:
        case Format.CSV:
            return _csv_table(stream, file)
        case Format.JSONL:
            return _jsonl_table(stream, file)
        case Format.PARQUET:
            source, columns = parquet_schema(stream, file)
            _refuse_repeated(columns, file)
            return CorpusTable(columns, lambda wanted: parquet_rows(source, file, wanted))


_OTHERS: Final = (
    (b"\x1f\x8b", "is compressed with gzip", "unpack it: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it: zstd -d FILE"),
    (b"PK\x03\x04", "is a zip archive, as spreadsheets are", "unpack it, or export it as CSV"),
    (b"\xff\xfe", "is text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "is text in UTF-16", "save it as UTF-8"),
)
"""How files begin that people take for a table, what they are, and what to do."""


def _refuse_other(stream: BinaryIO, file: str) -> None:
    """Refuse what is no table at all, by its first bytes; the stream stays at its start."""
    try:
        start = stream.read(64)
        stream.seek(0)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", file) from None
    refuse_pointer(start, Path(file))
    for magic, what, remedy in _OTHERS:
        if start.startswith(magic):
            raise MalformedError(what, file=file, hint=remedy)


class _Lines:
    """Lines of a UTF-8 file, decoded and counted; their bytes since a reset are bounded."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream = stream
        self._file = file
        self._held = 0
        self.number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            line = self._stream.readline(MAX_ROW_BYTES + 1)
        except OSError as error:
            raise FileAccessError.from_os(error, "read", self._file) from None
        if not line:
            raise StopIteration
        self.number += 1
        self._held += len(line)
        if self._held > MAX_ROW_BYTES:
            raise self.error(
                f"a record longer than {MAX_ROW_BYTES:,} bytes",
                "is a quotation mark or a line break missing?",
            )
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if b"\0" in line:
            raise self.error("holds a NUL byte, which is not text", _DAMAGED)
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(
                f"not valid UTF-8 at byte {error.start} of the line", "save the file as UTF-8"
            ) from None

    def forget(self) -> None:
        """Begin a new record."""
        self._held = 0

    def error(self, message: str, hint: str, line: int | None = None) -> MalformedError:
        """Return an error that names file and line."""
        place = f"line {line or self.number}"
        return MalformedError(message, file=self._file, place=place, hint=hint)


def _csv_table(stream: BinaryIO, file: str) -> CorpusTable:
    rows = _csv_rows(_Lines(stream, file))
    _, header = next(rows, (0, None))
    if header is None:
        raise _empty(file)
    columns = tuple(header)
    _refuse_repeated(columns, file)

    def records() -> Iterator[Record]:
        for line, cells in rows:
            if len(cells) != len(columns):
                raise MalformedError(
                    f"{len(cells)} cells under {len(columns)} columns",
                    file=file,
                    place=f"line {line}",
                    hint=_DAMAGED,
                )
            yield Record(file, f"line {line}", dict(zip(columns, cells, strict=True)))

    return CorpusTable(columns, lambda _: records())


def _csv_rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield (line where it starts, cells) of each record; blank lines are none.

    The csv module itself refuses cells of more than 131,072 characters, and its limit is one for
    the whole process.
    """
    reader = csv.reader(lines, strict=True)  # strict: a quotation left open is an error
    while True:
        start = lines.number + 1
        lines.forget()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                raise lines.error(
                    f"a cell longer than {csv.field_size_limit():,} characters",
                    "is a quotation mark missing? else convert the file to .jsonl, whose texts "
                    "may be longer",
                    start,
                ) from None
            raise lines.error(f"not CSV: {error}", _DAMAGED, start) from None
        if cells:
            yield start, cells


def _jsonl_table(stream: BinaryIO, file: str) -> CorpusTable:
    rows = _jsonl_rows(_Lines(stream, file), file)
    first = next(rows, None)
    if first is None:
        raise _empty(file)
    return CorpusTable(tuple(first.values), lambda _: chain([first], rows))


def _jsonl_rows(lines: _Lines, file: str) -> Iterator[Record]:
    begun = False
    for line in lines:
        lines.forget()
        if line.strip():
            if not begun:
                _refuse_other_format(line.lstrip(), lines)
                begun = True
            yield Record(file, f"line {lines.number}", _json_object(line, lines))


def _refuse_other_format(first: str, lines: _Lines) -> None:
    """Name what a file is that has only the name of JSON lines, by its first line."""
    if first.startswith("["):
        raise lines.error(
            "a JSON array, where each line should be one object",
            "write one object a line, as `jq -c '.[]' FILE` does",
        )
    if not first.startswith("{"):
        raise lines.error(
            "not a JSON object, as each line should be",
            "is it CSV? then name it .csv; else write one object a line",
        )


class _RefusedError(Exception):
    """Raised inside the parser's hooks, which know the value but not the file."""


def _json_object(line: str, lines: _Lines) -> dict[str, object]:
    """Parse one line.

    Unlike :func:`receipts.documents.strict_json.parse_json`, which reads what is signed, this lets
    fractions and large integers stand, as text: corpora carry columns that we never use.
    """
    try:
        value = _ROWS.decode(line)
    except json.JSONDecodeError as error:
        if line.startswith("\ufeff"):
            raise lines.error(
                "a byte order mark, which only the first line may have",
                "were files joined that each begin with one? then remove it here",
            ) from None
        why = error.msg.lower().removesuffix(" at")
        raise lines.error(f"not JSON: {why} at column {error.colno}", _DAMAGED) from None
    except _RefusedError as error:
        raise lines.error(str(error), "correct the line") from None
    except RecursionError:
        raise lines.error("not JSON that is read here: nested too deeply", _DAMAGED) from None
    if not isinstance(value, dict):
        raise lines.error("not a JSON object", 'each line must be one object {"column": value, …}')
    return value


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedError("a key appears twice in one object")
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise _RefusedError(f"{text} is not JSON")


_ROWS: Final = json.JSONDecoder(
    object_pairs_hook=_unique_object,
    parse_float=NumberText,
    parse_int=NumberText,
    parse_constant=_refuse_constant,
)
"""Made once: for each row it would take a third of the time of parsing."""


def _refuse_repeated(columns: Sequence[str], file: str) -> None:
    repeated = tuple(name for name, times in Counter(columns).items() if times > 1)
    if "" in repeated:
        raise MalformedError(
            f"{columns.count('')} columns have no name",
            file=file,
            hint="name them in the first line, or remove them",
        )
    if repeated:
        raise MalformedError(
            f"columns that appear twice: {listed(repeated)}", file=file, hint="rename one"
        )


def _empty(file: str) -> MalformedError:
    return MalformedError("is empty", file=file, hint="get it again from its source")
