"""Whether a text that was read into ids comes back from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from safety_receipts.runner.vocabulary.components import (
    SPACE,
    Change,
    TextRules,
    Use,
    is_bracketed,
    read_rules,
)
from safety_receipts.runner.vocabulary.normal_form import normal_form, sentencepiece_form
from safety_receipts.runner.vocabulary.parts import loaded_parts
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError
from safety_receipts.runner.vocabulary.token_texts import TokenTexts

_UNKNOWN: Final = "\U0010fffe"
"""Stands for an entry that says that something has none; no character."""
_UNSEEN: Final = "\U0010fffd\U000ffffd"
"""A text that no vocabulary has an entry for."""
_KEPT: Final = 2**18
"""Most ids of pieces that are known to come back: those of a thousand demonstrations, or so."""


class PlainVocabulary:
    """A tokenizer whose texts and contents follow from its vocabulary alone.

    Args:
        tokenizer: The tokenizer, as it was loaded.
        file: Its file, for messages.
        use: What it is used for.

    Raises:
        RewritingTokenizerError: As :func:`runner.vocabulary.components.read_rules`.
    """

    def __init__(self, tokenizer: Tokenizer, file: Path, use: Use) -> None:
        self._tokenizer = tokenizer
        self._file = file
        self.rules: TextRules = read_rules(loaded_parts(tokenizer), file, use)
        """What it does to text."""
        self.texts = TokenTexts(tokenizer, self.rules)
        """The text of its ids."""
        added = tokenizer.get_added_tokens_decoder()
        self._added: Mapping[int, Any] = added
        self.left_out: Mapping[int, str] = {
            id_: token.content
            for id_, token in added.items()
            if token.special and is_bracketed(token.content)
        }
        """Special tokens that are no part of a text; a special token that is a word is."""
        self._form = normal_form(self.rules)
        self._beside = _beside(added.values(), prefixed=self.rules.prefixed)
        self._unknown = _unknown_id(tokenizer)
        self._good: set[tuple[str, tuple[int, ...]]] = set()
        self._kept = 0

    def held(self, ids: Sequence[int], decoded: str) -> str:
        """Return the text of ids, where it is what the library decodes.

        Raises:
            RewritingTokenizerError: It is not.
        """
        text = self.texts.text(ids)
        if text != decoded:
            raise self._refusal(
                f"the text of a response is not that of its tokens: {_difference(text, decoded)}",
            )
        return text

    def check(self, text: str, ids: Sequence[int], cuts: Iterable[tuple[int, int]] = ()) -> None:
        """Make sure that ids spell the text that was read into them.

        Up to the normal form of the vocabulary, to white space beside added tokens that take or
        give some, and to what it has no entry for.

        Args:
            text: The text.
            ids: Its ids.
            cuts: Places among the ids and in the text where a piece begins that is read by itself:
                pieces recur from prompt to prompt, and are looked at once.

        Raises:
            RewritingTokenizerError: They spell something else.
        """
        pieces = [(piece, tuple(read)) for piece, read in _pieces(text, ids, cuts)]
        new = [piece for piece in pieces if piece not in self._good]
        if len(pieces) > 1 and any(self._problem(*piece) is not None for piece in new):
            new = [(text, tuple(ids))]  # a token may take white space before it, or a half letter
        for piece in new:
            problem = self._problem(*piece)
            if problem is not None:
                raise self._refusal(f"a text does not come back from its tokens: {problem}")
        self._kept += sum(len(piece[1]) for piece in new)
        if self._kept > _KEPT:
            self._good.clear()
            self._kept = 0
        self._good.update(new)

    def comes_back(
        self, text: str, ids: Sequence[int], cuts: Iterable[tuple[int, int]] = ()
    ) -> bool:
        """Say whether every piece of a text comes back from its ids, each by itself.

        Args:
            text: The text.
            ids: Its ids.
            cuts: As for :meth:`check`.
        """
        return all(self._problem(*piece) is None for piece in _pieces(text, ids, cuts))

    def _problem(self, text: str, ids: Sequence[int]) -> str | None:
        """Return what ids spell instead of a text, or None."""
        spelt = self.texts.spelt(ids)
        if spelt == text:
            return None
        formed = self._formed(text), self._formed(spelt)
        if SPACE in spelt and Change.SPACE_MARKS in self.rules.changes:
            return _difference(text, spelt)  # marks that are read, and not written as spaces
        if formed[0] != formed[1]:
            if self._unknown is None or self._unknown not in ids:
                return _difference(*formed)
            problem = self._unknown_problem(text, ids)
            if problem is not None:
                return problem
        return "they have characters that it has not" if self._adds(text, ids) else None

    def _adds(self, text: str, ids: Sequence[int]) -> bool:
        """Say whether ids spell characters that neither a text nor its normal form has.

        A map of SentencePiece's kind is the file's own.  It could write letters in another of the
        forms that are one to NFKC, or add what the normal form leaves out.
        """
        if Change.SENTENCEPIECE not in self.rules.changes:
            return False
        spelt = self.texts.spelt(id_ for id_ in ids if id_ != self._unknown)
        # Maps write some characters one by one: the voicing mark of a half-width kana by itself.
        alone = (character for each in set(text) for character in sentencepiece_form(each))
        known = {*text, *alone, *sentencepiece_form(text), *self._form(text), " ", SPACE}
        return not {*spelt} <= known

    def _formed(self, text: str) -> str:
        return self._beside.sub(r"\1", self._form(text)).strip()

    def _unknown_problem(self, text: str, ids: Sequence[int]) -> str | None:
        """Return what is wrong with a text of which the vocabulary lacks something, or None.

        White space is not compared here: a text may lack some beside what has no entry.
        """
        formed = _bare(self._formed(text))
        runs = [_bare(self._formed(run)) for run in self._known_runs(ids)]
        marked = _UNKNOWN.join(runs)
        match type(self._tokenizer.model).__name__:
            case "WordLevel":
                good = self._writes_words(text, ids)
            case "WordPiece":
                formed = self._by_word(text)
                good = marked == formed
            case _:
                lacking = "".join(sorted(self._lacking(text)))
                # White space may be what has no entry.
                blank = any(c.isspace() and self._lacks(c) for c in set(text))
                gap = f"[{re.escape(lacking)}]" if lacking else r"(?!)"
                gap = f"{gap}*" if blank else f"{gap}+"
                # One gap for several in a row: there is one way to match, and no search for it.
                first, *inner, last = runs
                known = [first, *filter(None, inner), last]
                good = re.fullmatch(gap.join(map(re.escape, known)), formed) is not None
        return None if good else _difference(formed, marked)

    def _known_runs(self, ids: Sequence[int]) -> Iterable[str]:
        """Yield what stands before, between and after the ids of what has no entry."""
        run: list[int] = []
        for id_ in [*ids, self._unknown]:
            if id_ is None or id_ == self._unknown:
                yield self.texts.spelt(run)
                run = []
            else:
                run.append(id_)

    def _lacks(self, character: str) -> bool:
        return self._tokenizer.model.token_to_id(character) is None

    def _normal(self, text: str) -> str:
        """Return what the tokenizer's normaliser makes of a text."""
        before = self._tokenizer.normalizer
        return text if before is None else str(before.normalize_str(text))

    def _lacking(self, text: str) -> set[str]:
        """Return the characters of a text's normal form that have no entry."""
        normal = self._normal(text)
        if _bare(self._formed(normal)) != _bare(self._formed(text)):
            return set()
        lacking = (self._form(c) for c in set(normal) if self._lacks(c))
        return set("".join(lacking))

    def _words(self, text: str) -> list[str]:
        """Return the words of a text, by the tokenizer's own components."""
        normal, cut = self._normal(text), self._tokenizer.pre_tokenizer
        return [normal] if cut is None else [word for word, _ in cut.pre_tokenize_str(normal)]

    def _by_word(self, text: str) -> str:
        """Return a text in which words are marked that the vocabulary cannot write."""
        words = self._words(text)
        if _bare(self._formed("".join(words))) != _bare(self._formed(text)):
            return "".join(words)  # which is not the text, and so not what its ids should spell
        return "".join(
            _UNKNOWN if self._unwritable(word) else _bare(self._formed(word)) for word in words
        )

    def _writes_words(self, text: str, ids: Sequence[int]) -> bool:
        """Say whether ids are those of a text's words, one by one."""
        words = self._words(text)
        added = {token.content for token in self._added.values()}
        read = [id_ for id_ in ids if id_ == self._unknown or self.texts.spelt([id_]).strip()]
        return (
            len(words) == len(read)
            and _bare(self._formed("".join(words))) == _bare(self._formed(text))
            and all(
                (self._lacks(word) or word in added)  # a spelling of markup is no markup here
                if id_ == self._unknown
                else self._form(self.texts.spelt([id_])) == self._form(word)
                for word, id_ in zip(words, read, strict=True)
            )
        )

    def _unwritable(self, word: str) -> bool:
        model = self._tokenizer.model
        if [token.id for token in model.tokenize(word)] != [self._unknown]:
            return False
        prefix = model.continuing_subword_prefix
        return len(word) > model.max_input_chars_per_word or any(
            self._lacks(character) or self._lacks(f"{prefix}{character}") for character in word
        )

    def _refusal(self, message: str) -> RewritingTokenizerError:
        return RewritingTokenizerError(
            message,
            file=self._file,
            hint="use the publisher's own tokenizer, or take that row out of its corpus "
            "with `where:`",
        )


