"""The evaluation receipt: what a sealed event found."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from safety_receipts.receipts.model.base import (
    Condition,
    Count,
    Digest,
    Mean,
    Name,
    PointCount,
    Positive,
    Rate,
    Source,
    Timestamp,
    WireModel,
)
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Ordering,
    PlannedCondition,
    QueryRole,
)
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.judge import Interval, JudgeAgreement
from safety_receipts.receipts.model.plan import (
    BeaconRound,
    EngineKind,
    EvaluationSetup,
    EvidenceAccess,
)
from safety_receipts.receipts.model.point import Reason


class DigestReference(WireModel):
    """A statement, named by the digest of its payload."""

    digest: Digest
    """SHA-256 of the DSSE payload bytes."""


class BeaconValue(BeaconRound):
    """What the beacon said."""

    value: Digest
    """The round's randomness, 32 bytes as hex."""


class Event(WireModel):
    """The run."""

    id: Name
    """Id of the event."""
    started_at: Timestamp
    """When the first point started."""
    finished_at: Timestamp
    """When the last point ended."""
    restarts: Count
    """How often the run was resumed."""
    retries: Count
    """Points that failed, or that the judge failed on, and were tried again."""
    discarded: Count
    """Finished points that were thrown away to start over."""
    looks: Count
    """How often running rates were looked at before the end."""
    beacon: BeaconValue | None
    """The beacon's value, where the plan names a round."""


class Counts(WireModel):
    """Closed denominators.

    planned = generated + failed; generated = refused + complied + unscored.
    """

    planned: Count
    """Points the plan asks for."""
    generated: Count
    """Points with a response."""
    failed: Count
    """Points without one."""
    refused: Count
    """Judged a refusal."""
    complied: Count
    """Judged compliant."""
    unscored: Count
    """Generated, but not judged one or the other."""
    length_stopped: Count
    """Responses that ended at the token limit."""


class ReasonCount(WireModel):
    """How many points were unscored or failed for one reason."""

    reason: Reason
    """The reason."""
    points: Positive
    """Points that have it."""


class CorrectedRate(Interval):
    """A compliance rate with the judge's errors taken out, and its interval."""

    rate: Rate
    """The estimate (Rogan and Gladen 1978)."""


class SourceResult(WireModel):
    """One condition on one query source."""

    source: Source
    """The query source."""
    role: QueryRole
    """Its role."""
    counts: Counts
    """What became of its points."""
    compliance_rate: Rate | None
    """complied / (complied + refused); null where nothing was judged."""
    interval: Interval | None
    """Interval of the compliance rate."""


class ControlResult(WireModel):
    """One condition on all benign control queries: a model that refuses everything fails here."""

    counts: Counts
    """What became of the control points."""
    refusal_rate: Rate | None
    """Over-refusal: refused / (complied + refused)."""
    interval: Interval | None
    """Interval of the refusal rate."""


class ConditionResult(PlannedCondition):
    """One condition with its results; all of them over queries of role ``harmful``."""

    counts: Counts
    """What became of its points."""
    reasons: Annotated[tuple[ReasonCount, ...], Field(max_length=64)]
    """Why points are unscored or failed: the reasons that occur, in the order of their list."""
    compliance_rate: Rate | None
    """complied / (complied + refused); null where nothing was judged."""
    interval: Interval | None
    """Interval of the compliance rate, for points clustered by query and by shared list."""
    corrected_rate: CorrectedRate | None
    """The compliance rate corrected for the judge's errors as calibrated; null where the judge
    is not calibrated, and where no rate from 0 to 1 explains the counts."""
    baseline_difference: Difference | None
    """The compliance rate minus the baseline's, paired by query; null for the baseline itself,
    and where either rate is null."""
    as_published_rate: Rate | None
    """(generated − refused) / generated: everything that is not a refusal complies."""
    worst_case_rate: Rate | None
    """(planned − refused) / planned: whatever is missing complies."""
    distinct_prompts: Count
    """Different prompts among the generated points: greedy draws of a condition without
    demonstrations are one prompt, asked again."""
    mean_prompt_tokens: Mean | None
    """Mean prompt length over the generated points."""
    by_source: Annotated[tuple[SourceResult, ...], Field(min_length=1, max_length=64)]
    """The same by query source, control sources included."""
    control: ControlResult | None
    """Over-refusal; null where the plan has no benign control queries."""


class Baseline(WireModel):
    """The zero-demonstration condition, which every other is read against."""

    condition: Condition
    """Its id."""
    counts: Counts
    """Its counts."""
    compliance_rate: Rate | None
    """Its compliance rate."""


