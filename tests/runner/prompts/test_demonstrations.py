"""Draws, orders and lengths of demonstrations: derived again, and as properties."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IncompleteError, MalformedError, UsageError
from safety_receipts.receipts.events.grid import (
    condition_id,
    default_context,
    fixed_labels,
    random_labels,
)
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    Ordering,
    PlannedCondition,
    Truncation,
    TruncationScope,
)
from safety_receipts.runner.corpora.rows import CorpusRow
from safety_receipts.runner.prompts.demonstrations import (
    Demonstration,
    DemonstrationList,
    DrawKey,
    Pools,
    decontaminate,
    demonstration_list,
    draw_indices,
    drawn,
    make_pool,
    prefixed,
    shown_labels,
    truncate_text,
    truncated,
)

SEED = Sha256("5e" * 32)
KEY = DrawKey(SEED, block=3, draw=1)
HARMFUL, BENIGN = DemonstrationKind.HARMFUL, DemonstrationKind.BENIGN
REFUSAL = DemonstrationKind.REFUSAL
PAIRS, CHAT, FILLER = SourceName("pairs"), SourceName("ultrachat"), SourceName("filler")


def rows(number: int, word: str = "ask") -> list[CorpusRow]:
    return [CorpusRow(f"{n:03}", f"{word} {n}", f"answer {word} {n}", {}) for n in range(number)]


POOLS = Pools(
    harmful=make_pool(HARMFUL, PAIRS, rows(40, "restricted stand-in")),
    benign={CHAT: make_pool(BENIGN, CHAT, rows(50)), FILLER: make_pool(BENIGN, FILLER, rows(30))},
    refusal=make_pool(REFUSAL, SourceName("declines"), rows(5, "decline")),
)


def planned(
    n_harmful: int, n_benign: int, ordering: Ordering | None = None, **changes: Any
) -> PlannedCondition:
    ordering = ordering if n_harmful and n_benign else None
    context = default_context()
    if n_refusal := changes.pop("n_refusal", 0):
        context = context.model_copy(update={"n_refusal": n_refusal})
    condition = PlannedCondition(
        id=condition_id(n_harmful, n_benign, ordering),
        n_harmful=n_harmful,
        n_benign=n_benign,
        ordering=ordering,
        labels=fixed_labels(ordering, n_harmful, n_benign, n_refusal),
        benign_source=CHAT if n_benign else None,
        response_prefix=None,
        context=context,
    )
    return condition.model_copy(update=changes)


def shown(
    condition: PlannedCondition, key: DrawKey = KEY, rule: Truncation | None = None
) -> DemonstrationList:
    return demonstration_list(POOLS, condition, shown_labels(condition, key), key, rule)


# Draws


def derive(*inputs: str | int, count: int, size: int) -> list[int]:
    """The rule of the design, from hashlib and rfc8785 alone."""
    taken: list[int] = []
    for j in range(count):
        for attempt in range(10**6):
            array = ["safety-receipts/draw/1", *inputs, j, attempt]
            value = int(hashlib.sha256(rfc8785.dumps(array)).hexdigest(), 16) % size
            if value not in taken:
                taken.append(value)
                break
    return taken


@given(
    st.builds(DrawKey, st.just(SEED), st.integers(0, 10**6), st.integers(0, 9)),
    st.sampled_from(DemonstrationKind),
    st.sampled_from(["ultrachat", "or-bench", "x"]),
    st.integers(1, 60),
    st.data(),
)
@settings(max_examples=60)
def test_draws_follow_the_rule(
    key: DrawKey, kind: DemonstrationKind, source: str, size: int, data: st.DataObject
) -> None:
    def take(count: int) -> tuple[int, ...]:
        name = SourceName(source)
        return draw_indices(
            SEED, key.block, key.draw, kind=kind, source=name, count=count, pool_size=size
        )

    count = data.draw(st.integers(0, size))
    indices = take(count)
    again = derive(SEED, key.block, key.draw, kind.value, source, count=count, size=size)
    assert list(indices) == again
    assert len(set(indices)) == count
    assert all(0 <= index < size for index in indices)
    fewer = data.draw(st.integers(0, count))
    assert take(fewer) == indices[:fewer]


def test_known_draws() -> None:
    """Fixed for ever: another value is another experiment."""
    known = draw_indices(SEED, 0, 0, kind=HARMFUL, source=PAIRS, count=8, pool_size=10)
    assert known == (1, 0, 7, 3, 4, 6, 2, 5)
    known = draw_indices(SEED, 7, 1, kind=BENIGN, source=CHAT, count=4, pool_size=1492)
    assert known == (785, 702, 811, 1305)


def test_a_whole_pool_can_be_drawn() -> None:
    everything = draw_indices(SEED, 0, 0, kind=BENIGN, source=CHAT, count=300, pool_size=300)
    assert sorted(everything) == list(range(300))


def test_more_than_the_pool_is_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        draw_indices(SEED, 0, 0, kind=HARMFUL, source=PAIRS, count=11, pool_size=10)
    assert caught.value.one_line() == (
        "11 harmful demonstrations asked of the 10 in source pairs (ask for fewer, or supply more)"
    )
    assert draw_indices(SEED, 0, 0, kind=HARMFUL, source=PAIRS, count=0, pool_size=0) == ()


@pytest.mark.parametrize("place", [0, 5])
def test_draws_are_uniform(place: int) -> None:
    """Chi-square over 20 cells, 4,000 fixed draws: below the 99.9 % point of 19 degrees."""
    counts = [0] * 20
    for block in range(4000):
        indices = draw_indices(
            SEED, block, 0, kind=BENIGN, source=CHAT, count=place + 1, pool_size=20
        )
        counts[indices[place]] += 1
    expected = 4000 / 20
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    assert statistic < 43.82


def test_draws_differ_by_everything_they_depend_on() -> None:
    def take(
        seed: Sha256 = SEED,
        block: int = 0,
        draw: int = 0,
        kind: DemonstrationKind = BENIGN,
        source: SourceName = CHAT,
    ) -> tuple[int, ...]:
        return draw_indices(seed, block, draw, kind=kind, source=source, count=20, pool_size=1000)

    draws = {
        take(),
        take(seed=Sha256("5f" * 32)),
        take(block=1),
        take(draw=1),
        take(kind=HARMFUL),
        take(source=FILLER),
    }
    assert len(draws) == 6


# Pools


@given(st.permutations(rows(12)))
def test_the_order_of_the_file_is_irrelevant(shuffled: list[CorpusRow]) -> None:
    assert make_pool(BENIGN, CHAT, shuffled) == make_pool(BENIGN, CHAT, rows(12))


def test_pools_are_sorted_by_id_as_text() -> None:
    taken = [CorpusRow(name, f"ask {name}", "x", {}) for name in ["2", "10", "a", "B", "1"]]
    pool = make_pool(BENIGN, CHAT, taken)
    assert [item.id for item in pool.items] == ["1", "10", "2", "B", "a"]


def test_a_pool_needs_responses() -> None:
    with pytest.raises(MalformedError) as caught:
        make_pool(BENIGN, CHAT, [CorpusRow("a", "ask", None, {})])
    assert caught.value.one_line() == (
        "source ultrachat: row a has no response to show"
        " (demonstrations are requests with responses: use `corpus: pairs`)"
    )


def test_decontamination_counts_and_keeps_the_order() -> None:
    pool = make_pool(BENIGN, CHAT, rows(5))
    queries = ["Ask 1", "  ask\u00a0\n2", "ａｓｋ 4", "ask", "ask 44", "ask 2"]
    left, removed = decontaminate(pool, queries)
    assert removed == 2  # case stays: "Ask 1" is another request
    assert [item.id for item in left.items] == ["000", "001", "003"]
    assert decontaminate(left, queries) == (left, 0)
    spaced = make_pool(BENIGN, CHAT, [CorpusRow("a", "ask\u2003 2\n", "x", {})])
    assert decontaminate(spaced, queries)[1] == 1
    assert decontaminate(pool, []) == (pool, 0)


# Lists


@pytest.mark.parametrize("ordering", [rule for rule in Ordering if rule is not Ordering.RANDOM])
def test_ordering_rules_permute_one_set(ordering: Ordering) -> None:
    condition = planned(3, 5, ordering)
    items = shown(condition).items
    assert condition.labels == "".join(item.kind.value[0] for item in items)
    for kind, pool, count in (
        (HARMFUL, POOLS.harmful, 3),
        (BENIGN, POOLS.benign[CHAT], 5),
    ):
        assert pool is not None
        expected = drawn(pool, KEY, count)
        assert tuple(item for item in items if item.kind is kind) == expected


def test_random_ordering_permutes_the_same_set_by_draw() -> None:
    condition = planned(4, 4, Ordering.RANDOM)
    labels = random_labels(SEED, condition, 3, 1)
    items = shown(condition).items
    assert labels == shown_labels(condition, KEY) == "".join(i.kind.value[0] for i in items)
    assert set(items) == set(shown(planned(4, 4, Ordering.SUFFIX)).items)
    other = shown_labels(condition, replace(KEY, draw=0))
    assert other != labels


def test_smaller_conditions_show_a_part_of_larger_ones() -> None:
    small, large = shown(planned(4, 8, Ordering.SUFFIX)), shown(planned(8, 16, Ordering.SUFFIX))
    assert set(small.items) < set(large.items)


def test_refusal_examples_come_from_their_own_pool() -> None:
    items = shown(planned(1, 1, Ordering.SUFFIX, n_refusal=2)).items
    assert [item.kind for item in items] == [REFUSAL, REFUSAL, BENIGN, HARMFUL]
    assert POOLS.refusal is not None
    assert items[:2] == drawn(POOLS.refusal, KEY, 2)


def test_a_benign_source_is_a_pool_like_any_other() -> None:
    condition = planned(0, 3, benign_source=FILLER)
    assert shown(condition).items == drawn(POOLS.benign[FILLER], KEY, 3)


def test_the_baseline_shows_nothing() -> None:
    nothing = demonstration_list(Pools(), planned(0, 0), "", KEY)
    assert nothing.items == ()
    assert nothing.digest == hashlib.sha256(b'["safety-receipts/demonstrations/1",[]]').hexdigest()


def test_missing_pools_and_foreign_labels() -> None:
    with pytest.raises(IncompleteError, match="no harmful demonstrations \\(name a corpus"):
        demonstration_list(Pools(), planned(1, 0), "h", KEY)
    with pytest.raises(IncompleteError, match="no benign demonstrations named ultrachat"):
        demonstration_list(replace(POOLS, benign={}), planned(0, 1), "b", KEY)
    empty = replace(POOLS, refusal=None)
    with pytest.raises(IncompleteError, match="no refusal demonstrations"):
        demonstration_list(empty, planned(0, 0, n_refusal=1), "r", KEY)
    with pytest.raises(UsageError, match="41 harmful demonstrations asked of the 40"):
        shown(planned(41, 0))
    for labels in ("", "b", "hh", "hbx", "hbb"):
        with pytest.raises(UsageError, match="are not of its counts"):
            demonstration_list(POOLS, planned(1, 1, Ordering.SUFFIX), labels, KEY)


def test_the_digest_is_over_what_is_shown() -> None:
    condition = planned(1, 2, Ordering.SUFFIX, response_prefix="Answer:")
    made = shown(condition, rule=Truncation(characters=12, scope=TruncationScope.RESPONSE))
    value = [
        "safety-receipts/demonstrations/1",
        [[item.id, item.kind.value, item.request, item.response] for item in made.items],
    ]
    assert made.digest == hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    assert all(item.response.startswith("Answer:") for item in made.items)
    assert max(len(item.response) for item in made.items) == 12


@given(st.integers(0, 3), st.sampled_from(["id", "kind", "request", "response", "order"]))
def test_any_change_of_a_list_changes_its_digest(place: int, part: str) -> None:
    made = shown(planned(2, 2, Ordering.SUFFIX))
    items = list(made.items)
    match part:
        case "order":
            items = items[place:] + items[:place] if place else items[::-1]
        case "kind":
            items[place] = replace(items[place], kind=REFUSAL)
        case _:
            changed: Any = {part: "other"}
            items[place] = replace(items[place], **changed)
    assert DemonstrationList(tuple(items)).digest != made.digest


def test_another_process_draws_the_same() -> None:
    """Neither hash randomisation nor what was drawn before matters."""
    code = """
