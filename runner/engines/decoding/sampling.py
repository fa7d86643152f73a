"""From logits to a token, and from a token to its margin.

**Greedy**: the largest logit; among equal ones the lowest token id.

**Seeded**: token v scores ``logit_v / temperature + G_v`` in float64, G being the noise of
:mod:`runner.engines.decoding.noise`; the largest score wins, among equal ones the lowest token id.
That is a draw from softmax(logits / temperature), restricted first to top-k, then to top-p:

* tokens are ranked by logit, largest first, equal logits by token id, lowest first;
* top-k keeps the first k ranks: exactly k tokens, ties or no ties;
* top-p renormalises the softmax (at ``temperature``, in float64) over what top-k kept, and
  keeps a token if the mass ranked before it is below p: the shortest prefix that reaches p,
  at least one token.  p = 1 keeps everything.

Scores of all tokens are defined; only some are computed.  The noise is bounded, so with t the
token of the largest logit no token can beat t whose ``logit / temperature`` lies more than
``GUMBEL_MAX − G_t`` (at most 26.0) below t's.  Those are skipped, and the choice is the
same as if they were not: the chance of a miss is 0.  (A cut chosen by probability would need
ln(vocabulary / 1e-7) ≈ 27.9 at 128,000 tokens, which excludes less.)  Where that leaves many,
all are hashed, which takes whole numbers only, and the two logarithms of the noise are taken
for those whose hash is small enough to reach t's score.  An accelerator would have to be asked
how many there are; there all are scored in fp32 first (:func:`winner_unasked`).
"""

from __future__ import annotations

import math

import torch

from safety_receipts.runner.engines.decoding.noise import (
    GUMBEL_MAX,
    gumbel,
    gumbel_fp32,
    hash_tokens,
    row_state,
)
from safety_receipts.runner.engines.engine import Decoding

_CPU_CHUNK = 2**17
"""Logits handled at once on a CPU: about what stays in its cache."""
_DEVICE_CHUNK = 2**24
"""Logits handled at once on an accelerator: bounds the scratch memory."""


_MANY = 1 / 8
"""Share of the logits that bounds on the noise leave, above which all are hashed."""
_FEW = 16
"""Tokens that an accelerator scores exactly."""
_STRIDE = 16
"""One logit in so many is looked at to tell that share."""


def chunk_logits(device: torch.device) -> int:
    """Return how many logits are handled at once, but for a single row with more."""
    return _CPU_CHUNK if device.type == "cpu" else _DEVICE_CHUNK


