"""Ways to tamper with a bundle, and what must come of each."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from safety_receipts.receipts.bundle import PLAN, POINTS_FILE, RECEIPT
from safety_receipts.receipts.dsse import Envelope, Signature, pae, sign
from safety_receipts.receipts.keys import Signer, generate_key
from safety_receipts.verify.selfcheck.selftest import Edit, edit_line, edit_lines, edit_statement


@dataclass(frozen=True)
class Case:
    """A tampering, and the check that must fail or the words of the error it must end in."""

    name: str
    edit: Edit
    check: str | None = None
    """Name of the check that fails; exit code 3."""
    error: str | None = None
    """Part of the one-line error; exit code 2."""
    detail: str = ""
    """Part of the failed check's detail."""


def raw(file: str, change: Callable[[bytes], bytes]) -> Edit:
    """Edit the bytes of a file."""

    def edit(folder: Path, signer: Signer) -> None:
        path = folder / file
        path.write_bytes(change(path.read_bytes()))

    return edit


def payload(change: Callable[[bytes], bytes], file: str = RECEIPT) -> Edit:
    """Edit the payload bytes and sign them with the evaluator's key."""

    def edit(folder: Path, signer: Signer) -> None:
        path = folder / file
        body = change(Envelope.from_json(path.read_bytes()).payload)
        signature = Signature(
            signer.public.keyid, signer.sign(pae("application/vnd.in-toto+json", body))
        )
        path.write_bytes(Envelope(body, (signature,)).to_json())

    return edit


def envelope(change: Callable[[dict[str, Any]], None], file: str = RECEIPT) -> Edit:
    """Edit the envelope's JSON."""

    def edit(folder: Path, signer: Signer) -> None:
        path = folder / file
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return edit


def predicate(change: Callable[[dict[str, Any]], None]) -> Edit:
    """Edit the receipt's predicate and sign it with the evaluator's key."""
    return edit_statement(lambda statement: change(statement["predicate"]), resign=True)


def lines(change: Callable[[list[bytes]], list[bytes]], file: str = POINTS_FILE) -> Edit:
    """Edit the list of evidence lines."""
    return lambda folder, signer: edit_lines(folder, change, file)


def line(change: Callable[[bytes], bytes], number: int = 3) -> Edit:
    """Edit the bytes of one evidence line."""

    def change_lines(all_lines: list[bytes]) -> list[bytes]:
        all_lines[number] = change(all_lines[number])
        return all_lines

    return lines(change_lines)


def point(**fields: Any) -> Edit:
    """Set fields of evidence line 40 (a condition with demonstrations)."""
    return edit_line(40, lambda value: value.update(fields))


def swap(a: int, b: int) -> Callable[[list[bytes]], list[bytes]]:
    """Exchange two lines."""

    def change(all_lines: list[bytes]) -> list[bytes]:
        all_lines[a], all_lines[b] = all_lines[b], all_lines[a]
        return all_lines

    return change


def compressed(data: bytes) -> bytes:
    """Return one zstd frame."""
    return zstandard.ZstdCompressor().compress(data)


def bomb(byte: bytes) -> Edit:
    """Replace the evidence by 1 GiB of one byte."""

    def edit(folder: Path, signer: Signer) -> None:
        compressor = zstandard.ZstdCompressor(level=1)
        with (
            (folder / POINTS_FILE).open("wb") as stream,
            compressor.stream_writer(stream) as writer,
        ):
            block = byte * 2**20
            for _ in range(2**10):
                writer.write(block)

    return edit


def replace_file(name: str, make: Callable[[Path], None]) -> Edit:
    """Replace a file by something else."""

    def edit(folder: Path, signer: Signer) -> None:
        (folder / name).unlink()
        make(folder / name)

    return edit


def flip_first_counted(predicate_: dict[str, Any]) -> None:
    """Move a compliance to the refusals in all counts of a condition, leaving rates."""
    condition = predicate_["conditions"][1]
    for block in (condition, condition["bySource"][0]):
        block["counts"]["complied"] -= 1
        block["counts"]["refused"] += 1


def call_unscored(predicate_: dict[str, Any]) -> None:
    """Call a compliance unscored: sums still fit."""
    condition = predicate_["conditions"][1]
    for block in (condition, condition["bySource"][0]):
        block["counts"]["complied"] -= 1
        block["counts"]["unscored"] += 1


