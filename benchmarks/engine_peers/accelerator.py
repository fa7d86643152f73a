"""An 8-billion-parameter shape on a CUDA device: this project's engine against padded batches.

The model is randomly initialised on the device, in bf16: nothing is downloaded, and speed does
not depend on what the weights are.  Shares of the device's limits come from the forward passes
themselves: a pass over n tokens takes 2 · n floating-point operations a weight and reads every
weight once.  Attention and its keys and values are left out, so that the shares are lower
bounds of what the device did.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
import transformers
from recording import machine, markdown_table, replace_section
from step_models.sizes import LLAMA_8B

from engine_peers.ours import by_key, requests_of
from engine_peers.peer import Positions, counting
from engine_peers.tiny_model import tiny_config
from engine_peers.transformers_peers import generate_padded, run_padded
from engine_peers.workloads import BEGIN, END_OF_TEXT, PAD, Shape, Workload, build
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

SHAPE = Shape(
    "G",
    draws=1,
    demonstrations=(0, 32, 128),
    words=(20, 36),
    seed=5,
    queries=256,
    new_tokens=128,
    vocabulary=128_256,
)
"""Demonstrations of about 60 tokens: prompts of up to 8,000."""
_TINY = replace(SHAPE, demonstrations=(0, 2), queries=3, new_tokens=4, vocabulary=4096)

LARGEST_BATCH = 64
"""Rows that padded batches begin with; halved until the longest prompts fit in memory."""

LIMITS = {
    "H100 PCIe": (756e12, 2.0e12),
    "H100 NVL": (835e12, 3.9e12),
    "H100": (989e12, 3.35e12),
    "H200": (989e12, 4.8e12),
}
"""bf16 FLOP/s, dense, and bytes of memory a second, by part of the device's name (NVIDIA's data
sheets); the first part that is found counts."""

_COLUMNS = (
    "engine",
    "seconds",
    "new tokens/s",
    "prompt tokens/s",
    "tokens computed",
    "FLOP share",
    "bandwidth share",
    "share of both",
    "peak GiB",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine on the device."""

    name: str
    seconds: float
    calls: tuple[int, ...]
    """Tokens of each forward pass."""
    peak: int | None
    """Bytes of the device's memory, weights included; None where there is no such count."""
    outputs: list[list[int]]


def main(*, queries: int | None, record: bool, tiny: bool = False) -> int:
    """Measure, print and perhaps record; without a device say so.

    Args:
        queries: Of the workload; None: as many as its shape has.
        record: Whether RESULTS.md is refreshed.
        tiny: A tiny model and workload on the CPU, to exercise the code.
    """
    if not tiny and not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return 0
    device = torch.device("cpu" if tiny else "cuda")
    shape = _TINY if tiny else SHAPE
    workload = build(shape if queries is None else replace(shape, queries=queries))
    model = make_model(tiny_config() if tiny else large_config(), device)
    padded, batch = _measure_padded(model, workload)
    results = [_measure_ours(model, workload), padded]
    lines = _report(results, workload, model, batch)
    print("\n".join(lines))
    if record:
        options = "" if queries is None else f" --queries {queries}"
        header = [
            "## Generation on an accelerator",
            "",
            f"    python benchmarks/engine.py --gpu{options} --record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {_device_name(device)}; {machine()}",
            (
                f"- Python {platform.python_version()}; torch {version('torch')}, "
                f"transformers {version('transformers')}"
            ),
            "",
        ]
        replace_section("engine_gpu", header + lines)
    return 0


def large_config() -> Any:
    """Return the shape of Llama 3.1 8B."""
    return transformers.LlamaConfig(
        **LLAMA_8B,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        bos_token_id=BEGIN,
        eos_token_id=END_OF_TEXT,
        pad_token_id=PAD,
        tie_word_embeddings=False,
    )


