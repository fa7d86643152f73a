"""The prefix tree of prompts: what they begin with alike stands in it once.

Prompts that share demonstrations share a prefix.  In their prefix tree (a trie over token
ids, path-compressed: a radix tree) each token stands once for every distinct prefix that ends
in it: an engine that shares prefixes computes the tree's tokens, one that does not computes
them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

MAX_TOKEN_ID = 2**32 - 1

TokenArray = NDArray[np.uint32]
_NO_TOKENS: TokenArray = np.empty(0, np.uint32)


@dataclass(slots=True, eq=False)
class PrefixNode:
    """A run of tokens that no prompt leaves before its end."""

    tokens: TokenArray
    """Token ids on the way here from the node above, uint32, shape (n,); none at the root."""
    parent: PrefixNode | None = None
    """The node above; None at the root."""
    children: dict[int, PrefixNode] = field(default_factory=dict)
    """What follows, by its first token, in order of arrival."""
    prompts: int = 0
    """Prompts that end here."""

    def spelt(self) -> TokenArray:
        """Return all tokens from the root to the end of this node, uint32, shape (n,)."""
        runs = []
        node: PrefixNode | None = self
        while node is not None:
            runs.append(node.tokens)
            node = node.parent
        return np.concatenate(runs[::-1])


class PromptTokens(Sequence[int]):
    """The token ids of a prompt, in the parts that it was read in; compares like a tuple.

    Args:
        parts: Token ids, uint32, shape (n,) each, to which nobody writes any more; the same array
            wherever a part recurs.
        written: For each part its ids in decimals
            (:func:`runner.prompts.prompt_reader.written_ids`); none: they are not known.
    """

    __slots__ = ("_array", "_length", "parts", "written")

    def __init__(self, parts: Sequence[TokenArray], written: Sequence[bytes] = ()) -> None:
        self.parts = parts
        self.written = written
        self._length = sum(map(len, parts))
        self._array: TokenArray | None = None

    @property
    def array(self) -> TokenArray:
        """All of them, uint32, shape (n,); joined when first asked for."""
        if self._array is None:
            self._array = np.concatenate([_NO_TOKENS, *self.parts])
        return self._array

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[int, ...]: ...
    def __getitem__(self, place: int | slice) -> int | tuple[int, ...]:
        found = self.array[place]
        return tuple(found.tolist()) if isinstance(place, slice) else int(found)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PromptTokens):
            return np.array_equal(self.array, other.array)
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        # Not ``copy=None`` handed on: NumPy 1 knows no such mode.
        found = np.asarray(self.array, dtype=dtype)
        return found.copy() if copy else found


class TreePrompt(Sequence[int]):
    """The token ids of a prompt in a :class:`PrefixTree`, spelt out only when read.

    Args:
        tree: The tree.
        node: Where the prompt ends; it stays so while the tree grows.
        length: Number of tokens.
    """

    __slots__ = ("_length", "node", "tree")

    def __init__(self, tree: PrefixTree, node: PrefixNode, length: int) -> None:
        self.tree = tree
        self.node = node
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return iter(self.node.spelt().tolist())

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[int, ...]: ...
    def __getitem__(self, place: int | slice) -> int | tuple[int, ...]:
        found = self.node.spelt()[place]
        return tuple(found.tolist()) if isinstance(place, slice) else int(found)


class PrefixTree:
    """The prefix tree of the prompts added so far, and its counts.

    It holds every unique token once, in 4 bytes, and at most two nodes a distinct prompt.
    Adding a prompt costs one comparison of arrays for each node on its path.
    """

    def __init__(self) -> None:
        self.root = PrefixNode(np.empty(0, np.uint32))
        """The empty prefix."""
        self.prompts = 0
        """Prompts added."""
        self.distinct = 0
        """Different prompts among them."""
        self.total = 0
        """Tokens of all prompts."""
        self.unique = 0
        """Tokens of the tree: the number of distinct prefixes, the empty one left out."""
        self.longest = 0
        """Tokens of the longest prompt."""
        self.largest = 0
        """Largest token id of all prompts."""

    def add(self, tokens: Sequence[int] | NDArray[Any]) -> TreePrompt:
        """Add a prompt; return it as the tree holds it.

        Args:
            tokens: Its token ids, 0 to 2^32 − 1; an array is copied, as far as it is new.

        Raises:
            ValueError: Not a flat sequence of token ids.
        """
        prompt = _as_tokens(tokens)
        node, depth = self._descend(prompt)
        rest = prompt[depth:]
        if len(rest):
            child = PrefixNode(rest.copy(), node)  # a copy: a view would hold the whole prompt
            node.children[int(rest[0])] = child
            node = child
            self.largest = max(self.largest, int(rest.max()))
        self.prompts += 1
        self.distinct += node.prompts == 0
        self.total += len(prompt)
        self.unique += len(rest)
        self.longest = max(self.longest, len(prompt))
        node.prompts += 1
        return TreePrompt(self, node, len(prompt))

    def order(self, prompts: Iterable[TreePrompt]) -> None:
        """Order the tree as if its prompts had been added in another order.

        Args:
            prompts: All prompts that were added, in that order.
        """
        followers: dict[int, list[PrefixNode]] = {}
        seen: set[int] = set()
        for prompt in prompts:
            node = prompt.node
            while node.parent is not None and id(node) not in seen:
                seen.add(id(node))
                followers.setdefault(id(node.parent), []).append(node)
                node = node.parent
        left = [self.root]
        while left:
            node = left.pop()
            node.children = {int(each.tokens[0]): each for each in followers.get(id(node), ())}
            left.extend(node.children.values())

    def _descend(self, prompt: TokenArray) -> tuple[PrefixNode, int]:
        """Return the node where a prompt leaves the tree, split off if need be, and its depth."""
        node, depth = self.root, 0
        while depth < len(prompt):
            child = node.children.get(int(prompt[depth]))
            if child is None:
                break
            shared = _shared(child.tokens, prompt[depth:])
            if shared < len(child.tokens):
                child = _split(node, child, shared)
            node, depth = child, depth + shared
        return node, depth


def in_one_tree(prompts: Sequence[Sequence[int]]) -> list[TreePrompt]:
    """Return prompts as one tree holds them.

    Args:
        prompts: Their token ids.  If all come from one tree already, that one serves; else
            they are added to a new one.
    """
    held = [prompt for prompt in prompts if isinstance(prompt, TreePrompt)]
    if len(held) == len(prompts) and len({id(prompt.tree) for prompt in held}) <= 1:
        return held
    tree = PrefixTree()
    return [
        tree.add(prompt.node.spelt() if isinstance(prompt, TreePrompt) else prompt)
        for prompt in prompts
    ]


def _as_tokens(tokens: Sequence[int] | NDArray[Any]) -> TokenArray:
    given = np.asarray(tokens)
    if given.shape == (0,):
        return np.empty(0, np.uint32)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError("token ids should be a flat sequence of whole numbers")
    if given.dtype != np.uint32 and (given.min() < 0 or given.max() > MAX_TOKEN_ID):
        raise ValueError(f"token ids should lie between 0 and {MAX_TOKEN_ID}")
    return given.astype(np.uint32, copy=False)


def _shared(one: TokenArray, other: TokenArray) -> int:
    """Return the length of the common prefix."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    first = int(differs.argmax())
    return first if differs[first] else length


def _split(node: PrefixNode, child: PrefixNode, length: int) -> PrefixNode:
    """Cut a child of ``node`` after ``length`` tokens; return the new node between."""
    upper = PrefixNode(child.tokens[:length], node)  # two views, which together hold the array
    child.tokens = child.tokens[length:]
    child.parent = upper
    upper.children[int(child.tokens[0])] = child
    node.children[int(upper.tokens[0])] = upper
    return upper
