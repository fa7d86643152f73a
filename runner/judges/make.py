"""From a plan's judge entry to its identity, and from the identity to a judge that runs."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from safety_receipts.receipts.errors import IntegrityError, UsageError
from safety_receipts.receipts.model.judge import JudgeIdentity, traits_of
from safety_receipts.runner.engines.served.options import NamedServer
from safety_receipts.runner.judges.identity import JudgeOrigin, identify
from safety_receipts.runner.judges.judge import ResponseJudge
from safety_receipts.runner.judges.registry import ModelKind, RuleKind, kind_of_judge
from safety_receipts.runner.judges.weights import JudgeWeights


def load_judge(
    identity: JudgeIdentity,
    folder: Path | None,
    *,
    device: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
    server: NamedServer | None = None,
) -> ResponseJudge:
    """Load a judge.

    The weights are those in the folder: whoever resolved the identity has hashed them.  A
    causal language model is run in the number format that its configuration names (float32
    where it names none), a classifier in float32.

    Args:
        identity: What it must be; the loaded judge has this identity, without the calibration
            and second opinion of a plan's judge.
        folder: Folder of its weights; None for a rule.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one.
        memory: Bound on the engine's memory in bytes; None: the engine's own choice.
        allow_pickle: Whether a causal language model's weights may be pickles; a classifier's
            may not.
        server: The server of its folder that it asks; None: its weights are loaded here.

    Raises:
        UsageError: A judge behind an API; no folder where one is needed; no such device; a server
            for a judge that asks none, or one that cannot be used.
        IntegrityError: The identity is that of another template, parser or digest than this
            version has.
        FileAccessError: The folder cannot be read.
        MalformedError: It holds no such judge, or one that cannot be guarded.
        IncompleteError: torch or transformers is not installed; the server does not answer.
    """
    identity = _checked(identity)
    made = kind_of_judge(identity.kind).made
    if server is not None and not traits_of(identity.kind).generates:
        raise UsageError(
            f"a {identity.kind.value} judge generates nothing that a server could give",
            hint="leave its server out of the plan",
        )
    match made:
        case RuleKind(make=make):
            return make(identity.name)
        case ModelKind(module=module):
            if folder is None:
                raise UsageError(f"a {identity.kind.value} judge needs the folder of its weights")
            weights = JudgeWeights(folder, device, memory, allow_pickle, server)
            return module().load(identity, weights)
        case _:
            assert_never(made)


def _checked(identity: JudgeIdentity) -> JudgeIdentity:
    """Return the identity alone; refuse one that this version's methods do not give."""
    if identity.remote:
        raise UsageError(
            "a judge behind an API cannot be run yet",
            hint="its labels can be verified as recorded, not judged again",
        )
    methods = kind_of_judge(identity.kind).methods(identity.threshold)
    # Of several ways the one with its parser; where there is none, the comparison below says so.
    method = next((method for method in methods if method.parser == identity.parser), methods[0])
    origin = JudgeOrigin(
        identity.name, identity.hub, identity.revision, identity.weights, identity.folder_files
    )
    ours = identify(method, origin)
    for field in ("template", "parser", "max_new_tokens", "digest"):
        if getattr(ours, field) != getattr(identity, field):
            raise IntegrityError(
                f"the judge's {field} is not the one of this version",
                hint="judge with the version that sealed the plan",
            )
    return ours
