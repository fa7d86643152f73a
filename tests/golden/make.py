"""Makes the golden bundles of this version: ``python tests/golden/make.py``.

A golden bundle is frozen: once a version is released, its folder is verified for ever and
never written again.  The keys are derived from public strings, so that tests can play a
dishonest evaluator; they protect nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safety_receipts.receipts.canonical import sha256_hex
from safety_receipts.receipts.events.grid import (
    condition_id,
    default_context,
    distinct_lists,
    fixed_labels,
)
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    DemonstrationKind,
    Experiment,
    ExperimentKind,
    Ordering,
    PlannedCondition,
    ShownContext,
)
from safety_receipts.receipts.model.judge import (
    GoldKind,
    JudgeCalibration,
    JudgeIdentity,
    JudgeKind,
    StratumCalibration,
    judge_digest,
)
from safety_receipts.receipts.model.plan import BeaconRound, EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.receipt import BeaconValue
from safety_receipts.receipts.seal import seal_event, seal_plan
from safety_receipts.verify.selfcheck.selftest import SHORT_MATRIX

HERE = Path(__file__).parent
VERSION = "0.1"

EVALUATOR = Signer(
    Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"golden evaluator").digest())
)
EVALUATOR_P256 = Signer(ec.derive_private_key(int.from_bytes(b"golden evaluator"), ec.SECP256R1()))

POLICY = ShownContext(
    form=ContextForm.POLICY,
    role="system",
    template=sha256_hex(b"policy template"),
    gap_turns=0,
    gap_source=None,
    n_refusal=2,
)
PREFIX = "Answer:"
BEACON = BeaconValue(chain="drand-quicknet", round=12345678, value=sha256_hex(b"beacon"))


def _condition(
    n_harmful: int,
    n_benign: int,
    ordering: Ordering | None = None,
    *,
    source: SourceName | None = None,
    prefix: str | None = None,
    context: ShownContext | None = None,
) -> PlannedCondition:
    shown = context or default_context()
    return PlannedCondition(
        id=condition_id(
            n_harmful,
            n_benign,
            ordering,
            benign_source=source,
            prefix_number=1 if prefix else None,
            context=context.form if context else None,
        ),
        n_harmful=n_harmful,
        n_benign=n_benign,
        ordering=ordering,
        labels=fixed_labels(ordering, n_harmful, n_benign, shown.n_refusal),
        benign_source=(source or SourceName("benign-proxy")) if n_benign else None,
        response_prefix=prefix,
        context=shown,
    )


def rich_plan() -> PlanPredicate:
    """Return a plan in which no optional field is null."""
    base = synthetic_plan([Mixture(0, 0, None)], {"alpha": 5, "beta": 4}, controls={"control": 3})
    other = SourceName("other-proxy")
    suffix = Ordering.SUFFIX
    conditions = (
        _condition(0, 0),
        _condition(0, 4),
        _condition(4, 0),
        *(_condition(2, 3, ordering) for ordering in Ordering),
        _condition(2, 2, suffix, source=other),
        _condition(2, 2, suffix, prefix=PREFIX),
        _condition(2, 2, suffix, context=POLICY),
    )
    ids = {condition.id: condition for condition in conditions}
    benign = base.demonstrations.benign[0]
    demonstrations = base.demonstrations.model_copy(
        update={
            "benign": (
                benign.model_copy(update={"hub": "example/benign", "revision": "c0ffee"}),
                benign.model_copy(update={"name": other}),
            ),
            "refusal": benign.model_copy(
                update={"name": SourceName("refusals"), "kind": DemonstrationKind.REFUSAL}
            ),
            "draw_block": 2,
        }
    )
    plan = base.model_copy(
        update={
            "conditions": conditions,
            "contexts": (default_context(), POLICY),
            "response_prefixes": (PREFIX,),
            "demonstrations": demonstrations,
            "experiments": (
                Experiment(
                    kind=ExperimentKind.SWEEP,
                    conditions=tuple(i for i, c in ids.items() if not (c.n_harmful and c.n_benign)),
                ),
                Experiment(
                    kind=ExperimentKind.ORDERINGS,
                    conditions=tuple(i for i, c in ids.items() if c.n_harmful and c.n_benign),
                ),
            ),
            "judge": base.judge.model_copy(
                update={"calibration": _calibration(), "second": _second_judge()}
            ),
            "beacon": BeaconRound(chain=BEACON.chain, round=BEACON.round),
            "prompt": base.prompt.model_copy(
                update={
                    "system_prompt": sha256_hex(b"system prompt"),
                    "template_options": {"reasoning_effort": "low", "enable_thinking": False},
                    "judged_channel": "final",
                }
            ),
            "points": len(conditions) * 12 * 2,
            "evidence_access": EvidenceAccess.AUDITORS,
        }
    )
    lists = demonstrations.model_copy(update={"distinct_lists": distinct_lists(plan)})
    return plan.model_copy(update={"demonstrations": lists})


def _calibration() -> JudgeCalibration:
    judge = synthetic_plan([Mixture(0, 0, None)], {"alpha": 1}).judge
    strata = (
        StratumCalibration(
            stratum="long responses",
            positives=120,
            true_positives=118,
            negatives=60,
            true_negatives=58,
            sensitivity="0.983333",
            sensitivity_interval=wilson(118, 120),
            specificity="0.966667",
            specificity_interval=wilson(58, 60),
            unscored=1,
        ),
        StratumCalibration(
            stratum="short responses",
            positives=80,
            true_positives=72,
            negatives=40,
            true_negatives=37,
            sensitivity="0.900000",
            sensitivity_interval=wilson(72, 80),
            specificity="0.925000",
            specificity_interval=wilson(37, 40),
            unscored=2,
        ),
    )
    return JudgeCalibration(
        judge=judge.digest,
        gold=sha256_hex(b"gold"),
        gold_kind=GoldKind.GENERAL,
        positives=200,
        true_positives=190,
        negatives=100,
        true_negatives=95,
        sensitivity="0.950000",
        sensitivity_interval=wilson(190, 200),
        specificity="0.950000",
        specificity_interval=wilson(95, 100),
        unscored=3,
        strata=strata,
    )


def _second_judge() -> JudgeIdentity:
    judge = JudgeIdentity(
        kind=JudgeKind.CLASSIFIER,
        name="second coin",
        hub="example/judge",
        revision="c0ffee",
        digest=sha256_hex(b"second judge"),
        weights=sha256_hex(b"second judge's weights"),
        template=sha256_hex(b"second judge's template"),
        parser="argmax/1",
        threshold="0.5",
        max_new_tokens=1,
        remote=False,
    )
    return judge.model_copy(update={"digest": judge_digest(judge)})


def seal_rich(folder: Path, signer: Signer) -> None:
    """Seal an event for the rich plan into ``folder``."""
    plan = rich_plan()
    envelope = seal_plan(plan, signer)
    seal_event(
        folder,
        plan_envelope=envelope,
        points=synthetic_points(plan, envelope.digest, BEACON.value),
        event=EVENT.model_copy(update={"beacon": BEACON, "restarts": 1, "looks": 2}),
        environment=ENVIRONMENT.model_copy(update={"packages": {"numpy": "2.0.0"}}),
        signer=signer,
        findings=derive,
    )


def main() -> None:
    """Write all golden bundles of this version."""
    target = HERE / VERSION
    shutil.rmtree(target, ignore_errors=True)
    for name, signer in (("ed25519", EVALUATOR), ("p256", EVALUATOR_P256)):
        seal_rich(target / "good" / name, signer)
        (target / f"{name}.pub").write_bytes(signer.public.pem())
    published = target / "good" / "published"
    published.mkdir()
    for file in ("plan.dsse.json", "receipt.dsse.json"):
        shutil.copy(target / "good" / "ed25519" / file, published / file)
    for tampering in SHORT_MATRIX:
        folder = target / "bad" / tampering.name.replace(" ", "-")
        seal_rich(folder, EVALUATOR)
        tampering.edit(folder, EVALUATOR)
        (folder / "expected.json").write_text(json.dumps({"failed": tampering.caught_by}) + "\n")


if __name__ == "__main__":
    main()
