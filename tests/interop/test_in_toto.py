"""Statements as in-toto's own protobuf library has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from safety_receipts.receipts.dsse import Envelope


def parse(payload: bytes) -> Statement:
    """Parse a statement as in-toto's tools do, and validate it."""
    statement = Statement.copy_from_pb(json_format.Parse(payload, statement_pb2.Statement()))
    statement.validate()
    return statement


def test_they_parse_our_statements(envelope: Envelope, kind: str) -> None:
    statement = parse(envelope.payload).pb
    assert statement.type == "https://in-toto.io/Statement/v1"
    assert statement.predicate_type == f"urn:safety-receipts:{kind}:1"
    assert len(statement.subject) == 1


def test_nothing_is_lost_on_the_way_through_protobuf(envelope: Envelope) -> None:
    """Protobuf makes numbers doubles: counts below 2^53 survive, and rates are strings."""
    written: Any = json.loads(json_format.MessageToJson(parse(envelope.payload).pb))
    assert written == json.loads(envelope.payload)


def test_they_refuse_further_fields_at_the_root(envelope: Envelope) -> None:
    """So do we; that is why our statements have none."""
    payload = json.dumps(json.loads(envelope.payload) | {"newer": 1}).encode()
    with pytest.raises(json_format.ParseError):
        parse(payload)
