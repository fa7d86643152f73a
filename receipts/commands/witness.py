"""``receipts log witness``: a service that cosigns logs, and never two views of one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples, passphrase_option, read_signer
from safety_receipts.receipts.errors import ExitCode, InterruptedByUserError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.note import NoteKey, SignatureKind
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.witnessing.witness import Witness, init_witness
from safety_receipts.receipts.log.witnessing.witness_server import WitnessServer
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.view.documents.log import WitnessInitDocument, WitnessServeDocument

_MOST_PORT: Final = 65_535

_name_option = click.option(
    "--name", required=True, metavar="NAME", help="The witness's name: a URL without scheme."
)
_key_option = click.option(
    "--key",
    "keys",
    type=PATH,
    multiple=True,
    required=True,
    metavar="KEY",
    help="Its private key, Ed25519 or ML-DSA-44, which signs nothing else.  Repeatable: one of "
    "each kind.",
)


@click.group(short_help="Run a witness, which cosigns logs.")
def witness() -> None:
    """Run a witness, which cosigns the newest view of each log that it knows."""


@witness.command(
    "init",
    short_help="Make the state of a new witness.",
    epilog=examples("receipts log witness init witness.db --name example.com/w --key wkey"),
)
@click.argument("state", type=PATH)
@_name_option
@_key_option
@passphrase_option
@common_options
def witness_init(
    *,
    state: Path,
    name: str,
    keys: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    output: Output,
) -> None:
    """Make the state of a new witness, in the file STATE.

    The keys are new: of what a key cosigned before, a new state knows nothing.  What is printed
    are the witness's lines in a policy of logs.
    """
    signers = _signers(name, keys, passphrase_env, output)
    init_witness(state, [signer.public for signer in signers])
    document = WitnessInitDocument(
        state=str(state), name=name, vkeys=tuple(signer.public.vkey for signer in signers)
    )
    output.result(
        document,
        lambda console: console.print(
            "\n".join(f"witness {label} {vkey}" for label, vkey in _labelled(signers)),
            soft_wrap=True,
        ),
    )
    output.note(
        "Policies of logs name the witness by the line above, with its address at the end.  "
        "A state that is lost, or older than what was cosigned, ends these keys."
    )


@witness.command(
    "serve",
    short_help="Answer requests to cosign logs.",
    epilog=examples(
        "receipts log witness serve witness.db --name example.com/w --key wkey \\\n"
        "      --policy logs --listen 127.0.0.1:8080"
    ),
)
@click.argument("state", type=PATH)
@_name_option
@_key_option
@passphrase_option
@click.option(
    "--policy",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The logs that it knows: the `log` lines of a log policy (C2SP tlog-policy).",
)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to serve, in plain HTTP; port 0: any that is free.",
)
@common_options
def witness_serve(
    *,
    state: Path,
    name: str,
    keys: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    policy: Path,
    listen: str,
    output: Output,
) -> ExitCode:
    """Answer requests to cosign (C2SP tlog-witness), with the state that init made.

    It ends with SIGINT or SIGTERM, once requests that have begun are answered: exit code 0.
    """
    address = _address(listen)
    signers = _signers(name, keys, passphrase_env, output)
    logs = _known_logs(policy)
    serving = Witness(state, signers, logs, lambda: int(time.time()))
    try:
        server = WitnessServer(address, serving)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {listen}: {error.strerror or error}", hint="--listen 127.0.0.1:0"
        ) from None
    document = WitnessServeDocument(
        url=server.url,
        state=str(state),
        vkeys=tuple(signer.public.vkey for signer in signers),
        logs=tuple(logs),
    )
    with _ended_by_signals(server.stop):
        if output.as_json:
            output.result(document, lambda _: None)
        output.note(f"{printable(name)} serves at {server.url}; logs: {len(logs):,}")
        server.serve_forever(poll_interval=0.1)
        server.finish()
    return ExitCode.DONE


def _signers(
    name: str, keys: Sequence[Path], passphrase_env: Sequence[str], output: Output
) -> tuple[WitnessSigner, ...]:
    each = read_signer(keys, passphrase_env, output).each
    found = tuple(
        WitnessSigner.of(name, signer, file) for signer, file in zip(each, keys, strict=True)
    )
    if len({signer.public.kind for signer in found}) < len(found):
        raise UsageError("two keys of one kind", hint="give one Ed25519 and one ML-DSA-44 key")
    return found


def _labelled(signers: Sequence[WitnessSigner]) -> Iterator[tuple[str, str]]:
    """Yield what a policy calls each key: two keys are two witnesses to it."""
    for number, signer in enumerate(signers):
        public = signer.public
        word = "ml-dsa-44" if public.kind is SignatureKind.MLDSA44_COSIGNATURE else "ed25519"
        yield public.name if number == 0 else f"{public.name}-{word}", public.vkey


def _known_logs(policy: Path) -> Mapping[str, tuple[NoteKey, ...]]:
    logs: dict[str, tuple[NoteKey, ...]] = {}
    for log in load_log_policy(policy).logs:
        logs[log.key.name] = (*logs.get(log.key.name, ()), log.key)
    if not logs:
        raise UsageError("names no log", file=policy, hint="log VKEY, a line for each log")
    return logs


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else _MOST_PORT + 1
    if not colon or not host or number > _MOST_PORT:
        raise UsageError(f"--listen {listen}: expected HOST:PORT", hint="--listen 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), number


@contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """End a service with the first SIGINT or SIGTERM, and interrupt it with the second."""
    asked = threading.Event()

    def told(_: int, __: FrameType | None) -> None:
        if asked.is_set():
            raise InterruptedByUserError("interrupted, before all requests were answered")
        asked.set()
        # It waits until nothing is served any longer, which this thread does.
        threading.Thread(target=stop, daemon=True).start()

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
