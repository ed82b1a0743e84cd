"""Priors p(z | c), and the distributions of latent vectors they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from sklearn_cvae.kinds import LOG_2PI
from sklearn_cvae.networks import Linear, global_seed_kept, rounded_alike

N_EM_STEPS = 30
CHUNK = 1024
VARIANCE_FLOOR, PART = 1e-4, 0.05
LATENTS_PER_COMPONENT = 100
CONDITION_UNIT = 0.1
NEVER = -30.0
N_WEIGHT_STEPS, WEIGHTS_RATE = 300, 0.05
N_FLOW_STEPS, FLOW_RATE = 500, 4e-3
# More passes over few latents learn them by heart.
N_PASSES = 20
N_MEAN_DRAWS = 32


class DiagonalNormal(Distribution):
    r""":math:`N(\mu, \mathrm{diag}(\sigma^2))` over vectors, drawn from noise that is passed in.

    Parameters
    ----------
    loc, log_scale : Tensor of shape (n, n_components)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    def draw(self, noise: Tensor, choice: Tensor | None = None) -> Tensor:
        """Map standard normal noise to draws; `choice` is there for mixtures and unused."""
        return self.loc + self.log_scale.exp() * noise

    def widened(self, factor: float | Tensor) -> DiagonalNormal:
        """Return the same normal with its standard deviations multiplied."""
        log_factor = torch.as_tensor(factor, device=self.loc.device).log()
        return DiagonalNormal(self.loc, self.log_scale + log_factor)

    def halves(self) -> tuple[DiagonalNormal, DiagonalNormal]:
        """Return the distributions of the first and of the second half of the rows."""
        first, second = map(DiagonalNormal, self.loc.chunk(2), self.log_scale.chunk(2))
        return first, second

    def log_prob(self, value: Tensor) -> Tensor:
        standardised = (value - self.loc) * torch.exp(-self.log_scale)
        return -(0.5 * (standardised**2 + LOG_2PI) + self.log_scale).sum(-1)


class NormalMixture(Distribution):
    r"""A mixture of K diagonal normals whose weights, and joint shift, differ by row.

    .. math:: p(z) = \sum_k w_k N(z - s \mid m_k, \mathrm{diag}(\sigma_k^2))

    Parameters
    ----------
    log_weight : Tensor of shape (n, K)
    shift : Tensor of shape (n, n_components)
    loc, log_scale : Tensor of shape (K, n_components)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, log_weight: Tensor, shift: Tensor, loc: Tensor, log_scale: Tensor) -> None:
        self.log_weight, self.shift, self.loc, self.log_scale = log_weight, shift, loc, log_scale
        super().__init__(shift.shape[:-1], shift.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.shift + rounded_alike(self.log_weight.exp(), self.loc.T)

    def draw(self, noise: Tensor, choice: Tensor) -> Tensor:
        """Map standard normal noise, and uniforms that choose the component, to draws."""
        cumulated = self.log_weight.exp().cumsum(-1)
        k = torch.searchsorted(cumulated, (choice[:, None] * cumulated[:, -1:]))[:, 0]
        k = k.clamp(max=len(self.loc) - 1)
        return self.shift + self.loc[k] + self.log_scale[k].exp() * noise

    def widened(self, factor: float) -> NormalMixture:
        """Return the same mixture with its parts' standard deviations multiplied."""
        wider = self.log_scale + float(np.log(factor))
        return NormalMixture(self.log_weight, self.shift, self.loc, wider)

    def log_parts(self, value: Tensor) -> Tensor:
        """Return each component's log weight plus log density, of shape (n, K).

        The squares are expanded so that one product serves all K.
        """
        z = value - self.shift
        precision = torch.exp(-2 * self.log_scale)
        constant = -(self.log_scale + 0.5 * (LOG_2PI + self.loc**2 * precision)).sum(-1)
        slopes = torch.cat([self.loc * precision, -0.5 * precision], dim=1)
        powers = torch.cat([z, z * z], dim=-1)
        if torch.is_grad_enabled():
            return self.log_weight + F.linear(powers, slopes, constant)
        # Answers are not to depend on other rows, and mixtures of few rows have few components.
        return self.log_weight + rounded_alike(powers, slopes) + constant

    def shares(self, value: Tensor) -> Tensor:
        """Return the probability of each component given a value, of shape (n, K)."""
        return self.log_parts(value).softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_parts(value).logsumexp(-1)


