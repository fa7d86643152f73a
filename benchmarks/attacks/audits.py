"""Many audits of one record.

Replaying is what costs, so every point of a record is replayed once, and audits are simulated
over what that found: fresh orders, the same tests.  ``simulate`` is quick; ``conduct_audits``
runs audits through :mod:`verify.audit.run` itself, and the two must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from audit_cost import confirming, refuting
from numpy.typing import NDArray

from attacks.subject import Subject
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, decimal_string
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditTerms,
    AuditVerdict,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
)
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Outcome, Point
from safety_receipts.receipts.model.receipt import DigestReference
from safety_receipts.verify.audit.journals.replays import AuditJournal
from safety_receipts.verify.audit.replay import Entry, Replayer, one_by_one
from safety_receipts.verify.audit.run import Audit, AuditEvidence, announce, verdict_of
from safety_receipts.verify.audit.second_opinion import SecondOpinion, ask_again
from safety_receipts.verify.audit.session import AuditorCalibration, AuditSubject, open_case
from safety_receipts.verify.audit.statistics.agreement import second_verdict
from safety_receipts.verify.audit.statistics.hypotheses import kept_outcome
from safety_receipts.verify.audit.statistics.model_identity import (
    IDENTITY_TEST_LEVEL,
    ResponseMargins,
    default_identity_test,
    permutation_p,
    responses_of,
)
from safety_receipts.verify.audit.statistics.outcomes import (
    CONTRADICTED_LEVEL,
    OutcomeTests,
    false_needed,
    refuting_level,
)
from safety_receipts.verify.audit.statistics.plausibility import (
    CalibratedPlausibility,
    DefaultPlausibility,
    MarginStatistics,
    Plausibility,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)
from safety_receipts.verify.audit.statistics.scope import (
    RateName,
    directions_of,
    recorded_of,
    recorded_rates,
)
from safety_receipts.verify.audit.terms import IDENTITY_POINTS, AuditOptions, terms_of
from safety_receipts.verify.challenge import draw_order

PERMUTATIONS = 199
"""Of the identity test in a simulated audit; a real one takes more, at the same level."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Terms:
    """What an audit holds a record to."""

    calibration: AuditorCalibration | None = None
    """The auditor's; None: stated limits."""
    evaluator: Dtype = Dtype.FLOAT32
    """The evaluator's number format."""
    auditor: Dtype = Dtype.FLOAT32
    """The auditor's."""
    epsilon: str = "0.05"
    alpha: str = "0.05"
    identity_points: int = IDENTITY_POINTS
    """Points of any outcome that are replayed for the model's identity."""

    @property
    def limits(self) -> DefaultPlausibility:
        """The stated limits."""
        return DefaultPlausibility.between(self.evaluator, self.auditor)

    @property
    def plausibility(self) -> Plausibility:
        """What is plausible."""
        if self.calibration is None:
            return self.limits
        return CalibratedPlausibility(self.calibration.says)

    @property
    def flip_rate(self) -> Fraction:
        """Share of honest points expected to look contradicted (q)."""
        return DEFAULT_FLIP_RATE if self.calibration is None else self.calibration.flip_rate

    @property
    def honest(self) -> ResponseMargins | None:
        """The calibration's responses; None: there is no calibration."""
        if self.calibration is None:
            return None
        says = self.calibration.says
        return ResponseMargins(
            np.array([float(one) for one in says.clipped]), np.array(says.tokens, np.float64)
        )


@dataclass
class Record:
    """A record with what its replay found."""

    entries: Sequence[Entry]
    """All points in plan order."""
    replayed: Mapping[int, ReplayedPoint]
    """Every generated point, by index."""
    second: Mapping[int, Outcome] = field(default_factory=dict)
    """What the auditor's second judge says of recorded texts, by index, where there is one."""

    def held_to(self, plausibility: Plausibility) -> Record:
        """Return the record with its responses held to something else."""
        return Record(
            self.entries,
            {
                index: one
                if one.statistics is None
                else replace(one, implausible=plausibility.implausible(one.statistics))
                for index, one in self.replayed.items()
            },
            self.second,
        )

    def by_a_model(self) -> Record:
        """Return the record as if its judge were a model: no rule says which labels are false.

        The labels that the replay gives stay, and count against the record as soft ones.
        """
        return Record(
            self.entries,
            {
                index: replace(one, hard=None, ruled_out=False) if one.ruled_out else one
                for index, one in self.replayed.items()
            },
            self.second,
        )


