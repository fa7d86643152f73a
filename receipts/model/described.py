"""What the fields of models mean: the text after each, read from source when somebody asks.

pydantic can read these texts itself, as each class is made (``use_attribute_docstrings``).  That is
a sixth of what a command takes that asks for none of them: only schemas and hints do.
"""

from __future__ import annotations

import ast
from functools import cache
from inspect import cleandoc, get_annotations, getsource
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema


class DescribedModel(BaseModel):
    """Base of models whose JSON Schema says of each field what stands after it in the source."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON Schema that pydantic makes, with the texts after fields."""
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, text in field_meanings(cls).items():
            alias = cls.model_fields[name].validation_alias
            described = properties.get(name if alias is None else str(alias))
            if described is not None:
                described.setdefault("description", text)
        return made

    @classmethod
    def model_json_schema(cls, *arguments: Any, **given: Any) -> dict[str, Any]:
        """Return the JSON Schema; a field that says what its type says anyway does not say it."""
        schema = super().model_json_schema(*arguments, **given)
        definitions = schema.get("$defs", {})
        for model in (schema, *definitions.values()):
            for field in model.get("properties", {}).values():
                target = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
                if target and field.get("description") == target.get("description"):
                    field.pop("description", None)
        return schema


@cache
def field_meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return field → what it means: its own description, or the text after it.

    Of a field that several classes name the lowest one's text counts, as with pydantic.

    Args:
        model: The model; where its source is not at hand, such texts are missing.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    for cls in model.__mro__:
        if cls is BaseModel:
            break
        for name, text in _written_after(cls).items():
            if name not in seen and text is not None and name in model.model_fields:
                found[name] = text
            seen.add(name)
    stated = {name: field.description for name, field in model.model_fields.items()}
    return found | {name: text for name, text in stated.items() if text is not None}


def _written_after(cls: type) -> dict[str, str | None]:
    """Return the fields that a class's own source names, each with the text after it, if any."""
    if not get_annotations(cls):
        return {}
    try:
        (node,) = ast.parse(dedent(getsource(cls))).body
    except (OSError, TypeError, SyntaxError):  # made at run time: a generic model with its values
        return {}
    assert isinstance(node, ast.ClassDef)  # what getsource gives for a class
    found: dict[str, str | None] = {}
    for field, after in pairwise([*node.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            found[field.target.id] = _text(after)
    return found


def _text(node: ast.stmt) -> str | None:
    """Return the text that a statement is, if it is nothing else."""
    constant = node.value if isinstance(node, ast.Expr) else None
    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
        return cleandoc(constant.value)
    return None
