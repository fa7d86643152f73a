"""A chat template: messages in, text out, and where in it the messages' contents stand.

Templates come with a model and are not ours.  What this module adds is that nothing is lost
in one unnoticed, and that no prompt depends on the day it is rendered.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import jinja2
import jinja2.meta
import jinja2.nodes

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.templates.bounded import OutOfTimeError, bounded
from safety_receipts.runner.templates.dates import parsed_date, written_date
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.rendered import (
    RenderedConversation,
    shown_order,
    spellings,
    unused_characters,
)
from safety_receipts.runner.templates.template_errors import TemplateWords
from safety_receipts.runner.templates.template_text import parsed

TemplateOption = str | bool | int | None
"""Value of a template's variable."""

_OURS = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "strftime_now", "raise_exception"}
)

_REFUSED = (
    "leave out what this template cannot show, a system prompt or a context, or give the variables "
    "that it asks for under `template_options:`"
)

_ENDLESS = "no template in use does that; get the folder again from its source"

SECONDS = 20
"""Longest time that a template may take for one conversation, by the clock."""
MAX_MEMORY = 2 * 2**30
"""Most memory that it may take for that, in bytes."""
MAX_RENDERED = 2**26
"""Longest text that it may make of one, in characters."""

_PIECES = 1024
"""Pieces that are counted at once: those of a long conversation, mostly."""
_CONTENTS_KEPT = 2**13
"""Contents that are kept with a character at both ends: those of demonstrations recur."""
_SMALL_EDGES = "\x01\x02\x03\x04\x05\x06\x07"
"""Characters that texts hardly have, and that are no white space."""

