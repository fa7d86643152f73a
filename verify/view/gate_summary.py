"""What a gate found, as Markdown for a page of a CI system.

Whatever others wrote stands in code spans, one line each, in lists: a table's cell could be ended
by a bar, and a heading begun by a line break.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.io.text import printable
from safety_receipts.verify.gate.gating import GateResult, GateVerdict, RuleResult
from safety_receipts.verify.gate.kinds import RuleStatus
from safety_receipts.verify.view.gate import broken_lines, gate_conclusion, waiver_lines

_SIGNS = {RuleStatus.PASSED: "✓", RuleStatus.FAILED: "✗", RuleStatus.WAIVED: "⚠ WAIVED"}


def gate_summary(results: Sequence[GateResult], policy: str, at: str) -> str:
    """Return what a gate found.

    Args:
        results: What became of each receipt.
        policy: SHA-256 of the policy.
        at: The moment of the decision.
    """
    admitted = all(result.verdict is GateVerdict.ADMITTED for result in results)
    waived = any(rule.waiver is not None for result in results for rule in result.rules)
    verdict = f"{'admitted' if admitted else 'NOT admitted'}{', WITH WAIVERS' if waived else ''}"
    lines = [f"## Receipts gate: {verdict}", ""]
    for result in results:
        lines += [f"- **WARNING**: {code_span(line)}" for line in waiver_lines(result)]
    if lines[-1]:
        lines.append("")
    for result in results:
        lines += _receipt(result)
    lines += [f"Policy {code_span(policy)}, at {code_span(at)}.", ""]
    return "\n".join(lines)


def summary_of_error(error: ReceiptsError) -> str:
    """Return what is said where a gate could not be asked: an input cannot be read."""
    return f"## Receipts gate: NOT admitted\n\n- not read: {code_span(error.one_line())}\n"


def code_span(text: str) -> str:
    """Return what others wrote as one code span of Markdown, which it cannot end."""
    return f"`{printable(text).replace('`', chr(39)).strip() or '–'}`"


def _receipt(result: GateResult) -> Iterator[str]:
    digest = result.verification.receipt_digest or "unread"
    yield f"### {code_span(str(result.bundle))}"
    yield ""
    yield f"- receipt {code_span(digest)}"
    conclusion = gate_conclusion(result)
    yield f"- **{conclusion.word.text}**: {code_span(conclusion.sentence)}"
    order = (RuleStatus.WAIVED, RuleStatus.FAILED, RuleStatus.PASSED)
    for rule in sorted(result.rules, key=lambda one: order.index(one.status)):
        yield _rule_line(rule)
    for line in broken_lines(result):
        yield f"- ✗ {code_span(line)}"
    yield ""


def _rule_line(rule: RuleResult) -> str:
    implied = " (implied)" if rule.implied else ""
    return (
        f"- {_SIGNS[rule.status]} {code_span(rule.name)}{implied}: asked {code_span(rule.asked)}, "
        f"found {code_span(rule.found)}, from {code_span(rule.source)}"
    )
