"""Cutting requests into batches that fit a bound on memory.

Estimates follow from the configuration, never from trial and error, so the same requests,
bound and row limit give the same batches on every machine with the same kind of device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from safety_receipts.receipts.io.memory import available_memory
from safety_receipts.runner.checkpoint.model_facts import Architecture
from safety_receipts.runner.engines.prefix.layout import STRETCH_KEYS
from safety_receipts.runner.engines.prefix.pool import pool_tokens
from safety_receipts.runner.engines.prefix.schedule import BatchSize

ACCELERATOR_SHARE = 0.8
"""Share of an accelerator's memory, free after loading, that batches may take by default."""
CPU_SHARE = 0.5
"""Share of the available main memory that batches may take by default."""

CHUNK = {"cpu": 2048}
"""Most tokens of a forward pass over prompts, by kind of device."""
OTHER_CHUNK = 8192
"""The same on any other."""
_PASS_SHARE = {"cpu": 4}
"""A forward pass over prompts may take one part in so many of the memory, by kind of device."""
_OTHER_SHARE = 16
"""The same on any other: what a pass leaves, rows take, and an accelerator needs no wider one."""
_LEAST_CHUNK = 64

SCRATCH_BYTES = 80
"""Scratch memory of sampling for each logit handled at once, in bytes; an upper bound."""
PENALTY_BYTES = 18
"""The same of a repetition penalty: which were seen, and four rows of logits."""


@dataclass(frozen=True, slots=True)
class MemoryDemand:
    """What a request asks of memory."""

    read: int
    """Tokens computed in the first forward pass."""
    grown: int
    """Tokens of the longest context it can reach; 0: no cache is kept."""
    scored: int
    """Positions whose logits are needed in the first forward pass."""


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """How much memory a batch takes, in bytes, beside the weights."""

    architecture: Architecture
    """Sizes of the model."""
    number_bytes: int
    """Bytes of an activation: 4 in float32, else 2."""
    eager: bool
    """Whether attention forms the matrix of all pairs of tokens."""
    chunk_logits: int
    """Logits that sampling handles at once
    (:func:`runner.engines.decoding.sampling.chunk_logits`)."""
    kept_bytes: int
    """Bytes of a number in the keys and values that rows share
    (:func:`runner.engines.prefix.attention.keeps_fp32`)."""
    penalised: bool = False
    """Whether tokens are chosen under a repetition penalty."""
    pooled: bool = False
    """Whether keys and values lie in a pool, each row's in a room of its own size, and decode
    steps attend in one grouped call a layer."""

    def batch_bytes(self, rows: int, load: MemoryDemand) -> int:
        """Return an upper estimate for ``rows`` rows padded to ``load``.

        Counted are the keys and values kept (a layer never keeps more than its window), the
        widest tensors of a layer alive at once (residuals and their fp32 norms, queries, keys
        and values widened to all heads, the feed-forward part), attention scores or masks,
        logits, and the scratch of sampling.
        """
        widths, size = self.architecture.widths, self.number_bytes
        kept = rows * self.architecture.kv_values(load.grown) * size
        token = self._token_bytes()
        reading = rows * load.read * token + self._attention(rows, load.read, load.read)
        step = rows * (token + 2 * widths.queries * load.grown * size)
        step += self._attention(rows, 1, load.grown)
        return kept + max(reading, step) + self._logits_bytes(rows * load.scored)

    def shared_batch_bytes(self, size: BatchSize, chunk: int) -> int:
        """Return an upper estimate for a batch of a schedule.

        Counted are the segments' keys and values and the rows' own, which a layer keeps whole
        whatever its window is, and a forward pass of the longest kind.  Without a pool every
        row has the room of the longest.

        Args:
            size: The batch.
            chunk: Tokens of a forward pass.
        """
        widths = self.architecture.widths
        values = [layer.values for layer in self.architecture.kv_layers]
        if self.pooled:
            # While a pool is made for the batch the segments of one layer are there twice.
            kept = pool_tokens(size.shared + size.kept) * sum(values) + size.shared * max(values)
            # Queries, outputs and weighted outputs of each part of a row: a segment may be cut,
            # and under a window it has a part for itself and one for the row alone.
            parts = 2 * size.levels + 1 + size.shared // STRETCH_KEYS
            step = size.rows * parts * (widths.queries + widths.heads) * 4 * 4
        else:
            kept = (size.shared + size.rows * size.columns) * sum(values)
            step = size.rows * size.columns * widths.queries * 2 * 4
        reading = min(max(chunk, size.read), size.rows * size.read)
        tokens = max(min(chunk, size.shared), reading)
        other = self.pass_bytes(tokens, size.levels) + step + self._logits_bytes(size.scored)
        return kept * self.kept_bytes + other

    def pass_bytes(self, tokens: int, levels: int) -> int:
        """Return an upper estimate for a forward pass that attends to shared segments.

        Args:
            tokens: Tokens of the pass.
            levels: Most segments that one of them reads.
        """
        widest = max(layer.values for layer in self.architecture.kv_layers)
        queries = self.architecture.widths.queries
        # Partial results and sums by level, their weighted copies, and queries, keys and
        # values in fp32, spread by rows.
        partial = (2 * (levels + 1) * (queries + self.architecture.widths.heads)) * 4
        spread = (3 * queries + 3 * widest) * 4
        windows = [layer.window for layer in self.architecture.kv_layers if layer.window]
        masks = 5 * tokens * (tokens + min(max(windows), tokens)) if windows else 0
        return tokens * (self._token_bytes() + partial + spread) + masks

    def _token_bytes(self) -> int:
        """Return the bytes of the widest tensors of a layer alive at once, for a token."""
        widths, size = self.architecture.widths, self.number_bytes
        widest = max(layer.values for layer in self.architecture.kv_layers)
        return (
            widths.hidden * (6 * size + 8)
            + widths.feed_forward * 4 * size
            + (widths.queries * 5 + 2 * widest) * size
        )

    def _logits_bytes(self, positions: int) -> int:
        vocabulary = self.architecture.widths.vocabulary
        logits = positions * vocabulary
        chunk = min(logits, max(self.chunk_logits, vocabulary))
        if self.penalised:  # which tokens were seen, and by chunk the logits that this changes
            return logits * (2 * self.number_bytes + 9) + chunk * (SCRATCH_BYTES + PENALTY_BYTES)
        return logits * (2 * self.number_bytes + 8) + chunk * SCRATCH_BYTES

    def _attention(self, rows: int, queries: int, keys: int) -> int:
        pairs = queries * keys
        mask = pairs * (1 + self.number_bytes)
        if not self.eager:
            return mask
        return mask * rows + rows * self.architecture.widths.heads * pairs * (
            3 * self.number_bytes + 8
        )


