"""Answers padded batches whose rows share nothing: for models without shared prefixes.

Each batch reads its prompts in one forward pass and then decodes one token a step
(:mod:`runner.engines.prefix.cache`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from safety_receipts.runner.engines.decoding.drafts import Draft, TokenChooser, margins_of
from safety_receipts.runner.engines.engine import Decoding, Margins, Request
from safety_receipts.runner.engines.forward import Forward
from safety_receipts.runner.engines.prefix.cache import RowCache, Rows


class PlainBatches:
    """Batches of a model with transformers' own attention.

    Args:
        forward: Runs the model.
        windows: For each layer the tokens of its sliding window; None: full attention.
        device: Where the model lies.
    """

    def __init__(
        self, forward: Forward, windows: tuple[int | None, ...], device: torch.device
    ) -> None:
        self._forward = forward
        self._windows = windows
        self._device = device

    @torch.inference_mode()
    def generate(self, drafts: Sequence[Draft], decoding: Decoding) -> None:
        """Write the responses of a batch."""
        requests = [draft.request for draft in drafts]
        ids, lengths = self._padded([tuple(request.tokens) for request in requests])
        longest = max(len(r.tokens) + r.max_new_tokens - 1 for r in requests)
        rows = Rows(lengths, longest)
        cache = RowCache(rows, self._windows)
        logits = self._run(ids, _counting(ids), (lengths - 1)[:, None], cache)[:, 0]
        if not cache.filled:
            raise ValueError("the forward pass kept nothing in the cache that it was given")
        chooser = TokenChooser(drafts, decoding, self._device)
        while True:
            tokens, moving = chooser.take(logits)
            if chooser.due():
                going = chooser.read()
                if not going.any():
                    return
                if going.sum() <= len(going) // 2:
                    chooser.keep(going)
                    kept = torch.from_numpy(np.flatnonzero(going)).to(self._device)
                    cache.select(kept)
                    tokens, moving = tokens[kept], moving[kept]
            rows.advance(moving)
            first = torch.zeros_like(tokens)[:, None]
            logits = self._run(tokens[:, None], rows.positions[:, None], first, cache)[:, 0]

    @torch.inference_mode()
    def score(
        self, pairs: Sequence[tuple[Request, tuple[int, ...]]], decoding: Decoding
    ) -> list[Margins]:
        """Return the margins of given responses, in order."""
        ids, lengths = self._padded([(*r.tokens, *response[:-1]) for r, response in pairs])
        starts = torch.tensor([len(r.tokens) - 1 for r, _ in pairs], device=ids.device)
        longest = max(len(response) for _, response in pairs)
        at = starts[:, None] + torch.arange(longest, device=ids.device)
        logits = self._run(ids, _counting(ids), at.minimum(lengths[:, None] - 1), None)
        if logits.device.type == "mps":
            logits = logits.cpu()
        return [
            margins_of(request, response, row[: len(response)], decoding)
            for (request, response), row in zip(pairs, logits, strict=True)
        ]

    def _padded(self, sequences: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids padded on the right, int64 [rows, longest], and lengths.

        The padding repeats a row's own last token: a token of no row's could have an embedding
        that is not finite, and 0 weight times that is not 0.
        """
        longest = max(map(len, sequences))
        ids = [[*tokens, *tokens[-1:] * (longest - len(tokens))] for tokens in sequences]
        lengths = [len(tokens) for tokens in sequences]
        return (
            torch.tensor(ids, device=self._device),
            torch.tensor(lengths, device=self._device),
        )

    def _run(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        at: torch.Tensor,
        cache: RowCache | None,
    ) -> torch.Tensor:
        """Return fp32 logits [rows, n, vocabulary]; without a cache none is kept."""
        return self._forward(
            ids,
            positions,
            at,
            attention_mask=None if cache is None else cache.rows.mask(),
            cache=cache,
        )


def _counting(ids: torch.Tensor) -> torch.Tensor:
    """Return positions 0, 1, … for each row, int64 of the ids' shape."""
    return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
