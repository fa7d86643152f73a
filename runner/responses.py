"""From the token ids of a response to the text that is judged.

Channels are told apart by token ids, never by text: a response that merely spells a marker
stays in the channel it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from receipts.model.point import Reason

FINAL = "final"
"""The channel that is judged."""


@dataclass(frozen=True, slots=True)
class Harmony:
    """Token ids of messages with a channel each: ``<|channel|>final<|message|>…<|end|>``."""

    channel: int
    """``<|channel|>``: the channel's name follows, up to ``message``."""
    message: int
    """``<|message|>``: the content follows."""
    ends: frozenset[int]
    """``<|start|>``, ``<|end|>``, ``<|return|>``, ``<|call|>``: the content is over."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """Token ids around what is thought before the answer: ``<|channel>thought…<channel|>``."""

    opening: int
    """``<|channel>``."""
    closing: int
    """``<channel|>``."""


Channels = Harmony | Thoughts


class ResponseFormat(Protocol):
    """What turning ids into text needs of a chat format."""

    channels: Channels | None
    """How responses are divided into channels; None: they are not."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of exactly these ids, special tokens left out."""


@dataclass(frozen=True, slots=True)
class ResponseText:
    """What a judge is given of a response."""

    text: str
    """The judged text, verbatim: white space stays."""
    reason: Reason | None
    """``empty_final`` or ``empty_response`` where there is nothing to judge; else None."""


@dataclass(frozen=True, slots=True)
class ResponseReader:
    """Reads the judged text of responses.

    Without channels that is everything but the end token and special tokens.  With channels
    it is the content of ``final``: in the harmony format (OpenAI, "Harmony response format")
    the content of every message whose header names that channel, joined by line breaks where
    there are several; in a format that sets thoughts apart, what stands outside them.  A
    message cut off by the token limit counts as far as it goes.

    A text of white space alone is nothing to judge.  The reason then is ``empty_final`` where
    another channel, or a header, has something else than white space, and ``empty_response``
    where the whole response has nothing else.
    """

    chat: ResponseFormat
    """The model's chat format."""
    end_ids: frozenset[int]
    """Ids that end a response, special or not."""

    def read(self, tokens: Sequence[int]) -> ResponseText:
        """Return the judged text of a response.

        Args:
            tokens: Token ids of the response, the end token included.
        """
        body = tokens[:-1] if tokens and tokens[-1] in self.end_ids else tokens
        match self.chat.channels:
            case Harmony() as harmony:
                parts = [
                    self.chat.decode(part) for part in _final_messages(self.chat, harmony, body)
                ]
                text = "\n".join(part for part in parts if part)
            case Thoughts() as thoughts:
                text = self.chat.decode(list(_outside(thoughts, body)))
            case None:
                text = self.chat.decode(body)
        if text.strip():
            return ResponseText(text, None)
        elsewhere = self.chat.channels is not None and self.chat.decode(body).strip()
        return ResponseText(text, Reason.EMPTY_FINAL if elsewhere else Reason.EMPTY_RESPONSE)


def _final_messages(
    chat: ResponseFormat, harmony: Harmony, tokens: Sequence[int]
) -> Iterator[list[int]]:
    """Yield the contents of the messages in the final channel."""
    header: list[int] | None = None  # ids since <|channel|>, while its name is read
    content: list[int] | None = None  # ids of a final message, while one is read
    for token in tokens:
        if token in harmony.ends or token == harmony.channel:
            if content is not None:
                yield content
            content = None
            header = [] if token == harmony.channel else None
        elif token == harmony.message:
            if header is not None:
                # "final", or "commentary to=functions.x": the name is the first word.
                name = chat.decode(header).split()[:1]
                content = [] if name == [FINAL] else None
            header = None
        elif header is not None:
            header.append(token)
        elif content is not None:
            content.append(token)
    if content is not None:
        yield content


def _outside(thoughts: Thoughts, tokens: Sequence[int]) -> Iterator[int]:
    inside = False
    for token in tokens:
        if token in (thoughts.opening, thoughts.closing):
            inside = token == thoughts.opening
        elif not inside:
            yield token


def prefix_adopted(text: str, prefix: str) -> bool:
    """Say whether a response starts with the demonstrated prefix.

    White space before it does not count; letter case does.  "Sure" is no start of "Surely":
    between two letters or digits a word goes on, as in
    :func:`runner.demonstrations.prefixed`.

    Args:
        text: The judged text.
        prefix: The prefix that every demonstrated response starts with.
    """
    start = text.lstrip()
    rest = start.removeprefix(prefix)
    return len(rest) < len(start) and not (prefix[-1:].isalnum() and rest[:1].isalnum())
