r"""A mixture of Gaussians and levels for tables with missing cells, in closed form.

.. math:: p(x) = \sum_k w_k \, N(x_{num}; m_k, S_k) \prod_j \pi_{kj}(x_j)

Given any of a row's cells, the distribution of every other number's score is known in closed form,
a mixture of Gaussians. Categories tell which part a row is of; they are not predicted.

References
----------
Little, Schluchter. Maximum Likelihood Estimation for Mixed Continuous and Categorical Data with
Missing Values. Biometrika 1985.
Ghahramani, Jordan. Supervised Learning from Incomplete Data via an EM Approach. NIPS 1993.
Fraley, Raftery. Bayesian Regularization for Normal Mixture Estimation and Model-Based Clustering.
Journal of Classification 2007 (the prior of the covariances).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.kinds import Kind, Numeric
from sklearn_cvae.priors import distant_rows, nearest

MAX_PARTS, ROWS_PER_PART, NUMBERS_TIMES_PARTS, MAX_NUMBERS = 50, 40, 600, 64
MAX_ROWS = 2_000
N_ITERATIONS, EVERYWHERE_EVERY = 15, 5
# A part that a row is surely not of need not be looked at again at every step.
LEAST_SHARE = 1e-4
ROWS_OF_LEVELS, MAX_LEVELS = 2.0, 100
LEAST_VARIANCE = 1e-3
# Matrix kernels round differently for other alignments; see `factors`.
ALIGNED = 8
# So many numbers more, at least, that no table has: they fill up what rows hide.
N_IDLE = ALIGNED - 1
LOG_2PI = math.log(2 * math.pi)


def usual_parts(n_rows: int, n_numbers: int) -> int:
    """Return how many parts a table can bear; 0 if it has no numbers, or too many of them.

    Examples
    --------
    >>> usual_parts(100, 4), usual_parts(5_000, 8), usual_parts(5_000, 50), usual_parts(99, 784)
    (2, 50, 12, 0)
    """
    if not 0 < n_numbers <= MAX_NUMBERS:
        return 0
    most = min(MAX_PARTS, NUMBERS_TIMES_PARTS // n_numbers)
    return max(1, min(most, n_rows // ROWS_PER_PART))


class _Alike(NamedTuple):
    """Rows that hide about as many numbers: at most h, a multiple of `ALIGNED`.

    Parameters
    ----------
    rows : Tensor of shape (n,), int64
    at : Tensor of shape (n, h), int64
        Positions of the numbers that a row hides, then of idle ones.
    entries : Tensor of shape (n, h, h), int64
        Their places in a flat matrix.
    """

    rows: Tensor
    at: Tensor
    entries: Tensor

    def chosen(self, is_chosen: Tensor) -> _Alike:
        """Return some of the rows, given which of all rows are chosen."""
        some = is_chosen[self.rows].nonzero()[:, 0]
        return self if len(some) == len(self.rows) else _Alike(*(part[some] for part in self))


class Cells(NamedTuple):
    """Some rows' cells, and which are shown; float64.

    Parameters
    ----------
    numbers : Tensor of shape (n, p)
        Scores, zero where not shown.
    shown : Tensor of shape (n, p)
        1 where a number is shown, else 0.
    levels : Tensor of shape (n, q, n_levels)
        1 at each level that is shown, else 0.
    alike : list of _Alike
        All rows, by how many numbers they hide.
    """

    numbers: Tensor
    shown: Tensor
    levels: Tensor
    alike: list[_Alike]


class _Gaussian(NamedTuple):
    """One part's Gaussian, by its precision."""

    mean: Tensor
    precision: Tensor
    log_det: Tensor


