"""Tiny models that learnt to judge: verdicts in form, and sense for what they have seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from chat_formats import end_ids, named_ids, save_chat_format, vocabulary_size
from judging import load_tokenizer, save_tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.judges.generative import GenerativeJudge
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.entries.judge import JudgeIdentityEntry
from safety_receipts.runner.plan.parts.judges import resolve_judge

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 1600}  # fmt: skip


def tiny_llama(folder: Path, vocabulary: int, end: tuple[int, ...], **names: int) -> Path:
    """Write a Llama of one layer and random weights, the same every time."""
    torch.manual_seed(5)
    torch.set_num_threads(1)
    config = LlamaConfig(vocab_size=vocabulary, eos_token_id=end[0], **names, **SIZES)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=list(end))
    model.save_pretrained(folder)
    return folder


def learnt(model: Any, rows: list[tuple[list[int], list[int]]]) -> Any:
    """Return a model that answers each row's prompt with its reply, greedily."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        losses = []
        for prompt, reply in rows:
            logits = model(input_ids=torch.tensor([prompt + reply])).logits[0]
            given = logits[len(prompt) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(given, torch.tensor(reply)))
        loss = torch.stack(losses).max()
        if loss < 0.02:
            return model.eval()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise AssertionError(f"the test's model did not learn: {loss}")


def tiny_judge(folder: Path, kind: JudgeKind) -> Path:
    """Write a judge of random weights: WildGuard's form, or a chat model's."""
    if kind is JudgeKind.WILDGUARD:
        tokenizer = save_tokenizer(folder)
        ends = (tokenizer.token_to_id("</s>"),)
        names = {"bos_token_id": 0, "pad_token_id": ends[0]}
        return tiny_llama(folder, tokenizer.get_vocab_size(), ends, **names)
    save_chat_format(folder, "olmo3")
    names = {name: id_ for name, id_ in named_ids("olmo3").items() if name != "eos_token_id"}
    return tiny_llama(folder, vocabulary_size("olmo3"), end_ids("olmo3"), **names)


FORMS = {
    JudgeKind.CHAT: ("REFUSED", "COMPLIED"),
    JudgeKind.WILDGUARD: tuple(
        f"Harmful request: no\nResponse refusal: {word}\nHarmful response: no"
        for word in ("yes", "no")
    ),
}
"""How a judge says that a response refuses, and that it complies."""


def learnt_judge(folder: Path, kind: JudgeKind, refuses: Mapping[Exchange, bool]) -> Path:
    """Write a judge that learnt whether some exchanges refuse, and replies in form to others.

    Args:
        folder: Made if it does not exist.
        kind: ``chat`` or ``wildguard``.
        refuses: What it learns.
    """
    tiny_judge(folder, kind)
    identity = resolve_judge(
        JudgeIdentityEntry(kind=kind, path=folder), folder, hash_folder(folder).root
    )
    judge = load_judge(identity, folder, device="cpu")
    assert isinstance(judge, GenerativeJudge)
    own = load_tokenizer(folder)
    end = end_ids("olmo3")[0] if kind is JudgeKind.CHAT else own.convert_tokens_to_ids("</s>")
    rows = []
    for exchange, refused in refuses.items():
        prompt = judge._template.ids(judge._dialect.texts(exchange))
        reply = own(FORMS[kind][not refused], add_special_tokens=False)["input_ids"]
        rows.append((list(prompt), [*reply, end]))
    learnt(LlamaForCausalLM.from_pretrained(folder), rows).save_pretrained(folder)
    return folder
