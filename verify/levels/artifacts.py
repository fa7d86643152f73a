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

from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.io.text import value_text
from safety_receipts.receipts.model.base import QueryId, SourceName
from safety_receipts.receipts.model.checkpoint import Checkpoint
from safety_receipts.receipts.model.demonstrations import (
    Corpus,
    Demonstrations,
    DemonstrationSource,
)
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.checkpoint.model_files import weight_files
from safety_receipts.runner.checkpoint.sealed_files import file_problem, short
from safety_receipts.runner.checkpoint.unloaded import loaded_by_nothing
from safety_receipts.runner.corpora.same import FIRST_REQUEST_RULE
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.plan.parts.pools import SELECTION
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.plan.sealed import first_difference
from safety_receipts.runner.prompts.demonstrations import Pool, Pools
from safety_receipts.runner.prompts.texts import PromptTexts
from safety_receipts.runner.vocabulary.refusal import RewritingFolders
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.prompt_artifacts import check_defaults, check_prompt

C = TypeVar("C", bound=Corpus)


_CORPUS = ("digest", "corpus", "where", "rows", "empty_rows", "duplicate_rows")
"""What follows from a corpus file and its selection."""

_SHOWN_FILES = 5
"""Most files that are named."""

_JUDGE = ("kind", "weights", "template", "parser", "threshold", "max_new_tokens")
"""What a judge's digest is of."""


@dataclass(frozen=True)
class UsableArtifacts:
    """What the artifacts can be used for, as far as they are the ones named."""

    prompts: PromptTexts | None
    """In the sealed plan's order and under its names; None: its prompts cannot be made."""
    no_prompts: str
    """Why not."""
    texts: Artifacts | None
    """With which its responses can be decoded; None: they cannot."""
    no_texts: str
    """Why not."""


def check_artifacts(
    plan: PlanPredicate, resolved: ResolvedPlan | UnrunPlan, checks: CheckList
) -> UsableArtifacts:
    """Compare the artifacts with those of a coherent plan, one check for each kind.

    What the auditor's plan file does not name is not checked; what it names must be the plan's.

    Args:
        plan: The sealed plan.
        resolved: The auditor's plan file.
        checks: Receives the checks.
    """
    mine = resolved.predicate
    if plan.checkpoint.files:
        problem = _checkpoint_problem(plan, mine, _folder_of(resolved))
        checks.decide(CheckName.CHECKPOINT, problem, _named(plan.checkpoint) + _added(plan, mine))
    else:
        checks.skip(CheckName.CHECKPOINT, "the plan lists no files: a model behind an API")
    good = check_prompt(plan, resolved, checks)
    if plan.checkpoint.files:
        check_defaults(plan, _folder_of(resolved), checks)
    good |= _check_corpora(plan, mine, checks)
    _check_judges(plan, mine, resolved.rewriting, checks)
    # A plan file cannot say whose responses are judged again, and older plans not which queries
    # ask the same, nor what a template says of its own.
    stated = mine.model_copy(update={"rejudges": plan.rejudges})
    if plan.same_queries is None:
        stated = stated.model_copy(update={"same_queries": None})
    if plan.prompt.template_words is None:
        silent = mine.prompt.model_copy(update={"template_words": None})
        stated = stated.model_copy(update={"prompt": silent})
    place = first_difference(plan.to_wire(), stated.to_wire())
    told = f"differs from the sealed plan in {place}; the sealed plan rules"
    checks.decide(CheckName.PLAN_FILE, None, told if place else "is the sealed plan's")
    if isinstance(resolved, UnrunPlan):
        why = resolved.why
        return UsableArtifacts(prompts=None, no_prompts=why, texts=None, no_texts=why)
    missing = [name for name in _FOR_PROMPTS if not good[name]]
    mute = [name for name in _FOR_TEXTS if not good[name]]
    return UsableArtifacts(
        prompts=None if missing else _arranged(plan, resolved),
        no_prompts=f"needs the plan's {' and '.join(missing)}",
        texts=None if mute else resolved.artifacts,
        no_texts=f"needs the plan's {' and '.join(mute)}",
    )


_CORPORA = (CheckName.QUERIES, CheckName.DEMONSTRATIONS)
_FOR_PROMPTS = (
    CheckName.TOKENIZER,
    CheckName.CHAT_TEMPLATE,
    CheckName.SYSTEM_PROMPT,
    CheckName.RENDERING,
    *_CORPORA,
)
_FOR_TEXTS = (CheckName.TOKENIZER, CheckName.RENDERING)


def _folder_of(resolved: ResolvedPlan | UnrunPlan) -> Path:
    return (
        resolved.folder if isinstance(resolved, UnrunPlan) else resolved.artifacts.checkpoint.folder
    )