def replay(replayer: Replayer, entries: Sequence[Entry], before: Record | None = None) -> Record:
    """Replay every generated point of a record.

    Args:
        replayer: The auditor's.
        entries: All points.
        before: The same record before some points were changed, replayed by the same
            auditor: what did not change is not replayed again.
    """
    kept = {} if before is None else {p.index: p.commitment for p, _ in before.entries}
    new = [
        (point, record)
        for point, record in entries
        if point.outcome is not Outcome.FAILED and kept.get(point.index) != point.commitment
    ]
    known = {} if before is None else before.replayed
    found = dict(zip((point.index for point, _ in new), replayer.replay(new), strict=True))
    generated = (p.index for p, _ in entries if p.outcome is not Outcome.FAILED)
    return Record(
        entries,
        {i: found[i] if i in found else known[i] for i in generated},
        {} if before is None else before.second,
    )


def twice_judged(subject: Subject, record: Record) -> Record:
    """Return an honest record with what the second judge said of every text."""
    second = {
        point.index: one.second_judge.outcome
        for point, one in record.entries
        if one.second_judge is not None
    }
    return Record(record.entries, record.replayed, second if subject.second else {})


@dataclass
class Audits:
    """What many audits said of one record."""

    each: list[AuditVerdict] = field(default_factory=list)
    """Verdict of each."""
    draws: list[int] = field(default_factory=list)
    """Points that each of them drew for its rates."""
    tokens: list[int] = field(default_factory=list)
    """Tokens of the responses that each replayed for the model's identity."""
    unidentified: int = 0
    """How often these failed the identity test."""

    @property
    def repeats(self) -> int:
        """How many audits."""
        return len(self.each)

    @property
    def verdicts(self) -> Counter[AuditVerdict]:
        """How many ended in each verdict."""
        return Counter(self.each)

    def share(self, verdict: AuditVerdict) -> float:
        """Return the share of audits that end so."""
        return self.verdicts[verdict] / self.repeats


WANTED = (Direction.NOT_UNDERSTATED,)
"""Which error is looked for: of benign controls both."""


@dataclass(frozen=True)
class _Claim:
    """That one rate is not off by ε or more in the direction that flatters."""

    name: RateName
    direction: Direction
    recorded: int
    """Recorded outcomes that could be false (N0)."""
    hidden: int
    """How many of them must be for it to be off (k)."""

    def draws_from(self, point: Point, roles: Mapping[str, QueryRole]) -> bool:
        """Say whether a point can be drawn for it."""
        if point.condition != self.name.condition:
            return False
        if point.outcome is not kept_outcome(self.direction):
            return False
        if self.name.source is not None:
            return point.source == self.name.source
        return (roles[point.source] is QueryRole.BENIGN_CONTROL) is self.name.control


def _claims(subject: Subject, record: Record, terms: Terms) -> list[_Claim]:
    """Return what an audit of all recorded rates claims."""
    results = {one.id: one for one in subject.results(record.entries)}
    epsilon, claims = Fraction(terms.epsilon), []
    for name in recorded_rates(subject.plan.queries, results.values()):
        found = recorded_of(name, results[name.condition])
        assert found is not None
        rate = recorded_rate(found.counts)
        for direction in directions_of(WANTED, found):
            hidden = 0 if rate is None else hidden_needed(found.counts, rate, epsilon, direction)
            claims.append(
                _Claim(name, direction, recorded_outcomes(found.counts, direction), hidden)
            )
    return claims


@dataclass(frozen=True)
class Challenges:
    """What decides the order of draws in some audits of one receipt."""

    receipt: Sha256
    """Its digest."""
    nonces: Sequence[str]
    """One for each audit."""


@dataclass(frozen=True)
class _Course:
    """How a claim goes in each of many audits, int64 [audits]; :data:`_NEVER`: not at all."""

    points: NDArray[np.int64]
    """Indices of its points in the order drawn, [audits, points]."""
    confirmed: NDArray[np.int64]
    """Draws until it is confirmed."""
    refuted: NDArray[np.int64]
    """Draws until it is refuted."""
    given_up: NDArray[np.int64]
    """Draws until nothing can confirm it any more, if nothing speaks of refuting it."""

    @property
    def ends(self) -> NDArray[np.int64]:
        """Draws until nothing more of it is drawn."""
        decided = np.minimum(self.confirmed, self.refuted)
        return np.minimum(np.minimum(decided, self.given_up), self.points.shape[1])


