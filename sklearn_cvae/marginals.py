"""Factors that keep the columns' distributions: of drawn rows those of the training table.

A mixture knows the latents of real rows only about, and a chain of draws drifts. So each level, and
each twentieth of a number's distribution, has two factors: one for the latents that a draw starts
from (`TableCVAE.start_tilt`), and one for its sweeps (`TableCVAE.tilt`).

References
----------
Deming, Stephan. On a Least Squares Adjustment of a Sampled Frequency Table When the Expected
Marginal Totals are Known. Annals of Mathematical Statistics, 1940 (such factors, for tables).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sklearn_cvae import inference
from sklearn_cvae.codecs import Array, Cells, Codec
from sklearn_cvae.model import TableCVAE
from sklearn_cvae.noise import RowNoise
from sklearn_cvae.ties import Ties

# Drawn rows, twice as many as there are: what their number leaves to chance stays in the factors.
N_MATCHINGS, ROWS_PER_ROW, MIN_ROWS, MAX_ROWS = 2, 2, 1024, 32_768
ROWS_AT_ONCE = 8192
N_SLOTS, PSEUDO_COUNT = 20, 5.0
# Starts are raked so often, and so far that this share of them still counts.
N_RAKINGS, MIN_EFFECTIVE = 10, 0.25
MIN_VISIBLE, MAX_MASSES = 0.95, 2**24


class _Slots(NamedTuple):
    """A column's atoms, and which of them begin a slot."""

    atoms: slice
    begins: Array


def match_marginals(
    model: TableCVAE,
    codecs: Sequence[Codec],
    ties: Ties,
    cells: Cells,
    weight: Array,
    seed: int,
) -> None:
    """Set the factors of a model, each likelier as it is rarer in drawn rows than in the table.

    Rows are drawn under the training rows' conditions. The training table's missing cells are
    drawn, too. What is rare in drawn rows is made likelier in sweeps and, for the next drawn rows,
    in starts: a sweep's factors change cells alone, those of starts what goes together.

    Parameters
    ----------
    model : TableCVAE
    codecs : sequence of codec
    ties : Ties
    cells : Cells
        The training rows.
    weight : ndarray of shape (n,)
        Their weights.
    seed : int
    """
    for tilt in (model.start_tilt, model.tilt):
        tilt.fill_(1.0)
    n = int(np.clip(ROWS_PER_ROW * len(weight), MIN_ROWS, MAX_ROWS))
    cumulated = np.cumsum(weight) / weight.sum()
    rows = np.searchsorted(cumulated, (np.arange(n) + 0.5) / n).clip(max=len(weight) - 1)
    given, noise = cells.given[rows], RowNoise(seed, np.arange(n, dtype=np.uint64))
    wanted = _wanted_shares(model, codecs, cells, weight, rows, noise)
    nothing = Cells(cells.values[rows], np.zeros_like(given), given)
    raked = _raked_slots(model, cells, wanted)
    masses = _start_masses(model, nothing, noise, raked) if raked else []
    asked_of_starts = wanted
    for repetition in range(1, N_MATCHINGS + 1):
        if raked:
            start = _start_factors(masses, raked, asked_of_starts)
            model.start_tilt.copy_(torch.from_numpy(start))
        drawn = _drawn_values(model, codecs, ties, nothing, noise.again(repetition))
        shares = _atom_shares(model, drawn, np.ones_like(given), np.full(n, 1 / n))
        factors = _factors(model, wanted, shares, PSEUDO_COUNT / n)
        asked_of_starts = asked_of_starts * factors
        model.tilt *= torch.from_numpy(factors).to(model.tilt.device)


def _drawn_values(
    model: TableCVAE, codecs: Sequence[Codec], ties: Ties, nothing: Cells, noise: RowNoise
) -> Array:
    """Return drawn rows, encoded, with the conditions among them."""
    n_asked = nothing.values.shape[1] - len(ties)
    draws = inference.sample(
        model,
        codecs,
        ties,
        nothing,
        np.full((len(nothing.values), n_asked), np.nan),
        {},
        noise,
        n_sweeps=inference.N_SWEEPS,
        temperature=1.0,
    )
    return np.where(nothing.given, nothing.values, inference.encoded(codecs, draws.numbers))


def _wanted_shares(
    model: TableCVAE,
    codecs: Sequence[Codec],
    cells: Cells,
    weight: Array,
    rows: Array,
    noise: RowNoise,
) -> Array:
    """Return each atom's share of the table's cells; missing ones are drawn, in some rows."""
    known = cells.visible | cells.given
    wanted = _atom_shares(model, cells.values, known, weight / weight.sum())
    if not known[rows].all():
        shown = Cells(cells.values[rows], cells.visible[rows], cells.given[rows])
        drawn = inference.encoded(codecs, inference.impute_draw(model, codecs, shown, noise))
        wanted += _atom_shares(model, drawn, ~known[rows], np.full(len(rows), 1 / len(rows)))
    return wanted


