"""The mixture in closed form: its algebra, what it finds, and where it is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from sklearn_cvae import ConditionalVAE, inference, mixtures
from sklearn_cvae.codecs import LevelCodec, NumericCodec
from sklearn_cvae.kinds import LEAST
from sklearn_cvae.metrics import imputation_errors
from sklearn_cvae.mixtures import LocationMixture, usual_parts
from sklearn_cvae.model import group_columns
from tests.test_model import make_model

RNG = np.random.default_rng(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def columns_of(numbers, levels):
    """Return kinds and the encoded table of some numbers and one category of three levels."""
    codecs = [NumericCodec.fit(x) for x in numbers.T] + [LevelCodec(3)]
    names = ["rank_normal"] * numbers.shape[1] + ["categorical"]
    columns = [*numbers.T, levels]
    values = np.stack([c.encode(x) for c, x in zip(codecs, columns, strict=True)], axis=1)
    return group_columns(codecs, names), torch.from_numpy(values.astype(np.float32))


def clusters(n=600):
    """Return numbers and levels of two groups that lie along different lines."""
    group = RNG.integers(0, 2, n)
    x = RNG.normal(size=n)
    numbers = np.stack([x, np.where(group, x, -x) + 0.1 * RNG.normal(size=n)], axis=1)
    return numbers, group.astype(float)


def test_conditionals_are_those_of_a_mixture_of_gaussians_and_levels():
    numbers, levels = RNG.normal(size=(40, 3)), RNG.integers(0, 3, 40).astype(float)
    kinds, values = columns_of(numbers, levels)
    mixture = LocationMixture(kinds, 2)
    root = torch.from_numpy(RNG.normal(size=(2, 3, 3)))
    mixture.means[:, :3] = torch.from_numpy(RNG.normal(size=(2, 3)))
    mixture.covariances[:, :3, :3] = root @ root.mT + torch.eye(3)
    mixture.log_weight.copy_(torch.tensor([0.3, 0.7]).log())
    mixture.frequencies.copy_(torch.tensor([[[0.2, 0.3, 0.5]], [[0.6, 0.3, 0.1]]]))
    shown = torch.from_numpy(RNG.random((40, 4)) < 0.6)
    (probs, nothing) = mixture(kinds, values, shown, 1.5)
    assert nothing is None
    for i in range(40):
        given = shown[i, :3].numpy()
        x, free = values[i, :3].double().numpy()[given], np.flatnonzero(~given)
        weights, parts = [], []
        for k in range(2):
            m = mixture.means[k, :3].numpy()
            s = mixture.covariances[k, :3, :3].numpy()
            weight = math.exp(mixture.log_weight[k])
            if shown[i, 3]:
                weight *= float(mixture.frequencies[k, 0, int(levels[i])])
            if given.any():
                own = np.ix_(given, given)
                weight *= multivariate_normal(m[given], s[own]).pdf(x)
                slope = s[:, given] @ np.linalg.inv(s[own])
                m, s = m + slope @ (x - m[given]), s - slope @ s[given]
            weights.append(weight)
            parts.append((m, np.sqrt(1.5 * np.diag(s).clip(0))))
        share = np.array(weights) / sum(weights)
        edges = kinds[0].edges.numpy()
        for j in free:
            ends = np.r_[-np.inf, edges[j], np.inf]
            below = sum(
                w * norm(m[j], d[j]).cdf(ends) for w, (m, d) in zip(share, parts, strict=True)
            )
            np.testing.assert_allclose(probs[i, j].numpy(), np.diff(below), atol=1e-5)


def test_it_finds_groups_and_their_lines_despite_missing_cells():
    numbers, levels = clusters()
    kinds, values = columns_of(numbers, levels)
    observed = torch.from_numpy(RNG.random((600, 3)) < 0.8)
    mixture = LocationMixture(kinds, 2)
    mixture.fit(kinds, values, observed, generator())
    correlations = [float(c[0, 1] / (c[0, 0] * c[1, 1]).sqrt()) for c in mixture.covariances]
    assert sorted(np.sign(correlations)) == [-1, 1]
    assert min(np.abs(correlations)) > 0.9
    shown = torch.ones((600, 3), dtype=torch.bool)
    shown[:, 1] = False
    mean = (mixture(kinds, values, shown, 1.0)[0][:, 1] * kinds[0].centres[1]).sum(-1)
    error = (mean - values[:, 1]).numpy()
    assert np.sqrt(np.mean(error**2)) < 0.35


def test_one_part_of_whole_rows_has_their_moments_shrunk_by_the_floor_alone():
    numbers = RNG.normal(size=(500, 3)) @ RNG.normal(size=(3, 3))
    kinds, values = columns_of(numbers, np.zeros(500))
    mixture = LocationMixture(kinds, 1)
    mixture.fit(kinds, values, torch.ones((500, 4), dtype=torch.bool), generator())
    x = values[:, :3].double().numpy()
    np.testing.assert_allclose(mixture.means[0, :3], x.mean(0), atol=1e-9)
    cov = np.cov(x.T, bias=True)
    floor = np.diag(kinds[0].noise_floor * np.diag(cov))
    np.testing.assert_allclose(mixture.covariances[0, :3, :3], cov + floor, rtol=1e-6)
    np.testing.assert_allclose(mixture.frequencies[0, 0], [1, 0, 0], atol=1e-3)


def test_the_likelihood_of_what_is_seen_grows():
    numbers, levels = clusters()
    kinds, values = columns_of(numbers, levels)
    observed = torch.from_numpy(RNG.random((600, 3)) < 0.7)
    mixture = LocationMixture(kinds, 5)
    scores = []

    def watched(self, cells, share, floor, everywhere):
        log_joint, everyone = mixture._log_of_levels(cells), torch.ones(600, dtype=torch.bool)
        for k, gaussian in enumerate(mixture._gaussians()):
            log_joint[:, k] += mixtures._log_density(cells, everyone, gaussian)
        scores.append(float(log_joint.logsumexp(1).mean()))
        return LocationMixture._em_step(self, cells, share, floor, everywhere)

    mixture._em_step = watched.__get__(mixture)
    mixture.fit(kinds, values, observed, generator())
    assert scores[-1] > scores[0] + 0.3
    assert min(np.diff(scores)) > -0.01  # the prior and rows left alone may cost a little


@pytest.mark.parametrize("n_rows", [1, 2, 60])
def test_odd_tables_have_a_mixture_all_the_same(n_rows):
    numbers = np.stack([RNG.normal(size=n_rows), np.zeros(n_rows), np.full(n_rows, np.nan)], axis=1)
    kinds, values = columns_of(numbers, np.zeros(n_rows))
    observed = torch.from_numpy(~np.isnan(np.column_stack([numbers, np.zeros(n_rows)])))
    mixture = LocationMixture(kinds, usual_parts(n_rows, 3))
    mixture.fit(kinds, values.nan_to_num(), observed, generator())
    for shown in (observed, torch.zeros_like(observed)):
        *of_numbers, nothing = mixture(kinds, values.nan_to_num(), shown, 1.0)
        assert nothing is None
        for probs in of_numbers:
            assert probs.isfinite().all()
            torch.testing.assert_close(probs.sum(-1), torch.ones(probs.shape[:2]))


@pytest.mark.parametrize("n_numbers", [1, 7, 8, 17])
def test_densities_of_what_rows_show_are_those_of_scipy(n_numbers):
    rng = np.random.default_rng(n_numbers)  # others go on as they were
    numbers = rng.normal(size=(60, n_numbers))
    kinds, values = columns_of(numbers, np.zeros(60))
    mixture = LocationMixture(kinds, 1)
    shares = rng.random(60)[:, None]  # rows that hide nothing, all, and what is between
    shown = rng.random((60, n_numbers + 1)) < np.clip(1.4 * shares - 0.2, 0, 1)
    assert shown[:, :-1].all(axis=1).any()
    assert not shown[:, :-1].any(axis=1).all()
    cells = mixture._cells(values, torch.from_numpy(shown))
    p = len(mixture.means[0])
    mean, covariance = torch.zeros(p).double(), torch.eye(p).double()
    root = torch.from_numpy(rng.normal(size=(n_numbers, n_numbers)))
    mean[:n_numbers] = torch.from_numpy(rng.normal(size=n_numbers))
    covariance[:n_numbers, :n_numbers] = root @ root.mT + 0.1 * torch.eye(n_numbers)
    mixture.means[0], mixture.covariances[0] = mean, covariance
    (gaussian,) = mixture._gaussians()
    is_chosen = torch.arange(60) % 3 > 0
    found = mixtures._log_density(cells, is_chosen, gaussian).numpy()
    for i in range(60):
        given = np.flatnonzero(shown[i, :-1])
        own = mean.numpy()[given], covariance.numpy()[np.ix_(given, given)]
        x = values[i, :-1].double().numpy()[given]
        expected = multivariate_normal(*own).logpdf(x) if len(given) else 0.0
        assert found[i] == (pytest.approx(expected, rel=1e-8) if is_chosen[i] else -np.inf)


def test_hidden_cells_do_not_reach_it():
    numbers, levels = clusters(200)
    kinds, values = columns_of(numbers, levels)
    shown = torch.from_numpy(RNG.random((200, 3)) < 0.5)
    other = torch.where(shown, values, torch.ones_like(values))
    states = []
    for table in (values, other):
        mixture = LocationMixture(kinds, 3)
        mixture.fit(kinds, table, shown, generator())
        states.append([*mixture.state_dict().values(), mixture(kinds, table, shown, 1.0)[0]])
    for one, two in zip(*states, strict=True):
        assert torch.equal(one, two)


def test_cells_are_imputed_by_all_three_pooled():
    model, _, cells = make_model(predicts=True, n_parts=3)
    values, observed = torch.from_numpy(cells.values), torch.from_numpy(cells.visible)
    model.predictor.mixture.fit(model.table_kinds, values, observed, generator())
    model.direct_share.fill_(0.4)
    model.eval()
    chunk = next(inference._chunks(model, cells)).widened(1.3)
    noise = inference._shared_noise(model, 8)
    with torch.inference_mode():
        pooled = inference._mean_probs(model, chunk, noise)
        latent = inference._latent_probs(model, chunk, noise)
        inputs = model.inputs(chunk.values)
        networks = model.predicted(model.predictor, inputs, chunk.visible, chunk.c).expected(1.3)
        shown = chunk.visible | chunk.given
        mixed = model.predictor.mixture(model.table_kinds, chunk.values, shown, 1.3)
    for kind, p, z, n, m in zip(model.table_kinds, pooled, latent, networks, mixed, strict=True):
        if m is None:
            assert not kind.numeric
            expected = z**0.6 * n**0.4
        else:
            expected = (z**0.6 * n**0.4 * m.clamp(min=LEAST) ** 0.4) ** (1 / 1.4)
        torch.testing.assert_close(p, expected / expected.sum(-1, keepdim=True))


def test_which_tables_have_one(penguins):
    def mixture_of(X, **params):
        model = ConditionalVAE(2, max_iter=1, random_state=0, hidden_layer_sizes=[8], **params)
        return model.fit(X)._module.predictor.mixture

    assert len(mixture_of(penguins).means) == 344 // 40
    assert mixture_of(penguins[["species", "island"]]) is None
    wide = pd.DataFrame(RNG.normal(size=(30, 65)))
    assert mixture_of(wide) is None
    assert len(mixture_of(wide[range(64)]).means) == 1
    codes = pd.DataFrame({"code": [f"c{i % 101}" for i in range(303)], "x": RNG.normal(size=303)})
    assert len(mixture_of(codes).categories_at) == 0
    codes["code"] = codes["code"].str[:2]
    assert len(mixture_of(codes).categories_at) == 1


def test_a_table_of_groups_is_imputed_better_by_it():
    numbers, levels = clusters(400)
    truth = pd.DataFrame(numbers, columns=["x", "y"]).assign(group=np.where(levels, "b", "a"))
    hidden = np.zeros(truth.shape, dtype=bool)
    hidden[:, 1] = RNG.random(400) < 0.3
    holes = truth.mask(hidden)
    model = ConditionalVAE(random_state=0, max_iter=15).fit(holes)
    with_it = imputation_errors(truth, holes, model.impute(holes), hidden)
    model._module.predictor.mixture = None
    without = imputation_errors(truth, holes, model.impute(holes), hidden)
    assert with_it.rmse < 0.9 * without.rmse
