"""Which components a tokenizer may have: each refusal names the component and its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judging import make_tokenizer
from tokenizers import Tokenizer

from safety_receipts.runner.vocabulary.components import TextRules, Use, read_rules
from safety_receipts.runner.vocabulary.parts import TokenizerParts, file_parts, loaded_parts
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError

FILE = Path("folder") / "tokenizer.json"


def document(make: str = "byte-level") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make_tokenizer(make).to_str())
    return found


def rules(document: dict[str, Any], use: Use = Use.RESPONSES) -> TextRules:
    """Read a file's rules; the tokenizer that is loaded of it has the same."""
    loaded = loaded_parts(Tokenizer.from_str(json.dumps(document)))
    found = [_said(parts, use) for parts in (file_parts(document), loaded)]
    assert found[0] == found[1]
    return read_rules(file_parts(document), FILE, use)


def _said(parts: TokenizerParts, use: Use) -> TextRules | str | None:
    """Return the rules, or where the refusal is."""
    try:
        return read_rules(parts, FILE, use)
    except RewritingTokenizerError as error:
        return error.place


def string(before: str, after: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": before}, "content": after}


def regex(before: str, after: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": before}, "content": after}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("decoder", string("Sure", "Sorry")),
    ("decoder", string("▁", "")),
    ("decoder", regex(".+", " ")),
    ("decoder", {"type": "CTC", "pad_token": "a", "word_delimiter_token": "|", "cleanup": True}),
    ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True}),
    ("decoder", {"type": "BPEDecoder", "suffix": "e"}),
    ("decoder", {"type": "Strip", "content": "S", "start": 1, "stop": 0}),
    ("decoder", {"type": "Strip", "content": " ", "start": 0, "stop": 9}),
    ("decoder", {"type": "Metaspace", "replacement": "e", "prepend_scheme": "never"}),
    ("normalizer", string("Sure", "Sorry")),
    ("normalizer", string(" ", "x")),
    ("normalizer", regex("S.*", " ")),
    ("normalizer", {"type": "Prepend", "prepend": "Sorry"}),
    ("normalizer", {"type": "Lowercase"}),
    ("normalizer", {"type": "StripAccents"}),
    (
        "normalizer",
        {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
    ),
    ("pre_tokenizer", {"type": "WhitespaceSplit"}),
    ("pre_tokenizer", {"type": "BertPreTokenizer"}),
    ("pre_tokenizer", {"type": "CharDelimiterSplit", "delimiter": "e"}),
    (
        "pre_tokenizer",
        {"type": "Split", "pattern": {"String": "e"}, "behavior": "Removed", "invert": False},
    ),
    ("pre_tokenizer", {"type": "Punctuation", "behavior": "Removed"}),
    (
        "pre_tokenizer",
        {"type": "Metaspace", "replacement": "e", "prepend_scheme": "never", "split": False},
    ),
]
INNER = {"decoder": "decoders", "normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


@pytest.mark.parametrize(("part", "component"), REFUSED)
@pytest.mark.parametrize("nested", [False, True])
def test_a_component_that_may_rewrite_text_is_refused(
    part: str, component: dict[str, Any], *, nested: bool
) -> None:
    wanted = document()
    place = part
    if nested:
        inner = INNER[part]
        own = [] if wanted[part] is None else [wanted[part]]
        component = {"type": "Sequence", inner: [{"type": "Sequence", inner: [component]}, *own]}
        place = f"{part}.{inner}[0].{inner}[0]"
    wanted[part] = component
    with pytest.raises(RewritingTokenizerError) as raised:
        rules(wanted)
    assert raised.value.place == place
    assert raised.value.one_line().startswith(f"folder/tokenizer.json: {place}: the component ")
    assert "\n" not in raised.value.one_line()


def test_no_decoder_is_none_that_is_known() -> None:
    with pytest.raises(RewritingTokenizerError, match="joined with spaces"):
        rules({**document(), "decoder": None})


def test_tokens_drawn_at_random_and_affixes_are_refused() -> None:
    for name, value in (("dropout", 0.5), ("end_of_word_suffix", "</w>")):
        wanted = document()
        wanted["model"][name] = value
        with pytest.raises(RewritingTokenizerError) as raised:
            rules(wanted)
        assert raised.value.place == f"model.{name}"


def test_an_added_token_may_not_hide_an_entry() -> None:
    wanted = document()
    (first,) = [id_ for entry, id_ in wanted["model"]["vocab"].items() if entry == "e"]
    wanted["added_tokens"].append({**wanted["added_tokens"][-1], "id": first, "content": "Sorry"})
    with pytest.raises(RewritingTokenizerError, match="Sorry has the id") as raised:
        read_rules(file_parts(wanted), FILE, Use.RESPONSES)
    assert raised.value.place == "added_tokens"


def test_a_post_processor_adds_markup_alone() -> None:
    wanted = document()
    (word,) = [(e, id_) for e, id_ in wanted["model"]["vocab"].items() if e == "e"]
    template = wanted["post_processor"]
    template["special_tokens"]["<s>"]["ids"].append(word[1])
    template["special_tokens"]["<s>"]["tokens"].append(word[0])
    with pytest.raises(RewritingTokenizerError, match="no markup, would be added") as raised:
        rules(wanted)
    assert raised.value.place == "post_processor"


@pytest.mark.parametrize("odd", [7, "x", [], {"type": "Sequence"}, {"type": None}, {}])
def test_a_part_of_no_known_form_is_refused(odd: Any) -> None:
    for part in INNER:
        with pytest.raises(RewritingTokenizerError):
            read_rules(file_parts({**document(), part: odd}), FILE, Use.RESPONSES)


def test_what_a_classifier_reads_may_be_small_and_without_accents() -> None:
    wanted = document("wordpiece")
    assert rules(wanted, Use.LABELS).steps == ()
    wanted["normalizer"] = string("sure", "sorry")
    with pytest.raises(RewritingTokenizerError):
        rules(wanted, Use.LABELS)


@pytest.mark.parametrize("id_", ["x", None, 1.5, [], {}, 0, 1, -1, 2**70])
@pytest.mark.parametrize("vocabulary", [[], [[]], [1], [["a", 0.0]], {"a": 0}, {"a": "x"}, "x"])
def test_a_vocabulary_of_no_known_form_is_left_to_who_loads_it(id_: Any, vocabulary: Any) -> None:
    wanted = document()
    wanted["added_tokens"] = [{"id": id_, "content": "a"}, 7]
    wanted["post_processor"] = None
    wanted["model"]["vocab"] = vocabulary
    read_rules(file_parts(wanted), FILE, Use.RESPONSES)
