"""Backbones: the networks between a row's cells and its latent vector.

A backbone is a frozen dataclass of settings that builds an encoder and a decoder. The encoder maps
`(seen, c)` to the posterior's parameters, the decoder maps `(z, c)` to those of the likelihoods.
`Layout` says where each column's cells stand among the inputs and outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.networks import (
    ACTIVATIONS,
    CONDITIONING,
    Conditioner,
    Linear,
    ResidualMLP,
    global_seed_kept,
)


class Layout(NamedTuple):
    """Where each column's cells stand among network inputs and outputs.

    Parameters
    ----------
    features : list of Tensor
        By column, the positions of the inputs that say its cell's value in full.
    shown : Tensor of shape (d,)
        Position of the input that says whether a column's cell is shown.
    outputs : list of Tensor
        By column, the positions of its likelihood's parameters.
    n_inputs, n_outputs : int
    modelled : list of int
        The columns that are not conditions.
    """

    features: list[Tensor]
    shown: Tensor
    outputs: list[Tensor]
    n_inputs: int
    n_outputs: int
    modelled: list[int]


class Blocks(NamedTuple):
    """What every backbone is built of.

    Parameters
    ----------
    conditioning : str
        A key of `CONDITIONING`.
    token_widths : list of int
        Widths of the condition columns' parts of c.
    hidden_layer_sizes : list of int
    activation : str
    dropout : float
    generator : torch.Generator
    """

    conditioning: str
    token_widths: list[int]
    hidden_layer_sizes: list[int]
    activation: str
    dropout: float
    generator: torch.Generator

    def conditioner(self, layer_widths: Sequence[int]) -> Conditioner:
        block = CONDITIONING[self.conditioning]
        return block(self.token_widths, layer_widths, self.generator)

    def mlp(self, n_in: int, n_out: int) -> ResidualMLP:
        condition = self.conditioner(self.hidden_layer_sizes)
        widths = self.hidden_layer_sizes
        return ResidualMLP(
            n_in, n_out, widths, self.activation, self.dropout, condition, self.generator
        )


class Backbone:
    """Base of the backbones: two networks of the layers that the estimator's parameters name."""

    starts_linear: bool = False
    """Whether the encoder also sees, and corrects, the posterior of a linear model."""

    tabular: bool = False
    """Whether columns have no place in space or time: some may be ties, and starts are raked."""

    def check(self, layout: Layout) -> None:
        """Raise ValueError if a table does not suit this backbone."""

    def encoder(self, layout: Layout, n_start: int, n_out: int, blocks: Blocks) -> nn.Module:
        """Return a network from (n, n_inputs + n_start) and c to (n, n_out)."""
        return blocks.mlp(layout.n_inputs + n_start, n_out)

    def decoder(self, layout: Layout, n_in: int, blocks: Blocks) -> nn.Module:
        """Return a network from (n, n_in) and c to (n, n_outputs)."""
        return blocks.mlp(n_in, layout.n_outputs)

    def visible_blocks(
        self, n_rows: int, n_columns: int, layout: Layout, generator: torch.Generator
    ) -> Tensor | None:
        """Return (n_rows, n_columns) cells that stay visible when whole regions are hidden.

        Half of the training rows hide these, where there are such regions.
        """
        return None


@dataclass(frozen=True)
class MLP(Backbone):
    """Residual perceptrons of `hidden_layer_sizes`.

    Parameters
    ----------
    starts_linear : bool, default=True
        Whether they correct a linear model (`sklearn_cvae.factors`), as small tables need. False
        suits columns that nearly repeat each other, as the steps of a smooth series do: a linear
        model is very sure of what it sees there.
    ordered : bool, default=False
        Whether the columns are steps in time. Half of the training rows then hide the future after
        a random step, so that it can be imputed, as a forecast.

    References
    ----------
    He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cvae import ConditionalVAE
    >>> series = np.random.default_rng(0).normal(size=(200, 12)).cumsum(axis=1)
    >>> backbone = MLP(starts_linear=False, ordered=True)
    >>> model = ConditionalVAE(4, backbone=backbone, max_iter=2, random_state=0).fit(series)
    >>> series[:, 8:] = np.nan
    >>> np.isnan(model.impute(series)).any()
    np.False_
    """

    starts_linear: bool = True
    ordered: bool = False

    @property
    def tabular(self) -> bool:  # type: ignore[override]
        return not self.ordered

    def visible_blocks(
        self, n_rows: int, n_columns: int, layout: Layout, generator: torch.Generator
    ) -> Tensor | None:
        if not self.ordered:
            return None
        visible = torch.ones((n_rows, n_columns), dtype=torch.bool, device=generator.device)
        visible[:, layout.modelled] = _pasts(n_rows, len(layout.modelled), generator)
        return visible


