"""What draws are asked to be like: values, ranges, sets, and what cannot be."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small

from sklearn_cvae import ConditionalVAE
from sklearn_cvae.inference import N_PROPOSALS


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """x and y normal with correlation 0.8, a group that follows x, and an independent number."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = 0.8 * x + 0.6 * rng.normal(size=4000)
    group = np.where(rng.random(4000) < 1 / (1 + np.exp(-3 * x)), "high", "low")
    group[rng.random(4000) < 0.02] = "rare"
    return pd.DataFrame({"x": x, "y": y, "group": group, "noise": rng.normal(size=4000)})


@pytest.fixture(scope="module")
def model(pairs) -> ConditionalVAE:
    return small(n_components=8, hidden_layer_sizes=(64, 64), max_iter=20).fit(pairs)


# ---- exactness ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_sweeps", [0, 3])
def test_a_value_is_conditioned_on_as_the_normal_distribution_says(model, n_sweeps):
    drawn = model.sample(3000, {"x": 1.5}, random_state=0, n_sweeps=n_sweeps)
    assert (drawn["x"] == 1.5).all()
    assert abs(drawn["y"].mean() - 1.2) < 0.12
    assert 0.5 < drawn["y"].std() < 0.75
    # The 319 rows near x = 1.5 have a mean of 0.08, with a standard error of 0.05.
    assert abs(drawn["noise"].mean() - 0.08) < 0.15


def test_a_range_is_conditioned_on_as_the_rows_in_it_say(model, pairs):
    drawn = model.sample(3000, {"x": (0.5, 1.5)}, random_state=0)
    inside = pairs[pairs["x"].between(0.5, 1.5)]
    assert drawn["x"].between(0.5, 1.5).all()
    assert abs(drawn["x"].mean() - inside["x"].mean()) < 0.05
    assert abs(drawn["x"].std() - inside["x"].std()) < 0.05
    assert abs(drawn["y"].mean() - inside["y"].mean()) < 0.1
    share = (drawn["group"] == "high").mean() - (inside["group"] == "high").mean()
    assert abs(share) < 0.06


def test_a_set_has_its_members_in_their_proportions(model, pairs):
    asked = {"group": ["low", "rare"], "x": (0, None)}
    drawn = model.sample(4000, asked, random_state=0)
    inside = pairs[pairs["group"].isin(asked["group"]) & (pairs["x"] >= 0)]
    assert set(drawn["group"]) == {"low", "rare"}
    assert drawn["x"].min() >= 0
    expected = (inside["group"] == "rare").mean()
    assert abs((drawn["group"] == "rare").mean() - expected) < 0.07
    assert abs(drawn["x"].mean() - inside["x"].mean()) < 0.15


def test_all_but_one_column_may_be_given(model, pairs):
    rows = pairs[["x", "group", "noise"]].head(800)
    drawn = model.sample(conditions=rows, random_state=0)
    pd.testing.assert_frame_equal(drawn[rows.columns.tolist()], rows, check_dtype=False)
    residual = drawn["y"] - 0.8 * rows["x"]
    assert abs(residual.mean()) < 0.1
    assert 0.45 < residual.std() < 0.8


def test_sets_and_ranges_of_condition_columns(fitted, penguins):
    drawn = fitted.sample(200, {"species": {"Gentoo", "Adelie"}}, random_state=0)
    share = penguins["species"].value_counts()[["Adelie", "Gentoo"]]
    assert set(drawn["species"]) == {"Adelie", "Gentoo"}
    assert abs((drawn["species"] == "Adelie").mean() - share["Adelie"] / share.sum()) < 0.15
    heavy = drawn.loc[drawn["species"] == "Gentoo", "body_mass_g"].mean()
    assert heavy > drawn.loc[drawn["species"] == "Adelie", "body_mass_g"].mean() + 500


def test_ranges_of_times_integers_and_polars_frames(messy):
    model = small(max_iter=2).fit(messy)
    ends = pd.Timestamp("2020-06-01"), pd.Timestamp("2021-06-01")
    drawn = model.sample(40, {"date": ends, "int": (10, 20), "bool": [True]}, random_state=0)
    assert drawn["date"].between(*ends).all()
    assert drawn["int"].between(10, 20).all()
    assert drawn["int"].dtype == messy["int"].dtype
    assert drawn["bool"].all()
    frame = pl.DataFrame({"a": np.arange(50.0), "b": ["u", "v"] * 25})
    drawn = small().fit(frame).sample(20, {"a": (10, 12), "b": ["u"]}, random_state=0)
    assert isinstance(drawn, pl.DataFrame)
    assert drawn["a"].is_between(10, 12).all()


def test_a_narrow_range_of_a_continuous_column_has_numbers_between_the_seen_ones(model, pairs):
    cells = np.sort(pairs["x"])
    gap = np.argmax(np.diff(cells[1000:3000])) + 1000
    low, high = (0.9 * a + 0.1 * b for a, b in (cells[[gap, gap + 1]], cells[[gap + 1, gap]]))
    assert model.sample(30, {"x": (low, high)}, random_state=0)["x"].between(low, high).all()


