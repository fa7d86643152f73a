"""Slopes on log(N_b + 1) on one scale: the joint fit, other orders, benign sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.findings.fits.distributions import student_quantile
from safety_receipts.receipts.model.findings import (
    Findings,
    JointFinding,
    SlopeFinding,
    SourceSlope,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.numerals import (
    p_number,
    p_value,
    percentage_points,
    signed_number,
    statistic,
)
from safety_receipts.receipts.view.tables import (
    Column,
    ColumnKind,
    Estimate,
    NoEstimate,
    Row,
    Table,
    common_scale,
    numbers,
)

MARGIN_LEGEND: Final = "dotted: the margin of none"
"""What pictures of slopes show beside them."""
_NORMAL: Final = 1.959964
"""97.5 % quantile of the standard normal distribution."""
_MOST_DF: Final = 100_000
"""Student's t is normal long before."""


@dataclass(frozen=True)
class SlopeRow:
    """One slope on log(N_b + 1), or the heading of several."""

    label: str
    """Which slope."""
    beta: str | None = None
    """The slope; None: a heading."""
    ends: tuple[float, float] = (0.0, 0.0)
    """Its 95 % interval."""
    p: str | None = None
    """Its p-value."""
    word: str = ""
    """The effect that is said of it; empty where none is."""


def slope_rows(findings: Findings) -> list[SlopeRow]:
    """Return all slopes of the findings: the joint fit's first, others under headings."""
    rows: list[SlopeRow] = []
    if findings.joint is not None:
        rows += _joint_rows(findings.joint)
    for other in findings.joint_in_other_orders or ():
        name = "no" if other.ordering is None else other.ordering.value
        rows += [SlopeRow(f"in {name} order"), *_joint_rows(other)]
    if findings.sources is not None:
        rows.append(SlopeRow("by benign source"))
        rows += [_slope_row(one.source, one) for one in findings.sources.slopes]
    if findings.sources is not None and findings.sources.length_matched:
        rows.append(SlopeRow("length matched"))
        rows += [
            _slope_row(f"{one.source} − {one.filler}", one)
            for one in findings.sources.length_matched
        ]
    return rows


def slope_table(receipt: EvaluationPredicate, rows: Sequence[SlopeRow]) -> Table:
    """Return slopes on one scale.

    Args:
        receipt: The receipt, which knows the margin of none.
        rows: Its slopes, from :func:`slope_rows`.
    """
    margin = float(receipt.effect_margin)
    drawn = [end for row in rows if row.beta is not None for end in row.ends]
    scale = common_scale([*drawn, margin, -margin], lambda end: signed_number(Decimal(end), 2))
    return Table(
        "Slopes β2 on log(N_b + 1), 95 % intervals",
        (
            Column("fit", ColumnKind.TEXT),
            *numbers("β2", "p"),
            Column("", scale=scale),
            Column("", ColumnKind.TEXT),
        ),
        tuple(_row(row, margin) for row in rows),
        legend=MARGIN_LEGEND,
    )


def _row(row: SlopeRow, margin: float) -> Row:
    if row.beta is None:
        return Row((row.label, "", "", NoEstimate(margin)))
    drawn = Estimate(float(row.beta), *row.ends, margin)
    return Row((row.label, signed_number(row.beta), p_number(row.p), drawn, row.word))


def slope_remarks(findings: Findings) -> list[str]:
    """Return what there is to say of the fits."""
    remarks: list[str] = []
    if findings.joint is not None:
        remarks += _joint_remarks(findings.joint)
    if findings.sources is not None and (lengths := _lengths(findings.sources.slopes)):
        remarks.append(f"Mean prompt tokens by benign source: {lengths}.")
    return remarks


def t_ends(beta: str, se: str, df: int | None) -> tuple[float, float]:
    """Return the ends of an estimate's 95 % interval: Student's, or normal without ``df``."""
    quantile = _NORMAL if df is None else student_quantile(0.975, max(1, min(df, _MOST_DF)))
    half = quantile * abs(float(se))
    return float(beta) - half, float(beta) + half


def _joint_rows(finding: JointFinding) -> Iterator[SlopeRow]:
    clustered, published, unscored = finding.clustered, finding.as_published, finding.unscored
    if clustered is not None and finding.interval is not None:
        ends = float(finding.interval.lower), float(finding.interval.upper)
        # Where permutations decided, the fit's own numbers did not.
        word = finding.effect.value if finding.permutation is None else "another test decides"
        yield SlopeRow("  clustered", clustered.beta2, ends, clustered.p2, word)
    if published is not None:
        ends = t_ends(published.beta2, published.se2, None)
        yield SlopeRow("  as published", published.beta2, ends, published.p2)
    for one in finding.by_harmful:
        ends = t_ends(one.beta, one.se, one.df)
        yield SlopeRow(f"  at N_h = {one.n_harmful:,}", one.beta, ends, one.p)
    refits = ("comply", unscored.as_complied), ("refuse", unscored.as_refused)
    for verb, refit in refits if unscored.points else ():
        if refit is not None and refit.beta2 is not None and refit.se2 is not None:
            ends = t_ends(refit.beta2, refit.se2, None if clustered is None else clustered.df)
            label = f"  unscored {verb}"
            yield SlopeRow(label, refit.beta2, ends, refit.p2, refit.effect.value)


def _slope_row(label: str, slope: SlopeFinding) -> SlopeRow:
    ends = float(slope.interval.lower), float(slope.interval.upper)
    return SlopeRow(f"  {label}", slope.beta, ends, slope.p, slope.effect.value)


def _joint_remarks(finding: JointFinding) -> Iterator[str]:
    lack, made = finding.lack_of_fit, finding.permutation
    if lack is not None:
        tested = ""
        if lack.statistic is not None and lack.p is not None:
            tested = f"F({lack.df}) = {statistic(lack.statistic)}, {p_value(lack.p)}; "
        yield (
            f"Lack of fit: {tested}largest difference, observed − fitted, "
            f"{percentage_points(lack.largest)} points at {lack.condition}."
        )
    yield (
        f"Unscored points in these conditions: {finding.unscored.points:,}; "
        f"queries with both outcomes: {finding.informative_queries:,}."
    )
    if made is not None:
        parts = []
        if made.p_permutation is not None:
            parts.append(f"{made.permutations:,} permutations, {p_value(made.p_permutation)}")
        if made.p_clustered is not None:
            parts.append(f"held to clustered errors, {p_value(made.p_clustered)}")
        yield (
            "Without a fit, complied points by N_b within query, N_h and draw: statistic "
            f"{signed_number(made.statistic, 2)}; {'; '.join(parts) or 'nothing varies'}. "
            "The larger p-value counts."
        )


def _lengths(slopes: Sequence[SourceSlope]) -> str:
    return ", ".join(
        f"{one.source} {round(Decimal(one.mean_prompt_tokens)):,}"
        for one in slopes
        if one.mean_prompt_tokens is not None
    )