def _pasts(n_rows: int, n_steps: int, generator: torch.Generator) -> Tensor:
    """Return (n_rows, n_steps): True before a random step of each row."""
    u = torch.rand((n_rows, 1), generator=generator, device=generator.device)
    return (torch.arange(n_steps, device=u.device) + 0.5) / n_steps < u


# --------------------------------------------------------------------------------------
# Columns on a grid: images and sequences
# --------------------------------------------------------------------------------------


class _Grid(Backbone):
    """Base of backbones whose first modelled columns lie on a grid; others stand beside it."""

    shape: tuple[int, ...]
    cell: ClassVar[str]
    hidden_width: int

    @property
    def n_cells(self) -> int:
        return math.prod(self.shape)

    def check(self, layout: Layout) -> None:
        if len(layout.modelled) < self.n_cells:
            raise ValueError(
                f"{self} needs {self.n_cells} modelled columns, one for each {self.cell}, but the "
                f"table has {len(layout.modelled)}."
            )

    def encoder(self, layout: Layout, n_start: int, n_out: int, blocks: Blocks) -> nn.Module:
        columns = layout.modelled[: self.n_cells]
        inputs = _GridInputs(layout, columns)
        body = self.reader(inputs.width, blocks)
        head = blocks._replace(hidden_layer_sizes=[self.hidden_width])
        return _GridEncoder(inputs, body, head.mlp(body.n_out + inputs.n_beside, n_out))

    def decoder(self, layout: Layout, n_in: int, blocks: Blocks) -> nn.Module:
        columns = layout.modelled[: self.n_cells]
        outputs = _GridOutputs(layout, columns)
        head = blocks._replace(hidden_layer_sizes=[self.hidden_width])
        return _GridDecoder(
            outputs,
            self.writer(n_in, outputs.width, head),
            head.mlp(n_in, outputs.n_beside) if outputs.n_beside else None,
        )

    def reader(self, width: int, blocks: Blocks) -> Any:
        """Return a network from (n, n_cells, width) and c to (n, its `n_out`)."""
        raise NotImplementedError

    def writer(self, n_in: int, width: int, blocks: Blocks) -> nn.Module:
        """Return a network from (n, n_in) and c to (n, n_cells, width)."""
        raise NotImplementedError

    def _on_grid(self, region: Tensor, n_columns: int, layout: Layout) -> Tensor:
        """Put (n, n_cells) on the grid's columns; cells beside it are visible with its first."""
        visible = region[:, :1].repeat(1, n_columns)
        visible[:, layout.modelled[: self.n_cells]] = region
        return visible


class _GridInputs(nn.Module):
    """Cuts flat inputs into (n, n_cells, width), each cell's mask last, and what is beside."""

    cells: Tensor
    beside: Tensor

    def __init__(self, layout: Layout, columns: list[int]) -> None:
        super().__init__()
        nothing = layout.n_inputs
        self.width = 1 + max(len(layout.features[j]) for j in columns)
        cells = torch.full((len(columns), self.width), nothing)
        for row, j in zip(cells, columns, strict=True):
            row[: len(layout.features[j])] = layout.features[j]
            row[-1] = layout.shown[j]
        others = [j for j in range(len(layout.features)) if j not in set(columns)]
        beside = [torch.cat([layout.features[j], layout.shown[j : j + 1]]) for j in others]
        self.register_buffer("cells", cells, persistent=False)
        self.register_buffer("beside", _joined(beside), persistent=False)
        self.n_beside = len(self.beside)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return F.pad(seen, (0, 1))[:, self.cells], seen[:, self.beside]


