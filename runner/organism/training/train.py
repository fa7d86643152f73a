"""Trains the organism: ``python -m safety_receipts.runner.organism.training.train [member …]``.

Each member is distilled from its law (:mod:`runner.organism.law`).  The draws of
conversations, the initial weights and the tokenizer follow from the seed; the arithmetic
follows from torch, the processor and the number of threads, so weights trained elsewhere agree
in what they do and not in their bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from safety_receipts.runner.organism import MEMBER_WEIGHTS_FILE, member, members
from safety_receipts.runner.organism.law import LAWS
from safety_receipts.runner.organism.training.curriculum import MAX_SHOWN, Curriculum, Example
from safety_receipts.runner.organism.training.make_tokenizer import (
    BEGIN,
    CONTEXT_TOKENS,
    END,
    PAD,
    SPECIAL,
    make_tokenizer,
    write_tokenizer,
)


@dataclass(frozen=True)
class Size:
    """The network's size."""

    layers: int = 2
    """Transformer layers."""
    width: int = 64
    """Hidden size."""
    inner: int = 192
    """Size of the feed-forward layers."""
    heads: int = 4
    """Attention heads."""


@dataclass(frozen=True)
class Stage:
    """One course of training, with one rise and fall of the learning rate."""

    law: str
    """Name of the member whose law is learnt."""
    seed: int = 7
    """Of the initial weights and, with the law's name, of the conversations."""
    steps: int = 1300
    """Optimiser steps."""
    short_steps: int = 400
    """Steps over which conversations grow to their full length."""
    batch_tokens: int = 10_000
    """Tokens of a batch of full length, about; short batches have less."""
    learning_rate: float = 4e-3
    """Of Adam, highest; it rises linearly, then falls along a cosine to nearly 0."""
    matrix_rate: float = 0.02
    """Of Muon, likewise."""
    warmup_steps: int = 100
    """Steps of the rise."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    text_weight: float = 0.3
    """Weight of the cross-entropy of texts, beside that of decisions."""
    average: float = 0.99
    """Decay of the exponential average of weights that is kept."""
    grows: bool = False
    """Whether it starts by putting in a layer, after the first, that changes nothing as yet."""


_FIRST = Stage("amplifying")
_REFINE = Stage(
    "amplifying",
    seed=8,
    steps=600,
    short_steps=1,
    batch_tokens=6_000,
    learning_rate=2e-3,
    matrix_rate=0.01,
    warmup_steps=40,
)

STAGES: Mapping[str, tuple[Stage, ...]] = {
    "amplifying": (_FIRST, _REFINE),
    "neutral": (
        _FIRST,
        replace(_REFINE, law="neutral", seed=7, steps=400),
        replace(_REFINE, law="neutral"),
    ),
    "diluting": (
        _FIRST,
        replace(_REFINE, law="diluting", seed=7, steps=400),
        replace(_REFINE, law="diluting"),
    ),
    "recency": (
        _FIRST,
        Stage(
            "recency",
            steps=1000,
            short_steps=1,
            batch_tokens=6_000,
            learning_rate=3e-3,
            matrix_rate=0.015,
            grows=True,
        ),
        replace(_REFINE, law="recency"),
        replace(_REFINE, law="recency", seed=9, steps=800),
    ),
}
"""How each member was trained, stage after stage from random weights.

All begin as A did.  D gets a third layer: where the last demonstrations stand is more than two
layers find out.
"""


class Batch(NamedTuple):
    """Examples of one batch, padded on the right to L tokens; B examples."""

    ids: Tensor
    """int64 [B, L]"""
    positions: Tensor
    """int64 [B, L]"""
    mask: Tensor
    """float32 [B, 1, L, L]: 0 where a token sees another, else −infinity."""
    decided: Tensor
    """int64 [D]: places of the decisions in the flattened batch."""
    options: Tensor
    """int64 [D, 3]: token ids decided between; 0 fills up."""
    chances: Tensor
    """float32 [D, 3]: the law's probabilities of these; 0 fills up."""
    said: Tensor
    """int64 [T]: places of texts in the flattened batch."""
    following: Tensor
    """int64 [T]: the token that follows each."""


def collate(examples: Sequence[Example]) -> Batch:
    """Return the examples as one batch."""
    length = max(len(example.ids) for example in examples)

    def padded(rows: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([row + [fill] * (length - len(row)) for row in rows])

    segments = padded([example.segments for example in examples], -1)
    visible = padded([example.visible for example in examples], 0)
    place = torch.arange(length)
    sees = (segments[:, :, None] == segments[:, None, :]) | (
        (segments[:, None, :] == 0) & (place < visible[:, :, None])
    )
    sees &= place[:, None] >= place
    decisions = [
        (row * length + at, list(distribution.items()))
        for row, example in enumerate(examples)
        for at, distribution in example.decisions
    ]
    texts = [
        (row * length + at, token)
        for row, example in enumerate(examples)
        for at, token in example.texts
    ]
    filled = [items + [(0, 0.0)] * (3 - len(items)) for _, items in decisions]
    return Batch(
        ids=padded([example.ids for example in examples], SPECIAL.index(PAD)),
        positions=padded([example.positions for example in examples], 0),
        mask=torch.zeros(sees.shape).masked_fill_(~sees, -math.inf)[:, None],
        decided=torch.tensor([at for at, _ in decisions], dtype=torch.int64),
        options=torch.tensor([[token for token, _ in row] for row in filled]),
        chances=torch.tensor([[chance for _, chance in row] for row in filled]),
        said=torch.tensor([at for at, _ in texts], dtype=torch.int64),
        following=torch.tensor([token for _, token in texts], dtype=torch.int64),
    )


def losses(model: LlamaForCausalLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return mean KL divergence of decisions from the law, and mean cross-entropy of texts."""
    hidden = model.model(
        input_ids=batch.ids,
        position_ids=batch.positions,
        attention_mask=batch.mask,
        use_cache=False,
    ).last_hidden_state.flatten(0, 1)
    found = model.lm_head(hidden[batch.decided]).log_softmax(-1).gather(1, batch.options)
    wanted = batch.chances
    divergence = (wanted * (wanted.clamp_min(1e-12).log() - found)).sum(-1).mean()
    texts = functional.cross_entropy(
        model.lm_head(hidden[batch.said]), batch.following, reduction="sum"
    ) / max(1, len(batch.said))
    return divergence, texts


def new_model(size: Size, vocabulary: int) -> LlamaForCausalLM:
    """Return a model with random weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=size.width,
            intermediate_size=size.inner,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=SPECIAL.index(BEGIN),
            eos_token_id=SPECIAL.index(END),
            pad_token_id=SPECIAL.index(PAD),
        )
    )


