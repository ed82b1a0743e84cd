"""Frames in, frames out: any table as float64 numbers, and back in the user's own types.

Each column is read as numbers with NaN for a missing cell (a level's index, a number, a time
as a multiple of its resolution), and is written back with the name, dtype, order and index that
the training frame had. pandas, polars and numpy differ only here and in `columns`.
"""

from __future__ import annotations

import warnings
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components
from sklearn.utils import check_array

from sklearn_cvae.codecs import Array, Cells, Codec, NumericCodec
from sklearn_cvae.columns import (
    MAX_NAMED,
    Column,
    Mask,
    as_trained,
    fill_series,
    floats_of,
    is_integer,
    learn_column,
    missing_in,
    objects_of,
    refuse_other_frames,
    role_of,
    without_rare_levels,
)
from sklearn_cvae.likelihoods import LIKELIHOODS, default_likelihood, suited_likelihoods
from sklearn_cvae.ties import MAX_ROWS, TieCodec, Ties, tie

MIN_LEVELS = 100
# Numbers whose rank correlation with another is so high get more bins, if they have so many cells.
FOLLOWS, MANY_CELLS = 0.8, 20_000
FOLLOWS_CLOSELY, NEARLY_KNOWN, SOME_ROWS, SOME_CELLS = 0.9, 0.99, 1000, 100
# In larger tables each row's histogram needs no width of its own.
ROWS_OF_ONE_WIDTH = 10_000
HISTOGRAMS = "histogram", "histogram_per_row"
NULLABLE: dict[str, Any] = {"i": "Int", "u": "UInt", "b": "boolean"}
# How dtypes begin whose cells are neither numbers, levels nor times; arrow's in lower case.
# Imputed numbers, which may lie farther out than all that were seen, are to be finite.
LARGEST = 1e300
UNSUPPORTED = (
    "list",
    "large_list",
    "fixed_size_list",
    "array",
    "struct",
    "map",
    "dictionary",
    "interval",
    "period",
    "sparse",
    "binary",
)


@dataclass(frozen=True)
class Schema:
    """The training frame without its rows: what every later frame is read and written by.

    Parameters
    ----------
    columns : tuple of Column
    frame : Any
        The training frame's first zero rows, or the dtype of a training array.
    """

    columns: tuple[Column, ...]
    frame: Any = field(repr=False)

    @classmethod
    def fit(cls, X: Any, categorical: Any, min_count: int = 0) -> Self:
        """Learn names, roles, levels and dtypes.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, d)
        categorical : "from_dtype" or column selection
            Columns that are levels whatever their dtype; see `select_columns`.
        min_count : int, default=0
            Levels that fewer cells have are forgotten.
        """
        from_dtype = isinstance(categorical, str) and categorical == "from_dtype"
        levels = select_columns(X, None if from_dtype else categorical, "categorical_features")
        named_series = zip(column_names(X), column_list(X), strict=True)
        columns = [
            without_rare_levels(learn_column(name, s, j in levels), s, min_count)
            for j, (name, s) in enumerate(named_series)
        ]
        templates = [column.template for column in columns]  # without the levels forgotten
        return cls(tuple(columns), _build(X, templates, None) if is_frame(X) else X.dtype)

    @property
    def names(self) -> list[Hashable]:
        return [column.name for column in self.columns]

    def refuse_other_names(self, X: Any) -> None:
        """Raise ValueError for a frame of other column names, or in another order, than in fit."""
        if not (is_frame(X) and is_frame(self.frame)):
            return
        pairs = enumerate(zip(self.names, column_names(X), strict=True))
        others = [f"{is_now!r} for {was!r} at {j}" for j, (was, is_now) in pairs if is_now != was]
        if others:
            shown = ", ".join(others[:MAX_NAMED]) + (", ..." if len(others) > MAX_NAMED else "")
            raise ValueError(
                f"The columns should have the names, in the order, that they had in fit: {shown} "
                f"({len(others)} columns). Select them by name."
            )

    @property
    def seconds(self) -> Array:
        """Seconds per unit of time columns, and 1 for others, of shape (d,)."""
        return np.array([column.seconds for column in self.columns])

    def write(self, numbers: Array, index: Any = None) -> Any:
        """Return (n, d) numbers as a frame like the training frame, or as an array."""
        series = [c.write(x) for c, x in zip(self.columns, numbers.T, strict=True)]
        return self._assemble(series, index)

    def fill(self, X: Any, numbers: Array, missing: Mask) -> Any:
        """Return X with its missing cells replaced by numbers; the others are not touched."""
        if not is_frame(X):
            return self._fill_array(X, numbers, missing)
        series = [
            fill_series(s, c, x, m) if m.any() else as_trained(s, c)
            for c, s, x, m in zip(self.columns, column_list(X), numbers.T, missing.T, strict=True)
        ]
        return _build(X, series, row_index(X))

    def _fill_array(self, X: Array, numbers: Array, missing: Mask) -> Array:
        filled = X.copy()
        for j, column in enumerate(self.columns):
            rows = np.flatnonzero(missing[:, j])
            if len(rows):
                filled[rows, j] = np.asarray(column.write(numbers[rows, j]))
        return filled

    def _assemble(self, series: list[Any], index: Any) -> Any:
        if is_frame(self.frame):
            return _build(self.frame, series, index)
        result = np.empty((len(series[0]), len(series)), dtype=self.frame)
        for j, values in enumerate(series):
            result[:, j] = np.asarray(values)
        return result


