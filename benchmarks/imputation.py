r"""Imputation of hidden cells, against other imputers, on the same rows and masks.

    python -m benchmarks.imputation --data DIR

The protocol is `imputation_report.PROTOCOL`. A case that is in `imputation.csv` is not run again,
so a run can be stopped, and several can share the work. What fails is listed in
`imputation_failures.txt`, and is tried again by the next run.

`results` holds seed 0 with draws, and by `--draws 0` seed 1 of all tables and seed 2 of the small
ones, of the peers that take seconds or a minute:

    python -m benchmarks.imputation --data DIR --seeds 1 --draws 0 --methods "mean / mode" \
        KNNImputer "IterativeImputer (ridge)" MissForest ConditionalVAE
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks import peers, scores
from benchmarks.imputation_report import write_report
from benchmarks.tables import SMALL, TEN, load_table
from sklearn_cvae.datasets import hide_cells
from sklearn_cvae.metrics import imputation_errors

RESULTS = Path(__file__).parent / "results"
CASES = ["mcar-30", "mar-30", "mnar-30", "mcar-10", "mcar-50", "mcar-70"]
CASES_WITH_DRAWS = CASES[:3]
TRAIN_SHARE = 0.7
KEY = ["table", "n_rows", "mechanism", "rate", "seed", "method"]
ERRORS = ["rmse", "mae", "rmse_columns", "mae_columns", "accuracy"]
OF_DRAWS = ["crps", "coverage_50", "coverage_90", "two_sample_auc"]
COLUMNS = [*KEY, "part", *ERRORS, *OF_DRAWS, "fit_seconds", "impute_seconds"]


class Case(NamedTuple):
    """A table with hidden cells: which one, the truth, what is left of it, and the hidden cells."""

    key: dict[str, Any]
    truth: pd.DataFrame
    holes: pd.DataFrame
    hidden: np.ndarray

    def part(self, which: str) -> Case:
        """Return the rows of the train part ("in") or the others ("out")."""
        n_train = round(TRAIN_SHARE * len(self.truth))
        rows = slice(n_train) if which == "in" else slice(n_train, None)
        tables = (table.iloc[rows].reset_index(drop=True) for table in (self.truth, self.holes))
        return Case(self.key, *tables, self.hidden[rows])


def make_case(name: str, case: str, seed: int, data: Path | None, n_rows: int) -> Case:
    """Load a table and hide cells of it."""
    truth = load_table(name, data, n_rows, seed)
    mechanism, percent = case.split("-")
    rate = int(percent) / 100
    holes, hidden = hide_cells(truth, rate, mechanism, random_state=seed)
    key = dict(zip(KEY, (name, len(truth), mechanism, rate, seed), strict=False))
    return Case(key, truth, holes, hidden)


def error_scores(part: Case, completed: pd.DataFrame, train: pd.DataFrame) -> dict[str, float]:
    """Return the errors over all hidden cells, and their means over numeric columns."""
    pooled = imputation_errors(part.truth, train, completed, part.hidden)
    each = [
        imputation_errors(part.truth[[name]], train[[name]], completed[[name]], hidden[:, None])
        for name, hidden in zip(part.truth.columns, part.hidden.T, strict=True)
        if hidden.any() and pd.api.types.is_numeric_dtype(part.truth[name])
    ]
    by_column = {
        "rmse_columns": float(np.mean([errors.rmse for errors in each])) if each else np.nan,
        "mae_columns": float(np.mean([errors.mae for errors in each])) if each else np.nan,
    }
    return pooled._asdict() | by_column


def draw_scores(part: Case, outcome: peers.Outcome, seed: int) -> dict[str, float]:
    """Return the scores of draws, and the AUC: of the first draw, or of the point imputation."""
    table = outcome.draws[0] if outcome.draws else outcome.train
    auc = {"two_sample_auc": scores.two_sample_auc(part.truth, table, seed)}
    numeric = peers.numbers_of(part.truth)
    cells = part.hidden[:, part.truth.columns.get_indexer(numeric)]
    if len(outcome.draws) < 2 or not cells.any():
        return auc
    spread = part.holes[numeric].std(ddof=0).to_numpy()
    scale = np.where(spread > 0, spread, 1.0)
    truth = (part.truth[numeric].to_numpy() / scale)[cells]
    draws = np.array(
        [(draw[numeric].to_numpy(dtype=float) / scale)[cells] for draw in outcome.draws]
    )
    ranks = scores.ranks(draws, truth, seed)
    return auc | {
        "crps": float(scores.crps(draws, truth).mean()),
        "coverage_50": scores.coverage(ranks, len(draws), 0.5),
        "coverage_90": scores.coverage(ranks, len(draws), 0.9),
    }


def run(case: Case, method: str, function: peers.Method, n_draws: int) -> Iterator[dict[str, Any]]:
    """Fit and apply one method; yield a row of the results per name and part."""
    inside, outside, seed = case.part("in"), case.part("out"), case.key["seed"]
    outcome = function(inside.holes.copy(), outside.holes.copy(), seed, n_draws)
    for name, result in {method: outcome, **outcome.also}.items():
        known = case.key | {"method": name}
        seconds = {"fit_seconds": result.fit_seconds, "impute_seconds": result.impute_seconds}
        errors = error_scores(inside, result.train, inside.holes)
        of_draws = draw_scores(inside, result, seed) if n_draws else {}
        yield known | {"part": "in"} | errors | of_draws | seconds
        errors = error_scores(outside, result.test, inside.holes)
        yield known | {"part": "out"} | errors | seconds


def read_results(path: Path) -> pd.DataFrame:
    """Return the recorded rows; refuse a file of another layout."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    results = pd.read_csv(path)
    if list(results.columns) != COLUMNS:
        raise SystemExit(f"{path} has other columns than today's; move it away.")
    return results


