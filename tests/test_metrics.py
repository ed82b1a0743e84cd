"""Scores of drawn tables, on tables whose scores are known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import ks_2samp
from sklearn.tree import DecisionTreeClassifier

from sklearn_cvae import metrics


def mixed(seed: int, n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return pd.DataFrame(
        {
            "a": a,
            "b": a + 0.5 * rng.normal(size=n),
            "c": np.where(a + 0.3 * rng.normal(size=n) > 0, "up", "down"),
            "d": rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1]),
        }
    )


REAL, OTHER, THIRD = mixed(0), mixed(1), mixed(2)
SHUFFLED = pd.DataFrame(
    {c: REAL[c].sample(frac=1, random_state=j).to_numpy() for j, c in enumerate(REAL.columns)}
)


def test_shapes_are_those_of_scipy_and_of_hand_counts():
    shapes = metrics.column_shapes(REAL, OTHER)
    assert shapes["a"] == pytest.approx(1 - ks_2samp(REAL["a"], OTHER["a"]).statistic)
    p, q = (t["d"].value_counts(normalize=True) for t in (REAL, OTHER))
    assert shapes["d"] == pytest.approx(1 - (p - q).abs().sum() / 2)
    assert (metrics.column_shapes(REAL, REAL) == 1).all()
    assert metrics.column_shapes(REAL, SHUFFLED).min() == pytest.approx(1)


def test_shapes_of_times_booleans_holes_and_polars_frames():
    real = pd.DataFrame(
        {
            "t": pd.date_range("2020-01-01", periods=100),
            "f": [True, False] * 50,
            "h": [np.nan, 1.0] * 50,
            "e": [np.nan] * 100,
        }
    )
    drawn = real.assign(t=real["t"] + pd.Timedelta(days=50), f=True)
    shapes = metrics.column_shapes(real, drawn)
    assert shapes["t"] == pytest.approx(0.5)
    assert shapes["f"] == pytest.approx(0.5)
    assert shapes["h"] == shapes["e"] == 1
    frames = pl.from_pandas(REAL), pl.from_pandas(OTHER)
    pd.testing.assert_series_equal(
        metrics.column_shapes(*frames), metrics.column_shapes(REAL, OTHER)
    )


def test_trends_see_what_shapes_do_not():
    same, shuffled = metrics.pair_trends(REAL, OTHER), metrics.pair_trends(REAL, SHUFFLED)
    assert np.nanmin(same.to_numpy()) > 0.93
    correlations = [np.corrcoef(t["a"], t["b"])[0, 1] for t in (REAL, SHUFFLED)]
    assert shuffled.loc["a", "b"] == pytest.approx(1 - abs(np.subtract(*correlations)) / 2)
    assert shuffled.loc["a", "c"] < 0.75
    assert shuffled.loc["a", "d"] > 0.9
    assert same.equals(same.T)


def test_one_outlier_of_the_drawn_table_does_not_move_its_trend():
    outlier = OTHER.copy()
    outlier.loc[0, "b"] = 1e6
    trends = [metrics.pair_trends(REAL, t).loc["b", "c"] for t in (OTHER, outlier)]
    assert trends[1] == pytest.approx(trends[0], abs=0.002)


def test_coverage_tells_copies_and_collapse():
    fair = metrics.alpha_precision_beta_recall(REAL, OTHER)
    copies = metrics.alpha_precision_beta_recall(REAL, REAL)
    centre = pd.concat([REAL[REAL["a"].abs() < 0.2]] * 10).head(2000)
    collapsed = metrics.alpha_precision_beta_recall(REAL, centre)
    far = metrics.alpha_precision_beta_recall(REAL, OTHER.assign(a=OTHER["a"] * 5))
    assert fair.alpha_precision > 0.95
    assert 0.35 < fair.beta_recall < 0.65
    assert copies.beta_recall > 0.95
    assert collapsed.beta_recall < fair.beta_recall - 0.1
    assert far.alpha_precision < 0.9


@pytest.mark.parametrize(
    "classifier", ["boosting", "logistic", DecisionTreeClassifier(max_depth=3)]
)
def test_two_samples_are_told_apart_if_they_differ(classifier):
    alike = metrics.two_sample_score(REAL, OTHER, classifier, random_state=0)
    moved = metrics.two_sample_score(REAL, OTHER.assign(a=OTHER["a"] + 3), classifier, 0)
    assert alike > 0.9
    assert moved < 0.3


def test_only_boosting_sees_dependence():
    scores = [metrics.two_sample_score(REAL, SHUFFLED, c, 0) for c in ("boosting", "logistic")]
    assert scores[0] < 0.5
    assert scores[1] > 0.9


def test_learning_efficiency_is_auc_or_r2():
    assert metrics.learning_efficiency(REAL, OTHER, "c", 0) > 0.93
    assert 0.4 < metrics.learning_efficiency(SHUFFLED, OTHER, "c", 0) < 0.6
    assert 0.7 < metrics.learning_efficiency(REAL, OTHER, "b", 0) < 0.85
    assert metrics.learning_efficiency(SHUFFLED, OTHER, "b", 0) < 0.1
    assert 0.4 < metrics.learning_efficiency(REAL, OTHER, "d", 0) < 0.6
    with pytest.raises(ValueError, match="not a column"):
        metrics.learning_efficiency(REAL, OTHER, "q")
    with pytest.raises(ValueError, match="in common"):
        metrics.learning_efficiency(REAL.assign(c="up"), OTHER, "c")


def test_copying_is_seen():
    fair = metrics.copying(REAL, OTHER, THIRD, 0)
    assert fair.exact_copies == 0
    assert abs(fair.closer_to_train - 0.5) < 0.05
    copied = metrics.copying(REAL, REAL.head(500), THIRD, 0)
    assert copied.exact_copies == 1
    assert copied.closer_to_train > 0.95
    noisy = REAL.assign(a=REAL["a"] + 0.001, b=REAL["b"] + 0.001)
    assert metrics.copying(REAL, noisy, THIRD.head(1000), 0).closer_to_train > 0.7
    few = pd.DataFrame({"k": [0, 1] * 50})
    assert metrics.copying(few, few, few.head(50)).copies_of_holdout == 2.0


def test_membership_is_a_ranking():
    rng = np.random.default_rng(0)
    fair = metrics.membership_attack(rng.normal(size=5000), rng.normal(size=5000))
    assert abs(fair.auc - 0.5) < 0.02
    assert abs(fair.tpr_at_fpr - 0.01) < 0.005
    known = metrics.membership_attack(rng.normal(size=5000) + 2, rng.normal(size=5000))
    assert known.auc > 0.9
    assert known.tpr_at_fpr > 0.2


def test_tables_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"one table only: \['d', 'e'\]"):
        metrics.column_shapes(REAL, OTHER.rename(columns={"d": "e"}))
    with pytest.raises(ValueError, match="0 rows"):
        metrics.pair_trends(REAL, OTHER.head(0))
    reordered = OTHER[["d", "c", "b", "a"]]
    assert metrics.column_shapes(REAL, reordered).equals(metrics.column_shapes(REAL, OTHER))


def test_times_are_compared_in_one_unit_and_dates_of_polars_as_times():
    days = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=200).as_unit("us")})
    assert metrics.column_shapes(days, days.astype("datetime64[ns]"))["t"] == 1
    start = dt.date(2020, 1, 1)
    polars = pl.DataFrame(
        {
            "date": [start + dt.timedelta(days=i) for i in range(200)],
            "took": [dt.timedelta(seconds=i) for i in range(200)],
            "at": [dt.time(i % 24, i % 60) for i in range(200)],
            "paid": pl.Series([f"{i}.25" for i in range(200)]).cast(pl.Decimal(6, 2)),
        }
    )
    shifted = polars.with_columns(
        pl.col("date") + pl.duration(days=1),
        pl.col("took") + pl.duration(seconds=1),
        pl.col("paid").cast(pl.Float64) + 1,
    )
    assert (metrics.column_shapes(polars, shifted) > 0.99).all()


def test_whole_numbers_that_come_as_floats_are_copies():
    whole = pd.DataFrame({"a": range(50), "b": ["x", "y"] * 25})
    found = metrics.copying(whole, whole.astype({"a": float}), whole[:20] + whole[:20])
    assert found.exact_copies == 1


def test_identifiers_do_not_fill_the_memory():
    table = pd.DataFrame({"id": [f"row {i}" for i in range(2_000)]})
    assert metrics.encode_rows(table, table)[0].shape == (2_000, 500)


def test_tables_of_other_kinds_are_refused_by_name():
    x, text = pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": ["p", "q"]})
    with pytest.raises(ValueError, match=r"numbers or times in one table only: \['a'\]"):
        metrics.column_shapes(x, text)
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match=r"Duplicate column names \['a'\]"):
        metrics.column_shapes(twice, twice)
    with pytest.raises(ValueError, match=r"one of \['boosting', 'logistic'\], not 'forest'"):
        metrics.two_sample_score(x, x, "forest")


def test_rows_of_no_density_are_ranked_too():
    assert metrics.membership_attack([-np.inf, 3.0], [0.0, -np.inf]).auc == 0.625


def test_cells_that_were_not_imputed_are_named():
    X = pd.DataFrame({"a": [0.0, 2.0, 4.0], "b": pd.array([True, False, None], dtype="boolean")})
    hidden = np.array([[True, True], [True, False], [False, False]])
    with pytest.raises(ValueError, match=r"in 'a' \(2\), 'b' \(1\); impute them"):
        metrics.imputation_errors(X, X.mask(hidden), X.mask(hidden), hidden)
    assert metrics.imputation_errors(X, X.mask(hidden), X, hidden).accuracy == 1


def test_a_target_that_is_never_known_is_refused():
    X = pd.DataFrame({"a": np.arange(90.0), "b": np.arange(90) % 2 == 0})
    with pytest.raises(ValueError, match="'b' is known in 0 and 90 rows"):
        metrics.learning_efficiency(X.assign(b=pd.array([None] * 90, dtype="boolean")), X, "b")
