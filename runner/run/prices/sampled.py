"""How many tokens a plan's prompts have, from a sample of its blocks.

All queries of a block are shown the same lists, so that the prefix tree of a block's prompts is
its lists, once, and below each of them the queries: it grows with the tree of the queries alone,
which the prompts without demonstrations show for every query there is.  Blocks have in common what
starts every prompt.  So the tree of all prompts is that of the prompts without demonstrations, and

    M × (mean of a block's tree less c × the tree of the queries that were rendered of it)
    + c × (sum over all blocks of the tree of their queries) − what the blocks have in common,

where a block is taken with each draw, M of them in all, and c, about the number of conditions, is
by how much a block's tree grew with that of its queries (a ratio estimate; Cochran, Sampling
Techniques, 3rd ed., chapter 6).  If all is rendered, it is the full count.  Blocks of which the
first demonstrations are the same by chance share them, too, which few blocks rarely show: with
pools that are small beside the number of lists, the estimate is somewhat too high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final

import numpy as np

from safety_receipts.receipts.events.grid import blocks, shows_draws
from safety_receipts.receipts.model.checkpoint import overflows
from safety_receipts.runner.prompts.prefix_tree import PrefixTree
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.counting import PromptCounts

SAMPLED_POINTS: Final = 2_000
"""About how many points are rendered of a plan."""
_ERRORS: Final = 3.0
"""Standard errors to either side that the range of an estimate has."""


@dataclass(frozen=True)
class SampledCounts:
    """Prompt lengths of a plan, estimated."""

    counts: PromptCounts
    """Lengths, with no conditions; the longest prompt is that of the sample."""
    points: int
    """Points that were rendered."""
    fewest: int
    """Tokens that the prefix tree has at least, within three standard errors."""
    most: int
    """The same at most."""


@dataclass(frozen=True)
class _Block:
    """What was rendered of a block with one draw."""

    unique: int
    """Tokens of its tree."""
    asked: int
    """Tokens of the tree of its queries' prompts without demonstrations."""
    shared: int
    """Tokens that its tree has in common with all that came before it."""
    grown: Sequence[tuple[int, int]]
    """For each query after the first, by how much it let the tree grow, and that of the queries."""
    shown: float
    """Tokens of a query's prompts that are not its own, all conditions together, mean."""


def sample_counts(
    renderer: Renderer,
    rendered: Sequence[RenderedPoint],
    watch: Callable[[int, int], None],
    points: int = SAMPLED_POINTS,
) -> SampledCounts:
    """Estimate the prompt lengths of a plan from a few queries of a few blocks.

    Args:
        renderer: Renders the plan.
        rendered: All points of a plan that differs in its draw block alone, in plan order: of the
            conditions without demonstrations they are this plan's, too.
        watch: Told how many points are rendered, and of how many.
        points: About how many to render.

    Raises:
        UsageError: The chat template refuses a conversation.
    """
    sample = _Sample(renderer, rendered)
    drawn = sample.choose(points)
    number = sum(len(queries) for _, _, queries in drawn) * len(sample.conditions)
    found = []
    for draw, _, queries in drawn:
        found.append(sample.take(draw, queries))
        watch(len(sample.lengths), number)
    return _Totals(sample, found).counts()


