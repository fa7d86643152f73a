"""What ``--help`` says: at 80 columns, with examples that the command takes."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from rich.cells import cell_len

from safety_receipts.receipts.cli import COMMANDS, root

pytest.importorskip("jinja2", reason="commands that run models are loaded")

_WITHOUT_EXAMPLES = {"doctor"}
"""It is called without anything, as groups are."""


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(f"safety_receipts.{module}"), attribute)
        yield from _with_those_below(name, command)


def _with_those_below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            yield from _with_those_below(f"{name} {below}", each)


ALL = dict(commands())


def help_of(name: str) -> str:
    command = ALL[name]
    context = click.Context(command, info_name=f"receipts {name}", terminal_width=80)
    return command.get_help(context)


@pytest.mark.parametrize("name", ALL)
def test_help_fits_a_terminal_and_cuts_nothing(name: str) -> None:
    text = help_of(name)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "..." not in text.replace("[ARGS]...", "").replace("{kind: ...", "")
    assert "9007199254740991" not in text
    # A value without a name of its own says nothing: TEXT, INTEGER.
    assert not {"TEXT", "INTEGER", "FLOAT"} & set(text.split())


def test_the_first_page_says_where_to_begin() -> None:
    text = root.get_help(click.Context(root, info_name="receipts", terminal_width=80))
    assert "receipts demo" in text
    assert "receipts init study" in " ".join(text.split())
    assert "..." not in text.replace("[ARGS]...", "")


def examples_of(name: str) -> list[str]:
    """Return the examples of a command, each on one line."""
    _, found, shown = help_of(name).partition("Examples:\n")
    lines = shown.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines] if found else []


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, command in ALL.items()
        if name not in _WITHOUT_EXAMPLES and not isinstance(command, click.Group)
    ],
)
def test_examples_are_commands_that_are_taken(name: str) -> None:
    examples = examples_of(name)
    assert examples
    for example in examples:
        words = shlex.split(example)
        own = name.split()
        assert words[: 1 + len(own)] == ["receipts", *own]
        # Options, their values and arguments are known; nothing is run.
        ALL[name].make_context(name, words[1 + len(own) :])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("veriffy", "x"), "No such command 'veriffy'. Did you mean 'verify'?"),
        (("plan", "STUDY"), "is a folder (name the plan file in it, such as STUDY/plan.yaml)"),
        (("plan", "STUDY/plan.yml"), "no such file (receipts init FOLDER writes a plan"),
        (
            ("calibrate", "P", "--key", "KEY", "--out", "O"),
            "(receipts keygen KEY makes a key)",
        ),
    ],
)
def test_a_first_mistake_says_what_to_do(
    receipts: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "STUDY").mkdir()
    monkeypatch.chdir(tmp_path)
    finished = receipts(*words)
    assert finished.code == 2
    assert finished.err.count("\n") == 1
    assert said in finished.err


def test_a_command_that_is_like_no_other_is_not_guessed(receipts: Callable[..., Any]) -> None:
    assert "Did you mean" not in receipts("zzz").err
