"""One column: its cells as float64 numbers, and numbers as a series of the user's own dtype.

A cell is a level's index, a number, or a time as a multiple of its resolution; NaN is missing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_cvae.codecs import Array

MAX_NAMED, MAX_LISTED = 5, 20
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """How one column is read and written.

    Parameters
    ----------
    name : Hashable
        Name in the frame, or position in an array.
    role : {"number", "level", "time"}
    template : Any
        An empty series of the training column: what to write back (pandas' for arrays).
    levels : tuple
        A level column's values in order; empty otherwise.
    integer : bool
        Whether numbers are whole by dtype.
    origin, unit : int
        A time column's median and resolution, in the dtype's own ticks.
    """

    name: Hashable
    role: str
    template: Any
    levels: tuple[Any, ...] = ()
    integer: bool = False
    origin: int = 0
    unit: int = 1

    @property
    def n_levels(self) -> int | None:
        """Number of levels, None for a column of numbers or times."""
        return len(self.levels) if self.role == "level" else None

    def read(self, series: Any) -> Array:
        """Return the cells as float64 numbers, NaN where missing or unknown."""
        if self.role == "level":
            codes = _level_index(self.levels).get_indexer(
                pd.Index(objects_of(series), dtype=object)
            )
            return np.where(codes < 0, np.nan, codes.astype(float))
        if self.role == "time":
            ticks, missing = _ticks(series)
            return np.where(missing, np.nan, (ticks - self.origin) / self.unit)
        _refuse_text(series)
        return floats_of(series)

    def read_given(self, values: list[Any], *, exact: bool = True) -> tuple[Array, list[str]]:
        """Return numbers for values that a user asks for, and what is wrong with them.

        If `exact`, values are wrong that a cell would hold rounded.
        """
        objects = np.empty(len(values), dtype=object)
        objects[:] = values
        asked = ~np.array([_is_missing(v) for v in values], dtype=bool)
        try:
            numbers = np.full(len(values), np.nan)
            numbers[asked] = self._numbers(objects[asked])
        except (ValueError, TypeError) as error:
            return np.full(len(values), np.nan), [f"{self.name!r} takes a {self.role}: {error}"]
        wrong = asked & ~np.isfinite(numbers)
        if exact and (self.integer or self.role == "time"):
            held = np.where(np.isfinite(numbers), numbers, 0.0)
            wrong |= asked & (self.read(self.write(held)) != held)
        if not wrong.any():
            return numbers, []
        values = list(dict.fromkeys(objects[wrong].tolist()))[:MAX_NAMED]
        return numbers, [
            f"{self.name!r} has no value like {values!r} ({int(wrong.sum())} cells){self._remedy}"
        ]

    @property
    def _remedy(self) -> str:
        """What to ask for, as the end of a message."""
        if self.role == "level":
            return f"; the levels are {_shortened(self.levels)}"
        if self.role == "time":
            return f"; ask for times whole multiples of {self.seconds:g} s from the seen ones"
        return f"; ask for whole numbers that {self.template.dtype} holds" if self.integer else ""

    def _numbers(self, objects: Array) -> Array:
        if self.role == "number":
            return objects.astype(float)
        if self.role == "level":
            return self.read(pd.Series(objects, dtype=object))
        if isinstance(self.template, pd.Series):
            return self.read(pd.Series(objects.tolist()).astype(_own_dtype(self.template.dtype)))
        return self.read(type(self.template)(self.name, objects.tolist()).cast(self.template.dtype))

    def write(self, numbers: Array) -> Any:
        """Return numbers as a series of the training column's dtype."""
        missing = np.isnan(numbers)
        known = np.where(missing, 0, numbers)
        if self.role == "level":
            values = np.empty(len(numbers), dtype=object)
            values[:] = [
                None if m else self.levels[int(k)] for k, m in zip(known, missing, strict=True)
            ]
            return _from_objects(self.template, self.name, values)
        if self.role == "time":
            ticks = np.round(known).astype(np.int64) * self.unit + self.origin
            return _from_ticks(self.template, self.name, ticks, missing)
        return _from_numbers(self.template, self.name, numbers, self.integer)

    @property
    def seconds(self) -> float:
        """Seconds per unit of a time column's numbers; 1 for other columns."""
        if self.role != "time":
            return 1.0
        first, second = list(self.write(np.array([0.0, 1.0])))
        return float((second - first).total_seconds())


# --------------------------------------------------------------------------------------
# Learning a column
# --------------------------------------------------------------------------------------


def role_of(series: Any) -> str:
    dtype = nw.from_native(series, series_only=True).dtype
    if dtype.is_numeric():
        return "number"
    if dtype.is_temporal() or dtype == nw.Duration:
        return "time"
    if dtype == nw.Object and _all_numbers(series):
        return "number"
    return "level"


def _all_numbers(series: Any) -> bool:
    values = objects_of(series)
    present = values[~missing_in(series)]
    numbers = all(
        isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool)
        for v in present
    )
    return numbers and len(present) > 0


