"""Answers from a trained model: latents, imputed or drawn cells, and log-marginals.

Rows go through the network in chunks padded to a fixed size, and latent noise is either the
same for every row or keyed by the row's content, so that no result depends on which other rows
are asked for, on their order, or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_cvae.codecs import Cells, Choices, Codec
from sklearn_cvae.kinds import Numeric, pooled
from sklearn_cvae.model import TableCVAE
from sklearn_cvae.noise import RowNoise, chain_noise, shared_uniforms
from sklearn_cvae.objectives import log_weights
from sklearn_cvae.priors import DiagonalNormal
from sklearn_cvae.ties import Ties

Array = NDArray[Any]
Decoder = Callable[[Codec, Array, int, slice], Array]

CHUNK = 256
N_PROPOSALS = 64
N_CALIBRATION_DRAWS = 16
# How often completed rows are encoded again to impute, if held-out cells say that it helps.
N_IMPUTING_SWEEPS, CHOICE_DRAWS, MIN_CELLS_TO_CHOOSE_BY = 4, (32, 64), 30
# Standard errors that gains must have: of scores of distributions, and of squared errors.
SURE = np.array([3.0, 1.0])
SPREADS = tuple(1.1**k for k in range(-3, 11))
USUAL_SPREAD, USUAL_DEVIATION = 1.3, 0.2
N_SWEEPS = 3
N_STARTS = 8


class _Chunk(NamedTuple):
    """CHUNK rows on the model's device, and what the network says of them."""

    rows: slice
    values: Tensor
    visible: Tensor
    given: Tensor
    c: Tensor
    posterior: DiagonalNormal
    spread: float | Tensor = 1.0

    @property
    def hidden(self) -> Tensor:
        """Rows that show no cell, of shape (CHUNK, 1): all that is known of them is the prior."""
        return ~self.visible.any(dim=1, keepdim=True)

    def showing(self, model: TableCVAE, values: Tensor, visible: Tensor) -> _Chunk:
        """Return the chunk with other cells shown as data."""
        posterior = model.posterior(model.inputs(values), visible, self.c)
        return self._replace(values=values, visible=visible, posterior=posterior)

    def widened(self, spread: float | Tensor) -> _Chunk:
        """Return the chunk with wider distributions of latents and of numbers given latents."""
        return self._replace(posterior=self.posterior.widened(spread), spread=spread)


def _chunks(model: TableCVAE, cells: Cells) -> Iterator[_Chunk]:
    device = model.is_condition.device
    for start in range(0, len(cells.values), CHUNK):
        rows = slice(start, min(start + CHUNK, len(cells.values)))
        values, visible, given = (_padded(part[rows]).to(device) for part in cells)
        inputs = model.inputs(values)
        c = model.condition(inputs, given)
        posterior = model.posterior(inputs, visible, c)
        yield _Chunk(rows, values, visible, given, c, posterior)


def _padded(rows: Array) -> Tensor:
    """Fill a chunk up to CHUNK rows, since kernels round differently for other shapes."""
    if len(rows) == CHUNK and rows.flags.c_contiguous:
        return torch.from_numpy(rows)
    padded = np.zeros((CHUNK, *rows.shape[1:]), dtype=rows.dtype)
    padded[: len(rows)] = rows
    return torch.from_numpy(padded)


def latent_means(model: TableCVAE, cells: Cells) -> Array:
    """Return E[z | visible cells, c], of shape (n, n_components), float32."""
    means = np.empty((len(cells.values), model.n_components), dtype=np.float32)
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            mean = chunk.posterior.mean
            if chunk.hidden.any():
                mean = torch.where(chunk.hidden, model.prior(chunk.c).mean, mean)
            means[chunk.rows] = mean[: len(means[chunk.rows])].cpu().numpy()
    return means


class Activity(NamedTuple):
    """What the latents say of the rows.

    Parameters
    ----------
    kl : ndarray of shape (n_components,)
        Nats that each latent tells of a row: the mean KL of its posterior from the Gaussian of
        all rows' latents.
    spread : ndarray of shape (n_components,)
        Share of each latent's variance that is between the rows' posterior means.
    """

    kl: Array
    spread: Array


def latent_activity(model: TableCVAE, cells: Cells) -> Activity:
    """Return what the latents say of some rows."""
    loc, log_scale = [], []
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            n = chunk.rows.stop - chunk.rows.start
            loc.append(chunk.posterior.loc[:n].double().cpu())
            log_scale.append(chunk.posterior.log_scale[:n].double().cpu())
    means, scales = torch.cat(loc), torch.cat(log_scale)
    between = means.var(dim=0, correction=0)
    total = between + (2 * scales).exp().mean(dim=0)
    kl = total.log() / 2 - scales.mean(dim=0)
    return Activity(kl.numpy(), (between / total).numpy())


