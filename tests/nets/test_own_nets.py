"""Nets of a user's own: statistics over batches, random numbers of their own, answers of the wrong shape."""

import random
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from bench import batches, checkpoint, netcheck, sample, train
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.errors import BadNet
from bench.interfaces import Net
from bench.nets import MLP
from bench.paths import Linear
from bench.seeds import stream
from bench.settings import Training
from bench.store.partial import Partial

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
    fresh = netcheck.initialised(one.net, (2,), 0, 0).state_dict()
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
    with pytest.raises(BadNet, match=r"the net OfWidth answers \(3, 1\) to 3 points .* where \(3, 2\) is due"):
        train.train_together([job(OfWidth(1))], CPU, lambda *news: heard.append(news))
    assert not heard
    assert len(run(job(OfWidth(2))).losses) == 60


def test_a_field_of_another_shape_is_told_where_it_is_sampled():
    field = sample.velocity(lambda x, tau: x[:, :1], "noise_at_0")
    with pytest.raises(BadNet, match=r"\(4, 2\) the net answers \(4, 1\)"):
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
        train.train_together([one], CPU, killed, Partial(file))
    (resumed,) = train.train_together([one], CPU, lambda *_: None, Partial(file))
    for kind, weights in whole.weights.items():
        assert all(torch.equal(weights[name], resumed.weights[kind][name]) for name in weights)


class Layered(nn.Module):
    """A net with something of its own between its layers, in training."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(3, 32), nn.Linear(32, 2), between
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, tau):
        return self.last(self.between(self, torch.relu(self.first(torch.cat([x, tau[..., None]], -1)))))


def count(self, h):
    self.seen += h.detach().mean()
    return h


WAYS = {
    "numpy": lambda self, h: h * torch.as_tensor(np.random.rand(h.shape[-1]) > 0.3).to(h),
    "python": lambda self, h: torch.dropout(h, 0.5, True) if random.random() < 0.3 else h,
    "buffer": count,
    "batch": lambda self, h: h - h.mean(0),
    "tuple": lambda self, h: h,
}


@dataclass(frozen=True)
class Between(Net):
    """A net that says that it may be stacked, rightly or not."""

    stackable: ClassVar[bool] = True
    way: str = "numpy"

    def build(self, shape):
        return Layered(WAYS[self.way])


@pytest.mark.parametrize("way", ["numpy", "python"])
def test_random_numbers_of_any_library_follow_the_seed_in_company_too(way):
    jobs = [replace(job(Between(way)), seed=seed) for seed in (0, 1)]
    for alone, together in zip(jobs, train.train_together(jobs, CPU, lambda *_: None), strict=True):
        assert np.array_equal(run(alone).losses, together.losses)
    assert not np.array_equal(run(jobs[0]).losses, run(jobs[1]).losses)


@pytest.mark.parametrize(
    ("way", "words"),
    [("buffer", "changes its buffers in training"), ("batch", "answers otherwise in a cohort than alone")],
)
def test_a_net_that_is_wrongly_said_to_be_stackable_is_refused_in_words(way, words):
    with pytest.raises(BadNet, match=f"the net Between {words}.*drop `stackable`"):
        run(job(Between(way)))


def test_nets_that_cannot_be_asked_are_told_by_name():
    class Lazy(Dropping):
        def build(self, shape):
            return nn.Sequential(nn.LazyLinear(2))

    class Faulty(Dropping):
        def build(self, shape):
            return nn.Linear(7, 2)

    class Twofold(Dropping):
        def build(self, shape):
            module = Layers(2, [], 2)
            module.register_forward_hook(lambda module, asked, answer: (answer, answer))
            return module

    for net, words in ((Lazy, "lazy layers"), (Faulty, "fails when it is asked at"), (Twofold, "answers a tuple")):
        with pytest.raises(BadNet, match=f"the net {net.__name__} .*{words}|the net {net.__name__} {words}"):
            run(job(net()))
