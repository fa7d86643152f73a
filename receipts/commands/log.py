"""``receipts log``: a transparency log in a folder, and witnesses of logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from safety_receipts.receipts.bundle import (
    AUDITS,
    MAX_AUDIT_BYTES,
    MAX_PLAN_BYTES,
    PLAN,
    RECEIPT,
    read_envelope,
)
from safety_receipts.receipts.canonical import Sha256, is_hex32
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples, passphrase_option, read_signer
from safety_receipts.receipts.commands.witness import witness
from safety_receipts.receipts.errors import ExitCode, FileAccessError, UsageError
from safety_receipts.receipts.io.files import atomic_write, read_bounded
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import load_public_key
from safety_receipts.receipts.log.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.cosigning import ask_witness
from safety_receipts.receipts.log.entry import EntryKind, LogEntry, entry_of
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log, read_checkpoint
from safety_receipts.receipts.log.note import MAX_NOTE_BYTES, NoteSignature, SignedNote
from safety_receipts.receipts.log.policy import LogPolicy, load_log_policy
from safety_receipts.receipts.log.sources import log_source
from safety_receipts.receipts.log.survey import check_growth, check_log, newest_checkpoint, searched
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.log import (
    AskedWitnessPart,
    FoundEntryPart,
    LogAddDocument,
    LogCosignDocument,
    LoggedPart,
    LogInitDocument,
    LogProveDocument,
    LogSearchDocument,
    LogVerifyDocument,
)

_policy_option = click.option(
    "--policy",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Log policy: accepted logs, known witnesses, the quorum (C2SP tlog-policy).",
)
_key_option = click.option(
    "--key", type=PATH, required=True, metavar="KEY", help="The log's private key (Ed25519)."
)


@click.group()
def log() -> None:
    """Keep a transparency log of plans, receipts and audits, as static files."""


log.add_command(witness)


@log.command(epilog=examples("receipts log init log --origin example.com/log --key log-key"))
@click.argument("folder", type=PATH)
@click.option("--origin", required=True, metavar="NAME", help="Its name: a URL without scheme.")
@_key_option
@passphrase_option
@common_options
def init(
    *, folder: Path, origin: str, key: Path, passphrase_env: tuple[str, ...], output: Output
) -> None:
    """Make an empty log in FOLDER, which any web server or bucket can serve."""
    signer = LogSigner.of(origin, read_signer([key], passphrase_env, output), key)
    init_log(folder, signer)
    vkey = signer.public.vkey
    output.result(
        LogInitDocument(log=str(folder), origin=origin, vkey=vkey),
        lambda console: console.print(f"log {vkey}", soft_wrap=True),
    )
    output.note(
        "The line above is the log's, in a policy of logs; `quorum none` asks for no witness."
    )


@log.command(epilog=examples("receipts log add log bundle --key log-key"))
@click.argument("folder", type=PATH)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE|BUNDLE…")
@_key_option
@passphrase_option
@common_options
def add(
    *,
    folder: Path,
    files: tuple[Path, ...],
    key: Path,
    passphrase_env: tuple[str, ...],
    output: Output,
) -> None:
    """Add signed statements, of files or of whole bundles, each once.

    Of each its digest is logged and what it is of, and no rate and no text.
    """
    held = read_signer([key], passphrase_env, output)
    signer = LogSigner.of(read_checkpoint(folder).checkpoint.origin, held, key)
    found = [(file, _entry(file)) for file in _statements(files)]
    opened = LogFolder(folder, signer.public)
    with output.progress("adding") as progress:
        added = opened.add([entry.leaf() for _, entry in found], signer, progress)
    document = LogAddDocument(
        log=str(folder),
        size=opened.size,
        new=added.new,
        entries=tuple(
            LoggedPart(file=str(file), type=entry.type, digest=entry.digest, index=place)
            for (file, entry), place in zip(found, added.places, strict=True)
        ),
    )
    output.result(
        document,
        lambda console: console.print(
            f"{printable(str(folder))}: {added.new:,} new, {opened.size:,} entries", soft_wrap=True
        ),
    )


@log.command(
    epilog=examples(
        "receipts log prove log bundle/plan.dsse.json --out bundle/proofs/plan.tlog-proof"
    )
)
@click.argument("folder", type=PATH)
@click.argument("file", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="FILE", help="File for the proof.")
@common_options
def prove(*, folder: Path, file: Path, out: Path, output: Output) -> None:
    """Write the proof that a statement is in the log; whoever checks it needs no network."""
    opened = LogFolder(folder)
    index = opened.find(_entry(file).leaf())
    if index is None:
        raise UsageError(
            "is not in this log", file=file, hint=f"receipts log add {folder} {file} --key KEY"
        )
    proof = opened.prove(index)
    atomic_write(out, proof.to_bytes())
    document = LogProveDocument(
        file=str(out),
        index=index,
        size=opened.size,
        cosignatures=max(0, len(opened.signed.note.signatures) - 1),
    )
    output.result(
        document,
        lambda console: console.print(
            f"{printable(str(out))}: entry {index:,} of {opened.size:,}", soft_wrap=True
        ),
    )


@log.command(
    epilog=examples(
        "receipts log verify log --policy log-policy",
        "receipts log verify https://example.com/log --policy log-policy --since earlier",
    )
)
@click.argument("place", metavar="FOLDER|URL")
@_policy_option
@click.option("--since", type=PATH, metavar="FILE", help="An earlier checkpoint of the log.")
@common_options
def verify(*, place: str, policy: Path, since: Path | None, output: Output) -> None:
    """Hash every entry and every tile again, and hold the log to an earlier checkpoint of it."""
    source, rules = log_source(place), load_log_policy(policy)
    signed = newest_checkpoint(source)
    accepted = rules.accept(signed)
    old = None
    if since is not None:
        old = SignedCheckpoint.parse(read_bounded(since, MAX_NOTE_BYTES), file=since)
        rules.check_log_signature(old)
        check_growth(source, old, signed)
    with output.progress("hashing entries") as progress:
        check_log(source, signed, progress)
    names = {witness.key.vkey: witness.name for witness in rules.witnesses}
    document = LogVerifyDocument(
        log=place,
        origin=signed.checkpoint.origin,
        size=signed.checkpoint.size,
        root=Sha256(signed.checkpoint.root.hex()),
        since=None if old is None else old.checkpoint.size,
        witnesses=tuple(names[one.key.vkey] for one in accepted.seen),
    )
    grown = "" if old is None else f", grown from {old.checkpoint.size:,}"
    output.result(
        document,
        lambda console: console.print(
            f"{printable(place)}: {document.size:,} entries{grown}, root {document.root}",
            soft_wrap=True,
        ),
    )


@log.command(epilog=examples("receipts log search log --policy log-policy --checkpoint DIGEST"))
@click.argument("place", metavar="FOLDER|URL")
@_policy_option
@click.option(
    "--checkpoint", required=True, metavar="DIGEST", help="Root of the model's checkpoint."
)
@click.option("--key", type=PATH, metavar="KEY.pub", help="Only what names this key.")
@common_options
def search(*, place: str, policy: Path, checkpoint: str, key: Path | None, output: Output) -> None:
    """List the plans and receipts of one model's checkpoint, and the audits of these receipts.

    More plans than receipts: somebody sealed plans whose outcome nobody was shown.
    """
    if not is_hex32(checkpoint):
        raise UsageError("--checkpoint should be 64 lower-case hex digits")
    source, rules = log_source(place), load_log_policy(policy)
    signed = newest_checkpoint(source)
    rules.accept(signed)
    keyid = None if key is None else load_public_key(key).keyid
    with output.progress("reading entries") as progress:
        found = list(searched(source, signed, checkpoint, keyid, progress))
    kinds = [one.entry.type for one in found]
    document = LogSearchDocument(
        log=place,
        size=signed.checkpoint.size,
        plans=kinds.count(EntryKind.PLAN),
        receipts=kinds.count(EntryKind.RECEIPT),
        entries=tuple(
            FoundEntryPart(
                index=one.index,
                type=one.entry.type,
                digest=one.entry.digest,
                keyid=one.entry.keyid,
                plan=one.entry.plan,
                receipt=one.entry.receipt,
            )
            for one in found
        ),
    )

    def lines() -> Iterator[str]:
        for one in document.entries:
            yield f"{one.index:>8,}  {one.type.value:11}  {one.digest}  key {one.keyid[:16]}"
        yield f"{document.plans:,} plans, {document.receipts:,} receipts"

    output.result(
        document, lambda console: console.print("\n".join(map(printable, lines())), soft_wrap=True)
    )


@log.command(epilog=examples("receipts log cosign log --policy log-policy"))
@click.argument("folder", type=PATH)
@_policy_option
@click.option(
    "--witness",
    "only",
    multiple=True,
    metavar="NAME",
    help="Ask this witness of the policy alone (repeatable); default: all that have an address.",
)
@common_options
def cosign(*, folder: Path, policy: Path, only: tuple[str, ...], output: Output) -> ExitCode:
    """Ask witnesses to cosign the newest checkpoint, and store their lines in it.

    Exit code 5: too few have seen it by now for the policy's quorum.
    """
    rules = load_log_policy(policy)
    opened = LogFolder(folder)
    signed = opened.signed
    rules.check_log_signature(signed)
    asked = list(_asked(rules, only, signed, opened))
    lines = tuple(line for _, lines in asked for line in lines)
    if lines:
        note = SignedNote(signed.note.text, (*signed.note.signatures, *lines))
        if not opened.put_cosignatures(SignedCheckpoint(note, signed.checkpoint)):
            raise UsageError("the log has grown meanwhile", hint="ask again")
    reached = rules.has_quorum(opened.signed)
    document = LogCosignDocument(
        log=str(folder),
        size=opened.size,
        quorum=reached,
        witnesses=tuple(part for part, _ in asked),
    )

    def told() -> Iterator[str]:
        for part, _ in asked:
            yield f"{part.name}: {'cosigned' if part.cosigned else part.why}"
        yield "enough witnesses have seen it" if reached else "too few witnesses have seen it"

    output.result(
        document, lambda console: console.print("\n".join(map(printable, told())), soft_wrap=True)
    )
    return ExitCode.DONE if reached else ExitCode.INCOMPLETE


def _asked(
    rules: LogPolicy, only: Sequence[str], signed: SignedCheckpoint, opened: LogFolder
) -> Iterator[tuple[AskedWitnessPart, tuple[NoteSignature, ...]]]:
    known = {witness.name: witness for witness in rules.witnesses if witness.url is not None}
    for name in only:
        if name not in known:
            raise UsageError(
                f"the policy has no witness {name} with an address",
                hint=f"one of {', '.join(known) or 'none'}",
            )
    for name, one in known.items():
        if only and name not in only:
            continue
        assert one.url is not None
        found = ask_witness(one.url, (one.key,), signed, opened.tree())
        part = AskedWitnessPart(
            name=name, url=one.url, cosigned=bool(found.lines), why=found.problem
        )
        yield part, found.lines


def _entry(file: Path) -> LogEntry:
    limit = MAX_PLAN_BYTES if file.name == PLAN else MAX_AUDIT_BYTES
    return entry_of(read_envelope(file, limit), file)


def _statements(files: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of statements, those of a bundle in the order in which they are made."""
    for file in files:
        if not file.is_dir():
            yield file
            continue
        there = [file / name for name in (PLAN, RECEIPT) if (file / name).exists()]
        if not there:
            raise FileAccessError("is no bundle: it holds neither plan nor receipt", file=file)
        yield from there
        yield from sorted((file / AUDITS).glob("*.dsse.json"))
