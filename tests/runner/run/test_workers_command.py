"""``receipts run --workers``: real models in real processes, which are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import IntegrityError, UsageError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of, write_plan
from safety_receipts.runner.pool.messages import Open, WorkerMessage
from safety_receipts.runner.pool.pool import WorkerPool
from safety_receipts.runner.pool.processes import Processes, ProcessLink
from safety_receipts.runner.run.journal import Journal
from safety_receipts.runner.run.journal_file import run_journal_path
from safety_receipts.runner.run.pooled.opening import (
    WorkerOptions,
    WorkersAsked,
    load_pooled,
    refuse_served,
)
from safety_receipts.runner.run.pooled.recipe import StackRecipe

Receipts = Callable[..., Any]
PATIENCE = 180


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of several units, with a key, and a bundle whose run has just begun."""
    folder = tmp_path_factory.mktemp("study")
    plan = write_study(
        folder,
        queries=200,
        controls=8,
        sampling="{method: seeded, temperature: 1.0, max_new_tokens: 6}",
    )
    signer = generate_key()
    write_key_pair(folder / "key", signer, None)
    resolved = resolve_plan(plan)
    write_plan(resolved, folder / "begun", signer)
    # The secret is drawn here, so that runs that start from copies seal the same bytes.
    with Journal.open(run_journal_path(folder / "begun"), digest_of(resolved.predicate)):
        pass
    return plan


@pytest.fixture(scope="module")
def alone(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run without workers."""
    bundle = begun(study, tmp_path_factory.mktemp("alone") / "bundle")
    subprocess.run(command(study, bundle), check=True, capture_output=True, env=environment())
    return bundle


def begun(study: Path, folder: Path) -> Path:
    return Path(shutil.copytree(study.parent / "begun", folder))


def command(plan: Path, bundle: Path, *more: str) -> list[str]:
    words = ["run", str(plan), "--key", str(plan.parent / "key"), "--out", str(bundle)]
    device = ["--device", "cpu", "--memory", "64M"]
    return [sys.executable, "-m", "safety_receipts", *words, *device, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


@contextmanager
def running(plan: Path, bundle: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Start a run."""
    with subprocess.Popen(
        command(plan, bundle, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    """Return the workers of a driver, those that were started first first."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state = (folder / "stat").read_text("ascii").rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if int(state[1]) == pid and state[0] != "Z" and b"spawn_main" in line:
            found.append(int(folder.name))
    return sorted(found)


def wait_until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def said(bundle: Path) -> EvaluationPredicate:
    return Bundle(bundle).receipt.statement.predicate


def same(bundle: Path, alone: Path) -> EvaluationPredicate:
    """Hold a bundle to that of the run without workers; return what its receipt says."""
    for one, other in zip(Bundle(bundle).points(), Bundle(alone).points(), strict=True):
        assert one.to_line() == other.to_line()
    for mine, theirs in zip(Bundle(bundle).responses(), Bundle(alone).responses(), strict=True):
        assert mine.to_line() == theirs.to_line()
    found, expected = said(bundle), said(alone)
    assert found.evidence == expected.evidence
    assert found.conditions == expected.conditions
    assert found.environment == expected.environment
    return found


@pytest.mark.long
def test_a_worker_that_is_killed_leaves_no_trace_but_a_restart(
    study: Path, alone: Path, tmp_path: Path
) -> None:
    bundle = begun(study, tmp_path / "bundle")
    with running(study, bundle, "--workers", "2") as driver:
        first, second = wait_until(lambda: len(found := children(driver.pid)) == 2 and found)
        os.kill(second, signal.SIGKILL)  # while it loads
        _, err = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 0, err
        assert err.count("is replaced: it was ended by SIGKILL") == 1
    assert not alive(first)
    assert same(bundle, alone).event.restarts == 1


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_ended_takes_its_workers_along_and_goes_on(
    study: Path, alone: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """With another number of workers, or none."""
    bundle = begun(study, tmp_path / "bundle")
    with running(study, bundle, "--workers", "2", "--json") as driver:
        workers = wait_until(lambda: len(found := children(driver.pid)) == 2 and found)
        wal = run_journal_path(bundle).with_name(run_journal_path(bundle).name + "-wal")
        grown = wal.stat().st_size if wal.exists() else 0
        wait_until(lambda: wal.exists() and wal.stat().st_size > grown + 65536)  # points
        driver.send_signal(how)
        out, err = driver.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(map(alive, workers)))
    assert not (bundle / "receipt.dsse.json").exists()
    if how is signal.SIGTERM:
        assert driver.returncode == 130, err
        assert "points are kept" in json.loads(out)["error"]["message"]
    words = ["--workers", "1"] if how is signal.SIGTERM else []
    done = subprocess.run(
        command(study, bundle, *words), check=False, capture_output=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert same(bundle, alone).event.restarts == 1


def recipe(resolved: ResolvedPlan, workers: int = 1) -> StackRecipe:
    options = WorkerOptions(WorkersAsked(workers), device="cpu")
    return options.recipe(resolved, 2**26)


def test_a_worker_that_finds_another_checkpoint_or_corpus_is_refused(tmp_path: Path) -> None:
    resolved = resolve_plan(write_study(tmp_path))
    asked = recipe(resolved)
    assert asked.plan.resolve().predicate == resolved.predicate
    queries = tmp_path / "queries.jsonl"
    before = queries.read_bytes()
    queries.write_bytes(before.replace(b"Hide the", b"Hide a"))
    with pytest.raises(IntegrityError, match="another plan where a worker runs: queries"):
        asked.plan.resolve()
    queries.write_bytes(before)
    (tmp_path / "model" / "notes.md").write_text("another file", "utf-8")
    with pytest.raises(IntegrityError, match="another checkpoint there than the plan's"):
        asked.plan.resolve()
    sealed = replace(asked.plan, sealed=resolved.predicate)
    with pytest.raises(IntegrityError, match="a worker finds another"):
        sealed.resolve()


class OneThreadMore(Processes):
    """Starts the second worker with another thread count."""

    def launch(self, number: int) -> ProcessLink:
        link = super().launch(number)
        if number != 1:
            return link
        send = link.send

        def other(message: WorkerMessage) -> None:
            if isinstance(message, Open):
                more = replace(message.recipe, threads=message.recipe.threads + 1)  # type: ignore[type-var]
                message = replace(message, recipe=more)
            send(message)

        link.send = other  # type: ignore[method-assign]
        return link


def listen(pool: WorkerPool) -> None:
    """Hear what workers say, until it is too much."""
    while True:
        pool._hear()


def test_a_worker_with_another_thread_count_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = WorkersAsked(2)
    monkeypatch.setattr(WorkersAsked, "places", lambda *_: OneThreadMore())
    resolved, pools = resolve_plan(write_study(tmp_path)), []
    try:
        loaded = load_pooled(recipe(resolved, 2), asked, lambda pool: pools.append(pool) or pool)
        with pytest.raises(UsageError, match=r"worker \d has threads \d, and the first has \d"):
            listen(loaded.stack.pool)
    finally:
        for pool in pools:
            pool.close()


def test_what_takes_no_workers_is_refused(study: Path, tmp_path: Path, receipts: Receipts) -> None:
    words = command(study, tmp_path / "bundle")[3:]
    refused = receipts(*words, "--ray", "auto")
    assert (refused.code, "--ray takes --workers N" in refused.err) == (2, True)
    served = resolve_plan(study).predicate.model_copy(update={"engine": EngineKind.OPENAI})
    with pytest.raises(UsageError, match="is a server, which takes many requests at once"):
        refuse_served(served)
    assert not (tmp_path / "bundle").exists()
