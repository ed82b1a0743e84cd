"""Histograms of numbers, whose bins share strength by a Gaussian."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.binning import lean
from sklearn_cvae.codecs import Array, Codec, NumericCodec
from sklearn_cvae.kinds import FAR, LOG_2PI, Numeric, between_tails, normal_log_prob, padded, pick
from sklearn_cvae.scales import NARROWEST

GAUSSIAN_SHARE = 0.5
# Deviations beyond the seen range that a tilted Gaussian's mean counts as away from it.
FARTHEST_MEAN = 10.0
# Deviations beyond which edges have no tail: the least numbers of float32 are slow to reckon with.
FARTHEST_EDGE = 12.5
# How much narrower or wider than its column a row can be; logs of deviations.
MOST_OF_ROW, MOST_OF_TILTED = 1.0, 3.0


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
        neighbours = padded([c.neighbours for c in codecs], 0.0, n_bins).long()
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
            self.register_buffer(name, padded(rows, 1.0, n_bins), persistent=False)

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

    n_of_gaussian = 1
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
        self.n_bins, self.n_params = n_bins, self.n_columns * (self.n_of_gaussian + n_bins)
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
        self._buffer("gaussian_share", _gaussian_shares(codecs), 0.0, 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means (n, m, 1), log deviations that broadcast, and logits (n, m, n_bins)."""
        mu, eta = params.unflatten(1, (self.n_columns, -1)).split([1, self.n_bins], dim=-1)
        return mu, self.log_sigma.clamp(-4, 4)[:, None], eta

    def _tilt(
        self, mu: Tensor, log_sigma: Tensor, centres: Tensor, start: Tensor | float = 0.0
    ) -> Tensor:
        # The square is expanded, and the part that all bins share left out: softmax ignores it.
        precision = torch.exp(-2 * log_sigma)
        return torch.addcmul(start - 0.5 * precision * centres**2, mu * precision, centres)

    def _logits(self, mu: Tensor, log_sigma: Tensor, eta: Tensor) -> Tensor:
        return eta + self._tilt(mu, log_sigma, self.bin_centres, self.bin_log_widths)

    def _bins(self, values: Tensor) -> Tensor:
        """Return the bin of each value; the outermost hold what lies beyond the seen range."""
        return torch.searchsorted(self.bin_edges, values.T.contiguous(), right=True).T

    def _log_prob(self, logits: Tensor, values: Tensor) -> Tensor:
        bins = self._bins(values)
        of_bin = pick(logits, bins)
        return of_bin if self.within is None else of_bin + self.within(logits, bins, values)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return self._log_prob(self._logits(*self._split(params)), values)

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        histogram = self._log_prob(self._logits(mu, log_sigma, eta), values)
        gaussian = normal_log_prob(values, mu[..., 0], log_sigma[..., 0])
        return (1 - GAUSSIAN_SHARE) * histogram + GAUSSIAN_SHARE * gaussian

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        tilt = eta + self._tilt(mu, log_sigma, self.bin_centres)
        return self._of_atoms((self.bin_log_widths + tilt / spread).softmax(-1)) * self.is_bin

    def expected(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        gaussian = self._tilt(mu, log_sigma, self.centres)
        # In place, here and below: to fetch memory anew takes as long as what is done in it.
        tilted = self._of_atoms(eta).add_(gaussian)
        histogram = tilted.div_(spread).add_(self.log_widths).softmax(-1)
        base = gaussian.div_(spread).add_(self.log_widths).softmax(-1)
        return histogram.lerp_(base, self.gaussian_share)

    def _of_atoms(self, of_bins: Tensor) -> Tensor:
        """Give each atom what its bin has; those beyond the seen range, what the outermost has."""
        return of_bins.gather(-1, self.bin_of_atom.expand(len(of_bins), -1, -1))


class HistogramPerRow(Histogram):
    r"""A histogram whose Gaussian is as wide as a row says.

    .. math:: \log \sigma = \log \sigma_0 + a \tanh(s / a)

    `s` is a network output and `sigma_0` one learned number per column. How well a number is known
    depends on which others are shown, which otherwise the logits alone have to learn.
    """

    n_of_gaussian = 2

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [1, 1, self.n_bins]
        mu, s, eta = params.unflatten(1, (self.n_columns, -1)).split(sizes, dim=-1)
        return mu, _log_sigma(self.log_sigma, s, MOST_OF_ROW).clamp(-4, 4), eta


class _NormalMasses(torch.autograd.Function):
    """The standard normal's masses between edges (..., n_edges), of shape (..., n_edges - 1).

    The gradient is written out, since densities at the edges are all it takes: derived from the
    tails, the likelihood's step takes a third longer (`docs/experiments.md`).
    """

    @staticmethod
    def forward(ctx: Any, edges: Tensor) -> Tensor:
        u = edges.clamp(-FARTHEST_EDGE, FARTHEST_EDGE)
        ctx.save_for_backward(u)
        return between_tails(0.5 * torch.erfc(u.abs() * 0.5**0.5), u > 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        density = torch.exp(-0.5 * (u.square() + LOG_2PI))
        density = torch.where(u.abs() < FARTHEST_EDGE, density, 0.0)
        return -torch.diff(F.pad(grads[0], (1, 1))) * density


class TiltedGaussian(Numeric):
    r"""A Gaussian tilted by the free logits of blocks, on the scale of scores.

    .. math:: p(t) \propto N(t; \mu, \sigma^2) \exp \eta_{b(t)}, \quad
        \log \sigma = \log \sigma_0 + a \tanh(s / a)

    `mu`, `s` and `eta` are network outputs, and `sigma_0` is one learned number per column. It is
    what a `Histogram` is in the limit of many bins, whose logits neighbours share: a number that
    follows others is known better than to a bin, and hardly where those others are missing, so each
    row has a width of its own. `probs` tells apart bins, of which a block has several.

    A block that is one repeated value has the mass of its width at that density. Training scores a
    cell by this and by the Gaussian alone, and numbers are imputed by both, as `Histogram` has it.
    """

    noise_share = 0.0
    noise_floor = 5e-4
    block_edges: Tensor
    inner_edges: Tensor
    is_single: Tensor
    block_centres: Tensor
    block_log_widths: Tensor
    ends: Tensor
    log_widths: Tensor
    log_widths_seen: Tensor
    bin_log_widths: Tensor
    block_of_atom: Tensor
    gaussian_share: Tensor

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return NumericCodec.fit(numbers, natural=True, cut="blocks")

    @staticmethod
    def log_volume(codec: NumericCodec, numbers: Array) -> Array:
        return codec.log_volume_by_scores(numbers)

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        blocks = [c.block_edges for c in codecs]
        self.n_blocks = max(len(edges) for edges in blocks) - 1
        self.n_params = self.n_columns * (self.n_blocks + 2)
        self._buffer("block_edges", blocks, FAR, self.n_blocks + 1)
        self._buffer("inner_edges", [edges[1:-1] for edges in blocks], FAR, self.n_blocks - 1)
        self._buffer("ends", [edges[[0, -1]] for edges in blocks], 0.0, 2)
        starts = [np.flatnonzero(np.diff(c.block, prepend=-1)) for c in codecs]
        single = [c.widths[at] == 0 for c, at in zip(codecs, starts, strict=True)]
        self.has_singles = any(of_column.any() for of_column in single)
        self.register_buffer("is_single", padded(single, 0, self.n_blocks) > 0, persistent=False)
        centres = [c.score_centres[c.bins][at] for c, at in zip(codecs, starts, strict=True)]
        self._buffer("block_centres", centres, 0.0, self.n_blocks)
        lengths = [np.log(np.fmax(np.diff(edges), NARROWEST**2)) for edges in blocks]
        self._buffer("block_log_widths", lengths, 0.0, self.n_blocks)
        widths = [np.log(np.fmax(np.diff(c.all_score_edges), NARROWEST**2)) for c in codecs]
        self._buffer("log_widths", widths, -torch.inf, self.n_atoms)
        atoms = np.arange(self.n_atoms)
        of_atom = [np.clip(atoms, c.bins.start, c.bins.stop - 1) for c in codecs]
        bin_of_atom = torch.from_numpy(np.array(of_atom))
        of_bins = self.log_widths.gather(-1, bin_of_atom)
        self.register_buffer("bin_log_widths", of_bins, persistent=False)
        seen = torch.where(bin_of_atom == torch.from_numpy(atoms), of_bins, -torch.inf)
        self.register_buffer("log_widths_seen", seen, persistent=False)
        owner = zip(codecs, of_atom, strict=True)
        blocks_of = np.array([c.block[of_bin - c.bins.start] for c, of_bin in owner])
        self.register_buffer("block_of_atom", torch.from_numpy(blocks_of), persistent=False)
        self._buffer("gaussian_share", _gaussian_shares(codecs), 0.0, 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means and log deviations, of shape (n, m, 1), and (n, m, n_blocks) logits."""
        sizes = [1, 1, self.n_blocks]
        mu, s, eta = params.unflatten(1, (self.n_columns, -1)).split(sizes, dim=-1)
        return mu, _log_sigma(self.log_sigma, s, MOST_OF_TILTED).clamp(-6, 4), eta

    def _block_masses(self, mu: Tensor, log_sigma: Tensor) -> Tensor:
        """Return the Gaussian's mass in each block, of shape (n, m, n_blocks)."""
        u = (self.block_edges - mu) * torch.exp(-log_sigma)
        masses: Tensor = _NormalMasses.apply(u)
        if not self.has_singles:
            return masses
        at_centre = normal_log_prob(self.block_centres, mu, log_sigma)
        return torch.where(self.is_single, (at_centre + self.block_log_widths).exp(), masses)

    def _log_density(self, params: Tensor, values: Tensor) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        # Beyond, masses would be too small for float32.
        beyond = FARTHEST_MEAN * log_sigma.exp()
        mu = mu.clamp(self.ends[:, :1] - beyond, self.ends[:, 1:] + beyond)
        log_masses = self._block_masses(mu, log_sigma).clamp(min=1e-37).log()
        total = (log_masses + eta).logsumexp(-1)
        # Beyond the seen range numbers are as likely as the outermost; `log_volume` does the rest.
        inside = values.clamp(self.ends[:, 0], self.ends[:, 1])
        normal = normal_log_prob(inside, mu[..., 0], log_sigma[..., 0])
        blocks = torch.searchsorted(self.inner_edges, values.T.contiguous(), right=True).T
        return normal + eta.gather(-1, blocks[..., None])[..., 0] - total

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        atoms = self.atoms(values)[..., None]
        widths = self.bin_log_widths.expand(len(values), -1, -1).gather(-1, atoms)[..., 0]
        return self._log_density(params, values) + widths

    def surrogate(self, params: Tensor, values: Tensor) -> Tensor:
        tilted = self._log_density(params, values)
        mu, log_sigma, _ = self._split(params)
        gaussian = normal_log_prob(values, mu[..., 0], log_sigma[..., 0])
        return (1 - GAUSSIAN_SHARE) * tilted + GAUSSIAN_SHARE * gaussian

    def within_atoms(self, values: Tensor) -> Tensor:
        """Return where in their bins (0..1) values lie, which may be wider than what is known."""
        columns, atoms = torch.arange(self.n_columns, device=values.device), self.atoms(values)
        lengths = self.lengths[columns, atoms]
        at = (values - self.starts[columns, atoms]) / lengths
        return torch.where(lengths > 0, at.clamp(0, 1), torch.nan)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        logs = self._log_gaussian(mu, log_sigma, self.log_widths_seen, spread)
        return self._of_atoms(eta).div_(spread).add_(logs).softmax(-1)

    def expected(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        mu, log_sigma, eta = self._split(params)
        logs = self._log_gaussian(mu, log_sigma, self.log_widths, spread)
        tilted = self._of_atoms(eta).div_(spread).add_(logs).softmax(-1)
        return tilted.lerp_(logs.softmax(-1), self.gaussian_share)

    def _log_gaussian(
        self, mu: Tensor, log_sigma: Tensor, log_widths: Tensor, spread: float | Tensor
    ) -> Tensor:
        """Return logs of the Gaussian's widths times densities of atoms, but for a constant."""
        precision = torch.exp(-2 * log_sigma) / spread
        logs = (0.5 * precision * self.centres**2).neg_().add_(log_widths)
        return logs.addcmul_(mu * precision, self.centres)

    def _of_atoms(self, eta: Tensor) -> Tensor:
        return eta.gather(-1, self.block_of_atom.expand(len(eta), -1, -1))


def _log_sigma(of_columns: Tensor, s: Tensor, most: float) -> Tensor:
    """Return (n, m, 1) log deviations of rows: their columns', moved by at most `most`."""
    return of_columns[:, None] + most * torch.tanh(s / most)


def _gaussian_shares(codecs: list[NumericCodec]) -> list[Array]:
    """Return the share of the Gaussian alone in what is imputed, of each column."""
    smooth = [codec.scale != "normal" and codec.continuous for codec in codecs]
    return [np.array([GAUSSIAN_SHARE * of_column]) for of_column in smooth]
