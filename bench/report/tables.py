"""Tables over a run's results: the headline, pivots and published numbers, and all of them as CSV and Markdown.

CSV files hold plain numbers, one thing per column; Markdown holds text with intervals and no more digits
than those support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.csv_text import csv_text
from bench.report.claims import claims_text
from bench.report.failures import failure_groups, failures
from bench.report.results import Results, Score
from bench.stats import cluster_words, may_cluster, prediction_interval, round_like, round_to_interval, round_with_ends
from bench.titles import titles
from bench.verdicts import claims_table, effects_table, fronts_table, seeds_table

ARROWS = {"lower": " ↓", "higher": " ↑"}
COMPACT_ROWS, COMPACT_COLUMNS, MOST_AXES = 40, 10, 6
NEAR = 0.1
"""How much worse than at its most evaluations a solver may score where a headline shows it with fewer."""


def table_files(results: Results) -> dict[str, str]:
    """Texts of headline, failures, claims and a pivot per score, as .csv and .md each, by their file below tables/."""
    files = dict[str, str]()
    made = {
        "headline": (headline(results), headline_text(results)),
        "failures": (failures(results), failure_groups(results)),
        "claims": (claims_table(results), claims_text(results)),
        "published": (published(results), published_text(results)),
        **{score.slug: pivot(results, score) for score in results.scores},
    }
    for name, (numbers, text) in made.items():
        if numbers.empty:
            continue
        words = [*results.axes, *_words(text)]
        files |= {f"tables/{name}.csv": csv_text(numbers, "%.10g"), f"tables/{name}.md": markdown(text, words)}
    found, _ = effects_table(results)
    if len(found):
        files |= {"tables/effects.csv": csv_text(found, "%.10g")}
    if len(front := fronts_table(results)):
        files |= {"tables/fronts.csv": csv_text(front, "%.10g")}
    if results.suite["claims"]:
        files["tables/claim_seeds.csv"] = csv_text(seeds_table(results), "%.10g")
    return files


def headline(results: Results) -> pd.DataFrame:
    """A row per combination of axes: each score's mean over seeds, its interval and n, floor and excess,
    NFE and times (s), and how many of its cells have all their scores.
    """
    keys = [key for score in results.scores for key in (score.key, score.floor, score.excess) if key]
    keys += ["nfe", *results.times("sample_seconds").values(), *results.times("train_seconds").values()]
    table = pd.concat([results.combinations[list(results.axes)], *(_interval(key, results) for key in keys)], axis=1)
    ok = results.seeds_ok()
    return table.assign(seeds_ok=ok["sum"], seeds_of=ok["size"])


def headline_text(results: Results) -> pd.DataFrame:
    """The headline as text, one row per combination, varied axes only; index: combo."""
    if "headline" not in results.made:
        results.made["headline"] = _headline_text(results)
    found: pd.DataFrame = results.made["headline"]
    return found.copy()


def _headline_text(results: Results) -> pd.DataFrame:
    table = results.combinations[list(results.varied)].astype(str)
    for score in results.scores:
        main = results.over_seeds(score.key)
        table[score.key + ARROWS.get(score.direction, "")] = _texts(score.key, results)
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
            table[f"{score.key} excess"] = _texts(score.excess, results)
    if results.wide["nfe"].notna().any():
        table["NFE"] = _texts("nfe", results, counted=False)
    for name, words in (("sample_seconds", "sampling [s]"), ("train_seconds", "training [s]")):
        columns = results.times(name)
        for device, key in columns.items():
            full = words if len(columns) == 1 else f"{words} {device}"
            table[full] = _marked(_texts(key, results, counted=False, timed=True), results, key)
    table["seeds ok"] = [f"{good}/{size}" for good, size in results.seeds_ok().itertuples(index=False)]
    return table


def compact(results: Results, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most 40 rows and 10 columns of a table over combinations, under the names that people read, and sentences that
    say what was left out.

    The rows: all, or of each solver that with the fewest evaluations whose first score is within a tenth of what it
    reaches with its most. What every row has alike is said and takes no column.
    """
    chosen, notes = table, list[str]()
    if len(table) > COMPACT_ROWS:
        chosen, how = table.loc[_frugal(results)], _frugal_words(results)
        if len(chosen) > COMPACT_ROWS:
            chosen, how = chosen.head(COMPACT_ROWS), f"{how}, the first {COMPACT_ROWS} in the suite's order"
        notes.append(f"{len(chosen)} of {len(table)} combinations{how}.")
    alike = [c for c in ("NFE", "seeds ok") if c in chosen and len(chosen) > 1 and chosen[c].nunique() == 1]
    if words := [f"{column} {chosen[column].iloc[0]}" for column in alike]:
        notes.append(f"The same in all rows: {', '.join(words)}.")
    chosen, called = chosen.drop(columns=alike), column_titles(results)
    kept = _ten(results, chosen)
    if left := [called.get(str(column), str(column)) for column in chosen if column not in (*kept, *results.varied)]:
        notes.append(f"Left out, for {COMPACT_COLUMNS} columns at most: {', '.join(left)}.")
    if without := _floorless(results):
        notes.append(without)
    return kept.rename(columns=called), " ".join(notes)


