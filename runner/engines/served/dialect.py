"""What a server is asked, and how its answers are read: one dialect a kind of server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, Protocol, assert_never

from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.receipt import ServerClaims, ServerProbe
from safety_receipts.runner.engines.engine import Decoding, Request
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    RefusedError,
    ServerClient,
)
from safety_receipts.runner.engines.served.reply import (
    ABOVE_0,
    ROUNDING,
    ServerReply,
    least_best,
    too_unlikely,
)


@dataclass(frozen=True)
class TokenScores:
    """Of given tokens after a prompt: how likely each was, and the likeliest in its place."""

    logprobs: tuple[float, ...]
    """Of each token."""
    best: tuple[float, ...]
    """Of the likeliest token in its place."""


def check_scores(scores: TokenScores, vocabulary: int) -> None:
    """Hold log-probabilities to what such numbers can be.

    Args:
        scores: They.
        vocabulary: Number of token ids.

    Raises:
        NonsenseError: One is above 0, or above the likeliest one's, or the likeliest one's is below
            that of an equal share.
    """
    if any(value > ROUNDING for value in (*scores.logprobs, *scores.best)):
        raise NonsenseError(ABOVE_0)
    if any(best < least_best(vocabulary) for best in scores.best):
        raise NonsenseError(too_unlikely(vocabulary))
    for own, best in zip(scores.logprobs, scores.best, strict=True):
        if own > best + ROUNDING:
            raise NonsenseError("it calls a token likelier than the likeliest one")


class Dialect(Protocol):
    """One kind of server."""

    kind: ServerDialect
    """Which."""
    noise: str
    """Name of the rule that makes the server's seed of a request's."""
    path: str
    """Where completions are asked for."""
    probes: tuple[ServerProbe, ...]
    """What it is tried for."""
    scores: bool
    """Whether such servers say how likely the tokens of a prompt are."""

    def body(
        self, request: Request, decoding: Decoding, model: str, *, best: bool = False
    ) -> dict[str, Any]:
        """Return a request: token ids, and every value of sampling written out.

        Args:
            request: What is asked.
            decoding: How tokens are chosen.
            model: Name under which the server offers the model.
            best: Whether the log-probability of the likeliest token is asked for.
        """

    def read(self, reply: dict[str, Any], request: Request) -> ServerReply:
        """Return a reply as it is.

        Raises:
            NonsenseError: It is none of this dialect, such as one without token ids.
        """

    def claims(self, client: ServerClient, model: str) -> ServerClaims:
        """Return what the server says of itself.

        Raises:
            UsageError: It offers no such model.
            ServedError: It does not say.
        """

    def score(
        self,
        client: ServerClient,
        model: str,
        tokens: Sequence[int],
        response: int,
        stopped: Event | None = None,
    ) -> TokenScores | None:
        """Return how likely the last tokens of a sequence are; None: such servers do not say.

        Args:
            client: Asks the server.
            model: Name under which it offers the model.
            tokens: Prompt and response.
            response: Number of the response's tokens.
            stopped: Set when nothing is to be sent again.

        Raises:
            ServedError: It does not say, or what it says does not hold together.
        """

    def offered(self, client: ServerClient) -> str:
        """Return the name under which the server offers its first model.

        Raises:
            ServedError: It does not answer, or offers none.
        """

    def ends(self, client: ServerClient) -> frozenset[int]:
        """Return the token ids at which the server ends a response unasked, as far as it says.

        Raises:
            ServedError: It does not answer.
        """

    def why_not(self, decoding: Decoding) -> str | None:
        """Return why it cannot choose tokens so, or None."""


def detect(client: ServerClient) -> ServerDialect:
    """Find out which dialect a server speaks.

    Raises:
        UnreachableError: It does not answer.
        RefusedError: It says nothing to whoever has no key, or another one.
        NonsenseError: None that is known.
    """
    refused = None
    for kind, (path, sign) in _SIGNS.items():
        try:
            said = client.get(path)
        except NonsenseError:
            continue
        except RefusedError as error:
            refused = error if error.status in (401, 403) else refused
            continue
        if isinstance(said, dict) and sign in said:
            return kind
    if refused is not None:
        raise refused
    known = " or ".join(kind.value for kind in ServerDialect)
    raise NonsenseError(
        f"it is not known as {known}, which take and give token ids: a server that gives text "
        "alone cannot be evaluated"
    )


_SIGNS: Final = {
    ServerDialect.LLAMACPP: ("/props", "model_path"),
    ServerDialect.VLLM: ("/version", "version"),
    ServerDialect.SGLANG: ("/model_info", "served_model_name"),
}
"""The address at which each says something that the others do not, and what."""


def dialect_of(kind: ServerDialect) -> Dialect:
    """Return how servers of a kind are spoken to."""
    # Each imports the contracts above.
    from safety_receipts.runner.engines.served import llamacpp, sglang, vllm  # noqa: PLC0415

    match kind:
        case ServerDialect.VLLM:
            return vllm.Vllm()
        case ServerDialect.LLAMACPP:
            return llamacpp.LlamaCpp()
        case ServerDialect.SGLANG:
            return sglang.Sglang()
        case _:
            assert_never(kind)
