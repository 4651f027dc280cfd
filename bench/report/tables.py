"""Tables over a run's results: the headline, pivots, claims and failures, as CSV and as Markdown.

CSV files hold plain numbers, one thing per column; Markdown holds text with intervals and no more digits
than those support.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.report.results import Results, Score
from bench.stats import Difference, claim_difference, prediction_interval, round_like, round_to_interval

ARROWS = {"lower": " ↓", "higher": " ↑"}
COMPACT_ROWS = 40
RUN_FILES = ("cells.csv", "records.csv")
"""What the run itself writes into tables/; everything else there is made here."""


def write_tables(results: Results) -> None:
    """Write headline, failures, claims and a pivot per score into tables/, as .csv and .md each."""
    folder = results.folder / "tables"
    for old in sorted([*folder.glob("*.csv"), *folder.glob("*.md")]):
        if old.name not in RUN_FILES:
            old.unlink()
    made = {
        "headline": (headline(results), headline_text(results)),
        "failures": (failures(results), failure_groups(results)),
        "claims": (claims(results), claims_text(results)),
        "published": (published(results), published_text(results)),
        **{score.slug: pivot(results, score) for score in results.scores},
    }
    for name, (numbers, text) in made.items():
        if numbers.empty:
            continue
        words = [*results.axes, *_words(text)]
        csv = numbers.to_csv(index=False, float_format="%.10g", lineterminator="\n")
        (folder / f"{name}.csv").write_text(csv, encoding="utf-8", newline="\n")
        (folder / f"{name}.md").write_text(markdown(text, words), encoding="utf-8", newline="\n")


def headline(results: Results) -> pd.DataFrame:
    """A row per combination of axes: each score's mean over seeds, its interval and n, floor and excess,
    NFE and times (s), and how many of its cells are ok.
    """
    keys = [key for score in results.scores for key in (score.key, score.floor, score.excess) if key]
    keys += ["nfe", *results.times("sample_seconds").values(), *results.times("train_seconds").values()]
    table = pd.concat([results.combinations[list(results.axes)], *(_interval(key, results) for key in keys)], axis=1)
    ok = results.cells["status"].eq("ok").groupby(results.cells["combo"])
    return table.assign(seeds_ok=ok.sum().astype(int), seeds_of=ok.size().astype(int))


def headline_text(results: Results) -> pd.DataFrame:
    """The headline as text, one row per combination, varied axes only; index: combo."""
    table = results.combinations[list(results.varied)].astype(str)
    for score in results.scores:
        main = results.over_seeds(score.key)
        table[score.key + ARROWS.get(score.direction, "")] = _texts(main, results)
        if score.floor:
            floor = results.over_seeds(score.floor)["mean"]
            drawn = results.over_seeds(score.floor_sd)["mean"] if score.floor_sd else main["half"]
            beside = [round_like(value, half) for value, half in zip(floor, drawn, strict=True)]
            near = results.approximate(score)
            table[f"{score.key} floor"] = [
                f"≈ {text}" if combo in near and text != "–" else text
                for combo, text in zip(floor.index, beside, strict=True)
            ]
        if score.excess:
            table[f"{score.key} excess"] = _texts(results.over_seeds(score.excess), results)
    if results.wide["nfe"].notna().any():
        table["NFE"] = _texts(results.over_seeds("nfe"), results, counted=False)
    for name, title in (("sample_seconds", "sampling [s]"), ("train_seconds", "training [s]")):
        columns = results.times(name)
        for device, key in columns.items():
            full = title if len(columns) == 1 else f"{title} {device}"
            table[full] = _texts(results.over_seeds(key), results, counted=False, timed=True)
    ok = results.cells["status"].eq("ok").groupby(results.cells["combo"])
    table["seeds ok"] = [f"{good}/{size}" for good, size in zip(ok.sum(), ok.size(), strict=True)]
    return table


def compact(results: Results, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most 40 rows of a table over combinations, and a sentence that says which they are.

    The rule looks at costs and order alone, never at scores: each solver at its largest NFE, then the first.
    """
    if len(table) <= COMPACT_ROWS:
        return table, ""
    about = results.combinations
    solver = "solver.name" if "solver.name" in about else "solver" if "solver" in about else None
    keys = [*results.other_axes, *([solver] if solver else [])]
    nfe = results.over_seeds("nfe")["mean"].fillna(-1.0)
    chosen, how = table, ""
    if keys:
        largest = nfe.groupby([about[key] for key in keys]).idxmax()
        chosen, how = table.loc[sorted(largest)], ", each solver at its largest NFE"
    if len(chosen) > COMPACT_ROWS:
        chosen, how = chosen.head(COMPACT_ROWS), f"{how}, the first {COMPACT_ROWS} in the suite's order"
    return chosen, f"{len(chosen)} of {len(table)} combinations{how}."


