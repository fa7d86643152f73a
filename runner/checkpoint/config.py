"""A model's configuration, read by transformers and held to what may decide what is run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import IncompleteError, MalformedError, UsageError
from safety_receipts.receipts.extras import install
from safety_receipts.runner.checkpoint.folder_trial import TrialPart, tried
from safety_receipts.runner.checkpoint.model_files import CONFIG, read_json_object

GENERATION_CONFIG = "generation_config.json"

_MAX_LAYERS = 4_096

_LAYER_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")

_IGNORED = frozenset(
    {
        "auto_map",  # names code in the folder, which is never run
        "custom_pipelines",
        "transformers_weights",  # must be the weights that are loaded, or the folder is refused
        "fusion_config",
        "attn_implementation",  # may name code on the hub; the engine chooses
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
    }
)
"""Keys of a configuration that must not decide what is run."""


def read_config(folder: Path, raw: dict[str, Any] | None = None) -> Any:
    """Return a folder's configuration as an object of transformers' own class.

    Args:
        folder: The model's folder.
        raw: Content of its ``config.json``, where that was read already.

    Raises:
        FileAccessError: ``config.json`` is missing or cannot be read.
        MalformedError: It is damaged.
        UsageError: transformers has no such architecture of its own; code in the folder is
            never run.
        IncompleteError: transformers is not installed.
    """
    path = folder / CONFIG
    raw = read_json_object(path) if raw is None else raw
    model_type = raw.get("model_type")
    if not isinstance(model_type, str):
        raise MalformedError(
            "names no model_type", file=path, hint="name a Hugging Face model folder"
        )
    _check_layers(raw, path)
    try:
        known = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    except ImportError:
        raise IncompleteError(
            "reading a model's configuration needs transformers",
            file=path,
            hint=install("run"),
        ) from None
    tried(folder, TrialPart.CONFIG)
    if model_type not in known:
        own = "needs code of its own (auto_map), which is never run" if "auto_map" in raw else ""
        version = import_module("transformers").__version__
        raise UsageError(
            own or f"the architecture {model_type[:80]!r} is unknown to transformers {version}",
            file=path,
            hint="use a version of transformers, or of the checkpoint, that knows this one",
        )
    try:
        return known[model_type].from_dict(_without_ignored(raw))
    except Exception as error:  # a configuration class of transformers may raise anything
        raise MalformedError(
            f"transformers cannot read this configuration: {error_line(error)}",
            file=path,
            hint="compare it with the checkpoint's source",
        ) from None


def error_line(error: BaseException) -> str:
    """Return type and first line of an error from another library, without printed lists.

    A printed list could hold token ids of a prompt; it is cut off with what follows it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].partition("[")[0].rstrip(" (:")[:240] if lines else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _check_layers(raw: dict[str, Any], path: Path) -> None:
    for level in _levels(raw):
        for key in _LAYER_COUNTS:
            count = level.get(key)
            if isinstance(count, int) and count > _MAX_LAYERS:
                raise MalformedError(f"{count:,} layers are too many", file=path, place=key)


def _levels(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a configuration and the configurations inside it."""
    stack = [raw]
    while stack:
        level = stack.pop()
        yield level
        stack.extend(value for value in level.values() if isinstance(value, dict))


def _without_ignored(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_ignored(value) if isinstance(value, dict) else value
        for key, value in raw.items()
        if key not in _IGNORED
    }
