"""What imputation says of its own uncertainty, and values that hide themselves."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import small

from sklearn_cvae import ConditionalVAE, CVAEImputer, load, save
from sklearn_cvae.codecs import NumericCodec
from sklearn_cvae.plotting import OverimputationDisplay


@pytest.fixture(scope="module")
def numbers():
    """Three correlated numbers, one of them noise, with 30 % of the cells missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 1))
    x = np.hstack([10 + 5 * z, z + 0.3 * rng.normal(size=(600, 1)), rng.normal(size=(600, 1))])
    truth = pd.DataFrame(x, columns=["a", "b", "noise"])
    return truth, truth.mask(rng.random(x.shape) < 0.3)


@pytest.fixture(scope="module")
def of_numbers(numbers):
    return ConditionalVAE(hidden_layer_sizes=(64,), max_iter=40, random_state=0).fit(numbers[1])


def test_std_is_the_size_of_the_errors(of_numbers, numbers):
    truth, holes = numbers
    completed, std = of_numbers.impute(holes, return_std=True)
    missing = holes.isna().to_numpy()
    assert (std[~missing] == 0).all()
    errors = np.abs(completed - truth).to_numpy()[missing] / std[missing]
    assert 0.8 < np.sqrt(np.mean(errors**2)) < 1.2
    known_b = holes["a"].isna() & holes["b"].notna()
    alone = holes["a"].isna() & holes["b"].isna()
    assert std[known_b, 0].mean() < 0.6 * std[alone, 0].mean()


def test_draws_cover_hidden_cells_as_often_as_they_say(of_numbers, numbers):
    truth, holes = numbers
    draws = of_numbers.impute(holes, n_imputations=19, strategy="draw", random_state=0)
    missing = holes.isna().to_numpy()
    ranks = (np.stack(draws) < truth.to_numpy())[:, missing].sum(axis=0)
    assert 0.85 < np.mean((ranks > 0) & (ranks < 19)) < 0.95


def test_cells_hidden_for_being_large_are_imputed_beyond_the_seen_range():
    rng = np.random.default_rng(0)
    x = rng.normal(size=800)
    truth = pd.DataFrame({"x": x, "y": 50 + 10 * x + rng.normal(size=800)})
    large = (truth["x"] > 1).to_numpy()
    holes = truth.assign(y=truth["y"].mask(large))
    model = ConditionalVAE(hidden_layer_sizes=(64,), max_iter=20, random_state=0).fit(holes)
    completed = model.impute(holes)
    errors = (completed["y"] - truth["y"])[large]
    assert abs(errors.mean()) < 3
    assert completed["y"].max() > holes["y"].max() + 3
    assert model.impute(holes, strategy="draw", random_state=0)["y"].max() > holes["y"].max() + 3
    drawn = model.sample(2000, random_state=0)
    assert drawn["y"].max() <= holes["y"].max()
    bounded = CVAEImputer(model, max_value=65).fit(holes)
    assert bounded.transform(holes)["y"].max() == 65


def test_std_of_levels_times_and_arrays():
    rng = np.random.default_rng(0)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 100, 300), "D")
    frame = pd.DataFrame({"day": day, "level": rng.choice(["a", "b"], 300)})
    frame.loc[:50, "day"] = pd.NaT
    frame.loc[40:90, "level"] = None
    model = small(max_iter=20).fit(frame)
    _, std = model.impute(frame, return_std=True)
    days = std[:51, 0] / 86_400
    assert 20 < days.mean() < 45
    assert 0.3 < std[60, 1] <= 0.5
    _, std = model.impute(pl.from_pandas(frame), return_std=True)
    assert std.shape == (300, 2)


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_std_of_a_column_that_stays_missing_is_nan():
    X = np.c_[np.arange(20.0), np.full(20, np.nan)]
    X[3, 0] = np.nan
    _, std = small().fit(X).impute(X, return_std=True)
    assert std[3, 0] > 0
    assert np.isnan(std[:, 1]).all()


