"""Train once, evaluate many: what a change to a suite makes new, and that keys are stable."""

import subprocess
import sys
from textwrap import dedent

import pytest

from bench.planner import plan
from bench.suite import load_suite

SUITE = """
    suite: small
    question: Which?
    seeds: 3
    base:
      training: {steps: 10, batch: 8}
      sampling: {n: 16}
    grid:
      path: [linear, noisy_bridge]
      solver:
        - {name: euler, steps: 10}
        - {name: rk4, steps: 5}
"""


def laid(folder, *changes, text=SUITE):
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = folder / "small.yaml"
    file.write_text(dedent(text))
    return plan(load_suite(file), "this machine")


def new(before, after, kind):
    """Keys of a kind that `after` has and `before` has not."""
    return {job for job in after.jobs if job[0] == kind} - set(before.jobs)


def test_training_is_shared_by_all_that_only_evaluate(tmp_path):
    suite = laid(tmp_path)
    assert len(suite.cells["train"]) == 2 * 3 * 2
    assert suite.count("train") == 2 * 3
    assert suite.count("sample") == 12
    assert suite.count("reference") == 3


def test_a_new_solver_trains_nothing(tmp_path):
    before = laid(tmp_path)
    after = laid(tmp_path, ("    - {name: rk4, steps: 5}", "    - {name: rk4, steps: 5}\n        - dopri5"))
    assert not new(before, after, "train")
    assert len(new(before, after, "sample")) == 6


def test_a_new_metric_samples_nothing(tmp_path):
    before = laid(tmp_path)
    after = laid(tmp_path, ("question: Which?", "question: Which?\n    metrics: [wasserstein, mmd]"))
    for kind in ("train", "sample", "reference", "sample_time", "train_time"):
        assert not new(before, after, kind)
    assert len(new(before, after, "score")) == 12


def test_another_batch_size_retrains_but_keeps_the_references(tmp_path):
    before = laid(tmp_path)
    after = laid(tmp_path, ("batch: 8", "batch: 9"))
    assert len(new(before, after, "train")) == 6
    assert not new(before, after, "reference")


@pytest.mark.parametrize(
    "change",
    [
        ("question: Which?", "question: Another?"),
        ("path: [linear, noisy_bridge]", "path: {a: linear, b: noisy_bridge}"),
        ("base:", "base:\n      path: {name: linear, sigma_min: 0.0}"),
    ],
)
def test_labels_and_defaults_spelled_out_change_no_key(tmp_path, change):
    assert set(laid(tmp_path, change).jobs) == set(laid(tmp_path).jobs)


def test_points_retrain_but_are_scored_against_the_same_law(tmp_path):
    before = laid(tmp_path, ("base:", "base:\n      dataset: checkerboard"))
    after = laid(tmp_path, ("base:", "base:\n      dataset: {name: checkerboard, points: 50}"))
    assert len(new(before, after, "train")) == 6
    assert not new(before, after, "reference")


def test_a_path_without_moving_noise_has_one_training_for_both_targets(tmp_path):
    both = laid(tmp_path, ("solver:", "target: [exact, displacement]\n      solver:"))
    assert both.count("train") == 3 + 2 * 3


def test_the_oracle_trains_nothing_and_refuses_data_that_it_does_not_know(tmp_path):
    known = laid(tmp_path, ("base:", "base:\n      net: oracle"))
    assert known.count("train") == 0
    assert not known.refused
    unknown = laid(tmp_path, ("base:", "base:\n      net: oracle\n      dataset: checkerboard"))
    assert len(unknown.refused) == 12
    assert "checkerboard" in unknown.refused[0]
    assert not unknown.jobs


