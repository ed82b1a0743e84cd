"""Checks of what users pass in; each names the problem and the remedy."""

from __future__ import annotations

import contextlib
import numbers as number_types
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from sklearn_cvae.codecs import Array
from sklearn_cvae.table import as_table, check_cells

POINT_STRATEGIES = ("mean", "median", "mode")
FEATURES = ("n_features_in_", "feature_names_in_")


def table_tags(tags: Tags, preserves_dtype: list[str]) -> Tags:
    tags.input_tags.allow_nan = True
    tags.input_tags.categorical = True
    tags.input_tags.string = True
    tags.input_tags.sparse = False
    if tags.transformer_tags is not None:
        tags.transformer_tags.preserves_dtype = preserves_dtype
    return tags


def checked_table(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return X as a frame or an array; refuse what cannot be modelled."""
    X = as_table(X)
    if X.shape[1] == 0:
        raise ValueError(f"0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
    if X.shape[0] == 0:
        raise ValueError(f"0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
    check_cells(X)
    validate_data(estimator, X, skip_check_array=True, reset=reset)
    return X


@contextlib.contextmanager
def features_kept(estimator: BaseEstimator) -> Iterator[None]:
    """Put back which features the last fit saw if this one fails, so that its model still works."""
    fitted = vars(estimator)
    before = {name: fitted[name] for name in FEATURES if name in fitted}
    try:
        yield
    except BaseException:
        for name in FEATURES:
            fitted.pop(name, None)
        fitted.update(before)
        raise


def refuse_changed(estimator: BaseEstimator, learned_with: dict[str, Any]) -> None:
    """Raise ValueError if parameters are not those that the fitted model was learned with."""
    changed = [
        f"{name}={getattr(estimator, name)!r}, learned with {value!r}"
        for name, value in learned_with.items()
        if getattr(estimator, name) is not value
        and not np.array_equal(getattr(estimator, name), value)
    ]
    if changed:
        raise ValueError(
            f"The fitted model has other parameters than were set since: {'; '.join(changed)}. "
            "Set them back, or fit anew (warm_start=False)."
        )


def checked_weight(sample_weight: Any, n: int) -> Array:
    weight = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float32)
    if (weight < 0).any() or not (weight > 0).any():
        raise ValueError("sample_weight must not be negative, nor zero for all rows.")
    return weight


def checked_sizes(hidden_layer_sizes: Any) -> list[int]:
    sizes = [int(size) for size in hidden_layer_sizes]
    if any(size < 1 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be positive, got {sizes}.")
    return sizes


def check_strategy(strategy: str, n_imputations: int) -> None:
    if strategy not in (*POINT_STRATEGIES, "draw"):
        raise ValueError(
            f"strategy must be one of {[*POINT_STRATEGIES, 'draw']}, got {strategy!r}."
        )
    if not isinstance(n_imputations, number_types.Integral) or n_imputations < 1:
        raise ValueError(f"n_imputations must be an integer of at least 1, got {n_imputations!r}.")
    if n_imputations > 1 and strategy != "draw":
        raise ValueError(
            f"{n_imputations} imputations by strategy={strategy!r} would all be equal; "
            "pass strategy='draw'."
        )


def checked_bounds(value: Any, n_features: int) -> Array:
    try:
        bounds = np.asarray(np.nan if value is None else value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"min_value and max_value take numbers, got {value!r}.") from error
    if bounds.ndim and bounds.shape != (n_features,):
        raise ValueError(f"min_value and max_value take one number, or {n_features} of them.")
    return np.broadcast_to(bounds, (n_features,))


def random_source(random_state: Any) -> np.random.RandomState:
    """Return a RandomState; None draws fresh entropy and leaves numpy's global state alone."""
    if random_state is None:
        return np.random.RandomState(np.random.SeedSequence().generate_state(4))
    return check_random_state(random_state)


def draw_seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))


def chosen(choice: Any, choices: dict[str, type[Any]]) -> Any:
    """Return the object that a name stands for, or the object that was passed itself."""
    return choices[choice]() if isinstance(choice, str) else choice


def check_count(name: str, value: Any, at_least: int) -> None:
    """Raise unless a value is a whole number that is large enough."""
    if not isinstance(value, number_types.Integral) or value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}, got {value!r}.")
