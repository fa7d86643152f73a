"""Texts come back from their ids, and ids have the text of their entries, in real tokenizers."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import MAKES, make_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram

from safety_receipts.runner.vocabulary.components import Change, Use
from safety_receipts.runner.vocabulary.contents import PlainVocabulary
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError
from safety_receipts.runner.vocabulary.token_texts import byte_alphabet

FILE = Path("tokenizer.json")
MAP = (
    "eNod02MUFgYUBuCvTjaXbSzbts3V4rJt27bt2mqrlha3tMwt23Y9X/ec5/54z/137w2ECgQCh0MEukQOBGtgSC00"
    "wTgsYQhPOCISgeBoJKIShehEIyYxiE0s4vAD8YhLAuKTiIQkITHJSEoKkpOKlKQhNelISwbS8yMZyUwmspKF7GQj"
    "JznITS7ykof85KMgBShMIYpShOIUoyQlKE0pylKG8pSjIhWoTCWqUoXqVKMmNahNLepSh/rUoyENaMRP/ExjmtKE"
    "5jSjJS1oxS+0oTXtaEsH2tOJjnShM93oSg+604ue9KE3/ejLAPozKLh4hjCYYQxlBMMZxUjGMJpxjGUC45nERKYw"
    "mWlMZQbTmcVM5jCbecxlAfNZxEKWsJhlLGUFy1nFStawmnWsZQPr2cRGtrCZ3/iVbWzlD35nB9v5k53sZhd72cNf"
    "7OMA+znEQY4EX4R/+JtjHOUEx/mXk5zmFGc5w3nOcZELXOYSV7nC//zHda5xkxvc5hZ3ucN97vGQBzzmEU95wnOe"
    "8ZIXvOYVb3nDe97xkQ985hNf+fL9Nr4B2cOBwg=="
)
"""A map of characters as SentencePiece compiles one, with one rule: s becomes x; deflated."""
_WORDS = ["▁", "▁the", "▁guild", "▁Sure", "s", "e", "ing"]
_LETTERS = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,'!-"))
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(**settings: Any) -> Tokenizer:
    entries = [*sorted(byte_alphabet()), "Ġthe", "Ġt", "he"]
    vocabulary = {entry: id_ for id_, entry in enumerate(entries)}
    tokenizer = Tokenizer(BPE(vocabulary, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False)])
    return tokenizer


def byte_fallback() -> Tokenizer:
    """As Llama 2 and Gemma are."""
    entries = ["<unk>", *_BYTES, *_WORDS, *[c for c in _LETTERS if c not in _WORDS], "\n"]
    vocabulary = {entry: id_ for id_, entry in enumerate(entries)}
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("<s>", normalized=False)])
    return tokenizer


def unigram() -> Tokenizer:
    """As T5 and Mistral's SentencePiece are, without byte fallback."""
    pieces = [("<unk>", 0.0), *((word, -2.0) for word in _WORDS)]
    pieces += [(letter, -4.0) for letter in _LETTERS if letter not in _WORDS]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


@cache
def made(make: Callable[[], Tokenizer]) -> tuple[Tokenizer, PlainVocabulary]:
    tokenizer = make()
    return tokenizer, PlainVocabulary(tokenizer, FILE, Use.RESPONSES)


MADE = [byte_level, byte_fallback, unigram]
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=8), st.sampled_from(["the guild", " Sure", "  ", "\n\n", "<s>", "🙂", "é"])
    ),
    max_size=8,
).map("".join)


@pytest.mark.parametrize("make", MADE)
@given(text=TEXTS)
def test_every_text_comes_back(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer, vocabulary = made(make)
    vocabulary.check(text, tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("make", MADE)
@given(data=st.data())
def test_any_ids_have_the_text_that_the_library_decodes(
    make: Callable[[], Tokenizer], data: st.DataObject
) -> None:
    """Models do not write what a tokenizer would: bytes that are no character, marks anywhere."""
    tokenizer, vocabulary = made(make)
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() + 1), max_size=12))
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert vocabulary.texts.text(ids) == decoded
    assert vocabulary.held(ids, decoded) == decoded


