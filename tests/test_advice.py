"""Mistakes of design that a plan warns of: for each a suite that earns the warning, and one that does not."""

import copy

import numpy as np
import pytest
import yaml

import bench as api
from bench.execute import Estimator
from bench.kinds import KINDS
from bench.store import Store
from bench.suite import load_suite
from bench.work import lay_out, provenance_here

SUITE = {
    "suite": "designed",
    "question": "Is it designed well?",
    "seeds": 6,
    "base": {
        "dataset": "two_gaussians",
        "net": {"name": "mlp", "width": 8, "depth": 1},
        "training": {"steps": 4, "batch": 16, "learning_rate": 1e-3},
        "solver": {"name": "euler", "steps": 2},
        "sampling": {"n": 32, "repeats": 1},
    },
    "grid": {"path": {"straight": "linear", "noisy": {"name": "noisy_bridge", "s": 0.5}}},
    "metrics": ["wasserstein"],
    "claims": [
        {"claim": "Noise helps", "metric": "wasserstein", "better": {"path": "noisy"}, "than": {"path": "straight"}}
    ],
}


def changed(**changes):
    return {**copy.deepcopy(SUITE), **changes}


def claiming(**changes):
    return changed(claims=[{**SUITE["claims"][0], **changes}])


def warned(suite, folder, **options):
    return api.plan(suite, results=folder, **options).warnings


def test_a_suite_as_it_should_be_earns_no_warning(tmp_path):
    assert warned(SUITE, tmp_path) == []
    assert warned(changed(seeds=1, claims=[]), tmp_path) == [], "without claims no seeds are needed"


def test_too_few_seeds_for_the_claims_are_told_with_how_many_do(bench, tmp_path):
    (text,) = warned(SUITE, tmp_path, seeds=5)
    assert "“Noise helps”: 5 seeds with both sides, and a verdict on 1 claim needs 6: set `seeds: 6`" in text
    two = [*SUITE["claims"], {**SUITE["claims"][0], "claim": "It helps much", "by": "10%"}]
    (text,) = warned(changed(claims=two), tmp_path)
    assert "“Noise helps” and 1 more: 6 seeds with both sides, and a verdict on 2 claims needs 7" in text
    assert warned(changed(claims=two, seeds=7), tmp_path) == []
    lacking = {"where": {"path": "noisy", "seed": 3}, "because": "to see it"}
    assert "5 seeds with both sides" in warned(changed(exclude=[lacking]), tmp_path)[0]
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(changed(seeds=2)))
    assert "  warning: “Noise helps”: 2 seeds" in bench("plan", tmp_path / "few.yaml", "--results", tmp_path).stdout


def test_a_claim_on_what_seeds_do_not_change_never_has_enough(tmp_path):
    solvers = {"path": ["linear"], "solver": [{"name": "euler", "steps": 2}, {"name": "heun", "steps": 2}]}
    claim = {**SUITE["claims"][0], "better": {"solver.name": "euler"}, "than": {"solver.name": "heun"}}
    (text,) = warned(changed(grid=solvers, claims=[{**claim, "metric": "sample_seconds"}]), tmp_path)
    assert "sample_seconds is measured once for 6 seeds" in text
    adaptive = {"path": ["linear"], "solver": ["dopri5", {"name": "euler", "steps": 2}]}
    claim["than"] = {"solver.name": "dopri5"}
    assert warned(changed(grid=adaptive, claims=[{**claim, "metric": "nfe"}]), tmp_path) == []


def test_a_claim_whose_sides_are_the_same_jobs_is_told(tmp_path):
    targets = {"target": ["exact", "displacement"]}
    sides = {"better": {"target": "exact"}, "than": {"target": "displacement"}}
    (text,) = warned({**claiming(**sides), "grid": targets}, tmp_path)
    assert "“Noise helps”: both sides are the same jobs" in text
    assert "target changes nothing that wasserstein of these cells depends on" in text
    noisy = {**SUITE["base"], "path": {"name": "noisy_bridge", "s": 0.5}}
    assert warned({**claiming(**sides), "grid": targets, "base": noisy}, tmp_path) == []


@pytest.mark.parametrize("how", ["zip", "include"])
def test_factors_that_always_change_together_are_named(tmp_path, how):
    both = {"path": SUITE["grid"]["path"], "clock": ["noise_at_0", "data_at_0"]}
    if how == "zip":
        suite = changed(zip=both)
        del suite["grid"]
    else:
        suite = changed(include=[{"path": {"name": "noisy_bridge", "s": 0.5}, "clock": "data_at_0"}])
        suite["grid"] = {"path": ["linear"], "clock": ["noise_at_0"]}
        suite["claims"] = []
    (text,) = warned(suite, tmp_path)
    assert text.startswith("path and clock always change together")
    assert warned(changed(grid=both), tmp_path) == []
    apart = [{"path": "linear", "clock": "data_at_0"}]
    assert warned({**suite, "include": [*suite.get("include", []), *apart]}, tmp_path) == []


