"""Sealed events with no model behind them.

For the self-test of ``receipts doctor``, benchmarks and documentation: the grid, the
points, the signatures and the proofs are real; the outcomes come from a hash.  Every such
receipt says so (``instrument: true``, engine ``mock``, checkpoint ``synthetic``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.canonical import Sha256, point_id, sha256_hex
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.events.grid import (
    blocks,
    condition_id,
    default_context,
    fixed_labels,
    planned_points,
    random_labels,
    seed_of,
    shows_draws,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.base import QueryId, SourceName
from safety_receipts.receipts.model.checkpoint import (
    Checkpoint,
    CheckpointFile,
    ContextOverflow,
    Dtype,
    Prompt,
    RootOrder,
    Sampling,
    SamplingMethod,
)
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    Demonstrations,
    DemonstrationSource,
    Experiment,
    ExperimentKind,
    Ordering,
    PlannedCondition,
    QueryRole,
    QuerySource,
    Truncation,
    TruncationScope,
    is_drawn,
)
from safety_receipts.receipts.model.judge import Judge, JudgeKind, judge_digest
from safety_receipts.receipts.model.plan import (
    EngineKind,
    EvidenceAccess,
    Hypothesis,
    PlanPredicate,
)
from safety_receipts.receipts.model.point import (
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
    point_salt,
)
from safety_receipts.receipts.model.receipt import Environment, Event
from safety_receipts.receipts.seal import seal_event, seal_plan

PAPER_TOTALS = (4, 8, 16, 32, 64, 128)
PAPER_QUARTERS = (0, 1, 2, 3, 4)
"""Harmful fractions of the main sweep, in quarters."""


EVENT = Event(
    id="synthetic",
    started_at="2026-01-01T00:00:00Z",
    finished_at="2026-01-01T00:01:00Z",
    restarts=0,
    retries=0,
    discarded=0,
    looks=0,
    beacon=None,
)
ENVIRONMENT = Environment(
    tool="safety-receipts synthetic",
    engine=EngineKind.MOCK,
    device="none",
    driver=None,
    platform="none",
    python="none",
    torch=None,
    transformers=None,
    attention=None,
    dtype=Dtype.FLOAT32,
    batch_rule="none",
    memory_class=None,
    packages={},
)


@dataclass(frozen=True)
class Mixture:
    """How many of each kind, and in which order (None: one kind only)."""

    n_harmful: int
    n_benign: int
    ordering: Ordering | None


def paper_sweep() -> list[Mixture]:
    """Return the 31 conditions of the paper's main sweep, baseline first."""
    mixtures = [Mixture(0, 0, None)]
    for total in PAPER_TOTALS:
        for quarters in PAPER_QUARTERS:
            harmful = total * quarters // 4
            both = 0 < harmful < total
            mixtures.append(Mixture(harmful, total - harmful, Ordering.SUFFIX if both else None))
    return mixtures


def synthetic_plan(
    mixtures: Sequence[Mixture],
    queries: dict[str, int],
    *,
    controls: dict[str, int] | None = None,
    draws: int = 2,
    evidence_access: EvidenceAccess = EvidenceAccess.PUBLIC,
) -> PlanPredicate:
    """Return a coherent plan for a checkpoint that does not exist.

    Args:
        mixtures: The conditions, baseline first.
        queries: Number of harmful-role queries by source.
        controls: Number of benign control queries by source.
        draws: Samplings per query.
        evidence_access: Who may hold per-point outcomes.
    """
    controls = controls or {}
    sources = [*queries.items(), *controls.items()]
    conditions = tuple(_condition(mixture) for mixture in mixtures)
    total_queries = sum(number for _, number in sources)
    return PlanPredicate(
        instrument=True,
        checkpoint=_checkpoint(),
        training_stage="none",
        prompt=_prompt(),
        sampling=_sampling(),
        queries=tuple(
            _query_source(name, number, QueryRole.HARMFUL) for name, number in queries.items()
        )
        + tuple(
            _query_source(name, number, QueryRole.BENIGN_CONTROL)
            for name, number in controls.items()
        ),
        demonstrations=_demonstrations(draws, lists=total_queries * draws),
        judge=_judge(),
        name="synthetic event: outcomes from a hash, no model",
        primary=Hypothesis.JOINT,
        effect_margin="0.05",
        evidence_access=evidence_access,
        engine=EngineKind.MOCK,
        batch_rule="none",
        beacon=None,
        query_ids=tuple(
            QueryId(f"{name}/{i:05d}") for name, number in sources for i in range(number)
        ),
        response_prefixes=(),
        contexts=(default_context(),),
        experiments=(
            Experiment(kind=ExperimentKind.SWEEP, conditions=tuple(c.id for c in conditions)),
        ),
        conditions=conditions,
        points=len(conditions) * total_queries * draws,
    )


