"""The grid of suites/quick.yaml written out with torchcfm, torchdiffeq and POT, and nothing of this package.

Each net is trained once and sampled by every solver of its cells, as somebody writes it who knows these libraries; or,
with --anew, some cells picked at random are each done from the start, formulas and training included, as tutorials do.
Settings, spread of starts and references, and both scores are the suite's, so that times are those of the same work.

    python tests/race/by_hand.py --seeds 7 > scores.csv
    python tests/race/by_hand.py --anew 4 > scores.csv
"""

import argparse
import csv
import sys
import time
from itertools import product

import numpy as np
import ot
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher, SchrodingerBridgeConditionalFlowMatcher
from torchdiffeq import odeint

DATA, PATHS, CLOCKS = ("gaussian_mixture", "checkerboard"), ("linear", "noisy bridge"), ("noise_at_0", "data_at_0")
SOLVERS = {
    "Euler 10": ("euler", 10),
    "Euler 20": ("euler", 20),
    "Euler 50": ("euler", 50),
    "Euler 100": ("euler", 100),
    "Euler 1000": ("euler", 1000),
    "RK4 100": ("rk4", 25),
    "dopri5": ("dopri5", None),
}
SEEDS, STEPS, BATCH, N = 7, 2100, 256, 1024
S = 0.5
"""Size of the bridge's noise, s sqrt(t (1 - t)); its velocity is infinite at both ends, so training keeps away."""
MARGIN = 1e-3
COLUMNS = ("dataset", "path", "clock", "solver", "seed", "wasserstein", "mmd", "seconds", "processor")

WEIGHTS = torch.tensor([0.3, 0.5, 0.2])
MEANS = torch.tensor([[-2.0, -1.0], [1.0, 3.0], [4.0, -2.0]])
COVARIANCES = torch.tensor([[[0.5, 0.1], [0.1, 0.4]], [[0.6, -0.2], [-0.2, 0.5]], [[0.4, 0.0], [0.0, 0.6]]])
FACTORS = torch.linalg.cholesky(COVARIANCES)
CORNERS = 2.0 * torch.tensor([(x, y) for y, x in product(range(4), range(4)) if (x + y) % 2]) - 4


def cells(seeds):
    """(dataset, path, clock, solver, seed) of every cell; a thousand steps only on the line with noise at 0."""
    for data, path, clock, solver, seed in product(DATA, PATHS, CLOCKS, SOLVERS, range(seeds)):
        if solver != "Euler 1000" or (path, clock) == ("linear", "noise_at_0"):
            yield data, path, clock, solver, seed


def draw(data, n):
    """A batch of the law, (n, 2)."""
    if data == "checkerboard":
        return CORNERS[torch.randint(len(CORNERS), (n,))] + 2 * torch.rand(n, 2)
    part = torch.multinomial(WEIGHTS, n, replacement=True)
    return MEANS[part] + (FACTORS[part] @ torch.randn(n, 2, 1)).squeeze(-1)


def evenly(n, random):
    """Points that fill the unit square evenly, (n, 2)."""
    u = qmc.Sobol(2, rng=random).random_base2((n - 1).bit_length())[:n]
    return u.clip(2.0**-32, 1 - 2.0**-32)


