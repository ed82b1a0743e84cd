"""Displays, as scikit-learn's: computed by a class method, drawn by `plot`. Needs matplotlib."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from sklearn_cvae.columns import as_pandas
from sklearn_cvae.metrics import (
    column_shapes,
    encode_rows,
    is_number,
    numbers_of,
    pair_trends,
)

Array = NDArray[Any]

MAX_LEVELS = 12
MAX_PANELS = 12
DAY = 86_400e9


def _plain(text: Any) -> str:
    """Return a name as matplotlib shows it, without taking dollars for mathematics."""
    return str(text).replace("$", r"\$")


class LatentDisplay:
    """Latent features in two dimensions, coloured by a column.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
    colour : Series of shape (n_samples,)
        Numbers get a colour scale, anything else one colour per level.
    """

    def __init__(self, points: Array, colour: pd.Series) -> None:
        self.points, self.colour = points, colour

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, colour: Any) -> Self:
        """Transform X and keep the two leading principal components of the features.

        Parameters
        ----------
        estimator : ConditionalVAE
            A fitted model.
        X : DataFrame or array-like of shape (n_samples, n_features)
        colour : array-like of shape (n_samples,)
        """
        Z = np.asarray(estimator.transform(X))
        n_kept = min(2, *Z.shape)
        points = PCA(n_kept, random_state=0).fit_transform(Z)
        flat = np.zeros((len(points), 2 - n_kept))
        return cls(np.hstack([points, flat]), pd.Series(colour).reset_index(drop=True))

    def plot(self, ax: Any = None) -> Self:
        """Draw on `ax`, or on new axes; they are kept in `ax_` and `figure_`."""
        from matplotlib.figure import Figure

        if ax is None:
            ax = Figure(figsize=(5, 4), layout="constrained").subplots()
        x, y = self.points.T
        if pd.api.types.is_numeric_dtype(self.colour):
            dots = ax.scatter(x, y, c=self.colour, s=12)
            ax.figure.colorbar(dots, ax=ax, label=_plain(self.colour.name))
        else:
            for level, rows in (
                self.colour.astype(str).groupby(self.colour.astype(str)).groups.items()
            ):
                ax.scatter(x[rows], y[rows], s=12, label=_plain(level))
            ax.legend(title=self.colour.name, frameon=False)
        ax.set(xlabel="1st component of z", ylabel="2nd component of z", title="Latent features")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class MarginalsDisplay:
    """Marginal distributions of two tables, column by column.

    Parameters
    ----------
    real, drawn : DataFrame
        Tables with the same columns.
    """

    def __init__(self, real: pd.DataFrame, drawn: pd.DataFrame) -> None:
        self.real, self.drawn = real, drawn

    def plot(self, n_columns: int = 4, figure: Any = None) -> Self:
        """Draw one panel per column on `figure`, or a new one; kept in `figure_` and `axes_`."""
        from matplotlib.figure import Figure

        n_rows = -(-self.real.shape[1] // n_columns)
        if figure is None:
            figure = Figure(figsize=(3.2 * n_columns, 2.5 * n_rows), layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for name, ax in zip(self.real.columns, axes, strict=False):
            _draw_marginal(ax, self.real[name].dropna(), self.drawn[name].dropna())
            ax.set_title(_plain(name))
        for ax in axes[self.real.shape[1] :]:
            ax.set_visible(False)
        axes[0].legend(frameon=False)
        self.figure_, self.axes_ = figure, axes
        return self


def _draw_marginal(ax: Any, real: pd.Series, drawn: pd.Series) -> None:
    if is_number(real) and real.nunique() > MAX_LEVELS:
        edges = np.histogram_bin_edges(numbers_of(real), bins=20)
        for values, label, filled in ((real, "real", True), (drawn, "drawn", False)):
            kind = "stepfilled" if filled else "step"
            style = {"alpha": 0.4} if filled else {"linewidth": 1.8}
            ax.hist(
                numbers_of(values),
                edges,
                weights=np.full(len(values), 1 / max(len(values), 1)),
                histtype=kind,
                label=label,
                **style,
            )
        return
    shares = (
        pd.DataFrame(
            {
                "real": real.astype(str).value_counts(normalize=True).head(MAX_LEVELS),
                "drawn": drawn.astype(str).value_counts(normalize=True),
            }
        )
        .dropna(subset="real")
        .fillna(0)
    )
    place = np.arange(len(shares))
    ax.bar(place - 0.2, shares["real"], 0.4, alpha=0.5, label="real")
    ax.bar(place + 0.2, shares["drawn"], 0.4, fill=False, linewidth=1.5, label="drawn")
    ax.set_xticks(
        place, [_plain(level) for level in shares.index], rotation=30 if len(shares) > 3 else 0
    )


class OverimputationDisplay:
    """Truth against estimate and interval of known cells that were hidden.

    Parameters
    ----------
    check : DataFrame
        As `ConditionalVAE.overimpute` returns it.
    column : Hashable
        The column of numbers to show.

    Raises
    ------
    ValueError
        If the column has no intervals in `check`.
    """

    def __init__(self, check: pd.DataFrame, column: Any) -> None:
        lines = check[check["column"] == column]
        if lines["lower"].isna().all():
            numbers = check.loc[check["lower"].notna(), "column"].unique().tolist()
            raise ValueError(f"{column!r} has no intervals; columns that have: {numbers}.")
        self.lines, self.column = lines, column

    def plot(self, ax: Any = None) -> Self:
        """Draw the intervals at their truths; the axes are kept in `ax_`, or a new figure's."""
        from matplotlib.figure import Figure

        ax = Figure(figsize=(5, 4.5), layout="constrained").subplots() if ax is None else ax
        kind = self.lines["truth"].infer_objects().dtype.kind
        unit = DAY if kind in "mM" else 1.0  # matplotlib counts times in days from 1970
        truth, estimate, lower, upper = (
            numbers_of(self.lines[name].infer_objects()) / unit
            for name in ("truth", "estimate", "lower", "upper")
        )
        covered = self.lines["covered"].to_numpy(dtype=bool)
        colours = np.where(covered, "C0", "C3")
        ax.scatter(truth, estimate, s=10, c=colours, zorder=3)
        ax.vlines(truth, lower, upper, colors=colours, alpha=0.4, linewidth=1)
        ax.axline((truth.mean(), truth.mean()), slope=1, color="0.5", linestyle="--")
        ax.set(
            xlabel=f"true {_plain(self.column)}",
            ylabel="imputed, with interval",
            title=f"{covered.mean():.0%} of {len(truth)} hidden cells within",
        )
        if kind == "M":
            ax.xaxis_date()
            ax.yaxis_date()
        self.ax_, self.figure_ = ax, ax.figure
        return self


