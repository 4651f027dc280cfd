"""Training: what it draws, what it minimises, and that its outcome is addressed by seed alone."""

import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from bench import batches, checkpoint, couplings, descent, netcheck, train
from bench.couplings import ClassWise, Independent, OptimalTransport
from bench.datasets import DATASETS, SOURCES
from bench.errors import Diverged
from bench.nets import MLP, ResidualMLP
from bench.nets.oracle import Oracle
from bench.paths import Linear, NoisyBridge, NoisyConstant, NoisySmooth, Trigonometric, VariancePreserving
from bench.predictions import coefficients
from bench.seeds import stream
from bench.settings import Training
from bench.store.partial import Partial
from bench.times import training_times, weight

CPU = torch.device("cpu")


@pytest.fixture
def job():
    return batches.TrainJob(
        DATASETS["gaussian_mixture"](), SOURCES["gaussian"](), Independent(), Linear(), "exact", "noise_at_0",
        MLP(16, 2), Training(steps=30, batch=32), seed=0,
    )  # fmt: skip


def run(job):
    return train.train(job, CPU, lambda *_: None)


def fresh(job):
    return netcheck.initialised(job.net, job.dataset.shape, job.seed, job.replica)


def test_same_job_same_bits_and_another_seed_or_replica_other_ones(job):
    first, again = run(job), run(job)
    assert (first.losses == again.losses).all()
    for name, value in first.weights["raw"].items():
        assert torch.equal(value, again.weights["raw"][name])
    assert not np.allclose(first.losses, run(replace(job, seed=1)).losses)
    assert not np.allclose(first.losses, run(replace(job, replica=1)).losses)


def test_training_leaves_the_global_generator_alone(job):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(job)
    assert torch.equal(torch.rand(1), expected)


