"""The repetition penalty: tokens that were there before are made less likely, or more.

As transformers' ``RepetitionPenaltyLogitsProcessor`` has it (Keskar et al. 2019,
arXiv:1909.05858, with the sign looked at): a token that occurs in the prompt or earlier in the
response, once or often, has its logit divided by the penalty where that is not negative, and
multiplied by it where it is.  In fp32, before temperature, top-k and top-p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.prompts.prefix_tree import TreePrompt


def penalised(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return logits from which tokens are chosen, fp32 of the same shape.

    Args:
        logits: fp32 [rows, vocabulary].
        seen: bool, of the same shape: which tokens were there before.
        penalty: Above 0; above 1 makes them less likely.
    """
    changed = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, changed, logits)


class SeenTokens:
    """Which tokens each response of a batch has before it; one byte a token id and response.

    Args:
        requests: One for each response.
        vocabulary: Number of token ids.
        device: Where logits lie.
    """

    def __init__(self, requests: Sequence[Request], vocabulary: int, device: torch.device) -> None:
        self._seen = torch.zeros((len(requests), vocabulary), dtype=torch.bool, device=device)
        for row, request in zip(self._seen, requests, strict=True):
            # The same value wherever an id occurs twice, so that no order of writing matters.
            row[torch.from_numpy(_ids(request)).to(device)] = True

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what some responses (int64 [rows]) have seen, bool [rows, vocabulary]."""
        return self._seen[rows]

    def add(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Add the next token (int64 [rows]) of some responses (int64 [rows])."""
        self._seen[rows, tokens] = True


class SeenTokensAlong:
    """Which tokens stand before each position of one given response.

    Args:
        request: Its request.
        response: Its token ids.
        vocabulary: Number of token ids.
        device: Where logits lie.
    """

    def __init__(
        self,
        request: Request,
        response: tuple[int, ...],
        vocabulary: int,
        device: torch.device,
    ) -> None:
        first = np.full(vocabulary, len(response), np.int64)
        for place in range(len(response) - 1, -1, -1):
            first[response[place]] = place + 1
        first[_ids(request)] = 0
        self._first = torch.from_numpy(first).to(device)

    def at(self, start: int, stop: int) -> torch.Tensor:
        """Return what stands before the positions from ``start`` to ``stop``.

        Returns:
            bool [stop − start, vocabulary].
        """
        positions = torch.arange(start, stop, device=self._first.device)
        return self._first <= positions[:, None]


def _ids(request: Request) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the token ids of a prompt, each once."""
    tokens = request.tokens
    spelt = tokens.node.spelt() if isinstance(tokens, TreePrompt) else np.asarray(tokens)
    return np.unique(spelt).astype(np.int64)
