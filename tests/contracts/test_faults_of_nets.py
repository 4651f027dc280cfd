"""Nets that are wrong in training, with labels or in a cohort: each breaks the law named; BatchNorm passes."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
from annotated_types import Ge
from torch import nn

from bench.interfaces import Net


@dataclass(frozen=True)
class Small(Net):
    """A small net of one module, with one fault or none."""

    module: ClassVar[type]

    def build(self, shape):
        return self.module()


class Body(nn.Module):
    def __init__(self, *more):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), *more, nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x, tau):
        return self.layers(torch.cat([x, tau[..., None].to(x.dtype)], dim=-1))


def net(name, module, stackable=False):
    """A component of one module, written as a user would."""
    members = {"__doc__": f"{name}.", "module": staticmethod(module), "__annotations__": {}}
    return dataclass(frozen=True)(type(name, (Small,), {**members, "stackable": stackable}))


class NumPy(Body):
    def forward(self, x, tau):
        out = super().forward(x, tau)
        return out * float(np.random.default_rng().random()) if self.training else out


class Calls(Body):
    calls = 0

    def forward(self, x, tau):
        if self.training:
            Calls.calls += 1
        return super().forward(x, tau) * (1 + (Calls.calls if self.training else 0))


class Squeezed(Body):
    def forward(self, x, tau):
        return super().forward(x, tau) if self.training else super().forward(x, tau).squeeze()


class Trained(Body):
    def forward(self, x, tau):
        out = super().forward(x, tau)
        return out[:, :1] if self.training else out


class Table(Body):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4, dtype=torch.int64))

    def forward(self, x, tau):
        if self.training:
            self.seen += torch.arange(4)
        return super().forward(x, tau)


class Unsaved(Body):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2), persistent=False)

    def forward(self, x, tau):
        if self.training:
            self.mean += x.detach().float().mean(0)
        return super().forward(x + self.mean.to(x.dtype), tau)


class Plain(Body):
    def __init__(self):
        super().__init__()
        self.mean = 0.0

    def forward(self, x, tau):
        if self.training:
            self.mean = float(x.mean())
        return super().forward(x + self.mean, tau)


class Labelled(Body):
    """Classes and the null class, with a fault by name."""

    def __init__(self, classes, fault):
        super().__init__()
        self.classes, self.fault = classes, fault
        self.embedding = nn.Embedding(classes + 1, 2)

    def forward(self, x, tau, labels=None):
        labels = torch.full(tau.shape, 0 if self.fault == "null" else self.classes) if labels is None else labels
        if self.fault == "deaf":
            labels = torch.full_like(labels, self.classes)
        told = self.embedding(labels[:1] if self.fault == "first" else labels).to(x.dtype)
        out = super().forward(x + told, tau)
        return out[:, None] if self.fault == "shape" else out


def labelled(fault):
    """A conditional net with this fault, its classes 0 unless given, as those of the package."""

    @dataclass(frozen=True)
    class Conditional(Net):
        """A conditional net."""

        classes: Annotated[int, Ge(0)] = 0

        def build(self, shape):
            return Labelled(self.classes, fault) if self.classes else Body()

    return Conditional


def dropout():
    return Body(nn.Dropout(0.3))


FAULTS = [
    (net("NumPyDraws", NumPy), "repeats_its_training_under_its_stream", "no NumPy"),
    (net("CountsCalls", Calls), "repeats_its_training_under_its_stream", "no count of calls"),
    (net("SqueezedAlone", Squeezed), "keeps_shape_and_dtype", "for 1 points in evaluation has shape (2,)"),
    (net("TrainedShape", Trained), "keeps_shape_and_dtype", "for 8 points in training has shape (8, 1)"),
    (net("IntegerTable", Table), "keeps_its_buffers", "training changes seen, which is no floating"),
    (net("UnsavedMean", Unsaved), "keeps_its_buffers", "which is not in the state dict"),
    (net("PlainMean", Plain), "keeps_its_buffers", "after training, the output of a net with loaded weights"),
    (net("StackedDropout", dropout, stackable=True), "draws_nothing_if_stackable", "mend: drop `stackable`"),
    (labelled("deaf"), "takes_labels_where_it_has_classes", "class 0 is as no class"),
    (labelled("null"), "takes_labels_where_it_has_classes", "the output without labels"),
    (labelled("first"), "takes_labels_where_it_has_classes", "the labelled velocity in a batch"),
    (labelled("shape"), "takes_labels_where_it_has_classes", "the output with labels has shape (8, 1, 2)"),
]


@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}-{c[2][:8]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("net", cls, law, words)


RIGHT = [
    net("Stacked", Body, stackable=True),
    net("BatchNorm", lambda: Body(nn.BatchNorm1d(16))),
    net("Dropout", dropout),
    labelled(""),
]


@pytest.mark.parametrize("cls", RIGHT)
def test_a_right_net_of_an_uncommon_kind_passes(keeps, cls):
    keeps("net", cls)
