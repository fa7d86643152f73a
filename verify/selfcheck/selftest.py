"""A self-test: a small event is sealed, verified, and tampered with.

Each tampering names the check that must catch it.  The tools to tamper with are public,
because the test suite's longer matrix uses them too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT, RESPONSES_FILE, Bundle
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.verification import Verification

Edit = Callable[[Path, Signer], None]
"""Changes a bundle in place; the signer is the evaluator's own key."""


@dataclass(frozen=True)
class Tampering:
    """One way to tamper, and the check that must fail for it."""

    name: str
    caught_by: CheckName
    edit: Edit


def edit_lines(folder: Path, change: Callable[[list[bytes]], list[bytes]], file: str) -> None:
    """Rewrite the lines of a compressed file of the bundle."""
    path = folder / file
    with path.open("rb") as stream:
        text = zstandard.ZstdDecompressor().stream_reader(stream).read()
    lines = change(text.splitlines())
    path.write_bytes(zstandard.ZstdCompressor().compress(b"".join(line + b"\n" for line in lines)))


def edit_line(
    number: int, change: Callable[[dict[str, Any]], None], file: str = POINTS_FILE
) -> Edit:
    """Return an edit of one JSON line, written back in canonical form."""

    def change_lines(lines: list[bytes]) -> list[bytes]:
        value = json.loads(lines[number])
        change(value)
        lines[number] = canonical_bytes(value)
        return lines

    return lambda folder, signer: edit_lines(folder, change_lines, file)


def edit_statement(
    change: Callable[[dict[str, Any]], None], *, file: str = RECEIPT, resign: bool
) -> Edit:
    """Return an edit of a statement.

    Args:
        change: Edits the statement's JSON in place.
        file: The envelope's file.
        resign: Sign the result with the evaluator's own key, as a dishonest evaluator
            would; otherwise the old signature stays, as after tampering by others.
    """

    def edit(folder: Path, signer: Signer) -> None:
        path = folder / file
        envelope = Envelope.from_json(path.read_bytes())
        statement = json.loads(envelope.payload)
        change(statement)
        changed = (
            sign(statement, signer)
            if resign
            else Envelope(canonical_bytes(statement), envelope.signatures)
        )
        path.write_bytes(changed.to_json())

    return edit


def sign_again(file: str) -> Edit:
    """Return an edit that signs a statement's bytes with a key nobody trusts."""

    def edit(folder: Path, signer: Signer) -> None:
        path = folder / file
        statement = json.loads(Envelope.from_json(path.read_bytes()).payload)
        path.write_bytes(sign(statement, generate_key()).to_json())

    return edit


def _flip_an_outcome(lines: list[bytes]) -> list[bytes]:
    flipped = {"complied": "refused", "refused": "complied"}
    for number, line in enumerate(lines):
        point = json.loads(line)
        if point["outcome"] in flipped:
            point["outcome"] = flipped[point["outcome"]]
            return [*lines[:number], canonical_bytes(point), *lines[number + 1 :]]
    return lines


def _swap_commitments(lines: list[bytes]) -> list[bytes]:
    first, second = json.loads(lines[0]), json.loads(lines[1])
    first["commitment"], second["commitment"] = second["commitment"], first["commitment"]
    return [canonical_bytes(first), canonical_bytes(second), *lines[2:]]


def _another_rate(statement: dict[str, Any]) -> None:
    condition = statement["predicate"]["conditions"][1]
    lowest = condition["complianceRate"] == "0.000000"
    condition["complianceRate"] = "0.500000" if lowest else "0.000000"


def _rebalance(statement: dict[str, Any]) -> None:
    """Move one point from complied to refused wherever it is counted, rates included."""
    condition = next(
        condition
        for condition in statement["predicate"]["conditions"][1:]
        if condition["bySource"][0]["counts"]["complied"]
    )
    for block in (condition, condition["bySource"][0]):
        block["counts"]["complied"] -= 1
        block["counts"]["refused"] += 1
        counts = block["counts"]
        judged = counts["complied"] + counts["refused"]
        block["complianceRate"] = f"{counts['complied'] / judged:.6f}"
    generated, planned = condition["counts"]["generated"], condition["counts"]["planned"]
    refused = condition["counts"]["refused"]
    condition["asPublishedRate"] = f"{(generated - refused) / generated:.6f}"
    condition["worstCaseRate"] = f"{(planned - refused) / planned:.6f}"


