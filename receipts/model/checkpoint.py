"""The model under evaluation: its files, its prompt format, how it was sampled."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.model.base import (
    Count,
    Date,
    Decimal,
    Digest,
    Name,
    Positive,
    RelativePath,
    SafeInteger,
    WireModel,
)


class Dtype(StrEnum):
    """Number format of weights and activations during the run."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class RootOrder(StrEnum):
    """In which order file digests were concatenated for the root."""

    CODE_POINT = "code_point"
    """By the code points of the path, as the OpenSSF Model Signing text says."""
    PATH_PARTS = "path_parts"
    """By the path's parts, as its reference code does."""


class CheckpointFile(WireModel):
    """One file of the checkpoint folder."""

    path: RelativePath
    """Path inside the folder."""
    sha256: Digest
    """SHA-256 of the raw bytes."""
    size: Count
    """Length in bytes."""


class Checkpoint(WireModel):
    """The checkpoint, bound by the bytes of its files."""

    name: Name
    """What people call it; also the name of the statement's subject."""
    hub: Name | None
    """Repository on the Hugging Face hub, where the files came from there."""
    revision: Name | None
    """Commit of that repository."""
    root: Digest
    """OpenSSF Model Signing root: SHA-256 over the concatenated digests of all files."""
    root_order: RootOrder
    """Order of the files in the root."""
    alternative_root: Digest | None
    """The root in the other order, where the two differ."""
    files: Annotated[tuple[CheckpointFile, ...], Field(max_length=10_000)]
    """Every file: the root binds digests but not names, this list binds both.  Empty for a
    model behind an API, of which nobody outside can say more than its name."""
    served_as: Name | None
    """Name under which a server offers it; null for a folder."""
    symlinks_followed: bool
    """True where files were symbolic links, as in a hub cache; the bytes were hashed."""
    dtype: Dtype
    """Number format it was run in."""
    quantisation: Name | None
    """Quantisation of the weights (mxfp4, int8, …), or null."""
    dequantised: bool | None = None
    """True where weights stored so were turned back into numbers of ``dtype`` when they were
    loaded, false where they were used as stored.  Null: not quantised, or not stated."""


def model_root(files: Iterable[CheckpointFile], order: RootOrder) -> Sha256:
    """Return the OpenSSF Model Signing root: SHA-256 over the file digests in path order."""
    if order is RootOrder.CODE_POINT:
        ordered = sorted(files, key=lambda file: file.path)
    else:
        ordered = sorted(files, key=lambda file: file.path.split("/"))
    return sha256_hex(b"".join(bytes.fromhex(file.sha256) for file in ordered))


class ContextOverflow(StrEnum):
    """What happens to a prompt longer than the model's context; it is never cut."""

    ABORT = "abort"
    """The plan is refused before running."""
    FAIL_POINT = "fail_point"
    """The point is recorded as failed."""


def overflows(prompt_tokens: int, max_new_tokens: int, context_limit: int) -> bool:
    """Say whether a prompt leaves no room for the longest response in the model's context."""
    return prompt_tokens + max_new_tokens > context_limit


class ThoughtMarks(WireModel):
    """What stands around a thought in a response."""

    opening: Name
    """The mark before it, such as ``<think>``."""
    closing: Name
    """The mark after it."""
    opening_token: Count | None
    """Token id that the opening mark is; null: it is found in the text."""
    closing_token: Count | None
    """Token id that the closing mark is; null: it is found in the text."""


MAX_MARKS = 16
"""Most pairs of marks of thoughts."""


class Thoughts(WireModel):
    """How thoughts are told from the answer, which alone is judged."""

    marks: Annotated[tuple[ThoughtMarks, ...], Field(max_length=MAX_MARKS)]
    """The marks; none where the plan file says that whole responses are judged."""
    prompt_opens: Count | None
    """Place in ``marks`` of the thought that every prompt ends in, so that responses begin inside
    it; null: prompts leave none open."""
    given: bool
    """True where the plan file names the marks, or says that there are none; false where they were
    found in the chat template and the vocabulary."""


FIRST_RENDERING = "conversation/1"
"""The first rule of rendering: thoughts were judged as answers."""


