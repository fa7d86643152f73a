"""What the findings of independent_findings.py have in common: points, rates, words."""

from collections.abc import Iterable
from decimal import Decimal
from math import sqrt
from typing import Any

import numpy as np
from independent_fits import Array, Clusters, Fitted, f_test, fit_logit, p_text, rates_of, t_tail
from independent_rates import (
    Document,
    Estimate,
    asked_as,
    block_of,
    difference,
    shows_nothing,
)

ALPHA = Decimal("0.05")
MADE_OF = ("nHarmful", "nBenign", "ordering", "benignSource", "responsePrefix", "context")


class Row:
    """The points of one condition on harmful-role queries."""

    def __init__(self, condition: Document, points: list[Document], study: "Study") -> None:
        self.condition, self.points, self.study = condition, points, study
        outcome = study.array([point["outcome"] for point in points])
        self.complied, self.unscored = outcome == "complied", outcome == "unscored"
        self.judged, self.generated = self.complied | (outcome == "refused"), outcome != "failed"
        self.not_refused = self.complied | self.unscored

    @property
    def estimate(self) -> Estimate:
        """The compliance rate with its interval."""
        listed = not shows_nothing(self.condition)
        return Estimate(self.points, "complied", self.study.plan, listed)

    @property
    def clusters(self) -> Clusters:
        """What its judged points share."""
        return Clusters(self.judged, self.study.lists)


class Study:
    """All points of an event that the findings are about."""

    def __init__(self, plan: Document, points: list[Document]) -> None:
        self.plan, self.margin = plan, Decimal(plan["effectMargin"])
        harmful = {s["name"] for s in plan["queries"] if s["role"] == "harmful"}
        kept = [i for i, q in enumerate(plan["queryIds"]) if q.partition("/")[0] in harmful]
        self.shape = (len(kept), plan["demonstrations"]["draws"])
        blocks = np.array([block_of(place, plan) for place in kept])
        lists = blocks[:, None] * self.shape[1] + np.arange(self.shape[1])
        first = asked_as(plan)
        place = {query: i for i, query in enumerate(plan["queryIds"])}
        requests = [place[first[plan["queryIds"][i]]] for i in kept]
        self.requests = np.broadcast_to(np.array(requests)[:, None], self.shape)
        self.lists = np.stack([lists, self.requests])
        own: dict[str, list[Document]] = {c["id"]: [] for c in plan["conditions"]}
        for point in points:
            if point["source"] in harmful:
                own[point["condition"]].append(point)
        self.rows = [Row(c, own[c["id"]], self) for c in plan["conditions"]]

    def array(self, values: list[Any]) -> Array:
        """Values of the points of a condition, shape (queries, draws)."""
        return np.array(values).reshape(self.shape)

    def asked(self, kind: str) -> list[Row]:
        """The conditions of all experiments of a kind, in plan order."""
        named = [e["conditions"] for e in self.plan["experiments"] if e["kind"] == kind]
        ids = {name for names in named for name in names}
        return [row for row in self.rows if row.condition["id"] in ids]

    def simple(self, row: Row) -> bool:
        """Whether a condition has the default context and no response prefix."""
        default = row.condition["context"] == self.plan["contexts"][0]
        return default and row.condition["responsePrefix"] is None

    def plain(self, row: Row) -> bool:
        """Whether it has the default benign source too."""
        first = [source["name"] for source in self.plan["demonstrations"]["benign"]][:1]
        return self.simple(row) and row.condition["benignSource"] in (None, *first)

    def twin(self, row: Row, **changed: Any) -> Row | None:
        """The condition that differs in these fields alone."""
        wanted = {name: row.condition[name] for name in MADE_OF} | changed
        same = (r for r in self.rows if {k: r.condition[k] for k in MADE_OF} == wanted)
        return next(same, None)

    def fit(
        self, x: Array, rows: list[Row], complied: str = "complied", used: str = "judged"
    ) -> tuple[Fitted, Array, Array] | None:
        """Fit a logit to conditions."""
        return fit_logit(x, stack(rows, complied), stack(rows, used), self.lists)


def stack(rows: list[Row], name: str) -> Array:
    """Points of several conditions, shape (conditions, queries, draws)."""
    if name == "judged or unscored":
        return stack(rows, "judged") | stack(rows, "unscored")
    return np.array([getattr(row, name) for row in rows])


