"""Runs the commands of one input, and says what is wrong with how they end."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzzing.inputs import Base, Input, make_input
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import main
from safety_receipts.receipts.documents.parse import parse_document
from safety_receipts.receipts.errors import ExitCode
from safety_receipts.receipts.findings.derive import differences
from safety_receipts.receipts.model.statement import EvaluationStatement

DOCUMENTED = {
    ExitCode.DONE,
    ExitCode.POLICY,
    ExitCode.BAD_INPUT,
    ExitCode.INTEGRITY,
    ExitCode.REPLAY,
    ExitCode.INCOMPLETE,
}
"""Codes that a command may end with, whatever it is given."""
NUMBERS = ("conditions", "baseline", "findings", "tested")
"""Parts of a receipt that follow from evidence and plan.  The second judge's agreement follows from
restricted records, and is held to them at level bound."""


@dataclass(frozen=True)
class Finding:
    """Something that should not be."""

    number: int
    kind: str
    what: str
    command: str
    notes: str


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    """None: an exception came out of it."""
    out: str
    err: str


def examine(
    base: Base, seed: int, number: int, kinds: Sequence[str], most: int | None = None
) -> list[Finding]:
    """Make an input, run its commands, or the first ``most`` of them, and return what is wrong."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = make_input(base, seed, number, Path(folder), kinds)
        found = []
        for words in made.commands[:most]:
            found += [
                Finding(number, made.kind, what, " ".join(words), "; ".join(made.notes))
                for what in _problems(made, words, run(words))
            ]
    return found


def run(words: Sequence[str]) -> Ended:
    """Run one command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: int | None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(words))
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else None
    except BaseException:
        err.write(traceback.format_exc())
        code = None
    return Ended(code, out.getvalue(), err.getvalue())


def _problems(made: Input, words: Sequence[str], ended: Ended) -> Iterator[str]:
    if ended.code is None:
        yield f"traceback: {ended.err.strip()}"
        return
    if ended.code not in DOCUMENTED:
        yield f"exit code {ended.code}: {(ended.err or ended.out).strip()[:300]}"
    if "Traceback" in ended.err:
        yield f"a traceback on stderr: {ended.err[-300:]}"
    if "not enough memory" in ended.err + ended.out[:300]:
        yield "not enough memory"
    if "--json" in words:
        yield from _document_problems(made, words, ended)


def _document_problems(made: Input, words: Sequence[str], ended: Ended) -> Iterator[str]:
    try:
        document = json.loads(ended.out)
    except ValueError:
        yield f"no JSON document on stdout, exit code {ended.code}: {ended.err[:200]}"
        return
    if words[0] == "verify" and document.get("verdict") == "passed" and made.mutant is not None:
        # As read: fields that no reader knows are no numbers.
        stated = Bundle(made.mutant).receipt.statement.predicate.to_wire()
        original, _ = parse_document(
            json.dumps(made.original).encode(), EvaluationStatement, "evaluation-statement"
        )
        honest = original.predicate.to_wire()
        for name in NUMBERS:
            # Fitted numbers may differ by their rounding, as two fits do.
            if (other := next(differences(honest[name], stated[name], name), None)) is not None:
                yield f"passed with other numbers: {other}"
