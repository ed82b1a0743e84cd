"""Rows drawn under conditions, against the real rows that meet them.

    python -m benchmarks.conditions --data DIR

A model learns from the training rows. Under each condition it draws as many rows as meet it there,
at most 5,000. Shape and Trend of the drawn rows against these rows stand beside those of the test
rows that meet the condition (the ceiling, from fewer rows) and of test rows at large (what ignoring
the condition gives). The mean effective sample size is of 64 proposals.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.tables import load_split
from sklearn_cvae import ConditionalVAE, metrics

RESULTS = Path(__file__).parent / "results"
MAX_DRAWN = 5_000
ASKED: dict[str, list[dict[str, Any]]] = {
    "adult": [
        {"sex": "Female"},
        {"education": ["Masters", "Doctorate"]},
        {"age": (30, 40)},
        {"age": (60, None), "workclass": "Private"},
        {"hours.per.week": 50.0},
        {"native.country": "Mexico"},
        {"occupation": "Prof-specialty", "income": ">50K"},
    ],
    "penguins": [{"species": "Gentoo"}, {"bill_length_mm": (45, None)}],
}


class Group(NamedTuple):
    """Scores of one condition.

    Parameters
    ----------
    condition : str
    n_rows : int
        Training rows that meet it.
    shape, trend : float
        Of the drawn rows.
    shape_ceiling, trend_ceiling : float
        Of the test rows that meet it.
    shape_ignored, trend_ignored : float
        Of test rows at large.
    ess : float
    """

    condition: str
    n_rows: int
    shape: float
    trend: float
    shape_ceiling: float
    trend_ceiling: float
    shape_ignored: float
    trend_ignored: float
    ess: float


def meets(table: pd.DataFrame, asked: dict[str, Any]) -> pd.Series:
    """Return which rows meet a condition."""
    met = pd.Series(True, index=table.index)
    for name, wanted in asked.items():
        column = table[name]
        if isinstance(wanted, tuple):
            low, high = (-np.inf if wanted[0] is None else wanted[0]), wanted[1]
            met &= column.between(low, np.inf if high is None else high)
        else:
            met &= column.isin(wanted if isinstance(wanted, list) else [wanted])
    return met


def likeness(real: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Return Shape and Trend."""
    trends = metrics.pair_trends(real, other).to_numpy()
    return float(metrics.column_shapes(real, other).mean()), float(np.nanmean(trends))


def score(
    model: ConditionalVAE, train: pd.DataFrame, test: pd.DataFrame, asked: dict[str, Any]
) -> Group:
    """Draw under a condition and compare the columns that it leaves open."""
    group = train[meets(train, asked)].drop(columns=list(asked))
    n_drawn = min(len(group), MAX_DRAWN)
    drawn, ess = model.sample(n_drawn, asked, random_state=0, return_ess=True)
    assert meets(drawn, asked).all(), f"{asked} is not met"
    tables = drawn, test[meets(test, asked)], test
    scores = [x for t in tables for x in likeness(group, t[group.columns])]
    return Group(str(asked), len(group), *scores, float(np.mean(ess)))


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit, draw, score, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument("--table", default="adult", choices=list(ASKED))
    parser.add_argument("--rows", type=int, help="at most so many training rows; default all")
    parser.add_argument("--max-iter", type=int)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    train, test, _ = load_split(args.table, args.data, args.rows, 0)
    params = {} if args.max_iter is None else {"max_iter": args.max_iter}
    start = time.perf_counter()
    model = ConditionalVAE(random_state=0, **params).fit(train)
    took = f"Fitted in {time.perf_counter() - start:.0f} s, one thread."
    groups = pd.DataFrame([score(model, train, test, asked) for asked in ASKED[args.table]])
    text = groups.to_string(index=False, float_format="%.3f")
    title = f"# Rows drawn under conditions: {args.table}, {len(train):,} training rows"
    command = f"`python -m benchmarks.conditions --data DIR --table {args.table}`"
    about = "\n".join((__doc__ or "").strip().splitlines()[4:])
    args.output.mkdir(parents=True, exist_ok=True)
    page = f"{title}\n\n{command}\n\n{about}\n\n{took}\n\n```\n{text}\n```\n"
    (args.output / "conditions.md").write_text(page)
    print(took, text, sep="\n")
    return groups


if __name__ == "__main__":
    main()
