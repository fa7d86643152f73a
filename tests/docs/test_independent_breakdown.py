"""The second verifier derives how many false labels findings stand, and refuses other shares."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from observing import Asked, Cell, Chance, logistic, observed, plan_of

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.findings.breakdown.adoption import adoption_share
from safety_receipts.receipts.findings.breakdown.points import counts_of_points
from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.derive import derive, with_breakdown
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import AdoptionRate, FormatFinding, FormatWord
from safety_receipts.receipts.model.receipt import Counts

KNOWN = Path(__file__).parents[1] / "golden" / "known-answer"
MEMBERS = ("amplifying", "diluting", "neutral", "recency")
Change = Callable[[list[dict[str, Any]]], object]
FIXED = (
    ExperimentKind.FIXED_HARMFUL,
    [Cell(h, b) for h in (4, 16) for b in (0, 4, 16)],
)


@pytest.fixture(scope="module")
def second() -> dict[str, ModuleType]:
    names = ("independent_audits", "independent_breakdown", "independent_findings")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        found = {name: importlib.import_module(name) for name in names}
        return found | {"slopes": importlib.import_module("independent_slopes")}


def sealed(member: str) -> dict[str, Any]:
    """Return a receipt of the known-answer study, with breakdown points in its findings."""
    receipt = Bundle(KNOWN / member).receipt.statement.predicate
    assert receipt.findings is not None
    found = with_breakdown(receipt.findings, SealedGrid.of(receipt))
    return receipt.model_copy(update={"findings": found}).to_wire()


def problems(second: dict[str, ModuleType], receipt: dict[str, Any]) -> list[str]:
    """Return where what a receipt states differs from what the second verifier derives."""
    derived = list(second["independent_audits"].stands(receipt).values())
    stated = receipt["findings"]["breakdown"]
    return list(second["independent_findings"].apart(stated, derived, "breakdown"))


@pytest.mark.parametrize("member", MEMBERS)
def test_it_agrees_on_the_known_answers(second: dict[str, ModuleType], member: str) -> None:
    receipt = sealed(member)
    assert len(receipt["findings"]["breakdown"]) >= 6
    assert problems(second, receipt) == []


def up(place: int, field: str, end: str | None = None) -> Change:
    """Raise the last place of a share, or move an end of a span by more than rounding may."""

    def change(found: list[dict[str, Any]]) -> None:
        part = found[place][field] if end else found[place]
        name, step = (end, 2e-5) if end else (field, 1e-3)
        places = 6 if end else 3
        part[name] = f"{float(part[name]) + step:.{places}f}"

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        *((up(place, "share"), rf"^breakdown\[{place}\]\.share is ") for place in range(6)),
        (up(1, "span", "lower"), r"\[1\]\.span\.lower is "),
        (up(5, "span", "upper"), r"\[5\]\.span\.upper is "),
        (lambda found: found[1].update(span=None), r"\[1\]\.span is None"),
        (lambda found: found[1].update(share=None), r"\[1\]\.share is None"),
        (lambda found: found[1]["span"].update(share="0.01"), r"\[1\]\.span\.share is 0\.01"),
        (lambda found: found[1]["conditions"].pop(), r"\[1\]\.conditions is "),
        (lambda found: found[0]["conditions"].reverse(), r"\[0\]\.conditions is "),
        (lambda found: found[1].update(finding="joint/suffix"), r"\[1\]\.finding is joint/suffix"),
        (lambda found: found.pop(), r"^breakdown is "),
        (lambda found: found.reverse(), r"\[0\]\."),
    ],
)
def test_what_does_not_follow_from_the_counts_is_named(
    second: dict[str, ModuleType], change: Change, named: str
) -> None:
    receipt = sealed("diluting")
    change(receipt["findings"]["breakdown"])
    assert any(re.search(named, each) for each in problems(second, receipt))


def stands_as_derived(
    second: dict[str, ModuleType], experiments: list[Any], chance: Chance, **given: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hold the breakdown points of made-up points to the second verifier; findings, and these."""
    plan = plan_of(experiments, queries=160, draws=2)
    observations = observed(plan, chance, **given)
    findings = derive(observations).to_wire()
    breakdown = second["independent_breakdown"]
    counted = counts_of_points(StudyPoints(observations, newton))
    counts = {
        name: breakdown.Counted(each.complied, each.unscored + each.failed, each.planned)
        for name, each in counted.items()
    }
    conditions = [condition.to_wire() for condition in plan.conditions]
    grid = breakdown.Grid(conditions, plan.effect_margin, counts)
    derived = list(breakdown.breakdowns(findings, grid))
    apart = second["independent_findings"].apart
    assert list(apart(findings["breakdown"], derived, "breakdown")) == []
    return findings, {each["finding"]: each for each in derived}


def opposite(where: Asked) -> np.ndarray:
    """A law with dilution at one number of harmful demonstrations, amplification at another."""
    turned = 0.8 if where.condition.n_harmful > 4 else -0.8
    logit = turned * np.log(where.condition.n_benign + 1) + np.sin(where.query)
    return logistic(logit - 0.5) + 0 * where.draw


def test_it_agrees_on_slopes_with_both_signs(second: dict[str, ModuleType]) -> None:
    findings, found = stands_as_derived(second, [FIXED], opposite)
    assert findings["joint"]["effect"] == "mixed"
    assert found["joint"]["span"] is None
    assert 0 < float(found["joint"]["share"]) < 0.5


