"""Run one imputer or generator in its own environment: `peer_worker.py METHOD in.npz out.npz`.

In: `train` and `test` (floats, NaN where missing; a categorical column holds codes of its levels),
`is_categorical`, `seed`, `n_draws`. Out: `train` and `test` completed, `draws` of shape
(n_draws, n_rows, n_columns) of the train table, `fit_seconds`, `impute_seconds`. A generator takes
`train`, `is_categorical`, `seed` and `target` (the position of a categorical target, or -1), and
gives `drawn`, as many rows, `fit_seconds` and `sample_seconds`. Nothing of this repository is
imported here.
"""

import os
import sys
import time
import warnings

import numpy as np
import pandas as pd


def miceforest(train, test, seed, n_draws):
    """Five chains (one per draw where more are asked for) of five iterations.

    Its default way of matching fails where a rare level gets no probability at all; then levels
    are drawn by their probabilities, its "fast" way.
    """
    from miceforest import ImputedData

    count_iterations(ImputedData)
    train, test = (as_categories(table, like=train) for table in (train, test))
    try:
        return run_miceforest(train, test, seed, n_draws, "normal")
    except ValueError:
        levels = train.select_dtypes("category").columns
        return run_miceforest(train, test, seed, n_draws, dict.fromkeys(levels, "fast"))


def run_miceforest(train, test, seed, n_draws, strategy):
    """Fit, impute and time it."""
    from miceforest import ImputationKernel

    def fit(n, random_state):
        kernel = ImputationKernel(
            train, num_datasets=n, mean_match_strategy=strategy, random_state=random_state
        )
        kernel.mice(5)
        return kernel

    start = time.perf_counter()
    kernel = fit(5, seed)
    fitted = time.perf_counter()
    tables = [kernel.complete_data(i) for i in range(5)]
    new = kernel.impute_new_data(test, random_state=seed)
    test_tables = [new.complete_data(i) for i in range(5)]
    imputed = time.perf_counter()
    if n_draws > 5:
        further = fit(n_draws - 5, seed + 1)
        tables += [further.complete_data(i) for i in range(n_draws - 5)]
    point = combine(tables[:5]), combine(test_tables)
    return *point, tables[:n_draws], fitted - start, imputed - fitted


def hyperimpute(train, test, seed, n_draws):
    """Its defaults. It cannot draw.

    Its `transform` always refits: the test table is imputed by models of the test rows alone,
    and what was learnt from the train table is not used. It has one processor, as others have one
    thread: on two, where its models start threads and processes of their own, some tables take many
    times as long. By default it takes categories of four levels or more for numbers, and says them
    badly; its `class_threshold` would change that.
    """
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[os.getpid() % len(processors)]})
    from hyperimpute.plugins.imputers import Imputers

    start = time.perf_counter()
    imputer = Imputers().get("hyperimpute", random_state=seed)
    completed = imputer.fit_transform(train.copy())
    fitted = time.perf_counter()
    completed_test = imputer.transform(test.copy())
    completed.columns = completed_test.columns = train.columns
    refuse_means(train, completed)
    return completed, completed_test, [], fitted - start, time.perf_counter() - fitted


def tabularargn(train, test, seed, n_draws):
    """Its defaults without the clipping of rare values; point imputations from 20 draws."""
    from mostlyai.engine import TabularARGN

    def impute(table, n):
        """Return n draws, in one call: it takes a pass of the model per pattern of holes."""
        completed = model.impute(pd.concat([table] * n, ignore_index=True))
        return [completed.iloc[i * len(table) :][: len(table)] for i in range(n)]

    start = time.perf_counter()
    model = TabularARGN(max_training_time=120, value_protection=False, random_state=seed)
    with model.fit(train):
        fitted = time.perf_counter()
        tables, test_tables = impute(train, 20), impute(test, 20)
        imputed = time.perf_counter()
        tables += impute(train, n_draws - 20) if n_draws > 20 else []
    point = combine(tables[:20]), combine(test_tables)
    return *point, tables[:n_draws], fitted - start, imputed - fitted


def ctgan_model(name, train, seed):
    """Fit CTGAN or TVAE at its defaults (300 epochs), draw as many rows."""
    import ctgan
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)
    start = time.perf_counter()
    model = getattr(ctgan, name)(enable_gpu=False) if name == "TVAE" else ctgan.CTGAN()
    model.fit(train, list(train.select_dtypes(object).columns))
    fitted = time.perf_counter()
    drawn = model.sample(len(train))
    return drawn[train.columns], fitted - start, time.perf_counter() - fitted


def tvae(train, seed, target):
    """ctgan's TVAE."""
    return ctgan_model("TVAE", train, seed)


def ctgan(train, seed, target):
    """ctgan's CTGAN."""
    return ctgan_model("CTGAN", train, seed)


def argn(train, seed, target):
    """TabularARGN at its defaults, without the clipping of rare values."""
    from mostlyai.engine import TabularARGN

    start = time.perf_counter()
    model = TabularARGN(value_protection=False, random_state=seed)
    with model.fit(train):
        fitted = time.perf_counter()
        drawn = model.sample(n_samples=len(train))
        sampled = time.perf_counter()
    return drawn[train.columns], fitted - start, sampled - fitted


