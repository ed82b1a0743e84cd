"""Every dtype survives the round trip, and what cannot be modelled is refused in one error."""

from __future__ import annotations

import datetime as dt
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small

from sklearn_cvae import ConditionalVAE, save
from sklearn_cvae.backbones import MLP
from sklearn_cvae.codecs import NumericCodec
from sklearn_cvae.columns import learn_column
from sklearn_cvae.table import (
    Schema,
    TableCodec,
    _nearly_known,
    column_list,
    missing_cells,
    select_columns,
)


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


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_another_resolution_are_the_same_times(unit):
    days = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=60).as_unit("us")})
    model = small().fit(days)
    other = days.astype(f"datetime64[{unit}]")
    assert (model.score_samples(other) == model.score_samples(days)).all()
    polars = pl.DataFrame({"t": pl.Series(days["t"].tolist(), dtype=pl.Date)})
    assert (model.score_samples(polars) == model.score_samples(days)).all()


@pytest.mark.parametrize(
    "cells",
    [
        pd.Series(range(60)),
        pd.Series(pd.to_timedelta(range(60), "D")),
        pd.Series(pd.date_range("2020-01-01", periods=60, tz="UTC")),
        pd.Series(pd.date_range("2020-01-01", periods=60)).astype(object),
    ],
)
def test_what_is_no_time_of_the_kind_is_refused(cells):
    model = small().fit(pd.DataFrame({"t": pd.date_range("2020-01-01", periods=60)}))
    with pytest.raises(ValueError, match=rf"'t' held times .*{re.escape(str(cells.dtype))}"):
        model.score_samples(pd.DataFrame({"t": cells}))


def test_times_that_come_as_numbers_are_refused():
    model = small().fit(pd.DataFrame({"x": np.arange(60.0)}))
    with pytest.raises(ValueError, match="'x' held numbers during fit: 60 cells are times"):
        model.score_samples(pd.DataFrame({"x": pd.date_range("2020-01-01", periods=60)}))


def test_times_centuries_apart_keep_their_days():
    dates = ["1900-01-01", "1950-06-01", "2262-04-01", "1680-01-01", "2000-01-01"]
    series = pd.Series(pd.to_datetime(dates)).dt.as_unit("ns")
    column = learn_column("t", series, levels=False)
    assert column.seconds == 86_400
    assert (column.write(column.read(series)) == series).all()
    far = column.write(np.array([1e20, -1e20, np.nan]))
    assert far[0] == pd.Timestamp("2262-04-11")
    assert far[1].year == 1677
    assert far.isna().tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("ms"), pl.Duration("us"), pl.Time])
def test_times_of_polars_are_never_written_beyond_what_they_hold(dtype):
    cells = {
        pl.Date: [dt.date(1900, 1, 1), dt.date(2100, 1, 1)],
        pl.Time: [dt.time(1), dt.time(3), dt.time(22)],
        pl.Duration: [dt.timedelta(days=1), dt.timedelta(days=4)],
        pl.Datetime: [dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)],
    }
    series = pl.Series("t", cells[dtype.base_type()], dtype=dtype)
    column = learn_column("t", series, levels=False)
    low, high = column.write(np.array([-1e30, 1e30])).to_list()
    assert low < series.min() < series.max() < high


def test_zones_of_dateutil_are_times():
    times = pd.date_range("2020-03-20", periods=80, freq="7h", tz="dateutil/Europe/Berlin")
    X = pd.DataFrame({"t": times})
    X.loc[::5, "t"] = pd.NaT
    model = small().fit(X)
    filled = model.impute(X)
    assert filled["t"].notna().all()
    assert filled.dtypes.equals(X.dtypes)
    assert model.sample(9, random_state=0).dtypes.equals(X.dtypes)


@pytest.mark.parametrize("library", [pd, pl])
def test_levels_that_no_cell_has_are_never_drawn(library):
    cells = ["a", "b", None] * 20
    declared = {pd: pd.CategoricalDtype(["z", "b", "a"]), pl: pl.Enum(["z", "b", "a"])}[library]
    X = library.DataFrame({"c": library.Series(cells, dtype=declared), "x": np.arange(60.0)})
    model = small(max_iter=1).fit(X)
    drawn = model.sample(500, random_state=0)
    assert drawn["c"].dtype == declared
    assert set(drawn["c"]) == {"a", "b"}
    assert set(model.impute(X, strategy="draw", random_state=0)["c"]) == {"a", "b"}
    with pytest.raises(ValueError, match="no value like"):
        model.sample(1, {"c": "z"})


@pytest.mark.parametrize("library", [pd, pl])
def test_nothing_of_forgotten_levels_nor_of_the_index_is_kept(library, tmp_path):
    levels = ["a", "b"] * 40 + ["a secret"]
    declared = {pd: "category", pl: pl.Enum(["a", "b", "a secret"])}[library]
    X = library.DataFrame({"c": library.Series(levels, dtype=declared), "x": np.arange(81.0)})
    if library is pd:
        X.index = pd.Index([f"patient {i}" for i in range(81)])
        X.attrs["of"] = "a secret"
    model = small(min_category_count=2).fit(X)
    save(model, tmp_path / "model")
    for content in (pickle.dumps(model), (tmp_path / "model").read_bytes()):
        assert b"a secret" not in content
        assert b"patient" not in content