def _prompt() -> Prompt:
    return Prompt(
        tokenizer=_digest("tokenizer"),
        chat_template=_digest("chat template"),
        rendering="none",
        system_prompt=None,
        date="2026-01-01",
        template_options={},
        judged_channel=None,
        context_limit=65_536,
        context_overflow=ContextOverflow.FAIL_POINT,
    )


def _sampling() -> Sampling:
    return Sampling(
        method=SamplingMethod.GREEDY,
        temperature=None,
        top_p=None,
        top_k=None,
        noise=None,
        max_new_tokens=4,
        end_tokens=(2,),
    )


def _demonstrations(draws: int, lists: int) -> Demonstrations:
    return Demonstrations(
        harmful=_pool("harmful-proxy", DemonstrationKind.HARMFUL),
        benign=(_pool("benign-proxy", DemonstrationKind.BENIGN),),
        refusal=None,
        selection="counter-hash/1",
        draws=draws,
        draw_block=1,
        distinct_lists=lists,
        truncation=Truncation(characters=2000, scope=TruncationScope.DEMONSTRATION),
    )


def synthetic_event(folder: Path, plan: PlanPredicate, signer: Signer) -> Envelope:
    """Seal an event for ``plan`` into ``folder`` and return the receipt's envelope."""
    envelope = seal_plan(plan, signer)
    return seal_event(
        folder,
        plan_envelope=envelope,
        points=synthetic_points(plan, envelope.digest),
        event=EVENT,
        environment=ENVIRONMENT,
        signer=signer,
    )


def synthetic_points(
    plan: PlanPredicate, plan_digest: Sha256, beacon_value: str | None = None
) -> Iterator[tuple[Point, RestrictedRecord]]:
    """Yield the points of ``plan`` in order, each with a record that opens its commitment.

    Outcomes are coin flips by hash: about 30 % comply, 1 % are unscored, 0.5 % fail.  Any
    coherent plan will do: prefixes are adopted by half, and a second judge disagrees with
    one point in eight.
    """
    seed = seed_of(plan, plan_digest, beacon_value)
    secret = hashlib.sha256(b"synthetic run secret").digest()
    block_of = blocks(plan)
    for index, (condition, place, query, draw) in enumerate(planned_points(plan)):
        labels = (
            random_labels(seed, condition, block_of[place], draw)
            if is_drawn(condition.ordering)
            else None
        )
        salt = point_salt(secret, plan_digest, point_id(condition.id, query, draw))
        coin, record = _record(plan, seed, (index, condition, query, draw), salt)
        adopted = condition.response_prefix is not None and record.outcome is not Outcome.FAILED
        point = Point(
            index=index,
            condition=condition.id,
            query=query,
            source=SourceName(query.partition("/")[0]),
            draw=draw,
            prompt_tokens=record.prompt_tokens,
            response_tokens=len(record.response_tokens),
            finish=record.finish,
            outcome=record.outcome,
            reason=record.reason,
            prefix_adopted=bool(coin >> 20 & 1) if adopted else None,
            labels=labels,
            commitment=record.commitment(),
        )
        yield point, record


