"""A pilot: some points of a plan, spread over it, to see whether it works and how long it takes.

Nothing is recorded, nothing can be sealed, and no outcome is told.  Demonstrations and sampling
noise come from a seed of the pilot's own, so that it answers none of the sealed event's
points, but for greedy answers to prompts without demonstrations, which are what they are.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from safety_receipts.receipts.canonical import Sha256, tagged_digest
from safety_receipts.receipts.events.grid import distinct_lists
from safety_receipts.receipts.model.demonstrations import PlannedCondition
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.prompts.prefix_tree import in_one_tree
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import RunStack, committed, run_of
from safety_receipts.runner.run.journal import JournalEntry
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.served import LongestAsked

_SEED_TAG = "safety-receipts/pilot/1"
_MESSAGES = 3
_FILLS = 4
"""So many times as many points as a server is asked at a time show its pace."""


@dataclass(frozen=True)
class Pilot:
    """How a pilot went."""

    points: int
    """Points that were run."""
    outcomes: Mapping[Outcome, int]
    """What became of them."""
    reasons: Mapping[str, int]
    """Why points failed or were unscored."""
    messages: tuple[str, ...]
    """What the first of them said."""
    tokens: int
    """Tokens of prompts and responses."""
    seconds: float
    """Wall clock, loading left out."""
    at_limit: int
    """Responses that were cut at the limit of new tokens."""
    generated: int
    """Responses, cut or not."""
    enough: int
    """Fewest points from which the time of all points can be estimated."""
    tree_part: float
    """About what part of all points' tokens the tree of their prompts has, if the pilot's tree had
    as much of its own: at most 1, as few points share few beginnings."""

    def whole_run_seconds(self, points: int) -> float | None:
        """Return what a plan would take at this pace; None: too few points were run to say.

        Args:
            points: Points of the plan.
        """
        if self.points < min(self.enough, points):
            return None
        return self.seconds / self.points * points

    def whole_run_seconds_shared(self, points: int) -> float | None:
        """Return what a plan would take if computing prompts were all that takes time.

        With :meth:`whole_run_seconds`, which is what it would take if computing responses were all,
        it gives a range: responses grow with the points, prompts with their prefix tree.

        Args:
            points: Points of the plan.
        """
        whole = self.whole_run_seconds(points)
        return None if whole is None else whole * self.tree_part

    @property
    def mostly_cut(self) -> bool:
        """Whether more than half of the responses were cut at the limit."""
        return 2 * self.at_limit > self.generated


def run_pilot(
    resolved: ResolvedPlan,
    loaded: LoadedStack[UnitStack],
    limit: int,
    watch: Callable[[int, int], None] = lambda _, __: None,
) -> Pilot:
    """Run at most ``limit`` points, evenly spread over the plan.

    Args:
        resolved: The plan.
        loaded: What it is run with.
        limit: Most points to run.
        watch: Told how many points are finished, and of how many.
    """
    plan = resolved.predicate
    number = min(limit, plan.points)
    chosen = [place * plan.points // number for place in range(number)]
    seed = Sha256(tagged_digest(_SEED_TAG, digest_of(plan)).hex())
    run = run_of(resolved, loaded.stack, secrets.token_bytes(32), seed)
    start = time.perf_counter()
    renderer = Renderer(plan, resolved.artifacts.texts, seed)
    renderer.check_template()
    points = render_points(renderer, chosen)
    longest = max(len(point.tokens) for point in points)
    if isinstance(loaded.stack, RunStack):
        queries = resolved.artifacts.texts.queries
        asked = LongestAsked.of(longest, plan.sampling.max_new_tokens, queries)
        loaded.stack.servers.preflight(asked)
    entries: list[JournalEntry] = []
    watch(0, number)
    for unit in run.finished(points):
        entries += unit
        watch(len(entries), number)
    seconds = time.perf_counter() - start
    troubled = [entry for entry in entries if entry.point.reason is not None]
    messages = dict.fromkeys(entry.record.error for entry in troubled if entry.record.error)
    return Pilot(
        points=number,
        outcomes=Counter(entry.point.outcome for entry in entries),
        reasons=Counter(str(entry.point.reason) for entry in troubled),
        messages=tuple(messages)[:_MESSAGES],
        tokens=committed(entries).tokens,
        seconds=seconds,
        at_limit=sum(entry.point.finish is Finish.LENGTH for entry in entries),
        generated=sum(entry.point.finish in (Finish.LENGTH, Finish.STOP) for entry in entries),
        enough=_enough(plan),
        tree_part=tree_part(plan, points),
    )


def tree_part(plan: PlanPredicate, points: Sequence[RenderedPoint]) -> float:
    """Return how much less of a tree all points have than as many as a pilot's would, at most 1.

    All queries of a block are shown one list of demonstrations, which their tree has once for each
    condition.  What a demonstration takes, and what a prompt has besides, is taken from the
    pilot's prompts; beginnings that conditions share are not counted out, so that the tree is
    rather smaller.

    Args:
        plan: The plan.
        points: Points of it, at least one, whose prompts stand in one tree.
    """
    [prompt, *_] = in_one_tree([point.tokens for point in points])
    first = list(prompt.tree.root.children.values())
    begun = len(first[0].tokens) if len(first) == 1 else 0  # what every prompt begins with
    shortest = min(len(point.tokens) for point in points)
    shown = sum(_shown(point.condition) for point in points)
    each = sum(len(point.tokens) - shortest for point in points) / shown if shown else 0.0
    listed = distinct_lists(plan) * each * sum(map(_shown, plan.conditions))
    whole = begun + plan.points * (shortest - begun) + listed
    return min(1.0, (whole / plan.points) / (prompt.tree.unique / len(points)))


def _shown(condition: PlannedCondition) -> int:
    return condition.n_harmful + condition.n_benign + condition.context.n_refusal


def _enough(plan: PlanPredicate) -> int:
    """Return how many points tell how long all take.

    A server computes as many at a time as it is asked: fewer never fill it.
    """
    servers = (plan.server, plan.judge_server, plan.second_judge_server)
    return _FILLS * max((one.concurrency for one in servers if one is not None), default=0)
