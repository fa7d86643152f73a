"""Decoys and positive controls: what the findings say of populations whose answer is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from recording import markdown_table

from findings_models.decoy_kinds import (
    FILLER_ALONE,
    GROUNDS,
    IN_PREFIX,
    JOINT,
    LENGTH_MATCHED,
    ORDER,
    Among,
    Decoy,
    Flip,
    Hump,
    LengthOnly,
    Misjudged,
    Missing,
    Recency,
    Said,
    Threshold,
)
from findings_models.designs import Design, fixed_harmful, mixture
from findings_models.judges import Judged
from findings_models.population import (
    Spread,
)
from findings_models.repeats import Repeats, Share
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.findings import Effect, Grounds, OrderWord

REQUIRED: Final = 0.95
"""Share of studies that must say the right word."""

_DILUTION, _AMPLIFICATION = frozenset({Effect.DILUTION}), frozenset({Effect.AMPLIFICATION})
_NONE, _UNDETERMINED = frozenset({Effect.NONE}), frozenset({Effect.UNDETERMINED})
_NOT_DIRECTIONAL = _NONE | _UNDETERMINED


_USUAL = Spread(1.5, 0.5)
_STUDY = Design(240)
_LARGE = Design(480)
_NULL = "β2 = 0"
_ORDERED = (Ordering.SUFFIX, Ordering.PREFIX)

DECOYS: Final[tuple[Decoy, ...]] = (
    Decoy("strong query correlation", _NULL, _STUDY, Spread(4.0, 0.3), {JOINT: _NONE}),
    Decoy(
        "list effects only: 2 lists",
        _NULL,
        Design(240, 2, "all"),
        Spread(1.5, 0.5, 0.3, 0.4),
        {JOINT: _UNDETERMINED, GROUNDS: frozenset({Grounds.FEW_LISTS})},
    ),
    Decoy(
        "list effects only: 40 lists",
        _NULL,
        Design(60, 40, "all"),
        Spread(1.5, 0.3, 0.3, 0.2),
        {JOINT: _NOT_DIRECTIONAL},
    ),
    Decoy(
        "list effects only: 60 blocks",
        _NULL,
        Design(480, 2, 16),
        Spread(1.5, 0.3, 0.3, 0.2),
        {JOINT: _NOT_DIRECTIONAL},
    ),
    LengthOnly(
        "length only",
        "logit = −2.5 + .4 log(N+1), filler too",
        Design(720, with_filler=True),
        Spread(1.5, 0.3),
        {
            JOINT: _AMPLIFICATION,
            FILLER_ALONE: _AMPLIFICATION,
            LENGTH_MATCHED: _NOT_DIRECTIONAL,
        },
        level=-2.5,
        benign=0.4,
    ),
    Recency(
        "recency only",
        "logit = −2 + 2 × harmful share of the last four",
        Design(
            _LARGE.queries,
            fixed=fixed_harmful(orderings=_ORDERED),
            ordered=tuple(mixture(32, 32, ordering) for ordering in Ordering),
        ),
        Spread(1.5, 0.3),
        {
            JOINT: _NONE,
            IN_PREFIX: _DILUTION,
            ORDER: frozenset({OrderWord.RECENCY}),
        },
        harmful=2.0,
    ),
    Flip(
        "sign flip across N_h",
        "β2 = +.18 at N_h = 8, 0 at 16, −.18 at 32",
        _STUDY,
        _USUAL,
        {JOINT: frozenset({Effect.MIXED})},
        benign=0.18,
    ),
    Decoy(
        "near-separation, null",
        "logit = −8 + .3 log(N_h+1)",
        _STUDY,
        _USUAL,
        {JOINT: _UNDETERMINED, GROUNDS: frozenset({Grounds.PERMUTED})},
        level=-8.0,
    ),
    Threshold(
        "separation, planted",
        "5 % comply at N_b = 64, nobody below",
        _STUDY,
        _USUAL,
        {JOINT: _AMPLIFICATION, GROUNDS: frozenset({Grounds.PERMUTED})},
    ),
    Misjudged(
        "judge errs alike, null", f"{_NULL}; {Judged(0.9, 0.9)}", _LARGE, _USUAL, {JOINT: _NONE}
    ),
    Misjudged(
        "judge misses compliance, null",
        f"{_NULL}; {Judged(0.75, 0.98)}",
        _LARGE,
        _USUAL,
        {JOINT: _NONE},
        judged=Judged(0.75, 0.98),
    ),
    Misjudged(
        "judge sees compliance, null",
        f"{_NULL}; {Judged(0.98, 0.8)}",
        _LARGE,
        _USUAL,
        {JOINT: _NONE},
        judged=Judged(0.98, 0.8),
    ),
    Misjudged(
        "judge errs alike, dilution",
        f"β2 = −.18; {Judged(0.9, 0.9)}",
        _STUDY,
        _USUAL,
        {JOINT: _DILUTION},
        benign=-0.18,
    ),
    Misjudged(
        "judge misses compliance, dilution",
        f"β2 = −.18; {Judged(0.75, 0.98)}",
        _STUDY,
        _USUAL,
        {JOINT: _DILUTION},
        benign=-0.18,
        judged=Judged(0.75, 0.98),
    ),
    Misjudged(
        "judge sees compliance, dilution",
        f"β2 = −.18; {Judged(0.98, 0.8)}",
        _STUDY,
        _USUAL,
        {JOINT: _DILUTION},
        benign=-0.18,
        judged=Judged(0.98, 0.8),
    ),
    Missing(
        "n/a grows with N_b",
        f"{_NULL}; n/a up to 30 % at N_b = 64",
        _LARGE,
        _USUAL,
        {JOINT: _UNDETERMINED, GROUNDS: frozenset({Grounds.UNSCORED})},
    ),
    Missing(
        "n/a grows with N_b, among refusals",
        f"{_NULL}; n/a up to 30 % of refusals at N_b = 64",
        _LARGE,
        _USUAL,
        {JOINT: _UNDETERMINED, GROUNDS: frozenset({Grounds.UNSCORED})},
        among=Among.REFUSALS,
    ),
    Missing(
        "n/a falls with N_b, among rare compliances",
        "logit = −6 + .3 log(N_h+1); n/a of compliances from 100 % at N_b = 0 to 0 at 64",
        _STUDY,
        _USUAL,
        {JOINT: _UNDETERMINED},
        level=-6.0,
        none_shown=1.0,
        most_shown=0.0,
        among=Among.COMPLIANCES,
    ),
    Missing(
        "n/a alike everywhere, dilution",
        "β2 = −.18; n/a 2 %",
        _STUDY,
        _USUAL,
        {JOINT: _DILUTION},
        benign=-0.18,
        none_shown=0.02,
        most_shown=0.02,
    ),
    Hump(
        "hump over N_b",
        "quadratic in log(N_b+1) without linear part; rates 10 points apart",
        _LARGE,
        _USUAL,
        {JOINT: frozenset({Effect.MIXED, Effect.UNDETERMINED})},
    ),
    Decoy("planted dilution", "β2 = −.18", _STUDY, _USUAL, {JOINT: _DILUTION}, benign=-0.18),
    Decoy(
        "planted amplification", "β2 = +.09", _STUDY, _USUAL, {JOINT: _AMPLIFICATION}, benign=0.09
    ),
    Decoy(
        "planted dilution, 40 lists",
        "β2 = −.18",
        Design(60, 40, "all"),
        Spread(1.5, 0.5, 0.3, 0.4),
        {JOINT: _DILUTION},
        benign=-0.18,
    ),
    Decoy("β2 within the margin", "β2 = +.01", Design(960), _USUAL, {JOINT: _NONE}, benign=0.01),
)

COLUMNS = (
    "population",
    "marginal rates",
    "queries × draws",
    "sd: query / slope / list / slope",
    "question",
    "right",
    "share of studies that say so",
    "at least 95 %",
    "what they say",
)


def measure(repeats: Repeats, decoys: Sequence[Decoy] = DECOYS) -> list[str]:
    """Return the report's lines."""
    found = repeats.of("decoys", decoys)
    pairs = list(zip(decoys, found, strict=True))
    return [
        f"Words, {repeats.number:,} studies a row, effect margin .05, joint hypothesis primary; "
        "where nothing else is said, the grid and the generating model of the nulls. *At least 95 "
        "%*: met; not met, within error (the Wilson interval reaches 95 %); NOT met.",
        "",
        *markdown_table(COLUMNS, (row for pair in pairs for row in _rows(*pair))),
        "",
        "Estimates of β2 in the populations where it is planted, against the marginal truth:",
        "",
        *markdown_table(
            ("population", "true β2", "mean estimate ± standard error", "sd of the estimates"),
            (_estimate(*pair) for pair in pairs if type(pair[0]) is Decoy and pair[0].benign),
        ),
    ]


def _rows(decoy: Decoy, said: Sequence[Said]) -> list[tuple[str, ...]]:
    rows = []
    for question, right in decoy.right.items():
        words = Counter(str(one.words.get(question, "no answer")) for one in said)
        met = Share(sum(words[word] for word in right), len(said))
        rows.append(
            (
                decoy.name,
                decoy.model,
                decoy.design.size,
                f"{decoy.spread}",
                question,
                " or ".join(sorted(right)),
                f"{met}",
                _verdict(met),
                ", ".join(f"{word} {100 * n / len(said):.1f} %" for word, n in words.most_common()),
            )
        )
    return rows


def _verdict(found: Share) -> str:
    if found.value >= REQUIRED:
        return "met"
    return "not met, within error" if found.interval[1] >= REQUIRED else "NOT met"


def _estimate(decoy: Decoy, said: Sequence[Said]) -> tuple[str, ...]:
    betas = np.array([one.beta for one in said if one.beta is not None])
    spread = float(betas.std(ddof=1)) if len(betas) > 1 else float("nan")
    error = spread / len(betas) ** 0.5
    return (
        decoy.name,
        f"{decoy.benign:+.4f}",
        f"{betas.mean():+.4f} ± {error:.4f}",
        f"{spread:.4f}",
    )
