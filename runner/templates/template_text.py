"""What a chat template says, read from its syntax tree and not from its source.

The source of a template holds much that no prompt ever shows: the ``0`` of ``messages[0]``, names
of roles that messages are compared with, the text of an error.  Only text that a template can
write is markup.
"""

from __future__ import annotations

from collections.abc import Iterator

import jinja2
from jinja2 import nodes

_READ_ONLY = frozenset(
    {
        "count",
        "endswith",
        "find",
        "get",
        "index",
        "lstrip",
        "partition",
        "rfind",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "startswith",
        "strip",
    }
)
"""Methods of strings and mappings whose arguments are looked for and never written."""

_NEVER_WRITTEN = frozenset({"raise_exception", "strftime_now"})


def literals(template: nodes.Template) -> Iterator[str]:
    """Yield every text that stands in a template: what it can write, and what it looks for.

    Comments are left out, and so are the names of keys and attributes.
    """
    for node in template.find_all((nodes.TemplateData, nodes.Const)):
        text = node.data if isinstance(node, nodes.TemplateData) else getattr(node, "value", None)
        if isinstance(text, str):
            yield text


def written_texts(template: nodes.Template) -> Iterator[str]:
    """Yield the texts that a template can write.

    Left out is what can only be looked for: keys, what is compared with, arguments of methods
    such as ``split``, and of functions that write nothing (``raise_exception``).
    """
    unwritten: set[int] = set()
    for node in template.find_all((nodes.Getitem, nodes.Compare, nodes.Test, nodes.Call)):
        match node:
            case nodes.Getitem():
                looked_for = _strings(node.arg)
            case nodes.Call() if _writes_nothing(node.node):
                looked_for = [text for argument in node.args for text in _strings(argument)]
            case nodes.Call():
                continue
            case _:
                looked_for = list(node.find_all(nodes.Const))
        unwritten.update(map(id, looked_for))
    for found in template.find_all((nodes.TemplateData, nodes.Const)):
        if id(found) not in unwritten:
            text = found.data if isinstance(found, nodes.TemplateData) else found.value  # type: ignore[attr-defined]  # a Const, as asked for
            if isinstance(text, str):
                yield text


def names_read(template: nodes.Template) -> frozenset[str]:
    """Return the names of the variables, keys and attributes that a template reads."""
    found: set[str] = set()
    for node in template.find_all((nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call)):
        match node:
            case nodes.Name():
                found.add(node.name)
            case nodes.Getattr():
                found.add(node.attr)
            case nodes.Getitem():
                found.update(text.value for text in _strings(node.arg))
            case nodes.Call(node=nodes.Getattr(attr="get")):
                found.update(text.value for text in node.args[:1] for text in _strings(text))
            case _:
                pass  # a call of something else reads nothing itself
    return frozenset(found)


def parsed(template: jinja2.Template, source: str) -> nodes.Template:
    """Return the syntax tree of a compiled template."""
    return template.environment.parse(source)


def _strings(node: nodes.Node) -> list[nodes.Const]:
    """Return a node itself if it is a text, or the texts inside it."""
    found = [node] if isinstance(node, nodes.Const) else list(node.find_all(nodes.Const))
    return [text for text in found if isinstance(text.value, str)]


def _writes_nothing(function: nodes.Node) -> bool:
    if isinstance(function, nodes.Getattr):
        return function.attr in _READ_ONLY
    return isinstance(function, nodes.Name) and function.name in _NEVER_WRITTEN
