"""Compressed lines, read as a stream within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import zstandard

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.io.files import open_regular

# A zstd block of a few bytes can stand for 128 KiB, so 1 KiB of input stands for at most
# 32 MiB of output: what is fed at once bounds the memory of a decompression bomb.
_FEED_BYTES = 1024
_SPLIT_BYTES = 256 * 1024
_MAX_WINDOW = 128 * 1024 * 1024


def read_lines(path: Path, *, max_line: int, max_lines: int) -> Iterator[bytes]:
    """Yield the lines of a zstd-compressed file, without their line breaks.

    Args:
        path: One zstd frame of lines, each ended by a line break.
        max_line: Longest line in bytes.
        max_lines: Most lines; an attacker's file may go on for ever.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: Truncated, damaged, with trailing bytes, too many or too long lines.
    """
    number = 0
    rest = b""
    for piece in _decompress(path):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for line in lines:
            number += 1
            if number > max_lines:
                raise MalformedError(f"has more than {max_lines:,} lines", file=path)
            _check_length(line, number, max_line, path)
            yield line
        _check_length(rest, number + 1, max_line, path)
    if rest:
        raise MalformedError("the last line has no line break", file=path, place="end")


def _check_length(line: bytes, number: int, max_line: int, path: Path) -> None:
    if len(line) > max_line:
        raise MalformedError(
            f"longer than the {max_line:,} bytes allowed", file=path, place=f"line {number}"
        )


def _decompress(path: Path) -> Iterator[bytes]:
    """Yield decompressed pieces of at most 256 KiB."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
    offset = 0
    with open_regular(path) as stream:
        while not decompressor.eof:
            try:
                chunk = stream.read(_FEED_BYTES)
                if not chunk:
                    raise MalformedError(
                        "truncated", file=path, place=f"byte {offset}", hint=_AGAIN
                    )
                data = decompressor.decompress(chunk)
            except zstandard.ZstdError as error:
                raise MalformedError(
                    f"not valid zstd data: {error}", file=path, place=f"byte {offset}", hint=_AGAIN
                ) from None
            except OSError as error:
                raise FileAccessError.from_os(error, "read", path) from None
            offset += len(chunk)
            for start in range(0, len(data), _SPLIT_BYTES):
                yield data[start : start + _SPLIT_BYTES]
        after = decompressor.unused_data or stream.read(len(_FRAME))
        if after.startswith(_FRAME):
            raise MalformedError(
                "is more than one zstd frame, and what follows the first is not read",
                file=path,
                hint="write it as one: zstd -dc FILE | zstd > NEW",
            )
        if after:
            raise MalformedError("bytes after the end of the data", file=path, hint=_AGAIN)


_AGAIN = "get the file again from its source"
_FRAME = b"\x28\xb5\x2f\xfd"
"""How a zstd frame begins."""