def test_metrics_that_no_cell_can_have_are_named_with_why(tmp_path):
    asked = ["wasserstein", "fid", "nearest_training_point", "error_budget", "mode_weight_tv", "straightness"]
    spirals = {**SUITE["base"], "dataset": "spirals", "path": "vp"}
    alone = changed(metrics=asked, base={**spirals, "solver": "ddpm"}, grid={"clock": ["noise_at_0"]}, claims=[])
    told = {text.partition(":")[0]: text for text in warned(alone, tmp_path)}
    assert "the data are no images" in told["fid"]
    assert "there is no training set to be near to" in told["nearest_training_point"]
    assert "the solver adds noise of its own" in told["error_budget"]
    assert "the solver adds noise of its own" in told["straightness"]
    assert "wasserstein" not in told
    assert all("take it out of `metrics`" in text for text in told.values())
    some = changed(
        metrics=asked[2:], claims=[], base={**SUITE["base"], "dataset": {"name": "two_gaussians", "points": 50}}
    )
    assert [text for text in warned(some, tmp_path) if "will have no value" in text] == []
    grid = {"dataset": ["two_gaussians", "spirals"]}
    assert warned(changed(metrics=["error_budget"], grid=grid, claims=[]), tmp_path) == [], "one of two has it"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, run_inline):
    """Results of the suite in three of its seeds, and how long its trainings took."""
    folder, here = tmp_path_factory.mktemp("advice"), provenance_here()
    laid = lay_out(load_suite(SUITE, seeds=range(3)), here, "cpu")
    done = run_inline(laid, folder / "store", provenance=here)
    assert {outcome.status for outcome in done.values()} == {"ok"}
    scores = {job: outcome.entry.job["values"]["wasserstein"][0] for job, outcome in done.items() if job[0] == "score"}
    straight, noisy = np.array([scores[job] for job in laid.cells["score/wasserstein"]]).reshape(2, 3)
    return folder, straight - noisy, {job: outcome.entry.job["seconds"] for job, outcome in done.items()}


def test_a_margin_below_the_noise_of_stored_results_is_told_with_the_noise(ran, tmp_path):
    folder, differences, _ = ran
    spread = differences.std(ddof=1)
    noise = 2.5706 * spread / np.sqrt(6)  # Student's t with 5 degrees of freedom, of the suite's 6 seeds
    (text,) = warned(claiming(margin=float(noise * 0.99)), folder)
    assert f"spreads by {spread:.2g} over 3 stored seeds, so that 6 seeds tell its mean to ± {noise:.2g}" in text
    assert "about 7 seeds would do" in text
    assert warned(claiming(margin=float(noise * 1.01)), folder) == []
    assert warned(claiming(margin=float(noise * 0.99)), tmp_path) == [], "without results nothing is known"


def test_a_plan_tells_the_time_of_what_was_done_before_a_rough_guess_and_what_is_unknown(ran):
    folder, _, seconds = ran
    more = api.plan(SUITE, results=folder)
    assert more.left.known == more.kinds["to_do"].sum() > 0
    assert (more.left.rough, dict(more.left.unknown)) == (0, {})
    assert more.left.peak_mb > 100
    assert f"on cpu, {more.workers} at once for {more.left.known} of {more.left.known} jobs, from past ones" in str(
        more
    )
    assert "MiB a process" in str(more)

    longer = api.plan(
        changed(base={**SUITE["base"], "training": {**SUITE["base"]["training"], "steps": 400}}), results=folder
    )
    trained = [spent for (kind, _), spent in seconds.items() if kind == "train"]
    assert longer.left.rough >= longer.kinds.loc["train", "to_do"]
    rough = longer.left.rough_seconds * longer.workers
    assert rough >= 12 * 100 * min(trained), "twelve trainings, a hundred times as long"
    assert dict(longer.left.unknown) == {}
    assert "roughly " in str(longer)
    assert longer.left.peak_mb > 100

    other = api.plan(changed(base={**SUITE["base"], "net": {"name": "mlp", "width": 9}}), results=folder)
    assert set(other.left.unknown) == {kind for kind in other.kinds.index if KINDS[kind].on_device}
    assert "  unknown: the time of " in str(other)
    assert "12 train" in str(other)


def test_times_of_another_device_are_no_past_of_this_one(ran):
    laid = lay_out(load_suite(SUITE), provenance_here(), "cpu")
    there, elsewhere = (
        Estimator(Store(ran[0] / "store"), device).cost(laid.jobs.values(), 1) for device in ("cpu", "cuda:0")
    )
    assert dict(there.unknown) == {}
    assert set(elsewhere.unknown) == {kind for kind, _ in laid.jobs if KINDS[kind].on_device}


def test_a_claim_on_evaluations_that_are_written_down_is_told(tmp_path):
    sides = {"claim": "Fewer", "metric": "nfe", "better": {"solver": "a"}, "than": {"solver": "b"}}
    grid = {"solver": {"a": {"name": "euler", "steps": 2}, "b": {"name": "heun", "steps": 2}}}
    (text,) = warned(changed(grid=grid, claims=[sides]), tmp_path)
    assert text.startswith("“Fewer”: these solvers take fixed steps, so that their nfe is what the suite writes")


def test_a_kernel_of_another_scale_than_the_data_is_told(tmp_path):
    np.save(tmp_path / "metres.npy", np.random.default_rng(0).normal(size=(200, 2)) * 1e3)
    base = {**SUITE["base"], "dataset": {"name": "points", "file": str(tmp_path / "metres.npy")}}
    base["sampling"] = {"n": 32, "start": "independent"}
    for metric, due in (("mmd", 1), ({"name": "mmd", "largest": "reference"}, 0), ({"name": "mmd", "largest": 1e3}, 0)):
        told = api.plan(changed(base=base, metrics=["wasserstein", metric]), results=tmp_path).warnings
        assert sum("mmd: its bandwidths" in text and "largest: reference" in text for text in told) == due == len(told)


def test_even_starts_are_warned_of_where_the_floor_is_of_a_files_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.random.default_rng(0).normal(size=(60, 2)))
    base = {**SUITE["base"], "dataset": {"name": "points", "file": "points.npy"}}
    (said,) = warned(changed(base=base), tmp_path)
    assert "scores may lie below it; write `sampling: {start: independent}`" in said
    assert warned(changed(base={**base, "sampling": {"n": 32, "start": "independent"}}), tmp_path) == []
