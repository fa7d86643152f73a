"""Points of small order, worked out here from the curve, and keys that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.algorithms.ed25519 import is_weak_ed25519
from safety_receipts.receipts.errors import ExitCode
from safety_receipts.receipts.keys import PublicKey, TrustSet, WeakKeyError, load_public_key

# RFC 8032, section 5.1.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
L = 2**252 + 27742317777372353535851937790883648493

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    """The addition law of −x² + y² = 1 + d x² y², complete on this curve."""
    (x, y), (u, v) = one, other
    t = D * x * y * u * v % P
    return (
        (x * v + u * y) * pow(1 + t, -1, P) % P,
        (y * v + x * u) * pow(1 - t, -1, P) % P,
    )


def times(number: int, point: Point) -> Point:
    total = NEUTRAL
    for bit in f"{number:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def x_of(y: int) -> int | None:
    """RFC 8032, section 5.1.3: an x of the point, or None where no point has this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    for x in (pow(square, (P + 3) // 8, P), pow(square, (P + 3) // 8, P) * pow(2, (P - 1) // 4, P)):
        if (x * x - square) % P == 0:
            return x % P
    return None


def points() -> list[Point]:
    return [(x, y) for y in range(2, 40) if (x := x_of(y)) is not None]


def small_order() -> list[Point]:
    """All eight: the multiples of one of order eight, which L times a point is now and then."""
    for point in points():
        root = times(L, point)
        if times(4, root) != NEUTRAL:
            return [times(number, root) for number in range(8)]
    raise AssertionError("no point of order eight")


def encoded(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def test_all_eight_points_of_small_order_are_weak() -> None:
    found = small_order()
    assert len(set(found)) == 8
    assert {times(8, point) for point in found} == {NEUTRAL}
    for x, y in found:
        assert is_weak_ed25519(encoded(y, x & 1))
        assert is_weak_ed25519(encoded(y, 1 - (x & 1))), "−x, or x = 0 with the sign set"


@pytest.mark.parametrize("sign", [0, 1])
def test_every_y_that_is_not_reduced_is_weak(sign: int) -> None:
    assert all(is_weak_ed25519(encoded(y, sign)) for y in range(P, 2**255))
    assert not is_weak_ed25519(encoded(P - 2, sign))


def test_points_of_large_and_of_mixed_order_are_not() -> None:
    root = small_order()[1]
    for x, y in points():
        large = times(8, (x, y))
        mixed = add(large, root)
        assert times(L, large) == NEUTRAL != times(L, mixed)
        for u, v in (large, mixed):
            assert not is_weak_ed25519(encoded(v, u & 1))


@given(st.binary(min_size=32, max_size=32))
def test_no_key_of_a_private_key_is_weak(secret: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    assert not is_weak_ed25519(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    PublicKey(key)


WEAK = [encoded(y, sign) for _, y in small_order() for sign in (0, 1)]
WEAK += [encoded(y, 0) for y in (P, P + 1, P + 3, 2**255 - 1)]


@pytest.mark.parametrize("raw", sorted(set(WEAK)), ids=bytes.hex)
def test_a_weak_key_is_refused_wherever_keys_are_read(tmp_path: Path, raw: bytes) -> None:
    key = Ed25519PublicKey.from_public_bytes(raw)
    with pytest.raises(WeakKeyError):
        PublicKey(key)
    path = tmp_path / "weak.pub"
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(WeakKeyError) as caught:
        load_public_key(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.one_line().startswith(f"{path}: the key is a weak one: ")
    with pytest.raises(WeakKeyError):
        TrustSet.load([path])
