"""Loading a checkpoint's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.runner.checkpoint.folder_trial import TrialPart, tried
from safety_receipts.runner.checkpoint.tokenizer_files import refuse_open_tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model's folder, of the fast kind.

    No code of the folder is run and nothing is fetched.

    Raises:
        FileAccessError: The folder or its tokenizer is missing, or cannot be read.
        MalformedError: The tokenizer cannot be understood.
        UsageError: It has no fast version, or it is open which it is
            (:func:`runner.checkpoint.tokenizer_files.refuse_open_tokenizer`).
    """
    tried(folder, TrialPart.TOKENIZER)
    return load_tried_tokenizer(folder)


def load_tried_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer that was tried."""
    if not folder.is_dir():
        raise FileAccessError("no such folder", file=folder)
    refuse_open_tokenizer(folder)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            # Absolute: a folder that is called like a repository could be taken for it.
            folder.absolute(),
            local_files_only=True,
            trust_remote_code=False,
            mistral_format=False,  # else taken where mistral-common is installed
        )
    except Exception as error:  # the tokenizers library raises bare Exception
        if isinstance(error, OSError) and error.errno is not None:
            raise FileAccessError.from_os(error, "load the tokenizer", folder) from None
        if "trust_remote_code" in str(error):
            raise UsageError(
                "the checkpoint wants code in its folder run, and that is never done",
                file=folder,
                hint="use a checkpoint whose tokenizer transformers itself has",
            ) from None
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MalformedError(
            f"the tokenizer cannot be loaded: {reason}",
            file=folder,
            hint="a file may be damaged; get the checkpoint again",
        ) from None
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            "the tokenizer has no fast version, and only those say where a token comes from",
            file=folder,
            hint="convert it to tokenizer.json with transformers' save_pretrained",
        )
    return cast(PreTrainedTokenizerBase, tokenizer)
