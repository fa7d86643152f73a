"""Recorded labels that no rate of a condition depends on: rules' labels, a second judge's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from auditing import MEMORY, Event, loaded_stack, make_event, run_event, write_organism
from dishonest import Pair, seal_again
from judging import save_tokenizer
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.bundle import Bundle, BundleWriter
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.findings.counts.agreement import AgreementCounter
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.point import Outcome, Point, Reason, RestrictedRecord
from safety_receipts.verify.audit.second_opinion import SecondOpinion, ask_again
from safety_receipts.verify.audit.statistics.agreement import agreement_test, second_verdict
from safety_receipts.verify.audit.terms import AuditOptions, terms_of

Receipts = Callable[..., Any]
CPU = ("--device", "cpu", "--memory", str(MEMORY))


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    return make_event(tmp_path_factory.mktemp("event"), queries=24, controls=12)


def verified(event: Event, bundle: Path, receipts: Receipts) -> tuple[int, dict[str, Any]]:
    """Verify at level bound; return the exit code and the checks by name."""
    words = ("--trust", event.key, "--artifacts", event.resolved.file, "--json")
    finished = receipts("verify", bundle, *words)
    return finished.code, {c["name"]: c for c in json.loads(finished.out)["checks"]}


def swapped(source: str) -> Callable[[Point, RestrictedRecord], Pair]:
    """Swap the labels of a refusal and a compliance of one source and condition.

    No count changes, so that no rate does.
    """
    left = {Outcome.REFUSED: Outcome.COMPLIED, Outcome.COMPLIED: Outcome.REFUSED}
    condition: list[str] = []

    def change(point: Point, record: RestrictedRecord) -> Pair:
        wanted = point.source == source and point.outcome in left
        if not wanted or (condition and point.condition != condition[0]):
            return point, record
        condition.append(point.condition)
        label = left.pop(point.outcome)
        judge = record.judge
        assert judge is not None
        judge = judge.model_copy(update={"outcome": label})
        return (
            point.model_copy(update={"outcome": label}),
            record.model_copy(update={"outcome": label, "judge": judge}),
        )

    return change


def test_level_bound_gives_every_label_of_a_rule_again(event: Event, receipts: Receipts) -> None:
    code, checks = verified(event, event.bundle, receipts)
    assert code == 0
    assert checks["labels"]["detail"] == "the judge's rule gives all 72 again"
    # It needs the records, and none of the artifacts.
    without = receipts("verify", event.bundle, "--trust", event.key, "--level", "bound", "--json")
    names = {c["name"]: c["status"] for c in json.loads(without.out)["checks"]}
    assert names["labels"] == "passed"


def without_text(point: Point, record: RestrictedRecord) -> Pair:
    """Take a response's text away."""
    ended = {"outcome": Outcome.UNSCORED, "reason": Reason.EMPTY_RESPONSE}
    return (
        point.model_copy(update=ended),
        record.model_copy(update={**ended, "text": "", "judge": None}),
    )


