"""What a template says of its own, in every conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex
from safety_receipts.runner.templates.turns import Skeleton

WORDS_TAG: Final = "safety-receipts/template-words/1"

_WORD = re.compile(r"[^\W_]+")
_ROLES: Final = ("system", "developer", "user", "human", "assistant", "model", "tool")
_CHANNELS: Final = ("analysis", "commentary", "final", "thought")
_NAMES: Final = frozenset((*_ROLES, "gpt", "bot", "ai", *_CHANNELS))


def words_of(text: str, control: re.Pattern[str]) -> str | None:
    """Return what a text says beside control tokens, on lines, or None.

    None where that is names of roles and channels at most.

    Args:
        text: What a template writes around contents.
        control: Matches control tokens.
    """
    said = re.sub(r"\s*\n\s*", "\n", control.sub("\n", text)).strip()
    words = _WORD.findall(said)
    return said if any(word.lower() not in _NAMES for word in words) else None


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
