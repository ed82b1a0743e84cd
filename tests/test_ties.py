"""Cells that equal another column's: finding them, drawing them, imputing by them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sklearn_cvae
from sklearn_cvae import ConditionalVAE, inference
from sklearn_cvae.ties import Ties


def bills(n: int = 500, seed: int = 0) -> pd.DataFrame:
    """Bills, three in ten of which are paid to the unit by those who are payers."""
    rng = np.random.default_rng(seed)
    bill = np.round(rng.gamma(2, 1000, n))
    payer = rng.random(n) < 0.3
    return pd.DataFrame(
        {
            "group": np.where(payer, "payer", "owes"),
            "paid": np.where(payer, bill, np.round(bill * rng.uniform(0, 0.9, n))),
            "age": rng.integers(20, 60, n),
            "bill": bill.astype(int),
        }
    )


def find(*columns: np.ndarray) -> list[tuple[int, int]]:
    table = np.column_stack(columns)
    seen = np.stack([np.nanmin(table, axis=0), np.nanmax(table, axis=0)], axis=1)
    return Ties().joined(table, np.arange(len(columns)), seen).pairs


@pytest.fixture(scope="module")
def fitted() -> ConditionalVAE:
    return ConditionalVAE(4, max_iter=50, random_state=0).fit(bills())


def test_pairs_that_are_equal_at_rare_values_are_tied():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))
    assert find(a, np.where(rng.random(500) < 0.1, a, b)) == [(0, 1)]
    assert find(a, b) == []


def test_what_is_equal_by_chance_is_not_tied():
    rng = np.random.default_rng(0)
    few = rng.integers(0, 10, (2, 1000)).astype(float)
    assert find(*few) == []  # shared values
    zeros = np.where(rng.random((2, 1000)) < 0.5, 0.0, rng.normal(size=(2, 1000)))
    assert find(*zeros) == []  # equal at a repeated value alone
    years = rng.integers(0, 3000, 1000).astype(float)
    assert find(years, years + rng.integers(-3, 4, 1000)) == []  # as often a step away


def test_a_few_equal_rows_are_not_enough():
    a, b = np.random.default_rng(0).normal(size=(2, 500))
    assert find(a, np.r_[a[:7], b[7:]]) == []
    assert find(a[:100], np.r_[a[:7], b[7:100]]) == []


def test_ties_form_trees():
    a, b = np.random.default_rng(0).normal(size=(2, 300))
    pairs = find(a, b, a, a, b)
    assert sorted(child for _, child in pairs) == [2, 3, 4]
    assert {frozenset(p) for p in pairs} >= {frozenset((1, 4))}


def test_missing_cells_have_no_tie():
    ties = Ties(np.array([0]), np.array([1]), np.array([[0.0, 9.0]]), np.array([np.nan]))
    numbers = np.array([[1, 1], [1, 2], [np.nan, 1], [1, np.nan]])
    np.testing.assert_array_equal(ties.of(numbers)[:, 0], [1, 0, np.nan, np.nan])


def test_settling_moves_what_is_not_known():
    ties = Ties(np.array([0, 1]), np.array([1, 2]), np.array([[0.0, 9.0]] * 2), np.full(2, np.nan))
    free = np.full((1, 3), np.nan)
    rows = np.array([[1.0, 2.0, 3.0, 1.0, 1.0]])
    np.testing.assert_array_equal(ties.settled(rows, free), [[1, 1, 1, 1, 1]])
    last = np.array([[np.nan, np.nan, 5.0]])
    np.testing.assert_array_equal(ties.settled(rows, last), [[5, 5, 5, 1, 1]])
    both = np.array([[7.0, np.nan, 5.0]])
    np.testing.assert_array_equal(ties.settled(rows, both), [[7, 5, 5, 0, 1]])


def test_settling_blends_means_by_the_ties_probability():
    ties = Ties(np.array([0]), np.array([1]), np.array([[0.0, 9.0]]), np.array([np.nan]))
    known = np.array([[4.0, np.nan], [np.nan, 8.0]])
    settled = ties.settled(np.array([[4.0, 2.0, 0.25], [2.0, 8.0, 0.75]]), known)
    np.testing.assert_allclose(settled[:, :2], [[4, 2.5], [6.5, 8]])


def test_variances_are_those_of_the_mixture():
    ties = Ties(np.array([0]), np.array([1]), np.array([[0.0, 9.0]]), np.array([np.nan]))
    means, variances = np.array([[4.0, 2.0, 0.25]]), np.array([[0.0, 0.5, 9.0]])
    settled = ties.settled_variances(means, variances, np.array([[4.0, np.nan]]))
    rng = np.random.default_rng(0)
    drawn = np.where(rng.random(10**6) < 0.25, 4.0, rng.normal(2, 0.5**0.5, 10**6))
    np.testing.assert_allclose(settled, [[0, drawn.var()]], rtol=0.01)


def test_settling_stays_in_the_range_of_both_columns():
    ties = Ties(np.array([0]), np.array([1]), np.array([[0.0, 9.0]]), np.array([np.nan]))
    settled = ties.settled(np.array([[-5.0, 2.0, 1.0]]), np.full((1, 2), np.nan))
    np.testing.assert_array_equal(settled, [[-5, 2, 0]])


def test_equal_cells_of_a_usual_value_are_not_tied():
    rng = np.random.default_rng(0)
    bill = np.where(rng.random(500) < 0.2, 0.0, rng.normal(size=500))
    paid = np.where(rng.random(500) < 0.5, bill, rng.normal(size=500))
    table = np.column_stack([bill, paid])
    ties = Ties().joined(table, np.arange(2), np.array([[-9.0, 9.0]] * 2))
    np.testing.assert_array_equal(ties.usual, [0])
    np.testing.assert_array_equal(ties.of(table)[:, 0], (bill == paid) & (bill != 0))
    settled = ties.settled(np.array([[0.0, 2.0, 1.0]]), np.full((1, 2), np.nan))
    np.testing.assert_array_equal(settled, [[0, 2, 0]])


def test_drawn_cells_are_tied_as_often_as_real_ones(fitted):
    table = bills()
    assert fitted.ties_ == [("paid", "bill")]
    drawn = fitted.sample(1000, random_state=0)
    equal = drawn["paid"] == drawn["bill"]
    assert equal.mean() == pytest.approx((table["paid"] == table["bill"]).mean(), abs=0.06)
    assert equal[drawn["group"] == "payer"].mean() > 0.85
    assert equal[drawn["group"] == "owes"].mean() < 0.1
    assert drawn.dtypes.equals(table.dtypes)


@pytest.mark.parametrize("asked", [{"bill": 777}, {"paid": 777.0}, {"bill": (770, 790)}])
def test_conditions_stay_as_given_and_ties_follow(fitted, asked):
    drawn = fitted.sample(50, {"group": "payer", **asked}, random_state=0)
    (name,) = asked
    assert drawn[name].between(770, 790).all()
    assert (drawn["paid"] == drawn["bill"]).mean() > 0.85


@pytest.mark.parametrize("strategy", ["median", "mode", "draw"])
def test_a_tied_cell_is_imputed_exactly(fitted, strategy):
    truth = bills(200, seed=1)
    holes = truth.assign(paid=truth["paid"].where(truth.index % 2 == 0))
    filled = fitted.impute(holes, strategy=strategy, random_state=0)
    hidden = holes["paid"].isna() & (truth["group"] == "payer")
    assert (filled["paid"] == truth["paid"])[hidden].mean() > 0.8
    assert filled.loc[holes["paid"].notna(), "paid"].equals(
        truth.loc[holes["paid"].notna(), "paid"]
    )


def test_means_lean_on_the_tied_cell(fitted):
    truth = bills(200, seed=1)
    filled = fitted.impute(truth.assign(paid=np.nan))
    payer = truth["group"] == "payer"
    error = (filled["paid"] - truth["paid"]).abs() / truth["bill"]
    assert error[payer].median() < 0.02 < 0.1 < error[~payer].median()


def test_a_tied_cell_is_sure(fitted):
    truth = bills(200, seed=1)
    hidden, payer = truth.index % 2 == 0, truth["group"] == "payer"
    holes = truth.assign(paid=truth["paid"].mask(hidden))
    _, std = fitted.impute(holes, return_std=True)
    relative = std[:, 1] / truth["bill"]
    assert relative[hidden & payer].median() < 0.5 * relative[hidden & ~payer].median()
    check = fitted.overimpute(truth, share=0.3, random_state=0).query("column == 'paid'")
    of_payers = payer[check["row"]].to_numpy()
    errors = (check["estimate"] - check["truth"]).astype(float).abs()
    assert errors[of_payers].median() < 0.5 * errors[~of_payers].median()


def test_scores_do_not_count_ties(fitted):
    table = bills(100, seed=2)
    scores = fitted.score_samples(table)
    assert np.isfinite(scores).all()
    assert np.isfinite(fitted.score_samples(table.assign(paid=np.nan))).all()
    cells = fitted._table.cells(fitted._table.encode(fitted._table.read(table)))
    with_ties = inference.log_marginals(fitted._module, cells, fitted.n_draws)
    cells.visible[:, table.shape[1] :] = False
    without = inference.log_marginals(fitted._module, cells, fitted.n_draws)
    volume = fitted._table.log_volume(fitted._table.read(table), cells.visible)
    np.testing.assert_allclose(scores, without + volume)
    assert (np.abs(with_ties - without) > 0.01).any()


def test_what_has_no_place_for_ties_has_none():
    table = bills(100)
    settings = [{"missing_mechanism": "self_masking"}, {"condition_features": ["bill"]}]
    settings += [{"likelihoods": {"bill": "log_normal"}}, {"categorical_features": ["bill"]}]
    for setting in settings:
        model = ConditionalVAE(2, max_iter=1, random_state=0, **setting).fit(table)
        assert model.ties_ == []


def test_a_model_with_ties_is_saved_and_fitted_further(fitted, tmp_path):
    sklearn_cvae.save(fitted, tmp_path / "model.cvae")
    again = sklearn_cvae.load(tmp_path / "model.cvae")
    assert again.ties_ == fitted.ties_
    pd.testing.assert_frame_equal(
        again.sample(20, random_state=3), fitted.sample(20, random_state=3)
    )
    model = ConditionalVAE(2, max_iter=1, warm_start=True, random_state=0).fit(bills(100))
    assert model.fit(bills(100, seed=1)).ties_ == [("paid", "bill")]


def test_times_are_tied_whatever_they_are_counted_from():
    rng = np.random.default_rng(0)
    first = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 500), unit="D")
    later = first + pd.to_timedelta(rng.integers(1, 400, 500), unit="D")
    once = rng.random(500) < 0.4
    table = pd.DataFrame({"first": first, "last": np.where(once, first, later)})
    table["visits"] = np.where(once, 1, rng.integers(2, 30, 500))
    model = ConditionalVAE(4, max_iter=20, random_state=0).fit(table)
    assert model.ties_ == [("first", "last")]
    drawn = model.sample(500, random_state=0)
    equal = drawn["first"] == drawn["last"]
    assert equal.mean() == pytest.approx(once.mean(), abs=0.08)
    assert equal[drawn["visits"] == 1].mean() > 0.9
    assert drawn.dtypes.equals(table.dtypes)
    filled = model.impute(
        table.assign(last=table["last"].mask(table.index < 100)), strategy="median"
    )
    assert (filled["last"] == table["last"])[(table.index < 100) & once].mean() > 0.9


def test_polars_and_arrays_have_ties():
    polars = pytest.importorskip("polars")
    table = bills(200)
    model = ConditionalVAE(2, max_iter=1, random_state=0).fit(polars.from_pandas(table))
    assert model.ties_ == [("paid", "bill")]
    array = table[["paid", "age", "bill"]].to_numpy(dtype=float)
    assert ConditionalVAE(2, max_iter=1, random_state=0).fit(array).ties_ == [(0, 2)]


def test_a_value_of_one_tied_row_is_not_usual():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 100))
    second[:34] = first[:34]
    ties = Ties(offsets=np.zeros(2)).joined(
        np.column_stack([first, second]), np.arange(2), np.array([[-9.0, 9.0]] * 2)
    )
    assert np.nansum(ties.of(np.column_stack([first, second]))) == 34
