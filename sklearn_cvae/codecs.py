"""Codecs: numbers of one column <-> one scalar per cell, and probabilities -> numbers.

A column reaches this module as float64 numbers (a level's index, or a number) with NaN for a
missing cell. A codec maps numbers to one float32 scalar per cell and maps probabilities over a
finite set of *atoms* (levels, or bins of a numeric column) back to numbers, so that means,
quantiles and draws are written once for every likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from sklearn_cvae.binning import (
    MAX_DECIMALS,
    N_CUTS,
    SEEN_ONLY,
    between,
    bin_edges,
    bin_starts,
    bins_of_blocks,
    cells_kept,
    decimals_of,
    knots_kept,
    lean,
    spikes,
    usual_decimals,
)
from sklearn_cvae.scales import (
    NARROWEST,
    SCALES,
    ends_above,
    ends_below,
    natural_scale,
    scores_on,
    standardise,
    thins_out,
)

Array = NDArray[Any]

TAIL_MASS = 1e-3
N_EVEN, N_SEGMENTS, N_POSITIONS = 65, 16, 8
N_QUANTILES, N_FAR = 96, 40
MAX_SHARE = 0.05
MAX_LOG = 300.0


class Cells(NamedTuple):
    """An encoded table and the part each cell plays.

    Parameters
    ----------
    values : ndarray of shape (n, d), float32
    visible : ndarray of shape (n, d), bool
        Cells that the posterior sees as data.
    given : ndarray of shape (n, d), bool
        Cells that are conditions.
    """

    values: Array
    visible: Array
    given: Array


class Choices(NamedTuple):
    """Numbers of one column that a draw may take, where a set or a range is asked for.

    Parameters
    ----------
    numbers : ndarray of shape (m,)
    atoms_share : ndarray of shape (m,)
        The share of its atom's probability that each number has; for a density, the length that
        each number stands for on the scale of scores.
    """

    numbers: Array
    atoms_share: Array


@dataclass(frozen=True)
class LevelCodec:
    """A column of level indices `0 .. n_levels - 1`; the scalar is the index itself.

    Parameters
    ----------
    n_levels : int
        Number of levels. A column without any observed level has one atom that decodes to NaN.
    """

    n_levels: int

    @property
    def n_atoms(self) -> int:
        return max(self.n_levels, 1)

    @property
    def spans(self) -> Array:
        """Scalars at both ends of each atom, of shape (n_atoms, 2)."""
        levels = np.arange(self.n_levels) if self.n_levels else np.array([np.nan])
        return np.stack([levels, levels], axis=1)

    def encode(self, numbers: Array) -> Array:
        return numbers.astype(np.float32)

    def log_volume(self, numbers: Array) -> Array:
        """Log of the user's units per model unit: zero, for probabilities are masses."""
        return np.zeros(len(numbers))

    def mode(self, probs: Array) -> Array:
        return self._known(probs.argmax(axis=1))

    mean = mode
    median = mode

    def std(self, probs: Array) -> Array:
        """Return the standard deviation of whether the likeliest level is right."""
        right = probs.max(axis=1) / probs.sum(axis=1)
        return np.where(self.n_levels, np.sqrt(np.clip(right * (1 - right), 0, None)), np.nan)

    def quantile(self, probs: Array, q: Array) -> Array:
        return self._known(_locate(probs, q)[0])

    def among(self, numbers: Array) -> Choices:
        """Return the choice among some levels."""
        levels = np.unique(numbers)
        return Choices(levels, np.ones(len(levels)))

    def _known(self, levels: Array) -> Array:
        return levels.astype(float) if self.n_levels else np.full(len(levels), np.nan)


