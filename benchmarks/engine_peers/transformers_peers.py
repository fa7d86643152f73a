"""What transformers itself offers: ``generate``, and a cache that can be copied."""

from __future__ import annotations

import copy
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from engine_peers.peer import Answers, counting, load
from engine_peers.workloads import PAD, Prompt, Workload
from safety_receipts.runner.engines.forward import cache_argument

SUFFIX_BATCH = 64
"""Rows that continue one cached prefix together."""


class Plain:
    """``generate``, prompt by prompt: the reference."""

    packages: tuple[str, ...] = ("torch", "transformers")

    def __init__(self, folder: Path) -> None:
        self._model = load(folder)

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts one after the other."""
        with counting(self._model.model) as positions:
            rows = [
                generate_padded(self._model, [prompt.tokens], workload.shape.new_tokens)[0]
                for prompt in workload.prompts
            ]
        return Answers(rows, positions.count)


class Padded:
    """``generate`` with left-padded batches of prompts sorted by length."""

    packages: tuple[str, ...] = ("torch", "transformers")

    def __init__(self, folder: Path) -> None:
        self._model = load(folder)

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts, the longest first."""
        with counting(self._model.model) as positions:
            outputs = run_padded(self._model, workload, batch)
        return Answers(outputs, positions.count)


class CachedPrefixes:
    """One DynamicCache for each draw, extended from one shared prefix to the next.

    The cache of each prefix is copied for batches of queries, which are padded on the left,
    between prefix and query, and decoded greedily with the cache as transformers has it.
    """

    packages: tuple[str, ...] = ("torch", "transformers")

    def __init__(self, folder: Path) -> None:
        self._model = load(folder)
        self._cache_argument = cache_argument(self._model)

    @torch.inference_mode()
    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts, block by block; the batch is this peer's own."""
        blocks: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, prompt in enumerate(workload.prompts):
            blocks[prompt.draw][prompt.shown].append(number)
        outputs: list[list[int]] = [[] for _ in workload.prompts]
        with counting(self._model.model) as positions:
            for by_shown in blocks.values():
                cache = DynamicCache(config=self._model.config)
                for shown in sorted(by_shown):
                    numbers = by_shown[shown]
                    first = workload.prompts[numbers[0]]
                    self._extend(cache, first.tokens[: first.prefix])
                    numbers.sort(key=lambda number: len(workload.prompts[number].tokens))
                    for start in range(0, len(numbers), SUFFIX_BATCH):
                        members = numbers[start : start + SUFFIX_BATCH]
                        prompts = [workload.prompts[number] for number in members]
                        rows = self._continue(cache, prompts, workload.shape.new_tokens)
                        for number, row in zip(members, rows, strict=True):
                            outputs[number] = row
        return Answers(outputs, positions.count)

    def _extend(self, cache: Any, prefix: tuple[int, ...]) -> None:
        ids = torch.tensor([prefix[cache.get_seq_length() :]])
        self._model.model(input_ids=ids, use_cache=True, **{self._cache_argument: cache})

    def _continue(self, shared: Any, prompts: list[Prompt], new_tokens: int) -> list[list[int]]:
        cache = copy.deepcopy(shared)
        cache.batch_repeat_interleave(len(prompts))
        prefix = prompts[0].prefix
        ids, own = _left_padded([prompt.tokens[prefix:] for prompt in prompts])
        mask = torch.cat([torch.ones(len(prompts), prefix, dtype=torch.long), own], dim=1)
        positions = (mask.cumsum(1) - 1)[:, prefix:]
        chosen: list[torch.Tensor] = []
        while True:
            logits = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
                logits_to_keep=1,
                **{self._cache_argument: cache},
            ).logits
            ids = logits[:, -1].argmax(-1, keepdim=True)
            chosen.append(ids)
            if len(chosen) == new_tokens:
                return torch.cat(chosen, dim=1).tolist()
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1


def run_padded(model: Any, workload: Workload, batch: int) -> list[list[int]]:
    """Return the responses of left-padded batches, the longest prompts first."""
    order = sorted(
        range(len(workload.prompts)), key=lambda number: -len(workload.prompts[number].tokens)
    )
    outputs: list[list[int]] = [[] for _ in order]
    for start in range(0, len(order), batch):
        members = order[start : start + batch]
        prompts = [workload.prompts[number].tokens for number in members]
        rows = generate_padded(model, prompts, workload.shape.new_tokens)
        for number, row in zip(members, rows, strict=True):
            outputs[number] = row
    return outputs


@torch.inference_mode()
def generate_padded(model: Any, prompts: list[tuple[int, ...]], new_tokens: int) -> list[list[int]]:
    """Return ``generate``'s greedy responses to one left-padded batch."""
    ids, mask = _left_padded(prompts)
    made = model.generate(
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=PAD,
    )
    rows: list[list[int]] = made[:, ids.shape[1] :].tolist()
    return rows


def _left_padded(rows: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and mask, both int64 [rows, longest]."""
    longest = max(map(len, rows))
    ids = [[PAD] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
