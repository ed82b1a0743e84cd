"""Drawn columns are distributed as in the training table, whatever the network has learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp

from sklearn_cvae import ConditionalVAE, load, marginals, optimizers, save
from sklearn_cvae.backbones import MLP
from sklearn_cvae.marginals import _raked
from sklearn_cvae.metrics import column_shapes


def spiked(n: int = 3_000) -> pd.DataFrame:
    """Two groups; many zeros in one of them, and a level that depends on both."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], n, p=[0.7, 0.3])
    amount = np.where((group == "a") & (rng.random(n) < 0.8), 0.0, rng.gamma(2.0, 50.0, n))
    level = np.where(amount > 60, "high", np.where(rng.random(n) < 0.1, "odd", "low"))
    return pd.DataFrame({"group": group, "amount": amount, "level": level})


def untilted(
    model: ConditionalVAE, tilts: tuple = ("tilt", "start_tilt"), n_sweeps: int = 3
) -> pd.DataFrame:
    """Return rows drawn without what `match_marginals` found."""
    kept = {name: getattr(model._module, name).clone() for name in tilts}
    for name in kept:
        getattr(model._module, name).fill_(1.0)
    drawn = model.sample(6_000, random_state=1, n_sweeps=n_sweeps)
    for name, tilt in kept.items():
        getattr(model._module, name).copy_(tilt)
    return drawn


@pytest.fixture(scope="module")
def hasty() -> ConditionalVAE:
    """A model that has hardly learned anything, always the same: its weights move at each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers, "EVERY", 1)
        return ConditionalVAE(hidden_layer_sizes=(16,), max_iter=4, random_state=0).fit(spiked())


def test_drawn_columns_are_distributed_as_the_training_columns(hasty):
    X, drawn = spiked(), hasty.sample(6_000, random_state=1)
    before = column_shapes(X, untilted(hasty))
    after = column_shapes(X, drawn)
    assert (after > 0.97).all()
    assert after.mean() > before.mean()
    zeros = (drawn["amount"] == 0).mean()
    assert zeros == pytest.approx((X["amount"] == 0).mean(), abs=0.02)


def test_columns_keep_their_distributions_on_the_mean_of_draws():
    # One draw's shape differs from another's by 0.01, by chance.
    X = spiked()
    model = ConditionalVAE(hidden_layer_sizes=(16,), max_iter=4, random_state=0).fit(X)
    draws = [model.sample(6_000, random_state=seed) for seed in range(1, 5)]
    before = column_shapes(X, untilted(model))
    after = pd.DataFrame([column_shapes(X, drawn) for drawn in draws]).mean()
    assert after["amount"] > max(0.95, before["amount"] + 0.1)
    assert (after.drop("amount") > 0.97).all()
    for drawn in draws:
        zeros = (drawn["amount"] == 0).mean()
        assert zeros == pytest.approx((X["amount"] == 0).mean(), abs=0.02)


def test_draws_under_a_training_tables_conditions_match_it():
    X = spiked()
    model = ConditionalVAE(
        condition_features=["group"], hidden_layer_sizes=(16,), max_iter=4, random_state=0
    ).fit(X)
    drawn = model.sample(conditions=X[["group"]], random_state=1)
    assert (column_shapes(X, drawn) > 0.97).all()


def test_weights_count():
    X = spiked()
    weight = np.where(X["group"] == "b", 5.0, 0.0)
    model = ConditionalVAE(hidden_layer_sizes=(16,), max_iter=10, random_state=0)
    drawn = model.fit(X, sample_weight=weight).sample(4_000, random_state=1)
    assert (drawn["amount"] == 0).mean() < 0.02
    assert ks_2samp(drawn["amount"], X.loc[X["group"] == "b", "amount"]).statistic < 0.05


def test_what_is_missing_at_random_counts_as_it_would_be():
    # Where the amount is missing depends on the group: the seen amounts alone have fewer zeros.
    X = spiked()
    rng = np.random.default_rng(1)
    hidden = (X["group"] == "a").to_numpy() & (rng.random(len(X)) < 0.8)
    holes = X.assign(amount=X["amount"].mask(hidden))
    model = ConditionalVAE(hidden_layer_sizes=(64, 64), max_iter=40, random_state=0).fit(holes)
    zeros = (model.sample(20_000, random_state=1)["amount"] == 0).mean()
    seen, truth = (holes["amount"] == 0).sum() / (~hidden).sum(), (X["amount"] == 0).mean()
    assert abs(zeros - truth) < 0.03
    assert abs(seen - truth) > 0.15


def test_empty_and_constant_columns_and_few_rows():
    X = pd.DataFrame({"empty": [np.nan] * 6, "one": [1.0] * 6, "level": [*"aabbb", None]})
    drawn = ConditionalVAE(max_iter=2, random_state=0).fit(X).sample(20, random_state=0)
    assert drawn["empty"].isna().all()
    assert (drawn["one"] == 1).all()
    assert set(drawn["level"]) <= {"a", "b"}


def test_the_factors_are_kept(hasty, tmp_path, monkeypatch):
    monkeypatch.setattr(optimizers, "EVERY", 1)
    assert (hasty._module.tilt != 1).any()
    save(hasty, tmp_path / "model.cvae")
    again = load(tmp_path / "model.cvae")
    assert torch.equal(again._module.tilt, hasty._module.tilt)
    again = ConditionalVAE(hidden_layer_sizes=(16,), max_iter=4, random_state=0, warm_start=True)
    first = again.fit(spiked())._module.tilt.clone()
    assert torch.equal(first, hasty._module.tilt)
    assert torch.isfinite(again.fit(spiked())._module.tilt).all()


def shares_of(masses: list, factors: list) -> list:
    """Return the shares of each column's slots among weighed rows."""
    expected = [m @ f for m, f in zip(masses, factors)]
    weight = np.prod(expected, axis=0)
    sums = [(weight / e) @ m * f for m, f, e in zip(masses, factors, expected)]
    return [s / s.sum() for s in sums]


