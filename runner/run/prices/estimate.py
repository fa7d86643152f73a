"""What a run will take, estimated by arithmetic alone, before anything is generated.

A dense layer multiplies and adds once for each of its parameters and each token, so that a
token costs 2 × parameters floating-point operations (Kaplan et al. 2020, arXiv:2001.08361,
section 2.1).  A pass takes as long as its arithmetic or as the reading of its bytes, whichever
is longer (the roofline model, Williams et al. 2009).  Attention's own products, which grow
with the context, are left out but where the engine's batches are counted: at tens of thousands of
tokens they can double the arithmetic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final

from pydantic.alias_generators import to_camel

from safety_receipts.runner.engines.device_speed import Throughput

PASS_TOKENS: Final = 256
"""Prompt tokens that a forward pass of this engine computes at least, about: with fewer an
accelerator reads weights for longer than it computes."""


@dataclass(frozen=True)
class ModelSize:
    """What a model asks of a device."""

    parameters: int
    """Parameters that one token passes through: of a mixture of experts, the active ones."""
    weight_bytes: int
    """Bytes of all weights, read once a pass."""
    kv_bytes_per_token: int
    """Bytes of keys and values that one token leaves in the cache, all layers together; those
    with a sliding window count as if they had none, so that long contexts are overestimated."""
    pair_flops: int = 0
    """Operations of attention for a token and one that it looks back at, all layers together:
    4 × the numbers of a layer's queries; windows count as if there were none."""


