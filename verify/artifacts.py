"""Are the artifacts on this disk the ones that a sealed plan names?

Digests are compared, and what is derived from files; names and places are the auditor's own.
What a plan file decides besides (experiments, sampling) is left to the sealed plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from receipts.errors import UsageError
from receipts.grid import source_of
from receipts.model.base import QueryId, SourceName
from receipts.model.check import CheckLevel
from receipts.model.checkpoint import (
    Checkpoint,
    EndToken,
    EndTokenOrigin,
    Prompt,
    Sampling,
    Thoughts,
)
from receipts.model.demonstrations import Corpus, Demonstrations, DemonstrationSource
from receipts.model.judge import JudgeIdentity
from receipts.model.plan import PlanPredicate
from runner.answers import found_thoughts, given_thoughts
from runner.checkpoint import pickled_files
from runner.contexts import WRAPPERS
from runner.demonstrations import Pool, Pools
from runner.end_tokens import ids_of_files
from runner.plan import SELECTION, Artifacts, ResolvedPlan
from runner.prompts import FIRST_RENDERING, RENDERING
from runner.sampling_defaults import not_applied, read_defaults
from runner.sealed_plan import first_difference
from runner.template_probe import Conversation
from runner.unloaded import loaded_by_nothing
from verify.checks import CheckList

C = TypeVar("C", bound=Corpus)

_LEVEL = CheckLevel.BOUND

_CORPUS = ("digest", "corpus", "where", "rows", "empty_rows", "duplicate_rows")
"""What follows from a corpus file and its selection."""

_DEFAULTS = "sampling-defaults"
_SHOWN_FILES = 5
"""Most files that are named."""

_JUDGE = ("kind", "weights", "template", "parser", "threshold", "max_new_tokens")
"""What a judge's digest is of."""


@dataclass(frozen=True)
class Usable:
    """What the artifacts can be used for, as far as they are the ones named."""

    prompts: Artifacts | None
    """In the sealed plan's order and under its names; None: its prompts cannot be made."""
    no_prompts: str
    """Why not."""
    texts: bool
    """Whether its responses can be decoded."""
    no_texts: str
    """Why not."""


def check_artifacts(plan: PlanPredicate, resolved: ResolvedPlan, checks: CheckList) -> Usable:
    """Compare the artifacts with those of a coherent plan, one check for each kind.

    What the auditor's plan file does not name is not checked; what it names must be the plan's.

    Args:
        plan: The sealed plan.
        resolved: The auditor's plan file.
        checks: Receives the checks.
    """
    mine = resolved.predicate
    if plan.checkpoint.files:
        problem = _checkpoint_problem(plan, mine)
        checks.decide(_LEVEL, "checkpoint", problem, _named(plan.checkpoint) + _added(plan, mine))
    else:
        checks.skip(_LEVEL, "checkpoint", "the plan lists no files: a model behind an API")
    good = _check_prompt(plan, resolved, checks)
    if plan.checkpoint.files:
        _check_defaults(plan, resolved.artifacts.folder, checks)
    good |= _check_corpora(plan, mine, checks)
    _check_judges(plan, mine, checks)
    # A plan file cannot say whose responses are judged again, and older plans not which queries
    # ask the same.
    stated = mine.model_copy(update={"rejudges": plan.rejudges})
    if plan.same_queries is None:
        stated = stated.model_copy(update={"same_queries": None})
    place = first_difference(plan.to_wire(), stated.to_wire())
    told = f"differs from the sealed plan in {place}; the sealed plan rules"
    checks.decide(CheckLevel.NONE, "plan-file", None, told if place else "is the sealed plan's")
    missing = [name for name in _FOR_PROMPTS if not good[name]]
    mute = [name for name in _FOR_TEXTS if not good[name]]
    return Usable(
        prompts=None if missing else _arranged(plan, resolved),
        no_prompts=f"needs the plan's {' and '.join(missing)}",
        texts=not mute,
        no_texts=f"needs the plan's {' and '.join(mute)}",
    )


_FOR_PROMPTS = (
    "tokenizer",
    "chat-template",
    "system-prompt",
    "rendering",
    "queries",
    "demonstrations",
)
_FOR_TEXTS = ("tokenizer", "rendering")


