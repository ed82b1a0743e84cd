"""Save and load fitted estimators without pickle.

A file is a line with a magic word and the SHA-256 of what follows, then a safetensors file: the
network's weights, the codecs' arrays, and everything else as JSON in its header. Loading runs no
code from the file. What JSON cannot say (a function as `condition_features`, levels that are
neither text, numbers nor booleans) is refused when saving; joblib stores those.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from sklearn.utils.validation import check_is_fitted

from sklearn_cvae._version import __version__
from sklearn_cvae.backbones import BACKBONES
from sklearn_cvae.codecs import CODECS, Codec
from sklearn_cvae.columns import Column
from sklearn_cvae.estimator import ConditionalVAE
from sklearn_cvae.imputer import CVAEImputer
from sklearn_cvae.objectives import OBJECTIVES
from sklearn_cvae.priors import PRIORS
from sklearn_cvae.table import Schema, TableCodec, is_frame
from sklearn_cvae.ties import TieCodec, Ties
from sklearn_cvae.validation import refuse_changed

Array = NDArray[Any]
Arrays = dict[str, Array]

# The number goes up whenever a file of before could no longer be read.
FORMAT = "sklearn_cvae-"
MAGIC = f"{FORMAT}14"
COLUMN_FIELDS = ("name", "role", "levels", "integer", "origin", "unit")
MODEL_FIELDS = (
    "loss_curve_",
    "validation_curve_",
    "n_iter_",
    "n_features_in_",
    "n_active_units_",
    "hidden_layer_sizes_",
    "n_decoders_",
)
ALL_CODECS: dict[str, type[Codec]] = {**CODECS, "tie": TieCodec}
CHOICES: dict[str, dict[str, Any]] = {
    "prior": PRIORS,
    "objective": OBJECTIVES,
    "backbone": BACKBONES,
}


def save(estimator: ConditionalVAE | CVAEImputer, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one file, whole or not at all.

    Parameters
    ----------
    estimator : ConditionalVAE or CVAEImputer
        A fitted estimator.
    path : path-like

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If a parameter or a level cannot be said in JSON, or if parameters of the model were
        changed after `fit`; nothing is written then.
    TypeError
        For other estimators.
    """
    if not isinstance(estimator, (ConditionalVAE, CVAEImputer)):
        raise TypeError(
            "save takes a ConditionalVAE or a CVAEImputer, such as a pipeline's step, not a "
            f"{type(estimator).__name__}; joblib.dump takes others."
        )
    check_is_fitted(estimator)
    about, arrays = _describe(estimator)
    try:
        header = json.dumps({"version": __version__, **about}, default=_plain)
    except TypeError as error:
        raise ValueError(f"This estimator cannot be saved: {error}. Use joblib.dump.") from error
    content = save_arrays(arrays, metadata={"sklearn_cvae": header})
    line = f"{MAGIC} {hashlib.sha256(content).hexdigest()}\n".encode()
    _write(Path(path), line + content)


def load(path: str | os.PathLike[str]) -> ConditionalVAE | CVAEImputer:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator : ConditionalVAE or CVAEImputer
        On the device that its `device` parameter means here.

    Raises
    ------
    ValueError
        If the file is not one of ours, was changed since, or is of another format.

    Examples
    --------
    >>> import tempfile, sklearn_cvae
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> model = sklearn_cvae.ConditionalVAE(2, max_iter=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sklearn_cvae.save(model, f"{folder}/model.cvae")
    ...     again = sklearn_cvae.load(f"{folder}/model.cvae")
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    line, _, content = Path(path).read_bytes().partition(b"\n")
    magic, _, digest = line.decode("ascii", errors="replace").partition(" ")
    if magic != MAGIC and magic.startswith(FORMAT):
        raise ValueError(
            f"{path} has the format {magic!r}, this version of sklearn_cvae reads {MAGIC!r}. "
            "Load it with the version that wrote it, or fit and save anew."
        )
    if magic != MAGIC:
        raise ValueError(f"{path} was not written by sklearn_cvae.save.")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: its checksum does not match its content.")
    length = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["sklearn_cvae"])
    return _rebuild(about, load_arrays(content))


