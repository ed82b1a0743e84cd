"""Tables and a picture of the recorded imputation benchmark.

python -m benchmarks.imputation_report [imputation.csv]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
OURS = ["ConditionalVAE", "ConditionalVAE, median"]
CASE = ["table", "mechanism", "rate"]
RUN = [*CASE, "seed"]
ERRORS = ["rmse", "mae", "accuracy"]
COMPARED = [(OURS[0], "rmse"), (OURS[0], "mae"), (OURS[1], "mae"), (OURS[0], "accuracy")]
PARTS = {"in": "in sample", "out": "out of sample"}
TICKS = [0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5, 10]
PROTOCOL = """
Up to 2,000 rows of each table, drawn by the seed. Cells are hidden in the whole table by
`sklearn_cvae.datasets.hide_cells`; the first 70 % of the rows are the train part. Every method is
fitted on the train part, and its hidden cells are the in-sample ones. Out of sample are those of
the other rows, imputed by the model as it was fitted (hyperimpute cannot: it fits anew, to those
rows alone; by default it also takes columns of four levels or more for numbers). RMSE and MAE are
over hidden numeric cells, pooled, in standard deviations of the train part's known cells; accuracy
is over hidden categorical cells. At a rate of 30 %, draws of the train part are scored: CRPS over
hidden numeric cells (standard deviations), the share of truths within the central 50 % and 90 % of
the draws, and how well boosted trees tell rows of one completed table from true ones (AUC of unseen
rows, 0.5 is the best; a method without draws shows its point imputation). IterativeImputer and
MIWAE take numbers only and fill categories by the mode. A case is a table, a mechanism and a rate;
its seeds draw rows and masks. Means over a case's seeds are of the methods that were run under all
of them.
"""

SECONDS = """Runs may have shared cores, and rows of the results may come from unlike machines:
seconds compare roughly."""


def read(path: Path) -> pd.DataFrame:
    """Return the results, with a column that names the case."""
    results = pd.read_csv(path)
    percent = (100 * results["rate"]).round().astype(int).astype(str)
    return results.assign(case=results["mechanism"] + "-" + percent)


def averaged(results: pd.DataFrame) -> pd.DataFrame:
    """Return each case's means over its seeds, of the methods run under all of them, as one run."""
    n_seeds = results.groupby(CASE)["seed"].transform("nunique")
    of_method = results.groupby([*CASE, "method"])["seed"].transform("nunique")
    keys = [*CASE, "case", "method", "part"]
    means = results[of_method == n_seeds].groupby(keys, sort=False).mean(numeric_only=True)
    return means.reset_index().assign(seed="mean")


