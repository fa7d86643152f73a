"""What others wrote, as Markdown that it cannot end, and our own words beside it.

A card is shown by many programs.  Several make links of bare addresses, pictures of ``:names:`` and
formulas of dollar signs, whatever is escaped: text with such stands in a code span.
"""

from __future__ import annotations

import re
from typing import Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.verify.view.gate_summary import code_span

_LONGEST_NAME: Final = 600
_LONGEST_SENTENCE: Final = 4000
_ESCAPED: Final = re.compile(r"[\\`*_\[\]|~]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MADE_INTO_OTHERS: Final = re.compile(r"://|www\.|@|\$|:[\w+-]+:|#\d|\bGH-\d", re.IGNORECASE)


def name_span(text: str) -> str:
    """Return a name that somebody else chose, as a code span on one line."""
    return code_span(printable(text, _LONGEST_NAME))


def sentence_text(text: str) -> str:
    """Return a sentence that may hold names of others, so that it reads as it is written."""
    text = printable(text, _LONGEST_SENTENCE).strip()
    if _MADE_INTO_OTHERS.search(text):
        return code_span(text)
    escaped = _ESCAPED.sub(r"\\\g<0>", text)
    return re.sub("[&<>]", lambda found: _ENTITIES[found[0]], escaped)