def smote(train, seed, target):
    """SMOTE's interpolations alone: as many new rows of each class as there are."""
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    if target < 0:
        raise ValueError("SMOTE needs a class")
    start = time.perf_counter()
    y = train.iloc[:, target]
    X = train.drop(columns=train.columns[target])
    counts = y.value_counts()
    y, X = y[y.map(counts) > 5], X[y.map(counts) > 5]
    asked = {
        "sampling_strategy": {k: 2 * n for k, n in y.value_counts().items()},
        "random_state": seed,
    }
    strings = X.select_dtypes(object).columns
    kinds = SMOTE if len(strings) == 0 else SMOTEN if len(strings) == X.shape[1] else SMOTENC
    more = {"categorical_features": list(strings)} if kinds is SMOTENC else {}
    all_X, all_y = kinds(**asked, **more).fit_resample(X, y)
    drawn = all_X.assign(**{train.columns[target]: all_y}).iloc[len(X) :]
    return drawn[train.columns], 0.0, time.perf_counter() - start


GENERATORS = {"tvae": tvae, "ctgan": ctgan, "argn": argn, "smote": smote}
METHODS = {"miceforest": miceforest, "hyperimpute": hyperimpute, "tabularargn": tabularargn}


def as_categories(table, like):
    """Make strings a categorical dtype of the levels that `like` holds."""
    strings = table.select_dtypes(object).columns
    levels = {name: sorted(like[name].dropna().unique()) for name in strings}
    return table.astype({name: pd.CategoricalDtype(levels[name]) for name in strings})


def combine(tables):
    """Return the mean of numbers and the most frequent of strings over tables."""
    columns = {}
    for name in tables[0].columns:
        cells = pd.DataFrame([table[name].to_numpy() for table in tables]).T
        number = pd.api.types.is_numeric_dtype(tables[0][name])
        strings = cells.astype(object).mode(axis=1)[0] if not number else None
        columns[name] = cells.astype(float).mean(axis=1) if number else strings
    return pd.DataFrame(columns)


def count_iterations(imputed_data):
    """Make new data advance from one iteration to the next.

    miceforest 6.0.5 forgets to count the iterations of `impute_new_data`: every iteration starts
    from the random initial values, and `complete_data` returns these.
    """
    set_item = imputed_data.__setitem__

    def set_and_count(self, key, item):
        set_item(self, key, item)
        if type(self) is imputed_data:
            variable, iteration, dataset = key
            self.iteration_tab[variable, dataset] = iteration

    imputed_data.__setitem__ = set_and_count


def refuse_means(table, completed):
    """Raise where every missing number was filled by its column's mean."""
    numbers = table.select_dtypes("number")
    errors = (completed[numbers.columns].astype(float) - numbers.mean()).where(numbers.isna())
    if np.nanmax(np.abs(errors / numbers.std()).to_numpy()) < 1e-6:
        raise RuntimeError("the peer filled every number by its column's mean")


def decode(matrix, is_categorical):
    """Return a DataFrame of floats, and of strings "level0", "level1", ... or NaN."""
    columns = {}
    for j, categorical in enumerate(is_categorical):
        cells = pd.Series(matrix[:, j])
        strings = [np.nan if np.isnan(code) else f"level{int(code)}" for code in cells]
        columns[f"c{j}"] = pd.Series(strings, dtype=object) if categorical else cells
    return pd.DataFrame(columns)


def encode(table, is_categorical):
    """Undo `decode`; what is no level becomes NaN."""
    columns = []
    for name, categorical in zip(table.columns, is_categorical, strict=True):
        cells = table[name]
        if categorical:
            cells = cells.astype(object).astype(str).str.extract(r"^level(\d+)$")[0]
        columns.append(cells.astype(float).to_numpy())
    return np.column_stack(columns)


def main():
    warnings.simplefilter("ignore")
    method, source, target = sys.argv[1:]
    given = np.load(source)
    flags = given["is_categorical"]
    if method in GENERATORS:
        train = decode(given["train"], flags)
        made = GENERATORS[method](train, int(given["seed"]), int(given["target"]))
        drawn, fit_seconds, sample_seconds = made
        times = {"fit_seconds": fit_seconds, "sample_seconds": sample_seconds}
        np.savez(target, drawn=encode(drawn, flags), **times)
        return
    tables = [decode(given[part], flags) for part in ("train", "test")]
    train, test, draws, fit_seconds, impute_seconds = METHODS[method](
        *tables, int(given["seed"]), int(given["n_draws"])
    )
    np.savez(
        target,
        train=encode(train, flags),
        test=encode(test, flags),
        draws=np.array([encode(drawn, flags) for drawn in draws]).reshape(-1, *train.shape),
        fit_seconds=fit_seconds,
        impute_seconds=impute_seconds,
    )


if __name__ == "__main__":
    main()
