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
    RoundSignature,
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
    ServerDialect,
)
from safety_receipts.receipts.model.point import Reason


class DigestReference(WireModel):
    """A reference to a signed statement by the digest of its payload."""

    digest: Digest
    """SHA-256 of the DSSE payload bytes."""


class BeaconValue(BeaconRound):
    """The published value of a beacon round."""

    value: Digest
    """Randomness of the round, 32 bytes as hexadecimal digits."""
    signature: Annotated[RoundSignature | None, Field(exclude_if=lambda value: value is None)] = (
        None
    )
    """Signature of the round, a point of 48 bytes as hexadecimal digits: its SHA-256 is the value;
    null: it was not given, and nothing shows that the beacon said so."""


class Event(WireModel):
    """The run that produced the receipt."""

    id: Name
    """Id of the run."""
    started_at: Timestamp
    """Time at which the first point was started (UTC)."""
    finished_at: Timestamp
    """Time at which the last point was finished (UTC)."""
    restarts: Count
    """Number of times the run was resumed."""
    retries: Count
    """Number of points that were tried again because generation or the judge failed."""
    discarded: Count
    """Number of finished points that were discarded in order to start over."""
    looks: Count
    """Number of times the running rates were looked at before the end."""
    beacon: BeaconValue | None
    """The value of the beacon round; null where the plan names no round."""


class Counts(WireModel):
    """How many points ended in which way; the numbers add up.

    planned = generated + failed; generated = refused + complied + unscored.
    """

    planned: Count
    """Number of points that the plan asks for."""
    generated: Count
    """Number of points with a response."""
    failed: Count
    """Number of points without a response."""
    refused: Count
    """Number of points judged as refused."""
    complied: Count
    """Number of points judged as complied."""
    unscored: Count
    """Number of points with a response that was judged neither as refused nor as complied."""
    length_stopped: Count
    """Number of responses that ended at the token limit."""


class ReasonCount(WireModel):
    """Number of points that were unscored or failed for one reason."""

    reason: Reason
    """The reason why these points are unscored or failed."""
    points: Positive
    """Number of points with this reason."""


class CorrectedRate(Interval):
    """A compliance rate corrected for the judge's errors, with its interval."""

    rate: Rate
    """The corrected rate, from 0 to 1 (Rogan and Gladen 1978)."""


class SourceResult(WireModel):
    """The results of one condition on one query source."""

    source: Source
    """Name of the query source."""
    role: QueryRole
    """Role of the query source."""
    counts: Counts
    """Counts of the source's points by outcome."""
    compliance_rate: Rate | None
    """complied / (complied + refused), from 0 to 1; null where no point was judged."""
    interval: Interval | None
    """Interval of the compliance rate; null where no point was judged."""


class ControlResult(WireModel):
    """The results of one condition on all benign control queries: a model that refuses everything
    fails here.
    """

    counts: Counts
    """Counts of the control points by outcome."""
    refusal_rate: Rate | None
    """Over-refusal rate: refused / (complied + refused), from 0 to 1; null where no point was
    judged."""
    interval: Interval | None
    """Interval of the over-refusal rate; null where no point was judged."""


class ConditionResult(PlannedCondition):
    """One condition with its results, over queries of role ``harmful`` unless stated otherwise."""

    counts: Counts
    """Counts of the condition's points by outcome."""
    reasons: Annotated[tuple[ReasonCount, ...], Field(max_length=64)]
    """Numbers of points that are unscored or failed, by reason: the reasons that occur, in the
    order of the list of reasons."""
    compliance_rate: Rate | None
    """complied / (complied + refused), from 0 to 1; null where no point was judged."""
    interval: Interval | None
    """Interval of the compliance rate, for points clustered by query and by shared demonstration
    list; null where no point was judged."""
    corrected_rate: CorrectedRate | None
    """The compliance rate corrected for the judge's errors as calibrated; null where the judge is
    not calibrated, and where no rate from 0 to 1 explains the counts."""
    baseline_difference: Difference | None
    """The compliance rate minus the baseline's, paired by query; null for the baseline itself,
    and where either rate is null."""
    as_published_rate: Rate | None
    """(generated − refused) / generated, as the paper counts: every response that is not a refusal
    counts as compliance.  Null where nothing was generated."""
    worst_case_rate: Rate | None
    """(planned − refused) / planned: every point without a judged refusal counts as compliance.
    Null where nothing was planned."""
    distinct_prompts: Count
    """Number of different prompts among the generated points: with greedy sampling, the draws of a
    condition without demonstrations are the same prompt asked again."""
    mean_prompt_tokens: Mean | None
    """Mean length in tokens of the prompts of the generated points; null where nothing was
    generated."""
    by_source: Annotated[tuple[SourceResult, ...], Field(min_length=1, max_length=64)]
    """The same results for each query source, control sources included."""
    control: ControlResult | None
    """Results on the benign control queries; null where the plan has none."""


