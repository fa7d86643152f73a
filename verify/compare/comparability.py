"""May two evaluations be read side by side?  What else differs between them than the model.

A difference that makes labels or queries mean other things refuses a comparison; any other is a
warning, since β2 may well be compared across it, but whoever reads must know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.base import QueryId
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.plan import PlannedServer, PlanPredicate
from safety_receipts.verify.compare.interaction import harmful_queries

_MOST_NAMED = 3


class SettingStatus(StrEnum):
    """What a check found."""

    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """It cannot be told from what is at hand."""


@dataclass(frozen=True)
class EvaluationSetting:
    """What was evaluated, and how."""

    label: str
    """What it is called here."""
    plan: PlanPredicate
    """The plan."""
    seed: Sha256
    """What its demonstration lists are drawn from."""
    prompts: Mapping[QueryId, Sha256] | None
    """Digest of each harmful-role query's prompt without demonstrations; None where restricted
    records are not at hand."""


@dataclass(frozen=True)
class SettingCheck:
    """One thing that should be the same, or should not."""

    name: str
    """What."""
    status: SettingStatus
    """Whether it is."""
    refuses: bool
    """Whether it keeps the evaluations from being compared."""
    warns: bool
    """Whether a reader must know of it."""
    detail: str
    """In words."""
    differing: tuple[str, ...] = ()
    """Labels of those that differ from the first."""


def setting_checks(
    settings: Sequence[EvaluationSetting], *, common_queries: bool = False
) -> list[SettingCheck]:
    """Return what is the same and what differs; all but the first are held against the first.

    Args:
        settings: Two or more.
        common_queries: Whether only the queries that all have are compared.
    """
    return [
        _alike("judge", settings, _judge, "labels mean other things", refuses=True),
        _alike("judged text", settings, _judged, "rates are about other texts", refuses=True),
        _alike("judge calibration", settings, _calibration),
        _queries(settings, common_queries=common_queries),
        _alike("query corpora", settings, _corpora, "ids may stand for other texts"),
        _alike("demonstration pools", settings, _pools, "other lists"),
        _alike("draw rules", settings, _draw_rules, "other lists"),
        _alike("lists", settings, lambda one: {"seed": one.seed}, "other lists: drawn by plan"),
        _alike("sampling", settings, _sampling),
        _prompts(settings),
        _alike("instrument", settings, lambda one: {"instrument": one.plan.instrument}),
        _alike("engine", settings, _engine),
        _alike("margin", settings, _margin, "the verdict none means something else"),
        _checkpoints(settings),
    ]


def _alike(
    name: str,
    settings: Sequence[EvaluationSetting],
    facts: Callable[[EvaluationSetting], Mapping[str, Any]],
    meaning: str = "",
    *,
    refuses: bool = False,
) -> SettingCheck:
    """Hold some facts of all settings to those of the first."""
    first, *others = settings
    wanted = facts(first)
    found = {}
    for other in others:
        mine = facts(other)
        names = [key for key in {**wanted, **mine} if wanted.get(key) != mine.get(key)]
        if names:
            found[other.label] = f"{other.label} has another {_some(names)} than {first.label}"
    if not found:
        return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=False, detail="the same")
    detail = "; ".join(found.values()) + (f" ({meaning})" if meaning else "")
    return SettingCheck(
        name,
        SettingStatus.DIFFERS,
        refuses=refuses,
        warns=True,
        detail=detail,
        differing=tuple(found),
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _sampling(one: EvaluationSetting) -> dict[str, Any]:
    return one.plan.sampling.applied().to_wire()


def _judged(one: EvaluationSetting) -> dict[str, Any]:
    """What of a response is judged; marks that follow from a checkpoint differ by checkpoint."""
    prompt, thoughts = one.plan.prompt, one.plan.prompt.thoughts
    given = thoughts.marks if thoughts is not None and thoughts.given else None
    return {
        "rule for thoughts": prompt.judged_channel is not None or prompt.tells_thoughts,
        "list of marks of thoughts in its plan": given
        and [(pair.opening, pair.closing) for pair in given],
        "judging of thoughts as answers": given == (),
    }


def _judge(one: EvaluationSetting) -> dict[str, Any]:
    return {"identity": one.plan.judge.digest}


def _calibration(one: EvaluationSetting) -> dict[str, Any]:
    calibration = one.plan.judge.calibration
    return {"calibration": calibration and calibration.to_wire()}


def _corpora(one: EvaluationSetting) -> dict[str, Any]:
    harmful = (s for s in one.plan.queries if s.role is QueryRole.HARMFUL)
    return {source.name: (source.digest, source.where) for source in harmful}


def _pools(one: EvaluationSetting) -> dict[str, Any]:
    demonstrations = one.plan.demonstrations
    benign = demonstrations.benign[0] if demonstrations.benign else None
    sources = {"harmful": demonstrations.harmful, "benign": benign}
    return {
        f"{kind} source": source and (source.digest, source.where, source.pool)
        for kind, source in sources.items()
    }


def _draw_rules(one: EvaluationSetting) -> dict[str, Any]:
    wire = one.plan.demonstrations.to_wire()
    return {name: wire[name] for name in ("selection", "draws", "drawBlock", "truncation")}


def _engine(one: EvaluationSetting) -> dict[str, Any]:
    checkpoint = one.plan.checkpoint
    return {
        "engine": one.plan.engine,
        "number format": checkpoint.dtype,
        "quantisation": checkpoint.quantisation,
        "server": _dialect(one.plan.server),
        "server of its judge": _dialect(one.plan.judge_server),
    }


def _dialect(server: PlannedServer | None) -> str | None:
    return None if server is None else server.dialect.value


def _margin(one: EvaluationSetting) -> dict[str, Any]:
    return {"effect margin": one.plan.effect_margin}


def _queries(settings: Sequence[EvaluationSetting], *, common_queries: bool) -> SettingCheck:
    name = "queries"
    asked = [frozenset(harmful_queries(one.plan)) for one in settings]
    common = frozenset.intersection(*asked)
    if all(each == common for each in asked):
        detail = f"the same {len(common):,}"
        return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=False, detail=detail)
    counts = (
        f"{one.label} has {len(each - common):,} of {len(each):,}"
        for one, each in zip(settings, asked, strict=True)
    )
    detail = f"{len(common):,} are common; beyond these, {', '.join(counts)}"
    others = zip(settings, asked, strict=True)
    return SettingCheck(
        name,
        SettingStatus.DIFFERS,
        refuses=not (common_queries and common),
        warns=True,
        detail=detail,
        differing=tuple(one.label for one, each in others if each != asked[0]),
    )


def _format(one: EvaluationSetting) -> dict[str, Any]:
    wire = one.plan.prompt.to_wire()
    names = (
        "tokenizer",
        "chatTemplate",
        "systemPrompt",
        "date",
        "templateOptions",
        "rendering",
        "judgedChannel",
    )
    return {name: wire[name] for name in names}


def _prompts(settings: Sequence[EvaluationSetting]) -> SettingCheck:
    """Compare prompts without demonstrations, or what they are rendered with."""
    name, prompts = "prompts", [one.prompts for one in settings]
    rendered = [each for each in prompts if each is not None]
    if len(rendered) < len(settings):
        check = _alike(name, settings, _format, _DEFAULTS)
        if check.status is SettingStatus.DIFFERS:
            return check
        served = [one.label for one in settings if one.plan.checkpoint.served_as is not None]
        if served:
            detail = f"rendered alike, but a server may add to the prompts of {_some(served)}"
            return SettingCheck(
                name, SettingStatus.UNKNOWN, refuses=False, warns=True, detail=detail
            )
        detail = "rendered with the same tokenizer, template, system prompt and options"
        return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=False, detail=detail)
    found = list(_other_prompts(settings, rendered))
    if found:
        detail = f"{'; '.join(found)} ({_DEFAULTS})"
        return SettingCheck(name, SettingStatus.DIFFERS, refuses=False, warns=True, detail=detail)
    common = set.intersection(*(set(each) for each in rendered))
    if not common:
        detail = "no query is common"
        return SettingCheck(name, SettingStatus.UNKNOWN, refuses=False, warns=True, detail=detail)
    detail = f"the same token ids for {len(common):,} queries without demonstrations"
    return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=False, detail=detail)


_DEFAULTS = "stages may ship different default system prompts"


def _other_prompts(
    settings: Sequence[EvaluationSetting], rendered: Sequence[Mapping[QueryId, Sha256]]
) -> Iterator[str]:
    first = rendered[0]
    for one, mine in zip(settings[1:], rendered[1:], strict=True):
        common = first.keys() & mine.keys()
        if other := sum(first[query] != mine[query] for query in common):
            yield (
                f"{one.label} has other prompts than {settings[0].label} for {other:,} of "
                f"{len(common):,} queries without demonstrations"
            )


def _checkpoints(settings: Sequence[EvaluationSetting]) -> SettingCheck:
    name = "checkpoints"
    labels: dict[tuple[str, str], list[str]] = {}
    for one in settings:
        key = (one.plan.checkpoint.root, one.plan.training_stage)
        labels.setdefault(key, []).append(one.label)
    twice = [" and ".join(each) for each in labels.values() if len(each) > 1]
    if twice:
        detail = f"one checkpoint at one stage: {'; '.join(twice)}"
        return SettingCheck(name, SettingStatus.SAME, refuses=False, warns=True, detail=detail)
    return SettingCheck(
        name,
        SettingStatus.DIFFERS,
        refuses=False,
        warns=False,
        detail="all different, as it should be",
    )
