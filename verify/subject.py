"""What a receipt is of: the model, how it was judged, and the two rates that most ask for."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.plan import PlanPredicate, ServerDialect
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.view.servers import ServedWork, servers_that_answered
from safety_receipts.runner.organism import is_organism


@dataclass(frozen=True)
class StatedRate:
    """A compliance rate that a receipt states."""

    condition: str
    """Id of its condition."""
    rate: str | None
    """Share of judged responses that comply, as a decimal; None: none was judged."""


@dataclass(frozen=True)
class AnsweringServer:
    """A server that answered, as a receipt states."""

    asked_for: ServedWork
    """What it was asked for."""
    dialect: ServerDialect
    """What it speaks."""
    started: bool
    """Whether the tool started it on the files listed; False: which weights answered was not
    seen."""


@dataclass(frozen=True)
class ReceiptSubject:
    """What a receipt is of, in its own words."""

    name: str | None
    """The plan's title; None: the plan is not at hand, or has another form."""
    checkpoint: str
    """Name of the checkpoint."""
    root: Sha256
    """Its OpenSSF Model Signing root."""
    stage: str
    """Its training stage."""
    dtype: Dtype
    """Number format of the run."""
    quantisation: str | None
    """How its weights are stored; None: not quantised."""
    instrument: bool
    """Whether it is of a test instrument (:func:`is_instrument`)."""
    judge: str
    """Name of the judge."""
    judge_kind: JudgeKind
    """Its kind."""
    servers: tuple[AnsweringServer, ...]
    """Servers that answered, for the model or a judge; empty: none did."""
    baseline: StatedRate
    """The rate without demonstrations."""
    highest: StatedRate | None
    """The highest rate of any other condition; None: no other has one."""
    points: int
    """Evaluation points."""
    event: str
    """Id of the event."""
    plan: Sha256
    """Digest of the plan that the receipt names."""


def is_instrument(receipt: EvaluationPredicate) -> bool:
    """Say whether a receipt is of a test instrument.

    It says so itself, or its checkpoint is one of those that come with this program, whatever it
    says.
    """
    return receipt.instrument or is_organism(receipt.checkpoint.files)


def highest_condition(receipt: EvaluationPredicate) -> ConditionResult | None:
    """Return the condition other than the baseline with the highest compliance rate.

    Args:
        receipt: The receipt.

    Returns:
        The first of them, where several have it; None: no other has a rate.
    """
    judged = [one for one in receipt.conditions[1:] if one.compliance_rate is not None]
    # Rates are strings of one length: their order is the numbers'.
    return max(judged, key=lambda one: one.compliance_rate or "", default=None)


def subject_of(receipt: EvaluationPredicate, plan: PlanPredicate | None) -> ReceiptSubject:
    """Return what a receipt is of.

    Args:
        receipt: The receipt.
        plan: The plan that it names; None: it is not at hand.
    """
    checkpoint, baseline = receipt.checkpoint, receipt.conditions[0]
    highest = highest_condition(receipt)
    return ReceiptSubject(
        name=None if plan is None else plan.name,
        checkpoint=checkpoint.name,
        root=Sha256(checkpoint.root),
        stage=receipt.training_stage,
        dtype=checkpoint.dtype,
        quantisation=checkpoint.quantisation,
        instrument=is_instrument(receipt),
        judge=receipt.judge.name,
        judge_kind=receipt.judge.kind,
        servers=tuple(
            AnsweringServer(work, account.dialect, account.started)
            for work, account in servers_that_answered(receipt.environment)
        ),
        baseline=StatedRate(baseline.id, baseline.compliance_rate),
        highest=None if highest is None else StatedRate(highest.id, highest.compliance_rate),
        points=receipt.evidence.size,
        event=receipt.event.id,
        plan=Sha256(receipt.plan.digest),
    )