class _GridOutputs(nn.Module):
    """Joins (n, n_cells, width) and what is beside into flat outputs."""

    order: Tensor

    def __init__(self, layout: Layout, columns: list[int]) -> None:
        super().__init__()
        self.width = max(len(layout.outputs[j]) for j in columns)
        others = [j for j in range(len(layout.outputs)) if j not in set(columns)]
        order = torch.empty(layout.n_outputs, dtype=torch.long)
        for i, j in enumerate(columns):
            order[layout.outputs[j]] = i * self.width + torch.arange(len(layout.outputs[j]))
        beside = _joined([layout.outputs[j] for j in others])
        self.n_beside = len(beside)
        order[beside] = len(columns) * self.width + torch.arange(self.n_beside)
        self.register_buffer("order", order, persistent=False)

    def forward(self, cells: Tensor, beside: Tensor) -> Tensor:
        return torch.cat([cells.flatten(1), beside], dim=1)[:, self.order]


def _joined(positions: list[Tensor]) -> Tensor:
    return torch.cat([torch.empty(0, dtype=torch.long), *positions])


class _GridEncoder(nn.Module):
    def __init__(self, inputs: _GridInputs, body: Any, head: ResidualMLP) -> None:
        super().__init__()
        self.inputs, self.body, self.head = inputs, body, head

    def forward(self, seen: Tensor, c: Tensor) -> Tensor:
        cells, beside = self.inputs(seen)
        return self.head(torch.cat([self.body(cells, c), beside], dim=1), c)


class _GridDecoder(nn.Module):
    def __init__(self, outputs: _GridOutputs, body: nn.Module, beside: ResidualMLP | None) -> None:
        super().__init__()
        self.outputs, self.body, self.beside = outputs, body, beside

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        cells = self.body(z, c)
        return self.outputs(cells, z[:, :0] if self.beside is None else self.beside(z, c))


@dataclass(frozen=True)
class Convolutional(_Grid):
    """Convolutions, for rows that are images, and a perceptron beside them each way.

    The perceptrons learn fast, the convolutions say what they cannot.

    Half of the training rows hide whole rectangles, or all but one, so that parts of an image can
    be imputed from others.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, height and width. The first modelled columns of X are the image's, in this order
        (as `image.reshape(-1)` has them); further columns are modelled beside it.
    n_channels : sequence of int, default=(32, 64)
        Channels of the layers; each halves height and width.
    hidden_width : int, default=256
        Width of the dense layer between convolutions and latents.

    References
    ----------
    Radford, Metz, Chintala. Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks. ICLR 2016 (strided convolutions both ways).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cvae import ConditionalVAE
    >>> images = np.repeat(np.random.default_rng(0).random((200, 8)) < 0.3, 8, axis=1)
    >>> backbone = Convolutional((1, 8, 8), n_channels=(4, 8), hidden_width=16)
    >>> model = ConditionalVAE(4, backbone=backbone, max_iter=20, random_state=0).fit(images)
    >>> model.sample(2, random_state=0).shape
    (2, 64)
    """

    image_shape: tuple[int, int, int]
    n_channels: tuple[int, ...] = (32, 64)
    hidden_width: int = 256

    cell: ClassVar[str] = "pixel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", _sizes("image_shape", self.image_shape, 3))
        object.__setattr__(self, "n_channels", _sizes("n_channels", self.n_channels, None))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.image_shape

    def reader(self, width: int, blocks: Blocks) -> nn.Module:
        return _ConvReader(self, width, blocks)

    def writer(self, n_in: int, width: int, blocks: Blocks) -> nn.Module:
        return _ConvWriter(self, n_in, width, blocks)

    def visible_blocks(
        self, n_rows: int, n_columns: int, layout: Layout, generator: torch.Generator
    ) -> Tensor:
        channels, height, width = self.image_shape
        u = torch.rand((n_rows, 5), generator=generator, device=generator.device)
        inside = _between(height, u[:, 0:2])[:, :, None] & _between(width, u[:, 2:4])[:, None, :]
        region = (inside ^ (u[:, 4] < 0.5)[:, None, None])[:, None].expand(-1, channels, -1, -1)
        return self._on_grid(region.flatten(1), n_columns, layout)