def _checkpoint_problem(plan: PlanPredicate, mine: PlanPredicate) -> str | None:
    """Return in what the model's files differ.

    The list of files says more than the root, which binds no names, and comes to the same in
    either order.
    """
    sealed = {file.path: file for file in plan.checkpoint.files}
    found = {file.path: file for file in mine.checkpoint.files}
    # A snapshot from the hub is fetched without pickles; a copy of it on a disk may hold some.
    left_out = set(pickled_files(mine.checkpoint.files)) if plan.checkpoint.hub else set()
    for path in sorted({*sealed, *found}):
        if path not in found:
            return f"{path} is missing"
        if path not in sealed:
            if path not in left_out and not loaded_by_nothing(path):
                return f"{path} is none of the plan's files, and could be loaded"
        elif sealed[path] != found[path]:
            differs = f"{_short(found[path].sha256)}, the plan names {_short(sealed[path].sha256)}"
            return f"{path} differs: {differs}"
    sealed_so = plan.checkpoint.dequantised
    if plan.instrument != mine.instrument:
        stated, found_out = str(plan.instrument).lower(), str(mine.instrument).lower()
        return f"instrument is {found_out} of these files, the plan says {stated}"
    if sealed_so is not None and sealed_so != mine.checkpoint.dequantised:
        stated, found_out = str(sealed_so).lower(), str(mine.checkpoint.dequantised).lower()
        return f"dequantised is {found_out} of these files, the plan says {stated}"
    return None


def _added(plan: PlanPredicate, mine: PlanPredicate) -> str:
    """Return what is said of files that were added since, where the checkpoint is the plan's."""
    sealed = {file.path for file in plan.checkpoint.files}
    added = [
        file.path
        for file in mine.checkpoint.files
        if file.path not in sealed and loaded_by_nothing(file.path)
    ]
    if not added:
        return ""
    more = f" and {len(added) - _SHOWN_FILES} more" if len(added) > _SHOWN_FILES else ""
    return f"; added and loaded by nothing: {', '.join(added[:_SHOWN_FILES])}{more}"


def _named(checkpoint: Checkpoint) -> str:
    return f"{len(checkpoint.files):,} files, root {_short(checkpoint.root)}"


def _check_prompt(
    plan: PlanPredicate, resolved: ResolvedPlan, checks: CheckList
) -> dict[str, bool]:
    """Check what makes prompts of conversations; return what passed, by name of the check."""
    mine = resolved.predicate
    sealed, found = plan.prompt, mine.prompt
    good = {}
    for name, before, after in (
        ("tokenizer", sealed.tokenizer, found.tokenizer),
        ("chat-template", sealed.chat_template, found.chat_template),
        ("system-prompt", sealed.system_prompt, found.system_prompt),
    ):
        problem = None if before == after else f"{_short(after)}, the plan names {_short(before)}"
        good[name] = checks.decide(_LEVEL, name, problem, _short(before))
    why = _other_rule(sealed, resolved)
    if why is not None:
        # Another version's rule: nothing here says that it was broken.
        good["rendering"] = checks.skip(_LEVEL, "rendering", why)
    else:
        problem = next(_rendering_problems(plan, resolved), None)
        good["rendering"] = checks.decide(_LEVEL, "rendering", problem, _answer(sealed))
    limits = (sealed.context_limit, found.context_limit)
    problem = None if limits[0] == limits[1] else f"{limits[1]:,}, the plan says {limits[0]:,}"
    checks.decide(_LEVEL, "context-limit", problem, f"{limits[0]:,} tokens")
    checks.decide(_LEVEL, "end-tokens", *_end_tokens(plan.sampling, mine.sampling))
    return good


