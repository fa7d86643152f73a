"""Can a resolved plan be run here?  Asked before it is sealed; nobody who only verifies asks."""

from __future__ import annotations

from dataclasses import replace

from safety_receipts.runner.checkpoint.config import read_config
from safety_receipts.runner.checkpoint.quantisation import (
    check_packages,
    device_warnings,
    quantisation_of,
)
from safety_receipts.runner.plan.resolved import ResolvedPlan


def check_runnable(resolved: ResolvedPlan, device: str) -> ResolvedPlan:
    """Return a plan with the warnings of this machine added to its own.

    Args:
        resolved: The plan.
        device: Kind of the device that it will run on: ``cpu``, ``cuda``, ``mps``.

    Raises:
        UsageError: Weights of the checkpoint or a judge are quantised by a method that cannot
            be loaded.
        IncompleteError: A package that they need is not installed.
    """
    artifacts = resolved.artifacts
    methods = [(artifacts.checkpoint.facts.quantisation, artifacts.checkpoint.folder)]
    for folder in (artifacts.judge_folder, artifacts.second_judge_folder):
        if folder is not None:
            methods.append((quantisation_of(read_config(folder)), folder))
    warnings = list(resolved.warnings)
    for method, folder in methods:
        check_packages(method, folder)
        warnings += device_warnings(method, device)
    return replace(resolved, warnings=tuple(warnings))
