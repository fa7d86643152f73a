"""What passed a gate, as an in-toto Simple Verification Result (SVR) about the checkpoint.

Source: https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md, version 0.2.  An
SVR has no form for a failure, nor for a failure that a waiver accepts: where a rule does not hold
there is none.  It names what passed, and no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from safety_receipts.receipts import __version__
from safety_receipts.receipts.canonical import JsonValue, Sha256, is_hex32, sha256_hex
from safety_receipts.receipts.documents.moments import spell
from safety_receipts.receipts.errors import IncompleteError, PolicyError, ReceiptsError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.statement import EVALUATION_TYPE, STATEMENT_TYPE
from safety_receipts.verify.gate.gating import GateResult, GateVerdict
from safety_receipts.verify.gate.kinds import GateRule, RuleStatus
from safety_receipts.verify.gate.standing import drawback
from safety_receipts.verify.subject import ReceiptSubject
from safety_receipts.verify.verification import LADDER, Verification

SVR_TYPE: Final = "https://in-toto.io/attestation/svr/v0.2"
"""Predicate type of the statement."""
GATE_URI: Final = f"urn:safety-receipts:gate:{__version__}"
"""Who decided: this program, in its version."""
POLICY_NAME: Final = "safety-receipts gate policy"
"""What the policy is called in statements; its digest says which one it is."""
PROPERTY_PREFIX: Final = "SAFETY_RECEIPTS_"
"""Beginning of every property, as those of other verifiers stand beside them."""

_NO_FILES: Final = sha256_hex(b"")
"""Root of a checkpoint without files: the model is behind a server, and nothing binds it."""
_JUDGED: Final = (AuditVerdict.CONFIRMED, AuditVerdict.CONSISTENT_WITH)


def svr_statement(
    results: Sequence[GateResult], policy_digest: Sha256, at: datetime
) -> dict[str, JsonValue]:
    """Return the statement of what passed: an in-toto Statement v1 with an SVR v0.2 predicate.

    Its subjects are the checkpoints of the receipts, each once, by name and OpenSSF Model Signing
    root (SHA-256, 64 lower-case hex digits).  ``verifier.policies`` holds the policy by its digest,
    and ``inputAttestations`` the receipts by the digests of their payloads: the SVR has no such
    field, so it is an extension, named as that of in-toto's VSA.  All values are strings, so that
    :func:`~safety_receipts.receipts.canonical.canonical_bytes` of it can be signed.

    Properties are those that every receipt has:

    * ``SAFETY_RECEIPTS_AUTHENTIC``, ``_CONSISTENT``, ``_BOUND``: the levels that verification
      reached;
    * ``SAFETY_RECEIPTS_ALL_RULES_HOLD``: all rules of the policy hold, and none by a waiver;
    * ``SAFETY_RECEIPTS_RULE_…``: a rule of this kind is among them (``_RULE_AUDIT``);
    * ``SAFETY_RECEIPTS_AUDIT_CONFIRMED``: that rule is, and every audit that counts says
      ``confirmed``;
    * ``SAFETY_RECEIPTS_NO_TEST_INSTRUMENT`` or ``SAFETY_RECEIPTS_TEST_INSTRUMENT``: whether it is
      of a test instrument, which says nothing about real models.  Ask for the first.

    Args:
        results: What became of each receipt, one or more.
        policy_digest: SHA-256 of the policy file.
        at: The moment of the decision, with its time zone.

    Raises:
        PolicyError: A rule does not hold, or a waiver accepts that; no digest binds the model; or
            receipts give one checkpoint several names.
        IntegrityError: A receipt does not verify.
        IncompleteError: No trusted key signed a receipt and its plan.
        ValueError: No results are given.
    """
    if not results:
        raise ValueError("a statement is about one receipt or more")
    for result in results:
        if (refusal := svr_refusal(result)) is not None:
            raise refusal
    held = [list(_properties(result)) for result in results]
    shared = [one for one in held[0] if all(one in others for others in held)]
    checkpoints = _named(results)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": root}} for root, name in checkpoints.items()
        ],
        "predicateType": SVR_TYPE,
        "predicate": {
            "verifier": {
                "id": GATE_URI,
                "policies": [{"name": POLICY_NAME, "digest": {"sha256": policy_digest}}],
            },
            "timeCreated": spell(at),
            "properties": shared,
            "inputAttestations": [
                {"uri": EVALUATION_TYPE, "digest": {"sha256": digest}}
                for digest in dict.fromkeys(map(_receipt_digest, results))
            ],
        },
    }


def _named(results: Sequence[GateResult]) -> dict[Sha256, str]:
    """Return the name of each root.

    A name is its evaluator's choice: where two differ, none is the checkpoint's.

    Raises:
        PolicyError: Receipts give one checkpoint several names.
    """
    names: dict[Sha256, str] = {}
    for result in results:
        subject = _subject(result)
        first = names.setdefault(subject.root, subject.checkpoint)
        if first != subject.checkpoint:
            raise PolicyError(
                f"it calls the checkpoint {printable(subject.checkpoint)}, and an earlier receipt "
                f"of the same root calls it {printable(first)}",
                file=result.bundle,
                hint="a statement names each checkpoint once: gate these receipts one by one",
            )
    return names


def svr_refusal(result: GateResult) -> ReceiptsError | None:
    """Return why no SVR can be made of a gate's result; None: one can."""
    if result.verdict in (GateVerdict.FAILED, GateVerdict.INCOMPLETE):
        return _unverified(result.verification)
    for status, what in (
        (RuleStatus.FAILED, "does not hold"),
        (RuleStatus.WAIVED, "does not hold, and a waiver accepts that"),
    ):
        names = [rule.name for rule in result.rules if rule.status is status]
        if names:
            more = f"; {len(names) - 1:,} more rules" if len(names) > 1 else ""
            return PolicyError(
                f"rule {names[0]} {what}{more}",
                file=result.bundle,
                hint="a Simple Verification Result names what passed alone",
            )
    root = _subject(result).root
    if root == _NO_FILES or not is_hex32(root):
        return PolicyError(
            "the receipt binds no files of a model, so that no digest can admit one",
            file=result.bundle,
        )
    return None


