r"""The network: posterior, prior and likelihood, each a torch Distribution.

One table comes in as `values` (n, d) float32, one scalar per cell, with two masks of the same
shape: `visible` are the cells the encoder sees as data, `given` those that count as conditions.
A cell of a condition column that is not given is a cell like any other, so an unknown condition
is modelled, drawn and imputed with the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from sklearn_cvae.backbones import Backbone, Blocks, Layout
from sklearn_cvae.codecs import Codec
from sklearn_cvae.factors import FactorAnalysis
from sklearn_cvae.kinds import Kind, Numeric
from sklearn_cvae.likelihoods import LIKELIHOODS
from sklearn_cvae.missingness import SelfMasking
from sklearn_cvae.mixtures import LocationMixture
from sklearn_cvae.networks import CONDITIONING, EMBEDDED_WIDTH, ConditionEmbedding, Ensemble, Linear
from sklearn_cvae.objectives import ELBO, Terms, drop_conditions, gaussian_kl, hide_cells
from sklearn_cvae.predictor import N_LAYERS, N_PREDICTORS, Predictor
from sklearn_cvae.priors import DiagonalNormal, PriorChoice
from sklearn_cvae.ties import Ties

UNKNOWN_SHARE = 0.5
MAX_FACTORS, ROWS_PER_FACTOR, MIN_FACTORS = 32, 32, 4
LEAST_GRADIENT = 1e-30


class TableDistribution(Distribution):
    r"""The likelihood of a row's cells, independent given z and c: the average of K decoders'.

    .. math:: p(x_j \mid z, c) = \frac1K \sum_k p_k(x_j \mid z, c)

    Parameters
    ----------
    kinds : sequence of Kind
    params : Tensor of shape (K, n, n_params)
        Outputs of the decoders, the kinds' side by side.
    n_columns : int

    Notes
    -----
    In training K is 1, a row's decoder being drawn by chance, so that the mean of log p_k is
    maximised: a lower bound of the mean's log, by Jensen's inequality.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, kinds: Sequence[Kind], params: Tensor, n_columns: int) -> None:
        self.kinds, self.n_columns = kinds, n_columns
        widths = [kind.n_params for kind in kinds]
        self.params = [of_decoder.split(widths, dim=1) for of_decoder in params]
        super().__init__(params.shape[1:2], torch.Size([n_columns]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the (n, d) log-probabilities of the cells, in the kinds' own units."""
        return self._log_mean(value, lambda kind, *cells: kind.log_prob(*cells))

    def surrogate(self, value: Tensor) -> Tensor:
        """Return the (n, d) scores of the cells that training maximises."""
        return self._log_mean(value, lambda kind, *cells: kind.surrogate(*cells))

    def _log_mean(self, value: Tensor, logs_of: Callable[[Kind, Tensor, Tensor], Tensor]) -> Tensor:
        """Return the log of the decoders' mean, in the columns' order."""
        cells = [value[:, kind.columns] for kind in self.kinds]
        by_decoder = [
            torch.cat(list(map(logs_of, self.kinds, of, cells)), dim=1) for of in self.params
        ]
        (mean, *others), columns = by_decoder, torch.cat([kind.columns for kind in self.kinds])
        if others:
            mean = torch.stack(by_decoder).logsumexp(dim=0) - math.log(len(by_decoder))
        return mean[:, torch.argsort(columns)]

    def _mean(self, probs_of: Callable[[Kind, Tensor], Tensor]) -> list[Tensor]:
        """Return each kind's probabilities of its atoms, the decoders' mean."""
        by_kind = zip(self.kinds, zip(*self.params, strict=True), strict=True)
        return [
            functools.reduce(torch.add, (probs_of(kind, of) for of in params)) / len(params)
            for kind, params in by_kind
        ]

    def probs(self, spread: float | Tensor = 1.0) -> list[Tensor]:
        """Return each kind's (n, m, n_atoms) probabilities of its atoms, numbers' widened."""
        return self._mean(lambda kind, params: kind.probs(params, spread))

    def expected(self, spread: float | Tensor = 1.0) -> list[Tensor]:
        """Return each kind's probabilities of its atoms, for what is to be imputed."""
        return self._mean(lambda kind, params: kind.expected(params, spread))


class _Batch(NamedTuple):
    """What a training step shows of some rows, and what it asks for."""

    inputs: list[Tensor]
    modelled: Tensor
    visible: Tensor
    all_hidden: Tensor
    c: Tensor


class TableCVAE(nn.Module):
    """The conditional VAE of a mixed table, and the predictor that helps it to impute.

    Parameters
    ----------
    codecs : sequence of codec
        One per column of the table.
    likelihoods : sequence of str
        One key of `LIKELIHOODS` per column.
    conditions : sequence of int
        Positions of the condition columns.
    ties : Ties
        What the last columns say of which others.
    n_components : int
        Length of the latent vector.
    hidden_layer_sizes : sequence of int
    activation : str
    conditioning : str
        A key of `CONDITIONING`.
    prior : StandardNormal, Gaussian, Mixture, VampPrior or NormalizingFlow
    objective : ELBO, IWAE or Hybrid
    backbone : Backbone
    n_decoders : int
        Decoders whose distributions are averaged; each training row teaches one of them.
    dropout : float
    input_noise : float
        Standard deviation of noise on the numeric scores that the encoder sees in training.
    condition_dropout : float
    self_masking : bool
        Whether to model that a cell's value decides if it is missing.
    predicts : bool
        Whether there is a predictor; it is trained by `PredictorLoss`.
    n_factors : int
        Factors of the linear model that training starts from; no more than there are components
        or features.
    n_parts : int
        Parts of the predictor's mixture; 0 for none.
    generator : torch.Generator
        Source of the initial weights.
    """

    is_condition: Tensor
    tied: Tensor
    noise_scale: Tensor
    condition_inputs: Tensor
    mean_params: Tensor
    spread: Tensor
    n_sweeps: Tensor
    direct_share: Tensor
    tilt: Tensor
    start_tilt: Tensor

    def __init__(
        self,
        codecs: Sequence[Codec],
        likelihoods: Sequence[str],
        conditions: Sequence[int],
        *,
        ties: Ties,
        n_components: int,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        conditioning: str,
        prior: PriorChoice,
        objective: ELBO,
        backbone: Backbone,
        n_decoders: int,
        dropout: float,
        input_noise: float,
        condition_dropout: float,
        self_masking: bool,
        predicts: bool,
        n_factors: int,
        n_parts: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.n_columns, self.n_components = len(codecs), n_components
        self.hidden_layer_sizes = list(hidden_layer_sizes)
        self.condition_dropout = condition_dropout
        self.objective, self.backbone = objective, backbone
        self.kinds = nn.ModuleList(group_columns(codecs, likelihoods))
        owner = torch.cat([k.columns.repeat_interleave(k.n_inputs + 1) for k in self.table_kinds])
        is_condition = torch.zeros(self.n_columns, dtype=torch.bool)
        is_condition[list(conditions)] = True
        self.register_buffer("is_condition", is_condition, persistent=False)
        tied = torch.tensor(ties.pairs, dtype=torch.long).reshape(-1, 2)
        self.register_buffer("tied", tied, persistent=False)
        numeric = torch.zeros(self.n_columns)
        for kind in self.table_kinds:
            numeric[kind.columns] = kind.noise_share * kind.numeric
        self.register_buffer("noise_scale", input_noise * numeric, persistent=False)
        where = torch.flatten(is_condition[owner].nonzero())
        self.register_buffer("condition_inputs", where, persistent=False)
        widths = torch.unique_consecutive(owner[where], return_counts=True)[1].tolist()
        self.embedding = None
        if CONDITIONING[conditioning].embedded:
            self.embedding = ConditionEmbedding(widths, generator)
            widths = [EMBEDDED_WIDTH] * len(widths)
        of_features = [k.columns.repeat_interleave(k.n_features) for k in self.table_kinds]
        feature_owner = torch.cat(of_features)
        k = min(n_factors, n_components, len(feature_owner)) if backbone.starts_linear else 0
        self.n_linear = 0 if self.embedding is not None else sum(widths)
        self.factors = FactorAnalysis(feature_owner, k, self.n_linear)
        self.register_buffer("mean_params", _mean_params(self.table_kinds), persistent=False)
        self.linear = Linear(k, len(self.mean_params), generator, scale=0.0)
        blocks = Blocks(
            conditioning, widths, self.hidden_layer_sizes, activation, dropout, generator
        )
        self.layout = _layout(self.table_kinds, is_condition)
        backbone.check(self.layout)
        self.encoder = backbone.encoder(self.layout, 2 * k, 2 * n_components, blocks)
        self.decoder = Ensemble(
            [backbone.decoder(self.layout, n_components, blocks) for _ in range(n_decoders)]
        )
        self.prior_net = prior.build(n_components, sum(widths), generator)
        self.linear_condition = Linear(self.n_linear, len(self.mean_params), generator, scale=0.0)
        self.missingness = SelfMasking(self.table_kinds) if self_masking else None
        self._add_settings_of_answers()
        self.predictor = self._new_predictor(2 * k, blocks, n_parts) if predicts else None

    def _add_settings_of_answers(self) -> None:
        """Register what is found when training is over, and answers go by."""
        # How much wider than the network says held-out cells lie, and how often completed rows are
        # encoded again to impute; see `inference.choose_sweeps`.
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("n_sweeps", torch.zeros((), dtype=torch.long))
        # The weight of the predictor in what is imputed: none until it is trained.
        self.register_buffer("direct_share", torch.zeros(()))
        # Factors of atoms' probabilities in a draw's sweeps, and at its start; see `marginals`.
        n_atoms = sum(kind.n_columns * kind.n_atoms for kind in self.table_kinds)
        self.register_buffer("tilt", torch.ones(n_atoms))
        self.register_buffer("start_tilt", torch.ones(n_atoms))

    def _new_predictor(self, n_start: int, blocks: Blocks, n_parts: int) -> Predictor:
        n_outputs = self.layout.n_outputs
        blocks = blocks._replace(hidden_layer_sizes=blocks.hidden_layer_sizes[:N_LAYERS])
        networks = [
            self.backbone.encoder(self.layout, n_start, n_outputs, blocks)
            for _ in range(N_PREDICTORS)
        ]
        mixture = LocationMixture(self.table_kinds, n_parts) if n_parts else None
        return Predictor(
            self.kinds, self.linear, self.linear_condition, Ensemble(networks), mixture
        )

    def inputs(self, values: Tensor) -> list[Tensor]:
        """Return each kind's (n, m, n_inputs) network inputs of its cells."""
        return [kind.inputs(values[:, kind.columns]) for kind in self.table_kinds]

    def condition(self, inputs: list[Tensor], given: Tensor) -> Tensor:
        """Return the (n, w_c) inputs of the condition columns, zero where not given."""
        if len(self.condition_inputs) == 0:
            return inputs[0].new_zeros((len(given), 0))
        c = self._masked(inputs, given)[:, self.condition_inputs]
        return c if self.embedding is None else self.embedding(c)

    def posterior(self, inputs: list[Tensor], visible: Tensor, c: Tensor) -> DiagonalNormal:
        """Return q(z | visible cells, c): the linear model's posterior, corrected by a network."""
        seen, factors, log_scales = self._seen(inputs, visible, c)
        loc, log_scale = self.encoder(seen, c).chunk(2, dim=1)
        further = (0, self.n_components - self.factors.n_factors)
        loc, log_scale = loc + F.pad(factors, further), log_scale + F.pad(log_scales, further)
        return DiagonalNormal(loc, log_scale.clamp(-8, 3))

    def _seen(
        self, inputs: list[Tensor], visible: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what an encoder sees, and in it the factors' posterior: means, log deviations."""
        shown = visible.to(inputs[0].dtype)
        start = self.factors(self._features(inputs), shown, c[:, : self.n_linear])
        return torch.cat([self._masked(inputs, visible), *start], dim=1), *start

    def _posteriors(
        self, inputs: list[Tensor], modelled: Tensor, visible: Tensor, c: Tensor
    ) -> tuple[DiagonalNormal, DiagonalNormal]:
        """Return q(z | modelled cells, c) and q(z | visible cells, c) from one call."""
        if not self.objective.hide:
            # No row has a visible cell, so the second is not looked at.
            whole = self.posterior(inputs, modelled, c)
            return whole, whole
        both = self.posterior(
            [cells.repeat(2, 1, 1) for cells in inputs],
            torch.cat([modelled, visible]),
            c.repeat(2, 1),
        )
        return both.halves()

    def _features(self, inputs: list[Tensor]) -> Tensor:
        """Return the (n, n_features) inputs that a linear model can use."""
        kinds = zip(self.table_kinds, inputs, strict=True)
        return torch.cat([cells[..., : kind.n_features].flatten(1) for kind, cells in kinds], dim=1)

    @torch.no_grad()
    def start(self, values: Tensor, observed: Tensor, generator: torch.Generator) -> None:
        """Fit the factors to some rows; decoder means, kinds and prior start from them."""
        factors, inputs = self.factors, self.inputs(values)
        shown = zip(self.table_kinds, inputs, strict=True)
        self.prior_net.start([x * observed[:, k.columns, None] for k, x in shown], generator)
        features = self._features(inputs)
        c = self.condition(inputs, observed & self.is_condition)[:, : self.n_linear]
        factors.fit(features, observed & ~self.is_condition, c, self._noise_floor())
        at_feature = at_mean = 0
        for kind in self.table_kinds:
            kind.start(values[:, kind.columns], observed[:, kind.columns])
            n = kind.n_features
            if isinstance(kind, Numeric):
                rows = slice(at_feature, at_feature + kind.n_columns * n, n)
                means = slice(at_mean, at_mean + kind.n_columns)
                scale = factors.scale[rows]
                self.linear.weight[means] = factors.loadings[rows] * scale[:, None]
                self.linear.bias[means] = factors.mean[rows]
                self.linear_condition.weight[means] = factors.effects[rows]
                kind.log_sigma.copy_((factors.noise[rows].sqrt() * scale).log())
                at_mean += kind.n_columns
            at_feature += kind.n_columns * n
        if self.predictor is not None:
            self.predictor.start(self.kinds, self.linear, self.linear_condition)

    def fit_mixture(self, values: Tensor, observed: Tensor, generator: torch.Generator) -> None:
        """Fit the mixture of Gaussians to some rows, where there is one."""
        if self.predictor is not None and self.predictor.mixture is not None:
            self.predictor.mixture.fit(self.table_kinds, values, observed, generator)

    def _noise_floor(self) -> Tensor:
        """Return the least noise of each feature in the linear model, float64."""
        floors = [
            torch.full((k.n_columns * k.n_features,), k.noise_floor, dtype=torch.float64)
            for k in self.table_kinds
        ]
        return torch.cat(floors).to(self.is_condition.device)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take over weights that were learned before."""
        one_row = torch.zeros((1, self.n_columns))
        self.prior_net.start(self.inputs(one_row), torch.Generator())
        self.load_state_dict(weights)

    def _masked(self, inputs: list[Tensor], mask: Tensor) -> Tensor:
        """Return (n, w) inputs, zero where masked, each cell's with its mask beside it."""
        mask = mask.to(inputs[0].dtype)
        parts = []
        for kind, cells in zip(self.table_kinds, inputs, strict=True):
            shown = mask[:, kind.columns, None]
            parts.append(torch.cat([cells * shown, shown], dim=-1).flatten(1))
        return torch.cat(parts, dim=1)

    def prior(self, c: Tensor) -> Any:
        """Return p(z | c), a distribution as `priors.Prior` describes it."""
        return self.prior_net(c, self._encode_whole)

    def _encode_whole(self, inputs: list[Tensor]) -> DiagonalNormal:
        """Return q(z | whole rows), the conditions unknown."""
        shown = inputs[0].new_ones((len(inputs[0]), self.n_columns), dtype=torch.bool)
        unknown = self.condition(inputs, torch.zeros_like(shown))
        return self.posterior(inputs, shown, unknown)

    def likelihood(self, z: Tensor, c: Tensor, decoder: int | None = None) -> TableDistribution:
        """Return p(x | z, c), by one of the decoders if it is said which."""
        outputs = self.decoder(z, c) if decoder is None else self.decoder.only(decoder, z, c)
        return self._around(self, outputs, z[:, : self.factors.n_factors], c)

    def predicted(
        self, predictor: Predictor, inputs: list[Tensor], visible: Tensor, c: Tensor
    ) -> TableDistribution:
        """Return the predictor's p(x | visible cells, c), which gradients reach by it alone."""
        with torch.no_grad():
            seen, factors, _ = self._seen(inputs, visible, c)
        return self._around(predictor, predictor.networks(seen, c), factors, c)

    def _around(
        self, owner: TableCVAE | Predictor, params: Tensor, factors: Tensor, c: Tensor
    ) -> TableDistribution:
        """Return the distribution by networks' outputs around the means of the linear model."""
        means = owner.linear(factors)
        means = means + owner.linear_condition(c[:, : self.n_linear])
        params = params.index_add(2, self.mean_params, means.expand(len(params), -1, -1))
        if params.requires_grad and torch.get_num_threads() > 1:
            # Only this thread takes what float32 hardly holds for zero; see `torch_settings`.
            params.register_hook(functools.partial(F.hardshrink, lambd=LEAST_GRADIENT))
        return TableDistribution(list(owner.kinds), params, self.n_columns)  # type: ignore[arg-type]

    @property
    def table_kinds(self) -> list[Kind]:
        return list(self.kinds)  # type: ignore[arg-type]

    @torch.no_grad()
    def latents(
        self, values: Tensor, observed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw z from q(z | observed cells, c), some conditions dropped, and return it with c.

        Conditions are dropped more often than in training, since the prior is all that is known
        of rows whose conditions are unknown.
        """
        rate = max(self.condition_dropout, UNKNOWN_SHARE) if self.condition_dropout > 0 else 0.0
        given = drop_conditions(observed & self.is_condition, generator, rate)
        inputs = self.inputs(values)
        c = self.condition(inputs, given)
        posterior = self.posterior(inputs, observed & ~given, c)
        noise = torch.randn(posterior.loc.shape, generator=generator, device=values.device)
        return posterior.draw(noise), c

    def forward(
        self, values: Tensor, observed: Tensor, beta: float, generator: torch.Generator
    ) -> Tensor:
        """Return each row's loss, nats per cell; see `objectives`.

        Parameters
        ----------
        values : Tensor of shape (n, d)
        observed : Tensor of shape (n, d), bool
        beta : float
            Weight of the KL.
        generator : torch.Generator
            Source of masks and latent noise.
        """
        share = self.objective.all_hidden_share
        inputs, modelled, visible, all_hidden, c = self.batch(values, observed, generator, share)
        full, partial = self._posteriors(inputs, modelled, visible, c)
        n_draws = self.objective.n_draws
        shape = (n_draws, *full.loc.shape)
        z = full.draw(torch.randn(shape, generator=generator, device=values.device))
        prior = self.prior(c)
        log_ratio, kl = _against_prior(z, full, partial, prior, all_hidden)
        if self.objective.draws_from_prior:
            z = torch.cat([z, self._prior_draw(prior, partial, all_hidden, generator)[None]])
        log_likelihood = torch.stack(
            [self._log_likelihood(values, observed, modelled, draw, c) for draw in z]
        )
        terms = Terms(log_likelihood, log_ratio, kl, self.n_components)
        return self.objective.loss(terms, beta) / self.n_columns

    def batch(
        self,
        values: Tensor,
        observed: Tensor,
        generator: torch.Generator,
        all_hidden_share: float,
    ) -> _Batch:
        """Drop conditions, hide cells, and blur the numbers that are shown."""
        given = drop_conditions(observed & self.is_condition, generator, self.condition_dropout)
        modelled = observed & ~given
        visible, all_hidden = self._hide(modelled, generator, all_hidden_share)
        jitter = torch.randn(values.shape, generator=generator, device=values.device)
        inputs = self.inputs(values + self.noise_scale * jitter)
        return _Batch(inputs, modelled, visible, all_hidden, self.condition(inputs, given))

    def _hide(
        self, modelled: Tensor, generator: torch.Generator, all_hidden_share: float
    ) -> tuple[Tensor, Tensor]:
        blocks = None
        if self.objective.hide:
            n, d = modelled.shape
            blocks = self.backbone.visible_blocks(n, d, self.layout, generator)
        visible, all_hidden = hide_cells(modelled, generator, all_hidden_share, blocks)
        if len(self.tied):
            at = self.n_columns - len(self.tied)
            visible[:, at:] &= visible[:, self.tied].all(dim=2)
        return visible, all_hidden

    def _prior_draw(
        self,
        prior: Any,
        partial: DiagonalNormal,
        all_hidden: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw z from q(z | visible cells, c), or from the prior where all are hidden."""
        shape, device = partial.loc.shape, partial.loc.device
        noise = torch.randn(shape, generator=generator, device=device)
        choice = torch.rand(shape[:1], generator=generator, device=device)
        return torch.where(all_hidden[:, None], prior.draw(noise, choice), partial.draw(noise))

    def _log_likelihood(
        self, values: Tensor, observed: Tensor, modelled: Tensor, z: Tensor, c: Tensor
    ) -> Tensor:
        """Return each row's log-likelihood of its modelled cells, and of which are missing."""
        likelihood = self.likelihood(z, c)
        total = (likelihood.surrogate(values) * modelled).sum(1)
        if self.missingness is None:
            return total
        return total + self.missingness.log_prob(
            self.table_kinds, values, likelihood.probs(), ~observed
        )


class PredictorLoss(nn.Module):
    """What training a model's predictor minimises; the model itself stays as it is.

    Parameters
    ----------
    model : TableCVAE
    predictor : Predictor
        The model's.
    """

    def __init__(self, model: TableCVAE, predictor: Predictor) -> None:
        super().__init__()
        self.predictor, self.objective = predictor, model.objective
        self._models = [model]  # in a list, its weights are not this module's

    def forward(
        self, values: Tensor, observed: Tensor, beta: float, generator: torch.Generator
    ) -> Tensor:
        """Return each row's loss, nats per cell; parameters as `TableCVAE.forward` has them."""
        (model,) = self._models
        with torch.no_grad():
            # Rows that show nothing are wide, which the one spread of a column would learn.
            batch = model.batch(values, observed, generator, all_hidden_share=0.0)
        cells = model.predicted(self.predictor, batch.inputs, batch.visible, batch.c)
        hidden = batch.modelled & ~batch.visible
        return -(cells.surrogate(values) * hidden).sum(1) / model.n_columns


def _mean_params(kinds: Sequence[Kind]) -> Tensor:
    """Return the positions, among all network outputs, of the means of numeric columns."""
    positions, start = [torch.empty(0, dtype=torch.long)], 0
    for kind in kinds:
        if isinstance(kind, Numeric):
            positions.append(
                start + torch.arange(0, kind.n_params, kind.n_params // kind.n_columns)
            )
        start += kind.n_params
    return torch.cat(positions)


def _layout(kinds: Sequence[Kind], is_condition: Tensor) -> Layout:
    """Return where each column's cells stand among the flat inputs and outputs of the networks."""
    features, shown, outputs = {}, {}, {}
    at_input = at_output = 0
    for kind in kinds:
        n_outputs = kind.n_params // kind.n_columns
        for j in kind.columns.tolist():
            features[j] = torch.arange(at_input, at_input + kind.n_features)
            shown[j] = at_input + kind.n_inputs
            outputs[j] = torch.arange(at_output, at_output + n_outputs)
            at_input, at_output = at_input + kind.n_inputs + 1, at_output + n_outputs
    columns = range(len(shown))
    return Layout(
        [features[j] for j in columns],
        torch.tensor([shown[j] for j in columns]),
        [outputs[j] for j in columns],
        at_input,
        at_output,
        torch.flatten((~is_condition).nonzero()).tolist(),
    )


def usual_factors(n_rows: int) -> int:
    """Return how many factors a table of so many rows can bear.

    Examples
    --------
    >>> [usual_factors(n) for n in (50, 500, 5000)]
    [4, 15, 32]
    """
    return min(MAX_FACTORS, max(MIN_FACTORS, n_rows // ROWS_PER_FACTOR))


def group_columns(codecs: Sequence[Codec], likelihoods: Sequence[str]) -> list[Kind]:
    """Gather columns of one likelihood, and of a like number of atoms, into kinds.

    Padding wastes at most three quarters of a kind's atoms: the sizes share a power of four.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for j, (codec, name) in enumerate(zip(codecs, likelihoods, strict=True)):
        size = (codec.n_atoms - 1).bit_length() // 2
        groups.setdefault((name, size), []).append(j)
    return [
        LIKELIHOODS[name](columns, [codecs[j] for j in columns])
        for (name, _), columns in groups.items()
    ]


def _against_prior(
    z: Tensor, full: DiagonalNormal, partial: DiagonalNormal, prior: Any, all_hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare q(z | observed, c) with q(z | visible, c), or with p(z | c) if none is visible.

    Rows with visible cells teach the prior where latents lie, without being drawn to it, by a term
    of value zero whose gradient reaches the prior alone.

    Returns
    -------
    log_ratio : Tensor of shape (n_draws, n)
        Of the densities at the draws.
    kl : Tensor of shape (n,)
        Their divergence: exact between Gaussians, else the draws' mean.
    """
    drawn = torch.where(all_hidden[:, None], z, z.detach())
    log_prior = torch.stack([prior.log_prob(draw) for draw in drawn])
    fit_of_prior = log_prior[0] - log_prior[0].detach()
    log_partial = partial.log_prob(z) + fit_of_prior
    log_ratio = full.log_prob(z) - torch.where(all_hidden, log_prior, log_partial)
    kl_prior = log_ratio.mean(dim=0)
    if isinstance(prior, DiagonalNormal):
        kl_prior = gaussian_kl(full.loc, full.log_scale, prior.loc, prior.log_scale)
    kl_partial = gaussian_kl(full.loc, full.log_scale, partial.loc, partial.log_scale)
    return log_ratio, torch.where(all_hidden, kl_prior, kl_partial - fit_of_prior)
