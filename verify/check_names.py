"""The names of all checks: at which level each stands, and what it means.

One entry makes a check known: its name, its level and its row of the tables in
``docs/protocol.md``, which :mod:`verify.present.check_table` writes.  On the wire a check's name
is any text, as audits by other versions carry others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final, Self

from safety_receipts.receipts import audit_forms
from safety_receipts.receipts.model.check import CheckLevel


@dataclass(frozen=True)
class CheckUse:
    """What a check of one name means at one level."""

    level: CheckLevel
    """The level."""
    meaning: str
    """When it passes, as the table of checks says it, in Markdown."""
    about: str | None = None
    """What follows the name and says of which thing it is; None: nothing does."""
    sealed: bool = False
    """Whether an audit's statement makes it, of its own replay; else verification does."""


_none = partial(CheckUse, CheckLevel.NONE)
_authentic = partial(CheckUse, CheckLevel.AUTHENTIC)
_consistent = partial(CheckUse, CheckLevel.CONSISTENT)
_bound = partial(CheckUse, CheckLevel.BOUND)
_replayed = partial(CheckUse, CheckLevel.REPLAYED)

_RECEIPT_SIGNATURE: Final = _authentic("a trusted key signed the envelope's bytes")
_RECEIPT_SCHEMA: Final = _authentic("the payload fits its schema; ignored fields are listed")
_RECEIPT_CANONICAL: Final = _authentic("the payload is its own RFC 8785 form")
_RECEIPT_SUBJECT: Final = _authentic("the subject is the checkpoint's name and root")
_COUNTS: Final = _consistent(
    "these parts of each condition follow from the lines: `counts` with `reasons`, `intervals`"
    " with `correctedRate`; `control` is `not_applicable` where there are no benign controls, "
    "`differences` where no condition has one"
)
_LABELS: Final = _bound(
    "of a judge that is a rule (refusal strings): the rule gives the outcome and the string "
    "found (`raw`) of every recorded text again; `not_checked` for another rule than this "
    "version's, `not_applicable` where there is no text"
)
_DIGEST: Final = _bound("the digest is the plan's")
_JUDGE: Final = _bound(
    "kind, weights, template, parser, threshold and limit are the plan's, and the folder's "
    "files where `folderFiles` states them; its tokenizer rewrites no text"
)


