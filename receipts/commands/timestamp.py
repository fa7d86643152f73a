"""``receipts timestamp``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.timestamps.authority import ask
from safety_receipts.receipts.timestamps.certificates import read_certificates
from safety_receipts.receipts.timestamps.files import store_certificates, store_reply
from safety_receipts.receipts.timestamps.replies import (
    check_answer,
    check_reply,
    new_request,
    stamped_bytes,
)
from safety_receipts.receipts.view.documents.commands import StampPart, TimestampDocument


@click.command(
    epilog=examples(
        "receipts timestamp bundle --tsa https://tsa.example/tsr",
        "receipts timestamp bundle --tsa https://tsa.example/tsr --tsa-root root.pem",
    )
)
@click.argument("bundle", type=PATH)
@click.option("--tsa", required=True, metavar="URL", help="The authority's address (RFC 3161).")
@click.option(
    "--tsa-root",
    type=PATH,
    multiple=True,
    metavar="CERT",
    help="Root of the authority: store only what verifies with it (repeatable).",
)
@click.option(
    "--tsa-chain",
    type=PATH,
    multiple=True,
    metavar="CERT",
    help="Certificates between root and reply, to be stored as well (repeatable).",
)
@common_options
def timestamp(
    *,
    bundle: Path,
    tsa: str,
    tsa_root: tuple[Path, ...],
    tsa_chain: tuple[Path, ...],
    output: Output,
) -> None:
    """Have an authority stamp the signatures of BUNDLE's plan, and of its receipt if there is one.

    Sent are digests alone.  The replies go into BUNDLE/proofs.  Stamp a plan when it is sealed, and
    the receipt after the run: receipts verify --tsa-root CERT then shows that the plan is older.
    """
    opened = Bundle(bundle)
    envelopes = {}
    if opened.has(PLAN):
        envelopes["plan"] = opened.plan_envelope
    if opened.has(RECEIPT):
        envelopes["receipt"] = opened.receipt_envelope
    if not envelopes:
        raise IncompleteError("holds neither a plan nor a receipt", file=bundle)
    roots = [one for path in tsa_root for one in read_certificates(path)]
    chain = [one for path in tsa_chain for one in read_certificates(path)]
    stamps = []
    for what, envelope in envelopes.items():
        request = new_request(stamped_bytes(envelope))
        reply = ask(tsa, request.query)
        stamped = check_answer(reply, request)
        if roots:
            stamped = check_reply(reply, request.message, roots, chain)
        file = store_reply(bundle, what, reply)
        time = stamped.time.strftime("%Y-%m-%dT%H:%M:%SZ")
        stamps.append(StampPart(of=what, digest=envelope.digest, file=str(file), time=time))
    kept = store_certificates(bundle, chain)
    output.result(
        TimestampDocument(
            tsa=tsa,
            stamps=tuple(stamps),
            certificates=tuple(map(str, kept)),
            verified=bool(roots),
        ),
        lambda console: console.print(
            "\n".join(f"{one.of} stamped {one.time}: {printable(one.file)}" for one in stamps),
            soft_wrap=True,
        ),
    )
