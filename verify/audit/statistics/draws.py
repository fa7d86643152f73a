"""The points of a bundle that an audit can draw."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.bundle import POINTS_FILE, Bundle, parse_point
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.challenge import draw_order, ticket_order


@dataclass(frozen=True, slots=True)
class DrawKind:
    """Which points are drawn from."""

    condition: ConditionId | None
    """Their condition; None: any."""
    outcome: Outcome | None
    """Their recorded outcome; None: any."""
    source: SourceName | None = None
    """Their query source; None: any of one role."""
    control: bool = False
    """Whether they are benign controls, where no source is named; else of role ``harmful``."""
    tickets: tuple[tuple[ConditionId, int], ...] = ()
    """How many tickets the judged points of role ``harmful`` of each of several conditions have;
    none: every point that is drawn from has one."""


GENERATED: Final = DrawKind(None, None)
"""All points that have a response, benign controls included: the model's, all of them."""


@dataclass(frozen=True, slots=True)
class DrawablePoint:
    """A point that can be drawn."""

    id: Sha256
    """Its id."""
    index: int
    """Its place in plan order."""


def points_in_order(
    bundle: Bundle,
    receipt: EvaluationPredicate,
    kinds: Collection[DrawKind],
    challenge: tuple[Sha256, str],
    sample: int = 0,
) -> dict[DrawKind, list[DrawablePoint]]:
    """Return the points of some conditions and outcomes in the order of a challenge.

    Args:
        bundle: The bundle; its evidence lines are read once.
        receipt: Its receipt.
        kinds: Which points are wanted.
        challenge: Digest of the receipt, and the nonce.
        sample: How many of all generated points are wanted, the first ones.

    Raises:
        FileAccessError, MalformedError: The evidence cannot be read.
        IntegrityError: The evidence lines do not have the receipt's root.
    """
    roles = {source.name: source.role for source in receipt.queries}
    urns = {kind: dict(kind.tickets) for kind in kinds if kind.tickets}
    tickets: dict[DrawKind, dict[Sha256, int]] = {kind: {} for kind in urns}
    found: dict[DrawKind, dict[Sha256, int]] = {kind: {} for kind in kinds}
    path = bundle.folder / POINTS_FILE
    for number, line in bundle.sealed_lines(receipt.evidence):
        point = parse_point(line, number, path)
        if GENERATED in found and point.outcome is not Outcome.FAILED:
            found[GENERATED][point.id] = point.index
            if len(found[GENERATED]) >= max(_KEPT, 4 * sample):
                found[GENERATED] = _first(found[GENERATED], challenge, sample)
        control = roles.get(point.source) is QueryRole.BENIGN_CONTROL
        if not control and point.outcome in _JUDGED:
            for kind, urn in urns.items():
                if number_of := urn.get(point.condition):
                    found[kind][point.id] = point.index
                    tickets[kind][point.id] = number_of
        for outcome in (point.outcome, None):
            for kind in (
                DrawKind(point.condition, outcome, control=control),
                DrawKind(point.condition, outcome, point.source),
            ):
                if (index := found.get(kind)) is not None:
                    index[point.id] = point.index
    if GENERATED in found:
        found[GENERATED] = _first(found[GENERATED], challenge, sample)
    orders = {}
    for kind, index in found.items():
        drawn = ticket_order(*challenge, tickets[kind]) if kind in urns else None
        orders[kind] = [
            DrawablePoint(id_, index[id_])
            for id_ in (draw_order(*challenge, index) if drawn is None else drawn)
        ]
    return orders


_KEPT = 10_000
_JUDGED: Final = frozenset({Outcome.REFUSED, Outcome.COMPLIED})


def _first(
    index: dict[Sha256, int], challenge: tuple[Sha256, str], number: int
) -> dict[Sha256, int]:
    """Return the first of some points in the order of a challenge."""
    return {id_: index[id_] for id_ in draw_order(*challenge, index)[:number]}
