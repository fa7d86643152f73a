"""Simulations repeated, with progress and time left on standard error."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from safety_receipts.receipts.findings.counts.rates import wilson_interval

Result = TypeVar("Result")
_Result_co = TypeVar("_Result_co", covariant=True)

_CHUNK: Final = 25
"""Repeats that share a random stream: results depend on the seed, not on processes."""


class Simulation(Protocol[_Result_co]):
    """What can be repeated."""

    @property
    def name(self) -> str:
        """Its name: with the seed, it decides the random numbers."""

    def repeat(self, coin: np.random.Generator) -> _Result_co:
        """Draw a study and say what the findings make of it."""


@dataclass(frozen=True)
class Repeats:
    """How often, and how."""

    number: int
    """Repeats of each simulation."""
    seed: int = 1
    """Seed of all random numbers."""
    jobs: int = 1
    """Processes."""

    def of(self, title: str, simulations: Sequence[Simulation[Result]]) -> list[list[Result]]:
        """Repeat each simulation; return its results in order.

        Args:
            title: What is said beside the progress bar.
            simulations: What is repeated.
        """
        chunks = [
            _Chunk(simulation, self.seed, first, min(_CHUNK, self.number - first))
            for simulation in simulations
            for first in range(0, self.number, _CHUNK)
        ]
        with _progress() as progress:
            task = progress.add_task(title, total=self.number * len(simulations))

            def done(chunk: _Chunk[Result]) -> None:
                progress.advance(task, chunk.number)

            made = _in_turn(chunks, done) if self.jobs == 1 else _beside(chunks, done, self.jobs)
        whole = [result for results in made for result in results]
        return [whole[i : i + self.number] for i in range(0, len(whole), self.number)]


@dataclass(frozen=True, eq=False)
class _Chunk(Generic[Result]):
    simulation: Simulation[Result]
    seed: int
    first: int
    number: int

    def results(self) -> list[Result]:
        key = zlib.crc32(self.simulation.name.encode())
        coin = np.random.default_rng([self.seed, key, self.first])
        return [self.simulation.repeat(coin) for _ in range(self.number)]


def _in_turn(
    chunks: Sequence[_Chunk[Result]], done: Callable[[_Chunk[Result]], None]
) -> list[list[Result]]:
    made = []
    for chunk in chunks:
        made.append(chunk.results())
        done(chunk)
    return made


def _beside(
    chunks: Sequence[_Chunk[Result]], done: Callable[[_Chunk[Result]], None], jobs: int
) -> list[list[Result]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures: dict[Future[list[Result]], _Chunk[Result]] = {
            pool.submit(chunk.results): chunk for chunk in chunks
        }
        for future in as_completed(futures):
            future.result()
            done(futures[future])
        return [future.result() for future in futures]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@dataclass(frozen=True)
class Share:
    """How many of the repeats."""

    found: int
    """These."""
    of: int
    """Of so many."""

    @property
    def value(self) -> float:
        """The share."""
        return self.found / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        lower, upper = wilson_interval(Fraction(self.found, self.of), Fraction(self.of))
        return float(lower), float(upper)

    def __str__(self) -> str:
        if not self.of:
            return "–"
        lower, upper = self.interval
        return f"{100 * self.value:.1f} % ({100 * lower:.1f}–{100 * upper:.1f})"


def share(found: Sequence[bool]) -> Share:
    """Return how many are true."""
    return Share(sum(found), len(found))
