"""Do the servers of a plan, and what a run states of them, contradict it?"""

from __future__ import annotations

from collections.abc import Iterator

from safety_receipts.receipts.events.dialects import FACTS, UNSEEN
from safety_receipts.receipts.model.checkpoint import SamplingMethod
from safety_receipts.receipts.model.judge import traits_of
from safety_receipts.receipts.model.plan import (
    PlannedServer,
    PlanPredicate,
    asks_server,
)
from safety_receipts.receipts.model.receipt import Environment, Event, ServerAccount


def server_problems(plan: PlanPredicate) -> Iterator[str]:
    """Yield what in a plan contradicts the servers that it names."""
    if (plan.server is not None) != asks_server(plan.engine):
        yield "server: given exactly where the engine is http"
    if asks_server(plan.engine) and not plan.checkpoint.files:
        yield "checkpoint.files: with the engine http, tokenizer and template come from them"
    seeded = plan.sampling.method is SamplingMethod.SEEDED
    if plan.sampling.drawn_by_server != (plan.server is not None and seeded):
        yield "sampling.noise: a server, and nothing else, draws with noise of its own"
    if plan.server is not None:
        yield from _drawing_problems(plan, plan.server)
    yield from _start_problems(plan)
    for name, server, judge in (
        ("judgeServer", plan.judge_server, plan.judge),
        ("secondJudgeServer", plan.second_judge_server, plan.judge.second),
    ):
        if server is None:
            continue
        if judge is None or judge.remote or not traits_of(judge.kind).generates:
            yield f"{name}: for a judge alone that generates with weights whose files are hashed"


def _drawing_problems(plan: PlanPredicate, server: PlannedServer) -> Iterator[str]:
    facts, sampling = FACTS[server.dialect], plan.sampling
    if sampling.noise is not None and sampling.noise != facts.noise:
        yield f"sampling.noise: servers of {server.dialect.value} are given seeds by {facts.noise}"
    if sampling.repetition_penalty is not None and not facts.penalises:
        yield f"sampling.repetitionPenalty: no server of {server.dialect.value} applies a plan's"


def _start_problems(plan: PlanPredicate) -> Iterator[str]:
    for name, server in (
        ("server", plan.server),
        ("judgeServer", plan.judge_server),
        ("secondJudgeServer", plan.second_judge_server),
    ):
        if server is None or not server.started:
            continue
        if FACTS[server.dialect].arguments is None:
            yield f"{name}.started: the tool starts no server of {server.dialect.value}"
        elif not FACTS[server.dialect].starts_with(server.arguments):
            yield f"{name}.arguments: not those with which the tool starts a server"


def resent_problems(plan: PlanPredicate, event: Event, environment: Environment) -> Iterator[str]:
    """Yield what in the counts of requests that were sent again contradicts the event's retries.

    An event that is another's, judged again, has the retries of that one: what its own judges'
    servers were sent again is none of them.
    """
    asked = [environment.server]
    if plan.rejudges is None:
        asked += environment.judge_servers
    resent = sum(account.seen.resent for account in asked if account is not None)
    if resent > event.retries:
        yield f"environment: {resent:,} requests sent again, of {event.retries:,} retries"


def account_problems(plan: PlanPredicate, environment: Environment) -> Iterator[str]:
    """Yield what in the accounts of a run's servers contradicts the plan, or itself."""
    for name, planned, account in (
        ("server", plan.server, environment.server),
        ("judgeServer", plan.judge_server, environment.judge_server),
        ("secondJudgeServer", plan.second_judge_server, environment.second_judge_server),
    ):
        # A judge's verdict is never drawn.
        drawn = name == "server" and plan.sampling.drawn_by_server
        yield from _account_problems(f"environment.{name}", planned, account, drawn=drawn)
    if asks_server(environment.engine):
        if environment.device != UNSEEN:
            yield f"environment.device: what a server runs on is {UNSEEN!r}"
        for part in ("driver", "torch", "transformers", "attention"):
            if getattr(environment, part) is not None:
                yield f"environment.{part}: what a server runs with is not seen"


def _account_problems(
    where: str, planned: PlannedServer | None, account: ServerAccount | None, *, drawn: bool
) -> Iterator[str]:
    if planned is None or account is None:
        if (planned is None) != (account is None):
            yield f"{where}: given exactly where the plan names a server"
        return
    for name in ("dialect", "started", "arguments", "concurrency"):
        if getattr(account, name) != getattr(planned, name):
            yield f"{where}.{name} differs from the plan's"
    if account.seen.probes != FACTS[account.dialect].probes_of(drawn=drawn):
        yield f"{where}.seen.probes: not what such a server is tried for, in that order"
    if not account.seen.repeated:
        yield f"{where}.seen.repeated: every server is asked something twice before a run"
    if account.seen.differed > account.seen.repeated:
        yield f"{where}.seen.differed: more than were held against an earlier answer"
