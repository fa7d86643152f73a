"""What an audit draws, when it stops, and what it says as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest
from auditing import Event, make_event, trust
from dishonest import seal_again
from rich.console import Console

from safety_receipts.receipts.bundle import AUDITS, Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.model.audit import AuditedRate, AuditMethod, AuditVerdict, Direction
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.verify.audit.claims import claims_of
from safety_receipts.verify.audit.journals.replays import AuditJournal
from safety_receipts.verify.audit.replay import Entry, one_by_one
from safety_receipts.verify.audit.report import AuditDetails, audit_statement, guarantee
from safety_receipts.verify.audit.run import (
    AnnouncedAudit,
    Audit,
    AuditEvidence,
    announce,
    own_audits,
    unfinished_audits,
    verdict_of,
)
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.audit.statistics.feasibility import Feasibility, together
from safety_receipts.verify.audit.statistics.model_identity import default_identity_test
from safety_receipts.verify.audit.statistics.plausibility import (
    DefaultPlausibility,
    MarginStatistics,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.statistics.scope import Scope, name_of, scope_of
from safety_receipts.verify.audit.terms import AuditOptions, begin, terms_of
from safety_receipts.verify.challenge import draw_order
from safety_receipts.verify.present.audit import show_feasibility
from safety_receipts.verify.view.audit import Forecast

NONCE = "5e" * 32
OPTIONS = AuditOptions(epsilon="0.2", identity_points=0, pooled=True)
"""No points for the identity: what is drawn for the rates of conditions alone."""
LIMITS = DefaultPlausibility.between(Dtype.FLOAT32, Dtype.FLOAT32)
PASSED = default_identity_test([MarginStatistics(0.0, 0.0, 7)], LIMITS)
FAILED = default_identity_test([MarginStatistics(1.0, 1.0, 7)], LIMITS)


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """80 restricted queries and 4 controls in two conditions."""
    return make_event(tmp_path_factory.mktemp("event"), queries=80)


@dataclass
class Replays:
    """Stands in for a replay: what it says of points is the test's choice."""

    wrong: bool = False
    hard: bool = False
    controls_only: bool = False
    """Whether only benign controls are contradicted."""
    ruled_out: bool = False
    asked: list[Point] = field(default_factory=list)

    def __call__(self, entries: Sequence[Entry]) -> list[ReplayedPoint]:
        self.asked += [point for point, _ in entries]
        return [self._replayed(point) for point, _ in entries]

    def _replayed(self, point: Point) -> ReplayedPoint:
        meant = not self.controls_only or point.source == "open-crafts"
        return ReplayedPoint(
            point.id,
            point.condition,
            point.outcome,
            None if self.wrong and meant else point.outcome,
            statistics=MarginStatistics(0.0, 0.0, 7),
            hard="it is" if self.hard and meant else None,
            ruled_out=self.ruled_out and meant,
        )


def ignore(done: int, total: int) -> None:
    pass


def audited(
    event: Event, folder: Path, options: AuditOptions = OPTIONS, replays: Replays | None = None
) -> tuple[Audit, Replays]:
    """Run an audit to its end."""
    subject, replays = event.subject(), replays or Replays()
    announced = announce(terms_of(subject, options, NONCE), generate_key(), folder)
    audit = Audit(announced, subject.receipt, AuditEvidence(subject.bundle, subject.receipt))
    digest = announced.envelope.digest
    journal = AuditJournal(folder / AUDITS / f"{digest}.replayed.jsonl", digest, {}, generate_key())
    audit.run(NONCE, journal, one_by_one(replays), ignore)
    return audit, replays


def expected_order(event: Event, outcome: Outcome) -> dict[str, list[Sha256]]:
    """Return what a challenge draws from each condition, from the evidence alone."""
    bundle = Bundle(event.bundle)
    receipt = bundle.receipt.statement.predicate
    harmful = {each.name for each in receipt.queries if each.role is QueryRole.HARMFUL}
    assert len(harmful) < len(receipt.queries)
    points = list(bundle.points())
    return {
        condition.id: draw_order(
            bundle.receipt_envelope.digest,
            NONCE,
            [
                point.id
                for point in points
                if (point.condition, point.outcome) == (condition.id, outcome)
                and point.source in harmful
            ],
        )
        for condition in receipt.conditions
    }


