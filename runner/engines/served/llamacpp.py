"""``/completion`` of llama.cpp's server, as seen with xllamacpp 2026.10.

It gives the prompt back as text alone, so that its length is what can be held; it stops at the end
tokens of its GGUF file and knows no others, so that a response is cut here at the first end token
of the plan's; and it has no log-probabilities of prompts.  What it was told of sampling it gives
back, and that is compared.  Told to ignore ends it keeps its end tokens from being drawn, and not
from its log-probabilities: what is drawn in their place is not the likeliest.
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
from safety_receipts.runner.engines.engine import Decoding, Request
from safety_receipts.runner.engines.served.client import NonsenseError, ServerClient
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
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "dry_multiplier": 0.0,
    "xtc_probability": 0.0,
    "mirostat": 0,
    "dynatemp_range": 0.0,
}
_Logprobs = tuple[float | None, ...]
_FINISHES: Final = {"eos": Finish.STOP, "limit": Finish.LENGTH}
_ROUNDING: Final = 1e-6
"""It keeps settings in 32-bit numbers."""
_MOST: Final = 2**31
"""No setting that is asked for is as large."""


class LlamaCpp:
    """The dialect of llama.cpp's server."""

    kind = ServerDialect.LLAMACPP
    noise = FACTS[ServerDialect.LLAMACPP].noise
    path = "/completion"
    probes = FACTS[ServerDialect.LLAMACPP].probes
    scores = False

    def body(
        self, request: Request, decoding: Decoding, model: str, *, best: bool = False
    ) -> dict[str, Any]:
        """Return a request; see :class:`Dialect`."""
        body = {
            "prompt": list(request.tokens),
            "n_predict": request.max_new_tokens,
            **_asked(decoding),
            "ignore_eos": not request.stop_ids,
            "stop": [],
            "n_probs": 1,
            "return_tokens": True,
            "cache_prompt": True,
            "stream": False,
        }
        if not decoding.greedy:
            body["seed"] = server_seed(self.noise, request.seed)
        return body

    def read(self, reply: dict[str, Any], request: Request) -> ServerReply:
        """Return a reply as it is, cut at the first end token; see :class:`Dialect`."""
        tokens = ids_of(reply.get("tokens"), "tokens")
        counted = count_of(taken_at(reply, "tokens_predicted"), "tokens_predicted")
        if counted and not tokens:
            raise NonsenseError(NO_IDS)
        if len(tokens) != counted:
            raise NonsenseError(f"it gives {len(tokens):,} token ids and counts {counted:,}")
        finish = finish_of(reply.get("stop_type"), _FINISHES)
        logprobs, best = _paired(tokens, reply.get("completion_probabilities"))
        if not request.stop_ids:
            logprobs, best = _of_choices(logprobs, best)
        early = next((i for i, token in enumerate(tokens) if token in request.stop_ids), None)
        if early is not None:
            finish, cut = Finish.STOP, early + 1
            tokens, logprobs, best = tokens[:cut], logprobs[:cut], best[:cut]
        return ServerReply(
            prompt=None,
            prompt_length=count_of(taken_at(reply, "tokens_evaluated"), "tokens_evaluated"),
            tokens=tokens,
            counted=len(tokens),
            finish=finish,
            logprobs=logprobs,
            best=best,
            settings=_settings_problem(taken_at(reply, "generation_settings")),
        )

    def claims(self, client: ServerClient, model: str) -> ServerClaims:
        """Return what the server says of itself; see :class:`Dialect`."""
        says = client.get("/props")
        alias = claimed_name(taken_at(says, "model_alias"))
        file = last_part_of(taken_at(says, "model_path"))
        if model not in (alias, file):
            raise client.offers_no(model, str(alias or file))
        return ServerClaims(
            version=claimed_name(says.get("build_info")),
            model=alias,
            weights=file,
            context_limit=claimed_number(taken_at(says, "default_generation_settings", "n_ctx")),
        )

    def score(
        self,
        client: ServerClient,
        model: str,
        tokens: Sequence[int],
        response: int,
        stopped: Event | None = None,
    ) -> TokenScores | None:
        """Return None: it has no log-probabilities of prompts."""
        return None

    def offered(self, client: ServerClient) -> str:
        """Return the name of its model; see :class:`Dialect`."""
        says = client.get("/props")
        return claimed_name(taken_at(says, "model_alias")) or str(
            last_part_of(says.get("model_path"))
        )

    def ends(self, client: ServerClient) -> frozenset[int]:
        """Return the end token that it names; see :class:`Dialect`."""
        text = taken_at(client.get("/props"), "eos_token")
        said = client.post("/tokenize", {"content": text, "parse_special": True}, 0)
        return frozenset(ids_of(taken_at(said, "tokens"), "tokens"))

    def why_not(self, decoding: Decoding) -> str | None:
        """Return why it cannot choose tokens so, or None."""
        if decoding.repetition_penalty is not None:
            return "llama.cpp's penalty looks back over a window alone"
        return None


def _asked(decoding: Decoding) -> dict[str, Any]:
    """Return everything that decides how a token is chosen."""
    return {
        **_NEUTRAL,
        "temperature": decoding.temperature or 0.0,
        "top_p": 1.0 if decoding.top_p is None else decoding.top_p,
        "top_k": decoding.top_k or 0,
    }


def _settings_problem(given: Any) -> str | None:
    """Return which neutral value of sampling a server did not take, or None."""
    for name, value in _NEUTRAL.items():
        held: Any = given.get(name) if isinstance(given, dict) else None
        # A larger whole number may be too large to subtract from.
        known = type(held) in (int, float) and -_MOST < held < _MOST
        if not known or abs(held - value) > _ROUNDING:
            return f"it samples with {name} {printable(str(held), 40)}, and was asked for {value}"
    return None


def _of_choices(own: _Logprobs, best: _Logprobs) -> tuple[_Logprobs, _Logprobs]:
    """Return log-probabilities without those of tokens that were not the likeliest."""
    chosen = [one is not None and one == top for one, top in zip(own, best, strict=True)]
    return (
        tuple(one if kept else None for one, kept in zip(own, chosen, strict=True)),
        tuple(top if kept else None for top, kept in zip(best, chosen, strict=True)),
    )


def _paired(tokens: Sequence[int], entries: Any) -> tuple[_Logprobs, _Logprobs]:
    """Return each token's log-probability, and the likeliest one's: None inside a character."""
    if not isinstance(entries, list):
        raise NonsenseError("it gives no log-probabilities")
    own: list[float | None] = []
    best: list[float | None] = []
    place = 0
    for token in tokens:
        entry = entries[place] if place < len(entries) else None
        if entry is None or taken_at(entry, "id") != token:
            own.append(None)
            best.append(None)
            continue
        place += 1
        tops = taken_at(entry, "top_logprobs")
        listed = [taken_at(top, "logprob") for top in tops] if isinstance(tops, list) else []
        [value] = logprobs_of([taken_at(entry, "logprob")])
        own.append(value)
        best.append(max((value, *logprobs_of(listed))))
    if place < len(entries):
        raise NonsenseError("its log-probabilities are of other tokens than it gives")
    return tuple(own), tuple(best)