def test_blocks_do_not_depend_on_the_number_of_steps(job):
    length = batches.block_length(job)
    longer = replace(job, training=replace(job.training, steps=1000))
    for mine, theirs in zip(batches.draw(job, 0, length).parts, batches.draw(longer, 0, length).parts, strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(batches.draw(job, 0, length).x_t, batches.draw(job, 1, length).x_t)


def test_the_two_clocks_see_the_same_points_at_mirrored_times(job):
    ahead, back = batches.draw(job, 0, 4), batches.draw(replace(job, clock="data_at_0"), 0, 4)
    assert torch.equal(ahead.x_t, back.x_t)
    assert torch.equal(ahead.tau, 1 - back.tau)
    assert torch.equal(ahead.target, -back.target)


@dataclass(frozen=True)
class Told(MLP):
    """A net that asks for the class."""

    classes: int = 3


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_labels_are_those_of_the_points_but_for_the_share_that_is_left_out(job, share):
    told = replace(job, net=Told(16, 2), training=Training(batch=500, label_dropout=share))
    batch, untold = batches.draw(told, 0, 8), batches.draw(job_of_batch(job, 500), 0, 8)
    labels = batch.parts[3].flatten()
    assert torch.equal(batch.x_t, untold.x_t)  # what is told changes nothing else
    assert set(labels.tolist()) <= {0, 1, 2, 3}
    assert (labels == 3).double().mean() == pytest.approx(share, abs=0.03)
    x1 = batch.x_t.flatten(0, 1) + (1 - batch.tau.flatten())[:, None] * batch.target.flatten(
        0, 1
    )  # of the straight line
    means = torch.from_numpy(job.dataset.mixture().means).float()
    nearest = torch.cdist(x1, means).argmin(1)
    known = labels != 3
    assert (nearest[known] == labels[known]).double().mean() > 0.99


def job_of_batch(job, batch):
    """The same job with batches of this size."""
    return replace(job, training=Training(batch=batch))


def test_targets_differ_by_the_noise_alone(job):
    noisy = replace(job, path=NoisyBridge(s=0.5))
    exact, displacement = batches.draw(noisy, 0, 4), batches.draw(replace(noisy, target="displacement"), 0, 4)
    straight = batches.draw(job, 0, 4)
    assert torch.equal(exact.x_t, displacement.x_t)
    assert not torch.allclose(exact.target, displacement.target)
    torch.testing.assert_close(displacement.target, straight.target)
    assert float(exact.tau.min()) >= 1e-3
    assert float(exact.tau.max()) <= 1 - 1e-3 + 1e-6


def test_the_loss_falls(job):
    losses = run(replace(job, training=Training(steps=600, batch=128, learning_rate=3e-3))).losses
    assert losses[-50:].mean() < 0.7 * losses[:10].mean()


def test_ema_is_the_running_mean_of_the_weights(job):
    job = replace(job, training=replace(job.training, ema=0.5, steps=1))
    trained, start = run(job), {name: value.clone() for name, value in fresh(job).state_dict().items()}
    for name, value in trained.weights["ema"].items():
        torch.testing.assert_close(value, (start[name] + trained.weights["raw"][name]) / 2)


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step(job):
    with pytest.raises(Diverged, match=r"step \d+ of 2000; lower the learning rate"):
        run(replace(job, training=Training(steps=2000, batch=8, learning_rate=1e30)))


COMPANY = [
    {"training": {"batch": 50}},
    {"training": {"precision": "bf16"}},
    {"training": {"clip": 0.1, "ema": 0.9}},
    {"training": {"optimizer": "adamw", "weight_decay": 0.1, "weighting": "min_snr"}},
    {"net": ResidualMLP(24, 1, time="fourier", time_features=10)},
    {"net": MLP(17, 2, time="sinusoidal", join="add")},
]


@pytest.mark.parametrize("changes", COMPANY, ids=str)
def test_a_member_of_a_cohort_has_the_bits_that_it_has_alone(job, changes):
    job = replace(job, net=changes.get("net", job.net), training=replace(job.training, **changes.get("training", {})))
    bridge = replace(job, path=NoisyBridge(0.5), clock="data_at_0", dataset=DATASETS["checkerboard"]())
    jobs = [job, bridge, replace(job, coupling=ClassWise()), replace(bridge, seed=1), replace(job, replica=1)]
    for alone, together in zip(map(run, jobs), train.train_together(jobs, CPU, lambda *_: None), strict=True):
        assert np.array_equal(alone.losses, together.losses)
        for kind, weights in alone.weights.items():
            assert all(torch.equal(weights[name], together.weights[kind][name]) for name in weights)


def test_spare_cores_pair_ahead_and_change_no_bit(job, monkeypatch):
    def seen(*points):
        names.add(threading.current_thread().name.partition("_")[0])
        return assignment(*points)

    names, assignment = set(), couplings.assignment
    monkeypatch.setattr(couplings, "assignment", seen)
    job = replace(job, training=Training(steps=600, batch=16))
    jobs = [replace(job, coupling=kind(), seed=seed) for seed, kind in enumerate((ClassWise, OptimalTransport))]
    outcomes = [train.train_together(jobs, CPU, lambda *_: None, spare=spare) for spare in (0, 2)]
    assert names == {"MainThread", "ahead"}
    for alone, ahead in zip(*outcomes, strict=True):
        assert np.array_equal(alone.losses, ahead.losses)
        assert all(torch.equal(alone.weights["raw"][name], value) for name, value in ahead.weights["raw"].items())


def test_a_member_that_diverges_ends_alone(job):
    class Broken(Linear):
        def velocity(self, t, x0, x1, xi):
            return super().velocity(t, x0, x1, xi) / 0

    heard = []
    jobs = [job, replace(job, path=Broken()), replace(job, seed=1)]
    outcomes = train.train_together(jobs, CPU, lambda place, *_: heard.append(place))
    assert heard == [0, 2]
    assert isinstance(outcomes[1], Diverged)
    for place in (0, 2):
        assert np.array_equal(outcomes[place].losses, run(jobs[place]).losses)


def test_stacking_steps_like_torch_does_on_the_plain_module(job):
    settings = replace(job.training, steps=5, clip=0.5, weight_decay=0.01)
    job = replace(job, training=settings)
    net = fresh(job)
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    for x_t, tau, target in zip(*next(batches.due(job))().parts, strict=True):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x_t, tau), target).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    for name, value in run(job).weights["raw"].items():
        torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_descent_steps_to_the_bit_like_torchs_optimizer_also_where_gradients_are_missing(kind):
    settings = Training(optimizer=kind, weight_decay=0.1)
    mine, theirs = ([torch.nn.Parameter(torch.randn(size, generator=stream(0, "w"))) for size in (7, 64)] for _ in "ab")
    steps = descent.Descent(mine, settings)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](theirs, weight_decay=0.1, fused=True)
    for number, there in enumerate([(1,), (0, 1), (0, 1), (0,), (0, 1)]):  # which have a gradient
        steps.forget()
        optimizer.zero_grad()
        for place in there:
            gradient = torch.randn(len(mine[place]), generator=stream(number, "g"))
            mine[place].grad, theirs[place].grad = gradient, gradient.clone()
        optimizer.param_groups[0]["lr"] = 0.1 / (number + 1)
        optimizer.step()
        steps.step(0.1 / (number + 1))
        assert all(map(torch.equal, mine, theirs))


