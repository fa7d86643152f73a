"""Schemas say of each field what stands after it in the source, as pydantic would have it."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from safety_receipts.receipts.model.described import DescribedModel, field_meanings

T = TypeVar("T")


class Part(DescribedModel):
    """A part."""

    number: int
    """A number,
    on two lines."""


class Whole(DescribedModel):
    """A whole."""

    first: int = Field(alias="theFirst")
    """Under an alias."""
    stated: Annotated[int, Field(description="Stated.")]
    """Not this."""
    silent: int
    part: Part
    """A part."""
    other: Part
    """Another part."""
    some: tuple[Part, ...]
    """Several."""


class Lower(Whole):
    """One below."""

    silent: int
    """Not silent here."""
    first: int


class Of(DescribedModel, Generic[T]):
    """One of something."""

    value: T
    """The value."""


class OfNumber(Of[int]):
    """One of a number."""


def test_what_fields_mean() -> None:
    assert field_meanings(Whole) == {
        "first": "Under an alias.",
        "stated": "Stated.",
        "part": "A part.",
        "other": "Another part.",
        "some": "Several.",
    }
    assert field_meanings(Part) == {"number": "A number,\non two lines."}
    assert field_meanings(Lower)["silent"] == "Not silent here."
    assert "first" not in field_meanings(Lower), "named again without a text"
    assert field_meanings(OfNumber) == {"value": "The value."}


def test_the_schema_says_so() -> None:
    schema = Whole.model_json_schema(by_alias=True)
    fields = schema["properties"]
    assert fields["theFirst"]["description"] == "Under an alias."
    assert fields["stated"]["description"] == "Stated."
    assert "description" not in fields["silent"]
    assert fields["other"]["description"] == "Another part."
    assert "description" not in fields["part"], "its type says so"
    assert fields["some"]["description"] == "Several."
    assert schema["$defs"]["Part"]["properties"]["number"]["description"].startswith("A number")
    assert OfNumber.model_json_schema()["properties"]["value"]["description"] == "The value."


def test_it_is_what_pydantic_says() -> None:
    """Of a model of its own, whose class pydantic reads when it is made."""

    class Ours(DescribedModel):
        """A model."""

        a: int
        """One."""
        b: Part | None = None
        """Two."""

    class Theirs(BaseModel):
        """A model."""

        model_config = ConfigDict(use_attribute_docstrings=True, title="Ours")
        a: int
        """One."""
        b: Part | None = None
        """Two."""

    assert Ours.model_json_schema() == Theirs.model_json_schema()