def _between(size: int, ends: Tensor) -> Tensor:
    """Return (n, size): True between two random ends of each row."""
    at = (torch.arange(size, device=ends.device) + 0.5) / size
    low, high = ends.sort(dim=1).values.T
    return (at > low[:, None]) & (at < high[:, None])


class Conv(nn.Module):
    """A convolution drawn from a generator; `up` doubles height and width, else they are halved."""

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator, *, up: bool) -> None:
        super().__init__()
        shape = (n_in, n_out, 4, 4) if up else (n_out, n_in, 3, 3)
        bound = 1 / math.sqrt(n_in * (4 if up else 9))
        self.weight = nn.Parameter(bound * (2 * torch.rand(shape, generator=generator) - 1))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.up = up

    def forward(self, h: Tensor) -> Tensor:
        if self.up:
            return F.conv_transpose2d(h, self.weight, self.bias, stride=2, padding=1)
        return F.conv2d(h, self.weight, self.bias, stride=2, padding=1)


class _ConvReader(nn.Module):
    def __init__(self, about: Convolutional, width: int, blocks: Blocks) -> None:
        super().__init__()
        self.shape, self.activation = about.image_shape, blocks.activation
        channels = [width * self.shape[0], *about.n_channels]
        self.layers = nn.ModuleList(
            Conv(a, b, blocks.generator, up=False) for a, b in pairwise(channels)
        )
        self.condition = blocks.conditioner(about.n_channels)
        height, width = _halved(self.shape[1:], len(about.n_channels))
        self.n_out = channels[-1] * height * width + channels[0] * math.prod(self.shape[1:])

    def forward(self, cells: Tensor, c: Tensor) -> Tensor:
        h = cells.unflatten(1, self.shape).movedim(-1, 1).flatten(1, 2)
        for i, layer in enumerate(self.layers):
            h = ACTIVATIONS[self.activation](self.condition.modulate(i, layer(h), c))
        return torch.cat([h.flatten(1), cells.flatten(1)], dim=1)


class _ConvWriter(nn.Module):
    def __init__(self, about: Convolutional, n_in: int, width: int, blocks: Blocks) -> None:
        super().__init__()
        self.shape, self.activation = about.image_shape, blocks.activation
        channels = [*about.n_channels[::-1], width * self.shape[0]]
        self.start = (channels[0], *_halved(self.shape[1:], len(about.n_channels)))
        self.dense = blocks.mlp(n_in, math.prod(self.start))
        self.layers = nn.ModuleList(
            Conv(a, b, blocks.generator, up=True) for a, b in pairwise(channels)
        )
        self.condition = blocks.conditioner(channels[:-1])
        self.beside = blocks.mlp(n_in, math.prod(self.shape) * width)
        # An output layer starts at zero elsewhere; the convolutions would get no gradient from it.
        bound = 1 / math.sqrt(self.dense.out.weight.shape[1])
        noise = torch.rand(self.dense.out.weight.shape, generator=blocks.generator)
        self.dense.out.weight.data.copy_(bound * (2 * noise - 1))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        h = self.dense(z, c).unflatten(1, self.start)
        for i, layer in enumerate(self.layers):
            h = layer(ACTIVATIONS[self.activation](self.condition.modulate(i, h, c)))
        _, height, width = self.shape
        h = h[:, :, :height, :width].unflatten(1, (-1, self.shape[0]))
        images = h.movedim(1, -1).flatten(1, 3)
        return images + self.beside(z, c).unflatten(1, (-1, images.shape[2]))


def _halved(sizes: Sequence[int], times: int) -> list[int]:
    return [math.ceil(size / 2**times) for size in sizes]