@dataclass(frozen=True)
class NumericCodec:
    """A numeric column on the scale of scores, cut into bins.

    Scores are normal scores, or on a natural scale: logs, square roots or the numbers themselves.
    Columns that suit one are those whose values hardly repeat, and those of few values that are not
    skewed; in the former there are atoms beyond the seen range, too: below it, then the bins, then
    above it.

    Parameters
    ----------
    knots : ndarray of shape (n_knots,)
        Distinct training values in ascending order, all of them or evenly spaced quantiles.
    scores : ndarray of shape (n_knots,)
        The knots' scores, standardised. The scale between knots is linear.
    scale : {"normal", "log", "sqrt", "linear"}
        What the scores are of.
    below, above : ndarray of shape (n_below,), (n_above,)
        Scores of the outer ends of the atoms beyond the seen range, ascending; empty on the scale
        of normal scores, and at an end that may be a bound, since several cells share it or cells
        do not grow rare towards it.
    first : ndarray of shape (n_bins + 1,)
        Index of each bin's first knot; bin `b` holds `knots[first[b]:first[b + 1]]`.
    means : ndarray of shape (n_bins,)
        Mean of the training cells in each bin.
    widths : ndarray of shape (n_bins,)
        Width of each bin in the column's units; 0 for a bin that is a single repeated value.
    cells : ndarray of shape (n_cells,)
        Training cells in ascending order, all of them or evenly spaced ones: what is drawn.
    first_cell : ndarray of shape (n_bins + 1,)
        Index of each bin's first cell.
    decimals : int
        Decimals of numbers drawn between cells; SEEN_ONLY where only cells are drawn, since a
        column of few distinct values has gaps that mean something.
    leans : bool
        Whether numbers within a bin lean towards the likelier neighbour; see `binning.lean`.
    block : ndarray of shape (n_bins,)
        The block that each bin is of; its bins share a free logit. Most bins are blocks themselves.
    """

    knots: Array
    scores: Array
    scale: str
    below: Array
    above: Array
    first: Array
    means: Array
    widths: Array
    cells: Array
    first_cell: Array
    decimals: int
    leans: bool
    block: Array

    @classmethod
    def fit(cls, numbers: Array, *, natural: bool = False, cut: str = "bins") -> Self:
        """Learn the scale and the bins from a column's observed cells.

        Parameters
        ----------
        numbers : ndarray of shape (n,)
            NaN where missing.
        natural : bool, default=False
            Whether to take a natural scale, if one suits the column.
        cut : {"bins", "fine", "blocks"}, default="bins"
            Whether there are at most 48 bins, 96 within which the log density is linear, or 24
            blocks of up to 8 bins each; beside those in the tails.

        Examples
        --------
        >>> codec = NumericCodec.fit(np.array([0.0, 0.0, 1.0, np.nan, 1.0]))
        >>> codec.knots
        array([0., 1.])
        """
        cells = np.sort(numbers[~np.isnan(numbers)])
        if len(cells) == 0:
            return cls._of_no_cells()
        values, counts = np.unique(cells, return_counts=True)
        keep = knots_kept(counts)
        knots = values[keep]
        middles = between(knots[:-1], knots[1:])
        n_of_knots = np.bincount(np.searchsorted(middles, values, side="right"), counts)
        mass = n_of_knots / len(cells)
        middle_rank = np.cumsum(mass) - mass / 2
        spike = spikes(counts[keep], len(cells), all_kept=len(keep) == len(values))
        first = bin_starts(middle_rank, spike, len(cells), N_CUTS[cut])
        decimals = usual_decimals(values, len(cells))
        continuous = decimals != SEEN_ONLY
        scale, scores = "normal", standardise(ndtri(middle_rank), mass)
        if natural:
            repeats = bool(counts.max() > MAX_SHARE * len(cells))
            scale = natural_scale(knots, mass, first, continuous, repeats)
        if scale != "normal":
            scores = scores_on(scale, knots, mass)
        block = np.arange(len(first) - 1)
        if cut == "blocks":
            first, block = bins_of_blocks(first, n_of_knots)
        edges = bin_edges(knots, first)
        bin_of = np.searchsorted(edges[1:-1], cells, side="right")
        total = np.bincount(bin_of, weights=cells - knots[0], minlength=len(first) - 1)
        widths = np.where(spike[first[:-1]], 0.0, np.diff(edges))
        kept = cells_kept(cells, bin_of)
        is_open = thins_out(scores, mass) & (counts[[0, -1]] == 1)
        is_open &= continuous & (scale != "normal")
        return cls(
            knots=knots,
            scores=scores,
            scale=scale,
            below=ends_below(scores) if is_open[0] else np.empty(0),
            above=ends_above(scale, scores, knots, cells) if is_open[1] else np.empty(0),
            first=first,
            means=knots[0] + total / np.bincount(bin_of),
            widths=widths,
            cells=cells[kept],
            first_cell=np.searchsorted(bin_of[kept], np.arange(len(first))),
            decimals=decimals,
            leans=cut == "fine",
            block=block,
        )

    @classmethod
    def _of_no_cells(cls) -> Self:
        nan, no, zero = np.array([np.nan]), np.empty(0), np.zeros(1)
        first = np.array([0, 1])
        return cls(
            knots=nan,
            scores=zero,
            scale="normal",
            below=no,
            above=no,
            first=first,
            means=nan,
            widths=zero,
            cells=nan,
            first_cell=first,
            decimals=SEEN_ONLY,
            leans=False,
            block=first[:1],
        )

    @property
    def n_atoms(self) -> int:
        return len(self.below) + len(self.means) + len(self.above)

    @property
    def continuous(self) -> bool:
        """Whether numbers between the training cells may be drawn, too."""
        return self.decimals != SEEN_ONLY

    @property
    def bins(self) -> slice:
        """Which of the atoms are bins."""
        return slice(len(self.below), len(self.below) + len(self.means))

    @property
    def seen(self) -> Array:
        """The least and the greatest training cell, of shape (2,)."""
        return self.cells[[0, -1]]

    @property
    def block_edges(self) -> Array:
        """Edges of the blocks on the scale of scores, both ends included, (n_blocks + 1,)."""
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        return self.all_score_edges[self.bins.start + np.r_[starts, len(self.block)]]

    @property
    def score_edges(self) -> Array:
        """Inner edges of the atoms on the scale of scores, of shape (n_atoms - 1,)."""
        return self.all_score_edges[1:-1]

    @cached_property
    def all_score_edges(self) -> Array:
        """Edges of the atoms; a single value's end bin reaches half a gap beyond it."""
        inner, scores = self.first[1:-1], self.scores
        inner = between(scores[inner - 1], scores[inner])
        half_gaps = np.zeros(2)
        if not self.continuous and len(scores) > 1:
            half_gaps = np.array([scores[1] - scores[0], scores[-1] - scores[-2]]) / 2
        ends = scores[[0, -1]] + half_gaps * [-1, 1]
        return np.r_[self.below, ends[0], inner, ends[1], self.above]

    @property
    def score_centres(self) -> Array:
        """Mean score of each bin's knots, and the middle of atoms beyond, of shape (n_atoms,)."""
        centres = _middles(self.all_score_edges)
        centres[self.bins] = np.add.reduceat(self.scores, self.first[:-1]) / np.diff(self.first)
        return centres

    @property
    def spans(self) -> Array:
        """Scores at both ends of each atom, alike of a single value, of shape (n_atoms, 2)."""
        spans = np.stack([self.all_score_edges[:-1], self.all_score_edges[1:]], axis=1)
        single = np.flatnonzero(self.widths == 0) + self.bins.start
        spans[single] = self.score_centres[single, None]
        return np.where(np.isnan(self.knots[0]), np.nan, spans)

    @property
    def segments(self) -> Array:
        """Ends of a piecewise-linear encoding of the scores: at most N_SEGMENTS, at even bins."""
        n_bins, edges = len(self.means), self.all_score_edges[len(self.below) :]
        ends = np.r_[self.scores[0], edges[1:n_bins], self.scores[-1]]
        even = np.linspace(0, n_bins, min(N_SEGMENTS, n_bins) + 1).round().astype(int)
        return np.unique(ends[even].astype(np.float32)).astype(float)

    @cached_property
    def neighbours(self) -> Array:
        """The bin below, the bin itself and the bin above, of shape (n_bins, 3)."""
        bins = np.arange(len(self.means))
        return np.clip(bins[:, None] + [-1, 0, 1], 0, bins[-1])

    @cached_property
    def reach(self) -> Array:
        """A bin's length over that between its neighbours' middles, counted in cells.

        0 for a bin that does not lean: a single value, and the outermost, one side of which is
        unknown; of shape (n_bins,).
        """
        lengths = np.diff(self.first_cell)
        middles = np.cumsum(lengths) - lengths / 2
        reach = np.zeros(len(lengths))
        if self.leans:
            reach[1:-1] = lengths[1:-1] / (middles[2:] - middles[:-2])
        return np.where(self.widths > 0, reach, 0.0)

    @cached_property
    def end_scores(self) -> Array:
        """Scores of the bins' ends in the column's units, of shape (n_bins + 1,)."""
        return self.encode(bin_edges(self.knots, self.first))

    @cached_property
    def even_positions(self) -> Array:
        """Where in each bin (0..1, by scores) evenly spaced numbers lie: (n_bins, N_POSITIONS)."""
        edges, ends = bin_edges(self.knots, self.first), self.end_scores[:, None]
        shares = (np.arange(N_POSITIONS) + 0.5) / N_POSITIONS
        numbers = edges[:-1, None] * (1 - shares) + edges[1:, None] * shares
        scores = self.encode(numbers.ravel()).reshape(numbers.shape)
        return np.clip((scores - ends[:-1]) / np.maximum(np.diff(ends, axis=0), NARROWEST), 0, 1)

    @property
    def log_widths(self) -> Array:
        """Log of each atom's width on the scale of scores, of shape (n_atoms,).

        Of a normal score's bin: its normal mass over its density.
        """
        if self.scale == "normal":
            mass = np.diff(ndtr(np.r_[-np.inf, self.score_edges, np.inf]))
            return np.log(np.maximum(mass, 1e-12)) + self.score_centres**2 / 2
        return np.log(np.maximum(np.diff(self.all_score_edges), NARROWEST))

    def encode(self, numbers: Array) -> Array:
        knots, scores = self.knots, self.scores
        if len(knots) == 1:
            return np.clip(numbers - knots[0], -1e6, 1e6).astype(np.float32)
        encoded = np.interp(numbers, knots, scores)
        for outside, end, inner in ((numbers < knots[0], 0, 1), (numbers > knots[-1], -1, -2)):
            slope = (scores[end] - scores[inner]) / (knots[end] - knots[inner])
            encoded[outside] += (numbers[outside] - knots[end]) * slope
        return np.clip(encoded, -1e6, 1e6).astype(np.float32)

    def log_slope(self, numbers: Array) -> Array:
        """Log of d(score) / d(number), by which a density of scores becomes one of numbers."""
        if len(self.knots) == 1:
            return np.zeros(len(numbers))
        slopes = np.diff(self.scores) / np.diff(self.knots)
        piece = np.searchsorted(self.knots, numbers, side="right") - 1
        return np.log(slopes[np.clip(piece, 0, len(slopes) - 1)])

    def log_volume_by_scores(self, numbers: Array) -> Array:
        """Return `log_volume` of numbers that are spread evenly by scores within their bins."""
        if len(self.knots) == 1:
            return self.log_volume(numbers)
        bins = np.searchsorted(bin_edges(self.knots, self.first)[1:-1], numbers, side="right")
        lengths = np.diff(self.all_score_edges)[self.bins][bins]
        by_scores = self.log_slope(numbers) - np.log(np.maximum(lengths, NARROWEST**2))
        seen = (numbers >= self.knots[0]) & (numbers <= self.knots[-1]) & (self.widths[bins] > 0)
        return np.where(seen, by_scores, self.log_volume(numbers))

    def log_volume(self, numbers: Array) -> Array:
        """Log density of each number within its bin (0 where the bin is a single value).

        A share `TAIL_MASS` of each outermost bin lies beyond the seen range as a half-Cauchy
        whose scale is the range, so that a number never seen has a finite, falling density.
        """
        if np.isnan(self.knots[0]):
            return np.zeros(len(numbers))
        edges = bin_edges(self.knots, self.first)
        bin_of = np.searchsorted(edges[1:-1], numbers, side="right")
        density = -np.log(np.where(self.widths > 0, self.widths, 1.0))[bin_of]
        outer = (bin_of == 0) | (bin_of == len(self.means) - 1)
        distance = np.maximum(edges[0] - numbers, numbers - edges[-1])
        scale = max(edges[-1] - edges[0], 1e-12 * abs(edges[0]), 1e-150)
        sides = 2 if len(self.means) == 1 else 1
        tail = np.log(TAIL_MASS * 2 / np.pi / sides / scale)
        tail = tail - 2 * np.log(np.hypot(1, distance / scale))
        inside = np.where(outer, density + np.log1p(-TAIL_MASS), density)
        return np.where(distance > 0, tail, inside)

    def mode(self, probs: Array) -> Array:
        middles = (self.first[:-1] + self.first[1:] - 1) // 2
        return self._with_beyond(self.knots[middles])[probs.argmax(axis=1)]

    def mean(self, probs: Array) -> Array:
        # Summed row by row: a matrix product would round differently for other numbers of rows.
        means = self._atom_means
        mean = (probs * (means - self.knots[0])).sum(axis=1) + self.knots[0]
        return np.clip(mean, min(means[0], self.knots[0]), max(means[-1], self.knots[-1]))

    def std(self, probs: Array) -> Array:
        """Return standard deviations, of values within the atoms too."""
        centred, widths = self._atom_means - self.knots[0], self.widths
        if self.n_atoms > len(self.means):
            widths = np.diff(self._numbers(self.all_score_edges))
            widths[self.bins] = self.widths
        size = max(np.abs(centred).max(), widths.max()) or 1.0  # squares might overflow
        mean = (probs * (centred / size)).sum(axis=1)
        second = (probs * ((centred / size) ** 2 + (widths / size) ** 2 / 12)).sum(axis=1)
        return size * np.sqrt(np.clip(second - mean**2, 0, None))

    def median(self, probs: Array) -> Array:
        return self.quantile(probs, np.full(len(probs), 0.5))

    def quantile(self, probs: Array, q: Array) -> Array:
        """Return the number at quantile q of each row's distribution.

        Within a bin these are the training cells, as often as they were there or, if it leans,
        more of them towards the likelier neighbour; between cells of a continuous column, and
        beyond the seen range, numbers of as many decimals.
        """
        atom, within = _locate(probs, q)
        in_bin = np.clip(atom - len(self.below), 0, len(self.means) - 1)
        leaned = self._leaned(probs[:, self.bins], in_bin, within) if self.leans else within
        drawn = self._in_bins(in_bin, leaned)
        beyond = (atom < self.bins.start) | (atom >= self.bins.stop)
        if beyond.any():
            edges = self.all_score_edges
            low, high = edges[atom[beyond]], edges[atom[beyond] + 1]
            drawn[beyond] = self._rounded(self._numbers(low + within[beyond] * (high - low)))
        return drawn

    def _leaned(self, probs: Array, bins: Array, within: Array) -> Array:
        """Turn positions in evenly filled bins into positions in bins that lean."""
        near = self.neighbours[bins]
        density = probs[np.arange(len(bins))[:, None], near] / np.diff(self.first_cell)[near]
        below, here, above = np.log(np.maximum(density, np.finfo(float).tiny)).T
        slope = lean(below - here, above - here, self.reach[bins])
        flat = np.abs(slope) < 1e-6
        slope = np.where(flat, 1.0, slope)
        return np.where(flat, within, np.log1p(within * np.expm1(slope)) / slope)

    def _in_bins(self, bins: Array, within: Array) -> Array:
        """Return the number at a position (0..1) within each bin."""
        n_cells = self.first_cell[bins + 1] - self.first_cell[bins]
        position = within * n_cells
        step = np.minimum(position.astype(int), n_cells - 1)
        chosen = self.first_cell[bins] + step
        drawn = self.cells[chosen]
        if self.decimals == SEEN_ONLY:
            return drawn
        before = self.cells[np.maximum(chosen - 1, 0)]
        after = self.cells[np.minimum(chosen + 1, len(self.cells) - 1)]
        ends = between(before, drawn), between(drawn, after)
        new = self._rounded(ends[0] + (position - step) * (ends[1] - ends[0]))
        return np.where((before < drawn) & (drawn < after), new, drawn)

    def _rounded(self, numbers: Array) -> Array:
        if self.decimals >= MAX_DECIMALS:
            return numbers
        least = 10.0**-self.decimals if self.scale == "log" else -np.inf
        return np.maximum(np.round(numbers, self.decimals), least)

    @cached_property
    def _atom_means(self) -> Array:
        return self._with_beyond(self.means)

    def _with_beyond(self, of_bins: Array) -> Array:
        """Return a number per bin with the middles of the atoms beyond the seen range."""
        if self.n_atoms == len(self.means):
            return of_bins
        numbers = self._numbers(self.score_centres)
        numbers[self.bins] = of_bins
        return numbers

    def _numbers(self, scores: Array) -> Array:
        """Return the numbers that scores on a natural scale stand for."""
        scale = SCALES[self.scale]
        start, end = scale.to_scale(self.knots[[0, -1]])
        share = (scores - self.scores[0]) / (self.scores[-1] - self.scores[0])
        return scale.from_scale(start + share * (end - start))

    def among(self, numbers: Array) -> Choices:
        """Return the choice among some numbers; one never seen counts as half a cell."""
        numbers = np.unique(numbers)
        ends = [np.searchsorted(self.cells, numbers, side=side) for side in ("left", "right")]
        return Choices(numbers, np.maximum(ends[1] - ends[0], 0.5) / self._cells_beside(numbers))

    def between(self, low: float, high: float) -> Choices:
        """Return the choice among the numbers from `low` to `high`, both included.

        These are the training cells there, as often as they were seen; if there are none and the
        column is continuous, evenly spaced numbers; of other columns and beyond the seen range
        there may be no number at all.
        """
        numbers = self.cells[(self.cells >= low) & (self.cells <= high)]
        if len(numbers) == 0 and self.decimals != SEEN_ONLY:
            ends = max(low, self.cells[0]), min(high, self.cells[-1])
            even = np.unique(np.linspace(*ends, N_EVEN)) if ends[0] <= ends[1] else np.empty(0)
            if self.decimals < MAX_DECIMALS:
                even = np.unique(np.round(even, self.decimals))
            numbers = even[(even >= low) & (even <= high)]
        return Choices(numbers, 1 / self._cells_beside(numbers))

    def _cells_beside(self, numbers: Array) -> Array:
        """Count the cells in each number's bin."""
        bins = np.searchsorted(bin_edges(self.knots, self.first)[1:-1], numbers, side="right")
        return np.diff(self.first_cell)[bins]


