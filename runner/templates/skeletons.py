"""Holding what a template writes around contents to roles, options, date and places.

A chat template comes with a model, and whoever is evaluated may have written it.  One that adds a
refusal where a message holds certain words, or after so many turns, would decide the outcome.  So
every conversation is rendered with stand-ins for its contents too, once for all conversations of a
shape, and what stands around contents has to be the same; and what stands around the stand-ins has
to be plain turns repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.runner.templates.chat_template import ChatTemplate, TemplateOption
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.rendered import RenderedConversation, spellings
from safety_receipts.runner.templates.stand_ins import StandInLength, shape, stood_in
from safety_receipts.runner.templates.turns import (
    IrregularPiece,
    Skeleton,
    irregular,
    reference_of,
)

_SHOWN: Final = 100
"""Most characters of a template's text in a message."""
_TEXTS: Final = 10_000
_LOOKED_AT: Final = 2**16
"""Most texts of a template, and characters of what it writes, that a message is made from: both
are the template's to choose."""
_TURN: Final = (Message(Role.USER, "How so?"), Message(Role.ASSISTANT, "Like this."))
_ANOTHER: Final = (
    "use a checkpoint whose template writes the same around every message, or the template option "
    "that turns this off"
)


class ContentDependenceError(UsageError):
    """A chat template writes other text around a message because of what it says.

    Args:
        message: The message.
        number: Its number in the conversation, from 1.
        difference: What the template writes that it does not write around other contents.
        template: The template.
    """

    def __init__(
        self, message: Message, number: int, difference: str, template: ChatTemplate
    ) -> None:
        super().__init__(
            f"what message {number} (role {message.role.value}) says changes what the chat "
            f"template writes around the messages{difference}",
            file=template.file,
            hint=_ANOTHER,
        )
        self.content = message.content


