"""From a judge's identity to a judge that runs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity, JudgeKind
from safety_receipts.runner.checkpoint.config import CONFIG
from safety_receipts.runner.checkpoint.end_tokens import find_end_tokens
from safety_receipts.runner.checkpoint.model_files import read_json_object
from safety_receipts.runner.judges import chat, classifier, refusal_strings, wildguard
from safety_receipts.runner.judges.generative import Limits
from safety_receipts.runner.judges.guarded import GuardedTokenizer
from safety_receipts.runner.judges.identity import Method, Origin, identify
from safety_receipts.runner.judges.judge import Judge


def load_judge(
    identity: JudgeIdentity,
    folder: Path | None,
    *,
    device: str | None = None,
    memory: int | None = None,
    allow_pickle: bool = False,
) -> Judge:
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

    Raises:
        UsageError: A judge behind an API; no folder where one is needed; no such device.
        IntegrityError: The identity is that of another template, parser or digest than this
            version has.
        FileAccessError: The folder cannot be read.
        MalformedError: It holds no such judge, or one that cannot be guarded.
        IncompleteError: torch or transformers is not installed.
    """
    identity = _checked(identity)
    if identity.kind is JudgeKind.REFUSAL_STRINGS:
        return refusal_strings.RefusalStringsJudge(identity.name)
    if folder is None:
        raise UsageError(f"a {identity.kind.value} judge needs the folder of its weights")
    tokenizer = _load_tokenizer(folder)
    if identity.kind is JudgeKind.CLASSIFIER:
        return classifier.ClassifierJudge.load(identity, tokenizer, folder, device=device)
    from safety_receipts.runner.engines.load import load_model  # noqa: PLC0415 (torch)
    from safety_receipts.runner.engines.transformers_engine import TransformersEngine  # noqa: PLC0415

    dtype = _dtype(folder)
    model = load_model(folder, dtype=dtype, device=device or "auto", allow_pickle=allow_pickle)
    engine, facts = TransformersEngine(model, memory=memory), model.architecture
    limits = Limits(
        context=facts.context_limit,
        max_new_tokens=identity.max_new_tokens or 0,
        end_tokens=_end_tokens(identity.kind, tokenizer, folder, facts.widths.vocabulary),
    )
    if identity.kind is JudgeKind.CHAT:
        if chat.method_of(folder).parser != identity.parser:
            raise IntegrityError(
                "the judge's parser is not the one of this version for such a checkpoint",
                file=folder,
                hint="judge with the version that sealed the plan",
            )
        return chat.chat_judge(identity, engine, tokenizer, folder, limits)
    guarded = GuardedTokenizer(tokenizer, folder, add_special_tokens=True)
    return wildguard.wildguard_judge(identity, engine, guarded, limits)


def _end_tokens(kind: JudgeKind, tokenizer: Any, folder: Path, vocabulary: int) -> frozenset[int]:
    """Return the ids that end a judge's reply: those that would end a response of its folder.

    WildGuard is not asked through a chat template, so that none says where its turns end.
    """
    turn_end = None
    if kind is JudgeKind.CHAT:
        from safety_receipts.runner.prompts.chat_format import ChatFormat  # noqa: PLC0415 (identities are resolved without it)

        turn_end = ChatFormat.load(folder).turn_end(date=chat.DATE)
    ends = find_end_tokens(
        folder,
        vocabulary,
        tokenizer=tokenizer.eos_token_id,
        template=turn_end,
        text_of=tokenizer.convert_ids_to_tokens,
    )
    return frozenset(ends.ids)


def method_of(kind: JudgeKind, threshold: str | None, parser: str | None = None) -> Method:
    """Return how a kind of judge judges; of several ways the one with a parser, or the first."""
    if kind is JudgeKind.CLASSIFIER:
        return classifier.method(threshold)
    if threshold is not None:
        raise UsageError(
            f"a {kind.value} judge takes no threshold", place="threshold", hint="leave it out"
        )
    ways = (refusal_strings.METHOD, wildguard.METHOD, chat.METHOD, chat.THINKING_METHOD)
    methods = [method for method in ways if method.kind is kind]
    return next((method for method in methods if method.parser == parser), methods[0])


def _checked(identity: JudgeIdentity) -> JudgeIdentity:
    """Return the identity alone; refuse one that this version's methods do not give."""
    if identity.remote:
        raise UsageError(
            "a judge behind an API cannot be run yet",
            hint="its labels can be verified as recorded, not judged again",
        )
    method = method_of(identity.kind, identity.threshold, identity.parser)
    origin = Origin(
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


def _dtype(folder: Path) -> Dtype:
    """Return the number format that a causal language model's configuration names."""
    config = read_json_object(folder / CONFIG)
    inner = config.get("text_config")
    named = [
        part.get(key)
        for part in (config, inner if isinstance(inner, dict) else {})
        for key in ("dtype", "torch_dtype")
    ]
    return next((dtype for dtype in Dtype if dtype.value in named), Dtype.FLOAT32)


def _load_tokenizer(folder: Path) -> Any:
    try:
        import_module("torch")
        prompts: Any = import_module("safety_receipts.runner.prompts.tokenizer")
    except ImportError:
        raise IncompleteError(
            "this judge needs torch and transformers", hint=install("run")
        ) from None
    return prompts.load_tokenizer(folder)
