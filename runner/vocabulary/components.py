"""The components that a tokenizer may be made of, and what they do to text.

A tokenizer of the tokenizers library is a normaliser, a pre-tokenizer, a model, a post-processor
and a decoder, each of which its file chooses freely.  Those that only cut text, and those whose
change of text has a name (a Unicode normal form, spaces written as ``▁``), are known here with the
parameters that they may have; every other one is refused.  What is looked at is the tokenizer as
it was loaded, since transformers' classes replace some components that the file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.runner.vocabulary.parts import (
    DECODER,
    NORMALISER,
    POST_PROCESSOR,
    PRE_TOKENIZER,
    State,
    TokenizerParts,
)
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError

SPACE: Final = "▁"
"""How vocabularies of SentencePiece's kind write a space."""

_HINT: Final = (
    "use the publisher's own tokenizer.json: no tokenizer in use rewrites text; "
    "the protocol lists what one may consist of"
)
_SHOWN: Final = 80
_BRACKETS: Final = "<>[]{}()|｜＜＞【】"


class Use(StrEnum):
    """What a tokenizer is used for."""

    RESPONSES = "responses"
    """Prompts are read with it, and responses decoded: an evaluated model, a judge that writes."""
    LABELS = "labels"
    """Texts are read with it, and nothing is decoded: a classifier."""


class Change(StrEnum):
    """What a tokenizer may do to text, besides cutting it."""

    NFC = "NFC"
    NFD = "NFD"
    NFKC = "NFKC"
    NFKD = "NFKD"
    SENTENCEPIECE = "nmt_nfkc"
    """NFKC; control characters left out; white space of every kind a space."""
    SPACE_MARKS = "space marks"
    """``▁`` is read as a space."""
    SPACE_RUNS = "space runs"
    """Several spaces are read as one."""
    LOWER_CASE = "lower case"
    NO_ACCENTS = "no accents"
    CLEAN = "clean"
    """Control characters are left out."""
    QUOTES = "quotes"
    """Two single quotes or grave accents are read as a double quote."""
    NO_SPACES = "no white space"
    """White space ends words, and is left out."""


class Step(StrEnum):
    """A step of decoding."""

    BYTE_LEVEL = "ByteLevel"
    METASPACE = "Metaspace"
    METASPACE_NEVER = "Metaspace, no first space"
    SPACES = "Replace"
    BYTE_FALLBACK = "ByteFallback"
    FUSE = "Fuse"
    STRIP = "Strip"


@dataclass(frozen=True)
class TextRules:
    """What a tokenizer does to text."""

    changes: frozenset[Change]
    """On the way to ids."""
    byte_level: bool
    """Whether entries are written in the byte-level alphabet."""
    prefixed: bool
    """Whether a space is put before what follows an added token."""
    steps: tuple[Step, ...]
    """On the way back, one after the other; none for a classifier."""


@dataclass
class _Found:
    """What was found so far."""

    file: Path
    use: Use
    changes: set[Change] = field(default_factory=set)
    byte_level: bool = False
    prefixed: bool = False

    def refuse(self, place: str, says: str) -> RewritingTokenizerError:
        return RewritingTokenizerError(says, file=self.file, place=place, hint=_HINT)

    def unknown(self, place: str, component: State, why: str) -> RewritingTokenizerError:
        settings = {key: value for key, value in component.items() if key != "type"}
        name = printable(str(component.get("type")), _SHOWN)
        shown = printable(json.dumps(settings, ensure_ascii=False), _SHOWN)
        return self.refuse(place, f"the component {name} {why}: {shown}")


def read_rules(parts: TokenizerParts, file: Path, use: Use) -> TextRules:
    """Return what a tokenizer does to text.

    Args:
        parts: What it is made of.
        file: Its file, for messages.
        use: What it is used for.

    Raises:
        RewritingTokenizerError: It has a component, or an added token, that is not known to leave
            text as it is, up to :class:`Change`.
    """
    found = _Found(file, use)
    for names, look in (
        (NORMALISER, _normaliser),
        (PRE_TOKENIZER, _pre_tokenizer),
        (POST_PROCESSOR, partial(_post_processor, parts)),
    ):
        for place, component in parts.components[names[0]]:
            try:
                look(found, place, component)
            except (KeyError, TypeError, AttributeError, IndexError):
                raise found.unknown(place, component, "is not written as it should be") from None
    if _prefixes_pieces(parts):
        found.changes.add(Change.NO_SPACES)
    _model(found, parts)
    _added_tokens(found, parts)
    steps = tuple(_steps(found, parts)) if use is Use.RESPONSES else ()
    byte_level = Step.BYTE_LEVEL in steps if use is Use.RESPONSES else found.byte_level
    return TextRules(frozenset(found.changes), byte_level, found.prefixed, steps)


