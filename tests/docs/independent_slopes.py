"""Slopes over all compliances that a box allows, for independent_breakdown.py.

Of few conditions every corner of the box is fitted.  Of many, corners are climbed from some hundred
starts, each condition going where its influence points, and then turned one by one.  From the best
corners conditions are moved inwards, in ever smaller steps, for as long as that leads further.
"""

from functools import cached_property
from itertools import product

import numpy as np
from independent_fits import Array
from independent_rates import Document

FEW = 10  # conditions of which all corners are fitted
STARTS = 150
FAR = 25.0  # a logit that stands for a rate of 0 or 1
CUT = 5.0
NOTHING = 1e-9
FINEST = 1e-4  # of the width of a box; a slope is off by the square of it


class Part:
    """A logit that is fitted to some conditions, and the weight of its slope."""

    def __init__(self, conditions: list[Document], places: list[int], weight: float) -> None:
        harmful, benign = (
            np.array([each[name] for each in conditions], float) for name in ("nHarmful", "nBenign")
        )
        columns = [np.ones(len(conditions)), np.log(harmful + 1), np.log(benign + 1)]
        if len(set(harmful.tolist())) == 1:
            del columns[1]
        self.x, self.places, self.weight = np.column_stack(columns), places, weight

    def fit(self, y: Array, n: Array) -> Array:
        """Coefficients, one row for each row of compliances: Newton, at most two logits a step."""
        x, beta, running = self.x, np.zeros((len(y), self.x.shape[1])), np.arange(len(y))
        for _ in range(200):
            eta = beta[running] @ x.T
            near = np.abs(eta).max(axis=1) < FAR
            running, eta = running[near], eta[near]
            if not len(running):
                break
            step = np.linalg.solve(information(x, eta, n), score(x, eta, y[running], n)[..., None])
            step = step[..., 0]
            step /= np.maximum(1, np.abs(step @ x.T).max(axis=1) / 2)[:, None]
            before = loss(eta, y[running], n)
            for _ in range(40):
                after = loss((beta[running] + step) @ x.T, y[running], n)
                if not (worse := after > before + 1e-12 * np.abs(before)).any():
                    break
                step[worse] /= 2
            beta[running] += step
            running = running[np.abs(step).max(axis=1) > 1e-11]
        return beta

    def slopes(self, y: Array, n: Array) -> Array:
        """Slopes on log(N_b+1), as the protocol has them where outcomes do not vary."""
        slopes = self.fit(y, n)[:, -1].clip(-CUT, CUT)
        total = y.sum(axis=1)
        return np.where((total < NOTHING) | (total > n.sum() - NOTHING), 0.0, slopes)

    def influence(self, y: Array, n: Array) -> Array:
        """What one more compliance of each condition would do to the slope."""
        beta, last = self.fit(y, n), np.eye(self.x.shape[1])[-1]
        row = np.linalg.solve(information(self.x, beta @ self.x.T, n), last[None, :, None])
        held = np.abs(beta[:, -1:]) < CUT
        return np.asarray(np.where(held, row[..., 0] @ self.x.T, 0.0))


def rate(eta: Array) -> Array:
    """The inverse of the logit."""
    return np.asarray(1 / (1 + np.exp(-eta.clip(-2 * FAR, 2 * FAR))))


def information(x: Array, eta: Array, n: Array) -> Array:
    """Fisher's information of many fits; what it lacks where a rate is 0 or 1 is made up."""
    p = rate(eta)
    found = np.einsum("mc,ci,cj->mij", n * p * (1 - p), x, x, optimize=True)
    return np.asarray(found + 1e-10 * np.eye(x.shape[1]))


def score(x: Array, eta: Array, y: Array, n: Array) -> Array:
    """The derivatives of many log-likelihoods."""
    return np.asarray((y - n * rate(eta)) @ x)


def loss(eta: Array, y: Array, n: Array) -> Array:
    """Many log-likelihoods, negative."""
    return np.asarray((y * np.logaddexp(0, -eta) + (n - y) * np.logaddexp(0, eta)).sum(axis=1))


