"""What a checkpoint's files state of how its responses are sampled, and a plan does not do.

transformers' ``generate`` and servers such as vLLM take these defaults where nobody says
otherwise, some of them under greedy decoding too; a plan takes what it names and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.checkpoint import (
    MAX_DEFAULTS,
    Sampling,
    SamplingDefault,
    SamplingMethod,
)
from safety_receipts.runner.checkpoint.config import GENERATION_CONFIG
from safety_receipts.runner.checkpoint.model_files import CONFIG, read_json_object

PENALTY: Final = "repetition_penalty"
_LONGEST: Final = 120
"""Longest value that is stated as it is, in characters."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A default that can change tokens."""

    meaning: str
    """What it does, in words that follow its name and value."""
    neutral: tuple[Any, ...] = ()
    """Values besides null with which it does nothing."""


_WARPER = "which tokens may be drawn, where responses are sampled"
_KNOWN: Final[Mapping[str, _Known]] = {
    "bad_words_ids": _Known("sequences of tokens that are never written", ([],)),
    "begin_suppress_tokens": _Known("tokens that no response begins with", ([],)),
    "constraints": _Known("what every response must contain", ([],)),
    "diversity_penalty": _Known("how groups of beams are kept apart", (0,)),
    "do_sample": _Known("whether responses are sampled", (False,)),
    "dola_layers": _Known("logits of an early layer are subtracted"),
    "encoder_no_repeat_ngram_size": _Known("runs of the prompt that are not repeated", (0,)),
    "encoder_repetition_penalty": _Known("tokens of the prompt are made likelier", (1,)),
    "epsilon_cutoff": _Known(_WARPER, (0,)),
    "eta_cutoff": _Known(_WARPER, (0,)),
    "exponential_decay_length_penalty": _Known("the end becomes likelier with length"),
    "force_words_ids": _Known("tokens that every response must contain", ([],)),
    "forced_bos_token_id": _Known("the token that every response begins with"),
    "forced_decoder_ids": _Known("tokens at stated places of every response", ([],)),
    "forced_eos_token_id": _Known("the token that the longest responses end with"),
    "frequency_penalty": _Known("tokens are made less likely by how often they occurred", (0,)),
    "guidance_scale": _Known("how far logits are moved away from those without a prompt", (1,)),
    "length_penalty": _Known("how beams of other lengths are compared", (1,)),
    "max_time": _Known("seconds after which a response is cut off"),
    "min_length": _Known("tokens before which prompt and response do not end", (0,)),
    "min_new_tokens": _Known("tokens before which no response ends", (0,)),
    "min_p": _Known(_WARPER, (0,)),
    "no_repeat_ngram_size": _Known("runs of so many tokens are never repeated", (0,)),
    "num_beams": _Known("how many continuations are searched at once", (1,)),
    "num_beam_groups": _Known("in how many groups beams are searched", (1,)),
    "penalty_alpha": _Known("how far contrastive search looks away from what was written", (0,)),
    "presence_penalty": _Known("tokens are made less likely that occurred before", (0,)),
    PENALTY: _Known("tokens of prompt and response are made less likely to be repeated", (1,)),
    "sequence_bias": _Known("sequences of tokens that are made likelier or less", ([], {})),
    "stop_strings": _Known("text that ends a response", ([], "")),
    "suppress_tokens": _Known("tokens that are never written", ([],)),
    "temperature": _Known("how evenly tokens are drawn, where responses are sampled", (1,)),
    "token_healing": _Known("the end of the prompt is written anew", (False,)),
    "top_h": _Known(_WARPER),
    "top_k": _Known(_WARPER, (0, -1)),
    "top_p": _Known(_WARPER, (1,)),
    "typical_p": _Known(_WARPER, (1,)),
    "watermarking_config": _Known("tokens are marked by making some of them likelier"),
}
assert len(_KNOWN) <= MAX_DEFAULTS


def read_defaults(folder: Path) -> dict[str, Any]:
    """Return the defaults of a model folder that can change tokens, by name.

    They stand in ``generation_config.json``; where there is none, transformers takes those of
    ``config.json``, and so does this.

    Args:
        folder: The model's folder.

    Raises:
        FileAccessError: A file cannot be read.
        MalformedError: One is damaged.
    """
    stated: dict[str, Any] = {}
    path = folder / GENERATION_CONFIG
    if path.exists():
        stated = read_json_object(path)
    else:
        config = read_json_object(folder / CONFIG)
        text = config.get("text_config")
        inner = text if isinstance(text, dict) else {}
        stated = inner | {name: value for name, value in config.items() if value is not None}
    return {
        name: stated[name]
        for name, known in _KNOWN.items()
        if not _neutral(stated.get(name), known)
    }


def _neutral(value: Any, known: _Known) -> bool:
    """Say whether a default does nothing; False is no 0 here, and 1 no True."""
    return value is None or any(
        value == one and isinstance(value, bool) == isinstance(one, bool) for one in known.neutral
    )


def own_penalty(defaults: Mapping[str, Any], folder: Path) -> str | None:
    """Return the repetition penalty that a checkpoint's files state, as an exact decimal.

    Args:
        defaults: From :func:`read_defaults`.
        folder: The model's folder, named in errors.

    Raises:
        MalformedError: It is no number above 0.
    """
    value = defaults.get(PENALTY)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise MalformedError(
            f"{_text(value)} is not a repetition penalty",
            file=folder / GENERATION_CONFIG,
            place=PENALTY,
            hint="name a number in the plan, or leave repetition_penalty out of it",
        )
    return format(Decimal(str(value)), "f")


def not_applied(defaults: Mapping[str, Any], sampling: Sampling) -> tuple[SamplingDefault, ...]:
    """Return the defaults that a plan's sampling does not do, sorted by name.

    Args:
        defaults: From :func:`read_defaults`.
        sampling: What the plan does.
    """
    seeded = sampling.method is SamplingMethod.SEEDED
    done: dict[str, Any] = {
        "do_sample": seeded,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        PENALTY: sampling.repetition_penalty,
    }
    return tuple(
        SamplingDefault(name=name, value=_text(value))
        for name, value in sorted(defaults.items())
        if not _same(value, done.get(name))
    )


def meaning_of(name: str) -> str:
    """Return in plain words what a default does."""
    return _KNOWN[name].meaning


def _same(stated: Any, done: Any) -> bool:
    if isinstance(done, str):  # an exact decimal
        number = isinstance(stated, (int, float)) and not isinstance(stated, bool)
        return number and Decimal(str(stated)) == Decimal(done)
    return type(stated) is type(done) and bool(stated == done)


def _text(value: Any) -> str:
    """Return a value as JSON text, or a digest of it where that is long."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(text) <= _LONGEST:
        return text
    entries = f"{len(value):,} entries, " if isinstance(value, (list, dict)) else ""
    return f"{entries}sha256 {hashlib.sha256(text.encode('ascii')).hexdigest()}"
