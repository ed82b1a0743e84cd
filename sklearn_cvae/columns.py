"""One column: its cells as float64 numbers, and numbers as a series of the user's own dtype.

A cell is a level's index, a number, or a time as a multiple of its resolution; NaN is missing.
"""

from __future__ import annotations

import datetime as dt
import numbers as number_types
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sklearn_cvae.codecs import Array

MAX_NAMED, MAX_LISTED = 5, 20
# In nanoseconds; and the days from 1970 that Python's dates reach, as polars hands them out.
DAY, FIRST_DAY, LAST_DAY = 86_400 * 10**9, -719_162, 2_932_896
TIMES = (dt.date, dt.time, dt.timedelta, np.datetime64, np.timedelta64)
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
            ticks, missing = _ticks(series, self.template)
            return np.where(missing, np.nan, self._units_from_origin(ticks))
        _refuse_others(series)
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
        except (ValueError, TypeError, OverflowError) as error:
            return np.full(len(values), np.nan), [f"{self.name!r} takes a {self.role}: {error}"]
        wrong = asked & ~np.isfinite(numbers)
        if exact:
            wrong[asked] |= self._rounds(numbers[asked], objects[asked])
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
        if self.integer:
            return f"; ask for whole numbers that {self.template.dtype} holds, up to 2**53"
        return ""

    def _numbers(self, objects: Array) -> Array:
        if self.role == "number":
            return objects.astype(float)
        if self.role == "level":
            return self.read(pd.Series(objects, dtype=object))
        return self.read(self._times(objects))

    def _times(self, objects: Array) -> Any:
        """Return values that a user asks for as a series of times, in a resolution of their own.

        Of times of day it is polars', of others pandas'.
        """
        bare = [v for v in objects if isinstance(v, number_types.Real) and not isinstance(v, TIMES)]
        if bare:
            raise TypeError(f"{bare[0]!r} is a number, not a time")
        if _kind_of_time(self.template)[0] == "Time":
            return type(self.template)(self.name, [_time_of_day(v) for v in objects])
        series = pd.Series(objects.tolist())
        as_they_are = isinstance(series.dtype, pd.DatetimeTZDtype) or series.dtype.kind in "mM"
        return series if as_they_are else series.astype(_pandas_times(self.template))

    def _rounds(self, numbers: Array, objects: Array) -> Mask:
        """Return where a cell would not hold the value that is asked for, but one near it."""
        if not (self.integer or self.role == "time"):
            return np.zeros(len(numbers), dtype=bool)
        held = self.write(np.where(np.isfinite(numbers), numbers, 0.0))
        if self.role == "time":
            return _instants(held) != _instants(self._times(objects))
        return np.asarray(objects_of(held) != objects, dtype=bool)

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
            return _from_ticks(self.template, self.name, self._ticks_at(known), missing)
        return _from_numbers(self.template, self.name, numbers, self.integer)

    def _units_from_origin(self, ticks: NDArray[np.int64]) -> Array:
        """Return how many units times are after the origin; int64 cannot hold some distances."""
        later = ticks >= self.origin
        distance = np.where(later, ticks - self.origin, self.origin - ticks).view(np.uint64)
        return np.where(later, 1.0, -1.0) * (distance / self.unit)

    def _ticks_at(self, units: Array) -> NDArray[np.int64]:
        """Return the times so many units after the origin, or the last that the dtype holds."""
        first, last = _tick_ends(self.template)
        before, after = (self.origin - first) // self.unit, (last - self.origin) // self.unit
        steps = np.clip(np.round(units), -_float_below(before), _float_below(after))
        distance = (np.abs(steps).astype(np.uint64) * np.uint64(self.unit)).view(np.int64)
        return np.where(steps < 0, -distance, distance) + self.origin

    @property
    def seconds(self) -> float:
        """Seconds per unit of a time column's numbers; 1 for other columns."""
        if self.role != "time":
            return 1.0
        return self.unit * _nanoseconds(self.template) / 1e9