class CheckName(StrEnum):
    """The name of a check, with its level and what it means there."""

    uses: tuple[CheckUse, ...]
    """What it means where verification makes it, and where an audit's statement does."""

    def __new__(cls, name: str, *uses: CheckUse) -> Self:
        """Take a name with its use by verification, by an audit's statement, or by both."""
        if not uses or len({use.sealed for use in uses}) < len(uses):
            raise TypeError(f"{name}: a check needs one meaning for each that makes it")
        member = str.__new__(cls, name)
        member._value_ = name
        member.uses = uses
        return member

    RECEIPT_SIGNATURE = ("receipt-signature", _RECEIPT_SIGNATURE)
    PLAN_SIGNATURE = ("plan-signature", _RECEIPT_SIGNATURE)
    RECEIPT_SCHEMA = ("receipt-schema", _RECEIPT_SCHEMA)
    PLAN_SCHEMA = ("plan-schema", _RECEIPT_SCHEMA)
    RECEIPT_CANONICAL = ("receipt-canonical", _RECEIPT_CANONICAL)
    PLAN_CANONICAL = ("plan-canonical", _RECEIPT_CANONICAL)
    RECEIPT_SUBJECT = ("receipt-subject", _RECEIPT_SUBJECT)
    PLAN_SUBJECT = ("plan-subject", _RECEIPT_SUBJECT)
    SAME_SIGNER = ("same-signer", _authentic("one trusted key signed both"))
    REQUIRED_KEYS = (
        "required-keys",
        _authentic("only with `--require`: each of these keys signed both, receipt and plan"),
    )
    KEY_VALIDITY = (
        "key-validity",
        _authentic(
            "only where a trust file limits a key that signed: receipt and plan each have a "
            "signature that counts. One under a limited key does where it was *seen* before "
            "`revoked_at` and no later than `valid_until`, and neither it nor `event.startedAt` is "
            "before `valid_from`. It was seen at the earliest time that a timestamp below "
            "`--tsa-root` or a quorum of `--log-policy` shows, else at the moment of verification "
            "(`gate --at`). Fails otherwise, and so do the signature's own checks"
        ),
    )
    PLAN_DIGEST = ("plan-digest", _authentic("the receipt names this plan"))
    PROOF = ("proof", _authentic("the inclusion proof given holds; only with `--proof`"))
    PLAN_COHERENT = (
        "plan-coherent",
        _consistent(
            "within the plan, root, ids, labels, pools, order, sampling, calibration and "
            "numbers follow the rules above"
        ),
    )
    PLAN_RESTATED = (
        "plan-restated",
        _consistent(
            "the receipt repeats the plan's setup, evidence access, engine, dtype and batch rule"
        ),
    )
    CONDITIONS_PLANNED = (
        "conditions-planned",
        _consistent("the receipt's conditions are the plan's"),
    )
    EVENT = (
        "event",
        _consistent("it ended no earlier than it began, and names the plan's beacon round"),
    )
    LIMITS = ("limits", _consistent("all limits that apply are stated, and the tested box follows"))
    DENOMINATORS = (
        "denominators",
        _consistent("counts close, sum over sources as planned, and `reasons` fit them"),
    )
    RATES = (
        "rates",
        _consistent(
            "the rates, and without their intervals the corrected rates and differences, "
            "follow from the stated counts"
        ),
    )
    BASELINE = ("baseline", _consistent("it repeats the first condition"))
    SECOND_JUDGE = (
        "second-judge",
        _consistent(
            "the agreement is there if a second judge is, and its numbers fit the counts; "
            "`not_applicable` where the plan has none"
        ),
    )
    FINDINGS = (
        "findings",
        _consistent(
            "without any point, the findings agree with each other: level and margin are the "
            "plan's; their conditions are those that the experiments ask for; statistics, "
            "p-values and intervals of slopes follow from slope, error and degrees of freedom as "
            "far as rounding lets see; corrected p-values and words follow from the numbers; "
            "rates are those of the conditions; `not_applicable` where none are claimed"
        ),
        _replayed(
            "never passes: confirmed rates say nothing about effects, but for those that the audit "
            "is of (`findingVerdicts`)",
            sealed=True,
        ),
    )
    ORIGINAL = (
        "original",
        _consistent(
            "only with `--original BUNDLE`, of an event that was judged again: its receipt and"
            " plan are those that `rejudges` names, signed by a trusted key and not themselves"
            " judged again; plan, event and environment differ only where they may"
        ),
    )
    ORIGINAL_POINTS = (
        "original-points",
        _consistent(
            "only with `--original BUNDLE`: lines differ from the original's only where they may, "
            "and the original's lines have its root. `not_checked` where a bundle has no lines"
        ),
    )
    ORIGINAL_RESPONSES = (
        "original-responses",
        _consistent(
            "only with `--original BUNDLE`: records differ from the original's only where they "
            "may, and the original's records open their commitments. `not_checked` where a bundle "
            "has no records: nothing then says whose responses were judged"
        ),
    )
    REJUDGED = (
        "rejudged",
        _none("never passes: only where responses were judged again and no original is given"),
    )
    EVIDENCE = (
        "evidence",
        _consistent(
            "never passes: stands in the place of all evidence checks where there is no evidence, "
            "or where it cannot be read with this plan"
        ),
    )
    EVIDENCE_LINES = (
        "evidence-lines",
        _consistent("every line is canonical, legal and within limits, and the file is whole"),
    )
    EVIDENCE_ORDER = ("evidence-order", _consistent("every line is the point planned at its place"))
    EVIDENCE_SIZE = ("evidence-size", _consistent("lines, receipt and plan agree on their number"))
    EVIDENCE_ROOT = ("evidence-root", _consistent("the lines give the receipt's root"))
    EVIDENCE_LABELS = (
        "evidence-labels",
        _consistent(
            "labels follow from the seed, and `prefixAdopted` is given where it applies; "
            "`not_applicable` where no condition has either"
        ),
    )
    EVIDENCE_ENDINGS = (
        "evidence-endings",
        _consistent(
            "token counts and reasons go with the plan's limits and the way the point ended"
        ),
    )
    FINDINGS_FITS = (
        "findings-fits",
        _consistent(
            "the findings, derived again from the lines, agree with the stated ones within the"
            " tolerance; only if some are claimed (`not_applicable` where `findings` is empty)"
        ),
    )
    COUNTS = ("counts", _COUNTS)
    BY_SOURCE = ("by-source", _COUNTS)
    INTERVALS = ("intervals", _COUNTS)
    DIFFERENCES = ("differences", _COUNTS)
    CONTROL = ("control", _COUNTS)
    PROMPTS = ("prompts", _COUNTS)
    COMMITMENTS = (
        "commitments",
        _bound(
            "every restricted record is canonical, agrees with its line, itself and the plan, "
            "and opens its commitment; the lines read for it have the root. `not_checked` at level "
            "consistent, where records lie beside"
        ),
    )
    JUDGE_AGREEMENT = (
        "judge-agreement",
        _bound("agreement with the second judge follows from the records; only if there is one"),
    )
    LABELS = ("labels", _LABELS)
    SECOND_JUDGE_LABELS = ("second-judge-labels", _LABELS)
    ARTIFACTS = (
        "artifacts",
        _bound(
            "never passes: stands in the place of all checks of level bound, except those of the "
            "records, where there are no artifacts (`--artifacts PLAN`), or no coherent plan"
        ),
    )
    CHECKPOINT = (
        "checkpoint",
        _bound(
            "the folder holds the plan's files, byte for byte; others it holds only if nothing"
            " loads them (`.DS_Store`, `__pycache__`, editors' copies, a README: named in the "
            "detail), and where the plan's came from a hub pickles that are not its weights; "
            "the files that weights are loaded from are the plan's: `model.safetensors`, else "
            "what `model.safetensors.index.json` names, else `pytorch_model.bin`, else what "
            "`pytorch_model.bin.index.json` names, index included; `instrument` and "
            "`dequantised` are right"
        ),
    )
    TOKENIZER = (
        "tokenizer",
        _bound(
            "the digest is the plan's, and the tokenizer is made of components that rewrite no text"
        ),
    )
    CHAT_TEMPLATE = ("chat-template", _DIGEST)
    SYSTEM_PROMPT = ("system-prompt", _DIGEST)
    RENDERING = (
        "rendering",
        _bound(
            "the contexts' templates are those of the rule, and the judged channel is the "
            "tokenizer's; `not_checked` for another rule than this version's"
        ),
    )
    CONTEXT_LIMIT = (
        "context-limit",
        _bound("the checkpoint's configuration says what the plan does"),
    )
    SAMPLING_DEFAULTS = (
        "sampling-defaults",
        _bound(
            "`defaultsNotApplied` follows from the checkpoint's files and the plan's sampling;"
            " `not_checked` where the plan says nothing of them"
        ),
    )
    END_TOKENS = (
        "end-tokens",
        _bound(
            "the folder and the plan file say what the plan does, token by token with the same"
            " origins. A plan of `conversation/1` without `endTokenOrigins`: `config.json` and"
            " `generation_config.json` do, and `not_checked` where tokenizer or template state"
            " another"
        ),
    )
    QUERIES = (
        "queries",
        _bound(
            "of each source digest, reader, selection, row counts and query ids are the "
            "plan's; so are the queries that ask the same, where it states them; by the rule "
            "of requests that the plan names, and `not_checked` for one that is not known"
        ),
    )
    DEMONSTRATIONS = (
        "demonstrations",
        _bound(
            "of each pool digest, reader, selection and row counts are the plan's, "
            "decontamination included; so are truncation, draws and draw block; `not_checked` "
            "for another rule of drawing than this version's, or a rule of requests that is "
            "not known; `not_applicable` where the plan shows none"
        ),
    )
    JUDGE = ("judge", _JUDGE)
    SECOND_JUDGE_IDENTITY = ("second-judge-identity", _JUDGE)
    PROMPTS_RENDERED = (
        "prompts-rendered",
        _bound(
            "demonstrations and prompt, made again from plan, seed and artifacts, have the "
            "digests and the length of the record, and the prompt's text comes back from its tokens"
        ),
    )
    TEXTS_DECODED = (
        "texts-decoded",
        _bound(
            "every token is one of the model's, `text` is what the tokens decode to, each by its "
            "own entry of the vocabulary, and `empty_response`, `empty_final` and "
            "`prefixAdopted` follow from it"
        ),
    )
    PLAN_FILE = (
        "plan-file",
        _none(
            "always: says whether the plan file given resolves to the sealed plan, or where it"
            " differs first"
        ),
    )
    AUDIT = (
        "audit",
        _replayed(
            "a trusted auditor signed it, it is about this receipt, the same auditor's "
            "announcement is here too with the same terms, its N0, k and p-values follow from "
            "its draws, its points are those that the challenge draws (with the evidence at "
            "hand), and it confirms every rate, the second judge's agreement where there is "
            "one and, on at least min(50, points) responses, the model's identity. The detail "
            "says of how much of the receipt it is, and `partly` where not every recorded rate"
            " is audited; hard contradictions are named whatever the verdict. Of a public form"
            " terms, counts, N0, k and verdicts are held to announcement, receipt and its own "
            "p-values, and these are the auditor's word; beside the full form that it is of, "
            "it is named as such. Fails if it refutes, found something that does not follow, "
            "contradicts itself, its announcement, the receipt or the full form that it names,"
            " leaves out `outcomes` or `secondJudge` where its version has them, is of another"
            " version than its announcement, says what its method or its draws cannot, states "
            "fewer announcements of its auditor than are here, or cannot be read; "
            "`not_checked` if nobody trusted signed it, if it is about another receipt, a "
            "copy, inconclusive, an announcement without a result, or a second result of one "
            "announcement: of these the one counts that says least for the receipt (what does "
            "not follow or refutes, before inconclusive, before the others; then by "
            "`finishedAt` and digest)",
            about="<file>",
        ),
    )
    AUDITS = (
        "audits",
        _replayed("never passes: says how many further files do not count, or were not read"),
    )
    BEACON_VALUE = (
        "beacon-value",
        _none(
            "the signature of the round is the beacon's, its SHA-256 the value, and the run began "
            "no earlier than the round was published; `not_checked` without the signature, of "
            "another beacon than drand's quicknet, or without the extra `log`; `not_applicable` "
            "where the plan names no round"
        ),
    )
    PLAN_TIMESTAMP = (
        "plan-timestamp",
        _none(
            "only with `--tsa-root`: an authority below that root stamped the plan's signatures "
            "no later than `event.startedAt`, and before the plan's round of a beacon was out; "
            "`not_checked` without a timestamp of them, where responses are judged again, or "
            "without the extra `log`. Fails where it did later, and where none of them holds"
        ),
    )
    RECEIPT_TIMESTAMP = (
        "receipt-timestamp",
        _none("only with `--tsa-root`: likewise of the receipt's signatures, at whatever time"),
    )
    FINDINGS_CLAIMED = (
        "findings-claimed",
        _none(
            "never passes: only where the receipt has no findings although the plan's "
            "experiments feed some"
        ),
    )
    ROW_SELECTION = (
        "row-selection",
        _none(
            "never passes: a filter chose rows, and nothing shows when it was written; only where "
            "`where` of a source is not empty, whether or not the receipt has to state "
            "`selected-rows`"
        ),
    )
    BEST_OF_N = (
        "best-of-n",
        _none(
            "with `--log`: this plan is the only one of its checkpoint in the log under the ids of "
            "trusted evaluators' keys. `not_checked` where there are others, which it "
            "counts, where the log has another receipt of this plan, where a quorum has not seen "
            "its newest checkpoint, and without a log; plans under other key ids are counted in "
            "its words"
        ),
    )
    PLAN_LOGGED = (
        "plan-logged",
        _none(
            "only with `--log-policy`: the plan is in a log that the policy accepts, and enough "
            "witnesses had seen it there by `event.startedAt`, and before the plan's round of a "
            "beacon was out; `not_checked` without a proof, where no witness says when, and where "
            "responses are judged again. Fails where they saw it later, and for a proof that does "
            "not hold"
        ),
    )
    RECEIPT_LOGGED = (
        "receipt-logged",
        _none(
            "only with `--log-policy`: the receipt is in a log that the policy accepts; "
            "`not_checked` without a proof. Fails for one that does not hold"
        ),
    )
    AUDITS_LOGGED = (
        "audits-logged",
        _none(
            "only with `--log-policy`: so is every announcement and result at hand that a trusted "
            "auditor signed; `not_applicable` where there is none. Fails for a proof that does not "
            "hold, and for an announcement that was seen only when its round of a beacon was out"
        ),
    )
    AUDITS_COMPLETE = (
        "audits-complete",
        _none(
            "only with `--log`: every audit of this receipt that was announced in the log is at "
            "hand. Fails where one is missing that was announced under a trusted auditor's key id, "
            "and where log and proofs show two views; `not_checked` where others' are missing, and "
            "where a quorum has not seen the log's newest checkpoint"
        ),
    )
    EXPECTED_CHECKPOINT = (
        "expected-checkpoint",
        _none(
            "only with `--checkpoint`: the receipt is of the checkpoint with this root (in either "
            "order of its files), or of that whose files the folder holds, held to each other as "
            "`checkpoint` does. Fails otherwise: code 1, where nothing else failed"
        ),
    )
    EXPECTED_STAGE = (
        "expected-stage",
        _none(
            "only with `--stage`: the receipt names this training stage, in the same letters. "
            "Fails otherwise: code 1, where nothing else failed"
        ),
    )
    INSTRUMENT = (
        "instrument",
        _none(
            "the receipt says that it is of no test instrument, and its checkpoint is none of "
            "those that come with this program. Fails otherwise (code 1, where nothing else "
            "failed); `not_applicable` with `--allow-instrument`"
        ),
    )
    DRAWN_POINTS = (
        audit_forms.DRAWN_POINTS,
        _replayed(
            "prompt, text and commitment of every drawn point follow from plan and artifacts; "
            "`not_checked` where none was drawn",
            sealed=True,
        ),
    )
    CALIBRATION = (
        "calibration",
        _replayed(
            "the auditor's own calibration says what is plausible; `not_checked` where "
            "stated limits do",
            sealed=True,
        ),
    )
    RESPONSES = (
        "responses",
        _replayed(
            "never passes: only of an audit that asks for new responses, as nothing ties the "
            "recorded ones to the model, or asks a server about the recorded ones, as nothing ties "
            "its model to the named weights",
            sealed=True,
        ),
    )
    CHALLENGE_BEACON = (
        "challenge-beacon",
        _none(
            "only where a beacon's round draws the points: its signature is the beacon's, and its "
            "SHA-256 the value; `not_checked` as `beacon-value` is",
            sealed=True,
        ),
    )

    def level(self, *, sealed: bool = False) -> CheckLevel:
        """Return the level of the check.

        Args:
            sealed: Whether an audit's statement makes it, of its own replay; else verification.

        Raises:
            ValueError: It does not.
        """
        for use in self.uses:
            if use.sealed is sealed:
                return use.level
        raise ValueError(f"{self.value} is no check of {'an audit' if sealed else 'verification'}")
