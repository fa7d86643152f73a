"""Reading content that spells control tokens as the plain text that it is."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.runner.checkpoint.tokenizer_files import TOKENIZER_FILE
from safety_receipts.runner.prompts.prompt_reader import Mark
from safety_receipts.runner.templates.chat_template import ChatTemplate
from safety_receipts.runner.templates.rendered import RenderedConversation, unused_characters


def forged(
    marks: Iterable[Mark], spans: Sequence[tuple[int, int]], control: Mapping[int, str]
) -> str | None:
    """Return a control token that was read, in part or whole, from content; or None.

    Args:
        marks: The control tokens that were read.
        spans: Where contents stand, in order.
        control: Control tokens by id.
    """
    for mark in marks:
        # Of the spans that start before the token ends, the last reaches furthest.
        place = bisect_left(spans, (mark.end, 0)) - 1
        if place >= 0 and spans[place][1] > mark.start:
            return control[mark.id]
    return None


class PlainContentReader:
    """Reads rendered conversations whose contents spell control tokens.

    Args:
        folder: The checkpoint's folder, for errors.
        tokenizer: Its tokenizer.
        control: Its control tokens by id.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, control: Mapping[int, str]) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._control = control
        self._blind: dict[str, tuple[Tokenizer, dict[int, int]]] = {}

    def tokens(self, rendered: RenderedConversation, template: ChatTemplate) -> tuple[int, ...]:
        """Return the ids of a conversation, in one reading of the whole.

        In the text around contents every control token is replaced by a character that
        occurs nowhere else, and a copy of the tokenizer knows the control tokens by these
        characters only.

        Raises:
            UsageError: The tokenizer makes a control token of content whatever is done.
            MalformedError: The tokenizer cannot be copied.
        """
        names = unused_characters(len(self._control), [rendered.text])
        tokenizer, original = self._blind_copy(names)
        stand_ins = dict(zip(self._control.values(), names, strict=True))

        def around(start: int, end: int) -> str:
            piece = rendered.text[start:end]
            return template.control.sub(lambda match: stand_ins[match[0]], piece)

        text, spans, place = "", [], 0
        for start, end in rendered.spans:
            text += around(place, start)
            spans.append((len(text), len(text) + end - start))
            text += rendered.text[start:end]
            place = end
        text += around(place, len(rendered.text))
        encoded = tokenizer.encode(text, add_special_tokens=False)
        ids = [original.get(id_, id_) for id_ in encoded.ids]
        marks = [
            Mark(id_, place, *offsets)
            for place, (id_, offsets) in enumerate(zip(ids, encoded.offsets, strict=True))
            if id_ in self._control
        ]
        token = forged(marks, spans, self._control)
        if token is not None:
            raise UsageError(
                f"the tokenizer reads {token} in a message's content as a control token",
                file=self._folder,
                hint="take that row out of the corpus, with `where:`",
            )
        return tuple(ids)

    def _blind_copy(self, names: str) -> tuple[Tokenizer, dict[int, int]]:
        """Return the tokenizer with other names for control tokens, and what to make of its ids."""
        if names not in self._blind:
            data = json.loads(self._tokenizer.to_str())
            contents = {token["id"]: token["content"] for token in data["added_tokens"]}
            stand_ins = dict(zip(self._control, names, strict=True))
            for token in data["added_tokens"]:
                token["content"] = stand_ins.get(token["id"], token["content"])
            data.update(truncation=None, padding=None, post_processor=None)
            try:
                copy = Tokenizer.from_str(json.dumps(data))
            except Exception as error:  # the library's own, of a bare kind
                raise self._uncopied(error_line(error)) from None
            # A token under a new name can be given another id than its own.
            original: dict[int, int] = {}
            for id_, content in contents.items():
                new = copy.token_to_id(stand_ins.get(id_, content))
                if new is None:
                    raise self._uncopied(f"the copy has no token {id_}")
                original[new] = id_
            self._blind[names] = copy, original
        return self._blind[names]

    def _uncopied(self, why: str) -> MalformedError:
        return MalformedError(
            f"the tokenizer cannot be copied: {why}",
            file=self._folder / TOKENIZER_FILE,
            hint="a file may be damaged; get the checkpoint again",
        )
