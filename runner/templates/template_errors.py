"""What a chat template's error says, without what it may quote.

A template may put a message into the text of its error, and Python and Jinja quote what they
stumble over.  A query or a demonstration is not printed: shown is what stands in the template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from jinja2 import nodes

from safety_receipts.runner.templates.template_text import literals, names_read

_WITHHELD: Final = "the rest is withheld, as it may quote a message"
_UNDEFINED = re.compile(r"'(\w+)' is undefined|'[\w. ]+ object' has no attribute '(\w+)'")
_NO_ELEMENT = re.compile(r"(list|tuple) object has no element")
_WORD: Final = 3
"""Length of a start of an error's text that says nothing yet."""


@dataclass(frozen=True, slots=True)
class TemplateWords:
    """What stands in a template."""

    texts: frozenset[str]
    """Its texts, outer white space left out."""
    names: frozenset[str]
    """Names of the variables, keys and attributes that it reads."""

    @classmethod
    def of(cls, tree: nodes.Template) -> TemplateWords:
        """Return the words of a template, from its syntax tree."""
        return cls(frozenset(text.strip() for text in literals(tree)), names_read(tree))

    def said(self, error: Exception) -> str:
        """Return what an error of the template says, as far as the template's own words say it."""
        text = str(error).strip()
        if text in self.texts or self._speaks_of_names(text):
            return text
        told = [each for each in self.texts if len(each) > _WORD and text.startswith(each)]
        if found := _NO_ELEMENT.match(text):
            told.append(found[0])
        if told:
            return f"{max(told, key=len)} … ({_WITHHELD})"
        return f"{type(error).__name__} ({_WITHHELD})"

    def _speaks_of_names(self, text: str) -> bool:
        """Say whether an error is Jinja's about a name that stands in the template."""
        found = _UNDEFINED.fullmatch(text)
        return found is not None and (found[1] or found[2]) in self.names
