"""What a net promises: a module that maps points and times to velocities, fixed by torch's seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.cohort import members
from bench.contracts.require import Law, close, form, holds, no_cuda, unchanged
from bench.errors import BenchError, ContractBroken
from bench.interfaces import Net
from bench.seeds import stream

SHAPES = ((2,), (1, 28, 28))
"""What a net may be for: points of the plane, or images; a net that refuses the first is tried on the next."""

BATCH = 8


def keeps_shape_and_dtype(net: Net) -> str | None:
    """Velocities have the shape and dtype of the points, for one point and for several."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net)
    for dtype in (torch.float32, torch.float64):
        for n in (1, BATCH):
            x, tau = _inputs(shape, n)
            form(module.to(dtype)(x.to(dtype), tau.to(dtype)), (n, *shape), dtype, f"the output for {n} points")
    return None


def has_float32_parameters_fixed_in_number(net: Net) -> str | None:
    """Every build has the same parameters by name and shape, all float32 and on the CPU."""
    if reason := _untrained(net):
        return reason
    first, again = (dict(_built(net, seed)[0].named_parameters()) for seed in (0, 1))
    shapes = [{name: tuple(p.shape) for name, p in built.items()} for built in (first, again)]
    holds(bool(first), "the module has no parameters", "set trained = False if there is nothing to train")
    holds(shapes[0] == shapes[1], "two builds differ in their parameters", "let sizes follow from the parameters alone")
    odd = [name for name, p in first.items() if p.dtype != torch.float32 or p.device.type != "cpu"]
    holds(not odd, f"{', '.join(odd)} is not float32 on the CPU", "build in float32 on the CPU; training moves it")
    return None


def is_fixed_by_torchs_seed(net: Net) -> str | None:
    """The same seed builds the same weights, another seed others."""
    if reason := _untrained(net):
        return reason
    first, again, other = (_built(net, seed)[0].state_dict() for seed in (0, 0, 1))
    same = all(torch.equal(first[name], again[name]) for name in first)
    holds(same, "the same seed builds other weights", "initialise from torch's global generator alone")
    differs = any(not torch.equal(first[name], other[name]) for name in first)
    holds(differs, "every seed builds the same weights", "initialise at random; seeds are what intervals stand on")
    return None


def weights_alone_make_the_net(net: Net) -> str | None:
    """A build of another seed with these weights loaded is the same function: nothing random is left outside."""
    if reason := _untrained(net):
        return reason
    first, shape = _built(net, 0, stirred=True)
    other, _ = _built(net, 1)
    other.load_state_dict(first.state_dict())
    x, tau = _inputs(shape)
    mend = "register fixed random tensors (Fourier frequencies) as persistent buffers"
    close(other.eval()(x, tau), first.eval()(x, tau), 1e-6, "the output of a net with loaded weights", mend)
    return None


def gradients_reach_every_parameter(net: Net) -> str | None:
    """A squared loss gives each parameter tensor a gradient that is finite and not 0 (weights stirred first)."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net, stirred=True)
    x, tau = _inputs(shape, 64)
    (module(x, tau) - torch.randn(x.shape, generator=stream(0, "contract/target"))).square().mean().backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    missed = [name for name, g in gradients.items() if g is None or not bool(g.isfinite().all() & (g != 0).any())]
    holds(
        not missed,
        f"no gradient reaches {', '.join(missed[:5])}{' and more' if len(missed) > 5 else ''}",
        "use every parameter in forward, or make it a buffer",
    )
    return None


def depends_on_points_and_times(net: Net) -> str | None:
    """Another time gives another velocity, and so does another point."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net, stirred=True)
    module.eval()
    x, tau = _inputs(shape)
    out = module(x, tau)
    holds(not torch.allclose(out, module(x, 1 - tau)), "tau does not matter", "feed tau to the net")
    holds(not torch.allclose(out, module(x.flip(0), tau)), "x does not matter", "feed x to the net")
    return None


