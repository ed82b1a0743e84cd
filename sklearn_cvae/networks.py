"""Backbones and the ways a condition enters them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}


class Linear(nn.Module):
    """An affine map drawn from a generator, so that torch's global seed is not touched.

    Parameters
    ----------
    n_in, n_out : int
        Widths; n_in may be 0, which leaves the bias.
    generator : torch.Generator
        Source of the weights, uniform with variance `scale**2 / (3 * n_in)`; biases are zero.
    scale : float, default=1.0

    Examples
    --------
    >>> Linear(3, 2, torch.Generator().manual_seed(0))(torch.zeros(1, 3))
    tensor([[0., 0.]], grad_fn=<AddmmBackward0>)
    """

    def __init__(
        self, n_in: int, n_out: int, generator: torch.Generator, scale: float = 1.0
    ) -> None:
        super().__init__()
        bound = scale / math.sqrt(max(n_in, 1))
        uniform = torch.rand((n_out, n_in), generator=generator)
        self.weight = nn.Parameter(bound * (2 * uniform - 1))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Dropout(nn.Module):
    """Dropout whose mask comes from a generator of its own.

    Parameters
    ----------
    p : float
        Share of the units set to zero while training.
    seed : int
        Seed of the masks.
    """

    def __init__(self, p: float, seed: int) -> None:
        super().__init__()
        self.p, self.seed = p, seed
        self._generator: torch.Generator | None = None

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return h
        if self._generator is None or self._generator.device != h.device:
            self._generator = torch.Generator(device=h.device).manual_seed(self.seed)
        keep = torch.rand(h.shape, generator=self._generator, device=h.device) >= self.p
        return h * keep / (1 - self.p)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_generator": None}


class ResidualMLP(nn.Module):
    r"""A perceptron with a skip around each layer that keeps its width.

    .. math:: h_{l+1} = h_l + \phi(W_l h_l + b_l)

    Parameters
    ----------
    n_in, n_out : int
        Width of input and output.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers; empty for a linear map.
    activation : str
        A key of `ACTIVATIONS`.
    dropout : float
        Share of hidden units dropped while training.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = [n_in, *hidden_layer_sizes]
        self.activation = activation
        self.hidden = nn.ModuleList(Linear(a, b, generator) for a, b in pairwise(widths))
        seed = int(torch.randint(2**31, (1,), generator=generator))
        self.dropout = Dropout(dropout, seed)
        self.out = Linear(widths[-1], n_out, generator, scale=0.0)

    def forward(self, x: Tensor, films: Sequence[tuple[Tensor, Tensor]] = ()) -> Tensor:
        """Map (n, n_in) to (n, n_out); `films` are the scale and shift of each hidden layer."""
        h = x
        activation = ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.hidden):
            new = layer(h)
            if films:
                scale, shift = films[i]
                new = new * (1 + scale) + shift
            new = self.dropout(activation(new))
            h = h + new if h.shape == new.shape else new
        return self.out(h)


class Concat(nn.Module):
    """The condition joins the network's input (Sohn, Lee, Yan, NeurIPS 2015)."""

    def __init__(self, n_in: int, n_condition: int, n_out: int, *mlp_args: object) -> None:
        super().__init__()
        self.mlp = ResidualMLP(n_in + n_condition, n_out, *mlp_args)  # type: ignore[arg-type]

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.mlp(torch.cat([x, c], dim=1))


class FiLM(nn.Module):
    """The condition scales and shifts every hidden layer.

    References
    ----------
    Perez, Strub, de Vries, Dumoulin, Courville. FiLM: Visual Reasoning with a General
    Conditioning Layer. AAAI 2018. Departure: the condition also joins the input.
    """

    def __init__(
        self,
        n_in: int,
        n_condition: int,
        n_out: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.widths = list(hidden_layer_sizes)
        self.mlp = ResidualMLP(
            n_in + n_condition, n_out, hidden_layer_sizes, activation, dropout, generator
        )
        self.film = Linear(n_condition, 2 * sum(self.widths), generator, scale=0.0)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        scales, shifts = self.film(c).chunk(2, dim=1)
        films = list(zip(scales.split(self.widths, 1), shifts.split(self.widths, 1), strict=True))
        return self.mlp(torch.cat([x, c], dim=1), films)


CONDITIONING: dict[str, type[nn.Module]] = {"concat": Concat, "film": FiLM}