def simulate(
    subject: Subject,
    record: Record,
    terms: Terms,
    repeats: int,
    known: Challenges | None = None,
) -> Audits:
    """Audit a record many times, all rates at once.

    Rates are drawn for in turn, a point each, until all are decided or one is refuted.  (A
    real audit looks at its tests less often, after rounds: it may draw some points more before
    it sees that a rate is refuted, or that nothing can confirm it.)

    Args:
        subject: The study.
        record: The record, held to what is plausible by ``terms``.
        terms: What it is held to.
        repeats: How many audits; their orders are drawn at random, from a fixed seed.
        known: Challenges of the first ones, whose orders follow from them instead.
    """
    random = np.random.default_rng(subject.plan.points)
    claims = _claims(subject, record, terms)
    level = refuting_level(len(claims), outcomes=True)
    announced = AuditTerms(
        receipt=DigestReference(digest=Sha256("0" * 64)),
        challenge=Challenge(kind=ChallengeKind.NONCE, nonce="0" * 64, beacon=None),
        epsilon=terms.epsilon,
        alpha=terms.alpha,
        expected_flip_rate=decimal_string(terms.flip_rate, 6),
        calibration=None,
        budget=Budget(max_points=None),
        method=AuditMethod.REPLAY,
        identity_points=terms.identity_points,
    )
    roles: dict[str, QueryRole] = {one.name: one.role for one in subject.plan.queries}
    courses = []
    for claim in claims:
        by_id = {p.id: p.index for p, _ in record.entries if claim.draws_from(p, roles)}
        points = _points_of(by_id, repeats, random, known)
        courses.append(_course(claim, points, record, terms, level))
    refuted_at = np.stack([c.refuted for c in courses])
    is_refuted = refuted_at <= np.stack([c.confirmed for c in courses])
    first = np.where(is_refuted & (refuted_at < _NEVER), refuted_at, _NEVER).min(axis=0)
    confirmed: NDArray[np.bool_] = np.all([c.confirmed < _NEVER for c in courses], axis=0)
    drawn = np.sum([np.minimum(c.ends, first) for c in courses], axis=0)
    samples = _samples(record, terms, repeats, random, known)
    found = Audits()
    honest = terms.honest
    for audit, sample in enumerate(samples):
        statistics = [s for i in sample if (s := record.replayed[int(i)].statistics) is not None]
        identified = _identified(statistics, terms, honest, audit)
        found.unidentified += not identified
        verdict = AuditVerdict.INCONCLUSIVE
        refuted, contradicted = _outcomes(record, sample, terms, level)
        agrees = _agrees(subject, record, sample, announced)
        if first[audit] < _NEVER or refuted:
            verdict = AuditVerdict.REFUTED
        elif confirmed[audit] and identified and agrees and not contradicted:
            verdict = AuditVerdict.CONFIRMED
        found.each.append(verdict)
        found.draws.append(int(drawn[audit]))
        found.tokens.append(sum(one.tokens for one in statistics))
    return found


def _outcomes(
    record: Record, sample: NDArray[np.int64], terms: Terms, level: Fraction
) -> tuple[bool, bool]:
    """Return whether the points for the model's identity refute, and whether they contradict."""
    drawn = [record.replayed[int(index)] for index in sample]
    wrong = [n for n, one in enumerate(drawn, start=1) if one.contradicts_record]
    hard = [n for n, one in enumerate(drawn, start=1) if one.hard is not None]
    if not wrong:
        return False, False
    generated = len(record.replayed)
    hidden = false_needed(generated, Fraction(terms.epsilon))
    tests = OutcomeTests(generated, hidden, len(drawn), wrong, hard)
    ruled_out = any(one.ruled_out for one in drawn)
    return ruled_out or tests.refuting_p_value <= level, tests.p_value <= CONTRADICTED_LEVEL


def _agrees(subject: Subject, record: Record, sample: NDArray[np.int64], terms: AuditTerms) -> bool:
    """Return whether the second judge's agreement is confirmed, or there is none."""
    agreement = subject.agreement(record.entries)
    if agreement is None:
        return True
    recorded = [record.entries[int(index)][1] for index in sample]
    agreed = [
        one
        for one in recorded
        if one.second_judge is not None and one.second_judge.outcome is one.outcome
    ]
    wrong = [n for n, one in enumerate(agreed, 1) if record.second[one.index] is not one.outcome]
    found = second_verdict(agreement, terms, len(agreed), wrong)
    return found.verdict is AuditVerdict.CONFIRMED


def _samples(
    record: Record,
    terms: Terms,
    repeats: int,
    random: np.random.Generator,
    known: Challenges | None,
) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of the points that each audit replays for the model's identity."""
    by_id = {one.id: index for index, one in record.replayed.items()}
    generated = np.array(list(by_id.values()), dtype=np.int64)
    nonces = [] if known is None else list(known.nonces[:repeats])
    for number in range(repeats):
        order = random.permutation(generated)
        if known is not None and number < len(nonces):
            ids = draw_order(known.receipt, nonces[number], by_id)
            order = np.array([by_id[id_] for id_ in ids], dtype=np.int64)
        yield order[: terms.identity_points]


