"""Prompts rendered ahead: in any number of processes the same, and kept for a run that goes on."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from begun_runs import begin
from hypothesis import given
from hypothesis import strategies as st
from pooled_runs import BegunInWorkers
from running import (
    Quiet,
    Study,
    answers,
    interrupted,
    run,
    run_with_kept_prompts,
    verified,
)

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.events.grid import planned_point
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.unfinished import RUN_PROMPTS
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.prompts.prefix_tree import (
    PrefixNode,
    PromptTokens,
    TokenArray,
    TreePrompt,
)
from safety_receipts.runner.prompts.prompt_reader import MOST_CHARACTERS
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.ahead import portions
from safety_receipts.runner.run.ahead.kept import PromptsFile
from safety_receipts.runner.run.ahead.packed import PackedPoints
from safety_receipts.runner.run.ahead.portions import points_of, portions_of
from safety_receipts.runner.run.counting import RenderedPlan, render_plan, render_points
from safety_receipts.runner.run.event import RunOptions

FORMS = "contexts: {harmful: 2, benign: 2, forms: [turns, conversation, retrieved, memory, policy]}"
EXPERIMENTS = (
    "fixed_harmful: {harmful: [0, 2], benign: [0, 2]}",
    "orderings: {harmful: 2, benign: 3, rules: [prefix, random]}",
    FORMS,
)


@pytest.fixture
def resolved(study: Study, monkeypatch: pytest.MonkeyPatch) -> ResolvedPlan:
    """A plan of several portions."""
    found = study(experiments=EXPERIMENTS)
    monkeypatch.setattr(portions, "POINTS_AT_ONCE", 3 * found.predicate.points // 8)
    assert len(portions_of(found.predicate)) == 3
    return found


def silent(_done: int, _total: int) -> None:
    pass


def told(point: RenderedPoint) -> tuple[object, ...]:
    return replace(point, tokens=()), tuple(point.tokens)


def laid_out(points: list[RenderedPoint] | tuple[RenderedPoint, ...]) -> list[object]:
    """Return the tree of points' prompts, children in their order."""

    def spelt(node: PrefixNode) -> Iterator[object]:
        yield node.tokens.tolist(), node.prompts, len(node.children)
        for child in node.children.values():
            yield from spelt(child)

    first = points[0].tokens
    assert isinstance(first, TreePrompt)
    return list(spelt(first.tree.root))


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_portions_in_processes_are_what_points_one_by_one_are(
    resolved: ResolvedPlan, processes: int
) -> None:
    plan, heard = resolved.predicate, []
    one_by_one = render_points(renderer_of(resolved, None), range(plan.points))
    rendered = render_plan(
        renderer_of(resolved, None), lambda *what: heard.append(what), processes=processes
    )
    assert list(map(told, rendered.points)) == list(map(told, one_by_one))
    assert laid_out(rendered.points) == laid_out(one_by_one)
    assert any(point.labels for point in rendered.points)
    assert any(point.demonstrations is None for point in rendered.points)
    assert heard[-1] == (plan.points, plan.points)
    assert rendered.portions == alone(resolved).portions


def alone(resolved: ResolvedPlan) -> RenderedPlan:
    return render_plan(renderer_of(resolved, None), silent, processes=1)


@pytest.mark.parametrize(
    ("free", "processes", "characters"),
    [(2**40, 16, 2**31), (2**36, 2, 2**30), (2**30, 16, MOST_CHARACTERS), (0, 1, MOST_CHARACTERS)],
)
def test_processes_remember_as_much_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, free: int, processes: int, characters: int
) -> None:
    monkeypatch.setattr(portions, "available_memory", lambda: free)
    assert portions.remembered(processes) == characters


