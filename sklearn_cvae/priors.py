"""Priors p(z | c), and the distributions of latent vectors they are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from sklearn_cvae.likelihoods import LOG_2PI
from sklearn_cvae.networks import Linear

N_EM_STEPS = 30
CHUNK = 1024
VARIANCE_FLOOR, PART = 1e-4, 0.05
LATENTS_PER_COMPONENT = 100
NEVER = -30.0
N_WEIGHT_STEPS, WEIGHTS_RATE = 300, 0.05


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
        return self.shift + self.log_weight.exp() @ self.loc

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
        quadratic = z @ (self.loc * precision).T - 0.5 * (z * z) @ precision.T
        return self.log_weight + constant + quadratic

    def shares(self, value: Tensor) -> Tensor:
        """Return the probability of each component given a value, of shape (n, K)."""
        return self.log_parts(value).softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_parts(value).logsumexp(-1)


class Prior(nn.Module):
    """Base of the priors: `forward` takes conditions (n, n_condition) and returns p(z | c)."""

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

    def forward(self, c: Tensor) -> Distribution:
        zeros = c.new_zeros((len(c), self.n_components))
        return DiagonalNormal(zeros, zeros)


class GaussianPrior(Prior):
    """One learned Gaussian, linear in the condition (Sohn, Lee, Yan, NeurIPS 2015)."""

    def __init__(self, n_components: int, n_condition: int, generator: torch.Generator) -> None:
        super().__init__()
        self.net = Linear(n_condition, 2 * n_components, generator, scale=0.0)

    def forward(self, c: Tensor) -> Distribution:
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

    n_mixture = 500

    def __init__(self, n_components: int, n_condition: int, generator: torch.Generator) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.randn((self.n_mixture, n_components), generator=generator))
        self.log_scale = nn.Parameter(torch.zeros((self.n_mixture, n_components)))
        self.net = Linear(n_condition, self.n_mixture + n_components, generator, scale=0.0)

    def forward(self, c: Tensor) -> NormalMixture:
        logits, shift = self.net(c).split([self.n_mixture, self.loc.shape[1]], dim=1)
        return NormalMixture(logits.log_softmax(-1), shift, self.loc, self.log_scale.clamp(-4, 2))

    @torch.no_grad()
    def refit(self, z: Tensor, c: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Fit the Gaussians by expectation-maximisation, then the weights' dependence on c."""
        k = min(self.n_mixture, max(1, len(z) // LATENTS_PER_COMPONENT))
        log_weight, loc, variance = fit_mixture(z - self(c).shift, weight, k, generator)
        # In order along their main direction, so that even choices of components are even there.
        spread_out = (loc - loc.mean(dim=0)) * log_weight.exp().sqrt()[:, None]
        order = (loc @ torch.linalg.svd(spread_out, full_matrices=False)[2][0]).argsort()
        log_weight, loc, variance = log_weight[order], loc[order], variance[order]
        self.loc[:k] = loc
        self.log_scale[:k] = variance.log() / 2
        self.net.weight[: self.n_mixture] = 0
        self.net.bias[: self.n_mixture] = NEVER
        self.net.bias[:k] = log_weight
        if c.shape[1]:
            self._fit_weights(z, c, weight, generator)

    @torch.enable_grad()
    def _fit_weights(
        self, z: Tensor, c: Tensor, weight: Tensor, generator: torch.Generator
    ) -> None:
        """Maximise the likelihood over what depends on the condition, a batch at a time."""
        optimizer = torch.optim.Adam(self.net.parameters(), lr=WEIGHTS_RATE)
        for step in range(N_WEIGHT_STEPS):
            rows = torch.randint(len(z), (min(CHUNK, len(z)),), generator=generator).to(z.device)
            for group in optimizer.param_groups:
                group["lr"] = WEIGHTS_RATE * (1 - step / N_WEIGHT_STEPS)
            optimizer.zero_grad()
            loss = -(self(c[rows]).log_prob(z[rows]) * weight[rows]).sum()
            (loss / weight[rows].sum().clamp(min=1e-12)).backward()
            optimizer.step()


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
    start = _distant_rows(z, weight, n_mixture, generator)
    usual = z.var(dim=0).clamp(min=VARIANCE_FLOOR)
    shares: Callable[[Tensor], Tensor] = partial(_nearest, start)
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


def _nearest(loc: Tensor, z: Tensor) -> Tensor:
    """Return (n, K): 1 for the nearest of K points, else 0."""
    nearest = torch.cdist(z, loc).argmin(dim=1, keepdim=True)
    return z.new_zeros((len(z), len(loc))).scatter_(1, nearest, 1.0)


def _moments(
    z: Tensor, weight: Tensor, shares: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each component's summed mass (K,), z (K, d) and z^2 (K, d), a chunk at a time."""
    total: list[Tensor] = []
    for rows, w in zip(z.split(CHUNK), weight.split(CHUNK), strict=True):
        share = shares(rows) * w[:, None]
        part = [share.sum(dim=0), share.T @ rows, share.T @ rows.square()]
        total = [a + b for a, b in zip(total, part, strict=True)] if total else part
    return total[0], total[1], total[2]


def _distant_rows(z: Tensor, weight: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Choose k rows, each with a chance in proportion to its squared distance from those before."""
    chosen = [torch.multinomial(weight.cpu(), 1, generator=generator).to(z.device)]
    distance = torch.full_like(weight, torch.inf)
    for _ in range(k - 1):
        distance = torch.minimum(distance, (z - z[chosen[-1]]).square().sum(dim=1))
        odds = (distance * weight).clamp(min=1e-12).cpu()
        chosen.append(torch.multinomial(odds, 1, generator=generator).to(z.device))
    return z[torch.cat(chosen)]


PRIORS: dict[str, type[Prior]] = {
    "mixture": MixturePrior,
    "gaussian": GaussianPrior,
    "standard_normal": StandardNormalPrior,
}
