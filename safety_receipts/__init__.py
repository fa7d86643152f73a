"""Mixed-demonstration safety evaluations as sealed events whose numbers can be checked.

A *bundle* is a folder that holds one sealed evaluation: the plan that was signed before the run,
the signed receipt, and the evidence, one line for each evaluation point.

>>> import safety_receipts as sr
>>> receipt = sr.load("bundle")                            # reads; nothing is verified yet
>>> receipt.verify(trust="evaluator.pub").raise_for_failure()
>>> receipt.conditions_df()[["condition", "compliance_rate"]]     # pandas
>>> receipt.findings.summary()                             # what benign demonstrations do
>>> sr.compare(["sft/", "dpo/"], trust="evaluator.pub")    # is it the same in both?
>>> sr.gate("bundle", "policy.yaml", trust="evaluator.pub").raise_for_refusal()
>>> sr.report("bundle", "report.html", trust="evaluator.pub")      # a page that checks itself

What is listed in ``__all__`` is the library: it keeps its names and meanings within a major
version.  Everything below ``safety_receipts.receipts``, ``.runner``, ``.verify`` and ``.schemas``
is how it is built, and may change.  docs/library.md shows each name at work.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safety_receipts.library.comparison import Comparison, compare
    from safety_receipts.library.gating import Gate, gate
    from safety_receipts.library.pages import report
    from safety_receipts.library.receipt import Receipt, load
    from safety_receipts.receipts.errors import ReceiptsError
    from safety_receipts.verify.verification import Verification

    __version__: str

if (Path(__file__).parent / "receipts").is_file():  # a link, written out as text
    raise ImportError(
        "safety_receipts/receipts is not a folder: this checkout has no symbolic links.  Clone it "
        "with `git clone -c core.symlinks=true`, or install it: `pip install .`"
    )

__all__ = [
    "Comparison",
    "Gate",
    "Receipt",
    "ReceiptsError",
    "Verification",
    "__version__",
    "compare",
    "gate",
    "load",
    "report",
]

_HOMES = {
    "Comparison": "library.comparison",
    "Gate": "library.gating",
    "Receipt": "library.receipt",
    "ReceiptsError": "receipts.errors",
    "Verification": "verify.verification",
    "__version__": "receipts",
    "compare": "library.comparison",
    "gate": "library.gating",
    "load": "library.receipt",
    "report": "library.pages",
}
"""Name → the module it is defined in: loaded when it is asked for, so that ``receipts --help``
starts in a blink."""


def __getattr__(name: str) -> Any:
    """Return a name of the library, from where it is defined."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return what the library offers."""
    return sorted(__all__)
