"""Files hold the whole estimator, nothing that runs, and say so when they are damaged."""

from __future__ import annotations

import pickle
import stat

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import small
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_cvae import CVAEImputer, load, save
from sklearn_cvae.priors import Mixture


def assert_same(a, b, X):
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    np.testing.assert_array_equal(a.score_samples(X), b.score_samples(X))
    drawn = a.sample(20, random_state=0), b.sample(20, random_state=0)
    if isinstance(drawn[0], pd.DataFrame):
        pd.testing.assert_frame_equal(*drawn)
    elif isinstance(drawn[0], pl.DataFrame):
        assert drawn[0].equals(drawn[1])
        assert drawn[0].schema == drawn[1].schema
    else:
        np.testing.assert_array_equal(*drawn)


def test_a_pandas_model(messy, tmp_path):
    model = small(condition_features=["bool"], likelihoods={"float": "rank_normal"}).fit(messy)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(model, again, messy)
    assert again.get_params() == model.get_params()
    for name in (
        "loss_curve_",
        "n_iter_",
        "hidden_layer_sizes_",
        "n_decoders_",
        "likelihoods_",
        "scales_",
        "condition_names_",
        "device_",
    ):
        assert getattr(again, name) == getattr(model, name)
    assert again.feature_names_in_.tolist() == model.feature_names_in_.tolist()


@pytest.mark.parametrize("prior", ["mixture", Mixture(2), "vamp", "gaussian"])
def test_parts_of_the_prior(penguins, tmp_path, prior):
    model = small(prior=prior, condition_features=["island"]).fit(penguins)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(model, again, penguins)
    if prior == "mixture":
        assert len(again._module.prior_net.loc) == 3 * len(penguins) // 100


def test_a_polars_model(penguins, tmp_path):
    X = pl.from_pandas(penguins).with_columns(pl.lit(1).cast(pl.Date).alias("day"))
    model = small().fit(X)
    save(model, tmp_path / "model")
    assert_same(model, load(tmp_path / "model"), X)


def test_an_array_model_with_a_target(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    model = small(condition_on_target=True, likelihoods={1: "rank_normal"}).fit(X, y)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(model, again, X)
    np.testing.assert_array_equal(
        model.sample(5, {"target": 2}, random_state=0),
        again.sample(5, {"target": 2}, random_state=0),
    )


@pytest.mark.parametrize("inner", [small(), small(likelihoods={"year": "rank_normal"})])
def test_an_imputer(penguins, tmp_path, inner):
    imputer = CVAEImputer(inner, add_indicator=True, max_value=5000.0).fit(penguins)
    save(imputer, tmp_path / "imputer")
    again = load(tmp_path / "imputer")
    pd.testing.assert_frame_equal(again.transform(penguins), imputer.transform(penguins))
    assert list(again.get_feature_names_out()) == list(imputer.get_feature_names_out())


def test_every_changed_byte_is_noticed(fitted, tmp_path):
    path = tmp_path / "model"
    save(fitted, path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 50):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"damaged|not written by"):
            load(path)
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_a_pickle_is_not_opened(fitted, tmp_path):
    (tmp_path / "model").write_bytes(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="not written by"):
        load(tmp_path / "model")


def test_a_file_of_another_format_says_so(fitted, tmp_path):
    path = tmp_path / "old.cvae"
    save(fitted, path)
    path.write_bytes(path.read_bytes().replace(b"sklearn_cvae-14", b"sklearn_cvae-2", 1))
    with pytest.raises(ValueError, match=r"'sklearn_cvae-2'.*reads 'sklearn_cvae-14'.*fit"):
        load(path)


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(penguins, tmp_path):
    path = tmp_path / "model"
    with pytest.raises(ValueError, match=r"cannot be saved.*joblib"):
        save(small(condition_features=lambda X: ["sex"]).fit(penguins), path)
    dates = pd.DataFrame(
        {"a": pd.Series([pd.Timestamp(0).date()] * 3, dtype=object), "b": [1.0, 2, 3]}
    )
    with pytest.raises(ValueError, match="'a' cannot be saved"):
        save(small().fit(dates), path)
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_usual_mode(fitted, tmp_path):
    save(fitted, tmp_path / "model")
    (tmp_path / "plain").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model", "plain")}
    assert len(modes) == 1


@pytest.mark.parametrize("estimator", [small(), CVAEImputer(small())])
def test_an_unfitted_estimator_is_refused(estimator, tmp_path):
    with pytest.raises(NotFittedError):
        save(estimator, tmp_path / "model.cvae")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("parameter", [{"activation": "tanh"}, {"n_components": 5}])
def test_a_model_whose_parameters_were_changed_is_not_saved(penguins, tmp_path, parameter):
    model = small(max_iter=1).fit(penguins).set_params(**parameter)
    with pytest.raises(ValueError, match=f"{next(iter(parameter))}=.*learned with"):
        save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "dtype",
    [
        pd.ArrowDtype(pa.string()),
        pd.StringDtype("python"),
        pd.StringDtype("pyarrow"),
        pd.StringDtype(na_value=np.nan),
        pd.CategoricalDtype(["b", "a", "unused"], ordered=True),
    ],
)
def test_dtypes_of_text_come_back(dtype, tmp_path):
    X = pd.DataFrame({"s": pd.Series(["a", "b"] * 30, dtype=dtype), "x": np.arange(60.0)})
    X["k"] = pd.Categorical(np.array([1, 2] * 30, dtype="int8"))
    X["d"] = pd.Series([1.5, 2.5] * 30).astype(pd.ArrowDtype(pa.decimal128(5, 2)))
    X.columns.name = "columns"
    model = small(max_iter=1).fit(X)
    save(model, tmp_path / "model")
    drawn, again = (m.sample(5, random_state=0) for m in (model, load(tmp_path / "model")))
    assert again.equals(drawn)
    assert again.dtypes.equals(X.dtypes)
    assert again.columns.name == "columns"


def test_other_estimators_are_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match=r"not a Pipeline; joblib"):
        save(make_pipeline(small()), tmp_path / "model")
