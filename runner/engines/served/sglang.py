"""``/generate`` of SGLang, written from the source of 0.5.23 and tried on no running server.

From that source: ``ignore_eos`` makes it pass over ``stop_token_ids`` as well, so that it is told
to ignore ends only where the plan has none; else it also stops at the end tokens of the folder, and
a response that ends at another than the plan's is refused.  Where logits are no numbers it puts an
end token in the place of the drawn one and says that it stopped: what stopped it has to be the last
token.  ``sampling_seed`` counts under ``--enable-deterministic-inference`` alone, and is passed
over in silence without it: the trial before sealing sees that.
"""

from __future__ import annotations

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

_NEUTRAL: Final = {
    "n": 1,
    "min_p": 0.0,
    "min_new_tokens": 0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": None,
    "stop": None,
    "stop_regex": None,
    "json_schema": None,
    "regex": None,
    "ebnf": None,
    "structural_tag": None,
    "beam_width": None,
    "custom_params": None,
    "watermark": {"enabled": False},
}
"""Written out, as ``--preferred-sampling-params`` sets what a request leaves out.  A server that
marks every answer refuses a request for none, where null would leave it to the server."""
_ALL: Final = -1
"""Of ``top_k``: the whole vocabulary."""
_FINISHES: Final = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Sglang:
    """The dialect of SGLang."""

    kind = ServerDialect.SGLANG
    noise = FACTS[ServerDialect.SGLANG].noise
    scores = True
    path = "/generate"
    probes = FACTS[ServerDialect.SGLANG].probes

    def body(
        self, request: Request, decoding: Decoding, model: str, *, best: bool = False
    ) -> dict[str, Any]:
        """Return a request; see :class:`Dialect`."""
        sampling = {
            **_NEUTRAL,
            "max_new_tokens": request.max_new_tokens,
            "temperature": decoding.temperature or 0.0,
            "top_p": 1.0 if decoding.top_p is None else decoding.top_p,
            "top_k": decoding.top_k or _ALL,
            "ignore_eos": not request.stop_ids,
            "stop_token_ids": sorted(request.stop_ids),
            "no_stop_trim": True,
        }
        if not decoding.greedy:
            sampling["sampling_seed"] = server_seed(self.noise, request.seed)
        return {
            "input_ids": list(request.tokens),
            "sampling_params": sampling,
            "return_logprob": True,
            "logprob_start_len": -1,
            "top_logprobs_num": 1 if best else 0,
            "return_text_in_logprobs": False,
            "return_prompt_token_ids": True,
            "stream": False,
        }

    def read(self, reply: dict[str, Any], request: Request) -> ServerReply:
        """Return a reply as it is; see :class:`Dialect`."""
        if reply.get("output_ids") is None:
            raise NonsenseError(NO_IDS)
        tokens = ids_of(reply["output_ids"], "output_ids")
        says = taken_at(reply, "meta_info")
        own, named = _pairs(taken_at(says, "output_token_logprobs"))
        if named != tokens:
            raise NonsenseError("its log-probabilities are of other tokens than it gives")
        tops = says.get("output_top_logprobs") or []
        return ServerReply(
            prompt=ids_of(taken_at(reply, "prompt_token_ids"), "prompt_token_ids"),
            prompt_length=count_of(taken_at(says, "prompt_tokens"), "meta_info.prompt_tokens"),
            tokens=tokens,
            counted=count_of(taken_at(says, "completion_tokens"), "meta_info.completion_tokens"),
            finish=_finish(taken_at(says, "finish_reason"), tokens),
            logprobs=own,
            best=_best(tops),
        )

    def claims(self, client: ServerClient, model: str) -> ServerClaims:
        """Return what the server says of itself; see :class:`Dialect`."""
        says = client.get("/model_info")
        offered = claimed_name(taken_at(says, "served_model_name"))
        if model != offered:
            raise client.offers_no(model, str(offered))
        try:
            version = client.get("/server_info")
        except RefusedError:
            version = None
        return ServerClaims(
            version=claimed_name(version.get("version") if isinstance(version, dict) else None),
            model=offered,
            weights=last_part_of(taken_at(says, "model_path")),
            context_limit=claimed_number(
                taken_at(client.get("/v1/models"), "data", 0, "max_model_len")
            ),
        )

    def score(
        self,
        client: ServerClient,
        model: str,
        tokens: Sequence[int],
        response: int,
        stopped: Event | None = None,
    ) -> TokenScores | None:
        """Return how likely the last tokens are; see :class:`Dialect`."""
        # Of the first token from there on it gives nothing, as none before it was looked at.
        start = len(tokens) - response - 1
        request = Request(0, tokens, 1, frozenset())
        body = self.body(request, GREEDY, model, best=True) | {"logprob_start_len": start}
        reply = client.post(self.path, body, len(tokens), stopped)
        if self.read(reply, request).prompt != tuple(tokens):
            raise NonsenseError("it gives back other token ids than the prompt's")
        given = taken_at(reply, "meta_info", "input_token_logprobs")
        tops = taken_at(reply, "meta_info", "input_top_logprobs")
        if any(not isinstance(each, list) or len(each) <= response for each in (given, tops)):
            raise NonsenseError("it gives no log-probability for each token of a prompt")
        # Their ids are not looked at: it writes 0 for the vocabulary's last one.
        own, _ = _pairs(given[-response:])
        return TokenScores(own, _best(tops[-response:]))

    def offered(self, client: ServerClient) -> str:
        """Return the name of its model; see :class:`Dialect`."""
        return str(taken_at(client.get("/model_info"), "served_model_name"))

    def ends(self, client: ServerClient) -> frozenset[int]:
        """Return none: it names none, and ignores its own where no plan's are given."""
        return frozenset()

    def why_not(self, decoding: Decoding) -> str | None:
        """Return why it cannot choose tokens so, or None."""
        if decoding.repetition_penalty is not None:
            return "SGLang's penalty looks at the response alone, and not at the prompt"
        return None


def _finish(reason: Any, tokens: Sequence[int]) -> Finish:
    """Return how a response ended.

    Raises:
        NonsenseError: Otherwise than at a token or at the length that was asked for.
    """
    finish = finish_of(taken_at(reason, "type"), _FINISHES)
    matched = reason.get("matched")
    if finish is Finish.STOP and (not tokens or matched != tokens[-1]):
        said = printable(str(matched), 40)
        raise NonsenseError(f"it ended a response at {said!r}, which is not its last token")
    return finish


def _pairs(entries: Any) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return the log-probabilities of tokens, and their ids.

    Raises:
        NonsenseError: There are none.
    """
    if not isinstance(entries, list):
        raise NonsenseError("it gives no log-probabilities")
    own = logprobs_of([taken_at(entry, 0) for entry in entries])
    return own, ids_of([taken_at(entry, 1) for entry in entries], "ids of log-probabilities")


def _best(places: Any) -> tuple[float, ...]:
    """Return the largest log-probability in each place.

    Raises:
        NonsenseError: There is none.
    """
    if not isinstance(places, list) or not all(isinstance(each, list) and each for each in places):
        raise NonsenseError("it gives no log-probabilities of the likeliest tokens")
    return tuple(max(_pairs(place)[0]) for place in places)
