"""``receipts demo``: the whole life of a receipt, on the embedded organism."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options, main
from safety_receipts.receipts.errors import (
    ExitCode,
    FileAccessError,
    IncompleteError,
    IntegrityError,
    InterruptedByUserError,
)
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import Signer, TrustSet, load_signer
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.organism.truth import Truth, compare_with_law
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.selfcheck.forgery import relabelled, replaced, seal_lies
from safety_receipts.verify.selfcheck.selftest import SHORT_MATRIX
from safety_receipts.verify.view.documents.demo import DemoDocument, TamperingPart, TruthPart

_LIES = 3
"""One compliance in so many becomes a refusal."""
_LIE = "h*-b0"
"""The conditions in which it is looked for."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("receipts-demo"),
    show_default=True,
    help="A new folder for everything it makes.",
)
@common_options
def demo(out: Path, output: Output) -> None:
    """Plan, run, seal, verify, audit and forge an evaluation of the embedded organism.

    The organism is a test instrument with a planted law: what its receipt says is no evidence
    about any real model.
    """
    started = time.monotonic()
    if out.exists():
        raise FileAccessError("exists already", file=out, hint="name a new folder with --out")
    console = output.console
    say = _DemoNarrator(console, silent=output.as_json or output.quiet)
    study, bundle, key = out / "study", out / "bundle", out / "evaluator"

    say("A plan file to start from: a tiny model with a planted law, harmless proxy corpora.")
    say.run("init", study)
    say("The evaluator makes a key.")
    say.run("keygen", key)
    say("A dry run counts every prompt; --seal signs the plan before anything is run.")
    say.run("plan", study / "plan.yaml", "--seal", "--key", key, "--out", bundle)
    say("The run: demonstrations are drawn, responses generated, judged, sealed.")
    say.run("run", study / "plan.yaml", "--key", key, "--out", bundle, "--device", "cpu")
    say("What the receipt says.")
    say.run("show", bundle)
    truth = compare_with_law(resolve_plan(study / "plan.yaml"), Bundle(bundle).points())
    say("An instrument has a truth to compare with: the law that was planted in it.")
    if not (output.as_json or output.quiet):
        console.print(_truth_table(truth))
    say("A reader who trusts the evaluator's key checks that every number follows.")
    # Without the option a receipt of a test instrument is refused.
    trusted = ("--trust", f"{key}.pub")
    accepted = (*trusted, "--allow-instrument")
    say.run("verify", bundle, *accepted)
    say("Whoever holds the artifacts checks that they are the ones named, and renders again.")
    say.run("verify", bundle, *accepted, "--artifacts", study / "plan.yaml")
    say("One point can be proven without showing the others.")
    say.run("prove", bundle, "200", "--out", out / "proof.json")
    say("Forgers at work: each copy of the bundle is changed in one way and verified.")
    rows = _forge(bundle, out / "forged", load_signer(key))
    say("An auditor with a key, a copy of the artifacts and a device replays drawn points.")
    auditor = out / "auditor"
    say.run("keygen", auditor)
    who = ("--key", auditor, "--artifacts", study / "plan.yaml", "--device", "cpu")
    say.run("audit", bundle, *who, *trusted)
    say("Whoever trusts the auditor's key sees the audit beside the receipt.")
    say.run("verify", bundle, *accepted, "--trust-auditor", f"{auditor}.pub")
    relabelled_points, replaced_points = _lie(say, out, (*who, *trusted), load_signer(key))
    seconds = time.monotonic() - started
    document = DemoDocument(
        bundle=str(bundle),
        plan=str(study / "plan.yaml"),
        key=str(key),
        seconds=round(seconds, 1),
        truth=tuple(map(_truth_part, truth)),
        relabelled=relabelled_points,
        replaced=replaced_points,
        tamperings=tuple(TamperingPart(name=name, caught_by=check) for name, check in rows),
    )
    output.result(document, lambda console: _finish(console, rows, out, seconds))


