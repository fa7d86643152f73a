"""The prompts of a run that begins are kept; one that goes on takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.ahead.kept import PromptsFile
from safety_receipts.runner.run.counting import RenderedPlan, render_plan


def keep_prompts(rendered: RenderedPlan, folder: Path, renderer: Renderer) -> None:
    """Keep the prompts of a run in its folder; what is kept leaves this process's memory.

    Raises:
        FileAccessError: The folder cannot be written to, or the disk is full.
    """
    PromptsFile.of(folder, renderer).write(rendered.portions)
    rendered.portions.clear()


def kept_prompts(
    folder: Path,
    renderer: Renderer,
    watch: Callable[[int, int], None],
    note: Callable[[str], None],
) -> RenderedPlan:
    """Return the prompts that are kept in a folder; where there are none, render and keep them.

    Args:
        folder: The run's.
        renderer: Renders them.
        watch: Told how many points are counted, and of how many.
        note: Told why what is kept is of no use, if so.

    Raises:
        IncompleteError, MalformedError, UsageError: As :func:`runner.run.counting.render_plan`.
        FileAccessError: The file cannot be read, or written.
    """
    file = PromptsFile.of(folder, renderer)
    try:
        kept = file.read()
    except MalformedError as error:
        note(error.one_line())
        kept = None
    rendered = render_plan(renderer, watch, kept=kept)
    if kept is None:
        file.write(rendered.portions)
    rendered.portions.clear()
    return rendered
