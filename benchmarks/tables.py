"""The benchmarks' tables: features without the target, numbers float, categories strings.

From `DIR/tables/NAME.csv.gz` and `NAME.json` (keys "numeric" and "categorical") where a folder
is given; else from scikit-learn, from `sklearn_cvae.datasets` or from OpenML.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    table = _from_files(name, data) if _in_folder(name, data) else _from_elsewhere(name)
    order = np.random.default_rng(seed).permutation(len(table))[:n_rows]
    return table.iloc[order].reset_index(drop=True)


def _in_folder(name: str, data: Path | None) -> bool:
    return data is not None and (data / "tables" / f"{name}.json").exists()


def _from_files(name: str, data: Path) -> pd.DataFrame:
    about = json.loads((data / "tables" / f"{name}.json").read_text())
    table = pd.read_csv(
        data / "tables" / f"{name}.csv.gz",
        dtype=dict.fromkeys(about["categorical"], str),
        usecols=about["numeric"] + about["categorical"],
    )
    return _typed(table, about["categorical"])


def _from_elsewhere(name: str) -> pd.DataFrame:
    if name == "penguins":
        return _typed(load_penguins().drop(columns="species"), ["year"])
    if name in BUNDLED:
        categorical = ["sex"] if name == "diabetes" else []
        return _typed(BUNDLED[name](as_frame=True).data, categorical)
    return _from_openml(**OPENML[name])


def _from_openml(
    name: str | None = None,
    data_id: int | None = None,
    target: str = "default-target",
    categorical: tuple[str, ...] = (),
    drop: tuple[str, ...] = (),
) -> pd.DataFrame:
    table = datasets.fetch_openml(
        name=name, data_id=data_id, target_column=target, as_frame=True, parser="auto"
    ).data
    return _typed(table.drop(columns=list(drop), errors="ignore"), categorical)


def _typed(table: pd.DataFrame, categorical: list[str] | tuple[str, ...]) -> pd.DataFrame:
    """Make numbers float, and strings of the columns named and of those that are no numbers."""
    columns = {}
    for name, column in table.items():
        number = column.dtype.kind in "iuf" and name not in categorical
        strings = column.astype(str).astype(object).where(column.notna(), np.nan)
        columns[name] = column.astype(float) if number else strings
    return pd.DataFrame(columns)
