"""How alike two timing profiles are: the medians of the same operations on two sides.

One factor for all operations (a faster clock) is told apart from what is left when it is taken out (another chip, another stack). JCAlgTest compares
algorithms between cards in this spirit; here every median counts alike and no base line is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.stats.scipy_functions import Floats, rank_correlation

_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Similarity:
    """`factor`: the typical ratio second to first. `residual`: the spread of the ratios about it, robust, as a share (0.01 is 1 %).

    `correlation`: Spearman's, of the medians (NaN of fewer than three). `overlap`: the mean over the operations of 1 - Kolmogorov's distance,
    1 where all distributions are the same and 0 where none overlaps. `operations`: how many both sides have.
    """

    factor: float
    residual: float
    correlation: float
    overlap: float
    operations: int


def similarity(first: Floats, second: Floats, overlaps: Floats) -> Similarity:
    """Compare two profiles: positive medians of the same operations in the same order, and how much each operation's distributions overlap."""
    logs = np.log(second / first)
    middle = float(np.median(logs))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))
    return Similarity(
        factor=float(np.exp(middle)),
        residual=float(np.expm1(spread)),
        correlation=rank_correlation(first, second),
        overlap=float(np.mean(overlaps)),
        operations=len(first),
    )
