"""Speed of the inner loops, each beside a bare version of the same work, and beside others' libraries where they do it.

`make micro` runs these, and makes a table of ratios; an ordinary test run skips them. Seconds depend on the machine,
ratios hardly do. Names begin with `bare` (what the ratios of a group are to), with the library, or with `harness`.
"""

import hashlib
import json
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torchdiffeq import odeint

from bench.batches import TrainJob, draw
from bench.cohort import members
from bench.components import Tables
from bench.interfaces import Given
from bench.planner import plan
from bench.seeds import numpy_stream, stream
from bench.settings import Training
from bench.store import Store, write_array
from bench.suite import load_suite
from bench.train import train_together

TABLES = Tables()
STEPS = 512
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)

training = pytest.mark.benchmark(group="512 training steps with their draws, MLP 3x128, batch 256")
training_small = pytest.mark.benchmark(group="4096 training steps, MLP 2x32, batch 64")
sampling = pytest.mark.benchmark(group="20 Euler steps, MLP 3x128, n = 1024")
sampling_four = pytest.mark.benchmark(group="20 Euler steps of 4 nets, MLP 3x128, n = 1024")
convolving = pytest.mark.benchmark(group="a layer of 4 nets, 16 channels, 64 pictures of 16 x 16, there and back")
adapting = pytest.mark.benchmark(group="dopri5 to 1e-5, MLP 3x128, n = 1024")
transporting = pytest.mark.benchmark(group="W2 of 1024 samples against 1024")
scoring = pytest.mark.benchmark(group="MMD of 1024 samples against 1024")
distancing = pytest.mark.benchmark(group="FID of 1000 images against 10000, given 64 features each")
planning = pytest.mark.benchmark(group="1000 cells")
finding = pytest.mark.benchmark(group="200 stored entries of 1024 points")


def component(room, name, **given):
    return TABLES.rooms[room][name](**given)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # NumPy's and SciPy's libraries too
        yield
    torch.set_num_threads(before)


@pytest.fixture
def by_hand():
    """The race's loops with others' libraries."""
    pytest.importorskip("torchcfm")
    from tests.race import by_hand

    return by_hand


@pytest.fixture
def job():
    names = {"dataset": "gaussian_mixture", "source": "gaussian", "coupling": "independent", "path": "linear"}
    parts = {room: component(room, name) for room, name in names.items()}
    settings = Training(steps=STEPS, batch=256)
    return TrainJob(**parts, target="exact", clock="noise_at_0", net=component("net", "mlp"), training=settings, seed=0)


@pytest.fixture
def net():
    return component("net", "mlp").build((2,))


