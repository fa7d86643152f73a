"""What the demonstration shows of the output of a command."""

from __future__ import annotations

import io

from safety_receipts.verify.present.demo import Captured, Lines, excerpt

PRINTED = """\
\x1b[1mcheckpoint\x1b[0m  organism
            root a309
queries     240
consistent
  ✗  rates   complianceRate is 0.05,
             the counts give 0.25
  ✓  counts  follow
PASSED: a key you trust
signed it

after it
"""


def test_lines_go_on_where_they_are_indented_or_up_to_an_empty_one() -> None:
    kept = excerpt(PRINTED, [Lines("checkpoint"), Lines("  ✗"), Lines("PASSED: ", True)])
    assert kept == [
        "\x1b[1mcheckpoint\x1b[0m  organism",
        "            root a309",
        "  ✗  rates   complianceRate is 0.05,",
        "             the counts give 0.25",
        "PASSED: a key you trust",
        "signed it",
    ]


def test_nothing_is_kept_that_is_not_wanted() -> None:
    assert excerpt(PRINTED, [Lines("REFUSED")]) == []
    assert excerpt(PRINTED, [Lines("queries")]) == ["queries     240"]


def test_what_is_captured_looks_as_on_the_stream_that_it_replaces() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert Captured(Terminal()).isatty()
    assert not Captured(io.StringIO()).isatty()
