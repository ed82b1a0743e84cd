"""The scales on which numbers of a column are modelled: normal scores, or a natural one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sklearn_cvae.binning import Array, between

# What a natural scale bears, and how far its atoms reach beyond the seen range, in deviations.
FARTHEST, NARROWEST, MAX_SKEWNESS_OF_FEW, MAX_SKEWNESS = 20.0, 1e-4, 1.0, 2.0
N_BEYOND, REACH, THINNING = 8, 3.0, 0.4


class Scale(NamedTuple):
    """A natural scale of numbers, and the way back."""

    to_scale: Callable[[Array], Array]
    from_scale: Callable[[Array], Array]


SCALES = {
    "linear": Scale(np.positive, np.positive),
    "log": Scale(np.log, np.exp),
    "sqrt": Scale(np.sqrt, lambda scores: np.square(np.maximum(scores, 0))),
}


def natural_scale(knots: Array, mass: Array, first: Array, continuous: bool, repeats: bool) -> str:
    """Return a column's natural scale, or "normal" if none suits it.

    Of numbers that are never negative, a scale ends at 0. Far cells, narrow bins and bins whose
    cells are alike in float32 suit normal scores better, and so do columns of few values that are
    skewed, numbers that roots or logs leave skewed, and a frequent value among many others.

    Parameters
    ----------
    knots, mass : ndarray of shape (n_knots,)
        Distinct values and their shares of the cells.
    first : ndarray of shape (n_bins + 1,)
        Index of each bin's first knot.
    continuous : bool
        Whether values hardly repeat.
    repeats : bool
        Whether one of them does, all the same.
    """
    if len(knots) < 3 or (continuous and repeats):
        return "normal"
    scale = "linear"
    if continuous and knots[0] >= 0:
        scale = "log" if knots[0] > 0 else "sqrt"
    scores = scores_on(scale, knots, mass)
    limit = MAX_SKEWNESS_OF_FEW if not continuous else MAX_SKEWNESS
    skewed = abs(scores**3 @ mass) > limit and not (continuous and scale == "linear")
    low, high = scores[first[1:-1] - 1], scores[first[1:-1]]
    narrow = (np.diff(between(low, high)) <= NARROWEST).any()
    alike = (low.astype(np.float32) == high.astype(np.float32)).any()
    far = np.abs(scores).max() > FARTHEST
    return "normal" if far or narrow or alike or skewed else scale


def scores_on(scale: str, knots: Array, mass: Array) -> Array:
    on_it = SCALES[scale].to_scale(knots)
    return standardise((on_it - on_it[0]) / (on_it[-1] - on_it[0]), mass)


def thins_out(scores: Array, mass: Array) -> Array:
    """Whether cells grow rare towards the lower and the upper end, instead of ending at a bound.

    From the outermost fiftieth of the cells to the end it is a quarter as far as from their
    outermost tenth where cells are even, and more than half as far in thinning tails.
    """
    inner = np.interp([0.02, 0.1, 0.9, 0.98], np.cumsum(mass) - mass / 2, scores)
    to_end = np.array([inner[0] - scores[0], scores[-1] - inner[3]])
    return to_end > THINNING * np.array([inner[1] - inner[0], inner[3] - inner[2]])


def ends_below(scores: Array) -> Array:
    """Return ends of atoms below all scores, ever wider, down to REACH deviations."""
    return scores[0] - REACH * (np.arange(N_BEYOND, 0, -1) / N_BEYOND) ** 2


def ends_above(scale: str, scores: Array, knots: Array, cells: Array) -> Array:
    """Return ends of atoms above all scores, up to REACH deviations of scores and of numbers."""
    with np.errstate(over="ignore"):  # what lies beyond all numbers is beyond REACH, too
        farthest = knots[-1] + REACH * deviation_of(cells)
    ends = SCALES[scale].to_scale(np.r_[knots[[0, -1]], farthest])
    reach = (ends[2] - ends[1]) / (ends[1] - ends[0]) * (scores[-1] - scores[0])
    return scores[-1] + min(REACH, reach) * (np.arange(1, N_BEYOND + 1) / N_BEYOND) ** 2


def deviation_of(numbers: Array) -> float:
    """Return the standard deviation, whose squares would overflow from 1e154 on.

    Examples
    --------
    >>> deviation_of(np.array([-1e200, 1e200])) == 1e200
    True
    """
    exponent = np.frexp(np.abs(numbers).max())[1]
    return float(np.ldexp(np.ldexp(numbers, -exponent).std(), exponent))


def standardise(scores: Array, mass: Array) -> Array:
    centred = scores - scores @ mass
    scale = np.sqrt(centred**2 @ mass)
    return centred / scale if scale > 0 else centred