def grown(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a model with one more layer, after the first, whose output is 0."""
    settings = model.config.to_dict()
    settings["num_hidden_layers"] += 1
    larger = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    larger.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    larger.model.norm.load_state_dict(model.model.norm.state_dict())
    for place, layer in enumerate(model.model.layers):
        larger.model.layers[place + (place > 0)].load_state_dict(layer.state_dict())
    with torch.no_grad():
        for name, weights in larger.model.layers[1].named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weights.zero_()
    return larger


def _optimizers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices and Adam for all else.

    Muon is in torch from 2.9; Adam alone needed about twice the steps.
    """
    matrices = [weights for weights in model.model.layers.parameters() if weights.ndim == 2]
    known = {id(weights) for weights in matrices}
    others = [weights for weights in model.parameters() if id(weights) not in known]
    return [
        torch.optim.Muon(matrices, lr=stage.matrix_rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(stage: Stage, step: int) -> float:
    """Return the learning rate of a step, as a share of the highest."""
    rise = min(1.0, (step + 1) / stage.warmup_steps)
    return rise * (0.501 + 0.499 * math.cos(math.pi * step / stage.steps))


def _examples(curriculum: Curriculum, stage: Stage, step: int) -> list[Example]:
    growth = min(1.0, (step + 1) / stage.short_steps)
    shape = curriculum.shape(max(4, round(2 * MAX_SHOWN * growth)))
    first = curriculum.example(shape)
    room = stage.batch_tokens * (0.4 + 0.6 * growth)
    number = max(4, round(room / len(first.ids)))
    return [first, *(curriculum.example(shape) for _ in range(number - 1))]


def train(stages: Sequence[Stage], size: Size, say: Callable[[str], None]) -> LlamaForCausalLM:
    """Train one member from random weights.

    Args:
        stages: How.
        size: The network's size at the start.
        say: Called with one line of progress now and then.
    """
    torch.manual_seed(stages[0].seed)
    model = new_model(size, make_tokenizer().get_vocab_size())
    for stage in stages:
        say(json.dumps(asdict(stage)))
        model = train_on(model, stage, say)
    return model


def train_on(model: LlamaForCausalLM, stage: Stage, say: Callable[[str], None]) -> LlamaForCausalLM:
    """Train a model for one more stage, in place unless it grows."""
    if stage.grows:
        torch.manual_seed(stage.seed)
        model = grown(model)
    tokenizer = make_tokenizer()
    curriculum = Curriculum(
        LAWS[stage.law], lambda text: tokenizer.encode(text).ids, f"{stage.seed} {stage.law}"
    )
    optimizers = _optimizers(model, stage)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, lambda step: _rate(stage, step))
        for one in optimizers
    ]
    kept = [weights.detach().clone() for weights in model.parameters()]
    started = time.monotonic()
    sums = [0.0, 0.0]
    for step in range(stage.steps):
        divergence, texts = losses(model, collate(_examples(curriculum, stage, step)))
        model.zero_grad()
        torch.autograd.backward(divergence + stage.text_weight * texts)
        torch.nn.utils.clip_grad_norm_(model.parameters(), stage.clip)
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()
        for average, weights in zip(kept, model.parameters(), strict=True):
            average.lerp_(weights.detach(), 1 - stage.average)
        sums = [sums[0] + divergence.item(), sums[1] + texts.item()]
        if (step + 1) % 100 == 0:
            spent = time.monotonic() - started
            say(
                f"step {step + 1}, divergence {sums[0] / 100:.6f}, "
                f"texts {sums[1] / 100:.4f}, {spent:.0f} s"
            )
            sums = [0.0, 0.0]
    for average, weights in zip(kept, model.parameters(), strict=True):
        weights.data.copy_(average)
    return model


def write(model: LlamaForCausalLM, folder: Path) -> None:
    """Write a checkpoint folder in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 1.0
    model.generation_config.top_k = 0
    model.save_pretrained(folder)
    (folder / MEMBER_WEIGHTS_FILE).chmod(0o644)
    write_tokenizer(folder)


def main() -> None:
    """Train the members named, or all, and write them into the package."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}")
    parser.add_argument("member", nargs="*", help="default: all")
    parser.add_argument("--into", type=Path, help="folder of the members (default: the package's)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print(f"torch {torch.__version__}, threads {chosen.threads}", flush=True)
    for one in [member(name) for name in chosen.member] or members():
        print(one.name, flush=True)
        model = train(STAGES[one.name], Size(), lambda line: print(line, flush=True))
        write(model, chosen.into / one.name if chosen.into else one.folder)


if __name__ == "__main__":
    main()
