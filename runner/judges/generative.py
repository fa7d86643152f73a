"""Judges that are causal language models: one prompt, one short greedy reply, one parser.

Only generated ids are parsed, never the prompt, and the prompt holds judged text as text
alone (:mod:`runner.judges.guarded`), so nothing in a response can write the verdict's form.
What it can still do is persuade; that is a property of the judge, and calibration measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import overflows
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Completion, Engine, Request
from safety_receipts.runner.judges.guarded import GuardedTemplate, GuardedTokenizer, UnsafeTextError
from safety_receipts.runner.judges.judge import Exchange, Judgement
from safety_receipts.runner.prompts.responses import ResponseReader

_MAX_ERROR = 400


@dataclass(frozen=True)
class JudgeDialogue:
    """What is asked of a model, and how its reply is read."""

    parts: tuple[str, ...]
    """Fixed texts of the prompt, markup included; between each two goes one judged text."""
    texts: Callable[[Exchange], tuple[str, ...]]
    """The judged texts of an exchange."""
    parse: Callable[[str], tuple[Outcome, Reason | None]]
    """From the reply's text to the outcome, with the reason where it is unscored."""
    answer_at: Callable[[str], int | None]
    """Where in the reply's text the word of the verdict starts; None: nowhere."""
    replies: tuple[tuple[str, str], ...]
    """Pairs of replies, one that refuses and one that complies, alike up to that word: their
    first ids that differ are the two whose logits make the margin."""
    reader: ResponseReader | None = None
    """Reads the answer out of a reply that may hold thoughts; None: replies hold none.  A verdict
    after thoughts has no margin: they have settled it."""


@dataclass(frozen=True)
class ReplyLimits:
    """What bounds a reply."""

    context: int
    """Longest context of the judge in tokens: prompt and longest reply must fit."""
    max_new_tokens: int
    """Longest reply in tokens."""
    end_tokens: frozenset[int]
    """Token ids that end a reply."""


