"""Column kinds: how a column becomes network inputs, and what distribution it gets.

A column reaches this module as float64 numbers (a level's index, or a number) with NaN for a
missing cell. A *codec* (numpy, one per column) maps numbers to one float32 scalar per cell and
maps probabilities back to numbers. A *kind* (torch, one per group of columns) holds everything
that is wider than one scalar: the network inputs and the likelihood.

Every kind describes a cell by probabilities over a finite set of *atoms* (levels, or bins of a
numeric column), so that means, quantiles and draws are written once, in the codecs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn
from torch.nn import functional as F

Array = NDArray[Any]

N_BINS = 48
N_SEGMENTS = 16
MIN_CELLS_PER_BIN = 8
MAX_KNOTS = 1024
MAX_CELLS = 16_384
N_EVEN = 65
MAX_SPIKES = 48
SEEN_ONLY, MAX_DECIMALS = -1, 17
TAIL_MASS = 1e-3
GAUSSIAN_SHARE = 0.5
LOG_2PI = float(np.log(2 * np.pi))


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
        The share of its atom's probability that each number has.
    """

    numbers: Array
    atoms_share: Array


# --------------------------------------------------------------------------------------
# Codecs: numbers <-> one scalar per cell, and probabilities -> numbers
# --------------------------------------------------------------------------------------


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
        return np.sqrt(np.clip(right * (1 - right), 0, None))

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
    """A numeric column on the scale of normal scores, cut into bins.

    Parameters
    ----------
    knots : ndarray of shape (n_knots,)
        Distinct training values in ascending order, all of them or evenly spaced quantiles.
    scores : ndarray of shape (n_knots,)
        The knots' normal scores, standardised. The scale between knots is linear.
    first : ndarray of shape (n_atoms + 1,)
        Index of each bin's first knot; bin `b` holds `knots[first[b]:first[b + 1]]`.
    means : ndarray of shape (n_atoms,)
        Mean of the training cells in each bin.
    widths : ndarray of shape (n_atoms,)
        Width of each bin in the column's units; 0 for a bin that is a single repeated value.
    cells : ndarray of shape (n_cells,)
        Training cells in ascending order, all of them or evenly spaced ones: what is drawn.
    first_cell : ndarray of shape (n_atoms + 1,)
        Index of each bin's first cell.
    decimals : int
        Decimals of numbers drawn between cells; SEEN_ONLY where only cells are drawn, since a
        column of few distinct values has gaps that mean something.
    """

    knots: Array
    scores: Array
    first: Array
    means: Array
    widths: Array
    cells: Array
    first_cell: Array
    decimals: int

    @classmethod
    def fit(cls, numbers: Array) -> Self:
        """Learn the scale and the bins from a column's observed cells.

        Examples
        --------
        >>> codec = NumericCodec.fit(np.array([0.0, 0.0, 1.0, np.nan, 1.0]))
        >>> codec.knots
        array([0., 1.])
        """
        cells = np.sort(numbers[~np.isnan(numbers)])
        if len(cells) == 0:
            nan = np.array([np.nan])
            one = np.array([0, 1])
            return cls(nan, np.zeros(1), one, nan, np.zeros(1), nan, one, SEEN_ONLY)
        values, counts = np.unique(cells, return_counts=True)
        keep = _spread(counts)
        knots = values[keep]
        middles = _between(knots[:-1], knots[1:])
        mass = np.bincount(np.searchsorted(middles, values, side="right"), counts) / len(cells)
        middle_rank = np.cumsum(mass) - mass / 2
        spike = _spikes(counts[keep], len(cells), all_kept=len(keep) == len(values))
        first = _bin_starts(middle_rank, spike, len(cells))
        edges = _edges(knots, first)
        bin_of = np.searchsorted(edges[1:-1], cells, side="right")
        total = np.bincount(bin_of, weights=cells - knots[0], minlength=len(first) - 1)
        widths = np.where(spike[first[:-1]], 0.0, np.diff(edges))
        kept = _thinned(cells, bin_of)
        return cls(
            knots=knots,
            scores=_standardise(ndtri(middle_rank), mass),
            first=first,
            means=knots[0] + total / np.bincount(bin_of),
            widths=widths,
            cells=cells[kept],
            first_cell=np.searchsorted(bin_of[kept], np.arange(len(first))),
            decimals=_decimals(values, len(cells)),
        )

    @property
    def n_atoms(self) -> int:
        return len(self.means)

    @property
    def score_edges(self) -> Array:
        """Inner bin edges on the scale of scores, of shape (n_atoms - 1,)."""
        inner = self.first[1:-1]
        return _between(self.scores[inner - 1], self.scores[inner])

    @property
    def score_centres(self) -> Array:
        """Mean score of each bin's knots, of shape (n_atoms,)."""
        return np.add.reduceat(self.scores, self.first[:-1]) / np.diff(self.first)

    @property
    def log_widths(self) -> Array:
        """Log of each bin's width on the scale of scores: its normal mass over its density."""
        mass = np.diff(ndtr(np.r_[-np.inf, self.score_edges, np.inf]))
        return np.log(np.maximum(mass, 1e-12)) + self.score_centres**2 / 2

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

    def log_volume(self, numbers: Array) -> Array:
        """Log density of each number within its bin (0 where the bin is a single value).

        A share `TAIL_MASS` of each outermost bin lies beyond the seen range as a half-Cauchy
        whose scale is the range, so that a number never seen has a finite, falling density.
        """
        if np.isnan(self.knots[0]):
            return np.zeros(len(numbers))
        edges = _edges(self.knots, self.first)
        bin_of = np.searchsorted(edges[1:-1], numbers, side="right")
        density = -np.log(np.where(self.widths > 0, self.widths, 1.0))[bin_of]
        outer = (bin_of == 0) | (bin_of == self.n_atoms - 1)
        distance = np.maximum(edges[0] - numbers, numbers - edges[-1])
        scale = max(edges[-1] - edges[0], 1e-12 * abs(edges[0]), 1e-300)
        sides = 2 if self.n_atoms == 1 else 1
        tail = np.log(TAIL_MASS * 2 / np.pi / sides / scale) - np.log1p((distance / scale) ** 2)
        inside = np.where(outer, density + np.log1p(-TAIL_MASS), density)
        return np.where(distance > 0, tail, inside)

    def mode(self, probs: Array) -> Array:
        atom = probs.argmax(axis=1)
        middle = (self.first[atom] + self.first[atom + 1] - 1) // 2
        return self.knots[middle]

    def mean(self, probs: Array) -> Array:
        # Summed row by row: a matrix product would round differently for other numbers of rows.
        mean = (probs * (self.means - self.knots[0])).sum(axis=1) + self.knots[0]
        return np.clip(mean, self.knots[0], self.knots[-1])

    def std(self, probs: Array) -> Array:
        """Return standard deviations, of values within the bins too."""
        centred = self.means - self.knots[0]
        mean = (probs * centred).sum(axis=1)
        second = (probs * (centred**2 + self.widths**2 / 12)).sum(axis=1)
        return np.sqrt(np.clip(second - mean**2, 0, None))

    def median(self, probs: Array) -> Array:
        return self.quantile(probs, np.full(len(probs), 0.5))

    def quantile(self, probs: Array, q: Array) -> Array:
        """Return the number at quantile q of each row's distribution.

        Within a bin these are the training cells, as often as they were there; between cells of a
        continuous column, numbers of as many decimals.
        """
        atom, within = _locate(probs, q)
        n_cells = self.first_cell[atom + 1] - self.first_cell[atom]
        position = within * n_cells
        step = np.minimum(position.astype(int), n_cells - 1)
        chosen = self.first_cell[atom] + step
        drawn = self.cells[chosen]
        if self.decimals == SEEN_ONLY:
            return drawn
        before = self.cells[np.maximum(chosen - 1, 0)]
        after = self.cells[np.minimum(chosen + 1, len(self.cells) - 1)]
        ends = _between(before, drawn), _between(drawn, after)
        between = ends[0] + (position - step) * (ends[1] - ends[0])
        if self.decimals < MAX_DECIMALS:
            between = np.round(between, self.decimals)
        return np.where((before < drawn) & (drawn < after), between, drawn)

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
        bins = np.searchsorted(_edges(self.knots, self.first)[1:-1], numbers, side="right")
        return np.diff(self.first_cell)[bins]