@pytest.mark.parametrize("make", MADE)
@given(text=TEXTS.filter(lambda text: bool(text.strip())), data=st.data())
def test_a_text_that_lost_something_does_not_pass(
    make: Callable[[], Tokenizer], text: str, data: st.DataObject
) -> None:
    tokenizer, vocabulary = made(make)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    place = data.draw(st.integers(0, len(ids) - 1))
    unknown = tokenizer.token_to_id("<unk>")
    if ids[place] == unknown or not vocabulary.texts.spelt([ids[place]]).strip():
        return  # white space at an end of a text, or what has no entry, is not held
    if unknown is not None and unknown in ids:
        return
    with pytest.raises(RewritingTokenizerError, match="does not come back"):
        vocabulary.check(text, ids[:place] + ids[place + 1 :])


@pytest.mark.parametrize("make", MADE)
def test_a_text_of_other_words_does_not_pass(make: Callable[[], Tokenizer]) -> None:
    tokenizer, vocabulary = made(make)
    ids = tokenizer.encode("the guild", add_special_tokens=False).ids
    vocabulary.check("the guild", ids)
    for other in ("the guilds", "the  guild", "theguild", "The guild", "guild the", "the guild."):
        with pytest.raises(RewritingTokenizerError, match="does not come back"):
            vocabulary.check(other, ids)
    with pytest.raises(RewritingTokenizerError, match="not that of its tokens"):
        vocabulary.held(ids, "Sorry")


def test_only_what_has_no_entry_may_be_unknown() -> None:
    tokenizer, vocabulary = made(unigram)
    unknown = tokenizer.token_to_id("<unk>")
    ids = tokenizer.encode("the 漢 guild", add_special_tokens=False).ids
    assert unknown in ids
    vocabulary.check("the 漢 guild", ids)
    with pytest.raises(RewritingTokenizerError):
        vocabulary.check("the Sure guild", ids)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_a_unicode_normal_form_is_held_to_and_said(form: str) -> None:
    tokenizer = byte_level()
    tokenizer.normalizer = getattr(normalizers, form)()
    vocabulary = PlainVocabulary(tokenizer, FILE, Use.RESPONSES)
    assert vocabulary.rules.changes == {Change(form)}
    for text in ("café", "cafe\u0301", "\ufb01", "\u1e9b\u0323", "ｶﾞ"):
        vocabulary.check(text, tokenizer.encode(text).ids)
    plain = byte_level().encode("e\u0301").ids
    with pytest.raises(RewritingTokenizerError):
        vocabulary.check("e", plain)


@pytest.mark.parametrize("make", sorted(MAKES))
def test_the_makes_of_tokenizer_in_use_are_taken(make: str) -> None:
    by_word = make in ("wordpiece", "wordlevel")
    PlainVocabulary(make_tokenizer(make), FILE, Use.LABELS)
    if by_word:
        with pytest.raises(RewritingTokenizerError):
            PlainVocabulary(make_tokenizer(make), FILE, Use.RESPONSES)
    else:
        PlainVocabulary(make_tokenizer(make), FILE, Use.RESPONSES)


def test_special_tokens_that_are_words_stay_in_the_text() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(
        ["<|pad|>", "[CLS]", "<｜begin▁of▁text｜>", "Sorry", "I", "cannot,"]
    )
    left_out = PlainVocabulary(tokenizer, FILE, Use.RESPONSES).left_out.values()
    assert set(left_out) == {"<|end|>", "<|pad|>", "[CLS]", "<｜begin▁of▁text｜>"}


def test_an_added_token_that_takes_white_space_may_only_take_that() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<h1>", lstrip=True, rstrip=True, normalized=False)])
    vocabulary = PlainVocabulary(tokenizer, FILE, Use.RESPONSES)
    vocabulary.check("the  <h1>\nguild", tokenizer.encode("the  <h1>\nguild").ids)
    with pytest.raises(RewritingTokenizerError):
        vocabulary.check("the a <h1>\nguild", tokenizer.encode("the  <h1>\nguild").ids)


