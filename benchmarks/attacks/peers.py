"""What other ways of checking a record see of the same points.

*Mean margin* (after DiFR, arXiv:2511.20621): margins after the sampling noise, clipped, averaged
over tokens; an alarm where the mean lies above the 99th percentile of honest samples of as many
tokens.  *Decoding again*: an alarm where a response is not what decoding gives, to the token.
Neither looks at labels, and neither says anything of a rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.audits import Record
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish
from safety_receipts.verify.audit.statistics.model_identity import ResponseMargins, responses_of

QUANTILE = 0.99
_HONEST_SAMPLES = 2_000


def mean_margin_alarms(
    record: Record, honest: ResponseMargins, tokens: int, repeats: int, seed: int
) -> float:
    """Return the share of samples of a record's responses with too large a mean margin.

    Args:
        record: The record; its responses are drawn without replacement.
        honest: Responses of the calibration.
        tokens: Of a sample, at least; all responses where there are fewer.
        repeats: Samples.
        seed: Decides them.
    """
    found = responses_of([s for one in record.replayed.values() if (s := one.statistics)])
    random = np.random.default_rng(seed)
    limit = np.quantile(_means(honest, tokens, _HONEST_SAMPLES, random), QUANTILE, method="higher")
    return float((_means(found, tokens, repeats, random) > limit).mean())


def _means(
    of: ResponseMargins, tokens: int, repeats: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return mean margins of random samples, float64 [repeats]."""
    means = np.empty(repeats)
    for number in range(repeats):
        order = random.permutation(len(of.sums))
        enough = int(np.searchsorted(np.cumsum(of.tokens[order]), tokens)) + 1
        means[number] = of.chosen(order[:enough]).mean()
    return means


def not_reproduced(record: Record, plan: PlanPredicate) -> NDArray[np.bool_]:
    """Say of every generated response whether decoding it again would give another.

    It would where some token is not the auditor's own choice, and where the response ends
    short of the limit without an end token.  That is what decoding gives, read off the
    teacher-forced pass.
    """
    limit = plan.sampling.max_new_tokens
    records = {point.index: record for point, record in record.entries}
    return np.array(
        [
            one.branched is not None
            or one.statistics is None
            or (records[i].finish is Finish.LENGTH and one.statistics.tokens < limit)
            for i, one in record.replayed.items()
        ]
    )


def decoding_alarms(differs: Sequence[bool] | NDArray[np.bool_], size: int) -> float:
    """Return the probability that a random sample holds a response that is not reproduced.

    Args:
        differs: Of every response.
        size: Responses of a sample.
    """
    total, wrong = len(differs), int(np.sum(differs))
    none = 1.0
    for drawn in range(min(size, total)):
        none *= max(0, total - wrong - drawn) / (total - drawn)
    return 1 - none