@dataclass(frozen=True)
class TableCodec:
    """Everything learned of a table besides the network: what a row is to the model.

    Parameters
    ----------
    schema : Schema
    target : Column or None
        The target, when it is a condition: one more column that X does not have.
    codecs : tuple of codec
        One per column, the target's last; then one per tie.
    likelihoods : tuple of str
        As the codecs.
    conditions : tuple of int
        Positions of the condition columns.
    ties : Ties
        Pairs of columns whose cells are often equal.
    """

    schema: Schema
    target: Column | None
    codecs: tuple[Codec, ...]
    likelihoods: tuple[str, ...]
    conditions: tuple[int, ...]
    ties: Ties = field(default_factory=Ties)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.schema.columns + ((self.target,) if self.target else ())

    @property
    def names(self) -> list[Hashable]:
        return [column.name for column in self.columns]

    @property
    def n_numbers(self) -> int:
        """How many columns are numbers to the model."""
        return sum(LIKELIHOODS[name].numeric for name in self.likelihoods)

    @property
    def nearly_known(self) -> bool:
        """Whether some numbers are known more exactly than to a bin."""
        return "tilted_gaussian" in self.likelihoods

    @property
    def scales(self) -> dict[Hashable, str]:
        """The scale of each number whose codec has chosen one."""
        named = zip(self.names, self.codecs, strict=False)
        return {name: codec.scale for name, codec in named if isinstance(codec, NumericCodec)}

    @classmethod
    def fit(
        cls,
        X: Any,
        target: pd.Series | None,
        *,
        categorical: Any,
        conditions: Any,
        likelihoods: Any,
        min_category_count: int = 0,
        plain: bool = True,
    ) -> tuple[Self, Array]:
        """Learn a table column by column, and encode it.

        In `plain` ones, whose cells have no place in a grid and do not hide themselves, tied
        columns are looked for, and each row may say how wide a number's histogram is.

        Returns
        -------
        table : TableCodec
        values : ndarray of shape (n, d), float32
            NaN where missing.
        """
        schema = Schema.fit(X, categorical, min_category_count)
        learned_target = _learn_target(target, schema)
        if learned_target is not None:
            learned_target = without_rare_levels(learned_target, target, min_category_count)
        table = cls(schema, learned_target, (), (), ())
        chosen = select_columns(X, conditions, "condition_features")
        if target is not None:
            chosen.append(len(schema.columns))
        wanted = _wanted_likelihoods(table.names, likelihoods)
        series = column_list(X) + ([] if target is None else [target])
        widths = plain and len(series[0]) < ROWS_OF_ONE_WIDTH
        pairs = zip(table.columns, series, strict=True)
        fits = [_fit_column(column, cells, wanted, widths) for column, cells in pairs]
        problems = [fit for fit in fits if isinstance(fit, str)]
        if problems:
            raise ValueError("These likelihoods do not suit:\n- " + "\n- ".join(problems))
        codecs, names, encoded, rare = zip(*fits, strict=True)
        values = np.column_stack(encoded)
        if len(chosen) == len(series):
            raise ValueError(
                f"All columns are conditions ({table.names!r}); leave at least one to be modelled."
            )
        _warn_of_identifiers(rare)
        learned = replace(table, codecs=codecs, likelihoods=names, conditions=tuple(chosen))
        learned = learned._resolved(series, values, asked=wanted)
        return learned._with_ties(series, values) if plain else (learned, values)

    def _resolved(self, series: list[Any], values: Array, asked: Container[Hashable]) -> Self:
        """Resolve numbers that follow another one better, and encode them anew in `values`.

        Bins tell their dependence no finer than they are. Where there is none, finer ones only help
        to learn rows by heart. Columns that were `asked` to have a likelihood keep it.
        """
        n_cells = np.sum(~np.isnan(values), axis=0)
        many = n_cells >= MANY_CELLS
        free = (n_cells >= SOME_CELLS) & (len(values) >= SOME_ROWS)
        free &= [
            _is_natural(c) and n not in asked for n, c in zip(self.names, self.codecs, strict=True)
        ]
        named = enumerate(self.likelihoods)
        numbers = [j for j, name in named if name in HISTOGRAMS and (many[j] or free[j])]
        numbers = [j for j in numbers if j not in self.conditions]
        some = np.linspace(0, len(values) - 1, min(len(values), MAX_ROWS)).astype(int)
        ranks = pd.DataFrame(values[some][:, numbers]).rank()
        alike = np.nan_to_num(ranks.corr().abs().to_numpy()) - np.eye(len(numbers))
        known = _nearly_known(np.where(np.outer(free, free)[numbers][:, numbers], alike, 0))
        codecs, names = list(self.codecs), list(self.likelihoods)
        for j, is_known, follows in zip(numbers, known, alike.max(axis=0, initial=0), strict=True):
            codec = codecs[j]
            if not (isinstance(codec, NumericCodec) and codec.continuous):
                continue
            cells = self.columns[j].read(series[j])
            if is_known:
                names[j] = "tilted_gaussian"
                codecs[j] = NumericCodec.fit(cells, natural=True, cut="blocks")
            elif follows >= FOLLOWS and many[j]:
                codecs[j] = NumericCodec.fit(cells, natural=True, cut="fine")
            else:
                continue
            values[:, j] = codecs[j].encode(cells)
        return replace(self, codecs=tuple(codecs), likelihoods=tuple(names))

    def _with_ties(self, series: list[Any], values: Array) -> tuple[Self, Array]:
        """Look for tied columns; return the table with them, and its encoding."""
        some = np.linspace(0, len(values) - 1, min(len(values), MAX_ROWS)).astype(int)
        offsets = np.zeros(len(series))
        ties = Ties(offsets=offsets)
        for group in self._comparable():
            first = self.columns[min(group)]
            for j in group:
                offsets[j] = (self.columns[j].origin - first.origin) // first.unit
            cells = [self.columns[j].read(series[j])[some] + offsets[j] for j in group]
            seen = np.array([codec.seen + offsets[j] for j, codec in group.items()])
            ties = ties.joined(np.column_stack(cells), np.array(list(group)), seen)
        if not len(ties):
            return self, values
        names = (default_likelihood(2),) * len(ties)
        table = replace(
            self,
            codecs=self.codecs + (TieCodec(),) * len(ties),
            likelihoods=self.likelihoods + names,
            ties=ties,
        )
        pairs = [
            [self.columns[j].read(series[j]) + offsets[j] for j in pair] for pair in ties.pairs
        ]
        tied = [tie(a, b, usual) for (a, b), usual in zip(pairs, ties.usual, strict=True)]
        return table, np.column_stack([values, *tied]).astype(np.float32)

    def _comparable(self) -> list[dict[int, NumericCodec]]:
        """Return columns whose cells may be equal: numbers; times of one dtype and resolution."""
        groups: dict[Hashable, dict[int, NumericCodec]] = {}
        for j, (column, codec) in enumerate(zip(self.columns, self.codecs, strict=True)):
            if j not in self.conditions and isinstance(codec, NumericCodec):
                dtype = str(column.template.dtype) if column.role == "time" else ""
                key = column.role, dtype, column.unit, column.origin % column.unit
                groups.setdefault(key, {})[j] = codec
        return [group for group in groups.values() if len(group) > 1]

    def read(self, X: Any, target: pd.Series | None = None, *, strict: bool = False) -> Array:
        """Return (n, d) numbers; warn once, or raise, naming levels not seen in training.

        Raises
        ------
        ValueError
            With one message that lists every column of another kind than in training, or with one
            of the columns that have other names.
        """
        self.schema.refuse_other_names(X)
        series = column_list(X) + ([] if target is None else [target])
        numbers = np.full((len(X), len(self.columns)), np.nan)
        unseen, problems = [], []
        for j, (column, cells) in enumerate(zip(self.columns, series, strict=False)):
            try:
                numbers[:, j] = column.read(cells)
            except (ValueError, TypeError, AttributeError) as error:
                problems.append(f"column {column.name!r} held {column.role}s during fit: {error}")
            if column.role == "level":
                unseen.append(_describe_unseen(column, cells, numbers[:, j]))
        if problems:
            raise ValueError("This table cannot be used:\n- " + "\n- ".join(problems))
        if any(unseen):
            named = "; ".join(filter(None, unseen))
            if strict:
                raise ValueError(
                    f"Categories not seen during fit: {named}. "
                    "handle_unknown='missing' treats them as missing."
                )
            message = (
                "Categories not seen during fit, or fewer than min_category_count times, "
                f"are treated as missing: {named}"
            )
            warnings.warn(message, UserWarning, stacklevel=4)
        return numbers

    def encode(self, numbers: Array) -> Array:
        """Return the model's scalars, NaN where missing: the columns', and then their ties."""
        if len(self.ties):
            numbers = np.hstack([numbers, self.ties.of(numbers)])
        values = np.empty(numbers.shape, dtype=np.float32)
        for j, codec in enumerate(self.codecs):
            values[:, j] = codec.encode(numbers[:, j])
        return values

    def cells(self, values: Array) -> Cells:
        """Return the encoded table with its observed cells as data, or as conditions.

        `values` is taken over: its missing cells become zeros.
        """
        visible = ~np.isnan(values)
        np.copyto(values, 0, where=~visible)
        given = np.zeros_like(visible)
        given[:, self.conditions] = visible[:, self.conditions]
        visible[:, self.conditions] = False
        return Cells(values, visible, given)

    def log_volume(self, numbers: Array, scored: Mask) -> Array:
        """Return each row's log-volume: user's units per model unit, summed over its cells."""
        total = np.zeros(len(numbers))
        for j in range(numbers.shape[1]):
            codec, name, rows = self.codecs[j], self.likelihoods[j], scored[:, j]
            total[rows] += LIKELIHOODS[name].log_volume(codec, numbers[rows, j])
        return total

    def clip(self, numbers: Array, low: Array, high: Array) -> Array:
        """Return numbers with those of number columns brought between bounds (NaN is none)."""
        clipped = numbers.copy()
        for j, column in enumerate(self.schema.columns):
            ends = (np.ceil(low[j]), np.floor(high[j])) if column.integer else (low[j], high[j])
            if column.role == "number":
                clipped[:, j] = np.fmin(np.fmax(numbers[:, j], ends[0]), ends[1])
        return np.where(np.isnan(numbers), np.nan, clipped)

    def write(self, numbers: Array, index: Any = None) -> Any:
        """Return numbers as a table like the training table, without the target."""
        return self.schema.write(numbers[:, : len(self.schema.columns)], index)


