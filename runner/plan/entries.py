"""The entries of ``plan.yaml``, as models; the names are those of the file."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal as ExactDecimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.model.base import Date, Margin, Name, Source
from safety_receipts.receipts.model.checkpoint import (
    MAX_MARKS,
    ContextOverflow,
    Dtype,
    SamplingMethod,
)
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    ExperimentKind,
    Ordering,
    QueryRole,
    TruncationScope,
)
from safety_receipts.receipts.model.judge import JudgeKind, traits_of
from safety_receipts.receipts.model.plan import EngineKind, EvidenceAccess, Hypothesis, is_served
from safety_receipts.runner.corpora.read import READERS
from safety_receipts.runner.plan import schema as plan_schema


class PlanModel(BaseModel):
    """Base of everything in a plan file: frozen, and closed, so that a typing error shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Refuse an unknown key here, where the allowed ones are known."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    allowed = ", ".join(cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "no such key; allowed: {allowed}",
                        {"key": key, "allowed": allowed},
                    )
        return data


def _as_decimal(value: Any) -> Any:
    """Take 0.7 as it was written: floats print back to the shortest text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return format(ExactDecimal(str(value)), "f")


Number = Annotated[
    Margin,
    BeforeValidator(_as_decimal, json_schema_input_type=float | str),
    Field(json_schema_extra={"minimum": 0, "pattern": r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?$"}),
]
"""A number that is not negative, as an exact decimal: 0.7, or "0.7"."""

_SHARE_FORM = re.compile(r"[0-9]{1,4}(/[1-9][0-9]{0,3}|\.[0-9]{1,20})?", re.ASCII)


def _share(value: Any) -> Fraction:
    text = str(value) if isinstance(value, str) else _as_decimal(value)
    if isinstance(text, str) and _SHARE_FORM.fullmatch(text) and Fraction(text) <= 1:
        return Fraction(text)
    raise ValueError("should be a share from 0 to 1, such as 0.25 or 1/3")


Share = Annotated[
    Fraction,
    PlainValidator(_share, json_schema_input_type=float | str),
    Field(json_schema_extra={"minimum": 0, "maximum": 1, "pattern": f"^{_SHARE_FORM.pattern}$"}),
]
"""A share from 0 to 1: 0.25, or 1/3."""

# Strict: true is no number, and neither is "4".
Whole = Annotated[int, Field(strict=True, ge=1, le=MAX_SAFE_INTEGER)]
"""A whole number from 1."""

Shown = Annotated[int, Field(strict=True, ge=0, le=4096)]
"""A number of demonstrations or turns; 0 shows none."""

ShownSome = Annotated[int, Field(strict=True, ge=1, le=4096)]
"""A number of demonstrations, at least one."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value} appears twice")
    return values


class _Distinct:
    """Marks a list without repetitions, for the validator and for the schema."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(_distinct, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"uniqueItems": True}


Distinct = _Distinct()


def _day(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day") from None
    return value


def _commit(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", value) is None:
        raise ValueError("should be the commit's 40 digits: a branch or tag can move")
    return value


Revision = Annotated[
    str, AfterValidator(_commit), Field(json_schema_extra={"pattern": "^[0-9a-f]{40}$"})
]
"""A commit: 40 lower-case hex digits."""


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty")
    return value


PlanPath = Annotated[
    Path,
    BeforeValidator(_not_empty, json_schema_input_type=str),
    Field(json_schema_extra={"minLength": 1}),
]
"""A file or folder; one that is relative starts at the plan file's folder."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2048)]
"""Address of a server."""


def _known_corpus(value: str) -> str:
    if value not in READERS:
        raise ValueError(f"no such corpus; known: {', '.join(READERS)}")
    return value


def _filter_text(value: Any) -> Any:
    """Take 3 for "3", as columns are compared as text; 1.0 and true have several spellings."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("should be text or a whole number; put it in quotes")
    return value


Column = Annotated[str, Field(min_length=1, max_length=128)]
FilterValue = Annotated[Name, BeforeValidator(_filter_text, json_schema_input_type=Name | int)]


def _option(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return value
    raise ValueError("should be text, a whole number, true, false or null")


Option = Annotated[
    Name | bool | int | None,
    BeforeValidator(_option),
    Field(json_schema_extra={"minimum": -MAX_SAFE_INTEGER, "maximum": MAX_SAFE_INTEGER}),
]
"""Value of a template's variable."""


