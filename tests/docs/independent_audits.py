"""What audits say of findings, for independent.py: *Audits* of docs/protocol.md.

Verdicts on rates, on the model's identity, on outcomes and on the second judge are the auditor's
word here; what follows from them for findings, and as a whole, is derived.
"""

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
from independent_breakdown import Counted, Grid, breakdowns, fitted
from independent_rates import Document
from independent_turning import cheapest

DIRECTIONS = ("not_understated", "not_overstated")
LEAST_IDENTITY = 50
LEVEL = Fraction(1, 100)


def hold(fact: bool, what: str) -> None:
    """Names what does not follow, unless it does."""
    if not fact:
        raise ValueError(what)


def stands(receipt: Document) -> dict[str, Document]:
    """Breakdown points of a receipt's findings, from its counts; what it states does not count."""
    if receipt["findings"] is None:
        return {}
    found = breakdowns(receipt["findings"], grid_of(receipt))
    return {each["finding"]: each for each in found}


def grid_of(receipt: Document) -> Grid:
    """A receipt's conditions and counts."""
    counts = {}
    for each in receipt["conditions"]:
        n = each["counts"]
        counts[each["id"]] = Counted(n["complied"], n["unscored"] + n["failed"], n["planned"])
    return Grid(receipt["conditions"], receipt["effectMargin"], counts)


def best_of(audit: Document) -> str:
    """The most that an audit by this method says."""
    return "confirmed" if audit["method"] == "replay" else "consistent_with"


def whole(audit: Document, rates: list[str]) -> str:
    """What rates with these verdicts come to, beside all else that an audit says."""
    best, replays = best_of(audit), audit["method"] == "replay"
    identity, drawn = audit["identity"], audit["identityDrawn"]
    outcomes, second = audit.get("outcomes"), audit.get("secondJudge")
    level = LEVEL / max(1, len(audit["conditions"]) + (outcomes is not None))
    hard = outcomes is not None and (
        outcomes["falseLabels"] > 0 or Fraction(outcomes["refutingPValue"]) <= level
    )
    if "refuted" in rates or (hard and replays):
        return "refuted"
    named = audit["method"] == "regenerate"
    if identity is not None and identity["passed"]:
        number = drawn if isinstance(drawn, int) else len(drawn)
        named |= number >= min(LEAST_IDENTITY, audit["pointsTotal"])
    against = outcomes is not None and Fraction(outcomes["pValue"]) <= LEVEL
    disagrees = second is not None and second["verdict"] != best
    good = named and not (hard or against or disagrees) and set(rates) <= {best}
    return best if good else "inconclusive"


def finding_verdict(audit: Document, found: Document) -> str:
    """What an audit says of a finding with this breakdown point."""
    best = best_of(audit)
    over_all = [
        (rate["id"], rate["direction"])
        for rate in audit["conditions"]
        if rate["verdict"] == best and rate.get("source") is None and not rate.get("control")
    ]
    needed = {(name, direction) for name in found["conditions"] for direction in DIRECTIONS}
    refuted = [verdict for verdict in tested(audit) if verdict == "refuted"]
    near = 0 < Fraction(audit["epsilon"]) <= Fraction(found["share"])
    holds = near and needed <= set(over_all)
    for each in audit.get("slopeResults", ()):
        if each["finding"] == found["finding"]:
            holds = each["verdict"] == best
    good = holds and whole(audit, refuted) == best
    return best if good else "inconclusive"


def tested(audit: Document) -> list[str]:
    """Verdicts on all rates and slopes."""
    return [each["verdict"] for each in (*audit["conditions"], *audit.get("slopeResults", ()))]


