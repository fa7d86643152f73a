"""Values of signed documents as a page shows them: each text is made from the place it names.

A script in the page holds each shown value to the signed bytes, by the same names of places and
of forms; so a text is never written here but through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from safety_receipts.receipts.bundle import SignedStatement
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.view.names import LONGEST_DRAWN_NAME
from safety_receipts.receipts.view.numerals import (
    NOTHING,
    level,
    p_number,
    percent,
    percentage_points,
    signed_number,
    statistic,
)
from safety_receipts.verify.page.markup import Element, el


class Form(StrEnum):
    """How a value is shown."""

    COUNT = "count"
    """A whole number: ``1,404``."""
    PLAIN = "plain"
    """A number as it is sealed."""
    WHOLE = "whole"
    """A decimal without its decimals."""
    PERCENT = "percent"
    """A share in percent."""
    POINTS = "points"
    """A difference of shares in percentage points, with its sign."""
    SIGNED = "signed"
    """A number with its sign and three decimals."""
    SIGNED_2 = "signed2"
    """A number with its sign and two decimals."""
    P = "p"
    """A p-value."""
    LEVEL = "level"
    """The coverage of an interval: ``95 %``."""
    STATISTIC = "statistic"
    """A test statistic."""
    TEXT = "text"
    """A text as it is."""
    LENGTH = "length"
    """How many items a list has."""
    DIGEST = "digest"
    """SHA-256 of the signed bytes."""
    KEYID = "keyid"
    """Id of the key that is said to have signed."""
    PREFIX_12 = "prefix12"
    """The first twelve characters."""
    PREFIX_16 = "prefix16"
    """The first sixteen characters."""


def _collapsed(value: Any) -> str:
    return " ".join(str(value).split())


_FORMS: Final[Mapping[Form, Callable[[Any], str]]] = {
    Form.COUNT: lambda value: f"{value:,}",
    Form.PLAIN: str,
    Form.WHOLE: lambda value: str(value).partition(".")[0],
    Form.PERCENT: percent,
    Form.POINTS: percentage_points,
    Form.SIGNED: signed_number,
    Form.SIGNED_2: lambda value: signed_number(value, 2),
    Form.P: p_number,
    Form.LEVEL: level,
    Form.STATISTIC: statistic,
    Form.TEXT: _collapsed,
    Form.LENGTH: lambda value: f"{len(value):,}",
    Form.PREFIX_12: lambda value: str(value)[:12],
    Form.PREFIX_16: lambda value: str(value)[:16],
}


def shown_as(value: Any, form: Form) -> str:
    """Return a value in some form; a dash where there is none."""
    return NOTHING if value is None else _FORMS[form](value)


@dataclass(frozen=True)
class SealedDocument:
    """One signed statement of a page."""

    letter: str
    """What its places begin with: ``r`` the receipt, ``p`` the plan, ``a0`` the first audit."""
    predicate: Any
    """Its predicate as plain JSON."""
    digest: str
    """SHA-256 of its signed bytes."""
    keyid: str
    """Id of the key of its first signature, as the envelope claims it."""

    @classmethod
    def of(cls, letter: str, signed: SignedStatement[Any]) -> SealedDocument:
        """Return a signed statement as a document of a page."""
        return cls(
            letter,
            signed.document["predicate"],
            signed.envelope.digest,
            signed.envelope.signatures[0].keyid,
        )


class SealedDocuments:
    """The signed statements of a page, and elements that show their values."""

    def __init__(self, documents: Iterable[SealedDocument]) -> None:
        self._documents = {document.letter: document for document in documents}

    def value(self, place: str) -> Any:
        """Return what stands at a place; None: nothing does.

        Args:
            place: ``/r/conditions/3/complianceRate``: a document, and an RFC 6901 pointer into it.
        """
        _, letter, *steps = place.split("/")
        value = self._documents[letter].predicate
        for step in steps:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            elif isinstance(value, dict):
                value = value.get(name)
            else:
                return None
        return value

    def text(self, place: str, form: Form) -> str:
        """Return how the value at a place is shown."""
        if form in (Form.DIGEST, Form.KEYID):
            document = self._documents[place.removeprefix("/")]
            return document.digest if form is Form.DIGEST else document.keyid or NOTHING
        return shown_as(self.value(place), form)

    def show(
        self,
        place: str,
        form: Form,
        tag: str = "span",
        *,
        within: str | None = None,
        limit: int = LONGEST_DRAWN_NAME,
        **attributes: str | bool | None,
    ) -> Element:
        """Return an element that shows the value at a place.

        Args:
            place: The place.
            form: How it is shown.
            tag: The element's name.
            within: Place of the element around it that has ``data-in``: the pointer is then written
                from there.
            limit: Longest text in characters.
            attributes: Further attributes, as of :func:`el`.
        """
        text = self.text(place, form)
        if form is Form.TEXT:
            shown = printable(text, limit)
            if shown != text:  # spelt out, or cut: no signed text stands here letter by letter
                return el(tag, el("bdi", shown), data_fixed=True, **attributes)
        written = place if within is None else place.removeprefix(f"{within}/")
        content = el("bdi", text) if form is Form.TEXT else text
        return el(tag, content, data_at=written, data_as=form.value, **attributes)


def pointer(*steps: str | int) -> str:
    """Return the place that some steps lead to: ``pointer("r", "conditions", 3)``."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
