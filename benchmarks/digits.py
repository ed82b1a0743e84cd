"""Binary digits: their density under different priors, and drawing them by class.

    python -m benchmarks.digits --data DIR [--parts standard_normal vamp convolutions]

Pixels are on with the probability of their intensity. Density: the same network is trained with
each prior on the same training digits, binarised anew several times, and scored on test digits by
importance sampling, in nats per digit. The published figures are those of the IWAE paper for one
stochastic layer.

By class: perceptrons or convolutions learn with the label as a condition that is always known
(`condition_dropout=0`), and draw digits of each class, as `sample(conditions={"target": k})` does
by default, and otherwise (`DRAWS`); `n_sweeps=0` leaves digits as they are first drawn. Networks,
epochs and temperature were chosen with judges and seeds of their own. An independent classifier
(`benchmarks.judge`), trained on real binary digits, says how many it takes for what was asked.
Diversity is the mean share of differing pixels over pairs of a class, drawn over real: 1 is as
diverse as real digits, below 1 less so. Copies are drawn digits nearer to a training digit than 5 %
of the test digits are.

References
----------
Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. ICLR 2016 (table 1).
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from benchmarks.images import Images, load_images
from benchmarks.judge import share_right, train_judge
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.backbones import Convolutional
from sklearn_cvae.objectives import ELBO

RESULTS = Path(__file__).parent / "results"
PUBLISHED = {"VAE, 1 layer (IWAE paper)": 86.76, "IWAE-50, 1 layer (IWAE paper)": 84.78}
PRIORS = ("standard_normal", "mixture", "vamp")
BY_CLASS = ("perceptrons", "convolutions")
PARTS = (*PRIORS, *BY_CLASS)
DRAWS: dict[str, dict[str, Any]] = {
    "default": {},
    "n_sweeps=0": {"n_sweeps": 0},
    "temperature=0.75, n_sweeps=0": {"temperature": 0.75, "n_sweeps": 0},
}
DRAWN = {
    "right": "taken for what was asked, share",
    "diversity": "diversity within a class, over that of real digits",
    "copies": "nearer to a training digit than 95 % of test digits are, share",
}
SETTINGS: dict[str, Any] = {
    "n_components": 50,
    "hidden_layer_sizes": (512, 512),
    "input_noise": 0.0,
    "random_state": 0,
    "n_jobs": 1,
}


class Size(NamedTuple):
    """How much is computed."""

    n_copies: int
    epochs: int
    class_copies: int
    class_epochs: int
    n_test: int
    n_draws: int
    n_each: int


FULL, QUICK = Size(3, 25, 2, 12, 10_000, 500, 200), Size(1, 3, 1, 2, 30, 4, 5)


def density(prior: str, train: Images, test: Images, size: Size) -> dict[str, float]:
    """Train with a prior, and return the negative log-likelihood of test digits."""
    X, held_out = train.binarised(0, size.n_copies), test.some(size.n_test).binarised(1)
    model = ConditionalVAE(
        **SETTINGS,
        prior=prior,
        objective=ELBO(hide=False),
        max_iter=size.epochs,
        n_draws=size.n_draws,
    )
    start = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - start
    return {"nll": -model.score(held_out), "seconds": seconds}


def by_class(network: str, train: Images, test: Images, size: Size) -> dict[str, float]:
    """Draw digits of each class, and compare them with real ones."""
    convolutional = Convolutional(train.shape, n_channels=(16, 32), hidden_width=512)
    X, real = train.binarised(0, size.class_copies), test.binarised(1)
    labels, n = np.tile(train.labels, size.class_copies), len(train.labels)
    start = time.perf_counter()
    model = ConditionalVAE(
        **SETTINGS,
        backbone="mlp" if network == "perceptrons" else convolutional,
        condition_on_target=True,
        condition_dropout=0.0,
        objective=ELBO(hide=False),
        max_iter=size.class_epochs,
    )
    model.fit(X, labels)
    found = {"seconds": time.perf_counter() - start}
    judge = train_judge(train, seed=0)
    found["right_of_real"] = share_right(judge, real, test.labels)
    classes = np.unique(train.labels)
    asked = np.repeat(classes, size.n_each)
    usual = np.quantile(_nearest(real[: len(asked)], X[:n]), 0.05)
    for how, params in DRAWS.items():
        draw = partial(model.sample, size.n_each, **params)
        drawn = [draw(conditions={"target": k}, random_state=int(k)) for k in classes]
        whole = np.concatenate(drawn)
        ratios = [
            _mean_distance(part) / _mean_distance(real[test.labels == k][: size.n_each])
            for k, part in zip(classes, drawn, strict=True)
        ]
        found[f"right, {how}"] = share_right(judge, whole, asked)
        found[f"diversity, {how}"] = float(np.mean(ratios))
        found[f"copies, {how}"] = float((_nearest(whole, X[:n]) < usual).mean())
    return found


def _mean_distance(images: NDArray[np.bool_]) -> float:
    """Return the mean share of pixels that differ, over all pairs."""
    n = len(images)
    on = images.mean(axis=0)
    return float((2 * on * (1 - on)).mean() * n / (n - 1))


def _nearest(images: NDArray[np.bool_], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how many pixels differ from the nearest training digit."""
    near = [
        pairwise_distances(part, train.astype(np.float32), metric="sqeuclidean").min(axis=1)
        for part in np.array_split(images.astype(np.float32), max(len(images) // 250, 1))
    ]
    return np.concatenate(near)


def report(scores: pd.Series) -> str:
    """Return what is known so far as markdown; `scores` are indexed by part and score."""
    lines = ["# Binary digits", ""]
    lines += ["`python -m benchmarks.digits --data DIR`; its docstring says how.", ""]
    lines += ["| prior | NLL, nats per digit | fit, s |", "|---|---:|---:|"]
    classes = scores.index.get_level_values("part").isin(BY_CLASS)
    for prior, found in scores[~classes].groupby(level=0, sort=False):
        nll, seconds = found.droplevel(0)[["nll", "seconds"]]
        lines.append(f"| {prior} | {nll:.2f} | {seconds:.0f} |")
    lines += [f"| {name} | {nll:.2f} | days |" for name, nll in PUBLISHED.items()]
    for network, found in scores[classes].groupby(level=0, sort=False):
        lines += ["", f"| {network}, drawn by class | " + " | ".join(DRAWS) + " |"]
        lines += ["|---|" + "---:|" * len(DRAWS)]
        of_network = found.droplevel(0)
        for name, text in DRAWN.items():
            cells = [f"{of_network[f'{name}, {how}']:.3f}" for how in DRAWS]
            lines += [f"| {text} | {' | '.join(cells)} |"]
        right, seconds = of_network[["right_of_real", "seconds"]]
        about = f"The judge is right on {right:.3f} of real test digits; fit in {seconds:.0f} s."
        lines += ["", about]
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> None:
    """Compute the parts that are asked for, and write all that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--epochs", type=int, default=None, help="of each density")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    train, test = load_images(options.data)
    size = QUICK if options.quick else FULL
    size = size._replace(epochs=options.epochs or size.epochs)
    path = options.output / "digits.csv"
    for part in options.parts:
        job = partial(by_class if part in BY_CLASS else density, part)
        as_usual = options.epochs is None or part in BY_CLASS
        title = part if as_usual else f"{part}, {options.epochs} epochs"
        found = {(title, name): value for name, value in job(train, test, size).items()}
        print(found, flush=True)
        kept = pd.read_csv(path, index_col=[0, 1])["value"].to_dict() if path.exists() else {}
        scores = pd.Series(kept | found, name="value").rename_axis(["part", "score"])
        scores.to_csv(path, float_format="%.4f")
        (options.output / "digits.md").write_text(report(scores))


if __name__ == "__main__":
    main()
