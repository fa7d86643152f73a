"""Rows as pandas frames: floats, snake_case, categories in the plan's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from safety_receipts.receipts.errors import IncompleteError

if TYPE_CHECKING:
    import pandas as pd


def frame(
    rows: Sequence[NamedTuple], kind: type[NamedTuple], categories: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return rows as a frame.

    Args:
        rows: The rows.
        kind: Their type, which names the columns even where there is no row.
        categories: Column → its values in order; None in a row is a missing value.

    Raises:
        IncompleteError: pandas is not installed.
    """
    pandas = _pandas()
    made: pd.DataFrame = pandas.DataFrame.from_records(rows, columns=list(kind._fields))
    for column, values in categories.items():
        made[column] = pandas.Categorical(made[column], categories=list(values))
    types = get_type_hints(kind)
    return made.astype({name: _DTYPES[types[name]] for name in types if name not in categories})


_DTYPES: Mapping[Any, str] = {
    int: "int64",
    float | None: "float64",  # NaN where it is None
    str: "string",
    str | None: "string",
    bool | None: "boolean",
}
"""Type of a row's field → the dtype of its column."""


def _pandas() -> Any:
    try:
        import pandas  # noqa: PLC0415  # heavy, so only where frames are asked for
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise IncompleteError(
            "pandas is not installed",
            hint="pip install pandas; conditions() and points() give plain tuples without it",
        ) from None
    return pandas
