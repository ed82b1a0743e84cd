"""An independent judge of drawn digits: convolutions that learned from real binary digits."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.images import Images
from sklearn_cvae.networks import global_seed_kept

N_COPIES, BATCH_SIZE, RATE = 6, 128, 4e-3


class Judge(nn.Module):
    """Convolutions, two of which halve height and width, and one hidden layer.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height, width.
    n_classes : int
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        n_last = 32 * math.ceil(height / 4) * math.ceil(width / 4)
        self.layers = nn.Sequential(
            nn.Unflatten(1, shape),
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(n_last, 128),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(128, n_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of (n, pixels) binary images."""
        return self.layers(images.float())


def train_judge(train: Images, seed: int) -> NeuralNetClassifier:
    """Return a judge that saw each training image `N_COPIES` times, each binarised anew."""
    images = train.binarised(seed, N_COPIES)
    labels = np.tile(train.labels, N_COPIES)
    n_steps = math.ceil(len(images) / BATCH_SIZE)
    cycle = LRScheduler(OneCycleLR, step_every="batch", max_lr=RATE, total_steps=n_steps + 1)
    net = NeuralNetClassifier(
        Judge,
        module__shape=train.shape,
        module__n_classes=int(train.labels.max()) + 1,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=1,
        batch_size=BATCH_SIZE,
        train_split=None,
        callbacks=[cycle],
        callbacks__print_log=None,
        iterator_train__shuffle=True,
    )
    with global_seed_kept(seed):
        return net.fit(images, labels)


def share_right(judge: NeuralNetClassifier, images: NDArray[np.bool_], labels: object) -> float:
    """Return the share of images that the judge takes for what they are to be."""
    return float((judge.predict(images) == labels).mean())
