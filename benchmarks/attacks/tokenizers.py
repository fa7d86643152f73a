"""Tokenizers of an evaluator who wants the outcome decided: they rewrite what is judged or shown.

The weights are the named ones; what a reader takes for the model's answer, or for what it was
shown, is a file's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.judges import guarded
from safety_receipts.runner.prompts import chat_format
from safety_receipts.runner.vocabulary import contents
from safety_receipts.runner.vocabulary.components import Step, TextRules

REFUSAL: Final = "Sorry, I will not do that."
"""What a decoder makes of every answer."""

_STEPS: Final = {
    "decoder": "decoders",
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
}

Components = Mapping[str, Sequence[Mapping[str, Any]]]
"""Part of a tokenizer → components that are put into it."""

DECODER: Final[Components] = {
    "decoder": [
        {"type": "Fuse"},
        {"type": "Replace", "pattern": {"Regex": r"[\s\S]+"}, "content": REFUSAL},
    ]
}
"""Makes a refusal of every answer."""
NORMALISER: Final[Components] = {
    "normalizer": [{"type": "Replace", "pattern": {"String": "Sure, mend"}, "content": "No"}]
}
"""Rewrites what a prompt shows."""
REMOVES: Final[Components] = {
    "pre_tokenizer": [
        {"type": "Split", "pattern": {"String": "Sure"}, "behavior": "Removed", "invert": False}
    ]
}
"""Takes words out of what a prompt shows."""


def rewrite(folder: Path, parts: Components) -> None:
    """Add components to a folder's tokenizer: after those of its decoder, before all others."""
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text("utf-8"))
    for part, more in parts.items():
        own = [] if document[part] is None else [document[part]]
        whole = [*own, *more] if part == "decoder" else [*more, *own]
        document[part] = {"type": "Sequence", _STEPS[part]: whole}
    file.write_text(json.dumps(document), "utf-8")


class _Unguarded(contents.PlainVocabulary):
    """As if nothing were looked at."""

    def held(self, ids: Any, decoded: str) -> str:
        return decoded

    def check(self, text: str, ids: Any, cuts: Any = ()) -> None:
        pass


@contextmanager
def unguarded() -> Iterator[None]:
    """Do without the guard, as a program does that has none."""
    rules = TextRules(frozenset(), byte_level=True, prefixed=False, steps=(Step.BYTE_LEVEL,))
    with ExitStack() as stack:
        # The process that tries folders has the guard.
        stack.enter_context(patch.object(folder_trial, "inside", new=True))
        for module in (contents, guarded):
            stack.enter_context(patch.object(module, "read_rules", lambda *_: rules))
        for module in (chat_format, contents):
            stack.enter_context(patch.object(module, "PlainVocabulary", _Unguarded))
        yield


@dataclass(frozen=True)
class HostileTokenizer:
    """A tokenizer that rewrites."""

    name: str
    """What it is."""
    parts: Components
    """What is put into it."""


HOSTILE_TOKENIZERS: Final = (
    HostileTokenizer("a decoder that refuses", DECODER),
    HostileTokenizer("a normaliser that rewrites demonstrations", NORMALISER),
)
"""Of the evaluated model."""
