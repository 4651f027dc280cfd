"""report.html: one file that opens from disk without a network, made of what report.md is made of.

The page is readable without scripts. With them its tables sort and search, and its figures are drawn from the numbers
that the page carries, so that choosing levels of factors filters tables and figures together. What a suite, a plugin or
a record says is text here: the template escapes it, the numbers are JSON without any `<`, and the browser is told to
run the page's own scripts, by their hashes, and to load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.report.results import Results, dataset_axis
from bench.report.tables import column_titles, headline_text
from bench.stats import mean_interval
from bench.titles import titles
from bench.verdicts import differences, effects_table, seeds_table

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "report.html.jinja"
ASSETS = Path(__file__).parent / "assets"
SCRIPTS, STYLES = ("vega.js", "datatables.js", "page.js"), ("datatables.css", "page.css")

MOST_POINTS = 4000
"""Cells whose single seeds the figures draw; of more, an even selection."""

MOST_ROWS = 3000
"""Rows of the table of all combinations; more stand in headline.csv alone."""

FIXED = ("error_budget", "samples", "way", "images", "classes", "image_way", "losses")
"""Figures that the page holds as pictures, by how their names begin; the others it draws from its numbers."""

TYPES = {"svg": "image/svg+xml", "webp": "image/webp", "png": "image/png"}
LEADING = re.compile(r"[≈ ]*([-−+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)")


def render(results: Results, about: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The page. about: what report.md shows too, tables as (table, words); drawn: the figures' files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=True,
    )  # fmt: skip
    templates.filters |= {"prose": _prose, "order": order}
    numbers, thinned = page_data(results, about["claims"])
    full = headline_text(results)
    shown = full.head(MOST_ROWS).rename(columns=column_titles(results))
    scripts, styles = [_asset(name) for name in SCRIPTS], [_asset(name) for name in STYLES]
    context = {
        **about,
        "every": shown,
        "every_left": len(full) - len(shown),
        "thinned": thinned,
        "fixed_figures": [
            (figure, _data_url(figure.file, drawn[figure.file]))
            for figure in about["figures"]
            if figure.file.removeprefix("figures/").startswith(FIXED)
        ],
        "data": numbers,
        "scripts": scripts,
        "styles": styles,
        "policy": " ".join(f"'sha256-{_hash(script)}'" for script in scripts),
    }
    return templates.get_template(TEMPLATE).render(context)


def page_data(results: Results, claims: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """The numbers that figures are drawn of, as plain JSON, and a sentence where points were left out.

    factors: name and labels; values: name and which way is better; combos: a row of label places for each combination;
    means: of each value a row (mean, low, high) for each combination; cells: (cell, combo, seed, a number per value).
    """
    axes = list(results.varied)
    values = _values(results)
    codes = {axis: {label: i for i, label in enumerate(results.labels(axis))} for axis in axes}
    combos = [[codes[axis][str(row[axis])] for axis in axes] for row in results.combinations.to_dict("records")]
    cells = results.cells
    keep = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), MOST_POINTS)).astype(int))
    numbers = results.wide[[key for key, _ in values]].to_numpy(dtype=float)
    rows = [
        [int(cells["cell"].iloc[i]), int(cells["combo"].iloc[i]), int(cells["seed"].iloc[i]), *map(_round, numbers[i])]
        for i in keep
    ]
    means = {}
    for place, (key, _) in enumerate(values):
        over = results.over_seeds(key)[["mean", "low", "high"]].to_numpy(dtype=float)
        means[place] = [[_round(x) for x in row] for row in over]
    facet = dataset_axis(axes)
    data = {
        "factors": [{"name": a, "labels": results.labels(a), "solver": a in results.solver_axes} for a in axes],
        "facet": axes.index(facet) if facet else None,
        "values": [about for _, about in values],
        "combos": combos,
        "lines": _lines(results),
        "means": means,
        "cells": rows,
        "claims": _claims(results),
        "verdicts": _verdicts(results, claims),
        "effects": _effects(results, axes),
    }
    left = f"Dots of {len(rows)} of {len(cells)} cells are drawn, evenly chosen; means are of all."
    return data, left if len(rows) < len(cells) else ""


def order(text: object) -> str:
    """What a cell of text is sorted by: the number that it begins with, or itself."""
    found = LEADING.match(str(text))
    return found[1].replace("−", "-").replace(",", "") if found else str(text)


def _values(results: Results) -> list[tuple[str, dict[str, Any]]]:
    """(column of `wide`, what a figure says of it): scores with their floors, then what they cost."""
    found: list[tuple[str, dict[str, Any]]] = []
    called = titles(results.scores)
    for score in results.scores:
        floor = results.over_seeds(score.floor)["mean"].tolist() if score.floor else []
        unit = f" [{score.unit}]" if score.unit else ""
        about = {"key": called[score.key], "name": called[score.key] + unit, "kind": "score", "better": score.direction}
        found.append((score.key, {**about, "floor": [_round(x) for x in floor]}))
        if score.excess:
            name = f"{called[score.key]} excess"
            found.append((score.excess, {**about, "key": name, "name": name + unit, "floor": []}))
    costs = [("nfe", "field evaluations (NFE)")]
    for name, words in (("sample_seconds", "sampling time [s]"), ("train_seconds", "training time [s]")):
        columns = results.times(name)
        costs += [(key, words if len(columns) == 1 else f"{words}, {device}") for device, key in columns.items()]
    for key, words in costs:
        if key in results.wide and results.wide[key].notna().any():
            found.append((key, {"key": key, "name": words, "kind": "cost", "better": "lower", "floor": []}))
    return found


def _lines(results: Results) -> list[int]:
    """Of each combination the curve that it lies on: those of one curve differ in what the solver spends alone."""
    keys = list(results.settings)
    about = results.combinations
    return [int(i) for i in about.groupby(keys, sort=False).ngroup()] if keys else [0] * len(about)


def _verdicts(results: Results, claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each claim: verdict, axis title, margin, and a row (data set or "", mean, low, high) of its figure."""
    found = []
    for claim, each in zip(claims, differences(results) if claims else [], strict=True):
        parts = {"": each.by_seed, **(each.by_dataset if len(each.by_dataset) > 1 else {})}
        rows = []
        for label, series in parts.items():
            inside = mean_interval(series.dropna().to_numpy(dtype=float))
            rows.append([label, *map(_round, (inside.mean, inside.low, inside.high))])
        unit, margin = (f" [{claim['unit']}]" if claim["unit"] else ""), claim["margin"]
        words = f"ahead by{unit}"
        there = margin is not None and math.isfinite(margin)
        found.append({"verdict": claim["verdict"], "title": words, "margin": margin if there else None, "rows": rows})
    return found


