"""An engine that asks a server: token ids in, token ids out, nothing believed that can be held.

What befalls one request alone is its completion's reason; what befalls all of them (the server is
gone, or cannot be believed) stops the run, and what was committed stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from threading import Event
from typing import TypeVar

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.events.dialects import FACTS, UNSEEN
from safety_receipts.receipts.model.plan import EngineKind, PlannedServer
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.receipts.model.receipt import ServerAccount, ServerObservations
from safety_receipts.runner.engines.answers import in_order
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    EngineIdentity,
    Generation,
    Margins,
    Request,
    Tried,
    UnbelievableServerError,
)
from safety_receipts.runner.engines.requests import check_keys, failed, problem
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    RefusedError,
    ServerClient,
    UnreachableError,
    gone,
)
from safety_receipts.runner.engines.served.dialect import TokenScores, check_scores, dialect_of
from safety_receipts.runner.engines.served.generation import ServedGeneration, units_of
from safety_receipts.runner.engines.served.options import ServedModel
from safety_receipts.runner.engines.served.preflight import NO_SCORES, SCORES_HINT, Trial
from safety_receipts.runner.engines.served.reply import (
    ServerReply,
    check_greedy_reply,
    check_server_reply,
)
from safety_receipts.runner.engines.served.role import ServerRole

T = TypeVar("T")


class HttpEngine:
    """Generates, and scores where the server can, with a model behind a server.

    Args:
        client: Asks it.
        server: What the plan says of it.
        model: What is known of its model.
        close: Ends it, where the tool started it.
        confirm: Makes sure that it is still the one that the tool started, where it did.

    Raises:
        IncompleteError: It does not answer.
        UsageError: It offers no such model, or cannot choose tokens as the plan says.
    """

    def __init__(
        self,
        client: ServerClient,
        server: PlannedServer,
        model: ServedModel,
        *,
        close: Callable[[], None] = lambda: None,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._server = server
        self._model = model
        self._dialect = dialect_of(server.dialect)
        self._close = close
        self._confirm = confirm
        why = self._dialect.why_not(model.decoding)
        if why is not None:
            raise UsageError(f"{client.role.words} cannot sample as the plan says: {why}")
        claimed = self.before_run(lambda: self._dialect.claims(client, server.model))
        probes = FACTS[server.dialect].probes_of(drawn=not model.decoding.greedy)
        if client.role.judges:
            # What is judged is not known before it is generated: what this server has no room for
            # is that exchange's failure, and not a reply that was cut.
            longest = min(model.context_limit, claimed.context_limit or model.context_limit)
            self._model = replace(model, context_limit=longest)
        self._account = ServerAccount(
            dialect=server.dialect,
            started=server.started,
            arguments=server.arguments,
            concurrency=server.concurrency,
            claimed=claimed,
            seen=ServerObservations(probes=probes, repeated=0, differed=0, resent=0),
        )

    @property
    def identity(self) -> EngineIdentity:
        """What it is made of, as far as anybody here can say."""
        return EngineIdentity(
            kind=EngineKind.HTTP, dtype=self._model.dtype, device=UNSEEN, server=self._account
        )

    @property
    def role(self) -> ServerRole:
        """Who asks it."""
        return self._client.role

    def preflight(
        self, longest: int, new_tokens: int, prompts: Sequence[Sequence[int]] = ()
    ) -> Tried:
        """Try the server for whatever a run relies on.

        Args:
            longest: Tokens of the longest prompt.
            new_tokens: Most tokens of its responses.
            prompts: Prompts in which a penalty would show.

        Raises:
            IncompleteError: It does not answer.
            UsageError: It cannot be used: it gives no token ids, changes prompts, applies
                penalties, takes no seeds, or its context is too short.
        """
        asked = "what the judge is to be asked" if self.role.judges else "the plan's longest"
        self._refuse_longer(longest + new_tokens, f"{asked} prompt and response are")
        return self.before_run(lambda: self.trial().run(longest, new_tokens, prompts))

    def preflight_scores(self, longest: int) -> None:
        """Try whether it gives log-probabilities of prompts; see :class:`ServedEngine`."""
        if not self._dialect.scores:
            raise UsageError(NO_SCORES, hint=SCORES_HINT)
        self._refuse_longer(
            longest + 1, "the longest response to be scored takes, with its prompt,"
        )
        self.before_run(lambda: self.trial().scores(longest))

    def _refuse_longer(self, tokens: int, what: str) -> None:
        stated = self._account.claimed.context_limit
        if stated is not None and stated < tokens:
            raise UsageError(
                f"{self.role.words}'s context is {stated:,} tokens, and {what} {tokens:,}",
                hint="start it with a longer context",
            )

    def hold_to_claims(self) -> None:
        """Ask again what the server says of itself; see :class:`ServedEngine`."""
        before = self._account.claimed.to_wire()
        now = self.before_run(lambda: self._dialect.claims(self._client, self._server.model))
        differ = [name for name, value in now.to_wire().items() if value != before[name]]
        if differ:
            raise IncompleteError(
                f"{self._client.name} says otherwise of itself than it did before: "
                f"{', '.join(differ)}",
                hint="nothing is sealed, as another server may have answered in part: have the one "
                "of before answer and run the same command again, or begin anew",
            )

    def trial(self) -> Trial:
        """Return what tries the server, step by step."""
        return Trial(
            ask=self._tried,
            score=self._below_best,
            vocabulary=self._model.vocabulary,
            ends=self._model.end_tokens,
            dtype=self._model.dtype,
            seeded=not self._model.decoding.greedy,
            role=self.role,
        )

    def close(self) -> None:
        """End the server, where the tool started it."""
        self._close()

    def confirm(self) -> None:
        """Make sure that the server that the tool started is the one that answered.

        Raises:
            IncompleteError: It has ended, or takes no more requests.
            UnbelievableServerError: Another process takes them.
        """
        try:
            self._believed(self._confirm)
        except NonsenseError as error:
            raise self._unbelievable(error) from None

    def take_resent(self) -> int:
        """Return how many requests were sent again since this was last asked."""
        return self._client.take_resent()

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Cut requests into units; see :class:`~runner.engines.engine.Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(requests)
        return ServedGeneration(
            requests,
            units_of(requests),
            lambda request, stopped: self._answer(request, decoding, stopped),
            workers=self._server.concurrency,
        )

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        """Yield margins by the server's own log-probabilities; see :class:`Engine`.

        Raises:
            UsageError: The server gives none of prompts, or tokens are drawn, with noise that is
                the server's own, or penalised, which its log-probabilities do not show.
            IncompleteError: It does not answer.
        """
        check_keys(request for request, _ in requests)
        if not decoding.greedy or decoding.repetition_penalty is not None:
            raise UsageError(
                "a server's log-probabilities say nothing of drawn or penalised tokens"
            )
        asked = [request for request, _ in requests]
        responses = {request.key: response for request, response in requests}
        found: dict[int, Margins] = {}

        def ask(request: Request, stopped: Event) -> Completion:
            response = responses[request.key]
            found[request.key] = self._scored(request, response, stopped)
            return Completion(request.key, response, Finish.LENGTH)

        units = units_of(asked)
        generation = ServedGeneration(asked, units, ask, workers=self._server.concurrency)
        with closing(generation):
            for answer in in_order(generation, range(len(units))):
                yield from (found.pop(one.key) for one in answer.completions)

    def _scored(self, request: Request, response: tuple[int, ...], stopped: Event) -> Margins:
        """Return the margins of one response.

        Raises:
            IncompleteError: The server does not answer.
            UnbelievableServerError: What it answers does not hold together.
            UsageError: It takes no requests of this kind.
        """
        why = self._problem(request, GREEDY)
        if why is not None or not response:
            why = why or "the response has no tokens"
            return Margins(request.key, (), None, (), Reason.ENGINE_ERROR, why)
        tokens = (*request.tokens, *response)
        try:
            scores = self._believed(lambda: self._score(tokens, len(response), stopped))
        except RefusedError as error:
            return Margins(request.key, (), None, (), Reason.ENGINE_ERROR, str(error))
        except NonsenseError as error:
            raise self._unbelievable(error) from None
        if scores is None:
            raise UsageError(NO_SCORES, hint=SCORES_HINT)
        margins = tuple(
            max(0.0, best - own) for own, best in zip(scores.logprobs, scores.best, strict=True)
        )
        branch = next((place for place, margin in enumerate(margins) if margin > 0), None)
        return Margins(request.key, margins, branch, scores.logprobs)

    def _unbelievable(self, error: NonsenseError) -> UnbelievableServerError:
        return UnbelievableServerError(
            f"{self._client.name} cannot be believed: {error}",
            hint="what was answered before is kept; nothing is sealed",
        )

    def _problem(self, request: Request, decoding: Decoding) -> str | None:
        found = problem(request, self._model.vocabulary, self._model.context_limit)
        exact = decoding.greedy and decoding.repetition_penalty is None
        if found is None and request.begun and not exact:
            # Greedily going on is one longer prompt; its noise, or a penalty, would begin anew.
            found = "a server cannot go on with a drawn or penalised response that has begun"
        return found

    def _answer(self, request: Request, decoding: Decoding, stopped: Event) -> Completion:
        """Ask for one completion.

        Raises:
            IncompleteError: The server does not answer.
            UnbelievableServerError: What it answers does not hold together.
            UsageError: It takes no requests of this kind.
        """
        why = self._problem(request, decoding)
        if why is not None:
            return failed(request, Reason.ENGINE_ERROR, why)
        try:
            reply = self._believed(lambda: self._held(request, decoding, stopped))
        except RefusedError as error:
            return failed(request, Reason.ENGINE_ERROR, str(error))
        except NonsenseError as error:
            raise self._unbelievable(error) from None
        return Completion(request.key, reply.tokens, reply.finish, reply.wanted)

    def _held(self, request: Request, decoding: Decoding, stopped: Event) -> ServerReply:
        """Ask for one reply; where it is the model's own choice, it has to be the likeliest."""
        plain = decoding.greedy and decoding.repetition_penalty is None
        reply = self._asked(request, decoding, stopped, best=plain)
        if plain:
            check_greedy_reply(reply, self._model.vocabulary, self._model.dtype)
        return reply

    def _asked(
        self, request: Request, decoding: Decoding, stopped: Event, *, best: bool = False
    ) -> ServerReply:
        body = self._dialect.body(request, decoding, self._server.model, best=best)
        answer = self._client.post(self._dialect.path, body, request.max_new_tokens, stopped)
        reply = self._dialect.read(answer, request)
        if not best:
            # What was not asked for is, with vLLM, the drawn token alone: no likeliest one.
            reply = replace(reply, best=())
        check_server_reply(request, reply, self._model.vocabulary)
        if best and not reply.best:
            raise NonsenseError("it does not give the likeliest token beside a response's own")
        return reply

    def _score(
        self, tokens: Sequence[int], response: int, stopped: Event | None = None
    ) -> TokenScores | None:
        scores = self._dialect.score(self._client, self._server.model, tokens, response, stopped)
        if scores is not None:
            check_scores(scores, self._model.vocabulary)
        return scores

    def _below_best(self, prompt: Sequence[int], response: Sequence[int]) -> list[float] | None:
        scores = self._score((*prompt, *response), len(response))
        if scores is None:
            return None
        return [best - own for own, best in zip(scores.logprobs, scores.best, strict=True)]

    def _tried(self, requests: Sequence[Request], decoding: Decoding) -> list[ServerReply]:
        """Ask requests together; the likeliest tokens' log-probabilities are given as well."""
        found: dict[int, ServerReply] = {}

        def ask(request: Request, stopped: Event) -> Completion:
            reply = found[request.key] = self._asked(request, decoding, stopped, best=True)
            return Completion(request.key, reply.tokens, reply.finish)

        units = [list(range(len(requests)))]
        with closing(ServedGeneration(requests, units, ask, workers=len(requests))) as generation:
            list(in_order(generation, [0]))
        return [found[request.key] for request in requests]

    def before_run(self, ask: Callable[[], T]) -> T:
        """Return what a server says before anything is sealed, or say why it cannot be used.

        Raises:
            IncompleteError: It does not answer.
            UsageError: It cannot be used.
        """
        try:
            return self._believed(ask)
        except NonsenseError as error:
            raise UsageError(f"{self._client.name} cannot be used: {error}") from None
        except RefusedError as error:
            raise UsageError(
                f"{self._client.name} cannot be used: to a request as "
                f"{self._server.dialect.value} takes it, {error}",
                hint="is it of the dialect that the plan names?",
            ) from None

    def _believed(self, ask: Callable[[], T]) -> T:
        """Return what a server says; stop where it will say nothing to any request.

        Raises:
            IncompleteError: It does not answer.
            UsageError: It takes no requests of this kind, or not from us.
            NonsenseError: What it answers does not hold together.
            RefusedError: It refuses this request.
        """
        try:
            return ask()
        except UnreachableError as error:
            raise gone(self._client, error) from None
        except RefusedError as error:
            if error.of_one_request:
                raise
            raise UsageError(
                f"{self._client.name} answered {error.status}: {error.meaning}",
                hint=(
                    f"give its key in the environment variable {self.role.key}"
                    if error.status in (401, 403)
                    else "receipts doctor --server URL says what it speaks and offers"
                ),
            ) from None
