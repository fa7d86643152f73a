"""Audited studies: small events of the embedded organism, and what an auditor makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from dishonest import Pair
from running import Faulty, run

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, decimal_string
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key, write_key_pair
from safety_receipts.receipts.model.calibration import (
    Alternative,
    CalibratedStack,
    CalibrationPredicate,
    LengthBin,
)
from safety_receipts.receipts.model.checkpoint import Dtype, Sampling, SamplingMethod
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, RestrictedRecord
from safety_receipts.runner.commands.init import write_preset
from safety_receipts.runner.engines.engine import GREEDY as GREEDY_DECODING
from safety_receipts.runner.engines.engine import Decoding, Engine, Margins, Request
from safety_receipts.runner.judges.judge import ResponseJudge
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.stack import load_stack
from safety_receipts.verify.audit.replay import Entry, ReplayCriteria, Replayer
from safety_receipts.verify.audit.session import AuditSubject, open_case

MEMORY = 2**26
SEEDED = "{method: seeded, temperature: 1.0, max_new_tokens: 24}"
GREEDY = "{method: greedy, max_new_tokens: 24}"


def write_organism(
    folder: Path,
    *,
    queries: int,
    controls: int = 4,
    sampling: str = SEEDED,
    experiment: str = "fixed_harmful: {harmful: [0, 4], benign: [0]}",
    member: str = "diluting",
) -> Path:
    """Write a study of the embedded organism, smaller than the demonstration's.

    Args:
        folder: Made if it does not exist.
        queries: Number of harmful-role queries, of all crafts alike; divides 240.
        controls: Number of benign controls; divides 120.
        sampling: Of the plan.
        experiment: The only one, beside the baseline.
        member: Which organism; ``amplifying`` complies with more than half after many benign
            demonstrations, so that it complies greedily, too.
    """
    plan = write_preset(folder, "demo", member)
    for name, rows, wanted in (("queries", 240, queries), ("controls", 120, controls)):
        path = folder / "data" / f"{name}.jsonl"
        lines = path.read_text("utf-8").splitlines(keepends=True)
        assert (len(lines), rows % wanted) == (rows, 0)
        path.write_text("".join(lines[:: rows // wanted]), "utf-8")
    text = plan.read_text("utf-8")
    head, _, rest = text.partition("experiments:")
    _, _, tail = rest.partition("effect_margin:")
    assert head.count(SEEDED) == 1
    head = head.replace(SEEDED, sampling)
    plan.write_text(f"{head}experiments:\n  - {experiment}\neffect_margin:{tail}", "utf-8")
    return plan


@dataclass(frozen=True)
class Event:
    """A sealed event with everything it was made of."""

    folder: Path
    signer: Signer
    """The evaluator."""
    resolved: ResolvedPlan

    @property
    def key(self) -> Path:
        """The evaluator's public key."""
        return self.folder / "evaluator.pub"

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.folder / "bundle"

    @property
    def study(self) -> Path:
        """The folder that the plan file lies in."""
        return self.resolved.file.parent

    @property
    def plan(self) -> PlanPredicate:
        """What was sealed."""
        return self.resolved.predicate

    def subject(self, bundle: Path | None = None) -> AuditSubject:
        """Return what an audit needs of the bundle, or of a copy of it."""
        return open_case(Bundle(bundle or self.bundle), self.resolved)

    def entries(self) -> list[Pair]:
        """Return all points with their records."""
        opened = Bundle(self.bundle)
        return list(zip(opened.points(), opened.responses(), strict=True))

    def copy(self, folder: Path) -> Path:
        """Copy the bundle, without audits."""
        return Path(shutil.copytree(self.bundle, folder))


def make_event(folder: Path, **study: Any) -> Event:
    """Write a study into a folder, and run it there."""
    return run_event(write_organism(folder / "study", **study), folder)


def run_event(plan: Path, folder: Path) -> Event:
    """Run a plan file into a folder's bundle, and keep the evaluator's key beside it."""
    folder.mkdir(exist_ok=True)
    resolved, signer = resolve_plan(plan), generate_key()
    write_key_pair(folder / "evaluator", signer, None)
    run(resolved, folder / "bundle", signer)
    return Event(folder, signer, resolved)