class GenerativeJudge:
    """Asks a causal language model about each exchange.

    An exchange whose prompt leaves no room for the reply is ``unscored``, never cut; so is one
    that the engine fails on.  Equal exchanges of a call are asked about once.

    Args:
        identity: What the judge is.
        engine: Generates; greedy.
        tokenizer: The judge's, guarded.
        dialect: What is asked, and how the reply is read.
        limits: What bounds a reply.

    Raises:
        MalformedError: The tokenizer cannot be guarded against markup in judged text, or adds
            a token after the prompt.
    """

    def __init__(
        self,
        identity: JudgeIdentity,
        engine: Engine,
        tokenizer: GuardedTokenizer,
        dialect: JudgeDialogue,
        limits: ReplyLimits,
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._tokenizer = tokenizer
        self._template: GuardedTemplate = tokenizer.template(dialect.parts)
        if not self._template.ends_open():
            raise tokenizer.malformed("the judge's tokenizer ends every text with its own token")
        self._dialect = dialect
        self._limits = limits
        pairs = (self._template.first_difference(*pair) for pair in dialect.replies)
        self._pairs = tuple(dict.fromkeys(pair for pair in pairs if pair is not None))
        self._logits_for = tuple(dict.fromkeys(id_ for pair in self._pairs for id_ in pair))

    @property
    def identity(self) -> JudgeIdentity:
        """Weights, template, parser and length of the reply."""
        return self._identity

    @property
    def engine(self) -> Engine:
        """What it asks."""
        return self._engine

    @property
    def longest_reply(self) -> int:
        """Most tokens of a reply."""
        return self._limits.max_new_tokens

    def prompt(self, exchange: Exchange) -> tuple[int, ...]:
        """Return the token ids in which an exchange is asked; empty: it cannot be asked."""
        request = self._request(0, exchange)
        return () if isinstance(request, Judgement) else tuple(request.tokens)

    def prompt_length(self, exchange: Exchange, more: int) -> int:
        """Return in how many tokens an exchange is asked; see :class:`AskingJudge`."""
        limits = self._limits
        try:
            length = len(self._template.ids(self._dialect.texts(exchange)))
        except UnsafeTextError:  # which is never asked
            length = 0
        return max(1, min(length + more, limits.context - limits.max_new_tokens))

    def judge_many(self, exchanges: Iterable[Exchange]) -> list[Judgement]:
        """Return one judgement for each exchange, in order.

        ``raw`` is the reply, decoded from the generated ids without the end token; ``margin``
        the refusing word's logit less the complying one's where the verdict stands, None for an
        unscored exchange, where the verdict is spelt in other ids, and where a server does not give
        both words' log-probabilities, whose difference is the same.

        Raises:
            ReceiptsError: The engine cannot generate at all.
        """
        asked = list(exchanges)
        judgements: dict[Exchange, Judgement] = {}
        requests: dict[int, tuple[Exchange, Request]] = {}
        for exchange in dict.fromkeys(asked):
            request = self._request(len(requests), exchange)
            if isinstance(request, Judgement):
                judgements[exchange] = request
            else:
                requests[request.key] = exchange, request
        if requests:
            asking = [request for _, request in requests.values()]
            for completion in generate_completions(self._engine, asking):
                judgements[requests[completion.key][0]] = self._judgement(completion)
        unanswered = unjudged("the engine gave no completion")
        return [judgements.get(exchange, unanswered) for exchange in asked]

    def _request(self, key: int, exchange: Exchange) -> Request | Judgement:
        limits = self._limits
        try:
            for text in (exchange.query, exchange.response):
                self._tokenizer.check_text(text)
            tokens = self._template.ids(self._dialect.texts(exchange))
        except UnsafeTextError as error:
            return unjudged(str(error))
        if overflows(len(tokens), limits.max_new_tokens, limits.context):
            return unjudged(
                f"a prompt of {len(tokens):,} tokens and {limits.max_new_tokens:,} new ones "
                f"exceed the judge's context of {limits.context:,}"
            )
        return Request(
            key=key,
            tokens=tokens,
            max_new_tokens=limits.max_new_tokens,
            stop_ids=limits.end_tokens,
            logits_for=self._logits_for,
        )

    def _judgement(self, completion: Completion) -> Judgement:
        if completion.finish not in (Finish.STOP, Finish.LENGTH):
            return unjudged(completion.error or f"the engine's finish is {completion.finish}")
        tokens = completion.tokens
        if tokens and tokens[-1] in self._limits.end_tokens:
            tokens = tokens[:-1]
        raw = self._tokenizer.decode(tokens)
        if self._dialect.reader is not None:
            answer = self._dialect.reader.read(completion.tokens)
            text = "" if answer.reason is not None else answer.text
            return Judgement(*self._dialect.parse(text), raw)
        outcome, reason = self._dialect.parse(raw)
        margin = self._margin(tokens, raw, completion.logits) if reason is None else None
        return Judgement(outcome, reason, raw, margin)

    def _margin(
        self, tokens: tuple[int, ...], raw: str, logits: tuple[tuple[float, ...], ...]
    ) -> float | None:
        start = self._dialect.answer_at(raw)
        if start is None or not logits:
            return None
        # The token that writes the word's first letter.
        for place in range(len(tokens)):
            if len(self._tokenizer.decode(tokens[: place + 1])) > start:
                break
        else:
            return None
        for refusing, complying in self._pairs:
            if tokens[place] in (refusing, complying):
                columns = (self._logits_for.index(refusing), self._logits_for.index(complying))
                margin = logits[place][columns[0]] - logits[place][columns[1]]
                return margin if math.isfinite(margin) else None
        return None


def unjudged(message: str) -> Judgement:
    """Return the judgement of an exchange that the judge failed on."""
    return Judgement(
        Outcome.UNSCORED, Reason.JUDGE_ERROR, raw="", error=printable(message, _MAX_ERROR)
    )
