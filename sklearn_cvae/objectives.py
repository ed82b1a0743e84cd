r"""What is maximised: pure functions of tensors, and the choices of an objective.

Notation: `x` the modelled cells, `s` the visible ones among them, `c` the given conditions,
`z` the latent vector. One network gives :math:`q(z \mid x_s, c)` for any set of visible cells.
A row's objective is

.. math::
    E_{q(z \mid x, c)}[\log p(x \mid z, c)]
    - \beta \, KL(q(z \mid x, c) \,\|\, q(z \mid x_s, c)),

where `s` hides a random share of the observed cells, and where the second distribution of the
KL is the prior :math:`p(z \mid c)` for rows with everything hidden.

References
----------
Ivanov, Figurnov, Vetrov. Variational Autoencoder with Arbitrary Conditioning. ICLR 2019.
Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
Models. NeurIPS 2015.
Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. ICLR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ALL_HIDDEN_SHARE = 0.15


class Terms(NamedTuple):
    """What an objective is made of, for K draws of z from q(z | x, c).

    Parameters
    ----------
    log_likelihood : Tensor of shape (K, n)
        log p(x | z, c) of the cells to score.
    log_ratio : Tensor of shape (K, n)
        log q(z | x, c) - log p, where p is q(z | x_s, c), or the prior if everything is hidden.
    kl : Tensor of shape (n,)
        The ratio's expectation, exact where both are Gaussians.
    n_components : int
        Length of z.
    """

    log_likelihood: Tensor
    log_ratio: Tensor
    kl: Tensor
    n_components: int


@dataclass(frozen=True)
class ELBO:
    r"""The evidence lower bound, with a weight on the KL.

    .. math:: E_q[\log p(x \mid z, c)] - \beta_t \max(\lambda d, KL)

    Parameters
    ----------
    beta : float, default=1.0
        Weight of the KL. Above 1 latents are fewer and more independent (beta-VAE), below 1
        reconstructions are sharper and draws worse.
    warm_up : float in [0, 1], default=0.2
        Share of the training (of each cycle) over which the weight rises linearly from 0.
    n_cycles : int, default=1
        How often the weight starts from 0 again.
    free_bits : float, default=0.0
        :math:`\lambda`: nats per latent that cost nothing, against collapse. The batch's mean KL,
        summed over the `d` latents, is floored, since not all priors' KL is a sum over latents.
    hide : bool, default=True
        Whether training hides cells, as imputation needs. False compares every row with the prior:
        the VAE and CVAE of the papers, the better density of whole rows.

    References
    ----------
    Kingma, Welling. Auto-Encoding Variational Bayes. ICLR 2014.
    Higgins et al. beta-VAE. ICLR 2017. Bowman et al. Generating Sentences from a Continuous
    Space. CoNLL 2016 (warm-up). Fu et al. Cyclical Annealing Schedule. NAACL 2019.
    Kingma et al. Improved Variational Inference with Inverse Autoregressive Flow. NeurIPS 2016
    (free bits, there for groups of latents).

    Examples
    --------
    >>> ELBO(warm_up=0.5).weight(0.25), ELBO(warm_up=0.5, n_cycles=2).weight(0.625)
    (0.5, 0.5)
    """

    beta: float = 1.0
    warm_up: float = 0.2
    n_cycles: int = 1
    free_bits: float = 0.0
    hide: bool = True

    n_draws = 1
    draws_from_prior = False

    def __post_init__(self) -> None:
        if self.beta < 0 or not 0 <= self.warm_up <= 1 or self.n_cycles < 1 or self.free_bits < 0:
            raise ValueError(
                f"{self} cannot be: beta and free_bits are at least 0, warm_up is in [0, 1], "
                "n_cycles at least 1."
            )

    @property
    def all_hidden_share(self) -> float:
        """Share of the training rows that hide everything, and are compared with the prior."""
        return ALL_HIDDEN_SHARE if self.hide else 1.0

    def weight(self, progress: float) -> float:
        """Return the KL's weight after `progress` (0..1) of the training."""
        in_cycle = 1.0 if progress >= 1 else (progress * self.n_cycles) % 1
        return self.beta * (min(1.0, in_cycle / self.warm_up) if self.warm_up > 0 else 1.0)

    def loss(self, terms: Terms, beta: float) -> Tensor:
        """Return each row's loss, of shape (n,)."""
        kl = terms.kl
        if self.free_bits > 0:
            floor = self.free_bits * terms.n_components
            kl = torch.where(kl.mean() > floor, kl, floor)
        return beta * kl - terms.log_likelihood.mean(dim=0)


