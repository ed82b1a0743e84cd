"""The whole library on one real table: `make demo`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cvae import ConditionalVAE
from sklearn_cvae.datasets import hide_cells, load_penguins
from sklearn_cvae.metrics import imputation_errors
from sklearn_cvae.plotting import LatentDisplay, MarginalsDisplay

OUTPUT = Path("demo_output")


def main() -> None:
    """Fit, impute, draw, score, extract features and draw two pictures."""
    start = time.perf_counter()
    penguins = load_penguins()
    print(f"Palmer penguins: {penguins.shape[0]} rows, {int(penguins.isna().sum().sum())} holes")
    model = ConditionalVAE(condition_features=["species"], random_state=0, verbose=True)
    model.fit(penguins)

    heading("Holes filled")
    filled = model.impute(penguins)
    print(filled[penguins.isna().any(axis=1)].head(6).to_string())

    heading("20 % of the known cells hidden: errors of imputation (lower, lower, higher is better)")
    print(compare_imputers(penguins).to_string(float_format="%.3f"))

    heading('Five rows given {"species": "Gentoo", "sex": "female"}')
    given = {"species": "Gentoo", "sex": "female"}
    print(model.sample(5, conditions=given, random_state=0).to_string())

    heading("The three oddest rows, by log-likelihood")
    scores = model.score_samples(penguins)
    odd = np.argsort(scores)[:3]
    print(penguins.iloc[odd].assign(log_likelihood=scores[odd].round(1)).to_string())

    heading("Species from latent features, 5-fold cross-validation")
    X, y = penguins.drop(columns=["species", "island"]), penguins["species"]
    features = ConditionalVAE(n_components=8, max_iter=30, random_state=0)
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = cross_val_score(pipeline, X, y, cv=5)
    print(f"accuracy {accuracy.mean():.3f} (folds {', '.join(f'{a:.3f}' for a in accuracy)})")

    heading("Pictures")
    for path in save_pictures(pipeline.fit(X, y)[0], X, y, model.sample(1000, random_state=0)):
        print(path)
    print(f"\nDone in {time.perf_counter() - start:.0f} s")


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def compare_imputers(X: pd.DataFrame) -> pd.DataFrame:
    """Hide cells and return each imputer's errors over them.

    The peers see standardised numbers, and KNNImputer categories as dummies too. IterativeImputer
    would predict a category's dummies from each other, so its categories are the mode.
    """
    holes, hidden = hide_cells(X, rate=0.2, random_state=0)
    model = ConditionalVAE(random_state=0).fit(holes)
    tables = {
        "ConditionalVAE": model.impute(holes),
        "mean / mode": impute_by(SimpleImputer(), holes, dummies=False),
        "KNNImputer": impute_by(KNNImputer(), holes, dummies=True),
        "IterativeImputer": impute_by(IterativeImputer(max_iter=50), holes, dummies=False),
    }
    errors = {name: imputation_errors(X, holes, table, hidden) for name, table in tables.items()}
    return pd.DataFrame(errors, index=["RMSE", "MAE", "accuracy"]).T


def impute_by(imputer: object, X: pd.DataFrame, *, dummies: bool) -> pd.DataFrame:
    """Fill numbers by a scikit-learn imputer, and categories by its dummies or the mode."""
    numeric = X.select_dtypes("number").columns
    levels = X.columns.difference(numeric)
    numbers = X[numeric].astype(float)
    wide = [(numbers - numbers.mean()) / numbers.std()]
    for name in levels if dummies else []:
        onehot = pd.get_dummies(X[name], prefix=name, dtype=float)
        onehot[X[name].isna()] = np.nan
        wide.append(onehot)
    wide = pd.concat(wide, axis=1)
    completed = pd.DataFrame(imputer.fit_transform(wide), index=X.index, columns=wide.columns)
    filled = X.copy()
    filled[numeric] = completed[numeric] * numbers.std() + numbers.mean()
    for name in levels:
        best = pd.Series(X[name].mode()[0], index=X.index)
        if dummies:
            onehot = completed[[f"{name}_{level}" for level in X[name].cat.categories]]
            best[:] = X[name].cat.categories.take(onehot.to_numpy().argmax(axis=1))
        filled[name] = X[name].fillna(best)
    return filled


def save_pictures(
    features: ConditionalVAE, X: pd.DataFrame, colour: pd.Series, drawn: pd.DataFrame
) -> list[Path]:
    """Save the latent space coloured by a column, and real against drawn marginals."""
    OUTPUT.mkdir(exist_ok=True)
    paths = [OUTPUT / "latent_space.png", OUTPUT / "marginals.png"]
    LatentDisplay.from_estimator(features, X, colour).plot().figure_.savefig(paths[0], dpi=120)
    MarginalsDisplay(load_penguins(), drawn).plot().figure_.savefig(paths[1], dpi=120)
    return paths


if __name__ == "__main__":
    main()
