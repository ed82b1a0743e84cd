"""Imputation of hidden cells, against mean/mode, KNN and a MissForest, on the same rows and masks.

    python benchmarks/imputation.py --data DIR

DIR holds `tables/NAME.csv.gz` and `tables/NAME.json` (keys "numeric" and "categorical").
Protocol: 6,000 rows, 30 % of the known cells hidden completely at random, imputed in the table
that the imputer was fitted on. RMSE and MAE are over hidden numeric cells, pooled, in standard
deviations of the column's known cells; accuracy is over hidden categorical cells.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import KNNImputer

from sklearn_cvae import ConditionalVAE
from sklearn_cvae.datasets import hide_cells, load_penguins
from sklearn_cvae.metrics import imputation_errors

RESULTS = Path(__file__).parent / "results"


def load_table(name: str, data: Path | None, n_rows: int, seed: int) -> pd.DataFrame:
    """Return a random subset of a table's rows: its features, without the target."""
    if data is None or name == "penguins":
        table = load_penguins()
    else:
        about = json.loads((data / "tables" / f"{name}.json").read_text())
        dtypes = dict.fromkeys(about["categorical"], str)
        path = data / "tables" / f"{name}.csv.gz"
        table = pd.read_csv(path, dtype=dtypes, usecols=about["numeric"] + about["categorical"])
        table = table.astype(dict.fromkeys(about["numeric"], float))
    order = np.random.default_rng(seed).permutation(len(table))[:n_rows]
    return table.iloc[order].reset_index(drop=True)


def mean_mode(X: pd.DataFrame) -> pd.DataFrame:
    """Fill numbers by the mean and categories by the mode."""
    numeric = X.select_dtypes("number").columns
    first = X.astype(dict.fromkeys(numeric, float)).fillna(X[numeric].mean())
    return first.fillna({c: X[c].mode()[0] for c in X.columns.difference(numeric)})


def dummies(column: pd.Series) -> pd.DataFrame:
    """Return one column of 0 and 1 per level, missing where the level is."""
    onehot = pd.get_dummies(column, dtype=float)
    onehot[column.isna()] = np.nan
    return onehot


def knn(X: pd.DataFrame) -> pd.DataFrame:
    """KNNImputer on standardised numbers and dummies; a level is the dummy voted for most."""
    numeric = X.select_dtypes("number").columns
    numbers = X[numeric].astype(float)
    onehots = {c: dummies(X[c]) for c in X.columns.difference(numeric)}
    wide = pd.concat([(numbers - numbers.mean()) / numbers.std(), *onehots.values()], axis=1)
    completed = KNNImputer().fit_transform(wide.to_numpy())
    filled = X.astype(dict.fromkeys(numeric, float))
    filled[numeric] = (
        completed[:, : len(numeric)] * numbers.std().to_numpy() + numbers.mean().to_numpy()
    )
    start = len(numeric)
    for name, onehot in onehots.items():
        votes = completed[:, start : start + onehot.shape[1]].argmax(axis=1)
        voted = pd.Series(onehot.columns.to_numpy(dtype=object)[votes], index=X.index)
        filled[name] = X[name].astype(object).where(X[name].notna(), voted)
        start += onehot.shape[1]
    return filled


def missforest(X: pd.DataFrame, n_rounds: int = 5, n_estimators: int = 100) -> pd.DataFrame:
    """Extra trees in turn: a regressor per number, a classifier per category.

    A category's predictors are the numbers and the dummies of the *other* categories.
    """
    numeric = X.select_dtypes("number").columns
    missing = X.isna()
    filled = mean_mode(X)
    for _ in range(n_rounds):
        for name in missing.sum().sort_values().index:
            rows = missing[name]
            if not rows.any():
                continue
            others = [
                filled[[other]] if other in numeric else pd.get_dummies(filled[other])
                for other in X.columns.drop(name)
            ]
            predictors = pd.concat(others, axis=1).to_numpy(dtype=np.float32)
            forest = ExtraTreesRegressor if name in numeric else ExtraTreesClassifier
            model = forest(n_estimators, random_state=0, n_jobs=-1)
            model.fit(predictors[~rows], X.loc[~rows, name])
            filled.loc[rows, name] = model.predict(predictors[rows])
    return filled


PEERS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "mean / mode": mean_mode,
    "KNNImputer": knn,
    "MissForest (extra trees)": missforest,
}


def run(name: str, X: pd.DataFrame, seed: int, **params: object) -> list[dict[str, object]]:
    """Return one row of errors per method on one table and mask."""
    holes, hidden = hide_cells(X, 0.3, "mcar", random_state=seed)
    rows = []

    def record(method: str, table: pd.DataFrame, seconds: float) -> None:
        errors = imputation_errors(X, holes, table, hidden)
        rows.append(
            {
                "table": name,
                "mask seed": seed,
                "method": method,
                **errors._asdict(),
                "seconds": seconds,
            }
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)

    for method, impute in PEERS.items():
        start = time.perf_counter()
        table = impute(holes)
        record(method, table, time.perf_counter() - start)
    start = time.perf_counter()
    model = ConditionalVAE(random_state=seed, **params).fit(holes)
    fit_seconds = time.perf_counter() - start
    for strategy in ("mean", "median"):
        start = time.perf_counter()
        table = model.impute(holes, strategy=strategy)
        record(f"ConditionalVAE, {strategy}", table, fit_seconds + time.perf_counter() - start)
    return rows


def main(argv: list[str] | None = None) -> pd.DataFrame:
    """Run the benchmark; write `imputation.csv` and `imputation.md`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the tables; without it, penguins")
    parser.add_argument("--tables", nargs="+", default=["california", "letter", "adult"])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--max-iter", type=int, help="fewer epochs than the default, to try it out")
    args = parser.parse_args(argv)
    params = {} if args.max_iter is None else {"max_iter": args.max_iter}
    tables = args.tables if args.data else ["penguins"]
    rows = []
    for name in tables:
        for seed in args.seeds:
            rows += run(name, load_table(name, args.data, args.rows, seed), seed, **params)
    results = pd.DataFrame(rows)
    args.output.mkdir(parents=True, exist_ok=True)
    results.to_csv(args.output / "imputation.csv", index=False)
    mean = results.drop(columns="mask seed").groupby(["table", "method"], sort=False).mean()
    (args.output / "imputation.md").write_text(
        f"# Imputation\n\n{__doc__}\nMean over mask seeds {args.seeds}.\n\n"
        + mean.round({"rmse": 4, "mae": 4, "accuracy": 4, "seconds": 1})
        .reset_index()
        .to_markdown(index=False)
        + "\n"
    )
    return results


if __name__ == "__main__":
    main()
