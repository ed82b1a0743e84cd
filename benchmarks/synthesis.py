"""Drawn tables against real ones, ours and other generators', on the same training rows.

    python -m benchmarks.synthesis --data DIR

The protocol is `synthesis_report.PROTOCOL`. A case that is in `synthesis.csv` is not run again, so
a run can be stopped, and several can share the work. What fails is listed in
`synthesis_failures.txt`, and is tried again by the next run.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.generators import ENVIRONMENTS, generators
from benchmarks.synthesis_report import CEILING, write_report
from benchmarks.tables import SMALL, Split, load_split
from sklearn_cvae import metrics

RESULTS = Path(__file__).parent / "results"
TABSYN = ["adult", "default", "shoppers", "magic", "beijing", "news"]
KEY = ["table", "n_rows", "seed", "method"]
N_ATTACKED = 5_000


class Made(NamedTuple):
    """What a generator made in a process of its own.

    Parameters
    ----------
    table : DataFrame
    fit_seconds, sample_seconds, peak_mib : float
    inside, outside : ndarray or None
        Log-likelihoods of training rows and of others.
    """

    table: pd.DataFrame
    fit_seconds: float
    sample_seconds: float
    peak_mib: float
    inside: np.ndarray | None
    outside: np.ndarray | None


def make(
    method: str, split: Split, seed: int, environments: Path, timeout: float, params: Any
) -> Made:
    """Run one generator; called in a fresh process, whose memory is the generator's alone."""
    drawn = generators(environments, timeout, **params)[method](split.train, split.target, seed)
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    peak = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    scores: list[Any] = [None, None]
    if drawn.score is not None:
        scores = [drawn.score(t.head(N_ATTACKED)) for t in (split.train, split.test)]
    return Made(drawn.table, drawn.fit_seconds, drawn.sample_seconds, peak, *scores)


def ceiling(split: Split, seed: int) -> tuple[pd.DataFrame, Made]:
    """Return one half of the training rows, and the other half as if it had been drawn."""
    order = np.random.default_rng(seed).permutation(len(split.train))
    halves = [split.train.iloc[rows].reset_index(drop=True) for rows in np.array_split(order, 2)]
    return halves[0], Made(halves[1], 0.0, 0.0, np.nan, None, None)


def scores(real: pd.DataFrame, made: Made, split: Split, seed: int) -> dict[str, float]:
    """Return every metric of one drawn table."""
    table = made.table
    coverage = metrics.alpha_precision_beta_recall(real, table)
    privacy = metrics.copying(real, table, split.test, seed)
    found = {
        "shape": float(metrics.column_shapes(real, table).mean()),
        "trend": float(np.nanmean(metrics.pair_trends(real, table).to_numpy())),
        "alpha_precision": coverage.alpha_precision,
        "beta_recall": coverage.beta_recall,
        "c2st_xgb": np.nan,
        "c2st_hgb": metrics.two_sample_score(real, table, "boosting", seed),
        "c2st_lr": metrics.two_sample_score(real, table, "logistic", seed),
        "efficiency": metrics.learning_efficiency(table, split.test, split.target, seed),
        "copies": privacy.exact_copies,
        "copies_of_holdout": privacy.copies_of_holdout,
        "closer_to_train": privacy.closer_to_train,
        "membership_auc": np.nan,
        "membership_tpr": np.nan,
        "fit_seconds": made.fit_seconds,
        "sample_seconds": made.sample_seconds,
        "peak_mib": made.peak_mib,
    }
    if importlib.util.find_spec("xgboost"):
        found["c2st_xgb"] = metrics.two_sample_score(real, table, _xgboost(), seed)
    if made.inside is not None:
        attack = metrics.membership_attack(made.inside, made.outside)
        found |= {"membership_auc": attack.auc, "membership_tpr": attack.tpr_at_fpr}
    return found


def _xgboost() -> Any:
    """Return the classifier of the published figures: xgboost's defaults."""
    from xgboost import XGBClassifier

    return XGBClassifier(eval_metric="logloss", random_state=0, n_jobs=1)


def column_scores(real: pd.DataFrame, table: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    """Return each column's shape and the mean trend of its pairs."""
    shapes, trends = metrics.column_shapes(real, table), metrics.pair_trends(real, table).mean()
    columns = pd.DataFrame({"column": shapes.index, "shape": shapes, "trend": trends.to_numpy()})
    return columns.assign(**key)[[*KEY, "column", "shape", "trend"]]


def run_case(method: str, split: Split, key: dict[str, Any], args: argparse.Namespace) -> None:
    """Run one generator on one table and append what it scored to the files."""
    start = time.perf_counter()
    real = split.train
    if method == CEILING:
        real, made = ceiling(split, key["seed"])
    else:
        params = {"n_jobs": args.n_jobs}
        if args.max_iter is not None:
            params["max_iter"] = args.max_iter
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            made = pool.submit(
                make, method, split, key["seed"], args.peers, args.timeout, params
            ).result()
    row = key | scores(real, made, split, key["seed"])
    _append(args.output / "synthesis.csv", pd.DataFrame([row]))
    columns = column_scores(real, made.table, key)
    _append(args.output / "synthesis_columns.csv", columns)
    said = ", ".join(f"{k} {row[k]:.3f}" for k in ("shape", "trend", "c2st_xgb", "efficiency"))
    took = time.perf_counter() - start
    print(f"{key['table']:14} {key['n_rows']:6} {method:20} {said} ({took:.0f} s)", flush=True)


def _applicable(methods: list[str], split: Split) -> list[str]:
    """Leave out SMOTE where there are no classes to interpolate within."""
    number = pd.api.types.is_numeric_dtype(split.train[split.target])
    return [method for method in methods if not (number and method == "SMOTE")]


def _append(path: Path, rows: pd.DataFrame) -> None:
    rows.round(6).to_csv(path, mode="a", header=not path.exists(), index=False)


def _done(path: Path) -> set[tuple[Any, ...]]:
    return (
        set(pd.read_csv(path)[KEY].itertuples(index=False, name=None)) if path.exists() else set()
    )


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing of the cases asked for, and write the summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument("--tables", nargs="+", default=[*TABSYN, "california", *SMALL])
    parser.add_argument("--methods", nargs="+", default=[CEILING, *generators()])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rows", type=int, help="at most so many training rows; default all")
    parser.add_argument("--quick", action="store_true", help="300 training rows, 3 epochs of ours")
    parser.add_argument("--max-iter", type=int, help="epochs of ConditionalVAE")
    parser.add_argument("--n-jobs", type=int, help="threads of ConditionalVAE")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds, of a peer")
    parser.add_argument("--peers", type=Path, default=ENVIRONMENTS, help="the peers' environments")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    if args.quick:
        args.rows, args.max_iter = 300, 3
    args.output.mkdir(parents=True, exist_ok=True)
    failures = []
    for name in args.tables:
        for seed in args.seeds:
            split = load_split(name, args.data, args.rows, seed)
            for method in _applicable(args.methods, split):
                key = dict(zip(KEY, (name, len(split.train), seed, method), strict=True))
                if tuple(key.values()) in _done(args.output / "synthesis.csv"):
                    continue
                try:
                    run_case(method, split, key, args)
                except Exception as error:
                    failures.append(f"{key}: {type(error).__name__}: {str(error)[-500:]}")
                    print(failures[-1], file=sys.stderr, flush=True)
    if failures:
        (args.output / "synthesis_failures.txt").write_text("\n\n".join(failures) + "\n")
    write_report(args.output)


if __name__ == "__main__":
    main()