def _points_of(
    by_id: Mapping[Sha256, int],
    repeats: int,
    random: np.random.Generator,
    known: Challenges | None,
) -> NDArray[np.int64]:
    """Return the indices of a claim's points in the order drawn, [repeats, points]."""
    indices = np.array(list(by_id.values()), dtype=np.int64)
    orders = random.permuted(np.tile(indices, (repeats, 1)), axis=1)
    if known is not None:
        for row, nonce in enumerate(known.nonces[:repeats]):
            orders[row] = [by_id[id_] for id_ in draw_order(known.receipt, nonce, by_id)]
    return orders


def _course(
    claim: _Claim, points: NDArray[np.int64], record: Record, terms: Terms, level: Fraction
) -> _Course:
    never = np.full(len(points), _NEVER)
    if claim.hidden > claim.recorded:
        return _Course(points, np.zeros_like(never), never, never)
    if claim.hidden <= 0:
        return _Course(points[:, :0], never, never, never)
    size = max(record.replayed) + 1
    contradicted, hard = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    ruled_out = np.zeros(size, np.bool_)
    for index in points[0]:
        one = record.replayed[int(index)]
        contradicted[index] = one.contradicts(claim.direction)
        hard[index] = one.hard is not None
        ruled_out[index] = one.ruled_out
    q = float(round(terms.flip_rate, 6))  # as an announcement spells it
    made = confirming(contradicted[points], claim.hidden, q, Fraction(terms.alpha))
    confirmed = np.where(made.ended, made.draws, _NEVER)
    before = np.arange(points.shape[1]) < made.draws[:, np.newaxis]
    nothing_hard = ~(hard[points] & before).any(axis=1)
    given_up = np.where(~made.ended & nothing_hard, made.draws, _NEVER)
    if not hard.any():
        return _Course(points, confirmed, never, given_up)
    against = refuting(hard[points], claim.hidden, level)
    refuted = np.where(against.ended & (given_up == _NEVER), against.draws, _NEVER)
    found = ruled_out[points]
    first = np.where(found.any(axis=1), found.argmax(axis=1) + 1, _NEVER)
    return _Course(points, confirmed, np.minimum(refuted, first), given_up)


def _identified(
    statistics: Sequence[MarginStatistics], terms: Terms, honest: ResponseMargins | None, seed: int
) -> bool:
    if not statistics:
        return False
    if honest is None:
        return default_identity_test(statistics, terms.limits).passed
    return permutation_p(responses_of(statistics), honest, seed, PERMUTATIONS) > IDENTITY_TEST_LEVEL


def agree(simulated: tuple[AuditVerdict, int], real: tuple[AuditVerdict, int]) -> bool:
    """Say whether a simulated and a real audit with the same draws end alike.

    Args:
        simulated: Verdict and number of points drawn.
        real: The same; where nothing is confirmed it may have drawn more, and seen in these
            that a rate is refuted.
    """
    if AuditVerdict.CONFIRMED in (simulated[0], real[0]):
        return simulated == real
    if AuditVerdict.REFUTED in (simulated[0], real[0]):
        return real[0] is AuditVerdict.REFUTED
    return simulated[1] <= real[1]


class _Remembered(AuditJournal):
    """A journal in which every point was replayed before."""

    def __init__(self, record: Record) -> None:
        self.replayed = {one.id: one for one in record.replayed.values()}


def conduct_audits(
    subject: Subject, bundle: Path, record: Record, terms: Terms, nonces: Iterable[str]
) -> Iterator[tuple[AuditVerdict, int]]:
    """Run real audits of a sealed record over what its replay found.

    Args:
        subject: The study; its evaluator's key signs the announcements, too.
        bundle: The sealed record.
        record: The same record, held to what is plausible by ``terms``.
        terms: What it is held to.
        nonces: Of the audits.

    Yields:
        Verdict and number of points drawn for the rates.
    """
    case: AuditSubject = open_case(Bundle(bundle), subject.resolved)
    case.calibration = terms.calibration
    for number, nonce in enumerate(nonces):
        options = AuditOptions(
            epsilon=terms.epsilon,
            alpha=terms.alpha,
            nonce=nonce,
            identity_points=terms.identity_points,
        )
        out = bundle.parent / f"{bundle.name}-audit-{number}"
        announced = announce(terms_of(case, options, nonce), subject.signer, out)
        audit = Audit(announced, case.receipt, AuditEvidence(case.bundle, case.receipt))
        audit.run(nonce, _Remembered(record), one_by_one(_replay_nothing), lambda _, __: None)
        identity = case.identity(audit, terms.auditor, nonce)
        agreement, second = case.receipt.judge_agreement, None
        if agreement is not None and subject.second is not None and audit.identified:
            asked = SecondOpinion(subject.second, case.renderer)
            second = ask_again(audit.sampled(), agreement, audit.terms, asked)
        yield verdict_of(audit, identity, second), len(audit.drawn)


def _replay_nothing(entries: Sequence[Entry]) -> list[ReplayedPoint]:
    raise IntegrityError(f"{len(entries)} points were not replayed before")
