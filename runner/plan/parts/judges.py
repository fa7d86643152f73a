"""Judges: from a plan's entry to an identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile
from safety_receipts.receipts.model.judge import Judge, JudgeCalibration, JudgeIdentity
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.judges.gold import hold_to_judge
from safety_receipts.runner.judges.identity import JudgeOrigin, identify
from safety_receipts.runner.judges.registry import (
    ModelKind,
    RuleKind,
    kind_of_judge,
    may_be_pickled,
)
from safety_receipts.runner.judges.weights import named_dtype
from safety_receipts.runner.plan.entries.judge import JudgeIdentityEntry
from safety_receipts.runner.plan.parts.server import ServedFolder, place_of, resolve_server
from safety_receipts.runner.plan.parts.source import PlanSource, last_part
from safety_receipts.runner.vocabulary.refusal import RewritingFolders, RewritingTokenizerError


@dataclass(frozen=True)
class ResolvedJudges:
    """The judges of a plan, and what they stand for."""

    judge: Judge
    """The judge with its second opinion."""
    folder: Path | None
    """Folder of its weights; None for a rule."""
    second_folder: Path | None
    """The same of the second."""
    rewriting: RewritingFolders
    """Whose tokenizers are refused, where a sealed plan names them."""
    server: NamedServer | None = None
    """The server that the judge asks; None: it is run by the tool."""
    second_server: NamedServer | None = None
    """The same of the second."""


def resolve_judges(
    source: PlanSource, calibration: JudgeCalibration | None, sealed: Judge | None
) -> ResolvedJudges:
    """Return the judge with its second opinion.

    Args:
        source: The plan file.
        calibration: The judge's; None: it is not calibrated.
        sealed: The judge that a sealed plan names; None: there is no such plan.

    Raises:
        RewritingTokenizerError: A tokenizer may rewrite texts, and no sealed plan names a judge.
        ReceiptsError: A folder cannot be read, or holds no such judge.
    """
    entry = source.entries.judge
    first, folder, why = _held_identity(source, entry, sealed)
    second, second_folder, second_why = (
        (None, None, None)
        if entry.second is None
        else _held_identity(source, entry.second, None if sealed is None else sealed.second)
    )
    if calibration is not None and entry.calibration is not None:
        hold_to_judge(calibration, first, source.file.path.parent / entry.calibration)
    judge = Judge(**dict(first), calibration=calibration, second=second)
    return ResolvedJudges(
        judge,
        folder,
        second_folder,
        RewritingFolders(judge=why, second_judge=second_why),
        judge_server(source, entry, first, folder, ServerRole.JUDGE),
        None
        if entry.second is None or second is None
        else judge_server(source, entry.second, second, second_folder, ServerRole.SECOND_JUDGE),
    )


def judge_server(
    source: PlanSource,
    entry: JudgeIdentityEntry,
    judge: JudgeIdentity,
    folder: Path | None,
    role: ServerRole,
) -> NamedServer | None:
    """Return the server that a judge asks; None: it asks none.

    Args:
        source: The plan file.
        entry: What it says of the judge.
        judge: Who it is.
        folder: Folder of its weights; None for a rule.
        role: Which judge asks.

    Raises:
        ReceiptsError: As :func:`runner.plan.parts.server.resolve_server`.
    """
    if entry.server is None or folder is None:
        return None
    served = ServedFolder(judge.name, judge.folder_files or (), folder, lambda: named_dtype(folder))
    planned = resolve_server(source, entry.server, role, served)
    place = place_of(entry.server, role)
    return None if planned is None or place is None else NamedServer(planned, place)


def _held_identity(
    source: PlanSource, entry: JudgeIdentityEntry, sealed: JudgeIdentity | None
) -> tuple[JudgeIdentity, Path | None, str | None]:
    """Return who a judge is, its folder, and why its tokenizer is refused, or None.

    Raises:
        RewritingTokenizerError: It is refused, and no sealed plan names this judge.
    """
    try:
        return *judge_identity(source, entry, sealed), None
    except RewritingTokenizerError as error:
        if sealed is None:
            raise
        return *judge_identity(source, entry, sealed, look=False), error.said


def judge_identity(
    source: PlanSource,
    entry: JudgeIdentityEntry,
    sealed: JudgeIdentity | None = None,
    *,
    look: bool = True,
) -> tuple[JudgeIdentity, Path | None]:
    """Return who a judge is, and the folder of its weights; None for a rule.

    Args:
        source: The plan file, and how it is read.
        entry: The plan file's.
        sealed: The one that a sealed plan names: a folder with another digest is not looked
            into any further.  None: there is no such plan.
        look: Whether its template and tokenizer may be looked into at all.
    """
    if entry.path is None and entry.hub is None:
        return resolve_judge(entry, None, None), None
    folder, hashed = source.folder(entry, plain=not may_be_pickled(entry.kind))
    named = {"name": entry.name or entry.hub or last_part(entry, folder)}
    run = look and (
        sealed is None
        or (sealed.weights == hashed.root and sealed.folder_files in (None, hashed.files))
    )
    identity = resolve_judge(
        entry.model_copy(update=named),
        folder,
        hashed.root,
        files=hashed.files,
        run_template=run,
    )
    return identity, folder


def resolve_judge(
    entry: JudgeIdentityEntry,
    folder: Path | None,
    root: Sha256 | None,
    *,
    files: tuple[CheckpointFile, ...] | None = None,
    run_template: bool = True,
) -> JudgeIdentity:
    """Return the identity of the judge that a plan names; loads no weights and no torch.

    Args:
        entry: The plan's.
        folder: Folder of its weights; None for a rule.
        root: OpenSSF Model Signing root of that folder; None for a rule.
        files: The folder's files; None for a rule, or where they are not to be stated.
        run_template: Whether a chat judge's template may be rendered, which says how it is asked
            and read.  False for a folder that is not the one it should be: its identity is then
            another anyhow.

    Raises:
        UsageError: The entry asks for what such a judge cannot do.
        FileAccessError: A classifier's configuration cannot be read.
        MalformedError: It names no refusal label.
    """
    if entry.base_url is not None:
        raise UsageError(
            "a judge behind an API is not supported yet",
            place="base_url",
            hint="give path, or hub with revision, of a chat checkpoint, and no base_url",
        )
    kind = kind_of_judge(entry.kind)
    method = kind.methods(entry.threshold)[0]
    match kind.made:
        case RuleKind(name=name):
            return identify(method, JudgeOrigin(entry.name or name))
        case ModelKind(module=module):
            if folder is None or root is None:
                raise UsageError(
                    f"a {entry.kind.value} judge needs its weights",
                    hint="give path, or hub with revision, of the judge's folder",
                )
            method = module().look(folder, method, run_template=run_template)
            name = entry.name or entry.hub or folder.resolve().name
            return identify(method, JudgeOrigin(name, entry.hub, entry.revision, root, files))
        case _:
            assert_never(kind.made)
