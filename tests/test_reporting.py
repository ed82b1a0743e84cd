"""The report: figures printed, and four pictures."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_cvae import report
from sklearn_cvae.metrics import two_sample_score


def tables(n: int = 300) -> list[pd.DataFrame]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(3):
        a = rng.normal(size=n)
        made.append(
            pd.DataFrame({"a": a, "b": a + rng.normal(size=n), "c": np.where(a > 0, "u", "d")})
        )
    return made


def test_a_report_prints_every_score_with_its_ceiling(capsys, tmp_path):
    real, drawn, holdout = tables()
    before = dict(mpl.rcParams)
    found = report(real, drawn, holdout, target="c", random_state=0)
    printed = capsys.readouterr().out
    assert printed.strip() == str(found).strip()
    for score in ("Shape", "Trend", "Two-sample, boosting", "Beta-recall", "Learning efficiency"):
        assert score in printed
        assert found.scores.loc[score].notna().all()
    assert found.scores.loc["Closer to real rows (0.5: no copying)", "drawn"] == pytest.approx(
        0.5, abs=0.1
    )
    assert found.columns.index.tolist() == ["a", "b", "c"]
    found.figure.savefig(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    titles = " ".join(ax.get_title() for ax in found.figure.findobj(mpl.axes.Axes))
    for picture in ("Difference of dependence", "Overlap of rows", "Distance to the nearest"):
        assert picture in titles
    assert dict(mpl.rcParams) == before


def test_a_bad_table_has_a_bad_report(capsys):
    real, drawn, _ = tables()
    fair, moved = (
        report(real, t, random_state=0).scores["drawn"] for t in (drawn, drawn.assign(a=5.0))
    )
    assert moved["Shape"] < fair["Shape"] - 0.2
    assert moved["Two-sample, boosting"] < 0.05 < fair["Two-sample, boosting"]


def test_reports_of_polars_frames_and_one_column(capsys):
    real, drawn, _ = tables()
    assert report(pl.from_pandas(real), pl.from_pandas(drawn)).scores.loc["Shape", "drawn"] > 0.85
    assert len(report(real[["a", "b"]], drawn[["a", "b"]]).columns) == 2


def test_a_target_needs_a_holdout():
    real, drawn, _ = tables()
    with pytest.raises(ValueError, match="target needs holdout"):
        report(real, drawn, target="c")


def test_tables_of_few_rows_are_refused_together(capsys):
    real, drawn, holdout = tables()
    with pytest.raises(ValueError, match="at least 3 rows, but real has 2, holdout has 1"):
        report(real[:2], drawn, holdout[:1])
    with pytest.raises(ValueError, match="at least 3 rows, but drawn has 2"):
        two_sample_score(real, drawn[:2])
    assert capsys.readouterr().out == ""
    assert report(real[:3], drawn[:3], random_state=0).scores["drawn"].notna().all()


def test_infinite_numbers_are_named_together(capsys):
    real, drawn, _ = tables()
    odd = drawn.assign(a=np.where(drawn["a"] > 1, np.inf, drawn["a"]), b=-np.inf)
    with pytest.raises(ValueError, match=r"drawn's column 'a' \(\d+ cells\), drawn's column 'b'"):
        report(real, odd)
    assert capsys.readouterr().out == ""


def test_one_column_has_no_trend(capsys):
    real, drawn, _ = tables()
    scores = report(real[["a"]], drawn[["a"]], random_state=0).scores["drawn"]
    assert scores.isna().to_numpy().tolist() == [name == "Trend" for name in scores.index]


def test_lazy_frames_are_to_be_collected():
    real, drawn, _ = tables()
    with pytest.raises(TypeError, match="collect"):
        report(real, pl.from_pandas(drawn).lazy())
