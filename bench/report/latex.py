"""Tables for a paper: booktabs, from the numbers and words of the page, by pandas' Styler.

The best score of a data set is bold only where it is decided: where the exact sign-flip test, adjusted (Holm) over all
other combinations on that data set, says that each of them is worse. Few seeds and many combinations decide nothing.
"""

from __future__ import annotations

import pandas as pd

from bench.decisions import decide
from bench.report.claims import claims_text
from bench.report.results import Results, Score, dataset_axis
from bench.report.tables import ARROWS, column_titles, compact, headline_text

SIGNS = {
    "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "≈": r"$\approx$", "−": "$-$", "–": "--", "×": r"$\times$",
    "²": r"\textsuperscript{2}", "√": r"$\surd$", "…": r"\dots{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip

SAME_FLOOR = 1e-6
"""Relative difference up to which two floors are one."""


def latex_files(results: Results) -> dict[str, str]:
    """tables/headline.tex, with the rows and columns of the page, and tables/claims.tex, where there are claims."""
    shown, _ = compact(results, headline_text(results))
    files = {"tables/headline.tex": latex(shown, _bold(results, shown))}
    if results.suite["claims"]:
        files["tables/claims.tex"] = latex(claims_text(results))
    return files


def latex(table: pd.DataFrame, bold: pd.DataFrame | None = None) -> str:
    """A booktabs tabular of text cells; what a label holds is text. bold: which cells are set in bold."""
    plain = table.reset_index(drop=True).astype(str).map(lambda text: " ".join(text.split()))
    style = plain.style.hide(axis="index").format(_opening, escape="latex")
    style = style.format_index(_opening, escape="latex", axis=1)
    if bold is not None and bold.to_numpy().any():
        marks = bold.reset_index(drop=True).map(lambda best: "textbf:--rwrap;" if best else "")
        style = style.apply(lambda _: marks, axis=None)
    text = style.to_latex(hrules=True, column_format="l" * len(table.columns))
    return text.translate({ord(sign): words for sign, words in SIGNS.items()})


def decided_best(results: Results, score: Score) -> set[int]:
    """Of each data set the combination with the best mean, where every other one there is decidedly worse.

    None where seeds were added until something was decided, and none among combinations whose floors differ: evenly
    spread samples and random ones were not measured alike.
    """
    facet = dataset_axis(results.varied)
    about, sign = results.combinations, 1 if score.lower_is_better else -1
    if score.direction not in ARROWS or results.suite.get("settled"):
        return set()
    seeds = results.wide[[score.key]].assign(combo=results.cells["combo"], seed=results.cells["seed"])
    by_seed = sign * seeds.pivot_table(index="seed", columns="combo", values=score.key)
    whole = results.seeds_ok()
    found = set[int]()
    for _, part in about.groupby(facet) if facet else [("", about)]:
        here = by_seed[[combo for combo in part.index if combo in by_seed]]
        if here.shape[1] < 2 or not (whole.loc[part.index, "sum"] == whole.loc[part.index, "size"]).all():
            continue  # a combination that failed in its bad seeds looks good in the rest
        if score.floor and not _one_floor(results, score.floor, list(part.index)):
            continue
        best = int(str(here.mean().idxmin()))
        others = [(here[other] - here[best]).dropna().to_numpy(dtype=float) for other in here if other != best]
        if all(each.verdict == "supported" for each in decide(others, [None] * len(others))):
            found.add(best)
    return found


def _one_floor(results: Results, floor: str, combos: list[int]) -> bool:
    """Whether combinations have the same floor in each seed."""
    cells = results.cells[results.cells["combo"].isin(combos)]
    spread = results.wide.loc[cells.index, floor].groupby(cells["seed"]).agg(["min", "max"])
    return bool(((spread["max"] - spread["min"]) <= SAME_FLOOR * spread["max"].abs()).all())


def _opening(escaped: object) -> str:
    """A bracket that opens a row would be taken for an option of the end of the row above it."""
    text = str(escaped)
    return f"{{[}}{text[1:]}" if text.startswith("[") else text


def _bold(results: Results, shown: pd.DataFrame) -> pd.DataFrame:
    marks = pd.DataFrame(False, index=shown.index, columns=shown.columns)
    for score in results.scores:
        column = column_titles(results)[score.key + ARROWS.get(score.direction, "")]
        if column in marks:
            marks.loc[marks.index.isin(decided_best(results, score)), column] = True
    return marks