def _spread(counts: Array) -> Array:
    """Indices of at most about MAX_KNOTS values: the ends, the spikes and even quantiles."""
    if len(counts) <= MAX_KNOTS:
        return np.arange(len(counts))
    cumulated = np.cumsum(counts)
    even = np.searchsorted(cumulated, np.linspace(1, cumulated[-1], MAX_KNOTS))
    spikes = np.flatnonzero(counts > cumulated[-1] / N_BINS)
    return np.unique(np.r_[0, even, spikes, len(counts) - 1])


def _thinned(cells: Array, bin_of: Array) -> Array:
    """Indices of at most about MAX_CELLS cells at even ranks, with each bin's middle one."""
    if len(cells) <= MAX_CELLS:
        return np.arange(len(cells))
    even = np.linspace(0, len(cells) - 1, MAX_CELLS).round().astype(int)
    last = np.searchsorted(bin_of, np.unique(bin_of), side="right") - 1
    middle = (np.searchsorted(bin_of, np.unique(bin_of)) + last) // 2
    return np.unique(np.r_[even, middle])


def _decimals(values: Array, n_cells: int) -> int:
    """Return how many decimals a continuous column's values have, or SEEN_ONLY for others."""
    if len(values) <= max(N_BINS, min(MAX_KNOTS, n_cells / 2)):
        return SEEN_ONLY
    for decimals in range(MAX_DECIMALS):
        if np.array_equal(np.round(values, decimals), values):
            return decimals
    return MAX_DECIMALS


