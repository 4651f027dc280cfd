"""Nets for images: the published count, the grids, the condition on time and class, and what they refuse."""

import itertools

import pytest
import torch
from torch import nn

from bench.components import Tables
from bench.contracts import CONTRACTS
from bench.nets import NETS

SMALL = {
    "unet": {"width": 16},
    "unet of patches": {"width": 16, "patch": 2},
    "unet_lean": {"width": 16},
    "unet_attention": {"width": 8},
    "unet_attention of patches": {"width": 8, "patch": 2},
    "dit": {"width": 24, "depth": 2},
}
"""Parameters under which each net is quick; 24 is 3 heads of 8."""

KINDS = {name: NETS[name.split()[0]] for name in SMALL}
ALL = pytest.mark.parametrize("name", SMALL)
DIGITS = (1, 8, 8)
MNIST = (1, 28, 28)


def built(name, shape=DIGITS, seed=0, stirred=True, **parameters):
    """A small module; `stirred`: weights moved a little, since three of the nets begin as 0."""
    torch.manual_seed(seed)
    module = KINDS[name](**SMALL[name] | parameters).build(shape)
    if stirred:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def batch(shape=DIGITS, n=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *shape, generator=generator), torch.rand(n, generator=generator)


def test_the_unet_has_the_published_number_of_parameters():
    def count(**parameters):
        return sum(p.numel() for p in NETS["unet"](**parameters).build(MNIST).parameters())

    assert count() == 2_979_265
    assert count(classes=10) == 2_979_265 + 11 * 32
    # Convolutions grow with the square of the width w; norms, biases and the time's 33 weights a channel with w.
    convolutions = 9 * (2 + 8 + 16 + 16 + 2) + 16 * (16 + 4)
    channels = 1 + 2 + 4 + 4 + 4 + 2 + 1 + 1
    assert count(width=16) == 16**2 * convolutions + 16 * (9 + channels * (1 + 2 + 33) + 1) + 1 + 2 * 32 * 33