def widest_chunk(model: MemoryModel, memory: int, device: torch.device) -> int:
    """Return the most tokens of a forward pass over prompts.

    Args:
        model: The estimate.
        memory: Bytes that a batch may take.
        device: Where.
    """
    chunk = CHUNK.get(device.type, OTHER_CHUNK)
    share = _PASS_SHARE.get(device.type, _OTHER_SHARE)
    while chunk > _LEAST_CHUNK and model.pass_bytes(chunk, 4) * share > memory:
        chunk //= 2
    return chunk


def cut_batches(
    loads: Sequence[MemoryDemand], memory: MemoryModel, bound: int, max_rows: int
) -> tuple[list[list[int]], list[int]]:
    """Cut requests into batches.

    They are sorted by length (equal lengths keep their order) and taken greedily: a batch
    grows while its estimate, padded to its longest member, stays within the bound.

    Args:
        loads: What each request asks of memory.
        memory: The estimate.
        bound: Bytes that a batch may take.
        max_rows: Most requests of a batch.

    Returns:
        Batches of indices into ``loads``, shortest first, and the indices of the requests that
        do not fit even alone.
    """
    order = sorted(range(len(loads)), key=lambda i: (loads[i].read, loads[i].grown))
    batches: list[list[int]] = []
    too_large: list[int] = []
    padded = MemoryDemand(0, 0, 0)
    for index in order:
        load = loads[index]
        if memory.batch_bytes(1, load) > bound:
            too_large.append(index)
            continue
        joint = MemoryDemand(
            max(padded.read, load.read),
            max(padded.grown, load.grown),
            max(padded.scored, load.scored),
        )
        rows = len(batches[-1]) + 1 if batches else 1
        if 1 < rows <= max_rows and memory.batch_bytes(rows, joint) <= bound:
            batches[-1].append(index)
            padded = joint
        else:
            batches.append([index])
            padded = load
    return batches, too_large


def default_memory(device: torch.device) -> int:
    """Return the bytes that a batch may take where the caller names no bound."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * ACCELERATOR_SHARE)
    if device.type == "mps":
        left = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return int(left * ACCELERATOR_SHARE)
    return int(available_memory() * CPU_SHARE)
