"""Whole checkpoints: a tiny model of a family with that family's tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path

from chat_formats import end_ids, named_ids, save_chat_format, vocabulary_size
from tiny_models import tiny_model

CONTEXT = 4096
"""Longest context in tokens: the small vocabularies make prompts long."""


def save_checkpoint(folder: Path, family: str, *, seed: int = 0, context: int = CONTEXT) -> Path:
    """Write a folder that transformers loads whole, and return it.

    Args:
        folder: Where; made if it is missing.
        family: One of :data:`chat_formats.FAMILIES`.
        seed: Other seeds give other weights.
        context: Longest context that ``config.json`` states, in tokens; a multiple of 32.
    """
    model = tiny_model(family, vocabulary_size(family), seed)
    ids = {"bos_token_id": None, "pad_token_id": None, **named_ids(family)}
    model.config.max_position_embeddings = context
    if "original_max_position_embeddings" in model.config.rope_parameters:
        model.config.rope_parameters["original_max_position_embeddings"] = context // 32
    for name, id_ in ids.items():
        setattr(model.config, name, id_)
        setattr(model.generation_config, name, id_)
    model.generation_config.eos_token_id = list(end_ids(family))
    model.save_pretrained(folder)
    return save_chat_format(folder, family)
