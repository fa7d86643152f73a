"""What a model folder says twice, and not the same: which of the two is used here.

Nothing here stops a run.  Who deploys the folder with other software may get the other of the
two, and then what was measured is not what is deployed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.model_facts import ModelFacts
from safety_receipts.runner.checkpoint.model_files import CONFIG, INDEX, read_json_object
from safety_receipts.runner.checkpoint.tokenizer_files import TEMPLATE_FILE, TOKENIZER_CONFIG
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.warnings import PlanWarning

_PROCESSOR_TEMPLATE = "chat_template.json"
_STORED = {"F32": Dtype.FLOAT32, "BF16": Dtype.BFLOAT16, "F16": Dtype.FLOAT16}
"""Number formats of plain weights, by their name in a header."""


def disagreements(
    folder: Path, facts: ModelFacts, chat: ChatFormat, dtype: Dtype
) -> Iterator[PlanWarning]:
    """Yield a warning for each thing that a folder, or folder and plan, say differently.

    Args:
        folder: The model's folder.
        facts: What its configuration and headers say.
        chat: Its tokenizer and chat template.
        dtype: Number format that the plan runs it in.

    Raises:
        FileAccessError: A configuration cannot be read.
        MalformedError: One is damaged.
    """
    raw = read_json_object(folder / CONFIG)
    yield from _vocabularies(facts, chat)
    yield from _beginnings(raw, chat)
    yield from _contexts(facts, chat)
    yield from _templates(folder)
    yield from _number_formats(raw, facts, dtype)
    yield from _weight_files(folder, facts)


def refuse_unknown_ids(chat: ChatFormat, facts: ModelFacts, folder: Path) -> None:
    """Refuse a chat template that writes a token which the model has no embedding of.

    Args:
        chat: The folder's tokenizer and chat template.
        facts: What its configuration says.
        folder: Named in the error.

    Raises:
        MalformedError: It does.
    """
    rows = facts.architecture.widths.vocabulary
    for id_, text in sorted(chat.written_control.items()):
        if id_ >= rows:
            raise MalformedError(
                f"the chat template writes {text} ({id_:,}), and the model's embedding has "
                f"{rows:,} rows",
                file=folder,
                hint="use the tokenizer that the weights were saved with",
            )


def _vocabularies(facts: ModelFacts, chat: ChatFormat) -> Iterator[PlanWarning]:
    rows = facts.architecture.widths.vocabulary
    if chat.largest_id >= rows:
        yield PlanWarning(
            "vocabulary",
            f"the tokenizer has ids up to {chat.largest_id:,}, the first without an embedding "
            f"being {chat.token_text(rows)} ({rows:,}): a prompt that holds one fails",
            "use the tokenizer that the weights were saved with",
        )


def _beginnings(raw: dict[str, Any], chat: ChatFormat) -> Iterator[PlanWarning]:
    """The template writes the tokenizer's; no padding is seen by a prompt, so that is not asked."""
    stated, written = raw.get("bos_token_id"), chat.beginning_of_sequence
    if type(stated) is int and written is not None and stated != written:
        yield PlanWarning(
            "bos",
            f"prompts start with the tokenizer's {chat.token_text(written)} ({written}), and "
            f"{CONFIG} names {chat.token_text(stated)} ({stated}) for it",
            f"correct the one that the model was not trained with, in {TOKENIZER_CONFIG} or "
            f"{CONFIG}",
        )


def _contexts(facts: ModelFacts, chat: ChatFormat) -> Iterator[PlanWarning]:
    stated, limit = chat.stated_context, facts.context_limit
    if stated is not None and stated < limit:
        yield PlanWarning(
            "context",
            f"{CONFIG} allows {limit:,} tokens, which rules here, and the tokenizer's "
            f"model_max_length {stated:,}",
            f"correct model_max_length in {TOKENIZER_CONFIG}, or max_position_embeddings",
        )


def _templates(folder: Path) -> Iterator[PlanWarning]:
    """Transformers takes the template's own file where there is one, and reads no other."""
    if not (folder / TEMPLATE_FILE).is_file():
        return
    try:
        used = (folder / TEMPLATE_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return  # the chat format was loaded from it, or has said why not
    for name in (TOKENIZER_CONFIG, _PROCESSOR_TEMPLATE):
        if not (folder / name).is_file():
            continue
        other = read_json_object(folder / name).get("chat_template")
        if isinstance(other, list):
            named = {one.get("name"): one.get("template") for one in other if isinstance(one, dict)}
            other = named.get("default")
        if isinstance(other, str) and other.strip() != used.strip():
            yield PlanWarning(
                "chat-template",
                f"{TEMPLATE_FILE}, which transformers uses, and chat_template in {name} are two "
                "templates",
                "remove the one that is not meant",
            )


def _number_formats(raw: dict[str, Any], facts: ModelFacts, dtype: Dtype) -> Iterator[PlanWarning]:
    if facts.quantisation is not None:
        return
    counted: Counter[Dtype] = Counter()
    for tensor in facts.weights.tensors.values():
        if tensor.dtype in _STORED:
            counted[_STORED[tensor.dtype]] += tensor.values
    if not counted:
        return
    stored = counted.most_common(1)[0][0]
    named = raw.get("dtype", raw.get("torch_dtype"))
    if named in list(Dtype) and named != stored:
        yield PlanWarning(
            "dtype",
            f"{CONFIG} names {named}, and the weights are stored in {stored.value}",
            f"correct {CONFIG}, or get the weights that go with it",
        )
    if stored is not dtype:
        yield PlanWarning(
            "dtype",
            f"the weights are stored in {stored.value} and run in {dtype.value}",
            f"write dtype: {stored.value} in the plan to run them as they are deployed",
        )


def _weight_files(folder: Path, facts: ModelFacts) -> Iterator[PlanWarning]:
    """With an index all loaders read what it names; without one some read whatever is there."""
    loaded = {path.name for path in facts.weights.files}
    others = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in loaded)
    if others and not (folder / INDEX).exists():
        yield PlanWarning(
            "weight-files",
            f"{others[0]} ({len(others)} such files) lies beside the weights, and transformers "
            "does not load it; vLLM does",
            "move it out of the folder",
        )
