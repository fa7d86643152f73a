"""What the peers did, side by side."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from engine_peers.workloads import SPECIAL_TOKENS, Workload

BEFORE = "before"
"""The peer that is ours as another checkout of the project has it."""
COLUMNS = (
    "peer",
    "seconds [least–most]",
    "CPU-seconds [least–most]",
    "tokens computed",
    "× lower bound",
    "× ours",
    "equal to plain",
)


@dataclass
class PeerResult:
    """What one peer made of one workload."""

    peer: str
    queries: int
    """It answers this many of the workload's queries, the first ones."""
    seconds: list[float] = field(default_factory=list)
    """Of each round, extrapolated to the whole workload."""
    busy: list[float] = field(default_factory=list)
    """The same of processor seconds, on all cores together."""
    computed: int = 0
    """Tokens, extrapolated as well; the last round's."""
    outputs: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    """Responses by query, draw and number of demonstrations."""
    text: bool = False
    """The responses come from text, which lacks special tokens."""
    problem: str | None = None
    """Why it gave no result."""
    equal: tuple[int, int] | None = None
    """Responses equal to the reference, and how many were compared."""

    def add(self, report: dict[str, Any], workload: Workload) -> None:
        """Take a worker's report of one round.

        Raises:
            ValueError: The report has not one response for each prompt.
        """
        part = workload.of_first(self.queries)
        scale = workload.shape.queries / self.queries
        self.seconds.append(report["seconds"] * scale)
        self.busy.append(report["busy"] * scale)
        self.computed = round(report["computed"] * scale)
        self.text = report["text"]
        self.outputs = {
            (prompt.query, prompt.draw, prompt.shown): output
            for prompt, output in zip(part.prompts, report["outputs"], strict=True)
        }

    def compare(self, reference: PeerResult, workload: Workload) -> None:
        """Count the responses that are the reference's, among those that both have.

        From text no special token comes back: there the reference is compared without them.
        """
        common = self.outputs.keys() & reference.outputs.keys()
        if not common:
            return

        def expected(output: list[int]) -> list[int]:
            return [t for t in output if t >= len(SPECIAL_TOKENS)] if self.text else output

        equal = sum(self.outputs[key] == expected(reference.outputs[key]) for key in common)
        self.equal = (equal, len(common))

    @property
    def median(self) -> float | None:
        """Seconds, or None where there is no result."""
        return statistics.median(self.seconds) if self.seconds and not self.problem else None

    def summary(self) -> dict[str, Any]:
        """Return everything but the responses."""
        return {
            "peer": self.peer,
            "queries": self.queries,
            "seconds": self.seconds,
            "busy": self.busy,
            "computed": self.computed,
            "equal": self.equal,
            "problem": self.problem,
        }


def ours_is_plain(results: list[PeerResult]) -> bool:
    """Return whether ours, where it was to be measured, was found to answer as plain does."""
    return all(
        result.problem is None and result.equal is not None and result.equal[0] == result.equal[1]
        for result in results
        if result.peer == "ours"
    )


def cells(result: PeerResult, results: list[PeerResult], workload: Workload) -> tuple[str, ...]:
    """Return a row of the table, as many cells as there are columns."""
    name = result.peer
    if result.queries != workload.shape.queries:
        name += f" (extrapolated from {result.queries} queries)"
    if result.median is None:
        return (name, f"none: {result.problem}", *("–" for _ in COLUMNS[2:]))
    ours = next((r.median for r in results if r.peer == "ours"), None)
    computed = f"{result.computed:,}"
    if name.startswith("vllm"):
        computed += " (its report)"
    return (
        name,
        _spread(result.seconds),
        _spread(result.busy),
        computed,
        f"{result.computed / workload.lower_bound:.2f}",
        f"{result.median / ours:.2f}" if ours else "–",
        f"{result.equal[0]} of {result.equal[1]}" if result.equal else "–",
    )


def _spread(numbers: list[float]) -> str:
    return f"{statistics.median(numbers):.2f} [{min(numbers):.2f}–{max(numbers):.2f}]"


def _times(result: PeerResult, ours: PeerResult) -> str:
    seconds = statistics.median(result.seconds) / statistics.median(ours.seconds)
    busy = statistics.median(result.busy) / statistics.median(ours.busy)
    return f"{seconds:.2f} × ours, in CPU-seconds {busy:.2f} ×"


def conclusions(results: list[PeerResult], workload: Workload) -> list[str]:
    """Return what the table says, in lines."""
    lines = []
    ours = next((r for r in results if r.peer == "ours"), None)
    if ours is not None and ours.equal is not None:
        equal, compared = ours.equal
        verdict = "the same, token for token" if equal == compared else "NOT the same"
        lines.append(f"Responses of ours and of plain: {verdict} ({equal} of {compared}).")
    elif ours is not None:
        lines.append("Responses of ours and of plain: not compared.")
    others = [r for r in results if r.peer not in {"ours", BEFORE} and r.median is not None]
    if ours is not None and ours.median is not None and others:
        best = min(others, key=lambda r: r.median or 0.0)
        lines.append(f"Fastest other peer: {best.peer}, {_times(best, ours)}.")
    before = next((r for r in results if r.peer == BEFORE), None)
    if ours is not None and ours.median is not None and before is not None and before.median:
        lines.append(f"Ours before: {_times(before, ours)}.")
    texts = ", ".join(r.peer for r in results if r.text)
    if texts:
        lines.append(f"Compared as text, without special tokens: {texts}.")
    return lines
