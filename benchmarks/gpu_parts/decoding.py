"""Decode steps of an 8-billion-parameter shape at a long shared prefix, and its replay.

Ours is measured by difference: the same batch with few and with many new tokens.  The others
read the prefix again for every row: a DynamicCache that holds it once a row, continued step by
step, and padded ``generate``, prompts read included.
"""

from __future__ import annotations

import functools
import gc
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from engine_peers.accelerator import LIMITS, large_config, make_model
from engine_peers.tiny_model import tiny_config
from engine_peers.transformers_peers import generate_padded
from replay_cost import cost_of, requests_after
from transformers import DynamicCache

from gpu_parts.part import Finding, Setting, synchronise
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import GREEDY, Request
from safety_receipts.runner.engines.forward import cache_argument
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

TIMES_DYNAMIC = 3.0
"""How many times as fast as re-reading it should be."""
BANDWIDTH = 0.6
"""Share of the memory's bandwidth that decoding should use."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is decoded."""

    prefix: int
    """Tokens that all rows share."""
    own: int
    """Tokens of each row's own."""
    rows: int
    """Rows of our batch."""
    steps: int
    """Steps timed, after a few."""
    padded_rows: int
    """Rows of padded ``generate``."""


LARGE = Load(prefix=11_000, own=236, rows=256, steps=64, padded_rows=32)
SMALL = Load(prefix=96, own=5, rows=6, steps=48, padded_rows=3)
_WARM = 8
_ROUNDS = 3


def measure_decoding(setting: Setting) -> list[Finding]:
    """Measure ours, the two others and replaying, with one model."""
    load = SMALL if setting.tiny else LARGE
    config = tiny_config() if setting.tiny else large_config()
    model = make_model(config, setting.device)
    prompts = _prompts(load, config.vocab_size)
    ours, whole = _ours(model, prompts, load, setting)
    found = [
        Finding(
            f"ours: {load.rows} rows, {load.prefix:,} tokens shared, a decode step "
            f"({TransformersEngine(wrap_model(model)).identity.attention})",
            f"{1000 * ours:.2f} ms, {load.rows / ours:,.0f} tokens/s; "
            f"{load.rows * (_WARM + load.steps) / whole:,.0f} with the reading of prompts",
        ),
        _bandwidth(model, load, ours, setting),
    ]
    rows, seconds = _rereading(model, prompts, load, setting)
    times = (load.rows / ours) / (rows / seconds)
    found.append(
        Finding(
            f"DynamicCache that re-reads the prefix: {rows} rows fit, a decode step",
            f"{1000 * seconds:.2f} ms, {rows / seconds:,.0f} tokens/s; ours {times:.2f} × as fast",
            f"at least {TIMES_DYNAMIC:g} ×",
            times >= TIMES_DYNAMIC if setting.judged else None,
        )
    )
    rate = _padded(model, prompts[: load.padded_rows], load, setting)
    found.append(
        Finding(
            f"padded generate, {load.padded_rows} rows, prompts read included",
            f"{rate:,.1f} new tokens/s",
        )
    )
    return [*found, *_replaying(model, setting)]


def _prompts(load: Load, vocabulary: int) -> list[tuple[int, ...]]:
    draw = random.Random(5)
    shared = [draw.randrange(6, vocabulary) for _ in range(load.prefix)]
    return [
        (*shared, *(draw.randrange(6, vocabulary) for _ in range(load.own)))
        for _ in range(load.rows)
    ]


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def _ours(
    model: Any, prompts: list[tuple[int, ...]], load: Load, setting: Setting
) -> tuple[float, float]:
    """Return the seconds of a step, and of all of it."""
    engine = TransformersEngine(wrap_model(model), max_rows=load.rows, memory=_memory(setting))

    def answer(new: int) -> None:
        requests = [Request(i, one, new, frozenset(), seed=i) for i, one in enumerate(prompts)]
        generation = engine.start(requests, GREEDY)
        batches = len(generation.batches)
        generation.close()
        if batches != 1:
            raise RuntimeError(f"{load.rows} rows take {batches} batches in the device's memory")
        for one in generate_completions(engine, requests):
            if one.error is not None:
                raise RuntimeError(one.error)

    _timed(lambda: answer(2), setting.device)  # compiles what is compiled
    rounds = [
        [_timed(lambda new=new: answer(new), setting.device) for new in (_WARM, load.steps + _WARM)]
        for _ in range(_ROUNDS)
    ]
    few, whole = (statistics.median(times) for times in zip(*rounds, strict=True))
    if whole <= few:
        raise RuntimeError(f"{load.steps} steps take no time that can be told from noise")
    return (whole - few) / load.steps, whole


