"""How many recorded outcomes may be false, tested by drawing some of them.

A recorded rate r of a condition is wrong by ε or more when at least k of its N0 recorded
outcomes are *hidden*: they say refused, and the model complies (or the other way round).  The
outcomes are drawn one by one without replacement and contradicted or not.  Two sequential
tests read the contradictions:

- :class:`ConfirmingTest` has H0 "at least k are hidden", which the audit wants to reject;
- :class:`RefutingTest` has H0 "at most k − 1 are hidden" and reads hard contradictions only.

Both are betting test martingales for sampling without replacement (Waudby-Smith and Ramdas,
"Confidence sequences for sampling without replacement", 2020; Stark, "ALPHA: Audit that Learns
from Previously Hand-Audited Ballots", 2022).  Their p-values hold at any stopping time (Ville's
inequality): an auditor may look after every draw and stop when it suits.

The arithmetic of both is exact but for one rounding, of the evidence, downwards: it can cost
draws, never validity, and every platform comes to the same p-value.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Final, TypeAlias, TypeVar

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.receipt import Counts

DEFAULT_FLIP_RATE: Final = Fraction(1, 200)
"""Share of honest points expected to look contradicted, where no calibration says otherwise:
about what two honest bf16 stacks show.  It steers the bet, so a wrong value costs draws and
never validity."""

_LARGEST_STAKE: Final = Fraction(99, 100)
"""Most of its evidence that a test stakes on a draw: at 1, one honest flip would end it."""

_PRIOR_DRAWS: Final = 50
"""Draws that the refuting test's first guess is worth."""

REFUTING_LEVEL: Final = Fraction(1, 100)
"""Risk of refuting an honest receipt, all audited rates together."""

_P_PLACES: Final = 9

Number = TypeVar("Number", Fraction, float)

Bet: TypeAlias = Callable[[Fraction, int, int], Fraction]
"""What share of its evidence a test stakes on the next draw, 0 to 1.

Its arguments are what is known before that draw: the largest probability of the outcome that is
bet on under H0 (above 0, below 1), the draws so far and the contradictions among them."""


def recorded_rate(counts: Counts) -> Fraction | None:
    """Return complied / (complied + refused), exactly, or None where nothing was judged."""
    judged = counts.complied + counts.refused
    return Fraction(counts.complied, judged) if judged else None


def recorded_outcomes(counts: Counts, direction: Direction) -> int:
    """Return N0, how many recorded outcomes could be false: those that an audit draws from."""
    return counts.refused if direction is Direction.NOT_UNDERSTATED else counts.complied


def hidden_needed(counts: Counts, rate: Fraction, epsilon: Fraction, direction: Direction) -> int:
    """Return k, the smallest number of false outcomes that puts the rate off by ε or more.

    The true rate is over *planned* points, and what is missing counts against the record: for
    ``NOT_UNDERSTATED`` everything not refused has complied, for ``NOT_OVERSTATED`` everything
    not complied was refused.

    Args:
        counts: Counts of the condition.
        rate: Its recorded compliance rate r, see :func:`recorded_rate`.
        epsilon: Tolerated error ε of the rate.
        direction: Which error is tested for.

    Returns:
        k.  At most 0: the rate is off on the record already, too many points have failed or
        are unscored.  Above N0: no false outcomes can put it off by ε.

    Raises:
        ValueError: ``rate`` or ``epsilon`` is not between 0 and 1.
    """
    if not (0 <= rate <= 1 and 0 <= epsilon <= 1):
        raise ValueError(f"rate {rate} and epsilon {epsilon} must lie between 0 and 1")
    if direction is Direction.NOT_UNDERSTATED:
        return ceil((rate + epsilon) * counts.planned) - (counts.planned - counts.refused)
    return counts.complied - floor((rate - epsilon) * counts.planned)


def _exact(value: Fraction | float) -> Fraction:
    """Return a number as the rational that it is written as: the float .05 is 1/20."""
    return value if isinstance(value, Fraction) else Fraction(str(value))


def strict_share(value: Fraction | float) -> Fraction:
    """Return a level as a rational.

    Raises:
        ValueError: It is not above 0 and below 1.
    """
    level = _exact(value)
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie above 0 and below 1")
    return level


def stake(estimate: Number, mean: Number, largest: Number) -> Number:
    """Return the share of its evidence that a test stakes, as Kelly would, capped.

    An outcome of probability at most ``mean`` under H0 and ``estimate`` as far as one can tell
    makes the evidence grow fastest when (estimate − mean) / (1 − mean) of it is staked (Kelly,
    "A New Interpretation of Information Rate", 1956).
    """
    share = (estimate - mean) / (1 - mean)
    return min(largest, max(0 * share, share))