_UNICODE: Final = {"NFC": Change.NFC, "NFD": Change.NFD, "NFKC": Change.NFKC, "NFKD": Change.NFKD}
_QUOTES: Final = ("``", "''")
_RUNS: Final = (" {2,}", "▁{2,}")
_WHITE: Final = (r"\s{2,}", r"\s+", r"\s{2,}|[\n\r\t]", r"[\n\r\t]", r"\n", "\n")


def _normaliser(found: _Found, place: str, part: State) -> None:
    kind, labels = part["type"], found.use is Use.LABELS
    if kind in _UNICODE:
        found.changes.add(_UNICODE[kind])
    elif kind in ("Precompiled", "Nmt"):
        # Some of its maps fold case, which is no more than a classifier may do.
        found.changes |= {Change.SENTENCEPIECE, *([Change.LOWER_CASE] if labels else [])}
    elif kind == "Prepend" and part["prepend"] == SPACE:
        found.changes.add(Change.SPACE_MARKS)
        found.prefixed = True
    elif kind == "Replace":
        _replacement(found, place, part)
    elif kind == "Strip":
        found.prefixed = True  # white space beside an added token is not told from none
    elif kind == "ByteLevel":
        found.byte_level = True
    elif kind == "Lowercase" and labels:
        found.changes.add(Change.LOWER_CASE)
    elif kind == "StripAccents" and labels:
        found.changes.add(Change.NO_ACCENTS)
    elif kind == "BertNormalizer" and labels:
        small, bare = part["lowercase"], part["strip_accents"]
        found.changes |= {Change.CLEAN, Change.NO_SPACES}
        found.changes |= {Change.LOWER_CASE} if small else set()
        found.changes |= {Change.NO_ACCENTS} if bare or (bare is None and small) else set()
    else:
        raise found.unknown(place, part, "may rewrite what a prompt shows")


def _replacement(found: _Found, place: str, part: State) -> None:
    """Take note of a replacement: of spaces by their marks, of several by one, or of quotes."""
    pattern = part["pattern"]
    text, regex, content = pattern.get("String"), pattern.get("Regex"), part["content"]
    if (text, content) == (" ", SPACE):
        found.changes.add(Change.SPACE_MARKS)
    elif content in (" ", SPACE) and regex in (
        _RUNS if found.use is Use.RESPONSES else (*_RUNS, *_WHITE)
    ):
        found.changes |= {Change.SPACE_MARKS, Change.SPACE_RUNS}
    elif text in _QUOTES and content == '"' and found.use is Use.LABELS:
        found.changes.add(Change.QUOTES)
    else:
        raise found.unknown(place, part, "rewrites what a prompt shows")


def _prefixes_pieces(parts: TokenizerParts) -> bool:
    """Say whether a space is put before every piece that another pre-tokenizer has cut."""
    kinds = [part.get("type") for _, part in parts.components[PRE_TOKENIZER[0]]]
    return len(kinds) > 1 and any(
        (part.get("type"), part.get("prepend_scheme", "always")) == ("Metaspace", "always")
        or (part.get("type") == "ByteLevel" and bool(part.get("add_prefix_space")))
        for _, part in parts.components[PRE_TOKENIZER[0]]
    )


_CUT: Final = ("Digits", "UnicodeScripts", "FixedLength")
_SPLIT_AT_SPACES: Final = ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")


