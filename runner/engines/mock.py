"""A deterministic stand-in for a model, for tests of what is built on engines.

A response is a function of the request alone: by default a hash decides it, or a test gives
the function.  There are no weights and no noise, so scores are made up to be consistent: the
token that the mock answers with has margin 0 at its position, any other has margin 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.runner.engines.answers import SynchronousGeneration
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    EngineIdentity,
    Generation,
    Margins,
    Request,
)
from safety_receipts.runner.engines.requests import check_keys, failed, in_vocabulary, problem

Respond = Callable[[Request], Sequence[int]]
"""Gives the tokens of a response; an exception it raises fails that request."""

BATCH = 64
"""Requests that are answered together."""

_LOGPROB_CHOSEN = -0.5
_LOGPROB_OTHER = -1.5


class MockEngine:
    """Answers by hash, or by a given function.

    Args:
        vocabulary: Number of token ids.
        context_limit: Longest context in tokens.
        respond: Gives the tokens of a response, before stop ids and the limit cut it: the
            response ends with the first stop id, or with ``max_new_tokens`` tokens.  One that
            does neither, and one that holds no token of the vocabulary, is an engine error,
            as is an exception; ``MemoryError`` is out of memory.
        batch: Most requests that are answered together.
    """

    def __init__(
        self,
        vocabulary: int = 256,
        context_limit: int = 65_536,
        respond: Respond | None = None,
        batch: int = BATCH,
    ) -> None:
        self.vocabulary = vocabulary
        self.context_limit = context_limit
        self._respond = respond
        self._batch = batch

    @property
    def identity(self) -> EngineIdentity:
        """What it is made of."""
        return EngineIdentity(kind=EngineKind.MOCK, dtype=Dtype.FLOAT32, device="mock")

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Cut requests into batches, in their order; see :class:`Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(requests)
        return as_they_come(
            requests,
            lambda batch: [self._complete(request, decoding) for request in batch],
            self._batch,
        )

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        """Yield margins of given responses, in order; see :class:`Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(request for request, _ in requests)
        for request, response in requests:
            if not response or not in_vocabulary(response, self.vocabulary):
                message = "the response has no tokens, or others than this model's"
                yield Margins(request.key, (), None, (), Reason.ENGINE_ERROR, message)
                continue
            own = self._complete(request, decoding)
            if own.finish is Finish.ERROR:
                yield Margins(request.key, (), None, (), own.reason, own.error)
                continue
            same = [
                place < len(own.tokens) and own.tokens[place] == token
                for place, token in enumerate(response)
            ]
            yield Margins(
                request.key,
                tuple(0.0 if hit else 1.0 for hit in same),
                same.index(False) if False in same else None,
                tuple(_LOGPROB_CHOSEN if hit else _LOGPROB_OTHER for hit in same),
            )

    def _complete(self, request: Request, decoding: Decoding) -> Completion:
        error = problem(request, self.vocabulary, self.context_limit)
        if error is not None:
            return failed(request, Reason.ENGINE_ERROR, error)
        try:
            if self._respond is None:
                answer = self._hashed(request, decoding)
            else:
                answer = tuple(self._respond(request))
        except MemoryError:
            return failed(request, Reason.OUT_OF_MEMORY, "the mock is out of memory")
        except Exception as raised:  # a planted fault may be anything
            return failed(request, Reason.ENGINE_ERROR, error_line(raised))
        ends = [i for i, token in enumerate(answer) if token in request.stop_ids]
        tokens = answer[: ends[0] + 1 if ends else None][: request.max_new_tokens]
        stopped = bool(tokens) and tokens[-1] in request.stop_ids
        if not stopped and len(tokens) < request.max_new_tokens:
            return failed(request, Reason.ENGINE_ERROR, "the mock's response does not end")
        if not in_vocabulary(tokens, self.vocabulary):
            return failed(request, Reason.ENGINE_ERROR, "the mock's response is of no vocabulary")
        return Completion(
            request.key,
            tokens,
            Finish.STOP if stopped else Finish.LENGTH,
            logits=self._logits(request, tokens),
        )

    def _hashed(self, request: Request, decoding: Decoding) -> tuple[int, ...]:
        """Return ``max_new_tokens`` tokens; about one in 16 is a stop id, where there are some."""
        seed = 0 if decoding.greedy else request.seed
        start = repr((request.tokens, seed, decoding)).encode("ascii")
        stops = sorted(stop for stop in request.stop_ids if 0 <= stop < self.vocabulary)
        tokens = []
        for place in range(request.max_new_tokens):
            digest = hashlib.sha256(start + place.to_bytes(4, "big")).digest()
            number = int.from_bytes(digest[:8], "big")
            if stops and digest[8] < 16:
                tokens.append(stops[number % len(stops)])
            else:
                tokens.append(number % self.vocabulary)
        return tuple(tokens)

    def _logits(self, request: Request, tokens: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
        """Return 1 for the token answered with and 0 for any other."""
        if not request.logits_for:
            return ()
        return tuple(
            tuple(1.0 if wanted == token else 0.0 for wanted in request.logits_for)
            for token in tokens
        )


def as_they_come(
    requests: Sequence[Request],
    answer: Callable[[Sequence[Request]], Iterable[Completion]],
    size: int = BATCH,
) -> SynchronousGeneration:
    """Return requests in batches of ``size``, in their order.

    Args:
        requests: The requests.
        answer: Yields a completion for each of some of them.
        size: Most requests of a batch.
    """
    starts = range(0, len(requests), size)
    batches = [range(i, min(i + size, len(requests))) for i in starts]
    return SynchronousGeneration(
        batches, lambda n: answer([requests[index] for index in batches[n]])
    )
