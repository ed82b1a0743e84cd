"""The bundled table, amputation, metrics and displays."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sklearn_cvae.datasets import hide_cells, load_penguins
from sklearn_cvae.metrics import imputation_errors
from sklearn_cvae.plotting import LatentDisplay, MarginalsDisplay


def test_penguins(penguins):
    assert penguins.shape == (344, 8)
    assert penguins.isna().to_numpy().sum() == 19
    assert load_penguins() is not load_penguins()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_hidden_cells(penguins, mechanism):
    before = penguins.copy()
    X, hidden = hide_cells(penguins, 0.3, mechanism, random_state=0)
    pd.testing.assert_frame_equal(penguins, before)
    assert X.isna().to_numpy()[hidden].all()
    assert (X.isna().to_numpy() == (hidden | penguins.isna().to_numpy())).all()
    rates = hidden.mean(axis=0)
    rates = rates[rates > 0] if mechanism == "mar" else rates
    np.testing.assert_allclose(rates, 0.3, atol=0.08)
    again = hide_cells(penguins, 0.3, mechanism, random_state=0)[1]
    assert (again == hidden).all()


def test_values_missing_not_at_random_depend_on_the_value():
    X = pd.DataFrame({"x": np.random.default_rng(0).normal(size=2000)})
    _, hidden = hide_cells(X, 0.3, "mnar", random_state=0)
    assert abs(X["x"][hidden[:, 0]].mean()) > 0.2


def test_errors_by_hand():
    X = pd.DataFrame({"a": [0.0, 10.0, 4.0, 6.0], "b": ["x", "y", "x", "y"]})
    hidden = np.array([[True, True], [False, False], [False, True], [False, False]])
    holes = X.mask(hidden)
    imputed = holes.fillna({"a": 1.0, "b": "x"})
    errors = imputation_errors(X, holes, imputed, hidden)
    spread = np.std([10.0, 4.0, 6.0])
    assert errors.rmse == errors.mae == pytest.approx(1 / spread)
    assert errors.accuracy == 1.0
    assert np.isnan(imputation_errors(X[["a"]], X[["a"]], X[["a"]], hidden[:, :1]).accuracy)


def test_displays(fitted, penguins, tmp_path):
    pytest.importorskip("matplotlib")
    for colour in (penguins["species"], penguins["body_mass_g"]):
        display = LatentDisplay.from_estimator(fitted, penguins, colour).plot()
        assert display.points.shape == (344, 2)
        display.figure_.savefig(tmp_path / "latent.png")
    marginals = MarginalsDisplay(penguins, fitted.sample(200, random_state=0)).plot()
    marginals.figure_.savefig(tmp_path / "marginals.png")
    assert len(marginals.axes_) == 8


def test_what_cannot_be_hidden_is_refused(penguins):
    with pytest.raises(ValueError, match=r"one of \['mcar', 'mar', 'mnar'\], not 'x'"):
        hide_cells(penguins, 0.3, "x")
    for rate in (-0.1, 1.0, 1.5):
        with pytest.raises(ValueError, match="rate must be at least 0 and less than 1"):
            hide_cells(penguins, rate)
    for mechanism in ("mcar", "mar", "mnar"):
        assert not hide_cells(penguins, 0, mechanism, random_state=0)[1].any()


def test_tables_that_cannot_be_hidden_in_are_refused():
    frame = pd.DataFrame({"id": np.arange(50, dtype=np.uint64) + np.uint64(2**63), "x": 1.0})
    hidden = hide_cells(frame, random_state=0)[0]
    assert hidden["id"].dtype == "UInt64"
    known = hidden["id"].dropna()
    assert known.tolist() == frame["id"][known.index].tolist()
    with pytest.raises(ValueError, match=r"duplicate column names \['x'\]"):
        hide_cells(frame[["x", "x"]])
    with pytest.raises(TypeError, match="must be a pandas DataFrame"):
        hide_cells(frame.to_numpy())