def _end_tokens(sealed: Sampling, found: Sampling) -> tuple[str | None, str]:
    """Return in what the end tokens differ, or None; and what is said where they do not.

    A plan that names no origins was sealed when the configurations alone were asked.  What the
    plan file adds and removes is compared too: whoever verifies decides it again.
    """
    ids = ", ".join(map(str, sealed.end_tokens))
    stated = found.end_token_origins or ()
    if sealed.end_token_origins is None:
        before = ids_of_files(stated)
        if sealed.end_tokens != before:
            return f"{', '.join(map(str, before))}; the plan says {ids}", ids
        more = [end for end in stated if not end.removed and end.token not in before]
        return None, f"{ids}, of the configurations alone; {_ends(more)}" if more else ids
    problem = None
    if sealed.end_tokens != found.end_tokens:
        problem = f"{', '.join(map(str, found.end_tokens))}; the plan says {ids}"
    for end in (*sealed.end_token_origins, *stated):
        if end not in stated or end not in sealed.end_token_origins:
            who = "the plan file and folder say" if end in stated else "the plan says"
            decided = ", as sampling.end_tokens of a plan file decides" if _by_plan(end) else ""
            says = f"{who} {_ends([end])}{decided}"
            return f"{problem}: {says}" if problem else says, ids
    changed = [end for end in sealed.end_token_origins if _by_plan(end)]
    return problem, f"{ids}; the plan file decides {_ends(changed)}" if changed else ids


def _by_plan(end: EndToken) -> bool:
    return end.removed or EndTokenOrigin.PLAN in end.origins


def _ends(ends: Iterable[EndToken]) -> str:
    return ", ".join(
        f"{end.token}{' is removed' if end.removed else ''} "
        f"({', '.join(origin.value for origin in end.origins)})"
        for end in ends
    )


def _check_defaults(plan: PlanPredicate, folder: Path, checks: CheckList) -> None:
    """Check what the plan says of defaults that come with the checkpoint and are not applied."""
    told = plan.sampling.defaults_not_applied
    if told is None:
        checks.skip(_LEVEL, _DEFAULTS, "the plan says nothing of them")
        return
    sealed = {one.name: one.value for one in told}
    defaults = not_applied(read_defaults(folder), plan.sampling)
    found = {one.name: one.value for one in defaults}
    names = sorted({*sealed, *found})
    name = next((name for name in names if sealed.get(name) != found.get(name)), None)
    problem = None
    if name is not None:
        problem = f"{name} is {found.get(name, 'none')}, the plan says {sealed.get(name, 'none')}"
    good = ", ".join(f"{one.name} = {one.value}" for one in told)
    checks.decide(_LEVEL, _DEFAULTS, problem, good or "there are none")


def _other_rule(sealed: Prompt, resolved: ResolvedPlan) -> str | None:
    """Return why this version does not render by the rule that a plan names, or None."""
    chat, thoughts = resolved.artifacts.chat, resolved.predicate.prompt.thoughts
    if sealed.rendering == RENDERING:
        return None
    if sealed.rendering != FIRST_RENDERING:
        return f"this version renders by {RENDERING}, the plan names {sealed.rendering}"
    if thoughts is not None and thoughts.marks:
        return (
            f"{FIRST_RENDERING} judged thoughts as answers, and this checkpoint writes thoughts "
            f"({_marks(thoughts)})"
        )
    if chat.first_rendering_differs:
        return f"{FIRST_RENDERING} took other tokens of this vocabulary for control tokens"
    return None


def _answer(prompt: Prompt) -> str:
    """Return the rule and, in words, what of a response is judged by it."""
    thoughts = prompt.thoughts
    if thoughts is None:
        return prompt.rendering
    by = ", as the plan names them" if thoughts.given else ""
    return f"{prompt.rendering}, thoughts left out: {_marks(thoughts)}{by}"


def _marks(thoughts: Thoughts | None) -> str:
    if thoughts is None or not thoughts.marks:
        return "none"
    marks = ", ".join(f"{pair.opening} … {pair.closing}" for pair in thoughts.marks)
    return marks if thoughts.prompt_opens is None else f"{marks}, opened by the prompt"


def _thoughts_problem(sealed: Prompt, resolved: ResolvedPlan) -> str | None:
    """Return in what the thoughts of a plan do not follow from the checkpoint, or None.

    Marks that the plan file named are the plan's to name; which tokens they are, and whether
    prompts open a thought, follows.
    """
    if sealed.rendering == FIRST_RENDERING:
        return None
    chat, before = resolved.artifacts.chat, sealed.thoughts
    told = Conversation(resolved.artifacts.system, sealed.date, sealed.template_options)
    try:
        if before is not None and before.given:
            pairs = [(pair.opening, pair.closing) for pair in before.marks]
            after: Thoughts | None = given_thoughts(chat, told, pairs)
        else:
            after = found_thoughts(chat, told)
    except UsageError as error:
        return error.message
    if before == after:
        return None
    if _marks(before) == _marks(after):
        return "the tokens of the marks of thoughts are not those of this vocabulary"
    return f"the marks of thoughts are {_marks(after)}; the plan says {_marks(before)}"


