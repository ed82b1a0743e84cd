"""Codecs keep numbers, kinds share one contract, and densities are densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_cvae.binning import SEEN_ONLY, bin_edges
from sklearn_cvae.codecs import GridCodec, LevelCodec, NumericCodec
from sklearn_cvae.histograms import _NormalMasses
from sklearn_cvae.likelihoods import LIKELIHOODS, LogNormal, Poisson

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(size=500),
    "heavy": RNG.standard_cauchy(500),
    "spiked": np.where(RNG.random(500) < 0.6, 0.0, RNG.lognormal(size=500)),
    "integers": RNG.integers(0, 300, 500).astype(float),
    "few": RNG.integers(0, 4, 500).astype(float),
    "pair": np.array([1.0, 2.0]),
    "constant": np.full(20, 7.0),
    "single": np.array([3.0]),
    "holes": np.where(RNG.random(500) < 0.5, np.nan, RNG.normal(size=500)),
    "huge": 1e15 + RNG.normal(size=500),
    "tiny": 1e-12 * RNG.normal(size=500),
    "many": RNG.normal(size=20_000),
    "enormous": 1e150 * np.random.default_rng(1).normal(size=500),
    "minute": 1e-150 * np.random.default_rng(1).normal(size=500),
    # Zeros, and what rounding errors made of some.
    "rounding": np.r_[np.repeat(np.arange(-30, 31) / 30, 8), np.zeros(300), 9e-18, 1.4e-17],
}


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_encoding_is_finite_and_monotone(name, natural):
    cells = np.sort(COLUMNS[name][~np.isnan(COLUMNS[name])])
    scores = NumericCodec.fit(COLUMNS[name], natural=natural).encode(cells)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_bins_hold_their_own_cells(name, natural):
    codec = NumericCodec.fit(COLUMNS[name], natural=natural)
    cells = COLUMNS[name][~np.isnan(COLUMNS[name])]
    edges = codec.score_edges[codec.bins.start : codec.bins.stop - 1].astype(np.float32)
    bins = np.searchsorted(edges, codec.encode(cells), side="right")
    onehot = np.eye(codec.n_atoms)[bins + codec.bins.start]
    edges = bin_edges(codec.knots, codec.first)
    low, high = edges[:-1][bins], edges[1:][bins]
    assert ((cells >= low) & (cells <= high)).all()
    for decode in (codec.mean, codec.median, codec.mode):
        numbers = decode(onehot)
        assert (numbers >= low - 1e-9 * abs(low)).all()
        assert (numbers <= high + 1e-9 * abs(high)).all()


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_quantiles_are_in_order_and_like_training_values(name, natural):
    codec = NumericCodec.fit(COLUMNS[name], natural=natural)
    q = np.linspace(0, 1, 101)
    probs = np.zeros((101, codec.n_atoms))
    probs[:, codec.bins] = 1 / len(codec.means)
    numbers = codec.quantile(probs, q)
    seen = COLUMNS[name][~np.isnan(COLUMNS[name])]
    if codec.decimals == SEEN_ONLY:
        assert np.isin(numbers, seen).all()
    assert seen.min() <= numbers.min()
    assert numbers.max() <= seen.max()
    assert (np.diff(numbers) >= 0).all()


def test_a_drawn_column_is_distributed_like_the_training_column():
    cells = COLUMNS["spiked"]
    codec = NumericCodec.fit(cells)
    bins = np.searchsorted(codec.score_edges, codec.encode(cells), side="right")
    share = np.bincount(bins, minlength=codec.n_atoms) / len(cells)
    q = (np.arange(5000) + 0.5) / 5000
    drawn = codec.quantile(np.tile(share, (5000, 1)), q)
    levels = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(
        np.quantile(drawn, levels), np.quantile(cells, levels), rtol=0.05, atol=0.02
    )


def test_tails_are_cut_finer_than_the_middle():
    codec = NumericCodec.fit(COLUMNS["many"])
    cells = np.bincount(
        np.searchsorted(codec.score_edges, codec.encode(COLUMNS["many"]), side="right")
    )
    assert cells.min() >= 1
    assert cells[[0, -1]].max() < cells[len(cells) // 2] / 10


SCALED = {
    "normal": "linear",
    "few": "linear",
    "holes": "linear",
    "huge": "linear",
    "positive": "log",
    "from zero": "sqrt",
    "spiked": "normal",  # values repeat, and are skewed
    "zeros": "normal",  # zero is a value of its own, beside a continuous number
    "heavy": "normal",  # most bins would be narrow
    "rounding": "normal",  # zero, a value of its own, would be one with the next bin's 9e-18
    "constant": "normal",
    "single": "normal",
}
FROM_ZERO = np.r_[0.0, RNG.normal(size=499) ** 2]
MORE_COLUMNS = {
    "positive": RNG.lognormal(size=500),
    "from zero": FROM_ZERO,
    "zeros": np.where(RNG.random(500) < 0.2, 0.0, RNG.random(500)),
}


@pytest.mark.parametrize("name", SCALED)
def test_a_natural_scale_is_linear_where_it_says_so(name):
    codec = NumericCodec.fit({**COLUMNS, **MORE_COLUMNS}[name], natural=True)
    assert codec.scale == SCALED[name]
    assert NumericCodec.fit(codec.cells).scale == "normal"
    if codec.scale != "normal":
        on_it = {"linear": np.copy, "log": np.log, "sqrt": np.sqrt}[codec.scale](codec.knots)
        line = np.interp(codec.scores, codec.scores[[0, -1]], on_it[[0, -1]])
        np.testing.assert_allclose(on_it, line, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", ["normal", "many", "positive", "from zero"])
def test_atoms_beyond_the_seen_range(name):
    codec = NumericCodec.fit({**COLUMNS, **MORE_COLUMNS}[name], natural=True)
    least, greatest = codec.seen
    assert len(codec.above) == 8
    assert codec.n_atoms == len(codec.below) + len(codec.means) + len(codec.above)
    each = np.eye(codec.n_atoms)
    q = np.full(codec.n_atoms, 0.5)
    for numbers in (codec.mean(each), codec.mode(each), codec.quantile(each, q)):
        assert (np.diff(numbers) >= 0).all()
        assert (numbers[: codec.bins.start] < least).all() or least == 0
        assert (numbers[codec.bins.stop :] > greatest).all()
        if codec.scale != "linear":
            assert (numbers >= 0).all()
    assert (codec.std(each)[codec.bins.stop :] > 0).all()
    ends = codec._numbers(codec.all_score_edges[[0, -1]])
    assert ends[1] <= greatest + 3.001 * codec.cells.std()
    assert ends[0] >= least - 3.001 * codec.cells.std()


def test_an_end_that_cells_share_is_a_bound():
    capped = np.minimum(COLUMNS["normal"], 2.0)
    codec = NumericCodec.fit(capped, natural=True)
    assert len(codec.below) > 0
    assert len(codec.above) == 0
    assert codec.mean(np.eye(codec.n_atoms)).max() <= 2.0
    even = NumericCodec.fit(RNG.random(500) - 0.5, natural=True)
    assert even.scale == "linear"
    assert even.n_atoms == len(even.means)
    skewed = NumericCodec.fit(RNG.exponential(size=500) - 1, natural=True)
    assert len(skewed.below) == 0
    assert len(skewed.above) > 0
    few = NumericCodec.fit(COLUMNS["few"], natural=True)
    assert few.n_atoms == 4


def test_a_column_without_cells_decodes_to_missing():
    codec = NumericCodec.fit(np.full(3, np.nan))
    assert codec.n_atoms == 1
    assert np.isnan(codec.mean(np.ones((2, 1)))).all()
    assert np.isnan(codec.quantile(np.ones((2, 1)), np.array([0.1, 0.9]))).all()
    assert np.isnan(LevelCodec(0).mode(np.ones((2, 1)))).all()


def make_kind(name, *columns):
    """A kind over the given columns, with some parameters and the columns' encoded cells."""
    likelihood = LIKELIHOODS[name]
    n_levels = [int(c.max()) + 1 if name in LEVELLED else None for c in columns]
    codecs = [likelihood.fit_codec(c, n) for c, n in zip(columns, n_levels, strict=True)]
    kind = likelihood(list(range(len(columns))), codecs)
    values = torch.tensor(np.stack([k.encode(c) for k, c in zip(codecs, columns)], axis=1))
    generator = torch.Generator().manual_seed(0)
    params = torch.randn((len(values), kind.n_params), generator=generator)
    return kind, codecs, values, params


