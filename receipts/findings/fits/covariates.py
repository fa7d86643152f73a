"""The covariates of a joint fit: they belong to conditions."""

from __future__ import annotations

import numpy as np

from safety_receipts.receipts.findings.fits.clusters import Floats


def joint_covariates(n_harmful: Floats, n_benign: Floats) -> Floats:
    """Return a constant, log(N_h+1) and log(N_b+1), each but the first only where it varies.

    Args:
        n_harmful: N_h of each condition.
        n_benign: N_b of each condition.

    Returns:
        Shape (conditions, k).
    """
    columns = [np.ones(len(n_benign))]
    if len(set(n_harmful.tolist())) > 1:
        columns.append(np.log(n_harmful + 1))
    columns.append(np.log(n_benign + 1))
    return np.column_stack(columns)
