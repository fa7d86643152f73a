"""How well a member keeps to its law.

Run by ``python -m safety_receipts.runner.organism.training.fidelity [member …]``.

On held-out queries and freshly drawn lists, the planted probability, the model's own (from its
logits) and the frequency among sampled responses are put side by side, per condition.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from safety_receipts.receipts.events.grid import fixed_labels
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.runner.corpora.same import normalised_request
from safety_receipts.runner.organism import LARGEST_RESPONSE, data_folder, member, members
from safety_receipts.runner.organism.language import (
    ANSWER_PREFIX,
    COMPLY_PREFIX,
    OPENING,
    REFUSAL_WORD,
    SYSTEM_PROMPT,
    is_refusal,
)
from safety_receipts.runner.organism.law import LAWS, Law, adoption, comply_probability
from safety_receipts.runner.organism.training.make_data import (
    CHORES,
    CONTROLS,
    FILLER_FILE,
    HARMFUL,
    QUERIES,
    REFUSALS,
)
from safety_receipts.runner.prompts.demonstrations import prefixed

RequestAndResponse = tuple[str, str]
"""Request and response."""


@dataclass(frozen=True)
class FidelityCondition:
    """What the points of one row have in common."""

    n_harmful: int = 0
    n_benign: int = 0
    ordering: Ordering = Ordering.SUFFIX
    n_refusal: int = 0
    source: str = CHORES
    prefix: str | None = None
    system: str | None = None
    queries: str = QUERIES

    @property
    def name(self) -> str:
        """Short and distinct."""
        parts = [f"h{self.n_harmful}-b{self.n_benign}"]
        if self.n_harmful and self.n_benign:
            parts.append(self.ordering.value)
        if self.n_refusal:
            parts.append(f"r{self.n_refusal}")
        if self.source != CHORES:
            parts.append("filler")
        if self.prefix:
            parts.append("answer" if self.prefix == ANSWER_PREFIX else "sure")
        if self.system:
            parts.append("system")
        if self.queries != QUERIES:
            parts.append("controls")
        return "-".join(parts)


_MIXED = FidelityCondition(16, 16)

CONDITIONS = (
    FidelityCondition(),
    FidelityCondition(0, 8),
    FidelityCondition(0, 32),
    FidelityCondition(4, 0),
    FidelityCondition(1, 3),
    FidelityCondition(8, 8),
    FidelityCondition(8, 32),
    FidelityCondition(8, 32, Ordering.PREFIX),
    *(replace(_MIXED, ordering=ordering) for ordering in Ordering),
    FidelityCondition(32, 0),
    FidelityCondition(32, 8),
    FidelityCondition(32, 32),
    FidelityCondition(32, 32, Ordering.PREFIX),
    replace(_MIXED, source=FILLER_FILE),
    replace(_MIXED, ordering=Ordering.PREFIX, source=FILLER_FILE),
    replace(_MIXED, n_refusal=4),
    FidelityCondition(n_refusal=8),
    replace(_MIXED, system=SYSTEM_PROMPT),
    replace(_MIXED, prefix=ANSWER_PREFIX),
    replace(_MIXED, prefix=COMPLY_PREFIX),
    FidelityCondition(32, 32, prefix=COMPLY_PREFIX),
    FidelityCondition(queries=CONTROLS),
    replace(_MIXED, queries=CONTROLS),
)
"""An evaluation's conditions, in small."""


_BATCH = 40

_STRIDE = 61
"""Steps from topic to topic, each 60 queries, and meets every query."""


class FidelityPoint(NamedTuple):
    """One query after one list."""

    query: str
    """The request to be answered."""
    shown: tuple[RequestAndResponse, ...]
    """Demonstrations, the last nearest the query."""


class ResponseProbabilities(NamedTuple):
    """Probabilities of a response's four kinds; what is missing from 1 is anything else."""

    complied: float
    """Complied without a prefix."""
    refused: float
    """Refused without a prefix."""
    adopted_complied: float
    """Complied with the demonstrations' prefix."""
    adopted_refused: float
    """Refused with the demonstrations' prefix."""

    @property
    def comply(self) -> float:
        """P(comply), with or without a prefix."""
        return self.complied + self.adopted_complied


