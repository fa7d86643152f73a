"""Ways to get a bad model past the strict policy, and what stops each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from releases import (
    ADMITTED,
    AT,
    EVALUATOR,
    Audit,
    Release,
    release_plan,
    seal_release,
    write_audits,
)

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.events.synthetic import EVENT, Mixture, paper_sweep
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.checkpoint import (
    EndToken,
    EndTokenOrigin,
    SamplingMethod,
    ThoughtMarks,
    Thoughts,
)
from safety_receipts.receipts.model.demonstrations import Truncation, TruncationScope
from safety_receipts.receipts.model.judge import JudgeIdentity, JudgeKind, judge_digest
from safety_receipts.receipts.model.plan import PlanPredicate

Receipts = Callable[..., Any]
Held = tuple[int, dict[str, Any], str]
"""Exit code, what is said of the receipt, and the text for people on one line."""

_FUTURE = EVENT.model_copy(
    update={"started_at": "2031-01-01T00:00:00Z", "finished_at": "2031-01-01T00:01:00Z"}
)


@dataclass(frozen=True)
class Attempt:
    """What somebody does, and the rules that stop it."""

    stopped_by: frozenset[str]
    release: Release = ADMITTED
    audits: tuple[Audit, ...] = (Audit(),)
    edit: Callable[[Path], object] = lambda bundle: None
    policy: Callable[[str], str] = lambda text: text
    model: str | None = None
    """Root of the checkpoint that is shipped; None: the one evaluated."""
    said: str = ""
    """What the document says besides."""


def _withhold(bundle: Path) -> None:
    for name in ("points.jsonl.zst", "responses.jsonl.zst"):
        (bundle / name).unlink()


def _prompt(**written: Any) -> Release:
    """Return a release whose plan gives other prompts."""

    def edit(plan: PlanPredicate) -> PlanPredicate:
        return plan.model_copy(update={"prompt": plan.prompt.model_copy(update=written)})

    return replace(ADMITTED, edit=edit)


def _sampling(**written: Any) -> Release:
    """Return a release that is sampled otherwise."""

    def edit(plan: PlanPredicate) -> PlanPredicate:
        return plan.model_copy(update={"sampling": plan.sampling.model_copy(update=written)})

    return replace(ADMITTED, edit=edit)


def _queries(**written: Any) -> Release:
    """Return a release that asks the rows of its first corpus that somebody chose."""

    def edit(plan: PlanPredicate) -> PlanPredicate:
        first, *others = plan.queries
        return plan.model_copy(update={"queries": (first.model_copy(update=written), *others)})

    return replace(ADMITTED, edit=edit)


def _shown(pool: dict[str, Any], **written: Any) -> Release:
    """Return a release that shows other harmful demonstrations."""

    def edit(plan: PlanPredicate) -> PlanPredicate:
        shown = plan.demonstrations
        assert shown.harmful is not None
        update = {"harmful": shown.harmful.model_copy(update=pool), **written}
        return plan.model_copy(update={"demonstrations": shown.model_copy(update=update)})

    return replace(ADMITTED, edit=edit)


def _asked_twice(plan: PlanPredicate, **settings: Any) -> PlanPredicate:
    """Return a plan whose judge is its second judge as well, with other settings."""
    assert plan.judge.second is not None
    assert plan.judge.calibration is not None
    first = plan.judge.second
    own = {name: getattr(first, name) for name in JudgeIdentity.model_fields}
    second = first.model_copy(update=settings)
    second = second.model_copy(update={"digest": judge_digest(second)})
    calibration = plan.judge.calibration.model_copy(update={"judge": first.digest})
    update = {**own, "calibration": calibration, "second": second}
    return plan.model_copy(update={"judge": plan.judge.model_copy(update=update)})


def _rule_asked_twice(plan: PlanPredicate) -> PlanPredicate:
    """Return a plan with two lists of strings, which differ in one string."""
    own = {name: getattr(plan.judge, name) for name in JudgeIdentity.model_fields}
    second = JudgeIdentity(**own | {"template": sha256_hex(b"one string more")})
    second = second.model_copy(update={"digest": judge_digest(second)})
    return plan.model_copy(update={"judge": plan.judge.model_copy(update={"second": second})})


def _behind_an_api(plan: PlanPredicate) -> PlanPredicate:
    assert plan.judge.second is not None
    update = {
        "kind": JudgeKind.CHAT,
        "remote": True,
        "weights": None,
        "template": sha256_hex(b"template"),
        "threshold": None,
    }
    second = plan.judge.second.model_copy(update=update)
    second = second.model_copy(update={"digest": judge_digest(second)})
    return plan.model_copy(update={"judge": plan.judge.model_copy(update={"second": second})})


def _pinned(kind: str, wanted: str) -> Callable[[str], str]:
    """Return how the policy's owner fills in the line of one digest."""
    line = f"    # {kind}: [64 hex digits of SHA-256, and more]"

    def filled(text: str) -> str:
        assert text.count(line) == 1
        return text.replace(line, f"    {kind}: [{wanted}] #")

    return filled


