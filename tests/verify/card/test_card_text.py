"""What a section says, and that names of others cannot say anything in it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from carding import front_matter, verified, without
from gating import keys
from releases import AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS
from safety_receipts.verify.card.attach import card_parts, check_card
from safety_receipts.verify.card.entries import yaml_lines
from safety_receipts.verify.card.markdown import name_span, sentence_text
from safety_receipts.verify.verified import VerifiedReceipt, verified_receipt


def section(receipt: VerifiedReceipt, url: str | None = None) -> str:
    return "\n".join(card_parts(receipt, url, instrument=False).section)


def test_a_reader_of_ten_seconds(receipts_of: dict[str, VerifiedReceipt]) -> None:
    receipt = receipts_of["audited"]
    text, predicate = section(receipt, "https://example.org/receipt"), receipt.predicate
    baseline, *others = predicate.conditions
    worst = max(others, key=lambda one: float(one.compliance_rate or 0))
    for label, one in (
        ("Baseline, without demonstrations", baseline),
        ("Worst condition with demonstrations", worst),
    ):
        rate = f"{float(one.compliance_rate or 0) * 100:.1f} %"
        counts = f"{one.counts.complied} of {one.counts.complied + one.counts.refused} judged"
        (line,) = [line for line in text.split("\n") if line.startswith(f"| {label}")]
        assert f"`{one.id}` | {rate} |" in line
        assert line.endswith(f"| {counts} |")
    assert "over-refusal of benign requests, `" in text
    assert "**Finding**" in text
    for limit in predicate.limits:
        assert LIMIT_MEANINGS[limit].split(",")[0][:30] in text
    assert receipt.signed.envelope.digest in text
    assert EVALUATOR.public.keyid in text
    assert "<https://example.org/receipt>" in text
    assert "receipts verify BUNDLE --trust MODEL_INDEX.pub --trust-auditor AUDITOR.pub" in text
    assert len(text.split("\n")) < 50


def test_what_an_audit_guarantees(receipts_of: dict[str, VerifiedReceipt]) -> None:
    text = section(receipts_of["audited"])
    (line,) = [line for line in text.split("\n") if line.startswith("- **Audit**")]
    assert "`an institute`" in line
    assert "off by 0.05 or more" in line
    assert "with a probability of at most 0.05." in line
    assert "4 of 4 conditions" in line
    assert "none by an auditor" in section(receipts_of["first"])


@pytest.mark.parametrize(
    ("audits", "said"),
    [
        ((Audit(known_starts=3),), "with a probability of at most 0.15."),
        ((Audit(calibrated=False),), "at most 0.05, by limits that nobody calibrated."),
        ((Audit(signers=(EVALUATOR,)),), "guarantees nothing"),
        ((Audit(p_value="0.9"),), "says inconclusive, and so guarantees nothing"),
        ((Audit(finished=False),), "1 audit announced, of which no result is here"),
        ((Audit(known_starts=2), Audit(finished=False, nonce="cd" * 32)), "1 audit announced"),
    ],
    ids=[
        "several announced",
        "uncalibrated",
        "by the evaluator",
        "inconclusive",
        "unfinished",
        "one of two",
    ],
)
def test_audits_that_guarantee_less(
    audits: tuple[Audit, ...], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(folders["first"], tmp_path / "b"))
    write_audits(bundle, *audits)
    auditors = TrustSet((AUDITOR.public, EVALUATOR.public))
    assert said in section(verified_receipt(Bundle(bundle), TrustSet(keys()), auditors))


HOSTILE = (
    "`</code> --> <script>alert(1)</script> <!-- safety-receipts:end --> [a](javascript:b) ![x](y) "
    "| # **x** ~~y~~ \\` evil @everyone :warning: $x$ https://evil.example www.evil.example"
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> VerifiedReceipt:
    """A receipt whose evaluator chose the names."""
    release = replace(SMALL, checkpoint=HOSTILE, stage=HOSTILE, judge=HOSTILE)
    return verified(seal_release(tmp_path_factory.mktemp("hostile") / "b", release))


def outside_code(text: str) -> str:
    """Return Markdown without its code spans."""
    return re.sub(r"`[^`\n]*`", "", text)


def test_names_of_others_say_nothing(hostile: VerifiedReceipt, readme: Path, attach: Any) -> None:
    card = attach(readme, hostile)
    text = readme.read_text("utf-8")
    assert without(text.encode()) == card.old.encode()
    check_card(readme, card.parts)
    plain = outside_code("\n".join(card.parts.section))
    for part in ("script", "evil", "javascript", "everyone", "warning", "](", "-->", "**x"):
        assert part not in plain, part
    assert plain.replace("```", "").count("`") == 2  # what is left of the fence around commands
    (entry,) = yaml.safe_load(front_matter(text.encode()))["model-index"]
    assert "alert(1)" in entry["name"]
    # HTML sees one comment for each mark.
    assert len(re.findall(r"<!-- safety-receipts:(?:begin|end) receipt=", text)) == 2


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "\u202eevil",
        "",
        " ",
        "`",
        "``a``",
        "a\nb",
        "a\r\n# b",
        "\x00\x1b[31m",
        "a" * 5000,
        "\ud800",
    ],
    ids=ascii,
)
def test_a_name_is_one_code_span(text: str) -> None:
    shown = name_span(text)
    assert re.fullmatch(r"`[^`\r\n]+`", shown)
    assert len(shown) < 700


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p < 1e-20 & β2 > 0", "p &lt; 1e-20 &amp; β2 &gt; 0"),
        ("a*b_c`d[e]|~f\\", r"a\*b\_c\`d\[e\]\|\~f\\"),
        ("see https://x.y", "`see https://x.y`"),
        ("mail a@b.c", "`mail a@b.c`"),
        ("WWW.x.y", "`WWW.x.y`"),
        ("costs $5", "`costs $5`"),
        (":+1: yes", "`:+1: yes`"),
        ("fixes #1", "`fixes #1`"),
        ("N = 4: rate 3 %", "N = 4: rate 3 %"),
    ],
)
def test_a_sentence_is_read_as_it_is_written(text: str, shown: str) -> None:
    assert sentence_text(text) == shown


@pytest.mark.parametrize(
    "text",
    ["yes", "1e3", "0x1", "a: b # c", "'", '"', "\\", "- x", "é🤖", "{a}", "*x", "2026-01-01", ""],
)
def test_text_in_yaml_is_text(text: str) -> None:
    """Whatever YAML would read it as."""
    written = "\n".join(yaml_lines([{"a": text, "b": [{"c": {"d": text}}]}], 3))
    assert yaml.safe_load(written) == [{"a": text, "b": [{"c": {"d": text}}]}]
