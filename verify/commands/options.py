"""Values that several commands take as options."""

from __future__ import annotations

from typing import Final

import click
from pydantic import TypeAdapter, ValidationError

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.model.base import Name

NUMBER: Final = click.IntRange(min=1, max=MAX_SAFE_INTEGER)
"""A number above 0 that a document can hold."""

_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


def one_line_option(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option if it is a name as documents hold it.

    Raises:
        click.BadParameter: It is empty, too long, or more than one line.
    """
    try:
        return None if value is None else _NAME.validate_python(value)
    except ValidationError:
        raise click.BadParameter(
            "should be one line of 1 to 512 characters", ctx=ctx, param=param
        ) from None
