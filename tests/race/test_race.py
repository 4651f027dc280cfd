"""The ways of the race do the harness' work: the same grid, objective, samples and scores. No clock is looked at."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.batches import TrainJob, draw
from bench.components import Tables
from bench.couplings import COUPLINGS
from bench.datasets import DATASETS, SOURCES
from bench.interfaces import Given
from bench.metrics import METRICS
from bench.nets import NETS
from bench.paths import PATHS
from bench.reference import ReferenceJob, proportions, reference
from bench.sample import velocity
from bench.seeds import stream
from bench.settings import Training
from bench.suite import load_suite
from tests.race import tables

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
HARNESS_PATHS = {"linear": PATHS["linear"](), "noisy bridge": PATHS["noisy_bridge"](s=0.5)}


@pytest.fixture(scope="module")
def by_hand():
    pytest.importorskip("torchcfm")
    from tests.race import by_hand

    return by_hand


@pytest.fixture(scope="module")
def quick():
    return load_suite(Path(__file__).parents[2] / "suites" / "quick.yaml")


def built(quick, role):
    """The suite's components of a role by the label of their axis, or by None where it has none."""
    cells = quick.cells
    labels = cells.labels[role] if role in cells.labels else [None] * len(cells)
    place = dict(zip(labels, cells.index[role], strict=True))
    return {label: Tables().build(cells.configs[role][at]) for label, at in place.items()}


def test_the_grid_by_hand_is_the_suites(by_hand, quick):
    labels = quick.cells.labels[tables.CELL].itertuples(index=False, name=None)
    assert set(by_hand.cells(tables.SEEDS)) == {(*row, int(s)) for row, s in zip(labels, quick.cells.seed, strict=True)}
    assert len(quick.cells) == tables.CELLS == len(list(by_hand.cells(by_hand.SEEDS)))
    (training,), (sampling,) = built(quick, "training").values(), built(quick, "sampling").values()
    due = Training(steps=by_hand.STEPS, batch=by_hand.BATCH, learning_rate=1e-3, schedule="cosine")
    assert training == due
    assert (sampling.n, sampling.repeats) == (by_hand.N, 1)
    assert built(quick, "path") == HARNESS_PATHS


