"""What rows and columns of tables are, for CSV and Parquet alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeAlias, get_args, get_type_hints

from safety_receipts.receipts.view.rows import (
    ConditionRow,
    PointRow,
    exact_condition_rows,
    point_rows,
)
from safety_receipts.verify.exports.evidence import exported_points, refuse_withheld
from safety_receipts.verify.exports.facts import audit_lines, common_remarks
from safety_receipts.verify.exports.kinds import ExportRequest, ExportRows
from safety_receipts.verify.subject import is_instrument

CellValue: TypeAlias = str | int | bool | None
"""A value of a row; decimals are texts as they are sealed, and null is None."""

_MODELS: Final[Mapping[ExportRows, type[ConditionRow] | type[PointRow]]] = {
    ExportRows.CONDITIONS: ConditionRow,
    ExportRows.POINTS: PointRow,
}


class CellType(StrEnum):
    """What a column holds."""

    TEXT = "text"
    """Names and words."""
    COUNT = "count"
    """Whole numbers from 0."""
    FLAG = "flag"
    """True or false."""
    DECIMAL = "decimal"
    """Decimals with six places, from −1 to 1; a mean has two, and may be large."""


def column_types(rows: ExportRows) -> dict[str, CellType]:
    """Return the columns of a table in their order, each with what it holds.

    The first two say of which receipt a row is, so that tables of several can be put together.
    """
    hints = get_type_hints(_MODELS[rows])
    columns = {"receipt": CellType.TEXT, "test_instrument": CellType.FLAG}
    return columns | {name: _type_of(hints[name]) for name in _MODELS[rows]._fields}


def _type_of(hint: object) -> CellType:
    kinds = {str: CellType.TEXT, int: CellType.COUNT, bool: CellType.FLAG, float: CellType.DECIMAL}
    found = [kinds[part] for part in (*get_args(hint), hint) if part in kinds]
    return found[0]


def table_rows(request: ExportRequest) -> Iterator[Mapping[str, CellValue]]:
    """Yield the rows of a table by column, in plan order.

    Raises:
        UsageError, IncompleteError: Rows of points are asked for, and they are withheld.
        IntegrityError: After the last point: the evidence lines are not those that were sealed.
    """
    verified = request.verified
    instrument = is_instrument(verified.predicate)
    first: dict[str, CellValue] = {
        "receipt": verified.signed.envelope.digest,
        "test_instrument": instrument,
    }
    if request.rows is ExportRows.CONDITIONS:
        for row in exact_condition_rows(verified.predicate):
            yield first | row
        return
    refuse_withheld(verified, "rows of points")
    for point in point_rows(exported_points(verified), verified.predicate):
        yield first | point._asdict()


def table_remarks(request: ExportRequest) -> list[str]:
    """Return what a table does not carry, in whole sentences."""
    verified = request.verified
    left = "Findings, limits, intervals' methods, the judge and the plan"
    if request.rows is ExportRows.CONDITIONS:
        left += ", and results of single query sources,"
    else:
        left = "Rates, findings, limits, the judge, the plan, commitments and labels of orders"
    remarks = [*common_remarks(verified), f"{left} are not in the table: receipts show has them."]
    if list(audit_lines(verified)):
        remarks.append("Audits are not in the table: receipts verify has them.")
    return remarks
