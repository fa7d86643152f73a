"""The sampling noise is a function of (seed, position, token), written down exactly."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.runner.engines.decoding import noise
from safety_receipts.runner.engines.decoding.noise_seed import NOISE, point_noise_seed

U32 = 0xFFFFFFFF


def murmur3(data: bytes, seed: int = 0) -> int:
    """MurmurHash3_x86_32 of whole 4-byte blocks and a tail, in Python's integers."""

    def rotate(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (32 - bits))) & U32

    h = seed
    whole = len(data) // 4 * 4
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        h ^= rotate(k * 0xCC9E2D51 & U32, 15) * 0x1B873593 & U32
        h = (rotate(h, 13) * 5 + 0xE6546B64) & U32
    tail = int.from_bytes(data[whole:], "little")
    if tail:
        h ^= rotate(tail * 0xCC9E2D51 & U32, 15) * 0x1B873593 & U32
    h ^= len(data)
    h = (h ^ (h >> 16)) * 0x85EBCA6B & U32
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & U32
    return h ^ (h >> 16)


def reference(seed: int, position: int, token: int) -> int:
    return murmur3(struct.pack("<QII", seed, position, token))


def computed(seed: int, position: int, tokens: list[int]) -> list[int]:
    cpu = torch.device("cpu")
    state = noise.row_state(noise.seed_tensor([seed], cpu), torch.tensor([position]))
    return [h & U32 for h in noise.hash_tokens(state, torch.tensor(tokens)).tolist()]


@pytest.mark.parametrize(
    ("data", "seed", "digest"),
    [
        (b"", 0, 0),
        (b"", 1, 0x514E28B7),
        (b"test", 0, 0xBA6BD213),
        (b"test", 0x9747B28C, 0x704B81DC),
        (b"Hello, world!", 0, 0xC0363E43),
        (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    ],
)
def test_the_reference_is_the_published_hash(data: bytes, seed: int, digest: int) -> None:
    assert murmur3(data, seed) == digest


@given(
    seed=st.integers(0, 2**64 - 1),
    position=st.integers(0, 2**31),
    tokens=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8),
)
def test_hashes_are_those_of_the_published_hash_bit_for_bit(
    seed: int, position: int, tokens: list[int]
) -> None:
    assert computed(seed, position, tokens) == [reference(seed, position, t) for t in tokens]


def test_known_hashes_stay_what_they_are() -> None:
    assert computed(0, 0, [0, 1, 127_999]) == [reference(0, 0, t) for t in (0, 1, 127_999)]
    assert computed(0, 0, [0]) == [0x8134CDF8]
    assert computed(2**64 - 1, 511, [128_000]) == [0x5D23FC20]


def test_hashes_equal_those_of_unsigned_arrays() -> None:
    """The same in numpy's unsigned arithmetic, for a whole vocabulary."""
    seed, position = 0xFEDCBA9876543210, 77
    tokens = np.arange(50_000, dtype=np.uint32)
    u = np.uint32

    def rotate(x: np.ndarray, bits: int) -> np.ndarray:
        return (x << u(bits)) | (x >> u(32 - bits))

    h = np.zeros_like(tokens)
    for block in (u(seed & U32), u(seed >> 32), u(position), tokens):
        k = np.broadcast_to(block, h.shape) * u(0xCC9E2D51)
        h = rotate(h ^ (rotate(k, 15) * u(0x1B873593)), 13) * u(5) + u(0xE6546B64)
    h ^= u(16)
    h = (h ^ (h >> u(16))) * u(0x85EBCA6B)
    h = (h ^ (h >> u(13))) * u(0xC2B2AE35)
    h ^= h >> u(16)
    assert computed(seed, position, tokens.tolist()) == h.tolist()


def test_noise_is_the_double_logarithm_of_the_hash() -> None:
    hashes = [0, 1, 12_345, 2**31 - 1, 2**31, 2**32 - 1]
    signed = torch.tensor([h - 2**32 if h >= 2**31 else h for h in hashes], dtype=torch.int32)
    expected = [-math.log(-math.log1p(-(h + 0.5) / 2**32)) for h in hashes]
    assert noise.gumbel(signed).tolist() == pytest.approx(expected, rel=1e-14)


def test_noise_lies_between_its_stated_bounds() -> None:
    ends = noise.gumbel(torch.tensor([0, -1], dtype=torch.int32)).tolist()
    assert ends == pytest.approx([noise.GUMBEL_MAX, noise.GUMBEL_MIN], rel=1e-12)
    assert ends[0] - ends[1] == pytest.approx(26.0, abs=0.01)


def test_noise_has_the_mean_and_variance_of_a_gumbel() -> None:
    cpu = torch.device("cpu")
    state = noise.row_state(noise.seed_tensor([20_240], cpu), torch.tensor([3]))
    draws = noise.gumbel(noise.hash_tokens(state, torch.arange(200_000)))
    assert draws.mean().item() == pytest.approx(0.5772, abs=4 * 1.2825 / 200_000**0.5)
    assert draws.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)


def test_seed_of_a_point_is_eight_bytes_of_a_tagged_digest() -> None:
    event, point = Sha256("ab" * 32), Sha256("cd" * 32)
    assert point_noise_seed(event, point) == 0xA108BFD357A2966F
    assert point_noise_seed(event, Sha256("ce" * 32)) != point_noise_seed(event, point)


def test_noise_is_named() -> None:
    assert NOISE == "gumbel-murmur3/1"
