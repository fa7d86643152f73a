"""An audit: announce it, replay drawn points, say whether the recorded rates stand.

The announcement is signed before any point is replayed.  Which points are drawn follows from
it and the receipt by hashing alone; how many, from what the points say.  An audit that is
stopped goes on where it stopped, with the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final

from safety_receipts.receipts.audit_forms import AnyAudit, parse_audit
from safety_receipts.receipts.bundle import (
    AUDITS,
    MAX_AUDIT_BYTES,
    POINTS_FILE,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
    parse_point,
    parse_record,
    read_envelope,
)
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import IntegrityError, ReceiptsError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.audit import (
    AuditStartPredicate,
    AuditVerdict,
    FindingVerdict,
    IdentityTest,
    OutcomeReplays,
    SecondJudgeVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.model.statement import (
    AUDIT_START_TYPE,
    STATEMENT_TYPE,
    AuditStartStatement,
    AuditStatement,
    PublicAuditStatement,
    subject,
)
from safety_receipts.verify.audit.claims import Claim, SlopeClaim, claims_of
from safety_receipts.verify.audit.journals.replays import AuditJournal
from safety_receipts.verify.audit.replay import Entry, Replays
from safety_receipts.verify.audit.statistics.draws import GENERATED, DrawablePoint, points_in_order
from safety_receipts.verify.audit.statistics.findings import breakdowns_of, finding_verdicts
from safety_receipts.verify.audit.statistics.hypotheses import least_identity
from safety_receipts.verify.audit.statistics.outcomes import (
    outcome_replays,
    refutes,
    refuting_level,
)
from safety_receipts.verify.audit.statistics.plausibility import MarginStatistics
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.statistics.verdicts import rate_verdict, whole_verdict

ROUND: Final = 512
"""Most points of a condition that are replayed before the test is looked at."""

PART: Final = 256
"""Most points that are replayed together: what a worker is given."""
_LEAST_ROUND: Final = 32
_MAX_FILES: Final = 100_000

AuditWatch = Callable[[int, int], None]
"""Told how many points are replayed, and how many it will take as far as one can tell."""


@dataclass(frozen=True)
class AnnouncedAudit:
    """A signed announcement."""

    envelope: Envelope
    """As it was signed."""
    terms: AuditStartPredicate
    """What it says."""


def announce(terms: AuditStartPredicate, signer: Signer, folder: Path) -> AnnouncedAudit:
    """Sign an announcement into a folder's ``audits``.

    Raises:
        FileAccessError: The folder cannot be written.
    """
    statement = AuditStartStatement(
        type=STATEMENT_TYPE,
        subject=subject("receipt", terms.receipt.digest),
        predicate_type=AUDIT_START_TYPE,
        predicate=terms,
    )
    envelope = sign(statement.to_wire(), signer)
    BundleWriter(folder).write_audit(envelope)
    return AnnouncedAudit(envelope, terms)


def own_audits(receipt: Sha256, signer: Signer, folders: Iterable[Path]) -> list[AnnouncedAudit]:
    """Return what a key announced for a receipt, in some folders; each once.

    What others signed does not count: anybody can put files there.
    """
    starts = {
        envelope.digest: AnnouncedAudit(envelope, statement.predicate)
        for envelope, statement in _signed(signer, folders)
        if isinstance(statement, AuditStartStatement)
        and statement.predicate.receipt.digest == receipt
    }
    return list(starts.values())


def unfinished_audits(
    receipt: Sha256, signer: Signer, folders: Sequence[Path]
) -> list[AnnouncedAudit]:
    """Return what a key announced for a receipt and gave no result of."""
    answered = {
        statement.predicate.start.digest
        for _, statement in _signed(signer, folders)
        if not isinstance(statement, AuditStartStatement)
    }
    starts = own_audits(receipt, signer, folders)
    return [start for start in starts if start.envelope.digest not in answered]


def own_results(
    receipt: Sha256, signer: Signer, folders: Iterable[Path]
) -> list[tuple[Envelope, AuditStatement]]:
    """Return what a key found of a receipt, in some folders."""
    return [
        (envelope, statement)
        for envelope, statement in _signed(signer, folders)
        if isinstance(statement, AuditStatement) and statement.predicate.receipt.digest == receipt
    ]


def own_statements(receipt: Sha256, signer: Signer, folders: Iterable[Path]) -> list[Envelope]:
    """Return everything that a key signed of audits of a receipt, in some folders; each once."""
    found = {
        envelope.digest: envelope
        for envelope, statement in _signed(signer, folders)
        if statement.predicate.receipt.digest == receipt
    }
    return list(found.values())


def signed_public_form(start: Sha256, signer: Signer, folders: Iterable[Path]) -> bool:
    """Say whether a key signed the public form of an announcement's result, in some folders."""
    return any(
        isinstance(statement, PublicAuditStatement) and statement.predicate.start.digest == start
        for _, statement in _signed(signer, folders)
    )