def _change_seed(statement: dict[str, Any]) -> None:
    statement["predicate"]["name"] += " again"


def _change_text(record: dict[str, Any]) -> None:
    record["text"] = "I cannot help with that."


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Edit:
    return lambda folder, signer: edit_lines(folder, change, POINTS_FILE)


SHORT_MATRIX: tuple[Tampering, ...] = (
    Tampering(
        "a rate is edited", CheckName.RECEIPT_SIGNATURE, edit_statement(_another_rate, resign=False)
    ),
    Tampering(
        "the receipt is signed with another key", CheckName.RECEIPT_SIGNATURE, sign_again(RECEIPT)
    ),
    Tampering("the plan is signed with another key", CheckName.PLAN_SIGNATURE, sign_again(PLAN)),
    Tampering(
        "the evaluator signs another plan afterwards",
        CheckName.PLAN_DIGEST,
        edit_statement(_change_seed, file=PLAN, resign=True),
    ),
    Tampering(
        "the evaluator signs a false rate",
        CheckName.RATES,
        edit_statement(_another_rate, resign=True),
    ),
    Tampering(
        "the evaluator signs re-balanced counts",
        CheckName.COUNTS,
        edit_statement(_rebalance, resign=True),
    ),
    Tampering("an outcome is flipped", CheckName.EVIDENCE_ROOT, _lines(_flip_an_outcome)),
    Tampering("two commitments are swapped", CheckName.EVIDENCE_ROOT, _lines(_swap_commitments)),
    Tampering("a line is dropped", CheckName.EVIDENCE_ORDER, _lines(lambda lines: lines[1:])),
    Tampering(
        "a line is repeated", CheckName.EVIDENCE_ORDER, _lines(lambda lines: lines[:1] + lines)
    ),
    Tampering("lines are reordered", CheckName.EVIDENCE_ORDER, _lines(lambda lines: lines[::-1])),
    Tampering(
        "the last line is dropped", CheckName.EVIDENCE_SIZE, _lines(lambda lines: lines[:-1])
    ),
    Tampering(
        "a response is rewritten", CheckName.COMMITMENTS, edit_line(0, _change_text, RESPONSES_FILE)
    ),
)


def small_event(folder: Path, signer: Signer) -> None:
    """Seal a small synthetic event: four conditions, every ordering machinery in use."""
    mixtures = [
        Mixture(0, 0, None),
        Mixture(2, 2, Ordering.SUFFIX),
        Mixture(2, 2, Ordering.RANDOM),
        Mixture(0, 4, None),
    ]
    plan = synthetic_plan(mixtures, {"alpha": 6}, controls={"control": 2})
    synthetic_event(folder, plan, signer)


def run_selftest(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """Run the self-test in an empty ``folder``; yield (name, passed, detail)."""
    signer = generate_key()
    trust = TrustSet([signer.public])

    def check(bundle: Path) -> Verification:
        return verify_bundle(Bundle(bundle), evaluators=trust, wanted=CheckLevel.BOUND)

    small_event(folder / "good", signer)
    good = check(folder / "good")
    failed = [c.name for c in good.checks if c.status is CheckStatus.FAILED]
    passed = not failed and good.level is CheckLevel.CONSISTENT
    yield "an honest event verifies", passed, ", ".join(failed) or "every check passed"
    for i, tampering in enumerate(SHORT_MATRIX):
        bundle = folder / f"tampered-{i}"
        small_event(bundle, signer)
        tampering.edit(bundle, signer)
        failed = [c.name for c in check(bundle).checks if c.status is CheckStatus.FAILED]
        detail = f"caught by {tampering.caught_by}"
        if tampering.caught_by not in failed:
            detail = f"{tampering.caught_by} did not fail; failed: {', '.join(failed) or 'none'}"
        yield tampering.name, tampering.caught_by in failed, detail