@dataclass(frozen=True)
class Recurrent(_Grid):
    """Gated recurrent units, for rows that are sequences; steps may be missing.

    Perceptrons beside them each way see and write all cells at once: they learn fast, the
    recurrent layers say what they cannot. Long sequences of one feature train faster several steps
    at a time: 140 steps as `(28, 5)`.

    Half of the training rows hide the future after a random step, so that it can be imputed, as a
    forecast.

    Parameters
    ----------
    sequence_shape : (int, int)
        Steps and features per step. The first modelled columns of X are the sequence's, in this
        order (as `sequence.reshape(-1)` has them); further columns are modelled beside it.
    hidden_width : int, default=64
        Units of the recurrent layers, in each direction, and width of the dense layers.

    References
    ----------
    Cho et al. Learning Phrase Representations using RNN Encoder-Decoder. EMNLP 2014.
    """

    sequence_shape: tuple[int, int]
    hidden_width: int = 64

    cell: ClassVar[str] = "step's feature"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sequence_shape", _sizes("sequence_shape", self.sequence_shape, 2))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.sequence_shape

    def reader(self, width: int, blocks: Blocks) -> nn.Module:
        return _SequenceReader(self, width, blocks)

    def writer(self, n_in: int, width: int, blocks: Blocks) -> nn.Module:
        return _SequenceWriter(self, n_in, width, blocks)

    def visible_blocks(
        self, n_rows: int, n_columns: int, layout: Layout, generator: torch.Generator
    ) -> Tensor:
        steps, features = self.sequence_shape
        past = _pasts(n_rows, steps, generator)
        return self._on_grid(past.repeat_interleave(features, dim=1), n_columns, layout)


def _gru(n_in: int, width: int, generator: torch.Generator, *, both_ways: bool) -> nn.GRU:
    """Return a recurrent layer drawn from a generator (torch's own takes the global seed)."""
    with global_seed_kept():
        gru = nn.GRU(n_in, width, batch_first=True, bidirectional=both_ways)
    bound = 1 / math.sqrt(width)
    for parameter in gru.parameters():
        noise = torch.rand(parameter.shape, generator=generator)
        parameter.data.copy_(bound * (2 * noise - 1))
    return gru


class _SequenceReader(nn.Module):
    def __init__(self, about: Recurrent, width: int, blocks: Blocks) -> None:
        super().__init__()
        self.steps, features = about.sequence_shape
        self.gru = _gru(width * features, about.hidden_width, blocks.generator, both_ways=True)
        units = 4 * about.hidden_width
        self.condition = blocks.conditioner([units])
        self.n_out = units + width * features * self.steps

    def forward(self, cells: Tensor, c: Tensor) -> Tensor:
        sequence = cells.flatten(1).unflatten(1, (self.steps, -1))
        h, last = self.gru(sequence)
        summary = torch.cat([h.mean(dim=1), last.movedim(0, 1).flatten(1)], dim=1)
        return torch.cat([self.condition.modulate(0, summary, c), cells.flatten(1)], dim=1)


class _SequenceWriter(nn.Module):
    def __init__(self, about: Recurrent, n_in: int, width: int, blocks: Blocks) -> None:
        super().__init__()
        steps, features = about.sequence_shape
        units = about.hidden_width
        self.width, self.activation = width, blocks.activation
        self.step = nn.Parameter(torch.randn((steps, units), generator=blocks.generator))
        self.start = blocks.mlp(n_in, units)
        self.gru = _gru(units, units, blocks.generator, both_ways=True)
        self.condition = blocks.conditioner([2 * units])
        self.out = Linear(2 * units, features * width, blocks.generator, scale=0.0)
        self.beside = blocks.mlp(n_in, steps * features * width)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        sequence = self.step + self.start(z, c)[:, None, :]
        h, _ = self.gru(ACTIVATIONS[self.activation](sequence))
        h = self.condition.modulate(0, h.movedim(1, -1), c).movedim(-1, 1)
        cells = self.out(h).flatten(1) + self.beside(z, c)
        return cells.unflatten(1, (-1, self.width))


