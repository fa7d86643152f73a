"""Attention over parts of a context, and the merging of the parts.

Softmax attention over a context that is cut into parts is exactly the mean of the parts'
attentions, each weighted by the sum of its exponentiated scores.  So every part gives its
output and the logarithm of that sum (log-sum-exp), in fp32, and :func:`merge` joins them
(Dao et al. 2022, arXiv:2205.14135; Juravsky et al. 2024, arXiv:2402.05099).  An attention
sink (a learned logit that takes weight and gives no value) joins once, there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import torch

_SCORES: Final = 2**24
"""Most scores alive at once where attention is written out."""

_FLASH_CPU: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_CUDA: Any = torch.ops.aten._scaled_dot_product_flash_attention


class Kernel(StrEnum):
    """How attention over a part is computed."""

    GROUPED = "grouped"
    """In decode steps by one call a layer for all segments and rows; otherwise as ``flash``."""
    FLASH = "flash"
    """By torch's fused kernel where it serves the call, else written out."""
    MATH = "math"
    """Written out: scores, softmax and sums in fp32."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a layer attends."""

    scale: float
    """Factor of the scores."""
    softcap: float | None = None
    """Scores are squashed to softcap · tanh(score / softcap); None: they are not."""
    sink: torch.Tensor | None = None
    """[H], logit of each head's attention sink; None: there is none."""
    kernel: Kernel = Kernel.FLASH
    """How it is computed."""


def kernels_of(device: torch.device) -> tuple[Kernel, ...]:
    """Return how attention may be computed on a kind of device, the best first."""
    if device.type == "cuda":
        return (Kernel.GROUPED, Kernel.FLASH, Kernel.MATH)
    return (Kernel.FLASH, Kernel.MATH)


def keeps_fp32(device: torch.device) -> bool:
    """Say whether keys and values are kept in fp32 whatever the model's number format is.

    So that partial results are fp32 too.  On a CPU the fused kernel would round them to the
    format of its input; an accelerator's memory is too dear.
    """
    return device.type == "cpu"


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    terms: Terms,
    *,
    causal: bool = False,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention over one part of the context, and its log-sum-exp.

    Args:
        query: [B, H, T, D].
        key: [B, K, S, D], K a divisor of H: head h reads key-value head h // (H / K).
        value: [B, K, S, E].
        terms: How the layer attends; its sink is left to :func:`merge`.
        causal: Whether query t sees keys 0 … t alone; T and S are equal then.
        mask: bool, [B or 1, 1, T or 1, S], which keys a query sees; with T above 1 the first
            size is 1.  A query that sees none gives 0 and −infinity.

    Returns:
        Output, fp32 [B, H, T, E], and log-sum-exp, fp32 [B, H, T].
    """
    fused = terms.kernel is not Kernel.MATH and terms.softcap is None
    if fused and query.shape[-1] == value.shape[-1]:
        options: dict[str, Any] = {"scale": terms.scale, "causal": causal, "mask": mask}
        if query.device.type == "cpu":
            return _fused(_FLASH_CPU, query.float(), key.float(), value.float(), **options)
        half = query.dtype in (torch.float16, torch.bfloat16)
        if query.device.type == "cuda" and half and mask is None:
            return _fused(_FLASH_CUDA, query, key, value, **options)
    return _written_out(query, key, value, terms, causal=causal, mask=mask)


def _fused(
    kernel: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    (batch, heads, length, size), (_, groups, keys, _) = query.shape, key.shape
    each = heads // groups
    if not causal and (mask is None or mask.shape[2] == 1):
        # The heads that read one key-value head are further queries of it.
        shape = (batch, groups, each * length, size)
        parts = (query.reshape(shape), key, value)
    else:
        shape = (batch * groups, each, length, size)
        # A view that repeats: kernels read keys by strides.
        parts = (
            query.reshape(shape),
            key.reshape(-1, 1, keys, size).expand(-1, each, -1, -1),
            value.reshape(-1, 1, keys, size).expand(-1, each, -1, -1),
        )
    if mask is None:
        options: dict[str, Any] = {"scale": scale}
    else:
        bias = torch.zeros(mask.shape, dtype=query.dtype, device=query.device)
        options = {"scale": scale, "attn_mask": bias.masked_fill_(~mask, -torch.inf)}
    out, lse, *_ = kernel(*parts, 0.0, causal, **options)
    out = out.reshape(batch, heads, length, size).float()
    lse = lse.reshape(batch, heads, length).float()
    if mask is not None:  # the kernel calls the sum of no scores 1
        lse = lse.masked_fill(~mask.any(-1), -torch.inf)
    return out, lse


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    terms: Terms,
    *,
    causal: bool,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    (batch, heads, length, size), (_, groups, keys, _) = query.shape, key.shape
    each = heads // groups
    grouped = query.reshape(batch, groups, each, length, size)
    across, values = key.float().transpose(-1, -2), value.float()
    step = max(1, _SCORES // (batch * heads * keys))
    outs, sums = [], []
    for start in range(0, length, step):
        part = grouped[:, :, :, start : start + step].float()
        number = part.shape[3]
        scores = torch.matmul(part.reshape(batch, groups, each * number, size), across)
        scores = scores.view(batch, groups, each, number, keys) * terms.scale
        if terms.softcap is not None:
            scores = terms.softcap * torch.tanh(scores / terms.softcap)
        seen = mask if mask is None or mask.shape[2] == 1 else mask[:, :, start : start + step]
        if causal:
            places = torch.arange(keys, device=query.device)
            seen = (places <= places[start : start + step, None])[None, None]
        if seen is not None:
            scores = scores.masked_fill(~seen[:, :, None], -torch.inf)
        lse = torch.logsumexp(scores, dim=-1)
        weights = torch.exp(scores - lse.masked_fill(lse.isneginf(), 0.0)[..., None])
        out = torch.matmul(weights.view(batch, groups, each * number, keys), values)
        outs.append(out.view(batch, heads, number, -1))
        sums.append(lse.view(batch, heads, number))
    return torch.cat(outs, 2), torch.cat(sums, 2)


def merge(
    outs: Sequence[torch.Tensor], sums: Sequence[torch.Tensor], sink: torch.Tensor | None = None
) -> torch.Tensor:
    """Join the attentions over parts of a context, fp32 [H, T, E].

    Args:
        outs: fp32 [H, T, E], one a part.
        sums: fp32 [H, T], one a part, log-sum-exp; −infinity where a part holds nothing for a
            query.
        sink: [H], logit of each head's attention sink; None: there is none.
    """
    if len(outs) == 1 and sink is None:
        return outs[0]
    parts = torch.stack(list(sums))
    total = torch.logsumexp(parts, dim=0)
    if sink is not None:
        total = torch.logaddexp(total, sink.float()[:, None])
    weights = torch.exp(parts - total)[..., None]
    merged = outs[0] * weights[0]
    for out, weight in zip(outs[1:], weights[1:], strict=True):
        merged.addcmul_(out, weight)
    return merged