@training
def test_bare_loop(benchmark, job, net):
    """What one writes by hand: the same net, optimizer and draws, with torch's own generator."""
    means = torch.from_numpy(job.dataset.mixture().means).float()
    deviations = torch.from_numpy(job.dataset.mixture().covariances[:, 0, 0]).float().sqrt()[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def steps():
        for _ in range(STEPS):
            which = torch.randint(len(means), (256,))
            x1 = means[which] + deviations[which] * torch.randn(256, 2)
            x0, t = torch.randn(256, 2), torch.rand(256)
            x_t = torch.lerp(x0, x1, t[:, None])
            loss = nn.functional.mse_loss(net(x_t, t), x1 - x0)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    first = steps()
    assert benchmark(steps) < 2 * first


@training
def test_products_alone(benchmark, net):
    """What no way of training can do without: the matrix products of the layers, forward and back, and nothing else."""
    weights = [layer.weight.detach() for layer in net.modules() if isinstance(layer, nn.Linear)]
    inputs, outputs = ([torch.randn(256, weight.shape[side]) for weight in weights] for side in (1, 0))

    def steps():
        for _ in range(STEPS):
            for number, (weight, x, slope) in enumerate(zip(weights, inputs, outputs, strict=True)):
                y = x @ weight.t()
                by_weight = slope.t() @ x
                by_input = slope @ weight if number else None  # nobody asks for the slope by the points
        return y, by_weight, by_input

    assert [part.shape for part in benchmark(steps)] == [(256, 2), weights[-1].shape, inputs[-1].shape]


@training
@pytest.mark.parametrize("optimizer", ["adam", "fused adam"])
def test_torchcfm_loop(benchmark, by_hand, optimizer):
    """Its matcher in a plain loop, with what the harness draws; Adam as torch makes it, and fused."""
    flow, fused = by_hand.by_torchcfm("linear"), optimizer == "fused adam" or None
    net = benchmark(by_hand.train, flow, "gaussian_mixture", "linear", "noise_at_0", 0, steps=STEPS, fused=fused)
    assert sum(part.numel() for part in net.parameters()) == 33_794


@training
def test_solo(benchmark, job):
    (trained,) = benchmark(train_together, [job], torch.device("cpu"), lambda *_: None)
    assert len(trained.losses) == STEPS


def together(job, size):
    """So many trainings as one, each of its share of the steps, so that as many steps of members are taken."""
    shorter = replace(job, training=replace(job.training, steps=job.training.steps // size))
    return [replace(shorter, seed=seed) for seed in range(size)], torch.device("cpu"), lambda *_: None


@training
def test_member_of_4(benchmark, job):
    assert len(benchmark(train_together, *together(job, 4))) == 4


@pytest.fixture
def small(job):
    """A training whose steps are hardly more than calls."""
    settings = Training(steps=8 * STEPS, batch=64)  # so that making the nets of a large cohort hardly counts
    return replace(job, net=component("net", "mlp", width=32, depth=2), training=settings)


@training_small
def test_bare_harness_alone(benchmark, small):
    assert len(benchmark(train_together, *together(small, 1))) == 1


@training_small
@pytest.mark.parametrize("size", [4, 32], ids=["of 4", "of 32"])
def test_member_of_small_nets(benchmark, small, size):
    assert len(benchmark(train_together, *together(small, size))) == size


@pytest.mark.benchmark(group="the draws of 512 steps alone, batch 256")
def test_draw_alone(benchmark, job):
    batch = benchmark(lambda: [draw(job, number, 256) for number in range(STEPS // 256)][-1])
    assert batch.x_t.shape == (256, 256, 2)


@pytest.fixture
def field(net):
    net.requires_grad_(False)
    return lambda t, x: net(x, t.to(x.dtype).expand(len(x)))


@pytest.fixture
def start():
    return torch.randn(1024, 2, generator=stream(0, "micro"))


def euler(field, x):
    """The bare loop."""
    with torch.no_grad():
        for t in (torch.arange(20) / 20).unbind():
            x = x + field(t, x) / 20
    return x


@sampling
def test_bare_euler(benchmark, field, start):
    end = benchmark(euler, field, start)
    assert end.shape == start.shape


@sampling
def test_harness_euler(benchmark, field, start):
    solver = component("solver", "euler", steps=20)
    end = benchmark(lambda: solver.solve(field, start, ENDS).states[-1])
    torch.testing.assert_close(end, euler(field, start), rtol=1e-4, atol=1e-5)


@sampling
def test_torchdiffeq_euler(benchmark, field, start):
    grid = torch.linspace(0, 1, 21, dtype=torch.float64)

    def solve():
        with torch.no_grad():
            return odeint(field, start, ENDS, method="euler", options={"grid_constructor": lambda *_: grid})[-1]

    torch.testing.assert_close(benchmark(solve), euler(field, start), rtol=1e-4, atol=1e-5)


@pytest.fixture
def four():
    """Four nets of different weights, and their start."""
    nets = [component("net", "mlp").build((2,)).requires_grad_(False) for _ in range(4)]
    return nets, torch.randn(4, 1024, 2, generator=stream(0, "micro"))


def one_by_one(nets, starts):
    return torch.stack(
        [euler(lambda t, x, net=net: net(x, t.expand(len(x))), x) for net, x in zip(nets, starts, strict=True)]
    )


@sampling_four
def test_bare_one_by_one(benchmark, four):
    assert benchmark(one_by_one, *four).shape == (4, 1024, 2)


@sampling_four
def test_as_a_cohort(benchmark, four):
    """Why samplings go one by one on a CPU."""
    nets, starts = four
    stack = members(nets, stackable=True)
    ends = benchmark(euler, lambda t, x: stack(x, t.expand(4, 1024)), starts)
    torch.testing.assert_close(ends, one_by_one(nets, starts), rtol=1e-3, atol=1e-4)


@pytest.fixture
def layers():
    """Weights (4, out, in, 3, 3) of a layer of four nets, and what each is shown, (4, B, C, H, W)."""
    weights = torch.randn(4, 16, 16, 3, 3, generator=stream(0, "micro")) / 12
    return weights.requires_grad_(), torch.randn(4, 64, 16, 16, 16, generator=stream(1, "micro")).requires_grad_()


def there_and_back(layer, weights, x):
    """Gradients by weights and by what is shown, of half the sum of the squares."""
    out = layer(weights, x)
    return torch.autograd.grad(out, (weights, x), out.detach())


def net_by_net(weights, x):
    return torch.stack([nn.functional.conv2d(each, weight, padding=1) for each, weight in zip(x, weights, strict=True)])


def grouped(weights, x):
    shown = x.transpose(0, 1).flatten(1, 2)
    out = nn.functional.conv2d(shown, weights.flatten(0, 1), padding=1, groups=len(weights))
    return out.unflatten(1, (len(weights), -1)).transpose(0, 1)


@convolving
def test_bare_net_by_net(benchmark, layers):
    assert [part.shape for part in benchmark(there_and_back, net_by_net, *layers)] == [part.shape for part in layers]


@convolving
@pytest.mark.parametrize("way", ["grouped convolution", "vmap"])
def test_four_by(benchmark, layers, way):
    """Why nets for images train one by one on a CPU."""
    mapped = torch.func.vmap(lambda weight, x: nn.functional.conv2d(x, weight, padding=1))
    due = there_and_back(net_by_net, *layers)
    found = benchmark(there_and_back, grouped if "grouped" in way else mapped, *layers)
    torch.testing.assert_close(found, due, rtol=1e-3, atol=1e-3)


@adapting
def test_bare_torchdiffeq_dopri5(benchmark, field, start):
    def solve():
        with torch.no_grad():
            return odeint(field, start, ENDS, method="dopri5", rtol=1e-5, atol=1e-5)[-1]

    assert benchmark(solve).isfinite().all()


@adapting
def test_harness_dopri5(benchmark, field, start):
    solver = component("solver", "dopri5")
    end = benchmark(lambda: solver.solve(field, start, ENDS).states[-1])
    with torch.no_grad():
        due = odeint(field, start, ENDS, method="dopri5", rtol=1e-7, atol=1e-7)[-1]
    torch.testing.assert_close(end, due, rtol=1e-3, atol=1e-3)


@pytest.fixture
def clouds():
    generator = numpy_stream(0, "micro")
    return Given(samples=generator.normal(size=(1024, 2)), reference=generator.normal(size=(1024, 2)))


@transporting
def test_bare_emd2(benchmark, clouds):
    """POT alone, on costs that are there."""
    cost = ot.dist(clouds.samples, clouds.reference, metric="sqeuclidean")
    assert benchmark(ot.emd2, [], [], cost, numItermax=1_000_000) > 0


@transporting
def test_harness_wasserstein(benchmark, clouds):
    assert 0 < benchmark(component("metric", "wasserstein").measure, clouds)["wasserstein"] < 1


@scoring
def test_bare_mmd(benchmark, by_hand, clouds):
    """Every pair's kernel at every bandwidth."""
    x, y = clouds.samples, clouds.reference

    def mmd():
        return by_hand.mmd(ot.dist(x, x), ot.dist(y, y), ot.dist(x, y))

    assert 0 < benchmark(mmd) < 1


@scoring
def test_harness_mmd(benchmark, clouds):
    assert 0 < benchmark(component("metric", "mmd").measure, clouds)["mmd"] < 1


@pytest.fixture
def features():
    """Of 1000 samples and of 10,000 test images, as float32 (n, 64)."""
    generator = numpy_stream(0, "micro features")
    return [generator.normal(size=(n, 64)).astype(np.float32) for n in (1000, 10_000)]


@distancing
def test_bare_torch_fidelity(benchmark, features):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def fid():
        statistics = [fid_features_to_statistics(torch.from_numpy(part)) for part in features]
        return fid_statistics_to_metric(*statistics, verbose=False)

    assert 0 < benchmark(fid)["frechet_inception_distance"] < 10


@distancing
def test_harness_fid_and_fid_infinity(benchmark, features):
    """FID, and the line through it at n/2, ... n/5."""
    made = benchmark(lambda: component("metric", "fid").compare(*features, numpy_stream(0, "micro parts")))
    assert made["fid_infinity"] < made["fid"]


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "large.yaml"
    file.write_text(
        "question: How long does planning take?\nseeds: 10\ngrid:\n  path: [linear, noisy_bridge]\n"
        "  net.width: [16, 32, 64, 128, 256]\n  solver.steps: [1, 2, 5, 10, 20, 30, 50, 100, 200, 500]\n"
    )
    return load_suite(file)


@planning
def test_bare_hashes(benchmark, suite):
    """A hash of every cell's configuration, with nothing shared."""
    cells = suite.cells
    rows = [[cells.configs[f][i].values for f, i in zip(cells.index, row, strict=True)] for row in zip(
        *(cells.index[f].tolist() for f in cells.index), strict=True
    )]  # fmt: skip

    def hashes():
        return {hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest() for row in rows}

    assert len(rows) == 1000
    assert len(benchmark(hashes)) == 100  # a configuration is the same for all seeds


@planning
def test_harness_planner(benchmark, suite):
    laid = benchmark(plan, suite, "this machine")
    assert len(laid.cells["train"]) == 1000
    assert (laid.count("train"), laid.count("sample")) == (100, 1000)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store of 200 sample entries, and their keys."""
    store, keys = Store(tmp_path_factory.mktemp("store")), [f"{number:032x}" for number in range(200)]
    for key in keys:
        folder = store.staging("sample", key)
        write_array(folder, "samples", numpy_stream(0, key).normal(size=(1024, 2)))
        store.publish("sample", key, "a1b2c3d4e5f6", folder, {"seconds": 0.1, "group": "micro"})
    return store.root, keys


def found(store, keys):
    return sum(store.find("sample", key, "a1b2c3d4e5f6") is not None for key in keys)


@finding
def test_bare_reads(benchmark, stored):
    """Every array read and its checksum computed."""
    root, _ = stored
    files = sorted((root / "sample").glob("*/samples.npy"))

    def read():
        return len({hashlib.sha256(file.read_bytes()).digest() for file in files})

    assert benchmark(read) == 200


@finding
def test_harness_first_find(benchmark, stored):
    """A store just opened verifies every checksum."""
    root, keys = stored
    assert benchmark(lambda: found(Store(root), keys)) == 200


@finding
def test_harness_later_find(benchmark, stored):
    """What was verified once is not read through again."""
    root, keys = stored
    store = Store(root)
    found(store, keys)
    assert benchmark(found, store, keys) == 200
    entry = store.find("sample", keys[0], "a1b2c3d4e5f6")
    np.testing.assert_array_equal(np.load(entry.place / "samples.npy"), numpy_stream(0, keys[0]).normal(size=(1024, 2)))