def learn_column(name: Hashable, series: Any, levels: bool) -> Column:
    """Describe a column; `levels` overrules what its dtype says."""
    role = "level" if levels else role_of(series)
    column = Column(name, role, emptied(series))
    if role == "level":
        return replace(column, levels=_levels(series))
    if role == "time":
        ticks, missing = _ticks(series)
        known = ticks[~missing]
        if len(known) == 0:
            return column
        steps = np.gcd.reduce(known - known.min())
        # In the middle, so that a likelihood sees nothing special in the earliest time.
        middle = np.sort(known)[len(known) // 2]
        return replace(column, origin=int(middle), unit=int(steps) or 1)
    dtype = nw.from_native(series, series_only=True).dtype
    return replace(column, integer=dtype.is_integer())


def without_rare_levels(column: Column, series: Any, min_count: int) -> Column:
    """Forget levels of fewer cells, in the dtype that is written too: nothing of them is kept."""
    if column.role != "level" or min_count <= 1:
        return column
    codes = column.read(series)
    counts = np.bincount(codes[~np.isnan(codes)].astype(int), minlength=len(column.levels))
    kept = tuple(v for v, n in zip(column.levels, counts, strict=True) if n >= min_count)
    dtype, template = column.template.dtype, column.template
    if isinstance(dtype, pd.CategoricalDtype):
        template = template.astype(pd.CategoricalDtype(list(kept), ordered=dtype.ordered))
    elif nw.from_native(template, series_only=True).dtype == nw.Enum:
        template = template.cast(type(dtype)(list(kept)))
    return replace(column, levels=kept, template=template)


def _levels(series: Any) -> tuple[Any, ...]:
    """Return a column's levels in order: declared ones, else the sorted values."""
    narwhal = nw.from_native(series, series_only=True)
    if narwhal.dtype == nw.Boolean:
        return (False, True)
    if narwhal.dtype in (nw.Categorical, nw.Enum):
        return tuple(narwhal.cat.get_categories().to_list())
    present = list(dict.fromkeys(objects_of(series)[~missing_in(series)]))
    try:
        return tuple(sorted(present))
    except TypeError:
        return tuple(sorted(present, key=lambda v: (type(v).__name__, str(v))))


# --------------------------------------------------------------------------------------
# Reading series
# --------------------------------------------------------------------------------------


def _shortened(levels: Sequence[Any]) -> str:
    """Return levels as text, the first few of many."""
    if len(levels) <= MAX_LISTED:
        return f"{list(levels)!r}"
    return f"{list(levels[:MAX_LISTED])!r} and {len(levels) - MAX_LISTED} more"


def _level_index(levels: Sequence[Any]) -> pd.Index:
    index = pd.Index(np.empty(0, dtype=object))
    if levels:
        values = np.empty(len(levels), dtype=object)
        values[:] = list(levels)
        index = pd.Index(values, dtype=object)
    return index


def objects_of(series: Any) -> Array:
    """Return the cells as Python objects."""
    if isinstance(series, pd.Series):
        return series.to_numpy(dtype=object)
    values = np.empty(len(series), dtype=object)
    values[:] = series.to_list()
    return values


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def missing_in(series: Any) -> Mask:
    narwhal = nw.from_native(series, series_only=True)
    missing = np.array(narwhal.is_null().to_numpy(), dtype=bool)
    if narwhal.dtype.is_float():
        missing |= np.isnan(floats_of(series))
    return missing


def floats_of(series: Any) -> Array:
    if isinstance(series, pd.Series):
        if series.dtype == object:
            return np.array([np.nan if v is None or v is pd.NA else v for v in series], dtype=float)
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    narwhal = nw.from_native(series, series_only=True).cast(nw.Float64)
    return np.asarray(narwhal.fill_null(np.nan).to_numpy(), dtype=np.float64)


def _refuse_text(series: Any) -> None:
    """Raise ValueError if a column that is to hold numbers holds them as text."""
    if nw.from_native(series, series_only=True).dtype.is_numeric():
        return
    texts = [value for value in objects_of(series) if isinstance(value, str)]
    if texts:
        raise ValueError(f"{len(texts)} cells are text, e.g. {texts[0]!r}; convert them to numbers")


def _own_dtype(dtype: Any) -> Any:
    """Return pandas' own dtype for arrow's times, and other dtypes as they are."""
    if not isinstance(dtype, pd.ArrowDtype) or dtype.kind not in "mM":
        return dtype
    unit: Any = getattr(dtype.pyarrow_dtype, "unit", "s")  # dates have none
    zone = getattr(dtype.pyarrow_dtype, "tz", None)
    return pd.DatetimeTZDtype(unit, zone) if zone else np.dtype(f"{dtype.kind}8[{unit}]")


def _ticks(series: Any) -> tuple[NDArray[np.int64], Mask]:
    """Return times as int64 in the dtype's own resolution, and which are missing."""
    missing = np.array(nw.from_native(series, series_only=True).is_null().to_numpy(), dtype=bool)
    if isinstance(series, pd.Series):
        series = series.astype(_own_dtype(series.dtype))
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        ticks = series.to_numpy().astype(np.int64)
    else:
        ticks = series.to_physical().fill_null(0).to_numpy().astype(np.int64)
    return np.where(missing, 0, ticks), missing


# --------------------------------------------------------------------------------------
# Writing series
# --------------------------------------------------------------------------------------


def _from_objects(template: Any, name: Hashable, values: Array) -> Any:
    if isinstance(template, pd.Series):
        dtype = template.dtype
        if dtype == np.dtype(bool) and any(v is None for v in values):
            dtype = pd.BooleanDtype()
        if isinstance(dtype, np.dtype) and dtype.kind in "iu" and any(v is None for v in values):
            dtype = pd.Int64Dtype()
        return pd.Series(values, dtype=dtype)
    return type(template)(name, values.tolist(), dtype=template.dtype)


def _from_numbers(template: Any, name: Hashable, numbers: Array, integer: bool) -> Any:
    missing = np.isnan(numbers)
    if integer:
        numbers = np.clip(np.round(numbers), *_integer_ends(template.dtype))
    if isinstance(template, pd.Series):
        if integer and missing.any() and isinstance(template.dtype, np.dtype):
            return pd.Series(numbers).astype(pd.Int64Dtype())
        return pd.Series(numbers).astype(template.dtype)
    series = type(template)(name, numbers)
    return series.fill_nan(None).cast(template.dtype)


def _integer_ends(dtype: Any) -> tuple[float, float]:
    """Return the least and the greatest float that an integer dtype of pandas or polars holds."""
    try:
        about = np.iinfo(str(dtype).lower().partition("[")[0])
    except TypeError:  # wider than numpy's, such as polars' Int128
        return -np.inf, np.inf
    low, high = float(about.min), float(about.max)
    return low, high if high <= about.max else float(np.nextafter(high, 0))


def _from_ticks(template: Any, name: Hashable, ticks: NDArray[np.int64], missing: Mask) -> Any:
    if isinstance(template, pd.Series):
        dtype: Any = _own_dtype(template.dtype)
        unit = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]
        letter = "m" if dtype.kind == "m" else "M"
        times = np.where(missing, np.iinfo(np.int64).min, ticks).view(f"{letter}8[{unit}]")
        series = pd.Series(times)
        if isinstance(dtype, pd.DatetimeTZDtype):
            series = series.dt.tz_localize("UTC").dt.tz_convert(dtype.tz)
        return series.astype(template.dtype)
    series = type(template)(name, ticks)
    if missing.any():
        nothing = series.clear(len(series))
        series = series.zip_with(type(template)("known", ~missing), nothing)
    return series.cast(template.to_physical().dtype).cast(template.dtype)