@dataclass(frozen=True)
class GridCodec:
    """A numeric column on the standardised scale of x, log x or log(1 + x), cut far and wide.

    The atoms are the intervals between edges: at even quantiles of the training cells, on an even
    grid, and geometrically far beyond the seen range. The outermost take what lies beyond them.
    Within an atom numbers are spread evenly on the scale of scores, counts evenly.

    Parameters
    ----------
    edges : ndarray of shape (n_atoms + 1,)
        Ends of the atoms in the column's units; those of counts lie halfway between them.
    centre, scale : float
        A score is (t - centre) / scale, with t = x, log x or log(1 + x).
    segments : ndarray of shape (n_segments + 1,)
        Ends of a piecewise-linear encoding of the scores, at even quantiles.
    seen : ndarray of shape (2,)
        The least and the greatest training cell.
    decimals : int
        Decimals of the numbers drawn.
    logged : bool
        Whether t is a logarithm.
    whole : bool
        Whether the column counts: t = log(1 + x).
    zero : bool
        Whether the first atom is the number 0, and the others are positive.
    """

    edges: Array
    centre: float
    scale: float
    segments: Array
    seen: Array
    decimals: int
    logged: bool
    whole: bool
    zero: bool

    @classmethod
    def fit(
        cls,
        numbers: Array,
        *,
        logged: bool = False,
        whole: bool = False,
        zero: bool = False,
        robust: bool = False,
    ) -> Self:
        """Learn the scale and the atoms from a column's observed cells.

        Parameters
        ----------
        numbers : ndarray of shape (n,)
            NaN where missing.
        logged, whole, zero : bool
        robust : bool, default=False
            Whether the scale is set by quartiles, so that a few far cells do not set it.

        Examples
        --------
        >>> codec = GridCodec.fit(np.array([0.0, 1.0, np.nan, 2.0]), whole=True)
        >>> codec.edges[:4]
        array([-0.5,  0.5,  1.5,  2.5])
        """
        cells = np.sort(numbers[~np.isnan(numbers)])
        if len(cells) == 0:
            nan = np.full(3 if zero else 2, np.nan)
            return cls(nan, np.nan, 1.0, np.zeros(1), nan[:2], 0, logged, whole, zero)
        positive = cells[cells > 0] if zero else cells
        t = _logs(positive, whole) if logged or whole else positive
        centre, scale = _centre_and_scale(t if len(t) else np.zeros(1), robust)
        scale = scale or (1.0 if whole or centre == 0 else 1e-6 * abs(centre))
        scores = (t - centre) / scale if len(t) else np.zeros(1)
        if whole:
            edges = _count_edges(cells)
        else:
            far = centre + scale * _score_cuts(scores)
            edges = np.unique(np.exp(np.clip(far, -MAX_LOG, MAX_LOG)) if logged else far)
        ends = np.quantile(scores, np.linspace(0, 1, N_SEGMENTS + 1))
        return cls(
            edges=np.r_[0.0, edges] if zero else edges,
            centre=float(centre),
            scale=float(scale),
            segments=np.unique(ends.astype(np.float32)).astype(float),
            seen=cells[[0, -1]],
            decimals=0 if whole else decimals_of(np.unique(cells)),
            logged=logged or whole,
            whole=whole,
            zero=zero,
        )

    @property
    def n_atoms(self) -> int:
        return len(self.edges) - 1

    @property
    def score_edges(self) -> Array:
        """Inner edges on the scale of scores, of shape (n_atoms - 1,)."""
        inner = self._scores(self.edges[1:-1])
        return np.r_[inner[:1] - 0.5, inner[1:]] if self.zero else inner

    @property
    def score_centres(self) -> Array:
        """Score in the middle of each atom, of shape (n_atoms,)."""
        if self.whole:
            return self._scores(self.middles)
        ends = self._scores(self.edges[1:] if self.zero else self.edges)
        middles = _middles(ends)
        return np.r_[ends[0] - 1, middles] if self.zero else middles

    @property
    def spans(self) -> Array:
        """Scores at both ends of each atom, alike of counts and of zero, of shape (n_atoms, 2)."""
        if self.whole:
            return np.stack([self.score_centres, self.score_centres], axis=1)
        ends = self._scores(self.edges)
        spans = np.stack([ends[:-1], ends[1:]], axis=1)
        if self.zero:
            spans[0] = self.score_centres[0]
        return spans

    @property
    def middles(self) -> Array:
        """The number in the middle of each atom, of shape (n_atoms,); one of a count's."""
        middles = _middles(self.edges)
        return np.floor(middles) if self.whole else middles

    def encode(self, numbers: Array) -> Array:
        scores = self._scores(numbers)
        if self.zero:
            least = self._scores(self.edges[1:2])
            scores = np.where(numbers > 0, np.maximum(scores, least), least - 1)
            scores = np.where(np.isnan(numbers), np.nan, scores)
        return np.clip(scores, -1e6, 1e6).astype(np.float32)

    def log_volume(self, numbers: Array) -> Array:
        """Log of d(score) / d(number), by which a density of scores becomes one of numbers.

        Zero for a count and for the atom at 0, which have masses; minus infinity for numbers that
        cannot be.
        """
        if np.isnan(self.centre):
            return np.zeros(len(numbers))
        if self.whole:
            return np.where((numbers >= 0) & (numbers == np.round(numbers)), 0.0, -np.inf)
        if not self.logged:
            return np.full(len(numbers), -np.log(self.scale))
        # Numbers below the first atom share its end's score, and so its slope.
        least = self.edges[1] if self.zero else np.finfo(float).tiny
        slope = -np.log(np.maximum(numbers, least)) - np.log(self.scale)
        slope = np.where(numbers > 0, slope, -np.inf)
        return np.where(numbers == 0, 0.0, slope) if self.zero else slope

    def mode(self, probs: Array) -> Array:
        """Return the middle of the densest atom; 0 where that is likelier than not."""
        density = probs / np.diff(self.edges)
        if self.zero:
            density[:, 0] = np.where(probs[:, 0] > 0.5, np.inf, -1.0)
        return self._rounded(self._moments()[0][density.argmax(axis=1)])

    def mean(self, probs: Array) -> Array:
        # Summed row by row: a matrix product would round differently for other numbers of rows.
        means = self._moments()[0]
        mean = (probs * (means - self.seen[0])).sum(axis=1) + self.seen[0]
        return np.clip(mean, means[0], means[-1])

    def std(self, probs: Array) -> Array:
        """Return standard deviations, of numbers within the atoms too."""
        means, variances = self._moments()
        centred = means - self.seen[0]
        mean = (probs * centred).sum(axis=1)
        second = (probs * (centred**2 + variances)).sum(axis=1)
        return np.sqrt(np.clip(second - mean**2, 0, None))

    def median(self, probs: Array) -> Array:
        return self.quantile(probs, np.full(len(probs), 0.5))

    def quantile(self, probs: Array, q: Array) -> Array:
        """Return the number at quantile q of each row's distribution, rounded as in training."""
        atom, within = _locate(probs, q)
        low, high = self.edges[atom], self.edges[atom + 1]
        if self.whole:
            return np.floor(low + 1) + np.minimum(np.floor(within * (high - low)), high - low - 1)
        if not self.logged:
            return self._rounded(low + within * (high - low))
        is_zero = self.zero & (atom == 0)
        low = np.where(is_zero, high, low)
        return np.where(is_zero, 0.0, self._rounded(low * (high / low) ** within))

    def among(self, numbers: Array) -> Choices:
        """Return the choice among some numbers; a number stands for its last decimal."""
        numbers = np.unique(numbers)
        length = np.ones(len(numbers))
        if not self.whole:
            length[~(self.zero & (numbers == 0))] = 10.0**-self.decimals
        share = length * np.exp(np.maximum(self.log_volume(numbers), -MAX_LOG))
        return Choices(numbers, np.maximum(share, 1e-300))

    def between(self, low: float, high: float) -> Choices:
        """Return the choice among even numbers from `low` to `high`, both included.

        Each stands for a part of an atom; there is none beyond the outermost atoms.
        """
        low, high = max(low, self.edges[0]), min(high, self.edges[-1])
        if not low < high:
            inside = np.array([low] if low == high else [])
            return self.among(inside[np.isfinite(self.log_volume(inside))])
        if self.whole:
            return self._counts_between(np.ceil(low), np.floor(high))
        least = max(low, self.edges[1]) if self.zero else low
        numbers, lengths = np.empty(0), np.empty(0)
        if least < high:
            ends = self._scores(np.r_[least, high])
            inner = self._scores(self.edges[(self.edges > least) & (self.edges < high)])
            cuts = np.unique(np.r_[np.linspace(ends[0], ends[1], N_EVEN), inner])
            numbers = self._rounded(self._numbers((cuts[:-1] + cuts[1:]) / 2))
            numbers, lengths = _merged(numbers, np.diff(cuts), low, high)
        if self.zero and low <= 0:
            numbers, lengths = np.r_[0.0, numbers], np.r_[1.0, lengths]
        return Choices(numbers, lengths)

    def _counts_between(self, low: float, high: float) -> Choices:
        even = np.linspace(low, high, N_EVEN)
        starts = np.unique(np.ceil(np.r_[low, even, self.edges, high + 1]))
        starts = starts[(starts >= low) & (starts <= high + 1)]
        if len(starts) < 2:
            return Choices(np.empty(0), np.empty(0))
        return Choices(np.floor((starts[:-1] + starts[1:] - 1) / 2), np.diff(starts))

    def _scores(self, numbers: Array) -> Array:
        t = _logs(numbers, self.whole) if self.logged else numbers
        far = 1e7 * self.scale
        return np.clip(t - self.centre, -far, far) / self.scale

    def _numbers(self, scores: Array) -> Array:
        t = self.centre + self.scale * scores
        return np.exp(np.clip(t, -MAX_LOG, MAX_LOG)) if self.logged else t

    def _rounded(self, numbers: Array) -> Array:
        if self.decimals == MAX_DECIMALS:
            return numbers
        rounded = np.round(numbers, self.decimals)
        if self.logged and not self.whole:
            return np.where(numbers > 0, np.maximum(rounded, 10.0**-self.decimals), rounded)
        return rounded

    def _moments(self) -> tuple[Array, Array]:
        """Return the mean and the variance of the numbers in each atom."""
        low, high = self.edges[:-1], self.edges[1:]
        if self.whole:
            return _middles(self.edges), ((high - low) ** 2 - 1) / 12
        if not self.logged:
            return _middles(self.edges), (high - low) ** 2 / 12
        if self.zero:
            low, high = low[1:], high[1:]
        ratio = np.log(high / low)
        means = (high - low) / ratio
        variances = np.maximum((high**2 - low**2) / (2 * ratio) - means**2, 0)
        return (np.r_[0, means], np.r_[0, variances]) if self.zero else (means, variances)


