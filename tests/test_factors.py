"""Factor analysis against closed forms and a known truth."""

from __future__ import annotations

import pytest
import torch

from sklearn_cvae.factors import FactorAnalysis


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
    model = FactorAnalysis(6, 2)
    model.fit(x, shown)
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
    loc, log_scale = factors(x[:5], shown[:5].float())
    for i, seen in enumerate(shown[:5]):
        w, noise = factors.loadings[seen], factors.noise[seen]
        covariance = torch.inverse(torch.eye(2) + (w / noise[:, None]).T @ w)
        centred = (x[i, seen] - factors.mean[seen]) / factors.scale[seen]
        assert torch.allclose(loc[i], covariance @ (w / noise[:, None]).T @ centred, atol=1e-4)
        assert torch.allclose((2 * log_scale[i]).exp(), covariance.diagonal(), atol=1e-4)


def test_nothing_seen_is_the_prior(factors):
    loc, log_scale = factors(torch.zeros(1, 6), torch.zeros(1, 6))
    assert torch.equal(loc, torch.zeros(1, 2))
    assert torch.equal(log_scale, torch.zeros(1, 2))


def test_a_constant_or_unseen_feature_is_harmless():
    x = torch.randn((50, 3), generator=torch.Generator().manual_seed(0))
    x[:, 1] = 7.0
    shown = torch.ones(50, 3)
    shown[:, 2] = 0
    model = FactorAnalysis(3, 2)
    model.fit(x, shown)
    assert all(torch.isfinite(part).all() for part in model(x, shown))
