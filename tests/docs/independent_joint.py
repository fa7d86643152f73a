"""The joint finding of independent_findings.py: harmful-count against joint-count.

The permutations come from numpy's Philox generator, which the protocol names.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import erfc, sqrt

import numpy as np
from independent_fits import Array, Clusters, Fitted, f_of, p_text, rates_of, six, t_tail
from independent_rates import Document
from independent_study import (
    ALPHA,
    Row,
    Study,
    design,
    holm,
    ids,
    informative_queries,
    numbers,
    sign,
    slope_word,
    stack,
)

ORDERS = ("suffix", "prefix", "middle", "interleave", "random")
BENT = Decimal("0.01")


def joint_word(found: Document, p: Decimal | None) -> tuple[str, str]:
    """What a joint finding says."""
    if doubt := doubt_of(found):
        return "undetermined", doubt
    effect, grounds = scored_word(found, p)
    refits = [found["unscored"][name] for name in ("asComplied", "asRefused")]
    contradicted = any(refit["effect"] != effect for refit in refits if refit)
    if effect != "undetermined" and contradicted:
        return "undetermined", "unscored"
    return effect, grounds


def scored_word(found: Document, p: Decimal | None) -> tuple[str, str]:
    """What the points say that were scored."""
    margin = Decimal(found["margin"])
    levels = [level for level in found["byHarmful"] if level["informativeQueries"] >= 30]
    if found["permutation"]:
        if p is None or p >= ALPHA:
            return "undetermined", "permuted"
        return sign(found["permutation"]["statistic"]), "permuted"
    corrected = holm([level["p"] for level in levels])
    large = [
        sign(level["beta"])
        for level, q in zip(levels, corrected, strict=True)
        if q < ALPHA and abs(Decimal(level["beta"])) > margin
    ]
    if len(set(large)) > 1:
        return "mixed", "opposite-signs"
    if found["clustered"] is None or p is None:
        return "undetermined", "neither"
    word = slope_word(found["clustered"]["beta2"], p, found["equivalence"], margin)
    lack = found["lackOfFit"]
    bent = lack and lack["pBenign"] and Decimal(lack["pBenign"]) < BENT
    if word[0] == "none" and bent:
        tolerated = Decimal(lack["largestOfMargin"])
        if abs(Decimal(lack["largestBenign"])) > tolerated:
            return "undetermined", "lack-of-fit"
    return word


def doubt_of(found: Document) -> str | None:
    """Why a joint finding concludes nothing."""
    if found["clusters"]["queries"] < 30:
        return "few-queries"
    return "few-lists" if found["clusters"]["method"] == "query-given-lists" else None


def joint_p(found: Document) -> str | None:
    """What a joint finding is tested with."""
    if doubt_of(found):
        return None
    fitted = found["clustered"] and found["clustered"]["p2"]
    p: str | None = found["permutation"]["p"] if found["permutation"] else fitted
    return p


def joint_groups(study: Study) -> Iterator[tuple[str | None, list[Row]]]:
    """Orders with their conditions, suffix first."""
    fixed = any(e["kind"] == "fixed_harmful" for e in study.plan["experiments"])
    rows = [r for r in study.asked("fixed_harmful" if fixed else "sweep") if study.plain(r)]
    present = {row.condition["ordering"] for row in rows}
    orders: list[str | None] = [each for each in ORDERS if each in present]
    for order in orders or [None]:
        own = [row for row in rows if row.condition["ordering"] in (None, order)]
        if len(set(numbers(own, "nBenign").tolist())) > 1:
            yield order, own


def joint(study: Study, order: str | None, rows: list[Row]) -> Document:
    """Harmful-count against joint-count, but for the word."""
    found = counted(study, order, rows, "complied", "judged")
    points = int(stack(rows, "unscored").sum())
    found["unscored"] = {
        "points": points,
        "asComplied": refit(study, order, rows, "not_refused") if points else None,
        "asRefused": refit(study, order, rows, "complied") if points else None,
    }
    return found


def counted(study: Study, order: str | None, rows: list[Row], yes: str, used: str) -> Document:
    """The same for one way of counting points."""
    x, judged, complied = design(rows), stack(rows, used), stack(rows, yes)
    last = x.shape[1] - 1
    clusters = Clusters(np.asarray(judged.any(axis=0)), study.lists)
    informative = informative_queries(rows, complied, judged)
    fitted = study.fit(x, rows, yes, used)
    slope = fitted and fitted[0].slope(last)
    permuted = clusters.doubt is None and (slope is None or informative < 30)
    return {
        "ordering": order,
        "conditions": ids(rows),
        "clusters": clusters.stated,
        "asPublished": as_published(study, x, rows),
        "clustered": slope
        and fitted
        and coefficients(fitted[0].values)
        | {"se2": slope["se"], "z2": slope["t"], "df": slope["df"], "p2": slope["p"]}
        | {"points": int(judged.sum()), "clusters": clusters.stated},
        "interval": slope and fitted and fitted[0].interval(last, "0.950000"),
        "equivalence": slope and fitted and fitted[0].interval(last, "0.900000"),
        "byHarmful": list(levels(study, rows, yes, used)),
        "lackOfFit": fitted
        and lack_of_fit(study, rows, fitted, rates_of(complied, judged, study.lists), judged),
        "unscored": {"asComplied": None, "asRefused": None},
        "informativeQueries": informative,
        "permutation": permutation(study, rows, complied, judged) if permuted else None,
        "alpha": "0.05",
        "margin": study.plan["effectMargin"],
    }


def refit(study: Study, order: str | None, rows: list[Row], yes: str) -> Document:
    """What another way of counting would say, uncorrected."""
    found = counted(study, order, rows, yes, "judged or unscored")
    p, fitted = joint_p(found), found["clustered"] or {"beta2": None, "se2": None}
    effect, _ = joint_word(found, None if p is None else Decimal(p))
    return {"beta2": fitted["beta2"], "se2": fitted["se2"], "p2": p, "effect": effect}


def coefficients(beta: Array) -> Document:
    """The coefficients of a joint fit."""
    middle = six(beta[1]) if len(beta) == 3 else None
    return {"beta0": six(beta[0]), "beta1": middle, "beta2": six(beta[-1])}


def as_published(study: Study, x: Array, rows: list[Row]) -> Document | None:
    """The paper's fit: no clusters, and what is not refused complies."""
    fitted = study.fit(x, rows, "not_refused", "generated")
    if fitted is None:
        return None
    beta, se = fitted[0].values, sqrt(fitted[2][-1, -1])
    z, points = beta[-1] / se, int(stack(rows, "generated").sum())
    test = {"se2": six(se), "z2": six(z), "df": None, "p2": p_text(erfc(abs(z) / sqrt(2)))}
    return coefficients(beta) | test | {"points": points, "clusters": None}


