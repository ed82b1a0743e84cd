"""Rubin's rules, by hand and against statsmodels on a real regression."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.imputation.bayes_mi import MI

from sklearn_cvae import ConditionalVAE, pool


class Completed:
    """Hands completed tables to statsmodels' multiple imputation, one after the other."""

    def __init__(self, tables):
        self.tables = iter(tables)

    def update(self):
        self.data = next(self.tables)


@pytest.fixture(scope="module")
def completed(penguins):
    numbers = penguins.select_dtypes("number").drop(columns="year").astype(float)
    rng = np.random.default_rng(0)
    holes = numbers.mask(rng.random(numbers.shape) < 0.2)
    model = ConditionalVAE(max_iter=10, random_state=0).fit(holes)
    tables = model.impute(holes, n_imputations=5, strategy="draw", random_state=0)
    return [table.astype(float) for table in tables]


def regression(table):
    return sm.OLS(table["body_mass_g"], sm.add_constant(table[["bill_length_mm", "bill_depth_mm"]]))


def test_pool_agrees_with_statsmodels_on_a_regression(completed):
    fits = [regression(table).fit() for table in completed]
    pooled = pool([f.params for f in fits], [f.bse**2 for f in fits])

    def arguments(imputer):
        model = regression(imputer)
        return [model.endog, model.exog]

    expected = MI(
        Completed(completed), sm.OLS, model_args_fn=arguments, nrep=5, burn=0, skip=0
    ).fit()
    assert np.allclose(pooled.estimate, expected.params)
    assert np.allclose(pooled.variance, np.diag(expected.cov_params()))
    assert np.allclose(pooled.missing_information, expected.fmi)
    assert (pooled.interval(0.95)[:, 0] < pooled.estimate).all()


def test_pool_by_hand():
    pooled = pool([[1.0, 5.0], [3.0, 5.0]], [[1.0, 4.0], [1.0, 4.0]])
    assert pooled.estimate.tolist() == [2.0, 5.0]
    assert pooled.variance.tolist() == [1.0 + 1.5 * 2.0, 4.0]
    assert pooled.dof.tolist() == [1 / 0.75**2, np.inf]
    small = pool([1.0, 3.0], [1.0, 1.0], dof=10)
    assert small.dof[0] < 1 / 0.75**2
    assert np.isclose(pool([1.0, 1.0], [4.0, 4.0]).interval()[0, 1], 1 + 1.959964 * 2)


def test_pool_names_every_problem():
    with pytest.raises(ValueError, match=r"at least 2 completed tables, got 1.*negative"):
        pool([1.0], [-1.0])
    with pytest.raises(ValueError, match="must both be"):
        pool([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="finite"):
        pool([1.0, np.nan], [1.0, 1.0])


def test_pooled_intervals_cover_the_truth_more_often_than_single_ones():
    """With a draw per missing cell, the interval that ignores imputation is too short."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(300):
        x = rng.normal(size=60)
        seen = x[:30]
        center = seen.mean() + seen.std(ddof=1) / 30**0.5 * rng.standard_t(29, size=10)
        tables = [np.r_[seen, rng.normal(c, seen.std(ddof=1), 30)] for c in center]
        estimates = [t.mean() for t in tables]
        variances = [t.var(ddof=1) / 60 for t in tables]
        low, high = pool(estimates, variances).interval(0.9)[0]
        half = 1.645 * variances[0] ** 0.5
        hits.append((low < 0 < high, abs(estimates[0]) < half))
    pooled, single = np.mean(hits, axis=0)
    assert 0.85 < pooled < 0.95
    assert single < 0.82


def test_pool_takes_series(completed):
    fits = [regression(table).fit() for table in completed[:2]]
    frame = pd.DataFrame([f.params for f in fits])
    assert pool(frame, frame.abs()).estimate.shape == (3,)


def test_pool_refuses_other_orders_degrees_and_coverages():
    first = pd.Series({"a": 1.0, "b": 2.0})
    tables = pd.DataFrame([first, 2 * first])
    for estimates, variances in (([first, first[::-1]], [first] * 2), (tables, tables[["b", "a"]])):
        with pytest.raises(ValueError, match="name other parameters, or in other orders"):
            pool(estimates, variances)
    with pytest.raises(ValueError, match="dof must be above 0, got -1"):
        pool([1.0, 2.0], [0.1, 0.1], dof=-1)
    with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.95, got 95"):
        pool([1.0, 2.0], [0.1, 0.1]).interval(95)


def test_infinite_degrees_of_freedom_are_many():
    many, none = (pool([1.0, 1.2, 1.1], [0.04, 0.05, 0.045], dof=dof) for dof in (np.inf, None))
    np.testing.assert_array_equal(many.interval(), none.interval())
    for wrong in ("5", [5, 6], np.nan):
        with pytest.raises(ValueError, match="dof must be above 0"):
            pool([1.0, 1.2], [0.04, 0.05], dof=wrong)


def test_without_a_degree_of_freedom_intervals_are_unbounded():
    pooled = pool([[1.0, 1.0], [2.0, 1.5]], [[0.0, 0.1], [0.0, 0.2]], dof=10)
    assert pooled.dof[0] == 0
    np.testing.assert_array_equal(pooled.interval()[0], [-np.inf, np.inf])
    assert np.isfinite(pooled.interval()[1]).all()
