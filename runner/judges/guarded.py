"""Token ids of a judge's prompt, in which judged text can only ever be text.

A fast tokenizer looks for its added tokens (``</s>``, ``<|assistant|>``, ``[INST]``) in all
text it is given, and ``add_special_tokens=False`` does not stop it; ``split_special_tokens``
stops it for special ones only.  A response that quotes the judge's own markup would then
become that markup.  Tokenising the parts one by one would avoid it, but gives other ids than
the judge was trained on where a word or a run of spaces crosses a border.

So the prompt is tokenised in one go by a copy of the tokenizer in which every added token has
another, unguessable spelling; the template's own markup is spelt that way, judged text is
left alone.  The copy's vocabulary loses the old spellings too, as a model may hold them as
ordinary pieces.  What comes out is checked: the added ids are exactly the template's.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.runner.checkpoint.model_files import read_json_object
from safety_receipts.runner.checkpoint.tokenizer_files import TOKENIZER_FILE
from safety_receipts.runner.vocabulary.components import Use, read_rules
from safety_receipts.runner.vocabulary.parts import file_parts
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from safety_receipts.runner.vocabulary.contents import PlainVocabulary

TOKENISATION = "guarded-text/1"
"""Name and version of this rule; part of what a judge's label depends on."""

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_MAX_TOKENIZER = 2**28
"""Longest tokenizer.json, in bytes: four times the longest in use."""
_HINT = "give a folder whose tokenizer.json the tokenizers library reads"


class UnsafeTextError(Exception):
    """A text that cannot be put into a prompt as text alone."""


