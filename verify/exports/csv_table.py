"""Comma-separated values (RFC 4180), for spreadsheets, R and everything else.

A spreadsheet takes a cell for a formula that begins with one of a few characters, wherever the
text came from, and a formula can call programs and send data away.  Names are written by whoever
sealed a receipt, so an apostrophe stands before such a character, as OWASP advises
(https://owasp.org/www-community/attacks/CSV_Injection): also behind a character at which another
locale would split the line.  What would change how other text is shown is spelt out.
"""

from __future__ import annotations

import csv
import re
from typing import BinaryIO, Final

from safety_receipts.receipts.io.files import atomic_writer
from safety_receipts.receipts.io.text import printable
from safety_receipts.verify.exports.kinds import Exported, ExportRequest
from safety_receipts.verify.exports.tables import (
    CellType,
    CellValue,
    column_types,
    table_remarks,
    table_rows,
)

_FORMULA: Final = re.compile(r"(^|[;,\"|])(?=\s*[=+\-@＝＋－＠])")
"""Before what a spreadsheet takes for a formula; the last four are the wide forms."""


def export_csv(request: ExportRequest) -> Exported:
    """Write a table of conditions or points.

    UTF-8 without a mark, CRLF, a header line; null is an empty cell, decimals are as sealed.

    Raises:
        UsageError, IncompleteError: Points are withheld.
        IntegrityError: The evidence lines are not those that were sealed.
        FileAccessError: The file cannot be written.
    """
    columns = column_types(request.rows)
    count = changed = 0
    with atomic_writer(request.out) as stream:
        writer = csv.writer(_Encoded(stream))
        writer.writerow(columns)
        for row in table_rows(request):
            cells = {name: _cell(row[name], kind) for name, kind in columns.items()}
            writer.writerow(cells.values())
            count += 1
            texts = {name: row[name] for name in columns if isinstance(row[name], str)}
            changed += sum(cells[name] != text for name, text in texts.items())
    remarks = table_remarks(request)
    if changed:
        remarks.append(
            f"{changed:,} texts were changed, as a spreadsheet would take them for formulas or "
            "show them otherwise: an apostrophe stands before what looks like a formula, and "
            "characters that are not seen are spelt out."
        )
    return Exported((request.out,), count, request.rows.value, tuple(remarks))


class _Encoded:
    """A stream of bytes, as the csv module writes to one of text."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.encode("utf-8"))


def _cell(value: CellValue, kind: CellType) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str() if kind is CellType.TEXT:
            return safe_cell(value)
        case _:
            return str(value)


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, on one line."""
    return _FORMULA.sub(r"\1'", printable(text))
