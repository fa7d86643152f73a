"""What the pages name is there: links, their headings, files and modules of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from safety_receipts.receipts.cli import COMMANDS, root

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "benchmarks",
    "docs",
    "examples",
    "findings",
    "receipts",
    "runner",
    "schemas",
    "tests",
    "verify",
)
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(p for name in FOLDERS for p in (ROOT / name).rglob("*.md")))
    if page.name != "CHANGELOG.md"  # it names what there was
)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def quoted(page: Path) -> Iterator[str]:
    """Yield what stands between backticks in a page's prose."""
    yield from re.findall(r"`([^`\n]+)`", prose(page))


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue  # other people's pages
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert ROOT in (file, *file.parents), target
        assert not anchor or anchor in anchors(file), target


@each_page
def test_every_path_of_the_repository_is_there(page: Path) -> None:
    for words in quoted(page):
        for word in words.split():
            if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", word):
                assert "NEW" in word or (ROOT / word).exists(), word  # NEW: the reader's own


@each_page
def test_every_module_is_there(page: Path) -> None:
    """With the name that it has in it, where one follows."""
    for name in re.findall(r"\bsafety_receipts(?:\.\w+)+", page.read_text("utf-8")):
        file, parts = ROOT, name.split(".")
        while parts and (file / parts[0]).is_dir():
            file = file / parts.pop(0)
        if parts and (file / f"{parts[0]}.py").is_file():
            file = file / f"{parts.pop(0)}.py"
        else:
            file = file / "__init__.py"
        assert len(parts) <= 1, name
        assert not parts or re.search(rf"\b{parts[0]}\b", file.read_text("utf-8")), name


def commands_named(page: Path) -> Iterator[list[str]]:
    """Yield the words of the commands that a page names in its prose and in indented blocks."""
    indented = re.sub(r"\\\n +", " ", prose(page))
    for command in (*quoted(page), *re.findall(r"^ {4}(.+)$", indented, re.MULTILINE)):
        words = re.split(r"\s+# ", command)[0].replace("[", " ").replace("]", " ").split()
        if words[0] == "receipts" and words[1:] and words[1] in COMMANDS:
            yield words[1:]


@each_page
def test_every_command_has_the_options_that_are_named(page: Path) -> None:
    """Those that are not run as well; arguments, and what options take, may be left out."""
    context = click.Context(root)
    for words in commands_named(page):
        command, rest = root.get_command(context, words[0]), words[1:]
        if isinstance(command, click.Group) and rest:
            command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
        with suppress(click.BadOptionUsage):  # `--artifacts` named without what it takes
            command.make_parser(context).parse_args(rest)


def test_there_are_pages_with_links_paths_and_modules() -> None:
    assert {"README.md", "guide.md", "protocol.md", "CARD.md"} <= {page.name for page in PAGES}
    assert sum(len(re.findall(r"\]\((?!http)", prose(page))) for page in PAGES) > 15
    assert sum(len(list(commands_named(page))) for page in PAGES) > 50
    assert sum("/" in words for page in PAGES for words in quoted(page)) > 15