def _floorless(results: Results) -> str:
    """Why some scores have no floor and no excess, where others have."""
    called, bare = titles(results.scores), [score for score in results.scores if not score.floor]
    if len(bare) in (0, len(results.scores)):
        return ""
    neither = [called[score.key] for score in bare if score.direction not in ARROWS]
    others = [called[score.key] for score in bare if score.direction in ARROWS]
    why = [f"{', '.join(neither)} (neither way is better)"] if neither else []
    why += [f"{', '.join(others)} (no perfect sampler's is worked out)"] if others else []
    return f"Without floor and excess: {'; '.join(why)}."


def column_titles(results: Results) -> dict[str, str]:
    """What the columns of `headline_text` are called where people read them."""
    named, called = dict[str, str](), titles(results.scores)
    for score in results.scores:
        name, arrow = called[score.key], ARROWS.get(score.direction, "")
        named |= {score.key + arrow: name + arrow, f"{score.key} floor": f"{name} floor"}
        named |= {f"{score.key} excess": f"{name} excess"}
    return named


def _frugal(results: Results) -> list[int]:
    """Of each solver in each setting the combination with the fewest evaluations that is `NEAR` its most expensive."""
    most = results.at_largest_nfe(results.settings)
    if not results.scores or not results.settings:
        return sorted(most)
    about, nfe = results.combinations, results.over_seeds("nfe")["mean"]
    score = results.over_seeds(results.scores[0].key)["mean"]
    worse = score if results.scores[0].lower_is_better else -score
    rows = []
    for last in most:
        own = (about[list(results.settings)] == about.loc[last, list(results.settings)]).all(axis=1)
        near = own & (worse <= worse[last] + NEAR * abs(worse[last])) & nfe.notna()
        rows.append(int(nfe[near].idxmin()) if near.any() else last)
    return sorted(rows)


def _frugal_words(results: Results) -> str:
    if not results.scores:
        return ", each solver at its largest NFE"
    first, near = titles(results.scores)[results.scores[0].key], f"{100 * NEAR:.0f} %"
    return (
        f": each solver at the fewest evaluations (NFE) whose {first} is within {near} of what it reaches with its most"
    )


