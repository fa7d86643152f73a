"""The signed statement that an audit ends with."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final, assert_never

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditTerms,
    AuditVerdict,
    ChallengeKind,
    IdentityTest,
    SecondJudgeVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.check import Check, CheckStatus
from safety_receipts.receipts.model.receipt import DigestReference, Environment, EvaluationPredicate
from safety_receipts.receipts.model.statement import (
    AUDIT_TYPE,
    STATEMENT_TYPE,
    AuditStatement,
    subject,
)
from safety_receipts.verify.audit.run import AnnouncedAudit, Audit, findings_of, verdict_of
from safety_receipts.verify.audit.statistics.risk_limit import REFUTING_LEVEL
from safety_receipts.verify.audit.statistics.scope import claim_words, scope_of
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import MAX_DETAIL


@dataclass(frozen=True)
class AuditDetails:
    """What an audit tells of itself beside its draws."""

    identity: IdentityTest | None
    """The model-identity test; None: not made."""
    checks: Sequence[Check]
    """What was and was not checked besides."""
    environment: Environment
    """What the points were replayed with."""
    second_judge: SecondJudgeVerdict | None
    """What asking the second judge again said; None: there is none, or it was not asked."""
    known_starts: int
    """Audits of this receipt that the auditor announced, this one included."""
    beacon_value: str | None = None
    """What the named beacon round said."""
    beacon_signature: str | None = None
    """The signature of that round; None: it is not at hand."""


def audit_statement(
    announced: AnnouncedAudit, audit: Audit, receipt: EvaluationPredicate, details: AuditDetails
) -> AuditStatement:
    """Return the unsigned statement of an audit."""
    terms = announced.terms
    verdict = verdict_of(audit, details.identity, details.second_judge)
    predicate = AuditPredicate(
        **{name: getattr(terms, name) for name in AuditTerms.model_fields},
        start=DigestReference(digest=announced.envelope.digest),
        known_starts=details.known_starts,
        beacon_value=details.beacon_value,
        beacon_signature=details.beacon_signature,
        finished_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        verdict=verdict,
        conditions=tuple(claim.verdict(audit.alpha, audit.level) for claim in audit.claims),
        slope_results=(
            tuple(claim.verdict(audit.alpha, audit.level) for claim in audit.slope_claims) or None
        ),
        identity=details.identity,
        drawn=audit.drawn,
        identity_drawn=tuple(one.id for one in audit.identified),
        outcomes=audit.outcomes,
        second_judge=details.second_judge,
        blinding=secrets.token_hex(32),
        points_total=receipt.evidence.size,
        checks=tuple(details.checks),
        environment=details.environment,
        finding_verdicts=findings_of(audit, details.identity, details.second_judge),
        guarantee=guarantee(audit, verdict, details.known_starts),
        assumptions=assumptions(audit),
    )
    return AuditStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", terms.receipt.digest),
        predicate_type=AUDIT_TYPE,
        predicate=predicate,
    )


def guarantee(audit: Audit, verdict: AuditVerdict, known_starts: int) -> str:
    """Return what a verdict means, in plain words."""
    terms = audit.terms
    if verdict is AuditVerdict.REFUTED:
        return _refuted(audit)
    if verdict is AuditVerdict.INCONCLUSIVE:
        said = _NOTHING if terms.rates else _NOTHING_OF_SLOPES
        served = terms.method is AuditMethod.SERVER_SCORES
        return f"{said}  {_SERVERS_REFUTE_NOTHING}" if served else said
    risk = Fraction(terms.alpha) * known_starts
    tried = "" if known_starts == 1 else f" ({known_starts} audits known, at {terms.alpha} each)"
    words = {"not higher": "exceeds the recorded one", "not lower": "lies below the recorded one"}
    directions = " or ".join(dict.fromkeys(words[claim_words(rate)] for rate in terms.rates))
    scope = scope_of(audit.receipt, terms.rates, draws=audit.draws, replayed=audit.points)
    which = f"of {scope.rates[0]:,} audited (the receipt records {scope.rates[1]:,})"
    false = f"If any true rate {which} {directions} by {terms.epsilon} or more"
    if not terms.rates:
        false = f"If {_another_slope(terms)}"
    share = decimal_string(min(Fraction(1), risk), 6).rstrip("0").rstrip(".")
    at_most = f"with probability at most {share}{tried}."
    match terms.method:
        case AuditMethod.REPLAY:
            return (
                f"{false}, truth being "
                f"the pinned judge on responses that the pinned model plausibly emits, this audit "
                f"would have confirmed {at_most}{_of_findings(terms)}"
            )
        case AuditMethod.SERVER_SCORES:
            return (
                f"{false}, truth being "
                "the pinned judge on responses that the server's model plausibly emits by the "
                "log-probabilities that the server gave, this audit would have called it "
                f"consistent {at_most}{_of_findings(terms)}  Nothing ties the server's model to "
                "the named weights."
            )
        case AuditMethod.REGENERATE:
            return (
                f"If any rate {which}, over new responses to all planned points, {directions} by "
                f"{terms.epsilon} or more, this audit would have called it consistent {at_most}"
                f"{_of_findings(terms)}  Nothing ties the recorded responses to the model."
            )
        case _:
            assert_never(terms.method)


def _refuted(audit: Audit) -> str:
    """Return what it means that a receipt is refuted."""
    terms, level = audit.terms, decimal_string(REFUTING_LEVEL, 2)
    if _ruled_out(audit):
        return (
            f"{_ruled_out(audit):,} drawn points have a label that the judge's rule does not give "
            "to the recorded text: the record is false, whatever its rates."
        )
    beyond = "Drawn points contradict the record beyond any numerical noise, too many for"
    if not terms.rates:
        return (
            f"{beyond} fewer than a share of {terms.epsilon} of all outcomes to be false.  A "
            f"receipt of which fewer are would have been refuted with probability at most {level}."
        )
    return (
        f"{beyond} at least one audited rate to be within {terms.epsilon}.  A receipt whose rates "
        f"all are would have been refuted with probability at most {level}."
    )


def _another_slope(terms: AuditStartPredicate) -> str:
    """Return what is not so of a slope that is tested as a whole."""
    names = [test.finding for test in terms.slope_tests or ()]
    return (
        f"{'the' if len(names) == 1 else 'a'} slope of {', '.join(names)}, fitted to true labels, "
        "did not have the recorded sign (of none: did not lie within the margin)"
    )


def _of_findings(terms: AuditStartPredicate) -> str:
    """Return what follows for the findings that an audit is of, spaces first; "": for none."""
    whole = [test.finding for test in terms.slope_tests or ()]
    by_rates = [name for name in terms.findings or () if name not in whole]
    said = ""
    if whole and terms.rates:
        said = f"  The same holds if {_another_slope(terms)}."
    if not by_rates:
        return said
    names = ", ".join(by_rates)
    which = f"the finding {names}" if len(by_rates) == 1 else f"each of the findings {names}"
    return said + (
        f"  The same holds of {which}: one that points another way than it says has at least one "
        "such rate among those that it rests on."
    )


_NOTHING: Final = "Nothing follows: neither do the recorded rates stand, nor are they refuted."
_NOTHING_OF_SLOPES: Final = "Nothing follows: neither is a slope's sign shown, nor is it refuted."
_SERVERS_REFUTE_NOTHING: Final = (
    "Log-probabilities of a server refute nothing, however many responses contradict them: what "
    "answers there may be another model than the one named."
)


def _ruled_out(audit: Audit) -> int:
    outcomes = audit.outcomes
    found = sum(claim.ruled_out for claim in audit.tested)
    return found + (0 if outcomes is None else outcomes.false_labels)


def assumptions(audit: Audit) -> tuple[str, ...]:
    """Return what an audit's verdict rests on."""
    terms = audit.terms
    said = [
        f"Errors of a rate below {terms.epsilon} are not looked for."
        if terms.rates
        else "No rate is audited: labels may be false, but for so many that they turn the slope.",
        "The plan was the only one: without beacon and log a receipt can be the best of several.",
        "The auditor's checkpoint, corpora and judge are those named; their digests were compared.",
        "Queries and demonstrations are those of the plan, not of all that people ask.",
        "Whatever is missing, implausible or ambiguous was counted against the record.",
    ]
    match terms.method:
        case AuditMethod.REPLAY:
            pass
        case AuditMethod.SERVER_SCORES:
            said.append(
                "The server runs the checkpoint that the receipt names, and its log-probabilities "
                "are what that computes: neither was seen."
            )
            if terms.calibration is not None:
                said.append("The calibration is of the auditor's own engines, not of the server.")
        case AuditMethod.REGENERATE:
            said.append(
                "The model that answered is the one that the receipt names, as it was then."
            )
        case _:
            assert_never(terms.method)
    if audit_traits(terms.method).scores and terms.calibration is None:
        said.append(
            "uncalibrated: what is plausible was held to stated limits of the number format, not "
            "to measurements on honest stacks."
        )
    if terms.challenge.kind is ChallengeKind.SELF:
        said.append("The nonce was given by hand: whoever chose it could have chosen the points.")
    return tuple(said)