def test_a_net_with_weights_beside_its_linear_layers_is_told_not_to_be_stackable(job):
    @dataclass(frozen=True)
    class Normed(MLP):
        def build(self, shape):
            net = super().build(shape)
            net.layers.insert(1, torch.nn.LayerNorm(self.width))
            return net

    with pytest.raises(TypeError, match=r"layers\.1 is a LayerNorm .* drop `stackable`"):
        run(replace(job, net=Normed(16, 2)))


@dataclass(frozen=True)
class Alone(MLP):
    """A net that trains by itself, as those do whose trainings are long."""

    stackable = False


def test_a_training_goes_on_from_its_checkpoint_to_the_bits_that_it_would_have_had(job, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    settings = Training(steps=40, batch=2**14, ema=0.9, schedule="cosine", clip=1.0)  # blocks of 8 steps
    job, file = replace(job, net=Alone(16, 2), training=settings), tmp_path / "partial" / "half.safetensors"
    whole, heard, now = run(job), [], [0.0]
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def heed(_, done, total, loss):
        heard.append(done)
        now[0] += 10  # seconds that a block of steps takes

    def killed(_, done, total, loss):
        heed(_, done, total, loss)
        if done == 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_together([job], CPU, killed, Partial(file))
    (resumed,) = train.train_together([job], CPU, heed, Partial(file))
    assert heard == [8, 16, 24, 32, 32, 40]
    assert resumed.seconds == 50.0, "what was spent before the kill counts, up to the checkpoint"
    assert np.array_equal(resumed.losses, whole.losses)
    for kind, weights in whole.weights.items():
        assert all(torch.equal(weights[name], resumed.weights[kind][name]) for name in weights)
    file.write_bytes(file.read_bytes()[:-100])
    (anew,) = train.train_together([job], CPU, lambda *_: None, Partial(file))
    assert np.array_equal(anew.losses, whole.losses)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16"},
        {"clip": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"weighting": "min_snr"},
        {"time_sampling": "stratified"},
        {"time_sampling": "logit_normal", "time_scale": 0.5},
        {"time_sampling": "beta", "time_a": 1.5},
        {"order": "by_class"},
    ],
)
def test_every_setting_changes_the_outcome(job, settings):
    plain, changed = run(job), run(replace(job, training=replace(job.training, **settings)))
    assert np.isfinite(changed.losses).all()
    assert not np.array_equal(plain.losses, changed.losses)


