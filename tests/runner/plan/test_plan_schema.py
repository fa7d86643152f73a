"""The schema that editors check a plan with: it refuses common mistakes, and no valid plan."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from safety_receipts import schemas
from safety_receipts.receipts.documents.yaml_file import load_yaml
from safety_receipts.runner.corpora.read import READERS
from safety_receipts.runner.plan.entries.plan_file import PlanFile
from safety_receipts.runner.plan.generate_schema import (
    SCHEMA_NAME,
    plan_file_schema,
    plan_file_schema_bytes,
)

FILE = Path(schemas.__file__).parent / schemas.file_name(SCHEMA_NAME, 1)
PAPER = Path(__file__).parents[3] / "runner" / "presets" / "paper.yaml"
EXAMPLE = load_yaml(PAPER).document
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "primary": "joint",
    "checkpoint": {"path": "model", "training_stage": "instruct", "dtype": "float32"},
    "sampling": {"max_new_tokens": 16},
    "queries": [{"corpus": "harmbench", "path": "q.csv"}],
    "demonstrations": {"harmful": {"corpus": "pairs", "path": "h.jsonl"}},
    "judge": {"kind": "wildguard", "path": "judge"},
    "experiments": [{"sweep": {"totals": [4], "harmful_fractions": [1]}}],
}
VALIDATOR = Draft202012Validator(json.loads(FILE.read_bytes()))
"""Of draft 2020-12 as it stands: nothing rests on our own reading."""


def fits_schema(document: Any) -> bool:
    assert VALIDATOR.is_valid(document) == (schemas.find_error(document, SCHEMA_NAME) is None)
    return VALIDATOR.is_valid(document)


def fits_model(document: Any) -> bool:
    try:
        PlanFile.model_validate(document)
    except ValidationError:
        return False
    return True


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """Return the small plan with another value at ``path``; ``...`` takes the key away."""
    document = copy.deepcopy(SMALL)
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    if to is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = to
    return document


def test_the_file_is_what_the_entries_generate() -> None:
    """After a change of an entry: ``make schemas``."""
    assert FILE.read_bytes() == plan_file_schema_bytes()
    assert schemas.load_schema(SCHEMA_NAME) == plan_file_schema()


def test_it_is_valid_and_says_what_it_is() -> None:
    schema = schemas.load_schema(SCHEMA_NAME)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == "urn:safety-receipts:schema:plan-file:1"
    assert (schema["title"], schema["type"]) == ("PlanFile", "object")
    references = [part.partition('"')[0] for part in json.dumps(schema).split('"$ref": "')[1:]]
    assert all(reference.startswith("#/$defs/") for reference in references)


def _objects() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = schemas.load_schema(SCHEMA_NAME)
    yield "the root", schema
    yield from schema["$defs"].items()


def test_every_key_is_described_and_every_mapping_closed() -> None:
    definitions = schemas.load_schema(SCHEMA_NAME)["$defs"]
    for owner, definition in _objects():
        assert definition["description"], owner
        if "enum" in definition:
            continue
        assert definition["additionalProperties"] is False, owner
        for key, described in definition["properties"].items():
            target = definitions.get(described.get("$ref", "").rpartition("/")[2], {})
            text = described.get("description") or target.get("description") or ""
            assert text.strip().endswith("."), f"{owner}: {key}: {text}"


def test_each_choice_is_explained() -> None:
    definitions = schemas.load_schema(SCHEMA_NAME)["$defs"]
    assert "- benign_control: The model should answer it" in definitions["QueryRole"]["description"]
    assert definitions["QueryEntry"]["properties"]["corpus"]["enum"] == list(READERS)


def test_the_example_and_the_small_plan_fit() -> None:
    for document in (EXAMPLE, SMALL):
        assert fits_model(document)
        assert fits_schema(document)


VALID = {
    "nulls where nothing is given": changed(
        "checkpoint",
        to=SMALL["checkpoint"]
        | {"hub": None, "revision": None, "name": None, "quantisation": None},
    ),
    "hub": changed(
        "checkpoint",
        to={"hub": "a/b", "revision": COMMIT, "training_stage": "my own", "dtype": "bfloat16"},
    ),
    "hub, null path": changed(
        "queries",
        0,
        to={"corpus": "own", "path": None, "hub": "a/b", "revision": COMMIT, "file": "a.csv"},
    ),
    "server": changed("engine", to={"kind": "openai", "base_url": "http://127.0.0.1:8000/v1"}),
    "greedy with nulls": changed(
        "sampling",
        to={"method": "greedy", "temperature": None, "top_p": None, "max_new_tokens": 1},
    ),
    "seeded": changed(
        "sampling",
        to={"method": "seeded", "temperature": 0.7, "top_p": 1, "top_k": 5, "max_new_tokens": 1},
    ),
    "penalised": changed("sampling", "repetition_penalty", to=1.05),
    "penalised in text": changed("sampling", "repetition_penalty", to="0.90"),
    "penalised by the checkpoint": changed("sampling", "repetition_penalty", to="checkpoint"),
    "not penalised": changed("sampling", "repetition_penalty", to=None),
    "seeded in text": changed(
        "sampling",
        to={"method": "seeded", "temperature": "0.70", "top_p": "1.0", "max_new_tokens": 1},
    ),
    "small temperature": changed(
        "sampling", to={"method": "seeded", "temperature": 1e-7, "max_new_tokens": 1}
    ),
    "shares": changed(
        "experiments",
        0,
        "sweep",
        "harmful_fractions",
        to=[0, 0.25, "1/3", "0.5", 1.0],
    ),
    "draw block": changed("demonstrations", "draw_block", to="all"),
    "beacon": changed(
        "demonstrations", "seed", to={"beacon": {"source": "drand-quicknet", "round": 7}}
    ),
    "no truncation": changed("demonstrations", "truncate", to=None),
    "options": changed(
        "prompt", to={"template_options": {"a": 1, "b": True, "c": None, "d": "low", "e": -1}}
    ),
    "where": changed("queries", 0, "where", to={"a": 3, "b": "no"}),
    "rules": changed("judge", to={"kind": "refusal-strings", "name": "usual"}),
    "remote judge": changed(
        "judge", to={"kind": "chat", "name": "x", "base_url": "https://example.org/v1"}
    ),
    "local chat judge": changed("judge", to={"kind": "chat", "path": "judge"}),
    "threshold": changed(
        "judge",
        to={"kind": "classifier", "hub": "a/b", "revision": COMMIT, "threshold": 0.5},
    ),
    "second judge": changed("judge", "second", to={"kind": "refusal-strings"}),
    "other experiments null": changed("experiments", 0, "orderings", to=None),
    "margin in text": changed("effect_margin", to="0.050"),
}


@pytest.mark.parametrize("name", VALID)
def test_valid_plans_fit(name: str) -> None:
    assert fits_model(VALID[name])
    assert fits_schema(VALID[name])


MISTAKES = {
    "no mapping": "plan",
    "unknown key": changed("nmae", to="x"),
    "unknown key below": changed("checkpoint", "dtyp", to="float32"),
    "missing": changed("primary", to=...),
    "missing below": changed("checkpoint", "dtype", to=...),
    "version": changed("version", to=2),
    "version in text": changed("version", to="1"),
    "version that is true": changed("version", to=True),
    "number for a name": changed("name", to=3),
    "no name": changed("name", to=""),
    "choice": changed("primary", to="both"),
    "text for a number": changed("sampling", "max_new_tokens", to="16"),
    "true for a number": changed("sampling", "max_new_tokens", to=True),
    "no tokens": changed("sampling", "max_new_tokens", to=0),
    "no list": changed("experiments", 0, "sweep", "totals", to=4),
    "empty list": changed("experiments", 0, "sweep", "totals", to=[]),
    "twice": changed("experiments", 0, "sweep", "totals", to=[4, 4]),
    "share above 1": changed("experiments", 0, "sweep", "harmful_fractions", to=[1.5]),
    "share in words": changed("experiments", 0, "sweep", "harmful_fractions", to=["half"]),
    "no queries": changed("queries", to=[]),
    "corpus": changed("queries", 0, "corpus", to="harmbensh"),
    "filter that is true": changed("queries", 0, "where", to={"a": True}),
    "no place": changed("checkpoint", "path", to=...),
    "null place": changed("checkpoint", "path", to=None),
    "empty path": changed("checkpoint", "path", to=""),
    "address for a path": changed("checkpoint", "path", to="https://huggingface.co/a/b"),
    "path of Windows": changed("queries", 0, "path", to="C:\\corpora\\q.csv"),
    "drive of Windows": changed("queries", 0, "path", to="C:/corpora/q.csv"),
    "variable in a path": changed("judge", "path", to="$HOME/judge"),
    "folder of a user": changed("judge", "path", to="~ada/judge"),
    "address for a repository": changed(
        "checkpoint",
        to={
            "hub": "https://huggingface.co/a/b",
            "revision": COMMIT,
            "training_stage": "base",
            "dtype": "float32",
        },
    ),
    "two places": changed(
        "checkpoint", to=SMALL["checkpoint"] | {"hub": "a/b", "revision": COMMIT}
    ),
    "no revision": changed("queries", 0, to={"corpus": "own", "hub": "a/b"}),
    "revision of a path": changed("queries", 0, "revision", to=COMMIT),
    "branch": changed("queries", 0, to={"corpus": "own", "hub": "a/b", "revision": "main"}),
    "server without address": changed("engine", to={"kind": "openai"}),
    "address without server": changed("engine", to={"base_url": "http://a"}),
    "a penalty of nothing": changed("sampling", "repetition_penalty", to=0),
    "a penalty of nothing as text": changed("sampling", "repetition_penalty", to="0.00"),
    "a penalty below nothing": changed("sampling", "repetition_penalty", to=-1.5),
    "a penalty of another word": changed("sampling", "repetition_penalty", to="folder"),
    "greedy temperature": changed("sampling", "temperature", to=1),
    "greedy top_k": changed("sampling", to={"method": "greedy", "top_k": 1, "max_new_tokens": 1}),
    "seeded without temperature": changed("sampling", to={"method": "seeded", "max_new_tokens": 1}),
    "seeded with null temperature": changed(
        "sampling", to={"method": "seeded", "temperature": None, "max_new_tokens": 1}
    ),
    "temperature 0": changed(
        "sampling", to={"method": "seeded", "temperature": 0.0, "max_new_tokens": 1}
    ),
    "temperature 0 in text": changed(
        "sampling", to={"method": "seeded", "temperature": "0.0", "max_new_tokens": 1}
    ),
    "negative temperature": changed(
        "sampling", to={"method": "seeded", "temperature": -1, "max_new_tokens": 1}
    ),
    "temperature in words": changed(
        "sampling", to={"method": "seeded", "temperature": "1 or so", "max_new_tokens": 1}
    ),
    "top_p": changed(
        "sampling", to={"method": "seeded", "temperature": 1, "top_p": 1.5, "max_new_tokens": 1}
    ),
    "top_p in text": changed(
        "sampling", to={"method": "seeded", "temperature": 1, "top_p": "0.0", "max_new_tokens": 1}
    ),
    "draw block": changed("demonstrations", "draw_block", to="each"),
    "draw block 0": changed("demonstrations", "draw_block", to=0),
    "seed": changed("demonstrations", "seed", to="my own"),
    "source's name": changed(
        "demonstrations", "benign", to={"a b": {"corpus": "pairs", "path": "b"}}
    ),
    "option that is a fraction": changed("prompt", to={"template_options": {"a": -1.5}}),
    "option beyond what JSON holds": changed("prompt", to={"template_options": {"a": -(2**53)}}),
    "option that is a list": changed("prompt", to={"template_options": {"a": []}}),
    "date": changed("prompt", to={"date": "1 May"}),
    "rules with a place": changed("judge", to={"kind": "refusal-strings", "path": "judge"}),
    "rules with a threshold": changed("judge", to={"kind": "refusal-strings", "threshold": 0.5}),
    "remote judge without a name": changed("judge", to={"kind": "chat", "base_url": "http://a"}),
    "remote judge of another kind": changed(
        "judge", to={"kind": "classifier", "name": "x", "base_url": "http://a"}
    ),
    "remote judge with a place": changed(
        "judge", to={"kind": "chat", "name": "x", "base_url": "http://a", "path": "judge"}
    ),
    "judge without a place": changed("judge", to={"kind": "wildguard"}),
    "second judge without a place": changed("judge", "second", to={"kind": "classifier"}),
    "no experiment": changed("experiments", 0, to={}),
    "null experiment": changed("experiments", 0, to={"sweep": None}),
    "two experiments in one": changed(
        "experiments", 0, "orderings", to={"harmful": 1, "benign": 1, "rules": ["prefix"]}
    ),
    "negative margin": changed("effect_margin", to=-0.1),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_common_mistakes_do_not_fit(name: str) -> None:
    assert not fits_model(MISTAKES[name])
    assert not fits_schema(MISTAKES[name])


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    steps = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        steps = enumerate(value)  # type: ignore[assignment]
    for step, below in steps:
        yield from _paths(below, (*path, step))


def _at(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


STARTS = [EXAMPLE, *VALID.values()]
SEEN: dict[str | int, list[Any]] = {}
"""What stands under each key, or at each place of a list, in valid plans."""
for start in STARTS:
    for place in _paths(start):
        SEEN.setdefault(place[-1] if place else "", []).append(_at(start, place))
KEYS = sorted(str(key) for key in SEEN)
OTHERS = [value for values in SEEN.values() for value in values]
REPLACEMENTS = (
    st.sampled_from(OTHERS)
    | st.none()
    | st.booleans()
    | st.integers(-2, 5000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.from_regex(r"[0-9]{1,3}([./][0-9]{1,3})?", fullmatch=True)
    | st.text(max_size=5)
)


@st.composite
def edited_plans(draw: st.DrawFn) -> Any:
    """A valid plan after an edit or two, which leave about a third of all plans valid."""
    document = copy.deepcopy(draw(st.sampled_from(STARTS)))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([path for path in _paths(document) if path] or [("name",)]))
        holder, key = _at(document, path[:-1]), path[-1]
        match draw(st.sampled_from(["likely", "likely", "any", "remove", "add"])):
            case "likely":
                holder[key] = copy.deepcopy(draw(st.sampled_from(SEEN.get(key, OTHERS))))
            case "remove":
                holder.pop(key, None) if isinstance(holder, dict) else holder.pop(key)
            case "add" if isinstance(holder, dict):
                new = draw(st.sampled_from(KEYS))
                holder[new] = copy.deepcopy(draw(st.sampled_from(SEEN.get(new, OTHERS))))
            case _:
                holder[key] = copy.deepcopy(draw(REPLACEMENTS))
    return document


@given(document=edited_plans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_entries_accept_the_schema_accepts(document: Any) -> None:
    assert fits_schema(document) or not fits_model(document)
