"""A run of which nothing could be scored is not sealed unasked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from running import Faulty, FaultyJudge, Quiet, Study, closed, run, verified

from safety_receipts.receipts.bundle import RECEIPT
from safety_receipts.receipts.errors import ExitCode, IncompleteError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.checkpoint import ContextOverflow
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.runner.engines.engine import Completion
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.run.journal import JournalEntry
from safety_receipts.runner.run.stopping import UnscoredGuard

Fault = Callable[[list[Judgement]], list[Judgement]]


def unreadable(judgements: list[Judgement]) -> list[Judgement]:
    """Turn every judgement into a reply that nobody can read."""
    return [
        replace(one, outcome=Outcome.UNSCORED, reason=Reason.JUDGE_PARSE_ERROR)
        for one in judgements
    ]


def test_a_judge_whose_replies_are_unreadable_stops_the_run_and_spends_nothing(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(), tmp_path / "b", Quiet()
    with pytest.raises(IncompleteError, match=r"judge_parse_error") as raised:
        run(
            resolved,
            folder,
            signer,
            judge=lambda judge: FaultyJudge(judge, unreadable),
            watcher=watcher,
        )
    assert raised.value.exit_code is ExitCode.INCOMPLETE
    assert "receipts rejudge" in raised.value.one_line()
    assert "--accept-unscored" in raised.value.one_line()
    assert watcher.commits == []
    assert not (folder / RECEIPT).exists()
    # The same command later goes on, as if nothing had been.
    sealed = run(resolved, folder, signer)
    assert closed(folder)[Outcome.UNSCORED, Reason.JUDGE_PARSE_ERROR] == 0
    assert (sealed.reasons(Outcome.UNSCORED), sealed.scored) == ({}, resolved.predicate.points)
    verified(folder, signer)


def test_empty_responses_stop_the_run_and_name_the_model(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    end = resolved.predicate.sampling.end_tokens[0]

    def say_nothing(completion: Completion) -> Completion:
        return replace(completion, tokens=(end,), finish=Finish.STOP)

    with pytest.raises(IncompleteError, match="empty_response") as raised:
        run(resolved, tmp_path / "b", signer, engine=lambda engine: Faulty(engine, say_nothing))
    assert "end tokens" in raised.value.one_line()


def test_whoever_asks_for_it_seals_a_run_of_which_nothing_could_be_scored(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder = study(), tmp_path / "b"
    options = RunOptions(memory=2**26, accept_unscored=True)
    judge = {"judge": lambda judge: FaultyJudge(judge, unreadable)}
    sealed = run(resolved, folder, signer, options=options, **judge)
    points = resolved.predicate.points
    assert sealed.reasons(Outcome.UNSCORED) == {Reason.JUDGE_PARSE_ERROR: points}
    assert (sealed.scored, sealed.failed) == (0, 0)
    verified(folder, signer, faulty=["labels"])
    again = run(resolved, folder, signer)
    assert (again.before, again.outcomes) == (True, sealed.outcomes)
    with pytest.raises(UsageError, match="is sealed and stays so"):
        run(resolved, folder, signer, options=options)


def test_a_unit_with_one_label_goes_on(study: Study, tmp_path: Path, signer: Signer) -> None:
    def all_but_one(judgements: list[Judgement]) -> list[Judgement]:
        return [*unreadable(judgements[:-1]), judgements[-1]]

    resolved, folder = study(), tmp_path / "b"
    sealed = run(resolved, folder, signer, judge=lambda judge: FaultyJudge(judge, all_but_one))
    assert sealed.scored >= 1
    assert sum(sealed.reasons(Outcome.UNSCORED).values()) > sealed.scored
    verified(folder, signer, faulty=["labels"])


def test_a_later_unit_stops_the_run_too_and_what_came_before_is_kept(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved, folder, watcher = study(queries=10), tmp_path / "b", Quiet()

    def breaks(judgements: list[Judgement]) -> list[Judgement]:
        return unreadable(judgements) if watcher.commits else judgements

    with pytest.raises(IncompleteError, match="could be scored"):
        run(
            resolved,
            folder,
            signer,
            judge=lambda judge: FaultyJudge(judge, breaks),
            watcher=watcher,
        )
    assert len(watcher.commits) == 1
    more = Quiet()
    run(resolved, folder, signer, watcher=more)
    assert more.before == watcher.commits[0].points
    assert closed(folder)[Outcome.UNSCORED, Reason.JUDGE_PARSE_ERROR] == 0


def test_with_accept_failed_a_judge_that_fails_on_all_keeps_its_own_rule(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    def no_judge(judgements: list[Judgement]) -> list[Judgement]:
        raise OSError("the device is gone")

    judge = {"judge": lambda judge: FaultyJudge(judge, no_judge)}
    with pytest.raises(IncompleteError, match=r"none of .* points could be scored \(judge_error\)"):
        run(study(), tmp_path / "b", signer, options=RunOptions(accept_failed=True), **judge)
    options = RunOptions(accept_failed=True, accept_unscored=True)
    sealed = run(study(), tmp_path / "b", signer, options=options, **judge)
    assert sealed.scored == 0


def test_a_plan_of_which_every_prompt_is_too_long_is_not_sealed_unasked(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study(context=40, more="context_overflow: fail_point\n")
    assert resolved.predicate.prompt.context_overflow is ContextOverflow.FAIL_POINT
    with pytest.raises(IncompleteError, match="context_overflow"):
        run(resolved, tmp_path / "b", signer)
    sealed = run(resolved, tmp_path / "b", signer, options=RunOptions(accept_unscored=True))
    assert sealed.failed == resolved.predicate.points


def _unit(*endings: tuple[Outcome, Reason | None]) -> list[JournalEntry]:
    class Ended:
        def __init__(self, outcome: Outcome, reason: Reason | None) -> None:
            self.outcome, self.reason = outcome, reason

    return [JournalEntry(Ended(*ending), None) for ending in endings]  # type: ignore[arg-type]


EMPTY = (Outcome.UNSCORED, Reason.EMPTY_RESPONSE)
REFUSED = (Outcome.REFUSED, None)
FAILED = (Outcome.FAILED, Reason.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("points", "units", "stops_at"),
    [
        (100, [[EMPTY] * 16], 0),
        (100, [[EMPTY] * 15], None),
        (100, [[EMPTY]] * 40, 15),
        (100, [[EMPTY] * 15, [REFUSED], [EMPTY] * 15], None),
        (100, [[EMPTY] * 15, [FAILED] * 40, [EMPTY]], 2),
        (100, [[FAILED] * 40], None),
        (100, [[*[EMPTY] * 60, REFUSED]], None),
        (6, [[EMPTY] * 6], 0),
        (6, [[EMPTY] * 4, [EMPTY] * 2], 1),
        (6, [[REFUSED], [EMPTY] * 5], None),
    ],
)
def test_so_many_unscored_responses_in_a_row_stop_a_run(
    points: int, units: list[list[tuple[Outcome, Reason | None]]], stops_at: int | None
) -> None:
    silence = UnscoredGuard(points)
    for place, unit in enumerate(units):
        if place == stops_at:
            with pytest.raises(IncompleteError):
                silence.hear(_unit(*unit))
            return
        silence.hear(_unit(*unit))
    assert stops_at is None
