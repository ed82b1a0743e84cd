"""The skorch net that trains the model: batches, optimisers, schedule, stopping, guards."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from sklearn_cvae.optimizers import Muon

Array = NDArray[Any]

MAX_EPOCHS, ROWS_FOR_MAX_EPOCHS, MIN_STEPS, EPOCHS_OF_NEARLY_KNOWN = 96, 1_600, 320, 120
ROWS_SHOWN, EPOCHS_OF_LARGE = 800_000, 80
MAX_ROWS_SHOWN, MIN_EPOCHS = 2_250_000, 20
FEW_COLUMNS, MANY_COLUMNS, LEAST_SHARE = 7, 27, 1 / 4
SHARE_OF_PREDICTOR = 3 / 4
MANY_ROWS = 10_000
N_LAYERS, WIDTH, WIDE, ROWS_OF_WIDE = 4, 128, 192, 20_000
MUON_RATIO = 20 / 3
RISING_SHARE = 0.1
VALIDATION_SEED = 0
HELD_OUT_SHARES = 0.025, 0.05
ENOUGH_HELD_OUT_CELLS, MAX_HELD_OUT_CELLS, MAX_HELD_OUT_ROWS = 150, 500, 500
MIN_ROWS_TO_HOLD_OUT_OF = 100
MAX_LATENTS, MAX_DRAWS_PER_ROW, LATENT_ROWS = 50_000, 3, 512


class Batch(NamedTuple):
    """Some rows of an encoded table.

    Parameters
    ----------
    values : Tensor of shape (n, d), float32
    observed : Tensor of shape (n, d), bool
    weight : Tensor of shape (n,), float32
    """

    values: Tensor
    observed: Tensor
    weight: Tensor


class TableDataset(Dataset[Batch]):
    """Rows of an encoded table; a subset shares the memory of the whole.

    Parameters
    ----------
    table : Batch
        All rows.
    rows : Tensor of shape (n_rows,), int64
        The rows in this dataset.
    """

    def __init__(self, table: Batch, rows: Tensor) -> None:
        self.table, self.rows = table, rows

    @classmethod
    def split(
        cls,
        values: Array,
        observed: Array,
        weight: Array,
        order: Array,
        n_held_out: int,
        device: str,
    ) -> tuple[Self, Self | None]:
        """Return the training rows, and the first of `order` as held-out rows or None.

        Parameters
        ----------
        values : ndarray of shape (n, d), float32
        observed : ndarray of shape (n, d), bool
        weight : ndarray of shape (n,), float32
        order : ndarray of shape (n,), int
        n_held_out : int
        device : str
        """
        table = [torch.from_numpy(part).to(device) for part in (values, observed, weight)]
        rows = torch.from_numpy(order).to(device)
        held_out = cls(Batch(*table), rows[:n_held_out]) if n_held_out else None
        return cls(Batch(*table), rows[n_held_out:]), held_out

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Batch:
        index = self.rows[rows]
        return Batch(*(part[index] for part in self.table))


class SlicingIterator:
    """Batches by one indexing of whole tensors, several times cheaper than a DataLoader.

    Parameters
    ----------
    dataset : TableDataset
    batch_size : int
    generator : torch.Generator or None
        Shuffles the rows anew each epoch; None keeps their order.
    """

    def __init__(
        self, dataset: TableDataset, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        self.dataset, self.batch_size, self.generator = dataset, batch_size, generator

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Batch, None]]:
        n = len(self.dataset)
        if self.generator is None:
            order = torch.arange(n)
        else:
            order = torch.randperm(n, generator=self.generator)
        order = order.to(self.dataset.rows.device)
        for start in range(0, n, self.batch_size):
            yield self.dataset[order[start : start + self.batch_size]], None


def held_out_cells(observed: Array, rows: Array, rng: np.random.RandomState) -> Array:
    """Choose the cells that training does not see, by which draws are calibrated.

    Parameters
    ----------
    observed : ndarray of shape (n, d), bool
        Cells that may be chosen.
    rows : ndarray of int
        Rows that are held out anyway; if there are none, few cells of all rows are chosen.
    rng : RandomState

    Returns
    -------
    held_out : ndarray of shape (n, d), bool
    """
    held_out = np.zeros(observed.shape, dtype=bool)
    if len(rows):
        some = rows[:MAX_HELD_OUT_ROWS]
        held_out[some] = rng.random_sample((len(some), observed.shape[1])) < 0.3
    elif len(observed) >= MIN_ROWS_TO_HOLD_OUT_OF:
        total = max(observed.sum(), 1)
        share = np.clip(ENOUGH_HELD_OUT_CELLS / total, *HELD_OUT_SHARES)
        share = min(share, MAX_HELD_OUT_CELLS / total)
        n_cells = rng.binomial(observed.size, share)
        held_out.flat[rng.randint(observed.size, size=n_cells)] = True
    held_out &= observed
    return held_out


class StopTraining(Exception):
    """Raised by a callback to end training without an error."""


class CVAENet(NeuralNet):
    """A skorch net whose module returns each row's loss.

    Hidden weight matrices are trained by Muon, everything else by AdamW; both follow one
    schedule, a linear rise over the first tenth of the steps and a linear fall to zero.

    Parameters
    ----------
    n_steps : int
        Optimiser steps of the whole training, which scale the schedules.
    alpha : float
        Weight decay.
    max_grad_norm : float
        Gradients of a larger norm are scaled down to it.
    seed : int
        Seed of masks and latent noise.
    **kwargs
        Passed to skorch's `NeuralNet`.

    References
    ----------
    Jordan et al. Muon: An optimizer for hidden layers in neural networks. 2024.
    """

    def __init__(
        self,
        *args: Any,
        n_steps: int = 1,
        alpha: float = 0.0,
        max_grad_norm: float = 1.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.n_steps, self.alpha, self.max_grad_norm = n_steps, alpha, max_grad_norm
        self.seed = seed

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> CVAENet:
        matrices, outputs, others = split_parameters(self.module_)
        decay = self.alpha
        groups: list[dict[str, Any]] = [
            {"params": outputs, "weight_decay": decay},
            {"params": others},
        ]
        self.optimizer_: Any = torch.optim.AdamW(
            groups, lr=self.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self._optimizers_in_use: list[torch.optim.Optimizer] = [self.optimizer_]
        if matrices:
            self.muon_: Any = Muon(matrices, lr=self.lr * MUON_RATIO, weight_decay=decay)
            self._optimizers_in_use.append(self.muon_)
        self._base_rates = [
            (group, group["lr"]) for o in self._optimizers_in_use for group in o.param_groups
        ]
        self._named = [p for p in self.module_.named_parameters() if p[1].requires_grad]
        self._step = 0
        return self

    def on_train_begin(self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._generator: torch.Generator | None = torch.Generator(device=self.device).manual_seed(
            self.seed
        )

    def train_step(self, batch: tuple[Batch, None], **fit_params: Any) -> dict[str, Tensor]:
        """Take one step of both optimisers (skorch would run the network once for each)."""
        rows = batch[0]
        for group, rate in self._base_rates:
            group["lr"] = rate * one_cycle(self._step / self.n_steps)
        if not self.module_.training:
            self._set_training(True)
        for optimizer in self._optimizers_in_use:
            optimizer.zero_grad()
        beta = self.module_.objective.weight(self._step / self.n_steps)
        losses = self.module_(rows.values, rows.observed, beta, self._generator)
        loss = _weighted_mean(losses, rows.weight)
        loss.backward()
        nn.utils.clip_grad_norm_([p for _, p in self._named], self.max_grad_norm)
        self.notify("on_grad_computed", named_parameters=self._named, batch=batch, training=True)
        for optimizer in self._optimizers_in_use:
            optimizer.step()
        self._step += 1
        return {"loss": loss.detach()}

    def validation_step(self, batch: tuple[Batch, None], **fit_params: Any) -> dict[str, Tensor]:
        rows = batch[0]
        generator = torch.Generator(device=self.device).manual_seed(VALIDATION_SEED)
        self._set_training(False)
        with torch.no_grad():
            beta = self.module_.objective.weight(1.0)
            losses = self.module_(rows.values, rows.observed, beta, generator)
            return {"loss": _weighted_mean(losses, rows.weight)}

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> CVAENet:
        """Train without skorch's habit of swallowing Ctrl-C."""
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        with contextlib.suppress(StopTraining):
            self.fit_loop(X, y)
        self.notify("on_train_end", X=X, y=y)
        return self

    def drop_training_state(self) -> None:
        """Forget optimisers, callbacks and data, which a fitted model has no use for."""
        self.optimizer_ = self.muon_ = None
        self.callbacks: list[Any] = []
        self.callbacks_: list[Any] = []
        self.train_split = None
        self.iterator_train__generator = None
        self._base_rates, self._optimizers_in_use, self._generator = [], [], None
        self._named = []


