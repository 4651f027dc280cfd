"""Couplings: which source point is paired with which data point of a training batch.

Transport costs are squared Euclidean distances between whole points, in squared data units. `transport_batch`
points are paired at once and then cut into training batches (none: the training batch itself); it must be a
multiple of the batch. All randomness comes from the generator given to `pair`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from bench.errors import NotConverged
from bench.interfaces import Coupling

Size = Annotated[int, Gt(0)] | None


@dataclass(frozen=True)
class Independent(Coupling):
    """Each source point goes with the data point drawn beside it: the product of the two laws.

    `transport_batch` matters here only to training.order: by_class, which sorts that many points together.
    """

    independent: ClassVar[bool] = True
    permutes: ClassVar[bool] = True

    transport_batch: Size = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both batches as they were drawn."""
        return x0, x1


@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """Exact optimal transport between the points of a batch; each is used once.

    The plan of least total squared distance between equally many points of equal weight is a permutation,
    here solved by POT. Pairs come in the order of the source points.
    Pooladian et al. 2023, arXiv:2304.14772; Tong et al. 2023, arXiv:2302.00482.
    """

    permutes: ClassVar[bool] = True

    transport_batch: Size = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return x0 as it is and x1 permuted."""
        return x0, x1[assignment(x0, x1)]


@dataclass(frozen=True)
class OptimalTransportPlan(Coupling):
    """Pairs drawn with replacement from the exact optimal transport plan of a batch, as torchcfm draws them.

    A batch of B pairs then holds about 1 - 1/e = 63 % of its points, some of them several times, in random order;
    on average over batches each is used equally often. Tong et al. 2023, arXiv:2302.00482.
    """

    transport_batch: Size = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return B of the plan's pairs; each of them has probability 1 / B at every draw."""
        chosen = torch.randint(len(x0), (len(x0),), generator=generator)
        return x0[chosen.to(x0.device)], x1[assignment(x0, x1)[chosen.to(x1.device)]]


@dataclass(frozen=True)
class Sinkhorn(Coupling):
    """Pairs drawn with replacement from the entropic transport plan of a batch.

    The plan minimises <P, C> + regularisation * sum P log P over plans with uniform marginals. `regularisation` is
    absolute, in squared data units: 2 s^2 gives the coupling of the Schroedinger bridge whose noise is that of
    noisy_bridge(s); towards 0 the plan becomes optimal transport, towards infinity independent. Solved by Sinkhorn's
    iteration, stabilised in the log domain and with falling regularisation (Schmitzer 2019, arXiv:1610.06519), until
    the column sums are off by at most `tolerance` of the whole mass, summed over columns; row sums are exact.
    `iterations` in all must do.
    Cuturi 2013, arXiv:1306.0895; Tong et al. 2023, arXiv:2302.00482 (SB-CFM).
    """

    regularisation: Annotated[float, Gt(0)] = 0.5
    tolerance: Annotated[float, Gt(0)] = 1e-3
    iterations: Annotated[int, Ge(1)] = 20_000
    transport_batch: Size = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw B source points with replacement, and for each a data point from its row of the plan."""
        plan = self.plan(x0, x1)
        rows = torch.randint(len(x0), (len(x0),), generator=generator)
        columns = torch.multinomial(plan[rows], 1, generator=generator)[:, 0]
        return x0[rows.to(x0.device)], x1[columns.to(x1.device)]

    def plan(self, x0: Tensor, x1: Tensor) -> Tensor:
        """The plan, (B, B) float64 on the CPU, sum 1. Raises NotConverged."""
        cost = squared_distances(x0, x1) / self.regularisation
        f, g = torch.zeros(len(x0), 1, dtype=torch.float64), torch.zeros(1, len(x0), dtype=torch.float64)
        # Falling regularisation: each plan starts from the potentials of a smoother one, already nearly right.
        smoothing, left = max(1.0, float(cost.max())), self.iterations
        while True:
            kernel, f, g, left = self._balanced(cost, f, g, smoothing, left)
            if smoothing == 1:
                return kernel
            smoothing = max(1.0, smoothing / 4)

    def _balanced(
        self, cost: Tensor, f: Tensor, g: Tensor, smoothing: float, left: int
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Plan and potentials at `smoothing` times the regularisation, and the iterations that are left."""
        n, off = len(cost), math.inf
        while left > 0:
            # One round in logarithms, then cheap ones by matrix products while their scalings stay moderate.
            g = -smoothing * (math.log(n) + ((f - cost) / smoothing).logsumexp(0, keepdim=True))
            f = -smoothing * (math.log(n) + ((g - cost) / smoothing).logsumexp(1, keepdim=True))
            kernel = ((f + g - cost) / smoothing).exp()
            off = float((kernel.sum(0) - 1 / n).abs().sum())
            left -= 1
            if off <= self.tolerance:
                return kernel, f, g, left
            u = torch.ones(n, 1, dtype=torch.float64)
            for _ in range(ROUNDS):
                v = 1 / n / (u.T @ kernel)
                u = 1 / n / (kernel @ v.T)
                left -= 1
                wide = float(u.max() / u.min()) * float(v.max() / v.min())
                if not wide < ABSORB:  # or not a number
                    break
            if u.isfinite().all() and v.isfinite().all():
                f, g = f + smoothing * u.log(), g + smoothing * v.log()
        raise NotConverged(
            f"Sinkhorn's column sums are off by {off:.1e} after {self.iterations} iterations (tolerance "
            f"{self.tolerance:g}); raise regularisation ({self.regularisation:g}) or iterations"
        )


