"""What replaying points costs beside generating them again, on a real model.

Parts ``replay`` and ``gpu`` of ``benchmarks/audit_cost.py``.  Responses of 200 tokens to prompts
of several lengths are generated, then scored token by token as an audit does it, at batches of
1, 16 and 64 points, greedy and seeded; the two take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from engine_peers import accelerator
from engine_peers.tiny_model import make_model, tiny_config
from engine_peers.workloads import SHAPES, VOCABULARY, build
from recording import markdown_table

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.load import load_model, wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

SHOWN = (0, 8, 32)
"""Demonstrations before a query, of about 60 tokens each."""
BATCHES = (1, 16, 64)
NEW_TOKENS = 200
MEMORY = 4 * 2**30
SEEDED = Decoding(temperature=1.0)
_POINTS = {1: 2, 16: 16, 64: 64}
"""Points measured at each batch."""

Pair = tuple[Request, tuple[int, ...]]


@dataclass(frozen=True)
class Cost:
    """Seconds a point."""

    generated: float
    """Generating it."""
    replayed: float
    """Replaying it."""

    @property
    def share(self) -> float:
        """Replaying as a share of generating."""
        return self.replayed / self.generated


def measure_replay(repeats: int) -> list[str]:
    """Return the lines for models on the CPU: the tiny one, and one of a common proportion.

    Language models have some 10,000 weights for each entry of their vocabulary, the tiny one a
    thousand: what depends on the vocabulary alone, the noise of seeded sampling, weighs too
    much there.

    Args:
        repeats: Rounds, alternating, of which medians are taken.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        make_model(folder)
        tiny = load_model(folder, dtype=Dtype.FLOAT32, device="cpu")
    torch.manual_seed(0)
    larger = wrap_model(transformers.LlamaForCausalLM(larger_config()))
    lines: list[str] = []
    for loaded, shown, batches in ((tiny, SHOWN, BATCHES), (larger, (8,), (1, 16))):
        engine = TransformersEngine(loaded, memory=MEMORY)
        parameters = sum(one.numel() for one in loaded.model.parameters())
        lines += [
            (
                f"A random Llama of {parameters / 1e6:.0f} million weights and "
                f"{VOCABULARY:,} tokens, fp32, {NEW_TOKENS} new tokens, on "
                f"{torch.get_num_threads()} threads of the CPU; medians of {repeats} alternating "
                "rounds:"
            ),
            "",
            *_measure(engine, VOCABULARY, repeats, shown, batches),
            "",
        ]
    return [*lines, _READ]


def larger_config() -> Any:
    """Return a configuration of the tiny model's kind with sixteen times its weights."""
    config = tiny_config()
    config.hidden_size, config.intermediate_size, config.head_dim = 768, 2112, 96
    config.num_hidden_layers = 11
    return config


def measure_gpu(repeats: int) -> list[str]:
    """Return the lines for an 8-billion-parameter shape in bf16 on a CUDA device, if there is one.

    Args:
        repeats: Rounds, alternating, of which medians are taken.
    """
    if not torch.cuda.is_available():
        return ["skipped: no CUDA device"]
    model = accelerator.make_model(accelerator.large_config(), torch.device("cuda"))
    engine = TransformersEngine(wrap_model(model))
    lines = _measure(engine, accelerator.SHAPE.vocabulary, repeats, SHOWN, BATCHES)
    return [
        *lines,
        "",
        _READ,
        (
            f"- {NEW_TOKENS} new tokens; the shape of Llama 3.1 8B, random weights, bf16, on "
            f"{torch.cuda.get_device_name()}; medians of {repeats} alternating rounds."
        ),
    ]


def _measure(
    engine: TransformersEngine,
    vocabulary: int,
    repeats: int,
    prompts: Sequence[int],
    batches: Sequence[int],
) -> list[str]:
    rows = []
    for shown in prompts:
        requests = requests_after(shown, vocabulary)
        length = statistics.mean(len(one.tokens) for one in requests)
        for batch in batches:
            points = requests[: _POINTS[batch]]
            greedy = cost_of(engine, points, batch, GREEDY, repeats)
            seeded = cost_of(engine, points, batch, SEEDED, repeats)
            rows.append(
                (
                    f"{length:,.0f}",
                    str(batch),
                    f"{1000 * greedy.generated:.1f}",
                    f"{1000 * greedy.replayed:.2f}",
                    f"{100 * greedy.share:.1f} %",
                    f"{100 * (seeded.replayed / greedy.replayed - 1):+.0f} %",
                    f"{(length + NEW_TOKENS) / greedy.replayed:,.0f}",
                )
            )
    return [
        *markdown_table(
            (
                "prompt tokens, mean",
                "batch",
                "generating, ms a point",
                "replaying, ms a point",
                "replaying / generating",
                "seeded replay beside greedy",
                "tokens replayed a second",
            ),
            rows,
        ),
    ]


_READ = (
    "- A prompt costs both the same, but where points of a batch begin alike, as these do: then "
    "once. Decoding, which replaying does without, is the smaller part of the whole the longer the "
    "prompt and the larger the batch."
)


def requests_after(shown: int, vocabulary: int) -> list[Request]:
    """Return a request for each query after so many demonstrations; they have no end token."""
    shape = replace(
        SHAPES["S"],
        draws=1,
        demonstrations=(shown,),
        new_tokens=NEW_TOKENS,
        vocabulary=vocabulary,
    )
    return [
        Request(number, prompt.tokens, NEW_TOKENS, frozenset(), seed=number)
        for number, prompt in enumerate(build(shape).prompts)
    ]


def cost_of(
    engine: TransformersEngine,
    requests: Sequence[Request],
    batch: int,
    decoding: Decoding,
    repeats: int,
) -> Cost:
    """Return what generating and replaying cost, medians of rounds by turns."""
    groups = [requests[start : start + batch] for start in range(0, len(requests), batch)]
    answered: dict[int, tuple[int, ...]] = {}
    generated, replayed = [], []
    for _ in range(repeats):
        generated.append(_timed(lambda: _generate(engine, groups, decoding, answered)))
        pairs = [[(one, answered[one.key]) for one in group] for group in groups]
        replayed.append(_timed(lambda pairs=pairs: _score(engine, pairs, decoding)))
    points = len(requests)
    return Cost(statistics.median(generated) / points, statistics.median(replayed) / points)


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _generate(
    engine: TransformersEngine,
    groups: Sequence[Sequence[Request]],
    decoding: Decoding,
    answered: dict[int, tuple[int, ...]],
) -> None:
    for group in groups:
        for completion in generate_completions(engine, group, decoding):
            if completion.error is not None:
                raise RuntimeError(completion.error)
            answered[completion.key] = completion.tokens


def _score(
    engine: TransformersEngine, groups: Sequence[Sequence[Pair]], decoding: Decoding
) -> None:
    for group in groups:
        for margins in engine.score(group, decoding):
            exact = engine.identity.dtype is Dtype.FLOAT32
            if margins.error is not None or (exact and max(margins.margins) > _TOLERANCE):
                raise RuntimeError(margins.error or f"a margin of {max(margins.margins)}")


_TOLERANCE = 1e-3
"""Largest margin of a response of the same stack's own, in fp32."""
