"""What a sample of blocks says of all prompts of a plan, beside the full count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from studies import write_jsonl, write_study

from safety_receipts.runner.engines.device_speed import Throughput
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, renderer_of
from safety_receipts.runner.run.counting import PromptCounts, render_plan
from safety_receipts.runner.run.prices.dry_run import Alternatives, Pricing, dry_run
from safety_receipts.runner.run.prices.sampled import SampledCounts, sample_counts
from safety_receipts.runner.view.plan import plan_document
from safety_receipts.runner.view.plan_tables import cost_table

QUERIES = 40
JOINT = "fixed_harmful: {harmful: [4], benign: [0, 4]}"
SHAPES = {
    "nested": ["fixed_harmful: {harmful: [0, 2, 4], benign: [0, 4, 8]}"],
    "orders": [
        JOINT,
        "orderings: {harmful: 4, benign: 4, rules: [prefix, suffix, interleave, random]}",
    ],
    "sources": [JOINT, "benign_sources: {harmful: 4, benign: [0, 8], sources: [first, second]}"],
    "contexts": [
        JOINT,
        "contexts: {harmful: 4, benign: 4, forms: [turns, conversation, memory, policy]}",
    ],
}
BOUND = 0.06
"""Share of the true number of tokens that an estimate is off by at most."""
Block = int | Literal["all"]
BLOCKS: tuple[Block, ...] = (1, 5, "all")


def wide_study(
    folder: Path, experiments: Sequence[str], more: str = "", context: int = 4096
) -> ResolvedPlan:
    """Write and resolve a study whose pools are large beside its lists; texts of all lengths."""
    asked = {"queries": QUERIES - 8, "controls": 8}
    plan = write_study(folder, **asked, experiments=experiments, more=more, context=context)
    for name in ("harmful", "benign", "other"):
        rows = (
            {
                "id": f"{name}{i}",
                "request": f"{name} number {i}" + " and so on" * (i % 7),
                "response": f"Answer {i} to that" + " at some length" * (i % 11),
            }
            for i in range(700)
        )
        write_jsonl(folder / f"{name}.jsonl", rows)
    return resolve_plan(plan)


def with_block(resolved: ResolvedPlan, block: Block) -> ResolvedPlan:
    shown = resolved.predicate.demonstrations.model_copy(update={"draw_block": block})
    plan = resolved.predicate.model_copy(update={"demonstrations": shown})
    return replace(resolved, predicate=plan)


def quiet(_: int, __: int) -> None:
    pass


def both(
    resolved: ResolvedPlan, block: Block, points: int, watch: Callable[[int, int], None] = quiet
) -> tuple[SampledCounts, PromptCounts]:
    """Return the estimate for a draw block, from a plan with another one, and the full count."""
    other = with_block(resolved, block)
    known = render_plan(renderer_of(with_block(resolved, 3), None), quiet).points
    found = sample_counts(renderer_of(other, None), known, watch, points)
    return found, render_plan(renderer_of(other, None), quiet).counts


@pytest.mark.parametrize("shape", SHAPES)
def test_the_estimate_is_near_the_full_count(tmp_path: Path, shape: str) -> None:
    resolved = wide_study(tmp_path / "study", SHAPES[shape])
    for block in BLOCKS:
        found, true = both(resolved, block, resolved.predicate.points // 5)
        assert 0 < found.points < 0.3 * true.points
        assert found.counts.unique == pytest.approx(true.unique, rel=BOUND), block
        assert found.fewest <= true.unique <= found.most, block
        assert found.counts.tokens == pytest.approx(true.tokens, rel=BOUND), block
        assert found.counts.distinct == pytest.approx(true.distinct, rel=BOUND), block
        assert 0.85 * true.longest <= found.counts.longest <= true.longest, block
        assert (found.counts.points, found.counts.overflowing) == (true.points, 0)
        assert found.counts.conditions == ()


def test_a_sample_of_all_is_the_full_count(tmp_path: Path) -> None:
    resolved = wide_study(tmp_path / "study", SHAPES["nested"])
    for block in (1, "all"):
        found, true = both(resolved, block, resolved.predicate.points)
        assert replace(found.counts, conditions=true.conditions) == true
        assert (found.fewest, found.most) == (true.unique, true.unique)


def test_it_is_told_how_far_a_sample_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    resolved = wide_study(tmp_path / "study", SHAPES["sources"])
    found, _ = both(resolved, 5, 60, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (found.points, found.points)


def test_prompts_that_are_too_long_are_foreseen_and_left_out(tmp_path: Path) -> None:
    more = "context_overflow: fail_point\n"
    resolved = wide_study(tmp_path / "study", SHAPES["nested"], more, context=1100)
    for block in (1, 5):
        found, true = both(resolved, block, resolved.predicate.points // 2)
        assert true.overflowing > 0.1 * true.points
        assert found.counts.overflowing == pytest.approx(true.overflowing, rel=0.25)
        assert found.counts.tokens == pytest.approx(true.tokens, rel=2 * BOUND)
        assert found.counts.unique == pytest.approx(true.unique, rel=2 * BOUND)
        assert found.counts.longest <= true.longest


def test_large_plans_have_their_alternatives_from_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = wide_study(tmp_path / "study", SHAPES["sources"])
    pricing = Pricing(Throughput(1e12, 1e10, "stated"), memory=2**30)
    rendered = render_plan(renderer_of(resolved, None), quiet)
    counted = dry_run(resolved, rendered, pricing, Alternatives.FITTING, quiet)
    assert [one.draw_block for one in counted.alternatives] == [20, "all"]
    assert all(one.sample is None for one in (counted.chosen, *counted.alternatives))
    monkeypatch.setattr("safety_receipts.runner.run.prices.dry_run.FEW_POINTS", 10)
    assert dry_run(resolved, rendered, pricing, Alternatives.COUNTED, quiet) == counted
    assert dry_run(resolved, rendered, pricing, Alternatives.NONE, quiet).alternatives == ()

    found = dry_run(resolved, rendered, pricing, Alternatives.FITTING, quiet)
    assert found.chosen == counted.chosen
    for one, true in zip(found.alternatives, counted.alternatives, strict=True):
        assert one.sample is not None
        assert one.sample.counts == one.counts
        assert (one.outlook, one.distinct_lists) == (true.outlook, true.distinct_lists)
        bound, batched = one.estimate.seconds_shared.total, one.estimate.seconds_batched.total
        assert bound <= true.estimate.seconds_shared.total * (1 + BOUND)
        assert batched >= true.estimate.seconds_batched.total * (1 - BOUND)
    table = cost_table(plan_document(resolved, found, digest_of(resolved.predicate)))
    chosen, *others = (row.cells for row in table.rows)
    assert "about" not in " ".join(chosen)
    assert all(cell.startswith("about ") for row in others for cell in row[2:4])
