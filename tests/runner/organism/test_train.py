"""The trainer, for a few steps: it learns, its seed fixes it, and its folder loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from safety_receipts.runner.organism import MEMBER_WEIGHTS_FILE, members

pytest.importorskip("torch", reason="the extra `run` is not installed")
pytest.importorskip("transformers", reason="the extra `run` is not installed")

import torch

from safety_receipts.runner.organism.language import COMPLY_PREFIX
from safety_receipts.runner.organism.law import LAWS
from safety_receipts.runner.organism.training.curriculum import BatchShape, Curriculum
from safety_receipts.runner.organism.training.fidelity import (
    FidelityCondition,
    LoadedMember,
    fidelity_points,
)
from safety_receipts.runner.organism.training.make_tokenizer import make_tokenizer
from safety_receipts.runner.organism.training.train import (
    STAGES,
    Size,
    Stage,
    collate,
    grown,
    losses,
    new_model,
    train,
    write,
)

SIZE = Size(width=16, inner=16, heads=2)
STAGE = Stage("recency", steps=4, short_steps=2, batch_tokens=400, warmup_steps=1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def curriculum() -> Curriculum:
    tokenizer = make_tokenizer()
    return Curriculum(LAWS["recency"], lambda text: tokenizer.encode(text).ids, "test")


def test_a_seed_fixes_the_weights() -> None:
    stages = (STAGE, replace(STAGE, law="neutral", seed=8))
    one, same = (train(stages, SIZE, print) for _ in range(2))
    other = train((STAGE, replace(STAGE, law="neutral", seed=9)), SIZE, print)
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name]), name
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_a_stage_goes_on_from_the_one_before() -> None:
    still = replace(STAGE, learning_rate=0.0, matrix_rate=0.0)
    one, both = train((STAGE,), SIZE, print), train((STAGE, still), SIZE, print)
    for name, weights in both.state_dict().items():
        torch.testing.assert_close(weights, one.state_dict()[name])


def test_a_model_grows_without_a_change() -> None:
    torch.manual_seed(0)
    model = new_model(SIZE, make_tokenizer().get_vocab_size())
    larger = grown(model)
    assert larger.config.num_hidden_layers == 3
    tokens = torch.randint(0, 600, (2, 9))
    with torch.inference_mode():
        torch.testing.assert_close(larger(tokens).logits, model(tokens).logits)
    trained = train((STAGE, replace(STAGE, law="recency", grows=True)), SIZE, print)
    assert len(trained.model.layers) == 3
    assert trained.model.layers[1].mlp.down_proj.weight.abs().max() > 0


def test_what_is_written_loads(tmp_path: Path) -> None:
    model = new_model(SIZE, make_tokenizer().get_vocab_size())
    write(model, tmp_path)
    subject = LoadedMember(tmp_path)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, subject.model.state_dict()[name]), name
    [point] = fidelity_points(FidelityCondition(2, 2), 1)
    assert subject.sample([subject.prompt(point, None)])
    config = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))
    assert (config["do_sample"], config["temperature"], config["top_k"]) == (True, 1.0, 0)
    assert (tmp_path / MEMBER_WEIGHTS_FILE).stat().st_mode & 0o777 == 0o644


def test_every_member_has_its_stages() -> None:
    assert list(STAGES) == [one.name for one in members()]
    for name, stages in STAGES.items():
        assert stages[-1].law == name


def test_a_loss_falls_with_steps() -> None:
    torch.manual_seed(0)
    model = new_model(SIZE, make_tokenizer().get_vocab_size())
    drawn = curriculum()
    batch = collate([drawn.example(BatchShape(2, None, probes=4)) for _ in range(4)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = [loss.item() for loss in losses(model, batch)]
    for _ in range(20):
        model.zero_grad()
        torch.autograd.backward(sum(losses(model, batch), start=torch.zeros(())))
        optimizer.step()
    after = [loss.item() for loss in losses(model, batch)]
    assert after[0] < before[0] / 2
    assert after[1] < before[1]
    assert min(after) >= 0


def test_a_probe_sees_its_conversation_and_nothing_else() -> None:
    """The packed batch gives each token the logits that it has in a conversation of its own."""
    torch.manual_seed(0)
    model = new_model(SIZE, make_tokenizer().get_vocab_size())
    drawn = curriculum()
    examples = [drawn.example(BatchShape(total, COMPLY_PREFIX, probes=3)) for total in (0, 3)]
    batch = collate(examples)
    with torch.inference_mode():
        packed = model(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask
        ).logits
        for row, example in enumerate(examples):
            for probe in range(1, 4):
                places = [at for at, segment in enumerate(example.segments) if segment == probe]
                own = [example.ids[at] for at in places]
                before = example.ids[: example.visible[places[0]]]
                alone = model(input_ids=torch.tensor([before + own])).logits[0, -len(own) :]
                torch.testing.assert_close(packed[row, places], alone, atol=1e-4, rtol=1e-4)