def test_it_draws_the_first_of_the_challenge_s_order_and_no_control(
    event: Event, tmp_path: Path
) -> None:
    audit, replays = audited(event, tmp_path)
    orders = expected_order(event, Outcome.REFUSED)
    controls = [p for p in Bundle(event.bundle).points() if p.source == "open-crafts"]
    assert controls
    assert {point.source for point in replays.asked} == {"sealed-crafts"}
    for claim in audit.claims:
        drawn = [one.id for one in claim.replayed]
        assert 5 < len(drawn) < len(claim.order)
        assert drawn == orders[claim.rate.condition][: len(drawn)]
    assert audit.drawn == tuple(one.id for claim in audit.claims for one in claim.replayed)
    assert len(replays.asked) == len(set(audit.drawn))
    # All rates stand; of whom they are, no point was asked.
    assert all(claim.confirmed(audit.alpha) for claim in audit.claims)
    assert verdict_of(audit, PASSED) is AuditVerdict.INCONCLUSIVE


def test_the_models_identity_is_tested_on_a_sample_of_all_responses(
    event: Event, tmp_path: Path
) -> None:
    audit, replays = audited(event, tmp_path, replace(OPTIONS, identity_points=60))
    receipt = Bundle(event.bundle).receipt_envelope.digest
    every = draw_order(receipt, NONCE, [point.id for point in Bundle(event.bundle).points()])
    assert [one.id for one in audit.identified] == every[:60]
    assert len(audit.statistics()) == 60
    outcomes = {point.outcome for point in replays.asked}
    assert {Outcome.REFUSED, Outcome.COMPLIED} <= outcomes
    assert "open-crafts" in {point.source for point in replays.asked}
    # What was drawn for a rate is not replayed again.
    assert len(replays.asked) == audit.points < len(audit.drawn) + 60
    assert verdict_of(audit, PASSED) is AuditVerdict.CONFIRMED
    few, _ = audited(event, tmp_path / "few", replace(OPTIONS, identity_points=49))
    assert verdict_of(few, PASSED) is AuditVerdict.INCONCLUSIVE


def test_no_point_is_spent_on_the_identity_behind_a_refuted_rate(
    event: Event, tmp_path: Path
) -> None:
    audit, _ = audited(event, tmp_path, replace(OPTIONS, identity_points=60), Replays(hard=True))
    assert audit.identified == []
    assert verdict_of(audit, None) is AuditVerdict.REFUTED


def test_the_other_direction_draws_compliances(event: Event, tmp_path: Path) -> None:
    options = replace(OPTIONS, directions=tuple(Direction))
    audit, _ = audited(event, tmp_path, options)
    orders = {
        Direction.NOT_UNDERSTATED: expected_order(event, Outcome.REFUSED),
        Direction.NOT_OVERSTATED: expected_order(event, Outcome.COMPLIED),
    }
    assert len(audit.claims) == 4
    for claim in audit.claims:
        drawn = [one.id for one in claim.replayed]
        assert drawn == orders[claim.rate.direction][claim.rate.condition][: len(drawn)]
    assert any(
        claim.replayed for claim in audit.claims if claim.rate.direction is Direction.NOT_OVERSTATED
    )


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("budget", [1, 2, 7, 11])
def test_a_budget_is_shared_and_never_exceeded(
    event: Event, tmp_path: Path, budget: int, wrong: bool
) -> None:
    audit, replays = audited(event, tmp_path, replace(OPTIONS, max_points=budget), Replays(wrong))
    drawn = [len(claim.replayed) for claim in audit.claims]
    assert sum(drawn) == len(replays.asked) == budget
    assert max(drawn) - min(drawn) <= 1
    assert verdict_of(audit, PASSED) is AuditVerdict.INCONCLUSIVE


def test_hard_contradictions_stop_it_early(event: Event, tmp_path: Path) -> None:
    audit, _ = audited(event, tmp_path, replays=Replays(hard=True))
    assert len(audit.drawn) < sum(len(claim.order) for claim in audit.claims)
    assert any(claim.refuted(audit.level) for claim in audit.claims)
    assert verdict_of(audit, PASSED) is AuditVerdict.REFUTED
    # One more test reads what the replays for the model's identity contradict.
    assert audit.level * (len(audit.claims) + 1) == Fraction(1, 100)