def _middles(edges: Array) -> Array:
    return edges[:-1] / 2 + edges[1:] / 2


def _logs(numbers: Array, whole: bool) -> Array:
    """Return log x, or log(1 + x) of counts; of numbers that have none, the least there is."""
    if whole:
        return np.log1p(np.maximum(numbers, -0.5))
    return np.log(np.maximum(numbers, np.finfo(float).tiny))


def _centre_and_scale(t: Array, robust: bool) -> tuple[float, float]:
    # Taken from the first cell, so that cells all alike have a deviation of exactly zero.
    away = t - t[0]
    if robust:
        low, middle, high = np.quantile(away, [0.25, 0.5, 0.75])
        if high > low:
            return t[0] + middle, (high - low) / (2 * ndtri(0.75))
    return t[0] + away.mean(), away.std()


def _score_cuts(scores: Array) -> Array:
    """Edges of atoms: even quantiles, an even grid of 4 deviations, and far beyond the ends."""
    quantiles = np.quantile(scores, np.linspace(0, 1, N_QUANTILES + 1))
    far = [np.geomspace(4, 4 + 2 * max(end, 4), N_FAR) for end in (-scores[0], scores[-1])]
    # Atoms much narrower than any learned deviation would be of no use.
    return np.unique(np.round(np.r_[-far[0], quantiles, np.arange(-32, 33) / 8, far[1]], 3))


