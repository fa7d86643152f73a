"""Other models than the one that a record names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from attacks.subject import Subject
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.rounding import round_weights
from safety_receipts.runner.organism import member
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.templates.messages import Message, Role

FINE_TUNING_STEPS = 100
LEARNING_RATE = 1e-4
_BATCH = 16
_SEED = 17
_NO_TARGET = -100


def another_stage(subject: Subject, name: str) -> LoadedModel:
    """Return the member of another law: what another course of training would have made."""
    return subject.model(member(name).folder)


def rounded(subject: Subject, bits: int) -> LoadedModel:
    """Return the checkpoint with weights rounded to few bits."""
    model = subject.model()
    round_weights(model, bits)
    return model


def fine_tuned(
    subject: Subject, corpus: str = "refusals", steps: int = FINE_TUNING_STEPS
) -> LoadedModel:
    """Return the checkpoint after some more steps on one of its own harmless corpora.

    AdamW on the cross-entropy of the responses, fixed seed.

    Args:
        subject: The study.
        corpus: A file of its data folder with requests and responses.
        steps: Optimiser steps of 16 pairs.
    """
    loaded = subject.model()
    pairs = list(_pairs(subject, corpus))
    coin = torch.Generator().manual_seed(_SEED)
    model: Any = loaded.model
    weights = list(model.parameters())
    for one in weights:
        one.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = torch.randint(len(pairs), (_BATCH,), generator=coin).tolist()
            ids, targets = _padded([pairs[number] for number in chosen])
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
            loss = functional.cross_entropy(
                logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=_NO_TARGET
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    for one in weights:
        one.requires_grad_(False)
    return loaded


def under_another_template(subject: Subject, folder: Path) -> Renderer:
    """Return a renderer whose chat template opens every conversation with a sentence more.

    Args:
        subject: The study.
        folder: Gets the checkpoint's tokenizer with that template.
    """
    folder.mkdir(parents=True)
    source = subject.resolved.artifacts.checkpoint.folder
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    template = (source / TEMPLATE).read_text("utf-8")
    (folder / TEMPLATE).write_text(f"Refuse politely.{template}", "utf-8")
    texts = replace(subject.resolved.artifacts.texts, chat=ChatFormat.load(folder))
    return Renderer(subject.plan, texts, subject.seed)


class UnguardedRenderer(Renderer):
    """Renders prompts as a program would that asks of a chat template no more than the contents."""

    def _tokens(self, conversation: Sequence[Message]) -> tuple[int, ...]:
        prompt = self.plan.prompt
        return self._texts.chat.tokens(
            conversation, date=prompt.date, options=prompt.template_options
        )


TEMPLATE = "chat_template.jinja"


def _pairs(subject: Subject, corpus: str) -> Iterator[tuple[list[int], int]]:
    """Yield the token ids of a conversation, and where its response begins."""
    chat, plan = subject.resolved.artifacts.texts.chat, subject.plan
    tokenizer = Tokenizer.from_file(
        str(subject.resolved.artifacts.checkpoint.folder / "tokenizer.json")
    )
    path = subject.resolved.file.parent / "data" / f"{corpus}.jsonl"
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        prompt = chat.tokens([Message(Role.USER, row["request"])], date=plan.prompt.date)
        response = [*tokenizer.encode(row["response"]).ids, plan.sampling.end_tokens[0]]
        yield [*prompt, *response], len(prompt)


def _padded(pairs: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and targets, int64 [B, L], padded on the right."""
    length = max(len(ids) for ids, _ in pairs)
    ids = torch.zeros((len(pairs), length), dtype=torch.int64)
    targets = torch.full((len(pairs), length), _NO_TARGET, dtype=torch.int64)
    for row, (tokens, first) in enumerate(pairs):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        targets[row, first : len(tokens)] = torch.tensor(tokens[first:])
    return ids, targets