def _write(path: Path, content: bytes) -> None:
    """Write beside the target, flush to disk, then rename: a crash leaves the old file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}, which JSON cannot hold")


# --------------------------------------------------------------------------------------
# Estimators
# --------------------------------------------------------------------------------------


def _describe(estimator: ConditionalVAE | CVAEImputer) -> tuple[dict[str, Any], Arrays]:
    if isinstance(estimator, ConditionalVAE):
        return _describe_model(estimator)
    about, arrays = _describe_model(estimator.estimator_)
    params = estimator.get_params(deep=False)
    inner = params.pop("estimator")
    outer = {
        "params": params,
        "estimator": None if inner is None else _describe_params(inner),
        "bounds": estimator._bounds,
        "kept": estimator._kept,
        "indicator_features": estimator.indicator_features_,
        "n_features_in_": estimator.n_features_in_,
        "feature_names_in_": getattr(estimator, "feature_names_in_", None),
    }
    return {**about, "imputer": outer}, arrays


def _rebuild(about: dict[str, Any], arrays: Arrays) -> ConditionalVAE | CVAEImputer:
    model = _rebuild_model(about, arrays)
    outer = about.get("imputer")
    if outer is None:
        return model
    inner = None if outer["estimator"] is None else _rebuild_params(outer["estimator"])
    imputer = CVAEImputer(inner, **outer["params"])
    imputer.estimator_ = model
    imputer._bounds = [np.asarray(bound, dtype=float) for bound in outer["bounds"]]
    imputer._kept = np.asarray(outer["kept"], dtype=int)
    imputer.indicator_features_ = np.asarray(outer["indicator_features"], dtype=int)
    _set_features(imputer, outer)
    return imputer


def _describe_model(model: ConditionalVAE) -> tuple[dict[str, Any], Arrays]:
    refuse_changed(model, model._learned_with)
    table = model._table
    arrays = {
        f"network.{name}": np.ascontiguousarray(tensor.cpu().numpy())
        for name, tensor in model.net_.module_.state_dict().items()
    }
    for j, codec in enumerate(table.codecs):
        arrays |= {f"codec.{j}.{f.name}": _as_array(getattr(codec, f.name)) for f in fields(codec)}
    arrays |= {f"ties.{f.name}": np.asarray(getattr(table.ties, f.name)) for f in fields(Ties)}
    library, extra = _describe_frame(table.schema.frame)
    about = {
        "params": _describe_params(model),
        "library": library,
        "columns_name": getattr(getattr(table.schema.frame, "columns", None), "name", None),
        "columns": [_describe_column(c, library) for c in table.schema.columns],
        "target": table.target and _describe_column(table.target, "pandas"),
        "codecs": [_codec_name(codec) for codec in table.codecs],
        "likelihoods": table.likelihoods,
        "conditions": table.conditions,
        "feature_names_in_": getattr(model, "feature_names_in_", None),
        "kl_per_latent_": model.kl_per_latent_,
        **{name: getattr(model, name) for name in MODEL_FIELDS},
    }
    return about, arrays | extra


def _rebuild_model(about: dict[str, Any], arrays: Arrays) -> ConditionalVAE:
    model = _rebuild_params(about["params"])
    frame = _rebuild_frame(about, arrays)
    columns = [
        _rebuild_column(c, about["library"], frame, j) for j, c in enumerate(about["columns"])
    ]
    target = about["target"] and _rebuild_column(about["target"], "pandas", None, 0)
    table = TableCodec(
        schema=Schema(tuple(columns), frame),
        target=target or None,
        codecs=tuple(_rebuild_codec(n, j, arrays) for j, n in enumerate(about["codecs"])),
        likelihoods=tuple(about["likelihoods"]),
        conditions=tuple(about["conditions"]),
        ties=Ties(**{f.name: arrays[f"ties.{f.name}"] for f in fields(Ties)}),
    )
    weights = {
        name.removeprefix("network."): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith("network.")
    }
    model._restore(table, about["hidden_layer_sizes_"], about["n_decoders_"], weights)
    for name in MODEL_FIELDS:
        setattr(model, name, about[name])
    model.kl_per_latent_ = np.asarray(about["kl_per_latent_"])
    _set_features(model, about)
    return model


def _describe_params(model: ConditionalVAE) -> dict[str, Any]:
    """Say a model's parameters; JSON would turn a dict's integer keys into text."""
    params: dict[str, Any] = model.get_params()
    if isinstance(model.likelihoods, dict):
        params["likelihoods"] = list(model.likelihoods.items())
    for parameter, choices in CHOICES.items():
        params[parameter] = _describe_choice(params[parameter], choices)
    return params


def _describe_choice(choice: Any, choices: dict[str, Any]) -> Any:
    """Say an object with settings of its own as the name of its class, and these."""
    if isinstance(choice, str):
        return choice
    names = [name for name, kind in choices.items() if type(choice) is kind]
    if not names:
        raise ValueError(f"{choice!r} cannot be saved, being a class of yours. Use joblib.dump.")
    return {"name": names[0], "settings": {f.name: getattr(choice, f.name) for f in fields(choice)}}


def _rebuild_params(params: dict[str, Any]) -> ConditionalVAE:
    if isinstance(params["likelihoods"], list):
        params = {**params, "likelihoods": dict(params["likelihoods"])}
    for parameter, choices in CHOICES.items():
        about = params[parameter]
        if isinstance(about, dict):
            params = {**params, parameter: choices[about["name"]](**about["settings"])}
    sizes = params["hidden_layer_sizes"]
    if isinstance(sizes, list):
        params = {**params, "hidden_layer_sizes": tuple(sizes)}
    return ConditionalVAE(**params)


def _set_features(estimator: Any, about: dict[str, Any]) -> None:
    estimator.n_features_in_ = about["n_features_in_"]
    if about["feature_names_in_"] is not None:
        estimator.feature_names_in_ = np.asarray(about["feature_names_in_"], dtype=object)


def _codec_name(codec: Codec) -> str:
    (name,) = (name for name, kind in ALL_CODECS.items() if type(codec) is kind)
    return name


def _as_array(part: Any) -> Array:
    return np.frombuffer(part.encode(), np.uint8) if isinstance(part, str) else np.asarray(part)


def _as_part(array: Array) -> Any:
    """Undo `_as_array`: codecs have numbers, arrays of them, and words."""
    if array.dtype == np.uint8:
        return array.tobytes().decode()
    return array if array.ndim else array.item()


def _rebuild_codec(name: str, j: int, arrays: Arrays) -> Codec:
    kind: Any = ALL_CODECS[name]
    return kind(**{f.name: _as_part(arrays[f"codec.{j}.{f.name}"]) for f in fields(kind)})


# --------------------------------------------------------------------------------------
# Frames without rows
# --------------------------------------------------------------------------------------


def _describe_frame(frame: Any) -> tuple[str, Arrays]:
    """Say which library a frame is of; polars writes its own dtypes as Arrow IPC."""
    if isinstance(frame, pd.DataFrame):
        return "pandas", {}
    if not is_frame(frame):
        return str(np.dtype(frame)), {}
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return "polars", {"polars": np.frombuffer(buffer.getvalue(), dtype=np.uint8)}


def _rebuild_frame(about: dict[str, Any], arrays: Arrays) -> Any:
    if about["library"] == "polars":
        import polars

        return polars.read_ipc(io.BytesIO(arrays["polars"].tobytes()))
    if about["library"] != "pandas":
        return np.dtype(about["library"])
    series = {j: _empty_series(c) for j, c in enumerate(about["columns"])}
    frame = pd.DataFrame(series)
    frame.columns = pd.Index([c["name"] for c in about["columns"]], name=about["columns_name"])
    return frame


def _describe_column(column: Column, library: str) -> dict[str, Any]:
    about = {field: getattr(column, field) for field in COLUMN_FIELDS}
    dtype = column.template.dtype
    categories = dtype.categories if isinstance(dtype, pd.CategoricalDtype) else ()
    cells = [column.name, *column.levels, *categories]
    kinds = (str, bool, int, float, np.generic)
    odd = [v for v in cells if not isinstance(v, kinds) or isinstance(v, np.longdouble)]
    if odd:
        raise ValueError(
            f"Column {column.name!r} cannot be saved: {odd[0]!r} is a {type(odd[0]).__name__}, "
            "which JSON cannot hold. Use joblib.dump."
        )
    if library == "polars":
        return about
    return {**about, "dtype": _describe_dtype(dtype)}


def _describe_dtype(dtype: Any) -> dict[str, Any]:
    """Say a dtype of pandas; those of strings and of arrow have names that leave some of it out."""
    if isinstance(dtype, pd.CategoricalDtype):
        values = {"categories": list(dtype.categories), "ordered": bool(dtype.ordered)}
        return {"kind": "categorical", **values, "of": _describe_dtype(dtype.categories.dtype)}
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow

        schema = pyarrow.schema([("cells", dtype.pyarrow_dtype)]).serialize().to_pybytes()
        return {"kind": "arrow", "schema": base64.b64encode(schema).decode()}
    if isinstance(dtype, pd.StringDtype):
        return {"kind": "string", "storage": dtype.storage, "has_na": dtype.na_value is pd.NA}
    return {"kind": "named", "name": str(dtype)}


def _rebuild_dtype(about: dict[str, Any]) -> Any:
    if about["kind"] == "categorical":
        categories = pd.Index(about["categories"], dtype=_rebuild_dtype(about["of"]))
        return pd.CategoricalDtype(categories, ordered=about["ordered"])
    if about["kind"] == "arrow":
        import pyarrow

        schema = pyarrow.py_buffer(base64.b64decode(about["schema"]))
        return pd.ArrowDtype(pyarrow.ipc.read_schema(schema).field(0).type)
    if about["kind"] == "string":
        na_value = pd.NA if about["has_na"] else np.nan
        return pd.StringDtype(about["storage"], na_value=na_value)
    return about["name"]


def _rebuild_column(about: dict[str, Any], library: str, frame: Any, j: int) -> Column:
    template = frame.to_series(j) if library == "polars" else _empty_series(about)
    plain = {field: about[field] for field in COLUMN_FIELDS}
    return Column(**{**plain, "levels": tuple(about["levels"])}, template=template)


def _empty_series(about: dict[str, Any]) -> pd.Series:
    return pd.Series([], dtype=_rebuild_dtype(about["dtype"]))