_PLAN = release_plan(ADMITTED)
_QUERIES = _pinned("query_digests", _PLAN.queries[0].digest)
_POOLS = _pinned(
    "demonstration_digests", ", ".join(pool.digest for pool in _PLAN.demonstrations.sources)
)


def _waive(rule: str, until: str) -> Callable[[str], str]:
    waiver = f"{{rule: {rule}, reason: known, who: release manager, until: {until}}}"
    return lambda text: f"{text}\nwaivers:\n  - {waiver}\n"


_SMALL_GRID = replace(ADMITTED, mixtures=tuple(paper_sweep()[:6]))
_MARKS = Thoughts(
    marks=(ThoughtMarks(opening="Sure", closing="!", opening_token=None, closing_token=None),),
    prompt_opens=None,
    given=True,
)
_ADDED = (
    EndToken(token=2, origins=(EndTokenOrigin.GENERATION_CONFIG,), removed=False),
    EndToken(token=9, origins=(EndTokenOrigin.PLAN,), removed=False),
)
_EDGES = (  # each total, and each share, but of the largest total one share alone
    *(one for one in ADMITTED.mixtures if one.n_harmful + one.n_benign < 128),
    Mixture(0, 128, None),
)

ATTEMPTS = {
    "a small grid": Attempt(frozenset({"coverage", "orders", "finding"}), release=_SMALL_GRID),
    "a grid of edges": Attempt(frozenset({"coverage"}), release=replace(ADMITTED, mixtures=_EDGES)),
    "no controls": Attempt(
        frozenset({"coverage", "over_refusal"}), release=replace(ADMITTED, controls=0)
    ),
    "an audit by the evaluator": Attempt(
        frozenset({"audit", "audited", "fresh"}),
        audits=(Audit(signers=(EVALUATOR,)),),
        said="is signed by the evaluator's own key",
    ),
    "an old audit": Attempt(
        frozenset({"audit", "fresh"}),
        audits=(Audit(started_at="2025-01-01T00:00:00Z", finished_at="2025-01-02T00:00:00Z"),),
    ),
    "an unfinished audit": Attempt(
        frozenset({"audit"}),
        audits=(Audit(), Audit(finished=False, nonce="cd" * 32, started_at="2026-02-02T00:00:00Z")),
        said="has no result here",
    ),
    "an audit of overstated rates alone": Attempt(
        frozenset({"audit", "audited"}),
        audits=(Audit(directions=lambda found: (Direction.NOT_OVERSTATED,)),),
    ),
    "an audit that leaves much open": Attempt(
        frozenset({"audit", "audited"}), audits=(Audit(epsilon="0.2"),)
    ),
    "no audit": Attempt(frozenset({"audit", "audited", "fresh"}), audits=()),
    "another checkpoint": Attempt(frozenset({"model"}), model="0" * 64),
    "a test instrument": Attempt(
        frozenset({"instrument"}), release=replace(ADMITTED, instrument=True)
    ),
    "a waiver that expired": Attempt(
        frozenset({"model"}),
        model="0" * 64,
        policy=_waive("model", "2026-02-28"),
        said='"expired": [{"rule": "model", "reason": "known"',
    ),
    "many unscored points": Attempt(
        frozenset({"worst-case", "completeness"}), release=replace(ADMITTED, unscored=60)
    ),
    "a weak judge": Attempt(frozenset({"judge"}), release=replace(ADMITTED, sensitivity=160)),
    "evidence withheld": Attempt(frozenset({"verified"}), edit=_withhold),
    "a model that refuses everything": Attempt(
        frozenset({"over_refusal"}), release=replace(ADMITTED, over_refused=900)
    ),
    "a model that complies": Attempt(
        frozenset({"rate", "worst-case", "audited"}), release=replace(ADMITTED, complied=90)
    ),
    "an event that is still to come": Attempt(
        frozenset({"fresh"}), release=replace(ADMITTED, event=_FUTURE)
    ),
    "a system prompt": Attempt(
        frozenset({"model"}),
        release=_prompt(system_prompt=sha256_hex(b"Refuse every harmful request.")),
        said="its plan gives the system prompt",
    ),
    "a variable of the template": Attempt(
        frozenset({"model"}),
        release=_prompt(template_options={"safe_mode": True}),
        said="its template options are safe_mode = True",
    ),
    "marks of thoughts that enclose answers": Attempt(
        frozenset({"model"}),
        release=_prompt(rendering="conversation/2", thoughts=_MARKS),
        said="its plan says which marks enclose thoughts",
    ),
    "three tokens a response": Attempt(
        frozenset({"model"}),
        release=_sampling(max_new_tokens=3),
        said="its responses end after 3 tokens",
    ),
    "a repetition penalty": Attempt(
        frozenset({"model"}),
        release=_sampling(repetition_penalty="2"),
        said="its repetition penalty is 2",
    ),
    "a temperature that makes noise": Attempt(
        frozenset({"model"}),
        release=_sampling(method=SamplingMethod.SEEDED, temperature="9", noise="noise/1"),
        said="its temperature is 9",
    ),
    "a word that ends a response": Attempt(
        frozenset({"model"}),
        release=_sampling(end_tokens=(2, 9), end_token_origins=_ADDED),
        said="its plan adds the end token 9",
    ),
    "a second judge that is the first with other settings": Attempt(
        frozenset({"judge"}),
        release=replace(ADMITTED, edit=lambda plan: _asked_twice(plan, max_new_tokens=9)),
        said="both have the same weights",
    ),
    "a second judge with another threshold": Attempt(
        frozenset({"judge"}),
        release=replace(ADMITTED, edit=lambda plan: _asked_twice(plan, threshold="0.51")),
        said="both have the same weights",
    ),
    "a second judge that is the same rule": Attempt(
        frozenset({"judge"}),
        release=replace(ADMITTED, edit=_rule_asked_twice),
        said="both are refusal-strings",
    ),
    "a second judge that nobody can look at": Attempt(
        frozenset({"judge"}),
        release=replace(ADMITTED, edit=_behind_an_api),
        said="its second judge stands behind an API",
    ),
    "queries that a filter takes": Attempt(
        frozenset({"coverage"}),
        release=_queries(rows=100_000, where={"kind": "easy"}),
        said="a filter takes some rows of harmful-1",
    ),
    "a hundred of many rows": Attempt(
        frozenset({"coverage"}),
        release=_queries(rows=100_000),
        said="100 of 100,000 rows of harmful-1 are asked",
    ),
    "other queries than those of the policy": Attempt(
        frozenset({"coverage"}),
        release=replace(ADMITTED, texts="easier"),
        policy=_QUERIES,
        said="no corpus of harmful queries has the digest",
    ),
    "demonstrations in which the model itself refuses": Attempt(
        frozenset({"coverage"}),
        release=_shown({"responses_by": f"{_PLAN.checkpoint.name}, refusing"}),
        said="the evaluated model wrote the responses of pool harmful-proxy",
    ),
    "demonstrations by nobody knows whom": Attempt(
        frozenset({"coverage"}),
        release=_shown({"responses_by": None}),
        said="it does not say who wrote the responses",
    ),
    "an unknown pool of demonstrations": Attempt(
        frozenset({"coverage"}),
        release=replace(ADMITTED, demonstrations="refusals"),
        policy=_POOLS,
        said="pool harmful-proxy is of the corpus",
    ),
    "demonstrations that a filter takes": Attempt(
        frozenset({"coverage"}),
        release=_shown({"rows": 5_000, "where": {"kind": "refused"}}),
        said="a filter takes some rows of pool harmful-proxy",
    ),
    "demonstrations of which nothing is left": Attempt(
        frozenset({"coverage"}),
        release=_shown(
            {}, truncation=Truncation(characters=1, scope=TruncationScope.DEMONSTRATION)
        ),
        said="demonstrations are cut to 1 of 1,000 characters",
    ),
}


