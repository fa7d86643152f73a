"""The prompts of a run, kept in its folder since its plan was sealed or it began, or rendered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from safety_receipts.receipts.bundle import RECEIPT
from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.unfinished import RUN_JOURNAL
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.ahead.kept import PromptsFile
from safety_receipts.runner.run.counting import RenderedPlan, render_plan


def keep_prompts(rendered: RenderedPlan, folder: Path, renderer: Renderer) -> None:
    """Keep the prompts of a run in its folder, unless they were taken from there.

    What is kept leaves this process's memory.

    Args:
        rendered: The prompts.
        folder: The run's.
        renderer: Rendered them.

    Raises:
        FileAccessError: The folder cannot be written to, or the disk is full.
    """
    if rendered.portions:
        PromptsFile.of(folder, renderer).write(rendered.portions)
    rendered.portions.clear()


def keep_for_run(
    resolved: ResolvedPlan, rendered: RenderedPlan, folder: Path, note: Callable[[str], None]
) -> None:
    """Keep the prompts of a plan that was sealed, for its run.

    Not where a beacon settles its draws later, nor where it was run, or is being: a run keeps its
    own.

    Args:
        resolved: The plan, sealed in the folder.
        rendered: Its prompts.
        folder: The bundle.
        note: Told why they cannot be kept, if so: the plan is sealed, and its run renders them.
    """
    run = (RECEIPT, RUN_JOURNAL)
    if resolved.predicate.beacon is not None or any(os.path.lexists(folder / one) for one in run):
        return
    try:
        keep_prompts(rendered, folder, renderer_of(resolved, None))
    except FileAccessError as error:
        note(f"{error.one_line()} (the plan is sealed; its run renders the prompts again)")


def render(
    resolved: ResolvedPlan,
    beacon_value: str | None,
    watch: Callable[[int, int], None],
    *,
    folder: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> RenderedPlan:
    """Render and count every prompt of a plan, or take those that are kept; nothing is written.

    Args:
        resolved: The plan.
        beacon_value: The beacon's value, where the plan names a round.
        watch: Told how many points are counted, and of how many.
        folder: Prompts that are kept there are taken; None: all are rendered.
        note: Told why what is kept there is of no use, if so.

    Raises:
        IncompleteError, MalformedError, UsageError: As :func:`runner.run.counting.render_plan`.
        FileAccessError: What is kept cannot be read.
    """
    renderer = renderer_of(resolved, beacon_value)
    if folder is None:
        return render_plan(renderer, watch)
    try:
        kept = PromptsFile.of(folder, renderer).read()
    except MalformedError as error:
        note(error.one_line())
        kept = None
    rendered = render_plan(renderer, watch, kept=kept)
    if kept is not None:
        rendered.portions.clear()
    return rendered
