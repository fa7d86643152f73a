"""The seam between a run and what generates.

An engine is given token ids and gives token ids back.  It knows nothing of queries,
demonstrations or judges, and its output depends on a request and the decoding alone, never
on which other requests were given with it: in exact arithmetic that is a promise, in
floating point it holds as far as the hardware's does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.receipts.model.receipt import ServerAccount
from safety_receipts.runner.engines.served.role import ServerRole


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a next token is chosen; the same for all requests of a call."""

    temperature: float | None = None
    """None: greedy.  Otherwise the softmax temperature, above 0, of seeded sampling."""
    top_p: float | None = None
    """Nucleus mass, above 0 and up to 1; None: no limit."""
    top_k: int | None = None
    """Largest number of candidates; None: no limit."""
    repetition_penalty: float | None = None
    """Above 0; what tokens' logits are divided by (negative ones: multiplied by) that occur in
    the prompt or earlier in the response; None: none."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature is None


GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class Request:
    """One response asked for."""

    key: int
    """The caller's name for it; distinct within a call."""
    tokens: Sequence[int]
    """Token ids of the prompt, at least one.  Prompts that come from one
    :class:`~runner.prompts.prefix_tree.PrefixTree` are not spelt out where prefixes are shared."""
    max_new_tokens: int
    """Longest response in tokens."""
    stop_ids: frozenset[int]
    """Token ids that end the response."""
    seed: int = 0
    """64-bit seed of the noise, 0 to 2^64 − 1; ignored when greedy."""
    logits_for: tuple[int, ...] = ()
    """Token ids whose logits are wanted at every position of the response."""
    begun: int = 0
    """How many of the last prompt tokens are the response's own beginning: the noise counts
    positions from there.  ``max_new_tokens`` and the completion speak of the rest alone."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One response, or why there is none."""

    key: int
    """The request's."""
    tokens: tuple[int, ...]
    """Token ids of the response, the end token included; empty where it failed."""
    finish: Finish
    """``stop``: the last token is a stop id and no other is; ``length``: exactly
    ``max_new_tokens`` tokens, none of them a stop id; ``error``: it failed."""
    logits: tuple[tuple[float, ...], ...] = ()
    """For each token of the response, the raw fp32 logits of ``logits_for`` at its position
    (before a penalty, temperature and noise); of a server its log-probabilities, which are less by
    one number for all ids of a position, and NaN where it gives none.  Empty where none were asked
    for, or the server cannot be asked."""
    reason: Reason | None = None
    """``engine_error`` or ``out_of_memory`` where it failed; else None."""
    error: str | None = None
    """What went wrong, for people, one line without any of the prompt's text; else None."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How plausible a given response is, token by token."""

    key: int
    """The request's."""
    margins: tuple[float, ...]
    """For each token of the response: the best score at its position minus its own, at least
    0; 0 means that this engine would have chosen it.  Scores are logits, after a repetition
    penalty, when greedy, else those / temperature plus noise, with −infinity outside top-k and
    top-p.  Empty where scoring failed."""
    branch: int | None
    """Index of the first token that this engine would not have taken: another has a better
    score, or the same and a lower id.  None: it would have taken them all."""
    logprobs: tuple[float, ...]
    """For each token of the response: its log-probability in fp32, at temperature 1 and without
    a penalty; empty where scoring failed."""
    reason: Reason | None = None
    """``engine_error`` or ``out_of_memory`` where it failed; else None."""
    error: str | None = None
    """What went wrong, for people, one line without any of the prompt's text; else None."""


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What an engine is made of, for the receipt's environment."""

    kind: EngineKind
    """Which engine."""
    dtype: Dtype
    """Number format."""
    device: str
    """Processor or accelerator, by its maker's name."""
    driver: str | None = None
    """Its driver; None: none of its own."""
    attention: str | None = None
    """Attention implementation."""
    torch: str | None = None
    """torch version."""
    transformers: str | None = None
    """transformers version."""
    packages: dict[str, str] = field(default_factory=dict)
    """Further packages and their versions."""
    server: ServerAccount | None = None
    """The server that answers, before anything was counted; None: the model is in this process."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one batch."""

    batch: int
    """Its number: its place in :attr:`Generation.batches`."""
    completions: tuple[Completion, ...]
    """At most one for each of its requests, in any order."""
    trouble: str | None = None
    """Why requests are left without a completion, for people; None: there are none, or the
    engine does not know."""