def _claims(results: Results) -> list[list[Any]]:
    """(place of the claim, data set or "", seed, difference) of each seed that has one."""
    if not results.suite["claims"]:
        return []
    places = {claim["claim"]: i for i, claim in enumerate(results.suite["claims"])}
    rows = seeds_table(results).dropna(subset="difference").to_dict("records")
    return [[places[row["claim"]], row["dataset"], int(row["seed"]), _round(row["difference"])] for row in rows]


def _effects(results: Results, axes: Sequence[str]) -> list[list[Any]]:
    """(score, factor's place, level, effect, low, high) of each level of each main effect."""
    table, _ = effects_table(results)
    names = titles(results.scores)
    table = table[table["factor"].isin(axes) & (table["other"].fillna("") == "")]
    return [
        [names[row["metric"]], axes.index(row["factor"]), str(row["level"]),
         *(_round(row[column]) for column in ("effect", "low", "high"))]
        for row in table.to_dict("records")
    ]  # fmt: skip


def _round(value: float) -> float | None:
    """Six digits are more than a figure shows; JSON knows neither nan nor infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _data_url(file: str, content: bytes) -> str:
    """A picture inside the page; as an image an SVG runs no scripts."""
    return f"data:{TYPES[file.rpartition('.')[2]]};base64,{base64.b64encode(content).decode()}"


@cache
def _asset(name: str) -> Markup:
    from markupsafe import Markup

    return Markup("\n" + (ASSETS / name).read_text(encoding="utf-8"))  # the package's own file


@cache
def _hash(script: Markup) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _prose(text: str) -> Markup:
    """Sentences of ours, in which `code` is code and all else is text."""
    from markupsafe import Markup, escape

    *parts, last = " ".join(text.split()).split("`")
    if len(parts) % 2:
        parts, last = parts[:-1], f"{parts[-1]}`{last}"
    shown = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join([*shown, escape(last)])
