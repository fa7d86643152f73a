"""llama.cpp's server behind the options of its own program, for the tests.

The package on PyPI holds the server as a library and no program.  Run it with the Python of the
environment that holds xllamacpp.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import Any


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--ctx-size", type=int, default=4096)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--cache-type-k", choices=["f16", "f32"], default="f16")
    parser.add_argument("--cache-type-v", choices=["f16", "f32"], default="f16")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import xllamacpp  # type: ignore[import-not-found]

    cache = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = given.model
    parameters.hostnames = [given.host]
    parameters.port = given.port
    parameters.model_alias = {given.alias}
    parameters.n_ctx = given.ctx_size
    parameters.n_parallel = given.parallel
    parameters.cache_type_k = cache[given.cache_type_k]
    parameters.cache_type_v = cache[given.cache_type_v]
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cpuparams.n_threads = given.threads
    parameters.n_gpu_layers = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