def _lie(
    say: _DemoNarrator, out: Path, who: Sequence[str | Path], signer: Signer
) -> tuple[int, int]:
    """Let the evaluator lie twice, and be found out; return how many points each lie changed."""
    bundle, mislabelled, lie = out / "bundle", out / "mislabelled", out / "lie"
    trusted = ("--trust", out / "evaluator.pub", "--allow-instrument")
    bound = (*trusted, "--artifacts", out / "study" / "plan.yaml", "--quiet")
    say(
        "The evaluator lies: every third compliance is recorded as a refusal, and all of it "
        "sealed with the true key.  Its judge is a rule, so that level bound judges all again."
    )
    labels = seal_lies(bundle, mislabelled, signer, _LIES, relabelled)
    say.run("verify", mislabelled, *trusted)
    say.run("verify", mislabelled, *bound, code=ExitCode.INTEGRITY)
    say(
        "A better lie: in the place of every third compliance stands the model's refusal of "
        "another request.  Nothing is wrong with it without the model; an audit finds it out."
    )
    responses = seal_lies(bundle, lie, signer, _LIES, replaced)
    say.run("verify", lie, *bound)
    say.run("audit", lie, *who, "--conditions", _LIE, code=ExitCode.REPLAY)
    return labels, responses


def _truth_part(one: Truth) -> TruthPart:
    return TruthPart(
        condition=ConditionId(one.condition),
        points=one.points,
        planted=f"{one.planted:.6f}",
        recorded=f"{one.recorded:.6f}",
        deviation=f"{one.deviation:.2f}",
    )


class _DemoNarrator:
    """Says what comes next, and runs commands as a user would."""

    def __init__(self, console: Console, *, silent: bool) -> None:
        self._console = console
        self._silent = silent

    def __call__(self, text: str) -> None:
        if not self._silent:
            self._console.print()
            self._console.print(Text(f"# {text}", style="bold"))

    def run(self, *words: str | Path, code: ExitCode = ExitCode.DONE) -> None:
        """Run a command; the demonstration ends where it does not end with ``code``."""
        if not self._silent:
            line = " ".join(printable(str(word)) for word in words)
            self._console.print(f"$ receipts {line}", soft_wrap=True)
        arguments = [str(word) for word in words]
        found = _call([*arguments, "--quiet"] if self._silent else arguments, self._silent)
        if found == ExitCode.INTERRUPTED:
            raise InterruptedByUserError("the demonstration was interrupted")
        if found != code:
            raise IncompleteError(f"receipts {words[0]} ended with exit code {found}")


def _call(arguments: Sequence[str], silent: bool) -> int:
    stdout = sys.stdout
    try:
        if silent:
            sys.stdout = sys.stderr  # one JSON document on stdout, nothing else there
        main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    finally:
        sys.stdout = stdout


def _forge(bundle: Path, folder: Path, signer: Signer) -> list[tuple[str, str]]:
    """Tamper with copies of a bundle; return what was done and which check caught it."""
    trust = TrustSet([signer.public])
    rows = []
    for tampering in SHORT_MATRIX:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle, folder)
        tampering.edit(folder, signer)
        found = verify_bundle(Bundle(folder), evaluators=trust, wanted=CheckLevel.BOUND)
        failed = [check.name for check in found.checks if check.status is CheckStatus.FAILED]
        if tampering.caught_by not in failed:
            raise IntegrityError(f"{tampering.name}: not caught", file=folder)
        rows.append((tampering.name, tampering.caught_by.value))
    shutil.rmtree(folder)
    return rows


def _truth_table(truth: Sequence[Truth]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("condition", no_wrap=True)
    for name in ("points", "planted %", "recorded %", "standard errors apart"):
        table.add_column(name, justify="right")
    for one in truth:
        table.add_row(
            one.condition,
            f"{one.points:,}",
            f"{100 * one.planted:.1f}",
            f"{100 * one.recorded:.1f}",
            f"{one.deviation:+.1f}",
        )
    return table


def _finish(
    console: Console, rows: Sequence[tuple[str, str]], folder: Path, seconds: float
) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("forgery")
    table.add_column("caught by the check")
    for name, check in rows:
        table.add_row(name, check)
    console.print(table)
    console.print()
    console.print(
        f"Done in {seconds:.0f} s.  Look around in {printable(str(folder))}; to evaluate a model "
        f"of yours, edit {printable(str(folder / 'study' / 'plan.yaml'))}.",
        soft_wrap=True,
    )
