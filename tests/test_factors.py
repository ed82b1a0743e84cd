"""Factor analysis against closed forms and a known truth."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from sklearn_cvae.factors import FactorAnalysis
from sklearn_cvae.model import LatentNormal


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
    x, shown = x[:5], shown[:5]
    posterior = factors(x, shown.float())
    for i, seen in enumerate(shown):
        w, noise = factors.loadings[seen], factors.noise[seen]
        covariance = torch.inverse(torch.eye(2) + (w / noise[:, None]).T @ w)
        centred = (x[i, seen] - factors.mean[seen]) / factors.scale[seen]
        loc = covariance @ (w / noise[:, None]).T @ centred
        assert torch.allclose(posterior.loc[i], loc, atol=1e-4)
        inverse = posterior.inverse[i]
        assert torch.allclose(inverse.T @ inverse, covariance, atol=1e-4)


def test_nothing_seen_is_the_prior(factors):
    loc, root, _ = factors(torch.zeros(1, 6), torch.zeros(1, 6))
    assert torch.equal(loc, torch.zeros(1, 2))
    assert torch.equal(root[0], torch.eye(2))


def test_latent_normal_agrees_with_torchs_multivariate_normal(truth, factors):
    _, x, shown = truth
    generator = torch.Generator().manual_seed(1)

    def latents(visible):
        rows = factors(x[:4], visible.float())
        loc, log_scale = (0.3 * torch.randn((4, 3), generator=generator) for _ in range(2))
        ours = LatentNormal(loc, log_scale, rows)
        colour = torch.eye(3).repeat(4, 1, 1)
        colour[:, :2, :2] = rows.inverse.mT
        scaled = colour * log_scale.exp()[:, None, :]
        return ours, MultivariateNormal(loc, scaled @ scaled.mT)

    p, p_torch = latents(shown[:4])
    q, q_torch = latents(shown[4:8])
    value = torch.randn((4, 3), generator=generator)
    assert torch.allclose(p.log_prob(value), p_torch.log_prob(value), atol=1e-4)
    assert torch.allclose(p.kl(q), kl_divergence(p_torch, q_torch), atol=1e-3)
    draws = torch.stack([p.draw(torch.randn((4, 3), generator=generator)) for _ in range(4000)])
    spread = (draws - p.loc).permute(1, 2, 0)
    assert torch.allclose(spread @ spread.mT / 4000, p_torch.covariance_matrix, atol=0.2)


def test_a_constant_or_unseen_feature_is_harmless():
    x = torch.randn((50, 3), generator=torch.Generator().manual_seed(0))
    x[:, 1] = 7.0
    shown = torch.ones(50, 3)
    shown[:, 2] = 0
    model = FactorAnalysis(3, 2)
    model.fit(x, shown)
    posterior = model(x, shown)
    assert all(torch.isfinite(part).all() for part in posterior)
