"""Forward passes over prompts: the tokens of a segment, and the own tokens of rows.

Of most tokens of a prompt nobody reads the logits: later tokens need their keys and values alone.
Once the last layer that keeps any has kept them, the rest of the model's code (that layer's
attention and feed-forward part, layers above that reuse its keys, the output layer) would compute
what is thrown away: the share of a layer of the whole pass, with shared keys of many.  So a pass
that *fills* ends there, by :class:`KeptError`: an exception leaves any model's code, whatever its
layers are made of, without a change of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from safety_receipts.runner.engines.prefix.attention import Terms, attend
from safety_receipts.runner.engines.prefix.pool import PooledRows
from safety_receipts.runner.engines.prefix.prefix_memory import OwnCache, Segment
from safety_receipts.runner.engines.prefix.shared_prefix import (
    Layer,
    Pass,
    PassSetting,
    Positions,
    SegmentRead,
)


def _band(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Return which of ``length`` tokens in a row see which, bool [1, 1, length, length]."""
    places = torch.arange(length, device=device)
    ahead = places[:, None] - places
    return ((ahead >= 0) & (ahead < window))[None, None]


def _attend_in_line(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    terms: Terms,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention among tokens that follow each other, [B, H, T, E] and [B, H, T]."""
    length = query.shape[2]
    if window is None or window >= length:
        return attend(query, key, value, terms, causal=True)
    mask = _band(length, window, query.device)
    return attend(query, key, value, terms, mask=mask)


class KeptError(Exception):
    """Not a fault: all layers have kept the keys and values of a pass, which was for them alone."""


class PromptPass(Pass):
    """Tokens of prompts.

    Args:
        setting: The model's.
        positions: As for :class:`Pass`.
        reads: As for :class:`Pass`.
        fills: Whether nothing but keys and values is wanted.
    """

    def __init__(
        self,
        setting: PassSetting,
        positions: Positions,
        reads: Sequence[SegmentRead],
        *,
        fills: bool,
    ) -> None:
        super().__init__(setting, positions, reads)
        keepers = len(setting.windows) if setting.keepers is None else setting.keepers
        self._last = keepers - 1 if fills else None

    def _attend(self, given: Layer) -> torch.Tensor:
        if given.new and given.place == self._last:
            self._keep(given)
            raise KeptError
        return super()._attend(given)

    def _own(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._keep(layer)
        return self._see(layer, keys, values)

    @abstractmethod
    def _keep(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep new states; return a row's keys [rows, K, T, D] and values [rows, K, T, E]."""

    @abstractmethod
    def _see(
        self, layer: Layer, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return attention to what :meth:`_keep` returned, [H, N, E] and [H, N]."""


class SegmentPass(PromptPass):
    """The next tokens of one segment, for their keys and values alone.

    Args:
        setting: The model's.
        segment: The segment; its first ``filled`` tokens are there.
        number: Tokens of the pass.
        above: The segments above it, the first one first.
    """

    def __init__(
        self, setting: PassSetting, segment: Segment, number: int, above: Sequence[Segment]
    ) -> None:
        start = segment.start + segment.filled
        chain = [(one, one.length) for one in above] + [(segment, segment.filled)]
        reads = [
            SegmentRead(one, level, 0, number, upto) for level, (one, upto) in enumerate(chain)
        ]
        super().__init__(setting, np.arange(start, start + number), reads, fills=True)
        self._segment = segment

    def _keep(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        if layer.new:
            self._segment.write(layer.place, layer.key, layer.value)
        return layer.key[None], layer.value[None]

    def _see(
        self, layer: Layer, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        out, sum_ = _attend_in_line(layer.query, keys, values, layer.terms, layer.window)
        return out[0], sum_[0]


class ReadingPass(PromptPass):
    """Own tokens of rows, before any of theirs is in the cache.

    Args:
        setting: The model's.
        cache: Where they are kept; all rows of the batch.
        rows: The rows of this pass.
        index: int64 [rows, T], which token of the pass a row's t-th one is; tokens that rows
            have in common stand in the pass once.
        lengths: Tokens of each row; what ``index`` holds beyond is not read.
        positions: As for :class:`Pass`.
        reads: As for :class:`Pass`.
        fills: As for :class:`PromptPass`.
    """

    def __init__(
        self,
        setting: PassSetting,
        cache: OwnCache | PooledRows,
        *,
        rows: range,
        index: NDArray[np.int64],
        lengths: Sequence[int],
        positions: Positions,
        reads: Sequence[SegmentRead],
        fills: bool,
    ) -> None:
        super().__init__(setting, positions, reads, fills=fills)
        device = setting.device
        self._index = torch.from_numpy(index).to(device)
        held = np.arange(index.shape[1]) < np.asarray(lengths)[:, None]
        self._kept = cache.reading(rows, held, device)
        self._held = torch.from_numpy(held).to(device)
        # Of a token that several rows share any one's result will do.
        back = np.empty(len(positions), np.int64)
        back[index[held]] = np.flatnonzero(held)
        self._back = torch.from_numpy(back).to(device)

    def _keep(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._spread(layer.key), self._spread(layer.value)
        if layer.new:
            self._kept(layer.place, keys, values)
        return keys, values

    def _see(
        self, layer: Layer, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        heads = layer.query.shape[1]
        rows, length = self._index.shape
        queries = layer.query[0][:, self._index].transpose(0, 1)
        out, sum_ = _attend_in_line(queries, keys, values, layer.terms, layer.window)
        out = out.transpose(0, 1).reshape(heads, rows * length, -1)
        return out[:, self._back], sum_.transpose(0, 1).reshape(heads, -1)[:, self._back]

    def _spread(self, states: torch.Tensor) -> torch.Tensor:
        """Return [rows, K, T, D] of [K, N, D], zeros where a row has no token."""
        spread = states[:, self._index].transpose(0, 1)
        return torch.where(self._held[:, None, :, None], spread, torch.zeros_like(spread[:1, :1]))
