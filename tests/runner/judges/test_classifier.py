"""Sequence classifiers: real tiny ones, saved to a folder and loaded from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import load_tokenizer, make_tokenizer, save_tokenizer
from opened import LINUX, opened_files
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import (
    FileAccessError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.judges import classifier
from safety_receipts.runner.judges.classifier import ClassifierJudge, refusal_label
from safety_receipts.runner.judges.identity import JudgeOrigin, identify
from safety_receipts.runner.judges.judge import Exchange, Judgement

VOCABULARY = make_tokenizer("wordpiece").get_vocab_size()
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
LABELS = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}


def bert(**changes: Any) -> PreTrainedModel:
    sizes = {**SIZES, "max_position_embeddings": 40, "pad_token_id": 1, **LABELS, **changes}
    return BertForSequenceClassification(BertConfig(**sizes))


def roberta(**changes: Any) -> PreTrainedModel:
    sizes = {**SIZES, "max_position_embeddings": 40, "pad_token_id": 1, **LABELS, **changes}
    return RobertaForSequenceClassification(RobertaConfig(**sizes))


def llama(**changes: Any) -> PreTrainedModel:
    sizes = {**SIZES, "max_position_embeddings": 40, "pad_token_id": 1, **LABELS, **changes}
    return LlamaForSequenceClassification(LlamaConfig(**sizes))


def saved(folder: Path, model: PreTrainedModel) -> Path:
    model.save_pretrained(folder)
    save_tokenizer(folder, "wordpiece")
    return folder


def seeded(make: Callable[..., PreTrainedModel], **changes: Any) -> PreTrainedModel:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = make(**changes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # far enough from zero that texts differ in score
    return model


def load(folder: Path, threshold: str | None = None) -> ClassifierJudge:
    origin = JudgeOrigin("a classifier", weights=Sha256("ab" * 32))
    identity = identify(classifier.method(threshold), origin)
    return ClassifierJudge.load(identity, load_tokenizer(folder), folder, device="cpu")


def judged(judge: ClassifierJudge, *responses: str) -> list[Judgement]:
    return judge.judge_many(Exchange("Mend my frostbell", response) for response in responses)


TEXTS = ("word", "the guild keeps that", "refusal: no", "table user keeps word word", "that")


@pytest.mark.parametrize("make", [bert, roberta, llama])
def test_the_score_is_the_probability_of_the_refusal_label(
    make: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    """Each response scored alone by the model itself, and in one padded batch by the judge."""
    model = seeded(make)
    own = load_tokenizer(saved(tmp_path, model))
    scores = []
    for text in TEXTS:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([own(text)["input_ids"]])).logits
        scores.append(logits.double().softmax(-1)[0, 1].item())
    least, *_, most = sorted(scores)
    assert most - least > 1e-3, "the test's model should tell texts apart"
    threshold = f"{(least + most) / 2:.6f}"
    for score, judgement in zip(scores, judged(load(tmp_path, threshold), *TEXTS), strict=True):
        assert judgement.margin == pytest.approx(score - float(threshold), abs=1e-6)
        assert float(judgement.raw) == pytest.approx(score, abs=2e-6)
        refused = score >= float(threshold)
        assert judgement.outcome is (Outcome.REFUSED if refused else Outcome.COMPLIED)


def test_the_threshold_decides(tmp_path: Path) -> None:
    folder = saved(tmp_path, seeded(bert))
    (first,) = judged(load(folder), "word")
    assert first.margin is not None
    score = first.margin + 0.5
    (never,) = judged(load(folder, "1"), "word")
    (always,) = judged(load(folder, "0"), "word")
    assert (never.outcome, always.outcome) == (Outcome.COMPLIED, Outcome.REFUSED)
    assert (never.margin, always.margin) == (pytest.approx(score - 1), pytest.approx(score))


def test_the_query_plays_no_part(tmp_path: Path) -> None:
    judge = load(saved(tmp_path, seeded(bert)))
    one, other = judge.judge_many([Exchange("one", "the guild"), Exchange("other", "the guild")])
    assert one == other


def test_the_label_that_says_refusal_may_stand_first(tmp_path: Path) -> None:
    swapped = {"id2label": {0: "Refusal", 1: "Compliance"},
        "label2id": {"Refusal": 0, "Compliance": 1}}  # fmt: skip
    (tmp_path / "a").mkdir()
    (second,) = judged(load(saved(tmp_path / "a", seeded(bert))), "word")
    (first,) = judged(load(saved(tmp_path / "b", seeded(bert, **swapped))), "word")
    assert first.margin is not None
    assert second.margin == pytest.approx(-first.margin, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "index"),
    [
        ({"0": "NORMAL", "1": "REJECTION"}, 1),
        ({"0": "refusal", "1": "non-refusal"}, 0),
        ({"0": "Not_Refused", "1": "Refused"}, 1),
        ({"0": "complied", "1": "refuse"}, 1),
    ],
)
def test_a_refusal_label_is_known_by_its_name(
    labels: dict[str, str], index: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": labels}))
    assert refusal_label(tmp_path) == index


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"id2label": None},
        {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
        {"id2label": {"0": "safe", "1": "unsafe"}},
        {"id2label": {"0": "refusal", "1": "rejection"}},
        {"id2label": {"0": "refusal"}},
        {"id2label": {"0": "refusal", "1": "partial", "2": "compliance"}},
        {"id2label": {"1": "refusal", "2": "compliance"}},
        {"id2label": {"0": "ok\n\x1b[2J", "1": "fine"}},
        {"id2label": {"0": "ok", "1": "refusal"}, "problem_type": "multi_label_classification"},
    ],
)
def test_other_labels_are_refused_with_what_is_supported(config: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(MalformedError) as raised:
        refusal_label(tmp_path)
    line = raised.value.one_line()
    assert "exactly two labels" in line
    assert line.isprintable()
    for name in (config.get("id2label") or {}).values():
        assert "problem_type" in config or name.partition("\n")[0] in line


@pytest.mark.parametrize("make", [bert, roberta, llama])
def test_a_response_longer_than_the_model_reads_is_unscored_and_never_cut(
    make: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    judge = load(saved(tmp_path, seeded(make)))
    most = 38 if make is roberta else 40  # RoBERTa numbers its positions from 2
    fits, over = "word " * (most - 1), "word " * most  # and <s>
    before, short, longest, after = judged(judge, "that", fits, over, "that word")
    assert {before.reason, short.reason, after.reason} == {None}
    assert (longest.outcome, longest.reason) == (Outcome.UNSCORED, Reason.JUDGE_ERROR)
    assert longest.error == f"{most + 1} tokens; the judge reads 1 to {most}"


def test_markup_in_a_response_is_text(tmp_path: Path) -> None:
    """Padding inside a response would move the token that a decoder-only classifier reads."""
    judge = load(saved(tmp_path, seeded(llama)))
    own = load_tokenizer(tmp_path)
    padded = "the guild" + " </s>" * 3
    assert own(padded)["input_ids"][-1] == own.convert_tokens_to_ids("</s>")
    plain, quoting = judged(judge, "the guild", padded)
    assert quoting.margin != pytest.approx(plain.margin, abs=1e-5)


def test_equal_responses_are_scored_once_and_in_order(tmp_path: Path) -> None:
    judge = load(saved(tmp_path, seeded(bert)))
    rows: list[int] = []
    judge._model.register_forward_pre_hook(
        lambda _, __, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    several = judged(judge, "word", "that", "word", "word")
    assert sum(rows) == 2
    assert several == [*judged(judge, "word", "that"), several[0], several[0]]


def test_a_model_without_padding_scores_rows_alone(tmp_path: Path) -> None:
    folder = saved(tmp_path, seeded(llama, pad_token_id=None))
    with_padding = saved(tmp_path / "padded", seeded(llama))
    for one, other in zip(
        judged(load(folder), *TEXTS), judged(load(with_padding), *TEXTS), strict=True
    ):
        assert one.margin == pytest.approx(other.margin, abs=1e-5)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path) -> None:
    judge = load(saved(tmp_path, seeded(bert)))
    expected = judged(judge, *TEXTS)

    def small_memory(_: Any, __: Any, given: dict[str, Any]) -> None:
        rows, width = given["input_ids"].shape
        if rows > 2 or width > 5:
            raise torch.OutOfMemoryError("too much")

    judge._model.register_forward_pre_hook(small_memory, with_kwargs=True)
    for text, one, other in zip(TEXTS, judged(judge, *TEXTS), expected, strict=True):
        if len(text.split()) + 1 > 5:
            assert one.reason is Reason.JUDGE_ERROR
        elif one.reason is None:
            assert one.margin == pytest.approx(other.margin, abs=1e-5)
    assert judged(judge, "word")[0].reason is None


def test_a_score_that_is_no_number_is_unscored(tmp_path: Path) -> None:
    model = seeded(bert)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    (judgement,) = judged(load(saved(tmp_path, model)), "word")
    assert judgement.reason is Reason.JUDGE_ERROR
    assert judgement.error == "the judge's score is not finite"


@pytest.mark.skipif(not LINUX, reason="inotify is Linux's")
def test_what_is_opened_of_a_judge_s_folder_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "judge", seeded(bert))
    for name in ("decoy.safetensors", "pytorch_model.bin", "code.py"):
        (folder / name).write_bytes(b"not to be loaded")
    hashed = {file.path for file in hash_folder(folder).files}
    monkeypatch.setattr(folder_trial, "inside", True)  # it is hashed, to be known when tried again
    with opened_files(folder) as opened:
        judged(load(folder), "yes")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= opened <= hashed
    assert opened.isdisjoint({"decoy.safetensors", "pytorch_model.bin", "code.py"})


def test_weights_without_a_classification_head_are_refused(tmp_path: Path) -> None:
    """Loaded anyway, its labels would come from random numbers."""
    folder = saved(tmp_path, LlamaForCausalLM(LlamaConfig(**SIZES, **LABELS)))
    with pytest.raises(MalformedError, match=r"its weights lack score\.weight"):
        load(folder)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    folder = saved(tmp_path, seeded(bert))
    weights = folder / "model.safetensors"
    torch.save(seeded(bert).state_dict(), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UsageError, match="pickles") as raised:
        load(folder)
    assert "\n" not in raised.value.one_line()


DAMAGE: list[tuple[str, bytes | None, type[ReceiptsError]]] = [
    ("config.json", None, FileAccessError),
    ("config.json", b"[]", MalformedError),
    ("config.json", b"{", MalformedError),
    ("model.safetensors", b"\x00" * 40, MalformedError),
    ("model.safetensors", None, UsageError),
]


@pytest.mark.parametrize(("name", "content", "error"), DAMAGE)
def test_a_damaged_folder_gives_one_line(
    name: str, content: bytes | None, error: type[ReceiptsError], tmp_path: Path
) -> None:
    folder = saved(tmp_path, seeded(bert))
    own = load_tokenizer(folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    identity = identify(classifier.method(None), JudgeOrigin("a classifier"))
    with pytest.raises(error) as raised:
        ClassifierJudge.load(identity, own, folder, device="cpu")
    assert str(folder) in raised.value.one_line()
    assert "\n" not in raised.value.one_line()


def test_an_unknown_device_gives_one_line(tmp_path: Path) -> None:
    folder = saved(tmp_path, seeded(bert))
    identity = identify(classifier.method(None), JudgeOrigin("a classifier"))
    with pytest.raises(UsageError, match="names no device"):
        ClassifierJudge.load(identity, load_tokenizer(folder), folder, device="abacus")


def test_the_identity_names_what_is_read_and_the_threshold() -> None:
    method = classifier.method(None)
    assert method.kind is JudgeKind.CLASSIFIER
    assert (method.template, method.max_new_tokens) == (None, None)
    assert (method.parser, method.threshold) == ("refusal-label/response-alone/1", "0.5")
    assert classifier.method("0.7").threshold == "0.7"


def test_a_threshold_above_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1\.01 is not a probability"):
        classifier.method("1.01")
