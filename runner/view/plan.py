"""What a dry run found, as the document that is printed and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.findings.outlook import (
    draw_block_words,
    planned_freedom,
    primary_outlook,
    undecided_words,
)
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import Sampling
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.seal import required_limits
from safety_receipts.receipts.view.documents.inputs import demonstrations_taken, queries_taken
from safety_receipts.receipts.view.servers import by_work
from safety_receipts.runner.checkpoint.sampling_defaults import meaning_of
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.prices.dry_run import DrawBlockCost, DryRun
from safety_receipts.runner.view.documents.judged import judged_part
from safety_receipts.runner.view.documents.plan import (
    CheckpointPart,
    ChoicePart,
    ConditionPart,
    DefaultNotApplied,
    EndTokenPart,
    EstimatePart,
    JudgePart,
    PlanDocument,
    PlanInputs,
    PoolPart,
    PrimaryPart,
    QueriesPart,
    RepeatedQueries,
    SamplingPart,
    SealedPlanPart,
    ServerPart,
    SupposedRatePart,
    SystemPromptPart,
    WarningPart,
)

_BEGINNING: Final = 60
"""Characters shown of a system prompt."""


def plan_document(
    resolved: ResolvedPlan,
    report: DryRun,
    digest: Sha256,
    sealed: tuple[Path, Envelope] | None = None,
) -> PlanDocument:
    """Return what a dry run found.

    Args:
        resolved: The plan.
        report: What it would take.
        digest: Digest that it has once it is sealed.
        sealed: The bundle that it was sealed into, and as what; None: it was not.
    """
    plan, conditions = resolved.predicate, report.chosen.counts.conditions
    return PlanDocument(
        plan=str(resolved.file),
        name=plan.name,
        digest=digest,
        checkpoint=_checkpoint(resolved),
        instrument=plan.instrument,
        system_prompt_moved=report.moves_system,
        inputs=_inputs(resolved),
        queries=_queries(plan),
        repeated_queries=_repeated(plan),
        pools=_pools(plan),
        sampling=_sampling(plan.sampling),
        end_tokens=_end_tokens(resolved),
        warnings=tuple(
            WarningPart(code=one.code, message=one.message, hint=one.hint)
            for one in resolved.warnings
        ),
        judge=JudgePart(name=plan.judge.name, digest=plan.judge.digest),
        judged=judged_part(resolved),
        servers=_servers(resolved),
        limits=required_limits(plan),
        points=plan.points,
        draws=plan.demonstrations.draws,
        primary=_primary(plan),
        conditions=tuple(
            ConditionPart(
                id=one.id,
                points=one.points,
                mean_prompt_tokens=round(one.mean, 2),
                longest_prompt=one.longest,
                overflowing=one.overflowing,
            )
            for one in conditions
        ),
        chosen=_choice(report.chosen),
        alternatives=tuple(map(_choice, report.alternatives)),
        sealed=None
        if sealed is None
        else SealedPlanPart(bundle=str(sealed[0]), digest=sealed[1].digest),
    )


def _servers(resolved: ResolvedPlan) -> tuple[ServerPart, ...]:
    plan, places = resolved.predicate, resolved.artifacts
    judge, second = places.judge_server, places.second_judge_server
    where = by_work(
        places.server,
        None if judge is None else judge.place,
        None if second is None else second.place,
    )
    addresses = {work: place.url for work, place in where}
    planned = by_work(plan.server, plan.judge_server, plan.second_judge_server)
    return tuple(
        ServerPart(
            asked_for=work,
            dialect=server.dialect,
            model=server.model,
            started=server.started,
            address=addresses.get(work),
            arguments=server.arguments,
            concurrency=server.concurrency,
        )
        for work, server in planned
    )


def _primary(plan: PlanPredicate) -> PrimaryPart:
    outlook = primary_outlook(plan)
    return PrimaryPart(
        hypothesis=outlook.hypothesis,
        conditions=outlook.conditions,
        queries=outlook.queries,
        lists=outlook.lists,
        undecided=undecided_words(outlook),
        supposed=tuple(
            SupposedRatePart(
                rate=one.rate,
                detectable=_rounded(one.detectable),
                none_shown=_rounded(one.none_shown),
                informative_queries=_rounded(one.informative, 1),
            )
            for one in outlook.supposed
        ),
    )


def _rounded(value: float | None, places: int = 4) -> float | None:
    return None if value is None else round(value, places)


def _checkpoint(resolved: ResolvedPlan) -> CheckpointPart:
    plan = resolved.predicate
    checkpoint = plan.checkpoint
    return CheckpointPart(
        name=checkpoint.name,
        root=checkpoint.root,
        files=len(checkpoint.files),
        parameters=resolved.artifacts.checkpoint.facts.parameters,
        context_limit=plan.prompt.context_limit,
        dtype=checkpoint.dtype,
        quantisation=checkpoint.quantisation,
        dequantised=checkpoint.dequantised,
    )


def _inputs(resolved: ResolvedPlan) -> PlanInputs:
    plan = resolved.predicate
    return PlanInputs(
        system_prompt=_system(resolved),
        date=plan.prompt.date,
        template_options=dict(plan.prompt.template_options),
        queries=tuple(map(queries_taken, plan.queries)),
        demonstrations=tuple(map(demonstrations_taken, plan.demonstrations.sources)),
    )


def _system(resolved: ResolvedPlan) -> SystemPromptPart | None:
    """Return the system prompt: its digest, how it begins and where it comes from; None: none."""
    digest, text = resolved.predicate.prompt.system_prompt, resolved.artifacts.texts.system
    if digest is None or text is None:
        return None
    return SystemPromptPart(
        digest=digest,
        characters=len(text),
        begins=printable(" ".join(text[: 4 * _BEGINNING].split()), _BEGINNING),
        origin=f"prompt.system of {resolved.file}",
    )


def _queries(plan: PlanPredicate) -> tuple[QueriesPart, ...]:
    return tuple(
        QueriesPart(
            name=source.name,
            role=source.role,
            selected=source.selected,
            empty_rows=source.empty_rows,
            duplicate_rows=source.duplicate_rows,
            digest=source.digest,
        )
        for source in plan.queries
    )


def _repeated(plan: PlanPredicate) -> RepeatedQueries:
    same = plan.same_queries or ()
    return RepeatedQueries(
        requests=len(same),
        queries=sum(map(len, same)),
        left_out=sum(source.repeated_rows or 0 for source in plan.queries),
    )


def _pools(plan: PlanPredicate) -> tuple[PoolPart, ...]:
    return tuple(
        PoolPart(
            name=source.name,
            kind=source.kind,
            pool=source.pool,
            decontaminated=source.decontaminated,
            empty_rows=source.empty_rows,
            duplicate_rows=source.duplicate_rows,
            digest=source.digest,
        )
        for source in plan.demonstrations.sources
    )


def _sampling(sampling: Sampling) -> SamplingPart:
    return SamplingPart(
        method=sampling.method,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        max_new_tokens=sampling.max_new_tokens,
        defaults_not_applied=tuple(
            DefaultNotApplied(name=one.name, value=one.value, meaning=meaning_of(one.name))
            for one in sampling.defaults_not_applied or ()
        ),
    )


def _end_tokens(resolved: ResolvedPlan) -> tuple[EndTokenPart, ...]:
    return tuple(
        EndTokenPart(token=end.token, text=end.text, origins=end.origins, removed=end.removed)
        for end in resolved.artifacts.checkpoint.end_tokens.found
    )


def _choice(choice: DrawBlockCost) -> ChoicePart:
    counts, sample = choice.counts, choice.sample
    return ChoicePart(
        draw_block=choice.draw_block,
        distinct_lists=choice.distinct_lists,
        distinct_prompts=counts.distinct,
        prompt_tokens=counts.tokens,
        unique_tokens=counts.unique,
        longest_prompt=counts.longest,
        overflowing=counts.overflowing,
        sampled_points=None if sample is None else sample.points,
        unique_tokens_fewest=counts.unique if sample is None else sample.fewest,
        unique_tokens_most=counts.unique if sample is None else sample.most,
        degrees_of_freedom=planned_freedom(choice.outlook),
        findings=draw_block_words(choice.outlook),
        # Not strict: the value is JSON already, so that its arrays are lists.
        estimate=EstimatePart.model_validate(choice.estimate.as_json(), strict=False),
    )
