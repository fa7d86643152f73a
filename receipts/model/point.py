"""Point records: the public evidence line and the restricted record it commits to.

An evidence line is the RFC 8785 bytes of one :class:`Point` and a line break; the Merkle
leaf is those bytes without the break.  It holds outcomes and lengths, never text.  The
restricted record holds the text, and opens the line's commitment.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, point_id
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.text import value_text
from safety_receipts.receipts.model.base import (
    Bytes32,
    Condition,
    Count,
    Digest,
    Name,
    PointCount,
    Query,
    Score,
    Source,
    WireModel,
)
from safety_receipts.receipts.model.demonstrations import Labels
from safety_receipts.receipts.model.plan import EvaluationSetup

MAX_POINT_BYTES = 16 * 1024
"""Longest evidence line; a typical one has 300 bytes, one with labels some hundreds more."""

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Longest line of restricted records."""

MAX_RAW = 1_000_000
"""Most characters of a judge's output."""


class Finish(StrEnum):
    """How the generation of a response ended."""

    STOP = "stop"
    """The model wrote an end token."""
    LENGTH = "length"
    """The response reached the token limit."""
    ERROR = "error"
    """Nothing was generated because of an error."""
    OVERFLOW = "overflow"
    """Nothing was generated because the prompt exceeds the model's context."""


class Outcome(StrEnum):
    """The outcome of a point."""

    REFUSED = "refused"
    COMPLIED = "complied"
    UNSCORED = "unscored"
    """A response was generated, but judged neither as refused nor as complied."""
    FAILED = "failed"
    """No response was generated."""


class Reason(StrEnum):
    """Why a point is unscored or failed.  There are codes only, because a message could quote the
    text.
    """

    JUDGE_NA = "judge_na"
    """The judge says that neither label applies."""
    JUDGE_PARSE_ERROR = "judge_parse_error"
    """The judge's output does not have the agreed form."""
    JUDGE_ERROR = "judge_error"
    """The judge failed."""
    EMPTY_RESPONSE = "empty_response"
    """The response has no text to judge."""
    EMPTY_FINAL = "empty_final"
    """The judged channel is empty, while other channels are not."""
    THOUGHT_ALONE = "thought_alone"
    """The response ends a thought and gives no answer after it."""
    UNFINISHED_THOUGHT = "unfinished_thought"
    """The response ends inside a thought, before any answer."""
    UNCLEAR_THOUGHT = "unclear_thought"
    """The response holds the closing mark of a thought that was never opened: it may be a mark, or
    only a mention of one."""
    ENGINE_ERROR = "engine_error"
    """The engine failed on this point."""
    OUT_OF_MEMORY = "out_of_memory"
    """The point does not fit in memory."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The prompt is longer than the model's context."""


NOTHING_TO_JUDGE: Final = (
    Reason.EMPTY_RESPONSE,
    Reason.EMPTY_FINAL,
    Reason.THOUGHT_ALONE,
    Reason.UNFINISHED_THOUGHT,
    Reason.UNCLEAR_THOUGHT,
)
"""Reasons that follow from a response alone: no judge is asked."""

OF_THOUGHTS: Final = (
    Reason.THOUGHT_ALONE,
    Reason.UNFINISHED_THOUGHT,
    Reason.UNCLEAR_THOUGHT,
)
"""Reasons that only a checkpoint with marks of thoughts has."""

_NOT_CANONICAL: Final = "not in canonical form (RFC 8785)"
_SALT: Final = {"salt"}

_UNSCORED_REASONS = (
    Reason.JUDGE_NA,
    Reason.JUDGE_PARSE_ERROR,
    Reason.JUDGE_ERROR,
    *NOTHING_TO_JUDGE,
)

LEGAL_ENDINGS: Final[frozenset[tuple[Finish, Outcome, Reason | None]]] = frozenset(
    [
        (finish, outcome, None)
        for finish in (Finish.STOP, Finish.LENGTH)
        for outcome in (Outcome.REFUSED, Outcome.COMPLIED)
    ]
    + [
        (finish, Outcome.UNSCORED, reason)
        for finish in (Finish.STOP, Finish.LENGTH)
        for reason in _UNSCORED_REASONS
    ]
    + [
        (Finish.ERROR, Outcome.FAILED, Reason.ENGINE_ERROR),
        (Finish.ERROR, Outcome.FAILED, Reason.OUT_OF_MEMORY),
        (Finish.OVERFLOW, Outcome.FAILED, Reason.CONTEXT_OVERFLOW),
    ]
)
"""The combinations of finish, outcome and reason that can occur."""


def _ending_schema(schema: dict[str, Any]) -> None:
    """Say in JSON Schema what :data:`LEGAL_ENDINGS` says in Python."""
    generated, judged = ["stop", "length"], ["refused", "complied"]

    def ending(finish: list[str], outcome: list[str], reason: dict[str, Any]) -> dict[str, Any]:
        return {
            "properties": {
                "finish": {"enum": finish},
                "outcome": {"enum": outcome},
                "reason": reason,
            }
        }

    schema["oneOf"] = [
        ending(generated, judged, {"type": "null"}),
        ending(generated, ["unscored"], {"enum": [reason.value for reason in _UNSCORED_REASONS]}),
        ending(["error"], ["failed"], {"enum": ["engine_error", "out_of_memory"]}),
        ending(["overflow"], ["failed"], {"enum": ["context_overflow"]}),
    ]


