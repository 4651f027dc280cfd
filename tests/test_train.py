"""Training: what it draws, what it minimises, and that its outcome is addressed by seed alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from bench import train
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.errors import Diverged
from bench.nets import MLP
from bench.paths import Linear, NoisyBridge
from bench.settings import Training

CPU = torch.device("cpu")


@pytest.fixture
def job():
    return train.TrainJob(
        DATASETS["gaussian_mixture"](), SOURCES["gaussian"](), Independent(), Linear(), "exact", "noise_at_0",
        MLP(16, 2), Training(steps=30, batch=32), seed=0,
    )  # fmt: skip


def run(job):
    return train.train(job, CPU, lambda *_: None)


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
    length = train.block_length(job)
    longer = replace(job, training=replace(job.training, steps=1000))
    for mine, theirs in zip(train.draw(job, 0, length), train.draw(longer, 0, length), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(train.draw(job, 0, length).x_t, train.draw(job, 1, length).x_t)


def test_the_two_clocks_see_the_same_points_at_mirrored_times(job):
    ahead, back = train.draw(job, 0, 4), train.draw(replace(job, clock="data_at_0"), 0, 4)
    assert torch.equal(ahead.x_t, back.x_t)
    assert torch.equal(ahead.tau, 1 - back.tau)
    assert torch.equal(ahead.target, -back.target)


def test_targets_differ_by_the_noise_alone(job):
    noisy = replace(job, path=NoisyBridge(s=0.5))
    exact, displacement = train.draw(noisy, 0, 4), train.draw(replace(noisy, target="displacement"), 0, 4)
    straight = train.draw(job, 0, 4)
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
    trained, start = run(job), {k: v.clone() for k, v in train.build(job).state_dict().items()}
    for name, value in trained.weights["ema"].items():
        torch.testing.assert_close(value, (start[name] + trained.weights["raw"][name]) / 2)


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step(job):
    with pytest.raises(Diverged, match=r"step \d+ of 2000; lower the learning rate"):
        run(replace(job, training=Training(steps=2000, batch=8, learning_rate=1e30)))


@pytest.mark.parametrize(
    "settings", [{"precision": "bf16"}, {"clip": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1}]
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