def one_cycle(progress: float) -> float:
    """Return the learning rate's share of its peak after `progress` (0..1) of the steps.

    Examples
    --------
    >>> one_cycle(0.05), one_cycle(0.1), round(one_cycle(0.55), 3)
    (0.5, 1.0, 0.5)
    """
    if progress < RISING_SHARE:
        return max(progress / RISING_SHARE, 1e-3)
    return max((1 - progress) / (1 - RISING_SHARE), 0.0)


def _weighted_mean(losses: Tensor, weight: Tensor) -> Tensor:
    return (losses * weight).sum() / weight.sum().clamp(min=1e-12)


def split_parameters(
    module: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Separate the weights of hidden layers, which suit Muon, those of output layers, the rest.

    Those that need no gradient are in none.
    """
    groups: tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]] = ([], [], [])
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            hidden = ".hidden." in name and name.endswith("weight") and parameter.ndim == 2
            groups[0 if hidden else 1 if name.endswith(".out.weight") else 2].append(parameter)
    return groups


class NaNGuard(Callback):
    """Stop with an error, and a remedy, at the first loss that is not a finite number."""

    def on_batch_end(self, net: NeuralNet, batch: Any = None, **kwargs: Any) -> None:
        loss = net.history[-1, "batches", -1].get("train_loss", 0.0)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss became {loss} in epoch {len(net.history)}. "
                "Try a smaller learning_rate_init, or likelihoods={column: 'histogram'} for "
                "columns with extreme values."
            )


class KeepBest(Callback):
    """Stop when the validation loss has not fallen for a while; restore the best weights.

    Parameters
    ----------
    patience : int
        Epochs without an improvement before training stops.
    tol : float
        The least fall of the loss, in nats per cell, that is an improvement.
    """

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.best_, self.waited_, self.state_ = math.inf, 0, None

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        loss = net.history[-1, "valid_loss"]
        self.waited_ = 0 if loss < self.best_ - self.tol else self.waited_ + 1
        if loss < self.best_:
            self.best_ = loss
            self.state_ = copy.deepcopy(net.module_.state_dict())
        if self.waited_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.state_ is not None:
            net.module_.load_state_dict(self.state_)
        self.state_ = None


class DropBatches(Callback):
    """Forget an epoch's batch records, which otherwise grow without bound."""

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        if len(net.history) > 1:
            net.history[-2]["batches"].clear()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if len(net.history):
            net.history[-1]["batches"].clear()


class EpochBar(Callback):
    """One progress bar over the epochs, with the losses.

    Parameters
    ----------
    task : str
    """

    def __init__(self, task: str) -> None:
        self.task = task

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, desc=self.task, unit="epoch", leave=True)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        last = net.history[-1]
        losses = {k: f"{last[k]:.3f}" for k in ("train_loss", "valid_loss") if k in last}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_.close()


