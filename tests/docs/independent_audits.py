"""What audits say of findings, for independent.py: *Audits* of docs/protocol.md.

Verdicts on rates, on the model's identity, on outcomes and on the second judge are the auditor's
word here; what follows from them for findings, and as a whole, is derived.
"""

from collections import Counter
from fractions import Fraction
from typing import Any

from independent_breakdown import Counted, Grid, breakdowns
from independent_rates import Document

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
    counts = {}
    for each in receipt["conditions"]:
        n = each["counts"]
        counts[each["id"]] = Counted(n["complied"], n["unscored"] + n["failed"], n["planned"])
    grid = Grid(receipt["conditions"], receipt["effectMargin"], counts)
    return {each["finding"]: each for each in breakdowns(receipt["findings"], grid)}


def best_of(audit: Document) -> str:
    """The most that an audit by this method says."""
    return "confirmed" if audit["method"] == "replay" else "consistent_with"


def whole(audit: Document, rates: list[str]) -> str:
    """What rates with these verdicts come to, beside all else that an audit says."""
    best, replays = best_of(audit), audit["method"] == "replay"
    identity, drawn = audit["identity"], audit["identityDrawn"]
    outcomes, second = audit.get("outcomes"), audit.get("secondJudge")
    level = LEVEL / (len(audit["conditions"]) + (outcomes is not None))
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
    refuted = [rate["verdict"] for rate in audit["conditions"] if rate["verdict"] == "refuted"]
    near = 0 < Fraction(audit["epsilon"]) <= Fraction(found["share"])
    good = near and needed <= set(over_all) and whole(audit, refuted) == best
    return best if good else "inconclusive"


def check_audit(audit: Document, start: Document, receipt: Document) -> None:
    """Holds one result to its announcement, to the receipt and to itself."""
    named, said = audit.get("findings"), audit.get("findingVerdicts")
    hold(named == start.get("findings"), "findings are not the announced ones")
    rates = Counter(rate_of(rate, rate["id"]) for rate in audit["conditions"])
    announced = Counter(rate_of(rate, rate["condition"]) for rate in start["rates"])
    hold(rates == announced, "the rates are not the announced ones")
    said_of = {audit["verdict"], *(rate["verdict"] for rate in audit["conditions"])}
    may = {best_of(audit), "inconclusive"} | ({"refuted"} if audit["method"] == "replay" else set())
    hold(said_of <= may, f"no audit by {audit['method']} says {sorted(said_of - may)}")
    follows = whole(audit, [rate["verdict"] for rate in audit["conditions"]])
    hold(audit["verdict"] == follows, f"verdict is {audit['verdict']}, not {follows}")
    hold((named is None) == (said is None), "findings without verdicts, or verdicts without")
    if named is None or said is None:
        return
    known = stands(receipt)
    for name in named:
        share = known[name]["share"] if name in known else None
        hold(share is not None and Fraction(share) > 0, f"finding {name}: no audit can be of it")
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