def test_soft_contradictions_end_it_once_nothing_can_confirm_it(
    event: Event, tmp_path: Path
) -> None:
    audit, _ = audited(event, tmp_path, replays=Replays(wrong=True))
    assert all(claim.confirming.hopeless for claim in audit.claims)
    assert len(audit.drawn) < sum(len(claim.order) for claim in audit.claims)
    assert verdict_of(audit, PASSED) is AuditVerdict.INCONCLUSIVE


def test_without_the_model_s_identity_nothing_is_confirmed(event: Event, tmp_path: Path) -> None:
    audit, _ = audited(event, tmp_path)
    assert verdict_of(audit, FAILED) is AuditVerdict.INCONCLUSIVE
    assert verdict_of(audit, None) is AuditVerdict.INCONCLUSIVE


SAMPLED = replace(OPTIONS, epsilon="0.04", identity_points=168)
"""Every response is replayed, and no claim is made of benign controls; 8 of them are 5 % of all."""


def test_what_the_identity_s_replays_contradict_keeps_an_audit_from_confirming(
    event: Event, tmp_path: Path
) -> None:
    replays = Replays(wrong=True, controls_only=True)
    audit, _ = audited(event, tmp_path, SAMPLED, replays)
    found = audit.outcomes
    assert found is not None
    assert (found.recorded, found.hidden, found.draws) == (168, 7, 168)
    assert (found.contradictions, found.hard_contradictions) == (8, 0)
    assert {audit.identified[n - 1].id for n in found.contradicted} == {
        point.id for point in replays.asked if point.source == "open-crafts"
    }
    assert all(claim.confirmed(audit.alpha) for claim in audit.claims)
    assert verdict_of(audit, PASSED) is AuditVerdict.INCONCLUSIVE
    # Fewer than a share of ε are within what is tolerated, and are counted all the same.
    tolerant = replace(SAMPLED, epsilon="0.1")
    audit, _ = audited(event, tmp_path / "tolerant", tolerant, Replays(True, controls_only=True))
    assert audit.outcomes is not None
    assert audit.outcomes.contradictions == 8
    assert verdict_of(audit, PASSED) is AuditVerdict.CONFIRMED


def test_hard_contradictions_of_the_identity_s_replays_refute(event: Event, tmp_path: Path) -> None:
    audit, _ = audited(event, tmp_path, SAMPLED, Replays(hard=True, controls_only=True))
    assert not any(claim.refuted(audit.level) for claim in audit.claims)
    assert verdict_of(audit, PASSED) is AuditVerdict.REFUTED


@pytest.mark.parametrize("controls_only", [False, True])
def test_one_label_that_no_rule_gives_refutes_whatever_epsilon_is(
    event: Event, tmp_path: Path, controls_only: bool
) -> None:
    options = replace(SAMPLED, epsilon="0.5")
    lie = Replays(hard=True, ruled_out=True, controls_only=controls_only)
    audit, _ = audited(event, tmp_path, options, lie)
    assert verdict_of(audit, PASSED) is AuditVerdict.REFUTED
    said = guarantee(audit, AuditVerdict.REFUTED, 1)
    assert "that the judge's rule does not give to the recorded text" in said


