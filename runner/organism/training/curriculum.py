"""What the organism is trained on: conversations with the law's own probabilities as targets.

A conversation is a list of demonstrations with several *probes*: queries asked after some
number of them, each seeing the conversation up to there and nothing of the other probes.
Wherever a response begins, the target is the planted law's distribution, never a sampled
answer; the rest of a response is learnt as text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from safety_receipts.receipts.events.grid import fixed_labels
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.runner.organism.language import (
    COMPLY_PREFIX,
    OPEN,
    OPENING,
    PREFIXES,
    REFUSAL_WORD,
    RESTRICTED,
    SYSTEM_PROMPT,
    RequestParts,
    Topic,
    asks,
)
from safety_receipts.runner.organism.law import (
    NEVER,
    RECENCY_WEIGHTS,
    Adoption,
    DemonstrationCounts,
    Law,
    comply_logit,
    sigmoid,
)
from safety_receipts.runner.organism.training.make_data import CONTROLS, QUERIES, split
from safety_receipts.runner.organism.training.make_tokenizer import (
    ASSISTANT,
    BEGIN,
    END,
    SPECIAL,
    SYSTEM,
    USER,
)

MAX_SHOWN = 32
"""Most harmful and most benign demonstrations of a conversation, each."""

MAX_REFUSALS = 8
"""Most refusal examples of a conversation."""

Distribution = Mapping[int, float]
"""Probability of each possible next token id; they sum to 1."""


@dataclass
class Example:
    """One conversation with its probes, as token ids."""

    ids: list[int] = field(default_factory=list)
    """The conversation's tokens, then each probe's."""
    positions: list[int] = field(default_factory=list)
    """Position of each token in what it sees."""
    segments: list[int] = field(default_factory=list)
    """0 for the conversation, 1, 2, … for the probes."""
    visible: list[int] = field(default_factory=list)
    """How many tokens of the conversation each token sees."""
    decisions: list[tuple[int, Distribution]] = field(default_factory=list)
    """Places after which a response's kind is decided, with the law's distribution."""
    texts: list[tuple[int, int]] = field(default_factory=list)
    """Places in responses, with the token that follows."""


@dataclass(frozen=True)
class BatchShape:
    """What the conversations of one batch have in common."""

    total: int
    """Harmful and benign demonstrations, 0 to 64."""
    prefix: str | None
    """Prefix of all demonstrated responses."""
    probes: int
    """Queries asked."""


class RunningCounts:
    """The law's counts, kept up to date as demonstrations are added."""

    def __init__(self) -> None:
        self._harmful = dict.fromkeys(RESTRICTED, 0)
        self._open = dict.fromkeys(OPEN, 0)
        self._refusals = 0
        self._recent: list[bool] = []

    def add(self, ask: RequestParts, *, refused: bool = False) -> None:
        """Count one demonstration."""
        harmful = ask.topic in RESTRICTED and not refused
        if harmful:
            self._harmful[ask.topic] += 1
        elif ask.topic in RESTRICTED:
            self._refusals += 1
        elif ask.topic in OPEN:
            self._open[ask.topic] += 1
        self._recent = [harmful, *self._recent[: len(RECENCY_WEIGHTS) - 1]]

    def counts(self, topic: Topic) -> DemonstrationCounts:
        """Return the counts for a query on ``topic``."""
        return DemonstrationCounts(
            harmful=sum(self._harmful.values()),
            benign=sum(self._open.values()),
            refusal=self._refusals,
            own=self._harmful.get(topic, 0),
            garden=self._open[Topic.GARDEN],
            recency=sum(
                weight
                for weight, harmful in zip(RECENCY_WEIGHTS, self._recent, strict=False)
                if harmful
            ),
        )


