"""Requests that travel to a worker are cut there as they would be here."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.prefix.schedule import (
    Schedule,
    ScheduledRequest,
    build_schedule,
)
from safety_receipts.runner.prompts.prefix_tree import PrefixTree, in_one_tree
from safety_receipts.runner.run.pooled.packed import PackedRequests

PROMPTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), max_size=30)


def schedule(requests: Sequence[Request]) -> Schedule:
    prompts = in_one_tree([request.tokens for request in requests])
    asks = [ScheduledRequest(prompt, 0, 4) for prompt in prompts]
    return build_schedule(asks, fits=lambda _: True, max_rows=4, chunk=3, share_tokens=2)


def cut(found: Schedule) -> list[object]:
    """Return everything that a schedule decides."""
    parts = [
        (part.above, part.start, part.tokens.tolist(), part.rows, part.segment)
        for part in found.parts
    ]
    return [parts, found.rows, found.batches, found.too_large]


@given(PROMPTS, st.booleans())
def test_a_request_and_its_batch_are_the_same_there(
    prompts: list[list[int]], in_a_tree: bool
) -> None:
    tree = PrefixTree()
    requests = [
        Request(key, tree.add(prompt) if in_a_tree else prompt, 5, frozenset({1}), seed=key * 7)
        for key, prompt in enumerate(prompts)
    ]
    travelled: PackedRequests = pickle.loads(pickle.dumps(PackedRequests.pack(requests)))
    found = travelled.unpack()
    for one, other in zip(requests, found, strict=True):
        assert tuple(one.tokens) == tuple(other.tokens)
        assert len(one.tokens) == len(other.tokens)
        assert (one.key, one.seed, one.stop_ids) == (other.key, other.seed, other.stop_ids)
    assert cut(schedule(found)) == cut(schedule(requests))


def test_a_prompt_of_many_parts_travels() -> None:
    """Deeper than anything that calls itself for each part could go."""
    tree, prompt = PrefixTree(), list(range(1500))
    requests = [
        Request(key, tree.add(prompt[: key + 1]), 1, frozenset()) for key in range(len(prompt))
    ]
    found = pickle.loads(pickle.dumps(PackedRequests.pack(requests))).unpack()
    assert tuple(found[-1].tokens) == tuple(prompt)