def _checkpoint_problem(plan: PlanPredicate, mine: PlanPredicate, folder: Path) -> str | None:
    """Return in what the model's files differ.

    Whoever allows no pickles has safetensors here, or could not have come so far.
    """
    weights = weight_files(folder, allow_pickle=True)
    problem = file_problem(plan.checkpoint, mine.checkpoint.files, weights)
    if problem is not None:
        return problem
    sealed_so = plan.checkpoint.dequantised
    if plan.instrument != mine.instrument:
        stated, found_out = value_text(plan.instrument), value_text(mine.instrument)
        return f"instrument is {found_out} of these files, the plan says {stated}"
    if sealed_so is not None and sealed_so != mine.checkpoint.dequantised:
        stated, found_out = value_text(sealed_so), value_text(mine.checkpoint.dequantised)
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
    return f"{len(checkpoint.files):,} files, root {short(checkpoint.root)}"


def _check_corpora(
    plan: PlanPredicate, mine: PlanPredicate, checks: CheckList
) -> dict[CheckName, bool]:
    """Check queries and pools; return what passed, by name of the check."""
    rules = [each.request_rule or FIRST_REQUEST_RULE for each in (plan, mine)]
    if rules[0] != rules[1]:
        why = f"requests were compared by {rules[1]}, the plan names {rules[0]}"
        return {name: checks.skip(name, why) for name in _CORPORA}
    pairs = _paired(plan.queries, mine.queries)
    taken = {other.name for _, other in pairs if other is not None}
    more = [source.name for source in mine.queries if source.name not in taken]
    missing = [source.name for source, other in pairs if other is None]
    if missing:
        why = f"the plan file names no source like {missing[0]}"
        same = checks.skip(CheckName.QUERIES, why)
    elif more:
        # Pools are cleared of all queries that a plan file names.
        why = f"the plan file names {more[0]} besides, which the plan does not: take it out"
        same = checks.skip(CheckName.QUERIES, why)
    else:
        problem = next(_query_problems(plan, mine), None)
        queries = f"{len(plan.query_ids):,} of {len(plan.queries)} sources"
        same = checks.decide(CheckName.QUERIES, problem, queries)
    return {
        CheckName.QUERIES: same,
        CheckName.DEMONSTRATIONS: _check_demonstrations(plan, mine, same, checks),
    }


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
            return checks.skip(CheckName.DEMONSTRATIONS, why)
    if sealed.selection != SELECTION:
        why = f"this version draws by {SELECTION}, the plan names {sealed.selection}"
        return checks.skip(CheckName.DEMONSTRATIONS, why)
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
    if not (pools or problems):
        checks.spare(CheckName.DEMONSTRATIONS, "the plan shows none")
        return True
    good = ", ".join(f"{source.name} {source.pool:,}" for source, _ in pools)
    return checks.decide(CheckName.DEMONSTRATIONS, next(iter(problems), None), good)


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


def _check_judges(
    plan: PlanPredicate, mine: PlanPredicate, rewriting: RewritingFolders, checks: CheckList
) -> None:
    problem = rewriting.judge or _judge_problem(plan.judge, mine.judge)
    checks.decide(CheckName.JUDGE, problem, plan.judge.name)
    second, other = plan.judge.second, mine.judge.second
    if second is None:
        return
    # At level consistent a check of its agreement has the shorter name.
    name = CheckName.SECOND_JUDGE_IDENTITY
    if other is None:
        checks.skip(name, "the plan file names no second judge")
    else:
        problem = rewriting.second_judge or _judge_problem(second, other)
        checks.decide(name, problem, second.name)


def _judge_problem(sealed: JudgeIdentity, found: JudgeIdentity) -> str | None:
    for name in _JUDGE:
        before, after = getattr(sealed, name), getattr(found, name)
        if before != after:
            return f"{to_camel(name)} is {_shown(after)}, the plan says {_shown(before)}"
    if sealed.folder_files not in (None, found.folder_files):
        # The digests are the same in the order of the names, which decide what is loaded.
        named, there = (
            {file.path for file in judge.folder_files or ()} for judge in (sealed, found)
        )
        other = next(iter(sorted(named ^ there)), "a file")
        return f"{other} is {'missing' if other in named else 'not one of the files that it names'}"
    return None if sealed.remote == found.remote else "remote is not what the plan says"


def _arranged(plan: PlanPredicate, resolved: ResolvedPlan) -> PromptTexts:
    """Return the texts in the plan's order and under its names."""
    mine, artifacts = resolved.predicate, resolved.artifacts
    texts = dict(zip(mine.query_ids, artifacts.texts.queries, strict=True))
    rows = _rows(plan)
    queries: list[str] = []
    for source, other in _paired(plan.queries, mine.queries):
        assert other is not None  # or the check of queries would have failed
        queries += [texts[QueryId(f"{other.name}/{row}")] for row in rows[source.name]]
    sealed, found, pools = plan.demonstrations, mine.demonstrations, artifacts.texts.pools
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
    return replace(artifacts.texts, queries=tuple(queries), pools=renamed)


def _renamed(pool: Pool | None, source: DemonstrationSource | None) -> Pool | None:
    return None if pool is None or source is None else replace(pool, source=source.name)


_DIGEST_DIGITS = 64


def _shown(value: Any) -> str:
    """Return a value of a plan as a detail spells it."""
    if isinstance(value, str):
        return short(value) if len(value) == _DIGEST_DIGITS else value
    if hasattr(value, "to_wire"):
        value = value.to_wire()
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else value_text(value)
