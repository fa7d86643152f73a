"""What stands around the sections of a page: verdict, a form for the reader's key, links."""

from __future__ import annotations

from typing import Final

from safety_receipts.receipts import __version__
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.verify.page.markup import Element, Node, el
from safety_receipts.verify.page.sections import PageContent, masthead, sections

_UNVERIFIED: Final = (
    "Not verified yet. A script in this page checks every number on it against the signed bytes."
)
_NO_SCRIPT: Final = (
    "Scripts are off in this browser, so that nothing here was verified: the numbers are those "
    "that the page was made with."
)
_NAMES: Final = {
    "decision": "Decision",
    "findings": "Findings",
    "charts": "Charts",
    "conditions": "Conditions",
    "tests": "Tests",
    "evaluated": "What was evaluated",
    "limits": "Limits",
    "check": "Check it yourself",
}


def page_body(content: PageContent) -> Element:
    """Return the body of a page, without scripts."""
    made = sections(content)
    links: list[Node] = [
        el("li", el("a", _NAMES[name], href=f"#{name}"))
        for section in made
        if (name := section.known["id"]) in _NAMES
    ]
    return el(
        "body",
        el("a", "Skip to the findings", href="#findings", class_="skip"),
        el(
            "div",
            masthead(content),
            _verdict(),
            _verifier(content),
            el("nav", el("ul", links), aria_label="Sections"),
            el("main", made),
            _footer(),
            class_="page",
        ),
    )


def _verdict() -> Element:
    return el(
        "section",
        el("h2", "Verification in this browser", id="verdict-heading"),
        el("p", _UNVERIFIED, id="verdict", role="status", aria_live="polite", data_live=True),
        el("div", id="verdict-detail", data_live=True),
        el("details", el("summary", "What was checked"), el("ol", id="checks", data_live=True)),
        el("noscript", el("p", _NO_SCRIPT), data_live=True),
        class_="verdict",
        aria_labelledby="verdict-heading",
    )


def _verifier(content: PageContent) -> Element:
    public = content.receipt.evidence.access is EvidenceAccess.PUBLIC
    about = (
        "The evidence is embedded in this page."
        if content.evidence
        else "The bundle’s file points.jsonl.zst: every rate is then worked out again here."
        if public
        else "Held by auditors. Whoever has the bundle’s points.jsonl.zst can give it here."
    )
    return el(
        "section",
        el(
            "form",
            el("label", "The evaluator’s public key, or its fingerprint", for_="trust-text"),
            el(
                "textarea",
                id="trust-text",
                rows="3",
                spellcheck="false",
                autocomplete="off",
                placeholder="-----BEGIN PUBLIC KEY-----",
            ),
            el(
                "p",
                el("label", "or as a file: ", for_="trust-file"),
                el("input", type="file", id="trust-file", multiple=True),
            ),
            el(
                "p",
                el("button", "Trust this key", type="submit", id="trust-button"),
                " ",
                el("button", "Forget keys and files", type="button", id="forget-button"),
            ),
            id="trust",
        ),
        el(
            "div",
            el("label", "Evidence", for_="evidence-file"),
            el("p", about, class_="note"),
            el("input", type="file", id="evidence-file"),
            el(
                "p",
                "Files can also be dropped anywhere on this page. None of them leaves it.",
                class_="note",
            ),
            class_="evidence",
        ),
        id="verifier",
        hidden=True,
        aria_label="Verify with a key of your own",
    )


def _footer() -> Element:
    return el(
        "footer",
        el(
            "p",
            "Made by safety-receipts ",
            el("span", __version__, data_fixed=True),
            ". Nothing on this page was loaded from elsewhere, and it sends nothing.",
        ),
    )
