"""The terms of an audit: what an auditor asks for, announces, and goes on with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Final, assert_never

from safety_receipts.receipts.beacon.chains import refuse_settled_round
from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.findings.breakdown.shares import SHARE_PLACES
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import (
    MAX_RATES,
    AuditedRate,
    AuditMethod,
    AuditStartPredicate,
    Budget,
    Challenge,
    ChallengeKind,
    Direction,
    SlopeTest,
    audit_traits,
)
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.receipt import DigestReference
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.runner.engines.served.dialect import dialect_of
from safety_receipts.runner.engines.served.preflight import NO_SCORES, SCORES_HINT
from safety_receipts.runner.run.requests import decoding_of
from safety_receipts.runner.run.seal import TOOL
from safety_receipts.verify.audit.claims import MOST_TICKETS_DRAWN
from safety_receipts.verify.audit.run import AnnouncedAudit, announce, unfinished_audits
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.audit.statistics.findings import breakdowns_of, can_be_audited
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE
from safety_receipts.verify.audit.statistics.scope import (
    directions_of,
    name_of,
    recorded_of,
    recorded_rates,
)
from safety_receipts.verify.audit.statistics.slopes import slope_test, slopes_to_test
from safety_receipts.verify.challenge import new_nonce

IDENTITY_POINTS: Final = 200
"""Points of any outcome that are replayed for the model's identity, unless told otherwise."""


DEFAULT_EPSILON: Final = "0.05"
"""Tolerated error of a rate, unless told otherwise."""


@dataclass(frozen=True)
class AuditOptions:
    """What an auditor asks for."""

    epsilon: str = ""
    """Tolerated error of a rate, an exact decimal; empty: :data:`DEFAULT_EPSILON`, or the breakdown
    point of the findings that are audited by their rates."""
    alpha: str = "0.05"
    """Risk of confirming a rate that is off by that or more, an exact decimal."""
    conditions: tuple[str, ...] = ("*",)
    """Patterns of the conditions whose rates are audited."""
    findings: tuple[str, ...] = ()
    """Names of findings that are audited; none: rates alone.  Slopes are tested as a whole, unless
    a tolerated error is given, within which all rates are asked for; other findings are audited by
    the rates that they rest on, both ways."""
    directions: tuple[Direction, ...] = (Direction.NOT_UNDERSTATED,)
    """Which errors are looked for."""
    max_points: int | None = None
    """Most points to replay; None: no limit."""
    nonce: str | None = None
    """A nonce given by hand; None: a fresh one."""
    beacon: BeaconRound | None = None
    """A beacon round instead of a nonce."""
    auditor: str | None = None
    """Name of the auditor, as free text."""
    pooled: bool = False
    """Whether only the rates over all harmful-role queries are audited, and not those of sources
    and of benign controls."""
    identity_points: int = IDENTITY_POINTS
    """Points of any outcome that are replayed for the model's identity."""
    method: AuditMethod = AuditMethod.REPLAY
    """How drawn points are looked at."""
    new: bool = False
    """Announce another audit although this key announced one on these terms, or left one
    unfinished."""


def terms_of(subject: AuditSubject, options: AuditOptions, nonce: str) -> AuditStartPredicate:
    """Return the announcement that these options make.

    Raises:
        UsageError: A number out of its range, no condition of such a name, or no server that could
            be asked for scores.
        IncompleteError: Responses are to be scored, and the plan pins no weights, or nothing that
            is at hand could score them.
    """
    _refuse_method(subject, options.method)
    slopes = slope_tests_of(subject, options)
    options = of_findings(subject, options, [one.finding for one in slopes])
    for name, text in (("--epsilon", options.epsilon), ("--alpha", options.alpha)):
        if not 0 < Fraction(text) < 1:
            raise UsageError(f"{name} {text}: should lie between 0 and 1")
    ids = [condition.id for condition in subject.receipt.conditions]
    for pattern in options.conditions:
        if not any(fnmatchcase(id_, pattern) for id_ in ids):
            raise UsageError(f"no condition is called {pattern}", hint=f"such as {ids[0]}")
    chosen = [id_ for id_ in ids if any(fnmatchcase(id_, each) for each in options.conditions)]
    rates = _rates(subject, chosen, options)
    _check_size(subject, rates, slopes, options)
    if options.beacon is not None:
        challenge = Challenge(kind=ChallengeKind.BEACON, nonce=None, beacon=options.beacon)
    else:
        kind = ChallengeKind.NONCE if options.nonce is None else ChallengeKind.SELF
        challenge = Challenge(kind=kind, nonce=nonce, beacon=None)
    q = DEFAULT_FLIP_RATE if subject.calibration is None else subject.calibration.flip_rate
    return AuditStartPredicate(
        receipt=DigestReference(digest=subject.digest),
        challenge=challenge,
        epsilon=options.epsilon,
        alpha=options.alpha,
        expected_flip_rate=decimal_string(q, 6),
        calibration=None if subject.calibration is None else subject.calibration.digest,
        budget=Budget(max_points=options.max_points),
        method=options.method,
        identity_points=options.identity_points if audit_traits(options.method).scores else 0,
        findings=options.findings or None,
        slope_tests=tuple(slopes) or None,
        auditor=options.auditor,
        started_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        rates=rates,
        tool=TOOL,
    )