def treats_each_point_by_itself(net: Net) -> str | None:
    """In evaluation a point's velocity does not depend on who else is in the batch."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net, stirred=True)
    module.eval()
    x, tau = _inputs(shape)
    alone = torch.cat([module(x[i : i + 1], tau[i : i + 1]) for i in range(BATCH)])
    mend = "use layer or group norm, not statistics over the batch"
    close(module(x, tau), alone, 1e-4, "the velocity in a batch", mend)
    return None


def is_pure(net: Net) -> str | None:
    """In evaluation equal inputs give equal outputs, and the inputs stay as they were."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net, stirred=True)
    module.eval()
    x, tau = _inputs(shape)
    before = x.clone(), tau.clone()
    first, again = module(x, tau), module(x, tau)
    unchanged(before[0], x, "x")
    unchanged(before[1], tau, "tau")
    holds(torch.equal(first, again), "the output differs from call to call", "draw nothing at random in evaluation")
    return None


def stacks_as_it_says(net: Net) -> str | None:
    """In a cohort nets that are `stackable` give what each gives alone, and get their weights back."""
    if reason := _untrained(net):
        return reason
    if not net.stackable:
        return "does not say that it is stackable"
    built = [_built(net, seed, stirred=True)[0] for seed in (0, 1)]
    shape = _built(net)[1]
    mend = "let forward take axes before these, x: (..., B, *S) and tau: (..., B), or drop `stackable`"
    try:
        cohort = members(built, stackable=True)
        x, tau = (torch.stack([part, part.flip(0)]) for part in _inputs(shape))
        together = cohort(x, tau)
    except (TypeError, RuntimeError) as error:
        raise ContractBroken(f"it cannot be asked in a cohort: {error}; mend: {mend}") from error
    for place, module in enumerate(built):
        close(together[place], module(x[place], tau[place]), 1e-4, "the velocity in a cohort", mend)
        for name, value in cohort.state(place).items():
            holds(torch.equal(value, module.state_dict()[name]), f"{name} comes back from a cohort changed", mend)
    return None


def agrees_on_a_gpu(net: Net) -> str | None:
    """Moved to a GPU the module gives the same velocities, up to float32 rounding."""
    if reason := _untrained(net) or no_cuda():
        return reason
    module, shape = _built(net, stirred=True)
    module.eval()
    x, tau = _inputs(shape)
    here = module(x, tau)
    mend = "register constants as buffers, so that .to(device) moves them"
    close(module.cuda()(x.cuda(), tau.cuda()), here, 1e-2, "the velocity on a GPU", mend)
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    has_float32_parameters_fixed_in_number,
    is_fixed_by_torchs_seed,
    weights_alone_make_the_net,
    gradients_reach_every_parameter,
    depends_on_points_and_times,
    treats_each_point_by_itself,
    is_pure,
    stacks_as_it_says,
    agrees_on_a_gpu,
)


def _untrained(net: Net) -> str | None:
    return None if net.trained else "is not built and trained, but made from the law and the path"


def _built(net: Net, seed: int = 0, stirred: bool = False) -> tuple[nn.Module, tuple[int, ...]]:
    """A module and its shape. `stirred`: weights moved a little, since some nets begin with layers of zeros."""
    refusals = []
    for shape in SHAPES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                module = net.build(shape)
            except (ValueError, BenchError) as error:
                refusals.append(f"{shape}: {error}")
                continue
        if stirred:
            generator = stream(seed, "contract/stir")
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return module, shape
    holds(
        False, f"build refuses every shape ({'; '.join(refusals)})", "build for (2,) or for images such as (1, 28, 28)"
    )
    raise AssertionError


def _inputs(shape: tuple[int, ...], n: int = BATCH) -> tuple[Tensor, Tensor]:
    """N standard normal points and times spread over [0, 1]."""
    return torch.randn(n, *shape, generator=stream(0, "contract/net")), (torch.arange(n) + 0.25) / n


def is_small(net: Net) -> bool:
    """Whether it is a net for points, cheap enough to be tried at several parameters."""
    try:
        net.build(SHAPES[0])
    except Exception:
        return False
    return True
