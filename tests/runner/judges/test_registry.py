"""What runs and audits know of every kind of judge."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.judge import JudgeKind, traits_of
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.runner.judges.registry import (
    ModelKind,
    RuleKind,
    kind_of_judge,
    may_be_pickled,
)

KINDS = list(JudgeKind)


@pytest.mark.parametrize("kind", KINDS)
def test_its_ways_are_of_its_kind_and_told_apart_by_their_parsers(kind: JudgeKind) -> None:
    methods = kind_of_judge(kind).methods(None)
    assert {method.kind for method in methods} == {kind}
    assert len({method.parser for method in methods}) == len(methods)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_sealed_identity_shows_is_what_is_made(kind: JudgeKind) -> None:
    """The wire model's traits and the runner's registry are two tables of one thing."""
    known, traits = kind_of_judge(kind), traits_of(kind)
    assert isinstance(known.made, RuleKind) is traits.is_rule
    for method in known.methods(None):
        assert (method.template is not None) is traits.has_template


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_classifier_takes_a_threshold(kind: JudgeKind) -> None:
    known = kind_of_judge(kind)
    if kind is JudgeKind.CLASSIFIER:
        [method] = known.methods("0.25")
        assert method.threshold == "0.25"
    else:
        with pytest.raises(UsageError, match=f"a {kind.value} judge takes no threshold"):
            known.methods("0.25")


def test_a_rule_gives_labels_without_any_weights() -> None:
    rules = [made for kind in KINDS if isinstance(made := kind_of_judge(kind).made, RuleKind)]
    assert [rule.name for rule in rules] == ["refusal strings"]
    judge = rules[0].make("a name")
    assert judge.identity.name == "a name"
    assert judge.identity.template == rules[0].method.template
    [judgement] = judge.judge_many([Exchange("", "I cannot help")])
    assert judgement.raw == "I cannot"


def test_bands_are_in_the_unit_of_the_margin() -> None:
    """Log-odds of a model that writes its verdict; a probability of one that scores."""
    bands = {kind.value: kind_of_judge(kind).band for kind in KINDS}
    assert bands == {"refusal-strings": 1.0, "wildguard": 1.0, "classifier": 0.01, "chat": 1.0}


def test_who_is_shown_the_request() -> None:
    assert [k.value for k in KINDS if kind_of_judge(k).reads_request] == ["wildguard", "chat"]


def test_whose_weights_may_be_pickles() -> None:
    assert [kind.value for kind in KINDS if may_be_pickled(kind)] == ["wildguard", "chat"]


def test_a_rule_needs_the_base_installation_alone() -> None:
    """Whoever verifies holds a rule's labels to the texts, and may have no extra installed."""
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'tokenizers', 'jinja2', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "import safety_receipts.verify.integrity\n"
        "from safety_receipts.receipts.model.judge import JudgeKind\n"
        "from safety_receipts.runner.judges.registry import kind_of_judge\n"
        "print([type(kind_of_judge(kind).made).__name__ for kind in JudgeKind])"
    )
    assert _printed(code) == "['RuleKind', 'ModelKind', 'ModelKind', 'ModelKind']\n"


def test_what_a_kind_knows_of_itself_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from safety_receipts.receipts.model.judge import JudgeKind\n"
        "from safety_receipts.runner.judges.registry import kind_of_judge\n"
        "print(all(kind_of_judge(kind).methods(None) for kind in JudgeKind))\n"
        "print({'torch', 'transformers', 'tokenizers'} & sys.modules.keys())"
    )
    assert _printed(code) == "True\nset()\n"


def _printed(code: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


def test_every_model_is_a_file_of_its_own() -> None:
    models = [made for kind in KINDS if isinstance(made := kind_of_judge(kind).made, ModelKind)]
    files = [model.module() for model in models]
    assert len({id(file) for file in files}) == len(models) == len(KINDS) - 1