def choose_sweeps(model: TableCVAE, cells: Cells, target: Array) -> None:
    """Set the model's `n_sweeps` by held-out cells, and its `spread` to what is usual.

    Sweeps are tried on tables only: of images and steps in time whole stretches go missing, of
    which single cells say nothing.

    Parameters
    ----------
    model : TableCVAE
    cells : Cells
        Rows with held-out cells, which are not visible; their values are known all the same.
    target : ndarray of shape (n, d), bool
        The held-out cells.
    """
    model.eval()
    model.n_sweeps.fill_(0)
    if model.backbone.tabular and np.count_nonzero(target) >= MIN_CELLS_TO_CHOOSE_BY:
        model.n_sweeps.fill_(N_IMPUTING_SWEEPS if _sweeps_help(model, cells, target) else 0)
    model.spread.fill_(USUAL_SPREAD if _has_numbers(model) else 1.0)


def calibrate_spread(model: TableCVAE, cells: Cells, target: Array) -> None:
    """Set the model's `spread` by held-out cells; parameters as in `choose_sweeps`."""
    model.eval()
    if _has_numbers(model):
        model.spread.fill_(_usual_spread(model, cells, target))


def _has_numbers(model: TableCVAE) -> bool:
    return any(isinstance(kind, Numeric) for kind in model.table_kinds)


def _sweeps_help(model: TableCVAE, cells: Cells, target: Array) -> bool:
    """Whether sweeps surely impute the targeted cells better; few draws rule most tables out."""
    surely = False
    for n_draws in CHOICE_DRAWS:
        misfits = []
        for n_sweeps in (0, N_IMPUTING_SWEEPS):
            model.n_sweeps.fill_(n_sweeps)
            misfits.append(_misfits(model, cells, target, n_draws))
        gains = misfits[0] - misfits[1]
        if (gains.mean(axis=1) <= 0).any():
            return False
        errors = gains.std(axis=1) / np.sqrt(gains.shape[1])
        surely = bool((gains.mean(axis=1) > SURE * errors).all())
    return surely


@torch.inference_mode()
def _misfits(model: TableCVAE, cells: Cells, target: Array, n_draws: int) -> Array:
    r"""Return two scores of each targeted cell, less is better, of shape (2, n_cells).

    The first are of its distribution: CRPS of a number's score, half the Brier score of a level,

    .. math:: \int (F(x) - 1[x \ge y])^2 dx, \quad \frac12 \sum_l (p_l - 1[l = y])^2

    The second are squared errors of mean scores, and again Brier scores. Distributions gain from
    averages over more states where they were too narrow, means do not.

    References
    ----------
    Gneiting, Raftery. Strictly Proper Scoring Rules, Prediction, and Estimation. JASA 2007.
    """
    noise, misfits = _shared_noise(model, n_draws), []
    for chunk in _chunks(model, cells):
        scored = _padded(target[chunk.rows])
        probs = _mean_probs(model, chunk, noise)
        for kind, part in zip(model.table_kinds, probs, strict=True):
            values = chunk.values[:, kind.columns]
            if isinstance(kind, Numeric):
                error = (part * kind.centres).sum(-1) - values
                both = torch.stack([kind.crps(part, values), error.square()])
            else:
                both = kind.half_brier(part, values).expand(2, -1, -1)
            misfits.append(both.cpu()[:, scored[:, kind.columns.cpu()]].double().numpy())
    return np.concatenate(misfits, axis=1)


def _usual_spread(model: TableCVAE, cells: Cells, target: Array) -> float:
    """Return how much wider than the network says imputed cells are to be drawn.

    The posterior network has seen its training rows and is too sure of others. The spread is the
    one whose central 90 % intervals hold 90 % of held-out numbers; with few of them it stays near
    `USUAL_SPREAD`, by a log-normal prior of deviation `USUAL_DEVIATION`. Coverage grows with the
    spread, so that one spread's misfit bounds that of others, and few are tried.
    """
    spreads = np.array(SPREADS)
    log_prior = -0.5 * (np.log(spreads / USUAL_SPREAD) / USUAL_DEVIATION) ** 2
    at_most, tried = log_prior.copy(), np.zeros(len(spreads), dtype=bool)
    while not tried[best := int(np.argmax(at_most))]:
        tried[best] = True
        position = _positions(model, cells, target, SPREADS[best])
        if len(position):
            covered = np.mean((position > 0.05) & (position < 0.95))
            misfit = 0.5 * len(position) * (covered - 0.9) ** 2 / (0.9 * 0.1)
            further = slice(best, None) if covered > 0.9 else slice(best + 1)
            at_most[further] = np.minimum(at_most[further], log_prior[further] - misfit)
    return SPREADS[best]


