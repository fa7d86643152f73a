"""Where the YAML of a card stands, and what of it a new entry of ``model-index`` touches.

Nothing is written here, and nothing is parsed but to find places: a card's YAML is other people's,
and is kept byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.verify.card.marks import line_of

MAX_FRONT_MATTER: Final = 1024 * 1024
"""Longest front matter in characters."""
MODEL_INDEX: Final = "model-index"
"""The key of the results that hubs read."""
_DEEPEST: Final = 64
_BOM: Final = "\ufeff"

# Opening and closing lines as the hub's server and huggingface_hub 2.4 have them
# (``REGEX_YAML_BLOCK``), and the empty one, in which they see none until something stands in it.
_OPENING: Final = re.compile(r"\s*---(?:\r\n|\r|\n)")
_CLOSING: Final = re.compile(r"(?:(?<=[\r\n]))---[ \t]*(?:\r\n|\n|\Z)")
_BEGUN: Final = re.compile(r"\s*---[ \t]*(?:[\r\n]|\Z)")

NodeSaid = tuple[Any, ...]
"""What a parser's event says, without its place."""


@dataclass(frozen=True)
class FrontMatter:
    """Where the YAML of a card stands."""

    start: int
    """Where it begins, after the opening line; equal to ``end`` and 0 where there is none."""
    end: int
    """Where the closing line begins."""
    body: int
    """Where the Markdown begins."""
    exists: bool
    """Whether there is one."""


@dataclass(frozen=True)
class IndexPlace:
    """Where an entry of ``model-index`` may be put."""

    place: int
    """Where its first line begins, a place in the text."""
    column: int
    """Column of the dash before each entry."""
    key_at: int
    """Where the key begins."""


@dataclass(frozen=True)
class IndexEntry:
    """An entry of ``model-index``."""

    place: int
    """Where its content begins, after the dash."""
    said: tuple[NodeSaid, ...]
    """What it says."""


@dataclass(frozen=True)
class FrontMatterOutline:
    """What stands in a front matter, as its parser sees it."""

    column: int
    """Column in which its keys begin."""
    others: tuple[tuple[NodeSaid, ...], ...]
    """Every key but ``model-index``, with its value."""
    entries: tuple[IndexEntry, ...]
    """Every entry of ``model-index``."""
    index: IndexPlace | None
    """Where that is; None: there is none."""
    aliases: int
    """How many aliases it holds."""


def find_front_matter(text: str) -> FrontMatter:
    """Return where the YAML of a card stands.

    Raises:
        MalformedError: It is begun and not ended, or in a way that the hub does not see.
    """
    begin = len(_BOM) if text.startswith(_BOM) else 0
    opening = _OPENING.match(text, begin)
    if opening is None:
        if _BEGUN.match(text, begin):
            raise _refused(text, begin, "blanks stand after ---, and the hub reads no YAML then")
        return FrontMatter(begin, begin, begin, exists=False)
    closing = _CLOSING.search(text, opening.end())
    if closing is None:
        raise _refused(text, opening.end() - 1, "the YAML that begins with --- is not ended by ---")
    if closing.start() - opening.end() > MAX_FRONT_MATTER:
        raise _refused(text, opening.end(), f"its YAML is longer than {MAX_FRONT_MATTER:,}")
    return FrontMatter(opening.end(), closing.start(), closing.end(), exists=True)


def outline_of(text: str, found: FrontMatter) -> FrontMatterOutline:
    """Return what stands in a front matter.

    Raises:
        MalformedError: It is no YAML, no mapping in block style, or ``model-index`` stands there in
            a form into which no entry can be put without changing other bytes.
    """
    return _Outliner(text, found).outline()


def index_nodes(text: str, found: FrontMatter) -> tuple[yaml.SafeLoader, list[yaml.Node]]:
    """Return the entries of ``model-index`` as every reader of the whole front matter has them.

    Args:
        text: A card whose front matter has an outline.
        found: Where that stands.

    Returns:
        A loader that makes values of them, and the entries in their order.

    Raises:
        MalformedError: A mapping in ``model-index`` has a key twice, or the front matter has two
            keys that are ``model-index``: readers keep the last.
    """
    loader = yaml.SafeLoader(text[found.start : found.end])
    try:
        root: Any = loader.get_single_node()
    except yaml.MarkedYAMLError as error:  # an alias of nothing
        mark = error.problem_mark or error.context_mark
        at = found.start + (mark.index if mark else 0)
        raise _refused(text, at, f"the front matter cannot be read: {error.problem}") from None
    pairs = [] if root is None else root.value
    indices = [(key, value) for key, value in pairs if key.value == MODEL_INDEX]
    for key, _ in indices[1:]:
        at = found.start + key.start_mark.index
        raise _refused(text, at, f"the key {MODEL_INDEX} appears twice, or stands as an alias")
    entries = [entry for _, value in indices for entry in value.value]
    for node in nodes_within(entries):
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            said = key.tag, str(key.value)
            if said in seen:
                at = found.start + key.start_mark.index
                raise _refused(
                    text,
                    at,
                    f"a key appears twice in an entry of {MODEL_INDEX}, and readers keep the last",
                    "leave one",
                )
            seen.add(said)
    return loader, entries


def nodes_within(nodes: Iterable[yaml.Node]) -> Iterator[yaml.Node]:
    """Yield nodes and all that they hold, each once, however often aliases stand for it."""
    waiting, seen = list(nodes), set[int]()
    while waiting:
        node: Any = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(one for pair in node.value for one in pair)


