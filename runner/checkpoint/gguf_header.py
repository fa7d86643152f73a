"""The header of a GGUF file, which llama.cpp loads: in which number formats its tensors are.

The format (versions 2 and 3, little-endian; ggml/include/gguf.h of llama.cpp): the magic ``GGUF``,
the version (32 bits), the numbers of tensors and of key-value pairs (64 bits each), the pairs, and
of each tensor name, number of dimensions, dimensions, number format and offset.  No tensor is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.tensor_headers import DAMAGED_WEIGHTS
from safety_receipts.runner.hub.lfs import refuse_pointer

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_HEADER: Final = 256 * 2**20
"""Most bytes of a header: vocabularies of a million tokens take a tenth of that."""
_MAX_ENTRIES: Final = 2**16
"""Most tensors, and most key-value pairs; the largest models have some thousands."""
_MAX_NAME: Final = 2**16
"""Most bytes of a key or of a tensor's name."""
_MAX_STRINGS: Final = 2**23
"""Most strings of all arrays together."""
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by its type."""
_INTEGERS: Final = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
_STRING: Final = 8
_ARRAY: Final = 9
_PARTS: Final = b"split.count"
"""The key that says of how many files a model is."""
_FORMATS: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}
"""Names of number formats, as ggml.h numbers them."""
_OF_DTYPE: Final = {Dtype.FLOAT32: "F32", Dtype.FLOAT16: "F16", Dtype.BFLOAT16: "BF16"}
_KEPT_WHOLE: Final = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight"),
    *("position_embd.weight", "token_types.weight", "ssm_conv1d.weight", "shortconv.conv.weight"),
)
"""Endings of the tensors that llama.cpp's converter keeps in F32, besides those of one dimension
and those that are no weights."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as a header describes it."""

    name: str
    """Its name."""
    dimensions: int
    """How many it has."""
    stored_as: str
    """Name of its number format, such as ``BF16`` or ``Q4_K``."""

    @property
    def may_be_whole(self) -> bool:
        """Whether it is in F32 in a file of a shorter format, too."""
        plain = not self.name.endswith(".weight")
        return self.dimensions <= 1 or plain or self.name.endswith(_KEPT_WHOLE)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a header says."""

    tensors: tuple[GgufTensor, ...]
    """The tensors, in the file's order."""
    parts: int
    """Of how many files the model is."""


def read_gguf_header(path: Path) -> GgufHeader:
    """Return what the header of a GGUF file says; no tensor is read.

    Raises:
        FileAccessError: The file is missing or cannot be read.
        MalformedError: It is no GGUF file, or its header is damaged or too long.
    """
    try:
        with path.open("rb") as stream:
            return _HeaderReader(path, stream).header()
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path, "get the whole file again") from None


def gguf_problem(path: Path, dtype: Dtype) -> str | None:
    """Return why a GGUF file does not hold a model in a number format, or None.

    Args:
        path: The file.
        dtype: The format.

    Raises:
        ReceiptsError: Its header cannot be read.
    """
    header, wanted = read_gguf_header(path), _OF_DTYPE[dtype]
    if header.parts > 1:
        return f"it is one of {header.parts:,} files that are loaded together; merge them into one"
    if not header.tensors:
        return "it holds no tensors"
    for tensor in header.tensors:
        fits = tensor.stored_as == wanted or (tensor.stored_as == "F32" and tensor.may_be_whole)
        if not fits:
            return (
                f"it stores {printable(tensor.name, 60)} as {tensor.stored_as}, and not as "
                f"{wanted}, which the number format {dtype.value} is there"
            )
    return None


class _HeaderReader:
    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream
        self._left = min(os.fstat(stream.fileno()).st_size, _MAX_HEADER)
        self._strings = 0

    def header(self) -> GgufHeader:
        first = self._stream.read(len(_MAGIC))
        if first != _MAGIC:
            refuse_pointer(first + self._stream.read(64), self._path)
            raise MalformedError("is not a GGUF file", file=self._path, hint=DAMAGED_WEIGHTS)
        self._left -= len(_MAGIC)
        version = self._number(4)
        if version not in _VERSIONS:
            raise MalformedError(
                f"is a GGUF file of version {version:,}, and 2 and 3 are known, little-endian",
                file=self._path,
                hint="convert the model anew",
            )
        tensors, pairs = self._number(8), self._number(8)
        if max(tensors, pairs) > _MAX_ENTRIES:
            raise self._damaged()
        parts = 1
        for _ in range(pairs):
            key, kind = self._text(), self._number(4)
            if key == _PARTS and kind in _INTEGERS:
                parts = self._number(_SIZES[kind])
            else:
                self._skip_value(kind)
        return GgufHeader(tuple(self._tensors(tensors)), parts)

    def _tensors(self, count: int) -> Iterator[GgufTensor]:
        for _ in range(count):
            name = self._text().decode("utf-8", errors="replace")
            dimensions = self._number(4)
            if dimensions > 8:
                raise self._damaged()
            self._skip(8 * dimensions)
            kind = self._number(4)
            self._skip(8)
            yield GgufTensor(name, dimensions, _FORMATS.get(kind, f"number format {kind:,}"))

    def _skip_value(self, kind: int) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._skip(self._number(8))
        elif kind == _ARRAY:
            of, count = self._number(4), self._number(8)
            if of in _SIZES:
                self._skip(_SIZES[of] * count)
            elif of == _STRING:
                self._strings += count
                if self._strings > _MAX_STRINGS:
                    raise self._damaged()
                for _ in range(count):
                    self._skip(self._number(8))
            else:
                raise self._damaged()
        else:
            raise self._damaged()

    def _text(self) -> bytes:
        length = self._number(8)
        if length > _MAX_NAME:
            raise self._damaged()
        return self._take(length)

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise self._damaged()
        found = self._stream.read(size)
        if len(found) != size:
            raise self._damaged()
        self._left -= size
        return found

    def _skip(self, size: int) -> None:
        if size > self._left:
            raise self._damaged()
        self._stream.seek(size, os.SEEK_CUR)
        self._left -= size

    def _damaged(self) -> MalformedError:
        return MalformedError(
            f"its GGUF header is cut, damaged or longer than {_MAX_HEADER // 2**20:,} MiB",
            file=self._path,
            hint=DAMAGED_WEIGHTS,
        )
