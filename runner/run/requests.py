"""What an engine is asked of a plan's points: the same for a run, a replay and a new answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from safety_receipts.receipts.canonical import Sha256, point_id
from safety_receipts.receipts.model.checkpoint import Sampling, SamplingMethod
from safety_receipts.runner.engines.decoding.noise_seed import point_noise_seed
from safety_receipts.runner.engines.engine import Decoding, Request
from safety_receipts.runner.prompts.rendering import RenderedPoint


def request_of(point: RenderedPoint, sampling: Sampling, seed: Sha256) -> Request:
    """Return what an engine is asked for a point.

    Args:
        point: The point; its index is the request's key.
        sampling: The plan's.
        seed: What the noise of seeded sampling comes from: the event's, or another.
    """
    id_ = point_id(point.condition.id, point.query_id, point.draw)
    return Request(
        key=point.index,
        tokens=point.tokens,
        max_new_tokens=sampling.max_new_tokens,
        stop_ids=_stop_ids(sampling.end_tokens),
        seed=point_noise_seed(seed, id_),
    )


def going_on(request: Request, begun: Sequence[int]) -> Request:
    """Return what an engine is asked to go on with a response that has begun.

    Args:
        request: What was asked.
        begun: Token ids of the response's beginning; the noise counts on from there.
    """
    return replace(
        request,
        tokens=(*request.tokens, *begun),
        max_new_tokens=request.max_new_tokens - len(begun),
        begun=len(begun),
    )


@lru_cache(maxsize=8)
def _stop_ids(tokens: tuple[int, ...]) -> frozenset[int]:
    """Return end tokens as a set: one for all requests of a plan."""
    return frozenset(tokens)


def decoding_of(sampling: Sampling) -> Decoding:
    """Return what an engine is told of a plan's sampling."""
    stated = sampling.repetition_penalty
    penalty = None if stated is None else float(stated)
    if sampling.method is SamplingMethod.GREEDY or sampling.temperature is None:
        return Decoding(repetition_penalty=penalty)
    return Decoding(
        repetition_penalty=penalty,
        temperature=float(sampling.temperature),
        top_p=None if sampling.top_p is None else float(sampling.top_p),
        top_k=sampling.top_k,
    )
