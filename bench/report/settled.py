"""What the project stands for: runs that may be published, and the index of what they settle.

A published run lies in `results/published/<suite>[-<profile>]/`, as its run wrote it but for the heavy page. Beside
them `README.md` lists every claim with its verdict by topic, and `settled.md` the surest few of those that are decided.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from bench.errors import StoreError
from bench.files import TABLE_LIMIT, make_folder, write_beside
from bench.report import seal
from bench.report.results import Results, load_results
from bench.report.tables import escape, linked
from bench.report.traced import trace
from bench.verdicts import claims_table, differences, effect_words
from bench.words import TOPICS

FOLDER = "published"
HEAVY = ("report.html",)
"""What is left out: two megabytes a suite, which `bench report --results results/published` writes again."""

INDEX, BEST = "README.md", "settled.md"
DECIDED = ("supported", "refuted", "equivalent")
MOST = 12
"""Lines of settled.md."""

SHOWN = ["claim", "verdict", "effect", "seeds", "suite", "device", "source"]


def unfit(results: Results) -> list[str]:
    """Why a run may not be published; none where it may."""
    cells, records = results.cells, results.records
    reasons = list[str]()
    if not seal.is_sealed(results.suite):
        reasons.append("written by an older version, without checksums; run it again")
    if results.folder.name.endswith("-only"):
        reasons.append("a part of its suite, by --only; run the whole")
    bad = cells.loc[~cells["status"].isin(["ok", "skipped"]), "status"].value_counts()
    if len(bad):
        reasons.append(f"incomplete: of {len(cells)} cells {', '.join(f'{n} {status}' for status, n in bad.items())}")
    well = records["cell"].isin(cells.loc[cells["status"] == "ok", "cell"])
    if lost := int((well & records["missing"] & (records["status"] != "skipped")).sum()):
        reasons.append(f"incomplete: {lost} values of cells that are ok are missing")
    if stale := int(records["note"].str.contains("stale").sum()):
        reasons.append(f"stale: {stale} values are results of older code, kept as asked; run it without --stale keep")
    provenance = results.suite["provenance"]
    dirty = records["dirty"].eq("True") if "dirty" in records else pd.Series(False, index=records.index)
    if provenance.get("dirty") or dirty.any():
        reasons.append(f"made with uncommitted changes ({int(dirty.sum())} values); commit them, and run it again")
    if not provenance.get("commit") or (records["commit"].isin(["", "None"]) & records["value"].notna()).any():
        reasons.append("made outside version control, so that nobody can tell by what code")
    return reasons


def publish(folder: Path, root: Path, store_root: Path | None = None) -> Path:
    """Copy a run's files, all but HEAVY, into root (results/published), and renew the index there; the new folder.

    StoreError where the run may not be published, is not as it was written, or says another number than the store.
    """
    results = load_results(folder)
    if store_root is not None:
        trace(results, store_root)
    if reasons := unfit(results):
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        raise StoreError(f"{folder}: not published:{listed}")
    seal.verify(folder)
    names = seal.held(folder)
    contents = {name: seal.read(folder, name, TABLE_LIMIT) for name in names if name not in (seal.SUITE, *HEAVY)}
    target = root / folder.name
    make_folder(root.parent, root.name)
    seal.write_run(target, {name: contents.pop(name) for name in seal.TABLES}, seal.said(results.suite))
    seal.lay_out(target, seal.read_suite(target), contents)
    write_index(root)
    return target


def write_index(root: Path) -> None:
    """README.md and settled.md of the published runs in a folder."""
    found = settled(root)
    for name, text in ((INDEX, _index(found)), (BEST, _table(best(found)))):
        write_beside(root, name, text.encode("utf-8", "backslashreplace"))


def settled(root: Path) -> pd.DataFrame:
    """Every claim of the published runs below root, a row each: the columns of `bench.verdicts.claims_table`, suite
    (folder), device, `shown` (the effect in words) and `surest` (effect over half of its interval).
    """
    tables = []
    for folder in sorted(path.parent for path in root.glob(f"*/{seal.SUITE}")):
        results = load_results(folder)
        stated = claims_table(results)
        devices = dict.fromkeys(device for device in results.records["device"] if device and device != "None")
        gpu = str(results.suite["provenance"].get("gpu") or "")
        told = differences(results), results.suite["claims"]
        half = (stated["high"] - stated["low"]).astype(float) / 2
        tables.append(
            stated.assign(
                suite=folder.name,
                device=gpu or ", ".join(device for device in devices if device != "cpu") or "cpu",
                shown=[effect_words(each, claim["metric"]) for each, claim in zip(*told, strict=True)],
                surest=(stated["effect"].astype(float).abs() / half),
            )
        )
    if not tables:
        return pd.DataFrame(columns=["claim", "verdict", "topic"])
    found = pd.concat(tables, ignore_index=True)
    for name in ("topic", "source"):  # what an older run does not say of a claim, another run of it may
        found[name] = found.groupby("claim")[name].transform("first").fillna("")
    return found


def best(found: pd.DataFrame) -> pd.DataFrame:
    """The surest decided claims, at most MOST, the topics in turn so that none of them fills the list."""
    decided = found[found["verdict"].isin(DECIDED)]
    if not len(decided):
        return decided
    ordered = decided.sort_values("surest", ascending=False, kind="stable")
    turn = ordered.groupby("topic", dropna=False).cumcount()
    chosen = ordered.assign(turn=turn).sort_values("turn", kind="stable").head(MOST)
    place = [_place(topic) for topic in chosen["topic"]]
    return chosen.assign(place=place).sort_values("place", kind="stable").drop(columns=["turn", "place"])


def _index(found: pd.DataFrame) -> str:
    counts = ", ".join(f"{n} {verdict}" for verdict, n in found["verdict"].value_counts().items())
    lines = [
        "# What is settled",
        "",
        f"{len(found)} claims: {counts or 'none yet'}. Made by `bench publish` from the runs in this folder; each "
        "verdict stands on paired differences over seeds and is adjusted for the number of claims of its suite. Of "
        "the two numbers in brackets the first is that of the claim's side.",
    ]
    topics = found["topic"].fillna("").astype(str) if len(found) else pd.Series(dtype=str)
    for topic in sorted(topics.unique(), key=lambda name: (_place(name), name)):
        lines += ["", f"## {escape(topic or 'other').capitalize()}", "", _table(found[topics == topic]).rstrip()]
    return "\n".join(lines) + "\n"


def _table(found: pd.DataFrame) -> str:
    rows = []
    for claim in found.to_dict("records"):
        suite = str(claim["suite"])
        rows.append(
            {
                "claim": escape(claim["claim"]), "verdict": f"**{claim['verdict']}**" if claim["verdict"] in DECIDED
                else claim["verdict"], "effect": escape(claim["shown"]), "seeds": claim["n"],
                "suite": f"[{linked(suite)}]({suite}/report.md)", "device": escape(claim["device"]),
                "source": escape(claim["source"] or ""),
            }
        )  # fmt: skip
    cells = [[row[name] for name in SHOWN] for row in rows]
    return (tabulate(cells, headers=SHOWN, tablefmt="pipe", disable_numparse=True) if cells else "None.") + "\n"


def _place(topic: object) -> int:
    """Where a topic stands in the index; a claim without one comes last."""
    return TOPICS.index(str(topic)) if topic in TOPICS else len(TOPICS)
