"""Parametric likelihoods are what their names say, from the formula to a fitted model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import small
from scipy import stats

from sklearn_cvae import ConditionalVAE, load, save
from sklearn_cvae.codecs import GridCodec, LevelCodec
from sklearn_cvae.columns import _ends
from sklearn_cvae.likelihoods import LIKELIHOODS, Gaussian, LogNormal, Poisson, _log_mass

RNG = np.random.default_rng(0)
COUNTS = [n for n, kind in LIKELIHOODS.items() if issubclass(kind, Poisson)]
DENSITIES = [n for n, kind in LIKELIHOODS.items() if issubclass(kind, Gaussian) and n not in COUNTS]
POSITIVE = [n for n in DENSITIES if issubclass(LIKELIHOODS[n], LogNormal)]
INFLATED = "zero_inflated_log_normal"
NUMBERS = {
    "normal": RNG.normal(3, 2, 800),
    "heavy": RNG.standard_cauchy(800),
    "constant": np.full(20, 7.0),
    "single": np.array([3.0]),
    "missing": np.full(5, np.nan),
    "holes": np.where(RNG.random(500) < 0.5, np.nan, RNG.normal(size=500)),
    "huge": 1e15 + np.round(RNG.normal(0, 100, 500)),
    "tiny": 1e-12 * RNG.normal(size=500),
    "cents": np.round(RNG.lognormal(2, 1, 500), 2),
}
TALLIES = {
    "small": RNG.poisson(2.0, 800),
    "sparse": RNG.poisson(0.05, 800),
    "spread": RNG.negative_binomial(0.5, 0.01, 800),
    "long": np.r_[RNG.poisson(3, 700), np.round(RNG.lognormal(9, 2, 100)).clip(max=1e6)],
    "constant": np.full(30, 4.0),
    "zero": np.zeros(30),
    "single": np.array([3.0]),
    "missing": np.full(5, np.nan),
    "huge": np.round(1e15 * RNG.random(300)),
}


def suited(name, column):
    """A column's cells inside the likelihood's support."""
    if name in COUNTS:
        return np.asarray(TALLIES[column], dtype=float)
    cells = NUMBERS[column]
    if name == INFLATED:
        return np.abs(cells) * (RNG.random(len(cells)) < 0.6)
    return np.abs(cells) + 1e-13 if name in POSITIVE else cells


def columns_of(name):
    return list(TALLIES if name in COUNTS else NUMBERS)


def cases(names):
    return [(name, column) for name in names for column in columns_of(name)]


def kind_over(name, *columns):
    codecs = [LIKELIHOODS[name].fit_codec(c, None) for c in columns]
    return LIKELIHOODS[name](list(range(len(columns))), codecs), codecs


def log_density(kind, codec, params, numbers):
    values = torch.from_numpy(codec.encode(numbers))[:, None]
    log_prob = kind.log_prob(params.expand(len(numbers), -1), values)[:, 0].detach().numpy()
    return log_prob.astype(float) + type(kind).log_volume(codec, numbers)


# ---- formulas -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "column"), cases(COUNTS + DENSITIES))
@pytest.mark.parametrize("size", [0.0, 3.0, 1e4])
def test_any_column_and_any_output_gives_finite_numbers(name, column, size):
    cells = suited(name, column)
    kind, (codec,) = kind_over(name, cells)
    odd = np.array([-1e300, -3.5, -1e-9, 0.0, 0.4, 1e7, 1e300, *cells[:4]])
    encoded = codec.encode(odd)
    assert encoded.dtype == np.float32
    if column == "missing":
        assert np.isnan(encoded).all()
        assert np.isnan(codec.mean(np.ones((2, codec.n_atoms)))).all()
        assert np.isnan(codec.quantile(np.ones((2, codec.n_atoms)), np.full(2, 0.9))).all()
        encoded = np.zeros(len(odd), dtype=np.float32)
    assert np.isfinite(encoded).all()
    values = torch.from_numpy(encoded)[:, None]
    params = (size * torch.tensor(RNG.normal(size=(len(odd), kind.n_params)))).float()
    params.requires_grad_()
    log_prob, probs = kind.log_prob(params, values), kind.probs(params)
    (log_prob.sum() + (probs**2).sum()).backward()
    assert torch.isfinite(log_prob).all()
    for tensor in (params, *kind.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()
    for spread in (0.5, 1.0, torch.tensor(1.6)):
        wide = kind.probs(params, spread)
        assert (wide >= 0).all()
        torch.testing.assert_close(wide.sum(-1), torch.ones(len(odd), 1), atol=1e-4, rtol=0)
    if column != "missing":
        p = probs.detach()[:, 0].double().numpy()
        for numbers in (codec.mean(p), codec.std(p), codec.median(p), codec.mode(p)):
            assert np.isfinite(numbers).all()


@pytest.mark.parametrize(("name", "column"), cases(COUNTS + DENSITIES))
def test_edges_ascend_and_cells_lie_in_their_atoms(name, column):
    if column == "missing":
        return
    cells = suited(name, column)
    kind, (codec,) = kind_over(name, cells)
    cells = cells[~np.isnan(cells)]
    assert codec.n_atoms <= 300
    assert (np.diff(codec.edges) > 0).all()
    assert (np.diff(codec.score_edges) > 0).all()
    assert codec.edges[0] < cells.min() or cells.min() == 0
    assert codec.edges[-1] > cells.max()
    atoms = kind.atoms(torch.from_numpy(codec.encode(cells))[:, None])[:, 0].numpy()
    # Scores are float32: a cell at an edge may fall on its other side.
    slack = 1e-5 * (codec.edges[atoms + 1] - codec.edges[atoms]) + 1e-6 * np.abs(cells)
    slack += 1e-5 * codec.scale * (not codec.logged)
    assert (cells >= codec.edges[atoms] - slack).all()
    assert (cells <= codec.edges[atoms + 1] + slack).all()


@pytest.mark.parametrize("name", [n for n in DENSITIES if n != INFLATED])
def test_densities_integrate_to_one_and_agree_with_atoms(name):
    kind, (codec,) = kind_over(name, suited(name, "cents"))
    kind.log_sigma.data.fill_(-0.7)
    params = torch.tensor([[0.4, -0.3][: kind.n_params]])
    probs = kind.probs(params)[0, 0].detach().numpy()
    scores = np.linspace(-400, 400, 800_001) if name == "student_t" else np.linspace(-9, 9, 90_001)
    grid = codec._numbers(scores)
    grid = grid[(grid > 1e-250) & (grid < 1e250)] if codec.logged else grid
    density = np.exp(log_density(kind, codec, params, grid))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)
    for atom in probs.argsort()[-20:]:
        inside = np.linspace(*codec.edges[atom : atom + 2], 200)
        mass = np.trapezoid(np.exp(log_density(kind, codec, params, inside)), inside)
        assert mass == pytest.approx(probs[atom], rel=0.01)


def test_an_atom_at_zero_and_a_density_make_one():
    kind, (codec,) = kind_over(INFLATED, suited(INFLATED, "cents"))
    kind.log_sigma.data.fill_(-0.7)
    params = torch.tensor([[0.4, -0.8]])
    share = 1 / (1 + np.exp(0.8))
    assert np.exp(log_density(kind, codec, params, np.zeros(1))) == pytest.approx(share)
    assert kind.probs(params)[0, 0, 0].item() == pytest.approx(share)
    grid = codec._numbers(np.linspace(-9, 9, 90_001))
    positive = np.trapezoid(np.exp(log_density(kind, codec, params, grid)), grid)
    assert positive == pytest.approx(1 - share, abs=1e-3)
    assert (log_density(kind, codec, params, np.array([-1.0])) == -np.inf).all()


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("column", ["small", "sparse", "spread"])
def test_masses_of_counts_sum_to_one_and_agree_with_atoms(name, column):
    kind, (codec,) = kind_over(name, suited(name, column))
    params = torch.tensor([[0.3, -0.8][: kind.n_params]])
    counts = np.arange(20_000.0)
    mass = np.exp(log_density(kind, codec, params, counts))
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    assert (log_density(kind, codec, params, np.array([0.5, -1.0])) == -np.inf).all()
    probs = kind.probs(params)[0, 0].detach().numpy()
    atoms = np.searchsorted(codec.edges, counts) - 1
    inside = atoms < codec.n_atoms
    together = np.bincount(atoms[inside], mass[inside], minlength=codec.n_atoms)
    np.testing.assert_allclose(probs, together, atol=2e-3)


@pytest.mark.parametrize("name", COUNTS + DENSITIES)
@pytest.mark.parametrize("spread", [1.0, 1.5])
def test_means_deviations_and_draws_are_the_distributions(name, spread):
    column = "spread" if name in COUNTS else "cents"
    kind, (codec,) = kind_over(name, suited(name, column))
    kind.log_sigma.data.fill_(-0.3)
    if name == "student_t":
        kind.log_dof.data.fill_(np.log(9))
    params = torch.tensor([[0.5, -1.2][: kind.n_params]])
    probs = kind.probs(params, spread)[0].detach().double().numpy()
    mean, variance = true_moments(name, kind, codec, params, spread)
    assert codec.mean(probs)[0] == pytest.approx(mean, rel=0.01)
    assert codec.std(probs)[0] == pytest.approx(np.sqrt(variance), rel=0.02)
    q = (np.arange(200_000) + 0.5) / 200_000
    drawn = np.concatenate(
        [codec.quantile(np.tile(probs, (5000, 1)), u) for u in q.reshape(40, -1)]
    )
    assert drawn.mean() == pytest.approx(mean, rel=0.015)
    assert (np.diff(drawn) >= 0).all()
    if name in POSITIVE:
        assert drawn.min() >= (0 if name == INFLATED else 0.01)
    if name in COUNTS:
        assert drawn.min() >= 0
        assert (drawn == np.round(drawn)).all()


def true_moments(name, kind, codec, params, spread):
    """Mean and variance by the textbook."""
    parts = [p.item() for p in kind._split(params)]
    share = 1 / (1 + np.exp(parts[1])) if name.startswith("zero") else 1.0
    if name in COUNTS:
        mean = kind._rate(params).item()
        dispersion = kind._dispersion()
        alpha = 0.0 if dispersion is None else dispersion.item()
        variance = spread * (mean + alpha * mean**2)
    else:
        sigma = kind._log_scale(params).exp().item() * np.sqrt(spread)
        variance = codec.scale**2 * sigma**2
        mean = codec.centre + codec.scale * parts[0]
        if name == "student_t":
            variance *= kind.dof.item() / (kind.dof.item() - 2)
        if codec.logged:
            log_variance = variance
            mean = np.exp(mean + log_variance / 2)
            variance = mean**2 * np.expm1(log_variance)
    return share * mean, share * (variance + mean**2) - (share * mean) ** 2


def test_masses_are_scipys():
    counts = np.array([0.0, 1.0, 7.0, 300.0, 1e6])
    for rate in (1e-3, 2.0, 400.0, 1e6):
        k, mu = torch.tensor(counts), torch.tensor(rate, dtype=torch.float64)
        ours = _log_mass(k, mu, None).numpy()
        np.testing.assert_allclose(ours, stats.poisson.logpmf(counts, rate), rtol=1e-9, atol=1e-7)
        for alpha in (1e-3, 0.5, 20.0):
            ours = _log_mass(k, mu, torch.tensor(alpha, dtype=torch.float64)).numpy()
            r = 1 / alpha
            truth = stats.nbinom.logpmf(counts, r, r / (r + rate))
            np.testing.assert_allclose(ours, truth, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("dof", [1.1, 5.0, 300.0])
def test_students_tails_are_scipys(dof):
    kind, _ = kind_over("student_t", NUMBERS["normal"])
    kind.log_dof.data.fill_(np.log(dof - 1))
    u = torch.tensor([[0.0, 1e-3, 0.7, 3.0, 40.0, 1e4]])[None]
    known = stats.t.sf(u.numpy(), kind.dof.item())
    np.testing.assert_allclose(kind._tail(u).detach().numpy(), known, rtol=2e-3, atol=1e-30)


def test_counts_survive_their_scores():
    kind, (codec,) = kind_over("poisson", suited("poisson", "long"))
    counts = np.r_[np.arange(3000.0), RNG.integers(3000, 1_000_000, 20_000)]
    again = kind._counts(torch.from_numpy(codec.encode(counts))[:, None])[:, 0].numpy()
    exact = counts < 250_000
    np.testing.assert_array_equal(again[exact], counts[exact])
    np.testing.assert_allclose(again, counts, rtol=2e-6)


def test_columns_of_differing_atoms_share_a_kind():
    kind, codecs = kind_over("poisson", TALLIES["small"].astype(float), suited("poisson", "long"))
    assert codecs[0].n_atoms < codecs[1].n_atoms
    params = torch.full((3, 2), 1e3)
    assert (kind.probs(params)[:, 0, codecs[0].n_atoms :] == 0).all()
    kind, codecs = kind_over("student_t", NUMBERS["constant"], NUMBERS["heavy"])
    assert codecs[0].n_atoms < codecs[1].n_atoms
    assert (kind.probs(params)[:, 0, codecs[0].n_atoms :] == 0).all()


# ---- sets and ranges ----------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS + DENSITIES)
@pytest.mark.parametrize(("low", "high"), [(1, 8), (2.5, np.inf), (-np.inf, 6), (3, 3)])
def test_choices_of_a_range_have_its_probability(name, low, high):
    kind, (codec,) = kind_over(name, suited(name, "small" if name in COUNTS else "cents"))
    kind.log_sigma.data.fill_(-0.5)
    params = torch.tensor([[0.3, -0.8][: kind.n_params]])
    choices = codec.between(low, high)
    assert ((choices.numbers >= low) & (choices.numbers <= high)).all()
    assert (np.diff(codec.encode(choices.numbers)) > 0).all()
    if low == high:
        assert choices.numbers.tolist() == [low]
        return
    values = torch.from_numpy(codec.encode(choices.numbers))[:, None]
    log_prob = kind.log_prob(params.expand(len(values), -1), values)[:, 0].detach().numpy()
    probs = kind.probs(params).detach()[0].double().numpy()
    q = (np.arange(20_000) + 0.5) / 20_000
    drawn = codec.quantile(np.tile(probs, (len(q), 1)), q)
    share = ((drawn >= low) & (drawn <= high)).mean()
    assert np.sum(np.exp(log_prob) * choices.atoms_share) == pytest.approx(share, rel=0.03)


def test_ranges_that_hold_nothing():
    cents = GridCodec.fit(NUMBERS["cents"], logged=True)
    assert len(cents.between(-5, -1).numbers) == 0
    assert len(cents.between(0.501, 0.504).numbers) == 0
    counts = GridCodec.fit(suited("poisson", "small"), whole=True)
    assert len(counts.between(2.2, 2.8).numbers) == 0
    assert len(counts.between(1e9, 1e10).numbers) == 0
    assert counts.among(np.array([3.0, 1.0, 3.0])).numbers.tolist() == [1, 3]


# ---- choosing -----------------------------------------------------------------------------


def test_refusals_say_why_and_what_to_use_all_at_once():
    frame = pd.DataFrame(
        {
            "debt": [-1.5, -2.0, 0.5, 3.0],
            "income": [0.0, 1.0, 2.0, -4.0],
            "pixel": [0.0, 0.5, 1.0, 1.0],
            "town": list("abca"),
        }
    )
    wanted = {"debt": "poisson", "income": "log_normal", "pixel": "bernoulli", "town": "gaussian"}
    with pytest.raises(ValueError, match="do not suit") as error:
        small(likelihoods=wanted).fit(frame)
    message = str(error.value)
    assert (
        "'debt': 'poisson' takes whole numbers of at least 0, but 3 cells are not, e.g. -1.5; "
        "use 'histogram'" in message
    )
    assert "'income': 'log_normal' takes numbers above 0, but 2 cells are not" in message
    assert "'pixel': 'bernoulli' takes two distinct numbers, but there are 3" in message
    assert "'town': 'gaussian' takes numbers or times; use 'categorical'" in message
    with pytest.raises(ValueError, match="'pixel': 'ordinal' takes categories"):
        small(likelihoods={"pixel": "ordinal"}).fit(frame)


# ---- fitted models ------------------------------------------------------------------------


def mixed(n=300):
    """A table that has a column for every likelihood, with holes."""
    rng = np.random.default_rng(1)
    group = rng.choice(["a", "b", "c"], n)
    size = rng.normal(size=n) + (group == "b")
    frame = pd.DataFrame(
        {
            "group": group,
            "number": 10 + 3 * size + rng.normal(size=n),
            "price": np.round(np.exp(1 + size), 2) + 0.01,
            "spent": np.where(rng.random(n) < 0.5, 0.0, np.exp(size)),
            "visits": rng.poisson(np.exp(0.5 + 0.5 * size)).astype("uint8"),
            "grade": pd.Categorical.from_codes(
                np.digitize(size, [-1, 0, 1]), ["poor", "fair", "good", "best"], ordered=True
            ),
            "pixel": (size > 0.3).astype(float),
        }
    )
    for name in ("number", "price", "spent", "grade", "pixel", "group"):
        frame.loc[rng.random(n) < 0.15, name] = np.nan
    return frame


def column_for(name):
    if name in COUNTS:
        return "visits"
    return {
        "log_normal": "price",
        INFLATED: "spent",
        "ordinal": "grade",
        "categorical": "grade",
        "bernoulli": "pixel",
    }.get(name, "number")


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_model_answers_everything(name, tmp_path):
    frame, column = mixed(150), column_for(name)
    model = small(condition_features=["group"], likelihoods={column: name}).fit(frame)
    assert model.likelihoods_[column] == name
    holes = frame.copy()
    holes.loc[::7, [c for c in frame if c != "visits"]] = np.nan
    completed, drawn = model.impute(holes), model.impute(holes, strategy="draw")
    for table in (completed, drawn):
        assert table.notna().all().all()
        assert (table.dtypes == frame.dtypes).all()
    scores = model.score_samples(frame)
    assert np.isfinite(scores).all()
    value = frame[column].dropna().iloc[0]
    for name_asked, asked in ((column, value), ("group", "b"), (column, [value])):
        given = model.sample(40, {name_asked: asked}, random_state=0)
        assert given[name_asked].isin(np.ravel(asked)).all()
        check_support(name, given, frame)
    if column not in ("grade", "pixel"):
        low, high = frame[column].quantile([0.3, 0.8])
        assert (
            model.sample(60, {column: (low, high)}, random_state=0)[column].between(low, high).all()
        )
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(frame), scores)
    pd.testing.assert_frame_equal(again.sample(9, random_state=1), model.sample(9, random_state=1))


def check_support(name, drawn, frame):
    assert (drawn.dtypes == frame.dtypes).all()
    assert drawn.notna().all().all()
    if name in POSITIVE:
        column = drawn[column_for(name)]
        assert (column >= 0).all() if name == INFLATED else (column > 0).all()
    if name == "bernoulli":
        assert drawn["pixel"].isin([0.0, 1.0]).all()


def test_numbers_that_hide_themselves_of_any_likelihood():
    wanted = {"visits": "zero_inflated_negative_binomial", "spent": INFLATED, "pixel": "bernoulli"}
    wanted |= {"grade": "ordinal", "number": "student_t", "price": "gaussian_per_row"}
    frame = mixed()
    model = small(likelihoods=wanted, missing_mechanism="self_masking").fit(frame)
    assert model.impute(frame).notna().all().all()


def test_ordered_levels_start_from_their_frequencies():
    kind = LIKELIHOODS["ordinal"]([0, 1], [LevelCodec(5), LevelCodec(3)])
    five, three = RNG.choice(5, 20_000, p=[0.01, 0.6, 0.3, 0.08, 0.01]), RNG.integers(0, 3, 20_000)
    values = torch.tensor(np.column_stack([five, three]), dtype=torch.float32)
    kind.start(values, torch.ones_like(values, dtype=torch.bool))
    nothing = torch.zeros(1, kind.n_params)
    probs = kind.probs(nothing)[0].detach().numpy()
    np.testing.assert_allclose(probs[0], np.bincount(five) / 20_000, atol=2e-3)
    np.testing.assert_allclose(probs[1, :3], np.bincount(three) / 20_000, atol=2e-3)
    assert (probs[1, 3:] == 0).all()
    kind.start(values, torch.zeros_like(values, dtype=torch.bool))
    assert torch.isfinite(kind.probs(nothing)).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_draws_beyond_the_seen_range_fit_the_dtype(library):
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.integers(0, 256, 90).astype("uint8"),
        "day": np.datetime64("2020-01-01", "us") + 86_400_000_000 * rng.integers(0, 300, 90),
    }
    frame = pd.DataFrame(columns) if library == "pandas" else pl.DataFrame(columns)
    drawn = small(likelihoods=dict.fromkeys(columns, "gaussian_fixed")).fit(frame)
    drawn = drawn.sample(500, random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert drawn["age"].min() == 0
    assert drawn["age"].max() == 255
    assert int(_ends(np.dtype("int64"))[1]) < 2**63
    assert drawn["day"].max() > frame["day"].max()


def test_a_zero_or_one_column_keeps_its_share():
    frame = mixed()
    model = small(likelihoods={"pixel": "bernoulli"}, max_iter=30).fit(frame)
    drawn = model.sample(2000, random_state=0)["pixel"]
    assert drawn.mean() == pytest.approx(frame["pixel"].mean(), abs=0.06)


# ---- recovery -----------------------------------------------------------------------------


def recover(name, cells, groups):
    """Fit a column given its group; return draws of each group beside the cells."""
    frame = pd.DataFrame({"x": cells, "group": groups})
    model = ConditionalVAE(
        4,
        condition_features=["group"],
        likelihoods={"x": name},
        hidden_layer_sizes=(32, 32),
        max_iter=50,
        random_state=0,
    ).fit(frame)
    # Without sweeps, draws are from the density that is scored.
    return [
        (
            model.sample(4000, {"group": g}, random_state=0, n_sweeps=0)["x"].to_numpy(),
            cells[groups == g],
        )
        for g in np.unique(groups)
    ]


def truth(name, group, rng):
    """Draw from the very family, its mean depending on the group."""
    far = np.where(group == "a", 1.0, 4.0)
    keep = rng.random(len(group)) < 0.7
    return {
        "gaussian": lambda: rng.normal(far, 0.7),
        "gaussian_per_row": lambda: rng.normal(far, far / 3),
        "student_t": lambda: far + 0.5 * rng.standard_t(4, len(far)),
        "log_normal": lambda: rng.lognormal(far / 3, 0.5),
        INFLATED: lambda: keep * rng.lognormal(far / 3, 0.5),
        "poisson": lambda: rng.poisson(far),
        "negative_binomial": lambda: rng.negative_binomial(2, 2 / (2 + 3 * far)),
        "zero_inflated_poisson": lambda: keep * rng.poisson(2 * far),
        "zero_inflated_negative_binomial": lambda: (
            keep * rng.negative_binomial(4, 4 / (4 + 4 * far))
        ),
    }[name]().astype(float)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ("log_normal", "negative_binomial") else pytest.mark.slow)
        for n in DENSITIES + COUNTS
        if n != "gaussian_fixed"
    ],
)
def test_a_model_recovers_its_own_family(name):
    rng = np.random.default_rng(2)
    groups = rng.choice(["a", "b"], 1500)
    for drawn, cells in recover(name, truth(name, groups, rng), groups):
        assert drawn.mean() == pytest.approx(cells.mean(), rel=0.12)
        np.testing.assert_allclose(
            np.quantile(drawn, [0.1, 0.5, 0.9]),
            np.quantile(cells, [0.1, 0.5, 0.9]),
            rtol=0.2,
            atol=1.001 if name in COUNTS else 0.2,
        )
        low, high = np.quantile(cells, [0.01, 0.99])
        assert drawn.clip(low, high).std() == pytest.approx(cells.clip(low, high).std(), rel=0.15)
        if "zero" in name:
            assert (drawn == 0).mean() == pytest.approx((cells == 0).mean(), abs=0.06)


def test_auto_says_what_it_chose_from_the_data():
    rng = np.random.default_rng(0)
    n = 300
    table = pd.DataFrame(
        {
            "income": rng.lognormal(10, 1, n),
            "balance": rng.normal(size=n),
            "area": np.r_[0.0, rng.normal(size=n - 1) ** 2],
            "grade": rng.integers(0, 10, n),
            "visits": rng.negative_binomial(0.3, 0.1, n),
            "paid": np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(size=n)),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 9999, n), "h"),
            "town": rng.choice(["a", "b", "c"], n),
            "yes": rng.random(n) < 0.5,
        }
    )
    model = small(max_iter=1).fit(table)
    assert model.scales_ == {
        "income": "log",
        "balance": "linear",
        "area": "sqrt",
        "grade": "linear",
        "visits": "normal",
        "paid": "normal",
        "date": "linear",
    }
    continuous = {"income", "balance", "area", "date"}
    for name in model.scales_:
        expected = "histogram_per_row" if name in continuous else "histogram"
        assert model.likelihoods_[name] == expected
    assert (model.likelihoods_["town"], model.likelihoods_["yes"]) == ("categorical", "bernoulli")
    other = small(max_iter=1, likelihoods={"income": "rank_normal", "balance": "gaussian"})
    scales = other.fit(table).scales_
    assert scales["income"] == "normal"
    assert "balance" not in scales
