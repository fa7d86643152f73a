"""Prompts: from messages to token ids, and to the digest of these.

A checkpoint's own tokenizer and chat template make the prompt, as in a deployment, and two
things are taken from them: the clock, and the power of content to forge turns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from transformers import PreTrainedTokenizerBase

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.runner.checkpoint.folder_trial import TrialPart, tried
from safety_receipts.runner.checkpoint.tokenizer_files import (
    TOKENIZER_CONFIG,
    TOKENIZER_FILE,
    chat_template_digest,
    read_template,
    tokenizer_digest,
)
from safety_receipts.runner.prompts.plain_content import PlainContentReader, forged
from safety_receipts.runner.prompts.prefix_tree import PromptTokens
from safety_receipts.runner.prompts.prompt_reader import (
    ControlTokens,
    PromptEncoders,
    PromptReader,
    TokenisedText,
    written_ids,
)
from safety_receipts.runner.prompts.responses import FINAL, Harmony, channels_of
from safety_receipts.runner.prompts.thoughts import find_marks
from safety_receipts.runner.prompts.tokenizer import load_tried_tokenizer
from safety_receipts.runner.templates.chat_template import ChatTemplate, TemplateOption
from safety_receipts.runner.templates.compiled import compiled_template
from safety_receipts.runner.templates.markup import is_markup, written_around
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.rendered import RenderedConversation
from safety_receipts.runner.templates.template_text import (
    literals,
    names_read,
    parsed,
    written_texts,
)
from safety_receipts.runner.templates.turn_end import turn_end
from safety_receipts.runner.vocabulary.components import Use
from safety_receipts.runner.vocabulary.contents import PlainVocabulary

RENDERING: Final = "conversation/2"
"""Name and version of how conversations are put together (:mod:`runner.prompts.contexts`), become
token ids (:class:`ChatFormat`), and how the judged text is read back
(:mod:`runner.prompts.responses`).

