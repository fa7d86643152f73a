"""A sealed event from beginning to end: seal the plan, run it, seal the receipt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safety_receipts.receipts.beacon.rounds import check_round
from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT, RESPONSES_FILE, Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    InterruptedByUserError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.engines.engine import Tried
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import (
    digest_of,
    find_plan,
    refuse_chosen_round,
    renderer_of,
    write_plan,
)
from safety_receipts.runner.run.ahead.resuming import keep_prompts, render
from safety_receipts.runner.run.counting import RenderedPlan
from safety_receipts.runner.run.execute import CommittedCounts, RunStack, run_of
from safety_receipts.runner.run.journal import Journal, JournalEvent
from safety_receipts.runner.run.journal_file import remove_journal, run_journal_path
from safety_receipts.runner.run.judging import UnitStack
from safety_receipts.runner.run.loaded import LoadedStack, MakeStack
from safety_receipts.runner.run.seal import (
    MEMORY_CLASS,
    check_fitter,
    environment_of,
    seal_journal,
    stack_of,
)
from safety_receipts.runner.run.sealed import SealedRun
from safety_receipts.runner.run.served import LongestAsked, note_tried, with_counts
from safety_receipts.runner.run.stopping import refuse_if_none_scored

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import RecordedEntry, StatementLog


@dataclass(frozen=True)
class RunOptions:
    """What a user decides about a run beside its plan; the receipt tells of each."""

    memory: int | None = None
    """Bound on the memory of the engine, and of each judge, in bytes; None: what the run was
    started with, or else a share of what is free."""
    beacon_value: str | None = None
    """The beacon's value, where the plan names a round."""
    beacon_signature: str | None = None
    """The signature of that round, of which the value is the SHA-256; None: it is not given."""
    restart: bool = False
    """Discard what was recorded and start over."""
    retry_failed: bool = False
    """Try points again that failed, or that the judge failed on."""
    accept_failed: bool = False
    """Go on, and seal, with such points."""
    accept_unscored: bool = False
    """Go on, and seal, although nothing can be scored."""
    show_rates: bool = False
    """Running rates are shown: a look."""

    @property
    def beacon_said(self) -> str | None:
        """What is kept of the beacon's round: its signature, or else its value."""
        return self.beacon_signature or self.beacon_value


class RunWatcher(Protocol):
    """Is told how a run goes on."""

    def counting(self, done: int, total: int) -> None:
        """Hear that prompts are being counted."""

    def noted(self, what: str) -> None:
        """Hear of something that costs time, and nothing else."""

    def running(self, done: int, total: int) -> None:
        """Hear that the run starts, with so many points finished before."""

    def committed(self, what: CommittedCounts) -> None:
        """Hear of a commit."""

    def logged(self, what: RecordedEntry) -> None:
        """Hear that a statement is in a log."""


@dataclass(frozen=True)
class _PreparedRun:
    """What is there before a new run's plan is signed."""

    loaded: LoadedStack[UnitStack]
    """Engine and judges."""
    rendered: RenderedPlan
    """Every prompt, counted."""
    tried: Mapping[ServerRole, Tried]
    """What trying the servers showed, by who asks them."""


