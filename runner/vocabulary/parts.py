"""A tokenizer as its parts, from its file or as it was loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

State = Mapping[str, Any]
"""A component, as tokenizer.json writes it."""

NORMALISER: Final = ("normalizer", "normalizers")
PRE_TOKENIZER: Final = ("pre_tokenizer", "pretokenizers")
POST_PROCESSOR: Final = ("post_processor", "processors")
DECODER: Final = ("decoder", "decoders")
_PARTS: Final = (NORMALISER, PRE_TOKENIZER, POST_PROCESSOR, DECODER)
_SETTINGS: Final = (
    "dropout",
    "alpha",
    "byte_fallback",
    "continuing_subword_prefix",
    "end_of_word_suffix",
)
_ODD: Final[State] = {"type": "of no known form"}


@dataclass(frozen=True)
class TokenizerParts:
    """What a tokenizer is made of."""

    components: Mapping[str, Sequence[tuple[str, State]]]
    """By the name of its part, components in their order, those of sequences one by one; each with
    its place in ``tokenizer.json``."""
    model: str | None
    """``BPE``, ``Unigram``, ``WordPiece``, ``WordLevel``; None: an old file does not say."""
    settings: Mapping[str, Any]
    """The model's, as far as they matter."""
    added: Sequence[tuple[int, str]]
    """Id and text of the added tokens."""
    entry: Callable[[int], str | None]
    """Gives an entry of the model, without the added tokens."""

    def token(self, id_: int) -> str | None:
        """Return what stands in the vocabulary under an id."""
        return dict(self.added).get(id_) or self.entry(id_)


def loaded_parts(tokenizer: Tokenizer) -> TokenizerParts:
    """Return the parts of a tokenizer that was loaded."""
    model: Any = tokenizer.model
    states = {name: getattr(tokenizer, name) for name, _ in _PARTS}
    return TokenizerParts(
        components={
            name: tuple(_flat(json.loads(states[name].__getstate__()), name, inner))
            if states[name] is not None
            else ()
            for name, inner in _PARTS
        },
        model=type(model).__name__,
        settings={name: getattr(model, name, None) for name in _SETTINGS},
        added=[(id_, token.content) for id_, token in tokenizer.get_added_tokens_decoder().items()],
        entry=model.id_to_token,
    )


def file_parts(document: Mapping[str, Any]) -> TokenizerParts:
    """Return the parts that a ``tokenizer.json`` names, nothing of it loaded.

    What it says of its vocabulary is not checked: whoever loads it does that.
    """
    model = document.get("model")
    model = model if isinstance(model, dict) else {}
    kind = model.get("type")
    added = document.get("added_tokens")
    rows = [
        (row["id"], str(row.get("content", "")))
        for row in (added if isinstance(added, list) else [])
        if isinstance(row, dict) and isinstance(row.get("id"), int)
    ]
    return TokenizerParts(
        components={
            name: () if document.get(name) is None else tuple(_flat(document[name], name, inner))
            for name, inner in _PARTS
        },
        model=kind if isinstance(kind, str) else None,
        settings=model,
        added=rows,
        entry=_entries(model.get("vocab")),
    )


def _entries(vocabulary: Any) -> Callable[[int], str | None]:
    """Return what looks an entry up; most files need none looked up."""

    def entry(wanted: int) -> str | None:
        if isinstance(vocabulary, dict):
            return next((token for token, id_ in vocabulary.items() if id_ == wanted), None)
        if not isinstance(vocabulary, list) or not 0 <= wanted < len(vocabulary):
            return None
        row = vocabulary[wanted]
        return str(row[0]) if isinstance(row, list) and row else None

    return entry


def _flat(state: Any, place: str, inner: str) -> Iterator[tuple[str, State]]:
    if not isinstance(state, dict):
        yield place, _ODD
    elif state.get("type") == "Sequence" and isinstance(state.get(inner), list):
        for number, part in enumerate(state[inner]):
            yield from _flat(part, f"{place}.{inner}[{number}]", inner)
    else:
        yield place, state