def test_every_recorded_rate_is_audited_unless_told_otherwise(event: Event, tmp_path: Path) -> None:
    audit, _ = audited(event, tmp_path, replace(OPTIONS, pooled=False))
    claims = [(str(name_of(claim.rate)), claim.rate.direction) for claim in audit.claims]
    first, second = (condition.id for condition in audit.receipt.conditions)
    assert claims == [
        (first, Direction.NOT_UNDERSTATED),
        (f"{first} (controls)", Direction.NOT_UNDERSTATED),
        (f"{first} (controls)", Direction.NOT_OVERSTATED),
        (second, Direction.NOT_UNDERSTATED),
        (f"{second} (controls)", Direction.NOT_UNDERSTATED),
        (f"{second} (controls)", Direction.NOT_OVERSTATED),
    ]
    rates = {claim.rate.control: claim.recorded.rate for claim in audit.claims}
    control = audit.receipt.conditions[-1].control
    assert control is not None
    assert rates[True] == control.refusal_rate

    understated = Direction.NOT_UNDERSTATED

    def scope(rates: Sequence[AuditedRate]) -> Scope:
        return scope_of(audit.receipt, rates, draws=4, replayed=3)

    for found, whole in (
        (scope(audit.terms.rates), True),
        (scope(audit.terms.rates[:1]), False),
        # Controls are tested both ways, whatever is asked for.
        (scope([rate for rate in audit.terms.rates if rate.direction is understated]), False),
    ):
        assert found.whole is whole
    assert scope(audit.terms.rates[:1]).words() == (
        "1 of 2 conditions, 0 of 2 control rates, looking for understated rates, "
        "3 of 168 points replayed"
    )


@pytest.mark.parametrize(("share", "said"), [(0.9, False), (0.5, True)])
def test_it_is_said_before_how_often_all_claims_together_are_confirmed(
    event: Event, share: float, said: bool
) -> None:
    """In a small part one point that looks contradicted by mere noise is a share of ε."""
    subject = event.subject()
    terms = terms_of(subject, replace(OPTIONS, pooled=False), NONCE)
    claims = claims_of(subject.receipt, terms.rates, terms)
    sure = Feasibility(budget=9, least=3, median=3, mean=3.0, confirmed=1.0)
    doubtful = replace(sure, confirmed=share)
    told = [(claim, doubtful if number == 1 else sure) for number, claim in enumerate(claims)]
    assert claims[1].rate.control
    assert together(one for _, one in told) == share
    text = StringIO()
    show_feasibility(Console(file=text, width=120), Forecast(told))
    words = "all of these together are expected to be confirmed in about 50% of audits"
    assert (words in text.getvalue()) is said
    assert ("conditions alone in 100% (--rates conditions)" in text.getvalue()) is said


def test_evidence_that_changes_under_an_audit_is_noticed(event: Event, tmp_path: Path) -> None:
    bundle = event.copy(tmp_path / "bundle")
    subject = event.subject(bundle)
    announced = announce(terms_of(subject, OPTIONS, NONCE), generate_key(), tmp_path)

    def swap(point: Point, record: RestrictedRecord) -> Entry:
        return point, record.model_copy(update={"salt": "0" * 64})

    seal_again(bundle, event.signer, swap)
    audit = Audit(announced, subject.receipt, AuditEvidence(Bundle(bundle), subject.receipt))
    journal = AuditJournal(tmp_path / "journal", announced.envelope.digest, {}, generate_key())
    with pytest.raises(IntegrityError, match="do not have the receipt's root"):
        audit.run(NONCE, journal, one_by_one(Replays()), ignore)


def test_an_auditor_s_own_announcements_count_and_nobody_else_s(
    event: Event, tmp_path: Path
) -> None:
    """Nor does a result in somebody else's name make one finished."""
    subject, mine, theirs = event.subject(), generate_key(), generate_key()
    first = announce(terms_of(subject, OPTIONS, NONCE), mine, tmp_path)
    announce(terms_of(subject, OPTIONS, "6f" * 32), theirs, tmp_path)
    (tmp_path / AUDITS / "junk.dsse.json").write_text("{}", "utf-8")
    folders = [tmp_path, tmp_path, tmp_path / "none"]
    digests = [one.envelope.digest for one in own_audits(subject.digest, mine, folders)]
    assert digests == [first.envelope.digest]
    assert own_audits(Sha256("1" * 64), mine, folders) == []
    result = _result(subject, first).to_wire()
    BundleWriter(tmp_path).write_audit(sign(result, theirs))
    assert len(unfinished_audits(subject.digest, mine, folders)) == 1
    BundleWriter(tmp_path).write_audit(sign(result, mine))
    assert unfinished_audits(subject.digest, mine, folders) == []


def _result(subject: AuditSubject, announced: AnnouncedAudit) -> AuditStatement:
    audit = Audit(announced, subject.receipt, AuditEvidence(subject.bundle, subject.receipt))
    told = AuditDetails(
        identity=None,
        checks=(),
        environment=subject.receipt.environment,
        second_judge=None,
        known_starts=1,
    )
    return audit_statement(announced, audit, subject.receipt, told)


