"""Rendered points on their way from another process or a file: each part of their prompts once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.runner.prompts.prefix_tree import PromptTokens, TokenArray
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer

_DIGEST: Final = 32
_ALIGNED: Final = 8
"""Bytes of which the line before the arrays has a multiple."""
_LEVEL: Final = 3
"""Of compression; higher ones take longer than tokenising."""


@dataclass(frozen=True, slots=True)
class PackedPoints:
    """What rendering found out of some points; the plan says the rest."""

    tokens: TokenArray
    """Token ids of all parts, one part after the other, uint32."""
    lengths: NDArray[np.uint32]
    """How many of them each part has."""
    parts: NDArray[np.uint32]
    """For one point after the other, the numbers of the parts of its prompt in order."""
    counts: NDArray[np.uint32]
    """How many parts each prompt has."""
    digests: NDArray[np.uint8]
    """For each point the digests of its prompt and of its demonstrations, shape (n, 2, 32); zeros
    where nothing is shown."""
    labels: tuple[str | None, ...]
    """For each point the order of its demonstrations, where that is drawn."""

    @classmethod
    def pack(cls, points: Iterable[RenderedPoint]) -> PackedPoints:
        """Return points as they travel.

        Args:
            points: Points whose prompts' parts are known (:class:`PromptTokens`), or are each a
                part of their own.
        """
        # By the array: the reader hands out the same one wherever a part recurs.
        numbers: dict[int, int] = {}
        known: list[TokenArray] = []
        parts: list[int] = []
        counts, digests, labels = [], [], []
        for point in points:
            read = _parts_of(point.tokens)
            for part in read:
                number = numbers.setdefault(id(part), len(known))
                if number == len(known):
                    known.append(part)  # which keeps its id from being given to another
                parts.append(number)
            counts.append(len(read))
            digests.append(bytes.fromhex(point.prompt + (point.demonstrations or "0" * 64)))
            labels.append(point.labels)
        return cls(
            np.concatenate([np.empty(0, np.uint32), *known]),
            np.array([len(part) for part in known], np.uint32),
            np.array(parts, np.uint32),
            np.array(counts, np.uint32),
            np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 2, _DIGEST),
            tuple(labels),
        )

    def to_bytes(self) -> bytes:
        """Return them as bytes: sizes and labels as a line of JSON, then the arrays; compressed."""
        arrays = (self.lengths, self.counts, self.parts, self.tokens, self.digests)
        head = {"sizes": [array.size for array in arrays], "labels": self.labels}
        line = json.dumps(head, separators=(",", ":")).encode()
        line += b" " * (-(len(line) + 1) % _ALIGNED) + b"\n"
        data = b"".join([line, *(array.tobytes() for array in arrays)])
        return zstandard.ZstdCompressor(level=_LEVEL).compress(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> PackedPoints:
        """Return what :meth:`to_bytes` made bytes of, which nothing has changed since."""
        raw = zstandard.ZstdDecompressor().decompress(data)
        place = raw.index(b"\n") + 1
        head = json.loads(raw[:place])
        kinds = (np.uint32, np.uint32, np.uint32, np.uint32, np.uint8)
        arrays = []
        for size, kind in zip(head["sizes"], kinds, strict=True):
            arrays.append(np.frombuffer(raw, kind, size, place))
            place += arrays[-1].nbytes
        lengths, counts, parts, tokens, digests = arrays
        shaped = digests.reshape(-1, 2, _DIGEST)
        return cls(tokens, lengths, parts, counts, shaped, tuple(head["labels"]))

    def unpack(self, renderer: Renderer, indices: Sequence[int]) -> Iterator[RenderedPoint]:
        """Yield the points again.

        Args:
            renderer: Knows the plan and its texts; nothing is rendered.
            indices: Which points they are, in their order here.
        """
        bounds = np.cumsum(self.lengths, dtype=np.int64).tolist()
        pieces = [self.tokens[a:b] for a, b in pairwise([0, *bounds])]
        ends = np.cumsum(self.counts, dtype=np.int64).tolist()
        numbers = self.parts.tolist()
        for place, (index, (start, end)) in enumerate(
            zip(indices, pairwise([0, *ends]), strict=True)
        ):
            digests = self.digests[place].tobytes()
            shown = digests[_DIGEST:]
            yield renderer.rendered_before(
                index,
                PromptTokens([pieces[number] for number in numbers[start:end]]),
                prompt=Sha256(digests[:_DIGEST].hex()),
                demonstrations=Sha256(shown.hex()) if any(shown) else None,
                labels=self.labels[place],
            )


def _parts_of(tokens: Sequence[int]) -> Sequence[TokenArray]:
    if isinstance(tokens, PromptTokens):
        return tokens.parts
    return [np.asarray(tokens, np.uint32)]
