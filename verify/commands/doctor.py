"""``receipts doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.present.output import Output
from safety_receipts.verify.present.verification import show_doctor
from safety_receipts.verify.selfcheck.doctor import TRIED_SECTIONS, examine, examine_server
from safety_receipts.verify.view.documents.doctor import doctor_document


@click.command()
@click.option("--key", type=PATH, multiple=True, metavar="KEY", help="Private key to inspect.")
@click.option("--server", metavar="URL", help="Try this server of a model, and nothing else.")
@click.option("--server-model", metavar="NAME", help="Name under which it offers the model.")
@common_options
def doctor(
    key: tuple[Path, ...], server: str | None, server_model: str | None, output: Output
) -> ExitCode:
    """Report versions and devices, try the engine, and run a signing and tamper self-test.

    The engine runs a few points of the shipped organism, where what runs models is installed:
    exit code 5 where that fails.  The self-test seals a small synthetic event in a temporary
    folder, verifies it, and tampers with it: exit code 3 unless every tampering was caught by
    the right check.  With --server a server is tried instead for everything that a run relies on:
    exit code 5 where it cannot be used.
    """
    if server_model is not None and server is None:
        raise UsageError("--server-model names a model of a server", hint="give --server URL too")
    lines = examine(key) if server is None else examine_server(server, server_model)
    bad = [line for line in lines if line.good is False]
    document = doctor_document(lines)
    output.result(document, lambda console: show_doctor(console, lines, quiet=output.quiet))
    if any(line.section not in TRIED_SECTIONS for line in bad):
        return ExitCode.INTEGRITY
    return ExitCode.INCOMPLETE if bad else ExitCode.DONE
