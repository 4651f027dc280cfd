"""What a coupling promises: it pairs the batch's own points and leaves both marginals as they are."""

from __future__ import annotations

import torch
from scipy.stats import chi2
from torch import Tensor

from bench.contracts.require import Law, form, holds, no_cuda, unchanged
from bench.interfaces import Coupling
from bench.seeds import stream

BATCH = 32
ROUNDS = 100


def keeps_shape_and_dtype(coupling: Coupling) -> str | None:
    """Pairs have the shape and dtype of the batch, for points of the plane and for images."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((2,), (1, 8, 8)):
            x0, x1 = _batch(shape, dtype)
            pairs = coupling.pair(x0, x1, stream(0, "contract/pair"))
            for name, part in zip(("x0", "x1"), pairs, strict=True):
                form(part, (BATCH, *shape), dtype, f"the paired {name}")
    return None


def pairs_the_batchs_own_points(coupling: Coupling) -> str | None:
    """Every point that comes out went in on the same side: source with source, data with data."""
    batch = _batch((2,), torch.float32)
    pairs = coupling.pair(*batch, stream(0, "contract/pair"))
    for name, given, made in zip(("x0", "x1"), batch, pairs, strict=True):
        matched = (made[:, None] == given[None]).all(-1).any(1)
        holds(
            bool(matched.all()),
            f"{int((~matched).sum())} of {BATCH} paired {name} are no {name} of the batch",
            "choose by index (x0[i], x1[j]) and return (source, data) in that order",
        )
    return None


def keeps_both_marginals(coupling: Coupling) -> str | None:
    """Over many pairings each point of a batch occurs equally often (chi-square over 100 rounds, p > 1e-6)."""
    batch = _batch((2,), torch.float32)
    counts = [torch.zeros(BATCH, dtype=torch.float64) for _ in batch]
    for block in range(ROUNDS):
        pairs = coupling.pair(*batch, stream(0, "contract/pair", block))
        for side, (given, made) in enumerate(zip(batch, pairs, strict=True)):
            counts[side] += (made[:, None] == given[None]).all(-1).double().sum(0)
    for name, count in zip(("x0", "x1"), counts, strict=True):
        statistic = float(((count - ROUNDS) ** 2 / ROUNDS).sum())
        holds(
            float(chi2.sf(statistic, BATCH - 1)) > 1e-6,
            f"over {ROUNDS} pairings of {BATCH} points one {name} occurs {int(count.min())} times, another "
            f"{int(count.max())} times",
            "draw pairs from a plan whose rows and columns have equal sums, or use each point once",
        )
    return None


def follows_its_generator(coupling: Coupling) -> str | None:
    """The same batch and stream give the same pairs; nothing else is random."""
    batch = _batch((2,), torch.float32)
    first = coupling.pair(*batch, stream(0, "contract/pair"))
    torch.rand(3)  # a global draw in between must not matter
    again = coupling.pair(*batch, stream(0, "contract/pair"))
    same = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    holds(same, "the same generator gives other pairs", "take every random number from the generator given to pair")
    return None


def leaves_its_inputs_alone(coupling: Coupling) -> str | None:
    """Both batches stay as they were."""
    batch = _batch((2,), torch.float32)
    before = [part.clone() for part in batch]
    coupling.pair(*batch, stream(0, "contract/pair"))
    for name, a, b in zip(("x0", "x1"), before, batch, strict=True):
        unchanged(a, b, name)
    return None


def is_independent_where_it_says_so(coupling: Coupling) -> str | None:
    """A coupling with `independent = True` returns both batches as they were drawn."""
    if not coupling.independent:
        return "is not said to be independent"
    batch = _batch((2,), torch.float32)
    pairs = coupling.pair(*batch, stream(0, "contract/pair"))
    same = all(torch.equal(a, b) for a, b in zip(batch, pairs, strict=True))
    holds(same, "independent is True, yet the pairs differ from the draws", "set independent = False")
    return None


def agrees_on_a_gpu(coupling: Coupling) -> str | None:
    """A batch on a GPU is paired there, in the same way."""
    if reason := no_cuda():
        return reason
    batch = _batch((2,), torch.float32)
    here = coupling.pair(*batch, stream(0, "contract/pair"))
    there = coupling.pair(batch[0].cuda(), batch[1].cuda(), stream(0, "contract/pair"))
    for name, a, b in zip(("x0", "x1"), here, there, strict=True):
        holds(b.is_cuda, f"the paired {name} is on {b.device}", "move indices to the batch's device, not the batch")
        holds(torch.equal(a, b.cpu()), f"the paired {name} differs on a GPU", "compute the plan on the CPU")
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    pairs_the_batchs_own_points,
    keeps_both_marginals,
    follows_its_generator,
    leaves_its_inputs_alone,
    is_independent_where_it_says_so,
    agrees_on_a_gpu,
)


def _batch(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A source batch N(0, I) and a data batch N(1, 4 I)."""
    generator = stream(0, "contract/coupling")
    x0, x1 = (torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return x0, 2 * x1 + 1
