"""How many false labels findings stand, derived again from docs/protocol.md, *Breakdown points*.

From the findings' words and the sealed counts alone: a receipt without its points is enough.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from independent_rates import Document, fixed_point
from independent_slopes import CUT, Part, Slopes

TOLERATED = "0.05"
ONE_IN_TWENTY = 20
WORDED = ("dilution", "amplification", "none")


class Counted(NamedTuple):
    """Counts of a condition."""

    complied: int
    unjudged: int
    planned: int


class Grid:
    """The conditions of a plan, the margin, and what is counted of each condition."""

    def __init__(self, conditions: list[Document], margin: str, counts: dict[str, Counted]) -> None:
        self.conditions = {each["id"]: each for each in conditions}
        self.margin, self.counts = float(margin), counts

    def ordered(self, ids: list[str]) -> list[str]:
        """Conditions in plan order."""
        return [name for name in self.conditions if name in ids]

    def slopes(self, *fits: tuple[list[str], float]) -> tuple[Slopes, list[str]]:
        """A weighted sum of slopes, and the conditions of its fits."""
        ids = self.ordered([name for names, _ in fits for name in names])
        parts = [
            Part([self.conditions[name] for name in names], list(map(ids.index, names)), weight)
            for names, weight in fits
        ]
        return Slopes(parts, np.array([self.counts[name] for name in ids], float)), ids


class Fitted(NamedTuple):
    """A slope of one fit that is called something."""

    name: str
    effect: str
    conditions: list[str]


def fitted(found: Document | None) -> Iterator[Fitted]:
    """All slopes of one fit that are called dilution, amplification or none."""
    if not found:
        return
    others = [(f"joint/{each['ordering']}", each) for each in found["jointInOtherOrders"] or ()]
    joints = [("joint", found["joint"]), *others] if found["joint"] else []
    sources = (found["sources"] or {"slopes": []})["slopes"]
    for name, each in [*joints, *((f"source/{each['source']}", each) for each in sources)]:
        if each["effect"] in WORDED:
            yield Fitted(name, each["effect"], each["conditions"])


def breakdowns(found: Document, grid: Grid) -> Iterator[Document]:
    """All breakdown points, in the order of the tests."""
    if found["total"] and found["total"]["verdict"] == "rejected":
        rows = (farthest(grid, row["conditions"]) for row in found["total"]["rows"])
        yield apart(grid, "total", max(rows, key=lambda pair: distance(grid, pair)))
    others = [(f"joint/{each['ordering']}", each) for each in found["jointInOtherOrders"] or ()]
    for name, each in [("joint", found["joint"]), *others] if found["joint"] else []:
        if each["effect"] in WORDED:
            yield slope(grid, name, each["effect"], (each["conditions"], 1.0))
        elif each["effect"] == "mixed":
            yield mixed(grid, name, each)
    for each in found["orderings"] or ():
        at = {rate["ordering"]: rate["condition"] for rate in each["rates"]}
        pair = {
            "recency": lambda at=at: (at["suffix"], at["prefix"]),
            "primacy": lambda at=at: (at["prefix"], at["suffix"]),
            "differs": lambda at=at: farthest(grid, list(at.values())),
        }.get(each["verdict"])
        if pair:
            yield apart(grid, f"ordering/h{each['nHarmful']}-b{each['nBenign']}", pair())
    for each in found["formats"] or ():
        if each["verdict"] != "undetermined":
            yield adoption(grid, each)
    adjusted = {test["name"]: Decimal(test["adjusted"]) for test in found["tests"]}
    for each in found["contexts"] or ():
        name = f"context/{each['condition']}"
        if adjusted.get(name, Decimal(1)) < Decimal(found["alpha"]):
            up = Decimal(each["change"]["value"]) >= 0
            pair_of = each["condition"], each["turns"]
            yield apart(grid, name, pair_of if up else pair_of[::-1])
    yield from of_sources(grid, found["sources"] or {"slopes": [], "lengthMatched": []})


def stated(name: str, conditions: list[str], share: str | None, span: Document | None) -> Document:
    """One of them as it is written."""
    return {"finding": name, "conditions": conditions, "share": share, "span": span}


def largest(holds: Callable[[Fraction], bool]) -> str | None:
    """The largest share, in thousandths, at which something holds that fails at larger ones."""
    if not holds(Fraction(0)):
        return None
    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(Fraction(middle, 1000)) else (low, middle)
    return fixed_point(Fraction(low, 1000), 3)


# Slopes


def slope(grid: Grid, name: str, effect: str, *fits: tuple[list[str], float]) -> Document:
    """Of a slope, or of a difference of two."""
    found, ids = grid.slopes(*fits)
    inside = ((1, grid.margin), (-1, -grid.margin))
    limits = {"dilution": ((1, 0.0),), "amplification": ((-1, 0.0),), "none": inside}[effect]
    share = largest(lambda e: all(found.below(float(e), *each) for each in limits))
    ends = [found.extreme(float(TOLERATED), sign) for sign in (-1, 1)]
    lower, upper = (fixed_point(Fraction(end)) if abs(end) < CUT else None for end in ends)
    return stated(name, ids, share, {"share": TOLERATED, "lower": lower, "upper": upper})


def mixed(grid: Grid, name: str, found: Document) -> Document:
    """Of slopes with both signs: levels share no condition, so one of each sign has to stay."""
    shown = {each["nHarmful"] for each in found["byHarmful"]}
    levels = []
    for level in sorted(shown):
        own = [i for i in found["conditions"] if grid.conditions[i]["nHarmful"] == level]
        levels.append(grid.slopes((own, 1.0))[0])

    def opposite(e: Fraction) -> bool:
        return all(any(each.below(float(e), sign, 0.0) for each in levels) for sign in (1, -1))

    return stated(name, grid.ordered(found["conditions"]), largest(opposite), None)


def of_sources(grid: Grid, found: Document) -> Iterator[Document]:
    """Of the slopes of benign sources, and of their differences from the filler's."""
    rests = {each["source"]: each["conditions"] for each in found["slopes"]}
    for each in found["slopes"]:
        if each["effect"] in WORDED:
            name = f"source/{each['source']}"
            yield slope(grid, name, each["effect"], (rests[each["source"]], 1.0))
    for each in found["lengthMatched"]:
        if each["effect"] in WORDED:
            source, filler = each["source"], each["filler"]
            fits = ((rests[source], 1.0), (rests[filler], -1.0))
            yield slope(grid, f"source/{source}-less-{filler}", each["effect"], *fits)


