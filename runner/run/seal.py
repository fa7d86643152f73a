"""From a journal to a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from platform import machine, python_version, system

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.findings.derive import fit
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import (
    BeaconValue,
    Environment,
    Event,
    ServerAccount,
)
from safety_receipts.receipts.seal import seal_event
from safety_receipts.runner.engines.engine import EngineIdentity
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.run.journal import Journal, JournalEvent
from safety_receipts.runner.run.served import SERVER_FIELDS

MEMORY_CLASS = "memory class"
"""Name of the engine's memory bound in :func:`stack_of`."""

TOOL = f"safety-receipts {version('safety-receipts')}"
"""Name and version of what runs and seals."""


def check_fitter() -> None:
    """Look for what fits the findings, before a run that could not be sealed in the end.

    Raises:
        IncompleteError: statsmodels is not installed.
    """
    if find_spec("statsmodels") is None:
        raise IncompleteError(
            "statsmodels is not installed, and findings are sealed with every receipt",
            hint=install("run"),
        )


def seal_journal(
    folder: Path,
    journal: Journal,
    *,
    plan_envelope: Envelope,
    plan: PlanPredicate,
    environment: Environment,
    signer: Signer,
) -> Envelope:
    """Seal a finished run into ``folder`` and return the receipt.

    Args:
        folder: The bundle.
        journal: Holds every planned point.
        plan_envelope: The sealed plan.
        plan: What it says.
        environment: What the run was made with.
        signer: The plan's signer.

    Raises:
        IntegrityError: A point is missing, damaged, or contradicts the plan; or two ways of
            fitting the findings disagree.
        FileAccessError: The folder cannot be written; the journal stays.
    """
    return seal_event(
        folder,
        plan_envelope=plan_envelope,
        points=journal.entries(),
        event=event_of(journal, plan),
        environment=environment,
        signer=signer,
        findings=fit,
    )


_RETRIES = (
    JournalEvent.RETRY,
    JournalEvent.RESENT,
    JournalEvent.JUDGE_RESENT,
    JournalEvent.SECOND_RESENT,
)


def event_of(journal: Journal, plan: PlanPredicate) -> Event:
    """Return the account of a run that its journal gives."""
    started, finished = journal.span()
    value = journal.beacon
    return Event(
        id=journal.event_id,
        started_at=started,
        finished_at=finished,
        restarts=max(0, journal.happened(JournalEvent.START) - 1),
        retries=sum(journal.numbered(kind) for kind in _RETRIES),
        discarded=journal.numbered(JournalEvent.DISCARD),
        looks=journal.happened(JournalEvent.LOOK),
        beacon=(
            None
            if plan.beacon is None or value is None
            else BeaconValue(
                chain=plan.beacon.chain,
                round=plan.beacon.round,
                value=Sha256(value),
                signature=journal.beacon_signature,
            )
        ),
    )


def environment_of(
    identity: EngineIdentity, plan: PlanPredicate, memory: int | None
) -> Environment:
    """Return what a run was made with.

    Args:
        identity: The engine's.
        plan: The plan.
        memory: Bound on the engine's memory in bytes; None: it has none.
    """
    return Environment(
        tool=TOOL,
        engine=identity.kind,
        device=identity.device,
        driver=identity.driver,
        platform=f"{system()} {machine()}",
        python=python_version(),
        torch=identity.torch,
        transformers=identity.transformers,
        attention=identity.attention,
        dtype=identity.dtype,
        batch_rule=plan.batch_rule,
        memory_class=None if memory is None else f"{memory} bytes",
        packages=dict(identity.packages),
        server=identity.server,
    )


def stack_of(environment: Environment) -> dict[str, str]:
    """Return what a resumed run is held to: whatever answers may depend on."""
    parts = dict(environment)
    packages = parts.pop("packages")
    for name in SERVER_FIELDS.values():
        parts.pop(name)
    stack = {name.replace("_", " "): str(value) for name, value in parts.items() if value}
    stack |= server_claims(environment, tuple(SERVER_FIELDS))
    return stack | {f"package {name}": value for name, value in packages.items()}


def server_claims(environment: Environment, roles: Iterable[ServerRole]) -> dict[str, str]:
    """Return what the servers of an environment say of themselves: answers may depend on it.

    Args:
        environment: The environment.
        roles: Who asks the servers that are meant.
    """
    found: dict[str, str] = {}
    for field in (SERVER_FIELDS[role] for role in roles):
        account: ServerAccount | None = getattr(environment, field)
        if account is not None:
            called = field.replace("_", " ")
            claims = account.claimed.to_wire().items()
            found |= {f"{called}'s {name}": str(value) for name, value in claims if value}
    return found
