"""What ``receipts plan --json`` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safety_receipts.receipts.model.base import Count, Digest, Positive
from safety_receipts.receipts.model.checkpoint import Dtype, EndTokenOrigin, SamplingMethod
from safety_receipts.receipts.model.demonstrations import DemonstrationKind, QueryRole
from safety_receipts.receipts.model.plan import Hypothesis, ServerDialect
from safety_receipts.receipts.model.receipt import Limit
from safety_receipts.receipts.view.documents.base import SCHEMA, Document
from safety_receipts.receipts.view.documents.inputs import (
    DemonstrationsTaken,
    QueriesTaken,
    TemplateOptions,
)
from safety_receipts.receipts.view.servers import ServedWork
from safety_receipts.runner.view.documents.judged import JudgedPart


class CheckpointPart(Document):
    """The checkpoint that would be asked."""

    name: str
    """Its name."""
    root: Digest
    """Its OpenSSF Model Signing root."""
    files: Count
    """How many files it has."""
    parameters: Count
    """How many parameters."""
    context_limit: Positive
    """Longest context in tokens."""
    dtype: Dtype
    """Number format of the run."""
    quantisation: str | None
    """How its weights are stored; null: not quantised."""
    dequantised: bool | None
    """Whether they are turned into ``dtype``; null: not quantised."""


class SystemPromptPart(Document):
    """The system prompt."""

    digest: Digest
    """SHA-256 of its text."""
    characters: Count
    """How long it is."""
    begins: str
    """How it begins, on one line."""
    origin: Annotated[str, Field(alias="from")]
    """Where it comes from."""


class PlanInputs(Document):
    """What was chosen that decides rates: rows, system prompt, date, template options."""

    system_prompt: SystemPromptPart | None
    """The system prompt; null: none is given, and a template may add its own."""
    date: str | None
    """The date shown to templates that print today's; null: none."""
    template_options: TemplateOptions
    """Further template variables."""
    queries: tuple[QueriesTaken, ...]
    """By corpus of queries."""
    demonstrations: tuple[DemonstrationsTaken, ...]
    """By corpus of demonstrations."""


class QueriesPart(Document):
    """One corpus of queries."""

    name: str
    """Name of the source."""
    role: QueryRole
    """Its role."""
    selected: Count
    """Queries taken from it."""
    empty_rows: Count
    """Rows dropped because they have no text."""
    duplicate_rows: Count
    """Rows dropped because they repeat an earlier one."""
    digest: Digest
    """Digest of the corpus."""


class RepeatedQueries(Document):
    """Requests that several sources have."""

    requests: Count
    """How many requests."""
    queries: Count
    """How many queries ask them."""
    left_out: Count
    """How many queries were left out for that."""


class PoolPart(Document):
    """One pool of demonstrations."""

    name: str
    """Name of the source."""
    kind: DemonstrationKind
    """What is demonstrated."""
    pool: Count
    """Rows left to draw from."""
    decontaminated: Count
    """Rows left out because the request equals a query."""
    empty_rows: Count
    """Rows dropped because they have no text."""
    duplicate_rows: Count
    """Rows dropped because they repeat an earlier one."""
    digest: Digest
    """Digest of the corpus."""


class DefaultNotApplied(Document):
    """A sampling default of the checkpoint's files that is not applied."""

    name: str
    """Its name."""
    value: str
    """Its value, as JSON text."""
    meaning: str
    """What it does, in words."""


class SamplingPart(Document):
    """How tokens are chosen."""

    method: SamplingMethod
    """Greedy or seeded."""
    temperature: str | None
    """Softmax temperature; null when greedy."""
    top_p: str | None
    """Nucleus mass; null: all."""
    top_k: Positive | None
    """Largest number of candidates; null: no limit."""
    repetition_penalty: str | None
    """Repetition penalty; null: none."""
    max_new_tokens: Positive
    """Longest response in tokens."""
    defaults_not_applied: tuple[DefaultNotApplied, ...]
    """What the checkpoint's files state besides."""


class EndTokenPart(Document):
    """A token that somebody says ends a response."""

    token: Count
    """Its id."""
    text: str
    """What the tokenizer calls it."""
    origins: tuple[EndTokenOrigin, ...]
    """Who says so."""
    removed: bool
    """Whether the plan file says that it does not."""


class SupposedRatePart(Document):
    """What could be decided if every condition had one compliance rate."""

    rate: float
    """The rate, from 0 to 1."""
    detectable: float | None
    """Size found with power .8 at level .05, were points independent: of β2 for ``joint``, else a
    difference of two rates, from 0 to 1; null: nothing can be estimated."""
    none_shown: float | None
    """For ``joint``: share of studies that show *none* where β2 is 0; else null."""
    informative_queries: float | None
    """For ``joint``: queries expected to give both outcomes at one number of harmful
    demonstrations; with fewer than 30 a test without fit decides.  Else null."""


class PrimaryPart(Document):
    """What the plan's own numbers can decide of its primary hypothesis; nothing was run."""

    hypothesis: Hypothesis
    """The hypothesis."""
    conditions: Count
    """Conditions that answer it."""
    queries: Count
    """Queries of role ``harmful``; those that ask the same count once."""
    lists: Count | None
    """Demonstration lists that queries share; null: each query has its own."""
    undecided: str | None
    """Why it will be undetermined, or hardly decided; null: it may be decided."""
    supposed: tuple[SupposedRatePart, ...]
    """What can be decided, at supposed compliance rates."""


class WarningPart(Document):
    """Something that is left in doubt although the plan can be run."""

    code: str
    """What kind of thing, for scripts."""
    message: str
    """What, in one sentence without a full stop."""
    hint: str
    """What settles it."""


