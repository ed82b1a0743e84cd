"""Small models and small real tables, shared by the tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sklearn_cvae import ConditionalVAE
from sklearn_cvae.datasets import load_penguins

SMALL = {"n_components": 3, "hidden_layer_sizes": (16, 16), "max_iter": 3, "random_state": 0}


def small(**params) -> ConditionalVAE:
    """A model that fits in a moment, for tests that need any fitted model."""
    return ConditionalVAE(**{**SMALL, **params})


@pytest.fixture(scope="session")
def penguins() -> pd.DataFrame:
    return load_penguins()


@pytest.fixture(scope="session")
def fitted(penguins) -> ConditionalVAE:
    """Penguins given species, trained long enough to have learned something."""
    model = ConditionalVAE(
        8, condition_features=["species"], hidden_layer_sizes=(64, 64), max_iter=60, random_state=0
    )
    return model.fit(penguins)


@pytest.fixture
def messy() -> pd.DataFrame:
    """One column of every dtype that a pandas user has, with holes where the dtype allows."""
    rng = np.random.default_rng(0)
    n = 60
    holes = rng.random((n, 9)) < 0.15
    frame = pd.DataFrame(
        {
            "float": rng.normal(size=n),
            "int": rng.integers(0, 100, n),
            "small_int": rng.integers(0, 5, n).astype("int8"),
            "nullable": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "bool": rng.random(n) < 0.4,
            "boolean": pd.array(rng.random(n) < 0.4, dtype="boolean"),
            "object": rng.choice(["red", "green", "blue"], n).astype(object),
            "string": pd.array(rng.choice(["a", "b"], n), dtype="str"),
            "ordered": pd.Categorical(
                rng.choice(["low", "high"], n), ["low", "mid", "high"], ordered=True
            ),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "zoned": pd.date_range("2021-03-01", periods=n, freq="h", tz="Europe/Berlin"),
            "delta": pd.to_timedelta(rng.integers(0, 50, n), "min"),
            "float32": rng.normal(size=n).astype("float32"),
        },
        index=pd.Index(rng.permutation(n) + 1000, name="id"),
    )
    nullable = [
        "float",
        "nullable",
        "boolean",
        "object",
        "string",
        "ordered",
        "date",
        "zoned",
        "delta",
    ]
    for j, name in enumerate(nullable):
        frame.loc[frame.index[holes[:, j]], name] = None
    return frame
