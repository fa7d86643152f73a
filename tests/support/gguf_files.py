"""Small GGUF files: a header as llama.cpp writes it, and no numbers behind it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q2_K": 10, "I32": 26, "BF16": 30, "odd": 77}
"""Numbers of number formats in ggml.h."""
NORM = ("blk.0.attn_norm.weight", 1)
"""A tensor that every file has in F32."""
PROJECTION = ("blk.0.attn_q.weight", 2)
"""A tensor that is quantised where any is."""


def text(value: str) -> bytes:
    """Return a string as a header holds it."""
    return struct.pack("<Q", len(value)) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    """Return a key with its value."""
    return text(key) + struct.pack("<I", kind) + value


PAIRS = (
    pair("general.architecture", 8, text("llama")),
    pair("llama.block_count", 4, struct.pack("<I", 1)),
    pair("llama.rope.freq_base", 6, struct.pack("<f", 1e4)),
    pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 3) + text("a") + text("") + text("bc")),
    pair("tokenizer.ggml.token_type", 9, struct.pack("<IQ3i", 5, 3, 1, 1, 1)),
)
"""Values of every sort."""


def gguf_bytes(
    tensors: Sequence[tuple[tuple[str, int], str]] = ((NORM, "F32"), (PROJECTION, "F32")),
    *,
    pairs: Sequence[bytes] = PAIRS,
    version: int = 3,
    counts: Mapping[str, int] | None = None,
) -> bytes:
    """Return a file's bytes.

    Args:
        tensors: Name, number of dimensions and number format of each.
        pairs: Keys with their values.
        version: The format's.
        counts: What is said of ``tensors`` and ``pairs`` in place of their numbers.
    """
    said = {"tensors": len(tensors), "pairs": len(pairs)} | dict(counts or {})
    header = b"GGUF" + struct.pack("<IQQ", version, said["tensors"], said["pairs"])
    infos = [
        text(name)
        + struct.pack(f"<I{dimensions}Q", dimensions, *[4] * dimensions)
        + struct.pack("<IQ", TYPES[kind], 0)
        for (name, dimensions), kind in tensors
    ]
    return header + b"".join(pairs) + b"".join(infos)


def write_small_gguf(path: Path, kind: str) -> None:
    """Write a file whose weights are in one number format, and whose norms are in F32."""
    path.write_bytes(gguf_bytes([(NORM, "F32"), (PROJECTION, kind)]))
