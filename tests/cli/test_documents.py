"""The JSON documents that commands print are what their published schemas say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from printed import check_published, held

from safety_receipts import schemas
from safety_receipts.receipts import errors
from safety_receipts.receipts.bundle import RECEIPT, Bundle
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.keys import generate_key
from safety_receipts.receipts.view.documents.error import ErrorDocument
from safety_receipts.receipts.view.documents.generate_schemas import SCHEMAS as OF_RECEIPTS
from safety_receipts.verify.view.documents.generate_schemas import SCHEMAS as OF_VERIFY

Receipts = Callable[..., Any]
TESTS = Path(__file__).parents[1]
GOOD = sorted((TESTS / "golden" / "0.1" / "good").iterdir())
BAD = sorted((TESTS / "golden" / "0.1" / "bad").iterdir())
KNOWN = [TESTS / "golden" / "known-answer" / name for name in ("diluting", "neutral", "recency")]
KNOWN_KEY = TESTS / "golden" / "known-answer" / "evaluator.pub"


@pytest.mark.parametrize("name", OF_RECEIPTS.documents)
def test_schemas_of_the_receipts_room(name: str) -> None:
    check_published(OF_RECEIPTS, name)


@pytest.mark.parametrize("name", OF_VERIFY.documents)
def test_schemas_of_the_verifiers_room(name: str) -> None:
    check_published(OF_VERIFY, name)


def test_receipts_schema_prints_them(receipts: Receipts) -> None:
    for name in (*OF_RECEIPTS.documents, *OF_VERIFY.documents):
        assert json.loads(receipts("schema", name, "--json").out) == schemas.load_schema(name)


def test_a_schema_tells_what_words_of_the_verifier_mean() -> None:
    definitions = schemas.load_schema("cli-verify")["$defs"]
    assert (
        "- incomplete: Nothing failed, but the level"
        in definitions["VerificationVerdict"]["description"]
    )
    assert (
        "- not_applicable: There was nothing to check"
        in definitions["NotApplicable"]["description"]
    )
    assert (
        "- gone: An effect, then none"
        in schemas.load_schema("cli-compare")["$defs"]["EffectChange"]["description"]
    )


# verify


@pytest.mark.parametrize("bundle", [*GOOD, *BAD, *KNOWN], ids=lambda path: path.name)
def test_verify(bundle: Path, golden: Path, receipts: Receipts) -> None:
    key = KNOWN_KEY if bundle in KNOWN else golden / "ed25519.pub"
    finished = receipts("verify", bundle, "--trust", key, "--json")
    if bundle in BAD and finished.code == 2:
        held("cli-error", finished.out)
        return
    document = held("cli-verify", finished.out)
    assert (document["verdict"] == "failed") == (finished.code == 3)
    assert list(document) == [
        *("schema", "verdict", "level", "wanted", "subject", "responsesUnopened"),
        *("checks", "receiptDigest", "keyid", "audits"),
    ]
    assert len(document["checks"]) > 5


# show


@pytest.mark.parametrize("bundle", [*GOOD, *KNOWN], ids=lambda path: path.name)
def test_show(bundle: Path, receipts: Receipts) -> None:
    document = held("cli-show", receipts("show", bundle, "--json").out)
    assert list(document)[:4] == ["schema", "digest", "keyid", "inputs"]
    predicate = Bundle(bundle).receipt.document["predicate"]
    assert {name: document[name] for name in predicate} == predicate
    assert set(document) - set(predicate) == {"schema", "digest", "keyid", "inputs", "audits"}


def test_show_with_figures_names_them(tmp_path: Path, receipts: Receipts) -> None:
    pytest.importorskip("matplotlib", reason="figures are drawn")
    printed = receipts("show", KNOWN[0], "--plots", tmp_path / "figures", "--json").out
    document = held("cli-show", printed)
    assert sorted(map(Path, document["plots"])) == sorted((tmp_path / "figures").iterdir())
    assert list(document)[-2:] == ["plots", "audits"]


def test_show_passes_on_what_a_newer_version_added(bundle: Path, receipts: Receipts) -> None:
    """And the schema of this version, which does not know it, says so."""
    statement = json.loads(Bundle(bundle).receipt_envelope.payload)
    statement["predicate"]["newer"] = {"b": [1], "a": None}
    statement["predicate"]["conditions"][1]["newer"] = 7
    statement["predicate"]["inputs"] = "not ours"
    newer: Envelope = sign(statement, generate_key())
    (bundle / RECEIPT).write_bytes(newer.to_json())
    document = json.loads(receipts("show", bundle, "--json").out)
    assert document["newer"] == {"b": [1], "a": None}
    assert document["conditions"][1]["newer"] == 7
    assert document["inputs"]["date"] == "2026-01-01"
    assert schemas.find_error(document, "cli-show") is not None
    assert schemas.find_error(document, "cli-show", open_fields=True, open_root=True) is None
    some = json.loads(receipts("show", bundle, "--conditions", "*-random", "--json").out)
    assert [one["id"] for one in some["conditions"]] == ["h2-b3-random"]
    assert some["newer"] == document["newer"]


# compare


@pytest.mark.parametrize("words", [[], ["--trust", KNOWN_KEY], ["--plots"]], ids=str)
def test_compare(words: list[Any], tmp_path: Path, receipts: Receipts) -> None:
    where = [tmp_path] if words == ["--plots"] else []
    if where:
        pytest.importorskip("matplotlib", reason="figures are drawn")
    printed = receipts("compare", KNOWN[0], KNOWN[1], *words, *where, "--json").out
    document = held("cli-compare", printed)
    assert [each["bundle"] for each in document["models"]] == [str(KNOWN[0]), str(KNOWN[1])]
    assert document["authenticity"] == ("checked" if KNOWN_KEY in words else "not checked")
    assert list(document)[-1] == "plots"
    assert len(document["plots"]) == (2 if where else 0)


# errors


@pytest.mark.parametrize(
    "words",
    [
        ["verify"],
        ["show", "no-such-folder"],
        ["show", "\udcff"],
        ["verify", "BUNDLE", "--trust", "no-such-key"],
        ["compare", "BUNDLE"],
    ],
    ids=ascii,
)
def test_an_error(words: list[str], bundle: Path, receipts: Receipts) -> None:
    said = [word.replace("BUNDLE", str(bundle)) for word in words]
    finished = receipts(*said, "--json")
    document = held("cli-error", finished.out)
    assert document["error"]["exitCode"] == finished.code == 2


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ReceiptsError)
    ],
)
def test_the_errors_document_is_the_models(kind: type[ReceiptsError]) -> None:
    """It is made without the model: the error may be that pydantic cannot be loaded."""
    for error in (kind("wrong"), kind("wrong", file="a", place="$.x", hint="mend it")):
        document = error.as_json()
        made = ErrorDocument.model_validate(document).to_wire()
        assert json.dumps(made) == json.dumps(document)


def test_a_folder_whose_name_is_no_unicode(
    tmp_path: Path, bundle: Path, receipts: Receipts
) -> None:
    """Names of files are bytes to Linux; a document quotes them all the same."""
    pytest.importorskip("matplotlib", reason="figures are drawn")
    figures = Path(f"{tmp_path}/\udcff")
    finished = receipts("show", bundle, "--plots", figures, "--json")
    assert finished.code == 0
    assert all("\udcff" in path for path in json.loads(finished.out)["plots"])
