"""What is stated of servers is what a run can state: to the project, and to a second verifier."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.events.coherence import environment_problems, plan_problems
from safety_receipts.receipts.events.dialects import FACTS, UNSEEN
from safety_receipts.receipts.events.servers import resent_problems
from safety_receipts.receipts.events.synthetic import ENVIRONMENT, EVENT, Mixture, synthetic_plan
from safety_receipts.receipts.model.checkpoint import SamplingMethod
from safety_receipts.receipts.model.plan import (
    EngineKind,
    PlannedServer,
    PlanPredicate,
    Rejudged,
    ServerDialect,
)
from safety_receipts.receipts.model.receipt import (
    Environment,
    ServerAccount,
    ServerClaims,
    ServerObservations,
    ServerProbe,
)
from safety_receipts.runner.engines.served.dialect import dialect_of
from safety_receipts.runner.engines.served.started.arguments import argument_problem
from safety_receipts.verify.gate.servers import answering_problems

PROBES = [probe.value for probe in ServerProbe]
CLAIMS = ServerClaims(version="0.32.0", model="m", weights="m", context_limit=1024)


def second_verifier(plan: PlanPredicate, environment: Environment, event: Any) -> str | None:
    """Return what tests/docs/independent_servers.py says; None: all follows."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
    try:
        from independent_servers import check_servers  # no module of ours
    finally:
        sys.path.pop(0)
    receipt = {"environment": environment.to_wire(), "event": event.to_wire()}
    try:
        check_servers(receipt, plan.to_wire(), PROBES)
    except ValueError as error:
        return str(error)
    return None


def stated(
    dialect: ServerDialect = ServerDialect.VLLM,
    *,
    server: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    retries: int = 0,
    rejudged: bool = False,
) -> tuple[PlanPredicate, Environment, Any]:
    """Return plan, environment and event of a run on a server, with changes."""
    planned = PlannedServer(
        dialect=dialect, model="m", started=False, arguments=(), concurrency=4
    ).model_copy(update=server or {})
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 2})
    changed = plan.sampling.model_copy(update=sampling or {})
    plan = plan.model_copy(
        update={
            "engine": EngineKind.HTTP,
            "server": planned,
            "sampling": changed,
            "rejudges": Rejudged(plan="a" * 64, receipt="b" * 64) if rejudged else None,
        }
    )
    observed = ServerObservations(
        probes=FACTS[dialect].probes_of(drawn=changed.drawn_by_server),
        repeated=8,
        differed=0,
        resent=0,
    ).model_copy(update=seen or {})
    account = ServerAccount(
        **{k: getattr(planned, k) for k in ("dialect", "started", "arguments", "concurrency")},
        claimed=CLAIMS,
        seen=observed,
    )
    around = ENVIRONMENT.model_copy(
        update={"engine": EngineKind.HTTP, "device": UNSEEN, "server": account}
        | (environment or {})
    )
    return plan, around, EVENT.model_copy(update={"retries": retries})


def problems(plan: PlanPredicate, environment: Environment, event: Any) -> list[str]:
    found: Iterable[str] = [
        *plan_problems(plan),
        *environment_problems(plan, environment),
        *resent_problems(plan, event, environment),
    ]
    return [one for one in found if "dtype" not in one and "batchRule" not in one]


DRAWN = {"method": SamplingMethod.SEEDED, "temperature": "0.7"}
GOOD: dict[str, dict[str, Any]] = {
    "vllm": {},
    "llama.cpp": {"dialect": ServerDialect.LLAMACPP},
    "sglang": {"dialect": ServerDialect.SGLANG},
    "started": {
        "server": {"started": True, "arguments": ("--max-model-len", "8", "--block-size=16")}
    },
    "claimed arguments": {"server": {"arguments": ("--trust-remote-code",)}},
    "sent again": {"seen": {"resent": 3}, "retries": 3},
    "penalised": {"sampling": {"repetition_penalty": "1.2"}},
    "drawn": {"sampling": DRAWN | {"noise": "server-seed-63/1"}},
    "drawn by llama.cpp": {
        "dialect": ServerDialect.LLAMACPP,
        "sampling": DRAWN | {"noise": "server-seed-32/1"},
    },
    "judged again": {"rejudged": True},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD.keys())
