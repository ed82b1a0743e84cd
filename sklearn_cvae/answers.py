"""What a fitted model answers: features, rows, imputations, scores; each in the user's frame."""

from __future__ import annotations

import numbers as number_types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from sklearn_cvae import inference
from sklearn_cvae.codecs import Array
from sklearn_cvae.conditions import Drawing, read_conditions, read_drawing
from sklearn_cvae.model import TableCVAE
from sklearn_cvae.noise import RowNoise, row_keys
from sklearn_cvae.table import TableCodec, compare_cells, is_frame, missing_cells, row_index
from sklearn_cvae.training import CVAENet, torch_settings
from sklearn_cvae.validation import (
    check_count,
    check_strategy,
    checked_table,
    draw_seed,
    random_source,
)

SAMPLE_BLOCK = 16_384


class Answers(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The methods of a fitted `ConditionalVAE`.

    scikit-learn's mixins are bases of the class that defines `transform`, or `set_output` would
    not reach it.
    """

    net_: CVAENet
    _table: TableCodec
    n_draws: int
    n_jobs: int | None
    handle_unknown: str
    verbose: Any
    _validate_params: Callable[[], None]

    def transform(self, X: Any) -> Array:
        """Return latent features, E[z | observed cells, c].

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), float32
        """
        _, numbers = self._read(X)
        cells = self._table.cells(self._table.encode(numbers))
        with self._torch_settings():
            return inference.latent_means(self._module, cells)

    def inverse_transform(self, Z: Any, conditions: Any = None) -> Any:
        """Return the table that latent features stand for: each cell's mean, or likeliest level.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            As `transform` returns it.
        conditions : dict, DataFrame or None, default=None
            Values of condition columns: a dict of one value for all rows, or a frame with one
            row each. Other conditions than the rows had give a counterfactual. Conditions that
            are not named, or missing, are unknown and are decoded like any other cell.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            With the training frame's columns, order and dtypes.

        Raises
        ------
        ValueError
            For conditions that the model does not know, all at once.
        """
        self._check_ready()
        index = row_index(Z)
        Z = check_array(Z, dtype=np.float32, input_name="Z")
        if Z.shape[1] != self._module.n_components:
            raise ValueError(f"Z has {Z.shape[1]} columns, not {self._module.n_components}.")
        if is_frame(conditions) and len(conditions) != len(Z):
            raise ValueError(f"Z has {len(Z)} rows, but conditions has {len(conditions)}.")
        asked = read_conditions(self._table, conditions, only_conditions=True).numbers
        given = np.broadcast_to(asked, (len(Z), asked.shape[1]))
        cells = self._table.cells(self._table.encode(given))
        with self._torch_settings():
            decoded = inference.decode_latents(
                self._module, self._table.codecs, Z, cells, inference.point("mean")
            )
        return self._table.write(self._table.ties.settled(decoded, given), index)

    def sample(
        self,
        n_samples: int = 1,
        conditions: Any = None,
        random_state: Any = None,
        *,
        temperature: float = 1.0,
        n_sweeps: int = inference.N_SWEEPS,
        return_ess: bool = False,
    ) -> Any:
        """Draw new rows, given values, ranges or sets of any columns.

        Parameters
        ----------
        n_samples : int, default=1
            Rows to draw; with a frame of conditions, rows to draw for each of its rows.
        conditions : dict, DataFrame or None, default=None
            What columns are to be, condition columns and any others: a dict of one value, one
            range `(low, high)` of a number or time, both ends included, None or infinity for none,
            or one list of allowed values per column; or a frame with one row per draw whose
            missing cells are unknown. Given cells come back as given; the rest is drawn from its
            distribution given them. There is no rejection: all rows asked for come back.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. None gives other rows at every call.
        temperature : float, default=1.0
            Below 1, rows are more usual and less diverse: the variance of latents and of numbers
            is multiplied by it, and levels get probabilities p^(1 / temperature).
        n_sweeps : int, default=3
            How often each row is encoded and drawn again, which pulls it towards where real rows
            lie, and columns towards their distributions in the training table. 0 draws from the
            density that `score_samples` returns, but for `ties_`.
        return_ess : bool, default=False
            Whether to return effective sample sizes too.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_draws, n_features)
            With the training frame's columns, order, dtypes and decimals, and numbers within the
            ranges seen in training.
        ess : ndarray of shape (n_draws,), only if `return_ess`
            Effective number of the 64 latent proposals that the row was chosen from, given its
            conditions. Near 1: the model has hardly seen such conditions.

        Raises
        ------
        ValueError
            For columns, categories, values or ranges that the model does not know, all at once.

        See Also
        --------
        sample_batches : The same rows, a batch at a time.

        Examples
        --------
        >>> from sklearn_cvae import ConditionalVAE
        >>> from sklearn_cvae.datasets import load_penguins
        >>> cvae = ConditionalVAE(max_iter=5, random_state=0).fit(load_penguins())
        >>> asked = {"year": (2008, None), "species": ["Adelie", "Gentoo"]}
        >>> drawn = cvae.sample(50, asked, random_state=0)
        >>> len(drawn), int(drawn["year"].min()), sorted(drawn["species"].unique())
        (50, 2008, ['Adelie', 'Gentoo'])
        """
        self._check_ready()
        drawing = read_drawing(
            self._table, conditions, n_samples, random_state, temperature, n_sweeps
        )
        total = drawing.n_rows
        numbers, ess = np.empty((total, len(self._table.columns))), np.empty(total)
        for rows in drawing.blocks(SAMPLE_BLOCK, verbose=bool(self.verbose)):
            numbers[rows], ess[rows] = self._draw(drawing, rows)
        X = self._table.write(numbers)
        return (X, ess) if return_ess else X

    def sample_batches(
        self,
        n_samples: int,
        conditions: Any = None,
        random_state: Any = None,
        *,
        batch_size: int = 10_000,
        temperature: float = 1.0,
        n_sweeps: int = inference.N_SWEEPS,
    ) -> Iterator[Any]:
        """Draw the rows of `sample`, a batch at a time, in memory that does not grow with them.

        Parameters
        ----------
        n_samples, conditions, random_state, temperature, n_sweeps
            As in `sample`.
        batch_size : int, default=10_000
            Rows per batch.

        Yields
        ------
        X : DataFrame or ndarray of shape (at most batch_size, n_features)
            Put together, these are the rows that `sample` draws.

        Examples
        --------
        >>> from sklearn_cvae import ConditionalVAE
        >>> from sklearn_cvae.datasets import load_penguins
        >>> cvae = ConditionalVAE(max_iter=5, random_state=0).fit(load_penguins())
        >>> [len(batch) for batch in cvae.sample_batches(250, batch_size=100)]
        [100, 100, 50]
        """
        self._check_ready()
        check_count("batch_size", batch_size, 1)
        drawing = read_drawing(
            self._table, conditions, n_samples, random_state, temperature, n_sweeps
        )
        return (
            self._table.write(self._draw(drawing, rows)[0])
            for rows in drawing.blocks(batch_size, verbose=bool(self.verbose))
        )

    def _draw(self, drawing: Drawing, rows: slice) -> tuple[Array, Array]:
        """Return some of the rows' numbers, conditions as given, and effective sample sizes."""
        given = drawing.given(rows)
        cells = self._table.cells(self._table.encode(given))
        keys = np.arange(rows.start, rows.stop, dtype=np.uint64)
        noise = RowNoise(drawing.seed, keys)
        with self._torch_settings():
            drawn = inference.sample(
                self._module,
                self._table.codecs,
                self._table.ties,
                cells,
                given,
                drawing.asked.choices,
                noise,
                n_sweeps=drawing.n_sweeps,
                temperature=drawing.temperature,
            )
        return drawn.numbers[:, : given.shape[1]], drawn.effective

    def impute(
        self,
        X: Any,
        n_imputations: int = 1,
        strategy: str = "mean",
        random_state: Any = None,
        return_std: bool = False,
    ) -> Any:
        """Fill missing cells; observed cells come back bit for bit.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        n_imputations : int, default=1
            Number of completed tables; more than one needs `strategy="draw"`.
        strategy : {"mean", "median", "mode", "draw"}, default="mean"
            What to fill a number with: the mean (least squared error), the median (least
            absolute error), the most probable value, or one joint draw per row. Categories
            get the most probable level, or a draw.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. A row's draws depend on the seed and the row alone; rows that are
            equal are numbered in their order, so that their draws differ.
        return_std : bool, default=False
            Whether to return each missing cell's standard deviation too.

        Returns
        -------
        X : DataFrame or ndarray, or a list of n_imputations of them
            Columns, order and index of X, dtypes of the training frame. A column that had no
            cell to learn from stays missing.
        std : ndarray of shape (n_samples, n_features), only if `return_std`
            In the column's units (seconds for times), calibrated on held-out cells; of a
            category, of whether its likeliest level is right. 0 for observed cells, NaN for cells
            that stay missing.

        Raises
        ------
        ValueError
            For an unknown strategy, or several imputations without `strategy="draw"`.

        Notes
        -----
        If `n_sweeps_` is not 0, rows are completed, encoded and decoded so many times more, from a
        quarter as many latent draws, and estimates are averages over all.

        Examples
        --------
        >>> from sklearn_cvae import ConditionalVAE
        >>> from sklearn_cvae.datasets import load_penguins
        >>> penguins = load_penguins()
        >>> cvae = ConditionalVAE(max_iter=5, random_state=0).fit(penguins)
        >>> completed, std = cvae.impute(penguins, return_std=True)
        >>> bool(((std > 0) == penguins.isna().to_numpy()).all())
        True
        >>> len(cvae.impute(penguins, n_imputations=3, strategy="draw", random_state=0))
        3
        """
        check_strategy(strategy, n_imputations)
        X, numbers = self._read(X)
        missing = missing_cells(X)
        rows = np.any(missing, axis=1)
        completed = self._imputed_numbers(numbers, rows, n_imputations, strategy, random_state)
        features = [table[:, : X.shape[1]] for table in completed]
        tables = [
            self._table.schema.fill(X, filled, missing & ~np.isnan(filled)) for filled in features
        ]
        result = tables if n_imputations > 1 else tables[0]
        return (result, self._std(numbers, rows, missing)) if return_std else result

    def overimpute(
        self, X: Any, share: float = 0.1, coverage: float = 0.9, random_state: Any = None
    ) -> Any:
        """Hide known cells, impute them, and set the truth beside estimate and interval.

        A check of the model on the user's own table: of the numbers, about `coverage` should lie
        within their intervals. Use rows that were not fitted for an honest answer.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        share : float in (0, 1), default=0.1
            Share of the known cells to hide, all at once; conditions are not hidden.
        coverage : float in (0, 1), default=0.9
            Probability of the central intervals.
        random_state : int, RandomState instance or None, default=None
            Seed of which cells are hidden.

        Returns
        -------
        check : DataFrame of shape (n_hidden, 7)
            A pandas frame with columns "row" (position in X), "column", "truth", "estimate",
            "lower", "upper" and "covered". Categories have no interval; "covered" says whether
            their estimate is right.

        Raises
        ------
        ValueError
            If `share` or `coverage` is not between 0 and 1, or no cell is known.

        Examples
        --------
        >>> from sklearn_cvae import ConditionalVAE
        >>> from sklearn_cvae.datasets import load_penguins
        >>> penguins = load_penguins()
        >>> cvae = ConditionalVAE(max_iter=5, random_state=0).fit(penguins)
        >>> cvae.overimpute(penguins, random_state=0).columns.tolist()
        ['row', 'column', 'truth', 'estimate', 'lower', 'upper', 'covered']
        """
        for name, value in (("share", share), ("coverage", coverage)):
            if not (isinstance(value, number_types.Real) and 0 < value < 1):
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")
        X, numbers = self._read(X)
        known = ~np.isnan(numbers)
        known[:, self._table.conditions] = False
        hidden = known & (random_source(random_state).random_sample(numbers.shape) < share)
        if not hidden.any():
            raise ValueError(
                f"No cell was hidden: {known.sum()} known cells that are not conditions at "
                f"share={share}. Pass more rows, or a larger share."
            )
        rows = hidden.any(axis=1)
        shown = np.where(hidden, np.nan, numbers)[rows]
        tail = (1 - coverage) / 2
        ends = [inference.quantile(tail), inference.quantile(1 - tail)]
        (estimate,) = self._point(shown, [inference.point("mean")], 1.0)
        interval = self._point(shown, ends, self._module.spread)
        parts = [numbers[rows], self._table.ties.settled(estimate, shown), *interval]
        return compare_cells(X, self._table.columns, np.flatnonzero(rows), hidden[rows], parts)

    def score_samples(self, X: Any) -> Array:
        """Return log p(observed cells | conditions) of each row.

        Densities are per user's unit and masses are probabilities, so scores compare models of
        the same columns and likelihoods.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            Nats per row, by importance sampling with `n_draws` draws; low for odd rows.
        """
        _, numbers = self._read(X)
        cells = self._table.cells(self._table.encode(numbers))
        cells.visible[:, numbers.shape[1] :] = False  # ties say nothing that the cells do not
        with self._torch_settings():
            log_p = inference.log_marginals(self._module, cells, self.n_draws)
        return log_p + self._table.log_volume(numbers, cells.visible)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples(X)`; `y` is ignored.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : None

        Returns
        -------
        score : float
        """
        return float(np.mean(self.score_samples(X)))

    @property
    def _module(self) -> TableCVAE:
        module: TableCVAE = self.net_.module_
        return module

    def _torch_settings(self) -> AbstractContextManager[None]:
        return torch_settings(1 if self.n_jobs is None else effective_n_jobs(self.n_jobs))

    def _check_ready(self) -> None:
        """Refuse what is not fitted, and parameters that were since set to what cannot be."""
        check_is_fitted(self)
        self._validate_params()

    def _read(self, X: Any) -> tuple[Any, Array]:
        """Check a table against the training table and return it, and its numbers."""
        self._check_ready()
        X = checked_table(self, X, reset=False)
        return X, self._table.read(X, strict=self.handle_unknown == "error")

    def _point(self, numbers: Array, decoders: list[Any], spread: Any) -> list[Array]:
        """Return numbers for all cells, one table for each decoder."""
        cells = self._table.cells(self._table.encode(numbers))
        with self._torch_settings():
            return inference.impute_point(
                self._module, self._table.codecs, cells, decoders, self.n_draws, spread
            )

    def _std(self, numbers: Array, rows: Array, missing: Array) -> Array:
        std = np.zeros(missing.shape)
        if rows.any():
            decoders = [inference.point("mean"), inference.point("std")]
            mean, of_rows = self._point(numbers[rows], decoders, self._module.spread)
            d = missing.shape[1]
            with np.errstate(over="ignore"):  # numbers that are in no tie are not squared
                variance = self._table.ties.settled_variances(mean, of_rows**2, numbers[rows])
            in_ties = np.isin(np.arange(d), self._table.ties.pairs)
            settled = np.where(in_ties, np.sqrt(variance)[:, :d], of_rows[:, :d])
            std[rows] = settled * self._table.schema.seconds
        return np.where(missing, std, 0.0)

    def _imputed_numbers(
        self, numbers: Array, rows: Array, n: int, strategy: str, random_state: Any
    ) -> list[Array]:
        """Return n times (n_samples, d) numbers; only `rows` are worked out, others are kept."""
        some = numbers[rows]
        if strategy == "draw":
            drawn = self._drawn(some, n, random_state)
        else:
            drawn = self._point(some, [inference.point(strategy)], 1.0)
        tables = [numbers.copy() for _ in drawn]
        for table, filled in zip(tables, drawn, strict=True):
            table[rows] = self._table.ties.settled(filled, some)[:, : numbers.shape[1]]
        return tables

    def _drawn(self, numbers: Array, n: int, random_state: Any) -> list[Array]:
        cells = self._table.cells(self._table.encode(numbers))
        keys, rng = row_keys(cells), random_source(random_state)
        noises = [RowNoise(draw_seed(rng), keys) for _ in range(n)]
        with self._torch_settings():
            return inference.impute_draws(
                self._module, self._table.codecs, cells, noises, self.n_draws
            )
