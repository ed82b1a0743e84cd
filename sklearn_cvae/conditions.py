"""What a user asks draws to be like: values, ranges and sets of any columns."""

from __future__ import annotations

import math
import numbers as number_types
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from sklearn_cvae.codecs import Array, Choices, LevelCodec
from sklearn_cvae.columns import Column, objects_of, refuse_other_frames
from sklearn_cvae.table import (
    TableCodec,
    column_list,
    column_names,
    duplicates,
    is_frame,
    position_of,
)
from sklearn_cvae.validation import check_count, draw_seed, random_source


class Asked(NamedTuple):
    """Conditions as numbers of the table's columns.

    Parameters
    ----------
    numbers : ndarray of shape (n_rows, n_columns)
        One row per row of the conditions; NaN where nothing, or a set or range, is asked for.
    choices : dict of int to Choices
        What the cells of a column may be, by its position, in all rows.
    """

    numbers: Array
    choices: dict[int, Choices]


class Drawing(NamedTuple):
    """What rows to draw, and how.

    Parameters
    ----------
    asked : Asked
    n_each : int
        Draws for each row of the conditions.
    seed : int
    temperature : float
    n_sweeps : int
    """

    asked: Asked
    n_each: int
    seed: int
    temperature: float
    n_sweeps: int

    @property
    def n_rows(self) -> int:
        return len(self.asked.numbers) * self.n_each

    def given(self, rows: slice) -> Array:
        """Return the conditions of some of the drawn rows."""
        return self.asked.numbers[np.arange(rows.start, rows.stop) // self.n_each]

    def blocks(self, size: int, *, verbose: bool) -> Iterator[slice]:
        """Cut the rows into blocks, under a progress bar if `verbose`."""
        with tqdm(total=self.n_rows, desc="sample", unit="row", disable=not verbose) as bar:
            for start in range(0, self.n_rows, size):
                rows = slice(start, min(start + size, self.n_rows))
                yield rows
                bar.update(rows.stop - rows.start)


def read_drawing(
    table: TableCodec,
    conditions: Any,
    n_samples: int,
    random_state: Any,
    temperature: float,
    n_sweeps: int,
) -> Drawing:
    """Check what is asked of draws, before any is made; see `ConditionalVAE.sample`."""
    check_count("n_samples", n_samples, 1)
    check_count("n_sweeps", n_sweeps, 0)
    if not isinstance(temperature, number_types.Real) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}.")
    asked = read_conditions(table, conditions)
    seed = draw_seed(random_source(random_state))
    return Drawing(asked, int(n_samples), seed, float(temperature), int(n_sweeps))


def read_conditions(table: TableCodec, conditions: Any, *, only_conditions: bool = False) -> Asked:
    """Read what draws are asked to be like.

    Parameters
    ----------
    table : TableCodec
    conditions : dict, DataFrame or None
        See `ConditionalVAE.sample`.
    only_conditions : bool, default=False
        Whether other columns than the condition columns, sets and ranges are refused.

    Raises
    ------
    ValueError
        With one message that lists every problem.
    """
    asked, n_rows = _columns_asked(conditions)
    taken: dict[int, Hashable] = {}
    numbers = np.full((n_rows, len(table.columns)), np.nan)
    choices: dict[int, Choices] = {}
    problems: list[str] = []
    for name, values in asked.items():
        j = position_of(table.names, name)
        if j is None:
            problems.append(f"{name!r} is not a column; the columns are {table.names!r}")
        elif taken.setdefault(j, name) is not name:
            problems.append(f"{name!r} and {taken[j]!r} are the same column; name it once")
        elif only_conditions and j not in table.conditions:
            problems.append(f"{name!r} is not a condition; fit with condition_features=[{name!r}]")
        elif only_conditions and not isinstance(values, _Cells):
            problems.append(f"{name!r} takes one value here, not a set or a range")
        elif isinstance(values, _Cells):
            numbers[:, j], problem = table.columns[j].read_given(values)
            problems += problem
        else:
            among, problem = _read_choices(table, j, values)
            problems += problem
            choices |= {} if among is None else {j: among}
    if problems:
        hint = ""
        if "target" in asked and table.target is None:
            hint = "\n- to condition on y, fit with condition_on_target=True and y"
        raise ValueError("These conditions cannot be used:\n- " + "\n- ".join(problems) + hint)
    return Asked(numbers, choices)


class _Cells(list[Any]):
    """One cell for each row of the conditions, unlike a tuple (a range) or a list (a set)."""


def _columns_asked(conditions: Any) -> tuple[dict[Hashable, Any], int]:
    """Return what is asked of each column, and the number of rows of the conditions."""
    if conditions is None:
        return {}, 1
    refuse_other_frames(conditions)
    if is_frame(conditions):
        names, series = column_names(conditions), column_list(conditions)
        twice = duplicates(names)
        if twice:
            raise ValueError(f"conditions has duplicate column names {twice}; name each once.")
        cells = [_Cells(objects_of(s).tolist()) for s in series]
        return dict(zip(names, cells, strict=True)), len(conditions)
    if not isinstance(conditions, dict):
        raise ValueError(
            "conditions must be a dict of what each column is to be, or a dataframe with one row "
            f"per draw, not {type(conditions).__name__!r}."
        )
    return {k: v if _is_several(v) else _Cells([v]) for k, v in conditions.items()}, 1


def _is_several(value: Any) -> bool:
    """Whether a value is a range or a set: a tuple, list, set, array, series or the like."""
    return isinstance(value, (set, frozenset, list, tuple)) or np.ndim(value) > 0


def _read_choices(table: TableCodec, j: int, values: Any) -> tuple[Choices | None, list[str]]:
    """Return what a set or a range allows, and what is wrong with it."""
    column, codec = table.columns[j], table.codecs[j]
    if not isinstance(values, tuple):
        members = list(values)
        nested = [v for v in members if _is_several(v)]
        if nested:
            return None, [f"{column.name!r} takes a list of values, not of several: {nested[0]!r}"]
        numbers, problems = column.read_given(members)
        if not problems and (len(members) == 0 or np.isnan(numbers).any()):
            problems = [f"{column.name!r} takes a list of at least one value, none of them missing"]
        return (None, problems) if problems else (codec.among(numbers), [])
    if isinstance(codec, LevelCodec):
        return None, [f"{column.name!r} is a category; pass a list of levels, not a range"]
    ends, problems = _read_range(column, values)
    among = codec.between(*ends)
    if problems or len(among.numbers):
        return among, problems
    low, high = column.write(codec.seen)
    return None, [
        f"{column.name!r} was never seen from {values[0]!r} to {values[1]!r}, but from "
        f"{low!r} to {high!r}; ask for a range that holds seen values"
    ]


def _read_range(column: Column, values: tuple[Any, ...]) -> tuple[tuple[float, float], list[str]]:
    """Return a range's ends as numbers; None, or infinity, leaves an end open."""
    if len(values) != 2:
        return (0.0, 0.0), [f"{column.name!r} takes a range as (low, high), not {values!r}"]
    far = -math.inf, math.inf
    asked = [None if _is_number(v, end) else v for v, end in zip(values, far, strict=True)]
    read, problems = column.read_given(asked, exact=False)
    low, high = (f if v is None else end for v, end, f in zip(asked, read, far, strict=True))
    if not problems and not low <= high:
        problems = [f"{column.name!r} takes a range as (low, high), not {values!r}"]
    return (low, high), problems


def _is_number(value: Any, number: float) -> bool:
    return isinstance(value, number_types.Real) and value == number
