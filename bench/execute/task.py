"""A job as a worker holds it: plain Work, with components made and upstream entries opened when a stage asks."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from bench.components import Config, Tables
from bench.datafiles import PLACES
from bench.errors import BenchError, Corrupt, Exited, JobError, NoEntry, PluginChanged, StoreError
from bench.execute.protocol import Work
from bench.execute.settings import kept
from bench.files import is_folder, read_regular
from bench.kinds import KINDS
from bench.plugins import read_plugin
from bench.score import Fetched
from bench.stages import STAGES
from bench.store import array_file, disk, load_array, write_array
from bench.store.entries import DONE, listed, read_seal
from bench.task import Made, Weights

REASON = 500
"""Characters of an error that a record's reason keeps."""

OWN_REASON = 5000
"""The same of our own errors, which say in several lines what to do."""

REFUSED = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory", "Cannot allocate memory")
"""How torch says on the CPU that it got no memory, by a RuntimeError."""

Send = Callable[[dict[str, Any]], None]
"""Gives one message to the driver."""


@dataclass(frozen=True)
class WorkTask:
    """A Task over Work: nothing here decides a number."""

    work: Work
    send: Send

    @property
    def seed(self) -> int:
        """The job's seed."""
        return self.work.seed

    @property
    def replica(self) -> int:
        """What salts its random streams."""
        return self.work.replica

    @property
    def options(self) -> Mapping[str, Any]:
        """Plain JSON, part of the key."""
        return self.work.options

    @property
    def device(self) -> torch.device:
        """Where nets are asked and trained."""
        return torch.device(self.work.device)

    def component(self, role: str) -> Any:
        """The component, the value, or the declared fields of who plays a role."""
        found = next((config for config in self.work.configs if config[0] == role), None)
        if found is not None:
            PLACES.update({name: Path(place) for name, place in self.work.files.items()})
            return _tables(tuple(self.work.plugins.items())).build(Config(*found[1:]))
        fields = {name.partition(".")[2]: v for name, v in self.work.fields.items() if name.partition(".")[0] == role}
        if not fields:
            raise LookupError(
                f"a {self.work.kind} job asks for {role}, which it does not declare; name it in bench/inputs.py or "
                "bench/stages.py, so that it is part of the key"
            )
        return Declared(role, {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})

    def array(self, kind: str, name: str) -> np.ndarray[Any, Any]:
        """An array of an upstream entry."""
        folder = Path(self.work.inputs[kind])
        file = array_file(_listing(folder), name) or name
        return load_array(io.BytesIO(_content(folder, file)), file)

    def find(self, kind: str, name: str) -> np.ndarray[Any, Any] | None:
        """The same, where there is one."""
        there = kind in self.work.inputs and array_file(_listing(Path(self.work.inputs[kind])), name)
        return self.array(kind, name) if there else None

    def weights(self, name: str) -> Weights | None:
        """Weights of the upstream training, where there is one."""
        if "train" not in self.work.inputs:
            return None
        weights: Weights = load(_content(Path(self.work.inputs["train"]), f"weights_{name}.safetensors"))
        return weights

    def report(self, done: int, total: int) -> None:
        """Tell the driver how many parts are done."""
        self.send({"event": "progressed", "job": self.work.id, "done": done, "total": total, "loss": None})

    def fetched(self) -> Fetched:
        """What the job's metric declares, by the table of inputs."""
        found = Fetched()
        for name in self.component("metric").inputs:
            found = found | STAGES[self.work.kind].inputs[name].fetch(self)
        return found

    def keep(self, made: Made) -> dict[str, Any]:
        """Write what a stage made into the staging folder; returns its numbers."""
        folder = Path(self.work.staging)
        if not is_folder(folder):
            raise NoEntry(f"{folder}: no folder any more; the job removed it")
        if KINDS[self.work.kind].form == "folder":
            for name, array in made.arrays.items():
                write_array(folder, name, array)
            for name, weights in made.weights.items():
                with disk(folder, "write the weights"):
                    _save(weights, folder / f"weights_{name}.safetensors")
        return dict(made.numbers)


