"""Scores of imputations and predictions by draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

Array = NDArray[np.float64]


def crps(draws: Array, truth: Array) -> Array:
    """Return the continuous ranked probability score of each cell, by the fair estimator.

    Parameters
    ----------
    draws : ndarray of shape (n_draws, n_cells)
    truth : ndarray of shape (n_cells,)

    Returns
    -------
    scores : ndarray of shape (n_cells,)
        Mean distance to the truth less half the mean distance between two different draws;
        unbiased for the score of the distribution that was drawn from.
    """
    m = len(draws)
    weights = 2 * np.arange(1, m + 1) - m - 1
    between = 2 * (weights @ np.sort(draws, axis=0)) / (m * (m - 1))
    return np.abs(draws - truth).mean(axis=0) - between / 2


def energy_score(draws: Array, truth: Array) -> Array:
    """Return the energy score of each row: the CRPS of several numbers at once.

    Parameters
    ----------
    draws : ndarray of shape (n_draws, n_rows, n_numbers)
    truth : ndarray of shape (n_rows, n_numbers)

    Returns
    -------
    scores : ndarray of shape (n_rows,)
        Mean distance to the truth less half the mean distance between two different draws.
    """
    m = len(draws)
    between = sum(np.linalg.norm(draws - draw, axis=-1).sum(axis=0) for draw in draws)
    return np.linalg.norm(draws - truth, axis=-1).mean(axis=0) - between / (2 * m * (m - 1))


def ranks(draws: Array, truth: Array, seed: int) -> Array:
    """Return each truth's rank among its draws, 0 to n_draws, ties broken at random."""
    ties = (draws == truth).sum(axis=0)
    return (draws < truth).sum(axis=0) + np.random.default_rng(seed).integers(0, ties + 1)


def coverage(ranks: Array, n_draws: int, level: float) -> float:
    """Return the share of truths within the central interval of their draws.

    A truth among calibrated draws has each of the `n_draws + 1` ranks with one probability, so
    the interval leaves out `(1 - level) / 2` of the ranks at either end. Where that is not a
    whole number of ranks, a rank at the edge counts in part.
    """
    left_out = (1 - level) / 2 * (n_draws + 1)
    inner = np.minimum(ranks, n_draws - ranks)
    return float(np.clip(inner + 1 - left_out, 0, 1).mean())


def two_sample_auc(X_true: pd.DataFrame, X_imputed: pd.DataFrame, seed: int) -> float:
    """Return how well boosted trees tell imputed rows from true ones: 0.5 is not at all.

    One half of the rows is shown as it was, the other half as it was completed; cells that are
    missing in truth are missing in both.
    """
    imputed = X_imputed.where(X_true.notna())
    is_imputed = np.random.default_rng(seed).permutation(len(X_true)) % 2 == 1
    rows = pd.concat([X_true[~is_imputed], imputed[is_imputed]]).sort_index()
    categorical = [not pd.api.types.is_numeric_dtype(dtype) for dtype in X_true.dtypes]
    for name in rows.columns[categorical]:
        codes = pd.Series(pd.Categorical(rows[name]).codes, index=rows.index)
        rows[name] = codes.clip(upper=254).where(codes >= 0)
    model = HistGradientBoostingClassifier(categorical_features=categorical, random_state=seed)
    matrix = rows.to_numpy(dtype=float)
    return float(cross_val_score(model, matrix, is_imputed, cv=5, scoring="roc_auc").mean())