_TEMPLATE_FAILURES = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What Python raises on behalf of a template that asks for something impossible."""


class _TooLongError(Exception):
    """A template writes more than it may."""


class AlteredMessageError(UsageError):
    """A chat template does not show a message as it is.

    Args:
        altered: The message.
        number: Its number in the conversation, from 1.
        file: Where the template is.
    """

    def __init__(self, altered: Message, number: int, file: Path) -> None:
        super().__init__(
            f"the chat template drops or changes message {number} (role {altered.role.value})",
            file=file,
            hint="leave out what this template cannot show: a system prompt, a context",
        )
        self.content = altered.content


@dataclass(frozen=True)
class ChatTemplate:
    """One template, compiled, with what it is given besides messages."""

    source: str
    """The template's text."""
    compiled: jinja2.Template
    """The same, compiled in a sandbox."""
    constants: Mapping[str, str]
    """Named special tokens, such as ``bos_token``."""
    control: re.Pattern[str]
    """Matches whatever the tokenizer would read as a control token."""
    file: Path
    """Where it comes from, for errors."""

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names of the variables that the template reads."""
        tree = self.compiled.environment.parse(self.source)
        return frozenset(jinja2.meta.find_undeclared_variables(tree))

    def _free(self) -> list[str]:
        """Return the variables that are neither given nor set by the template itself."""
        tree = self.compiled.environment.parse(self.source)
        names = tree.find_all(jinja2.nodes.Name)
        own = {name.name for name in names if name.ctx == "store"}
        return sorted(self.variables - own - _OURS - set(self.constants))

    def rendered(
        self,
        messages: Sequence[Message],
        date: str | None,
        options: Mapping[str, TemplateOption],
        *,
        generation_prompt: bool = True,
    ) -> RenderedConversation:
        """Return messages as text, with a generation prompt.

        The content of a message is data.  A template may trim its outer white space or write it
        as a JSON string, and nothing else; where content spells a control token, the template
        does not see one, so that it neither splits nor refuses such content.  To that end
        every content is given to the template between two characters that nothing else has,
        with a third inside every control token spelt; all are taken out again.

        A system message may be shown anywhere, as templates without a place for it put it into
        the last turn of the user; all other messages keep their order.  A call of a tool is given
        without content, and to a template that refuses it so with an empty one.

        Args:
            messages: The conversation.
            date: The date shown to templates that print today's, ``2026-01-31``.
            options: Further template variables.
            generation_prompt: Whether the template is asked to open the assistant's turn.

        Raises:
            AlteredMessageError: The template loses or alters a message.
            UsageError: It refuses the messages, repeats or moves one, asks for a date where none
                is fixed, or does not read an option.
        """
        variables = self._variables(date, options)
        edge, within = self._guards(messages, options)
        cores = [
            self._split(core, within) for message in messages if (core := message.content.strip())
        ]
        waiting = iter(cores)
        given = [
            {**each.as_template_data(), "content": _around(each.content, edge, next(waiting))}
            if each.content.strip()
            else each.as_template_data()
            for each in messages
        ]
        [text] = self._called([given], {**variables, "add_generation_prompt": generation_prompt})
        pieces = text.split(edge)
        places = [place for place, message in enumerate(messages) if message.content.strip()]
        movable = places[:1] == [0] and messages[0].role is Role.SYSTEM
        order = shown_order(cores, pieces[1::2], movable=movable)
        if order is None or len(pieces) != 2 * len(cores) + 1:
            raise self._lost(messages, cores, pieces)
        self._check_calls(messages, "".join(pieces[::2]))
        plain = tuple(piece.replace(within, "") for piece in pieces)
        return RenderedConversation(plain, tuple(places[number] for number in order))

    def bare_and_marked(
        self, messages: Sequence[Message], date: str | None, options: Mapping[str, TemplateOption]
    ) -> tuple[str, str, str]:
        """Return messages as text in two ways, and the character that marks contents in the second.

        Once as the template makes them of their bare contents, where nothing keeps it from changing
        one, as in a deployment; and once with that character at both ends of every content, outer
        white space left out.  For contents that spell no control token (:meth:`spells_control`).

        Raises:
            UsageError: As :meth:`rendered`, but for what is lost or moved.
        """
        texts = self._texts(messages, options)
        # One of a byte, where there is one: texts with others take twice the memory, and the time.
        free = (one for one in _SMALL_EDGES if not any(one in text for text in texts))
        edge = next(free, None) or self._guards(messages, options)[0]
        bare = [message.as_template_data() for message in messages]
        given = [
            {**data, "content": _edged(message.content, edge)} if message.content else data
            for data, message in zip(bare, messages, strict=True)
        ]
        variables = {**self._variables(date, options), "add_generation_prompt": True}
        plain, marked = self._called([bare, given], variables)
        return plain, marked, edge

    def unmarked(
        self, messages: Sequence[Message], date: str | None, options: Mapping[str, TemplateOption]
    ) -> str:
        """Return messages as text, with contents whose edges are not marked for the template.

        Control tokens that contents spell are kept from it, as in :meth:`rendered`.

        Raises:
            UsageError: As :meth:`rendered`, but for what is lost or moved.
        """
        _, within = self._guards(messages, options)
        given = [
            message.as_template_data()
            if not message.content
            else {**message.as_template_data(), "content": self._split(message.content, within)}
            for message in messages
        ]
        [text] = self._called(
            [given], {**self._variables(date, options), "add_generation_prompt": True}
        )
        return text.replace(within, "")

    def _guards(
        self, messages: Sequence[Message], options: Mapping[str, TemplateOption]
    ) -> tuple[str, str]:
        """Return a character for edges of contents, and one that splits control tokens there."""
        characters = unused_characters(2, self._texts(messages, options))
        return characters[0], characters[1]

    def _texts(
        self, messages: Sequence[Message], options: Mapping[str, TemplateOption]
    ) -> list[str]:
        """Return all that a template may write."""
        said = [message.content for message in messages]
        return [self.source, *said, *(one for one in options.values() if isinstance(one, str))]

    def spells_control(self, messages: Sequence[Message]) -> bool:
        """Say whether contents may spell a control token, also where one goes on in the next."""
        return self.control.search("".join([message.content for message in messages])) is not None

    def _split(self, content: str, within: str) -> str:
        return self.control.sub(lambda match: match[0][0] + within + match[0][1:], content)

    def unguarded(
        self, messages: Sequence[Message], date: str | None, options: Mapping[str, TemplateOption]
    ) -> str:
        """Return messages as the template makes them of their bare contents, for people to see.

        Nothing keeps the template from changing a content here, as in a deployment.

        Raises:
            UsageError: As :meth:`rendered`, but for what is lost or moved.
        """
        given = [message.as_template_data() for message in messages]
        [text] = self._called(
            [given], {**self._variables(date, options), "add_generation_prompt": True}
        )
        return text

    def _variables(
        self, date: str | None, options: Mapping[str, TemplateOption]
    ) -> dict[str, object]:
        for name in options:
            if name in _OURS or name in self.constants:
                raise UsageError(
                    f"template option {name} is not free",
                    file=self.file,
                    hint="its value follows from the checkpoint and the plan",
                )
            if name not in self.variables:
                raise UsageError(
                    f"the chat template does not read the option {name}",
                    file=self.file,
                    hint=f"it reads {', '.join(self._free()) or 'none'}",
                )
        if date is not None and "date_string" in options:
            raise UsageError(
                "template option date_string and a date are given",
                file=self.file,
                hint="give one of them: `date:` under `prompt:` sets it",
            )
        day = None if date is None else parsed_date(date)
        dated = {} if day is None else {"date_string": written_date(day, "%d %b %Y")}
        return {**self.constants, **dated, **options, "strftime_now": self._clock(day)}

    def _clock(self, day: datetime.date | None) -> Callable[[str], str]:
        def strftime_now(form: str) -> str:
            if day is None:
                raise UsageError(
                    "the chat template prints today's date",
                    file=self.file,
                    hint="fix one: `date: 2026-01-31` under `prompt:` in the plan",
                )
            try:
                return written_date(day, form)
            except UsageError:
                if form in self.words.texts:
                    raise
                message = "the chat template prints the time, and only a date can be fixed"
                raise UsageError(message, file=self.file) from None

        # A template that prints the function itself reads no other name than in a deployment.
        deployed: object = self.compiled.environment.globals.get("strftime_now")
        for name in ("__module__", "__name__", "__qualname__"):
            setattr(strftime_now, name, getattr(deployed, name, name))
        return strftime_now

    def _called(
        self, conversations: Sequence[list[dict[str, object]]], variables: Mapping[str, object]
    ) -> list[str]:
        """Return the texts of conversations of one shape, with calls of tools without content."""
        silent = any("content" not in message for message in conversations[0])
        try:
            return self._run(conversations, variables)
        except UsageError:
            if not silent:
                raise
        spoken = [[{"content": "", **message} for message in one] for one in conversations]
        return self._run(spoken, variables)

    def _run(
        self, conversations: Sequence[list[dict[str, object]]], variables: Mapping[str, object]
    ) -> list[str]:
        given = {**variables, "tools": None, "documents": None}
        try:
            with bounds_here():
                return [self._text({**given, "messages": one}) for one in conversations]
        except jinja2.TemplateError as error:
            raise UsageError(
                f"the chat template refuses the messages: {self.words.said(error)}",
                file=self.file,
                hint=_REFUSED,
            ) from None
        except UnicodeEncodeError:
            said = "writes half a surrogate pair, which is no text,"
        except _TEMPLATE_FAILURES as error:
            raise UsageError(
                f"the chat template fails: {self.words.said(error)}", file=self.file, hint=_REFUSED
            ) from None
        except OutOfTimeError:
            said = f"takes more than {SECONDS} seconds"
        except MemoryError:
            if folder_trial.inside:  # whoever bounded it has to know
                raise
            said = f"takes more than {MAX_MEMORY / 2**30:g} GiB of memory"
        except _TooLongError:
            said = f"writes more than {MAX_RENDERED:,} characters"
        raise UsageError(
            f"the chat template {said} on these messages", file=self.file, hint=_ENDLESS
        )

    def _text(self, given: Mapping[str, object]) -> str:
        pieces: list[str] = []
        length = 0
        written = self.compiled.generate(given)
        while several := list(islice(written, _PIECES)):
            pieces.append("".join(several))
            length += len(pieces[-1])
            if length > MAX_RENDERED:
                raise _TooLongError
        text = "".join(pieces)
        if not text.isascii():
            text.encode()  # a format such as %c makes halves of surrogate pairs
        return text

    @cached_property
    def words(self) -> TemplateWords:
        """What stands in it, and may be shown."""
        tree = parsed(self.compiled, self.source)
        return TemplateWords.of(tree)

    def _lost(
        self, messages: Sequence[Message], cores: Sequence[str], pieces: Sequence[str]
    ) -> UsageError:
        """Return the error that names the first message that is not shown as it is."""
        shown = set(pieces)
        places = [place for place, message in enumerate(messages) if message.content.strip()]
        for place, core in zip(places, cores, strict=True):
            if shown.isdisjoint(spellings(core)):
                return AlteredMessageError(messages[place], place + 1, self.file)
        return UsageError(
            "the chat template repeats messages, or shows them in another order",
            file=self.file,
            hint="leave out the context or system prompt for which it does, or use a checkpoint "
            "whose template shows each message once",
        )

    def _check_calls(self, messages: Sequence[Message], around: str) -> None:
        for place, message in enumerate(messages, start=1):
            if message.call is not None and not message.content and message.call.name not in around:
                raise UsageError(
                    f"the chat template drops the tool call of message {place}",
                    file=self.file,
                    hint="leave out the context `tool`",
                )


@lru_cache(maxsize=_CONTENTS_KEPT)
def _edged(content: str, edge: str) -> str:
    """Return a content with a character at both ends of what is not outer white space."""
    core = content.strip()
    return _around(content, edge, core) if core else content


def _around(content: str, edge: str, shown: str) -> str:
    """Return a content with something else in place of what is not outer white space, as marked.

    Args:
        content: The content; not blank.
        edge: The character at both ends.
        shown: What stands in place.
    """
    core = content.strip()
    before, after = ("", "") if len(core) == len(content) else content.split(core, 1)
    return f"{before}{edge}{shown}{edge}{after}"


def bounds_here() -> AbstractContextManager[None]:
    """Return the bounds under which a template is compiled, and one conversation rendered.

    None where a process has bounds of its own, as that has in which folders are tried.
    """
    return nullcontext() if folder_trial.inside else bounded(SECONDS, MAX_MEMORY)