def _rendering_problems(plan: PlanPredicate, resolved: ResolvedPlan) -> Iterator[str]:
    mine = resolved.predicate
    for context in (*plan.contexts, *(condition.context for condition in plan.conditions)):
        wrapper = WRAPPERS.get(context.form)
        known = (None, None) if wrapper is None else (wrapper.role.value, wrapper.digest)
        if (context.role, context.template) != known:
            yield f"context {context.form.value} is not the one of {plan.prompt.rendering}"
    channels = plan.prompt.judged_channel, mine.prompt.judged_channel
    if channels[0] != channels[1]:
        yield f"the judged channel is {channels[1]}, the plan names {channels[0]}"
    problem = _thoughts_problem(plan.prompt, resolved)
    if problem is not None:
        yield problem


def _check_corpora(plan: PlanPredicate, mine: PlanPredicate, checks: CheckList) -> dict[str, bool]:
    """Check queries and pools; return what passed, by name of the check."""
    pairs = _paired(plan.queries, mine.queries)
    taken = {other.name for _, other in pairs if other is not None}
    more = [source.name for source in mine.queries if source.name not in taken]
    missing = [source.name for source, other in pairs if other is None]
    if missing:
        why = f"the plan file names no source like {missing[0]}"
        same = checks.skip(_LEVEL, "queries", why)
    elif more:
        # Pools are cleared of all queries that a plan file names.
        why = f"the plan file names {more[0]} besides, which the plan does not: take it out"
        same = checks.skip(_LEVEL, "queries", why)
    else:
        problem = next(_query_problems(plan, mine), None)
        queries = f"{len(plan.query_ids):,} of {len(plan.queries)} sources"
        same = checks.decide(_LEVEL, "queries", problem, queries)
    return {"queries": same, "demonstrations": _check_demonstrations(plan, mine, same, checks)}


def _query_problems(plan: PlanPredicate, mine: PlanPredicate) -> Iterator[str]:
    sealed, found = _rows(plan), _rows(mine)
    for source, other in _paired(plan.queries, mine.queries):
        assert other is not None  # as the caller has seen
        yield from _differences(source, other, (*_CORPUS, "selected", "repeated_rows"))
        pairs = zip(sealed[source.name], found[other.name], strict=True)
        for before, after in pairs:
            if before != after:
                yield f"{source.name}: has query {after} where the plan says {before}"
    if plan.same_queries is not None:
        # By their texts, whatever the auditor's file calls the sources, and in its own order.
        names = {s.name: other.name for s, other in _paired(plan.queries, mine.queries) if other}
        stated = {
            frozenset(f"{names[source_of(query)]}/{query.partition('/')[2]}" for query in group)
            for group in plan.same_queries
        }
        if stated != {frozenset(group) for group in mine.same_queries or ()}:
            yield "sameQueries does not follow from the requests"


def _rows(plan: PlanPredicate) -> Mapping[SourceName, list[str]]:
    """Return the ids of the queries by source, without its name."""
    rows: dict[SourceName, list[str]] = {source.name: [] for source in plan.queries}
    for query in plan.query_ids:
        rows[source_of(query)].append(query.partition("/")[2])
    return rows


def _check_demonstrations(
    plan: PlanPredicate, mine: PlanPredicate, same_queries: bool, checks: CheckList
) -> bool:
    sealed, found = plan.demonstrations, mine.demonstrations
    pools = _pool_pairs(sealed, found)
    for source, other in pools:
        if other is None:
            why = f"the plan file names no {source.kind.value} source like {source.name}"
            return checks.skip(_LEVEL, "demonstrations", why)
    if sealed.selection != SELECTION:
        why = f"this version draws by {SELECTION}, the plan names {sealed.selection}"
        return checks.skip(_LEVEL, "demonstrations", why)
    counts = ("decontaminated", "pool") if same_queries else ()
    problems = [
        problem
        for source, other in pools
        if other is not None
        for problem in _differences(source, other, (*_CORPUS, *counts))
    ]
    for name in ("truncation", "draws", "draw_block"):
        before, after = getattr(sealed, name), getattr(found, name)
        if before != after:
            problems.append(f"{to_camel(name)} is {_shown(after)}, the plan says {_shown(before)}")
    good = ", ".join(f"{source.name} {source.pool:,}" for source, _ in pools) or "none"
    return checks.decide(_LEVEL, "demonstrations", next(iter(problems), None), good)