def _chunk_rows(logits: torch.Tensor) -> int:
    return max(1, chunk_logits(logits.device) // logits.shape[1])


def parts(logits: torch.Tensor) -> list[slice]:
    """Return rows that are handled at once, so that scratch memory is bounded."""
    step = _chunk_rows(logits)
    return [slice(start, min(start + step, len(logits))) for start in range(0, len(logits), step)]


def choose(
    logits: torch.Tensor,
    decoding: Decoding,
    seeds: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the next token of each row, int64 [rows].

    Args:
        logits: fp32 [rows, vocabulary], finite.
        decoding: How to choose.
        seeds: int64 [rows], bits of the 64-bit seeds
        (:func:`~runner.engines.decoding.noise.seed_tensor`);
            needed unless greedy.
        positions: int64 [rows], index of the token in its response; needed unless greedy.
    """
    if decoding.temperature is None:
        return logits.max(-1).indices  # the first of equal ones, as torch promises
    state = _state(seeds, positions)
    step = _chunk_rows(logits)
    chosen = [
        _best(_restricted(part, decoding), decoding.temperature, rows)[0]
        for part, rows in zip(torch.split(logits, step), torch.split(state, step), strict=True)
    ]
    return torch.cat(chosen)


def margins(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    decoding: Decoding,
    seeds: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far given tokens lie below the best ones, and which these are.

    Returns:
        The best score of each row minus that of the given token, float64 [rows]: at least 0; 0
        where the token is the one :func:`choose` takes, or ties with it exactly; infinite where
        it lies outside top-k or top-p.  And the tokens that :func:`choose` takes, int64 [rows].

    Args:
        logits: fp32 [rows, vocabulary], finite.
        tokens: int64 [rows], the given tokens.
        decoding: How they claim to have been chosen.
        seeds: As for :func:`choose`.
        positions: As for :func:`choose`.
    """
    own = tokens[:, None]
    if decoding.temperature is None:
        taken = choose(logits, decoding)
        best = logits.gather(1, taken[:, None])[:, 0].double()
        return best - logits.gather(1, own)[:, 0].double(), taken
    state = _state(seeds, positions)
    step = _chunk_rows(logits)
    found, chosen = [], []
    for part, rows, token in zip(
        torch.split(logits, step), torch.split(state, step), torch.split(own, step), strict=True
    ):
        allowed = _restricted(part, decoding)
        winner, best = _best(allowed, decoding.temperature, rows)
        score = allowed.gather(1, token)[:, 0].double() / decoding.temperature
        found.append(best - (score + gumbel(hash_tokens(rows, token[:, 0]))))
        chosen.append(winner)
    return torch.cat(found), torch.cat(chosen)


def _state(seeds: torch.Tensor | None, positions: torch.Tensor | None) -> torch.Tensor:
    if seeds is None or positions is None:
        raise ValueError("seeded sampling needs seeds and positions")
    return row_state(seeds, positions)


def _restricted(logits: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Return the logits with −infinity outside top-k and top-p."""
    vocabulary = logits.shape[1]
    top_k = vocabulary if decoding.top_k is None else decoding.top_k
    top_p = 1.0 if decoding.top_p is None else decoding.top_p
    if decoding.temperature is None or (top_k >= vocabulary and top_p >= 1):
        return logits
    ranked, ids = torch.sort(logits, dim=-1, descending=True, stable=True)
    kept = torch.ones_like(ranked, dtype=torch.bool)
    kept[:, top_k:] = False
    if top_p < 1:
        scaled = (ranked.double() / decoding.temperature).masked_fill(~kept, -torch.inf)
        mass = torch.softmax(scaled, dim=-1)
        before = mass.cumsum(-1) - mass
        before[:, 0] = 0  # the first token stays, whatever the subtraction rounds to
        kept &= before < top_p
    allowed = torch.zeros_like(kept).scatter_(1, ids, kept)
    return logits.masked_fill(~allowed, -torch.inf)


def _best(
    logits: torch.Tensor, temperature: float, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    found = winner if logits.device.type == "cpu" else winner_unasked
    return found(logits, temperature, state)


def winner_unasked(
    logits: torch.Tensor, temperature: float, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`winner` does, without asking the device how many tokens may win.

    All tokens are scored in fp32, to within 1e-4 where it matters, and the best few again in
    float64: the choice is the same unless more than ``_FEW`` scores lie that close together.
    A row that holds a NaN gives some token.

    Args:
        logits: As for :func:`winner`.
        temperature: Above 0.
        state: As for :func:`winner`.
    """
    vocabulary = logits.shape[1]
    tokens = torch.arange(vocabulary, dtype=torch.int32, device=logits.device)
    # Differences from the top, as large logits of fp32 would leave no digits for the noise.
    coarse = logits - logits.amax(-1, keepdim=True)
    coarse /= temperature
    coarse += gumbel_fp32(hash_tokens(state[:, None], tokens))
    few = coarse.topk(min(_FEW, vocabulary), sorted=False).indices
    scores = logits.gather(1, few).double() / temperature
    scores += gumbel(hash_tokens(state[:, None], few))
    best = scores.amax(-1)
    lowest = torch.where(scores == best[:, None], few, vocabulary).amin(-1)
    return lowest.clamp_max(vocabulary - 1), best


def winner(
    logits: torch.Tensor, temperature: float, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token (int64) and score (float64) of each row's best token.

    Args:
        logits: fp32 [rows, vocabulary], −infinity where a token is not allowed; no NaN.
        temperature: Above 0.
        state: int32 [rows], from :func:`~runner.engines.decoding.noise.row_state`.
    """
    rows = logits.shape[0]
    top, token = logits.max(-1)  # of equal ones any: this is a bound
    score = top.double() / temperature + gumbel(hash_tokens(state, token))
    limit = (score - GUMBEL_MAX) * temperature
    # The threshold is rounded to fp32, so it is lowered by more than that could raise it.
    limit = limit - 1e-3 * temperature - 1e-6 * limit.abs()
    floor = limit.float()[:, None]
    sample = logits[:, ::_STRIDE]
    if int((sample >= floor).sum()) > _MANY * sample.numel():
        reaching = _reaching(logits, temperature, (top, score), state)
    else:
        reaching = logits >= floor
    row, column = reaching.nonzero(as_tuple=True)
    scores = logits[row, column].double() / temperature
    scores += gumbel(hash_tokens(state[row], column))
    best = torch.full((rows,), -torch.inf, dtype=torch.float64, device=logits.device)
    best.scatter_reduce_(0, row, scores, "amax")
    wins = scores == best[row]
    lowest = torch.full((rows,), logits.shape[1], dtype=torch.int64, device=logits.device)
    lowest.scatter_reduce_(0, row[wins], column[wins], "amin")
    return lowest, best


def _reaching(
    logits: torch.Tensor,
    temperature: float,
    best: tuple[torch.Tensor, torch.Tensor],
    state: torch.Tensor,
) -> torch.Tensor:
    """Return which tokens may reach a score, bool [rows, vocabulary]: all that do, and few more.

    With u as in :mod:`runner.engines.decoding.noise`, ``s + G(u) ≥ score`` means
    ``u ≤ 1 − exp(−exp(s − score))``, and so ``u ≤ exp(s − score)``.

    Args:
        logits: As for :func:`winner`.
        temperature: Above 0.
        best: The largest logit of each row, fp32 [rows], and the score to reach, float64 [rows].
        state: int32 [rows].
    """
    tokens = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device)
    hashes = hash_tokens(state[:, None], tokens)
    # As a float of the unsigned number: fp32 rounds it, and the bound, by parts in a million.
    unsigned = hashes.float()
    unsigned += (hashes < 0) * 2.0**32
    # Differences from the top first: large logits of fp32 would leave no digits for them.
    top, score = best
    lift = (top.double() / temperature - score + 32 * math.log(2)).float()
    bound = logits - top[:, None]
    bound /= temperature
    bound += lift[:, None]
    bound.exp_()
    bound *= 1 + 1e-4
    bound += 1
    return unsigned <= bound
