"""The weight files of a model folder, read no further than their headers.

A folder may come from anywhere: what a header claims is held against the length of its file,
so that a truncated download is found before any weight is loaded, and a name never leads out
of the folder.  Files may be symbolic links, as they are in a hub cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import read_own_file
from safety_receipts.receipts.io.text import printable
from safety_receipts.runner.checkpoint.tensor_headers import (
    DAMAGED_WEIGHTS,
    StoredTensor,
    read_header,
    same_tensor,
)
from safety_receipts.runner.hub.lfs import refuse_pointer, refuse_pointers

CONFIG = "config.json"
"""Name of a model's configuration."""

WEIGHTS_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"

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

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
"""Files of an adapter.  transformers looks for the first beside the weights, in no sub-folder, and
only where the package `peft` is installed; it then loads the adapter over the weights, or over
those of the model that the file names."""

_FIXED_NAMES = frozenset({WEIGHTS_FILE, INDEX, PICKLE, PICKLE_INDEX, *_ADAPTER})
"""Names under which what is loaded is looked for; a file system may take no notice of case."""

_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

_MAX_CONFIG = 16 * 2**20
_MAX_INDEX = 64 * 2**20
_MAX_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class WeightHeaders:
    """What the headers of a folder's safetensors files say."""

    files: tuple[Path, ...]
    """The files, in the order of their names."""
    values: int
    """Numbers stored: the count of parameters, but for packed (quantised) tensors."""
    bytes: int
    """Bytes they take."""
    tensors: Mapping[str, StoredTensor] = field(default_factory=dict)
    """The tensors, by name; none of pickles, which are not opened."""


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
    refuse_pointer(data, path)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not JSON"
        raise MalformedError(reason, file=path, hint=DAMAGED_WEIGHTS) from None
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object", file=path, hint=DAMAGED_WEIGHTS)
    return value


def read_weights(folder: Path) -> WeightHeaders:
    """Read the headers of a folder's safetensors files.

    Tensors are read only where two files hold one of the same name.

    Raises:
        UsageError: There are none, or two sets of them, or parts of a model that is no whole
            one; what to do about it is in the hint.
        FileAccessError: One is missing or cannot be read.
        MalformedError: A header or the index is damaged, a file is shorter or longer than its
            header says, a tensor is stored twice with other values, or where the index names
            one there is none.
    """
    refuse_half_a_model(folder)
    names = _shards(folder)
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        for key, tensor in read_header(folder / name).items():
            earlier = tensors.setdefault(key, tensor)
            if earlier is not tensor and not same_tensor(earlier, tensor):
                raise MalformedError(
                    f"{key} is stored in {earlier.file.name} and, with other values, in {name}",
                    file=folder,
                    hint="save the checkpoint again, or get it again from its source",
                )
    if (folder / INDEX).exists():
        _check_index(folder, tensors)
    return WeightHeaders(
        files=tuple(folder / name for name in names),
        values=sum(tensor.values for tensor in tensors.values()),
        bytes=sum(tensor.stop - tensor.start for tensor in tensors.values()),
        tensors=tensors,
    )


