"""Likelihoods: what distribution a group of columns gets, and what the networks see of its cells.

A *kind* holds everything that is wider than one scalar per cell: network inputs, network outputs,
log-probabilities, and the probabilities of its codecs' atoms.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import stdtr
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.binning import lean
from sklearn_cvae.codecs import Array, Codec, GridCodec, LevelCodec, NumericCodec
from sklearn_cvae.scales import NARROWEST

GAUSSIAN_SHARE = 0.5
LOG_2PI = float(np.log(2 * np.pi))
# Edges that pad a column of few atoms: beyond all values, and finite for the gradients' sake.
FAR = 1e18
LEAST_SIGMA = 0.01
RATE_BEND = 8.0
TAIL_STEP, N_TAIL = 0.02, 2048


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
      numbers spread `spread` times as wide in variance;
    - `expected(params, spread)`: the same, for what is to be imputed.
    """

    numeric: ClassVar[bool]
    columns: Tensor
    starts: Tensor
    lengths: Tensor
    learned: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        """Return why a column does not suit this likelihood, or an empty string.

        Parameters
        ----------
        numbers : ndarray of shape (n,)
            The training cells, NaN where missing.
        n_levels : int or None
            None for a column of numbers.
        """
        raise NotImplementedError

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        """Learn the codec that suits this likelihood; parameters as in `refuses`."""
        raise NotImplementedError

    def __init__(self, columns: list[int], codecs: list[Any]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.n_atoms = max(codec.n_atoms for codec in codecs)
        self.n_columns = len(codecs)
        spans = [codec.spans for codec in codecs]
        self._buffer("starts", [of_atoms[:, 0] for of_atoms in spans], 0.0, self.n_atoms)
        self._buffer("lengths", [np.diff(of_atoms)[:, 0] for of_atoms in spans], 0.0, self.n_atoms)
        # Which columns had cells to learn from: others have no value.
        learned = torch.tensor([not np.isnan(of_atoms).any() for of_atoms in spans])
        self.register_buffer("learned", learned, persistent=False)
        self.n_inputs: int
        self.n_features: int
        self.n_params: int

    def _buffer(self, name: str, rows: list[Array], fill: float, width: int) -> None:
        """Register ragged rows as one padded float32 buffer of shape (m, width)."""
        self.register_buffer(name, _padded(rows, fill, width), persistent=False)

    @staticmethod
    def log_volume(codec: Any, numbers: Array) -> Array:
        """Log of model units per user's unit at each number, which `log_prob` leaves out."""
        return codec.log_volume(numbers)

    def inputs(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def atoms(self, values: Tensor) -> Tensor:
        """Return the atom of each value, of shape (n, m)."""
        return values.long()

    def quantile(self, probs: Tensor, q: Tensor) -> Tensor:
        """Return values at quantiles (0..1) of distributions: (n, m, n_atoms), (n, m) -> (n, m)."""
        cumulated = probs.cumsum(-1)
        target = q[..., None] * cumulated[..., -1:]
        atoms = torch.searchsorted(cumulated, target, right=True).clamp(max=self.n_atoms - 1)
        mass, end = probs.gather(-1, atoms), cumulated.gather(-1, atoms)
        within = ((target - end) / mass.clamp(min=1e-30) + 1).clamp(0, 1)[..., 0]
        columns = torch.arange(self.n_columns, device=probs.device)
        atoms = atoms[..., 0]
        return self.starts[columns, atoms] + within * self.lengths[columns, atoms]

    def start(self, values: Tensor, observed: Tensor) -> None:
        """Set what the group learns besides the network's outputs from some rows, before training.

        Parameters
        ----------
        values : Tensor of shape (n, m)
        observed : Tensor of shape (n, m), bool
        """

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        raise NotImplementedError

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        """What training maximises: `log_prob`, unless a kind learns better from another score."""
        return self.log_prob(params, values)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        raise NotImplementedError

    def expected(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        """Return the probabilities to impute by: `probs`, unless others are nearer to the truth."""
        return self.probs(params, spread)


class Categorical(Kind):
    r"""Levels with \(p(x = l) = \mathrm{softmax}(\eta)_l\); inputs are one-hot."""

    numeric = False
    padding: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels is not None else "takes categories; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return LevelCodec(n_levels or 0)

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
    r"""Two levels or two numbers with \(p(x = 1) = \mathrm{sigmoid}(\eta)\); inputs are -1 or 1."""

    numeric = False
    threshold: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        if n_levels is not None:
            return "" if n_levels == 2 else f"takes two levels, not {n_levels}; use 'categorical'"
        seen = np.unique(numbers[~np.isnan(numbers)])
        if len(seen) == 2:
            return ""
        named = ", ".join(f"{x:g}" for x in seen[:3])
        return f"takes two distinct numbers, but there are {len(seen)}: {named}; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        # A numeric codec makes two atoms of four cells or more.
        return LevelCodec(2) if n_levels else NumericCodec.fit(np.repeat(numbers, 2))

    def __init__(self, columns: list[int], codecs: list[LevelCodec | NumericCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = 1
        self.n_params = self.n_columns
        edges = [0.5 if isinstance(c, LevelCodec) else float(c.score_edges[0]) for c in codecs]
        self.register_buffer("threshold", torch.tensor(edges), persistent=False)

    def _signs(self, values: Tensor) -> Tensor:
        return torch.where(values > self.threshold, 1.0, -1.0)

    def atoms(self, values: Tensor) -> Tensor:
        return (values > self.threshold).long()

    def inputs(self, values: Tensor) -> Tensor:
        return self._signs(values)[..., None]

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return F.logsigmoid(params * self._signs(values))

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return torch.stack([torch.sigmoid(-params), torch.sigmoid(params)], dim=-1)


class Ordinal(Kind):
    r"""Ordered levels with \(p(x \le l) = \sigma((c_l - \eta) / \tau)\), inputs \(1[x > l]\).

    The cutpoints \(c_1 < c_2 < \dots\) are learned per column; the network gives a location
    \(\eta\) and the log of a scale \(\tau\), without which a level between two others could not
    be known for sure. Levels are in the order of the dtype's categories, else sorted. Training
    starts from the levels' frequencies.

    References
    ----------
    McCullagh. Regression Models for Ordinal Data. Journal of the Royal Statistical Society B, 1980.
    """

    numeric = False
    own: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        if n_levels is None:
            return "takes categories; use 'histogram', or name it in categorical_features"
        return "" if n_levels >= 2 else f"takes two levels or more, not {n_levels}"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return LevelCodec(n_levels or 0)

    def __init__(self, columns: list[int], codecs: list[LevelCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = self.n_atoms - 1
        self.n_params = 2 * self.n_columns
        self._buffer("own", [np.ones(c.n_atoms - 1) for c in codecs], 0.0, self.n_atoms - 1)
        self.first = nn.Parameter(torch.zeros(self.n_columns))
        self.gaps = nn.Parameter(torch.zeros(self.n_columns, self.n_atoms - 2))

    @torch.no_grad()
    def start(self, values: Tensor, observed: Tensor) -> None:
        own = F.pad(self.own, (1, 0), value=1.0)
        levels = torch.arange(self.n_atoms, device=values.device)
        seen = ((values[..., None] == levels) & observed[..., None]).sum(0)
        share = ((seen + 0.5) * own).cumsum(-1) / ((seen + 0.5) * own).sum(-1, keepdim=True)
        cuts = torch.logit(share[:, :-1], eps=1e-6)
        self.first.copy_(cuts[:, 0])
        self.gaps.copy_(torch.diff(cuts).clamp(min=1e-4).expm1().log())

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper cutpoint of each level, of shape (m, n_atoms)."""
        gaps = F.softplus(self.gaps) + 1e-3
        cuts = self.first[:, None] + F.pad(gaps.cumsum(-1), (1, 0))
        cuts = torch.where(self.own > 0, cuts, FAR)
        return F.pad(cuts, (1, 0), value=-FAR), F.pad(cuts, (0, 1), value=FAR)

    def inputs(self, values: Tensor) -> Tensor:
        levels = torch.arange(self.n_inputs, device=values.device)
        return (values[..., None] > levels).to(torch.float32)

    def _log_probs(self, params: Tensor) -> Tensor:
        """Return log(sigmoid(u) - sigmoid(l)), in the form that loses no digits."""
        location, log_scale = params.unflatten(1, (self.n_columns, 2)).unbind(-1)
        sharpness = torch.exp(-log_scale.clamp(-4, 4))[..., None]
        low, high = ((end - location[..., None]) * sharpness for end in self._bounds())
        width = torch.where(high > low, high - low, 1.0)
        log_probs = F.logsigmoid(high) + F.logsigmoid(-low)
        log_probs = log_probs + torch.log(-torch.expm1(-width))
        return torch.where(high > low, log_probs, -torch.inf)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return self._log_probs(params).gather(-1, values.long()[..., None])[..., 0]

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return self._log_probs(params).softmax(-1)


class Numeric(Kind):
    """Base of the numeric kinds: inputs are the score and its piecewise-linear encoding.

    The first of a column's network outputs is the mean of its scores, and `log_sigma` the log of
    their spread; training starts both from a linear model.

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

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels is None else "takes numbers or times; use 'categorical'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return NumericCodec.fit(numbers)

    def __init__(self, columns: list[int], codecs: list[Any]) -> None:
        super().__init__(columns, codecs)
        segments = [codec.segments for codec in codecs]
        n_segments = max(max(len(s) for s in segments) - 1, 0)
        self.n_inputs, self.n_features = 1 + n_segments, 1
        self.log_sigma = nn.Parameter(torch.zeros(self.n_columns))
        scales = [1 / np.diff(s) for s in segments]
        offsets = [-s[:-1] * k - 0.5 for s, k in zip(segments, scales, strict=True)]
        self._buffer("segment_scale", scales, 0.0, n_segments)
        self._buffer("segment_offset", offsets, 0.0, n_segments)
        self._buffer("edges", [c.score_edges for c in codecs], FAR, self.n_atoms - 1)
        self._buffer("centres", [c.score_centres for c in codecs], 0.0, self.n_atoms)

    def inputs(self, values: Tensor) -> Tensor:
        values = values[..., None]
        position = torch.addcmul(self.segment_offset, values, self.segment_scale)
        return torch.cat([values.clamp(-5, 5), position.clamp(-0.5, 0.5)], dim=-1)

    def atoms(self, values: Tensor) -> Tensor:
        return torch.searchsorted(self.edges, values.T.contiguous(), right=True).T


class _WithinBins(nn.Module):
    """Log densities of numbers within bins, over those of evenly spaced ones; see `binning.lean`.

    Parameters
    ----------
    codecs : list of NumericCodec
    n_bins : int
        Most bins of a codec.
    """

    neighbours: Tensor
    log_cells: Tensor
    reach: Tensor
    starts: Tensor
    lengths: Tensor
    even_positions: Tensor

    def __init__(self, codecs: list[NumericCodec], n_bins: int) -> None:
        super().__init__()
        neighbours = _padded([c.neighbours for c in codecs], 0.0, n_bins).long()
        self.register_buffer("neighbours", neighbours, persistent=False)
        cells = [np.diff(c.first_cell)[c.neighbours] for c in codecs]
        ends = [c.end_scores for c in codecs]
        for name, rows in {
            "log_cells": [np.log(of_bins) for of_bins in cells],
            "reach": [c.reach for c in codecs],
            "starts": [e[:-1] for e in ends],
            "lengths": [np.fmax(np.diff(e), NARROWEST) for e in ends],
            "even_positions": [c.even_positions for c in codecs],
        }.items():
            self.register_buffer(name, _padded(rows, 1.0, n_bins), persistent=False)

    def forward(self, logits: Tensor, bins: Tensor, values: Tensor) -> Tensor:
        """Map (n, m, n_bins) logits and (n, m) bins and values to (n, m)."""
        columns = torch.arange(len(self.reach), device=bins.device)
        beside = logits.gather(-1, self.neighbours[columns, bins]) - self.log_cells[columns, bins]
        below, here, above = beside.unbind(-1)
        slope = lean(below - here, above - here, self.reach[columns, bins])
        even = slope[..., None] * self.even_positions[columns, bins]
        log_mean = even.logsumexp(-1) - math.log(even.shape[-1])
        position = (values - self.starts[columns, bins]) / self.lengths[columns, bins]
        return slope * position.clamp(0, 1) - log_mean


class Histogram(Numeric):
    r"""Bins with a discretised Gaussian tilted by free logits, on the scale of scores.

    .. math:: p(x \in b) \propto w_b \exp(\eta_b - (t_b - \mu)^2 / 2 \sigma^2)

    `t_b` is the bin's centre, `w_b` its width, `mu` and `eta` are network outputs, and `sigma` is
    one learned number per column. The Gaussian part lets bins share strength; the logits can take
    any shape.
    Inside a bin the density is uniform, of columns with fine bins its log is linear (see
    `binning.lean`); a bin that is one repeated value has a mass.

    Training scores a cell by this and by the Gaussian alone, in equal parts: the histogram does
    not know that neighbouring bins are alike, and learns that from the Gaussian (measured in
    `docs/experiments.md`). Numbers of a continuous column are imputed by both in equal parts, too,
    and there the histogram goes on beyond the seen range with the outermost bins' logits: what is
    missing may well be what was never seen.
    """

    log_widths: Tensor
    bin_edges: Tensor
    bin_centres: Tensor
    bin_log_widths: Tensor
    bin_of_atom: Tensor
    is_bin: Tensor
    gaussian_share: Tensor

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return NumericCodec.fit(numbers, natural=True)

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        bins = [codec.bins for codec in codecs]
        n_bins = max(b.stop - b.start for b in bins)
        self.n_bins, self.n_params = n_bins, self.n_columns * (n_bins + 1)
        own = list(zip(codecs, bins, strict=True))
        edges = [c.score_edges[b.start : b.stop - 1] for c, b in own]
        self._buffer("bin_edges", edges, FAR, n_bins - 1)
        self._buffer("bin_centres", [c.score_centres[b] for c, b in own], 0.0, n_bins)
        self._buffer("bin_log_widths", [c.log_widths[b] for c, b in own], -torch.inf, n_bins)
        self._buffer("log_widths", [c.log_widths for c in codecs], -torch.inf, self.n_atoms)
        atoms = np.arange(self.n_atoms)
        bin_of = np.array([np.clip(atoms - b.start, 0, b.stop - b.start - 1) for b in bins])
        is_bin = np.array([(b.start <= atoms) & (atoms < b.stop) for b in bins])
        self.register_buffer("bin_of_atom", torch.from_numpy(bin_of), persistent=False)
        self.register_buffer("is_bin", torch.from_numpy(is_bin), persistent=False)
        self.within = _WithinBins(codecs, n_bins) if any(c.reach.any() for c in codecs) else None
        smooth = [[GAUSSIAN_SHARE * (c.scale != "normal" and c.continuous)] for c in codecs]
        self._buffer("gaussian_share", [np.array(share) for share in smooth], 0.0, 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        mu, eta = params.unflatten(1, (self.n_columns, -1)).split([1, self.n_bins], dim=-1)
        return mu, eta

    def _tilt(self, mu: Tensor, centres: Tensor) -> Tensor:
        # The square is expanded, and the part that all bins share left out: softmax ignores it.
        precision = torch.exp(-2 * self.log_sigma.clamp(-4, 4))[:, None]
        return torch.addcmul(-0.5 * precision * centres**2, mu * precision, centres)

    def _logits(self, mu: Tensor, eta: Tensor) -> Tensor:
        return eta + self.bin_log_widths + self._tilt(mu, self.bin_centres)

    def _bins(self, values: Tensor) -> Tensor:
        """Return the bin of each value; the outermost hold what lies beyond the seen range."""
        return torch.searchsorted(self.bin_edges, values.T.contiguous(), right=True).T

    def _log_prob(self, logits: Tensor, values: Tensor) -> Tensor:
        bins = self._bins(values)
        of_bin = _pick(logits, bins)
        return of_bin if self.within is None else of_bin + self.within(logits, bins, values)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return self._log_prob(self._logits(*self._split(params)), values)

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        mu, eta = self._split(params)
        histogram = self._log_prob(self._logits(mu, eta), values)
        gaussian = _normal_log_prob(values, mu[..., 0], self.log_sigma.clamp(-4, 4))
        return (1 - GAUSSIAN_SHARE) * histogram + GAUSSIAN_SHARE * gaussian

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, eta = self._split(params)
        tilt = eta + self._tilt(mu, self.bin_centres)
        return self._of_atoms((self.bin_log_widths + tilt / spread).softmax(-1)) * self.is_bin

    def expected(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, eta = self._split(params)
        gaussian = self._tilt(mu, self.centres)
        tilted = gaussian + self._of_atoms(eta)
        histogram = (self.log_widths + tilted / spread).softmax(-1)
        base = (self.log_widths + gaussian / spread).softmax(-1)
        return torch.lerp(histogram, base, self.gaussian_share)

    def _of_atoms(self, of_bins: Tensor) -> Tensor:
        """Give each atom what its bin has; those beyond the seen range, what the outermost has."""
        return of_bins.gather(-1, self.bin_of_atom.expand(len(of_bins), -1, -1))


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


class Gaussian(Numeric):
    r"""Standardised numbers with \(t \sim N(\mu, \sigma^2)\), one learned `sigma` per column.

    Base of the densities of location and scale: means and draws may leave the seen range. Within
    `probs`, atoms have differences of the distribution function.

    References
    ----------
    Kingma, Welling. Auto-Encoding Variational Bayes. ICLR 2014 (appendix C.2). Departure: one
    variance per column, which cannot collapse onto single cells.
    """

    grid: ClassVar[dict[str, bool]] = {}
    n_outputs: ClassVar[int] = 1
    takes: ClassVar[str] = "numbers"

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        """Return which numbers cannot be."""
        return np.zeros(len(numbers), dtype=bool)

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        known = numbers[~np.isnan(numbers)]
        wrong = known[cls.outside(known)]
        if n_levels is not None or len(wrong) == 0:
            return super().refuses(numbers, n_levels)
        cells = f"{len(wrong)} cell{' is' if len(wrong) == 1 else 's are'} not, e.g. {wrong[0]!s}"
        return f"takes {cls.takes}, but {cells}; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return GridCodec.fit(numbers, **cls.grid)

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_params = self.n_columns * self.n_outputs

    def _split(self, params: Tensor) -> tuple[Tensor, ...]:
        return params.unflatten(1, (self.n_columns, self.n_outputs)).unbind(-1)

    def _log_scale(self, params: Tensor) -> Tensor:
        """Return the log of sigma, of shape (m,) or (n, m)."""
        return self.log_sigma.clamp(-4, 4)

    def _log_density(self, u: Tensor) -> Tensor:
        """Return the log density of standardised scores, of shape (n, m)."""
        return -0.5 * (u**2 + LOG_2PI)

    def _tail(self, u: Tensor) -> Tensor:
        """Return the probability beyond u >= 0, of shape (n, m, n_edges)."""
        return torch.special.ndtr(-u)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        log_scale = self._log_scale(params)
        u = (values - self._split(params)[0]) * torch.exp(-log_scale)
        return self._log_density(u) - log_scale

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        scale = self._log_scale(params).exp()[..., None] * spread**0.5
        u = (self.edges - self._split(params)[0][..., None]) / scale
        # Between edges on one side of the mean, the tails' difference keeps all its digits.
        tail, above = F.pad(self._tail(u.abs()), (1, 1)), F.pad(u > 0, (1, 0))
        left, right = tail[..., :-1], tail[..., 1:]
        above_right = F.pad(u > 0, (0, 1), value=True)
        around = torch.where(above_right, 1 - left - right, right - left)
        return torch.where(above, left - right, around).clamp(min=0)


class GaussianFixed(Gaussian):
    r"""Standardised numbers with \(t \sim N(\mu, 1)\): the squared error of the first VAEs.

    The variance of a whole standardised column: rows keep little about a number, and draws of it
    spread wider than the data. It is there to compare with.

    References
    ----------
    Doersch. Tutorial on Variational Autoencoders. arXiv:1606.05908, 2016.
    """

    def _log_scale(self, params: Tensor) -> Tensor:
        return torch.zeros_like(self.log_sigma)


class GaussianPerRow(Gaussian):
    r"""Standardised numbers with \(t \sim N(\mu, \sigma^2)\), both of them network outputs.

    .. math:: \sigma^2 = 0.01^2 + \exp(2 (s + \log \sigma_0))

    `s` is a network output and \(\sigma_0\) one learned number per column. Without a floor the
    likelihood is unbounded.

    References
    ----------
    Mattei, Frellsen. Leveraging the Exact Likelihood of Deep Latent Variable Models. NeurIPS 2018.
    """

    n_outputs = 2

    def _log_scale(self, params: Tensor) -> Tensor:
        log_sigma = (self.log_sigma + self._split(params)[1]).clamp(-7, 4)
        return 0.5 * torch.log(LEAST_SIGMA**2 + torch.exp(2 * log_sigma))


class StudentT(Gaussian):
    r"""Numbers with \((t - \mu) / \sigma\) Student's t; `sigma` and the freedom learned per column.

    .. math:: p(u) \propto (1 + u^2 / \nu)^{-(\nu + 1) / 2}, \quad \nu > 1

    The scale of `t` is set by quartiles, since a few far cells would set the deviation. `probs`
    reads the distribution function from a table and gives no gradient by \(\nu\).

    References
    ----------
    Lange, Little, Taylor. Robust Statistical Modeling Using the t Distribution. JASA 1989.
    """

    grid: ClassVar[dict[str, bool]] = {"robust": True}

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.log_dof = nn.Parameter(torch.full((self.n_columns,), float(np.log(4))))

    @property
    def dof(self) -> Tensor:
        """Degrees of freedom, above 1: a mean exists."""
        return 1 + self.log_dof.clamp(-5, 6).exp()

    def _log_density(self, u: Tensor) -> Tensor:
        dof = self.dof
        constant = torch.lgamma((dof + 1) / 2) - torch.lgamma(dof / 2)
        constant = constant - 0.5 * torch.log(dof * torch.pi)
        return constant - (dof + 1) / 2 * torch.log1p(u**2 / dof)

    def _tail(self, u: Tensor) -> Tensor:
        dof = self.dof.detach().double().cpu().numpy()
        known = stdtr(dof[:, None], -np.sinh(TAIL_STEP * np.arange(N_TAIL)))
        table = torch.from_numpy(np.log(np.maximum(known, 1e-37)).astype(np.float32)).to(u.device)
        place = torch.asinh(u) / TAIL_STEP
        left = place.detach().long().clamp(max=N_TAIL - 2)
        column = torch.arange(len(dof), device=u.device)[:, None]
        start, end = table[column, left], table[column, left + 1]
        tail = torch.exp(start + (place - left).clamp(max=1) * (end - start))
        return torch.where(place < N_TAIL - 1, tail, 0.0)


class LogNormal(Gaussian):
    r"""Positive numbers with \(\log x \sim N(\mu, \sigma^2)\), one learned `sigma` per column.

    References
    ----------
    Limpert, Stahel, Abbt. Log-normal Distributions across the Sciences. BioScience 2001.
    """

    grid: ClassVar[dict[str, bool]] = {"logged": True}
    takes = "numbers above 0"

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return numbers <= 0


class ZeroInflatedLogNormal(LogNormal):
    r"""Numbers of at least 0: \(p(0) = \pi\), else \(\log x \sim N(\mu, \sigma^2)\).

    \(\pi\) is the sigmoid of a second network output. The networks see a zero as a flag beside a
    score of 0, the mean of the positive numbers' scores.

    References
    ----------
    Aitchison. On the Distribution of a Positive Random Variable Having a Discrete Probability Mass
    at the Origin. JASA 1955.
    """

    grid: ClassVar[dict[str, bool]] = {"logged": True, "zero": True}
    takes = "numbers of at least 0"
    n_outputs = 2

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs, self.n_features = self.n_inputs + 1, 2

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return numbers < 0

    def _is_zero(self, values: Tensor) -> Tensor:
        return values < self.edges[:, 0]

    def inputs(self, values: Tensor) -> Tensor:
        zero = self._is_zero(values)
        score = super().inputs(torch.where(zero, 0.0, values))
        flag = torch.where(zero, 1.0, -1.0)[..., None]
        return torch.cat([score[..., :1], flag, score[..., 1:]], dim=-1)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        logit, zero = self._split(params)[1], self._is_zero(values)
        positive = super().log_prob(params, torch.where(zero, 0.0, values))
        return torch.where(zero, F.logsigmoid(logit), F.logsigmoid(-logit) + positive)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        logit = self._split(params)[1][..., None]
        positive = super().probs(params, spread)
        # What the density has below the first positive atom belongs to that atom.
        first = positive[..., :1] + positive[..., 1:2]
        positive = torch.cat([first, positive[..., 2:]], dim=-1) * torch.sigmoid(-logit)
        return torch.cat([torch.sigmoid(logit), positive], dim=-1)


class Poisson(Gaussian):
    r"""Counts with \(p(x) = e^{-\lambda} \lambda^x / x!\).

    .. math:: \log(1 + \lambda) = \log(1 + e^{8 t}) / 8

    where `t` is the location on the scale of log(1 + x): nearly `t` itself, and yet any rate above
    0 can be reached. Numbers spread wider are negative binomial with the same mean; narrower, they
    have powers of these probabilities (Conway-Maxwell-Poisson). Counts are exact up to 500,000,
    since scores are float32; beyond, to a millionth. Atoms of several counts have the mass of their
    middle one times their number, brought to a sum of one. They are a few percent wide, so draws of
    a Poisson above some 10,000, which is narrower, spread wider than it.

    References
    ----------
    Shmueli et al. A Useful Distribution for Fitting Discrete Data: Revival of the
    Conway-Maxwell-Poisson Distribution. Applied Statistics 2005.
    """

    grid: ClassVar[dict[str, bool]] = {"whole": True}
    takes = "whole numbers of at least 0"
    centre: Tensor
    scale: Tensor
    middles: Tensor
    log_sizes: Tensor

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        scales = np.array([[np.nan_to_num(c.centre), c.scale] for c in codecs])
        self.register_buffer("centre", torch.from_numpy(scales[:, 0].copy()), persistent=False)
        self.register_buffer("scale", torch.from_numpy(scales[:, 1].copy()), persistent=False)
        sizes = [np.log(np.nan_to_num(np.diff(c.edges), nan=1.0)) for c in codecs]
        self._buffer("log_sizes", sizes, -torch.inf, self.n_atoms)
        self._buffer("middles", [c.middles for c in codecs], 0.0, self.n_atoms)

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return (numbers < 0) | (numbers != np.round(numbers))

    def _counts(self, values: Tensor) -> Tensor:
        """Return the counts that scores stand for, float64."""
        counts = torch.expm1((self.centre + self.scale * values.double()).clamp(max=40))
        return counts.round().clamp(min=0)

    def _rate(self, params: Tensor) -> Tensor:
        """Return the mean count, float64, of shape (n, m)."""
        t = (self.centre + self.scale * self._split(params)[0].double()).clamp(-20, 40)
        return torch.expm1(F.softplus(t, beta=RATE_BEND)).clamp(min=1e-9)

    def _dispersion(self) -> Tensor | None:
        """Return 1 / r of the negative binomial, of shape (m,); None for a Poisson."""
        return None

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        counts = self._counts(values)
        return _log_mass(counts, self._rate(params), self._dispersion()).to(params.dtype)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        rate, dispersion = self._rate(params), self._dispersion()
        wider = float(spread) if float(spread) > 1 else 1.0
        if wider > 1:
            dispersion = wider * (0.0 if dispersion is None else dispersion) + (wider - 1) / rate
            dispersion = dispersion.clamp(max=1e6)
        if dispersion is not None:
            dispersion = dispersion[..., None]
        mass = _log_mass(self.middles.double(), rate[..., None], dispersion)
        return (mass * (wider / spread) + self.log_sizes).softmax(-1).to(params.dtype)


class NegativeBinomial(Poisson):
    r"""Counts with mean \(\mu\) and variance \(\mu + \alpha \mu^2\), `alpha` learned per column.

    .. math:: p(x) = \frac{\Gamma(x + r)}{\Gamma(r) x!} \left(\frac{r}{r + \mu}\right)^r
        \left(\frac{\mu}{r + \mu}\right)^x, \quad r = 1 / \alpha

    \(\mu\) is a network output, on the scale that `Poisson` describes; \(\sqrt\alpha\), nearly the
    deviation of log x, is the learned spread of scores in units of log x.

    References
    ----------
    Lopez, Regier, Cole, Jordan, Yosef. Deep Generative Modeling for Single-cell Transcriptomics.
    Nature Methods 2018.
    """

    def _dispersion(self) -> Tensor:
        return torch.exp(2 * (self.log_sigma.double() + self.scale.log()).clamp(-7, 5))


class ZeroInflatedPoisson(Poisson):
    r"""Counts that are 0 with probability \(\pi\), else Poisson.

    \(\pi\) is the sigmoid of a second network output.

    References
    ----------
    Lambert. Zero-Inflated Poisson Regression, with an Application to Defects in Manufacturing.
    Technometrics 1992.
    """

    n_outputs = 2

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        logit = self._split(params)[1]
        counted = F.logsigmoid(-logit) + super().log_prob(params, values)
        zero = torch.logaddexp(F.logsigmoid(logit), counted)
        return torch.where(self._counts(values) == 0, zero, counted)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        logit = self._split(params)[1][..., None]
        zero = F.pad(torch.sigmoid(logit), (0, self.n_atoms - 1))
        return zero + torch.sigmoid(-logit) * super().probs(params, spread)


class ZeroInflatedNegativeBinomial(ZeroInflatedPoisson, NegativeBinomial):
    r"""Counts that are 0 with probability \(\pi\), else negative binomial.

    References
    ----------
    Lopez, Regier, Cole, Jordan, Yosef. Deep Generative Modeling for Single-cell Transcriptomics.
    Nature Methods 2018.
    """


def _log_mass(counts: Tensor, rate: Tensor, dispersion: Tensor | None) -> Tensor:
    """Log-probability of counts, Poisson or negative binomial, in float64."""
    if dispersion is None:
        return torch.xlogy(counts, rate) - rate - torch.lgamma(counts + 1)
    r = 1 / dispersion
    ways = torch.lgamma(counts + r) - torch.lgamma(r) - torch.lgamma(counts + 1)
    return ways - r * torch.log1p(rate / r) - counts * torch.log1p(r / rate)


def _normal_log_prob(values: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    return -0.5 * (((values - mu) * torch.exp(-log_sigma)) ** 2 + LOG_2PI) - log_sigma


def _padded(rows: list[Array], fill: float, width: int) -> Tensor:
    """Return ragged rows as one float32 tensor of shape (m, width, ...)."""
    padded = np.full((len(rows), width, *rows[0].shape[1:]), fill, dtype=np.float32)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = np.nan_to_num(values, nan=0.0, neginf=-np.inf)
    return torch.from_numpy(padded)


def _pick(logits: Tensor, atoms: Tensor) -> Tensor:
    """Log-probability of each chosen atom, normalised over the last axis."""
    picked = F.cross_entropy(logits.flatten(0, 1), atoms.flatten(), reduction="none")
    return -picked.view(atoms.shape)


LIKELIHOODS: dict[str, type[Kind]] = {
    "histogram": Histogram,
    "rank_normal": RankNormal,
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "ordinal": Ordinal,
    "gaussian": Gaussian,
    "gaussian_fixed": GaussianFixed,
    "gaussian_per_row": GaussianPerRow,
    "student_t": StudentT,
    "log_normal": LogNormal,
    "zero_inflated_log_normal": ZeroInflatedLogNormal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
}


def default_likelihood(n_levels: int | None) -> str:
    """Return the likelihood of a column that none was asked for."""
    if n_levels is None:
        return "histogram"
    return "bernoulli" if n_levels == 2 else "categorical"


def suited_likelihoods(numbers: Array, n_levels: int | None) -> list[str]:
    """Return the likelihoods that a column suits; parameters as in `Kind.refuses`."""
    return [name for name, kind in LIKELIHOODS.items() if not kind.refuses(numbers, n_levels)]
