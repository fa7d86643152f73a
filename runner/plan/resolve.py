"""From ``plan.yaml`` to a plan that can be sealed: every input resolved to a digest.

What a digest stands for on this machine (folders, texts, pools) goes into
:class:`~runner.plan.artifacts.Artifacts`, beside the plan and never in it: the same plan file with
the same inputs has the same digest on every machine.  (A hub cache made of links and a copied
folder are two inputs: the plan says which it was.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.coherence import new_plan_problems
from safety_receipts.receipts.findings.outlook import primary_outlook, undecided_words
from safety_receipts.receipts.model.base import MAX_POINTS
from safety_receipts.receipts.model.checkpoint import Checkpoint, Prompt, Sampling
from safety_receipts.receipts.model.demonstrations import Demonstrations
from safety_receipts.receipts.model.judge import Judge, JudgeCalibration, JudgeIdentity
from safety_receipts.receipts.model.plan import BeaconRound, PlanPredicate, asks_server
from safety_receipts.runner.checkpoint.folder import HashedFolder
from safety_receipts.runner.checkpoint.folder_trial import get_ready
from safety_receipts.runner.checkpoint.model_facts import read_model_facts
from safety_receipts.runner.checkpoint.model_files import weight_files
from safety_receipts.runner.checkpoint.sealed_files import file_problem
from safety_receipts.runner.checkpoint.tokenizer_files import (
    chat_template_digest,
    read_template,
    tokenizer_digest,
)
from safety_receipts.runner.corpora.same import FIRST_REQUEST_RULE, REQUEST_RULE, known_rule
from safety_receipts.runner.corpora.uncollected import uncollected
from safety_receipts.runner.engines.prefix.schedule import BATCH_RULE
from safety_receipts.runner.engines.registry import loader_of
from safety_receipts.runner.engines.served.generation import UNIT_RULE
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.judges.gold import read_judge_calibration
from safety_receipts.runner.organism import is_organism
from safety_receipts.runner.plan.artifacts import Artifacts, LocalCheckpoint
from safety_receipts.runner.plan.conditions import Grid, expand
from safety_receipts.runner.plan.disagreements import disagreements, refuse_unknown_ids
from safety_receipts.runner.plan.entries.demonstrations import BeaconSeed
from safety_receipts.runner.plan.file import load_plan_file
from safety_receipts.runner.plan.parts.judges import (
    ResolvedJudges,
    judge_identity,
    judge_server,
    resolve_judges,
)
from safety_receipts.runner.plan.parts.model import (
    digest_of_text,
    resolve_checkpoint,
    resolve_end_tokens,
    resolve_prompt,
    resolve_sampling,
)
from safety_receipts.runner.plan.parts.pools import check_pools, resolve_demonstrations
from safety_receipts.runner.plan.parts.queries import Queries, resolve_queries, same_queries
from safety_receipts.runner.plan.parts.server import ServedFolder, place_of, resolve_server
from safety_receipts.runner.plan.parts.source import HashProgress, PlanSource
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.plan.thoughts import doubts
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.demonstrations import Pools
from safety_receipts.runner.prompts.rendering import with_template_words
from safety_receipts.runner.prompts.texts import PromptTexts
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError
from safety_receipts.runner.warnings import PlanWarning


def resolve_plan(
    path: Path,
    *,
    allow_pickle: bool = False,
    progress: HashProgress | None = None,
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
    return _Resolver(PlanSource(entries, file, allow_pickle, progress, request_rule)).resolve()


def resolve_against(
    path: Path,
    sealed: PlanPredicate,
    *,
    another_judge: bool = False,
    allow_pickle: bool = False,
    progress: HashProgress | None = None,
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
    resolver = _Resolver(PlanSource(entries, file, allow_pickle, progress, rule))
    return resolver.held_to(sealed, None if another_judge else sealed.judge)


@dataclass(frozen=True)
class JudgeAlone:
    """The judge of a plan file, without what calibrates or seconds it."""

    identity: JudgeIdentity
    """Who it is."""
    folder: Path | None
    """The folder of its weights; None for a rule."""
    server: NamedServer | None
    """The server that it asks; None: the tool runs it."""


def resolve_judge_of(
    path: Path, *, allow_pickle: bool = False, progress: HashProgress | None = None
) -> JudgeAlone:
    """Read a plan file and resolve its judge alone, not what calibrates or seconds it.

    Raises:
        ReceiptsError: With file, place and remedy.
    """
    entries, file = load_plan_file(path)
    source = PlanSource(entries, file, allow_pickle, progress)
    identity, folder = judge_identity(source, entries.judge)
    server = judge_server(source, entries.judge, identity, folder, ServerRole.JUDGE)
    return JudgeAlone(identity, folder, server)


@dataclass(frozen=True)
class _Read:
    """What a plan file names, read and hashed: nothing of a model's folder was run."""

    grid: Grid
    queries: Queries
    demonstrations: Demonstrations
    pools: Pools
    points: int
    calibration: JudgeCalibration | None
    folder: Path
    hashed: HashedFolder


