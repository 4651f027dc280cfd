"""The engine over a Ray cluster: Ray places each batch, and a host there does it.

No disk is shared: inputs, plugins and data travel through Ray's object store, once to each node, and what a job wrote
comes back with its end. The driver alone publishes.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.distribution import DISTRIBUTION
from bench.errors import EngineError, StoreError
from bench.execute.protocol import Ended, Event, Noticed, Progressed, Returned, Started, Work, heard
from bench.execute.remote import host
from bench.execute.remote.parcel import Packer, Parcel, land, lay
from bench.execute.server import TRIES
from bench.kinds import KINDS
from bench.store.partial import Partial
from bench.store.provenance import LIBRARIES

GPU_SHARE = 0.25
"""Of a GPU what a batch asks for: so many small jobs go to one. Stopwatches have theirs to themselves."""

SECONDS_TO_JOIN = 120.0
"""A cluster of which no node has answered by then is given up."""

SECONDS_TO_FALL = 2.0
"""After the loss of a host, before more is handed out: a cluster that ends does so node by node."""

NODES_SECONDS = 2.0
"""How often it is looked which nodes live."""

SECONDS_TO_LEAVE = 10.0
"""What hosts have at the end of a run to remove what was brought to them."""

RAY_LOGS = "session_latest/logs in Ray's temporary folder"

QUIET = {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its name in Ray, where it is, what it is, and what Ray may give of it."""

    id: str
    address: str
    kind: str
    cpus: int
    gpus: float


@dataclass
class Flight:
    """A batch that is under way, with the events that it has still to give."""

    waiting: dict[tuple[str, str], Work]
    messages: Any
    begun: set[tuple[str, str]] = field(default_factory=set)
    node: str = ""