@torch.inference_mode()
def _positions(model: TableCVAE, cells: Cells, target: Array, spread: float) -> Array:
    """Return where in their predictive distributions (0..1) the targeted numbers lie."""
    noise, within = _shared_noise(model, N_CALIBRATION_DRAWS), np.random.default_rng(0)
    positions = []
    for chunk in _chunks(model, cells):
        probs = _mean_probs(model, chunk.widened(spread), noise)
        scored = _padded(target[chunk.rows])
        for kind, part in zip(model.table_kinds, probs, strict=True):
            if isinstance(kind, Numeric):
                values = chunk.values[:, kind.columns]
                atoms = kind.atoms(values)[..., None]
                below = (part.cumsum(-1) - part).gather(-1, atoms)
                mass = part.gather(-1, atoms)
                chosen = scored[:, kind.columns.cpu()]
                start, share = (x[..., 0].cpu()[chosen].numpy() for x in (below, mass))
                at = kind.within_atoms(values).cpu()[chosen].numpy()
                at = np.where(np.isnan(at), within.random(len(share)), at)
                positions.append(start + at * share)
    return np.concatenate(positions) if positions else np.empty(0)


def encoded(codecs: Sequence[Codec], numbers: Array) -> Array:
    columns = [c.encode(x) for c, x in zip(codecs, numbers.T, strict=True)]
    return np.column_stack(columns)


def log_marginals(model: TableCVAE, cells: Cells, n_draws: int) -> Array:
    """Return importance-sampled log p(visible cells | c) in the kinds' units, of shape (n,)."""
    result = np.empty(len(cells.values))
    uniforms = shared_uniforms(n_draws, model.n_components)
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            u = uniforms.to(chunk.c.device)[:, None].expand(-1, CHUNK, -1)
            log_w = _proposals(model, chunk, [], model.prior(chunk.c), u).log_weight
            log_mean = log_w.double().logsumexp(dim=0) - np.log(n_draws)
            log_mean[chunk.hidden[:, 0]] = 0.0
            result[chunk.rows] = log_mean[: len(result[chunk.rows])].cpu().numpy()
    return result


def decode_latents(
    model: TableCVAE, codecs: Sequence[Codec], z: Array, cells: Cells, decoder: Decoder
) -> Array:
    """Return numbers for all cells at given latents, of shape (n, d), float64."""

    def probs(chunk: _Chunk) -> Tensor:
        return _flat(_probs(model, _padded(z[chunk.rows]).to(chunk.c.device), chunk))

    return _decode(model, codecs, cells, probs, [decoder])[0]


def impute_point(
    model: TableCVAE,
    codecs: Sequence[Codec],
    cells: Cells,
    decoders: Sequence[Decoder],
    n_draws: int,
    spread: float | Tensor = 1.0,
) -> list[Array]:
    """Return numbers for all cells from their distribution given the visible ones.

    The distribution is the average over `n_draws` draws of z whose noise all rows share; of a model
    that imputes by sweeps, over the states of chains that begin at such draws, as many in all. It
    is pooled with the predictor's.

    Parameters
    ----------
    model : TableCVAE
    codecs : sequence of codec
    cells : Cells
    decoders : sequence of decoder
        What to take from each cell's distribution.
    n_draws : int
    spread : float, default=1.0
        How many times wider than the network says the distributions are taken to be.

    Returns
    -------
    numbers : list of ndarray of shape (n, d), float64
        One for each decoder.
    """
    noise = _shared_noise(model, n_draws)

    def probs(chunk: _Chunk) -> Tensor:
        mean = _mean_probs(model, chunk.widened(spread), noise)
        return _flat(_if_missing(model, mean))

    return _decode(model, codecs, cells, probs, decoders)


def impute_draw(model: TableCVAE, codecs: Sequence[Codec], cells: Cells, noise: RowNoise) -> Array:
    """Return one joint draw of all cells given the visible ones, by the latents alone.

    Of a model that imputes by sweeps, a row is drawn from one state of its chain, by chance.

    Parameters
    ----------
    model : TableCVAE
    codecs : sequence of codec
    cells : Cells
    noise : RowNoise
        Each row's own randomness.

    Returns
    -------
    numbers : ndarray of shape (n, d), float64
    """
    decoders = [partial(_draw_cells, noise)]
    return _decode(model, codecs, cells, partial(_state, model, noise), decoders)[0]


