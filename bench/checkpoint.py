"""What a long training leaves behind from time to time, and goes on from after it was killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

EVERY_SECONDS = 60.0
"""Time between checkpoints: what a kill costs at most."""


class Checkpoint:
    """One file with nets, running means, Adam's state and the losses so far; written beside and renamed into place.

    Random numbers need no place in it: they come in blocks, addressed by number. A training that goes on from it
    ends with the bits that it would have had.
    """

    def __init__(self, file: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        self.file, self.modules, self.optimizer = file, modules, optimizer
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.last = time.monotonic()

    def load(self, losses: Tensor) -> tuple[int, float]:
        """Take everything back and fill the losses so far; steps done and seconds spent, none without a file."""
        try:
            with safe_open(self.file, framework="pt") as held:
                step, spent, names = int(held.metadata()["step"]), float(held.metadata()["seconds"]), held.keys()
                found = {name: held.get_tensor(name) for name in names}
        except FileNotFoundError:
            return 0, 0.0
        except (SafetensorError, OSError, KeyError) as error:
            print(f"{self.file} cannot be read ({error}); training starts anew")
            return 0, 0.0
        for name, module in self.modules.items():
            module.load_state_dict({key: found[f"{name}/{key}"] for key in module.state_dict()})
        for number, parameter in enumerate(self.parameters):
            self.optimizer.state[parameter] = {
                key: found[f"adam/{number}/{key}"].to(parameter.device) for key in ("step", "exp_avg", "exp_avg_sq")
            }
        losses[:step] = found["losses"].to(losses.device)
        return step, spent

    def save(self, step: int, seconds: float, losses: Tensor) -> None:
        """Write everything after `step` steps and so many seconds, if the last time is long enough ago."""
        if time.monotonic() - self.last < EVERY_SECONDS:
            return
        held = {
            f"{name}/{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for number, parameter in enumerate(self.parameters):
            held |= {f"adam/{number}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        held["losses"] = losses[:step]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        about = {"step": str(step), "seconds": str(seconds)}
        save_file({name: value.cpu().contiguous() for name, value in held.items()}, beside, about)
        beside.replace(self.file)
        self.last = time.monotonic()