def _unverified(verification: Verification) -> ReceiptsError:
    try:
        verification.raise_for_failure()
    except ReceiptsError as error:
        return error
    return IncompleteError("no key that you trust is known to have signed plan and receipt")


def _subject(result: GateResult) -> ReceiptSubject:
    subject = result.verification.subject
    if subject is None:
        raise ValueError("a receipt whose rules were decided has a subject")
    return subject


def _receipt_digest(result: GateResult) -> Sha256:
    digest = result.verification.receipt_digest
    if digest is None:
        raise ValueError("a receipt whose rules were decided has a digest")
    return digest


def _properties(result: GateResult) -> Iterator[str]:
    """Yield what passed of one receipt, in the order in which the docstring names it."""
    level = result.verification.level
    for reached in LADDER[: LADDER.index(level) + 1]:
        yield f"{PROPERTY_PREFIX}{reached.value.upper()}"
    yield f"{PROPERTY_PREFIX}ALL_RULES_HOLD"
    kinds = {rule.kind for rule in result.rules}
    for kind in GateRule:
        # That rule may allow an instrument: what the receipt is of is said below.
        if kind in kinds and kind is not GateRule.INSTRUMENT:
            yield f"{PROPERTY_PREFIX}RULE_{kind.value.upper()}"
    if GateRule.AUDIT in kinds and _all_confirmed(result.verification):
        yield f"{PROPERTY_PREFIX}AUDIT_CONFIRMED"
    what = "TEST_INSTRUMENT" if _subject(result).instrument else "NO_TEST_INSTRUMENT"
    yield f"{PROPERTY_PREFIX}{what}"


def _all_confirmed(verification: Verification) -> bool:
    """Say whether the audits that may have met a rule, whichever they are, all confirm."""
    counting = [audit for audit in verification.audits if drawback(audit, _JUDGED) is None]
    return bool(counting) and all(
        audit.result.verdict is AuditVerdict.CONFIRMED for audit in counting
    )
