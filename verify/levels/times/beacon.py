"""Did the beacon that a plan names say what the receipt's seed is made of?"""

from __future__ import annotations

from safety_receipts.receipts.beacon.chains import CHAINS, stated_moment
from safety_receipts.receipts.beacon.rounds import check_round
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.model.receipt import BeaconValue, Event
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList


def check_beacon(event: Event, said: BeaconValue, checks: CheckList) -> None:
    """Check the value of a beacon's round, and that the run began after it was published.

    Args:
        event: The run.
        said: What the beacon is said to have said.
        checks: Receives the check.
    """
    found = check_round(said.chain, said.round, said.value, said.signature)
    if found.status is CheckStatus.NOT_CHECKED:
        checks.skip(CheckName.BEACON_VALUE, found.detail)
        return
    problem = found.detail if found.status is CheckStatus.FAILED else _early(event, said)
    checks.decide(CheckName.BEACON_VALUE, problem, found.detail)


def round_was_out(moment: float, beacon: BeaconRound | None) -> str | None:
    """Say that a round was out when something that names it was first seen, or None.

    Args:
        moment: When it was seen, in seconds since 1970 (UTC).
        beacon: The round that it names; None: it names none.
    """
    chain = None if beacon is None else CHAINS.get(beacon.chain)
    if beacon is None or chain is None or moment < chain.time_of(beacon.round):
        return None
    return f"round {beacon.round:,} of its beacon was out, since {chain.said_at(beacon.round)}"


def _early(event: Event, said: BeaconValue) -> str | None:
    """Return why a run cannot have known the value when it began, or None."""
    began, chain = stated_moment(event.started_at), CHAINS[said.chain]
    if began is None or chain.is_out(said.round, began):
        return None  # the check of the event says that there is no such time
    return f"the run began before the round was published, {chain.said_at(said.round)}"
