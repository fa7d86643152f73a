"""Runs of the mock in workers, begun with one secret, so that their bytes can be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from begun_runs import Begun, Watch, unheard
from crew import Deaths
from light_runs import LightRecipe

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.pool.places import WorkerPlaces
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.pool.processes import Processes
from safety_receipts.runner.run.pooled.stack import PooledStack

BATCH = 14


class BegunInWorkers(Begun):
    """A run that workers go on with, or what they load in this process."""

    @property
    def recipe(self) -> LightRecipe:
        """What workers load."""
        widths = self.resolved.artifacts.checkpoint.facts.architecture.widths
        plan = self.resolved.predicate
        return LightRecipe(widths.vocabulary, plan.prompt.context_limit, BATCH)

    def alone(self, folder: Path) -> Path:
        """Go on without workers in a copy of the folder; return that."""
        self.go_on(self.copied(folder), self.recipe.stack())
        return folder

    def in_workers(
        self,
        folder: Path,
        workers: int,
        *,
        deaths: Deaths | None = None,
        places: WorkerPlaces | None = None,
        seconds: float = 0.0,
        watch: Watch = unheard,
    ) -> int:
        """Go on in workers; return how many were replaced."""
        recipe = replace(self.recipe, deaths=deaths, seconds=seconds)
        with WorkerPool(places or Processes(), recipe, workers) as pool:
            pool.open()
            self.go_on(folder, PooledStack(pool, MockEngine().identity), watch)
            return pool.replacements

    def root(self, folder: Path) -> Sha256:
        """Seal a finished run, and return the root of its evidence."""
        self.seal(folder)
        return Bundle(folder).receipt.statement.predicate.evidence.root
