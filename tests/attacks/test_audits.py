"""What verification cannot stop: falsehoods sealed with the true key, other models.

Every audit here is a real one but for its replays, which are made once for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from attacks import records, swaps
from attacks.audits import Challenges, Record, Terms, agree, conduct_audits, replay, simulate
from attacks.subject import CONTROLS, SECOND_SOURCE, SMALL, Subject

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.model.audit import AuditVerdict, Direction
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

Honest = Any
Attack = Callable[[Subject, Sequence[Entry], records.Target], list[Entry]]

EPSILON, ALPHA = 0.05, 0.05
AUDITS = 40
"""Of each record, enough to see what happens often; benchmarks/detection.py counts hundreds."""
MANY = [f"{number:064x}" for number in range(100)]
"""Nonces where a seldom event is counted."""
NONCES = MANY[:AUDITS]
ALLOWED = AUDITS * (ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / AUDITS))
"""Confirmations of a rate that is off by ε or more: α and three standard errors."""

CHANGED: dict[str, Attack] = {
    "flipped labels": records.flipped,
    "a laxer judge": records.laxly_judged,
    "edited responses": records.edited,
    "responses stopped early": records.stopped_early,
}
UNCONFIRMABLE: dict[str, Attack] = {
    "called unscored": records.unscored,
    "called failed": records.failed,
    "emptied responses": records.emptied,
}


def changed(honest: Honest, attack: Attack, times: float = 2) -> Record:
    """Return a record changed in its worst condition by so many times ε, replayed."""
    where = records.target(honest.subject, honest.entries, times * EPSILON, up=times >= 1)
    return replayed(honest, attack(honest.subject, honest.entries, where))


def replayed(honest: Honest, entries: list[Entry]) -> Record:
    """Replay what differs from the honest record, in fp32."""
    replayer = honest.subject.replayer(honest.engine, Terms().limits)
    return replay(replayer, entries, honest.record)


def audited(
    honest: Honest,
    record: Record,
    folder: Path,
    terms: Terms | None = None,
    nonces: Sequence[str] = NONCES,
) -> Counter[AuditVerdict]:
    """Seal a record, verify it, audit it often; return how often each verdict came."""
    bundle = sealed(honest, record, folder)
    found = conduct_audits(honest.subject, bundle, record, terms or Terms(), nonces)
    return Counter(verdict for verdict, _ in found)


def sealed(honest: Honest, record: Record, folder: Path) -> Path:
    """Seal a record; no check of it fails, unless a label is not the rule's."""
    bundle = folder / "record"
    honest.subject.seal(bundle, record.entries, honest.engine)
    trust = TrustSet([honest.subject.signer.public])
    held_artifacts = HeldArtifacts(honest.subject.resolved, points=None)
    found = verify_bundle(Bundle(bundle), evaluators=trust, held_artifacts=held_artifacts)
    judge = honest.subject.judge
    false = any(
        r.text and judge.judge_many([Exchange("", r.text)])[0].outcome is not r.outcome
        for _, r in record.entries
    )
    assert [c.name for c in found.checks if c.status is CheckStatus.FAILED] == ["labels"] * false
    return bundle


@pytest.mark.parametrize("name", CHANGED)
def test_a_rate_understated_by_twice_epsilon_is_confirmed_no_more_often_than_the_risk(
    name: str, honest: Honest, tmp_path: Path
) -> None:
    """Were the judge a model, whose label of a text is no proof."""
    verdicts = audited(honest, changed(honest, CHANGED[name]).by_a_model(), tmp_path)
    assert verdicts[AuditVerdict.CONFIRMED] <= ALLOWED


@pytest.mark.parametrize("name", ["flipped labels", "a laxer judge"])
def test_one_label_that_the_judge_s_rule_does_not_give_refutes(
    name: str, honest: Honest, tmp_path: Path
) -> None:
    """However small the error of the rate: here it is below what is tolerated."""
    record = changed(honest, CHANGED[name], times=0.5)
    verdicts = audited(honest, record, tmp_path)
    false = sum(one.ruled_out for one in record.replayed.values())
    assert false >= EPSILON / 2 * 120
    assert verdicts[AuditVerdict.CONFIRMED] + verdicts[AuditVerdict.REFUTED] == AUDITS
    # Of 240 points these audits look at nearly all.
    assert verdicts[AuditVerdict.REFUTED] >= 0.9 * AUDITS


@pytest.mark.parametrize("name", ["responses stopped early"])
def test_what_contradicts_the_model_beyond_noise_is_refuted(
    name: str, honest: Honest, tmp_path: Path
) -> None:
    verdicts = audited(honest, changed(honest, CHANGED[name]), tmp_path)
    assert verdicts[AuditVerdict.REFUTED] >= 0.9 * AUDITS


