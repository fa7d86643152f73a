"""A receipt in Python: read, verified, tabulated, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from html import escape
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safety_receipts.library.arguments import (
    AnyPath,
    AnyPaths,
    auditors_of,
    evaluators_of,
    named_checkpoint,
    optional_path,
    path_of,
    terms_of,
)
from safety_receipts.library.exports import ReceiptExports
from safety_receipts.library.findings import FindingsView
from safety_receipts.library.frames import frame
from safety_receipts.library.plotting import ReceiptPlots
from safety_receipts.receipts.bundle import POINTS_FILE, Bundle, parse_point
from safety_receipts.receipts.errors import IntegrityError, UsageError
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.demonstrations import Ordering, QueryRole
from safety_receipts.receipts.model.point import Finish, Outcome, Point
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.receipts.view.rows import ConditionRow, PointRow, condition_rows, point_rows
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.expected import Expectations, expected_checkpoint
from safety_receipts.verify.page.page import report_page
from safety_receipts.verify.verification import LADDER, Verification

if TYPE_CHECKING:
    import pandas as pd

    from safety_receipts.receipts.canonical import Sha256

LevelName = Literal["authentic", "consistent", "bound"]

_JOINED = (
    "n_harmful",
    "n_benign",
    "n_total",
    "ordering",
    "benign_source",
    "response_prefix",
    "context",
)
"""What ``points_df(join="conditions")`` adds: what was shown, not what came of it."""


def load(path: AnyPath) -> Receipt:
    """Read the receipt of a bundle.  Nothing is verified: that is :meth:`Receipt.verify`.

    Args:
        path: The bundle's folder.

    Raises:
        FileAccessError: There is no such folder, or no receipt in it.
        MalformedError: The receipt is none, or of a version that this program does not read.
    """
    return Receipt(Bundle(path_of(path)))


class Receipt(ReceiptExports):
    """One sealed evaluation.  ``str()`` and the tables hold what the receipt *says*."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._signed = bundle.receipt

    @property
    def model(self) -> EvaluationPredicate:
        """Everything that is sealed, as a pydantic model."""
        return self._signed.statement.predicate

    def __fspath__(self) -> str:
        """Return the bundle's folder: a receipt stands wherever its path does."""
        return str(self._bundle.folder)

    @property
    def digest(self) -> Sha256:
        """SHA-256 of the signed bytes, which audits and proofs name it by."""
        return self._signed.envelope.digest

    def verify(
        self,
        *,
        trust: AnyPaths | None = None,
        trust_auditor: AnyPaths | None = None,
        require: AnyPaths | None = None,
        tsa_root: AnyPaths | None = None,
        log_policy: AnyPath | None = None,
        level: LevelName | None = None,
        artifacts: AnyPath | None = None,
        proof: AnyPath | None = None,
        original: AnyPath | None = None,
        checkpoint: AnyPath | None = None,
        stage: str | None = None,
        allow_instrument: bool = False,
    ) -> Verification:
        """Verify the bundle offline, as ``receipts verify`` does.

        Args:
            trust: Public keys of evaluators you trust, or trust files (``.yaml``).  Without any,
                nothing is authentic, and the result is false.
            trust_auditor: Public keys of auditors you trust, or trust files.
            require: Public keys, or trust files, of evaluators each of whom must have signed plan
                and receipt; they are trusted so.
            tsa_root: Roots of timestamp authorities, PEM: timestamps in the bundle are held to
                them.
            log_policy: The policy that proofs of logs are held to.
            level: What must be reached; None: ``consistent``, or ``bound`` with artifacts.
            artifacts: A plan file whose paths are yours: what the sealed plan names is compared
                with what they hold.
            proof: An inclusion proof to check as well.
            original: Where responses were judged again: the bundle of the event that generated
                them.
            checkpoint: What the receipt must be of: the checkpoint's root, 64 hex digits with
                ``sha256:`` before them or without, or its folder, all files of which are hashed.
            stage: The training stage that the receipt must name, in the same letters.
            allow_instrument: Accept a receipt of a test instrument, which says nothing about any
                real model.

        Returns:
            True only if nothing failed and the level was reached; it knows why not.

        Raises:
            UsageError: There is no such level, or no such checkpoint.
            IntegrityError: The folder holds another receipt by now: what this object says is not
                what would be verified.
            FileAccessError, MalformedError, KeyFileError: A file that must be there is not what
                it should be.
        """
        wanted = _level(level, CheckLevel.CONSISTENT if artifacts is None else CheckLevel.BOUND)
        bundle = self._as_it_is()
        held_artifacts = None
        if artifacts is not None:
            # It loads transformers, which a reader without artifacts may not have.
            from safety_receipts.verify.levels.bound import resolve_artifacts  # noqa: PLC0415

            held_artifacts = resolve_artifacts(bundle, path_of(artifacts))
        named = None if checkpoint is None else named_checkpoint(checkpoint)
        expected = Expectations(
            checkpoint=None if named is None else expected_checkpoint(named),
            stage=stage,
            allow_instrument=allow_instrument,
        )
        terms = terms_of(require, tsa_root, log_policy)
        return verify_bundle(
            bundle,
            evaluators=evaluators_of(trust),
            auditors=auditors_of(trust_auditor),
            required=terms.required,
            wanted=wanted,
            proof=optional_path(proof),
            held_artifacts=held_artifacts,
            original=None if original is None else Bundle(path_of(original)),
            expected=expected,
            tsa_roots=terms.tsa_roots,
            log=terms.log,
        )

    def to_html(
        self,
        *,
        trust: AnyPaths | None = None,
        trust_auditor: AnyPaths | None = None,
        with_evidence: bool = False,
    ) -> str:
        """Return a page for people that verifies itself in the reader's browser.

        Args:
            trust: Public keys of evaluators you trust; without any the page says that nobody
                vouches for who signed.
            trust_auditor: Public keys of auditors you trust: no other audit stands on the page.
            with_evidence: Embed the evidence lines, where they are public.

        Raises:
            IntegrityError: A check failed, or the folder holds another receipt by now.
            UsageError: The evidence is not public, and was to be embedded.
            FileAccessError, MalformedError, KeyFileError: A file is not what it should be.
        """
        page = report_page(
            self._as_it_is(),
            evaluators_of(trust),
            auditors_of(trust_auditor),
            with_evidence=with_evidence,
        )
        return page.html.decode("utf-8")

    def conditions(self) -> list[ConditionRow]:
        """Return the conditions in plan order, the baseline first, as named tuples."""
        return condition_rows(self.model)

    def conditions_df(self) -> pd.DataFrame:
        """Return the conditions as a frame, one row each; columns as of :meth:`conditions`.

        Raises:
            IncompleteError: pandas is not installed.
        """
        return frame(self.conditions(), ConditionRow, self._condition_categories())

    def points(self) -> Iterator[PointRow]:
        """Yield the evaluation points in plan order, as named tuples.

        Raises:
            FileAccessError: The bundle has no evidence, as a published copy.
            MalformedError: A line is no evidence line.
            IntegrityError: After the last point: the lines are not those that were sealed.
        """
        return point_rows(self._sealed_points(), self.model)

    def _as_it_is(self, audits: tuple[Path, ...] = ()) -> Bundle:
        """Return the bundle as it is now, and not as it was when it was loaded.

        Raises:
            IntegrityError: It holds another receipt.
        """
        bundle = Bundle(self._bundle.folder, audits=audits)
        if bundle.receipt_envelope.digest != self.digest:
            raise IntegrityError(
                "holds another receipt than the one that was loaded",
                file=self._bundle.folder,
                hint="load it again, and look at what it says now",
            )
        return bundle

    def _sealed_points(self) -> Iterator[Point]:
        file = self._bundle.folder / POINTS_FILE
        for number, line in self._bundle.sealed_lines(self.model.evidence):
            yield parse_point(line, number, file)

    def points_df(self, *, join: Literal["conditions"] | None = None) -> pd.DataFrame:
        """Return the evaluation points as a frame, one row each; columns as of :meth:`points`.

        Args:
            join: ``"conditions"`` adds what each point was shown: ``n_harmful``, ``n_benign``,
                ``n_total``, ``ordering``, ``benign_source``, ``response_prefix``, ``context``.

        Raises:
            IncompleteError: pandas is not installed.
            UsageError: There is nothing of that name to join.
            FileAccessError, MalformedError, IntegrityError: As :meth:`points`.
        """
        if join not in (None, "conditions"):
            raise UsageError(f"cannot join {join!r}", hint='only join="conditions" is supported')
        made = frame(list(self.points()), PointRow, self._point_categories())
        if join is None:
            return made
        shown = self.conditions_df()[["condition", *_JOINED]]
        return made.merge(shown, on="condition", how="left", validate="many_to_one")

    def _condition_categories(self) -> dict[str, list[str]]:
        rows = self.conditions()
        return {
            "condition": [row.condition for row in rows],
            "ordering": [ordering.value for ordering in Ordering],
            "benign_source": _distinct(row.benign_source for row in rows),
            "response_prefix": _distinct(row.response_prefix for row in rows),
            "context": _distinct(row.context for row in rows),
        }

    def _point_categories(self) -> dict[str, list[str]]:
        return {
            "condition": [row.condition for row in self.conditions()],
            "source": [source.name for source in self.model.queries],
            "role": [role.value for role in QueryRole],
            "outcome": [outcome.value for outcome in Outcome],
            "finish": [finish.value for finish in Finish],
        }

    @cached_property
    def findings(self) -> FindingsView:
        """What the receipt says of the hypotheses."""
        return FindingsView(presentable(self.model))

    @property
    def plot(self) -> ReceiptPlots:
        """Figures, drawn with matplotlib when asked for."""
        return ReceiptPlots(presentable(self.model))

    def _facts(self) -> Iterator[tuple[str, str]]:
        said = presentable(self.model)
        yield "checkpoint", said.checkpoint.name
        yield "training stage", said.training_stage
        if said.instrument:
            yield "test instrument", "numbers say nothing about real models"
        yield "conditions", f"{len(said.conditions):,}"
        yield "points", f"{said.evidence.size:,}"
        yield "compliance without demonstrations", f"{percent(said.baseline.compliance_rate)} %"
        yield "signature", "not verified here"

    def __repr__(self) -> str:
        said = presentable(self.model)
        instrument = ", test instrument" if said.instrument else ""
        return (
            f"<Receipt {said.checkpoint.name} (stage {said.training_stage}{instrument}): "
            f"{len(said.conditions):,} conditions, {said.evidence.size:,} points, baseline "
            f"{percent(said.baseline.compliance_rate)} %>"
        )

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in chain(self._facts(), [("digest", self.digest)])
        )
        return f"<table>{cells}</table>"


def _level(name: str | None, default: CheckLevel) -> CheckLevel:
    known = {level.value: level for level in LADDER}
    if name is None:
        return default
    if name not in known:
        raise UsageError(f"there is no level {name!r}", hint=f"one of {', '.join(known)}")
    return known[name]


def _distinct(values: Iterator[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))