@pytest.mark.parametrize("block", [1, 2, 3, "all"])
@pytest.mark.parametrize("at_once", [1, 50, 100, 10**6])
def test_portions_hold_each_point_once_and_cut_no_block_that_fits(
    resolved: ResolvedPlan, monkeypatch: pytest.MonkeyPatch, block: Any, at_once: int
) -> None:
    plan = resolved.predicate
    demonstrations = plan.demonstrations.model_copy(update={"draw_block": block})
    plan = plan.model_copy(update={"demonstrations": demonstrations})
    monkeypatch.setattr(portions, "POINTS_AT_ONCE", at_once)
    found = [points_of(plan, portion) for portion in portions_of(plan)]
    assert sorted(index for each in found for index in each) == list(range(plan.points))
    a_query = plan.points // len(plan.query_ids)
    if isinstance(block, int) and block <= 4 * max(1, at_once // a_query):
        assert all(portion.start % block == 0 for portion in portions_of(plan))


def test_what_a_portion_has_of_a_prompt_it_has_once(resolved: ResolvedPlan) -> None:
    renderer, plan = renderer_of(resolved, None), resolved.predicate
    points = [renderer.render(index) for index in range(plan.points)]
    packed = PackedPoints.from_bytes(PackedPoints.pack(points).to_bytes())
    assert list(map(told, packed.unpack(renderer, range(plan.points)))) == list(map(told, points))
    parts = [part.tobytes() for point in points for part in parts_of(point)]
    assert len(packed.lengths) == len({*parts}) < len(parts) / 3


def parts_of(point: RenderedPoint) -> Sequence[TokenArray]:
    assert isinstance(point.tokens, PromptTokens)
    return point.tokens.parts


def test_evidence_is_the_same_whoever_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begin(tmp_path, BegunInWorkers)
    monkeypatch.setattr(portions, "POINTS_AT_ONCE", begun.resolved.predicate.points // 4)
    roots = []
    for number in (1, 3):
        rendered = render_plan(renderer_of(begun.resolved, None), silent, processes=number)
        folder = begun.copied(tmp_path / f"by {number}")
        again = replace(begun, rendered=rendered)
        again.in_workers(folder, 1)
        roots.append(again.root(folder))
    assert roots[0] == roots[1]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_a_portion_is_the_same_whoever_meets_it(
    resolved: ResolvedPlan, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    plan, render = resolved.predicate, Renderer.render

    def fails(self: Renderer, index: int) -> RenderedPoint:
        _, query, draw = planned_point(self.plan, index)
        if (query, draw) == (plan.query_ids[5], 1):
            raise UsageError(f"point {index} cannot be shown")
        return render(self, index)

    monkeypatch.setattr(Renderer, "render", fails)
    with pytest.raises(UsageError, match=r"^point 11 cannot be shown"):
        render_plan(renderer_of(resolved, None), silent, processes=processes)


def test_where_a_process_is_ended_the_run_renders_by_itself(
    resolved: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, render = os.getpid(), Renderer.render

    def ends(self: Renderer, index: int) -> RenderedPoint:
        if os.getpid() != here and index == 5:
            os._exit(9)
        return render(self, index)

    expected = alone(resolved).portions
    monkeypatch.setattr(Renderer, "render", ends)
    rendered = render_plan(renderer_of(resolved, None), silent, processes=2)
    assert rendered.portions == expected


_RENDERS = """
import os, sys, time
from pathlib import Path
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.ahead import portions
from safety_receipts.runner.run.counting import render_plan
def waits(self, index):
    Path(sys.argv[2], str(os.getpid())).touch()
    time.sleep(600)
portions.POINTS_AT_ONCE = 20
Renderer.render = waits
render_plan(renderer_of(resolve_plan(Path(sys.argv[1])), None), lambda *_: None, processes=2)
"""


def test_processes_end_with_the_one_that_started_them(study: Study, tmp_path: Path) -> None:
    resolved, seen = study(), tmp_path / "seen"
    seen.mkdir()
    command = [sys.executable, "-c", _RENDERS, str(resolved.file), str(seen)]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: len(list(seen.iterdir())) == 2)
    finally:
        driver.kill()
        driver.wait()
    _until(lambda: not any(map(_lives, seen.iterdir())))


def _until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to be")


def _lives(named: Path) -> bool:
    """Say whether the process that a file is named after still runs."""
    try:
        return Path(f"/proc/{named.name}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_run_that_goes_on_renders_nothing_again(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    whole = tmp_path / "whole"
    run(resolved, whole, signer)
    interrupted(resolved, folder, signer)
    mode = (folder / RUN_PROMPTS).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    run_with_kept_prompts(resolved, folder, signer, monkeypatch)
    assert answers(folder) == answers(whole)


def _flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        *(_flipped(place) for place in (0.0, 0.5, 1.0)),
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda _: b"",
    ],
)
def test_damaged_prompts_are_rendered_again_with_a_note(
    study: Study, tmp_path: Path, signer: Signer, damage: Callable[[bytes], bytes]
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    interrupted(resolved, folder, signer)
    kept = (folder / RUN_PROMPTS).read_bytes()
    (folder / RUN_PROMPTS).write_bytes(damage(kept))
    interrupted_again(resolved, folder, signer, watcher)
    (note,) = watcher.notes
    assert note.startswith(str(folder / RUN_PROMPTS))
    assert note.endswith("(prompts are rendered again)")
    assert (folder / RUN_PROMPTS).read_bytes() == kept
    run(resolved, folder, signer)
    verified(folder, signer, resolved)


def interrupted_again(resolved: ResolvedPlan, folder: Path, signer: Signer, watcher: Quiet) -> None:
    """Go on with a run, and stop it before its next unit."""

    def stop(_engine: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(resolved, folder, signer, watcher=watcher, engine=stop)


def test_prompts_that_were_taken_away_are_rendered_again(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    interrupted(resolved, folder, signer)
    (folder / RUN_PROMPTS).unlink()
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.notes == []
    verified(folder, signer, resolved)


def test_prompts_of_another_plan_are_not_taken(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    interrupted(resolved, folder, signer)
    renamed = resolved.predicate.model_copy(update={"name": "another"})
    other = replace(resolved, predicate=renamed)
    rendered = render_plan(renderer_of(other, None), silent)
    PromptsFile.of(folder, renderer_of(other, None)).write(rendered.portions)
    run(resolved, folder, signer, watcher=watcher)
    assert "has the prompts of another run" in watcher.notes[0]
    verified(folder, signer, resolved)


def test_a_run_that_starts_over_takes_its_prompts(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    interrupted(resolved, folder, signer)
    options = RunOptions(memory=2**26, restart=True)
    run_with_kept_prompts(resolved, folder, signer, monkeypatch, options=options)


def test_a_full_disk_leaves_no_half_of_the_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PromptsFile(tmp_path / RUN_PROMPTS, Sha256("a" * 64))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safety_receipts.receipts.io.files.os.fsync", full)
        with pytest.raises(FileAccessError, match="No space left"):
            file.write([b"portion"])
    assert not file.path.exists()
    assert file.read() is None


@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_what_is_kept_comes_back_or_is_refused(portions: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = PromptsFile(Path(folder) / RUN_PROMPTS, Sha256("a" * 64))
        file.write(portions)
        assert file.read() == portions
        written = file.path.read_bytes()
        cut = data.draw(st.integers(0, len(written) - 1))
        change = data.draw(st.integers(1, 255))
        flipped = written[:cut] + bytes([written[cut] ^ change]) + written[cut + 1 :]
        for damaged in (flipped, written[:cut], written + written[cut:]):
            file.path.write_bytes(damaged)
            with pytest.raises(MalformedError):
                file.read()
        other = replace(file, owner=Sha256("b" * 64))
        file.path.write_bytes(written)
        with pytest.raises(MalformedError, match="another run"):
            other.read()