class GuardedTokenizer:
    """Tokenises a template with judged texts in it.

    Args:
        tokenizer: The judge's own tokenizer (``transformers``), of the fast kind.
        folder: Where it came from, for messages.
        add_special_tokens: Whether its post-processor adds its tokens (``<s>``, ``[CLS]``).
        decodes: Whether replies are decoded with it; a classifier has none.

    Raises:
        UsageError: Not a fast tokenizer.
        RewritingTokenizerError: It may rewrite texts.
        MalformedError: Its added tokens cannot be told from text.
    """

    def __init__(
        self, tokenizer: Any, folder: Path, *, add_special_tokens: bool, decodes: bool = True
    ) -> None:
        backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UsageError("the judge's tokenizer has no fast form", file=folder, hint=_HINT)
        # A tokenizer.json may ask to cut or pad, and so would its copy; a caller may have left the
        # last switch on.
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        self._own = tokenizer
        self._folder = folder
        self._vocabulary = _plain_vocabulary(backend, folder, decodes=decodes)
        self._add = add_special_tokens
        # Letters only: whatever a normaliser does to text, it leaves these alone.
        self._stem = "".join(chr(ord("a") + int(digit, 16)) for digit in secrets.token_hex(16))
        definition = json.loads(backend.to_str())
        self._spellings = {
            token["content"]: (token["id"], f"{self._stem}{_letters(token['id'])}q")
            for token in definition["added_tokens"]
            if not _is_text(token)
        }
        self._by_id = {id_: (text, respelt) for text, (id_, respelt) in self._spellings.items()}
        self._markup_ids = frozenset(self._by_id) - {_unknown_id(definition["model"], tokenizer)}
        self._copy = self._respelt(definition)

    @property
    def markup_ids(self) -> frozenset[int]:
        """Ids of added tokens, none of which judged text may become."""
        return self._markup_ids

    def template(self, parts: Sequence[str]) -> GuardedTemplate:
        """Prepare a template.

        Args:
            parts: Its fixed texts; between each two goes one judged text.

        Raises:
            MalformedError: The tokenizer treats the guarded template otherwise than its own.
        """
        return GuardedTemplate(self, tuple(parts))

    def guarded(self, text: str) -> str:
        """Return a text of the template with its markup in the copy's spelling."""
        encoding = self._own.backend_tokenizer.encode(text, add_special_tokens=False)
        pieces, done = [], 0
        for id_, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            content, respelt = self._by_id.get(id_, ("", ""))
            if content:
                # A token that strips spaces spans them: they stay, as the copy strips them too.
                pieces += [text[done:start], text[start:end].replace(content, respelt, 1)]
                done = end
        return "".join([*pieces, text[done:]])

    def natural(self, text: str) -> list[int]:
        """Return the ids that the judge's own tokenizer gives to trusted text."""
        ids: list[int] = self._own(text, add_special_tokens=self._add, truncation=False)[
            "input_ids"
        ]
        return ids

    def encode(self, text: str, *, add: bool | None = None) -> list[int]:
        """Return the copy's ids, where only the copy's own spellings are markup.

        Args:
            text: Text with markup in those spellings.
            add: Whether the post-processor adds its tokens; None: as this tokenizer does.
        """
        ids: list[int] = self._encoding(text, add=add).ids
        return ids

    def content(self, text: str) -> tuple[list[int], list[int]]:
        """Return the copy's ids, and those of them that the post-processor did not add."""
        encoding = self._encoding(text)
        ids: list[int] = encoding.ids
        added = encoding.special_tokens_mask
        return ids, [id_ for id_, mask in zip(ids, added, strict=True) if not mask]

    def check_read(self, text: str, ids: Sequence[int]) -> None:
        """Make sure that ids spell a text.

        Raises:
            RewritingTokenizerError: They do not.
        """
        self._vocabulary.check(text, ids)

    def _encoding(self, text: str, add: bool | None = None) -> Any:
        return self._copy.encode(text, add_special_tokens=self._add if add is None else add)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of generated ids, special tokens spelt out.

        Raises:
            RewritingTokenizerError: The library's text is not that of the vocabulary's entries.
        """
        text: str = self._own.decode(
            list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return self._vocabulary.held(tokens, text)

    def check_text(self, text: str) -> None:
        """Raise :class:`UnsafeTextError` where a judged text is none, or names a spelling."""
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UnsafeTextError("the text is not valid Unicode") from None
        if self._stem in text.lower():
            raise UnsafeTextError("the text holds the guard's own spelling")

    def malformed(self, message: str) -> MalformedError:
        """Return an error about this tokenizer."""
        return MalformedError(message, file=self._folder, hint=_HINT)

    def _respelt(self, definition: dict[str, Any]) -> Tokenizer:
        from tokenizers import Tokenizer  # noqa: PLC0415 (identities are resolved without it)

        model = definition["model"]
        names = {content: respelt for content, (_, respelt) in self._spellings.items()}
        for token in definition["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            model["vocab"] = {names.get(piece, piece): id_ for piece, id_ in vocabulary.items()}
        else:  # Unigram: a list of pieces with scores
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        if "merges" in model:
            prefix = model.get("continuing_subword_prefix") or ""
            model["merges"] = [
                merge for merge in model["merges"] if not _touches(merge, prefix, names)
            ]
        copy: Tokenizer = Tokenizer.from_str(json.dumps(definition))
        for id_, respelt in self._spellings.values():
            if copy.token_to_id(respelt) != id_:
                raise self.malformed("the ids of the tokenizer's added tokens do not hold")
        return copy


class GuardedTemplate:
    """A template whose judged texts stay text; see :meth:`GuardedTokenizer.template`."""

    def __init__(self, tokenizer: GuardedTokenizer, parts: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._natural = parts
        self._parts = tuple(tokenizer.guarded(part) for part in parts)
        # A harmless word in every gap: the guard must not change what the judge sees.
        self._probe = "word".join(self._parts)
        ids = tokenizer.encode(self._probe)
        if ids != tokenizer.natural("word".join(parts)):
            raise tokenizer.malformed("the judge's tokenizer cannot be guarded against markup")
        tokenizer.check_read("word".join(parts), tokenizer.content(self._probe)[1])
        self._markup = self._markup_in(ids)

    def ids(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Return the prompt's token ids, never cut.

        Args:
            texts: The judged texts, one for each gap.

        Raises:
            UnsafeTextError: A text is not valid Unicode, does not stay text, or does not come back
                from its ids.
        """
        if len(texts) != len(self._parts) - 1:
            raise ValueError(f"{len(texts)} texts for {len(self._parts) - 1} gaps")
        for text in texts:
            self._tokenizer.check_text(text)
        ids, own = self._tokenizer.content(_filled(self._parts, texts))
        if self._markup_in(ids) != self._markup:
            raise UnsafeTextError("the text does not stay text in the judge's tokenizer")
        try:
            self._tokenizer.check_read(_filled(self._natural, texts), own)
        except RewritingTokenizerError as error:
            raise UnsafeTextError(f"in the judge's tokenizer {error.message}") from None
        return tuple(ids)

    def ends_open(self) -> bool:
        """Say whether nothing is added after the template's end."""
        return self._tokenizer.encode(self._probe)[-1:] == self._bare(self._probe)[-1:]

    def first_difference(self, one: str, other: str) -> tuple[int, int] | None:
        """Return the first ids in which two texts after the template's end differ.

        Args:
            one: A trusted text.
            other: Another.

        Returns:
            None where one does not go on from the ids of the template's end, or they do not differ.
        """
        prompt = self._bare(self._probe)
        ids = [self._bare(self._probe + text) for text in (one, other)]
        if any(each[: len(prompt)] != prompt for each in ids):
            return None
        pairs = zip(*ids, strict=False)
        return next(((first, second) for first, second in pairs if first != second), None)

    def _bare(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add=False)

    def _markup_in(self, ids: Sequence[int]) -> list[int]:
        return [id_ for id_ in ids if id_ in self._tokenizer.markup_ids]


