"""A log with a witness whose clock tests set, and events that are sealed for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from safety_receipts.receipts.bundle import PLAN, PROOFS, RECEIPT, BundleWriter, read_envelope
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.receipts.log.bundle_proofs import proof_name
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.entry import entry_of
from safety_receipts.receipts.log.formats.note import SignedNote, parse_signature
from safety_receipts.receipts.log.witnessing.witness import (
    AddCheckpoint,
    Witness,
    WitnessStatus,
    init_witness,
)
from safety_receipts.receipts.model.plan import Rejudged
from safety_receipts.receipts.seal import seal_event, seal_plan

ORIGIN = "example.com/log"


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


class WitnessedLog:
    """A log in a folder, a witness of it, and the policy of who trusts both."""

    def __init__(self, folder: Path, *, quorum: bool = True) -> None:
        folder.mkdir()
        self._signer = LogSigner.of(ORIGIN, generate_key(), folder / "key")
        init_log(folder / "log", self._signer)
        self._log = LogFolder(folder / "log", self._signer.public)
        witness = WitnessSigner.of("example.com/witness", generate_key(), folder / "key")
        init_witness(folder / "state", [witness.public])
        self._now = 0
        logs = {ORIGIN: (self._signer.public,)}
        self._witness = Witness(folder / "state", (witness,), logs, lambda: self._now)
        self._seen = 0
        self.policy = folder / "log-policy"
        self.policy.write_text(
            f"log {self._signer.public.vkey}\nwitness w {witness.public.vkey}\n"
            f"quorum {'w' if quorum else 'none'}\n"
        )

    def show(self, bundle: Path, at: str, *files: str) -> None:
        """Log statements of a bundle, have the witness see it then, and put proofs beside."""
        entries = []
        for file in files or (PLAN, RECEIPT):
            envelope = read_envelope(bundle / file, 2**25)
            entries.append(entry_of(envelope, bundle / file))
        places = self._log.add([entry.leaf() for entry in entries], self._signer).places
        self._now = int(datetime.fromisoformat(at).timestamp())
        self._log.put_cosignatures(self._cosigned())
        (bundle / PROOFS).mkdir(exist_ok=True)
        for entry, place in zip(entries, places, strict=True):
            proof = bundle / PROOFS / proof_name(entry.type, entry.digest)
            proof.write_bytes(self._log.prove(place).to_bytes())

    def _cosigned(self) -> SignedCheckpoint:
        signed, tree = self._log.signed, self._log.tree()
        path = tuple(tree.consistency(self._seen)) if 0 < self._seen < tree.size else ()
        asked = AddCheckpoint(self._seen, path, signed)
        reply = self._witness.add_checkpoint(asked.to_bytes())
        assert reply.status == WitnessStatus.OK, reply
        self._seen = tree.size
        lines = [parse_signature(line) for line in reply.body.decode().splitlines()]
        note = SignedNote(signed.note.text, (*signed.note.signatures, *lines))
        return replace(signed, note=note)


def trust_file(path: Path, *keys: dict[str, Any]) -> Path:
    """Write a trust file of some keys; those without roles are an evaluator's."""
    listed = [{"roles": ["evaluator"], **key} for key in keys]
    path.write_text(yaml.safe_dump({"version": 1, "keys": listed}))
    return path
