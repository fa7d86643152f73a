"""Attention of many groups of queries, each over its own stretch of one pool of keys, in one call.

A *sequence* is a run of queries and the run of keys that all of them see.  Fused kernels for
sequences of different lengths take where each begins and how much of it is used, so rows that
stand at different columns, segments that different rows read, and windows that begin anywhere
are one call without a mask.  Queries stand as [Q, K, D], keys as [S, K, D]: the query heads that
read one key-value head are further queries of it.

Which kernel serves a device, a number format and a size of heads is found by a trial on that
device, against attention written out (:func:`route_of`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Any, Final

import torch

from safety_receipts.runner.engines.prefix.attention import Kernel, Terms, attend

_FLASH: Any = torch.ops.aten._flash_attention_forward
_EFFICIENT: Any = torch.ops.aten._efficient_attention_forward
_LARGEST_FLASH: Final = 256
"""Largest size of a head that the flash kernel takes; it also wants a multiple of 8."""
_ALIGNED: Final = 32
"""The memory-efficient kernel pads the sums of a sequence to a multiple of so many queries."""
_TOLERANCE: Final = {torch.float32: 2e-3, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Most that results of a trial, of numbers about 1, may differ: fp32 products may run in TF32."""


class Route(StrEnum):
    """How a call is computed."""

    FLASH = "flash"
    """torch's flash kernel for sequences of different lengths; half-width formats."""
    EFFICIENT = "efficient"
    """torch's memory-efficient kernel; any format and size of heads."""
    WRITTEN = "written-out"
    """Sequence by sequence, written out in fp32: the reference, and what CPUs take."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Which queries see which keys; all tensors on the device of the keys."""

    bounds: torch.Tensor
    """int32 [n + 1]; the queries of sequence i are those from bounds[i] to bounds[i + 1]."""
    starts: torch.Tensor
    """int32 [n + 1], where in the pool its keys begin; the last entry stands for nothing."""
    used: torch.Tensor
    """int32 [n], how many keys it sees, at least 1."""
    most_queries: int
    """Queries of the longest sequence, or more."""
    most_keys: int
    """Keys of the longest sequence, or more."""
    sums: torch.Tensor | None = None
    """int64 [K · Q], where the memory-efficient kernel leaves each sum (:func:`sum_places`)."""