def _check_index(folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse an index that names a tensor which its file lacks."""
    for key, name in _weight_map(folder / INDEX).items():
        if key not in tensors:
            raise MalformedError(
                f"says that {name} holds {key[:160]}, which it does not",
                file=folder / INDEX,
                place="weight_map",
                hint="index and weights are of different checkpoints; get the folder again",
            )


def read_pickled_weights(folder: Path) -> WeightHeaders | None:
    """Return what the sizes of a folder's pickled weight files say; nothing is opened.

    They are those that transformers loads where there are no safetensors.  Numbers of two bytes
    are assumed, so that ``values`` is an estimate.  None where there are no such files.

    Raises:
        FileAccessError: The folder, its index or a file that this names cannot be read.
        MalformedError: The index is damaged, or a file is a Git LFS pointer.
    """
    files = tuple(folder / name for name in _pickled_shards(folder))
    refuse_pointers(files)
    try:
        size = sum(path.stat().st_size for path in files)
    except OSError as error:
        raise FileAccessError.from_os(error, "open", error.filename or folder) from None
    return WeightHeaders(files, size // 2, size) if files else None


def weight_files(folder: Path, *, allow_pickle: bool) -> tuple[str, ...]:
    """Return the names of the files that hold the weights which will be loaded, sorted.

    The index that names them is one of them.  Nothing but an index is read.

    Args:
        folder: The model's folder.
        allow_pickle: Whether weights may be pickles, where there are no others.

    Raises:
        UsageError: There are none, or two sets of them, or parts of a model that is no whole one.
        FileAccessError: The folder or an index cannot be read.
        MalformedError: An index is damaged.
    """
    refuse_half_a_model(folder)
    try:
        names, index = _shards(folder), INDEX
    except UsageError:
        names, index = (_pickled_shards(folder) if allow_pickle else []), PICKLE_INDEX
        if not names:
            raise
    return tuple(sorted({*names, *([index] if (folder / index).exists() else [])}))


def is_training_state(path: str) -> bool:
    """Say whether a pickle is what a trainer leaves beside the weights, by its name."""
    return path.rpartition("/")[2].lower().startswith(_TRAINING_STATE)


def refuse_half_a_model(folder: Path) -> None:
    """Refuse a folder that holds part of a model, or two sets of weights.

    So is one that holds them on some machines only, as its names differ in case from those that
    are looked for, and one whose configuration names other weights than these.

    Raises:
        UsageError: It does.
        FileAccessError: The folder cannot be listed, or its configuration not read.
        MalformedError: The index or the configuration is damaged.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise FileAccessError.from_os(
            error, "open the folder", folder, "name a model's folder"
        ) from None
    if adapter := next((name for name in _ADAPTER if name in names), None):
        raise UsageError(
            f"is an adapter, or holds one ({adapter}), which is loaded over the weights on some "
            "machines and not on others",
            file=folder,
            hint="merge it into its base model and name the merged folder",
        )
    for name in sorted(names - _FIXED_NAMES):
        if name.lower() in _FIXED_NAMES:
            raise UsageError(
                f"holds {name}, which is loaded as {name.lower()} on some machines and not on "
                "others",
                file=folder,
                hint="rename the file, or remove it",
            )
    if any(_DISTRIBUTED.fullmatch(name) for name in names):
        raise UsageError(
            "holds a distributed training checkpoint",
            file=folder,
            hint=f"save it with save_pretrained, as {WEIGHTS_FILE}",
        )
    if CONFIG in names:
        _refuse_named_weights(folder, names)
    if names >= {WEIGHTS_FILE, INDEX}:
        for other in sorted(set(_indexed(folder / INDEX, (".safetensors",))) - {WEIGHTS_FILE}):
            raise UsageError(
                f"holds two sets of weights: {WEIGHTS_FILE}, which transformers loads, and those "
                f"of {INDEX} ({other}), which vLLM loads",
                file=folder,
                hint=f"keep one of them: remove the index with its files, or {WEIGHTS_FILE}",
            )


def _refuse_named_weights(folder: Path, names: Collection[str]) -> None:
    """Refuse a configuration that has transformers load other weights than other programs do."""
    named = read_json_object(folder / CONFIG).get("transformers_weights")
    usual = next((name for name in (WEIGHTS_FILE, INDEX) if name in names), None)
    if named not in (None, usual):
        raise UsageError(
            f"names {printable(str(named), 80)} as the weights, which transformers loads and other "
            "programs do not",
            file=folder / CONFIG,
            place="transformers_weights",
            hint=f"save the weights as {WEIGHTS_FILE}, and take the key out",
        )


def _shards(folder: Path) -> list[str]:
    """Return the names of the weight files, as transformers looks for them."""
    if (folder / WEIGHTS_FILE).exists():
        return [WEIGHTS_FILE]
    if (folder / INDEX).exists():
        return _indexed(folder / INDEX, (".safetensors",))
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
        f"holds no {WEIGHTS_FILE} and no {INDEX}",
        file=folder,
        hint="name a Hugging Face model folder",
    )


def _pickled_shards(folder: Path) -> list[str]:
    """Return the names of the pickled weight files, as transformers looks for them."""
    if (folder / PICKLE).exists():
        return [PICKLE]
    if (folder / PICKLE_INDEX).exists():
        return _indexed(folder / PICKLE_INDEX, PICKLE_ENDINGS)
    return []


def _weight_map(path: Path) -> dict[str, Any]:
    mapping = read_json_object(path, _MAX_INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise MalformedError("has no weight_map", file=path, hint=DAMAGED_WEIGHTS)
    return mapping


def _indexed(path: Path, endings: tuple[str, ...]) -> list[str]:
    names = {name if isinstance(name, str) else "" for name in _weight_map(path).values()}
    for name in sorted(names):
        if not name.endswith(endings) or "/" in name or "\\" in name:
            raise MalformedError(
                f"names {name[:80]!r}, which is not a {endings[0][1:]} file of this folder",
                file=path,
                place="weight_map",
            )
    if len(names) > _MAX_SHARDS:
        raise MalformedError(f"names more than {_MAX_SHARDS:,} files", file=path)
    return sorted(names)