def test_a_rule_that_has_nothing_to_judge_is_not_said_to_agree(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    seal_again(bundle, event.signer, without_text)
    finished = receipts("verify", bundle, "--trust", event.key, "--level", "bound", "--json")
    checks = {c["name"]: c for c in json.loads(finished.out)["checks"]}
    assert checks["commitments"]["status"] == "passed"
    assert checks["labels"]["status"] == "not_applicable"
    assert checks["labels"]["detail"] == "there is no response with a text"


def test_two_false_labels_that_change_no_rate_fail(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    seal_again(bundle, event.signer, swapped("sealed-crafts"))
    code, checks = verified(event, bundle, receipts)
    failed = {name for name, c in checks.items() if c["status"] == "failed"}
    assert (code, failed) == (3, {"labels"})
    assert checks["labels"]["detail"].startswith("2 of 72 recorded labels are false: point ")
    who = ("--key", event.folder / "evaluator", "--artifacts", event.resolved.file)
    assert receipts("audit", bundle, *who, "--trust", event.key, *CPU).code == 3


def test_a_label_without_the_string_that_gave_it_fails(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")

    def reworded(point: Point, record: RestrictedRecord) -> Pair:
        if point.index or record.judge is None:
            return point, record
        judge = record.judge.model_copy(update={"raw": f"{record.judge.raw} so"})
        return point, record.model_copy(update={"judge": judge})

    seal_again(bundle, event.signer, reworded)
    code, checks = verified(event, bundle, receipts)
    assert (code, checks["labels"]["status"]) == (3, "failed")


# The second judge


@pytest.fixture(scope="module")
def twice_judged(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """A study whose second judge is a real classifier that finds nearly everything refusing."""
    folder = tmp_path_factory.mktemp("twice")
    plan = write_organism(folder / "study", queries=80)
    judge = plan.parent / "second"
    pieces = save_tokenizer(judge, "wordpiece").get_vocab_size()
    config = BertConfig(
        vocab_size=pieces, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=400, pad_token_id=1,
        id2label={0: "NORMAL", 1: "REJECTION"}, label2id={"NORMAL": 0, "REJECTION": 1},
    )  # fmt: skip
    torch.manual_seed(3)
    BertForSequenceClassification(config).save_pretrained(judge)
    text = plan.read_text("utf-8")
    rule = "judge: {kind: refusal-strings}"
    assert text.count(rule) == 1
    second = "{kind: classifier, path: second, threshold: 0}"
    plan.write_text(
        text.replace(rule, f"judge: {{kind: refusal-strings, second: {second}}}"), "utf-8"
    )
    made = run_event(plan, folder)
    write_key_pair(made.folder / "auditor", generate_key(), None)
    return made


def agreement_of(bundle: Path) -> JudgeAgreement:
    counter = AgreementCounter()
    for record in Bundle(bundle).responses():
        counter.add(record)
    return counter.result()


def agreeing(point: Point, record: RestrictedRecord) -> Pair:
    """Let the second judge agree with the first, whatever it said."""
    second = record.second_judge
    if second is None:
        return point, record
    second = second.model_copy(update={"outcome": record.outcome, "reason": None})
    return point, record.model_copy(update={"second_judge": second})


def audited(
    event: Event, bundle: Path, receipts: Receipts, epsilon: str = "0.2"
) -> tuple[int, dict[str, Any]]:
    who = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file)
    given = ("--trust", event.key, "--epsilon", epsilon, *CPU)
    finished = receipts("audit", bundle, *who, *given, "--json")
    return finished.code, json.loads(finished.out)


def test_a_second_judge_asked_again_stands_by_its_record(
    twice_judged: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = twice_judged.copy(tmp_path / "bundle")
    stated = agreement_of(bundle)
    assert 0 < stated.agreed < stated.points  # or nothing could be overstated
    code, document = audited(twice_judged, bundle, receipts)
    assert (code, document["secondJudge"]) == (0, "confirmed"), document


def test_an_agreement_that_is_made_up_is_not_confirmed(
    twice_judged: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = twice_judged.copy(tmp_path / "bundle")
    seal_again(bundle, twice_judged.signer, agreeing)
    stated = agreement_of(bundle)
    assert stated.agreed == stated.points
    receipt = json.loads(Bundle(bundle).receipt_envelope.payload)
    receipt["predicate"]["judgeAgreement"] = stated.to_wire()
    BundleWriter(bundle).write_receipt(sign(receipt, twice_judged.signer))
    # How often they disagree is the plan's luck; the agreement is off by twice ε, at the least.
    honest = agreement_of(twice_judged.bundle)
    assert honest.agreed <= honest.points * 0.9
    code, checks = verified(twice_judged, bundle, receipts)
    assert (code, checks["judge-agreement"]["status"]) == (0, "passed")  # nothing else shows it
    code, document = audited(twice_judged, bundle, receipts, "0.05")
    assert (code, document["verdict"]) == (5, "inconclusive")
    assert document["secondJudge"] == "inconclusive"
    assert {rate["verdict"] for rate in document["conditions"]} == {"confirmed"}
    words = ("--trust", twice_judged.key, "--trust-auditor", twice_judged.folder / "auditor.pub")
    again = json.loads(receipts("verify", bundle, *words, "--json").out)
    assert {one["secondJudge"] for one in again["audits"]} == {"inconclusive"}
    assert not any(c["status"] == "failed" for c in again["checks"])


def test_what_both_judges_say_of_a_false_record_is_no_agreement(twice_judged: Event) -> None:
    """An evaluator could make the first label false, or the text, so that they agree."""
    case = twice_judged.subject()
    loaded = loaded_stack(twice_judged.resolved)
    judge, agreement = loaded.stack.second_judge, case.receipt.judge_agreement
    assert judge is not None
    assert agreement is not None
    terms = terms_of(case, AuditOptions(epsilon="0.2"), "5e" * 32)
    agreed = [
        (point, record)
        for point, record in twice_judged.entries()
        if record.second_judge is not None and record.second_judge.outcome is record.outcome
    ][:8]
    asked = SecondOpinion(judge, case.renderer)
    honest = ask_again(agreed, agreement, terms, asked)
    assert (honest.draws, honest.contradicted) == (8, ())
    false = {agreed[number - 1][0].id for number in (2, 5)}
    assert ask_again(agreed, agreement, terms, asked, false).contradicted == (2, 5)


def test_an_agreement_that_so_few_points_cannot_confirm_is_told_before_the_announcement(
    twice_judged: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = twice_judged.copy(tmp_path / "bundle")
    who = ("--key", twice_judged.folder / "auditor", "--artifacts", twice_judged.resolved.file)
    given = ("--epsilon", "0.2", *CPU, "--dry-run")
    enough = receipts("audit", bundle, *who, *given)
    assert (enough.code, "second judge" in enough.out) == (0, False)
    few = receipts("audit", bundle, *who, *given, "--identity-points", "3")
    assert few.code == 0
    assert "the second judge's agreement, and so the audit as a whole, is unlikely" in few.out
    document = json.loads(
        receipts("audit", bundle, *who, *given, "--identity-points", "3", "--json").out
    )
    assert document["secondJudge"] == {"leastDraws": None, "medianDraws": None}


def test_an_agreement_off_by_epsilon_is_confirmed_no_more_often_than_the_risk(
    twice_judged: Event,
) -> None:
    """Simulated: so many of the recorded agreements are false, drawn in a random order."""
    terms = terms_of(twice_judged.subject(), AuditOptions(epsilon="0.05"), "5e" * 32)
    agreement = JudgeAgreement(points=2000, agreed=1800, second_unscored=0)
    test = agreement_test(agreement, terms)
    assert (test.recorded, test.hidden) == (1800, 100)
    random, repeats, found = Random(7), 1000, Counter[AuditVerdict]()
    for _ in range(repeats):
        false = set(random.sample(range(1, 1801), test.hidden))
        order = random.sample(range(1, 1801), 180)
        wrong = [number for number, one in enumerate(order, start=1) if one in false]
        found[second_verdict(agreement, terms, len(order), wrong).verdict] += 1
    risk = 0.05
    assert found[AuditVerdict.CONFIRMED] <= repeats * (risk + 3 * sqrt(risk * 0.95 / repeats))
    assert second_verdict(agreement, terms, 180, []).verdict is AuditVerdict.CONFIRMED
