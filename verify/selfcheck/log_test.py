"""A self-test of logs: an event is logged, witnessed and proven, and three attacks are found.

The witness is asked in this process, without a network.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle, BundleWriter
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.policy import KnownLog, KnownWitness, LogPolicy
from safety_receipts.receipts.log.recording import OwnLog, StatementLog
from safety_receipts.receipts.log.witnessing.cosigning import ask_witnesses
from safety_receipts.receipts.log.witnessing.witness import Witness, init_witness
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.seal import plan_statement, seal_event, seal_plan
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import Ending
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.times.logged import LogTerms

_ORIGIN: Final = "example.com/self-test/log"
_WITNESS: Final = "example.com/self-test/witness"
_AHEAD: Final = 3600
"""Seconds after now at which the event of the self-test says that it began."""


@dataclass(frozen=True)
class _Setting:
    """A log with a witness, and an event whose plan is sealed."""

    folder: Path
    signer: Signer
    log: StatementLog
    plan: Envelope

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def statuses(self) -> dict[str, Ending]:
        """Verify the bundle with a copy of the log."""
        assert self.log.own is not None
        terms = LogTerms(self.log.policy, self.log.own.folder.source)
        trust = TrustSet([self.signer.public])
        found = verify_bundle(Bundle(self.bundle), evaluators=trust, log=terms)
        return {str(check.name): check.status for check in found.checks}


def run_log_test(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """Run the self-test of logs in an empty ``folder``; yield (name, passed, detail)."""
    setting = _setting(folder)
    setting.log.record(setting.plan, setting.bundle / PLAN, setting.bundle)
    receipt = _run(setting, time.time() + _AHEAD)
    setting.log.record(receipt, setting.bundle / RECEIPT, setting.bundle)
    found = setting.statuses()
    wanted = (
        CheckName.PLAN_LOGGED,
        CheckName.RECEIPT_LOGGED,
        CheckName.BEST_OF_N,
        CheckName.AUDITS_COMPLETE,
    )
    bad = [name.value for name in wanted if found.get(name.value) is not CheckStatus.PASSED]
    detail = ", ".join(bad) or "its witness saw the plan before the run"
    yield "a logged event verifies", not bad, detail

    other = setting.folder / "other"
    statement = plan_statement(_plan("another try")).to_wire()
    BundleWriter(other).write_plan(envelope := sign(statement, setting.signer))
    setting.log.record(envelope, other / PLAN, other)
    caught = setting.statuses().get(CheckName.BEST_OF_N.value) is CheckStatus.NOT_CHECKED
    detail = f"{CheckName.BEST_OF_N.value} {'counts it' if caught else 'does not see it'}"
    yield "a second plan of the checkpoint is found", caught, detail

    yield _fork(setting)

    (setting.bundle / RECEIPT).unlink()
    _run(setting, 0)
    late = setting.statuses().get(CheckName.PLAN_LOGGED.value) is CheckStatus.FAILED
    name = CheckName.PLAN_LOGGED.value
    detail = f"caught by {name}" if late else f"{name} did not fail"
    yield "a plan is logged after its run began", late, detail


def _fork(setting: _Setting) -> tuple[str, bool, str]:
    """Write the log again with another entry; its witness has to refuse, and a reader to see it."""
    own = setting.log.own
    assert own is not None
    init_log(setting.folder / "fork", own.signer)
    fork = LogFolder(setting.folder / "fork", own.signer.public)
    fork.add([canonical_bytes({"entry": number}) for number in range(4)], own.signer)
    assert setting.log.post is not None
    (asked,) = ask_witnesses(setting.log.policy, (), fork.signed, fork.tree(), setting.log.post)
    refused = not asked.answer.lines
    detail = asked.answer.problem or "its witness cosigned it"
    return "a log that forks is refused", refused, detail


def _setting(folder: Path) -> _Setting:
    evaluator, log_key = generate_key(), LogSigner.of(_ORIGIN, generate_key(), Path("log-key"))
    cosigner = WitnessSigner.of(_WITNESS, generate_key(), Path("witness-key"))
    init_log(folder / "log", log_key)
    init_witness(folder / "witness", [cosigner.public])
    logs = {_ORIGIN: (log_key.public,)}
    witness = Witness(folder / "witness", (cosigner,), logs, lambda: int(time.time()))
    policy = LogPolicy(
        (KnownLog(log_key.public, None),),
        (KnownWitness("witness", cosigner.public, "in this process"),),
        {},
        "witness",
    )

    def post(_: str, body: bytes, __: float) -> tuple[int, bytes]:
        reply = witness.add_checkpoint(body)
        return reply.status, reply.body

    own = OwnLog(LogFolder(folder / "log", log_key.public), log_key)
    log = StatementLog(folder / "log", policy, own, post)
    plan = seal_plan(_plan("self-test"), evaluator)
    BundleWriter(folder / "bundle").write_plan(plan)
    return _Setting(folder, evaluator, log, plan)


def _plan(name: str) -> PlanPredicate:
    mixtures = [Mixture(0, 0, None), Mixture(2, 0, None)]
    return synthetic_plan(mixtures, {"alpha": 3}).model_copy(update={"name": name})


def _run(setting: _Setting, began: float) -> Envelope:
    """Seal the receipt of a run that began then, in seconds since 1970."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began))
    plan = _plan("self-test")
    return seal_event(
        setting.bundle,
        plan_envelope=setting.plan,
        points=synthetic_points(plan, setting.plan.digest),
        event=EVENT.model_copy(
            update={"started_at": at, "finished_at": max(at, EVENT.finished_at)}
        ),
        environment=ENVIRONMENT,
        signer=setting.signer,
    )