class RayEngine:
    """Batches on the nodes of a Ray cluster: the one at `address`, or one that is started here and ends with us.

    Raises EngineError where Ray is not installed, and where the cluster cannot be joined or has no CPU to give.
    """

    def __init__(self, address: str | None = None, slots: int | None = None) -> None:
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        try:
            import ray
        except ImportError:
            raise EngineError(f"--engine ray: Ray is not installed; pip install '{DISTRIBUTION}[ray]'") from None
        self._ray, self._most, self._run = ray, slots, secrets.token_hex(4)
        if not ray.is_initialized():
            self._join(address)
        self._gone, self._there, self._asked = False, list[dict[str, Any]](), -NODES_SECONDS
        self._packer, self._refs = Packer(), dict[str, Any]()
        self._flights: list[Flight] = []
        self._lost: Counter[tuple[str, str]] = Counter()
        self._about: dict[str, dict[str, Any]] = {}
        self._pinned: str | None = None
        self._notices: deque[Event] = deque()
        self._serve = ray.remote(_serve)
        self._meet()

    def warm_up(self) -> None:
        """Nothing is to be done: hosts load torch while they are met."""

    @property
    def slots(self) -> int:
        """Batches that the cluster takes at once, as it is now."""
        there = sum(node.cpus for node in self._nodes())
        return max(1, min(there, self._most or there))

    @property
    def machine(self) -> str:
        """The kind of node that times are taken on, for the whole run."""
        if self._pinned is None:
            nodes = self._nodes()
            best = max(nodes, key=lambda node: (node.gpus > 0, node.cpus, node.kind))
            self._pinned = best.kind
            self._notices.append(Noticed(f"times are taken on one kind of node: {self._pinned}"))
        return self._pinned

    @property
    def has_gpu(self) -> bool:
        """Whether a node has one."""
        return any(node.gpus for node in self._nodes())

    @property
    def free(self) -> int:
        """Number of batches that can start at once."""
        return self.slots - len(self._flights)

    def submit(self, batch: Sequence[Work]) -> None:
        """Send a batch to a node that has room. Raises EngineError where no node of the cluster ever will."""
        parcel, new = self._packer.pack(batch)
        self._refs |= {name: self._ray.put(bundle) for name, bundle in new.items()}
        needs = self._needs(batch)
        packed = {**asdict(parcel), "batch": [work.plain() for work in parcel.batch]}
        refs = [(name, self._refs[name]) for name in parcel.bundles]
        call = self._serve.options(num_returns="streaming", max_retries=0, **needs)
        messages = call.remote(packed, refs, self._run, self._share(batch))
        self._flights.append(Flight({work.id: work for work in batch}, messages))

    def events(self, timeout: float) -> list[Event]:
        """Messages of all hosts; of a host that is lost the jobs come back."""
        events = list(self._notices)
        self._notices.clear()
        deadline = time.monotonic() + timeout
        self._nodes()
        while self._flights and not events:
            wait = max(0.0, deadline - time.monotonic())
            ready, _ = self._ray.wait([f.messages for f in self._flights], timeout=wait, fetch_local=False)
            if not ready:
                break
            for flight in [f for f in self._flights if f.messages in ready]:
                events += self._take(flight)
        if not self._flights and not events:
            time.sleep(max(0.0, deadline - time.monotonic()))
        return events

    def stop(self) -> None:
        """Call every batch off, and have each node forget what was brought to it."""
        flights, self._flights = self._flights, []
        if self._gone:
            return
        for flight in flights:
            with suppress(Exception):
                self._ray.cancel(flight.messages, force=True)
        with suppress(Exception):
            asked = [self._on(node, _forget).remote(self._run, node.id) for node in self._nodes()]
            self._ray.wait(asked, num_returns=len(asked), timeout=SECONDS_TO_LEAVE)

    def _join(self, address: str | None) -> None:
        """Join the cluster at an address, or start one: never another's that happens to run here.

        Ray puts the folders of the script and the working directory on its workers' path; an empty folder takes their
        place.
        """
        typed = sys.argv[0]
        host_port = re.fullmatch(r"([^/:]+):([0-9]{1,5})", address or "")
        if host_port and not _answers(host_port[1], int(host_port[2])):
            raise EngineError(f"--address {address}: nobody answers there; `ray status` tells a cluster's address")
        with tempfile.TemporaryDirectory(prefix=f"{DISTRIBUTION}-") as empty:
            sys.argv[0] = f"{empty}/bench"
            try:
                self._init(address or "local", empty)
            finally:
                sys.argv[0] = typed

    def _init(self, address: str, empty: str) -> None:
        environment = {
            "py_modules": [str(host.PACKAGE)], "working_dir": empty, "env_vars": {"PYTHONSAFEPATH": "1"},
        }  # fmt: skip
        try:
            self._ray.init(
                address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                configure_logging=True, runtime_env=environment,
            )  # fmt: skip
        except Exception as error:
            why = " ".join(str(error).split())[:300]
            if address == "local":
                text = f"--engine ray: no cluster can be started here ({why}); see {RAY_LOGS}, or join one by --address"
                raise EngineError(text) from error
            raise EngineError(
                f"--address {address}: no Ray cluster can be joined ({why}); start one "
                "with `ray start --head`, or leave --address out to have one on this machine"
            ) from error

    def _meet(self) -> None:
        """Ask every node what it is; refuse one that would run other code, and say where versions differ."""
        nodes = self._nodes()
        if not nodes:
            raise EngineError("the Ray cluster has no node with a CPU to give; see `ray status`")
        asked = {self._on(node, _about).remote(): node for node in nodes}
        ready, late = self._ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_TO_JOIN)
        for ref in ready:
            try:
                self._know(asked[ref], self._ray.get(ref))
            except self._ray.exceptions.RayError as error:
                self._asked = -math.inf
                if asked[ref].id not in {node.id for node in self._nodes()}:
                    continue  # it left while it was asked, by whatever name Ray tells of that
                raise EngineError(f"the node at {asked[ref].address} cannot run jobs: {_said(error)}") from error
        if late:
            silent = ", ".join(asked[ref].address for ref in late)
            raise EngineError(
                f"no answer within {SECONDS_TO_JOIN:.0f} s from {silent}; see `ray status` for what is busy"
            )
        if not self._about:
            raise EngineError("every node of the Ray cluster left while it was asked what it is; see `ray status`")

    def _know(self, node: Node, about: dict[str, Any]) -> None:
        if about["code"] != host.code():
            raise EngineError(
                f"the node at {node.address} runs another version of this package; install the same on every node"
            )
        mine, theirs = host.about()["versions"], about["versions"]
        other = [
            f"{name} {theirs[name]} (here {mine[name]})"
            for name in ("python", *LIBRARIES)
            if theirs[name] != mine[name]
        ]
        if other:
            self._notices.append(Noticed(f"the node at {node.address} has {', '.join(other)}: last digits may differ"))
        self._about[node.id] = about

    def _nodes(self) -> list[Node]:
        """The nodes that live and have CPUs, in one order."""
        found = []
        if time.monotonic() - self._asked > NODES_SECONDS:
            self._there, self._asked = self._ask(), time.monotonic()
        for each in self._there:
            given = each.get("Resources", {})
            if not each["Alive"] or given.get("CPU", 0) < 1:
                continue
            gpus = sorted(name.partition(":")[2] for name in given if name.startswith("accelerator_type:"))
            about = self._about.get(each["NodeID"], {})
            kind = ", ".join([str(about.get("cpu", "unknown CPU")), f"{given['CPU']:.0f} CPUs", *gpus])
            found.append(
                Node(each["NodeID"], each["NodeManagerAddress"], kind, int(given["CPU"]), float(given.get("GPU", 0)))
            )
        return sorted(found, key=lambda node: (node.address, node.id))

    def _ask(self) -> list[dict[str, Any]]:
        """The cluster's nodes. EngineError where it has ended: Ray itself would wait a minute and end this process."""
        host_name, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
        if self._gone or not any(_answers(host_name, int(port)) for _ in range(3)):
            self._gone = True
            raise EngineError("the Ray cluster has ended; start it again, and run this command again")
        found: list[dict[str, Any]] = self._ray.nodes()
        mine = self._ray.get_runtime_context().get_node_id()
        if not any(node["Alive"] for node in found if node["NodeID"] == mine):
            self._gone = True
            raise EngineError("the Ray node that this command goes through has ended; start it, and run this again")
        return found

    def _needs(self, batch: Sequence[Work]) -> dict[str, Any]:
        """What Ray is to find for a batch: CPUs, a share of a GPU, and for stopwatches one whole node of one kind."""
        first = batch[0]
        on_gpu = first.device.startswith("cuda")
        if on_gpu and not self.has_gpu:
            raise EngineError("no node of the Ray cluster has a GPU any more; run again when there is one")
        needs = {"num_cpus": max(work.threads for work in batch), "num_gpus": GPU_SHARE if on_gpu else 0}
        if KINDS[first.kind].alone:
            node = self._stopwatch_node(on_gpu)
            needs = {"num_cpus": node.cpus, "num_gpus": 1 if on_gpu else 0} | self._at(node)
        return needs

    def _stopwatch_node(self, on_gpu: bool) -> Node:
        """A node of the one kind on which a run's times are taken."""
        alike = [node for node in self._nodes() if node.kind == self.machine and (node.gpus or not on_gpu)]
        if not alike:
            raise EngineError(
                f"times are taken on {self._pinned}, and no such node is left; run again when there is one"
            )
        return alike[0]

    def _share(self, batch: Sequence[Work]) -> int:
        """Workers that share the memory of a machine."""
        return 1 if KINDS[batch[0].kind].alone else max((node.cpus for node in self._nodes()), default=1)

    def _on(self, node: Node, what: Any) -> Any:
        return self._ray.remote(what).options(num_cpus=0, max_retries=0, **self._at(node))

    def _at(self, node: Node) -> dict[str, Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False)}

    def _take(self, flight: Flight) -> list[Event]:
        """What a host says next."""
        try:
            message = self._ray.get(next(flight.messages))
        except StopIteration:
            return self._end(flight, "the host ended before its jobs")
        except self._ray.exceptions.RayTaskError as error:
            self._flights.remove(flight)
            raise EngineError(f"the node at {flight.node or 'unknown'} cannot run jobs: {_said(error)}") from error
        except self._ray.exceptions.RayError as error:
            return self._end(flight, _said(error))
        return self._told(flight, message)

    def _told(self, flight: Flight, message: dict[str, Any]) -> list[Event]:
        if message["event"] == "here":
            flight.node = message["node"]
            return []
        if message["event"] == "checkpoint":
            Partial(Path(flight.waiting[tuple(message["job"])].checkpoint)).write(message["content"])
            return []
        if message["event"] == "waiting":
            return []
        event = heard(message)
        if isinstance(event, Started | Progressed):
            flight.begun.add(event.job)
        elif isinstance(event, Ended | Returned):
            work = flight.waiting.pop(event.job)
            flight.begun.discard(event.job)
            if isinstance(event, Ended):
                try:
                    land(message["files"], work.staging)
                except StoreError as error:
                    event = Ended(event.job, "disk", str(error))
            if not flight.waiting:
                self._flights.remove(flight)
        return [event]

    def _end(self, flight: Flight, why: str) -> list[Event]:
        """A host is lost: what it had in hand is tried again elsewhere, but not for ever."""
        self._flights.remove(flight)
        time.sleep(SECONDS_TO_FALL)
        self._asked = -math.inf  # before anything else is asked of a cluster that may be gone
        events: list[Event] = []
        self._lost.update(flight.begun)
        for job in flight.waiting:
            if self._lost[job] >= TRIES:
                events.append(Ended(job, "failed", f"its worker was lost {TRIES} times, last: {why}"))
            else:
                events.append(Returned(job, suspect=job in flight.begun))
        count = sum(isinstance(event, Returned) for event in events)
        text = (
            f"a worker of the Ray cluster was lost ({why}); {count} job{'s are' if count != 1 else ' is'} tried again"
        )
        return [Noticed(text), *events]


def _answers(host_name: str, port: int) -> bool:
    """Whether somebody accepts a connection."""
    try:
        with socket.create_connection((host_name, port), timeout=5):
            return True
    except OSError:
        return False


def _said(error: BaseException) -> str:
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _about() -> dict[str, Any]:
    host.engine().warm_up()
    return host.about()


def _forget(run: str, node: str) -> None:
    host.forget(host.place(run, node))


def _serve(
    packed: Mapping[str, Any], refs: Sequence[tuple[str, Any]], run: str, slots: int
) -> Iterator[dict[str, Any]]:
    """A host under Ray: fetch what this node lacks, then do the batch."""
    import ray

    context = ray.get_runtime_context()
    yield {"event": "here", "node": ray.util.get_node_ip_address()}
    root = host.place(run, context.get_node_id())
    for name, ref in refs:
        if not (root / name).is_dir():
            lay(ray.get(ref), root)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    parcel = Parcel([Work.of(plain) for plain in packed["batch"]], packed["bundles"], packed["checkpoint"])
    yield from host.serve(parcel, root, environment, slots)
