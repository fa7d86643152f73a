"""What is compared when a page is held to what its commands print, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from console import Console
from pages import blocks, commands, difference, normalised, steps

DIGEST = "046c603b03a3a8ef34ae32ce4fcfdac680430bb971d1b3c7ca4956813f40be90"
PRINTED = f"""\
receipt   {DIGEST}
run       2026-01-01T00:00:00Z, 3,600 points in 2 s
 h0-b0     6   34.7
 h4-b4   495   25.9
PASSED: level consistent
"""


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED,
        PRINTED.replace(DIGEST, "f" * 64),
        PRINTED.replace("2026-01-01T00:00:00Z", "2031-12-31T23:59:59Z"),
        PRINTED.replace("2 s", "< 1 s"),
        PRINTED.replace("    6   34.7", "  6  34.7"),
        "…\nPASSED: level consistent",
        "receipt …\n…",
        "…\n h4-b4 495 25.9\n…",
    ],
)
def test_forms_are_compared_and_lines_may_be_left_out(shown: str) -> None:
    assert difference(shown.splitlines(), PRINTED) is None


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED.replace("34.7", "34.8"),
        PRINTED.replace("3,600 points", "3,601 points"),
        PRINTED.replace(DIGEST, "f" * 63),
        PRINTED.replace("2 s", "2 points"),
        PRINTED.replace(" h0-b0", "h0-b0"),
        PRINTED.replace("run ", "ran "),
        PRINTED + "and more",
        "receipt …",
        "PASSED: level consistent",
        "…\n h4-b4 495 25.9\n h0-b0 6 34.7\n…",
        "…\nFAILED: …\n…",
    ],
)
def test_any_other_word_or_number_or_order_is_a_difference(shown: str) -> None:
    assert difference(shown.splitlines(), PRINTED) is not None


@pytest.mark.parametrize(
    "line",
    ["β2 −0.339 (95 % −0.385 to −0.293), p < 1e-20", "h4-b16-suffix  360  206  206", "148,416"],
)
def test_numbers_and_names_are_left_as_they_are(line: str) -> None:
    assert normalised(line) == " ".join(line.split())


MARKED = """\
By hand:

<!-- not run: `make`: it takes minutes -->

    make demo    # once
    receipts run PLAN \\
        --limit 4            # twice

<!-- not run: nobody has it -->
```console
$ receipts show NOTHING
nothing
```

```console
$ receipts show bundle
…
$ echo $?
0
```
"""


def test_blocks_say_what_of_them_is_not_run() -> None:
    indented, left_out, run = blocks(MARKED)
    assert [step.command for step in commands(indented)] == ["receipts run PLAN --limit 4"]
    assert (indented.reason, indented.not_run) == ("it takes minutes", ("make",))
    assert (left_out.reason, left_out.is_run) == ("nobody has it", False)
    assert (run.reason, run.is_run) == (None, True)
    assert [(step.command, step.shown) for step in steps(run)] == [
        ("receipts show bundle", ["…"]),
        ("echo $?", ["0"]),
    ]
    assert MARKED.splitlines()[run.line - 1] == "$ receipts show bundle"


def test_a_console_has_one_folder_a_block_and_the_last_exit_code(tmp_path: Path) -> None:
    console = Console(tmp_path)
    (tmp_path / "below").mkdir()
    console.run("cd below")
    assert "evaluator.pub" in console.run("receipts keygen evaluator")
    assert (console.run("echo $?"), (tmp_path / "below" / "evaluator").exists()) == ("0\n", True)
    assert "evaluator.pub" in console.run("receipts keygen evaluator")
    assert console.run("echo $?") == "2\n"
    assert console.run("receipts keygen other | grep private").count("\n") == 1
    assert console.run("RECEIPTS_SCHEMA_JSON=1 receipts schema point > point.json") == ""
    assert (tmp_path / "below" / "point.json").stat().st_size > 100
    console.begin()
    assert (console.folder, console.code) == (tmp_path, 0)
    with pytest.raises(ValueError, match="no command of these pages: rm"):
        console.run("rm -r below")