def make_model(config: Any, device: torch.device) -> Any:
    """Return a randomly initialised model in bf16, built where it will run."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model: Any = transformers.LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = END_OF_TEXT
    model.generation_config.pad_token_id = PAD
    model.eval()
    return model


def _measure_ours(model: Any, workload: Workload) -> Measured:
    engine = TransformersEngine(wrap_model(model))
    requests = requests_of(workload)
    by_key(generate_completions(engine, requests[:2]))

    def run() -> list[list[int]]:
        return [list(tokens) for tokens in by_key(generate_completions(engine, requests))]

    return _measure("ours", model, run)


def _measure_padded(model: Any, workload: Workload) -> tuple[Measured, int]:
    """Measure padded batches; return that and the rows of a batch."""
    ends = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = None
    try:
        batch = _largest_batch(model, workload)
        measured = _measure("padded", model, lambda: run_padded(model, workload, batch))
    finally:
        model.generation_config.eos_token_id = ends
    return measured, batch


def _largest_batch(model: Any, workload: Workload) -> int:
    """Return how many of the longest prompts fit in memory at once: a power of two.

    Raises:
        torch.OutOfMemoryError: Not even one does.
    """
    longest = sorted((prompt.tokens for prompt in workload.prompts), key=len)[::-1]
    batch = LARGEST_BATCH
    while True:
        try:
            generate_padded(model, longest[:batch], workload.shape.new_tokens)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        else:
            return batch
        batch //= 2
        torch.cuda.empty_cache()


def _measure(name: str, model: Any, run: Callable[[], list[list[int]]]) -> Measured:
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with counting(model.model) as positions:
        started = time.perf_counter()
        outputs = run()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if cuda else None
    return Measured(name, seconds, _calls(positions), peak, outputs)


def _calls(positions: Positions) -> tuple[int, ...]:
    return tuple(positions.calls)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _limits(name: str) -> tuple[float, float] | None:
    return next((limits for part, limits in LIMITS.items() if part in name), None)


def shares(
    measured: Measured, weights: int, limits: tuple[float, float]
) -> tuple[float, float, float]:
    """Return the shares of the device's limits that the forward passes account for.

    Args:
        measured: With the tokens of each pass.
        weights: Of the layers, bf16.
        limits: FLOP/s and bytes a second.

    Returns:
        Operations by what was possible; bytes of weights by what was possible; and the time
        that the passes need at least, each limited by the one or the other, by the time taken.
    """
    flops, bandwidth = limits
    computing = [2 * weights * tokens / flops for tokens in measured.calls]
    reading = 2 * weights / bandwidth
    return (
        sum(computing) / measured.seconds,
        len(computing) * reading / measured.seconds,
        sum(max(seconds, reading) for seconds in computing) / measured.seconds,
    )


def _report(results: list[Measured], workload: Workload, model: Any, batch: int) -> list[str]:
    limits = _limits(_device_name(model.device))
    weights = sum(weight.numel() for weight in model.model.layers.parameters())
    rows = []
    for measured in results:
        if limits is None:
            shown = ["unknown"] * 3
        else:
            shown = [f"{share:.1%}" for share in shares(measured, weights, limits)]
        rows.append(
            (
                measured.name,
                f"{measured.seconds:.2f}",
                f"{len(workload.prompts) * workload.shape.new_tokens / measured.seconds:,.0f}",
                f"{workload.prompt_tokens / measured.seconds:,.0f}",
                f"{sum(measured.calls):,}",
                *shown,
                "–" if measured.peak is None else f"{measured.peak / 2**30:.1f}",
            )
        )
    ours, padded = results
    equal = sum(a == b for a, b in zip(ours.outputs, padded.outputs, strict=True))
    shape = workload.shape
    return [
        (
            f"{shape.queries} queries × {{{', '.join(map(str, shape.demonstrations))}}} "
            f"demonstrations, {shape.new_tokens} new tokens, bf16, greedy, no end token; "
            f"{workload.prompt_tokens:,} prompt tokens, {workload.unique_tokens:,} unique, lower "
            f"bound {workload.lower_bound:,}. Padded: `generate_completions`, {batch} rows at most."
        ),
        "",
        *markdown_table(_COLUMNS, rows),
        "",
        f"- Ours is {padded.seconds / ours.seconds:.2f} × as fast as padded batches.",
        (
            f"- Equal responses: {equal} of {len(ours.outputs)} (bf16 rounds otherwise in other "
            "batches)."
        ),
        (
            "- Shares count the layers' weights alone, neither attention nor the output layer; the "
            "last is the time that the passes need at least by the time taken."
        ),
    ]
