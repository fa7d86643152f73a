"""The least and the largest slope over all compliances that a box allows.

The covariates of a fit belong to conditions, so that a slope depends on labels through the
compliances of each condition alone. Its derivative by one of them is that condition's influence,
a linear function of the condition's covariates. So at an extreme a line through the plane of the
covariates parts the conditions that stand at their most from those that stand at their least.
There are few such corners, about the square of the number of conditions, and all of them are
tried. Where an influence turns between two corners, the extreme lies between them, where it is
zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.breakdown.boxes import CountBox
from safety_receipts.receipts.findings.breakdown.many_fits import (
    fit_many,
    influences,
    slope_scores,
)
from safety_receipts.receipts.findings.fits.clusters import Floats

Patterns = NDArray[np.bool_]
"""Corners of a box, shape (corners, conditions): which conditions stand at their most."""

_NOTHING: Final = 1e-9
_MOST_SHARED: Final = 6
_FEW_STEPS: Final = 6
_HELD: Final = 10.0
"""Logits within this are held by points of both kinds."""
_MOST_ROUNDS: Final = 20
_BISECTIONS: Final = 40
UNBOUNDED: Final = 5.0
"""A slope is cut to ± this. One as large turns a rate of 1 in 20 into one of 19 in 20 between no
benign demonstration and three: it is on its way to infinity, for want of compliances that hold
it, and how far it got says nothing."""


@dataclass(frozen=True, eq=False)
class SlopeTerm:
    """One fit of a statistic."""

    covariates: Floats
    """Shape (conditions of the fit, 2 or 3): a constant, another but in short fits, the slope's."""
    places: NDArray[np.intp]
    """Which conditions of the box these are."""
    weight: float = 1.0
    """Of its slope in the statistic."""

    @cached_property
    def squares(self) -> Floats:
        """Products of the covariates of each condition, shape (conditions, k · k)."""
        x = self.covariates
        return (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)


