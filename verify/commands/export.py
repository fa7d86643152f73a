"""``receipts export``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from safety_receipts.receipts.bundle import (
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
)
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, audits_option, examples
from safety_receipts.receipts.documents.moments import moment
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.commands.options import (
    log_policy_option,
    require_option,
    trust_auditor_option,
    trust_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.exports.kinds import (
    CycloneDxVersion,
    Exported,
    ExportFormat,
    ExportOption,
    ExportRequest,
    ExportRows,
    GateDecision,
)
from safety_receipts.verify.exports.registry import EXPORTS, require_package
from safety_receipts.verify.gate.bundles import GateTerms, gate_verified
from safety_receipts.verify.gate.policy import LoadedPolicy, load_policy
from safety_receipts.verify.levels.expected import expected_checkpoint
from safety_receipts.verify.levels.times.terms import NOTHING_MORE, TrustTerms
from safety_receipts.verify.subject import is_instrument
from safety_receipts.verify.verified import VerifiedReceipt, verified_receipt
from safety_receipts.verify.view.documents.export import ExportDocument


@click.command(
    epilog=examples(
        "receipts export bundle --format csv --out rates.csv --trust evaluator.pub",
        "receipts export bundle --format svr --policy p.yaml --out svr --trust my.pub",
        "receipts export bundle --format inspect --out log.json --trust evaluator.pub",
    )
)
@click.argument("bundle", type=PATH)
@click.option(
    "--format",
    "name",
    type=click.Choice([one.value for one in ExportFormat]),
    required=True,
    envvar="RECEIPTS_EXPORT_FORMAT",
    help="What to write.",
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help="File to write; for every-eval-ever a new folder.",
)
@trust_option
@require_option
@trust_auditor_option
@audits_option
@tsa_root_option
@log_policy_option
@click.option(
    "--policy",
    type=PATH,
    metavar="POLICY.yaml",
    help="Policy that the receipt is held to: for test-result, svr and junit.",
)
@click.option(
    "--model",
    metavar="FOLDER",
    help="With --policy: the checkpoint that is to be shipped, its folder or its root.",
)
@click.option(
    "--against",
    type=PATH,
    metavar="BUNDLE",
    help="With --policy: an earlier receipt, for the rule regression.",
)
@click.option(
    "--at", metavar="TIME", help="With --policy: moment of the decision (RFC 3339); default: now."
)
@click.option(
    "--rows",
    type=click.Choice([one.value for one in ExportRows]),
    help="What a row of csv and parquet is; default: conditions.",
)
@click.option(
    "--spec-version",
    type=click.Choice([one.value for one in CycloneDxVersion]),
    help="Version of cyclonedx; default: 1.6.",
)
@click.option(
    "--with-texts",
    is_flag=True,
    help="Texts of responses go along, where evidence access is public and they are in BUNDLE.",
)
@common_options
def export(
    *,
    bundle: Path,
    name: str,
    out: Path,
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    audits: tuple[Path, ...],
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    policy: Path | None,
    model: str | None,
    against: Path | None,
    at: str | None,
    rows: str | None,
    spec_version: str | None,
    with_texts: bool,
    output: Output,
) -> None:
    """Write BUNDLE's receipt in another tool's format.

    It is verified first, and every number is the receipt's.  What a format cannot carry is said on
    the side.  Exit code 1: a policy does not hold, of which svr has no form; 2: an option, or
    outcomes of points that only auditors may hold; 3: the receipt does not verify; 5: no key you
    trust is known to have signed it, a package is missing, or the evidence is not here.
    """
    kind = ExportFormat(name)
    asked = _Policy(policy, model, against, at)
    given = {
        ExportOption.POLICY: asked.is_named,
        ExportOption.ROWS: rows is not None,
        ExportOption.WITH_TEXTS: with_texts,
        ExportOption.SPEC_VERSION: spec_version is not None,
    }
    _check(kind, {option for option, there in given.items() if there}, asked)
    _refuse_inputs(bundle, out)
    loaded = None if policy is None else load_policy(policy)
    require_package(kind)
    trusted = load_trust(trust, KeyRole.EVALUATOR)
    terms = asked.dated(trust_terms(require, tsa_root, log_policy))
    with output.progress("verifying") as progress:
        verified = verified_receipt(
            Bundle(bundle, audits=audits),
            trusted,
            load_trust(trust_auditor, KeyRole.AUDITOR),
            terms=terms,
            progress=progress,
        )
    request = ExportRequest(
        verified=verified,
        out=out,
        decision=None if loaded is None else asked.decide(loaded, verified, trusted, terms, output),
        rows=ExportRows(rows or ExportRows.CONDITIONS),
        with_texts=with_texts,
        spec_version=CycloneDxVersion(spec_version or CycloneDxVersion.V1_6),
    )
    _tell(EXPORTS[kind].write(request), kind, verified, output)


@dataclass(frozen=True)
class _Policy:
    """What the receipt is held to."""

    file: Path | None
    model: str | None
    against: Path | None
    at: str | None

    @property
    def is_named(self) -> bool:
        return self.file is not None

    @property
    def without(self) -> str | None:
        """An option that is given, and says nothing without a policy."""
        options = {"--model": self.model, "--against": self.against, "--at": self.at}
        given = [name for name, value in options.items() if value is not None]
        return given[0] if given and self.file is None else None

    def dated(self, terms: TrustTerms) -> TrustTerms:
        """Return what is asked of signatures, with the moment of the decision.

        Raises:
            UsageError: That is none.
        """
        try:
            return replace(terms, at=datetime.now(UTC) if self.at is None else moment(self.at))
        except ValueError as error:
            raise UsageError(f"--at {self.at}: {error}") from None

    def decide(
        self,
        loaded: LoadedPolicy,
        verified: VerifiedReceipt,
        trusted: TrustSet,
        asked: TrustTerms,
        output: Output,
    ) -> GateDecision:
        """Hold a receipt to the policy, as ``receipts gate`` does."""
        shipped = None
        if self.model is not None:
            with output.progress("hashing (bytes)") as progress:
                shipped = expected_checkpoint(self.model, progress)
        terms = GateTerms(
            loaded.policy,
            evaluators=trusted,
            auditors=TrustSet(),  # whose audits count was decided when it was verified
            at=asked.at or datetime.now(UTC),
            against=self.against,
            shipped=shipped,
            required=asked.required,
            tsa_roots=asked.tsa_roots,
            log=asked.log,
        )
        result = gate_verified(verified.bundle, verified.verification, terms, output.progress)
        return GateDecision(result, loaded, terms.at)


def _check(kind: ExportFormat, given: set[ExportOption], asked: _Policy) -> None:
    """Refuse options that would be ignored, and a format without the policy that it needs.

    Raises:
        UsageError: With the first of them.
    """
    takes = EXPORTS[kind].takes
    for option in ExportOption:
        if option in given and option not in takes:
            those = [one.value for one in ExportFormat if option in EXPORTS[one].takes]
            raise UsageError(
                f"{option.value} says nothing to format {kind.value}",
                hint=f"formats that take it: {', '.join(those)}",
            )
    if (option_name := asked.without) is not None:
        raise UsageError(f"{option_name} needs --policy POLICY.yaml")
    if ExportOption.POLICY in takes and not asked.is_named:
        raise UsageError(
            f"format {kind.value} says whether a policy holds, and needs one",
            hint="--policy POLICY.yaml; receipts init FOLDER --policy starter writes one",
        )
    asked.dated(NOTHING_MORE)


def _refuse_inputs(bundle: Path, out: Path) -> None:
    """Refuse to write over what is read.

    Raises:
        UsageError: The file is one of the bundle's.
    """
    files = {(bundle / name).resolve() for name in (PLAN, RECEIPT, POINTS_FILE, RESPONSES_FILE)}
    if out.resolve() in files:
        raise UsageError("is a file of the bundle itself", file=out, hint="name another file")


def _tell(done: Exported, kind: ExportFormat, verified: VerifiedReceipt, output: Output) -> None:
    digest, instrument = verified.signed.envelope.digest, is_instrument(verified.predicate)
    document = ExportDocument(
        format=kind.value,
        files=tuple(map(str, done.files)),
        entries=done.entries,
        count=done.count,
        receipt_digest=digest,
        level=verified.verification.level,
        evidence_access=verified.predicate.evidence.access,
        instrument=instrument,
        remarks=done.remarks,
    )

    def render(console: Console) -> None:
        named = " of a TEST INSTRUMENT" if instrument else ""
        console.print(
            f"{kind.value}: {done.count:,} {done.entries} of receipt {digest[:16]}…{named}"
        )
        for file in done.files:
            console.print(f"  {printable(str(file))}", soft_wrap=True)

    output.result(document, render)
    for remark in done.remarks:
        output.warn(printable(remark))