# ---- how sure, and how diverse ------------------------------------------------------------


def test_effective_sample_sizes_fall_where_conditions_conflict(model):
    free, usual, conflict = (
        model.sample(200, asked, random_state=0, return_ess=True)[1].mean()
        for asked in (None, {"x": 1.0}, {"x": 2.5, "y": -2.5})
    )
    assert free == N_PROPOSALS
    assert N_PROPOSALS > usual > 10
    assert 1 <= conflict < usual


def test_temperature_narrows_and_widens(model):
    spreads = [
        model.sample(1500, random_state=0, temperature=t)["noise"].std() for t in (0.3, 1.0, 2.0)
    ]
    assert spreads[0] < 0.9 * spreads[1]
    assert spreads[2] > 1.02 * spreads[1]
    cold = model.sample(1500, {"x": 0.5}, random_state=0, temperature=0.2)["group"]
    warm = model.sample(1500, {"x": 0.5}, random_state=0)["group"]
    assert (cold == "high").mean() > (warm == "high").mean() + 0.03


def test_any_container_is_a_set_and_extreme_temperatures_are_harmless(model):
    for levels in (["low"], {"low"}, np.array(["low"]), pd.Series(["low"]), pd.Index(["low"])):
        assert (model.sample(5, {"group": levels}, random_state=0)["group"] == "low").all()
    coldest = model.sample(200, random_state=0, temperature=1e-6)
    assert coldest.notna().all().all()
    assert model.sample(200, random_state=0, temperature=1e6).notna().all().all()


def test_sweeps_change_only_what_was_not_asked_for(model):
    drawn = [model.sample(50, {"x": 0.5}, random_state=0, n_sweeps=n) for n in (0, 1)]
    assert not drawn[0]["y"].equals(drawn[1]["y"])
    assert drawn[0]["x"].equals(drawn[1]["x"])


# ---- many rows ----------------------------------------------------------------------------


def test_batches_are_the_rows_of_sample(model):
    asked = pd.DataFrame({"x": [0.0, np.nan, 1.0], "group": ["low", "high", None]})
    whole = model.sample(100, asked, random_state=3)
    batches = list(model.sample_batches(100, asked, random_state=3, batch_size=77))
    assert [len(b) for b in batches] == [77, 77, 77, 69]
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), whole)


def test_batches_need_no_more_memory_for_more_rows(model):
    def peak(n: int) -> int:
        tracemalloc.start()
        for _ in model.sample_batches(n, {"group": "low"}, batch_size=512, n_sweeps=0):
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(600)
    assert peak(6000) < 1.3 * peak(1500)


def test_progress_is_shown_only_if_asked_for(model, capsys):
    model.sample(10)
    assert capsys.readouterr().err == ""
    model.set_params(verbose=True)
    try:
        model.sample(10)
    finally:
        model.set_params(verbose=False)
    assert "sample" in capsys.readouterr().err


# ---- twins --------------------------------------------------------------------------------


def test_drawn_numbers_have_the_decimals_and_favourites_of_the_column():
    rng = np.random.default_rng(0)
    price = np.round(rng.lognormal(3, 1, 3000), 2)
    price[rng.random(3000) < 0.01] = 19.99
    X = pd.DataFrame(
        {"price": price, "count": rng.poisson(3, 3000), "even": 2 * rng.poisson(9, 3000)}
    )
    drawn = small().fit(X).sample(3000, random_state=0)
    assert (drawn["price"].round(2) == drawn["price"]).all()
    assert drawn["price"].between(price.min(), price.max()).all()
    assert drawn["price"].nunique() > 1500
    assert abs((drawn["price"] == 19.99).mean() - 0.01) < 0.006
    assert drawn["even"].isin(X["even"]).all()
    assert drawn["count"].dtype == X["count"].dtype


def test_rare_categories_are_protected(tmp_path):
    X = pd.DataFrame(
        {
            "a": pd.Categorical(["x"] * 40 + ["y"] * 40 + ["odd"] * 2),
            "b": ["u"] * 79 + ["once"] * 3,
            "n": np.arange(82.0),
        }
    )
    model = small(min_category_count=5).fit(X)
    drawn = model.sample(500, random_state=0)
    assert set(drawn["a"]) <= {"x", "y"}
    assert drawn["a"].cat.categories.tolist() == ["x", "y"]
    assert set(drawn["b"]) == {"u"}
    with pytest.warns(UserWarning, match="min_category_count"):
        completed = model.impute(X)
    assert completed["b"].tolist() == X["b"].tolist()
    with pytest.raises(ValueError, match="'once'"):
        model.sample(1, {"b": "once"})
    assert set(small().fit(X).sample(2000, random_state=0)["b"]) == {"u", "once"}


# ---- refusals -----------------------------------------------------------------------------