def test_what_a_run_states_follows(changes: dict[str, Any]) -> None:
    given = stated(**changes)
    assert problems(*given) == []
    assert second_verifier(*given) is None


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a started sglang": (
        {"dialect": ServerDialect.SGLANG, "server": {"started": True}},
        "server.started: the tool starts no server of sglang",
    ),
    "arguments off the list": (
        {"server": {"started": True, "arguments": ("--trust-remote-code",)}},
        "server.arguments: not those with which",
    ),
    "a value of none": (
        {"server": {"started": True, "arguments": ("other-model",)}},
        "server.arguments: not those with which",
    ),
    "another's arguments": (
        {
            "dialect": ServerDialect.LLAMACPP,
            "server": {"started": True, "arguments": ("--max-model-len", "8")},
        },
        "server.arguments: not those with which",
    ),
    "ids that llama.cpp does not give": (
        {"dialect": ServerDialect.LLAMACPP, "seen": {"probes": tuple(ServerProbe)}},
        "environment.server.seen.probes: not what such a server",
    ),
    "seeds that a greedy run did not try": (
        {"seen": {"probes": tuple(ServerProbe)}},
        "environment.server.seen.probes",
    ),
    "no seeds of a run that draws": (
        {
            "sampling": DRAWN | {"noise": "server-seed-63/1"},
            "seen": {"probes": FACTS[ServerDialect.VLLM].probes_of(drawn=False)},
        },
        "environment.server.seen.probes",
    ),
    "no probes": ({"seen": {"probes": ()}}, "environment.server.seen.probes"),
    "a probe too few": (
        {"seen": {"probes": tuple(ServerProbe)[:-1]}},
        "environment.server.seen.probes",
    ),
    "probes out of order": (
        {"seen": {"probes": tuple(ServerProbe)[::-1]}},
        "environment.server.seen.probes",
    ),
    "nothing asked twice": ({"seen": {"repeated": 0}}, "environment.server.seen.repeated"),
    "sent again more than tried again": (
        {"seen": {"resent": 4}, "retries": 3},
        "environment: 4 requests sent again, of 3 retries",
    ),
    "a penalty of llama.cpp's": (
        {"dialect": ServerDialect.LLAMACPP, "sampling": {"repetition_penalty": "1.2"}},
        "sampling.repetitionPenalty: no server of llamacpp",
    ),
    "a penalty of sglang's": (
        {"dialect": ServerDialect.SGLANG, "sampling": {"repetition_penalty": "1.2"}},
        "sampling.repetitionPenalty: no server of sglang",
    ),
    "noise of no name": (
        {"sampling": DRAWN | {"noise": "server-seed-anything/9"}},
        "sampling.noise: servers of vllm are given seeds by server-seed-63/1",
    ),
    "another's noise": (
        {"sampling": DRAWN | {"noise": "server-seed-32/1"}},
        "sampling.noise: servers of vllm",
    ),
    "a device": ({"environment": {"device": "NVIDIA H200"}}, "environment.device"),
    "torch": ({"environment": {"torch": "2.9"}}, "environment.torch: what a server runs with"),
    "attention": ({"environment": {"attention": "sdpa"}}, "environment.attention"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD.keys())
def test_what_no_run_can_state_does_not_follow(changes: dict[str, Any], said: str) -> None:
    given = stated(**changes)
    found = problems(*given)
    assert len(found) == 1
    assert found[0].startswith(said), found
    assert second_verifier(*given) is not None


def test_a_judges_server_draws_nothing_and_its_requests_count_where_the_event_is_its_own() -> None:
    plan, environment, event = stated()
    account = environment.server
    assert account is not None
    asked = account.model_copy(
        update={
            "seen": account.seen.model_copy(
                update={
                    "probes": FACTS[ServerDialect.VLLM].probes_of(drawn=False),
                    "resent": 2,
                }
            )
        }
    )
    assert ServerProbe.SEEDS not in asked.seen.probes
    both = environment.model_copy(update={"judge_server": asked})
    assert list(resent_problems(plan, event, both)) != []
    again, _, _ = stated(rejudged=True)
    assert list(resent_problems(again, event, both)) == []
    planned = plan.model_copy(update={"judge_server": plan.server})
    assert not any("probes" in one for one in environment_problems(planned, both))
    seen = account.seen.model_copy(update={"probes": tuple(ServerProbe)})
    drawn = account.model_copy(update={"seen": seen})
    seeds = environment.model_copy(update={"judge_server": drawn})
    found = list(environment_problems(planned, seeds))
    assert any(one.startswith("environment.judgeServer.seen.probes") for one in found)


@pytest.mark.parametrize("kind", list(ServerDialect))
def test_facts_are_those_of_what_speaks_and_starts_servers(kind: ServerDialect) -> None:
    facts, dialect = FACTS[kind], dialect_of(kind)
    assert (dialect.noise, dialect.probes) == (facts.noise, facts.probes)
    for name in sorted(facts.arguments or ()):
        assert facts.starts_with([name])
        assert name in str(argument_problem(kind, ["--no-such-argument"]))
    if facts.arguments is None:
        assert not facts.starts_with([])


def test_a_gate_takes_no_server_for_repeatable_that_was_never_asked_twice() -> None:
    _, environment, _ = stated(seen={"repeated": 0})
    said = list(answering_problems(environment.server, accepted=None, repeatable=True))
    assert said == ["its server was never asked the same twice"]
    assert list(answering_problems(environment.server, accepted=None, repeatable=False)) == []
