"""What a long training leaves behind from time to time, and goes on from after it was killed."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.errors import Corrupt

if TYPE_CHECKING:
    from pathlib import Path

EVERY_SECONDS = 60.0
"""Time between checkpoints: what a kill costs at most."""

ADAM = ("step", "exp_avg", "exp_avg_sq")

MARGIN = 16 * 2**20
"""Bytes that a checkpoint may have beyond its tensors: their names and shapes."""


class Kept(Protocol):
    """Where a checkpoint is kept; the store says how."""

    @property
    def name(self) -> str:
        """Tells whose it is."""

    def read(self, limit: int) -> bytes:
        """Its bytes; FileNotFoundError where there are none, Corrupt where they cannot be a checkpoint of that size."""

    def write(self, content: bytes) -> None:
        """Keep these instead, whole or not at all."""

    def put_aside(self) -> Path | None:
        """Keep what is there elsewhere, out of the way; where."""


class Checkpoint:
    """One file with nets, running means, Adam's state and the losses so far, sealed by a checksum over all of them.

    Random numbers need no place in it: they come in blocks, addressed by number. A training that goes on from it
    ends with the bits that it would have had.
    """

    def __init__(self, file: Kept, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        self.file, self.modules, self.optimizer = file, modules, optimizer
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.last = time.monotonic()

    def load(self, losses: Tensor) -> tuple[int, float]:
        """Take everything back and fill the losses so far; steps done and seconds spent, none without a file.

        What is not, to the last bit, a checkpoint of this job and this net is said and moved away, and training
        starts anew: nothing of it is taken.
        """
        try:
            step, spent, found = self._read(losses)
        except FileNotFoundError:
            return 0, 0.0
        except (Corrupt, OSError) as error:
            aside = self.file.put_aside()
            print(f"{self.file.name}: cannot be used ({error}); moved to {aside}, and training starts anew")
            return 0, 0.0
        for name, module in self.modules.items():
            module.load_state_dict({key: found[f"{name}/{key}"] for key in module.state_dict()})
        for number, parameter in enumerate(self.parameters):
            if f"adam/{number}/step" in found:  # a parameter that no step has moved has no state
                state = {key: found[f"adam/{number}/{key}"].to(parameter.device) for key in ADAM}
                self.optimizer.state[parameter] = state
        losses[:step] = found["losses"].to(losses.device)
        return step, spent

    def _read(self, losses: Tensor) -> tuple[int, float, dict[str, Tensor]]:
        """Steps, seconds and tensors as they were saved; Corrupt where they are another's or not whole."""
        due = self._due(losses)
        limit = sum(math.prod(shape) * dtype.itemsize for shape, dtype in due.values()) + MARGIN
        content = self.file.read(limit)
        try:
            found = load(content)
            length = int.from_bytes(content[:8], "little")
            about = json.loads(content[8 : 8 + length])["__metadata__"]
            step, spent = int(about["step"]), float(about["seconds"])
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Corrupt(f"not whole: {error}") from None
        if about.get("sha256") != self._seal(found, about["step"], about["seconds"]):
            raise Corrupt("its checksum differs, or it is another job's")
        due["losses"] = losses[:step].shape, losses.dtype
        there = {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()}
        state = {name: f"{name.rpartition('/')[0]}/step" for name in due if name.startswith("adam/")}
        moved = {name: due[name] for name in due if name not in state or state[name] in there}
        if not 0 < step <= len(losses) or there != moved:
            raise Corrupt("its tensors are not those of this net")
        return step, spent, found

    def _due(self, losses: Tensor) -> dict[str, tuple[torch.Size, torch.dtype]]:
        """Shape and dtype of all that a checkpoint may hold, by name."""
        due = {name: (tensor.shape, tensor.dtype) for name, tensor in self._held().items()}
        for number, parameter in enumerate(self.parameters):
            due |= {f"adam/{number}/{key}": (parameter.shape, parameter.dtype) for key in ADAM}
            due[f"adam/{number}/step"] = torch.Size(), torch.float32
        return due | {"losses": (losses.shape, losses.dtype)}

    def _held(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside the losses, by name."""
        held = {
            f"{name}/{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for number, parameter in enumerate(self.parameters):
            if parameter in self.optimizer.state:
                held |= {f"adam/{number}/{key}": self.optimizer.state[parameter][key] for key in ADAM}
        return held

    def _seal(self, held: Mapping[str, Tensor], step: str, seconds: str) -> str:
        """Checksum of all that is taken back, and of whose it is."""
        digest = hashlib.sha256(json.dumps([self.file.name, step, seconds]).encode())
        for name, tensor in sorted(held.items()):
            digest.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save(self, step: int, seconds: float, losses: Tensor) -> None:
        """Write everything after `step` steps and so many seconds, if the last time is long enough ago."""
        if time.monotonic() - self.last < EVERY_SECONDS:
            return
        held = {name: value.cpu().contiguous() for name, value in (self._held() | {"losses": losses[:step]}).items()}
        about = {"step": str(step), "seconds": str(seconds)}
        about["sha256"] = self._seal(held, about["step"], about["seconds"])
        self.file.write(save(held, about))
        self.last = time.monotonic()