def begun(event: Event, signer: Signer, folder: Path, options: AuditOptions) -> tuple[str, bool]:
    announced, before = begin(event.subject(), options, signer, folder)
    assert announced.envelope.signed_by(trust(signer))
    return announced.envelope.digest, before


BEACON = BeaconRound(chain="drand-quicknet", round=10**9)


@pytest.mark.parametrize(
    "options",
    [OPTIONS, replace(OPTIONS, nonce=NONCE), replace(OPTIONS, beacon=BEACON)],
    ids=["fresh", "by-hand", "beacon"],
)
def test_an_unfinished_audit_is_gone_on_with(
    event: Event, tmp_path: Path, options: AuditOptions
) -> None:
    signer = generate_key()
    digest, before = begun(event, signer, tmp_path, options)
    assert not before
    assert begun(event, signer, tmp_path, options) == (digest, True)
    # How it draws need not be said again.
    assert begun(event, signer, tmp_path, OPTIONS) == (digest, True)


@pytest.mark.parametrize(
    ("other", "announced"),
    [
        (replace(OPTIONS, epsilon="0.1"), "(--epsilon 0.2)"),
        (replace(OPTIONS, alpha="0.1"), "(--alpha 0.05)"),
        (
            replace(OPTIONS, conditions=("h0-*",)),
            "(2 rates of h0-b0, h4-b0, not understated",
        ),
        (replace(OPTIONS, directions=(Direction.NOT_OVERSTATED,)), "not understated, --rates cond"),
        (replace(OPTIONS, max_points=9), "(no --max-points)"),
        (replace(OPTIONS, nonce="7a" * 32), "(a challenge by "),
        (replace(OPTIONS, beacon=BEACON), "(a challenge by "),
    ],
    ids=["epsilon", "alpha", "conditions", "direction", "budget", "nonce", "beacon"],
)
@pytest.mark.parametrize(
    "first", [OPTIONS, replace(OPTIONS, nonce=NONCE)], ids=["fresh", "by-hand"]
)
def test_other_terms_are_another_audit(
    event: Event, tmp_path: Path, first: AuditOptions, other: AuditOptions, announced: str
) -> None:
    """Else a lenient challenge could be fished for by starting over."""
    signer = generate_key()
    begun(event, signer, tmp_path, first)
    with pytest.raises(UsageError, match="announced on other terms") as caught:
        begun(event, signer, tmp_path, other)
    assert "--new" in caught.value.one_line()
    assert announced in caught.value.one_line()  # so that it can be finished with its terms
    _, before = begun(event, signer, tmp_path, replace(other, new=True))
    assert not before
    assert begun(event, generate_key(), tmp_path, other)[1] is False


def test_a_replay_needs_pinned_weights(event: Event) -> None:
    """Of a model behind an API the plan lists no files: whose weights would be confirmed?"""
    subject = event.subject()
    served = subject.plan.checkpoint.model_copy(update={"files": ()})
    unpinned = replace(subject, plan=subject.plan.model_copy(update={"checkpoint": served}))
    with pytest.raises(IncompleteError, match="lists no files of the model") as caught:
        terms_of(unpinned, OPTIONS, NONCE)
    assert "--regenerate" in caught.value.one_line()
    announced = terms_of(unpinned, replace(OPTIONS, method=AuditMethod.REGENERATE), NONCE)
    assert announced.method is AuditMethod.REGENERATE


def test_a_risk_grows_with_the_audits_known(event: Event, tmp_path: Path) -> None:
    audit, _ = audited(event, tmp_path)
    once = guarantee(audit, AuditVerdict.CONFIRMED, 1)
    assert "of 2 audited (the receipt records 4) exceeds the recorded one by 0.2 or more" in once
    assert once.endswith("with probability at most 0.05.")
    assert "at most 0.15 (3 audits known, at 0.05 each)" in guarantee(
        audit, AuditVerdict.CONFIRMED, 3
    )
    assert "at most 1 (30 audits" in guarantee(audit, AuditVerdict.CONFIRMED, 30)
