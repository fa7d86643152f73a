"""Which environment variables a started server gets: a closed list.

What is not on it could be a key that is none of the server's business, or, as ``LLAMA_ARG_*`` and
most of ``VLLM_*``, change what is computed in ways that no receipt tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PASSED_ON: Final = frozenset(
    {
        # where programs, libraries and folders are, and how text is written
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"),
        *("XDG_STATE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT"),
        # which devices, and how much of them
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH"),
        *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("NVIDIA_DRIVER_CAPABILITIES", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
        *("VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU"),
        # how many threads, and where they run
        *("OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "MKL_NUM_THREADS"),
        *("OPENBLAS_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME"),
        # how processes of several devices find each other
        *("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "VLLM_HOST_IP"),
        # whether vLLM schedules and computes in one process or in two, where it could do either
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        # how much is logged
        "VLLM_LOGGING_LEVEL",
    }
)
"""Variables that are passed on, besides those of a locale (``LC_*``)."""

_GIVEN: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Variables that the tool sets."""


def server_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a server is started with.

    Args:
        environment: Those of this process.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name.startswith("LC_")
    }
    return kept | _GIVEN