def common(results: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Return the rows of these methods in the runs in which all of them are."""
    rows = results[results["method"].isin(methods)]
    n_methods = rows.groupby(RUN)["method"].transform("nunique")
    return rows[n_methods == len(methods)]


def spread_out(results: pd.DataFrame, score: str) -> pd.DataFrame:
    """Return one row per run and one column per method, without the runs lacking the score."""
    wide = results.pivot_table(score, RUN, "method", sort=False)
    return wide.dropna(how="any")


def mean_ranks(results: pd.DataFrame) -> pd.DataFrame:
    """Return each method's mean rank by each error; either of ours among the peers alone."""
    columns = {}
    for score in ERRORS:
        signed = spread_out(results, score) * (-1 if score == "accuracy" else 1)
        ranks = {}
        for ours in [o for o in reversed(OURS) if o in signed] or [None]:
            rivals = signed.drop(columns=[o for o in OURS if o in signed and o != ours])
            ranks |= rivals.rank(axis=1).mean().to_dict()
        columns[f"{score} ({len(signed)} cases)"] = ranks
    return pd.DataFrame(columns).round(2).sort_values(next(iter(columns)))


def groups(results: pd.DataFrame) -> list[list[str]]:
    """Return the methods with the most runs, and, where there are more, all."""
    counts = results.groupby("method", sort=False)[RUN].apply(lambda r: len(r.drop_duplicates()))
    most = list(counts.index[counts == counts.max()])
    return [most] if len(most) == len(counts) else [most, list(counts.index)]


def rank_sections(means: pd.DataFrame, results: pd.DataFrame) -> list[str]:
    """Return tables of mean ranks: of the methods that were run everywhere, and of all.

    The former are of means over seeds, the latter of the runs that all methods share.
    """
    texts = ["## Mean ranks", f"{OURS[1]!r} is ranked among the peers in {OURS[0]!r}'s place."]
    everywhere, every = groups(means)[0], groups(results)[-1]
    texts += rank_tables(common(means, everywhere))
    if set(every) != set(everywhere):
        shared = common(results, every)
        texts += rank_tables(shared, f", {len(shared[RUN].drop_duplicates())} runs")
    return texts


def rank_tables(shared: pd.DataFrame, of_runs: str = "") -> list[str]:
    """Return the titled tables of mean ranks of methods that share their runs, by part."""
    n_methods = shared.loc[shared["method"] != OURS[1], "method"].nunique()
    texts = []
    for part, words in PARTS.items():
        rows = shared[shared["part"] == part]
        if len(rows):
            texts += [f"### {n_methods} methods{of_runs}, {words}", mean_ranks(rows).to_markdown()]
    return texts


def duel(rows: pd.DataFrame, peer: str) -> dict[str, float]:
    """Return how ours stands against one peer, over the runs of both."""
    line: dict[str, float] = {}
    for score in ERRORS:
        both = spread_out(common(rows, [OURS[0], peer]), score)
        if len(both):
            ours, theirs = both[OURS[0]], both[peer]
            better = ours > theirs if score == "accuracy" else ours < theirs
            line |= {
                f"{score}: runs": len(both),
                "won" + " " * ERRORS.index(score): better.sum(),
                f"{score} / peer's": float(np.exp(np.log(ours / theirs).mean())),
            }
    return line


def duel_sections(results: pd.DataFrame) -> list[str]:
    """Return ours against each peer, over the runs of both."""
    texts = [
        "## Against each peer",
        f"{OURS[0]}, geometric means over the cases and seeds of both.",
    ]
    peers = [name for name in results["method"].unique() if name not in OURS]
    for part, words in PARTS.items():
        rows = results[results["part"] == part]
        if OURS[0] in set(rows["method"]) and peers:
            table = pd.DataFrame({peer: duel(rows, peer) for peer in peers}).T
            texts += [f"### {words}", table.round(3).to_markdown()]
    return texts


def ratio_sections(results: pd.DataFrame) -> list[str]:
    """Return tables of our error over the best peer's of each run, by table and case."""
    texts = [
        "## Ratio to the best peer",
        "Of each seed's best, geometric means over seeds. Below 1 is better; of accuracy, above 1.",
    ]
    for part, words in PARTS.items():
        rows = results[results["part"] == part]
        for ours, score in COMPARED:
            wide = rows.pivot_table(score, ["table", "case", "seed"], "method", sort=False)
            if ours in wide and len(wide.columns.difference(OURS)):
                texts += [f"### {score}, {ours}, {words}", ratios(wide, ours, score)]
    return texts


def ratios(wide: pd.DataFrame, ours: str, score: str) -> str:
    """Return one table of ratios, with a geometric mean below it."""
    logs = np.log(wide[ours] / best_peer(wide, score)).groupby(["table", "case"], sort=False).mean()
    table = logs.unstack("case", sort=False)
    table.loc["geometric mean"] = table.mean()
    return np.exp(table).round(3).to_markdown()


def best_peer(wide: pd.DataFrame, score: str) -> pd.Series:
    """Return the best score of each row among the peers."""
    rivals = wide.drop(columns=[name for name in OURS if name in wide])
    return rivals.max(axis=1) if score == "accuracy" else rivals.min(axis=1)


def table_sections(results: pd.DataFrame) -> list[str]:
    """Return our errors over those of the peer that is best over all of a table's cases."""
    texts = [
        "## By table",
        "Geometric means over a table's cases, over those of the best of the peers that were run "
        "in all of ours. Below 1 is better; of accuracy, above 1.",
    ]
    for part, words in PARTS.items():
        rows = results[results["part"] == part]
        own = rows.merge(rows.loc[rows["method"] == OURS[0], RUN])
        if set(own["method"]) - set(OURS):
            shared = common(own, groups(own)[0])
            wides = [(ours, score, spread_out(shared, score)) for ours, score in COMPARED]
            columns = {
                f"{score}, {ours}": by_table(wide, ours, score)
                for ours, score, wide in wides
                if ours in wide
            }
            texts += [f"### {words}", pd.DataFrame(columns).round(3).to_markdown()]
    return texts


def by_table(wide: pd.DataFrame, ours: str, score: str) -> pd.Series:
    """Return the ratios of one score, by table."""
    means = np.log(wide).groupby("table", sort=False).mean()
    return np.exp(means[ours] - best_peer(means, score))


def case_sections(results: pd.DataFrame) -> list[str]:
    """Return one table of all errors per case and part, under the seed that most were run with."""
    seed = results["seed"].mode()[0]
    texts = ["## Every case", f"RMSE / MAE / accuracy, seed {seed}."]
    of_seed = results[results["seed"] == seed]
    for (case, part), rows in of_seed.groupby(["case", "part"], sort=False):
        cells = rows[ERRORS].map("{:.3f}".format).agg(" / ".join, axis=1)
        wide = rows.assign(cell=cells).pivot(index="method", columns="table", values="cell")
        order = [rows["method"].unique(), rows["table"].unique()]
        text = wide.reindex(index=order[0], columns=order[1]).fillna("").T.to_markdown()
        texts += [f"### {case}, {PARTS[part]}", text.replace(" / nan", "").replace("nan", "-")]
    return texts


def draw_section(results: pd.DataFrame) -> list[str]:
    """Return the scores of draws, over the runs that have them of every drawing method."""
    scored = results[results["two_sample_auc"].notna()]
    texts = ["## Draws"]
    drawing = scored[scored["crps"].notna()]
    for rows, names in [
        (drawing, ["crps", "coverage_50", "coverage_90", "two_sample_auc"]),
        (scored, ["two_sample_auc"]),
    ]:
        for methods in groups(rows) if len(rows) else []:
            shared = common(rows, methods)
            n_runs = len(shared[RUN].drop_duplicates())
            if not n_runs:
                continue
            means = shared.groupby("method", sort=False)[names].mean().sort_values(names[0])
            texts += [f"{len(methods)} methods, {n_runs} runs:", means.round(3).to_markdown()]
    return texts


def coverage_section(results: pd.DataFrame) -> list[str]:
    """Return the share of truths within the central 90 % of the draws, by table and case."""
    drawing = results[results["coverage_90"].notna() & (results["method"] != OURS[1])]
    if drawing.empty:
        return []
    texts = []
    for case, rows in drawing.groupby("case", sort=False):
        for score in ("coverage_90", "crps"):
            wide = rows.pivot_table(score, "table", "method", sort=False).round(3)
            texts += [f"### {score}, {case}", wide.to_markdown().replace("nan", "-")]
    return texts


def seconds_section(results: pd.DataFrame) -> list[str]:
    """Return the seconds of each method, over all its runs."""
    rows = results[results["part"] == "in"]
    seconds = rows.groupby("method", sort=False).agg(
        runs=("table", "size"),
        fit=("fit_seconds", "sum"),
        impute=("impute_seconds", "sum"),
    )
    seconds["per run"] = (seconds["fit"] + seconds["impute"]) / seconds["runs"]
    return ["## Seconds", SECONDS, seconds.round(1).to_markdown()]


def draw_picture(results: pd.DataFrame, path: Path) -> None:
    """Dots of the in-sample RMSE over MissForest's, by table, at 30 % MCAR."""
    rows = results[(results["case"] == "mcar-30") & (results["part"] == "in")]
    wide = rows.pivot_table("rmse", "table", "method", sort=False)
    if "MissForest" not in wide:
        return
    ratio = wide.div(wide["MissForest"], axis=0).iloc[::-1]
    figure = Figure(figsize=(8, 1.5 + 0.35 * len(ratio)), layout="constrained")
    axes = figure.subplots()
    for i, method in enumerate(ratio):
        marker = "D" if method in OURS else "o"
        axes.plot(ratio[method], range(len(ratio)), marker, color=f"C{i}", alpha=0.8, label=method)
    axes.axvline(1.0, color="0.7", zorder=0)
    axes.set(yticks=range(len(ratio)), yticklabels=ratio.index, xscale="log")
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.set_xlabel("RMSE / MissForest's (in sample, 30 % MCAR)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(axis="y", color="0.92")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def write_report(csv: Path, md: Path, png: Path) -> None:
    """Write the tables and the picture of the results.

    Parameters
    ----------
    csv : Path
        What `imputation.py` recorded.
    md, png : Path
        Written. `published.md` beside md, where there is one, is included as it is.
    """
    results = read(csv)
    means = averaged(results)
    sections = [
        "# Imputation",
        PROTOCOL.strip(),
        *rank_sections(means, results),
        *duel_sections(results),
        *table_sections(means),
        *ratio_sections(results),
        *draw_section(results),
        *coverage_section(results),
        *seconds_section(results),
    ]
    draw_picture(means, png)
    if png.exists():
        sections.insert(2, f"![RMSE relative to MissForest]({png.name})")
    published = md.with_name("published.md")
    if published.exists():
        sections += ["## Published figures", published.read_text().strip()]
    md.write_text("\n\n".join([*sections, *case_sections(results)]) + "\n")


def main() -> None:
    """Write the report beside the results."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "imputation.csv"
    write_report(path, path.with_suffix(".md"), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
