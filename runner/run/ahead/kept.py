"""Rendered prompts in a file beside a run's journal: whoever begins or resumes it takes them.

It is written when a plan is sealed whose draws are settled then, or else when its run begins.  The
file is a line that says whose prompts it has, the portions (:mod:`.portions`), each after its
length, and a SHA-256 of all that.  It appears whole or not at all, and goes with the journal when
the event is sealed.  It holds what the journal holds of prompts and more, and is as private.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from safety_receipts.receipts import __version__
from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.io.files import atomic_writer, make_private, open_regular
from safety_receipts.receipts.unfinished import RUN_PROMPTS
from safety_receipts.runner.prompts.rendering import Renderer

_TAG: Final = "safety-receipts/rendered-prompts/2"
_RENDERS_WITH: Final = ("jinja2", "tokenizers", "transformers")
"""Distributions that have a say in token ids; another version may read a template otherwise."""
_LENGTH: Final = 8
"""Bytes of the length of a portion, the first one the greatest."""
_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class PromptsFile:
    """Where the rendered prompts of a run are kept."""

    path: Path
    """The file."""
    owner: Sha256
    """Whose prompts: digest of plan, seed, tokenizer, template, and the versions of this tool and
    of the libraries that it renders with."""

    @classmethod
    def of(cls, folder: Path, renderer: Renderer) -> PromptsFile:
        """Return the file of a run.

        Args:
            folder: The bundle.
            renderer: Renders its prompts.
        """
        chat, plan = renderer.chat, sha256_hex(canonical_bytes(renderer.plan.to_wire()))
        owner = [plan, renderer.seed, chat.tokenizer_digest, chat.template_digest, __version__]
        owner += map(version, _RENDERS_WITH)
        return cls(folder / RUN_PROMPTS, sha256_hex(canonical_bytes([_TAG, *owner])))

    @property
    def _head(self) -> bytes:
        return f"{_TAG} {self.owner}\n".encode()

    def write(self, portions: Sequence[bytes]) -> None:
        """Keep prompts, in place of any that are kept.

        Raises:
            FileAccessError: The folder cannot be written to, or the disk is full.
        """
        hashed = hashlib.sha256()
        with atomic_writer(self.path, mode=0o600) as stream:
            for data in (self._head, *map(_with_length, portions)):
                hashed.update(data)
                stream.write(data)
            stream.write(hashed.digest())

    def read(self) -> list[bytes] | None:
        """Return the portions that are kept; None: there is no such file.

        Raises:
            MalformedError: It is damaged, or has the prompts of another run.
            FileAccessError: It cannot be read.
        """
        if not os.path.lexists(self.path):
            return None
        make_private(self.path)
        hashed = hashlib.sha256()
        portions = []
        with open_regular(self.path) as stream:
            left = os.fstat(stream.fileno()).st_size - len(self._head) - _DIGEST
            head = stream.read(len(self._head))
            if head != self._head:
                raise self._refused("has the prompts of another run or version, or none")
            hashed.update(head)
            while left > 0:
                length = stream.read(_LENGTH)
                left -= _LENGTH + int.from_bytes(length)
                if left < 0:
                    break
                portions.append(stream.read(int.from_bytes(length)))
                hashed.update(length)
                hashed.update(portions[-1])
            if left or stream.read() != hashed.digest():
                raise self._refused("is damaged")
        return portions

    def _refused(self, why: str) -> MalformedError:
        return MalformedError(why, file=self.path, hint="prompts are rendered again")


def _with_length(portion: bytes) -> bytes:
    return len(portion).to_bytes(_LENGTH) + portion
