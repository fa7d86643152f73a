"""Trying a server before a plan is sealed: each request catches something that servers did.

A dozen short prompts of token ids that belong to no study: what a server is asked here shows
nothing of how the plan's own points will be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request, Tried
from safety_receipts.runner.engines.served.client import NonsenseError, RefusedError
from safety_receipts.runner.engines.served.reply import (
    CLOSE,
    NOT_LIKELIEST,
    ServerReply,
    reply_margins,
)
from safety_receipts.runner.engines.served.role import ServerRole

_TOKENS: Final = 16
"""New tokens of a trial."""
_PROMPTS: Final = 8
"""Prompts that are asked alone, and then together."""
_WARM: Final = 2.0
"""Temperature of draws: a model that is sure of its next token draws one and the same at 1."""

NO_SCORES: Final = "the server gives no log-probabilities of prompts"
"""What is said of one that cannot be asked about recorded responses."""
SCORES_HINT: Final = "ask a server of the dialect vllm or sglang, or audit with your own engine"

AskAll = Callable[[Sequence[Request], Decoding], list[ServerReply]]
"""Asks requests together; of each the reply, which holds together."""


@dataclass(frozen=True)
class Trial:
    """Tries one server.

    Args:
        ask: Asks it; log-probabilities of the likeliest tokens are given as well.
        score: Returns by how much each token of a response lies below the likeliest one in its
            place, as the server says when it is given prompt and response; None: it cannot.
        vocabulary: Number of token ids.
        ends: Token ids that end responses; no prompt holds one.
        dtype: Number format in which the server is said to run.
        seeded: Whether tokens are drawn, so that seeds are tried.
        role: Who asks it.
    """

    ask: AskAll
    score: Callable[[Sequence[int], Sequence[int]], list[float] | None]
    vocabulary: int
    ends: frozenset[int]
    dtype: Dtype
    seeded: bool
    role: ServerRole = ServerRole.ENGINE

    def run(self, longest: int, new_tokens: int, prompts: Sequence[Sequence[int]] = ()) -> Tried:
        """Try everything.

        Args:
            longest: Tokens of the longest prompt.
            new_tokens: Most tokens of its responses.
            prompts: Prompts in which a penalty would show, beside those that repeat themselves: a
                judge's reply is short, and in words of its question.

        Returns:
            How far answers to prompts asked alone are those to the same prompts asked together.

        Raises:
            UsageError: The server cannot be used.
            ServedError: It does not answer, or an answer does not hold together.
        """
        self.no_penalties()
        if self.seeded:
            self.seeds()
        for reply in self.length(longest, new_tokens):
            self._hold(reply_margins(reply))
        self._likeliest(prompts)
        return self.repeated()

    def _prompts(self) -> list[tuple[int, ...]]:
        """Return short prompts, all different."""
        ids = [i for i in range(min(self.vocabulary, 50_000)) if i not in self.ends]
        return [
            tuple(
                ids[(7 * place + 31 * number + number * number) % len(ids)] for place in range(12)
            )
            for number in range(_PROMPTS)
        ]

    def _wanted(self) -> tuple[int, ...]:
        """Return ids whose log-probabilities are wanted, as a judge wants those of two words."""
        return tuple(self._prompts()[0][:2]) if self.role.judges else ()

    def _request(self, key: int, prompt: Sequence[int], seed: int = 0) -> Request:
        return Request(key, prompt, _TOKENS, self.ends, _spread(seed))

    def no_penalties(self) -> None:
        """Ask for what repeats itself: each token that is chosen has to be the likeliest."""
        self._likeliest([(ids[0], ids[1]) * 8 for ids in self._prompts()[:4]])

    def _likeliest(self, prompts: Sequence[Sequence[int]]) -> None:
        if not prompts:
            return
        replies = self._greedy([self._request(i, prompt) for i, prompt in enumerate(prompts)])
        for prompt, reply in zip(prompts, replies, strict=True):
            self._hold(self.score(prompt, reply.tokens) or [])

    def _greedy(self, requests: Sequence[Request]) -> list[ServerReply]:
        """Ask requests together; each token that is chosen has to be the likeliest."""
        replies = self.ask(requests, GREEDY)
        for reply in replies:
            self._hold(reply_margins(reply))
        return replies

    def _hold(self, margins: Iterable[float]) -> None:
        if any(margin > CLOSE[self.dtype] for margin in margins):
            raise UsageError(f"{self.role.words} {NOT_LIKELIEST}", hint="start it without any")

    def seeds(self) -> None:
        """Hold one seed to give one answer, and another seed another."""
        warm = Decoding(temperature=_WARM)
        other = False
        for number, prompt in enumerate(self._prompts()):
            first, again, another = (
                self.ask([self._request(number, prompt, seed)], warm)[0].tokens
                for seed in (1 + number, 1 + number, 1001 + number)
            )
            if first != again:
                raise UsageError(
                    "the server gave two answers to one request with one seed",
                    hint="sample greedily, or start a server whose seeds hold",
                )
            other = other or first != another
        if not other:
            raise UsageError(
                "the server gave one answer for every seed: it takes no seed, or does not sample"
            )

    def length(self, longest: int, new_tokens: int) -> list[ServerReply]:
        """Ask for the plan's longest response, to a short prompt and to the longest one.

        Returns:
            The replies; a penalty that falls on long prompts alone shows in the second.
        """
        start = self._prompts()[0]
        try:
            whole = tuple(start[place % len(start)] for place in range(max(1, longest)))
            asked = [
                Request(0, prompt, new_tokens, frozenset(), logits_for=self._wanted())
                for prompt in (start, whole)
            ]
            return [reply for one in asked for reply in self.ask([one], GREEDY)]
        except (NonsenseError, RefusedError) as error:
            raise UsageError(
                f"{self.role.words} does not answer a prompt of {longest:,} tokens with "
                f"{new_tokens:,} new ones, as the plan asks: {error}",
                hint="start it with a longer context and without a limit of new tokens",
            ) from None

    def scores(self, longest: int) -> None:
        """Have it say how likely the tokens of a made-up response are, after a long prompt.

        Args:
            longest: Tokens of both together, at least two.
        """
        start, other = self._prompts()[:2]
        response = other[: max(1, min(len(other), longest // 2))]
        prompt = tuple(start[place % len(start)] for place in range(longest - len(response)))
        try:
            below = self.score(prompt, response)
        except (NonsenseError, RefusedError) as error:
            raise UsageError(
                f"the server does not say how likely the tokens of a prompt of {longest:,} are: "
                f"{error}",
                hint="start it with a longer context, or audit with your own engine",
            ) from None
        if below is None:
            raise UsageError(NO_SCORES, hint=SCORES_HINT)
        if not any(below):
            raise UsageError(
                "the server calls each token of a made-up response its likeliest: its "
                "log-probabilities of prompts say nothing",
                hint=SCORES_HINT,
            )

    def repeated(self) -> Tried:
        """Ask prompts alone and then together; say how many answers are others."""
        requests = [self._request(number, prompt) for number, prompt in enumerate(self._prompts())]
        alone = [self._greedy([request])[0].tokens for request in requests]
        together = [reply.tokens for reply in self._greedy(requests)]
        differed = sum(one != other for one, other in zip(alone, together, strict=True))
        return Tried(len(requests), differed)


def _spread(seed: int) -> int:
    """Return a 64-bit seed all of whose bits count: torch's CPU generator takes 32 of them."""
    return seed * 0x9E3779B97F4A7C15 % 2**64
