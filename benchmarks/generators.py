"""Generators under one signature: (train, target, seed) -> as many drawn rows.

CTGAN, TVAE, SMOTE and TabularARGN run in environments of their own (`make peers`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from benchmarks.peers import (
    ENVIRONMENTS,
    Clock,
    call_worker,
    dummies,
    from_codes,
    levels_of,
    numbers_of,
    to_codes,
)
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.codecs import NumericCodec

Array = NDArray[np.float64]


class Drawn(NamedTuple):
    """Rows that a generator drew, and what it took.

    Parameters
    ----------
    table : DataFrame
    fit_seconds, sample_seconds : float
    score : callable or None
        Log-likelihoods of rows under the model, where it has them.
    """

    table: pd.DataFrame
    fit_seconds: float
    sample_seconds: float
    score: Callable[[pd.DataFrame], Array] | None = None


Generator = Callable[[pd.DataFrame, str, int], Drawn]


def independent(train: pd.DataFrame, target: str, seed: int) -> Drawn:
    """Draw each column from its own cells."""
    clock, rng = Clock(), np.random.default_rng(seed)
    columns = {n: c.to_numpy()[rng.integers(len(c), size=len(c))] for n, c in train.items()}
    return Drawn(pd.DataFrame(columns), 0.0, clock.lap())


def mixture(train: pd.DataFrame, target: str, seed: int) -> Drawn:
    """A Gaussian mixture of up to 100 diagonal components on our normal scores and dummies."""
    clock = Clock()
    codecs = {name: NumericCodec.fit(train[name].to_numpy()) for name in numbers_of(train)}
    levels = levels_of(train)
    blocks = [codec.encode(train[name].to_numpy())[:, None] for name, codec in codecs.items()]
    blocks += [dummies(train[name], known) for name, known in levels.items()]
    n_components = min(100, max(1, len(train) // 20))
    model = GaussianMixture(n_components, covariance_type="diag", reg_covar=1e-4, random_state=seed)
    model.fit(np.hstack(blocks))
    fit_seconds = clock.lap()
    rows = model.sample(len(train))[0]
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    parts = np.split(rows, np.cumsum([block.shape[1] for block in blocks])[:-1], axis=1)
    columns: dict[Any, Any] = {}
    for (name, codec), part in zip(codecs.items(), parts, strict=False):
        columns[name] = np.interp(part[:, 0], codec.scores, codec.knots)
    for (name, known), part in zip(levels.items(), parts[len(codecs) :], strict=True):
        columns[name] = known[part.argmax(axis=1)]
    return Drawn(pd.DataFrame(columns)[list(train.columns)], fit_seconds, clock.lap())


def conditional_vae(train: pd.DataFrame, target: str, seed: int, **params: Any) -> Drawn:
    """Ours."""
    clock = Clock()
    model = ConditionalVAE(random_state=seed, **params).fit(train)
    fit_seconds = clock.lap()
    table = model.sample(len(train), random_state=seed)
    return Drawn(table, fit_seconds, clock.lap(), model.score_samples)


def external(
    train: pd.DataFrame,
    target: str,
    seed: int,
    method: str,
    python: Path,
    timeout: float | None = None,
) -> Drawn:
    """Run a generator of `peer_worker.py` by another Python."""
    levels = levels_of(train)
    made = call_worker(
        method,
        python,
        {
            "train": to_codes(train, levels),
            "is_categorical": [name in levels for name in train.columns],
            "seed": seed,
            "target": list(train.columns).index(target) if target in levels else -1,
        },
        timeout,
    )
    like = train.iloc[np.zeros(len(made["drawn"]), dtype=int)].reset_index(drop=True)
    table = from_codes(made["drawn"], like, levels)
    return Drawn(table, float(made["fit_seconds"]), float(made["sample_seconds"]))


def generators(
    environments: Path = ENVIRONMENTS, timeout: float | None = None, **params: Any
) -> dict[str, Generator]:
    """Return every generator by its name; `params` go to ConditionalVAE."""

    def other(method: str, folder: str) -> Generator:
        python = (environments / folder / "bin" / "python").absolute()
        return partial(external, method=method, python=python, timeout=timeout)

    return {
        "independent columns": independent,
        "Gaussian mixture": mixture,
        "SMOTE": other("smote", "ctgan"),
        "CTGAN": other("ctgan", "ctgan"),
        "TVAE": other("tvae", "ctgan"),
        "TabularARGN": other("argn", "argn"),
        "ConditionalVAE": partial(conditional_vae, **params),
    }
