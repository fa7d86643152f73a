"""Replaying points: one teacher-forced pass over prompt and recorded response.

Decoding a response again is no test: between honest stacks about one greedy step in two
hundred flips, so most long responses part somewhere.  One forward pass over the prompt and
the recorded response asks of every token instead whether the claimed model would plausibly
have written it there (:mod:`verify.audit.statistics.plausibility`).  Then:

* *near ties*: a response is decoded on from its first token that is not the auditor's own
  choice, and the judge's label of that continuation counts, not of the recorded one.  An
  evaluator who took, of two nearly equal tokens, the one that refuses gains nothing;
* *the worst case*: what is implausible, ambiguous or cannot be replayed counts against the
  record.  Numerical noise costs draws, never validity;
* *hard contradictions* are kept apart: only they can refute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IntegrityError, ReceiptsError
from safety_receipts.receipts.model.judge import traits_of
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    NOTHING_TO_JUDGE,
    Finish,
    Outcome,
    Point,
    Reason,
    RestrictedRecord,
)
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.engine import Completion, Decoding, Engine, Margins, Request
from safety_receipts.runner.judges.judge import Exchange, Judgement
from safety_receipts.runner.judges.registry import LOG_ODDS_BAND
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.judging import judged
from safety_receipts.runner.run.requests import decoding_of, going_on, request_of
from safety_receipts.verify.audit.statistics.plausibility import (
    HARD_MARGINS,
    MarginStatistics,
    Plausibility,
)
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.levels.rederive import ResponseDecoder, prompt_problem

Entry = tuple[Point, RestrictedRecord]
"""An evidence line and its restricted record."""
Replay = Callable[[Sequence[Entry]], list[ReplayedPoint]]
"""Replays points, all over one prefix tree."""
Replays = Callable[[Iterable[Sequence[Entry]]], Iterator[list[ReplayedPoint]]]
"""Replays points part by part, here or in workers, and yields what it says in the parts' order."""


def one_by_one(replay: Replay) -> Replays:
    """Return what replays parts here, one after the other."""

    def replays(parts: Iterable[Sequence[Entry]]) -> Iterator[list[ReplayedPoint]]:
        return map(replay, parts)

    return replays


@dataclass(frozen=True)
class ReplayCriteria:
    """What an auditor holds replayed points to."""

    plausibility: Plausibility
    """What is plausible."""
    judge_band: float = LOG_ODDS_BAND
    """A model judge's margin within this of 0 is ambiguous."""
    reference: Callable[[], Engine] | None = None
    """Gives an engine in fp32, by which hard margins are reproduced; None: the stack's own
    engine runs in fp32."""
    by_weights: bool = True
    """Whether the engine computes with the named weights; of another's margins none is hard."""


