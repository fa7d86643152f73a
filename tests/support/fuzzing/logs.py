"""Inputs of the fuzzer that are of a log: its files, proofs in a bundle, and a reader's policy."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from random import Random

from fuzzing.mutations import mutate_bytes
from safety_receipts.receipts.bundle import PROOFS, Bundle
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.keys import Signer, load_signer, write_key_pair
from safety_receipts.receipts.log.bundle_proofs import loggable_statements, prove_bundle
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint
from safety_receipts.receipts.log.formats.proof import LogProof

ORIGIN = "example.com/log"
MORE = 300
"""Further entries: a full tile, and one that is not."""


def write_log(folder: Path, bundle: Path, key: Signer) -> None:
    """Write a log of a bundle, a copy of the bundle with its proofs, a policy and the log's key."""
    signer = LogSigner.of(ORIGIN, key, folder / "log-key")
    write_key_pair(folder / "log-key", key)
    init_log(folder / "log", signer)
    log = LogFolder(folder / "log", signer.public)
    logged = Path(shutil.copytree(bundle, folder / "logged"))
    log.add([one.entry.leaf() for one in loggable_statements(logged)], signer)
    log.add([b"%d" % number for number in range(MORE)], signer)
    prove_bundle(log.source, log.signed, logged)
    (folder / "log-policy").write_text(f"log {signer.public.vkey}\nquorum none\n", "utf-8")


def changed_log(base: Path, random: Random, folder: Path) -> tuple[list[list[str]], list[str]]:
    """Change something of a log; return commands that read it, and what was changed."""
    log = Path(shutil.copytree(base / "log", folder / "log"))
    bundle = Path(shutil.copytree(base / "logged", folder / "bundle"))
    policy = Path(shutil.copy(base / "log-policy", folder / "log-policy"))
    proofs = sorted((bundle / PROOFS).iterdir())
    files = sorted(path for path in (*log.rglob("*"), *proofs) if path.is_file())
    file = random.choice((policy, log / "checkpoint", random.choice(proofs), random.choice(files)))
    if file != policy and random.random() < 0.4:
        _sign_anything(base, random, log, file)
    else:
        file.write_bytes(mutate_bytes(file.read_bytes(), random))
    root = Bundle(bundle).plan.statement.predicate.checkpoint.root
    terms, trust = ["--policy", str(policy)], ["--trust", str(base / "evaluator.pub")]
    reader = [*trust, "--trust-auditor", str(base / "auditor.pub"), "--allow-instrument"]
    known = ["--log-policy", str(policy), "--level", "authentic"]
    commands = [
        ["verify", str(bundle), *reader, *known, "--log", str(log), "--json"],
        ["verify", str(bundle), *reader, *known],
        ["log", "verify", str(log), *terms, "--json"],
        ["log", "verify", str(log), *terms, "--since", str(base / "log" / "checkpoint")],
        ["log", "search", str(log), *terms, "--checkpoint", root, "--json"],
        ["log", "prove", str(log), str(bundle), "--json"],
        ["log", "add", str(log), str(base / "published"), "--key", str(base / "log-key")],
    ]
    return [commands[0], *random.sample(commands[1:], 2)], [str(file.relative_to(folder))]


def _sign_anything(base: Path, random: Random, log: Path, file: Path) -> None:
    """Put a checkpoint into a file that the log's own key signed, whatever it says."""
    signer = LogSigner.of(ORIGIN, load_signer(base / "log-key"), base / "log-key")
    text = LogFolder(log).signed.note.text.encode()
    sizes = (0, 1, 255, 256, 257, MORE, MORE + 4, 2**31, 2**53, 2**62, 2**63 - 1)
    if random.random() < 0.5:
        origin, _, root = text.split(b"\n", 2)
        text = b"\n".join((origin, b"%d" % random.choice(sizes), root))
    else:
        text = mutate_bytes(text, random)
    with suppress(ReceiptsError, UnicodeDecodeError):
        signed = signer.sign(LogCheckpoint.parse(text.decode("utf-8")))
        if file.parent.name == PROOFS:
            proof = LogProof.parse(file.read_bytes())
            file.write_bytes(LogProof(proof.index, proof.path, signed).to_bytes())
        else:
            (log / "checkpoint").write_bytes(signed.note.to_bytes())
