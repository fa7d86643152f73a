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
from safety_receipts.receipts.model.checkpoint import Checkpoint, Prompt, Sampling
from safety_receipts.receipts.model.demonstrations import (
    Demonstrations,
    Experiment,
    PlannedCondition,
    QuerySource,
    ShownContext,
)
from safety_receipts.receipts.model.judge import Judge


class Hypothesis(StrEnum):
    """What can be named as primary before the run."""

    TOTAL = "total"
    """Compliance depends on the number of demonstrations."""
    JOINT = "joint"
    """Harmful and benign numbers both matter."""
    ORDERING = "ordering"
    """Compliance depends on the order."""


class EvidenceAccess(StrEnum):
    """Who may hold per-point outcomes."""

    AUDITORS = "auditors"
    """Auditors only: outcomes beside re-derivable prompts are an index of what works."""
    PUBLIC = "public"
    """Anyone; for harmless proxies."""


class EngineKind(StrEnum):
    """What generates."""

    TRANSFORMERS = "transformers"
    OPENAI = "openai"
    """A server that speaks the OpenAI API (vLLM, SGLang, TGI)."""
    MOCK = "mock"
    """A deterministic stand-in, for tests."""


def is_served(engine: EngineKind) -> bool:
    """Say whether an engine is a server with an address, whose checkpoint may have no files."""
    match engine:
        case EngineKind.OPENAI:
            return True
        case EngineKind.TRANSFORMERS | EngineKind.MOCK:
            return False
        case _:
            assert_never(engine)


class BeaconRound(WireModel):
    """A round of a public randomness beacon that lay in the future when the plan was sealed."""

    chain: Name
    """The beacon (``drand-quicknet``)."""
    round: Positive
    """Its round."""


class Rejudged(WireModel):
    """The event whose recorded responses are judged again, by another judge."""

    plan: Digest
    """Digest of its plan, from which its draws and noise derive."""
    receipt: Digest
    """Digest of its receipt."""


class EvaluationSetup(WireModel):
    """What a plan decides and its receipt states again, word for word."""

    instrument: bool
    """True for the shipped organism: a test instrument, no evidence about real models."""
    checkpoint: Checkpoint
    """The model."""
    training_stage: Name
    """base, sft, dpo, rlvr, instruct, or free text."""
    prompt: Prompt
    """How a conversation becomes token ids."""
    sampling: Sampling
    """How responses are generated."""
    queries: Annotated[tuple[QuerySource, ...], Field(min_length=1, max_length=64)]
    """Query sources, pooled in this order."""
    demonstrations: Demonstrations
    """Demonstration sources and draws."""
    judge: Judge
    """What decides whether a response refuses."""
    primary: Hypothesis
    """The hypothesis named before the run; all others are corrected for multiplicity."""
    effect_margin: Margin
    """|β2| below this, with confidence, is called none."""
    same_queries: (
        Annotated[
            tuple[Annotated[tuple[Query, ...], Field(min_length=2, max_length=64)], ...],
            Field(max_length=200_000),
        ]
        | None
    ) = None
    """Queries of several sources that ask the same, and are one cluster of the inference; each
    list and the lists in pooled order.  Null: not looked for, and each is its own."""
    request_rule: Name | None = None
    """Name and version of the rule by which two requests are one; null: ``requests/1``, the first,
    under which a filter of rows was no limit of the receipt either."""
    rejudges: Rejudged | None = None
    """The event whose responses are judged again; null: the plan's own points are generated."""


class PlanPredicate(EvaluationSetup):
    """Predicate ``urn:safety-receipts:plan:1``.

    It holds no time, no random value and no version of this tool: the same plan gives the
    same digest, and so the same draws, however often and by whichever version it is sealed.
    """

    name: Name
    """Title of the evaluation."""
    evidence_access: EvidenceAccess
    """Who may hold per-point outcomes."""
    engine: EngineKind
    """What generates."""
    batch_rule: Name
    """Name and version of the rule that cuts batches in plan order."""
    beacon: BeaconRound | None
    """Beacon round that joins the seed; null: the plan's digest alone."""
    query_ids: Annotated[tuple[Query, ...], Field(min_length=1, max_length=1_000_000)]
    """Every evaluation query, in pooled order."""
    response_prefixes: Annotated[tuple[Name, ...], Field(max_length=64)]
    """Response prefixes; ``-pre:1`` in a condition id names the first."""
    contexts: Annotated[tuple[ShownContext, ...], Field(min_length=1, max_length=64)]
    """Contexts; the first is the default."""
    experiments: Annotated[tuple[Experiment, ...], Field(min_length=1, max_length=256)]
    """Which conditions are read together."""
    conditions: Annotated[tuple[PlannedCondition, ...], Field(min_length=1, max_length=4096)]
    """All conditions, in the order they are run; the first is the baseline ``h0-b0``."""
    points: PointCount
    """Evaluation points: conditions × queries × draws."""
