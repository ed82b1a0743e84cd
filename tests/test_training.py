"""The net's parts: batches, schedule, and what a fitted net forgets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import small
from sklearn.base import clone

from sklearn_cvae import ConditionalVAE, inference, training
from sklearn_cvae.model import TableCVAE
from sklearn_cvae.training import (
    SlicingIterator,
    TableDataset,
    auto_epochs,
    held_out_cells,
    one_cycle,
)


def dataset(n: int, n_held_out: int = 0):
    values = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
    observed = np.ones((n, 2), dtype=bool)
    observed[0, 0] = False
    weight, order = np.ones(n, np.float32), np.arange(n)
    return TableDataset.split(values, observed, weight, order, n_held_out, "cpu")


def test_batches_cover_every_row_once_in_a_new_order_each_epoch():
    data, _ = dataset(10)
    batches = SlicingIterator(data, 4, torch.Generator().manual_seed(0))
    epochs = [torch.cat([b.values[:, 1] for b, _ in batches]) for _ in range(2)]
    assert len(batches) == 3
    assert not torch.equal(*epochs)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == data.table.values[:, 1].tolist()


def test_held_out_rows_are_not_trained_on():
    data, held_out = dataset(10, 3)
    assert (len(data), len(held_out)) == (7, 3)
    assert not set(data.rows.tolist()) & set(held_out.rows.tolist())
    assert data.table.values.data_ptr() == held_out.table.values.data_ptr()


def test_few_cells_are_held_out_for_calibration():
    rng, observed = np.random.RandomState(0), np.ones((2000, 10), dtype=bool)
    observed[:, 0] = False
    held_out = held_out_cells(observed, np.empty(0, int), rng)
    assert 400 < held_out.sum() < 600
    assert not held_out[:, 0].any()
    assert not held_out_cells(observed[:50], np.empty(0, int), rng).any()
    rows = np.arange(100)
    assert held_out_cells(observed, rows, rng).any(axis=1).nonzero()[0].max() < 100


def test_schedule_rises_and_falls():
    rates = [one_cycle(p) for p in np.linspace(0, 1, 101)]
    assert max(rates) == rates[10] == 1
    assert rates[0] < 0.01
    assert rates[-1] < 1e-6
    assert all(a <= b for a, b in zip(rates[:10], rates[1:11], strict=True))
    assert all(a >= b for a, b in zip(rates[10:-1], rates[11:], strict=True))


def test_a_fitted_net_forgets_its_training(penguins):
    net = small().fit(penguins).net_
    assert net.optimizer_ is None
    assert net.callbacks_ == []
    assert all(epoch["batches"] == [] for epoch in net.history)


def test_one_pass_through_the_network_per_step(penguins):
    calls = []
    model = small(max_iter=1)
    table = model.fit(penguins).net_.module_
    original = type(table).forward
    try:
        type(table).forward = lambda self, *a: calls.append(1) or original(self, *a)
        small(max_iter=1, batch_size=100).fit(penguins)
    finally:
        type(table).forward = original
    assert len(calls) == 4


def test_large_tables_are_trained_for_fewer_epochs():
    steps = {n: -(-n // 1024) for n in (10_000, 28_125, 45_000, 1_000_000)}
    assert [auto_epochs(n, k, 10) for n, k in steps.items()] == [80, 80, 50, 20]
    assert [auto_epochs(n, k, 50) for n, k in steps.items()] == [80, 80, 50, 20]


def test_small_tables_are_trained_for_fewer_epochs():
    sizes = (10, 1), (150, 5), (500, 8), (4000, 16)
    assert [auto_epochs(n, steps, 7) for n, steps in sizes] == [96, 64, 40, 96]
    assert [auto_epochs(n, steps, 7, nearly_known=True) for n, steps in sizes[2:]] == [40, 120]


def test_small_tables_of_many_columns_are_trained_for_fewer_epochs(monkeypatch):
    widths = 2, 7, 10, 27, 48, 1_000
    assert [auto_epochs(1_000, 4, d) for d in widths] == [80, 80, 60, 60, 20, 20]
    assert [auto_epochs(200, 7, d) for d in widths] == [46, 46, 23, 12, 12, 12]
    monkeypatch.setattr(training, "MIN_STEPS", 50)
    few, many = (
        ConditionalVAE(2, hidden_layer_sizes=(4,), random_state=0).fit(X)
        for X in (np.random.default_rng(0).normal(size=(200, d)) for d in (2, 48))
    )
    assert (few.n_iter_, many.n_iter_) == (12, 4)


def test_tables_whose_numbers_tell_one_another_are_trained_for_more_epochs(monkeypatch):
    for name, value in {"MIN_STEPS": 1, "MAX_EPOCHS": 1, "EPOCHS_OF_NEARLY_KNOWN": 4}.items():
        monkeypatch.setattr(training, name, value)
    x = np.random.default_rng(0).normal(size=(1_000, 2))
    nearly = x[:, :1] + np.c_[np.zeros(1_000), 0.01 * x[:, 1]]
    model = ConditionalVAE(2, hidden_layer_sizes=(4,), direct_share=0, random_state=0)
    assert [clone(model).fit(X).n_iter_ for X in (x, nearly)] == [1, 3]


@pytest.mark.parametrize(
    ("shape", "expected"), [((200, 5), 50), ((1000, 6), 150), ((20_000, 10), 500), ((50, 5), 0)]
)
def test_few_cells_are_held_out_to_calibrate_draws(shape, expected):
    observed = np.ones(shape, dtype=bool)
    held_out = held_out_cells(observed, np.arange(0), np.random.RandomState(0))
    assert held_out.sum() == pytest.approx(expected, rel=0.25)


def test_cells_that_calibrate_draws_are_unknown_to_the_linear_start_too(monkeypatch):
    shown, held_out = [], []
    start, calibrate = TableCVAE.start, inference.calibrate_spread

    def watched_start(module, values, observed, generator):
        shown.append(int(observed.sum()))
        start(module, values, observed, generator)

    def watched_calibrate(module, cells, target):
        held_out.append(int(target.sum()))
        calibrate(module, cells, target)

    monkeypatch.setattr(TableCVAE, "start", watched_start)
    monkeypatch.setattr(inference, "calibrate_spread", watched_calibrate)
    X = np.random.default_rng(0).normal(size=(300, 4))
    ConditionalVAE(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0).fit(X)
    assert held_out[0] > 20
    assert shown[0] == X.size - held_out[0]


def test_rows_held_out_for_early_stopping_are_unknown_to_the_linear_start(monkeypatch):
    n_rows = []
    start = TableCVAE.start

    def watched_start(module, values, observed, generator):
        n_rows.append(len(values))
        start(module, values, observed, generator)

    monkeypatch.setattr(TableCVAE, "start", watched_start)
    X = np.random.default_rng(0).normal(size=(300, 4))
    model = ConditionalVAE(
        2, hidden_layer_sizes=(8,), max_iter=1, early_stopping=True, random_state=0
    )
    model.fit(X)
    model.fit(X, sample_weight=np.arange(300) < 100)
    assert n_rows == [270, 90]


@pytest.mark.filterwarnings("ignore:The posterior collapsed")
def test_early_stopping_holds_out_rows_with_a_weight_but_never_all():
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = ConditionalVAE(
        2,
        hidden_layer_sizes=(8,),
        max_iter=2,
        early_stopping=True,
        validation_fraction=0.9,
        random_state=1,
    )
    model.fit(X, sample_weight=np.arange(40) < 2)
    assert model.validation_curve_[0] != 0
    assert model.loss_curve_[0] != 0