def is_recorded(path: Path, key: dict[str, Any], method: str) -> bool:
    """Whether a method's results on a case are in the file."""
    results = read_results(path)
    wanted = key | {"method": method}
    return bool(np.logical_and.reduce([results[name] == wanted[name] for name in KEY]).any())


def append(path: Path, text: str) -> None:
    """Add text to a file in one write, so that several processes can."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def record(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to the results, and print them."""
    table = pd.DataFrame(rows, columns=COLUMNS).round({"fit_seconds": 3, "impute_seconds": 3})
    append(path, table.to_csv(index=False, header=not path.exists(), float_format="%.6g"))
    print(table.drop(columns="n_rows").to_string(index=False, header=False), flush=True)


def run_all(args: argparse.Namespace, path: Path) -> None:
    """Run what is asked for and not recorded."""
    functions = peers.methods(args.peers, args.timeout, **args.params)
    for case_name in args.cases:
        n_draws = args.draws if case_name in CASES_WITH_DRAWS else 0
        for seed in args.seeds:
            for name in args.tables:
                case = make_case(name, case_name, seed, args.data, args.rows)
                for method in args.methods:
                    if not is_recorded(path, case.key, method):
                        try_one(path, case, method, functions[method], n_draws)


def try_one(path: Path, case: Case, method: str, function: peers.Method, n_draws: int) -> None:
    """Run and record one method on one case; a failure is printed and listed."""
    try:
        record(path, list(run(case, method, function, n_draws)))
    except Exception as error:
        text = f"{case.key} {method}: {type(error).__name__}: {error}\n"
        print(text, flush=True)
        append(path.with_name("imputation_failures.txt"), text)


QUICK = {
    "tables": ["california", "adult", "penguins"],
    "rows": 600,
    "cases": ["mcar-30"],
    "max_iter": 20,
    "methods": [
        "mean / mode",
        "KNNImputer",
        "IterativeImputer (ridge)",
        "MissForest",
        "ConditionalVAE",
    ],
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    every = list(peers.methods())
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the tables; without it, OpenML")
    parser.add_argument("--tables", nargs="+", default=[*TEN, *SMALL])
    parser.add_argument("--methods", nargs="+", default=every, choices=every, metavar="NAME")
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="MECHANISM-PERCENT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=19, help="0: no scores of draws")
    parser.add_argument("--quick", action="store_true", help="a small run, to try it out")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, default=peers.ENVIRONMENTS, help="see `make peers`")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds; of those peers")
    parser.add_argument("--max-iter", type=int, help="epochs of ConditionalVAE")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)
    args = parser.parse_args(argv)
    args.params = {} if args.max_iter is None else {"max_iter": args.max_iter}
    return args


def main(argv: list[str] | None = None) -> pd.DataFrame:
    """Run the benchmark; write `imputation.csv`, `imputation.md` and `imputation.png`."""
    args = parse(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "imputation.csv"
    run_all(args, path)
    write_report(path, path.with_suffix(".md"), path.with_suffix(".png"))
    return read_results(path)


if __name__ == "__main__":
    main()