def _refused(text: str, place: int, message: str, hint: str | None = None) -> MalformedError:
    return MalformedError(
        message,
        place=f"line {line_of(text, place)}",
        hint=hint or "mend it by hand, and attach again",
    )


_FLOW: Final = "write it with a line for each entry, without brackets and braces"


@dataclass
class _Outliner:
    text: str
    found: FrontMatter
    aliases: int = 0
    others: list[tuple[NodeSaid, ...]] = field(default_factory=list)
    entries: list[IndexEntry] = field(default_factory=list)
    index: IndexPlace | None = None

    def outline(self) -> FrontMatterOutline:
        events = self._events()
        next(events)  # the stream's start
        event = next(events)
        if isinstance(event, yaml.StreamEndEvent):
            return FrontMatterOutline(0, (), (), None, 0)
        root = next(events)
        if not isinstance(root, yaml.MappingStartEvent):
            raise self._error(root, "the YAML is no mapping", "write it as key: value")
        if root.flow_style:
            raise self._error(root, "the YAML stands in braces", _FLOW)
        if root.anchor is not None or root.tag is not None:
            raise self._error(root, "the YAML as a whole has an anchor or a tag", "remove that")
        column = _mark(root).column
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            self._pair(event, events, column)
        end = next(events)
        if isinstance(end, yaml.DocumentEndEvent) and end.explicit:
            raise self._error(end, "the YAML is ended by ..., and nothing can follow", "remove it")
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise self._error(end, "a second YAML document begins", "leave one")
        return FrontMatterOutline(
            column, tuple(self.others), tuple(self.entries), self.index, self.aliases
        )

    def _pair(self, key: yaml.Event, events: Iterator[yaml.Event], column: int) -> None:
        if not (isinstance(key, yaml.ScalarEvent) and key.value == MODEL_INDEX):
            self.others.append((*self._node(key, events), *self._node(next(events), events)))
            return
        if self.index is not None:
            raise self._error(key, f"the key {MODEL_INDEX} appears twice", "leave one")
        if key.anchor is not None or key.tag is not None:
            raise self._error(key, f"the key {MODEL_INDEX} has an anchor or a tag", "remove that")
        self._index(key, next(events), events, column)

    def _index(
        self, key: yaml.Event, value: yaml.Event, events: Iterator[yaml.Event], column: int
    ) -> None:
        if isinstance(value, yaml.AliasEvent):
            raise self._error(value, f"{MODEL_INDEX} is an alias", "write out what it stands for")
        assert isinstance(value, yaml.NodeEvent)  # what is left
        if value.anchor is not None or getattr(value, "tag", None) is not None:
            raise self._error(value, f"{MODEL_INDEX} has an anchor or a tag", "remove that")
        empty = isinstance(value, yaml.ScalarEvent) and value.value == "" and value.style is None
        if not empty and not isinstance(value, yaml.SequenceStartEvent):
            raise self._error(value, "model-index is no list", "write it as a list, or remove it")
        if isinstance(value, yaml.SequenceStartEvent):
            if value.flow_style:
                raise self._error(value, f"{MODEL_INDEX} stands in brackets", _FLOW)
            column = _mark(value).column
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                place = self.found.start + _mark(event).index
                self.entries.append(IndexEntry(place, tuple(self._node(event, events))))
        after = re.compile(r"[ \t]*:[ \t]*(?:#[^\r\n\x85\u2028\u2029]*)?(?:\r\n|\r|\n)").match(
            self.text, self.found.start + _end_of(key)
        )
        if after is None:
            raise self._error(key, "the key is written in an unusual way", "write model-index:")
        key_at = self.found.start + _mark(key).index
        self.index = IndexPlace(after.end(), column, key_at)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event]) -> Iterator[NodeSaid]:
        """Yield what a node's events say, to its end."""
        depth = 0
        while True:
            yield _signature(event)
            self.aliases += isinstance(event, yaml.AliasEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise self._error(event, f"the YAML is nested deeper than {_DEEPEST} levels")
            if depth == 0:
                return
            event = next(events)

    def _events(self) -> Iterator[yaml.Event]:
        """Yield the parser's events; whatever it raises becomes one line."""
        loader: yaml.SafeLoader | None = None
        try:
            loader = yaml.SafeLoader(self.text[self.found.start : self.found.end])
            while loader.check_event():
                yield loader.get_event()  # type: ignore[no-untyped-call]  # bare in its stubs
        except yaml.reader.ReaderError as error:
            at = self.found.start + int(error.position)
            raise _refused(self.text, at, "a character is not allowed in YAML") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = self.found.start + (mark.index if mark else 0)
            said = error.problem or error.context or "cannot be parsed"
            raise _refused(self.text, at, f"the front matter is not YAML: {said}") from None
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a version of 5,000 digits
            at = self.found.start + (loader.get_mark().index if loader else 0)
            raise _refused(self.text, at, "the front matter is not YAML: a number") from None

    def _error(self, event: yaml.Event, message: str, hint: str | None = None) -> MalformedError:
        return _refused(self.text, self.found.start + _mark(event).index, message, hint)


def _mark(event: yaml.Event) -> Any:
    return event.start_mark  # None in its stubs alone


def _end_of(event: yaml.Event) -> int:
    mark: Any = event.end_mark
    return int(mark.index)


def _signature(event: yaml.Event) -> NodeSaid:
    attributes = ("anchor", "tag", "implicit", "value", "style", "flow_style")
    return (type(event), *(getattr(event, name, None) for name in attributes))
