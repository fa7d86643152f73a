"""``receipts attach``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, audits_option, examples
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable, spelt_out
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import say
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.card.attach import (
    NewCard,
    card_parts,
    check_card,
    check_results,
    new_card,
    write_card,
)
from safety_receipts.verify.card.eval_results import Benchmark, results_path
from safety_receipts.verify.card.splice import CardParts
from safety_receipts.verify.commands.options import (
    log_policy_option,
    require_option,
    trust_auditor_option,
    trust_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.verified import VerifiedReceipt, verified_receipt
from safety_receipts.verify.view.documents.attach import AttachAction, AttachDocument


@click.command(
    epilog=examples(
        "receipts attach bundle README.md --trust evaluator.pub",
        "receipts attach bundle README.md --trust evaluator.pub --check",
    )
)
@click.argument("bundle", type=PATH)
@click.argument("readme", type=PATH, metavar="README.md")
@trust_option
@require_option
@trust_auditor_option
@audits_option
@tsa_root_option
@log_policy_option
@click.option("--url", metavar="URL", help="Where readers find the receipt.")
@click.option(
    "--benchmark", metavar="DATASET", help="Data set of the hub that is registered as a benchmark."
)
@click.option("--task", metavar="ID", help="Its task, as in its eval.yaml.")
@click.option("--check", is_flag=True, help="Write nothing: is the card what the receipt gives?")
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of other receipts of the same checkpoint name and stage.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing: show what would change.")
@click.option(
    "--instrument", is_flag=True, help="Accept a test instrument; the card says so first."
)
@common_options
def attach(
    *,
    bundle: Path,
    readme: Path,
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    audits: tuple[Path, ...],
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    url: str | None,
    benchmark: str | None,
    task: str | None,
    check: bool,
    replace: bool,
    dry_run: bool,
    instrument: bool,
    output: Output,
) -> None:
    """Write what BUNDLE's receipt says into a model card, once it is verified.

    The card gets one section, and entries of `model-index` in its front matter; every other byte
    stays.  With --check nothing is written.  Exit code 0: done, or the card is what the receipt
    gives; 1: a test instrument; 2: the card cannot be read, or nothing can be put in safely; 3:
    the receipt does not verify, or somebody edited what it gave; 5: no key you trust is known to
    have signed it.
    """
    stated = _benchmark(benchmark, task)
    _check_options(check=check, replace=replace, dry_run=dry_run)
    with output.progress("verifying") as progress:
        verified = verified_receipt(
            Bundle(bundle, audits=audits),
            load_trust(trust, KeyRole.EVALUATOR),
            load_trust(trust_auditor, KeyRole.AUDITOR),
            terms=trust_terms(require, tsa_root, log_policy),
            progress=progress,
        )
    parts = card_parts(verified, url, instrument=instrument)
    if check:
        _note_unread(check_card(readme, parts), output)
        check_results(readme, verified, stated, url)
        results = None if stated is None else results_path(readme, parts.mark.digest)
        done = _Done(AttachAction.CHECKED, results, (), None)
    else:
        card = new_card(readme, verified, parts, benchmark=stated, url=url, replace=replace)
        done = _write(card, output, dry_run=dry_run)
        if stated is not None:
            output.warn(
                f"the hub ignores {done.results} unless {stated.dataset} is registered there as a "
                f"benchmark with a task {stated.task}"
            )
    _tell(readme, verified, parts, done, output)


@dataclass(frozen=True)
class _Done:
    """What became of a card."""

    action: AttachAction
    results: Path | None
    replaced: tuple[Sha256, ...]
    diff: str | None


def _write(card: NewCard, output: Output, *, dry_run: bool) -> _Done:
    results = None if card.results is None else card.results[0]
    diff = None
    if dry_run:
        action = AttachAction.WOULD_BE_WRITTEN
        name = str(card.readme)
        old, new = card.old.splitlines(), card.new.splitlines()
        lines = difflib.unified_diff(old, new, name, name, lineterm="")
        diff = "".join(f"{line}\n" for line in lines)
    else:
        action = AttachAction.WRITTEN if card.new != card.old else AttachAction.UNCHANGED
        _note_unread(write_card(card), output)
    left_out = len(card.parts.entry["results"])
    if left_out < card.planned:
        output.note(f"{card.planned - left_out:,} conditions have no rate, and no entry")
    for digest in card.beside:
        output.note(
            f"stands beside receipt {digest[:16]}… of the same checkpoint name and stage "
            "(--replace takes its place)"
        )
    return _Done(action, results, card.replaced, diff)


def _note_unread(unread: str | None, output: Output) -> None:
    if unread is not None:
        output.note(f"read back, but not by huggingface_hub: {unread}")


def _tell(
    readme: Path, verified: VerifiedReceipt, parts: CardParts, done: _Done, output: Output
) -> None:
    document = AttachDocument(
        readme=str(readme),
        action=done.action,
        receipt_digest=parts.mark.digest,
        keyid=str(verified.verification.keyid),
        level=verified.verification.level,
        checkpoint=verified.predicate.checkpoint.name,
        stage=verified.predicate.training_stage,
        instrument=verified.predicate.instrument,
        conditions=len(parts.entry["results"]),
        replaced=done.replaced,
        results_file=None if done.results is None else str(done.results),
        diff=done.diff,
    )

    def render(console: Console) -> None:
        for line in (done.diff or "").splitlines():
            say(console, spelt_out(line))
        say(
            console,
            f"{printable(str(readme))}: {done.action.value}: section and entries of "
            f"{document.conditions:,} conditions of receipt {parts.mark.digest[:16]}…",
        )
        for digest in done.replaced:
            say(console, f"  in place of receipt {digest[:16]}…")
        if done.results is not None:
            say(console, f"  and {printable(str(done.results))}")

    output.result(document, render)


def _benchmark(dataset: str | None, task: str | None) -> Benchmark | None:
    """Return the benchmark that is named, if one is.

    Raises:
        UsageError: Half of it is.
    """
    if dataset is None and task is None:
        return None
    if dataset is None or task is None:
        raise UsageError("--benchmark and --task go together", hint="give both, or neither")
    return Benchmark(dataset, task)


def _check_options(*, check: bool, replace: bool, dry_run: bool) -> None:
    """Refuse options that would be ignored.

    Raises:
        UsageError: With the first of them.
    """
    for name, given in (("--replace", replace), ("--dry-run", dry_run)):
        if check and given:
            raise UsageError(
                f"--check writes nothing: {name} would be ignored", hint="leave it out"
            )
