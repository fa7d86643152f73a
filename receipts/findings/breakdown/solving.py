"""Corners of many boxes at once: where influences point, and where a slope meets a limit.

At an extreme the derivatives of a likelihood are zero, and every condition stands at the end to
which its influence points, or where its influence is zero. Newton's method goes there for all
statistics of one grid at a time, and finds the share of false labels on its way where that is
what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.breakdown.extremes import (
    UNBOUNDED,
    SlopeStatistic,
    SlopeTerm,
)
from safety_receipts.receipts.findings.fits.clusters import Floats

_MOST_STEPS: Final = 25
_CONVERGED: Final = 1e-7
"""An error is about the square of the last step."""
_NEAR: Final = 1e-4
"""Likewise of shares that are looked for: they are held to values afterwards."""
_LONGEST: Final = 2.0
"""Longest step of a coefficient."""
_HELD: Final = 10.0
"""Logits within this are held by points of both kinds."""
_FARTHEST: Final = 0.9 * UNBOUNDED
_NOTHING: Final = 1e-9
_STILL: Final = 1e-6
_TURNED: Final = 1e-11
"""An influence this small moves no slope, whatever number of compliances it is multiplied by."""


@dataclass(frozen=True, eq=False)
class SolvedBoxes:
    """What Newton's method came to, of many boxes."""

    held: NDArray[np.bool_]
    """Whether it came to an end, far from where slopes run away; shape (boxes,)."""
    share: Floats
    """Share of false labels, shape (boxes,)."""
    value: Floats
    """The statistic, shape (boxes,)."""
    stand: Floats
    """Where conditions stand between their least, 0, and their most, 1; (boxes, conditions)."""
    corner: Floats
    """Compliances, same shape."""
    coefficients: tuple[Floats, ...]
    """Of each fit, shape (boxes, k)."""


class Pull:
    """Where fits of one kind are drawn to, from some coefficients.

    Args:
        term: Their covariates.
        coefficients: Of each, shape (boxes, k).
        planned: Points, shape (boxes, conditions of the box).
    """

    def __init__(self, term: SlopeTerm, coefficients: Floats, planned: Floats) -> None:
        self.term, x = term, term.covariates
        logits = coefficients @ x.T
        self.held: NDArray[np.bool_] = np.abs(logits).max(axis=1) < _HELD
        self.held &= np.abs(coefficients[:, -1]) < _FARTHEST
        fitted: Floats = 1 / (1 + np.exp(-logits.clip(-_HELD, _HELD)))
        self.expected: Floats = planned[:, term.places] * fitted
        self.weights: Floats = self.expected * (1 - fitted)
        information = (self.weights @ term.squares).reshape(-1, x.shape[1], x.shape[1])
        self._inverse = np.linalg.inv(information)
        self.influence: Floats = self._inverse[:, -1] @ x.T

    def beside(self) -> tuple[NDArray[np.floating[Any]], Floats]:
        """Return what tells the slope from the other coefficients.

        Returns:
            The inverse of the others' information, shape (boxes, k − 1, k − 1); the slope's
            covariate less what the others say of it, shape (boxes, conditions of the fit).
        """
        others, last = self.term.covariates[:, :-1], self.term.covariates[:, -1]
        width = others.shape[1]
        squares = (others[:, :, None] * others[:, None, :]).reshape(len(others), -1)
        inverse = np.linalg.inv((self.weights @ squares).reshape(-1, width, width))
        share = inverse @ ((self.weights * last) @ others)[:, :, None]
        return inverse, last - share[:, :, 0] @ others.T

    def step(self, corner: Floats) -> Floats:
        """Return Newton's step towards compliances, shape (boxes, k)."""
        return self._towards(corner[:, self.term.places] - self.expected)

    def turn(self, moving: Floats) -> Floats:
        """Return by how much a share moves coefficients, by the compliances that it moves."""
        return self._towards(moving[:, self.term.places])

    def _towards(self, rest: Floats) -> Floats:
        score = rest @ self.term.covariates
        found: Floats = (self._inverse @ score[:, :, None])[:, :, 0]
        return found