def slope_tests_of(subject: AuditSubject, options: AuditOptions) -> list[SlopeTest]:
    """Return the tests of those of the wanted findings that are slopes, to be tested as a whole.

    Raises:
        UsageError: Points that were not judged could turn one alone.
    """
    if options.epsilon or not audit_traits(options.method).scores:
        return []
    slopes, tests = slopes_to_test(subject.receipt), []
    for name in dict.fromkeys(options.findings):
        if name not in slopes:
            continue
        test = slope_test(subject.receipt, slopes[name])
        if test is None:
            raise _cannot_be_audited(name)
        tests.append(test)
    return tests


def of_findings(
    subject: AuditSubject, options: AuditOptions, whole: Collection[str] = ()
) -> AuditOptions:
    """Return the options that an audit of findings comes to: whose rates, which way, within what.

    Args:
        subject: The receipt.
        options: What the auditor asks for.
        whole: Those that are tested as a whole, and need no rates.

    Raises:
        UsageError: There is no such finding, or none that could be audited so.
    """
    if not options.findings:
        return options if options.epsilon else replace(options, epsilon=DEFAULT_EPSILON)
    names = tuple(dict.fromkeys(options.findings))
    found = breakdowns_of(subject.receipt)
    chosen = [_auditable(name, found) for name in names if name not in whole]
    shares = [Fraction(one.share or 0) for one in chosen]
    least = decimal_string(min(shares), SHARE_PLACES) if shares else DEFAULT_EPSILON
    epsilon = options.epsilon or least
    for one in chosen:
        if not can_be_audited(one, Fraction(epsilon)):
            raise UsageError(
                f"--epsilon {epsilon}: the finding {one.finding} stands false labels in at most "
                f"{one.share} of the points of a condition",
                hint=f"give --epsilon {one.share} or less, or leave it out",
            )
    wanted = {id_ for one in chosen for id_ in one.conditions}
    ids = tuple(one.id for one in subject.receipt.conditions if one.id in wanted)
    return replace(
        options,
        findings=names,
        epsilon=epsilon,
        conditions=ids,
        directions=tuple(Direction),
        pooled=True,
    )


def _auditable(name: str, found: Mapping[str, FindingBreakdown]) -> FindingBreakdown:
    """Return a finding's breakdown point.

    Raises:
        UsageError: There is none, or it is 0.
    """
    one = found.get(name)
    if one is None:
        known = ", ".join(found) or "none"
        raise UsageError(
            f"the receipt has no finding {name!r} that could be audited",
            hint=f"those that could: {known}",
        )
    if one.share is None or not Fraction(one.share):
        raise _cannot_be_audited(name)
    return one


def _cannot_be_audited(name: str) -> UsageError:
    return UsageError(
        f"the finding {name} cannot be audited: points that were not judged, or fewer than one "
        "false label in a thousand, could turn it around",
    )


