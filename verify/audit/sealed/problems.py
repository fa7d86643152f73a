"""In what does an audit contradict itself, its announcement or the receipt?

Of both forms of a result, by what it states alone; what follows from its draws is recomputed in
:mod:`verify.audit.sealed.arithmetic`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from fractions import Fraction
from itertools import zip_longest
from typing import Final, TypeAlias, overload

from safety_receipts.receipts.beacon.chains import CHAINS, stated_moment
from safety_receipts.receipts.beacon.rounds import check_round
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    ChallengeKind,
    PublicAuditPredicate,
    RateFindings,
    SlopeTestVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.audit.statistics.agreement import agreement_test
from safety_receipts.verify.audit.statistics.findings import breakdowns_of, finding_verdicts
from safety_receipts.verify.audit.statistics.hypotheses import (
    IDENTITY_LEVEL,
    hypothesis_of,
    least_identity,
)
from safety_receipts.verify.audit.statistics.outcomes import (
    false_needed,
    generated_points,
    level_of,
)
from safety_receipts.verify.audit.statistics.scope import name_of, recorded_of
from safety_receipts.verify.audit.statistics.slopes import slope_test_problems
from safety_receipts.verify.audit.statistics.verdicts import (
    possible_verdicts,
    rate_verdict,
    tested_verdicts,
    whole_verdict,
)

Result: TypeAlias = AuditPredicate | PublicAuditPredicate

_ROUNDING: Final = Fraction(1, 10**9)
"""By how much a p-value may be rounded up."""


def start_problems(start: AuditStartPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in an announcement makes no audit of a receipt."""
    yield from terms_problems(start)
    if not start.rates and not start.slope_tests:
        yield "announces nothing to be tested"
    yield from _slope_announcements(start, receipt)
    results = {each.id: each for each in receipt.conditions}
    for rate in start.rates:
        if rate.condition not in results:
            yield "announces conditions that the receipt does not have"
        elif recorded_of(name_of(rate), results[rate.condition]) is None:
            yield f"announces a rate that the receipt does not record: {name_of(rate)}"


def terms_problems(terms: AuditTerms) -> Iterator[str]:
    """Yield what in an audit's terms makes no audit."""
    for name, share in (("epsilon", terms.epsilon), ("alpha", terms.alpha)):
        if not 0 < Fraction(share) < 1:
            yield f"{name} is {share}: must lie above 0 and below 1"
    challenge = terms.challenge
    beacon = challenge.kind is ChallengeKind.BEACON
    if (challenge.nonce is None) is not beacon or (challenge.beacon is None) is beacon:
        given = "a beacon round and no nonce" if beacon else "a nonce and no beacon round"
        yield f"a challenge of kind {challenge.kind.value} takes {given}"