def test_overimpute_sets_truth_beside_estimate_and_interval(fitted, penguins):
    check = fitted.overimpute(penguins, share=0.2, random_state=0)
    assert 0.8 < check["covered"][check["lower"].notna()].mean() <= 1
    assert "species" not in set(check["column"])
    for line in check.itertuples():
        assert line.truth == penguins.iloc[line.row][line.column]
    levels = check[check["column"] == "sex"]
    assert (levels["covered"] == (levels["truth"] == levels["estimate"])).all()
    again = fitted.overimpute(penguins, share=0.2, random_state=0)
    pd.testing.assert_frame_equal(check, again)
    wide = fitted.overimpute(penguins, share=0.2, coverage=0.99, random_state=0)
    number = check["column"] == "body_mass_g"
    assert (wide["lower"][number] <= check["lower"][number]).all()


def test_overimpute_refuses_what_it_cannot_do(fitted, penguins):
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 2"):
        fitted.overimpute(penguins, share=2)
    with pytest.raises(ValueError, match="No cell was hidden"):
        fitted.overimpute(penguins.iloc[:1].assign(bill_length_mm=np.nan), share=1e-9)


def test_overimputation_display(fitted, penguins):
    check = fitted.overimpute(penguins, share=0.2, random_state=0)
    display = OverimputationDisplay(check, "body_mass_g").plot()
    shown = display.ax_.collections[0].get_offsets()
    assert len(shown) == (check["column"] == "body_mass_g").sum()
    with pytest.raises(ValueError, match="'sex' has no intervals"):
        OverimputationDisplay(check, "sex")


def test_spread_is_learned_saved_and_used(of_numbers, numbers, tmp_path):
    _, holes = numbers
    assert 1 <= float(of_numbers.net_.module_.spread) < 3
    save(of_numbers, tmp_path / "model")
    restored = load(tmp_path / "model")
    assert torch.equal(restored.net_.module_.spread, of_numbers.net_.module_.spread)
    std = of_numbers.impute(holes, return_std=True)[1]
    restored.net_.module_.spread.fill_(3.0)
    assert restored.impute(holes, return_std=True)[1].sum() > 1.2 * std.sum()