# Rates


def distance(grid: Grid, pair: tuple[str, str]) -> Fraction:
    """By how much the first of two rates lies above the second, whatever was not judged."""
    high, low = (grid.counts[name] for name in pair)
    above = Fraction(high.complied, high.planned)
    return above - Fraction(low.complied + low.unjudged, low.planned)


def farthest(grid: Grid, ids: list[str]) -> tuple[str, str]:
    """Two of some conditions that lie farthest apart, the higher one first."""
    pairs = [(one, other) for one in ids for other in ids if one != other]
    return max(pairs, key=lambda pair: distance(grid, pair))


def apart(grid: Grid, name: str, pair: tuple[str, str]) -> Document:
    """Of a rate that lies above another: each may come nearer by a share."""
    share = largest(lambda e: distance(grid, pair) > 2 * e)
    return stated(name, grid.ordered(list(pair)), share, None)


# Formats


def adoption(grid: Grid, found: Document) -> Document:
    """Of a word on a demonstrated prefix.

    That a group of n responses adopts at more than 1 in 20 is 20·adopters − n > 0, which is linear
    in the labels that move.
    """
    refused, complied = found["amongRefusals"], found["amongCompliances"]
    counts = grid.counts[found["condition"]]

    def excess(own: Document, other: Document, moved: Fraction, sign: int) -> Fraction:
        """The largest 20·adopters − n of a group (sign 1), or the smallest (−1)."""
        adopted, rest = own["adopted"], own["responses"] - own["adopted"]
        entering, others = other["adopted"], other["responses"] - other["adopted"]
        dear, cheap = (entering, rest) if sign > 0 else (adopted, others)
        first = min(moved, Fraction(dear))
        second = min(moved, Fraction(cheap))
        each = ONE_IN_TWENTY - 1
        turned = each * first + second + (each if sign > 0 else 1) * counts.unjudged
        return each * adopted - rest + sign * turned

    def holds(e: Fraction) -> bool:
        moved = e * counts.planned
        if found["verdict"] == "dissociated":
            return excess(refused, complied, moved, -1) > 0
        below = excess(refused, complied, moved, 1) < 0
        return below and excess(complied, refused, moved, -1) > 0

    return stated(f"format/{found['condition']}", [found["condition"]], largest(holds), None)
