"""Likelihoods: what distribution the columns of a group get."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from scipy.special import stdtr
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cvae.codecs import Array, Codec, GridCodec, LevelCodec, NumericCodec
from sklearn_cvae.histograms import Histogram, HistogramPerRow, TiltedGaussian
from sklearn_cvae.kinds import FAR, LOG_2PI, Kind, Numeric, between_tails, normal_log_prob, pick

LEAST_SIGMA = 0.01
RATE_BEND = 8.0
TAIL_STEP, N_TAIL = 0.02, 2048


class Categorical(Kind):
    r"""Levels with \(p(x = l) = \mathrm{softmax}(\eta)_l\); inputs are one-hot."""

    numeric = False
    padding: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        return "" if n_levels is not None else "takes categories; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return LevelCodec(n_levels or 0)

    def __init__(self, columns: list[int], codecs: list[LevelCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = self.n_atoms
        self.n_params = self.n_columns * self.n_atoms
        self._buffer("padding", [np.zeros(c.n_atoms) for c in codecs], -torch.inf, self.n_atoms)

    def inputs(self, values: Tensor) -> Tensor:
        levels = torch.arange(self.n_atoms, device=values.device)
        return (values[..., None] == levels).to(torch.float32)

    def _logits(self, params: Tensor) -> Tensor:
        return params.unflatten(1, (self.n_columns, self.n_atoms)) + self.padding

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return pick(self._logits(params), values.long())

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return self._logits(params).softmax(-1)


class Bernoulli(Kind):
    r"""Two levels or two numbers with \(p(x = 1) = \mathrm{sigmoid}(\eta)\); inputs are -1 or 1."""

    numeric = False
    threshold: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        if n_levels is not None:
            return "" if n_levels == 2 else f"takes two levels, not {n_levels}; use 'categorical'"
        seen = np.unique(numbers[~np.isnan(numbers)])
        if len(seen) == 2:
            return ""
        named = ", ".join(f"{x:g}" for x in seen[:3])
        return f"takes two distinct numbers, but there are {len(seen)}: {named}; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        # A numeric codec makes two atoms of four cells or more.
        return LevelCodec(2) if n_levels else NumericCodec.fit(np.repeat(numbers, 2))

    def __init__(self, columns: list[int], codecs: list[LevelCodec | NumericCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = 1
        self.n_params = self.n_columns
        edges = [0.5 if isinstance(c, LevelCodec) else float(c.score_edges[0]) for c in codecs]
        self.register_buffer("threshold", torch.tensor(edges), persistent=False)

    def _signs(self, values: Tensor) -> Tensor:
        return torch.where(values > self.threshold, 1.0, -1.0)

    def atoms(self, values: Tensor) -> Tensor:
        return (values > self.threshold).long()

    def inputs(self, values: Tensor) -> Tensor:
        return self._signs(values)[..., None]

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return F.logsigmoid(params * self._signs(values))

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return torch.stack([torch.sigmoid(-params), torch.sigmoid(params)], dim=-1)


class Ordinal(Kind):
    r"""Ordered levels with \(p(x \le l) = \sigma((c_l - \eta) / \tau)\), inputs \(1[x > l]\).

    The cutpoints \(c_1 < c_2 < \dots\) are learned per column; the network gives a location
    \(\eta\) and the log of a scale \(\tau\), without which a level between two others could not
    be known for sure. Levels are in the order of the dtype's categories, else sorted. Training
    starts from the levels' frequencies.

    References
    ----------
    McCullagh. Regression Models for Ordinal Data. Journal of the Royal Statistical Society B, 1980.
    """

    numeric = False
    own: Tensor

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        if n_levels is None:
            return "takes categories; use 'histogram', or name it in categorical_features"
        return "" if n_levels >= 2 else f"takes two levels or more, not {n_levels}"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return LevelCodec(n_levels or 0)

    def __init__(self, columns: list[int], codecs: list[LevelCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs = self.n_features = self.n_atoms - 1
        self.n_params = 2 * self.n_columns
        self._buffer("own", [np.ones(c.n_atoms - 1) for c in codecs], 0.0, self.n_atoms - 1)
        self.first = nn.Parameter(torch.zeros(self.n_columns))
        self.gaps = nn.Parameter(torch.zeros(self.n_columns, self.n_atoms - 2))

    @torch.no_grad()
    def start(self, values: Tensor, observed: Tensor) -> None:
        own = F.pad(self.own, (1, 0), value=1.0)
        levels = torch.arange(self.n_atoms, device=values.device)
        seen = ((values[..., None] == levels) & observed[..., None]).sum(0)
        share = ((seen + 0.5) * own).cumsum(-1) / ((seen + 0.5) * own).sum(-1, keepdim=True)
        cuts = torch.logit(share[:, :-1], eps=1e-6)
        self.first.copy_(cuts[:, 0])
        self.gaps.copy_(torch.diff(cuts).clamp(min=1e-4).expm1().log())

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper cutpoint of each level, of shape (m, n_atoms)."""
        gaps = F.softplus(self.gaps) + 1e-3
        cuts = self.first[:, None] + F.pad(gaps.cumsum(-1), (1, 0))
        cuts = torch.where(self.own > 0, cuts, FAR)
        return F.pad(cuts, (1, 0), value=-FAR), F.pad(cuts, (0, 1), value=FAR)

    def inputs(self, values: Tensor) -> Tensor:
        levels = torch.arange(self.n_inputs, device=values.device)
        return (values[..., None] > levels).to(torch.float32)

    def _log_probs(self, params: Tensor) -> Tensor:
        """Return log(sigmoid(u) - sigmoid(l)), in the form that loses no digits."""
        location, log_scale = params.unflatten(1, (self.n_columns, 2)).unbind(-1)
        sharpness = torch.exp(-log_scale.clamp(-4, 4))[..., None]
        low, high = ((end - location[..., None]) * sharpness for end in self._bounds())
        width = torch.where(high > low, high - low, 1.0)
        log_probs = F.logsigmoid(high) + F.logsigmoid(-low)
        log_probs = log_probs + torch.log(-torch.expm1(-width))
        return torch.where(high > low, log_probs, -torch.inf)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return self._log_probs(params).gather(-1, values.long()[..., None])[..., 0]

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        return self._log_probs(params).softmax(-1)


