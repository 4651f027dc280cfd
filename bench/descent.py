"""What a training does to weights: Adam's steps, and their running mean.

Both hold their lists of tensors. Gathered anew at each step, as torch's optimizer and a walk through the modules do it,
those lists cost a small net more than the arithmetic on them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from bench.cohort import Members
from bench.settings import Training

STATE = ("exp_avg", "exp_avg_sq", "step")


class Descent:
    """Steps of one group of parameters by torch's Adam or AdamW, whose bits they have; `optimizer` holds the state."""

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Training) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self._states: list[list[Tensor]] = []
        plain = settings.optimizer == "adam"
        self._function: Callable[..., None] = adam if plain else adamw
        self.optimizer = (torch.optim.Adam if plain else torch.optim.AdamW)(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, rate: float) -> None:
        """Move along the gradients at this learning rate; a parameter without one stays where it is."""
        (group,) = self.optimizer.param_groups
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not self._states or len(gradients) < len(self.parameters):
            group["lr"] = rate
            self.optimizer.step()  # which makes the state of what has none
            held = [self.optimizer.state.get(parameter) for parameter in self.parameters]
            if all(held):
                self._states = [[each[name] for each in held if each] for name in STATE]
            return
        beta1, beta2 = group["betas"]
        means, squares, counts = self._states
        with torch.no_grad():
            self._function(
                self.parameters, gradients, means, squares, [], counts, fused=True, lr=rate, beta1=beta1, beta2=beta2,
                weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
            )  # fmt: skip


class RunningMean:
    """The running mean of nets' weights: of parameters and of buffers, which BatchNorm's statistics are.

    Counts are copied, and a buffer that stays as it is keeps its bits.
    """

    def __init__(self, nets: Members, decay: float) -> None:
        self.nets, self.decay = copy.deepcopy(nets).requires_grad_(False), decay
        self._parameters = [*self.nets.parameters()], [*nets.parameters()]
        self._buffers = _places(self.nets), _places(nets)

    def follow(self) -> None:
        """Move by a step."""
        buffers = [[getattr(*place) for place in places] for places in self._buffers]
        floating = [[buffer for buffer in each if buffer.is_floating_point()] for each in buffers]
        means, now = ([*held, *more] for held, more in zip(self._parameters, floating, strict=True))
        with torch.no_grad():
            torch._foreach_lerp_(means, now, 1 - self.decay)
            for mean, held in zip(*buffers, strict=True):
                if not mean.is_floating_point():
                    mean.copy_(held)


def _places(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where each buffer is found, since a net may put another tensor there."""
    names = [name.rpartition(".") for name, _ in module.named_buffers()]
    return [(module.get_submodule(owner), name) for owner, _, name in names]
