"""The tamper matrix, second half: evidence lines, compressed files, records, names."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest
from tampering import (
    FLIP_OUTCOME,
    Case,
    Receipts,
    assert_caught,
    assert_shown_safely,
    bomb,
    case_id,
    compressed,
    line,
    lines,
    name_checkpoint,
    name_file,
    nested,
    point,
    raw,
    replace_file,
    reversed_keys,
    swap,
)

from safety_receipts.receipts.bundle import POINTS_FILE, RECEIPT, RESPONSES_FILE
from safety_receipts.verify.selfcheck.selftest import edit_line

MINIMUM = 55


CASES = (
    # Evidence lines
    Case("outcome flipped", FLIP_OUTCOME, "evidence-root"),
    Case("outcome flipped, counted", FLIP_OUTCOME, "counts"),
    Case("line dropped", lines(lambda all_lines: all_lines[:5] + all_lines[6:]), "evidence-order"),
    Case("first line dropped", lines(lambda all_lines: all_lines[1:]), "evidence-order"),
    Case("last line dropped", lines(lambda all_lines: all_lines[:-1]), "evidence-size"),
    Case(
        "line duplicated", lines(lambda all_lines: all_lines[:6] + all_lines[5:]), "evidence-order"
    ),
    Case(
        "last line duplicated",
        lines(lambda all_lines: [*all_lines, all_lines[-1]]),
        "evidence-lines",
        detail="has more than 264 lines",
    ),
    Case("lines swapped", lines(swap(3, 4)), "evidence-order"),
    Case("lines of two conditions swapped", lines(swap(3, 27)), "evidence-order"),
    Case("all lines reversed", lines(lambda all_lines: all_lines[::-1]), "evidence-order"),
    Case("no lines", lines(lambda all_lines: []), "evidence-size"),
    Case(
        "an empty line",
        lines(lambda all_lines: [*all_lines[:3], b"", *all_lines[3:]]),
        "evidence-lines",
        detail="line 4",
    ),
    Case("commitment replaced", point(commitment="0" * 64), "evidence-root"),
    Case("index changed", point(index=41), "evidence-order"),
    Case("query changed", point(query="alpha/99999"), "evidence-order"),
    Case("source changed", point(source="control"), "evidence-order"),
    Case("condition changed", point(condition="h0-b0"), "evidence-order"),
    Case("draw changed", point(draw=7), "evidence-order"),
    Case("labels on a fixed order", point(labels="bbbb"), "evidence-labels"),
    Case(
        "labels of a random order changed",
        edit_line(7 * 24, lambda v: v.update(labels="bbbbb")),
        "evidence-root",
    ),
    Case("prefix flag without a prefix", point(prefixAdopted=True), "evidence-labels"),
    Case("prompt longer than the context", point(promptTokens=70_000), "evidence-endings"),
    Case("response longer than allowed", point(responseTokens=5000), "evidence-endings"),
    Case("prompt length changed", point(promptTokens=1), "prompts"),
    Case(
        "finish and outcome at odds",
        point(finish="error"),
        "evidence-lines",
        detail="cannot occur together",
    ),
    Case("a reason without need", point(reason="judge_na"), "evidence-lines"),
    Case("an unknown outcome", point(outcome="fine"), "evidence-lines", detail="outcome"),
    Case("an unknown field", point(comment="x"), "evidence-lines", detail="line 41"),
    Case("a negative count", point(promptTokens=-1), "evidence-lines"),
    Case(
        "2^53 in a line",
        line(lambda text: text.replace(b'"index":3', b'"index":9007199254740992')),
        "evidence-lines",
    ),
    Case(
        "a float in a line",
        line(lambda text: text.replace(b'"index":3', b'"index":3.0')),
        "evidence-lines",
    ),
    Case(
        "minus zero in a line",
        line(lambda text: text.replace(b'"draw":1', b'"draw":-0')),
        "evidence-lines",
    ),
    Case(
        "NaN in a line",
        line(lambda text: text.replace(b'"index":3', b'"index":NaN')),
        "evidence-lines",
    ),
    Case(
        "a duplicate key in a line", line(lambda text: b'{"index":3,' + text[1:]), "evidence-lines"
    ),
    Case(
        "spaces in a line",
        line(lambda text: text.replace(b",", b", ", 1)),
        "evidence-lines",
        detail="canonical",
    ),
    Case(
        "keys in another order",
        line(reversed_keys),
        "evidence-lines",
        detail="canonical",
    ),
    Case(
        "an escape in a line",
        line(lambda text: text.replace(b"alpha/", b"\\u0061lpha/")),
        "evidence-lines",
        detail="canonical",
    ),
    Case("a carriage return", line(lambda text: text + b"\r"), "evidence-lines"),
    Case(
        "invalid UTF-8 in a line",
        line(lambda text: text.replace(b"alpha/", b"\xffalpha/")),
        "evidence-lines",
    ),
    Case("deep nesting in a line", line(lambda text: nested(8000)), "evidence-lines"),
    Case("a terminal escape in a line", point(query="alpha/\x1b[2J"), "evidence-lines"),
    Case("path traversal in a query", point(query="../../etc/passwd"), "evidence-lines"),
    Case(
        "a line of 17 KiB",
        line(lambda text: b" " * (17 * 1024) + text),
        "evidence-lines",
        detail="longer than",
    ),
    # The compressed file
    Case(
        "truncated evidence",
        raw(POINTS_FILE, lambda data: data[:-100]),
        "evidence-lines",
        detail="truncated",
    ),
    Case(
        "evidence without its checksum",
        raw(POINTS_FILE, lambda data: data[:-2]),
        "evidence-lines",
        detail="truncated",
    ),
    Case(
        "damaged evidence",
        raw(POINTS_FILE, lambda data: data[:200] + b"\0\0\0\0" + data[204:]),
        "evidence-lines",
    ),
    Case(
        "bytes after the evidence",
        raw(POINTS_FILE, lambda data: data + b"x"),
        "evidence-lines",
        detail="after the end",
    ),
    Case(
        "a second frame",
        raw(POINTS_FILE, lambda data: data + compressed(b"more\n")),
        "evidence-lines",
        detail="more than one zstd frame",
    ),
    Case(
        "evidence not compressed",
        raw(POINTS_FILE, lambda data: b"{}\n"),
        "evidence-lines",
        detail="zstd",
    ),
    Case(
        "no line break at the end",
        raw(POINTS_FILE, lambda data: compressed(b"{}")),
        "evidence-lines",
        detail="line break",
    ),
    Case("a bomb of zeros", bomb(b"\0"), "evidence-lines", detail="longer than"),
    Case("a bomb of line breaks", bomb(b"\n"), "evidence-lines"),
    Case(
        "empty evidence file",
        raw(POINTS_FILE, lambda data: b""),
        "evidence-lines",
        detail="truncated",
    ),
    # Restricted records
    Case(
        "a response rewritten",
        edit_line(9, lambda v: v.update(text="No."), RESPONSES_FILE),
        "commitments",
        detail="commitment",
    ),
    Case(
        "a response's tokens",
        edit_line(9, lambda v: v.update(responseTokens=[1, 2, 2]), RESPONSES_FILE),
        "commitments",
    ),
    Case(
        "another salt",
        edit_line(9, lambda v: v.update(salt="0" * 64), RESPONSES_FILE),
        "commitments",
    ),
    Case(
        "an outcome in the record",
        edit_line(9, lambda v: v.update(outcome="unscored", reason="judge_na"), RESPONSES_FILE),
        "commitments",
    ),
    Case("records swapped", lines(swap(0, 1), RESPONSES_FILE), "commitments"),
    Case(
        "a record dropped", lines(lambda all_lines: all_lines[:-1], RESPONSES_FILE), "commitments"
    ),
    Case(
        "a record that is none",
        edit_line(9, lambda v: v.pop("text"), RESPONSES_FILE),
        "commitments",
        detail="line 10",
    ),
    # Names and paths
    Case(
        "a terminal escape in a name",
        name_checkpoint("model\x1b[2J"),
        "receipt-schema",
        detail="\\u001b",
    ),
    Case("a right-to-left override in a name", name_checkpoint("lla\u202ema"), "plan-restated"),
    Case("an absolute path", name_file("/etc/passwd"), "receipt-schema"),
    Case("a path upward", name_file("a/../../b"), "receipt-schema"),
    Case("a path with a backslash", name_file("..\\b"), "receipt-schema"),
    Case("a path with a null byte", name_file("a\0b"), "receipt-schema"),
    Case(
        "a receipt that is a link",
        replace_file(RECEIPT, lambda path: path.symlink_to("/etc/passwd")),
        error="symbolic link",
    ),
    Case(
        "evidence that is a link",
        replace_file(POINTS_FILE, lambda path: path.symlink_to("/dev/zero")),
        error="symbolic link",
    ),
    Case(
        "evidence that is a pipe",
        replace_file(POINTS_FILE, os.mkfifo),
        error="not a regular file",
    ),
    Case(
        "a receipt that is a folder",
        replace_file(RECEIPT, lambda path: path.mkdir()),
        error=RECEIPT,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_tampering(
    case: Case, bundle: Path, golden: Path, make_golden: ModuleType, receipts: Receipts
) -> None:
    assert_caught(case, bundle, golden / "ed25519.pub", make_golden.EVALUATOR, receipts)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_tampering_as_people_see_it(
    case: Case, bundle: Path, golden: Path, make_golden: ModuleType, receipts: Receipts
) -> None:
    assert_shown_safely(case, bundle, golden / "ed25519.pub", make_golden.EVALUATOR, receipts)


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= MINIMUM
