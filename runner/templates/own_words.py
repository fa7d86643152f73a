"""What a template says of its own, in every conversation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex
from safety_receipts.runner.templates.turns import Skeleton
from safety_receipts.runner.vocabulary.components import is_bracketed

WORDS_TAG: Final = "safety-receipts/template-words/1"

_RUN = re.compile(r"[^\W_]+")
_ROLES: Final = ("system", "developer", "user", "human", "assistant", "model", "tool")
_CHANNELS: Final = ("analysis", "commentary", "final", "thought")
_NAMES: Final = frozenset((*_ROLES, "gpt", "bot", "ai", *_CHANNELS))


def without_markup(text: str, control: re.Pattern[str]) -> str:
    """Return a text on lines, broken where control tokens within brackets stood.

    Any word of a vocabulary can be listed as a special token: one without brackets says what it
    says.

    Args:
        text: What a template writes around contents.
        control: Matches control tokens.
    """
    said = control.sub(lambda match: "\n" if is_bracketed(match[0]) else match[0], text)
    return re.sub(r"\s*\n\s*", "\n", said).strip()


def words_of(text: str, control: re.Pattern[str]) -> str | None:
    """Return what a text says beside markup, on lines, or None.

    None where that is punctuation and names of roles and channels at most.  Symbols and characters
    that show nothing can spell words, as circled letters and tags do.

    Args:
        text: What a template writes around contents.
        control: Matches control tokens.
    """
    said = without_markup(text, control)
    rest = _RUN.sub(lambda run: "" if run[0].lower() in _NAMES else run[0], said)
    return None if all(map(_is_silent, rest)) else said


def _is_silent(character: str) -> bool:
    """Say whether a character is white space or punctuation, or another sign of ASCII."""
    if character.isascii():
        return not character.isalnum() and (character.isprintable() or character.isspace())
    return character.isspace() or unicodedata.category(character).startswith("P")


def template_words(skeletons: Sequence[Skeleton], control: re.Pattern[str]) -> Sha256 | None:
    """Return the digest of skeletons in which a template says something, or None.

    SHA-256 over the RFC 8785 array ``["safety-receipts/template-words/1", [[piece, …], …]]``.  A
    call of a tool, which is written beside its result, holds words.

    Args:
        skeletons: What stands around the contents of every condition, in plan order.
        control: Matches control tokens.
    """
    if not any(words_of(piece, control) for each in skeletons for piece in each.pieces):
        return None
    pieces = [list(skeleton.pieces) for skeleton in skeletons]
    return sha256_hex(canonical_bytes([WORDS_TAG, pieces]))
