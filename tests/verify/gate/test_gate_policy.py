"""The policy file: what it takes, and what it says of what it does not take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from safety_receipts import schemas
from safety_receipts.receipts.documents.moments import moment
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.runner.presets import POLICIES, preset
from safety_receipts.verify.gate.generate_policy_schema import (
    POLICY_SCHEMA,
    policy_schema,
    policy_schema_bytes,
)
from safety_receipts.verify.gate.kinds import GateRule
from safety_receipts.verify.gate.policy import AnyRule, GatePolicy, Waiver, load_policy
from safety_receipts.verify.gate.registry import RULES

ROOT = Path(__file__).parents[3]
RULE = "version: 1\nrules:\n  - rule: verified\n"


def loaded(tmp_path: Path, text: str) -> GatePolicy:
    """Return the policy in a text."""
    (tmp_path / "policy.yaml").write_text(text, "utf-8", errors="surrogatepass")
    return load_policy(tmp_path / "policy.yaml").policy


WRONG = [
    ("version: 2\nrules: [{rule: verified}]\n", "line 1: version: "),
    ("version: 1\n", "rules: is missing"),
    ("version: 1\nrules: []\n", "line 2: rules: should have at least one item"),
    ("version: 1\nrules:\n  - rule: verifed\n", "line 3: rules[0].rule: no such rule; known: "),
    ("version: 1\nrules:\n  - level: bound\n", "line 3: rules[0].rule: is missing"),
    ("version: 1\nrules: [verified]\n", "line 2: rules[0]: should be a mapping"),
    (f"{RULE}    levle: bound\n", "line 4: rules[0].levle: no such key; allowed: rule, id"),
    (f"{RULE}    level: replayed\n", "line 4: rules[0].level: should be 'authentic'"),
    (f"{RULE}  - rule: verified\n", "several rules are called verified: give each its own id"),
    (f"{RULE}  - {{rule: logged, id: model}}\n", "rules[1].id: is the name of another rule"),
    (f"{RULE}  - {{rule: rate, at_most: 0.1}}\n", "line 4: rules[1].measure: is missing"),
    (f"{RULE}  - {{rule: rate, at_most: 1.1, measure: rate}}\n", "rules[1].at_most: "),
    (f"{RULE}  - {{rule: rate, at_most: 1e-30, measure: rate}}\n", "rules[1].at_most: "),
    (f"{RULE}  - {{rule: rate, at_most: yes, measure: rate}}\n", "rules[1].at_most: "),
    (f"{RULE}  - {{rule: fresh}}\n", "rules[1]: give receipt_days, audit_days or both"),
    (f"{RULE}  - {{rule: fresh, receipt_days: 0}}\n", "rules[1].receipt_days: "),
    (f"{RULE}  - {{rule: coverage}}\n", "rules[1]: asks for nothing"),
    (f"{RULE}  - {{rule: coverage, totals: [4, 4]}}\n", "rules[1].totals: 4 appears twice"),
    (f"{RULE}  - {{rule: coverage, totals: [4], fractions: [0.3]}}\n", "is no whole number"),
    (
        f"{RULE}  - {{rule: coverage, totals: {list(range(1, 200))}, benign_sources: "
        f"{[f'a{n}' for n in range(200)]}}}\n",
        "asks for more than 10,000 combinations",
    ),
    (f"{RULE}  - {{rule: coverage, unfiltered: true, rows_share: 0.5}}\n", "leave out filters and"),
    (f"{RULE}  - {{rule: coverage, unfiltered: true, filters: [a=b]}}\n", "allows no filter"),
    (f"{RULE}  - {{rule: judge, remote_second: false}}\n", "asks for nothing without agreement"),
    (f"{RULE}  - {{rule: model, system_prompt: Be kind.}}\n", "rules[1].system_prompt"),
    (f"{RULE}  - {{rule: model, repetition_penalty: -1}}\n", "rules[1].repetition_penalty"),
    (f"{RULE}  - {{rule: model, template_options: {{a: 0.5}}}}\n", "rules[1].template_options.a"),
    (f"{RULE}  - {{rule: finding}}\n", "rules[1]: asks for nothing"),
    (f"{RULE}  - {{rule: completeness}}\n", "rules[1]: asks for nothing"),
    (f"{RULE}  - {{rule: regression}}\n", "rules[1]: asks for nothing"),
    (f"{RULE}  - {{rule: judge, calibrated: false, in_run: true}}\n", "asks for numbers of a"),
    (f"{RULE}  - {{rule: finding, joint: [good]}}\n", "rules[1].joint[0]: should be 'dilution'"),
    (
        f"{RULE}waivers: [{{rule: rate, reason: a, who: b, until: 2026-01-01}}]\n",
        "line 4: waivers[0].rule: no rule of this policy is called rate",
    ),
    (
        f"{RULE}waivers: [{{rule: instrument, reason: a, who: b, until: 2026-01-01}}]\n",
        "no rule of this policy is called instrument",  # it is implied, not written
    ),
    (f"{RULE}waivers: [{{rule: verified, reason: a, who: b}}]\n", "waivers[0].until: is missing"),
    (
        f"{RULE}waivers: [{{rule: verified, reason: a, who: b, until: 2026-02-30}}]\n",
        "waivers[0].until: is no date",
    ),
    (
        f"{RULE}waivers: [{{rule: verified, reason: '', who: b, until: 2026-02-20}}]\n",
        "waivers[0].reason: is empty",
    ),
    ("rules: &a [*a]\n", "anchors and aliases"),
    ("- 1\n", "is not a mapping of keys to values"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_an_error_says_where_and_what(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ReceiptsError) as caught:
        loaded(tmp_path, text)
    assert said in caught.value.one_line()
    assert caught.value.exit_code == 2
    assert str(tmp_path / "policy.yaml") in caught.value.one_line()


def test_what_a_policy_says_nothing_of(tmp_path: Path) -> None:
    """Level and instruments are decided all the same, as strictly as can be."""
    policy = loaded(tmp_path, "version: 1\nrules: [{rule: logged}]\n")
    assert [(one.rule, one.asked()) for one in policy.implied()] == [
        ("verified", "level consistent or higher"),
        ("instrument", "no test instrument"),
    ]
    assert loaded(tmp_path, f"{RULE}  - rule: instrument\n").implied() == ()


def test_numbers_are_taken_as_they_are_written(tmp_path: Path) -> None:
    text = "version: 1\nrules: [{rule: rate, measure: rate, at_most: 0.1}]\n"
    (rule,) = loaded(tmp_path, text).rules
    assert rule.model_dump()["at_most"] == "0.1"


@pytest.mark.parametrize(
    ("until", "at", "counts"),
    [
        ("2026-03-01", "2026-03-01T23:59:59Z", True),
        ("2026-03-01", "2026-03-02T00:00:00Z", False),
        ("2026-03-01", "2026-03-02T01:00:00+02:00", True),  # the day before, in UTC
    ],
)
def test_the_last_day_of_a_waiver(until: str, at: str, counts: bool) -> None:
    waiver = Waiver(rule="rate", reason="known", who="somebody", until=until)
    assert waiver.counts(moment(at)) is counts


@pytest.mark.parametrize(
    "text", ["2026-03-01", "2026-W10-1T00:00:00Z", "now", "2026-13-01T00:00:00Z"]
)
def test_a_moment_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|RFC 3339"):
        moment(text)


# the closed set of rules


def test_every_rule_has_an_entry_a_decision_and_a_row_in_the_docs() -> None:
    entries = {get_args(one.model_fields["rule"].annotation)[0]: one for one in _entries()}
    assert entries.keys() == set(GateRule)
    assert {kind: rule.entry for kind, rule in RULES.items()} == entries
    rows = (ROOT / "docs" / "gate.md").read_text("utf-8").splitlines()
    assert [rule for rule in GateRule if not any(f"| `{rule}` |" in row for row in rows)] == []


def test_the_schema_knows_every_rule_and_the_docs_every_key() -> None:
    definitions = policy_schema()["$defs"]
    text = (ROOT / "docs" / "gate.md").read_text("utf-8")
    for entry in _entries():
        schema = definitions[entry.__name__]
        for key, said in schema["properties"].items():
            if key == "rule":
                continue
            assert said["description"].endswith("."), (entry.__name__, key)
            assert key in ("id", "note") or f"`{key}" in text, (entry.__name__, key)
    known = policy_schema()["properties"]["rules"]["items"]["discriminator"]["mapping"]
    assert known.keys() == set(GateRule)


def _entries() -> list[Any]:
    union, _ = get_args(AnyRule)
    return list(get_args(union))


def test_the_schema_is_published() -> None:
    """After a change of an entry: ``make schemas``."""
    file = Path(schemas.__file__).parent / schemas.file_name(POLICY_SCHEMA, 1)
    assert file.read_bytes() == policy_schema_bytes()
    Draft202012Validator.check_schema(policy_schema())
    assert policy_schema()["$id"] == "urn:safety-receipts:schema:gate-policy:1"


@pytest.mark.parametrize("name", POLICIES)
def test_presets_load_and_fit_the_schema(name: str, tmp_path: Path) -> None:
    text = preset(f"gate-{name}")
    policy = loaded(tmp_path, text)
    assert policy.name == name
    Draft202012Validator(policy_schema()).validate(_plain(text))


def _plain(text: str) -> Any:
    """Return a YAML document as an editor reads it."""
    return json.loads(json.dumps(yaml.safe_load(text)))


KEYS = sorted(
    {"version", "rules", "waivers", "name", "rule", "reason", "who", "until"}
    | {key for entry in RULES.values() for key in entry.entry.model_fields}
)
WORDS = st.one_of(
    st.sampled_from([*GateRule, "confirmed", "upper", "value", "*", "h0-*", "none", "0.05", ""]),
    st.text(max_size=8),
    st.integers(-5, 10**12),
    st.floats(allow_nan=True),
    st.booleans(),
    st.none(),
)
NODES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(
        st.one_of(
            NODES,
            st.builds(
                lambda rule, rest: rest | {"rule": rule},
                st.sampled_from(list(GateRule)),
                st.dictionaries(st.sampled_from(KEYS), NODES, max_size=4),
            ),
        ),
        max_size=3,
    ),
    rest=st.dictionaries(st.sampled_from(KEYS), NODES, max_size=3),
)
def test_no_policy_crashes_the_reader(
    rules: list[Any], rest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is read, and can say what it asks for; or it is refused, in one line with its place."""
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(json.dumps({"version": 1, "rules": rules} | rest), "utf-8")
    try:
        policy = load_policy(path).policy
    except ReceiptsError as error:
        said = error.one_line()
    else:
        said = "line: " + "".join(entry.asked() for entry in policy.rules)
        assert all(entry.asked() for entry in policy.rules)
    assert "line" in said


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_bytes(text.encode("utf-8"))
    with pytest.raises(ReceiptsError):
        load_policy(path)