def between_sources(predicate_: dict[str, Any]) -> None:
    """Move a compliance from one source to another: totals still fit."""
    first, second = predicate_["conditions"][1]["bySource"][:2]
    first["counts"]["complied"] -= 1
    first["counts"]["refused"] += 1
    second["counts"]["complied"] += 1
    second["counts"]["refused"] -= 1
    for block in (first, second):
        counts = block["counts"]
        block["complianceRate"] = f"{counts['complied'] / 10:.6f}"
        if block is second:
            block["complianceRate"] = f"{counts['complied'] / 8:.6f}"


def shrink_plan(predicate_: dict[str, Any]) -> None:
    """Drop the last condition from the results."""
    predicate_["conditions"].pop()


def other_key(document: dict[str, Any]) -> None:
    """Replace the signature by another key's, under the true key id."""
    other = generate_key()
    body = base64.b64decode(document["payload"])
    signature = other.sign(pae(document["payloadType"], body))
    document["signatures"][0]["sig"] = base64.b64encode(signature).decode()


def both_with(key: Signer) -> Edit:
    """Sign plan and receipt again with another key, consistently."""

    def edit(folder: Path, signer: Signer) -> None:
        for file in (PLAN, RECEIPT):
            statement = json.loads(Envelope.from_json((folder / file).read_bytes()).payload)
            (folder / file).write_bytes(sign(statement, key).to_json())

    return edit


def nested(depth: int) -> bytes:
    """Return JSON nested ``depth`` deep."""
    return b"[" * depth + b"]" * depth


def name_checkpoint(name: str) -> Edit:
    """Give the checkpoint another name, in receipt and subject."""

    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["checkpoint"]["name"] = name
        statement["subject"][0]["name"] = name

    return edit_statement(change, resign=True)


def name_file(path: str) -> Edit:
    """Give the checkpoint's file another path."""
    return predicate(lambda p: p["checkpoint"]["files"][0].update(path=path))


FLIP_OUTCOME = edit_line(
    26, lambda v: v.update(outcome="complied" if v["outcome"] == "refused" else "refused")
)


def flip(text: str) -> str:
    """Flip one bit of base64 data."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def stray(text: str) -> str:
    """Set a bit that base64 decoders drop."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    return body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + "=" * (len(text) - len(body))


def reversed_keys(body: bytes) -> bytes:
    """Write an object's keys in the opposite order."""
    pairs = list(json.loads(body).items())
    return json.dumps(dict(pairs[::-1]), separators=(",", ":")).encode()


Receipts = Callable[..., Any]


def copy_file(source: Path, target: Path) -> None:
    """Copy one file over another."""
    shutil.copy(source, target)


def case_id(case: Case) -> str:
    """Return the case's name as a test id."""
    return case.name.replace(" ", "-")


def assert_caught(case: Case, bundle: Path, key: Path, signer: Signer, receipts: Receipts) -> None:
    """Tamper, and hold verification to the named check or error, as a program sees it."""
    case.edit(bundle, signer)
    finished = receipts("verify", bundle, "--trust", key, "--level", "bound", "--json")
    document = json.loads(finished.out)
    assert finished.err == ""
    if case.error is not None:
        assert finished.code == 2
        error = document["error"]
        assert case.error in f"{error['file']}: {error['message']}"
        assert error["exitCode"] == 2
        return
    assert finished.code == 3
    assert document["verdict"] == "failed"
    failed = {c["name"]: c["detail"] for c in document["checks"] if c["status"] == "failed"}
    assert case.check in failed
    assert case.detail in failed[case.check]


def assert_shown_safely(
    case: Case, bundle: Path, key: Path, signer: Signer, receipts: Receipts
) -> None:
    """Tamper, and hold every command to one-line errors and printable output."""
    case.edit(bundle, signer)
    verified = receipts("verify", bundle, "--trust", key, "--level", "bound")
    assert verified.code in (2, 3)
    for finished in (
        verified,
        receipts("show", bundle),
        receipts("prove", bundle, "40"),
        receipts("publish", bundle, "--out", bundle.parent / "published"),
    ):
        assert finished.code in (0, 2, 3, 5)
        assert "Traceback" not in finished.err
        assert finished.err.count("\n") <= 1
        for character in "\x1b\u202e\0":
            assert character not in finished.out + finished.err
