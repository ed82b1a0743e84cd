"""A rare class drawn until it is as frequent as the other: `python examples/balance_classes.py`.

Breast cancer (569 rows) with most malignant rows taken out of the training part. The model learns
the class as a condition, and draws malignant rows to fill up.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cvae import ConditionalVAE

N_RARE = 12


def main(seeds: range = range(5), **params: object) -> pd.DataFrame:
    """Train a classifier on the table as it is, and balanced in three ways; print the scores."""
    results = [scores(seed, **params) for seed in seeds]
    means = pd.concat(results).groupby(level=0, sort=False).mean()
    print(f"{N_RARE} malignant rows of about 225; means over {len(results)} splits\n")
    print(means.to_string(float_format="%.3f"))
    return means


def scores(seed: int, **params: object) -> pd.DataFrame:
    """Return recall of the rare class and balanced accuracy on held-out rows."""
    train, test = imbalanced_split(seed)
    drawn = fill_up(
        train, ConditionalVAE(condition_features=["class"], random_state=seed, **params)
    )
    rare = train[train["class"] == "malignant"]
    short = int((train["class"] == "benign").sum()) - len(rare)
    copies = rare.sample(short, replace=True, random_state=seed)
    tables = {
        "as it is": (train, None),
        "class_weight='balanced'": (train, "balanced"),
        "rare rows copied": (pd.concat([train, copies]), None),
        "rare rows drawn": (pd.concat([train, drawn]), None),
    }
    lines = {name: judge(table, test, weight) for name, (table, weight) in tables.items()}
    return pd.DataFrame(lines, index=["recall of malignant", "balanced accuracy"]).T


def imbalanced_split(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a training part with N_RARE malignant rows, and a test part as it is."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(**{"class": np.where(data.target == 0, "malignant", "benign")})
    train, test = train_test_split(table, test_size=0.4, stratify=table["class"], random_state=seed)
    benign = train[train["class"] == "benign"]
    return pd.concat([benign, train[train["class"] == "malignant"].head(N_RARE)]), test


def fill_up(train: pd.DataFrame, model: ConditionalVAE) -> pd.DataFrame:
    """Draw as many rare rows as the rare class is short of the other."""
    counts = train["class"].value_counts()
    return model.fit(train).sample(
        int(counts["benign"] - counts["malignant"]), {"class": "malignant"}, random_state=0
    )


def judge(table: pd.DataFrame, test: pd.DataFrame, weight: str | None) -> list[float]:
    """Return recall of the malignant rows and balanced accuracy of a logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, class_weight=weight))
    predicted = model.fit(table.drop(columns="class"), table["class"]).predict(
        test.drop(columns="class")
    )
    recall = recall_score(test["class"], predicted, pos_label="malignant")
    return [recall, balanced_accuracy_score(test["class"], predicted)]


if __name__ == "__main__":
    main()
