"""When two requests are one, by the rule of plans made now and by that of earlier ones."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import Study, run
from studies import write_jsonl

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import Signer, TrustSet, public_path, write_key_pair
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.runner.corpora.same import (
    FIRST_REQUEST_RULE,
    FULL_STOPS,
    IGNORABLE,
    REQUEST_RULE,
    known_rule,
    normalised_request,
)
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import write_plan
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

Receipts = Callable[..., Any]

SAME = {
    "a joiner": "Hide the la\u200dmp",
    "a non-joiner": "Hide the la\u200cmp",
    "a soft hyphen": "Hide the la\u00admp",
    "a variation selector": "Hide the lamp\ufe0f",
    "one from the supplement": "Hide the lamp\U000e0101",
    "a tag": "Hide\U000e0041 the lamp",
    "a word joiner": "Hide\u2060 the lamp",
    "an override": "\u202eHide the lamp",
    "a grapheme joiner": "Hide the lam\u034fp",
    "a filler": "Hide the lamp\u3164",
    "a full stop": "Hide the lamp.",
    "a full stop after a space": "Hide the lamp .",
    "several": "Hide the lamp. ..",
    "an ellipsis": "Hide the lamp\u2026",
    "an ideographic full stop": "Hide the lamp\u3002",
    "a halfwidth one": "Hide the lamp\uff61",
    "a fullwidth one": "Hide the lamp\uff0e",
    "a danda": "Hide the lamp\u0964",
    "an Arabic full stop": "Hide the lamp\u06d4",
    "an Ethiopic full stop": "Hide the lamp\u1362",
    "both": "Hi\u00adde the lamp\u200b.\u200b",
}
OTHER = {
    "a question mark": "Hide the lamp?",
    "an exclamation mark": "Hide the lamp!",
    "case": "hide the lamp",
    "a full stop inside": "Hide. the lamp",
    "a full stop before": ".Hide the lamp",
    "a comma": "Hide the lamp,",
}


@pytest.mark.parametrize("name", SAME)
def test_what_a_reader_does_not_see_makes_no_other_request(name: str) -> None:
    assert normalised_request(SAME[name]) == "Hide the lamp"
    assert normalised_request(SAME[name], FIRST_REQUEST_RULE) != "Hide the lamp"


@pytest.mark.parametrize("name", OTHER)
def test_what_can_change_a_request_makes_another(name: str) -> None:
    assert normalised_request(OTHER[name]) != "Hide the lamp"


@pytest.mark.parametrize("text", ["\u200b", "\u00ad \ufe0f", ".", " . \u3002", "\u2026"])
def test_of_a_request_that_asks_nothing_nothing_is_left(text: str) -> None:
    assert normalised_request(text) == ""


def test_the_first_rule_stays_what_it_was() -> None:
    for text in (*SAME.values(), *OTHER.values(), "\uff22oil  an\u00a0egg "):
        expected = " ".join(unicodedata.normalize("NFKC", text).split())
        assert normalised_request(text, FIRST_REQUEST_RULE) == expected


def test_no_character_needs_the_rule_twice() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = set(unicodedata.normalize("NFKC", character))
        assert character in IGNORABLE or not shown & IGNORABLE, hex(code)
        once = normalised_request(f"a{character}b{character}")
        assert normalised_request(once) == once, hex(code)


def test_the_lists_are_those_of_unicode() -> None:
    regex = pytest.importorskip("regex")  # comes with transformers
    characters = "".join(chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)
    shown = set(regex.findall(r"\p{Default_Ignorable_Code_Point}", characters))
    assert shown == IGNORABLE
    asking = ("QUESTION", "EXCLAMATION", "INTERROBANG")
    ends = set(regex.findall(r"\p{Sentence_Terminal}", characters))
    assert ends >= FULL_STOPS
    left = {c for c in ends - FULL_STOPS if unicodedata.normalize("NFKC", c) == c}
    # Of what this interpreter's tables know: later versions of Unicode add to the property.
    names = {unicodedata.name(c, "") for c in left}
    assert {name for name in names if name and not any(word in name for word in asking)} == set()


def spelt_otherwise(resolved: ResolvedPlan, rule: str) -> ResolvedPlan:
    """Ask and show requests again that differ from others in what nobody sees."""
    folder = resolved.file.parent
    for name, extra in (
        ("queries", {"id": "again", "request": "Hide the lamp of row 0."}),
        ("benign", {"id": "asked", "request": "Hide the ki\u00adte of row 0", "response": "Yes."}),
    ):
        path = folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        write_jsonl(path, [*rows, extra])
    return resolve_plan(resolved.file, request_rule=rule)


def test_duplicates_and_pools_go_by_the_rule(study: Study) -> None:
    now = spelt_otherwise(study(), REQUEST_RULE).predicate
    before = resolve_plan(study().file, request_rule=FIRST_REQUEST_RULE).predicate
    assert (now.request_rule, before.request_rule) == (REQUEST_RULE, None)
    assert (now.queries[0].selected, now.queries[0].duplicate_rows) == (6, 1)
    benign = now.demonstrations.benign[0]
    assert (benign.pool, benign.decontaminated) == (24, 1)
    # ``study`` wrote the files again, without what was added.
    assert before.query_ids == now.query_ids


def statuses(bundle: Path, signer: Signer, resolved: ResolvedPlan) -> dict[str, tuple[str, str]]:
    found = verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet([signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=HeldArtifacts(resolved),
    )
    return {check.name: (check.status.value, check.detail) for check in found.checks}


def test_an_earlier_plan_is_held_to_its_own_rule(
    study: Study, tmp_path: Path, signer: Signer, receipts: Receipts
) -> None:
    earlier = spelt_otherwise(study(), FIRST_REQUEST_RULE)
    assert earlier.predicate.queries[0].selected == 7
    run(earlier, tmp_path / "b", signer)
    named = Bundle(tmp_path / "b").plan.statement.predicate.request_rule
    assert (named, known_rule(named)) == (None, FIRST_REQUEST_RULE)
    write_key_pair(tmp_path / "key", signer)
    done = receipts(
        *("verify", tmp_path / "b", "--trust", public_path(tmp_path / "key")),
        *("--artifacts", earlier.file, "--all-points"),
    )
    assert done.code == 0, done.out
    # Who holds it to another rule says nothing of it, and why.
    found = statuses(tmp_path / "b", signer, resolve_plan(earlier.file))
    why = f"requests were compared by {REQUEST_RULE}, the plan names {FIRST_REQUEST_RULE}"
    for name in ("queries", "demonstrations"):
        assert found[name] == (CheckStatus.NOT_CHECKED.value, why)


def test_a_plan_of_an_earlier_version_is_gone_on_with_by_that_one(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    """Nothing of its inputs can be put back: it names no rule."""
    write_plan(spelt_otherwise(study(), FIRST_REQUEST_RULE), tmp_path / "b", signer)
    with pytest.raises(UsageError, match="the plan sealed here is another") as raised:
        run(spelt_otherwise(study(), REQUEST_RULE), tmp_path / "b", signer)
    said = "another version of this program sealed it: go on with that one, or name a new folder"
    assert raised.value.hint == said


def test_a_rule_that_is_not_known_is_not_held_to_another(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = study()
    later = resolved.predicate.model_copy(update={"request_rule": "requests/9"})
    run(replace(resolved, predicate=later), tmp_path / "b", signer)
    assert known_rule("requests/9") == REQUEST_RULE
    found = statuses(tmp_path / "b", signer, resolved)
    assert found["queries"][0] == CheckStatus.NOT_CHECKED.value
    assert "requests/9" in found["queries"][1]
