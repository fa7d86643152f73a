"""What a judge with weights takes of a device that it shares with the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity, traits_of
from safety_receipts.runner.checkpoint.config import read_config
from safety_receipts.runner.checkpoint.model_facts import read_architecture
from safety_receipts.runner.checkpoint.model_files import read_pickled_weights, read_weights
from safety_receipts.runner.judges.weights import named_dtype

_ROWS, _TOKENS = 32, 1024
"""Responses that are judged at once, and tokens of the prompts in which they are: more rows make a
step no cheaper that reads each row's own keys and values."""
_TEMPLATE = 1024
"""Tokens of a judge's own words, about."""
_BYTES_OF_A_TOKEN = 8
"""Of the text of a response: there are four or five, and a judge has no more tokens than bytes."""
_WIDE = 4
"""Bytes of a number in float32."""


@dataclass(frozen=True, slots=True)
class LongestJudged:
    """The longest that a judge is asked about."""

    query: int
    """Bytes of the longest request."""
    new_tokens: int
    """Most tokens of a response, of the model's."""

    @classmethod
    def of(cls, queries: Sequence[str], new_tokens: int) -> LongestJudged:
        """Return it for a plan.

        Args:
            queries: What is asked, at least one.
            new_tokens: Most tokens of a response.
        """
        return cls(max(len(query.encode("utf-8", "replace")) for query in queries), new_tokens)

    @property
    def tokens(self) -> int:
        """Tokens of the prompt in which it is asked, about; at most, but for the template's."""
        return _TEMPLATE + self.query + _BYTES_OF_A_TOKEN * self.new_tokens


@dataclass(frozen=True, slots=True)
class JudgeRoom:
    """What a judge takes, in bytes."""

    weights: int
    """Its weights, as they are loaded."""
    work: int
    """Room to judge in: it follows from the model, the plan and the kind of device alone."""

    @property
    def all(self) -> int:
        """Both."""
        return self.weights + self.work


def judge_room(
    identity: JudgeIdentity, folder: Path, longest: LongestJudged, device: str | None
) -> JudgeRoom:
    """Return what a judge with weights takes.

    A generative judge has room for :data:`_ROWS` prompts of :data:`_TOKENS` tokens, or for two of
    the longest, if that is more.  A classifier's batches have a bound of their own
    (:mod:`runner.judges.classifier`), and about the size of its weights.

    Args:
        identity: The judge.
        folder: Its weights.
        longest: The longest that it is asked about.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one.

    Raises:
        ReceiptsError: The folder cannot be read, or there is no such device.
    """
    values = _values(folder)
    if not traits_of(identity.kind).generates:
        return JudgeRoom(values * _WIDE, values * _WIDE)
    from safety_receipts.runner.engines.batches import MemoryDemand, MemoryModel  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.decoding.sampling import chunk_logits  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.load import resolve_device  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.prefix.attention import keeps_fp32  # noqa: PLC0415 (torch)

    place = resolve_device(device or "auto")
    architecture = read_architecture(read_config(folder), folder)
    size = _WIDE if named_dtype(folder) is Dtype.FLOAT32 else _WIDE // 2
    memory = MemoryModel(
        architecture,
        number_bytes=size,
        eager=False,
        chunk_logits=chunk_logits(place),
        kept_bytes=_WIDE if keeps_fp32(place) else size,
    )
    reply = identity.max_new_tokens or 0
    most = min(architecture.context_limit, longest.tokens + reply)
    usual = min(architecture.context_limit, _TOKENS + reply)

    def taken(rows: int, tokens: int) -> int:
        demand = MemoryDemand(read=tokens, grown=tokens, scored=1)
        return memory.batch_bytes(rows, demand) * memory.kept_bytes // size

    return JudgeRoom(values * size, max(taken(_ROWS, usual), taken(2, most)))


def _values(folder: Path) -> int:
    """Return how many numbers a folder's weights hold."""
    try:
        return read_weights(folder).values
    except UsageError:
        pickled = read_pickled_weights(folder)  # whether they may be is for whoever loads them
        if pickled is None:
            raise
        return pickled.values
