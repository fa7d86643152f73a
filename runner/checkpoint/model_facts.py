"""What a model folder says of itself, without loading a weight.

A dry run needs the context limit and the memory that a prompt will take.
``config.json`` alone does not hold them: published configurations leave out what equals the
default of their class, and head sizes, windows and shared layers follow from rules that live
in transformers.  So the file is read here, bounded, and handed as a dictionary to
transformers' configuration class; nothing is looked up elsewhere and no code of the folder's
is run.  transformers' configuration classes work without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.runner.checkpoint.config import _levels, error_line, read_config
from safety_receipts.runner.checkpoint.model_files import (
    CONFIG,
    WeightHeaders,
    read_pickled_weights,
    read_weights,
    refuse_half_a_model,
)
from safety_receipts.runner.checkpoint.quantisation import DEQUANTISED, quantisation_of
from safety_receipts.runner.checkpoint.tensor_headers import StoredTensor, same_tensor


@dataclass(frozen=True, slots=True)
class KvLayer:
    """What one attention layer keeps of each token."""

    values: int
    """Numbers a token: key and value, all key-value heads; 0 in a layer that reuses those of
    another."""
    window: int | None
    """Tokens kept: those of its sliding window; None: all."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Widest tensors of a forward pass, in numbers a token; they bound its memory."""

    hidden: int
    """Residual stream."""
    feed_forward: int
    """Feed-forward part, all experts of a token together."""
    queries: int
    """Queries of one layer, all heads; the widest layer."""
    heads: int
    """Query heads of one layer."""
    vocabulary: int
    """Logits of a position."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What follows from a configuration."""

    model_type: str
    """transformers' name of the architecture."""
    context_limit: int
    """Longest context in tokens, prompt and response together."""
    kv_layers: tuple[KvLayer, ...]
    """All layers, in order."""
    widths: Widths
    """Sizes that bound the memory of a forward pass."""
    alone: bool
    """True where the position encoding depends on the longest sequence of a batch (``dynamic``
    and ``longrope`` scaling), so that prompts must be run one at a time."""
    quantisation: str | None
    """Quantisation method of the stored weights (``mxfp4``, ``gptq``, …), or None."""

    def kv_values(self, tokens: int) -> int:
        """Return how many numbers the keys and values of ``tokens`` tokens are."""
        return sum(
            layer.values * (tokens if layer.window is None else min(tokens, layer.window))
            for layer in self.kv_layers
        )


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model folder before it is loaded."""

    architecture: Architecture
    """What follows from its configuration."""
    weights: WeightHeaders
    """Its weight files."""

    @property
    def context_limit(self) -> int:
        """Longest context in tokens, prompt and response together."""
        return self.architecture.context_limit

    @property
    def parameters(self) -> int:
        """Numbers stored in the weight files.

        Packed weights count packed, but for those that are unpacked when they are loaded: of
        them the numbers count that they become, and no scale does.
        """
        if not self.dequantised:
            return self.weights.values
        return sum(_unpacked(name, tensor) for name, tensor in self.weights.tensors.items())

    @property
    def dequantised(self) -> bool:
        """Whether weights that are stored quantised are turned back when they are loaded."""
        return self.quantisation in DEQUANTISED

    @property
    def quantisation(self) -> str | None:
        """Quantisation method of the stored weights, or None."""
        return self.architecture.quantisation

    def kv_bytes(self, tokens: int, number_bytes: int) -> int:
        """Return the bytes of keys and values that ``tokens`` tokens of context take.

        Args:
            tokens: Length of the context.
            number_bytes: Bytes of a number: 4 in float32, 2 in bfloat16 and float16.
        """
        return self.architecture.kv_values(tokens) * number_bytes


def _unpacked(name: str, tensor: StoredTensor) -> int:
    """Return how many numbers a stored tensor becomes: two of a byte in MXFP4, none of a scale."""
    if name.endswith(("_scales", "_scale_inv", ".scale", "activation_scale")):
        return 0
    return 2 * tensor.values if name.endswith("_blocks") else tensor.values


def read_model_facts(folder: Path, *, allow_pickle: bool = False) -> ModelFacts:
    """Read what a model folder says of itself.

    Args:
        folder: The folder.
        allow_pickle: Take weights that are pickles by their size; they are not opened.

    Raises:
        FileAccessError: A file is missing or cannot be read.
        MalformedError: A file is damaged, or says nothing of something needed.
        UsageError: A model of a kind that is not supported, or without safetensors weights.
        IncompleteError: transformers is not installed.
    """
    config = read_config(folder)
    architecture = read_architecture(config, folder)
    refuse_half_a_model(folder)
    try:
        weights = read_weights(folder)
    except UsageError:
        pickled = read_pickled_weights(folder) if allow_pickle else None
        if pickled is None:
            raise
        weights = pickled
    refuse_untied_head(config, weights, folder)
    return ModelFacts(architecture, weights)


_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")
_EMBEDDINGS = (
    "embed_tokens.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "word_embeddings.weight",
    "wte.weight",
)


def refuse_untied_head(config: Any, weights: WeightHeaders, folder: Path) -> None:
    """Refuse an output head that the configuration ties to the embedding and that differs from it.

    transformers then uses the stored head, vLLM the embedding.  Tensors are read only where the
    head is stored although it is tied.

    Args:
        config: The configuration object.
        weights: The weight files.
        folder: Named in the error.

    Raises:
        MalformedError: It differs.
        FileAccessError: A weight file cannot be read.
    """
    if not getattr(config.get_text_config(decoder=True), "tie_word_embeddings", False):
        return
    head, embedding = (
        next((name for name in weights.tensors if _last_parts(name) in names), None)
        for names in (_HEADS, _EMBEDDINGS)
    )
    if head is None or embedding is None:
        return
    if not same_tensor(weights.tensors[head], weights.tensors[embedding]):
        raise MalformedError(
            f"tie_word_embeddings is true, and {head} differs from {embedding}",
            file=folder / CONFIG,
            hint="set tie_word_embeddings to false if the head is meant, else save the checkpoint "
            "without it",
        )


def _last_parts(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def read_architecture(config: Any, folder: Path) -> Architecture:
    """Return what follows from a configuration object of transformers.

    Args:
        config: The configuration; of a multimodal model its text part is used.
        folder: Named in errors.

    Raises:
        UsageError: A kind of model or attention that is not supported.
        MalformedError: Something needed is not stated.
    """
    path = folder / CONFIG
    try:
        text = config.get_text_config(decoder=True)
        unsupported = _unsupported(text)
        if unsupported is None:
            limit = text.max_position_embeddings
            if type(limit) is not int or limit < 1:
                raise ValueError("no max_position_embeddings")
            layers = _per_layer(text)
            return Architecture(
                model_type=str(config.model_type),
                context_limit=limit,
                kv_layers=tuple(_kv_layers(text, layers)),
                widths=_widths(text, layers),
                alone=_batch_dependent(text),
                quantisation=quantisation_of(config),
            )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise MalformedError(f"its sizes cannot be read: {error_line(error)}", file=path) from None
    raise UsageError(
        f"models with {unsupported} are not supported",
        file=path,
        hint="full and sliding-window attention with a key-value cache are",
    )


def _unsupported(text: Any) -> str | None:
    """Return what keeps a model from being run, or None."""
    if getattr(text, "is_encoder_decoder", False):
        return "an encoder and a decoder"
    if not getattr(text, "num_attention_heads", None):
        return "no attention heads"
    if getattr(text, "kv_lora_rank", None):
        return "latent attention (MLA)"
    kinds = set(_layer_types(text)) - {"full_attention", "sliding_attention"}
    return f"layers of kind {sorted(kinds)[0]}" if kinds else None


def _layer_types(text: Any) -> list[str]:
    """Return the kind of each layer, by the rule of transformers' own cache."""
    types = getattr(text, "layer_types", None)
    if types is not None:
        return [str(kind) for kind in types]
    if getattr(text, "attention_chunk_size", None) is not None:
        kind = "chunked_attention"
    else:
        # A per-layer window would come with layer_types, so the general value may be read.
        window = _first(_per_layer(text)[0], "sliding_window")
        kind = "full_attention" if window is None else "sliding_attention"
    return [kind] * int(text.num_hidden_layers)


