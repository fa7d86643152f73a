"""The counting of decode steps: known sums, and what a step must not do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from step_models.bounds import Measured, bound_lines
from step_models.counting import DEVICE, Counted, StepCounts
from step_models.measure import (
    FIRST,
    STEPS,
    StepCost,
    StepMeasure,
    StepShape,
    extended,
    measure_ours,
    measure_plain,
    prompts,
)
from step_models.rows import BatchRows

SHAPE = StepShape(rows=8, prefix=900)


def counted(work: Any) -> StepCounts:
    world = Counted()
    with world():
        tensors = [torch.empty(4, 8, device=DEVICE), torch.tensor([1, 2], device=DEVICE)]
        world.counts = StepCounts()
        work(*tensors)
        return world.counts


def test_operators_and_bytes_are_those_of_kernels() -> None:
    def work(x: torch.Tensor, _: torch.Tensor) -> None:
        y = (x @ x.t()) + 1.0  # a product and a sum; the transposition is a view
        y[:, 1:3].copy_(y[:, :2])

    found = counted(work)
    assert (found.operators, found.waits, found.uploads) == (3, 0, 0)
    product, total, copied = 4 * (32 + 32 + 16), 4 * 32, 4 * 16
    # The transposition is the same memory under another shape: it is read as a factor of its own.
    assert found.bytes == product + total + copied


def test_picking_reads_what_it_returns_and_placing_writes_what_it_is_given() -> None:
    def work(x: torch.Tensor, index: torch.Tensor) -> None:
        x[index] = x.index_select(0, index)

    found = counted(work)
    assert found.by_operator["aten::index_select"] == (1, 2 * 2 * 8 * 4 + 2 * 8)
    assert found.by_operator["aten::index_put_"] == (1, 2 * 2 * 8 * 4 + 2 * 8)


def test_reads_by_the_host_are_waits_and_integers_are_known() -> None:
    seen: list[Any] = []

    def work(x: torch.Tensor, index: torch.Tensor) -> None:
        seen.append((index + 1).tolist())
        seen.append(bool((index > 1).any()))
        float(x.sum())

    assert counted(work).waits == 3
    assert seen == [[2, 3], True]


def test_what_nobody_knows_is_true_and_what_follows_from_it_is_known() -> None:
    seen: list[Any] = []

    def work(x: torch.Tensor, index: torch.Tensor) -> None:
        finite = x.sum(-1).abs() < torch.inf
        seen.append((index + (finite[:2] & (x.argmax(-1) != 5)[:2])).tolist())

    assert counted(work).waits == 1
    assert seen == [[2, 3]]


@pytest.mark.parametrize(
    ("index", "shape", "operators"),
    [
        (1, (5, 6), 0),
        ((..., 2), (4, 5), 0),
        ((slice(None), None, slice(1, 3)), (4, 1, 2, 6), 0),
        ((torch.tensor([0, 2, 3]), 1), (3, 6), 1),
        ((None, 1, ..., torch.tensor([3, 3])), (1, 5, 2), 1),
    ],
)
def test_indexing_without_the_device_is_torchs_own(
    index: Any, shape: tuple[int, ...], operators: int
) -> None:
    assert torch.empty(4, 5, 6)[index].shape == shape
    world = Counted()
    with world():
        tensor = torch.empty(4, 5, 6, device=DEVICE)
        world.counts = StepCounts()
        assert tensor[index].shape == shape
    assert world.counts.by_operator.get("aten::index", (0, 0))[0] == operators


@pytest.mark.parametrize("model", ["Llama-3.1-8B", "GPT-OSS-20B"])
def test_a_step_costs_the_same_operators_whatever_segments_rows_read(model: str) -> None:
    one = measure_ours(model, SHAPE, 2)
    several = measure_ours(model, replace(SHAPE, segments=5), 2)
    assert one.kernel == "grouped"
    assert several.operators == one.operators
    assert one.bound < one.bytes < 2 * one.bound


def test_attention_reads_the_tokens_that_rows_have_and_no_room_for_others() -> None:
    found = measure_ours("Llama-3.1-8B", SHAPE, 1).by_operator["aten::_flash_attention_forward"]
    # The eighth step's own tokens are the prompt's and about eight more; then one more a step.
    own = sum(len(prompt) - SHAPE.prefix + FIRST + (STEPS - 1) / 2 for prompt in prompts(SHAPE))
    keys = (SHAPE.prefix + own) * 8 * 128 * 2 * 2
    # Each row is a query of 32 heads to the prefix and another to its own tokens.
    queries, sums = 2 * 2 * 8 * 32 * 128 * 2, 2 * 8 * 32 * 4
    assert found[0] == 1
    assert found[1] == pytest.approx(keys + queries + sums, rel=5e-3)


@pytest.mark.parametrize("measure", [measure_ours, measure_plain])
def test_two_periods_of_layers_tell_what_all_cost(
    measure: StepMeasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model in which windows and full attention take turns; two steps tell as much."""
    monkeypatch.setattr("step_models.measure.FIRST", 2)
    monkeypatch.setattr("step_models.measure.STEPS", 2)
    assert extended(measure, "GPT-OSS-20B", SHAPE, 6) == measure("GPT-OSS-20B", SHAPE, 6)


def test_plain_generation_reads_every_rows_whole_context() -> None:
    shape = StepShape(rows=16, prefix=2000)
    plain, ours = (measure("Llama-3.1-8B", shape, 1) for measure in (measure_plain, measure_ours))
    context = 16 * 2300 * 8 * 128 * 2 * 2
    assert plain.bytes - ours.bytes > 2 * context  # it is copied, too


def test_bounds_are_met_or_not_by_the_figures() -> None:
    cost = StepCost(bytes=1.29, operators=10.0, waits=0.125, uploads=0.0, bound=1.0)
    model, rows = "Llama-3.1-8B", BatchRows(rows=20.0, segments=3.0, steps=9.0)
    this = Measured({model: {1: cost, 7: cost}}, {1: {51: rows}})
    slow = replace(cost, operators=20.0)
    older = Measured({model: {1: slow, 7: slow}}, {1: {51: replace(rows, rows=10.0)}})
    assert all(": met (" in line for line in bound_lines(this, older))
    worse = Measured(
        {model: {1: replace(cost, bytes=1.31), 7: replace(cost, operators=11.0, waits=0.25)}},
        {1: {51: replace(rows, rows=19.0)}},
    )
    lines = bound_lines(worse, older)
    assert all(": NOT met (" in line for line in lines)
    assert lines[0].endswith("(1.310, 1.290 at 1, 7 segments).")