class RankNormal(Numeric):
    r"""Normal scores with \(t \sim N(\mu, \sigma^2)\), one learned `sigma` per column."""

    def __init__(self, columns: list[int], codecs: list[NumericCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_params = self.n_columns

    @staticmethod
    def log_volume(codec: NumericCodec, numbers: Array) -> Array:
        return codec.log_slope(numbers)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        return normal_log_prob(values, params, self.log_sigma.clamp(-4, 4))

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        sigma = self.log_sigma.clamp(-4, 4).exp()[:, None] * spread**0.5
        below = torch.special.ndtr((self.edges - params[..., None]) / sigma)
        return torch.diff(F.pad(F.pad(below, (0, 1), value=1.0), (1, 0)), dim=-1)


class Gaussian(Numeric):
    r"""Standardised numbers with \(t \sim N(\mu, \sigma^2)\), one learned `sigma` per column.

    Base of the densities of location and scale: means and draws may leave the seen range. Within
    `probs`, atoms have differences of the distribution function.

    References
    ----------
    Kingma, Welling. Auto-Encoding Variational Bayes. ICLR 2014 (appendix C.2). Departure: one
    variance per column, which cannot collapse onto single cells.
    """

    grid: ClassVar[dict[str, bool]] = {}
    n_outputs: ClassVar[int] = 1
    takes: ClassVar[str] = "numbers"

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        """Return which numbers cannot be."""
        return np.zeros(len(numbers), dtype=bool)

    @classmethod
    def refuses(cls, numbers: Array, n_levels: int | None) -> str:
        known = numbers[~np.isnan(numbers)]
        wrong = known[cls.outside(known)]
        if n_levels is not None or len(wrong) == 0:
            return super().refuses(numbers, n_levels)
        cells = f"{len(wrong)} cell{' is' if len(wrong) == 1 else 's are'} not, e.g. {wrong[0]!s}"
        return f"takes {cls.takes}, but {cells}; use 'histogram'"

    @classmethod
    def fit_codec(cls, numbers: Array, n_levels: int | None) -> Codec:
        return GridCodec.fit(numbers, **cls.grid)

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_params = self.n_columns * self.n_outputs

    def _split(self, params: Tensor) -> tuple[Tensor, ...]:
        return params.unflatten(1, (self.n_columns, self.n_outputs)).unbind(-1)

    def _log_scale(self, params: Tensor) -> Tensor:
        """Return the log of sigma, of shape (m,) or (n, m)."""
        return self.log_sigma.clamp(-4, 4)

    def _log_density(self, u: Tensor) -> Tensor:
        """Return the log density of standardised scores, of shape (n, m)."""
        return -0.5 * (u**2 + LOG_2PI)

    def _tail(self, u: Tensor) -> Tensor:
        """Return the probability beyond u >= 0, of shape (n, m, n_edges)."""
        return torch.special.ndtr(-u)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        log_scale = self._log_scale(params)
        u = (values - self._split(params)[0]) * torch.exp(-log_scale)
        return self._log_density(u) - log_scale

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        scale = self._log_scale(params).exp()[..., None] * spread**0.5
        u = (self.edges - self._split(params)[0][..., None]) / scale
        tail, above = F.pad(self._tail(u.abs()), (1, 1)), F.pad(u > 0, (1, 0))
        return between_tails(tail, F.pad(above, (0, 1), value=True))


class GaussianFixed(Gaussian):
    r"""Standardised numbers with \(t \sim N(\mu, 1)\): the squared error of the first VAEs.

    The variance of a whole standardised column: rows keep little about a number, and draws of it
    spread wider than the data. It is there to compare with.

    References
    ----------
    Doersch. Tutorial on Variational Autoencoders. arXiv:1606.05908, 2016.
    """

    def _log_scale(self, params: Tensor) -> Tensor:
        return torch.zeros_like(self.log_sigma)


class GaussianPerRow(Gaussian):
    r"""Standardised numbers with \(t \sim N(\mu, \sigma^2)\), both of them network outputs.

    .. math:: \sigma^2 = 0.01^2 + \exp(2 (s + \log \sigma_0))

    `s` is a network output and \(\sigma_0\) one learned number per column. Without a floor the
    likelihood is unbounded.

    References
    ----------
    Mattei, Frellsen. Leveraging the Exact Likelihood of Deep Latent Variable Models. NeurIPS 2018.
    """

    n_outputs = 2

    def _log_scale(self, params: Tensor) -> Tensor:
        log_sigma = (self.log_sigma + self._split(params)[1]).clamp(-7, 4)
        return 0.5 * torch.log(LEAST_SIGMA**2 + torch.exp(2 * log_sigma))


class StudentT(Gaussian):
    r"""Numbers with \((t - \mu) / \sigma\) Student's t; `sigma` and the freedom learned per column.

    .. math:: p(u) \propto (1 + u^2 / \nu)^{-(\nu + 1) / 2}, \quad \nu > 1

    The scale of `t` is set by quartiles, since a few far cells would set the deviation. `probs`
    reads the distribution function from a table and gives no gradient by \(\nu\).

    References
    ----------
    Lange, Little, Taylor. Robust Statistical Modeling Using the t Distribution. JASA 1989.
    """

    grid: ClassVar[dict[str, bool]] = {"robust": True}

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.log_dof = nn.Parameter(torch.full((self.n_columns,), float(np.log(4))))

    @property
    def dof(self) -> Tensor:
        """Degrees of freedom, above 1: a mean exists."""
        return 1 + self.log_dof.clamp(-5, 6).exp()

    def _log_density(self, u: Tensor) -> Tensor:
        dof = self.dof
        constant = torch.lgamma((dof + 1) / 2) - torch.lgamma(dof / 2)
        constant = constant - 0.5 * torch.log(dof * torch.pi)
        return constant - (dof + 1) / 2 * torch.log1p(u**2 / dof)

    def _tail(self, u: Tensor) -> Tensor:
        dof = self.dof.detach().double().cpu().numpy()
        known = stdtr(dof[:, None], -np.sinh(TAIL_STEP * np.arange(N_TAIL)))
        table = torch.from_numpy(np.log(np.maximum(known, 1e-37)).astype(np.float32)).to(u.device)
        place = torch.asinh(u) / TAIL_STEP
        left = place.detach().long().clamp(max=N_TAIL - 2)
        column = torch.arange(len(dof), device=u.device)[:, None]
        start, end = table[column, left], table[column, left + 1]
        tail = torch.exp(start + (place - left).clamp(max=1) * (end - start))
        return torch.where(place < N_TAIL - 1, tail, 0.0)


class LogNormal(Gaussian):
    r"""Positive numbers with \(\log x \sim N(\mu, \sigma^2)\), one learned `sigma` per column.

    References
    ----------
    Limpert, Stahel, Abbt. Log-normal Distributions across the Sciences. BioScience 2001.
    """

    grid: ClassVar[dict[str, bool]] = {"logged": True}
    takes = "numbers above 0"

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return numbers <= 0


class ZeroInflatedLogNormal(LogNormal):
    r"""Numbers of at least 0: \(p(0) = \pi\), else \(\log x \sim N(\mu, \sigma^2)\).

    \(\pi\) is the sigmoid of a second network output. The networks see a zero as a flag beside a
    score of 0, the mean of the positive numbers' scores.

    References
    ----------
    Aitchison. On the Distribution of a Positive Random Variable Having a Discrete Probability Mass
    at the Origin. JASA 1955.
    """

    grid: ClassVar[dict[str, bool]] = {"logged": True, "zero": True}
    takes = "numbers of at least 0"
    n_outputs = 2

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        self.n_inputs, self.n_features = self.n_inputs + 1, 2

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return numbers < 0

    def _is_zero(self, values: Tensor) -> Tensor:
        return values < self.edges[:, 0]

    def inputs(self, values: Tensor) -> Tensor:
        zero = self._is_zero(values)
        score = super().inputs(torch.where(zero, 0.0, values))
        flag = torch.where(zero, 1.0, -1.0)[..., None]
        return torch.cat([score[..., :1], flag, score[..., 1:]], dim=-1)

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        logit, zero = self._split(params)[1], self._is_zero(values)
        positive = super().log_prob(params, torch.where(zero, 0.0, values))
        return torch.where(zero, F.logsigmoid(logit), F.logsigmoid(-logit) + positive)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        logit = self._split(params)[1][..., None]
        positive = super().probs(params, spread)
        # What the density has below the first positive atom belongs to that atom.
        first = positive[..., :1] + positive[..., 1:2]
        positive = torch.cat([first, positive[..., 2:]], dim=-1) * torch.sigmoid(-logit)
        return torch.cat([torch.sigmoid(logit), positive], dim=-1)


class Poisson(Gaussian):
    r"""Counts with \(p(x) = e^{-\lambda} \lambda^x / x!\).

    .. math:: \log(1 + \lambda) = \log(1 + e^{8 t}) / 8

    where `t` is the location on the scale of log(1 + x): nearly `t` itself, and yet any rate above
    0 can be reached. Numbers spread wider are negative binomial with the same mean; narrower, they
    have powers of these probabilities (Conway-Maxwell-Poisson). Counts are exact up to 500,000,
    since scores are float32; beyond, to a millionth. Atoms of several counts have the mass of their
    middle one times their number, brought to a sum of one. They are a few percent wide, so draws of
    a Poisson above some 10,000, which is narrower, spread wider than it.

    References
    ----------
    Shmueli et al. A Useful Distribution for Fitting Discrete Data: Revival of the
    Conway-Maxwell-Poisson Distribution. Applied Statistics 2005.
    """

    grid: ClassVar[dict[str, bool]] = {"whole": True}
    takes = "whole numbers of at least 0"
    centre: Tensor
    scale: Tensor
    middles: Tensor
    log_sizes: Tensor

    def __init__(self, columns: list[int], codecs: list[GridCodec]) -> None:
        super().__init__(columns, codecs)
        scales = np.array([[np.nan_to_num(c.centre), c.scale] for c in codecs])
        self.register_buffer("centre", torch.from_numpy(scales[:, 0].copy()), persistent=False)
        self.register_buffer("scale", torch.from_numpy(scales[:, 1].copy()), persistent=False)
        sizes = [np.log(np.nan_to_num(np.diff(c.edges), nan=1.0)) for c in codecs]
        self._buffer("log_sizes", sizes, -torch.inf, self.n_atoms)
        self._buffer("middles", [c.middles for c in codecs], 0.0, self.n_atoms)

    @classmethod
    def outside(cls, numbers: Array) -> Array:
        return (numbers < 0) | (numbers != np.round(numbers))

    def _counts(self, values: Tensor) -> Tensor:
        """Return the counts that scores stand for, float64."""
        counts = torch.expm1((self.centre + self.scale * values.double()).clamp(max=40))
        return counts.round().clamp(min=0)

    def _rate(self, params: Tensor) -> Tensor:
        """Return the mean count, float64, of shape (n, m)."""
        t = (self.centre + self.scale * self._split(params)[0].double()).clamp(-20, 40)
        return torch.expm1(F.softplus(t, beta=RATE_BEND)).clamp(min=1e-9)

    def _dispersion(self) -> Tensor | None:
        """Return 1 / r of the negative binomial, of shape (m,); None for a Poisson."""
        return None

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        counts = self._counts(values)
        return _log_mass(counts, self._rate(params), self._dispersion()).to(params.dtype)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        rate, dispersion = self._rate(params), self._dispersion()
        wider = float(spread) if float(spread) > 1 else 1.0
        if wider > 1:
            dispersion = wider * (0.0 if dispersion is None else dispersion) + (wider - 1) / rate
            dispersion = dispersion.clamp(max=1e6)
        if dispersion is not None:
            dispersion = dispersion[..., None]
        mass = _log_mass(self.middles.double(), rate[..., None], dispersion)
        return (mass * (wider / spread) + self.log_sizes).softmax(-1).to(params.dtype)


class NegativeBinomial(Poisson):
    r"""Counts with mean \(\mu\) and variance \(\mu + \alpha \mu^2\), `alpha` learned per column.

    .. math:: p(x) = \frac{\Gamma(x + r)}{\Gamma(r) x!} \left(\frac{r}{r + \mu}\right)^r
        \left(\frac{\mu}{r + \mu}\right)^x, \quad r = 1 / \alpha

    \(\mu\) is a network output, on the scale that `Poisson` describes; \(\sqrt\alpha\), nearly the
    deviation of log x, is the learned spread of scores in units of log x.

    References
    ----------
    Lopez, Regier, Cole, Jordan, Yosef. Deep Generative Modeling for Single-cell Transcriptomics.
    Nature Methods 2018.
    """

    def _dispersion(self) -> Tensor:
        return torch.exp(2 * (self.log_sigma.double() + self.scale.log()).clamp(-7, 5))


class ZeroInflatedPoisson(Poisson):
    r"""Counts that are 0 with probability \(\pi\), else Poisson.

    \(\pi\) is the sigmoid of a second network output.

    References
    ----------
    Lambert. Zero-Inflated Poisson Regression, with an Application to Defects in Manufacturing.
    Technometrics 1992.
    """

    n_outputs = 2

    def log_prob(self, params: Tensor, values: Tensor) -> Tensor:
        logit = self._split(params)[1]
        counted = F.logsigmoid(-logit) + super().log_prob(params, values)
        zero = torch.logaddexp(F.logsigmoid(logit), counted)
        return torch.where(self._counts(values) == 0, zero, counted)

    def probs(self, params: Tensor, spread: float | Tensor = 1.0) -> Tensor:
        logit = self._split(params)[1][..., None]
        zero = F.pad(torch.sigmoid(logit), (0, self.n_atoms - 1))
        return zero + torch.sigmoid(-logit) * super().probs(params, spread)


class ZeroInflatedNegativeBinomial(ZeroInflatedPoisson, NegativeBinomial):
    r"""Counts that are 0 with probability \(\pi\), else negative binomial.

    References
    ----------
    Lopez, Regier, Cole, Jordan, Yosef. Deep Generative Modeling for Single-cell Transcriptomics.
    Nature Methods 2018.
    """


def _log_mass(counts: Tensor, rate: Tensor, dispersion: Tensor | None) -> Tensor:
    """Log-probability of counts, Poisson or negative binomial, in float64."""
    if dispersion is None:
        return torch.xlogy(counts, rate) - rate - torch.lgamma(counts + 1)
    r = 1 / dispersion
    ways = torch.lgamma(counts + r) - torch.lgamma(r) - torch.lgamma(counts + 1)
    return ways - r * torch.log1p(rate / r) - counts * torch.log1p(r / rate)


LIKELIHOODS: dict[str, type[Kind]] = {
    "histogram": Histogram,
    "histogram_per_row": HistogramPerRow,
    "tilted_gaussian": TiltedGaussian,
    "rank_normal": RankNormal,
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "ordinal": Ordinal,
    "gaussian": Gaussian,
    "gaussian_fixed": GaussianFixed,
    "gaussian_per_row": GaussianPerRow,
    "student_t": StudentT,
    "log_normal": LogNormal,
    "zero_inflated_log_normal": ZeroInflatedLogNormal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
}


def default_likelihood(n_levels: int | None) -> str:
    """Return the likelihood of a column that none was asked for."""
    if n_levels is None:
        return "histogram"
    return "bernoulli" if n_levels == 2 else "categorical"


def suited_likelihoods(numbers: Array, n_levels: int | None) -> list[str]:
    """Return the likelihoods that a column suits; parameters as in `Kind.refuses`."""
    return [name for name, kind in LIKELIHOODS.items() if not kind.refuses(numbers, n_levels)]