def check_slopes(audit: Document, start: Document, receipt: Document) -> None:
    """Holds tests of slopes to the receipt, and their results to themselves."""
    tests, found = audit.get("slopeTests", []), audit.get("slopeResults", [])
    hold(tests == start.get("slopeTests", []), "tests of slopes are not the announced ones")
    hold(bool(start["rates"] or tests), "nothing is tested")
    names = [test["finding"] for test in tests]
    hold(names == [each["finding"] for each in found], "other slopes than those announced")
    hold(len(set(names)) == len(names), "a slope is tested twice")
    hold(set(names) <= set(audit.get("findings", ())), "a slope of no finding of the audit")
    hold(not tests or audit["method"] != "regenerate", "new responses say nothing of outcomes")
    for test, result in zip(tests, found, strict=True):
        hold_slope(test, receipt)
        draws, wrong = result["draws"], result["contradictions"]
        hold(test["recorded"] >= draws >= wrong >= result["hardContradictions"], "counts")
        hold(result["hardContradictions"] >= result["falseLabels"], "false labels")
        if "drawn" in result:
            hold(len(result["drawn"]) == draws, "draws without points, or points without")
            hold(len(set(result["contradicted"])) == wrong, "contradictions are not those counted")
            hold(set(result["contradicted"]) <= set(range(1, draws + 1)), "contradictions undrawn")
        follows = "inconclusive"
        if Fraction(result["pValue"]) <= Fraction(audit["alpha"]):
            follows = best_of(audit)
        if result["falseLabels"] and audit["method"] == "replay":
            follows = "refuted"
        hold(result["verdict"] == follows, f"{test['finding']}: {follows} follows")


def hold_slope(test: Document, receipt: Document) -> None:
    """Holds a test of a slope to the counts: its urn, and that few tickets turn nothing."""
    slope = {each.name: each for each in fitted(receipt["findings"])}.get(test["finding"])
    if slope is None:
        raise ValueError(f"{test['finding']} is no slope of one fit that is called something")
    grid = grid_of(receipt)
    slopes, ids = grid.slopes((slope.conditions, 1.0))
    hold([each["condition"] for each in test["urn"]] == ids, "other conditions than the fit's")
    tickets = np.array([each["tickets"] for each in test["urn"]], float)
    size = (tickets * (slopes.planned - slopes.unjudged)).sum()
    hold(test["recorded"] == size, f"{test['finding']}: {size:.0f} tickets, not {test['recorded']}")
    limits = {
        "dilution": [(0.0, 1)],
        "amplification": [(0.0, -1)],
        "none": [(grid.margin, 1), (-grid.margin, -1)],
    }[slope.effect]
    least = min(cheapest(slopes, tickets, *limit) for limit in limits)
    hold(test["hidden"] <= least + 1, f"{test['finding']}: {least:.0f} tickets turn it")


def check_audit(audit: Document, start: Document, receipt: Document) -> None:
    """Holds one result to its announcement, to the receipt and to itself."""
    named, said = audit.get("findings"), audit.get("findingVerdicts")
    hold(named == start.get("findings"), "findings are not the announced ones")
    rates = Counter(rate_of(rate, rate["id"]) for rate in audit["conditions"])
    announced = Counter(rate_of(rate, rate["condition"]) for rate in start["rates"])
    hold(rates == announced, "the rates are not the announced ones")
    said_of = {audit["verdict"], *tested(audit)}
    may = {best_of(audit), "inconclusive"} | ({"refuted"} if audit["method"] == "replay" else set())
    hold(said_of <= may, f"no audit by {audit['method']} says {sorted(said_of - may)}")
    check_slopes(audit, start, receipt)
    follows = whole(audit, tested(audit))
    hold(audit["verdict"] == follows, f"verdict is {audit['verdict']}, not {follows}")
    hold((named is None) == (said is None), "findings without verdicts, or verdicts without")
    if named is None or said is None:
        return
    known = stands(receipt)
    for name in named:
        share = known[name]["share"] if name in known else None
        whole_ = name in [test["finding"] for test in audit.get("slopeTests", ())]
        able = share is not None and (whole_ or Fraction(share) > 0)
        hold(able, f"finding {name}: no audit can be of it")
    hold([each["finding"] for each in said] == named, "verdicts on other findings")
    for each in said:
        found = known[each["finding"]]
        derived = {"share": found["share"], "verdict": finding_verdict(audit, found)}
        for field, value in derived.items():
            what = f"finding {each['finding']}: {field} is {each[field]}, not {value}"
            hold(each[field] == value, what)


def rate_of(rate: Document, condition: str) -> tuple[Any, ...]:
    """Which rate is tested, and which way."""
    return condition, rate.get("source"), bool(rate.get("control")), rate["direction"]


def check_audits(
    starts: dict[str, Document],
    full: dict[str, Document],
    public: dict[str, Document],
    receipt: Document,
) -> None:
    """Holds all results of an auditor to their announcements and to the receipt."""
    for own, audit in (full | public).items():
        start = audit["start"]["digest"]
        hold(start in starts, f"audit {own[:12]}: not announced")
        try:
            check_audit(audit, starts[start], receipt)
        except ValueError as error:
            raise ValueError(f"audit {own[:12]}: {error}") from error
