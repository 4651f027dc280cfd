"""What jobs share while a suite is planned: all but their seed, and the keys of what they stand on, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.components import Config
    from bench.inputs import Needs
    from bench.planner import JobId
    from bench.reference import FloorKind
    from bench.roles import Roles

NONE: Mapping[str, Any] = {}
"""What most jobs have of inputs, options or carried roles: one for all of them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Jobs that differ in their seed alone, and in the seed of what they stand on.

    head, options and tail are the key's text but for the upstream keys, which come after the head, and the seed.
    """

    head: str
    upstream: tuple[str, ...]
    options: str
    tail: str
    kind: str
    code: str
    roles: Roles
    needs: Needs
    replica: int
    given: Mapping[str, Any]
    carried: Mapping[str, Config]
    group: str
    cohort: str
    long: bool


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