def pivot(results: Results, score: Score) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means over seeds of one score, as numbers and as text: one axis across, the others down.

    The solver's axis goes across where it fits, else the last axis that does.
    """
    fits = [axis for axis in results.varied if len(results.labels(axis)) <= 12]
    across = next((axis for axis in fits if axis in results.solver_axes), fits[-1] if fits else None)
    stats = results.over_seeds(score.key)
    frame = results.combinations[list(results.varied)].astype(str)
    frame[score.key], frame["text"] = stats["mean"], _texts(stats, results)
    down = [axis for axis in results.varied if axis != across]
    if across is None:
        return frame[[*down, score.key]], frame[[*down, "text"]].rename(columns={"text": score.key})
    order = results.labels(across)
    tables = []
    for column, empty in ((score.key, math.nan), ("text", "")):
        rows = frame[[*down, across, column]].set_index([*down, across])[column]
        wide = rows.unstack(across, sort=False) if down else rows.to_frame().T
        wide = wide.reindex(columns=order)
        wide.columns = [f"{across}={label}" for label in order]
        wide = wide.where(wide.notna(), empty)
        tables.append(wide.reset_index() if down else wide.reset_index(drop=True))
    return tables[0], tables[1]


def failures(results: Results) -> pd.DataFrame:
    """A row per cell that is not ok, and per score that an ok cell lacks; `what` is `cell` or the metric."""
    columns = ["cell", "seed", *results.axes, "status", "what", "reason"]
    cells = results.cells.assign(what="cell")
    bad = cells[cells["status"] != "ok"]
    fine = cells.loc[cells["status"] == "ok", ["cell", *results.axes]]
    lost = results.records[~results.records["status"].isin(["ok", ""])]
    lost = lost[["cell", "seed", "status", "reason", "base"]].rename(columns={"base": "what"})
    lost = lost.merge(fine.reset_index(drop=True), on="cell").drop_duplicates(["cell", "what"])
    parts = [part.reindex(columns=columns) for part in (bad, lost) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def published(results: Results) -> pd.DataFrame:
    """A row per published number: theirs and ours over seeds, and whether ours lies where theirs predict it.

    Runs that gave no number may be the bad ones, so what is left of `of` seeds is shown and not graded.
    """
    columns = ["where", "metric", "source", "published_mean", "published_sd", "published_n"]
    columns += ["mean", "sd", "n", "of", "low", "high", "grade"]
    rows = []
    for number in results.suite.get("published") or []:
        key = next((score.key for score in results.scores if score.value == number["metric"]), number["metric"])
        found = results.wide[key] if key in results.wide else results.wide["nfe"] * math.nan
        values = found.reindex(number["cells"]).dropna().to_numpy(dtype=float)
        mean = values.mean() if len(values) else math.nan
        sd = values.std(ddof=1) if len(values) > 1 else math.nan
        low = high = math.nan
        grade = "incomplete" if len(values) else "no result"
        if len(values) == len(number["cells"]):
            low, high = prediction_interval(number["mean"], number["sd"], number["n"], len(values))
            grade = "inside" if low <= mean <= high else "outside"
        theirs = [number[name] for name in ("where", "metric", "source", "mean", "sd", "n")]
        rows.append([*theirs, mean, sd, len(values), len(number["cells"]), low, high, grade])
    return pd.DataFrame(rows, columns=columns)


def published_text(results: Results) -> pd.DataFrame:
    """The published numbers beside ours as a table to read."""
    table = published(results)
    theirs = [
        f"{m:.3g} ± {s:.2g} ({n})"
        for m, s, n in table[["published_mean", "published_sd", "published_n"]].itertuples(index=False)
    ]
    ours = [
        "–" if not n else (f"{m:.3g} ± {s:.2g}" if n > 1 else f"{m:.3g}") + f" ({n if n == of else f'{n} of {of}'})"
        for m, s, n, of in table[["mean", "sd", "n", "of"]].itertuples(index=False)
    ]
    expected = [
        "–" if math.isnan(a) else f"{a:.3g} to {b:.3g}" for a, b in table[["low", "high"]].itertuples(index=False)
    ]
    return pd.DataFrame(
        {
            "where": table["where"],
            "metric": table["metric"],
            "published mean ± sd (n)": theirs,
            "here mean ± sd (n)": ours,
            "expected here": expected,
            "grade": table["grade"],
            "source": table["source"],
        }
    )


def failure_groups(results: Results) -> pd.DataFrame:
    """Failures that share status and reason in one row: how many, and the first of their cells in words."""
    rows = failures(results)
    table = []
    for (status, what, reason), group in rows.groupby(["status", "what", "reason"], sort=False):
        names = list(dict.fromkeys(_cell_name(row, results.varied) for row in group.to_dict("records")))
        shown = "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
        table.append([status, what, str(len(group)), shown, reason or "not said"])
    return pd.DataFrame(table, columns=["status", "of", "count", "where", "reason"])


def claims(results: Results) -> pd.DataFrame:
    """A row per claim: difference (positive: the claim's side does better), interval, seeds and words."""
    about = ["seed", *results.axes, *(["solver.steps"] if "solver.steps" in results.cells else [])]
    columns = ["base", "value", "n", "unit", "better", "device"]
    cells = results.cells[["cell", *dict.fromkeys(about)]].reset_index(drop=True)
    records = cells.merge(results.records[["cell", *columns]].rename(columns={"base": "metric"}), how="left")
    given = ["claim", "metric", "better", "than", "by", "margin", "at"]
    rows = []
    for claim in results.suite["claims"]:
        found = claim_difference(records, claim, results.axes)
        inside = found.interval
        rows.append(
            {
                **{key: claim.get(key) for key in ("claim", "metric", "better", "than", "by", "margin", "at")},
                "unit": found.unit,
                "difference": inside.mean,
                "low": inside.low,
                "high": inside.high,
                "n": inside.n,
                "of": found.of,
                "pairs": found.pairs,
                "words": claim_words(claim, found),
            }
        )
    found_here = ["unit", "difference", "low", "high", "n", "of", "pairs", "words"]
    return pd.DataFrame(rows, columns=[*given, *found_here])


def claims_text(results: Results) -> pd.DataFrame:
    """The claims as a table to read."""
    table = claims(results)
    means = table["difference"].astype(float)
    halves = (table["high"] - table["low"]).astype(float) / 2
    shown = [round_to_interval(mean, half) for mean, half in zip(means, halves, strict=True)]
    seeds = [f"{n} of {of}" for n, of in zip(table["n"], table["of"], strict=True)]
    kept = table[["claim", "metric", "better", "than"]].assign(difference=shown, seeds=seeds)
    return kept.assign(**{"in words": table["words"]})


def claim_words(claim: Mapping[str, Any], found: Difference) -> str:
    """A claim's contrast in one sentence, without a verdict."""
    inside, seeds = found.interval, f"{found.interval.n} of {found.of} seeds"
    if not inside.n:
        return f"No difference can be given: {found.note or 'no seed has all its scores'}."
    amount = round_to_interval(abs(inside.mean), inside.half_width)
    fair, ahead = ("higher", "lower") if found.direction != "higher" else ("lower", "higher")
    word = ahead if inside.mean >= 0 else fair
    at = f", at the largest {claim['at'].replace('nfe', 'NFE').replace('<=', '≤')}" if claim.get("at") else ""
    unit = f" {found.unit}" if found.unit else ""
    share = (1 if found.direction == "higher" else -1) * (claim.get("by") or 0.0)
    times = f"{1 + share:g} times " if share else ""
    text = (
        f"The {claim['metric']} of ({claim['better']}) is {word} than {times}that of ({claim['than']}) "
        f"by {amount}{unit}{at}"
    )
    if inside.n < 2:
        return f"{text}; {seeds}, so there is no interval."
    if inside.low > 0:
        side = "the whole interval lies on the claim's side"
    elif inside.high < 0:
        side = "the whole interval lies against the claim"
    else:
        side = "the interval holds 0, so this does not tell the two apart"
    if claim.get("margin"):
        within = -claim["margin"] < inside.low and inside.high < claim["margin"]
        side += f"; it {'lies within' if within else 'reaches beyond'} the margin of ±{claim['margin']:g}{unit}"
    note = f" ({found.note})" if found.note else ""
    return f"{text} (paired 95 % t interval, {seeds}); {side}{note}."


def markdown(table: pd.DataFrame, text_columns: Sequence[str] = ()) -> str:
    """A GitHub table of text; what a label holds is shown, never interpreted.

    Columns are set to the right except `text_columns`.
    """
    if table.empty:
        return "None.\n"
    head = [escape(str(column)) for column in table.columns]
    rows = [[escape(_plain_cell(value)) for value in row] for row in table.itertuples(index=False)]
    align = ["left" if column in text_columns else "right" for column in table.columns]
    return tabulate(rows, headers=head, tablefmt="pipe", disable_numparse=True, colalign=align) + "\n"


def escape(text: str) -> str:
    """Text for a Markdown cell or sentence: one line, and nothing in it taken for markup."""
    line = " ".join(text.split())
    for sign in "\\`*|~$[":
        line = line.replace(sign, "\\" + sign)
    return line.replace("&", "&amp;").replace("<", "&lt;")


def plain_table(table: pd.DataFrame, width: int) -> str:
    """A table for a terminal of `width` columns; columns that do not fit are left out and named.

    Times go first, then all that concerns scores but the first, then its excess and floor and the counts. The
    labels and the first score stay even where they are wider than the terminal: without them nothing is said.
    """
    shown, dropped = table, list[str]()
    while True:
        text = tabulate(
            [[_plain_cell(value) for value in row] for row in shown.itertuples(index=False)],
            headers=[str(column) for column in shown.columns],
            tablefmt="simple",
            disable_numparse=True,
        )
        widest = max((len(line) for line in text.splitlines()), default=0)
        spare = _least_needed([str(column) for column in shown.columns])
        if widest <= width or spare is None:
            return text + (f"\n(no room for: {', '.join(dropped)})" if dropped else "") + "\n"
        dropped.append(spare)
        shown = shown.drop(columns=spare)


def _least_needed(columns: Sequence[str]) -> str | None:
    """The column of a headline that a narrow terminal can do without first, none where all are needed."""
    scores = [column for column in columns if column.endswith(tuple(ARROWS.values()))]
    others = {score[:-2] for score in scores[1:]}
    for group in (
        [column for column in columns if "[s]" in column],
        [c for c in columns if c.removesuffix(" floor") in others or c.removesuffix(" excess") in others],
        scores[1:],
        [column for column in columns if column.endswith(" excess")],
        [column for column in columns if column.endswith(" floor")],
        [column for column in columns if column in {"seeds ok", "NFE"}],
    ):
        if group:
            return group[-1]
    return None


def _words(table: pd.DataFrame) -> list[str]:
    """Columns that hold words rather than numbers: those whose cells mostly have letters in them."""
    return [column for column in table.columns if table[column].astype(str).str.contains("[A-Za-z]{2}").mean() > 0.5]


def _interval(key: str, results: Results) -> pd.DataFrame:
    stats = results.over_seeds(key)[["mean", "low", "high", "n"]]
    return stats.rename(columns={"mean": key, "low": f"{key}_low", "high": f"{key}_high", "n": f"{key}_n"})


def _texts(stats: pd.DataFrame, results: Results, counted: bool = True, timed: bool = False) -> list[str]:
    """Means as text; with n where seeds are missing, and the cells' own status where all are."""
    status = results.cells["status"].groupby(results.cells["combo"]).agg(lambda s: s[s != "ok"].head(1).sum())
    texts = []
    for combo, row in zip(stats.index, stats.to_dict("records"), strict=True):
        text = round_to_interval(row["mean"], row["half"])
        if timed and not row["half"] > 0:  # all seeds share one measurement: two digits, as for a single one
            text = round_to_interval(row["mean"], math.nan)
        if not row["n"] and counted:
            text = str(status[combo] or "–")
        elif row["n"] < row["of"] and counted:
            text += f" ({row['n']:.0f}/{row['of']:.0f})"
        texts.append(text)
    return texts


def _cell_name(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    """A cell in words: its labels, or its seed where nothing varies."""
    return ", ".join(f"{axis}={row[axis]}" for axis in axes) or f"seed {row['seed']}"


def _plain_cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
