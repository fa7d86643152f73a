"""The tokens that end a response: everybody's who says so, each with who does.

A model folder says it up to four times, and the files of many published checkpoints, above all
of merges and fine-tunes, do not agree.  A model that is not stopped where its turns end goes on
with the next turn, and that would be judged as its answer.  So all of them count:
``generation_config.json``, ``config.json``, the tokenizer's end-of-sequence token, and what the
chat template writes after past turns of the assistant, since that is what a model was trained to
write there.  A plan file adds to them and takes away from them.

Deployments ask fewer.  transformers' ``generate`` asks ``generation_config.json`` alone, and
``config.json`` only where there is no such file; vLLM asks the same and the tokenizer.  Where
they would stop elsewhere, a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.text import value_text
from safety_receipts.receipts.model.checkpoint import EndToken, EndTokenOrigin
from safety_receipts.runner.checkpoint.config import GENERATION_CONFIG
from safety_receipts.runner.checkpoint.model_files import CONFIG, read_json_object
from safety_receipts.runner.warnings import PlanWarning

_MAX_END_TOKENS = 64
_BY_FILES = frozenset({EndTokenOrigin.CONFIG, EndTokenOrigin.GENERATION_CONFIG})


@dataclass(frozen=True, slots=True)
class StatedEndToken:
    """A token that somebody says ends a response."""

    token: int
    """Its id."""
    text: str
    """What the tokenizer calls it."""
    origins: tuple[EndTokenOrigin, ...]
    """Who says so, at least one."""
    removed: bool = False
    """True where the plan file takes it away."""

    def named(self) -> str:
        """Return text and id, for people."""
        return f"{self.text} ({self.token})"


@dataclass(frozen=True, slots=True)
class EndTokens:
    """The tokens that end a response, and who says so."""

    found: tuple[StatedEndToken, ...]
    """All that somebody states, by ascending id."""
    asked_by_generate: frozenset[int]
    """Ids at which transformers' ``generate`` stops."""
    named_by_plan: frozenset[int] = frozenset()
    """Ids that the plan file adds or removes."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids that end a response, ascending."""
        return tuple(end.token for end in self.found if not end.removed)

    def to_wire(self) -> tuple[EndToken, ...]:
        """Return what is sealed of them."""
        return tuple(
            EndToken(token=end.token, origins=end.origins, removed=end.removed)
            for end in self.found
        )

    def warnings(self) -> Iterator[PlanWarning]:
        """Yield a warning where a deployment stops elsewhere and the plan file does not say so."""
        missed = [
            end
            for end in self.found
            if end.token not in self.asked_by_generate | self.named_by_plan
        ]
        if not missed:
            return
        vllm = [end for end in missed if EndTokenOrigin.TOKENIZER not in end.origins]
        other = "vLLM does" if not vllm else "nor does vLLM"
        if vllm and len(vllm) < len(missed):
            other = f"nor does vLLM at {_listed(end.named() for end in vllm)}"
        stated = _listed(f"{end.named()}, stated by {_stated_by(end)}" for end in missed)
        yield PlanWarning(
            "end-tokens",
            f"responses end at {stated}, where transformers' generate does not stop; {other}",
            "correct eos_token_id in generation_config.json, or name the token under "
            "sampling.end_tokens, to add or to remove",
        )


def _listed(parts: Iterable[str]) -> str:
    return " and ".join(parts)


def _stated_by(end: StatedEndToken) -> str:
    return " and ".join(origin.value for origin in end.origins)


def ids_of_files(ends: Sequence[EndToken]) -> tuple[int, ...]:
    """Return the ids that ``config.json`` and ``generation_config.json`` state: what counted
    before the others were asked.
    """
    return tuple(end.token for end in ends if not _BY_FILES.isdisjoint(end.origins))


