"""The exact marginal velocity of a path between N(0, I) and data whose law is known: a net without training.

For a Gaussian mixture, with s^2 = sigma^2 + gamma^2, C_k = alpha^2 S_k + s^2 I, d_k = x - alpha m_k and
r_k = softmax_k(log w_k + log N(x; alpha m_k, C_k)):

    v(x, t)   = sum_k r_k [ alpha' m_k + (alpha alpha' S_k + (sigma sigma' + gamma gamma') I) C_k^-1 d_k ]
    score     = - sum_k r_k C_k^-1 d_k
    E[x1 | x] = sum_k r_k [ m_k + alpha S_k C_k^-1 d_k ]
    E[e | x]  = - s score

For a finite training set y_i all S_i are 0: r_i = softmax_i(-|x - alpha y_i|^2 / (2 s^2)), and with
y = E[x1 | x] = sum_i r_i y_i:

    v(x, t) = alpha' y + ((sigma sigma' + gamma gamma') / s^2) (x - alpha y),    score = -(x - alpha y) / s^2

0 / 0 at t = 1 where s_1 = 0: there x can only be y, and the second term counts as 0.

Both are the conditional expectation of u_t given x_t (Lipman et al. 2022, arXiv:2210.02747, theorem 1). Displacement
target: v + gamma gamma' score.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bench.interfaces import Dataset, Mixture, Net, Path

CELLS = 2**22
"""Entries of the largest table of points by training points that is held at once (32 MiB in float64)."""


class Moments(NamedTuple):
    """What is known exactly of x1, u_t and p_t at x: each (B, *S)."""

    velocity: Tensor
    score: Tensor
    data: Tensor


class _ExactField(nn.Module):
    """An exact prediction in internal time: forward(x, t) with x: (B, *S), t: (B,) in [0, 1]; returns (B, *S)."""

    def __init__(self, path: Path, target: str, prediction: str) -> None:
        super().__init__()
        self.path, self.target, self.prediction = path, target, prediction

    @abstractmethod
    def moments(self, x: Tensor, t: Tensor) -> Moments:
        """Velocity of the exact target, score and posterior mean of the data."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """What a perfect net of this path, target and prediction returns."""
        velocity, score, data = self.moments(x, t)
        tail = (-1,) + (1,) * (x.dim() - 1)
        if self.prediction == "data":
            return data
        if self.prediction == "noise":
            return -self.path.noise_variance(t).sqrt().to(x).view(tail) * score
        if self.target == "displacement":
            return velocity + self.path.gamma_d_gamma(t).to(x).view(tail) * score
        return velocity

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Gradient of log p_t at x: (B, *S), t: (B,); returns (B, *S)."""
        return self.moments(x, t).score


class OracleField(_ExactField):
    """Exact prediction for one mixture and path. Evaluated in x's precision."""

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(self, law: Mixture, path: Path, target: str = "exact", prediction: str = "velocity") -> None:
        super().__init__(path, target, prediction)
        # S_k = Q diag(l) Q^T, so that C_k^-1 is a division in the rotated coordinates at every t.
        eigen, axes = torch.linalg.eigh(torch.as_tensor(law.covariances, dtype=torch.float64))
        self.register_buffer("log_weights", torch.as_tensor(law.weights, dtype=torch.float64).log())
        self.register_buffer("means", torch.as_tensor(law.means, dtype=torch.float64))
        self.register_buffer("variances", eigen)
        self.register_buffer("axes", axes)

    def moments(self, x: Tensor, t: Tensor) -> Moments:
        """Sums over components; x: (B, d), t: (B,)."""
        path, kind = self.path, x.dtype
        alpha, d_alpha = (c.to(kind)[:, None] for c in (path.alpha(t), path.d_alpha(t)))
        noise = path.noise_variance(t).to(kind)[:, None, None]
        turn = path.s_d_s(t).to(kind)[:, None, None]
        means, axes = self.means.to(kind), self.axes.to(kind)
        spread = self.variances.to(kind)
        a2 = alpha[..., None] ** 2
        c = a2 * spread + noise  # (B, K, d): eigenvalues of C_k
        d = torch.einsum("bki,kij->bkj", x[:, None] - alpha[..., None] * means, axes)
        whitened = d / c
        log_r = self.log_weights.to(kind) - 0.5 * (
            (d * whitened).sum(-1) + c.log().sum(-1) + x.shape[1] * math.log(2 * math.pi)
        )
        r = log_r.softmax(dim=1)

        def turned(inner: Tensor) -> Tensor:
            """sum_k r_k R_k inner_k, out of the axes of each covariance. inner: (B, K, d); (B, d)."""
            return torch.einsum("bk,bkj,kij->bi", r, inner, axes)

        middle = r @ means
        velocity = d_alpha * middle + turned(((alpha * d_alpha)[..., None] * spread + turn) * whitened)
        return Moments(velocity, -turned(whitened), middle + alpha * turned(spread * whitened))


class PointsField(_ExactField):
    """Exact prediction for a finite training set y: (N, *S) and one path; what perfect training memorises.

    Computed in float64 whatever x's precision: near t = 1 the exponents grow as 1 / s^2.
    """

    points: Tensor
    squares: Tensor

    def __init__(self, points: Tensor, path: Path, target: str = "exact", prediction: str = "velocity") -> None:
        super().__init__(path, target, prediction)
        self.register_buffer("points", points.double())
        self.register_buffer("squares", self.points.flatten(1).square().sum(1), persistent=False)

    def moments(self, x: Tensor, t: Tensor) -> Moments:
        """Sums over training points, in chunks of bounded memory; x: (B, *S), t: (B,)."""
        path, t, wide = self.path, t.double(), x.double().flatten(1)
        alpha, d_alpha = path.alpha(t)[:, None], path.d_alpha(t)[:, None]
        noise = path.noise_variance(t)[:, None]
        turn = path.s_d_s(t)[:, None]
        rows = max(1, CELLS // len(self.points))
        parts = zip(wide.split(rows), alpha.split(rows), noise.split(rows), strict=True)
        data = torch.cat([self._mean(*part) for part in parts])
        gap = wide - alpha * data
        score = torch.where(noise > 0, -gap / noise, 0.0)
        velocity = d_alpha * data - turn * score
        return Moments(*(part.reshape(x.shape).to(x.dtype) for part in (velocity, score, data)))

    def _mean(self, x: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
        """sum_i r_i y_i; the part of |x - alpha y_i|^2 that all i share is left out."""
        y = self.points.flatten(1)
        near = alpha * (x @ y.T) - alpha**2 / 2 * self.squares
        near = near - near.amax(dim=1, keepdim=True)
        return (near / noise.clamp_min(torch.finfo(torch.float64).tiny)).softmax(dim=1) @ y


@dataclass(frozen=True)
class Oracle(Net):
    """The exact velocity; needs Gaussian-mixture data or `points`, a Gaussian source, independent pairs."""

    trained: ClassVar[bool] = False

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Refused: the oracle is made from the law and the path by `field`."""
        raise TypeError("the oracle is not trained; it is made from the data's law and the path")

    def field(self, dataset: Dataset, path: Path, target: str, prediction: str, seed: int) -> nn.Module:
        """The perfect net: of the training set that `seed` fixes where it is finite, else of the law."""
        points = dataset.training_set(seed)
        if points is not None:
            return PointsField(points, path, target, prediction)
        law = dataset.mixture()
        if law is None:
            raise ValueError(f"the oracle knows Gaussian mixtures and finite training sets, not {dataset}")
        return OracleField(law, path, target, prediction)
