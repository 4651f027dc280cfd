"""Jobs, and what they share: all but their seed and the keys of what they stand on, worked out once for many.

A suite of a million cells has two million jobs, so that a job holds little itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bench.components import Config
    from bench.inputs import Needs
    from bench.reference import FloorKind
    from bench.roles import Roles

JobId = tuple[str, str]
"""(kind, key)."""

NONE: Mapping[str, Any] = {}
"""What most jobs have of inputs, options or carried roles: one for all of them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What jobs are that differ in their seed alone, and in the seed of what they stand on: what each is, what it
    needs, and the hash of the code that will do it.

    head, given and tail are the key's text but for the upstream keys, which come after the head, and the seed.
    """

    head: str
    upstream: tuple[str, ...]
    given: str
    tail: str
    kind: str
    code: str
    roles: Roles
    needs: Needs
    replica: int
    options: Mapping[str, Any]
    """Plain JSON that the stage reads beside; part of the key."""
    carried: Mapping[str, Config]
    """Roles that are no part of the key as they are: a metric, whose key tells what it prepares."""
    group: str
    """Jobs of one group take about the same time; past ones estimate future ones."""
    cohort: str
    """Train jobs of one cohort may train together; those without a name train alone."""
    long: bool
    """Whether it has a process to itself where others of its kind share one."""


class Job(NamedTuple):
    """One piece of work."""

    id: JobId
    recipe: Recipe
    seed: int
    inputs: Mapping[str, JobId]
    """By kind of job, the upstream job."""

    @property
    def kind(self) -> str:
        """What is done, a name of `bench.kinds`."""
        return self.id[0]

    @property
    def key(self) -> str:
        """Hash of what it is made of."""
        return self.id[1]

    @property
    def code(self) -> str:
        """Hash of the code that does it."""
        return self.recipe.code

    @property
    def group(self) -> str:
        """What takes about as long."""
        return self.recipe.group

    @property
    def configs(self) -> dict[str, Config]:
        """Who plays each of its roles."""
        return {**self.recipe.roles.configs(self.recipe.needs), **self.recipe.carried}

    @property
    def fields(self) -> dict[str, Any]:
        """The single fields that it declares."""
        return self.recipe.roles.fields(self.recipe.needs)


class Setting:
    """What cells share that differ in direction, solver and seed alone, while planning."""

    def __init__(self, given: Mapping[str, Config]) -> None:
        self.given = given
        self.refusal: str | None = None
        """None as long as nobody has asked."""
        self.known: Roles | None = None
        self.replica = 0
        self.recipes: dict[str, Recipe] = {}
        self.jobs: dict[str, JobId | None] = {}
        """Those that are the same in all seeds."""
        self.alike: dict[bool, Roles] = {}
        self.drawn: dict[tuple[int, ...], Drawn] = {}
        self.seeds: dict[int, Seeded] = {}

    @property
    def roles(self) -> Roles:
        """Who plays each role; a refused setting has none."""
        assert self.known is not None
        return self.known


class Seeded:
    """Jobs that all cells of a setting and a seed share."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.jobs: dict[str, JobId | None] = {}
        self.judged: dict[FloorKind, dict[str, JobId | None]] = {}
        self.shared: dict[bool, tuple[dict[str, JobId | None], list[JobId | None]]] = {}
        """By whether the sampler adds noise: the same, with which a cell's own are looked up in turn, and as a row."""


class Drawn:
    """One direction and solver of a setting, in all seeds: why it is refused, or its roles and recipes."""

    __slots__ = ("group", "known", "refusal", "sample", "sample_time", "scores", "stochastic")

    def __init__(self, refusal: str, roles: Roles | None = None, stochastic: bool = False) -> None:
        self.refusal, self.known, self.stochastic, self.group = refusal, roles, stochastic, ""
        self.sample: Recipe | None = None
        self.sample_time: Recipe | JobId | None = None
        """A recipe where the solver adapts to the samples; else there is one job for all seeds."""
        self.scores: dict[str, Recipe] = {}

    @property
    def roles(self) -> Roles:
        """Who plays each role; who is refused has none."""
        assert self.known is not None
        return self.known
