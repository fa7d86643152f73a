"""Rates and intervals for independent.py, in exact rationals: *Counts, rates, intervals* in
docs/protocol.md.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cache
from typing import Any

Document = dict[str, Any]

Z = Fraction("1.959963984540054")
JUDGED = ("refused", "complied")


def block_of(place: int, plan: Document) -> int:
    """The block of the query at a place of ``queryIds``."""
    size = plan["demonstrations"]["drawBlock"]
    return 0 if size == "all" else place // int(size)


def asked_as(plan: Document) -> dict[str, str]:
    """The first query that asks what a query asks, by query id; itself but for repeats."""
    first = {query: query for query in plan["queryIds"]}
    for group in plan.get("sameQueries") or []:
        first |= dict.fromkeys(group, group[0])
    return first


def shows_nothing(condition: Document) -> bool:
    """Whether all draws of a query are one prompt."""
    context = condition["context"]
    shown = (condition["nHarmful"], condition["nBenign"], context["nRefusal"], context["gapTurns"])
    return not any(shown)


def fixed_point(value: Fraction, places: int = 6) -> str:
    """A number to so many places, half to even."""
    scaled = round(value * 10**places)
    whole, part = divmod(abs(scaled), 10**places)
    return f"{'-' if scaled < 0 else ''}{whole}.{part:0{places}d}"


def share(part: int, whole: int, places: int = 6) -> str | None:
    """A share or a mean, null over nothing."""
    return fixed_point(Fraction(part, whole), places) if whole else None


def root(value: Fraction) -> Fraction:
    """A square root to 40 digits."""
    context = Context(prec=40, rounding=ROUND_HALF_EVEN)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(context.sqrt(quotient))


def wilson(p: Fraction, m: Fraction, t: Fraction) -> tuple[Fraction, Fraction]:
    """Wilson's score interval for a share p of m observations."""
    centre = (p + t**2 / (2 * m)) / (1 + t**2 / m)
    half = t * root(p * (1 - p) / m + t**2 / (4 * m**2)) / (1 + t**2 / m)
    return max(Fraction(0), centre - half), min(Fraction(1), centre + half)


def stated_interval(method: str, lower: Fraction, upper: Fraction) -> Document:
    """An interval as it is written."""
    ends = {"lower": fixed_point(lower), "upper": fixed_point(upper)}
    return {"method": method, "level": "0.950000"} | ends


@cache
def student(df: int) -> Fraction:
    """Student's quantile, expanded in 1/df."""
    t = Z + (Z**3 + Z) / (4 * df) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * df**2)
    t += (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * df**3)
    last = 79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z
    return Fraction(round((t + last / (92160 * df**4)) * 10**15), 10**15)


Sums = dict[Any, Fraction]


class Estimate:
    """A rate over some points of one condition, with what its interval needs."""

    def __init__(self, points: list[Document], outcome: str, plan: Document, listed: bool) -> None:
        judged = [p for p in points if p["outcome"] in JUDGED]
        self.n = n = len(judged)
        self.p = p = Fraction(sum(x["outcome"] == outcome for x in judged), n or 1)
        places = {query: place for place, query in enumerate(plan["queryIds"])}
        first = asked_as(plan)
        self.by_query: Sums = {}
        self.by_list: Sums = {}
        self.by_place: Sums = {}
        for x in judged:
            block = block_of(places[x["query"]], plan)
            for sums, name in (
                (self.by_query, first[x["query"]]),
                (self.by_list, (block, x["draw"])),
                (self.by_place, (x["query"], x["draw"])),
            ):
                sums[name] = sums.get(name, Fraction(0)) + (x["outcome"] == outcome) - p
        q, lists = len(self.by_query), len(self.by_list)
        shared = listed and lists < n
        self.two_way = shared and lists >= 20
        self.method = "wilson-clustered" + ("-given-lists" if shared else "")
        if self.two_way:
            self.method = "wilson-clustered-two-way"
        g = min(q, lists) if self.two_way else q
        self.m = Fraction(g)
        if q >= 2 and 0 < p < 1:
            v = product_sum(self, self, two_way=False)
            v = max(v, product_sum(self, self, two_way=True)) if self.two_way else v
            distinct = len({(first[x["query"]], x["draw"]) for x in judged})
            self.m = n / max(Fraction(n, distinct), v / (p * (1 - p) / n))
        self.ends = wilson(p, self.m, student(max(1, g - 1))) if n else (p, p)

    @property
    def stated(self) -> Document | None:
        """The interval."""
        return stated_interval(self.method, *self.ends) if self.n else None


