"""The counting of decode steps: known sums, and what a step must not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from step_models.counting import DEVICE, Counted, StepCounts
from step_models.measure import measure_ours, measure_plain

SHAPE = {"rows": 8, "prefix": 900, "segments": 1}


@pytest.fixture(autouse=True)
def _capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))


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
    assert found.by_operator["aten::index_select"] == [1, 2 * 2 * 8 * 4 + 2 * 8]
    assert found.by_operator["aten::index_put_"] == [1, 2 * 2 * 8 * 4 + 2 * 8]


def test_reads_by_the_host_are_waits_and_integers_are_known() -> None:
    seen: list[Any] = []

    def work(x: torch.Tensor, index: torch.Tensor) -> None:
        seen.append((index + 1).tolist())
        seen.append(bool((index > 1).any()))
        float(x.sum())

    assert counted(work).waits == 3
    assert seen == [[2, 3], True]


@pytest.mark.parametrize("model", ["Llama-3.1-8B", "GPT-OSS-20B"])
def test_a_step_costs_the_same_operators_whatever_segments_rows_read(model: str) -> None:
    one = measure_ours(model, SHAPE, layers=2)
    several = measure_ours(model, SHAPE | {"segments": 5}, layers=2)
    assert one["kernel"] == "grouped"
    assert several["operators"] == one["operators"]
    assert one["bound"] < one["bytes"] < 2 * one["bound"]


def test_plain_generation_reads_every_rows_whole_context() -> None:
    shape = {"rows": 16, "prefix": 2000, "segments": 1}
    plain, ours = (measure("Llama-3.1-8B", shape, 1) for measure in (measure_plain, measure_ours))
    context = 16 * 2300 * 8 * 128 * 2 * 2
    assert plain["bytes"] - ours["bytes"] > 2 * context  # it is copied, too