@pytest.mark.parametrize("name", UNCONFIRMABLE)
def test_compliances_called_missing_leave_nothing_to_confirm(
    name: str, honest: Honest, tmp_path: Path
) -> None:
    verdicts = audited(honest, changed(honest, UNCONFIRMABLE[name]), tmp_path)
    assert verdicts[AuditVerdict.CONFIRMED] == 0
    if name == "called unscored":  # by a rule, which knows no such label
        assert verdicts[AuditVerdict.REFUTED] == AUDITS


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.BFLOAT16])
def test_a_response_steered_at_a_near_tie_counts_as_what_the_model_would_have_said(
    dtype: Dtype, honest: Honest, tmp_path: Path
) -> None:
    subject = honest.subject
    condition = records.target(subject, honest.entries, EPSILON).condition
    entries = records.steered(subject, honest.engine, honest.entries, condition)
    steered = [p.index for (p, _), (q, _) in zip(entries, honest.entries, strict=True) if p != q]
    # How many lie near a tie is the plan's luck; the rate is off by ε, whatever that comes to.
    planned = subject.counts(honest.entries)[condition].planned
    assert steered
    terms = Terms(auditor=dtype, epsilon=decimal_string(Fraction(len(steered), planned), 4))
    engine = subject.engine(subject.model(dtype=dtype))
    record = replay(subject.replayer(engine, terms.limits, lambda: honest.engine), entries)
    for index in steered:
        one = record.replayed[index]
        assert one.recorded is Outcome.REFUSED
        assert one.label is Outcome.COMPLIED
        assert one.hard is None
        assert one.contradicts(Direction.NOT_UNDERSTATED)
    if dtype is Dtype.BFLOAT16:  # there no margin of the kind is implausible by itself
        assert all(record.replayed[index].implausible is None for index in steered)
    verdicts = audited(honest, record, tmp_path, terms)
    assert verdicts[AuditVerdict.CONFIRMED] <= ALLOWED
    assert verdicts[AuditVerdict.REFUTED] == 0


def test_what_is_off_by_half_of_epsilon_is_within_what_is_tolerated(
    honest: Honest, tmp_path: Path
) -> None:
    record = changed(honest, records.flipped, times=0.5).by_a_model()
    verdicts = audited(honest, record, tmp_path)
    assert verdicts[AuditVerdict.CONFIRMED] >= 0.9 * AUDITS
    assert verdicts[AuditVerdict.REFUTED] == 0


def test_a_model_tuned_to_refuse_is_not_confirmed_and_told_from_the_one_named(
    honest: Honest, tmp_path: Path
) -> None:
    subject = honest.subject
    entries = subject.generate(subject.engine(swaps.fine_tuned(subject)))
    record = replayed(honest, entries)
    assert audited(honest, record, tmp_path)[AuditVerdict.CONFIRMED] <= ALLOWED
    assert simulate(subject, record, Terms(), AUDITS).unidentified == AUDITS


def test_a_model_that_complies_more_is_told_apart_though_no_rate_is_understated(
    honest: Honest, tmp_path: Path
) -> None:
    subject = honest.subject
    entries = subject.generate(subject.engine(swaps.fine_tuned(subject, "filler")))
    stated, true = subject.counts(entries), subject.counts(honest.entries)
    assert all(stated[one].complied > true[one].complied for one in true)
    record = replayed(honest, entries)
    assert audited(honest, record, tmp_path)[AuditVerdict.CONFIRMED] <= ALLOWED
    assert simulate(subject, record, Terms(), AUDITS).unidentified >= 0.9 * AUDITS


def test_a_model_whose_responses_are_the_same_leaves_no_trace_and_harms_no_rate(
    honest: Honest,
) -> None:
    subject = honest.subject
    entries = subject.generate(subject.engine(swaps.rounded(subject, 8)))
    said = [record.response_tokens for _, record in honest.entries]
    same = [r.response_tokens == one for (_, r), one in zip(entries, said, strict=True)]
    assert sum(same) >= 0.95 * len(same)
    record = replayed(honest, entries)
    audits = simulate(subject, record, Terms(), AUDITS)
    assert audits.verdicts[AuditVerdict.CONFIRMED] >= 0.9 * AUDITS


def _few_rows(subject: Subject, model: LoadedModel) -> Any:
    return subject.engine(model, max_rows=8)


def _plain(subject: Subject, model: LoadedModel) -> Any:
    return subject.engine(model, shared=False)


def _written_out(subject: Subject, model: LoadedModel) -> Any:
    return subject.engine(model, kernels=(Kernel.MATH,))


@pytest.mark.parametrize("make", [_few_rows, _plain, _written_out])
def test_an_honest_record_is_confirmed_on_another_way_to_compute(
    make: Callable[[Subject, LoadedModel], Any], honest: Honest, tmp_path: Path
) -> None:
    engine = make(honest.subject, honest.subject.model())
    record = replay(honest.subject.replayer(engine, Terms().limits), honest.entries)
    assert audited(honest, record, tmp_path) == {AuditVerdict.CONFIRMED: AUDITS}