class Baseline(WireModel):
    """The zero-demonstration condition, with which every other condition is compared."""

    condition: Condition
    """Id of the baseline condition."""
    counts: Counts
    """Counts of the baseline's points by outcome."""
    compliance_rate: Rate | None
    """Compliance rate of the baseline, from 0 to 1; null where no point was judged."""


class Evidence(WireModel):
    """What binds the receipt to its evidence lines."""

    algorithm: Literal["rfc6962-sha256"]
    """Algorithm that computes the Merkle root."""
    size: PointCount
    """Number of evidence lines."""
    root: Digest
    """Merkle root over the evidence lines in plan order."""
    access: EvidenceAccess
    """Who may hold the evidence."""


class ServerProbe(StrEnum):
    """What a server was tried for before the plan was sealed, and again at every start."""

    TOKEN_IDS = "token-ids"
    """It gave back the prompt's token ids as they were sent."""
    SEEDS = "seeds"
    """One seed gave one answer twice, and another seed another answer."""
    NO_PENALTIES = "no-penalties"
    """Of each token that it chose greedily, the likeliest was chosen by its own log-probabilities:
    no penalty that nobody asked for."""
    LENGTH = "length"
    """A response without an end was as long as asked for."""
    CONTEXT = "context"
    """It took a prompt and a response as long as the plan's longest."""


class ServerClaims(WireModel):
    """What a server says of itself: nobody else saw it."""

    version: Name | None
    """Version of the server; null: it does not say."""
    model: Name | None
    """Name under which it offers the model; null: it does not say."""
    weights: Name | None
    """Name of the folder or file from which it says that it loaded them; null: it does not say."""
    context_limit: Positive | None
    """Longest context in tokens; null: it does not say."""


class ServerObservations(WireModel):
    """What was seen of a server."""

    probes: Annotated[tuple[ServerProbe, ...], Field(max_length=16)]
    """What it was tried for and did, in the order of the list of probes; one that is not named here
    cannot be tried with such a server, or is not needed of it: a judge draws nothing by a seed."""
    repeated: Count
    """Number of answers that were held against an earlier answer to the same request."""
    differed: Count
    """Number of those that were another answer."""
    resent: Count
    """Number of requests that were sent again because the connection failed or the server was
    overloaded: a first answer to them, if there was one, was not seen."""


class ServerAccount(WireModel):
    """A server that answered: what is claimed of it, and what was seen."""

    dialect: ServerDialect
    """What it speaks."""
    started: bool
    """True: the tool started it on the folder of its model, whose files are listed, and stopped
    it."""
    arguments: Annotated[tuple[Name, ...], Field(max_length=256)]
    """Arguments with which it was started; where somebody else started it, as the plan claims."""
    concurrency: Positive
    """Largest number of requests that it was asked at a time."""
    claimed: ServerClaims
    """What it says of itself."""
    seen: ServerObservations
    """What was seen of it."""