def replay_checks(audit: Audit, broken: IntegrityError | None = None) -> list[Check]:
    """Return what was and was not checked of the drawn points, and what no replay shows.

    Args:
        audit: The audit.
        broken: What does not follow in a drawn point, which ended it.
    """
    drawn = audit.points
    followed = _check(CheckName.DRAWN_POINTS, CheckStatus.NOT_CHECKED, "none was drawn")
    if broken is not None:
        said = printable(broken.message, MAX_DETAIL)
        followed = _check(CheckName.DRAWN_POINTS, CheckStatus.FAILED, said)
    elif drawn:
        detail = f"prompt, text and commitment of all {drawn:,} follow"
        followed = _check(CheckName.DRAWN_POINTS, CheckStatus.PASSED, detail)
    of_findings = _FINDINGS if audit.terms.findings is None else _AUDITED_FINDINGS
    traits = audit_traits(audit.terms.method)
    untied = []
    if traits.caveat is not None:
        detail = f"{traits.how}: {traits.caveat}"
        untied = [_check(CheckName.RESPONSES, CheckStatus.NOT_CHECKED, detail)]
    if not traits.scores:
        return [*untied, of_findings] if broken is None else [followed, *untied, of_findings]
    calibrated = audit.terms.calibration is not None
    return [
        followed,
        *untied,
        _check(
            CheckName.CALIBRATION,
            CheckStatus.PASSED if calibrated else CheckStatus.NOT_CHECKED,
            "the auditor's own" if calibrated else "uncalibrated: stated limits",
        ),
        of_findings,
    ]


def _check(name: CheckName, status: CheckStatus, detail: str) -> Check:
    return Check(name=name.value, level=name.level(sealed=True), status=status, detail=detail)


_FINDINGS = _check(
    CheckName.FINDINGS,
    CheckStatus.NOT_CHECKED,
    "confirmed rates say nothing of effects: these need every condition, both ways",
)
_AUDITED_FINDINGS = _check(
    CheckName.FINDINGS,
    CheckStatus.NOT_CHECKED,
    "but for those named, of which there is a verdict: nothing is said of others",
)
