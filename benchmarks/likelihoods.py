"""Each likelihood against the default, on columns of real tables that it may suit.

    python -m benchmarks.likelihoods --data DIR
    python -m benchmarks.likelihoods --quick

A model with default columns and a model that differs in the named columns alone learn from the
same rows, many or few. On other rows, the log density of the named cells given all others (nats
per cell, in the tables' units; a repeated value has a mass in a histogram) stands beside the error
of imputing a fifth of them (RMSE in deviations of the column, levels: share of wrong ones).
Up to 1,000 training rows: means over three draws of the rows, each with its own network.
Test cells with a level that no training row has are taken as missing. ames and physionet2012 are in
the folder of --data alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from benchmarks.tables import OPENML, load_table
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.datasets import load_penguins

RESULTS = Path(__file__).parent / "results"
HIDE_RATE, N_TEST = 0.2, 1_000
FEW, N_SEEDS = 1_000, 3
CLICKS = ["Administrative", "Informational"]
PAGES = ["ProductRelated"]
LINKS = ["num_hrefs", "num_self_hrefs", "num_imgs", "num_videos"]
ROOMS = ["total_rooms", "total_bedrooms", "population", "households"]
PAID = [f"PAY_AMT{i}" for i in range(1, 7)]
SPENT = ["Administrative_Duration", "Informational_Duration", "PageValues"]
SHAPES = ["Perimeter", "MajorAxisLength", "Compactness", "ShapeFactor1"]
AREAS = ["2nd Flr SF", "Wood Deck SF", "Open Porch SF", "Mas Vnr Area", "BsmtFin SF 1"]
LOTS = ["Lot Area", "Gr Liv Area", "1st Flr SF"]
BLOOD = ["HR", "HCT", "Glucose", "Platelets"]
LENGTHS = ["Length", "Size", "Dist"]
SPEEDS = ["X13", "X14", "X19", "X20"]
QUALITY = ["Exter Qual", "Kitchen Qual", "Bsmt Qual", "Heating QC"]
OVERALL = ["Overall Qual", "Overall Cond"]
SCHOOL = ["Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad"]
COLLEGE = ["Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters"]
# Columns that are grades, and their levels in order.
ORDERED: dict[str, dict[str, list[str]]] = {
    "ames": {
        **{name: ["Po", "Fa", "TA", "Gd", "Ex"] for name in QUALITY},
        **{name: [str(grade) for grade in range(1, 11)] for name in OVERALL},
    },
    "adult": {"education": [*SCHOOL, *COLLEGE, "Prof-school", "Doctorate"]},
}
LETTER = ["xbar", "ybar", "x2bar", "y2bar"]
RAYS = ["Asym", "M3Long", "M3Trans"]
COUNTS = [
    "poisson",
    "zero_inflated_poisson",
    "negative_binomial",
    "zero_inflated_negative_binomial",
]
NUMBERS = ["gaussian", "gaussian_fixed", "gaussian_per_row", "student_t", "rank_normal"]


class Case(NamedTuple):
    """Columns of a table that some likelihoods may suit, and how many rows to learn from."""

    table: str
    columns: list[str]
    likelihoods: list[str]
    n_rows: int = 3_000


CASES = [
    Case("shoppers", CLICKS, COUNTS),
    Case("shoppers", PAGES, ["poisson", "negative_binomial"]),
    Case("shoppers", SPENT, ["zero_inflated_log_normal"]),
    Case("shoppers", CLICKS, COUNTS, 300),
    Case("shoppers", SPENT, ["zero_inflated_log_normal"], 300),
    Case("news", LINKS, COUNTS),
    Case("letter", LETTER, ["poisson", "negative_binomial", "gaussian"]),
    Case("california", ROOMS, ["log_normal", "negative_binomial", "gaussian", "rank_normal"]),
    Case("default", PAID, ["zero_inflated_log_normal"]),
    Case("default", ["EDUCATION"], ["ordinal"]),
    Case("bean", SHAPES, [*NUMBERS, "log_normal"]),
    Case("magic", RAYS, ["gaussian", "gaussian_per_row", "student_t", "rank_normal"]),
    Case("magic", LENGTHS, NUMBERS, 300),
    Case("gesture", SPEEDS, NUMBERS),
    Case("physionet2012", BLOOD, NUMBERS),
    Case("ames", LOTS, ["log_normal", "student_t", "gaussian"], 2_000),
    Case("ames", AREAS, ["zero_inflated_log_normal"], 2_000),
    Case("ames", QUALITY, ["ordinal"], 2_000),
    Case("ames", AREAS, ["zero_inflated_log_normal"], 300),
    Case("ames", QUALITY, ["ordinal"], 300),
    Case("ames", OVERALL, ["ordinal"], 200),
    Case("ames", OVERALL, ["ordinal"], 2_000),
    Case("adult", ["education"], ["ordinal"], 1_000),
    Case("adult", ["education"], ["ordinal"]),
    Case("physionet2012", BLOOD, NUMBERS, 200),
]
MASS = ["body_mass_g"]
QUICK = [
    Case("penguins", MASS, ["log_normal", "student_t", "negative_binomial"], 200),
    Case("penguins", ["island"], ["ordinal"], 200),
]


class Split(NamedTuple):
    """Rows to learn from, other rows, and which of their cells are hidden."""

    train: pd.DataFrame
    test: pd.DataFrame
    hidden: np.ndarray


def split(name: str, data: Path | None, n_rows: int, seed: int) -> Split:
    """Return a table's training rows and up to N_TEST others; grades are in order."""
    if name == "penguins":
        X = load_penguins().sample(frac=1, random_state=seed).reset_index(drop=True)
    else:
        X = load_table(name, data, n_rows + N_TEST, seed)
    X = X.drop(columns="education.num", errors="ignore")  # education again, as a number
    for column, levels in ORDERED.get(name, {}).items():
        if X[column].dtype.kind == "f":
            X[column] = X[column].map("{:.0f}".format, na_action="ignore")
        X[column] = X[column].astype(pd.CategoricalDtype(levels, ordered=True))
    train, test = X[:n_rows], X[n_rows:].reset_index(drop=True)
    for column in test.select_dtypes(exclude="number"):
        test[column] = test[column].where(test[column].isin(train[column].dropna().unique()))
    hidden = np.random.default_rng(seed).random(test.shape) < HIDE_RATE
    return Split(train, test, hidden & test.notna().to_numpy())


