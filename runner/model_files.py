"""The weight files of a model folder, read no further than their headers.

A folder may come from anywhere: what a header claims is held against the length of its file,
so that a truncated download is found before any weight is loaded, and a name never leads out
of the folder.  Files may be symbolic links, as they are in a hub cache.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from receipts.errors import FileAccessError, MalformedError, UsageError
from receipts.files import read_own_file
from receipts.strict_json import parse_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

PICKLE_ENDINGS = (
    ".bin",
    ".ckpt",
    ".dill",
    ".joblib",
    ".mar",
    ".nemo",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".th",
)
"""How names of files end that hold pickles, or archives of them, by convention."""

_TRAINING_STATE = (
    "training_args.",
    "optimizer.",
    "scheduler.",
    "scaler.",
    "rng_state",
    "random_states",
)
"""How names of pickles begin that a trainer leaves beside the weights."""
"""Endings of files that hold weights as Python pickles: loading one can run any code."""

_MAX_CONFIG = 16 * 2**20
_MAX_INDEX = 64 * 2**20
_MAX_HEADER = 100_000_000
"""The safetensors format allows no longer header."""
_MAX_SHARDS = 10_000
_DAMAGED = "the file is damaged or its download broke off; get it again"


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers of a folder's safetensors files say."""

    files: tuple[Path, ...]
    """The files, in the order of their names."""
    values: int
    """Numbers stored: the count of parameters, but for packed (quantised) tensors."""
    bytes: int
    """Bytes they take."""


def read_json_object(path: Path, limit: int = _MAX_CONFIG) -> dict[str, Any]:
    """Return the JSON object of a configuration file, floats and all.

    Args:
        path: The file.
        limit: Longest it may be, in bytes.

    Raises:
        FileAccessError: It is missing or cannot be read.
        MalformedError: It is no JSON object, or too long.
    """
    data = read_own_file(path, limit)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not JSON"
        raise MalformedError(reason, file=path, hint=_DAMAGED) from None
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object", file=path, hint=_DAMAGED)
    return value


def read_weights(folder: Path) -> Weights:
    """Read the headers of a folder's safetensors files.

    Raises:
        UsageError: There are none; what to do about it is in the hint.
        FileAccessError: One is missing or cannot be read.
        MalformedError: A header or the index is damaged, or a file is shorter or longer than
            its header says.
    """
    names = _shards(folder)
    totals = [_read_header(folder / name) for name in names]
    return Weights(
        files=tuple(folder / name for name in names),
        values=sum(values for values, _ in totals),
        bytes=sum(size for _, size in totals),
    )


def read_pickled_weights(folder: Path) -> Weights | None:
    """Return what the sizes of a folder's pickled weight files say; nothing is opened.

    Numbers of two bytes are assumed, so that ``values`` is an estimate.  None where there are
    no such files.
    """
    files = tuple(
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(PICKLE_ENDINGS)
        and not is_training_state(path.name)
        and path.is_file()
    )
    size = sum(path.stat().st_size for path in files)
    return Weights(files, size // 2, size) if files else None


def is_training_state(path: str) -> bool:
    """Say whether a pickle is what a trainer leaves beside the weights, by its name."""
    return path.rpartition("/")[2].lower().startswith(_TRAINING_STATE)


def _shards(folder: Path) -> list[str]:
    """Return the names of the weight files, as transformers looks for them."""
    if (folder / WEIGHTS).exists():
        return [WEIGHTS]
    if (folder / INDEX).exists():
        return _indexed(folder / INDEX)
    if not folder.is_dir():
        raise FileAccessError("is not a folder", file=folder, hint="name a model's folder")
    others = sorted(path.name for path in folder.iterdir())
    pickled = [name for name in others if name.lower().endswith(PICKLE_ENDINGS)]
    if pickled:
        raise UsageError(
            f"holds its weights as pickles ({pickled[0]}), which can run any code when loaded",
            file=folder,
            hint="convert them to safetensors, or accept the risk with --allow-pickle",
        )
    gguf = [name for name in others if name.endswith(".gguf")]
    if gguf:
        raise UsageError(
            f"holds its weights as GGUF ({gguf[0]}), which this engine does not load",
            file=folder,
            hint="use the checkpoint that the file was converted from",
        )
    raise UsageError(
        f"holds no {WEIGHTS} and no {INDEX}", file=folder, hint="name a Hugging Face model folder"
    )


def _indexed(path: Path) -> list[str]:
    mapping = read_json_object(path, _MAX_INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise MalformedError("has no weight_map", file=path, hint=_DAMAGED)
    names = {name if isinstance(name, str) else "" for name in mapping.values()}
    for name in sorted(names):
        if not name.endswith(".safetensors") or "/" in name or "\\" in name:
            raise MalformedError(
                f"names {name[:80]!r}, which is no safetensors file of this folder",
                file=path,
                place="weight_map",
            )
    if len(names) > _MAX_SHARDS:
        raise MalformedError(f"names more than {_MAX_SHARDS:,} files", file=path)
    return sorted(names)


def _read_header(path: Path) -> tuple[int, int]:
    """Return how many numbers a safetensors file holds, and in how many bytes.

    The format: 8 bytes little-endian, the header's length n; n bytes of JSON; the tensors.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise MalformedError(
                    "is no safetensors file, or is truncated", file=path, hint=_DAMAGED
                )
            header = stream.read(length)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path, "get the whole folder again") from None
    document = parse_json(header, file=path)
    if not isinstance(document, dict):
        raise MalformedError("its header is no JSON object", file=path, hint=_DAMAGED)
    values, end = 0, 0
    for name, tensor in document.items():
        if name == "__metadata__":
            continue
        shape, stop = _tensor(tensor, path, name)
        values += prod(shape)
        end = max(end, stop)
    if size != 8 + length + end:
        raise MalformedError(
            f"has {size:,} bytes where its header says {8 + length + end:,}",
            file=path,
            hint=_DAMAGED,
        )
    return values, end


def _tensor(tensor: Any, path: Path, name: str) -> tuple[list[int], int]:
    """Return shape and end of one tensor's entry."""
    if isinstance(tensor, dict):
        shape, offsets = tensor.get("shape"), tensor.get("data_offsets")
        numbers = [shape, offsets]
        if all(isinstance(x, list) and all(type(n) is int and n >= 0 for n in x) for x in numbers):
            assert isinstance(shape, list)
            assert isinstance(offsets, list)
            if len(offsets) == 2 and offsets[0] <= offsets[1]:
                return shape, offsets[1]
    raise MalformedError("a damaged entry in its header", file=path, place=name, hint=_DAMAGED)