Encode = Callable[[list[Tensor]], DiagonalNormal]


class Prior(nn.Module):
    """Base of the priors.

    `forward(c, encode)` takes conditions (n, n_condition), and the posterior network as a function
    of whole rows' inputs under unknown conditions, and returns p(z | c): a distribution with
    `log_prob(value)`, `mean`, `draw(noise, choice)` and `widened(factor)`.
    """

    def start(self, inputs: list[Tensor], generator: torch.Generator) -> None:
        """Look at some rows' network inputs before training; most priors need not."""

    def refit(self, z: Tensor, c: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Fit anew to latents of the training rows; a prior that training fits well does nothing.

        Parameters
        ----------
        z : Tensor of shape (n, n_components)
        c : Tensor of shape (n, n_condition)
        weight : Tensor of shape (n,)
        generator : torch.Generator
        """


class StandardNormalPrior(Prior):
    """N(0, I), whatever the condition: the classic VAE and CVAE."""

    def __init__(self, n_components: int, n_condition: int, generator: torch.Generator) -> None:
        super().__init__()
        self.n_components = n_components

    def forward(self, c: Tensor, encode: Encode) -> Distribution:
        zeros = c.new_zeros((len(c), self.n_components))
        return DiagonalNormal(zeros, zeros)


class GaussianPrior(Prior):
    """One learned Gaussian, linear in the condition (Sohn, Lee, Yan, NeurIPS 2015)."""

    def __init__(self, n_components: int, n_condition: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = Linear(n_condition, 2 * n_components, generator, scale=0.0)

    def forward(self, c: Tensor, encode: Encode) -> Distribution:
        loc, log_scale = self.net(c).chunk(2, dim=1)
        return DiagonalNormal(loc, log_scale.clamp(-4, 2))


class MixturePrior(Prior):
    """Learned Gaussians; the condition sets their weights and shifts them together.

    It is learned with the networks, so that they know it, and once more when they no longer move:
    gradient steps leave a mixture of many components loose around the latents, and what is drawn
    between them decodes to rows that cannot be.

    References
    ----------
    Tomczak, Welling. VAE with a VampPrior. AISTATS 2018 (its mixture-of-Gaussians baseline,
    with condition-dependent weights added).
    """

    def __init__(
        self, n_components: int, n_condition: int, generator: torch.Generator, n_mixture: int
    ) -> None:
        super().__init__()
        self.n_mixture = n_mixture
        self.loc = nn.Parameter(torch.randn((self.n_mixture, n_components), generator=generator))
        self.log_scale = nn.Parameter(torch.zeros((self.n_mixture, n_components)))
        self.net = Linear(n_condition, self.n_mixture + n_components, generator, scale=0.0)

    def forward(self, c: Tensor, encode: Encode) -> NormalMixture:
        return self.given(c)

    def given(self, c: Tensor, n_first: int | None = None) -> NormalMixture:
        """Return p(z | c), or what it would be of its first components alone."""
        # Without conditions all rows are alike, and one is worked out for them.
        rows = c if c.shape[1] else c[:1]
        logits, shift = self.net(rows).split([self.n_mixture, self.loc.shape[1]], dim=1)
        log_weight = logits[:, :n_first].log_softmax(-1).expand(len(c), -1)
        shift = shift.expand(len(c), -1)
        loc, log_scale = self.loc[:n_first], self.log_scale[:n_first].clamp(-4, 2)
        return NormalMixture(log_weight, shift, loc, log_scale)

    @torch.no_grad()
    def refit(self, z: Tensor, c: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Fit Gaussians of latents and conditions together, then the weights' dependence on c."""
        k = min(self.n_mixture, most_parts(len(z)))
        style = z - self.given(c).shift
        # Conditions count a little in what is alike, so that few components mix differing ones.
        unit = CONDITION_UNIT * style.var(dim=0).mean().sqrt()
        both = torch.cat([style, unit * c], dim=1)
        log_weight, loc, variance = fit_mixture(both, weight, k, generator)
        loc, at = loc.tensor_split([z.shape[1]], dim=1)
        variance, around = variance.tensor_split([z.shape[1]], dim=1)
        # In order along their main direction, so that even choices of components are even there.
        spread_out = (loc - loc.mean(dim=0)) * log_weight.exp().sqrt()[:, None]
        order = (loc @ torch.linalg.svd(spread_out, full_matrices=False)[2][0]).argsort()
        self.loc[:k] = loc[order]
        self.log_scale[:k] = variance[order].log() / 2
        slope, level = _discriminant(log_weight, at, around)
        self.net.weight[: self.n_mixture] = 0
        self.net.weight[:k] = unit * slope[order]
        self.net.bias[: self.n_mixture] = NEVER
        self.net.bias[:k] = level[order]
        if c.shape[1]:
            parameters = self.net.parameters()
            latents = z, c, weight
            part = partial(self.given, n_first=k)
            _maximise(part, parameters, latents, generator, N_WEIGHT_STEPS, WEIGHTS_RATE)


def _discriminant(log_weight: Tensor, loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return (K, w) slopes and (K,) levels of :math:`\log p(k \mid c)`, up to what all k share.

    A linear discriminant analysis; the total variance is added to that within components, since
    the inputs of one condition column are not independent.

    Parameters
    ----------
    log_weight : Tensor of shape (K,)
    loc, variance : Tensor of shape (K, w)
        Of each component's conditions.
    """
    share = log_weight.exp()[:, None]
    mean = (share * loc).sum(dim=0)
    within = (share * variance).sum(dim=0)
    between = (share * (loc - mean).square()).sum(dim=0)
    precision = 1 / (2 * within + between)
    level = log_weight - 0.5 * ((loc.square() - mean.square()) * precision).sum(dim=1)
    return (loc - mean) * precision, level


def fit_mixture(
    z: Tensor, weight: Tensor, n_mixture: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a mixture of diagonal normals by expectation-maximisation.

    Parameters
    ----------
    z : Tensor of shape (n, d)
    weight : Tensor of shape (n,)
    n_mixture : int
    generator : torch.Generator
        Draws the rows that the components start from, far from each other (k-means++).

    Returns
    -------
    log_weight : Tensor of shape (n_mixture,)
    loc, variance : Tensor of shape (n_mixture, d)
    """
    start = distant_rows(z, weight, n_mixture, generator)
    usual = z.var(dim=0).clamp(min=VARIANCE_FLOOR)
    shares: Callable[[Tensor], Tensor] = partial(nearest, start)
    for _ in range(N_EM_STEPS):
        mass, first, second = _moments(z, weight, shares)
        mass = mass + 1e-9
        loc = first / mass[:, None]
        square = (second / mass[:, None] - loc.square()).clamp(min=0)
        # A part of one row's worth of the usual spread keeps rare components from collapsing.
        variance = (square * mass[:, None] + PART * usual) / (mass[:, None] + PART)
        variance = variance.clamp(min=VARIANCE_FLOOR)
        log_weight = (mass / mass.sum()).log()
        mixture = NormalMixture(log_weight, torch.zeros_like(z[:1]), loc, variance.log() / 2)
        shares = mixture.shares
    return log_weight, loc, variance


def nearest(loc: Tensor, z: Tensor) -> Tensor:
    """Return (n, K): 1 for the nearest of K points, else 0."""
    nearest = torch.cdist(z, loc).argmin(dim=1, keepdim=True)
    return z.new_zeros((len(z), len(loc))).scatter_(1, nearest, 1.0)


def _moments(
    z: Tensor, weight: Tensor, shares: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each component's summed mass (K,), z (K, d) and z^2 (K, d), a chunk at a time."""
    total = z.new_zeros(())
    for rows, w in zip(z.split(CHUNK), weight.split(CHUNK), strict=True):
        powers = torch.cat([torch.ones_like(rows[:, :1]), rows, rows.square()], dim=1)
        total = total + shares(rows).T @ (powers * w[:, None])
    mass, first, second = total.split([1, z.shape[1], z.shape[1]], dim=1)
    return mass[:, 0], first, second


def distant_rows(z: Tensor, weight: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Choose k rows, each with a chance in proportion to its squared distance from those before."""
    # One tensor: small ones kept between large temporaries would keep the heap from using it again.
    chosen = torch.empty(k, dtype=torch.long, device=z.device)
    odds, distance = weight.cpu(), torch.full_like(weight, torch.inf)
    centred = z - z.mean(dim=0)
    square = centred.square().sum(dim=1)
    for i in range(k):
        chosen[i] = torch.multinomial(odds, 1, generator=generator)[0]
        to_chosen = square - 2 * (centred @ centred[chosen[i]]) + square[chosen[i]]
        distance = torch.minimum(distance, to_chosen)
        odds = (distance * weight).clamp(min=1e-12).cpu()
    return z[chosen]


class VampPriorNet(Prior):
    """A mixture of the posteriors of pseudo-rows; the condition sets weights and a joint shift."""

    def __init__(
        self, n_components: int, n_condition: int, generator: torch.Generator, n_pseudo: int
    ) -> None:
        super().__init__()
        self.n_pseudo, self.n_components = n_pseudo, n_components
        self.pseudo = nn.ParameterList()
        self.net = Linear(n_condition, n_pseudo + n_components, generator, scale=0.0)

    def start(self, inputs: list[Tensor], generator: torch.Generator) -> None:
        """Start from pseudo-rows that are training rows."""
        rows = torch.randint(len(inputs[0]), (self.n_pseudo,), generator=generator)
        self.pseudo = nn.ParameterList(nn.Parameter(part[rows].clone()) for part in inputs)

    def forward(self, c: Tensor, encode: Encode) -> NormalMixture:
        posterior = encode(list(self.pseudo))
        logits, shift = self.net(c).split([self.n_pseudo, self.n_components], dim=1)
        return NormalMixture(logits.log_softmax(-1), shift, posterior.loc, posterior.log_scale)


class FlowDistribution(Distribution):
    """Standard normal noise through a learned invertible map.

    Parameters
    ----------
    flow : zuko.distributions.NormalizingFlow
        Its transform maps z to noise.
    scale : float, default=1.0
        Standard deviation of the noise.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, flow: Any, scale: float = 1.0) -> None:
        self.flow, self.scale = flow, scale
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of a few even draws, the same for all rows."""
        shape = (*self.batch_shape, *self.event_shape)
        even = torch.quasirandom.SobolEngine(shape[-1]).draw(N_MEAN_DRAWS + 1)[1:]
        noise = torch.special.ndtri(even).to(self.flow.base.base_dist.loc.device)
        return torch.stack([self.draw(row.expand(shape)) for row in noise]).mean(dim=0)

    def draw(self, noise: Tensor, choice: Tensor | None = None) -> Tensor:
        """Map standard normal noise to draws; `choice` is there for mixtures and unused."""
        drawn: Tensor = self.flow.transform.inv(self.scale * noise)
        return drawn

    def widened(self, factor: float) -> FlowDistribution:
        """Return the same flow of wider noise."""
        return FlowDistribution(self.flow, self.scale * float(factor))

    def log_prob(self, value: Tensor) -> Tensor:
        noise, log_volume = self.flow.transform.call_and_ladj(value)
        standard = DiagonalNormal(torch.zeros_like(noise), torch.zeros_like(noise))
        return standard.widened(self.scale).log_prob(noise) + log_volume


class FlowNet(Prior):
    """Coupling splines between latents and noise, which see the condition."""

    def __init__(
        self,
        n_components: int,
        n_condition: int,
        generator: torch.Generator,
        *,
        n_transforms: int,
        n_bins: int,
        hidden_layer_sizes: Sequence[int],
    ) -> None:
        super().__init__()
        # One more input than conditions, always zero: zuko takes one latent with context only.
        with global_seed_kept():
            self.flow = _zuko().flows.NSF(
                n_components,
                n_condition + 1,
                bins=n_bins,
                transforms=n_transforms,
                hidden_features=hidden_layer_sizes,
                passes=2,
            )
        for name, parameter in self.flow.named_parameters():
            noise = 2 * torch.rand(parameter.shape, generator=generator) - 1
            bound = 0.0 if name.endswith("bias") else 1 / parameter.shape[-1] ** 0.5
            parameter.data.copy_(bound * noise)

    def forward(self, c: Tensor, encode: Encode) -> FlowDistribution:
        return self.given(c)

    def given(self, c: Tensor) -> FlowDistribution:
        return FlowDistribution(self.flow(F.pad(c, (0, 1))))

    def refit(self, z: Tensor, c: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Maximise the likelihood of latents that no longer move."""
        latents = z, c, weight
        _maximise(self.given, self.parameters(), latents, generator, N_FLOW_STEPS, FLOW_RATE)


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError('prior="flow" needs zuko: pip install "sklearn_cvae[flow]".') from error
    return zuko


@torch.enable_grad()
def _maximise(
    prior: Callable[[Tensor], Any],
    parameters: Iterable[nn.Parameter],
    latents: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator,
    n_steps: int,
    rate: float,
) -> None:
    """Maximise a prior's likelihood of (z, c, weight) by Adam, a batch at a time.

    It takes `n_steps`, or fewer: at most `N_PASSES` passes over the latents.
    """
    z, c, weight = latents
    n_steps = min(n_steps, -(-N_PASSES * len(z) // CHUNK))
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for step in range(n_steps):
        rows = torch.randint(len(z), (min(CHUNK, len(z)),), generator=generator).to(z.device)
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / n_steps)
        optimizer.zero_grad()
        loss = -(prior(c[rows]).log_prob(z[rows]) * weight[rows]).sum()
        (loss / weight[rows].sum().clamp(min=1e-12)).backward()
        optimizer.step()


# --------------------------------------------------------------------------------------
# The choices
# --------------------------------------------------------------------------------------


def most_parts(n_latents: int) -> int:
    """Return how many Gaussians so many latent vectors can tell apart.

    Examples
    --------
    >>> most_parts(4_200), most_parts(10)
    (42, 1)
    """
    return max(1, n_latents // LATENTS_PER_COMPONENT)


class _Choice:
    """Base of what a user may choose as a prior."""

    def at_most(self, n_parts: int) -> Self:
        """Return the prior of no more parts than so many; most have one."""
        return self


@dataclass(frozen=True)
class StandardNormal(_Choice):
    r"""The standard normal of the classic VAE and CVAE, whatever the condition.

    .. math:: p(z \mid c) = N(0, I)

    References
    ----------
    Kingma, Welling. Auto-Encoding Variational Bayes. ICLR 2014.
    """

    def build(self, n_components: int, n_condition: int, generator: torch.Generator) -> Prior:
        """Return the network of this prior."""
        return StandardNormalPrior(n_components, n_condition, generator)


@dataclass(frozen=True)
class Gaussian(_Choice):
    r"""A Gaussian whose mean and scale are learned, and linear in the condition.

    .. math:: p(z \mid c) = N(W c + b, \mathrm{diag}\exp(2 (V c + a)))

    References
    ----------
    Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
    Models. NeurIPS 2015.
    """

    def build(self, n_components: int, n_condition: int, generator: torch.Generator) -> Prior:
        """Return the network of this prior."""
        return GaussianPrior(n_components, n_condition, generator)


@dataclass(frozen=True)
class Mixture(_Choice):
    r"""A mixture of Gaussians; the condition sets the weights and shifts all of them.

    .. math:: p(z \mid c) = \sum_k w_k(c) \, N(s(c) + m_k, \mathrm{diag}(\sigma_k^2))

    Parameters
    ----------
    n_mixture : int, default=500
        Gaussians, as far as there are 100 latent draws for each: three draws a row, up to 50,000.

    References
    ----------
    Tomczak, Welling. VAE with a VampPrior. AISTATS 2018 (its mixture-of-Gaussians baseline).
    """

    n_mixture: int = 500

    def __post_init__(self) -> None:
        _check_positive(self, self.n_mixture)

    def at_most(self, n_parts: int) -> Self:
        return replace(self, n_mixture=min(self.n_mixture, n_parts))

    def build(self, n_components: int, n_condition: int, generator: torch.Generator) -> Prior:
        """Return the network of this prior."""
        return MixturePrior(n_components, n_condition, generator, self.n_mixture)


@dataclass(frozen=True)
class VampPrior(_Choice):
    r"""A mixture of the posteriors of learned pseudo-rows `u_k`.

    .. math:: p(z \mid c) = \sum_k w_k(c) \, q(z - s(c) \mid u_k)

    The pseudo-rows start as training rows and are encoded under unknown conditions; what the
    condition does is learned on top, as in `Mixture`.

    Parameters
    ----------
    n_pseudo : int, default=200

    References
    ----------
    Tomczak, Welling. VAE with a VampPrior. AISTATS 2018. Departure: weights are learned.
    """

    n_pseudo: int = 200

    def __post_init__(self) -> None:
        _check_positive(self, self.n_pseudo)

    def build(self, n_components: int, n_condition: int, generator: torch.Generator) -> Prior:
        """Return the network of this prior."""
        return VampPriorNet(n_components, n_condition, generator, self.n_pseudo)


@dataclass(frozen=True)
class NormalizingFlow(_Choice):
    r"""A normalising flow: an invertible map `f`, given the condition, from latents to noise.

    .. math:: p(z \mid c) = N(f(z; c) \mid 0, I) \, |\det \partial f / \partial z|

    Needs zuko: `pip install "sklearn_cvae[flow]"`.

    Parameters
    ----------
    n_transforms : int, default=4
        Coupling layers.
    n_bins : int, default=8
        Pieces of each rational-quadratic spline.
    hidden_layer_sizes : sequence of int, default=(64, 64)
        Of the networks that set the splines.

    References
    ----------
    Durkan, Bekasov, Murray, Papamakarios. Neural Spline Flows. NeurIPS 2019.
    """

    n_transforms: int = 4
    n_bins: int = 8
    hidden_layer_sizes: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_layer_sizes", tuple(self.hidden_layer_sizes))
        _check_positive(self, self.n_transforms, self.n_bins, *self.hidden_layer_sizes)

    def build(self, n_components: int, n_condition: int, generator: torch.Generator) -> Prior:
        """Return the network of this prior.

        Raises
        ------
        ImportError
            If zuko is not installed.
        """
        return FlowNet(n_components, n_condition, generator, **asdict(self))


def _check_positive(choice: object, *sizes: int) -> None:
    if any(size < 1 for size in sizes):
        raise ValueError(f"{choice} cannot be: its sizes are at least 1.")


PriorChoice = StandardNormal | Gaussian | Mixture | VampPrior | NormalizingFlow

PRIORS: dict[str, type[PriorChoice]] = {
    "mixture": Mixture,
    "gaussian": Gaussian,
    "standard_normal": StandardNormal,
    "vamp": VampPrior,
    "flow": NormalizingFlow,
}