def test_a_pattern_that_covers_not_all_text_loses_some_and_is_found_out() -> None:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[a-z ]+"), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    vocabulary = PlainVocabulary(tokenizer, FILE, Use.RESPONSES)
    vocabulary.check("the guild", tokenizer.encode("the guild").ids)
    with pytest.raises(RewritingTokenizerError, match="does not come back"):
        vocabulary.check("the Guild", tokenizer.encode("the Guild").ids)


def deberta() -> Tokenizer:
    """As DeBERTa is in transformers: white space of every kind is read as a space."""
    tokenizer = unigram()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC()]
    )
    return tokenizer


def sentencepiece() -> Tokenizer:
    """NFKC and the rules of NMT, as SentencePiece has them by default."""
    tokenizer = unigram()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    return tokenizer


def uncased() -> Tokenizer:
    """As BERT is."""
    return make_tokenizer("wordpiece")


def cased() -> Tokenizer:
    """As cased BERT is."""
    tokenizer = make_tokenizer("wordpiece")
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    return tokenizer


@cache
def for_labels(make: Callable[[], Tokenizer]) -> tuple[Tokenizer, PlainVocabulary]:
    tokenizer = make()
    return tokenizer, PlainVocabulary(tokenizer, FILE, Use.LABELS)


READ = [uncased, cased, deberta, sentencepiece, byte_level, byte_fallback, unigram]


@pytest.mark.parametrize("make", READ)
@given(text=st.one_of(TEXTS, st.text(alphabet="the guild képs\u0301.\t\n ÀİßſK漢", max_size=30)))
def test_every_text_of_a_classifier_comes_back(make: Callable[[], Tokenizer], text: str) -> None:
    tokenizer, vocabulary = for_labels(make)
    plain = text.replace("<s>", "")  # markup of the vocabulary's own is a matter of the judge's
    vocabulary.check(plain, tokenizer.encode(plain, add_special_tokens=False).ids)


@pytest.mark.parametrize("make", READ)
def test_a_classifier_reads_no_other_words(make: Callable[[], Tokenizer]) -> None:
    tokenizer, vocabulary = for_labels(make)
    ids = tokenizer.encode("the guild", add_special_tokens=False).ids
    vocabulary.check("the guild", ids)
    for other in ("the guilds", "guild the", "the gild", "a guild"):
        with pytest.raises(RewritingTokenizerError, match="does not come back"):
            vocabulary.check(other, ids)


@pytest.mark.parametrize("use", list(Use))
def test_a_compiled_map_is_held_to_what_unicode_does(use: Use) -> None:
    """The map is data, and may hold anything: what it makes of a text is compared, not the map."""
    tokenizer = unigram()
    tokenizer.normalizer = normalizers.Precompiled(zlib.decompress(b64decode(MAP)))
    vocabulary = PlainVocabulary(tokenizer, FILE, use)
    vocabulary.check("the guild", tokenizer.encode("the guild").ids)
    ids = tokenizer.encode("sure").ids
    assert vocabulary.texts.spelt(ids).strip() == "xure"
    with pytest.raises(RewritingTokenizerError, match="they differ from character 1 on"):
        vocabulary.check("sure", ids)


@pytest.mark.parametrize(
    ("make", "decoder"),
    [
        (byte_level, decoders.Metaspace()),
        (byte_level, decoders.Fuse()),
        (byte_fallback, decoders.ByteLevel()),
        (byte_fallback, decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])),
        (unigram, decoders.ByteLevel()),
        (unigram, decoders.Fuse()),
    ],
)
def test_a_decoder_of_another_alphabet_than_the_vocabularys_is_found_out(
    make: Callable[[], Tokenizer], decoder: Any
) -> None:
    """It would leave marks in responses: "I▁cannot" is no refusal to a list of phrases."""
    tokenizer = make()
    tokenizer.decoder = decoder

    def read() -> None:
        vocabulary = PlainVocabulary(tokenizer, FILE, Use.RESPONSES)
        vocabulary.check("the guild", tokenizer.encode("the guild").ids)

    with pytest.raises(RewritingTokenizerError):
        read()