@pytest.mark.parametrize("raised", [Ordering.PREFIX, Ordering.MIDDLE])
def test_it_agrees_on_orders(second: dict[str, ModuleType], raised: Ordering) -> None:
    def chance(where: Asked) -> np.ndarray:
        high = where.condition.ordering is raised
        return logistic(1.2 * high - 0.6 + np.sin(where.query)) + 0 * where.draw

    orders = (ExperimentKind.ORDERINGS, [Cell(8, 8, order) for order in Ordering])
    findings, found = stands_as_derived(second, [FIXED, orders], chance)
    said = {Ordering.PREFIX: "primacy", Ordering.MIDDLE: "differs"}[raised]
    assert findings["orderings"][0]["verdict"] == said
    [one] = [each for name, each in found.items() if name.startswith("ordering/")]
    assert any(raised.value in name for name in one["conditions"])


@pytest.mark.parametrize("sign", [1, -1])
def test_it_agrees_on_contexts_and_prefixes(second: dict[str, ModuleType], sign: int) -> None:
    def chance(where: Asked) -> np.ndarray:
        told = where.condition.context.form is ContextForm.TOOL
        return logistic(sign * 1.2 * told - 0.3 + np.sin(where.query)) + 0 * where.draw

    experiments = [
        FIXED,
        (ExperimentKind.CONTEXTS, [Cell(4, 16), Cell(4, 16, form=ContextForm.TOOL)]),
        (ExperimentKind.RESPONSE_PREFIX, [Cell(4, 16, prefix="Answer:")]),
    ]
    words = set()
    for adopts in ((0.0, 0.9), (0.6, 0.9)):
        findings, found = stands_as_derived(second, experiments, chance, adopts=adopts)
        assert any(name.startswith("context/") for name in found)
        assert any(name.startswith("format/") for name in found)
        words.add(findings["formats"][0]["verdict"])
    assert words == {"coupled", "dissociated"}


# What is searched, against all there is


@pytest.mark.parametrize("seed", range(4))
def test_climbing_finds_the_best_of_all_corners(
    second: dict[str, ModuleType], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coin, slopes = np.random.default_rng(seed), second["slopes"]
    size = 12
    conditions = [
        {"nHarmful": int(h), "nBenign": int(b)}
        for h, b in coin.choice([0, 1, 4, 8, 16, 64], (size, 2))
    ]
    planned = coin.integers(40, 300, size)
    complied = coin.binomial(planned, coin.uniform(0.05, 0.6, size))
    unjudged = np.minimum(planned - complied, coin.integers(0, 6, size))
    counts = np.column_stack([complied, unjudged, planned]).astype(float)
    shared = 3
    for parts in (
        [slopes.Part(conditions, list(range(size)), 1.0)],
        [
            slopes.Part(conditions[:8], list(range(8)), 1.0),
            slopes.Part(conditions[8 - shared :], list(range(8 - shared, size)), -1.0),
        ],
    ):
        for share, sign in ((0.02, 1), (0.1, -1), (0.25, 1)):
            low, high = slopes.Slopes(parts, counts).box(share)
            monkeypatch.setattr(slopes, "FEW", size)
            best = slopes.Slopes(parts, counts).extreme(share, sign)
            monkeypatch.setattr(slopes, "FEW", 0)
            climbed = slopes.Slopes(parts, counts).extreme(share, sign)
            assert climbed == pytest.approx(best, abs=1e-7)
            where = coin.random((400, size)) ** coin.choice([0.05, 1.0, 20.0], (400, size))
            inside = slopes.Slopes(parts, counts).values(low + (high - low) * where)
            assert (sign * inside).max() <= sign * best + 1e-7


def test_adoption_stands_the_same_of_both(second: dict[str, ModuleType]) -> None:
    """Groups of all sizes, some of which a share of a thousandth brings to 1 in 20 exactly."""
    coin, breakdown = np.random.default_rng(1), second["independent_breakdown"]
    groups = [((300, 300), (0, 0), 700), ((24, 100), (50, 100), 0), ((0, 60), (12, 40), 0)]
    for _ in range(300):
        refused, complied, rest = coin.integers(0, 60, 3)
        groups.append(
            (
                (int(coin.integers(0, refused + 1)), int(refused)),
                (int(coin.integers(0, complied + 1)), int(complied)),
                int(rest) // 10,
            )
        )
    for refused, complied, unjudged in groups:
        planned = refused[1] + complied[1] + unjudged
        if not planned:
            continue
        counts = Counts(
            planned=planned,
            generated=planned,
            failed=0,
            refused=refused[1],
            complied=complied[1],
            unscored=unjudged,
            length_stopped=0,
        )
        for word in (FormatWord.DISSOCIATED, FormatWord.COUPLED):
            found = FormatFinding(
                condition="h8-b8",  # type: ignore[arg-type]
                prefix="Sure",
                among_refusals=adopting(*refused),
                among_compliances=adopting(*complied),
                gap=None,
                without_prefix=None,
                change=None,
                verdict=word,
            )
            own = {"h8-b8": breakdown.Counted(complied[1], unjudged, planned)}
            derived = breakdown.adoption(breakdown.Grid([], "0.1", own), found.to_wire())
            assert derived["share"] == adoption_share(found, counts), (refused, complied, word)


def adopting(adopted: int, responses: int) -> AdoptionRate:
    return AdoptionRate(responses=responses, adopted=adopted, rate=None, lower=None, upper=None)