Under the rule before it (:data:`receipts.model.checkpoint.FIRST_RENDERING`) every added token whose
text occurred in the template's source was a control token, and thoughts were judged as answers;
where neither matters the two are the same (:attr:`ChatFormat.first_rendering_differs`)."""

PROMPT_TAG = "safety-receipts/prompt/1"

_NO_LIMIT = 10**15
"""What transformers takes for the longest context where none is stated is larger than this."""
_LARGEST_ID = 2**32 - 1
"""Largest id that the tokenizers library can be asked for."""

_NO_OPTIONS: Mapping[str, TemplateOption] = {}


def prompt_digest(tokens: Sequence[int]) -> Sha256:
    """Return SHA-256 over the RFC 8785 bytes of ``["safety-receipts/prompt/1", [id, …]]``."""
    # An array of integers has one JSON form without spaces.  That of a part is written once.
    if isinstance(tokens, PromptTokens) and len(tokens):
        written = tokens.written or map(written_ids, tokens.parts)
        return sha256_hex(b'["%s",[%s]]' % (PROMPT_TAG.encode(), b"".join(written)[:-1]))
    plain = tokens if isinstance(tokens, (list, tuple)) else list(tokens)
    return sha256_hex(json.dumps([PROMPT_TAG, plain], separators=(",", ":")).encode())


class ChatFormat:
    """A checkpoint's tokenizer and chat template.

    The rendering rule ``conversation/2``: the template makes a text, in which every message's
    content must be found (:meth:`runner.templates.chat_template.ChatTemplate.rendered`), and the
    tokenizer reads it whole, without adding special tokens, since the template has written
    them.  Where no content spells a control token that is, id for id, what transformers'
    ``apply_chat_template`` gives.  Where one does, its markup is read as the plain text it
    is.  An evaluation asks what a model does with examples: a row of a public corpus that
    happens to hold ``<|eot_id|>`` must not end its own turn, nor one that is meant to, for
    then the condition would no longer show what its labels say; and deployments that are
    safe against injection do the same.  Refusing such rows instead would let a corpus decide
    which queries are asked.

    Control tokens are the tokenizer's special tokens; of its other added tokens, those that are
    markup and that the template can write (:func:`runner.templates.template_text.written_texts`),
    or does write around a short conversation; and the marks of thoughts.  Markup is longer than a
    character and not made of letters, digits and white space alone: vocabularies list digits, words
    and runs of spaces as added tokens too.
    """

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        self.folder = folder
        self._tokenizer = tokenizer
        source = read_template(folder)
        _check_template(folder, source, tokenizer)
        compiled = compiled_template(folder, source)
        tree = parsed(compiled, source)
        added = tokenizer.added_tokens_decoder
        self.added: Mapping[str, int] = {token.content: id_ for id_, token in added.items()}
        """Added tokens, special or not, and their ids."""
        self._spellings = {id_: token for token, id_ in self.added.items()}
        backend = tokenizer.backend_tokenizer
        self._vocabulary = PlainVocabulary(backend, folder / TOKENIZER_FILE, Use.RESPONSES)
        self.special: Mapping[int, str] = self._vocabulary.left_out
        """Special tokens that are markup: what decoding leaves out, and how each is spelt."""
        self.texts = tuple(dict.fromkeys(literals(tree)))
        """The texts that stand in the template, each once."""
        self.names = names_read(tree)
        """Names of the variables, keys and attributes that the template reads."""
        self.channels = channels_of(
            {
                token: id_
                for token, id_ in self.added.items()
                if any(token in text for text in self.texts)
            }
        )
        """How responses are divided into channels; None: they are not.  From the template, as a
        vocabulary may have the tokens of a format that its template does not use."""
        markup = tuple(written_texts(tree))
        found = () if self.channels else find_marks(self.texts, self.added, ()).pairs
        marks = {mark for pair in found for mark in pair}
        self._control = {
            id_: token.content
            for id_, token in added.items()
            if token.special
            or token.content in marks
            or (is_markup(token.content) and any(token.content in text for text in markup))
        }
        self._control |= self._shown_control(source, compiled)
        first = {
            id_: token.content
            for id_, token in added.items()
            if token.special or (token.content.strip() and token.content in source)
        }
        self.first_rendering_differs = first != self._control
        """Whether the first rule of rendering takes other tokens for control tokens here."""
        self.template = self._with_control(source, compiled)
        """The chat template."""
        encoders = PromptEncoders(self._encode, self._encode_parts, self._vocabulary.comes_back)
        self._reader = PromptReader(encoders, ControlTokens.of(added, self._control))
        self._plain_content = PlainContentReader(folder, backend, self._control)
        self.template_digest = chat_template_digest(source)
        """SHA-256 of the template's text in UTF-8; of several templates, the one named
        ``default``."""
        self.tokenizer_digest = tokenizer_digest(folder)
        """Digest of the tokenizer's files
        (:func:`runner.checkpoint.tokenizer_files.tokenizer_digest`)."""

    def _shown_control(self, source: str, compiled: jinja2.Template) -> dict[int, str]:
        """Return markup that the template writes around a short conversation, by id."""
        shown = written_around(self._with_control(source, compiled))
        return {
            id_: token
            for token, id_ in self.added.items()
            if is_markup(token) and any(token in text for text in shown)
        }

    def _with_control(self, source: str, compiled: jinja2.Template) -> ChatTemplate:
        longest_first = sorted(self._control.values(), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        constants = self._tokenizer.special_tokens_map
        return ChatTemplate(source, compiled, constants, pattern, self.folder)

    @classmethod
    def load(cls, folder: Path) -> ChatFormat:
        """Load the tokenizer and chat template of a checkpoint's folder.

        No code of the folder is run and nothing is fetched.

        Raises:
            FileAccessError: The folder or its tokenizer is missing, or cannot be read.
            MalformedError: The tokenizer or the template cannot be understood.
            UsageError: There is no chat template, or the tokenizer has no fast version.
        """
        tried(folder, TrialPart.CHAT)
        return cls(folder, load_tried_tokenizer(folder))

    @property
    def judged_channel(self) -> str | None:
        """``final`` where responses have channels; else None."""
        return None if self.channels is None else FINAL

    @property
    def end_of_sequence(self) -> int | None:
        """Id of the tokenizer's end-of-sequence token; None: it names none."""
        id_: Any = self._tokenizer.eos_token_id
        return id_ if isinstance(id_, int) else None

    @property
    def beginning_of_sequence(self) -> int | None:
        """Id of the token that the template writes as ``bos_token``; None: it writes none."""
        id_: Any = self._tokenizer.bos_token_id
        return id_ if isinstance(id_, int) and "bos_token" in self.template.variables else None

    @property
    def stated_context(self) -> int | None:
        """Longest context that the tokenizer's files state, in tokens; None: they state none."""
        stated: Any = self._tokenizer.model_max_length
        number = isinstance(stated, (int, float)) and not isinstance(stated, bool)
        return int(stated) if number and 0 < stated < _NO_LIMIT else None

    @property
    def largest_id(self) -> int:
        """Largest id of the vocabulary, added tokens included."""
        return max(self._tokenizer.get_vocab().values(), default=0)

    @property
    def written_control(self) -> dict[int, str]:
        """Id → text of the control tokens that the template's own text holds."""
        source = self.template.source
        return {id_: text for id_, text in self._control.items() if text in source}

    def turn_end(
        self, *, date: str | None = None, options: Mapping[str, TemplateOption] = _NO_OPTIONS
    ) -> int | None:
        """Return the id of the control token that the template ends the assistant's turns with.

        None where it writes none (:func:`runner.templates.turn_end.turn_end`), and in the harmony
        format, where ``<|end|>`` closes a message and not the response.
        """
        if isinstance(self.channels, Harmony):
            return None
        text = turn_end(self.template, date, options)
        return None if text is None else self.token_id(text)

    def token_id(self, text: str) -> int | None:
        """Return the id of the token of this name; None: the vocabulary has none."""
        id_: int | None = self._tokenizer.backend_tokenizer.token_to_id(text)
        return id_

    def token_text(self, id_: int) -> str:
        """Return the name of a token; of an id without one, its number in angle brackets."""
        known = 0 <= id_ <= _LARGEST_ID  # a file can name any number
        name = self._tokenizer.backend_tokenizer.id_to_token(id_) if known else None
        return name or f"<{id_}>"

    def render(
        self,
        messages: Sequence[Message],
        *,
        date: str | None = None,
        options: Mapping[str, TemplateOption] = _NO_OPTIONS,
    ) -> str:
        """Return the prompt as text, for people: where content spells markup it looks real.

        Args:
            messages: The conversation.
            date: The date for templates that print today's, ``2026-01-31``; None: none.
            options: Further template variables.

        Raises:
            UsageError: As :meth:`runner.templates.chat_template.ChatTemplate.rendered`.
        """
        return self.template.rendered(messages, date, options).text

    def generation_prompt(
        self, system: str | None, date: str | None, options: Mapping[str, TemplateOption]
    ) -> str:
        """Return what stands after a query, up to where the response begins, as text.

        Args:
            system: The system prompt; None: none is given.
            date: The date for templates that print today's; None: none.
            options: Further template variables.

        Raises:
            UsageError: As :meth:`runner.templates.chat_template.ChatTemplate.rendered`.
        """
        first = [] if system is None else [Message(Role.SYSTEM, system)]
        return self.template.rendered(
            [*first, Message(Role.USER, "How is tea made?")], date, options
        ).tail

    def tokens(
        self,
        messages: Sequence[Message],
        *,
        date: str | None = None,
        options: Mapping[str, TemplateOption] = _NO_OPTIONS,
    ) -> tuple[int, ...]:
        """Return the prompt's token ids, whole: a prompt is never cut here.

        Args:
            messages: The conversation.
            date: The date for templates that print today's, ``2026-01-31``; None: none.
            options: Further template variables.

        Raises:
            UsageError: As :meth:`runner.templates.chat_template.ChatTemplate.rendered`; or the
            tokenizer
                makes a control token of content whatever is done.
        """
        return tuple(self.read(self.template.rendered(messages, date, options)))

    def read(self, rendered: RenderedConversation) -> PromptTokens:
        """Return the token ids of a conversation that was rendered.

        Raises:
            UsageError: The tokenizer makes a control token of content whatever is done.
            RewritingTokenizerError: The text does not come back from its tokens.
        """
        reading = self._reader.read(rendered.pieces)
        if not reading.clear and self._forges(reading, rendered):
            plain = self._plain_content.tokens(rendered, self.template)
            self._vocabulary.check(rendered.text, plain)
            return PromptTokens([np.array(plain, np.uint32)])
        if not all(part.holds for part in reading.parts):
            cuts = ((mark.place, mark.start) for mark in reading.marks)
            self._vocabulary.check(rendered.text, reading.ids.tolist(), cuts)
        parts = reading.parts
        return PromptTokens([part.ids for part in parts], [part.written for part in parts])

    def remember(self, characters: int) -> None:
        """Remember readings of so many characters from now on.

        Args:
            characters: In place of :data:`runner.prompts.prompt_reader.MOST_CHARACTERS`.
        """
        self._reader.most = characters

    def _forges(self, reading: TokenisedText, rendered: RenderedConversation) -> bool:
        return forged(reading.marks, rendered.spans, self._control) is not None

    def _encode_parts(self, texts: list[str]) -> list[list[int]]:
        """Read texts as :meth:`_encode` does, all in one call, which says no more than ids."""
        backend = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        return [one.ids for one in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return encoded["input_ids"], encoded["offset_mapping"]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of exactly these ids: special tokens left out, spaces as they are.

        Raises:
            RewritingTokenizerError: The library's text is not that of the vocabulary's entries.
        """
        kept = [token for token in tokens if token not in self.special]
        text = self._tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)  # a list only for a list of lists
        return self._vocabulary.held(kept, text)

    def spelling(self, token: int) -> str:
        """Return how a token that is special or added is spelt."""
        return self._spellings[token]


def _check_template(folder: Path, source: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make sure that the template which was read is the one that transformers takes."""
    given: Any = tokenizer.chat_template
    taken = given.get("default") if isinstance(given, dict) else given
    if taken != source:
        raise MalformedError(
            "transformers takes another chat template than the one in its own file or in "
            f"{TOKENIZER_CONFIG}",
            file=folder,
            hint="keep one chat template, as chat_template.jinja",
        )
