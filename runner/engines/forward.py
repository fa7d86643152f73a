"""One forward pass of a transformers model: token ids in, the wanted logits out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.engines.load import LoadedModel


class Forward:
    """Runs a model's forward pass.

    Args:
        loaded: The model; it has an output layer.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Any = loaded.model
        self._head: Any = self._model.get_output_embeddings()
        self._vocabulary = loaded.architecture.widths.vocabulary

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        at: torch.Tensor,
        **options: Any,
    ) -> torch.Tensor:
        """Return fp32 logits [rows, n, vocabulary].

        Args:
            ids: Token ids, int64 [rows, tokens].
            positions: Their positions, int64 [rows, tokens].
            at: int64 [rows, n], which tokens' logits are wanted.  Only those pass through the
                output layer, and through whatever scaling and capping the model puts after it.
            **options: Further arguments of the model's ``forward``.

        Raises:
            ValueError: The model gives logits of another shape.
        """

        def pick(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            index = at[:, :, None].expand(-1, -1, arguments[0].shape[-1])
            return (arguments[0].gather(1, index), *arguments[1:])

        hook = self._head.register_forward_pre_hook(pick)
        try:
            output = self._model(input_ids=ids, position_ids=positions, **options)
        finally:
            hook.remove()
        logits: torch.Tensor = output.logits
        if logits.shape != (*at.shape, self._vocabulary):
            raise ValueError(f"logits of shape {tuple(logits.shape)}".replace("[", "("))
        return logits.float()

    @contextmanager
    def attention(self, name: str) -> Iterator[None]:
        """Have the model use an attention function that is registered with transformers."""
        before = self._model.config._attn_implementation
        self._model.set_attn_implementation(name)
        try:
            yield
        finally:
            self._model.set_attn_implementation(before)
