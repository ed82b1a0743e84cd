"""Rubin's rules: one answer from several completed tables."""

from __future__ import annotations

import numbers as number_types
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

Array = NDArray[Any]


class Pooled(NamedTuple):
    """Pooled estimates, and how sure one can be of them.

    Parameters
    ----------
    estimate : ndarray of shape (n_parameters,)
    variance : ndarray of shape (n_parameters,)
        Total variance: within tables, and between them.
    dof : ndarray of shape (n_parameters,)
        Degrees of freedom of the t distribution of (estimate - truth) / std_error.
    missing_information : ndarray of shape (n_parameters,)
        Share of the total variance that is due to missing cells.
    """

    estimate: Array
    variance: Array
    dof: Array
    missing_information: Array

    @property
    def std_error(self) -> Array:
        """Standard errors, of shape (n_parameters,)."""
        return np.sqrt(self.variance)

    def interval(self, coverage: float = 0.95) -> Array:
        """Return confidence intervals, of shape (n_parameters, 2); unbounded where dof is 0.

        Parameters
        ----------
        coverage : float in (0, 1), default=0.95

        Raises
        ------
        ValueError
            If the coverage is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must be between 0 and 1, such as 0.95, got {coverage!r}.")
        # No degree of freedom is left where tables differ and none has a variance of its own.
        quantile = np.where(self.dof > 0, t.ppf(0.5 + coverage / 2, self.dof), np.inf)
        half = quantile * self.std_error
        return np.stack([self.estimate - half, self.estimate + half], axis=-1)


def pool(estimates: ArrayLike, variances: ArrayLike, dof: float | None = None) -> Pooled:
    r"""Combine an analysis of each of m completed tables by Rubin's rules.

    .. math:: \bar Q = \frac{1}{m} \sum_i Q_i, \quad
        T = \frac{1}{m} \sum_i U_i + \left(1 + \frac{1}{m}\right) B

    with B the variance of the estimates between tables.

    Parameters
    ----------
    estimates : array-like of shape (m,) or (m, n_parameters)
        The estimates from each table, such as regression coefficients; m of at least 2.
    variances : array-like of the same shape
        Their squared standard errors.
    dof : float or None, default=None
        Degrees of freedom that the analysis would have without missing cells, for Barnard and
        Rubin's small-sample rule; None means many.

    Returns
    -------
    pooled : Pooled

    Raises
    ------
    ValueError
        For fewer than two tables, other shapes, parameters in another order (of pandas series),
        numbers that are not finite, negative variances, or degrees of freedom not above 0.

    References
    ----------
    Rubin. Multiple Imputation for Nonresponse in Surveys. Wiley 1987.
    Barnard, Rubin. Small-sample degrees of freedom with multiple imputation. Biometrika 1999.

    Examples
    --------
    >>> pooled = pool([1.0, 1.2, 1.1], [0.04, 0.05, 0.045])
    >>> pooled.estimate.round(2), pooled.std_error.round(3)
    (array([1.1]), array([0.242]))
    """
    problems = []
    labels = [*_labels(estimates), *_labels(variances)]
    if any(names != labels[0] for names in labels):
        problems.append("estimates and variances name other parameters, or in other orders")
    q, u = (np.asarray(a, dtype=float) for a in (estimates, variances))
    if dof is not None and not (isinstance(dof, number_types.Real) and dof > 0):
        problems.append(f"dof must be above 0, got {dof!r}")
    if q.shape != u.shape or q.ndim not in (1, 2):
        problems.append(f"estimates {q.shape} and variances {u.shape} must both be (m, k) or (m,)")
    elif len(q) < 2:
        problems.append(f"pooling needs at least 2 completed tables, got {len(q)}")
    if not np.isfinite(q).all() or not np.isfinite(u).all():
        problems.append("estimates and variances must be finite")
    if (u < 0).any():
        problems.append("variances must not be negative; they are squared standard errors")
    if problems:
        raise ValueError("; ".join(problems) + ".")
    m, q, u = len(q), q.reshape(len(q), -1), u.reshape(len(u), -1)
    between = (1 + 1 / m) * q.var(axis=0, ddof=1)
    total = u.mean(axis=0) + between
    share = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
    with np.errstate(divide="ignore"):
        freedom = (m - 1) / share**2
        if dof is not None and dof < np.inf:
            observed = (dof + 1) / (dof + 3) * dof * (1 - share)
            freedom = 1 / (1 / freedom + 1 / observed)
    return Pooled(q.mean(axis=0), total, freedom, share)


def _labels(table: Any) -> list[list[Any]]:
    """Return the parameters' names, if pandas gives them: of the columns, or of each series."""
    if hasattr(table, "columns"):
        return [list(table.columns)]
    rows = table if isinstance(table, (list, tuple)) else []
    return [list(row.index) for row in rows if hasattr(row, "dtype") and hasattr(row, "index")]