def impute_draws(
    model: TableCVAE,
    codecs: Sequence[Codec],
    cells: Cells,
    noises: Sequence[RowNoise],
    n_draws: int,
) -> list[Array]:
    r"""Return joint draws of all cells given the visible ones, one for each noise.

    What goes together is the latents', each cell's distribution that of `impute_point`: a cell
    drawn at a row's z is moved to the same quantile of the latter,

    .. math:: x_j \leftarrow G_j^{-1}(F_j(x_j))

    where F_j is its distribution by the latents, G_j that pooled with the predictor's. Without a
    predictor nothing is moved.

    Parameters
    ----------
    model : TableCVAE
    codecs : sequence of codec
    cells : Cells
    noises : sequence of RowNoise
        Each row's own randomness.
    n_draws : int
        Latent draws behind F_j, whose noise all rows share.

    Returns
    -------
    numbers : list of ndarray of shape (n, d), float64
    """
    if not model.direct_share:
        return [impute_draw(model, codecs, cells, noise) for noise in noises]
    numbers, shared = [np.empty(cells.values.shape) for _ in noises], _shared_noise(model, n_draws)
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            n = chunk.rows.stop - chunk.rows.start
            wide = chunk.widened(model.spread)
            latent = _latent_probs(model, wide, shared)
            whole = _with_predicted(model, wide, latent)
            before, after = (
                dict(_columns(model, codecs, _rows_of(part, n))) for part in (latent, whole)
            )
            for table, noise in zip(numbers, noises, strict=True):
                state = _state(model, noise, chunk)[:n].cpu().numpy().astype(np.float64)
                for j, probs in _columns(model, codecs, state):
                    u = _ranks(probs, before[j], noise.cell(chunk.rows, j))
                    table[chunk.rows, j] = codecs[j].quantile(after[j], u)
    return numbers


def _state(model: TableCVAE, noise: RowNoise, chunk: _Chunk) -> Tensor:
    """Return the probabilities of all cells at one z per row, or at one state of its chain."""
    n_sweeps, width = int(model.n_sweeps), model.n_components + model.n_columns
    noises = [noise.latent(chunk.rows, model.n_components + 2)]
    noises += [noise.again(k).latent(chunk.rows, width) for k in range(1, n_sweeps + 1)]
    first, *others = (_padded(u).to(chunk.c.device) for u in noises)
    states = _states(model, chunk.widened(model.spread), [first[:, :-1], *others])
    drawn = _flat(_if_missing(model, next(states)))
    for sweep, state in enumerate(states, start=1):
        goes_on = first[:, -1:] * (n_sweeps + 1) >= sweep
        drawn = torch.where(goes_on, _flat(_if_missing(model, state)), drawn)
    return drawn


def _rows_of(probs: list[Tensor], n: int) -> Array:
    """Return the first n rows of probabilities, side by side, float64."""
    flat: Array = _flat(probs)[:n].cpu().numpy().astype(np.float64)
    return flat


def _ranks(probs: Array, of_all: Array, u: Array) -> Array:
    """Return where, in distributions over atoms, the quantiles of others lie.

    Parameters
    ----------
    probs, of_all : ndarray of shape (n, n_atoms)
        The others, and those that are asked for.
    u : ndarray of shape (n,)
        Which quantiles; within an atom ranks go on evenly.

    Returns
    -------
    ranks : ndarray of shape (n,)
        In [0, 1).
    """
    ends, row = probs.cumsum(axis=1), np.arange(len(probs))
    at = u * ends[:, -1]
    atom = np.minimum((ends <= at[:, None]).sum(axis=1), probs.shape[1] - 1)
    mass = np.maximum(probs[row, atom], np.finfo(float).tiny)
    within = np.clip((at - ends[row, atom]) / mass + 1, 0, 1)
    cumulated = of_all.cumsum(axis=1)
    rank = cumulated[row, atom] - (1 - within) * of_all[row, atom]
    below_one = np.nextafter(1.0, 0.0)
    ranks: Array = np.clip(rank / cumulated[:, -1], 0, below_one)
    return ranks


class Draws(NamedTuple):
    """Drawn rows, and how many proposals stand behind the choice of each.

    Parameters
    ----------
    numbers : ndarray of shape (n, d), float64
    effective : ndarray of shape (n,)
        Effective number, of `N_PROPOSALS`, that the row was chosen from.
    """

    numbers: Array
    effective: Array


