"""The sealed plan: everything decided before the run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, assert_never

from pydantic import Field

from safety_receipts.receipts.model.base import (
    Digest,
    Margin,
    Name,
    PointCount,
    Positive,
    Query,
    WireModel,
)
from safety_receipts.receipts.model.checkpoint import Checkpoint, Dtype, Prompt, Sampling
from safety_receipts.receipts.model.demonstrations import (
    Demonstrations,
    Experiment,
    PlannedCondition,
    QuerySource,
    ShownContext,
)
from safety_receipts.receipts.model.judge import Judge


class Hypothesis(StrEnum):
    """The hypotheses that can be named as primary before the run."""

    TOTAL = "total"
    """Compliance depends on the number of demonstrations."""
    JOINT = "joint"
    """Compliance depends on the numbers of harmful and of benign demonstrations."""
    ORDERING = "ordering"
    """Compliance depends on the order."""


class EvidenceAccess(StrEnum):
    """Who may hold the outcomes of single points."""

    AUDITORS = "auditors"
    """Auditors only: outcomes beside prompts that can be derived again would show which prompts
    work."""
    PUBLIC = "public"
    """Anyone; for harmless stand-ins only."""


class EngineKind(StrEnum):
    """Kinds of engine that generate responses."""

    TRANSFORMERS = "transformers"
    OPENAI = "openai"
    """A server that speaks the OpenAI API (vLLM, SGLang, TGI)."""
    MOCK = "mock"
    """A deterministic stand-in, for tests."""
    HTTP = "http"
    """A server that takes token ids and gives token ids back (vLLM, llama.cpp, SGLang)."""


def is_served(engine: EngineKind) -> bool:
    """Say whether an engine is a server with an address, whose checkpoint may have no files."""
    match engine:
        case EngineKind.OPENAI | EngineKind.HTTP:
            return True
        case EngineKind.TRANSFORMERS | EngineKind.MOCK:
            return False
        case _:
            assert_never(engine)


def asks_server(engine: EngineKind) -> bool:
    """Say whether an engine gives token ids to a server, and takes token ids from it."""
    match engine:
        case EngineKind.HTTP:
            return True
        case EngineKind.OPENAI | EngineKind.TRANSFORMERS | EngineKind.MOCK:
            return False
        case _:
            assert_never(engine)


class ServerDialect(StrEnum):
    """What an engine of kind ``http`` speaks with its server."""

    VLLM = "vllm"
    """vLLM's ``/v1/completions``."""
    LLAMACPP = "llamacpp"
    """``/completion`` of llama.cpp's server."""
    SGLANG = "sglang"
    """SGLang's ``/generate``."""


class PlannedServer(WireModel):
    """A server that an engine of kind ``http``, or a judge, asks."""

    dialect: ServerDialect
    """What it speaks."""
    model: Name
    """Name under which it offers the model."""
    started: bool
    """True: the tool starts it on the folder of its model, whose files are listed, and stops it.
    False: somebody else did, and which weights answer is their word."""
    arguments: Annotated[tuple[Name, ...], Field(max_length=256)]
    """Arguments with which it is started; where somebody else starts it, as the plan claims."""
    concurrency: Annotated[Positive, Field(le=4096)]
    """Largest number of requests that it is asked at a time."""
    weights: Annotated[Name | None, Field(exclude_if=lambda value: value is None)] = None
    """Name of the one file in its model's folder that the tool starts it on; null, or absent: it is
    started on the folder, or by somebody else, or the plan is older than this field."""


class BeaconRound(WireModel):
    """A round of a public randomness beacon that was still in the future when it was named."""

    chain: Name
    """Name of the beacon (``drand-quicknet``)."""
    round: Positive
    """Number of the beacon's round."""


class Rejudged(WireModel):
    """The event whose recorded responses another judge judges again."""

    plan: Digest
    """Digest of that event's plan, from which its draws and its noise derive."""
    receipt: Digest
    """Digest of that event's receipt."""