def _memory(setting: Setting) -> int:
    if setting.device.type == "cuda":
        return int(torch.cuda.mem_get_info(setting.device)[0] * 0.9)
    return 4 * 2**30


def _bandwidth(model: Any, load: Load, seconds: float, setting: Setting) -> Finding:
    """Return the bytes that a step cannot but read, by what the device reads in its time."""
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    weights -= model.get_input_embeddings().weight.nbytes  # a row of it for each token
    config = model.config
    each = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2
    kept = load.prefix + load.rows * (load.own + _WARM + load.steps / 2)
    bytes_read = weights + each * kept
    what = f"bytes that a step cannot but read: {bytes_read / 1e9:.2f} GB"
    name = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else "CPU"
    limit = next((one for part, (_, one) in LIMITS.items() if part in name), None)
    if limit is None:
        return Finding(what, f"{bytes_read / seconds / 1e9:,.1f} GB/s; bandwidth of {name} unknown")
    share = bytes_read / seconds / limit
    held = share >= BANDWIDTH if setting.judged else None
    return Finding(what, f"{share:.1%} of {name}'s bandwidth", f"at least {BANDWIDTH:.0%}", held)


@torch.inference_mode()
def _rereading(
    model: Any, prompts: list[tuple[int, ...]], load: Load, setting: Setting
) -> tuple[int, float]:
    """Return how many rows fit, and the seconds of a step."""
    argument = cache_argument(model)
    device = setting.device
    prefix = torch.tensor([prompts[0][: load.prefix]], device=device)
    rows = load.rows
    while True:
        cache = DynamicCache(config=model.config)
        try:
            for part in prefix.split(2048, dim=1):
                model.model(input_ids=part, use_cache=True, **{argument: cache})
            cache.batch_repeat_interleave(rows)
            own = [prompt[load.prefix :] for prompt in prompts[:rows]]
            ids = torch.tensor(own, device=device)
            steps = max(2, load.steps // 8)

            def run(number: int, ids: torch.Tensor = ids, cache: Any = cache) -> torch.Tensor:
                for _ in range(number):
                    logits = model(
                        input_ids=ids, use_cache=True, logits_to_keep=1, **{argument: cache}
                    ).logits
                    ids = logits[:, -1].argmax(-1, keepdim=True)
                return ids

            last = run(2)
            return rows, _timed(functools.partial(run, steps, last), device) / steps
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
            rows //= 2
        del cache
        _free(device)


def _padded(model: Any, prompts: list[tuple[int, ...]], load: Load, setting: Setting) -> float:
    """Return new tokens a second, reading prompts included."""
    _free(setting.device)
    ends, model.generation_config.eos_token_id = model.generation_config.eos_token_id, None
    new = load.steps // 2
    try:
        seconds = _timed(lambda: generate_padded(model, prompts, new), setting.device)
    finally:
        model.generation_config.eos_token_id = ends
    return len(prompts) * new / seconds


def _replaying(model: Any, setting: Setting) -> list[Finding]:
    _free(setting.device)
    engine = TransformersEngine(wrap_model(model), memory=_memory(setting))
    requests = requests_after(0 if setting.tiny else 32, model.config.vocab_size)
    points = requests[: 2 if setting.tiny else 64]
    cost = cost_of(engine, points, len(points), GREEDY, 1)
    tokens = sum(len(one.tokens) + one.max_new_tokens for one in points) / len(points)
    return [
        Finding(
            f"replaying {len(points)} points of {tokens:,.0f} tokens",
            f"{1000 * cost.replayed:.1f} ms a point, {tokens / cost.replayed:,.0f} tokens/s; "
            f"generating them {1000 * cost.generated:.1f} ms",
        )
    ]


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