def _pool_pairs(
    sealed: Demonstrations, found: Demonstrations
) -> list[tuple[DemonstrationSource, DemonstrationSource | None]]:
    """Return the plan's pools, each with the auditor's, or None where there is none."""
    pairs = [(sealed.harmful, found.harmful), (sealed.refusal, found.refusal)]
    return [
        *((source, other) for source, other in pairs if source is not None),
        *_paired(sealed.benign, found.benign),
    ]


def _paired(sealed: Sequence[C], found: Iterable[C]) -> list[tuple[C, C | None]]:
    """Return each source with the auditor's of the same name, else of the same file, or None."""
    left = {source.name: source for source in found}
    pairs = {source.name: left.pop(source.name, None) for source in sealed}
    for source in sealed:
        if pairs[source.name] is None:
            alike = (
                other.name
                for other in left.values()
                if (other.digest, other.where) == (source.digest, source.where)
            )
            name = next(alike, None)
            pairs[source.name] = None if name is None else left.pop(name)
    return [(source, pairs[source.name]) for source in sealed]


def _differences(sealed: Corpus, found: Corpus, fields: Iterable[str]) -> Iterator[str]:
    for name in fields:
        before, after = getattr(sealed, name), getattr(found, name)
        if before != after:
            what = f"{sealed.name}: {to_camel(name)}"
            yield f"{what} is {_shown(after)}, the plan says {_shown(before)}"


def _check_judges(plan: PlanPredicate, mine: PlanPredicate, checks: CheckList) -> None:
    checks.decide(_LEVEL, "judge", _judge_problem(plan.judge, mine.judge), plan.judge.name)
    second, other = plan.judge.second, mine.judge.second
    if second is None:
        return
    # At level consistent a check of its agreement has the shorter name.
    name = "second-judge-identity"
    if other is None:
        checks.skip(_LEVEL, name, "the plan file names no second judge")
    else:
        checks.decide(_LEVEL, name, _judge_problem(second, other), second.name)


def _judge_problem(sealed: JudgeIdentity, found: JudgeIdentity) -> str | None:
    for name in _JUDGE:
        before, after = getattr(sealed, name), getattr(found, name)
        if before != after:
            return f"{to_camel(name)} is {_shown(after)}, the plan says {_shown(before)}"
    return None if sealed.remote == found.remote else "remote is not what the plan says"


def _arranged(plan: PlanPredicate, resolved: ResolvedPlan) -> Artifacts:
    """Return the artifacts in the plan's order and under its names."""
    mine, artifacts = resolved.predicate, resolved.artifacts
    texts = dict(zip(mine.query_ids, artifacts.queries, strict=True))
    rows = _rows(plan)
    queries: list[str] = []
    for source, other in _paired(plan.queries, mine.queries):
        assert other is not None  # or the check of queries would have failed
        queries += [texts[QueryId(f"{other.name}/{row}")] for row in rows[source.name]]
    sealed, found, pools = plan.demonstrations, mine.demonstrations, artifacts.pools
    benign = {
        source.name: replace(pools.benign[other.name], source=source.name)
        for source, other in _paired(sealed.benign, found.benign)
        if other is not None
    }
    renamed = Pools(
        harmful=_renamed(pools.harmful, sealed.harmful),
        benign=benign,
        refusal=_renamed(pools.refusal, sealed.refusal),
    )
    return replace(artifacts, queries=tuple(queries), pools=renamed)


def _renamed(pool: Pool | None, source: DemonstrationSource | None) -> Pool | None:
    return None if pool is None or source is None else replace(pool, source=source.name)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"{digest[:16]}…"


_DIGEST_DIGITS = 64


def _shown(value: Any) -> str:
    """Return a value of a plan as a detail spells it."""
    if isinstance(value, str):
        return _short(value) if len(value) == _DIGEST_DIGITS else value
    if hasattr(value, "to_wire"):
        value = value.to_wire()
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)
