"""Loading a causal language model from a local Hugging Face folder.

Three rules hold here.  Weights come from safetensors: a pickle can run any code when it is
loaded, so pickled weights are refused unless the caller allows them.  (transformers 5 then
loads them with ``torch.load(weights_only=True)``, which builds tensors and plain containers
only.)  Code in the folder is never run: an architecture that transformers has a class for is
loaded by that class even where the folder brings its own, any other is refused.  And no weight
is ever made up: a checkpoint that lacks a weight, or holds one that the model has no place
for, is refused, where transformers would initialise at random and go on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from safety_receipts.receipts.errors import IncompleteError, MalformedError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.config import error_line, read_config
from safety_receipts.runner.checkpoint.model_facts import (
    Architecture,
    read_architecture,
    refuse_untied_head,
)
from safety_receipts.runner.checkpoint.model_files import (
    CONFIG,
    read_json_object,
    read_pickled_weights,
    read_weights,
    refuse_half_a_model,
)
from safety_receipts.runner.checkpoint.quantisation import DEQUANTISED, check_packages

_OTHER_MODALITY = re.compile(
    r"(^|[._])(vision|visual|audio|image|speech|mm_projector|multi_modal_projector)"
)
"""Weights that the text part of a multimodal model has no place for."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run."""

    model: Any
    """The transformers model, in evaluation mode on its device."""
    architecture: Architecture
    """What follows from its configuration."""
    dtype: Dtype
    """Number format of weights and activations."""
    device: torch.device
    """Where it lies."""
    attention: str
    """Attention implementation: ``sdpa`` or ``eager``."""


_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Number formats of weights that stand for themselves: those of FP8 go with a scale."""


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """Return torch's name of a number format."""
    return {
        Dtype.FLOAT32: torch.float32,
        Dtype.BFLOAT16: torch.bfloat16,
        Dtype.FLOAT16: torch.float16,
    }[dtype]


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``.

    ``auto`` is the first of CUDA, MPS and the CPU that is there.

    Raises:
        UsageError: There is no such device here.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    kind, _, index = name.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": 1 if has_mps else 0}.get(kind)
    if count is None or (index and not (index.isascii() and index.isdecimal())):
        raise UsageError(
            f"{name[:40]!r} names no device", hint="use cpu, cuda, cuda:1, mps or auto"
        )
    if int(index or 0) >= count:
        raise UsageError(
            f"there is no device {name} here",
            hint=f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices",
        )
    return torch.device(kind, int(index or 0)) if kind == "cuda" else torch.device(kind)


def device_count(kind: str) -> int:
    """Return how many devices of a kind torch sees here."""
    return torch.cuda.device_count() if kind == "cuda" else 1


def load_model(
    folder: Path,
    *,
    dtype: Dtype,
    device: str = "auto",
    allow_pickle: bool = False,
) -> LoadedModel:
    """Load a model folder.

    Args:
        folder: A Hugging Face folder: ``config.json`` and weights.
        dtype: Number format to run in.
        device: As :func:`resolve_device` takes it.
        allow_pickle: Whether weights in pickles may be loaded, where there are no others.

    Raises:
        FileAccessError: A file is missing or cannot be read.
        MalformedError: A file is damaged, or weights are missing, unexpected or misshapen.
        UsageError: Pickled weights, an unsupported architecture, no such device.
        IncompleteError: A package that the checkpoint needs is not installed.
    """
    place = resolve_device(device)
    raw = read_json_object(folder / CONFIG)
    config = read_config(folder, raw)
    architecture = read_architecture(config, folder)
    safetensors = _check_weight_files(folder, config, allow_pickle)
    check_packages(architecture.quantisation, folder)
    dequantised = architecture.quantisation in DEQUANTISED
    unpacked = architecture.quantisation is None or dequantised
    if dequantised:
        config.quantization_config = _dequantising(config.quantization_config)
    attention = (
        "sdpa" if getattr(_model_class(config, folder), "_supports_sdpa", False) else "eager"
    )
    model, info = _from_pretrained(
        folder,
        config=config,
        dtype=torch_dtype(dtype),
        attn_implementation=attention,
        use_safetensors=safetensors,
        # Packed weights are unpacked by kernels of the device; others are moved there below.
        device_map=None if unpacked or place.type == "cpu" else {"": place},
    )
    _check_keys(folder, model, config, info)
    if dequantised:
        _cast_the_rest(model, torch_dtype(dtype))
    model = _move(model, place, folder)
    return LoadedModel(model, architecture, dtype, place, attention)


def wrap_model(model: Any) -> LoadedModel:
    """Return a transformers model that is in memory already, put in evaluation mode.

    Raises:
        UsageError: Its architecture or number format is not supported.
        MalformedError: Its configuration lacks something needed.
    """
    name = Path(model.config.name_or_path or type(model).__name__)
    formats = {torch_dtype(dtype): dtype for dtype in Dtype}
    if model.dtype not in formats:
        raise UsageError(f"the number format {model.dtype} is not supported", file=name)
    architecture = read_architecture(model.config, name)
    attention = str(model.config._attn_implementation)
    dtype = formats[model.dtype]
    return LoadedModel(model.eval(), architecture, dtype, model.device, attention)