def _signed(signer: Signer, folders: Iterable[Path]) -> Iterator[tuple[Envelope, AnyAudit]]:
    """Yield the statements in some folders' audits that a key signed."""
    trust = signer.trust
    for folder in folders:
        # Not by the bundle's own list, which refuses too many: junk must not silence an audit.
        for path in islice((folder / AUDITS).glob("*.dsse.json"), _MAX_FILES):
            try:
                envelope = read_envelope(path, MAX_AUDIT_BYTES)
                if envelope.signed_by(trust):
                    yield envelope, parse_audit(envelope, path)
            except ReceiptsError:
                continue  # no audit of this tool's


class AuditEvidence:
    """The points of a bundle that an audit can draw, and their records.

    Args:
        bundle: The bundle.
        receipt: Its receipt; the evidence lines are held to its root as they are read.

    Raises:
        IntegrityError: The evidence is not what the receipt binds.
    """

    def __init__(self, bundle: Bundle, receipt: EvaluationPredicate) -> None:
        self._bundle, self._receipt = bundle, receipt

    def order(
        self, claims: Sequence[Claim | SlopeClaim], receipt: Sha256, nonce: str, sample: int
    ) -> list[DrawablePoint]:
        """Give every claim its points in the order of the challenge.

        Returns:
            The first ``sample`` generated points in that order, for the model's identity.
        """
        kinds = [claim.kind for claim in claims]
        orders = points_in_order(
            self._bundle, self._receipt, [*kinds, GENERATED], (receipt, nonce), sample
        )
        for claim, kind in zip(claims, kinds, strict=True):
            claim.order = orders[kind]
            if len(claim.order) != claim.recorded_points:
                raise IntegrityError(
                    f"{claim.name}: {len(claim.order):,} points, the receipt counts "
                    f"{claim.recorded_points:,}",
                    file=self._bundle.folder / POINTS_FILE,
                )
        return orders[GENERATED]

    def entries(self, indices: Iterable[int]) -> Iterator[Entry]:
        """Yield some points with their records, in plan order; the files are read once."""
        wanted = set(indices)
        points, records = (self._bundle.folder / name for name in (POINTS_FILE, RESPONSES_FILE))
        size = self._receipt.evidence.size
        pairs = zip_longest(self._bundle.lines(size), self._bundle.response_lines())
        for number, (line, record) in enumerate(pairs, start=1):
            if line is None or record is None:
                raise IntegrityError(
                    "evidence and restricted records differ in length", file=self._bundle.folder
                )
            if number - 1 in wanted:
                yield parse_point(line, number, points), parse_record(record, number, records)


