"""The model as an estimator: parameters and documentation. The math lives in the layers below."""

from __future__ import annotations

import copy
import math
import numbers as number_types
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.callback import CallbackContext, CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_cvae import inference
from sklearn_cvae.answers import Answers
from sklearn_cvae.backbones import MLP, Backbone
from sklearn_cvae.codecs import Array, Cells
from sklearn_cvae.marginals import match_marginals
from sklearn_cvae.mixtures import usual_parts
from sklearn_cvae.model import PredictorLoss, TableCVAE, usual_factors
from sklearn_cvae.networks import ACTIVATIONS, CONDITIONING
from sklearn_cvae.objectives import ELBO, OBJECTIVES
from sklearn_cvae.predictor import Predictor
from sklearn_cvae.priors import PRIORS, most_parts
from sklearn_cvae.table import (
    TableCodec,
    as_series,
    check_target,
)
from sklearn_cvae.training import (
    CVAENet,
    EpochHooks,
    TableDataset,
    auto_batch_size,
    auto_epochs,
    auto_layer_sizes,
    auto_n_decoders,
    auto_predictor_epochs,
    build_net,
    check_default_dtype,
    held_out_cells,
    n_latents_of,
    predictor_params,
    refit_prior,
    resolve_device,
    trained_net,
)
from sklearn_cvae.validation import (
    checked_sizes,
    checked_table,
    checked_weight,
    chosen,
    draw_seed,
    features_kept,
    random_source,
    refuse_changed,
    table_tags,
)

LINEAR_START_ROWS = 5_000
# The predictor's batches, in the model's: its steps are cheap, and fewer of them do as well.
LARGER_BATCHES = 2
ACTIVITY_ROWS, MIN_ROWS_TO_TELL_APART = 2_000, 20
ACTIVE = 0.01
# What a model is; the other parameters say how it is trained and asked.
MODEL_PARAMETERS = (
    "n_components",
    "condition_features",
    "condition_on_target",
    "condition_dropout",
    "missing_mechanism",
    "categorical_features",
    "min_category_count",
    "likelihoods",
    "conditioning",
    "prior",
    "objective",
    "backbone",
    "n_decoders",
    "hidden_layer_sizes",
    "activation",
    "dropout",
    "input_noise",
    "direct_share",
)


