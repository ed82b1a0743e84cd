"""A drawn table against the real one: figures to print and four pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_cvae.metrics import (
    alpha_precision_beta_recall,
    column_shapes,
    copying,
    learning_efficiency,
    pair_trends,
    refuse_unusable,
    two_sample_score,
)
from sklearn_cvae.plotting import FidelityDisplay

MAX_ROWS = 20_000


class Report:
    """What `report` found.

    Parameters
    ----------
    scores : DataFrame of shape (n_scores, 1 or 2)
        "drawn" holds each score of the drawn table, "ceiling" the same of the holdout, where
        there is one.
    columns : DataFrame of shape (n_columns, 2)
        Each column's "shape", and the mean "trend" of its pairs.
    figure : matplotlib Figure
        Marginals, difference of pairwise dependence, overlap of rows in two dimensions, and
        distances to the nearest real row.
    """

    def __init__(self, scores: pd.DataFrame, columns: pd.DataFrame, figure: Any) -> None:
        self.scores, self.columns, self.figure = scores, columns, figure

    def __str__(self) -> str:
        worst = self.columns.sort_values("shape").head(10)
        return (
            f"{self.scores.to_string(float_format='%.3f', na_rep='-')}\n\n"
            f"The columns of least shape:\n{worst.to_string(float_format='%.3f')}"
        )


def report(
    real: Any,
    drawn: Any,
    holdout: Any = None,
    target: Any = None,
    random_state: int | None = None,
) -> Report:
    """Compare a drawn table with the real one: print the metrics and draw four pictures.

    Parameters
    ----------
    real, drawn : DataFrame of shape (n, d) and (m, d)
        The table that was learnt from, and rows that a model drew.
    holdout : DataFrame of shape (k, d), default=None
        Real rows that the model has not seen. With it every score has the ceiling beside it that
        real rows reach, and copying and learning efficiency are measured too.
    target : Hashable, default=None
        A column whose prediction tells learning efficiency; needs `holdout`.
    random_state : int or None, default=None
        Seed of the classifiers' folds, and of which 20,000 rows are used of larger tables.

    Returns
    -------
    report : Report
        `print` shows it again; `report.figure.savefig(path)` saves the pictures.

    Raises
    ------
    ValueError
        If the tables' columns differ, if one has fewer than 3 rows or infinite numbers, or if
        `target` comes without `holdout`.

    Examples
    --------
    >>> from sklearn_cvae import ConditionalVAE, report
    >>> from sklearn_cvae.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> drawn = ConditionalVAE(max_iter=5, random_state=0).fit(penguins).sample(344, random_state=0)
    >>> found = report(penguins, drawn, random_state=0)
                         drawn
    Shape                ...
    >>> len(found.figure.axes) >= 4
    True
    """
    if target is not None and holdout is None:
        raise ValueError("target needs holdout: real rows to predict that the model has not seen.")
    others = {} if holdout is None else {"holdout": holdout}
    refuse_unusable(real=real, drawn=drawn, **others)
    real, drawn = (_some(table, random_state) for table in (real, drawn))
    shapes, trends = column_shapes(real, drawn), pair_trends(real, drawn)
    scores = {"drawn": _scores(real, drawn, shapes, trends, random_state)}
    if holdout is not None:
        holdout = _some(holdout, random_state)
        scores["drawn"] |= _against_holdout(real, drawn, holdout, target, random_state)
        of_holdout = column_shapes(real, holdout), pair_trends(real, holdout)
        scores["ceiling"] = _scores(real, holdout, *of_holdout, random_state)
        if target is not None:
            ceiling = learning_efficiency(real, holdout, target, random_state)
            scores["ceiling"]["Learning efficiency"] = ceiling
    columns = pd.DataFrame({"shape": shapes, "trend": trends.mean()})
    pictures = FidelityDisplay.from_tables(real, drawn, holdout).plot()
    found = Report(pd.DataFrame(scores), columns, pictures.figure_)
    print(found)
    return found


def _scores(
    real: Any, other: Any, shapes: pd.Series, trends: pd.DataFrame, seed: int | None
) -> dict[str, float]:
    """Return the scores that need no further rows, 1 being the best but for beta-recall."""
    coverage = alpha_precision_beta_recall(real, other)
    return {
        "Shape": float(shapes.mean()),
        "Trend": float(pd.Series(trends.to_numpy().ravel()).mean()),  # NaN of one column
        "Alpha-precision": coverage.alpha_precision,
        "Beta-recall": coverage.beta_recall,
        "Two-sample, boosting": two_sample_score(real, other, "boosting", seed),
        "Two-sample, logistic": two_sample_score(real, other, "logistic", seed),
    }


def _against_holdout(
    real: Any, drawn: Any, holdout: Any, target: Any, seed: int | None
) -> dict[str, float]:
    privacy = copying(real, drawn, holdout, seed)
    scores = {
        "Exact copies of real rows": privacy.exact_copies,
        "Exact copies of the holdout": privacy.copies_of_holdout,
        "Closer to real rows (0.5: no copying)": privacy.closer_to_train,
    }
    if target is not None:
        scores["Learning efficiency"] = learning_efficiency(drawn, holdout, target, seed)
    return scores


def _some(table: Any, seed: int | None) -> Any:
    """Return the table, or MAX_ROWS of its rows at random."""
    if len(table) <= MAX_ROWS:
        return table
    rows = np.random.default_rng(seed).permutation(len(table))[:MAX_ROWS]
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]
