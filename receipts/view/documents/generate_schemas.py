"""Writes the JSON Schemas of the documents that the commands of this room print.

Run by ``make schemas``, or
``python -m safety_receipts.receipts.view.documents.generate_schemas``.
"""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts.log.formats import entry
from safety_receipts.receipts.view.documents.base import CommandSchemas, Printed
from safety_receipts.receipts.view.documents.commands import (
    KeygenDocument,
    PublishDocument,
    SchemaListDocument,
    TimestampDocument,
)
from safety_receipts.receipts.view.documents.error import ErrorDocument
from safety_receipts.receipts.view.documents.log import (
    LogAddDocument,
    LogCosignDocument,
    LogInitDocument,
    LogProveDocument,
    LogSearchDocument,
    LogVerifyDocument,
    WitnessInitDocument,
    WitnessServeDocument,
)
from safety_receipts.receipts.view.documents.show import ShowDocument

SCHEMAS: Final = CommandSchemas(
    {
        "cli-error": Printed(ErrorDocument, "COMMAND"),
        "cli-keygen": Printed(KeygenDocument, "keygen"),
        "cli-log-add": Printed(LogAddDocument, "log add"),
        "cli-log-cosign": Printed(LogCosignDocument, "log cosign"),
        "cli-log-init": Printed(LogInitDocument, "log init"),
        "cli-log-prove": Printed(LogProveDocument, "log prove"),
        "cli-log-search": Printed(LogSearchDocument, "log search"),
        "cli-log-verify": Printed(LogVerifyDocument, "log verify"),
        "cli-log-witness-init": Printed(WitnessInitDocument, "log witness init"),
        "cli-log-witness-serve": Printed(WitnessServeDocument, "log witness serve"),
        "cli-publish": Printed(PublishDocument, "publish"),
        "cli-schema": Printed(SchemaListDocument, "schema"),
        "cli-show": Printed(ShowDocument, "show"),
        "cli-timestamp": Printed(TimestampDocument, "timestamp"),
    },
    (entry,),
)
"""What this room's commands print, and any command that fails.

``prove`` prints what it writes: ``inclusion-proof``.
"""

if __name__ == "__main__":
    SCHEMAS.write()
