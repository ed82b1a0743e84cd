"""Networks of a user's own for 8 x 8 images: convolutions that keep the image's size.

`Custom(Encoder, Decoder)` makes a backbone of them; the first 64 columns are the pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 8
N_PIXELS = SIDE * SIDE
N_MAPS, N_HIDDEN = 24, 256


class Encoder(nn.Module):
    """Convolutions over cells as maps, beside the cells themselves."""

    def __init__(self, n_columns: int, width: int, n_condition: int, n_out: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(width, N_MAPS, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(N_MAPS, 2 * N_MAPS, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Conv2d(2 * N_MAPS, 2 * N_MAPS, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
        )
        n_maps = 2 * N_MAPS * N_PIXELS // 4
        self.head = nn.Sequential(
            nn.Linear(n_maps + N_PIXELS * width + n_condition, N_HIDDEN),
            nn.SiLU(),
            nn.Linear(N_HIDDEN, n_out),
        )

    def forward(self, cells: Tensor, c: Tensor) -> Tensor:
        """Return the posterior's parameters, of shape (n, n_out)."""
        pixels = cells[:, :N_PIXELS]
        image = pixels.transpose(1, 2).unflatten(2, (SIDE, SIDE))
        return self.head(torch.cat([self.maps(image), pixels.flatten(1), c], dim=1))


class Decoder(nn.Module):
    """A perceptron to maps of the image's size, which residual convolutions refine.

    A scale and an offset per pixel say what differs by place.
    """

    def __init__(self, n_latents: int, n_condition: int, n_columns: int, n_outputs: int) -> None:
        super().__init__()
        self.n_others = n_columns - N_PIXELS
        self.head = nn.Sequential(
            nn.Linear(n_latents + n_condition, N_HIDDEN),
            nn.SiLU(),
            nn.Linear(N_HIDDEN, N_MAPS * N_PIXELS),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Conv2d(N_MAPS, N_MAPS, 3, padding=1), nn.SiLU())
            for _ in range(2)
        )
        self.scale = nn.Parameter(torch.ones(N_MAPS, SIDE, SIDE))
        self.out = nn.Conv2d(N_MAPS, n_outputs, 3, padding=1)
        self.offset = nn.Parameter(torch.zeros(n_outputs, SIDE, SIDE))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Return the likelihoods' parameters, of shape (n, n_columns, n_outputs)."""
        maps = self.head(torch.cat([z, c], dim=1)).unflatten(1, (N_MAPS, SIDE, SIDE))
        for block in self.blocks:
            maps = maps + block(maps)
        pixels = (self.out(maps * self.scale) + self.offset).flatten(2).transpose(1, 2)
        return F.pad(pixels, (0, 0, 0, self.n_others))
