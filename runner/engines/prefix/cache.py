"""Keys and values of a batch of rows of different lengths, without padding in the middle.

Rows are padded on the right, where causal attention never looks, so a prompt is computed as
if it stood alone.  (Padding on the left leaves rows that may attend to nothing, which some
kernels turn into NaN.)  In a layer of full attention column c of the cache then *is* position
c: a new token of a row of length n is written to column n, over the padding.  A layer with a
sliding window of w keeps a ring of w columns: position p lies in column p mod w, and the ring
holds exactly the window.

Both kinds of layer need the same mask: a query at position p sees column c if c ≤ p.  For a
full layer that is causality; in a ring all columns hold positions of the window once p ≥ w,
and those up to p before.  So transformers' own masks serve, given that two-dimensional mask
and the sizes that :class:`RowLayer` reports: a query offset past every column, which makes its
causal and sliding conditions true everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class Rows:
    """Where the rows of a batch stand; shared by all layers of its cache.

    Args:
        lengths: int64 [rows], tokens of each prompt.
        capacity: Columns to allocate: the longest prompt with its response.
    """

    def __init__(self, lengths: torch.Tensor, capacity: int) -> None:
        self.lengths = lengths
        self.capacity = capacity
        self.positions = lengths - 1
        """int64 [rows], position of the newest token of each row."""
        self.columns = 0
        """Columns that a query may see; 0: the prompts are being read."""

    def advance(self, moving: torch.Tensor) -> None:
        """Move rows to their next position.

        Args:
            moving: bool [rows]; a row that has ended stays and writes over its last column.
        """
        self.positions = self.positions + moving
        self.columns = int(self.positions.max()) + 1

    def mask(self) -> torch.Tensor | None:
        """Return the two-dimensional mask of a step, bool [rows, columns].

        None while prompts are read: causality alone keeps padding on the right out.
        """
        if not self.columns:
            return None
        columns = torch.arange(self.columns, device=self.positions.device)
        return columns <= self.positions[:, None]


class RowLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # transformers'
    """Keys and values of one layer.

    Args:
        rows: Where the rows stand.
        window: Tokens of its sliding window; None: full attention.
    """

    is_compileable = False
    is_croppable = False

    def __init__(self, rows: Rows, window: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers'
        self.rows = rows
        self.window = window
        self.is_sliding = window is not None
        self.size = rows.capacity if window is None else min(window, rows.capacity)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate; sizes are those of the first states, as they may differ by layer."""
        shape = (*key_states.shape[:2], self.size)
        self.keys = key_states.new_zeros((*shape, key_states.shape[-1]))
        self.values = value_states.new_zeros((*shape, value_states.shape[-1]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep new states [rows, heads, tokens, head size]; return those to attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        if not self.rows.columns:
            self._keep_prompts(self.keys, key_states)
            self._keep_prompts(self.values, value_states)
            return key_states, value_states
        row = torch.arange(len(self.rows.positions), device=self.keys.device)
        column = self.rows.positions % self.size
        self.keys[row, :, column] = key_states[:, :, 0]
        self.values[row, :, column] = value_states[:, :, 0]
        seen = min(self.rows.columns, self.size)
        return self.keys[:, :, :seen], self.values[:, :, :seen]

    def _keep_prompts(self, kept: torch.Tensor, states: torch.Tensor) -> None:
        """Copy each row's newest positions to their columns."""
        last = self.rows.lengths[:, None] - 1
        column = torch.arange(min(self.size, states.shape[2]), device=states.device)
        # The newest position that falls on the column.  Where the row has none, any of its own
        # will do, as the mask hides the column until it is written; never the padding's, whose
        # states could be NaN, and 0 weight times a NaN is still NaN.
        position = (last - (last - column) % self.size).clamp_min(0)
        index = position[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
        kept[:, :, : len(column)] = states.gather(2, index)

    def get_seq_length(self) -> int:
        """Return the offset of a query that may see every column."""
        return max(min(self.rows.columns, self.size) - 1, 0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many columns attention sees, and the first one's number."""
        if not self.rows.columns:
            return query_length, 0
        return min(self.rows.columns, self.size), 0

    def get_max_length(self) -> int:
        """Return the columns allocated."""
        return self.size

    def get_max_cache_shape(self) -> int:
        """Return the columns allocated, under the name that earlier versions use."""
        return self.size

    def select(self, rows: torch.Tensor) -> None:
        """Keep only some rows (int64 indices)."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys = self.keys.index_select(0, rows)
            self.values = self.values.index_select(0, rows)


class RowCache(Cache):
    """Keys and values of a batch, in the form that transformers' models take.

    Args:
        rows: Where the rows stand.
        windows: For each layer the tokens of its sliding window, or None.  A layer that reuses
            another's keys and values has an entry too, which stays empty.
    """

    def __init__(self, rows: Rows, windows: tuple[int | None, ...]) -> None:
        self.row_layers = [RowLayer(rows, window) for window in windows]
        super().__init__(layers=list(self.row_layers))
        self.rows = rows

    @property
    def filled(self) -> bool:
        """Whether any layer holds keys and values."""
        return any(layer.is_initialized for layer in self.row_layers)

    def select(self, rows: torch.Tensor) -> None:
        """Keep only some rows (int64 indices), in every layer."""
        for layer in self.row_layers:
            layer.select(rows)
        self.rows.lengths = self.rows.lengths[rows]
        self.rows.positions = self.rows.positions[rows]
