"""Apache Parquet, for data frames and query engines; decimals are exact decimals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from itertools import islice
from typing import Any, Final

from safety_receipts.receipts.io.files import atomic_writer
from safety_receipts.verify.exports.facts import receipt_facts
from safety_receipts.verify.exports.kinds import Exported, ExportRequest
from safety_receipts.verify.exports.tables import (
    CellType,
    CellValue,
    column_types,
    table_remarks,
    table_rows,
)

_GROUP_ROWS: Final = 50_000
"""Rows of a row group."""
_MEAN: Final = "mean_prompt_tokens"
"""The one decimal that is no share: a mean of counts, with two places."""


def export_parquet(request: ExportRequest) -> Exported:
    """Write a table of conditions or points.

    Shares are ``decimal128(7, 6)``, means ``decimal128(18, 2)``, counts ``int64``; the metadata of
    the schema has what :func:`receipt_facts` says, under ``safety-receipts``, as JSON.

    Raises:
        ImportError: pyarrow is not installed.
        UsageError, IncompleteError: Points are withheld.
        IntegrityError: The evidence lines are not those that were sealed.
        FileAccessError: The file cannot be written.
    """
    # pyarrow ships no types, hence Any.
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    schema = _schema(arrow, request)
    rows = table_rows(request)
    count = 0
    with (
        atomic_writer(request.out) as stream,
        parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for group in _groups(rows):
            count += len(group)
            writer.write_table(arrow.Table.from_pylist(_typed(group, schema), schema=schema))
    return Exported((request.out,), count, request.rows.value, tuple(table_remarks(request)))


def _schema(arrow: Any, request: ExportRequest) -> Any:
    types = {
        CellType.TEXT: arrow.string(),
        CellType.COUNT: arrow.int64(),
        CellType.FLAG: arrow.bool_(),
        CellType.DECIMAL: arrow.decimal128(7, 6),
    }
    fields = [
        (name, arrow.decimal128(18, 2) if name == _MEAN else types[kind])
        for name, kind in column_types(request.rows).items()
    ]
    about = json.dumps(receipt_facts(request.verified))
    return arrow.schema(fields, metadata={"safety-receipts": about})


def _groups(rows: Iterator[Mapping[str, CellValue]]) -> Iterator[list[Mapping[str, CellValue]]]:
    while group := list(islice(rows, _GROUP_ROWS)):
        yield group


def _typed(group: list[Mapping[str, CellValue]], schema: Any) -> list[dict[str, Any]]:
    """Return rows with their decimals as numbers."""
    decimals = {field.name for field in schema if str(field.type).startswith("decimal")}
    return [
        {
            name: Decimal(value) if name in decimals and value is not None else value
            for name, value in row.items()
        }
        for row in group
    ]
