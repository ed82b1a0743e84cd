"""Kinds: groups of columns that share a likelihood, and what all of them have in common.

A *kind* holds everything that is wider than one scalar per cell: network inputs, network outputs,
log-probabilities, and the probabilities of its codecs' atoms.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.codecs import Array, Codec, NumericCodec

LOG_2PI = float(np.log(2 * np.pi))
# Edges that pad a column of few atoms: beyond all values, and finite for the gradients' sake.
FAR = 1e18
NOISE_FLOOR = 0.005
# What probabilities count as at least where they are pooled: a zero would be a veto.
LEAST = 1e-30


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
    # The share of `input_noise` that the columns get, and the least share of their variance that
    # the linear model takes for noise.
    noise_share: ClassVar[float] = 1.0
    noise_floor: ClassVar[float] = NOISE_FLOOR
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
        self.register_buffer(name, padded(rows, fill, width), persistent=False)

    @staticmethod
    def log_volume(codec: Any, numbers: Array) -> Array:
        """Log of model units per user's unit at each number, which `log_prob` leaves out."""
        return codec.log_volume(numbers)

    def inputs(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def atoms(self, values: Tensor) -> Tensor:
        """Return the atom of each value, of shape (n, m)."""
        return values.long()

    def half_brier(self, probs: Tensor, values: Tensor) -> Tensor:
        """Return half the Brier score of values under probabilities of atoms, (n, m)."""
        right = probs.gather(-1, self.atoms(values)[..., None])[..., 0]
        return (probs.square().sum(-1) + 1) / 2 - right

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

    def of_normals(self, share: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the (n, m, n_atoms) probabilities of atoms under mixtures of normals of scores.

        Parameters
        ----------
        share : Tensor of shape (n, n_parts)
        mean, deviation : Tensor of shape (n, n_parts, m)
        """
        below = mean.new_zeros((len(mean), self.n_columns, self.n_atoms + 1))
        below[..., -1] = 1
        for k, weight in enumerate(share.T):
            u = (self.edges - mean[:, k, :, None]) / deviation[:, k, :, None]
            below[..., 1:-1] += weight[:, None, None] * torch.special.ndtr(u)
        return torch.diff(below, dim=-1).clamp(min=0)

    def crps(self, probs: Tensor, values: Tensor) -> Tensor:
        """Return the CRPS of values under probabilities of atoms, as if each were its centre."""
        centres = self.centres.expand_as(probs)
        gaps = torch.diff(centres, dim=-1).clamp(min=0)  # beyond a column's own atoms are none
        beyond = centres[..., :-1] >= values[..., None]
        return ((probs.cumsum(-1)[..., :-1] - beyond.float()).square() * gaps).sum(-1)

    def within_atoms(self, values: Tensor) -> Tensor:
        """Return where in their atoms (0..1) values lie, (n, m), NaN where that is by chance."""
        return torch.full_like(values, torch.nan)

    def atoms(self, values: Tensor) -> Tensor:
        return torch.searchsorted(self.edges, values.T.contiguous(), right=True).T


def normal_log_prob(values: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    return -0.5 * (((values - mu) * torch.exp(-log_sigma)) ** 2 + LOG_2PI) - log_sigma


def padded(rows: list[Array], fill: float, width: int) -> Tensor:
    """Return ragged rows as one float32 tensor of shape (m, width, ...)."""
    padded = np.full((len(rows), width, *rows[0].shape[1:]), fill, dtype=np.float32)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = np.nan_to_num(values, nan=0.0, neginf=-np.inf)
    return torch.from_numpy(padded)


def pick(logits: Tensor, atoms: Tensor) -> Tensor:
    """Log-probability of each chosen atom, normalised over the last axis."""
    picked = F.cross_entropy(logits.flatten(0, 1), atoms.flatten(), reduction="none")
    return -picked.view(atoms.shape)


def pooled(probs: list[Tensor], share: float) -> Tensor:
    """Return the weighted geometric mean of probabilities over the last axis, summing to 1.

    The first have the weight 1 - share, all others `share`, scaled to a sum of 1. What the first
    two rule out stays ruled out.
    """
    first, *others = (part.clamp(min=LEAST).log() for part in probs)
    logs = (1 - share) * first
    for part in others:
        logs = logs + share * part
    logs = logs / (1 - share + share * len(others))
    # Atoms that fill a column up have no probability, but for what a mixture's rounding leaves.
    possible = (probs[0] > 0) | (probs[1] > 0)
    return logs.masked_fill(~possible, -torch.inf).softmax(-1)


def between_tails(tail: Tensor, above: Tensor) -> Tensor:
    """Return the masses between edges.

    Parameters
    ----------
    tail : Tensor of shape (..., n_edges)
        The probability beyond each edge, away from the middle.
    above : Tensor of shape (..., n_edges), bool
        Whether the edge is above the middle. Between edges on one side of it, the tails' difference
        keeps all its digits.
    """
    left, right = tail[..., :-1], tail[..., 1:]
    around = torch.where(above[..., 1:], 1 - left - right, right - left)
    return torch.where(above[..., :-1], left - right, around).clamp(min=0)
