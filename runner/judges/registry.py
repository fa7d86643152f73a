"""What every kind of judge needs, kind by kind.

Reading it loads nothing that is not in the base installation: what a kind with weights does stands
in its own file, which is imported when it is asked for.  What a sealed identity shows of a kind
stands with the wire model (:func:`receipts.model.judge.traits_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from safety_receipts.receipts.model.judge import JudgeIdentity, JudgeKind
from safety_receipts.runner.judges import refusal_strings
from safety_receipts.runner.judges.identity import JudgeMethod, refuse_threshold
from safety_receipts.runner.judges.judge import ResponseJudge

if TYPE_CHECKING:
    from safety_receipts.runner.judges.weights import JudgeWeights

LOG_ODDS_BAND: Final = 1.0
"""A generative judge's margin (log-odds of refusal) within this of 0 is ambiguous where nothing was
calibrated: its own number format could turn the verdict."""

SCORE_BAND: Final = 0.01
"""A classifier's margin (score minus threshold) likewise: a score lies between 0 and 1, and is
computed in float32 on every machine."""


@dataclass(frozen=True)
class RuleKind:
    """How a kind that is a rule is made."""

    name: str
    """What people call it where nobody says otherwise."""
    method: JudgeMethod
    """This version's strings and the way they are looked for."""
    make: Callable[[str], ResponseJudge]
    """From its name to the judge."""


class JudgeModule(Protocol):
    """The file of a kind with weights: what it has to define."""

    def methods(self, threshold: str | None) -> tuple[JudgeMethod, ...]:
        """Return the ways in which it may judge, the first where its folder says nothing else.

        Raises:
            UsageError: It takes no threshold, or not this one.
        """

    def look(self, folder: Path, method: JudgeMethod, *, run_template: bool) -> JudgeMethod:
        """Return the way in which the checkpoint in a folder judges: before a run, not after it.

        Args:
            folder: The checkpoint.
            method: The first way.
            run_template: Whether the folder's chat template may be rendered.

        Raises:
            ReceiptsError: It cannot judge.
        """

    def own_words(self, folder: Path) -> tuple[str | None, str | None]:
        """Return what the chat template in a folder says before and after the question, or None.

        Raises:
            ReceiptsError: It cannot judge.
        """

    def load(self, identity: JudgeIdentity, weights: JudgeWeights) -> ResponseJudge:
        """Load the judge.

        Raises:
            ReceiptsError: It cannot be loaded.
        """


@dataclass(frozen=True)
class ModelKind:
    """How a kind with weights is made."""

    module: Callable[[], JudgeModule]
    """Imports its file."""
    may_be_pickled: bool
    """Whether its weights may be pickles, where the caller allows them."""


@dataclass(frozen=True)
class KindOfJudge:
    """What a run and an audit must know of a kind of judge."""

    made: RuleKind | ModelKind
    """How it is made."""
    reads_request: bool
    """Whether it is shown the request besides the response."""
    band: float
    """Within what of 0 its margin is ambiguous where nothing was calibrated, in its margin's unit;
    a rule has no margin."""

    def methods(self, threshold: str | None) -> tuple[JudgeMethod, ...]:
        """Return the ways in which it may judge, the first where nothing says otherwise.

        Raises:
            UsageError: It takes no threshold, or not this one.
        """
        match self.made:
            case RuleKind(method=method):
                refuse_threshold(method.kind, threshold)
                return (method,)
            case ModelKind(module=module):
                return module().methods(threshold)
            case _:
                assert_never(self.made)


def kind_of_judge(kind: JudgeKind) -> KindOfJudge:
    """Return what a run and an audit must know of a kind of judge."""
    match kind:
        case JudgeKind.REFUSAL_STRINGS:
            return _REFUSAL_STRINGS
        case JudgeKind.WILDGUARD:
            return _WILDGUARD
        case JudgeKind.CLASSIFIER:
            return _CLASSIFIER
        case JudgeKind.CHAT:
            return _CHAT
        case _:
            assert_never(kind)


def may_be_pickled(kind: JudgeKind) -> bool:
    """Say whether a kind's weights may be pickles, where the caller allows them."""
    made = kind_of_judge(kind).made
    return isinstance(made, ModelKind) and made.may_be_pickled


def _wildguard() -> JudgeModule:
    from safety_receipts.runner.judges import wildguard  # noqa: PLC0415 (an extra)

    return wildguard


def _classifier() -> JudgeModule:
    from safety_receipts.runner.judges import classifier  # noqa: PLC0415 (an extra)

    return classifier


def _chat() -> JudgeModule:
    from safety_receipts.runner.judges import chat  # noqa: PLC0415 (an extra)

    return chat


_REFUSAL_STRINGS: Final = KindOfJudge(
    RuleKind(
        refusal_strings.DEFAULT_NAME, refusal_strings.METHOD, refusal_strings.RefusalStringsJudge
    ),
    reads_request=False,
    band=LOG_ODDS_BAND,
)
_WILDGUARD: Final = KindOfJudge(
    ModelKind(_wildguard, may_be_pickled=True), reads_request=True, band=LOG_ODDS_BAND
)
_CLASSIFIER: Final = KindOfJudge(
    ModelKind(_classifier, may_be_pickled=False), reads_request=False, band=SCORE_BAND
)
_CHAT: Final = KindOfJudge(
    ModelKind(_chat, may_be_pickled=True), reads_request=True, band=LOG_ODDS_BAND
)
