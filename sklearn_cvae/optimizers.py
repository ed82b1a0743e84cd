"""Muon for the weight matrices of hidden layers, all of one shape in one batched product."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

# Odd quintics, one after another: each brings what the last made of [0.01, 1] nearest to one. They
# end within 0.27 of it.
QUINTICS = (8.0934, -23.6205, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526)
MOMENTUM, EPS = 0.95, 1e-7
EVERY = 2


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, orthogonalised.

    `torch.optim.Muon` multiplies one matrix after another in bfloat16, five times with one quintic
    for the three here: for small matrices on a CPU that takes much longer. Momenta, which gather
    every gradient, hardly change from step to step, so weights move at every second one, twice as
    far (`docs/experiments.md`).

    Parameters
    ----------
    params : iterable of Parameter
        Matrices.
    lr : float
    weight_decay : float

    References
    ----------
    Jordan et al. Muon: An optimizer for hidden layers in neural networks. 2024.
    Amsel, Persson, Musco, Gower. The Polar Express: Optimal Matrix Sign Methods and Their
    Application to the Muon Algorithm. 2025 (quintics, each the best after those before it).

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(2, 2))
    >>> optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> bool((weight < 1).all())
    True
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "n_steps": 0})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; `closure`, if given, computes the loss anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                self._accumulate(param)
            if group["n_steps"] % EVERY == 0:
                self._move(params, EVERY * group["lr"], group["weight_decay"])
            group["n_steps"] += 1
        return loss

    def _accumulate(self, param: Tensor) -> None:
        state: dict[str, Any] = self.state[param]
        grad: Any = param.grad
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(param)
        state["momentum_buffer"].lerp_(grad, 1 - MOMENTUM)

    def _move(self, params: list[Tensor], lr: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for param in params:
            by_shape.setdefault(param.shape, []).append(param)
        for shape, alike in by_shape.items():
            updates = orthogonalized(torch.stack([self._look_ahead(param) for param in alike]))
            rate = lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for param, update in zip(alike, updates, strict=True):
                param.mul_(1 - lr * weight_decay)
                param.add_(update, alpha=-rate)

    def _look_ahead(self, param: Tensor) -> Tensor:
        grad: Any = param.grad
        ahead: Tensor = grad.lerp(self.state[param]["momentum_buffer"], MOMENTUM)
        return ahead


def orthogonalized(matrices: Tensor) -> Tensor:
    """Bring singular values from 1 % of the norm on near one, and smaller ones up.

    Parameters
    ----------
    matrices : Tensor of shape (n, rows, columns)
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPS)
    for a, b, c in QUINTICS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
