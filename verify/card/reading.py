"""Reading a card as others will, and holding what is read to what was meant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError, ReceiptsError
from safety_receipts.receipts.model.statement import EVALUATION_TYPE
from safety_receipts.verify.card.body import check_seen
from safety_receipts.verify.card.entries import YamlTree, yaml_values
from safety_receipts.verify.card.front_matter import (
    MODEL_INDEX,
    IndexEntry,
    index_nodes,
    nodes_within,
)
from safety_receipts.verify.card.marks import DamagedCardError, MarkedBlock, Region, line_of
from safety_receipts.verify.card.splice import (
    CardLayout,
    CardParts,
    check_not_elsewhere,
    lay_out,
    taken_out,
)

MOST_ALIASES: Final = 32
"""Of more aliases no values are made: each may stand for many, and those for many more."""


def read_back(old: str, new: str, parts: CardParts, removed: Sequence[Sha256]) -> None:
    """Hold a new card to the old one, and to what a receipt gives.

    Args:
        old: The card as it was.
        new: As it will be.
        parts: What the receipt gives.
        removed: Receipts whose parts were taken out.

    Raises:
        MalformedError: Something else was changed, or what was put in is read otherwise: nothing
            may be written.
    """
    before, after = old, taken_out(new, parts.mark.digest)
    for digest in (*removed, parts.mark.digest):
        before = taken_out(before, digest)
    first, second = lay_out(old), lay_out(new)
    check_loads(first)
    index_nodes(old, first.front)
    gone = {*removed, parts.mark.digest}
    if before != after or first.yaml.others != second.yaml.others:
        raise _unsafe("other parts of the card would change")
    if _said_by_others(first, gone) != _said_by_others(second, gone):
        raise _unsafe(f"other entries of {MODEL_INDEX} would change")
    check_given(second, parts)
    check_loads(second)


def check_given(layout: CardLayout, parts: CardParts) -> None:
    """Hold a card to what a receipt gives: both parts are there, and are read as such.

    Raises:
        DamagedCardError: One is missing, or is read otherwise.
    """
    section = layout.block(Region.BODY, parts.mark.digest)
    entry = layout.block(Region.FRONT_MATTER, parts.mark.digest)
    if section is None or entry is None:
        what = "section" if section is None else f"entry of {MODEL_INDEX}"
        raise DamagedCardError(f"holds no {what} of receipt {parts.mark.digest}", hint=_ATTACH)
    try:
        check_seen(layout.text, layout.front.body, section.start)
    except MalformedError as error:
        raise DamagedCardError(error.message, place=error.place, hint=error.hint) from None
    place = f"line {line_of(layout.text, entry.start)}"
    inside = [n for n, one in enumerate(layout.yaml.entries) if _within(one, entry)]
    if len(inside) != 1:
        raise DamagedCardError(
            f"is not read as an entry of {MODEL_INDEX}", place=place, hint=_ATTACH
        )
    try:
        check_not_elsewhere(layout, parts.mark.digest)
        loader, entries = index_nodes(layout.text, layout.front)
    except MalformedError as error:
        raise DamagedCardError(error.message, place=error.place, hint=error.hint) from None
    ours = inside[0]
    _check_not_in_others(layout, [*entries[:ours], *entries[ours + 1 :]], parts.mark.digest)
    # Aliases first: of many that stand for each other no values are made.
    aliased = any(said[0] is yaml.AliasEvent for said in layout.yaml.entries[ours].said)
    if aliased or _spelt(_value(loader, entries[ours])) != _spelt(yaml_values(parts.entry)):
        raise DamagedCardError(
            "the entry that begins here says something else than the receipt",
            place=place,
            hint=_ATTACH,
        )


def _value(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError):
        return None  # no value is the receipt's


def _check_not_in_others(layout: CardLayout, others: Sequence[yaml.Node], digest: Sha256) -> None:
    """Refuse other entries that are of this receipt to readers, however its digest is spelt."""
    for node in nodes_within(others):
        if isinstance(node, yaml.ScalarNode) and digest in str(node.value):
            mark: Any = node.start_mark  # None in its stubs alone
            raise DamagedCardError(
                f"another entry of {MODEL_INDEX} says that it is of this receipt",
                place=f"line {line_of(layout.text, layout.front.start + mark.index)}",
                hint="remove it",
            )


_ATTACH: Final = "attach the receipt again"


def check_loads(layout: CardLayout) -> None:
    """Make values of all YAML of a card, as every reader does.

    Raises:
        MalformedError: That fails, or its ``model-index`` comes from elsewhere in it.
    """
    if layout.yaml.aliases > MOST_ALIASES:
        return
    text = layout.text[layout.front.start : layout.front.end]
    try:
        found: Any = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = layout.front.start + (mark.index if mark else 0)
        said = error.problem or "cannot be read"
        raise MalformedError(
            f"the front matter cannot be read: {said}", place=f"line {line_of(layout.text, at)}"
        ) from None
    except (ValueError, OverflowError, TypeError, AttributeError):
        # A date that does not exist, a number that is none, a key that is a list.
        raise MalformedError("a value of the front matter cannot be read") from None
    if layout.yaml.index is None and isinstance(found, dict) and MODEL_INDEX in found:
        raise MalformedError(
            f"{MODEL_INDEX} comes from a merge (<<)", hint=f"write out {MODEL_INDEX}"
        )


def _unsafe(message: str) -> MalformedError:
    return MalformedError(
        f"the entry cannot be put in safely: {message}", hint="nothing was written"
    )


def _within(entry: IndexEntry, block: MarkedBlock) -> bool:
    return block.start <= entry.place < block.end


def _said_by_others(layout: CardLayout, gone: set[Sha256]) -> list[Any]:
    blocks = [one for one in layout.entries if one.mark.digest in gone]
    return [
        one.said for one in layout.yaml.entries if not any(_within(one, block) for block in blocks)
    ]


def _spelt(value: Any) -> str:
    # 1 and True, 0 and 0.0 are equal to Python, and not to readers.
    return json.dumps(value, sort_keys=True, default=repr)


class OtherNumbersError(ReceiptsError):
    """The hub's own reader has other numbers than the receipt."""


