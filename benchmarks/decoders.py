"""One, two and four decoders: how much of a table a model learns by heart.

    python -m benchmarks.decoders --data DIR

Two thirds of up to 3,000 rows are learned from with the defaults but `n_decoders`. Of the other
third: log p (nats per row; higher is better), how well log p tells these rows from those that were
learned (AUC of the membership attack, 0.5 is the best), error of imputing 30 % of the cells (RMSE
in deviations, and share of right levels), and how hard drawn rows are to tell from them (C2ST by
gradient boosting, 1 is impossible). One seed. Each row teaches one decoder, but each decoder has
matrices of its own to orthogonalise, and the rows that are drawn at the end of `fit` ask all of
them; runs shared cores. The default of so few rows is two.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks.members import ask
from benchmarks.tables import load_table
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.metrics import membership_attack

RESULTS = Path(__file__).parent / "results"
TABLES = [
    *("adult", "default", "shoppers", "magic", "beijing", "news", "letter", "gesture"),
    *("california", "bean", "wine", "breast_cancer", "penguins", "diabetes"),
]
N_DECODERS = [1, 2, 4]
DIGITS = ("", ".0f", ".2f", ".3f", ".3f", ".3f", ".3f", ".0f")


class Score(NamedTuple):
    """What a model with so many decoders makes of rows not seen."""

    table: str
    n_decoders: int
    log_p: float
    membership_auc: float
    rmse: float
    accuracy: float
    c2st: float
    seconds: float


def score(
    table: str, n_decoders: int, train: pd.DataFrame, test: pd.DataFrame, max_iter: int | str
) -> Score:
    """Fit a model, and ask it everything."""
    start = time.perf_counter()
    model = ConditionalVAE(n_decoders=n_decoders, max_iter=max_iter, random_state=0).fit(train)
    seconds = time.perf_counter() - start
    attack = membership_attack(model.score_samples(train), model.score_samples(test))
    answers = ask(model, test, [], 0.3)
    return Score(table, n_decoders, answers.log_p, attack.auc, *answers[1:], seconds)


def page(scores: pd.DataFrame, n_rows: int) -> str:
    """Return the scores as markdown, and what they gain over one decoder."""
    about = (__doc__ or "").strip().splitlines()
    parts = [f"# {about[0]}", "`python -m benchmarks.decoders --data DIR`", "\n".join(about[4:])]
    by_table = scores.set_index(["table", "n_decoders"])
    one = by_table.xs(1, level="n_decoders").reindex(by_table.index.get_level_values(0))
    differences = ["log_p", "membership_auc", "c2st"]
    gain = by_table[differences] - one[differences].to_numpy()
    gain["rmse, ratio"] = by_table["rmse"] / one["rmse"].to_numpy()
    means = gain.groupby(level="n_decoders").mean().drop(index=1).reset_index()
    parts.append(f"Up to {n_rows} rows.\n\n{scores.to_markdown(index=False, floatfmt=DIGITS)}")
    parts.append(f"## Mean change from one decoder\n\n{means.round(3).to_markdown(index=False)}")
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit each number of decoders to every table, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--quick", action="store_true", help="penguins, two epochs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    tables, max_iter = (["penguins"], 2) if args.quick else (args.tables, "auto")
    found = []
    for name in tables:
        rows = load_table(name, args.data, args.rows, 0)
        n_train = len(rows) * 2 // 3
        train, test = rows[:n_train], rows[n_train:].reset_index(drop=True)
        for n_decoders in N_DECODERS:
            found.append(score(name, n_decoders, train, test, max_iter))
            print(*found[-1], flush=True)
    scores = pd.DataFrame(found)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "decoders.md").write_text(page(scores, args.rows))
    return scores


if __name__ == "__main__":
    main()
