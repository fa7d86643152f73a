"""That a tokenizer rewrites text: the error, and of which folders it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.errors import UsageError


class RewritingTokenizerError(UsageError):
    """A tokenizer does more to text than to cut it into entries of its vocabulary."""

    kind = "tokenizer"

    @property
    def said(self) -> str:
        """What is wrong, and where in the file."""
        return ": ".join(part for part in (self.place, self.message) if part)


@dataclass(frozen=True)
class RewritingFolders:
    """Folders whose tokenizers may rewrite texts; of each why, or None."""

    model: str | None = None
    """The checkpoint."""
    judge: str | None = None
    """The judge."""
    second_judge: str | None = None
    """The judge that gives a second opinion."""


NONE_REWRITES: Final = RewritingFolders()
"""No tokenizer is refused."""
