"""The imputer: a `ConditionalVAE` as a transformer that fills missing cells."""

from __future__ import annotations

import numbers as number_types
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, MissingValues, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_cvae.codecs import Array
from sklearn_cvae.columns import as_pandas
from sklearn_cvae.estimator import ConditionalVAE
from sklearn_cvae.table import (
    add_columns,
    as_array,
    in_dtypes_of,
    is_frame,
    keep_columns,
    missing_cells,
    refuse_empty_ranges,
    replace_values,
)
from sklearn_cvae.validation import (
    POINT_STRATEGIES,
    checked_bounds,
    checked_table,
    features_kept,
    table_tags,
)


class CVAEImputer(TransformerMixin, BaseEstimator):
    """Fill missing cells with a `ConditionalVAE`, as a transformer.

    Parameters
    ----------
    estimator : ConditionalVAE or None, default=None
        The model to fit, cloned; None is `ConditionalVAE()`.
    missing_values : int, float, str or None, default=nan
        A value that stands for a missing cell, besides NaN, None and NA.
    strategy : {"mean", "median", "mode", "draw"}, default="mean"
        What to fill with; see `ConditionalVAE.impute`.
    sample_posterior : bool, default=False
        Same as `strategy="draw"`, by IterativeImputer's name.
    add_indicator : bool, default=False
        Whether to append a boolean column for each column with missing cells at fit.
    keep_empty_features : bool, default=False
        Whether to keep columns that had no cell at fit, which stay missing.
    min_value, max_value : float, None or array-like of shape (n_features,), default=-inf, inf
        Bounds of what is filled into numeric columns, in whole numbers in those of integers; None
        is no bound.
    random_state : int, RandomState instance or None, default=None
        Seed of the model, if it has none of its own, and of draws.

    Attributes
    ----------
    estimator_ : ConditionalVAE
        The fitted model.
    indicator_features_ : ndarray of int
        Positions of the columns that had missing cells at fit.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str
        Names of the columns of X, if all are strings.

    Examples
    --------
    >>> from sklearn_cvae import ConditionalVAE, CVAEImputer
    >>> from sklearn_cvae.datasets import load_penguins
    >>> imputer = CVAEImputer(ConditionalVAE(max_iter=5), random_state=0)
    >>> penguins = load_penguins()
    >>> imputer.fit_transform(penguins).isna().sum().sum()
    np.int64(0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [None, ConditionalVAE],
        "missing_values": [MissingValues()],
        "strategy": [StrOptions({*POINT_STRATEGIES, "draw"})],
        "sample_posterior": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "min_value": [None, Interval(number_types.Real, None, None, closed="both"), "array-like"],
        "max_value": [None, Interval(number_types.Real, None, None, closed="both"), "array-like"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: ConditionalVAE | None = None,
        *,
        missing_values: Any = np.nan,
        strategy: str = "mean",
        sample_posterior: bool = False,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        min_value: Any = -np.inf,
        max_value: Any = np.inf,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.missing_values = missing_values
        self.strategy = strategy
        self.sample_posterior = sample_posterior
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Passed to the model, which ignores it unless `condition_on_target=True`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : CVAEImputer
        """
        with features_kept(self):
            X = replace_values(checked_table(self, X, reset=True), self.missing_values)
            bounds = [checked_bounds(v, X.shape[1]) for v in (self.min_value, self.max_value)]
            refuse_empty_ranges(X, *bounds)
            missing = missing_cells(X)
            model = ConditionalVAE() if self.estimator is None else clone(self.estimator)
            if model.random_state is None:
                model.set_params(random_state=self.random_state)
            self.estimator_ = model.fit(X, y, sample_weight=sample_weight)
        self._bounds = bounds
        self._kept = np.flatnonzero(self.keep_empty_features | ~missing.all(axis=0))
        self.indicator_features_ = np.flatnonzero(missing.any(axis=0))
        return self

    def transform(self, X: Any) -> Any:
        """Fill the missing cells of X; see `ConditionalVAE.impute`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        X : DataFrame for a frame, ndarray for an array or if fitted on one
            Without columns that were empty at fit, unless `keep_empty_features`; with one
            boolean column per column of `indicator_features_`, if `add_indicator`.
        """
        check_is_fitted(self)
        self._validate_params()
        asked = checked_table(self, X, reset=False)
        X, model = replace_values(asked, self.missing_values), self.estimator_
        if is_frame(X) and not is_frame(model._table.schema.frame):
            X = as_array(X)
        X, numbers = model._read(X)
        missing = missing_cells(X)
        strategy = "draw" if self.sample_posterior else self.strategy
        (filled,) = model._imputed_numbers(
            numbers, np.any(missing, axis=1), 1, strategy, self.random_state
        )
        filled = model._table.clip(filled[:, : X.shape[1]], *self._bounds)  # without a target
        result = model._table.schema.fill(X, filled, missing & ~np.isnan(filled))
        result = keep_columns(in_dtypes_of(result, asked), self._kept)
        if self.add_indicator and len(self.indicator_features_):
            flags = missing[:, self.indicator_features_]
            result = add_columns(result, flags, self._indicator_names())
        # scikit-learn would make objects of the columns of another library's frame.
        asks_for_pandas = _get_output_config("transform", self)["dense"] == "pandas"
        return as_pandas(result) if asks_for_pandas and is_frame(result) else result

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        kept = names[self._kept]
        flags = self._indicator_names(names) if self.add_indicator else []
        return np.asarray([*kept, *flags], dtype=object)

    def _indicator_names(self, names: Array | None = None) -> list[str]:
        names = _check_feature_names_in(self, None) if names is None else names
        return [f"missingindicator_{names[j]}" for j in self.indicator_features_]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_kept")

    def __sklearn_tags__(self) -> Tags:
        return table_tags(super().__sklearn_tags__(), preserves_dtype=["float64", "float32"])
