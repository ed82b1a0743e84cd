"""Factor analysis against closed forms and a known truth."""

from __future__ import annotations

import pytest
import torch

import sklearn_cvae.factors as factors_module
from sklearn_cvae.factors import FactorAnalysis
from sklearn_cvae.kinds import NOISE_FLOOR


def floors(n_features):
    return torch.full((n_features,), NOISE_FLOOR, dtype=torch.float64)


@pytest.fixture(scope="module")
def truth():
    generator = torch.Generator().manual_seed(0)
    loadings = torch.randn((6, 2), generator=generator)
    z = torch.randn((4000, 2), generator=generator)
    x = 3 + z @ loadings.T + 0.5 * torch.randn((4000, 6), generator=generator)
    return loadings, x, torch.rand(x.shape, generator=generator) < 0.7


@pytest.fixture(scope="module")
def factors(truth):
    _, x, shown = truth
    model = FactorAnalysis(torch.arange(6), 2, 0)
    model.fit(x, shown, x[:, :0], floors(x.shape[1]))
    return model


def test_fit_recovers_mean_and_covariance_from_incomplete_rows(truth, factors):
    loadings, _, _ = truth
    scaled = factors.loadings * factors.scale[:, None]
    covariance = scaled @ scaled.T
    assert torch.allclose(factors.mean, torch.full((6,), 3.0), atol=0.1)
    assert torch.allclose(covariance, loadings @ loadings.T, atol=0.25)
    assert torch.allclose(factors.noise.sqrt() * factors.scale, torch.full((6,), 0.5), atol=0.05)


def test_posterior_is_the_gaussian_conditional(truth, factors):
    _, x, shown = truth
    loc, log_scale = factors(x[:5], shown[:5].float(), x[:5, :0])
    for i, seen in enumerate(shown[:5]):
        w, noise = factors.loadings[seen], factors.noise[seen]
        covariance = torch.inverse(torch.eye(2) + (w / noise[:, None]).T @ w)
        centred = (x[i, seen] - factors.mean[seen]) / factors.scale[seen]
        assert torch.allclose(loc[i], covariance @ (w / noise[:, None]).T @ centred, atol=1e-4)
        assert torch.allclose((2 * log_scale[i]).exp(), covariance.diagonal(), atol=1e-4)


def test_nothing_seen_is_the_prior(factors):
    loc, log_scale = factors(torch.zeros(1, 6), torch.zeros(1, 6), torch.zeros(1, 0))
    assert torch.equal(loc, torch.zeros(1, 2))
    assert torch.equal(log_scale, torch.zeros(1, 2))