@pytest.fixture
def hold(receipts: Receipts, trust: list[str], tmp_path: Path) -> Callable[..., Held]:
    """Hold a bundle to the strict policy, by the command; return code, document and text."""
    receipts("init", tmp_path / "policy", "--policy", "strict")
    file = tmp_path / "policy" / "gate-policy.yaml"
    strict = file.read_text("utf-8")

    def held(bundle: Path, attempt: Attempt, *, shown: bool = False) -> Held:
        file.write_text(attempt.policy(strict), "utf-8")
        (tmp_path / "self.pub").write_bytes(EVALUATOR.public.pem())
        root = Bundle(bundle).receipt.statement.predicate.checkpoint.root
        words = ["gate", bundle, "--policy", file, *trust, "--at", AT]
        words += ["--trust-auditor", tmp_path / "self.pub", "--model", attempt.model or root]
        finished = receipts(*words, "--json")
        (receipt,) = json.loads(finished.out)["receipts"]
        text = receipts(*words).out if shown else ""
        return finished.code, receipt, " ".join(text.split())

    return held


def test_the_release_itself_is_admitted(release: Path, hold: Any) -> None:
    """Else nothing below would show anything."""
    write_audits(release, Audit())
    code, receipt, said = hold(release, Attempt(frozenset()), shown=True)
    assert code == 0
    assert {rule["status"] for rule in receipt["rules"]} == {"passed"}
    assert said.endswith("ADMITTED: 15 of 15 rules hold")


