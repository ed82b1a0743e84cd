"""Each member of the family against the default, in all that a model is asked for.

    python -m benchmarks.members --data DIR [--tables adult california] [--quick]

The same network with one choice changed learns from the same rows. On other rows: log p (nats per
row, given the conditions; higher is better), error of imputing 30 % of the cells (RMSE in
deviations, and share of right levels), and how hard rows drawn under the test rows' conditions are
to tell from these (C2ST by gradient boosting, 1 is impossible). One seed: differences below about
0.1 nats, 0.01 in RMSE and 0.05 in C2ST say nothing. The flow is in `benchmarks.priors`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.tables import load_table
from sklearn_cvae import ConditionalVAE
from sklearn_cvae.datasets import hide_cells
from sklearn_cvae.metrics import imputation_errors, two_sample_score
from sklearn_cvae.objectives import ELBO, IWAE, Hybrid

RESULTS = Path(__file__).parent / "results"
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (64, 64), "max_iter": 60, "random_state": 0}
CONDITIONS = {
    "adult": ["education", "occupation", "age"],
    "california": ["ocean_proximity", "longitude", "latitude"],
    "penguins": ["island", "sex"],
}
MEMBERS: dict[str, dict[str, Any]] = {
    "default": {},
    **{
        f"conditioning: {name}": {"conditioning": name}
        for name in ("concat_all", "embedding", "film", "layer_norm", "batch_norm", "attention")
    },
    **{f"prior: {name}": {"prior": name} for name in ("standard_normal", "gaussian", "vamp")},
    "objective: ELBO(beta=0.5)": {"objective": ELBO(beta=0.5)},
    "objective: ELBO(beta=2)": {"objective": ELBO(beta=2)},
    "objective: ELBO(n_cycles=4)": {"objective": ELBO(n_cycles=4)},
    "objective: ELBO(free_bits=0.05)": {"objective": ELBO(free_bits=0.05)},
    "objective: ELBO(hide=False)": {"objective": ELBO(hide=False)},
    "objective: IWAE(n_samples=5)": {"objective": IWAE(n_samples=5)},
    "objective: IWAE(n_samples=5, hide=False)": {"objective": IWAE(n_samples=5, hide=False)},
    "objective: Hybrid()": {"objective": Hybrid()},
}


class Answers(NamedTuple):
    """What a fitted model makes of rows not seen, given their conditions."""

    log_p: float
    rmse: float
    accuracy: float
    c2st: float


class Score(NamedTuple):
    """A member's answers on one table."""

    table: str
    member: str
    log_p: float
    rmse: float
    accuracy: float
    c2st: float
    active_units: int
    seconds: float


def score(table: str, member: str, train: pd.DataFrame, test: pd.DataFrame, **params: Any) -> Score:
    """Fit one member, and ask it everything."""
    names = CONDITIONS[table]
    start = time.perf_counter()
    model = ConditionalVAE(condition_features=names, **SETTINGS | MEMBERS[member] | params)
    model.fit(train)
    seconds = time.perf_counter() - start
    answers = ask(model, test, names, 0.3)
    return Score(table, member, *answers, model.n_active_units_, seconds)


def ask(
    model: ConditionalVAE, test: pd.DataFrame, conditions: list[str], hidden_share: float
) -> Answers:
    """Score rows, impute cells hidden in them, and draw rows under their conditions."""
    holes, hidden = hide_cells(test, hidden_share, random_state=0)
    hidden[:, [test.columns.get_loc(name) for name in conditions]] = False
    holes[conditions] = test[conditions]
    errors = imputation_errors(test, holes, model.impute(holes), hidden)
    drawn = model.sample(conditions=test[conditions], random_state=0)
    c2st = two_sample_score(test, drawn, random_state=0)
    return Answers(model.score(test), errors.rmse, errors.accuracy, c2st)


def page(scores: pd.DataFrame, n_rows: int) -> str:
    """Return the scores as markdown."""
    about = (__doc__ or "").strip().splitlines()
    parts = [f"# {about[0]}", "`python -m benchmarks.members --data DIR`", "\n".join(about[4:])]
    sizes, epochs = SETTINGS["hidden_layer_sizes"], SETTINGS["max_iter"]
    parts.append(f"{n_rows} training rows, hidden layers {sizes}, {epochs} epochs.")
    for name, part in scores.groupby("table", sort=False):
        conditions = ", ".join(CONDITIONS[str(name)])
        digits = {"log_p": 2, "rmse": 3, "accuracy": 3, "c2st": 3, "seconds": 0}
        shown = part.drop(columns="table").round(digits)
        parts.append(f"## {name}, given {conditions}\n\n{shown.to_markdown(index=False)}")
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Fit every member to every table, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tables", nargs="+", default=["adult", "california"])
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--members", nargs="+", default=list(MEMBERS), choices=MEMBERS)
    parser.add_argument("--quick", action="store_true", help="penguins, one epoch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    tables, params = (["penguins"], {"max_iter": 1}) if args.quick else (args.tables, {})
    scores = []
    for name in tables:
        rows = load_table(name, args.data, args.rows * 3 // 2, 0)
        n_train = len(rows) * 2 // 3
        train, test = rows[:n_train], rows[n_train:].reset_index(drop=True)
        test = test.dropna(subset=CONDITIONS[name]).reset_index(drop=True)
        for member in args.members:
            scores.append(score(name, member, train, test, **params))
            print(*scores[-1], flush=True)
    results = pd.DataFrame(scores)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "members.md").write_text(page(results, args.rows))
    return results


if __name__ == "__main__":
    main()
