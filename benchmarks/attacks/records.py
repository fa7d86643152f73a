"""Records that an evaluator changes before sealing them: no hash and no count gives it away.

Each attack makes one condition look safer.  The tokens it writes are the real tokenizer's, the
text is what they decode to, and the judgement goes with the label, unless the attack is
about just that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

from attacks.subject import Subject
from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.point import (
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
)
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.decoding.noise_seed import point_noise_seed
from safety_receipts.runner.engines.engine import Engine, Request
from safety_receipts.runner.judges.judge import Exchange, Judgement
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.judging import judged
from safety_receipts.runner.run.requests import decoding_of
from safety_receipts.verify.audit.replay import Entry

TOLERANCE = 0.3
"""Near ties: a token this close to the best one, in logits / temperature plus noise."""
_STEERED = 3
"""Positions at which a response is steered: what the organism decides, it decides there."""


@dataclass(frozen=True)
class Target:
    """The condition that is made to look safer, and by how many points."""

    condition: ConditionId
    """Its id."""
    hidden: int
    """Compliances to hide."""
    source: SourceName | None = None
    """The query source whose points are changed; None: any."""


def target(subject: Subject, entries: Sequence[Entry], share: float, *, up: bool = True) -> Target:
    """Return the condition with most compliances, and so many points of it.

    Args:
        subject: The study.
        entries: Its points.
        share: Of the condition's planned points.
        up: Whether it is rounded up to whole points, else down.
    """
    counts = subject.counts(entries)
    condition = max(counts, key=lambda one: counts[one].complied)
    points = round(share * counts[condition].planned, 6)
    return Target(condition, ceil(points) if up else floor(points))


def part(entries: Sequence[Entry], share: float, source: SourceName) -> Target:
    """Return the condition in which a query source has most compliances, and so many of them.

    Args:
        entries: The study's points.
        share: Of the source's planned points in one condition.
        source: The query source, of either role.
    """
    mine = [point for point, _ in entries if point.source == source]
    found = Counter(point.condition for point in mine if point.outcome is Outcome.COMPLIED)
    condition, _ = found.most_common(1)[0]
    planned = sum(point.condition == condition for point in mine)
    return Target(condition, ceil(round(share * planned, 6)), source)


def changed(entry: Entry, **fields: Any) -> Entry:
    """Return a point with other fields, in evidence line and record alike."""
    point, record = entry
    record = record.model_copy(update=fields)
    both = {name: value for name, value in fields.items() if name in Point.model_fields}
    both["response_tokens"] = len(record.response_tokens)
    return point.model_copy(update=both | {"commitment": record.commitment()}), record


def flipped(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Label compliances as refusals; the responses stay."""
    label = _refused(entries)

    def flip(entry: Entry) -> Entry:
        return changed(entry, outcome=Outcome.REFUSED, judge=label)

    return _each(entries, where, flip)


def agreed(entries: Sequence[Entry], share: float) -> list[Entry]:
    """Let the second judge agree where it did not, in a share of all points it judged."""
    judged = [record for _, record in entries if record.second_judge is not None]
    left = ceil(round(share * len(judged), 6))
    result = []
    for entry in entries:
        second, outcome = entry[1].second_judge, entry[1].outcome
        if not left or second is None or second.outcome is outcome:
            result.append(entry)
            continue
        left -= 1
        label = second.model_copy(update={"outcome": outcome, "reason": None})
        result.append(changed(entry, second_judge=label))
    if left:
        raise ValueError(f"{left} disagreements too few")
    return result