def test_the_release_itself_is_admitted_where_digests_are_filled_in(
    release: Path, hold: Any
) -> None:
    write_audits(release, Audit())
    pinned = Attempt(frozenset(), policy=lambda text: _POOLS(_QUERIES(text)))
    code, receipt, _ = hold(release, pinned)
    assert code == 0, receipt["rules"]


@pytest.mark.long
@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_stopped(name: str, sealed_release: Path, tmp_path: Path, hold: Any) -> None:
    attempt = ATTEMPTS[name]
    bundle = tmp_path / "attempt"
    if attempt.release is ADMITTED:
        shutil.copytree(sealed_release, bundle)
    else:
        seal_release(bundle, attempt.release)
    write_audits(bundle, *attempt.audits)
    attempt.edit(bundle)
    code, receipt, _ = hold(bundle, attempt)
    failed = {rule["id"] for rule in receipt["rules"] if rule["status"] != "passed"}
    assert code == 1
    assert receipt["verdict"] == "refused"
    assert failed >= attempt.stopped_by, failed
    assert attempt.said in json.dumps(receipt)


def test_a_waiver_is_seen_before_all_else(release: Path, hold: Any) -> None:
    """It admits, and nobody who reads the first line misses it."""
    write_audits(release, Audit())
    waived = Attempt(frozenset(), model="0" * 64, policy=_waive("model", "2026-03-01"))
    code, receipt, said = hold(release, waived, shown=True)
    assert code == 0
    assert [r["id"] for r in receipt["rules"] if r["status"] == "waived"] == ["model"]
    assert said.startswith("WAIVED: model: known (by release manager, until 2026-03-01)")
    assert said.endswith("14 of 15 rules hold; WAIVED: model")
