"""Bundles side by side, in Python."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from safety_receipts.library.arguments import AnyPath, AnyPaths, evaluators_of, paths_of
from safety_receipts.library.frames import frame
from safety_receipts.library.plotting import ComparisonPlots
from safety_receipts.verify.compare.compared import ComparisonReport, compare_evaluations
from safety_receipts.verify.compare.comparison import EffectChange
from safety_receipts.verify.compare.evaluations import open_evaluations
from safety_receipts.verify.levels.evidence import no_progress
from safety_receipts.verify.view.documents.compare import comparison_document

if TYPE_CHECKING:
    import pandas as pd


class ModelRow(NamedTuple):
    """What benign demonstrations do to one model."""

    label: str
    """What it is called here."""
    checkpoint: str
    """Name of the checkpoint."""
    stage: str
    """Its training stage."""
    beta2: float | None
    """Change of the log-odds of compliance per unit of log(N_b + 1)."""
    lower: float | None
    """Lower end of its 95 % interval."""
    upper: float | None
    """Upper end."""
    p: float | None
    """p-value of β2 = 0."""
    adjusted_p: float | None
    """After Holm's correction over all tests of the comparison."""
    effect: str
    """``dilution``, ``amplification``, ``none`` or ``undetermined``."""
    baseline_rate: float | None
    """Compliance without demonstrations."""


class PairRow(NamedTuple):
    """One model against another: the difference of their β2."""

    first: str
    """The reference."""
    second: str
    """What is read against it."""
    difference: float | None
    """β2 of the second less that of the first."""
    lower: float | None
    """Lower end of its 95 % interval."""
    upper: float | None
    """Upper end."""
    adjusted_p: float | None
    """Its p-value after Holm's correction."""
    word: str
    """What became of the effect."""
    statement: str
    """The same in a sentence."""
    declined: str | None
    """Why nothing stronger is said."""


def compare(
    bundles: Sequence[AnyPath],
    *,
    trust: AnyPaths | None = None,
    common_queries: bool = False,
    force: bool = False,
) -> Comparison:
    """Compare training stages or models: does the effect of benign demonstrations differ?

    Every bundle is verified first, as ``receipts compare`` does.

    Args:
        bundles: Two bundles or more, as paths or as receipts.
        trust: Public keys of evaluators; all bundles must be signed by one of them.  Without any,
            authenticity is not checked, and :attr:`Comparison.notes` says so.
        common_queries: Compare on the queries that all bundles have.
        force: Compare even what should not be; every statement then says so.

    Raises:
        UsageError: They are not comparable, or fewer than two.
        IntegrityError: A bundle does not verify.
        IncompleteError: Evidence is missing.
        FileAccessError, MalformedError, KeyFileError: A file is not what it should be.
    """
    keys = evaluators_of(trust)
    evaluations = open_evaluations(paths_of(bundles), keys, no_progress)
    compared = compare_evaluations(
        evaluations, authentic=bool(len(keys)), common_queries=common_queries, force=force
    )
    return Comparison(compared)


class Comparison:
    """What differs between bundles, and what cannot be said."""

    def __init__(self, compared: ComparisonReport) -> None:
        self._compared = compared

    @property
    def statements(self) -> tuple[str, ...]:
        """One sentence for every two models."""
        return tuple(pair.statement.text for pair in self._compared.comparison.pairs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know, in sentences."""
        return tuple(self._compared.notes())

    @property
    def authentic(self) -> bool:
        """Whether trusted keys signed all bundles."""
        return self._compared.authentic

    def models(self) -> list[ModelRow]:
        """Return the models in the order given, as named tuples."""
        return [
            ModelRow(
                label=each["label"],
                checkpoint=each["checkpoint"],
                stage=each["stage"],
                beta2=_number(each["beta2"]),
                lower=_end(each["interval"], "lower"),
                upper=_end(each["interval"], "upper"),
                p=_number(each["p"]),
                adjusted_p=_number(each["adjusted"]),
                effect=each["effect"],
                baseline_rate=_number(each["baselineRate"]),
            )
            for each in self.to_dict()["models"]
        ]

    def pairs(self) -> list[PairRow]:
        """Return every two models, the earlier first, as named tuples."""
        return [
            PairRow(
                first=each["first"],
                second=each["second"],
                difference=_end(each["difference"], "beta"),
                lower=_end(each["interval"], "lower"),
                upper=_end(each["interval"], "upper"),
                adjusted_p=_number(each["adjusted"]),
                word=each["word"],
                statement=each["statement"],
                declined=each["declined"],
            )
            for each in self.to_dict()["pairs"]
        ]

    def models_df(self) -> pd.DataFrame:
        """Return the models as a frame.

        Raises:
            IncompleteError: pandas is not installed.
        """
        return frame(self.models(), ModelRow, {})

    def pairs_df(self) -> pd.DataFrame:
        """Return the pairs as a frame.

        Raises:
            IncompleteError: pandas is not installed.
        """
        return frame(self.pairs(), PairRow, {"word": [word.value for word in EffectChange]})

    @property
    def plot(self) -> ComparisonPlots:
        """Figures, drawn with matplotlib when asked for."""
        return ComparisonPlots(self._compared)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``receipts compare --json`` prints, but for ``plots``."""
        return comparison_document(self._compared).to_wire()

    def __repr__(self) -> str:
        return f"<Comparison: {'; '.join(self.statements)}>"

    def _repr_html_(self) -> str:
        lines = [*self.statements, *self.notes]
        return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _number(value: str | None) -> float | None:
    return None if value is None else float(value)


def _end(ends: dict[str, Any] | None, name: str) -> float | None:
    return None if ends is None else float(ends[name])