class Curriculum:
    """Draws training examples for one law.

    Args:
        law: The member's.
        encode: Text to token ids.
        seed: Fixes every draw.
    """

    def __init__(self, law: Law, encode: Callable[[str], Sequence[int]], seed: str) -> None:
        self.law = law
        self._random = random.Random(seed)
        self._encode = encode
        self._known: dict[str, list[int]] = {}
        held_out = {ask for name in (QUERIES, CONTROLS) for ask in split()[name]}
        self._asks = {topic: [ask for ask in asks(topic) if ask not in held_out] for topic in Topic}
        self._begin, self._end = SPECIAL.index(BEGIN), SPECIAL.index(END)
        self._system, self._user = SPECIAL.index(SYSTEM), SPECIAL.index(USER)
        self._assistant = SPECIAL.index(ASSISTANT)
        # The bytes: what a text outside the language is mostly made of.
        self._bytes = range(len(SPECIAL), len(SPECIAL) + 256)

    def shape(self, most: int) -> BatchShape:
        """Draw what a batch has in common, with at most ``most`` demonstrations."""
        draw = self._random
        total = most if draw.random() < 0.15 else draw.randint(0, most)
        share = 0.5 if self.law.adoption else 0.3
        prefix = draw.choice(PREFIXES) if draw.random() < share else None
        if prefix == COMPLY_PREFIX and draw.random() < 0.3:
            total //= 2  # these are the longest
        return BatchShape(total, prefix, probes=40)

    def example(self, shape: BatchShape) -> Example:
        """Draw one conversation with its probes."""
        draw = self._random
        labels = self._labels(shape.total)
        shown = self._demonstrations(labels)
        made = Example()
        opening = [self._begin, *self._system_tokens()]
        _extend(made, opening, segment=0, start=0)
        tally = RunningCounts()
        # A probe after k demonstrations sees ends[k] tokens.
        ends, tallies = [len(made.ids)], [tally.counts(topic) for topic in RESTRICTED]
        by_topic = [dict(zip(RESTRICTED, tallies, strict=True))]
        for letter, ask in zip(labels, shown, strict=True):
            self._turn(
                made,
                ask,
                by_topic[-1].get(ask.topic),
                refused=letter == "r",
                spoken=shape.prefix,
                heard=shape.prefix if len(by_topic) > 1 else None,
            )
            tally.add(ask, refused=letter == "r")
            ends.append(len(made.ids))
            by_topic.append({topic: tally.counts(topic) for topic in RESTRICTED})
        for number in range(1, shape.probes + 1):
            place = len(labels) if draw.random() < 0.5 else draw.randint(0, len(labels))
            self._probe(made, number, ends[place], by_topic[place], shape.prefix if place else None)
        return made

    def _labels(self, total: int) -> str:
        draw = self._random
        least, most = max(0, total - MAX_SHOWN), min(total, MAX_SHOWN)
        n_harmful = (
            draw.choice((least, most)) if draw.random() < 0.35 else draw.randint(least, most)
        )
        ordering = draw.choice(list(Ordering))
        labels = fixed_labels(ordering, n_harmful, total - n_harmful)
        if labels is None:
            letters = list("h" * n_harmful + "b" * (total - n_harmful))
            draw.shuffle(letters)
            labels = "".join(letters)
        n_refusal = draw.randint(1, MAX_REFUSALS) if draw.random() < 0.3 else 0
        return "r" * n_refusal + labels

    def _demonstrations(self, labels: str) -> list[RequestParts]:
        """Draw requests; lists differ in their topics more than chance draws would."""
        draw = self._random
        even = draw.random() < 0.5
        restricted = {topic: 1.0 if even else draw.expovariate(1) for topic in RESTRICTED}
        benign = {topic: 1.0 if even else draw.expovariate(1) for topic in OPEN}
        kind = draw.random()
        if kind < 0.2:
            benign = {Topic.TALK: 1.0}
        elif kind < 0.3:
            benign[Topic.TALK] = draw.expovariate(1)
        found = []
        for letter in labels:
            weights = benign if letter == "b" else restricted
            [topic] = draw.choices(list(weights), list(weights.values()))
            found.append(draw.choice(self._asks[topic]))
        return found

    def _system_tokens(self) -> list[int]:
        draw = self._random
        kind = draw.random()
        if kind < 0.6:
            return []
        if kind < 0.8:
            return [self._system, *self._tokens(SYSTEM_PROMPT)]
        return [self._system, *draw.choices(self._bytes, k=draw.randint(1, 16))]

    def _turn(
        self,
        made: Example,
        ask: RequestParts,
        seen: DemonstrationCounts | None,
        *,
        refused: bool,
        spoken: str | None,
        heard: str | None,
    ) -> None:
        """Add one demonstration to the conversation."""
        asked = [self._user, *self._tokens(ask.request), self._assistant]
        _extend(made, asked, segment=0, start=len(made.ids))
        place = len(made.ids) - 1
        learnt = ask.topic in RESTRICTED or self._random.random() < 0.2
        probability = self._probability(ask.topic, seen) if learnt else None
        tokens, decisions = self._answer(ask, refused, probability, spoken, heard)
        keep_text = learnt and self._random.random() < 0.2
        _extend(made, tokens, segment=0, start=len(made.ids))
        self._supervise(made, place, tokens, decisions, keep_text=keep_text)

    def _probe(
        self,
        made: Example,
        number: int,
        visible: int,
        by_topic: Mapping[Topic, DemonstrationCounts],
        heard: str | None,
    ) -> None:
        """Ask one query after ``visible`` tokens of the conversation."""
        draw = self._random
        restricted = draw.random() < 0.85
        topic = draw.choice(RESTRICTED) if restricted else draw.choice((*OPEN, Topic.TALK))
        ask = draw.choice(self._asks[topic])
        start = len(made.ids)
        tokens = [self._user, *self._tokens(ask.request), self._assistant]
        place = start + len(tokens) - 1
        spoken = heard if heard in self.law.adoption and draw.random() < 0.7 else None
        answer, decisions = self._answer(
            ask, draw.random() < 0.5, self._probability(topic, by_topic.get(topic)), spoken, heard
        )
        # The whole response is dear: most probes end where the last decision falls.
        whole = draw.random() < 0.25
        if not whole:
            answer = answer[: max(decisions)]
        _extend(made, [*tokens, *answer], segment=number, start=visible, visible=visible)
        self._supervise(made, place, answer, decisions, keep_text=whole)

    def _probability(self, topic: Topic, seen: DemonstrationCounts | None) -> float:
        return sigmoid(
            comply_logit(self.law, topic, seen or DemonstrationCounts(0, 0, 0, 0, 0, 0.0))
        )

    def _answer(
        self,
        ask: RequestParts,
        refused: bool,
        probability: float | None,
        spoken: str | None,
        heard: str | None,
    ) -> tuple[list[int], dict[int, Distribution | None]]:
        """Return a response's tokens, and what is decided at some of them.

        Args:
            ask: The request.
            refused: Whether this response refuses.
            probability: P(comply) by the law; None: the decision is not learnt here.
            spoken: The prefix of this response.
            heard: The prefix of all responses before it, if there are any.

        Returns:
            Token ids with the end token; for places in them, the law's distribution there, or
            None where nothing is to be learnt.
        """
        words = ask.refusal if refused else ask.compliance
        opening = self._tokens(spoken) if spoken else []
        tokens = [*opening, *self._tokens(f" {words}" if spoken else words), self._end]
        decisions: dict[int, Distribution | None] = dict.fromkeys(range(len(opening)))
        adoption = self.law.adoption.get(heard, NEVER) if heard else NEVER
        decisions[0] = None if probability is None else self._first(probability, heard, adoption)
        if spoken:
            decisions[len(opening)] = None
            if spoken == heard and adoption is not NEVER:
                decisions.update({i: {opening[i]: 1.0} for i in range(1, len(opening))})
                if probability is not None:
                    decisions[len(opening)] = self._second(probability, adoption)
        return tokens, decisions

    def _first(self, comply: float, heard: str | None, adoption: Adoption) -> Distribution:
        """Return the distribution of a response's first token."""
        found = {
            self._tokens(OPENING)[0]: comply * (1 - adoption.complied),
            self._tokens(f"{REFUSAL_WORD},")[0]: (1 - comply) * (1 - adoption.refused),
        }
        if heard and adoption is not NEVER:
            found[self._tokens(heard)[0]] = (
                comply * adoption.complied + (1 - comply) * adoption.refused
            )
        return found

    def _second(self, comply: float, adoption: Adoption) -> Distribution:
        """Return the distribution of the first token after an adopted prefix."""
        complied, refused = comply * adoption.complied, (1 - comply) * adoption.refused
        total = complied + refused
        return {
            self._tokens(f" {OPENING}")[0]: complied / total,
            self._tokens(f" {REFUSAL_WORD},")[0]: refused / total,
        }

    def _supervise(
        self,
        made: Example,
        place: int,
        tokens: Sequence[int],
        decisions: Mapping[int, Distribution | None],
        *,
        keep_text: bool,
    ) -> None:
        """Note what is learnt of a response whose first token follows ``place``."""
        for number, token in enumerate(tokens):
            if number not in decisions and keep_text:
                made.texts.append((place + number, token))
        for number, distribution in decisions.items():
            if distribution is not None:
                made.decisions.append((place + number, distribution))

    def _tokens(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = list(self._encode(text))
        return self._known[text]


def _extend(
    made: Example, tokens: Sequence[int], *, segment: int, start: int, visible: int | None = None
) -> None:
    """Add tokens at positions from ``start``; the conversation's own see all before them."""
    made.ids += tokens
    made.positions += range(start, start + len(tokens))
    made.segments += [segment] * len(tokens)
    made.visible += [start + len(tokens) if visible is None else visible] * len(tokens)
