"""``receipts gate``.

A gate starts in each step of a pipeline, and takes as long as what it loads: what not every gate
needs is loaded where it is needed (``benchmarks/gate.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import (
    PATH,
    audits_option,
    examples,
    key_option,
    passphrase_option,
    read_signer,
)
from safety_receipts.receipts.documents.moments import moment, spell
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.errors import ExitCode, FileAccessError, ReceiptsError, UsageError
from safety_receipts.receipts.io.files import atomic_write, create_exclusive
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.commands.options import (
    artifacts_option,
    log_option,
    log_policy_option,
    log_terms,
    require_option,
    trust_auditor_option,
    trust_option,
    tsa_root_option,
    tsa_roots,
)
from safety_receipts.verify.gate.bundles import GateTerms, gate_bundle
from safety_receipts.verify.gate.gating import GateResult, exit_code_of
from safety_receipts.verify.gate.policy import LoadedPolicy, load_policy
from safety_receipts.verify.levels.expected import ExpectedCheckpoint, expected_checkpoint
from safety_receipts.verify.present.gate import show_gate


def _moment_option(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime:
    if value is None:
        return datetime.now(UTC)
    try:
        return moment(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from None


@click.command(
    epilog=examples(
        "receipts gate bundle --policy gate-policy.yaml --trust evaluator.pub",
        "receipts gate bundle --policy gate.yaml --trust my.pub --junit gate.xml",
        "receipts gate bundle --policy p.yaml --trust my.pub --attest key --out svr",
    )
)
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE…")
@click.option("--policy", type=PATH, required=True, metavar="POLICY.yaml", help="The policy.")
@trust_option
@require_option
@trust_auditor_option
@audits_option
@artifacts_option
@click.option(
    "--model",
    metavar="FOLDER",
    help="The checkpoint that is to be shipped: its folder, which is hashed, or its root.",
)
@click.option(
    "--against", type=PATH, metavar="BUNDLE", help="An earlier receipt, for the rule regression."
)
@tsa_root_option
@log_policy_option
@log_option
@click.option("--junit", type=PATH, metavar="FILE", help="Write JUnit XML: a test case a rule.")
@click.option("--summary", type=PATH, metavar="FILE.md", help="Append Markdown for a CI page.")
@key_option(
    "--attest",
    "Sign that the checkpoint met the policy, where every rule holds and none is waived.",
)
@click.option("--out", type=PATH, metavar="FILE", help="New file for that statement.")
@passphrase_option
@click.option(
    "--at",
    metavar="TIME",
    callback=_moment_option,
    help="Moment of the decision (RFC 3339); default: now.",
)
@common_options
def gate(
    *,
    bundles: tuple[Path, ...],
    policy: Path,
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    audits: tuple[Path, ...],
    artifacts: Path | None,
    model: str | None,
    against: Path | None,
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    log: str | None,
    junit: Path | None,
    summary: Path | None,
    attest: tuple[Path, ...],
    out: Path | None,
    passphrase_env: tuple[str, ...],
    at: datetime,
    output: Output,
) -> ExitCode:
    """Hold verified receipts to a release policy; every BUNDLE has to meet all of it.

    A rule that cannot be decided does not hold, and says what is missing.  Exit code 0: all rules
    hold, or a waiver accepts that one does not; 1: some do not hold, or a waiver keeps --attest
    from signing; 2: the policy or a bundle cannot be read; 3: a receipt does not verify; 5: no key
    you trust is known to have signed it.
    """
    with _reports(junit, summary):
        attestor = _attestor(attest, out, passphrase_env, output)
        loaded = load_policy(policy)
        terms = GateTerms(
            loaded.policy,
            evaluators=load_trust(trust, KeyRole.EVALUATOR),
            auditors=load_trust(trust_auditor, KeyRole.AUDITOR),
            required=load_trust(require, KeyRole.EVALUATOR),
            at=at,
            artifacts=artifacts,
            against=against,
            shipped=None if model is None else _shipped(model, output),
            tsa_roots=tsa_roots(tsa_root),
            log=log_terms(log_policy, log),
        )
        results = [
            gate_bundle(Bundle(one, audits=audits), terms, output.progress) for one in bundles
        ]
    _report(junit, summary, results, loaded.digest, spell(at))
    refusal = None if attestor is None else _attest(attestor, results, loaded.digest, at)
    attested = None if attestor is None or refusal is not None else attestor.out
    output.result(
        _document(results, loaded, at, attested) if output.as_json else {},
        lambda console: show_gate(console, results, quiet=output.quiet),
    )
    if attested is not None:
        output.note(f"signed statement about the checkpoint: {attested}")
    if refusal is None:
        return exit_code_of(results)
    output.warn(f"no statement was signed: {refusal.one_line()}")
    # A waiver may let the gate end with 0: what was asked for is not there all the same.
    return exit_code_of(results) or refusal.exit_code


@dataclass(frozen=True)
class _Attestor:
    """What signs that a checkpoint met a policy, and where to."""

    signer: Signer
    out: Path


def _attestor(
    keys: Sequence[Path], out: Path | None, passphrase_env: Sequence[str], output: Output
) -> _Attestor | None:
    """Return what signs, before anything is decided: a key or a place that fails is said first.

    An older statement of that name would be taken for this gate's where it refuses.

    Raises:
        UsageError: One option is given without another that it needs.
        FileAccessError: There is a file of that name, or the key cannot be read.
        KeyFileError: The key is of another kind, or its passphrase is wrong.
    """
    if not keys or out is None:
        given = {"--attest": keys, "--out": out, "--passphrase-env": passphrase_env}
        alone = next((name for name, value in given.items() if value), None)
        if alone is None:
            return None
        raise UsageError(f"{alone} needs {'--out FILE' if keys else '--attest KEY'}")
    if out.is_symlink() or out.exists():
        raise FileAccessError(
            "already exists, and would be taken for this gate's statement where it refuses",
            file=out,
            hint="name a new file, or move it away",
        )
    return _Attestor(read_signer(keys, passphrase_env, output), out)


def _attest(
    attestor: _Attestor, results: Sequence[GateResult], policy: Sha256, at: datetime
) -> ReceiptsError | None:
    """Sign what passed, where all of it did; return why nothing was signed, or None.

    Raises:
        FileAccessError: The file cannot be written, or is there by now.
    """
    from safety_receipts.verify.gate.svr import svr_statement  # noqa: PLC0415  # as above

    try:
        statement = svr_statement(results, policy, at)
    except ReceiptsError as refusal:
        return refusal
    envelope = sign(statement, attestor.signer)
    create_exclusive(attestor.out, envelope.to_json(), mode=0o644)
    return None


def _document(
    results: Sequence[GateResult], loaded: LoadedPolicy, at: datetime, attested: Path | None
) -> WireModel:
    """Return what is printed with ``--json``, whose models most gates need not make."""
    from safety_receipts.verify.view.documents.gate import gate_document  # noqa: PLC0415  # as above

    return gate_document(results, loaded, at, attested)


def _shipped(model: str, output: Output) -> ExpectedCheckpoint:
    with output.progress("hashing (bytes)") as progress:
        return expected_checkpoint(model, progress)


@contextmanager
def _reports(junit: Path | None, summary: Path | None) -> Iterator[None]:
    """Write reports that say so where an input cannot be read: older ones would say otherwise."""
    try:
        yield
    except ReceiptsError as error:
        if junit is not None:
            from safety_receipts.verify.view.junit import junit_error  # noqa: PLC0415  # as above

            atomic_write(junit, junit_error(error))
        if summary is not None:
            from safety_receipts.verify.view import gate_summary  # noqa: PLC0415  # as above

            _append(summary, gate_summary.summary_of_error(error))
        raise


def _report(
    junit: Path | None,
    summary: Path | None,
    results: Sequence[GateResult],
    policy: Sha256,
    at: str,
) -> None:
    """Write the reports that are asked for."""
    if junit is not None:
        from safety_receipts.verify.view.junit import junit_report  # noqa: PLC0415  # as above

        atomic_write(junit, junit_report(results, policy))
    if summary is not None:
        from safety_receipts.verify.view import gate_summary  # noqa: PLC0415  # as above

        _append(summary, gate_summary.gate_summary(results, policy, at))


def _append(path: Path, text: str) -> None:
    """Append to a file, as other steps of a CI job do.

    Raises:
        FileAccessError: It cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
