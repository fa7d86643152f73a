"""A log with a witness whose clock tests set, and events that are sealed for it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from transparency import ORIGIN

from safety_receipts.receipts.bundle import PLAN, RECEIPT, BundleWriter, read_envelope
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.recording import OwnLog, StatementLog
from safety_receipts.receipts.log.witnessing.witness import Witness, init_witness
from safety_receipts.receipts.model.plan import Rejudged
from safety_receipts.receipts.seal import seal_event, seal_plan


def sealed_event(
    folder: Path,
    signer: Signer,
    began: str,
    *,
    queries: int = 3,
    rejudges: Rejudged | None = None,
) -> Path:
    """Seal a small event that states that it began then; return its bundle."""
    mixtures = [Mixture(0, 0, None), Mixture(2, 0, None)]
    plan = synthetic_plan(mixtures, {"alpha": queries}).model_copy(update={"rejudges": rejudges})
    envelope = seal_plan(plan, signer)
    BundleWriter(folder).write_plan(envelope)
    stated = {"started_at": began, "finished_at": max(began, EVENT.finished_at)}
    seal_event(
        folder,
        plan_envelope=envelope,
        points=synthetic_points(plan, envelope.digest),
        event=EVENT.model_copy(update=stated),
        environment=ENVIRONMENT,
        signer=signer,
    )
    return folder


class ClockedLog:
    """A log in a folder, a witness whose clock tests set, and the policy of who trusts both."""

    def __init__(self, folder: Path, *, quorum: bool = True) -> None:
        folder.mkdir()
        signer = LogSigner.of(ORIGIN, generate_key(), folder / "key")
        init_log(folder / "log", signer)
        cosigner = WitnessSigner.of("example.com/witness", generate_key(), folder / "key")
        init_witness(folder / "state", [cosigner.public])
        logs = {ORIGIN: (signer.public,)}
        self._now = 0
        self._witness = Witness(folder / "state", (cosigner,), logs, lambda: self._now)
        self.policy = folder / "log-policy"
        self.policy.write_text(
            f"log {signer.public.vkey}\nwitness w {cosigner.public.vkey} http://w.example\n"
            f"quorum {'w' if quorum else 'none'}\n"
        )
        own = OwnLog(LogFolder(folder / "log", signer.public), signer)
        self._log = StatementLog(self.policy, load_log_policy(self.policy), own, self._post)

    def _post(self, _: str, body: bytes, __: float) -> tuple[int, bytes]:
        reply = self._witness.add_checkpoint(body)
        return reply.status, reply.body

    def show(self, bundle: Path, at: str, *files: str) -> None:
        """Log statements of a bundle, have the witness see them then, and put proofs beside."""
        self._now = int(datetime.fromisoformat(at).timestamp())
        for file in files or (PLAN, RECEIPT):
            self._log.record(read_envelope(bundle / file, 2**25), bundle / file, bundle)


def trust_file(path: Path, *keys: dict[str, Any]) -> Path:
    """Write a trust file of some keys; those without roles are an evaluator's."""
    listed = [{"roles": ["evaluator"], **key} for key in keys]
    path.write_text(yaml.safe_dump({"version": 1, "keys": listed}))
    return path
