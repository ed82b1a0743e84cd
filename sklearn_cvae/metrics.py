"""Scores of imputed tables, and of drawn tables against real ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cvae.columns import as_pandas

Array = NDArray[Any]
# Levels that become dummies, the commonest first: identifiers would fill the memory.
MAX_LEVELS = 500
N_FOLDS = 3


class ImputationErrors(NamedTuple):
    """Errors over hidden cells; NaN where a table has no cell of the kind.

    Parameters
    ----------
    rmse, mae : float
        Over numeric cells, pooled, in standard deviations of the column's training cells.
    accuracy : float
        Over categorical cells, pooled.
    """

    rmse: float
    mae: float
    accuracy: float


def imputation_errors(
    X_true: pd.DataFrame, X_hidden: pd.DataFrame, X_imputed: pd.DataFrame, hidden: Array
) -> ImputationErrors:
    """Compare imputed cells with the truth.

    Parameters
    ----------
    X_true : DataFrame of shape (n_samples, n_features)
        The table before cells were hidden.
    X_hidden : DataFrame of shape (n_samples, n_features)
        The table with hidden cells missing; its columns set the units of the errors.
    X_imputed : DataFrame of shape (n_samples, n_features)
    hidden : ndarray of shape (n_samples, n_features), bool
        The cells to score.

    Returns
    -------
    errors : ImputationErrors

    Raises
    ------
    ValueError
        If cells to score are missing in `X_imputed`.

    Examples
    --------
    >>> X = pd.DataFrame({"a": [0.0, 2.0, 4.0], "b": ["x", "y", "y"]})
    >>> hidden = np.array([[True, False], [False, False], [False, True]])
    >>> errors = imputation_errors(X, X.mask(hidden), X.fillna(0), hidden)
    >>> float(errors.rmse), float(errors.accuracy)
    (0.0, 1.0)
    """
    names = list(X_true.columns)
    left = (X_imputed[names].isna().to_numpy() & hidden).sum(axis=0)
    if left.any():
        named = ", ".join(f"{names[j]!r} ({left[j]})" for j in np.flatnonzero(left))
        raise ValueError(f"Cells to score are missing in X_imputed, in {named}; impute them first.")
    differences, hits = [np.empty(0)], [np.empty(0)]
    for j, name in enumerate(names):
        rows = hidden[:, j]
        truth, imputed = X_true[name][rows], X_imputed[name][rows]
        if pd.api.types.is_numeric_dtype(truth) and truth.dtype.kind != "b":
            scale = X_hidden[name].to_numpy(dtype=float, na_value=np.nan)
            spread = np.nanstd(scale)
            error = imputed.to_numpy(dtype=float) - truth.to_numpy(dtype=float)
            differences.append(error / (spread if spread > 0 else 1.0))
        else:
            hits.append(imputed.to_numpy(dtype=object) == truth.to_numpy(dtype=object))
    error, hit = np.concatenate(differences), np.concatenate(hits).astype(float)
    return ImputationErrors(
        rmse=float(np.sqrt(np.mean(error**2))) if len(error) else np.nan,
        mae=float(np.mean(np.abs(error))) if len(error) else np.nan,
        accuracy=float(np.mean(hit)) if len(hit) else np.nan,
    )


# --------------------------------------------------------------------------------------
# Drawn tables against real ones
# --------------------------------------------------------------------------------------


def column_shapes(real: Any, drawn: Any) -> pd.Series:
    """Return how alike each column's distribution is in two tables, from 0 to 1.

    For numbers and times 1 minus the Kolmogorov-Smirnov distance, for everything else 1 minus the
    total variation distance. The mean over columns is known as Shape. Missing cells are left out.

    Parameters
    ----------
    real, drawn : DataFrame of shape (n, d) and (m, d)
        pandas or polars frames, or arrays, with the same columns.

    Returns
    -------
    shapes : Series of shape (d,)
        By column name.

    Raises
    ------
    ValueError
        If the tables' columns differ, or one of them has no row.

    References
    ----------
    DataCebo. SDMetrics: KSComplement, TVComplement.

    Examples
    --------
    >>> real = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "x", "y", "y"]})
    >>> drawn = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "x", "x", "y"]})
    >>> column_shapes(real, drawn).to_dict()
    {'a': 1.0, 'b': 0.75}
    """
    real, drawn = _alike(real, drawn)
    shapes = {}
    for name in real.columns:
        a, b = real[name].dropna(), drawn[name].dropna()
        if len(a) == 0 or len(b) == 0:
            shapes[name] = float(len(a) == len(b))
        elif is_number(real[name]):
            shapes[name] = 1 - float(
                ks_2samp(numbers_of(a), numbers_of(b), method="asymp").statistic
            )
        else:
            shapes[name] = _overlap(a, b)
    return pd.Series(shapes, dtype=float)


def pair_trends(real: Any, drawn: Any, n_bins: int = 10) -> pd.DataFrame:
    r"""Return how alike the dependence within each pair of columns is in two tables, 0 to 1.

    Of two numbers :math:`1 - |\rho - \rho'| / 2` by their Pearson correlations, of other pairs 1
    minus the total variation distance of their joint counts, numbers cut into `n_bins` bins. The
    mean over pairs is known as Trend.

    Both tables are cut at the same edges, of equal width over the range of `real`. SDMetrics cuts
    each table at edges of its own range, so that one outlier moves its figure by up to 0.1.

    Parameters
    ----------
    real, drawn : DataFrame of shape (n, d) and (m, d)
    n_bins : int, default=10

    Returns
    -------
    trends : DataFrame of shape (d, d)
        Symmetric, with NaN on the diagonal.

    References
    ----------
    DataCebo. SDMetrics: CorrelationSimilarity, ContingencySimilarity.

    Examples
    --------
    >>> real = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    >>> drawn = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [3.0, 2.0, 1.0]})
    >>> pair_trends(real, drawn).loc["a", "b"].round(3)
    np.float64(0.0)
    """
    real, drawn = _alike(real, drawn)
    names = list(real.columns)
    numeric = [is_number(real[name]) for name in names]
    codes = [_shared_codes(real[name], drawn[name], n_bins) for name in names]
    correlations = [_correlations(table, names, numeric) for table in (real, drawn)]
    trends = pd.DataFrame(np.nan, index=names, columns=names)
    for i, j in itertools.combinations(range(len(names)), 2):
        if numeric[i] and numeric[j]:
            value = 1 - abs(correlations[0][i, j] - correlations[1][i, j]) / 2
        else:
            value = _joint_overlap(codes[i], codes[j])
        trends.iloc[i, j] = trends.iloc[j, i] = value
    return trends


class Coverage(NamedTuple):
    """Whether drawn rows lie where real rows do, and real rows where drawn ones do; each 0 to 1.

    Parameters
    ----------
    alpha_precision : float
        1 when, for every alpha, a share alpha of the drawn rows lies in the smallest ball that
        holds a share alpha of the real ones.
    beta_recall : float
        1 when, for every beta, a share beta of the real rows has one of the central share beta of
        drawn rows nearer than its nearest real row. Two samples of one distribution reach
        about 0.5; far more than what a holdout reaches is copying.
    """

    alpha_precision: float
    beta_recall: float


def alpha_precision_beta_recall(real: Any, drawn: Any, n_steps: int = 30) -> Coverage:
    """Return alpha-precision and beta-recall in the space of scaled numbers and dummies.

    Parameters
    ----------
    real, drawn : DataFrame of shape (n, d) and (m, d)
        Numbers are scaled to 0..1 over `real`; missing numbers become its mean.
    n_steps : int, default=30
        Values of alpha and beta, evenly from 0 to 1.

    Returns
    -------
    coverage : Coverage

    References
    ----------
    Alaa, van Breugel, Saveliev, van der Schaar. How Faithful is your Synthetic Data? Sample-level
    Metrics for Evaluating and Auditing Generative Models. ICML 2022. Departure: the ball is taken
    in the scaled space itself, as in TabSyn's and TabDiff's evaluations.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real, drawn = (pd.DataFrame(rng.normal(size=(500, 3))) for _ in range(2))
    >>> coverage = alpha_precision_beta_recall(real, drawn)
    >>> coverage.alpha_precision > 0.9, 0.4 < coverage.beta_recall < 0.6
    (True, True)
    """
    a, b = encode_rows(real, real, drawn)
    levels = np.linspace(0, 1, n_steps)
    centre = a.mean(axis=0)
    radii = np.quantile(np.linalg.norm(a - centre, axis=1), levels)
    inside = np.linalg.norm(b - centre, axis=1)[:, None] <= radii
    to_real = NearestNeighbors(n_neighbors=2).fit(a).kneighbors(a)[0][:, 1]
    to_drawn, nearest = (x[:, 0] for x in NearestNeighbors(n_neighbors=1).fit(b).kneighbors(a))
    depth = np.linalg.norm(b[nearest] - b.mean(axis=0), axis=1)
    covered = (to_drawn <= to_real)[:, None] & (depth[:, None] <= np.quantile(depth, levels))
    curves = inside.mean(axis=0), covered.mean(axis=0)
    precision, recall = (1 - np.abs(levels - c).sum() / levels.sum() for c in curves)
    return Coverage(float(precision), float(recall))


def two_sample_score(
    real: Any, drawn: Any, classifier: Any = "boosting", random_state: int | None = None
) -> float:
    """Return how hard a classifier finds it to tell drawn rows from real ones: 1 is impossible.

    The score, known as C2ST or detection, is 1 - (2 AUC - 1), by stratified 3-fold
    cross-validation; folds with an AUC under 0.5 count as 0.5.

    Parameters
    ----------
    real, drawn : DataFrame of shape (n, d) and (m, d)
        Categories become dummies, missing numbers the mean of `real`.
    classifier : {"boosting", "logistic"} or estimator, default="boosting"
        scikit-learn's HistGradientBoostingClassifier, or a logistic regression on standardised
        columns, or any classifier with `predict_proba`, such as xgboost's.
    random_state : int or None, default=None
        Seed of folds and of boosting.

    Returns
    -------
    score : float

    Raises
    ------
    ValueError
        For fewer than 3 rows of a table, which three folds cannot share.

    References
    ----------
    Lopez-Paz, Oquab. Revisiting Classifier Two-Sample Tests. ICLR 2017.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> real, drawn = (pd.DataFrame(rng.normal(size=(300, 2))) for _ in range(2))
    >>> two_sample_score(real, drawn + 5, "logistic", random_state=0) < 0.01
    True
    """
    if isinstance(classifier, str):
        if classifier not in _CLASSIFIERS:
            raise ValueError(f"classifier must be one of {list(_CLASSIFIERS)}, not {classifier!r}.")
        classifier = _CLASSIFIERS[classifier](random_state)
    refuse_unusable(real=real, drawn=drawn)
    a, b = encode_rows(real, real, drawn)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=random_state)
    is_drawn = np.repeat([0, 1], [len(a), len(b)])
    aucs = cross_val_score(classifier, np.vstack([a, b]), is_drawn, cv=folds, scoring="roc_auc")
    return float(np.mean(2 - 2 * np.maximum(aucs, 0.5)))


def refuse_unusable(**tables: Any) -> None:
    """Raise one error that names tables of too few rows to be told from others, and infinities."""
    frames = {name: as_pandas(table) for name, table in tables.items()}
    few = [f"{name} has {len(frame)}" for name, frame in frames.items() if len(frame) < N_FOLDS]
    if few:
        raise ValueError(f"Each table needs at least {N_FOLDS} rows, but {', '.join(few)}.")
    infinite = [
        f"{table}'s column {frame.columns[j]!r} ({n} cells)"
        for table, frame in frames.items()
        for j in range(frame.shape[1])
        if (n := _n_infinite(frame.iloc[:, j]))
    ]
    if infinite:
        raise ValueError(f"Infinite numbers, to be replaced, in {', '.join(infinite)}.")


def _n_infinite(column: pd.Series) -> int:
    if not is_number(column) or column.dtype.kind in "mM":
        return 0
    return int(np.isinf(column.to_numpy(dtype=float, na_value=np.nan)).sum())


def learning_efficiency(
    train: Any, test: Any, target: Any, random_state: int | None = None
) -> float:
    """Return how well a model that learnt from one table predicts a column of another.

    Parameters
    ----------
    train : DataFrame of shape (n, d)
        Drawn rows; or real ones, for the ceiling.
    test : DataFrame of shape (m, d)
        Real rows that no generator has seen.
    target : Hashable
        Name of the column to predict.
    random_state : int or None, default=None
        Seed of boosting.

    Returns
    -------
    score : float
        Of scikit-learn's histogram gradient boosting: the ROC AUC for a category (one against
        the rest where there are more than two), R^2 for a number.

    Raises
    ------
    ValueError
        If `target` is not a column, is known in no row, or has fewer than two levels in common.

    Examples
    --------
    >>> from sklearn_cvae.datasets import load_penguins
    >>> penguins = load_penguins().dropna()
    >>> float(learning_efficiency(penguins[::2], penguins[1::2], "species", 0)) > 0.98
    True
    """
    train, test = _alike(train, test)
    if target not in train.columns:
        raise ValueError(f"target {target!r} is not a column; they are {list(train.columns)!r}.")
    known = [table[table[target].notna()] for table in (train, test)]
    if not all(map(len, known)):
        counts = " and ".join(str(len(table)) for table in known)
        raise ValueError(f"{target!r} is known in {counts} rows to train and to test by.")
    train, test = known
    features = train.columns.drop(target)
    a, b = encode_rows(test[features], train[features], test[features])
    if is_number(test[target]):
        regressor = HistGradientBoostingRegressor(random_state=random_state)
        fitted = regressor.fit(a, numbers_of(train[target]))
        return float(r2_score(numbers_of(test[target]), fitted.predict(b)))
    return _auc_of_classes(a, train[target], b, test[target], random_state)


def _auc_of_classes(
    a: Array, y: pd.Series, b: Array, truth: pd.Series, random_state: int | None
) -> float:
    labels, true_labels = (column.astype(str).to_numpy() for column in (y, truth))
    known = np.isin(true_labels, labels)
    classes = np.unique(true_labels[known])
    if len(classes) < 2:
        raise ValueError(
            f"the tables' targets have the levels {classes.tolist()} in common: too few."
        )
    rows = np.isin(labels, classes)
    model = HistGradientBoostingClassifier(random_state=random_state).fit(a[rows], labels[rows])
    probs = model.predict_proba(b[known])
    if len(classes) == 2:
        return float(roc_auc_score(true_labels[known] == classes[1], probs[:, 1]))
    return float(roc_auc_score(true_labels[known], probs, multi_class="ovr", labels=classes))


class Privacy(NamedTuple):
    """Whether drawn rows are nearer to the rows that were learnt from than to others.

    Parameters
    ----------
    exact_copies : float
        Share of the drawn rows that equal a training row in every cell.
    copies_of_holdout : float
        The same for held-out rows: what chance alone gives, scaled to as many rows.
    closer_to_train : float
        Share of the drawn rows whose nearest training row is nearer than their nearest held-out
        row, among as many of either; ties count half. 0.5 is what copying nothing gives.
    """

    exact_copies: float
    copies_of_holdout: float
    closer_to_train: float


def copying(train: Any, drawn: Any, holdout: Any, random_state: int | None = None) -> Privacy:
    """Compare drawn rows' distances to training rows with those to a holdout.

    Parameters
    ----------
    train, drawn, holdout : DataFrame
        The larger of `train` and `holdout` is cut to the other's length at random, so that
        neither has nearer rows for being larger.
    random_state : int or None, default=None
        Seed of that cut.

    Returns
    -------
    privacy : Privacy

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> train, holdout = (pd.DataFrame(rng.normal(size=(200, 2))) for _ in range(2))
    >>> copying(train, train, holdout).exact_copies
    1.0
    """
    train, drawn = _alike(train, drawn)
    train, holdout = _alike(train, holdout)
    n = min(len(train), len(holdout))
    rng = np.random.default_rng(random_state)
    parts = [table.iloc[rng.permutation(len(table))[:n]] for table in (train, holdout)]
    a, b, x = encode_rows(train, *parts, drawn)
    near_a, near_b = (NearestNeighbors(n_neighbors=1).fit(y).kneighbors(x)[0][:, 0] for y in (a, b))
    closer = np.where(np.isclose(near_a, near_b, rtol=1e-9, atol=1e-9), 0.5, near_a < near_b)
    copies = [_share_in(drawn, table) for table in (train, holdout)]
    return Privacy(copies[0], copies[1] * len(train) / len(holdout), float(closer.mean()))


class Membership(NamedTuple):
    """How well a score tells training rows from others.

    Parameters
    ----------
    auc : float
        0.5 is not at all.
    tpr_at_fpr : float
        Share of the training rows that are found when 1 % of the others are taken for them.
    """

    auc: float
    tpr_at_fpr: float


def membership_attack(train_scores: Any, holdout_scores: Any) -> Membership:
    """Return how well rows that a model has learnt from are known by their likelihood.

    Parameters
    ----------
    train_scores, holdout_scores : array-like of shape (n,) and (m,)
        `score_samples` of rows that were fitted and of rows that were not.

    Returns
    -------
    membership : Membership

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. IEEE S&P 2022 (true
    positives at a low false-positive rate).

    Examples
    --------
    >>> membership_attack([3.0, 4.0, 5.0], [0.0, 1.0, 2.0])
    Membership(auc=1.0, tpr_at_fpr=1.0)
    """
    inside, outside = np.asarray(train_scores, float), np.asarray(holdout_scores, float)
    ends = np.finfo(float)
    inside, outside = (np.clip(x, ends.min, ends.max) for x in (inside, outside))
    is_member = np.repeat([1, 0], [len(inside), len(outside)])
    auc = roc_auc_score(is_member, np.r_[inside, outside])
    threshold = np.quantile(outside, 0.99, method="higher")
    return Membership(float(auc), float(np.mean(inside > threshold)))


def encode_rows(reference: Any, *tables: Any) -> list[Array]:
    """Return tables as matrices: numbers scaled to 0..1 over `reference`, categories as dummies.

    Parameters
    ----------
    reference : DataFrame of shape (n, d)
        Sets ranges, means that missing numbers get, and, with the tables, the levels.
    *tables : DataFrame of shape (m, d)

    Returns
    -------
    matrices : list of ndarray of shape (m, n_features), float64
        A missing category is 0 in all its dummies, and so is one beyond the 500 commonest.

    Examples
    --------
    >>> table = pd.DataFrame({"a": [0.0, 5.0, 10.0], "b": ["x", "y", "x"]})
    >>> encode_rows(table, table)[0].tolist()
    [[0.0, 1.0, 0.0], [0.5, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    frames = [_alike(reference, table)[1] for table in tables]
    reference = as_pandas(reference)
    blocks: list[list[Array]] = [[] for _ in frames]
    for name in reference.columns:
        columns = [frame[name] for frame in frames]
        for block, matrix in zip(blocks, _encode_column(reference[name], columns), strict=True):
            block.append(matrix)
    return [np.hstack(block) for block in blocks]


def _encode_column(reference: pd.Series, columns: list[pd.Series]) -> list[Array]:
    if is_number(reference):
        known = numbers_of(reference.dropna())
        low, mean = (known.min(), known.mean()) if len(known) else (0.0, 0.0)
        width = np.ptp(known) if len(known) and np.ptp(known) > 0 else 1.0
        numbers = [np.where(c.isna(), mean, numbers_of(c)) for c in columns]
        return [((x - low) / width)[:, None] for x in numbers]
    texts = [c.astype(str).where(c.notna(), None).astype(object) for c in [reference, *columns]]
    levels = pd.concat(texts).value_counts().index[:MAX_LEVELS].sort_values().to_numpy(dtype=object)
    return [(t.to_numpy(dtype=object)[:, None] == levels).astype(float) for t in texts[1:]]


_CLASSIFIERS: dict[str, Callable[[int | None], Any]] = {
    "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    "logistic": lambda seed: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed)
    ),
}


def _alike(real: Any, drawn: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both as pandas frames, the columns of `drawn` in the order of `real`."""
    real, drawn = as_pandas(real), as_pandas(drawn)
    twice = real.columns[real.columns.duplicated()].union(drawn.columns[drawn.columns.duplicated()])
    if len(twice):
        raise ValueError(f"Duplicate column names {list(twice)!r}; rename them.")
    differ = set(real.columns) ^ set(drawn.columns)
    if differ:
        names = sorted(map(str, differ))
        raise ValueError(f"These columns are in one table only: {names}. Pass the same columns.")
    if len(real) == 0 or len(drawn) == 0:
        raise ValueError(f"The tables have {len(real)} and {len(drawn)} rows; none may be empty.")
    drawn = drawn[list(real.columns)]
    texts = [name for name in real.columns if is_number(real[name]) and _has_text(drawn[name])]
    if texts:
        raise ValueError(f"These columns are numbers or times in one table only: {texts!r}.")
    return real, drawn


def _has_text(column: pd.Series) -> bool:
    return not is_number(column) and any(isinstance(value, str) for value in column)


def is_number(column: pd.Series) -> bool:
    """Return whether a column is of numbers or times."""
    return column.dtype.kind in "iufmM" or (
        pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    )


def numbers_of(column: pd.Series) -> Array:
    """Return numbers, or times as nanoseconds, as float64, NaN where missing."""
    if column.dtype.kind not in "mM":
        return pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    ticks = column.astype("int64").to_numpy(dtype=float)
    tick = np.timedelta64(1, column.dt.unit) / np.timedelta64(1, "ns")
    return np.where(column.isna(), np.nan, ticks * tick)


def _overlap(a: pd.Series, b: pd.Series) -> float:
    shares = pd.concat([c.astype(str).value_counts(normalize=True) for c in (a, b)], axis=1)
    return 1 - float(shares.fillna(0).diff(axis=1).iloc[:, 1].abs().sum()) / 2


def _shared_codes(real: pd.Series, drawn: pd.Series, n_bins: int) -> tuple[Array, Array, int]:
    """Return both columns as codes 0, 1, ... of the same bins or levels, -1 where missing."""
    if not is_number(real):
        codes = pd.factorize(pd.concat([real, drawn]).astype(object), use_na_sentinel=True)[0]
        return codes[: len(real)], codes[len(real) :], int(codes.max()) + 1
    a, b = numbers_of(real), numbers_of(drawn)
    edges = np.histogram_bin_edges(a[~np.isnan(a)], bins=n_bins)
    cut = [np.where(np.isnan(x), -1, np.searchsorted(edges[1:-1], x, side="right")) for x in (a, b)]
    return cut[0], cut[1], n_bins


def _joint_overlap(first: tuple[Array, Array, int], second: tuple[Array, Array, int]) -> float:
    """Return 1 minus the total variation distance of two tables' joint counts of two columns."""
    size = first[2] * second[2]
    counts = []
    for x, y in zip(first[:2], second[:2], strict=True):
        known = (x >= 0) & (y >= 0)
        cells = np.bincount(x[known] * second[2] + y[known], minlength=size)
        counts.append(cells / max(known.sum(), 1))
    return 1 - float(np.abs(counts[0] - counts[1]).sum()) / 2


def _correlations(table: pd.DataFrame, names: list[Any], numeric: list[bool]) -> Array:
    """Return Pearson correlations of numeric columns, 0 for constant and other columns."""
    columns = [
        numbers_of(table[n]) if is_number else np.zeros(len(table))
        for n, is_number in zip(names, numeric, strict=True)
    ]
    matrix: Array = pd.DataFrame(np.column_stack(columns)).corr().to_numpy()
    return np.nan_to_num(matrix)


def _share_in(drawn: pd.DataFrame, table: pd.DataFrame) -> float:
    hashes = []
    for rows in (drawn, table):
        cells = [
            numbers_of(rows[name]) if is_number(table[name]) else rows[name].to_numpy(dtype=object)
            for name in table.columns
        ]
        hashes.append(pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(cells))), index=False))
    return float(hashes[0].isin(hashes[1]).mean())
