"""Plan files: the example's values, and an error with line and key path for what is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.errors import MalformedError, ReceiptsError
from safety_receipts.receipts.model.checkpoint import ContextOverflow, Dtype, SamplingMethod
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Ordering,
    QueryRole,
    TruncationScope,
)
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.plan import EngineKind, EvidenceAccess, Hypothesis
from safety_receipts.runner.plan.entries.demonstrations import BeaconSeed
from safety_receipts.runner.plan.entries.plan_file import PlanFile
from safety_receipts.runner.plan.file import load_plan_file

EXAMPLE = Path(__file__).parents[3] / "runner" / "presets" / "paper.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

PLAN = """\
version: 1
name: small
primary: joint
checkpoint: {path: model, training_stage: instruct, dtype: float32}
sampling: {method: greedy, max_new_tokens: 16}
queries:
  - {corpus: harmbench, path: q.csv}
demonstrations:
  harmful: {corpus: pairs, path: h.jsonl}
  benign:
    chat: {corpus: pairs, path: b.jsonl}
judge: {kind: wildguard, path: judge}
experiments:
  - sweep: {totals: [4, 8], harmful_fractions: [0, 0.5]}
"""


def load(folder: Path, text: str) -> PlanFile:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    plan, file = load_plan_file(path)
    assert file.path == path
    return plan


def changed(old: str, new: str) -> str:
    assert PLAN.count(old) == 1
    return PLAN.replace(old, new)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(MalformedError) as caught:
        load(folder, text)
    assert caught.value.file == str(folder / "plan.yaml")
    return f"{caught.value.place}: {caught.value.message}"


def test_the_example_loads_to_the_values_it_shows() -> None:
    plan, file = load_plan_file(EXAMPLE)
    assert plan.name == "llama-3.1-8b-instruct, mixed demonstrations"
    assert plan.primary is Hypothesis.JOINT
    assert plan.evidence_access is EvidenceAccess.AUDITORS
    assert plan.checkpoint.path == Path("models/Llama-3.1-8B-Instruct")
    assert (plan.checkpoint.training_stage, plan.checkpoint.dtype) == ("instruct", Dtype.BFLOAT16)
    assert plan.engine.kind is EngineKind.TRANSFORMERS
    assert plan.prompt.model_dump() == {
        "system": None,
        "date": "2026-01-01",
        "template_options": {},
        "thoughts": None,
    }
    assert (plan.sampling.method, plan.sampling.max_new_tokens) == (SamplingMethod.GREEDY, 256)
    assert [(query.corpus, dict(query.where), query.role) for query in plan.queries] == [
        ("harmbench", {"FunctionalCategory": "standard"}, QueryRole.HARMFUL),
        ("sorry-bench", {"prompt_style": "base"}, QueryRole.HARMFUL),
        ("wildguardtest", {"prompt_harm_label": "harmful"}, QueryRole.HARMFUL),
        ("xstest", {"label": "safe"}, QueryRole.BENIGN_CONTROL),
    ]
    shown = plan.demonstrations
    assert shown.harmful is not None
    assert shown.harmful.path == Path("data/harmful_pairs.jsonl")
    assert list(shown.benign) == ["ultrachat", "or-bench", "safe-rewrites", "filler"]
    assert next(iter(shown.benign.values())).responses_by == "human and ChatGPT"
    assert (shown.refusal, shown.draws, shown.draw_block, shown.seed) == (None, 2, 1, "plan")
    assert shown.truncate is not None
    assert shown.truncate.characters == 2000
    assert shown.truncate.scope is TruncationScope.DEMONSTRATION
    assert (plan.judge.kind, plan.judge.path) == (JudgeKind.WILDGUARD, Path("models/wildguard"))
    assert [experiment.kind for experiment in plan.experiments] == [
        "sweep",
        "fixed_harmful",
        "orderings",
        "response_prefix",
        "benign_sources",
        "contexts",
    ]
    sweep, fixed, orderings, prefix, sources, contexts = plan.experiments
    assert sweep.sweep is not None
    assert sweep.sweep.totals == (4, 8, 16, 32, 64, 128)
    assert sweep.sweep.harmful_fractions == tuple(Fraction(i, 4) for i in range(5))
    assert fixed.fixed_harmful is not None
    assert fixed.fixed_harmful.harmful == (8, 16, 32)
    assert fixed.fixed_harmful.benign == (0, 4, 8, 16, 32, 64)
    assert fixed.fixed_harmful.orderings == (Ordering.SUFFIX, Ordering.PREFIX)
    assert orderings.orderings is not None
    assert set(orderings.orderings.rules) == set(Ordering)
    assert prefix.response_prefix is not None
    assert prefix.response_prefix.prefixes == ("Answer:", "Sure I can help with that!")
    assert sources.benign_sources is not None
    assert sources.benign_sources.sources == tuple(shown.benign)
    assert contexts.contexts is not None
    assert contexts.contexts.forms == tuple(ContextForm)
    assert (contexts.contexts.gap_turns, contexts.contexts.n_refusal) == (4, 0)
    assert plan.effect_margin == "0.05"
    assert plan.context_overflow is ContextOverflow.ABORT
    assert file.place(("queries", 1, "where")) == "line 20: queries[1].where"


HINTS = {
    "a key": ("name: small", "nmae: small", "did you mean name?"),
    "a key below": ("dtype: float32", "dtyp: float32", "did you mean dtype?"),
    "a choice": ("primary: joint", "primary: jont", "did you mean joint?"),
    "a choice in capitals": ("dtype: float32", "dtype: BF16", "did you mean bfloat16?"),
    "a corpus": ("corpus: harmbench", "corpus: harm-bench", "did you mean harmbench?"),
    "a missing choice": ("primary: joint\n", "", "one of total, joint, ordering"),
    "a missing choice below": (", dtype: float32", "", "one of float32, bfloat16, float16"),
    "a missing judge's": ("kind: wildguard, ", "", "one of refusal-strings, wildguard"),
    "a missing name": ("name: small\n", "", "Title of the evaluation"),
    "a missing version": ("version: 1\n", "", "write version: 1"),
    "a missing key in a list": (", harmful_fractions: [0, 0.5]", "", "Shares of harmful demons"),
    "quotes": ("max_new_tokens: 16", 'max_new_tokens: "16"', "without quotes"),
    "a fraction": ("max_new_tokens: 16", "max_new_tokens: 16.0", "write 16"),
    "a list": ("totals: [4, 8]", "totals: 4", "in square brackets: [4, 8]"),
}


@pytest.mark.parametrize("name", HINTS)
def test_a_mistake_says_how_it_is_mended(tmp_path: Path, name: str) -> None:
    old, new, hint = HINTS[name]
    with pytest.raises(MalformedError) as caught:
        load(tmp_path, changed(old, new))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("old", "new"),
    [("primary: joint", "primary: both-of-them"), ("name: small", "zzz: small")],
)
def test_nothing_is_guessed_where_nothing_is_near(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(MalformedError) as caught:
        load(tmp_path, changed(old, new))
    assert caught.value.hint is None


def test_a_tilde_is_the_home_of_whoever_reads_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plan = load(tmp_path, changed("path: model", "path: ~/models/x"))
    assert plan.checkpoint.path == tmp_path / "home" / "models" / "x"
    assert load(tmp_path, changed("path: model", "path: ./~x")).checkpoint.path == Path("~x")


REFUSED = {
    "unknown key": (
        "name: small",
        "nmae: small",
        "line 2: nmae: no such key; allowed: version, name",
    ),
    "unknown key below": (
        "dtype: float32",
        "dtyp: x",
        "line 4: checkpoint.dtyp: no such key; allowed: path",
    ),
    "unknown experiment": (
        "- sweep:",
        "- swep:",
        "line 14: experiments[0].swep: no such key; allowed: sweep",
    ),
    "missing": ("primary: joint\n", "", "line 1: primary: is missing"),
    "missing below": (", dtype: float32", "", "line 4: checkpoint.dtype: is missing"),
    "version": ("version: 1", "version: 2", "line 1: version: should be 1"),
    "version that is true": ("version: 1", "version: true", "line 1: version: should be 1"),
    "enum": (
        "primary: joint",
        "primary: both",
        "line 3: primary: should be 'total', 'joint' or 'ordering'",
    ),
    "no mapping": (
        "judge: {kind: wildguard, path: judge}",
        "judge: wildguard",
        "line 12: judge: should be a mapping",
    ),
    "nothing": (
        "judge: {kind: wildguard, path: judge}",
        "judge:",
        "line 12: judge: has no value; it should be a mapping",
    ),
    "number as text": ("name: small", "name: 3", "line 2: name: should be text"),
    "true is no number": (
        "max_new_tokens: 16",
        "max_new_tokens: true",
        "line 5: sampling.max_new_tokens: should be a whole",
    ),
    "text is no number": (
        "max_new_tokens: 16",
        "max_new_tokens: '16'",
        "line 5: sampling.max_new_tokens: should be a whole",
    ),
    "not positive": (
        "max_new_tokens: 16",
        "max_new_tokens: 0",
        "line 5: sampling.max_new_tokens: should be greater",
    ),
    "no list": (
        "totals: [4, 8]",
        "totals: 4",
        "line 14: experiments[0].sweep.totals: should be a list",
    ),
    "twice": (
        "totals: [4, 8]",
        "totals: [4, 4]",
        "line 14: experiments[0].sweep.totals: 4 appears twice",
    ),
    "no place": ("path: model, ", "", "line 4: checkpoint: give either path, or hub"),
    "two places": (
        "path: model",
        f"path: model, hub: a/b, revision: {COMMIT}",
        "line 4: checkpoint: give either path",
    ),
    "no revision": ("path: model", "hub: a/b", "line 4: checkpoint: hub needs revision"),
    "branch": (
        "path: model",
        "hub: a/b, revision: main",
        "line 4: checkpoint.revision: should be the commit's 40",
    ),
    "empty path": ("path: model", "path: ''", "line 4: checkpoint.path: is empty"),
    "address": (
        "path: model",
        "path: https://huggingface.co/a/b",
        "line 4: checkpoint.path: is an address: get the file and name its path, or give hub",
    ),
    "address on the hub": (
        "path: q.csv",
        "path: hf://datasets/a/b",
        "line 7: queries[0].path: is an address on the hub: give hub: owner/name and revision",
    ),
    "path of Windows": (
        "path: model",
        "path: C:\\models\\x",
        "line 4: checkpoint.path: has a backslash: write / between folders",
    ),
    "drive of Windows": (
        "path: judge",
        "path: D:/judge",
        "line 12: judge.path: starts with a drive of Windows",
    ),
    "variable": ("path: model", "path: $HOME/m", "line 4: checkpoint.path: starts with a shell's"),
    "folder of a user": (
        "path: model",
        "path: ~ada/m",
        "line 4: checkpoint.path: starts with the name of a user's folder",
    ),
    "hub by its address": (
        "path: model",
        f"hub: https://huggingface.co/a/b, revision: {COMMIT}",
        "line 4: checkpoint.hub: should be owner/name alone",
    ),
    "number in words": (
        "method: greedy",
        "method: seeded, temperature: hot",
        "line 5: sampling.temperature: should be a number that is not negative, such as 0.7",
    ),
    "no name": ("name: small", "name:", "line 2: name: has no value; it should be text"),
    "greedy temperature": (
        "method: greedy",
        "method: greedy, temperature: 1",
        "line 5: sampling: greedy sampling takes no",
    ),
    "seeded at 0": (
        "method: greedy",
        "method: seeded, temperature: 0",
        "line 5: sampling: seeded sampling needs",
    ),
    "top_p": (
        "method: greedy",
        "method: seeded, temperature: 1, top_p: 1.5",
        "line 5: sampling: top_p must be above 0",
    ),
    "server": (
        "judge:",
        "engine: {kind: openai}\njudge:",
        "line 12: engine: base_url is needed for kind openai",
    ),
    "corpus": (
        "corpus: harmbench",
        "corpus: harmbensh",
        "line 7: queries[0].corpus: no such corpus; known: harmbench",
    ),
    "empty where": (
        "path: q.csv",
        "path: q.csv, where: {a: ''}",
        "line 7: queries[0].where.a: is empty",
    ),
    "null where": (
        "path: q.csv",
        "path: q.csv, where: {a: }",
        "line 7: queries[0].where.a: should be text or a whole",
    ),
    "true where": (
        "path: q.csv",
        "path: q.csv, where: {a: true}",
        "line 7: queries[0].where.a: should be text or a whole",
    ),
    "no queries": (
        "\n  - {corpus: harmbench, path: q.csv}",
        " []",
        "line 6: queries: should have at least one item",
    ),
    "no harmful query": (
        "path: q.csv",
        "path: q.csv, role: benign_control",
        "line 6: queries: needs a source of role harmful",
    ),
    "benign name": ("chat:", "a/b:", "line 11: demonstrations.benign.a/b: "),
    "below a benign name": (
        "path: b.jsonl",
        "pth: b.jsonl",
        "line 11: demonstrations.benign.chat.pth: no such key; allowed: path",
    ),
    "draw block": (
        "demonstrations:",
        "demonstrations:\n  draw_block: some",
        "line 9: demonstrations.draw_block: should be a whole number from 1, or all",
    ),
    "seed": (
        "demonstrations:",
        "demonstrations:\n  seed: 3",
        "line 9: demonstrations.seed: should be plan, or {beacon: {source",
    ),
    "beacon": (
        "demonstrations:",
        "demonstrations:\n  seed: {beacon: {source: x}}",
        "line 9: demonstrations.seed.beacon.round: is missing",
    ),
    "option": (
        "judge:",
        "prompt: {template_options: {a: 1.5}}\njudge:",
        "line 12: prompt.template_options.a: should be text, a whole",
    ),
    "strings in a place": (
        "kind: wildguard",
        "kind: refusal-strings",
        "line 12: judge: refusal-strings takes no path",
    ),
    "weights without a place": (", path: judge", "", "line 12: judge: give either path, or hub"),
    "remote with a place": (
        "kind: wildguard",
        "kind: chat, name: x, base_url: 'https://x'",
        "line 12: judge: a judge with a base_url takes no path",
    ),
    "remote classifier": (
        "kind: wildguard, path: judge",
        "kind: classifier, name: x, base_url: 'https://x'",
        "line 12: judge: base_url is for kind chat",
    ),
    "remote without a name": (
        "kind: wildguard, path: judge",
        "kind: chat, base_url: 'https://x'",
        "line 12: judge: a judge with a base_url needs the name",
    ),
    "no day": (
        "primary: joint",
        'primary: joint\nprompt: {date: "2026-02-30"}',
        "line 4: prompt.date: there is no such day",
    ),
    "threshold of strings": (
        "kind: wildguard, path: judge",
        "kind: refusal-strings, threshold: 1",
        "line 12: judge: refusal-strings takes no threshold",
    ),
    "third judge": (
        "path: judge",
        "path: judge, second: {kind: refusal-strings, second: {}}",
        "line 12: judge.second.second: no such key",
    ),
    "two kinds": (
        "  - sweep:",
        "  - orderings: {harmful: 1, benign: 1, rules: [prefix]}\n    sweep:",
        "line 14: experiments[0]: give one of sweep",
    ),
    "no kind": (
        "- sweep: {totals: [4, 8], harmful_fractions: [0, 0.5]}",
        "- {}",
        "line 14: experiments[0]: give one of sweep",
    ),
    "share": (
        "[0, 0.5]",
        "[0, 1.5]",
        "line 14: experiments[0].sweep.harmful_fractions[1]: should be a share",
    ),
    "share that is true": (
        "[0, 0.5]",
        "[true]",
        "line 14: experiments[0].sweep.harmful_fractions[0]: should be a share",
    ),
    "third of four": (
        "[0, 0.5]",
        "[0, 1/3]",
        "line 14: experiments[0].sweep.harmful_fractions[1]: 1/3 of 4 is not a whole number",
    ),
    "tenth of four": (
        "[0, 0.5]",
        "[0, 0.1]",
        "line 14: experiments[0].sweep.harmful_fractions[1]: 0.1 of 4 is not a whole number",
    ),
    "no harmful pool": (
        "  harmful: {corpus: pairs, path: h.jsonl}\n",
        "",
        "line 13: experiments[0].sweep.harmful_fractions[1]: asks for harmful",
    ),
    "no benign pool": (
        "  benign:\n    chat: {corpus: pairs, path: b.jsonl}\n",
        "",
        "line 12: experiments[0].sweep.harmful_fractions[0]: asks for benign",
    ),
    "primary": (
        "primary: joint",
        "primary: ordering",
        "line 3: primary: ordering needs an experiment that can answer it: orderings",
    ),
    "same corpus twice": (
        "path: q.csv}",
        "path: q.csv}\n  - {corpus: harmbench, path: r.csv}",
        "line 8: queries[1].corpus: queries[0] is named harmbench",
    ),
    "same name twice": (
        "path: q.csv}",
        "path: q.csv}\n  - {corpus: own, name: harmbench, path: r.csv}",
        "line 8: queries[1].name: queries[0] is named harmbench",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_line_key_path_and_what_is_allowed(tmp_path: Path, name: str) -> None:
    old, new, expected = REFUSED[name]
    assert refusal(tmp_path, changed(old, new)).startswith(expected)


EXPERIMENTS = {
    "sources": (
        "benign_sources: {harmful: 1, benign: [1], sources: [chat, chta]}",
        "sources[1]: chta is not under demonstrations.benign; there: chat",
    ),
    "prefix of nothing": (
        "response_prefix: {harmful: 0, benign: 0, prefixes: [A]}",
        "prefixes: there are no demonstrations",
    ),
    "refusals without a pool": (
        "contexts: {harmful: 1, benign: 1, forms: [policy], n_refusal: 2}",
        "n_refusal: asks for refusal examples",
    ),
    "refusals without a policy": (
        "contexts: {harmful: 1, benign: 1, forms: [turns], n_refusal: 2}",
        "n_refusal: refusal examples are for the form policy only",
    ),
    "no rule": (
        "orderings: {harmful: 1, benign: 1, rules: []}",
        "rules: should have at least one item",
    ),
    "too many": (
        "orderings: {harmful: 5000, benign: 1, rules: [prefix]}",
        "harmful: should be less than or equal to 4096",
    ),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_that_cannot_work(tmp_path: Path, name: str) -> None:
    written, expected = EXPERIMENTS[name]
    kind = written.partition(":")[0]
    found = refusal(tmp_path, f"{PLAN}  - {written}\n").lower()
    assert found.startswith(f"line 15: experiments[1].{kind}.{expected}".lower())


@pytest.mark.parametrize(
    ("experiment", "place"),
    [
        ("fixed_harmful: {harmful: [1], benign: [0, 1]}", "fixed_harmful.benign"),
        ("response_prefix: {harmful: 1, benign: 1, prefixes: [A]}", "response_prefix.benign"),
        ("contexts: {harmful: 1, benign: 0, forms: [turns, conversation]}", "contexts.forms[1]"),
    ],
)
def test_benign_demonstrations_without_a_pool(tmp_path: Path, experiment: str, place: str) -> None:
    text = changed("  benign:\n    chat: {corpus: pairs, path: b.jsonl}\n", "")
    text = text.replace("[0, 0.5]", "[1]") + f"  - {experiment}\n"
    assert refusal(tmp_path, text).startswith(f"line 13: experiments[1].{place}: asks for benign")


def test_the_first_mistake_in_the_file_is_the_one_reported(tmp_path: Path) -> None:
    text = changed("max_new_tokens: 16", "max_new_tokens: x").replace("name: small", "name: 3")
    assert refusal(tmp_path, text).startswith("line 2: name:")


def test_a_document_that_is_no_mapping(tmp_path: Path) -> None:
    assert refusal(tmp_path, "\n- 1\n") == "line 2: is not a mapping of keys to values"


def test_what_is_written_is_kept_exactly(tmp_path: Path) -> None:
    text = changed("method: greedy", "method: seeded, temperature: 0.7, top_p: 1e-7")
    text = text.replace("[0, 0.5]", "[0.0, 1/4, '1']")
    text = text.replace("path: q.csv", "path: q.csv, where: {a: 3, b: no}, languages: [no]")
    text += "prompt: {template_options: {a: 1, b: true, c: null, d: low}}\neffect_margin: 0.10\n"
    plan = load(tmp_path, text)
    assert (plan.sampling.temperature, plan.sampling.top_p) == ("0.7", "0.0000001")
    sweep = plan.experiments[0].sweep
    assert sweep is not None
    assert sweep.harmful_fractions == (0, Fraction(1, 4), 1)
    assert plan.queries[0].where == {"a": "3", "b": "no"}
    assert plan.queries[0].languages == ("no",)
    options = plan.prompt.template_options
    assert options == {"a": 1, "b": True, "c": None, "d": "low"}
    assert (type(options["a"]), type(options["b"])) == (int, bool)
    assert plan.effect_margin == "0.1"


@pytest.mark.parametrize(
    "judge",
    [
        "{kind: refusal-strings}",
        "{kind: chat, name: x, base_url: 'https://example.org/v1'}",
        "{kind: chat, path: judge}",
        f"{{kind: classifier, hub: a/b, revision: {COMMIT}, threshold: 0.5}}",
        "{kind: wildguard, path: judge, second: {kind: refusal-strings}}",
    ],
)
def test_judges(tmp_path: Path, judge: str) -> None:
    plan = load(tmp_path, changed("{kind: wildguard, path: judge}", judge))
    assert plan.judge.kind.value in judge


def test_seed_and_draw_block(tmp_path: Path) -> None:
    beacon = "seed: {beacon: {source: drand-quicknet, round: 12345678}}"
    text = changed("demonstrations:", f"demonstrations:\n  draw_block: all\n  {beacon}")
    shown = load(tmp_path, text).demonstrations
    assert shown.draw_block == "all"
    assert isinstance(shown.seed, BeaconSeed)
    assert (shown.seed.beacon.source, shown.seed.beacon.round) == ("drand-quicknet", 12345678)


def test_editors_get_a_schema() -> None:
    schema = PlanFile.model_json_schema()
    assert set(schema["required"]) <= set(schema["properties"])
    assert schema["properties"]["effect_margin"]["anyOf"] == [
        {"type": "number"},
        {"type": "string"},
    ]


LINES = PLAN.splitlines(keepends=True)
WORDS = [word for line in LINES for word in line.split()]
EDITS = st.lists(
    st.sampled_from(LINES + WORDS)
    | st.sampled_from(["\n", " ", "  - ", "{", "}", ": "])
    | st.text(),
    max_size=20,
).map("".join)
SWAPPED = st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS) | st.text(max_size=5)).map(
    lambda pair: PLAN.replace(pair[0], pair[1], 1)
)


@given(
    content=st.binary() | (st.text() | EDITS | SWAPPED).map(lambda t: t.encode(errors="replace"))
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_file_is_a_plan_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    try:
        load_plan_file(path)
    except ReceiptsError as error:
        line = error.one_line()
        assert line.isprintable()
        assert line.startswith(f"{path}: line ")
