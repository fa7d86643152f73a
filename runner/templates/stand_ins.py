"""Contents that stand in for those of a conversation, to see what a template writes around them.

A stand-in says nothing: consonants, drawn from the event's seed, so that the author of a template,
which is bound before the seed is known, cannot name one.  There are two for every message, a word
and several lines, so that no rule of length tells stand-ins from contents unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from hashlib import sha256
from itertools import count
from typing import Final

from safety_receipts.runner.templates.messages import Message, Role

_LETTERS: Final = "bcdfghjklmnpqrtvwxz"
_WORD: Final = 7
_WORDS_A_LINE: Final = 6
_LINES: Final = 12


class StandInLength(Enum):
    """How long the stand-ins of a conversation are."""

    WORD = "word"
    """A word of seven letters."""
    LINES = "lines"
    """Twelve lines of six words."""


def stood_in(
    messages: Sequence[Message], length: StandInLength, *, system: str | None, seed: str
) -> tuple[Message, ...]:
    """Return a conversation with stand-ins for its contents.

    The plan's system prompt stays, as it is the same in every prompt of the plan: where a system
    message begins with it, what follows is replaced.  A message that calls a tool has no content.

    Args:
        messages: The conversation.
        length: How long its stand-ins are.
        system: The plan's system prompt; None: none is given.
        seed: What stand-ins are drawn from.
    """
    words = _words(f"{seed} {length.value}")
    return tuple(
        replace(message, content=kept + _stand_in(words, length)) if said else message
        for message in messages
        for kept, said in [_divided(message, system)]
    )


def _divided(message: Message, system: str | None) -> tuple[str, bool]:
    """Return the part of a content that stays, its start, and whether there is more to it."""
    if message.role is Role.ASSISTANT and message.call is not None:
        return message.content, False
    if message.role is Role.SYSTEM and system is not None:
        opening = f"{system}\n\n"
        if message.content == system:
            return system, False
        if system and message.content.startswith(opening):
            return opening, True
    return "", True


def shape(messages: Sequence[Message], system: str | None) -> tuple[object, ...]:
    """Return what decides the stand-ins of a conversation: equal ones have the same.

    Args:
        messages: The conversation.
        system: The plan's system prompt; None: none is given.
    """
    # Of a plain message only its role decides.
    special = (
        (place, message.call, *_divided(message, system))
        for place, message in enumerate(messages)
        if message.call is not None or message.role is Role.SYSTEM
    )
    return tuple(message.role for message in messages), *special


def _stand_in(words: Iterator[str], length: StandInLength) -> str:
    if length is StandInLength.WORD:
        return next(words)
    lines = (" ".join(next(words) for _ in range(_WORDS_A_LINE)) for _ in range(_LINES))
    return ".\n".join(lines)


def _words(seed: str) -> Iterator[str]:
    """Yield words that a seed decides; two are the same once in some hundred millions."""
    for number in count():
        drawn = sha256(f"safety-receipts/stand-in/1 {seed} {number}".encode()).digest()
        yield "".join(_LETTERS[byte % len(_LETTERS)] for byte in drawn[:_WORD])
