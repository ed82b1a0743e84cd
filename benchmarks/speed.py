"""Where time and memory go, as ratios against bare PyTorch on the same network and batches.

    python benchmarks/speed.py

- training: one epoch of `fit` against a hand-written loop over the same module, batches,
  optimisers and objective, and against the same net on skorch's default data path;
- data path: one epoch's batches alone, by our iterator and by skorch's default;
- transform: 100,000 rows against one bare call of the encoder in the same chunks;
- memory: growth of resident memory during `fit`, at its peak, against the table in float32;
- scaling: seconds per row from 10,000 to 1,000,000 rows.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sklearn_cvae import ConditionalVAE, inference
from sklearn_cvae.optimizers import Muon
from sklearn_cvae.training import (
    MUON_RATIO,
    Batch,
    CVAENet,
    SlicingIterator,
    TableDataset,
    one_cycle,
    split_parameters,
)

RESULTS = Path(__file__).parent / "results"
BATCH = 512


def make_table(n_rows: int, n_columns: int = 20) -> np.ndarray:
    """Return correlated numbers, a tenth of them missing."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 4), dtype=np.float32) @ rng.standard_normal(
        (4, n_columns), dtype=np.float32
    )
    X += 0.5 * rng.standard_normal(X.shape, dtype=np.float32)
    X[rng.random(X.shape, dtype=np.float32) < 0.1] = np.nan
    return X


def model_of(hidden: int, **params: object) -> ConditionalVAE:
    settings = {"hidden_layer_sizes": (hidden, hidden), "batch_size": BATCH, "random_state": 0}
    return ConditionalVAE(**{**settings, "early_stopping": False, **params})


