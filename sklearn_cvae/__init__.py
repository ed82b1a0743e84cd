"""A conditional variational autoencoder for mixed tables, as a scikit-learn estimator."""

from sklearn_cvae.estimator import ConditionalVAE, CVAEImputer

__all__ = ["CVAEImputer", "ConditionalVAE", "__version__"]
__version__ = "0.1.0"
