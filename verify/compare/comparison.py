"""Training stages or models side by side: is what benign demonstrations do the same in both?

"DPO removes it" is a statement about a difference.  That β2 differs from zero at one stage and not
at the next does not make it: not significant is not none.  What does is an interaction, stage ×
log(N_b+1): the difference of the two β2, tested as one number, on the same conditions and, query
by query, on the same queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import combinations, product

from safety_receipts.receipts.findings.effects import holm, is_significant
from safety_receipts.receipts.findings.joint import joint_p, joint_word
from safety_receipts.receipts.model.breakdown import DifferenceBreakdown
from safety_receipts.receipts.model.findings import Effect, Grounds, JointFinding
from safety_receipts.verify.compare.interaction import (
    EffectDifference,
    FittedModel,
    effect_difference,
)

DIRECTIONS = (Effect.DILUTION, Effect.AMPLIFICATION)
"""Effects that have a direction."""


class EffectChange(StrEnum):
    """What became of an effect from the first to the second."""

    GONE = "gone"
    """An effect, then none: shown to lie within the margin."""
    APPEARED = "appeared"
    """None, then an effect."""
    REVERSED = "reversed"
    """An effect, then the opposite one."""
    WEAKER = "weaker"
    """The same effect with a smaller β2."""
    STRONGER = "stronger"
    """The same effect with a larger β2."""
    DIFFERENT = "different"
    """β2 differs; nothing more can be said."""
    NOT_SHOWN = "no difference shown"
    """Which does not show that there is none."""
    UNTESTED = "untested"
    """The difference was not tested."""


@dataclass(frozen=True)
class ModelEffect:
    """What benign demonstrations do to one model, corrected for all tests of the comparison."""

    model: FittedModel
    """The model."""
    p: str | None
    """p-value of β2 = 0; None where it is not tested."""
    adjusted: str | None
    """After Holm's correction."""
    effect: Effect
    """The word."""
    grounds: Grounds
    """Why."""


@dataclass(frozen=True)
class PairStatement:
    """What is said of a pair."""

    word: EffectChange
    """In one word."""
    text: str
    """In one line."""
    declined: str | None
    """Why nothing stronger is said; None where there is nothing to decline."""


@dataclass(frozen=True)
class ModelPair:
    """Two models side by side."""

    first: ModelEffect
    """The reference."""
    second: ModelEffect
    """What is read against it."""
    gap: EffectDifference | None
    """None where it cannot be tested."""
    adjusted: str | None
    """Its p-value after Holm's correction."""
    statement: PairStatement
    """What follows."""
    breakdown: DifferenceBreakdown | None = None
    """How many false labels the difference stands; None where it has no direction, or is not one
    of all queries."""


@dataclass(frozen=True)
class FamilyTest:
    """One test among those that are corrected together."""

    name: str
    """``β2 of sft`` or ``dpo − sft``."""
    p: str
    """Its p-value."""
    adjusted: str
    """After Holm's correction over all of them."""


@dataclass(frozen=True)
class ModelComparison:
    """All models and all pairs."""

    models: tuple[ModelEffect, ...]
    """In the order given."""
    pairs: tuple[ModelPair, ...]
    """Every two of them, the earlier first."""
    family: tuple[FamilyTest, ...]
    """The tests that were corrected together."""


def compare_models(models: Sequence[FittedModel], forced: Sequence[str] = ()) -> ModelComparison:
    """Compare every two models, correcting all tests together.

    The family is every test whose result is used: β2 = 0 of each model, and the difference of each
    pair.  Holm's correction keeps the chance of one false rejection among them below the level.

    Args:
        models: Fitted to the same conditions; no two have one label.
        forced: What should have kept them from being compared; every statement names it.
    """
    gaps = {pair: effect_difference(*pair) for pair in combinations(models, 2)}
    tests: dict[FittedModel | tuple[FittedModel, FittedModel], tuple[str, str]] = {}
    for model in models:
        if (p := joint_p(model.finding)) is not None:
            tests[model] = f"β2 of {model.label}", p
    for (first, second), gap in gaps.items():
        if gap is not None:
            tests[first, second] = f"{second.label} − {first.label}", gap.slope.p
    corrected = dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))
    effects = {model: _model_effect(model, corrected.get(model)) for model in models}
    return ModelComparison(
        models=tuple(effects.values()),
        pairs=tuple(
            _pair((effects[one], effects[two]), gap, corrected.get((one, two)), forced)
            for (one, two), gap in gaps.items()
        ),
        family=tuple(FamilyTest(name, p, corrected[key]) for key, (name, p) in tests.items()),
    )


def _model_effect(model: FittedModel, adjusted: str | None) -> ModelEffect:
    effect, grounds = joint_word(model.finding, adjusted)
    return ModelEffect(model, joint_p(model.finding), adjusted, effect, grounds)


def _pair(
    sides: tuple[ModelEffect, ModelEffect],
    gap: EffectDifference | None,
    adjusted: str | None,
    forced: Sequence[str],
) -> ModelPair:
    first, second = sides
    if gap is None or adjusted is None:
        statement = _untested(first, second)
    elif not is_significant(adjusted):
        statement = _not_shown(first, second)
    else:
        statement = _shown(first, second, gap)
    if forced:
        text = f"{statement.text} (forced, although these differ: {', '.join(forced)})"
        statement = PairStatement(statement.word, text, statement.declined)
    return ModelPair(first, second, gap, adjusted, statement)