class Slopes:
    """A sum of weighted slopes, over the compliances of its conditions.

    ``counts`` holds, a row a condition: complied, not judged, planned.
    """

    def __init__(self, parts: list[Part], counts: Array) -> None:
        self.parts, (self.complied, self.unjudged, self.planned) = parts, counts.T
        self.met: dict[int, list[Array]] = {1: [], -1: []}

    def box(self, share: float) -> tuple[Array, Array]:
        """The fewest and the most compliances."""
        room = share * self.planned
        return (
            np.maximum(0, self.complied - room),
            np.minimum(self.planned, self.complied + self.unjudged + room),
        )

    def values(self, y: Array) -> Array:
        """The sum for each row of compliances."""
        return np.asarray(
            sum(p.weight * p.slopes(y[:, p.places], self.planned[p.places]) for p in self.parts)
        )

    def influence(self, y: Array) -> Array:
        """What one more compliance does, for each row and condition."""
        total = np.zeros_like(y)
        for p in self.parts:
            total[:, p.places] += p.weight * p.influence(y[:, p.places], self.planned[p.places])
        return total

    @cached_property
    def every(self) -> Array:
        """All corners, of few conditions."""
        return np.array(list(product((False, True), repeat=len(self.planned))))

    def climbed(self, low: Array, high: Array, sign: int) -> Array:
        """Corners that lie highest, as which conditions stand at their most."""
        coin, size = np.random.default_rng(len(self.planned)), len(self.planned)
        ways = coin.random((STARTS, size)) < coin.random((STARTS, 1))
        along = self.parts[0].x @ coin.normal(size=(self.parts[0].x.shape[1], STARTS))
        ways[:, self.parts[0].places] ^= along.T > 0
        for _ in range(10):
            there = sign * self.influence(np.where(ways, high, low)) > 0
            if (there == ways).all():
                break
            ways = there
        ways = np.unique(ways, axis=0)
        best, value = ways[0], -np.inf
        while True:
            heights = sign * self.values(np.where(ways, high, low))
            if heights.max() <= value + NOTHING:
                return best[None]
            best, value = ways[heights.argmax()], float(heights.max())
            ways = best ^ np.eye(size, dtype=bool)

    def extreme(self, share: float, sign: int) -> float:
        """The largest value over the box of a share (sign 1), or the smallest (−1)."""
        low, high = self.box(share)
        ways = self.every if len(self.planned) <= FEW else self.climbed(low, high, sign)
        heights = sign * self.values(np.where(ways, high, low))
        best = ways[np.argsort(-heights)[:4]]
        self.met[sign].append(best[0])
        return sign * max(self.inwards(np.where(way, high, low), low, high, sign) for way in best)

    def inwards(self, here: Array, low: Array, high: Array, sign: int) -> float:
        """How high it goes from a corner, conditions moved one at a time."""
        value, width = float(sign * self.values(here[None])[0]), high - low
        uphill = sign * self.influence(here[None])[0]
        if (np.where(uphill > 0, high - here, here - low) * np.abs(uphill)).max() < NOTHING:
            return value
        steps, step = np.concatenate([np.diag(width), -np.diag(width)]), 0.5
        while step > FINEST:
            tried = (here + step * steps).clip(low, high)
            heights = sign * self.values(tried)
            if heights.max() > value + NOTHING:
                here, value = tried[heights.argmax()], float(heights.max())
            else:
                step /= 2
        return value

    def below(self, share: float, sign: int, limit: float) -> bool:
        """Whether it stays below a limit all over a box (sign 1), or above it (−1)."""
        low, high = self.box(share)
        if self.met[sign]:  # what was the worst of another share
            known = self.values(np.where(np.array(self.met[sign]), high, low))
            if (sign * (known - limit)).max() > -NOTHING:
                return False
        return sign * (self.extreme(share, sign) - limit) < -NOTHING
