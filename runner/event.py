"""A sealed event from beginning to end: seal the plan, run it, seal the receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from receipts.bundle import (
    MAX_PLAN_BYTES,
    PLAN,
    RECEIPT,
    Bundle,
    BundleWriter,
    parse_signed,
    read_envelope,
)
from receipts.canonical import Sha256, canonical_bytes, event_seed, sha256_hex
from receipts.dsse import Envelope
from receipts.errors import IncompleteError, InterruptedByUserError, UsageError
from receipts.keys import Signer, TrustSet
from receipts.model.checkpoint import ContextOverflow
from receipts.model.plan import PlanPredicate
from receipts.model.point import Outcome, Reason
from receipts.model.receipt import Environment
from receipts.model.statement import PlanStatement
from receipts.seal import plan_statement, seal_plan
from runner.counting import PromptCounts, count_prompts
from runner.execute import Committed, Run, Stack
from runner.journal import Journal, JournalEvent, journal_path, remove_journal
from runner.plan import ResolvedPlan
from runner.rendering import Renderer
from runner.seal import MEMORY, environment_of, seal_journal, stack_of

MakeStack = Callable[[ResolvedPlan, int | None], "LoadedStack"]
"""Loads models, given the bound on the engine's memory in bytes (None: the engine's own)."""


@dataclass(frozen=True)
class LoadedStack:
    """What a run is made with, and its memory bound."""

    stack: Stack
    """Engine, judges, reader."""
    memory: int | None
    """Bound on the engine's memory in bytes, as it was chosen; None: it has none."""


@dataclass(frozen=True)
class RunOptions:
    """What a user decides about a run, none of which changes what is sealed but the counters."""

    memory: int | None = None
    """Bound on the engine's memory in bytes; None: what the run was started with, or else the
    engine's own choice."""
    beacon_value: str | None = None
    """The beacon's value, where the plan names a round."""
    restart: bool = False
    """Throw away what was recorded and start over."""
    retry_failed: bool = False
    """Try failed points again."""
    accept_failed: bool = False
    """Seal with failed points."""
    show_rates: bool = False
    """Running rates are shown: a look."""


class Watcher(Protocol):
    """Is told how a run goes on."""

    def counting(self, done: int, total: int) -> None:
        """Hear that prompts are being counted."""

    def running(self, done: int, total: int) -> None:
        """Hear that the run starts, with so many points finished before."""

    def committed(self, what: Committed) -> None:
        """Hear of a commit."""


@dataclass(frozen=True)
class Sealed:
    """A sealed event."""

    envelope: Envelope
    """The receipt."""
    failed: int
    """Points that failed."""
    before: bool
    """Whether it had been sealed before, so that nothing was run."""


def digest_of(plan: PlanPredicate) -> Sha256:
    """Return the digest that a plan has once it is sealed: signing does not change it."""
    return sha256_hex(canonical_bytes(plan_statement(plan).to_wire()))


def renderer_of(resolved: ResolvedPlan, beacon_value: str | None) -> Renderer:
    """Return the renderer of a plan's prompts."""
    seed = event_seed(digest_of(resolved.predicate), beacon_value)
    return Renderer(resolved.predicate, resolved.artifacts, seed)


def run_of(resolved: ResolvedPlan, stack: Stack, secret: bytes, beacon_value: str | None) -> Run:
    """Return what runs the points of a plan."""
    digest = digest_of(resolved.predicate)
    seed = event_seed(digest, beacon_value)
    return Run(
        resolved.predicate,
        plan_digest=digest,
        seed=seed,
        renderer=Renderer(resolved.predicate, resolved.artifacts, seed),
        stack=stack,
        secret=secret,
    )


def write_plan(resolved: ResolvedPlan, folder: Path, signer: Signer) -> Envelope:
    """Seal a plan into a bundle, or return the one that is there.

    Raises:
        UsageError: The bundle holds another plan, or one that another key signed.
        FileAccessError: The folder cannot be written.
    """
    path = folder / PLAN
    if not path.exists():
        envelope = seal_plan(resolved.predicate, signer)
        BundleWriter(folder).write_plan(envelope)
        return envelope
    envelope = read_envelope(path, MAX_PLAN_BYTES)
    if envelope.digest != digest_of(resolved.predicate):
        sealed = parse_signed(envelope, PlanStatement, "plan-statement", path)
        place = first_difference(sealed.statement.predicate.to_wire(), resolved.predicate.to_wire())
        raise UsageError(
            f"the plan sealed here is another: {place or 'its form'} differs",
            file=path,
            hint=f"put back what {resolved.file} resolved to then, or name a new folder",
        )
    if not envelope.signed_by(TrustSet([signer.public])):
        raise UsageError(
            "was signed with another key", file=path, hint="give --key the key that signed it"
        )
    return envelope