def _per_layer(text: Any) -> list[Any]:
    """Return one configuration a layer; where sizes differ by layer, transformers says how."""
    count = int(text.num_hidden_layers)
    if count < 1:
        raise ValueError("no layers")
    if getattr(text, "is_heterogeneous", False):
        return [text.per_layer_config[index] for index in range(count)]
    return [text] * count


def _first(config: Any, *names: str) -> Any:
    """Return the first attribute that is there and not None."""
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None


def _head_dim(layer: Any) -> int:
    stated = _first(layer, "head_dim")
    return int(stated or layer.hidden_size // layer.num_attention_heads)


def _kv_layers(text: Any, layers: list[Any]) -> Iterator[KvLayer]:
    sharing = getattr(text, "kv_sharing_modes", None) or [None] * len(layers)
    for layer, kind, mode in zip(layers, _layer_types(text), sharing, strict=True):
        heads = int(_first(layer, "num_key_value_heads", "num_kv_heads", "num_attention_heads"))
        window = int(layer.sliding_window) if kind == "sliding_attention" else None
        if heads < 1 or (window is not None and window < 1):
            raise ValueError("a layer's heads or window below 1")
        yield KvLayer(0 if mode == "reuse" else 2 * heads * _head_dim(layer), window)


def _widths(text: Any, layers: list[Any]) -> Widths:
    hidden = int(text.hidden_size)
    dense = _first(text, "intermediate_size", "ffn_dim") or 4 * hidden
    dense = max(dense) if isinstance(dense, (list, tuple)) else int(dense)
    experts = int(_first(text, "num_experts_per_tok", "top_k_experts", "moe_topk") or 0)
    expert = int(_first(text, "moe_intermediate_size") or dense)
    widths = Widths(
        hidden=hidden,
        feed_forward=dense + experts * (2 * expert + hidden),
        queries=max(int(layer.num_attention_heads) * _head_dim(layer) for layer in layers),
        heads=max(int(layer.num_attention_heads) for layer in layers),
        vocabulary=int(text.vocab_size),
    )
    if min(hidden, widths.feed_forward, widths.queries, widths.heads, widths.vocabulary) < 1:
        raise ValueError("a size below 1")
    return widths


def _batch_dependent(text: Any) -> bool:
    scaling = _first(text, "rope_parameters", "rope_scaling")
    if not isinstance(scaling, dict):
        return False
    kinds = {level.get("rope_type", level.get("type")) for level in _levels(scaling)}
    return bool(kinds & {"dynamic", "longrope"})
