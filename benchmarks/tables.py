"""The benchmarks' tables: features without the target, numbers float, categories strings.

From `DIR/tables/NAME.csv.gz` and `NAME.json` (keys "numeric" and "categorical") where a folder
is given; else from scikit-learn, from `sklearn_cvae.datasets` or from OpenML.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets

from sklearn_cvae.datasets import load_penguins

TEN = [
    "adult",
    "default",
    "shoppers",
    "magic",
    "beijing",
    "news",
    "letter",
    "gesture",
    "california",
    "bean",
]
SMALL = ["iris", "wine", "breast_cancer", "penguins", "pima", "diabetes"]

BUNDLED = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
}

# The recorded results were made from the files of --data; a copy on OpenML may differ in its rows,
# its names and its coding of missing values. "categorical" adds columns that are numbers there.
OPENML: dict[str, dict[str, Any]] = {
    "adult": {"data_id": 1590},
    "default": {
        "data_id": 42477,
        "categorical": ["x2", "x3", "x4", "x6", "x7", "x8", "x9", "x10", "x11"],
    },
    "shoppers": {
        "data_id": 46947,
        "categorical": ["OperatingSystems", "Browser", "Region", "TrafficType", "Weekend"],
    },
    "magic": {"data_id": 1120},
    "beijing": {
        "name": "Beijing_PM2.5",
        "target": "pm2.5",
        "drop": ["No"],
        "categorical": ["year", "month", "day", "hour"],
    },
    "news": {"data_id": 4545, "drop": ["url"]},
    "letter": {"data_id": 6},
    "gesture": {"data_id": 4538},
    "california": {"name": "california_housing", "target": "median_house_value"},
    "bean": {"name": "dry-bean", "target": "Class"},
    "pima": {"data_id": 37},
}


def load_table(name: str, data: Path | None, n_rows: int, seed: int) -> pd.DataFrame:
    """Return a table's features, without the target, in rows drawn at random.

    Parameters
    ----------
    name : str
        One of TEN or SMALL, or any table of the folder.
    data : Path or None
        A folder with `tables/`; None: from scikit-learn, this package or OpenML.
    n_rows : int
        At most so many rows.
    seed : int
        Draws the rows.

    Returns
    -------
    table : DataFrame
        Numbers as float, categories as strings, missing cells as NaN.
    """
    whole, target, _ = _whole(name, data)
    table = whole.drop(columns=target)
    order = np.random.default_rng(seed).permutation(len(table))[:n_rows]
    return table.iloc[order].reset_index(drop=True)


class Split(NamedTuple):
    """A table with its target, cut into what generators learn from and what they never see."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: str


def load_split(name: str, data: Path | None, n_rows: int | None, seed: int) -> Split:
    """Return a table as generators take it: with its target, and without a missing cell.

    A missing category becomes the level "?", as in TabSyn's copies of the tables; rows with a
    missing number are left out. adult is cut as it is published, other tables at 90 % at random.

    Parameters
    ----------
    name : str
    data : Path or None
    n_rows : int or None
        At most so many training rows, drawn by the seed.
    seed : int
    """
    table, target, n_train = _whole(name, data)
    table = table.dropna(subset=[*table.select_dtypes("number").columns, target])
    table = table.fillna("?").reset_index(drop=True)
    order = np.arange(len(table))
    if n_train is None:
        order, n_train = np.random.default_rng(0).permutation(len(table)), int(0.9 * len(table))
    train, test = table.iloc[order[:n_train]], table.iloc[order[n_train:]]
    kept = np.random.default_rng(seed).permutation(len(train))[:n_rows]
    return Split(train.iloc[kept].reset_index(drop=True), test.reset_index(drop=True), target)


def _whole(name: str, data: Path | None) -> tuple[pd.DataFrame, str, int | None]:
    """Return a table with its target, the target's name, and the published training rows."""
    if data is not None and (data / "tables" / f"{name}.json").exists():
        return _from_files(name, data)
    if name == "penguins":
        return _typed(load_penguins(), ["year"]), "species", None
    if name in BUNDLED:
        categorical = ["sex"] if name == "diabetes" else ["target"]
        return _typed(BUNDLED[name](as_frame=True).frame, categorical), "target", None
    return _from_openml(**OPENML[name])


def _from_files(name: str, data: Path) -> tuple[pd.DataFrame, str, int | None]:
    about = json.loads((data / "tables" / f"{name}.json").read_text())
    target = about["target"]
    strings = about["categorical"] + ([target] if about["task"] == "classification" else [])
    table = pd.read_csv(
        data / "tables" / f"{name}.csv.gz",
        dtype=dict.fromkeys(strings, str),
        usecols=[*about["numeric"], *about["categorical"], target],
    )
    return _typed(table, strings), target, about.get("n_train")


def _from_openml(
    name: str | None = None,
    data_id: int | None = None,
    target: str = "default-target",
    categorical: tuple[str, ...] = (),
    drop: tuple[str, ...] = (),
) -> tuple[pd.DataFrame, str, None]:
    found = datasets.fetch_openml(
        name=name, data_id=data_id, target_column=target, as_frame=True, parser="auto"
    )
    table = pd.concat([found.data.drop(columns=list(drop), errors="ignore"), found.target], axis=1)
    return _typed(table, categorical), str(found.target.name), None


def _typed(table: pd.DataFrame, categorical: list[str] | tuple[str, ...]) -> pd.DataFrame:
    """Make numbers float, and strings of the columns named and of those that are no numbers."""
    columns = {}
    for name, column in table.items():
        number = column.dtype.kind in "iuf" and name not in categorical
        strings = column.astype(str).astype(object).where(column.notna(), np.nan)
        columns[name] = column.astype(float) if number else strings
    return pd.DataFrame(columns)