def test_integers_come_back_to_the_last_digit_beside_floats():
    model = small().fit(pd.DataFrame({"x": np.arange(60.0)}))
    X = pd.DataFrame({"x": np.arange(60) + 2**53 + 1})
    assert model.impute(X)["x"].equals(X["x"])


def test_nanoseconds_come_back_to_a_model_of_microseconds():
    hours = [dt.datetime(2020, 1, 1) + dt.timedelta(hours=i) for i in range(60)]
    model = small().fit(pl.DataFrame({"t": pl.Series(hours, dtype=pl.Datetime("us"))}))
    finer = pl.Series("t", [1_577_836_800_000_000_123 + i * 10**12 for i in range(59)] + [None])
    finer = finer.cast(pl.Datetime("ns"))
    filled = model.impute(finer.to_frame())["t"]
    assert filled[:59].equals(finer[:59])
    assert filled.null_count() == 0


def test_levels_of_another_enum_are_filled():
    own, other = pl.Enum(["a", "b"]), pl.Enum(["a", "b", "c"])
    x = np.arange(60.0)
    model = small().fit(pl.DataFrame({"c": pl.Series(["a", "b"] * 30, dtype=own), "x": x}))
    asked = pl.DataFrame({"c": pl.Series(["a", "c", None] * 20, dtype=other), "x": x})
    with pytest.warns(UserWarning, match="not seen during fit"):
        filled = model.impute(asked)["c"]
    assert filled.dtype == other
    assert filled.null_count() == 0
    assert filled[1::3].to_list() == ["c"] * 20


def test_objects_of_pandas_are_filled_by_a_model_of_polars():
    X = pl.DataFrame({"b": [True, None] * 30, "x": np.arange(60.0)})
    filled = small().fit(X).impute(X.to_pandas())
    assert filled["b"].tolist()[::2] == [True] * 30
    assert not filled.isna().any(axis=None)


def test_draws_stay_within_what_a_dtype_holds():
    rng = np.random.default_rng(0)
    halves = pd.DataFrame({"x": (60_000 + 1_000 * rng.normal(size=80)).astype("float16")})
    drawn = small(likelihoods={"x": "gaussian"}).fit(halves).sample(3_000, random_state=0)
    assert np.isfinite(drawn["x"]).all()
    decimals = pl.Series("x", ["99.90", "12.34"] * 40).cast(pl.Decimal(4, 2)).to_frame()
    drawn = small(likelihoods={"x": "gaussian"}).fit(decimals).sample(3_000, random_state=0)
    assert drawn.schema == decimals.schema
    assert float(drawn["x"].max()) == 99.99
    pa = pytest.importorskip("pyarrow")
    of_arrow = decimals.to_pandas().astype(pd.ArrowDtype(pa.decimal128(4, 2)))
    drawn = small(likelihoods={"x": "gaussian"}).fit(of_arrow).sample(3_000, random_state=0)
    assert drawn.dtypes.equals(of_arrow.dtypes)
    wide = pl.DataFrame({"x": pl.Series([1, 2, None, 4] * 20, dtype=pl.Int128)})
    assert small().fit(wide).sample(5, random_state=0).schema == wide.schema


def test_dtypes_that_cannot_be_modelled_are_refused_by_name():
    pa = pytest.importorskip("pyarrow")
    X = pd.DataFrame(
        {
            "coded": pd.Series(["a", "b"]).astype(
                pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
            ),
            "lists": pd.Series([[1], [2]]).astype(pd.ArrowDtype(pa.list_(pa.int64()))),
            "bytes": [bytearray(b"a"), bytearray(b"b")],
        }
    )
    with pytest.raises(TypeError) as caught:
        small().fit(X)
    assert all(f"column {name!r}" in str(caught.value) for name in X)


@pytest.mark.parametrize("parameter", ["condition_features", "categorical_features"])
def test_a_selection_is_not_a_truth_value(parameter):
    with pytest.raises(ValueError, match=f"{parameter} takes names, positions or a mask, not True"):
        small(**{parameter: True}).fit(pd.DataFrame({"x": [1.0, 2.0]}))


def test_a_likelihood_is_a_name():
    with pytest.raises(ValueError, match=r"there is no likelihood \['gaussian'\]"):
        small(likelihoods={"x": ["gaussian"]}).fit(pd.DataFrame({"x": [1.0, 2.0]}))


