"""The predictor: what says hidden cells' distributions from the shown cells, without latents."""

from __future__ import annotations

import copy

from torch import nn

from sklearn_cvae.mixtures import LocationMixture
from sklearn_cvae.networks import Ensemble, Linear

N_PREDICTORS, N_LAYERS = 2, 2


class Predictor(nn.Module):
    r"""Networks from a row's shown cells to the distributions of all its cells, and a mixture.

    .. math:: \max E_s \sum_{j \notin s} \log p(x_j \mid x_s, c)

    is what the networks are trained by; the mixture knows the same in closed form. Parts are those
    of the latent model, each of its own weights: `kinds` turn outputs into distributions, the
    linear maps add what the linear model's factors and the conditions say, and `networks` correct
    that.

    Parameters
    ----------
    kinds : nn.ModuleList of Kind
    linear, linear_condition : Linear
        From factors, and from conditions, to the numbers' means.
    networks : Ensemble
        From what an encoder sees to the outputs that the kinds take.
    mixture : LocationMixture or None
        None for tables too wide for it.

    Notes
    -----
    A latent vector is a bottleneck, and a draw of it is noise: networks that may look at every
    shown cell say single cells in another way, but not what goes together. A mixture of Gaussians
    needs fewer rows than either. Their errors differ, so cells are imputed by all of them
    (`inference.impute_point`).

    References
    ----------
    Du, Melis, Wang. ReMasker: Imputing Tabular Data with Masked Autoencoding. ICLR 2024.
    Departures: distributions in place of values, perceptrons in place of transformers.
    """

    def __init__(
        self,
        kinds: nn.ModuleList,
        linear: Linear,
        linear_condition: Linear,
        networks: Ensemble,
        mixture: LocationMixture | None,
    ) -> None:
        super().__init__()
        self.kinds, self.networks, self.mixture = copy.deepcopy(kinds), networks, mixture
        self.linear, self.linear_condition = copy.deepcopy(linear), copy.deepcopy(linear_condition)
        self.requires_grad_(False)

    def start(self, kinds: nn.ModuleList, linear: Linear, linear_condition: Linear) -> None:
        """Take over where the latent model starts."""
        self.kinds.load_state_dict(kinds.state_dict())
        self.linear.load_state_dict(linear.state_dict())
        self.linear_condition.load_state_dict(linear_condition.state_dict())

    def take_hidden(self, encoder: nn.Module) -> None:
        """Start the networks where a trained encoder's first layers are, in place of chance."""
        for network in self.networks.members:
            network.take_hidden(encoder)  # type: ignore[operator]