def edited(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Replace compliances by refusals that the model wrote to a neighbouring query."""

    def edit(entry: Entry) -> Entry:
        return reworded(subject, entry, _refusal_near(entries, entry).response_tokens)

    return _each(entries, where, edit)


def stopped_early(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Write the first word of a refusal and an end token where the model complied."""
    end = subject.plan.sampling.end_tokens[0]

    def stop(entry: Entry) -> Entry:
        tokens = _refusal_near(entries, entry).response_tokens
        for length in range(1, len(tokens)):
            short = reworded(subject, entry, (*tokens[:length], end))
            if short[0].outcome is Outcome.REFUSED:
                return short
        raise ValueError("no beginning of a refusal is one")

    return _each(entries, where, stop)


def cut(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Replace compliances by refusals that lack their end, "cut off by the token limit"."""

    def edit(entry: Entry) -> Entry:
        return reworded(subject, entry, _refusal_near(entries, entry).response_tokens[:-1])

    return _each(entries, where, edit)


def emptied(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Let responses to hard points end before they begin: nothing to judge."""
    end = subject.plan.sampling.end_tokens[0]
    return _each(entries, where, lambda entry: reworded(subject, entry, (end,)))


def laxly_judged(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Use a laxer rule than the judge named: some words make any response a refusal.

    The words are the commonest last words of compliances, as many as hide enough.
    """
    complied = [e for e in entries if _can_be_hidden(e, where)]
    words = Counter(record.text.split()[-1] for _, record in complied)
    lax: set[str] = set()
    for word, _ in words.most_common():
        if sum(words[one] for one in lax) >= where.hidden:
            break
        lax.add(word)
    label = _refused(entries)
    return [
        changed(entry, outcome=Outcome.REFUSED, judge=label)
        if _can_be_hidden(entry, where) and entry[1].text.split()[-1] in lax
        else entry
        for entry in entries
    ]


def unscored(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Say of compliances that the judge called them neither."""
    neither = RecordedJudgement(
        outcome=Outcome.UNSCORED, reason=Reason.JUDGE_NA, raw="", margin=None
    )
    return _each(
        entries,
        where,
        lambda entry: changed(
            entry, outcome=Outcome.UNSCORED, reason=Reason.JUDGE_NA, judge=neither
        ),
    )


def failed(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Say of compliances that the engine broke down."""
    return _each(
        entries,
        where,
        lambda entry: changed(
            entry,
            finish=Finish.ERROR,
            response_tokens=(),
            text="",
            outcome=Outcome.FAILED,
            reason=Reason.ENGINE_ERROR,
            error="out of order",
            judge=None,
        ),
    )


def false_text(subject: Subject, entries: Sequence[Entry], where: Target) -> list[Entry]:
    """Put the text of a refusal beside the tokens of a compliance."""
    label = _refused(entries)

    def lie(entry: Entry) -> Entry:
        text = _refusal_near(entries, entry).text
        return changed(entry, text=text, outcome=Outcome.REFUSED, judge=label)

    return _each(entries, where, lie)


def steered(
    subject: Subject, engine: Engine, entries: Sequence[Entry], where: ConditionId
) -> list[Entry]:
    """Take, of nearly equal tokens, the one that leads to a refusal; wherever there is one.

    At each of the first positions of a compliance, tokens that stand there in refusals are
    tried if they lie within :data:`TOLERANCE` of the best; the response is decoded on from
    there, and taken if the judge calls it a refusal.
    """
    chosen = [e for e in entries if _can_be_hidden(e, Target(where, 0))]
    refusals = [r.response_tokens for p, r in entries if p.outcome is Outcome.REFUSED]
    at = [{tokens[j] for tokens in refusals if len(tokens) > j} for j in range(_STEERED)]
    ends = frozenset(subject.plan.sampling.end_tokens)
    tries: list[tuple[Entry, Request, tuple[int, ...]]] = []
    rendered = render_points(subject.renderer, [point.index for point, _ in chosen])
    for entry, one in zip(chosen, rendered, strict=True):
        begun = entry[1].response_tokens
        for j, standing in enumerate(at):
            for token in sorted(standing - {*begun[j : j + 1], *ends}):
                request = Request(
                    key=len(tries),
                    tokens=one.tokens,
                    max_new_tokens=subject.plan.sampling.max_new_tokens,
                    stop_ids=ends,
                    seed=point_noise_seed(subject.seed, entry[0].id),
                )
                tries.append((entry, request, (*begun[:j], token)))
    decoding = decoding_of(subject.plan.sampling)
    scored = engine.score([(request, tokens) for _, request, tokens in tries], decoding)
    margins = {one.key: one.margins[-1] for one in scored}
    near = [one for one in tries if margins[one[1].key] <= TOLERANCE]
    begun_requests = [
        replace(
            request,
            tokens=(*request.tokens, *tokens),
            max_new_tokens=request.max_new_tokens - len(tokens),
            begun=len(tokens),
        )
        for _, request, tokens in near
    ]
    said = {one.key: one.tokens for one in generate_completions(engine, begun_requests, decoding)}
    best: dict[int, tuple[float, Entry]] = {}
    for entry, request, tokens in near:
        made = reworded(subject, entry, (*tokens, *said[request.key]))
        index, margin = entry[0].index, margins[request.key]
        better = index not in best or margin < best[index][0]
        if made[0].outcome is Outcome.REFUSED and better:
            best[index] = margin, made
    return [best[e[0].index][1] if e[0].index in best else e for e in entries]


def reworded(subject: Subject, entry: Entry, tokens: Sequence[int]) -> Entry:
    """Return a point with another response, read and judged as a run would."""
    read = subject.reader.read(tokens)
    query = subject.renderer.render(entry[0].index).query
    judgement: Judgement | None = None
    if read.reason is None:
        (judgement,) = judged(subject.judge, [Exchange(query, read.text)])
    ended = tokens[-1] in subject.plan.sampling.end_tokens
    return changed(
        entry,
        response_tokens=tuple(tokens),
        text=read.text,
        finish=Finish.STOP if ended else Finish.LENGTH,
        outcome=Outcome.UNSCORED if judgement is None else judgement.outcome,
        reason=read.reason if judgement is None else judgement.reason,
        judge=None if judgement is None else _recorded(judgement),
    )


def _recorded(judgement: Judgement) -> RecordedJudgement:
    margin = judgement.margin
    return RecordedJudgement(
        outcome=judgement.outcome,
        reason=judgement.reason,
        raw=judgement.raw,
        margin=None if margin is None else decimal_string(Fraction(margin), 6),
    )


def _can_be_hidden(entry: Entry, where: Target) -> bool:
    point = entry[0]
    there = where.source is None or point.source == where.source
    return there and point.condition == where.condition and point.outcome is Outcome.COMPLIED


def _each(entries: Iterable[Entry], where: Target, change: Callable[[Entry], Entry]) -> list[Entry]:
    """Change as many compliances of the condition as are to be hidden."""
    left, result = where.hidden, []
    for entry in entries:
        if left and _can_be_hidden(entry, where):
            left -= 1
            result.append(change(entry))
        else:
            result.append(entry)
    if left:
        raise ValueError(f"{where.condition} has {left} compliances too few")
    return result


def _refused(entries: Iterable[Entry]) -> RecordedJudgement | None:
    """Return what the judge says of a refusal."""
    return next(record.judge for point, record in entries if point.outcome is Outcome.REFUSED)


def _refusal_near(entries: Iterable[Entry], entry: Entry) -> RestrictedRecord:
    """Return the nearest refusal in plan order: most often to a query on the same topic."""
    refusals = (record for point, record in entries if point.outcome is Outcome.REFUSED)
    return min(refusals, key=lambda record: abs(record.index - entry[0].index))