def sample(
    model: TableCVAE,
    codecs: Sequence[Codec],
    ties: Ties,
    cells: Cells,
    shown: Array,
    choices: dict[int, Choices],
    noise: RowNoise,
    *,
    n_sweeps: int,
    temperature: float,
) -> Draws:
    r"""Draw all cells from p(x | visible cells, chosen sets, c).

    Of `N_PROPOSALS` latent proposals, half from the posterior network and half from the prior,
    one is chosen with probability proportional to its importance weight, exact in the limit of
    many proposals. Of a column with a set of allowed values, each proposal has one of them, which
    the weight accounts for.

    Then the row is drawn, encoded whole and drawn again, `n_sweeps` times, while the cells that
    were asked for stay (pseudo-Gibbs sampling). The posterior network knows where the latents of
    real rows are better than any prior, and pulls a row towards them; `model.tilt` keeps the
    columns' distributions.

    Parameters
    ----------
    model : TableCVAE
    codecs : sequence of codec
    ties : Ties
    cells : Cells
    shown : ndarray of shape (n, d)
        The visible cells' numbers, NaN elsewhere.
    choices : dict of int to Choices
        By column.
    noise : RowNoise
        Each row's own randomness.
    n_sweeps : int
    temperature : float
        Factor of the variance of latents and of numbers; levels have probabilities p^(1 / T).

    References
    ----------
    Rezende, Mohamed, Wierstra. Stochastic Backpropagation and Approximate Inference in Deep
    Generative Models. ICML 2014 (appendix F: such chains, for missing cells).
    """
    draws = Draws(np.empty(cells.values.shape), np.empty(len(cells.values)))
    chosen = [_Chosen(model, codecs[j], j, choice) for j, choice in choices.items()]
    start = model.start_tilt if n_sweeps else torch.ones_like(model.start_tilt)
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            z, chunk, effective = _first_latents(model, chunk, chosen, noise, temperature, start)
            n = chunk.rows.stop - chunk.rows.start
            fixed = shown[chunk.rows].copy()
            for column in chosen:
                fixed[:, column.position] = column.numbers_in(chunk)
            numbers = _drawn_cells(model, codecs, chunk, z, noise, temperature, start)
            for sweep in range(1, n_sweeps + 1):
                again = noise.again(sweep)
                u = _padded(again.latent(chunk.rows, model.n_components)).to(z.device)
                whole = _whole(model, codecs, chunk, ties.settled(numbers, fixed))
                z = whole.posterior.draw(_normal(u))
                numbers = _drawn_cells(model, codecs, chunk, z, again, temperature, model.tilt)
            draws.numbers[chunk.rows] = ties.settled(numbers, fixed)
            draws.effective[chunk.rows] = effective[:n]
    return draws


def _first_latents(
    model: TableCVAE,
    chunk: _Chunk,
    chosen: list[_Chosen],
    noise: RowNoise,
    temperature: float,
    tilt: Tensor,
) -> tuple[Tensor, _Chunk, Array]:
    """Return a latent vector per row, the chunk with the choices made, and effective numbers."""
    width = model.n_components + 2 + len(chosen)
    u = _padded(noise.latent(chunk.rows, width)).to(chunk.c.device)
    prior = model.prior(chunk.c).widened(temperature**0.5)
    free = chunk.hidden & (len(chosen) == 0)
    z = torch.zeros_like(u[:, : model.n_components])
    if free.any():
        z = _start(model, chunk, prior, u[:, : model.n_components + 1], u[:, -1:], tilt)
    if free.all():
        return z, chunk, np.full(CHUNK, float(N_PROPOSALS))
    even = shared_uniforms(N_PROPOSALS, width - 2).to(u.device)
    proposals = _proposals(model, chunk, chosen, prior, (even[:, None] + u[:, :-1]) % 1)
    weight, at = _choice(proposals.log_weight, u[:, -1:])
    visible = chunk.visible.clone()
    visible[:, [column.position for column in chosen]] = True
    chunk = chunk._replace(values=proposals.values[at], visible=visible)
    effective = torch.where(free[:, 0], N_PROPOSALS, 1 / weight.square().sum(dim=1))
    return torch.where(free, z, proposals.z[at]), chunk, effective.cpu().numpy()


