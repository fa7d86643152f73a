"""An event whose responses were judged again, beside the one that generated them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from safety_receipts.receipts.bundle import (
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
)
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.plan import PlanPredicate, Rejudged
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import Environment
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.times.held import SignatureTimes, TimeTerms

JUDGED_AGAIN = ("judge", "judge_server", "second_judge_server", "rejudges")
"""Parts of a plan in which the two events differ."""
_LINE = frozenset({"commitment", "outcome", "reason"})
"""Fields of an evidence line that a judge decides."""
_RECORD = frozenset({"error", "judge", "outcome", "reason", "salt", "second_judge"})
"""Fields of a restricted record that it decides."""


def check_rejudged(
    bundle: Bundle,
    original: Bundle | None,
    trust: TrustSet,
    checks: CheckList,
    terms: TimeTerms,
) -> None:
    """Hold an event that was judged again to the one whose responses it judges.

    Args:
        bundle: The event; its plan's ``rejudges`` names the original.
        original: The original's bundle; None: it is not at hand.
        trust: Keys trusted as evaluators.
        checks: Receives the checks.
        terms: What shows when the original was signed.
    """
    named = bundle.plan.statement.predicate.rejudges
    assert named is not None  # the caller looks
    if original is None:
        checks.skip(
            CheckName.REJUDGED,
            f"says that it judges the responses of receipt {named.receipt} again; only --original "
            "BUNDLE shows that they are its",
        )
        return
    problem = next(_document_problems(bundle, named, original, trust, terms), None)
    if not checks.decide(
        CheckName.ORIGINAL, problem, f"all but the judge is that of receipt {named.receipt[:16]}…"
    ):
        return
    missing = [
        name
        for name in (POINTS_FILE, RESPONSES_FILE)
        for b in (bundle, original)
        if not b.has(name)
    ]
    if POINTS_FILE in missing:
        checks.skip(CheckName.ORIGINAL_POINTS, f"{POINTS_FILE} is not in both bundles")
        return
    try:
        problem = _line_problem(bundle, original)
    except MalformedError as error:
        problem = error.one_line()
    if not checks.decide(CheckName.ORIGINAL_POINTS, problem, "lines are the original's"):
        return
    if missing:
        # Lines say how long responses are, and nothing of what they are.
        checks.skip(CheckName.ORIGINAL_RESPONSES, f"{RESPONSES_FILE} is not in both bundles")
        return
    try:
        problem = _record_problem(bundle, original)
    except MalformedError as error:
        problem = error.one_line()
    told = "prompts and response tokens are the original's"
    checks.decide(CheckName.ORIGINAL_RESPONSES, problem, told)


def _document_problems(
    bundle: Bundle, named: Rejudged, original: Bundle, trust: TrustSet, terms: TimeTerms
) -> Iterator[str]:
    times = SignatureTimes(original, terms)
    for what, file, digest, envelope in (
        ("receipt", RECEIPT, named.receipt, original.receipt_envelope),
        ("plan", PLAN, named.plan, original.plan_envelope),
    ):
        if envelope.digest != digest:
            yield f"the original's {what} is {envelope.digest[:16]}…, {digest[:16]}… is named"
        held = times.sealed(envelope, file, trust)
        if held.problem is not None:
            yield f"no signature on the original's {what} counts: {held.problem}"
        elif len(trust) and not held.counting:
            yield f"no trusted key signed the original's {what}"
    plan, before = bundle.plan.statement.predicate, original.plan.statement.predicate
    receipt, then = bundle.receipt.statement.predicate, original.receipt.statement.predicate
    if before.rejudges is not None:
        yield "the original was judged again itself"
    if then.plan.digest != named.plan:
        yield "the original's receipt names another plan"
    for name in PlanPredicate.model_fields:
        if name not in JUDGED_AGAIN and getattr(before, name) != getattr(plan, name):
            yield f"the plans differ in {name}"
    if then.event.model_copy(update={"id": receipt.event.id}) != receipt.event:
        yield "the event differs"
    if _generating(then.environment) != _generating(receipt.environment):
        yield "the environment differs"


def _generating(environment: Environment) -> Environment:
    """Return an environment without the servers of judges."""
    return environment.model_copy(update={"judge_server": None, "second_judge_server": None})


def _line_problem(bundle: Bundle, original: Bundle) -> str | None:
    root = RootAccumulator()
    for place, (now, then) in enumerate(zip_longest(bundle.points(), original.points())):
        if now is None or then is None:
            return "the original does not have as many points"
        root.append(then.to_line())
        if (name := _differing(now, then, _LINE)) is not None:
            return f"point {place}: {name} is not the original's"
    if root.root().hex() != original.receipt.statement.predicate.evidence.root:
        return "the original's lines do not have its root"
    return None


def _record_problem(bundle: Bundle, original: Bundle) -> str | None:
    """Return in what records differ; the original's are those that its lines commit to."""
    triples = zip_longest(bundle.responses(), original.responses(), original.points())
    for place, (now, then, line) in enumerate(triples):
        if now is None or then is None or line is None:
            return "the original does not have as many records"
        if then.commitment() != line.commitment:
            return f"point {place}: the original's commitment does not open"
        if (name := _differing(now, then, _RECORD)) is not None:
            return f"point {place}: {name} is not the original's"
    return None


def _differing(
    now: Point | RestrictedRecord, then: Point | RestrictedRecord, judged: frozenset[str]
) -> str | None:
    """Return the first field in which two differ, but for those that a judge decides."""
    names = (name for name in type(now).model_fields if name not in judged)
    return next((name for name in names if getattr(now, name) != getattr(then, name)), None)
