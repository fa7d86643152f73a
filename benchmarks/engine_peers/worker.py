"""A resident process with one peer: loads it, warms it up, then answers when it is told to.

    python -m engine_peers.worker PEER MODEL-FOLDER WARM-UP-WORKLOAD

Standard input and output carry one JSON object a line.  First it says
``{"ready": {package: version}}``; to ``{"workload": path, "batch": rows}`` it answers
``{"seconds", "busy", "computed", "outputs", "text"}``, busy being processor seconds.  What the
peer itself prints goes to standard error.  It ends with its input.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine_peers.peer import Peer
from engine_peers.workloads import Workload, read

CLASSES = {
    "ours": ("ours", "Ours"),
    "before": ("ours", "Ours"),
    "plain": ("transformers_peers", "Plain"),
    "padded": ("transformers_peers", "Padded"),
    "dynamic-cache": ("transformers_peers", "CachedPrefixes"),
    "lm-eval": ("harness_peers", "LmEval"),
    "inspect": ("harness_peers", "Inspect"),
    "vllm": ("vllm_peer", "Vllm"),
    "vllm-default-blocks": ("vllm_peer", "VllmDefaultBlocks"),
    "vllm-no-cache": ("vllm_peer", "VllmWithoutCache"),
}
"""For each peer its module and class; the module imports what only that peer needs."""


def main() -> None:
    """Load the peer named on the command line and serve it."""
    name, folder, warm_up = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    module, class_name = CLASSES[name]
    peer: Peer = getattr(importlib.import_module(f"engine_peers.{module}"), class_name)(
        Path(folder)
    )
    peer.run(read(Path(warm_up)), 32)
    say({"ready": {package: version(package) for package in peer.packages}})
    for line in sys.stdin:
        order = json.loads(line)
        say(_timed(peer, _workload(order["workload"]), order["batch"]))


def _timed(peer: Peer, workload: Workload, batch: int) -> dict[str, Any]:
    gc.collect()
    started, busy = time.perf_counter(), time.process_time()
    answers = peer.run(workload, batch)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return {
        "seconds": seconds,
        "busy": busy,
        "computed": answers.computed,
        "outputs": answers.outputs,
        "text": answers.text,
    }


@lru_cache
def _workload(path: str) -> Workload:
    return read(Path(path))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # vLLM's and Inspect's threads need not be waited for