def _spikes(counts: Array, n_cells: int, *, all_kept: bool) -> Array:
    """Which knots are values of their own: all of a discrete column, else frequent ones."""
    if all_kept and len(counts) <= min(N_BINS, max(n_cells / 2, 1)):
        return np.ones(len(counts), dtype=bool)
    return counts > max(n_cells / N_BINS, MIN_CELLS_PER_BIN)


def _bin_starts(middle_rank: Array, spike: Array, n_cells: int) -> Array:
    """First knot of each bin: even shares of the cells, halved again and again in the tails.

    Each spike is a bin of its own. A long tail in one bin would be known by its mean alone.
    """
    n_bins = int(np.clip(n_cells // MIN_CELLS_PER_BIN, 1, N_BINS))
    n_halvings = int(np.log2(max(n_cells / n_bins / MIN_CELLS_PER_BIN, 1)))
    tail = 0.5 ** np.arange(1, n_halvings + 1) / n_bins
    cuts = np.sort(np.r_[np.linspace(0, 1, n_bins + 1)[1:-1], tail, 1 - tail])
    share = np.searchsorted(cuts, middle_rank, side="right")
    starts = (np.diff(share) > 0) | spike[1:] | spike[:-1]
    return np.r_[0, np.flatnonzero(starts) + 1, len(spike)]


def _edges(knots: Array, first: Array) -> Array:
    """Bin edges in the column's units: halfway between knots, half a gap beyond the ends."""
    if len(knots) == 1:
        return np.repeat(knots, 2)
    inner = _between(knots[first[1:-1] - 1], knots[first[1:-1]])
    low = knots[0] - (knots[1] - knots[0]) / 2
    high = knots[-1] + (knots[-1] - knots[-2]) / 2
    return np.r_[low, inner, high]


def _between(low: Array, high: Array) -> Array:
    """Return numbers above low and at most high: halfway, unless rounding forbids."""
    middle = low / 2 + high / 2
    return np.where((middle > low) & (middle < high), middle, high)


def _standardise(scores: Array, mass: Array) -> Array:
    centred = scores - scores @ mass
    scale = np.sqrt(centred**2 @ mass)
    return centred / scale if scale > 0 else centred


def _locate(probs: Array, q: Array) -> tuple[Array, Array]:
    """Return the atom that holds quantile q in each row, and q's position (0..1) within it."""
    cumulated = np.cumsum(probs, axis=1)
    target = q * cumulated[:, -1]
    atom = np.minimum((cumulated <= target[:, None]).sum(axis=1), probs.shape[1] - 1)
    rows = np.arange(len(probs))
    share = probs[rows, atom]
    below = cumulated[rows, atom] - share
    within = np.divide(target - below, share, out=np.zeros(len(probs)), where=share > 0)
    return atom, np.clip(within, 0.0, 1.0)


Codec = LevelCodec | NumericCodec


# --------------------------------------------------------------------------------------
# Kinds: network inputs and likelihood of a group of columns
# --------------------------------------------------------------------------------------


class Kind(nn.Module):
    """A group of `m` columns that share a likelihood, as one vectorised object.

    Parameters
    ----------
    columns : list of int
        Positions of the group's columns in the table.
    codecs : list of codec
        The columns' codecs, in the same order.

    Notes
    -----
    A subclass gives, for `m` columns of at most `n_atoms` atoms:

    - `n_inputs`: network inputs per column; `inputs(values)`: (n, m) -> (n, m, n_inputs), the
      first `n_features` of which a linear model can use;
    - `n_params`: network outputs for the group;
    - `log_prob(params, values)`: (n, n_params), (n, m) -> (n, m);
    - `probs(params, spread)`: (n, n_params) -> (n, m, n_atoms), zero beyond a column's own atoms;
      numbers spread `spread` times as wide in variance.
    """

    numeric: ClassVar[bool]
    columns: Tensor

    def __init__(self, columns: list[int], codecs: list[Any]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.n_atoms = max(codec.n_atoms for codec in codecs)
        self.n_columns = len(codecs)
        self.n_inputs: int
        self.n_features: int
        self.n_params: int

    def _buffer(self, name: str, rows: list[Array], fill: float, width: int) -> None:
        """Register ragged rows as one padded float32 buffer of shape (m, width)."""
        padded = np.full((len(rows), width), fill, dtype=np.float32)
        for row, values in zip(padded, rows, strict=True):
            row[: len(values)] = values
        self.register_buffer(name, torch.from_numpy(padded), persistent=False)

    @staticmethod
    def log_volume(codec: Any, numbers: Array) -> Array:
        """Log of model units per user's unit at each number, which `log_prob` leaves out."""
        return codec.log_volume(numbers)

    def inputs(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        raise NotImplementedError

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        """What training maximises: `log_prob`, unless a kind learns better from another score."""
        return self.log_prob(params, values)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        raise NotImplementedError


class Categorical(Kind):
    r"""Levels with \(p(x = l) = \mathrm{softmax}(\eta)_l\); inputs are one-hot."""

    numeric = False
    padding: Tensor

    def __init__(self, columns: list[int], codecs: list[LevelCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = self.n_atoms
        self.n_params = self.n_columns * self.n_atoms
        self._buffer("padding", [np.zeros(c.n_atoms) for c in codecs], -torch.inf, self.n_atoms)

    def inputs(self, values: Tensor) -> Tensor:
        levels = torch.arange(self.n_atoms, device=values.device)
        return (values[..., None] == levels).to(torch.float32)

    def _logits(self, params: Tensor) -> Tensor:
        return params.unflatten(1, (self.n_columns, self.n_atoms)) + self.padding

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return _pick(self._logits(params), values.long())

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return self._logits(params).softmax(-1)


class Bernoulli(Kind):
    r"""Two levels with \(p(x = 1) = \mathrm{sigmoid}(\eta)\); the input is -1 or 1."""

    numeric = False

    def __init__(self, columns: list[int], codecs: list[LevelCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = 1
        self.n_params = self.n_columns

    def inputs(self, values: Tensor) -> Tensor:
        return (2 * values - 1)[..., None]

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return F.logsigmoid(params * (2 * values - 1))

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return torch.stack([torch.sigmoid(-params), torch.sigmoid(params)], dim=-1)


class Numeric(Kind):
    """Base of the numeric kinds: inputs are the score and its piecewise-linear encoding.

    A subclass's first `n_params` of each column is the mean of its scores, and `log_sigma` the log
    of their spread.

    References
    ----------
    Gorishniy, Rubachev, Babenko. On Embeddings for Numerical Features in Tabular Deep
    Learning. NeurIPS 2022. Departure: a segment's encoding is centred at one half.
    """

    numeric = True
    edges: Tensor
    centres: Tensor
    segment_scale: Tensor
    segment_offset: Tensor

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        segments = [_segments(codec) for codec in codecs]
        n_segments = max(max(len(s) for s in segments) - 1, 0)
        self.n_inputs, self.n_features = 1 + n_segments, 1
        self.log_sigma = nn.Parameter(torch.zeros(self.n_columns))
        scales = [1 / np.diff(s) for s in segments]
        offsets = [-s[:-1] * k - 0.5 for s, k in zip(segments, scales, strict=True)]
        self._buffer("segment_scale", scales, 0.0, n_segments)
        self._buffer("segment_offset", offsets, 0.0, n_segments)
        self._buffer("edges", [c.score_edges for c in codecs], torch.inf, self.n_atoms - 1)
        self._buffer("centres", [c.score_centres for c in codecs], 0.0, self.n_atoms)

    def inputs(self, values: Tensor) -> Tensor:
        values = values[..., None]
        position = torch.addcmul(self.segment_offset, values, self.segment_scale)
        return torch.cat([values.clamp(-5, 5), position.clamp(-0.5, 0.5)], dim=-1)

    def bins(self, values: Tensor) -> Tensor:
        """Return the bin of each value."""
        return torch.searchsorted(self.edges, values.T.contiguous(), right=True).T


def _segments(codec: NumericCodec) -> Array:
    """Ends of the encoding's linear pieces: at most N_SEGMENTS, at even bins."""
    ends = np.r_[codec.scores[0], codec.score_edges, codec.scores[-1]]
    even = np.linspace(0, len(ends) - 1, min(N_SEGMENTS, codec.n_atoms) + 1).round().astype(int)
    return np.unique(ends[even].astype(np.float32)).astype(float)


class Histogram(Numeric):
    r"""Bins with a discretised Gaussian tilted by free logits, on the scale of scores.

    .. math:: p(x \in b) \propto w_b \exp(\eta_b - (t_b - \mu)^2 / 2 \sigma^2)

    `t_b` is the bin's centre, `w_b` its width, `mu` and `eta` are network outputs, and `sigma` is
    one learned number per column. The Gaussian part lets bins share strength; the logits can take
    any shape.
    Inside a bin the density is uniform; a bin that is one repeated value has a mass.

    Training scores a cell by this and by the Gaussian alone, in equal parts: the histogram does
    not know that neighbouring bins are alike, and learns that from the Gaussian (measured in
    `docs/experiments.md`).
    """

    log_widths: Tensor

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_params = self.n_columns * (self.n_atoms + 1)
        self._buffer("log_widths", [c.log_widths for c in codecs], -torch.inf, self.n_atoms)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mu, eta = params.unflatten(1, (self.n_columns, -1)).split([1, self.n_atoms], dim=-1)
        return mu, eta

    def _logits(self, mu: Tensor, eta: Tensor) -> Tensor:
        # The square is expanded, and the part that all bins share left out: softmax ignores it.
        precision = torch.exp(-2 * self.log_sigma.clamp(-4, 4))[:, None]
        base = self.log_widths - 0.5 * precision * self.centres**2
        return torch.addcmul(eta + base, mu * precision, self.centres)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return _pick(self._logits(*self._split(params)), self.bins(values))

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        mu, eta = self._split(params)
        histogram = _pick(self._logits(mu, eta), self.bins(values))
        gaussian = _normal_log_prob(values, mu[..., 0], self.log_sigma.clamp(-4, 4))
        return (1 - GAUSSIAN_SHARE) * histogram + GAUSSIAN_SHARE * gaussian

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        tilt = self._logits(*self._split(params)) - self.log_widths.clamp(min=-1e4)
        return (self.log_widths + tilt / spread).softmax(-1)


class RankNormal(Numeric):
    r"""Normal scores with \(t \sim N(\mu, \sigma^2)\), one learned `sigma` per column."""

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_params = self.n_columns

    @staticmethod
    def log_volume(codec: NumericCodec, numbers: Array) -> Array:
        return codec.log_slope(numbers)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return _normal_log_prob(values, params, self.log_sigma.clamp(-4, 4))

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        sigma = self.log_sigma.clamp(-4, 4).exp()[:, None] * spread**0.5
        below = torch.special.ndtr((self.edges - params[..., None]) / sigma)
        return torch.diff(F.pad(F.pad(below, (0, 1), value=1.0), (1, 0)), dim=-1)


def _normal_log_prob(values: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    return -0.5 * (((values - mu) * torch.exp(-log_sigma)) ** 2 + LOG_2PI) - log_sigma


def _pick(logits: Tensor, atoms: Tensor) -> Tensor:
    """Log-probability of each chosen atom, normalised over the last axis."""
    picked = F.cross_entropy(logits.flatten(0, 1), atoms.flatten(), reduction="none")
    return -picked.view(atoms.shape)


KINDS: dict[str, type[Kind]] = {
    "histogram": Histogram,
    "rank_normal": RankNormal,
    "categorical": Categorical,
    "bernoulli": Bernoulli,
}