@dataclass(frozen=True)
class IWAE(ELBO):
    r"""The importance-weighted bound of K draws, tighter than the ELBO.

    .. math::
        E\left[\log \frac1K \sum_k p(x \mid z_k, c) \, (p(z_k) / q(z_k))^\beta\right]

    Parameters
    ----------
    n_samples : int, default=5
        K; training costs about K decoders.
    beta, warm_up, n_cycles, free_bits, hide
        As in `ELBO`; free_bits must be 0.

    References
    ----------
    Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. ICLR 2016.
    """

    n_samples: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_samples < 1 or self.free_bits:
            raise ValueError(f"{self} cannot be: n_samples is at least 1, and free_bits 0.")

    @property
    def n_draws(self) -> int:  # type: ignore[override]
        return self.n_samples

    def loss(self, terms: Terms, beta: float) -> Tensor:
        log_w = terms.log_likelihood - beta * terms.log_ratio
        return float(np.log(len(log_w))) - log_w.logsumexp(dim=0)


@dataclass(frozen=True)
class Hybrid(ELBO):
    r"""The ELBO mixed with the Gaussian stochastic network: training draws as prediction does.

    .. math:: \alpha \, ELBO + (1 - \alpha) \, E_{p(z \mid x_s, c)}[\log p(x \mid z, c)]

    Parameters
    ----------
    alpha : float in [0, 1], default=0.5
        Share of the ELBO.
    beta, warm_up, n_cycles, free_bits, hide
        As in `ELBO`.

    References
    ----------
    Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
    Models. NeurIPS 2015 (equation 6).
    """

    alpha: float = 0.5

    draws_from_prior = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"{self} cannot be: alpha is in [0, 1].")

    def loss(self, terms: Terms, beta: float) -> Tensor:
        """The second draw's likelihood, of z from p(z | x_s, c), is the last of the terms'."""
        own = terms._replace(log_likelihood=terms.log_likelihood[:1])
        predicted = terms.log_likelihood[1]
        return self.alpha * super().loss(own, beta) - (1 - self.alpha) * predicted


def hide_cells(
    observed: Tensor,
    generator: torch.Generator,
    all_hidden_share: float,
    blocks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw which of the observed cells stay visible.

    Each row hides a share of its cells that is uniform on (0, 1); a share `all_hidden_share` of
    the rows hides everything.

    Parameters
    ----------
    observed : Tensor of shape (n, d), bool
    generator : torch.Generator
    all_hidden_share : float
    blocks : Tensor of shape (n, d), bool, or None
        What half of the rows leave visible instead, if the cells have a place in space or time.

    Returns
    -------
    visible : Tensor of shape (n, d), bool
    all_hidden : Tensor of shape (n,), bool
    """
    n, d = observed.shape
    noise = torch.rand((n, d + 2), generator=generator, device=observed.device)
    all_hidden = noise[:, -1] < all_hidden_share
    visible = noise[:, :d] > noise[:, d : d + 1]
    if blocks is not None:
        coin = torch.rand((n, 1), generator=generator, device=observed.device)
        visible = torch.where(coin < 0.5, blocks, visible)
    return observed & visible & ~all_hidden[:, None], all_hidden


def drop_conditions(given: Tensor, generator: torch.Generator, rate: float) -> Tensor:
    """Make conditions unknown: half of `rate` drops a row's all, half each with probability 1/2.

    Parameters
    ----------
    given : Tensor of shape (n, d), bool
    generator : torch.Generator
    rate : float

    Returns
    -------
    given : Tensor of shape (n, d), bool
    """
    n, d = given.shape
    noise = torch.rand((n, d + 1), generator=generator, device=given.device)
    row = noise[:, -1:]
    dropped = (row < rate / 2) | ((row < rate) & (noise[:, :d] < 0.5))
    return given & ~dropped


def gaussian_kl(loc0: Tensor, log_scale0: Tensor, loc1: Tensor, log_scale1: Tensor) -> Tensor:
    r"""Return :math:`KL(N_0 \| N_1)` of diagonal Gaussians, summed over the last axis.

    Examples
    --------
    >>> zero = torch.zeros(1, 2)
    >>> gaussian_kl(zero, zero, zero + 1, zero)
    tensor([1.])
    """
    ratio = torch.exp(2 * (log_scale0 - log_scale1))
    distance = ((loc0 - loc1) * torch.exp(-log_scale1)) ** 2
    return (log_scale1 - log_scale0 + 0.5 * (ratio + distance - 1)).sum(-1)


def log_weights(log_likelihood: Tensor, log_prior: Tensor, log_proposal: Tensor) -> Tensor:
    r"""Return :math:`\log p(x_s \mid z, c) + \log p(z \mid c) - \log q(z)`.

    Its mean over draws of `q` is the ELBO, the log of the mean of its exponential is the
    importance-sampled log-marginal, and its exponential weighs draws for imputation.
    """
    return log_likelihood + log_prior - log_proposal


OBJECTIVES: dict[str, type[ELBO]] = {"elbo": ELBO, "iwae": IWAE, "hybrid": Hybrid}
