"""Every member of the family: each choice of the constructor answers every question."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import sklearn_cvae
from sklearn_cvae import ConditionalVAE, load, save
from sklearn_cvae.backbones import MLP, Backbone, Convolutional, Custom, Layout, Recurrent
from sklearn_cvae.networks import CONDITIONING, Linear
from sklearn_cvae.objectives import ELBO, IWAE, OBJECTIVES, Hybrid
from sklearn_cvae.priors import PRIORS, NormalizingFlow, VampPrior

RNG = np.random.default_rng(0)


def small(**params) -> ConditionalVAE:
    settings = {
        "n_components": 4,
        "n_draws": 8,
        "hidden_layer_sizes": (16, 16),
        "max_iter": 15,
        "random_state": 0,
    }
    return ConditionalVAE(**{**settings, **params})


def mixed(n: int = 400) -> pd.DataFrame:
    """Two conditions set the mean of two numbers and the odds of a level."""
    rng = np.random.default_rng(1)
    site, age = rng.integers(0, 3, n), rng.normal(size=n)
    x = 2.0 * site + age + 0.3 * rng.normal(size=n)
    table = pd.DataFrame(
        {
            "site": np.array(["a", "b", "c"])[site],
            "age": age,
            "x": x,
            "y": -x + 0.3 * rng.normal(size=n),
            "high": np.where(x > 2, "yes", "no"),
        }
    )
    holes = rng.random((n, 5)) < 0.1
    return table.mask(pd.DataFrame(holes, columns=table.columns))


def answers_all(model: ConditionalVAE, table: pd.DataFrame, asked: dict) -> None:
    """A fitted model completes, draws, scores, encodes and decodes, all finite."""
    completed = model.impute(table)
    assert not pd.DataFrame(completed).isna().any(axis=None)
    drawn = model.sample(50, asked, random_state=0)
    assert len(drawn) == 50
    assert not pd.DataFrame(drawn).isna().any(axis=None)
    assert np.isfinite(model.score_samples(table)).all()
    z = model.transform(table)
    assert np.isfinite(z).all()
    assert len(model.inverse_transform(z)) == len(table)
    np.testing.assert_array_equal(model.transform(table[:3]), z[:3])


MEMBERS = (
    [{"prior": name} for name in PRIORS if name != "flow"]
    + [{"objective": name} for name in OBJECTIVES]
    + [{"conditioning": name} for name in CONDITIONING]
    + [
        {"objective": ELBO(beta=0.5, n_cycles=2, free_bits=0.05)},
        {"objective": ELBO(hide=False), "prior": "standard_normal"},
        {"objective": IWAE(n_samples=3), "prior": VampPrior(20)},
        {"objective": Hybrid(alpha=0.3), "prior": "gaussian", "conditioning": "attention"},
        {"prior": NormalizingFlow(2, 4, (16,)), "conditioning": "embedding", "n_decoders": 3},
    ]
)


@pytest.mark.parametrize("params", MEMBERS, ids=str)
def test_every_member_answers_everything(params):
    table = mixed(100)
    model = small(condition_features=["site", "age"], max_iter=2, **params).fit(table)
    answers_all(model, table, {"site": "b"})
    again = clone(model).fit(table)
    np.testing.assert_array_equal(again.transform(table), model.transform(table))


@pytest.mark.parametrize("params", MEMBERS, ids=str)
def test_every_member_is_a_plain_model_without_conditions(params):
    table = mixed(60)
    answers_all(small(max_iter=1, **params).fit(table), table, {"x": (0, None)})


@pytest.mark.parametrize("params", MEMBERS[-5:], ids=str)
def test_members_are_saved_with_their_settings(params, tmp_path):
    table = mixed(100)
    model = small(condition_features=["site"], **params).set_params(max_iter=2).fit(table)
    sklearn_cvae.save(model, tmp_path / "model")
    loaded = sklearn_cvae.load(tmp_path / "model")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.transform(table), model.transform(table))
    np.testing.assert_array_equal(loaded.kl_per_latent_, model.kl_per_latent_)
    drawn = [m.sample(20, {"site": "a"}, random_state=1) for m in (model, loaded)]
    pd.testing.assert_frame_equal(*drawn)


SLOW = [pytest.param(c, marks=pytest.mark.slow) for c in ("layer_norm", "batch_norm", "concat")]


@pytest.mark.parametrize("conditioning", ["concat_all", "embedding", "film", "attention", *SLOW])
def test_every_conditioning_follows_its_conditions(conditioning):
    """x is 2 site + age, give or take 0.3; one fit's spread of unknown sites varies by 0.1."""
    settings = {"conditioning": conditioning, "condition_features": ["site", "age"], "max_iter": 30}
    of_unknown = []
    for seed in (0, 1):
        model = small(**settings, random_state=seed).fit(mixed(1000))
        for site, age in (("a", -1.0), ("c", 1.0)):
            expected = 2.0 * "abc".index(site) + age
            drawn = model.sample(400, {"site": site, "age": age}, random_state=0)
            assert drawn["x"].mean() == pytest.approx(expected, abs=0.4)
        of_unknown.append(model.sample(600, {"age": 0.0}, random_state=0)["x"].std())
    assert np.mean(of_unknown) > 1.2


