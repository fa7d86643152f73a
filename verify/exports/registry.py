"""The table of formats: what writes each, and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.extras import Extra, install
from safety_receipts.verify.exports.csv_table import export_csv
from safety_receipts.verify.exports.cyclonedx import export_cyclonedx
from safety_receipts.verify.exports.every_eval_ever.folder import export_every_eval_ever
from safety_receipts.verify.exports.inspect_log import export_inspect
from safety_receipts.verify.exports.junit import export_junit
from safety_receipts.verify.exports.kinds import (
    Exported,
    ExportFormat,
    ExportOption,
    ExportRequest,
)
from safety_receipts.verify.exports.parquet_table import export_parquet
from safety_receipts.verify.exports.statements import export_svr, export_test_result


@dataclass(frozen=True)
class RequiredPackage:
    """A package that a format is written with, and that the base install has not."""

    module: str
    """What is imported."""
    extra: Extra
    """What installs it."""


@dataclass(frozen=True)
class RegisteredExport:
    """One format."""

    write: Callable[[ExportRequest], Exported]
    """Writes it."""
    takes: frozenset[ExportOption] = field(default_factory=frozenset)
    """Options that it takes beyond those of every format; a policy that it takes it needs."""
    package: RequiredPackage | None = None
    """What it is written with; None: the base install."""


_DECIDED: Final = frozenset({ExportOption.POLICY})
_TABLE: Final = frozenset({ExportOption.ROWS})
_TEXTS: Final = frozenset({ExportOption.WITH_TEXTS})

EXPORTS: Final[Mapping[ExportFormat, RegisteredExport]] = {
    ExportFormat.TEST_RESULT: RegisteredExport(export_test_result, _DECIDED),
    ExportFormat.SVR: RegisteredExport(export_svr, _DECIDED),
    ExportFormat.EVERY_EVAL_EVER: RegisteredExport(export_every_eval_ever, _TEXTS),
    ExportFormat.INSPECT: RegisteredExport(
        export_inspect, _TEXTS, RequiredPackage("inspect_ai", "inspect")
    ),
    ExportFormat.CYCLONEDX: RegisteredExport(
        export_cyclonedx, frozenset({ExportOption.SPEC_VERSION})
    ),
    ExportFormat.JUNIT: RegisteredExport(export_junit, _DECIDED),
    ExportFormat.CSV: RegisteredExport(export_csv, _TABLE),
    ExportFormat.PARQUET: RegisteredExport(
        export_parquet, _TABLE, RequiredPackage("pyarrow", "parquet")
    ),
}
"""Every format of ``receipts export``."""


def require_package(kind: ExportFormat) -> None:
    """Import what a format is written with, before minutes are spent on verification.

    Raises:
        IncompleteError: It is not installed.
    """
    package = EXPORTS[kind].package
    if package is None:
        return
    try:
        import_module(package.module)
    except ModuleNotFoundError as error:
        if error.name != package.module:
            raise
        raise IncompleteError(
            f"format {kind.value} needs {package.module}, which is not installed",
            hint=install(package.extra),
        ) from None