def _choice(log_weight: Tensor, u: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Choose one of each row's proposals.

    Parameters
    ----------
    log_weight : Tensor of shape (n_proposals, CHUNK)
    u : Tensor of shape (CHUNK, 1)

    Returns
    -------
    weight : Tensor of shape (CHUNK, n_proposals), float64
        Summing to 1.
    at : tuple of Tensor of shape (CHUNK,)
        Where among (n_proposals, CHUNK) the chosen ones are.
    """
    weight = log_weight.T.double().softmax(dim=1)
    cumulated = weight.cumsum(dim=1)
    k = torch.searchsorted(cumulated, u.double() * cumulated[:, -1:])[:, 0]
    return weight, (k.clamp(max=len(log_weight) - 1), torch.arange(len(weight), device=u.device))


def _start(
    model: TableCVAE, chunk: _Chunk, prior: Any, u: Tensor, choice: Tensor, tilt: Tensor
) -> Tensor:
    """Draw latents from the prior; of `N_STARTS` one is chosen by its cells' expected factors."""
    if bool((tilt == 1).all()):
        return _prior_draw(prior, u)
    draws, log_weights = [], []
    for even in shared_uniforms(N_STARTS, model.n_components).to(u.device):
        z = _prior_draw(prior, (even + u) % 1)
        log_weight, at = torch.zeros(CHUNK, device=u.device), 0
        probs = model.likelihood(z, chunk.c).probs()
        for kind, part in zip(model.table_kinds, probs, strict=True):
            factors = tilt[at : (at := at + part[0].numel())].view_as(part[0])
            free = ~chunk.given[:, kind.columns]
            log_weight += ((part * factors).sum(-1).log() * free).sum(1)
        draws.append(z)
        log_weights.append(log_weight)
    return torch.stack(draws)[_choice(torch.stack(log_weights), choice)[1]]


@torch.inference_mode()
def start_probs(model: TableCVAE, cells: Cells, noise: RowNoise) -> Iterator[Array]:
    """Yield (n_chunk, n_atoms) probabilities of the atoms at draws from the prior."""
    model.eval()
    for chunk in _chunks(model, cells):
        u = _padded(noise.latent(chunk.rows, model.n_components + 1)).to(chunk.c.device)
        z = _prior_draw(model.prior(chunk.c), u)
        probs = _flat(model.likelihood(z, chunk.c).probs())
        yield probs[: chunk.rows.stop - chunk.rows.start].cpu().numpy()


class _Proposals(NamedTuple):
    """Latents, the cells they were proposed with, and log-weights, of each proposal and row."""

    z: Tensor
    values: Tensor
    log_weight: Tensor


def _proposals(
    model: TableCVAE,
    chunk: _Chunk,
    chosen: list[_Chosen],
    prior: Any,
    uniforms: Tensor,
) -> _Proposals:
    """Draw latents, every second from the prior, and weigh them against p(z, visible | c).

    Parameters
    ----------
    model : TableCVAE
    chunk : _Chunk
    chosen : list of _Chosen
        Each proposal shows one of a column's numbers, all alike in probability.
    prior : DiagonalNormal or NormalMixture
    uniforms : Tensor of shape (n_draws, CHUNK, n_components + 1 + n_chosen)
    """
    width, n = model.n_components, len(uniforms)
    share = -(-n // 2) / n  # of the draws from the posterior
    log_odds = np.log(1 / share - 1) if share < 1 else -np.inf
    parts = []
    for i, u in enumerate(uniforms):
        shown, log_share = _choose(model, chunk, chosen, u[:, width + 1 :])
        from_prior, own = _prior_draw(prior, u[:, : width + 1]), shown.posterior
        draw = from_prior if i % 2 else own.draw(_normal(u[:, :width]))
        cells = model.likelihood(draw, chunk.c).log_prob(shown.values)
        log_prior = prior.log_prob(draw)
        mixed = torch.logaddexp(own.log_prob(draw), log_prior + log_odds)
        log_proposal = mixed + np.log(share)
        log_likelihood = torch.where(shown.visible, cells, 0.0).sum(dim=1) + log_share
        weight = log_weights(log_likelihood, log_prior, log_proposal)
        parts.append(_Proposals(draw, shown.values, weight))
    return _Proposals(*(torch.stack(part) for part in zip(*parts, strict=True)))


class _Chosen:
    """A column's choices on the model's scale and device."""

    def __init__(self, model: TableCVAE, codec: Codec, position: int, choices: Choices) -> None:
        encoded = codec.encode(choices.numbers)
        order = np.argsort(encoded, kind="stable")
        self.position, self.numbers, self.encoded = position, choices.numbers[order], encoded[order]
        device = model.is_condition.device
        self.values = torch.from_numpy(self.encoded).to(device)
        self.log_share = torch.from_numpy(np.log(choices.atoms_share[order])).float().to(device)

    def numbers_in(self, chunk: _Chunk) -> Array:
        """Return the numbers that a chunk's rows show."""
        shown = chunk.values[: chunk.rows.stop - chunk.rows.start, self.position].cpu().numpy()
        return self.numbers[np.searchsorted(self.encoded, shown)]


def _choose(
    model: TableCVAE, chunk: _Chunk, chosen: list[_Chosen], u: Tensor
) -> tuple[_Chunk, Tensor]:
    """Show one of each column's choices in every row; return the log of its share of its atom."""
    log_share = torch.zeros(CHUNK, device=u.device)
    if not chosen:
        return chunk, log_share
    values, visible = chunk.values.clone(), chunk.visible.clone()
    for column, share in zip(chosen, u.T, strict=True):
        at = (share * len(column.values)).long().clamp(max=len(column.values) - 1)
        values[:, column.position] = column.values[at]
        visible[:, column.position] = True
        log_share = log_share + column.log_share[at]
    return chunk.showing(model, values, visible), log_share


def _drawn_cells(
    model: TableCVAE,
    codecs: Sequence[Codec],
    chunk: _Chunk,
    z: Tensor,
    noise: RowNoise,
    temperature: float,
    tilt: Tensor,
) -> Array:
    """Draw the numbers of a chunk's rows at one latent vector each, of shape (n_rows, d)."""
    probs = model.likelihood(z, chunk.c).probs(temperature)
    kinds = zip(model.table_kinds, probs, strict=True)
    tempered = [p if k.numeric else (p.log() / temperature).softmax(-1) for k, p in kinds]
    block = _flat(tempered) * tilt
    n = chunk.rows.stop - chunk.rows.start
    numbers = np.empty((n, model.n_columns))
    for j, part in _columns(model, codecs, block[:n].cpu().numpy().astype(np.float64)):
        part /= part.sum(axis=1, keepdims=True)
        numbers[:, j] = _draw_cells(noise, codecs[j], part, j, chunk.rows)
    return numbers


def _whole(model: TableCVAE, codecs: Sequence[Codec], chunk: _Chunk, numbers: Array) -> _Chunk:
    """Return the chunk with the drawn numbers shown wherever nothing was."""
    drawn = encoded(codecs, numbers)
    known = _padded(~np.isnan(drawn)).to(chunk.c.device)
    fresh = _padded(np.nan_to_num(drawn)).to(chunk.c.device)
    return _completed(model, chunk, fresh, known)


def _completed(model: TableCVAE, chunk: _Chunk, values: Tensor, known: Tensor) -> _Chunk:
    """Return the chunk with the known ones of some values shown wherever nothing was."""
    fixed = chunk.visible | chunk.given
    values = torch.where(fixed, chunk.values, values)
    return chunk.showing(model, values, (known | fixed) & ~chunk.given)


def _posterior_draw(model: TableCVAE, chunk: _Chunk, u: Tensor) -> Tensor:
    """Draw from q(z | visible cells, c), and from the prior for rows that show no cell."""
    z = chunk.posterior.draw(_normal(u[:, :-1]))
    if chunk.hidden.any():
        z = torch.where(chunk.hidden, _prior_draw(model.prior(chunk.c), u), z)
    return z


def _prior_draw(prior: Any, u: Tensor) -> Tensor:
    z: Tensor = prior.draw(_normal(u[:, :-1]), u[:, -1])
    return z


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))


