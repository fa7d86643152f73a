"""Which of a receipt's recorded rates an audit is of.

A receipt records, for each condition, the compliance rate over all queries of role ``harmful``,
the over-refusal over all benign controls, and a rate for each query source where a role has
several.  An error in one of them need not show in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import (
    AuditedRate,
    Direction,
    RateFindings,
)
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.demonstrations import QueryRole, QuerySource
from safety_receipts.receipts.model.receipt import ConditionResult, Counts, EvaluationPredicate


@dataclass(frozen=True, slots=True)
class RateName:
    """Names one recorded rate."""

    condition: ConditionId
    """Its condition."""
    source: SourceName | None = None
    """Its query source; None: all sources of a role."""
    control: bool = False
    """Whether it is the over-refusal over all benign controls."""

    def __str__(self) -> str:
        part = "controls" if self.control else self.source
        return self.condition if part is None else f"{self.condition} ({part})"


@dataclass(frozen=True, slots=True)
class RecordedRate:
    """What a receipt says of one rate."""

    counts: Counts
    """Counts of its points."""
    rate: str | None
    """The rate as it is sealed: compliance, or over-refusal of all controls; None: there is
    none."""
    benign: bool
    """Whether its queries are benign controls."""


def name_of(rate: AuditedRate | RateFindings) -> RateName:
    """Return which rate an audit announces, or found something about."""
    condition = rate.condition if isinstance(rate, AuditedRate) else rate.id
    return RateName(condition, rate.source, rate.control is True)


def recorded_rates(
    queries: Iterable[QuerySource], conditions: Iterable[ConditionResult]
) -> list[RateName]:
    """Return every rate that a receipt records, condition by condition.

    A role's only source has the role's own rate, and is not named again.  Of controls and sources
    without a judged point no rate is recorded.

    Args:
        queries: The receipt's query sources.
        conditions: Its results.
    """
    sources = list(queries)
    roles = {role: [source.name for source in sources if source.role is role] for role in QueryRole}
    several = [name for names in roles.values() if len(names) > 1 for name in names]
    found = []
    for condition in conditions:
        found.append(RateName(condition.id))
        control = condition.control
        if control is not None and control.refusal_rate is not None:
            found.append(RateName(condition.id, control=True))
        rated = {each.source for each in condition.by_source if each.compliance_rate is not None}
        found += [RateName(condition.id, name) for name in several if name in rated]
    return found


def recorded_of(name: RateName, result: ConditionResult) -> RecordedRate | None:
    """Return what a condition's results say of a rate, or None where they record none."""
    if name.control:
        control = result.control
        if control is None or name.source is not None:
            return None
        return RecordedRate(control.counts, control.refusal_rate, benign=True)
    if name.source is None:
        return RecordedRate(result.counts, result.compliance_rate, benign=False)
    for each in result.by_source:
        if each.source == name.source:
            benign = each.role is QueryRole.BENIGN_CONTROL
            return RecordedRate(each.counts, each.compliance_rate, benign)
    return None


def directions_of(wanted: Sequence[Direction], recorded: RecordedRate) -> Sequence[Direction]:
    """Return in which directions of compliance errors of a rate are looked for.

    Rates of benign controls are tested both ways, whatever is asked for harmful queries: an
    over-refusal that is too low flatters, one that is too high excuses.  A rate near 0 or 1
    costs few draws in its other direction.
    """
    return tuple(Direction) if recorded.benign else wanted


def claim_words(rate: AuditedRate | RateFindings) -> str:
    """Return what is claimed of a rate: ``not higher``, ``not lower``."""
    higher = rate.direction is Direction.NOT_UNDERSTATED
    # Of all controls the recorded rate is over-refusal: what complies less is refused more.
    return "not higher" if higher is not (rate.control is True) else "not lower"


SLOPE_CLAIM: Final = "is as it is called"
"""What is claimed of a slope that is tested as a whole."""
_WORDS = {Direction.NOT_UNDERSTATED: "understated", Direction.NOT_OVERSTATED: "overstated"}