class Prompt(WireModel):
    """How a conversation becomes token ids."""

    tokenizer: Digest
    """Digest of the tokenizer's files."""
    chat_template: Digest
    """Digest of the chat template's text."""
    rendering: Name
    """Name and version of how demonstrations and query become a conversation, the conversation
    token ids, and a response's token ids the text that is judged (``conversation/2``)."""
    system_prompt: Digest | None
    """Digest of the system prompt's text; null: none given (a template may add its own)."""
    date: Date | None
    """The date shown to templates that print today's."""
    template_options: Annotated[
        dict[Annotated[str, Field(max_length=128)], Name | bool | SafeInteger | None],
        Field(max_length=64),
    ]
    """Further template variables, such as a reasoning effort."""
    judged_channel: Name | None
    """The only channel of the response that is judged (``final``), for models that have some."""
    context_limit: Positive
    """Longest context in tokens: prompt and longest response must fit."""
    context_overflow: ContextOverflow
    """What happens to a longer prompt."""
    thoughts: Thoughts | None = None
    """How thoughts are told from the answer; null: there are no marks of thoughts, or channels
    tell (``judgedChannel``).  Under ``conversation/1``: nobody looked."""

    @property
    def tells_thoughts(self) -> bool:
        """Whether a response may hold a thought that is not judged, as something else than a
        channel.
        """
        return self.thoughts is not None or (
            self.judged_channel is None and self.rendering != FIRST_RENDERING
        )


class SamplingMethod(StrEnum):
    """How a next token is chosen."""

    GREEDY = "greedy"
    SEEDED = "seeded"


MAX_DEFAULTS = 64
"""Most sampling defaults of a checkpoint that are stated."""


class SamplingDefault(WireModel):
    """A sampling default that comes with a checkpoint's files."""

    name: Name
    """Its name in ``generation_config.json``."""
    value: Name
    """Its value, as JSON text; of long ones how many entries and the SHA-256 of that text."""


class EndTokenOrigin(StrEnum):
    """Who says that a token ends a response."""

    GENERATION_CONFIG = "generation_config"
    """``generation_config.json``."""
    CONFIG = "config"
    """``config.json``, or its part for text."""
    TOKENIZER = "tokenizer"
    """The tokenizer's end-of-sequence token."""
    TEMPLATE = "template"
    """The chat template, which writes it after every past turn of the assistant."""
    PLAN = "plan"
    """The plan file."""


class EndToken(WireModel):
    """A token that somebody says ends a response."""

    token: Count
    """Its id."""
    origins: Annotated[tuple[EndTokenOrigin, ...], Field(min_length=1, max_length=5)]
    """Who says so, in the order above."""
    removed: bool
    """True where the plan file says that it does not."""


class Sampling(WireModel):
    """How responses were generated."""

    method: SamplingMethod
    """``greedy``, or ``seeded`` with noise that anyone can derive again."""
    temperature: Decimal | None
    """Softmax temperature; null when greedy."""
    top_p: Decimal | None
    """Nucleus mass; null when greedy."""
    top_k: Positive | None
    """Largest number of candidates; null for no limit."""
    noise: Name | None
    """Name and version of the noise's derivation; null when greedy."""
    max_new_tokens: Positive
    """Longest response in tokens."""
    end_tokens: Annotated[tuple[Count, ...], Field(min_length=1, max_length=64)]
    """Token ids that end a response."""
    repetition_penalty: Decimal | None = None
    """What the logits of tokens are divided by (negative ones: multiplied by) that occur in the
    prompt or earlier in the response; null: none."""
    defaults_not_applied: (
        Annotated[tuple[SamplingDefault, ...], Field(max_length=MAX_DEFAULTS)] | None
    ) = None
    """What the checkpoint's files state of sampling that would change tokens and is not applied,
    sorted by name; null: not stated, as in plans before there was this field."""
    end_token_origins: Annotated[tuple[EndToken, ...], Field(max_length=64)] | None = None
    """Who says so of each, by ascending id, with those that the plan file takes out.  Null:
    ``config.json`` and ``generation_config.json`` alone were asked."""

    def applied(self) -> Sampling:
        """Return it without what is only told: equal ones choose tokens alike."""
        return self.model_copy(update={"defaults_not_applied": None})
