"""What a server says to one request, and whether it holds together.

A server may cut a prompt, add to it, apply penalties, stop where nobody asked it to, or give text
for tokens.  Nothing of an answer is believed that can be held against something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.served.client import NonsenseError

ROUNDING: Final = 1e-4
"""A log-probability may be so much above 0, or above another that it cannot be above."""
CLOSE: Final = {Dtype.FLOAT32: 0.01, Dtype.BFLOAT16: 0.3, Dtype.FLOAT16: 0.1}
"""A greedily chosen token's log-probability may lie so far below the best one's: between passes of
other shapes near ties are decided otherwise."""
_ROOM: Final = 0.5
"""So far the likeliest token's log-probability may lie below what it cannot be below: log-softmax
in a number format of few bits is off by less."""
NO_IDS: Final = "it cannot give token ids: a server that gives text alone cannot be evaluated"
"""What is said of a server whose answers have none."""
NOT_LIKELIEST: Final = (
    "does not choose its likeliest token when it is asked to: it applies a penalty or a bias that "
    "nobody asked for"
)
"""What is said of a server whose greedy choices are others by its own log-probabilities."""


@dataclass(frozen=True)
class ServerReply:
    """What a server said to one request."""

    prompt: tuple[int, ...] | None
    """Token ids of the prompt, given back; None: such servers do not."""
    prompt_length: int
    """Tokens of the prompt, as counted by the server."""
    tokens: tuple[int, ...]
    """Token ids of the response."""
    counted: int
    """Tokens of the response, as counted by the server."""
    finish: Finish
    """``stop`` or ``length``, as the server says."""
    logprobs: tuple[float | None, ...]
    """Of each token of the response; None: not given, as inside a character."""
    best: tuple[float | None, ...] = ()
    """For each token of the response, the log-probability of the likeliest one; empty where it was
    not asked for."""
    wanted: tuple[tuple[float, ...], ...] = ()
    """For each token of the response, the log-probabilities of the request's ``logits_for`` in its
    place, NaN where one is not given; empty where none were asked for, or where such servers give
    none."""
    settings: str | None = None
    """In what it says that it chose tokens otherwise than it was asked to; None: in nothing, or it
    does not say."""


def check_server_reply(request: Request, reply: ServerReply, vocabulary: int) -> None:
    """Hold a reply to its request, and to itself.

    Args:
        request: What was asked.
        reply: What was answered.
        vocabulary: Number of token ids.

    Raises:
        NonsenseError: It does not hold together.
    """
    problem = next(_problems(request, reply, vocabulary), None)
    if problem is not None:
        raise NonsenseError(problem)


def _problems(request: Request, reply: ServerReply, vocabulary: int) -> Iterator[str]:
    tokens = reply.tokens
    if reply.prompt_length != len(request.tokens):
        yield (
            f"it counts {reply.prompt_length:,} tokens of a prompt of {len(request.tokens):,}: "
            "the prompt was changed"
        )
    if reply.prompt is not None and reply.prompt != tuple(request.tokens):
        yield "it gives back other token ids than the prompt's: the prompt was changed"
    if not len(tokens) == reply.counted == len(reply.logprobs):
        yield (
            f"it gives {len(tokens):,} token ids and {len(reply.logprobs):,} log-probabilities, "
            f"and counts {reply.counted:,} tokens"
        )
    if reply.wanted and len(reply.wanted) != len(tokens):
        yield f"it gives log-probabilities of {len(reply.wanted):,} places of {len(tokens):,}"
    if any(token >= vocabulary for token in tokens):
        yield f"it gives a token id that is none of the model's {vocabulary:,}"
    if reply.settings is not None:
        yield reply.settings
    yield from _logprob_problems(request, reply, vocabulary)
    yield from _ending_problems(request, reply)


def _logprob_problems(request: Request, reply: ServerReply, vocabulary: int) -> Iterator[str]:
    """Yield what no log-probabilities can be, however a token is chosen."""
    given = (*reply.logprobs, *reply.best, *(value for place in reply.wanted for value in place))
    if any(value is not None and value > ROUNDING for value in given):  # NaN is not
        yield ABOVE_0
    if reply.best and len(reply.best) != len(reply.tokens):
        given_of, all_of = len(reply.best), len(reply.tokens)
        yield f"it gives the likeliest tokens of {given_of:,} places of {all_of:,}"
    best = [value for value in reply.best if value is not None]
    if any(value < least_best(vocabulary) for value in best):
        yield too_unlikely(vocabulary)
    for own, top in zip(reply.logprobs, reply.best, strict=False):
        if own is not None and top is not None and own > top + ROUNDING:
            yield "it calls a token likelier than the likeliest one"
    for token, own, values in zip(reply.tokens, reply.logprobs, reply.wanted, strict=False):
        for wanted, value in zip(request.logits_for, values, strict=False):
            if wanted == token and own is not None and abs(own - value) > _SAME:  # NaN is not
                yield "it gives two log-probabilities for one token in one place"


ABOVE_0: Final = "it gives a log-probability above 0"
_SAME: Final = 0.01
"""Two statements of one log-probability differ by less."""


def least_best(vocabulary: int) -> float:
    """Return the least log-probability that the likeliest of so many tokens can have."""
    return -math.log(vocabulary) - _ROOM


def too_unlikely(vocabulary: int) -> str:
    """Return what is said where the likeliest token has less than that."""
    return (
        f"it calls a token the likeliest of {vocabulary:,} whose log-probability is below that of "
        "an equal share"
    )


def reply_margins(reply: ServerReply) -> Iterator[float]:
    """Yield how far tokens lie below the likeliest ones that are given in their places."""
    for place, own in enumerate(reply.logprobs):
        tops = [*reply.best[place : place + 1], *(reply.wanted[place : place + 1] or ((),))[0]]
        given = [top for top in tops if top is not None and not math.isnan(top)]
        if own is not None and given:
            yield max(given) - own


def check_greedy_reply(reply: ServerReply, vocabulary: int, dtype: Dtype) -> None:
    """Hold tokens that were chosen greedily, and without a penalty, to be the likeliest.

    Likelihood and choice are of one pass, so that honest ones differ by rounding alone.

    Args:
        reply: What was answered.
        vocabulary: Number of token ids.
        dtype: Number format in which the server is said to run.

    Raises:
        NonsenseError: One is not.
    """
    if any(margin > CLOSE[dtype] for margin in reply_margins(reply)):
        raise NonsenseError(f"it {NOT_LIKELIEST}")
    if any(own is not None and own < least_best(vocabulary) for own in reply.logprobs):
        raise NonsenseError(too_unlikely(vocabulary))


def _ending_problems(request: Request, reply: ServerReply) -> Iterator[str]:
    tokens, ends = reply.tokens, request.stop_ids
    early = next((place for place, token in enumerate(tokens) if token in ends), None)
    if reply.finish is Finish.STOP:
        if early is None:
            yield "it ended a response without an end token of the plan's"
        elif early != len(tokens) - 1:
            yield "it went on after an end token"
    elif early is not None:
        yield "it gives an end token in a response that it says was cut"
    elif len(tokens) != request.max_new_tokens:
        yield (
            f"it cut a response after {len(tokens):,} of {request.max_new_tokens:,} tokens: its "
            "context or its limit is lower"
        )


def taken_at(value: Any, *path: str | int) -> Any:
    """Return what stands at a place of a JSON document.

    Raises:
        NonsenseError: Nothing does.
    """
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise NonsenseError(f"the answer has no {'.'.join(map(str, path))}") from None
    return value


def ids_of(value: Any, what: str) -> tuple[int, ...]:
    """Return token ids.

    Raises:
        NonsenseError: They are none.
    """
    if not isinstance(value, list) or any(type(each) is not int or each < 0 for each in value):
        raise NonsenseError(f"{what} are no token ids")
    return tuple(value)


def finish_of(reason: Any, finishes: Mapping[str, Finish]) -> Finish:
    """Return how a response ended.

    Args:
        reason: What the server says.
        finishes: What it may say.

    Raises:
        NonsenseError: It ended for another reason.
    """
    finish = finishes.get(str(reason))
    if finish is None:
        raise NonsenseError(f"it ended a response for the reason {printable(str(reason), 40)!r}")
    return finish


def count_of(value: Any, what: str) -> int:
    """Return a count.

    Raises:
        NonsenseError: It is none.
    """
    if type(value) is not int or value < 0:
        raise NonsenseError(f"{what} is no number of tokens")
    return value


def claimed_name(value: Any) -> str | None:
    """Return a name that a server says of itself; None: it is none."""
    text = printable(value, 200).strip() if isinstance(value, str) else ""
    return text or None


def last_part_of(path: Any) -> str | None:
    """Return the name of a folder or file that a server names: where it lies is nobody's matter."""
    name = claimed_name(path)
    return None if name is None else name.rstrip("/").rpartition("/")[2] or None


def claimed_number(value: Any) -> int | None:
    """Return a number above 0 that a server says of itself; None: it is none."""
    return value if type(value) is int and 0 < value <= MAX_SAFE_INTEGER else None


def logprobs_of(values: Any) -> tuple[float, ...]:
    """Return log-probabilities.

    Raises:
        NonsenseError: They are none.
    """
    if not isinstance(values, list) or any(type(each) not in (int, float) for each in values):
        raise NonsenseError("the log-probabilities are no numbers")
    try:
        found = tuple(map(float, values))
    except OverflowError:
        raise NonsenseError(_WITHOUT_BOUND) from None
    if not all(map(math.isfinite, found)):
        raise NonsenseError(_WITHOUT_BOUND)
    return found


_WITHOUT_BOUND: Final = "a log-probability has no bound"