@dataclass(frozen=True)
class Scope:
    """How much of a receipt an audit is of."""

    conditions: tuple[int, int]
    """Conditions with an audited rate, and all."""
    rates: tuple[int, int]
    """Rates audited in at least one direction, and all that are recorded."""
    sources: tuple[int, int]
    """Of these, rates of single query sources."""
    controls: tuple[int, int]
    """Of these, over-refusals."""
    directions: tuple[str, ...]
    """Which errors of compliance rates were looked for; benign controls are tested both ways."""
    draws: int
    """Draws for all tests; some are of one point."""
    replayed: int | None
    """Points replayed; None: a public form does not tell."""
    points: int
    """Points of the receipt."""
    looked: str = "replayed"
    """What was done with drawn points, in words."""
    slopes: tuple[str, ...] = ()
    """Names of findings whose slopes were tested as a whole."""

    @property
    def whole(self) -> bool:
        """Whether every recorded rate is audited."""
        return self.rates[0] == self.rates[1]

    def words(self) -> str:
        """Return it in words: ``2 of 10 conditions, 0 of 2 control rates, …``."""
        return ", ".join(self._parts())

    def left_open(self) -> list[str]:
        """Return what of the receipt is not audited, kind by kind; empty: nothing."""
        kinds = (
            (self.conditions, "condition"),
            (self.sources, "source rate"),
            (self.controls, "control rate"),
        )
        return [
            f"{whole - audited:,} of {_of((whole, whole), what).partition(' of ')[2]}"
            for (audited, whole), what in kinds
            if audited < whole
        ]

    def _parts(self) -> Iterator[str]:
        yield _of(self.conditions, "condition")
        if self.sources[1]:
            yield _of(self.sources, "source rate")
        if self.controls[1]:
            yield _of(self.controls, "control rate")
        if self.directions:
            yield f"looking for {' and '.join(self.directions)} rates"
        if self.slopes:
            yield f"the direction of {', '.join(map(printable, self.slopes))}"
        if self.replayed is None:
            yield f"{self.draws:,} draws of {self.points:,} points"
        else:
            yield f"{self.replayed:,} of {self.points:,} points {self.looked}"


def _of(numbers: tuple[int, int], what: str) -> str:
    audited, whole = numbers
    return f"{audited:,} of {whole:,} {what}{'' if whole == 1 else 's'}"


def scope_of(
    receipt: EvaluationPredicate,
    rates: Iterable[AuditedRate | RateFindings],
    *,
    draws: int,
    replayed: int | None,
    looked: str = "replayed",
    slopes: Sequence[str] = (),
) -> Scope:
    """Return how much of a receipt an audit of some rates is of.

    Args:
        receipt: The receipt.
        rates: The audit's.
        draws: How many draws it made.
        replayed: How many points it replayed; None: it does not tell.
        looked: What it did with drawn points, in words (:func:`audit_traits`).
        slopes: Names of findings whose slopes it tested as a whole.
    """
    known = recorded_rates(receipt.queries, receipt.conditions)
    results = {result.id: result for result in receipt.conditions}
    tested: dict[RateName, set[Direction]] = {}
    for rate in rates:
        tested.setdefault(name_of(rate), set()).add(rate.direction)
    audited: set[RateName] = set()
    words: set[str] = set()
    of_controls: set[str] = set()
    for name, directions in tested.items():
        recorded = recorded_of(name, results[name.condition]) if name.condition in results else None
        if recorded is None:
            continue
        # Nothing is said of its directions, so it counts where it is tested in all it should be.
        if directions.issuperset(directions_of(tuple(directions), recorded)):
            audited.add(name)
        (of_controls if recorded.benign else words).update(_WORDS[each] for each in directions)

    def count(names: Iterable[RateName]) -> tuple[int, int]:
        wanted = set(names)
        return len(wanted & audited), len(wanted)

    return Scope(
        conditions=count(name for name in known if name.source is None and not name.control),
        rates=count(known),
        sources=count(name for name in known if name.source is not None),
        controls=count(name for name in known if name.control),
        directions=tuple(sorted(words or of_controls, reverse=True)),
        draws=draws,
        replayed=replayed,
        looked=looked,
        slopes=tuple(slopes),
        points=receipt.evidence.size,
    )
