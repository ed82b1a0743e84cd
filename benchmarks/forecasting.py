"""The future of a series given its past, as drawn paths.

    python -m benchmarks.forecasting --data DIR [--tables ecg5000]

One row is a series, one column a step; the class is left out. The first two thirds of the steps
are seen, the last third is forecast. 70 % of the series, at random, are for training, 30 % for
testing. A ConditionalVAE learns whole training series, by any cells from any others; a forecast is
`impute(strategy="draw")` of the future, given the past. The same fitted model would impute a gap,
forecast from another step on, or say how usual a series is.

Beside it:

- last value: the last seen value, Gaussian errors with a variance per step;
- ridge: a linear regression from the past to each step (`RidgeCV`), Gaussian residuals whose
  variances, or full covariance, come from five-fold cross-validation;
- boosted trees: `HistGradientBoostingRegressor(loss="quantile")`, defaults, one model for each
  step and each of five levels; the quantiles of a cell are sorted.

The networks have a variance per row ("gaussian_per_row"), half of their objective draws latents as
a forecast does (`Hybrid`), with weight decay; both hide futures in half of the training rows. The
recurrent one reads several steps at once, the perceptrons do not start from a linear model. These
`SETTINGS` were chosen on a quarter of the training series, left out of the other three quarters:
those of italypower by the recurrent one's forecasts, those of ecg5000 by the perceptrons'
(`docs/experiments.md` has what was tried there).

Of more than 512 test series, the first 512 of their random order are forecast.

All errors are over the standard deviation of all training values. "quantile loss" is twice the mean
pinball loss at the levels 0.05, 0.25, 0.5, 0.75 and 0.95, of all methods, and of drawn paths by
their quantiles. "crps" is of drawn paths, by the fair estimator; that of the trees is of draws from
the piecewise linear quantile function through their five levels, whose ends go on as steeply as
the last piece. "se" is the standard error, over series, of what our perceptrons have over a
method in crps. Coverage is that of central intervals. The energy score is of whole paths, so it
also asks whether steps go together; the trees have no paths.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import cross_val_predict

from benchmarks.scores import coverage, crps, energy_score, ranks
from benchmarks.tables import load_table
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.backbones import MLP, Recurrent

Array = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"
TABLES = ["italypower", "ecg5000"]
LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
N_DRAWS, SHARE_SEEN, SHARE_OF_TRAINING = 100, 2 / 3, 0.7
MAX_TEST = 512
OURS = "ConditionalVAE, perceptrons"


class Settings(NamedTuple):
    """What the networks of a table are trained with; `stride`: steps read at once."""

    stride: int
    max_iter: int
    batch_size: int
    input_noise: float


SETTINGS = {
    "italypower": Settings(3, 200, 128, 0.05),
    "ecg5000": Settings(5, 75, 128, 0.0),
    "sines": Settings(2, 100, 128, 0.05),
}


class Case(NamedTuple):
    """Series of shape (n, steps), of which the first `n_seen` steps are the past."""

    train: Array
    test: Array
    n_seen: int
    n_draws: int
    seed: int

    @property
    def past(self) -> Array:
        """Return the test series' past."""
        return self.test[:, : self.n_seen]

    @property
    def future(self) -> Array:
        """Return the test series' future."""
        return self.test[:, self.n_seen :]


class Forecast(NamedTuple):
    """What a method says of the future.

    Parameters
    ----------
    paths : ndarray of shape (n_draws, n, n_steps)
    fit_seconds, forecast_seconds : float
    quantiles : ndarray of shape (n_levels, n, n_steps) or None
        At LEVELS; None: those of the paths.
    joint : bool
        Whether the steps of a path belong together.
    """

    paths: Array
    fit_seconds: float
    forecast_seconds: float
    quantiles: Array | None = None
    joint: bool = True


class Score(NamedTuple):
    """Scores of one method on one table."""

    table: str
    method: str
    crps: float
    se: float
    quantile_loss: float
    coverage_50: float
    coverage_90: float
    rmse: float
    energy: float
    fit_seconds: float
    forecast_seconds: float


def make_case(series: Array, n_draws: int, seed: int) -> Case:
    """Cut series, which are in random order, into those to learn from and those to forecast."""
    n_train = round(SHARE_OF_TRAINING * len(series))
    n_seen = round(SHARE_SEEN * series.shape[1])
    return Case(series[:n_train], series[n_train:][:MAX_TEST], n_seen, n_draws, seed)