class Point(WireModel):
    """One evidence line: what became of one evaluation point, without a word of text.

    The fields stand in RFC 8785 order (by UTF-16 code units of their wire names), so that
    serialising a parsed line gives back its canonical bytes.
    """

    model_config = ConfigDict(
        title="Evidence line",
        json_schema_extra=_ending_schema,
    )

    commitment: Digest
    """Commitment to the point's restricted record (SHA-256)."""
    condition: Condition
    """Id of the condition."""
    draw: Count
    """Number of the draw of demonstrations, from 0."""
    finish: Finish
    """How the generation of the response ended."""
    index: PointCount
    """Position of the point in plan order (condition, query, draw), from 0."""
    labels: Labels | None
    """Kinds of the demonstrations in the order shown, under ``random`` ordering; null under every
    other ordering."""
    outcome: Outcome
    """Outcome of the point: ``refused``, ``complied``, ``unscored`` or ``failed``."""
    prefix_adopted: bool | None
    """Whether the response starts with the demonstrated prefix; null where the condition has no
    prefix, and where the point failed."""
    prompt_tokens: Count
    """Length of the prompt in tokens."""
    query: Query
    """Id of the evaluation query."""
    reason: Reason | None
    """Why the point is unscored or failed; null for every other outcome."""
    response_tokens: Count
    """Length of the response in tokens."""
    source: Source
    """Name of the query source."""

    @model_validator(mode="after")
    def _check_ending(self) -> Self:
        if (self.finish, self.outcome, self.reason) not in LEGAL_ENDINGS:
            raise PydanticCustomError(
                "ending",
                "finish {finish}, outcome {outcome} and reason {reason} cannot occur together",
                {"finish": self.finish, "outcome": self.outcome, "reason": value_text(self.reason)},
            )
        return self

    @property
    def id(self) -> Sha256:
        """The point's id."""
        return point_id(self.condition, self.query, self.draw)

    def to_line(self) -> bytes:
        """Return the canonical bytes, without the line break."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def from_line(cls, line: bytes) -> Point:
        """Parse one evidence line, without its line break.

        One comparison with the canonical bytes refuses everything that strict parsing lets
        through: duplicate or misspelt keys, spaces, escapes, -0, another order.

        Raises:
            MalformedError: Not an evidence line in canonical form.
        """
        try:
            point: Point = cls.__pydantic_validator__.validate_json(line)
        except ValidationError as error:
            raise _malformed(error) from None
        if cls.__pydantic_serializer__.to_json(point) != line:
            raise MalformedError(_NOT_CANONICAL)
        return point


class RecordedJudgement(WireModel):
    """The judgement of one response.

    The fields stand in RFC 8785 order, as those of :class:`RestrictedRecord` do.
    """

    margin: Score | None
    """Margin of the judgement (log-odds of refusal, or score minus threshold); null for a rule."""
    outcome: Outcome
    """Outcome that the judge gave."""
    raw: Annotated[str, StringConstraints(max_length=MAX_RAW)]
    """The judge's raw output, verbatim."""
    reason: Reason | None
    """Why the judge could not judge the response; null where it could."""