class FidelityDisplay:
    """A drawn table beside the real one, in the four pictures that people look at.

    Parameters
    ----------
    real, drawn : DataFrame
        The columns whose marginals are shown.
    trends : DataFrame of shape (d, d)
        As `metrics.pair_trends` returns it.
    points : dict of str to ndarray of shape (n, 2)
        Rows in two dimensions, by whose they are.
    distances : dict of str to ndarray of shape (n,)
        Distances to the nearest real row, by whose they are.
    """

    def __init__(
        self,
        real: pd.DataFrame,
        drawn: pd.DataFrame,
        trends: pd.DataFrame,
        points: dict[str, Array],
        distances: dict[str, Array],
    ) -> None:
        self.real, self.drawn = real, drawn
        self.trends, self.points, self.distances = trends, points, distances

    @classmethod
    def from_tables(cls, real: Any, drawn: Any, holdout: Any = None) -> Self:
        """Compare the 12 columns of least shape, all pairs, and rows as numbers and dummies.

        Parameters
        ----------
        real, drawn : DataFrame of shape (n, d) and (m, d)
        holdout : DataFrame of shape (k, d), default=None
            Real rows that no model has seen, for their distances to `real`.
        """
        real, drawn = as_pandas(real), as_pandas(drawn)
        others = [drawn] if holdout is None else [drawn, as_pandas(holdout)]
        a, *encoded = encode_rows(real, real, *others)
        axes = PCA(min(2, *a.shape), random_state=0).fit(a)
        points = {"real": axes.transform(a), "drawn": axes.transform(encoded[0])}
        near = NearestNeighbors(n_neighbors=min(2, len(a))).fit(a)
        distances = {"real rows, to the next": near.kneighbors(a)[0][:, -1]}
        for name, rows in zip(("drawn rows", "holdout"), encoded, strict=False):
            distances[name] = near.kneighbors(rows, n_neighbors=1)[0][:, 0]
        shown = list(column_shapes(real, drawn).sort_values().index[:MAX_PANELS])
        return cls(real[shown], drawn[shown], pair_trends(real, drawn), points, distances)

    def plot(self) -> Self:
        """Draw on a new figure, kept in `figure_`."""
        from matplotlib.figure import Figure

        n_rows = -(-self.real.shape[1] // 4)
        figure = Figure(figsize=(13, 2.4 * n_rows + 4.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.4 * n_rows, 4.2])
        top, bottom = parts
        MarginalsDisplay(self.real, self.drawn).plot(4, top)
        trends, overlap, distances = bottom.subplots(1, 3)
        self._draw_trends(trends)
        for (name, rows), colour in zip(self.points.items(), ("0.6", "C1"), strict=True):
            x, y = rows.T if rows.shape[1] == 2 else (rows[:, 0], np.zeros(len(rows)))
            overlap.scatter(x, y, s=4, alpha=0.5, color=colour, label=name)
        overlap.set(title="Overlap of rows", xlabel="1st component", ylabel="2nd component")
        edges = np.linspace(0, max(np.quantile(d, 0.99) for d in self.distances.values()) or 1, 40)
        for name, values in self.distances.items():
            weights = np.full(len(values), 1 / len(values))
            distances.hist(values, edges, weights=weights, histtype="step", label=name)
        distances.set(title="Distance to the nearest real row", yticks=[])
        for ax in (overlap, distances):
            ax.legend(frameon=False)
        self.figure_ = figure
        return self

    def _draw_trends(self, ax: Any) -> None:
        shown = ax.imshow(1 - self.trends.to_numpy(), cmap="Reds", vmin=0, vmax=0.2)
        ax.figure.colorbar(shown, ax=ax, extend="max", shrink=0.8)
        few = len(self.trends) <= 2 * MAX_LEVELS
        names = [_plain(name) for name in self.trends.columns]
        ax.set_xticks(range(len(names)) if few else [], names if few else [], rotation=90)
        ax.set_yticks(range(len(names)) if few else [], names if few else [])
        ax.set_title("Difference of dependence (1 - trend)")
