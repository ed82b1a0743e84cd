"""A bundled real table, and ways to make cells missing on purpose."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.utils import check_random_state

Array = NDArray[Any]


def load_penguins() -> pd.DataFrame:
    """Return the Palmer penguins: 344 rows, 8 columns, 19 missing cells.

    Returns
    -------
    penguins : DataFrame of shape (344, 8)
        `species`, `island` and `sex` are categories, `year` an integer, the four measurements
        (millimetres and grams) are numbers.

    References
    ----------
    Horst, Hill, Gorman. palmerpenguins: Palmer Archipelago (Antarctica) penguin data. 2020.
    CC0 1.0.

    Examples
    --------
    >>> load_penguins()["species"].value_counts().to_dict()
    {'Adelie': 152, 'Gentoo': 124, 'Chinstrap': 68}
    """
    source = files("sklearn_cvae").joinpath("data", "penguins.csv")
    with source.open("r", encoding="utf-8") as file:
        frame = pd.read_csv(file)
    return frame.astype(dict.fromkeys(("species", "island", "sex"), "category"))


def hide_cells(
    X: pd.DataFrame, rate: float = 0.3, mechanism: str = "mcar", random_state: Any = None
) -> tuple[pd.DataFrame, Array]:
    """Make a share of the observed cells missing.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
    rate : float, default=0.3
        Share of the observed cells to hide, in each column.
    mechanism : {"mcar", "mar", "mnar"}, default="mcar"
        "mcar": completely at random. "mnar": by a logistic model of the column's own value.
        "mar": by a logistic model of a third of the columns, drawn at random, which themselves
        stay whole.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X_hidden : DataFrame
        A copy of X; integer and boolean columns that lost cells become nullable.
    hidden : ndarray of shape (n_samples, n_features), bool
        The cells that were hidden.

    Raises
    ------
    ValueError
        If the mechanism is another, the rate not in [0, 1), or a column name not unique.
    TypeError
        If X is no pandas DataFrame.

    Examples
    --------
    >>> X, hidden = hide_cells(load_penguins(), rate=0.2, random_state=0)
    >>> bool(X.isna().to_numpy()[hidden].all())
    True
    """
    if mechanism not in _MECHANISMS:
        raise ValueError(f"mechanism must be one of {list(_MECHANISMS)}, not {mechanism!r}.")
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be at least 0 and less than 1, not {rate!r}.")
    if not isinstance(X, pd.DataFrame):
        raise TypeError(f"X must be a pandas DataFrame, not a {type(X).__name__}; convert it.")
    if not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].unique().tolist()
        raise ValueError(f"X has duplicate column names {twice}; rename them.")
    rng = (
        np.random.RandomState(np.random.SeedSequence().generate_state(4))
        if random_state is None
        else check_random_state(random_state)
    )
    probabilities = _MECHANISMS[mechanism](X, rate, rng)
    hidden = (rng.random_sample(X.shape) < probabilities) & X.notna().to_numpy()
    frame = X.copy()
    for j, name in enumerate(X.columns):
        column = frame[name]
        if hidden[:, j].any() and column.dtype.kind in "iub" and not _nullable(column):
            column = column.astype(_nullable_dtype(column.dtype))
        frame[name] = column.mask(hidden[:, j])
    return frame, hidden


def _nullable_dtype(dtype: Any) -> Any:
    if dtype.kind == "b":
        return "boolean"
    return "UInt64" if dtype == np.uint64 else "Int64"


def _nullable(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.api.extensions.ExtensionDtype)


def _mcar(X: pd.DataFrame, rate: float, rng: np.random.RandomState) -> Array:
    return np.full(X.shape, rate)


def _mnar(X: pd.DataFrame, rate: float, rng: np.random.RandomState) -> Array:
    signs = rng.choice([-1.0, 1.0], size=X.shape[1])
    return np.column_stack(
        [_logistic(s * z, rate) for s, z in zip(signs, _scores(X).T, strict=True)]
    )


def _mar(X: pd.DataFrame, rate: float, rng: np.random.RandomState) -> Array:
    scores, d = _scores(X), X.shape[1]
    causes = rng.permutation(d)[: max(1, round(d / 3))]
    probabilities = np.zeros(X.shape)
    for j in set(range(d)) - set(causes.tolist()):
        mixed = scores[:, causes] @ rng.standard_normal(len(causes))
        probabilities[:, j] = _logistic(mixed / max(mixed.std(), 1e-12), rate)
    return probabilities


_MECHANISMS = {"mcar": _mcar, "mar": _mar, "mnar": _mnar}


def _scores(X: pd.DataFrame) -> Array:
    """Standardised columns: numbers as they are, anything else by its levels' order."""
    columns = []
    for name in X.columns:
        column = X[name]
        if not pd.api.types.is_numeric_dtype(column) or column.dtype.kind == "b":
            codes = pd.Series(pd.Categorical(column).codes, index=column.index)
            column = codes.where(codes >= 0)
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        spread = np.nanstd(numbers)
        z = (numbers - np.nanmean(numbers)) / (spread if spread > 0 else 1.0)
        columns.append(np.nan_to_num(z))
    return np.column_stack(columns)


def _logistic(z: Array, rate: float) -> Array:
    """Probabilities logistic in z whose mean is the rate."""
    if rate == 0:
        return np.zeros_like(z)
    shift = brentq(lambda b: expit(z + b).mean() - rate, -50, 50)
    return expit(z + shift)
