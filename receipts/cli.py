"""The ``receipts`` command: lazy sub-commands, shared options, errors as one line."""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import click

from safety_receipts.receipts.errors import (
    DEBUG,
    ExitCode,
    FileAccessError,
    IncompleteError,
    InternalError,
    InterruptedByUserError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.extras import install

if TYPE_CHECKING:
    from safety_receipts.receipts.present.output import Output

_PACKAGE = __name__.partition(".")[0]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "verify.commands.demo:demo",
        "Show the whole life of a receipt, on the embedded organism.",
    ),
    "init": ("runner.commands.init:init", "Write a plan.yaml to start from."),
    "plan": (
        "runner.commands.plan:plan",
        "Resolve, count and seal a plan; nothing is run.",
    ),
    "run": ("runner.commands.run:run", "Run a plan and seal the receipt."),
    "rejudge": (
        "verify.commands.rejudge:rejudge",
        "Judge recorded responses again, by another judge.",
    ),
    "show": ("receipts.commands.show:show", "Show what a receipt says."),
    "verify": (
        "verify.commands.verify:verify",
        "Check a bundle offline: authentic, consistent, bound.",
    ),
    "gate": (
        "verify.commands.gate:gate",
        "Hold verified receipts to a release policy.",
    ),
    "report": (
        "verify.commands.report:report",
        "Write a page that verifies itself in a browser.",
    ),
    "attach": (
        "verify.commands.attach:attach",
        "Write what a verified receipt says into a model card.",
    ),
    "audit": (
        "verify.commands.audit:audit",
        "Replay drawn points and test the rates.",
    ),
    "calibrate": (
        "verify.commands.calibrate:calibrate",
        "Measure how honest responses look when replayed.",
    ),
    "judge": (
        "runner.commands.judge:judge",
        "Measure how often a plan's judge agrees with people.",
    ),
    "compare": (
        "verify.commands.compare:compare",
        "Compare training stages or models.",
    ),
    "prove": (
        "receipts.commands.prove:prove",
        "Write the inclusion proof of one point.",
    ),
    "publish": ("verify.commands.publish:publish", "Copy the parts that others may hold."),
    "export": (
        "verify.commands.export:export",
        "Write a verified receipt in another tool's format.",
    ),
    "timestamp": (
        "receipts.commands.timestamp:timestamp",
        "Have an authority stamp plan and receipt.",
    ),
    "log": (
        "receipts.commands.log:log",
        "Keep a transparency log of sealed statements.",
    ),
    "keygen": ("receipts.commands.keygen:keygen", "Make a signing key pair."),
    "schema": ("receipts.commands.schema:schema", "Print a JSON Schema."),
    "doctor": ("verify.commands.doctor:doctor", "Report versions and run a self-test."),
}
"""Name → where it lives below the package, and its one-line help (known without importing it)."""


_RUN_EXTRA = {
    "huggingface_hub",
    "jinja2",
    "pyarrow",
    "safetensors",
    "statsmodels",
    "tokenizers",
    "torch",
    "transformers",
}
"""Packages that reading and verifying receipts does without."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of a receipt's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of one that is misspelt the nearest is named."""
        near = get_close_matches(args[0], COMMANDS, n=1) if args[0] not in COMMANDS else []
        if near:
            ctx.fail(f"No such command {args[0]!r}.  Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; end as other tools do when whoever reads the output went away."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Not 0: a gate that pipes into `head` must not take a failure for a pass.  Not
            # click's 1 either, which here means that a policy is not met.
            _abandon_stdout()
            return ExitCode.OUTPUT_CLOSED

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from :data:`COMMANDS`, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RECEIPTS"},
)
@click.version_option(package_name="safety-receipts", prog_name="receipts")
def root() -> None:
    """Seal and check mixed-demonstration safety evaluations.

    New here?  `receipts demo` shows all of it in a minute; `receipts init study` writes a plan to
    start from.  An evaluator uses init, keygen, plan, run, show and publish; a reader or a release
    gate verify; an auditor audit.

    Exit codes: 0 done; 1 it holds, and is not what was asked for; 2 usage or malformed input;
    3 integrity failure; 4 replay contradiction; 5 incomplete or unverifiable;
    70 a fault in this program; 130 interrupted; 141 the reader of the output went away.
    """


