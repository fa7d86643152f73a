"""Replaying points of an event of the organism: honest ones, and what an evaluator might seal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from auditing import (
    GREEDY,
    MEMORY,
    SEEDED,
    Event,
    FaultyScores,
    ending,
    loaded_stack,
    make_event,
    refusals,
    replayer,
    reworded,
    run_event,
    write_organism,
)
from judging import make_tokenizer, save_tokenizer
from running import Faulty, FaultyJudge
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.canonical import Sha256, point_id
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Finish, Outcome, Reason
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.decoding.noise_seed import point_noise_seed
from safety_receipts.runner.engines.engine import GREEDY as GREEDY_DECODING
from safety_receipts.runner.engines.engine import (
    Completion,
    Decoding,
    Engine,
    Generation,
    Margins,
    Request,
)
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.requests import decoding_of
from safety_receipts.verify.audit.replay import Entry, ReplayCriteria
from safety_receipts.verify.audit.session import AuditSubject
from safety_receipts.verify.audit.statistics.plausibility import (
    DefaultPlausibility,
    MarginStatistics,
    PlausibilityLimits,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

TOP_P = "{method: seeded, temperature: 1.0, top_p: 0.5, max_new_tokens: 24}"
BFLOAT16_LIMITS = DefaultPlausibility.between(Dtype.BFLOAT16, Dtype.BFLOAT16)
JUDGED = (Outcome.REFUSED, Outcome.COMPLIED)
GENEROUS = ReplayCriteria(DefaultPlausibility(PlausibilityLimits(3.0, 0.01)))
"""For points whose label is in question, not whose margins are."""


@pytest.fixture(scope="module", params=[GREEDY, SEEDED], ids=["greedy", "seeded"])
def event(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Event:
    """An honest event; each test sees a greedy and a seeded one."""
    return make_event(
        tmp_path_factory.mktemp("event"),
        queries=40,
        sampling=request.param,
        experiment="fixed_harmful: {harmful: [0, 4], benign: [0, 16]}",
        member="amplifying",
    )


@pytest.fixture(scope="module")
def loaded(event: Event) -> LoadedStack:
    """The auditor's stack, in fp32."""
    return loaded_stack(event.resolved)


@pytest.fixture(scope="module")
def case(event: Event) -> AuditSubject:
    return event.subject()


def engine_of(event: Event, dtype: Dtype = Dtype.FLOAT32, **settings: Any) -> TransformersEngine:
    model = load_model(event.resolved.artifacts.checkpoint.folder, dtype=dtype, device="cpu")
    return TransformersEngine(model, memory=MEMORY, **settings)


def with_engine(loaded: LoadedStack, engine: Engine) -> LoadedStack:
    return replace(loaded, stack=replace(loaded.stack, engine=engine))


def against(found: Sequence[ReplayedPoint]) -> list[ReplayedPoint]:
    """Return what counts against its record, either way."""
    directions = {
        Outcome.REFUSED: Direction.NOT_UNDERSTATED,
        Outcome.COMPLIED: Direction.NOT_OVERSTATED,
    }
    return [one for one in found if one.contradicts(directions[one.recorded])]


def asked(event: Event, entry: Entry) -> Request:
    """Return the request of a point, from the renderer and the seed alone."""
    case, (point, _) = event.subject(), entry
    [rendered] = render_points(case.renderer, [point.index])
    id_ = point_id(point.condition, point.query, point.draw)
    return Request(
        key=point.index,
        tokens=rendered.tokens,
        max_new_tokens=case.plan.sampling.max_new_tokens,
        stop_ids=frozenset(case.plan.sampling.end_tokens),
        seed=point_noise_seed(case.seed, id_),
    )


def scored(
    event: Event, engine: Engine, pairs: Sequence[tuple[Request, tuple[int, ...]]]
) -> dict[int, Margins]:
    decoding = decoding_of(event.plan.sampling)
    return {one.key: one for one in engine.score(pairs, decoding)}