def _pieces(
    text: str, ids: Sequence[int], cuts: Iterable[tuple[int, int]]
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the pieces of a text that are read by themselves, with their ids."""
    ends = [(0, 0), *cuts, (len(ids), len(text))]
    for (place, start), (until, end) in pairwise(ends):
        yield text[start:end], ids[place:until]


def _bare(text: str) -> str:
    """Return a text without white space."""
    return "".join(text.split())


def _beside(added: Iterable[Any], *, prefixed: bool) -> re.Pattern[str]:
    """Return what finds added tokens with the white space that they take, or are given."""
    taking = {
        token.content
        for token in added
        if token.content
        and not token.content.isalnum()  # words have no business with the space beside them
        and (prefixed or token.lstrip or token.rstrip)
    }
    longest_first = sorted(taking, key=len, reverse=True)
    names = "|".join(map(re.escape, longest_first)) or r"(?!)"
    # A run of white space is looked at once, from where it begins.
    return re.compile(rf"(?:(?<!\s)\s+)?({names})\s*")


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of what has no entry; None: everything has one, or is dropped."""
    model = tokenizer.model
    if type(model).__name__ != "Unigram":
        name = model.unk_token
        return None if name is None else tokenizer.token_to_id(name)
    try:
        tokens = model.tokenize(_UNSEEN)
    except Exception:
        return None
    ids = {token.id for token in tokens if model.id_to_token(token.id) not in _UNSEEN}
    return next(iter(ids), None)


def _difference(one: str, other: str) -> str:
    """Say where two texts begin to differ; they may be what nobody should read."""
    pairs = zip(one, other, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return f"they differ from character {place + 1:,} on"
