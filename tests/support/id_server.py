"""A server of token ids: vLLM's ``/v1/completions`` in front of this project's own engine.

It listens on this machine and computes with a real model.  What it answers is what vLLM 0.32.0
answers, field by field (tests/servers holds the real one to the same tests), or what SGLang does by
its source, and on demand it does one of the things that servers, and what stands before them, do
wrong.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from sglang_answers import from_sglang, sglang_problem, sglang_says, to_sglang

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

Answer = dict[str, Any]


@dataclass
class Mischief:
    """What a server does wrong; by default nothing."""

    before: Callable[[BaseHTTPRequestHandler, Answer], bool] = lambda _, __: False
    """Answers in the server's place, and says so."""
    asked: Callable[[Answer], Answer] = lambda body: body
    """Changes what is asked."""
    answered: Callable[[Answer], Answer] = lambda reply: reply
    """Changes what is answered."""
    penalty: float | None = None
    """A repetition penalty that nobody asked for."""
    context: int | None = None
    """A longest context that is shorter than the model's; it cuts in silence, as vLLM does."""
    stated_context: int | None = None
    """The longest context that it says it has."""
    ignores_ids: bool = False
    """Gives log-probabilities of its own tokens alone, whatever ids are named: it knows of no such
    request."""
    seeds: bool = True
    """Whether it draws by the seed that it is given: SGLang does under a flag alone."""


@dataclass
class IdServer:
    """A running server."""

    url: str
    """Its address."""
    mischief: Mischief
    """What it does wrong from now on."""
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    """Prompts that were answered, in that order."""
    seeds: Counter[int] = field(default_factory=Counter)
    """Seeds that it was given."""
    bodies: list[Answer] = field(default_factory=list)
    """Requests, as they came."""
    scored: int = 0
    """Prompts whose log-probabilities it gave."""
    most: int = 0
    """Most requests that it had at a time."""


@contextmanager
def id_server(
    folder: Path,
    mischief: Mischief | None = None,
    *,
    model: str = "model",
    port: int = 0,
    dtype: Dtype = Dtype.FLOAT32,
    dialect: ServerDialect = ServerDialect.VLLM,
) -> Iterator[IdServer]:
    """Serve a checkpoint under a name, as vLLM or SGLang do; on a free port, if none is given."""
    loaded = load_model(folder, dtype=dtype, device="cpu")
    engine = TransformersEngine(loaded, memory=2**26)
    found = IdServer("", mischief or Mischief())
    handler = type("Handler", (_Handler,), {"served": _Served(engine, found, model, dialect)})
    with _Server(("127.0.0.1", port), handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


_PATHS = {ServerDialect.VLLM: "/v1/completions", ServerDialect.SGLANG: "/generate"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that go away are among the tests."""


@dataclass
class _Served:
    engine: TransformersEngine
    found: IdServer
    model: str
    dialect: ServerDialect
    lock: Lock = field(default_factory=Lock)
    now: int = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.now += 1
            self.found.most = max(self.found.most, self.now)
        try:
            yield
        finally:
            with self.lock:
                self.now -= 1

    def complete(self, body: Answer) -> tuple[int, Answer]:
        """Return the status and the body of an answer."""
        if body["model"] != self.model:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        prompt, limit = tuple(body["prompt"]), self.found.mischief.context
        limit = limit or self.engine.context_limit
        if len(prompt) >= limit:
            return 400, _error(f"maximum context length is {limit} tokens")
        temperature = body["temperature"]
        decoding = Decoding(
            temperature=temperature or None,
            top_p=None if body["top_p"] == 1 or not temperature else body["top_p"],
            top_k=body["top_k"] if body["top_k"] > 0 and temperature else None,
            repetition_penalty=self.found.mischief.penalty
            or (None if body["repetition_penalty"] == 1 else body["repetition_penalty"]),
        )
        new_tokens = min(body["max_tokens"], limit - len(prompt))
        ends = frozenset(body["stop_token_ids"])
        seed = body.get("seed", 0) if self.found.mischief.seeds else secrets.randbits(63)
        request = Request(0, prompt, new_tokens, ends, seed)
        with self.lock:
            completion = completions_of(self.engine, [request], decoding)[0]
            if completion.finish is Finish.ERROR:
                return 400, _error("the engine failed")
            [scores] = self.engine.score([(request, completion.tokens)], GREEDY)
            self.found.prompts.append(prompt)
            if "seed" in body:
                self.found.seeds[body["seed"]] += 1
            best = body.get("prompt_logprobs")
            places = None if best is None else self._prompt_logprobs(prompt, best)
            self.found.scored += places is not None
            reply = _reply(body, completion.tokens, completion.finish, scores, places)
            if body.get("logprob_token_ids") and not self.found.mischief.ignores_ids:
                tops = self._named(request, completion.tokens, scores, body["logprob_token_ids"])
                reply["choices"][0]["logprobs"]["top_logprobs"] = tops
        return 200, reply

    def answer(self, body: Answer) -> tuple[int, Answer]:
        """Return the status and the body of an answer, in the server's dialect."""
        if self.dialect is not ServerDialect.SGLANG:
            return self.complete(body)
        problem = sglang_problem(body)
        if problem is not None:
            return 400, {"error": problem}
        status, reply = self.complete(from_sglang(body) | {"model": self.model})
        vocabulary = self.engine._loaded.architecture.widths.vocabulary
        return status, to_sglang(body, reply, vocabulary) if status == 200 else reply

    def _named(
        self, request: Request, tokens: tuple[int, ...], scores: Any, ids: list[int]
    ) -> list[Answer]:
        """Return the log-probabilities of each token and of some ids in its place."""
        wanted = tuple({*ids, *tokens})
        asked = replace(request, logits_for=wanted)
        logits = completions_of(self.engine, [asked], GREEDY)[0].logits
        found = []
        for token, own, row in zip(tokens, scores.logprobs, logits, strict=True):
            less = row[wanted.index(token)] - own
            found.append({f"token_id:{i}": row[wanted.index(i)] - less for i in (token, *ids)})
        return found

    def _prompt_logprobs(self, prompt: tuple[int, ...], best: int) -> list[Answer | None]:
        """Return each token's own log-probability, and the likeliest one's where it is another.

        As vLLM does for 1; with 0 it gives each token's own alone.
        """
        request = Request(0, prompt[:1], 1, frozenset())
        [scores] = self.engine.score([(request, prompt[1:])], GREEDY)
        places: list[Answer | None] = [None]
        for token, own, margin in zip(prompt[1:], scores.logprobs, scores.margins, strict=True):
            place = {str(token): {"logprob": own, "rank": 1 if margin == 0 else 2}}
            if margin > 0 and best:
                place["best"] = {"logprob": own + margin, "rank": 1}
            places.append(place)
        return places


def _reply(
    body: Answer, tokens: tuple[int, ...], finish: Finish, scores: Any, places: Any
) -> Answer:
    named = [f"token_id:{token}" for token in tokens]
    best = [own + margin for own, margin in zip(scores.logprobs, scores.margins, strict=True)]
    # As vLLM does: of 0 asked for, the token's own alone.
    tops = [
        {name: own} | ({"best": top} if body.get("logprobs", 1) else {})
        for name, own, top in zip(named, scores.logprobs, best, strict=True)
    ]
    return {
        "object": "text_completion",
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "text": "",
                "token_ids": list(tokens),
                "prompt_token_ids": body["prompt"],
                "prompt_logprobs": places,
                "finish_reason": "stop" if finish is Finish.STOP else "length",
                "stop_reason": tokens[-1] if finish is Finish.STOP else None,
                "logprobs": {
                    "tokens": named,
                    "token_logprobs": list(scores.logprobs),
                    "top_logprobs": tops,
                },
            }
        ],
        "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(tokens)},
    }


