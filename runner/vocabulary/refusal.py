"""The error that a tokenizer rewrites text."""

from __future__ import annotations

from safety_receipts.receipts.errors import UsageError


class RewritingTokenizerError(UsageError):
    """A tokenizer does more to text than to cut it into entries of its vocabulary."""

    kind = "tokenizer"

    @property
    def said(self) -> str:
        """What is wrong, and where in the file."""
        return ": ".join(part for part in (self.place, self.message) if part)
