"""A condition of a thousand levels: the days of beijing.

    python -m benchmarks.many_levels --data DIR

Year, month and day are one condition, of 1,000 levels with eight hours each to learn from; up to
three other hours of these days are test rows. The weather of a day is modelled given the day alone.
Concatenated, the levels are as many inputs as there are days; embedded, a learned vector each; by
FiLM, each day scales and shifts every hidden layer; attended to, a token each.

On the test rows: log p (nats per row, higher is better), error of imputing half of the cells (RMSE
in deviations, share of right levels), and how hard rows drawn for the test rows' days are to tell
from these (C2ST by gradient boosting, 1 is impossible). Two layers of 64, 60 epochs, one seed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.members import SETTINGS, ask
from benchmarks.tables import load_table
from sklearn_cvae import ConditionalVAE

RESULTS = Path(__file__).parent / "results"
N_TRAIN, N_TEST = 8, 3


class Score(NamedTuple):
    """What one way to condition gives."""

    conditioning: str
    log_p: float
    rmse: float
    accuracy: float
    c2st: float
    fit_seconds: float


def days(rows: pd.DataFrame, n_days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows of some days, the day as one column."""
    date = rows["year"] + "-" + rows["month"] + "-" + rows["day"]
    rows = rows.drop(columns=["year", "month", "day"])
    rows = rows.assign(hour=rows["hour"].astype(float), date=date)
    chosen = np.random.default_rng(7).permutation(date.unique())[:n_days]
    rows = rows[rows["date"].isin(chosen)].sample(frac=1, random_state=0)
    place = rows.groupby("date").cumcount()
    parts = rows[place < N_TRAIN], rows[(place >= N_TRAIN) & (place < N_TRAIN + N_TEST)]
    train, test = (part.reset_index(drop=True) for part in parts)
    return train, test


def score(conditioning: str, train: pd.DataFrame, test: pd.DataFrame, max_iter: int) -> Score:
    """Fit one way to condition, and ask it everything."""
    start = time.perf_counter()
    params = SETTINGS | {"conditioning": conditioning, "max_iter": max_iter}
    model = ConditionalVAE(condition_features=["date"], **params).fit(train)
    seconds = time.perf_counter() - start
    return Score(conditioning, *ask(model, test, ["date"], 0.5), seconds)


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit, score, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument(
        "--conditioning", nargs="+", default=["concat", "embedding", "film", "attention"]
    )
    parser.add_argument("--days", type=int, default=1_000)
    parser.add_argument("--max-iter", type=int, default=SETTINGS["max_iter"])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    train, test = days(load_table("beijing", args.data, 50_000, 0), args.days)
    scores = []
    for name in args.conditioning:
        scores.append(score(name, train, test, args.max_iter))
        print(*scores[-1], flush=True)
    results = pd.DataFrame(scores)
    about = (__doc__ or "").strip().splitlines()
    table = results.round({"fit_seconds": 0}).to_markdown(index=False, floatfmt=".3f")
    parts = [f"# {about[0]}", "`python -m benchmarks.many_levels --data DIR`"]
    parts += ["\n".join(about[4:]), f"{len(train):,} training rows, {len(test):,} others.", table]
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "many_levels.md").write_text("\n\n".join(parts) + "\n")
    return results


if __name__ == "__main__":
    main()
