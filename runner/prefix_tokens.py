"""How many tokens prompts have when what they begin with alike is counted once.

Prompts that share demonstrations share a prefix.  In their prefix tree (a trie over token
ids) each token stands once for every distinct prefix that ends in it: an engine that shares
prefixes computes the tree's tokens, one that does not computes them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_TOKEN_ID = 2**32 - 1

Tokens = NDArray[np.uint32]


@dataclass(slots=True)
class PrefixNode:
    """A run of tokens that no prompt leaves before its end."""

    tokens: Tokens
    """Token ids on the way here from the node above, uint32, shape (n,); none at the root."""
    children: dict[int, PrefixNode] = field(default_factory=dict)
    """What follows, by its first token, in order of arrival."""
    prompts: int = 0
    """Prompts that end here."""


class PrefixCounter:
    """The prefix tree of the prompts added so far, path-compressed, and its counts.

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

    def add(self, tokens: Sequence[int] | NDArray[Any]) -> int:
        """Add a prompt.

        Args:
            tokens: Its token ids, 0 to 2^32 − 1; an array is copied, as far as it is new.

        Returns:
            How many tokens, at its end, follow a prefix that no earlier prompt has.

        Raises:
            ValueError: Not a flat sequence of token ids.
        """
        prompt = _as_tokens(tokens)
        node, depth = self._descend(prompt)
        rest = prompt[depth:]
        if len(rest):
            child = PrefixNode(rest.copy())  # a copy: a view would hold the whole prompt
            node.children[int(rest[0])] = child
            node = child
        self.prompts += 1
        self.distinct += node.prompts == 0
        self.total += len(prompt)
        self.unique += len(rest)
        self.longest = max(self.longest, len(prompt))
        node.prompts += 1
        return len(rest)

    def _descend(self, prompt: Tokens) -> tuple[PrefixNode, int]:
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


def _as_tokens(tokens: Sequence[int] | NDArray[Any]) -> Tokens:
    given = np.asarray(tokens)
    if given.shape == (0,):
        return np.empty(0, np.uint32)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError("token ids should be a flat sequence of whole numbers")
    if given.dtype != np.uint32 and (given.min() < 0 or given.max() > MAX_TOKEN_ID):
        raise ValueError(f"token ids should lie between 0 and {MAX_TOKEN_ID}")
    return given.astype(np.uint32, copy=False)


def _shared(one: Tokens, other: Tokens) -> int:
    """Return the length of the common prefix."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    first = int(differs.argmax())
    return first if differs[first] else length


def _split(node: PrefixNode, child: PrefixNode, length: int) -> PrefixNode:
    """Cut a child of ``node`` after ``length`` tokens; return the new node between."""
    upper = PrefixNode(child.tokens[:length])  # two views, which together hold the array
    child.tokens = child.tokens[length:]
    upper.children[int(child.tokens[0])] = child
    node.children[int(upper.tokens[0])] = upper
    return upper
