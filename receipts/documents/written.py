"""What people write by hand: closed models, exact numbers, and errors in the terms of the file.

Plan files and gate policies are YAML that a person edits, so an error says the line, the key path
and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal as ExactDecimal
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.documents.mistakes import did_you_mean, hint_of, message_of
from safety_receipts.receipts.documents.yaml_file import KeyPath, YamlFile, load_yaml
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.base import Margin
from safety_receipts.receipts.model.described import DescribedModel


class WrittenModel(DescribedModel):
    """Base of everything in a file that people write: frozen, and closed, so that a typing error
    shows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Refuse an unknown key here, where the allowed ones are known."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    allowed = ", ".join(cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "no such key; allowed: {allowed}",
                        {"key": key, "allowed": allowed},
                    )
        return data


def as_decimal(value: Any) -> Any:
    """Take 0.7 as it was written: floats print back to the shortest text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return format(ExactDecimal(str(value)), "f")


DecimalNumber = Annotated[
    Margin,
    BeforeValidator(as_decimal, json_schema_input_type=float | str),
    Field(json_schema_extra={"minimum": 0, "pattern": r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?$"}),
]
"""A number that is not negative, as an exact decimal: 0.7, or "0.7"."""

# Strict: true is no number, and neither is "4".
Whole = Annotated[int, Field(strict=True, ge=1, le=MAX_SAFE_INTEGER)]
"""A whole number from 1."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value} appears twice")
    return values


class _Distinct:
    """Marks a list without repetitions, for the validator and for the schema."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(_distinct, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"uniqueItems": True}


Distinct = _Distinct()

Model = TypeVar("Model", bound=BaseModel)
Problem: TypeAlias = tuple[KeyPath, str]
"""Where something is wrong, and what."""


def load_written(
    path: Path, model: type[Model], contradictions: Callable[[Model], Iterator[Problem]]
) -> tuple[Model, YamlFile]:
    """Read and validate a file that people write.

    Args:
        path: The file.
        model: What it holds.
        contradictions: Yields what no key by itself is wrong about.

    Returns:
        What it holds, and the file with the places of its values, for later errors.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: With line, key path and what is allowed.
    """
    file = load_yaml(path)
    if not isinstance(file.document, dict):
        raise MalformedError("is not a mapping of keys to values", file=path, place=file.place(()))
    try:
        written = model.model_validate(file.document)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        found = [_mistake(e, file, model) for e in errors if not _follows(e, file)]
    else:
        found = [(place, message, None) for place, message in contradictions(written)]
        if "version" in model.model_fields and type(file.document.get("version")) is not int:
            # To Python true and 1.0 are 1.
            found = [(("version",), "should be a whole number", None)]
        if not found:
            return written, file
    place, message, hint = min(found, key=lambda one: file.line(one[0]))
    raise MalformedError(message, file=path, place=file.place(place), hint=hint)


_Mistake: TypeAlias = tuple[KeyPath, str, str | None]
"""Where, what is wrong there, and how it is mended."""


def _follows(error: ErrorDetails, file: YamlFile) -> bool:
    """Say whether a list is called empty only because its items were refused."""
    return error["type"] == "too_short" and (*_place(error, file), 0) in file.lines


def _place(error: ErrorDetails, file: YamlFile) -> KeyPath:
    place: KeyPath = ()
    for step in error["loc"]:  # steps that are not the file's are pydantic's own
        if (*place, step) in file.lines:
            place = (*place, step)
    return place


def _mistake(error: ErrorDetails, file: YamlFile, model: type[BaseModel]) -> _Mistake:
    """Say an error of pydantic's in the terms of the file."""
    place, kind = _place(error, file), error["type"]
    if kind == "missing":
        place = (*place, error["loc"][-1])
    elif kind == "unknown_key":
        place = (*place, error["ctx"]["key"])
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        # Which of several models is meant stands in one of the keys.
        key = error["ctx"]["discriminator"].strip("'")
        if kind == "union_tag_not_found":
            return (*place, key), "is missing", None
        known = str(error["ctx"]["expected_tags"]).replace("'", "")
        hint = did_you_mean(error["ctx"]["tag"], known.split(", "))
        return (*place, key), f"no such {key}; known: {known}", hint
    return place, message_of(error), hint_of(error, model)
