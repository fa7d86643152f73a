"""Whether responses are those of plain ``generate``, for small models of four families."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from tiny_models import FAMILIES, tiny_model

from gpu_parts.part import Finding, Setting
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

VOCABULARY = 4096
NEAR = 1e-3
"""Largest margin at which another token in fp32 is called a tie."""


def measure_equality(setting: Setting) -> list[Finding]:
    """Compare, in fp32 and in bf16."""
    queries, new = (3, 6) if setting.tiny else (24, 64)
    requests = _sweep(queries, new)
    found: list[Finding] = []
    for family in FAMILIES[:2] if setting.tiny else FAMILIES:
        model = tiny_model(family, VOCABULARY).to(setting.device)
        engine = TransformersEngine(wrap_model(model), share_tokens=64)
        attention = engine.identity.attention
        ours = {one.key: one.tokens for one in generate_completions(engine, requests)}
        plain = [_generated(model, request) for request in requests]
        pairs = list(zip(requests, plain, strict=True))
        other = sum(ours[request.key] != theirs for request, theirs in pairs)
        margins = [max(one.margins) for one in engine.score(pairs)]
        found.append(
            Finding(
                f"{family}, fp32, {attention}: responses other than plain generate's",
                f"{other} of {len(requests)}; plain's lie at most {max(margins):.2g} below ours",
                f"at most {NEAR:g}",
                max(margins) <= NEAR,
            )
        )
        half = tiny_model(family, VOCABULARY).to(setting.device, torch.bfloat16)
        scored = TransformersEngine(wrap_model(half), share_tokens=64).score(pairs)
        flips = sum(margin > 0 for one in scored for margin in one.margins)
        theirs = sum(_flips(half, request, response) for request, response in pairs)
        tokens = sum(len(response) for response in plain)
        found.append(
            Finding(
                f"{family}, bf16: tokens of {tokens:,} that the format changes, ours and plain",
                f"{flips} and {theirs}",
                "ours at most plain's, within three standard errors",
                flips <= theirs + 3 * (theirs + 1) ** 0.5,
            )
        )
    return found


def _sweep(queries: int, new: int) -> list[Request]:
    """Return queries after 0, 3 and 9 demonstrations, longer than the windows of tiny models."""
    draw = random.Random(3)

    def words(number: int) -> list[int]:
        return [draw.randrange(6, VOCABULARY) for _ in range(number)]

    shown = [words(20) for _ in range(9)]
    asked = [words(draw.randint(4, 14)) for _ in range(queries)]
    prompts = [
        [1, *(token for one in shown[:number] for token in one), *query]
        for number in (0, 3, 9)
        for query in asked
    ]
    return [Request(i, tuple(p), new, frozenset(), seed=i) for i, p in enumerate(prompts)]


@torch.inference_mode()
def _generated(model: Any, request: Request) -> tuple[int, ...]:
    ids = torch.tensor([list(request.tokens)], device=model.device)
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=request.max_new_tokens,
        min_new_tokens=request.max_new_tokens,
        eos_token_id=None,
        do_sample=False,
    )
    return tuple(made[0, ids.shape[1] :].tolist())


@torch.inference_mode()
def _flips(model: Any, request: Request, response: Sequence[int]) -> int:
    """Return how many tokens of a response plain's forward pass would choose otherwise."""
    ids = torch.tensor([[*request.tokens, *response[:-1]]], device=model.device)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(response)).logits[0].float()
    own = logits.gather(1, torch.tensor(response, device=model.device)[:, None])[:, 0]
    return int((logits.amax(1) > own).sum())
