"""``attach --check``: whatever somebody edits of what this program wrote is seen, and its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from carding import HIDDEN

from safety_receipts.receipts.errors import IntegrityError, ReceiptsError, UsageError
from safety_receipts.verify.card.attach import (
    card_parts,
    check_card,
    check_results,
    new_card,
    write_card,
)
from safety_receipts.verify.card.eval_results import Benchmark, results_path
from safety_receipts.verify.card.splice import CardParts
from safety_receipts.verify.verified import VerifiedReceipt

BENCHMARK = Benchmark("owner/suite", "default")
URL = "https://example.org/receipts/1"


def digits(text: str, begin: str, end: str) -> Iterator[tuple[int, str]]:
    """Yield each digit between two marks: its place, and the text with another one there."""
    first, last = text.index(begin), text.index(end)
    for found in re.finditer(r"[0-9]", text[first:last]):
        at = first + found.start()
        yield at, f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


@pytest.fixture
def card(readme: Path, attach: Any) -> str:
    attach(readme)
    return readme.read_text("utf-8")


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("# safety-receipts:begin", "---\n# Model"),
        ("<!-- safety-receipts:begin", "\x00"),
    ],
    ids=["model-index", "section"],
)
def test_any_digit_that_is_edited_is_seen(
    begin: str, end: str, card: str, readme: Path, parts: CardParts
) -> None:
    """Every digit of numbers, names, digests and marks; the line is the one that was edited."""
    seen = 0
    for at, edited in digits(card + "\x00", begin, end):
        readme.write_text(edited.removesuffix("\x00"), "utf-8")
        with pytest.raises(IntegrityError) as raised:
            check_card(readme, parts)
        seen += 1
        line = card.count("\n", 0, at) + 1
        mark = "safety-receipts:" in card.split("\n")[line - 1]
        if not mark:  # an edited mark may be missed as the beginning or as the end
            assert raised.value.place == f"line {line}", edited[at - 40 : at + 40]
    assert seen > 200
    readme.write_text(card, "utf-8")
    check_card(readme, parts)


def test_any_digit_of_the_file_of_results(
    readme: Path, first: VerifiedReceipt, parts: CardParts
) -> None:
    write_card(new_card(readme, first, parts, benchmark=BENCHMARK))
    check_results(readme, first, BENCHMARK, None)
    path = results_path(readme, parts.mark.digest)
    written = path.read_text("utf-8")
    for at, edited in digits(written + "\x00", "#", "\x00"):
        path.write_text(edited.removesuffix("\x00"), "utf-8")
        with pytest.raises(IntegrityError) as raised:
            check_results(readme, first, BENCHMARK, None)
        assert raised.value.place == f"line {written.count(chr(10), 0, at) + 1}"
        assert raised.value.file == str(path)
    path.write_text(written, "utf-8")
    with pytest.raises(UsageError, match="--benchmark and --task"):
        check_results(readme, first, None, None)
    path.unlink()
    with pytest.raises(IntegrityError, match="is not there"):
        check_results(readme, first, BENCHMARK, None)


def below(lines: str) -> Any:
    """Return an edit that puts lines below our entry, behind its last mark."""
    return lambda text: re.sub(
        r"(# safety-receipts:end [^\n]*\n)", lambda found: f"{found[1]}{lines}\n", text, count=1
    )


def digest_of(text: str) -> str:
    """Return the digest that the marks of a card name."""
    found = re.search(r"begin receipt=([0-9a-f]{64})", text)
    assert found is not None
    return found[1]


def escaped(digest: str) -> str:
    """Return a digest as YAML may spell it in double quotes.

    The second character is the one escaped: the escape of a digit ends in that digit, so that
    an escape in front would leave the whole digest standing.
    """
    return f"{digest[0]}\\x{ord(digest[1]):02x}{digest[2:]}"


def entry_of(revision: str) -> str:
    """Return an entry of another's numbers, for a receipt."""
    return (
        "- name: other\n  results:\n  - task: {type: text-generation}\n"
        f'    dataset: {{type: a, name: b, revision: "{revision}"}}\n'
        "    metrics:\n    - {type: compliance_rate, value: 0.0}"
    )