@pytest.mark.parametrize("flow", ["by_torchcfm", "by_formula"])
@pytest.mark.parametrize("path", HARNESS_PATHS)
def test_a_flow_by_hand_is_the_path(by_hand, path, flow):
    x0, x1 = torch.randn(2, 64, 2, generator=stream(0, "race"), dtype=torch.float64)
    t = torch.linspace(0.02, 0.98, 64, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x_t, u_t = getattr(by_hand, flow)(path)(x0, x1, t)
        torch.manual_seed(0)
        xi = torch.randn_like(x0)
    ours = HARNESS_PATHS[path]
    torch.testing.assert_close(x_t, ours.position(t, x0, x1, xi), rtol=1e-9, atol=1e-9)
    within = 3e-6 if flow == "by_torchcfm" else 1e-9  # it divides by 2 t (1 - t) + 1e-8
    torch.testing.assert_close(u_t, ours.velocity(t, x0, x1, xi), rtol=within, atol=within)


@pytest.mark.parametrize("flow", ["by_torchcfm", "by_formula"])
@pytest.mark.parametrize("clock", ["noise_at_0", "data_at_0"])
@pytest.mark.parametrize("path", HARNESS_PATHS)
@pytest.mark.parametrize("data", ["gaussian_mixture", "checkerboard"])
def test_a_net_has_the_same_expected_loss(by_hand, data, path, clock, flow):
    """Of a field that is no flow's, so that law, time and sign all show; within five standard errors of 2^16 draws."""
    parts, batch = 32, 2048

    def net(x, t):
        return x * (3 * t - 1) + torch.cat([t**2, 1 + x[..., :1].sin()], dim=-1)

    job = TrainJob(
        dataset=DATASETS[data](), source=SOURCES["gaussian"](), coupling=COUPLINGS["independent"](), net=NETS["mlp"](),
        path=HARNESS_PATHS[path], target="exact", clock=clock, training=Training(batch=batch), seed=0,
    )  # fmt: skip
    x_t, tau, target, _ = draw(job, 0, parts)
    ours = (net(x_t, tau[..., None]) - target).square().mean((1, 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = getattr(by_hand, flow)(path)
        asked = [lambda rows: net(rows[:, :2], rows[:, 2:]), made, data, path, clock, batch]
        theirs = torch.stack([by_hand.objective(*asked) for _ in range(parts)])
    error = ((ours.var() + theirs.var()) / parts).sqrt()
    assert float((ours.mean() - theirs.mean()).abs()) < 5 * float(error)
    assert 5 * float(error) < 0.04 * float(ours.mean())


@pytest.mark.parametrize("clock", ["noise_at_0", "data_at_0"])
def test_a_net_gives_the_same_samples(by_hand, quick, clock):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = by_hand.network().requires_grad_(False)
    (mlp,) = built(quick, "net").values()
    same = mlp.build((2,)).requires_grad_(False)
    for ours, theirs in zip(same.parameters(), net.parameters(), strict=True):
        ours.copy_(1.5 * theirs)
        theirs.copy_(ours)
    x = by_hand.start(128, seed=0)
    solvers = built(quick, "solver")
    steps = {name: getattr(solver, "steps", None) for name, solver in solvers.items()}
    assert steps == {name: count for name, (_, count) in by_hand.SOLVERS.items()}
    del solvers["Euler 1000"]  # like Euler 100, and long
    for name, solver in solvers.items():
        ours = solver.solve(velocity(same, clock), x, ENDS).states[-1]
        within = 1e-3 if name == "dopri5" else 2e-5  # torchdiffeq alone steps past the end
        torch.testing.assert_close(by_hand.sample(net, clock, name, x), ours, rtol=within, atol=within)
    assert float((ours - x).norm(dim=1).mean()) > 0.1


def test_samples_have_the_same_scores(by_hand):
    x, y = np.random.default_rng(0).normal(size=(2, 256, 2)) * [[[1.0]], [[1.5]]]
    given = Given(samples=x, reference=y)
    due = [METRICS[name]().measure(given)[name] for name in ("wasserstein", "mmd")]
    np.testing.assert_allclose(by_hand.scores(x, y), due, rtol=1e-9)
    assert min(due) > 0.05


@pytest.mark.parametrize("data", ["gaussian_mixture", "checkerboard"])
def test_references_spread_as_evenly(by_hand, data):
    n, law = 256, DATASETS[data]()
    ours = reference(ReferenceJob(law, n, 1, "independent", seed=0)).reference[0]
    theirs = by_hand.reference(data, n, seed=0)
    counts = proportions(law.modes, n)
    for first, count in zip(np.cumsum([0, *counts]), counts, strict=False):  # part by part, in the same order
        part = slice(first, first + count)
        np.testing.assert_allclose(theirs[part].mean(0), ours[part].mean(0), atol=0.15)
        np.testing.assert_allclose(np.cov(theirs[part].T), np.cov(ours[part].T), atol=0.15)
    apart, at_random = (
        by_hand.scores(ours, other)[0] for other in (theirs, law.draw(n, 0, stream(0, "race")).double().numpy())
    )
    assert apart < 0.75 * at_random


def scored(shift):
    """W2 of three cells and seven seeds by the harness, of one seed by another way that is off by `shift`."""
    random = np.random.default_rng(0)
    rows = [
        ("checkerboard", path, "noise_at_0", "Euler 10", random.normal(0.3 + off, 0.01), way)
        for path in ("a", "b", "c")
        for way, off, seeds in ((0, 0.0, 7), (1, shift, 1))
        for _ in range(seeds)
    ]
    return pd.DataFrame(rows, columns=[*tables.CELL, "wasserstein", "way"])


ROWS = pd.DataFrame(
    [("this", "1", 100.0, 190.0, "all"), ("that", "2", 312.0, 600.0, "4 of 350 cells, extrapolated")],
    columns=["way", "threads", "seconds", "processor", "done"],
)


def test_a_race_tells_ratios_and_what_was_extrapolated():
    this, that = re.findall(r"^\| th.*$", tables.race_text(ROWS, scored(0.0)), re.M)
    assert [cell.strip() for cell in that.split("|")[3:7]] == ["312", "3.1", "600", "4 of 350 cells, extrapolated"]
    assert [cell.strip() for cell in this.split("|")[3:7]] == ["100", "1.0", "190", "all"]


@pytest.mark.parametrize("shift", [0.08, -0.08])
def test_ways_that_do_other_work_get_no_table(shift):
    with pytest.raises(SystemExit, match=r"(?s)W2 differs.*checkerboard.*Euler 10"):
        tables.race_text(ROWS, scored(shift))


def test_ways_without_a_common_cell_get_no_table():
    apart = scored(0.0)
    apart.loc[apart["way"] == 1, "path"] = "d"
    with pytest.raises(SystemExit, match="no cell in common"):
        tables.race_text(ROWS, apart)


def test_ratios_of_the_inner_loops_are_to_the_bare_version():
    measured = [
        ("test_bare_loop", "a", 2.0),
        ("test_train", "a", 3.0),
        ("test_find", "b", 9.0),
        ("test_bare", "b", 3.0),
    ]
    text = tables.micro_text({"benchmarks": [
        {"name": name, "group": group, "stats": {"median": median, "rounds": 5}} for name, group, median in measured
    ]})  # fmt: skip
    rows = [[cell.strip() for cell in row.split("|")[2:5]] for row in text.splitlines()[2:6]]
    assert [row[0] for row in rows] == ["bare loop", "train", "find", "bare"]
    assert [row[2] for row in rows] == ["1.00", "1.50", "3.00", "1.00"]
