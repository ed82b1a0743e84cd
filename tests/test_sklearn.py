"""scikit-learn's own checks, those it never runs on third parties, and its tools on real tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_cvae import ConditionalVAE, CVAEImputer

TINY = {"n_components": 2, "hidden_layer_sizes": (16,), "max_iter": 3}
WEIGHTS = "a weighted row is one draw of masks and noise, repeated rows are several"


def tiny_estimators():
    return [ConditionalVAE(**TINY), CVAEImputer(ConditionalVAE(**TINY))]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    tiny_estimators(),
    expected_failed_checks=lambda estimator: (
        {"check_sample_weight_equivalence_on_dense_data": WEIGHTS}
        if isinstance(estimator, ConditionalVAE)
        else {}
    ),
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


NEVER_YIELDED = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_transformer_preserve_dtypes",
]


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("estimator", tiny_estimators(), ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("check", NEVER_YIELDED)
def test_checks_that_third_parties_never_get(check, estimator):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


def test_features_in_a_pipeline_under_cross_validation(penguins):
    X, y = penguins.drop(columns=["species", "island"]), penguins["species"]
    features = small(n_components=4, hidden_layer_sizes=(32, 32), max_iter=10)
    scores = cross_val_score(make_pipeline(features, LogisticRegression(max_iter=1000)), X, y, cv=3)
    assert scores.mean() > y.value_counts(normalize=True).max() + 0.3


def test_the_imputer_in_a_pipeline_passes_names_and_dtypes_on(penguins):
    X, y = penguins.drop(columns="species"), penguins["species"]
    columns = ColumnTransformer(
        [("levels", OneHotEncoder(), ["island", "sex"])], remainder="passthrough"
    )
    pipeline = make_pipeline(
        CVAEImputer(small()), columns, HistGradientBoostingClassifier(max_iter=20)
    )
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9


def test_in_a_column_transformer(penguins):
    columns = ColumnTransformer(
        [
            ("numbers", small(), ["bill_length_mm", "body_mass_g"]),
            ("levels", OrdinalEncoder(), ["island"]),
        ]
    ).set_output(transform="pandas")
    Z = columns.fit_transform(penguins)
    assert list(Z.columns) == [*(f"numbers__conditionalvae{j}" for j in range(3)), "levels__island"]
    assert Z.index.equals(penguins.index)


def test_grid_search_gives_the_same_scores_on_every_backend(penguins):
    from joblib import parallel_backend

    mixed = penguins.sample(frac=1, random_state=0)  # each half is to have all species

    def search(n_jobs):
        grid = GridSearchCV(small(), {"n_components": [2, 4]}, cv=2, n_jobs=n_jobs, refit=False)
        return grid.fit(mixed).cv_results_["mean_test_score"]

    serial = search(1)
    assert np.isfinite(serial).all()
    assert len(set(serial)) > 1
    for backend in ("loky", "threading"):
        with parallel_backend(backend):
            np.testing.assert_array_equal(search(2), serial)


def test_grid_search_reaches_the_model_inside_the_imputer(penguins):
    X, y = penguins.drop(columns="species"), penguins["species"]
    pipeline = make_pipeline(
        CVAEImputer(small()),
        ColumnTransformer(
            [("levels", OneHotEncoder(), ["island", "sex"])], remainder="passthrough"
        ),
        LogisticRegression(max_iter=5000),
    )
    grid = GridSearchCV(pipeline, {"cvaeimputer__estimator__max_iter": [1, 2]}, cv=2)
    assert grid.fit(X, y).best_score_ > 0.8


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(penguins, library):
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    Z = small().set_output(transform=library).fit_transform(penguins)
    assert isinstance(Z, frame)
    assert list(Z.columns) == ["conditionalvae0", "conditionalvae1", "conditionalvae2"]
    filled = CVAEImputer(small()).set_output(transform=library).fit_transform(penguins)
    assert isinstance(filled, frame)
    assert list(filled.columns) == list(penguins.columns)


def test_the_imputer_gives_pandas_columns_of_polars_ones(penguins):
    asked = pl.from_pandas(penguins).with_columns(
        pl.col("body_mass_g").cast(pl.Float32),
        pl.col("year").cast(pl.Int128).alias("long"),
        day=pl.date(2024, 1, 1),
    )
    imputer = CVAEImputer(small(), add_indicator=True)
    expected = imputer.fit_transform(asked)
    filled = imputer.set_output(transform="pandas").transform(asked)
    assert list(filled.columns) == expected.columns
    kinds = filled.dtypes[["bill_depth_mm", "year", "long", "day"]].map(lambda dtype: dtype.kind)
    assert "".join(kinds) == "fiiM"
    assert filled["body_mass_g"].dtype == np.float32
    assert filled["missingindicator_sex"].dtype == bool
    for name in ("species", "bill_depth_mm", "body_mass_g", "long", "missingindicator_sex"):
        assert filled[name].tolist() == expected[name].to_list()


def test_the_imputer_gives_a_frame_for_a_frame_and_an_array_for_an_array(penguins):
    assert isinstance(CVAEImputer(small()).fit_transform(penguins), pd.DataFrame)
    assert isinstance(CVAEImputer(small()).fit_transform(pl.from_pandas(penguins)), pl.DataFrame)
    numbers = penguins[["bill_length_mm", "body_mass_g"]].to_numpy()
    filled = CVAEImputer(small()).fit_transform(numbers)
    assert isinstance(filled, np.ndarray)
    assert np.isfinite(filled).all()


def test_target_is_ignored_unless_asked_for(penguins):
    y = penguins["species"]
    with_y = small().fit(penguins, y).transform(penguins)
    np.testing.assert_array_equal(with_y, small().fit(penguins).transform(penguins))


def test_clone_keeps_every_parameter():
    model = ConditionalVAE(
        5, condition_features=["a"], likelihoods={"b": "histogram"}, device="cpu"
    )
    assert clone(model).get_params() == model.get_params()
