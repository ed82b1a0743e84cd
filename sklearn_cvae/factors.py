r"""Factor analysis of a table with missing cells: the linear model that training starts from.

.. math:: x = m + B c + W z + \epsilon, \quad z \sim N(0, I), \quad \epsilon \sim N(0, \Psi)

Given any of a row's cells, the posterior of z is known in closed form. The encoder starts from
it and the decoder from B and W, so that what the networks learn is what a linear model cannot say,
and what the conditions explain linearly is not in z.

References
----------
Rubin, Thayer. EM algorithms for ML factor analysis. Psychometrika 1982.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.networks import rounded_alike

N_ITERATIONS, MAX_EXACT, LEAST_LOADING = 40, 500, 1e-8
# Matrix kernels round differently for other shapes and alignments. Both are the same for all rows
# here, as no answer is to depend on other rows: so many rows at once, and factors to a multiple.
CHUNK, ALIGNED = 256, 8
RIDGES, UNKNOWN_SHARE = tuple(10.0 ** (k / 2) for k in range(13)), 0.1


class FactorAnalysis(nn.Module):
    """Factor analysis with missing cells, estimated once by `fit` and then fixed.

    Parameters
    ----------
    owner : Tensor of shape (n_features,), int64
        The column that each feature is of: cells are seen or not, with all their features.
    n_factors, n_condition : int

    Notes
    -----
    Before `fit` all loadings are zero, and the posterior is the prior whatever is seen.
    """

    owner: Tensor
    mean: Tensor
    scale: Tensor
    effects: Tensor
    loadings: Tensor
    noise: Tensor

    def __init__(self, owner: Tensor, n_factors: int, n_condition: int) -> None:
        super().__init__()
        n_features, self.n_factors = len(owner), n_factors
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("effects", torch.zeros(n_features, n_condition))
        self.register_buffer("loadings", torch.zeros(n_features, n_factors))
        self.register_buffer("noise", torch.ones(n_features))

    @torch.no_grad()
    def forward(self, x: Tensor, shown: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the factors given the features shown.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
        shown : Tensor of shape (n, n_columns)
            1 where a cell is seen, else 0.
        c : Tensor of shape (n, n_condition)

        Returns
        -------
        loc, log_scale : Tensor of shape (n, n_factors)
        """
        seen = shown[:, self.owner]
        centred = (x - self.mean - rounded_alike(c, self.effects)) / self.scale * seen
        k = self.n_factors
        loadings = F.pad(self.loadings, (0, -k % ALIGNED))
        asked = centred @ (loadings / self.noise[:, None])
        precisions = self._precisions(shown.shape[1], loadings, self.noise)
        loc, variance = torch.zeros_like(asked), torch.ones_like(asked)
        for rows, patterns in _by_what_is_shown(shown):
            loc[rows], covariances = _posterior(asked[rows], patterns, precisions)
            variance[rows] = covariances.diagonal(dim1=1, dim2=2)
        return loc[:, :k], variance[:, :k].log() / 2

    @torch.no_grad()
    def fit(self, x: Tensor, shown: Tensor, c: Tensor, floor: Tensor) -> None:
        """Estimate by expectation-maximisation, in float64; parameters as in `forward`.

        Parameters
        ----------
        floor : Tensor of shape (n_features,), float64
            The least share of each feature's variance that is noise.
        """
        x, shown, c = x.double(), shown.double(), c.double()
        seen = shown[:, self.owner]
        count = seen.sum(0).clamp(min=1)
        mean = (x * seen).sum(0) / count
        effects = _effects((x - mean) * seen, count / len(x), c)
        self.effects.copy_(effects)
        x = x - c @ effects.T
        mean = (x * seen).sum(0) / count
        scale = (((x - mean) ** 2 * seen).sum(0) / count).sqrt()
        scale = torch.where(scale > 1e-6, scale, 1.0)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if self.n_factors == 0:
            return
        x = (x - mean) / scale * seen
        loadings, noise = _leading_components(x, self.n_factors), torch.full_like(mean, 0.5)
        shift = torch.zeros_like(mean)
        for _ in range(N_ITERATIONS):
            loadings, noise, shift = self._em_step(x, shown, loadings, noise, shift, floor)
        self.mean.add_(scale * shift)
        loadings = loadings @ _independent_axes(loadings, noise)
        # What the algorithm shrinks to nothing may be too small for float32, which is slow.
        self.loadings.copy_(torch.where(loadings.abs() > LEAST_LOADING, loadings, 0.0))
        self.noise.copy_(noise)

    def _precisions(self, n_columns: int, loadings: Tensor, noise: Tensor) -> Tensor:
        """Return (n_columns, k, k): what seeing a column adds to the factors' precision."""
        k = loadings.shape[1]
        of_features = (loadings / noise[:, None])[:, :, None] * loadings[:, None, :]
        return loadings.new_zeros((n_columns, k, k)).index_add_(0, self.owner, of_features)

    def _em_step(
        self,
        x: Tensor,
        shown: Tensor,
        loadings: Tensor,
        noise: Tensor,
        shift: Tensor,
        floor: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Update loadings, whose prior is N(0, 1), noise and mean by one step of the algorithm."""
        d, k = loadings.shape
        of_columns, cross = x.new_zeros((shown.shape[1], (k + 1) ** 2)), x.new_zeros((d, k + 1))
        weighted = loadings / noise[:, None]
        precisions = self._precisions(shown.shape[1], loadings, noise)
        for rows, patterns in _by_what_is_shown(shown):
            centred = (x[rows] - shift) * patterns[:, self.owner]
            loc, covariances = _posterior(centred @ weighted, patterns, precisions)
            z = torch.cat([loc, torch.ones_like(loc[:, :1])], dim=1)
            of_pattern = z.unflatten(0, (len(patterns), -1))
            second = of_pattern.mT @ of_pattern
            second[:, :k, :k] += of_pattern.shape[1] * covariances
            of_columns += patterns.T @ second.flatten(1)
            cross += x[rows].T @ z
        gram = of_columns[self.owner].unflatten(1, (k + 1, k + 1))
        gram.diagonal(dim1=1, dim2=2)[:, :k] += noise[:, None]
        gram[:, k, k] += 1e-6
        solution = torch.linalg.solve(gram, cross)
        # Each column's regression on the factors costs it k + 1 degrees of freedom.
        freedom = (shown.sum(0)[self.owner] - k - 1).clamp(min=1)
        residual = (x**2).sum(0) - (solution * cross).sum(1)
        variance = torch.maximum(residual / freedom, floor).clamp(max=1.0)
        return solution[:, :k], variance, solution[:, k]


def _effects(centred: Tensor, share: Tensor, c: Tensor) -> Tensor:
    """Return the (n_features, n_condition) ridge regression of features on conditions.

    Cells that are not seen are zeros in `centred`; `share` of a feature's are seen. A few rows'
    worth of unknown conditions, all zeros, keep the mean what it is where nothing is known. Each
    feature's penalty is the one of `RIDGES` with the least generalised cross-validation error:
    numbers have many inputs, by which few rows are soon learned by heart.

    References
    ----------
    Golub, Heath, Wahba. Generalized Cross-Validation as a Method for Choosing a Good Ridge
    Parameter. Technometrics 1979.
    """
    n = len(c)
    total = c.sum(0)
    values, axes = torch.linalg.eigh(
        c.T @ c - torch.outer(total, total) / (n * (1 + UNKNOWN_SHARE))
    )
    values = values.clamp(min=0)
    cross = axes.T @ (c.T @ centred / share)
    penalties = torch.tensor(RIDGES, dtype=c.dtype, device=c.device)
    shrunk = 1 / (values + penalties[:, None])
    explained = (2 * shrunk - values * shrunk.square()) @ cross.square()
    residual = (centred.square().sum(0) / share - explained).clamp(min=0)
    freedom = ((values * shrunk).sum(1)[:, None] / (n * share)).clamp(max=1 - 1 / n)
    best = (residual / (1 - freedom).square()).argmin(dim=0)
    return (axes @ (shrunk[best].T * cross)).T


def _by_what_is_shown(shown: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield some rows at a time, and the columns that they show: one pattern, or one for each.

    Rows that show all that any does are alike; those that show nothing are left out.
    """
    most = shown.amax(dim=0, keepdim=True)
    whole = (shown == most).all(dim=1)
    if whole.any():
        yield from ((rows, most) for rows in whole.nonzero()[:, 0].split(CHUNK))
    partial = ~whole & shown.any(dim=1)
    if partial.any():
        yield from ((rows, shown[rows]) for rows in partial.nonzero()[:, 0].split(CHUNK))


def _posterior(asked: Tensor, patterns: Tensor, precisions: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return means (n, k) and covariances of the factors, given their rows' patterns.

    Parameters
    ----------
    asked : Tensor of shape (n, k)
        :math:`W^T \Psi^{-1} (x - m - B c)`, of what is seen.
    patterns : Tensor of shape (n, n_columns), or (1, n_columns) if it is one for all rows
    precisions : Tensor of shape (n_columns, k, k)

    Returns
    -------
    loc : Tensor of shape (n, k)
    covariances : Tensor of shape (n, k, k) or (1, k, k)
    """
    eye = torch.eye(asked.shape[1], dtype=asked.dtype, device=asked.device)
    padded = F.pad(patterns, (0, 0, 0, CHUNK - len(patterns)))
    columns = torch.addmm(eye.flatten(), padded, precisions.mT.flatten(1))[: len(patterns)]
    # Column by column, as LAPACK has them, matrices are factorised and inverted where they lie.
    matrices = columns.unflatten(1, eye.shape).mT
    torch.linalg.cholesky(matrices, out=matrices)
    torch.cholesky_inverse(matrices, out=matrices)
    # A row times a matrix is several times faster than the matrix, symmetric, times a column.
    return (asked[:, None] @ matrices.mT.expand(len(asked), -1, -1))[:, 0], matrices


def _leading_components(x: Tensor, k: int) -> Tensor:
    """Return (d, k) loadings to begin with: approximate ones of columns of many levels."""
    scaled = x / len(x) ** 0.5
    if min(scaled.shape) > MAX_EXACT:
        found = randomized_svd(scaled.cpu().numpy(), k, random_state=0)
        _, s, axes = (torch.from_numpy(part).to(x.device) for part in found)
    else:
        _, s, axes = torch.linalg.svd(scaled, full_matrices=False)
    loadings = x.new_zeros((x.shape[1], k))
    loadings[:, : len(s[:k])] = axes[:k].T * s[:k]
    return loadings


def _independent_axes(loadings: Tensor, noise: Tensor) -> Tensor:
    """Return the rotation after which a whole row's factors are independent a posteriori."""
    weighted = loadings / noise.sqrt()[:, None]
    return torch.linalg.eigh(weighted.T @ weighted)[1].flip(1)
