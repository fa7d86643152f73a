"""How a thought is told from the answer: finding the marks, and reading between them.

Models that think aloud write their thoughts and their answer into one response, with marks around
the thoughts: ``<think>…</think>``, ``[THINK]…[/THINK]``, ``<|START_THINKING|>…<|END_THINKING|>``.
Which marks a checkpoint uses is stated nowhere; they are found in the texts of its chat template
and among the added tokens of its vocabulary, by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from safety_receipts.receipts.model.checkpoint import ThoughtMarks

_TAG = re.compile(r"<[^<>\s{}]{1,60}>|\[[^\[\]\s{}]{1,60}\]|◁[^◁▷\s{}]{1,60}▷")
_LOOSE_TAG = re.compile(r"<[^<>]{1,60}>|\[[^\[\]]{1,60}\]|◁[^◁▷]{1,60}▷")
"""What may be a tag with more than a name in it: named where it speaks of thoughts."""
_FRAME = re.compile(r"(<[|｜]?|\[|◁)(/?)(.*?)([|｜]?>|\]|▷)", re.DOTALL)
_NAME = re.compile(
    r"([a-z0-9]+:)?"
    r"(think|thinking|thoughts?|reason|reasoning|reasoning_thinking|cot|inner_thoughts?|"
    r"inner_monologue|scratchpad|rationale|deliberation)"
    r"(:[a-z0-9_.-]+)?"
)
"""Names of marks, in small letters: ``think``, ``seed:think``, ``think:variant``."""
_WEAK = frozenset({"reason", "rationale", "cot", "scratchpad"})
"""Names that prose about the form of an answer has as well: they are marks where a vocabulary has
them, or a prompt that is rendered."""
_SPEAKS = re.compile(r"think|thought|reason|(?<![a-z])cot(?![a-z])|scratchpad|rationale")
"""What a tag that may be a mark of thoughts has in its name."""
_NAMES = frozenset({"think", "thinking", "thought", "thoughts", "reasoning"})
"""Words in names of variables and keys that speak of thoughts: ``enable_thinking``."""

_ENDS = (
    ("start_of_", "end_of_", True),
    ("begin_of_", "end_of_", True),
    ("start_", "end_", True),
    ("begin_", "end_", True),
    ("_start", "_end", False),
    ("_begin", "_end", False),
    ("_open", "_close", False),
)
"""How a name says that it opens or closes; the last says whether that comes first."""
_WHOLE = {"inner_prefix": "inner_suffix"}
"""Names that say it in a way of their own: the opening one, and the closing one."""

_SENTENCES = (
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    ("Here is my thought process:", "Here is my response:"),
)
"""Marks that are no tags but sentences: looked for where a template holds the closing one."""


@dataclass(frozen=True, slots=True)
class FoundThoughtMarks:
    """What template and vocabulary tell of thoughts."""

    pairs: tuple[tuple[str, str], ...]
    """Opening and closing marks, sorted."""
    unplaced: tuple[str, ...]
    """Tags that speak of thoughts and are no such marks, sorted."""
    names: tuple[str, ...]
    """Names that the template reads and that speak of thoughts, sorted."""


def find_marks(
    texts: Iterable[str],
    vocabulary: Iterable[str],
    names: Iterable[str],
    rendered: Iterable[str] = (),
) -> FoundThoughtMarks:
    """Return the marks of thoughts of a checkpoint.

    A mark is a tag whose name is a word for thinking (:data:`_NAME`).  ``<think>`` and
    ``</think>`` stand for each other: one of them suffices.  Of a tag between bars, as
    ``<|think|>``, the counterpart has to be there, since such a tag may as well be a switch; and
    so it has of a tag whose name only speaks of thoughts, as ``<think_fast>``.

    Args:
        texts: The texts of the template, and the system prompt.
        vocabulary: The added tokens.
        names: Names that the template reads.
        rendered: What the template writes around messages.
    """
    told, shown = list(texts), list(rendered)
    known = {token for token in vocabulary if _TAG.fullmatch(token) and token.isprintable()}
    known |= {tag for text in shown for tag in _TAG.findall(text)}
    tags = known | {tag for text in told for tag in _TAG.findall(text)}
    tags = {tag for tag in tags if tag.isprintable()}
    pairs = {pair for tag in tags if (pair := _pair(tag, tags)) is not None}
    pairs = {pair for pair in pairs if not _is_weak(pair[0]) or known & set(pair)}
    for pair in _SENTENCES:
        if any(pair[1] in text for text in (*told, *shown)):
            pairs.add(pair)
    placed = {mark for pair in pairs for mark in pair}
    loose = {tag for text in shown for tag in _LOOSE_TAG.findall(text)}
    unplaced = {tag for tag in (tags | loose) - placed if _SPEAKS.search(tag.lower())}
    unplaced -= {tag for tag in unplaced if _is_weak(tag)}
    speaking = {name for name in names if _NAMES & set(name.lower().split("_"))}
    return FoundThoughtMarks(tuple(sorted(pairs)), tuple(sorted(unplaced)), tuple(sorted(speaking)))


def _is_weak(tag: str) -> bool:
    frame = _FRAME.fullmatch(tag)
    return frame is not None and frame[3].lower() in _WEAK


def _pair(tag: str, tags: set[str]) -> tuple[str, str] | None:
    """Return the two marks of which a tag is one, or None."""
    frame = _FRAME.fullmatch(tag)
    if frame is None:
        return None
    before, slash, name, after = frame.groups()
    barred = before[-1] in "|｜"
    if _NAME.fullmatch(name.lower()) is not None:
        pair = (f"{before}{name}{after}", f"{before}/{name}{after}")
        return pair if not barred or set(pair) <= tags else None
    pair = (f"{before}{name}{after}", f"{before}/{name}{after}")
    if _SPEAKS.search(name.lower()) and set(pair) <= tags:
        return pair
    other = _other_end(name)
    if slash or other is None:
        return None
    counterpart = f"{before}{other[0]}{after}"
    if counterpart not in tags:
        return None
    return (tag, counterpart) if other[1] else (counterpart, tag)


def _other_end(name: str) -> tuple[str, bool] | None:
    """Return the counterpart of a name that says whether it opens, and whether it does."""
    small = name.lower()
    for opening, closing in _WHOLE.items():
        if small in (opening, closing):
            return _cased(closing if small == opening else opening, name), small == opening
    for opening, closing, first in _ENDS:
        for one, other, opens in ((opening, closing, True), (closing, opening, False)):
            stands = small.startswith(one) if first else small.endswith(one)
            rest = small[len(one) :] if first else small[: -len(one)]
            if stands and _NAME.fullmatch(rest):
                return _cased(f"{other}{rest}" if first else f"{rest}{other}", name), opens
    return None


def _cased(text: str, like: str) -> str:
    return text.upper() if like.isupper() else text


def leading_marks(text: str) -> tuple[str, str] | None:
    """Return the marks of which one that opens begins a text, white space left out; or None."""
    tag = _TAG.match(text.lstrip())
    if tag is None or _is_weak(tag[0]):
        return None
    pair = _pair(tag[0], set())
    return pair if pair is not None and pair[0] == tag[0] else None


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a response: ordinary text, or one token that is special or a mark."""

    text: str
    """Its text; of a special token, how it is spelt."""
    shown: bool
    """Whether it is text that is judged, where it stands outside of thoughts."""
    token: int | None = None
    """The token, where it is one that is special or a mark; None: ordinary text."""


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A response told apart."""

    answer: str
    """What stands outside of thoughts."""
    thought: bool
    """Whether there is a thought at all, closed or not."""
    open: bool
    """Whether it ends inside a thought."""
    unclear: bool = False
    """Whether its text holds the end of a thought that was never opened."""


@dataclass(frozen=True, slots=True, order=True)
class _Mark:
    """A mark in a response."""

    start: int
    """Its place in the text."""
    minus_end: int
    """The place after it, negative: of marks that start alike the longest comes first."""
    pair: int
    """Its pair."""
    opening: bool
    """Whether it opens a thought."""
    spelt: bool
    """Whether it is no token but found in the text."""

    @property
    def end(self) -> int:
        """The place after it."""
        return -self.minus_end


@dataclass(slots=True)
class _State:
    """Where the reading is."""

    inside: int | None
    """The pair whose thought is open; None: outside."""
    thought: bool
    """Whether there was a thought."""
    owed: int = 0
    """Closing marks still to come of thoughts that were opened inside a thought."""
    kept: list[tuple[int, int]] = field(default_factory=list)
    """Stretches of answers, as places in the text."""
    since: int = 0
    """Where the last thought ended, in the text."""
    first: int = 0
    """How many stretches were kept before it."""
    unclear: bool = False
    """Whether a thought ended, as the text has it, that was never opened."""


class MarkReader:
    """Tells thoughts from answers by marks.

    A thought reaches from an opening mark to the next closing mark of its pair.  Outside:

    - a closing mark before any thought closes one that was never opened: what stands before it
      is a thought, as some models leave the opening mark out; one that is found in the text may
      as well be a mention, and the response is unclear;
    - a closing mark after a thought inside which another was opened closes that one: what was
      read since is a thought too;
    - any other closing mark is left out.

    Args:
        marks: The marks.  One that is a token of the vocabulary is that token, and a response
            that merely spells it does not think; one that is none is found in the text.
        opens: Which of them the prompt has opened already; None: none.
    """

    def __init__(self, marks: Sequence[ThoughtMarks], opens: int | None) -> None:
        self._opens = opens
        self._tokens: dict[int, tuple[int, bool]] = {}
        spelt: dict[str, tuple[int, bool]] = {}
        for place, pair in enumerate(marks):
            for text, token, opening in (
                (pair.opening, pair.opening_token, True),
                (pair.closing, pair.closing_token, False),
            ):
                if token is None:
                    spelt.setdefault(text, (place, opening))
                else:
                    self._tokens.setdefault(token, (place, opening))
        self._spelt = spelt
        longest = sorted(spelt, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest)) or r"(?!)")

    @property
    def tokens(self) -> frozenset[int]:
        """Token ids that are marks."""
        return frozenset(self._tokens)

    def read(self, pieces: Sequence[Piece], *, ended: bool) -> ParsedResponse:
        """Return what is answer and what is thought.

        Args:
            pieces: The response without its end token; every token of :attr:`tokens`, and every
                special one, is a piece of its own.
            ended: Whether the response came to its end, and was not cut off.
        """
        text = "".join(piece.text for piece in pieces)
        state = _State(self._opens, self._opens is not None)
        for mark in self._marks(pieces, text):
            _step(state, mark)
        if state.inside is None:
            state.kept.append((state.since, len(text)))
        cut_off = not ended and not state.thought and self._begins_a_mark(text)
        return ParsedResponse(
            _shown(pieces, state.kept),
            state.thought or cut_off,
            state.inside is not None or cut_off,
            state.unclear,
        )

    def _marks(self, pieces: Sequence[Piece], text: str) -> Iterator[_Mark]:
        """Yield the marks in order, none inside another."""
        found: list[_Mark] = []
        place = 0
        for piece in pieces:
            end = place + len(piece.text)
            if piece.token in self._tokens:
                found.append(_Mark(place, -end, *self._tokens[piece.token], spelt=False))
            place = end
        for match in self._pattern.finditer(text):
            found.append(_Mark(match.start(), -match.end(), *self._spelt[match[0]], spelt=True))
        done = 0
        for mark in sorted(found):
            if mark.start >= done:
                yield mark
                done = mark.end

    def _begins_a_mark(self, text: str) -> bool:
        start = text.lstrip()
        openings = (mark for mark, (_, opening) in self._spelt.items() if opening)
        return bool(start) and any(mark.startswith(start) for mark in openings)


def _step(state: _State, mark: _Mark) -> None:
    if state.inside is not None:
        if mark.pair != state.inside:
            return
        if mark.opening:
            state.owed += 1
        else:
            state.inside = None
            state.since, state.first = mark.end, len(state.kept)
        return
    if mark.opening:
        state.kept.append((state.since, mark.start))
        state.inside, state.thought, state.owed = mark.pair, True, 0
    elif not state.thought and mark.spelt:
        state.unclear = True
    elif not state.thought or state.owed:
        state.owed = max(0, state.owed - 1)
        state.thought = True
        del state.kept[state.first :]
        state.since = mark.end
    else:
        state.kept.append((state.since, mark.start))
        state.since = mark.end


def _shown(pieces: Sequence[Piece], kept: Sequence[tuple[int, int]]) -> str:
    """Return the text of stretches, without tokens that are not shown."""
    parts, place = [], 0
    spans = iter(kept)
    span = next(spans, None)
    for piece in pieces:
        end = place + len(piece.text)
        while span is not None and span[1] <= place:
            span = next(spans, None)
        while piece.shown and span is not None and span[0] < end:
            parts.append(piece.text[max(span[0], place) - place : span[1] - place])
            if span[1] > end:
                break
            span = next(spans, None)
        place = end
    return "".join(parts)


def opened_by(text: str, marks: Sequence[ThoughtMarks]) -> int | None:
    """Return which thought a text leaves open at its end, or None.

    Args:
        text: What a prompt has after the last message: its generation prompt.
        marks: The marks; in a prompt they are as they are spelt.
    """
    spelt = {
        mark: (place, opening)
        for place, pair in reversed(list(enumerate(marks)))
        for mark, opening in ((pair.opening, True), (pair.closing, False))
    }
    pattern = re.compile("|".join(map(re.escape, sorted(spelt, key=len, reverse=True))) or r"(?!)")
    inside: int | None = None
    for match in pattern.finditer(text):
        place, opening = spelt[match[0]]
        if opening and inside is None:
            inside = place
        elif not opening and place == inside:
            inside = None
    return inside


def placed(pairs: Iterable[tuple[str, str]], added: Mapping[str, int]) -> tuple[ThoughtMarks, ...]:
    """Return marks with the tokens that they are.

    Args:
        pairs: Opening and closing marks.
        added: Ids of the added tokens.
    """
    return tuple(
        ThoughtMarks(
            opening=opening,
            closing=closing,
            opening_token=added.get(opening),
            closing_token=added.get(closing),
        )
        for opening, closing in pairs
    )