def test_samplers_that_add_noise_have_a_floor_as_random_as_their_samples(tmp_path):
    """The end of a quasi-random start is quasi-random only where the way is a function of the start."""
    suite = laid(tmp_path, ("{name: rk4, steps: 5}", "euler_maruyama"))
    kinds = {"euler": set(), "euler_maruyama": set()}
    for cell, job in enumerate(suite.cells["sample"]):
        solver = suite.jobs[job].configs["solver"].name
        judged = [
            suite.jobs[suite.cells[name][cell]].inputs["reference"]
            for name in ("score/wasserstein", "floor/wasserstein")
        ]
        assert {*judged, suite.cells["reference"][cell]} == {judged[0]}
        kinds[solver].add(suite.jobs[judged[0]].recipe.options["floor"])
    assert kinds == {"euler": {"flow"}, "euler_maruyama": {"independent"}}


SECONDS = ("sample_time", "train_time")


def test_seconds_depend_on_data_and_seed_only_where_they_change_the_work(tmp_path):
    fixed = laid(tmp_path)
    assert [fixed.count(kind) for kind in SECONDS] == [2, 2]
    adaptive = laid(tmp_path, ("- {name: rk4, steps: 5}", "- dopri5"))
    assert [adaptive.count(kind) for kind in SECONDS] == [1 + 6, 2]
    both = ("seeds: 3", "seeds: 3"), ("path: [linear", "clock: [noise_at_0, data_at_0]\n      path: [linear")
    assert [laid(tmp_path, *both).count(kind) for kind in SECONDS] == [2, 2]


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (("sampling: {n: 16}", "sampling: {n: 16, precision: bf16}"), {"sample_time": 2}),
        (("sampling: {n: 16}", "sampling: {n: 16, batch: 8}"), {"sample_time": 2}),
        (("sampling: {n: 16}", "sampling: {n: 16, weights: ema}\n      training.ema: [0.9]"), {"train_time": 2}),
        (("sampling: {n: 16}", "sampling: {n: 16, repeats: 3}"), {}),
        # The path is asked at each evaluation: a prediction becomes a velocity by its coefficients.
        (("base:", "base:\n      prediction: data"), {"sample_time": 4, "train_time": 2}),
        (("name: rk4, steps: 5", "name: euler_maruyama"), {"sample_time": 2}),
        (("base:", "base:\n      target: displacement"), {"train_time": 1}),
    ],
)
def test_seconds_depend_on_what_the_timed_call_computes(tmp_path, change, moved):
    if "training.ema" in change[1]:
        change = (change[0], change[1].split("\n")[0])
        extra = ("batch: 8}", "batch: 8, ema: 0.9}")
    else:
        extra = ("seeds: 3", "seeds: 3")
    before, after = laid(tmp_path), laid(tmp_path, change, extra)
    assert {kind: len(jobs) for kind in SECONDS if (jobs := new(before, after, kind))} == moved


IMAGES = """
    suite: small
    question: Which?
    seeds: 3
    base:
      dataset: digits
      net: {name: unet, width: 8}
      training: {steps: 10, batch: 8}
      sampling: {n: 16}
    grid:
      path: [linear, noisy_bridge]
    metrics: [{name: fid, extractor: pixels}, {name: kid, extractor: pixels}, nearest_training_image]
"""


@pytest.mark.parametrize(
    ("training", "sampling", "refused"),
    [
        ("label_dropout: 0", "guidance: 2", True),
        ("label_dropout: 0", "guidance: 0", True),
        ("label_dropout: 0", "guidance: 1", False),
        ("label_dropout: 0.1", "guidance: 2", False),
    ],
)
def test_guidance_needs_a_net_that_knows_all_classes_at_once(tmp_path, training, sampling, refused):
    changes = [("width: 8}", "width: 8, classes: 10}"), ("batch: 8}", f"batch: 8, {training}}}")]
    suite = laid(tmp_path, *changes, ("n: 16}", f"n: 16, {sampling}}}"), text=IMAGES)
    assert bool(suite.refused) == refused
    assert all("label_dropout" in reason for reason in suite.refused.values())


