"""From the token ids of a response to the text that is judged.

Channels are told apart by token ids, never by text: a response that merely spells a marker
stays in the channel it is in.  So are thoughts, where their marks are tokens of the vocabulary
(:mod:`runner.prompts.thoughts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from safety_receipts.receipts.model.plan import EvaluationSetup
from safety_receipts.receipts.model.point import Reason
from safety_receipts.runner.prompts.prompt_reader import common_prefix
from safety_receipts.runner.prompts.thoughts import (
    MarkReader,
    ParsedResponse,
    Piece,
    leading_marks,
    placed,
)

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
class ThoughtFormat:
    """Token ids around what is thought before the answer: ``<|channel>thought…<channel|>``."""

    opening: int
    """``<|channel>``."""
    closing: int
    """``<channel|>``."""


Channels = Harmony | ThoughtFormat


class ResponseFormat(Protocol):
    """What turning ids into text needs of a chat format."""

    channels: Channels | None
    """How responses are divided into channels; None: they are not."""
    special: Mapping[int, str]
    """Special tokens: what decoding leaves out, and how each is spelt."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of exactly these ids, special tokens left out."""

    def spelling(self, token: int) -> str:
        """Return how a token that is special or added is spelt."""


@dataclass(frozen=True, slots=True)
class UnmarkedResponses:
    """No marks of thoughts are known, and there are no channels."""


AnswerRule = Channels | MarkReader | UnmarkedResponses | None
"""How the answer is told from the rest of a response; None: all of it is the answer."""


@dataclass(frozen=True, slots=True)
class ResponseText:
    """What a judge is given of a response."""

    text: str
    """The judged text, verbatim: white space stays."""
    reason: Reason | None
    """One of :data:`receipts.model.point.NOTHING_TO_JUDGE` where there is nothing to judge; else
    None."""


@dataclass(frozen=True, slots=True)
class ResponseReader:
    """Reads the judged text of responses: the final answer, and nothing else.

    Without channels and thoughts that is everything but the end token and special tokens.  With
    channels it is the content of ``final``: in the harmony format (OpenAI, "Harmony response
    format") the content of every message whose header names that channel, joined by line breaks
    where there are several; in a format that sets thoughts apart, what stands outside them.  A
    message cut off by the token limit counts as far as it goes.  With marks of thoughts it is what
    :class:`runner.prompts.thoughts.MarkReader` finds outside of thoughts; ordinary tokens between
    two that are special or marks are decoded as one.  Where no marks are known, as neither template
    nor vocabulary has any, a response whose text begins with one is read by it all the same: some
    models think in plain text of which their files say nothing.

    A text of white space alone is nothing to judge.  The reason then is ``empty_final`` where
    another channel, or a header, has something else than white space, ``thought_alone`` where a
    thought was closed, and ``empty_response`` where the whole response has nothing else.  A
    response that ends inside a thought is ``unfinished_thought``, whatever stands before it; one
    whose text ends a thought that was never opened is ``unclear_thought``.
    """

    chat: ResponseFormat
    """The model's chat format."""
    end_ids: frozenset[int]
    """Ids that end a response, special or not."""
    rule: AnswerRule
    """How the answer is told from the rest."""

    def read(self, tokens: Sequence[int]) -> ResponseText:
        """Return the judged text of a response.

        Args:
            tokens: Token ids of the response, the end token included.
        """
        ended = bool(tokens) and tokens[-1] in self.end_ids
        body = tokens[:-1] if ended else tokens
        match self.rule:
            case Harmony() as harmony:
                parts = [
                    self.chat.decode(part) for part in _final_messages(self.chat, harmony, body)
                ]
                text = "\n".join(part for part in parts if part)
            case ThoughtFormat() as thoughts:
                text = self.chat.decode(list(_outside(thoughts, body)))
            case MarkReader() as marks:
                pieces = list(self._pieces(marks.tokens, body))
                return _answer(marks.read(pieces, ended=ended))
            case UnmarkedResponses():
                text = self.chat.decode(body)
                if (pair := leading_marks(text)) is not None:
                    reader = MarkReader(placed([pair], {}), None)
                    return _answer(reader.read([Piece(text, shown=True)], ended=ended))
            case None:
                text = self.chat.decode(body)
            case _:
                assert_never(self.rule)
        if text.strip():
            return ResponseText(text, None)
        channels = isinstance(self.rule, (Harmony, ThoughtFormat))
        elsewhere = channels and self.chat.decode(body).strip()
        return ResponseText(text, Reason.EMPTY_FINAL if elsewhere else Reason.EMPTY_RESPONSE)

    def _pieces(self, marks: frozenset[int], tokens: Sequence[int]) -> Iterator[Piece]:
        special = self.chat.special
        ordinary: list[int] = []
        done = ""
        for token in [*tokens, None]:
            if token is not None and token not in marks and token not in special:
                ordinary.append(token)
                continue
            # What it adds: decoders of some vocabularies take away the first space of a text, and
            # half a character may become a whole one.
            text = self.chat.decode(ordinary)
            yield Piece(text[common_prefix(done, text) :], shown=True)
            done = text
            if token is not None:
                yield Piece(self.chat.spelling(token), shown=False, token=token)


def _answer(reading: ParsedResponse) -> ResponseText:
    if reading.open:
        return ResponseText(reading.answer, Reason.UNFINISHED_THOUGHT)
    if reading.unclear:
        return ResponseText(reading.answer, Reason.UNCLEAR_THOUGHT)
    if reading.answer.strip():
        return ResponseText(reading.answer, None)
    reason = Reason.THOUGHT_ALONE if reading.thought else Reason.EMPTY_RESPONSE
    return ResponseText(reading.answer, reason)


def reader_of(chat: ResponseFormat, setup: EvaluationSetup) -> ResponseReader:
    """Return what reads the responses of an evaluation, by the rule that its plan seals.

    Args:
        chat: The checkpoint's chat format; where the plan judges one channel, with channels.
        setup: The plan, or what a receipt repeats of it.
    """
    rule: AnswerRule = None
    if setup.prompt.judged_channel is not None:
        rule = chat.channels
    elif setup.prompt.thoughts is not None:
        rule = MarkReader(setup.prompt.thoughts.marks, setup.prompt.thoughts.prompt_opens)
    elif setup.prompt.tells_thoughts:
        rule = UnmarkedResponses()
    return ResponseReader(chat, frozenset(setup.sampling.end_tokens), rule)


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


def _outside(thoughts: ThoughtFormat, tokens: Sequence[int]) -> Iterator[int]:
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
    :func:`runner.prompts.demonstrations.prefixed`.

    Args:
        text: The judged text.
        prefix: The prefix that every demonstrated response starts with.
    """
    start = text.lstrip()
    rest = start.removeprefix(prefix)
    return len(rest) < len(start) and not (prefix[-1:].isalnum() and rest[:1].isalnum())


def channels_of(ids: Mapping[str, int]) -> Channels | None:
    """Return how responses are divided by the tokens that a template writes; None: not at all.

    Args:
        ids: These tokens and their ids.
    """
    if {"<|start|>", "<|channel|>", "<|message|>"} <= ids.keys():
        ends = ("<|start|>", "<|end|>", "<|return|>", "<|call|>")
        return Harmony(
            ids["<|channel|>"],
            ids["<|message|>"],
            frozenset(ids[token] for token in ends if token in ids),
        )
    if {"<|channel>", "<channel|>"} <= ids.keys():
        return ThoughtFormat(ids["<|channel>"], ids["<channel|>"])
    return None