class EvaluationSetup(WireModel):
    """What a plan decides and its receipt states again, word for word."""

    instrument: bool
    """True for the embedded test organism: it is a test instrument and gives no evidence about real
    models."""
    checkpoint: Checkpoint
    """The checkpoint that is evaluated."""
    training_stage: Name
    """Training stage of the checkpoint: base, sft, dpo, rlvr, instruct, or free text."""
    prompt: Prompt
    """How a conversation becomes token ids."""
    sampling: Sampling
    """How responses are generated."""
    queries: Annotated[tuple[QuerySource, ...], Field(min_length=1, max_length=64)]
    """Query sources, pooled in this order."""
    demonstrations: Demonstrations
    """Where demonstrations come from and how they are drawn."""
    judge: Judge
    """The judge that decides whether a response refuses."""
    primary: Hypothesis
    """The hypothesis that was named before the run; all others are corrected for multiple
    testing."""
    effect_margin: Margin
    """Equivalence margin: an effect is called ``none`` where β2 is shown to lie within ± this
    value."""
    same_queries: (
        Annotated[
            tuple[Annotated[tuple[Query, ...], Field(min_length=2, max_length=64)], ...],
            Field(max_length=200_000),
        ]
        | None
    ) = None
    """Groups of queries of several sources that ask the same; each group is one cluster of the
    inference.  The ids of a group, and the groups, are in pooled order.  Null: not looked for, and
    each query is a cluster of its own."""
    request_rule: Name | None = None
    """Name and version of the rule by which two requests count as the same; null: the first rule,
    ``requests/1``, under which the limit ``selected-rows`` did not exist."""
    rejudges: Rejudged | None = None
    """The event whose recorded responses are judged again; null: this event generates its own
    responses."""


class PlanPredicate(EvaluationSetup):
    """Predicate ``urn:safety-receipts:plan:1``.

    It holds no time, no random value and no version of this tool: the same plan gives the
    same digest, and so the same draws, however often and by whichever version it is sealed.
    """

    name: Name
    """Title of the evaluation."""
    evidence_access: EvidenceAccess
    """Who may hold the outcomes of single points."""
    engine: EngineKind
    """Kind of engine that generates the responses."""
    server: Annotated[PlannedServer | None, Field(exclude_if=lambda value: value is None)] = None
    """The server, for the engine ``http``; left out for every other engine."""
    judge_server: Annotated[PlannedServer | None, Field(exclude_if=lambda value: value is None)] = (
        None
    )
    """The server that the judge asks; left out where the tool runs the judge itself."""
    second_judge_server: Annotated[
        PlannedServer | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """The server that the second judge asks; left out where there is none."""
    batch_rule: Name
    """Name and version of the rule that cuts the points, in plan order, into batches."""
    beacon: BeaconRound | None
    """Beacon round whose value becomes part of the seed; null: the seed derives from the plan's
    digest alone."""
    query_ids: Annotated[tuple[Query, ...], Field(min_length=1, max_length=1_000_000)]
    """Ids of all evaluation queries, in pooled order."""
    response_prefixes: Annotated[tuple[Name, ...], Field(max_length=64)]
    """The response prefixes; ``-pre:1`` in a condition id means the first."""
    contexts: Annotated[tuple[ShownContext, ...], Field(min_length=1, max_length=64)]
    """The contexts in which demonstrations are shown; the first is the default."""
    experiments: Annotated[tuple[Experiment, ...], Field(min_length=1, max_length=256)]
    """The experiments: sets of conditions that are read together."""
    conditions: Annotated[tuple[PlannedCondition, ...], Field(min_length=1, max_length=4096)]
    """All conditions, in the order in which they are run; the first is the baseline ``h0-b0``."""
    points: PointCount
    """Number of evaluation points: conditions × queries × draws."""


def asked_of(plan: PlanPredicate, server: PlannedServer, dtype: Dtype) -> PlanPredicate:
    """Return a plan as a server runs it, whatever engine it names.

    Args:
        plan: The plan.
        server: The server that is asked instead.
        dtype: Number format in which it runs.
    """
    checkpoint = plan.checkpoint.model_copy(update={"dtype": dtype})
    changed = {"engine": EngineKind.HTTP, "server": server, "checkpoint": checkpoint}
    return plan.model_copy(update=changed)
