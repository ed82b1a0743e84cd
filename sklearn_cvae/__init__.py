"""A conditional variational autoencoder for mixed tables, as a scikit-learn estimator."""

from sklearn_cvae._version import __version__
from sklearn_cvae.estimator import ConditionalVAE
from sklearn_cvae.imputer import CVAEImputer
from sklearn_cvae.persistence import load, save
from sklearn_cvae.pooling import Pooled, pool
from sklearn_cvae.reporting import Report, report

__all__ = [
    "CVAEImputer",
    "ConditionalVAE",
    "Pooled",
    "Report",
    "__version__",
    "load",
    "pool",
    "report",
    "save",
]
