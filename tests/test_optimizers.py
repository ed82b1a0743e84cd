"""Muon against torch's, which takes such steps one matrix at a time."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch

from sklearn_cvae import optimizers
from sklearn_cvae.optimizers import Muon, orthogonalized

SHAPES = [(16, 16), (16, 16), (8, 24), (24, 8)]


def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def take_steps(optimizer, params, n_steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        optimizer.zero_grad()
        sum(
            (p - torch.randn(p.shape, generator=generator)).square().sum() for p in params
        ).backward()
        optimizer.step()


def test_with_its_quintic_steps_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(optimizers, "QUINTICS", ((3.4445, -4.7750, 2.0315),) * 5)
    monkeypatch.setattr(optimizers, "EVERY", 1)
    ours, theirs = weights(), weights()
    take_steps(Muon(ours, lr=0.1, weight_decay=0.2), ours)
    take_steps(torch.optim.Muon(theirs, lr=0.1, weight_decay=0.2), theirs)
    for before, one, other in zip(weights(), ours, theirs, strict=True):
        moved = (one - before).norm()
        assert moved > 1
        assert (one - other).norm() < 0.02 * moved  # theirs are rounded to eight bits


def test_weights_move_at_every_second_step_twice_as_far(monkeypatch):
    ours, plain = weights()[:1], weights()[:1]
    optimizer = Muon(ours, lr=0.1, weight_decay=0.2)
    seen = [weights()[0].detach()]
    for _ in range(3):
        take_steps(optimizer, ours, n_steps=1)
        seen.append(ours[0].detach().clone())
    far = [float((after - before).norm()) for before, after in pairwise(seen)]
    assert far[0] > 0.5
    assert far[1] == 0
    assert far[2] > 0.5
    monkeypatch.setattr(optimizers, "EVERY", 1)
    take_steps(Muon(plain, lr=0.2, weight_decay=0.2), plain, n_steps=1)
    assert torch.equal(plain[0], seen[1])


def test_what_the_step_between_saw_counts():
    after = []
    for seen in (0.0, 1.0):
        weight = torch.nn.Parameter(torch.eye(3))
        optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
        for gradient in (torch.eye(3), seen * torch.ones(3, 3).triu(), torch.eye(3)):
            weight.grad = gradient
            optimizer.step()
        after.append(weight.detach())
    assert not torch.allclose(*after)


def test_a_copy_and_a_restored_one_go_on_where_it_was():
    ours, restored = weights()[:1], weights()[:1]
    optimizer = Muon(ours, lr=0.1, weight_decay=0.0)
    take_steps(optimizer, ours, n_steps=3)
    copied = copy.deepcopy(optimizer)
    (other,) = copied.param_groups[0]["params"]
    again = Muon(restored, lr=0.1, weight_decay=0.0)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    restored[0].data.copy_(ours[0])
    for each, params in ((optimizer, ours), (copied, [other]), (again, restored)):
        take_steps(each, params, n_steps=2)
    assert torch.equal(ours[0], other)
    assert torch.equal(ours[0], restored[0])


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_singular_values_end_near_one(shape):
    matrices = torch.randn((3, *shape), generator=torch.Generator().manual_seed(2))
    matrices *= torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.max() < 1.3
    assert values.median() > 0.6
    aligned = (orthogonalized(matrices) * matrices).sum(dim=(1, 2))
    assert (aligned > 0).all()


def test_quintics_bring_a_hundredth_of_the_norm_near_one():
    values = torch.logspace(-2, 0, 400)
    for a, b, c in optimizers.QUINTICS:
        values = a * values + b * values**3 + c * values**5
    assert (values - 1).abs().max() < 0.271


def test_a_weight_without_gradient_and_one_of_zeros_stay():
    used, unused, flat = weights()[:3]
    optimizer = Muon([used, unused, flat], lr=0.1, weight_decay=0.0)
    (used.square().sum() + 0 * flat.sum()).backward()
    optimizer.step()
    _, before, flat_before = weights()[:3]
    assert torch.equal(unused, before)
    assert torch.equal(flat, flat_before)


def test_a_closure_is_evaluated():
    (weight,) = weights()[:1]
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(3)]
    assert losses[2] < losses[0]
