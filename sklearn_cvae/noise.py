"""Even and row-keyed uniforms, by which answers draw."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor

from sklearn_cvae.codecs import Cells

Array = NDArray[Any]


def chain_noise(n_draws: int, n_sweeps: int, n_components: int, n_columns: int) -> list[Tensor]:
    """Return the noise of chains of `n_draws` sweeps in all, or as many draws if there are none.

    Returns
    -------
    noise : list of Tensor of shape (n_chains, width), of length 1 + n_sweeps
        Of each chain's draw of a latent vector, then of each sweep's cells, too.
    """
    n_chains = -(-n_draws // max(n_sweeps, 1))
    noise = [shared_uniforms(n_chains, n_components)]
    width = n_components + n_columns
    for sweep in range(1, n_sweeps + 1):  # any number of columns, which Sobol points do not bear
        even = qmc.LatinHypercube(width, rng=np.random.default_rng(sweep)).random(n_chains)
        noise.append(torch.from_numpy(even.astype(np.float32)))
    return noise


def shared_uniforms(n_draws: int, n_components: int) -> Tensor:
    """Return (n_draws, n_components + 1) even uniforms; the last column chooses components."""
    n_points = 1 << max(n_draws - 1, 0).bit_length()
    points = qmc.Sobol(n_components + 1, rng=np.random.default_rng(0)).random(n_points)
    return torch.from_numpy(points[:n_draws].astype(np.float32))


class RowNoise(NamedTuple):
    """Uniforms that depend on a seed and each row's key alone, made when they are needed.

    A counter-based generator (splitmix64): rows can be drawn in any order, or left out.

    Parameters
    ----------
    seed : int
    keys : ndarray of shape (n,), uint64
    """

    seed: int
    keys: Array

    def again(self, repetition: int) -> RowNoise:
        """Return other noise of the same rows."""
        seed = _mix(np.array([self.seed], dtype=np.uint64) + np.uint64(repetition))
        return RowNoise(int(seed[0]), self.keys)

    def latent(self, rows: slice, width: int) -> Array:
        """Return uniforms of shape (n_rows, width), float32, for the latent draw."""
        counters = 2 * np.arange(width, dtype=np.uint64)
        return self._uniforms(rows, counters).astype(np.float32)

    def cell(self, rows: slice, column: int) -> Array:
        """Return uniforms of shape (n_rows,) for the cells of one column."""
        return self._uniforms(rows, np.array([2 * column + 1], dtype=np.uint64))[:, 0]

    def _uniforms(self, rows: slice, counters: Array) -> Array:
        start = _mix(self.keys[rows] ^ _mix(np.full(1, self.seed, dtype=np.uint64)))
        return (_mix(start[:, None] ^ _mix(counters)) >> np.uint64(11)) * 2.0**-53


def row_keys(cells: Cells) -> Array:
    """Return one key per row from its content; the k-th copy of a row gets a key of its own."""
    known = cells.visible | cells.given
    bits = np.where(known, cells.values, np.float32(0)).view(np.uint32)
    keys = np.zeros(len(bits), dtype=np.uint64)
    for column, shown in zip(bits.T, known.T, strict=True):
        keys = _mix(keys ^ (column.astype(np.uint64) * np.uint64(2) + shown.astype(np.uint64)))
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    new = np.r_[True, sorted_keys[1:] != sorted_keys[:-1]]
    start = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
    copy = np.empty(len(keys), dtype=np.uint64)
    copy[order] = np.arange(len(keys)) - start
    return _mix(keys + copy)


def _mix(x: Array) -> Array:
    """Scramble 64-bit integers (the finaliser of splitmix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