def fill_series(series: Any, column: Column, numbers: Array, missing: Mask) -> Any:
    """Return a series with its missing cells replaced and the others as they were."""
    rows = np.flatnonzero(missing)
    new = column.write(numbers[rows])
    if type(series) is not type(column.template):
        cells = objects_of(series)
        cells[rows] = objects_of(new)
        if isinstance(series, pd.Series):
            return pd.Series(cells, index=series.index).infer_objects()
        return type(series)(column.name, cells.tolist(), strict=False)
    if not isinstance(series, pd.Series):
        everything = np.zeros(len(series))
        everything[rows] = numbers[rows]
        replacement = column.write(everything)
        kept = type(series)("kept", ~missing)
        return as_trained(series, column).zip_with(kept, replacement)
    if series.dtype == column.template.dtype:
        filled = series.copy()
        filled.iloc[rows] = new.array
        return filled
    cells = series.to_numpy(dtype=object).copy()
    cells[rows] = new.to_numpy(dtype=object)
    return as_trained(pd.Series(cells, index=series.index), column)


def as_trained(series: Any, column: Column) -> Any:
    """Return a series in the training dtype if that holds its cells exactly, else as it is."""
    dtype = column.template.dtype
    if type(series) is not type(column.template) or series.dtype == dtype:
        return series
    if not isinstance(series, pd.Series):
        cast = series.cast(dtype, strict=False)
        exact = cast.cast(series.dtype, strict=False).eq_missing(series).all()
        return cast if exact else series
    if isinstance(dtype, pd.CategoricalDtype) and not series.dropna().isin(dtype.categories).all():
        return series.infer_objects()
    try:
        cast = series.astype(dtype)
        exact = bool(((cast == series) | (cast.isna() & series.isna())).all())
    except (ValueError, TypeError):
        exact = False
    return cast if exact else series.infer_objects()


def emptied(data: Any) -> Any:
    """Return a frame or series of no rows that does not keep the rows alive."""
    return data.iloc[:0].copy() if isinstance(data, (pd.DataFrame, pd.Series)) else data.clear()