@pytest.mark.parametrize("conditioning", ["embedding", "attention"])
def test_a_condition_of_a_thousand_levels(conditioning):
    rng = np.random.default_rng(0)
    level = rng.integers(0, 1000, 3000)
    effect = rng.normal(size=1000) * 2
    table = pd.DataFrame(
        {"level": level.astype(str), "x": effect[level] + 0.3 * rng.normal(size=3000)}
    )
    table["y"] = table["x"] + rng.normal(size=3000)
    model = small(conditioning=conditioning, condition_features=["level"], max_iter=8).fit(table)
    asked = list(dict.fromkeys(table["level"]))[:60]
    drawn = model.sample(20, pd.DataFrame({"level": asked}), random_state=0)
    means = drawn["x"].to_numpy().reshape(60, 20).mean(axis=1)
    assert np.corrcoef(means, effect[np.array(asked, int)])[0, 1] > 0.8


COLLAPSING = {
    "objective": ELBO(beta=100, warm_up=0, hide=False),
    "prior": "standard_normal",
    "n_components": 2,
    "max_iter": 50,
    "learning_rate_init": 1e-2,
}


def test_collapse_is_reported_and_says_what_to_try():
    table = mixed()
    with pytest.warns(ConvergenceWarning, match=r"ELBO\(beta=0.5\)"):
        model = small(**COLLAPSING).fit(table)
    assert model.n_active_units_ == 0
    assert model.kl_per_latent_.shape == (2,)
    assert model.kl_per_latent_.sum() < 0.02
    healthy = small().fit(table)
    assert healthy.n_active_units_ >= 1
    assert healthy.kl_per_latent_.max() > 0.5


def test_free_bits_keep_latents_alive():
    table = mixed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weak = small(**COLLAPSING).fit(table)
    free = replace(COLLAPSING["objective"], free_bits=0.5)
    kept = small(**{**COLLAPSING, "objective": free}).fit(table)
    assert kept.kl_per_latent_.sum() > weak.kl_per_latent_.sum() + 0.5


def test_importance_weights_tighten_the_density():
    """With the same epochs the score of held-out rows is no worse, the bound is tighter."""
    table = mixed(1500)
    train, test = table[:1000], table[1000:]
    losses = {}
    for objective in (ELBO(hide=False), IWAE(n_samples=10, hide=False)):
        model = small(objective=objective, prior="standard_normal", max_iter=12).fit(train)
        losses[type(objective)] = (model.loss_curve_[-1], model.score(test))
    assert losses[IWAE][0] < losses[ELBO][0]
    assert losses[IWAE][1] > losses[ELBO][1] - 0.1


# --------------------------------------------------------------------------------------
# Backbones
# --------------------------------------------------------------------------------------


