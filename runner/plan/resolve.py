"""From ``plan.yaml`` to a plan that can be sealed: every input resolved to a digest.

What a digest stands for on this machine (folders, texts, pools) goes into
:class:`Artifacts`, beside the plan and never in it: the same plan file with the same inputs has
the same digest on every machine.  (A hub cache made of links and a copied folder are two
inputs: the plan says which it was.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal as ExactDecimal
from pathlib import Path
from typing import Any

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.coherence import new_plan_problems
from safety_receipts.receipts.model.base import MAX_POINTS, QueryId, SourceName
from safety_receipts.receipts.model.checkpoint import Checkpoint, Prompt, Sampling, SamplingMethod
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    Demonstrations,
    DemonstrationSource,
    PlannedCondition,
    QuerySource,
    Truncation,
)
from safety_receipts.receipts.model.judge import Judge, JudgeCalibration, JudgeIdentity
from safety_receipts.receipts.model.plan import BeaconRound, PlanPredicate
from safety_receipts.runner.checkpoint.answers import doubts, thoughts_of
from safety_receipts.runner.checkpoint.disagreements import disagreements, refuse_unknown_ids
from safety_receipts.runner.checkpoint.end_tokens import EndTokens, find_end_tokens
from safety_receipts.runner.checkpoint.folder import (
    HashedFolder,
    hash_folder,
    locate,
    refuse_pickles,
    refuse_unhashed_weights,
)
from safety_receipts.runner.checkpoint.model_facts import ModelFacts, read_model_facts
from safety_receipts.runner.checkpoint.model_files import weight_files
from safety_receipts.runner.checkpoint.sampling_defaults import (
    not_applied,
    own_penalty,
    read_defaults,
)
from safety_receipts.runner.checkpoint.sealed_files import file_problem
from safety_receipts.runner.checkpoint.tokenizer_files import (
    read_template,
    template_digest,
    tokenizer_digest,
)
from safety_receipts.runner.corpora.read import read_corpus
from safety_receipts.runner.corpora.rows import CorpusRows, CorpusSource, query_id
from safety_receipts.runner.corpora.same import (
    FIRST_REQUEST_RULE,
    REQUEST_RULE,
    known_rule,
    normalised,
)
from safety_receipts.runner.engines.decoding.noise_seed import NOISE
from safety_receipts.runner.engines.prefix.schedule import BATCH_RULE
from safety_receipts.runner.engines.registry import loader_of
from safety_receipts.runner.judges.gold import hold_to_judge, read_calibration
from safety_receipts.runner.judges.make import resolve_judge
from safety_receipts.runner.judges.registry import may_be_pickled
from safety_receipts.runner.organism import is_organism
from safety_receipts.runner.plan.conditions import Grid, expand
from safety_receipts.runner.plan.entries import (
    BeaconSeed,
    CorpusEntry,
    JudgeIdentityEntry,
    Located,
    PlanFile,
    PoolEntry,
)
from safety_receipts.runner.plan.file import load_plan_file
from safety_receipts.runner.plan.warnings import PlanWarning
from safety_receipts.runner.plan.yaml_file import KeyPath, YamlFile
from safety_receipts.runner.prompts.chat_format import RENDERING, ChatFormat
from safety_receipts.runner.prompts.demonstrations import Pool, Pools, decontaminate, make_pool

SELECTION = "counter-hash/1"
"""Name of the rule that draws and orders demonstrations."""

Progress = Callable[[int, int], None]
"""Told how many bytes of a folder are hashed, and of how many."""


@dataclass(frozen=True)
class Artifacts:
    """What a plan's digests stand for on this machine."""

    folder: Path
    """The checkpoint."""
    facts: ModelFacts
    """What its configuration says."""
    chat: ChatFormat
    """Its tokenizer and chat template."""
    end_tokens: EndTokens
    """What ends its responses, and who says so."""
    system: str | None
    """The system prompt's text."""
    queries: tuple[str, ...]
    """Texts of the evaluation queries, in pooled order."""
    pools: Pools
    """Demonstrations to draw from, decontaminated."""
    judge_folder: Path | None
    """Weights of the judge; None for a rule."""
    second_judge_folder: Path | None
    """Weights of the second judge; None for a rule, or where there is none."""


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan ready to be sealed, with what it stands for."""

    predicate: PlanPredicate
    """What is sealed."""
    artifacts: Artifacts
    """What it stands for on this machine."""
    file: Path
    """The plan file."""
    warnings: tuple[PlanWarning, ...] = ()
    """What its inputs leave in doubt."""


@dataclass(frozen=True)
class UnrunPlan:
    """A plan file whose checkpoint is another than a sealed plan's: nothing of it was run."""

    predicate: PlanPredicate
    """What follows from files that were read; what would follow from running the checkpoint's
    template, tokenizer or configuration is the sealed plan's."""
    folder: Path
    """The checkpoint."""
    file: Path
    """The plan file."""