def test_rows_imputed_by_sweeps_do_not_depend_on_others(of_numbers, numbers, tmp_path):
    _, holes = numbers
    swept = copy.deepcopy(of_numbers)
    swept._module.n_sweeps.fill_(4)
    save(swept, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.n_sweeps_ == 4
    some = holes.iloc[[7, 300, 411, 5]]
    for strategy in ("mean", "median", "draw"):
        everywhere = swept.impute(holes, strategy=strategy, random_state=0)
        pd.testing.assert_frame_equal(
            swept.impute(some, strategy=strategy, random_state=0), everywhere.loc[some.index]
        )
        pd.testing.assert_frame_equal(
            again.impute(holes, strategy=strategy, random_state=0), everywhere
        )
        known = holes.notna()
        pd.testing.assert_frame_equal(everywhere.where(known), holes.where(known))
        assert not everywhere.equals(of_numbers.impute(holes, strategy=strategy, random_state=0))


def test_std_of_codecs_by_hand():
    codec = NumericCodec.fit(np.repeat([0.0, 1.0, 10.0], 20))
    probs = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert codec.std(probs).tolist() == [0.5, 0.0]


def hide_high_values(truth):
    """Make values missing with a probability that rises with the value."""
    z = (truth - truth.mean()) / truth.std()
    p = 1 / (1 + np.exp(-(4 * z[["a", "b"]] - 1)))
    hidden = np.random.default_rng(1).random(p.shape) < p
    return truth.assign(**truth[["a", "b"]].mask(hidden))


def test_self_masking_finds_values_that_hide_themselves(numbers):
    truth, _ = numbers
    holes = hide_high_values(truth)
    missing = holes.isna()

    def rmse(mechanism):
        model = ConditionalVAE(
            hidden_layer_sizes=(64,),
            max_iter=60,
            random_state=0,
            missing_mechanism=mechanism,
        ).fit(holes)
        error = ((model.impute(holes) - truth) / truth.std()).to_numpy()[missing.to_numpy()]
        return np.sqrt(np.mean(error**2)), model

    ignorable, _ = rmse("ignorable")
    modelled, model = rmse("self_masking")
    assert modelled < 0.85 * ignorable
    slopes = model.net_.module_.missingness.slopes[0][:, 0]
    assert (slopes[:2] > 0.5).all()


def test_self_masking_of_levels_and_after_saving(penguins, tmp_path):
    model = small(missing_mechanism="self_masking", max_iter=2).fit(penguins)
    save(model, tmp_path / "model")
    expected = model.impute(penguins)
    pd.testing.assert_frame_equal(load(tmp_path / "model").impute(penguins), expected)


def test_the_imputer_fits_one_frame_and_imputes_another(numbers):
    truth, holes = numbers
    imputer = CVAEImputer(small(max_iter=20), min_value=9.0, max_value=[11.0, np.inf, np.inf])
    imputer.fit(holes[:400])
    other = truth[400:].mask(np.random.default_rng(3).random((200, 3)) < 0.5)
    filled = imputer.transform(other)
    assert not filled.isna().any().any()
    assert filled.index.equals(other.index)
    assert filled.loc[other["a"].isna(), "a"].between(9, 11).all()


def test_a_model_that_knows_the_target_imputes_tables_without_it(penguins):
    X, y = penguins.drop(columns="species"), penguins["species"]
    model = ConditionalVAE(4, condition_on_target=True, max_iter=2, random_state=0).fit(X, y)
    completed, std = model.impute(X, return_std=True)
    assert completed.columns.tolist() == X.columns.tolist()
    assert std.shape == X.shape
    assert not completed.isna().any(axis=None)


def test_a_marker_among_integers_leaves_the_others_as_they_are():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=90), "k": rng.integers(0, 9, 90) + 2**60 + 1})
    X["yes"] = X["x"] > 0
    X.loc[::3, "k"] = -999
    filled = CVAEImputer(small(), missing_values=-999).fit_transform(X)
    assert filled.dtypes.equals(X.dtypes)
    seen = X["k"] != -999
    assert (filled["k"][seen] == X["k"][seen]).all()
    assert (filled["k"][~seen] > 2**59).all()


def test_a_marker_of_zero_is_no_falsehood():
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0] * 20, "b": [False, True] * 30})
    filled = CVAEImputer(small(), missing_values=0).fit_transform(X)
    assert (filled["x"] != 0).all()
    assert filled["b"].equals(X["b"])


def test_a_marker_beside_holes_of_nullable_integers():
    X = pd.DataFrame({"k": pd.array([1, -999, pd.NA, 3] * 20, dtype="Int64")})
    X["x"] = np.arange(80.0) + (X["k"] == 3).fillna(False) * 500
    filled = CVAEImputer(small(), missing_values=-999).fit_transform(X)["k"]
    assert filled.notna().all()
    assert filled.between(1, 3).all()


def test_a_marker_is_never_drawn():
    X = pd.DataFrame({"c": pd.Categorical(["a", "b", "?"] * 30), "x": np.arange(90.0)})
    imputer = CVAEImputer(small(max_iter=1), missing_values="?").fit(X)
    assert set(imputer.estimator_.sample(1_000, random_state=0)["c"]) == {"a", "b"}
    assert set(imputer.transform(X)["c"]) == {"a", "b"}


def test_a_marker_among_integers_is_filled_by_floats_where_floats_were_learned():
    X = pd.DataFrame({"x": np.linspace(0, 1, 60)})
    imputer = CVAEImputer(small(), missing_values=-999).fit(X)
    filled = imputer.transform(pd.DataFrame({"x": [0, -999, 1]}))["x"]
    assert filled.tolist()[::2] == [0, 1]
    assert 0.1 < filled[1] < 0.9


