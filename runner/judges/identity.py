"""What a judge is, as far as its labels depend on it; needs neither weights nor torch."""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.canonical import Sha256, tagged_digest
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile
from safety_receipts.receipts.model.judge import JudgeIdentity, JudgeKind, judge_digest

_NO_DIGEST = Sha256("0" * 64)


@dataclass(frozen=True)
class JudgeMethod:
    """How a kind of judge goes about it: all of a judge's identity but its weights."""

    kind: JudgeKind
    """Kind of judge."""
    template: Sha256 | None
    """Digest of its template or strings, see :func:`judge_template_digest`."""
    parser: str
    """Name and version of what turns output into an outcome."""
    threshold: str | None
    """Decision threshold, as an exact decimal."""
    max_new_tokens: int | None
    """Longest verdict in tokens."""


@dataclass(frozen=True)
class JudgeOrigin:
    """What a judge is called and where its weights come from."""

    name: str
    """What people call it."""
    hub: str | None = None
    """Repository of the weights."""
    revision: str | None = None
    """Commit of that repository."""
    weights: Sha256 | None = None
    """OpenSSF Model Signing root of the weights; None for a rule."""
    files: tuple[CheckpointFile, ...] | None = None
    """The files of the folder that the weights lie in; None for a rule, or where they are not
    stated."""


def identify(method: JudgeMethod, origin: JudgeOrigin) -> JudgeIdentity:
    """Return the identity of a judge that runs here."""
    identity = JudgeIdentity(
        kind=method.kind,
        name=origin.name,
        hub=origin.hub,
        revision=origin.revision,
        digest=_NO_DIGEST,
        weights=origin.weights,
        template=method.template,
        parser=method.parser,
        threshold=method.threshold,
        max_new_tokens=method.max_new_tokens,
        remote=False,
        folder_files=origin.files,
    )
    return identity.model_copy(update={"digest": judge_digest(identity)})


def refuse_threshold(kind: JudgeKind, threshold: str | None) -> None:
    """Refuse a threshold of a kind that takes none.

    Raises:
        UsageError: There is one.
    """
    if threshold is not None:
        raise UsageError(
            f"a {kind.value} judge takes no threshold", place="threshold", hint="leave it out"
        )


def judge_template_digest(*texts: str) -> Sha256:
    """Return SHA-256(JCS ["safety-receipts/judge-template/1", *texts]).

    Args:
        texts: A prompt template and the names of the rules it is rendered by; or the strings
            of a rule, in order.
    """
    return Sha256(tagged_digest("safety-receipts/judge-template/1", *texts).hex())
