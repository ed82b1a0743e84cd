r"""Values that hide themselves: a model of which cells are missing.

.. math:: p(x, s) = \int p(z) \prod_j p(x_j \mid z) \, p(s_j \mid x_j) \, dz, \quad
    p(s_j = 0 \mid x_j) = \mathrm{sigmoid}(a_j x_j + b_j)

with `s_j = 0` for a missing cell and `x_j` on the scale of scores; a level has a logit of its own.
Since every column's distribution is over finitely many atoms, a missing cell's value is summed out
exactly, where the paper draws it.

References
----------
Ipsen, Mattei, Frellsen. not-MIWAE: Deep Generative Modelling with Missing not at Random Data.
ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.kinds import Kind, Numeric


class SelfMasking(nn.Module):
    """Each cell is missing with a probability that depends on its own value.

    Parameters
    ----------
    kinds : sequence of Kind
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        super().__init__()
        self.slopes = nn.ParameterList(torch.zeros(kind.n_columns, 1) for kind in kinds)
        self.logits = nn.ParameterList(
            torch.full((kind.n_columns, 1 if isinstance(kind, Numeric) else kind.n_atoms), -1.0)
            for kind in kinds
        )

    def log_seen(self, kind: Kind, index: int, values: Tensor) -> Tensor:
        """Return (n, m) log-probabilities that known values are seen.

        Parameters
        ----------
        kind : Kind
        index : int
            Position of the kind.
        values : Tensor of shape (n, m)
        """
        if isinstance(kind, Numeric):
            logit = values * self.slopes[index][:, 0] + self.logits[index][:, 0]
        else:
            table = self.logits[index].expand(len(values), -1, -1)
            logit = table.gather(-1, kind.atoms(values)[..., None])[..., 0]
        return F.logsigmoid(-logit)

    def log_missing(self, kind: Kind, index: int) -> Tensor:
        """Return (m, n_atoms) log-probabilities that an atom of a column is missing."""
        if isinstance(kind, Numeric):
            return F.logsigmoid(kind.centres * self.slopes[index] + self.logits[index])
        return F.logsigmoid(self.logits[index])

    def log_prob(
        self, kinds: Sequence[Kind], values: Tensor, probs: list[Tensor], missing: Tensor
    ) -> Tensor:
        """Return each row's log p(which cells are missing | z).

        Parameters
        ----------
        kinds : sequence of Kind
        values : Tensor of shape (n, d)
        probs : list of Tensor of shape (n, m, n_atoms)
            Each kind's probabilities of the atoms given z.
        missing : Tensor of shape (n, d), bool
        """
        total = values.new_zeros(len(values))
        for i, (kind, part) in enumerate(zip(kinds, probs, strict=True)):
            hidden = (part * self.log_missing(kind, i).exp()).sum(-1).clamp(min=1e-12).log()
            seen = self.log_seen(kind, i, values[:, kind.columns])
            total = total + torch.where(missing[:, kind.columns], hidden, seen).sum(1)
        return total

    def tilted(self, kinds: Sequence[Kind], probs: list[Tensor]) -> list[Tensor]:
        """Return each kind's probabilities given that its cells are missing (Bayes' rule)."""
        joint = [
            part * self.log_missing(kind, i).exp()
            for i, (kind, part) in enumerate(zip(kinds, probs, strict=True))
        ]
        return [part / part.sum(-1, keepdim=True).clamp(min=1e-30) for part in joint]
