"""That no corner of a box leads beyond a value.

A likelihood may bend only so much (Bach, Electronic Journal of Statistics 4, 2010: logistic
likelihoods are self-concordant). So what a corner gives is bounded by the influences at another
one, and few corners are so near that they have to be fitted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.receipts.findings.breakdown.extremes import cut_slopes
from safety_receipts.receipts.findings.breakdown.many_fits import slope_scores
from safety_receipts.receipts.findings.breakdown.solving import Boxes, Pull, SolvedBoxes
from safety_receipts.receipts.findings.fits.clusters import Floats

_NOTHING: Final = 1e-9
_UNMOVED: Final = 1e-12
_MOST_TRIED: Final = 20_000
"""Fits that are made at once; where more were needed, a search makes fewer."""
_BEND: Final = 1 / (6 * 3**0.5)
"""Largest second derivative of a rate by its logit."""


def proven_extremes(boxes: Boxes, found: SolvedBoxes, asked: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which boxes have no corner beyond the values that were found.

    Args:
        boxes: The boxes.
        found: Values, with compliances that give them.
        asked: Places of the boxes that are asked for.

    Returns:
        Shape (boxes,); false where it was not asked.
    """
    proven = np.zeros(len(boxes.planned), bool)
    if len(asked):
        alone = len(boxes.like.terms) == 1 and boxes.like.terms[0].weight == 1
        beyond = _beyond_alone if alone else _beyond_together
        proven[asked] = ~beyond(boxes, found, asked)
    return proven


def _beyond_alone(boxes: Boxes, found: SolvedBoxes, asked: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Say of boxes of one slope whether another corner gives more, shape (boxes asked,).

    Beside the corner that was found, with its slope held, the score of another one is at most
    what its compliances are worth by their influence, and half of the bend times the squares
    of how far its other coefficients make logits move.
    """
    (term,) = boxes.like.terms
    places, others = term.places, term.covariates[:, :-1]
    pull = Pull(term, found.coefficients[0][asked], boxes.planned[asked])
    planned, sign = boxes.planned[asked][:, places], boxes.sign[asked]
    least, most = (side[asked][:, places] for side in boxes.bounds(found.share))
    inverse, worth = pull.beside()
    worth *= sign
    # Of each corner less the one that was found: its worth, and sums of the other covariates.
    shown = np.broadcast_to(others, (len(asked), *others.shape))
    columns = np.concatenate([worth[:, :, None], shown], axis=2)
    columns *= (most - least)[:, :, None]
    patterns = boxes.like.own_patterns[0]
    here = found.stand[asked][:, None, places] @ columns
    moved = patterns.astype(float) @ columns - here
    gain, pushed = moved[:, :, 0], moved[:, :, 1:]
    squared = np.maximum(((pushed @ inverse) * pushed).sum(axis=2), 0.0)
    reach = np.sqrt(((others @ inverse) * others).sum(axis=2).max(axis=1))
    products = (others[:, :, None] * others[:, None, :]).reshape(len(others), -1)
    bends = ((np.abs(worth) * planned) @ products).reshape(inverse.shape)
    steep = np.linalg.eigvals(inverse @ bends).real.max(axis=1)
    lost = _BEND / 2 * steep[:, None] * squared * _stretched(reach[:, None] * np.sqrt(squared))
    box, way = np.nonzero((gain + lost > -_NOTHING) & (squared > _UNMOVED))
    beyond = np.zeros(len(asked), bool)
    if len(box):
        corners = np.where(patterns[way], most[box], least[box])
        value, start = found.value[asked][box], found.coefficients[0][asked][box, :-1]
        scores = slope_scores(term.covariates, corners, planned[box], value, start)
        np.logical_or.at(beyond, box, sign[box, 0] * scores > _NOTHING)
    return beyond


def _beyond_together(
    boxes: Boxes, found: SolvedBoxes, asked: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Say so of boxes of several slopes: all corners are fitted."""
    like, sign = boxes.like, boxes.sign[asked]
    least, most = (side[asked] for side in boxes.bounds(found.share))
    shared, best = like.shared_patterns, np.zeros((len(asked), len(like.shared_patterns)))
    for number, term in enumerate(like.terms):
        own, places = like.own_patterns[number], term.places
        up = np.zeros((len(shared), len(own), most.shape[1]), bool)
        up[:, :, like.shared] = shared[:, None]
        up[:, :, like.own[number]] = own
        tried = up.reshape(-1, most.shape[1])[:, places]
        if len(asked) * len(tried) > _MOST_TRIED:
            return np.ones(len(asked), bool)
        corners = np.where(tried, most[:, None, places], least[:, None, places])
        planned = np.broadcast_to(boxes.planned[asked][:, None, places], corners.shape)
        start = np.repeat(found.coefficients[number][asked], len(tried), axis=0)
        rows = corners.reshape(-1, len(places))
        slopes = cut_slopes(term, rows, planned.reshape(rows.shape), start)
        worth = (sign * term.weight * slopes.reshape(len(asked), -1)).reshape(*best.shape, -1)
        best += worth.max(axis=2)
    beyond: NDArray[np.bool_] = best.max(axis=1) > sign[:, 0] * found.value[asked] + _NOTHING
    return beyond


def _stretched(nearness: Floats) -> Floats:
    """Return by how much a squared distance of coefficients may exceed that of one Newton step.

    Args:
        nearness: The step's length times the farthest that a step of length 1 moves a logit.

    Returns:
        Same shape; infinite where there is no bound.
    """
    inside = nearness < 1
    near = np.where(inside & (nearness > 0), nearness, 0.5)
    found: Floats = np.where(inside, (np.log1p(-near) / near) ** 2, np.inf)
    return found