class Environment(WireModel):
    """Software and hardware of the run, as the evaluator states them."""

    tool: Name
    """Name and version of the tool that ran and sealed the event."""
    engine: EngineKind
    """Kind of engine that generated the responses."""
    device: Name
    """Processor or accelerator."""
    driver: Name | None
    """Version of the device's driver; null: none, or not known."""
    platform: Name
    """Operating system and architecture."""
    python: Name
    """Python version."""
    torch: Name | None
    """Version of torch; null: not used."""
    transformers: Name | None
    """Version of transformers; null: not used."""
    attention: Name | None
    """Attention implementation; null: the engine has none to name."""
    dtype: Dtype
    """Number format of weights and activations."""
    batch_rule: Name
    """Name and version of the rule that cut the points into batches."""
    memory_class: Name | None
    """Memory class with which that rule was used; null: none."""
    packages: Annotated[dict[Annotated[str, Field(max_length=128)], Name], Field(max_length=256)]
    """Names of further packages with their versions."""
    server: Annotated[ServerAccount | None, Field(exclude_if=lambda value: value is None)] = None
    """The server that answered, for the engine ``http``; left out for every other engine."""
    judge_server: Annotated[ServerAccount | None, Field(exclude_if=lambda value: value is None)] = (
        None
    )
    """The server that the judge asked; left out where the tool ran the judge itself."""
    second_judge_server: Annotated[
        ServerAccount | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """The server that the second judge asked; left out where there is none."""

    @property
    def judge_servers(self) -> tuple[ServerAccount, ...]:
        """The servers that judges asked, the judge's before the second judge's."""
        servers = (self.judge_server, self.second_judge_server)
        return tuple(server for server in servers if server is not None)


class TestedBox(WireModel):
    """The region that was tested; the receipt says nothing about what lies outside it."""

    largest_n: Count
    """Largest number of demonstrations that was shown (N)."""
    orderings: tuple[Ordering, ...]
    """The orderings that were tested."""
    contexts: tuple[ContextForm, ...]
    """The context forms that were tested."""
    untested_contexts: tuple[ContextForm, ...]
    """The known context forms that were not tested."""
    languages: tuple[Name, ...]
    """Languages of the queries (BCP 47 tags); empty: not stated."""


class Limit(StrEnum):
    """What the receipt does not show.  A gate reads the code; people read its meaning."""

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
    WEIGHTS_CLAIMED = "weights-claimed-not-seen"
    SERVER_DRAWS = "server-draws-not-replayable"
    NOT_REPEATABLE = "server-not-repeatable"
    JUDGE_WEIGHTS_CLAIMED = "judge-weights-claimed-not-seen"
    JUDGE_NOT_REPEATABLE = "judge-server-not-repeatable"


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
    Limit.WEIGHTS_CLAIMED: (
        "Responses came from a server that somebody else started: that the named weights answered "
        "is the evaluator's word, until an audit replays responses with these weights."
    ),
    Limit.SERVER_DRAWS: (
        "The server drew tokens with noise of its own: nobody can derive the draws again, and an "
        "audit can only ask the model anew."
    ),
    Limit.NOT_REPEATABLE: (
        "The server gave another answer to a request that it had answered before."
    ),
    Limit.JUDGE_WEIGHTS_CLAIMED: (
        "A judge asked a server that somebody else started: that its named weights judged is the "
        "evaluator's word, until an audit judges responses with these weights."
    ),
    Limit.JUDGE_NOT_REPEATABLE: (
        "A judge's server gave another answer to a request that it had answered before."
    ),
}
"""What each limit means, in words."""


class EvaluationPredicate(EvaluationSetup):
    """Predicate ``urn:safety-receipts:evaluation:1``."""

    plan: DigestReference
    """The plan that was sealed before the run."""
    event: Event
    """The run that produced the receipt."""
    conditions: Annotated[tuple[ConditionResult, ...], Field(min_length=1, max_length=4096)]
    """Results of all conditions, in plan order."""
    baseline: Baseline
    """The zero-demonstration condition, with which every other condition is compared."""
    judge_agreement: JudgeAgreement | None
    """Agreement with the second judge; null where there is none."""
    findings: Findings | None
    """The verdicts on the hypotheses; null: the receipt claims none."""
    evidence: Evidence
    """What binds the receipt to its evidence lines."""
    environment: Environment
    """Software and hardware of the run, as the evaluator states them."""
    tested: TestedBox
    """The region that was tested."""
    limits: Annotated[tuple[Limit, ...], Field(min_length=1, max_length=64)]
    """What the receipt does not show."""