def _record(
    plan: PlanPredicate,
    seed: Sha256,
    planned: tuple[int, PlannedCondition, QueryId, int],
    salt: str,
) -> tuple[int, RestrictedRecord]:
    """Return the coin of a point, 32 bits, and the record that it decides.

    Args:
        plan: The plan.
        seed: The event's.
        planned: Index, condition, query and draw of the point.
        salt: Of its commitment.
    """
    index, condition, query, draw = planned
    prompt = hashlib.sha256(
        f"{condition.id} {query} {draw if shows_draws(condition) else 0}".encode()
    )
    coin = int.from_bytes(hashlib.sha256(f"{seed} {prompt.hexdigest()}".encode()).digest()[:4])
    finish, outcome, reason = _ending(coin % 1000)
    failed = outcome is Outcome.FAILED
    shown = condition.n_harmful + condition.n_benign
    text = "" if failed else f"{outcome.value} by the coin {coin:08x}"
    return coin, RestrictedRecord(
        index=index,
        condition=condition.id,
        query=query,
        draw=draw,
        demonstrations=_digest(f"{condition.id} {query} {draw}") if shown else None,
        prompt=Sha256(prompt.hexdigest()),
        prompt_tokens=24 + 58 * shown + coin % 16,
        finish=finish,
        response_tokens=_RESPONSE_TOKENS[finish],
        text=text,
        outcome=outcome,
        reason=reason,
        error="the coin stood on its edge" if failed else None,
        judge=(
            None
            if failed
            else RecordedJudgement(outcome=outcome, reason=reason, raw=text, margin=None)
        ),
        second_judge=(
            None
            if outcome not in _JUDGED or plan.judge.second is None
            else RecordedJudgement(
                outcome=_second_opinion(outcome, coin), reason=None, raw="", margin="0.000000"
            )
        ),
        salt=salt,
    )


_JUDGED = (Outcome.REFUSED, Outcome.COMPLIED)
_RESPONSE_TOKENS = {
    Finish.STOP: (7, 11, 2),
    Finish.LENGTH: (7, 11, 7, 11),
    Finish.ERROR: (),
    Finish.OVERFLOW: (),
}


def _ending(coin: int) -> tuple[Finish, Outcome, Reason | None]:
    finish = Finish.LENGTH if coin % 10 == 0 else Finish.STOP
    if coin < 5:
        return Finish.ERROR, Outcome.FAILED, Reason.ENGINE_ERROR
    if coin < 15:
        return finish, Outcome.UNSCORED, Reason.JUDGE_NA
    return finish, Outcome.COMPLIED if coin < 300 else Outcome.REFUSED, None


def _second_opinion(first: Outcome, coin: int) -> Outcome:
    if coin >> 24 & 7 == 0:
        return Outcome.REFUSED
    return first


def _digest(label: str) -> Sha256:
    return sha256_hex(f"synthetic {label}".encode())


def _checkpoint() -> Checkpoint:
    file = _digest("checkpoint file")
    return Checkpoint(
        name="synthetic",
        hub=None,
        revision=None,
        root=sha256_hex(bytes.fromhex(file)),
        root_order=RootOrder.CODE_POINT,
        alternative_root=None,
        files=(CheckpointFile(path="model.safetensors", sha256=file, size=0),),
        served_as=None,
        symlinks_followed=False,
        dtype=Dtype.FLOAT32,
        quantisation=None,
    )


def _judge() -> Judge:
    judge = Judge(
        kind=JudgeKind.REFUSAL_STRINGS,
        name="hash coin",
        hub=None,
        revision=None,
        digest=_digest("judge"),
        weights=None,
        template=_digest("the coin's two sides"),
        parser="hash-coin/1",
        threshold=None,
        max_new_tokens=None,
        remote=False,
        calibration=None,
        second=None,
    )
    return judge.model_copy(update={"digest": judge_digest(judge)})


def _condition(mixture: Mixture) -> PlannedCondition:
    harmful, benign, ordering = mixture.n_harmful, mixture.n_benign, mixture.ordering
    return PlannedCondition(
        id=condition_id(harmful, benign, ordering),
        n_harmful=harmful,
        n_benign=benign,
        ordering=ordering,
        labels=fixed_labels(ordering, harmful, benign),
        benign_source=SourceName("benign-proxy") if benign else None,
        response_prefix=None,
        context=default_context(),
    )


def _corpus(name: str, rows: int) -> dict[str, object]:
    return {
        "name": SourceName(name),
        "corpus": "own",
        "digest": _digest(name),
        "hub": None,
        "revision": None,
        "file": None,
        "licence": "Apache-2.0",
        "languages": ("en",),
        "rows": rows,
        "where": {},
        "empty_rows": 0,
        "duplicate_rows": 0,
    }


def _query_source(name: str, number: int, role: QueryRole) -> QuerySource:
    return QuerySource.model_validate(
        {**_corpus(name, number), "role": role, "selected": number}, by_name=True
    )


def _pool(name: str, kind: DemonstrationKind) -> DemonstrationSource:
    return DemonstrationSource.model_validate(
        {
            **_corpus(name, 256),
            "kind": kind,
            "responses_by": "the synthetic generator",
            "decontaminated": 0,
            "pool": 256,
        },
        by_name=True,
    )
