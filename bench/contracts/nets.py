"""What a net promises: a module that maps points and times to velocities, fixed by torch's seed."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from bench.cohort import members
from bench.contracts.require import Law, close, form, holds, no_cuda, unchanged
from bench.errors import BenchError, ContractBroken
from bench.interfaces import Net
from bench.seeds import global_stream, stream

SHAPES = ((2,), (1, 28, 28))
"""What a net may be for: points of the plane, or images; a net that refuses the first is tried on the next."""

BATCH = 8


def keeps_shape_and_dtype(net: Net) -> str | None:
    """Velocities have the points' shape and dtype: of a batch in training, of one point and several in evaluation."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net)
    for dtype in (torch.float32, torch.float64):
        module.to(dtype)
        for training, n in ((True, BATCH), (False, 1), (False, BATCH)):
            x, tau = _inputs(shape, n)
            with _drawing():
                out = module.train(training)(x.to(dtype), tau.to(dtype))
            form(out, (n, *shape), dtype, f"the output for {n} points in {'training' if training else 'evaluation'}")
    return None


def takes_labels_where_it_has_classes(net: Net) -> str | None:
    """Told classes, a conditional net has another velocity for each; told none, it takes the null class for all.

    A net with a parameter `classes` is tried with 3 of them.
    """
    if reason := _untrained(net):
        return reason
    if not net.classes:
        if "classes" not in {field.name for field in dataclasses.fields(net)}:  # type: ignore[arg-type]
            return "knows no classes"
        net = dataclasses.replace(net, classes=3)  # type: ignore[type-var]
    module, shape = _built(net, stirred=True)
    x, tau = _inputs(shape)
    labels = torch.arange(BATCH) % (net.classes + 1)
    for training in (True, False):
        with _drawing():
            out = module.train(training)(x, tau, labels)
        form(out, (BATCH, *shape), torch.float32, "the output with labels")
    null = torch.full_like(labels, net.classes)
    mend = "feed labels to the net by an embedding of classes + 1 rows, the last of them the null class"
    for label in range(net.classes):
        told = module(x, tau, torch.full_like(labels, label))
        holds(not torch.allclose(told, module(x, tau, null)), f"class {label} is as no class to it", mend)
    close(
        module(x, tau), module(x, tau, null), 1e-5, "the output without labels", f"take {net.classes} for all: {mend}"
    )
    alone = torch.cat([module(x[i : i + 1], tau[i : i + 1], labels[i : i + 1]) for i in range(BATCH)])
    close(module(x, tau, labels), alone, 1e-4, "the labelled velocity in a batch", "let each point have its own label")
    return None


def repeats_its_training_under_its_stream(net: Net) -> str | None:
    """In training equal inputs under the same global stream give equal outputs: Dropout draws from torch alone."""
    if reason := _untrained(net):
        return reason
    outputs = []
    for _ in range(2):
        module, shape = _built(net, stirred=True)
        with _drawing():
            outputs.append(module.train()(*_inputs(shape)))
    mend = "draw from torch's global generators alone: no NumPy, no generator of the module's own, no count of calls"
    holds(torch.equal(*outputs), "in training the same stream gives another output", mend)
    return None


def keeps_its_buffers(net: Net) -> str | None:
    """What training changes beside the weights can be averaged (numbers, or counters), and a state dict holds it."""
    if reason := _untrained(net):
        return reason
    module, shape = _built(net, stirred=True)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    _trained(module, shape)
    changed = {n: b for n, b in module.named_buffers() if n not in before or not torch.equal(before[n], b)}
    odd = [name for name, buffer in changed.items() if not buffer.is_floating_point() and buffer.numel() > 1]
    holds(
        not odd,
        f"training changes {', '.join(odd)}, which is no floating-point number",
        "keep running statistics as float buffers: a running mean of weights averages them too",
    )
    lost = [name for name in changed if name not in module.state_dict()]
    holds(
        not lost,
        f"training changes {', '.join(lost)}, which is not in the state dict",
        "register it as a persistent buffer, or leave it alone in training",
    )
    other, _ = _built(net, 1)
    other.load_state_dict(module.state_dict())
    x, tau = _inputs(shape)
    mend = "keep what training changes in parameters and persistent buffers"
    close(
        other.eval()(x, tau),
        module.eval()(x, tau),
        1e-6,
        "after training, the output of a net with loaded weights",
        mend,
    )
    return None


def draws_nothing_if_stackable(net: Net) -> str | None:
    """A stackable net draws no random numbers in training: in a cohort they would be those of several nets at once."""
    if reason := _untrained(net):
        return reason
    if not net.stackable:
        return "does not say that it is stackable"
    module, shape = _built(net, stirred=True)
    x, tau = _inputs(shape)
    with _drawing():
        before = torch.random.get_rng_state()
        module.train()(x, tau)
        same = torch.equal(before, torch.random.get_rng_state())
    holds(same, "it draws random numbers in training, yet says that it is stackable", "drop `stackable`")
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
    x, tau = _inputs(shape, 2 * BATCH)
    with _drawing():
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
    takes_labels_where_it_has_classes,
    has_float32_parameters_fixed_in_number,
    is_fixed_by_torchs_seed,
    weights_alone_make_the_net,
    gradients_reach_every_parameter,
    depends_on_points_and_times,
    treats_each_point_by_itself,
    is_pure,
    repeats_its_training_under_its_stream,
    keeps_its_buffers,
    stacks_as_it_says,
    draws_nothing_if_stackable,
    agrees_on_a_gpu,
)


def is_small(net: Net) -> bool:
    """Whether it is a net for points, cheap enough to be tried at several parameters."""
    try:
        with _drawing():
            net.build(SHAPES[0])
    except Exception:
        return False
    return True


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


def _drawing() -> AbstractContextManager[None]:
    """Torch's global generators at an address, for what a module draws in training or when it is built."""
    return global_stream(0, "contract/net")


def _trained(module: nn.Module, shape: tuple[int, ...], steps: int = 3) -> None:
    """A few steps of gradient descent towards 0, on inputs that are not centred."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    x, tau = _inputs(shape)
    with _drawing():
        for _ in range(steps):
            optimizer.zero_grad()
            module.train()(2 * x + 1, tau).square().mean().backward()
            optimizer.step()
