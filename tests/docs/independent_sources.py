"""The slopes of the benign sources for independent_findings.py."""

from decimal import Decimal

import numpy as np
from independent_fits import Fitted
from independent_rates import Document, share
from independent_study import (
    Row,
    Study,
    design,
    ids,
    informative_queries,
    numbers,
    slope_word,
    stack,
)


class Source:
    """The slope of one benign source, or its difference from the filler's."""

    def __init__(self, facts: Document, rows: list[Row], fitted: Fitted, informative: int) -> None:
        less = f"-less-{facts['filler']}" if "filler" in facts else ""
        self.name = f"source/{facts['source']}{less}"
        self.rows, self.fitted, self.facts = rows, fitted, facts
        self.slope, self.informative = fitted.slope(0), informative

    @property
    def doubt(self) -> str | None:
        """Why it is not tested."""
        return self.fitted.clusters.doubt or ("few-informative" if self.informative < 30 else None)

    def finding(self, adjusted: dict[str, Decimal], margin: Decimal) -> Document:
        """With its word."""
        assert self.slope
        equivalence = self.fitted.interval(0, "0.900000")
        word: tuple[str, str] = ("undetermined", self.doubt or "")
        if not self.doubt:
            word = slope_word(self.slope["beta"], adjusted[self.name], equivalence, margin)
        ends = {"interval": self.fitted.interval(0, "0.950000"), "equivalence": equivalence}
        return self.slope | ends | {"effect": word[0], "grounds": word[1]} | self.facts


def sources(study: Study) -> tuple[list[Source], list[Source]]:
    """Slopes of the benign sources, and their differences from the filler's."""
    slopes: dict[str, Source] = {}
    asked = study.asked("benign_sources")
    for source in study.plan["demonstrations"]["benign"]:
        name = source["name"]
        own = [r for r in asked if r.condition["benignSource"] == name and study.simple(r)]
        found = [row.condition["ordering"] for row in own if row.condition["ordering"]]
        order = "suffix" if "suffix" in found else (found or [None])[0]
        own = [row for row in own if row.condition["ordering"] in (None, order)]
        at = {row.condition["nHarmful"] for row in own}
        shown = set(ids(own))
        rows = [
            row
            for row in study.rows
            if row.condition["id"] in shown
            or (
                study.simple(row)
                and row.condition["nBenign"] == 0
                and row.condition["nHarmful"] in at
            )
        ]
        if not own or len(set(numbers(rows, "nBenign").tolist())) < 2:
            continue
        x = design(rows)
        fitted = study.fit(x, rows)
        if fitted is None:
            continue
        showing = [row for row in rows if row.condition["nBenign"]]
        generated = [p for row in showing for p in row.points if p["outcome"] != "failed"]
        mean = share(sum(p["promptTokens"] for p in generated), len(generated), 2)
        facts = {"source": name, "conditions": ids(rows), "meanPromptTokens": mean}
        informative = informative_queries(rows, stack(rows, "complied"), stack(rows, "judged"))
        one = Source(facts, rows, fitted[0].combined(np.eye(x.shape[1])[-1:]), informative)
        if one.slope:
            slopes[name] = one
    filler, less = slopes.get("filler"), []
    for name, one in slopes.items() if filler else ():
        assert filler
        if one is filler or mixtures(one) != mixtures(filler):
            continue
        both = set(ids(one.rows)) | set(ids(filler.rows))
        rest = Fitted(
            one.fitted.values - filler.fitted.values,
            one.fitted.influence - filler.fitted.influence,
            stack([row for row in study.rows if row.condition["id"] in both], "judged"),
            study.lists,
            one.fitted.independent + filler.fitted.independent,
        )
        facts = {"source": name, "filler": "filler"}
        left = Source(facts, [], rest, min(one.informative, filler.informative))
        less += [left] if left.slope else []
    return list(slopes.values()), less


def mixtures(one: Source) -> set[tuple[int, str | None]]:
    """The numbers and orders that a slope holds for."""
    return {(row.condition["nHarmful"], row.condition["ordering"]) for row in one.rows}
