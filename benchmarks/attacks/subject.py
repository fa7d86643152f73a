"""What is attacked: an evaluation of the embedded organism, its points held in memory.

An evaluator who holds the signing key can seal any points they like.  So can this.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.bundle import BundleWriter
from safety_receipts.receipts.canonical import Sha256, event_seed
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.events.synthetic import EVENT
from safety_receipts.receipts.findings.counts.agreement import AgreementCounter
from safety_receipts.receipts.findings.counts.conditions import condition_results
from safety_receipts.receipts.findings.counts.observations import observe
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import ConditionResult, Counts
from safety_receipts.receipts.seal import evaluation_statement, seal_plan
from safety_receipts.runner.commands.init import write_preset
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.engines.load import LoadedModel, load_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.judges.judge import ResponseJudge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.organism import member
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.prompts.responses import reader_of
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import RunStack, run_of
from safety_receipts.runner.run.seal import environment_of
from safety_receipts.verify.audit.replay import Entry, ReplayCriteria, Replayer
from safety_receipts.verify.audit.statistics.plausibility import Plausibility
from safety_receipts.verify.levels.rederive import ResponseDecoder

MEMORY = 2**28
"""Bound on an engine's memory in bytes; it decides the batches."""
PLAN_FILE = "plan.yaml"
CHECKPOINT = "checkpoint"
_ALL_QUERIES = 240
_ALL_CONTROLS = 120
SECOND_JUDGE = "second"
"""Folder of the second judge in a study's."""
SECOND_SOURCE = SourceName("more-crafts")
"""Name of the other query source, where queries are split."""
CONTROLS = SourceName("open-crafts")
"""Name of the source of benign controls, where there are some."""
_SECRET = bytes(32)
"""Of a run: the same every time, so that receipts have the same digest and audits the same
draws."""


@dataclass(frozen=True)
class Shape:
    """How large an evaluation is."""

    experiments: tuple[dict[str, Any], ...]
    """As in a plan file; the baseline is added."""
    queries: int = _ALL_QUERIES
    """Number of queries, from all crafts alike; divides 240."""
    controls: int = 0
    """Number of benign controls, from all crafts alike; divides 120; 0: none."""
    split: bool = False
    """Whether every other query comes from a source of its own."""
    second: bool = False
    """Whether a classifier gives a second opinion."""


MIDDLE = Shape(
    (
        {"fixed_harmful": {"harmful": [0, 4, 16], "benign": [0, 16]}},
        {"orderings": {"harmful": 8, "benign": 8, "rules": ["prefix", "suffix", "random"]}},
    )
)
"""The demonstration's plan without benign controls and the second benign source: 9 conditions
of 240 points."""
SMALL_EXPERIMENTS = ({"fixed_harmful": {"harmful": [0, 4], "benign": [0]}},)
SMALL = Shape(SMALL_EXPERIMENTS, queries=120)
"""2 conditions of 120 points."""
WHOLE = Shape(SMALL_EXPERIMENTS, queries=240, controls=120, split=True, second=True)
"""2 conditions of 240 points from two sources, and of 120 benign controls, judged twice."""
WHOLE_TINY = Shape(SMALL_EXPERIMENTS, queries=48, controls=24, split=True, second=True)
"""The same with 48 points from two sources and 24 benign controls."""
TINY = Shape(({"fixed_harmful": {"harmful": [0, 2], "benign": [0]}},), queries=24)
"""2 conditions of 24 points."""


def write_study(folder: Path, shape: Shape, dtype: Dtype = Dtype.FLOAT32) -> Path:
    """Write the demonstration's study, in another size, and return its plan file."""
    path = write_preset(folder, "demo")
    document = yaml.safe_load(path.read_text("utf-8"))
    document["checkpoint"]["dtype"] = dtype.value
    harmful, controls = document["queries"]
    document["queries"] = [harmful]
    data = folder / "data"
    lines = _thin(data / "queries.jsonl", shape.queries, _ALL_QUERIES)
    if shape.split:
        other = {**deepcopy(harmful), "name": SECOND_SOURCE, "path": "data/more.jsonl"}
        document["queries"].append(other)
        (data / "queries.jsonl").write_text("".join(lines[::2]), "utf-8")
        (data / "more.jsonl").write_text("".join(lines[1::2]), "utf-8")
    if shape.controls:
        document["queries"].append(controls)
        _thin(data / "controls.jsonl", shape.controls, _ALL_CONTROLS)
    if shape.second:
        write_classifier(folder / SECOND_JUDGE)
        document["judge"]["second"] = {"kind": "classifier", "path": SECOND_JUDGE, "threshold": 0}
    document["experiments"] = list(shape.experiments)
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return path


def write_classifier(folder: Path) -> None:
    """Write a tiny classifier with random weights, the same every time.

    It finds nearly all that it reads refusing: what it says is of no use, but that it says the same
    of the same text.
    """
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(member("diluting").folder / name, folder / name)
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    config = BertConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        id2label={0: "NORMAL", 1: "REJECTION"},
        label2id={"NORMAL": 0, "REJECTION": 1},
    )
    torch.manual_seed(3)
    BertForSequenceClassification(config).save_pretrained(folder)