def compare_cells(
    X: Any, columns: Sequence[Column], rows: Array, hidden: Mask, numbers: Sequence[Array]
) -> pd.DataFrame:
    """Return truth, estimate and interval of hidden cells, one line each, column by column.

    Parameters
    ----------
    X : DataFrame or ndarray
    columns : sequence of Column
    rows : ndarray of shape (n,)
        Positions in X.
    hidden : ndarray of shape (n, d), bool
    numbers : sequence of four ndarray of shape (n, d)
        Truth, estimate, lower and upper end.
    """
    lines: list[tuple[Any, ...]] = []
    series = column_list(X)  # without the target, which is never hidden
    for j, column in enumerate(columns):
        at = np.flatnonzero(hidden[:, j])
        truth, estimate, lower, upper = (table[at, j] for table in numbers)
        covered = (lower <= truth) & (truth <= upper)
        ends: list[Any] = [column.write(lower), column.write(upper)]
        if column.role == "level":
            covered, ends = truth == estimate, [[None] * len(at)] * 2
        cells: Any = objects_of(series[j])[rows[at]] if len(at) else []
        values = (cells, column.write(estimate), *ends)
        lines += zip(rows[at], [column.name] * len(at), *values, covered, strict=True)
    names = ["row", "column", "truth", "estimate", "lower", "upper", "covered"]
    table = pd.DataFrame(lines, columns=names)
    truths = pd.Series([line[2] for line in lines], dtype=object)
    if not all(x == y for x, y in zip(truths, table["truth"], strict=True)):
        table["truth"] = truths  # floats beside them had rounded integers
    return table


