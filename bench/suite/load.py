"""A suite file read, checked in every profile, and expanded.

suite: order                    its name and the folder of its results; the file's name if left out
question: ...                   what it asks
seeds: 3                        0, 1, 2; or a list
base: {factor: value}           what all cells share; defaults where left out
grid, zip, ablate               what varies (see `axes`)
include: [{factor: value, label: {axis: text}}]     cells of their own, laid on the base
exclude: [{where: selector, because: text}]
metrics: [wasserstein, {name: mmd, bandwidths: 3}]
claims, published, profiles      see the modules of these names
plugins: [my_paths.py]          files below the suite's folder
limits: {minutes: 30, still: 10, memory: 4 GB}      what one job may take; no part of any result

A plugin is code. It is run only where nothing else is wrong with the file as far as that can be told without it, and
not before it has been named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.automatic import reserved
from bench.components import FACTORS, Config, Tables
from bench.errors import ComponentError, UsageError
from bench.foreign import MIB, read_foreign
from bench.limits import MEANINGS, Limit, read_limit
from bench.suite.axes import Dimension, read_dimensions
from bench.suite.claims import Draft, floored_names, pair, read_claims, renumbered, value_names
from bench.suite.dicts import DICT, UNNAMED, dumped
from bench.suite.expand import Expansion, read_included
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, Claim, Exclusion, Plugin, Suite, selector_text
from bench.suite.plugins import Named, read_plugins
from bench.suite.profiles import NAME, NAMES, PLAIN, read_profiles
from bench.suite.published import match, read_published
from bench.suite.published import renumbered as kept_cells
from bench.suite.reader import Entry, Node, as_list, as_mapping, as_record, as_text, read_yaml
from bench.suite.selectors import Finder, Term, as_selector, fitting, read_selector, typed_terms
from bench.suite.values import Value, Values, default_value, merged, read_key, resolved
from bench.words import hint, meant, quoted, shown, unknown

KEYS = (
    "suite", "question", "seeds", "base", "grid", "zip", "ablate", "include", "exclude", "metrics", "claims",
    "published", "profiles", "plugins", "limits",
)  # fmt: skip
EXCLUSION = ("where", "because")
SEEDS_MAX = 100_000
MOST_BYTES = MIB
"""The largest file; a long suite has a hundredth of it."""

RESERVED = ("store",)
PAIRED_MAX = 10_000_000
"""Most claims and published numbers, times cells: some seconds of pairing."""

ALL_CELLS_MAX = 1_500_000
"""Most cells of all profiles together, each of which is checked."""


def load_suite(
    source: str | Path | Mapping[str, Any],
    profile: str | None = None,
    only: Sequence[str] = (),
    allow: Sequence[str | Path] = (),
    notice: Callable[[str], None] = lambda text: None,
    seeds: Sequence[int] | None = None,
) -> Suite:
    """The suite of a file, or of a dict of the same grammar, in a profile, left with the cells that fit every term of
    `only`.

    A term is `axis=label` or `path.name=linear`; several values, separated by commas, are alternatives. `allow`: files
    or folders outside the suite's own whose plugins may be run; `notice` is told of each plugin before it is. `seeds`
    take the place of the suite's own.
    Raises SuiteError with every fault of the file, in any of its profiles; UsageError for a file that
    cannot be opened, a profile that it lacks and a term that fits nothing.
    """
    typed_terms(only)  # what can be told without a plugin is told before one runs
    file, text = (DICT, dumped(source)) if isinstance(source, Mapping) else (source, _bytes(source))
    faults = Faults(str(file))
    root = _root(text, faults)
    for key, entry in root.value.items() if isinstance(root.value, dict) else ():
        if key not in KEYS:
            faults.add(entry.key, unknown("key of a suite", key, KEYS))
    folder, listed = Path(file).parent, root.get("plugins")
    plugins = read_plugins(listed, folder, allow, faults)
    versions: dict[str | None, Node] = {None: root}
    versions.update(read_profiles(root, faults))
    if seeds is not None and (asked := None if profile == PLAIN else profile) in versions:
        listed_seeds = Node(root.place, [Node(root.place, seed) for seed in seeds])
        versions[asked] = versions[asked].replaced("seeds", Entry(root.place, listed_seeds))
    tables, sure = Tables(folder=folder), True
    if listed:
        _suites(versions, str(file), tables, faults, sure=False)
        if len(faults):
            raise faults.error()
        _asked(file, profile, versions)
        tables = _run(plugins, folder, faults, notice)
        sure = not len(faults)
    suites = _suites(versions, str(file), tables, faults, sure)
    if len(faults):
        raise faults.error()
    suite = suites[_asked(file, profile, versions)]
    assert suite is not None
    suite = replace(suite, plugins=tuple(Plugin(plugin.file, plugin.bundle.sha256) for plugin in plugins))
    return _narrowed(suite, only) if only else suite


def _suites(
    versions: Mapping[str | None, Node], file: str, tables: Tables, faults: Faults, sure: bool = True
) -> dict[str | None, Suite | None]:
    """The suite in each profile; None (and faults) where it is faulty.

    With `sure` false a name that is not known may be a plugin's, and what depends on it is not judged.
    """
    readers = {name: _Reader(version, tables, faults, sure) for name, version in versions.items()}
    suites: dict[str | None, Suite | None] = {}
    count = 0
    for name, reader in readers.items():
        with faults.within("" if name is None else f"in profile {name}: "):
            suites[name] = suite = reader.suite(file, name)
        count += len(suite.cells) if suite else 0
        if count > ALL_CELLS_MAX:
            faults.add(reader.root.place, f"more than {ALL_CELLS_MAX:,} cells in all profiles together")
            break
    return suites


def _root(text: bytes, faults: Faults) -> Node:
    """The mapping that a text holds. Raises SuiteError where it holds none."""
    try:
        root = read_yaml(text.decode("utf-8-sig"), faults)
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        column = error.start - (text.rfind(b"\n", 0, error.start) + 1) + 1
        faults.add(Place(line, column, ""), "not UTF-8; save the file in that encoding")
        raise faults.error() from error
    if root is None or not isinstance(root.value, dict):
        place = root.place if root else Place(1, 1, "")
        faults.add(place, "a suite is a mapping of `question`, `base`, `grid` and so on")
        raise faults.error()
    return root


def _bytes(file: str | Path) -> bytes:
    try:
        return read_foreign(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        try:
            beside = [str(path) for path in sorted(Path(file).parent.glob("*.yaml"))]
        except (OSError, ValueError):
            beside = []
        raise UsageError(f"{file}: {said}. {meant(str(file), beside)}".rstrip()) from error


def _asked(file: str | Path, profile: str | None, versions: Iterable[str | None]) -> str | None:
    """The name of the version that is asked for. Raises UsageError where there is none such."""
    asked = None if profile == PLAIN else profile
    if asked not in versions:
        named, plain = [name for name in versions if name], f"{PLAIN!r} is the suite as it stands"
        if named:
            raise UsageError(f"{file}: {unknown('profile', str(asked), [PLAIN, *named])} {plain}.")
        remedy = f"leave it out, or write `profiles: {{{asked}: ...}}`"
        raise UsageError(f"{file}: no profile named {quoted(str(asked))}: the suite has none ({plain}); {remedy}")
    return asked


def _run(plugins: Sequence[Named], folder: Path, faults: Faults, notice: Callable[[str], None]) -> Tables:
    """Run the plugins, each once it has been named; a fault for each that cannot be used."""
    used = []
    for plugin in plugins:
        notice(plugin.said(folder))
        try:
            Tables([plugin.bundle])
            used.append(plugin.bundle)
        except ComponentError as error:
            faults.add(plugin.place, str(error).replace(plugin.bundle.file, plugin.file))
    return Tables(used, folder)


@dataclass(frozen=True)
class _Excluded:
    place: Place
    where: list[Term]
    because: str


class _Reader:
    """Reads one version of a file (the plain one, or a profile's)."""

    def __init__(self, root: Node, tables: Tables, faults: Faults, sure: bool) -> None:
        self.root = root
        self.tables = tables
        self.faults = faults
        self.values = Values(tables, faults, sure)
        self.base = self._base()
        self.dimensions = read_dimensions(root, self.base, self.values)
        self._check_base()

    def suite(self, file: str, profile: str | None) -> Suite | None:
        """The suite; None where there is none to be had: with faults, or where plugins are needed and not there."""
        name, question = self._name(file), self._question()
        seeds, metrics = self._seeds(), self._metrics()
        sure = self.values.sure and all(map(resolved, metrics))
        known = value_names(metrics, self.tables) if sure else None
        floored = floored_names(metrics, self.tables) if sure else []
        drafts = read_claims(self.root.get("claims"), known, floored, self.faults)
        reported = read_published(self.root.get("published"), known, self.faults)
        excluded, limits = self._excluded(), self._limits()
        if self.dimensions is None or not seeds:
            return None
        expansion = Expansion(self.base, self.dimensions, self.values)
        included = read_included(self.root.get("include"), expansion.axes, self.values)
        cells = expansion.cells(included, seeds, self.root.place)
        if cells is None:
            return None
        if not self.values.sure and not all(resolved(config) for held in cells.configs.values() for config in held):
            return None
        cells, exclusions = self._exclude(cells, excluded)
        if cells and (len(drafts) + len(reported)) * len(cells) > PAIRED_MAX:
            what = f"{len(drafts) + len(reported):,} claims and published numbers over {len(cells):,} cells"
            self.faults.add(self.root.place, f"{what}; the product is at most {PAIRED_MAX:,}")
            return None
        paired = self._paired(drafts, cells, self.dimensions)
        matched = [match(draft, cells, self.faults) for draft in reported] if cells else []
        if cells is None or len(self.faults):
            return None
        return Suite(
            name, question, file, profile, seeds, expansion.axes, tuple(metrics), tuple(paired),
            tuple(filter(None, matched)), exclusions, self.tables, cells, limits=limits,
        )  # fmt: skip

    def _base(self) -> dict[str, Value]:
        base = {factor: default_value(factor, self.root.place) for factor in FACTORS}
        node = self.root.get("base")
        for text, entry in as_mapping(node, self.faults, "factor: value").items() if node else []:
            if text.partition(".")[0] in FACTORS and "." in text:
                factor, _, parameter = text.partition(".")
                self.faults.add(entry.key, f"write `{factor}: {{{parameter}: ...}}` in the base")
                continue
            key = read_key(text, entry.key, self.faults)
            value = key and self.values.read(key, entry.key, entry.node)
            if key and value:
                base[key.factor] = merged([base[key.factor], replace(value, place=entry.node.place)])
        return base

    def _check_base(self) -> None:
        """Check the base's values on their own; where something varies, only as far as they go."""
        varied = {factor for dimension in self.dimensions or () for factor in dimension.factors}
        for factor in FACTORS:
            self.values.resolve([self.base[factor]], partial=factor in varied or self.dimensions is None)

    def _name(self, file: str) -> str:
        node = self.root.get("suite")
        name = node.plain if node else UNNAMED if file == DICT else Path(file).stem
        if name in RESERVED:
            place = node.place if node else self.root.place
            self.faults.add(place, f"{quoted(str(name))} is the folder that results are stored in; choose another name")
        elif not isinstance(name, str) or not NAME.fullmatch(name):
            place = node.place if node else self.root.place
            remedy = NAMES if node else f"{NAMES}; write `suite: a_name`"
            self.faults.add(place, f"a suite's name names a folder too, so it is {remedy}, got {shown(name)}")
        return str(name)

    def _question(self) -> str:
        node = self.root.get("question")
        if node is None:
            self.faults.add(self.root.place, "a suite asks one question; write `question: ...`")
            return ""
        return as_text(node, self.faults) or ""

    def _seeds(self) -> tuple[int, ...]:
        node = self.root.get("seeds")
        if node is None:
            return (0,)
        items = node.value if isinstance(node.value, list) else []
        if not items:
            if _whole(node, 1, SEEDS_MAX):
                return tuple(range(int(node.plain)))
            wanted = f"a number of seeds from 1 to {SEEDS_MAX:,}, or a list of seeds"
            self.faults.add(node.place, f"must be {wanted}, got {shown(node.plain)}")
        seeds: dict[int, None] = {}
        for item in items:
            if not _whole(item, 0, 2**63 - 1):
                self.faults.add(item.place, f"a seed is a whole number from 0, got {shown(item.plain)}")
            elif item.plain in seeds:
                self.faults.add(item.place, f"seed {item.plain} is listed twice")
            else:
                seeds[item.plain] = None
        return tuple(seeds)

    def _metrics(self) -> list[Config]:
        node = self.root.get("metrics")
        if node is None:
            return [self.values.resolve([Value("metric", self.root.place, name="wasserstein")])]
        found: list[Config] = []
        taken: dict[str, str] = {}
        for item in as_list(node, self.faults, "metrics"):
            value = self.values.component("metric", item)
            if value is None:
                continue
            if value.name is None:
                self.faults.add(item.place, f"a metric needs `name`. {hint('', self.tables.names('metric'))}")
                continue
            config = self.values.resolve([value])
            found.append(config)
            for name in dict.fromkeys((value.name, *self._reported(config))):
                if why := reserved(name.partition("[")[0]):
                    self.faults.add(item.place, f"{why}; rename it")
                other = taken.setdefault(name, item.place.key)
                if other != item.place.key:
                    self.faults.add(item.place, f"{quoted(name)} is reported by {other} already; list a metric once")
        return found

    def _reported(self, config: Config) -> list[str]:
        """Names of a metric's values, and what tables call them."""
        if not resolved(config):
            return []
        metric = self.tables.build(config)
        return [*metric.values, *(metric.label(value) for value in metric.values)]

    def _limits(self) -> dict[str, Limit]:
        node = self.root.get("limits")
        found = {}
        for key, entry in as_mapping(node, self.faults, ", ".join(MEANINGS)).items() if node else []:
            if key not in MEANINGS:
                self.faults.add(entry.key, unknown("limit", key, MEANINGS))
                continue
            try:
                found[key] = Limit(read_limit(key, entry.node.plain), f"limits.{key} of the suite")
            except ValueError as error:
                self.faults.add(entry.node.place, str(error))
        return found

    def _excluded(self) -> list[_Excluded]:
        node = self.root.get("exclude")
        found = []
        for item in as_list(node, self.faults, "`where` and `because`", least=0) if node else []:
            held = as_record(item, self.faults, "exclusion", EXCLUSION)
            because = as_text(held["because"].node, self.faults) if "because" in held else None
            where = read_selector(held["where"].node, self.faults) if "where" in held else None
            if where:
                found.append(_Excluded(item.place, where, because or ""))
        return found

    def _exclude(self, cells: Cells, excluded: Sequence[_Excluded]) -> tuple[Cells | None, tuple[Exclusion, ...]]:
        keep = np.ones(len(cells), dtype=bool)
        finder = Finder(cells)
        rows = []
        for each in excluded:
            mask = finder.find(each.where, self.faults)
            if mask is None:
                continue
            if not mask.any():
                self.faults.add(each.place, "no cell fits all of `where` at once; drop the exclusion")
            where = selector_text(as_selector(each.where))
            rows.append(Exclusion(where, each.because, int((mask & keep).sum())))
            keep &= ~mask
        if not keep.any():
            self.faults.add(excluded[-1].place, "nothing is left; the exclusions take every cell")
            return None, ()
        return cells.take(keep) if not keep.all() else cells, tuple(rows)

    def _paired(self, drafts: Sequence[Draft], cells: Cells | None, dimensions: Sequence[Dimension]) -> list[Claim]:
        if cells is None:
            return []
        found = [pair(draft, cells, dimensions, self.tables, self.faults) for draft in drafts]
        return [claim for claim in found if claim]


def _whole(node: Node, least: int, most: int) -> bool:
    value = node.value
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _narrowed(suite: Suite, only: Sequence[str]) -> Suite:
    """The suite with the cells that fit every term."""
    return kept(suite, fitting(suite.cells, only))


def kept(suite: Suite, keep: NDArray[np.bool_]) -> Suite:
    """The suite with the cells where `keep` (C,) is true, and what its claims and published numbers say of these."""
    claims = tuple(renumbered(claim, keep) for claim in suite.claims)
    reported = (kept_cells(number, keep) for number in suite.published)
    published = tuple(number for number in reported if number.cells)
    cells = suite.cells.take(keep)
    seeds = tuple(seed for seed in suite.seeds if seed in set(cells.seed.tolist()))
    return replace(suite, cells=cells, seeds=seeds, claims=claims, published=published)
