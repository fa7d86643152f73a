"""Labels that turn a slope and have few tickets, for independent_audits.py.

Conditions are turned one after the other, those first whose labels move the slope most for their
tickets, as far as it takes; then again by what the labels move where it turned.  What is found is
some such labels: a test that says that none have so few is refuted by them.
"""

import numpy as np
from independent_fits import Array
from independent_slopes import Slopes

ROUNDS = 25
HALVINGS = 50


def cheapest(slopes: Slopes, tickets: Array, limit: float, sign: int) -> float:
    """Tickets of labels that bring a slope to a limit from below (sign 1), or from above."""
    found, at = np.inf, slopes.complied
    for _ in range(ROUNDS):
        uphill = sign * slopes.influence(at[None])[0]
        cost, at = turned(slopes, tickets, limit, sign, uphill)
        if cost >= found * (1 - 1e-6):
            break
        found = cost
    return float(found)


def turned(
    slopes: Slopes, tickets: Array, limit: float, sign: int, uphill: Array
) -> tuple[float, Array]:
    """What it costs to turn conditions in the order of what they gain, and where that leads."""
    free = slopes.complied + np.where(uphill > 0, slopes.unjudged, 0)
    ends = np.where(uphill > 0, slopes.planned, 0.0)
    order = np.argsort(-np.abs(uphill) / np.maximum(tickets, 1e-9))
    path = np.repeat(free[None], len(order) + 1, axis=0)
    for step, place in enumerate(order, start=1):
        path[step:, place] = ends[place]
    over = sign * (slopes.values(path) - limit) >= 0
    if not over.any():
        return np.inf, path[-1]
    last = int(over.argmax())
    low, high = path[max(0, last - 1)], path[last]
    for _ in range(HALVINGS if last else 0):
        middle = (low + high) / 2
        reached = sign * (slopes.values(middle[None])[0] - limit) >= 0
        low, high = (low, middle) if reached else (middle, high)
    return float((tickets * np.abs(high - free)).sum()), high
