"""Sentences whose numbers are held to the signed documents they come from.

Sentences and tables of the findings are written once, for terminals too, as plain text.  Each
number in them is looked up among the values that the text is about: the first that reads the same
is what the script of the page compares it with.  What is found nowhere is the tool's own, and so
marked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from safety_receipts.verify.page.markup import Node, el
from safety_receipts.verify.page.sealed import Form, SealedDocuments, pointer, shown_as

_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_P_VALUE: Final = re.compile(r"p|p2|pAsPublished|pClustered|pPermutation|pBenign|pValue|adjusted")
_LEVEL: Final = ("level", "confidenceLevel")
_SHARE: Final = frozenset(
    {"rate", "complianceRate", "refusalRate", "sensitivity", "specificity", "value"}
    | {"largest", "largestBenign"}
)
_ENDS: Final = ("lower", "upper")
_NUMBER_FORMS: Final = (Form.SIGNED, Form.SIGNED_2, Form.STATISTIC, Form.PLAIN)
_NUMERAL: Final = (
    r"< 1e-20"
    r"|(?<![\w])[0-9]+ %(?=[^\w]|$)"
    r"|(?<![\w.,])[+−]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:e-?[0-9]+)?(?![\w])"
    r"|[0-9]+"
)
_LEAST_NAME: Final = 2
_LONGEST: Final = 40
"""Characters of a decimal."""


class NumberBinder:
    """Knows which values of signed documents a text can hold.

    Args:
        documents: The documents.
        places: Where numbers are looked for, the likeliest first; everything below them counts.
        names: Places and forms of names that hold digits, such as ids of conditions.
    """

    def __init__(
        self,
        documents: SealedDocuments,
        places: Iterable[str],
        names: Iterable[tuple[str, Form]],
    ) -> None:
        self._documents = documents
        self._known: dict[str, list[tuple[str, Form]]] = {}
        for place in places:
            for found, value in _leaves(documents.value(place), place):
                for form, text in _forms(value, found):
                    self._known.setdefault(text, []).append((found, form))
        self._names: dict[str, tuple[str, Form]] = {}
        for place, form in names:
            text = documents.text(place, form)
            if len(text) >= _LEAST_NAME and re.search(r"\d", text):
                self._names.setdefault(text, (place, form))
        longest_first = sorted(self._names, key=len, reverse=True)
        parts = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first]
        self._tokens = re.compile("|".join([*parts, _NUMERAL]))

    def told(self, text: str, *near: str, named: bool = True) -> list[Node]:
        """Return a text with each of its numbers in an element of its own.

        Args:
            text: The text.
            near: Places that its numbers come from, the likeliest first, and no others.
            named: Whether names that hold digits are looked for everywhere.
        """
        nodes: list[Node] = []
        end = 0
        for match in self._tokens.finditer(text):
            nodes.append(text[end : match.start()])
            before = text[: match.start()]
            name = self._names.get(match[0]) if named else None
            found = self._documents.show(*name) if name else self._shown(match[0], before, near)
            nodes.append(found)
            end = match.end()
        nodes.append(text[end:])
        return [node for node in nodes if node != ""]

    def _shown(self, token: str, before: str, near: Sequence[str]) -> Node:
        part_of_word = before[-1:].isalpha() or before[-1:] == "_"
        found = [] if part_of_word else self._known.get(token, [])
        for prefix in near:
            for place, form in found:
                if place == prefix or place.startswith(f"{prefix}/"):
                    return self._documents.show(place, form)
        return el("span", token, data_fixed=True)


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, place + pointer(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, place + pointer(index))
    else:
        yield place, value


def _forms(value: Any, place: str) -> Iterator[tuple[Form, str]]:
    """Yield the forms in which a value may stand in a text, by what it is of."""
    name = place.rpartition("/")[2]
    forms: tuple[Form, ...] = ()
    if isinstance(value, int) and not isinstance(value, bool):
        forms = (Form.COUNT, Form.PLAIN)
    elif isinstance(value, str) and len(value) <= _LONGEST and _DECIMAL.fullmatch(value):
        if name in _LEVEL:
            forms = (Form.LEVEL,)
        elif _P_VALUE.fullmatch(name):
            forms = (Form.P,)
        elif name in _ENDS:
            forms = (Form.PERCENT, Form.POINTS, *_NUMBER_FORMS)
        elif name in _SHARE:
            forms = (Form.PERCENT, Form.POINTS)
        else:
            forms = _NUMBER_FORMS
    yield from ((form, shown_as(value, form)) for form in forms)
