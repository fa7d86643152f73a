"""The workers as the benchmark sees them: started once, told to run, one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine_peers.environments import UnavailableError, last_error, python_for

_BENCHMARKS = Path(__file__).parent.parent


def common_environment(threads: int, caches: Path) -> dict[str, str]:
    """Return the environment variables of every worker, the same for all.

    Args:
        threads: How many threads each may use.
        caches: Folder for what a peer compiles.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME"}
    }
    return {
        **inherited,
        "PYTHONPATH": str(_BENCHMARKS),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CACHE_ROOT": str(caches / "vllm-compiled"),
    }


class Resident:
    """One peer in a process of its own.

    Args:
        peer: Its name.
        folder: Work folder: the model lies in ``model``, the warm-up in ``warm-up.json``; the
            peer's log goes here too.
        environments: Where the peers' virtual environments are.
        threads: How many threads it may use.
        python: Interpreter of an environment that holds what it needs; None: it is made.
        more: Further environment variables.
        checkout: Folder of the project whose engine ``ours`` and ``before`` are.

    Raises:
        UnavailableError: It cannot be started.
    """

    def __init__(
        self,
        peer: str,
        folder: Path,
        environments: Path,
        threads: int,
        *,
        python: Path | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        checkout: Path = _BENCHMARKS.parent,
    ) -> None:
        self.peer = peer
        self._log = folder / f"{peer}.log"
        interpreter = str(python or python_for(peer, environments))
        # Without -P the folder that the benchmark is called from would come before all others.
        command = [interpreter, "-P", "-m", "engine_peers.worker", peer]
        variables = common_environment(threads, environments.absolute())
        if interpreter == sys.executable:
            variables["PYTHONPATH"] = os.pathsep.join([str(checkout), str(_BENCHMARKS)])
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [*command, str(folder / "model"), str(folder / "warm-up.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=variables | dict(more),
                text=True,
            )
        try:
            self.versions: dict[str, str] = self._answer()["ready"]
        except UnavailableError:
            self.close()
            raise

    def run(self, workload: Path, batch: int) -> dict[str, Any]:
        """Have a workload answered; return the worker's report.

        Raises:
            UnavailableError: The worker has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                json.dumps({"workload": str(workload), "batch": batch}) + "\n"
            )
            self._process.stdin.flush()
        except BrokenPipeError:
            raise UnavailableError(last_error(self._log, "it has ended")) from None
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # it ended before it read the last order
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise UnavailableError(last_error(self._log, f"it ended with exit code {code}"))
        answer: dict[str, Any] = json.loads(line)
        return answer