LEVELLED = ("categorical", "bernoulli", "ordinal")


def some_columns(name):
    few, many = COLUMNS["few"], RNG.integers(0, 17, 500).astype(float)
    if name == "bernoulli":
        return tuple(RNG.integers(0, 2, (2, 500)).astype(float))
    if name in LEVELLED:
        return (few, many) if name == "ordinal" else (few, many, np.zeros(500))
    if issubclass(LIKELIHOODS[name], Poisson):
        return few, many, RNG.negative_binomial(0.3, 0.001, 500).astype(float), np.full(500, 2.0)
    if issubclass(LIKELIHOODS[name], LogNormal):
        return np.exp(COLUMNS["normal"]), few + 1, 1e-12 * (many + 1), np.full(500, 2.0)
    return COLUMNS["normal"], COLUMNS["spiked"], few, np.full(500, 2.0)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_contract_of_every_kind(name):
    kind, codecs, values, params = make_kind(name, *some_columns(name))
    n, m = values.shape
    assert kind.inputs(values).shape == (n, m, kind.n_inputs)
    assert torch.isfinite(kind.inputs(values)).all()
    params.requires_grad_()
    log_prob = kind.log_prob(params, values)
    assert log_prob.shape == (n, m)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert torch.isfinite(params.grad).all()
    for probs in (kind.probs(params), kind.expected(params), kind.expected(params, 1.5)):
        assert probs.shape == (n, m, kind.n_atoms)
        torch.testing.assert_close(probs.sum(-1), torch.ones(n, m), atol=1e-4, rtol=0)
        for j, codec in enumerate(codecs):
            assert (probs[:, j, codec.n_atoms :] == 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_at_quantiles_are_those_of_the_codecs(name):
    kind, codecs, _, params = make_kind(name, *some_columns(name))
    probs = kind.expected(params).detach()
    q = torch.from_numpy(RNG.random(probs.shape[:2]).astype(np.float32))
    values = kind.quantile(probs, q)
    for j, codec in enumerate(codecs):
        if isinstance(codec, GridCodec) and not codec.whole and codec.decimals < 5:
            continue  # numbers are rounded, and then may be another atom's
        known = probs[:, j, : codec.n_atoms].double().numpy()
        theirs = torch.from_numpy(codec.encode(codec.quantile(known, q[:, j].double().numpy())))
        expected = torch.zeros_like(values)
        expected[:, j] = theirs
        same = (kind.atoms(values)[:, j] - kind.atoms(expected)[:, j]).abs()
        assert (same > 1).float().mean() < 0.01
        assert (same == 0).float().mean() > 0.9
        if (same > 0).any():
            assert torch.corrcoef(torch.stack([values[:, j], theirs]))[0, 1] > 0.995


def test_values_fill_bins_evenly_and_repeated_ones_exactly():
    kind, (codec, levels), _, _ = make_kind("histogram", COLUMNS["normal"], np.full(500, 2.0))
    at = codec.bins.start + 20
    probs = torch.zeros(5, 2, kind.n_atoms)
    probs[:, 0, at], probs[:, 1, 0] = 1.0, 1.0
    values = kind.quantile(probs, torch.linspace(0, 1, 5)[:, None].expand(5, 2).clamp(max=0.9999))
    low, high = codec.score_edges[at - 1 : at + 1]
    assert values[:, 0].numpy() == pytest.approx(np.linspace(low, high, 5), abs=1e-3)
    assert (values[:, 1].numpy() == levels.encode(np.full(5, 2.0))).all()


def test_columns_without_cells_have_no_values():
    nothing = np.full(500, np.nan)
    for name in ("histogram", "gaussian"):
        kind = make_kind(name, COLUMNS["normal"], nothing)[0]
        assert kind.learned.tolist() == [True, False]
    assert LIKELIHOODS["categorical"]([0], [LevelCodec(0)]).learned.tolist() == [False]


def test_a_histogram_goes_on_beyond_the_seen_range_where_cells_are_imputed():
    kind, (codec,), _, _ = make_kind("histogram", COLUMNS["normal"])
    params = torch.zeros((1, kind.n_params))
    params[:, 0] = codec.scores[-1] + 1
    with torch.no_grad():
        kind.log_sigma.fill_(-1.5)
        drawn, imputed = kind.probs(params)[0, 0], kind.expected(params)[0, 0]
    assert drawn[codec.bins].sum() == pytest.approx(1)
    assert imputed[codec.bins.stop :].sum() > 0.9
    mean = codec.mean(imputed.double().numpy()[None])[0]
    expected = codec._numbers(np.array([codec.scores[-1] + 1]))[0]
    assert mean == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", LEVELLED)
def test_masses_sum_to_one_and_agree_with_probs(name):
    kind, codecs, values, params = make_kind(name, *some_columns(name))
    probs = kind.probs(params)
    for j, codec in enumerate(codecs):
        for level in range(codec.n_atoms):
            cells = torch.full_like(values, 0.0)
            cells[:, j] = level
            torch.testing.assert_close(kind.log_prob(params, cells)[:, j].exp(), probs[:, j, level])


@pytest.mark.parametrize(
    "name", ["histogram", "histogram_per_row", "tilted_gaussian", "rank_normal"]
)
@pytest.mark.parametrize("column", ["normal", "spiked", "integers"])
def test_density_integrates_to_one_in_the_users_units(name, column):
    kind, (codec,), _, params = make_kind(name, COLUMNS[column])
    params = params[:1]

    def density(x):
        values = torch.tensor(codec.encode(x))[:, None]
        log_p = kind.log_prob(params.expand(len(x), -1), values)[:, 0].detach().numpy()
        return np.exp(log_p.astype(float) + type(kind).log_volume(codec, x))

    spikes = np.empty(0)
    if name != "rank_normal":
        spikes = codec.knots[codec.first[:-1]][codec.widths == 0]
    span = codec.knots[-1] - codec.knots[0]
    wide = np.tan(np.linspace(-1.5, 1.5, 40_001)) * 3 * span
    inner = np.linspace(codec.knots[0] - span / 100, codec.knots[-1] + span / 100, 400_001)
    grid = np.unique(np.r_[wide, inner])
    # The bins of spikes are masses, so their share of the grid does not count as density.
    continuous = density(grid)
    if len(spikes):
        edges = codec.score_edges[codec.bins.start : codec.bins.stop - 1].astype(np.float32)
        bins = np.searchsorted(edges, codec.encode(grid), side="right")
        continuous = np.where(codec.widths[bins] == 0, 0.0, continuous)
    total = (
        np.trapezoid(continuous, grid) + density(spikes).sum()
        if len(spikes)
        else np.trapezoid(continuous, grid)
    )
    assert total == pytest.approx(1.0, abs=0.01)


def mean_position(codec, at, shares):
    """Where in bin `at` (0..1) draws lie on the mean, if it and those beside it have such shares."""
    within = np.linspace(0.001, 0.999, 999)
    probs = np.zeros((len(within), codec.n_atoms))
    probs[:, max(at - 1, 0) : at + 2] = shares
    drawn = codec.quantile(probs, probs[:, :at].sum(axis=1) + probs[:, at] * within)
    low, high = bin_edges(codec.knots, codec.first)[at : at + 2]
    assert ((low - 1e-9 <= drawn) & (drawn <= high + 1e-9)).all()
    return ((drawn - low) / (high - low)).mean()


def test_numbers_within_a_fine_bin_lean_towards_the_likelier_neighbour():
    fine = NumericCodec.fit(np.linspace(0, 1, 960), cut="fine")
    assert mean_position(fine, 20, [0.3, 0.4, 0.3]) == pytest.approx(0.5, abs=0.001)
    # A density that grows by a factor of e from bin to bin: 1 / (1 - 1 / e) - 1.
    growing = np.exp([-1.0, 0.0, 1.0]) / np.exp([-1.0, 0.0, 1.0]).sum()
    assert mean_position(fine, 20, growing) == pytest.approx(0.582, abs=0.005)
    assert mean_position(fine, 20, growing[::-1]) == pytest.approx(0.418, abs=0.005)
    assert mean_position(fine, 20, [0.0, 0.1, 0.9]) > 0.75


def test_coarse_and_outermost_bins_do_not_lean():
    coarse, fine = (NumericCodec.fit(np.linspace(0, 1, 960), cut=cut) for cut in ("bins", "fine"))
    assert mean_position(coarse, 20, [0.0, 0.1, 0.9]) == pytest.approx(0.5, abs=0.001)
    assert mean_position(fine, 0, [0.1, 0.9]) == pytest.approx(0.5, abs=0.01)
    assert mean_position(fine, len(fine.means) - 1, [0.9, 0.1]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("ends", [(-2.0, 3.0), (5.0, 6.0)])
def test_draws_have_the_density_of_the_histogram_within_bins_too(ends):
    # Of evenly spaced numbers, since draws follow the training cells within a bin.
    even = NumericCodec.fit(np.linspace(*ends, 960), natural=True, cut="fine")
    kind = LIKELIHOODS["histogram"]([0], [even])
    params = torch.zeros(1, kind.n_params)
    params[0, 1:] = 2 * torch.sin(torch.arange(kind.n_bins))
    q = (np.arange(40_000) + 0.5) / 40_000
    probs = np.broadcast_to(kind.probs(params)[0].double().detach().numpy(), (40_000, even.n_atoms))
    drawn = even.quantile(probs, q)
    grid = np.linspace(*ends, 200_001)
    values = torch.tensor(even.encode(grid))[:, None]
    log_p = kind.log_prob(params.expand(len(grid), -1), values)[:, 0].detach().numpy()
    cdf = np.cumsum(np.exp(log_p + even.log_volume(grid))) * (grid[1] - grid[0])
    assert np.abs(np.interp(drawn, grid, cdf) - q).max() < 0.001
    within = (even.score_edges[30] < even.encode(grid)) & (even.encode(grid) < even.score_edges[31])
    assert np.ptp(log_p[within]) > 0.5


@pytest.mark.parametrize("log_sigma", [0.0, -2.0, -4.0])
@pytest.mark.parametrize("name", ["normal", "skewed"])
def test_bins_of_a_tilted_gaussian_have_the_mass_of_its_density(name, log_sigma):
    cells = np.exp(COLUMNS["normal"]) if name == "skewed" else COLUMNS[name]
    kind, (codec,), _, params = make_kind("tilted_gaussian", cells)
    kind.log_sigma.data.fill_(log_sigma)
    logits = params[0, 1:-1]
    params = torch.cat([torch.tensor([0.3, 0.0]), logits])[None]
    probs = kind.probs(params)[0, 0, codec.bins].double().detach().numpy()
    means = torch.tensor(codec.encode(codec.means))[:, None]
    log_p = kind.log_prob(params.expand(len(means), -1), means)[:, 0].double().detach().numpy()
    assert probs.sum() == pytest.approx(1.0, abs=1e-5)
    # Each bin's mass by the density at its mean.
    by_density = np.exp(log_p)
    assert np.abs(np.cumsum(probs) - np.cumsum(by_density)).max() < 0.06
    assert by_density.sum() == pytest.approx(1.0, abs=0.06)


def test_normal_masses_have_the_gradient_of_the_distribution_function():
    far = [[-1e18, -14.0, -3.0, -0.5, 0.1, 2.5, 14.0, 1e18]]
    near = np.sort(np.random.default_rng(0).normal(scale=3, size=(4, 8)), axis=1)
    edges = torch.tensor(np.vstack([far, near]), requires_grad=True)
    masses = _NormalMasses.apply(edges)
    np.testing.assert_allclose(masses.detach(), np.diff(stats.norm.cdf(edges.detach())), atol=1e-15)
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=masses.shape))
    (masses * weights).sum().backward()
    lost = np.diff(np.pad(weights, [(0, 0), (1, 1)]), axis=1)
    np.testing.assert_allclose(edges.grad, -lost * stats.norm.pdf(edges.detach()), atol=1e-15)
    assert torch.autograd.gradcheck(_NormalMasses.apply, edges[1:].detach().requires_grad_())