def _refuse_method(subject: AuditSubject, method: AuditMethod) -> None:
    """Refuse a method that the receipt, or what the auditor has, does not allow.

    Raises:
        UsageError, IncompleteError: As :func:`terms_of`.
    """
    folder, sampling = subject.bundle.folder, subject.plan.sampling
    if audit_traits(method).scores and sampling.drawn_by_server:
        raise IncompleteError(
            "a server drew the responses with noise of its own, which no replay gives again: "
            "nothing says of a drawn token that it is the one",
            file=folder,
            hint="compare rates with --regenerate; a greedy run can be replayed",
        )
    match method:
        case AuditMethod.REPLAY:
            if not subject.plan.checkpoint.files:
                raise IncompleteError(
                    "the plan lists no files of the model: there is nothing to compare weights "
                    "with",
                    file=folder,
                    hint="compare rates with --regenerate",
                )
        case AuditMethod.SERVER_SCORES:
            decoding = decoding_of(sampling)
            if not decoding.greedy or decoding.repetition_penalty is not None:
                what = "penalised" if decoding.greedy else "drawn"
                raise IncompleteError(
                    f"a server's log-probabilities do not say of {what} tokens that they are the "
                    "ones",
                    file=folder,
                    hint="replay them with your own engine, without --score-by-server",
                )
            if subject.server is None:
                raise UsageError(
                    "--score-by-server needs a server, and the plan file names none",
                    file=subject.resolved.file,
                    hint="name it under engine, as {kind: http, dialect: vllm, url: …}, or audit "
                    "with your own engine",
                )
            if not dialect_of(subject.server.dialect).scores:
                raise UsageError(NO_SCORES, file=subject.resolved.file, hint=SCORES_HINT)
        case AuditMethod.REGENERATE:
            pass
        case _:
            assert_never(method)


MAX_DRAWN: Final = 400_000
"""Most points that an audit may come to draw: a statement of more is longer than readers accept."""


def _rates(
    subject: AuditSubject, chosen: Sequence[ConditionId], options: AuditOptions
) -> tuple[AuditedRate, ...]:
    """Return every rate to be audited, in each direction, in the order of the receipt.

    Raises:
        UsageError: They are more than an announcement holds.
    """
    results = {each.id: each for each in subject.receipt.conditions if each.id in set(chosen)}
    found = []
    for name in recorded_rates(subject.receipt.queries, subject.receipt.conditions):
        if name.condition not in results or (options.pooled and (name.source or name.control)):
            continue
        recorded = recorded_of(name, results[name.condition])
        assert recorded is not None  # as it is one of the receipt's
        found += [
            AuditedRate(
                condition=name.condition,
                direction=direction,
                source=name.source,
                control=True if name.control else None,
            )
            for direction in directions_of(options.directions, recorded)
        ]
    if len(found) > MAX_RATES:
        raise UsageError(
            f"{len(found):,} rates are more than the {MAX_RATES:,} that one audit takes",
            hint="audit fewer --conditions at a time, or give --rates conditions",
        )
    return tuple(found)


def _check_size(
    subject: AuditSubject,
    rates: Sequence[AuditedRate],
    slopes: Sequence[SlopeTest],
    options: AuditOptions,
) -> None:
    results = {each.id: each for each in subject.receipt.conditions}
    most = options.max_points
    if most is None:
        found = (recorded_of(name_of(rate), results[rate.condition]) for rate in rates)
        most = sum(one.counts.planned for one in found if one is not None)
        most += sum(min(one.recorded, MOST_TICKETS_DRAWN) for one in slopes)
    if most + options.identity_points > MAX_DRAWN:
        raise UsageError(
            f"up to {most + options.identity_points:,} draws could be made; a statement holds "
            f"{MAX_DRAWN:,}",
            hint="give --max-points, or audit fewer --conditions or findings at a time",
        )


@dataclass(frozen=True)
class RequestedTerms:
    """Terms that an announcement has to have, to be the one that an auditor asks for."""

    terms: AuditStartPredicate
    """What a new announcement would say."""
    challenge: bool
    """Whether its challenge was asked for: which nonce was announced need not be said again."""

    def met_by(self, terms: AuditStartPredicate) -> bool:
        """Say whether these are the terms, the time of the announcement aside."""
        return not list(self._unmet(terms))

    def differences(self, terms: AuditStartPredicate) -> list[str]:
        """Return in what terms differ from those asked for, as a user would ask for them."""
        return list(dict.fromkeys(_term(name, terms) for name in self._unmet(terms)))

    def _unmet(self, terms: AuditStartPredicate) -> Iterator[str]:
        fields = (*_FIXED, "challenge") if self.challenge else _FIXED
        return (name for name in fields if _compared(terms, name) != _compared(self.terms, name))


def _compared(terms: AuditStartPredicate, name: str) -> object:
    """Return a term as it is compared.

    Of tests of slopes their names: what tickets they draw is the announcement's, and verified as
    such, and another machine's last bits may differ.
    """
    if name == "slope_tests":
        return [test.finding for test in terms.slope_tests or ()]
    return getattr(terms, name)


