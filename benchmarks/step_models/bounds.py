"""What decode steps and batches are held to, and whether they keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from step_models.measure import STEPS, StepCost
from step_models.rows import BatchRows

BYTES = {"Llama-3.1-8B": 1.3, "OLMo-3-32B": 1.3, "GPT-OSS-20B": 1.5, "Gemma-4-31B": 1.5}
"""Most bytes of a step, by model, as a multiple of the fewest that it could do with."""
OPERATORS = 0.5
"""Most operators of a step, as a share of the older build's."""
WAITS = 1 / STEPS
"""Most host waits of a step."""
ROWS = 2
"""Fewest rows a batch where draws are not shared, as a multiple of the older build's."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a checkout."""

    steps: Mapping[str, Mapping[int, StepCost]]
    """By model and by how many segments its rows read."""
    rows: Mapping[int, Mapping[int, BatchRows]]
    """By draw block (0: all queries share a draw) and by the memory of a batch in GiB."""

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Measured:
        """Return what another process measured, as JSON holds it: with text as keys."""
        return cls(
            {
                model: {int(number): StepCost(**one) for number, one in each.items()}
                for model, each in found["steps"].items()
            },
            {
                int(block): {int(memory): BatchRows(**one) for memory, one in each.items()}
                for block, each in found["rows"].items()
            },
        )


def bound_lines(this: Measured, older: Measured | None) -> list[str]:
    """Return for each bound whether it is met, and by which figures.

    Args:
        this: What is held to the bounds.
        older: What it is compared with; None: nothing, and bounds that need it are left out.
    """
    lines = []
    for model, steps in this.steps.items():
        shares = {number: one.bytes / one.bound for number, one in steps.items()}
        most = BYTES[model]
        lines.append(
            _line(
                f"{model}: bytes at most {most} × the bound",
                max(shares.values()) <= most,
                _by("segments", {number: f"{share:.3f}" for number, share in shares.items()}),
            )
        )
    for model, steps in this.steps.items():
        operators = {number: one.operators for number, one in steps.items()}
        lines.append(
            _line(
                f"{model}: as many operators whatever the segments",
                len(set(operators.values())) == 1,
                _by("segments", {number: f"{one:,.1f}" for number, one in operators.items()}),
            )
        )
        if older is None:
            continue
        shares = {n: one / older.steps[model][n].operators for n, one in operators.items()}
        lines.append(
            _line(
                f"{model}: operators at most {OPERATORS} × the older build's",
                max(shares.values()) <= OPERATORS,
                _by("segments", {number: f"{share:.3f}" for number, share in shares.items()}),
            )
        )
    waits = max(one.waits for steps in this.steps.values() for one in steps.values())
    lines.append(
        _line(f"at most one host wait in {STEPS} steps", waits <= WAITS, f"{waits:g} a step")
    )
    if older is not None and this.rows:
        gains = {gib: one.rows / older.rows[1][gib].rows for gib, one in this.rows[1].items()}
        lines.append(
            _line(
                f"draw_block 1: at least {ROWS} × the older build's rows a batch",
                min(gains.values()) >= ROWS,
                _by("GiB", {gib: f"{gain:.2f}" for gib, gain in gains.items()}),
            )
        )
    return lines


def _by(unit: str, figures: Mapping[int, str]) -> str:
    return f"{', '.join(figures.values())} at {', '.join(map(str, figures))} {unit}"


def _line(what: str, met: bool, said: str) -> str:
    return f"- {what}: {'met' if met else 'NOT met'} ({said})."