NOT_RUN = "the checkpoint is not the plan's, so nothing of it is run"
"""What is said of everything that would follow from running it."""


def resolve_plan(
    path: Path,
    *,
    allow_pickle: bool = False,
    progress: Progress | None = None,
    request_rule: str = REQUEST_RULE,
) -> ResolvedPlan:
    """Read a plan file and resolve everything it names.

    Args:
        path: The plan file; relative paths in it start at its folder.
        allow_pickle: Whether weights may be pickles, which can run code when loaded.
        progress: Told how much of a folder has been hashed.
        request_rule: When two requests are one; another than today's where the plan is to be held
            to one that was sealed by another.

    Raises:
        ReceiptsError: With file, place and remedy.
    """
    entries, file = load_plan_file(path)
    return _Resolver(entries, file, allow_pickle, progress, request_rule).resolve()


def resolve_against(
    path: Path,
    sealed: PlanPredicate,
    *,
    another_judge: bool = False,
    allow_pickle: bool = False,
    progress: Progress | None = None,
) -> ResolvedPlan | UnrunPlan:
    """Read a plan file and resolve it as far as its folders are those of a sealed plan.

    Files are hashed first.  A template is rendered, a tokenizer loaded and a configuration handed
    to transformers only where the checkpoint's files are the sealed plan's, or, where that lists
    none, tokenizer and template; and of a judge's folder, where its digest is.

    Args:
        path: The plan file; relative paths in it start at its folder.
        sealed: The sealed plan.
        another_judge: Whether the plan file is to name another judge, whose folder is run as well.
        allow_pickle: Whether weights may be pickles, which can run code when loaded.
        progress: Told how much of a folder has been hashed.

    Raises:
        ReceiptsError: With file, place and remedy.
    """
    entries, file = load_plan_file(path)
    rule = known_rule(sealed.request_rule)
    resolver = _Resolver(entries, file, allow_pickle, progress, rule)
    return resolver.held_to(sealed, None if another_judge else sealed.judge)


def resolve_judge_of(
    path: Path, *, allow_pickle: bool = False, progress: Progress | None = None
) -> tuple[JudgeIdentity, Path | None]:
    """Read a plan file and resolve its judge alone, not what calibrates or seconds it.

    Returns:
        The judge's identity, and the folder of its weights; None for a rule.

    Raises:
        ReceiptsError: With file, place and remedy.
    """
    entries, file = load_plan_file(path)
    return _Resolver(entries, file, allow_pickle, progress).judge_identity(entries.judge)


@dataclass(frozen=True)
class _Read:
    """What a plan file names, read and hashed: nothing of a model's folder was run."""

    grid: Grid
    query_sources: tuple[QuerySource, ...]
    query_ids: tuple[QueryId, ...]
    queries: tuple[str, ...]
    demonstrations: Demonstrations
    pools: Pools
    points: int
    calibration: JudgeCalibration | None
    folder: Path
    hashed: HashedFolder


