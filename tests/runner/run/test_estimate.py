"""Estimates by closed forms, and a device that is really measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.device_speed import Throughput
from safety_receipts.runner.run.prices.estimate import (
    ModelSize,
    RunEstimate,
    RunSeconds,
    Workload,
    estimate,
    shared_batches,
)

# 8 billion parameters in bfloat16; 32 layers × 8 heads × 128 × keys and values × 2 bytes.
MODEL = ModelSize(8_000_000_000, 16_000_000_000, 131_072)
DEVICE = Throughput(1e15, 4e12, "stated")
ARITHMETIC = Throughput(1.0, 1e300, "memory without limit")
MEMORY = Throughput(1e300, 1.0, "arithmetic without limit")


def test_a_small_workload_by_hand() -> None:
    model = ModelSize(parameters=10, weight_bytes=40, kv_bytes_per_token=3)
    workload = Workload(
        points=5, prompt_tokens=100, unique_prompt_tokens=30, longest_prompt=25, max_new_tokens=4
    )
    found = estimate(model, workload, ARITHMETIC, batch_size=2)
    assert found.prefill_flops == 2 * 10 * 100
    assert found.shared_prefill_flops == 2 * 10 * 30
    assert found.decode_tokens == 5 * 3
    assert found.decode_steps == 3 * 3  # three batches, of two, two and one
    assert found.decode_flops == 2 * 10 * 15
    assert (found.largest_context, found.largest_context_bytes) == (29, 87)
    assert found.seconds == RunSeconds(prefill=2000, decode=300)
    assert found.seconds_shared == RunSeconds(prefill=600, decode=300)
    assert found.seconds.total == 2300

    bound = estimate(model, workload, MEMORY, batch_size=2)
    # Tokens 2, 3 and 4 of a response read its prompt and 1, 2 and 3 tokens besides.
    read = sum(20 + so_far for so_far in (1, 2, 3)) * 5
    assert bound.seconds == RunSeconds(prefill=3 * 40, decode=9 * 40 + read * 3)
    assert bound.seconds_shared == RunSeconds(prefill=40, decode=3 * 40)


def test_the_engines_batches_by_hand() -> None:
    model = ModelSize(parameters=10, weight_bytes=40, kv_bytes_per_token=3, pair_flops=2)
    workload = Workload(
        points=5, prompt_tokens=100, unique_prompt_tokens=30, longest_prompt=25, max_new_tokens=4
    )
    assert shared_batches(model, workload, 2, None) == 3
    # A batch keeps 25 new tokens beside two prompts with their responses, of 30 + 5 × 4 in all.
    assert shared_batches(model, workload, 512, 3 * (2 * 29 + 25)) == 2
    assert shared_batches(model, workload, 512, 3 * 58) == 5  # one at a time, if it fits at all
    assert shared_batches(model, workload, 512, 0) == 5

    found = estimate(model, workload, MEMORY, batch_size=512, memory=3 * (2 * 29 + 25))
    # Three steps of two batches read the tree and one prompt again; of its responses, 1, 2, 3.
    read = 3 * (30 + 25) + 5 * (1 + 2 + 3)
    assert found.seconds_batched == RunSeconds(prefill=2 * 40, decode=2 * 3 * 40 + read * 3)
    slow = estimate(model, workload, ARITHMETIC, batch_size=512)
    # A prompt has 20 tokens in the mean, and tokens 2, 3 and 4 of a response look back at more.
    assert slow.seconds_batched == RunSeconds(
        prefill=30 * (20 + 2 * 20), decode=5 * sum(20 + 2 * (20 + so_far) for so_far in (1, 2, 3))
    )


def test_draw_block_1_at_the_papers_size() -> None:
    """The grid of 31 conditions × 1,404 queries × 2 draws, Llama-3.1-8B in bf16 and 51 GiB: its
    real schedule, computed from the tree, had 757,809 steps at draw_block 1 before rows kept no
    more than their own, and 46,543 at 20.
    """
    points, memory = 87_048, 51 * 2**30

    def steps(unique: int) -> int:
        workload = Workload(points, 1_260_000_000, unique, 42_000, 256)
        return shared_batches(MODEL, workload, 512, memory) * 255

    assert 757_809 / 2.5 < steps(660_000_000) < 757_809
    assert steps(12_000_000) == pytest.approx(46_543, rel=0.1)


def test_the_bound_of_the_benchmark_workload() -> None:
    """384 prompts of 321,454 tokens, 13,278 of them unique, 32 new tokens: 25,182 tokens."""
    workload = Workload(384, 321_454, 13_278, 2_000, 32)
    found = estimate(ModelSize(1, 0, 0), workload, ARITHMETIC)
    assert found.seconds_shared.total == 2 * 25_182
    assert found.seconds.total == 2 * (321_454 + 384 * 31)


def test_a_large_model_reads_its_weights_at_every_step() -> None:
    workload = Workload(1, 1000, 1000, 1000, 101)
    found = estimate(MODEL, workload, DEVICE)
    assert found.seconds.prefill == pytest.approx(2 * 8e9 * 1000 / 1e15)
    cache = sum(1000 + so_far for so_far in range(1, 101)) * 131_072
    assert found.seconds.decode == pytest.approx((100 * 16e9 + cache) / 4e12)
    assert found.seconds_shared.decode == pytest.approx(100 * 16e9 / 4e12)


def test_one_new_token_comes_with_the_prompt() -> None:
    found = estimate(MODEL, Workload(3, 30, 30, 10, 1), DEVICE)
    assert (found.decode_tokens, found.decode_steps, found.seconds.decode) == (0, 0, 0)


def test_nothing_to_generate_takes_no_time() -> None:
    found = estimate(MODEL, Workload(0, 0, 0, 0, 16), DEVICE)
    assert found.seconds.total == found.seconds_shared.total == 0
    assert found.seconds_batched.total == 0


WORKLOADS = st.tuples(
    st.integers(1, 1000), st.integers(1, 1000), st.fractions(0, 1), st.integers(1, 64)
).map(lambda t: Workload(t[0], t[0] * t[1], int(t[0] * t[1] * t[2]), t[1], t[3]))
DEVICES = st.builds(Throughput, st.floats(1, 1e15), st.floats(1, 1e13), st.just("stated"))


@given(
    workload=WORKLOADS,
    device=DEVICES,
    batch=st.integers(1, 2000),
    memory=st.none() | st.integers(0, 2**40),
)
def test_the_engines_batches_take_no_less_than_the_bound(
    workload: Workload, device: Throughput, batch: int, memory: int | None
) -> None:
    model = replace(MODEL, pair_flops=4 * 4096 * 32)
    found = estimate(model, workload, device, batch_size=batch, memory=memory)
    for name in ("prefill", "decode"):
        assert getattr(found.seconds_shared, name) <= getattr(found.seconds_batched, name)
    assert 1 <= shared_batches(model, workload, batch, memory) <= workload.points


@given(workload=WORKLOADS, device=DEVICES, batch=st.integers(1, 2000))
def test_sharing_is_never_slower_and_a_larger_batch_neither(
    workload: Workload, device: Throughput, batch: int
) -> None:
    found = estimate(MODEL, workload, device, batch_size=batch)
    larger = estimate(MODEL, workload, device, batch_size=batch + 1)
    for name in ("prefill", "decode"):
        shared, alone = getattr(found.seconds_shared, name), getattr(found.seconds, name)
        assert shared <= alone
        assert getattr(larger.seconds, name) <= alone
    assert larger.seconds_shared == found.seconds_shared


@pytest.mark.parametrize(
    "changes",
    [
        {"unique_prompt_tokens": 101},
        {"unique_prompt_tokens": -1},
        {"points": -1},
        {"points": 101},
        {"max_new_tokens": 0},
    ],
)
def test_workloads_that_cannot_be(changes: dict[str, int]) -> None:
    workload = Workload(5, 100, 30, 25, 4)
    with pytest.raises(ValueError, match="token"):
        replace(workload, **changes)


@pytest.mark.parametrize("rates", [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0), (-1.0, 1.0)])
def test_a_throughput_is_above_0(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Throughput(*rates, "stated")


def test_a_batch_of_none() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate(MODEL, Workload(1, 1, 1, 1, 1), DEVICE, batch_size=0)


def test_the_json_says_everything_and_how_it_was_made() -> None:
    found = estimate(MODEL, Workload(1, 1000, 600, 1000, 101), DEVICE)
    document = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert set(document) == {
        "prefillFlops",
        "sharedPrefillFlops",
        "decodeTokens",
        "decodeSteps",
        "decodeFlops",
        "largestContext",
        "largestContextBytes",
        "seconds",
        "secondsShared",
        "secondsBatched",
        "throughput",
        "assumptions",
    }
    assert document["throughput"] == {
        "flopsPerSecond": 1e15,
        "bytesPerSecond": 4e12,
        "source": "stated",
    }
    for name, seconds in (
        ("seconds", found.seconds),
        ("secondsShared", found.seconds_shared),
        ("secondsBatched", found.seconds_batched),
    ):
        assert document[name]["total"] == seconds.total
    assert document["assumptions"][0] == "an estimate, not a measurement"
    assert isinstance(found, RunEstimate)


@pytest.mark.parametrize("dtype", Dtype)
def test_this_processor_is_measured(dtype: Dtype) -> None:
    torch = pytest.importorskip("torch")
    from safety_receipts.runner.engines.throughput import measure_device

    found = measure_device("cpu", dtype)
    # Between a slow machine's emulated half precision and the fastest there is.
    assert 1e6 < found.flops_per_second < 1e16
    assert 1e7 < found.bytes_per_second < 1e14
    assert isfinite(found.flops_per_second)
    assert found.source.startswith(f"measured on cpu: product of {dtype.value} matrices of ")
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("threads", "took", "expected"),
    [
        (1, [(2.0, 1.0), (4.0, 1.0)], 1.0),  # half of the time went to other programs, or more
        (2, [(1.0, 2.0), (3.0, 2.0)], 1.0),  # undisturbed once: two cores
        (2, [(4.0, 2.2), (2.0, 3.0)], 2.2 / 1.5),  # never more than one and a half cores
        (2, [(1.0, 1.0), (1.0, 1.0)], 1.0),  # one thread did all of it
        (4, [(1.0, 8.0)], 1.0),  # a clock that counts too much makes nothing faster
        (1, [(0.5, 0.0)], 0.5),  # nor one that is too coarse
        (None, [(2.0, 0.1), (3.0, 0.1)], 2.0),  # a device elsewhere has no time of the processor
    ],
)
def test_what_other_programs_took_makes_no_slower_machine(
    threads: int | None, took: list[tuple[float, float]], expected: float
) -> None:
    pytest.importorskip("torch")
    from safety_receipts.runner.engines.throughput import Stopwatch

    now = [0.0, 0.0]
    left = list(took)

    def action() -> None:
        wall, spent = left.pop(0)
        now[0] += wall
        now[1] += spent

    watch = Stopwatch(threads, lambda: now[0], lambda: now[1])
    whole = sum(wall for wall, _ in took)
    assert watch.best(action, whole) == pytest.approx(expected)
    assert left == []


def test_a_device_that_torch_does_not_have() -> None:
    pytest.importorskip("torch")
    from safety_receipts.runner.engines.throughput import measure_device

    for device in ("cuda:63", "quantum"):
        with pytest.raises(UsageError, match="torch has no device"):
            measure_device(device, Dtype.FLOAT32)


def test_estimating_loads_no_torch() -> None:
    probe = (
        "import sys, safety_receipts.runner.run.prices.estimate; "
        "import safety_receipts.runner.prompts.prefix_tree; "
        "print('torch' in sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert finished.stdout == "False\n"
