"""How the cells of a column of numbers are cut into bins, and how they lie within one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

N_BINS = 48
N_CUTS = {"bins": N_BINS, "fine": 96, "blocks": 24}
MIN_CELLS_PER_BIN = 8
BINS_PER_BLOCK, MIN_CELLS_IN_BLOCK = 8, 2
MAX_KNOTS, MAX_CELLS = 1024, 16_384
SEEN_ONLY, MAX_DECIMALS = -1, 17
# No neighbour's log density counts as further from the bin's own than this.
STEEPEST = 5.0


def knots_kept(counts: Array) -> Array:
    """Indices of at most about MAX_KNOTS values: the ends, the spikes and even quantiles."""
    if len(counts) <= MAX_KNOTS:
        return np.arange(len(counts))
    cumulated = np.cumsum(counts)
    even = np.searchsorted(cumulated, np.linspace(1, cumulated[-1], MAX_KNOTS))
    frequent = np.flatnonzero(counts > cumulated[-1] / N_BINS)
    return np.unique(np.r_[0, even, frequent, len(counts) - 1])


def cells_kept(cells: Array, bin_of: Array) -> Array:
    """Indices of at most about MAX_CELLS cells at even ranks, with each bin's middle one."""
    if len(cells) <= MAX_CELLS:
        return np.arange(len(cells))
    even = np.linspace(0, len(cells) - 1, MAX_CELLS).round().astype(int)
    last = np.searchsorted(bin_of, np.unique(bin_of), side="right") - 1
    middle = (np.searchsorted(bin_of, np.unique(bin_of)) + last) // 2
    return np.unique(np.r_[even, middle])


def usual_decimals(values: Array, n_cells: int) -> int:
    """Return how many decimals a continuous column's values have, or SEEN_ONLY for others."""
    if len(values) <= max(N_BINS, min(MAX_KNOTS, n_cells / 2)):
        return SEEN_ONLY
    return decimals_of(values)


def decimals_of(values: Array) -> int:
    """Return how many decimals numbers have."""
    for decimals in range(MAX_DECIMALS):
        if np.array_equal(np.round(values, decimals), values):
            return decimals
    return MAX_DECIMALS


def spikes(counts: Array, n_cells: int, *, all_kept: bool) -> Array:
    """Which knots are values of their own: all of a discrete column, else frequent ones."""
    if all_kept and len(counts) <= min(N_BINS, max(n_cells / 2, 1)):
        return np.ones(len(counts), dtype=bool)
    return counts > max(n_cells / N_BINS, MIN_CELLS_PER_BIN)


def bin_starts(middle_rank: Array, spike: Array, n_cells: int, n_bins: int) -> Array:
    """First knot of each bin: even shares of the cells, halved again and again in the tails.

    Each spike is a bin of its own. A long tail in one bin would be known by its mean alone.
    """
    n_bins = int(np.clip(n_cells // MIN_CELLS_PER_BIN, 1, n_bins))
    n_halvings = int(np.log2(max(n_cells / n_bins / MIN_CELLS_PER_BIN, 1)))
    tail = 0.5 ** np.arange(1, n_halvings + 1) / n_bins
    cuts = np.sort(np.r_[np.linspace(0, 1, n_bins + 1)[1:-1], tail, 1 - tail])
    share = np.searchsorted(cuts, middle_rank, side="right")
    starts = (np.diff(share) > 0) | spike[1:] | spike[:-1]
    return np.r_[0, np.flatnonzero(starts) + 1, len(spike)]


def bins_of_blocks(first: Array, counts: Array) -> tuple[Array, Array]:
    """Cut blocks into at most BINS_PER_BLOCK bins of like many cells.

    Parameters
    ----------
    first : ndarray of shape (n_blocks + 1,)
        Index of each block's first knot.
    counts : ndarray of shape (n_knots,)
        Cells of each knot.

    Returns
    -------
    first : ndarray of shape (n_bins + 1,)
        Index of each bin's first knot.
    block : ndarray of shape (n_bins,)
        The block that each bin is of.
    """
    starts = []
    for start, end in pairwise(first):
        cells = counts[start:end]
        n_bins = min(cells.sum() // MIN_CELLS_IN_BLOCK, BINS_PER_BLOCK)
        middle_rank = (np.cumsum(cells) - cells / 2) / cells.sum()
        share = (max(n_bins, 1) * middle_rank).astype(int)
        starts.append(start + np.flatnonzero(np.diff(share, prepend=-1)))
    block = np.repeat(np.arange(len(starts)), [len(of_block) for of_block in starts])
    return np.r_[np.concatenate(starts), first[-1]], block


def bin_edges(knots: Array, first: Array) -> Array:
    """Bin edges in the column's units: halfway between knots, half a gap beyond the ends."""
    if len(knots) == 1:
        return np.repeat(knots, 2)
    inner = between(knots[first[1:-1] - 1], knots[first[1:-1]])
    low = knots[0] - (knots[1] - knots[0]) / 2
    high = knots[-1] + (knots[-1] - knots[-2]) / 2
    return np.r_[low, inner, high]


def between(low: Array, high: Array) -> Array:
    """Return numbers above low and at most high: halfway, unless rounding forbids."""
    middle = low / 2 + high / 2
    return np.where((middle > low) & (middle < high), middle, high)


def lean(below: Any, above: Any, reach: Any) -> Any:
    r"""Return the slope of the log density within a bin, which is that between its neighbours.

    .. math:: f(u) \propto \exp(s u), \quad 0 \le u \le 1

    Draws of sharp distributions, and what they say of cells, resolve more than bins do.

    Parameters
    ----------
    below, above : ndarray or Tensor
        Log densities of the neighbours, less the bin's own.
    reach : ndarray or Tensor
        The bin's length over that between the neighbours' middles.

    References
    ----------
    Scott. Frequency Polygons: Theory and Application. Journal of the American Statistical
    Association, 1985. Departures: log densities are linear, and bins keep their probabilities.
    """
    return (above.clip(-STEEPEST, STEEPEST) - below.clip(-STEEPEST, STEEPEST)) * reach