def bars(n: int, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Binary images of one bar, upright (0) or level (1), with noise."""
    rng = np.random.default_rng(2)
    kind, at = rng.integers(0, 2, n), rng.integers(0, side, n)
    images = np.zeros((n, side, side), dtype=bool)
    for image, k, j in zip(images, kind, at, strict=True):
        image[(slice(None), j) if k == 0 else (j, slice(None))] = True
    return (images ^ (rng.random(images.shape) < 0.01)).reshape(n, -1), kind


def paths(n: int, steps: int = 12) -> pd.DataFrame:
    """Sines of random phase, with noise, and the phase's half as a level beside them."""
    rng = np.random.default_rng(3)
    phase = rng.uniform(0, 2 * np.pi, n)
    t = np.arange(steps)
    table = pd.DataFrame(np.sin(t / 2 + phase[:, None]) + 0.1 * rng.normal(size=(n, steps)))
    table.columns = [f"t{i}" for i in t]
    return table.assign(half=np.where(phase < np.pi, "first", "second"))


def test_a_convolutional_model_of_images():
    X, kind = bars(1200)
    model = small(
        n_components=8,
        condition_on_target=True,
        backbone=Convolutional((1, 8, 8), n_channels=(8, 16), hidden_width=64),
        max_iter=120,
    ).fit(X, kind)
    for wanted in (0, 1):
        drawn = model.sample(100, {"target": wanted}, random_state=0).reshape(-1, 8, 8)
        assert drawn.dtype == bool
        columns, rows = drawn.mean(axis=1).max(axis=1), drawn.mean(axis=2).max(axis=1)
        right = columns > rows if wanted == 0 else rows > columns
        assert right.mean() > 0.85
    holes = X.astype(object)
    holes[:, 32:] = np.nan
    completed = model.impute(holes[:200]).astype(bool)
    np.testing.assert_array_equal(completed[:, :32], X[:200, :32])
    upright = kind[:200] == 0
    assert (completed[upright, 32:] == X[:200][upright, 32:]).mean() > 0.95
    assert np.isfinite(model.score_samples(X[:50])).all()


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
@pytest.mark.parametrize("conditioning", CONDITIONING)
def test_images_under_every_conditioning(conditioning):
    X, kind = bars(60)
    model = small(
        condition_on_target=True,
        conditioning=conditioning,
        backbone=Convolutional((1, 8, 8), (4, 4), 16),
        max_iter=1,
    ).fit(X, kind)
    assert model.sample(3, {"target": 1}, random_state=0).shape == (3, 64)


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_odd_image_sizes_channels_and_columns_beside_them():
    X = pd.DataFrame(RNG.normal(size=(80, 2 * 5 * 7)))
    X.columns = [f"p{i}" for i in range(70)]
    X["weight"], X["kind"] = RNG.normal(size=80), RNG.choice(["a", "b", "c"], 80)
    X = X.mask(RNG.random(X.shape) < 0.1)
    model = small(backbone=Convolutional((2, 5, 7), (4, 6), 16), max_iter=3).fit(X)
    answers_all(model, X, {"kind": "b"})


def test_a_recurrent_model_forecasts():
    table = paths(700)
    model = small(n_components=6, backbone=Recurrent((12, 1), hidden_width=32), max_iter=25).fit(
        table[:500]
    )
    answers_all(model, table[500:550], {"half": "first"})
    test = table[500:].reset_index(drop=True)
    future = [f"t{i}" for i in range(8, 12)]
    guess = model.impute(test.assign(**dict.fromkeys(future, np.nan)))
    error = (guess[future] - test[future]).to_numpy().std() / test[future].to_numpy().std()
    assert error < 0.45


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_steps_may_be_missing_and_carry_several_features():
    X = RNG.normal(size=(60, 10)).cumsum(axis=1)
    X[RNG.random(X.shape) < 0.3] = np.nan
    model = small(backbone=Recurrent((5, 2), 8), max_iter=2).fit(X)
    assert not np.isnan(model.impute(X)).any()
    assert model.sample(4, random_state=0).shape == (4, 10)


def flat_encoder(n_columns, width, n_condition, n_out):
    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(n_columns * width + n_condition, 32),
                torch.nn.SiLU(),
                torch.nn.Linear(32, n_out),
            )

        def forward(self, cells, c):
            return self.net(torch.cat([cells.flatten(1), c], dim=1))

    return Encoder()


