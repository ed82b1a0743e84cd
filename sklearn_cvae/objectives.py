r"""What is maximised: pure functions of tensors.

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

import torch
from torch import Tensor


def hide_cells(
    observed: Tensor, generator: torch.Generator, all_hidden_share: float
) -> tuple[Tensor, Tensor]:
    """Draw which of the observed cells stay visible.

    Each row hides a share of its cells that is uniform on (0, 1); a share `all_hidden_share` of
    the rows hides everything.

    Parameters
    ----------
    observed : Tensor of shape (n, d), bool
    generator : torch.Generator
    all_hidden_share : float

    Returns
    -------
    visible : Tensor of shape (n, d), bool
    all_hidden : Tensor of shape (n,), bool
    """
    n, d = observed.shape
    noise = torch.rand((n, d + 2), generator=generator, device=observed.device)
    all_hidden = noise[:, -1] < all_hidden_share
    visible = observed & (noise[:, :d] > noise[:, d : d + 1]) & ~all_hidden[:, None]
    return visible, all_hidden


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


def negative_bound(log_likelihood: Tensor, kl: Tensor, beta: float) -> Tensor:
    """Return each row's loss: the negative of the objective at the head of this module."""
    return beta * kl - log_likelihood


def warm_up(step: int, n_steps: int, share: float) -> float:
    """Return the KL's weight: rising linearly to 1 over the first `share` of the steps.

    Examples
    --------
    >>> warm_up(5, 100, 0.1), warm_up(50, 100, 0.1)
    (0.5, 1.0)
    """
    return min(1.0, step / (share * n_steps)) if share > 0 else 1.0