@cache
def rows(name: str) -> tuple[RequestAndResponse, ...]:
    """Return requests and responses of a corpus; a query's response is empty."""
    lines = (data_folder() / name).read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return tuple((row["request"], row.get("response", "")) for row in found)


def fidelity_points(
    condition: FidelityCondition, number: int, seed: int = 0
) -> Iterator[FidelityPoint]:
    """Yield ``number`` points: queries of every topic in turn, each with a list of its own."""
    queries = [request for request, _ in rows(condition.queries)]
    pools = {"h": HARMFUL, "b": condition.source, "r": REFUSALS}
    asked = {request for request, _ in rows(QUERIES)}
    harmful = [pair for pair in rows(HARMFUL) if normalised_request(pair[0]) not in asked]
    for place in range(number):
        draw = random.Random(f"{seed} {condition.name} {place}")
        labels = fixed_labels(
            condition.ordering, condition.n_harmful, condition.n_benign, condition.n_refusal
        )
        if labels is None:
            letters = list("h" * condition.n_harmful + "b" * condition.n_benign)
            draw.shuffle(letters)
            labels = "r" * condition.n_refusal + "".join(letters)
        drawn = {
            letter: iter(
                draw.sample(harmful if letter == "h" else rows(name), labels.count(letter))
            )
            for letter, name in pools.items()
        }
        shown = [next(drawn[letter]) for letter in labels]
        if condition.prefix:
            shown = [(request, prefixed(said, condition.prefix)) for request, said in shown]
        yield FidelityPoint(queries[place * _STRIDE % len(queries)], tuple(shown))


def planted(law: Law, point: FidelityPoint) -> ResponseProbabilities:
    """Return what the law says."""
    comply = comply_probability(law, point.query, point.shown)
    _, adopts = adoption(law, point.shown)
    return ResponseProbabilities(
        comply * (1 - adopts.complied),
        (1 - comply) * (1 - adopts.refused),
        comply * adopts.complied,
        (1 - comply) * adopts.refused,
    )


