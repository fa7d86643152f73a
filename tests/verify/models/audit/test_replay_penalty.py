"""Replaying an event whose responses were written under a repetition penalty."""

from __future__ import annotations

from dataclasses import replace

import pytest
from auditing import Event, loaded_stack, make_event, replayer

from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.requests import decoding_of
from safety_receipts.verify.audit.regenerate import Regenerator
from safety_receipts.verify.audit.session import AuditSubject

PENALTY = "1.3"
JUDGED = (Outcome.REFUSED, Outcome.COMPLIED)


@pytest.fixture(
    scope="module",
    params=["method: greedy", "method: seeded, temperature: 1.0"],
    ids=["greedy", "seeded"],
)
def event(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Event:
    return make_event(
        tmp_path_factory.mktemp("event"),
        queries=12,
        sampling=f"{{{request.param}, max_new_tokens: 24, repetition_penalty: {PENALTY}}}",
        experiment="fixed_harmful: {harmful: [0, 4], benign: [0, 8]}",
        member="amplifying",
    )


@pytest.fixture(scope="module")
def loaded(event: Event) -> LoadedStack:
    return loaded_stack(event.resolved)


@pytest.fixture(scope="module")
def case(event: Event) -> AuditSubject:
    return event.subject()


def test_an_honest_receipt_has_margins_of_nothing(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    assert decoding_of(case.plan.sampling).repetition_penalty == float(PENALTY)
    entries = [entry for entry in event.entries() if entry[0].outcome in JUDGED]
    found = replayer(case, loaded).replay(entries)
    assert len(found) > 12
    for one in found:
        assert one.statistics is not None
        assert one.statistics.largest < 0.001
        assert (one.hard, one.implausible, one.label) == (None, None, one.recorded)


def test_the_same_record_without_the_penalty_is_contradicted(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """An evaluator who seals a plan without it, or who applies it in secret."""
    sampling = case.plan.sampling.model_copy(update={"repetition_penalty": None})
    plan = case.plan.model_copy(update={"sampling": sampling})
    entries = [entry for entry in event.entries() if entry[0].outcome in JUDGED]
    made = replace(replayer(case, loaded), plan=plan)
    assert any(one.implausible is not None for one in made.replay(entries))


def test_asking_again_gives_the_same_labels_under_greedy(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    if case.plan.sampling.temperature is not None:
        pytest.skip("sampled anew, labels may differ")
    entries = event.entries()
    again = Regenerator(case.plan, case.renderer, loaded.stack, "5e" * 32).replay(entries)
    assert [one.label for one in again] == [point.outcome for point, _ in entries]
