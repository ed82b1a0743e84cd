"""Each benchmark and the demo run, in a tiny form."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import imputation, speed
from examples import demo


def test_imputation(tmp_path):
    args = ["--rows", "60", "--max-iter", "1", "--output", str(tmp_path)]
    results = imputation.main(args)
    assert set(results["method"]) >= {*imputation.PEERS, "ConditionalVAE, mean"}
    assert np.isfinite(results[["rmse", "mae", "accuracy"]].to_numpy()).all()
    assert "ConditionalVAE, median" in (tmp_path / "imputation.md").read_text()


def test_the_missforest_of_the_benchmark_works(penguins):
    """A peer must not be crippled: on penguins it has to beat mean/mode and KNN clearly."""
    X = penguins.astype(dict.fromkeys(("species", "island", "sex"), object)).astype({"year": float})
    holes, hidden = imputation.hide_cells(X, 0.3, "mcar", random_state=0)
    errors = {
        name: imputation.imputation_errors(X, holes, impute(holes), hidden)
        for name, impute in imputation.PEERS.items()
    }
    forest, knn, mean = (
        errors[n] for n in ("MissForest (extra trees)", "KNNImputer", "mean / mode")
    )
    assert forest.rmse < 0.8 * mean.rmse
    assert forest.accuracy > max(knn.accuracy, mean.accuracy)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_speed(tmp_path):
    args = ["--rows", "600", "--hidden", "8", "--repeats", "1", "--sizes", "500"]
    text = speed.main([*args, "--output", str(tmp_path)])
    assert "ours / bare" in text
    assert (tmp_path / "speed.md").read_text() == text


@pytest.mark.slow
def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo.main()
    printed = capsys.readouterr().out
    assert "ConditionalVAE" in printed
    assert (tmp_path / "demo_output" / "marginals.png").stat().st_size > 10_000


def test_the_demos_comparison_runs(penguins, monkeypatch):
    small = demo.ConditionalVAE(max_iter=1)
    monkeypatch.setattr(demo, "ConditionalVAE", lambda **_: small)
    errors = demo.compare_imputers(penguins)
    assert (
        errors.loc["KNNImputer", ["RMSE", "MAE"]] < errors.loc["mean / mode", ["RMSE", "MAE"]]
    ).all()
