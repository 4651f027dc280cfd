"""Nets of a user's own: statistics over batches, random numbers of their own, answers of the wrong shape."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from bench import batches, checkpoint, sample, train
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.errors import WrongShape
from bench.interfaces import Net
from bench.nets import MLP
from bench.paths import Linear
from bench.seeds import stream
from bench.settings import Training

CPU = torch.device("cpu")


class Layers(nn.Module):
    """A plain net of x and tau; `middle` stands between its two layers."""

    def __init__(self, d, middle, out):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(d + 1, 32), *middle, nn.ReLU(), nn.Linear(32, out))

    def forward(self, x, tau):
        return self.net(torch.cat([x, tau[..., None]], -1))


@dataclass(frozen=True)
class Normed(Net):
    """With statistics over batches."""

    def build(self, shape):
        return Layers(shape[0], [nn.BatchNorm1d(32)], shape[0])


@dataclass(frozen=True)
class Dropping(Net):
    """With random numbers of its own."""

    stackable: ClassVar[bool] = True

    def build(self, shape):
        return Layers(shape[0], [nn.Dropout(0.3)], shape[0])


@dataclass(frozen=True)
class OfWidth(Net):
    """Answers so many numbers whatever is asked."""

    stackable: ClassVar[bool] = True
    out: int = 1

    def build(self, shape):
        return Layers(shape[0], [], self.out)


def job(net, **settings):
    names = DATASETS["two_moons"](), SOURCES["gaussian"](), Independent(), Linear()
    training = Training(**{"steps": 60, "batch": 32, "learning_rate": 3e-3, **settings})
    return batches.TrainJob(*names, "exact", "noise_at_0", net, training, seed=0)


def run(one):
    return train.train(one, CPU, lambda *_: None)


def test_running_means_hold_the_statistics_of_batches():
    """As the mean of parameters does, with the same decay; counts are counts."""
    one, decay = job(Normed(), ema=0.9, steps=40), 0.9
    whole, shorter = run(one), (replace(one, training=replace(one.training, steps=n)) for n in range(1, 41))
    snapshots = [run(each).weights["raw"] for each in shorter]
    fresh = train.initialised(one.net, (2,), 0, 0).state_dict()
    for name in ("net.1.running_mean", "net.1.running_var", "net.0.weight"):
        mean = fresh[name].clone()
        for now in snapshots:
            mean = decay * mean + (1 - decay) * now[name]
        torch.testing.assert_close(whole.weights["ema"][name], mean, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(whole.weights["ema"][name], fresh[name], atol=1e-3)
    assert int(whole.weights["ema"]["net.1.num_batches_tracked"]) == 40


def test_a_net_with_batch_statistics_scores_alike_raw_and_averaged():
    """Forgotten statistics made the averaged net three times worse than the raw one."""
    one = job(Normed(), ema=0.99, steps=1500, batch=128, learning_rate=2e-3)
    trained, x = run(one), DATASETS["two_moons"]().draw(512, 0, stream(1, "x"))
    fields = {}
    for name in ("raw", "ema"):
        module = sample.load(one.net.build((2,)), trained.weights[name], CPU)
        with torch.no_grad():
            fields[name] = torch.stack([module(t * x, torch.full((512,), float(t))) for t in (0.2, 0.5, 0.8)])
    apart = (fields["raw"] - fields["ema"]).norm() / fields["raw"].norm()
    assert apart < 0.2


def test_an_answer_of_another_shape_is_told_before_the_first_step_with_net_and_both_shapes():
    heard = []
    with pytest.raises(WrongShape, match=r"the net OfWidth answers \(2, 1\) to 2 points .* where \(2, 2\) is due"):
        train.train_together([job(OfWidth(1))], CPU, lambda *news: heard.append(news))
    assert not heard
    assert len(run(job(OfWidth(2))).losses) == 60


def test_a_field_of_another_shape_is_told_where_it_is_sampled():
    field = sample.velocity(lambda x, tau: x[:, :1], "noise_at_0")
    with pytest.raises(WrongShape, match=r"\(4, 2\) the net answers \(4, 1\)"):
        field(torch.tensor(0.5), torch.zeros(4, 2))


def test_a_nets_own_random_numbers_follow_the_seed_and_nothing_else():
    """Neither what was drawn before, nor who else trains, though the net says that it may be stacked."""
    one = job(Dropping())
    first = run(one)
    torch.rand(7)
    jobs = [one, replace(one, seed=1), replace(one, replica=1)]
    for alone, together in zip(jobs, train.train_together(jobs, CPU, lambda *_: None), strict=True):
        again = run(alone)
        assert all(torch.equal(again.weights["raw"][name], value) for name, value in together.weights["raw"].items())
    assert all(torch.equal(run(one).weights["raw"][name], value) for name, value in first.weights["raw"].items())


@dataclass(frozen=True)
class Tossing(MLP):
    """Notes the first number that it draws in each forward of a training."""

    stackable: ClassVar[bool] = False

    def build(self, shape):
        module = super().build(shape)
        module.register_forward_pre_hook(lambda *_: TOSSED.append(float(torch.rand(())) if module.training else None))
        return module


TOSSED = []


def test_seeds_and_blocks_have_masks_of_their_own():
    rows = []
    for seed in (0, 1):
        TOSSED.clear()
        run(replace(job(Tossing(8, 1), steps=600), seed=seed))
        rows.append([number for number in TOSSED if number is not None][1:])  # the first asks for the shape
    length = batches.block_length(job(Tossing(8, 1)))
    assert length < 600
    assert len({*rows[0], *rows[1]}) == 1200, "no two steps of any seed or block share a number"


def test_a_nets_own_random_numbers_go_on_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    settings = {"steps": 40, "batch": 2**14, "ema": 0.9}  # blocks of 8 steps
    one, file = job(Dropping(), **settings), tmp_path / "half.safetensors"
    whole = run(one)

    def killed(_, done, total, loss):
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_together([one], CPU, killed, file)
    (resumed,) = train.train_together([one], CPU, lambda *_: None, file)
    for kind, weights in whole.weights.items():
        assert all(torch.equal(weights[name], resumed.weights[kind][name]) for name in weights)
