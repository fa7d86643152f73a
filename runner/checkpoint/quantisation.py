"""Weights that are stored quantised: what loading them needs, and which are turned back.

What a plan will need when it is run is asked when it is made: a plan that was sealed and then
cannot be run is worth nothing.  Two formats need no kernels of their own: the weights of MXFP4
(GPT-OSS as published) and of block-wise FP8 are multiplied with their scales once, when they are
loaded, into the number format of the plan.  That is done on every device, also on one whose
kernels could compute with the packed weights: kernels are fetched from elsewhere and compute
otherwise, and a replay on another device is to find the same model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.runner.warnings import PlanWarning

DEQUANTISED = frozenset({"mxfp4", "fp8", "mxfp8"})
"""Methods whose weights are turned back into the plan's number format when they are loaded."""


@dataclass(frozen=True, slots=True)
class _Needs:
    """What transformers needs to load weights of a method."""

    packages: tuple[tuple[str, str], ...] = ()
    """Modules, each with what ``pip install`` calls it."""
    cuda: bool = False
    """Whether they run on CUDA devices alone."""


_ACCELERATE = ("accelerate", "accelerate")
_OPTIMUM = ("optimum", "optimum")
_GPTQMODEL = ("gptqmodel", "gptqmodel")
_KERNELS = ("kernels", "kernels")

_NEEDS: Mapping[str, _Needs] = {
    "mxfp4": _Needs(),
    "fp8": _Needs((_ACCELERATE,)),
    "mxfp8": _Needs((_ACCELERATE,)),
    "gptq": _Needs((_OPTIMUM, _GPTQMODEL)),
    "awq": _Needs((_GPTQMODEL, _ACCELERATE)),
    "bitsandbytes": _Needs((_ACCELERATE, ("bitsandbytes", "bitsandbytes"))),
    "compressed-tensors": _Needs((("compressed_tensors", "compressed-tensors"),)),
    "torchao": _Needs((("torchao", "torchao"),)),
    "quanto": _Needs((_OPTIMUM, ("optimum.quanto", "optimum-quanto"), _ACCELERATE)),
    "quark": _Needs((("quark", "amd-quark"),)),
    "auto-round": _Needs((("auto_round", "auto-round"),)),
    "aqlm": _Needs((_ACCELERATE, ("aqlm", "'aqlm[gpu,cpu]'"))),
    "bitnet": _Needs((_ACCELERATE,)),
    "sinq": _Needs((("sinq", "sinq"),)),
    "hqq": _Needs((("hqq", "hqq"), _ACCELERATE), cuda=True),
    "eetq": _Needs((_KERNELS, _ACCELERATE), cuda=True),
    "vptq": _Needs((_ACCELERATE, ("vptq", "vptq")), cuda=True),
    "spqr": _Needs((_ACCELERATE, ("spqr_quant", "'spqr_quant[gpu]'")), cuda=True),
    "higgs": _Needs(
        (
            _ACCELERATE,
            ("flute", "flute-kernel"),
            ("fast_hadamard_transform", "fast_hadamard_transform"),
        ),
        cuda=True,
    ),
    "fbgemm_fp8": _Needs((_ACCELERATE, ("fbgemm_gpu", "fbgemm-gpu")), cuda=True),
}
"""By transformers' name of the method: what its quantizer asks for before it loads weights."""


def quantisation_of(config: Any) -> str | None:
    """Return the quantisation method of the stored weights, or None.

    Args:
        config: A configuration object of transformers.

    Returns:
        transformers' name of the method; ``unknown`` where the configuration has none, as those
        of MLX.
    """
    quantised = getattr(config, "quantization_config", None)
    if quantised is None:
        return None
    if not isinstance(quantised, dict):
        quantised = quantised.to_dict()
    method = quantised.get("quant_method")
    if method is None and (quantised.get("load_in_4bit") or quantised.get("load_in_8bit")):
        return "bitsandbytes"
    return "unknown" if method is None else str(getattr(method, "value", method))


def check_packages(method: str | None, folder: Path) -> None:
    """Refuse quantised weights that cannot be loaded here.

    Args:
        method: As :func:`quantisation_of` returns it.
        folder: Named in the error.

    Raises:
        UsageError: Weights of this method cannot be loaded at all.
        IncompleteError: A package is missing.
    """
    if method is None:
        return
    needs = _NEEDS.get(method)
    if needs is None:
        named = "a method without a name, as those of MLX are" if method == "unknown" else method
        raise UsageError(
            f"its weights are quantised by {named}, which this engine does not load",
            file=folder,
            hint="name the checkpoint that they were made from; known: " + ", ".join(_NEEDS),
        )
    missing = [name for module, name in needs.packages if not _installed(module)]
    if missing:
        raise IncompleteError(
            f"its weights are quantised by {method}, and loading them needs "
            f"{' and '.join(missing)}, not installed here",
            file=folder,
            hint=f"pip install {' '.join(missing)}",
        )


def device_warnings(method: str | None, device: str) -> list[PlanWarning]:
    """Return a warning where quantised weights cannot be run on a device.

    Args:
        method: As :func:`quantisation_of` returns it.
        device: Kind of the device: ``cpu``, ``cuda``, ``mps``.
    """
    if method is None or method not in _NEEDS or not _NEEDS[method].cuda or device == "cuda":
        return []
    return [
        PlanWarning(
            "device",
            f"weights quantised by {method} run on CUDA devices alone, and this is {device}",
            "run the plan on a machine that has one",
        )
    ]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False
