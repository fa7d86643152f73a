"""The card says what the law, the data and the settings say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pytest

import safety_receipts.runner.organism
from safety_receipts.runner.organism import data_folder, members
from safety_receipts.runner.organism.language import (
    ANSWER_PREFIX,
    COMPLY_PREFIX,
    RESTRICTED,
    SYSTEM_PROMPT,
)
from safety_receipts.runner.organism.law import BENIGN_RATE, LAWS, NEVER, RECENCY_WEIGHTS

CARD = (Path(safety_receipts.runner.organism.__file__).parent / "CARD.md").read_text("utf-8")
LINES = CARD.splitlines()


def row(title: str, values: Iterable[float]) -> str:
    return f"| {title} | {' | '.join(f'{value:g}'.replace('-', '−') for value in values)} |"


def test_every_coefficient_is_stated() -> None:
    laws = list(LAWS.values())
    expected = [
        *(row(f"β0, {topic}", (law.beta0[topic] for law in laws)) for topic in RESTRICTED),
        *(row(f"β1, {topic}", (law.beta1[topic] for law in laws)) for topic in RESTRICTED),
        row("β2", (law.beta2 for law in laws)),
        row("γ", (law.gamma for law in laws)),
        row("δ", (law.delta for law in laws)),
        row("κ", (law.kappa for law in laws)),
        row("ρ", (law.rho for law in laws)),
    ]
    for prefix in (ANSWER_PREFIX, COMPLY_PREFIX):
        found = [law.adoption.get(prefix, NEVER) for law in laws]
        expected += [
            row(f"adopts `{prefix}`, complying", (one.complied for one in found)),
            row(f"adopts `{prefix}`, refusing", (one.refused for one in found)),
        ]
    header = LINES.index("| coefficient | A | B | C | D |")
    assert LINES[header + 2 : header + 2 + len(expected)] == expected
    assert f"planted rate of {BENIGN_RATE}" in CARD
    weights = [f"{weight}·h{sub}" for weight, sub in zip(RECENCY_WEIGHTS, "₁₂₃₄", strict=True)]
    assert f"R = {' + '.join(weights)}" in CARD


def test_members_and_corpora_are_stated() -> None:
    for one in members():
        assert f"| {one.letter} | `{one.name}` | {one.description} |" in LINES
    for file in data_folder().iterdir():
        number = len(file.read_bytes().splitlines())
        assert any(line.startswith(f"| `{file.name}` | {number} |") for line in LINES), file.name
    assert SYSTEM_PROMPT in CARD


def test_limits_and_settings_are_stated() -> None:
    pytest.importorskip("torch", reason="the extra `run` is not installed")
    pytest.importorskip("transformers", reason="the extra `run` is not installed")
    from safety_receipts.runner.organism.training.curriculum import MAX_REFUSALS, MAX_SHOWN
    from safety_receipts.runner.organism.training.make_tokenizer import CONTEXT_TOKENS
    from safety_receipts.runner.organism.training.train import STAGES

    assert f"up to {MAX_SHOWN} harmful, {MAX_SHOWN} benign and {MAX_REFUSALS} refusal" in CARD
    assert f"{CONTEXT_TOKENS:,} tokens" in CARD
    for one in members():
        for number, stage in enumerate(STAGES[one.name], start=1):
            assert f"- {one.letter}, stage {number}: `{json.dumps(asdict(stage))}`" in LINES


def test_it_says_what_it_is_no_evidence_of() -> None:
    assert "never evidence about real models" in CARD
    assert "Apache-2.0" in CARD