def flat_decoder(n_latents, n_condition, n_columns, n_outputs):
    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(n_latents + n_condition, n_columns * n_outputs)

        def forward(self, z, c):
            return self.net(torch.cat([z, c], dim=1)).unflatten(1, (n_columns, n_outputs))

    return Decoder()


def test_networks_of_the_users_own():
    table = mixed(500)
    own = Custom(flat_encoder, flat_decoder)
    before = torch.random.get_rng_state()
    model = small(condition_features=["site"], backbone=own, max_iter=30).fit(table)
    assert torch.equal(torch.random.get_rng_state(), before)
    answers_all(model, table, {"site": "c"})
    again = clone(model).fit(table)
    np.testing.assert_array_equal(again.transform(table), model.transform(table))
    shown = table.dropna()
    guess = model.impute(shown.assign(y=np.nan))
    assert np.corrcoef(guess["y"], shown["y"])[0, 1] > 0.85
    with pytest.raises(ValueError, match=r"joblib"):
        sklearn_cvae.save(model, "/nowhere/model")


def test_backbones_say_what_they_need():
    X = RNG.normal(size=(20, 10))
    with pytest.raises(ValueError, match=r"64 modelled columns.*has 10"):
        small(backbone=Convolutional((1, 8, 8))).fit(X)
    with pytest.raises(ValueError, match="image_shape takes 3 integers"):
        Convolutional((8, 8))
    with pytest.raises(ValueError, match="sequence_shape takes 2 integers"):
        Recurrent((8, 0))
    with pytest.raises(ValueError, match="backbone"):
        small(backbone="transformer").fit(X)


def is_rectangle(image: torch.Tensor) -> bool:
    return bool(image[image.any(dim=1)][:, image.any(dim=0)].all())


def test_regions_that_training_hides_are_whole():
    layout = Layout([], torch.empty(0), [], 0, 0, list(range(64)))
    generator = torch.Generator().manual_seed(0)
    shown = Convolutional((1, 8, 8)).visible_blocks(2000, 64, layout, generator).view(-1, 8, 8)
    for image in shown[:200]:
        assert is_rectangle(image) or is_rectangle(~image)
    assert shown.float().mean().item() == pytest.approx(0.5, abs=0.05)
    for backbone in (Recurrent((64, 1)), MLP(ordered=True)):
        past = backbone.visible_blocks(500, 64, layout, generator).int()
        assert (past.diff(dim=1) <= 0).all()
        assert past.float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert MLP().visible_blocks(500, 64, layout, generator) is None


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_steps_in_time_may_stand_beside_conditions(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 6)).cumsum(axis=1)).add_prefix("t")
    X.insert(2, "site", rng.choice(["a", "b"], 80))
    backbone = MLP(starts_linear=False, ordered=True)
    model = small(condition_features=["site"], backbone=backbone).fit(X)
    assert model.net_.module_.factors.n_factors == 0
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.backbone == backbone
    X.loc[:, ["t4", "t5"]] = np.nan
    pd.testing.assert_frame_equal(again.impute(X), model.impute(X))


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_a_backbone_class_of_ones_own():
    """Beyond `Custom`, the base class may be extended; the table's layout is at hand."""

    class Plain(Backbone):
        def encoder(self, layout, n_start, n_out, blocks):
            return blocks.mlp(layout.n_inputs + n_start, n_out)

        def decoder(self, layout, n_in, blocks):
            class Straight(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.out = Linear(n_in, layout.n_outputs, blocks.generator)

                def forward(self, z, c):
                    return self.out(z)

            return Straight()

    table = mixed(200)
    answers_all(small(backbone=Plain(), max_iter=3).fit(table), table, {"site": "a"})