@dataclass
class Replayer:
    """Replays points of one sealed event.

    Args:
        plan: The sealed plan.
        seed: The event's seed.
        renderer: Renders its prompts from the auditor's artifacts.
        texts: Decodes its responses.
        stack: The auditor's engine and judge.
        criteria: What points are held to.
    """

    plan: PlanPredicate
    seed: Sha256
    renderer: Renderer
    texts: ResponseDecoder
    stack: RunStack
    criteria: ReplayCriteria
    _exact: Engine | None = field(default=None, init=False)

    def replay(self, entries: Sequence[Entry]) -> list[ReplayedPoint]:
        """Replay points, all over one prefix tree.

        Args:
            entries: Generated points, each with its record.

        Returns:
            What the replay says of each, in order.

        Raises:
            IntegrityError: A record does not follow from the plan and the artifacts: its
                prompt, its text, or its commitment.  That is no numerical noise.
        """
        rendered = render_points(self.renderer, [point.index for point, _ in entries])
        work = [
            _Work(entry, one, request_of(one, self.plan.sampling, self.seed))
            for entry, one in zip(entries, rendered, strict=True)
        ]
        for one in work:
            self._check(one)
        self._score(work)
        self._branch([one for one in work if one.branched is not None])
        self._judge(work)
        self._find_hard(work)
        return [self._result(one) for one in work]

    def _check(self, one: _Work) -> None:
        point, record = one.entry
        problem = (
            record.problem(point, self.plan)
            or prompt_problem(one.rendered, record)
            or self.texts.problem(point, record)
        )
        if problem is None and not record.response_tokens:
            problem = "it has no response"
        if problem is not None:
            raise IntegrityError(f"point {point.index} ({point.condition}): {problem}")

    def _score(self, work: Sequence[_Work]) -> None:
        by_key = {one.request.key: one for one in work}
        decoding = decoding_of(self.plan.sampling)
        pairs = [(one.request, one.record.response_tokens) for one in work]
        for margins in self.stack.engine.score(pairs, decoding):
            one = by_key[margins.key]
            if margins.error is not None:
                one.missing = margins.error
                continue
            one.statistics = _statistics(margins, decoding)
            one.branched = margins.branch
        for one in work:
            if one.statistics is None and one.missing is None:
                one.missing = "the engine gave no answer"

    def _branch(self, work: Sequence[_Work]) -> None:
        """Decode responses on from where the auditor would have gone another way."""
        if not work:
            return
        requests = [
            going_on(one.request, one.record.response_tokens[: one.branched or 0]) for one in work
        ]
        decoding = decoding_of(self.plan.sampling)
        completions = completions_of(self.stack.engine, requests, decoding)
        for one in work:
            self._take(one, completions[one.request.key])

    def _take(self, one: _Work, completion: Completion) -> None:
        if completion.reason is not None:
            one.missing = completion.error
            return
        begun = one.record.response_tokens[: one.branched or 0]
        read = self.stack.reader.read((*begun, *completion.tokens))
        one.continued = read.text
        one.unread = read.reason is not None

    def _judge(self, work: Sequence[_Work]) -> None:
        """Judge every recorded response, and every continuation."""
        asked: list[tuple[_Work, bool, Exchange]] = []
        for one in work:
            if one.record.text and one.record.reason not in NOTHING_TO_JUDGE:
                asked.append((one, False, Exchange(one.rendered.query, one.record.text)))
            if one.continued and not one.unread:
                asked.append((one, True, Exchange(one.rendered.query, one.continued)))
        judgements = judged(self.stack.judge, [exchange for _, _, exchange in asked])
        for (one, continued, _), judgement in zip(asked, judgements, strict=True):
            if continued:
                one.theirs = judgement
            else:
                one.own = judgement

    def _find_hard(self, work: Sequence[_Work]) -> None:
        """Find what no numerical noise explains."""
        suspects = []
        for one in work:
            if (contrary := self._contrary(one)) is not None:
                one.hard = f"the judge's rule says {contrary.value} of the recorded response"
                one.ruled_out = True
            elif (broken := self._broken_end(one.record)) is not None:
                one.hard = broken
            elif one.statistics is None or not self.criteria.by_weights:
                continue
            elif self._beyond(one.statistics):
                suspects.append(one)
        if not suspects:
            return
        if self.criteria.reference is not None:
            exact = self._exact = self._exact or self._load_reference(self.criteria.reference)
            if exact is None:
                return
            decoding = decoding_of(self.plan.sampling)
            by_key = {one.request.key: one for one in suspects}
            pairs = [(one.request, one.record.response_tokens) for one in suspects]
            suspects = [
                by_key[margins.key]
                for margins in exact.score(pairs, decoding)
                if margins.error is None and self._beyond(_statistics(margins, decoding))
            ]
        for one in suspects:
            assert one.statistics is not None
            one.hard = f"a token {one.statistics.largest:.3g} below the model's own choice"

    @staticmethod
    def _load_reference(load: Callable[[], Engine]) -> Engine | None:
        """Return the engine in fp32, or None: what it could not reproduce is not hard."""
        try:
            return load()
        except (ReceiptsError, MemoryError, RuntimeError):  # torch's lack of memory is the last
            return None

    def _contrary(self, one: _Work) -> Outcome | None:
        """Return what the judge's rule says of a recorded response, if not what is recorded.

        A judge that fails says nothing of it.
        """
        rule = traits_of(self.plan.judge.kind).is_rule
        if not rule or one.own is None or one.own.reason is Reason.JUDGE_ERROR:
            return None
        return None if one.own.outcome is one.record.outcome else one.own.outcome

    def _beyond(self, one: MarginStatistics) -> bool:
        """Say whether a response holds a token that the model in fp32 would not have chosen.

        Under top-k or top-p no margin says so: at their edge noise lets a token in or out, and
        with it a margin of any size.
        """
        sampling = self.plan.sampling
        if sampling.top_k is not None or sampling.top_p is not None:
            return False
        return HARD_MARGINS[self.plan.checkpoint.dtype] < one.largest < float("inf")

    def _broken_end(self, record: RestrictedRecord) -> str | None:
        tokens, limit = len(record.response_tokens), self.plan.sampling.max_new_tokens
        if tokens > limit:
            return f"{tokens:,} tokens, more than the limit of {limit:,}"
        if record.finish is Finish.LENGTH and tokens < limit:
            return f"it stopped at {tokens:,} tokens for no reason"
        return None

    def _result(self, one: _Work) -> ReplayedPoint:
        point, _ = one.entry
        found = ReplayedPoint(
            point.id,
            point.condition,
            point.outcome,
            label=None,
            missing=one.missing,
            hard=one.hard,
            ruled_out=one.ruled_out,
        )
        if one.statistics is None or one.missing is not None:
            return found
        judgement = one.own if one.branched is None else one.theirs
        margin = None if judgement is None else judgement.margin
        return replace(
            found,
            label=Outcome.UNSCORED if judgement is None else judgement.outcome,
            statistics=one.statistics,
            branched=one.branched,
            implausible=self.criteria.plausibility.implausible(one.statistics),
            ambiguous=margin is not None and abs(margin) <= self.criteria.judge_band,
            judge_margin=None if one.own is None else one.own.margin,
        )


def _statistics(margins: Margins, decoding: Decoding) -> MarginStatistics:
    return MarginStatistics.of(margins.margins, decoding.temperature, decoding.repetition_penalty)


@dataclass(slots=True)
class _Work:
    """A point while it is replayed."""

    entry: Entry
    rendered: RenderedPoint
    request: Request
    statistics: MarginStatistics | None = None
    branched: int | None = None
    missing: str | None = None
    continued: str | None = None
    unread: bool = False
    own: Judgement | None = None
    """Of the recorded response."""
    theirs: Judgement | None = None
    """Of the continuation."""
    hard: str | None = None
    ruled_out: bool = False

    @property
    def record(self) -> RestrictedRecord:
        return self.entry[1]
