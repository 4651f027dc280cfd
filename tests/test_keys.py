"""A number depends on exactly what its key says: change one thing, and the key moves or the number stays."""

import copy
import dataclasses
import json

import pytest

from bench.components import FACTORS
from bench.metrics import METRICS
from bench.planner import Plan, plan
from bench.settings import Sampling, Training
from bench.suite import load_suite

BY_CLASS = {"class_histogram", "classified"}
ON_PICTURES = {"fid", "kid", "precision_recall", "density_coverage", *BY_CLASS, "nearest_training_image"}

PLANE = {
    "question": "What moves?",
    "seeds": 1,
    "base": {
        "dataset": {"name": "gaussian_mixture", "points": 64},
        "path": {"name": "noisy_bridge", "s": 0.5},
        "net": {"name": "mlp", "width": 8, "depth": 1},
        "training": {"steps": 12, "batch": 16, "ema": 0.5, "clip": 1.0},
        "solver": {"name": "euler", "steps": 3},
        "sampling": {"n": 32, "repeats": 2, "batch": 24},
    },
    "metrics": sorted(METRICS.keys() - ON_PICTURES),
}

PICTURES = {
    "question": "What moves?",
    "seeds": 1,
    "base": {
        "dataset": "digits",
        "net": {"name": "unet", "width": 8, "classes": 10},
        "training": {"steps": 2, "batch": 8, "ema": 0.5},
        "solver": {"name": "euler", "steps": 2},
        "sampling": {"n": 16, "repeats": 1, "guidance": 2},
    },
    "metrics": [
        *(
            {"name": name, "extractor": "pixels"}
            for name in sorted(ON_PICTURES - BY_CLASS - {"nearest_training_image"})
        ),
        "nearest_training_image",
        {"name": "log_likelihood", "steps": 1, "points": 2, "probes": 1},
    ],
}

FACTOR_CHANGES = {
    "dataset": [
        {"name": "gaussian_mixture", "points": 65}, "gaussian_mixture", {"name": "two_gaussians", "points": 64},
    ],
    "source": ["eight_gaussians"],
    "coupling": ["ot", "class_wise"],
    "path": [{"name": "noisy_bridge", "s": 0.6}, "linear", "vp"],
    "target": ["displacement"],
    "prediction": ["noise", "data"],
    "clock": ["data_at_0"],
    "net": [{"name": "mlp", "width": 9, "depth": 1}, "oracle"],
    "direction": ["reversed_field"],
    "solver": [
        {"name": "euler", "steps": 4}, {"name": "heun", "steps": 2}, "dopri5", {"name": "euler_maruyama", "steps": 3},
    ],
    "replica": [1],
}  # fmt: skip

TRAINING_CHANGES = {
    "steps": 13, "batch": 17, "optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.1, "schedule": "cosine",
    "warmup": 2, "clip": 0.1, "ema": 0.6, "precision": "bf16", "time_sampling": "stratified",
    "time_location": 0.3, "time_scale": 0.7, "time_a": 2.0, "time_b": 2.0, "weighting": "min_snr",
    "order": "by_class", "label_dropout": 0.2,
}  # fmt: skip

SAMPLING_CHANGES = {
    "n": 48, "repeats": 3, "start": "independent", "batch": 16, "weights": "ema", "reference": "independent",
    "guidance": 3, "precision": "bf16",
}  # fmt: skip

WITH = {"time_location": {"time_sampling": "logit_normal"}, "time_scale": {"time_sampling": "logit_normal"},
        "time_a": {"time_sampling": "beta"}, "time_b": {"time_sampling": "beta"}}  # fmt: skip
"""What a field needs beside it; the plain cell then has that too."""


def test_nothing_is_left_unchanged():
    """A new factor or field asks for a line above."""
    assert FACTOR_CHANGES.keys() | {"training", "sampling"} == set(FACTORS)
    assert TRAINING_CHANGES.keys() == {field.name for field in dataclasses.fields(Training)}
    assert SAMPLING_CHANGES.keys() == {field.name for field in dataclasses.fields(Sampling)}


