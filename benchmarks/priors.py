"""Each prior of the latents, where the choice matters: few rows with conditions, few latents.

    python -m benchmarks.priors --data DIR

"100 rows": the table given three of its columns. A prior that depends on conditions has to learn
from these rows how; the standard normal has nothing to learn. "4 latents": 2,000 rows, nothing is
given, objective `ELBO(hide=False)`. So few latents are far from a mixture of round groups.

On 1,000 other rows (whose conditions have levels that were seen): log p (nats per row, given the
conditions; higher is better), error of imputing 30 % of the cells (RMSE in deviations, and share of
right levels), and how hard drawn rows are to tell from these (C2ST by gradient boosting, 1 is
impossible). Two layers of 64, 60 epochs. Means over three draws of the rows, each with its own
network, and the standard deviation of each draw's log p less the default's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.members import CONDITIONS, SETTINGS, Answers, ask
from benchmarks.tables import load_table
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.objectives import ELBO

RESULTS = Path(__file__).parent / "results"
N_TEST, N_SEEDS = 1_000, 3
DEFAULT = "mixture"
PRIORS = ["standard_normal", "gaussian", DEFAULT, "vamp", "flow"]
FEW_LATENTS = {"n_components": 4, "objective": ELBO(hide=False)}


class Case(NamedTuple):
    """A table, what is given of it, how many rows to learn from, and the other settings."""

    title: str
    table: str
    conditions: list[str]
    n_rows: int
    params: dict[str, Any]


CASES = [
    *[Case("100 rows", name, CONDITIONS[name], 100, {}) for name in ("adult", "california")],
    *[Case("4 latents", name, [], 2_000, FEW_LATENTS) for name in ("magic", "bean", "california")],
]
QUICK = [Case("100 rows", "penguins", CONDITIONS["penguins"], 100, {"max_iter": 2})]


def split(case: Case, data: Path | None, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training rows, and others whose conditions were seen."""
    rows = load_table(case.table, data, case.n_rows + N_TEST, seed)
    train, test = rows[: case.n_rows], rows[case.n_rows :]
    test = test.dropna(subset=case.conditions)
    for name in train[case.conditions].select_dtypes(exclude="number"):
        test = test[test[name].isin(train[name].unique())]
    return train, test.reset_index(drop=True)


def score(case: Case, prior: str, train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Answers:
    """Fit one prior, and ask it everything."""
    params = SETTINGS | case.params | {"random_state": seed, "prior": prior}
    model = ConditionalVAE(condition_features=case.conditions or None, **params).fit(train)
    return ask(model, test, case.conditions, 0.3)


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit every prior to every case, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with tables/; else OpenML")
    parser.add_argument("--priors", nargs="+", default=PRIORS, choices=PRIORS)
    parser.add_argument("--quick", action="store_true", help="penguins, two epochs, one seed")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    found = []
    for case in QUICK if args.quick else CASES:
        for seed in range(1 if args.quick else N_SEEDS):
            train, test = split(case, args.data, seed)
            for prior in args.priors:
                answers = score(case, prior, train, test, seed)
                key = {"case": case.title, "table": case.table, "prior": prior, "seed": seed}
                found.append(key | answers._asdict())
                print(*found[-1].values(), flush=True)
    scores = pd.DataFrame(found)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "priors.md").write_text(page(scores))
    return scores


def page(scores: pd.DataFrame) -> str:
    """Return the means as markdown."""
    keys = ["case", "table", "prior"]
    same = scores.set_index(["case", "table", "seed"])
    default = same.loc[same["prior"] == DEFAULT, "log_p"]
    scores = scores.assign(gain=(same["log_p"] - default.reindex(same.index)).to_numpy())
    groups = scores.drop(columns="seed").groupby(keys, sort=False)
    means = groups.mean().assign(gain_sd=groups["gain"].std())
    about = (__doc__ or "").strip().splitlines()
    digits = (*[""] * 3, ".2f", *[".3f"] * 3, ".2f", ".2f")
    table = means.reset_index().to_markdown(index=False, floatfmt=digits)
    parts = [f"# {about[0]}", "`python -m benchmarks.priors --data DIR`", "\n".join(about[4:])]
    return "\n\n".join([*parts, table]) + "\n"


if __name__ == "__main__":
    main()