def _learn_target(target: pd.Series | None, schema: Schema) -> Column | None:
    if target is None:
        return None
    name = "target" if target.name is None or target.name in schema.names else target.name
    if name in schema.names:
        raise ValueError(
            f"X has a column {name!r}, and y would be a condition of that name; give y another, as "
            'by y=pd.Series(y, name="label").'
        )
    column = learn_column(name, target, levels=False)
    few = target.nunique() <= max(2, min(20, len(target) // 10))
    if column.integer and few:
        return learn_column(name, target, levels=True)
    return column


def _is_natural(codec: Codec) -> bool:
    """Whether a column's numbers hardly repeat, and are on a natural scale."""
    return isinstance(codec, NumericCodec) and codec.continuous and codec.scale != "normal"


def _nearly_known(alike: Array) -> Mask:
    """Whether numbers are of a group in which one nearly tells another.

    Parameters
    ----------
    alike : ndarray of shape (n, n)
        Sizes of the numbers' correlations, their own left out. A group follow one another closely.
    """
    group = connected_components(alike >= FOLLOWS_CLOSELY)[1]
    return np.isin(group, group[(alike >= NEARLY_KNOWN).any(axis=0)])


def _fit_column(
    column: Column, cells: Any, wanted: dict[Hashable, str], widths: bool
) -> tuple[Codec, str, Array, str] | str:
    """Return a column's codec, likelihood, encoding and warning, or what is wrong with it.

    With `widths` each row may say how wide a histogram is.
    """
    numbers, n_levels = column.read(cells), column.n_levels
    name = wanted.get(column.name, default_likelihood(n_levels))
    problem = LIKELIHOODS[name].refuses(numbers, n_levels)
    if problem:
        suited = suited_likelihoods(numbers, n_levels)
        return f"{column.name!r}: {name!r} {problem}; it takes one of {suited}"
    codec = LIKELIHOODS[name].fit_codec(numbers, n_levels)
    if widths and column.name not in wanted and _is_natural(codec):
        name = "histogram_per_row"
    rare = _hardly_repeats(column, numbers)
    return codec, name, codec.encode(numbers).astype(np.float32), rare


def _wanted_likelihoods(names: list[Hashable], likelihoods: Any) -> dict[Hashable, str]:
    """Return the likelihood asked for by column; refuse columns and likelihoods there are not."""
    if isinstance(likelihoods, str):
        return {}
    problems = [f"{name!r} is not a column of X" for name in likelihoods if name not in names]
    problems += [
        f"{name!r}: there is no likelihood {wanted!r}, but {sorted(LIKELIHOODS)}"
        for name, wanted in likelihoods.items()
        if not isinstance(wanted, str) or wanted not in LIKELIHOODS
    ]
    if problems:
        raise ValueError("These likelihoods cannot be used:\n- " + "\n- ".join(problems))
    return dict(likelihoods)


# --------------------------------------------------------------------------------------
# Containers
# --------------------------------------------------------------------------------------


def is_frame(X: Any) -> bool:
    """Whether X is a dataframe (pandas, polars, or another that narwhals knows)."""
    return nw.dependencies.is_into_dataframe(X)


def as_table(X: Any) -> Any:
    """Return a frame as it is and anything else as a 2-D array of its own dtype."""
    refuse_other_frames(X)
    if is_frame(X):
        return X
    if nw.dependencies.is_into_series(X):
        X = X.to_numpy()
    if isinstance(X, np.ma.MaskedArray):
        X = _filled(X)
    # numpy would make text of a list's numbers, and of its missing cells, if one is text.
    text = not hasattr(X, "dtype") and _holds_text(X)
    return check_array(
        X,
        dtype=object if text else None,
        ensure_all_finite=False,
        ensure_min_samples=0,
        ensure_min_features=0,
    )


def _holds_text(rows: Any) -> bool:
    cells = np.asarray(rows, dtype=object)
    return cells.ndim == 2 and any(isinstance(cell, str) for cell in cells.flat)


def _filled(X: Any) -> Array:
    """Return a masked array as a plain one whose masked cells are missing."""
    masked, cells = np.ma.getmaskarray(X), np.ma.getdata(X)
    return _without_cells(cells, masked) if masked.any() else cells


def as_array(X: Any) -> Array:
    """Return a frame as an array: of float64 if all columns are numbers, else of objects."""
    series = column_list(X)
    if all(role_of(s) == "number" for s in series):
        return np.column_stack([floats_of(s) for s in series])
    return np.column_stack([objects_of(s) for s in series])


def column_names(X: Any) -> list[Hashable]:
    """Return the columns' names; positions for an array."""
    return list(X.columns) if is_frame(X) else list(range(X.shape[1]))


def column_list(X: Any) -> list[Any]:
    """Return the columns as pandas or polars series; an array's as pandas series."""
    if isinstance(X, pd.DataFrame):
        return [X.iloc[:, j] for j in range(X.shape[1])]
    if is_frame(X):
        return [s.to_native() for s in nw.from_native(X, eager_only=True).iter_columns()]
    return [pd.Series(X[:, j], copy=False) for j in range(X.shape[1])]


def row_index(X: Any) -> Any:
    """Return a pandas frame's index, else None."""
    return X.index if isinstance(X, pd.DataFrame) else None


def as_series(values: Any) -> pd.Series:
    """Return a target as a pandas series, whatever container of one column it came in."""
    if np.ndim(values) == 2:
        columns = column_list(values if is_frame(values) else np.asarray(values))
        if len(columns) != 1:
            raise ValueError(
                f"y must be one column, not {len(columns)}; put further ones into X, with "
                "condition_features."
            )
        values = columns[0]
    if isinstance(values, pd.Series):
        return values
    if nw.dependencies.is_into_series(values):
        return pd.Series(values.to_numpy(), name=values.name)
    return pd.Series(np.asarray(values))


def _build(like: Any, series: list[Any], index: Any) -> Any:
    """Return a frame of the same library and column names as `like`; pandas' index or None."""
    if isinstance(like, pd.DataFrame):
        index = pd.RangeIndex(len(series[0])) if index is None else index
        columns = {j: pd.Series(s.array, index, dtype=s.dtype) for j, s in enumerate(series)}
        frame = pd.DataFrame(columns, index=index)
        frame.columns = like.columns
        return frame
    return type(like)(series)


def keep_columns(X: Any, positions: Array) -> Any:
    """Return the columns at some positions."""
    if len(positions) == X.shape[1]:
        return X
    if isinstance(X, pd.DataFrame):
        return X.iloc[:, positions]
    return X[:, positions.tolist()]


def add_columns(X: Any, flags: Mask, names: list[str]) -> Any:
    """Return X with boolean columns appended (numbers of X's dtype for an array)."""
    if isinstance(X, pd.DataFrame):
        columns: Any = names
        if X.columns.nlevels > 1:
            blanks = [""] * (X.columns.nlevels - 1)
            tuples = [(name, *blanks) for name in names]
            columns = pd.MultiIndex.from_tuples(tuples, names=X.columns.names)
        return pd.concat([X, pd.DataFrame(flags, index=X.index, columns=columns)], axis=1)
    if is_frame(X):
        series = type(X.to_series(0))
        return X.hstack([series(n, f) for n, f in zip(names, flags.T, strict=True)])
    return np.hstack([X, flags.astype(X.dtype)])


def select_columns(X: Any, selection: Any, parameter: str) -> list[int]:
    """Return the positions that a selection names.

    Parameters
    ----------
    X : DataFrame or ndarray
    selection : None, str, int, slice, callable, or sequence of str, int or bool
        Names, positions, a mask, or a callable that takes X and returns one of these, such as
        scikit-learn's `make_column_selector`.
    parameter : str
        Name of the parameter, for error messages.
    """
    names = column_names(X)
    if callable(selection):
        selection = selection(X)
    if selection is None:
        return []
    if isinstance(selection, slice):
        return list(range(len(names)))[selection]
    if isinstance(selection, bool):
        raise ValueError(f"{parameter} takes names, positions or a mask, not {selection!r}.")
    if isinstance(selection, (str, int, np.integer)):
        selection = [selection]
    chosen = list(selection)
    if chosen and all(isinstance(c, (bool, np.bool_)) for c in chosen):
        if len(chosen) != len(names):
            raise ValueError(
                f"{parameter} is a mask of {len(chosen)} entries, but X has {len(names)} columns."
            )
        return [j for j, c in enumerate(chosen) if c]
    positions = [position_of(names, c) for c in chosen]
    unknown = [c for c, j in zip(chosen, positions, strict=True) if j is None]
    if unknown:
        raise ValueError(
            f"{parameter} names columns that X does not have: {unknown!r}. "
            f"X has the columns {names!r}."
        )
    return sorted({j for j in positions if j is not None})


def position_of(names: list[Hashable], choice: Any) -> int | None:
    if choice in names:
        return names.index(choice)
    if isinstance(choice, (int, np.integer)) and -len(names) <= choice < len(names):
        return int(choice) % len(names)
    return None


def missing_cells(X: Any) -> Mask:
    """Return which cells of the table are missing, of shape (n, d)."""
    return np.stack([missing_in(s) for s in column_list(X)], axis=1)


def replace_values(X: Any, missing_values: Any) -> Any:
    """Return X with the cells that equal `missing_values` made missing."""
    if missing_values is None or missing_values is pd.NA or missing_values != missing_values:
        return X
    if isinstance(X, pd.DataFrame):
        series = [_without(X.iloc[:, j], missing_values) for j in range(X.shape[1])]
        return _build(X, series, X.index)
    if is_frame(X):
        text = isinstance(missing_values, str)
        frame = nw.from_native(X, eager_only=True)
        fits = [
            n
            for n, d in frame.schema.items()
            if (d.is_numeric() and not text) or (text and d in (nw.String, nw.Categorical, nw.Enum))
        ]
        hidden = [nw.when(nw.col(n) != missing_values).then(nw.col(n)).alias(n) for n in fits]
        return frame.with_columns(*hidden).to_native()
    return _array_without(X, missing_values)


def _array_without(X: Array, value: Any) -> Array:
    """Return an array with the cells that equal a value made missing, of objects if need be."""
    hit = X == value
    if not np.any(hit) or (X.dtype.kind == "b" and not isinstance(value, bool)):
        return X
    return _without_cells(X, hit)


def _without_cells(X: Array, hit: Mask) -> Array:
    """Return an array with some cells made missing; of objects if floats do not hold the others."""
    if X.dtype.kind == "f":
        return np.where(hit, X.dtype.type(np.nan), X)
    if X.dtype.kind in "iub" and not _float_rounds(X):
        return np.where(hit, np.nan, X)
    cells = X.astype(object)
    cells[hit] = None
    return cells


def _float_rounds(whole: Array) -> bool:
    """Whether float64 does not hold some of an array's integers."""
    return whole.size > 0 and max(abs(int(whole.min())), abs(int(whole.max()))) > 2**53


def _without(series: pd.Series, value: Any) -> pd.Series:
    """Return a pandas series with the cells that equal a value made missing, integers exact."""
    if pd.api.types.is_bool_dtype(series) != isinstance(value, bool):
        return series
    hit = (series == value).fillna(False).to_numpy(dtype=bool)
    if not hit.any():
        return series
    dtype: Any = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in NULLABLE:
        nullable: Any = NULLABLE[dtype.kind] + (
            "" if dtype.kind == "b" else f"{8 * dtype.itemsize}"
        )
        series = series.astype(nullable)
    return series.mask(hit)


def in_dtypes_of(X: Any, like: Any) -> Any:
    """Return X with pandas' nullable integers and booleans as `like` has them, where all are known.

    Parameters
    ----------
    X : DataFrame or ndarray
    like : DataFrame or ndarray
        Of the same columns.
    """
    if not (isinstance(X, pd.DataFrame) and isinstance(like, pd.DataFrame)):
        return X
    series = [X.iloc[:, j] for j in range(X.shape[1])]
    dtypes: list[Any] = list(like.dtypes)
    for j, dtype in enumerate(dtypes):
        plain = isinstance(dtype, np.dtype) and dtype.kind in NULLABLE
        if plain and series[j].dtype.kind == dtype.kind and series[j].notna().all():
            series[j] = series[j].astype(dtype)
    return _build(X, series, X.index)


def refuse_empty_ranges(X: Any, low: Array, high: Array) -> None:
    """Raise one error that names the columns for which no value lies between two bounds."""
    problems = []
    for j, (name, series) in enumerate(zip(column_names(X), column_list(X), strict=True)):
        if low[j] > high[j]:
            problems.append(f"column {name!r}: {low[j]:g} is above {high[j]:g}")
        elif is_integer(series) and np.ceil(low[j]) > np.floor(high[j]):
            problems.append(f"column {name!r}: no whole number from {low[j]:g} to {high[j]:g}")
    if problems:
        raise ValueError(
            "min_value must not be above max_value in any column:\n- " + "\n- ".join(problems)
        )


# --------------------------------------------------------------------------------------
# Refusing what cannot be modelled
# --------------------------------------------------------------------------------------


def check_cells(X: Any) -> None:
    """Raise one error that lists every cell and column name that cannot be modelled."""
    names = column_names(X)
    problems: list[str] = []
    duplicated = duplicates(names)
    if duplicated:
        problems.append(f"duplicate column names {duplicated}; rename them")
    nameless = [j for j, n in enumerate(names) if _is_nameless(n)]
    if nameless:
        problems.append(f"columns without a name at positions {nameless}; name them")
    type_problems: list[str] = []
    for name, series in zip(names, column_list(X), strict=True):
        kind, text = _problem(series)
        if text:
            (type_problems if kind is TypeError else problems).append(f"column {name!r}: {text}")
    if problems or type_problems:
        lines = "".join(f"\n- {p}" for p in problems + type_problems)
        error = TypeError if type_problems and not problems else ValueError
        raise error(f"This table cannot be used:{lines}")


def check_target(target: Any) -> None:
    """Raise an error if a target's cells cannot be modelled."""
    kind, text = _problem(target)
    if text:
        raise kind(f"y cannot be a condition: {text}.")


def duplicates(names: list[Hashable]) -> list[str]:
    """Return the names that columns share, as text."""
    return sorted({str(name) for name in names if names.count(name) > 1})


def _is_nameless(name: Hashable) -> bool:
    return name is None or name == "" or (isinstance(name, float) and np.isnan(name))


def _problem(series: Any) -> tuple[type[Exception], str]:
    """Say what is wrong with one column, or return an empty text."""
    dtype = str(series.dtype)
    if dtype.startswith(("complex", "Complex")):
        return ValueError, "Complex data not supported; split it into real and imaginary parts"
    if dtype.lower().startswith(UNSUPPORTED):
        return TypeError, f"dtype {dtype} is not supported; convert it to numbers or strings"
    if isinstance(series.dtype, pd.ArrowDtype) and dtype.startswith(("time32", "time64")):
        return TypeError, f"dtype {dtype} is not supported; convert it to numbers of seconds"
    if isinstance(series.dtype, pd.ArrowDtype) and dtype.startswith("date64"):
        return TypeError, f"dtype {dtype} is not supported; convert it to date32 or timestamp"
    if role_of(series) == "number":
        try:
            numbers = floats_of(series)
        except OverflowError:
            return ValueError, "integers too large for float64; convert it to strings or scale it"
        if text := _too_large(numbers):
            return ValueError, text
    if dtype in ("object", "Object"):
        for value in objects_of(series):
            if isinstance(value, complex):
                return ValueError, f"Complex data not supported, e.g. {value!r}"
            if isinstance(value, tuple) or not isinstance(value, Hashable):
                return TypeError, (
                    "a cell's argument must be a string or a real number, "
                    f"not {type(value).__name__!r}, e.g. {value!r}; flatten nested values first"
                )
    return ValueError, ""


def _too_large(numbers: Array) -> str:
    """Say which numbers are infinite, or so large that what is imputed for them might be."""
    for which, remedy, found in (
        ("infinity values", "replace them by a number or by NaN", np.isinf(numbers)),
        ("values beyond 1e300", "divide the column by a constant", np.abs(numbers) > LARGEST),
    ):
        if found.any():
            where = int(found.argmax())
            count = int(found.sum())
            return f"{count} {which}, the first in row {where} ({numbers[where]}); {remedy}"
    return ""


def _hardly_repeats(column: Column, numbers: Array) -> str:
    """Say how many levels a column has if most cells have one of their own, else nothing."""
    if len(column.levels) < MIN_LEVELS:
        return ""
    known = numbers[~np.isnan(numbers)]
    n_levels = len(np.unique(known))
    if n_levels < MIN_LEVELS or n_levels <= len(known) / 2:
        return ""
    example = column.levels[int(known[0])]
    return f"column {column.name!r}: {n_levels} levels in {len(known)} cells, e.g. {example!r}"


def _warn_of_identifiers(texts: Sequence[str]) -> None:
    if any(texts):
        warnings.warn(
            "Levels that hardly repeat, such as identifiers, say nothing of other rows, take long "
            f"to learn and come back in drawn rows: {'; '.join(filter(None, texts))}. Leave the "
            "column out, or set min_category_count.",
            UserWarning,
            stacklevel=6,
        )


def _describe_unseen(column: Column, series: Any, numbers: Array) -> str:
    unseen = np.isnan(numbers) & ~missing_in(series)
    if not unseen.any():
        return ""
    values = list(dict.fromkeys(objects_of(series)[unseen]))
    more = ", ..." if len(values) > MAX_NAMED else ""
    shown = ", ".join(repr(v) for v in values[:MAX_NAMED])
    return f"column {column.name!r}: {shown}{more} ({int(unseen.sum())} cells)"