def find_end_tokens(
    folder: Path,
    vocabulary: int,
    *,
    tokenizer: int | None,
    template: int | None,
    text_of: Callable[[int], str],
    add: Iterable[int] = (),
    remove: Iterable[int] = (),
) -> EndTokens:
    """Return the tokens that end a response of a model.

    Args:
        folder: The model's folder.
        vocabulary: Number of token ids that the model can write; a token of the tokenizer or
            the template from there on cannot end anything.
        tokenizer: The tokenizer's end-of-sequence token.
        template: What the chat template writes after a turn of the assistant.
        text_of: What the tokenizer calls a token.
        add: Ids that the plan file adds.
        remove: Ids that the plan file takes away.

    Raises:
        FileAccessError: A configuration cannot be read.
        MalformedError: None is stated, one is not a token id, or one is taken away that nobody
            states.
    """
    by_files, asked = _stated_by_files(folder, vocabulary)
    stated: dict[EndTokenOrigin, Iterable[int]] = {
        **by_files,
        EndTokenOrigin.TOKENIZER: [] if tokenizer is None else [tokenizer],
        EndTokenOrigin.TEMPLATE: [] if template is None else [template],
    }
    origins: dict[int, list[EndTokenOrigin]] = {}
    for origin, tokens in stated.items():
        for token in tokens:
            if token < vocabulary:
                origins.setdefault(token, []).append(origin)
    for token in add:
        _check(token, vocabulary, "sampling.end_tokens.add", folder)
        origins.setdefault(token, []).append(EndTokenOrigin.PLAN)
    gone = frozenset(remove)
    _check_number(origins.keys(), gone, folder, text_of)
    found = tuple(
        StatedEndToken(token, text_of(token), tuple(who), token in gone)
        for token, who in sorted(origins.items())
    )
    return EndTokens(found, frozenset(asked), gone | frozenset(add))


def _check_number(
    stated: AbstractSet[int], gone: frozenset[int], folder: Path, text_of: Callable[[int], str]
) -> None:
    """Refuse to take away what nobody states, and to keep no end token, or too many."""
    for token in sorted(gone - stated):
        raise MalformedError(
            f"{text_of(token)} ({token}) is not an end token, so that it cannot be removed",
            file=folder,
            place="sampling.end_tokens.remove",
            hint="leave it out",
        )
    if not stated - gone:
        raise MalformedError(
            "states no end token",
            file=folder,
            hint=f"add eos_token_id to {GENERATION_CONFIG}, or name a token in the plan under "
            "sampling.end_tokens.add: no response could ever stop",
        )
    if len(stated) > _MAX_END_TOKENS:
        raise MalformedError(f"states more than {_MAX_END_TOKENS} end tokens", file=folder)


def _stated_by_files(
    folder: Path, vocabulary: int
) -> tuple[Mapping[EndTokenOrigin, Iterable[int]], Sequence[int]]:
    """Return what the configurations state, and those of it at which ``generate`` stops.

    The defaults of a configuration class do not count: they name tokens of another model's
    vocabulary.
    """
    raw = read_json_object(folder / CONFIG)
    text = raw.get("text_config")
    own = _ids(raw, folder / CONFIG, vocabulary)
    inner = _ids(text, folder / CONFIG, vocabulary) if isinstance(text, dict) else []
    stated = {EndTokenOrigin.CONFIG: dict.fromkeys([*own, *inner])}
    path = folder / GENERATION_CONFIG
    if not path.exists():
        return stated, own or inner
    asked = _ids(read_json_object(path), path, vocabulary)
    return {EndTokenOrigin.GENERATION_CONFIG: dict.fromkeys(asked), **stated}, asked


def _ids(document: Mapping[str, Any], path: Path, vocabulary: int) -> list[int]:
    value = document.get("eos_token_id")
    tokens = value if isinstance(value, list) else [] if value is None else [value]
    for token in tokens:
        _check(token, vocabulary, "eos_token_id", path)
    return tokens


def _check(token: Any, vocabulary: int, place: str, file: Path) -> None:
    if type(token) is not int or not 0 <= token < vocabulary:
        raise MalformedError(
            f"{value_text(token)[:40]} is not a token id below {vocabulary:,}",
            file=file,
            place=place,
        )