def test_what_metrics_prepare_and_floors_of_draws_are_one_for_all_seeds(tmp_path):
    suite = laid(tmp_path, text=IMAGES)
    prepared = [job for job in suite.jobs.values() if job.kind == "prepared"]
    assert len(prepared) == 2  # features for both distances, and what new images score
    assert suite.count("reference") == 3
    assert suite.count("floor") == 2
    fid, kid = (set(suite.cells[f"score/{name}"]) for name in ("fid", "kid"))
    assert {suite.jobs[job].inputs["prepared"] for job in fid | kid} == {prepared[0].id}
    other = laid(tmp_path, ("n: 16", "n: 17"), text=IMAGES)
    assert len(new(suite, other, "floor")) == 2
    assert not new(suite, other, "prepared")


def test_keys_and_builds_are_the_same_in_another_process(tmp_path):
    here = {(*job, spec.code) for job, spec in laid(tmp_path).jobs.items()}
    code = dedent(f"""
        from bench.planner import plan
        from bench.suite import load_suite
        for job, spec in plan(load_suite({str(tmp_path / "small.yaml")!r}), "this machine").jobs.items():
            print(*job, spec.code)
    """)
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {tuple(line.split()) for line in there.stdout.splitlines()} == here


def test_a_hundred_thousand_cells_share_their_configurations(tmp_path):
    many = laid(
        tmp_path,
        ("seeds: 3", "seeds: 50"),
        ("        - {name: euler, steps: 10}\n", ""),
        ("        - {name: rk4, steps: 5}", "        - euler"),
        ("path: [linear, noisy_bridge]", "path: [linear, noisy_bridge]\n      clock: [noise_at_0, data_at_0]"),
        ("solver:", f"solver.steps: {list(range(10, 510))}\n      solver:"),
    )
    assert len(many.cells["sample"]) == 500 * 50 * 4
    assert many.count("sample") == 100_000
    assert many.count("train") == 200
    configs = {id(config) for job in many.jobs.values() for config in job.configs.values()}
    assert len(configs) < 1000


OTHER = [
    ("base:", "base:\n      coupling: {name: ot, transport_batch: 12}", "multiple of training.batch (8)"),
    ("base:", "base:\n      dataset: swiss_roll\n      coupling: class_wise", "class_wise needs classes"),
    ("training: {steps: 10, batch: 8}", "training: {steps: 10, batch: 8, order: by_class}\n      dataset: swiss_roll",
     "by_class needs classes"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "reason"), OTHER)
def test_pairs_that_cannot_be_made_are_refused_with_their_reason(tmp_path, before, after, reason):
    refused = laid(tmp_path, (before, after)).refused
    assert len(refused) == 12
    assert all(reason in text for text in refused.values())


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        ("coupling: ot", "needs independent pairs, not the coupling ot"),
        ("source: eight_gaussians", "needs the source gaussian, not eight_gaussians"),
        ("target: displacement", "does not regress on"),
    ],
)
def test_predictions_that_leave_the_velocity_open_are_refused_on_noisy_paths_alone(tmp_path, factor, reason):
    made = laid(tmp_path, ("base:", f"base:\n      prediction: noise\n      {factor}"))
    assert len(made.refused) == 6
    assert all(reason in text for text in made.refused.values())
    assert made.count("train") == 3


def test_each_prediction_is_a_training_of_its_own(tmp_path):
    made = laid(tmp_path, ("solver:", "prediction: [velocity, noise, data]\n      solver:"))
    assert made.count("train") == 3 * 2 * 3
    assert not made.refused


def test_an_oracle_of_a_training_set_depends_on_its_points_and_any_other_on_the_law(tmp_path):
    law = laid(tmp_path, ("base:", "base:\n      net: oracle"))
    finite = laid(tmp_path, ("base:", "base:\n      net: oracle\n      dataset: {name: gaussian_mixture, points: 50}"))
    more = laid(tmp_path, ("base:", "base:\n      net: oracle\n      dataset: {name: gaussian_mixture, points: 60}"))
    assert len(new(law, finite, "sample")) == len(new(finite, more, "sample")) == 12
    assert not new(law, finite, "reference")
    squares = laid(tmp_path, ("base:", "base:\n      net: oracle\n      dataset: {name: checkerboard, points: 50}"))
    assert not squares.refused
