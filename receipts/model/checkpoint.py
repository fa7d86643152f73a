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
    """Order in which the file digests are concatenated for the root."""

    CODE_POINT = "code_point"
    """Sorted by the code points of the path, as the text of OpenSSF Model Signing says."""
    PATH_PARTS = "path_parts"
    """Sorted by the parts of the path, as the reference code of OpenSSF Model Signing does."""


class CheckpointFile(WireModel):
    """One file of the checkpoint folder."""

    path: RelativePath
    """Path inside the folder."""
    sha256: Digest
    """SHA-256 of the file's bytes."""
    size: Count
    """Size of the file in bytes."""


class Checkpoint(WireModel):
    """The checkpoint, bound by the bytes of its files."""

    name: Name
    """Name of the checkpoint, as people call it; also the name of the statement's subject."""
    hub: Name | None
    """Repository on the Hugging Face hub from which the files came; null: none."""
    revision: Name | None
    """Commit of that repository; null where there is no repository."""
    root: Digest
    """OpenSSF Model Signing root: SHA-256 over the concatenated digests of all files."""
    root_order: RootOrder
    """Order of the file digests in the root."""
    alternative_root: Digest | None
    """The root with the other order of files; null where both orders give the same root."""
    files: Annotated[tuple[CheckpointFile, ...], Field(max_length=10_000)]
    """Every file of the checkpoint: the root binds the digests but not the names, this list binds
    both.  Empty for a model behind an API, of which nobody outside can say more than its name."""
    served_as: Name | None
    """Name under which a server offers the model; null for a folder."""
    symlinks_followed: bool
    """True where files were symbolic links, as in the hub's cache; the bytes behind the links were
    hashed."""
    dtype: Dtype
    """Number format of weights and activations during the run."""
    quantisation: Name | None
    """Quantisation of the weights (mxfp4, int8, …); null: not quantised."""
    dequantised: bool | None = None
    """True where quantised weights were converted to ``dtype`` when they were loaded, false where
    they were used as stored.  Null: not quantised, or not stated."""


def model_root(files: Iterable[CheckpointFile], order: RootOrder) -> Sha256:
    """Return the OpenSSF Model Signing root: SHA-256 over the file digests in path order."""
    if order is RootOrder.CODE_POINT:
        ordered = sorted(files, key=lambda file: file.path)
    else:
        ordered = sorted(files, key=lambda file: file.path.split("/"))
    return sha256_hex(b"".join(bytes.fromhex(file.sha256) for file in ordered))


class ContextOverflow(StrEnum):
    """What happens to a prompt that is longer than the model's context; a prompt is never cut."""

    ABORT = "abort"
    """The plan is refused before running."""
    FAIL_POINT = "fail_point"
    """The point is recorded as failed."""


def overflows(prompt_tokens: int, max_new_tokens: int, context_limit: int) -> bool:
    """Say whether a prompt leaves no room for the longest response in the model's context."""
    return prompt_tokens + max_new_tokens > context_limit


class ThoughtMarks(WireModel):
    """The marks that stand before and after a thought in a response."""

    opening: Name
    """Mark before a thought, such as ``<think>``."""
    closing: Name
    """Mark after a thought, such as ``</think>``."""
    opening_token: Count | None
    """Token id of the opening mark; null: the mark is found in the text."""
    closing_token: Count | None
    """Token id of the closing mark; null: the mark is found in the text."""


MAX_MARKS = 16
"""Most pairs of marks of thoughts."""