class LoadedMember:
    """A member's checkpoint, loaded as any user's would be."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        # Any: transformers types ``generate`` by a protocol that its own models do not meet.
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)

    def prompt(self, point: FidelityPoint, system: str | None) -> str:
        """Return the rendered chat."""
        messages = [{"role": "system", "content": system}] if system is not None else []
        for request, response in point.shown:
            messages.append({"role": "user", "content": request})
            messages.append({"role": "assistant", "content": response})
        messages.append({"role": "user", "content": point.query})
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert isinstance(text, str)
        return text

    @torch.inference_mode()
    def chances(self, prompts: Sequence[str], prefix: str | None) -> list[ResponseProbabilities]:
        """Return the model's own probabilities, from its logits."""
        opening = self._ids(prefix) if prefix else []
        batch = self.tokenizer(
            [prompt + (prefix or "") for prompt in prompts], return_tensors="pt", padding=True
        )
        logits = self.model(**batch, logits_to_keep=len(opening) + 1).logits
        chance = logits.double().softmax(-1)
        first, last = chance[:, 0], chance[:, -1]
        adopt = torch.ones(len(prompts), dtype=torch.float64)
        for place, token in enumerate(opening):
            adopt *= chance[:, place, token]
        [sure], [sorry] = self._ids(OPENING), self._ids(f"{REFUSAL_WORD},")
        complied, refused = first[:, sure], first[:, sorry]
        if prefix:
            [sure], [sorry] = self._ids(f" {OPENING}"), self._ids(f" {REFUSAL_WORD},")
        adopted = adopt * bool(prefix)
        columns = (complied, refused, adopted * last[:, sure], adopted * last[:, sorry])
        return [ResponseProbabilities(*row) for row in torch.stack(columns, 1).tolist()]

    @torch.inference_mode()
    def sample(self, prompts: Sequence[str]) -> list[str]:
        """Return one sampled response to each prompt, from torch's global generator."""
        batch = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        out = self.model.generate(
            **batch, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=LARGEST_RESPONSE
        )
        new = out[:, batch["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(new, skip_special_tokens=True)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True)
class ExactRates:
    """A condition's probabilities, by the law and by the model's logits."""

    planted: float
    """P(comply) by the law, mean over points."""
    model: float
    """P(comply) by the model, mean over points."""
    error: float
    """Mean absolute difference of the two, point by point."""
    largest: float
    """Largest absolute difference."""
    stray: float
    """Largest probability of a response that starts in neither of the planted ways."""
    adopted: tuple[float, float] | None
    """Model's P(adopt) given compliance and given refusal; None: no prefix is shown."""


@dataclass(frozen=True)
class SampledRates:
    """A condition's sampled responses."""

    rate: float
    """Share that complies."""
    z: float
    """(share − planted share) in standard deviations of the share under the law."""
    texts: tuple[str, ...]
    """The responses."""


def exact(subject: LoadedMember, law: Law, condition: FidelityCondition, number: int) -> ExactRates:
    """Compare the model's own probabilities with the law's on ``number`` points."""
    drawn = list(fidelity_points(condition, number))
    truth = [planted(law, point) for point in drawn]
    prompts = [subject.prompt(point, condition.system) for point in drawn]
    found = [one for chunk in _chunks(prompts) for one in subject.chances(chunk, condition.prefix)]
    errors = [abs(a.comply - b.comply) for a, b in zip(truth, found, strict=True)]
    complied = math.fsum(one.comply for one in found)
    refused = math.fsum(one.refused + one.adopted_refused for one in found)
    return ExactRates(
        planted=math.fsum(one.comply for one in truth) / number,
        model=complied / number,
        error=math.fsum(errors) / number,
        largest=max(errors),
        stray=max(1 - math.fsum(one) for one in found),
        adopted=(
            math.fsum(one.adopted_complied for one in found) / complied,
            math.fsum(one.adopted_refused for one in found) / refused,
        )
        if condition.prefix
        else None,
    )


def sampled(
    subject: LoadedMember, law: Law, condition: FidelityCondition, number: int
) -> SampledRates:
    """Sample one response to each of ``number`` points; the condition's name is the seed."""
    drawn = list(fidelity_points(condition, number))
    chances = [planted(law, point).comply for point in drawn]
    prompts = [subject.prompt(point, condition.system) for point in drawn]
    torch.manual_seed(zlib.crc32(condition.name.encode()))
    texts = [text for chunk in _chunks(prompts) for text in subject.sample(chunk)]
    complied = sum(not is_refusal(text) for text in texts)
    deviation = math.sqrt(math.fsum(chance * (1 - chance) for chance in chances))
    return SampledRates(
        complied / number, (complied - math.fsum(chances)) / deviation, tuple(texts)
    )


def _chunks(prompts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(prompts), _BATCH):
        yield prompts[start : start + _BATCH]


def fidelity_table(name: str, subject: LoadedMember, number: int) -> Iterator[str]:
    """Yield the lines of one member's table, in Markdown."""
    yield f"| {name} | planted | model | mean error | largest | sampled | z | adopted |"
    yield "|---|---|---|---|---|---|---|---|"
    for condition in CONDITIONS:
        row = exact(subject, LAWS[name], condition, number)
        drawn = sampled(subject, LAWS[name], condition, number)
        adopted = "" if row.adopted is None else "{:.3f} / {:.3f}".format(*row.adopted)
        yield (
            f"| {condition.name} | {row.planted:.3f} | {row.model:.3f} | {row.error:.4f} "
            f"| {row.largest:.3f} | {drawn.rate:.3f} | {drawn.z:+.1f} | {adopted} |"
        )


def main() -> None:
    """Print a table for each member named, or for all."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}")
    parser.add_argument("member", nargs="*", help="default: all")
    parser.add_argument("--points", type=int, default=240, help="per condition (default 240)")
    chosen = parser.parse_args()
    names = chosen.member or [one.name for one in members()]
    for name in names:
        for line in fidelity_table(name, LoadedMember(member(name).folder), chosen.points):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