# --------------------------------------------------------------------------------------
# Learning a column
# --------------------------------------------------------------------------------------


def role_of(series: Any) -> str:
    dtype = nw.from_native(series, series_only=True).dtype
    if dtype.is_numeric() or getattr(series.dtype, "kind", "") == "f":  # numpy's long doubles, too
        return "number"
    if dtype.is_temporal() or isinstance(series.dtype, pd.DatetimeTZDtype):
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
        seen = set(objects_of(series)[~missing_in(series)])  # no other can be learned
        return replace(column, levels=tuple(v for v in _levels(series) if v in seen))
    if role == "time":
        ticks, missing = _ticks(series, column.template)
        known = ticks[~missing]
        if len(known) == 0:
            return column
        steps = np.gcd.reduce((known - known.min()).view(np.uint64))
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


def is_integer(series: Any) -> bool:
    return bool(nw.from_native(series, series_only=True).dtype.is_integer())


def missing_in(series: Any) -> Mask:
    narwhal = nw.from_native(series, series_only=True)
    missing = np.array(narwhal.is_null().to_numpy(), dtype=bool)
    if narwhal.dtype.is_float():
        missing |= np.isnan(floats_of(series))
    return missing


def floats_of(series: Any) -> Array:
    if isinstance(series, pd.Series):
        if series.dtype == object:
            return np.array([np.nan if _is_missing(v) else v for v in series], dtype=float)
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    narwhal = nw.from_native(series, series_only=True).cast(nw.Float64)
    return np.asarray(narwhal.fill_null(np.nan).to_numpy(), dtype=np.float64)


def _refuse_others(series: Any) -> None:
    """Raise ValueError if a column that is to hold numbers holds text, or times."""
    if nw.from_native(series, series_only=True).dtype.is_numeric():
        return
    objects = objects_of(series)
    for kinds, name in ((str, "text"), (TIMES, "times")):
        found = [v for v in objects if isinstance(v, kinds) and not _is_missing(v)]
        if found:
            raise ValueError(
                f"{len(found)} cells are {name}, e.g. {found[0]!r}; convert them to numbers"
            )


def _own_dtype(dtype: Any) -> Any:
    """Return pandas' own dtype for arrow's times, and other dtypes as they are."""
    if not isinstance(dtype, pd.ArrowDtype) or dtype.kind not in "mM":
        return dtype
    unit: Any = getattr(dtype.pyarrow_dtype, "unit", "s")  # dates have none
    zone = getattr(dtype.pyarrow_dtype, "tz", None)
    return pd.DatetimeTZDtype(unit, zone) if zone else np.dtype(f"{dtype.kind}8[{unit}]")


def _pandas_times(template: Any) -> Any:
    """Return the dtype in which pandas holds what a column of times, but not of day, holds."""
    if isinstance(template, pd.Series):
        return _own_dtype(template.dtype)
    if _kind_of_time(template)[0] == "Duration":
        return np.dtype(f"m8[{template.dtype.time_unit}]")
    unit: Any = getattr(template.dtype, "time_unit", "s")  # dates have none
    zone = getattr(template.dtype, "time_zone", None)
    return pd.DatetimeTZDtype(unit, zone) if zone else np.dtype(f"M8[{unit}]")


def _time_of_day(value: Any) -> dt.time:
    """Return a time of day, or what its text says."""
    time = dt.time.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(time, dt.time):
        raise TypeError(f"{value!r} is not a time of day")
    return time


def _instants(series: Any) -> Array:
    """Return times as whole nanoseconds, Python integers of any size."""
    missing = np.zeros(len(series), dtype=bool)
    return _own_ticks(series, missing).astype(object) * _nanoseconds(series)


def _nanoseconds(series: Any) -> int:
    """Return the nanoseconds of a time column's tick."""
    if isinstance(series, pd.Series):
        dtype = _own_dtype(series.dtype)
        unit = getattr(dtype, "unit", None) or np.datetime_data(dtype)[0]
    else:
        unit = getattr(series.dtype, "time_unit", str(series.dtype))
    return {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "Date": DAY, "Time": 1}[unit]


