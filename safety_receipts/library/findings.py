"""The findings of a receipt, in words and as the sealed model."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.sentences import Sentence, sentences


class FindingsView:
    """What a receipt says of the hypotheses; it is false where none are claimed."""

    def __init__(self, receipt: EvaluationPredicate) -> None:
        self._receipt = receipt
        self.sentences: tuple[Sentence, ...] = tuple(sentences(receipt))
        """Each finding in words, the primary one first."""

    @property
    def model(self) -> Findings | None:
        """Every sealed number, as a pydantic model; None: none are claimed."""
        return self._receipt.findings

    def summary(self) -> str:
        """Return the findings as text, a line each."""
        if self.model is None:
            return "No findings are claimed."
        if not self.sentences:
            return "The plan asks for nothing that could be tested."
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for sentence in self.sentences:
            yield " ".join(filter(None, (sentence.text, sentence.aside)))

    def __bool__(self) -> bool:
        return self.model is not None

    def __len__(self) -> int:
        return len(self.sentences)

    def __repr__(self) -> str:
        return f"<Findings: {len(self)} sentences>" if self else "<Findings: none are claimed>"

    def _repr_html_(self) -> str:
        if not self.sentences:
            return f"<p>{escape(self.summary())}</p>"
        items = "".join(f"<li>{escape(line)}</li>" for line in self._lines())
        return f"<ul>{items}</ul>"