def test_raked_rows_have_the_wanted_shares_though_columns_depend():
    rng = np.random.default_rng(0)
    kind = (rng.random(4_000) < 0.34)[:, None]  # what all three columns tell of the row
    masses = [
        np.where(kind, [1 - e, e], [e, 1 - e]) * np.ones((4_000, 2)) for e in (0.001, 0.02, 0.3)
    ]
    wanted = [np.array([0.43, 0.57]), np.array([0.43, 0.57]), np.array([0.47, 0.53])]
    found = shares_of(masses, _raked(masses, wanted))
    np.testing.assert_allclose(found, wanted, atol=0.005)


def test_raking_leaves_alone_what_hardly_any_row_can_mend():
    rare = (np.random.default_rng(0).random(4_000) < 0.01)[:, None]
    masses = [np.where(rare, [1.0, 0.0], [0.0, 1.0])]
    (factors,) = _raked(masses, [np.array([0.9, 0.1])])
    np.testing.assert_array_equal(factors, [1, 1])


def test_raking_goes_on_while_a_quarter_of_the_rows_would_count():
    some = (np.random.default_rng(0).random(4_000) < 0.35)[:, None]
    masses = [np.where(some, [0.999, 0.001], [0.001, 0.999])]
    wanted = [np.array([0.95, 0.05])]
    np.testing.assert_allclose(shares_of(masses, _raked(masses, wanted)), wanted, atol=0.005)


def test_starts_are_asked_for_what_draws_lack(monkeypatch):
    asked, found = [], marginals._start_factors

    def start_factors(masses, raked, shares):
        asked.append(shares)
        return found(masses, raked, shares)

    monkeypatch.setattr(marginals, "_start_factors", start_factors)
    monkeypatch.setattr(marginals, "N_MATCHINGS", 1)
    model = ConditionalVAE(hidden_layer_sizes=(16,), max_iter=1, random_state=0).fit(spiked(300))
    lacking = model._module.tilt.numpy()  # the first matching's factors
    monkeypatch.setattr(marginals, "N_MATCHINGS", 2)
    model.fit(spiked(300))
    np.testing.assert_array_equal(asked[1], asked[0])
    np.testing.assert_allclose(asked[2], asked[0] * lacking, rtol=1e-5)
    assert (lacking != 1).any()


def test_starts_keep_the_columns_distributions(hasty):
    X = spiked()
    raked = column_shapes(X, untilted(hasty, ("tilt",), n_sweeps=1))
    plain = column_shapes(X, untilted(hasty, n_sweeps=1))
    assert raked.mean() > plain.mean() + 0.01


def test_without_sweeps_draws_follow_the_models_density(hasty):
    drawn = hasty.sample(500, random_state=1, n_sweeps=0)
    pd.testing.assert_frame_equal(drawn, untilted(hasty, n_sweeps=0)[:500])


def test_columns_with_many_holes_are_not_raked():
    holes = spiked()
    holes["amount"] = holes["amount"].where(holes.index % 3 > 0)
    model = ConditionalVAE(hidden_layer_sizes=(16,), max_iter=2, random_state=0).fit(holes)
    tilt, at = model._module.start_tilt, 0
    for kind in model._module.table_kinds:
        part = tilt[at : (at := at + kind.n_columns * kind.n_atoms)]
        assert bool((part == 1).all()) == kind.numeric


def test_steps_in_time_are_not_raked():
    model = ConditionalVAE(backbone=MLP(ordered=True), hidden_layer_sizes=(8,), max_iter=1)
    tilt = model.fit(spiked(300))._module.start_tilt
    assert torch.equal(tilt, torch.ones_like(tilt))