import json
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import DemonstrationKind
from safety_receipts.runner.prompts.demonstrations import draw_indices
print(json.dumps(draw_indices(Sha256("5e" * 32), 3, 1, kind=DemonstrationKind.BENIGN,
                              source=SourceName("ultrachat"), count=16, pool_size=50)))
"""
    here = draw_indices(SEED, 3, 1, kind=BENIGN, source=CHAT, count=32, pool_size=50)
    for hash_seed in ("0", "1"):
        finished = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(finished.stdout) == list(here[:16])


# Prefix and length


@pytest.mark.parametrize(
    ("response", "prefix", "expected"),
    [
        ("Oak.", "Answer:", "Answer: Oak."),
        ("Answer: Oak.", "Answer:", "Answer: Oak."),
        ("Answer:Oak.", "Answer:", "Answer:Oak."),
        ("Answer:", "Answer:", "Answer:"),
        ("Answers vary", "Answer", "Answer Answers vary"),
        ("Sure I can help with that! Oak.", "Sure I can help with that!", None),
        ("answer: Oak.", "Answer:", "Answer: answer: Oak."),
        ("", "Answer:", "Answer: "),
    ],
)
def test_prefixes_are_set_once(response: str, prefix: str, expected: str | None) -> None:
    once = prefixed(response, prefix)
    assert once == (response if expected is None else expected)
    assert prefixed(once, prefix) == once


def item(request: str, response: str) -> Demonstration:
    return Demonstration("a", BENIGN, request, response)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (20, ("request", "response")),
        (15, ("request", "response")),
        (14, ("request", "respons")),
        (8, ("request", "r")),
        (7, ("request", "")),
        (6, ("reques", "")),
        (1, ("r", "")),
    ],
)
def test_the_response_is_cut_first(limit: int, expected: tuple[str, str]) -> None:
    rule = Truncation(characters=limit, scope=TruncationScope.DEMONSTRATION)
    left = truncated(item("request", "response"), rule)
    assert (left.request, left.response) == expected
    rule = Truncation(characters=3, scope=TruncationScope.RESPONSE)
    alone = truncated(item("request", "response"), rule)
    assert (alone.request, alone.response) == ("request", "res")


def test_a_cut_leaves_no_half_of_a_character() -> None:
    assert truncate_text("e\u0301e\u0301", 3) == "e\u0301"
    assert truncate_text("ab\U0001f44d\U0001f3fd", 3) == "ab"  # a thumb with its skin tone
    assert truncate_text("\U0001f468\u200d\U0001f469\u200d\U0001f467x", 4) == ""  # a family
    assert truncate_text("a\U0001f468\u200d\U0001f469b", 3) == "a"
    assert truncate_text("\u2764\ufe0fx", 1) == ""  # a heart with its variation selector
    assert truncate_text("\U0001f600\U0001f600", 1) == "\U0001f600"  # code points, not UTF-16 units
    assert truncate_text("\u0301" * 9, 5) == ""
    request = "e\u0301" * 3
    rule = Truncation(characters=3, scope=TruncationScope.DEMONSTRATION)
    left = truncated(item(request, "response"), rule)
    assert (left.request, left.response) == ("e\u0301", "")  # no room is lent to the response


TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("\u0301\u200d\ufe0f\U0001f3fd\u0903"),
    ),
    max_size=30,
)


@given(TEXTS, TEXTS, st.integers(1, 40), st.sampled_from(TruncationScope))
def test_truncation_keeps_the_limit_and_starts(
    request_text: str, response: str, limit: int, scope: TruncationScope
) -> None:
    left = truncated(item(request_text, response), Truncation(characters=limit, scope=scope))
    assert request_text.startswith(left.request)
    assert response.startswith(left.response)
    if scope is TruncationScope.RESPONSE:
        assert left.request == request_text
        assert len(left.response) <= limit
    else:
        assert len(left.request) + len(left.response) <= limit or not response
        if left.response:
            assert left.request == request_text
    rest = response[len(left.response) :]
    if left.response and rest:
        assert rest[0] != "\u200d" != left.response[-1]
        assert not unicodedata.ucd_3_2_0.category(rest[0]).startswith("M")


def test_prefix_then_length() -> None:
    """The prefix counts as part of what is shown: nothing shown is longer than the rule."""
    condition = planned(0, 2, response_prefix="Answer:")
    rule = Truncation(characters=16, scope=TruncationScope.DEMONSTRATION)
    for one in shown(condition, rule=rule).items:
        assert len(one.request) + len(one.response) == 16
        assert one.response.startswith("Answer: ")