class EpochHooks(Callback):
    """Call two functions around each epoch; the second may return True to stop.

    Parameters
    ----------
    begin, end : callable
        Called with the net.
    """

    def __init__(self, begin: Callable[[CVAENet], None], end: Callable[[CVAENet], bool]) -> None:
        self.begin, self.end = begin, end

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.begin(net)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.end(net):
            raise StopTraining


def build_net(
    module: nn.Module,
    data: TableDataset,
    held_out: TableDataset | None,
    *,
    max_epochs: int,
    batch_size: int,
    learning_rate: float,
    alpha: float,
    patience: int,
    tol: float,
    device: str,
    seed: int,
    task: str | None,
    hooks: EpochHooks | None,
    net_params: dict[str, Any],
) -> CVAENet:
    """Assemble the net for one training; `net_params` override anything skorch knows.

    A `task` has a progress bar of that name.
    """
    callbacks: list[Any] = [("nan_guard", NaNGuard()), ("drop_batches", DropBatches())]
    if held_out is not None:
        callbacks.append(("keep_best", KeepBest(patience, tol)))
    if task is not None:
        callbacks.append(("epoch_bar", EpochBar(task)))
    if hooks is not None:
        callbacks.append(("hooks", hooks))
    own = dict(net_params)
    callbacks += own.pop("callbacks", None) or []
    batch_size, max_epochs = own.get("batch_size", batch_size), own.get("max_epochs", max_epochs)
    settings: dict[str, Any] = {
        "criterion": nn.Module,
        "n_steps": max_epochs * math.ceil(len(data) / batch_size),
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "lr": learning_rate,
        "alpha": alpha,
        "device": device,
        "seed": seed,
        "iterator_train": SlicingIterator,
        "iterator_train__generator": torch.Generator().manual_seed(seed),
        "iterator_valid": SlicingIterator,
        "train_split": None if held_out is None else predefined_split(held_out),
        "callbacks__print_log": None,
        "verbose": 0,
    }
    return CVAENet(module, callbacks=callbacks, **{**settings, **own})


