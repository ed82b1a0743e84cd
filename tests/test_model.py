"""Networks, objectives, distributions and the noise that inference runs on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from sklearn_cvae import inference, objectives, priors, training
from sklearn_cvae.backbones import MLP
from sklearn_cvae.codecs import Cells, LevelCodec, NumericCodec
from sklearn_cvae.kinds import Numeric
from sklearn_cvae.likelihoods import LIKELIHOODS, Histogram
from sklearn_cvae.model import TableCVAE
from sklearn_cvae.networks import ACTIVATIONS, CONDITIONING, Dropout, ResidualMLP
from sklearn_cvae.noise import RowNoise, row_keys
from sklearn_cvae.priors import (
    PRIORS,
    DiagonalNormal,
    Mixture,
    NormalizingFlow,
    NormalMixture,
    Prior,
    VampPrior,
)
from sklearn_cvae.ties import Ties

RNG = np.random.default_rng(0)
TWO = NumericCodec.fit(np.repeat([5.0, 6.0], 9))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_tensors(*shapes):
    g = generator()
    return [torch.randn(shape, generator=g) for shape in shapes]


def test_gaussian_kl_is_torchs():
    m0, s0, m1, s1 = random_tensors(*[(5, 3)] * 4)
    expected = kl_divergence(Normal(m0, s0.exp()), Normal(m1, s1.exp())).sum(-1)
    torch.testing.assert_close(objectives.gaussian_kl(m0, s0, m1, s1), expected)


def test_densities_are_torchs():
    m, s, z, logits = random_tensors((5, 3), (5, 3), (5, 3), (5, 4))
    expected = Independent(Normal(m, s.exp()), 1).log_prob(z)
    torch.testing.assert_close(DiagonalNormal(m, s).log_prob(z), expected)
    loc, log_scale, shift = random_tensors((4, 3), (4, 3), (5, 3))
    ours = NormalMixture(logits.log_softmax(-1), shift, loc, log_scale)
    parts = Independent(Normal(loc + shift[:, None], log_scale.exp().expand(5, 4, 3)), 1)
    theirs = MixtureSameFamily(Categorical(logits=logits), parts)
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_draws_follow_the_density():
    n = 20_000
    log_weight = torch.tensor([[0.3, 0.7]]).log().expand(n, 2)
    mixture = NormalMixture(
        log_weight, torch.ones(n, 1), torch.tensor([[-4.0], [4.0]]), torch.zeros(2, 1)
    )
    noise = torch.randn((n, 1), generator=generator())
    z = mixture.draw(noise, torch.rand(n, generator=generator(1)))
    assert (z < 1).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert z.mean().item() == pytest.approx(mixture.mean[0].item(), abs=0.1)


def test_a_mixture_starts_from_rows_far_from_each_other():
    group = torch.arange(2000) % 8
    z = 100 + 5 * torch.eye(8)[group] + 0.01 * torch.randn((2000, 8), generator=generator())
    rows = priors.distant_rows(z, torch.ones(2000), 8, generator(1))
    assert sorted((rows - 100).argmax(dim=1).tolist()) == list(range(8))


def test_refitting_finds_a_mixture_again():
    g, centres = generator(), torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    which = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 6000, True, generator=g)
    z = centres[which] + 0.3 * torch.randn((6000, 2), generator=g)
    prior = Mixture().build(2, 0, g)
    c = z.new_zeros((6000, 0))
    before = prior(c, encode).log_prob(z).mean()
    prior.refit(z, c, torch.ones(6000), g)
    truth = Independent(Normal(centres, torch.full((3, 2), 0.3)), 1)
    expected = MixtureSameFamily(Categorical(torch.tensor([0.5, 0.3, 0.2])), truth).log_prob(z)
    assert prior(c, encode).log_prob(z).mean() > before + 1
    assert abs(prior(c, encode).log_prob(z).mean() - expected.mean()) < 0.1
    drawn = prior(c, encode).draw(
        torch.randn((6000, 2), generator=g), torch.rand(6000, generator=g)
    )
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.15, rtol=0)


def test_refitting_learns_how_weights_follow_the_condition():
    g = generator()
    c = torch.randint(0, 2, (4000, 1), generator=g).float()
    z = 4 * c - 2 + 0.5 * torch.randn((4000, 1), generator=g)
    prior = Mixture().build(1, 1, g)
    prior.refit(z, c, torch.ones(4000), g)
    one = prior(torch.ones(2000, 1), encode)
    drawn = one.draw(torch.randn((2000, 1), generator=g), torch.rand(2000, generator=g))
    assert (drawn > 0).float().mean() > 0.97
    assert abs(drawn.mean() - 2) < 0.15


def test_refitting_keeps_the_latents_of_many_classes_apart():
    """Ten classes overlap a little; a draw belongs to the class whose centre is nearest."""
    g = generator()
    centres = 0.7 * torch.randn((10, 20), generator=g)
    labels = torch.randint(0, 10, (8000,), generator=g)
    z = centres[labels] + 0.8 * torch.randn((8000, 20), generator=g)
    c = torch.nn.functional.one_hot(labels, 10).float()
    c[::2] = 0
    prior = Mixture().build(20, 10, g)
    prior.refit(z, c, torch.ones(8000), g)
    asked = torch.arange(10).repeat(300)
    given = prior(torch.eye(10)[asked], encode)
    drawn = given.draw(torch.randn((3000, 20), generator=g), torch.rand(3000, generator=g))
    nearest = [torch.cdist(x, centres).argmin(1) for x in (z, drawn)]
    possible = (nearest[0] == labels).float().mean()
    assert (nearest[1] == asked).float().mean() > possible - 0.02


def test_hiding_cells():
    observed = torch.rand((4000, 6), generator=generator()) < 0.8
    visible, all_hidden = objectives.hide_cells(observed, generator(), 0.2)
    assert not (visible & ~observed).any()
    assert not visible[all_hidden].any()
    assert all_hidden.float().mean().item() == pytest.approx(0.2, abs=0.03)
    share = visible[~all_hidden].sum(1) / observed[~all_hidden].sum(1).clamp(min=1)
    assert share.mean().item() == pytest.approx(0.5, abs=0.03)
    assert share.std().item() > 0.25


def test_dropping_conditions():
    given = torch.ones((4000, 4), dtype=torch.bool)
    kept = objectives.drop_conditions(given, generator(), 0.4)
    assert (~kept).all(1).float().mean().item() == pytest.approx(0.2 + 0.2 / 16, abs=0.03)
    assert kept.all(1).float().mean().item() == pytest.approx(0.6 + 0.2 / 16, abs=0.03)
    assert objectives.drop_conditions(given, generator(), 0.0).all()


def mlp(name: str, widths: list[int], sizes: tuple[int, ...], activation: str) -> ResidualMLP:
    g = generator()
    condition = CONDITIONING[name](widths, sizes, g)
    return ResidualMLP(5, 3, sizes, activation, 0.0, condition, g)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", CONDITIONING)
@pytest.mark.parametrize("widths", [[], [4], [4, 4]])
@pytest.mark.parametrize("sizes", [(), (8,), (8, 8, 4)])
def test_contract_of_every_conditioning(name, activation, widths, sizes):
    net = mlp(name, widths, sizes, activation)
    x, c = random_tensors((7, 5), (7, sum(widths)))
    out = net(x, c)
    assert out.shape == (7, 3)
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert torch.equal(mlp(name, widths, sizes, activation)(x, c), out)


@pytest.mark.parametrize("name", CONDITIONING)
def test_every_conditioning_learns_what_the_condition_does(name):
    """y = x c has no linear part that a condition-blind network could find."""
    net = mlp(name, [4], (16, 16), "silu")
    x, c = random_tensors((512, 5), (512, 4))
    y = (x[:, :3] * c[:, :3].sign()).detach()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        (net(x, c) - y).square().mean().backward()
        optimizer.step()
    net.eval()
    assert (net(x, c) - y).square().mean() < 0.35 * y.square().mean()
    alone = torch.cat([net(x[i : i + 1], c[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, net(x, c)[:3], atol=1e-5, rtol=1e-4)


def encode(inputs: list[torch.Tensor]) -> DiagonalNormal:
    """A posterior network for priors that ask for one."""
    loc = inputs[0][:, 0, :]
    return DiagonalNormal(loc, torch.full_like(loc, -1.0))


def make_prior(name: str, n_components: int, n_condition: int) -> Prior:
    prior = PRIORS[name]().build(n_components, n_condition, generator())
    prior.start([torch.randn((50, 1, n_components), generator=generator(1))], generator(2))
    for parameter in prior.parameters():
        noise = torch.randn(parameter.shape, generator=generator(3))
        parameter.data.add_(0.1 * noise)
    return prior


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("n_condition", [0, 2])
@pytest.mark.parametrize("n_components", [1, 3])
def test_contract_of_every_prior(name, n_condition, n_components):
    prior = make_prior(name, n_components, n_condition)
    noise, c, choice = random_tensors((7, n_components), (7, n_condition), (7,))
    distribution = prior(c, encode)
    z = distribution.draw(noise, choice.sigmoid())
    assert z.shape == distribution.mean.shape == (7, n_components)
    assert distribution.log_prob(z).shape == (7,)
    assert torch.isfinite(distribution.log_prob(z)).all()
    again = make_prior(name, n_components, n_condition)(c, encode)
    assert torch.equal(again.log_prob(z), distribution.log_prob(z))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_densities_of_every_prior_integrate_to_one_and_draws_follow_them(name, factor):
    prior = make_prior(name, 1, 1)
    grid = torch.linspace(-12, 12, 20_001)[:, None]
    distribution = prior(torch.ones(20_001, 1), encode).widened(factor)
    density = distribution.log_prob(grid).exp().detach()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=2e-3)
    u = torch.rand((20_001, 2), generator=generator(5))
    drawn = distribution.draw(torch.special.ndtri(u[:, :1]), u[:, 1]).detach()[:, 0]
    cdf = torch.cumulative_trapezoid(density, grid[:, 0])
    at = cdf[torch.searchsorted(grid[1:, 0].contiguous(), drawn).clamp(max=19_999)]
    assert (at.sort().values - torch.linspace(0, 1, 20_001)).abs().max() < 0.02
    mean = (density * grid[:, 0]).sum() * 24 / 20_000
    if factor == 1:
        assert distribution.mean[0].item() == pytest.approx(mean.item(), abs=0.05)


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_refitting_brings_a_prior_to_the_latents(name):
    g = generator()
    z = torch.cat(
        [
            torch.randn((3000, 2), generator=g) * 0.3 + 1.5,
            torch.randn((3000, 2), generator=g) * 0.3 - 1.5,
        ]
    )
    c = z.new_zeros((6000, 0))
    prior = make_prior(name, 2, 0)
    before = prior(c, encode).log_prob(z).mean()
    prior.refit(z, c, torch.ones(6000), g)
    truth = Independent(Normal(torch.tensor([[1.5, 1.5], [-1.5, -1.5]]), 0.3), 1)
    best = MixtureSameFamily(Categorical(torch.ones(2)), truth).log_prob(z).mean()
    assert before < prior(c, encode).log_prob(z).mean() < best + 0.1
    assert prior(c, encode).log_prob(z).mean() > best - 0.15


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_refitting_does_not_learn_few_latents_by_heart(name):
    g = generator()
    z, c = torch.randn((600, 6), generator=g), torch.randn((600, 20), generator=g)
    prior = make_prior(name, 6, 20)
    before = prior(c[300:], encode).log_prob(z[300:]).mean()
    prior.refit(z[:300], c[:300], torch.ones(300), g)
    assert prior(c[300:], encode).log_prob(z[300:]).mean() > before


def test_a_vamp_prior_is_made_of_posteriors():
    prior = PRIORS["vamp"]().build(2, 0, generator())
    rows = torch.randn((50, 1, 2), generator=generator(1))
    prior.start([rows], generator())
    mixture = prior(torch.zeros(1, 0), encode)
    assert all((rows[:, 0] == centre).all(dim=1).any() for centre in mixture.loc)
    assert mixture.log_scale.eq(-1).all()


def test_sizes_of_choices_are_checked():
    for wrong in (lambda: Mixture(0), lambda: VampPrior(-1), lambda: NormalizingFlow(n_bins=0)):
        with pytest.raises(ValueError, match="at least 1"):
            wrong()
    with pytest.raises(ValueError, match="beta"):
        objectives.ELBO(beta=-1)
    with pytest.raises(ValueError, match="n_samples"):
        objectives.IWAE(n_samples=0)
    with pytest.raises(ValueError, match="alpha"):
        objectives.Hybrid(alpha=2)


# A model with a known answer: z ~ N(0, 1), x | z ~ N(z, 1), q(z | x) ~ N(m, s^2), x = 1.
M, S = 0.3, 0.9


def known_terms(n_draws: int, n: int = 40_000) -> objectives.Terms:
    z = M + S * torch.randn((n_draws, n), generator=generator(), dtype=torch.float64)
    log_q, log_p = Normal(M, S).log_prob(z), Normal(0.0, 1.0).log_prob(z)
    kl = kl_divergence(Normal(M, S), Normal(0.0, 1.0)).expand(n)
    return objectives.Terms(Normal(z, 1.0).log_prob(torch.tensor(1.0)), log_q - log_p, kl, 1)


LOG_EVIDENCE = Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0)).item()
ELBO_GAP = kl_divergence(Normal(M, S), Normal(0.5, 0.5**0.5)).item()


def test_the_elbo_is_the_evidence_less_the_posteriors_error():
    loss = objectives.ELBO().loss(known_terms(1), 1.0).mean().item()
    assert -loss == pytest.approx(LOG_EVIDENCE - ELBO_GAP, abs=0.01)


def test_the_importance_weighted_bound_nears_the_evidence_as_draws_grow():
    bounds = [
        -objectives.IWAE(n_samples=k).loss(known_terms(k), 1.0).mean().item() for k in (1, 5, 50)
    ]
    assert bounds[0] == pytest.approx(LOG_EVIDENCE - ELBO_GAP, abs=0.01)
    assert bounds[0] < bounds[1] < bounds[2] < LOG_EVIDENCE + 1e-3
    assert bounds[2] == pytest.approx(LOG_EVIDENCE, abs=0.005)


def test_the_hybrid_mixes_the_elbo_with_prediction_from_the_prior():
    terms = known_terms(1)
    prior_draw = torch.randn((1, 40_000), generator=generator(1), dtype=torch.float64)
    predicted = Normal(prior_draw, 1.0).log_prob(torch.tensor(1.0))
    both = terms._replace(log_likelihood=torch.cat([terms.log_likelihood, predicted]))
    loss = objectives.Hybrid(alpha=0.25).loss(both, 1.0).mean().item()
    # E_{z ~ N(0, 1)} log N(1 | z, 1)
    expected = -0.5 * (np.log(2 * np.pi) + 2)
    assert -loss == pytest.approx(0.25 * (LOG_EVIDENCE - ELBO_GAP) + 0.75 * expected, abs=0.01)


def test_free_bits_floor_the_batch_mean():
    terms = known_terms(1, n=10)._replace(
        kl=torch.linspace(0, 0.2, 10, requires_grad=True), n_components=4
    )
    loss = objectives.ELBO(free_bits=0.1).loss(terms, 1.0) + terms.log_likelihood[0]
    torch.testing.assert_close(loss.detach(), torch.full_like(loss, 0.4))
    (gradient,) = torch.autograd.grad(loss.sum(), terms.kl)
    assert gradient.eq(0).all()
    above = objectives.ELBO(free_bits=0.01).loss(terms, 1.0) + terms.log_likelihood[0]
    assert torch.autograd.grad(above.sum(), terms.kl)[0].eq(1).all()


def test_the_weight_of_the_kl():
    linear, cyclic = objectives.ELBO(beta=2, warm_up=0.5), objectives.ELBO(warm_up=0.5, n_cycles=4)
    assert [linear.weight(p) for p in (0, 0.25, 0.5, 1)] == [0, 1, 2, 2]
    assert [cyclic.weight(p) for p in (0, 0.0625, 0.125, 0.25, 0.3125, 1)] == [0, 0.5, 1, 0, 0.5, 1]
    assert objectives.ELBO(warm_up=0).weight(0) == 1


def test_dropout_keeps_the_mean_and_only_acts_in_training():
    dropout, h = Dropout(0.3, seed=0), torch.ones(100, 100)
    assert dropout(h).mean().item() == pytest.approx(1, abs=0.03)
    assert (dropout(h) == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(dropout.eval()(h), h)


def make_model(
    prior: str = "mixture", n_decoders: int = 1, *, predicts: bool = False, n_parts: int = 0
) -> tuple[TableCVAE, list, Cells]:
    numbers = RNG.normal(size=(300, 2))
    levels = RNG.integers(0, 3, 300).astype(float)
    codecs = [NumericCodec.fit(numbers[:, 0]), LevelCodec(3), NumericCodec.fit(numbers[:, 1])]
    columns = [numbers[:, 0], levels, numbers[:, 1]]
    values = np.stack([k.encode(x) for k, x in zip(codecs, columns, strict=True)], axis=1)
    model = TableCVAE(
        codecs,
        ["histogram", "categorical", "rank_normal"],
        [1],
        ties=Ties(),
        n_components=4,
        hidden_layer_sizes=[16],
        activation="silu",
        conditioning="concat",
        prior=PRIORS[prior](),
        objective=objectives.ELBO(),
        backbone=MLP(),
        n_decoders=n_decoders,
        dropout=0.0,
        input_noise=0.1,
        self_masking=False,
        predicts=predicts,
        n_factors=4,
        n_parts=n_parts,
        condition_dropout=0.1,
        generator=generator(),
    )
    visible = RNG.random(values.shape) < 0.7
    is_condition = np.array([False, True, False])
    return model, codecs, Cells(values, visible & ~is_condition, visible & is_condition)


def test_the_loss_does_not_see_missing_cells():
    model, _, cells = make_model()
    observed = torch.from_numpy(cells.visible | cells.given)
    values = torch.from_numpy(cells.values)
    a = model(values, observed, 1.0, generator())
    b = model(torch.where(observed, values, 1.0), observed, 1.0, generator())
    assert a.shape == (300,)
    torch.testing.assert_close(a, b)


def test_answers_do_not_see_hidden_cells():
    model, codecs, cells = make_model()
    known = cells.visible | cells.given
    other = Cells(np.where(known, cells.values, np.float32(1)), cells.visible, cells.given)
    a, b = (inference.latent_means(model, part) for part in (cells, other))
    np.testing.assert_array_equal(a, b)
    a, b = (inference.log_marginals(model, part, 8) for part in (cells, other))
    np.testing.assert_array_equal(a, b)
    mean = [inference.point("mean")]
    a, b = (inference.impute_point(model, codecs, p, mean, 4)[0] for p in (cells, other))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("gains", "n", "expected"),
    [
        ((0.5, 0.5), 100, 4),
        ((0.5, 0.05), 100, 0),
        ((0.2, 0.5), 100, 0),
        ((0.5, -0.1), 100, 0),
        ((-0.3, 0.5), 100, 0),
        ((0.5, 0.5), 20, 0),
    ],
)
def test_cells_are_imputed_by_sweeps_if_that_is_surely_better(gains, n, expected, monkeypatch):
    model, _, cells = make_model()
    tried = []

    def misfits(model, cells, target, n_draws):
        tried.append(int(model.n_sweeps))
        noise = stats.norm.ppf((np.arange(n) + 0.5) / n)
        swept = [1 - gain + noise for gain in gains]
        return np.ones((2, n)) if model.n_sweeps == 0 else np.stack(swept)

    target = np.zeros(cells.visible.shape, dtype=bool)
    target.flat[:n] = True
    monkeypatch.setattr(inference, "_misfits", misfits)
    model.n_sweeps.fill_(4)
    inference.choose_sweeps(model, cells, target)
    ruled_out = [0, 4] if n >= 30 else []
    assert tried == (2 * ruled_out if min(gains) > 0 else ruled_out)
    assert int(model.n_sweeps) == expected
    tried.clear()
    model.backbone = MLP(ordered=True)
    inference.choose_sweeps(model, cells, target)
    assert (tried, int(model.n_sweeps)) == ([], 0)


def test_misfits_are_of_scores_and_of_levels_probabilities():
    model, _, cells = make_model()
    target = np.zeros(cells.visible.shape, dtype=bool)
    target[:40] = True
    target[:40, 1] &= ~cells.given[:40, 1]
    visible = cells.visible & ~target
    hidden = Cells(cells.values, visible, cells.given)
    by_column = []
    for j in range(3):
        only = target & (np.arange(3) == j)
        by_column.append(inference._misfits(model, hidden, only, 64))
    assert sum(scores.shape[1] for scores in by_column) == target.sum()
    assert inference._misfits(model, hidden, target, 64).shape == (2, target.sum())
    n_given = 40 - target[:, 1].sum()
    assert by_column[1].shape[1] == 40 - n_given
    # Of an untrained model: a Gaussian score has a CRPS of 1 / sqrt(pi) and its variance, three
    # levels have (1 - 1 / 3) / 2.
    assert by_column[0][0].mean() == pytest.approx(np.pi**-0.5, abs=0.1)
    assert by_column[0][1].mean() == pytest.approx(1.0, abs=0.5)
    assert by_column[1].mean() == pytest.approx(1 / 3, abs=0.05)
    assert (by_column[1][0] == by_column[1][1]).all()


def test_misfits_by_hand():
    kind = Histogram([0, 1], [NumericCodec.fit(np.repeat([0.0, 1.0, 3.0], 9)), TWO])
    at = kind.centres
    probs = torch.tensor([[[0.2, 0.5, 0.3], [0.4, 0.6, 0.0]]])
    values = torch.stack([at[0, 1], at[1, 0]])[None]
    gaps = torch.diff(at[0])
    expected = torch.tensor([[0.2**2 * gaps[0] + 0.3**2 * gaps[1], 0.6**2 * (at[1, 1] - at[1, 0])]])
    torch.testing.assert_close(kind.crps(probs, values), expected)
    levels = LIKELIHOODS["categorical"]([0], [LevelCodec(3)])
    brier = levels.half_brier(probs[:, :1], torch.ones(1, 1))
    assert brier.item() == pytest.approx((0.2**2 + 0.5**2 + 0.3**2) / 2)


def test_sweeps_impute_the_mean_of_their_draws():
    model, codecs, cells = make_model()
    model.n_sweeps.fill_(3)
    some = Cells(*(part[:40] for part in cells))
    mean = inference.impute_point(model, codecs, some, [inference.point("mean")], 900)[0]
    keys = row_keys(some)
    draws = np.stack(
        [inference.impute_draw(model, codecs, some, RowNoise(seed, keys)) for seed in range(200)]
    )
    numbers = draws[:, :, [0, 2]]
    error = (numbers.mean(axis=0) - mean[:, [0, 2]]) / (numbers.std(axis=0) / np.sqrt(200))
    assert np.sqrt(np.mean(error**2)) == pytest.approx(1.0, abs=0.25)


def test_a_row_is_drawn_from_any_state_of_its_chain(monkeypatch):
    model, codecs, cells = make_model()
    model.n_sweeps.fill_(3)

    def states(model, chunk, noise):
        assert [u.shape[-1] for u in noise] == [5, 7, 7, 7]
        for sweep in range(4):
            probs = [torch.zeros(256, k.n_columns, k.n_atoms) for k in model.table_kinds]
            for part in probs:
                part[..., min(sweep, part.shape[-1] - 1)] = 1.0
            yield probs

    monkeypatch.setattr(inference, "_states", states)
    noise = RowNoise(0, row_keys(cells))
    numbers = inference.impute_draw(model, codecs, cells, noise)
    first, second = (
        np.searchsorted(codecs[j].score_edges, codecs[j].encode(numbers[:, j])) for j in (0, 2)
    )
    assert (first == second).all()
    np.testing.assert_allclose(np.bincount(first) / len(first), 0.25, atol=0.07)


def test_a_sweep_shows_what_was_drawn_and_keeps_what_is_known():
    model, _, cells = make_model()
    chunk = next(inference._chunks(model, cells))
    probs = model.likelihood(torch.zeros(256, 4), chunk.c).expected()
    u = torch.rand(256, 3, generator=generator())
    whole = inference._drawn_whole(model, chunk, probs, u)
    known = chunk.visible | chunk.given
    assert torch.equal(whole.values[known], chunk.values[known])
    assert (whole.values != chunk.values)[~known].float().mean() > 0.8
    assert torch.equal(whole.visible, ~chunk.given)
    model.table_kinds[0].learned[:] = False
    whole = inference._drawn_whole(model, chunk, probs, u)
    columns = model.table_kinds[0].columns
    assert torch.equal(whole.visible[:, columns], chunk.visible[:, columns])


def test_a_cell_has_the_mean_of_its_decoders_distributions():
    model, _, cells = make_model(n_decoders=3)
    for decoder in model.decoder.members:
        torch.nn.init.normal_(decoder.out.weight, generator=generator())
    model.eval()
    values, members = torch.from_numpy(cells.values), list(model.decoder.members)
    z = torch.randn(300, 4, generator=generator())
    c = model.condition(model.inputs(values), torch.from_numpy(cells.given))
    both = model.likelihood(z, c)
    alone = []
    for member in members:
        model.decoder.members = torch.nn.ModuleList([member])
        alone.append(model.likelihood(z, c))
    for ask in (lambda d: d.log_prob(values).exp(), lambda d: d.surrogate(values).exp()):
        assert not torch.allclose(ask(alone[0]), ask(alone[1]))
        torch.testing.assert_close(ask(both), torch.stack([ask(d) for d in alone]).mean(0))
    for ask in (lambda d: d.probs(1.5), lambda d: d.expected()):
        for kind, parts in zip(ask(both), zip(*map(ask, alone), strict=True), strict=True):
            torch.testing.assert_close(kind, torch.stack(parts).mean(0))


def test_each_training_row_teaches_one_decoder():
    model, _, cells = make_model(n_decoders=2)
    observed = torch.from_numpy(cells.visible | cells.given)
    losses = model(torch.from_numpy(cells.values), observed, 1.0, generator())
    assert losses.shape == (300,)
    first = [p for n, p in model.named_parameters() if n.startswith("decoder.members.0.out")]
    for rows, taught in ((slice(150), True), (slice(150, None), False)):
        grads = torch.autograd.grad(losses[rows].sum(), first, retain_graph=True, allow_unused=True)
        assert any(g is not None and bool(g.any()) for g in grads) == taught
    alone = model(torch.from_numpy(cells.values[:1]), observed[:1], 1.0, generator())
    assert torch.isfinite(alone).all()


def test_held_out_numbers_lie_where_kinds_say_within_their_atoms(monkeypatch):
    model, _, cells = make_model()
    target = cells.visible.copy()
    unseen = Cells(cells.values, cells.visible & ~target, cells.given)
    by_chance = inference._positions(model.eval(), unseen, target, 1.0)
    ends = []
    for at in (0.0, 1.0):
        monkeypatch.setattr(Numeric, "within_atoms", lambda self, x, at=at: torch.full_like(x, at))
        ends.append(inference._positions(model, unseen, target, 1.0))
    assert ((ends[0] < by_chance) & (by_chance < ends[1])).all()


def test_decoders_take_turns_to_impute():
    model, _, cells = make_model(n_decoders=2)
    for seed, decoder in enumerate(model.decoder.members):
        torch.nn.init.normal_(decoder.out.weight, generator=generator(seed))
    chunk, noise = next(inference._chunks(model.eval(), cells)), inference._shared_noise(model, 3)
    with torch.inference_mode():
        total = inference._latent_probs(model, chunk, noise)
        said = []
        for u, decoder in zip(noise[0], (0, 1, 0), strict=True):
            z = inference._posterior_draw(model, chunk, u.expand(inference.CHUNK, -1))
            said.append(model.likelihood(z, chunk.c, decoder).expected())
            both = model.likelihood(z, chunk.c).expected()
            assert not all(torch.allclose(a, b) for a, b in zip(both, said[-1], strict=True))
    for part, of_kind in zip(total, zip(*said, strict=True), strict=True):
        torch.testing.assert_close(part, sum(of_kind) / 3)


@pytest.mark.parametrize(
    "settings", [partial(training.torch_settings, 1), partial(training.torch_threads, 2)]
)
def test_no_gradient_is_too_small_for_float32(settings):
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor takes the least numbers as they are")
    model, _, cells = make_model()
    model.table_kinds[0].log_sigma.data.fill_(-2.5)  # so sure that far bins are hardly possible
    values, observed = torch.from_numpy(cells.values), torch.ones(cells.visible.shape) > 0
    tiny, n_zeros = torch.finfo(torch.float32).tiny, 0
    for row in range(20):
        model.zero_grad()
        with settings():
            model(values[row : row + 1], observed[:1], 1.0, generator()).sum().backward()
        grad = model.decoder.members[0].out.bias.grad  # of one row, the outputs' own
        assert not ((grad != 0) & (grad.abs() < tiny)).any()
        n_zeros += int((grad == 0).sum())
    assert n_zeros > 100


def test_importance_sampling_settles_as_draws_grow():
    model, _, cells = make_model()
    few, many, more = (inference.log_marginals(model, cells, k) for k in (16, 256, 1024))
    assert np.abs(many - more).mean() < 0.02
    assert np.abs(few - more).mean() < 0.3


def test_row_noise_is_uniform_independent_and_keyed():
    noise = RowNoise(7, np.arange(20_000, dtype=np.uint64))
    u = noise.latent(slice(None), 3).astype(float)
    assert u.min() >= 0
    assert u.max() <= 1
    np.testing.assert_allclose(np.histogram(u, 10)[0] / u.size, 0.1, atol=0.005)
    parts = [*u.T, noise.cell(slice(None), 0), noise.cell(slice(None), 1)]
    parts.append(RowNoise(8, noise.keys).cell(slice(None), 0))
    correlation = np.corrcoef(parts) - np.eye(len(parts))
    assert np.abs(correlation).max() < 0.04
    later = RowNoise(7, noise.keys[100:]).latent(slice(None), 3)
    np.testing.assert_array_equal(later, noise.latent(slice(100, None), 3))


def test_copies_of_a_row_get_keys_of_their_own():
    values = np.array([[1, 2], [1, 2], [1, 2], [3, 4]], dtype=np.float32)
    shown = np.ones((4, 2), dtype=bool)
    hidden = np.zeros((4, 2), dtype=bool)
    keys = row_keys(Cells(values, shown, hidden))
    assert len(set(keys.tolist())) == 4
    order = [3, 0, 1, 2]
    shuffled = row_keys(Cells(values[order], shown, hidden))
    assert set(shuffled.tolist()) == set(keys.tolist())
    assert shuffled[0] == keys[3]
    one_hidden = shown.copy()
    one_hidden[3, 0] = False
    assert row_keys(Cells(values, one_hidden, hidden))[3] != keys[3]


@pytest.mark.parametrize(("n", "scale"), [(0, 1.0), (15, 0.4), (40, 2.0), (500, 0.9), (5000, 1.7)])
def test_few_spreads_are_tried_and_the_best_is_found(n, scale, monkeypatch):
    model, _, cells = make_model()
    errors = scale * np.random.default_rng(0).standard_normal(n)
    tried = []

    def positions(_model, _cells, _target, spread):
        tried.append(spread)
        return stats.norm.cdf(errors / spread)

    def score(spread):
        log_prior = stats.norm.logpdf(np.log(spread / 1.3), scale=0.2)
        position = stats.norm.cdf(errors / spread)
        covered = np.mean((position > 0.05) & (position < 0.95)) if n else 0.9
        return log_prior - n * (covered - 0.9) ** 2 / 0.18

    monkeypatch.setattr(inference, "_positions", positions)
    inference.calibrate_spread(model, cells, cells.visible)
    assert float(model.spread) == pytest.approx(max(inference.SPREADS, key=score))
    assert len(tried) == len(set(tried)) <= 6
