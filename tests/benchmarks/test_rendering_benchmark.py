"""The benchmark of rendering, at a size that shows whether it measures what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rendering


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study of two queries, few rows and a small vocabulary."""
    found = tmp_path_factory.mktemp("rendering")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rendering, "VOCABULARY", 1500)
        patched.setattr(rendering, "LEXICON", 400)
        patched.setattr(rendering, "HARMFUL", 130)
        rendering.write_study(found, 2)
    return found


def test_every_point_of_the_sweep_is_rendered(folder: Path) -> None:
    by_draw_block = {block: rendering.measure(folder, block) for block in (1, "all")}
    assert {one.points for one in by_draw_block.values()} == {31 * 2 * 2}
    assert len({one.digest for one in by_draw_block.values()}) == 2
    assert all(one.cpu > 0 and one.tokens > one.points for one in by_draw_block.values())


def test_a_process_of_its_own_finds_the_same_prompts(folder: Path) -> None:
    here, there = (
        rendering.measure(folder, "all"),
        rendering._in_process(rendering.ROOT, folder, "all"),
    )
    assert (there.points, there.tokens, there.digest) == (here.points, here.tokens, here.digest)