class SlopeStatistic:
    """A sum of weighted slopes, over all compliances that a box allows.

    Args:
        terms: Its fits.
        box: The sealed counts.
    """

    def __init__(self, terms: Sequence[SlopeTerm], box: CountBox) -> None:
        self.terms = tuple(terms)
        """Its fits."""
        self.box = box
        """The sealed counts."""
        self._met: dict[int, list[Patterns]] = {1: [], -1: []}
        """Corners that were extremes before, by sign: near shares have the same ones."""
        self._reached: dict[tuple[float, int], float] = {}
        """Values that some compliances within a box give, by share and sign."""
        self._known: dict[tuple[float, int], tuple[float, Floats]] = {}
        """Extremes that need not be looked for, by share and sign."""

    def learn(
        self, share: float, sign: int, extreme: tuple[float, Floats], *, proven: bool
    ) -> None:
        """Take a value over a box that was found otherwise, and compliances that give it.

        Args:
            share: Share of each condition's planned points whose label may be false.
            sign: 1: a large one; −1: a small one.
            extreme: Value and compliances, shape (conditions of the box,).
            proven: Whether no corner of the box has a larger one, or a smaller one.
        """
        self._reached[share, sign] = extreme[0]
        if proven:
            self._known[share, sign] = extreme

    def values(self, complied: Floats) -> Floats:
        """Return it for many compliances.

        Args:
            complied: Shape (many, conditions of the box); no whole numbers.

        Returns:
            Shape (many,).  Where all points comply, or none does, a slope is 0; a slope of a fit is
            cut to ± :data:`UNBOUNDED`.
        """
        total = np.zeros(len(complied))
        for number, term in enumerate(self.terms):
            total += term.weight * self._slopes(number, complied[:, term.places])
        return total

    def extreme(self, share: float, sign: int) -> tuple[float, Floats]:
        """Return the largest value over a box, or the least, and compliances that give it.

        Args:
            share: Share of each condition's planned points whose label may be false.
            sign: 1: the largest; −1: the least.
        """
        if self._alone is None and not len(self.shared):
            return self._of_parts(share, sign)
        if (known := self._known.get((share, sign))) is not None:
            return known
        bounds = self.box.bounds(share)
        if self._alone is not None:
            corner = self._best_corner(bounds, sign)
        else:
            corners = [self._given(shared, bounds, sign) for shared in self.shared_patterns]
            corner = max(corners, key=lambda one: sign * one[0])
        return self._between(corner, bounds, sign)

    def stays(self, share: float, sign: int, limit: float) -> bool:
        """Say whether it lies below a limit all over a box, or above it.

        Args:
            share: Share of each condition's planned points whose label may be false.
            sign: 1: below; −1: above.
            limit: The limit.
        """
        least, most = self.box.bounds(share)
        if not self.may_stay(share, sign, limit):
            return False
        if self._alone is None or (share, sign) in self._known:
            value, corner = self.extreme(share, sign)
        else:
            tried = np.where(self.own_patterns[0], most, least)
            scores = sign * self._scores(tried, limit)
            corner = tried[int(scores.argmax())]
            if scores.max() >= -_NOTHING:
                self._met[sign].append(corner > least)
                return False
            value, corner = self._between(
                (float(self.values(corner[None])[0]), corner), (least, most), sign
            )
        self._met[sign].append(corner > least)
        return sign * (value - limit) < -_NOTHING

    def may_stay(self, share: float, sign: int, limit: float) -> bool:
        """Say whether it stays so in the corners that were the worst before: a quick look."""
        reached = self._reached.get((share, sign))
        if reached is not None and sign * (reached - limit) >= -_NOTHING:
            return False
        if not self._met[sign]:
            return True
        least, most = self.box.bounds(share)
        tried = np.where(np.array(self._met[sign]), most, least)
        if self._alone is not None:
            beyond = sign * self._scores(tried, limit)
        else:
            beyond = sign * (self.values(tried) - limit)
        return bool((beyond < -_NOTHING).all())

    @property
    def _alone(self) -> SlopeTerm | None:
        """The one fit whose slope it is; None: it is made of several."""
        first = self.terms[0]
        return first if len(self.terms) == 1 and first.weight == 1 else None

    def _scores(self, complied: Floats, limit: float) -> Floats:
        """Return numbers with the signs of the slopes of the one fit less a limit."""
        (term,) = self.terms
        start = self._starts[0][:-1]
        return slope_scores(term.covariates, complied, self.box.planned, limit, start)

    def _best_corner(self, bounds: tuple[Floats, Floats], sign: int) -> tuple[float, Floats]:
        """Return the corner with the largest slope of the one fit, or the least, and that slope.

        A near one is found by going where influences point; then the others need not be fitted,
        but for those that a look at their likelihoods shows to be better.
        """
        least, most = bounds
        corner, value = self.box.complied, 0.0
        for number in range(_FEW_STEPS):
            influence = sign * self._influence(corner)
            there = np.where(influence > 0, most, least)
            if number and (there == corner).all():
                break
            corner = there
        value = float(self.values(corner[None])[0])
        tried = np.where(self.own_patterns[0], most, least)
        better = tried[sign * self._scores(tried, value) > _NOTHING]
        if len(better):
            values = self.values(better)
            at = int((sign * values).argmax())
            if sign * values[at] > sign * value:
                return float(values[at]), better[at]
        return value, corner

    def _of_parts(self, share: float, sign: int) -> tuple[float, Floats]:
        """Return the extreme of fits without a condition in common: that of each, added up."""
        value, there = 0.0, self.box.complied.copy()
        for term, part in zip(self.terms, self._parts, strict=True):
            found, there[term.places] = part.extreme(share, sign if term.weight > 0 else -sign)
            value += term.weight * found
        return value, there

    def _given(
        self, shared: Patterns, bounds: tuple[Floats, Floats], sign: int
    ) -> tuple[float, Floats]:
        """Return the extreme over the corners at which the conditions of several fits stand so."""
        least, most = bounds
        corner = np.where(self._pattern_of(shared), most, least)
        value = 0.0
        each = zip(self.terms, self.own, self.own_patterns, strict=True)
        for number, (term, own, patterns) in enumerate(each):
            tried = np.repeat(corner[None], len(patterns), axis=0)
            tried[:, own] = np.where(patterns, most[own], least[own])
            slopes = term.weight * self._slopes(number, tried[:, term.places])
            at = int((sign * slopes).argmax())
            corner[own] = tried[at, own]
            value += float(slopes[at])
        return value, corner

    def _between(
        self, corner: tuple[float, Floats], bounds: tuple[Floats, Floats], sign: int
    ) -> tuple[float, Floats]:
        """Leave a corner along the conditions whose influence turns on the way."""
        (value, here), (least, most) = corner, bounds
        for _ in range(_MOST_ROUNDS):
            wrong = self._wrong(here, bounds, sign)
            if not len(wrong):
                break
            there = here.copy()
            for place in wrong[:1]:
                there[place] = self._turning(here, int(place), (least[place], most[place]), sign)
            found = float(self.values(there[None])[0])
            if sign * found <= sign * value + _NOTHING:
                break
            value, here = found, there
        return value, here

    def _wrong(self, here: Floats, bounds: tuple[Floats, Floats], sign: int) -> NDArray[np.intp]:
        """Return which conditions would lead further if they moved, the strongest first."""
        influence = sign * self._influence(here)
        least, most = bounds
        inwards = np.where(influence > 0, most - here, here - least)
        gain = np.abs(influence) * inwards
        order: NDArray[np.intp] = np.argsort(-gain)
        return order[gain[order] > _NOTHING]

    def _turning(self, here: Floats, place: int, ends: tuple[float, float], sign: int) -> float:
        """Return the compliances of one condition at which its influence is zero."""
        there = here.copy()
        up = sign * self._influence(here)[place] > 0
        inside, outside = float(here[place]), float(ends[1] if up else ends[0])
        for _ in range(_BISECTIONS):
            there[place] = middle = (inside + outside) / 2
            if (sign * self._influence(there)[place] > 0) is up:
                inside = middle
            else:
                outside = middle
        return inside

    def _influence(self, complied: Floats) -> Floats:
        total = np.zeros(len(complied))
        for term, start in zip(self.terms, self._starts, strict=True):
            planned = self.box.planned[term.places]
            here = complied[None, term.places]
            coefficients = fit_many(term.covariates, here, planned, start)[0]
            if abs(coefficients[-1]) >= UNBOUNDED:
                return np.zeros(len(complied))  # there is nothing to be won
            found = influences(term.covariates, coefficients, planned)
            total[term.places] += term.weight * found
        return total

    def _slopes(self, number: int, complied: Floats) -> Floats:
        """Return the slopes of one of the fits; see :meth:`values`."""
        term = self.terms[number]
        planned = np.broadcast_to(self.box.planned[term.places], complied.shape)
        return cut_slopes(term, complied, planned, self._starts[number])

    @cached_property
    def _starts(self) -> list[Floats]:
        """Of each fit the coefficients at the sealed counts, where others begin; none far out."""
        found = []
        for term in self.terms:
            counts = self.box.complied[None, term.places]
            beta = fit_many(term.covariates, counts, self.box.planned[term.places])[0]
            near = np.abs(term.covariates @ beta).max() < _HELD
            found.append(beta if near else np.zeros(len(beta)))
        return found

    @cached_property
    def _parts(self) -> list[SlopeStatistic]:
        """Each fit alone, over the box of its conditions."""
        return [
            SlopeStatistic(
                [SlopeTerm(term.covariates, np.arange(len(term.places)))],
                self.box.part(term.places),
            )
            for term in self.terms
        ]

    @cached_property
    def shared(self) -> NDArray[np.intp]:
        """Which conditions belong to several fits."""
        places, times = np.unique(
            np.concatenate([term.places for term in self.terms]), return_counts=True
        )
        shared: NDArray[np.intp] = places[times > 1]
        return shared

    @cached_property
    def own(self) -> list[NDArray[np.intp]]:
        """Of each fit, which conditions are its alone."""
        return [np.setdiff1d(term.places, self.shared) for term in self.terms]

    @cached_property
    def own_patterns(self) -> list[Patterns]:
        """Of each fit, corners of the conditions that are its alone."""
        return [
            parted_by_lines(term.covariates[np.isin(term.places, self.shared, invert=True), 1:])
            for term in self.terms
        ]

    @cached_property
    def shared_patterns(self) -> Patterns:
        """Corners of the shared conditions: all of them where these are few."""
        number = len(self.shared)
        if number <= _MOST_SHARED:
            return np.array(list(product((False, True), repeat=number)), bool)
        first = self.terms[0]
        return parted_by_lines(first.covariates[np.isin(first.places, self.shared), 1:])

    def _pattern_of(self, shared: Patterns) -> Patterns:
        pattern = np.zeros(len(self.box.planned), bool)
        pattern[self.shared] = shared
        return pattern