def n_latents_of(n_rows: int) -> int:
    """Return how many latents the prior is fitted to.

    Examples
    --------
    >>> n_latents_of(1_400), n_latents_of(100_000)
    (4200, 50000)
    """
    return min(MAX_DRAWS_PER_ROW * n_rows, MAX_LATENTS)


@torch.no_grad()
def refit_prior(module: Any, data: TableDataset, seed: int) -> None:
    """Fit the prior anew to latents of the training rows, a few draws for each of few rows.

    Parameters
    ----------
    module : TableCVAE
    data : TableDataset
    seed : int
    """
    module.eval()
    generator = torch.Generator(device=data.rows.device).manual_seed(seed)
    cpu = torch.Generator().manual_seed(seed)
    n_latents = n_latents_of(len(data))
    order = torch.randperm(len(data), generator=cpu)[:n_latents]
    n_draws = math.ceil(n_latents / len(data))
    parts: list[tuple[Tensor, ...]] = []
    for rows in order.repeat(n_draws)[:n_latents].split(LATENT_ROWS):
        batch = data[rows]
        parts.append((*module.latents(batch.values, batch.observed, generator), batch.weight))
    z, c, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    module.prior_net.refit(z, c, weight, cpu)


def trained_net(module: nn.Module, device: str) -> CVAENet:
    """Wrap a module that was trained before."""
    net = CVAENet(
        module, criterion=nn.Module, device=device, train_split=None, callbacks__print_log=None
    )
    net.initialize()
    net.drop_training_state()
    return net


def auto_layer_sizes(n_rows: int) -> list[int]:
    """Return the widths of the hidden layers: fewer rows are learned by heart by wider ones.

    Examples
    --------
    >>> auto_layer_sizes(10_000), auto_layer_sizes(20_000)
    ([128, 128, 128, 128], [192, 192, 192, 192])
    """
    return [WIDE if n_rows >= ROWS_OF_WIDE else WIDTH] * N_LAYERS


def auto_n_decoders(n_rows: int) -> int:
    """Return how many decoders are averaged: two learn few rows less by heart than one.

    Examples
    --------
    >>> auto_n_decoders(10_000), auto_n_decoders(20_000)
    (2, 1)
    """
    return 1 if n_rows >= ROWS_OF_WIDE else 2


def auto_batch_size(n_rows: int) -> int:
    """Powers of two from 32 to 512, so that small tables still get enough steps; 1,024 of many.

    Examples
    --------
    >>> [auto_batch_size(n) for n in (150, 1_400, 5_000, 30_000)]
    [32, 256, 512, 1024]
    """
    if n_rows >= MANY_ROWS:
        return 1024
    return int(np.clip(2 ** round(np.log2(max(n_rows / 6, 1))), 32, 512))