def _block(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value == "all" or (whole and 1 <= value <= MAX_SAFE_INTEGER):
        return value
    raise ValueError("should be a whole number from 1, or all")


DrawBlock = Annotated[
    int | Literal["all"],
    BeforeValidator(_block),
    Field(json_schema_extra={"minimum": 1, "maximum": MAX_SAFE_INTEGER}),
]
"""Queries in a row that share a draw."""


class Located(PlanModel):
    """Something on disk or on the hub."""

    model_config = ConfigDict(json_schema_extra={"anyOf": plan_schema.ONE_PLACE})

    path: PlanPath | None = None
    """File or folder, relative to the plan file."""
    hub: Name | None = None
    """Repository on the Hugging Face hub."""
    revision: Revision | None = None
    """Commit of that repository."""

    def _without_place(self) -> str | None:
        """Return why this one has no place, or None where it needs one."""
        return None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.hub is None) != (self.revision is None):
            raise ValueError("revision goes with hub, and hub with revision")
        places = (self.path is not None) + (self.hub is not None)
        reason = self._without_place()
        if reason is not None and places:
            raise ValueError(f"{reason} takes no path, hub or revision")
        if reason is None and places != 1:
            raise ValueError("give either path, or hub with revision")
        return self


class CheckpointEntry(Located):
    """The model."""

    name: Name | None = None
    """What people call it; default: the folder's or repository's name."""
    training_stage: Name
    """Stage of training: base, sft, dpo, rlvr, instruct, or another word for it."""
    dtype: Dtype
    quantisation: Name | None = None
    """Quantisation of the weights; default: what the checkpoint's own files say."""


class EngineEntry(PlanModel):
    """What generates."""

    model_config = ConfigDict(json_schema_extra=plan_schema.ENGINE)

    kind: EngineKind = EngineKind.TRANSFORMERS
    base_url: Url | None = None
    """Address of a server, for ``openai``."""

    @model_validator(mode="after")
    def _server(self) -> Self:
        if is_served(self.kind) != (self.base_url is not None):
            raise ValueError("base_url goes with kind openai, and only then")
        return self


class ThoughtMarksEntry(PlanModel):
    """What stands around a thought in a response."""

    opening: Name
    """The mark before it, such as <think>."""
    closing: Name
    """The mark after it."""

    @model_validator(mode="after")
    def _two_marks(self) -> Self:
        if not self.opening.strip() or not self.closing.strip():
            raise ValueError("a mark is more than white space")
        if self.opening == self.closing:
            raise ValueError("opening and closing are two marks, and these are one")
        return self


def _each_mark_once(pairs: tuple[ThoughtMarksEntry, ...]) -> tuple[ThoughtMarksEntry, ...]:
    marks = [mark for pair in pairs for mark in (pair.opening, pair.closing)]
    for mark in marks:
        if marks.count(mark) > 1:
            raise ValueError(f"the mark {mark} is named twice")
    return pairs


def _thoughts_kind(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return "marks"
    return "none" if value == "none" else None


ThoughtsEntry = Annotated[
    Annotated[Literal["none"], Tag("none")]
    | Annotated[
        tuple[ThoughtMarksEntry, ...],
        Field(min_length=1, max_length=MAX_MARKS),
        AfterValidator(_each_mark_once),
        Tag("marks"),
    ],
    Discriminator(
        _thoughts_kind,
        custom_error_type="thoughts",
        custom_error_message="should be none, or a list of {opening: …, closing: …}",
    ),
]
"""How thoughts are told from the answer."""


class PromptEntry(PlanModel):
    """How a conversation is rendered, and what of a response is judged."""

    system: str | None = None
    """System prompt; null: none is given, though the template may add its own."""
    date: Annotated[Date, AfterValidator(_day)] | None = None
    """The date shown to templates that print today's, in quotes: "2026-01-31"."""
    template_options: Annotated[dict[Column, Option], Field(max_length=64)] = {}
    """Further variables of the chat template, such as a reasoning effort."""
    thoughts: ThoughtsEntry | None = None
    """Marks around thoughts, which are not judged; null: those that are found in the chat template
    and the vocabulary; none: whole responses are judged."""


def _token(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SAFE_INTEGER:
        return value
    raise ValueError('should be a token, "<|im_end|>", or its id')


Token = Annotated[
    Annotated[str, Field(min_length=1, max_length=512)]
    | Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)],
    BeforeValidator(_token),
]
"""A token: its text as the tokenizer has it, or its id."""

Tokens = Annotated[tuple[Token, ...], Field(max_length=64), Distinct]


class EndTokensEntry(PlanModel):
    """What the checkpoint's own statements of its end tokens lack, or have too much."""

    add: Tokens = ()
    """Tokens that end a response besides those stated."""
    remove: Tokens = ()
    """Stated tokens that end no response."""