class Boxes:
    """Counts of statistics of one shape, each with the side on which its extreme is looked for.

    Args:
        sides: Statistic, and 1 for the largest or −1 for the least; at least one.
    """

    def __init__(self, sides: Sequence[tuple[SlopeStatistic, int]]) -> None:
        self.like = sides[0][0]
        """Has the shape of all."""
        self.sign = np.array([[float(sign)] for _, sign in sides])
        self._complied = np.array([one.box.complied for one, _ in sides])
        self._unjudged = np.array([one.box.unjudged for one, _ in sides])
        self.planned = np.array([one.box.planned for one, _ in sides])

    def solved(self, share: Floats, limit: Floats | None = None) -> SolvedBoxes:
        """Return corners to which their own influences point.

        Args:
            share: Share of false labels, shape (boxes,); with a limit it is where to begin.
            limit: What the statistic is at the share that is looked for, shape (boxes,).
        """
        share = share.copy()
        coefficients = [self._start(term) for term in self.like.terms]
        held, done = np.ones(len(share), bool), np.zeros(len(share), bool)
        stands = _Stands(self.planned.shape)
        for _ in range(_MOST_STEPS):
            pulls = self._pulls(coefficients)
            for pull in pulls:
                held &= pull.held
            steady = stands.follow(self._influence(pulls))
            steps = [pull.step(self._corner(share, stands.now)) for pull in pulls]
            longest = np.zeros(len(share))
            if limit is not None:
                turns = [pull.turn(self._moving(share, stands.now)) for pull in pulls]
                reached = self._value([b + s for b, s in zip(coefficients, steps, strict=True)])
                speed = self._value(turns)
                held &= np.abs(speed) > _NOTHING
                further = ((limit - reached) / np.where(held, speed, np.inf)).clip(-1, 1)
                steps = [s + t * further[:, None] for s, t in zip(steps, turns, strict=True)]
                share = (share + further).clip(-1, 1)
                longest = np.abs(further)
            for beta, step in zip(coefficients, steps, strict=True):
                np.add(beta, step.clip(-_LONGEST, _LONGEST), out=beta, where=held[:, None])
                longest = np.maximum(longest, np.abs(step).max(axis=1))
            done = steady & (longest < _CONVERGED) if limit is None else longest < _NEAR
            if (done | ~held).all():
                break
        corner, value = self._corner(share, stands.now), self._value(coefficients)
        return SolvedBoxes(held & done, share, value, stands.now, corner, tuple(coefficients))

    def _start(self, term: SlopeTerm) -> Floats:
        """Return coefficients near those of the sealed counts: a line through their logits."""
        x, planned = term.covariates, self.planned[:, term.places]
        share = (self._complied[:, term.places] + 0.5) / (planned + 1)
        weights = planned * share * (1 - share)
        information = (weights @ term.squares).reshape(-1, x.shape[1], x.shape[1])
        score = (weights * np.log(share / (1 - share))) @ x
        found: Floats = np.linalg.solve(information, score[:, :, None])[:, :, 0]
        return found

    def _pulls(self, coefficients: Sequence[Floats]) -> list[Pull]:
        each = zip(self.like.terms, coefficients, strict=True)
        return [Pull(term, beta, self.planned) for term, beta in each]

    def _influence(self, pulls: Sequence[Pull]) -> Floats:
        """Return how far a compliance more moves the statistic to its side."""
        influence = np.zeros(self.planned.shape)
        for pull in pulls:
            influence[:, pull.term.places] += pull.term.weight * pull.influence
        return self.sign * influence

    def _value(self, coefficients: Sequence[Floats]) -> Floats:
        """Return the weighted sum of last coefficients."""
        total = np.zeros(len(self.planned))
        for term, beta in zip(self.like.terms, coefficients, strict=True):
            total += term.weight * beta[:, -1]
        return total

    def bounds(self, share: Floats) -> tuple[Floats, Floats]:
        """Return the least and the most compliances, each shape (boxes, conditions).

        Args:
            share: Share of false labels, shape (boxes,).
        """
        room = share[:, None] * self.planned
        least = np.maximum(self._complied - room, 0.0)
        return least, np.minimum(self._complied + self._unjudged + room, self.planned)

    def _corner(self, share: Floats, stand: Floats) -> Floats:
        least, most = self.bounds(share)
        found: Floats = least + stand * (most - least)
        return found

    def _moving(self, share: Floats, stand: Floats) -> Floats:
        """Return the derivatives of compliances by the share."""
        least, most = self.bounds(share)
        up = np.where(most < self.planned, self.planned, 0.0)
        down = np.where(least > 0, -self.planned, 0.0)
        found: Floats = down + stand * (up - down)
        return found


class _Stands:
    """Where conditions stand between their least, 0, and their most, 1, from step to step.

    Args:
        shape: Boxes, and conditions of each.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.now = np.full(shape, 0.5)
        """Where they stand."""
        self._before, self._influence = self.now, np.zeros(shape)
        self._flips = self._turning = np.zeros(shape, bool)

    def follow(self, influence: Floats) -> NDArray[np.bool_]:
        """Go where influences point, or towards where they are zero.

        A condition that goes to and fro has an influence that turns in between; it is looked for
        by secants.

        Args:
            influence: Of each condition where it stands now, shape (boxes, conditions).

        Returns:
            Of each box whether all stand still where they have to, shape (boxes,).
        """
        wanted = (influence > 0).astype(float)
        flips = np.abs(wanted - self.now) == 1
        moved, bent = self.now - self._before, influence - self._influence
        turned, falls = np.abs(influence) < _TURNED, moved * bent < 0
        self._turning = (self._turning | (flips & self._flips)) & (falls | turned)
        there = wanted
        if self._turning.any():
            secant = self.now - influence * moved / np.where(falls, bent, 1.0)
            there = np.where(turned, self.now, secant.clip(0, 1))
            there = np.where(self._turning, there, wanted)
        still = np.abs(there - self.now) < _STILL
        right = (there == wanted) | (self._turning & turned)
        self._before, self._influence, self._flips, self.now = self.now, influence, flips, there
        steady: NDArray[np.bool_] = (still & right).all(axis=1)
        return steady
