"""The rest of a digit, given one, two or three of its quadrants.

    python -m benchmarks.quadrants --data DIR

One model of whole digits is trained once, and answers all three questions. Pixels are on with the
probability of their intensity, drawn once for the test digits and twice for the training digits.
The score is the negative log-likelihood of the hidden pixels given the visible ones, in nats per
digit, under the density that imputation draws from,

    p(rest | visible) = integral of p(rest | z) q(z | visible) dz,

an upper bound by importance sampling with proposals from q(z | whole) and q(z | visible) in equal
parts. The published figures are bounds of the same quantity, of Pyro's reproduction of Sohn, Lee
and Yan (NeurIPS 2015) with one network per question; its pixels are grey, and enter as
probabilities.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.images import load_images
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.backbones import Convolutional
from sklearn_cvae.model import TableCVAE

RESULTS = Path(__file__).parent / "results"
PUBLISHED = {
    "deterministic network (Pyro)": (100.4, 61.9, 25.4),
    "CVAE (Pyro)": (71.8, 51.0, 24.2),
}
CHUNK, EPOCHS, N_COPIES = 200, 12, 2
BACKBONE = Convolutional((1, 28, 28), n_channels=(16, 32), hidden_width=256)


class Score(NamedTuple):
    """A method's negative log-likelihood of what some quadrants leave open."""

    observed_quadrants: int
    method: str
    nll: float


def visible_pixels(n_quadrants: int, height: int, width: int) -> NDArray[np.bool_]:
    """Return which pixels are seen: the lower left, the left, or all but the upper right."""
    seen = np.zeros((height, width), dtype=bool)
    seen[height // 2 :, : width // 2] = True
    if n_quadrants > 1:
        seen[:, : width // 2] = True
    if n_quadrants > 2:
        seen[height // 2 :] = True
    return seen.ravel()


@torch.inference_mode()
def rest_given_visible(
    module: TableCVAE, cells: torch.Tensor, seen: torch.Tensor, n_draws: int, seed: int
) -> torch.Tensor:
    """Return log p(rest | visible) of binary images, in nats, of shape (n,).

    Parameters
    ----------
    module : TableCVAE
    cells : Tensor of shape (n, d)
        Encoded images.
    seen : Tensor of shape (d,), bool
    n_draws : int
    seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, shown = module.inputs(cells), seen.expand(cells.shape)
    c = module.condition(inputs, torch.zeros_like(shown))
    whole = module.posterior(inputs, torch.ones_like(shown), c)
    part = module.posterior(inputs, shown, c)
    log_w = []
    for i in range(n_draws):
        proposal = part if i % 2 else whole
        z = proposal.draw(torch.randn(whole.loc.shape, generator=generator))
        rest = (module.likelihood(z, c).log_prob(cells) * ~seen).sum(1)
        own = part.log_prob(z)
        log_w.append(rest + own - torch.logaddexp(whole.log_prob(z), own) + np.log(2))
    return torch.stack(log_w).double().logsumexp(0) - np.log(n_draws)


def run(data: Path | None, *, quick: bool) -> list[Score]:
    """Train once, and score the three questions."""
    train, test = load_images(data)
    n_test, n_draws = (20, 4) if quick else (2_000, 500)
    model = ConditionalVAE(
        50,
        backbone=Convolutional(train.shape, (4,), 16) if quick else BACKBONE,
        max_iter=4 if quick else EPOCHS,
        random_state=0,
        n_jobs=1,
    )
    start = time.perf_counter()
    model.fit(train.binarised(0, 1 if quick else N_COPIES))
    print(f"fitted in {time.perf_counter() - start:.0f} s")
    images = torch.from_numpy(test.some(n_test).binarised(1).astype(np.float32))
    scores = [Score(k + 1, name, f[k]) for name, f in PUBLISHED.items() for k in range(3)]
    for k in (1, 2, 3):
        seen = torch.from_numpy(visible_pixels(k, *train.shape[1:]))
        module = model.net_.module_
        log_p = [rest_given_visible(module, x, seen, n_draws, k) for x in images.split(CHUNK)]
        scores.append(Score(k, "sklearn_cvae", -float(torch.cat(log_p).mean())))
        print(f"{k} observed: {scores[-1].nll:.2f} nats")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    scores = run(options.data, quick=options.quick)
    with (options.output / "quadrants.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Score._fields)
        writer.writerows((s.observed_quadrants, s.method, f"{s.nll:.2f}") for s in scores)


if __name__ == "__main__":
    main()