def cell_density(model: ConditionalVAE, test: pd.DataFrame, columns: list[str]) -> float:
    """Return the mean log density of some columns' cells given all other cells."""
    rest = test.copy()
    rest[columns] = np.nan
    known = test[columns].notna().to_numpy().sum()
    return float((model.score_samples(test) - model.score_samples(rest)).sum() / known)


def imputation_error(model: ConditionalVAE, split: Split, columns: list[str]) -> float:
    """Return the error of some columns' hidden cells: RMSE in deviations, or the share wrong."""
    filled = model.impute(split.test.mask(split.hidden))
    hidden = pd.DataFrame(split.hidden, columns=split.test.columns)
    errors = []
    for name in columns:
        guess, truth = (X.loc[hidden[name], name] for X in (filled, split.test))
        if truth.dtype.kind == "f":
            errors.append((((guess - truth) / split.train[name].std()) ** 2).to_numpy())
        else:
            errors.append((guess != truth).to_numpy(dtype=float))
    mean = float(np.mean(np.concatenate(errors)))
    return mean**0.5 if split.test[columns[0]].dtype.kind == "f" else mean


def compare(
    split: Split, usual: ConditionalVAE, columns: list[str], names: list[str]
) -> list[dict[str, Any]]:
    """Score a model with default columns and one for each likelihood; return a line for each."""
    default = cell_density(usual, split.test, columns), imputation_error(usual, split, columns)
    lines = []
    for name in names:
        model = clone(usual).set_params(likelihoods=dict.fromkeys(columns, name)).fit(split.train)
        density = cell_density(model, split.test, columns)
        line = {
            "likelihood": name,
            "columns": ", ".join(columns),
            "default": usual.likelihoods_[columns[0]],
            "log density": density,
            "default's": default[0],
            "gain": density - default[0],
            "error": imputation_error(model, split, columns),
            "default's error": default[1],
        }
        print(*line.values(), flush=True)
        lines.append(line)
    return lines


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit, score, and write `likelihoods.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument("--quick", action="store_true", help="penguins, a few epochs, one seed")
    parser.add_argument("--max-iter", type=int, default=60)
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    epochs = 3 if args.quick else args.max_iter
    params: dict[str, Any] = {"hidden_layer_sizes": (64, 64), "max_iter": epochs}
    known = args.tables or [c.table for c in CASES if args.data or c.table in OPENML]
    cases = QUICK if args.quick else [case for case in CASES if case.table in known]
    lines = []
    for table, n_rows in dict.fromkeys((case.table, case.n_rows) for case in cases):
        for seed in range(N_SEEDS if n_rows <= FEW and not args.quick else 1):
            parts = split(table, args.data, n_rows, seed)
            usual = ConditionalVAE(random_state=seed, **params).fit(parts.train)
            for case in (c for c in cases if (c.table, c.n_rows) == (table, n_rows)):
                made = compare(parts, usual, case.columns, case.likelihoods)
                lines += [{"table": table, "rows": len(parts.train), **line} for line in made]
    keys = ["table", "rows", "likelihood", "columns", "default"]
    results = pd.DataFrame(lines).groupby(keys, sort=False).mean().reset_index()
    args.output.mkdir(parents=True, exist_ok=True)
    about = "\n".join((__doc__ or "").strip().splitlines()[5:])
    command = "`python -m benchmarks.likelihoods --data DIR`"
    setting = f"Two layers of 64, {epochs} epochs, up to {N_TEST:,} other rows."
    page = results.to_markdown(index=False, floatfmt=".3f")
    text = f"# Likelihoods\n\n{command}\n\n{about}\n\n{setting}\n\n{page}\n"
    (args.output / "likelihoods.md").write_text(text)
    return results


if __name__ == "__main__":
    main()