def test_a_tilted_gaussian_knows_numbers_better_than_a_block_does():
    kind, (codec,), values, params = make_kind("tilted_gaussian", COLUMNS["normal"])
    assert kind.n_blocks == len(np.unique(codec.block)) < len(codec.means) / 4
    kind.log_sigma.data.fill_(-4.0)
    params = torch.zeros_like(params)
    params[:, 0] = values[:, 0]
    probs = kind.expected(params)[:, 0].double().detach().numpy()
    inner = np.abs(COLUMNS["normal"] - COLUMNS["normal"].mean()) < 1.5 * COLUMNS["normal"].std()
    error = np.abs(codec.mean(probs) - COLUMNS["normal"])[inner] / COLUMNS["normal"].std()
    assert error.mean() < 0.01  # blocks are a tenth of a deviation wide there


def test_each_row_of_a_tilted_gaussian_has_a_width_of_its_own():
    kind, (codec,), _, params = make_kind("tilted_gaussian", COLUMNS["normal"])
    params = torch.zeros_like(params[:3])
    params[:, 1] = torch.tensor([-1.0, 0.0, 1.0])
    kind.log_sigma.data.fill_(-2.0)
    probs = kind.probs(params)[:, 0].double().detach().numpy()
    widths = np.log(codec.std(probs) / COLUMNS["normal"].std())
    expected = -2 + 3 * np.tanh([-1 / 3, 0, 1 / 3])
    assert widths == pytest.approx(expected, abs=0.06)
    # What training learns it by: rows that are sure and wrong want to be wider, others narrower.
    params = params[:2].clone()
    params[:, 0] = torch.tensor([0.0, 1.0])
    params[:, 1] = 0.0
    params.requires_grad_()
    kind.surrogate(params, torch.zeros(2, 1)).sum().backward()
    assert params.grad[0, 1] < 0 < params.grad[1, 1]