def _term(name: str, terms: AuditStartPredicate) -> str:
    """Return a term of an announcement as the option that asks for it."""
    most, calibration = terms.budget.max_points, terms.calibration
    words = {
        "rates": _rate_words(terms),
        "findings": _finding_words(terms),
        "slope_tests": _finding_words(terms),
        "budget": "no --max-points" if most is None else f"--max-points {most}",
        "method": _METHODS[terms.method],
        "challenge": f"a challenge by {terms.challenge.kind.value}",
    }
    held = "no --calibration" if calibration is None else f"--calibration {calibration[:12]}…"
    words |= dict.fromkeys(("calibration", "expected_flip_rate"), held)
    return words.get(name) or f"--{name.replace('_', '-')} {getattr(terms, name)}"


def _finding_words(terms: AuditStartPredicate) -> str:
    whole = {test.finding for test in terms.slope_tests or ()}
    words = [
        f"--finding {printable(name)}{'' if name in whole else ' by its rates'}"
        for name in terms.findings or ()
    ]
    return ", ".join(words) or "no --finding"


_METHODS: Final = {
    AuditMethod.REPLAY: "neither --regenerate nor --score-by-server",
    AuditMethod.SERVER_SCORES: "--score-by-server",
    AuditMethod.REGENERATE: "--regenerate",
}
"""The option that asks for each method."""


def _rate_words(terms: AuditStartPredicate) -> str:
    ids = list(dict.fromkeys(rate.condition for rate in terms.rates))
    directions = sorted({rate.direction.value.replace("_", " ") for rate in terms.rates})
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    pooled = not any(rate.source or rate.control for rate in terms.rates)
    return (
        f"{counted(len(terms.rates), 'rate')} of {', '.join(ids[:_NAMED])}{more}, "
        f"{' and '.join(directions)}{', --rates conditions' if pooled else ''}"
    )


_NAMED: Final = 3
"""Conditions named of an announcement."""


def requested_terms(subject: AuditSubject, options: AuditOptions) -> RequestedTerms:
    """Return the terms that these options ask for.

    Raises:
        UsageError, IncompleteError: As :func:`terms_of`.
    """
    given = options.nonce is not None or options.beacon is not None
    return RequestedTerms(terms_of(subject, options, options.nonce or "0" * 64), challenge=given)


def begin(
    subject: AuditSubject,
    options: AuditOptions,
    signer: Signer,
    out: Path,
    *,
    beacon_value: str | None = None,
) -> tuple[AnnouncedAudit, bool]:
    """Announce an audit, or find the announcement of one that is not finished.

    Args:
        subject: The receipt.
        options: What the auditor asks for.
        signer: Signs it.
        out: The folder whose ``audits`` it lies in.
        beacon_value: What the round of an audit announced before said.

    Returns:
        The announcement, and whether it was there before.

    Raises:
        UsageError: An unfinished one has other terms: it counts, finished or not.  Or the
            round of one to be announced is out: its draws could have been looked at.
        FileAccessError: The folder cannot be written.
    """
    unfinished = unfinished_audits(subject.digest, signer, [subject.bundle.folder, out])
    if options.new or not unfinished:
        if beacon_value is not None:
            raise UsageError(
                "the round of an audit to be announced must lie ahead",
                hint="announce it without --beacon-value, and give the value when it is out",
            )
        if options.beacon is not None:
            refuse_settled_round(options.beacon.chain, options.beacon.round, datetime.now(UTC))
        return announce(
            terms_of(subject, options, options.nonce or new_nonce()), signer, out
        ), False
    wanted = requested_terms(subject, options)
    for start in unfinished:
        if wanted.met_by(start.terms):
            return start, True
    first = unfinished[0]
    raise UsageError(
        f"audit {first.envelope.digest[:12]}… of this receipt was announced on other terms "
        f"({', '.join(wanted.differences(first.terms))}) and has no result",
        file=out,
        hint="finish it with its terms, or announce another with --new; unfinished audits count",
    )


_FIXED = (
    "findings",
    "slope_tests",
    "epsilon",
    "alpha",
    "expected_flip_rate",
    "calibration",
    "budget",
    "method",
    "identity_points",
    "rates",
)
"""What decides an audit, beside its challenge."""