def test_an_honest_record_in_fp32_is_confirmed_in_bf16(honest: Honest, tmp_path: Path) -> None:
    subject, terms = honest.subject, Terms(auditor=Dtype.BFLOAT16)
    engine = subject.engine(subject.model(dtype=Dtype.BFLOAT16))
    replayer = subject.replayer(engine, terms.limits, lambda: honest.engine)
    verdicts = audited(honest, replay(replayer, honest.entries), tmp_path, terms, MANY)
    assert verdicts[AuditVerdict.CONFIRMED] >= 0.95 * len(MANY)
    assert verdicts[AuditVerdict.REFUTED] <= 0.01 * len(MANY)


def test_an_honest_record_in_bf16_is_confirmed_in_fp32(tmp_path: Path) -> None:
    coarse, terms = Dtype.BFLOAT16, Terms(evaluator=Dtype.BFLOAT16)
    subject = Subject(tmp_path, SMALL, coarse)
    engine = subject.engine(subject.model(dtype=coarse))
    entries = subject.generate(engine)
    record = replay(subject.replayer(subject.engine(), terms.limits), entries)
    bundle = tmp_path / "record"
    subject.seal(bundle, entries, engine)
    found = Counter(v for v, _ in conduct_audits(subject, bundle, record, terms, MANY))
    assert found[AuditVerdict.CONFIRMED] >= 0.95 * len(MANY)
    assert found[AuditVerdict.REFUTED] <= 0.01 * len(MANY)


@pytest.mark.parametrize("attack", [None, records.flipped, records.edited, records.unscored])
def test_simulated_audits_end_as_real_ones(
    attack: Attack | None, honest: Honest, tmp_path: Path
) -> None:
    record = honest.record if attack is None else changed(honest, attack, times=1)
    if attack is records.flipped:
        record = record.by_a_model()
    bundle = sealed(honest, record, tmp_path)
    known = Challenges(Bundle(bundle).receipt_envelope.digest, NONCES[:20])
    simulated = simulate(honest.subject, record, Terms(), 20, known)
    real = conduct_audits(honest.subject, bundle, record, Terms(), known.nonces)
    ends = zip(simulated.each, simulated.draws, strict=True)
    for end, real_end in zip(ends, real, strict=True):
        assert agree(end, real_end)


PARTS = {"a source": SECOND_SOURCE, "the benign controls": CONTROLS}


@pytest.mark.parametrize("name", PARTS)
def test_a_rate_of_a_part_off_by_twice_epsilon_is_confirmed_no_more_often_than_the_risk(
    name: str, whole: Honest, tmp_path: Path
) -> None:
    """Neither shows in the rate of its condition by as much, and the controls not at all."""
    where = records.part(whole.entries, 2 * EPSILON, PARTS[name])
    record = replayed(whole, records.flipped(whole.subject, whole.entries, where))
    simulated = simulate(whole.subject, record.by_a_model(), Terms(), AUDITS)
    assert simulated.verdicts[AuditVerdict.CONFIRMED] <= ALLOWED
    bundle = sealed(whole, record, tmp_path)
    known = Challenges(Bundle(bundle).receipt_envelope.digest, NONCES[:5])
    expected = simulate(whole.subject, record.by_a_model(), Terms(), 5, known)
    real = conduct_audits(whole.subject, bundle, record.by_a_model(), Terms(), known.nonces)
    for ends in zip(zip(expected.each, expected.draws, strict=True), real, strict=True):
        assert agree(*ends)
    by_rule = simulate(whole.subject, record, Terms(), AUDITS)
    assert by_rule.verdicts[AuditVerdict.CONFIRMED] == 0


def test_an_agreement_overstated_by_twice_epsilon_is_confirmed_no_more_often_than_the_risk(
    whole: Honest, tmp_path: Path
) -> None:
    """No rate depends on a second judge's labels, and no draw for a rate shows them."""
    record = replayed(whole, records.agreed(whole.entries, 2 * EPSILON))
    simulated = simulate(whole.subject, record, Terms(), AUDITS)
    assert simulated.verdicts[AuditVerdict.CONFIRMED] <= ALLOWED
    assert simulated.verdicts[AuditVerdict.REFUTED] == 0
    bundle = sealed(whole, record, tmp_path)
    known = Challenges(Bundle(bundle).receipt_envelope.digest, NONCES[:5])
    expected = simulate(whole.subject, record, Terms(), 5, known).each
    real = conduct_audits(whole.subject, bundle, record, Terms(), known.nonces)
    assert [verdict for verdict, _ in real] == expected


def test_an_honest_record_with_sources_and_controls_is_confirmed(
    whole: Honest, tmp_path: Path
) -> None:
    bundle = sealed(whole, whole.record, tmp_path)
    known = Challenges(Bundle(bundle).receipt_envelope.digest, NONCES[:10])
    simulated = simulate(whole.subject, whole.record, Terms(), AUDITS, known)
    assert simulated.verdicts == {AuditVerdict.CONFIRMED: AUDITS}
    real = conduct_audits(whole.subject, bundle, whole.record, Terms(), known.nonces)
    assert list(zip(simulated.each, simulated.draws, strict=True))[:10] == list(real)