def sines(n: int, n_steps: int, seed: int) -> Array:
    """Return sines of random phase and frequency, with noise."""
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.3, 0.6, (n, 1))
    noise = 0.1 * rng.standard_normal((n, n_steps))
    return np.sin(rate * np.arange(n_steps) + phase) + noise


class Timer:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def look(self) -> float:
        """Return the seconds, and start again."""
        before, self.start = self.start, time.perf_counter()
        return self.start - before


def by_vae(case: Case, **params: Any) -> Forecast:
    """Forecast by a ConditionalVAE of whole series."""
    timer = Timer()
    model = ConditionalVAE(random_state=case.seed, **params).fit(case.train)
    fitted = timer.look()
    known = case.test.copy()
    known[:, case.n_seen :] = np.nan
    tables = model.impute(known, case.n_draws, strategy="draw", random_state=case.seed)
    paths = np.stack(tables)[:, :, case.n_seen :]
    return Forecast(paths, fitted, timer.look())


def with_residuals(case: Case, mean: Array, covariance: Array, timer: Timer) -> Forecast:
    """Forecast by a mean and Gaussian residuals."""
    fitted, rng = timer.look(), np.random.default_rng(case.seed)
    shape = (case.n_draws, len(mean))
    noise = rng.multivariate_normal(np.zeros(len(covariance)), covariance, shape)
    return Forecast(mean + noise, fitted, timer.look())


def by_last_value(case: Case) -> Forecast:
    """Forecast that nothing changes."""
    timer = Timer()
    change = case.train[:, case.n_seen :] - case.train[:, case.n_seen - 1 : case.n_seen]
    variance = np.diag((change**2).mean(axis=0))
    mean = np.repeat(case.past[:, -1:], len(variance), axis=1)
    return with_residuals(case, mean, variance, timer)


def by_ridge(case: Case, *, full: bool) -> Forecast:
    """Forecast by linear regression, with independent or correlated residuals."""
    timer, model = Timer(), RidgeCV(np.logspace(-3, 4, 15))
    past, future = case.train[:, : case.n_seen], case.train[:, case.n_seen :]
    residuals = future - cross_val_predict(model, past, future, cv=5)
    covariance = residuals.T @ residuals / len(residuals)
    mean = model.fit(past, future).predict(case.past)
    return with_residuals(case, mean, covariance if full else np.diag(np.diag(covariance)), timer)


def by_trees(case: Case, **params: Any) -> Forecast:
    """Forecast by boosted trees, one for each step and level."""
    past, quantiles = case.train[:, : case.n_seen], np.empty((len(LEVELS), *case.future.shape))
    seconds = np.zeros(2)
    for i, level in enumerate(LEVELS):
        for j, values in enumerate(case.train[:, case.n_seen :].T):
            timer = Timer()
            trees = HistGradientBoostingRegressor(
                loss="quantile", quantile=level, random_state=case.seed, **params
            ).fit(past, values)
            seconds[0] += timer.look()
            quantiles[i, :, j] = trees.predict(case.past)
            seconds[1] += timer.look()
    quantiles.sort(axis=0)
    draws = drawn_between(quantiles, case.n_draws, case.seed)
    return Forecast(draws, *seconds, quantiles=quantiles, joint=False)


def drawn_between(quantiles: Array, n_draws: int, seed: int) -> Array:
    """Draw each cell from the piecewise linear quantile function through its quantiles."""
    u = np.random.default_rng(seed).random((n_draws, *quantiles.shape[1:]))
    piece = np.clip(np.searchsorted(LEVELS, u) - 1, 0, len(LEVELS) - 2)
    low, high = (np.take_along_axis(quantiles, piece + i, axis=0) for i in (0, 1))
    share = (u - LEVELS[piece]) / np.diff(LEVELS)[piece]
    return low + share * (high - low)