class SkeletonKeeper:
    """Renders conversations of one plan, whose contents change nothing around them.

    Args:
        template: The chat template.
        system: The plan's system prompt; None: none is given.
        date: The date shown to templates that print today's.
        options: Further template variables.
        seed: What stand-ins are drawn from; nobody knows it before the template is bound.
    """

    def __init__(
        self,
        template: ChatTemplate,
        system: str | None,
        date: str | None,
        options: Mapping[str, TemplateOption],
        seed: str,
    ) -> None:
        self._template = template
        self._system = system
        self._date = date
        self._options = options
        self._seed = seed
        self._known: dict[tuple[object, ...], Skeleton] = {}

    def rendered(self, messages: Sequence[Message]) -> RenderedConversation:
        """Return a conversation as text.

        Raises:
            ContentDependenceError: What a message says changes what stands around messages.
            UsageError: As :meth:`runner.templates.chat_template.ChatTemplate.rendered`; or several
                contents together change it, or what stands there are not plain turns.
        """
        with suppress(UsageError):  # said below, or of the conversation itself
            if (plain := self._filled(self.skeleton(messages), messages)) is not None:
                return plain
        rendered = self._rendered(messages)
        skeleton = self.skeleton(messages)
        if not _agrees(rendered, messages, skeleton):
            raise self._changed(messages, rendered, skeleton)
        self._check_in_use(messages, rendered)
        return rendered

    def _filled(
        self, skeleton: Skeleton, messages: Sequence[Message]
    ) -> RenderedConversation | None:
        """Return a conversation of which the text is a skeleton with contents in it, or None.

        Where the template writes nothing but what it writes around stand-ins, with every content in
        its place as it is, or without its outer white space, and the same of marked contents and of
        bare ones, then nothing is lost, moved or added.  Anything else is left to whoever says what
        is wrong.

        Raises:
            UsageError: The template refuses the conversation.
        """
        shown = [messages[place].content for place in skeleton.places]
        cores = [content.strip() for content in shown]
        if not all(cores) or self._template.spells_control(messages):
            return None
        bare, marked, edge = self._template.bare_and_marked(messages, self._date, self._options)
        around = skeleton.pieces
        pieces = _between(around, cores)
        if (text := "".join(pieces)) != bare and cores != shown:
            befores, afters = zip(*map(_outer, shown), strict=True)
            beside = zip(("", *afters), around, (*befores, ""), strict=True)
            around = tuple("".join(each) for each in beside)
            pieces = _between(around, cores)
            text = "".join(pieces)
        if text != bare:
            return None
        same = marked.split(edge) == pieces  # the edge occurs nowhere else
        return RenderedConversation(tuple(pieces), skeleton.places) if same else None

    def skeleton(self, messages: Sequence[Message]) -> Skeleton:
        """Return what stands around the contents of a conversation, whatever they say.

        Raises:
            UsageError: The template refuses the conversation with stand-ins, or its turns are not
                the same throughout, or change with the stand-ins.
        """
        key = shape(messages, self._system)
        if key not in self._known:
            self._known[key] = self._made(messages)
        return self._known[key]

    def _made(self, messages: Sequence[Message]) -> Skeleton:
        found = self._standing_in(messages)
        first = messages[0] if messages[0].role is Role.SYSTEM else None
        reference = reference_of(_TURN, first)
        try:
            plain = self._standing_in(reference)
        except UsageError:
            if any(message.role is not Role.USER for message in messages[1:]):
                raise
            return found  # a template for one request alone has no turns
        if (piece := irregular(found, plain)) is not None:
            raise self._irregular(piece)
        return found

    def _standing_in(self, messages: Sequence[Message]) -> Skeleton:
        """Return what stands around stand-ins, of whatever length they are."""
        short, long = (
            stood_in(messages, length, system=self._system, seed=self._seed)
            for length in StandInLength
        )
        one, other = self._rendered(short), self._rendered(long)
        self._check_in_use(short, one)
        found = _skeleton(one, messages)
        if found != _skeleton(other, messages):
            raise UsageError(
                "the length or the letters of messages change what the chat template writes "
                f"around them{self._difference(other.around, one.around)}",
                file=self._template.file,
                hint=_ANOTHER,
            )
        return found

    def _check_in_use(self, messages: Sequence[Message], rendered: RenderedConversation) -> None:
        """Make sure that a template writes the same of contents that are not marked.

        It sees the characters that mark contents here, and could write other prompts for an
        evaluation than for its users.

        Raises:
            UsageError: It writes something else.
        """
        template = self._template
        bare = template.unmarked(messages, self._date, self._options)
        if bare != rendered.text:
            difference = self._difference((bare,), (rendered.text,))
            raise UsageError(
                "the chat template writes another prompt in use than in an evaluation, where "
                f"contents are marked{difference}",
                file=template.file,
                hint=_ANOTHER,
            )

    def _rendered(self, messages: Sequence[Message]) -> RenderedConversation:
        return self._template.rendered(messages, self._date, self._options)

    def _changed(
        self, messages: Sequence[Message], rendered: RenderedConversation, skeleton: Skeleton
    ) -> UsageError:
        """Return the error that names the first message which alone changes a skeleton."""
        difference = self._difference(rendered.around, skeleton.pieces)
        neutral = stood_in(messages, StandInLength.WORD, system=self._system, seed=self._seed)
        for place, message in enumerate(messages):
            alone = [*neutral[:place], message, *neutral[place + 1 :]]
            try:
                same = _agrees(self._rendered(alone), alone, skeleton)
            except UsageError:
                same = False
            if not same:
                return ContentDependenceError(message, place + 1, difference, self._template)
        return UsageError(
            "what the messages say together changes what the chat template writes around "
            f"them{difference}",
            file=self._template.file,
            hint=_ANOTHER,
        )

    def _irregular(self, piece: IrregularPiece) -> UsageError:
        expected = () if piece.expected is None else (piece.expected,)
        difference = self._difference((piece.found,), expected)
        where = f"after message {piece.after}" if piece.after else "before the first message"
        return UsageError(
            f"the chat template does not write plain turns: what it writes {where} is not what it "
            f"writes at such places in other conversations, or elsewhere in this one{difference}",
            file=self._template.file,
            hint="use a checkpoint whose template writes every turn alike",
        )

    def _difference(self, found: Sequence[str], expected: Sequence[str]) -> str:
        """Say what of the template's own texts stands in some pieces and not in others."""
        here, there = _from_difference("\0".join(found), "\0".join(expected))
        texts = {text for each in self._template.words.texts if (text := each.strip())}
        longest_first = sorted(texts, key=lambda text: (len(text), text), reverse=True)[:_TEXTS]
        for verb, one, other in (("adds", here, there), ("leaves out", there, here)):
            if len(other) == _LOOKED_AT:
                continue  # what was cut off may have it too
            told = (text for text in longest_first if one.count(text) > other.count(text))
            if (longest := next(told, None)) is not None:
                said = re.sub(r"\s+", " ", longest)
                return f"; it {verb} «{printable(said, _SHOWN)}»"
        return ""