def sum_places(bounds: list[int], most_queries: int, heads: int) -> list[int]:
    """Return where the memory-efficient kernel leaves the sum of each head and query.

    It returns sums by sequence, head and query of the sequence, padded to the longest.

    Args:
        bounds: As in :class:`Sequences`.
        most_queries: As in :class:`Sequences`.
        heads: Key-value heads.
    """
    padded = -(-most_queries // _ALIGNED) * _ALIGNED
    places: list[int] = []
    for head in range(heads):
        for number, (first, last) in enumerate(pairwise(bounds)):
            begin = (number * heads + head) * padded
            places += range(begin, begin + last - first)
    return places


def attend_grouped(
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    sequences: Sequences,
    terms: Terms,
    route: Route,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the attention of each query over the keys of its sequence, and its log-sum-exp.

    Args:
        states: Queries [Q, K, D], contiguous, keys [S, K, D], and values [S, K, E].
        sequences: Which queries see which keys.
        terms: How the layer attends; its sink is left to who merges.
        route: How it is computed.

    Returns:
        Output [Q, K, E], in the format of the query or fp32, and log-sum-exp, fp32 [K, Q].

    Raises:
        ValueError: A fused kernel is asked to cap scores, which none does.
    """
    if route is Route.WRITTEN:
        return _written_out(*states, sequences, terms)
    if terms.softcap is not None:
        raise ValueError("no fused kernel for packed sequences caps scores")
    lengths = (sequences.bounds, sequences.starts, sequences.most_queries, sequences.most_keys)
    if route is Route.FLASH:
        out, lse, *_ = _FLASH(
            *(*states, *lengths, 0.0, False, False),
            scale=terms.scale,
            seqused_k=sequences.used,
        )
        return out, lse
    assert sequences.sums is not None
    out, lse, *_ = _EFFICIENT(
        *(*(one.unsqueeze(0) for one in states), None, *lengths, 0.0, 0, True),
        scale=terms.scale,
        seqlen_k=sequences.used,
    )
    return out.squeeze(0), lse.view(-1).index_select(0, sequences.sums).view(states[1].shape[1], -1)


def _written_out(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: Sequences,
    terms: Terms,
) -> tuple[torch.Tensor, torch.Tensor]:
    written = Terms(terms.scale, terms.softcap, kernel=Kernel.MATH)
    outs, sums = [], []
    bounds = sequences.bounds.tolist()
    for i, (start, used) in enumerate(
        zip(sequences.starts.tolist()[:-1], sequences.used.tolist(), strict=True)
    ):
        seen = slice(start, start + used)
        out, lse = attend(
            query[bounds[i] : bounds[i + 1]].transpose(0, 1)[None],
            keys[seen].transpose(0, 1)[None],
            values[seen].transpose(0, 1)[None],
            written,
        )
        outs.append(out[0].transpose(0, 1))
        sums.append(lse[0])
    return torch.cat(outs), torch.cat(sums, 1)


@cache
def route_of(device: torch.device, dtype: torch.dtype, key_size: int, value_size: int) -> Route:
    """Return the fastest way that gives what attention written out gives, tried on the device.

    Args:
        device: Where.
        dtype: Number format of queries, keys and values.
        key_size: Size of a head's keys.
        value_size: Size of its values.

    Raises:
        ValueError: No fused kernel serves the device; elsewhere than on a CUDA device none is
            looked for.
    """
    if device.type == "cpu":
        return Route.WRITTEN
    if device.type != "cuda":
        raise ValueError(f"no fused kernel for packed sequences runs on {device.type}")
    return _first_sound(device, dtype, key_size, value_size)


def _first_sound(device: torch.device, dtype: torch.dtype, key_size: int, value_size: int) -> Route:
    half = dtype in (torch.float16, torch.bfloat16)
    flash = half and key_size == value_size <= _LARGEST_FLASH and key_size % 8 == 0
    tried = ([Route.FLASH] if flash else []) + [Route.EFFICIENT]
    reasons = []
    for route in tried:
        try:
            apart = _trial(device, dtype, key_size, value_size, route)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            reasons.append(f"{route}: {str(error).splitlines()[0]}")
            continue
        if apart <= _TOLERANCE[dtype]:
            return route
        reasons.append(f"{route}: results are {apart:.2g} off")
    raise ValueError("no fused kernel for packed sequences serves; " + "; ".join(reasons))


def _trial(
    device: torch.device, dtype: torch.dtype, key_size: int, value_size: int, route: Route
) -> float:
    """Return by how much a way's results differ from those written out, numbers about 1.

    Sequences begin out of order, overlap, have one query or several blocks of them, see one
    key or more than a block, and leave most of the pool unread.
    """
    draw = torch.Generator().manual_seed(19)
    heads, pool = 2, 700
    lengths, starts, used = [1, 5, 140, 1, 64], [430, 3, 90, 699, 0], [270, 1, 333, 1, 129]
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    most = max(lengths)
    sums = torch.tensor(sum_places(bounds, most, heads), device=device)

    def numbers(count: int, size: int) -> torch.Tensor:
        return torch.randn((count, heads, size), generator=draw).to(device, dtype)

    def whole(places: list[int]) -> torch.Tensor:
        return torch.tensor(places, dtype=torch.int32, device=device)

    states = (numbers(bounds[-1], key_size), numbers(pool, key_size), numbers(pool, value_size))
    sequences = Sequences(whole(bounds), whole([*starts, pool]), whole(used), most, pool, sums)
    terms = Terms(key_size**-0.5)
    found = attend_grouped(states, sequences, terms, route)
    exact = attend_grouped(states, sequences, terms, Route.WRITTEN)
    apart = [(a.float() - b).abs().max() for a, b in zip(found, exact, strict=True)]
    worst = float(torch.stack(apart).max())
    return math.inf if math.isnan(worst) else worst