def _probs(model: TableCVAE, z: Tensor, chunk: _Chunk, decoder: int | None = None) -> list[Tensor]:
    """Return each kind's (CHUNK, m, n_atoms) probabilities at one z per row, to impute by."""
    return model.likelihood(z, chunk.c, decoder).expected(chunk.spread)


def _mean_probs(model: TableCVAE, chunk: _Chunk, noise: Sequence[Tensor]) -> list[Tensor]:
    """Return each kind's probabilities, to impute by; chains have noise that all rows share."""
    return _with_predicted(model, chunk, _latent_probs(model, chunk, noise))


def _with_predicted(model: TableCVAE, chunk: _Chunk, probs: list[Tensor]) -> list[Tensor]:
    r"""Pool each cell's probabilities with the predictor's, by the model's `direct_share` w.

    .. math:: p \propto p_{latent}^{1 - w} \, p_{networks}^w \, p_{mixture}^w

    the exponents scaled to a sum of 1. The surest counts for most, and what any is sure is not so
    is not so: an average would be as wide as the widest, whose tails move means.

    References
    ----------
    Genest, Zidek. Combining Probability Distributions: A Critique and an Annotated Bibliography.
    Statistical Science 1986 (logarithmic opinion pools).
    """
    share, predictor = float(model.direct_share), model.predictor
    if share == 0 or predictor is None:
        return probs
    inputs = model.inputs(chunk.values)
    predicted = model.predicted(predictor, inputs, chunk.visible, chunk.c)
    others: list[Sequence[Tensor | None]] = [predicted.expected(chunk.spread)]
    if predictor.mixture is not None:
        shown = chunk.visible | chunk.given
        others.append(predictor.mixture(model.table_kinds, chunk.values, shown, chunk.spread))
    return [
        pooled([one, *(other for other in of_kind if other is not None)], share)
        for one, *of_kind in zip(probs, *others, strict=True)
    ]


