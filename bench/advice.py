"""Mistakes of design that a plan shows before anything is run, in words with what to do.

Each function yields warnings on one kind of mistake. A suite that earns them runs all the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.automatic import AUTOMATIC, EXCESS
from bench.stats import half_width, is_excess, named_unit, seeds_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.components import Config
    from bench.execute import Outcome
    from bench.interfaces import Dataset, Metric
    from bench.planner import Plan
    from bench.recipes import JobId
    from bench.suite import Claim, Suite

LEAST_SEEN = 3
"""Seeds with results from which a spread is told: of two it is anything."""

TRIED = 64
"""Points that a metric is tried on, to see whether it has a value."""

UNFIT = 10
"""A typical distance so many times over the largest bandwidth, or under the smallest, leaves a kernel at 0 or at 1."""

MOST_SEEDS = 1000
"""Most seeds that are named as enough for a margin."""


def warnings(suite: Suite, laid: Plan, found: Mapping[JobId, Outcome], results: Path) -> list[str]:
    """All warnings on a suite. found: its jobs that are stored, in the store of `results`."""
    fixed = [claim.claim for claim in suite.claims if _same_work(suite, laid, claim)]
    return [
        *fixed_answers(suite, fixed),
        *few_seeds(suite, laid, fixed),
        *narrow_margins(suite, laid, found, results),
        *confounded(suite),
        *without_value(suite, laid),
        *unfit_kernels(suite),
        *even_starts(suite),
    ]


def fixed_answers(suite: Suite, fixed: list[str]) -> Iterator[str]:
    """Claims whose two sides are the same jobs, so that they differ by exactly 0 whatever comes out."""
    for claim in suite.claims:
        if claim.claim in fixed:
            apart = dict.fromkeys(
                key for key in (*claim.better, *claim.than) if claim.better.get(key) != claim.than.get(key)
            )
            yield (
                f"“{claim.claim}”: both sides are the same jobs, so that they differ by exactly 0 in every seed: "
                f"{', '.join(apart)} changes nothing that {claim.metric} of these cells depends on; compare cells that "
                "differ in something that it does, or drop the claim"
            )
        elif claim.metric == "nfe" and claim.pairs and _counted(suite, claim):
            yield (
                f"“{claim.claim}”: these solvers take fixed steps, so that their nfe is what the suite writes, "
                "whatever comes out; claim a score, at that nfe, or drop the claim"
            )


def _counted(suite: Suite, claim: Claim) -> bool:
    """Whether the evaluations of all cells of a claim follow from their solvers by formula."""
    rows = suite.cells.index["solver"][np.unique(np.asarray(claim.pairs))]
    return all(suite.tables.build(suite.cells.configs["solver"][i]).evaluations() is not None for i in np.unique(rows))


def unfit_kernels(suite: Suite) -> Iterator[str]:
    """Fixed bandwidths of a kernel that are far from the distances of a law's points, so that it sees hardly any."""
    import torch

    from bench.interfaces import in_data_units

    for config in suite.metrics:
        largest, count = config.values.get("largest"), config.values.get("bandwidths")
        if config.name != "mmd" or not isinstance(largest, float):
            continue
        for dataset in suite.cells.configs["dataset"]:
            law = suite.tables.build(dataset)
            try:
                seen = law.draw(TRIED, 0, torch.Generator().manual_seed(0)).double().numpy()
            except Exception:  # such as data that are not there: nothing can be told yet
                continue
            points = in_data_units(law.units, seen).reshape(TRIED, -1)
            typical = float(np.median(np.linalg.norm(points[: TRIED // 2] - points[TRIED // 2 :], axis=1)))
            least = largest / 2 ** (int(count or 1) - 1)
            if not least / UNFIT <= typical <= largest * UNFIT:
                yield (
                    f"mmd: its bandwidths of {least:g} to {largest:g} are far from {typical:.2g}, the typical "
                    f"distance of points of {dataset.name}, so that it hardly tells anything from anything: write "
                    "`{name: mmd, largest: reference}`"
                )
                break


def even_starts(suite: Suite) -> Iterator[str]:
    """Data with a held-out part whose samples start more evenly than at random: their floor is of random rows."""
    build, cells = suite.tables.build, suite.cells
    for number, dataset in enumerate(cells.configs["dataset"]):
        law = build(dataset)
        here = cells.index["dataset"] == number
        settings = {build(cells.configs["sampling"][i]).start for i in np.unique(cells.index["sampling"][here])}
        if law.judge is not law and settings != {"independent"}:
            yield (
                f"dataset {dataset.name}: samples start from quasi-random noise, which is more even than the rows "
                "that their floor is made of, so that scores may lie below it; write `sampling: {start: independent}`"
            )
            return


def few_seeds(suite: Suite, laid: Plan, fixed: list[str]) -> Iterator[str]:
    """Claims that have fewer seeds than a verdict on all of them takes, and those whose numbers seeds do not change."""
    need, short = seeds_needed(len(suite.claims)) if suite.claims else 0, dict[int, list[str]]()
    for claim in suite.claims:
        if not claim.pairs or claim.claim in fixed:
            continue
        work = _work_by_seed(suite, laid, claim)
        there = [jobs for jobs in work.values() if None not in jobs]
        times = len(set(there))
        if times < len(there):
            often = "once" if times == 1 else f"{times} times"
            yield (
                f"“{claim.claim}”: {claim.metric} is measured {often} for {len(there)} seeds, which are "
                "the same work, so that more seeds are no more evidence; claim a score instead"
            )
        elif len(there) < need:
            short.setdefault(len(there), []).append(claim.claim)
    for count, names in sorted(short.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        claims = "1 claim" if len(suite.claims) == 1 else f"{len(suite.claims)} claims"
        yield (
            f"“{names[0]}”{more}: {count} seed{'' if count == 1 else 's'} with both sides, and a verdict on {claims} "
            f"needs {need}: set `seeds: {need}`, or add them until it is decided: bench settle"
        )


def narrow_margins(suite: Suite, laid: Plan, found: Mapping[JobId, Outcome], results: Path) -> Iterator[str]:
    """Claims whose margin is less than the noise that results so far show, so that equality cannot be found.

    The noise is that of what is compared, the mean of the seeds' paired differences: half of its 95 % interval, were
    there as many seeds as the suite has, at the spread that the stored seeds have.
    """
    from bench import records, verdicts
    from bench.execute import Outcome, Results
    from bench.report.results import read_back
    from bench.suite.load import kept

    asked = [i for i, claim in enumerate(suite.claims) if claim.margin and claim.pairs]
    if not asked or not any(kind == "sample" for kind, _ in found):
        return
    keep = np.zeros(len(suite.cells), dtype=bool)
    keep[[cell for i in asked for pair in suite.claims[i].pairs for cell in pair]] = True
    one, plan = kept(suite, keep), laid.take(keep)
    done = Results({job: found.get(job, Outcome("left", "not run yet")) for job in plan.jobs})
    cells = records.cells_table(one, plan, done)
    table = records.records_table(one, plan, done, cells)
    about = records.page(one, done, {}, "", 0.0)
    differences = verdicts.differences(read_back(results, *records.as_written(cells, table, about)))
    for i in asked:
        claim, each = suite.claims[i], differences[i]
        seen, n = len(each.values), each.of
        margin = claim.margin or 0.0
        if seen < LEAST_SEEN:
            continue
        sd = float(np.std(each.values, ddof=1))
        noise = float(half_width(sd, n))
        if margin >= noise:
            continue
        enough = next((k for k in range(n, MOST_SEEDS) if half_width(sd, k) <= margin), None)
        unit = f" {named_unit(each.unit)}" if named_unit(each.unit) else ""
        remedy = f"about {enough} seeds would do" if enough else f"more than {MOST_SEEDS} seeds would be needed"
        yield (
            f"“{claim.claim}”: its margin of {margin:g}{unit} is below the noise: the difference spreads by {sd:.2g} "
            f"over {seen} stored seeds, so that {n} seeds tell its mean to ± {noise:.2g}; {remedy}, or a wider margin"
        )


def confounded(suite: Suite) -> Iterator[str]:
    """Factors that change together in all cells, so that neither's effect can be told from the other's."""
    cells = suite.cells
    columns: dict[str, NDArray[np.int64]] = {
        axis: cells.labels[axis].cat.codes.to_numpy().astype(np.int64) for axis in suite.axes if axis in cells.labels
    }
    columns.pop("ablation", None)  # one axis of several factors, which speak for themselves
    alone = {axis.partition(".")[0] for axis in columns}
    columns |= {factor: index.astype(np.int64) for factor, index in cells.index.items() if factor not in alone}
    codes = {name: np.unique(column, return_inverse=True)[1] for name, column in columns.items()}
    levels = {name: int(column.max()) + 1 for name, column in codes.items()}
    groups = list[list[str]]()
    for name in (name for name, count in levels.items() if count > 1):
        for group in groups:
            both = codes[group[0]] * levels[name] + codes[name]
            if levels[group[0]] == levels[name] == len(np.unique(both)):
                group.append(name)
                break
        else:
            groups.append([name])
    for group in groups:
        if len(group) > 1:
            names = f"{', '.join(group[:-1])} and {group[-1]}"
            yield (
                f"{names} always change together, so that what one of them does cannot be told from the other: cross "
                "them in `grid`, add cells that change one alone by `include`, or speak of them as one"
            )


def without_value(suite: Suite, laid: Plan) -> Iterator[str]:
    """Metrics that have no value in any cell, whatever comes out: asked of data or solvers that are unfit for them."""
    for config in suite.metrics:
        reasons = dict[str, None]()
        for roles in _distinct(suite, laid):
            why = _refused(suite.tables.build(config), roles, suite)
            if not why:
                break
            reasons[why] = None
        else:
            if reasons:
                yield f"{config.name}: will have no value in any cell: {'; '.join(reasons)}; take it out of `metrics`"


def _distinct(suite: Suite, laid: Plan) -> Iterator[Mapping[str, Config]]:
    """What a metric's inputs hang on, once for each combination that a cell has that can be run."""
    factors = ("dataset", "source", "coupling", "path", "target", "net", "solver", "sampling")
    runs = pd.DataFrame({factor: suite.cells.index[factor] for factor in factors}).drop(index=[*laid.refused])
    for row in runs.drop_duplicates().itertuples(index=False):
        yield {factor: suite.cells.configs[factor][i] for factor, i in zip(factors, row, strict=True)}


def _refused(metric: Metric, configs: Mapping[str, Config], suite: Suite) -> str:
    """Why a metric has no value for such a cell, as far as can be told without a net; empty where it may have one."""
    from bench.errors import JobError, Undefined
    from bench.exact import exact, law_of, refuse_noise, training_points

    cell = {factor: suite.tables.build(config) for factor, config in configs.items()}
    coupling = cell["coupling"] if cell["net"].trained else None
    try:
        if {"start", "trajectory"} & set(metric.inputs):
            refuse_noise(cell["solver"])
        if "oracle" in metric.inputs:
            exact(cell["dataset"], cell["source"], coupling, cell["path"], cell["target"])
        if "training" in metric.inputs and not cell["dataset"].images and cell["dataset"].points is None:
            training_points(cell["dataset"], 0)
        law = law_of(cell["dataset"])
        if metric.always or law.images or set(metric.inputs) - {"samples", "reference", "law"}:
            return ""
        return _tried(metric, law, cell["sampling"].n)
    except Undefined as error:
        return str(error)
    except JobError:  # such as data that are not there: nothing can be told yet
        return ""


def _tried(metric: Metric, law: Dataset, n: int) -> str:
    """Why a metric has no value for n points of a law; fewer are tried first. What else it raises says nothing yet."""
    import torch

    from bench.errors import Undefined
    from bench.interfaces import Given

    why = ""
    for count in dict.fromkeys((min(n, TRIED), n)):
        try:
            one, other = (law.draw(count, 0, torch.Generator().manual_seed(seed)).double().numpy() for seed in (0, 1))
            held: dict[str, Any] = {"samples": one, "reference": other, "law": law}
            metric.measure(Given(**{name: held[name] for name in metric.inputs}))
            return ""
        except Undefined as error:
            why = str(error)
        except Exception:
            return ""
    return why


def _made_by(suite: Suite, laid: Plan, claim: Claim) -> list[str]:
    """Columns of the plan whose jobs make the value that a claim speaks of."""
    if claim.metric in AUTOMATIC:
        return [AUTOMATIC[claim.metric].kind]
    value = claim.metric.removesuffix(EXCESS) if is_excess(claim.metric) else claim.metric
    names = [str(config.name) for config in suite.metrics if value in suite.tables.build(config).values]
    kinds = ("score", "floor") if is_excess(claim.metric) or claim.reaches else ("score",)
    return [f"{kind}/{name}" for kind in kinds for name in names if f"{kind}/{name}" in laid.cells]


def _work_by_seed(suite: Suite, laid: Plan, claim: Claim) -> dict[int, frozenset[JobId | None]]:
    """Of each seed the jobs that make a claim's numbers; None among them where a cell cannot be run."""
    columns = [laid.cells[name] for name in _made_by(suite, laid, claim)]
    found: dict[int, set[JobId | None]] = {}
    for pair in claim.pairs:
        jobs = found.setdefault(int(suite.cells.seed[pair[0]]), set())
        jobs |= {column[cell] for column in columns for cell in pair}
    return {seed: frozenset(jobs) for seed, jobs in found.items()}


def _same_work(suite: Suite, laid: Plan, claim: Claim) -> bool:
    """Whether both cells of each pair have the very same jobs."""
    columns = [laid.cells[name] for name in _made_by(suite, laid, claim)]
    if claim.reaches or not claim.pairs or not columns:
        return False
    return all(
        column[one] is not None and column[one] == column[other]
        for (one, other), column in itertools.product(claim.pairs, columns)
    )
