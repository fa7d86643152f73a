"""The grid: which conditions experiments come to, each once, with ids that say what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.grid import BASELINE, condition_id
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind
from safety_receipts.runner.plan.conditions import Grid, expand
from safety_receipts.runner.plan.file import load_plan_file

EXAMPLE = Path(__file__).parents[3] / "runner" / "presets" / "paper.yaml"


@pytest.fixture
def grid_of(tmp_path: Path) -> Callable[..., Grid]:
    """Expand the example plan with other experiments."""
    text = EXAMPLE.read_text("utf-8").replace(
        "demonstrations:\n",
        "demonstrations:\n  refusal: {corpus: pairs, path: refusals.jsonl}\n",
    )
    head, _, rest = text.partition("experiments:")
    tail = rest[rest.index("effect_margin:") :]

    def make(*experiments: str, primary: str = "joint") -> Grid:
        path = tmp_path / "plan.yaml"
        listed = "".join(f"  - {experiment}\n" for experiment in experiments)
        path.write_text(
            f"{head}experiments:\n{listed}{tail}".replace("primary: joint", f"primary: {primary}")
        )
        return expand(load_plan_file(path)[0])

    return make


def ids(grid: Grid) -> list[str]:
    return [condition.id for condition in grid.conditions]


def test_the_papers_sweep_has_31_conditions() -> None:
    grid = expand(load_plan_file(EXAMPLE)[0])
    sweep = grid.experiments[0]
    assert sweep.kind is ExperimentKind.SWEEP
    assert len(sweep.conditions) == 30
    assert BASELINE not in sweep.conditions
    # 1,404 queries × 2 draws × 31 conditions = 87,048 points.
    assert 1404 * 2 * len({BASELINE, *sweep.conditions}) == 87_048


def test_every_condition_of_the_example_is_there_once_and_the_baseline_first() -> None:
    grid = expand(load_plan_file(EXAMPLE)[0])
    assert ids(grid)[0] == BASELINE
    assert len(set(ids(grid))) == len(grid.conditions)
    asked = {id_ for experiment in grid.experiments for id_ in experiment.conditions}
    assert asked | {BASELINE} == set(ids(grid))
    for experiment in grid.experiments:
        places = [ids(grid).index(id_) for id_ in experiment.conditions]
        assert places == sorted(places)


def test_what_two_experiments_ask_for_is_run_once(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of(
        "sweep: {totals: [4], harmful_fractions: [0, 0.5, 1]}",
        "fixed_harmful: {harmful: [0, 2], benign: [0, 2], orderings: [suffix, prefix]}",
        "orderings: {harmful: 2, benign: 2, rules: [random, suffix]}",
    )
    assert ids(grid) == [
        "h0-b0",
        "h0-b4",
        "h2-b2-suffix",
        "h4-b0",
        "h0-b2",
        "h2-b0",
        "h2-b2-prefix",
        "h2-b2-random",
    ]
    assert [experiment.conditions for experiment in grid.experiments] == [
        ("h0-b4", "h2-b2-suffix", "h4-b0"),
        ("h0-b0", "h2-b2-suffix", "h0-b2", "h2-b0", "h2-b2-prefix"),
        ("h2-b2-suffix", "h2-b2-random"),
    ]


def test_an_order_is_named_only_where_two_kinds_are_shown(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of("fixed_harmful: {harmful: [0, 3], benign: [0, 2], orderings: [interleave]}")
    by_id = {condition.id: condition for condition in grid.conditions}
    assert by_id[condition_id(3, 0)].ordering is None
    assert by_id[condition_id(3, 0)].labels == "hhh"
    assert by_id[condition_id(0, 2)].labels == "bb"
    [mixed] = [condition for condition in grid.conditions if condition.ordering]
    assert (mixed.id, mixed.labels) == ("h3-b2-interleave", "bhbhh")


def test_random_orders_are_not_labels_of_the_condition(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of("orderings: {harmful: 2, benign: 2, rules: [random]}", primary="ordering")
    assert grid.conditions[1].labels is None


def test_prefixes_are_numbered_over_the_whole_plan(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of(
        "sweep: {totals: [4], harmful_fractions: [0, 1]}",
        'response_prefix: {harmful: 2, benign: 0, prefixes: ["Answer:", "Sure"]}',
        'response_prefix: {harmful: 0, benign: 2, prefixes: ["Sure", "Well,"]}',
    )
    assert grid.response_prefixes == ("Answer:", "Sure", "Well,")
    assert ids(grid)[3:] == ["h2-b0-pre:1", "h2-b0-pre:2", "h0-b2-pre:2", "h0-b2-pre:3"]


def test_a_source_is_named_where_it_is_not_the_default(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of(
        "sweep: {totals: [2], harmful_fractions: [0]}",
        "benign_sources: {harmful: 1, benign: [0, 2], sources: [ultrachat, filler]}",
    )
    assert ids(grid) == [
        "h0-b0",
        "h0-b2",
        "h1-b0",
        "h1-b2-suffix",
        "h1-b2-suffix-src:filler",
    ]
    assert [condition.benign_source for condition in grid.conditions] == [
        None,
        "ultrachat",
        None,
        "ultrachat",
        "filler",
    ]


def test_every_context_has_one_shape_and_turns_come_first(grid_of: Callable[..., Grid]) -> None:
    grid = grid_of(
        "sweep: {totals: [2], harmful_fractions: [1]}",
        "contexts: {harmful: 1, benign: 1, forms: [policy, conversation, turns], gap_turns: 3, "
        "n_refusal: 2}",
    )
    assert [context.form for context in grid.contexts] == [
        ContextForm.TURNS,
        ContextForm.POLICY,
        ContextForm.CONVERSATION,
    ]
    _, policy, conversation = grid.contexts
    assert (policy.n_refusal, policy.gap_turns, policy.gap_source) == (2, 0, None)
    assert (conversation.n_refusal, conversation.gap_turns) == (0, 3)
    assert conversation.gap_source == "ultrachat"
    assert ids(grid)[2:] == [
        "h1-b1-suffix-ctx:policy",
        "h1-b1-suffix-ctx:conversation",
        "h1-b1-suffix",
    ]
    assert grid.conditions[2].labels == "rrbh"


def test_one_form_in_two_shapes_is_refused(grid_of: Callable[..., Grid]) -> None:
    with pytest.raises(MalformedError, match="one shape in a plan"):
        grid_of(
            "sweep: {totals: [2], harmful_fractions: [1]}",
            "contexts: {harmful: 1, benign: 1, forms: [conversation], gap_turns: 3}",
            "contexts: {harmful: 1, benign: 1, forms: [turns, conversation], gap_turns: 2}",
        )