def changes():
    """(suite, path to the place, its value there) of every change."""
    for factor, values in FACTOR_CHANGES.items():
        for value in values:
            yield pytest.param("plane", (factor,), value, {}, id=f"{factor}-{json.dumps(value)}")
    for name, value in TRAINING_CHANGES.items():
        yield pytest.param("plane", ("training", name), value, WITH.get(name, {}), id=f"training.{name}")
    for name, value in SAMPLING_CHANGES.items():
        if name != "guidance":
            yield pytest.param("plane", ("sampling", name), value, {}, id=f"sampling.{name}")
        yield pytest.param("pictures", ("sampling", name), value, {}, id=f"pictures-sampling.{name}")
    yield pytest.param("pictures", ("training", "label_dropout"), 0.3, {}, id="pictures-label_dropout")
    for factor, value in (("clock", "data_at_0"), ("direction", "reversed_field"), ("replica", 1)):
        yield pytest.param("pictures", (factor,), value, {}, id=f"pictures-{factor}")
    yield pytest.param("oracle", ("dataset",), "two_gaussians", {}, id="oracle-dataset")
    for factor in ("path", "target", "prediction", "clock", "direction", "solver", "replica"):
        for value in FACTOR_CHANGES[factor]:
            yield pytest.param("oracle", (factor,), value, {}, id=f"oracle-{factor}-{json.dumps(value)}")
    for name in ("n", "start", "precision"):
        yield pytest.param("oracle", ("sampling", name), SAMPLING_CHANGES[name], {}, id=f"oracle-sampling.{name}")


def suite_of(which):
    suite = copy.deepcopy(PICTURES if which == "pictures" else PLANE)
    if which == "oracle":
        suite["base"] |= {"net": "oracle", "dataset": "gaussian_mixture"}
    return suite


def laid(suite, folder):
    file = folder / "cell.yaml"
    file.write_text(json.dumps(suite))
    made = plan(load_suite(file), "this machine")
    jobs = {job: spec for job, spec in made.jobs.items() if job[0] not in {"train_time", "sample_time"}}
    return dataclasses.replace(made, jobs=jobs)


def numbers(plan_, outcomes, column):
    """What a column's job found, the seconds that it took aside."""
    job = plan_.cells[column][0]
    if job is None:
        return None
    outcome = outcomes[job]
    if not outcome.ok:
        return outcome.status, outcome.reason
    kept = ("values", "undefined", "nfe", "rejected_steps", "train_loss", "parameters", "epochs")
    return {name: outcome.entry.job[name] for name in kept if name in outcome.entry.job}


@pytest.fixture(scope="module")
def plain(run_inline, tmp_path_factory):
    """Plan and outcomes of a suite's one cell, run once."""
    known = {}

    def run(suite):
        at = json.dumps(suite, sort_keys=True)
        if at not in known:
            folder = tmp_path_factory.mktemp("plain")
            made = laid(suite, folder)
            outcomes = run_inline(made, folder / "store")
            assert all(outcome.ok for outcome in outcomes.values()), {o.reason for o in outcomes.values() if not o.ok}
            known[at] = made, outcomes
        return known[at]

    return run


@pytest.mark.parametrize(("which", "place", "value", "beside"), list(changes()))
def test_one_change_moves_the_key_or_leaves_the_number(run_inline, plain, tmp_path, which, place, value, beside):
    suite = suite_of(which)
    suite["base"]["training"] |= beside
    before, known = plain(suite)
    changed = copy.deepcopy(suite)
    at = changed["base"]
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    after = laid(changed, tmp_path)
    if after.refused:
        pytest.skip(f"cannot be run: {after.refused[0]}")
    same = [name for name, column in after.cells.items() if "_time" not in name and column == before.cells[name]]
    wanted, todo = {}, [after.cells[name][0] for name in same if after.cells[name][0]]
    while todo:
        job = todo.pop()
        wanted[job] = after.jobs[job]
        todo += after.jobs[job].inputs.values()
    # From nothing, by the changed cell's own jobs: what they may read that their key lacks would show.
    found = run_inline(Plan(wanted, after.cells, {}), tmp_path / "store")
    for name in same:
        assert numbers(after, found, name) == numbers(before, known, name), name
    moved = {name for name in after.cells if "_time" not in name} - set(same)
    if place not in {("training", "label_dropout"), ("sampling", "reference")} or which == "pictures":
        assert moved or which == "oracle" or place == ("target",), "nothing at all depends on it"


def test_scores_of_the_field_know_its_precision_and_guidance(tmp_path):
    """The two that once shared a number."""
    for which, change in (("plane", {"precision": "bf16"}), ("pictures", {"guidance": 3})):
        suite = suite_of(which)
        before = laid(suite, tmp_path).cells["score/log_likelihood"]
        suite["base"]["sampling"] |= change
        assert laid(suite, tmp_path).cells["score/log_likelihood"] != before