def _latent_probs(model: TableCVAE, chunk: _Chunk, noise: Sequence[Tensor]) -> list[Tensor]:
    """Return each kind's probabilities by the latents, averaged over chains.

    Decoders take turns, one a chain: an average over draws of z is one over decoders, too.
    """
    total: list[Tensor] = []
    for i, of_chain in enumerate(zip(*noise, strict=True)):
        decoder = i % len(model.decoder.members)
        for probs in _states(model, chunk, [u.to(chunk.c.device) for u in of_chain], decoder):
            total = [a + b for a, b in zip(total, probs, strict=True)] if total else probs
    n_states = sum(map(len, noise))
    return [part / n_states for part in total]


def _shared_noise(model: TableCVAE, n_draws: int) -> list[Tensor]:
    return chain_noise(n_draws, int(model.n_sweeps), model.n_components, model.n_columns)


def _states(
    model: TableCVAE, chunk: _Chunk, noise: Sequence[Tensor], decoder: int | None = None
) -> Iterator[list[Tensor]]:
    """Yield each kind's probabilities at a draw of z, then after each sweep.

    A sweep draws the cells that are not visible, and z from the posterior of the completed rows
    (pseudo-Gibbs sampling; see `sample`).

    Parameters
    ----------
    model : TableCVAE
    chunk : _Chunk
    noise : sequence of Tensor of shape (width,) or (CHUNK, width)
        Of the draw, n_components + 1 uniforms; of each sweep, n_components + n_columns.
    decoder : int or None, default=None
        The only one to ask; None for all.
    """
    z = _posterior_draw(model, chunk, noise[0].expand(CHUNK, -1))
    probs = _probs(model, z, chunk, decoder)
    yield probs
    for u in noise[1:]:
        of_z, of_cells = u.expand(CHUNK, -1).tensor_split([model.n_components], dim=1)
        whole = _drawn_whole(model, chunk, _if_missing(model, probs), of_cells)
        probs = _probs(model, whole.posterior.draw(_normal(of_z)), whole, decoder)
        yield probs


def _drawn_whole(model: TableCVAE, chunk: _Chunk, probs: list[Tensor], u: Tensor) -> _Chunk:
    """Return the chunk with cells drawn from their probabilities wherever nothing was shown."""
    values, known = chunk.values.clone(), chunk.visible.clone()
    for kind, part in zip(model.table_kinds, probs, strict=True):
        values[:, kind.columns] = kind.quantile(part, u[:, kind.columns].clamp(max=1 - 1e-6))
        known[:, kind.columns] = kind.learned
    return _completed(model, chunk, values, known).widened(chunk.spread)


def _if_missing(model: TableCVAE, probs: list[Tensor]) -> list[Tensor]:
    """Return probabilities given that the cells are missing, if the model says what that tells."""
    if model.missingness is None:
        return probs
    return model.missingness.tilted(model.table_kinds, probs)


def _flat(probs: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in probs], dim=1)


# --------------------------------------------------------------------------------------
# From probabilities to numbers
# --------------------------------------------------------------------------------------


def _decode(
    model: TableCVAE,
    codecs: Sequence[Codec],
    cells: Cells,
    probs: Callable[[_Chunk], Tensor],
    decoders: Sequence[Decoder],
) -> list[Array]:
    """Turn each chunk's probabilities into numbers, so that memory does not grow with atoms."""
    numbers = [np.empty(cells.values.shape) for _ in decoders]
    model.eval()
    with torch.inference_mode():
        for chunk in _chunks(model, cells):
            n = chunk.rows.stop - chunk.rows.start
            block = probs(chunk)[:n].cpu().numpy().astype(np.float64)
            for j, part in _columns(model, codecs, block):
                for table, decoder in zip(numbers, decoders, strict=True):
                    table[chunk.rows, j] = decoder(codecs[j], part, j, chunk.rows)
    return numbers


def _columns(
    model: TableCVAE, codecs: Sequence[Codec], probs: Array
) -> Iterator[tuple[int, Array]]:
    """Cut a chunk's probabilities into each column's own atoms."""
    start = 0
    for kind in model.table_kinds:
        for j in kind.columns.tolist():
            yield j, probs[:, start : start + codecs[j].n_atoms]
            start += kind.n_atoms


def quantile(q: float) -> Decoder:
    """Return the decoder of cells as quantiles of their distributions."""

    def decode(codec: Codec, probs: Array, *_: Any) -> Array:
        return codec.quantile(probs, np.full(len(probs), q))

    return decode


def point(statistic: str) -> Decoder:
    """Return the decoder of cells as their "mean", "median", "mode" or "std"."""

    def decode(codec: Codec, probs: Array, *_: Any) -> Array:
        numbers: Array = getattr(codec, statistic)(probs)
        return numbers

    return decode


def _draw_cells(noise: RowNoise, codec: Codec, probs: Array, j: int, rows: slice) -> Array:
    return codec.quantile(probs, noise.cell(rows, j))