def check_by_hub(path: Path, old: str | None, parts: CardParts) -> str | None:
    """Read a saved card as huggingface_hub does, where that is installed.

    Args:
        path: The card; a new one is not in its place yet.
        old: The card as it was; None: nothing was put in.
        parts: What the receipt gives.

    Returns:
        Why it was not read; None: it was, and says what was meant.

    Raises:
        OtherNumbersError: It reads other numbers.
        ReceiptsError: It cannot read the card although it could before.
    """
    if old is not None and lay_out(old).yaml.aliases > MOST_ALIASES:
        return f"its YAML holds more than {MOST_ALIASES} aliases"
    try:
        from huggingface_hub import ModelCard  # noqa: PLC0415  # an optional package
    except ImportError:
        return "huggingface_hub is not installed"
    try:
        card = ModelCard.load(path)
    except Exception as error:  # whatever it makes of other people's YAML
        if old is None:
            return f"huggingface_hub cannot read it ({type(error).__name__})"
        if _was_readable(old):
            raise ReceiptsError(
                f"huggingface_hub would no longer read it ({type(error).__name__})",
                hint="nothing was written; please report this line",
            ) from None
        return f"huggingface_hub could not read it before either ({type(error).__name__})"
    results = card.data.eval_results or []
    read = [_as_read(one) for one in results if one.dataset_revision == parts.mark.digest]
    if read != list(_as_meant(parts.entry)):
        raise OtherNumbersError(
            "huggingface_hub reads other numbers than the receipt's", hint="nothing was written"
        )
    return None


def _was_readable(old: str) -> bool:
    from huggingface_hub import ModelCard  # noqa: PLC0415  # an optional package

    try:
        ModelCard(old.removeprefix("\ufeff"))
    except Exception:  # that is the question
        return False
    return True


def _as_read(one: Any) -> tuple[Any, ...]:
    return (
        *(one.task_type, one.task_name, one.dataset_type, one.dataset_name, one.dataset_config),
        *(one.dataset_revision, one.metric_type, one.metric_name, one.metric_value),
        *(one.metric_args, one.source_name, one.source_url),
    )


def _as_meant(entry: YamlTree) -> Iterator[tuple[Any, ...]]:
    for result in yaml_values(entry)["results"]:
        task, dataset, source = result["task"], result["dataset"], result.get("source", {})
        assert dataset["type"] == EVALUATION_TYPE
        for metric in result["metrics"]:
            yield (
                *(task["type"], task["name"], dataset["type"], dataset["name"], dataset["config"]),
                *(dataset["revision"], metric["type"], metric["name"], metric["value"]),
                *(metric["args"], source.get("name"), source.get("url")),
            )