class _Sample:
    """What is rendered of a plan, in one tree.

    Args:
        renderer: Renders the plan.
        rendered: All points of a plan that differs in its draw block alone.
    """

    def __init__(self, renderer: Renderer, rendered: Sequence[RenderedPoint]) -> None:
        self.renderer, self.plan = renderer, renderer.plan
        plan = self.plan
        self.conditions = [i for i, one in enumerate(plan.conditions) if shows_draws(one)]
        self.tree = PrefixTree()
        self.overflowing = 0
        for point in rendered:
            if not shows_draws(point.condition):
                self._add(tuple(point.tokens), self.tree)
        self.begun = _Counted.of(self.tree, self.overflowing)
        # The baseline comes first; it has every query, and every draw of it is one prompt.
        step = plan.demonstrations.draws
        self.asked = [rendered[i * step].tokens for i in range(len(plan.query_ids))]
        self.blocks = _places(blocks(plan))
        self.lengths: list[int] = []

    @property
    def fitting(self) -> float:
        """Share of the rendered prompts that leave room for a response."""
        over = self.overflowing - self.begun.overflowing
        return 1 - over / len(self.lengths) if self.lengths else 1.0

    def choose(self, points: int) -> list[tuple[int, int, list[int]]]:
        """Return draws, blocks and queries of them to render, spread over the plan.

        Two queries of a block say how its tree grows; where there are few blocks, more are taken.
        """
        if not self.conditions:
            return []
        draws = self.plan.demonstrations.draws
        whole = len(self.blocks) * draws
        rows = max(4, points // len(self.conditions))
        each = min(2, len(self.blocks[0]))
        number = min(whole, max(2, rows // each))
        if number == whole:
            each = max(each, rows // number)
        chosen = []
        for place in range(number):
            block, draw = divmod(place * whole // number, draws)
            queries = self.blocks[block]
            taken = min(each, len(queries))
            chosen.append((draw, block, [queries[i * len(queries) // taken] for i in range(taken)]))
        return chosen

    def take(self, draw: int, queries: Sequence[int]) -> _Block:
        """Render queries of a block in all conditions that depend on the draw."""
        plan, own, asked = self.plan, PrefixTree(), PrefixTree()
        draws, all_queries = plan.demonstrations.draws, len(plan.query_ids)
        prompts = [
            [
                self.renderer.render((condition * all_queries + query) * draws + draw).tokens
                for query in queries
            ]
            for condition in self.conditions  # a list of demonstrations serves all its queries
        ]
        before, grown, shown = self.tree.unique, [], 0
        for place, query in enumerate(queries):
            was = own.unique, asked.unique
            asked.add(self.asked[query][:])
            for prompt in (row[place] for row in prompts):
                self.lengths.append(len(prompt))
                if self._add(prompt, self.tree):
                    own.add(prompt)
                    shown += len(prompt) - len(self.asked[query])
            if place:
                grown.append((own.unique - was[0], asked.unique - was[1]))
        shared = own.unique - (self.tree.unique - before)
        return _Block(own.unique, asked.unique, shared, grown, shown / len(queries))

    def _add(self, tokens: Sequence[int], tree: PrefixTree) -> bool:
        plan = self.plan
        over = overflows(len(tokens), plan.sampling.max_new_tokens, plan.prompt.context_limit)
        self.overflowing += over
        if not over:
            tree.add(tokens)
        return not over


@dataclass(frozen=True)
class _Counted:
    """Counts of a tree at one time."""

    prompts: int
    distinct: int
    total: int
    unique: int
    overflowing: int

    @classmethod
    def of(cls, tree: PrefixTree, overflowing: int) -> _Counted:
        return cls(tree.prompts, tree.distinct, tree.total, tree.unique, overflowing)


class _Totals:
    """All blocks, from those that were taken."""

    def __init__(self, sample: _Sample, taken: Sequence[_Block]) -> None:
        self._sample, self._taken = sample, taken
        plan = sample.plan
        self._whole = len(sample.blocks) * plan.demonstrations.draws
        self._slope, self._slope_error = self._growth()

    def counts(self) -> SampledCounts:
        """Return the counts of all points."""
        sample, plan = self._sample, self._sample.plan
        drawn = len(sample.conditions) * len(plan.query_ids) * plan.demonstrations.draws
        fitting, begun = sample.fitting, sample.begun
        overflowing = begun.overflowing + round((1 - fitting) * drawn)
        seen = max(1, sample.tree.prompts - begun.prompts)
        distinct = (sample.tree.distinct - begun.distinct) / seen
        tokens = max(begun.total + self._shown(), plan.points - overflowing)
        unique, error = self._unique()
        least, most = begun.unique, tokens
        return SampledCounts(
            counts=PromptCounts(
                points=plan.points,
                distinct=begun.distinct + round(distinct * fitting * drawn),
                tokens=tokens,
                unique=_between(least, unique, most),
                longest=sample.tree.longest,
                overflowing=overflowing,
                conditions=(),
            ),
            points=len(sample.lengths),
            fewest=_between(least, unique - _ERRORS * error, most),
            most=_between(least, unique + _ERRORS * error, most),
        )

    def _shown(self) -> int:
        """Return the tokens of all prompts of conditions that depend on the draw."""
        if not self._taken:
            return 0
        sample = self._sample
        shown = float(np.mean([one.shown for one in self._taken])) * len(sample.asked)
        own = sample.fitting * len(sample.conditions) * sum(map(len, sample.asked))
        return round(sample.plan.demonstrations.draws * (shown + own))

    def _growth(self) -> tuple[float, float]:
        """Return by how much a block's tree grows with that of its queries, and its error."""
        sample = self._sample
        pairs = np.array([pair for one in self._taken for pair in one.grown], float).reshape(-1, 2)
        if not len(pairs) or not pairs[:, 1].any():
            return sample.fitting * len(sample.conditions), 0.0
        slope = pairs[:, 0].sum() / pairs[:, 1].sum()
        left = pairs[:, 0] - slope * pairs[:, 1]
        spread = sqrt(float(left @ left) / (len(pairs) * max(1, len(pairs) - 1)))
        return float(slope), spread / float(pairs[:, 1].mean())

    def _unique(self) -> tuple[float, float]:
        """Return the tokens of the tree of all prompts, and the standard error."""
        begun = self._sample.begun.unique
        if not self._taken:
            return begun, 0.0
        number, whole = len(self._taken), self._whole
        lists = np.array([one.unique - self._slope * one.asked for one in self._taken])
        asked = self._asked()
        shared = np.array([one.shared for one in self._taken], float)
        common = shared[0] + (whole - 1) * float(shared[1:].mean() if number > 1 else 0.0)
        unique = begun + whole * float(lists.mean()) + self._slope * asked - common
        more = asked - whole * float(np.mean([one.asked for one in self._taken]))
        spread = float(np.var(lists - shared, ddof=1)) if number > 1 else 0.0
        blocks_error = whole * sqrt((1 - number / whole) * spread / number)
        return unique, sqrt(blocks_error**2 + (more * self._slope_error) ** 2)

    def _asked(self) -> int:
        """Return the sum over blocks and draws of the tree of their queries."""
        asked = 0
        for queries in self._sample.blocks:
            tree = PrefixTree()
            for query in queries:
                tree.add(self._sample.asked[query][:])
            asked += tree.unique
        return asked * self._sample.plan.demonstrations.draws


def _places(numbers: Sequence[int]) -> list[list[int]]:
    """Return the places of each block's queries."""
    found: list[list[int]] = [[] for _ in range(numbers[-1] + 1)]
    for place, number in enumerate(numbers):
        found[number].append(place)
    return found


def _between(least: int, value: float, most: int) -> int:
    return min(max(least, ceil(value - 0.5)), most)
