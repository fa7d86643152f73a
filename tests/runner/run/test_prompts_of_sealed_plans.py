"""The prompts that a sealed plan's dry run counted serve its run, which renders none again."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running import (
    Quiet,
    Study,
    answers,
    interrupted,
    not_loaded,
    run,
    run_with_kept_prompts,
    verified,
)

from safety_receipts.receipts.bundle import PLAN, Bundle
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.unfinished import RUN_PROMPTS
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of, write_plan
from safety_receipts.runner.run.ahead import kept
from safety_receipts.runner.run.ahead.resuming import keep_for_run
from safety_receipts.runner.run.counting import RenderedPlan, render_plan

LEFT = [RUN_PROMPTS, PLAN]


def rendered(resolved: ResolvedPlan) -> RenderedPlan:
    return render_plan(renderer_of(resolved, None), lambda *_: None)


def seal(resolved: ResolvedPlan, folder: Path, signer: Signer) -> list[str]:
    """Seal a plan as ``receipts plan --seal`` does; return what was noted."""
    notes: list[str] = []
    write_plan(resolved, folder, signer)
    keep_for_run(resolved, rendered(resolved), folder, notes.append)
    return notes


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_run_of_a_sealed_plan_renders_nothing_again(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, folder = study(), tmp_path / "b"
    assert seal(resolved, folder, signer) == []
    assert stat.S_IMODE((folder / RUN_PROMPTS).stat().st_mode) == 0o600
    with pytest.raises(IncompleteError, match="is sealed, and nothing was run yet"):
        _ = Bundle(folder).receipt
    run(resolved, tmp_path / "whole", signer)
    run_with_kept_prompts(resolved, folder, signer, monkeypatch)
    assert answers(folder) == answers(tmp_path / "whole")


def test_sealing_keeps_what_the_run_would(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved = study(queries=10)
    interrupted(resolved, tmp_path / "run", signer)
    seal(resolved, tmp_path / "sealed", signer)
    kept_by = [(tmp_path / name / RUN_PROMPTS).read_bytes() for name in ("run", "sealed")]
    assert kept_by[0] == kept_by[1]


def test_a_run_that_fails_leaves_what_sealing_its_plan_left(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(), tmp_path / "b"
    seal(resolved, folder, signer)
    before = (folder / RUN_PROMPTS).read_bytes()
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(resolved, folder, signer, engine=not_loaded)
    assert names(folder) == LEFT
    assert (folder / RUN_PROMPTS).read_bytes() == before


@pytest.mark.parametrize("by", ["another version", "damage"])
def test_prompts_that_do_not_serve_are_rendered_with_a_note(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    resolved, folder, watcher = study(), tmp_path / "b", Quiet()
    with monkeypatch.context() as patched:
        if by == "another version":
            patched.setattr(kept, "__version__", "0.0.1")
        seal(resolved, folder, signer)
    if by == "damage":
        (folder / RUN_PROMPTS).write_bytes((folder / RUN_PROMPTS).read_bytes()[:-1])
    run(resolved, folder, signer, watcher=watcher)
    (note,) = watcher.notes
    assert note.startswith(str(folder / RUN_PROMPTS))
    assert note.endswith("(prompts are rendered again)")
    verified(folder, signer, resolved)


def _with_beacon(resolved: ResolvedPlan, _folder: Path, _signer: Signer) -> ResolvedPlan:
    beacon = BeaconRound(chain="drand-quicknet", round=10**9)
    return replace(resolved, predicate=resolved.predicate.model_copy(update={"beacon": beacon}))


def _run_before(resolved: ResolvedPlan, folder: Path, signer: Signer) -> ResolvedPlan:
    run(resolved, folder, signer)
    return resolved


@pytest.mark.parametrize("first", [_with_beacon, _run_before])
def test_prompts_are_not_kept_before_draws_are_settled_or_after_the_run(
    study: Study,
    tmp_path: Path,
    signer: Signer,
    first: Callable[[ResolvedPlan, Path, Signer], ResolvedPlan],
) -> None:
    resolved, folder = study(), tmp_path / "b"
    seal(first(resolved, folder, signer), folder, signer)
    assert RUN_PROMPTS not in names(folder)


def test_a_plan_is_sealed_where_no_room_is_left_for_its_prompts(
    study: Study, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, folder = study(), tmp_path / "b"
    write_plan(resolved, folder, signer)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safety_receipts.receipts.io.files.os.fsync", full)
        (note,) = seal(resolved, folder, signer)
    assert "No space left" in note
    assert "the plan is sealed" in note
    assert names(folder) == [PLAN]
    run(resolved, folder, signer)
    verified(folder, signer, resolved)
