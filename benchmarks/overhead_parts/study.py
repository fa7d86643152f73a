"""A plan of many short prompts, with its checkpoint and corpora."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

CONDITIONS, DRAWS = 31, 2
NEW_TOKENS = 256
"""Tokens of a response."""
_TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _make_checkpoint(folder: Path) -> None:
    """Write a tiny model with a tokenizer of made-up words, in the form of Llama 3's."""
    from engine_peers.tiny_model import make_model, wrap_tokenizer
    from engine_peers.workloads import SPECIAL_TOKENS, VOCABULARY
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    make_model(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + " ".join(_words())], trainer)
    wrap_tokenizer(tokenizer, _TEMPLATE).save_pretrained(folder)


def _words() -> list[str]:
    draw = random.Random(11)
    letters = "etaoinshrdlucmfwypvbgk"
    return ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(6_000)]


def queries_of(points: int) -> int:
    """Return how many queries a plan of so many points has."""
    queries, rest = divmod(points, CONDITIONS * DRAWS)
    if rest:
        sys.exit(f"{points:,} points are no multiple of {CONDITIONS * DRAWS}")
    return queries


def write_study(folder: Path, points: int, block: str) -> Path:
    """Write checkpoint, corpora and plan; return the plan's file.

    Args:
        folder: Where.
        points: How many points the plan has.
        block: Its ``draw_block``.
    """
    draw, known = random.Random(3), _words()

    def words(number: int) -> str:
        return " ".join(draw.choices(known, k=number))

    _make_checkpoint(folder / "model")
    corpora = {"queries": [{"id": f"q{i}", "request": words(8)} for i in range(queries_of(points))]}
    for name in ("harmful", "benign"):
        corpora[name] = [
            {"id": f"{name}{i}", "request": words(4), "response": words(4)} for i in range(64)
        ]
    for name, rows in corpora.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, "utf-8")
    plan = folder / "plan.yaml"
    plan.write_text(
        f"""\
version: 1
name: run overhead
primary: joint
evidence_access: public
checkpoint: {{path: model, training_stage: none, dtype: float32}}
prompt: {{date: "2026-01-01"}}
sampling: {{method: greedy, max_new_tokens: {NEW_TOKENS}}}
queries:
  - {{corpus: own, name: asked, path: queries.jsonl}}
demonstrations:
  harmful: {{corpus: pairs, name: harmful-pairs, path: harmful.jsonl}}
  benign: {{first: {{corpus: pairs, path: benign.jsonl}}}}
  draws: {DRAWS}
  draw_block: {block}
judge: {{kind: refusal-strings}}
experiments:
  - fixed_harmful: {{harmful: [0, 1, 2, 3, 4, 5], benign: [0, 1, 2, 3, 4]}}
  - fixed_harmful: {{harmful: [6], benign: [0]}}
""",
        "utf-8",
    )
    return plan