def test_features_of_a_column_are_seen_together(truth):
    _, x, shown = truth
    by_column = FactorAnalysis(torch.tensor([0, 0, 0, 1, 1, 2]), 2, 0)
    by_feature = FactorAnalysis(torch.arange(6), 2, 0)
    cells = shown[:, [0, 3, 5]]
    for model, seen in ((by_column, cells), (by_feature, cells[:, by_column.owner])):
        model.fit(x, seen, x[:, :0], floors(x.shape[1]))
    answers = [by_column(x, cells.float(), x[:, :0])]
    answers.append(by_feature(x, cells[:, by_column.owner].float(), x[:, :0]))
    for one, other in zip(*answers, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_constant_or_unseen_feature_is_harmless():
    x = torch.randn((50, 3), generator=torch.Generator().manual_seed(0))
    x[:, 1] = 7.0
    shown = torch.ones(50, 3)
    shown[:, 2] = 0
    model = FactorAnalysis(torch.arange(3), 2, 0)
    model.fit(x, shown, x[:, :0], floors(x.shape[1]))
    assert all(torch.isfinite(part).all() for part in model(x, shown, x[:, :0]))


def test_what_the_condition_explains_is_not_in_the_factors(truth):
    loadings, x, shown = truth
    group = torch.arange(len(x)) % 3
    c = torch.cat([torch.eye(3)[group], torch.ones(len(x), 1)], dim=1)
    effect = torch.tensor([[0.0] * 6, [5.0] * 6, [-1.0, 2.0, 3.0, 0.0, 0.0, 9.0]])
    model = FactorAnalysis(torch.arange(6), 2, 4)
    model.fit(x + effect[group], shown, c, floors(6))
    learned = torch.eye(3) @ model.effects[:, :3].T
    expected = effect - effect.mean(dim=0)
    assert torch.allclose(learned - learned.mean(dim=0), expected, atol=0.15)
    scaled = model.loadings * model.scale[:, None]
    assert torch.allclose(scaled @ scaled.T, loadings @ loadings.T, atol=0.3)
    loc, _ = model(x + effect[group], shown.float(), c)
    means = torch.stack([loc[group == k].mean(dim=0) for k in range(3)])
    assert means.abs().max() < 0.1
    # Nothing known of the condition: the features' own means are expected.
    assert torch.allclose(model.mean, 3 + effect.mean(dim=0), atol=0.3)


def test_many_conditions_are_not_learned_by_heart():
    generator = torch.Generator().manual_seed(1)
    c = torch.randn((600, 150), generator=generator)
    x = 2 * c[:, :1] + torch.randn((600, 1), generator=generator)
    model = FactorAnalysis(torch.arange(1), 0, 150)
    model.fit(x[:200], torch.ones(200, 1, dtype=torch.bool), c[:200], floors(1))
    error = x[200:] - c[200:] @ model.effects.T - model.mean
    assert error.std() < 1.75
    few = FactorAnalysis(torch.arange(1), 0, 1)
    few.fit(x[:200], torch.ones(200, 1, dtype=torch.bool), c[:200, :1], floors(1))
    assert few.effects.item() == pytest.approx(2, abs=0.2)


def each_row_on_its_own(shown):
    yield from ((rows, shown[rows]) for rows in torch.arange(len(shown)).split(256))


def test_rows_that_show_all_or_nothing_are_worked_out_like_others(truth, monkeypatch):
    _, x, shown = truth
    x, shown = x[:300], shown[:300].clone()
    shown[:100], shown[100:120] = True, False
    answers = []
    for by_what_is_shown in (factors_module._by_what_is_shown, each_row_on_its_own):
        monkeypatch.setattr(factors_module, "_by_what_is_shown", by_what_is_shown)
        model = FactorAnalysis(torch.arange(6), 2, 0)
        model.fit(x, shown, x[:, :0], floors(x.shape[1]))
        answers.append([model.loadings, model.noise, *model(x, shown.float(), x[:, :0])])
    for one, other in zip(*answers, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    loc, log_scale = answers[0][2:]
    assert not loc[100:120].any()
    assert not log_scale[100:120].any()
    assert len(log_scale[:100].unique(dim=0)) == 1


@pytest.mark.parametrize("n_factors", [5, 9, 21, 32])
def test_a_rows_posterior_does_not_depend_on_the_others(n_factors):
    generator = torch.Generator().manual_seed(0)
    model = FactorAnalysis(torch.arange(60) % 15, n_factors, 0)
    model.loadings.normal_(generator=generator)
    model.noise.uniform_(0.05, 1, generator=generator)
    x = torch.randn((256, 60), generator=generator)
    shown = (torch.rand((256, 15), generator=generator) < 0.7).float()
    shown[::3], shown[5] = 1, 0
    answers = model(x, shown, x[:, :0])
    for rows in (torch.arange(256).flip(0), torch.arange(256) % 7, torch.full((256,), 4)):
        again = model(x[rows], shown[rows], x[:, :0])
        for one, other in zip(answers, again, strict=True):
            assert torch.equal(one[rows], other)


def test_first_loadings_of_many_features_are_nearly_the_exact_ones(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    z, w = (torch.randn(shape, generator=generator) for shape in ((300, 4), (4, 250)))
    x = (z @ w + torch.randn((300, 250), generator=generator)).double()
    exact = factors_module._leading_components(x, 4)
    monkeypatch.setattr(factors_module, "MAX_EXACT", 100)
    near = factors_module._leading_components(x, 4)
    assert not torch.equal(near, exact)
    assert torch.allclose(near @ near.T, exact @ exact.T, atol=0.02)
    assert torch.equal(near, factors_module._leading_components(x, 4))


def test_noise_is_no_less_than_its_floor():
    x = torch.randn((300, 1), generator=torch.Generator().manual_seed(0)).repeat(1, 3)
    model = FactorAnalysis(torch.arange(3), 1, 0)
    floor = torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)
    model.fit(x, torch.ones(300, 3), x[:, :0], floor)
    assert (model.noise >= floor - 1e-6).all()
    assert model.noise[0] == pytest.approx(0.1)
    assert model.noise[2] < 0.005


def test_loadings_that_are_shrunk_to_nothing_are_zero():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn((500, 1), generator=generator)
    x = one @ torch.ones((1, 6)) + 0.5 * torch.randn((500, 6), generator=generator)
    factors = FactorAnalysis(torch.arange(6), 6, 0)
    factors.fit(x, torch.ones(500, 6), x[:, :0], torch.full((6,), 0.5, dtype=torch.float64))
    size = factors.loadings.abs()
    assert size.max() > 0.5
    assert ((size == 0) | (size > 1e-8)).all()
    assert (size.amax(dim=0) == 0).any()
