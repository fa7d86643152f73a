"""Does a plan contradict itself?

What can be derived within a plan is derived again: before it is sealed, and by whoever
verifies it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import groupby

from pydantic.alias_generators import to_camel

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.events.grid import (
    BASELINE,
    condition_id,
    distinct_lists,
    fixed_labels,
    source_of,
)
from safety_receipts.receipts.events.servers import account_problems, server_problems
from safety_receipts.receipts.findings.counts.rates import RATE_PLACES, wilson
from safety_receipts.receipts.io.text import printable, value_text
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.checkpoint import (
    FIRST_RENDERING,
    EndTokenOrigin,
    RootOrder,
    SamplingMethod,
    model_root,
)
from safety_receipts.receipts.model.demonstrations import (
    Corpus,
    DemonstrationKind,
    DemonstrationSource,
    ExperimentKind,
    PlannedCondition,
    QueryRole,
)
from safety_receipts.receipts.model.judge import (
    GoldAgreement,
    JudgeCalibration,
    judge_digest,
    traits_of,
)
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate, is_served
from safety_receipts.receipts.model.receipt import Environment, Event

ANSWERED_BY = {
    Hypothesis.TOTAL: {ExperimentKind.SWEEP},
    Hypothesis.JOINT: {ExperimentKind.SWEEP, ExperimentKind.FIXED_HARMFUL},
    Hypothesis.ORDERING: {ExperimentKind.ORDERINGS},
}
"""Experiments that can answer a hypothesis."""


def new_plan_problems(plan: PlanPredicate) -> list[str]:
    """Return what keeps a plan from being sealed, each as one line.

    Beside what contradicts itself, names that no reader would be shown as they are: plans that
    were sealed before may have such.
    """
    return [*plan_problems(plan), *_name_problems(plan)]


def _name_problems(plan: PlanPredicate) -> Iterator[str]:
    demonstrations = plan.demonstrations
    shown = (demonstrations.harmful, *demonstrations.benign, demonstrations.refusal)
    named: dict[str, str | None] = {
        "name": plan.name,
        "trainingStage": plan.training_stage,
        "checkpoint.name": plan.checkpoint.name,
        "checkpoint.servedAs": plan.checkpoint.served_as,
        "judge.name": plan.judge.name,
        "judge.second.name": plan.judge.second.name if plan.judge.second else None,
    }
    for corpus in (*plan.queries, *filter(None, shown)):
        named |= {
            f"{corpus.name}: corpus": corpus.corpus,
            f"{corpus.name}: licence": corpus.licence,
            f"{corpus.name}: languages": ", ".join(corpus.languages),
        }
        if isinstance(corpus, DemonstrationSource):
            named[f"{corpus.name}: responsesBy"] = corpus.responses_by
    for where, name in named.items():
        if name is not None and printable(name) != name:
            yield f"{where}: holds repeated spaces, or an invisible character"


def plan_problems(plan: PlanPredicate) -> list[str]:
    """Return what contradicts itself in a plan, each as one line; empty when it is coherent."""
    return [
        *_checkpoint_problems(plan),
        *server_problems(plan),
        *_sampling_problems(plan),
        *_thoughts_problems(plan),
        *_judge_problems(plan),
        *_query_problems(plan),
        *_demonstration_problems(plan),
        *(problem for c in plan.conditions for problem in _condition_problems(plan, c)),
        *_grid_problems(plan),
    ]


def _checkpoint_problems(plan: PlanPredicate) -> Iterator[str]:
    checkpoint = plan.checkpoint
    if len({file.path for file in checkpoint.files}) != len(checkpoint.files):
        yield "checkpoint.files: a path appears twice"
    served = checkpoint.served_as is not None
    if served != (not checkpoint.files) or (served and not is_served(plan.engine)):
        yield "checkpoint: either files, or a name under which a server offers it"
    if checkpoint.dequantised is not None and checkpoint.quantisation is None:
        yield "checkpoint.dequantised: needs a quantisation"
    roots = {order: model_root(checkpoint.files, order) for order in RootOrder}
    root = roots.pop(checkpoint.root_order)
    [other] = roots.values()
    if checkpoint.root != root:
        yield "checkpoint.root: does not follow from the files"
    if checkpoint.alternative_root != (None if other == root else other):
        yield "checkpoint.alternativeRoot: does not follow from the files"


def _sampling_problems(plan: PlanPredicate) -> Iterator[str]:
    sampling = plan.sampling
    seeded = sampling.method is SamplingMethod.SEEDED
    if seeded != (sampling.temperature is not None) or seeded != (sampling.noise is not None):
        yield "sampling: temperature and noise are for the seeded method, and needed by it"
    if not seeded and (sampling.top_p is not None or sampling.top_k is not None):
        yield "sampling: greedy sampling has neither topP nor topK"
    if sampling.temperature is not None and Decimal(sampling.temperature) <= 0:
        yield "sampling.temperature: must be above 0"
    if sampling.top_p is not None and not 0 < Decimal(sampling.top_p) <= 1:
        yield "sampling.topP: must be above 0 and at most 1"
    if sampling.repetition_penalty is not None and Decimal(sampling.repetition_penalty) <= 0:
        yield "sampling.repetitionPenalty: must be above 0"
    names = [default.name for default in sampling.defaults_not_applied or ()]
    if names != sorted(set(names)):
        yield "sampling.defaultsNotApplied: not sorted by name, or a name appears twice"
    if plan.prompt.date is not None and not _is_date(plan.prompt.date):
        yield "prompt.date: no such day"
    stated = sampling.end_token_origins
    if stated is not None:
        ids = [end.token for end in stated]
        if ids != sorted(set(ids)):
            yield "sampling.endTokenOrigins: not sorted by token id"
        if sampling.end_tokens != tuple(end.token for end in stated if not end.removed):
            yield "sampling.endTokens: not the tokens of endTokenOrigins without the removed ones"
        order = list(EndTokenOrigin)
        places = [[order.index(origin) for origin in end.origins] for end in stated]
        if any(place != sorted(set(place)) for place in places):
            yield "sampling.endTokenOrigins: origins out of order, or repeated"
    if sampling.max_new_tokens >= plan.prompt.context_limit:
        yield "sampling.maxNewTokens: leaves no room for a prompt"


def _thoughts_problems(plan: PlanPredicate) -> Iterator[str]:
    prompt, thoughts = plan.prompt, plan.prompt.thoughts
    if thoughts is None:
        return
    if prompt.rendering == FIRST_RENDERING:
        yield f"prompt.thoughts: {FIRST_RENDERING} does not separate thoughts"
    if prompt.judged_channel is not None:
        yield "prompt.thoughts: cannot be combined with a judged channel"
    if not thoughts.marks and not thoughts.given:
        yield "prompt.thoughts: no marks, and the plan file does not say so"
    if thoughts.prompt_opens is not None and thoughts.prompt_opens >= len(thoughts.marks):
        yield "prompt.thoughts.promptOpens: there is no such mark"
    marks = [mark for pair in thoughts.marks for mark in (pair.opening, pair.closing)]
    if len(set(marks)) != len(marks):
        yield "prompt.thoughts: a mark appears twice"


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _judge_problems(plan: PlanPredicate) -> Iterator[str]:
    for judge in (plan.judge, plan.judge.second):
        if judge is None:
            continue
        if judge.digest != judge_digest(judge):
            yield f"judge {judge.name}: its digest does not follow from its parts"
        traits = traits_of(judge.kind)
        if (judge.weights is None) != (traits.is_rule or judge.remote):
            yield f"judge {judge.name}: weights go with a model that is not behind an API"
        if judge.folder_files is not None and judge.weights not in {
            model_root(judge.folder_files, order) for order in RootOrder
        }:
            yield f"judge {judge.name}: its weights do not follow from its files"
        if judge.template is None and traits.has_template:
            yield f"judge {judge.name}: its template, or the strings of its rule, are missing"
    yield from _calibration_problems(plan)


def _calibration_problems(plan: PlanPredicate) -> Iterator[str]:
    calibration = plan.judge.calibration
    if calibration is None:
        return
    if calibration.judge != plan.judge.digest:
        yield f"judge.calibration.judge: not the digest of judge {plan.judge.name}"
    for problem in calibration_problems(calibration):
        yield f"judge.{problem}"


def calibration_problems(calibration: JudgeCalibration) -> Iterator[str]:
    """Yield what in a calibration of a judge does not follow from its counts."""
    yield from _agreement_problems("calibration", calibration)
    strata = calibration.strata
    for i, stratum in enumerate(strata):
        yield from _agreement_problems(f"calibration.strata[{i}]", stratum)
    if len({stratum.stratum for stratum in strata}) != len(strata):
        yield "calibration.strata: two strata have the same name"
    for name in _GOLD_COUNTS if strata else ():
        total = sum(getattr(stratum, name) for stratum in strata)
        if total != getattr(calibration, name):
            yield f"calibration.strata: {to_camel(name)} add up to {total}"


_GOLD_COUNTS = ("positives", "true_positives", "negatives", "true_negatives", "unscored")


def _agreement_problems(where: str, agreement: GoldAgreement) -> Iterator[str]:
    for name, part, whole, share, interval in (
        (
            "sensitivity",
            agreement.true_positives,
            agreement.positives,
            agreement.sensitivity,
            agreement.sensitivity_interval,
        ),
        (
            "specificity",
            agreement.true_negatives,
            agreement.negatives,
            agreement.specificity,
            agreement.specificity_interval,
        ),
    ):
        if part > whole:
            yield f"{where}: {name}: more right answers than answers"
            continue
        expected = decimal_string(Fraction(part, whole), RATE_PLACES) if whole else None
        if share != expected:
            yield f"{where}.{name}: {value_text(expected)} follows from the counts"
        derived = wilson(part, whole) if whole else None
        if interval != derived:
            yield f"{where}.{name}Interval: not Wilson's interval of the counts"


def _corpus_problems(corpus: Corpus, taken: int) -> Iterator[str]:
    if taken + corpus.empty_rows + corpus.duplicate_rows > corpus.rows:
        yield f"{corpus.name}: more taken and dropped than the file's {corpus.rows} rows"


def _query_problems(plan: PlanPredicate) -> Iterator[str]:
    names = [source.name for source in plan.queries]
    if len(set(names)) != len(names):
        yield "queries: two sources have the same name"
    if len(set(plan.query_ids)) != len(plan.query_ids):
        yield "queryIds: an id appears twice"
    # By runs, not query by query: `selected` is a number anybody can write.
    runs = [(name, len(list(run))) for name, run in groupby(map(source_of, plan.query_ids))]
    if runs != [(source.name, source.selected) for source in plan.queries if source.selected]:
        yield "queryIds: not the selected numbers of the sources, pooled in their order"
    for source in plan.queries:
        yield from _corpus_problems(source, source.selected + (source.repeated_rows or 0))
    yield from _repeat_problems(plan)
    if not any(source.role is QueryRole.HARMFUL for source in plan.queries):
        yield "queries: no source of role harmful"


def _repeat_problems(plan: PlanPredicate) -> Iterator[str]:
    """Yield what is wrong with the queries that ask the same."""
    places = {query: place for place, query in enumerate(plan.query_ids)}
    groups = [[places.get(query, -1) for query in group] for group in plan.same_queries or ()]
    named = [place for group in groups for place in group]
    if -1 in named or len(set(named)) != len(named):
        yield "sameQueries: a query is not in the plan, or is named twice"
    elif any(group != sorted(group) for group in groups) or groups != sorted(groups):
        yield "sameQueries: not in the order of the queries"
    for group in plan.same_queries or ():
        if len({source_of(query) for query in group}) != len(group):
            yield "sameQueries: no source asks the same twice"


def _demonstration_problems(plan: PlanPredicate) -> Iterator[str]:
    demonstrations = plan.demonstrations
    names = [source.name for source in demonstrations.benign]
    if len(set(names)) != len(names):
        yield "demonstrations.benign: two sources have the same name"
    if demonstrations.distinct_lists != distinct_lists(plan):
        yield f"demonstrations.distinctLists: {distinct_lists(plan)} follow from the draw block"
    kinds = [
        (DemonstrationKind.HARMFUL, demonstrations.harmful),
        *((DemonstrationKind.BENIGN, source) for source in demonstrations.benign),
        (DemonstrationKind.REFUSAL, demonstrations.refusal),
    ]
    for kind, source in kinds:
        if source is None:
            continue
        yield from _corpus_problems(source, source.pool + source.decontaminated)
        if source.kind is not kind:
            yield f"{source.name}: of kind {source.kind.value}, in the place of {kind.value}"
    pools = {source.name: source.pool for source in demonstrations.benign}
    harmful = demonstrations.harmful.pool if demonstrations.harmful else 0
    refusal = demonstrations.refusal.pool if demonstrations.refusal else 0
    for condition in plan.conditions:
        benign = pools.get(condition.benign_source, 0) if condition.benign_source else 0
        if condition.n_harmful > harmful:
            yield f"{condition.id}: more harmful demonstrations than the pool's {harmful}"
        if condition.n_benign > benign:
            yield f"{condition.id}: more benign demonstrations than the pool's {benign}"
        context = condition.context
        if (context.gap_source is None) != (context.gap_turns == 0):
            yield f"{condition.id}: a gap source is given exactly where there are gap turns"
        elif context.gap_source is not None:
            # Drawn after the demonstrations, so that none is shown twice.
            taken = condition.n_benign if context.gap_source == condition.benign_source else 0
            if context.gap_turns + taken > pools.get(context.gap_source, 0):
                yield f"{condition.id}: more gap turns than the pool has left"
        if condition.context.n_refusal > refusal:
            yield f"{condition.id}: more refusal examples than the pool's {refusal}"


def _condition_problems(plan: PlanPredicate, condition: PlannedCondition) -> Iterator[str]:
    where = condition.id
    mixes = condition.n_harmful > 0 and condition.n_benign > 0
    if (condition.ordering is not None) != mixes:
        yield f"{where}: an ordering is given exactly where both kinds of demonstration are"
    if (condition.benign_source is not None) != (condition.n_benign > 0):
        yield f"{where}: a benign source is given exactly where benign demonstrations are"
    if condition.context not in plan.contexts:
        yield f"{where}: its context is not among the plan's"
    prefixes = plan.response_prefixes
    if condition.response_prefix is not None and condition.response_prefix not in prefixes:
        yield f"{where}: its response prefix is not among the plan's"
        return
    labels = fixed_labels(
        condition.ordering, condition.n_harmful, condition.n_benign, condition.context.n_refusal
    )
    if condition.labels != labels:
        yield f"{where}: labels do not follow from the ordering rule"
    if condition.id != _expected_id(plan, condition):
        yield f"{where}: the id should be {_expected_id(plan, condition)}"


def _expected_id(plan: PlanPredicate, condition: PlannedCondition) -> ConditionId:
    benign = plan.demonstrations.benign
    default_source = benign[0].name if benign else None
    prefix = condition.response_prefix
    default_context = condition.context == plan.contexts[0]
    return condition_id(
        condition.n_harmful,
        condition.n_benign,
        condition.ordering,
        benign_source=(
            None if condition.benign_source == default_source else condition.benign_source
        ),
        prefix_number=None if prefix is None else plan.response_prefixes.index(prefix) + 1,
        context=None if default_context else condition.context.form,
    )


def _grid_problems(plan: PlanPredicate) -> Iterator[str]:
    ids = [condition.id for condition in plan.conditions]
    known = set(ids)
    for id_, times in Counter(ids).items():
        if times > 1:
            yield f"{id_}: planned {times} times"
    if ids[0] != BASELINE:
        yield f"conditions: the first is {ids[0]}, not the baseline {BASELINE}"
    for experiment in plan.experiments:
        for id_ in experiment.conditions:
            if id_ not in known:
                yield f"experiments: {id_} is not among the conditions"
        if len(set(experiment.conditions)) != len(experiment.conditions):
            yield f"experiments: {experiment.kind.value} names a condition twice"
    if not ANSWERED_BY[plan.primary] & {experiment.kind for experiment in plan.experiments}:
        yield f"primary: no experiment can answer {plan.primary.value}"
    if (
        known
        - {id_ for experiment in plan.experiments for id_ in experiment.conditions}
        - {BASELINE}
    ):
        yield "experiments: a condition belongs to no experiment"
    if len({context.form for context in plan.contexts}) != len(plan.contexts):
        yield "contexts: a form appears twice"
    points = len(ids) * len(plan.query_ids) * plan.demonstrations.draws
    if plan.points != points:
        yield f"points: conditions × queries × draws are {points}"


def event_problems(plan: PlanPredicate, event: Event) -> Iterator[str]:
    """Yield what in the account of a run contradicts itself or the plan."""
    for moment in (event.started_at, event.finished_at):
        if not _is_moment(moment):
            yield f"{moment} is not a valid time"
    if event.started_at > event.finished_at:
        yield "finished before it started"
    named = None if event.beacon is None else (event.beacon.chain, event.beacon.round)
    wanted = None if plan.beacon is None else (plan.beacon.chain, plan.beacon.round)
    if named != wanted:
        yield "the beacon is not the one the plan names"


def environment_problems(plan: PlanPredicate, environment: Environment) -> Iterator[str]:
    """Yield what in the account of the environment contradicts the plan."""
    if environment.engine is not plan.engine:
        yield f"environment.engine is {environment.engine.value}, the plan's {plan.engine.value}"
    if environment.dtype is not plan.checkpoint.dtype:
        yield "environment.dtype differs from the plan's"
    if environment.batch_rule != plan.batch_rule:
        yield "environment.batchRule differs from the plan's"
    yield from account_problems(plan, environment)


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
