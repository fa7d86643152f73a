"""Whether a model gives, with a cache and over shared prefixes, what it gives without either.

A model's code may do with attention what no registry tells of, and a release of transformers
may read a cache or a mask in another way than the one before.  So before an engine relies on
either it answers a few short prompts both ways.  The prompts are shorter than most
sliding windows: that windows are respected is tested on small models, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.runner.engines.decoding.drafts import Draft
from safety_receipts.runner.engines.engine import GREEDY, Request
from safety_receipts.runner.engines.forward import Forward
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.plain_batches import PlainBatches
from safety_receipts.runner.engines.prefix.prefix_batches import PrefixBatches
from safety_receipts.runner.engines.prefix.schedule import ScheduledRequest, build_schedule
from safety_receipts.runner.engines.prefix.shared_prefix import PassSetting
from safety_receipts.runner.prompts.prefix_tree import in_one_tree

_NEW: Final = 3
_CHUNK: Final = 4
_PROMPTS: Final = (
    range(12),
    (*range(8), *range(20, 24)),
    (*range(8), *range(20, 22), *range(30, 32)),
    (*range(3), *range(40, 46)),
    range(50, 51),
)
"""Places in an endless list of tokens: prompts that leave each other at several depths."""
_TOLERANCE: Final = {Dtype.FLOAT32: 1e-3, Dtype.BFLOAT16: 0.1, Dtype.FLOAT16: 0.03}
"""Largest difference of two logits, as a share of the largest logit (at least 1)."""


def why_not_cached(loaded: LoadedModel, forward: Forward, plain: PlainBatches) -> str | None:
    """Return how a model's logits with a cache are other than without, or None.

    Single tokens may be other in a half-width format, where experts change; most may not.

    Args:
        loaded: The model.
        forward: Runs it.
        plain: Answers with its ordinary forward pass.
    """
    drafts = [Draft([request]) for request in _requests(loaded)]
    plain.generate(drafts, GREEDY)
    apart: list[str] = []
    tokens = 0
    for draft in drafts:
        if draft.finish is Finish.ERROR:
            continue  # what is not finite is said of each response, not of the model
        whole = _without_cache(loaded, forward, draft)
        tokens += len(whole)
        for mine, theirs in zip(draft.logits, whole, strict=True):
            if (problem := _far(mine, theirs, _TOLERANCE[loaded.dtype])) is not None:
                apart.append(problem)
    return f"with a cache {apart[0]}" if 2 * len(apart) > tokens else None


@torch.inference_mode()
def _without_cache(
    loaded: LoadedModel, forward: Forward, draft: Draft
) -> tuple[tuple[float, ...], ...]:
    """Return the logits that a draft's would be if each token were computed anew."""
    request = draft.request
    ids = torch.tensor([[*request.tokens, *draft.tokens[:-1]]], device=loaded.device)
    positions = torch.arange(ids.shape[1], device=loaded.device)[None]
    at = positions[:, len(request.tokens) - 1 :]
    found = forward(ids, positions, at)[0][:, list(request.logits_for)]
    return tuple(tuple(row) for row in found.tolist())


def _requests(loaded: LoadedModel) -> list[Request]:
    vocabulary = loaded.architecture.widths.vocabulary
    wanted = tuple(range(min(vocabulary, 64)))
    return [
        Request(key, [(7919 * i + 11) % vocabulary for i in places], _NEW, frozenset(), 0, wanted)
        for key, places in enumerate(_PROMPTS)
    ]


def why_not_shared(
    loaded: LoadedModel, forward: Forward, plain: PlainBatches, setting: PassSetting
) -> str | None:
    """Return why a model cannot be served over shared prefixes, or None.

    Args:
        loaded: The model.
        forward: Runs it.
        plain: Answers with its ordinary forward pass.
        setting: How prefixes would be shared.
    """
    requests = _requests(loaded)
    prompts = in_one_tree([request.tokens for request in requests])
    schedule = build_schedule(
        [ScheduledRequest(prompt, 0, _NEW - 1) for prompt in prompts],
        fits=lambda _: True,
        max_rows=len(prompts),
        chunk=_CHUNK,
        share_tokens=2 * _CHUNK,
    )
    try:
        ordinary = [Draft([request]) for request in requests]
        plain.generate(ordinary, GREEDY)
        shared = [Draft([requests[row.ask]]) for row in schedule.rows]
        PrefixBatches(forward, setting, schedule, _CHUNK).generate(0, shared, GREEDY)
    except Exception as error:  # the model's code may raise anything
        return error_line(error)
    shared.sort(key=lambda draft: draft.request.key)
    return _difference(ordinary, shared, _TOLERANCE[loaded.dtype])


def _difference(ordinary: Sequence[Draft], shared: Sequence[Draft], tolerance: float) -> str | None:
    for one, other in zip(ordinary, shared, strict=True):
        if one.finish != other.finish:
            return "its logits are finite one way and not the other"
        for i, (mine, theirs) in enumerate(zip(one.logits, other.logits, strict=False)):
            if (problem := _far(mine, theirs, tolerance)) is not None:
                return problem
            if one.tokens[i] != other.tokens[i]:
                break  # within the tolerance; what follows is another context
    return None


def _far(mine: Sequence[float], theirs: Sequence[float], tolerance: float) -> str | None:
    """Return by how much two rows of logits differ, if by more than rounding, or None."""
    largest = max(1.0, *map(abs, mine))
    apart = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    return (
        f"its logits are {apart:.2g} off, of {largest:.2g}" if apart > tolerance * largest else None
    )