def test_bounds_of_integers_are_whole():
    X = pd.DataFrame({"k": pd.array([*range(30), pd.NA] * 3, dtype="Int64")})
    imputer = CVAEImputer(small(), min_value=12.5, max_value=13.5)
    assert set(imputer.fit_transform(X)["k"][X["k"].isna()]) == {13}
    with pytest.raises(ValueError, match=r"column 'k': no whole number from 3\.5 to 3\.9"):
        imputer.set_params(min_value=3.5, max_value=3.9).fit(X)


def test_an_imputer_given_the_target():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(90, 2)), columns=["a", "b"])
    y = (X["a"] > 0).astype(int)
    X.iloc[::4, 0] = np.nan
    filled = CVAEImputer(small(condition_on_target=True)).fit(X, y).transform(X)
    assert filled.shape == X.shape
    assert filled.notna().all(axis=None)


def test_nullable_numbers_in_an_imputer_of_arrays():
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[::5, 0] = np.nan
    filled = CVAEImputer(small()).fit(X).transform(pd.DataFrame(X).astype("Float64"))
    assert filled.dtype == float
    assert (filled[1] == X[1]).all()


def test_displays_of_dates_and_of_names_with_dollars(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=80), "$a^$": rng.normal(size=80)})
    check = small().fit(X).overimpute(X, share=0.3)
    for column in X:
        display = OverimputationDisplay(check, column).plot()
        display.figure_.savefig(tmp_path / "check.png")
    first = display.lines["truth"].infer_objects()
    assert first.between(X["$a^$"].min(), X["$a^$"].max()).all()


def test_parameters_that_are_set_after_fit_are_checked_too(penguins):
    imputer = CVAEImputer(small(max_iter=1)).fit(penguins)
    model = imputer.estimator_
    with pytest.raises(ValueError, match=r"'strategy'.*'bogus'"):
        imputer.set_params(strategy="bogus").transform(penguins)
    imputer.set_params(strategy="mean")
    for name, wrong in (("n_draws", 0), ("n_jobs", "two")):
        good = getattr(model, name)
        model.set_params(**{name: wrong})
        for answer in (imputer.transform, model.impute, model.score_samples):
            with pytest.raises(ValueError, match=f"'{name}'"):
                answer(penguins)
        with pytest.raises(ValueError, match=f"'{name}'"):
            model.sample(3)
        model.set_params(**{name: good})
    assert len(imputer.transform(penguins)) == len(penguins)


def test_what_another_column_tells_is_known_better_than_to_a_bin():
    rng = np.random.default_rng(0)
    radius = rng.lognormal(sigma=0.6, size=1000)
    area = np.pi * radius**2 * np.exp(0.01 * rng.normal(size=1000))
    truth = pd.DataFrame({"radius": radius, "area": area})
    hidden = np.arange(1000) % 3 == 0
    holes = truth.assign(area=truth["area"].mask(hidden))
    model = ConditionalVAE(2, hidden_layer_sizes=(16, 16), max_iter=15, random_state=0).fit(holes)
    assert set(model.likelihoods_.values()) == {"tilted_gaussian"}

    def usual_error(table):
        return np.median(np.abs(np.log(table["area"] / (np.pi * table["radius"] ** 2))))

    for strategy in ("mean", "median"):
        assert usual_error(model.impute(holes, strategy=strategy)[hidden]) < 0.01
    # By histograms, whose bins are 0.05 wide, draws are off by 0.08 and 0.09; the noise by 0.007.
    assert usual_error(model.impute(holes, strategy="draw", random_state=0)[hidden]) < 0.03
    assert usual_error(model.sample(1000, random_state=0)) < 0.03
    order = rng.permutation(1000)
    assert model.impute(holes).iloc[order].equals(model.impute(holes.iloc[order]))
    assert (model.score_samples(truth)[order] == model.score_samples(truth.iloc[order])).all()


@pytest.mark.parametrize("bound", [["a"] * 8, {}])
def test_bounds_that_are_no_numbers_are_refused_by_name(penguins, bound):
    with pytest.raises(ValueError, match="min_value and max_value take numbers"):
        CVAEImputer(small(), min_value=bound).fit(penguins)
