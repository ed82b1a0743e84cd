"""The house: which file may import which, and where the heavy libraries may appear."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sklearn_cvae

ROOT = Path(sklearn_cvae.__file__).parent
BOTTOM: set[str] = set()
OURS = {
    "binning": BOTTOM,
    "scales": {"binning"},
    "codecs": {"binning", "scales"},
    "columns": {"codecs"},
    "ties": {"codecs"},
    "kinds": {"codecs"},
    "histograms": {"binning", "codecs", "kinds", "scales"},
    "likelihoods": {"codecs", "histograms", "kinds"},
    "factors": {"networks"},
    "networks": BOTTOM,
    "objectives": BOTTOM,
    "metrics": {"columns"},
    "datasets": BOTTOM,
    "plotting": {"columns", "metrics"},
    "reporting": {"metrics", "plotting"},
    "pooling": BOTTOM,
    "missingness": {"kinds"},
    "mixtures": {"kinds", "priors"},
    "priors": {"kinds", "networks"},
    "table": {"codecs", "columns", "likelihoods", "ties"},
    "backbones": {"networks"},
    "model": {
        "backbones",
        "codecs",
        "factors",
        "kinds",
        "likelihoods",
        "missingness",
        "mixtures",
        "networks",
        "objectives",
        "predictor",
        "priors",
        "ties",
    },
    "predictor": {"mixtures", "networks"},
    "optimizers": BOTTOM,
    "training": {"optimizers"},
    "noise": {"codecs"},
    "inference": {"codecs", "kinds", "model", "noise", "objectives", "priors", "ties"},
    "marginals": {"codecs", "inference", "model", "noise", "ties"},
    "conditions": {"codecs", "columns", "table", "validation"},
    "validation": {"codecs", "table"},
    "answers": {
        "codecs",
        "conditions",
        "inference",
        "model",
        "noise",
        "table",
        "training",
        "validation",
    },
    "estimator": {
        "answers",
        "backbones",
        "codecs",
        "networks",
        "objectives",
        "predictor",
        "priors",
        "table",
        "marginals",
        "mixtures",
        "model",
        "training",
        "inference",
        "validation",
    },
    "imputer": {"codecs", "columns", "table", "validation", "estimator"},
    "persistence": {
        "_version",
        "backbones",
        "codecs",
        "estimator",
        "imputer",
        "objectives",
        "priors",
        "table",
        "columns",
        "ties",
        "validation",
    },
}
ONLY_IN = {
    "narwhals": {"columns", "table"},
    "pandas": {"columns", "table", "datasets", "metrics", "plotting", "persistence", "reporting"},
    "skorch": {"training"},
    "zuko": {"priors"},
    "matplotlib": {"plotting"},
    "sklearn.base": {"answers", "estimator", "imputer", "validation"},
    "sklearn.callback": {"estimator"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules() -> list[str]:
    return sorted(p.stem for p in ROOT.glob("*.py") if not p.stem.startswith("_"))


def test_every_module_has_a_place():
    assert set(modules()) == set(OURS)


@pytest.mark.parametrize("module", modules())
def test_imports_follow_the_layers(module):
    used = imports(ROOT / f"{module}.py")
    ours = {name.split(".")[1] for name in used if name.startswith("sklearn_cvae.")}
    assert ours <= OURS[module]


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_where_they_belong(library):
    users = {
        module
        for module in modules()
        if any(n == library or n.startswith(f"{library}.") for n in imports(ROOT / f"{module}.py"))
    }
    assert users <= ONLY_IN[library]


def test_no_function_is_longer_than_fifty_lines():
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = node.end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 50, f"{path.name}: {node.name} has {length} lines"
