"""From points to a signed receipt.

What the receipt says of the points is computed here, and only from the points and the
plan: :mod:`verify` calls the same functions on the evidence it reads back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from safety_receipts.receipts import merkle
from safety_receipts.receipts.bundle import PLAN, BundleWriter, parse_signed
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.events.coherence import (
    environment_problems,
    event_problems,
    new_plan_problems,
)
from safety_receipts.receipts.events.grid import seed_of
from safety_receipts.receipts.events.servers import resent_problems
from safety_receipts.receipts.evidence import PointChecker, PromptChecker
from safety_receipts.receipts.findings.counts.agreement import AgreementCounter
from safety_receipts.receipts.findings.counts.conditions import baseline_of, condition_results
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.demonstrations import ContextForm, Ordering
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.plan import EvaluationSetup, EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import (
    DigestReference,
    Environment,
    EvaluationPredicate,
    Event,
    Evidence,
    Limit,
    TestedBox,
)
from safety_receipts.receipts.model.statement import (
    EVALUATION_TYPE,
    PLAN_TYPE,
    STATEMENT_TYPE,
    EvaluationStatement,
    PlanStatement,
    subject,
)


def seal_plan(plan: PlanPredicate, signer: Signer) -> Envelope:
    """Sign a plan.

    Raises:
        IntegrityError: The plan contradicts itself, or holds a name that cannot be shown.
    """
    if problems := new_plan_problems(plan):
        raise IntegrityError(f"the plan cannot be sealed: {problems[0]}")
    return sign(plan_statement(plan).to_wire(), signer)


def plan_statement(plan: PlanPredicate) -> PlanStatement:
    """Return the unsigned statement of a plan."""
    return PlanStatement(
        type=STATEMENT_TYPE,
        subject=subject(plan.checkpoint.name, plan.checkpoint.root),
        predicate_type=PLAN_TYPE,
        predicate=plan,
    )


def seal_event(
    folder: Path,
    *,
    plan_envelope: Envelope,
    points: Iterable[tuple[Point, RestrictedRecord]],
    event: Event,
    environment: Environment,
    signer: Signer,
    findings: Callable[[Observations], Findings] | None = None,
) -> Envelope:
    """Write plan, evidence, restricted records and the signed receipt into ``folder``.

    Args:
        folder: The bundle.
        plan_envelope: The sealed plan.
        points: Every point with its restricted record, in plan order.
        event: The run.
        environment: What the run was made with.
        signer: The plan's signer.
        findings: Asked for the verdicts on the hypotheses when all points are written
            (:func:`receipts.findings.derive.fit`); None: none are claimed.

    Returns:
        The receipt.

    Raises:
        IntegrityError: The points are not the planned ones in plan order or contradict the
            plan, a record contradicts its point, the event contradicts the plan, or the key
            did not sign the plan.
        MalformedError: The envelope holds no plan.
        UsageError: The folder holds a receipt, or another plan.
        FileAccessError: The folder cannot be written; no partial file is left.
    """
    if not plan_envelope.signed_by_all(signer):
        raise IntegrityError(
            "the plan was signed with another key", hint="seal with the key that signed the plan"
        )
    signed = parse_signed(plan_envelope, PlanStatement, file=folder / PLAN)
    plan = signed.statement.predicate
    problems = chain(
        event_problems(plan, event),
        environment_problems(plan, environment),
        resent_problems(plan, event, environment),
    )
    if (problem := next(problems, None)) is not None:
        raise IntegrityError(f"the event cannot be sealed: {problem}")
    seed = seed_of(plan, plan_envelope.digest, event.beacon.value if event.beacon else None)
    checker, prompts = PointChecker(plan, seed), PromptChecker(plan.conditions)
    root = merkle.RootAccumulator()
    writer = BundleWriter(folder)
    writer.write_plan(plan_envelope)
    agreement = AgreementCounter()
    public = plan.evidence_access is EvidenceAccess.PUBLIC
    with writer.evidence(public=public) as sink:
        for point, record in points:
            if not checker.check(point):
                raise IntegrityError(f"more points than the plan's {plan.points:,}")
            problem = (
                checker.problems.first() or record.problem(point, plan) or prompts.problem(record)
            )
            if problem is not None:
                raise IntegrityError(f"point {point.index} cannot be sealed: {problem}")
            agreement.add(record)
            root.append(sink.append(point, record))
        if root.size != plan.points:
            raise IntegrityError(f"{root.size:,} of {plan.points:,} planned points are present")
    observations = checker.observer.result()
    statement = evaluation_statement(
        plan,
        plan_digest=plan_envelope.digest,
        observations=observations,
        root=root,
        event=event,
        environment=environment,
        judge_agreement=agreement.result() if plan.judge.second else None,
        findings=findings(observations) if findings else None,
    )
    envelope = sign(statement.to_wire(), signer)
    writer.write_receipt(envelope)
    return envelope


def evaluation_statement(
    plan: PlanPredicate,
    *,
    plan_digest: Sha256,
    observations: Observations,
    root: merkle.RootAccumulator,
    event: Event,
    environment: Environment,
    judge_agreement: JudgeAgreement | None = None,
    findings: Findings | None = None,
) -> EvaluationStatement:
    """Return the unsigned receipt of points that were collected and hashed in plan order."""
    conditions = condition_results(observations)
    predicate = EvaluationPredicate(
        **{name: getattr(plan, name) for name in EvaluationSetup.model_fields},
        plan=DigestReference(digest=plan_digest),
        event=event,
        conditions=conditions,
        baseline=baseline_of(conditions),
        judge_agreement=judge_agreement,
        findings=findings,
        evidence=Evidence(
            algorithm="rfc6962-sha256",
            size=root.size,
            root=Sha256(root.root().hex()),
            access=plan.evidence_access,
        ),
        environment=environment,
        tested=tested_box(plan),
        limits=required_limits(plan, environment),
    )
    return EvaluationStatement(
        type=STATEMENT_TYPE,
        subject=subject(plan.checkpoint.name, plan.checkpoint.root),
        predicate_type=EVALUATION_TYPE,
        predicate=predicate,
    )


def tested_box(plan: PlanPredicate) -> TestedBox:
    """Return the region that the plan's conditions cover."""
    orderings = {condition.ordering for condition in plan.conditions}
    contexts = {condition.context.form for condition in plan.conditions}
    languages = {language for source in plan.queries for language in source.languages}
    return TestedBox(
        largest_n=max(c.n_harmful + c.n_benign for c in plan.conditions),
        orderings=tuple(ordering for ordering in Ordering if ordering in orderings),
        contexts=tuple(form for form in ContextForm if form in contexts),
        untested_contexts=tuple(form for form in ContextForm if form not in contexts),
        languages=tuple(sorted(languages)),
    )


