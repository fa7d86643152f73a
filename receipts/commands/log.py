"""``receipts log``: a transparency log in a folder, and witnesses of logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from safety_receipts.receipts.canonical import Sha256, is_hex32
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.log_prove import prove
from safety_receipts.receipts.commands.options import PATH, examples, passphrase_option, read_signer
from safety_receipts.receipts.commands.witness import witness
from safety_receipts.receipts.errors import ExitCode, IntegrityError, UsageError
from safety_receipts.receipts.io.files import atomic_write, read_own_file
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import TrustSet, load_public_key
from safety_receipts.receipts.log.bundle_proofs import (
    Loggable,
    is_folder,
    loggable_statements,
    read_loggable,
)
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log, read_checkpoint
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import EntryKind
from safety_receipts.receipts.log.formats.note import MAX_NOTE_BYTES
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.sources import log_source
from safety_receipts.receipts.log.survey import check_growth, check_log, newest_checkpoint, searched
from safety_receipts.receipts.log.witnessing.cosigning import ask_witnesses
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.log import (
    AskedWitnessPart,
    FoundEntryPart,
    LogAddDocument,
    LogCosignDocument,
    LoggedPart,
    LogInitDocument,
    LogSearchDocument,
    LogVerifyDocument,
)
from safety_receipts.receipts.view.numerals import counted

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


@log.command(
    short_help="Make an empty log.",
    epilog=examples("receipts log init log --origin example.com/log --key log-key"),
)
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


@log.command(
    epilog=examples(
        "receipts log add log bundle --key log-key",
        "receipts log add log bundle --key log-key --trust lab.pub",
    )
)
@click.argument("folder", type=PATH)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE|BUNDLE…")
@_key_option
@passphrase_option
@click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Refuse what none of these keys signed, or under the id of another (repeatable).",
)
@common_options
def add(
    *,
    folder: Path,
    files: tuple[Path, ...],
    key: Path,
    passphrase_env: tuple[str, ...],
    trust: tuple[Path, ...],
    output: Output,
) -> None:
    """Add signed statements, of files or of whole bundles, each once.

    A bundle's are its plan, its receipt and its audits, in full or in public form.  Of each its
    digest is logged and what it is of, and no rate and no text.  All of them are, or none.
    """
    held = read_signer([key], passphrase_env, output)
    signer = LogSigner.of(read_checkpoint(folder).checkpoint.origin, held, key)
    found = list(_statements(files))
    if trust:
        keys = TrustSet([load_public_key(path) for path in trust])
        for one in found:
            signers = {key.keyid for key in one.envelope.signed_by(keys)}
            if not signers:
                raise IntegrityError("none of the trusted keys signed it", file=one.file)
            if one.entry.keyid not in signers:  # the log would say that another key's it is
                raise IntegrityError(
                    "the key id of its first signature is that of no trusted key that signed it",
                    file=one.file,
                )
    opened = LogFolder(folder, signer.public)
    with output.progress("adding") as progress:
        added = opened.add([one.entry.leaf() for one in found], signer, progress)
    document = LogAddDocument(
        log=str(folder),
        size=opened.size,
        new=added.new,
        entries=tuple(
            LoggedPart(
                file=str(one.file), type=one.entry.type, digest=one.entry.digest, index=place
            )
            for one, place in zip(found, added.places, strict=True)
        ),
    )
    output.result(
        document,
        lambda console: console.print(
            f"{printable(str(folder))}: {added.new:,} new, "
            f"{counted(opened.size, 'entry', 'entries')}",
            soft_wrap=True,
        ),
    )


@log.command(
    short_help="Hash a whole log again.",
    epilog=examples(
        "receipts log verify log --policy log-policy --keep seen",
        "receipts log verify log --policy log-policy --since seen --keep seen",
    ),
)
@click.argument("place", metavar="FOLDER|URL")
@_policy_option
@click.option("--since", type=PATH, metavar="FILE", help="An earlier checkpoint of the log.")
@click.option(
    "--keep", type=PATH, metavar="FILE", help="Where to keep this checkpoint, if all holds."
)
@common_options
def verify(
    *, place: str, policy: Path, since: Path | None, keep: Path | None, output: Output
) -> None:
    """Hash every entry and every tile again, and hold the log to an earlier checkpoint of it.

    What was kept of one visit is for --since of the next: nothing of what was there may have
    changed since.
    """
    source, rules = log_source(place), load_log_policy(policy)
    signed = newest_checkpoint(source)
    accepted = rules.accept(signed)
    old = None
    if since is not None:
        old = SignedCheckpoint.parse(read_own_file(since, MAX_NOTE_BYTES), file=since)
        rules.check_log_signature(old)
        check_growth(source, old, signed)
    with output.progress("hashing entries") as progress:
        check_log(source, signed, progress)
    if keep is not None:
        atomic_write(keep, signed.note.to_bytes())
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
            printable(
                f"{place}: {document.size:,} entries{grown}, root {document.root}, cosigned by "
                f"{', '.join(document.witnesses) or 'no known witness'}"
            ),
            soft_wrap=True,
        ),
    )


@log.command(
    short_help="List what a log holds of one model's checkpoint.",
    epilog=examples("receipts log search log --policy log-policy --checkpoint DIGEST"),
)
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
        found = list(searched(source, signed, checkpoint, keyid=keyid, progress=progress))
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
        yield f"{counted(document.plans, 'plan')}, {counted(document.receipts, 'receipt')}"

    output.result(
        document, lambda console: console.print("\n".join(map(printable, lines())), soft_wrap=True)
    )


@log.command(
    short_help="Ask witnesses to cosign a log.",
    epilog=examples("receipts log cosign log --policy log-policy"),
)
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
    asked = ask_witnesses(rules, only, signed, opened.tree())
    lines = tuple(line for one in asked for line in one.answer.lines)
    if lines:
        note = signed.note.with_lines(lines)
        if not opened.put_cosignatures(SignedCheckpoint(note, signed.checkpoint)):
            raise UsageError("the log has grown meanwhile", hint="ask again")
    reached = rules.has_quorum(opened.signed)
    document = LogCosignDocument(
        log=str(folder),
        size=opened.size,
        quorum=reached,
        witnesses=tuple(
            AskedWitnessPart(
                name=one.name,
                url=one.url,
                cosigned=bool(one.answer.lines),
                why=one.answer.problem,
            )
            for one in asked
        ),
    )

    def told() -> Iterator[str]:
        for part in document.witnesses:
            yield f"{part.name}: {'cosigned' if part.cosigned else part.why}"
        yield "enough witnesses have seen it" if reached else "too few witnesses have seen it"

    output.result(
        document, lambda console: console.print("\n".join(map(printable, told())), soft_wrap=True)
    )
    return ExitCode.DONE if reached else ExitCode.INCOMPLETE


log.add_command(prove)


def _statements(files: Sequence[Path]) -> Iterator[Loggable]:
    for file in files:
        if is_folder(file):
            yield from loggable_statements(file)
        else:
            yield read_loggable(file)
