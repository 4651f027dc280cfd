"""Nets of one shape held as one module, so that several train in little more than the time of one: a cohort.

On the CPU a member's numbers are the same bits whoever else is in its cohort, and alone: a batched product
treats its members one by one, and each member's part of a parameter is padded to whole vector registers, so that
no element is computed by another instruction because of its neighbours.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LANES = 64
"""Elements that each member's part of a parameter is padded to: a multiple of every vector width."""


class Members(nn.Module):
    """K nets as one module: x (K, B, *S), tau (K, B), and labels (K, B) where they are told any, to (K, B, *S)."""

    @abstractmethod
    def state(self, member: int) -> dict[str, Tensor]:
        """Weights of one member under the names of its own module, on the CPU."""

    @abstractmethod
    def clip(self, bound: float) -> None:
        """Scale each member's gradient to a global norm of at most `bound`."""


def members(modules: Sequence[nn.Module], *, stackable: bool) -> Members:
    """The modules, which differ in their numbers alone, as one; `stackable` is their Net's promise."""
    if stackable:
        return _Stack(modules)
    (alone,) = modules
    return _Alone(alone)


class _Alone(Members):
    """One module of any kind as a cohort of one."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.held = module, list(module.parameters())

    def forward(self, x: Tensor, tau: Tensor, *labels: Tensor) -> Tensor:
        """Ask the only member."""
        out: Tensor = self.module(x[0], tau[0], *(each[0] for each in labels))
        return out[None]

    def state(self, member: int) -> dict[str, Tensor]:
        """As the module has it."""
        return _on_cpu(self.module.state_dict())

    def clip(self, bound: float) -> None:
        """As torch does it."""
        nn.utils.clip_grad_norm_(self.held, bound)


class _Stack(Members):
    """The first module's structure with every nn.Linear, and every buffer, K times over."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = list(modules[0].state_dict())
        self.body = copy.deepcopy(modules[0])
        for name, module in modules[0].named_modules():
            parts = [each.get_submodule(name) for each in modules]
            if isinstance(module, nn.Linear):
                self.body.set_submodule(name, _Linears([part for part in parts if isinstance(part, nn.Linear)]))
                continue
            if next(module.parameters(recurse=False), None) is not None:
                raise TypeError(
                    f"a stackable net keeps its weights in nn.Linear, and {name or 'the net'} is a "
                    f"{type(module).__name__} with weights of its own; drop `stackable` from the net's class"
                )
            for buffer, _ in module.named_buffers(recurse=False):
                each = [part.get_buffer(buffer) for part in parts]
                # The batch axis that every value of a member has beside it.
                self.body.get_submodule(name)._buffers[buffer] = torch.stack(each).unsqueeze(1)

    def forward(self, x: Tensor, tau: Tensor, *labels: Tensor) -> Tensor:
        """Ask all members at once."""
        out: Tensor = self.body(x, tau, *labels)
        return out

    def state(self, member: int) -> dict[str, Tensor]:
        """The member's slice of everything."""
        found = {}
        for full in self.names:
            owner, _, name = full.rpartition(".")
            module = self.body.get_submodule(owner)
            found[full] = (
                module.part(name, member) if isinstance(module, _Linears) else module.get_buffer(name)[member, 0]
            )
        return _on_cpu(found)

    def clip(self, bound: float) -> None:
        """As torch does it for one net: by bound / (norm + 1e-6) where that is below 1."""
        gradients = [p.grad for p in self.body.parameters() if p.grad is not None]
        for rows in zip(*gradients, strict=True):  # member by member: a sum over all at once adds in another order
            norm = torch.stack([torch.linalg.vector_norm(row) for row in rows]).norm()
            torch._foreach_mul_(list(rows), (bound / (norm + 1e-6)).clamp(max=1))


class _Linears(nn.Module):
    """K linear layers: h (K, B, in) to (K, B, out). A parameter is (K, its elements padded to LANES)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.shape = layers[0].in_features, layers[0].out_features
        self.weight = _padded([layer.weight.detach().t() for layer in layers])
        self.bias = None
        if isinstance(layers[0].bias, Tensor):
            self.bias = _padded([layer.bias.detach() for layer in layers])

    def forward(self, h: Tensor) -> Tensor:
        """H W + b for each member with its own."""
        weight = _cut(self.weight, self.shape[0] * self.shape[1]).view(-1, *self.shape)
        if self.bias is None:
            return torch.bmm(h, weight)
        return torch.baddbmm(_cut(self.bias, self.shape[1]).unsqueeze(1), h, weight)

    def part(self, name: str, member: int) -> Tensor:
        """One member's weight (out, in) or bias (out,), as nn.Linear has them."""
        if name == "bias":
            assert self.bias is not None
            return self.bias[member, : self.shape[1]]
        return self.weight[member, : self.shape[0] * self.shape[1]].view(self.shape).t()


def _cut(held: Tensor, size: int) -> Tensor:
    """What of a parameter is no padding, (K, size). Where there is none, a view would cost time, and again backward."""
    return held if held.shape[1] == size else held[:, :size]


def _padded(parts: Sequence[Tensor]) -> nn.Parameter:
    size = parts[0].numel()
    held = parts[0].new_zeros(len(parts), -(-size // LANES) * LANES)
    for row, part in zip(held, parts, strict=True):
        row[:size] = part.flatten()
    return nn.Parameter(held)


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