def reference(data, n, seed):
    """The law's parts in proportion, evenly filled: (n, 2)."""
    random = np.random.default_rng((seed, 1))
    if data == "checkerboard":
        return np.concatenate([corner + 2 * evenly(n // 8, random) for corner in CORNERS.numpy()])
    parts = zip((WEIGHTS * n).round().int().tolist(), MEANS.numpy(), FACTORS.numpy(), strict=True)
    return np.concatenate([mean + ndtri(evenly(count, random)) @ factor.T for count, mean, factor in parts])


def start(n, seed):
    """The noise that samples begin at, (n, 2)."""
    return torch.from_numpy(ndtri(evenly(n, np.random.default_rng((seed, 2))))).float()


class Bridge(SchrodingerBridgeConditionalFlowMatcher):
    """Theirs pairs by optimal transport; here pairs are independent."""

    sample_location_and_conditional_flow = ConditionalFlowMatcher.sample_location_and_conditional_flow


def by_torchcfm(path):
    """(x0, x1, t) to (x_t, u_t), as torchcfm has it."""
    matcher = ConditionalFlowMatcher(sigma=0.0) if path == "linear" else Bridge(sigma=S)
    return lambda x0, x1, t: matcher.sample_location_and_conditional_flow(x0, x1, t)[1:]


def by_formula(path):
    """The same, as a tutorial writes it."""

    def flow(x0, x1, t):
        t = t[:, None]
        x_t, u_t = (1 - t) * x0 + t * x1, x1 - x0
        if path == "noisy bridge":
            xi, gamma = torch.randn_like(x0), S * (t * (1 - t)).sqrt()
            x_t, u_t = x_t + gamma * xi, u_t + S**2 * (1 - 2 * t) / (2 * gamma) * xi
        return x_t, u_t

    return flow


def network():
    """Three hidden layers of 128 on (x, t)."""
    hidden = [nn.Linear(3, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(128, 2))


def objective(net, flow, data, path, clock, n):
    """Mean squared error of the velocity on a fresh batch."""
    x0, x1 = torch.randn(n, 2), draw(data, n)
    if clock == "data_at_0":
        x0, x1 = x1, x0
    margin = MARGIN if path == "noisy bridge" else 0.0
    t = margin + (1 - 2 * margin) * torch.rand(n)
    x_t, u_t = flow(x0, x1, t)
    return nn.functional.mse_loss(net(torch.cat([x_t, t[:, None]], dim=1)), u_t)


def train(flow, data, path, clock, seed, steps=STEPS, fused=None):
    """A trained net. fused: as torch.optim.Adam takes it."""
    torch.manual_seed(seed)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = objective(net, flow, data, path, clock, BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


def sample(net, clock, solver, x):
    """The points x carried from the noise's end to the data's."""
    ends = (0.0, 1.0) if clock == "noise_at_0" else (1.0, 0.0)
    method, steps = SOLVERS[solver]

    def field(t, x):
        return net(torch.cat([x, t.expand(len(x), 1)], dim=1))

    with torch.no_grad():
        if steps is None:
            return odeint(field, x, torch.tensor(ends), method=method, rtol=1e-5, atol=1e-5)[-1]
        return odeint(field, x, torch.linspace(*ends, steps + 1), method=method)[-1]


def scores(x, y):
    """Wasserstein-2, and MMD under the mean of Gaussians at h = 4, 2, 1, .5, .25, of x (n, 2) against y (m, 2)."""
    between = ot.dist(x, y)
    squared = ot.emd2([], [], between, numItermax=1_000_000)
    return np.sqrt(squared), mmd(ot.dist(x, x), ot.dist(y, y), between)


def mmd(within_x, within_y, between):
    """From the squared distances within and between two sets."""

    def kernel(squared):
        return np.mean([np.exp(-squared / (2 * h**2)).mean() for h in (4, 2, 1, 0.5, 0.25)])

    return np.sqrt(max(kernel(within_x) + kernel(within_y) - 2 * kernel(between), 0.0))


def now():
    """Seconds on the clock, and of all threads on processors."""
    return np.array([time.perf_counter(), time.process_time()])


def each_net_once(seeds):
    """The rows of the whole grid."""
    whole = list(cells(seeds))
    for data, path, clock, seed in dict.fromkeys((*cell[:3], cell[4]) for cell in whole):
        net = train(by_torchcfm(path), data, path, clock, seed)
        for cell in whole:
            if (*cell[:3], cell[4]) == (data, path, clock, seed):
                began = now()
                ends = sample(net, clock, cell[3], start(N, seed)).double().numpy()
                yield *cell, *scores(ends, reference(data, N, seed)), *(now() - began)


def anew(count):
    """The rows of `count` cells picked at random from the grid, each done from the start."""
    whole = list(cells(SEEDS))
    for place in np.random.default_rng(0).choice(len(whole), count, replace=False):
        data, path, clock, solver, seed = whole[place]
        began = now()
        net = train(by_formula(path), data, path, clock, seed)
        ends = sample(net, clock, solver, start(N, seed)).double().numpy()
        yield *whole[place], *scores(ends, reference(data, N, seed)), *(now() - began)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=SEEDS, help="seeds 0, 1, ... of the grid")
    options.add_argument("--anew", type=int, help="this many cells instead, each trained anew")
    asked = options.parse_args()
    table = csv.writer(sys.stdout)
    table.writerow(COLUMNS)
    table.writerows(each_net_once(asked.seeds) if asked.anew is None else anew(asked.anew))