@dataclass(frozen=True)
class EventRunner:
    """Runs a plan into a bundle."""

    resolved: ResolvedPlan
    """The plan."""
    folder: Path
    """The bundle; made if it does not exist."""
    signer: Signer
    """Signs plan and receipt."""
    options: RunOptions
    """What the user decides."""
    make_stack: MakeStack
    """Loads engine and judges."""
    watcher: RunWatcher
    """Is told how it goes."""
    log: StatementLog | None = None
    """Plan and receipt are added to it; None: to none."""

    @property
    def plan(self) -> PlanPredicate:
        """What is sealed before the run."""
        return self.resolved.predicate

    def run(self) -> SealedRun:
        """Run the plan, or go on with it, and seal the receipt.

        Raises:
            InterruptedByUserError: The user stopped it; what was committed stays.
            IncompleteError: Points failed, nothing could be scored, a prompt is too long, the
                beacon's value is missing, what fits the findings is not installed, or too few
                witnesses have seen the plan or the receipt in the log.
            ReceiptsError: A model cannot be loaded; of a new run nothing is left behind then.
            UsageError: The folder holds another plan, or a run made with another stack.
            IntegrityError: The folder holds a receipt that is not this plan's.
            FileAccessError: The folder cannot be written.
        """
        if self._has_receipt():
            return self._sealed_before()
        check_fitter()
        if find_plan(self.resolved, self.folder, self.signer) is None:
            refuse_chosen_round(self.plan)
        begun = run_journal_path(self.folder).exists()
        self._check_beacon(begun=begun)
        ready = None
        if not begun:
            # What ends here leaves nothing behind: prompts are counted once a beacon's value
            # settles their draws, and models loaded, before the plan is signed.
            rendered = self._rendered(self.options.beacon_value)
            loaded = self.make_stack(self.resolved, self.options.memory)
            ready = _PreparedRun(loaded, rendered, self._try(loaded.stack, rendered))
            write_plan(self.resolved, self.folder, self.signer)
        path = run_journal_path(self.folder)
        with Journal.open(path, digest_of(self.plan), self.options.beacon_said) as journal:
            # Another process may have sealed it while this one was counting.
            sealed = None if self._has_receipt() else self._run_and_seal(journal, ready)
        if sealed is None:
            if not begun:
                remove_journal(self.folder)  # made a moment ago, and empty
            return self._sealed_before()
        remove_journal(self.folder)
        return sealed

    def _rendered(self, beacon_value: str | None) -> RenderedPlan:
        watcher = self.watcher
        return render(
            self.resolved, beacon_value, watcher.counting, folder=self.folder, note=watcher.noted
        )

    def _rendered_again(self, journal: Journal) -> RenderedPlan | None:
        """Return the prompts of a run that goes on; None: none are asked.

        Before models are loaded: processes are forked for it, and devices do not wait.
        """
        options = self.options
        if len(journal.done()) == self.plan.points and not (
            options.restart or options.retry_failed
        ):
            return None
        given = options.beacon_value if options.restart else None
        rendered = self._rendered(given or journal.beacon)
        self._keep(rendered, given or journal.beacon)
        return rendered

    def _keep(self, rendered: RenderedPlan, beacon_value: str | None) -> None:
        keep_prompts(rendered, self.folder, renderer_of(self.resolved, beacon_value))

    def _try(self, stack: UnitStack, rendered: RenderedPlan) -> dict[ServerRole, Tried]:
        if not isinstance(stack, RunStack):
            return {}  # workers are refused where there is a server
        new_tokens, queries = self.plan.sampling.max_new_tokens, self.resolved.artifacts.texts
        longest = LongestAsked.of(rendered.counts.longest, new_tokens, queries.queries)
        return stack.servers.preflight(longest)

    def _load_again(self, journal: Journal) -> LoadedStack[UnitStack]:
        """Load what a run goes on with."""
        memory = self.options.memory
        if memory is None and journal.stack is not None and journal.done():
            # The same bound cuts the same batches, whatever is free today.
            stated = journal.stack.get(MEMORY_CLASS)
            memory = None if stated is None else int(stated.split()[0])
        return self.make_stack(self.resolved, memory)

    def _run_and_seal(self, journal: Journal, ready: _PreparedRun | None) -> SealedRun:
        rendered = self._rendered_again(journal) if ready is None else ready.rendered
        # Before anything is thrown away: a device that is not there must cost nothing.
        loaded = self._load_again(journal) if ready is None else ready.loaded
        # Where the run began it is there, unless somebody took it away.
        plan_envelope = write_plan(self.resolved, self.folder, self.signer)
        self._log_plan(plan_envelope, begun=journal.happened(JournalEvent.START) > 0)
        identity = loaded.stack.identity
        environment = environment_of(identity, self.plan, loaded.memory)
        if isinstance(loaded.stack, RunStack):
            environment = loaded.stack.servers.in_environment(environment)
        held = stack_of(environment) | dict(loaded.judge_bounds)
        if self.options.restart:
            journal.start_over(now(), held, self.options.beacon_said)
        journal.hold_to(held)
        journal.hold_to_beacon(self.options.beacon_said)
        if self.options.retry_failed:
            journal.forget_failed(now())
        if ready is not None:
            self._keep(ready.rendered, journal.beacon)
        self._execute(journal, loaded.stack, rendered, None if ready is None else ready.tried)
        outcomes = self._checked(journal)
        if isinstance(loaded.stack, RunStack):
            loaded.stack.servers.confirm()
            loaded.stack.servers.hold_to_claims()
        receipt = seal_journal(
            self.folder,
            journal,
            plan_envelope=plan_envelope,
            plan=self.plan,
            environment=with_counts(environment, journal),
            signer=self.signer,
        )
        self._log_receipt(receipt)
        return SealedRun(receipt, outcomes, before=False)

    def _log_plan(self, envelope: Envelope, *, begun: bool) -> None:
        """Log the plan, unless it is logged; nothing is generated before witnesses have seen it.

        Args:
            envelope: The plan.
            begun: Whether the run has begun: what is logged then shows nothing of the time before.

        Raises:
            UsageError: It has, and the plan was not logged.
        """
        if self.log is None:
            return
        file = self.folder / PLAN
        if begun and self.log.recorded(envelope, file, self.folder) is None:
            raise UsageError(
                "was not logged before its run began",
                file=file,
                hint="go on without --log, or begin in a new folder",
            )
        self.watcher.logged(self.log.record(envelope, file, self.folder))

    def _log_receipt(self, envelope: Envelope) -> None:
        """Log the receipt, unless it is logged."""
        if self.log is not None:
            self.watcher.logged(self.log.record(envelope, self.folder / RECEIPT, self.folder))

    def _execute(
        self,
        journal: Journal,
        stack: UnitStack,
        rendered: RenderedPlan | None,
        tried: Mapping[ServerRole, Tried] | None,
    ) -> None:
        journal.note(JournalEvent.START, now())
        points, done = self.plan.points, len(journal.done())
        if done == points or rendered is None:
            return
        note_tried(journal, self._try(stack, rendered) if tried is None else tried, now())
        if self.options.show_rates:
            journal.note(JournalEvent.LOOK, now())
        self.watcher.running(done, points)
        seed = event_seed(digest_of(self.plan), journal.beacon)
        run = run_of(self.resolved, stack, journal.secret, seed)
        with _stop_noted(journal, points):
            run.execute(
                rendered.points,
                journal,
                self.watcher.committed,
                now,
                accept_failed=self.options.accept_failed,
                accept_unscored=self.options.accept_unscored,
            )

    def _checked(self, journal: Journal) -> dict[tuple[Outcome, Reason | None], int]:
        """Return how many points ended how, if that is accepted."""
        outcomes = journal.outcomes()
        again = {
            reason: number
            for (_, reason), number in outcomes.items()
            if reason in _FAILURES and reason is not Reason.CONTEXT_OVERFLOW
        }
        if again and not self.options.accept_failed:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in sorted(again.items()))
            raise IncompleteError(
                f"{sum(again.values()):,} points failed ({reasons}); nothing is sealed yet",
                hint="try them again with --retry-failed, or seal them as they are with "
                "--accept-failed",
            )
        if not self.options.accept_unscored:
            refuse_if_none_scored(outcomes)
        return outcomes

    def _has_receipt(self) -> bool:
        path = self.folder / RECEIPT
        return path.is_symlink() or path.exists()

    def _sealed_before(self) -> SealedRun:
        """Return what is sealed here, if it is this plan's; nothing is changed otherwise."""
        options = self.options
        if (
            options.restart
            or options.retry_failed
            or options.accept_failed
            or options.accept_unscored
        ):
            raise UsageError("is sealed and stays so", file=self.folder, hint="name a new folder")
        envelope = write_plan(self.resolved, self.folder, self.signer)  # there: writes nothing
        bundle = Bundle(self.folder)
        receipt = bundle.receipt.statement.predicate
        signed = bundle.receipt_envelope.signed_by_all(self.signer)
        if not signed or receipt.plan.digest != envelope.digest:
            raise IntegrityError(
                "is not a receipt of this plan by this key",
                file=self.folder / RECEIPT,
                hint="move it away, or name a new folder",
            )
        for name in (POINTS_FILE, RESPONSES_FILE):
            if not bundle.has(name):
                raise IntegrityError("the bundle is not whole", file=self.folder / name)
        self._log_plan(envelope, begun=True)
        self._log_receipt(bundle.receipt_envelope)
        path = run_journal_path(self.folder)
        if path.exists():  # a kill between the receipt and the journal's removal leaves one
            with Journal.open(path, envelope.digest) as journal:
                if journal.event_id != receipt.event.id:
                    raise IntegrityError(
                        "is of another run than the receipt beside it",
                        file=path,
                        hint="move one of them away",
                    )
            remove_journal(self.folder)
        return SealedRun.from_bundle(bundle)

    def _check_beacon(self, *, begun: bool) -> None:
        beacon, value = self.plan.beacon, self.options.beacon_value
        if beacon is None and value is not None:
            raise UsageError("the plan names no beacon, so it takes no beacon value")
        if beacon is not None and value is None and not begun:  # a run that began knows it
            raise IncompleteError(
                f"the plan waits for round {beacon.round} of {beacon.chain}",
                hint="seal it with `receipts plan --seal` now, and give --beacon-value when the "
                "round is out",
            )
        signature = self.options.beacon_signature
        if beacon is not None and value is not None and signature is not None:
            found = check_round(beacon.chain, beacon.round, value, signature)
            if found.status is CheckStatus.FAILED:
                raise IntegrityError(found.detail, hint="give the signature of the planned round")


_FAILURES = (
    Reason.ENGINE_ERROR,
    Reason.OUT_OF_MEMORY,
    Reason.CONTEXT_OVERFLOW,
    Reason.JUDGE_ERROR,
)


def now() -> str:
    """Return the present moment as the wire spells it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
