"""CycloneDX: valid by the format's own schema, and every number that of the receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exporting import decimals, receipt_of

from safety_receipts.receipts.bundle import Bundle

Export = Callable[..., Any]


def read_bill(path: Path) -> Any:
    """Return a bill that the strict schema of its version accepts."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text = path.read_text("utf-8")
    found = json.loads(text)
    version = schema.SchemaVersion.from_version(found["specVersion"])
    error = validation.JsonStrictValidator(version).validate_str(text)
    assert error is None, error
    return found


@pytest.mark.parametrize("version", [None, "1.6", "1.7"])
@pytest.mark.parametrize("name", ["rich", "published", "nulls", "hostile"])
def test_it_is_valid(
    name: str,
    version: str | None,
    export: Export,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    bundle, out = request.getfixturevalue(name), tmp_path / "model.cdx.json"
    words = () if version is None else ("--spec-version", version)
    finished = export(bundle, "cyclonedx", out, *words)
    assert finished.code == 0, finished.err
    found = read_bill(out)
    assert found["specVersion"] == (version or "1.6")
    (model,) = found["components"]
    checkpoint = receipt_of(bundle).checkpoint
    assert (model["type"], model["name"]) == ("machine-learning-model", checkpoint.name)
    assert model["hashes"] == [{"alg": "SHA-256", "content": checkpoint.root}]
    assert [(one["name"], one["hashes"][0]["content"]) for one in model["components"]] == [
        (file.path, file.sha256) for file in checkpoint.files
    ]
    (reference,) = model["externalReferences"]
    assert reference["type"] == "attestation"
    assert reference["hashes"][0]["content"] == Bundle(bundle).receipt.envelope.digest
    told = json.dumps(model)
    assert told.isascii()
    assert ("TEST INSTRUMENT" in told) is (name == "nulls")
    limitations = model["modelCard"]["considerations"]["technicalLimitations"]
    assert limitations[0].startswith("TEST INSTRUMENT") is (name == "nulls")
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert ("safety-receipts:audit_1" in properties) is (name in ("rich", "published"))
    assert ("safety-receipts:not_derived" in properties) is (name == "published")


@pytest.mark.parametrize("name", ["rich", "nulls"])
def test_every_number_is_the_receipts(
    name: str, export: Export, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """As multisets: each number of each condition is there once, and no other."""
    bundle, out = request.getfixturevalue(name), tmp_path / "model.cdx.json"
    assert export(bundle, "cyclonedx", out).code == 0
    metrics = read_bill(out)["components"][0]["modelCard"]["quantitativeAnalysis"]
    for one in receipt_of(bundle).conditions:
        found = []
        for metric in metrics["performanceMetrics"]:
            if f"condition {one.id}," in metric["slice"]:
                interval = metric.get("confidenceInterval", {})
                found += [metric["value"], *interval.values()]
        levels = {"level", "nHarmful", "nBenign"}
        wire = one.to_wire()
        sealed = [
            value
            for place, value in decimals(wire)
            if place.rpartition(".")[2] not in levels
            and not place.startswith(("context.", "control.counts.", "bySource[].counts."))
        ]
        control = [value for place, value in decimals(wire) if place.startswith("control.counts.")]
        assert sorted(found) == sorted(sealed + control), one.id


def test_a_second_export_is_the_same(rich: Path, export: Export, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert export(rich, "cyclonedx", tmp_path / name).code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