def _from_difference(one: str, other: str) -> tuple[str, str]:
    """Return two texts from a little before they begin to differ, as far as they are looked at."""
    if len(one) <= _LOOKED_AT and len(other) <= _LOOKED_AT:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    shared = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = max(0, shared - _SHOWN)
    return one[start : start + _LOOKED_AT], other[start : start + _LOOKED_AT]


def _between(around: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Return pieces with contents between them."""
    pieces = [""] * (len(around) + len(contents))
    pieces[::2], pieces[1::2] = around, contents
    return pieces


def _skeleton(rendered: RenderedConversation, messages: Sequence[Message]) -> Skeleton:
    roles = tuple(messages[place].role for place in rendered.places)
    return Skeleton(rendered.around, roles, rendered.places)


def _agrees(
    rendered: RenderedConversation, messages: Sequence[Message], skeleton: Skeleton
) -> bool:
    """Say whether pieces are those of a skeleton, but for the outer white space of contents.

    A blank content, as a limit on the length of demonstrations leaves one, stands between the two
    pieces beside it as any other does, but is not told from them.
    """
    if rendered.around == skeleton.pieces and rendered.places == skeleton.places:
        return True
    filled = tuple(place for place in skeleton.places if messages[place].content.strip())
    if rendered.places != filled:
        return False
    edges = [_outer(messages[place].content) for place in filled]
    befores, afters = [*(before for before, _ in edges), ""], ["", *(after for _, after in edges)]
    plain = _joined(skeleton, messages)
    return all(
        piece in those or any(_widened(piece, each, after, before) for each in those)
        for piece, those, after, before in zip(rendered.around, plain, afters, befores, strict=True)
    )


def _joined(skeleton: Skeleton, messages: Sequence[Message]) -> list[set[str]]:
    """Return what may stand between the contents that are not blank, in order."""
    first, *others = skeleton.pieces
    pieces = [{first}]
    for place, piece in zip(skeleton.places, others, strict=True):
        content = messages[place].content
        if content.strip():
            pieces.append({piece})
        else:
            shown = {"", *spellings(content)}
            pieces[-1] = {head + blank + piece for head in pieces[-1] for blank in shown}
    return pieces


def _outer(content: str) -> tuple[str, str]:
    """Return the white space before and after a content."""
    core = content.strip()
    before, after = content.split(core, 1)
    return before, after


def _widened(piece: str, plain: str, after: str, before: str) -> bool:
    """Say whether a piece is a plain one between white space that contents have beside it.

    Args:
        piece: The piece.
        plain: What stands there between stand-ins.
        after: White space at the end of the content before it.
        before: White space at the start of the content after it.
    """
    left = {spelt[:end] for spelt in spellings(after) for end in range(len(spelt) + 1)}
    right = {spelt[start:] for spelt in spellings(before) for start in range(len(spelt) + 1)}
    return any(
        piece.startswith(head := one + plain) and piece[len(head) :] in right for one in left
    )
