"""Digits for the benchmarks of images: MNIST, or scikit-learn's small digits without it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Array = NDArray[np.float64]


class Images(NamedTuple):
    """Grey images, and what they show.

    Parameters
    ----------
    pixels : ndarray of shape (n, height * width)
        Intensities from 0 to 1.
    labels : ndarray of shape (n,), int
    shape : tuple of int
        Channels, height, width.
    """

    pixels: Array
    labels: NDArray[np.int64]
    shape: tuple[int, int, int]

    def binarised(self, seed: int, n_copies: int = 1) -> NDArray[np.bool_]:
        """Return images whose pixels are on with the probability of their intensity.

        Parameters
        ----------
        seed : int
        n_copies : int, default=1
            Copies of each image, one block after the other, each binarised anew.
        """
        rng = np.random.default_rng(seed)
        copies = [rng.random(self.pixels.shape, np.float32) < self.pixels for _ in range(n_copies)]
        return np.concatenate(copies)

    def some(self, n: int) -> Images:
        """Return the first n images."""
        return self._replace(pixels=self.pixels[:n], labels=self.labels[:n])


def load_images(data: Path | None) -> tuple[Images, Images]:
    """Return training and test digits: MNIST of a folder, or the small digits that are bundled.

    Parameters
    ----------
    data : Path or None
        A folder with `images/mnist`, the four files as they were published.
    """
    if data is None:
        bundled = load_digits()
        pixels, labels = bundled.data / 16, bundled.target.astype(np.int64)
        whole = Images(pixels, labels, (1, 8, 8))
        return whole.some(1400), Images(pixels[1400:], labels[1400:], (1, 8, 8))
    train, test = (_read(data / "images" / "mnist", part) for part in ("train", "t10k"))
    return train, test


def _read(folder: Path, part: str) -> Images:
    pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    grey = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 784) / 255
    return Images(grey, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64), (1, 28, 28))
