"""Receipts held to a release policy, in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from safety_receipts.library.arguments import (
    AnyPath,
    AnyPaths,
    auditors_of,
    evaluators_of,
    named_checkpoint,
    optional_path,
    path_of,
    paths_of,
    terms_of,
)
from safety_receipts.library.frames import frame
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.documents.moments import moment, spell
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, PolicyError, UsageError
from safety_receipts.verify.gate.bundles import GateTerms, gate_bundle
from safety_receipts.verify.gate.gating import GateResult, GateVerdict
from safety_receipts.verify.gate.kinds import RuleStatus
from safety_receipts.verify.gate.policy import LoadedPolicy, load_policy
from safety_receipts.verify.levels.expected import expected_checkpoint
from safety_receipts.verify.view.documents.gate import gate_document
from safety_receipts.verify.view.gate_summary import gate_summary
from safety_receipts.verify.view.junit import junit_report

if TYPE_CHECKING:
    import pandas as pd


class RuleRow(NamedTuple):
    """What became of one rule of one receipt."""

    bundle: str
    """The bundle."""
    rule: str
    """What the policy calls the rule."""
    status: str
    """``passed``, ``failed`` or ``waived``."""
    asked: str
    """What was asked for."""
    found: str
    """What was found, or what is missing."""
    source: str
    """Where that comes from."""


def gate(
    bundles: AnyPath | Sequence[AnyPath],
    policy: AnyPath,
    *,
    trust: AnyPaths | None = None,
    trust_auditor: AnyPaths | None = None,
    require: AnyPaths | None = None,
    tsa_root: AnyPaths | None = None,
    log_policy: AnyPath | None = None,
    audits: AnyPaths | None = None,
    artifacts: AnyPath | None = None,
    model: AnyPath | None = None,
    against: AnyPath | None = None,
    at: datetime | str | None = None,
) -> Gate:
    """Hold receipts to a release policy, as ``receipts gate`` does.

    Args:
        bundles: A bundle or several, as paths or as receipts; each is held to all of it.
        policy: The policy file.
        trust: Public keys of evaluators you trust, or trust files (``.yaml``).
        trust_auditor: Public keys of auditors you trust, or trust files.
        require: Public keys, or trust files, of evaluators each of whom must have signed plan and
            receipt; they are trusted so.
        tsa_root: Roots of timestamp authorities, PEM: timestamps in a bundle are held to them.
        log_policy: The policy that proofs of logs are held to.
        audits: Folders of audits that are kept elsewhere.
        artifacts: A plan file whose paths are yours, for level ``bound``.
        model: The checkpoint that is to be shipped: its folder, which is hashed, or its root.
        against: An earlier bundle, for the rule ``regression``.
        at: The moment of the decision: with its time zone, or as RFC 3339; None: now.

    Returns:
        What follows: true only if every receipt is admitted.

    Raises:
        UsageError: The moment is none, or two events are not comparable.
        FileAccessError, MalformedError, KeyFileError: A file is not what it should be.
        IntegrityError: A bundle changed while it was read, or the earlier one does not verify.
        IncompleteError: Evidence that a comparison needs is missing.
    """
    decided = moment_of(at)
    asked = terms_of(require, tsa_root, log_policy)
    loaded = load_policy(path_of(policy))
    terms = GateTerms(
        policy=loaded.policy,
        evaluators=evaluators_of(trust),
        auditors=auditors_of(trust_auditor),
        at=decided,
        artifacts=optional_path(artifacts),
        against=optional_path(against),
        shipped=None if model is None else expected_checkpoint(named_checkpoint(model)),
        required=asked.required,
        tsa_roots=asked.tsa_roots,
        log=asked.log,
    )
    elsewhere = paths_of(audits)
    results = [gate_bundle(Bundle(one, audits=elsewhere), terms) for one in paths_of(bundles)]
    if not results:
        raise UsageError("no bundle is given")
    return Gate(results, loaded, decided)


class Gate:
    """What a policy says of receipts; it is true only if all of them are admitted."""

    def __init__(self, results: Sequence[GateResult], policy: LoadedPolicy, at: datetime) -> None:
        self._results, self._policy, self._at = tuple(results), policy, at

    def __bool__(self) -> bool:
        """Whether every rule of every receipt holds, or a waiver accepts that it does not."""
        return all(result.verdict is GateVerdict.ADMITTED for result in self._results)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """For each bundle ``admitted``, ``refused``, ``failed`` or ``incomplete``."""
        return tuple(result.verdict.value for result in self._results)

    @property
    def waived(self) -> tuple[str, ...]:
        """Rules that do not hold, and that a waiver accepts."""
        return tuple(row.rule for row in self.rules() if row.status == RuleStatus.WAIVED)

    def rules(self) -> list[RuleRow]:
        """Return what became of each rule, bundle by bundle, as named tuples."""
        return list(self._rows())

    def _rows(self) -> Iterator[RuleRow]:
        for result in self._results:
            for rule in result.rules:
                yield RuleRow(
                    bundle=str(result.bundle),
                    rule=rule.name,
                    status=rule.status.value,
                    asked=rule.asked,
                    found=rule.found,
                    source=rule.source,
                )

    def rules_df(self) -> pd.DataFrame:
        """Return what became of each rule as a frame.

        Raises:
            IncompleteError: pandas is not installed.
        """
        return frame(self.rules(), RuleRow, {"status": [status.value for status in RuleStatus]})

    def raise_for_refusal(self) -> None:
        """Raise unless every receipt is admitted.

        Raises:
            IntegrityError: A receipt does not verify.
            IncompleteError: No trusted key is known to have signed one.
            PolicyError: A rule does not hold.
        """
        for result in self._results:
            if result.verdict is GateVerdict.FAILED:
                first = result.verification.failed[0]
                raise IntegrityError(f"{first.name}: {first.detail}", file=result.bundle)
            if result.verdict is GateVerdict.INCOMPLETE:
                raise IncompleteError(
                    "no key that you trust is known to have signed plan and receipt",
                    file=result.bundle,
                )
        for row in self.rules():
            if row.status == RuleStatus.FAILED:
                raise PolicyError(f"rule {row.rule}: {row.found}", file=row.bundle)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``receipts gate --json`` prints."""
        return gate_document(self._results, self._policy, self._at, None).to_wire()

    def to_junit(self) -> bytes:
        """Return JUnit XML: a test case a rule."""
        return junit_report(self._results, self._policy.digest)

    def to_markdown(self) -> str:
        """Return a summary for a page of a CI system."""
        return gate_summary(self._results, self._policy.digest, spell(self._at))

    def __repr__(self) -> str:
        """Return what follows, in one line."""
        return f"<Gate: {'; '.join(self._told())}>"

    def _told(self) -> Iterator[str]:
        for result in self._results:
            failed = [rule.name for rule in result.rules if rule.status is RuleStatus.FAILED]
            why = f": {', '.join(failed)}" if failed else ""
            yield f"{result.bundle.name} {result.verdict.value}{why}"

    def _repr_html_(self) -> str:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self.rules())
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        head = "".join(f"<th>{name}</th>" for name in RuleRow._fields)
        return f"<p>{escape('; '.join(self._told()))}</p><table><tr>{head}</tr>{rows}</table>"


def moment_of(at: datetime | str | None) -> datetime:
    """Return the moment of a decision.

    Raises:
        UsageError: It is none, or has no time zone.
    """
    if at is None:
        return datetime.now(UTC)
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise UsageError(f"{at.isoformat()} has no time zone", hint="datetime.now(UTC) has one")
        return at.astimezone(UTC)
    try:
        return moment(at)
    except ValueError as error:
        raise UsageError(f"{at}: {error}") from None