@dataclass(frozen=True)
class Workload:
    """What is generated."""

    points: int
    """Evaluation points: responses."""
    prompt_tokens: int
    """Tokens of all prompts."""
    unique_prompt_tokens: int
    """Tokens of the prompts' prefix tree."""
    longest_prompt: int
    """Tokens of the longest prompt."""
    max_new_tokens: int
    """Longest response in tokens, at least 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.unique_prompt_tokens <= self.prompt_tokens:
            raise ValueError("prompts have no fewer tokens than their prefix tree")
        if not 0 <= self.points <= self.prompt_tokens or self.max_new_tokens < 1:
            raise ValueError("a prompt and a response have at least one token each")


@dataclass(frozen=True)
class RunSeconds:
    """How long a run takes."""

    prefill: float
    """Computing prompts."""
    decode: float
    """Computing responses."""

    @property
    def total(self) -> float:
        """Both."""
        return self.prefill + self.decode


ASSUMPTIONS = (
    "an estimate, not a measurement",
    "a token costs 2 × parameters operations; attention's own products are left out",
    "a pass takes as long as its arithmetic or as the reading of its bytes, whichever is longer",
    "every response is as long as it may be; the first token comes with its prompt",
    "with shared prefixes: each prefix is computed once, all responses are decoded together, "
    "and no cache is read again, so that no engine is faster on this device",
    "with this engine's batches: as many rows as memory holds, each step reads the weights and the "
    "keys and values of its batch once, and attention's products count; still at the device's "
    "measured speed, which models seldom reach, and without judging",
)
"""How an estimate is made, for people."""


@dataclass(frozen=True)
class RunEstimate:
    """What a run takes, by :data:`ASSUMPTIONS`."""

    prefill_flops: float
    """Operations for all prompts: 2 × parameters × prompt tokens."""
    shared_prefill_flops: float
    """Operations for their prefix tree: 2 × parameters × unique prompt tokens."""
    decode_tokens: int
    """Most response tokens computed one by one: points × (longest response − 1)."""
    decode_steps: int
    """Most decoding passes, one for each token of a batch's responses but the first."""
    decode_flops: float
    """Operations for them: 2 × parameters × decode tokens."""
    largest_context: int
    """Tokens of the longest prompt with the longest response."""
    largest_context_bytes: int
    """Bytes of its keys and values."""
    seconds: RunSeconds
    """With an engine that computes every prompt token."""
    seconds_shared: RunSeconds
    """Lower bound for an engine that shares prefixes."""
    seconds_batched: RunSeconds
    """With the batches of the engine that shares prefixes; never below the bound."""
    throughput: Throughput
    """The device this is for."""

    def as_json(self) -> dict[str, Any]:
        """Return the estimate for ``--json``: names in camelCase, seconds with their totals."""
        document = _camel(asdict(self))
        document["seconds"]["total"] = self.seconds.total
        document["secondsShared"]["total"] = self.seconds_shared.total
        document["secondsBatched"]["total"] = self.seconds_batched.total
        return document | {"assumptions": list(ASSUMPTIONS)}


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    return {
        to_camel(name): _camel(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def estimate(
    model: ModelSize,
    workload: Workload,
    throughput: Throughput,
    *,
    batch_size: int = 1,
    memory: int | None = None,
) -> RunEstimate:
    """Estimate what a run takes.

    With ``F`` operations and ``B`` bytes a second, ``W`` bytes of weights and ``n`` batches, an
    engine that computes every prompt token takes

    - for prompts, the longer of prefill operations / F and n × W / B;
    - for responses, the longer of decode operations / F and
      (decode steps × W + decode tokens × mean context × KV bytes a token) / B.

    The lower bound has unique tokens for prompt tokens and one batch, and reads no cache.  The
    engine's batches are :func:`shared_batches` many; its steps read what they keep.

    Args:
        model: The model.
        workload: What is generated.
        throughput: The device, measured or stated.
        batch_size: Most responses that the engine decodes together.
        memory: Bytes for keys and values; None: without limit.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError("a batch holds at least one response")
    flops_per_token = 2.0 * model.parameters
    batches = ceil(workload.points / batch_size)
    steps = workload.max_new_tokens - 1
    decode_tokens = workload.points * steps
    decode_flops = flops_per_token * decode_tokens
    # Sum over the decoded tokens of the context each one reads: its prompt, and the response so
    # far, which is half of the longest on average.
    contexts_read = workload.prompt_tokens * steps + decode_tokens * (steps + 1) / 2

    prefill_flops = flops_per_token * workload.prompt_tokens
    shared_prefill_flops = flops_per_token * workload.unique_prompt_tokens
    largest_context = workload.longest_prompt + workload.max_new_tokens
    one_batch = min(batches, 1)
    return RunEstimate(
        prefill_flops=prefill_flops,
        shared_prefill_flops=shared_prefill_flops,
        decode_tokens=decode_tokens,
        decode_steps=batches * steps,
        decode_flops=decode_flops,
        largest_context=largest_context,
        largest_context_bytes=largest_context * model.kv_bytes_per_token,
        seconds=RunSeconds(
            prefill=throughput.seconds(prefill_flops, batches * model.weight_bytes),
            decode=throughput.seconds(
                decode_flops,
                batches * steps * model.weight_bytes + contexts_read * model.kv_bytes_per_token,
            ),
        ),
        seconds_shared=RunSeconds(
            prefill=throughput.seconds(shared_prefill_flops, one_batch * model.weight_bytes),
            decode=throughput.seconds(decode_flops, one_batch * steps * model.weight_bytes),
        ),
        seconds_batched=_batched(
            model, workload, throughput, shared_batches(model, workload, batch_size, memory)
        ),
        throughput=throughput,
    )


def shared_batches(
    model: ModelSize, workload: Workload, batch_size: int, memory: int | None
) -> int:
    """Return about how many batches an engine needs that stores shared prefixes once.

    Batches are filled in the order of the prefix tree.  One keeps at most a prompt's tokens that
    the batch before it kept, too, and is closed when another response does not fit, so that all
    that it keeps besides is new.

    Args:
        model: The model.
        workload: What is generated.
        batch_size: Most responses of a batch.
        memory: Bytes for keys and values; None: without limit.
    """
    least = ceil(workload.points / batch_size)
    if memory is None or not model.kv_bytes_per_token:
        return least
    longest = workload.longest_prompt + workload.max_new_tokens
    new = memory // model.kv_bytes_per_token - 2 * longest
    kept = workload.unique_prompt_tokens + workload.points * workload.max_new_tokens
    return workload.points if new <= 0 else min(workload.points, max(least, ceil(kept / new)))


def _batched(
    model: ModelSize, workload: Workload, throughput: Throughput, batches: int
) -> RunSeconds:
    if not workload.points:
        return RunSeconds(0.0, 0.0)
    steps = workload.max_new_tokens - 1
    decode_tokens = workload.points * steps
    mean = workload.prompt_tokens / workload.points
    token, pair = 2.0 * model.parameters, float(model.pair_flops)
    unique = workload.unique_prompt_tokens
    passes = batches + unique // PASS_TOKENS
    # Every batch reads one prompt's tokens again that the batch before it had, at most.
    kept = unique + (batches - 1) * workload.longest_prompt
    read = steps * kept + decode_tokens * (steps + 1) / 2
    return RunSeconds(
        prefill=throughput.seconds(unique * (token + pair * mean), passes * model.weight_bytes),
        decode=throughput.seconds(
            decode_tokens * (token + pair * (mean + (steps + 1) / 2)),
            batches * steps * model.weight_bytes + read * model.kv_bytes_per_token,
        ),
    )
