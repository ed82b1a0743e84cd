"""MIWAE at its authors' sizes (Mattei & Frellsen, ICML 2019), for numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.distributions import Normal, StudentT
from torch.nn.functional import softplus

Array = NDArray[np.float64]


class MIWAE:
    """An importance-weighted autoencoder of tables with missing cells.

    As in the authors' notebook on breast cancer: missing cells are zero to the encoder, two hidden
    layers of 128 on either side with tanh, 10 latents, 20 importance samples, Student's t for
    each cell, Adam at 0.001, batches of 64, 602 epochs (but at most 18,000 steps), 1,000 samples
    per row to impute from.

    Parameters
    ----------
    random_state : int
    n_epochs, n_steps : int
        Whichever ends first.
    n_samples : int
        Importance samples per row to impute from.
    """

    def __init__(
        self,
        random_state: int,
        n_epochs: int = 602,
        n_steps: int = 18_000,
        n_samples: int = 1000,
    ) -> None:
        self.random_state, self.n_samples = random_state, n_samples
        self.n_epochs, self.n_steps = n_epochs, n_steps
        self.n_hidden, self.n_latents, self.n_train_samples, self.batch_size = 128, 10, 20, 64

    def fit(self, X: Array) -> MIWAE:
        """Train on standardised numbers, NaN where missing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.encoder = self._network(X.shape[1], 2 * self.n_latents)
            self.decoder = self._network(self.n_latents, 3 * X.shape[1])
            self._train(torch.tensor(X, dtype=torch.float32))
        return self

    def impute(self, X: Array, n_draws: int = 0) -> tuple[Array, Array]:
        """Return X completed by means, and draws of shape (n_draws, n_samples, n_features)."""
        chunks = torch.tensor(X, dtype=torch.float32).split(50)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.random_state)
            parts = [self._impute(chunk, n_draws) for chunk in chunks]
        means = np.concatenate([mean for mean, _ in parts])
        draws = np.concatenate([drawn for _, drawn in parts], axis=1)
        return np.where(np.isnan(X), means, X), np.where(np.isnan(X), draws, X)

    def _network(self, n_in: int, n_out: int) -> nn.Sequential:
        linear = [
            nn.Linear(n_in, self.n_hidden),
            nn.Linear(self.n_hidden, self.n_hidden),
            nn.Linear(self.n_hidden, n_out),
        ]
        for layer in linear:
            nn.init.orthogonal_(layer.weight)
        return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2])

    def _train(self, X: torch.Tensor) -> None:
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=1e-3)
        n_batches = max(1, len(X) // self.batch_size)
        for _ in range(min(self.n_epochs, math.ceil(self.n_steps / n_batches))):
            for batch in X[torch.randperm(len(X))].tensor_split(n_batches):
                _, log_weights = self._weigh(batch, self.n_train_samples)
                loss = -log_weights.logsumexp(dim=0).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _weigh(self, X: torch.Tensor, n_samples: int) -> tuple[StudentT, torch.Tensor]:
        """Return the cells' distributions given latent samples, and log importance weights."""
        observed = ~X.isnan()
        loc, scale = self.encoder(X.nan_to_num()).chunk(2, dim=-1)
        posterior = Normal(loc, softplus(scale), validate_args=False)
        z = posterior.rsample((n_samples,))
        loc, scale, df = self.decoder(z).chunk(3, dim=-1)
        cells = StudentT(softplus(df) + 3, loc, softplus(scale) + 0.001, validate_args=False)
        log_likelihood = (cells.log_prob(X.nan_to_num()) * observed).sum(-1)
        log_prior = Normal(0.0, 1.0, validate_args=False).log_prob(z).sum(-1)
        return cells, log_likelihood + log_prior - posterior.log_prob(z).sum(-1)

    def _impute(self, X: torch.Tensor, n_draws: int) -> tuple[Array, Array]:
        """Means by self-normalised importance sampling, draws by resampling."""
        cells, log_weights = self._weigh(X, self.n_samples)
        weights = log_weights.softmax(dim=0)
        means = torch.einsum("sn,snd->nd", weights, cells.loc)
        if n_draws == 0:
            return means.numpy(), np.empty((0, *X.shape))
        chosen = torch.multinomial(weights.T, n_draws, replacement=True).T
        rows = torch.arange(len(X))
        drawn = StudentT(
            cells.df[chosen, rows], cells.loc[chosen, rows], cells.scale[chosen, rows]
        ).sample()
        return means.numpy(), drawn.numpy()
