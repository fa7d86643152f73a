"""``receipts log prove``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.log.bundle_proofs import (
    BundleProofs,
    ProvenStatement,
    is_folder,
    prove_bundle,
    prove_statements,
    read_loggable,
    write_proof,
)
from safety_receipts.receipts.log.sources import log_source
from safety_receipts.receipts.log.survey import newest_checkpoint
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.log import LogProofPart, LogProveDocument


@click.command(
    short_help="Write proofs that statements are in a log.",
    epilog=examples(
        "receipts log prove log bundle",
        "receipts log prove log bundle/plan.dsse.json --out plan.tlog-proof",
        "receipts log prove https://example.com/log bundle",
    ),
)
@click.argument("place", metavar="FOLDER|URL")
@click.argument("what", type=PATH, metavar="FILE|BUNDLE")
@click.option("--out", type=PATH, metavar="FILE", help="Of a file: where its proof goes.")
@click.option("--replace", is_flag=True, help="Of a bundle: replace proofs that hold, too.")
@common_options
def prove(*, place: str, what: Path, out: Path | None, replace: bool, output: Output) -> ExitCode:
    """Write the proof that a statement is in the log; whoever checks it needs no network.

    A bundle's go into its folder `proofs`, where `receipts verify --log-policy` finds them.  Those
    that lie there are kept: a later proof could only say that witnesses saw it later.  Exit code 5:
    some statement of the bundle is not in the log.
    """
    source = log_source(place)
    signed = newest_checkpoint(source)
    if is_folder(what):
        if out is not None:
            raise UsageError("--out is for the proof of one file", hint="leave it out")
        found = prove_bundle(source, signed, what, replace=replace)
    else:
        if out is None:
            raise UsageError(f"{what}: name a file for the proof of a file", hint="--out FILE")
        statement = read_loggable(what)
        [proof] = prove_statements(source, signed, [statement])
        if proof is None:
            hint = f"receipts log add {place} {what} --key KEY"
            raise UsageError("is not in this log", file=what, hint=hint)
        write_proof(out, proof)
        found = BundleProofs((ProvenStatement(statement, out, proof, kept=False),), ())
    document = LogProveDocument(
        log=place,
        size=signed.checkpoint.size,
        proofs=tuple(map(_proof_part, found.proven)),
        missing=tuple(str(one.file) for one in found.missing),
    )

    def lines() -> Iterator[str]:
        for part in document.proofs:
            kept = ", kept as it was" if part.kept else ""
            yield f"{part.proof}: entry {part.index:,} of {part.size:,}{kept}"
        for file in document.missing:
            yield f"{file}: not in this log"

    output.result(
        document, lambda console: console.print("\n".join(map(printable, lines())), soft_wrap=True)
    )
    return ExitCode.INCOMPLETE if found.missing else ExitCode.DONE


def _proof_part(proven: ProvenStatement) -> LogProofPart:
    signed = proven.proof.signed
    return LogProofPart(
        file=str(proven.of.file),
        type=proven.of.entry.type,
        digest=proven.of.entry.digest,
        proof=str(proven.file),
        index=proven.proof.index,
        size=signed.checkpoint.size,
        cosignatures=sum(line.name != signed.checkpoint.origin for line in signed.note.signatures),
        kept=proven.kept,
    )
