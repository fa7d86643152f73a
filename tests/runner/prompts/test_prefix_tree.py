"""Prefix trees: counts by hand, and held to a set of all prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.prompts.prefix_tree import (
    PrefixNode,
    PrefixTree,
    PromptTokens,
    in_one_tree,
)


def new_tokens(tree: PrefixTree, prompt: Sequence[int]) -> int:
    """Add a prompt; return how many tokens the tree grew by."""
    before = tree.unique
    tree.add(prompt)
    return tree.unique - before


def counted(prompts: Sequence[Sequence[int]]) -> PrefixTree:
    counter = PrefixTree()
    for prompt in prompts:
        counter.add(prompt)
    return counter


def nodes(node: PrefixNode) -> Iterator[PrefixNode]:
    yield node
    for child in node.children.values():
        yield from nodes(child)


def spelt(node: PrefixNode, above: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Yield the prompts that end in a tree."""
    here = (*above, *node.tokens.tolist())
    for _ in range(node.prompts):
        yield here
    for child in node.children.values():
        yield from spelt(child, here)


def test_an_example_by_hand() -> None:
    counter = PrefixTree()
    # Tokens that are new: all; the last two; none; none; the last; all.
    prompts = [(1, 2, 3, 4), (1, 2, 5, 6), (1, 2, 3, 4), (1, 2), (1, 2, 7), (9,)]
    assert [new_tokens(counter, prompt) for prompt in prompts] == [4, 2, 0, 0, 1, 1]
    assert (counter.prompts, counter.distinct, counter.longest) == (6, 5, 4)
    assert (counter.total, counter.unique) == (18, 8)


def test_a_common_prefix_of_two_conditions_and_many_queries() -> None:
    """Per list of demonstrations: the list once, and each query's own tokens."""
    lists = [list(range(1000)), list(range(500)) + list(range(2000, 2500))]
    prompts = [[*shown, 10_000 + q, 5, 6] for shown in lists for q in range(100)]
    counter = counted(prompts)
    assert counter.total == 200 * 1003
    assert counter.unique == 1000 + 500 + 200 * 3
    # The root, the part in common, the two lists' own, and the queries.
    assert sum(1 for _ in nodes(counter.root)) == 1 + 1 + 2 + 200


def test_nothing_added_and_nothing_in_a_prompt() -> None:
    counter = PrefixTree()
    assert (counter.prompts, counter.total, counter.unique, counter.longest) == (0, 0, 0, 0)
    assert [new_tokens(counter, []), new_tokens(counter, ())] == [0, 0]
    assert (counter.prompts, counter.distinct, counter.unique) == (2, 1, 0)


PROMPTS = st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=20) | st.lists(
    st.lists(st.integers(0, 2**32 - 1), max_size=4), max_size=6
)


@given(prompts=PROMPTS)
def test_any_prompts_count_as_the_set_of_their_prefixes(prompts: list[list[int]]) -> None:
    counter = counted(prompts)
    prefixes = {tuple(p[:length]) for p in prompts for length in range(1, len(p) + 1)}
    assert counter.unique == len(prefixes)
    assert counter.total == sum(map(len, prompts))
    assert counter.prompts == len(prompts)
    assert counter.distinct == len(set(map(tuple, prompts)))
    assert counter.longest == max(map(len, prompts), default=0)
    assert counter.largest == max(chain.from_iterable(prompts), default=0)


@given(prompts=PROMPTS, data=st.data())
def test_the_order_of_prompts_does_not_matter(
    prompts: list[list[int]], data: st.DataObject
) -> None:
    one, other = counted(prompts), counted(data.draw(st.permutations(prompts)))
    assert one.unique == other.unique
    assert sorted(spelt(one.root)) == sorted(spelt(other.root)) == sorted(map(tuple, prompts))


