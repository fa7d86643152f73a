"""Cutting requests into batches that fit a bound on memory.

Estimates follow from the configuration, never from trial and error, so the same requests,
bound and row limit give the same batches on every machine with the same kind of device.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.model_facts import Architecture

SCRATCH_BYTES = 80
"""Scratch memory of sampling for each logit handled at once, in bytes; an upper bound."""


@dataclass(frozen=True, slots=True)
class Load:
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
    """Logits that sampling handles at once (:func:`runner.engines.sampling.chunk_logits`)."""

    def batch_bytes(self, rows: int, load: Load) -> int:
        """Return an upper estimate for ``rows`` rows padded to ``load``.

        Counted are the keys and values kept (a layer never keeps more than its window), the
        widest tensors of a layer alive at once (residuals and their fp32 norms, queries, keys
        and values widened to all heads, the feed-forward part), attention scores or masks,
        logits, and the scratch of sampling.
        """
        widths, size = self.architecture.widths, self.number_bytes
        kept = rows * self.architecture.kv_values(load.grown) * size
        widest = max(layer.values for layer in self.architecture.kv_layers)
        token = (
            widths.hidden * (6 * size + 8)
            + widths.feed_forward * 4 * size
            + (widths.queries * 5 + 2 * widest) * size
        )
        reading = rows * load.read * token + self._attention(rows, load.read, load.read)
        step = rows * (token + 2 * widths.queries * load.grown * size)
        step += self._attention(rows, 1, load.grown)
        logits = rows * load.scored * widths.vocabulary
        chunk = min(logits, max(self.chunk_logits, widths.vocabulary))
        heads = logits * (2 * size + 8) + chunk * SCRATCH_BYTES
        return kept + max(reading, step) + heads

    def _attention(self, rows: int, queries: int, keys: int) -> int:
        pairs = queries * keys
        mask = pairs * (1 + self.number_bytes)
        if not self.eager:
            return mask
        return mask * rows + rows * self.architecture.widths.heads * pairs * (
            3 * self.number_bytes + 8
        )


def cut(
    loads: Sequence[Load], memory: MemoryModel, bound: int, max_rows: int
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
    padded = Load(0, 0, 0)
    for index in order:
        load = loads[index]
        if memory.batch_bytes(1, load) > bound:
            too_large.append(index)
            continue
        joint = Load(
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


def available_memory() -> int:
    """Return the bytes of main memory that this process may still take.

    Linux's own estimate, and what is left of the control group's limit where there is one;
    elsewhere half of the machine's memory.
    """
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    figures = dict(line.split(":", 1) for line in lines if ":" in line)
    available = int(figures["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text("ascii").strip()
        used = (group / "memory.current").read_text("ascii").strip()
    except OSError:
        return available
    return available if limit == "max" else max(0, min(available, int(limit) - int(used)))