def _atom_shares(model: TableCVAE, values: Array, counted: Array, weight: Array) -> Array:
    """Return the summed weights of each atom's counted cells, in the model's order of atoms."""
    shares = np.zeros(len(model.tilt))
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows, position = slice(start, start + ROWS_AT_ONCE), 0
        for kind in model.table_kinds:
            columns = kind.columns.cpu().numpy()
            cells = torch.from_numpy(np.nan_to_num(values[rows][:, columns]))
            atoms = kind.atoms(cells.to(kind.columns.device)).cpu().numpy()
            for j, of_column in zip(columns, atoms.T, strict=True):
                part = slice(position, position := position + kind.n_atoms)
                shares[part] += np.bincount(
                    of_column, weight[rows] * counted[rows, j], minlength=kind.n_atoms
                )
    return shares


def _slots(model: TableCVAE, wanted: Array) -> dict[int, _Slots]:
    """Return each column's slots: levels, or twentieths of a number's distribution."""
    slots, start = {}, 0
    for kind in model.table_kinds:
        for j in kind.columns.tolist():
            part = slice(start, start := start + kind.n_atoms)
            begins = np.arange(kind.n_atoms)
            if kind.numeric:
                middle = np.cumsum(wanted[part]) - wanted[part] / 2
                begins = np.flatnonzero(np.diff((N_SLOTS * middle).astype(int), prepend=-1))
            slots[j] = _Slots(part, begins)
    return slots


def _factors(model: TableCVAE, wanted: Array, shares: Array, pseudo_share: float) -> Array:
    """Return each atom's factor, which its slot's atoms share."""
    factors = np.ones(len(wanted))
    for part, begins in _slots(model, wanted).values():
        sums = [np.add.reduceat(s[part], begins) + pseudo_share for s in (wanted, shares)]
        factors[part] = _spread(sums[0] / sums[1], begins, part)
    return factors.astype(np.float32)


def _spread(of_slots: Array, begins: Array, part: slice) -> Array:
    """Return each atom's number, given the slots'."""
    return np.repeat(of_slots, np.diff(np.r_[begins, part.stop - part.start]))


def _raked_slots(model: TableCVAE, cells: Cells, wanted: Array) -> list[_Slots]:
    """Return the slots of the columns that starts are raked for.

    Not those with many missing cells: what is wanted of them is the model's own guess.
    """
    if not model.backbone.tabular:
        return []
    whole = cells.visible.mean(axis=0) >= MIN_VISIBLE
    return [slots for j, slots in _slots(model, wanted).items() if whole[j]]


def _start_masses(
    model: TableCVAE, nothing: Cells, noise: RowNoise, raked: list[_Slots]
) -> list[Array]:
    """Return, by column, latents' probabilities of its slots, of shape (n, n_slots).

    The latents are drawn from the prior.
    """
    n = max(inference.CHUNK, MAX_MASSES // sum(len(begins) for _, begins in raked))
    some = Cells(*(part[:n] for part in nothing))
    chunks = [
        [np.add.reduceat(probs[:, part], begins, axis=1) for part, begins in raked]
        for probs in inference.start_probs(model, some, noise)
    ]
    return [np.concatenate(of_column) for of_column in zip(*chunks, strict=True)]


def _start_factors(masses: list[Array], raked: list[_Slots], asked: Array) -> Array:
    """Return each atom's factor by which latents from the prior decode to the asked shares."""
    shares = [np.add.reduceat(asked[part], begins) for part, begins in raked]
    shares = [of_slots / of_slots.sum() for of_slots in shares]
    factors = np.ones(len(asked), dtype=np.float32)
    for of_slots, (part, begins) in zip(_raked(masses, shares), raked, strict=True):
        factors[part] = _spread(of_slots, begins, part)
    return factors


def _raked(masses: list[Array], shares: list[Array]) -> list[Array]:
    """Return factors of slots by which rows, weighed, have the wanted shares in each column.

    A row's weight is the product, over columns, of its expected factor. One column after another is
    put right, again and again (iterative proportional fitting), while enough rows count.

    Parameters
    ----------
    masses : list of ndarray of shape (n, n_slots)
        The rows' probabilities of each column's slots.
    shares : list of ndarray of shape (n_slots,)
        The wanted ones.
    """
    factors = kept = [np.ones(len(share)) for share in shares]
    log_weight = np.zeros(len(masses[0]))
    for _ in range(N_RAKINGS):
        factors, log_weight = _rake(masses, shares, factors, log_weight)
        weight = np.exp(log_weight - log_weight.max())
        if weight.sum() ** 2 < MIN_EFFECTIVE * len(weight) * np.square(weight).sum():
            break
        kept = factors
    return kept


def _rake(
    masses: list[Array], shares: list[Array], factors: list[Array], log_weight: Array
) -> tuple[list[Array], Array]:
    """Put each column right once; return the columns' factors and the rows' log-weights."""
    raked = []
    for mass, share, factor in zip(masses, shares, factors, strict=True):
        others = log_weight - np.log(mass @ factor)
        weight = np.exp(others - others.max())
        now = factor * (weight @ mass)
        pseudo_share = PSEUDO_COUNT / len(mass)
        new = factor * (share + pseudo_share) / (now / now.sum() + pseudo_share)
        log_weight = others + np.log(mass @ new)
        raked.append(new)
    return raked, log_weight