@pytest.mark.parametrize(("n", "fine"), [(20_000, True), (19_999, False)])
def test_numbers_that_follow_others_have_finer_bins_where_there_are_many_cells(n, fine):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    X = pd.DataFrame({"x": x, "double": 2 * x + rng.normal(size=n), "alone": rng.normal(size=n)})
    parameters = {"categorical": "from_dtype", "likelihoods": "auto"}
    table, values = TableCodec.fit(X, None, conditions=None, **parameters)
    n_bins = [len(codec.means) for codec in table.codecs]
    assert [n > 90 for n in n_bins] == [fine, fine, False]
    assert [codec.leans for codec in table.codecs] == [fine, fine, False]
    assert [bool(codec.reach[1:-1].all()) for codec in table.codecs] == [fine, fine, False]
    assert not any(codec.reach[[0, -1]].any() for codec in table.codecs)
    assert (values == table.encode(table.read(X))).all()
    as_condition, _ = TableCodec.fit(X, None, conditions=["double"], **parameters)
    assert max(len(codec.means) for codec in as_condition.codecs) < 90


def nearly_equal(n):
    """Four columns: three that follow one another closely, one of them on normal scores."""
    rng = np.random.default_rng(0)
    radius = rng.lognormal(sigma=0.6, size=n)
    area = np.pi * radius**2 * np.exp(0.01 * rng.normal(size=n))
    with_zeros = np.where(rng.random(n) < 0.1, 0.0, area)
    return pd.DataFrame(
        {"radius": radius, "area": area, "zeros": with_zeros, "alone": radius[::-1]}
    )


AUTO = {"categorical": "from_dtype", "conditions": None, "likelihoods": "auto"}


def test_numbers_that_follow_others_closely_are_tilted_gaussians():
    X = nearly_equal(1000)
    table, values = TableCodec.fit(X, None, **AUTO)
    assert table.likelihoods[:2] == ("tilted_gaussian", "tilted_gaussian")
    assert table.likelihoods[2:4] == ("histogram", "histogram_per_row")
    assert [len(codec.means) > 60 for codec in table.codecs[:2]] == [True, True]
    assert [codec.block[-1] < 40 for codec in table.codecs[:2]] == [True, True]
    assert (values[:, :4] == table.encode(table.read(X))[:, :4]).all()
    inverse = X.assign(area=1 / X["area"])
    assert TableCodec.fit(inverse, None, **AUTO)[0].likelihoods[1] == "tilted_gaussian"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"likelihoods": {"area": "histogram"}}, ("histogram_per_row", "histogram")),
        ({"conditions": ["area"]}, ("histogram_per_row", "histogram_per_row")),
    ],
)
def test_conditions_and_what_was_asked_for_are_no_tilted_gaussians(change, names):
    X = nearly_equal(1000)[["radius", "area"]]
    table, _ = TableCodec.fit(X, None, **AUTO | change)
    assert table.likelihoods[:2] == names


def test_few_rows_or_cells_do_not_say_that_numbers_follow_others():
    X = nearly_equal(999)
    assert "tilted_gaussian" not in TableCodec.fit(X, None, **AUTO)[0].likelihoods
    X = nearly_equal(1000)
    X.loc[90:, "area"] = np.nan
    named = TableCodec.fit(X, None, **AUTO)[0].likelihoods
    assert named[:2] == ("histogram_per_row", "histogram_per_row")


def test_numbers_that_hardly_repeat_have_widths_per_row_in_tables_that_are_not_large():
    rng = np.random.default_rng(0)
    few = pd.DataFrame({"size": rng.normal(size=9_999), "grade": rng.integers(0, 10, 9_999)})
    assert TableCodec.fit(few, None, **AUTO)[0].likelihoods == ("histogram_per_row", "histogram")
    masking, ordered = {"missing_mechanism": "self_masking"}, {"backbone": MLP(ordered=True)}
    for params in (masking, ordered):
        model = ConditionalVAE(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0, **params)
        assert model.fit(few[:100]).likelihoods_["size"] == "histogram"
    many = pd.concat([few, few[:1]])
    assert TableCodec.fit(many, None, **AUTO)[0].likelihoods == ("histogram", "histogram")


def test_groups_of_numbers_in_which_one_nearly_tells_another():
    alike = np.zeros((7, 7))
    for i, j, size in [(0, 1, 0.995), (1, 2, 0.93), (3, 4, 0.98), (5, 6, 0.5)]:
        alike[i, j] = alike[j, i] = size
    assert _nearly_known(alike).tolist() == [True] * 3 + [False] * 4
    assert _nearly_known(np.zeros((0, 0))).tolist() == []


def test_numbers_whose_squares_overflow_have_the_codec_of_smaller_ones():
    numbers = np.random.default_rng(1).normal(size=200)
    large = np.ldexp(numbers, 660)
    of_small, of_large = (NumericCodec.fit(x, natural=True) for x in (numbers, large))
    assert len(of_large.above)
    np.testing.assert_array_equal(of_large.above, of_small.above)
    np.testing.assert_array_equal(of_large.scores, of_small.scores)
    farthest = numbers / np.abs(numbers).max() * 8e307
    assert np.isfinite(NumericCodec.fit(farthest, natural=True).above).all()