def matching_estimate(draws: int, contradictions: int, flip_rate: Number) -> Number:
    """Return the probability that the next outcome matches its record, were all honest.

    1 − (contradictions + ½) / (draws + ½ / q): the share of contradictions so far, shrunk
    towards the flip rate q that was expected.
    """
    return 1 - flip_rate * (2 * contradictions + 1) / (2 * flip_rate * draws + 1)


def _adaptive(flip_rate: Fraction) -> Bet:
    return lambda mean, draws, contradictions: stake(
        matching_estimate(draws, contradictions, flip_rate), mean, _LARGEST_STAKE
    )


class _Evidence:
    """A product of rationals, 1 at first, and the largest value it has had.

    It is kept as a whole number of 192 bits times a power of two, rounded down after each
    factor; there is neither overflow nor underflow.
    """

    _BITS: Final = 192

    def __init__(self) -> None:
        self._mantissa = 1 << (self._BITS - 1)
        self._exponent = 1 - self._BITS
        self._largest = (self._exponent, self._mantissa)

    def multiply(self, factor: Fraction) -> None:
        """Multiply by a factor of at least 0."""
        wide = self._mantissa * factor.numerator
        if not wide:
            self._mantissa = 0
            return
        lift = max(0, self._BITS + factor.denominator.bit_length() - wide.bit_length())
        quotient = (wide << lift) // factor.denominator
        drop = quotient.bit_length() - self._BITS
        self._mantissa = quotient >> drop
        self._exponent += drop - lift
        # All mantissas have the same length, so this compares the numbers.
        self._largest = max(self._largest, (self._exponent, self._mantissa))

    @property
    def reciprocal(self) -> Fraction:
        """1 / the largest value so far, 0 to 1."""
        exponent, mantissa = self._largest
        return Fraction(1 << max(0, -exponent), mantissa << max(0, exponent))


class _AtMost:
    """Tests H0: at most ``most`` of ``size`` items are ones, drawing without replacement.

    Before draw j, with S ones in j − 1 draws, a one has probability at most
    μ = (most − S) / (size − j + 1) under H0.  A share c of the evidence is staked on it:
    a one multiplies the evidence by 1 − c + c / μ, a zero by 1 − c, so that its expectation
    under H0 does not rise.  At μ = 0 a one disproves H0; at μ ≥ 1 a one tells nothing, and
    nothing is staked.
    """

    def __init__(self, size: int, most: int, bet: Bet) -> None:
        if size < 0:
            raise ValueError(f"{size} recorded outcomes: cannot be negative")
        self._size, self._most, self._bet = size, most, bet
        self._evidence = _Evidence()
        self._ones = 0
        self.draws = 0

    def add(self, one: bool, contradictions: int) -> None:
        if self.draws == self._size:
            raise ValueError(f"all {self._size} recorded outcomes were drawn")
        left, room = self._size - self.draws, self._most - self._ones
        if 0 < room < left:
            mean = Fraction(room, left)
            share = self._bet(mean, self.draws, contradictions)
            if not 0 <= share <= 1:
                raise ValueError(f"a bet of {share}: must lie between 0 and 1")
            self._evidence.multiply(1 - share + share / mean if one else 1 - share)
        self.draws += 1
        self._ones += one

    @property
    def impossible(self) -> bool:
        """Whether H0 contradicts what was drawn."""
        return self._ones > self._most

    @property
    def p_value(self) -> Fraction:
        return Fraction(0) if self.impossible else self._evidence.reciprocal


