"""The comparison of engines on the terminal, and as a section of RESULTS.md."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recording import machine, markdown_table, replace_section

from engine_peers.comparison import COLUMNS, PeerResult, cells, conclusions
from engine_peers.workloads import Workload


@dataclass(frozen=True, slots=True)
class Section:
    """What all peers made of a workload with so many threads each."""

    workload: Workload
    """What was asked."""
    threads: int
    """How many each peer could use."""
    results: list[PeerResult]
    """One a peer."""

    @property
    def named(self) -> tuple[str, int]:
        """The workload's name and the number of threads."""
        return self.workload.shape.name, self.threads

    @property
    def title(self) -> str:
        """A heading."""
        return f"Workload {self.named[0]}, {_threads(self.threads)} each"


def _threads(number: int) -> str:
    """Return a number of threads with its noun."""
    return f"{number} thread{'s' if number > 1 else ''}"


def print_table(section: Section) -> None:
    """Print what the peers did, and what follows from it."""
    from rich.console import Console
    from rich.table import Table

    workload, results = section.workload, section.results
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    table = Table(title=f"{section.title}: {_describe(workload)}")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == COLUMNS[0] else "right")
    for result in results:
        table.add_row(*cells(result, results, workload))
    console.print(table)
    for line in conclusions(results, workload):
        console.print(line)


def _describe(workload: Workload) -> str:
    shape = workload.shape
    shown = ", ".join(map(str, shape.demonstrations))
    return (
        f"{shape.queries} queries × {shape.draws} draws × {{{shown}}} demonstrations, "
        f"{shape.new_tokens} new tokens; {len(workload.prompts)} prompts "
        f"({workload.distinct_prompts} distinct), "
        f"{workload.prompt_tokens:,} prompt tokens, {workload.unique_tokens:,} unique, "
        f"{workload.decode_tokens:,} decode tokens, lower bound {workload.lower_bound:,}"
    )


def record(
    arguments: argparse.Namespace,
    sections: list[Section],
    versions: dict[str, dict[str, str]],
) -> None:
    """Put this benchmark's section into RESULTS.md, in place of an earlier one."""
    several = len(arguments.threads) > 1
    counts = " and ".join(map(_threads, arguments.threads))
    lines = [
        f"## Generation from many-shot prompts{', by threads' if several else ''}",
        "",
        f"    python benchmarks/engine.py {' '.join(_command(arguments))}",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}; {counts} for every peer",
        f"- Python {platform.python_version()}; {_version_line(versions)}",
        (
            "- A random Llama of 4 layers, 256 wide, vocabulary 4,096, fp32, greedy, no end token. "
            f"Medians [least–most] of {arguments.repeats} alternating runs; ours and vLLM may take "
            "4 GiB for what they compute and keep."
        ),
    ]
    if arguments.against is not None:
        lines.append(f"- *before* is this project at commit {_commit(arguments.against)}.")
    for section in sections:
        workload, results = section.workload, section.results
        lines += [
            "",
            f"### {section.title if several else f'Workload {workload.shape.name}'}",
            "",
            f"{_describe(workload)}.",
            "",
            *markdown_table(COLUMNS, (cells(result, results, workload) for result in results)),
            "",
            *(f"- {line}" for line in conclusions(results, workload)),
        ]
    replace_section("engine_threads" if several else "engine", lines)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _command(arguments: argparse.Namespace) -> list[str]:
    """Return the options that matter for what was measured."""
    options = ["--workload", *arguments.workload, "--repeats", str(arguments.repeats)]
    if arguments.peers:
        options += ["--peers", ",".join(arguments.peers)]
    for name in ("queries", "slow"):
        if getattr(arguments, name):
            options += [f"--{name}", str(getattr(arguments, name))]
    if len(arguments.threads) > 1:
        options += ["--threads", *map(str, arguments.threads)]
    if arguments.against is not None:
        options += ["--against", "FOLDER"]
    return [*options, "--record"]


def _version_line(versions: dict[str, dict[str, str]]) -> str:
    """Return every package's versions, each with its peers where there are several."""
    by_package: dict[str, dict[str, list[str]]] = {}
    for peer, packages in versions.items():
        for package, version in packages.items():
            by_package.setdefault(package, {}).setdefault(version, []).append(peer)
    return ", ".join(
        f"{package} {version}" + (f" ({', '.join(peers)})" if len(found) > 1 else "")
        for package, found in sorted(by_package.items())
        for version, peers in found.items()
    )
