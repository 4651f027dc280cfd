"""Do what is missing: look up, queue, hand out, publish; each finished job is stored at once and whole."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.datafiles import held
from bench.errors import EngineError, NoEntry, StoreError
from bench.execute.allowance import Allowance
from bench.execute.protocol import Ended, Engine, Noticed, Observer, Outcome, Progressed, Returned, Started, Work
from bench.execute.sharing import Sharing
from bench.kinds import KINDS
from bench.limits import Limits
from bench.planner import Plan
from bench.recipes import Job, JobId
from bench.store import Store

BATCH = 8
"""Jobs that share a process in turn, at most."""

OFFERED, GPU_OFFERED = 32, 512
"""Trainings that a worker gets at most, on a CPU and on a GPU; how many of them go as one it finds out by itself."""

LEAST = 4
"""Trainings that it gets at the end of a run too, when others would have to wait for it."""


@dataclass
class Results:
    """What became of each job, whether somebody interrupted, and what ended the run before its time."""

    outcomes: dict[JobId, Outcome] = field(default_factory=dict)
    interrupted: bool = False
    error: str = ""
    shared: int = 0
    """Jobs that were missing at the start, and that other drivers did meanwhile."""

    def count(self, kind: str, *, stored: bool | None = None) -> int:
        """Jobs of a kind that have a result: all of them, those found in the store, or those done now."""
        chosen = (o for (k, _), o in self.outcomes.items() if k == kind and o.ok)
        return sum(1 for o in chosen if stored is None or o.stored == stored)

    def failed(self, kind: str) -> int:
        """Jobs of a kind without a result."""
        return sum(1 for (k, _), o in self.outcomes.items() if k == kind and not o.ok)


def look_up(plan: Plan, store: Store, *, keep_stale: bool = False) -> dict[JobId, Outcome]:
    """Jobs that are in the store already. With keep_stale, entries of other code count too."""
    found: dict[JobId, Outcome] = {}
    standing = store.standing(plan.jobs.keys())
    for at, job in plan.jobs.items():
        if at not in standing:
            continue
        entry = store.find(job.kind, job.key, job.code) if job.code in standing[at] else None
        if entry is not None:
            found[at] = Outcome("ok", entry=entry, stored=True)
        elif keep_stale and (other := store.other_code(job.kind, job.key, job.code)):
            found[at] = Outcome("ok", entry=other, stored=True, stale=True)
    _forget_stale_inputs(plan, found)
    return found


def redone_of(plan: Plan, found: Mapping[JobId, Outcome], store: Store) -> int:
    """How many of the jobs that are not found were done by older code."""
    there = store.standing(plan.jobs.keys()).keys() - found.keys()
    return sum(1 for at in there if store.other_code(*at, plan.jobs[at].code) is not None)


def _forget_stale_inputs(plan: Plan, found: dict[JobId, Outcome]) -> None:
    """A job that is done now never stands on work of older code: what it needs is then done again too."""
    todo = [job for at, job in plan.jobs.items() if at not in found] if any(o.stale for o in found.values()) else []
    while todo:
        for upstream in todo.pop().inputs.values():
            if upstream in found and found[upstream].stale:
                del found[upstream]
                todo.append(plan.jobs[upstream])


def execute(
    plan: Plan,
    store: Store,
    engine: Engine,
    observer: Observer,
    *,
    device: str = "cpu",
    plugins: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    keep_stale: bool = False,
    fail_fast: bool = False,
    limits: Limits | None = None,
) -> Results:
    """Run a plan to its end. Ctrl-C stops the jobs in flight and marks what is left as cancelled.

    So does a results folder that can no longer be written, and an engine without processes; `error` says it.
    """
    allowance = Allowance(limits or {}, store, engine.slots)
    run = _Run(plan, store, engine, observer, device, dict(plugins or {}), dict(provenance or {}), fail_fast, allowance)
    found = look_up(plan, store, keep_stale=keep_stale)
    run.results.outcomes.update(found)
    _say_stale(plan, store, found, observer)
    for text in store.notices:
        observer.notice(text)
    store.notices.clear()
    try:
        run.go()
    except KeyboardInterrupt:
        run.results.interrupted = True
        run.cancel("interrupted")
    except (StoreError, EngineError) as error:
        run.results.error = str(error)
        run.cancel(f"the run ended early: {error}")
    finally:
        engine.stop()
        run.sweep()
        run.leave()
    return run.results


def _say_stale(plan: Plan, store: Store, found: Mapping[JobId, Outcome], observer: Observer) -> None:
    """Results of older code are said: kept on request, or about to be made again."""
    kept = sum(1 for outcome in found.values() if outcome.stale)
    redone = redone_of(plan, found, store)
    if kept:
        observer.notice(f"{kept} results of older code are kept, and marked as stale in the records")
    if redone:
        observer.notice(f"{redone} results were made by older code and are done again")


class _Run:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        engine: Engine,
        observer: Observer,
        device: str,
        plugins: dict[str, str],
        provenance: dict[str, Any],
        fail_fast: bool,
        allowance: Allowance,
    ) -> None:
        self.plan, self.store, self.engine, self.observer = plan, store, engine, observer
        self.device, self.plugins, self.provenance, self.fail_fast = device, plugins, provenance, fail_fast
        self.allowance = allowance
        self.sharing = Sharing(store)
        self.results = Results()
        self.queues: dict[str, deque[JobId]] = {kind: deque() for kind in KINDS}
        self.waits: dict[JobId, int] = {}
        self.dependents: dict[JobId, list[JobId]] = defaultdict(list)
        self.staging: dict[JobId, Path] = {}
        self.flying: set[JobId] = set()
        self.alone: set[JobId] = set()

    def go(self) -> None:
        """Hand out what is missing and take in what comes back, until nothing is left."""
        outcomes = self.results.outcomes
        self.observer.looked_up(outcomes)
        missing = [job for job in self.plan.jobs.values() if job.id not in outcomes]
        if missing:
            self.sharing.open(missing)
        for job in missing:
            open_inputs = [i for i in job.inputs.values() if i not in outcomes]
            self.waits[job.id] = len(open_inputs)
            for upstream in open_inputs:
                self.dependents[upstream].append(job.id)
            if not open_inputs:
                self.queues[job.kind].append(job.id)
        while self.flying or any(self.queues.values()) or self.sharing.elsewhere:
            self._hand_out()
            for event in self.engine.events(timeout=0.2):
                self._take(event)
            for job, outcome in self.sharing.come_back():
                self._come_back(job, outcome)
            for text in self.sharing.waits_for(busy=bool(self.flying)):
                self.observer.notice(text)
            self.observer.waiting()

    def _hand_out(self) -> None:
        while self.engine.free > 0:
            chosen = self._next_batch()
            if not chosen:
                return
            batch = [job for job in chosen if self._take_on(self.plan.jobs[job])]
            if batch:
                self.flying.update(batch)
                spare = self._spare()
                self.engine.submit([self._work(self.plan.jobs[job], spare) for job in batch])

    def _spare(self) -> int:
        """Cores of this machine that fall to a batch about to start beside its own, if all trainings have as many.

        What else waits is done in a moment, beside helpers too, for whom trainings alone have any use.
        """
        waiting = len(self.queues["train"])
        spare = self.engine.slots // (self.engine.slots - self.engine.free + 1 + waiting) - 1
        return 0 if spare <= 0 or self.engine.machine else spare

    def _take_on(self, job: Job) -> bool:
        """Claim a job that is to be done now, unless another driver has it in hand or has done it meanwhile."""
        if not self.sharing.take(job):
            return False
        outcome = self.sharing.end(job)
        if outcome is None:
            return True
        self.results.shared += 1
        self._settle(job.id, outcome)
        return False

    def _come_back(self, job: Job, outcome: Outcome | None) -> None:
        """A job that another driver had: its end, or back into the queue where it has none."""
        if job.id in self.results.outcomes:
            return  # cancelled meanwhile
        if outcome is None:
            self.queues[job.kind].append(job.id)
        else:
            self.results.shared += 1
            self._settle(job.id, outcome)

    def _next_batch(self) -> list[JobId]:
        """The first kind that has something to do; what must be alone all at once, when nothing else is left."""
        for kind in KINDS.values():
            queue = self.queues[kind.name]
            if not queue or (kind.alone and (self.flying or not self.sharing.may_time())):
                continue
            if kind.alone:
                return self._stopwatches()
            if kind.together == "as one":
                return self._cohort(queue)
            share = -(-len(queue) // self.engine.slots)
            long = any(self.plan.jobs[job].recipe.long or job in self.alone for job in list(queue)[:BATCH])
            size = min(BATCH, share) if kind.together == "in turn" and not long else 1
            return [queue.popleft() for _ in range(size)]
        return []

    def _stopwatches(self) -> list[JobId]:
        """Everything that must be alone, in one process; a suspect by itself."""
        queues = [self.queues[kind.name] for kind in KINDS.values() if kind.alone]
        waiting = [job for queue in queues for job in queue]
        batch = waiting[:1] if waiting[0] in self.alone else [job for job in waiting if job not in self.alone]
        for job in batch:
            self.queues[job[0]].remove(job)
        return batch

    def _cohort(self, queue: deque[JobId]) -> list[JobId]:
        """The next job with others of its cohort: as many as leave no free worker without any, or on a GPU all."""
        name = self.plan.jobs[queue[0]].recipe.cohort
        if not name or queue[0] in self.alone:
            return [queue.popleft()]
        alike = [job for job in queue if self.plan.jobs[job].recipe.cohort == name and job not in self.alone]
        workers, most = self.engine.free, GPU_OFFERED
        if self.device.startswith("cuda"):
            workers = workers if self.engine.machine else 1  # this machine's workers share one GPU
        else:  # half of its share, so that at the end no worker has long to do while others have nothing
            most = min(OFFERED, max(LEAST, -(-len(queue) // (2 * self.engine.slots))))
        rounds = -(-len(alike) // (workers * most))
        batch = alike[: -(-len(alike) // (workers * rounds))]
        for job in batch:
            queue.remove(job)
        return batch

    def _work(self, job: Job, spare: int) -> Work:
        self.staging[job.id] = self.store.staging(job.kind, job.key)
        inputs = {}
        for kind, upstream in job.inputs.items():
            entry = self.results.outcomes[upstream].entry
            assert entry is not None
            inputs[kind] = str(entry.place)
        configs = [(role, c.factor, c.name, c.plain) for role, c in job.configs.items()]
        saves = KINDS[job.kind].resumes and not job.recipe.cohort
        return Work(
            job.kind, job.key, configs, job.fields, job.seed, job.recipe.replica, inputs, str(self.staging[job.id]),
            device=self._device(job), spare=spare, plugins=self.plugins, options=dict(job.recipe.options),
            limits=self.allowance.of(job), alike=str(id(job.recipe)),
            files=held(config.plain for config in job.configs.values()),
            checkpoint=str(self.store.checkpoint(job.kind, job.key, job.code)) if saves else "",
        )  # fmt: skip

    def _device(self, job: Job) -> str:
        return self.device if KINDS[job.kind].on_device else "cpu"

    def _take(self, event: object) -> None:
        if isinstance(event, Started):
            self.sharing.begun(self.plan.jobs[event.job])
            self.observer.started(self.plan.jobs[event.job])
        elif isinstance(event, Progressed):
            job = self.plan.jobs[event.job]
            self.sharing.progress(job, event.done, event.total)
            self.observer.progressed(job, event)
        elif isinstance(event, Noticed):
            self.observer.notice(event.text)
        elif isinstance(event, Returned):
            self.flying.discard(event.job)
            self._drop_staging(event.job)
            if event.job in self.results.outcomes:
                return  # cancelled meanwhile
            if event.suspect:
                self.alone.add(event.job)
            self.observer.returned(self.plan.jobs[event.job])
            self.queues[event.job[0]].appendleft(event.job)
        elif isinstance(event, Ended):
            self.flying.discard(event.job)
            if event.job in self.results.outcomes:
                return  # cancelled meanwhile
            self._settle(event.job, self._publish(event))

    def _publish(self, event: Ended) -> Outcome:
        job = self.plan.jobs[event.job]
        if event.status == "disk":
            raise StoreError(event.reason)
        if event.status != "ok":
            log = self.store.keep_log(self.staging[job.id], job.kind, job.key, job.code)
            self.store.note_failure(job.kind, job.key, job.code, event.status, event.reason)
            self._drop_staging(event.job)
            return Outcome(event.status, event.reason, log)
        about = {
            "kind": job.kind,
            "key": job.key,
            "code": job.code,
            "group": job.group,
            "configs": {role: config.values for role, config in job.configs.items()},
            "fields": job.fields,
            "seed": job.seed,
            "replica": job.recipe.replica,
            "inputs": {kind: list(upstream) for kind, upstream in job.inputs.items()},
            "options": dict(job.recipe.options),
            "device": self._device(job),
            "threads": 1,
            **self.provenance,
            **event.meta,
        }
        if KINDS[job.kind].form == "folder":
            try:
                entry = self.store.publish(job.kind, job.key, job.code, self.staging[job.id], about)
            except NoEntry as error:
                return self._publish(Ended(event.job, "failed", str(error)))
            del self.staging[job.id]
        else:
            entry = self.store.publish_score(job.kind, job.key, job.code, about)
            self._drop_staging(job.id)
        self.store.forget(job.kind, job.key, job.code)
        return Outcome("ok", entry=entry)

    def _settle(self, job: JobId, outcome: Outcome) -> None:
        """Note an outcome and what follows from it for the jobs that stand on it; then stop, if that was asked for.

        Only then: what stands on the culprit is told of the culprit and not of the stop.
        """
        self.sharing.release(self.plan.jobs[job])
        if KINDS[job[0]].alone and not any(KINDS[kind].alone for kind, _ in self.flying):
            self.sharing.timed()
        self._spread(job, outcome)
        if self.fail_fast and outcome.status not in {"ok", "skipped", "cancelled"}:
            self.engine.stop()
            self.cancel(f"stopped at the first failure: {job[0]} {job[1][:8]}: {outcome.reason}")

    def _spread(self, job: JobId, outcome: Outcome) -> None:
        self.results.outcomes[job] = outcome
        self.observer.ended(self.plan.jobs[job], outcome)
        for dependent in self.dependents[job]:
            if dependent in self.results.outcomes:
                continue
            if not outcome.ok:
                of_training = job[0] == "train" and outcome.status != "skipped"
                reason = f"training: {outcome.reason}" if of_training else outcome.reason
                self._spread(dependent, replace(outcome, reason=reason))
                continue
            self.waits[dependent] -= 1
            if self.waits[dependent] == 0:
                self.queues[dependent[0]].append(dependent)

    def cancel(self, reason: str) -> None:
        """Mark everything without an outcome as cancelled."""
        self.flying.clear()
        self.sharing.elsewhere.clear()
        for queue in self.queues.values():
            queue.clear()
        for job in self.plan.jobs:
            self.results.outcomes.setdefault(job, Outcome("cancelled", reason))

    def _drop_staging(self, job: JobId) -> None:
        folder = self.staging.pop(job, None)
        if folder is not None:
            self.store.discard(folder)

    def leave(self) -> None:
        """Let all claims go."""
        try:
            self.sharing.close()
        except StoreError as error:
            self.observer.notice(str(error))

    def sweep(self) -> None:
        """Remove what the jobs in flight had written."""
        for job in list(self.staging):
            try:
                self._drop_staging(job)
            except StoreError as error:
                self.observer.notice(str(error))