class Thoughts(WireModel):
    """How thoughts are separated from the answer; the answer alone is judged."""

    marks: Annotated[tuple[ThoughtMarks, ...], Field(max_length=MAX_MARKS)]
    """The marks around thoughts; empty where the plan file says that whole responses are judged."""
    prompt_opens: Count | None
    """Position in ``marks``, from 0, of the thought that every prompt opens, so that responses
    begin inside it; null: prompts open no thought."""
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
    """Name and version of the rule by which demonstrations and query become a conversation, the
    conversation becomes token ids, and a response's token ids become the text that is judged
    (``conversation/2``)."""
    system_prompt: Digest | None
    """Digest of the system prompt's text; null: the plan gives none, though the template may add
    its own."""
    date: Date | None
    """Date that is given to chat templates that print today's date; null: none is given."""
    template_options: Annotated[
        dict[Annotated[str, Field(max_length=128)], Name | bool | SafeInteger | None],
        Field(max_length=64),
    ]
    """Further variables of the chat template, such as a reasoning effort."""
    judged_channel: Name | None
    """The only channel of a response that is judged (``final``); null for models without
    channels."""
    context_limit: Positive
    """Length of the model's context in tokens: a prompt and the longest response must fit into
    it."""
    context_overflow: ContextOverflow
    """What happens to a prompt that is longer than that."""
    thoughts: Thoughts | None = None
    """How thoughts are separated from the answer; null: no marks of thoughts are known, or channels
    separate them (``judgedChannel``).  Under ``conversation/1`` null means that thoughts were not
    looked for."""
    template_words: Annotated[Digest | None, Field(exclude_if=lambda value: value is None)] = None
    """Digest of what the chat template writes around the messages of every condition, where that
    holds words of its own.  Left out: it holds control tokens and names of roles and channels
    alone, or this was not looked for, as in plans made before this field existed."""

    @property
    def tells_thoughts(self) -> bool:
        """Whether a response may hold a thought that is not judged, as something else than a
        channel.
        """
        return self.thoughts is not None or (
            self.judged_channel is None and self.rendering != FIRST_RENDERING
        )


class SamplingMethod(StrEnum):
    """How the next token is chosen."""

    GREEDY = "greedy"
    SEEDED = "seeded"


SERVER_NOISE = "server-seed-"
"""How names of rules begin that say which seed a server is given: the noise is its own."""

MAX_DEFAULTS = 64
"""Most sampling defaults of a checkpoint that are stated."""


class SamplingDefault(WireModel):
    """A sampling default that the checkpoint's files state."""

    name: Name
    """Name of the default in ``generation_config.json``."""
    value: Name
    """Value of the default, as JSON text; for a long value the number of its entries and the
    SHA-256 of that text."""


class EndTokenOrigin(StrEnum):
    """Where it is stated that a token ends a response."""

    GENERATION_CONFIG = "generation_config"
    """``generation_config.json``."""
    CONFIG = "config"
    """``config.json``, or the part of it that describes the text model."""
    TOKENIZER = "tokenizer"
    """The tokenizer's end-of-sequence token."""
    TEMPLATE = "template"
    """The chat template, which writes it after every past turn of the assistant."""
    PLAN = "plan"
    """The plan file."""


class EndToken(WireModel):
    """A token that is stated to end a response."""

    token: Count
    """Token id."""
    origins: Annotated[tuple[EndTokenOrigin, ...], Field(min_length=1, max_length=5)]
    """Where it is stated, in the order of the list of origins."""
    removed: bool
    """True where the plan file says that the token does not end a response."""


class Sampling(WireModel):
    """How responses are generated."""

    method: SamplingMethod
    """``greedy``, or ``seeded`` with noise that anyone can derive again."""
    temperature: Decimal | None
    """Temperature of the softmax; null with greedy sampling."""
    top_p: Decimal | None
    """Probability mass of nucleus sampling, above 0 and up to 1; null: no limit."""
    top_k: Positive | None
    """Largest number of candidate tokens; null: no limit."""
    noise: Name | None
    """Name and version of the rule that derives the noise, or, where it begins with
    ``server-seed-``, the seed that a server is given for noise of its own; null with greedy
    sampling."""
    max_new_tokens: Positive
    """Largest length of a response in tokens."""
    end_tokens: Annotated[tuple[Count, ...], Field(min_length=1, max_length=64)]
    """Token ids that end a response."""
    repetition_penalty: Decimal | None = None
    """Number by which the logits of tokens that occur in the prompt or earlier in the response are
    divided (negative logits are multiplied by it); null: none."""
    defaults_not_applied: (
        Annotated[tuple[SamplingDefault, ...], Field(max_length=MAX_DEFAULTS)] | None
    ) = None
    """Sampling defaults of the checkpoint's files that would change tokens and are not applied,
    sorted by name; null: not stated, as in plans made before this field existed."""
    end_token_origins: Annotated[tuple[EndToken, ...], Field(max_length=64)] | None = None
    """Where each end token is stated, by ascending token id, with those that the plan file removes.
    Null: only ``config.json`` and ``generation_config.json`` were consulted."""

    @property
    def drawn_by_server(self) -> bool:
        """Whether a server draws tokens with noise of its own, which nobody can derive again."""
        return self.noise is not None and self.noise.startswith(SERVER_NOISE)

    def applied(self) -> Sampling:
        """Return it without what is only told: equal ones choose tokens alike."""
        return self.model_copy(update={"defaults_not_applied": None})