def required_limits(
    plan: PlanPredicate, environment: Environment | None = None
) -> tuple[Limit, ...]:
    """Return the limits that a receipt of this plan must state.

    All of them, but for ``private-pool`` where every corpus names a public repository, for
    ``selected-rows`` where no corpus is filtered, or the plan was made when there was no such limit
    (it names no rule of requests), and for those of servers where there is none, or none that
    they speak of.

    Args:
        plan: The plan.
        environment: What it was run with; None: it was not run yet.
    """
    served = None if environment is None else environment.server
    judging = () if environment is None else environment.judge_servers
    corpora = [*plan.queries, *plan.demonstrations.sources]
    applies = {
        Limit.PRIVATE_POOL: any(corpus.hub is None for corpus in corpora),
        Limit.SELECTED_ROWS: (
            plan.request_rule is not None and any(corpus.where for corpus in corpora)
        ),
        Limit.WEIGHTS_CLAIMED: plan.server is not None and not plan.server.started,
        Limit.SERVER_DRAWS: plan.sampling.drawn_by_server,
        Limit.NOT_REPEATABLE: served is not None and served.seen.differed > 0,
        Limit.JUDGE_WEIGHTS_CLAIMED: any(
            server is not None and not server.started
            for server in (plan.judge_server, plan.second_judge_server)
        ),
        Limit.JUDGE_NOT_REPEATABLE: any(server.seen.differed > 0 for server in judging),
    }
    return tuple(limit for limit in Limit if applies.get(limit, True))