def test_rate_warms_up_and_falls_to_nothing():
    settings = Training(steps=100, schedule="cosine", warmup=10)
    rates = [train.rate(settings, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 1e-3


LAWS = {
    "uniform": ({}, stats.uniform()),
    "stratified": ({}, stats.uniform()),
    "logit_normal": ({"time_location": 0.5, "time_scale": 0.8}, None),
    "beta": ({"time_a": 1.5, "time_b": 1.0}, stats.beta(1.5, 1.0)),
}


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("path", [Linear(), NoisyBridge(s=0.5)], ids=str)
def test_times_follow_their_law_mapped_off_the_singular_ends(kind, path):
    given, law = LAWS[kind]
    settings = Training(batch=100, time_sampling=kind, **given)
    t = training_times(settings, path, 100, stream(0, "time"))
    assert t.shape == (10_000,)
    assert path.margin - 1e-7 <= float(t.min()) <= float(t.max()) <= 1 - path.margin + 1e-7
    u = ((t.double() - path.margin) / (1 - 2 * path.margin)).clamp(1e-9, 1 - 1e-9).numpy()
    if law is None:
        u, law = np.log(u / (1 - u)), stats.norm(0.5, 0.8)
    assert stats.kstest(u, law.cdf).pvalue > 1e-3
    assert torch.equal(t, training_times(settings, path, 100, stream(0, "time")))


def test_stratified_times_fill_every_stratum_of_every_batch_in_random_order():
    t = training_times(Training(batch=50, time_sampling="stratified"), Linear(), 20, stream(0, "time"))
    strata = (t.view(20, 50) * 50).floor().clamp_max(49)
    assert (strata.sort(dim=1).values == torch.arange(50)).all()
    assert not (strata == torch.arange(50)).all(dim=1).any()


@pytest.mark.parametrize(
    ("given", "text"),
    [({"time_location": 1.0}, "logit_normal"), ({"time_sampling": "logit_normal", "time_a": 2.0}, "beta")],
)
def test_time_parameters_without_effect_are_refused(given, text):
    with pytest.raises(ValueError, match=f"belong to time_sampling: {text}"):
        Training(**given)


EVERY_PATH = pytest.mark.parametrize(
    "path",
    [Linear(), Trigonometric(), VariancePreserving(), NoisyConstant(0.5), NoisyBridge(0.5), NoisySmooth(0.5)],
    ids=str,
)


@EVERY_PATH
def test_min_snr_weighs_the_same_error_alike_in_every_prediction(path):
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    velocity, noise, data = (weight("min_snr", path, kind, t) for kind in ("velocity", "noise", "data"))
    snr = path.alpha(t) ** 2 / (path.sigma(t) ** 2 + path.gamma(t) ** 2)
    torch.testing.assert_close(data, snr.clamp_max(5))
    for kind, mine in (("noise", noise), ("data", data)):
        _, slope = coefficients(path, kind, t)  # a velocity error is slope times the prediction's error
        torch.testing.assert_close(velocity * slope**2, mine)
    ends = torch.tensor([0.0, 1.0])
    for kind in ("velocity", "noise", "data"):
        assert weight("min_snr", path, kind, ends).isfinite().all()


@EVERY_PATH
def test_inverse_variance_gives_unit_data_a_velocity_of_unit_variance(path):
    generator = torch.Generator().manual_seed(0)
    x0, x1, xi = (torch.randn(20_000, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    for time in (0.01, 0.3, 0.9):
        t = torch.full((20_000,), time, dtype=torch.float64)
        u = path.velocity(t, x0, x1, xi)
        assert float((weight("inverse_variance", path, "velocity", t)[:, None] * u**2).mean()) == pytest.approx(
            1, abs=0.03
        )
    assert (weight("inverse_variance", path, "noise", t) == 1).all()


@EVERY_PATH
def test_weights_of_the_displacement_target_leave_out_the_noises_own_velocity(path):
    """Unit variance of d_t, and the same weight for the same error of the data that d_t implies."""
    generator = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(20_000, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    for time in (0.01, 0.3, 0.9):
        t = torch.full((20_000,), time, dtype=torch.float64)
        weighed = (
            weight("inverse_variance", path, "velocity", t, "displacement")[:, None]
            * path.displacement(t, x0, x1).square()
        )
        assert float(weighed.mean()) == pytest.approx(1, abs=0.03)
    # Two laws imply two means of the data at one x, and displacements that differ by as much as that makes.
    t, x = torch.linspace(0.02, 0.9, 99, dtype=torch.float64), 2 * x0[:99]
    gaps = {}
    for kind in ("velocity", "data"):
        one, other = (
            Oracle().field(DATASETS[law](), path, "displacement", kind, 0)(x, t)
            for law in ("gaussian_mixture", "eight_gaussians")
        )
        gaps[kind] = (one - other).square().sum(1)
    mine, data = (weight("min_snr", path, kind, t, "displacement") for kind in gaps)
    torch.testing.assert_close(mine * gaps["velocity"], data * gaps["data"], rtol=1e-6, atol=0)
    assert torch.equal(data, weight("min_snr", path, "data", t))
    same = torch.allclose(mine, weight("min_snr", path, "velocity", t))
    assert same == (not path.has_noise_velocity)


@pytest.mark.parametrize("target", ["exact", "displacement"])
@pytest.mark.parametrize("clock", ["noise_at_0", "data_at_0"])
def test_the_weighted_loss_is_the_weighted_mean(job, clock, target):
    training = replace(job.training, weighting="min_snr", steps=1)
    job = replace(job, clock=clock, path=NoisyBridge(1.0), target=target, training=training)
    net, batch = fresh(job), batches.Batch(*(part[0] for part in next(batches.due(job))().parts))
    t = batch.tau if clock == "noise_at_0" else 1 - batch.tau
    error = (net(batch.x_t, batch.tau).detach() - batch.target).square().mean(1)
    expected = float((weight("min_snr", job.path, "velocity", t, target) * error).mean())
    assert run(job).losses[0] == pytest.approx(expected, rel=1e-5)