@dataclass(frozen=True)
class ClassWise(Coupling):
    """Exact optimal transport inside each class of the data, towards equally many random source points.

    Each class thus receives a source that follows the whole source law, which keeps the pairing free of the label: no
    skew between training and class-conditional sampling. Cheng and Schwing 2025, arXiv:2503.10636 (C2OT, its case of
    discrete conditions). Each point is used once; pairs come in the order of the data points.
    """

    labelled: ClassVar[bool] = True
    permutes: ClassVar[bool] = True

    transport_batch: Size = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Without labels all points are of one class."""
        return self.pair_labelled(x0, x1, torch.zeros(len(x1), dtype=torch.int64), generator)

    def pair_labelled(
        self, x0: Tensor, x1: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return x0 permuted and x1 as it is. labels: (B,) int64."""
        shuffled = x0[torch.randperm(len(x0), generator=generator).to(x0.device)]
        source = torch.empty_like(x0)
        for label in labels.unique():
            inside = (labels == label).nonzero()[:, 0].to(x0.device)
            source[inside] = shuffled[inside][assignment(x1[inside], shuffled[inside])]
        return source, x1


NETWORK_PIVOTS = 100_000_000
"""Bound on the pivots of the exact solver, far beyond what it needs."""

ROUNDS = 50
"""Iterations by matrix products between two in the log domain."""

ABSORB = 1e100
"""Spread of the scalings beyond which they are absorbed into the potentials."""


def assignment(x0: Tensor, x1: Tensor) -> Tensor:
    """Index j(i) that minimises sum_i |x0_i - x1_j(i)|^2 over permutations; (B,) int64 on x1's device.

    POT's network simplex ends in a vertex of the transport polytope, which for equal weights is a permutation; it
    took a third of the time of scipy's assignment at B = 256 and a fourth at 1024.
    """
    import ot

    n = len(x0)
    even = np.full(n, 1 / n)
    plan, log = ot.emd(even, even, squared_distances(x0, x1).numpy(), numItermax=NETWORK_PIVOTS, log=True)
    columns = torch.from_numpy(np.asarray(plan).argmax(axis=1))
    if log["warning"] is not None or len(columns.unique()) < n:
        raise NotConverged(f"the exact transport between {n} and {n} points: {log['warning'] or 'no permutation'}")
    return columns.to(x1.device)


def squared_distances(x0: Tensor, x1: Tensor) -> Tensor:
    """|x0_i - x1_j|^2: (B, B) float64 on the CPU."""
    a, b = (x.detach().cpu().double().flatten(1) for x in (x0, x1))
    return torch.cdist(a, b).square()


COUPLINGS: dict[str, type[Coupling]] = {
    "independent": Independent,
    "ot": OptimalTransport,
    "ot_plan": OptimalTransportPlan,
    "sinkhorn": Sinkhorn,
    "class_wise": ClassWise,
}