def _error(message: str) -> Answer:
    return {"error": {"message": message}}


class _Handler(BaseHTTPRequestHandler):
    served: _Served
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        mischief = self.served.found.mischief
        context = mischief.stated_context or self.served.engine.context_limit
        if self.served.dialect is ServerDialect.SGLANG:
            said = sglang_says(self.path, self.served.model, context)
            self.give(404 if said is None else 200, said or {})
        elif self.path == "/version":
            self.give(200, {"version": "0.32.0"})
        elif self.path == "/v1/models":
            one = {"id": self.served.model, "root": "/srv/model", "max_model_len": context}
            self.give(200, {"data": [one]})
        else:
            self.give(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = self.served.found
        found.bodies.append(body)
        if self.path != _PATHS[self.served.dialect]:
            self.give(404, {})
            return
        with self.served.counted():
            if found.mischief.before(self, body):
                return
            status, reply = self.served.answer(found.mischief.asked(body))
            self.give(status, found.mischief.answered(reply) if status == 200 else reply)

    def give(self, status: int, reply: Answer) -> None:
        self.give_bytes(status, json.dumps(reply).encode(), "application/json")

    def give_bytes(self, status: int, data: bytes, kind: str, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def always(act: Callable[[Any], None]) -> Callable[[BaseHTTPRequestHandler, Answer], bool]:
    """Return what acts in the server's place at every request."""

    def before(handler: BaseHTTPRequestHandler, _: Answer) -> bool:
        act(handler)
        return True

    return before


def first_time(
    every: int, act: Callable[[Any], None]
) -> Callable[[BaseHTTPRequestHandler, Answer], bool]:
    """Return what acts in the server's place when every n-th request comes for the first time."""
    seen: set[str] = set()
    lock = Lock()

    def before(handler: BaseHTTPRequestHandler, body: Answer) -> bool:
        named = json.dumps(body, sort_keys=True)
        with lock:
            due = named not in seen and len(seen) % every == 0
            seen.add(named)
        if due:
            act(handler)
        return due

    return before


def status(code: int) -> Callable[[Any], None]:
    """Answer with a status and no JSON."""
    return lambda handler: handler.give_bytes(code, b"busy", "text/plain")


def html(handler: Any) -> None:
    """Answer as a proxy's page does."""
    handler.give_bytes(200, b"<html><body>Please log in</body></html>", "text/html")


def cut(handler: Any) -> None:
    """Say that a body is longer than what comes."""
    handler.give_bytes(200, b'{"choices": [', "application/json", length=4000)


def drop(handler: Any) -> None:
    """Close the connection without a word."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler: Any) -> None:
    """Leave a connection open and say nothing, as a machine that is gone does."""
    time.sleep(5.0)
    handler.close_connection = True


def serve(arguments: list[str]) -> None:
    """Serve as ``vllm serve FOLDER …`` does, until it is ended."""
    given = dict(pairwise(arguments))
    name, port = given["--served-model-name"], int(given["--port"])
    with id_server(Path(arguments[1]), model=name, port=port):
        signal.pause()


if __name__ == "__main__":
    serve(sys.argv[1:])
