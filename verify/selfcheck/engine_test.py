"""The shipped organism, through the engine that real checkpoints are run with.

Versions say what is installed, not that it works together: a release of torch or transformers
may take a model's cache, masks or attention in another way than the one before.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.extras import install
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.runner.commands.init import write_preset

TRIAL_POINTS = 8
"""Points that are run."""
_NAME = "the organism"
_NEEDED = ("torch", "transformers")


def run_engine_test() -> Iterator[tuple[str, bool | None, str]]:
    """Run a few points of the organism; nothing is recorded.

    Yields:
        What was tried; whether it went well, None where that is neither right nor wrong; and
        what is to be said of it.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        yield _NAME, None, f"not run, as {missing[0]} is not installed: {install('run')}"
        return
    with tempfile.TemporaryDirectory(prefix="receipts-doctor-") as folder:
        try:
            yield from _pilot(Path(folder) / "study")
        except ReceiptsError as error:
            yield _NAME, False, f"{_versions()}: {error.one_line()}"
        except Exception as error:  # what a release of these libraries raises is open
            yield _NAME, False, f"{_versions()}: {error_line(error)}"


def _pilot(study: Path) -> Iterator[tuple[str, bool | None, str]]:
    # They need what the extra `run_engine_test` installs, and torch takes seconds to load.
    from safety_receipts.runner.plan.resolve import resolve_plan  # noqa: PLC0415  # as above
    from safety_receipts.runner.run.pilot import run_pilot  # noqa: PLC0415  # as above
    from safety_receipts.runner.run.stack import load_stack  # noqa: PLC0415  # as above

    resolved = resolve_plan(write_preset(study, "demo"))
    loaded = load_stack(resolved)
    pilot = run_pilot(resolved, loaded, TRIAL_POINTS)
    told = f"{_versions()} on {loaded.stack.engine.identity.device}"
    if pilot.reasons:
        reasons = ", ".join(f"{number} {reason}" for reason, number in pilot.reasons.items())
        yield _NAME, False, f"{told}: {': '.join((reasons, *pilot.messages))}"
        return
    yield _NAME, True, f"{told}: {pilot.points} points"
    shares = not loaded.notes
    yield "shared prefixes", shares or None, "computed once" if shares else loaded.notes[0]


def _versions() -> str:
    """Return the versions of what runs a model."""
    return ", ".join(f"{name} {version(name)}" for name in _NEEDED)