class ConditionalVAE(CallbackSupportMixin, Answers, BaseEstimator):
    r"""Conditional variational autoencoder of a mixed table with missing cells.

    Learns the joint distribution p(x | c) of numbers, categories, booleans and dates given
    condition columns c, from rows with missing cells as they are. One encoder sees any subset
    of a row's cells, so one fitted model extracts features, draws rows, imputes and scores.

    Parameters
    ----------
    n_components : int, default=32
        Length of the latent vector.
    condition_features : None, str, int, callable, or sequence of str, int or bool, default=None
        The condition columns of X: names, positions, a mask, or a callable that takes X and
        returns one of these. None gives a plain variational autoencoder.
    condition_on_target : bool, default=False
        Whether `y` of `fit` is a condition too, under its name or as "target". `transform`
        never sees it: it counts as unknown there.
    condition_dropout : float in [0, 1], default=0.1
        Share of training rows that lose some or all of their conditions, which trains
        "unknown" as a value.
    missing_mechanism : {"ignorable", "self_masking"}, default="ignorable"
        Why cells are missing. "ignorable": for reasons that the observed cells tell, or none.
        "self_masking": a value may hide itself, as high incomes do; p(missing | value) is then
        learned with the model, by a logistic curve per number and a rate per level. It cannot be
        told from the data which one holds; a wrong "self_masking" costs accuracy.
    handle_unknown : {"missing", "error"}, default="missing"
        What to do with a category that was not seen during fit: treat it as missing, with one
        warning that names it, or raise. Conditions of `sample` and `inverse_transform` always
        raise. Levels that `min_category_count` forgot count as not seen.
    categorical_features : "from_dtype", or as `condition_features`, default="from_dtype"
        Columns to be treated as categories whatever their dtype. Strings, objects other than
        numbers, categoricals, enums and booleans always are.
    min_category_count : int, default=0
        Protection of rare categories: levels that fewer training cells have are treated as
        missing. They are never drawn or imputed, and nothing of the fitted model holds them.
    likelihoods : "auto" or dict, default="auto"
        Likelihood per column, by name (position for arrays). Columns not named get "histogram",
        "categorical" or, with two levels, "bernoulli"; numbers that hardly repeat, on a natural
        scale and in tables under 10,000 rows, "histogram_per_row" (not in images or steps in time,
        or with missing_mechanism="self_masking"), or in tables of 1,000 rows or more
        "tilted_gaussian" where another column nearly tells them.

        - numbers and times, drawn within the seen range: "histogram", "histogram_per_row" (as wide
          as each row says) and, where they are known more exactly than to a bin, "tilted_gaussian"
          (all on a natural scale where one suits: numbers, logs or square roots; continuous columns
          are imputed up to three deviations beyond the seen range), "rank_normal";
        - numbers and times, beyond it too: "gaussian" (one variance per column),
          "gaussian_per_row" (a variance per row), "gaussian_fixed" (variance 1 of standardised
          numbers), "student_t" (heavy tails);
        - positive numbers: "log_normal"; with zeros: "zero_inflated_log_normal";
        - counts: "poisson", "negative_binomial", "zero_inflated_poisson",
          "zero_inflated_negative_binomial";
        - two distinct numbers or levels: "bernoulli";
        - categories: "categorical"; in order: "ordinal".
    conditioning : str, default="concat"
        How conditions enter the networks: "concat" joins them to the input, "concat_all" to every
        layer; "embedding" joins a learned vector per condition column, for many levels; "film"
        scales and shifts hidden layers, "layer_norm" and "batch_norm" do after normalising them;
        "attention" lets hidden layers choose among the columns. See `sklearn_cvae.networks`.
    prior : str or object, default="mixture"
        The prior p(z | c): "standard_normal", "gaussian", "mixture", "vamp" or "flow", or one of
        `StandardNormal`, `Gaussian`, `Mixture`, `VampPrior` and `NormalizingFlow` of
        `sklearn_cvae.priors` with settings of its own.
    objective : str or object, default="elbo"
        What training maximises: "elbo", "iwae" or "hybrid", or one of `ELBO` (with KL weight,
        warm-up, cycles, free bits), `IWAE` and `Hybrid` of `sklearn_cvae.objectives`.
    backbone : "mlp" or object, default="mlp"
        The networks: "mlp" for tables; `MLP(ordered=True)` for columns that are steps in time,
        `Recurrent(sequence_shape)` for sequences of several features, `Convolutional(image_shape)`
        for rows that are images, or `Custom(...)` for your own, of `sklearn_cvae.backbones`.
    n_decoders : "auto" or int, default="auto"
        Networks between latents and cells whose distributions are averaged. Each training row
        teaches one of them, another by chance in each epoch: a step costs about what one decoder
        does, and together they learn rows less by heart. Answers ask all of them, which takes
        longer. "auto" is 2, and 1 for tables of 20,000 rows or more and for backbones whose columns
        have a place in space or time.
    hidden_layer_sizes : "auto" or sequence of int, default="auto"
        Widths of the hidden layers of the encoder and of the decoder; "auto" is four layers of
        128, of 192 for tables of 20,000 rows or more.
    activation : {"silu", "relu", "gelu", "tanh"}, default="silu"
        Activation of the hidden layers.
    dropout : float in [0, 1), default=0.0
        Share of hidden units dropped during training.
    input_noise : float, default=0.05
        Standard deviation of noise on the numbers that the encoder sees during training, on the
        scale of scores; it keeps rows from being recognised by exact values. Numbers with a
        "tilted_gaussian" likelihood get none.
    direct_share : float in [0, 1], default=0.4
        Weight, in what is imputed, of what says each missing cell's distribution from the known
        cells directly: networks without latents, and of numbers a mixture of Gaussians as well,
        each of this weight. They are pooled with the latents', of weight 1 - direct_share, by a
        weighted geometric mean. What goes together in a draw is up to the latents. Latents, rows
        that `sample` draws and scores do without. 0 trains none, and fits take less
        time. There are none of images and steps in time, with missing_mechanism="self_masking", or
        with an objective that hides nothing.
    alpha : float, default=0.0
        Weight decay.
    batch_size : "auto" or int, default="auto"
        Rows per optimiser step; "auto" is 512, less for tables under 2,200 rows, and 1,024 from
        10,000 rows on. Steps that train what `direct_share` weighs take twice as many.
    learning_rate_init : float, default=4.5e-3
        Peak learning rate; it rises over a tenth of the steps, then falls evenly to zero.
    max_iter : "auto" or int, default="auto"
        Epochs; "auto" is 96, and 120 with a "tilted_gaussian" column; for tables under 1,600 rows
        fewer in proportion, but enough for 320 optimiser steps. From 27 columns on those 1,600 rows
        grow with the columns' square, to four times, from 7 on those 320 steps fall with it, to a
        quarter. From 8,300 rows on it is at most as many as show 800,000 rows, or 80, and above
        28,125 as many as show 2,250,000, but at least 20. What `direct_share` weighs is trained for
        as many epochs as are given; with "auto" for three quarters, which from 27 columns on fall
        with the root of the columns only.
    early_stopping : bool, default=False
        Whether to hold out rows, stop when their loss no longer falls, and keep the best weights.
        The number of epochs is chosen so that this is seldom needed.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out for early stopping.
    n_iter_no_change : int, default=20
        Epochs without improvement before training stops.
    tol : float, default=1e-4
        The least improvement, in nats per cell.
    n_draws : int, default=32
        Latent draws per row in `impute` and `score_samples`.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit's weights and encoding, on the same columns. The
        mixture of Gaussians that imputes is fitted to the new table alone.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, batches, masks and noise. An int makes `fit` reproducible.
    verbose : bool, default=False
        Whether to show a progress bar. scikit-learn's callbacks work too.
    n_jobs : int or None, default=None
        Torch threads while fitting and predicting; None is 1, which is fastest for small
        networks, and -1 is all cores. Restored afterwards.
    device : str, default="auto"
        Torch device; not "mps", which has no float64. "auto" takes CUDA if there is one, else the
        CPU.
    net_params : dict or None, default=None
        Further parameters of the skorch net, such as `callbacks`; they override ours.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str
        Names of the columns of X, if all are strings.
    net_ : CVAENet
        The skorch net; `net_.module_` is the torch module, `net_.history` the losses.
    likelihoods_ : dict
        The likelihood of each column.
    scales_ : dict
        The scale on which each number with a histogram, tilted Gaussian or rank-normal is modelled:
        "linear", "log" or "sqrt", or "normal" for normal scores.
    ties_ : list of tuple
        Pairs of columns of numbers, or of times, whose cells are often equal, to the last digit: a
        bill and what was paid. Whether a row's are is modelled, drawn and imputed, too; see
        `sklearn_cvae.ties`.
    condition_names_ : list
        Names of the condition columns.
    loss_curve_ : list of float
        Training loss per epoch, nats per cell.
    validation_curve_ : list of float
        Loss of held-out rows per epoch; empty without early stopping.
    n_iter_ : int
        Epochs run.
    hidden_layer_sizes_ : list of int
        Widths of the perceptrons' hidden layers, chosen or given.
    n_decoders_ : int
        How many decoders are averaged, chosen or given.
    n_sweeps_ : int
        How often a row that is imputed is completed and encoded again: 4 if that imputes a few
        cells better that training does not see, surely, else 0. Never of images and steps in time.
    kl_per_latent_ : ndarray of shape (n_components,)
        Nats that each latent tells of a training row; 0 for one that collapsed.
    n_active_units_ : int
        Latents whose posterior means differ between rows by at least 1 % of their variance.
    device_ : str
        The device in use.

    See Also
    --------
    CVAEImputer : The same model as a transformer that fills missing cells.

    Notes
    -----
    The objective and its sources are in `sklearn_cvae.objectives`, the column kinds in
    `sklearn_cvae.likelihoods`.

    References
    ----------
    Sohn, Lee, Yan. Learning Structured Output Representation using Deep Conditional Generative
    Models. NeurIPS 2015.
    Ivanov, Figurnov, Vetrov. Variational Autoencoder with Arbitrary Conditioning. ICLR 2019.

    Examples
    --------
    >>> from sklearn_cvae import ConditionalVAE
    >>> from sklearn_cvae.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> cvae = ConditionalVAE(condition_features=["species"], max_iter=5, random_state=0)
    >>> cvae.fit(penguins).transform(penguins).shape
    (344, 32)
    >>> cvae.impute(penguins).isna().sum().sum()
    np.int64(0)
    >>> cvae.sample(2, conditions={"species": "Gentoo"}, random_state=0)["species"].tolist()
    ['Gentoo', 'Gentoo']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(number_types.Integral, 1, None, closed="left")],
        "condition_features": [None, str, number_types.Integral, slice, callable, "array-like"],
        "condition_on_target": ["boolean"],
        "condition_dropout": [Interval(number_types.Real, 0, 1, closed="both")],
        "missing_mechanism": [StrOptions({"ignorable", "self_masking"})],
        "handle_unknown": [StrOptions({"missing", "error"})],
        "categorical_features": [
            None,
            str,
            number_types.Integral,
            slice,
            callable,
            "array-like",
        ],
        "min_category_count": [Interval(number_types.Integral, 0, None, closed="left")],
        "likelihoods": [StrOptions({"auto"}), dict],
        "conditioning": [StrOptions(set(CONDITIONING))],
        "prior": [StrOptions(set(PRIORS)), *PRIORS.values()],
        "objective": [StrOptions(set(OBJECTIVES)), ELBO],
        "backbone": [StrOptions({"mlp"}), Backbone],
        "n_decoders": [
            StrOptions({"auto"}),
            Interval(number_types.Integral, 1, None, closed="left"),
        ],
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(number_types.Real, 0, 1, closed="left")],
        "input_noise": [Interval(number_types.Real, 0, None, closed="left")],
        "direct_share": [Interval(number_types.Real, 0, 1, closed="both")],
        "alpha": [Interval(number_types.Real, 0, None, closed="left")],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(number_types.Integral, 1, None, closed="left"),
        ],
        "learning_rate_init": [Interval(number_types.Real, 0, None, closed="neither")],
        "max_iter": [StrOptions({"auto"}), Interval(number_types.Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(number_types.Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(number_types.Integral, 1, None, closed="left")],
        "tol": [Interval(number_types.Real, 0, None, closed="left")],
        "n_draws": [Interval(number_types.Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "n_jobs": [None, number_types.Integral],
        "device": [str],
        "net_params": [None, dict],
    }

    def __init__(
        self,
        n_components: int = 32,
        *,
        condition_features: Any = None,
        condition_on_target: bool = False,
        condition_dropout: float = 0.1,
        missing_mechanism: Literal["ignorable", "self_masking"] = "ignorable",
        handle_unknown: Literal["missing", "error"] = "missing",
        categorical_features: Any = "from_dtype",
        min_category_count: int = 0,
        likelihoods: Any = "auto",
        conditioning: str = "concat",
        prior: Any = "mixture",
        objective: Any = "elbo",
        backbone: Any = "mlp",
        n_decoders: int | Literal["auto"] = "auto",
        hidden_layer_sizes: Sequence[int] | Literal["auto"] = "auto",
        activation: str = "silu",
        dropout: float = 0.0,
        input_noise: float = 0.05,
        direct_share: float = 0.4,
        alpha: float = 0.0,
        batch_size: Any = "auto",
        learning_rate_init: float = 4.5e-3,
        max_iter: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 1e-4,
        n_draws: int = 32,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
        n_jobs: int | None = None,
        device: str = "auto",
        net_params: dict[str, Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.condition_features = condition_features
        self.condition_on_target = condition_on_target
        self.condition_dropout = condition_dropout
        self.missing_mechanism = missing_mechanism
        self.handle_unknown = handle_unknown
        self.categorical_features = categorical_features
        self.min_category_count = min_category_count
        self.likelihoods = likelihoods
        self.conditioning = conditioning
        self.prior = prior
        self.objective = objective
        self.backbone = backbone
        self.n_decoders = n_decoders
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.input_noise = input_noise
        self.direct_share = direct_share
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_draws = n_draws
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.device = device
        self.net_params = net_params

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn p(x | c) from a table whose cells may be missing.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The table, with its condition columns.
        y : array-like of shape (n_samples,), default=None
            The target; ignored unless `condition_on_target=True`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : ConditionalVAE

        Raises
        ------
        ValueError, TypeError
            For a table that cannot be modelled, with all its problems in one message; with
            `warm_start`, for other columns or model parameters than before; for a device without
            float64, and if torch's default dtype is not float32.
        FloatingPointError
            If the loss stops being a number.
        """
        check_default_dtype()
        with features_kept(self), torch.inference_mode(False), torch.enable_grad():
            X = checked_table(self, X, reset=not self._continues)
            target = self._target_series(y, len(X))
            weight = checked_weight(sample_weight, len(X))
            rng = random_source(self.random_state)
            table, values, module = self._start(X, target, rng)
            callbacks = self._init_callback_context(
                max_subtasks=self._max_epochs(len(X), table.nearly_known)
            )
            callbacks.call_on_fit_task_begin(estimator=self, X=X, y=y)
            hooks = self._epoch_hooks(callbacks, table, X, y)
            cells = table.cells(values)
            net = self._train(table, module, cells, weight, rng, hooks)
        self._remember(table, net)
        self._report_collapse(cells)
        callbacks.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes=lambda: self._fitted(table, net)
        )
        return self

    def _target_series(self, y: Any, n: int) -> Any:
        if not self.condition_on_target:
            return None
        if y is None:
            raise ValueError("condition_on_target=True needs y: call fit(X, y).")
        target = as_series(y)
        if len(target) != n:
            raise ValueError(f"X has {n} rows, but y has {len(target)}.")
        check_target(target)
        return target

    @property
    def _continues(self) -> bool:
        return self.warm_start and hasattr(self, "net_")

    def _start(
        self, X: Any, target: Any, rng: np.random.RandomState
    ) -> tuple[TableCodec, Array, TableCVAE]:
        """Return the table's codec, its encoding, and the network to train."""
        if self._continues:
            refuse_changed(self, self._learned_with)
            table = self._table
            return table, table.encode(table.read(X, target)), copy.deepcopy(self._module)
        table, values = TableCodec.fit(
            X,
            target,
            categorical=self.categorical_features,
            conditions=self.condition_features,
            likelihoods=self.likelihoods,
            min_category_count=self.min_category_count,
            plain=self._is_plain,
        )
        generator, n = torch.Generator().manual_seed(draw_seed(rng)), len(values)
        module = self._new_module(
            table,
            usual_factors(n),
            usual_parts(n, table.n_numbers),
            most_parts(n_latents_of(n)),
            self._layer_sizes(n),
            self._number_of_decoders(n),
            generator,
        )
        return table, values, module

    def _new_module(
        self,
        table: TableCodec,
        n_factors: int,
        mixture_parts: int,
        prior_parts: int,
        hidden_layer_sizes: list[int],
        n_decoders: int,
        generator: torch.Generator,
    ) -> TableCVAE:
        objective = chosen(self.objective, OBJECTIVES)
        return TableCVAE(
            table.codecs,
            table.likelihoods,
            table.conditions,
            ties=table.ties,
            n_components=self.n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=self.activation,
            conditioning=self.conditioning,
            prior=chosen(self.prior, PRIORS).at_most(prior_parts),
            objective=objective,
            backbone=self._backbone,
            n_decoders=n_decoders,
            dropout=self.dropout,
            input_noise=self.input_noise,
            condition_dropout=self.condition_dropout,
            self_masking=self.missing_mechanism == "self_masking",
            predicts=self.direct_share > 0 and self._is_plain and objective.hide,
            n_factors=n_factors,
            n_parts=mixture_parts,
            generator=generator,
        )

    def _restore(
        self,
        table: TableCodec,
        hidden_layer_sizes: list[int],
        n_decoders: int,
        weights: dict[str, torch.Tensor],
    ) -> None:
        """Become fitted with a table and weights that were learned before."""
        module = self._new_module(
            table,
            weights["factors.loadings"].shape[1],
            len(weights.get("predictor.mixture.log_weight", ())),
            len(weights.get("prior_net.loc", ())),
            hidden_layer_sizes,
            n_decoders,
            torch.Generator(),
        )
        module.restore(weights)
        self._remember(table, trained_net(module, resolve_device(self.device)))

    def _train(
        self,
        table: TableCodec,
        module: TableCVAE,
        cells: Cells,
        weight: Array,
        rng: np.random.RandomState,
        hooks: EpochHooks | None,
    ) -> CVAENet:
        device = resolve_device(self.device)
        order, n_held_out = self._validation_rows(weight, rng)
        target = table.ties.with_cells(held_out_cells(cells.visible, order[:n_held_out], rng))
        if self.missing_mechanism == "self_masking" and not n_held_out:
            target[:] = False  # a held-out cell would count as one that hid itself
        observed = cells.visible | cells.given
        observed[target] = False
        learned = weight.copy()
        learned[order[:n_held_out]] = 0.0
        self._fit_closed_forms(module, cells.values, observed, learned, rng)
        data, held_out = TableDataset.split(
            cells.values, observed, weight, order, n_held_out, device
        )
        seed, net_params = draw_seed(rng), self.net_params
        net = self._new_net(
            module,
            data,
            held_out,
            seed,
            "fit",
            self._max_epochs(len(weight), table.nearly_known),
            net_params,
            hooks=hooks,
        )
        module.direct_share.zero_()  # a predictor of before has no say in what the model learns
        with self._torch_settings():
            net.fit(data)
            refit_prior(net.module_, data, draw_seed(rng))
            rows = np.flatnonzero(target.any(axis=1))
            visible = cells.visible[rows] & ~target[rows]
            unseen = Cells(cells.values[rows], visible, cells.given[rows])
            inference.choose_sweeps(module, unseen, target[rows])
            match_marginals(net.module_, table.codecs, table.ties, cells, weight, draw_seed(rng))
            if module.predictor is not None:
                n_epochs = self._predictor_epochs(len(weight), len(net.history))
                self._train_predictor(
                    module, module.predictor, data, held_out, n_epochs, draw_seed(rng)
                )
            inference.calibrate_spread(module, unseen, target[rows])
        net.drop_training_state()
        return net

    def _new_net(
        self,
        module: TableCVAE | PredictorLoss,
        data: TableDataset,
        held_out: TableDataset | None,
        seed: int,
        task: str,
        max_epochs: int,
        net_params: dict[str, Any] | None,
        *,
        hooks: EpochHooks | None = None,
        larger: int = 1,
    ) -> CVAENet:
        """Return the net for one training, of batches `larger` times as large as usual."""
        return build_net(
            module,
            data,
            held_out,
            max_epochs=max_epochs,
            batch_size=larger * self._rows_per_step(len(data) + len(held_out or ())),
            learning_rate=math.sqrt(larger) * self.learning_rate_init,
            alpha=self.alpha,
            patience=self.n_iter_no_change,
            tol=self.tol,
            device=resolve_device(self.device),
            seed=seed,
            task=task if self.verbose else None,
            hooks=hooks,
            net_params=net_params or {},
        )

    def _train_predictor(
        self,
        module: TableCVAE,
        predictor: Predictor,
        data: TableDataset,
        held_out: TableDataset | None,
        n_epochs: int,
        seed: int,
    ) -> None:
        """Train the predictor, and let it have its say."""
        if not self._continues:
            predictor.take_hidden(module.encoder)
        predictor.requires_grad_(True)
        loss, net_params = PredictorLoss(module, predictor), predictor_params(self.net_params or {})
        net = self._new_net(
            loss, data, held_out, seed, "fit predictor", n_epochs, net_params, larger=LARGER_BATCHES
        )
        net.fit(data)
        predictor.requires_grad_(False)
        module.direct_share.fill_(self.direct_share)

    def _validation_rows(self, weight: Array, rng: np.random.RandomState) -> tuple[Array, int]:
        """Return the rows in random order, those without weight last, and how many to hold out."""
        order = rng.permutation(len(weight))
        order = order[np.argsort(weight[order] == 0, kind="stable")]
        n_weighted = int(np.count_nonzero(weight))
        if not self.early_stopping or n_weighted < 2:
            return order, 0
        n_held_out = round(self.validation_fraction * n_weighted)
        return order, int(np.clip(n_held_out, 1, n_weighted - 1))

    def _fit_closed_forms(
        self,
        module: TableCVAE,
        values: Array,
        observed: Array,
        weight: Array,
        rng: np.random.RandomState,
    ) -> None:
        """Start from the linear model of the `observed` cells of some rows with a weight.

        A model that was trained before has started, and fits its mixture of Gaussians anew.
        """
        some = rng.permutation(np.flatnonzero(weight))[:LINEAR_START_ROWS]
        generator = torch.Generator().manual_seed(draw_seed(rng))
        device = module.is_condition.device
        cells = torch.from_numpy(values[some]).to(device)
        shown = torch.from_numpy(observed[some]).to(device)
        with self._torch_settings():
            if not self._continues:
                module.start(cells, shown, generator)
            module.fit_mixture(cells, shown, generator)

    @property
    def _backbone(self) -> Backbone:
        backbone: Backbone = chosen(self.backbone, {"mlp": MLP})
        return backbone

    @property
    def _is_plain(self) -> bool:
        """Whether cells have no place in a grid, and do not hide themselves."""
        return self._backbone.tabular and self.missing_mechanism == "ignorable"

    def _layer_sizes(self, n: int) -> list[int]:
        if isinstance(self.hidden_layer_sizes, str):
            return auto_layer_sizes(n)
        return checked_sizes(self.hidden_layer_sizes)

    def _number_of_decoders(self, n: int) -> int:
        if self.n_decoders != "auto":
            return int(self.n_decoders)
        return auto_n_decoders(n) if self._backbone.tabular else 1

    def _rows_per_step(self, n: int) -> int:
        return auto_batch_size(n) if self.batch_size == "auto" else int(self.batch_size)

    def _steps_per_epoch(self, n: int) -> int:
        return math.ceil(n / self._rows_per_step(n))

    def _max_epochs(self, n: int, nearly_known: bool = False) -> int:
        if self.max_iter != "auto":
            return int(self.max_iter)
        return auto_epochs(n, self._steps_per_epoch(n), self.n_features_in_, nearly_known)

    def _predictor_epochs(self, n: int, n_epochs: int) -> int:
        """Return how many epochs the predictor has: as many as the model ran, or a usual share.

        Epochs that a user has chosen are those of both.
        """
        if self.max_iter != "auto" or "max_epochs" in (self.net_params or {}):
            return n_epochs
        usual = auto_predictor_epochs(n, self._steps_per_epoch(n), self.n_features_in_)
        return math.ceil(n_epochs * usual / self._max_epochs(n))

    def _epoch_hooks(
        self, callbacks: CallbackContext, table: TableCodec, X: Any, y: Any
    ) -> EpochHooks | None:
        """Tell scikit-learn's callbacks of each epoch; they may ask to stop."""
        if not getattr(self, "_skl_callbacks", None):
            return None
        tasks: list[CallbackContext] = []

        def begin(_: CVAENet) -> None:
            tasks.append(callbacks.subcontext(task_name="epoch"))
            tasks[-1].call_on_fit_task_begin(estimator=self, X=X, y=y)

        def end(net: CVAENet) -> bool:
            return tasks.pop().call_on_fit_task_end(
                estimator=self,
                X=X,
                y=y,
                reconstruction_attributes=lambda: self._fitted(table, net),
            )

        return EpochHooks(begin, end)

    def _fitted(self, table: TableCodec, net: CVAENet) -> dict[str, Any]:
        """What a fitted estimator needs to answer."""
        return {"_table": table, "net_": net, "_n_features_out": net.module_.n_components}

    def _remember(self, table: TableCodec, net: CVAENet) -> None:
        for name, value in self._fitted(table, net).items():
            setattr(self, name, value)
        self._learned_with = {name: getattr(self, name) for name in MODEL_PARAMETERS}
        self.device_ = net.device
        self.likelihoods_ = dict(zip(table.names, table.likelihoods, strict=False))
        self.ties_ = [(table.names[i], table.names[j]) for i, j in table.ties.pairs]
        self.scales_ = table.scales
        self.condition_names_ = [table.names[j] for j in table.conditions]
        self.loss_curve_ = [epoch["train_loss"] for epoch in net.history]
        self.validation_curve_ = [e["valid_loss"] for e in net.history if "valid_loss" in e]
        self.n_iter_ = len(net.history)
        self.hidden_layer_sizes_ = list(net.module_.hidden_layer_sizes)
        self.n_decoders_ = len(net.module_.decoder.members)
        self.n_sweeps_ = int(net.module_.n_sweeps)

    def _report_collapse(self, cells: Cells) -> None:
        """Say what the latents tell of training rows, and warn if that is nothing."""
        some = Cells(*(part[:ACTIVITY_ROWS] for part in cells))
        with self._torch_settings():
            activity = inference.latent_activity(self._module, some)
        self.kl_per_latent_ = activity.kl
        self.n_active_units_ = int((activity.spread > ACTIVE).sum())
        if self.n_active_units_ == 0 and len(cells.values) >= MIN_ROWS_TO_TELL_APART:
            warnings.warn(
                f"The posterior collapsed: none of {self.n_components} latents is active, together "
                f"they tell {activity.kl.sum():.3f} nats of a row (kl_per_latent_). If the columns "
                "are not independent, try objective=ELBO(beta=0.5) or ELBO(free_bits=0.1), a "
                "longer warm_up, or more epochs (max_iter).",
                ConvergenceWarning,
                stacklevel=2,
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self) -> Tags:
        return table_tags(super().__sklearn_tags__(), preserves_dtype=[])