def cut_slopes(term: SlopeTerm, complied: Floats, planned: Floats, start: Floats) -> Floats:
    """Return the slopes of many fits, cut to ± :data:`UNBOUNDED`; 0 where nothing varies.

    Args:
        term: Their covariates.
        complied: Compliances, shape (fits, conditions of the fit).
        planned: Points, same shape.
        start: Coefficients to begin at, shape (k,) or (fits, k).

    Returns:
        Shape (fits,).
    """
    slopes: Floats = fit_many(term.covariates, complied, planned, start)[:, -1]
    total = complied.sum(axis=1)
    none = (total < _NOTHING) | (total > planned.sum(axis=1) - _NOTHING)
    return np.where(none, 0.0, slopes.clip(-UNBOUNDED, UNBOUNDED))


def parted_by_lines(points: Floats) -> Patterns:
    """Return all ways in which a line parts points, each way and the other way round.

    Every such line can be moved until it meets two of them, and turned a little about a place
    between these.

    Args:
        points: Shape (n, 1 or 2); equal ones stay together.

    Returns:
        Shape (ways, n), not to be written to: one array for equal points.
    """
    return _parted(points.shape[1], np.ascontiguousarray(points).tobytes())


def forget_patterns() -> None:
    """Forget the ways in which lines part points: for who measures what they cost."""
    _parted.cache_clear()