@given(prompts=PROMPTS)
def test_the_tree_holds_each_unique_token_once(prompts: list[list[int]]) -> None:
    """Its memory is that of the unique tokens, whatever the prompts' total."""
    counter = counted(prompts)
    found = list(nodes(counter.root))
    assert sum(len(node.tokens) for node in found) == counter.unique
    owners = {id(owner): owner for node in found for owner in [node.tokens.base, node.tokens]}
    held = sum(o.nbytes for o in owners.values() if o is not None and o.base is None)
    assert held == 4 * counter.unique
    assert len(found) <= 2 * counter.distinct + 1
    for node in found[1:]:
        assert len(node.tokens)
        assert node.prompts or len(node.children) > 1  # else it would be one with the next
        assert all(first == child.tokens[0] for first, child in node.children.items())


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.int32, np.uint16])
def test_arrays_of_any_whole_numbers_are_copied(dtype: type) -> None:
    counter = PrefixTree()
    prompt = np.array([1, 2, 3], dtype)
    counter.add(prompt)
    prompt[:] = 9
    assert list(spelt(counter.root)) == [(1, 2, 3)]
    assert new_tokens(counter, [1, 2, 3]) == 0


@pytest.mark.parametrize(
    "tokens", [[-1], [2**32], [2**70], [1.5], ["a"], [[1, 2]], np.array([True]), np.array(3)]
)
def test_what_is_no_sequence_of_token_ids_is_refused(tokens: Sequence[int]) -> None:
    counter = PrefixTree()
    with pytest.raises(ValueError, match="token ids should"):
        counter.add(tokens)
    assert (counter.prompts, counter.unique) == (0, 0)


@given(prompts=PROMPTS)
def test_a_prompt_reads_as_it_was_added_however_the_tree_grows(prompts: list[list[int]]) -> None:
    tree = PrefixTree()
    held = [tree.add(prompt) for prompt in prompts]
    for prompt, one in zip(prompts, held, strict=True):
        assert (len(one), list(one), one[:2]) == (len(prompt), prompt, tuple(prompt[:2]))
        assert not prompt or one[-1] == prompt[-1]


def test_prompts_of_one_tree_are_taken_as_they_are_and_others_are_brought_together() -> None:
    tree = PrefixTree()
    held = [tree.add(prompt) for prompt in ([1, 2, 3], [1, 2, 4])]
    assert in_one_tree(held) == held
    mixed = in_one_tree([*held, (1, 2)])
    assert [list(prompt) for prompt in mixed] == [[1, 2, 3], [1, 2, 4], [1, 2]]
    assert len({id(prompt.tree) for prompt in mixed}) == 1
    assert mixed[0].tree is not tree
    assert in_one_tree([]) == []


def laid_out(node: PrefixNode) -> Iterator[tuple[list[int], int, int]]:
    yield node.tokens.tolist(), node.prompts, len(node.children)
    for child in node.children.values():
        yield from laid_out(child)


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=12), st.randoms())
def test_a_tree_in_order_is_what_it_would_be_had_prompts_come_so(
    prompts: list[list[int]], shuffle: Random
) -> None:
    order = list(range(len(prompts)))
    shuffle.shuffle(order)
    tree = PrefixTree()
    added = {place: tree.add(prompts[place]) for place in order}
    tree.order(added[place] for place in range(len(prompts)))
    assert list(laid_out(tree.root)) == list(laid_out(counted(prompts).root))
    assert [tuple(added[place]) for place in range(len(prompts))] == list(map(tuple, prompts))


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=4), max_size=4))
def test_tokens_in_parts_are_those_of_all_parts(parts: list[list[int]]) -> None:
    tokens = PromptTokens([np.array(part, np.uint32) for part in parts])
    whole = tuple(token for part in parts for token in part)
    assert (tuple(tokens), len(tokens), tokens[:2]) == (whole, len(whole), whole[:2])
    assert tokens == whole
    assert tokens == PromptTokens([np.array(whole, np.uint32)])
    assert tokens != (*whole, 1)
    assert hash(tokens) == hash(whole)
    assert [tokens[place] for place in range(len(whole))] == list(whole)
    assert tuple(counted([whole, tokens]).add(tokens)) == whole
