"""Queries of several sources that ask the same: one request, and so one cluster."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.int64, np.float64)


def by_request(values: NDArray[Number], requests: NDArray[np.int64] | None) -> NDArray[Number]:
    """Sum over the queries that ask the same.

    Args:
        values: One row a query, shape (queries, …).
        requests: Number of each query's request; None: no two are the same.

    Returns:
        One row a request; ``values`` itself where no two are the same.
    """
    if requests is None:
        return values
    names, request_of = np.unique(requests, return_inverse=True)
    if len(names) == len(requests):
        return values
    sums = np.zeros((len(names), *values.shape[1:]), dtype=values.dtype)
    np.add.at(sums, request_of, values)
    return sums


def count_requests(chosen: NDArray[np.bool_], requests: NDArray[np.int64] | None) -> int:
    """Count the requests of some queries.

    Args:
        chosen: Which queries.
        requests: Number of each query's request; None: no two are the same.
    """
    return int(chosen.sum()) if requests is None else len(np.unique(requests[chosen]))