@dataclass
class _Session:
    """One command line, from its words to its exit code."""

    arguments: Sequence[str]
    output: Output | None = None
    """How the command speaks; None until its options are read."""

    @property
    def wants_json(self) -> bool:
        """Whether an error is to be one JSON document, as far as can be told."""
        if self.output is not None:
            return self.output.as_json
        # A group's commands have their own variables: RECEIPTS_JUDGE_CALIBRATE_JSON.
        words = [word for word in self.arguments if not word.startswith("-")]
        names = [f"RECEIPTS_{'_'.join(words[:n]).upper()}_JSON" for n in (1, 2)]
        return "--json" in self.arguments or any(map(_is_set, names))


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def common_options(function: Callable[..., ExitCode | None]) -> Callable[..., ExitCode | None]:
    """Add ``--json`` and ``--quiet``, which every command takes, as one ``output`` argument."""

    @click.option("--json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("--quiet", "-q", is_flag=True, help="Print results and errors only.")
    @functools.wraps(function)
    def command(*, json: bool, quiet: bool, **arguments: Any) -> ExitCode | None:
        from safety_receipts.receipts.present.output import Output  # noqa: PLC0415  # rich is not for --help

        output = Output(as_json=json, quiet=quiet)
        session = click.get_current_context().find_object(_Session)
        if session is not None:
            session.output = output
        return function(output=output, **arguments)

    return command


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    session = _Session(sys.argv[1:] if arguments is None else list(arguments))
    _prepare_streams()
    with _watched_threads() as failed:
        try:
            code = _run(session)
            if failed:
                code = _report_internal(failed[0], session)
        except SystemExit:
            raise
        except KeyboardInterrupt:  # another one, while something was told
            code = ExitCode.INTERRUPTED
        except BaseException as error:  # panics of Rust libraries are no Exception
            code = _report_internal(error, session)
    sys.exit(int(code or 0))


def _run(session: _Session) -> ExitCode | int | None:
    """Run a command and return its exit code; errors that somebody foresaw are reported."""
    try:
        code: ExitCode | int | None = root.main(
            args=list(session.arguments), prog_name="receipts", standalone_mode=False, obj=session
        )
    except ReceiptsError as error:
        code = _report(error, session)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        code = ExitCode.BAD_INPUT
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"see: {context.command_path} --help" if context else None
        code = _report(UsageError(error.format_message(), hint=hint), session)
    except (KeyboardInterrupt, click.Abort):
        code = _report(InterruptedByUserError("interrupted"), session)
    except OSError as error:
        # Files that commands open are wrapped where they are opened; what is left are the
        # odd refusals of looking at a path at all (too long a name, a closed folder).
        named = error.filename if isinstance(error.filename, str) else None
        code = _report(FileAccessError.from_os(error, "use", named), session)
    except MemoryError:
        code = _report(ReceiptsError("not enough memory"), session)
    except ModuleNotFoundError as error:
        if error.name not in _RUN_EXTRA:
            raise
        missing = IncompleteError(f"{error.name} is not installed", hint=install("run"))
        code = _report(missing, session)
    except ImportError as error:  # a library is there, and is broken or does not fit another
        first = str(error).strip().partition("\n")[0]
        broken = IncompleteError(
            f"a library cannot be loaded: {first}", hint="see what receipts doctor says"
        )
        code = _report(broken, session)
    return code


@contextmanager
def _watched_threads() -> Iterator[list[BaseException]]:
    """Collect what ends threads other than this one: Python would print it, and go on."""
    failed: list[BaseException] = []

    def collect(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            failed.append(found.exc_value)

    before, threading.excepthook = threading.excepthook, collect
    try:
        yield failed
    finally:
        threading.excepthook = before


def _report_internal(error: BaseException, session: _Session) -> ExitCode:
    if _is_set(DEBUG):
        traceback.print_exception(error)
    try:
        return _report(InternalError.from_exception(error), session)
    except (OSError, ValueError):  # neither stream can be written to: the code alone speaks
        return ExitCode.INTERNAL


def _prepare_streams() -> None:
    """Make both streams writable whatever the locale: a result is never lost to an encoding."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever called us (``>&-``)
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(error: ReceiptsError, session: _Session) -> ExitCode:
    begun = session.output is not None and session.output.begun
    try:
        if session.wants_json and not begun:
            print(json.dumps(error.as_json()), flush=True)
            return error.exit_code
        sys.stdout.flush()
    except OSError:
        # Nobody can read stdout (a full disk, a closed pipe): stderr may still be read.
        _abandon_stdout()
    sys.stderr.write(f"receipts: {error.one_line()}\n")
    return error.exit_code


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter does not fail to flush it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
