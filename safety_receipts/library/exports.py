"""A receipt in other tools' formats, in Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from safety_receipts.library.arguments import (
    AnyPath,
    AnyPaths,
    auditors_of,
    evaluators_of,
    named_checkpoint,
    optional_path,
    path_of,
    paths_of,
)
from safety_receipts.library.gating import moment_of
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.verify.exports.kinds import (
    CycloneDxVersion,
    ExportFormat,
    ExportRequest,
    ExportRows,
    GateDecision,
)
from safety_receipts.verify.exports.registry import EXPORTS, require_package
from safety_receipts.verify.gate.bundles import GateTerms, gate_verified
from safety_receipts.verify.gate.policy import load_policy
from safety_receipts.verify.levels.expected import expected_checkpoint
from safety_receipts.verify.levels.times.terms import TrustTerms
from safety_receipts.verify.verified import VerifiedReceipt, verified_receipt


@dataclass(frozen=True)
class WrittenExport:
    """What an export wrote."""

    files: tuple[Path, ...]
    """The files."""
    count: int
    """How many entries they hold: rows, samples, metrics, rules."""
    entries: str
    """What one entry is, in the plural."""
    remarks: tuple[str, ...]
    """What the format does not carry, and what was changed, in whole sentences."""


class ReceiptExports(ABC):
    """What a receipt can be written as.

    Every method verifies the bundle first and takes each number from it; docs/exports.md says what
    each format carries.  They raise IntegrityError where a check failed, IncompleteError where no
    key of ``trust`` signed the receipt or a package is missing, UsageError where a format wants
    what nobody may hold, and FileAccessError where a file cannot be written.
    """

    @abstractmethod
    def _as_it_is(self, audits: tuple[Path, ...]) -> Bundle:
        """Return the bundle as it is now, with audits that are kept elsewhere."""

    def to_csv(
        self,
        out: AnyPath,
        *,
        trust: AnyPaths,
        rows: Literal["conditions", "points"] = "conditions",
    ) -> WrittenExport:
        """Write a table of conditions or points as CSV, safe for spreadsheets."""
        return self._table(ExportFormat.CSV, out, trust, rows)

    def to_parquet(
        self,
        out: AnyPath,
        *,
        trust: AnyPaths,
        rows: Literal["conditions", "points"] = "conditions",
    ) -> WrittenExport:
        """Write a table of conditions or points as Parquet (extra ``parquet``)."""
        return self._table(ExportFormat.PARQUET, out, trust, rows)

    def to_inspect(
        self,
        out: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        with_texts: bool = False,
    ) -> WrittenExport:
        """Write a log of Inspect, ``.json`` or ``.eval``: a sample a point (extra ``inspect``)."""
        require_package(ExportFormat.INSPECT)
        verified = self._verified(trust, trust_auditor)
        request = ExportRequest(verified, path_of(out), with_texts=with_texts)
        return _written(ExportFormat.INSPECT, request)

    def to_every_eval_ever(
        self,
        out: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        with_texts: bool = False,
    ) -> WrittenExport:
        """Write a new folder for the data store of Every Eval Ever."""
        verified = self._verified(trust, trust_auditor)
        request = ExportRequest(verified, path_of(out), with_texts=with_texts)
        return _written(ExportFormat.EVERY_EVAL_EVER, request)

    def to_cyclonedx(
        self,
        out: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        spec_version: Literal["1.6", "1.7"] = "1.6",
    ) -> WrittenExport:
        """Write a CycloneDX bill of materials of the model, with a model card."""
        version = CycloneDxVersion(spec_version)
        verified = self._verified(trust, trust_auditor)
        request = ExportRequest(verified, path_of(out), spec_version=version)
        return _written(ExportFormat.CYCLONEDX, request)

    def to_test_result(
        self,
        out: AnyPath,
        policy: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        audits: AnyPaths | None = None,
        model: AnyPath | None = None,
        against: AnyPath | None = None,
        at: datetime | str | None = None,
    ) -> WrittenExport:
        """Write an in-toto test-result: which rules of a policy hold.  The rest as ``sr.gate``."""
        verified = self._verified(trust, trust_auditor, audits, at)
        decision = _decided(verified, policy, trust, model=model, against=against, at=at)
        request = ExportRequest(verified, path_of(out), decision)
        return _written(ExportFormat.TEST_RESULT, request)

    def to_svr(
        self,
        out: AnyPath,
        policy: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        audits: AnyPaths | None = None,
        model: AnyPath | None = None,
        against: AnyPath | None = None,
        at: datetime | str | None = None,
    ) -> WrittenExport:
        """Write an unsigned in-toto SVR about the checkpoint.

        It raises PolicyError where a rule does not hold: an SVR has no form for that.
        """
        verified = self._verified(trust, trust_auditor, audits, at)
        decision = _decided(verified, policy, trust, model=model, against=against, at=at)
        return _written(ExportFormat.SVR, ExportRequest(verified, path_of(out), decision))

    def to_junit(
        self,
        out: AnyPath,
        policy: AnyPath,
        *,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        audits: AnyPaths | None = None,
        model: AnyPath | None = None,
        against: AnyPath | None = None,
        at: datetime | str | None = None,
    ) -> WrittenExport:
        """Write JUnit XML: a test case a rule of a policy."""
        verified = self._verified(trust, trust_auditor, audits, at)
        decision = _decided(verified, policy, trust, model=model, against=against, at=at)
        return _written(ExportFormat.JUNIT, ExportRequest(verified, path_of(out), decision))

    def _table(self, kind: ExportFormat, out: AnyPath, trust: AnyPaths, rows: str) -> WrittenExport:
        known = [one.value for one in ExportRows]
        if rows not in known:
            raise UsageError(f"there are no rows of {rows}", hint=f"one of {', '.join(known)}")
        require_package(kind)
        request = ExportRequest(self._verified(trust), path_of(out), rows=ExportRows(rows))
        return _written(kind, request)

    def _verified(
        self,
        trust: AnyPaths,
        trust_auditor: AnyPaths | None = None,
        audits: AnyPaths | None = None,
        at: datetime | str | None = None,
    ) -> VerifiedReceipt:
        bundle = self._as_it_is(paths_of(audits))
        terms = TrustTerms(at=moment_of(at))
        return verified_receipt(
            bundle, evaluators_of(trust), auditors_of(trust_auditor), terms=terms
        )


def _decided(
    verified: VerifiedReceipt,
    policy: AnyPath,
    trust: AnyPaths,
    *,
    model: AnyPath | None,
    against: AnyPath | None,
    at: datetime | str | None,
) -> GateDecision:
    """Hold a receipt to a policy, as ``receipts gate`` does."""
    loaded = load_policy(path_of(policy))
    terms = GateTerms(
        policy=loaded.policy,
        evaluators=evaluators_of(trust),
        auditors=TrustSet(),  # whose audits count was decided when it was verified
        at=moment_of(at),
        against=optional_path(against),
        shipped=None if model is None else expected_checkpoint(named_checkpoint(model)),
    )
    result = gate_verified(verified.bundle, verified.verification, terms)
    return GateDecision(result, loaded, terms.at)


def _written(kind: ExportFormat, request: ExportRequest) -> WrittenExport:
    done = EXPORTS[kind].write(request)
    return WrittenExport(done.files, done.count, done.entries, done.remarks)
