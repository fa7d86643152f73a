"""The header of a safetensors file: which tensors it holds, of what shape, and where.

The format (safetensors 0.4 and later): 8 bytes little-endian, the header's length n; n bytes of
JSON; the tensors, one behind the other without a gap.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.documents.strict_json import parse_json
from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.runner.hub.lfs import refuse_pointer

_MAX_HEADER = 100_000_000
"""The safetensors format allows no longer header."""
_READ_BYTES = 1024 * 1024
_BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Bits of a number, by the format's name; one that is not here is left to the loader."""

DAMAGED_WEIGHTS = "the file is damaged or its download broke off; get it again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a header describes it."""

    file: Path
    """The file that holds it."""
    dtype: str
    """Name of its number format, such as ``BF16``."""
    shape: tuple[int, ...]
    """Its shape."""
    start: int
    """Where its bytes start in the file."""
    stop: int
    """Where they stop."""

    @property
    def values(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    def digest(self) -> Sha256:
        """Return SHA-256 over its bytes.

        Raises:
            FileAccessError: The file cannot be read, or is shorter by now.
        """
        sha256, left = hashlib.sha256(), self.stop - self.start
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                while left and (chunk := stream.read(min(left, _READ_BYTES))):
                    sha256.update(chunk)
                    left -= len(chunk)
        except OSError as error:
            raise FileAccessError.from_os(error, "read", self.file) from None
        if left:
            raise FileAccessError("changed while it was read", file=self.file, hint="try again")
        return Sha256(sha256.hexdigest())


def same_tensor(one: StoredTensor, other: StoredTensor) -> bool:
    """Say whether two tensors are alike, number for number; their bytes are read if need be."""
    alike = (one.dtype, one.shape) == (other.dtype, other.shape)
    return alike and one.digest() == other.digest()


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return name → tensor of a safetensors file; no tensor is read.

    Raises:
        FileAccessError: The file is missing or cannot be read.
        MalformedError: The header is damaged, its tensors overlap or leave gaps, or the file is
            shorter or longer than it says.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            first = stream.read(8)
            length = int.from_bytes(first, "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                refuse_pointer(first + stream.read(64), path)
                raise MalformedError(
                    "is not a safetensors file, or is truncated", file=path, hint=DAMAGED_WEIGHTS
                )
            header = stream.read(length)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path, "get the whole folder again") from None
    document = parse_json(header, file=path)
    if not isinstance(document, dict):
        raise MalformedError("its header is not a JSON object", file=path, hint=DAMAGED_WEIGHTS)
    tensors = {
        name: _tensor(entry, path, name, 8 + length)
        for name, entry in document.items()
        if name != "__metadata__"
    }
    end = max((tensor.stop for tensor in tensors.values()), default=8 + length)
    if size != end:
        raise MalformedError(
            f"has {size:,} bytes where its header says {end:,}", file=path, hint=DAMAGED_WEIGHTS
        )
    for problem, name in _layout_problems(tensors, 8 + length):
        raise MalformedError(problem, file=path, place=name, hint=DAMAGED_WEIGHTS)
    return tensors


def _tensor(entry: Any, path: Path, name: str, data: int) -> StoredTensor:
    if isinstance(entry, dict):
        shape, offsets = entry.get("shape"), entry.get("data_offsets")
        numbers = [shape, offsets]
        if all(isinstance(x, list) and all(type(n) is int and n >= 0 for n in x) for x in numbers):
            assert isinstance(shape, list)
            assert isinstance(offsets, list)
            if len(offsets) == 2 and offsets[0] <= offsets[1]:
                start, stop = (data + offset for offset in offsets)
                return StoredTensor(path, str(entry.get("dtype")), tuple(shape), start, stop)
    raise MalformedError(
        "a damaged entry in its header", file=path, place=name, hint=DAMAGED_WEIGHTS
    )


def _layout_problems(tensors: dict[str, StoredTensor], data: int) -> Iterator[tuple[str, str]]:
    """Yield what keeps the tensors from filling the file, each byte once."""
    end = data
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        bits = _BITS.get(tensor.dtype)
        if bits is not None and tensor.values * bits != 8 * (tensor.stop - tensor.start):
            yield "its header gives it more or fewer bytes than its shape needs", name
        if tensor.start > end:
            yield f"its header leaves {tensor.start - end:,} bytes before it to nothing", name
        if tensor.start < end:
            yield "its header lets it overlap another tensor", name
        end = tensor.stop