def refuse_rewriting(folder: Path, *, decodes: bool) -> None:
    """Refuse a judge's folder whose ``tokenizer.json`` may rewrite texts; nothing is loaded.

    Where there is no such file, or none that can be read, whoever loads the judge says so.

    Args:
        folder: The folder.
        decodes: Whether replies are decoded with it.

    Raises:
        RewritingTokenizerError: It may.
    """
    file = folder / TOKENIZER_FILE
    try:
        document = read_json_object(file, _MAX_TOKENIZER)
    except ReceiptsError:
        return
    if isinstance(document.get("model"), dict):
        read_rules(file_parts(document), file, _use(decodes=decodes))


def _use(*, decodes: bool) -> Use:
    return Use.RESPONSES if decodes else Use.LABELS


def _plain_vocabulary(tokenizer: Tokenizer, folder: Path, *, decodes: bool) -> PlainVocabulary:
    from safety_receipts.runner.vocabulary.contents import PlainVocabulary  # noqa: PLC0415 (tokenizers)

    return PlainVocabulary(tokenizer, folder / TOKENIZER_FILE, _use(decodes=decodes))


def _filled(parts: Sequence[str], texts: Sequence[str]) -> str:
    pieces = [parts[0]]
    for text, part in zip(texts, parts[1:], strict=True):
        pieces += [text, part]
    return "".join(pieces)


def _is_text(token: dict[str, Any]) -> bool:
    """Say whether an added token is no markup but text: spaces, a character, a byte.

    Some vocabularies list runs of line breaks as added tokens; without them, the judge would
    see its template in other ids than it was trained on.
    """
    content: str = token["content"]
    if token["special"]:
        return False
    return content.isspace() or len(content) == 1 or _BYTE_PIECE.fullmatch(content) is not None


def _touches(merge: Any, prefix: str, names: dict[str, str]) -> bool:
    left, right = merge if isinstance(merge, list) else merge.split(" ", 1)
    result = left + right.removeprefix(prefix)
    return left in names or right in names or result in names


def _unknown_id(model: dict[str, Any], tokenizer: Any) -> int | None:
    """Return the id that a model gives to what it cannot spell, unless it is also markup."""
    id_: int | None = model.get("unk_id")
    if model.get("unk_token") is not None:
        id_ = tokenizer.backend_tokenizer.token_to_id(model["unk_token"])
    roles = ("bos", "eos", "sep", "cls", "pad", "mask")
    return None if id_ in {getattr(tokenizer, f"{role}_token_id", None) for role in roles} else id_


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))
