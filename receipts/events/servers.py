"""Do the servers of a plan, and what a run states of them, contradict it?"""

from __future__ import annotations

from collections.abc import Iterator

from safety_receipts.receipts.model.checkpoint import SamplingMethod
from safety_receipts.receipts.model.judge import traits_of
from safety_receipts.receipts.model.plan import PlannedServer, PlanPredicate, asks_server
from safety_receipts.receipts.model.receipt import Environment, ServerAccount, ServerProbe


def server_problems(plan: PlanPredicate) -> Iterator[str]:
    """Yield what in a plan contradicts the servers that it names."""
    if (plan.server is not None) != asks_server(plan.engine):
        yield "server: given exactly where the engine is http"
    if asks_server(plan.engine) and not plan.checkpoint.files:
        yield "checkpoint.files: with the engine http, tokenizer and template come from them"
    seeded = plan.sampling.method is SamplingMethod.SEEDED
    if plan.sampling.drawn_by_server != (plan.server is not None and seeded):
        yield "sampling.noise: a server, and nothing else, draws with noise of its own"
    for name, server, judge in (
        ("judgeServer", plan.judge_server, plan.judge),
        ("secondJudgeServer", plan.second_judge_server, plan.judge.second),
    ):
        if server is None:
            continue
        if judge is None or judge.remote or not traits_of(judge.kind).generates:
            yield f"{name}: for a judge alone that generates with weights whose files are hashed"


def account_problems(plan: PlanPredicate, environment: Environment) -> Iterator[str]:
    """Yield what in the accounts of a run's servers contradicts the plan, or itself."""
    for name, planned, account in (
        ("server", plan.server, environment.server),
        ("judgeServer", plan.judge_server, environment.judge_server),
        ("secondJudgeServer", plan.second_judge_server, environment.second_judge_server),
    ):
        yield from _account_problems(f"environment.{name}", planned, account)


def _account_problems(
    where: str, planned: PlannedServer | None, account: ServerAccount | None
) -> Iterator[str]:
    if planned is None or account is None:
        if (planned is None) != (account is None):
            yield f"{where}: given exactly where the plan names a server"
        return
    for name in ("dialect", "started", "arguments", "concurrency"):
        if getattr(account, name) != getattr(planned, name):
            yield f"{where}.{name} differs from the plan's"
    probes = account.seen.probes
    if list(probes) != [probe for probe in ServerProbe if probe in probes]:
        yield f"{where}.seen.probes: out of order, or repeated"
    if account.seen.differed > account.seen.repeated:
        yield f"{where}.seen.differed: more than were held against an earlier answer"