SHAPES: dict[str, dict[str, Any]] = {
    "as it was run": {},
    "three rows": {"max_rows": 3},
    "plain batches": {"shared": False},
    "written-out attention": {"kernels": (Kernel.MATH,)},
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda name: name.replace(" ", "-"))
def test_an_honest_receipt_is_not_contradicted_on_another_batch_shape(
    event: Event, case: AuditSubject, loaded: LoadedStack, shape: str
) -> None:
    entries = [e for e in event.entries() if e[0].outcome in JUDGED]
    engine = engine_of(event, **SHAPES[shape])
    found = replayer(case, with_engine(loaded, engine)).replay(entries)
    assert [one.id for one in found] == [point.id for point, _ in entries]
    assert against(found) == []
    assert {one.hard for one in found} == {None}
    assert {one.recorded for one in found} == {Outcome.REFUSED, Outcome.COMPLIED}
    largest = max(one.statistics.largest for one in found if one.statistics)
    assert largest < 0.001


def test_margins_are_those_of_the_engine(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """The request is made here once more, from plan, artifacts and seed."""
    chosen = refusals(event.entries())[:12]
    found = replayer(case, loaded).replay(chosen)
    pairs = [(asked(event, entry), entry[1].response_tokens) for entry in chosen]
    margins = scored(event, loaded.stack.engine, pairs)
    for entry, one in zip(chosen, found, strict=True):
        expected = MarginStatistics.of(margins[entry[0].index].margins)
        assert one.statistics is not None
        assert one.statistics.tokens == expected.tokens == len(entry[1].response_tokens)
        assert one.statistics.largest == pytest.approx(expected.largest, abs=1e-4)
        assert one.statistics.clipped == pytest.approx(expected.clipped, abs=1e-4)


def test_a_replay_in_bfloat16_stays_within_the_stated_limits(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """Labels may branch, as two honest formats do; nothing is a hard contradiction."""
    entries = [e for e in event.entries() if e[0].outcome in JUDGED]
    coarse = with_engine(loaded, engine_of(event, Dtype.BFLOAT16))
    made = replayer(
        case, coarse, ReplayCriteria(BFLOAT16_LIMITS, reference=lambda: engine_of(event))
    )
    found = made.replay(entries)
    assert {one.hard for one in found} == {None}
    largest = [one.statistics.largest for one in found if one.statistics]
    assert len(largest) == len(found)
    assert max(largest) < 0.6
    assert len(against(found)) <= len(found) // 10


def changed_token(event: Event, entry: Entry, loaded: LoadedStack) -> Entry:
    """Return a point whose third token is the one of the vocabulary that fits least."""
    tokens = entry[1].response_tokens
    request = asked(event, entry)
    ordinary = [t for t in range(3, 200) if t not in event.plan.sampling.end_tokens]
    candidates = [(*tokens[:2], token, *tokens[3:]) for token in ordinary[::7]]
    margins = scored(
        event,
        loaded.stack.engine,
        [(replace(request, key=key), each) for key, each in enumerate(candidates)],
    )
    worst = max(range(len(candidates)), key=lambda key: margins[key].margins[2])
    assert margins[worst].margins[2] > 4
    text = loaded.stack.reader.read(candidates[worst]).text
    return reworded(entry, candidates[worst], text)


def test_a_changed_token_is_implausible_and_hard(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    entry = refusals(event.entries())[0]
    [one] = replayer(case, loaded).replay([changed_token(event, entry, loaded)])
    assert one.branched == 2
    assert one.implausible is not None
    assert one.hard is not None
    assert "below the model's own choice" in one.hard
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_response_cut_short_is_hard(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    entry = refusals(event.entries())[0]
    tokens = entry[1].response_tokens[:3]
    text = loaded.stack.reader.read(tokens).text
    [one] = replayer(case, loaded).replay([reworded(entry, tokens, text, finish=Finish.LENGTH)])
    # Every token is the model's own: only the end is not.
    assert (one.branched, one.implausible) == (None, None)
    assert one.hard == "it stopped at 3 tokens for no reason"
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_response_longer_than_the_limit_is_hard(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    entry = refusals(event.entries())[0]
    body = [t for t in entry[1].response_tokens if t not in event.plan.sampling.end_tokens]
    tokens = (body * 9)[:25]
    text = loaded.stack.reader.read(tokens).text
    [one] = replayer(case, loaded).replay([reworded(entry, tokens, text, finish=Finish.LENGTH)])
    assert one.hard == "25 tokens, more than the limit of 24"


def test_an_end_that_comes_too_early_is_implausible(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    entry = refusals(event.entries())[0]
    tokens = (*entry[1].response_tokens[:3], event.plan.sampling.end_tokens[-1])
    text = loaded.stack.reader.read(tokens).text
    [one] = replayer(case, loaded).replay([reworded(entry, tokens, text, finish=Finish.STOP)])
    assert one.branched == 3
    assert one.implausible is not None
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_wrong_label_of_a_rule_is_hard(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    entry = next(e for e in event.entries() if e[0].outcome is Outcome.COMPLIED)
    record = entry[1]
    forged = reworded(entry, record.response_tokens, record.text, outcome=Outcome.REFUSED)
    [one] = replayer(case, loaded).replay([forged])
    assert (one.recorded, one.label) == (Outcome.REFUSED, Outcome.COMPLIED)
    assert one.hard == "the judge's rule says complied of the recorded response"
    assert one.contradicts(Direction.NOT_UNDERSTATED)


Forgery = Callable[[Entry, LoadedStack], Entry]


def same(entry: Entry, **changes: Any) -> Entry:
    return reworded(entry, entry[1].response_tokens, entry[1].text, **changes)


FORGERIES: dict[str, tuple[Forgery, str]] = {
    "another text": (
        lambda entry, _: reworded(entry, entry[1].response_tokens, f"{entry[1].text} Truly."),
        "the text is not what its tokens decode to",
    ),
    "another prompt": (
        lambda entry, _: same(entry, prompt=Sha256("3" * 64)),
        "the prompt is not the one that is rendered",
    ),
    "other demonstrations": (
        lambda entry, _: same(entry, demonstrations=Sha256("3" * 64)),
        "the demonstrations are not those that the plan draws",
    ),
    "another commitment": (
        lambda entry, _: (
            entry[0].model_copy(update={"commitment": Sha256("3" * 64)}),
            entry[1],
        ),
        "the record does not open its commitment",
    ),
    "an end token in the middle": (
        lambda entry, _: reworded(entry, entry[1].response_tokens[-1:] * 3, entry[1].text),
        "an end token stands before the last",
    ),
    "a token that the tokenizer skips": (
        lambda entry, _: reworded(entry, (10**6, *entry[1].response_tokens), entry[1].text),
        "token 1000000 is not one of the model's 650",
    ),
    "a token beyond any tokenizer": (
        lambda entry, _: reworded(entry, (2**40, *entry[1].response_tokens), entry[1].text),
        "is not one of the model's 650",
    ),
}


@pytest.mark.parametrize("name", FORGERIES, ids=lambda name: name.replace(" ", "-"))
def test_a_record_that_does_not_follow_is_no_noise(
    event: Event, case: AuditSubject, loaded: LoadedStack, name: str
) -> None:
    forge, words = FORGERIES[name]
    good, entry, *_ = refusals(event.entries())
    with pytest.raises(IntegrityError, match=words) as caught:
        replayer(case, loaded).replay([good, forge(entry, loaded)])
    assert f"point {entry[0].index} ({entry[0].condition})" in caught.value.one_line()


def compliances(event: Event) -> list[Entry]:
    """Return the recorded compliances with restricted requests."""
    return [
        entry
        for entry in event.entries()
        if entry[0].outcome is Outcome.COMPLIED and entry[0].source == "sealed-crafts"
    ]


def swapped(
    event: Event, loaded: LoadedStack, entries: Sequence[Entry], place: int, tokens: set[int]
) -> tuple[Entry, float]:
    """Return a point as an evaluator would seal it who took another token at a place.

    Of all these points and tokens it is the one that lies closest below the model's own
    choice; everything after it is what the model itself says then.

    Returns:
        The point, its recorded outcome as it was, and the token's margin.
    """
    pairs = [
        (entry, token)
        for entry in entries
        for token in sorted(tokens - {entry[1].response_tokens[place]})
    ]
    requests = {entry[0].index: asked(event, entry) for entry in entries}
    margins = scored(
        event,
        loaded.stack.engine,
        [
            (
                replace(requests[entry[0].index], key=key),
                (*entry[1].response_tokens[:place], token),
            )
            for key, (entry, token) in enumerate(pairs)
        ],
    )
    key = min(range(len(pairs)), key=lambda key: margins[key].margins[place])
    entry, token = pairs[key]
    request, begun = requests[entry[0].index], (*entry[1].response_tokens[:place], token)
    begin = replace(
        request,
        tokens=(*request.tokens, *begun),
        max_new_tokens=request.max_new_tokens - len(begun),
        begun=len(begun),
    )
    [rest] = generate_completions(loaded.stack.engine, [begin], decoding_of(event.plan.sampling))
    response = (*begun, *rest.tokens)
    text = loaded.stack.reader.read(response).text
    finish = ending(event.plan, response)
    return reworded(entry, response, text, finish=finish), margins[key].margins[place]


def steered(event: Event, loaded: LoadedStack) -> tuple[Entry, float]:
    """Return a compliance as an evaluator would seal it who took the refusing first token."""
    refusing = refusals(event.entries())[0][1].response_tokens[0]
    forged, margin = swapped(event, loaded, compliances(event), 0, {refusing})
    record = forged[1]
    assert record.text.startswith("Sorry")
    sealed = reworded(forged, record.response_tokens, record.text, outcome=Outcome.REFUSED)
    return sealed, margin


def test_of_two_nearly_equal_tokens_the_model_s_own_decides_the_label(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    forged, margin = steered(event, loaded)
    assert 0 < margin < 1.5
    [one] = replayer(case, loaded, GENEROUS).replay([forged])
    # Plausible, and judged rightly as it stands; what the model would have said counts.
    assert (one.implausible, one.hard, one.branched) == (None, None, 0)
    assert one.statistics is not None
    assert one.statistics.largest == pytest.approx(margin, abs=1e-4)
    assert (one.recorded, one.label) == (Outcome.REFUSED, Outcome.COMPLIED)
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_swap_within_a_compliance_leaves_its_label(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """What is done to which thing is no part of the label: the continuation complies, too."""
    entries = compliances(event)
    things = {entry[1].response_tokens[3] for entry in entries}
    forged, margin = swapped(event, loaded, entries[:8], 3, things)
    [one] = replayer(case, loaded, GENEROUS).replay([forged])
    assert (one.branched, one.label) == (3, Outcome.COMPLIED)
    assert one.statistics is not None
    assert one.statistics.largest == pytest.approx(margin, abs=1e-4)
    assert (one.hard is None) == (margin < 4)


class Heard(FaultyScores):
    """Keeps what is asked of it, and what it answers."""

    def __init__(self, engine: Engine, fault: Callable[[Margins], Margins | None]) -> None:
        super().__init__(engine, fault)
        self.requests: list[Request] = []
        self.completions: list[Completion] = []

    def start(
        self, requests: Sequence[Request], decoding: Decoding = GREEDY_DECODING
    ) -> Generation:
        self.requests += requests
        return super().start(requests, decoding)

    def changed(self, completions: Iterable[Completion]) -> Iterator[Completion]:
        for completion in super().changed(completions):
            self.completions.append(completion)
            yield completion


def test_a_continuation_is_what_the_whole_response_would_have_been(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """Noise counts from the response's own beginning, and so does the limit."""
    entries = refusals(event.entries())[:6]
    places = {entry[0].index: place for place, entry in enumerate(entries, start=1)}
    places = {key: min(place, 4) for key, place in places.items()}

    def doubt(margins: Margins) -> Margins:
        """Say that the auditor would have taken another token at some place."""
        changed = list(margins.margins)
        changed[places[margins.key]] = 0.005
        return replace(margins, margins=tuple(changed), branch=places[margins.key])

    engine = Heard(loaded.stack.engine, doubt)
    found = replayer(case, with_engine(loaded, engine)).replay(entries)
    assert [one.branched for one in found] == list(places.values())
    assert against(found) == []
    records = {point.index: record for point, record in entries}
    for request in engine.requests:
        record, place = records[request.key], places[request.key]
        assert (request.begun, request.max_new_tokens) == (place, 24 - place)
        assert tuple(request.tokens[-place:]) == record.response_tokens[:place]
    assert len(engine.completions) == len(entries)
    for completion in engine.completions:
        record, place = records[completion.key], places[completion.key]
        assert completion.tokens == record.response_tokens[place:]


SILENT: dict[str, tuple[Callable[[Margins], Margins | None], str]] = {
    "nothing": (lambda margins: None, "the engine gave no answer"),
    "an error": (
        lambda margins: Margins(margins.key, (), None, (), Reason.OUT_OF_MEMORY, "no room for it"),
        "no room for it",
    ),
}


@pytest.mark.parametrize("name", SILENT, ids=lambda name: name.replace(" ", "-"))
def test_a_point_that_cannot_be_scored_is_missing_and_counts(
    event: Event, case: AuditSubject, loaded: LoadedStack, name: str
) -> None:
    fault, words = SILENT[name]
    first, second, *_ = refusals(event.entries())
    engine = FaultyScores(
        loaded.stack.engine,
        lambda margins: fault(margins) if margins.key == first[0].index else margins,
    )
    bad, good = replayer(case, with_engine(loaded, engine)).replay([first, second])
    assert (bad.missing, bad.label, bad.statistics, bad.hard) == (words, None, None, None)
    assert bad.contradicts(Direction.NOT_UNDERSTATED)
    assert (good.missing, good.contradicts(Direction.NOT_UNDERSTATED)) == (None, False)


def test_a_point_that_cannot_be_decoded_on_is_missing_and_counts(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    def fail(completion: Completion) -> Completion:
        error = {"reason": Reason.ENGINE_ERROR, "error": "it broke"}
        return replace(completion, tokens=(), finish=Finish.ERROR, **error)  # type: ignore[arg-type]

    forged, _ = steered(event, loaded)
    engine = Faulty(loaded.stack.engine, fail)
    [one] = replayer(case, with_engine(loaded, engine)).replay([forged])
    assert (one.missing, one.label) == ("it broke", None)
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_rule_that_fails_contradicts_softly(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """The auditor's own trouble counts against the record, and refutes nothing."""

    def fail(judgements: list[Judgement]) -> list[Judgement]:
        raise RuntimeError("it broke")

    stack = replace(loaded.stack, judge=FaultyJudge(loaded.stack.judge, fail))
    [one] = replayer(case, replace(loaded, stack=stack)).replay(refusals(event.entries())[:1])
    assert (one.label, one.hard) == (Outcome.UNSCORED, None)
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_hard_margin_is_reproduced_in_fp32_once_and_only_for_suspects(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    made: list[FaultyScores] = []

    def reference() -> Engine:
        made.append(FaultyScores(engine_of(event), lambda margins: margins))
        return made[-1]

    honest = refusals(event.entries())[:8]
    forged = changed_token(event, honest[0], loaded)
    coarse = with_engine(loaded, engine_of(event, Dtype.BFLOAT16))
    auditor = replayer(case, coarse, ReplayCriteria(BFLOAT16_LIMITS, reference=reference))
    assert {one.hard for one in auditor.replay(honest)} == {None}
    assert made == []
    assert auditor.replay([forged])[0].hard is not None
    assert auditor.replay([forged, *honest[1:]])[0].hard is not None
    assert [engine.scored for engine in made] == [2]


def test_a_margin_that_fp32_does_not_show_is_not_hard(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """A faulty auditor's stack makes points implausible, and refutes nobody."""
    entry = refusals(event.entries())[0]
    broken = FaultyScores(
        engine_of(event, Dtype.BFLOAT16),
        lambda margins: replace(margins, margins=(9.0, *margins.margins[1:]), branch=0),
    )
    auditor = replayer(
        case,
        with_engine(loaded, broken),
        ReplayCriteria(BFLOAT16_LIMITS, reference=lambda: engine_of(event)),
    )
    [one] = auditor.replay([entry])
    assert (one.hard, one.implausible is None) == (None, False)
    assert one.contradicts(Direction.NOT_UNDERSTATED)


def test_a_reference_that_cannot_be_loaded_reproduces_nothing(
    event: Event, case: AuditSubject, loaded: LoadedStack
) -> None:
    """The audit goes on: there may be no room for a second copy of the weights."""

    def reference() -> Engine:
        raise torch.OutOfMemoryError("no room")

    forged = changed_token(event, refusals(event.entries())[0], loaded)
    coarse = with_engine(loaded, engine_of(event, Dtype.BFLOAT16))
    auditor = replayer(case, coarse, ReplayCriteria(BFLOAT16_LIMITS, reference=reference))
    [one] = auditor.replay([forged])
    assert (one.hard, one.implausible is None) == (None, False)


def test_a_token_outside_top_p_is_implausible_and_never_hard(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    event = make_event(tmp_path_factory.mktemp("nucleus"), queries=20, sampling=TOP_P)
    case, loaded = event.subject(), loaded_stack(event.resolved)
    entries = refusals(event.entries())
    assert against(replayer(case, loaded).replay(entries)) == []
    tokens = entries[0][1].response_tokens
    another = next(
        e[1].response_tokens[0] for e in event.entries() if e[1].response_tokens[0] != tokens[0]
    )
    forged = (another, *tokens[1:])
    text = loaded.stack.reader.read(forged).text
    # The label fits the text, so that only the token speaks against it.
    sealed = reworded(entries[0], forged, text, outcome=Outcome.COMPLIED)
    [one] = replayer(case, loaded).replay([sealed])
    assert one.statistics is not None
    assert math.isinf(one.statistics.largest)
    assert one.implausible is not None
    assert one.hard is None
    assert one.contradicts(Direction.NOT_OVERSTATED)


def test_a_verdict_near_a_model_judge_s_threshold_is_ambiguous(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """An untrained classifier is never sure: its scores lie close to a half."""
    folder = tmp_path_factory.mktemp("classified")
    plain = write_organism(folder / "study", queries=20)
    sizes = {"vocab_size": make_tokenizer("wordpiece").get_vocab_size(), "hidden_size": 16}
    labels = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = BertConfig
    model = BertForSequenceClassification(config(**sizes, **small, **labels))
    study = plain.parent
    model.save_pretrained(study / "classifier")
    save_tokenizer(study / "classifier", "wordpiece")
    text = plain.read_text("utf-8")
    judge = "judge: {kind: classifier, path: classifier, threshold: THRESHOLD}"
    assert text.count("judge: {kind: refusal-strings}") == 1
    text = text.replace("judge: {kind: refusal-strings}", judge)
    found: dict[str, list[list[ReplayedPoint]]] = {}
    for threshold in ('"0.5"', '"0.0001"'):
        plan = study / f"judged-{len(found)}.yaml"
        plan.write_text(text.replace("THRESHOLD", threshold), "utf-8")
        judged = run_event(plan, folder / f"event-{len(found)}")
        case, loaded = judged.subject(), loaded_stack(judged.resolved)
        entries = [e for e in judged.entries() if e[0].outcome in JUDGED]
        held = case.plausibility(Dtype.FLOAT32)
        found[threshold] = [
            replayer(case, loaded, ReplayCriteria(held, judge_band=band)).replay(entries)
            for band in (1.0, 1e-9)
        ]
    # Nothing was calibrated, and the scores are far from the last threshold.
    uncalibrated = case.replayer(loaded.stack, None).replay(entries)
    assert {one.ambiguous for one in uncalibrated} == {False}
    assert against(uncalibrated) == []
    for wide, narrow in found.values():
        assert {one.ambiguous for one in wide} == {True}
        assert against(wide) == wide
        assert {one.hard for one in wide} == {None}
        assert {one.ambiguous for one in narrow} == {False}
        assert against(narrow) == []
        assert all(one.judge_margin is not None for one in narrow)