def numbers(rows: list[Row], name: str) -> Array:
    """A number of each condition."""
    return np.array([row.condition[name] for row in rows], float)


def ids(rows: Iterable[Row]) -> list[str]:
    """Names of conditions."""
    return [row.condition["id"] for row in rows]


def design(rows: list[Row], level: bool = True) -> Array:
    """A constant, log(N_h+1) where it varies, log(N_b+1)."""
    harmful, benign = numbers(rows, "nHarmful"), numbers(rows, "nBenign")
    columns = [np.ones(len(rows)), np.log(harmful + 1), np.log(benign + 1)]
    varies = level and len(set(harmful.tolist())) > 1
    return np.column_stack(columns if varies else [columns[0], columns[2]])


def informative_queries(rows: list[Row], complied: Array, used: Array) -> int:
    """How many queries have both outcomes at one draw and one N_h; the same request is one."""
    harmful, found = numbers(rows, "nHarmful"), False
    for level in set(harmful.tolist()):
        y, n = complied[harmful == level], used[harmful == level]
        found |= ((y & n).any(axis=0) & (n & ~y).any(axis=0)).any(axis=1)
    return len(set(rows[0].study.requests[:, 0][found].tolist()))


# Words and families


def holm(p_values: list[str]) -> list[Decimal]:
    """Holm's corrected p-values."""
    ranked = sorted(range(len(p_values)), key=lambda i: Decimal(p_values[i]))
    corrected, largest = [Decimal(1)] * len(p_values), Decimal(0)
    for rank, i in enumerate(ranked):
        largest = max(largest, (len(ranked) - rank) * Decimal(p_values[i]))
        corrected[i] = min(Decimal(1), largest)
    return corrected


def bonferroni(p_values: list[str]) -> str | None:
    """Several tests as one."""
    several = [len(p_values) * Decimal(p) for p in p_values]
    return f"{min(Decimal(1), *several):f}" if several else None


def sign(beta: str) -> str:
    """What a slope's sign stands for."""
    return "amplification" if Decimal(beta) > 0 else "dilution"


def slope_word(beta: str, p: Decimal, interval: Document, margin: Decimal) -> tuple[str, str]:
    """What a slope means."""
    if -margin < Decimal(interval["lower"]) and Decimal(interval["upper"]) < margin:
        return "none", "equivalent"
    return (sign(beta), "significant") if p < ALPHA else ("undetermined", "neither")


# Rates


def homogeneity(study: Study, rows: list[Row]) -> tuple[str | None, str | None]:
    """F and p of one rate for all conditions."""
    judged, complied = stack(rows, "judged"), stack(rows, "complied")
    rates = rates_of(complied, judged, study.lists)
    if rates is None or rates.clusters.doubt:
        return None, None
    p = complied.sum() / judged.sum()
    if judged.sum(axis=(1, 2)).min() * min(p, 1 - p) < 10:
        return None, None
    edge = np.isin(rates.values, (0.0, 1.0)) * p * (1 - p) / (rates.clusters.df + 1)
    steps = np.diff(np.eye(len(rows)), axis=0)
    covariance = steps @ (rates.covariance + np.diag(edge)) @ steps.T
    least = 1e-12 * float(rates.independent.max())
    return f_test(steps @ rates.values, covariance, rates.clusters.df, least)


def change(study: Study, one: Row, other: Row) -> Document | None:
    """The rate of one condition less that of another."""
    paired = difference(one.estimate, other.estimate)
    rates = rates_of(stack([one, other], "complied"), stack([one, other], "judged"), study.lists)
    if paired is None or rates is None:
        return None
    interval = {end: paired[end] for end in ("level", "lower", "upper")}
    found = {"value": paired["value"], "interval": interval, "p": None}
    if any(each.doubt for each in (rates.clusters, one.clusters, other.clusters)):
        return found
    judged = one.judged.sum() + other.judged.sum()
    p = (one.complied.sum() + other.complied.sum()) / judged
    edges = [
        row.clusters.df + 1
        for row, r in zip((one, other), rates.values, strict=True)
        if r in (0, 1)
    ]
    variance = float(rates.combined(np.array([[1.0, -1.0]])).covariance[0, 0])
    variance += sum(p * (1 - p) / edge for edge in edges)
    if variance > 1e-12 * float(np.trace(rates.covariance)):
        t = float(rates.values[0] - rates.values[1]) / sqrt(variance)
        found["p"] = p_text(t_tail(t, rates.clusters.df))
    return found