@lru_cache(maxsize=32)
def _parted(width: int, raw: bytes) -> Patterns:
    points = np.frombuffer(raw).reshape(-1, width)
    if width == 1:
        ways = points[:, 0] > points[:, 0][:, None] + _NOTHING
    else:
        ahead = points[None] - points[:, None]
        # Of each point k: on which side of the line from i to j, and how far along it.
        side = np.einsum("ij,ik->ijk", ahead[..., 0], ahead[..., 1]) - np.einsum(
            "ij,ik->ijk", ahead[..., 1], ahead[..., 0]
        )
        along = np.einsum("ijc,ikc->ijk", ahead, ahead)
        far = (ahead**2).sum(axis=2)[..., None]
        apart = (far > _NOTHING)[..., 0]
        left, met = side > _NOTHING, np.abs(side) <= _NOTHING
        before, from_j = met & (along <= _NOTHING), met & (along >= far - _NOTHING)
        ways = np.concatenate([(left | before)[apart], (left | from_j)[apart]])
    none = np.zeros((1, len(points)), bool)
    every = np.concatenate([none, ~none, ways, ~ways])
    if not len(points):
        return every[:1]
    packed = np.packbits(every, axis=1)
    _, first = np.unique(packed.view(f"V{packed.shape[1]}")[:, 0], return_index=True)
    chosen: Patterns = every[first]
    chosen.flags.writeable = False
    return chosen
