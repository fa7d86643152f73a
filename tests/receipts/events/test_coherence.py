"""Plans that contradict themselves."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.events.coherence import event_problems, plan_problems
from safety_receipts.receipts.events.grid import default_context
from safety_receipts.receipts.events.synthetic import EVENT, Mixture, paper_sweep, synthetic_plan
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.checkpoint import (
    CheckpointFile,
    EndToken,
    EndTokenOrigin,
    RootOrder,
    SamplingDefault,
    SamplingMethod,
)
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    DemonstrationKind,
    Experiment,
    ExperimentKind,
    Ordering,
    QueryRole,
    ShownContext,
)
from safety_receipts.receipts.model.judge import (
    GoldKind,
    JudgeCalibration,
    JudgeIdentity,
    JudgeKind,
    StratumCalibration,
    judge_digest,
)
from safety_receipts.receipts.model.plan import (
    BeaconRound,
    EngineKind,
    Hypothesis,
    PlannedServer,
    PlanPredicate,
    ServerDialect,
)
from safety_receipts.receipts.model.receipt import BeaconValue, Event

Changes = dict[str, Any]
"""Dotted path into a plan → new value."""


def changed(model: Any, changes: Changes) -> Any:
    """Return a frozen model, or tuple of models, with other values at dotted paths."""
    for path, value in changes.items():
        model = _set(model, path.split("."), value)
    return model


def _set(model: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    step, *rest = steps
    if isinstance(model, tuple):
        place = int(step)
        return (*model[:place], _set(model[place], rest, value), *model[place + 1 :])
    return model.model_copy(update={step: _set(getattr(model, step), rest, value)})


POLICY = ShownContext(
    form=ContextForm.POLICY,
    role="system",
    template=Sha256("ab" * 32),
    gap_turns=3,
    gap_source=SourceName("or-bench"),
    n_refusal=2,
)


def an_experiment(kind: ExperimentKind, *ids: str) -> Any:
    """Return an experiment over these conditions."""
    return Experiment.model_validate({"kind": kind, "conditions": ids})


def rich_plan() -> PlanPredicate:
    """Return a coherent plan that uses everything a grid can have.

    Conditions: 0 baseline, 1 suffix, 2 random, 3 benign only, 4 another benign source and a
    prefix, 5 another context with refusal examples.  Seven queries, two draws.
    """
    mixtures = [
        Mixture(0, 0, None),
        Mixture(3, 2, Ordering.SUFFIX),
        Mixture(3, 2, Ordering.RANDOM),
        Mixture(0, 4, None),
        Mixture(2, 2, Ordering.INTERLEAVE),
        Mixture(2, 3, Ordering.MIDDLE),
    ]
    plan = synthetic_plan(mixtures, {"alpha": 3, "beta": 2}, controls={"gamma": 2})
    (benign,) = plan.demonstrations.benign
    plan = changed(
        plan,
        {
            "demonstrations.benign": (
                benign,
                changed(benign, {"name": "or-bench", "pool": 8, "decontaminated": 100}),
            ),
            "demonstrations.refusal": changed(
                benign, {"name": "refusals", "kind": DemonstrationKind.REFUSAL, "pool": 2}
            ),
            "response_prefixes": ("Answer:", "Sure I can help with that!"),
            "contexts": (default_context(), POLICY),
            "conditions.4.id": "h2-b2-interleave-src:or-bench-pre:2",
            "conditions.4.benign_source": "or-bench",
            "conditions.4.response_prefix": "Sure I can help with that!",
            "conditions.5.id": "h2-b3-middle-ctx:policy",
            "conditions.5.context": POLICY,
            "conditions.5.labels": "rrbbhhb",
        },
    )
    ids = [condition.id for condition in plan.conditions]
    return changed(  # type: ignore[no-any-return]  # a plan goes in, a plan comes out
        plan,
        {
            "experiments": (
                an_experiment(ExperimentKind.SWEEP, *ids[:4]),
                an_experiment(ExperimentKind.ORDERINGS, *ids[1:3]),
                an_experiment(ExperimentKind.CONTEXTS, *ids[4:]),
            )
        },
    )


CALIBRATION = JudgeCalibration(
    judge=rich_plan().judge.digest,
    gold=Sha256("ab" * 32),
    gold_kind=GoldKind.GENERAL,
    positives=271,
    true_positives=260,
    negatives=178,
    true_negatives=170,
    sensitivity="0.959410",
    sensitivity_interval=wilson(260, 271),
    specificity="0.955056",
    specificity_interval=wilson(170, 178),
    unscored=5,
    strata=(),
)
STRATA = (
    StratumCalibration(
        stratum="plain",
        positives=171,
        true_positives=170,
        negatives=100,
        true_negatives=98,
        sensitivity="0.994152",
        sensitivity_interval=wilson(170, 171),
        specificity="0.980000",
        specificity_interval=wilson(98, 100),
        unscored=1,
    ),
    StratumCalibration(
        stratum="prefix adopted",
        positives=100,
        true_positives=90,
        negatives=78,
        true_negatives=72,
        sensitivity="0.900000",
        sensitivity_interval=wilson(90, 100),
        specificity="0.923077",
        specificity_interval=wilson(72, 78),
        unscored=4,
    ),
)
STRATIFIED = changed(CALIBRATION, {"strata": STRATA})
SECOND = JudgeIdentity(
    kind=JudgeKind.WILDGUARD,
    name="second",
    hub=None,
    revision=None,
    digest=Sha256("ab" * 32),
    weights=Sha256("ab" * 32),
    template=Sha256("cd" * 32),
    parser="wildguard/1",
    threshold=None,
    max_new_tokens=128,
    remote=False,
)
SECOND = changed(SECOND, {"digest": judge_digest(SECOND)})
EMPTY_CALIBRATION: Changes = {
    "positives": 0,
    "true_positives": 0,
    "sensitivity": None,
    "sensitivity_interval": None,
}
TWO_FILES = tuple(
    CheckpointFile(path=path, sha256=Sha256(digit * 64), size=1)
    for path, digit in (("model.safetensors", "a"), ("model/config.json", "b"))
)


def _unused_source() -> Any:
    return changed(rich_plan().queries[0], {"name": "unused", "selected": 0})


SERVER = PlannedServer(
    dialect=ServerDialect.VLLM, model="example", started=False, arguments=(), concurrency=16
)

COHERENT: dict[str, Changes] = {
    "as it is": {},
    "blocks of two queries": {
        "demonstrations.draw_block": 2,
        "demonstrations.distinct_lists": 8,
    },
    "one block": {"demonstrations.draw_block": "all", "demonstrations.distinct_lists": 2},
    "the baseline in no experiment": {
        "experiments.0.conditions": ("h3-b2-suffix", "h3-b2-random", "h0-b4")
    },
    "a calibrated judge": {"judge.calibration": CALIBRATION},
    "a judge calibrated by stratum": {"judge.calibration": STRATIFIED},
    "a judge calibrated on one kind": {
        "judge.calibration": changed(CALIBRATION, EMPTY_CALIBRATION)
    },
    "seeded sampling": {
        "sampling.method": SamplingMethod.SEEDED,
        "sampling.temperature": "0.7",
        "sampling.noise": "gumbel/1",
        "sampling.top_k": 50,
    },
    "another primary hypothesis": {"primary": Hypothesis.ORDERING},
    "no date": {"prompt.date": None},
    "a model behind an API": {
        "checkpoint.files": (),
        "checkpoint.root": hashlib.sha256().hexdigest(),
        "checkpoint.served_as": "example-model",
        "engine": EngineKind.OPENAI,
    },
    "a server by token ids": {"engine": EngineKind.HTTP, "server": SERVER},
    "a second judge that asks a server": {
        "judge.second": SECOND,
        "second_judge_server": SERVER,
    },
    "a server that draws": {
        "engine": EngineKind.HTTP,
        "server": SERVER,
        "sampling.method": SamplingMethod.SEEDED,
        "sampling.temperature": "0.7",
        "sampling.noise": "server-seed-63/1",
    },
    "pools that just suffice": {
        "demonstrations.harmful.pool": 3,
        "demonstrations.benign.0.pool": 4,
        "demonstrations.benign.1.pool": 3,
    },
    "a pool that just suffices for demonstrations and gap": {
        "contexts.1.gap_source": "benign-proxy",
        "conditions.5.context.gap_source": "benign-proxy",
        "demonstrations.benign.0.pool": 6,
    },
    "a second judge": {"judge.second": SECOND},
    "a penalty of repetition": {"sampling.repetition_penalty": "1.05"},
    "defaults that are not applied": {
        "sampling.defaults_not_applied": (
            SamplingDefault(name="min_p", value="0.1"),
            SamplingDefault(name="top_k", value="20"),
        )
    },
    "no defaults": {"sampling.defaults_not_applied": ()},
    "a sampling nucleus": {
        "sampling.method": SamplingMethod.SEEDED,
        "sampling.temperature": "0.0001",
        "sampling.noise": "gumbel/1",
        "sampling.top_p": "1",
    },
    "weights that were turned back": {
        "checkpoint.quantisation": "mxfp4",
        "checkpoint.dequantised": True,
    },
    "end tokens with their origins": {
        "sampling.end_token_origins": (
            EndToken(token=2, origins=(EndTokenOrigin.CONFIG,), removed=False),
            EndToken(token=7, origins=(EndTokenOrigin.TOKENIZER,), removed=True),
        ),
    },
    "an unused source": {"queries": (*rich_plan().queries, _unused_source())},
    "all rows accounted for": {
        "queries.0.rows": 10,
        "queries.0.empty_rows": 3,
        "queries.0.duplicate_rows": 4,
    },
}


@pytest.mark.parametrize("changes", COHERENT.values(), ids=COHERENT)
def test_a_coherent_plan_has_no_problems(changes: Changes) -> None:
    assert plan_problems(changed(rich_plan(), changes)) == []


def test_the_papers_plan_is_coherent() -> None:
    sources = {"harmbench": 200, "sorry-bench": 450, "wildguardtest": 754}
    assert plan_problems(synthetic_plan(paper_sweep(), sources, controls={"xstest": 450})) == []


PLAN = rich_plan()

STATED = EndToken(token=2, origins=(EndTokenOrigin.CONFIG, EndTokenOrigin.TEMPLATE), removed=False)
GONE = EndToken(token=7, origins=(EndTokenOrigin.TOKENIZER,), removed=True)

PLANTED: dict[str, tuple[Changes, str]] = {
    # Checkpoint
    "a root that does not follow from the files": (
        {"checkpoint.root": "ab" * 32},
        "checkpoint.root: does not follow from the files",
    ),
    "a changed file": (
        {"checkpoint.files.0.sha256": "ab" * 32},
        "checkpoint.root: does not follow from the files",
    ),
    "a needless alternative root": (
        {"checkpoint.alternative_root": PLAN.checkpoint.root},
        "checkpoint.alternativeRoot: does not follow",
    ),
    "files and a server": (
        {"checkpoint.served_as": "example-model", "engine": EngineKind.OPENAI},
        "checkpoint: either files, or a name",
    ),
    "neither files nor a server": (
        {"checkpoint.files": (), "checkpoint.root": hashlib.sha256().hexdigest()},
        "checkpoint: either files, or a name",
    ),
    "a server that the engine does not speak to": (
        {
            "checkpoint.files": (),
            "checkpoint.root": hashlib.sha256().hexdigest(),
            "checkpoint.served_as": "example-model",
        },
        "checkpoint: either files, or a name",
    ),
    "a server of an engine that asks none": ({"server": SERVER}, "server: given exactly where"),
    "a rule that asks a server": ({"judge_server": SERVER}, "judgeServer: for a judge alone"),
    "a server of no second judge": (
        {"second_judge_server": SERVER},
        "secondJudgeServer: for a judge alone that generates",
    ),
    "an engine that asks a server, and none": (
        {"engine": EngineKind.HTTP},
        "server: given exactly where the engine is http",
    ),
    "a server whose draws are said to be derived": (
        {
            "engine": EngineKind.HTTP,
            "server": SERVER,
            "sampling.method": SamplingMethod.SEEDED,
            "sampling.temperature": "0.7",
            "sampling.noise": "gumbel/1",
        },
        "sampling.noise: a server, and nothing else",
    ),
    "noise of a server that is not there": (
        {
            "sampling.method": SamplingMethod.SEEDED,
            "sampling.temperature": "0.7",
            "sampling.noise": "server-seed-63/1",
        },
        "sampling.noise: a server, and nothing else",
    ),
    "a served model without files": (
        {
            "checkpoint.files": (),
            "checkpoint.root": hashlib.sha256().hexdigest(),
            "checkpoint.served_as": "example-model",
            "engine": EngineKind.HTTP,
            "server": SERVER,
        },
        "checkpoint.files: with the engine http",
    ),
    "numbers turned back that were never packed": (
        {"checkpoint.dequantised": True},
        "checkpoint.dequantised: needs a quantisation",
    ),
    "a path twice": (
        {"checkpoint.files": PLAN.checkpoint.files * 2},
        "checkpoint.files: a path appears twice",
    ),
    # Prompt and sampling
    "a penalty of nothing": ({"sampling.repetition_penalty": "0.0"}, "repetitionPenalty: must be"),
    "a negative penalty": ({"sampling.repetition_penalty": "-1.1"}, "repetitionPenalty: must be"),
    "a default told twice": (
        {"sampling.defaults_not_applied": (SamplingDefault(name="top_k", value="20"),) * 2},
        "defaultsNotApplied: not sorted",
    ),
    "greedy with a temperature": ({"sampling.temperature": "0.7"}, "sampling: temperature"),
    "greedy with noise": ({"sampling.noise": "gumbel/1"}, "sampling: temperature"),
    "greedy with a nucleus": ({"sampling.top_p": "0.9"}, "neither topP nor topK"),
    "greedy with candidates": ({"sampling.top_k": 50}, "neither topP nor topK"),
    "seeded without a temperature": (
        {"sampling.method": SamplingMethod.SEEDED},
        "sampling: temperature",
    ),
    "seeded at temperature nought": (
        {
            "sampling.method": SamplingMethod.SEEDED,
            "sampling.temperature": "0.0",
            "sampling.noise": "gumbel/1",
        },
        "sampling.temperature: must be above 0",
    ),
    "a nucleus of nothing": ({"sampling.top_p": "0"}, "sampling.topP: must be above 0"),
    "a nucleus of more than all": ({"sampling.top_p": "1.01"}, "sampling.topP: must be above 0"),
    "an end token that nobody states": (
        {"sampling.end_token_origins": (GONE,)},
        "sampling.endTokens: not the tokens of endTokenOrigins",
    ),
    "an end token that is removed": (
        {"sampling.end_token_origins": (STATED, GONE), "sampling.end_tokens": (2, 7)},
        "sampling.endTokens: not the tokens of endTokenOrigins",
    ),
    "end tokens in another order": (
        {"sampling.end_token_origins": (GONE, STATED)},
        "sampling.endTokenOrigins: not sorted by token id",
    ),
    "origins in another order": (
        {"sampling.end_token_origins": (changed(STATED, {"origins": STATED.origins[::-1]}),)},
        "sampling.endTokenOrigins: origins out of order",
    ),
    "no room for a prompt": (
        {"sampling.max_new_tokens": PLAN.prompt.context_limit},
        "leaves no room for a prompt",
    ),
    "a day that never was": ({"prompt.date": "2026-02-30"}, "prompt.date: no such day"),
    # Judge
    "a judge of another digest": (
        {"judge.digest": "ab" * 32},
        "judge hash coin: its digest does not follow",
    ),
    "another parser under the same digest": (
        {"judge.parser": "hash-coin/2"},
        "judge hash coin: its digest does not follow",
    ),
    "a second judge of another digest": (
        {"judge.second": changed(SECOND, {"digest": "ab" * 32})},
        "judge second: its digest does not follow",
    ),
    "a rule with weights": (
        {"judge.weights": "ab" * 32},
        "judge hash coin: weights go with a model",
    ),
    "a model without weights": (
        {"judge.second": changed(SECOND, {"weights": None})},
        "judge second: weights go with a model",
    ),
    "weights behind an API": (
        {"judge.second": changed(SECOND, {"remote": True})},
        "judge second: weights go with a model",
    ),
    "a rule without strings": (
        {"judge.template": None},
        "judge hash coin: its template, or the strings of its rule, are missing",
    ),
    "more right answers than answers": (
        {"judge.calibration": changed(CALIBRATION, {"true_positives": 272})},
        "sensitivity: more right answers than answers",
    ),
    "a better sensitivity": (
        {"judge.calibration": changed(CALIBRATION, {"sensitivity": "0.999999"})},
        "judge.calibration.sensitivity: 0.959410 follows from the counts",
    ),
    "a better specificity": (
        {"judge.calibration": changed(CALIBRATION, {"specificity": "1.000000"})},
        "judge.calibration.specificity: 0.955056 follows from the counts",
    ),
    "a narrower interval": (
        {"judge.calibration": changed(CALIBRATION, {"sensitivity_interval.lower": "0.950000"})},
        "judge.calibration.sensitivityInterval: not Wilson's",
    ),
    "another interval": (
        {"judge.calibration": changed(CALIBRATION, {"specificity_interval": None})},
        "judge.calibration.specificityInterval: not Wilson's",
    ),
    "a share of nothing": (
        {
            "judge.calibration": changed(
                CALIBRATION, EMPTY_CALIBRATION | {"sensitivity": "0.000000"}
            )
        },
        "judge.calibration.sensitivity: null follows",
    ),
    "a calibration of another judge": (
        {"judge.calibration": changed(CALIBRATION, {"judge": "ab" * 32})},
        "judge.calibration.judge: not the digest of judge hash coin",
    ),
    "a better stratum": (
        {"judge.calibration": changed(STRATIFIED, {"strata.1.sensitivity": "0.950000"})},
        "judge.calibration.strata[1].sensitivity: 0.900000 follows from the counts",
    ),
    "a narrower interval of a stratum": (
        {
            "judge.calibration": changed(
                STRATIFIED, {"strata.0.specificity_interval.lower": "0.950000"}
            )
        },
        "judge.calibration.strata[0].specificityInterval: not Wilson's",
    ),
    "more right answers than answers in a stratum": (
        {"judge.calibration": changed(STRATIFIED, {"strata.0.true_negatives": 101})},
        "judge.calibration.strata[0]: specificity: more right answers than answers",
    ),
    "a stratum left out": (
        {"judge.calibration": changed(STRATIFIED, {"strata": STRATA[:1]})},
        "judge.calibration.strata: truePositives add up to 170",
    ),
    "a stratum with less unscored": (
        {"judge.calibration": changed(STRATIFIED, {"strata.1.unscored": 3})},
        "judge.calibration.strata: unscored add up to 4",
    ),
    "two strata of one name": (
        {"judge.calibration": changed(STRATIFIED, {"strata.1.stratum": "plain"})},
        "judge.calibration.strata: two strata have the same name",
    ),
    # Queries
    "two query sources of one name": (
        {"queries.1.name": "alpha"},
        "queries: two sources have the same name",
    ),
    "a repeated query": ({"query_ids.1": "alpha/00000"}, "queryIds: an id appears twice"),
    "a missing query": ({"query_ids": PLAN.query_ids[1:]}, "queryIds: not the selected numbers"),
    "a query too many": (
        {"query_ids": (*PLAN.query_ids, "gamma/9")},
        "queryIds: not the selected numbers",
    ),
    "queries of an unknown source": (
        {"query_ids.0": "delta/0"},
        "queryIds: not the selected numbers",
    ),
    "queries pooled in another order": (
        {"query_ids": PLAN.query_ids[::-1]},
        "queryIds: not the selected numbers",
    ),
    "no harmful queries": (
        {f"queries.{i}.role": QueryRole.BENIGN_CONTROL for i in range(2)},
        "queries: no source of role harmful",
    ),
    "more queries than rows": (
        {"queries.0.rows": 2},
        "alpha: more taken and dropped than the file's 2 rows",
    ),
    "more dropped than there were": (
        {"queries.0.empty_rows": 1},
        "alpha: more taken and dropped than the file's 3 rows",
    ),
    # Demonstrations
    "two benign sources of one name": (
        {"demonstrations.benign.1.name": "benign-proxy"},
        "demonstrations.benign: two sources have the same name",
    ),
    "a wrong number of lists": (
        {"demonstrations.distinct_lists": 13},
        "demonstrations.distinctLists: 14 follow",
    ),
    "another draw block": (
        {"demonstrations.draw_block": 2},
        "demonstrations.distinctLists: 8 follow",
    ),
    "a pool larger than its file": (
        {"demonstrations.benign.1.decontaminated": 249},
        "or-bench: more taken and dropped than the file's 256 rows",
    ),
    "benign demonstrations as harmful": (
        {"demonstrations.harmful.kind": DemonstrationKind.BENIGN},
        "harmful-proxy: of kind benign, in the place of harmful",
    ),
    "harmful demonstrations as benign": (
        {"demonstrations.benign.1.kind": DemonstrationKind.HARMFUL},
        "or-bench: of kind harmful, in the place of benign",
    ),
    "benign demonstrations as refusals": (
        {"demonstrations.refusal.kind": DemonstrationKind.BENIGN},
        "refusals: of kind benign, in the place of refusal",
    ),
    "too small a harmful pool": (
        {"demonstrations.harmful.pool": 2},
        "h3-b2-suffix: more harmful demonstrations than the pool's 2",
    ),
    "too small a benign pool": (
        {"demonstrations.benign.0.pool": 3},
        "h0-b4: more benign demonstrations than the pool's 3",
    ),
    "too small a refusal pool": (
        {"demonstrations.refusal.pool": 1},
        "h2-b3-middle-ctx:policy: more refusal examples than the pool's 1",
    ),
    "no harmful pool": (
        {"demonstrations.harmful": None},
        "more harmful demonstrations than the pool's 0",
    ),
    "no refusal pool": (
        {"demonstrations.refusal": None},
        "more refusal examples than the pool's 0",
    ),
    "gap turns of no source": (
        {"contexts.1.gap_source": None, "conditions.5.context.gap_source": None},
        "h2-b3-middle-ctx:policy: a gap source is given exactly where there are gap turns",
    ),
    "a gap source without turns": (
        {"contexts.1.gap_turns": 0, "conditions.5.context.gap_turns": 0},
        "h2-b3-middle-ctx:policy: a gap source is given exactly where there are gap turns",
    ),
    "more gap turns than the pool has": (
        {"contexts.1.gap_turns": 9, "conditions.5.context.gap_turns": 9},
        "h2-b3-middle-ctx:policy: more gap turns than the pool has left",
    ),
    "more gap turns than the demonstrations leave": (
        {
            "demonstrations.benign.0.pool": 5,
            "contexts.1.gap_source": "benign-proxy",
            "conditions.5.context.gap_source": "benign-proxy",
        },
        "h2-b3-middle-ctx:policy: more gap turns than the pool has left",
    ),
    "gap turns of an unknown source": (
        {"contexts.1.gap_source": "unknown", "conditions.5.context.gap_source": "unknown"},
        "h2-b3-middle-ctx:policy: more gap turns than the pool has left",
    ),
    "an unknown benign source": (
        {"conditions.3.benign_source": "unknown"},
        "h0-b4: more benign demonstrations than the pool's 0",
    ),
    # Conditions
    "no ordering of a mixture": (
        {"conditions.1.ordering": None},
        "h3-b2-suffix: an ordering is given exactly where both kinds",
    ),
    "an ordering of one kind": (
        {"conditions.3.ordering": Ordering.SUFFIX},
        "h0-b4: an ordering is given exactly where both kinds",
    ),
    "no benign source": (
        {"conditions.1.benign_source": None},
        "h3-b2-suffix: a benign source is given exactly where benign",
    ),
    "a needless benign source": (
        {"conditions.0.benign_source": "or-bench"},
        "h0-b0: a benign source is given exactly where benign",
    ),
    "an unknown context": (
        {"conditions.5.context.role": "user"},
        "its context is not among the plan's",
    ),
    "an unknown prefix": (
        {"conditions.4.response_prefix": "Well,"},
        "its response prefix is not among the plan's",
    ),
    "labels of another order": (
        {"conditions.1.labels": "hhhbb"},
        "h3-b2-suffix: labels do not follow",
    ),
    "labels with other counts": ({"conditions.1.labels": "bbbhh"}, "labels do not follow"),
    "labels left out": ({"conditions.1.labels": None}, "labels do not follow"),
    "labels fixed under random": (
        {"conditions.2.labels": "bbhhh"},
        "h3-b2-random: labels do not follow",
    ),
    "labels without the refusals": ({"conditions.5.labels": "bbhhb"}, "labels do not follow"),
    "more demonstrations than the id says": (
        {"conditions.3.n_benign": 5, "conditions.3.labels": "bbbbb"},
        "h0-b4: the id should be h0-b5",
    ),
    "another ordering than the id says": (
        {"conditions.1.ordering": Ordering.PREFIX, "conditions.1.labels": "hhhbb"},
        "h3-b2-suffix: the id should be h3-b2-prefix",
    ),
    "an id that hides the prefix": (
        {"conditions.4.id": "h2-b2-interleave-src:or-bench"},
        "the id should be h2-b2-interleave-src:or-bench-pre:2",
    ),
    "an id that hides the source": (
        {"conditions.4.id": "h2-b2-interleave-pre:2"},
        "the id should be h2-b2-interleave-src:or-bench-pre:2",
    ),
    "an id that hides the context": (
        {"conditions.5.id": "h2-b3-middle"},
        "the id should be h2-b3-middle-ctx:policy",
    ),
    "an id with leading zeros": (
        {"conditions.3.id": "h00-b4"},
        "h00-b4: the id should be h0-b4",
    ),
    # Grid
    "a condition twice": (
        {"conditions": (*PLAN.conditions, PLAN.conditions[1]), "points": 98},
        "h3-b2-suffix: planned 2 times",
    ),
    "no baseline": (
        {"conditions": PLAN.conditions[1:], "points": 70},
        "conditions: the first is h3-b2-suffix, not the baseline h0-b0",
    ),
    "an experiment of unknown conditions": (
        {"experiments.0.conditions.0": "h9-b0"},
        "experiments: h9-b0 is not among the conditions",
    ),
    "an experiment that names a condition twice": (
        {"experiments.1.conditions": ("h3-b2-suffix", "h3-b2-suffix", "h3-b2-random")},
        "experiments: orderings names a condition twice",
    ),
    "a condition of no experiment": (
        {"experiments": PLAN.experiments[:2]},
        "experiments: a condition belongs to no experiment",
    ),
    "a primary hypothesis that nothing tests": (
        {"experiments.0.kind": ExperimentKind.CONTEXTS},
        "primary: no experiment can answer joint",
    ),
    "two contexts of one form": (
        {"contexts": (default_context(), POLICY, POLICY)},
        "contexts: a form appears twice",
    ),
    "too few points": ({"points": 83}, "points: conditions × queries × draws are 84"),
    "another number of draws": (
        {"demonstrations.draws": 3, "demonstrations.distinct_lists": 21},
        "points: conditions × queries × draws are 126",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), PLANTED.values(), ids=PLANTED)
def test_every_planted_contradiction_is_found(changes: Changes, expected: str) -> None:
    problems = plan_problems(changed(rich_plan(), changes))
    assert any(expected in problem for problem in problems), problems
    assert all(len(problem.splitlines()) == 1 for problem in problems)


def _root(*digests: str) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def test_both_roots_are_stated_where_the_orders_differ() -> None:
    """By code point ``model.safetensors`` goes before ``model/…``; by path parts, after."""
    first, second = (file.sha256 for file in TWO_FILES)
    in_order = _root(first, second)
    other = _root(second, first)
    for order, root, alternative in (
        (RootOrder.CODE_POINT, in_order, other),
        (RootOrder.PATH_PARTS, other, in_order),
    ):
        changes: Changes = {
            "checkpoint.files": TWO_FILES,
            "checkpoint.root_order": order,
            "checkpoint.root": root,
            "checkpoint.alternative_root": alternative,
        }
        assert plan_problems(changed(rich_plan(), changes)) == []
        without = changed(rich_plan(), changes | {"checkpoint.alternative_root": None})
        assert plan_problems(without) == [
            "checkpoint.alternativeRoot: does not follow from the files"
        ]
        swapped = {"checkpoint.root": alternative, "checkpoint.alternative_root": root}
        assert len(plan_problems(changed(rich_plan(), changes | swapped))) == 2


# Events

ROUND = BeaconRound(chain="drand-quicknet", round=7)
VALUE = BeaconValue(chain="drand-quicknet", round=7, value=Sha256("ab" * 32))


@pytest.mark.parametrize(
    ("of_plan", "of_event", "expected"),
    [
        (None, {}, []),
        (None, {"finished_at": EVENT.started_at}, []),
        (None, {"started_at": "2024-02-29T23:59:59Z"}, []),
        (ROUND, {"beacon": VALUE}, []),
        (None, {"started_at": "2026-01-01T00:01:01Z"}, ["finished before it started"]),
        (
            None,
            {"finished_at": "2026-02-29T00:00:00Z"},
            ["2026-02-29T00:00:00Z is not a valid time"],
        ),
        (ROUND, {}, ["the beacon is not the one the plan names"]),
        (None, {"beacon": VALUE}, ["the beacon is not the one the plan names"]),
        (
            ROUND,
            {"beacon": changed(VALUE, {"round": 8})},
            ["the beacon is not the one the plan names"],
        ),
        (
            ROUND,
            {"beacon": changed(VALUE, {"chain": "another"})},
            ["the beacon is not the one the plan names"],
        ),
    ],
)
def test_events_that_contradict_themselves_or_the_plan(
    of_plan: BeaconRound | None, of_event: Changes, expected: list[str]
) -> None:
    plan: PlanPredicate = changed(rich_plan(), {"beacon": of_plan})
    event: Event = changed(EVENT, of_event)
    assert list(event_problems(plan, event)) == expected