class Generation(Protocol):
    """Requests, cut into batches, which are submitted and whose answers are collected.

    A completion does not depend on which batches were submitted before or together with its
    own, nor on the order in which they are finished, to the last bit where the hardware allows.
    Calls come from one thread.
    """

    @property
    def batches(self) -> Sequence[Sequence[int]]:
        """Indices of the requests that are answered together; each in one batch.

        They depend on the requests, the decoding, the engine and its limits alone, and never on
        how many workers there are or which of them is free.
        """

    @property
    def concurrency(self) -> int:
        """Most batches, at least 1, that are submitted and whose turn has not come.

        It bounds what is kept of answers that are finished before their turn as well, so that
        an engine with several workers may name more than it has.
        """

    def submit(self, number: int) -> None:
        """Hand over a batch, by its number; it is best done in order.

        The engine may begin at once, or when it is asked to :meth:`collect`.
        """

    def collect(self) -> Answer:
        """Wait for any batch that was submitted and return what became of it, once.

        Whatever befalls a batch alone is part of its answer: completions with a reason, or
        :attr:`Answer.trouble`.

        Raises:
            ReceiptsError: Nothing can be generated at all.
        """

    def close(self) -> None:
        """Give up what was submitted and not collected; nothing is called afterwards."""


class Engine(Protocol):
    """Generates and scores."""

    @property
    def identity(self) -> EngineIdentity:
        """What it is made of."""

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Cut requests into batches, which depend on them, the engine and its limits alone.

        A request that cannot be answered gets a completion with finish ``error``; the others
        are answered all the same.

        Raises:
            ValueError: Two requests have one key.
        """

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        """Yield the margins of given responses, teacher-forced, in any order.

        One that cannot be scored gives margins with a reason; the others are scored all the
        same.

        Args:
            requests: Requests with the token ids of their responses, each at least one.
            decoding: How the responses claim to have been chosen.

        Raises:
            ReceiptsError: Nothing can be scored at all.
        """


@dataclass(frozen=True, slots=True)
class Tried:
    """Answers of a server that were held against an earlier answer to the same request."""

    repeated: int
    """How many were."""
    differed: int
    """How many were another."""


class UnbelievableServerError(IntegrityError):
    """What a server answers does not hold together: it says nothing of any record."""


@runtime_checkable
class ServedEngine(Engine, Protocol):
    """An engine that stands behind a server."""

    def preflight(
        self, longest: int, new_tokens: int, prompts: Sequence[Sequence[int]] = ()
    ) -> Tried:
        """Try the server for whatever a run relies on, before anything is sealed.

        Args:
            longest: Tokens of the plan's longest prompt.
            new_tokens: Most tokens of its responses.
            prompts: Prompts in which a penalty that nobody asked for would show, beside the usual.

        Raises:
            ReceiptsError: It does not answer, or cannot be used.
        """

    @property
    def role(self) -> ServerRole:
        """Who asks it."""

    def preflight_scores(self, longest: int) -> None:
        """Try whether the server says how likely the tokens of given responses are.

        Args:
            longest: Tokens of the longest prompt and response that are to be scored.

        Raises:
            ReceiptsError: It does not answer, or does not say so.
        """

    def confirm(self) -> None:
        """Make sure that it was the server that was started here, if one was, that answered.

        Raises:
            ReceiptsError: It has ended, or another process answers in its place.
        """

    def hold_to_claims(self) -> None:
        """Ask again what the server says of itself, before anything is sealed of its answers.

        Raises:
            ReceiptsError: It does not answer, or says otherwise than before.
        """

    def take_resent(self) -> int:
        """Return how many requests were sent again since this was last asked."""

    def close(self) -> None:
        """End the server, where it was started here."""
