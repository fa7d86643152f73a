"""Documents from outside: strict JSON, then the pydantic model; JSON Schema words what is wrong."""

from __future__ import annotations

import json
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from safety_receipts import schemas
from safety_receipts.receipts.documents.strict_json import parse_json
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.text import printable

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError as SchemaError

M = TypeVar("M", bound=BaseModel)

_NEWER = "it may be made by a newer version; see: receipts schema"
_MAX_NAME = 80


def check_schema(
    document: Any,
    schema: str,
    *,
    file: str | PathLike[str] | None = None,
    open_fields: bool = False,
    open_root: bool = False,
) -> None:
    """Hold parsed JSON to the schema called ``schema``.

    Raises:
        MalformedError: With the JSON path of what is most wrong.
    """
    error = schemas.find_error(document, schema, open_fields=open_fields, open_root=open_root)
    if error is not None:
        raise MalformedError(
            _describe(error), file=file, place=error.json_path, hint=f"receipts schema {schema}"
        )


def _describe(error: SchemaError) -> str:
    """Return one short sentence; jsonschema's own quotes the whole offending value."""
    value = error.instance
    shown = "this value"
    if not isinstance(value, (dict, list)):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        if len(shown) > 80:
            shown = f"{shown[:77]}…"
    message = error.message if len(error.message) <= 160 else f"{shown} is not allowed here"
    match error.validator:
        case "pattern":
            message = f"{shown} does not have the form {error.validator_value}"
        case "enum":
            allowed = ", ".join(str(item) for item in _list(error.validator_value))
            message = f"{shown} is not one of {allowed}"
        case "const":
            message = f"{shown} should be {error.validator_value}"
        case "type":
            message = f"{shown} is not of type {error.validator_value}"
        case "required" | "additionalProperties":
            message = error.message
        case "maxItems" | "maxProperties" | "maxLength":
            message = f"has {_size(value)} entries or characters, at most {error.validator_value}"
        case "minItems" | "minLength":
            message = f"has {_size(value)} entries or characters, at least {error.validator_value}"
        case _:
            pass  # jsonschema's own words are short enough for the others
    return message


def _size(value: Any) -> str:
    return f"{len(value):,}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def parse_document(
    data: bytes,
    model: type[M],
    schema: str,
    *,
    file: str | PathLike[str] | None = None,
    open_root: bool = False,
) -> tuple[M, Any]:
    """Read a JSON document as a reader must.

    Unknown fields below the root are ignored (a newer minor version may add some); nothing
    else is forgiven.  The model decides, which takes a fifteenth of the time that the schema
    does; tests hold the two to one another.  The schema words what is wrong.

    Args:
        data: UTF-8 JSON; the caller has bounded its length.
        model: What to read it as.
        schema: Name of its schema.
        file: Named in errors.
        open_root: Ignore unknown fields at the root as well.

    Returns:
        The model, and the plain JSON it was read from.

    Raises:
        MalformedError: With file, JSON path and remedy.
    """
    document = parse_json(data, file=file)
    parsed = read_as(model, schema, data, document, file=file, open_root=open_root)
    return parsed, document


def read_as(
    model: type[M],
    schema: str,
    data: bytes,
    document: Any,
    *,
    file: str | PathLike[str] | None = None,
    open_root: bool = False,
) -> M:
    """Read JSON that was parsed already; else as :func:`parse_document`.

    Args:
        model: What to read it as.
        schema: Name of its schema.
        data: UTF-8 JSON.
        document: What :func:`receipts.documents.strict_json.parse_json` made of it.
        file: Named in errors.
        open_root: Ignore unknown fields at the root as well.

    Raises:
        MalformedError: With file, JSON path and remedy.
    """
    try:
        parsed = model.model_validate_json(data, extra="ignore", by_alias=True, by_name=False)
    except ValidationError as error:
        check_schema(document, schema, file=file, open_fields=True, open_root=open_root)
        first = error.errors(include_url=False)[0]
        place = "$" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]
        )
        raise MalformedError(first["msg"], file=file, place=place, hint=_NEWER) from None
    if not open_root and (unknown := document.keys() - _root_fields(model)):
        check_schema(document, schema, file=file, open_fields=True)
        raise MalformedError(
            f"has a field that is not known: {printable(min(unknown), _MAX_NAME)}",
            file=file,
            place="$",
            hint=_NEWER,
        )
    return parsed


def _root_fields(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def unknown_fields(document: Any, model: BaseModel) -> list[str]:
    """Return the JSON paths in ``document`` that ``model`` does not know and so ignored."""
    found: list[str] = []
    _compare(document, model.model_dump(mode="json", by_alias=True), "$", found)
    return found


def _compare(document: Any, known: Any, path: str, found: list[str]) -> None:
    if isinstance(document, dict) and isinstance(known, dict):
        for key, value in document.items():
            if key in known:
                _compare(value, known[key], f"{path}.{key}", found)
            else:
                found.append(f"{path}.{key}")
    elif isinstance(document, list) and isinstance(known, list):
        for i, (value, other) in enumerate(zip(document, known, strict=True)):
            _compare(value, other, f"{path}[{i}]", found)