def levels(study: Study, rows: list[Row], yes: str, used: str) -> Iterator[Document]:
    """The slope at each N_h."""
    for level in sorted({row.condition["nHarmful"] for row in rows}):
        own = [row for row in rows if row.condition["nHarmful"] == level]
        fitted = study.fit(design(own, level=False), own, yes, used)
        if fitted and (slope := fitted[0].slope(1)):
            informative = informative_queries(own, stack(own, yes), stack(own, used))
            yield slope | {"nHarmful": level, "informativeQueries": informative}


def lack_of_fit(
    study: Study,
    rows: list[Row],
    fitted: tuple[Fitted, Array, Array],
    rates: Fitted | None,
    judged: Array,
) -> Document | None:
    """Observed less fitted rates."""
    x, (fit, p, _) = design(rows), fitted
    free = len(rows) - x.shape[1]
    if rates is None or free <= 0:
        return None
    rest = rates.values - p
    influence = rates.influence - fit.influence @ ((p * (1 - p))[:, None] * x).T
    independent = p * (1 - p) / judged.sum(axis=(1, 2))
    left = Fitted(rest, influence, judged, study.lists, independent)
    harmful, benign = numbers(rows, "nHarmful"), numbers(rows, "nBenign")
    level = harmful[:, None] == harmful
    bend = left.combined(np.eye(len(rows)) - level / level.sum(axis=1))
    statistic, tail = f_of(left)
    worst = largest(rest)
    reach = float(np.log((benign.max() + 1) / (benign.min() + 1)))
    return {
        "statistic": statistic,
        "df": free,
        "p": tail,
        "largest": six(rest[worst]),
        "condition": rows[worst].condition["id"],
        "largestBenign": six(bend.values[largest(bend.values)]),
        "pBenign": f_of(bend)[1],
        "largestOfMargin": six(float(study.margin) * reach / 8),
    }