class Audit:
    """One announced audit while it runs.

    Args:
        announced: Its announcement.
        receipt: The receipt.
        evidence: Its points.
    """

    def __init__(
        self, announced: AnnouncedAudit, receipt: EvaluationPredicate, evidence: AuditEvidence
    ) -> None:
        terms = announced.terms
        self.terms = terms
        self.receipt = receipt
        """The receipt."""
        self._evidence = evidence
        self.alpha = Fraction(terms.alpha)
        self.level = refuting_level(len(terms.rates), outcomes=audit_traits(terms.method).scores)
        """Level at which one test refutes: each rate's, and that of all outcomes."""
        self.claims = claims_of(receipt, terms.rates, terms)
        """Those on rates."""
        self.slope_claims = [SlopeClaim(test, terms) for test in terms.slope_tests or ()]
        """Those on slopes as a whole."""
        self.identified: list[ReplayedPoint] = []
        """Points replayed for the model's identity, in the order drawn."""
        self._sample: list[DrawablePoint] = []

    def run(self, nonce: str, journal: AuditJournal, replays: Replays, watch: AuditWatch) -> None:
        """Draw and replay until every claim is decided, or the budget is spent.

        Then, unless a rate is refuted, the points for the model's identity: a sample of all
        responses.  The recorded refusals alone would not do: a model that complies more has
        refusals that are the named one's too.

        Args:
            nonce: The challenge's.
            journal: Keeps what was replayed.
            replays: Replays points, part by part.
            watch: Told how it goes.

        Raises:
            IntegrityError: A drawn point's record does not follow from plan and artifacts.
        """
        sample = self._evidence.order(
            self.tested, self.terms.receipt.digest, nonce, self.terms.identity_points
        )
        budget = self.terms.budget.max_points
        while True:
            plan = self._next(budget)
            total = sum(number for _, number in plan)
            drawn = sum(len(claim.replayed) for claim in self.tested)
            watch(drawn, drawn + total + len(sample))
            if not total:
                break
            chosen = [
                one
                for claim, number in plan
                for one in claim.order[len(claim.replayed) : len(claim.replayed) + number]
            ]
            self._replay(chosen, journal, replays)
            for claim, number in plan:
                for one in claim.order[len(claim.replayed) : len(claim.replayed) + number]:
                    claim.take(journal.replayed[one.id])
        if not any(claim.refuted(self.level) for claim in self.tested):
            self._replay(sample, journal, replays)
            self._sample = sample
            self.identified = [journal.replayed[one.id] for one in sample]
        watch(drawn + len(sample), drawn + len(sample))

    def _replay(
        self, chosen: Sequence[DrawablePoint], journal: AuditJournal, replays: Replays
    ) -> None:
        missing = {one.index for one in chosen if one.id not in journal.replayed}
        entries = self._evidence.entries(missing) if missing else iter(())
        parts = iter(lambda: list(islice(entries, PART)), [])
        for found in replays(parts):
            journal.add(found)
        if any(one.id not in journal.replayed for one in chosen):
            raise IntegrityError("the evidence is not what it was when the audit began")

    @property
    def tested(self) -> list[Claim | SlopeClaim]:
        """All claims, in the order in which their points are drawn."""
        return [*self.claims, *self.slope_claims]

    def _next(self, budget: int | None) -> list[tuple[Claim | SlopeClaim, int]]:
        """Return how many points of each claim come next.

        It depends on what was replayed alone, so that an audit that goes on draws what it
        would have drawn.
        """
        if any(claim.refuted(self.level) for claim in self.tested):
            return []
        left = None
        if budget is not None:
            left = budget - sum(len(claim.replayed) for claim in self.tested)
        plan = []
        open_ = [c for c in self.tested if c.wanted(self.alpha, self.level)]
        for place, claim in enumerate(open_):
            # A round that confirms, if nothing contradicts; then small ones, as after a
            # contradiction either side may be near.
            before = len(claim.replayed)
            most = max(_LEAST_ROUND, before // 2) if before else ROUND
            number = min(most, claim.wanted(self.alpha, self.level))
            if left is not None:
                number = min(number, left // (len(open_) - place))
                left -= number
            if number:
                plan.append((claim, number))
        return plan

    @property
    def drawn(self) -> tuple[Sha256, ...]:
        """Ids of the points replayed for rates, claim by claim, in the order drawn."""
        return tuple(one.id for claim in self.claims for one in claim.replayed)

    @property
    def points(self) -> int:
        """How many points were replayed."""
        replayed = [one for claim in self.tested for one in claim.replayed]
        return len({one.id for one in (*replayed, *self.identified)})

    @property
    def draws(self) -> int:
        """How many draws were made; some may be of one point."""
        return sum(len(claim.replayed) for claim in self.tested) + len(self.identified)

    @cached_property
    def outcomes(self) -> OutcomeReplays | None:
        """What the points replayed for the model's identity say of recorded outcomes; None: the
        method replays none.  Asked for when the audit is over.
        """
        if not audit_traits(self.terms.method).scores:
            return None
        return outcome_replays(self.identified, self.receipt, Fraction(self.terms.epsilon))

    @property
    def refuted(self) -> bool:
        """Whether anything refutes the receipt.  Asked for when the audit is over."""
        found = self.outcomes
        by_weights = audit_traits(self.terms.method).by_weights
        by_outcomes = by_weights and found is not None and refutes(found, self.level)
        return by_outcomes or any(claim.refuted(self.level) for claim in self.tested)

    def sampled(self) -> list[Entry]:
        """Return the points replayed for the model's identity, with their records, as drawn."""
        place = {one.index: number for number, one in enumerate(self._sample)}
        return sorted(self._evidence.entries(place), key=lambda entry: place[entry[0].index])

    def statistics(self) -> list[MarginStatistics]:
        """Return the margins of the responses replayed for the model's identity."""
        return [one.statistics for one in self.identified if one.statistics is not None]


def verdict_of(
    audit: Audit, identity: IdentityTest | None, second_judge: SecondJudgeVerdict | None = None
) -> AuditVerdict:
    """Return what an audit says as a whole.

    Args:
        audit: The audit, when it is over.
        identity: The model-identity test; None: not made.
        second_judge: What asking the second judge again said; None: it was not asked.
    """
    method = audit.terms.method
    rates = [
        rate_verdict(
            method, refuted=claim.refuted(audit.level), confirmed=claim.confirmed(audit.alpha)
        )
        for claim in audit.tested
    ]
    return _whole(audit, identity, second_judge, rates)


def findings_of(
    audit: Audit, identity: IdentityTest | None, second_judge: SecondJudgeVerdict | None = None
) -> tuple[FindingVerdict, ...] | None:
    """Return what an audit says of the findings that it is of; None: it is of rates alone.

    Args:
        audit: The audit, when it is over.
        identity: The model-identity test; None: not made.
        second_judge: What asking the second judge again said; None: it was not asked.
    """
    terms = audit.terms
    if terms.findings is None:
        return None
    rates = [claim.verdict(audit.alpha, audit.level) for claim in audit.claims]
    slopes = [claim.verdict(audit.alpha, audit.level) for claim in audit.slope_claims]
    verdicts = [rate.verdict for rate in rates] + [slope.verdict for slope in slopes]
    refuted = [one for one in verdicts if one is AuditVerdict.REFUTED]
    besides = _whole(audit, identity, second_judge, refuted)
    return finding_verdicts(
        terms.findings,
        breakdowns_of(audit.receipt),
        rates,
        slopes,
        method=terms.method,
        epsilon=Fraction(terms.epsilon),
        sound=besides is audit_traits(terms.method).best,
    )


def _whole(
    audit: Audit,
    identity: IdentityTest | None,
    second_judge: SecondJudgeVerdict | None,
    rates: Sequence[AuditVerdict],
) -> AuditVerdict:
    method = audit.terms.method
    enough = len(audit.identified) >= least_identity(audit.receipt.evidence.size)
    identified = identity is not None and identity.passed and enough
    return whole_verdict(
        method,
        rates,
        identified=identified,
        level=audit.level,
        outcomes=audit.outcomes,
        second_judge=second_judge,
    )
