"""The table of claims that a page begins with."""

from __future__ import annotations

import math

import pandas as pd

from bench.report.results import Results
from bench.verdicts import claims_table, differences, effect_words


def claims_text(results: Results, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Claim, verdict, effect with its interval, n, p or e, and source, as text; `table`: `claims_table`, if it is
    there.
    """
    table = claims_table(results) if table is None else table
    settled = bool(results.suite.get("settled"))
    rows = []
    for row, found in zip(table.to_dict("records"), differences(results), strict=True):
        evidence = row["e"] if settled else row["p_holm"]
        shown = "–" if math.isnan(evidence) else f"{evidence:.3g} ({row['looks']})" if settled else f"{evidence:.2g}"
        n = str(row["n"]) if row["n"] == row["of"] else f"{row['n']} of {row['of']}"
        rows.append([row["claim"], row["verdict"], effect_words(found, row["metric"]), n, shown, row["source"] or "–"])
    last = "e (looks)" if settled else "p adjusted"
    return pd.DataFrame(rows, columns=["claim", "verdict", "effect", "seeds", last, "source"])