def methods(table: str, n_steps: int, **quick: Any) -> dict[str, Callable[[Case], Forecast]]:
    """Return the methods; `quick` overrides settings of networks and trees."""
    stride, max_iter, batch_size, input_noise = SETTINGS[table]
    params: dict[str, Any] = {
        "likelihoods": dict.fromkeys(range(n_steps), "gaussian_per_row"),
        "objective": "hybrid",
        "alpha": 0.3,
        "max_iter": max_iter,
        "batch_size": batch_size,
        "input_noise": input_noise,
        **quick,
    }
    perceptrons = MLP(starts_linear=False, ordered=True)
    recurrent = Recurrent((n_steps // stride, stride))
    return {
        OURS: lambda case: by_vae(case, backbone=perceptrons, **params),
        "ConditionalVAE, recurrent": lambda case: by_vae(case, backbone=recurrent, **params),
        "last value": by_last_value,
        "ridge": lambda case: by_ridge(case, full=False),
        "ridge, full covariance": lambda case: by_ridge(case, full=True),
        "boosted trees": lambda case: by_trees(case, **quick),
    }


def quantile_loss(quantiles: Array, truth: Array) -> float:
    """Return twice the mean pinball loss at LEVELS."""
    error = truth - quantiles
    levels = LEVELS[:, None, None]
    return float(2 * np.maximum(levels * error, (levels - 1) * error).mean())


def covered(case: Case, forecast: Forecast, level: float) -> float:
    """Return the share of cells within their central intervals."""
    truth = case.future
    if forecast.quantiles is None:
        return coverage(ranks(forecast.paths, truth, case.seed), case.n_draws, level)
    tail = (1 - level) / 2
    low, high = (forecast.quantiles[np.isclose(LEVELS, q)][0] for q in (tail, 1 - tail))
    return float(((truth >= low) & (truth <= high)).mean())


def crps_of_series(case: Case, forecast: Forecast) -> Array:
    """Return each test series' CRPS, the mean over its future."""
    flat = forecast.paths.reshape(case.n_draws, -1)
    cells = crps(flat, case.future.ravel()).reshape(case.future.shape)
    return cells.mean(axis=1) / case.train.std()


def score(table: str, case: Case, found: dict[str, Forecast]) -> list[Score]:
    """Return the scores of all methods on a table."""
    scale, rows = case.train.std(), []
    series = {method: crps_of_series(case, forecast) for method, forecast in found.items()}
    for method, forecast in found.items():
        gain, truth, paths = series[method] - series[OURS], case.future, forecast.paths
        quantiles = forecast.quantiles
        if quantiles is None:
            quantiles = np.quantile(paths, LEVELS, axis=0)
        energy = energy_score(paths / scale, truth / scale).mean() if forecast.joint else np.nan
        rows.append(
            Score(
                table,
                method,
                crps=series[method].mean(),
                se=gain.std() / np.sqrt(len(gain)),
                quantile_loss=quantile_loss(quantiles, truth) / scale,
                coverage_50=covered(case, forecast, 0.5),
                coverage_90=covered(case, forecast, 0.9),
                rmse=root_mean_squared_error(truth, paths.mean(axis=0)) / scale,
                energy=energy,
                fit_seconds=forecast.fit_seconds,
                forecast_seconds=forecast.forecast_seconds,
            )
        )
    return rows


def page(scores: pd.DataFrame, about: dict[str, str]) -> str:
    """Return the result as Markdown."""
    parts = ["# Forecasting", "`python -m benchmarks.forecasting --data DIR`"]
    parts.append("\n".join((__doc__ or "").strip().splitlines()[4:]))
    for table, rows in scores.groupby("table", sort=False):
        shown = rows.drop(columns="table").rename(columns=lambda name: name.replace("_", " "))
        text = shown.to_string(index=False, float_format="%.3f", na_rep="-")
        parts.append(f"## {table}: {about[str(table)]}\n\n```\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit, forecast, score, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; without it: sines")
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="150 series, 5 draws, 2 epochs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    n_rows, n_draws, quick = (150, 5, {"max_iter": 2}) if args.quick else (10_000, N_DRAWS, {})
    rows: list[Score] = []
    about: dict[str, str] = {}
    for name in args.tables if args.data else ["sines"]:
        series = sines(min(n_rows, 1_000), 12, args.seed)
        if args.data:
            series = load_table(name, args.data, n_rows, args.seed).to_numpy()
        case = make_case(series, n_draws, args.seed)
        found = {
            m: forecast(case) for m, forecast in methods(name, series.shape[1], **quick).items()
        }
        rows += score(name, case, found)
        n_train, n_steps = case.train.shape
        about[name] = f"{n_train:,} and {len(case.test):,} series, {case.n_seen} of {n_steps} steps"
        print(pd.DataFrame(rows).to_string(), flush=True)
        scores = pd.DataFrame(rows)
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "forecasting.md").write_text(page(scores, about))
        scores.to_csv(args.output / "forecasting.csv", index=False, float_format="%.4f")
    return scores


if __name__ == "__main__":
    main()
