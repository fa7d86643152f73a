"""The checkpoint: its files, its prompts, how it is sampled and what ends a response."""

from __future__ import annotations

from decimal import Decimal as ExactDecimal
from pathlib import Path

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.model.checkpoint import Checkpoint, Prompt, Sampling, SamplingMethod
from safety_receipts.runner.checkpoint.end_tokens import EndTokens, find_end_tokens
from safety_receipts.runner.checkpoint.folder import HashedFolder
from safety_receipts.runner.checkpoint.model_facts import ModelFacts
from safety_receipts.runner.checkpoint.sampling_defaults import (
    not_applied,
    own_penalty,
    read_defaults,
)
from safety_receipts.runner.engines.decoding.noise_seed import NOISE
from safety_receipts.runner.engines.served.seeds import noise_of
from safety_receipts.runner.plan.parts.source import PlanSource, last_part
from safety_receipts.runner.plan.thoughts import thoughts_of
from safety_receipts.runner.prompts.chat_format import RENDERING, ChatFormat


def resolve_checkpoint(
    source: PlanSource,
    folder: Path,
    hashed: HashedFolder,
    quantisation: str | None,
    dequantised: bool | None,
) -> Checkpoint:
    """Return what is sealed of the checkpoint.

    Args:
        source: The plan file.
        folder: The checkpoint's folder.
        hashed: Its files.
        quantisation: What its own files say of it.
        dequantised: Whether it is loaded without; None: it is not quantised.
    """
    entry = source.entries.checkpoint
    return Checkpoint(
        name=entry.name or entry.hub or last_part(entry, folder),
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


def resolve_prompt(source: PlanSource, chat: ChatFormat, facts: ModelFacts) -> Prompt:
    """Return what is sealed of how prompts are made and responses read."""
    entry = source.entries.prompt
    return Prompt(
        tokenizer=chat.tokenizer_digest,
        chat_template=chat.template_digest,
        rendering=RENDERING,
        system_prompt=digest_of_text(entry.system),
        date=entry.date,
        template_options=dict(entry.template_options),
        judged_channel=chat.judged_channel,
        context_limit=facts.context_limit,
        context_overflow=source.entries.context_overflow,
        thoughts=thoughts_of(chat, entry),
    )


def resolve_sampling(
    source: PlanSource, facts: ModelFacts, ends: EndTokens, folder: Path
) -> Sampling:
    """Return what is sealed of how responses are generated.

    Raises:
        MalformedError: The longest response leaves no room for a prompt.
    """
    entry = source.entries.sampling
    if entry.max_new_tokens >= facts.context_limit:
        raise source.error(
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
        noise=_noise(source) if entry.method is SamplingMethod.SEEDED else None,
        max_new_tokens=entry.max_new_tokens,
        end_tokens=ends.ids,
        end_token_origins=ends.to_wire(),
        # A penalty of 1 changes nothing, and two plans that do the same are the same.
        repetition_penalty=None if penalty is None or ExactDecimal(penalty) == 1 else penalty,
    )
    told = not_applied(defaults, sampling)
    return sampling.model_copy(update={"defaults_not_applied": told})


def _noise(source: PlanSource) -> str:
    """Return the rule that the noise of seeded sampling, or a server's seed, comes from."""
    dialect = source.entries.engine.dialect
    return NOISE if dialect is None else noise_of(dialect)


def resolve_end_tokens(
    source: PlanSource, folder: Path, facts: ModelFacts, chat: ChatFormat
) -> EndTokens:
    """Return what ends a response, by the checkpoint's files and the plan's corrections.

    Raises:
        MalformedError: The plan names no token, or adds and removes one.
    """
    prompt, entry = source.entries.prompt, source.entries.sampling.end_tokens
    added, removed = (
        tuple(_token(source, chat, name, i, token) for i, token in enumerate(tokens))
        for name, tokens in (("add", entry.add), ("remove", entry.remove))
    )
    for i, token in enumerate(removed):
        if token in added:
            place = ("sampling", "end_tokens", "remove", i)
            raise source.error(place, f"{chat.token_text(token)} is added and removed")
    return find_end_tokens(
        folder,
        facts.architecture.widths.vocabulary,
        tokenizer=chat.end_of_sequence,
        template=chat.turn_end(date=prompt.date, options=prompt.template_options),
        text_of=chat.token_text,
        add=added,
        remove=removed,
    )


def _token(source: PlanSource, chat: ChatFormat, name: str, place: int, token: str | int) -> int:
    id_ = chat.token_id(token) if isinstance(token, str) else token
    if id_ is None:
        raise source.error(
            ("sampling", "end_tokens", name, place),
            f"{token!r} is not a token of the checkpoint",
            "write it as tokenizer.json has it, or give its id",
        )
    return id_


def digest_of_text(text: str | None) -> Sha256 | None:
    """Return the digest of a text; None: there is none."""
    return None if text is None else sha256_hex(text.encode())
