"""Raw rows of a Parquet file, a few at a time, of the columns that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from math import isnan
from typing import Any, BinaryIO

from safety_receipts.receipts.errors import IncompleteError, MalformedError
from safety_receipts.receipts.extras import install
from safety_receipts.runner.corpora.record import NumberText, Record

MAX_GROUP_BYTES = 1024 * 1024 * 1024
"""Largest row group, uncompressed, as its footer states it (writers make 128 MiB or less)."""

MAX_BATCH_BYTES = 256 * 1024 * 1024
"""Largest batch of rows once decoded."""

_BATCH_ROWS = 128
_DAMAGED = "the file is damaged, cut off or not Parquet; get it again from its source"


def parquet_schema(stream: BinaryIO, file: str) -> tuple[Any, tuple[str, ...]]:
    """Return an open Parquet file and the names of its top-level columns.

    pyarrow ships no types, hence ``Any``.

    Args:
        stream: The file; it must be seekable and outlive the result.
        file: Named in errors.

    Raises:
        IncompleteError: pyarrow is not installed.
        MalformedError: Not a Parquet file, or one with row groups beyond the limit.
    """
    try:
        parquet = import_module("pyarrow.parquet")  # heavy, so only where a Parquet file is read
    except ImportError:
        raise IncompleteError(
            "reading Parquet needs pyarrow",
            file=file,
            hint=f"{install('run')}, or convert the file to .jsonl",
        ) from None
    try:
        source = parquet.ParquetFile(stream)
        columns = tuple(source.schema_arrow.names)
    except _decoding_errors() as error:
        raise _not_parquet(error, file) from None
    for group in range(source.metadata.num_row_groups):
        size = source.metadata.row_group(group).total_byte_size
        if not 0 <= size <= MAX_GROUP_BYTES:
            raise MalformedError(
                f"a row group of {size:,} bytes",
                file=file,
                place=f"row group {group + 1}",
                hint=f"write it with row groups of at most {MAX_GROUP_BYTES:,} bytes",
            )
    return source, columns


def parquet_rows(source: Any, file: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Yield the rows, of the ``wanted`` columns only.

    Raises:
        MalformedError: A row group is damaged, text is not UTF-8, or rows are too large.
    """
    number = 0
    batches = source.iter_batches(batch_size=_BATCH_ROWS, columns=list(wanted), use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            if batch.nbytes > MAX_BATCH_BYTES:
                raise MalformedError(
                    f"{batch.num_rows} rows of {batch.nbytes:,} bytes",
                    file=file,
                    place=f"after row {number}",
                    hint=f"at most {MAX_BATCH_BYTES:,} bytes are allowed; shorten the texts",
                )
            rows = batch.to_pylist()
        except _decoding_errors() as error:
            raise _not_parquet(error, file, f"after row {number}") from None
        for row in rows:
            number += 1
            values = {name: _plain(value) for name, value in row.items()}
            yield Record(file, f"row {number}", values)


def _plain(value: object) -> object:
    """Return numbers as their literal text, as the other formats give them.

    Not a number is no value: so tables mark what is missing in a column of numbers.
    """
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return NumberText(repr(value))
    return value


def _decoding_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow raises on bad bytes: OSError too, from Thrift and the decompressors."""
    return (import_module("pyarrow").ArrowException, OSError, UnicodeDecodeError)


def _not_parquet(error: Exception, file: str, place: str | None = None) -> MalformedError:
    reason = str(error).partition("\n")[0][:160].rstrip(". ")
    return MalformedError(
        f"not readable as Parquet: {reason}", file=file, place=place, hint=_DAMAGED
    )