def test_a_decoder_that_leaves_bytes_as_names_is_refused() -> None:
    tokenizer = byte_fallback()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    with pytest.raises(RewritingTokenizerError, match="no ByteFallback"):
        PlainVocabulary(tokenizer, FILE, Use.RESPONSES)


def test_words_have_no_business_with_the_space_beside_them() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("guild", lstrip=True, rstrip=True, normalized=False)])
    vocabulary = PlainVocabulary(tokenizer, FILE, Use.RESPONSES)
    with pytest.raises(RewritingTokenizerError, match="they differ from character 4 on"):
        vocabulary.check("the guild keeps", tokenizer.encode("the guild keeps").ids)


def test_a_cased_classifier_reads_case_and_accents() -> None:
    vocabulary = PlainVocabulary(cased(), FILE, Use.LABELS)
    assert vocabulary.rules.changes == {Change.CLEAN, Change.NO_SPACES}


def test_many_unknown_characters_in_a_row_are_looked_at_once() -> None:
    """A search for which of them is which would not end."""
    tokenizer, vocabulary = made(unigram)
    unknown = tokenizer.token_to_id("<unk>")
    text = "the " + "漢" * 3000 + " guild"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    apart = [each for id_ in ids for each in ([unknown] * 3000 if id_ == unknown else [id_])]
    vocabulary.check(text, apart)
    with pytest.raises(RewritingTokenizerError):
        vocabulary.check(text + "s", apart)


def charsmap(rule: tuple[str, str]) -> bytes:
    """Return a map of one rule, for a character of ASCII, as SentencePiece compiles one."""
    character, written = rule
    key, leaf = ord(character), 600
    units = [0] * 1024
    units[0] = 256 << 10
    units[256 ^ key] = key | 1 << 8 | (256 ^ key ^ leaf) << 10
    trie = struct.pack("<1024I", *units)
    return struct.pack("<I", len(trie)) + trie + written.encode() + b"\0"


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("unknown", ["", "ж"])
@pytest.mark.parametrize(
    ("written", "entry"), [("\x01s", "\x01"), ("ｓ", "ｓ"), ("s\u200b\u200b", "\u200b\u200b")]
)
def test_a_map_that_adds_characters_or_writes_other_forms_of_letters_is_refused(
    written: str, entry: str, unknown: str, use: Use
) -> None:
    pieces = [("<unk>", 0.0), ("▁", -2.0), (entry, -1.0)]
    pieces += [(letter, -4.0) for letter in _LETTERS]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Precompiled(charsmap(("s", written)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    vocabulary = PlainVocabulary(tokenizer, FILE, use)
    for text in (f"the guild {unknown}", f"ｔhe guild {unknown}\x01"):
        vocabulary.check(text, tokenizer.encode(text).ids)
    text = f"the guilds {unknown}"
    assert entry in tokenizer.encode(text).tokens
    with pytest.raises(RewritingTokenizerError, match="characters that it has not"):
        vocabulary.check(text, tokenizer.encode(text).ids)


@pytest.mark.parametrize("use", Use)
def test_a_map_may_write_a_half_width_kana_and_its_mark_one_by_one(use: Use) -> None:
    """As nmt_nfkc and nfkc do; the normal form of the two together is a third character."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("\u30ab", -1.0), ("\u3099", -1.0), ("\u30ac", -1.0)]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.Nmt()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace()  # type: ignore[assignment]
    vocabulary = PlainVocabulary(tokenizer, FILE, use)
    for ids in ([1, 2, 3], [1, 4]):
        vocabulary.check("\uff76\uff9e", ids)
    with pytest.raises(RewritingTokenizerError, match="they differ"):
        vocabulary.check("\uff76", [1, 2, 3])
