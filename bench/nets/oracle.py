"""The exact marginal velocity of a path between N(0, I) and a Gaussian mixture: a net without training.

With C_k = alpha^2 S_k + (sigma^2 + gamma^2) I, d_k = x - alpha m_k and
r_k = softmax_k(log w_k + log N(x; alpha m_k, C_k)):

    v(x, t) = sum_k r_k [ alpha' m_k + (alpha alpha' S_k + (sigma sigma' + gamma gamma') I) C_k^-1 d_k ]
    score   = - sum_k r_k C_k^-1 d_k
    displacement target: v + gamma gamma' score

It is the conditional expectation of u_t given x_t (Lipman et al. 2022, arXiv:2210.02747, theorem 1), worked
out for jointly Gaussian x_t and u_t within each component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.interfaces import Mixture, Net, Path


@dataclass(frozen=True)
class Oracle(Net):
    """The exact velocity; needs a Gaussian-mixture data set, Gaussian source, independent coupling."""

    trained: ClassVar[bool] = False

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Refused: the oracle is made from the law and the path by `oracle_velocity`."""
        raise TypeError("the oracle is not trained; it is made from the data's law and the path")


class OracleField(nn.Module):
    """Exact velocity in internal time for one mixture, path and target. Evaluated in x's precision."""

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(self, law: Mixture, path: Path, target: str = "exact") -> None:
        super().__init__()
        self.path, self.target = path, target
        # S_k = Q diag(l) Q^T, so that C_k^-1 is a division in the rotated coordinates at every t.
        eigen, axes = torch.linalg.eigh(torch.as_tensor(law.covariances, dtype=torch.float64))
        self.register_buffer("log_weights", torch.as_tensor(law.weights, dtype=torch.float64).log())
        self.register_buffer("means", torch.as_tensor(law.means, dtype=torch.float64))
        self.register_buffer("variances", eigen)
        self.register_buffer("axes", axes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Velocity at x: (B, d), t: (B,) in [0, 1]; returns (B, d)."""
        return self._moments(x, t)[0]

    def score(self, x: Tensor, t: Tensor) -> Tensor:
        """Gradient of log p_t at x: (B, d), t: (B,); returns (B, d)."""
        return self._moments(x, t)[1]

    def _moments(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        path, kind = self.path, x.dtype
        alpha, d_alpha = (c.to(kind)[:, None] for c in (path.alpha(t), path.d_alpha(t)))
        noise = (path.sigma(t) ** 2 + path.gamma(t) ** 2).to(kind)[:, None, None]
        own = path.gamma_d_gamma(t)[:, None, None].to(kind)
        turn = path.sigma_d_sigma(t)[:, None, None].to(kind) + own
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
        inner = ((alpha * d_alpha)[..., None] * spread + turn) * whitened
        velocity = d_alpha * (r @ means) + torch.einsum("bk,bkj,kij->bi", r, inner, axes)
        score = -torch.einsum("bk,bkj,kij->bi", r, whitened, axes)
        if self.target == "displacement":
            velocity = velocity + own[:, 0] * score
        return velocity, score