def first_difference(before: Any, after: Any, place: str = "") -> str | None:
    """Return the path of the first value in which two JSON documents differ, or None."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            step = f"{place}.{key}" if place else key
            if (key in before) != (key in after):
                return step
            if (found := first_difference(before[key], after[key], step)) is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(after, list):
        for i, (old, new) in enumerate(zip(before, after, strict=False)):
            if (found := first_difference(old, new, f"{place}[{i}]")) is not None:
                return found
        return None if len(before) == len(after) else f"the length of {place}"
    return None if before == after and type(before) is type(after) else place


def run_event(
    resolved: ResolvedPlan,
    folder: Path,
    signer: Signer,
    *,
    options: RunOptions,
    make_stack: MakeStack,
    watcher: Watcher,
) -> Sealed:
    """Run a plan into a bundle, or go on with it, and seal the receipt.

    Args:
        resolved: The plan.
        folder: The bundle; made if it does not exist.
        signer: Signs plan and receipt.
        options: What the user decides.
        make_stack: Loads engine and judges.
        watcher: Is told how it goes.

    Raises:
        InterruptedByUserError: The user stopped it; what was committed stays.
        IncompleteError: Points failed, a prompt is too long, or the beacon's value is missing.
        UsageError: The folder holds another plan, or a run made with another stack.
        FileAccessError: The folder cannot be written.
    """
    plan = resolved.predicate
    if (folder / RECEIPT).exists():
        return _sealed_before(resolved, folder, signer)
    _check_beacon(plan, options.beacon_value, folder)
    counted = (folder / PLAN).exists() and plan.beacon is None
    if plan.prompt.context_overflow is ContextOverflow.ABORT and not counted:
        count(resolved, options.beacon_value, watcher.counting)
    envelope = write_plan(resolved, folder, signer)
    with Journal.open(journal_path(folder), envelope.digest, options.beacon_value) as journal:
        if options.restart:
            journal.discard(now())
        loaded, environment = _load(resolved, journal, options, make_stack)
        if options.retry_failed:
            journal.forget_failed(now())
        run = run_of(resolved, loaded.stack, journal.secret, journal.beacon)
        _execute(run, journal, options, watcher)
        failed = _check_failed(journal, accept=options.accept_failed)
        receipt = seal_journal(
            folder,
            journal,
            plan_envelope=envelope,
            plan=plan,
            environment=environment,
            signer=signer,
        )
    remove_journal(folder)
    return Sealed(receipt, failed, before=False)


def count(
    resolved: ResolvedPlan, beacon_value: str | None, watch: Callable[[int, int], None]
) -> PromptCounts:
    """Count every prompt of a plan.

    Raises:
        IncompleteError, MalformedError: As :func:`runner.counting.count_prompts`.
    """
    return count_prompts(renderer_of(resolved, beacon_value), watch)


def now() -> str:
    """Return the present moment as the wire spells it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sealed_before(resolved: ResolvedPlan, folder: Path, signer: Signer) -> Sealed:
    write_plan(resolved, folder, signer)  # refuses another plan or key; writes nothing
    remove_journal(folder)  # a kill between the receipt and this leaves one
    bundle = Bundle(folder)
    conditions = bundle.receipt.statement.predicate.conditions
    failed = sum(
        condition.counts.failed + (condition.control.counts.failed if condition.control else 0)
        for condition in conditions
    )
    return Sealed(bundle.receipt_envelope, failed, before=True)


def _check_beacon(plan: PlanPredicate, value: str | None, folder: Path) -> None:
    if plan.beacon is None:
        if value is not None:
            raise UsageError("the plan names no beacon, so that no value goes with it")
        return
    # A resumed run knows the value.
    if value is None and not journal_path(folder).exists():
        raise IncompleteError(
            f"the plan waits for round {plan.beacon.round} of {plan.beacon.chain}",
            hint="seal it with `receipts plan --seal` now, and give --beacon-value when the "
            "round is out",
        )


def _load(
    resolved: ResolvedPlan, journal: Journal, options: RunOptions, make_stack: MakeStack
) -> tuple[LoadedStack, Environment]:
    memory = options.memory
    if memory is None and journal.stack is not None:
        # The same bound cuts the same batches, whatever is free today.
        stated = journal.stack.get(MEMORY)
        memory = None if stated is None else int(stated.split()[0])
    loaded = make_stack(resolved, memory)
    environment = environment_of(loaded.stack.engine.identity, resolved.predicate, loaded.memory)
    journal.hold_to(stack_of(environment))
    return loaded, environment


def _execute(run: Run, journal: Journal, options: RunOptions, watcher: Watcher) -> None:
    points, done = run.plan.points, len(journal.done())
    if done == points:
        return
    journal.note(JournalEvent.START, now())
    if options.show_rates:
        journal.note(JournalEvent.LOOK, now())
    watcher.running(done, points)
    with _stop_noted(journal, points):
        run.execute(journal, watcher.committed)


@contextmanager
def _stop_noted(journal: Journal, points: int) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        journal.note(JournalEvent.STOP, now())
        kept = len(journal.done())
        raise InterruptedByUserError(
            f"interrupted; {kept:,} of {points:,} points are kept",
            hint="run the same command again to go on",
        ) from None
    journal.note(JournalEvent.STOP, now())


def _check_failed(journal: Journal, *, accept: bool) -> int:
    """Return how many points failed, if that is accepted."""
    failed = {
        reason: number
        for (outcome, reason), number in journal.outcomes().items()
        if outcome is Outcome.FAILED
    }
    again = {r: number for r, number in failed.items() if r != Reason.CONTEXT_OVERFLOW}
    if again and not accept:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(again.items()))
        raise IncompleteError(
            f"{sum(again.values()):,} points failed ({reasons}); nothing is sealed yet",
            hint="try them again with --retry-failed, or seal them as failed with --accept-failed",
        )
    return sum(failed.values())