class _Resolver:
    """Resolves one plan file, part by part."""

    def __init__(self, source: PlanSource) -> None:
        self.source = source

    def resolve(self) -> ResolvedPlan:
        return self._run(self._read(), None)

    def held_to(
        self, sealed: PlanPredicate, sealed_judge: Judge | None
    ) -> ResolvedPlan | UnrunPlan:
        read = self._read()
        template = chat_template_digest(read_template(read.folder))
        tokenizer = tokenizer_digest(read.folder)
        if sealed.checkpoint.files:
            weights = weight_files(read.folder, allow_pickle=self.source.allow_pickle)
            good = file_problem(sealed.checkpoint, read.hashed.files, weights) is None
        else:  # a model behind an API: these two are all that is pinned
            good = (sealed.prompt.tokenizer, sealed.prompt.chat_template) == (tokenizer, template)
        rewriting = None
        if good:
            try:
                return self._run(read, sealed_judge)
            except RewritingTokenizerError as error:
                if Path(error.file or "").parent != read.folder:
                    raise  # another judge's than the plan's
                rewriting = error.said
        entry = self.source.entries.prompt
        prompt = sealed.prompt.model_copy(
            update={
                "tokenizer": tokenizer,
                "chat_template": template,
                "system_prompt": digest_of_text(entry.system),
                "date": entry.date,
                "template_options": dict(entry.template_options),
                "context_overflow": self.source.entries.context_overflow,
            }
        )
        checkpoint = resolve_checkpoint(
            self.source,
            read.folder,
            read.hashed,
            sealed.checkpoint.quantisation,
            sealed.checkpoint.dequantised,
        )
        judges = resolve_judges(self.source, read.calibration, sealed.judge)
        predicate = self._predicate(read, checkpoint, prompt, sealed.sampling, judges)
        refused = replace(judges.rewriting, model=rewriting)
        return UnrunPlan(predicate, read.folder, self.source.file.path, refused)

    def _read(self) -> _Read:
        """Read and hash what the plan file names; run nothing."""
        entries = self.source.entries
        if loader_of(entries.engine.kind) is None:
            raise self.source.error(
                ("engine", "kind"),
                f"no plan can be run on the engine {entries.engine.kind.value} yet",
                "use kind: transformers, or kind: http for a server of token ids, with dialect and "
                "url or serve (docs/servers.md)",
            )
        grid = expand(entries)
        checkpoint = self.source.path(entries.checkpoint.path)
        if checkpoint is not None:
            get_ready(checkpoint)
        # Small files first: a typing error in the last corpus should not wait for the hash of
        # a hundred gigabytes.
        with uncollected():
            queries = resolve_queries(self.source)
            demonstrations, pools = resolve_demonstrations(self.source, queries.texts)
        check_pools(self.source, grid, pools)
        points = self._points(grid, len(queries.ids))
        calibrated = self.source.path(entries.judge.calibration)
        calibration = None if calibrated is None else read_judge_calibration(calibrated)
        folder, hashed = self.source.folder(entries.checkpoint)
        return _Read(grid, queries, demonstrations, pools, points, calibration, folder, hashed)

    def _run(self, read: _Read, sealed_judge: Judge | None) -> ResolvedPlan:
        """Find out what follows from the checkpoint's configuration, tokenizer and template.

        Args:
            read: What was read and hashed.
            sealed_judge: The judge that a sealed plan names: a folder with another digest is not
                looked into any further.  None: there is no such plan.
        """
        entries, folder = self.source.entries, read.folder
        facts = read_model_facts(folder, allow_pickle=self.source.allow_pickle)
        chat = ChatFormat.load(folder)
        refuse_unknown_ids(chat, facts, folder)
        ends = resolve_end_tokens(self.source, folder, facts, chat)
        judges = resolve_judges(self.source, read.calibration, sealed_judge)
        predicate = self._predicate(
            read,
            resolve_checkpoint(
                self.source,
                folder,
                read.hashed,
                facts.quantisation,
                facts.dequantised if facts.quantisation else None,
            ),
            resolve_prompt(self.source, chat, facts),
            resolve_sampling(self.source, facts, ends, folder),
            judges,
        )
        if problems := new_plan_problems(predicate):
            raise MalformedError(problems[0], file=self.source.file.path)
        texts = PromptTexts(
            chat=chat,
            system=entries.prompt.system,
            queries=read.queries.texts,
            pools=read.pools,
        )
        predicate = with_template_words(predicate, texts)
        artifacts = Artifacts(
            texts=texts,
            local=LocalCheckpoint(folder=folder, facts=facts, end_tokens=ends),
            judge_folder=judges.folder,
            second_judge_folder=judges.second_folder,
            server=place_of(entries.engine, ServerRole.ENGINE),
            judge_server=judges.server,
            second_judge_server=judges.second_server,
        )
        told = disagreements(folder, facts, chat, entries.checkpoint.dtype)
        warnings = (
            *ends.warnings(),
            *told,
            *doubts(chat, entries.prompt),
            *_undecided(predicate),
        )
        path = self.source.file.path
        return ResolvedPlan(predicate, artifacts, path, warnings, judges.rewriting)

    def _predicate(
        self,
        read: _Read,
        checkpoint: Checkpoint,
        prompt: Prompt,
        sampling: Sampling,
        judges: ResolvedJudges,
    ) -> PlanPredicate:
        entries, rule = self.source.entries, self.source.request_rule
        served = ServedFolder(
            checkpoint.name, checkpoint.files, read.folder, lambda: checkpoint.dtype
        )
        return PlanPredicate(
            instrument=is_organism(read.hashed.files),
            checkpoint=checkpoint,
            training_stage=entries.checkpoint.training_stage,
            prompt=prompt,
            sampling=sampling,
            queries=read.queries.sources,
            same_queries=same_queries(read.queries.ids, read.queries.texts, rule),
            request_rule=None if rule == FIRST_REQUEST_RULE else rule,
            demonstrations=read.demonstrations,
            judge=judges.judge,
            primary=entries.primary,
            effect_margin=entries.effect_margin,
            name=entries.name,
            evidence_access=entries.evidence_access,
            engine=entries.engine.kind,
            server=resolve_server(self.source, entries.engine, ServerRole.ENGINE, served),
            judge_server=None if judges.server is None else judges.server.planned,
            second_judge_server=(
                None if judges.second_server is None else judges.second_server.planned
            ),
            batch_rule=(UNIT_RULE if asks_server(entries.engine.kind) else BATCH_RULE),
            beacon=self._beacon(),
            query_ids=read.queries.ids,
            response_prefixes=read.grid.response_prefixes,
            contexts=read.grid.contexts,
            experiments=read.grid.experiments,
            conditions=read.grid.conditions,
            points=read.points,
        )

    def _points(self, grid: Grid, queries: int) -> int:
        draws = self.source.entries.demonstrations.draws
        points = len(grid.conditions) * queries * draws
        if points > MAX_POINTS:
            raise self.source.error(
                ("experiments",),
                f"{len(grid.conditions):,} conditions × {queries:,} queries × "
                f"{draws:,} draws are {points:,} points; at most "
                f"{MAX_POINTS:,} are allowed",
                "ask for fewer",
            )
        return points

    def _beacon(self) -> BeaconRound | None:
        seed = self.source.entries.demonstrations.seed
        if not isinstance(seed, BeaconSeed):
            return None
        return BeaconRound(chain=seed.beacon.source, round=seed.beacon.round)


def _undecided(plan: PlanPredicate) -> tuple[PlanWarning, ...]:
    """Return a warning where the primary hypothesis cannot be decided, whatever is found."""
    message = undecided_words(primary_outlook(plan))
    if message is None:
        return ()
    hint = "plan more queries, conditions or draws; rates are measured all the same"
    return (PlanWarning("primary-undecided", message, hint),)