class _Hidden(NamedTuple):
    r"""What a Gaussian says of rows' hidden numbers (h), given those that are shown (s).

    Parameters
    ----------
    alike : _Alike
        The rows.
    pulled : Tensor of shape (n, h)
        :math:`v = \Lambda_{hs} (x_s - m_s)`, of the precision :math:`\Lambda`.
    root : Tensor of shape (n, h, h)
        Cholesky factors of :math:`\Lambda_{hh}`.
    """

    alike: _Alike
    pulled: Tensor
    root: Tensor

    def log_density(self) -> Tensor:
        """Return (n,): what hiding these adds to the log densities of the others."""
        white = torch.linalg.solve_triangular(self.root, self.pulled[:, :, None], upper=False)
        log_diagonal = self.root.diagonal(dim1=1, dim2=2).log()
        return white.square().sum((1, 2)) / 2 - log_diagonal.sum(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return how far from their means they are expected, (n, h), and their covariances."""
        covariances = torch.cholesky_inverse(self.root)
        return -(self.pulled[:, None] @ covariances)[:, 0], covariances


class LocationMixture(nn.Module):
    """The mixture, estimated once by `fit` and then fixed; all in float64.

    Parameters
    ----------
    kinds : sequence of Kind
        The table's columns. Categories of more than 100 levels are not looked at.
    n_parts : int
    """

    numbers_at: Tensor
    categories_at: Tensor
    log_weight: Tensor
    means: Tensor
    covariances: Tensor
    frequencies: Tensor

    def __init__(self, kinds: Sequence[Kind], n_parts: int) -> None:
        super().__init__()
        numbers = [kind for kind in kinds if isinstance(kind, Numeric)]
        few = [k for k in kinds if not isinstance(k, Numeric) and k.n_atoms <= MAX_LEVELS]
        none = torch.empty(0, dtype=torch.long)
        at = [torch.cat([none, *(k.columns for k in group)]) for group in (numbers, few)]
        self.register_buffer("numbers_at", at[0], persistent=False)
        self.register_buffer("categories_at", at[1], persistent=False)
        self.n_levels = max((kind.n_atoms for kind in few), default=1)
        p = math.ceil((len(self.numbers_at) + N_IDLE) / ALIGNED) * ALIGNED
        even = torch.full((n_parts, len(self.categories_at), self.n_levels), 1 / self.n_levels)
        for name, start in {
            "log_weight": torch.full((n_parts,), -math.log(n_parts)),
            "means": torch.zeros((n_parts, p)),
            "covariances": torch.eye(p).repeat(n_parts, 1, 1),
            "frequencies": even,
        }.items():
            self.register_buffer(name, start.double())

    @torch.no_grad()
    def forward(
        self, kinds: Sequence[Kind], values: Tensor, shown: Tensor, spread: float | Tensor
    ) -> list[Tensor | None]:
        """Return each kind's (n, m, n_atoms) probabilities of its atoms, None of categories.

        Parameters
        ----------
        kinds : sequence of Kind
            The same as before.
        values : Tensor of shape (n, d)
        shown : Tensor of shape (n, d), bool
            Cells that are known, as data or as conditions.
        spread : float
            How many times wider than the mixture says distributions are taken to be.
        """
        cells = self._cells(values, shown)
        log_joint, means, variances = self._log_of_levels(cells), [], []
        for k, gaussian in enumerate(self._gaussians()):
            mean, variance = _with_means(cells, gaussian), torch.zeros_like(cells.numbers)
            log_density, pulled = _as_if_all_shown(cells, gaussian)
            for hidden in _hidden(cells.alike, pulled, gaussian):
                rows, at, _ = hidden.alike
                log_density[rows] += hidden.log_density()
                shift, covariances = hidden.moments()
                mean[rows] = mean[rows].scatter_add(1, at, shift)
                of_cells = covariances.diagonal(dim1=1, dim2=2)
                variance[rows] = variance[rows].scatter(1, at, of_cells)
            log_joint[:, k] += log_density
            means.append(mean)
            variances.append(variance)
        share, mean = log_joint.softmax(dim=1).float(), torch.stack(means, dim=1).float()
        variance = torch.stack(variances, dim=1).clamp(min=1e-9)
        deviation = (variance * spread).sqrt().float()
        probs: list[Tensor | None] = []
        first = 0
        for kind in kinds:
            if not isinstance(kind, Numeric):
                probs.append(None)
                continue
            own = slice(first, first := first + kind.n_columns)
            probs.append(kind.of_normals(share, mean[..., own], deviation[..., own]))
        return probs

    def _cells(self, values: Tensor, shown: Tensor) -> Cells:
        of_numbers = shown[:, self.numbers_at].double()
        further = (0, self.means.shape[1] - len(self.numbers_at))
        levels = values[:, self.categories_at].long().clamp(0, self.n_levels - 1)
        return Cells(
            F.pad(values[:, self.numbers_at].double() * of_numbers, further),
            F.pad(of_numbers, further),
            F.one_hot(levels, self.n_levels) * shown[:, self.categories_at, None].double(),
            _by_how_many_hidden(of_numbers, self.means.shape[1]),
        )

    def _gaussians(self) -> list[_Gaussian]:
        roots = torch.linalg.cholesky(self.covariances)
        log_dets = 2 * roots.diagonal(dim1=1, dim2=2).log().sum(1)
        parts = zip(self.means.clone(), torch.cholesky_inverse(roots), log_dets, strict=True)
        return [_Gaussian(*part) for part in parts]

    def _log_of_levels(self, cells: Cells) -> Tensor:
        """Return (n, n_parts): the log of each part's weight and of the levels' probabilities."""
        log_levels = cells.levels.flatten(1) @ self.frequencies.log().flatten(1).T
        return log_levels + self.log_weight

    @torch.no_grad()
    def fit(
        self, kinds: Sequence[Kind], values: Tensor, observed: Tensor, generator: torch.Generator
    ) -> None:
        """Estimate by expectation-maximisation, on at most 2,000 rows.

        Covariances are shrunk to their mean, which counts as many rows as there are numbers.

        Parameters
        ----------
        kinds : sequence of Kind
            The same as before.
        values : Tensor of shape (n, d)
        observed : Tensor of shape (n, d), bool
        generator : torch.Generator
            Draws the rows that the parts start from.
        """
        cells = self._cells(values[:MAX_ROWS], observed[:MAX_ROWS])
        variance, floor = _variances(cells), torch.ones_like(self.means[0])
        noise = [
            torch.full((kind.n_columns,), kind.noise_floor)
            for kind in kinds
            if isinstance(kind, Numeric)
        ]
        floor[: len(self.numbers_at)] = torch.cat(noise).to(floor)
        floor *= variance.clamp(min=LEAST_VARIANCE)
        share = self._first_shares(cells, generator)
        self.means.copy_(share.T @ cells.numbers / (share.T @ cells.shown + 1))
        self.covariances.copy_(torch.diag(floor + variance / 2))
        self._update_levels(cells, share)
        for step in range(N_ITERATIONS):
            everywhere = step < 2 or step % EVERYWHERE_EVERY == 0
            share = self._em_step(cells, share, floor, everywhere)

    def _first_shares(self, cells: Cells, generator: torch.Generator) -> Tensor:
        """Return (n, n_parts): nine tenths for the nearest of some distant rows."""
        x, n_parts = torch.cat([cells.numbers, cells.levels.flatten(1)], dim=1), len(self.means)
        centres = distant_rows(x, torch.ones_like(x[:, 0]), n_parts, generator)
        for _ in range(N_ITERATIONS):
            share = nearest(centres, x)
            centres = share.T @ x / share.sum(0).clamp(min=1)[:, None]
        return 0.9 * nearest(centres, x) + 0.1 / n_parts

    def _update_levels(self, cells: Cells, share: Tensor) -> None:
        """Update weights and levels' frequencies, the latter with two rows of the table's own."""
        n, n_parts = share.shape
        self.log_weight.copy_(((share.sum(0) + 1) / (n + n_parts)).log())
        total = cells.levels.sum(0)
        usual = (total + 1 / self.n_levels) / (total.sum(-1, keepdim=True) + 1)
        counts = (share.T @ cells.levels.flatten(1)).unflatten(1, usual.shape)
        shown = counts.sum(-1, keepdim=True)
        self.frequencies.copy_((counts + ROWS_OF_LEVELS * usual) / (shown + ROWS_OF_LEVELS))

    def _em_step(self, cells: Cells, share: Tensor, floor: Tensor, everywhere: bool) -> Tensor:
        """Return the shares after a step that looks at all rows, or at each part's own."""
        log_joint, gaussians = self._log_of_levels(cells), self._gaussians()
        for k, gaussian in enumerate(gaussians):
            chosen = share[:, k] > (-1 if everywhere else LEAST_SHARE)
            log_joint[:, k] += _log_density(cells, chosen, gaussian)
        share = log_joint.softmax(dim=1)
        scatter = torch.stack(
            [self._move(cells, k, *of) for k, of in enumerate(zip(gaussians, share.T, strict=True))]
        )
        mass, n_numbers = share.sum(0), len(self.numbers_at)
        usual = scatter.sum(0) / len(share)
        shrunk = (scatter + n_numbers * usual) / (mass + n_numbers)[:, None, None]
        shrunk[:, n_numbers:] = 0  # the same idle numbers in each part
        self.covariances.copy_((shrunk + shrunk.mT) / 2 + torch.diag(floor))
        self._update_levels(cells, share)
        return share

    def _move(self, cells: Cells, k: int, gaussian: _Gaussian, share: Tensor) -> Tensor:
        """Move a part's mean, and return the expected squares around it, summed over its rows."""
        weight = torch.where(share > LEAST_SHARE, share, 0.0)
        completed, pulled = _with_means(cells, gaussian), _as_if_all_shown(cells, gaussian)[1]
        unseen = torch.zeros_like(gaussian.precision).flatten()
        chosen = [alike.chosen(weight > 0) for alike in cells.alike]
        for hidden in _hidden(chosen, pulled, gaussian):
            rows, at, entries = hidden.alike
            shift, covariances = hidden.moments()
            completed[rows] = completed[rows].scatter_add(1, at, shift)
            weighted = weight[rows][:, None, None] * covariances
            unseen.index_add_(0, entries.flatten(), weighted.flatten())
        if weight.any():
            self.means[k] = weight @ completed / weight.sum()
        centred = completed - self.means[k]
        return (weight[:, None] * centred).T @ centred + unseen.view_as(gaussian.precision)


def _variances(cells: Cells) -> Tensor:
    """Return the (p,) variances of what is shown."""
    count = cells.shown.sum(0).clamp(min=1)
    mean = cells.numbers.sum(0) / count
    return ((cells.numbers - mean) * cells.shown).square().sum(0) / count


def _by_how_many_hidden(shown: Tensor, p: int) -> list[_Alike]:
    """Group rows by how many numbers they hide, p of them with idle ones.

    How large a row's matrices are, and so how they are rounded, says the row alone.
    """
    n_hidden = (1 - shown).sum(dim=1).long()
    order = shown.argsort(dim=1, stable=True)
    place = torch.arange(p, device=shown.device)
    positions = F.pad(order, (0, p - order.shape[1]))
    idle = order.shape[1] + place - n_hidden[:, None]
    positions = torch.where(place < n_hidden[:, None], positions, idle)
    eights = torch.ceil(n_hidden / ALIGNED)
    groups = []
    for n_eights in eights.unique().tolist():
        rows = (eights == n_eights).nonzero()[:, 0]
        at = positions[rows, : int(n_eights) * ALIGNED]
        groups.append(_Alike(rows, at, at[:, :, None] * p + at[:, None, :]))
    return groups


def _as_if_all_shown(cells: Cells, gaussian: _Gaussian) -> tuple[Tensor, Tensor]:
    r"""Return log densities but for what hidden numbers add, (n,), and pulls on numbers, (n, p).

    Of :math:`d = x - m`, zero where hidden, and the precision :math:`\Lambda`,

    .. math::
        d_s^T S_{ss}^{-1} d_s = d^T \Lambda d - v^T \Lambda_{hh}^{-1} v, \quad
        \log |S_{ss}| = \log |S| + \log |\Lambda_{hh}|, \quad v = (\Lambda d)_h
    """
    centred = (cells.numbers - gaussian.mean) * cells.shown
    pulled = centred @ gaussian.precision
    constant = gaussian.log_det + cells.shown.sum(1) * LOG_2PI
    return -0.5 * ((pulled * centred).sum(1) + constant), pulled


def _hidden(alike: list[_Alike], pulled: Tensor, gaussian: _Gaussian) -> Iterator[_Hidden]:
    """Yield what a Gaussian says of what rows hide."""
    for some in alike:
        own = gaussian.precision.flatten().index_select(0, some.entries.flatten())
        root = torch.linalg.cholesky(own.view_as(some.entries))
        yield _Hidden(some, pulled[some.rows].gather(1, some.at), root)


def _log_density(cells: Cells, is_chosen: Tensor, gaussian: _Gaussian) -> Tensor:
    """Return the (n,) log densities of what rows show, minus infinity of those not chosen."""
    log_density, pulled = _as_if_all_shown(cells, gaussian)
    for hidden in _hidden([some.chosen(is_chosen) for some in cells.alike], pulled, gaussian):
        log_density[hidden.alike.rows] += hidden.log_density()
    return torch.where(is_chosen, log_density, -torch.inf)


def _with_means(cells: Cells, gaussian: _Gaussian) -> Tensor:
    """Return the (n, p) numbers, those that are hidden at their means."""
    return torch.where(cells.shown > 0, cells.numbers, gaussian.mean)
