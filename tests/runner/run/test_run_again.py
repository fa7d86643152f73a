"""Runs that are stopped, resumed, started over, or were sealed before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import (
    Quiet,
    Study,
    interrupted,
    not_loaded,
    run,
    verified,
)

from safety_receipts.receipts.beacon.rounds import value_of
from safety_receipts.receipts.bundle import PLAN, Bundle, BundleWriter
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.keys import KeyType, Signer, generate_key, sign_together
from safety_receipts.receipts.seal import seal_plan
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import write_plan
from safety_receipts.runner.run.event import EventRunner, RunOptions
from safety_receipts.runner.run.journal_file import RUN_JOURNAL
from safety_receipts.runner.run.stack import load_stack
from safety_receipts.verify.selfcheck.selftest import edit_statement


def test_an_interrupted_run_says_what_is_kept_and_goes_on(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    kept = interrupted(resolved, folder, signer)
    assert (folder / RUN_JOURNAL).exists()
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.before == kept
    verified(folder, signer)
    assert not (folder / RUN_JOURNAL).exists()
    assert Bundle(folder).receipt.statement.predicate.event.restarts == 1


@pytest.mark.parametrize("what", ["nothing", "another event's", "another plan's"])
def test_no_receipt_that_is_not_this_runs_makes_its_journal_go(
    study: Study, tmp_path: Path, signer: Signer, what: str
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    interrupted(resolved, folder, signer)
    before = (folder / RUN_JOURNAL).read_bytes()
    if what == "nothing":
        (folder / "receipt.dsse.json").touch()
    else:
        run(resolved, tmp_path / "other", signer)
        for file in (tmp_path / "other").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        if what == "another plan's":
            edit_statement(_rename_plan, resign=True)(folder, signer)
    with pytest.raises((IntegrityError, MalformedError)):
        run(resolved, folder, signer)
    assert (folder / RUN_JOURNAL).read_bytes() == before


def _rename_plan(statement: dict[str, Any]) -> None:
    statement["predicate"]["plan"]["digest"] = "0" * 64


def test_a_journal_that_a_kill_left_beside_its_receipt_goes(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    interrupted(resolved, folder, signer)
    left = (folder / RUN_JOURNAL).read_bytes()
    run(resolved, folder, signer)
    (folder / RUN_JOURNAL).write_bytes(left)
    assert run(resolved, folder, signer).before
    assert not (folder / RUN_JOURNAL).exists()


def test_a_device_that_is_not_there_throws_nothing_away(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()
    kept = interrupted(resolved, folder, signer)
    runner = EventRunner(
        resolved,
        folder,
        signer,
        RunOptions(memory=2**26, restart=True),
        lambda plan, memory: load_stack(plan, device="toaster", memory=memory),
        watcher,
    )
    with pytest.raises(UsageError, match="toaster"):
        runner.run()
    run(resolved, folder, signer, watcher=watcher)
    assert watcher.before == kept


@pytest.mark.parametrize("broken", ["engine", "judge"])
def test_nothing_is_signed_before_everything_is_loaded(
    study: Study, tmp_path: Path, signer: Signer, broken: str
) -> None:
    resolved, folder = study(), tmp_path / "b"
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(resolved, folder, signer, **{broken: not_loaded})
    assert not folder.exists()
    run(resolved, folder, signer)
    verified(folder, signer)


def test_a_plan_that_was_sealed_stays_as_it_is_where_loading_fails(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(), tmp_path / "b"
    write_plan(resolved, folder, signer)
    before = (folder / PLAN).read_bytes()
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(resolved, folder, signer, engine=not_loaded)
    assert [path.name for path in folder.iterdir()] == [PLAN]
    run(resolved, folder, signer)
    assert (folder / PLAN).read_bytes() == before


def test_another_plan_in_the_folder_is_noticed_before_anything_is_loaded(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    write_plan(study(), tmp_path / "b", signer)
    changed = study(sampling="{method: greedy, max_new_tokens: 7}")
    with pytest.raises(UsageError, match=r"sampling\.maxNewTokens differs"):
        run(changed, tmp_path / "b", signer, engine=not_loaded)


def test_a_plan_that_is_missing_beside_its_journal_is_signed_again_once_loaded(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    interrupted(resolved, folder, signer)
    before = Bundle(folder).plan_envelope.digest
    (folder / PLAN).unlink()
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(resolved, folder, signer, engine=not_loaded)
    assert not (folder / PLAN).exists()
    run(resolved, folder, signer)
    assert Bundle(folder).plan_envelope.digest == before
    verified(folder, signer)


def test_a_run_that_another_process_sealed_meanwhile_is_not_repeated(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(), tmp_path / "b"

    class Slow(Quiet):
        def counting(self, done: int, total: int) -> None:
            if done == total and not folder.exists():
                run(resolved, folder, signer)

    sealed = run(resolved, folder, signer, watcher=Slow())
    assert sealed.before
    assert not (folder / RUN_JOURNAL).exists()
    verified(folder, signer)


@pytest.mark.parametrize(
    "options", [{"restart": True}, {"retry_failed": True}, {"accept_failed": True}]
)
def test_nothing_can_be_done_to_a_sealed_event(
    study: Study, tmp_path: Path, signer: Signer, options: dict[str, bool]
) -> None:
    run(study(), tmp_path / "b", signer)
    with pytest.raises(UsageError, match="is sealed and stays so"):
        run(study(), tmp_path / "b", signer, options=RunOptions(memory=2**26, **options))


def test_a_sealed_event_is_not_run_again(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved, folder = study(), tmp_path / "b"
    first = run(resolved, folder, signer)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = run(resolved, folder, signer, engine=lambda engine: pytest.fail("it was run"))
    assert again.before
    assert again.envelope.digest == first.envelope.digest
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_another_plan_in_the_folder_is_refused_and_the_difference_named(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    run(study(), folder, signer)
    changed = study(sampling="{method: greedy, max_new_tokens: 7}")
    with pytest.raises(UsageError, match=r"sampling\.maxNewTokens differs"):
        run(changed, folder, signer)
    with pytest.raises(UsageError, match="another key"):
        run(study(), folder, generate_key())


def test_a_plan_of_two_signatures_is_run_with_both_keys(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    both, folder = sign_together([signer, generate_key(KeyType.P256)]), tmp_path / "b"
    write_plan(study(), folder, both)
    with pytest.raises(UsageError, match="has 2 signatures, and the receipt would have 1"):
        run(study(), folder, signer)
    with pytest.raises(UsageError, match="another key"):
        run(study(), folder, sign_together([signer, generate_key()]))
    run(study(), folder, both)
    for envelope in (Bundle(folder).plan_envelope, Bundle(folder).receipt_envelope):
        assert envelope.signed_by_all(both)
    assert run(study(), folder, both).before


def test_a_plan_of_one_signature_is_not_run_with_two_keys(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    write_plan(study(), folder, signer)
    with pytest.raises(UsageError, match="another key"):
        run(study(), folder, sign_together([signer, generate_key()]))


def test_a_changed_checkpoint_is_noticed_on_resume(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    resolved = study(queries=10)
    interrupted(resolved, folder, signer)
    config = resolved.artifacts.checkpoint.folder / "config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(UsageError, match=r"checkpoint\.files\[\d+\]\.sha256 differs"):
        run(resolve_plan(resolved.file), folder, signer)


def test_a_file_added_to_the_checkpoint_is_named_on_resume(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    resolved = study(queries=10)
    interrupted(resolved, folder, signer)
    added = resolved.artifacts.checkpoint.folder / ".DS_Store"
    added.write_bytes(b"left by a file manager")
    with pytest.raises(UsageError, match=r"take \.DS_Store out of the model's folder"):
        run(resolve_plan(resolved.file), folder, signer)
    added.unlink()
    run(resolve_plan(resolved.file), folder, signer)


def test_a_resumed_run_keeps_its_memory_bound_and_refuses_another(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    interrupted(resolved, folder, signer)
    with pytest.raises(UsageError, match=r"memory class .* and this is"):
        run(resolved, folder, signer, options=RunOptions(memory=2**27))
    run(resolved, folder, signer, options=RunOptions(memory=None))
    environment = Bundle(folder).receipt.statement.predicate.environment
    assert environment.memory_class == f"{2**26} bytes"


def test_starting_over_is_counted(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved, folder = study(queries=10), tmp_path / "b"
    kept = interrupted(resolved, folder, signer)
    run(resolved, folder, signer, options=RunOptions(memory=2**27, restart=True))
    event = Bundle(folder).receipt.statement.predicate.event
    assert (event.restarts, event.retries, event.discarded) == (1, 0, kept)


def test_looking_at_rates_is_sealed(study: Study, tmp_path: Path, signer: Signer) -> None:
    run(study(), tmp_path / "b", signer, options=RunOptions(memory=2**26, show_rates=True))
    assert Bundle(tmp_path / "b").receipt.statement.predicate.event.looks == 1


def with_round(resolved: ResolvedPlan, source: str, number: int) -> ResolvedPlan:
    """Return a plan whose seed comes from a beacon's round."""
    text = resolved.file.read_text("utf-8")
    seed = f"  draws: 2\n  seed: {{beacon: {{source: {source}, round: {number}}}}}\n"
    resolved.file.write_text(text.replace("  draws: 2\n", seed), "utf-8")
    return resolve_plan(resolved.file)


