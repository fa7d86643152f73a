"""Checkpoint roots and context limits."""

from __future__ import annotations

import hashlib

import pytest

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.model.checkpoint import (
    CheckpointFile,
    RootOrder,
    model_root,
    overflows,
)


def a_file(path: str) -> CheckpointFile:
    """Return a file whose digest is its path's."""
    return CheckpointFile(path=path, sha256=sha256_hex(path.encode()), size=1)


def root_over(*paths: str) -> str:
    """SHA-256 over the concatenated raw digests, in this order."""
    return hashlib.sha256(b"".join(hashlib.sha256(p.encode()).digest() for p in paths)).hexdigest()


@pytest.mark.parametrize("order", RootOrder)
def test_the_root_of_one_file_is_the_hash_of_its_hash(order: RootOrder) -> None:
    file = CheckpointFile(path="model.safetensors", sha256=sha256_hex(b"weights"), size=7)
    expected = hashlib.sha256(hashlib.sha256(b"weights").digest()).hexdigest()
    assert model_root([file], order) == expected


@pytest.mark.parametrize(
    ("order", "paths"),
    [
        # "." sorts before "/", but a shorter part sorts before a longer one.
        (RootOrder.CODE_POINT, ["a.txt", "model.safetensors", "model/config.json", "z", "é"]),
        (RootOrder.PATH_PARTS, ["a.txt", "model/config.json", "model.safetensors", "z", "é"]),
    ],
)
def test_files_are_hashed_in_the_order_of_their_paths(order: RootOrder, paths: list[str]) -> None:
    files = [a_file(path) for path in paths]
    assert model_root(files, order) == root_over(*paths)
    assert model_root(reversed(files), order) == root_over(*paths)


def test_the_root_binds_every_digest() -> None:
    files = [a_file("a"), a_file("b")]
    other = files[1].model_copy(update={"sha256": Sha256("0" * 64)})
    roots = {
        model_root(chosen, RootOrder.CODE_POINT) for chosen in (files, files[:1], [files[0], other])
    }
    assert len(roots) == 3


@pytest.mark.parametrize(
    ("prompt", "response", "limit", "expected"),
    [(0, 10, 10, False), (90, 10, 100, False), (91, 10, 100, True), (101, 1, 100, True)],
)
def test_a_prompt_must_leave_room_for_the_longest_response(
    prompt: int, response: int, limit: int, expected: bool
) -> None:
    assert overflows(prompt, response, limit) == expected
