"""Pages in Markdown: their blocks of commands with what they show, and how the two are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

LEFT_OUT = "…"

_NOT_RUN = re.compile(r"<!-- not run: (?:(?P<commands>`[^`]+`(?:, `[^`]+`)*): )?(?P<reason>.+) -->")
_HEX = re.compile(r"(?<![0-9A-Za-z.])([0-9a-f]{64}|[0-9a-f]{16}(?=…)|[0-9a-f]{12})(?![0-9A-Za-z])")
_TIME = re.compile(r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_SPAN = r"(?:< )?\d[\d,.]* (?:s|min|h|days?)\b"
_DURATION = re.compile(rf"(?<![\w.]){_SPAN}(?: – {_SPAN})?")


@dataclass(frozen=True)
class Block:
    """A fenced or an indented block of a page."""

    language: str
    """What stands after the fence; empty for an indented block."""
    lines: tuple[str, ...]
    """Its lines, without the indentation of an indented block."""
    line: int
    """Number of its first line in the page, from 1."""
    reason: str | None = None
    """Why it is not run, or not wholly; None where the page does not say so."""
    not_run: tuple[str, ...] = ()
    """Beginnings of the commands that are not run; none: all of them, where there is a reason."""

    @property
    def is_run(self) -> bool:
        """Whether anything in it is run."""
        return self.reason is None or bool(self.not_run)


@dataclass
class Step:
    """A command of a block, and the lines shown below it."""

    command: str
    line: int
    shown: list[str] = field(default_factory=list)


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in its order; what is in a fence is no indented block."""
    lines = page.splitlines()
    found: list[Block] = []
    mark: re.Match[str] | None = None
    at = 0
    while at < len(lines):
        first, language, body = at, "", []
        if fence := re.fullmatch(r"```(\w*)", lines[at]):
            language = fence[1] or "text"
            body = list(takewhile(lambda line: line != "```", lines[at + 1 :]))
            first, at = at + 1, at + len(body) + 2
        elif lines[at].startswith("    ") and not (lines[at - 1].strip() and not mark):
            body = list(takewhile(lambda line: line.startswith("    "), lines[at:]))
            at += len(body)
            body = [line.removeprefix("    ") for line in body]
        else:
            if lines[at].strip():
                mark = _NOT_RUN.fullmatch(lines[at])
            at += 1
            continue
        named = tuple(re.findall(r"`([^`]+)`", mark["commands"] or "")) if mark else ()
        reason = mark["reason"] if mark else None
        found.append(Block(language, tuple(body), first + 1, reason, named))
        mark = None
    return found


def steps(block: Block) -> list[Step]:
    """Return the commands of a block of a console, each with what it shows."""
    found: list[Step] = []
    for number, line in enumerate(block.lines, start=block.line):
        if line.startswith("$ "):
            found.append(Step(line.removeprefix("$ "), number))
        else:
            found[-1].shown.append(line)
    return found


def commands(block: Block) -> Iterator[Step]:
    """Yield the commands of an indented block that are run, without their comments; a backslash
    at the end of a line goes on in the next.
    """
    if not block.is_run:
        return
    whole = ""
    for number, line in enumerate(block.lines, start=block.line):
        whole += re.split(r"\s+# ", line)[0].strip()
        if whole.endswith("\\"):
            whole = whole.removesuffix("\\")
            continue
        if whole and not whole.startswith(block.not_run or ("\0",)):
            yield Step(whole, number)
        whole = ""


def by_form(text: str) -> str:
    """Return a text with what differs between two runs put by its form, and nothing else.

    Digests and key ids are 64 hex digits, or their first 16 before ``…``, or an audit's first 12;
    times are whole ISO 8601 ones in UTC; durations a number and its unit of time,
    or a range of them.
    """
    text = _HEX.sub(lambda match: f"‹{len(match[1])} hex digits›", text)
    return _DURATION.sub("‹duration›", _TIME.sub("‹time›", text))


def normalised(line: str) -> str:
    """Return a line :func:`by_form`, with blanks inside it as one: columns are as wide as what
    stands in them.
    """
    line = by_form(line.rstrip())
    indentation = line[: len(line) - len(line.lstrip())]
    return indentation + " ".join(line.split())


def _fits(shown: str, printed: str) -> bool:
    """Say whether a line is the one shown, in which ``…`` stands for any text."""
    parts = [re.escape(part) for part in shown.split(LEFT_OUT)]
    return re.fullmatch(".*".join(parts), printed) is not None


def difference(shown: list[str], printed: str) -> str | None:
    """Return what a page shows and a command does not print, or None.

    A line that is ``…`` alone (indented or not) stands for any lines, or none; elsewhere ``…``
    stands for any text within its line.

    Args:
        shown: The lines of the page; none: the page shows nothing, and nothing is asked.
        printed: What was printed.
    """
    if not shown:
        return None
    lines = [normalised(line) for line in printed.splitlines()]
    at, free = 0, False
    for line in map(normalised, shown):
        if line.strip() == LEFT_OUT:
            free = True
            continue
        places = range(at, len(lines)) if free else range(at, min(at + 1, len(lines)))
        found = next((place for place in places if _fits(line, lines[place])), None)
        if found is None and free:
            return f"not printed: {line}"
        if found is None:
            return f"shown:   {line}\nprinted: {lines[at] if at < len(lines) else '(the end)'}"
        at, free = found + 1, False
    if at < len(lines) and not free:
        return f"printed, and not shown: {lines[at]}"
    return None
