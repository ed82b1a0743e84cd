"""Displays, as scikit-learn's: computed by a class method, drawn by `plot`. Needs matplotlib."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Array = NDArray[Any]

MAX_LEVELS = 12


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
            ax.figure.colorbar(dots, ax=ax, label=self.colour.name)
        else:
            for level, rows in (
                self.colour.astype(str).groupby(self.colour.astype(str)).groups.items()
            ):
                ax.scatter(x[rows], y[rows], s=12, label=level)
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

    def plot(self, n_columns: int = 4) -> Self:
        """Draw one panel per column on a new figure, kept in `figure_` and `axes_`."""
        from matplotlib.figure import Figure

        n_rows = -(-self.real.shape[1] // n_columns)
        figure = Figure(figsize=(3.2 * n_columns, 2.5 * n_rows), layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for name, ax in zip(self.real.columns, axes, strict=False):
            _draw_marginal(ax, self.real[name].dropna(), self.drawn[name].dropna())
            ax.set_title(name)
        for ax in axes[self.real.shape[1] :]:
            ax.set_visible(False)
        axes[0].legend(frameon=False)
        self.figure_, self.axes_ = figure, axes
        return self


def _draw_marginal(ax: Any, real: pd.Series, drawn: pd.Series) -> None:
    numeric = pd.api.types.is_numeric_dtype(real) and real.dtype.kind != "b"
    if numeric and real.nunique() > MAX_LEVELS:
        edges = np.histogram_bin_edges(real.to_numpy(dtype=float), bins=20)
        for values, label, filled in ((real, "real", True), (drawn, "drawn", False)):
            kind = "stepfilled" if filled else "step"
            style = {"alpha": 0.4} if filled else {"linewidth": 1.8}
            ax.hist(
                values.to_numpy(dtype=float),
                edges,
                density=True,
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
    ax.set_xticks(place, shares.index, rotation=30 if len(shares) > 3 else 0)


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
        truth, estimate, lower, upper = (
            self.lines[name].to_numpy(dtype=float)
            for name in ("truth", "estimate", "lower", "upper")
        )
        covered = self.lines["covered"].to_numpy(dtype=bool)
        colours = np.where(covered, "C0", "C3")
        ax.scatter(truth, estimate, s=10, c=colours, zorder=3)
        ax.vlines(truth, lower, upper, colors=colours, alpha=0.4, linewidth=1)
        ax.axline((truth.mean(), truth.mean()), slope=1, color="0.5", linestyle="--")
        ax.set(
            xlabel=f"true {self.column}",
            ylabel="imputed, with interval",
            title=f"{covered.mean():.0%} of {len(truth)} hidden cells within",
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
