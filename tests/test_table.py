"""Every dtype survives the round trip, and what cannot be modelled is refused in one error."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small

from sklearn_cvae import ConditionalVAE
from sklearn_cvae.table import Schema, column_list, missing_cells, select_columns


def read(schema: Schema, X) -> np.ndarray:
    return np.column_stack([c.read(s) for c, s in zip(schema.columns, column_list(X), strict=True)])


@pytest.fixture
def messy_polars() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    n = 60
    day = dt.date(2020, 1, 1)
    return pl.DataFrame(
        {
            "float": [None if h else x for h, x in zip(rng.random(n) < 0.2, rng.normal(size=n))],
            "int": pl.Series(
                [
                    None if h else int(x)
                    for h, x in zip(rng.random(n) < 0.2, rng.integers(0, 99, n))
                ],
                dtype=pl.Int16,
            ),
            "bool": [None, *(rng.random(n - 1) < 0.5).tolist()],
            "string": [None, *rng.choice(["a", "b", "c"], n - 1).tolist()],
            "categorical": pl.Series(
                [None, *rng.choice(["x", "y"], n - 1).tolist()], dtype=pl.Categorical
            ),
            "enum": pl.Series(
                [None, *rng.choice(["lo", "hi"], n - 1).tolist()],
                dtype=pl.Enum(["lo", "mid", "hi"]),
            ),
            "date": [None, *[day + dt.timedelta(int(k)) for k in rng.integers(0, 99, n - 1)]],
            "datetime": [
                None,
                *[
                    dt.datetime(2020, 1, 1) + dt.timedelta(hours=int(k))
                    for k in rng.integers(0, 99, n - 1)
                ],
            ],
            "duration": [None, *[dt.timedelta(minutes=int(k)) for k in rng.integers(0, 99, n - 1)]],
        }
    )


def test_pandas_survives_the_round_trip(messy):
    schema = Schema.fit(messy, "from_dtype")
    back = schema.write(read(schema, messy), messy.index)
    back["object"] = back["object"].where(back["object"].notna(), np.nan)
    pd.testing.assert_frame_equal(back, messy)


def test_polars_survives_the_round_trip(messy_polars):
    schema = Schema.fit(messy_polars, "from_dtype")
    back = schema.write(read(schema, messy_polars))
    assert back.equals(messy_polars)
    assert back.schema == messy_polars.schema


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool", object])
def test_arrays_survive_the_round_trip(dtype):
    X = np.random.default_rng(0).integers(0, 2, (10, 3)).astype(dtype)
    schema = Schema.fit(X, "from_dtype")
    back = schema.write(read(schema, X))
    assert back.dtype == X.dtype
    np.testing.assert_array_equal(back, X)


def assert_same_observed(filled, original):
    """Bit for bit: the observed cells of each column are the very same values."""
    for name in original.columns:
        known = original[name].notna().to_numpy()
        a, b = filled[name].to_numpy()[known], original[name].to_numpy()[known]
        if a.dtype.kind == "f":
            a, b = a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}")
        assert (a == b).all(), name


def test_impute_keeps_a_pandas_frame_and_fills_it(messy):
    model = small().fit(messy)
    for strategy in ("mean", "median", "mode", "draw"):
        filled = model.impute(messy, strategy=strategy, random_state=0)
        assert not filled.isna().any().any()
        assert filled.index.equals(messy.index)
        assert filled.dtypes.equals(messy.dtypes)
        assert_same_observed(filled, messy)
        assert filled["nullable"].between(messy["nullable"].min(), messy["nullable"].max()).all()


@pytest.mark.parametrize("dtype", [object, "str", "string"])
def test_columns_of_strings_keep_their_dtype(dtype):
    letters = pd.Series(["x", "y", None] * 20).astype(dtype)
    X = pd.DataFrame({"letter": letters, "n": np.arange(60)})
    model = small().fit(X)
    drawn = model.sample(3, random_state=0)
    for frame in (model.impute(X), drawn, model.inverse_transform(model.transform(X))):
        assert frame.dtypes.equals(X.dtypes)


def test_impute_keeps_a_polars_frame_and_fills_it(messy_polars):
    filled = small().fit(messy_polars).impute(messy_polars)
    assert filled.null_count().sum_horizontal().item() == 0
    assert filled.schema == messy_polars.schema
    for name in messy_polars.columns:
        known = messy_polars[name].is_not_null()
        assert filled[name].filter(known).equals(messy_polars[name].filter(known))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_impute_keeps_an_array_and_fills_it(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)).astype(dtype)
    X[rng.random(X.shape) < 0.3] = np.nan
    filled = small().fit(X).impute(X)
    known = ~np.isnan(X)
    assert filled.dtype == X.dtype
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[known], X[known])


def test_imputing_does_not_change_its_input(messy):
    before = messy.copy(deep=True)
    small().fit(messy).impute(messy)
    pd.testing.assert_frame_equal(messy, before)


def test_columns_that_were_complete_may_have_holes_later(messy):
    model = small().fit(messy)
    later = messy.copy()
    later["int"] = later["int"].astype("Int64").mask(np.arange(60) < 5)
    later["bool"] = later["bool"].astype("boolean").mask(np.arange(60) < 5)
    filled = model.impute(later)
    assert filled["int"].dtype == messy["int"].dtype
    assert filled["bool"].dtype == messy["bool"].dtype
    assert (filled["int"][5:] == messy["int"][5:]).all()


def test_an_observed_cell_that_the_training_dtype_cannot_hold_is_not_rounded(messy):
    model = small().fit(messy)
    later = messy.assign(int=messy["int"] + 0.5)
    later.loc[later.index[0], "int"] = np.nan
    filled = model.impute(later)
    assert (filled["int"].iloc[1:] == later["int"].iloc[1:]).all()


def test_sample_is_the_training_frames_twin(messy):
    drawn = small().fit(messy).sample(40, random_state=0)
    assert drawn.dtypes.equals(messy.dtypes)
    assert list(drawn.columns) == list(messy.columns)
    assert drawn["float"].between(messy["float"].min(), messy["float"].max()).all()
    assert drawn["small_int"].isin(messy["small_int"]).all()
    assert (drawn["date"] == drawn["date"].dt.normalize()).all()
    assert drawn["delta"].between(messy["delta"].min(), messy["delta"].max()).all()
    assert drawn["ordered"].cat.ordered
    assert list(drawn["ordered"].cat.categories) == ["low", "mid", "high"]


def test_polars_sample_is_the_training_frames_twin(messy_polars):
    drawn = small().fit(messy_polars).sample(40, random_state=0)
    assert drawn.schema == messy_polars.schema
    assert drawn.shape == (40, messy_polars.shape[1])


def test_unseen_categories_are_missing_with_one_warning_that_names_them(penguins):
    model = small().fit(penguins)
    odd = penguins.astype({"island": object, "species": object})
    odd.loc[:2, "island"] = "Atlantis"
    odd.loc[3, "species"] = "Emperor"
    with pytest.warns(
        UserWarning, match=r"'species': 'Emperor' \(1 cells\); .*'island': 'Atlantis' \(3 cells\)"
    ):
        Z = model.transform(odd)
    known = penguins.copy()
    known.loc[:2, "island"] = None
    known.loc[3, "species"] = None
    np.testing.assert_array_equal(Z, model.transform(known))
    with pytest.raises(ValueError, match="Emperor"):
        model.set_params(handle_unknown="error").transform(odd)


def test_a_numeric_column_can_be_made_categorical(penguins):
    by_name = small(categorical_features=["year"]).fit(penguins)
    assert by_name.likelihoods_["year"] == "categorical"
    assert by_name.sample(5, random_state=0)["year"].dtype == penguins["year"].dtype
    assert small(categorical_features=[7]).fit(penguins).likelihoods_["year"] == "categorical"


def test_selections_of_columns(penguins):
    from sklearn.compose import make_column_selector

    names = list(penguins.columns)
    expected = [0, 1]
    for selection in (
        ["species", "island"],
        [0, 1],
        [name in ("species", "island") for name in names],
        np.array([True, True] + [False] * 6),
        lambda X: ["species", "island"],
        slice(0, 2),
    ):
        assert select_columns(penguins, selection, "p") == expected
    selector = make_column_selector(dtype_include="category")
    assert select_columns(penguins, selector, "p") == [0, 1, 6]
    assert select_columns(penguins, "sex", "p") == [6]
    with pytest.raises(ValueError, match=r"condition_features names columns .*\['mass'\]"):
        small(condition_features=["mass"]).fit(penguins)
    with pytest.raises(ValueError, match="mask of 2 entries"):
        small(condition_features=[True, False]).fit(penguins)


def test_all_problems_of_a_table_are_named_at_once():
    X = pd.DataFrame({"a": [1.0, np.inf], "b": [1.0, -np.inf], "c": [1j, 2j], "d": [[1], [2]]})
    X.columns = ["a", "a", "", "d"]
    with pytest.raises(ValueError, match="cannot be used") as caught:
        small().fit(X)
    text = str(caught.value)
    for part in ("duplicate column names ['a']", "positions [2]", "infinity", "Complex", "'list'"):
        assert part in text


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame({"a": [1.0, np.inf]}), "1 infinity values, the first in row 1"),
        (pd.DataFrame({"a": []}), "0 sample"),
        (pd.DataFrame(index=[0, 1]), "0 feature"),
        (pd.DataFrame({"a": [{"x": 1}, {"x": 2}]}), "flatten nested"),
        (pd.DataFrame({"a": pd.interval_range(0, 2)}), "interval"),
        (pd.DataFrame({"a": pd.period_range("2020", periods=2)}), "period"),
        (pd.DataFrame({"a": pd.array([0, 1], dtype="time64[us][pyarrow]")}), "numbers of seconds"),
        (pl.DataFrame({"a": [[1], [2]]}), "List"),
        (pl.DataFrame({"a": [1.0, float("inf")]}), "infinity"),
        (np.array([1.0, 2.0]), "Reshape"),
    ],
)
def test_bad_tables_are_refused(X, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small().fit(X)


@pytest.mark.parametrize(
    "column",
    [
        [np.nan] * 6,
        [None] * 6,
        [5.0] * 6,
        ["only"] * 6,
        [1, 2, 3, 4, 5, 6],
        pd.Series([pd.NaT] * 6),
        pd.Series([True] * 6),
    ],
)
def test_degenerate_columns_work(column):
    X = pd.DataFrame({"x": column, "other": np.arange(6.0)})
    model = small().fit(X)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(3, random_state=0)["x"].dtype == X["x"].dtype
    empty = X["x"].isna().all()
    assert model.impute(X)["x"].isna().all() == empty


def test_one_row_one_column_and_odd_batches():
    assert small().fit(pd.DataFrame({"a": [1.0], "b": ["x"]})).sample(2, random_state=0).shape == (
        2,
        2,
    )
    assert small().fit(np.arange(10.0)[:, None]).transform(np.zeros((1, 1))).shape == (1, 3)
    X = np.random.default_rng(0).normal(size=(7, 2))
    assert small(batch_size=1000).fit(X).transform(X).shape == (7, 3)
    assert small(batch_size=3).fit(X).transform(X).shape == (7, 3)


def test_big_integers_and_far_dates_survive():
    X = pd.DataFrame(
        {
            "id": np.array([2**53 - 1, 5, 77, 2**40]),
            "day": pd.to_datetime(["1700-01-01", "2200-12-31", "2024-02-29", None]),
        }
    )
    model = small().fit(X)
    filled = model.impute(X)
    assert (filled["id"] == X["id"]).all()
    assert filled["day"][:3].equals(X["day"][:3])
    assert model.sample(20, random_state=0)["day"].isin(X["day"]).all()


def test_times_of_arrow_come_back_as_they_were():
    start = pd.Series(pd.date_range("2020-01-01 03:00", periods=40, freq="37h"))
    local = start.dt.tz_localize("Europe/Berlin")
    X = pd.DataFrame(
        {
            "at": start.astype("timestamp[us][pyarrow]"),
            "there": local.astype("timestamp[ns, tz=Europe/Berlin][pyarrow]"),
            "day": start.astype("date32[pyarrow]"),
            "took": (start - start[0]).astype("duration[ms][pyarrow]"),
        }
    )
    X = X.mask(np.random.default_rng(0).random(X.shape) < 0.2)
    model = small().fit(X)
    filled, drawn = model.impute(X), model.sample(5, {"day": "2020-01-04"}, random_state=0)
    assert filled.dtypes.equals(X.dtypes)
    assert drawn.dtypes.equals(X.dtypes)
    assert not filled.isna().any(axis=None)
    for name in X:
        assert filled.loc[X[name].notna(), name].equals(X[name].dropna())
    assert (drawn["day"] == dt.date(2020, 1, 4)).all()
    assert drawn["at"].between(X["at"].min(), X["at"].max()).all()


@pytest.mark.parametrize("library", [pd, pl])
def test_numbers_that_come_as_text_are_refused(library):
    model = small().fit(library.DataFrame({"x": [1.0, 2.0, None, 4.0]}))
    message = r"'x' held numbers during fit: 2 cells are text, e.g. '1.5'; convert"
    with pytest.raises(ValueError, match=message):
        model.impute(library.DataFrame({"x": ["1.5", None, "2"]}))
    nothing = library.DataFrame({"x": [None, None]})
    assert np.isfinite(model.impute(nothing).to_numpy().astype(float)).all()


def test_levels_that_hardly_repeat_are_warned_of():
    X = pd.DataFrame({"id": [f"u{i}" for i in range(120)], "site": list("abcd") * 30})
    X.loc[:9, "id"] = None
    message = r"column 'id': 110 levels in 110 cells, e.g. 'u10'. Leave the column out, or set min"
    with pytest.warns(UserWarning, match=message) as caught:
        small().fit(X)
    assert caught[0].filename == __file__
    drawn = small(min_category_count=2).fit(X).sample(5, random_state=0)
    assert drawn["id"].isna().all()
    small().fit(X[90:])


def test_missing_cells_of_every_library():
    assert missing_cells(pd.DataFrame({"a": [1, None], "b": ["x", None]})).tolist() == [
        [False, False],
        [True, True],
    ]
    assert missing_cells(pl.DataFrame({"a": [float("nan"), None, 1.0]}))[:, 0].tolist() == [
        True,
        True,
        False,
    ]
    assert missing_cells(np.array([[1, None], ["a", "b"]], dtype=object)).tolist() == [
        [False, True],
        [False, False],
    ]


def test_object_columns_of_numbers_are_numbers():
    X = np.array([[1, 2.5], [None, 3], [4, None]], dtype=object)
    assert ConditionalVAE(max_iter=1).fit(X).likelihoods_ == {0: "histogram", 1: "histogram"}


def test_columns_of_another_kind_than_at_fit_are_named_at_once(messy):
    model = small().fit(messy)
    with pytest.raises(ValueError, match="cannot be used") as caught:
        model.transform(messy.assign(float="text", date="2020-01-01"))
    assert "'float' held numbers during fit" in str(caught.value)
    assert "'date' held times during fit" in str(caught.value)


def test_a_fitted_model_does_not_keep_the_table_alive():
    import gc
    import weakref

    X = np.random.default_rng(0).normal(size=(50, 2))
    alive = weakref.ref(X)
    model = small().fit(X)
    del X
    gc.collect()
    assert alive() is None
    assert model.n_iter_ == 3
