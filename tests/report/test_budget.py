"""The error budget's figure: one for the run instead of one for each part."""

import pytest

from bench.report import budget, write_report
from bench.report.curves import score_vs_nfe
from bench.report.results import load_results

VALUES = {
    **{name: {"unit": "data units", "direction": "lower", "floored": False} for name in budget.PARTS},
    "wasserstein": {"unit": "data units", "direction": "lower", "floored": True},
    "excess_loss": {"unit": "squared velocity per coordinate", "direction": "lower", "floored": False},
}
AXES = {"dataset": ["moons", "rings"], "path": ["straight", "noisy"], "solver": ["euler(10)", "rk4(10)"]}


def parts(cell):
    noisy = cell.get("path") == "noisy"
    base = 0.5 + 0.01 * cell["seed"]
    return {
        "solver_error": base / 10,
        "model_error": base,
        "target_error": base / 5 if noisy else 0.0,
        "path_error": 0.0,
        "excess_loss": base**2,
        "wasserstein": base,
        "wasserstein_floor": 0.1,
        "wasserstein_excess": 0.9 * base,
        "nfe": 10.0 if cell["solver"].startswith("euler") else 40.0,
        "sample_seconds": 0.1,
    }


def test_a_budget_is_one_figure_and_only_the_solver_error_keeps_its_own(make_run):
    folder = make_run(AXES, measure=parts, values=VALUES)
    write_report(folder)
    figures = {file.name for file in (folder / "figures").glob("*.svg")}
    assert "error_budget.svg" in figures
    assert {name for name in figures if "solver_error" in name} == {"score_vs_nfe-solver_error.svg"}
    assert not [name for name in figures if any(part in name for part in budget.IN_BUDGET)]
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "Where the error comes from" in page
    assert "figures/error_budget.svg" in page
    before = (folder / "figures" / "error_budget.svg").read_bytes()
    write_report(folder)
    assert (folder / "figures" / "error_budget.svg").read_bytes() == before


def test_a_solver_error_is_drawn_with_the_slope_of_each_line(make_run):
    def order(cell):
        nfe = {"coarse": 10.0, "fine": 40.0}[cell["solver.nfe"]]
        return {**parts(cell), "nfe": nfe, "solver_error": nfe ** -{"euler": 1, "rk4": 4}[cell["solver"]]}

    axes = {"solver": ["euler", "rk4"], "solver.nfe": ["coarse", "fine"]}
    results = load_results(make_run(axes, measure=order, values=VALUES))
    (score,) = [score for score in results.scores if score.value == "solver_error"]
    (drawing,) = score_vs_nfe(results, score)
    assert [text.get_text() for ax in drawing.figure.axes for text in ax.texts] == ["\u22121.0", "\u22124.0"]
    assert "slope" in drawing.caption


def test_the_axis_leaves_out_what_is_0_and_the_rows_hold_every_combination(make_run):
    results = load_results(make_run(AXES, measure=parts, values=VALUES))
    (drawing,) = budget.budget(results)
    panels = [ax for ax in drawing.figure.axes if ax.get_visible()]
    assert [len(ax.get_yticklabels()) for ax in panels] == [4, 4]
    assert [ax.get_title() for ax in panels] == ["dataset = moons", "dataset = rings"]
    low, high = panels[0].get_xlim()
    assert 0 < low < 0.05
    assert high > 0.5
    hollow = [line for line in panels[0].get_lines() if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 4 + 2  # no path error anywhere, no target error on the straight path
    assert all(line.get_xdata()[0] == low for line in hollow)


def test_the_excess_is_a_bar_over_its_interval(make_run):
    def straddling(cell):
        return {**parts(cell), "wasserstein_excess": [0.09, -0.06, 0.14][cell["seed"]]}

    (drawing,) = budget.budget(load_results(make_run(AXES, measure=straddling, values=VALUES)))
    ax = drawing.figure.axes[0]
    bars = [line.get_xdata()[0] for line in ax.get_lines() if line.get_linewidth() == 2]
    gap = (0.09**2 - 0.06**2 + 0.14**2) / 3
    assert bars == pytest.approx([gap**0.5] * 4)
    low, _ = ax.get_xlim()
    starts = [band.get_paths()[0].vertices[:, 0].min() for band in ax.collections]
    assert starts == pytest.approx([low] * 4), "the interval goes below 0 and so ends where the axis does"


def test_a_run_without_all_parts_has_no_budget(make_run):
    values = {name: about for name, about in VALUES.items() if name != "path_error"}
    results = load_results(make_run(AXES, measure=parts, values=values))
    assert not list(budget.budget(results))