def bare_epoch(module: nn.Module, data: TableDataset, n_epochs: int) -> None:
    """The training loop as one would write it by hand."""
    matrices, outputs, others = split_parameters(module)
    adam = torch.optim.AdamW([*outputs, *others], lr=4.5e-3, betas=(0.9, 0.99), weight_decay=0.0)
    muon = Muon(matrices, lr=4.5e-3 * MUON_RATIO, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    values, observed, weight = data.table
    n_steps, step = n_epochs * -(-len(data) // BATCH), 0
    module.train()
    for _ in range(n_epochs):
        order = torch.randperm(len(data), generator=generator)
        for rows in order.split(BATCH):
            for group in (*adam.param_groups, *muon.param_groups):
                group["lr"] = group.setdefault("base", group["lr"]) * one_cycle(step / n_steps)
            adam.zero_grad()
            muon.zero_grad()
            beta = module.objective.weight(step / n_steps)
            losses = module(values[rows], observed[rows], beta, generator)
            loss = (losses * weight[rows]).sum() / weight[rows].sum()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            adam.step()
            muon.step()
            loss.item()
            step += 1


class DefaultData(CVAENet):
    """The same net fed by skorch's default path: its Dataset and torch's DataLoader."""

    def train_step(self, batch: object, **fit_params: object) -> dict[str, torch.Tensor]:
        return super().train_step((Batch(**batch[0]), None), **fit_params)


def make_net(kind: type[CVAENet], module: nn.Module, n_rows: int, **params: object) -> CVAENet:
    return kind(
        module,
        criterion=nn.Module,
        n_steps=-(-n_rows // BATCH),
        max_epochs=1,
        batch_size=BATCH,
        lr=4.5e-3,
        train_split=None,
        callbacks__print_log=None,
        **params,
    )


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def training_ratios(X: np.ndarray, hidden: int, repeats: int) -> dict[str, float]:
    """Time epochs of ours, a bare loop and default skorch in turn; return medians and ratios."""
    fitted = model_of(hidden, max_iter=1).fit(X)
    module, table = fitted.net_.module_, fitted._table
    values = table.encode(table.read(X))
    weight = np.ones(len(X), np.float32)
    observed = ~np.isnan(values)
    values = np.nan_to_num(values)
    data, _ = TableDataset.split(values, observed, weight, np.arange(len(X)), 0, "cpu")
    arrays = {name: part.numpy() for name, part in data.table._asdict().items()}
    shuffled = {"iterator_train": SlicingIterator, "iterator_train__generator": torch.Generator()}
    ours, bare, default = [], [], []
    bare_epoch(module, data, 1)
    for _ in range(repeats):
        net = make_net(CVAENet, module, len(data), **shuffled)
        ours.append(seconds(lambda net=net: net.fit(data)))
        bare.append(seconds(lambda: bare_epoch(module, data, 1)))
        net = make_net(DefaultData, module, len(data), iterator_train__shuffle=True)
        default.append(seconds(lambda net=net: net.fit(arrays)))
    ratio_bare = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    ratio_default = statistics.median(a / b for a, b in zip(ours, default, strict=True))
    return {
        "hidden": hidden,
        "epoch, s": statistics.median(ours),
        "bare loop, s": statistics.median(bare),
        "default skorch, s": statistics.median(default),
        "ours / bare": ratio_bare,
        "ours / default skorch": ratio_default,
    }


def data_path_ratio(X: np.ndarray, repeats: int) -> dict[str, float]:
    """Time an epoch's batches without the network."""
    weight = np.ones(len(X), np.float32)
    table = np.nan_to_num(X), ~np.isnan(X), weight
    data, _ = TableDataset.split(*table, np.arange(len(X)), 0, "cpu")
    arrays = {name: part.numpy() for name, part in data.table._asdict().items()}
    net = make_net(DefaultData, nn.Linear(1, 1), len(X), iterator_train__shuffle=True).initialize()
    default = net.get_iterator(net.get_dataset(arrays), training=True)
    ours = SlicingIterator(data, BATCH, torch.Generator())
    mine = statistics.median(seconds(lambda: list(ours)) for _ in range(repeats))
    theirs = statistics.median(seconds(lambda: list(default)) for _ in range(repeats))
    return {"ours, s": mine, "default skorch, s": theirs, "ours / default skorch": mine / theirs}


def transform_ratios(X: np.ndarray, hidden: int, repeats: int) -> dict[str, float]:
    """Time encoding, latents, and bare encoder calls in the same chunks."""
    model = model_of(hidden, max_iter=1).fit(X[:5000])
    module, table = model.net_.module_, model._table
    cells = table.cells(table.encode(table.read(X)))
    n = len(X) // inference.CHUNK * inference.CHUNK
    chunks = [
        tuple(torch.from_numpy(np.ascontiguousarray(p[i : i + inference.CHUNK])) for p in cells)
        for i in range(0, n, inference.CHUNK)
    ]

    def bare() -> None:
        with torch.inference_mode():
            for values, visible, given in chunks:
                inputs = module.inputs(values)
                module.posterior(inputs, visible, module.condition(inputs, given))

    rows = []
    for _ in range(repeats):
        encode = seconds(lambda: table.cells(table.encode(table.read(X))))
        latents = seconds(lambda: inference.latent_means(module, cells))
        rows.append((seconds(lambda: model.transform(X)), latents, encode, seconds(bare)))
    whole, latents, encode, call = map(statistics.median, zip(*rows, strict=True))
    return {
        "hidden": hidden,
        "transform, s": whole,
        "bare calls, s": call,
        "network part / bare": latents / call,
        "encoding / bare": encode / call,
    }


def resident() -> int:
    """Return this process's resident memory in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_of_fit(n_rows: int) -> None:
    """Print the growth of resident memory during `fit`, at its peak, and the table's size."""
    model_of(64, max_iter=1).fit(make_table(1000))
    X = make_table(n_rows)
    before, peaks, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peaks[0] = max(peaks[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model_of(64, max_iter=1).fit(X)
    done.set()
    watcher.join()
    print(peaks[0] - before, X.nbytes)


def memory_ratio(n_rows: int) -> dict[str, float]:
    """Run `memory_of_fit` in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.speed import *; memory_of_fit({n_rows})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    growth, table = (float(number) / 2**20 for number in run.stdout.split())
    return {
        "rows": n_rows,
        "table in float32, MiB": table,
        "growth, MiB": growth,
        "growth / table": growth / table,
    }


def scaling(sizes: list[int]) -> list[dict[str, float]]:
    """Seconds of an epoch, and of answers, per 10,000 rows."""
    rows = []
    for n in sizes:
        X = make_table(n)
        model = model_of(64, max_iter=1)
        fit = seconds(lambda m=model, X=X: m.fit(X))
        transform = seconds(lambda m=model, X=X: m.transform(X))
        rows.append(
            {
                "rows": n,
                "fit, one epoch, s / 10,000 rows": fit / n * 1e4,
                "transform, s / 10,000 rows": transform / n * 1e4,
            }
        )
    return rows


def table_of(rows: list[dict[str, float]]) -> str:
    import pandas as pd

    return pd.DataFrame(rows).round(3).to_markdown(index=False)


def main(argv: list[str] | None = None) -> str:
    """Run everything; write `speed.md`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    X, wide = make_table(args.rows), make_table(2 * args.rows)
    parts = [
        ("Training", [training_ratios(X, h, args.repeats) for h in args.hidden]),
        ("Data path", [data_path_ratio(X, args.repeats)]),
        ("Transform", [transform_ratios(wide, h, args.repeats) for h in args.hidden]),
        ("Memory of fit", [memory_ratio(n) for n in args.sizes]),
        ("Scaling", scaling(args.sizes)),
    ]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    about = f"{platform.machine()}, {versions}, 1 thread"
    text = f"# Speed\n\n{__doc__}\n{about}; {args.rows} x 20, batches of {BATCH}.\n"
    for title, rows in parts:
        text += f"\n## {title}\n\n{table_of(rows)}\n"
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "speed.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