def _ten(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """The columns that matter most, at most ten: what varies, each score, the first one's excess and floor, costs."""
    axes = [str(column) for column in table if str(column) in results.varied]
    if len(axes) > MOST_AXES:
        rest = axes[MOST_AXES - 1 :]
        joined = [", ".join(f"{a}={v}" for a, v in zip(rest, row, strict=True)) for row in table[rest].to_numpy()]
        table = table.drop(columns=rest)
        table.insert(MOST_AXES - 1, "other factors", joined)
        axes = [*axes[: MOST_AXES - 1], "other factors"]
    better = [score.key + ARROWS[score.direction] for score in results.scores if score.direction in ARROWS]
    scores = [*better, *(score.key for score in results.scores if score.direction not in ARROWS)]
    floored = [score.key for score in results.scores if score.floor]
    first = [f"{floored[0]} {end}" for end in ("excess", "floor")] if floored else []
    failed = ["seeds ok"] if results.ends.ne("ok").any() else []
    times = [column for column in map(str, table.columns) if "[s]" in column]
    wanted = [*axes, *scores[:1], *failed, *first, "NFE", *better[1:], *times, *table.columns]
    kept = [column for column in dict.fromkeys(wanted) if column in table.columns][:COMPACT_COLUMNS]
    return table[[column for column in map(str, table.columns) if column in kept]]


def pivot(results: Results, score: Score) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means over seeds of one score, as numbers and as text: one axis across, the others down.

    The solver's axis goes across where it fits, else the last axis that does.
    """
    fits = [axis for axis in results.varied if len(results.labels(axis)) <= 12]
    across = next((axis for axis in fits if axis in results.solver_axes), fits[-1] if fits else None)
    frame = results.combinations[list(results.varied)].astype(str)
    frame[score.key], frame["text"] = results.over_seeds(score.key)["mean"], _texts(score.key, results)
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
    return _inert(" ".join(text.split()))


def linked(text: str) -> str:
    """Text inside the brackets of a link or a picture, which no bracket of its own closes."""
    return escape(text).replace("]", "\\]")


def prose(text: str) -> str:
    """Sentences of ours, in which `code` stays code and nothing else, such as a device's name, is taken for markup."""
    *parts, last = " ".join(text.split()).split("`")
    if len(parts) % 2:
        parts, last = parts[:-1], f"{parts[-1]}`{last}"
    return "`".join([*(part if i % 2 else _inert(part) for i, part in enumerate(parts)), _inert(last)])


def _inert(text: str) -> str:
    for sign in "\\`*|~$[":
        text = text.replace(sign, "\\" + sign)
    return text.replace("&", "&amp;").replace("<", "&lt;")


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


def _texts(key: str, results: Results, counted: bool = True, timed: bool = False) -> list[str]:
    """Means over seeds as text; with n where seeds are missing, and how the value ended where all are.

    Seeds of a score that fall into two clusters are not summed up. Times whose seeds share one measurement have two
    digits, as a single one has.
    """
    stats, lost = results.over_seeds(key), results.lost(key)
    apart = _apart(results.wide[key], results.cells["combo"]) if counted else {}
    texts = []
    for combo, row in zip(stats.index, stats.to_dict("records"), strict=True):
        if not row["n"]:
            text = lost.get(combo, "–")
        elif apart.get(combo):
            text = apart[combo]
        elif results.holds_excess(key):
            text = round_with_ends(row["mean"], row["low"], row["high"])
        else:
            text = round_to_interval(row["mean"], math.nan if timed and not row["half"] > 0 else row["half"])
        short = counted and 0 < row["n"] < row["of"]
        texts.append(f"{text} ({row['n']:.0f}/{row['of']:.0f})" if short else text)
    return texts


def _apart(values: pd.Series[float], combos: pd.Series[int]) -> dict[int, str]:
    """The clusters of each combination whose seeds fall into two, in words; those of one size are looked at at once."""
    known = values.dropna()
    own = combos[known.index].to_numpy()
    order = np.argsort(own, kind="stable")
    found, first, counts = np.unique(own[order], return_index=True, return_counts=True)
    numbers, apart = known.to_numpy()[order], dict[int, str]()
    for n in np.unique(counts):
        begins = first[counts == n]
        rows = numbers[begins[:, None] + np.arange(n)]
        may = may_cluster(rows)
        for combo, row in zip(found[counts == n][may], rows[may], strict=True):
            apart[int(combo)] = cluster_words(row)
    return apart


def _marked(texts: Sequence[str], results: Results, key: str) -> list[str]:
    """Times, with `busy` behind those of which any was taken while the machine had other work."""
    rows = results.records[(results.records["metric"] == key) & results.records["value"].notna()]
    disturbed = rows.loc[rows["note"].str.contains("busy"), "cell"]
    combos = set(results.cells.loc[disturbed, "combo"])
    return [
        f"{text} (busy)" if combo in combos else text
        for combo, text in zip(results.combinations.index, texts, strict=True)
    ]


def _plain_cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