def _thin(path: Path, wanted: int, rows: int) -> list[str]:
    """Keep some rows of a corpus, evenly, and return them."""
    lines = path.read_text("utf-8").splitlines(keepends=True)[:: rows // wanted]
    path.write_text("".join(lines), "utf-8")
    return lines


class Subject:
    """A study, its sealed plan, and its evaluator.

    Args:
        folder: Gets the study, and the evaluator's key as ``evaluator`` and ``evaluator.pub``.
        shape: The study's size.
        dtype: Number format that the plan names.
    """

    def __init__(self, folder: Path, shape: Shape, dtype: Dtype = Dtype.FLOAT32) -> None:
        self.folder = folder
        self.resolved: ResolvedPlan = resolve_plan(write_study(folder / "study", shape, dtype))
        self.signer: Signer = generate_key()
        write_key_pair(folder / "evaluator", self.signer)
        self.envelope: Envelope = seal_plan(self.plan, self.signer)
        self.seed: Sha256 = event_seed(self.envelope.digest, None)
        self.renderer = Renderer(self.plan, self.resolved.artifacts.texts, self.seed)
        self.judge = load_judge(self.plan.judge, None)
        second = self.plan.judge.second
        self.second: ResponseJudge | None = None
        """The second judge; None: there is none."""
        if second is not None:
            place = self.resolved.artifacts.second_judge_folder
            self.second = load_judge(second, place, device="cpu", memory=MEMORY)
        self.reader = reader_of(self.resolved.artifacts.texts.chat, self.plan)

    def under(self, plan: PlanPredicate) -> Subject:
        """Return the study under another plan, sealed as if it were its own."""
        return self.resolved_as(replace(self.resolved, predicate=plan))

    def resolved_as(self, resolved: ResolvedPlan) -> Subject:
        """Return the study resolved otherwise, sealed as if it were its own."""
        other = copy(self)
        other.resolved = resolved
        other.envelope = seal_plan(other.plan, self.signer)
        other.seed = event_seed(other.envelope.digest, None)
        other.renderer = Renderer(other.plan, resolved.artifacts.texts, other.seed)
        return other

    @property
    def plan(self) -> PlanPredicate:
        """The plan."""
        return self.resolved.predicate

    def model(self, folder: Path | None = None, dtype: Dtype = Dtype.FLOAT32) -> LoadedModel:
        """Load the checkpoint, or another one, on the processor."""
        return load_model(
            folder or self.resolved.artifacts.checkpoint.folder, dtype=dtype, device="cpu"
        )

    def engine(self, model: LoadedModel | None = None, **settings: Any) -> TransformersEngine:
        """Return an engine of the checkpoint in fp32, or of another model."""
        return TransformersEngine(model or self.model(), memory=MEMORY, **settings)

    def stack(self, engine: Engine) -> RunStack:
        """Return what a run or a replay is made with."""
        return RunStack(engine, self.judge, self.second, self.reader)

    def generate(self, engine: Engine, renderer: Renderer | None = None) -> list[Entry]:
        """Answer and judge every point, in plan order."""
        run = run_of(self.resolved, self.stack(engine), _SECRET, self.seed)
        points = render_points(renderer or self.renderer, range(self.plan.points))
        entries = [(e.point, e.record) for unit in run.finished(points) for e in unit]
        return sorted(entries, key=lambda entry: entry[0].index)

    def replayer(
        self,
        engine: Engine,
        plausibility: Plausibility,
        reference: Callable[[], Engine] | None = None,
    ) -> Replayer:
        """Return what replays points.

        Args:
            engine: The auditor's.
            plausibility: What is plausible.
            reference: Gives an engine in fp32, where the auditor's is not.
        """
        criteria = ReplayCriteria(plausibility, reference=reference)
        texts = ResponseDecoder(self.plan, self.resolved.artifacts)
        return Replayer(self.plan, self.seed, self.renderer, texts, self.stack(engine), criteria)

    def seal(self, folder: Path, entries: Sequence[Entry], engine: Engine) -> None:
        """Seal points without a single check: counts, root and rates fit all the same.

        Args:
            folder: The bundle; made if it does not exist.
            entries: All points in plan order; each commitment is the evidence line's.
            engine: The engine that the receipt names.
        """
        writer, root = BundleWriter(folder), RootAccumulator()
        writer.write_plan(self.envelope)
        with writer.evidence(public=True) as sink:
            for point, record in entries:
                root.append(sink.append(point, record))
        statement = evaluation_statement(
            self.plan,
            plan_digest=self.envelope.digest,
            observations=observe((point for point, _ in entries), self.plan),
            root=root,
            event=EVENT,
            environment=environment_of(engine.identity, self.plan, MEMORY),
            judge_agreement=self.agreement(entries),
        )
        writer.write_receipt(sign(statement.to_wire(), self.signer))

    def agreement(self, entries: Sequence[Entry]) -> JudgeAgreement | None:
        """Return how often both judges agree; None: there is one judge alone."""
        if self.second is None:
            return None
        counter = AgreementCounter()
        for _, record in entries:
            counter.add(record)
        return counter.result()

    def counts(self, entries: Sequence[Entry]) -> dict[ConditionId, Counts]:
        """Return the counts of every condition."""
        return {one.id: one.counts for one in self.results(entries)}

    def results(self, entries: Sequence[Entry]) -> tuple[ConditionResult, ...]:
        """Return what a receipt would say of every condition."""
        return condition_results(observe((point for point, _ in entries), self.plan))
