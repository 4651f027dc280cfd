"""A job as a worker sees it: plain Work turned into components, arrays and fields; and what an error makes of it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from bench import batches, sample, train
from bench.components import Config, Tables
from bench.errors import JobError
from bench.execute.protocol import Work
from bench.interfaces import Field
from bench.seeds import salted
from bench.store import write_array

Send = Callable[[dict[str, Any]], None]
"""Gives one message to the driver."""


@dataclass(frozen=True)
class Resolved:
    """A Work with its components built and its upstream entries opened, as a worker needs them."""

    work: Work

    def component(self, factor: str) -> Any:
        """The component, or the value, of a factor."""
        config = next(Config(*c) for c in self.work.configs if c[0] == factor)
        return _tables(tuple(self.work.plugins)).build(config)

    def input(self, role: str, name: str) -> np.ndarray[Any, Any]:
        """An array of an upstream entry."""
        array: np.ndarray[Any, Any] = np.load(Path(self.work.inputs[role]) / f"{name}.npy", allow_pickle=False)
        return array

    def prepared(self) -> np.ndarray[Any, Any] | None:
        """What a metric works out of its law once, where it does and has."""
        there = "prepared" in self.work.inputs and Path(self.work.inputs["prepared"], "prepared.npy").is_file()
        return self.input("prepared", "prepared") if there else None

    @property
    def seed(self) -> int:
        """The seed of what is fixed once per seed, replica included."""
        return salted(self.work.seed, self.work.replica)

    @property
    def device(self) -> torch.device:
        """Where nets are asked and trained."""
        return torch.device(self.work.device)

    def keep(self, name: str, array: np.ndarray[Any, Any]) -> None:
        """Write an array into the staging folder."""
        write_array(Path(self.work.staging), name, array)

    def train_job(self) -> batches.TrainJob:
        """What the training stage takes."""
        names = ("dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training")
        return batches.TrainJob(
            **{name: self.component(name) for name in names}, seed=self.work.seed, replica=self.work.replica
        )

    def sample_job(self) -> sample.SampleJob:
        """What the sampling stage takes."""
        names = ("source", "path", "target", "prediction", "clock", "direction", "solver", "sampling")
        shape = self.component("dataset").shape
        return sample.SampleJob(
            shape,
            **{name: self.component(name) for name in names},
            seed=self.work.seed,
            replica=self.work.replica,
        )

    def field(self) -> tuple[Field, torch.dtype]:
        """The velocity to integrate, and its precision: float64 for the oracle, float32 for nets."""
        clock, direction = self.component("clock"), self.component("direction")
        net, path, prediction = (self.component(factor) for factor in ("net", "path", "prediction"))
        if not net.trained:
            known = net.field(self.component("dataset"), path, self.component("target"), prediction, self.seed)
            seen = sample.with_clock(known.to(self.device), clock, prediction)
            return sample.velocity(seen, clock, direction, path, prediction), torch.float64
        module = train.build(self.train_job())
        weights = module.state_dict()
        if "train" in self.work.inputs:
            name = self.component("sampling").weights
            weights = load_file(Path(self.work.inputs["train"]) / f"weights_{name}.safetensors")
        seen = sample.load(module, weights, self.device, self.component("sampling").precision)

        def made(predictor: sample.Predictor) -> Field:
            """The field of what a net predicts."""
            return sample.velocity(predictor, clock, direction, path, prediction)

        if net.classes:
            return sample.Conditional(seen, net.classes, self.component("sampling").guidance, made), torch.float32
        return made(seen), torch.float32


def explain(error: Exception) -> tuple[str, str]:
    """Status and reason of a record, out of what a job raised."""
    if isinstance(error, JobError):
        return error.status, str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "oom", f"out of memory: {error}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


@functools.cache
def _tables(plugins: tuple[str, ...]) -> Tables:
    return Tables(plugins)