def _pre_tokenizer(found: _Found, place: str, part: State) -> None:
    kind = part["type"]
    if kind == "ByteLevel":
        found.byte_level = True
        found.prefixed |= bool(part["add_prefix_space"])
    elif kind == "Metaspace" and part["replacement"] == SPACE:
        found.changes.add(Change.SPACE_MARKS)
        found.prefixed |= part.get("prepend_scheme", "always") != "never"
    elif kind in ("Split", "Punctuation"):
        # What is left out is what no match covers: patterns of this form cover all text, and
        # what they did not cover would be missed in what comes back from the ids.
        covers = kind == "Split" and part["invert"]
        if part["behavior"] == "Removed" and not covers:
            raise found.unknown(place, part, "takes text out of what a prompt shows")
    elif kind in _SPLIT_AT_SPACES and found.use is Use.LABELS:
        found.changes.add(Change.NO_SPACES)
    elif kind not in _CUT:
        raise found.unknown(place, part, "may take text out of what a prompt shows")


def _model(found: _Found, parts: TokenizerParts) -> None:
    kinds = _SPELLING if found.use is Use.RESPONSES else (*_SPELLING, *_BY_WORD)
    if parts.model not in (None, *kinds):
        name = printable(parts.model or "", _SHOWN)
        raise found.refuse(
            "model.type", f"the model {name} cannot give back the text that it reads"
        )
    decoders = [part.get("type") for _, part in parts.components[DECODER[0]]]
    bytes_stay = parts.settings.get("byte_fallback") and "ByteFallback" not in decoders
    if found.use is Use.RESPONSES and bytes_stay:
        raise found.refuse("decoder", "there is no ByteFallback, and so bytes would stay names")
    for name in ("dropout", "alpha"):
        if parts.settings.get(name):
            raise found.refuse(f"model.{name}", "tokens are drawn at random")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if parts.model not in _BY_WORD and parts.settings.get(name):
            raise found.refuse(
                f"model.{name}", "text does not follow from entries that carry more than their text"
            )


_SPELLING: Final = ("BPE", "Unigram")
_BY_WORD: Final = ("WordPiece", "WordLevel")
_POST: Final = ("ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing")


def _post_processor(parts: TokenizerParts, found: _Found, place: str, part: State) -> None:
    if part["type"] not in _POST:
        raise found.unknown(place, part, "is not one that only adds special tokens")
    if part["type"] == "TemplateProcessing":
        ids = {id_ for token in part["special_tokens"].values() for id_ in token["ids"]}
    else:
        ids = {part[name][1] for name in ("sep", "cls") if name in part}
    for id_ in sorted(ids):
        token = parts.token(id_)
        if token is not None and not is_bracketed(token):
            shown = printable(token, _SHOWN)
            raise found.refuse(place, f"{shown}, which is no markup, would be added to every text")


def _added_tokens(found: _Found, parts: TokenizerParts) -> None:
    """Refuse an added token that hides another entry of the vocabulary."""
    for id_, content in parts.added:
        entry = parts.entry(id_)
        if entry is not None and entry != content:
            shown = printable(content, _SHOWN)
            raise found.refuse(
                "added_tokens",
                f"the added token {shown} has the id {id_} of the entry {printable(entry, _SHOWN)}",
            )


def _steps(found: _Found, parts: TokenizerParts) -> Iterator[Step]:
    components = parts.components[DECODER[0]]
    if not components:
        raise found.refuse("decoder", "there is none, and so words would be joined with spaces")
    fused = False
    for place, part in components:
        try:
            step = _step(part, fused=fused)
        except KeyError:
            step = None
        if step is None:
            raise found.unknown(place, part, "may rewrite responses")
        fused |= step in (Step.FUSE, Step.BYTE_LEVEL)
        yield step


def _step(part: State, *, fused: bool) -> Step | None:
    """Return what a decoder does; None: it is not known."""
    kind = part["type"]
    if kind in ("ByteLevel", "ByteFallback", "Fuse"):
        return Step(kind)
    if kind == "Metaspace" and part["replacement"] == SPACE:
        never = part.get("prepend_scheme", "always") == "never"
        return Step.METASPACE_NEVER if never else Step.METASPACE
    if kind == "Replace" and part["pattern"] == {"String": SPACE} and part["content"] == " ":
        return Step.SPACES
    # Of the whole text, and no more than the space that was put before it.
    if kind == "Strip" and fused and (part["content"], part["stop"]) == (" ", 0):
        return Step.STRIP if part["start"] == 1 else None
    return None


def is_bracketed(token: str) -> bool:
    """Say whether a token is markup: longer than two characters and within brackets."""
    bare = token.replace(SPACE, " ").strip()
    return len(bare) > 2 and bare[0] in _BRACKETS and bare[-1] in _BRACKETS