class JudgePart(Document):
    """The judge."""

    name: str
    """Its name."""
    digest: Digest
    """Its identity."""


class ServerPart(Document):
    """A server that would be asked."""

    asked_for: ServedWork
    """What for."""
    dialect: ServerDialect
    """What it speaks."""
    model: str
    """Name under which it offers the model."""
    started: bool
    """Whether the tool starts it; false: somebody else does, and which weights answer is their
    word."""
    address: str | None
    """Its address, which is not sealed; null: the tool starts it."""
    arguments: tuple[str, ...]
    """Arguments with which it is started; where somebody else starts it, as the plan claims."""
    concurrency: Positive
    """Largest number of requests that it is asked at a time."""


class ConditionPart(Document):
    """Prompt lengths of one condition."""

    id: str
    """The condition."""
    points: Count
    """Its points."""
    mean_prompt_tokens: float
    """Mean length in tokens, to two places."""
    longest_prompt: Count
    """Greatest length in tokens."""
    overflowing: Count
    """Points that leave no room for the longest response."""


class SecondsPart(Document):
    """How long a run takes."""

    prefill: float
    """Seconds for prompts."""
    decode: float
    """Seconds for responses."""
    total: float
    """Both."""


class ThroughputPart(Document):
    """How fast a device is."""

    flops_per_second: float
    """Floating-point operations a second in the run's number format."""
    bytes_per_second: float
    """Bytes read or written a second, in the device's own memory."""
    source: str
    """Where the figures come from."""


class EstimatePart(Document):
    """What a run takes, by arithmetic."""

    prefill_flops: float
    """Operations for all prompts."""
    shared_prefill_flops: float
    """Operations for prompts whose common beginnings are computed once."""
    decode_tokens: Count
    """Most response tokens computed one by one."""
    decode_steps: Count
    """Most decoding passes."""
    decode_flops: float
    """Operations for them."""
    largest_context: Count
    """Tokens of the longest prompt with the longest response."""
    largest_context_bytes: Count
    """Bytes of its keys and values."""
    seconds: SecondsPart
    """With an engine that computes every prompt token."""
    seconds_shared: SecondsPart
    """Lower bound for an engine that shares prefixes; of a sample with the fewest tokens."""
    seconds_batched: SecondsPart
    """With the batches of the engine that shares prefixes; of a sample with the most tokens."""
    throughput: ThroughputPart
    """The device this is for."""
    assumptions: tuple[str, ...]
    """How the estimate is made, for people."""


class ChoicePart(Document):
    """A draw block and what it costs."""

    draw_block: Positive | Literal["all"]
    """Queries in a row that share a draw."""
    distinct_lists: Count
    """Demonstration lists per condition."""
    distinct_prompts: Count
    """Different prompts."""
    prompt_tokens: Count
    """Tokens of all prompts."""
    unique_tokens: Count
    """The same with common beginnings counted once."""
    longest_prompt: Count
    """Longest prompt that fits, in tokens."""
    overflowing: Count
    """Points that leave no room for the longest response."""
    sampled_points: Count | None
    """Points from which all that is said of prompts is estimated; null: all were counted."""
    unique_tokens_fewest: Count
    """Fewest unique tokens that are likely; ``unique_tokens`` where all were counted."""
    unique_tokens_most: Count
    """The same at most."""
    degrees_of_freedom: Positive | None
    """Of the primary hypothesis, were all points judged; null: it would be undetermined."""
    findings: str
    """What the draw block does to the findings, a sentence."""
    estimate: EstimatePart
    """Its time."""


class SealedPlanPart(Document):
    """The signed plan."""

    bundle: str
    """The bundle's folder."""
    digest: Digest
    """The plan's digest."""


class PlanDocument(Document):
    """What running a plan would take; nothing is run."""

    document: Annotated[Literal["cli-plan/1"], SCHEMA] = "cli-plan/1"
    plan: str
    """The plan file."""
    name: str
    """The plan's name."""
    digest: Digest
    """Digest that the plan has once it is sealed."""
    checkpoint: CheckpointPart
    """The checkpoint."""
    instrument: bool
    """Whether the checkpoint is a test instrument."""
    system_prompt_moved: bool
    """Whether the chat template shows the system prompt elsewhere than first."""
    inputs: PlanInputs
    """What was chosen of rows and prompt."""
    queries: tuple[QueriesPart, ...]
    """Corpora of queries."""
    repeated_queries: RepeatedQueries
    """Requests that several sources have."""
    pools: tuple[PoolPart, ...]
    """Pools of demonstrations."""
    sampling: SamplingPart
    """How tokens are chosen."""
    end_tokens: tuple[EndTokenPart, ...]
    """Tokens that end a response."""
    warnings: tuple[WarningPart, ...]
    """What is left in doubt."""
    judge: JudgePart
    """The judge."""
    judged: JudgedPart
    """What it will see of responses."""
    servers: tuple[ServerPart, ...]
    """Servers that would be asked; none was, to say this."""
    limits: tuple[Limit, ...]
    """Limits that a receipt of this plan is bound to state; a run can add to them."""
    points: Count
    """Points of the plan."""
    draws: Positive
    """Samplings of demonstrations for each query."""
    primary: PrimaryPart
    """What its primary hypothesis can be decided by."""
    conditions: tuple[ConditionPart, ...]
    """Prompt lengths by condition, in plan order."""
    chosen: ChoicePart
    """With the plan's draw block."""
    alternatives: tuple[ChoicePart, ...]
    """With others."""
    sealed: SealedPlanPart | None
    """The signed plan; null: it was not to be sealed."""
