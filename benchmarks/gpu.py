"""The one script for a borrowed GPU: meant to take under 8 minutes; its findings are kept by part.

    python benchmarks/gpu.py                      # parts that hold and measure, on a CUDA device
    python benchmarks/gpu.py --tiny               # the same code on the CPU, in small
    python benchmarks/gpu.py --fetch wheels --python 3.12
    python benchmarks/gpu.py --wheels wheels      # on a machine that reaches no package index

- *equality*: fp32 responses of small models of four families beside plain ``generate``'s; how
  many tokens bf16 changes, ours and plain
- *decoding*: an 8-billion-parameter shape with random weights, 256 rows at a shared prefix of
  11,000 tokens, beside a DynamicCache and padded ``generate``; the share of the memory's
  bandwidth; replaying
- *audit*: a receipt that the CPU made, audited on the device in fp32 and bf16
- *calibration*: honest responses in bf16 and fp32, on CPU and device

``--wheels`` makes an environment over the machine's own packages, with this project's other
requirements from a folder that ``--fetch`` filled for that Python, and runs there.

Without a CUDA device it says so and measures nothing, unless ``--tiny`` asks for the CPU.  Exit
code 1 if something is not held, or a part could not be run to its end; the others run all the
same.  Parts begin only while there is time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_parts.part import Finding, Setting

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 450.0
"""Time in which parts begin."""
_BEFORE = 90.0
"""Seconds of that time that the last part should find left."""


def main() -> int:
    """Run what the command line asks for."""
    arguments = _parse()
    if arguments.fetch is not None:
        return _fetch(arguments.fetch, arguments.python)
    if arguments.wheels is not None:
        return _run_with(arguments.wheels)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support" / "models")]
    import torch
    from gpu_parts.part import Setting

    if not arguments.tiny and not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was measured (--tiny runs it on the CPU).")
        return 0
    setting = Setting(torch.device("cpu" if arguments.tiny else "cuda"), arguments.tiny)
    chosen = arguments.parts or list(PARTS)
    started = time.perf_counter()
    parts: dict[str, object] = {}
    document: dict[str, object] = {"machine": _machine(setting), "parts": parts}
    sound = True
    for name in chosen:
        left = SECONDS - (time.perf_counter() - started)
        if left < _BEFORE:
            print(f"{name}: not begun, {left:.0f} s are left", flush=True)
            sound = False
            continue
        part = _run_part(name, setting)
        sound = sound and part["sound"] is True
        parts[name] = part
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(document, indent=1)
            (arguments.out / "gpu.json").write_text(text + "\n", "utf-8")
    if arguments.record:
        _record(document, chosen)
    return 0 if sound else 1


def _equality(setting: Setting) -> list[Finding]:
    from gpu_parts.equality import measure_equality

    return measure_equality(setting)


def _decoding(setting: Setting) -> list[Finding]:
    from gpu_parts.decoding import measure_decoding

    return measure_decoding(setting)


def _audit(setting: Setting) -> list[Finding]:
    from gpu_parts.receipts_across import measure_audits

    return measure_audits(setting)


def _calibration(setting: Setting) -> list[Finding]:
    from gpu_parts.receipts_across import measure_calibration

    return measure_calibration(setting)


PARTS: dict[str, Callable[[Setting], list[Finding]]] = {
    "equality": _equality,
    "decoding": _decoding,
    "audit": _audit,
    "calibration": _calibration,
}
"""In the order of what one would miss most."""


def _run_part(name: str, setting: Setting) -> dict[str, object]:
    """Run a part and print what it found; an error ends that part alone."""
    print(f"{name} …", flush=True)
    started = time.perf_counter()
    error = None
    found: list[Finding] = []
    try:
        found = PARTS[name](setting)
    except Exception as raised:  # the others are run all the same: a device is lent for minutes
        traceback.print_exc()
        error = " ".join(str(raised).split()) or type(raised).__name__
    for one in found:
        mark = {True: "held", False: "NOT HELD", None: "      "}[one.held]
        wanted = f" (wanted: {one.wanted})" if one.wanted else ""
        print(f"  {mark}  {one.what}: {one.value}{wanted}", flush=True)
    seconds = time.perf_counter() - started
    print(f"{name}: {'failed' if error else 'done'} in {seconds:.0f} s", flush=True)
    return {
        "seconds": round(seconds, 1),
        "error": error,
        "found": [one.as_json() for one in found],
        "sound": error is None and all(one.held is not False for one in found),
    }


def _machine(setting: Setting) -> dict[str, str]:
    import torch

    name = "CPU" if setting.device.type == "cpu" else torch.cuda.get_device_name(setting.device)
    return {
        "device": name,
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers")},
    }


def _record(document: dict[str, object], chosen: list[str]) -> None:
    from recording import machine, markdown_table, replace_section

    about = _strings(document["machine"])
    rows = []
    parts = document["parts"]
    assert isinstance(parts, dict)
    for name in parts:
        for one in parts[name]["found"]:
            held = {True: "held", False: "not held", None: "–"}[one["held"]]
            rows.append((name, one["what"], one["value"], one["wanted"] or "–", held))
        if parts[name]["error"]:
            rows.append((name, "error", parts[name]["error"], "–", "not held"))
    replace_section(
        "gpu",
        [
            "## On a borrowed GPU",
            "",
            f"    python benchmarks/gpu.py {_options(about, chosen)} --record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {about['device']}; {machine()}",
            (
                f"- Python {about['python']}; torch {about['torch']}, "
                f"transformers {about['transformers']}"
            ),
            *_warning(about),
            "",
            *markdown_table(("part", "what", "measured", "wanted", "held"), rows),
        ],
    )


def _options(about: dict[str, str], chosen: list[str]) -> str:
    tiny = "--tiny " if about["device"] == "CPU" else ""
    return f"{tiny}--parts {' '.join(chosen)}"


def _warning(about: dict[str, str]) -> list[str]:
    if about["device"] != "CPU":
        return []
    return ["- **No GPU was there**: this is a small run on the CPU, and its speeds mean nothing."]


def _strings(value: object) -> dict[str, str]:
    assert isinstance(value, dict)
    return {str(key): str(one) for key, one in value.items()}


def _fetch(folder: Path, python: str) -> int:
    """Fill a folder with what an x86-64 Linux lacks that has torch and transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    theirs = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "accelerate")
    theirs += ("pyarrow",)  # no Parquet is read
    lines = [
        line
        for line in (*project["dependencies"], *project["optional-dependencies"]["run"])
        if not line.lower().startswith(theirs)
    ]
    wanted.write_text("\n".join(lines) + "\n", "utf-8")
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28, 34)]
    platforms += ["--platform=manylinux2014_x86_64"]
    where = ["--dest", str(folder), "--python-version", python, *platforms]
    command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", *where]
    return subprocess.run([*command, "--requirement", str(wanted)], check=False).returncode


def _run_with(wheels: Path) -> int:
    """Run the same command line in an environment over this one."""
    folder = wheels.resolve().with_name(wheels.name + "-environment")
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        # Not --system-site-packages: from within an environment that would be the one below it.
        [site] = folder.glob("lib/python*/site-packages")
        theirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (site / "machine.pth").write_text("\n".join(theirs) + "\n", "utf-8")
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-index"]
        install += ["--find-links", str(wheels), "--requirement", str(wheels / "requirements.txt")]
        subprocess.run(install, check=True)
    place = sys.argv.index("--wheels") if "--wheels" in sys.argv else None
    if place is None:
        words = [word for word in sys.argv[1:] if not word.startswith("--wheels=")]
    else:
        words = [*sys.argv[1:place], *sys.argv[place + 2 :]]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [str(python), __file__, *words]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=False).returncode


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="these alone")
    parser.add_argument("--tiny", action="store_true", help="on the CPU, in small")
    parser.add_argument("--out", type=Path, help="folder for gpu.json, written after each part")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    parser.add_argument("--fetch", type=Path, help="fill a folder of wheels, and do no more")
    parser.add_argument("--python", default="3.12", help="for which Python --fetch is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
