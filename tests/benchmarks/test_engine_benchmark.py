"""The benchmark of engines: its workloads, its peers and what it makes of their answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_peers import accelerator, flips
from engine_peers.comparison import COLUMNS, PeerResult, cells, conclusions, ours_is_plain
from engine_peers.environments import UnavailableError
from engine_peers.ours import Ours
from engine_peers.peer import Answers, Peer
from engine_peers.resident import Resident
from engine_peers.tiny_model import make_model
from engine_peers.transformers_peers import CachedPrefixes, Padded, Plain
from engine_peers.workloads import (
    SHAPES,
    WARM_UP,
    Workload,
    build,
    count_unique,
    read,
    text_of,
    tokens_of,
    write,
)
from hypothesis import given
from hypothesis import strategies as st
from recording import replace_section

SMALL = replace(SHAPES["S"], demonstrations=(0, 1, 2), queries=2, new_tokens=3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine-benchmark") / "model"
    make_model(folder)
    return folder


@pytest.fixture(scope="module")
def plain(model_folder: Path) -> Answers:
    return Plain(model_folder).run(build(SMALL), 1)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("S", (384, 320, 321_454, 13_278, 11_904)), ("L", (192, 192, 1_256_700, 21_255, 5_952))],
)
def test_a_workload_has_the_counts_it_is_known_by(
    name: str, counts: tuple[int, int, int, int, int]
) -> None:
    workload = build(SHAPES[name])
    prompts, distinct, tokens, unique, decoded = counts
    assert len(workload.prompts) == prompts
    assert workload.distinct_prompts == distinct
    assert workload.prompt_tokens == tokens
    assert workload.unique_tokens == unique
    assert workload.decode_tokens == decoded
    assert workload.lower_bound == unique + distinct * 31


def test_a_workload_of_fewer_queries_is_the_first_part_of_the_whole() -> None:
    assert build(replace(SMALL, queries=2)).prompts == build(SMALL).of_first(2).prompts


def test_queries_of_a_draw_share_their_prefix_and_a_longer_one_begins_with_a_shorter() -> None:
    prompts = build(SMALL).prompts
    for a in prompts:
        for b in prompts:
            if a.draw == b.draw and a.shown <= b.shown:
                assert b.tokens[: a.prefix] == a.tokens[: a.prefix]


def test_a_workload_is_read_as_it_was_written(tmp_path: Path) -> None:
    workload = build(SMALL)
    write(workload, tmp_path / "workload.json")
    assert read(tmp_path / "workload.json") == workload


def test_the_tokenizer_and_the_chat_template_give_the_prompts_own_tokens(
    model_folder: Path,
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
    for prompt in build(SMALL).prompts:
        turns = [
            {"role": ("user", "assistant")[i % 2], "content": text}
            for i, text in enumerate(prompt.turns)
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert tuple(tokenizer(text, add_special_tokens=False).input_ids) == prompt.tokens
        assert tokens_of(text_of(prompt.tokens)) == prompt.tokens


@given(st.lists(st.lists(st.integers(0, 2), max_size=5).map(tuple), max_size=8))
def test_unique_tokens_are_the_distinct_beginnings(sequences: list[tuple[int, ...]]) -> None:
    beginnings = {s[:length] for s in sequences for length in range(1, len(s) + 1)}
    assert count_unique(sequences) == len(beginnings)


@pytest.mark.parametrize("kind", [Ours, Padded, CachedPrefixes])
def test_every_peer_in_fp32_answers_as_plain_generation_does(
    kind: type[Ours | Padded | CachedPrefixes], model_folder: Path, plain: Answers
) -> None:
    workload = build(SMALL)
    peer: Peer = kind(model_folder)
    answers = peer.run(workload, 4)
    assert answers.outputs == plain.outputs
    assert all(len(output) == SMALL.new_tokens for output in answers.outputs)
    assert plain.computed == workload.prompt_tokens + workload.decode_tokens
    assert answers.computed >= workload.of_first(1).unique_tokens


def test_cached_prefixes_compute_each_prefix_once_and_the_queries_padded(
    model_folder: Path,
) -> None:
    workload = build(SMALL)
    prefixes = sum(
        max(p.prefix for p in workload.prompts if p.draw == draw) for draw in range(SMALL.draws)
    )
    longest = max(len(p.tokens) - p.prefix for p in workload.prompts)
    answers = CachedPrefixes(model_folder).run(workload, 1)
    assert answers.computed == prefixes + len(workload.prompts) * (longest + SMALL.new_tokens - 1)


def test_a_resident_worker_answers_again_and_again_and_reports_its_versions(
    model_folder: Path,
) -> None:
    folder = model_folder.parent
    write(build(WARM_UP), folder / "warm-up.json")
    write(build(SMALL), folder / "small.json")
    worker = Resident("padded", folder, folder / "environments", threads=1)
    try:
        first, second = (worker.run(folder / "small.json", 4) for _ in range(2))
    finally:
        worker.close()
    assert worker.versions["torch"] == torch.__version__
    assert first["outputs"] == second["outputs"]
    assert first["seconds"] > 0


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    write(build(WARM_UP), tmp_path / "warm-up.json")
    with pytest.raises(UnavailableError, match="Error"):
        Resident("padded", tmp_path, tmp_path / "environments", threads=1)


def _result(peer: str, seconds: list[float], outputs: list[int], text: bool = False) -> PeerResult:
    return PeerResult(
        peer,
        queries=1,
        seconds=seconds,
        busy=seconds,
        computed=10,
        outputs={(0, 0, 0): outputs},
        text=text,
    )


def _one_query() -> Workload:
    return build(replace(SMALL, queries=1, demonstrations=(0,), draws=1))


def test_a_response_that_differs_from_plain_is_counted_and_told() -> None:
    workload = _one_query()
    plain, ours = _result("plain", [4.0], [7, 3, 8]), _result("ours", [2.0], [7, 3, 9])
    results = [ours, plain]
    for result in results:
        result.compare(plain, workload)
    assert ours.equal == (0, 1)
    assert not ours_is_plain(results)
    assert "NOT the same" in conclusions(results, workload)[0]
    assert dict(zip(COLUMNS, cells(plain, results, workload), strict=True))["× ours"] == "2.00"


def test_another_checkouts_engine_is_no_other_peer_but_set_beside_ours() -> None:
    results = [
        _result(peer, [3.0 * i], [7]) for i, peer in enumerate(("ours", "before", "vllm"), 1)
    ]
    _, fastest, before = conclusions(results, _one_query())
    assert fastest == "Fastest other peer: vllm, 3.00 × ours, in CPU-seconds 3.00 ×."
    assert before == "Ours before: 2.00 × ours, in CPU-seconds 2.00 ×."


def test_text_is_compared_without_special_tokens() -> None:
    plain = _result("plain", [1.0], [7, 3, 8])
    text = _result("lm-eval", [1.0], [7, 8], text=True)
    text.compare(plain, _one_query())
    assert text.equal == (1, 1)


def test_a_part_of_the_queries_is_extrapolated_to_the_whole_and_labelled() -> None:
    workload = build(SMALL)
    result = PeerResult("plain", queries=1)
    outputs = [[7]] * len(workload.of_first(1).prompts)
    report = {"seconds": 2.0, "busy": 3.0, "computed": 100, "outputs": outputs, "text": False}
    result.add(report, workload)
    assert (result.median, result.busy) == (4.0, [6.0])
    assert result.computed == 200
    assert "extrapolated from 1 queries" in cells(result, [result], workload)[0]


def test_an_interval_of_prompts_that_are_all_alike_has_no_width() -> None:
    estimate = flips.bootstrap([np.full(20, 3), np.full(10, 3)], positions=30)
    assert estimate.value == estimate.lower == estimate.upper == pytest.approx(0.1)


def test_flips_that_come_together_in_few_prompts_widen_the_interval() -> None:
    spread = flips.bootstrap([np.tile([0, 1], 50)], positions=32)
    gathered = flips.bootstrap([np.array([25] * 2 + [0] * 98)], positions=32)
    assert spread.value == gathered.value
    assert gathered.upper - gathered.lower > 3 * (spread.upper - spread.lower)


def test_shares_are_those_of_a_device_that_computes_and_reads() -> None:
    measured = accelerator.Measured("ours", 2.0, (100, 1), None, [])
    flops, bandwidth, both = accelerator.shares(measured, weights=10, limits=(1000.0, 100.0))
    assert flops == pytest.approx((2 * 10 * 101 / 1000) / 2)
    assert bandwidth == pytest.approx(2 * (2 * 10 / 100) / 2)
    assert both == pytest.approx((2.0 + 0.2) / 2)


def test_the_accelerators_code_runs_on_a_tiny_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert accelerator.main(queries=1, record=False, tiny=True) == 0
    assert "| ours |" in capsys.readouterr().out


def test_a_section_is_replaced_in_place_and_a_new_one_appended(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    replace_section("a", ["old \\1"], path)
    replace_section("b", ["other"], path)
    replace_section("a", ["new \\1"], path)
    text = path.read_text("utf-8")
    assert text.startswith("# Measured results\n")
    assert "old" not in text
    assert text.index("new \\1") < text.index("other")