def test_each_row_of_a_histogram_can_have_a_width_of_its_own():
    kind, (codec,), _, params = make_kind("histogram_per_row", COLUMNS["normal"])
    params = torch.zeros_like(params[:3])
    params[:, 1] = torch.tensor([-1.0, 0.0, 1.0])
    kind.log_sigma.data.fill_(-1.5)
    expected = -1.5 + np.tanh([-1, 0, 1])
    for probs in (kind.probs(params), kind.expected(params)):
        stds = codec.std(probs[:, 0].double().detach().numpy())
        assert np.log(stds / COLUMNS["normal"].std()) == pytest.approx(expected, abs=0.1)
    # As wide as its column, a row is what a histogram of one width has it.
    plain = LIKELIHOODS["histogram"]([0], [codec])
    plain.log_sigma.data.fill_(-1.5)
    without = torch.cat([params[1:2, :1], params[1:2, 2:]], dim=1)
    assert torch.equal(kind.expected(params[1:2]), plain.expected(without))
    params = torch.randn((2, kind.n_params), generator=torch.Generator().manual_seed(0)) / 100
    params[:, :2] = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    params.requires_grad_()
    kind.surrogate(params, torch.zeros(2, 1)).sum().backward()
    assert params.grad[0, 1] < 0 < params.grad[1, 1]


