"""What the estimator promises its users, on real tables."""

from __future__ import annotations

import pickle
import signal
import threading

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import small
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError

from sklearn_cvae import ConditionalVAE, CVAEImputer, inference, load, marginals, save, training
from sklearn_cvae.backbones import MLP
from sklearn_cvae.codecs import LevelCodec


@pytest.fixture(scope="module")
def linear() -> pd.DataFrame:
    """A table with known conditionals: group shifts x, and y = x + noise."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b", "c"], 4000, p=[0.5, 0.3, 0.2])
    x = np.select([group == "a", group == "b"], [-2.0, 0.0], 3.0) + rng.normal(size=4000)
    return pd.DataFrame({"group": group, "x": x, "y": x + 0.5 * rng.normal(size=4000)})


@pytest.fixture(scope="module")
def linear_model(linear) -> ConditionalVAE:
    return ConditionalVAE(8, hidden_layer_sizes=(64, 64), max_iter=30, random_state=0).fit(linear)


# ---- fit --------------------------------------------------------------------------------


def test_fitting_learns(fitted):
    # The first epoch already has the linear model to start from.
    assert fitted.loss_curve_[-1] < 0.75 * fitted.loss_curve_[0]
    assert fitted.loss_curve_[-1] < 0.9
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 60
    assert fitted.validation_curve_ == []
    assert fitted.condition_names_ == ["species"]
    assert fitted.device_ in ("cpu", "cuda")
    assert fitted.net_.module_ is fitted._module


def test_several_decoders_learn_rows_less_by_heart():
    wine = load_wine(as_frame=True).data.sample(frac=1, random_state=0)
    train, test = wine[:120], wine[120:]
    sizes = {"hidden_layer_sizes": (64, 64), "max_iter": 60, "random_state": 0}
    one, three = (ConditionalVAE(n_decoders=k, **sizes).fit(train) for k in (1, 3))
    assert three.score(test) > one.score(test) + 2
    assert three.score(train) - three.score(test) < one.score(train) - one.score(test) - 5


def test_same_seed_same_bits(penguins):
    a, b = (small().fit(penguins) for _ in range(2))
    np.testing.assert_array_equal(a.transform(penguins), b.transform(penguins))
    assert a.sample(5, random_state=1).equals(b.sample(5, random_state=1))
    np.testing.assert_array_equal(a.score_samples(penguins), b.score_samples(penguins))


def test_no_global_state_is_touched(penguins):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    model = small(random_state=None, dropout=0.1, early_stopping=True, n_jobs=2).fit(penguins)
    model.impute(penguins, strategy="draw")
    model.sample(3)
    model.score(penguins)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.get_num_threads() == before[2]
    assert torch.tensor(1e-39) > 0  # a number that training takes for zero


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_too_small_for_float32_come_back_as_they_are(dtype):
    X = np.random.default_rng(0).normal(size=(60, 3)) * [1, 1e-35, 1e-39]
    X = pd.DataFrame(X, columns=list("abc")).astype(dtype)
    X.iloc[:20, 0], X.iloc[20:40, 1], X.iloc[40:, 2] = np.nan, np.nan, np.nan
    imputed = small().fit(X).impute(X)
    assert (imputed.dtypes == dtype).all()
    np.testing.assert_array_equal(imputed.where(X.isna(), X), imputed)
    sizes = imputed.where(X.isna()).abs()
    assert (sizes.max() > [1e-3, 1e-38, 1e-42]).all()


def test_thread_count_is_restored_by_overlapping_fits(penguins):
    before = torch.get_num_threads()
    threads = [threading.Thread(target=small(n_jobs=k + 1).fit, args=(penguins,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.get_num_threads() == before


def test_results_do_not_depend_on_other_rows_or_their_order(fitted, penguins):
    order = np.random.default_rng(0).permutation(len(penguins))
    shuffled = penguins.iloc[order]
    np.testing.assert_array_equal(fitted.transform(shuffled), fitted.transform(penguins)[order])
    np.testing.assert_array_equal(fitted.transform(penguins[7:9]), fitted.transform(penguins)[7:9])
    np.testing.assert_array_equal(
        fitted.score_samples(shuffled), fitted.score_samples(penguins)[order]
    )
    for strategy in ("mean", "draw"):
        whole = fitted.impute(penguins, strategy=strategy, random_state=3)
        assert fitted.impute(shuffled, strategy=strategy, random_state=3).equals(whole.iloc[order])


@pytest.mark.parametrize(("n_components", "width"), [(5, 10), (6, 7), (10, 128), (11, 9)])
@pytest.mark.parametrize("n_columns", [2, 4])
def test_odd_widths_leave_rows_alone_too(n_components, width, n_columns):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, n_columns + 1))
    X[:, 1:] = np.where(rng.random((120, n_columns)) < 0.3, np.nan, X[:, 1:])
    model = ConditionalVAE(n_components, hidden_layer_sizes=[width] * 2, condition_features=[0])
    model.set_params(max_iter=2, random_state=0).fit(X)
    order = rng.permutation(len(X))
    assert (model.score_samples(X)[order] == model.score_samples(X[order])).all()
    assert (model.transform(X)[order] == model.transform(X[order])).all()
    assert (model.impute(X)[order] == model.impute(X[order])).all()
    drawn = model.sample(600, random_state=0)
    batches = model.sample_batches(600, random_state=0, batch_size=7)
    assert (drawn == np.vstack(list(batches))).all()


def test_draws_of_equal_rows_differ(fitted, penguins):
    copies = pd.concat([penguins.iloc[[3]]] * 50, ignore_index=True)
    drawn = fitted.impute(copies, strategy="draw", random_state=0)
    assert drawn["bill_length_mm"].nunique() > 5


def test_early_stopping_keeps_the_best_weights(penguins):
    model = small(
        early_stopping=True, max_iter=200, n_iter_no_change=5, learning_rate_init=0.02, tol=0.0
    ).fit(penguins)
    curve = model.validation_curve_
    assert model.n_iter_ == len(curve) < 200
    assert int(np.argmin(curve)) == len(curve) - 6


def test_a_loss_that_is_not_a_number_stops_with_a_remedy(penguins):
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        small(learning_rate_init=1e30, max_iter=20).fit(penguins)


def test_interrupting_raises_and_keeps_the_last_fit(penguins):
    model = small().fit(penguins)
    before = model.transform(penguins)
    # Where the tests run in the background, the shell has told them to ignore Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, signal.raise_signal, args=(signal.SIGINT,))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.set_params(max_iter=100_000).fit(penguins)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, handler)
    np.testing.assert_array_equal(model.transform(penguins), before)


def test_an_interrupted_first_fit_leaves_an_unfitted_model(penguins):
    class Stop:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context):
            raise KeyboardInterrupt

        def on_fit_task_end(self, estimator, context): ...

    model = small().set_callbacks(Stop())
    with pytest.raises(KeyboardInterrupt):
        model.fit(penguins)
    with pytest.raises(NotFittedError):
        model.transform(penguins)


def test_a_table_without_holes_comes_back_as_it_is(fitted, penguins):
    whole = penguins.dropna()
    for strategy in ("mean", "draw"):
        pd.testing.assert_frame_equal(
            fitted.impute(whole, strategy=strategy, random_state=0), whole
        )


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (small(), {"likelihoods": {"bill_length_mm": "poisson"}}),
        (CVAEImputer(small()), {"min_value": [0.0, 0.0]}),
    ],
)
def test_a_fit_that_fails_leaves_the_last_model_as_it_was(model, wrong, penguins):
    before = np.asarray(model.fit(penguins).transform(penguins), dtype=object)
    with pytest.raises(ValueError, match=r"do not suit|take one number"):
        model.set_params(**wrong).fit(penguins[["bill_length_mm"]])
    assert list(model.feature_names_in_) == list(penguins)
    assert model.n_features_in_ == penguins.shape[1]
    assert (np.asarray(model.transform(penguins), dtype=object) == before).all()


def test_warm_start_on_other_columns_is_refused_by_name(penguins):
    model = small(warm_start=True).fit(penguins)
    with pytest.raises(ValueError, match=r"now missing:\n- sex"):
        model.fit(penguins.drop(columns="sex"))
    assert len(model.fit(penguins).impute(penguins)) == len(penguins)


def test_warm_start_goes_on_from_the_last_weights(penguins):
    model = small(warm_start=True, max_iter=20, learning_rate_init=0.01).fit(penguins)
    first = model.loss_curve_
    model.fit(penguins)
    assert model.loss_curve_[0] < first[0]


def test_sample_weight_moves_the_model(linear):
    weight = (linear["group"] == "c").to_numpy(dtype=float)
    drawn = small(max_iter=10).fit(linear, sample_weight=weight).sample(200, random_state=0)
    assert (drawn["group"] == "c").mean() > 0.9
    with pytest.raises(ValueError, match="negative"):
        small().fit(linear, sample_weight=-weight)


def test_net_params_reach_skorch(penguins):
    from skorch.callbacks import Callback

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1, "train_loss"])

    seen = []
    small(net_params={"callbacks": [Count()], "max_epochs": 2}).fit(penguins)
    assert len(seen) == 2


def test_scikit_learns_callbacks_see_every_epoch_and_can_stop(penguins):
    class StopAfterTwo:
        def setup(self, estimator, context):
            self.epochs, self.scores = 0, []

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context): ...

        def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
            if context.task_name != "epoch":
                return False
            self.epochs += 1
            self.scores.append(fitted_estimator.score(X.head(20)))
            return self.epochs == 2

    callback = StopAfterTwo()
    model = small(max_iter=9).set_callbacks(callback).fit(penguins)
    assert model.n_iter_ == callback.epochs == 2
    assert np.isfinite(callback.scores).all()


def test_progress_bars(penguins, capsys):
    from sklearn.callback import ProgressBar

    small(verbose=True).fit(penguins)
    assert "epoch" in capsys.readouterr().err
    small().set_callbacks(ProgressBar()).fit(penguins)


def test_a_model_without_hidden_layers(penguins):
    assert np.isfinite(small(hidden_layer_sizes=()).fit(penguins).score(penguins))


def test_large_tables_have_other_networks_and_keep_them_when_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "ROWS_OF_WIDE", 60)  # instead of 20,000, which take long
    monkeypatch.setattr(marginals, "MIN_ROWS", 256)
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = ConditionalVAE(2, max_iter=1, warm_start=True, random_state=0).fit(X)
    assert model.hidden_layer_sizes_ == [192, 192, 192, 192]
    assert model.n_decoders_ == 1
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.hidden_layer_sizes == again.n_decoders == "auto"
    np.testing.assert_array_equal(again.transform(X[:9]), model.transform(X[:9]))
    for fitted in (model, again):
        fitted.fit(X[:50])
        assert fitted.hidden_layer_sizes_ == [192, 192, 192, 192]
        assert fitted.n_decoders_ == 1
    fresh = clone(model).fit(X[:50])
    assert fresh.hidden_layer_sizes_ == [128, 128, 128, 128]
    assert fresh.n_decoders_ == 2


def test_columns_with_a_place_in_time_have_one_decoder_unless_asked():
    X = np.random.default_rng(0).normal(size=(40, 3))
    small_ordered = ConditionalVAE(
        2, hidden_layer_sizes=(4,), max_iter=1, backbone=MLP(ordered=True), random_state=0
    )
    assert small_ordered.fit(X).n_decoders_ == 1
    assert small_ordered.set_params(n_decoders=3).fit(X).n_decoders_ == 3


def test_bad_parameters_are_refused(penguins):
    for params, message in (
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": "wide"}, "hidden_layer_sizes"),
        ({"likelihoods": {"mass": "histogram"}}, "mass"),
        ({"likelihoods": {"sex": "rank_normal"}}, "takes one of"),
        ({"condition_features": list(penguins.columns)}, "leave at least one"),
        ({"prior": "flat"}, "prior"),
        ({"condition_on_target": True}, "needs y"),
    ):
        with pytest.raises(ValueError, match=message):
            small(**params).fit(penguins)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_a_target_may_come_as_a_table_of_one_column(container):
    X, y = load_wine(return_X_y=True)
    X = X[:, :2]
    expected = small(condition_on_target=True).fit(X, y).score_samples(X)
    column = container({"class": y}) if container is not np.asarray else y[:, None]
    model = small(condition_on_target=True).fit(X, column)
    np.testing.assert_array_equal(model.score_samples(X), expected)
    with pytest.raises(ValueError, match="y must be one column, not 2"):
        small(condition_on_target=True).fit(X, container(X))


def test_a_lazy_frame_is_to_be_collected():
    with pytest.raises(TypeError, match="collect"):
        small().fit(pl.DataFrame({"a": [1.0, 2.0]}).lazy())


def test_unfitted_models_say_so(penguins):
    for call in ("transform", "impute", "score_samples", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(ConditionalVAE(), call)(penguins)
    with pytest.raises(NotFittedError):
        ConditionalVAE().sample()


@pytest.mark.parametrize("prior", ["mixture", "gaussian", "standard_normal"])
@pytest.mark.parametrize("conditioning", ["concat", "film"])
def test_every_prior_and_conditioning_answers_everything(penguins, prior, conditioning):
    model = small(prior=prior, conditioning=conditioning, condition_features=["species"])
    model.fit(penguins)
    assert np.isfinite(model.score_samples(penguins)).all()
    assert not model.impute(penguins).isna().any().any()
    assert (model.sample(4, {"species": "Adelie"}, random_state=0)["species"] == "Adelie").all()


def test_rank_normal_likelihood(penguins):
    numeric = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    model = small(likelihoods=dict.fromkeys(numeric, "rank_normal"), max_iter=30).fit(penguins)
    assert model.likelihoods_["body_mass_g"] == "rank_normal"
    drawn = model.sample(300, random_state=0)
    assert drawn["body_mass_g"].isin(penguins["body_mass_g"]).all()
    assert abs(drawn["body_mass_g"].mean() - penguins["body_mass_g"].mean()) < 250


# ---- conditions ---------------------------------------------------------------------------


def test_conditions_come_back_as_given(fitted):
    drawn = fitted.sample(
        30, {"species": "Gentoo", "body_mass_g": 5000, "sex": "male"}, random_state=0
    )
    assert (drawn["species"] == "Gentoo").all()
    assert (drawn["body_mass_g"] == 5000.0).all()
    assert (drawn["sex"] == "male").all()
    assert (drawn["island"] == "Biscoe").mean() > 0.8


def test_conditions_change_the_draws(fitted, penguins):
    for species in ("Adelie", "Gentoo"):
        real = penguins.loc[penguins["species"] == species, "flipper_length_mm"]
        drawn = fitted.sample(300, {"species": species}, random_state=0)["flipper_length_mm"]
        assert abs(drawn.mean() - real.mean()) < 4
        assert 0.6 < drawn.std() / real.std() < 1.6


def test_unknown_conditions_are_drawn_like_any_cell(fitted, penguins):
    drawn = fitted.sample(600, random_state=0)["species"]
    assert not drawn.isna().any()
    share = penguins["species"].value_counts(normalize=True)
    assert (drawn.value_counts(normalize=True) - share).abs().max() < 0.12


def test_a_frame_of_conditions_gives_one_draw_per_row(fitted, penguins):
    asked = penguins[["species", "year"]].head(40).astype({"species": object})
    asked.loc[3, "species"] = None
    drawn = fitted.sample(conditions=asked, random_state=0)
    assert len(drawn) == 40
    known = asked["species"].notna().to_numpy()
    assert (drawn["species"].to_numpy()[known] == asked["species"].to_numpy()[known]).all()
    assert (drawn["year"].to_numpy() == asked["year"].to_numpy()).all()
    assert not drawn.isna().any().any()
    assert len(fitted.sample(3, conditions=asked)) == 120
    assert len(fitted.sample(conditions=pl.from_pandas(asked))) == 40


def test_a_draw_does_not_depend_on_the_conditions_of_other_rows(fitted):
    free = pd.DataFrame({"year": [None, None]})
    mixed = pd.DataFrame({"year": [None, 2008.0]})
    alone, beside = (fitted.sample(conditions=c, random_state=0) for c in (free, mixed))
    assert alone.iloc[[0]].equals(beside.iloc[[0]])


def test_all_problems_of_conditions_are_named_at_once(fitted, penguins):
    with pytest.raises(ValueError, match="cannot be used") as caught:
        fitted.sample(1, {"species": "Emperor", "mass": 3, "year": "late", "target": 1})
    text = str(caught.value)
    for part in (
        "'Emperor'",
        "'mass' is not a column",
        "'year' takes a number",
        "condition_on_target",
    ):
        assert part in text
    with pytest.raises(ValueError, match="not a condition; fit with condition_features"):
        fitted.inverse_transform(fitted.transform(penguins), {"year": 2007})
    with pytest.raises(ValueError, match="n_samples"):
        fitted.sample(0)


def test_conditioning_on_modelled_columns_is_exact(linear_model, linear):
    drawn = linear_model.sample(2000, {"y": 1.0}, random_state=0)
    near = linear[(linear["y"] - 1).abs() < 0.15]
    shares = drawn["group"].value_counts(normalize=True)
    expected = near["group"].value_counts(normalize=True)
    for group in "abc":
        assert abs(shares.get(group, 0) - expected.get(group, 0)) < 0.12
    assert abs(drawn["x"].mean() - near["x"].mean()) < 0.15
    assert abs(drawn["x"].std() - near["x"].std()) < 0.05


def test_the_marginal_of_draws_is_the_marginal_of_the_table(linear_model, linear):
    drawn = linear_model.sample(4000, random_state=0)
    levels = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(drawn["x"].quantile(levels), linear["x"].quantile(levels), atol=0.35)
    assert (
        abs(np.corrcoef(drawn["x"], drawn["y"])[0, 1] - np.corrcoef(linear["x"], linear["y"])[0, 1])
        < 0.05
    )


def test_condition_on_target():
    rng = np.random.default_rng(0)
    y = pd.Series(rng.integers(0, 3, 600), name="digit")
    X = rng.normal(size=(600, 2)) + 5 * y.to_numpy()[:, None]
    model = small(condition_on_target=True, hidden_layer_sizes=(32, 32), max_iter=20).fit(X, y)
    assert model.condition_names_ == ["digit"]
    for digit in range(3):
        drawn = model.sample(100, {"digit": digit}, random_state=0)
        assert drawn.shape == (100, 2)
        assert abs(drawn.mean() - 5 * digit) < 1
    np.testing.assert_array_equal(
        small(condition_on_target=True).fit_transform(X, y),
        small(condition_on_target=True).fit(X, y).transform(X),
    )
    unnamed = small(condition_on_target=True).fit(X, y.to_numpy())
    assert unnamed.sample(2, {"target": 1}).shape == (2, 2)


def test_counterfactuals_change_what_depends_on_the_condition(fitted, penguins):
    Z = fitted.transform(penguins)
    gentoo = fitted.inverse_transform(Z, {"species": "Gentoo"})
    adelie = fitted.inverse_transform(Z, {"species": "Adelie"})
    assert (gentoo["species"] == "Gentoo").all()
    assert gentoo["flipper_length_mm"].mean() > adelie["flipper_length_mm"].mean() + 5
    own = fitted.inverse_transform(Z, penguins[["species"]])
    known = penguins["body_mass_g"].notna()
    assert np.corrcoef(own["body_mass_g"][known], penguins["body_mass_g"][known])[0, 1] > 0.8
    assert own.dtypes.equals(penguins.dtypes)
    with pytest.raises(ValueError, match="Z has 344 rows, but conditions has 2"):
        fitted.inverse_transform(Z, penguins[["species"]].head(2))
    with pytest.raises(ValueError, match="Z has 2 columns, not 8"):
        fitted.inverse_transform(Z[:, :2])


# ---- impute and score -----------------------------------------------------------------------


def test_imputing_beats_the_column_mean(linear_model, linear):
    holes = linear.assign(y=np.nan)
    error = linear_model.impute(holes)["y"] - linear["y"]
    assert error.std() < 0.6 < linear["y"].std()
    filled = linear_model.impute(linear.assign(group=None))["group"]
    assert (filled == linear["group"]).mean() > 0.8


def test_mean_and_median_settle_at_the_truth(linear_model, linear):
    holes = linear.assign(x=np.nan, y=np.nan, group="b")
    mean = linear_model.impute(holes)["x"]
    median = linear_model.impute(holes, strategy="median")["x"]
    truth = linear["x"][linear["group"] == "b"].sample(500, replace=True, random_state=0)
    assert abs(mean.iloc[0] - truth.mean()) < 0.4
    assert abs(median.iloc[0] - truth.median()) < 0.4


def test_draws_spread_as_the_truth_does(linear_model, linear):
    holes = linear.assign(y=np.nan)
    draws = linear_model.impute(holes, n_imputations=20, strategy="draw", random_state=0)
    assert len(draws) == 20
    stacked = np.stack([d["y"] for d in draws])
    low, high = np.quantile(stacked, [0.05, 0.95], axis=0)
    cover = ((linear["y"] >= low) & (linear["y"] <= high)).mean()
    assert 0.75 < cover < 0.97


def test_multiple_imputation_needs_draws(fitted, penguins):
    with pytest.raises(ValueError, match="strategy='draw'"):
        fitted.impute(penguins, n_imputations=3)
    with pytest.raises(ValueError, match="strategy must be one of"):
        fitted.impute(penguins, strategy="best")
    a, b = fitted.impute(penguins, 2, "draw", random_state=0)
    assert not a.equals(b)
    assert fitted.impute(penguins, 2, "draw", random_state=0)[1].equals(b)


def test_a_row_without_any_cell_is_drawn_from_the_prior(linear_model, linear):
    nothing = pd.DataFrame({"group": [None], "x": [np.nan], "y": [np.nan]})
    filled = linear_model.impute(nothing)
    assert abs(filled["x"].iloc[0] - linear["x"].mean()) < 0.4
    assert linear_model.score_samples(nothing)[0] == pytest.approx(0.0, abs=1e-6)


def test_scores_are_log_densities_in_the_users_units(linear_model, linear):
    rows = linear.sample(1000, random_state=0)
    shift = {"a": -2.0, "b": 0.0, "c": 3.0}
    share = {"a": 0.5, "b": 0.3, "c": 0.2}
    x, y = rows["x"], rows["y"]
    normal = -0.5 * ((x - rows["group"].map(shift)) ** 2 + ((y - x) / 0.5) ** 2)
    truth = np.log(rows["group"].map(share)) + normal - np.log(2 * np.pi * 0.5)
    scores = linear_model.score_samples(rows)
    assert abs(scores.mean() - truth.mean()) < 0.15
    assert np.corrcoef(scores, truth)[0, 1] > 0.85
    assert linear_model.score(rows) == pytest.approx(scores.mean())
    metres = ConditionalVAE(8, hidden_layer_sizes=(64, 64), max_iter=30, random_state=0)
    metres.fit(linear.assign(x=linear["x"] * 1000))
    assert metres.score(rows.assign(x=x * 1000)) == pytest.approx(
        scores.mean() - np.log(1000), abs=0.02
    )


def test_odd_rows_score_low(fitted, penguins):
    odd = penguins.iloc[[0]].assign(body_mass_g=50_000.0)
    mixed = penguins.iloc[[0]].assign(island="Biscoe", flipper_length_mm=230.0)
    usual = fitted.score_samples(penguins)
    assert fitted.score_samples(odd)[0] < np.quantile(usual, 0.01)
    assert fitted.score_samples(mixed)[0] < np.quantile(usual, 0.05)


# ---- imputer --------------------------------------------------------------------------------


def test_imputer_options(penguins):
    X = penguins.assign(empty=np.nan)
    imputer = CVAEImputer(small(), add_indicator=True, max_value=4000.0, random_state=0)
    filled = imputer.fit_transform(X)
    assert "empty" not in filled
    assert list(filled.columns) == list(imputer.get_feature_names_out())
    assert filled["missingindicator_sex"].tolist() == penguins["sex"].isna().tolist()
    holes = penguins["body_mass_g"].isna()
    assert (filled.loc[holes, "body_mass_g"] <= 4000).all()
    assert filled.loc[~holes, "body_mass_g"].max() > 4000
    kept = CVAEImputer(small(), keep_empty_features=True).fit_transform(X)
    assert kept["empty"].isna().all()
    with pytest.raises(ValueError, match="min_value"):
        CVAEImputer(small(), min_value=1, max_value=0).fit(X)


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_imputer_takes_a_value_for_missing(library):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    X[:9, 0] = -999
    table = {
        "pandas": pd.DataFrame(X, columns=["a", "b"]),
        "polars": pl.DataFrame(X, schema=["a", "b"]),
        "numpy": X,
    }[library]
    filled = np.asarray(CVAEImputer(small(), missing_values=-999).fit_transform(table))
    assert (filled[:9, 0] > -10).all()
    np.testing.assert_array_equal(filled[9:], X[9:])


def test_imputer_draws(penguins):
    imputer = CVAEImputer(small(), sample_posterior=True, random_state=0).fit(penguins)
    assert imputer.transform(penguins).equals(imputer.transform(penguins))
    by_strategy = CVAEImputer(small(), strategy="draw", random_state=0).fit(penguins)
    assert by_strategy.transform(penguins).equals(imputer.transform(penguins))


# ---- storing ----------------------------------------------------------------------------------


def test_pickle_and_joblib(fitted, penguins, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "model.joblib")):
        np.testing.assert_array_equal(copy.transform(penguins), fitted.transform(penguins))
        assert copy.sample(3, random_state=0).equals(fitted.sample(3, random_state=0))
    assert len(pickle.dumps(fitted)) < 3e6


def test_warm_start_with_other_parameters_is_refused_by_name(penguins):
    model = small(warm_start=True, max_iter=1).fit(penguins)
    with pytest.raises(ValueError, match="n_components=5, learned with"):
        model.set_params(n_components=5).fit(penguins)
    model.set_params(n_components=3, learning_rate_init=1e-3).fit(penguins)


def test_latents_are_judged_by_the_cells_that_are_there():
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    X = np.column_stack([a, a + 0.3 * rng.normal(size=300), rng.normal(size=300)])
    X[rng.random(X.shape) < 0.5] = np.nan
    model = small().fit(X)
    table = model._table
    cells = table.cells(table.encode(table.read(X)))
    np.testing.assert_array_equal(
        model.kl_per_latent_, inference.latent_activity(model._module, cells).kl
    )


def test_fit_learns_where_gradients_are_off(penguins):
    expected = small(max_iter=2).fit(penguins).transform(penguins)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            np.testing.assert_array_equal(
                small(max_iter=2).fit(penguins).transform(penguins), expected
            )


def test_few_draws_are_weighed_by_how_they_were_proposed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1)) + 0.3 * rng.normal(size=(200, 6))
    model = small(max_iter=30).fit(X)
    one, three, many = (model.set_params(n_draws=n).score(X) for n in (1, 3, 512))
    # A bound that more draws tighten; the share of another number of draws would lift it by log 2.
    assert one < three - 0.05 < many - 0.1


def test_thread_counts_of_threads_that_overlap_are_restored():
    inside, leave, counts = threading.Barrier(2), threading.Event(), []

    def run(waits):
        with training.torch_threads(1):
            inside.wait()
            if waits:
                leave.wait()
                counts.append(torch.get_num_threads())
        counts.append(torch.get_num_threads())
        if not waits:
            leave.set()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threads = [threading.Thread(target=run, args=(waits,)) for waits in (False, True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [3, 1, 3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("were_zeros", [False, True])
def test_least_numbers_are_zeros_inside_alone(were_zeros):
    least = np.array([1e-39], dtype=np.float32)

    def are_zeros():
        return bool((torch.from_numpy(least) * 1.0 == 0).all())

    if not torch.set_flush_denormal(were_zeros):
        pytest.skip("this processor takes the least numbers as they are")
    try:
        with training.torch_settings(1):
            assert are_zeros()
            with training.torch_settings(1):
                pass
            assert are_zeros()
        assert are_zeros() == were_zeros
        with pytest.raises(KeyError), training.torch_settings(1):
            raise KeyError
        assert are_zeros() == were_zeros
    finally:
        torch.set_flush_denormal(False)


def test_levels_that_nothing_is_known_of_have_no_deviation():
    assert np.isnan(LevelCodec(0).std(np.ones((3, 1)))).all()
    assert (LevelCodec(2).std(np.full((3, 2), 0.5)) == 0.5).all()


def test_devices_and_dtypes_that_cannot_serve_are_refused_before_training(penguins):
    with pytest.raises(ValueError, match="device='mps' has no float64"):
        small(device="mps").fit(penguins)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match=r"default dtype is torch\.float64.*set_default_dtype"):
            small().fit(penguins)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("device", ["foo", "cuda:77"])
def test_devices_that_there_are_not_are_refused_by_name(penguins, device):
    with pytest.raises(ValueError, match=f"no device='{device}' here"):
        small(device=device).fit(penguins)