class FaultyScores(Faulty):
    """An engine in whose margins a test can put faults, and that counts how often it scores."""

    def __init__(self, engine: Engine, fault: Callable[[Margins], Margins | None]) -> None:
        super().__init__(engine, lambda completion: completion)
        self._margins_fault = fault
        self.scored = 0

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY_DECODING,
    ) -> Iterator[Margins]:
        """Yield changed margins; those that the fault makes None are left out."""
        self.scored += 1
        for margins in super().score(requests, decoding):
            changed = self._margins_fault(margins)
            if changed is not None:
                yield changed


def loaded_stack(
    resolved: ResolvedPlan,
    *,
    engine: Callable[[Engine], Engine] = lambda engine: engine,
    judge: Callable[[ResponseJudge], ResponseJudge] = lambda judge: judge,
    **settings: Any,
) -> LoadedStack:
    """Load an auditor's stack on the CPU, with what a test puts around engine and judge."""
    loaded = load_stack(resolved, device="cpu", memory=MEMORY, **settings)
    stack = replace(
        loaded.stack, engine=engine(loaded.stack.engine), judge=judge(loaded.stack.judge)
    )
    return replace(loaded, stack=stack)


def replayer(
    subject: AuditSubject, loaded: LoadedStack, criteria: ReplayCriteria | None = None
) -> Replayer:
    """Return what replays a case's points, held to stated limits unless told otherwise."""
    made = subject.replayer(loaded.stack, None)
    return made if criteria is None else replace(made, criteria=criteria)


def reworded(entry: Entry, tokens: Sequence[int], text: str, **changes: Any) -> Entry:
    """Return a point as an evaluator would seal it who claims another response.

    Finish, counts and commitment fit; the outcome stays unless ``changes`` says otherwise.

    Args:
        entry: The honest point.
        tokens: The claimed response.
        text: Its text.
        changes: Further fields of both, ``outcome``, ``prompt``, …
    """
    point, record = entry
    both = {key: value for key, value in changes.items() if key in Point.model_fields}
    own = {key: value for key, value in changes.items() if key in RestrictedRecord.model_fields}
    judge = record.judge
    if judge is not None and "outcome" in changes:
        judge = judge.model_copy(update={"outcome": changes["outcome"]})
    record = record.model_copy(
        update={"response_tokens": tuple(tokens), "text": text, "judge": judge, **own}
    )
    point = point.model_copy(
        update={
            "commitment": record.commitment(),
            "response_tokens": len(tokens),
            **both,
        }
    )
    return point, record


def ending(plan: PlanPredicate, tokens: Sequence[int]) -> Finish:
    """Return how a response says that it ended."""
    return Finish.STOP if tokens[-1] in plan.sampling.end_tokens else Finish.LENGTH


def refusals(entries: Sequence[Entry], *, source: str = "sealed-crafts") -> list[Entry]:
    """Return the recorded refusals of a query source."""
    return [
        entry
        for entry in entries
        if entry[0].outcome is Outcome.REFUSED and entry[0].source == source
    ]


def trust(*signers: Signer) -> TrustSet:
    """Return a trust set."""
    return TrustSet([signer.public for signer in signers])


def calibration(
    bins: Sequence[LengthBin], alternatives: Sequence[Alternative] = ()
) -> CalibrationPredicate:
    """Return a calibration that says nothing but its bins."""
    stack = CalibratedStack(
        name="shared prefixes",
        dtype=Dtype.FLOAT32,
        device="cpu",
        attention=None,
        torch=None,
        transformers=None,
        branched=0,
        flipped=0,
        largest="0.000000",
    )
    return CalibrationPredicate(
        auditor=None,
        made_at="2026-02-01T00:00:00Z",
        tool="test",
        checkpoint=Sha256("a" * 64),
        chat_template=Sha256("b" * 64),
        sampling=Sampling(
            method=SamplingMethod.GREEDY,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=8,
            end_tokens=(2,),
            noise=None,
        ),
        judge=Sha256("c" * 64),
        responses=sum(len(each.largest) for each in bins),
        clip="1.000000",
        reference=stack,
        stacks=(stack,),
        bins=tuple(bins),
        clipped=tuple(score for each in bins for score in each.clipped),
        tokens=(4,) * sum(len(each.largest) for each in bins),
        branch_flip_rate="0.000000",
        ambiguity_rate="0.000000",
        judge_band=None,
        alternatives=tuple(alternatives),
    )


def scores(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(decimal_string(Fraction(value), 6) for value in sorted(values))