# A published round of drand's quicknet: the README of the package drand-verify 0.2.1.
ROUND = 657413
SIGNATURE = (
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b"
)


def test_a_round_that_is_out_is_not_sealed(study: Study, tmp_path: Path, signer: Signer) -> None:
    folder = tmp_path / "b"
    resolved = with_round(study(), "drand-quicknet", ROUND)
    options = RunOptions(memory=2**26, beacon_value=value_of(SIGNATURE))
    for seal in (
        lambda: write_plan(resolved, folder, signer),
        lambda: run(resolved, folder, signer, options=options),
    ):
        with pytest.raises(UsageError, match="is out since 2023-09-15"):
            seal()
        assert not folder.exists()


def test_an_unknown_beacon_is_not_sealed(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved = with_round(study(), "another", 10**9)
    with pytest.raises(UsageError, match="the beacon another is not known"):
        write_plan(resolved, tmp_path / "b", signer)


def test_the_signature_of_the_round_goes_into_the_receipt(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    folder = tmp_path / "b"
    resolved = with_round(study(queries=10), "drand-quicknet", ROUND)
    # As the plan was sealed before the round was out.
    BundleWriter(folder).write_plan(seal_plan(resolved.predicate, signer))
    said = RunOptions(memory=2**26, beacon_value=value_of(SIGNATURE))
    false = replace(said, beacon_value="ab" * 32, beacon_signature=SIGNATURE)
    with pytest.raises(IntegrityError, match="not the SHA-256"):
        run(resolved, folder, signer, options=false)
    interrupted(resolved, folder, signer, options=said)
    run(resolved, folder, signer, options=replace(said, beacon_signature=SIGNATURE))
    beacon = Bundle(folder).receipt.statement.predicate.event.beacon
    assert beacon is not None
    assert (beacon.value, beacon.signature) == (value_of(SIGNATURE), SIGNATURE)


def test_a_plan_that_waits_for_a_beacon_needs_its_value(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = with_round(study(), "drand-quicknet", 400_000_000)
    with pytest.raises(IncompleteError, match="round 400000000 of drand-quicknet"):
        run(resolved, tmp_path / "b", signer)
    options = RunOptions(memory=2**26, beacon_value="ab" * 32)
    run(resolved, tmp_path / "b", signer, options=options)
    verified(tmp_path / "b", signer)
    beacon = Bundle(tmp_path / "b").receipt.statement.predicate.event.beacon
    assert beacon is not None
    assert beacon.value == "ab" * 32
