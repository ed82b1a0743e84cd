"""Likelihoods: what distribution a group of columns gets, and what the networks see of its cells.

A *kind* holds everything that is wider than one scalar per cell: network inputs, network outputs,
log-probabilities, and the probabilities of its codecs' atoms.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.codecs import Array, Codec, LevelCodec, NumericCodec

N_SEGMENTS = 16
GAUSSIAN_SHARE = 0.5
LOG_2PI = float(np.log(2 * np.pi))


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

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels is not None else "takes categories"

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
    r"""Two levels with \(p(x = 1) = \mathrm{sigmoid}(\eta)\); the input is -1 or 1."""

    numeric = False

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels == 2 else "takes categories of two levels"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return LevelCodec(2)

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

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels is None else "takes numbers or times"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return NumericCodec.fit(numbers)

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


LIKELIHOODS: dict[str, type[Kind]] = {
    "histogram": Histogram,
    "rank_normal": RankNormal,
    "categorical": Categorical,
    "bernoulli": Bernoulli,
}


def default_likelihood(n_levels: int | None) -> str:
    """Return the likelihood of a column that none was asked for."""
    if n_levels is None:
        return "histogram"
    return "bernoulli" if n_levels == 2 else "categorical"


def suited_likelihoods(numbers: Array, n_levels: int | None) -> list[str]:
    """Return the likelihoods that a column suits; parameters as in `Kind.refuses`."""
    return [name for name, kind in LIKELIHOODS.items() if not kind.refuses(numbers, n_levels)]