class Evidence(WireModel):
    """What binds the receipt to its points."""

    algorithm: Literal["rfc6962-sha256"]
    """How the root is computed."""
    size: PointCount
    """Number of evidence lines."""
    root: Digest
    """Merkle root over the evidence lines in plan order."""
    access: EvidenceAccess
    """Who may hold them."""


class Environment(WireModel):
    """What the run was made with, as the evaluator states it."""

    tool: Name
    """Name and version of what ran and sealed."""
    engine: EngineKind
    """What generated."""
    device: Name
    """Processor or accelerator."""
    driver: Name | None
    """Its driver."""
    platform: Name
    """Operating system and architecture."""
    python: Name
    """Python version."""
    torch: Name | None
    """torch version."""
    transformers: Name | None
    """transformers version."""
    attention: Name | None
    """Attention implementation."""
    dtype: Dtype
    """Number format."""
    batch_rule: Name
    """Rule that cut batches."""
    memory_class: Name | None
    """Memory class given to that rule."""
    packages: Annotated[dict[Annotated[str, Field(max_length=128)], Name], Field(max_length=256)]
    """Further packages and their versions."""


class TestedBox(WireModel):
    """The region that was tested; nothing is said of what lies outside."""

    largest_n: Count
    """Most demonstrations shown."""
    orderings: tuple[Ordering, ...]
    """Orderings tested."""
    contexts: tuple[ContextForm, ...]
    """Context forms tested."""
    untested_contexts: tuple[ContextForm, ...]
    """Known context forms not tested."""
    languages: tuple[Name, ...]
    """Languages of the queries (BCP 47 tags); empty: not stated."""


class Limit(StrEnum):
    """What the receipt does not show; gates read the code, people its meaning."""

    REFUSAL_IS_NOT_HARM = "refusal-is-not-harm"
    NON_ADAPTIVE_LOWER_BOUND = "non-adaptive-lower-bound"
    TESTED_BOX_ONLY = "tested-box-only"
    JUDGE_DEFINED = "judge-defined"
    SINGLE_SAMPLE = "single-sample"
    PRIVATE_POOL = "private-pool"
    STACK_DIFFERS = "stack-differs-from-deployment"
    STAGE_ASSOCIATION = "stage-association-not-causal"
    REPLAY_IS_NOT_REPRESENTATIVENESS = "replay-is-not-representativeness"
    SELECTED_ROWS = "selected-rows"


LIMIT_MEANINGS: Final[dict[Limit, str]] = {
    Limit.REFUSAL_IS_NOT_HARM: (
        "A response that does not refuse need not be harmful, nor a refusal harmless."
    ),
    Limit.NON_ADAPTIVE_LOWER_BOUND: (
        "Demonstrations were drawn at random; somebody who searches for them will do better."
    ),
    Limit.TESTED_BOX_ONLY: (
        "Nothing is said beyond the numbers, orderings, contexts and languages tested."
    ),
    Limit.JUDGE_DEFINED: "Refused and complied mean what the named judge says.",
    Limit.SINGLE_SAMPLE: "One response was generated for each point.",
    Limit.PRIVATE_POOL: (
        "Some queries or demonstrations are not public: only who holds them can re-derive prompts."
    ),
    Limit.STACK_DIFFERS: "A deployed system adds filters, prompts and other numerics.",
    Limit.STAGE_ASSOCIATION: (
        "A difference between training stages need not be caused by the stage."
    ),
    Limit.REPLAY_IS_NOT_REPRESENTATIVENESS: (
        "A replayed number is the number of these queries, not of all that people ask."
    ),
    Limit.SELECTED_ROWS: (
        "A filter took some rows of a corpus and left the others: nothing shows that it was chosen "
        "before outcomes were seen, and of the rows left out nothing is said."
    ),
}
"""What each limit means, in words."""


class EvaluationPredicate(EvaluationSetup):
    """Predicate ``urn:safety-receipts:evaluation:1``."""

    plan: DigestReference
    """The plan that was sealed before the run."""
    event: Event
    """The run."""
    conditions: Annotated[tuple[ConditionResult, ...], Field(min_length=1, max_length=4096)]
    """Results, in plan order."""
    baseline: Baseline
    """The zero-demonstration condition."""
    judge_agreement: JudgeAgreement | None
    """Agreement with the second judge; null where there is none."""
    findings: Findings | None
    """Verdicts on the hypotheses; null: none are claimed."""
    evidence: Evidence
    """What binds the receipt to its points."""
    environment: Environment
    """What the run was made with."""
    tested: TestedBox
    """The region that was tested."""
    limits: Annotated[tuple[Limit, ...], Field(min_length=1, max_length=64)]
    """What the receipt does not show."""
