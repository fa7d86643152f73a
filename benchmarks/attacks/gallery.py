"""Every record that is audited: changed ones, other models', and honest ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from attacks import records, swaps
from attacks.audits import (
    Audits,
    Challenges,
    Record,
    Terms,
    agree,
    conduct_audits,
    replay,
    simulate,
    twice_judged,
)
from attacks.subject import (
    CONTROLS,
    MEMORY,
    MIDDLE,
    SECOND_SOURCE,
    TINY,
    WHOLE,
    WHOLE_TINY,
    Subject,
)
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.verify.audit.calibrate import Calibrator, DeviceFormat
from safety_receipts.verify.audit.replay import Entry, Replayer
from safety_receipts.verify.audit.session import AuditorCalibration
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

EPSILON = 0.05
CHECKED = 2
"""Audits of each record that are run through ``verify/audit/run.py``, too."""
_SAMPLE = 200
"""Points whose prompts and texts are made again before a record is audited."""


@dataclass(frozen=True)
class Event:
    """A study, and its honest points."""

    subject: Subject
    engine: Engine
    """The evaluator's."""
    honest: list[Entry]


@dataclass(frozen=True)
class Row:
    """One record, replayed."""

    name: str
    record: Record
    terms: Terms
    """Without calibration."""
    event: Event
    """What was evaluated."""
    by_rule: bool = True
    """Whether the judge's rule stands; else labels are false as a model judge's would be, and
    level bound of this study, whose judge is a rule, fails for them."""


