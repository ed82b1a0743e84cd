"""Cells of odd dtypes come back as they were, and what is asked for is read exactly or refused."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import small

from sklearn_cvae import CVAEImputer

N = 60
X = np.random.default_rng(0).normal(size=N)
DAY = dt.datetime(2020, 1, 1)


@pytest.fixture(scope="module")
def counted():
    return small().fit(pd.DataFrame({"k": (np.arange(N) % 9).astype("uint8"), "x": X}))


@pytest.mark.parametrize(
    "cells", [np.array([-1, 3], "int8"), [300, 3], [300.5, 3.0], np.array([2**64 - 1, 0], "uint64")]
)
def test_numbers_that_the_training_dtype_cannot_hold_stay(counted, cells):
    asked = pd.DataFrame({"k": cells, "x": [0.0, np.nan]})
    assert counted.impute(asked)["k"].tolist() == asked["k"].tolist()


@pytest.mark.parametrize("dtype", [object, "Int64", "int64[pyarrow]"])
def test_and_so_they_do_beside_a_hole(counted, dtype):
    asked = pd.DataFrame({"k": pd.Series([300, None, -1], dtype=dtype), "x": [0.0, 1.0, 2.0]})
    filled = counted.impute(asked)["k"]
    assert filled[[0, 2]].tolist() == [300, -1]
    assert filled.notna().all()


@pytest.mark.parametrize("dtypes", [("int64", "uint64"), ("uint64", "int64")])
def test_integers_of_the_other_sign_are_not_taken_for_those_of_the_training_table(dtypes):
    trained, asked = dtypes
    model = small().fit(pd.DataFrame({"k": np.arange(N).astype(trained), "x": X}))
    odd = 2**63 + 5 if asked == "uint64" else -1
    cells = pd.DataFrame({"k": np.array([odd, 5], dtype=asked), "x": [0.0, 0.0]})
    assert model.impute(cells)["k"].tolist() == [odd, 5]
    small_ones = cells.assign(k=np.array([4, 5], dtype=asked))
    assert model.impute(small_ones)["k"].dtype == trained


def test_polars_integers_beyond_floats_are_not_rounded_beside_a_hole():
    model = small().fit(pl.DataFrame({"x": X, "k": X}))
    filled = model.impute(pl.DataFrame({"x": [0.0, 1.0], "k": [2**53 + 1, None]}))
    assert filled["k"][0] == 2**53 + 1
    assert filled["k"].null_count() == 0
    filled = model.impute(pl.DataFrame({"x": [0.0, 1.0], "k": [3, None]}))
    assert filled["k"].dtype == pl.Float64


def test_long_doubles_are_numbers_and_so_are_objects_with_a_missing_time():
    assert set(small().fit(np.c_[X, X].astype(np.longdouble)).likelihoods_.values()) == {
        "histogram_per_row"
    }
    cells = pd.Series([pd.NaT if i % 7 == 0 else i for i in range(N)], dtype=object)
    model = small().fit(pd.DataFrame({"x": X, "k": cells}))
    assert model.likelihoods_["k"] != "categorical"
    filled = model.impute(pd.DataFrame({"x": X, "k": cells}))["k"]
    assert filled.notna().all()
    assert filled[1] == 1


def test_arrow_times_of_milliseconds_are_refused_by_name():
    cells = pd.Series([DAY] * N, dtype=pd.ArrowDtype(pa.date64()))
    with pytest.raises(TypeError, match=r"'day'.*date64.*convert it"):
        small().fit(pd.DataFrame({"x": X, "day": cells}))


def timed(library: str):
    hours = [DAY + dt.timedelta(hours=i) for i in range(N)]
    columns = {
        "x": X,
        "day": [(DAY + dt.timedelta(days=i)).date() for i in range(N)],
        "ms": [DAY + dt.timedelta(milliseconds=i) for i in range(N)],
        "zoned": [h.replace(tzinfo=dt.UTC) for h in hours],
        "lasted": [dt.timedelta(hours=i) for i in range(N)],
    }
    if library == "polars":
        frame = pl.DataFrame(columns | {"clock": [h.time() for h in hours]})
        return frame.with_columns(pl.col("ms").cast(pl.Datetime("ms")))
    frame = pd.DataFrame(columns)
    dtypes = {"day": "datetime64[s]", "ms": "datetime64[ms]"}
    return frame.astype(dtypes)


@pytest.fixture(scope="module", params=["pandas", "polars"])
def clocked(request):
    return small().fit(timed(request.param)), request.param


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("day", ["2020-01-05", dt.date(2020, 1, 5), np.datetime64("2020-01-05"), DAY]),
        ("ms", ["2020-01-01T00:00:00.005", DAY, pd.Timestamp(DAY), np.datetime64(DAY, "us")]),
        ("zoned", [pd.Timestamp("2020-01-02", tz="UTC"), pd.Timestamp("2020-01-02 03", tz="CET")]),
        ("lasted", [np.timedelta64(5, "h"), pd.Timedelta("5h"), "5h", dt.timedelta(hours=5)]),
    ],
)
def test_times_are_asked_for_as_texts_or_objects_of_any_library(clocked, name, values):
    model, library = clocked
    for value in values:
        drawn = model.sample(2, {name: value}, random_state=0)[name]
        wanted = pd.Timedelta(value) if name == "lasted" else pd.Timestamp(value)
        if name == "day" and library == "polars":
            wanted = wanted.date()
        if name == "zoned":
            wanted = wanted.tz_convert("UTC")
        assert list(drawn) == [wanted] * 2
        assert list(model.sample(2, {name: [value]}, random_state=0)[name]) == [wanted] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("day", DAY + dt.timedelta(hours=12)),
        ("ms", DAY + dt.timedelta(microseconds=2999)),
        ("ms", "2020-01-01T00:00:00.0029"),
        ("zoned", DAY),
        ("zoned", dt.datetime(2020, 1, 1, 0, 30, tzinfo=dt.UTC)),
        ("ms", DAY.replace(tzinfo=dt.UTC)),
        ("lasted", dt.timedelta(minutes=30)),
        ("lasted", 5),
        ("day", "soon"),
    ],
)
def test_times_that_a_cell_would_hold_rounded_are_refused_with_all_else(clocked, name, value):
    model, _ = clocked
    with pytest.raises(ValueError, match=rf"'{name}'[\s\S]*'nope' is not a column"):
        model.sample(1, {name: value, "nope": 1})


def test_times_of_day_are_asked_for():
    model = small().fit(timed("polars"))
    for value in (dt.time(3), "03:00"):
        assert model.sample(2, {"clock": value})["clock"].to_list() == [dt.time(3)] * 2
    for wrong in (DAY, "three", dt.timedelta(hours=3), dt.time(3, 30)):
        with pytest.raises(ValueError, match="'clock'"):
            model.sample(1, {"clock": wrong})


@pytest.mark.parametrize("dtype", ["Int64", "int32[pyarrow]", "Float64", object])
def test_missing_values_among_conditions_are_unknown(dtype):
    model = small(condition_features=["k"])
    cells = pd.Series(np.arange(N) % 9).astype(dtype)
    model.fit(pd.DataFrame({"x": X, "k": cells, "y": X}))
    asked = pd.DataFrame({"k": pd.Series([1, None, 2], dtype=dtype)})
    drawn = model.sample(conditions=asked, random_state=0)["k"]
    assert drawn[[0, 2]].tolist() == [1, 2]
    assert model.sample(2, {"k": pd.NA}, random_state=0).shape == (2, 3)
    Z = model.transform(pd.DataFrame({"x": X[:3], "k": cells[:3], "y": X[:3]}))
    assert model.inverse_transform(Z, asked)["k"].tolist()[::2] == [1, 2]


def test_columns_without_a_cell_are_left_out_of_polars_frames():
    for dtype in (pl.Float64, pl.Null, pl.Date, pl.Categorical):
        frame = pl.DataFrame({"a": X, "b": pl.Series([None] * N, dtype=dtype)})
        assert CVAEImputer(small()).fit_transform(frame).columns == ["a"]


def test_a_list_of_rows_with_text_keeps_its_numbers_and_its_holes():
    rows = [[float(v), np.nan if i % 5 == 0 else "ab"[i % 2]] for i, v in enumerate(X)]
    model = small().fit(rows)
    assert model.likelihoods_ == {0: "histogram_per_row", 1: "bernoulli"}
    assert model._table.columns[1].levels == ("a", "b")
    filled = model.impute(rows)
    assert [row[0] for row in filled] == [row[0] for row in rows]
    assert set(filled[:, 1]) == {"a", "b"}


@pytest.mark.parametrize("names", [(0, 1), (("a", "x"), ("a", "y"))])
def test_columns_that_are_not_named_by_text_have_to_stand_as_in_fit(names):
    frame = pd.DataFrame(dict(zip(names, (X, 100 + X), strict=True)))
    model = CVAEImputer(small()).fit(frame)
    assert model.transform(frame).equals(frame)
    for other in (frame[[names[1], names[0]]], frame.set_axis([names[0], 7], axis=1)):
        for answer in (model.transform, model.estimator_.score):
            with pytest.raises(ValueError, match=r"in the order.*Select them by name"):
                answer(other)
    assert np.isfinite(model.estimator_.score(frame.to_numpy()))


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_masked_cells_are_missing():
    numbers = np.c_[X, np.arange(N) % 9]
    masked = np.ma.array(numbers, mask=np.arange(2 * N).reshape(N, 2) % 7 == 0)
    masked.data[masked.mask] = -9999
    assert small().fit(masked).sample(50, random_state=0).min() > -10
    whole = np.ma.array(np.arange(2 * N).reshape(N, 2) % 9, mask=masked.mask)
    assert small().fit(whole).impute(whole).dtype == np.float64
    text = np.ma.array([["a", "b"], ["b", "a"]] * 20, mask=[[True, False], [False, False]] * 20)
    filled = small().fit(text).impute(text)
    assert set(filled.ravel()) == {"a", "b"}
    assert filled[1].tolist() == ["b", "a"]


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_markers_in_arrays_leave_the_other_cells_exact():
    text = np.array([["a", "?"], ["b", "c"]] * 20)
    filled = CVAEImputer(small(), missing_values="?").fit_transform(text)
    assert filled[:, 0].tolist() == text[:, 0].tolist()
    assert set(filled[:, 1]) == {"c"}
    ids = np.array([[2**60 + 1 + i, -1 if i % 3 == 0 else i] for i in range(60)])
    filled = CVAEImputer(small(), missing_values=-1).fit_transform(ids)
    assert filled[:, 0].tolist() == ids[:, 0].tolist()
    assert (filled[:, 1] >= 0).all()
    flags = np.array([[False, True], [True, True]] * 20)
    assert CVAEImputer(small(), missing_values=0).fit_transform(flags).dtype == bool


def test_tables_of_arrow_are_to_be_converted():
    table = pa.table({"x": X})
    with pytest.raises(TypeError, match=r"to_pandas\(\)"):
        small().fit(table)
    with pytest.raises(TypeError, match=r"to_pandas\(\)"):
        small().fit(pd.DataFrame({"x": X})).sample(conditions=table)


def test_the_truth_of_hidden_cells_is_the_cell():
    frame = pd.DataFrame({"id": 2**60 + 7 * np.arange(N), "x": X})
    hidden = small().fit(frame).overimpute(frame, share=0.5, random_state=0)
    ids = hidden[hidden["column"] == "id"]
    assert ids["truth"].tolist() == frame["id"][ids["row"]].tolist()


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_deviations_of_any_size(scale):
    frame = pd.DataFrame({"x": X, "far": scale * X})
    frame.loc[::4, "far"] = np.nan
    _, std = small().fit(frame).impute(frame, return_std=True)
    assert (std[::4, 1] / scale > 0.01).all()
    assert (std[::4, 1] / scale < 100).all()


def test_indicators_join_columns_of_two_levels():
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")], names=["what", "which"])
    frame = pd.DataFrame({0: np.where(np.arange(N) % 5, X, np.nan), 1: X[::-1]}).set_axis(
        columns, axis=1
    )
    filled = CVAEImputer(small(), add_indicator=True).fit_transform(frame)
    assert filled.columns.tolist() == [*columns, ("missingindicator_x0", "")]
    assert filled.columns.names == columns.names
    assert filled["missingindicator_x0"].tolist() == frame[("a", "x")].isna().tolist()
    assert filled["a"].notna().all(axis=None)


def test_numbers_whose_differences_overflow_are_refused():
    frame = pd.DataFrame({"far": 0.99e300 * X / np.abs(X).max(), "x": X})
    frame.loc[::4, "far"] = np.nan
    assert np.isfinite(small().fit(frame).impute(frame)).all(axis=None)
    farther = frame.assign(far=4.5 * frame["far"])
    message = r"(?s)column 'far': \d+ values beyond 1e300, the first in row \d+ \(.*divide"
    with pytest.raises(ValueError, match=message):
        small().fit(farther)
    with pytest.raises(ValueError, match=message):
        small().fit(frame).impute(farther)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([np.inf, *X[1:]], r"1 infinity values, the first in row 0"),
        ([*X[:2], -1.7e308, *X[3:]], r"1 values beyond 1e300, the first in row 2 \(-1.7e\+308\)"),
        ([[1]] * N, "flatten nested values"),
        (X + 1j, "Complex data not supported"),
        (pd.period_range("2020", periods=N), "period.* is not supported"),
    ],
)
def test_targets_that_cannot_be_conditions_are_refused(cells, message):
    target = pd.Series(cells)
    with pytest.raises((ValueError, TypeError), match=rf"y cannot be a condition: .*{message}"):
        small(condition_on_target=True).fit(pd.DataFrame({"x": X}), target)


def test_a_target_is_not_to_be_taken_for_a_column_of_its_name():
    frame = pd.DataFrame({"x": X, "target": X})
    model = small(condition_on_target=True)
    for y in (X, pd.Series(X, name="target")):
        with pytest.raises(ValueError, match=r"X has a column 'target'.*give y another"):
            model.fit(frame, y)
    assert model.fit(frame, pd.Series(X, name="label")).condition_names_ == ["label"]
    assert model.fit(frame[["x"]], pd.Series(X, name="x")).condition_names_ == ["target"]