def largest(values: Array) -> int:
    """The place of the largest size, of equal ones the first."""
    return int(np.argmax(np.abs(values).round(6)))


def permutation(study: Study, rows: list[Row], complied: Array, used: Array) -> Document:
    """Compliance along log(N_b+1) within query, draw and N_h, without a fit."""
    weights = np.log(numbers(rows, "nBenign") + 1)
    scores, size = np.zeros(study.shape), 0.0
    blocks: list[Block] = []
    informative = np.zeros(study.shape[0], bool)
    harmful = numbers(rows, "nHarmful")
    for level in sorted(set(harmful.tolist())):
        x = weights[harmful == level]
        y, n = (part[harmful == level] & used[harmful == level] for part in (complied, used))
        strata = []
        for place in np.ndindex(study.shape):
            there = np.flatnonzero(n[(slice(None), *place)])
            outcomes = y[(there, *place)]
            if outcomes.any() and not outcomes.all():
                centred = x[there] - x[there].mean()
                scores[place] += centred[outcomes].sum()
                asked = int(study.requests[place]), place[1]
                strata.append((there, centred, outcomes, asked))
                informative[place[0]], size = True, size + float((centred**2).sum())
        blocks.append((len(x), strata))
    clusters = Clusters(used.any(axis=0) & informative[:, None], study.lists)
    observed, tails, clustered = float(scores.sum()), [], None
    t = p_clustered = p_permutation = None
    if clusters.queries > 1:
        variance = float(clusters.covariance(scores[:, :, None])[0, 0])
        if variance > 1e-12 * size:
            clustered = observed / sqrt(variance)
            tails.append(Fraction(t_tail(clustered, clusters.df)))
            t, p_clustered = six(clustered), p_text(tails[0])
    outcomes = sum(height * len(strata) for height, strata in blocks)
    few = outcomes <= 30_000
    if few:
        tails.append(permuted(blocks, observed))
        p_permutation = p_text(tails[-1])
    stated = {"statistic": six(observed), "t": t, "df": clusters.df, "pClustered": p_clustered}
    stated |= {"pPermutation": p_permutation, "permutations": 1999 if few else 0}
    return stated | {"p": p_text(max(tails, default=Fraction(1)))}


Stratum = tuple[Array, Array, Array, tuple[int, int]]
Block = tuple[int, list[Stratum]]


def permuted(blocks: list[Block], observed: float) -> Fraction:
    """The p-value from 1,999 permutations of outcomes within strata."""
    levels = [level for block in blocks if (level := side_by_side(*block))]
    words, extreme = np.random.Philox(key=20260620508), 0
    for _ in range(1999):
        drawn = 0.0
        for there, used, centred, outcomes, alike in levels:
            keys = words.random_raw(there.size).reshape(there.shape).astype(float)[:, alike]
            keys = np.where(used, np.take_along_axis(keys, there, axis=0), np.inf)
            order = np.argsort(keys, axis=0, kind="stable")
            drawn += float((centred * np.take_along_axis(outcomes, order, axis=0)).sum())
        extreme += abs(drawn) >= abs(observed) - 1e-9
    return Fraction(1 + extreme, 2000)


def side_by_side(
    height: int, strata: list[Stratum]
) -> tuple[Array, Array, Array, Array, list[int]] | None:
    """The strata of an N_h as columns, points that count on top; whose words a column takes."""
    if not strata:
        return None
    shape = height, len(strata)
    there, used = np.zeros(shape, int), np.zeros(shape, bool)
    centred, outcomes = np.zeros(shape), np.zeros(shape, bool)
    asked = [stratum[3] for stratum in strata]
    for column, (places, x, y, _) in enumerate(strata):
        top = slice(None, len(places)), column
        there[top], used[top], centred[top], outcomes[top] = places, True, x, y
    return there, used, centred, outcomes, [asked.index(each) for each in asked]