class SamplingEntry(PlanModel):
    """How responses are generated."""

    model_config = ConfigDict(json_schema_extra=plan_schema.SAMPLING)

    method: SamplingMethod = SamplingMethod.GREEDY
    temperature: Number | None = None
    """Softmax temperature above 0, for ``seeded``."""
    top_p: Number | None = None
    """Nucleus mass above 0 and up to 1, for ``seeded``."""
    top_k: Whole | None = None
    """Largest number of candidates, for ``seeded``."""
    repetition_penalty: Number | Literal["checkpoint"] | None = None
    """What logits of tokens are divided by that occurred before; ``checkpoint``: what its files
    state; null: none, whatever they state."""
    max_new_tokens: Whole
    """Longest response in tokens."""
    end_tokens: EndTokensEntry = EndTokensEntry()
    """Corrections of the tokens that end a response."""

    @model_validator(mode="after")
    def _method(self) -> Self:
        greedy = self.method is SamplingMethod.GREEDY
        if greedy and {self.temperature, self.top_p, self.top_k} != {None}:
            raise ValueError("greedy sampling takes no temperature, top_p or top_k")
        if not greedy and (self.temperature is None or ExactDecimal(self.temperature) == 0):
            raise ValueError("seeded sampling needs a temperature above 0")
        if self.top_p is not None and not 0 < ExactDecimal(self.top_p) <= 1:
            raise ValueError("top_p lies above 0 and up to 1")
        penalty = self.repetition_penalty
        if penalty not in (None, "checkpoint") and ExactDecimal(penalty) == 0:
            raise ValueError("repetition_penalty lies above 0")
        return self


class CorpusEntry(Located):
    """A file of requests."""

    corpus: Annotated[
        str, AfterValidator(_known_corpus), Field(json_schema_extra={"enum": list(READERS)})
    ]
    """Which reader understands the file."""
    name: Source | None = None
    """Name within the plan; default: the corpus."""
    file: Name | None = None
    """File within the hub repository; default: the corpus's own."""
    where: dict[Column, FilterValue] = {}
    """Column = value: rows to take; empty: all."""
    licence: Name | None = None
    """Licence of the requests; default: the corpus's own."""
    languages: Annotated[tuple[Name, ...], Field(max_length=256), Distinct] = ()
    """Languages of the requests (BCP 47 tags)."""


class QueryEntry(CorpusEntry):
    """A corpus of evaluation queries."""

    role: QueryRole = QueryRole.HARMFUL


class PoolEntry(CorpusEntry):
    """A pool of demonstrations."""

    responses_by: Name | None = None
    """Who or what wrote the responses."""


class TruncateEntry(PlanModel):
    """How long demonstrations may be."""

    characters: Whole
    """Most characters."""
    scope: TruncationScope = TruncationScope.DEMONSTRATION


class BeaconEntry(PlanModel):
    """A beacon round still to come."""

    source: Name
    """The beacon's chain."""
    round: Whole
    """Round whose value becomes part of the seed."""


class BeaconSeed(PlanModel):
    """A seed that waits for a beacon."""

    beacon: BeaconEntry


def _seed_kind(value: Any) -> str | None:
    if isinstance(value, (dict, BeaconSeed)):
        return "a beacon's"
    return "the plan's" if value == "plan" else None


Seed = Annotated[
    Annotated[Literal["plan"], Tag("the plan's")] | Annotated[BeaconSeed, Tag("a beacon's")],
    Discriminator(
        _seed_kind,
        custom_error_type="seed",
        custom_error_message="should be plan, or {beacon: {source: …, round: …}}",
    ),
]
"""Where the seed comes from."""


class DemonstrationsEntry(PlanModel):
    """Where demonstrations come from and how they are drawn."""

    harmful: PoolEntry | None = None
    """Harmful requests with helpful responses."""
    benign: Annotated[
        dict[Source, PoolEntry],
        Field(max_length=32, json_schema_extra={"additionalProperties": False}),
    ] = {}
    """Benign requests with responses, by name; the first is the default source."""
    refusal: PoolEntry | None = None
    """Refused requests, for the context form ``policy``."""
    draws: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 2
    """Random samplings for each query."""
    draw_block: DrawBlock = 1
    """Queries in a row that share a draw: 1, a fresh draw for each; or ``all``."""
    truncate: TruncateEntry | None = None
    """How long demonstrations may be; null: as long as they are."""
    seed: Seed = "plan"
    """Where the seed comes from: the plan's digest, or a beacon round still to come as well."""


class JudgeIdentityEntry(Located):
    """A judge: rules, weights with a place, or a chat model behind an API."""

    model_config = ConfigDict(json_schema_extra=plan_schema.JUDGE)

    kind: JudgeKind
    name: Name | None = None
    """What people call it; a chat judge behind an API is asked for by this name."""
    base_url: Url | None = None
    """Address of the API, for a remote ``chat`` judge."""
    threshold: Number | None = None
    """Decision threshold."""

    def _without_place(self) -> str | None:
        if traits_of(self.kind).is_rule:
            return self.kind.value
        return None if self.base_url is None else "a judge with a base_url"

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        traits = traits_of(self.kind)
        if self.base_url is not None and not traits.may_be_remote:
            raise ValueError("base_url goes with kind chat only")
        if self.base_url is not None and self.name is None:
            raise ValueError("a judge with a base_url needs the name of its model")
        if self.threshold is not None and traits.is_rule:
            raise ValueError(f"{self.kind.value} takes no threshold")
        return self


