"""bf16 by float32 instructions gives what bf16 gives: exact products of rounded numbers, and what torch makes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from bench import precision
from bench.batches import TrainJob
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.nets import MLP
from bench.paths import Linear
from bench.precision import autocast, by_float32
from bench.settings import Training
from bench.train import train

CPU = torch.device("cpu")
PLACE = 2.0**-8
"""What rounding to bf16 changes of a number, at most."""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def float16(x, y):
    with torch.autocast("cpu", torch.float16):
        return x @ y


def projected(x, y):
    return functional.multi_head_attention_forward(
        x, x, x, 8, 2, y[:24, :8], None, None, None, False, 0.0, y[:8, :8], None, need_weights=False
    )[0]


def kept(again, x, y):
    """Two products, of which the first is made once more on the way back."""
    return checkpoint(lambda x, y: (x @ y).relu() @ y, x, y, use_reentrant=again)


SINGLE = {
    "conv1d": (functional.conv1d, (2, 3, 8), (4, 3, 3)),
    "conv2d": (lambda x, y: functional.conv2d(x, y, padding=1), (2, 3, 8, 8), (4, 3, 3, 3)),
    "conv2d of the same size": (lambda x, y: functional.conv2d(x, y, padding="same"), (2, 3, 8, 8), (4, 3, 3, 3)),
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
    "checkpoint": (partial(kept, False), (5, 16), (16, 16)),
    "checkpoint, older": (partial(kept, True), (5, 16), (16, 16)),
    "by vmap": (lambda x, y: torch.func.vmap(lambda each: each @ y)(x), (3, 5, 16), (16, 7)),
    "another low precision": (float16, (5, 16), (16, 7)),
}
SUMS = {
    "einsum without a sum": (lambda x, y: torch.einsum("b,f->bf", x, y).sin(), (5,), (7,)),
    "einsum of three": (lambda x, y: torch.einsum("bi,bi,ij->bj", x, x, y), (5, 16), (16, 7)),
    "products of elements": (lambda x, y: (x * y).sum(-1).exp(), (5, 16), (5, 16)),
}
ASKED = SINGLE | SEVERAL | SUMS
IN_A_ROW = {"attention with its projections": 4, "products and sums": 2, "checkpoint": 2, "checkpoint, older": 2}
"""Products that stand on one another, each of which is rounded."""


def asked(how, what):
    """Answer and gradients."""
    call, *shapes = ASKED[what]
    inputs = [drawn(*shape, seed=number) for number, shape in enumerate(shapes)]
    with how:
        out = call(*inputs)
    slope = drawn(*out.shape, seed=9).detach().bfloat16()
    out.backward(slope.to(out.dtype))
    return [out.detach(), *(each.grad for each in inputs)]


def losses(kind):
    job = TrainJob(
        DATASETS["gaussian_mixture"](), SOURCES["gaussian"](), Independent(), Linear(), "exact", "noise_at_0",
        MLP(16, 2), Training(steps=30, batch=32, precision=kind), seed=0,
    )  # fmt: skip
    return torch.from_numpy(train(job, CPU, lambda *_: None).losses)


@pytest.fixture(scope="module")
def torchs_own(tmp_path_factory):
    """What torch's autocast gives in a process of its own."""
    file = tmp_path_factory.mktemp("native") / "found.pt"
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, __file__, file], env=here, check=True)
    return torch.load(file)


@pytest.fixture
def without_instructions(monkeypatch):
    """A processor that does not multiply bf16, whatever this one does."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    yield
    by_float32()._destroy()
    by_float32.cache_clear()


@pytest.mark.parametrize("what", SINGLE)
@pytest.mark.usefixtures("without_instructions")
def test_products_are_those_of_rounded_operands_rounded_once(what):
    call = ASKED[what][0]
    inputs = [drawn(*shape, seed=number) for number, shape in enumerate(ASKED[what][1:])]
    out = call(*(each.bfloat16().double() for each in inputs))
    out.backward(drawn(*out.shape, seed=9).detach().bfloat16().double())
    found = asked(autocast(CPU), what)
    assert found[0].dtype == torch.bfloat16
    for mine, true in zip(found, [out.detach(), *(each.grad for each in inputs)], strict=True):
        assert (mine - true).norm() <= PLACE * true.norm()


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.usefixtures("without_instructions")
def test_answers_and_gradients_are_torchs_own_but_for_rounding(what, torchs_own):
    for mine, its in zip(asked(autocast(CPU), what), torchs_own[what], strict=True):
        assert mine.dtype == its.dtype
        assert (mine.double() - its.double()).norm() <= (1 + IN_A_ROW.get(what, 1)) * PLACE * its.double().norm()
        if what in SUMS and mine.dtype == torch.float32:
            torch.testing.assert_close(mine, its, rtol=PLACE, atol=1e-6)


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


@pytest.mark.usefixtures("without_instructions")
def test_a_training_in_bf16_has_the_losses_that_it_has_with_instructions(torchs_own):
    """Not those of float32 either: the setting is heeded on every machine."""
    right, single = torchs_own["training"], losses("fp32")
    assert abs(losses("bf16") - right).max() < 0.3 * abs(single - right).max()


if __name__ == "__main__":
    precision.multiplies_bf16 = lambda: True
    native = {what: asked(torch.autocast("cpu", torch.bfloat16), what) for what in ASKED}
    torch.save(native | {"training": losses("bf16")}, sys.argv[1])