def _count_edges(cells: Array) -> Array:
    """Edges between counts: each of the first has its own atom, then ever more share one."""
    reach = 20 * cells[-1] + 100
    far = np.geomspace(N_QUANTILES, reach, N_QUANTILES + 1)
    quantiles = np.quantile(cells, np.linspace(0, 1, N_QUANTILES + 1))
    first = np.floor(np.r_[np.arange(N_QUANTILES), quantiles, far, reach + 1])
    return np.unique(first) - 0.5


def _merged(numbers: Array, lengths: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return distinct numbers from low to high, and what they stand for together."""
    distinct, owner = np.unique(numbers, return_inverse=True)
    total = np.bincount(owner, lengths, minlength=len(distinct))
    inside = (distinct >= low) & (distinct <= high)
    return distinct[inside], total[inside]


def _locate(probs: Array, q: Array) -> tuple[Array, Array]:
    """Return the atom that holds quantile q in each row, and q's position (0..1) within it."""
    cumulated = np.cumsum(probs, axis=1)
    target = q * cumulated[:, -1]
    last = (cumulated < cumulated[:, -1:]).sum(axis=1)
    atom = np.minimum((cumulated <= target[:, None]).sum(axis=1), last)
    rows = np.arange(len(probs))
    share = probs[rows, atom]
    below = cumulated[rows, atom] - share
    within = np.divide(target - below, share, out=np.zeros(len(probs)), where=share > 0)
    return atom, np.clip(within, 0.0, 1.0)


Codec = LevelCodec | NumericCodec | GridCodec

CODECS: dict[str, type[Codec]] = {
    "level": LevelCodec,
    "numeric": NumericCodec,
    "grid": GridCodec,
}