class JudgeEntry(JudgeIdentityEntry):
    """The judge, with an optional second opinion."""

    calibration: PlanPath | None = None
    """What ``receipts judge calibrate`` wrote of this judge; null: not calibrated."""
    second: JudgeIdentityEntry | None = None
    """A second opinion; how far the two agree is sealed."""


class SweepEntry(PlanModel):
    """Totals crossed with harmful fractions."""

    totals: Annotated[tuple[ShownSome, ...], Field(min_length=1), Distinct]
    """Numbers of demonstrations, harmful and benign together."""
    harmful_fractions: Annotated[tuple[Share, ...], Field(min_length=1), Distinct]
    """Shares of harmful ones among them, from 0 to 1: 0.25, or 1/3."""


class FixedHarmfulEntry(PlanModel):
    """Benign demonstrations varied at fixed harmful ones."""

    harmful: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of harmful demonstrations."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations, each crossed with each number of harmful ones."""
    orderings: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct] = (Ordering.SUFFIX,)
    """Orders in which they are shown."""


class OrderingsEntry(PlanModel):
    """One mixture in several orders."""

    harmful: ShownSome
    """Number of harmful demonstrations."""
    benign: ShownSome
    """Number of benign demonstrations."""
    rules: Annotated[tuple[Ordering, ...], Field(min_length=1), Distinct]
    """Orders in which they are shown."""


class ResponsePrefixEntry(PlanModel):
    """One mixture with a prefix before every demonstrated response."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Shown
    """Number of benign demonstrations."""
    prefixes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64), Distinct]
    """What every demonstrated response starts with."""


class BenignSourcesEntry(PlanModel):
    """Benign demonstrations from several sources."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Annotated[tuple[Shown, ...], Field(min_length=1), Distinct]
    """Numbers of benign demonstrations."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1), Distinct]
    """Names under ``demonstrations.benign``."""


class ContextsEntry(PlanModel):
    """One mixture in several shapes."""

    harmful: Shown
    """Number of harmful demonstrations."""
    benign: Shown
    """Number of benign demonstrations."""
    forms: Annotated[tuple[ContextForm, ...], Field(min_length=1), Distinct]
    """Shapes in which they reach the model."""
    gap_turns: Shown = 4
    """Benign turns before the query, in ``conversation``."""
    n_refusal: Shown = 0
    """Refusal examples, in ``policy``."""


class ExperimentEntry(PlanModel):
    """One experiment: exactly one of these."""

    model_config = ConfigDict(
        json_schema_extra=plan_schema.exactly_one([kind.value for kind in ExperimentKind])
    )

    sweep: SweepEntry | None = None
    """Totals crossed with harmful fractions."""
    fixed_harmful: FixedHarmfulEntry | None = None
    """Benign demonstrations varied at fixed harmful ones."""
    orderings: OrderingsEntry | None = None
    """One mixture in several orders."""
    response_prefix: ResponsePrefixEntry | None = None
    """One mixture with a prefix before every demonstrated response."""
    benign_sources: BenignSourcesEntry | None = None
    """Benign demonstrations from several sources."""
    contexts: ContextsEntry | None = None
    """One mixture in several shapes."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"give one of {', '.join(ExperimentEntry.model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the one that is given."""
        return next(name for name, value in self if value is not None)


def _version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        raise ValueError("should be 1, the only version there is")
    return value


class PlanFile(PlanModel):
    """A plan as written."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    """Version of the plan file's form."""
    name: Name
    """What people call the plan."""
    primary: Hypothesis
    """The hypothesis named before the run."""
    evidence_access: EvidenceAccess = EvidenceAccess.AUDITORS
    checkpoint: CheckpointEntry
    engine: EngineEntry = EngineEntry()
    prompt: PromptEntry = PromptEntry()
    sampling: SamplingEntry
    queries: Annotated[tuple[QueryEntry, ...], Field(min_length=1, max_length=64)]
    """Corpora of evaluation queries, pooled in this order."""
    queries_repeated: Literal["keep", "first"] = "keep"
    """A request that several of them ask: keep, each does, and it counts once for intervals and
    tests; first, only the first of them asks it."""
    demonstrations: DemonstrationsEntry
    judge: JudgeEntry
    experiments: Annotated[tuple[ExperimentEntry, ...], Field(min_length=1, max_length=256)]
    """What is varied; the baseline without demonstrations is always added."""
    effect_margin: Number = "0.05"
    """An effect |β2| that lies below this, with confidence, is called none."""
    context_overflow: ContextOverflow = ContextOverflow.ABORT