class Gallery:
    """One study, its honest record, and everything done to it.

    Args:
        folder: For the study and the sealed records.
        tiny: Whether to make do with a small study.
    """

    def __init__(self, folder: Path, *, tiny: bool) -> None:
        self.folder = folder
        self._shape = TINY if tiny else MIDDLE
        self.subject = Subject(folder / "float32", self._shape)
        self.engine = self.subject.engine()
        self.honest = self.subject.generate(self.engine)
        self.event = Event(self.subject, self.engine, self.honest)
        self.terms = Terms()
        self._replayer = self.subject.replayer(self.engine, self.terms.limits)
        self.same = replay(self._replayer, self.honest)
        self._coarse: tuple[Replayer, Record] | None = None
        self._parts: tuple[Event, Replayer, Record] | None = None
        self._whole = WHOLE_TINY if tiny else WHOLE

    def rows(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield groups of records with their titles."""
        yield "changed records", list(self._changed())
        yield "other models", list(self._swapped())
        yield "honest", list(self._honest())

    def _changed(self) -> Iterator[Row]:
        subject, honest = self.subject, self.honest
        for times, name in ((0.5, "ε / 2"), (0.9, ".9 ε"), (1.0, "ε"), (2.0, "2 ε")):
            where = records.target(subject, honest, times * EPSILON, up=times >= 1)
            flipped = records.flipped(subject, honest, where)
            yield _by_a_model(self._row(f"labels flipped, {name}", flipped))
        where = records.target(subject, honest, 2 * EPSILON)
        yield self._row("labels flipped, 2 ε, the judge a rule", flipped)
        lax = records.laxly_judged(subject, honest, where)
        yield _by_a_model(self._row("laxer judge, 2 ε or more", lax))
        yield from self._of_parts()
        for name, attack in (
            ("responses replaced by refusals, 2 ε", records.edited),
            ("refusals of one word, stopped early, 2 ε", records.stopped_early),
            ("responses emptied, 2 ε", records.emptied),
            ("called failed, 2 ε", records.failed),
        ):
            yield self._row(name, attack(subject, honest, where))
        unscored = records.unscored(subject, honest, where)
        yield _by_a_model(self._row("called unscored, 2 ε", unscored))
        steered = records.steered(subject, self.engine, honest, where.condition)
        yield self._row("steered at near ties", steered)
        yield self._in_bf16("steered at near ties, audited in bf16", steered)

    def _of_parts(self) -> Iterator[Row]:
        """Yield records whose conditions' rates hardly change, or not at all."""
        event, replayer, same = self._parts = self._parts or self._make_parts()
        for name, source in (
            ("labels of one of two sources flipped, 2 ε of it", SECOND_SOURCE),
            ("labels of benign controls flipped, 2 ε of them", CONTROLS),
        ):
            where = records.part(event.honest, 2 * EPSILON, source)
            entries = records.flipped(event.subject, event.honest, where)
            row = Row(name, replay(replayer, entries, same), self.terms, event)
            yield _by_a_model(row)
        entries = records.agreed(event.honest, 2 * EPSILON)
        changed = replay(replayer, entries, same)
        yield Row("a second judge's labels flipped, 2 ε of them", changed, self.terms, event)

    def _make_parts(self) -> tuple[Event, Replayer, Record]:
        subject = Subject(self.folder / "parts", self._whole)
        engine = subject.engine()
        event = Event(subject, engine, subject.generate(engine))
        replayer = subject.replayer(engine, self.terms.limits)
        return event, replayer, twice_judged(subject, replay(replayer, event.honest))

    def _swapped(self) -> Iterator[Row]:
        subject = self.subject
        steps = swaps.FINE_TUNING_STEPS
        makers: tuple[tuple[str, LoadedModel], ...] = (
            ("another stage: neutral", swaps.another_stage(subject, "neutral")),
            ("another stage: amplifying", swaps.another_stage(subject, "amplifying")),
            (f"{steps} steps on refusals", swaps.fine_tuned(subject, "refusals")),
            (f"{steps} steps on small talk", swaps.fine_tuned(subject, "filler")),
            ("weights rounded to 8 bits", swaps.rounded(subject, 8)),
            ("weights rounded to 4 bits", swaps.rounded(subject, 4)),
        )
        for name, model in makers:
            entries = subject.generate(subject.engine(model))
            yield Row(name, replay(self._replayer, entries), self.terms, self.event)

    def _honest(self) -> Iterator[Row]:
        subject = self.subject
        yield Row("same stack", self.same, self.terms, self.event)
        event, _, same = self._parts = self._parts or self._make_parts()
        yield Row("two sources and benign controls", same, self.terms, event)
        model = subject.model()
        for name, engine in (
            ("batches of 32 rows", subject.engine(model, max_rows=32)),
            ("plain batches", subject.engine(model, shared=False)),
            ("written-out attention", subject.engine(model, kernels=(Kernel.MATH,))),
        ):
            found = replay(subject.replayer(engine, self.terms.limits), self.honest)
            yield Row(name, found, self.terms, self.event)
        yield self._in_bf16("fp32 audited in bf16", self.honest)
        terms, coarse = Terms(evaluator=Dtype.BFLOAT16), Dtype.BFLOAT16
        subject = Subject(self.folder / "bfloat16", self._shape, coarse)
        engine = subject.engine(subject.model(dtype=coarse))
        event = Event(subject, engine, subject.generate(engine))
        found = replay(subject.replayer(self.engine, terms.limits), event.honest)
        yield Row("bf16 audited in fp32", found, terms, event)

    def _row(self, name: str, entries: list[Entry]) -> Row:
        found = replay(self._replayer, entries, self.same)
        return Row(name, found, self.terms, self.event)

    def _in_bf16(self, name: str, entries: list[Entry]) -> Row:
        terms = Terms(auditor=Dtype.BFLOAT16)
        if self._coarse is None:
            engine = self.subject.engine(self.subject.model(dtype=Dtype.BFLOAT16))
            replayer = self.subject.replayer(engine, terms.limits, lambda: self.engine)
            self._coarse = replayer, replay(replayer, self.honest)
        return Row(name, replay(self._coarse[0], entries, self._coarse[1]), terms, self.event)

    def calibrate(self) -> AuditorCalibration:
        """Calibrate on the study's own plan, in fp32 and bf16."""
        places = [DeviceFormat(Dtype.FLOAT32, "cpu"), DeviceFormat(Dtype.BFLOAT16, "cpu")]
        made = Calibrator(self.subject.resolved, places, memory=MEMORY).calibrate(
            None, lambda _, __: None
        )
        auditor = generate_key()
        return AuditorCalibration(sign(made.to_wire(), auditor).digest, made.predicate)

    def understated(self, row: Row) -> float:
        """Return by how much the worst condition's rate is understated."""
        subject = row.event.subject
        true, stated = subject.counts(row.event.honest), subject.counts(row.record.entries)
        return max(
            true[one].complied / true[one].planned
            - stated[one].complied / (stated[one].complied + stated[one].refused)
            for one in true
        )

    def changed(self, row: Row) -> int:
        """Return how many points say another outcome or response than the honest ones."""
        said = [(p.outcome, r.response_tokens) for p, r in row.event.honest]
        return sum(
            (p.outcome, r.response_tokens) != one
            for (p, r), one in zip(row.record.entries, said, strict=True)
        )

    def check(self, row: Row, number: int, repeats: int) -> Audits:
        """Audit a record by stated limits, sealed, and hold the simulation to real audits.

        Raises:
            IncompleteError: Verification stops the record, or simulation and audit disagree.
        """
        bundle, subject = self.folder / f"record-{number}", row.event.subject
        subject.seal(bundle, row.record.entries, row.event.engine)
        trust = TrustSet([subject.signer.public])
        held_artifacts = HeldArtifacts(subject.resolved, points=_SAMPLE)
        found = verify_bundle(Bundle(bundle), evaluators=trust, held_artifacts=held_artifacts)
        failed = [c.name for c in found.checks if c.status is CheckStatus.FAILED]
        # What a rule says of labels is known before any audit.
        false_labels = any(one.ruled_out for one in row.record.replayed.values())
        may_fail = ["labels"] if false_labels or not row.by_rule else []
        if [name for name in failed if name not in may_fail] or (false_labels and not failed):
            raise IncompleteError(f"{row.name}: stopped by {failed} before any audit")
        nonces = [f"{one:064x}" for one in range(CHECKED)]
        known = Challenges(Bundle(bundle).receipt_envelope.digest, nonces)
        audits = simulate(subject, row.record, row.terms, repeats, known)
        real = conduct_audits(subject, bundle, row.record, row.terms, nonces)
        for place, end in enumerate(real):
            simulated = audits.each[place], audits.draws[place]
            if not agree(simulated, end):
                raise IncompleteError(f"{row.name}: simulated {simulated}, audited {end}")
        return audits


def _by_a_model(row: Row) -> Row:
    """Return a row as if its judge were a model: no label is a proof."""
    name = f"{row.name}, the judge a model"
    return replace(row, name=name, record=row.record.by_a_model(), by_rule=False)
