"""What a peer is, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine_peers.workloads import Workload


@dataclass(frozen=True, slots=True)
class Answers:
    """What a peer made of a workload."""

    outputs: list[list[int]]
    """Token ids of each prompt's response, in the prompts' order."""
    computed: int
    """Positions that passed through the model's layers, padding included."""
    text: bool = False
    """The peer gave text, from which special tokens were left out."""


class Peer(Protocol):
    """One engine, its model loaded."""

    packages: tuple[str, ...]
    """Distributions whose versions are reported."""

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer every prompt greedily, all with the workload's number of new tokens.

        Args:
            workload: The prompts.
            batch: Rows of a padded batch, or requests in flight, where the peer leaves the
                choice to its caller.
        """


@dataclass(slots=True)
class Positions:
    """A count of what passed through a decoder."""

    count: int = 0
    calls: list[int] = field(default_factory=list)
    """Positions of each forward pass."""


@contextmanager
def counting(decoder: Any) -> Iterator[Positions]:
    """Count the positions that pass through a transformers decoder (``model.model``)."""
    positions = Positions()

    def count(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        ids = keywords.get("input_ids")
        if ids is None and arguments:
            ids = arguments[0]
        if ids is not None:
            number = int(ids.numel())
        else:
            embeddings = keywords["inputs_embeds"]
            number = int(embeddings.shape[0] * embeddings.shape[1])
        positions.count += number
        positions.calls.append(number)

    hook = decoder.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield positions
    finally:
        hook.remove()


def load(folder: Path, **options: Any) -> Any:
    """Return the transformers model of a folder in fp32, without an end token."""
    import torch
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(str(folder), **{"dtype": torch.float32, **options}).eval()
    model.generation_config.eos_token_id = None
    return model
