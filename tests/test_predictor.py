"""The predictor: what it learns, and what it has a share in."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from skorch.callbacks import Callback

from sklearn_cvae import ConditionalVAE, inference, objectives
from sklearn_cvae.backbones import MLP
from sklearn_cvae.datasets import hide_cells
from sklearn_cvae.kinds import pooled
from sklearn_cvae.metrics import imputation_errors
from sklearn_cvae.model import PredictorLoss
from sklearn_cvae.noise import RowNoise, row_keys
from sklearn_cvae.training import CVAENet
from tests.test_model import generator, make_model

ANSWERS = {
    "transform": lambda model, X: model.transform(X),
    "score_samples": lambda model, X: model.score_samples(X),
    "sample": lambda model, X: model.sample(30, random_state=0).to_numpy(),
    "conditional": lambda model, X: model.sample(
        9, conditions={"species": "Gentoo"}, random_state=0
    ).to_numpy(),
}


def small(**params):
    return ConditionalVAE(4, max_iter=3, random_state=0, hidden_layer_sizes=[32], **params)


@pytest.fixture(scope="module")
def trained():
    """A model of three columns whose predictor says something of its own."""
    model, codecs, cells = make_model(predicts=True)
    for network in model.predictor.networks.members:
        torch.nn.init.normal_(network.out.weight, generator=generator())
    model.direct_share.fill_(0.25)
    return model.eval(), codecs, cells


@pytest.fixture(scope="module")
def pair(penguins):
    return [small(direct_share=share).fit(penguins) for share in (0, 0.4)]


def test_the_predictor_sees_what_is_shown_alone(trained):
    model, _, cells = trained
    known = cells.visible | cells.given
    other = np.where(known, cells.values, np.float32(1))
    c = model.condition(model.inputs(torch.from_numpy(cells.values)), torch.from_numpy(cells.given))
    visible = torch.from_numpy(cells.visible)
    said = [
        model.predicted(model.predictor, model.inputs(torch.from_numpy(values)), visible, c).probs()
        for values in (cells.values, other)
    ]
    for one, two in zip(*said, strict=True):
        assert torch.equal(one, two)


def test_it_learns_from_hidden_cells_and_the_model_from_none_of_it():
    model, _, cells = make_model(predicts=True)
    model.predictor.requires_grad_(True)
    loss = PredictorLoss(model, model.predictor).train()
    values, observed = torch.from_numpy(cells.values), torch.from_numpy(cells.visible)
    batch = model.batch(values, observed, generator(), 0.0)
    loss(values, observed, 1.0, generator()).sum().backward()
    assert {p.grad is not None for n, p in model.named_parameters() if "predictor." in n} == {True}
    assert {p.grad is not None for n, p in model.named_parameters() if "predictor." not in n} == {
        False
    }
    # The inputs stay, so only what is asked for can change the loss.
    model.batch = lambda *args, **kwargs: batch
    for cells_of, changes in ((batch.visible, False), (batch.modelled & ~batch.visible, True)):
        other = torch.where(cells_of, -values - 1, values)
        other[:, 1] = values[:, 1]
        with torch.no_grad():
            before, after = (loss(v, observed, 1.0, generator()).sum() for v in (values, other))
        assert (before != after) == changes


def test_training_the_model_leaves_the_predictor_alone():
    model, _, cells = make_model(predicts=True)
    observed = torch.from_numpy(cells.visible | cells.given)
    model(torch.from_numpy(cells.values), observed, 1.0, generator()).sum().backward()
    assert all(p.grad is None for p in model.predictor.parameters())
    assert not any(p.requires_grad for p in model.predictor.parameters())


def test_cells_are_imputed_by_both_pooled(trained):
    model, _, cells = trained
    chunk = next(inference._chunks(model, cells)).widened(1.3)
    noise = inference._shared_noise(model, 8)
    with torch.inference_mode():
        mean = inference._mean_probs(model, chunk, noise)
        latent = inference._latent_probs(model, chunk, noise)
        inputs = model.inputs(chunk.values)
        direct = model.predicted(model.predictor, inputs, chunk.visible, chunk.c).expected(1.3)
    for both, one, two in zip(mean, latent, direct, strict=True):
        assert not torch.allclose(one, two, atol=0.01)
        expected = one**0.75 * two**0.25
        torch.testing.assert_close(both, expected / expected.sum(-1, keepdim=True))


def test_pooled_atoms_that_one_rules_out_are_nearly_ruled_out_and_padding_is():
    one, two = torch.tensor([[0.5, 0.5, 0.0, 0.0]]), torch.tensor([[0.0, 0.2, 0.8, 0.0]])
    both = pooled([one, two], 0.4)
    torch.testing.assert_close(both, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert both[0, 3] == 0
    rounded = pooled([one, two, torch.tensor([[0.3, 0.4, 0.3, 1e-7]])], 0.4)
    assert rounded[0, 3] == 0
    never = pooled([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])], 0.5)
    torch.testing.assert_close(never, torch.tensor([[0.5, 0.5]]))


def test_draws_have_the_distributions_of_points_and_the_order_of_the_latents_draws(trained):
    model, codecs, cells = trained
    some = inference.Cells(*(part[:30] for part in cells))
    noises = [RowNoise(seed, row_keys(some)) for seed in range(400)]
    moved = np.stack(inference.impute_draws(model, codecs, some, noises, 256))
    latent = np.stack([inference.impute_draw(model, codecs, some, noise) for noise in noises])
    assert (moved != latent)[:, :, [0, 2]].mean() > 0.9
    ends = [inference.quantile(q) for q in (0.1, 0.5, 0.9)]
    points = inference.impute_point(model, codecs, some, ends, 256, model.spread)
    for q, point in zip((0.1, 0.5, 0.9), points, strict=True):
        for j in (0, 2):
            below = (moved[:, :, j] <= point[:, j]).mean(axis=0)
            assert below.mean() == pytest.approx(q, abs=0.01)
            assert np.abs(below - q).max() < 0.1
    # Across seeds a cell's ranks differ by each row's z alone, among draws at one z not at all.
    for j in (0, 2):
        for cell in range(30):
            rank = np.corrcoef(
                moved[:, cell, j].argsort().argsort(), latent[:, cell, j].argsort().argsort()
            )
            assert rank[0, 1] > 0.9


def test_without_a_share_draws_are_the_latents_alone(trained):
    model, codecs, cells = trained
    noise = RowNoise(0, row_keys(cells))
    model.direct_share.fill_(0)
    try:
        (drawn,) = inference.impute_draws(model, codecs, cells, [noise], 8)
    finally:
        model.direct_share.fill_(0.25)
    np.testing.assert_array_equal(drawn, inference.impute_draw(model, codecs, cells, noise))


def test_ranks_are_distribution_functions_at_quantiles():
    probs = np.array([[0.5, 0.0, 0.5], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    of_all = np.array([[0.1, 0.2, 0.7], [0.2, 0.3, 0.5], [0.6, 0.0, 0.4], [0.4, 0.6, 1.0]])
    u = np.array([0.75, 0.3, 0.5, 1.0])
    expected = [0.3 + 0.7 / 2, 0.3, 0.6, np.nextafter(1.0, 0.0)]
    np.testing.assert_allclose(inference._ranks(probs, of_all, u), expected, rtol=1e-12)
    assert (inference._ranks(probs, of_all, u) < 1).all()


@pytest.mark.parametrize("answer", list(ANSWERS))
def test_latents_rows_and_scores_do_without_it(pair, penguins, answer):
    without, with_it = (ANSWERS[answer](model, penguins) for model in pair)
    np.testing.assert_array_equal(without, with_it)


def test_imputations_have_its_share(pair, penguins):
    for strategy in ("mean", "median", "draw"):
        one, two = (m.impute(penguins, strategy=strategy, random_state=0) for m in pair)
        hidden = penguins["bill_length_mm"].isna()
        assert (one["bill_length_mm"] != two["bill_length_mm"])[hidden].any()
        assert one["bill_length_mm"][~hidden].equals(two["bill_length_mm"][~hidden])


@pytest.mark.parametrize(
    "params",
    [
        {"direct_share": 0},
        {"missing_mechanism": "self_masking"},
        {"backbone": MLP(ordered=True)},
        {"objective": objectives.ELBO(hide=False)},
    ],
)
def test_where_there_is_none(penguins, params):
    model = small(**params).fit(penguins)
    assert model._module.predictor is None
    assert float(model._module.direct_share) == 0
    assert not model.impute(penguins).isna().any().any()


def test_a_row_is_imputed_alike_beside_any_others(pair, penguins):
    model = pair[1]
    rows = penguins.iloc[[3, 47, 339]]
    for strategy in ("mean", "draw"):
        among = model.impute(penguins, strategy=strategy, random_state=0).loc[rows.index]
        pd.testing.assert_frame_equal(
            model.impute(rows, strategy=strategy, random_state=0), among, check_exact=True
        )


def test_it_imputes_better_than_latents_alone():
    iris = load_iris(as_frame=True).data
    holes, hidden = hide_cells(iris, 0.3, "mcar", random_state=22)
    model = ConditionalVAE(random_state=0).fit(holes)
    both = imputation_errors(iris, holes, model.impute(holes), hidden)
    model._module.direct_share.fill_(0)
    latents = imputation_errors(iris, holes, model.impute(holes), hidden)
    assert both.rmse < 0.97 * latents.rmse
    assert both.mae < 0.97 * latents.mae


def test_it_is_trained_for_as_many_epochs_and_not_watched(penguins, capsys):
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(type(net.module_).__name__)

    model = small(verbose=True, net_params={"callbacks": [Watch()], "max_epochs": 2}).fit(penguins)
    assert seen == ["TableCVAE", "TableCVAE"]
    assert model.n_iter_ == 2
    bars = capsys.readouterr().err
    assert "fit predictor: 100%" in bars
    assert "2/2" in bars.rsplit("fit predictor", 1)[1]


def test_it_has_back_the_epochs_that_many_columns_take_from_the_model(penguins, monkeypatch):
    model = ConditionalVAE()
    model.n_features_in_ = 48
    assert model._max_epochs(1_400) == 27
    assert model._predictor_epochs(1_400, 27) == 48
    assert model._predictor_epochs(1_400, 10) == 18  # stopped early
    assert model.set_params(net_params={"max_epochs": 33})._predictor_epochs(1_400, 33) == 33
    model.set_params(max_iter=33, net_params=None)
    assert model._predictor_epochs(1_400, 33) == 33
    model.set_params(max_iter="auto").n_features_in_ = 27
    assert model._predictor_epochs(1_400, 84) == 63
    trained = []
    monkeypatch.setattr(ConditionalVAE, "_predictor_epochs", lambda self, n, n_epochs: n + n_epochs)
    monkeypatch.setattr(
        ConditionalVAE, "_train_predictor", lambda self, *args: trained.append(args[-2])
    )
    small().fit(penguins)
    assert trained == [len(penguins) + 3]


@pytest.mark.parametrize("conditioning", ["concat", "film", "batch_norm"])
def test_it_starts_from_the_trained_encoder(conditioning, monkeypatch, penguins):
    fit, started = CVAENet.fit, []

    def watched(net, *args):
        if isinstance(net.module, PredictorLoss):
            networks = net.module.predictor.networks.members
            started.append([copy.deepcopy(network.state_dict()) for network in networks])
        return fit(net, *args)

    monkeypatch.setattr(CVAENet, "fit", watched)
    sizes = {"hidden_layer_sizes": [8, 8, 8], "conditioning": conditioning}
    model = small(condition_features=["species"], warm_start=True).set_params(**sizes)
    encoder = model.fit(penguins)._module.encoder.state_dict()
    trained = [network.state_dict() for network in model._module.predictor.networks.members]
    for network, after in zip(started[0], trained, strict=True):
        assert {"hidden.0.weight", "hidden.1.bias", "out.weight"} <= network.keys()
        assert "hidden.2.weight" not in network
        assert not torch.equal(network["out.weight"], after["out.weight"])
        for name, weight in network.items():
            if name.startswith("out."):
                assert not weight.any()  # what it says is the linear model, to begin with
            else:
                torch.testing.assert_close(weight, encoder[name], rtol=0, atol=0)
    before = [copy.deepcopy(network) for network in trained]
    model.fit(penguins)
    for network, after in zip(started[1], before, strict=True):
        assert all(torch.equal(network[name], after[name]) for name in after)


def test_it_goes_on_learning_with_the_model(penguins, monkeypatch):
    choose, shares = inference.choose_sweeps, []

    def watched(module, *args):
        shares.append(float(module.direct_share))
        choose(module, *args)

    monkeypatch.setattr(inference, "choose_sweeps", watched)
    model = small(warm_start=True).fit(penguins)
    before = {k: v.clone() for k, v in model._module.predictor.state_dict().items()}
    model.fit(penguins)
    after = model._module.predictor.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert shares == [0, 0]
    alone = small(warm_start=True, direct_share=0).fit(penguins).fit(penguins)
    for answer in ANSWERS.values():
        np.testing.assert_array_equal(answer(model, penguins), answer(alone, penguins))
    with pytest.raises(ValueError, match="direct_share"):
        model.set_params(direct_share=0).fit(penguins)


def test_it_stops_early_too(penguins):
    model = small(early_stopping=True).set_params(max_iter=4).fit(penguins)
    assert float(model._module.direct_share) == pytest.approx(0.4)
    assert len(model.validation_curve_) == model.n_iter_


def test_a_warm_start_fits_the_mixture_to_the_new_table_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 1))
    table = pd.DataFrame(x + 0.1 * rng.normal(size=(90, 3)))
    model = small(warm_start=True).fit(table)
    mixture = model._module.predictor.mixture
    assert mixture.means[:, 0].min() < 0
    assert mixture.means[:, 0].max() > 0
    upper = table[table[0] > 0.5]
    again = model.fit(upper)._module.predictor.mixture
    assert again is not mixture
    assert (again.means[:, :3] > 0.2).all()
    few = model.fit(table[:2])
    assert few.impute(pd.DataFrame({0: [0.1], 1: [np.nan], 2: [0.2]})).notna().all(axis=None)