class RestrictedRecord(WireModel):
    """The content to which an evidence line commits: enough to replay the point.

    The fields stand in RFC 8785 order (by UTF-16 code units of their wire names).  They hold no
    floats, no integers beyond ±(2^53 − 1), and text that is valid Unicode; so what the serialiser
    writes of them is their canonical form, which a property test holds to RFC 8785's own.
    """

    model_config = ConfigDict(title="Restricted record")

    condition: Condition
    """Id of the condition."""
    demonstrations: Digest | None
    """Digest of the ordered list of demonstrations; null where none are shown."""
    draw: Count
    """Number of the draw of demonstrations, from 0."""
    error: Name | None
    """Message of the engine or judge that failed; null where neither failed."""
    finish: Finish
    """How the generation of the response ended."""
    index: PointCount
    """Position of the point in plan order, from 0."""
    judge: RecordedJudgement | None
    """Judgement of the judge; null where the judge was not used."""
    outcome: Outcome
    """Outcome of the point, as in the evidence line."""
    prompt: Digest
    """Digest of the prompt's token ids."""
    prompt_tokens: Count
    """Length of the prompt in tokens."""
    query: Query
    """Id of the evaluation query."""
    reason: Reason | None
    """Why the point is unscored or failed; null for every other outcome."""
    response_tokens: Annotated[tuple[Count, ...], Field(max_length=1_000_000)]
    """Token ids of the response, including the end token."""
    salt: Bytes32
    """Salt of the commitment, 32 bytes as hexadecimal digits."""
    second_judge: RecordedJudgement | None
    """Judgement of the second judge; null where there is none, or it was not used."""
    text: Annotated[str, StringConstraints(max_length=8_000_000)]
    """Text of the response, decoded from exactly these ids."""

    def commitment(self) -> Sha256:
        """Return the commitment that this record opens.

        SHA-256("safety-receipts/point/1" ‖ salt ‖ SHA-256(JCS of the record without salt)).
        All three parts have fixed lengths, so that the concatenation has one reading.
        """
        unsalted = self.__pydantic_serializer__.to_json(self, exclude=_SALT)
        inner = hashlib.sha256(unsalted).digest()
        outer = hashlib.sha256(b"safety-receipts/point/1" + bytes.fromhex(self.salt) + inner)
        return Sha256(outer.hexdigest())

    def to_line(self) -> bytes:
        """Return the canonical bytes, without the line break."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def from_line(cls, line: bytes) -> RestrictedRecord:
        """Parse the line of one record, without its line break.

        One comparison with the canonical bytes refuses what parsing lets through, a key given
        twice among it, of which two readers take two values.

        Raises:
            MalformedError: Not a record in canonical form.
        """
        try:
            record: RestrictedRecord = cls.__pydantic_validator__.validate_json(
                line, by_alias=True, by_name=False
            )
        except ValidationError as error:
            raise _malformed(error) from None
        if record.to_line() != line:
            raise MalformedError(_NOT_CANONICAL)
        return record

    def problem(self, point: Point, setup: EvaluationSetup) -> str | None:
        """Return in what the record contradicts itself, its evidence line or the plan, or None.

        Args:
            point: The evidence line.
            setup: What the plan decides.
        """
        problem = self.contradiction(point, setup)
        # Last: a record that is merely of another point is named as such.
        if problem is None and self.commitment() != point.commitment:
            return "the record does not open its commitment"
        return problem

    def contradiction(self, point: Point, setup: EvaluationSetup) -> str | None:
        """Return what :meth:`problem` does, where the commitment is known to be this record's.

        Args:
            point: The evidence line.
            setup: What the plan decides.
        """
        return next(self._problems(point, setup), None)

    def _problems(self, point: Point, setup: EvaluationSetup) -> Iterator[str]:
        end_tokens = frozenset(setup.sampling.end_tokens)
        for name in ("index", "condition", "query", "draw", "finish", "outcome", "reason"):
            if getattr(self, name) != getattr(point, name):
                yield f"{name} differs between record and evidence line"
        if self.prompt_tokens != point.prompt_tokens:
            yield "promptTokens differs between record and evidence line"
        if len(self.response_tokens) != point.response_tokens:
            yield "responseTokens differs between record and evidence line"
        if not end_tokens.isdisjoint(self.response_tokens[:-1]):
            yield "an end token stands before the last"
        ended = bool(self.response_tokens) and self.response_tokens[-1] in end_tokens
        if ended != (self.finish is Finish.STOP):
            yield "the last token is an end token exactly where generation stopped"
        yield from self._judgement_problems(setup)

    def _judgement_problems(self, setup: EvaluationSetup) -> Iterator[str]:
        if self.judge is None:
            # A response without text, or a point without response, is not put to the judge.
            if self.outcome is not Outcome.FAILED and self.reason not in _NOT_JUDGED:
                yield "the outcome needs a judgement, and none is recorded"
        elif (self.judge.outcome, self.judge.reason) != (self.outcome, self.reason):
            yield "the outcome is not the judge's"
        judged = self.outcome in (Outcome.REFUSED, Outcome.COMPLIED)
        if judged and not self.text:
            yield "an empty text cannot have been judged"
        if self.outcome is Outcome.FAILED and (self.text or self.judge is not None):
            yield "a failed point has neither text nor judgement"
        if (self.second_judge is not None) != (setup.judge.second is not None and judged):
            yield "the second judge judges what the first did, where the plan names one"


def _malformed(error: ValidationError) -> MalformedError:
    """Return the first mistake of a line, with its place."""
    first = error.errors(include_url=False, include_input=False)[0]
    return MalformedError(first["msg"], place="$" + "".join(f".{step}" for step in first["loc"]))


_NOT_JUDGED = (*NOTHING_TO_JUDGE, Reason.JUDGE_ERROR)


def point_salt(run_secret: bytes, plan_digest: Sha256, id_: Sha256) -> str:
    """Derive the salt of one point, 32 bytes as hex.

    HKDF-SHA-256 (RFC 5869) without extraction salt over the run's random secret, with
    info = JCS ``["safety-receipts/salt/1", plan digest, point id]``: without the secret
    nobody can test guesses of a response against its commitment.

    Args:
        run_secret: The run's 32 random bytes.
        plan_digest: Digest of the sealed plan.
        id_: The point's id.
    """
    info = canonical_bytes(["safety-receipts/salt/1", plan_digest, id_])
    # The first block of RFC 5869's T is all that 32 bytes take.
    return hmac.digest(_extracted(run_secret), info + b"\x01", "sha256").hex()


@lru_cache(maxsize=4)
def _extracted(secret: bytes) -> bytes:
    """Return the pseudorandom key of HKDF-SHA-256 without a salt: one for all points of a run."""
    return hmac.digest(bytes(32), secret, "sha256")
