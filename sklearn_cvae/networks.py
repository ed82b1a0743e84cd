"""The residual perceptron, and the ways a condition enters a network."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}


EMBEDDED_WIDTH = 16
# Kernels of narrower products round a row by where it stands, but answers are not to depend on it.
LEAST_WIDTH = 32


_global_seed_lock = threading.Lock()


@contextlib.contextmanager
def global_seed_kept(seed: int = 0) -> Iterator[None]:
    """Let others' modules draw from torch's global generator, seeded, and put that back.

    One at a time: two threads that put back what they found could leave each other's state.
    """
    with _global_seed_lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def rounded_alike(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T, each row of which is rounded alike wherever it stands."""
    idle = max(LEAST_WIDTH - len(weight), 0)
    return F.linear(x, F.pad(weight, (0, 0, 0, idle)))[..., : len(weight)]


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
        if self.training or len(self.bias) >= LEAST_WIDTH:
            return F.linear(x, self.weight, self.bias)
        return rounded_alike(x, self.weight) + self.bias


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


class Conditioner(nn.Module):
    """How a condition enters a network: what joins its input, and what hidden layers do with it.

    The base joins nothing and changes nothing.

    Parameters
    ----------
    token_widths : sequence of int
        Widths of the condition columns' parts of c.
    layer_widths : sequence of int
        Features, or channels, of the hidden layers.
    generator : torch.Generator
        Source of the initial weights.
    """

    embedded: ClassVar[bool] = False
    """Whether c is to be the columns' learned embeddings, instead of their inputs."""

    def __init__(
        self, token_widths: Sequence[int], layer_widths: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_joined = sum(token_widths)

    def joined(self, c: Tensor) -> Tensor:
        """Return the (n, n_joined) inputs that join the network's own."""
        return c

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        """Change a hidden layer, of shape (n, width) or (n, channels, ...), before it activates."""
        return h


class Concat(Conditioner):
    """The condition joins the network's input.

    References
    ----------
    Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
    Models. NeurIPS 2015.
    """


class ConcatAll(Conditioner):
    r"""The condition joins the input of every layer.

    .. math:: W_l [h_l, c] = W_l^h h_l + W_l^c c
    """

    def __init__(
        self, token_widths: Sequence[int], layer_widths: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__(token_widths, layer_widths, generator)
        self.layers = nn.ModuleList(Linear(self.n_joined, w, generator) for w in layer_widths)

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        return h + _over(self.layers[layer](c), h)


class Embedding(Conditioner):
    """Each condition column becomes a learned vector, which joins the input.

    The same vectors serve encoder, decoder and prior. Of a column with many levels they are a
    bottleneck: alike levels share strength.

    References
    ----------
    Guo, Berkhahn. Entity Embeddings of Categorical Variables. 2016.
    """

    embedded = True


class FiLM(Conditioner):
    r"""The condition scales and shifts every hidden layer, and joins the input.

    .. math:: h \leftarrow (1 + \gamma_l(c)) \, h + \beta_l(c)

    References
    ----------
    Perez, Strub, de Vries, Dumoulin, Courville. FiLM: Visual Reasoning with a General
    Conditioning Layer. AAAI 2018. Departure: the condition also joins the input.
    """

    def __init__(
        self, token_widths: Sequence[int], layer_widths: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__(token_widths, layer_widths, generator)
        self.layers = nn.ModuleList(
            Linear(self.n_joined, 2 * w, generator, scale=0.0) for w in layer_widths
        )

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.layers[layer](c).chunk(2, dim=1)
        return h * (1 + _over(scale, h)) + _over(shift, h)


class LayerNorm(FiLM):
    """As `FiLM`, after each row's hidden layer is brought to mean 0 and variance 1.

    References
    ----------
    Ba, Kiros, Hinton. Layer Normalization. 2016. Perez et al. AAAI 2018 (made conditional).
    """

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        return super().modulate(layer, F.layer_norm(h, h.shape[1:]), c)


class BatchNorm(FiLM):
    """As `FiLM`, after each unit is brought to mean 0 and variance 1 over the training rows.

    References
    ----------
    De Vries et al. Modulating early visual processing by language. NeurIPS 2017 (conditional
    batch normalisation).
    """

    def __init__(
        self, token_widths: Sequence[int], layer_widths: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__(token_widths, layer_widths, generator)
        self.norms = nn.ModuleList(nn.BatchNorm1d(w, affine=False) for w in layer_widths)

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        norm: Any = self.norms[layer]
        by_batch = self.training and h.numel() > h.shape[1]
        normed = F.batch_norm(h, norm.running_mean, norm.running_var, training=by_batch)
        return super().modulate(layer, normed, c)


class Attention(Conditioner):
    r"""Each hidden layer asks the condition columns, each an embedded token, for what it needs.

    .. math:: h \leftarrow h + W_l \, \mathrm{softmax}(Q_l h \cdot K_l t / \sqrt e) \, V_l t

    The tokens `t` join the input, too.

    References
    ----------
    Vaswani et al. Attention Is All You Need. NeurIPS 2017 (one head, without position).
    """

    embedded = True

    def __init__(
        self, token_widths: Sequence[int], layer_widths: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__(token_widths, layer_widths, generator)
        self.n_tokens = len(token_widths)
        e = token_widths[0] if token_widths else 1
        self.queries = nn.ModuleList(Linear(w, e, generator) for w in layer_widths)
        self.keys_values = nn.ModuleList(Linear(e, 2 * e, generator) for _ in layer_widths)
        self.answers = nn.ModuleList(Linear(e, w, generator, scale=0.0) for w in layer_widths)

    def modulate(self, layer: int, h: Tensor, c: Tensor) -> Tensor:
        if self.n_tokens == 0:
            return h
        tokens = c.unflatten(1, (self.n_tokens, -1))
        keys, values = self.keys_values[layer](tokens).chunk(2, dim=-1)
        query = self.queries[layer](h if h.ndim == 2 else h.flatten(2).mean(dim=2))
        fit = (keys @ query[:, :, None])[:, :, 0] / keys.shape[-1] ** 0.5
        asked = (fit.softmax(dim=1)[:, :, None] * values).sum(dim=1)
        return h + _over(self.answers[layer](asked), h)


def _over(of_features: Tensor, h: Tensor) -> Tensor:
    """Let (n, width) broadcast over the space or time of a hidden layer."""
    return of_features.reshape(*of_features.shape, *[1] * (h.ndim - 2))


class ConditionEmbedding(nn.Module):
    """Condition columns as learned vectors: (n, sum of widths) to (n, n_columns * EMBEDDED_WIDTH).

    Parameters
    ----------
    widths : sequence of int
        Widths of the columns' inputs.
    generator : torch.Generator
    """

    def __init__(self, widths: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.widths = list(widths)
        self.columns = nn.ModuleList(Linear(w, EMBEDDED_WIDTH, generator) for w in widths)

    def forward(self, c: Tensor) -> Tensor:
        if not self.widths:
            return c
        parts = zip(self.columns, c.split(self.widths, dim=1), strict=True)
        return torch.cat([column(part) for column, part in parts], dim=1)


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
    condition : Conditioner
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
        condition: Conditioner,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = [n_in + condition.n_joined, *hidden_layer_sizes]
        self.activation, self.condition = activation, condition
        self.hidden = nn.ModuleList(Linear(a, b, generator) for a, b in pairwise(widths))
        seed = int(torch.randint(2**31, (1,), generator=generator))
        self.dropout = Dropout(dropout, seed)
        self.out = Linear(widths[-1], n_out, generator, scale=0.0)

    @torch.no_grad()
    def take_hidden(self, other: nn.Module) -> None:
        """Take over the first hidden layers of another perceptron, at least as deep, as wide."""
        names = [name for name in self.state_dict() if not name.startswith("out.")]
        theirs = other.state_dict()
        self.load_state_dict({name: theirs[name] for name in names}, strict=False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map (n, n_in) and conditions (n, n_condition) to (n, n_out)."""
        h = torch.cat([x, self.condition.joined(c)], dim=1)
        activation = ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.hidden):
            new = self.condition.modulate(i, layer(h), c)
            new = self.dropout(activation(new))
            h = h + new if h.shape == new.shape else new
        return self.out(h)


class Ensemble(nn.Module):
    """Networks of one shape: in training each row goes through one, afterwards through all.

    Parameters
    ----------
    members : sequence of nn.Module
        Each maps (n, n_in) and conditions (n, n_condition) to (n, n_out).

    Notes
    -----
    Rows of a training batch are shuffled, so that which network a row teaches changes by chance
    from epoch to epoch, and all of them together cost as much as one.

    Examples
    --------
    >>> def network():
    ...     generator = torch.Generator().manual_seed(0)
    ...     return ResidualMLP(3, 2, [4], "silu", 0.0, Concat([], [4], generator), generator)
    >>> networks, x, c = Ensemble([network(), network()]), torch.zeros(5, 3), torch.zeros(5, 0)
    >>> networks(x, c).shape, networks.eval()(x, c).shape
    (torch.Size([1, 5, 2]), torch.Size([2, 5, 2]))
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Return (1, n, n_out) in training, (n_members, n, n_out) afterwards."""
        if not self.training:
            return torch.stack([member(x, c) for member in self.members])
        n = len(self.members)
        parts = zip(self.members, x.tensor_split(n), c.tensor_split(n), strict=True)
        return torch.cat([member(*part) for member, *part in parts if len(part[0])])[None]

    def only(self, member: int, x: Tensor, c: Tensor) -> Tensor:
        """Return what one of them says, of shape (1, n, n_out)."""
        outputs: Tensor = self.members[member](x, c)
        return outputs[None]


CONDITIONING: dict[str, type[Conditioner]] = {
    "concat": Concat,
    "concat_all": ConcatAll,
    "embedding": Embedding,
    "film": FiLM,
    "layer_norm": LayerNorm,
    "batch_norm": BatchNorm,
    "attention": Attention,
}
