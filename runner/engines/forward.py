"""One forward pass of a transformers model: token ids in, the wanted logits out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
import transformers
from transformers.cache_utils import Cache

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.operators.experts import GroupedExperts
from safety_receipts.runner.engines.operators.norms import FusedNorms
from safety_receipts.runner.engines.operators.products import PackedProducts
from safety_receipts.runner.engines.operators.replacing import OtherForwards
from safety_receipts.runner.engines.operators.rotary import FusedRotary

_FUSED: Final[Mapping[str, Callable[[Any], OtherForwards]]] = {
    "experts": GroupedExperts,
    "norms": FusedNorms,
    "rotary": FusedRotary,
}
"""What is computed in fewer operators than a model's own code takes."""
_FUSING: Final = frozenset({"cuda"})
"""Types of devices on which it is: those where starting a step's kernels takes as long as the step.
On others no rounding differs from the model's own code."""
_CACHE_NAMES: Final = ("cache", "past_key_values")
"""Names of the argument that takes a cache: since transformers 5.24, and before."""
TESTED: Final = ("5.15.0", "5.24.0")
"""The oldest and the newest release of transformers that this version was tested with."""


def not_understood(model: Any, reason: str) -> UsageError:
    """Return the error of a forward pass that this version does not know how to use.

    A release of transformers that changed something and an architecture that never could be
    run look the same from here, so the error names the release and blames neither.
    """
    return UsageError(
        f"the forward pass of {type(model).__name__} in transformers {transformers.__version__} "
        f"is not understood: {reason}",
        hint=f"install a release from {TESTED[0]} to {TESTED[1]}, which this version is tested "
        "with; an architecture of which the same is said there is not supported",
    )


def cache_argument(model: Any) -> str:
    """Return under which name a model's forward pass takes its cache.

    It is looked for in the signature of the model, and, where that hands on what it does not
    name, in that of the model without its output layer.

    Raises:
        UsageError: It takes no cache, or no positions.
    """
    named: list[str] = []
    for module in (model, model.base_model):
        parameters = inspect.signature(module.forward).parameters.values()
        named += [one.name for one in parameters]
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    if "position_ids" not in named:
        raise not_understood(model, "it takes no position_ids")
    found = [name for name in named if name in _CACHE_NAMES]
    if not found:
        raise not_understood(model, f"it takes no cache as {' or '.join(_CACHE_NAMES)}")
    return found[0]


class Forward:
    """Runs a model's forward pass.

    Args:
        loaded: The model.

    Raises:
        UsageError: It has no output layer, or takes no cache or no positions.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Any = loaded.model
        self._head: Any = self._model.get_output_embeddings()
        if self._head is None:
            raise not_understood(self._model, "it has no output layer")
        self._cache_argument = cache_argument(self._model)
        self._fused: dict[str, OtherForwards] | None = None
        self._products: PackedProducts | None = None
        self._vocabulary = loaded.architecture.widths.vocabulary

    def __call__(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        at: torch.Tensor | None,
        *,
        cache: Cache | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Return fp32 logits [rows, n, vocabulary].

        Args:
            ids: Token ids, int64 [rows, tokens].
            positions: Their positions, int64 [rows, tokens].
            at: int64 [rows, n], which tokens' logits are wanted.  Only those pass through the
                output layer, and through whatever scaling and capping the model puts after it.
                None: all tokens' are.
            cache: Takes the keys and values, and gives those of earlier passes; None: none are
                kept.
            **options: Further arguments of the model's ``forward``.

        Raises:
            ValueError: The model gives logits of another shape.
        """

        def pick(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            assert at is not None
            index = at[:, :, None].expand(-1, -1, arguments[0].shape[-1])
            return (arguments[0].gather(1, index), *arguments[1:])

        if cache is not None:
            options[self._cache_argument] = cache
        hook = None if at is None else self._head.register_forward_pre_hook(pick)
        try:
            output = self._model(
                input_ids=ids, position_ids=positions, use_cache=cache is not None, **options
            )
        finally:
            if hook is not None:
                hook.remove()
        logits: torch.Tensor = output.logits
        if logits.shape != (*(ids if at is None else at).shape, self._vocabulary):
            raise ValueError(f"logits of shape {tuple(logits.shape)}".replace("[", "("))
        return logits.float()

    @property
    def fused(self) -> Mapping[str, OtherForwards]:
        """What of the model is computed in fewer operators, by name; only on CUDA is anything.

        Kinds that the model has none of are left out.
        """
        if self._fused is None:
            kinds = _FUSED if self._model.device.type in _FUSING else {}
            found = {name: kind(self._model) for name, kind in kinds.items()}
            self._fused = {name: each for name, each in found.items() if len(each)}
        return self._fused

    def pack(self, most: int) -> None:
        """Have products under :meth:`attention` use copies of the weights in a faster order.

        Args:
            most: Bytes that these may take; where they would take more, there are none.
        """
        self._products = PackedProducts(self._model, most)

    @contextmanager
    def attention(self, name: str, *, fused: bool = False) -> Iterator[None]:
        """Have the model use an attention function that is registered with transformers.

        Args:
            name: The function's.
            fused: Whether it is to use :attr:`fused` too.
        """
        before = self._model.config._attn_implementation
        others = [*self.fused.values()] if fused else []
        if self._products is not None:
            others.append(self._products)
        self._model.set_attn_implementation(name)
        try:
            with ExitStack() as stack:
                for each in others:
                    stack.enter_context(each.used())
                yield
        finally:
            self._model.set_attn_implementation(before)
