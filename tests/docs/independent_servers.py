"""What a receipt states of servers, for independent.py."""

from typing import Any

Document = dict[str, Any]

NOISE = {
    "vllm": "server-seed-63/1",
    "llamacpp": "server-seed-32/1",
    "sglang": "server-seed-63/1",
}
STARTED = {
    "vllm": [
        "--attention-backend",
        "--block-size",
        "--data-parallel-size",
        "--disable-log-stats",
        "--enable-chunked-prefill",
        "--enable-prefix-caching",
        "--enforce-eager",
        "--gpu-memory-utilization",
        "--kv-cache-memory-bytes",
        "--max-model-len",
        "--max-num-batched-tokens",
        "--max-num-seqs",
        "--no-enable-chunked-prefill",
        "--no-enable-prefix-caching",
        "--pipeline-parallel-size",
        "--tensor-parallel-size",
    ],
    "llamacpp": [
        "--batch-size",
        "--cache-type-k",
        "--cache-type-v",
        "--ctx-size",
        "--flash-attn",
        "--n-gpu-layers",
        "--no-warmup",
        "--parallel",
        "--threads",
        "--threads-batch",
        "--ubatch-size",
    ],
}


def hold(fact: bool, what: str) -> None:
    """Names what does not follow, unless it does."""
    if not fact:
        raise ValueError(what)


def check_servers(receipt: Document, plan: Document, probes: list[str]) -> set[str]:
    """Holds what is stated of servers to the plan; the limits that nothing asks for."""
    environment, sampling = receipt["environment"], plan["sampling"]
    claimed, differed, resent = set(), set(), 0
    hold(("server" in plan) == (plan["engine"] == "http"), "plan.server")
    for name in ("server", "judgeServer", "secondJudgeServer"):
        served, account = plan.get(name), environment.get(name)
        hold((account is not None) == (served is not None), f"environment.{name}")
        if served is None or account is None:
            continue
        if name != "server":
            judge = plan["judge"] if name == "judgeServer" else plan["judge"]["second"]
            hold(judge is not None and not judge["remote"], f"plan.{name}: no judge asks it")
            hold(judge["kind"] in ("chat", "wildguard"), f"plan.{name}: of no such judge")
        drawn = (sampling["noise"] or "").startswith("server-seed-")
        check_account(name, served, account, probes, drawn)
        seen, whose = account["seen"], "" if name == "server" else "judge-"
        if name == "server" or not plan.get("rejudges"):
            resent += seen["resent"]
        if not served["started"]:
            claimed.add(f"{whose}weights-claimed-not-seen")
        if seen["differed"]:
            differed.add(f"{whose}server-not-repeatable")
    hold(resent <= receipt["event"]["retries"], "more was sent again than tried again")
    if "server" in plan:
        check_served(environment, plan["server"]["dialect"], sampling)
    of_servers = {
        *(f"{whose}weights-claimed-not-seen" for whose in ("", "judge-")),
        *(f"{whose}server-not-repeatable" for whose in ("", "judge-")),
        "server-draws-not-replayable",
    }
    drawn = (sampling["noise"] or "").startswith("server-seed-")
    return of_servers - claimed - differed - ({"server-draws-not-replayable"} if drawn else set())


def check_account(
    name: str, served: Document, account: Document, probes: list[str], drawn: bool
) -> None:
    """Holds one account to the plan, and to what a server of its kind can be asked."""
    where, dialect, seen = f"environment.{name}", served["dialect"], account["seen"]
    for field in ("dialect", "started", "arguments", "concurrency"):
        hold(account[field] == served[field], f"{where}.{field}")
    spared = {"token-ids"} if dialect == "llamacpp" else set()
    spared |= set() if name == "server" and drawn else {"seeds"}
    tried = [probe for probe in probes if probe not in spared]
    hold(seen["probes"] == tried, f"{where}.seen.probes")
    hold(seen["differed"] <= seen["repeated"], f"{where}.seen.differed")
    hold(seen["repeated"] > 0, f"{where}.seen.repeated")
    if served["started"]:
        hold(dialect in STARTED, f"plan.{name}: no such server is started")
        before = ""
        for argument in served["arguments"]:
            known = argument.partition("=")[0] in STARTED[dialect]
            value = not argument.startswith("-") and before.startswith("-")
            hold(known or value, f"plan.{name}.arguments")
            before = argument


def check_served(environment: Document, dialect: str, sampling: Document) -> None:
    """Holds sampling and environment to an engine that is behind a server."""
    hold(sampling["noise"] in (None, NOISE[dialect]), "plan.sampling.noise")
    penalised = sampling.get("repetitionPenalty") is not None
    hold(dialect == "vllm" or not penalised, "plan.sampling.repetitionPenalty")
    hold(environment["device"] == "behind a server, not seen", "environment.device")
    for part in ("driver", "torch", "transformers", "attention"):
        hold(environment[part] is None, f"environment.{part}")