def _slope_announcements(terms: AuditTerms, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in announced tests of slopes makes none of a receipt's."""
    tests = terms.slope_tests or ()
    names = [test.finding for test in tests]
    if len(set(names)) < len(names) or not set(names) <= set(terms.findings or ()):
        yield "tests a slope twice, or one of a finding that it is not of"
    if tests and not audit_traits(terms.method).scores:
        yield "tests a slope by new responses, which say nothing of recorded outcomes"
    try:
        yield from slope_test_problems(tests, receipt)
    except IntegrityError as error:
        yield error.message


def _round_problems(result: Result, announced: AuditStartPredicate) -> Iterator[str]:
    """Yield what is wrong with the signature of a beacon's round, where there is one."""
    named, value, signature = result.challenge.beacon, result.beacon_value, result.beacon_signature
    if signature is None:
        return
    if named is None or value is None:
        yield "a beacon's signature goes with a challenge of kind beacon, and with no other"
        return
    if check_round(named.chain, named.round, value, signature).status is CheckStatus.FAILED:
        yield "the beacon's signature is not that of the announced round, or not of the value"
    chain, announced_at = CHAINS.get(named.chain), stated_moment(announced.started_at)
    if chain is not None and announced_at is not None and chain.is_out(named.round, announced_at):
        yield "the beacon's round was out when the audit was announced"


def result_problems(
    result: Result, announced: AuditStartPredicate, receipt: EvaluationPredicate
) -> Iterator[str]:
    """Yield what in a result contradicts itself, its announcement or the receipt."""
    yield from terms_problems(result)
    if (result.beacon_value is None) is (result.challenge.kind is ChallengeKind.BEACON):
        yield "a beacon value goes with a challenge of kind beacon, and with no other"
    yield from _round_problems(result, announced)
    for name in AuditTerms.model_fields:
        if getattr(result, name) != getattr(announced, name):
            yield f"{name} is not what was announced"
    tested = Counter((name_of(rate), rate.direction) for rate in result.conditions)
    if tested != Counter((name_of(rate), rate.direction) for rate in announced.rates):
        yield "the rates are not the announced ones"
    tests, found = result.slope_tests or (), result.slope_results or ()
    if [one.finding for one in tests] != [one.finding for one in found]:
        yield "the slopes tested are not the announced ones"
        return
    yield from _count_problems(result, receipt)
    yield from _identity_problems(result)
    yield from _verdict_problems(result)
    yield from _finding_problems(result, receipt)


def missing_problems(result: Result, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what a result does not say that audits have to: nobody may leave out what speaks
    against a record.

    Those of the first version say nothing of outcomes and second judges.
    """
    if not audit_traits(result.method).scores:
        return
    if result.outcomes is None:
        yield "does not state what its replays show about recorded outcomes"
    asks = receipt.judge_agreement is not None and _identified(result)
    if asks and result.second_judge is None:
        yield "did not run the second judge again"


def _drawn(result: Result) -> int:
    return len(result.drawn) if isinstance(result, AuditPredicate) else result.drawn


def _identified(result: Result) -> int:
    if isinstance(result, AuditPredicate):
        return len(result.identity_drawn)
    return result.identity_drawn


def draws_of(result: Result) -> int:
    """Return how many draws an audit made, for rates, slopes and the model's identity."""
    of_slopes = sum(one.draws for one in result.slope_results or ())
    return _drawn(result) + of_slopes + _identified(result)


@overload
def points_replayed(result: AuditPredicate) -> int: ...
@overload
def points_replayed(result: Result) -> int | None: ...
def points_replayed(result: Result) -> int | None:
    """Return how many points an audit replayed, each counted once; None: its form is public."""
    if isinstance(result, AuditPredicate):
        of_slopes = (id_ for one in result.slope_results or () for id_ in one.drawn)
        return len({*result.drawn, *of_slopes, *result.identity_drawn})
    return None


def _count_problems(result: Result, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in an audit's counts fits neither the receipt nor one another."""
    if result.points_total != receipt.evidence.size:
        yield "states another number of points"
    if sum(rate.draws for rate in result.conditions) != _drawn(result):
        yield "the draws of its rates are not the points drawn"
    results = {condition.id: condition for condition in receipt.conditions}
    first = 0
    for rate in result.conditions:
        name = name_of(rate)
        recorded = recorded_of(name, results[rate.id]) if rate.id in results else None
        if recorded is None or rate.recorded_rate != recorded.rate:
            yield f"{name}: not the receipt's rate"
        hard = rate.hard_contradictions
        part = max(rate.implausible, rate.ambiguous, rate.missing, hard)
        if not rate.recorded >= rate.draws >= rate.contradictions >= part or (
            (rate.ruled_out or 0) > hard
        ):
            yield f"{name}: its counts do not fit each other"
        if isinstance(result, AuditPredicate):
            # New responses are asked for point by point, for each of a condition's rates.
            mine = result.drawn[first : first + rate.draws]
            if len(set(mine)) != len(mine):
                yield f"{name}: a point was drawn twice"
            first += rate.draws
    for test, one in zip(result.slope_tests or (), result.slope_results or (), strict=True):
        counts = (test.recorded, one.draws, one.contradictions, one.hard_contradictions)
        fit = sorted(counts, reverse=True) == list(counts)
        if isinstance(one, SlopeTestVerdict):
            fit = fit and len(one.drawn) == one.draws
        if not fit or one.false_labels > one.hard_contradictions:
            yield f"the finding {one.finding}: its counts do not fit each other"


def _identity_problems(result: Result) -> Iterator[str]:
    """Yield what in the model-identity test does not fit the audit or itself."""
    number, identity = _identified(result), result.identity
    twice = isinstance(result, AuditPredicate) and len(set(result.identity_drawn)) != number
    if twice or number > result.identity_points:
        yield "the points of its identity test are not those that were announced"
    if identity is None:
        return
    if not 0 < identity.responses <= number:
        yield "its identity test has other responses than those replayed for it"
    if Fraction(identity.level) != IDENTITY_LEVEL:
        yield f"its identity test is held to a level of {identity.level}"
    if (identity.p_value is None) is not (result.calibration is None):
        yield "its identity test has a p-value exactly if the audit is calibrated"
    if identity.p_value is not None:
        passed = Fraction(identity.p_value) > IDENTITY_LEVEL
        if identity.passed is not passed:
            said = "passed" if identity.passed else "failed"
            yield f"its identity test {said}, at a p-value of {identity.p_value}"


def _whole(result: Result, rates: Collection[AuditVerdict]) -> AuditVerdict:
    """Return what follows from a result's rates and from what it says besides."""
    passed = result.identity is not None and result.identity.passed
    return whole_verdict(
        result.method,
        rates,
        identified=passed and _identified(result) >= least_identity(result.points_total),
        level=level_of(result),
        outcomes=result.outcomes,
        second_judge=result.second_judge,
    )


def _finding_problems(result: Result, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what is said of findings that does not follow from the rates and the receipt."""
    if result.findings is None or result.finding_verdicts is None:
        if result.findings is not None or result.finding_verdicts is not None:
            yield "is not of the findings that it was announced for, or was announced for none"
        return
    try:
        breakdowns, slopes = breakdowns_of(receipt), result.slope_results or ()
    except IntegrityError as error:
        yield error.message
        return
    whole = {one.finding for one in slopes}
    if any(
        name not in breakdowns or not _may_be_audited(breakdowns[name], whole=name in whole)
        for name in result.findings
    ):
        yield "is of a finding that the receipt does not have, or that no audit can be of"
        return
    refuted = [one for one in tested_verdicts(result) if one is AuditVerdict.REFUTED]
    follows = finding_verdicts(
        result.findings,
        breakdowns,
        result.conditions,
        slopes,
        method=result.method,
        epsilon=Fraction(result.epsilon),
        sound=_whole(result, refuted) is audit_traits(result.method).best,
    )
    for stated, derived in zip_longest(result.finding_verdicts, follows):
        if stated != derived:
            named = derived if stated is None else stated
            yield f"finding {named.finding}: its breakdown point or verdict does not follow"


def _may_be_audited(found: FindingBreakdown, *, whole: bool) -> bool:
    """Say whether an audit can be of a finding: by its rates, or as a whole."""
    return found.share is not None and (whole or Fraction(found.share) > 0)


def _verdict_problems(result: Result) -> Iterator[str]:
    rates = tested_verdicts(result)
    for verdict in (*rates, result.verdict):
        if verdict not in possible_verdicts(result.method):
            yield f"{verdict.value}, which no audit by {result.method.value} can say"
    passed = result.identity is not None and result.identity.passed
    least = least_identity(result.points_total)
    identified = passed and _identified(result) >= least
    follows = _whole(result, rates)
    if result.verdict is not follows:
        few = f", which takes {least} points" if passed and not identified else ""
        yield (
            f"{result.verdict.value} as a whole, but {follows.value} follows from its rates and "
            f"the model's identity{few}"
        )


def public_problems(public: PublicAuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what in a public form does not follow from its own counts and p-values.

    Nobody can compute these again without the draws, so they are the auditor's word.

    Args:
        public: One whose ε and α lie above 0 and below 1, and whose counts fit each other.
        receipt: The receipt it is about.
    """
    results = {condition.id: condition for condition in receipt.conditions}
    if not audit_traits(public.method).scores:
        yield "it asks for new responses, and such an audit has no public form"
    if public.identity_drawn > public.points_total:
        yield "the points of its identity test are more than the receipt has"
    for rate in public.conditions:
        recorded = recorded_of(name_of(rate), results[rate.id]) if rate.id in results else None
        if recorded is None:
            continue
        tested = hypothesis_of(recorded.counts, rate.direction, public)
        if (rate.recorded, rate.hidden) != (tested.recorded, tested.hidden):
            yield f"{name_of(rate)}: drawn from other numbers of points than the receipt counts"
        elif rate.verdict not in _possible(
            public, rate, trivial=tested.trivial, of=tested.testable
        ):
            yield f"{name_of(rate)}: {rate.verdict.value} does not follow from its p-values"
    for one in public.slope_results or ():
        follows = rate_verdict(
            public.method,
            refuted=bool(one.false_labels),
            confirmed=Fraction(one.p_value) <= Fraction(public.alpha),
        )
        if one.verdict is not follows:
            yield f"the finding {one.finding}: {one.verdict.value} does not follow from its p-value"
    yield from _public_outcomes(public, receipt)


def _possible(
    public: PublicAuditPredicate, rate: RateFindings, *, trivial: bool, of: bool
) -> set[AuditVerdict]:
    """Return the verdicts that a rate's p-values admit, which are rounded up."""
    p, level = Fraction(rate.refuting_p_value), level_of(public)
    confirmed = trivial or (of and Fraction(rate.p_value) <= Fraction(public.alpha))
    return {
        rate_verdict(
            public.method, refuted=bool(rate.ruled_out) or (of and refuted), confirmed=confirmed
        )
        for refuted in (p <= level, p - _ROUNDING < level)
    }


def _public_outcomes(public: PublicAuditPredicate, receipt: EvaluationPredicate) -> Iterator[str]:
    found, second = public.outcomes, public.second_judge
    if found is not None:
        recorded = generated_points(receipt)
        hidden = false_needed(recorded, Fraction(public.epsilon))
        if (found.recorded, found.hidden, found.draws) != (
            recorded,
            hidden,
            public.identity_drawn,
        ):
            yield "outcomes: not those of the points replayed for the model's identity"
        hard = found.hard_contradictions
        if not found.draws >= found.contradictions >= hard >= found.false_labels:
            yield "outcomes: its counts do not fit each other"
    if second is None:
        return
    agreement = receipt.judge_agreement
    if agreement is None or agreement.agreed > agreement.points:
        yield "it used a second judge, but the receipt names none"
        return
    test = agreement_test(agreement, public)
    if (second.recorded, second.hidden) != (test.recorded, test.hidden):
        yield "second judge: its counts do not fit the receipt"
        return
    best = audit_traits(public.method).best
    if second.verdict not in (best, AuditVerdict.INCONCLUSIVE) or (
        second.verdict is best and test.hidden <= 0
    ):
        yield f"second judge: {second.verdict.value} does not follow from the receipt"
