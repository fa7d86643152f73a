"""Asking judges, whatever they do: every response gets a judgement that can be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.model.point import MAX_RAW, Outcome, Reason
from safety_receipts.runner.engines.engine import (
    Completion,
    Decoding,
    EngineIdentity,
    Request,
)
from safety_receipts.runner.judges.judge import Exchange, Judgement, ResponseJudge
from safety_receipts.runner.prompts.responses import ResponseReader

JUDGED: Final = (Outcome.REFUSED, Outcome.COMPLIED)
"""Outcomes that are a judge's label."""
JUDGE_REASONS: Final = (Reason.JUDGE_NA, Reason.JUDGE_PARSE_ERROR, Reason.JUDGE_ERROR)
"""Why a response that was put to a judge has no label."""

_MAX_MARGIN: Final = 1e15


@dataclass(frozen=True, slots=True)
class JudgeableResponse:
    """What a response says."""

    text: str
    """What is judged of it; empty where there is nothing."""
    reason: Reason | None
    """Why it failed, or why no judge is to see it; None: one is."""

    def after(self, query: str) -> Exchange | None:
        """Return what a judge is asked of it; None: nothing."""
        return Exchange(query, self.text) if self.reason is None else None


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A request after generation and judging."""

    completion: Completion
    """Its response, or why there is none."""
    judgeable: JudgeableResponse
    """What the response says."""
    judgement: Judgement | None
    """The judge's; None: it was not asked."""
    second: Judgement | None
    """The second judge's; None: it was not asked."""


AnsweredUnit = Callable[[], list[AnsweredRequest]]
"""Returns the answers to the requests of a batch, in order; what was not read or judged before is
read and judged then.  It is called once, in any thread, and one unit after the other."""


def known(answers: list[AnsweredRequest]) -> AnsweredUnit:
    """Return a unit of which nothing is left to be read or judged."""
    return lambda: answers


class UnitAnswers(Protocol):
    """Requests, cut into batches that are generated, read and judged as units."""

    @property
    def batches(self) -> Sequence[Sequence[int]]:
        """Indices of the requests that are answered together, as
        :attr:`runner.engines.engine.Generation.batches`.
        """

    def in_order(self, numbers: Sequence[int]) -> Iterator[AnsweredUnit]:
        """Yield the answers to the requests of batches, by their numbers, in the order given.

        Calling one may raise what this does: whoever calls it may do so while the next is awaited.

        Raises:
            ReceiptsError: Nothing can be generated, or judged, at all.
        """

    def close(self) -> None:
        """Give up what was not answered; nothing is called afterwards."""


class UnitStack(Protocol):
    """What answers the points of a plan: engine, judges and reader, here or in workers."""

    @property
    def identity(self) -> EngineIdentity:
        """What its engine is made of."""

    @property
    def replaced(self) -> int:
        """How many workers took a dead one's place: each is a restart."""

    def start(
        self, requests: Sequence[Request], queries: Sequence[str], decoding: Decoding
    ) -> UnitAnswers:
        """Cut requests into batches.

        Args:
            requests: The requests.
            queries: What judges are told was asked, one for each.
            decoding: How tokens are chosen.

        Raises:
            ReceiptsError: Nothing can be generated at all.
        """


def judgeable_response(completion: Completion, reader: ResponseReader) -> JudgeableResponse:
    """Return what the response of a completion says.

    Args:
        completion: An engine's.
        reader: Turns its token ids into the text that is judged.
    """
    if completion.reason is not None:
        return JudgeableResponse("", completion.reason)
    read = reader.read(completion.tokens)
    return JudgeableResponse(read.text, read.reason)


def judged(judge: ResponseJudge, exchanges: Sequence[Exchange]) -> list[Judgement]:
    """Return a judgement for every exchange, in order, whatever the judge does.

    Raises:
        ReceiptsError: The judge says that nothing can be judged at all.
    """
    if not exchanges:
        return []
    judgements: list[Judgement] = []
    try:
        judgements = judge.judge_many(exchanges)
        trouble = (
            None
            if len(judgements) == len(exchanges)
            else "the judge did not return one judgement for each response"
        )
    except (ReceiptsError, MemoryError):
        raise
    except Exception as error:  # any judge's own; the points are sealed as unscored
        trouble = f"{type(error).__name__}: {error}"
    if trouble is not None:
        return [_unjudged(trouble)] * len(exchanges)
    return [_sound(judgement) for judgement in judgements]


def opinions(
    judge: ResponseJudge, second_judge: ResponseJudge | None, exchanges: Sequence[Exchange | None]
) -> list[tuple[Judgement | None, Judgement | None]]:
    """Return what both judges say of every exchange, in order.

    Args:
        judge: Asked of every exchange.
        second_judge: Asked exactly where the first gave a label; None: there is none.
        exchanges: What is judged; None: nothing is.

    Raises:
        ReceiptsError: A judge says that nothing can be judged at all.
    """
    asked = [(i, exchange) for i, exchange in enumerate(exchanges) if exchange is not None]
    answers = judged(judge, [exchange for _, exchange in asked])
    first = {i: answer for (i, _), answer in zip(asked, answers, strict=True)}
    second: dict[int, Judgement] = {}
    if second_judge is not None:
        both = [(i, exchange) for i, exchange in asked if first[i].outcome in JUDGED]
        answers = judged(second_judge, [exchange for _, exchange in both])
        second = {i: answer for (i, _), answer in zip(both, answers, strict=True)}
    return [(first.get(i), second.get(i)) for i in range(len(exchanges))]


def answered_requests(
    completions: Sequence[Completion],
    queries: Sequence[str],
    reader: ResponseReader,
    judge: ResponseJudge,
    second_judge: ResponseJudge | None,
) -> list[AnsweredRequest]:
    """Return what completions of one batch say, and what judges say of it, in order.

    Args:
        completions: The completions.
        queries: What was asked, one for each.
        reader: Turns token ids into the text that is judged.
        judge: Asked of every response that says something.
        second_judge: Asked exactly where the first gave a label; None: there is none.

    Raises:
        ReceiptsError: A judge says that nothing can be judged at all.
    """
    said = [judgeable_response(completion, reader) for completion in completions]
    asked = [one.after(query) for one, query in zip(said, queries, strict=True)]
    judgements = opinions(judge, second_judge, asked)
    return [
        AnsweredRequest(completion, one, *judgement)
        for completion, one, judgement in zip(completions, said, judgements, strict=True)
    ]


def _unjudged(trouble: str) -> Judgement:
    return Judgement(Outcome.UNSCORED, Reason.JUDGE_ERROR, raw="", error=trouble)


def _sound(judgement: Judgement) -> Judgement:
    """Return a judgement, or why it cannot be recorded."""
    margin = judgement.margin
    if margin is not None and not abs(margin) < _MAX_MARGIN:  # not a number, too
        return _unjudged("the judge's margin is not a finite number")
    if len(judgement.raw) > MAX_RAW:
        return _unjudged(f"the judge's output has more than {MAX_RAW:,} characters")
    legal = (Outcome.UNSCORED,) if judgement.reason in JUDGE_REASONS else JUDGED
    if judgement.outcome not in legal or (judgement.reason is None) != (legal is JUDGED):
        return _unjudged("the judge's outcome and reason cannot occur together")
    return judgement
