"""Whatever a bundle says of itself stays text, in a browser too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import Page
from dishonest import seal_anything
from tampered_pages import EVALUATOR, Show, give_key, made_page

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.judge import judge_digest
from safety_receipts.receipts.model.plan import PlanPredicate

HOSTILE = {
    "markup": '<script>hacked()</script><img src="http://127.0.0.1:9/x" onerror="hacked()">',
    "the end of the script": "</script><script>hacked()</script><!--",
    "the end of an element": '"></bdi></span><h1 onclick=hacked()>100 %</h1>',
    "directions": "safe\u202egnp.exe\u2066 \u200f\u061c(1)",
    "invisible": "a\u200bb\ufeffc\u00add 12",
    "long": "W" * 512,
    "long words": "12 345 " * 73,
    "entities": "&lt;b&gt; &amp;amp; &#60;i&#62; 5",
    "numbers": "0.0 % of 1,404 – 99.9 %",
    "templates": "${hacked()} {{hacked()}} %s \\u003c/script\\u003e",
    "other digits": "٣٤ of ५६, ①②",
}


def hostile_plan(text: str) -> PlanPredicate:
    """Return a plan with a text in every field that takes any."""
    plan = synthetic_plan(
        [Mixture(0, 0, None), Mixture(2, 0, None), Mixture(2, 2, Ordering.SUFFIX)],
        {"alpha": 4},
        controls={"control": 3},
    )

    def corpus(source: Any) -> Any:
        return source.model_copy(
            update={
                "corpus": text,
                "licence": text,
                "languages": (text,),
                "where": {text[:128]: text},
            }
        )

    def pool(source: Any) -> Any:
        return corpus(source).model_copy(update={"responses_by": text})

    judge = plan.judge.model_copy(update={"name": text})
    return plan.model_copy(
        update={
            "name": text,
            "training_stage": text,
            "checkpoint": plan.checkpoint.model_copy(update={"name": text}),
            "prompt": plan.prompt.model_copy(update={"template_options": {text[:128]: text}}),
            "judge": judge.model_copy(update={"digest": judge_digest(judge)}),
            "queries": tuple(map(corpus, plan.queries)),
            "demonstrations": plan.demonstrations.model_copy(
                update={
                    "harmful": pool(plan.demonstrations.harmful),
                    "benign": tuple(map(pool, plan.demonstrations.benign)),
                }
            ),
        }
    )


def say_everywhere(folder: Path, text: str) -> None:
    """Put a text into the free fields that are the receipt's own, and sign it again."""
    statement = json.loads(Bundle(folder).receipt_envelope.payload)
    predicate = statement["predicate"]
    predicate["event"]["id"] = text
    for name in ("tool", "device", "driver", "platform", "python", "torch", "attention"):
        predicate["environment"][name] = text
    predicate["environment"]["packages"] = {text[:128]: text}
    (folder / "receipt.dsse.json").write_bytes(sign(statement, EVALUATOR).to_json())


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text(name: str, golden: Path, tmp_path: Path, show: Show, page: Page) -> None:
    text = HOSTILE[name]
    seal_anything(tmp_path / "bundle", hostile_plan(text), EVALUATOR)
    say_everywhere(tmp_path / "bundle", text)
    key = golden / "ed25519.pub"
    html = made_page(tmp_path / "bundle", key, with_evidence=True)
    page.resize(320, 800)
    said = give_key(show(html), key.read_text())
    assert (said.verdict, said.bad) == ("passed", set()), said.checks
    assert page.complaints == []
    assert page.requests == [page.evaluate("location.href")]
    assert page.evaluate("document.scripts.length") == 0  # its own have done their work
    assert page.evaluate("document.querySelectorAll('img, [onclick], [onerror], b, i').length") == 0
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    shown = page.evaluate("document.querySelector('h1').textContent")
    assert shown.strip()
    assert not set(shown) & set("\u202e\u2066\u200f\u061c\u200b\ufeff\u00ad")