class _Resolver:
    """Resolves one plan file, part by part."""

    def __init__(
        self,
        entries: PlanFile,
        file: YamlFile,
        allow_pickle: bool,
        progress: Progress | None,
        request_rule: str = REQUEST_RULE,
    ) -> None:
        self.entries = entries
        self.file = file
        self.allow_pickle = allow_pickle
        self.progress = progress
        self.request_rule = request_rule

    def resolve(self) -> ResolvedPlan:
        return self._run(self._read(), None)

    def held_to(
        self, sealed: PlanPredicate, sealed_judge: Judge | None
    ) -> ResolvedPlan | UnrunPlan:
        read = self._read()
        template = template_digest(read_template(read.folder))
        tokenizer = tokenizer_digest(read.folder)
        if sealed.checkpoint.files:
            weights = weight_files(read.folder, allow_pickle=self.allow_pickle)
            good = file_problem(sealed.checkpoint, read.hashed.files, weights) is None
        else:  # a model behind an API: these two are all that is pinned
            good = (sealed.prompt.tokenizer, sealed.prompt.chat_template) == (tokenizer, template)
        if good:
            return self._run(read, sealed_judge)
        entry = self.entries.prompt
        prompt = sealed.prompt.model_copy(
            update={
                "tokenizer": tokenizer,
                "chat_template": template,
                "system_prompt": _digest_of(entry.system),
                "date": entry.date,
                "template_options": dict(entry.template_options),
                "context_overflow": self.entries.context_overflow,
            }
        )
        checkpoint = self._checkpoint(
            read, sealed.checkpoint.quantisation, sealed.checkpoint.dequantised
        )
        judge, _, _ = self._judge(read.calibration, sealed.judge)
        predicate = self._predicate(read, checkpoint, prompt, sealed.sampling, judge)
        return UnrunPlan(predicate, read.folder, self.file.path)

    def _read(self) -> _Read:
        """Read and hash what the plan file names; run nothing."""
        entries = self.entries
        if loader_of(entries.engine.kind) is None:
            raise self._error(
                ("engine", "kind"),
                f"no plan can be run on the engine {entries.engine.kind.value} yet",
                "use kind: transformers, with a checkpoint folder",
            )
        grid = expand(entries)
        # Small files first: a typing error in the last corpus should not wait for the hash of
        # a hundred gigabytes.
        sources, ids, texts = self._queries()
        demonstrations, pools = self._demonstrations(texts)
        self._check_pools(grid, pools)
        points = self._points(grid, len(ids))
        calibrated = self._path(entries.judge.calibration)
        calibration = None if calibrated is None else read_calibration(calibrated)
        folder, hashed = self._folder(entries.checkpoint)
        return _Read(
            grid, sources, ids, texts, demonstrations, pools, points, calibration, folder, hashed
        )

    def _run(self, read: _Read, sealed_judge: Judge | None) -> ResolvedPlan:
        """Find out what follows from the checkpoint's configuration, tokenizer and template.

        Args:
            read: What was read and hashed.
            sealed_judge: The judge that a sealed plan names: a folder with another digest is not
                looked into any further.  None: there is no such plan.
        """
        entries, folder = self.entries, read.folder
        facts = read_model_facts(folder, allow_pickle=self.allow_pickle)
        chat = ChatFormat.load(folder)
        refuse_unknown_ids(chat, facts, folder)
        ends = self._end_tokens(folder, facts, chat)
        judge, judge_folder, second_folder = self._judge(read.calibration, sealed_judge)
        predicate = self._predicate(
            read,
            self._checkpoint(
                read, facts.quantisation, facts.dequantised if facts.quantisation else None
            ),
            self._prompt(chat, facts),
            self._sampling(facts, ends, folder),
            judge,
        )
        if problems := new_plan_problems(predicate):
            raise MalformedError(problems[0], file=self.file.path)
        artifacts = Artifacts(
            folder=folder,
            facts=facts,
            chat=chat,
            end_tokens=ends,
            system=entries.prompt.system,
            queries=read.queries,
            pools=read.pools,
            judge_folder=judge_folder,
            second_judge_folder=second_folder,
        )
        told = disagreements(folder, facts, chat, entries.checkpoint.dtype)
        warnings = (*ends.warnings(), *told, *doubts(chat, entries.prompt))
        return ResolvedPlan(predicate, artifacts, self.file.path, warnings)

    def _predicate(
        self,
        read: _Read,
        checkpoint: Checkpoint,
        prompt: Prompt,
        sampling: Sampling,
        judge: Judge,
    ) -> PlanPredicate:
        entries = self.entries
        return PlanPredicate(
            instrument=is_organism(read.hashed.files),
            checkpoint=checkpoint,
            training_stage=entries.checkpoint.training_stage,
            prompt=prompt,
            sampling=sampling,
            queries=read.query_sources,
            same_queries=same_queries(read.query_ids, read.queries, self.request_rule),
            request_rule=None if self.request_rule == FIRST_REQUEST_RULE else self.request_rule,
            demonstrations=read.demonstrations,
            judge=judge,
            primary=entries.primary,
            effect_margin=entries.effect_margin,
            name=entries.name,
            evidence_access=entries.evidence_access,
            engine=entries.engine.kind,
            batch_rule=BATCH_RULE,
            beacon=self._beacon(),
            query_ids=read.query_ids,
            response_prefixes=read.grid.response_prefixes,
            contexts=read.grid.contexts,
            experiments=read.grid.experiments,
            conditions=read.grid.conditions,
            points=read.points,
        )

    def _error(self, place: KeyPath, message: str, hint: str | None = None) -> MalformedError:
        return MalformedError(message, file=self.file.path, place=self.file.place(place), hint=hint)

    def _path(self, path: Path | None) -> Path | None:
        return None if path is None else self.file.path.parent / path

    def _folder(self, entry: Located, *, plain: bool = False) -> tuple[Path, HashedFolder]:
        """Return a model's folder, and its files.

        Args:
            entry: What the plan file names.
            plain: Whether pickles cannot be its weights, whatever is allowed.
        """
        folder = locate(entry, root=self.file.path.parent, allow_pickle=self.allow_pickle)
        # A snapshot is fetched without pickles, and its cache may hold some from elsewhere.
        pickles = self.allow_pickle or entry.hub is None
        hashed = hash_folder(folder, pickles=pickles, progress=self.progress)
        refuse_pickles(hashed, folder, allow=self.allow_pickle)
        refuse_unhashed_weights(hashed, folder, allow_pickle=self.allow_pickle and not plain)
        return folder, hashed

    def _checkpoint(
        self, read: _Read, quantisation: str | None, dequantised: bool | None
    ) -> Checkpoint:
        entry, hashed = self.entries.checkpoint, read.hashed
        return Checkpoint(
            name=entry.name or entry.hub or _last_part(entry, read.folder),
            hub=entry.hub,
            revision=entry.revision,
            root=hashed.root,
            root_order=hashed.root_order,
            alternative_root=hashed.alternative_root,
            files=hashed.files,
            served_as=None,
            symlinks_followed=hashed.symlinks_followed,
            dtype=entry.dtype,
            quantisation=entry.quantisation or quantisation,
            dequantised=dequantised,
        )

    def _prompt(self, chat: ChatFormat, facts: ModelFacts) -> Prompt:
        entry = self.entries.prompt
        return Prompt(
            tokenizer=chat.tokenizer_digest,
            chat_template=chat.template_digest,
            rendering=RENDERING,
            system_prompt=_digest_of(entry.system),
            date=entry.date,
            template_options=dict(entry.template_options),
            judged_channel=chat.judged_channel,
            context_limit=facts.context_limit,
            context_overflow=self.entries.context_overflow,
            thoughts=thoughts_of(chat, entry),
        )

    def _sampling(self, facts: ModelFacts, ends: EndTokens, folder: Path) -> Sampling:
        entry = self.entries.sampling
        if entry.max_new_tokens >= facts.context_limit:
            raise self._error(
                ("sampling", "max_new_tokens"),
                f"{entry.max_new_tokens:,} new tokens leave no room for a prompt in the "
                f"model's context of {facts.context_limit:,}",
                "ask for fewer",
            )
        defaults = read_defaults(folder)
        penalty = entry.repetition_penalty
        if penalty == "checkpoint":
            penalty = own_penalty(defaults, folder)
        sampling = Sampling(
            method=entry.method,
            temperature=entry.temperature,
            top_p=entry.top_p,
            top_k=entry.top_k,
            noise=NOISE if entry.method is SamplingMethod.SEEDED else None,
            max_new_tokens=entry.max_new_tokens,
            end_tokens=ends.ids,
            end_token_origins=ends.to_wire(),
            # A penalty of 1 changes nothing, and two plans that do the same are the same.
            repetition_penalty=None if penalty is None or ExactDecimal(penalty) == 1 else penalty,
        )
        told = not_applied(defaults, sampling)
        return sampling.model_copy(update={"defaults_not_applied": told})

    def _end_tokens(self, folder: Path, facts: ModelFacts, chat: ChatFormat) -> EndTokens:
        prompt, entry = self.entries.prompt, self.entries.sampling.end_tokens
        added, removed = (
            tuple(self._token(chat, name, i, token) for i, token in enumerate(tokens))
            for name, tokens in (("add", entry.add), ("remove", entry.remove))
        )
        for i, token in enumerate(removed):
            if token in added:
                place = ("sampling", "end_tokens", "remove", i)
                raise self._error(place, f"{chat.token_text(token)} is added and removed")
        return find_end_tokens(
            folder,
            facts.architecture.widths.vocabulary,
            tokenizer=chat.end_of_sequence,
            template=chat.turn_end(date=prompt.date, options=prompt.template_options),
            text_of=chat.token_text,
            add=added,
            remove=removed,
        )

    def _token(self, chat: ChatFormat, name: str, place: int, token: str | int) -> int:
        id_ = chat.token_id(token) if isinstance(token, str) else token
        if id_ is None:
            raise self._error(
                ("sampling", "end_tokens", name, place),
                f"{token!r} is no token of the checkpoint",
                "write it as tokenizer.json has it, or give its id",
            )
        return id_

    def _corpus(self, entry: CorpusEntry) -> CorpusRows:
        return read_corpus(
            CorpusSource(
                corpus=entry.corpus,
                path=self._path(entry.path),
                hub=entry.hub,
                revision=entry.revision,
                file=entry.file,
                where=dict(entry.where),
                licence=entry.licence,
            ),
            self.request_rule,
        )

    def _queries(self) -> tuple[tuple[QuerySource, ...], tuple[QueryId, ...], tuple[str, ...]]:
        sources, ids, texts = [], [], []
        asked: set[str] = set()
        once = self.entries.queries_repeated == "first"
        for i, entry in enumerate(self.entries.queries):
            rows = self._corpus(entry)
            name = SourceName(entry.name or entry.corpus)
            taken = rows.selected
            if once:
                taken = tuple(row for row in taken if self._same(row.request) not in asked)
                asked |= {self._same(row.request) for row in taken}
                if not taken:
                    raise self._error(
                        ("queries", i),
                        f"source {name} asks nothing that no earlier source does",
                        "leave it out, or write queries_repeated: keep",
                    )
            sources.append(
                QuerySource(
                    **_corpus_fields(name, entry, rows),
                    role=entry.role,
                    selected=len(taken),
                    repeated_rows=len(rows.selected) - len(taken) if once else None,
                )
            )
            ids += [query_id(name, row) for row in taken]
            texts += [row.request for row in taken]
        return tuple(sources), tuple(ids), tuple(texts)

    def _same(self, request: str) -> str:
        return normalised(request, self.request_rule)

    def _demonstrations(self, queries: tuple[str, ...]) -> tuple[Demonstrations, Pools]:
        entry = self.entries.demonstrations
        harmful = self._pool(entry.harmful, DemonstrationKind.HARMFUL, None, queries)
        refusal = self._pool(entry.refusal, DemonstrationKind.REFUSAL, None, queries)
        benign = [
            self._pool(pool, DemonstrationKind.BENIGN, name, queries)
            for name, pool in entry.benign.items()
        ]
        known = [each for each in benign if each is not None]
        block = entry.draw_block
        number_of_blocks = 1 if block == "all" else -(-len(queries) // int(block))
        wire = Demonstrations(
            harmful=harmful and harmful[0],
            benign=tuple(source for source, _ in known),
            refusal=refusal and refusal[0],
            selection=SELECTION,
            draws=entry.draws,
            draw_block=block if block == "all" else int(block),
            distinct_lists=number_of_blocks * entry.draws,
            truncation=(
                None
                if entry.truncate is None
                else Truncation(characters=entry.truncate.characters, scope=entry.truncate.scope)
            ),
        )
        pools = Pools(
            harmful=harmful and harmful[1],
            benign={pool.source: pool for _, pool in known},
            refusal=refusal and refusal[1],
        )
        return wire, pools

    def _pool(
        self,
        entry: PoolEntry | None,
        kind: DemonstrationKind,
        key: SourceName | None,
        queries: tuple[str, ...],
    ) -> tuple[DemonstrationSource, Pool] | None:
        if entry is None:
            return None
        rows = self._corpus(entry)
        name = SourceName(key or entry.name or entry.corpus)
        pool, decontaminated = decontaminate(
            make_pool(kind, name, rows.selected), queries, self.request_rule
        )
        source = DemonstrationSource(
            **_corpus_fields(name, entry, rows),
            kind=kind,
            responses_by=entry.responses_by,
            decontaminated=decontaminated,
            pool=len(pool.items),
        )
        return source, pool

    def _check_pools(self, grid: Grid, pools: Pools) -> None:
        """Say which condition asks for more than a pool has."""
        for condition in grid.conditions:
            for kind, pool, count in _asked(condition, pools):
                if count > len(pool.items):
                    place: KeyPath = ("demonstrations", kind)
                    raise self._error(
                        (*place, pool.source) if kind == "benign" else place,
                        f"condition {condition.id} shows {count:,} of its demonstrations, and "
                        f"{len(pool.items):,} are left without evaluation queries and repeats",
                        "ask for fewer, or supply more",
                    )

    def _points(self, grid: Grid, queries: int) -> int:
        points = len(grid.conditions) * queries * self.entries.demonstrations.draws
        if points > MAX_POINTS:
            raise self._error(
                ("experiments",),
                f"{len(grid.conditions):,} conditions × {queries:,} queries × "
                f"{self.entries.demonstrations.draws:,} draws are {points:,} points; at most "
                f"{MAX_POINTS:,} are allowed",
                "ask for fewer",
            )
        return points

    def _judge(
        self, calibration: JudgeCalibration | None, sealed: Judge | None
    ) -> tuple[Judge, Path | None, Path | None]:
        entry = self.entries.judge
        first, folder = self.judge_identity(entry, sealed)
        second, second_folder = (
            (None, None)
            if entry.second is None
            else self.judge_identity(entry.second, None if sealed is None else sealed.second)
        )
        if calibration is not None and entry.calibration is not None:
            hold_to_judge(calibration, first, self.file.path.parent / entry.calibration)
        judge = Judge(**dict(first), calibration=calibration, second=second)
        return judge, folder, second_folder

    def judge_identity(
        self, entry: JudgeIdentityEntry, sealed: JudgeIdentity | None = None
    ) -> tuple[JudgeIdentity, Path | None]:
        """Return who a judge is, and the folder of its weights; None for a rule.

        Args:
            entry: The plan file's.
            sealed: The one that a sealed plan names: a folder with another digest is not looked
                into any further.  None: there is no such plan.
        """
        if entry.path is None and entry.hub is None:
            return resolve_judge(entry, None, None), None
        folder, hashed = self._folder(entry, plain=not may_be_pickled(entry.kind))
        named = {"name": entry.name or entry.hub or _last_part(entry, folder)}
        run = sealed is None or (
            sealed.weights == hashed.root and sealed.folder_files in (None, hashed.files)
        )
        identity = resolve_judge(
            entry.model_copy(update=named),
            folder,
            hashed.root,
            files=hashed.files,
            run_template=run,
        )
        return identity, folder

    def _beacon(self) -> BeaconRound | None:
        seed = self.entries.demonstrations.seed
        if not isinstance(seed, BeaconSeed):
            return None
        return BeaconRound(chain=seed.beacon.source, round=seed.beacon.round)


def _asked(condition: PlannedCondition, pools: Pools) -> Iterator[tuple[str, Pool, int]]:
    """Yield the pools that a condition draws from, with how many it takes from each."""
    context = condition.context
    if condition.n_harmful:
        harmful = pools.of(DemonstrationKind.HARMFUL, None)
        yield "harmful", harmful, condition.n_harmful
    if context.n_refusal:
        yield "refusal", pools.of(DemonstrationKind.REFUSAL, None), context.n_refusal
    benign: Counter[SourceName] = Counter()
    if condition.benign_source is not None:
        benign[condition.benign_source] += condition.n_benign
    if context.gap_source is not None:
        benign[context.gap_source] += context.gap_turns
    for source, count in benign.items():
        yield "benign", pools.of(DemonstrationKind.BENIGN, source), count


def same_queries(
    ids: Sequence[QueryId], texts: Sequence[str], rule: str = REQUEST_RULE
) -> tuple[tuple[QueryId, ...], ...]:
    """Return the queries that ask the same, in pooled order.

    Equal means equal after :func:`runner.corpora.same.normalised`, as for demonstrations.

    Args:
        ids: Ids of all evaluation queries.
        texts: Their requests.
        rule: When two requests are one.
    """
    asking: dict[str, list[QueryId]] = {}
    for id_, text in zip(ids, texts, strict=True):
        asking.setdefault(normalised(text, rule), []).append(id_)
    return tuple(tuple(group) for group in asking.values() if len(group) > 1)


def _digest_of(text: str | None) -> Sha256 | None:
    return None if text is None else sha256_hex(text.encode())


def _last_part(entry: Located, folder: Path) -> str:
    """Return the last part of a path as the plan spells it, wherever it leads."""
    spelt = "" if entry.path is None else entry.path.name
    return spelt or folder.resolve().name


def _corpus_fields(name: SourceName, entry: CorpusEntry, rows: CorpusRows) -> dict[str, Any]:
    return {
        "name": name,
        "corpus": rows.corpus,
        "digest": rows.digest,
        "hub": rows.hub,
        "revision": rows.revision,
        "file": rows.file,
        "licence": rows.licence,
        "languages": tuple(entry.languages),
        "rows": rows.rows,
        "where": dict(rows.where),
        "empty_rows": rows.empty_rows,
        "duplicate_rows": rows.duplicate_rows,
    }