class Declared:
    """Some fields of a settings factor; asking for another is a fault of the table, told where it is made."""

    def __init__(self, factor: str, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)
        self._factor = factor

    def __getattr__(self, name: str) -> Any:
        """Only reached for what was not declared."""
        held = ", ".join(sorted(name for name in self.__dict__ if not name.startswith("_")))
        raise AttributeError(
            f"{self.__dict__.get('_factor')}.{name} is read, and the job declares {held or 'no field of it'}; name it "
            "in its row in bench/inputs.py or bench/stages.py, so that it is part of the key"
        )


def device_about(work: Work) -> dict[str, str]:
    """The name of the GPU that a job used, which the machine of who asked for it need not have."""
    on_gpu = work.device.startswith("cuda") and torch.cuda.is_available()
    return {"gpu": torch.cuda.get_device_name(work.device)} if on_gpu else {}


def do(task: WorkTask) -> Made:
    """Have the job's stage do it."""
    stage = STAGES[task.work.kind]
    with contained():
        made: Made = stage.run(task, task.fetched) if stage.inputs else stage.run(task)
    return made


@contextmanager
def contained() -> Iterator[None]:
    """Code that calls for the end of its process fails like any other; what it set for the process is put back."""
    put_back = kept()
    try:
        yield
    except SystemExit as error:
        raise Exited(f"it called exit({error.code!r}); raise an error that says what is wrong") from error
    except KeyboardInterrupt as error:  # its own: workers do not hear Ctrl-C
        raise Exited("it raised KeyboardInterrupt; raise an error that says what is wrong") from error
    except Exception:
        raise
    except BaseException as error:
        raise Exited(f"it raised {type(error).__name__} ({brief(error)}), which is no Exception; raise one") from error
    finally:
        put_back()


def explain(error: Exception) -> tuple[str, str]:
    """Status and reason of a record, out of what a job raised."""
    said = brief(error)
    if isinstance(error, JobError):
        return error.status, said
    if isinstance(error, StoreError):
        return "failed" if isinstance(error, NoEntry) else "disk", said
    refused = isinstance(error, RuntimeError) and any(words in said for words in REFUSED)
    if refused or isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "oom", f"out of memory: {said}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return "failed", f"{type(error).__name__}: {said}{where}"


def brief(error: BaseException) -> str:
    """What an error says, short enough for a table and writable as UTF-8; the log has more."""
    try:
        said = str(error)
    except Exception:
        said = "its text cannot be had"
    most = OWN_REASON if isinstance(error, BenchError) else REASON
    if len(said) > most:
        said = f"{said[:most]} [{len(said) - most} characters more]"
    return said.encode("utf-8", "backslashreplace").decode()


def _save(weights: Weights, file: Path) -> None:
    try:
        save_file(weights, file)
    except SafetensorError as error:  # which tells the system's error in its text alone
        found = re.search(r"os error ([0-9]+)", str(error), re.IGNORECASE) or re.search(r"code: ([0-9]+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _content(folder: Path, name: str) -> bytes:
    """A file of an upstream entry, as its seal has it: the driver looked at it earlier, and disks forget."""
    expected = _listing(folder)[name]
    try:
        content = read_regular(folder, name, expected["size"])
    except (OSError, Corrupt) as error:
        raise JobError(f"{folder / name}: cannot be read any more ({error}); run the suite again") from error
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise JobError(f"{folder / name}: changed since it was made; run the suite again, and it is made anew")
    return content


@functools.cache
def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Checksum and size of each file of an upstream entry."""
    try:
        body = read_seal(folder.parent, f"{folder.name}/{DONE}")
        if body is not None:
            return listed(body, folder / DONE)
    except (OSError, Corrupt) as error:
        raise JobError(f"{folder}: cannot be used any more ({error}); run the suite again") from error
    raise JobError(f"{folder}: not there any more; run the suite again, and it is made anew")


@functools.cache
def _tables(plugins: tuple[tuple[str, str], ...]) -> Tables:
    bundles = [read_plugin(file) for file, _ in plugins]
    for bundle, (file, planned) in zip(bundles, plugins, strict=True):
        if bundle.content != planned:  # its numbers would be stored as those of the code that was planned and named
            raise PluginChanged(f"{file}, or a file that it imports, changed while the run was under way; run it again")
    return Tables(bundles)
