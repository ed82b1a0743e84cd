"""Scores of imputed tables."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[Any]


class ImputationErrors(NamedTuple):
    """Errors over hidden cells; NaN where a table has no cell of the kind.

    Parameters
    ----------
    rmse, mae : float
        Over numeric cells, pooled, in standard deviations of the column's training cells.
    accuracy : float
        Over categorical cells, pooled.
    """

    rmse: float
    mae: float
    accuracy: float


def imputation_errors(
    X_true: pd.DataFrame, X_hidden: pd.DataFrame, X_imputed: pd.DataFrame, hidden: Array
) -> ImputationErrors:
    """Compare imputed cells with the truth.

    Parameters
    ----------
    X_true : DataFrame of shape (n_samples, n_features)
        The table before cells were hidden.
    X_hidden : DataFrame of shape (n_samples, n_features)
        The table with hidden cells missing; its columns set the units of the errors.
    X_imputed : DataFrame of shape (n_samples, n_features)
    hidden : ndarray of shape (n_samples, n_features), bool
        The cells to score.

    Returns
    -------
    errors : ImputationErrors

    Examples
    --------
    >>> X = pd.DataFrame({"a": [0.0, 2.0, 4.0], "b": ["x", "y", "y"]})
    >>> hidden = np.array([[True, False], [False, False], [False, True]])
    >>> errors = imputation_errors(X, X.mask(hidden), X.fillna(0), hidden)
    >>> float(errors.rmse), float(errors.accuracy)
    (0.0, 1.0)
    """
    differences, hits = [np.empty(0)], [np.empty(0)]
    for j, name in enumerate(X_true.columns):
        rows = hidden[:, j]
        truth, imputed = X_true[name][rows], X_imputed[name][rows]
        if pd.api.types.is_numeric_dtype(truth) and truth.dtype.kind != "b":
            scale = X_hidden[name].to_numpy(dtype=float, na_value=np.nan)
            spread = np.nanstd(scale)
            error = imputed.to_numpy(dtype=float) - truth.to_numpy(dtype=float)
            differences.append(error / (spread if spread > 0 else 1.0))
        else:
            hits.append(imputed.to_numpy(dtype=object) == truth.to_numpy(dtype=object))
    error, hit = np.concatenate(differences), np.concatenate(hits).astype(float)
    return ImputationErrors(
        rmse=float(np.sqrt(np.mean(error**2))) if len(error) else np.nan,
        mae=float(np.mean(np.abs(error))) if len(error) else np.nan,
        accuracy=float(np.mean(hit)) if len(hit) else np.nan,
    )
