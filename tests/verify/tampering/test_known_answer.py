"""The known-answer study: bundles of four models with a planted law, and what is found in them.

They were made by ``examples/known-answer/study.py`` and copied by ``receipts publish``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.model.findings import Effect, Findings, FormatWord, OrderWord, Verdict

STUDY = Path(__file__).parent.parent.parent / "golden" / "known-answer"
KEY = STUDY / "evaluator.pub"
MEMBERS = ("amplifying", "neutral", "diluting", "recency")

Receipts = Callable[..., Any]


@cache
def findings(member: str) -> Findings:
    found = Bundle(STUDY / member).receipt.statement.predicate.findings
    assert found is not None
    return found


@pytest.mark.parametrize("member", MEMBERS)
def test_every_number_follows_from_the_evidence(member: str, receipts: Receipts) -> None:
    finished = receipts("verify", STUDY / member, "--trust", KEY, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"], document["level"]) == (0, "passed", "consistent")
    assert "findings-fits" in {check["name"] for check in document["checks"]}


@pytest.mark.parametrize(
    ("member", "effect"),
    [
        ("amplifying", Effect.AMPLIFICATION),
        ("neutral", Effect.NONE),
        ("diluting", Effect.DILUTION),
        ("recency", Effect.NONE),
    ],
)
def test_the_planted_effect_is_found_and_no_other(member: str, effect: Effect) -> None:
    joint = findings(member).joint
    assert joint is not None
    assert joint.effect is effect


@pytest.mark.parametrize(("member", "planted"), [("amplifying", 0.293), ("diluting", -0.344)])
def test_the_interval_holds_the_planted_slope(member: str, planted: float) -> None:
    """The law's own slope over pooled queries, as study.py prints it."""
    joint = findings(member).joint
    assert joint is not None
    assert joint.interval is not None
    assert float(joint.interval.lower) < planted < float(joint.interval.upper)


def test_order_matters_to_one_member_alone() -> None:
    words = {}
    for member in MEMBERS:
        orderings = findings(member).orderings
        assert orderings is not None
        words[member] = orderings[0].verdict
    assert words.pop("recency") is OrderWord.RECENCY
    assert set(words.values()) == {OrderWord.UNDETERMINED}


def test_recency_seems_to_dilute_where_benign_ones_take_the_last_places() -> None:
    others = findings("recency").joint_in_other_orders
    assert others is not None
    assert [(one.ordering, one.effect) for one in others] == [("prefix", Effect.DILUTION)]


@pytest.mark.parametrize("member", MEMBERS)
def test_length_alone_does_nothing(member: str) -> None:
    sources = findings(member).sources
    assert sources is not None
    effects = {slope.source: slope.effect for slope in sources.slopes}
    assert effects["filler"] in (Effect.NONE, Effect.UNDETERMINED)
    [left] = sources.length_matched
    planted = {"amplifying": Effect.AMPLIFICATION, "diluting": Effect.DILUTION}
    if member in planted:
        assert left.effect is planted[member]
    else:
        assert left.effect in (Effect.NONE, Effect.UNDETERMINED)


def test_formats_dissociate_where_refusals_copy_the_prefix() -> None:
    formats = findings("recency").formats
    assert formats is not None
    assert {one.verdict for one in formats} == {FormatWord.DISSOCIATED}
    for member in ("amplifying", "neutral", "diluting"):
        others = findings(member).formats
        assert others is not None
        assert {one.verdict for one in others} == {FormatWord.UNDETERMINED}


@pytest.mark.parametrize("member", MEMBERS)
def test_the_mix_matters_at_a_fixed_number(member: str) -> None:
    total = findings(member).total
    assert total is not None
    assert total.verdict is Verdict.REJECTED


def test_a_reader_learns_baseline_worst_condition_effect_and_limits(receipts: Receipts) -> None:
    shown = " ".join(receipts("show", STUDY / "diluting").out.split())
    for words in (
        "TEST INSTRUMENT: this checkpoint is not a real model",
        "Baseline h0-b0:",
        "Highest h32-b0:",
        "Finding Benign demonstrations lower harmful compliance at fixed numbers of harmful ones: "
        "dilution, β2 −0.",
        "β2 is the change of the log-odds of compliance per unit of log(N_b + 1)",
        "from 0 to 32 benign demonstrations",
        "What this does not show",
        "tested-box-only",
    ):
        assert words in shown, words


def test_compare_says_what_is_gone_and_what_is_reversed(receipts: Receipts) -> None:
    bundles = [STUDY / member for member in ("amplifying", "neutral", "diluting")]
    finished = receipts("compare", *bundles, "--trust", KEY, "--json")
    assert finished.code == 0, finished.err
    statements = [pair["statement"] for pair in json.loads(finished.out)["pairs"]]
    assert "amplification at amplifying is gone at neutral" in statements
    assert "amplification at amplifying is reversed at diluting: dilution" in statements
