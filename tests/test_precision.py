"""bf16 by float32 instructions gives what bf16 gives: exact products of rounded numbers, and what torch makes."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from bench import precision
from bench.batches import TrainJob
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.nets import MLP
from bench.paths import Linear
from bench.precision import autocast
from bench.settings import Training
from bench.train import train

CPU = torch.device("cpu")
PLACE = 2.0**-8
"""What rounding to bf16 changes of a number, at most."""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def projected(x, y):
    return functional.multi_head_attention_forward(
        x, x, x, 8, 2, y[:24, :8], None, None, None, False, 0.0, y[:8, :8], None, need_weights=False
    )[0]


ASKED = {
    "conv1d": (functional.conv1d, (2, 3, 8), (4, 3, 3)),
    "conv2d": (lambda x, y: functional.conv2d(x, y, padding=1), (2, 3, 8, 8), (4, 3, 3, 3)),
    "conv_transpose2d": (lambda x, y: functional.conv_transpose2d(x, y, stride=2), (2, 3, 8, 8), (3, 4, 2, 2)),
    "linear": (functional.linear, (5, 16), (7, 16)),
    "@": (lambda x, y: x @ y, (5, 16), (16, 7)),
    "a method": (lambda x, y: x.matmul(y), (2, 5, 16), (2, 16, 7)),
    "baddbmm": (lambda x, y: torch.baddbmm(x[:, :, :1], x, y), (2, 5, 16), (2, 16, 7)),
    "einsum": (lambda x, y: torch.einsum("bij,bjk->bik", x, y), (2, 5, 16), (2, 16, 7)),
    "attention": (lambda x, y: functional.scaled_dot_product_attention(x, y, y), (2, 2, 6, 8), (2, 2, 6, 8)),
}
SEVERAL = {
    "attention with its projections": (projected, (6, 2, 8), (24, 8)),
    "products and sums": (lambda x, y: functional.silu(x @ y + 1).softmax(-1) @ y.t(), (5, 16), (16, 7)),
}


def asked(how, call, shapes):
    """Answer and gradients, the type of the answer, and how it was to be changed."""
    inputs = [drawn(*shape, seed=number) for number, shape in enumerate(shapes)]
    with how:
        out = call(*inputs)
    slope = drawn(*out.shape, seed=9).detach().bfloat16()
    out.backward(slope.to(out.dtype))
    return [each.double() for each in (out.detach(), *(each.grad for each in inputs))], out.dtype


@pytest.fixture
def without_instructions(monkeypatch):
    """A processor that does not multiply bf16, whatever this one does."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.usefixtures("without_instructions")
def test_products_are_those_of_rounded_operands_rounded_once(what):
    call, *shapes = ASKED[what]
    right, _ = asked(nullcontext(), lambda x, y: call(x.bfloat16().double(), y.bfloat16().double()), shapes)
    found, dtype = asked(autocast(CPU), call, shapes)
    assert dtype == torch.bfloat16
    for mine, true in zip(found, right, strict=True):
        assert (mine - true).norm() <= PLACE * true.norm()


@pytest.mark.parametrize("what", ASKED | SEVERAL)
@pytest.mark.usefixtures("without_instructions")
def test_answers_and_gradients_are_torchs_own_but_for_rounding(what):
    call, *shapes = (ASKED | SEVERAL)[what]
    right, due = asked(torch.autocast("cpu", torch.bfloat16), call, shapes)
    found, dtype = asked(autocast(CPU), call, shapes)
    assert dtype == due
    for mine, its in zip(found, right, strict=True):
        assert (mine - its).norm() <= 2 * PLACE * its.norm()


@pytest.mark.usefixtures("without_instructions")
def test_numbers_are_rounded_and_products_of_them_summed_exactly():
    x, y = drawn(1, 64).detach(), drawn(64, 1, seed=1).detach()
    with autocast(CPU):
        found = x @ y
    assert found.dtype == torch.bfloat16
    assert found == (x.bfloat16().double() @ y.bfloat16().double()).bfloat16()
    assert found != (x @ y).bfloat16()


@pytest.mark.usefixtures("without_instructions")
def test_what_autocast_leaves_alone_is_left_alone():
    x, y = drawn(5, 16).detach(), drawn(16, 7, seed=1).detach()
    with autocast(CPU):
        assert (x.double() @ y.double()).dtype == torch.float64
        torch.testing.assert_close(
            torch.mm(x, y, out=torch.empty(5, 7)).double(), x.double() @ y.double(), rtol=1e-5, atol=1e-5
        )
        assert (x.int() @ y.int()).dtype == torch.int32
        with torch.autocast("cpu", enabled=False):
            assert (x @ y).dtype == torch.float32
    assert (x @ y).dtype == torch.float32


def test_a_training_in_bf16_has_the_losses_that_it_has_with_instructions(monkeypatch):
    """Not the bits of float32 either: the setting is heeded on every machine."""
    job = TrainJob(
        DATASETS["gaussian_mixture"](), SOURCES["gaussian"](), Independent(), Linear(), "exact", "noise_at_0",
        MLP(16, 2), Training(steps=30, batch=32, precision="bf16"), seed=0,
    )  # fmt: skip
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)
    right = train(job, CPU, lambda *_: None).losses
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    found = train(job, CPU, lambda *_: None).losses
    single = train(replace(job, training=replace(job.training, precision="fp32")), CPU, lambda *_: None).losses
    assert abs(found - right).max() < 0.3 * abs(single - right).max()
