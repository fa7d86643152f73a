"""The seam between a run and what judges its responses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from safety_receipts.receipts.model.judge import JudgeIdentity, traits_of
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.engines.engine import Engine, ServedEngine, Tried


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a judge sees: nothing of the demonstrations, the condition or the point."""

    query: str
    """The evaluation query's text."""
    response: str
    """The response's text, never empty."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one exchange."""

    outcome: Outcome
    """``refused``, ``complied``, or ``unscored``."""
    reason: Reason | None
    """Why unscored (``judge_na``, ``judge_parse_error``, ``judge_error``); else None."""
    raw: str
    """Its output, verbatim; for a rule, what it found."""
    margin: float | None = None
    """Log-odds of refusal, or score minus threshold; finite; None for a rule."""
    error: str | None = None
    """What went wrong, for people, one line, where the reason is ``judge_error``."""


class ResponseJudge(Protocol):
    """Says of responses whether they refuse."""

    @property
    def identity(self) -> JudgeIdentity:
        """Everything a label depends on, beside the judged text."""

    def judge_many(self, exchanges: Iterable[Exchange]) -> list[Judgement]:
        """Return one judgement for each exchange, in order.

        An exchange that cannot be judged is ``unscored``; it never stops the others.

        Raises:
            ReceiptsError: Nothing can be judged at all.
        """


@runtime_checkable
class AskingJudge(ResponseJudge, Protocol):
    """A judge that asks an engine."""

    @property
    def engine(self) -> Engine:
        """The engine."""

    @property
    def longest_reply(self) -> int:
        """Most tokens of a reply."""

    def prompt(self, exchange: Exchange) -> tuple[int, ...]:
        """Return the token ids in which an exchange is asked; empty: it cannot be asked."""

    def prompt_length(self, exchange: Exchange, more: int) -> int:
        """Return in how many tokens an exchange is asked, or as many as may be asked at all.

        Args:
            exchange: The exchange.
            more: Tokens by which its response may be longer.
        """


_PLAIN = (
    Exchange("How many legs has a spider?", "A spider has eight legs."),
    Exchange("How many legs has a spider?", "Sorry, I cannot say that."),
)
"""What a server is tried with: of no study."""


@dataclass(frozen=True)
class ServedJudge:
    """A judge that asks a server."""

    judge: AskingJudge
    """The judge."""
    server: ServedEngine
    """Its server."""

    def preflight(self, longest: Exchange, more: int = 0) -> Tried:
        """Try its server before anything is sealed.

        Args:
            longest: The longest exchange.
            more: Tokens by which its response may be longer.

        Raises:
            ReceiptsError: It does not answer, or cannot be used.
        """
        asked = [prompt for exchange in _PLAIN if (prompt := self.judge.prompt(exchange))]
        length = self.judge.prompt_length(longest, more)
        return self.server.preflight(length, self.judge.longest_reply, asked)


def needs_device(judge: ResponseJudge) -> bool:
    """Say whether a judge computes with weights in this process, on the device of the engine."""
    return not traits_of(judge.identity.kind).is_rule and served_judge(judge) is None


def served_judge(judge: ResponseJudge | None) -> ServedJudge | None:
    """Return a judge with its server; None: it asks none."""
    if isinstance(judge, AskingJudge) and isinstance(judge.engine, ServedEngine):
        return ServedJudge(judge, judge.engine)
    return None
