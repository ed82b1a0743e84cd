"""How a class enters the networks, the KL warms up, and own networks fare: 8 x 8 digits by class.

    python -m benchmarks.small_digits

1,200 of scikit-learn's digits to learn from, 597 others, pixels of 17 values. Networks that differ
in that alone, perceptrons or convolutions, 60 epochs, learn with the digit as a condition; beside
them the `Custom` networks of `benchmarks.own_convolutions`, which take it as they will. On the
others: log p (nats of the median digit given its class, higher is better; a grey value that was
never seen at its place costs hundreds, so means say nothing), the error of imputing 30 % of the
pixels (RMSE in grey values), how many drawn digits an independent classifier (SVC, trained on the
real training digits) takes for what was asked, and how hard drawn digits are to tell from real
ones (C2ST by gradient boosting, 1 is impossible). Means over four seeds, each with its own split.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from benchmarks.own_convolutions import Decoder, Encoder
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.backbones import Convolutional, Custom
from sklearn_cvae.datasets import hide_cells
from sklearn_cvae.metrics import two_sample_score
from sklearn_cvae.objectives import ELBO

RESULTS = Path(__file__).parent / "results"
N_TRAIN, MAX_ITER = 1_200, 60
TARGET = "digit"
CONDITIONING = ["concat", "concat_all", "film", "layer_norm", "batch_norm"]
WAYS: dict[str, dict[str, Any]] = {
    **{name: {"conditioning": name} for name in CONDITIONING},
    "concat, no KL warm-up": {"objective": ELBO(warm_up=0.0)},
    "concat, KL warm-up over half": {"objective": ELBO(warm_up=0.5)},
}
BACKBONES: dict[str, Any] = {
    "perceptrons": "mlp",
    "convolutions": Convolutional((1, 8, 8)),
    "own convolutions": Custom(Encoder, Decoder),
}


class Score(NamedTuple):
    """Scores of one way to condition or warm up, of one backbone and seed."""

    backbone: str
    way: str
    log_p: float
    rmse: float
    right: float
    c2st: float


def digits(seed: int, n_train: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training digits and others, the class as a column of strings."""
    found = load_digits(as_frame=True)
    table = found.data.assign(**{TARGET: found.target.astype(str)})
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    return table[:n_train], table[N_TRAIN : N_TRAIN + n_train].reset_index(drop=True)


def score(backbone: str, way: str, seed: int, n_train: int, max_iter: int) -> Score:
    """Fit one model and ask it everything."""
    train, test = digits(seed, n_train)
    model = ConditionalVAE(
        condition_features=[TARGET],
        backbone=BACKBONES[backbone],
        max_iter=max_iter,
        random_state=seed,
        **WAYS[way],
    )
    model.fit(train)
    pixels = train.columns.drop(TARGET)
    holes, hidden = hide_cells(test[pixels], 0.3, random_state=0)
    filled = model.impute(holes.assign(**{TARGET: test[TARGET]}))[pixels]
    errors = (filled - test[pixels]).to_numpy()[hidden]
    judge = SVC(C=10).fit(train[pixels], train[TARGET])
    drawn = model.sample(conditions=test[[TARGET]], random_state=0)
    return Score(
        backbone,
        way,
        log_p=float(np.median(model.score_samples(test))),
        rmse=float(np.sqrt(np.mean(errors**2))),
        right=float((judge.predict(drawn[pixels]) == test[TARGET]).mean()),
        c2st=two_sample_score(test, drawn, random_state=0),
    )


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit every way to condition, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--quick", action="store_true", help="100 digits, 10 epochs, one seed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    own = "own convolutions"
    pairs = [
        (b, way) for b, way in product(args.backbones, args.ways) if b != own or way == "concat"
    ]
    if not pairs:
        parser.error(f"{own} take the condition by concat alone: add it to --ways")
    n_train, max_iter = (100, 10) if args.quick else (N_TRAIN, MAX_ITER)
    scores = []
    for backbone, way in pairs:
        for seed in args.seeds[:1] if args.quick else args.seeds:
            scores.append(score(backbone, way, seed, n_train, max_iter))
            print(*scores[-1], flush=True)
    means = pd.DataFrame(scores).groupby(["backbone", "way"], sort=False).mean()
    about = (__doc__ or "").strip().splitlines()
    table = means.reset_index().to_markdown(index=False, floatfmt=("", "", ".2f", *[".3f"] * 3))
    parts = [f"# {about[0]}", "`python -m benchmarks.small_digits`", "\n".join(about[4:]), table]
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "small_digits.md").write_text("\n\n".join(parts) + "\n")
    return means


if __name__ == "__main__":
    main()