class ConfirmingTest:
    """Tests H0: at least k of the N0 recorded outcomes are hidden.

    Each draw multiplies the evidence against H0, which starts at 1, by 1 + λ (x − μ): x is 1
    where the outcome matches its record, else 0; μ is the largest probability of a match under
    H0, given the draws so far; λ = c / μ, with c the bet.

    The bet is c = min(.99, max(0, 1 − q̂ / (1 − μ))), q̂ = (contradictions so far + ½) /
    (draws so far + ½ / q), known before the draw.  It stakes what Kelly would if honest flips
    came at rate q̂.

    Args:
        recorded: N0, how many recorded outcomes are drawn from.
        hidden: k, see :func:`hidden_needed`.  At most 0: nothing can be confirmed, and the
            p-value stays 1.  Above N0: H0 is impossible, and the p-value is 0 without a draw.
        expected_flip_rate: q, share of honest points expected to look contradicted; a wrong
            one costs draws, never validity.
        bet: Another bet, for comparison.

    Raises:
        ValueError: ``recorded_outcomes`` is negative, or the flip rate is not between 0 and 1.
    """

    def __init__(
        self,
        recorded: int,
        hidden: int,
        expected_flip_rate: Fraction | float = DEFAULT_FLIP_RATE,
        *,
        bet: Bet | None = None,
    ) -> None:
        self.recorded, self.hidden = recorded, hidden
        self.expected_flip_rate = _exact(expected_flip_rate)
        if not 0 <= self.expected_flip_rate <= 1:
            raise ValueError(f"flip rate {expected_flip_rate} must lie between 0 and 1")
        self.contradictions = 0
        bet = bet or _adaptive(self.expected_flip_rate)
        self._matches = _AtMost(recorded, recorded - hidden, bet)

    def add(self, contradicted: bool) -> None:
        """Add the next draw.

        Args:
            contradicted: Whether it counts against the record; worst case where in doubt.

        Raises:
            ValueError: All recorded outcomes were drawn.
        """
        self._matches.add(not contradicted, self.contradictions)
        self.contradictions += contradicted

    @property
    def draws(self) -> int:
        """Draws so far."""
        return self._matches.draws

    @property
    def p_value(self) -> Fraction:
        """Anytime-valid p-value: 1 / the largest evidence so far; 0 where H0 is impossible."""
        return self._matches.p_value

    @property
    def hopeless(self) -> bool:
        """Whether no further draw can lower the p-value: k or more were contradicted."""
        return self.contradictions >= self.hidden

    def confirmed(self, alpha: Fraction | float) -> bool:
        """Return whether fewer than k are hidden, at risk ``alpha`` of saying so wrongly.

        Raises:
            ValueError: ``alpha`` is not above 0 and below 1.
        """
        return self.p_value <= strict_share(alpha)


class RefutingTest:
    """Tests H0: at most k − 1 of the N0 recorded outcomes are hidden.

    Only *hard* contradictions are read, which honest noise cannot make, so that a worst-case
    reading of doubtful points never refutes an honest record.  A hard contradiction multiplies
    the evidence by 1 − c + c / ν, any other draw by 1 − c; ν is the largest probability of a
    hard contradiction under H0, given the draws so far.

    The bet is c = (p̂ − ν) / (1 − ν), capped to 0 … .99, with p̂ = (hard so far + 50 η) /
    (draws so far + 50).  Kelly's bet is right when p̂ is the share of hard contradictions, which
    is not known, so it is estimated as in ALPHA: the share so far, shrunk towards η = 2 (k − 1)
    / N0, twice what H0 allows (half-way to 1 where that is more).  A record hardly off by ε
    takes most of its points to refute however one bets; one that is off by much more shows
    quickly whatever the first guess, and 50 draws keep a first few contradictions from swaying
    the bet.  Where no hard contradictions come, p̂ falls below ν and nothing is staked.

    Args:
        recorded: N0, how many recorded outcomes are drawn from.
        hidden: k, see :func:`hidden_needed`.  Above N0: so many cannot be hidden, and nothing
            is refuted.  At most 0: the record itself says that its rate is off, no draw can
            add to that, and nothing is refuted.

    Raises:
        ValueError: ``recorded_outcomes`` is negative.
    """

    def __init__(self, recorded: int, hidden: int) -> None:
        self.recorded, self.hidden = recorded, hidden
        allowed = hidden - 1 if hidden > 0 else recorded
        self._hard = _AtMost(recorded, allowed, self._bet)
        share = Fraction(allowed, recorded) if recorded else Fraction(1)
        self._guess = min(2 * share, (1 + share) / 2)
        self.contradictions = 0

    def _bet(self, mean: Fraction, draws: int, hard: int) -> Fraction:
        estimate = (hard + _PRIOR_DRAWS * self._guess) / (draws + _PRIOR_DRAWS)
        return stake(estimate, mean, _LARGEST_STAKE)

    def add(self, hard: bool) -> None:
        """Add the next draw.

        Args:
            hard: Whether it contradicts the record beyond any numerical noise.

        Raises:
            ValueError: All recorded outcomes were drawn.
        """
        self._hard.add(hard, self.contradictions)
        self.contradictions += hard

    @property
    def draws(self) -> int:
        """Draws so far."""
        return self._hard.draws

    @property
    def p_value(self) -> Fraction:
        """Anytime-valid p-value: 1 / the largest evidence so far; 0 after k hard ones."""
        return self._hard.p_value

    def refuted(self, level: Fraction | float) -> bool:
        """Return whether k or more are hidden, at risk ``level`` of saying so wrongly.

        Raises:
            ValueError: ``level`` is not above 0 and below 1.
        """
        return self.p_value <= strict_share(level)


def p_rounded_up(value: Fraction) -> str:
    """Return a p-value as it is sealed: rounded up, as no rounding may make it look smaller."""
    return decimal_string(Fraction(ceil(value * 10**_P_PLACES), 10**_P_PLACES), _P_PLACES)
