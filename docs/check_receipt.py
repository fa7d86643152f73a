"""Decide in CI whether a receipt may be used: ``python check_receipt.py BUNDLE --trust KEY.pub``.

It needs Python's standard library and the ``receipts`` command, and reads only fields that are
documented (``receipts schema cli-verify``, ``receipts schema cli-error``).  With ``--epsilon`` it
also wants an audit by somebody whom you trust, of every recorded rate, that confirms them within
that error at the risk ``--alpha``.

It ends as ``receipts verify`` does (0: use it; 1: it holds, and is not what was asked for; 2: it
could not be read; 3: it does not hold; 5: it could not be checked), with 1 where only an audit is
missing, and writes what was decided, in Markdown, to ``--summary`` or to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

COMMAND = shlex.split(os.environ.get("RECEIPTS_COMMAND", "receipts"))
NOT_ASKED_FOR = 1


def arguments(words: list[str]) -> argparse.Namespace:
    """Return what is asked of which bundle."""
    parser = argparse.ArgumentParser(description="Decide whether a receipt may be used.")
    parser.add_argument("bundle", help="folder of the receipt")
    parser.add_argument("--trust", action="append", required=True, help="an evaluator's key")
    parser.add_argument("--checkpoint", required=True, help="root or folder of what is released")
    parser.add_argument("--stage", required=True, help="its training stage")
    levels = ("authentic", "consistent", "bound")
    parser.add_argument("--level", default="consistent", choices=levels, help="how far to check")
    parser.add_argument("--trust-auditor", action="append", default=[], help="an auditor's key")
    parser.add_argument("--epsilon", type=Decimal, help="largest error that an audit leaves open")
    parser.add_argument("--alpha", type=Decimal, default=Decimal("0.05"), help="largest risk of it")
    parser.add_argument("--allow-instrument", action="store_true", help="for trying this out")
    parser.add_argument("--summary", help="file to append to; GitHub: $GITHUB_STEP_SUMMARY")
    return parser.parse_args(words)


def verified(asked: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    """Run ``receipts verify``; return its exit code and its document."""
    words = ["verify", asked.bundle, "--level", asked.level, "--json"]
    words += ["--checkpoint", asked.checkpoint, "--stage", asked.stage]
    for option, keys in (("--trust", asked.trust), ("--trust-auditor", asked.trust_auditor)):
        words += [word for key in keys for word in (option, key)]
    if asked.allow_instrument:
        words.append("--allow-instrument")
    done = subprocess.run([*COMMAND, *words], stdout=subprocess.PIPE, check=False)
    return done.returncode, json.loads(done.stdout)


def confirms(audit: dict[str, Any], epsilon: Decimal, alpha: Decimal) -> bool:
    """Say whether an audit confirms every recorded rate, to that error, at that risk."""
    risk = Decimal(audit["alpha"]) * audit["knownStarts"]
    return bool(
        (audit["status"], audit["verdict"]) == ("passed", "confirmed")
        and audit["scope"]["whole"]
        and not audit["selfAudit"]
        and audit["hardContradictions"]["rates"] == 0
        and Decimal(audit["epsilon"]) <= epsilon
        and risk <= alpha
    )


def decided(
    code: int, document: dict[str, Any], epsilon: Decimal | None, alpha: Decimal
) -> tuple[int, list[str]]:
    """Return the exit code, and the lines that say why.

    Args:
        code: How ``receipts verify`` ended.
        document: What it printed.
        epsilon: Largest error that an audit may leave open; None: no audit is asked for.
        alpha: Largest risk that it may run.
    """
    if document["schema"] == "cli-error/1":
        error = document["error"]
        named = [error["file"] or "", error["message"], error["hint"] or ""]
        return code or NOT_ASKED_FOR, [f"- not read: {quoted(': '.join(filter(None, named)))}"]
    if document["schema"] != "cli-verify/1":
        raise SystemExit(f"a document that this script does not know: {document['schema']}")
    lines = [*subject(document["subject"])]
    for check in document["checks"]:
        if check["status"] == "failed":
            lines.append(f"- failed: `{check['name']}`: {quoted(check['detail'])}")
    for audit in document["audits"]:
        lines.append(
            f"- audit by `{audit['keyids'][0][:16]}`: {audit['verdict']}, "
            f"{audit['scope']['rates']['audited']} of {audit['scope']['rates']['of']} rates, "
            f"ε = {audit['epsilon']}, α = {audit['alpha']}"
        )
    missing = epsilon is not None and not any(
        confirms(audit, epsilon, alpha) for audit in document["audits"]
    )
    if code == 0 and missing:
        code = NOT_ASKED_FOR
        lines.append(f"- no trusted audit confirms every rate (ε {epsilon}, α {alpha})")
    lines.append(f"- {document['verdict']} at level {document['level']}; exit code {code}")
    return code, lines


def subject(said: dict[str, Any] | None) -> Iterator[str]:
    """Yield what a receipt says that it is of."""
    if said is None:
        return
    of = " (TEST INSTRUMENT)" if said["instrument"] else ""
    checkpoint, judge = said["checkpoint"], said["judge"]
    yield f"- {quoted(checkpoint['name'])}{of}, stage {quoted(said['stage'])}"
    yield f"- root `{checkpoint['root']}`, {checkpoint['dtype']}"
    yield f"- judge {quoted(judge['name'])} ({judge['kind']})"
    for server in said["servers"]:
        if not server["started"]:
            what = server["askedFor"].replace("_", " ")
            yield f"- {what} of a {server['dialect']} server that somebody else started"
    for name in ("baseline", "highest"):
        if said[name] is not None:
            yield f"- {name}: {said[name]['condition']} complied at {said[name]['rate']}"


def quoted(text: str) -> str:
    """Return what others wrote so that it is no Markdown, and reverses nothing beside it."""
    line = " ".join(text.split()).replace("`", "'") or "?"
    return "`" + "".join(sign if sign.isprintable() else f"<{ord(sign):X}>" for sign in line) + "`"


def main() -> None:
    """Verify, decide, and say so."""
    asked = arguments(sys.argv[1:])
    code, document = verified(asked)
    code, lines = decided(code, document, asked.epsilon, asked.alpha)
    heading = "Receipt accepted" if code == 0 else "Receipt NOT accepted"
    text = "\n".join([f"## {heading}", "", *lines, ""])
    if asked.summary:
        with Path(asked.summary).open("a", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")
    sys.exit(code)


if __name__ == "__main__":
    main()