def _tick_ends(series: Any) -> tuple[int, int]:
    """Return the first and the last tick that a time column can hold."""
    kind, tick = _kind_of_time(series)[0], _nanoseconds(series)
    if kind == "Time":
        return 0, DAY // tick - 1
    last = np.iinfo(np.int64).max  # one tick before -last, pandas has its NaT
    if kind == "Datetime" and not isinstance(series, pd.Series):
        return max(-last, FIRST_DAY * DAY // tick), min(last, LAST_DAY * DAY // tick)
    return -last, last


def _kind_of_time(series: Any) -> tuple[str, bool]:
    """Return what kind of time a column holds, and whether it has a zone."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):  # narwhals does not know all of its zones
        return "Datetime", True
    dtype = nw.from_native(series, series_only=True).dtype
    name = "Datetime" if dtype == nw.Date else str(dtype).partition("(")[0]
    return name, getattr(dtype, "time_zone", None) is not None


def _ticks(series: Any, like: Any) -> tuple[NDArray[np.int64], Mask]:
    """Return times as int64 in the resolution of `like`, and which are missing.

    Raises
    ------
    ValueError
        If the column is not of the kind of `like`, or holds times that int64 cannot hold so.
    """
    missing = np.array(nw.from_native(series, series_only=True).is_null().to_numpy(), dtype=bool)
    if missing.all():
        return np.zeros(len(series), dtype=np.int64), missing
    if _kind_of_time(series) != _kind_of_time(like):
        raise ValueError(f"dtype {series.dtype}, which is not {like.dtype}; convert it")
    ticks, own, wanted = _own_ticks(series, missing), _nanoseconds(series), _nanoseconds(like)
    if own <= wanted:
        return ticks // (wanted // own), missing
    far = np.abs(ticks) > np.iinfo(np.int64).max // (own // wanted)
    if far.any():
        raise ValueError(f"{far.sum()} times are too far from 1970 for {like.dtype}")
    return ticks * (own // wanted), missing


def _own_ticks(series: Any, missing: Mask) -> NDArray[np.int64]:
    """Return times as int64 in the dtype's own resolution, 0 where missing."""
    if isinstance(series, pd.Series):
        series = series.astype(_own_dtype(series.dtype))
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        ticks = series.to_numpy().astype(np.int64)
    else:
        ticks = series.to_physical().fill_null(0).to_numpy().astype(np.int64)
    return np.where(missing, 0, ticks)


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
        numbers = np.round(numbers)
    numbers = np.clip(numbers, *_ends(template.dtype))
    if isinstance(template, pd.Series):
        if integer and missing.any() and isinstance(template.dtype, np.dtype):
            return pd.Series(numbers).astype(pd.Int64Dtype())
        return pd.Series(numbers).astype(template.dtype)
    series = type(template)(name, numbers)
    return series.fill_nan(None).cast(template.dtype)


def _ends(dtype: Any) -> tuple[float, float]:
    """Return the least and the greatest float that a dtype of pandas or polars holds."""
    of_arrow = getattr(dtype, "pyarrow_dtype", dtype)
    precision, scale = (getattr(of_arrow, name, None) for name in ("precision", "scale"))
    if precision is not None and scale is not None:  # a decimal
        most = float(10 ** (precision - scale)) * (1 - 2.0**-50) - float(10**-scale)
        return -most, most
    name = str(dtype).lower().partition("[")[0]
    if name in ("float16", "float32"):
        return float(np.finfo(name).min), float(np.finfo(name).max)
    try:
        about = np.iinfo(name)
    except (TypeError, ValueError):  # wider than numpy's, such as polars' Int128, or floats
        return -np.inf, np.inf
    return float(about.min), _float_below(int(about.max))


def _float_below(whole: int) -> float:
    """Return the greatest float that is not above a whole number of 0 or more."""
    return float(whole) if float(whole) <= whole else float(np.nextafter(float(whole), 0))


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
        cells = objects_of(series).copy()
        cells[rows] = objects_of(new)
        if isinstance(series, pd.Series):
            return pd.Series(cells, index=series.index).infer_objects()
        return type(series)(column.name, cells.tolist(), strict=False)
    if not isinstance(series, pd.Series):
        everything = np.zeros(len(series))
        everything[rows] = numbers[rows]
        replacement = column.write(everything)
        kept = type(series)("kept", ~missing)
        cells, replacement = _of_one_dtype(as_trained(series, column), replacement, column.role)
        return cells.zip_with(kept, replacement)
    if series.dtype == column.template.dtype:
        filled = series.copy()
        filled.iloc[rows] = new.array
        return filled
    cells = series.to_numpy(dtype=object).copy()
    cells[rows] = new.to_numpy(dtype=object)
    return as_trained(pd.Series(cells, index=series.index), column)


def _of_one_dtype(cells: Any, replacement: Any, role: str) -> tuple[Any, Any]:
    """Bring polars' replacements to the dtype of cells that the training dtype cannot hold."""
    if cells.dtype == replacement.dtype:
        return cells, replacement
    if role == "number":
        whole = is_integer(cells) and not is_integer(replacement)  # floats would round the cells
        return cells, replacement.round().cast(cells.dtype, strict=False) if whole else replacement
    cast = replacement.cast(cells.dtype, strict=False)
    if cast.null_count() == replacement.null_count():
        return cells, cast
    both = (nw.from_native(s, series_only=True).cast(nw.String) for s in (cells, replacement))
    text, new = (nw.to_native(s) for s in both)
    return text, new


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
        back = cast.astype(series.dtype)  # a comparison would round integers beyond 2**53
        exact = bool(((back == series) | (cast.isna() & series.isna())).all())
        exact &= not (is_integer(cast) and _changes_sign(cast, series))
    except (ValueError, TypeError, OverflowError):
        exact = False
    return cast if exact else series.infer_objects()


def _changes_sign(cast: Any, series: Any) -> bool:
    """Whether integers came out as others, modulo a power of two: such a cast brings them back."""
    return is_integer(series) and bool(((cast < 0) != (series < 0)).any())


def emptied(data: Any) -> Any:
    """Return a series of no rows that keeps nothing of the rows, nor of their index."""
    return pd.Series([], dtype=data.dtype) if isinstance(data, pd.Series) else data.clear()


def refuse_other_frames(table: Any) -> None:
    """Raise TypeError for tables of kinds that are to be converted first."""
    if nw.dependencies.is_polars_lazyframe(table):
        raise TypeError("The table is a lazy frame; pass it after .collect().")
    if nw.dependencies.is_pyarrow_table(table):
        raise TypeError("The table is of pyarrow; pass .to_pandas(), or polars.from_arrow of it.")


def as_pandas(table: Any) -> pd.DataFrame:
    """Return a pandas frame of a pandas or polars frame or an array."""
    if isinstance(table, pd.DataFrame):
        return table
    refuse_other_frames(table)
    if hasattr(table, "get_columns"):
        return pd.DataFrame({s.name: _cells_for_pandas(s) for s in table.get_columns()})
    return pd.DataFrame(table)


def _cells_for_pandas(series: Any) -> Any:
    """Return a polars series' cells; dates as times at midnight, times of day since midnight."""
    column = nw.from_native(series, series_only=True)
    if column.dtype == nw.Time:
        column = column.cast(nw.Int64).cast(nw.Duration("ns"))
    if column.dtype == nw.Decimal:
        column = column.cast(nw.Float64)
    if column.dtype == nw.Date:
        column = column.cast(nw.Datetime("us"))
    if column.dtype == nw.Duration:
        return pd.Series(column.to_list(), dtype="timedelta64[ns]")
    fits_numpy = column.dtype.is_numeric() and column.dtype not in (nw.Int128, nw.UInt128)
    return column.to_numpy() if fits_numpy and column.null_count() == 0 else column.to_list()
