"""The published slopes in the words of a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from recording import markdown_table

from safety_receipts.receipts.findings.counts.quantiles import Z_95
from safety_receipts.receipts.findings.effects import EQUIVALENCE, slope_word
from safety_receipts.receipts.findings.fits.wire import p_string, score, signed_interval
from safety_receipts.receipts.model.findings import Effect, Grounds, SignedInterval

MARGIN: Final = "0.05"
"""The default effect margin."""


@dataclass(frozen=True)
class Published:
    """A row of arXiv:2606.20508v1."""

    model: str
    """Checkpoint."""
    beta: float
    """β2."""
    p: float
    """Its two-sided p-value."""
    finding: Effect
    """What the paper concludes."""

    @property
    def se(self) -> float:
        """The standard error that slope and p-value imply."""
        return abs(self.beta / NormalDist().inv_cdf(self.p / 2))

    @property
    def equivalence(self) -> SignedInterval:
        """The 90 % interval that they imply."""
        half = float(Z_95) * self.se
        return signed_interval(EQUIVALENCE, self.beta - half, self.beta + half)

    def word(self, margin: str = MARGIN) -> tuple[Effect, Grounds]:
        """Return what a receipt would say, were this standard error the clustered one."""
        return slope_word(score(self.beta), p_string(self.p), self.equivalence, margin)


TABLE: Final = (
    Published("GPT-OSS-20B", 0.0319, 1.1e-2, Effect.AMPLIFICATION),
    Published("Llama-3.1-8B-Instruct", -0.1782, 6.9e-123, Effect.DILUTION),
    Published("OLMo-3.1-32B-Instruct", -0.0118, 0.11, Effect.NONE),
    Published("Gemma-4-31B-IT", -0.2010, 6.7e-175, Effect.DILUTION),
    Published("OLMo-3.1-32B-SFT", 0.0919, 1.3e-39, Effect.AMPLIFICATION),
    Published("OLMo-3.1-32B-DPO", -0.0114, 0.13, Effect.NONE),
)
COLUMNS = (
    "model",
    "β2",
    "p",
    "implied standard error",
    "90 % interval",
    "published",
    "word",
    "grounds",
    "same",
)


def measure() -> list[str]:
    """Return the report's lines."""
    return [
        "β2 and p as published (arXiv:2606.20508v1); the standard error follows from both. Words "
        f"at the default effect margin, {MARGIN}, by the rule of the receipts, as if that error "
        "were the clustered one.",
        "",
        *markdown_table(COLUMNS, map(_row, TABLE)),
    ]


def _row(row: Published) -> tuple[str, ...]:
    word, grounds = row.word()
    bounds = row.equivalence
    return (
        row.model,
        f"{row.beta:+.4f}",
        f"{row.p:.2g}",
        f"{row.se:.4f}",
        f"{float(bounds.lower):+.4f} … {float(bounds.upper):+.4f}",
        row.finding,
        word,
        grounds,
        "yes" if word is row.finding else "no",
    )