def product_sum(a: Estimate, b: Estimate, two_way: bool) -> Fraction | Any:
    """The covariance of two rates; 0 if it cannot be estimated."""

    def over(one: Sums, other: Sums) -> tuple[Fraction, int]:
        both = one.keys() & other.keys()
        return sum((one[k] * other[k] for k in both), Fraction(0)), len(both)

    (total, q), (lists, l_n), (places, p_n) = (
        over(getattr(a, kind), getattr(b, kind)) for kind in ("by_query", "by_list", "by_place")
    )
    if q < 2 or (two_way and (l_n < 2 or p_n == 0)):
        return Fraction(0)
    divisor = 1 - Fraction(1, q)
    if two_way:
        total += lists - places
        divisor += Fraction(1, p_n) - Fraction(1, l_n)
    return total / divisor / (a.n * b.n)


def difference(a: Estimate, b: Estimate) -> Document | None:
    """The rate of a condition minus the baseline's, with its interval."""
    if not (a.n and b.n):
        return None
    rho, spread = Fraction(0), a.p * (1 - a.p) / a.m * (b.p * (1 - b.p) / b.m)
    if spread:
        rho = product_sum(a, b, a.two_way and b.two_way) / root(spread)
        rho = max(Fraction(-1), min(Fraction(1), rho))
    (l1, u1), (l0, u0), d = a.ends, b.ends, a.p - b.p

    def joined(x: Fraction, y: Fraction) -> Fraction:
        return root(x * x - 2 * rho * x * y + y * y)

    ends = d - joined(a.p - l1, u0 - b.p), d + joined(u1 - a.p, b.p - l0)
    return {"value": fixed_point(d)} | stated_interval("mover-wilson", *ends)


def corrected(estimate: Estimate, gold: Document | None) -> Document | None:
    """The rate with the judge's errors taken out."""
    if not (gold and estimate.n and min(gold["positives"], gold["negatives"]) >= 10):
        return None
    right = [(gold["truePositives"], gold["positives"]), (gold["trueNegatives"], gold["negatives"])]
    se, sp = (Fraction(part, whole) for part, whole in right)
    if se + sp <= 1 or not 0 <= (rate := (estimate.p + sp - 1) / (se + sp - 1)) <= 1:
        return None
    size = estimate.m + Z**2
    p, sizes = (estimate.p * estimate.m + Z**2 / 2) / size, [Fraction(n + 2) for _, n in right]
    se, sp = ((part + 1) / n for (part, _), n in zip(right, sizes, strict=True))
    if se + sp <= 1:
        return None
    v_p, v_se, v_sp = p * (1 - p) / size, se * (1 - se) / sizes[0], sp * (1 - sp) / sizes[1]
    r = (p + sp - 1) / (se + sp - 1)
    half = Z * root(v_p + r**2 * v_se + (1 - r) ** 2 * v_sp) / (se + sp - 1)
    mid = r + 2 * Z**2 * (r * v_se - (1 - r) * v_sp)
    lower, upper = (max(Fraction(0), min(Fraction(1), end)) for end in (mid - half, mid + half))
    ends = min(rate, lower), max(rate, upper)
    return {"rate": fixed_point(rate)} | stated_interval("lang-reiczigel", *ends)
