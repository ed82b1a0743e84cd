"""Cells that equal another column's: which pairs of columns, and which of a row's cells.

Tables hold bills that are paid to the cent, averages of one thing, last visits that were the first.
Cells drawn on their own, however near, are never equal. So each such pair of columns has one more
column of the table, its tie: whether the two cells are equal, known where both are. It is modelled
like any other, and a row is settled when it is drawn: tied cells become one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_cvae.codecs import LevelCodec

Array = NDArray[Any]

# A pair is tied if so many rows, and such a share, are equal at values that hardly repeat.
MIN_ROWS, MIN_SHARE, MAX_REPEATS = 8, 0.02, 0.005
MAX_ROWS = 4096


@dataclass(frozen=True)
class TieCodec(LevelCodec):
    """Whether two cells are equal: a level whose mean is its probability."""

    n_levels: int = 2

    def mean(self, probs: Array) -> Array:
        share: Array = probs[:, 1] / probs.sum(axis=1)
        return share


@dataclass(frozen=True)
class Ties:
    """The tied pairs of a table's columns: trees, each parent before its children.

    Parameters
    ----------
    parents, children : ndarray of shape (n_ties,), int
        Positions of the pair's columns.
    ends : ndarray of shape (n_ties, 2)
        The least and the greatest value that both columns have shown.
    usual : ndarray of shape (n_ties,)
        The value that many cells of both columns have, often zero: two such cells are no tie. NaN
        if there is none.
    offsets : ndarray of shape (d,)
        What makes the columns' numbers comparable: where times of each are counted from. `ends` and
        `usual` are of numbers with their offsets.
    """

    parents: Array = field(default_factory=lambda: np.empty(0, dtype=int))
    children: Array = field(default_factory=lambda: np.empty(0, dtype=int))
    ends: Array = field(default_factory=lambda: np.empty((0, 2)))
    usual: Array = field(default_factory=lambda: np.empty(0))
    offsets: Array = field(default_factory=lambda: np.zeros(1))

    def joined(self, columns: Array, positions: Array, seen: Array) -> Self:
        """Return these ties and those among further columns: what is equal too often for chance.

        Values that many cells share are no evidence, nor are whole numbers that are as often next
        to one another as equal.

        Parameters
        ----------
        columns : ndarray of shape (n, k)
            The numbers, some rows of them, of columns that may be tied to one another, with their
            offsets; NaN where missing.
        positions : ndarray of shape (k,), int
            The columns' positions in the table.
        seen : ndarray of shape (k, 2)
            The least and the greatest value of each.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> bill = rng.normal(size=200)
        >>> paid = np.where(rng.random(200) < 0.3, bill, rng.normal(size=200))
        >>> columns = np.column_stack([paid, rng.normal(size=200), bill])
        >>> seen = np.stack([columns.min(axis=0), columns.max(axis=0)], axis=1)
        >>> ties = Ties().joined(columns, np.arange(3), seen)
        >>> ties.parents, ties.children
        (array([0]), array([2]))
        """
        pairs = list(_forest(_equal_pairs(columns), len(positions)))
        if not pairs:
            return self
        first, second = np.array(pairs).T
        low = np.maximum(seen[first, 0], seen[second, 0])
        high = np.minimum(seen[first, 1], seen[second, 1])
        usual = [_usual(columns[:, i], columns[:, j]) for i, j in pairs]
        ends = np.stack([low, high], axis=1)
        return replace(
            self,
            parents=np.r_[self.parents, positions[first]],
            children=np.r_[self.children, positions[second]],
            ends=np.r_[self.ends, ends],
            usual=np.r_[self.usual, usual],
        )

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.parents.tolist(), self.children.tolist(), strict=True))

    def with_cells(self, hidden: Array) -> Array:
        """Return (n, d + n_ties) hidden cells, and with them every tie of one."""
        hidden = hidden.copy()
        hidden[:, hidden.shape[1] - len(self) :] |= (
            hidden[:, self.parents] | hidden[:, self.children]
        )
        return hidden

    def of(self, numbers: Array) -> Array:
        """Return the (n, n_ties) ties of known rows: 1, 0, or NaN where a cell is missing."""
        numbers = numbers + self.offsets
        return tie(numbers[:, self.parents], numbers[:, self.children], self.usual)

    def settled(self, numbers: Array, known: Array) -> Array:
        """Return rows whose tied cells are one: what is not known moves to what it is tied to.

        Parameters
        ----------
        numbers : ndarray of shape (n, d + n_ties)
            The table's columns, then the ties as drawn; or means, and the ties' probabilities.
        known : ndarray of shape (n, d)
            Numbers of the cells that stay as they are, NaN elsewhere.

        Returns
        -------
        numbers : ndarray of shape (n, d + n_ties)
            The settled columns, and what ties they have.
        """
        d, free = known.shape[1], np.isnan(known)
        settled = np.where(free, numbers[:, :d], known)
        if not len(self):
            return settled
        moved = settled + self.offsets
        self._settle(moved, np.zeros_like(moved), numbers[:, d:], ~free)
        settled = np.where(free, moved - self.offsets, known)
        return np.hstack([settled, self.of(settled)])

    def settled_variances(self, means: Array, variances: Array, known: Array) -> Array:
        """Return the (n, d) variances of cells that are settled, given those of each on its own.

        Parameters
        ----------
        means, variances : ndarray of shape (n, d + n_ties)
            Of cells, given what is known; the ties' means are their probabilities.
        known : ndarray of shape (n, d)
            As in `settled`.
        """
        d, fixed = known.shape[1], ~np.isnan(known)
        settled = np.where(fixed, 0.0, variances[:, :d])
        numbers = np.where(fixed, known, means[:, :d]) + self.offsets
        self._settle(numbers, settled, means[:, d:], fixed)
        return settled

    def _settle(self, numbers: Array, variances: Array, shares: Array, fixed: Array) -> None:
        """Settle rows in place: up the trees from cells that are fixed, then down."""
        fixed, ties = fixed.copy(), range(len(self))
        for i in reversed(ties):
            parent, child = self.parents[i], self.children[i]
            free = fixed[:, child] & ~fixed[:, parent]
            moved = self._move(numbers, variances, (child, parent), i, shares[:, i], free)
            fixed[:, parent] |= moved
        for i in ties:
            pair = self.parents[i], self.children[i]
            self._move(numbers, variances, pair, i, shares[:, i], ~fixed[:, pair[1]])

    def _move(
        self,
        numbers: Array,
        variances: Array,
        pair: tuple[int, int],
        i: int,
        share: Array,
        rows: Array,
    ) -> Array:
        """Move some rows' cells from what they are to what they are tied to, by the tie's share.

        Returns
        -------
        tied : ndarray of shape (n,), bool
            Where they are rather tied than not.
        """
        (source, target), (low, high) = pair, self.ends[i]
        value = numbers[:, source]
        rows = rows & (share > 0) & (low <= value) & (value <= high) & (value != self.usual[i])
        w, value, own = share[rows], value[rows], numbers[rows, target]
        numbers[rows, target] = w * value + (1 - w) * own
        mixed = w * variances[rows, source] + (1 - w) * variances[rows, target]
        variances[rows, target] = mixed + w * (1 - w) * (value - own) ** 2
        return rows & (share > 0.5)


def tie(first: Array, second: Array, usual: Array) -> Array:
    """Return whether cells are tied: 1, 0, or NaN where one is missing."""
    tied = (first == second) & (first != usual)
    return np.where(np.isnan(first) | np.isnan(second), np.nan, tied)


def _usual(first: Array, second: Array) -> float:
    """Return the value that most equal cells have, if it repeats much, else NaN."""
    values, counts = np.unique(first[first == second], return_counts=True)
    often = counts.max() > max(1.0, MAX_REPEATS * len(first))
    return float(values[counts.argmax()]) if often else np.nan


def _equal_pairs(columns: Array) -> list[tuple[float, int, int]]:
    """Return (share of equal rows, first, second) of each tied pair, the surest first."""
    rare = ~np.isnan(columns) & ~np.column_stack([_repeated(cells) for cells in columns.T])
    candidates = np.flatnonzero(rare.sum(axis=0) >= MIN_ROWS)
    columns, rare = columns[:, candidates], rare[:, candidates]
    known, pairs = ~np.isnan(columns), []
    for j in range(1, columns.shape[1]):
        equal = (columns[:, :j] == columns[:, [j]]) & rare[:, :j] & rare[:, [j]]
        n_equal, n_known = equal.sum(axis=0), (known[:, :j] & known[:, [j]]).sum(axis=0)
        for i in np.flatnonzero(n_equal >= np.maximum(MIN_ROWS, MIN_SHARE * n_known)):
            both = known[:, i] & known[:, j]
            if n_equal[i] > _n_next(columns[both, i], columns[both, j]):
                pairs.append((n_equal[i] / n_known[i], int(candidates[i]), int(candidates[j])))
    return sorted(pairs, reverse=True)


def _repeated(cells: Array) -> Array:
    """Return which cells have a value that many share."""
    _, code, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return counts[code] > max(1.0, MAX_REPEATS * len(cells))


def _n_next(first: Array, second: Array) -> int:
    """Return how many rows have values next to one another among all of both columns."""
    values = np.unique(np.r_[first, second])
    steps = np.searchsorted(values, first) - np.searchsorted(values, second)
    return int((np.abs(steps) == 1).sum())


def _forest(pairs: list[tuple[float, int, int]], n: int) -> Iterator[tuple[int, int]]:
    """Yield (parent, child) of the surest pairs that join all that can be joined, tree by tree."""
    neighbours: list[list[int]] = [[] for _ in range(n)]
    tree = list(range(n))
    for _, i, j in pairs:
        if tree[i] != tree[j]:
            tree = [tree[i] if t == tree[j] else t for t in tree]
            neighbours[i].append(j)
            neighbours[j].append(i)
    reached = set()
    for root in range(n):
        queue = [] if root in reached else [root]
        for parent in queue:
            reached.add(parent)
            children = [j for j in neighbours[parent] if j not in reached]
            queue += children
            yield from ((parent, child) for child in children)
