"""Log-likelihood of fresh data under a flow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor

from bench.errors import Undefined
from bench.interfaces import Field, Given, Measured, Metric
from bench.seeds import numpy_stream, stream

if TYPE_CHECKING:
    from bench.interfaces import Floats

EXACT_UP_TO = 2
"""Dimensions up to which the divergence is the exact trace: one backward pass each."""


@dataclass(frozen=True)
class LogLikelihood(Metric):
    """Mean log density of reference points under the flow, in nats per point (not per dimension).

    log p_1(x_1) = log p_0(x_0) - integral div v_t(x_t) dt along the flow that ends at x_1 (instantaneous change of
    variables, Chen et al. 2018, arXiv:1806.07366), p_0 = N(0, start_scale^2 I), integrated backwards in `steps` fixed
    steps, or more where halving them moves the ends (`bench.flow`). div v is the exact trace on the plane; elsewhere
    Hutchinson's estimate with `probes` fixed Rademacher vectors (Grathwohl et al. 2018, arXiv:1810.01367). The best
    value is the negative entropy of the data, not 0. At most `points` points are taken, at random: any stride through
    a reference, which is a quasi-random sequence in each mode, takes an uneven part of the law.
    """

    values: ClassVar[Mapping[str, Measured]] = {"log_likelihood": Measured("nats per point", "higher")}
    inputs: ClassVar[tuple[str, ...]] = ("reference", "field")
    floored: ClassVar[bool] = False
    version: ClassVar[int] = 3

    steps: Annotated[int, Gt(0)] = 40
    points: Annotated[int, Gt(0)] = 512
    probes: Annotated[int, Gt(0)] = 8

    def measure(self, given: Given) -> Mapping[str, float]:
        """Mean over the reference (n, *S). Raises Undefined where the source is not normal."""
        assert given.reference is not None
        if given.start_scale is None:
            raise Undefined("the source is not normal, and the log-likelihood needs the density of the start law")
        chosen, volume = self.chosen(given.reference, given.repeat), 0.0
        if given.units:  # the flow's own units, in which a volume of the data's is smaller by the scales' product
            centre, scale = (np.asarray(part) for part in given.units)
            chosen, volume = (chosen - centre) / scale, float(np.log(scale).sum())
        return {"log_likelihood": float(self.log_density(given, torch.from_numpy(chosen)).mean()) - volume}

    def chosen(self, reference: Floats, repeat: int = 0) -> Floats:
        """The points that are taken of a reference (n, *S), the same places for every cell: (min(n, points), *S)."""
        order = numpy_stream(0, "likelihood points", repeat).permutation(len(reference))
        taken: Floats = reference[order[: self.points]]
        return taken

    def log_density(self, given: Given, x: Tensor) -> Tensor:
        """Log p_1 at x: (B, *S) under `given.field`, (B,) float64."""
        assert given.field is not None
        assert given.integrate is not None
        assert given.start_scale is not None
        velocity, shape = given.field, x.shape
        d = x[0].numel()
        probes = _rademacher(self.probes, x, given) if d > EXACT_UP_TO else torch.eye(d, dtype=x.dtype)[:, None]
        scale = 1.0 if d <= EXACT_UP_TO else 1 / self.probes

        def backwards(s: Tensor, state: Tensor) -> Tensor:
            """d(x, gathered divergence)/ds at s = 1 - t; state: (B, d + 1)."""
            v, divergence = _with_divergence(velocity, 1 - s, state[:, :d].reshape(shape), probes)
            return -torch.cat([v.flatten(1), scale * divergence[:, None]], dim=1)

        end = given.integrate(backwards, torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1), self.steps)
        at_0, gained = end[:, :d] / given.start_scale, end[:, d]
        return gained - 0.5 * (at_0**2).sum(1) - d * (0.5 * math.log(2 * math.pi) + math.log(given.start_scale))


def _with_divergence(velocity: Field, t: Tensor, x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """V (B, *S) and sum over probes e of e^T (dv/dx) e, (B,). probes: (P, 1 or B, d)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = velocity(t, x)
        total = x.new_zeros(len(x))
        for place, probe in enumerate(probes):
            e = probe.expand(len(x), -1).reshape(x.shape)
            (pulled,) = torch.autograd.grad(v, x, e, retain_graph=place + 1 < len(probes))
            total = total + (pulled * e).flatten(1).sum(1)
    return v.detach(), total.detach()


def _rademacher(probes: int, x: Tensor, given: Given) -> Tensor:
    """Signs +-1, (probes, B, d), the same at every time of a repeat."""
    generator = stream(given.seed, "probes", given.repeat)
    signs = torch.randint(2, (probes, len(x), x[0].numel()), generator=generator)
    return (2 * signs - 1).to(x.dtype)