def _dequantising(quantised: Any) -> dict[str, Any]:
    """Return a quantisation's settings with the one that turns weights back on loading."""
    settings: dict[str, Any] = quantised if isinstance(quantised, dict) else quantised.to_dict()
    return {**settings, "dequantize": True}


def _cast_the_rest(model: Any, dtype: torch.dtype) -> None:
    """Bring what was stored plain beside quantised weights into the model's number format.

    transformers leaves it as it is stored.  Parameters that an architecture keeps in float32
    stay there, by the rule that holds for checkpoints without quantisation.
    """
    kept = set(model._keep_in_fp32_modules_strict or ())
    if dtype is torch.float16:
        kept |= set(model._keep_in_fp32_modules or ())
    for name, parameter in model.named_parameters():
        if parameter.dtype in _PLAIN and kept.isdisjoint(name.split(".")):
            parameter.data = parameter.data.to(dtype)


def _check_weight_files(folder: Path, config: Any, allow_pickle: bool) -> bool:
    """Check the weight files; return whether they are safetensors."""
    refuse_half_a_model(folder)
    try:
        weights = read_weights(folder)
    except UsageError:
        if allow_pickle and read_pickled_weights(folder) is not None:
            return False
        raise
    refuse_untied_head(config, weights, folder)
    return True


def _model_class(config: Any, folder: Path) -> Any:
    """Return the class that transformers will use."""
    try:
        return transformers.AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise UsageError(
            f"the architecture {config.model_type!r} is not a causal language model",
            file=folder / CONFIG,
            hint="evaluate a model that continues text",
        ) from None


def _from_pretrained(folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    try:
        with quiet_loading():
            auto: Any = transformers.AutoModelForCausalLM
            loaded: tuple[Any, dict[str, Any]] = auto.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused here, with both shapes
                **options,
            )
    except ImportError as error:
        raise IncompleteError(
            f"this checkpoint needs a package that is not installed: {error_line(error)}",
            file=folder,
            hint="install it and try again",
        ) from None
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise IncompleteError(
            f"the weights do not fit in memory: {error_line(error)}",
            file=folder,
            hint="use a larger device or a smaller number format",
        ) from None
    except Exception as error:  # what a foreign checkpoint makes transformers raise is open
        raise MalformedError(
            f"cannot be loaded by transformers {transformers.__version__}: {error_line(error)}",
            file=folder,
            hint="compare the folder with the checkpoint's source, or try another release",
        ) from None
    return loaded


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers' progress bars and reports away: what they report is raised here."""
    logs: Any = transformers.utils.logging
    verbosity, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity(logging.CRITICAL)
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(verbosity)
        if bars:
            logs.enable_progress_bar()


def _check_keys(folder: Path, model: Any, config: Any, info: dict[str, Any]) -> None:
    """Refuse a checkpoint whose weights are not exactly the model's.

    Raises:
        MalformedError: With the first of the weights and how many there are.
    """
    text_only = model.config.model_type != config.model_type
    unexpected = sorted(info["unexpected_keys"])
    if text_only:  # the text part of a multimodal checkpoint
        unexpected = [key for key in unexpected if not _OTHER_MODALITY.search(key)]
    refuse_misshapen(folder, info)
    for what, keys in (
        ("lacks weights of", sorted(info["missing_keys"])),
        ("has weights that are not part of", unexpected),
    ):
        if keys:
            raise MalformedError(
                f"{what} {type(model).__name__}: {keys[0]} ({len(keys)} in all)",
                file=folder,
                hint="the weights and config.json are of different models, or a file is missing",
            )
    if info.get("error_msgs"):
        raise MalformedError(
            f"cannot be loaded: {str(info['error_msgs'][0]).splitlines()[0][:240]}", file=folder
        )


def refuse_misshapen(folder: Path, info: dict[str, Any]) -> None:
    """Refuse a checkpoint with weights of another shape than its configuration asks for.

    Args:
        folder: Named in the error.
        info: What transformers told of the loading, asked to go on after such a weight.

    Raises:
        MalformedError: With the first of them, both shapes, and how many there are.
    """
    for name, stored, expected in sorted(info["mismatched_keys"]):
        raise MalformedError(
            f"{name} has shape {list(stored)}, and config.json asks for {list(expected)} "
            f"({len(info['mismatched_keys'])} in all)",
            file=folder,
            hint="the weights and config.json are of different models",
        )


def _move(model: Any, place: torch.device, folder: Path) -> Any:
    try:
        return model.to(place).eval() if model.device != place else model.eval()
    except torch.OutOfMemoryError as error:
        raise IncompleteError(
            f"the weights do not fit on {place}: {error_line(error)}",
            file=folder,
            hint="use a larger device or a smaller number format",
        ) from None
