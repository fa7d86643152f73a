"""What an engine is made of: device, driver, versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import transformers

from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.runner.engines.engine import EngineIdentity
from safety_receipts.runner.engines.load import LoadedModel

_PACKAGES = ("accelerate", "kernels", "numpy", "safetensors", "tokenizers", "triton")


def read_identity(loaded: LoadedModel) -> EngineIdentity:
    """Return what runs a loaded model."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    device, driver = platform.processor() or platform.machine(), None
    if loaded.device.type == "cuda":
        device, driver = torch.cuda.get_device_name(loaded.device), _nvidia_driver()
        packages["cuda"] = str(torch.version.cuda)
    elif loaded.device.type == "cpu":
        device = _cpu_name() or device
    return EngineIdentity(
        kind=EngineKind.TRANSFORMERS,
        dtype=loaded.dtype,
        device=device,
        driver=driver,
        attention=loaded.attention,
        torch=torch.__version__,
        transformers=transformers.__version__,
        packages=packages,
    )


def set_threads(number: int) -> None:
    """Have torch compute with so many threads, in this process."""
    torch.set_num_threads(number)


def read_threads() -> int:
    """Return with how many threads torch computes in this process."""
    return torch.get_num_threads()


def read_kernels() -> dict[str, str]:
    """Return what the last bits depend on beside what :class:`EngineIdentity` names.

    The receipt does not state it: all workers of one run are held to the first one's.
    """
    kernels = {
        "threads": str(torch.get_num_threads()),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.cuda.is_available():
        kernels["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return kernels


def _cpu_name() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


def _nvidia_driver() -> str | None:
    """Return the version of the kernel's driver, as ``/proc`` states it."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text("utf-8").split()
    except OSError:
        return None
    versions = [word for word in words if word[:1].isdigit() and "." in word]
    return versions[0] if versions else None
