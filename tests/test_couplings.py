"""Couplings: plans are optimal, marginals are kept, and a training pairs whole transport batches."""

import time
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from bench import batches, train
from bench.couplings import (
    ClassWise,
    Independent,
    OptimalTransport,
    OptimalTransportPlan,
    Sinkhorn,
    assignment,
    squared_distances,
)
from bench.datasets import DATASETS, SOURCES
from bench.errors import NotConverged
from bench.nets import MLP
from bench.paths import Linear
from bench.seeds import stream
from bench.settings import Training


def batch(n, shape=(2,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator), 2 * torch.randn(n, *shape, generator=generator) + 1


def rows(x):
    return sorted(map(tuple, x.flatten(1).tolist()))


def cost(x0, x1):
    return float((x0.double() - x1.double()).square().sum())


def test_the_assignment_is_the_best_of_all_permutations():
    x0, x1 = batch(6)
    best = min(cost(x0, x1[list(order)]) for order in permutations(range(6)))
    assert cost(x0, x1[assignment(x0, x1)]) == pytest.approx(best, rel=1e-12)


def test_optimal_transport_uses_each_point_once():
    x0, x1 = batch(64, (1, 4, 4))
    a, b = OptimalTransport().pair(x0, x1, stream(0, "pairs"))
    assert torch.equal(a, x0)
    assert rows(b) == rows(x1)
    assert cost(a, b) < cost(x0, x1)


def test_draws_from_the_plan_are_its_pairs_equally_often_and_63_percent_of_them():
    x0, x1 = batch(50)
    column = assignment(x0, x1)
    counts, used = torch.zeros(50), []
    for block in range(150):
        a, b = OptimalTransportPlan().pair(x0, x1, stream(0, "pairs", block))
        row = (a[:, None] == x0).all(-1).int().argmax(1)
        assert torch.equal(b, x1[column[row]])
        counts += row.bincount(minlength=50)
        used.append(len(row.unique()) / 50)
    assert chi2.sf(float(((counts - 150) ** 2 / 150).sum()), 49) > 1e-3
    assert np.mean(used) == pytest.approx(1 - (1 - 1 / 50) ** 50, abs=0.01)


@pytest.mark.parametrize("regularisation", [0.05, 0.5, 5.0])
def test_sinkhorns_plan_has_its_marginals_and_its_form(regularisation):
    x0, x1 = batch(40)
    plan = Sinkhorn(regularisation=regularisation).plan(x0, x1)
    torch.testing.assert_close(plan.sum(1), torch.full((40,), 1 / 40, dtype=torch.float64))
    assert float((plan.sum(0) - 1 / 40).abs().sum()) <= 1e-3
    # The optimum is exp((f + g - C) / regularisation): log P + C / regularisation has rank-one differences.
    form = plan.clamp_min(1e-300).log() + squared_distances(x0, x1) / regularisation
    likely = plan > 1e-250
    gap = form - form[:, :1] - form[:1] + form[:1, :1]
    assert float(gap[likely & likely[:, :1] & likely[:1]].abs().max()) < 1e-6


def test_sinkhorn_lies_between_optimal_transport_and_independence():
    x0, x1 = batch(40)
    distances = squared_distances(x0, x1)
    costs = [float((Sinkhorn(regularisation=r).plan(x0, x1) * distances).sum()) for r in (0.02, 0.5, 5.0, 1e6)]
    assert costs == sorted(costs)
    assert costs[0] == pytest.approx(cost(x0, x1[assignment(x0, x1)]) / 40, rel=0.01)
    assert costs[-1] == pytest.approx(float(distances.mean()), rel=1e-3)


def test_sinkhorn_draws_pairs_with_the_plans_frequencies():
    x0, x1 = batch(6)
    coupling, counts = Sinkhorn(regularisation=2.0), torch.zeros(6, 6, dtype=torch.float64)
    for block in range(300):
        a, b = coupling.pair(x0, x1, stream(0, "pairs", block))
        i, j = ((part[:, None] == whole).all(-1).int().argmax(1) for part, whole in ((a, x0), (b, x1)))
        counts.view(-1).scatter_add_(0, 6 * i + j, torch.ones(6, dtype=torch.float64))
    expected = 1800 * coupling.plan(x0, x1)
    kept = expected > 5
    statistic = float(((counts - expected) ** 2 / expected)[kept].sum())
    assert chi2.sf(statistic, int(kept.sum()) - 1) > 1e-3


def test_sinkhorn_survives_large_costs_and_says_when_it_has_not_converged():
    x0, x1 = batch(24, (1, 16, 16))
    plan = Sinkhorn(regularisation=0.5).plan(100 * x0, 100 * x1)  # a plain kernel would be exp(-10^7)
    assert plan.isfinite().all()
    with pytest.raises(NotConverged, match="after 1 iterations"):
        Sinkhorn(regularisation=0.001, iterations=1).plan(*batch(24))


def test_classes_get_equally_many_random_source_points_each_used_once():
    x0, x1 = batch(400)
    labels = torch.arange(400) % 2 * 3  # classes 0 and 3, told apart by a shift of the data
    x1 = x1 + 4.0 * labels[:, None]
    a, b = ClassWise().pair_labelled(x0, x1, labels, stream(0, "pairs"))
    assert torch.equal(b, x1)
    assert rows(a) == rows(x0)
    for label in (0, 3):
        inside = labels == label
        mine, theirs = a[inside], b[inside]
        assert cost(mine, theirs) == pytest.approx(cost(mine, theirs[assignment(mine, theirs)]), rel=1e-9)
        assert float(mine.mean(0).norm()) < 0.3  # whatever the class, the source is the whole source
    whole, _ = OptimalTransport().pair(x0, x1, stream(0, "pairs"))
    skewed = x1[assignment(x0, x1)][:, 0] > 6
    assert float((whole[skewed].mean(0) - whole[~skewed].mean(0)).norm()) > 1


def job(**changes):
    given = {
        "dataset": DATASETS["two_gaussians"](), "source": SOURCES["gaussian"](), "coupling": Independent(),
        "path": Linear(), "target": "exact", "clock": "noise_at_0", "net": MLP(16, 2),
        "training": Training(steps=8, batch=16), "seed": 0,
    }  # fmt: skip
    return batches.TrainJob(**{**given, **changes})


def pairs(spec, number=0, length=8):
    """(x0, x1) of a block, out of what the net sees on the straight path."""
    drawn = batches.draw(spec, number, length)
    t, x_t, u = drawn.tau.flatten()[:, None], drawn.x_t.flatten(0, 1), drawn.target.flatten(0, 1)
    return x_t - t * u, x_t + (1 - t) * u


@pytest.mark.parametrize(("size", "parts"), [(None, 8), (64, 2), (128, 1)])
def test_training_pairs_whole_transport_batches_and_cuts_them(size, parts):
    plain = pairs(job())
    x0, x1 = pairs(job(coupling=OptimalTransport(size)))
    torch.testing.assert_close(x0, plain[0], rtol=0, atol=2e-5)
    expected = sum(
        cost(a, b[assignment(a, b)]) for a, b in zip(plain[0].chunk(parts), plain[1].chunk(parts), strict=True)
    )
    assert cost(x0, x1) == pytest.approx(expected, rel=1e-4)


def test_a_short_training_pairs_no_more_than_it_uses():
    spec = job(coupling=OptimalTransportPlan(64), training=Training(steps=6, batch=16))
    whole, spent = batches.draw(spec, 0, 256), batches.Spent()
    for all_of_it, mine in zip(whole.parts, batches.draw(spec, 0, 256, spent, used=6).parts, strict=True):
        assert torch.equal(all_of_it[:6], mine)
    (call,) = batches.due(spec)
    block = call()
    assert len(block.x_t) == 6
    assert torch.equal(block.x_t[5], whole.x_t[5])


def test_a_block_holds_whole_transport_batches():
    spec = job(coupling=OptimalTransport(48), training=Training(steps=8, batch=16))
    assert batches.block_length(spec) % 3 == 0
    assert batches.block_length(job(coupling=Independent())) == 256


@pytest.mark.parametrize("coupling", [OptimalTransportPlan(64), Sinkhorn(transport_batch=32), ClassWise()], ids=str)
def test_pairs_follow_from_seed_and_block_and_their_seconds_are_told(coupling):
    spec = job(coupling=coupling)
    for a, b in zip(batches.draw(spec, 1, 8).parts, batches.draw(spec, 1, 8).parts, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(batches.draw(spec, 0, 8).x_t, batches.draw(spec, 1, 8).x_t)
    assert not torch.equal(batches.draw(spec, 1, 8).x_t, batches.draw(replace(spec, seed=1), 1, 8).x_t)
    for timed in (spec, job()):
        began = time.perf_counter()
        call, steps, spent = train.rehearsal([timed], torch.device("cpu"))
        call()
        assert steps == 32
        assert 0 < spent.coupling < time.perf_counter() - began if timed is spec else spent.coupling == 0


def test_by_class_sorts_the_data_of_a_transport_batch_and_leaves_pairs_independent():
    plain = pairs(job())
    x0, x1 = pairs(job(coupling=Independent(64), training=Training(steps=8, batch=16, order="by_class")))
    torch.testing.assert_close(x0, plain[0], rtol=0, atol=2e-5)
    for mine, theirs in zip(x1.split(64), plain[1].split(64), strict=True):
        torch.testing.assert_close(mine.sort(0).values, theirs.sort(0).values, rtol=0, atol=2e-5)
        right = mine[:, 0] > 0  # the two Gaussians lie left and right
        assert (right.int().diff() >= 0).all()
        assert right.any()
        assert not right.all()


@pytest.mark.parametrize("points", [None, 30])
def test_labels_belong_to_the_points_that_draw_returns(points):
    law = DATASETS["eight_gaussians"](points=points)
    x, labels = law.draw_labelled(500, 0, stream(0, "data"))
    assert torch.equal(x, law.draw(500, 0, stream(0, "data")))
    means = torch.from_numpy(law.mixture().means).float()
    assert (torch.cdist(x, means).argmin(1) == labels).float().mean() > 0.99
    if points:
        assert set(rows(x)) <= set(rows(law.training_set(0)))
        assert law.training_set(0).shape == (30, 2)
    else:
        assert law.training_set(0) is None