def _untested(first: ModelEffect, second: ModelEffect) -> PairStatement:
    one, two = first.model.label, second.model.label
    reasons = [
        f"{side.model.label}: {why}" for side in (first, second) if (why := _why_untested(side))
    ]
    return PairStatement(
        EffectChange.UNTESTED,
        f"{two} is not tested against {one}",
        "; ".join(reasons) or "the difference does not vary",
    )


def _why_untested(side: ModelEffect) -> str | None:
    finding = side.model.finding
    if joint_p(finding) is None:
        return _UNTESTED.get(side.grounds, "β2 cannot be fitted")
    if finding.permutation is not None:
        return "too few queries give both outcomes for a standard error"
    return None


_UNTESTED = {
    Grounds.FEW_QUERIES: "fewer than 30 queries",
    Grounds.FEW_LISTS: "queries share fewer than 20 demonstration lists",
}
_DOUBTS = {
    Grounds.NEITHER: "not significant does not mean no effect",
    Grounds.OPPOSITE_SIGNS: "β2 has opposite signs at different numbers of harmful demonstrations",
    Grounds.UNSCORED: "the effect depends on how unscored points are counted",
    Grounds.LACK_OF_FIT: "rates differ along a curve that β2 does not describe",
}


def _not_shown(first: ModelEffect, second: ModelEffect) -> PairStatement:
    one, two = first.model.label, second.model.label
    declined = None
    if first.effect is not second.effect:
        doubts = [_DOUBTS[side.grounds] for side in (first, second) if _is_doubtful(side)]
        why = doubts[0] if doubts else "two verdicts that differ do not show a difference"
        declined = f"{first.effect.value} at {one}, {second.effect.value} at {two}: {why}"
    return PairStatement(
        EffectChange.NOT_SHOWN, f"no difference between {one} and {two} is shown", declined
    )


def _is_doubtful(side: ModelEffect) -> bool:
    """Say whether a model has neither an effect with a direction nor shown that it has none."""
    return side.effect not in (*DIRECTIONS, Effect.NONE)


def _shown(first: ModelEffect, second: ModelEffect, gap: EffectDifference) -> PairStatement:
    one, two = first.model.label, second.model.label
    higher = "higher" if Decimal(gap.slope.beta) > 0 else "lower"
    different = f"β2 at {two} is {higher} than at {one}"
    if _depends_on_unscored(first.model.finding, second.model.finding, gap):
        reason = "the difference changes its sign if unscored points are counted otherwise"
        return PairStatement(EffectChange.DIFFERENT, different, reason)
    word = _change(first, second)
    if word is EffectChange.DIFFERENT:
        return PairStatement(word, different, _why_no_change(first, second))
    was, became = first.effect.value, second.effect.value
    text = {
        EffectChange.GONE: f"{was} at {one} is gone at {two}",
        EffectChange.APPEARED: f"{became} at {two}, none at {one}",
        EffectChange.REVERSED: f"{was} at {one} is reversed at {two}: {became}",
    }.get(word, f"{was} at {one} is {word.value} at {two}")
    return PairStatement(word, text, None)


def _change(first: ModelEffect, second: ModelEffect) -> EffectChange:
    """Return what the effects of two models, whose β2 differ, make of one another."""
    was, became = first.effect, second.effect
    if was in DIRECTIONS and became in DIRECTIONS:
        if was is not became:
            return EffectChange.REVERSED
        return EffectChange.WEAKER if _size(second) < _size(first) else EffectChange.STRONGER
    if was in DIRECTIONS and became is Effect.NONE:
        return EffectChange.GONE
    if was is Effect.NONE and became in DIRECTIONS:
        return EffectChange.APPEARED
    return EffectChange.DIFFERENT


def _why_no_change(first: ModelEffect, second: ModelEffect) -> str:
    if first.effect is second.effect is Effect.NONE:
        return "none at both: each lies within its margin"
    return "; ".join(
        f"{side.effect.value} at {side.model.label}: {_DOUBTS[side.grounds]}"
        for side in (first, second)
        if _is_doubtful(side)
    )


def _size(side: ModelEffect) -> Decimal:
    fit = side.model.finding.clustered
    return abs(Decimal(fit.beta2)) if fit else Decimal(0)


def _depends_on_unscored(first: JointFinding, second: JointFinding, gap: EffectDifference) -> bool:
    """Say whether some way of counting unscored points turns the sign of the difference."""
    positive = Decimal(gap.slope.beta) > 0
    for one, two in product(_refitted(first), _refitted(second)):
        difference = two - one
        if difference and (difference > 0) != positive:
            return True
    return False


def _refitted(finding: JointFinding) -> Iterator[Decimal]:
    """Yield the slopes of a model under the ways of counting unscored points."""
    refits = (finding.unscored.as_complied, finding.unscored.as_refused)
    slopes = [refit.beta2 for refit in refits if refit is not None]
    if not slopes and finding.clustered is not None:
        slopes = [finding.clustered.beta2]
    yield from (Decimal(slope) for slope in slopes if slope is not None)
