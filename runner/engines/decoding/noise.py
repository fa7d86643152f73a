"""Counter-based Gumbel noise, ``gumbel-murmur3/1``.

Adding standard Gumbel noise to log-probabilities and taking the largest draws from their
softmax (the Gumbel-max trick; Gumbel, 1954).  The noise here is a function of three integers,
so a sampled response can be re-derived token by token, on any device, at any batch size:

* ``seed``, 0 to 2^64 − 1, one for each response
  (:func:`runner.engines.decoding.noise_seed.point_noise_seed`);
* ``position``, 0 to 2^32 − 1, the index of the token in the response: 0 for its first token;
* ``token``, 0 to 2^32 − 1, the token id.

Definition, exact enough to write it again in any language::

    h = MurmurHash3_x86_32(seed=0, 16 bytes: seed as 8 bytes little-endian,
                           position as 4 bytes little-endian, token as 4 bytes little-endian)
    u = (h + 1/2) / 2^32                 exact in a 64-bit float, never 0 or 1
    G = −ln(−ln(1 − u))                  in 64-bit floats, as −log(−log1p(−u))

On aligned 4-byte blocks that hash (Appleby, 2011) is, on unsigned 32-bit integers with
wraparound and ``rot`` a left rotation: h = 0; for each block k in (low half of seed, high
half, position, token): ``h = rot(h ^ rot(k * 0xCC9E2D51, 15) * 0x1B873593, 13) * 5 +
0xE6546B64``; then ``h ^= 16``, ``h ^= h >> 16``, ``h *= 0x85EBCA6B``, ``h ^= h >> 13``,
``h *= 0xC2B2AE35``, ``h ^= h >> 16``.

The hash is the same bits everywhere.  G is as exact as the platform's ``log`` and ``log1p``,
which differ by an ulp or two (about 1e-15): far below the spacing of fp32 logits.  ``log1p``
makes the *winning* tail exact, that of small u: a float32 u near 1 would round to 1, and give
an infinite G, about once in 130 steps at a vocabulary of 128,000.
"""

from __future__ import annotations

import math

import torch

GUMBEL_MAX = -math.log(-math.log1p(-(2.0**-33)))
"""Largest noise there is (h = 0): 33 ln 2 ≈ 22.87."""
GUMBEL_MIN = -math.log(33 * math.log(2))
"""Smallest noise there is (h = 2^32 − 1), where u is 1 − 2^-33: ≈ −3.13."""


def _signed(value: int) -> int:
    """Return the int32 of the same bits as a uint32."""
    return value - 2**32 if value >= 2**31 else value


_C1 = _signed(0xCC9E2D51)
_C2 = 0x1B873593
_C3 = _signed(0xE6546B64)
_F1 = _signed(0x85EBCA6B)
_F2 = _signed(0xC2B2AE35)


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts int32 arithmetically: the copies of the sign bit are masked away.
    return (x >> bits) & ((1 << (32 - bits)) - 1)


def _rotate(x: torch.Tensor, bits: int) -> torch.Tensor:
    return (x << bits) | _shift_right(x, 32 - bits)


def _mix(h: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return _rotate(h ^ (_rotate(k * _C1, 15) * _C2), 13) * 5 + _C3


def _word(x: torch.Tensor) -> torch.Tensor:
    """Return the low 32 bits of int64 values as int32."""
    x = x & 0xFFFFFFFF
    return torch.where(x >= 2**31, x - 2**32, x).to(torch.int32)


def seed_tensor(seeds: list[int], device: torch.device) -> torch.Tensor:
    """Return 64-bit seeds (0 to 2^64 − 1) as int64 of the same bits."""
    signed = [seed - 2**64 if seed >= 2**63 else seed for seed in seeds]
    return torch.tensor(signed, dtype=torch.int64, device=device)


def row_state(seeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the hash's state after seed and position, int32 of the same shape.

    Args:
        seeds: int64, the bits of the 64-bit seeds.
        positions: int64, indices in the response, of the same shape.
    """
    h = torch.zeros_like(_word(seeds))
    for block in (_word(seeds), _word(seeds >> 32), _word(positions)):
        h = _mix(h, block)
    return h


def hash_tokens(state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return h as int32 of the same bits.

    Args:
        state: int32 from :func:`row_state`.
        tokens: Token ids, int32 or int64, of a shape that broadcasts with ``state``.
    """
    # In place: over a whole vocabulary, new arrays would take longer than the arithmetic.
    h = state ^ (_rotate(tokens.to(torch.int32) * _C1, 15) * _C2)
    scratch = (h >> 19) & ((1 << 13) - 1)
    h <<= 13
    h |= scratch
    h *= 5
    h += _C3
    h ^= 16
    for bits, factor in ((16, _F1), (13, _F2), (16, 1)):
        torch.bitwise_right_shift(h, bits, out=scratch)
        scratch &= (1 << (32 - bits)) - 1
        h ^= scratch
        h *= factor
    return h


def gumbel(hashes: torch.Tensor) -> torch.Tensor:
    """Return G, float64, of int32 hashes."""
    u = ((hashes.to(torch.int64) & 0xFFFFFFFF).to(torch.float64) + 0.5) * 2.0**-32
    return -torch.log(-torch.log1p(-u))


def gumbel_fp32(hashes: torch.Tensor) -> torch.Tensor:
    """Return G of int32 hashes in fp32, to within 1e-5: for tokens that are scored again.

    ``u`` near 1 is held as ``1 − u``, which fp32 can tell from 0.
    """
    upper = hashes < 0  # u is one half or more
    half = (hashes ^ (hashes >> 31)).float()  # flips the bits of those
    half += 0.5
    half *= 2.0**-32
    return torch.where(upper, half.log(), torch.log1p(-half)).neg_().log_().neg_()
