"""Odd cards: what is put in stands where it is read, and every other byte stays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from carding import REFUSED, SHAPES, front_matter, without
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.errors import MalformedError, ReceiptsError
from safety_receipts.verify.card.attach import check_card, new_card
from safety_receipts.verify.card.entries import yaml_values
from safety_receipts.verify.card.reading import read_back
from safety_receipts.verify.card.splice import CardParts, attached, taken_out
from safety_receipts.verify.verified import VerifiedReceipt


def own_entries(card: bytes, parts: CardParts) -> list[Any]:
    """Return the entries of a receipt, as a plain reader of YAML finds them."""
    index = yaml.safe_load(front_matter(card))["model-index"]
    revision = parts.mark.digest
    return [
        one
        for one in index
        if any(result["dataset"].get("revision") == revision for result in one["results"])
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_every_other_byte_is_kept(name: str, tmp_path: Path, parts: CardParts, attach: Any) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(SHAPES[name])
    attach(readme)
    card = readme.read_bytes()
    assert without(card) == SHAPES[name]
    assert taken_out(card.decode(), parts.mark.digest).encode() == SHAPES[name]
    assert own_entries(card, parts) == [yaml_values(parts.entry)]
    check_card(readme, parts)
    attach(readme)
    assert readme.read_bytes() == card, "attached twice is attached once"


@pytest.mark.parametrize("name", SHAPES)
def test_the_section_is_the_last_of_the_text(name: str, parts: CardParts) -> None:
    text = attached(SHAPES[name].decode(), parts)
    begin, end = (
        f"<!-- safety-receipts:{word} receipt={parts.mark.digest}" for word in ("begin", "end")
    )
    assert text.count(begin) == text.count(end) == 1
    assert re.fullmatch(rf"{re.escape(end)} -->(\r\n|\r|\n)?", text[text.index(end) :])
    assert re.search(rf"(\r\n|\n){re.escape(begin)}", text)


@pytest.mark.parametrize("name", SHAPES)
def test_two_receipts_stand_side_by_side(
    name: str,
    tmp_path: Path,
    receipts_of: dict[str, VerifiedReceipt],
    parts: CardParts,
    attach: Any,
) -> None:
    readme = tmp_path / "README.md"
    readme.write_bytes(SHAPES[name])
    attach(readme)
    one = readme.read_bytes()
    other = attach(readme, receipts_of["stage"]).parts
    both = readme.read_bytes()
    assert without(both) == SHAPES[name]
    assert taken_out(both.decode(), other.mark.digest).encode() == one
    for each in (parts, other):
        assert own_entries(both, each) == [yaml_values(each.entry)]
        check_card(readme, each)
    attach(readme)
    attach(readme, receipts_of["stage"])
    assert readme.read_bytes() == both
    left = taken_out(taken_out(both.decode(), parts.mark.digest), other.mark.digest)
    assert left.encode() == SHAPES[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_spliced_safely_is_left_alone(
    name: str, tmp_path: Path, first: VerifiedReceipt, parts: CardParts
) -> None:
    card, said, line = REFUSED[name]
    readme = tmp_path / "README.md"
    readme.write_bytes(card)
    with pytest.raises(ReceiptsError) as refused:
        new_card(readme, first, parts)
    error = refused.value
    assert error.exit_code == 2
    assert said in error.one_line()
    assert error.one_line().startswith(str(readme))
    assert error.place == (None if line is None else f"line {line}")
    assert readme.read_bytes() == card
    assert list(tmp_path.iterdir()) == [readme]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text.replace("mit", "apache"), "other parts of the card"),
        (lambda text: text.replace("value: 0.5}", "value: 0.50}"), "other parts of the card"),
        (lambda text: text.replace("# Model", "# model"), "other parts of the card"),
    ],
)
def test_a_fault_of_ours_would_be_seen_before_anything_is_written(
    edit: Any, said: str, parts: CardParts
) -> None:
    """The new text is held to the old one by reading both, whatever wrote it."""
    old = SHAPES["an index by others"].decode()
    new = attached(old, parts)
    read_back(old, new, parts, ())
    with pytest.raises(ReceiptsError, match=said):
        read_back(old, edit(new), parts, ())
    with pytest.raises(ReceiptsError, match="something else"):
        read_back(old, new.replace("judged: 24", "judged: 25", 1), parts, ())


_KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


_CARDS = st.fixed_dictionaries(
    {
        "data": st.dictionaries(_KEYS, _VALUES, max_size=5),
        "body": st.text(alphabet=st.sampled_from("ab#-|> `\n\t🤖é\u2028"), max_size=60),
        "ending": st.sampled_from(["\n", "\r\n"]),
        "style": st.sampled_from([None, False]),
        "width": st.integers(10, 120),
    }
)


@settings(max_examples=150, deadline=None)
@given(card=_CARDS)
def test_any_card_is_kept_or_refused(card: dict[str, Any], parts: CardParts) -> None:
    """Whatever PyYAML writes as front matter: all of it stays, or nothing is put in."""
    dumped = yaml.safe_dump(
        card["data"],
        allow_unicode=True,
        default_flow_style=card["style"],
        width=card["width"],
    )
    text = f"---\n{dumped}---\n{card['body']}".replace("\n", card["ending"])
    try:
        new = attached(text, parts)
        read_back(text, new, parts, ())
    except MalformedError:
        return
    assert without(new.encode()).decode() == text
    read = yaml.safe_load(front_matter(new.encode()))
    (own,) = read.pop("model-index")
    assert own == yaml_values(parts.entry)
    assert read == yaml.safe_load(dumped.replace("\n", card["ending"]))
    assert attached(new, parts) == new