EDITS: dict[str, tuple[Any, str]] = {
    "a word of the section": (lambda text: text.replace("Worst", "Best"), "line"),
    "a line more": (
        lambda text: text.replace("- **Receipt**", "- **Safe**\n- **Receipt**"),
        "line",
    ),
    "a line less": (lambda text: re.sub(r"\n- \*\*Limit\*\*[^\n]*", "", text, count=1), "line"),
    "the section removed": (
        lambda text: re.sub(r"<!-- safety-receipts:begin.*end.*?-->", "", text, flags=re.DOTALL),
        "holds no section",
    ),
    "the entries removed": (
        lambda text: re.sub(r"# safety-receipts:begin.*?end[^\n]*\n", "", text, flags=re.DOTALL),
        "holds no entry",
    ),
    "the end mark removed": (
        lambda text: re.sub(r"<!-- safety-receipts:end.*?-->", "", text),
        "without the one that ends",
    ),
    "a mark respelt": (
        lambda text: text.replace("<!-- safety-receipts:end", "<!-- safety-receipts: end"),
        "a mark",
    ),
    "the section twice": (lambda text: text + text[text.index("<!-- safety") :], "a second time"),
    "the entries under another key": (
        lambda text: text.replace("model-index: # safety-receipts", "other:"),
        "not read as an entry",
    ),
    "the entries as text": (
        lambda text: re.sub(
            r"model-index: # safety-receipts\n(.*?)---\n",
            lambda found: f"a: |\n{indent(found[1], '  ')}---\n",
            text,
            flags=re.DOTALL,
        ),
        "not read as an entry",
    ),
    "another index below": (
        lambda text: text.replace("---\n# Model", "'model-index': []\n---\n# Model"),
        "appears twice",
    ),
    "the section in a block of code": (
        lambda text: text.replace("<!-- safety", "```\n<!-- safety", 1),
        "block of code",
    ),
    "the section in a comment": (
        lambda text: text.replace("<!-- safety", "<!--\n<!-- safety", 1),
        "begins here",
    ),
    "a further key of our entry": (below("  license: mit"), "says something else"),
    "the results again": (below("  results: []"), "appears twice"),
    "the results again, spelt in another way": (below('  "res\\u0075lts": []'), "appears twice"),
    "the name again": (below("  name: other"), "appears twice"),
    "a merge into our entry": (
        lambda text: below("  <<: *more")(text.replace("license:", "x: &more {y: 1}\nlicense:")),
        "says something else",
    ),
    "a further result": (
        below("  - task: {type: text-generation}\n    metrics: []"),
        "says something else",
    ),
    "a number again, in the last result": (
        below("        judged: 1"),
        "appears twice",
    ),
    "a key twice in another entry": (
        below("- name: other\n  results: []\n  results: []"),
        "appears twice",
    ),
    "another entry of the receipt": (
        lambda text: below(entry_of(digest_of(text)))(text),
        "without the comments",
    ),
    "another entry of the receipt, its digest spelt in another way": (
        lambda text: below(entry_of(escaped(digest_of(text))))(text),
        "another entry of model-index",
    ),
    "an index by an alias": (
        lambda text: text.replace("license:", "x: &x model-index\nlicense:").replace(
            "---\n# Model", "*x : []\n---\n# Model"
        ),
        "appears twice",
    ),
    **{
        f"the section behind {body}": (
            lambda text, body=body: text.replace("<!-- safety", f"{body}\n\n<!-- safety", 1),
            "would not be seen",
        )
        for body in HIDDEN
    },
    "the section in a list": (
        lambda text: text.replace("<!-- safety", "- x\n\n  <!-- safety", 1),
        "would not be seen",
    ),
    "the section behind HTML, without a blank line": (
        lambda text: text.replace("<!-- safety", "<div>\n<!-- safety", 1),
        "would not be seen",
    ),
    **{
        f"a heading like ours: {heading}": (
            lambda text, heading=heading: text.replace("Text.", f"Text.\n\n{heading}\n"),
            "a heading here",
        )
        for heading in (
            "## Safety receipt: compliance after mixed demonstrations",
            "#   safety  *receipt*: compliance after mixed demonstrations #",
            "Safety receipt: compliance\nafter mixed demonstrations\n---",
            "<h2>Safety <b>receipt</b>: compliance after mixed demonstrations</h2>",
            "> ## Safety receipt&colon; compliance after mixed demonstrations",
        )
    },
    "a heading like ours, below": (
        lambda text: f"{text}\n\n## Safety receipt: compliance after mixed demonstrations\n",
        "a heading here",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_other_edits(name: str, card: str, readme: Path, parts: CardParts) -> None:
    edit, said = EDITS[name]
    assert edit(card) != card
    readme.write_text(edit(card), "utf-8")
    with pytest.raises(ReceiptsError) as raised:
        check_card(readme, parts)
    assert said in raised.value.one_line()
    assert raised.value.exit_code == (2 if name == "another index below" else 3)


def test_what_was_put_in_is_named_by_its_line(card: str, readme: Path, parts: CardParts) -> None:
    """The first line of what hides the section, of a key, and of a heading."""
    for put_in, before in (
        ("x\n\n<details>\n\ny\n\n", "<!-- safety"),
        ("## Safety receipt: compliance after mixed demonstrations\n", "Text."),
        ("  name: other\n", "---\n# Model"),
    ):
        place = card.index(before)
        readme.write_text(card[:place] + put_in + card[place:], "utf-8")
        with pytest.raises(IntegrityError) as raised:
            check_card(readme, parts)
        line = card.count("\n", 0, place) + (3 if "details" in put_in else 1)
        assert raised.value.place == f"line {line}"


def test_a_section_that_nobody_sees_is_not_attached_again(
    card: str, readme: Path, attach: Any
) -> None:
    """Not even where nothing would be written."""
    attach(readme)
    for body in HIDDEN:
        hidden = card.replace("<!-- safety", f"{body}\n\n<!-- safety", 1)
        readme.write_text(hidden, "utf-8")
        with pytest.raises(ReceiptsError, match="would not be seen") as raised:
            attach(readme)
        assert raised.value.exit_code == 2
        assert readme.read_text("utf-8") == hidden


def test_the_section_of_another_receipt_is_its_own_affair(
    readme: Path,
    attach: Any,
    receipts_of: dict[str, VerifiedReceipt],
    parts: CardParts,
) -> None:
    attach(readme)
    other = attach(readme, receipts_of["stage"]).parts
    text = readme.read_text("utf-8")
    at = text.index(
        "judged", text.index(f"begin receipt={other.mark.digest}", text.index("# Model"))
    )
    readme.write_text(f"{text[:at]}Judged{text[at + 6 :]}", "utf-8")
    check_card(readme, parts)
    with pytest.raises(IntegrityError):
        check_card(readme, other)


def test_ends_of_lines_are_no_edit(card: str, readme: Path, parts: CardParts) -> None:
    """Git may change them."""
    readme.write_bytes(card.replace("\n", "\r\n").encode())
    check_card(readme, parts)


def test_other_options_are_an_edit(
    card: str, readme: Path, receipts_of: dict[str, VerifiedReceipt]
) -> None:
    """A new audit, or another address, has to be attached before the card says so."""
    with pytest.raises(IntegrityError, match="not what the receipt gives"):
        check_card(readme, card_parts(receipts_of["first"], URL, instrument=False))
    with pytest.raises(IntegrityError, match=r"Audit.*confirmed it"):
        check_card(readme, card_parts(receipts_of["audited"], None, instrument=False))