def test_a_unet_of_patches_sees_each_square_as_a_pixel_and_nothing_beyond_the_edge():
    x, tau = batch((1, 6, 6), 2)
    module = built("unet of patches", (1, 6, 6))
    inner = torch.zeros(2, 4, 4, 4)
    for row, column in itertools.product(range(6), range(6)):  # one pixel of padding on each side of 6 x 6 makes 8 x 8
        square, place = ((row + 1) // 2, (column + 1) // 2), 2 * ((row + 1) % 2) + (column + 1) % 2
        inner[:, place, square[0], square[1]] = x[:, 0, row, column]
    expected, out = module.net(inner, tau), module(x, tau)
    for row, column in itertools.product(range(6), range(6)):
        place = 2 * ((row + 1) % 2) + (column + 1) % 2
        assert torch.equal(out[:, 0, row, column], expected[:, place, (row + 1) // 2, (column + 1) // 2])


def test_the_lean_unet_lets_the_noise_by_and_keeps_what_odd_grids_hold():
    x, tau = batch((2, 10, 6), 3)  # grids of 5 x 3, 3 x 2 and 2 x 1 for patches of 2 x 2
    module = built("unet_lean", (2, 10, 6), stirred=False)
    with torch.no_grad():
        module.gain.bias.copy_(torch.tensor([2.0] * 4 + [-1.0] * 4))
        torch.testing.assert_close(module(x, tau), x * torch.tensor([2.0, -1.0])[:, None, None])
        module.out.weight.normal_()
        rest = module(x, tau) - x * torch.tensor([2.0, -1.0])[:, None, None]
    assert (rest.abs().amax(dim=(0, 1)) > 0.01).all()  # down to the last row and column


def test_a_lean_block_scales_and_shifts_each_image_after_the_norm():
    module = built("unet_lean", MNIST).double()
    block, h, c = module.down_2, torch.randn(3, 32, 7, 7).double(), torch.randn(3, 64).double()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    scale, shift = block.adapt(c)[:, :, None, None].chunk(2, dim=1)
    due = nn.functional.silu((1 + scale) * block.norm(block.conv(h)) + shift)
    torch.testing.assert_close(block(h, c), due)


@ALL
@pytest.mark.parametrize("shape", [MNIST, DIGITS, (3, 8, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_velocities_have_the_images_shape_and_precision(name, shape, dtype):
    x, tau = batch(shape, 2)
    module = built(name, shape, classes=3)
    exact = module.double()(x.double(), tau.double())
    if dtype == torch.bfloat16:
        with torch.autocast("cpu", torch.bfloat16):
            out = module.float()(x, tau)
        due, within = torch.float32, 0.1
    else:
        out = module.to(dtype)(x.to(dtype), tau.to(dtype))
        due, within = dtype, 1e-4
    assert out.shape == x.shape
    assert out.dtype == due
    assert (out - exact).norm() < within * exact.norm()


@ALL
def test_memory_format_changes_nothing_but_rounding(name):
    x, tau = batch(MNIST, 2)
    module = built(name, MNIST)
    plain = module(x, tau)
    last = module.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), tau)
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


@ALL
def test_each_class_has_a_velocity_of_its_own_and_no_label_is_the_null_class(name):
    module = built(name, classes=3)
    (x, _), tau = batch(n=1), torch.full((4,), 0.4)
    out = module(x.expand(4, -1, -1, -1), tau, torch.arange(4))
    for one in range(4):
        for other in range(one):
            assert (out[one] - out[other]).abs().max() > 1e-3
    x, tau = batch()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.equal(module(x, tau), module(x, tau, torch.full((6,), 3)))
    each = torch.cat([module(x[i : i + 1], tau[i : i + 1], labels[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(module(x, tau, labels), each, rtol=1e-4, atol=1e-5)


@ALL
def test_training_wakes_every_parameter_from_the_published_beginning(name):
    module = built(name, stirred=False, classes=2)
    before = {key: value.detach().clone() for key, value in module.named_parameters()}
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    x, tau = batch()
    for _ in range(4):  # adaLN-zero opens its gates one after another: output, then gates, then what is behind them
        optimizer.zero_grad()
        (module(x, tau, torch.tensor([0, 1, 2, 0, 1, 2])) - x.flip(0)).square().mean().backward()
        optimizer.step()
    asleep = [key for key, value in module.named_parameters() if torch.equal(value, before[key])]
    assert not asleep
    assert all(bool(value.isfinite().all()) for value in module.parameters())


@pytest.mark.parametrize("shape", [DIGITS, MNIST])
def test_only_nets_whose_paper_says_so_begin_at_zero(shape):
    x, tau = batch(shape, 2)
    assert built("unet", shape, stirred=False)(x, tau).abs().max() > 0.01
    assert not built("unet_lean", shape, stirred=False)(x, tau).any()
    assert not built("unet_attention", shape, stirred=False)(x, tau).any()
    assert not built("dit", shape, stirred=False)(x, tau).any()


@pytest.mark.parametrize(("shape", "coarsest"), [(MNIST, 7 * 7), (DIGITS, 2 * 2)])
def test_attention_looks_at_the_coarsest_grid_alone(monkeypatch, shape, coarsest):
    plain, seen = nn.functional.scaled_dot_product_attention, []

    def watched(q, k, v):
        seen.append((q.shape[-2], k.shape[-2]))
        return plain(q, k, v)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", watched)
    module = built("unet_attention", shape, blocks=2)
    module(*batch(shape, 1))
    assert seen == [(coarsest, coarsest)] * (2 + 1 + 3)  # down, middle, up


def test_attention_is_softmax_of_products_over_all_pixels_and_heads():
    attention = built("unet_attention").middle[0].attention
    h = torch.randn(2, 16, 3, 5)
    q, k, v = attention.qkv(attention.norm(h)).flatten(2).chunk(3, dim=1)
    heads = []
    for part in range(4):
        mine = slice(4 * part, 4 * part + 4)
        weights = (torch.einsum("bdi,bdj->bij", q[:, mine], k[:, mine]) / 2).softmax(dim=2)
        heads.append(torch.einsum("bij,bdj->bdi", weights, v[:, mine]))
    due = h + attention.project(torch.cat(heads, dim=1).view_as(h))
    torch.testing.assert_close(attention(h), due, rtol=1e-4, atol=1e-5)


def test_a_patch_of_the_dit_comes_back_to_its_own_place():
    module = built("dit", (2, 8, 12))
    with torch.no_grad():  # tokens that hold their patch as it is, row by row within a channel, and no blocks
        module.blocks = nn.ModuleList()
        module.norm = nn.Identity()
        module.tokens = nn.Conv2d(2, 32, 4, stride=4, bias=False)
        module.tokens.weight.copy_(torch.eye(32).view(32, 2, 4, 4))
        module.adapt = nn.Linear(24, 64)
        module.adapt.weight.zero_()
        module.adapt.bias.zero_()
        module.out = nn.Identity()
        module.places = torch.zeros(6, 32)
        x, tau = batch((2, 8, 12))
        assert torch.equal(module(x, tau), x)


def test_tokens_of_the_dit_know_their_place():
    places = built("dit", MNIST).places
    assert places.shape == (49, 24)
    assert torch.pdist(places).min() > 0.1
    row = torch.arange(49) // 7
    torch.testing.assert_close(places[:, 12], row.float().sin())  # the row's fastest sine


def test_a_unet_of_patches_needs_sides_that_patches_fill():
    with pytest.raises(ValueError, match=r"^unet with patch 2 .*multiples of 2, .*not 7 x 8"):
        built("unet of patches", (1, 7, 8))
    with pytest.raises(ValueError, match=r"^unet_lean with patch 2 .*multiples of 2, .*not 7 x 8"):
        built("unet_lean", (1, 7, 8))


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in SMALL}))
@pytest.mark.parametrize(
    ("shape", "words"),
    [((2,), "not for points of shape"), ((1, 31, 28), "multiples of [24].* not 31 x 28"), ((28, 28), "not for points")],
)
def test_shapes_that_do_not_fit_are_refused_in_words(name, shape, words):
    with pytest.raises(ValueError, match=rf"^{name} .*{words}"):
        NETS[name]().build(shape)


@ALL
def test_labels_that_do_not_fit_are_refused_in_words(name):
    x, tau = batch(n=2)
    with pytest.raises(ValueError, match="built without classes"):
        built(name)(x, tau, torch.tensor([0, 1]))
    module = built(name, classes=3)
    for labels, words in [
        ([0, 4], "between 0 and 3"),
        ([-1, 0], "between 0 and 3"),
        ([0], r"shape \(2,\)"),
        ([0.0, 1.0], "must be int64"),
    ]:
        with pytest.raises(ValueError, match=words):
            module(x, tau, torch.tensor(labels))


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("unet", {"width": 20}, "multiple of 8"),
        ("unet", {"classes": -1}, "greater than or equal to 0"),
        ("unet_attention", {"width": 8, "heads": 3}, "must divide the 16 channels"),
        ("dit", {"width": 100, "heads": 3}, "must divide the width"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_words(name, parameters, words):
    (problem,) = Tables().resolve("net", name, parameters)
    assert words in problem.message


@ALL
@pytest.mark.parametrize("law", CONTRACTS["net"], ids=lambda law: law.__name__)
def test_small_and_conditional_nets_keep_the_contract(name, law):
    if law.__name__ == "agrees_on_a_gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if reason := law(KINDS[name](**SMALL[name], classes=10)):
        pytest.skip(reason)