def test_values_of_a_tilted_gaussian_lie_where_they_do_within_their_bins():
    kind, _, values, _ = make_kind("tilted_gaussian", COLUMNS["normal"])
    at, atoms = kind.within_atoms(values)[:, 0], kind.atoms(values)[:, 0]
    assert (at >= 0).all()
    assert (at <= 1).all()
    back = kind.starts[0, atoms] + at * kind.lengths[0, atoms]
    torch.testing.assert_close(back, values[:, 0], atol=1e-5, rtol=0)
    assert make_kind("histogram", COLUMNS["normal"])[0].within_atoms(values).isnan().all()


def test_a_far_mean_is_drawn_back_and_leaves_a_distribution():
    kind, (codec,), values, params = make_kind("tilted_gaussian", COLUMNS["normal"])
    kind.log_sigma.data.fill_(-6.0)
    params = torch.zeros_like(params)
    params[:, 0] = 40.0
    params.requires_grad_()
    log_prob = kind.log_prob(params, values)
    assert torch.isfinite(log_prob).all()
    assert log_prob.argmax() == values.argmax()
    kind.surrogate(params, values).sum().backward()
    assert (params.grad[:, 0] < 0).all()
    for probs in (kind.probs(params), kind.expected(params)):
        torch.testing.assert_close(probs.sum(-1), torch.ones(len(values), 1))
    end = codec.mean(kind.probs(params)[:1, 0].double().detach().numpy())[0]
    assert end == pytest.approx(codec.means[-1])


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_densities_within_bins_are_numbers_for_every_column(name, natural):
    codec = NumericCodec.fit(COLUMNS[name], natural=natural, cut="fine")
    kind = LIKELIHOODS["histogram"]([0], [codec])
    cells = COLUMNS[name][~np.isnan(COLUMNS[name])]
    span = np.ptp(cells) or 1.0
    numbers = np.r_[cells, cells.min() - span, cells.max() + span, 0.0]
    params = 3 * torch.randn(
        (len(numbers), kind.n_params), generator=torch.Generator().manual_seed(0)
    )
    params.requires_grad_()
    log_prob = kind.log_prob(params, torch.tensor(codec.encode(numbers))[:, None])
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(params.grad).all()


def test_a_column_that_was_always_zero_has_a_density_elsewhere():
    codec = NumericCodec.fit(np.zeros(20), natural=True)
    log_volume = codec.log_volume(np.array([0.0, 1.0, 1e10]))
    assert np.isfinite(log_volume).all()
    assert (np.diff(log_volume) < 0).all()


def test_numbers_beyond_the_seen_range_get_a_falling_density():
    codec = NumericCodec.fit(COLUMNS["normal"])
    far = np.array([5.0, 50.0, 500.0])
    log_volume = codec.log_volume(far)
    assert np.isfinite(log_volume).all()
    assert (np.diff(log_volume) < 0).all()


def test_deviations_of_enormous_numbers_are_numbers():
    cells = np.linspace(-1, 1, 200)
    small, enormous = (NumericCodec.fit(scale * cells, natural=True) for scale in (1.0, 1e200))
    probs = np.full((1, small.n_atoms), 1 / small.n_atoms)
    assert enormous.std(probs) == pytest.approx(1e200 * small.std(probs))
