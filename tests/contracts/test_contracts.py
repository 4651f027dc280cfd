"""Every component of every table keeps its room's contract, law by law."""

import functools

import pytest

from bench.components import ROOMS, Tables
from bench.contracts import CONTRACTS, outcome, subjects
from bench.datasets import DATASETS
from bench.nets import NETS
from bench.paths import PATHS
from bench.solvers import SOLVERS

BUILT_IN = subjects(Tables())

outcome = functools.cache(outcome)  # several tests ask for the same


def cases(found):
    for subject in found:
        for law in CONTRACTS[subject.room]:
            marks = [pytest.mark.gpu] if law.__name__ == "agrees_on_a_gpu" else []
            yield pytest.param(subject, law, id=f"{subject.room}-{subject.name}-{law.__name__}", marks=marks)


@pytest.mark.parametrize(("subject", "law"), list(cases(BUILT_IN)))
def test_law(subject, law):
    found = outcome(subject, law)
    assert found.status != "FAILED", found.words
    if found.status == "skipped":
        pytest.skip(found.words)


VARIANTS = {
    "dataset": [
        DATASETS["two_moons"](noise=0.7, scale=1.0, shift=0.5),
        DATASETS["pinwheel"](arms=3, radial=0.5, tangential=0.2, rate=0.6, scale=1.0),
        DATASETS["rings"](rings=2, radius=1.0, noise=0.4),
        DATASETS["spirals"](arms=5, turns=0.5, noise=0.0),
        DATASETS["two_gaussians"](distance=1.0),
    ],
    "path": [
        PATHS["linear"](sigma_min=0.1),
        PATHS["noisy_constant"](s=0.1),
        PATHS["noisy_bridge"](s=1.0),
        PATHS["noisy_smooth"](s=1.0),
        PATHS["vp"](beta_min=0.05, beta_max=30.0),
    ],
    "net": [
        NETS["mlp"](width=16, depth=2, time="sinusoidal", time_features=8, join="add", activation="silu"),
        NETS["mlp"](width=16, depth=2, time="fourier", time_features=8),
        NETS["residual_mlp"](width=16, blocks=1, time="fourier", time_features=8),
    ],
    "solver": [
        SOLVERS["euler"](steps=7, grid="inclusive"),
        SOLVERS["midpoint"](nfe=14, spacing="cosine"),
        SOLVERS["rk4"](steps=3, spacing="power"),
    ],
}
"""Components with other parameters than their defaults."""


@pytest.mark.parametrize(
    ("component", "law"),
    [
        pytest.param(component, law, id=f"{component}-{law.__name__}")
        for room, components in VARIANTS.items()
        for component in components
        for law in CONTRACTS[room]
        if law.__name__ != "agrees_on_a_gpu"
    ],
)
def test_law_with_other_parameters(component, law):
    if reason := law(component):
        pytest.skip(reason)


def test_every_component_of_the_package_is_a_subject_once():
    classes = [subject.cls for subject in BUILT_IN]
    assert len(classes) == len(set(classes))
    assert set(classes) >= {cls for room in ROOMS.values() for cls in room.table.values()}


def test_every_law_says_in_words_what_it_holds_a_component_to():
    for laws in CONTRACTS.values():
        assert len({law.__name__ for law in laws}) == len(laws)
        assert all((law.__doc__ or "").strip().endswith(".") for law in laws)


@pytest.mark.parametrize("room", CONTRACTS)
def test_no_law_is_vacuous(room):
    """Each law is kept by some component of the room, rather than skipped by all."""
    rooms = {"dataset", "source"} if room in {"dataset", "source"} else {room}
    found = [subject for subject in BUILT_IN if subject.room in rooms]
    for law in CONTRACTS[room]:
        if law.__name__ != "agrees_on_a_gpu":
            assert any(outcome(subject, law).status == "ok" for subject in found), law.__name__
