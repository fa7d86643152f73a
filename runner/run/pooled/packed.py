"""Requests on their way to a worker: their prefix tree's tokens once, whatever its depth.

The tree is the same again there, children in the same order, so that a worker cuts the batches
that its driver would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.prompts.prefix_tree import (
    PrefixNode,
    PrefixTree,
    TokenArray,
    TreePrompt,
    in_one_tree,
)


@dataclass(frozen=True, slots=True)
class PackedRequests:
    """Requests whose prompts stand in one prefix tree."""

    tokens: TokenArray
    """Token ids of all nodes, one after the other."""
    lengths: NDArray[np.int64]
    """How many of them each node has; the root comes first, and each node after its parent."""
    parents: NDArray[np.int64]
    """Which node each hangs below; −1: it is the root."""
    ends: NDArray[np.int64]
    """For each request the node that its prompt ends with."""
    requests: tuple[Request, ...]
    """The requests, without their prompts."""

    @classmethod
    def pack(cls, requests: Sequence[Request]) -> PackedRequests:
        """Return requests as they travel."""
        prompts = in_one_tree([request.tokens for request in requests])
        nodes = _nodes(prompts[0].tree) if prompts else [PrefixNode(np.empty(0, np.uint32))]
        number = {id(node): place for place, node in enumerate(nodes)}
        return cls(
            np.concatenate([node.tokens for node in nodes]),
            np.array([len(node.tokens) for node in nodes], np.int64),
            np.array(
                [-1 if node.parent is None else number[id(node.parent)] for node in nodes], np.int64
            ),
            np.array([number[id(prompt.node)] for prompt in prompts], np.int64),
            tuple(replace(request, tokens=()) for request in requests),
        )

    def unpack(self) -> list[Request]:
        """Return the requests again."""
        tree = PrefixTree()
        nodes: list[PrefixNode] = []
        depths: list[int] = []
        stops = np.cumsum(self.lengths)
        for stop, length, parent in zip(
            stops.tolist(), self.lengths.tolist(), self.parents.tolist(), strict=True
        ):
            tokens = self.tokens[stop - length : stop]
            if parent < 0:
                nodes.append(tree.root)
                depths.append(0)
                continue
            above = nodes[parent]
            node = PrefixNode(tokens, above)
            above.children[int(tokens[0])] = node
            nodes.append(node)
            depths.append(depths[parent] + length)
        found = []
        for request, end in zip(self.requests, self.ends.tolist(), strict=True):
            nodes[end].prompts += 1
            found.append(replace(request, tokens=TreePrompt(tree, nodes[end], depths[end])))
        return found


def _nodes(tree: PrefixTree) -> list[PrefixNode]:
    """Return the nodes of a tree, each after the one above it, children in their order."""
    found = []
    left = [tree.root]
    while left:
        node = left.pop()
        found.append(node)
        left.extend(reversed(node.children.values()))
    return found