# --------------------------------------------------------------------------------------
# The user's own
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Custom(Backbone):
    """Networks of your own.

    Parameters
    ----------
    encoder_factory : callable
        Called as `encoder_factory(n_columns, width, n_condition, n_out)`, it returns a module whose
        `forward(cells, c)` takes cells of shape (n, n_columns, width) in the table's column order
        and conditions (n, n_condition), and returns (n, n_out). A cell is its value,
        standardised on its column's scale (`scales_`), or one number per level, zero where hidden;
        its last entry is 1 if it is shown, else 0.
    decoder_factory : callable
        Called as `decoder_factory(n_latents, n_condition, n_columns, n_outputs)`, it returns a
        module whose `forward(z, c)` takes (n, n_latents) and (n, n_condition) and returns
        (n, n_columns, n_outputs): the parameters of each column's likelihood, of which a column
        takes as many as it has, from the left.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cvae import ConditionalVAE
    >>> class Encoder(nn.Module):
    ...     def __init__(self, n_columns, width, n_condition, n_out):
    ...         super().__init__()
    ...         self.map = nn.Linear(n_columns * width + n_condition, n_out)
    ...     def forward(self, cells, c):
    ...         return self.map(torch.cat([cells.flatten(1), c], dim=1))
    >>> class Decoder(nn.Module):
    ...     def __init__(self, n_latents, n_condition, n_columns, n_outputs):
    ...         super().__init__()
    ...         self.n_columns = n_columns
    ...         self.map = nn.Linear(n_latents + n_condition, n_columns * n_outputs)
    ...     def forward(self, z, c):
    ...         return self.map(torch.cat([z, c], dim=1)).unflatten(1, (self.n_columns, -1))
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> model = ConditionalVAE(2, backbone=Custom(Encoder, Decoder), max_iter=2, random_state=0)
    >>> model.fit(X).transform(X).shape
    (100, 2)

    Notes
    -----
    Both are built under a seed drawn from `random_state`, and torch's own generator is put back
    afterwards. An estimator with a custom backbone is saved by joblib.
    """

    encoder_factory: Callable[[int, int, int, int], nn.Module]
    decoder_factory: Callable[[int, int, int, int], nn.Module]

    def encoder(self, layout: Layout, n_start: int, n_out: int, blocks: Blocks) -> nn.Module:
        inputs = _GridInputs(layout, list(range(len(layout.features))))
        sizes = len(layout.features), inputs.width, sum(blocks.token_widths), n_out
        return _OwnEncoder(inputs, _seeded(self.encoder_factory, sizes, blocks.generator))

    def decoder(self, layout: Layout, n_in: int, blocks: Blocks) -> nn.Module:
        outputs = _GridOutputs(layout, list(range(len(layout.outputs))))
        sizes = n_in, sum(blocks.token_widths), len(layout.outputs), outputs.width
        body = _seeded(self.decoder_factory, sizes, blocks.generator)
        return _GridDecoder(outputs, body, None)


class _OwnEncoder(nn.Module):
    def __init__(self, inputs: _GridInputs, body: nn.Module) -> None:
        super().__init__()
        self.inputs, self.body = inputs, body

    def forward(self, seen: Tensor, c: Tensor) -> Tensor:
        return self.body(self.inputs(seen)[0], c)


def _seeded(
    factory: Callable[..., nn.Module], sizes: tuple[int, ...], generator: torch.Generator
) -> nn.Module:
    """Build a module that draws from torch's global generator, and put that back."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with global_seed_kept(seed):
        return factory(*sizes)


def _sizes(name: str, sizes: Any, length: int | None) -> tuple[int, ...]:
    """Return sizes as a tuple of positive integers; refuse others."""
    whole = tuple(int(size) for size in sizes)
    if min(whole, default=0) < 1 or (length and len(whole) != length):
        wanted = f"{length} integers" if length else "integers"
        raise ValueError(f"{name} takes {wanted} of at least 1, got {sizes!r}.")
    return whole


BACKBONES: dict[str, type[Backbone]] = {
    "mlp": MLP,
    "convolutional": Convolutional,
    "recurrent": Recurrent,
    "custom": Custom,
}