def auto_epochs(
    n_rows: int, steps_per_epoch: int, n_columns: int, nearly_known: bool = False
) -> int:
    """Return how many epochs a table needs.

    96, and 120 where some numbers are nearly known by others; in proportion fewer under 1,600
    rows, which are learned by heart, yet 320 steps. The more columns, the sooner rows are told
    apart: from 27 on those 1,600 rows grow with the columns' square, from 7 on those 320 steps fall
    with it, by at most a factor of four. From 8,300 rows on at most as many epochs as show 800,000
    rows, or 80, and above 28,125 as many as show 2,250,000, yet 20.

    Examples
    --------
    >>> auto_epochs(150, 5, 4), auto_epochs(3_000, 6, 10), auto_epochs(30_000, 30, 10)
    (64, 96, 75)
    >>> auto_epochs(150, 5, 10), auto_epochs(150, 5, 14), auto_epochs(1_500, 6, 48)
    (32, 16, 29)
    >>> auto_epochs(3_000, 6, 10, nearly_known=True)
    120
    """
    usual = EPOCHS_OF_NEARLY_KNOWN if nearly_known else MAX_EPOCHS
    in_proportion = usual * n_rows / ROWS_FOR_MAX_EPOCHS * _share(MANY_COLUMNS, n_columns)
    least = MIN_STEPS / steps_per_epoch * _share(FEW_COLUMNS, n_columns)
    of_large = np.clip(MAX_ROWS_SHOWN / n_rows, MIN_EPOCHS, EPOCHS_OF_LARGE)
    at_most = np.clip(ROWS_SHOWN / n_rows, of_large, usual)
    return math.ceil(min(at_most, max(in_proportion, least)))


def auto_predictor_epochs(n_rows: int, steps_per_epoch: int, n_columns: int) -> int:
    """Return how many epochs the predictor of a table needs.

    Three quarters of the model's, since it starts from the encoder. Latents tell rows apart the
    sooner the more columns there are; single cells are not learned by heart so soon. So from 24 on
    its epochs fall with the root of the columns, where the model's fall with the square.

    Examples
    --------
    >>> [auto_epochs(1_400, 6, n_columns) for n_columns in (27, 30, 48)]
    [84, 69, 27]
    >>> [auto_predictor_epochs(1_400, 6, n_columns) for n_columns in (27, 30, 48)]
    [63, 60, 48]
    """
    of_few = auto_epochs(n_rows, steps_per_epoch, min(n_columns, MANY_COLUMNS))
    return math.ceil(SHARE_OF_PREDICTOR * of_few * math.sqrt(min(MANY_COLUMNS / n_columns, 1)))


def predictor_params(net_params: dict[str, Any]) -> dict[str, Any]:
    """Return which of the user's parameters hold for the predictor's net, too.

    Callbacks watch the model, and by the model's epochs it is known how many the predictor has.

    Examples
    --------
    >>> predictor_params({"lr": 0.1, "max_epochs": 5})
    {'lr': 0.1}
    """
    return {k: v for k, v in net_params.items() if k not in ("callbacks", "max_epochs")}


def _share(usual: int, n_columns: int) -> float:
    """Return which share of what few columns need is enough for `n_columns`."""
    return float(np.clip((usual / n_columns) ** 2, LEAST_SHARE, 1.0))


def resolve_device(device: str) -> str:
    """Return the torch device that "auto" stands for.

    Raises
    ------
    ValueError
        For a device that there is not, or that has no float64, in which answers are counted up.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        if found.type == "mps":
            raise ValueError(
                "device='mps' has no float64, which answers need; use 'cpu' or 'cuda'."
            )
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"There is no {device=} here ({str(error).splitlines()[0]}); use 'auto' or 'cpu'."
        raise ValueError(message) from error
    return str(found)


def check_default_dtype() -> None:
    """Raise ValueError if torch would make networks of another dtype than tables are encoded in."""
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"torch's default dtype is {torch.get_default_dtype()}, networks are of float32; call "
            "torch.set_default_dtype(torch.float32) before fit."
        )


_thread_lock = threading.Lock()
_thread_users = 0
_threads_before = 1


@contextlib.contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Run with n torch threads; leaving restores the count that the first to enter found.

    Each Python thread has a count of its own, which torch takes from the last one that was set.
    """
    global _thread_users, _threads_before
    with _thread_lock:
        found = torch.get_num_threads()
        if _thread_users == 0:
            _threads_before = found
        _thread_users += 1
        torch.set_num_threads(n)
    try:
        yield
    finally:
        with _thread_lock:
            _thread_users -= 1
            torch.set_num_threads(_threads_before)


@contextlib.contextmanager
def torch_settings(n_threads: int) -> Iterator[None]:
    """Run with some torch threads, in this one of which the least numbers of float32 are zeros.

    Some processors take tens of times as long for numbers below 1e-38, which probabilities and
    gradients of what is ruled out are. Leaving restores both settings.
    """
    were_zeros = bool(torch.tensor(1e-39, dtype=torch.float32, device="cpu") == 0)
    with torch_threads(n_threads):
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(were_zeros)
