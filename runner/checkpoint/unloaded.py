"""Files that people and programs leave in a model folder, and that nothing loads.

Which files a loader takes is open: configurations, tokenizers and templates have fixed names,
weights are taken by their endings, code by what a configuration names.  So the question is asked
the other way round: these few kinds are known to be loaded by nothing, everything else could be.
"""

from __future__ import annotations

import re

_FOLDERS = frozenset(
    {"__pycache__", ".git", ".idea", ".vscode", ".ipynb_checkpoints", "__MACOSX", ".Trashes"}
)
"""Folders of editors, systems and Python's cache; transformers and vLLM look into none."""

_NAMES = re.compile(
    r"\.DS_Store|\.localized|Thumbs\.db|desktop\.ini|\.directory"  # file managers
    r"|.*~|#.*#|.*\.sw[a-z]|.*\.(bak|orig|rej|tmp|part|log)|\.nfs.*"  # editors, copies
    r"|\.git(attributes|ignore|keep)|\.gitmodules"
    r"|(README|LICENSE|LICENCE|NOTICE|COPYING|CHANGELOG|CITATION|AUTHORS|MODEL_CARD|USE_POLICY)"
    r"([-_. ].*)?"
    r"|.*\.(md|rst|pdf|html|png|jpe?g|gif|svg|webp|ipynb)",
    re.IGNORECASE,
)
"""Names of such files, whole."""

_LOADED = re.compile(r".*\.(safetensors|bin|pt|pth|gguf|json|jinja|py|model|index)", re.IGNORECASE)
"""Endings that are loaded, whatever a name starts with."""


def loaded_by_nothing(path: str) -> bool:
    """Say whether a file of a model folder is of a kind that nothing loads.

    Args:
        path: Its path in the folder, with forward slashes.
    """
    *folders, name = path.split("/")
    if not _FOLDERS.isdisjoint(folders):
        return True
    if name.startswith(("._", ".#")):  # macOS's and Emacs's, of another file: with its ending
        return True
    return _NAMES.fullmatch(name) is not None and _LOADED.fullmatch(name) is None