def test_all_problems_of_sets_and_ranges_are_named_at_once(model):
    asked = {
        "x": (1.0, 0.0),
        "y": (50, 60),
        "group": ("high", "low"),
        "noise": (1, 2, 3),
        "mass": [1],
    }
    with pytest.raises(ValueError, match="cannot be used") as caught:
        model.sample(1, asked)
    for part in (
        "'x' takes a range as (low, high)",
        "'y' was never seen from 50 to 60",
        "'group' is a category; pass a list",
        "'noise' takes a range",
        "'mass' is not a column",
    ):
        assert part in str(caught.value)
    for asked, problem in (
        ({"group": ["high", "lofty"]}, "'lofty'"),
        ({"group": []}, "at least one value"),
        ({"x": [1.0, np.nan]}, "none of them missing"),
        ([1, 2], "must be a dict"),
    ):
        with pytest.raises(ValueError, match=problem):
            model.sample(1, asked)


def test_values_that_a_cell_would_hold_rounded_are_refused():
    days = pd.date_range("2021-01-01", periods=60)
    X = pd.DataFrame({"day": days, "n": np.arange(60) % 200, "x": np.linspace(0, 1, 60)})
    X["small"] = X["n"].astype("uint8")
    model = small().fit(X)
    asked = {"day": "2021-01-05 12:00", "n": 2.5, "small": [3, 300], "x": 0.25}
    with pytest.raises(ValueError, match="cannot be used") as caught:
        model.sample(1, asked)
    for part in (
        r"'day' has no value like ['2021-01-05 12:00'] (1 cells); ask for times whole multiples of 86400 s",
        "'n' has no value like [2.5] (1 cells); ask for whole numbers that int64 holds",
        "'small' has no value like [300] (1 cells); ask for whole numbers that uint8 holds",
    ):
        assert part in str(caught.value)
    assert "'x'" not in str(caught.value)
    drawn = model.sample(9, {"n": (2.5, 7.5), "day": ("2021-01-05 12:00", None)}, random_state=0)
    assert drawn["n"].between(3, 7).all()
    assert (drawn["day"] >= "2021-01-06").all()


def test_infinity_leaves_an_end_of_a_range_open(model):
    for infinite, none in (((0.5, np.inf), (0.5, None)), ((-np.inf, 0.5), (None, 0.5))):
        drawn = [model.sample(5, {"x": ends}, random_state=0) for ends in (infinite, none)]
        pd.testing.assert_frame_equal(*drawn)
    for ends in ((np.inf, 1.0), (0.0, -np.inf), (np.inf, np.inf)):
        with pytest.raises(ValueError, match="'x'"):
            model.sample(1, {"x": ends})


def test_counterfactuals_take_one_value_per_condition(fitted, penguins):
    Z = fitted.transform(penguins)
    with pytest.raises(ValueError, match="not a set or a range"):
        fitted.inverse_transform(Z, {"species": ["Adelie", "Gentoo"]})


@pytest.mark.parametrize(
    ("params", "name"),
    [({"temperature": 0}, "temperature"), ({"n_sweeps": -1}, "n_sweeps")],
)
def test_parameters_of_draws_are_checked_before_any_is_made(model, params, name):
    with pytest.raises(ValueError, match=name):
        model.sample(1, **params)
    with pytest.raises(ValueError, match=name):
        model.sample_batches(1, **params)
    with pytest.raises(ValueError, match="batch_size"):
        model.sample_batches(1, batch_size=0)


@pytest.fixture(scope="module")
def of_ids():
    X = pd.DataFrame(
        {"id": np.arange(80) + 2**53 - 40, "day": pd.date_range("2020-01-01", periods=80)}
    )
    return small().fit(X)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"id": 2**53 + 1}, "no value like \\[9007199254740993\\].*up to 2\\*\\*53"),
        ({"day": (2020, None)}, "2020 is a number, not a time"),
        ({"id": 2**53, 0: 2**53 - 1}, "0 and 'id' are the same column"),
        (pd.DataFrame([[1, 2]], columns=["id", "id"]), "duplicate column names \\['id'\\]"),
    ],
)
def test_conditions_that_would_come_back_as_others_are_refused(of_ids, conditions, message):
    with pytest.raises(ValueError, match=message):
        of_ids.sample(1, conditions)


def test_conditions_come_back_to_the_last_digit(of_ids):
    drawn = of_ids.sample(2, {"id": 2**53 - 1, "day": "2020-02-03"}, random_state=0)
    assert drawn["id"].tolist() == [2**53 - 1] * 2
    assert (drawn["day"] == pd.Timestamp("2020-02-03")).all()


@pytest.mark.parametrize("values", [np.zeros((1, 2)), [[1], 2], [(1, 2)], [{1}]])
def test_lists_of_lists_are_refused_with_all_else(fitted, values):
    with pytest.raises(ValueError, match=r"'body_mass_g' takes a list[\s\S]*'nope' is not"):
        fitted.sample(1, {"body_mass_g": values, "nope": 1})
