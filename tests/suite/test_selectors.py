"""Selectors on claims and on the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.automatic import AUTOMATIC
from bench.errors import UsageError
from bench.suite import Claim, Suite

Load = Callable[..., Suite]
Faults = Callable[[str], dict[str, str]]

GRID = (
    "seeds: 2\n"
    "grid: {path: {straight: linear, bent: {name: noisy_bridge, s: 0.5}}, solver: [euler, {name: heun, steps: 7}]}\n"
)


@pytest.mark.parametrize(
    ("only", "count"),
    [
        (["path=bent"], 4),
        (["path=noisy_bridge"], 4),
        (["path.name=noisy_bridge"], 4),
        (["path.s=0.50"], 4),
        (["path=bent,straight"], 8),
        (["path=bent", "solver=euler"], 2),
        (["solver=heun(steps=7)"], 4),
        (["solver.steps=7,100", "seed=1"], 4),
        (["target=exact"], 8),
        (["replica=0"], 8),
    ],
)
def test_only_keeps_what_fits(load: Load, only: list[str], count: int) -> None:
    assert len(load(GRID, only=only).cells) == count


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["path=bnt"], "no cell has path 'bnt'. Did you mean 'bent'? Known: straight, bent."),
        (["pth=bent"], "no axis or factor named 'pth'. Did you mean 'path'?"),
        (["path.z=1"], "no parameter of path named 'z'"),
        (["training=1"], "training has no name to match"),
        (["path"], "write key=value"),
        (["seed=7"], "no cell has seed '7'. Known: 0, 1."),
        (["path=bent", "path=straight"], "no cell fits all of these at once"),
    ],
)
def test_only_says_what_it_cannot_find(load: Load, only: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(GRID, only=only)
    assert message in str(caught.value)


def test_an_unknown_profile_names_the_known(load: Load) -> None:
    with pytest.raises(UsageError, match=r"'smok'. Did you mean 'smoke'\? Known: quick, smoke\."):
        load("profiles: {smoke: {seeds: 1}}\n", profile="smok")


def test_labels_that_look_like_numbers_are_texts_and_numbers_match_values(load: Load, faults: Faults) -> None:
    claims = "[{claim: c, metric: nfe, better: %s, than: {solver.steps: many}}]"
    text = f"grid: {{solver.steps: {{few: 5, many: 50}}}}\nclaims: {claims}\n"
    for better in ("{solver.steps: few}", "{solver.steps: 5}"):
        assert load(text % better).claims[0].pairs == ((0, 1),)
    found = faults(text % "{solver.steps: '5'}")
    assert "no cell has solver.steps '5'. Known: few, many." in found["claims[0].better.solver.steps"]


def claim(load: Load, block: str, better: str, than: str, more: str = "") -> tuple[Claim, Suite]:
    suite = load(f"{block}claims: [{{claim: c, metric: wasserstein, better: {better}, than: {than}{more}}}]\n")
    return suite.claims[0], suite


def test_a_claim_pairs_within_a_seed_on_all_that_it_does_not_name(load: Load) -> None:
    made, suite = claim(load, GRID, "{path: straight}", "{path.name: noisy_bridge}")
    labels, seed = suite.cells.labels, suite.cells.seed
    assert len(made.pairs) == 4
    for better, than in made.pairs:
        assert (labels["path"][better], labels["path"][than]) == ("straight", "bent")
        assert labels["solver"][better] == labels["solver"][than]
        assert seed[better] == seed[than]


def test_axes_in_step_and_ablations_are_named_together(load: Load) -> None:
    made, _ = claim(load, "zip: {path: [linear, noisy_bridge], replica: [0, 1]}\n", "{path: linear}", "{replica: 1}")
    assert made.pairs == ((0, 1),)
    ablate = "ablate: {factors: {target: displacement, net.width: 9}}\n"
    assert claim(load, ablate, "{target: exact}", "{target: displacement}")[0].pairs == ((0, 1), (2, 1))


def test_a_budget_leaves_each_side_its_own_number_of_steps(load: Load) -> None:
    grid = "grid: {solver: [heun, euler], solver.steps: [5, 10]}\n"
    made, _ = claim(load, grid, "{solver: heun}", "{solver: euler}", ", at: nfe<=20, by: 12.5 %")
    assert made.pairs == ((0, 2), (0, 3), (1, 2), (1, 3))
    assert (made.at, made.by, made.margin) == ("nfe <= 20", 0.125, None)
    assert claim(load, grid, "{solver: heun}", "{solver: euler}")[0].pairs == ((0, 2), (1, 3))


def test_an_included_cell_pairs_only_where_all_its_factors_agree(load: Load) -> None:
    block = "grid: {solver: [heun, euler]}\ninclude: [{solver: midpoint}, {solver: rk4, path: noisy_bridge}]\n"
    made, _ = claim(load, block, "{solver: [midpoint, rk4]}", "{solver: [heun, euler]}")
    assert made.pairs == ((2, 0), (2, 1))


def test_pairs_follow_the_cells_that_only_leaves(load: Load) -> None:
    text = GRID + "claims: [{claim: c, metric: nfe, better: {path: straight}, than: {path: bent}}]\n"
    suite = load(text, only=["solver=euler", "seed=1"])
    assert suite.claims[0].pairs == ((0, 1),)
    assert suite.cells.seed.tolist() == [1, 1]
    assert load(text, only=["path=bent"]).claims[0].pairs == ()


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("better: {path: straight}", "claims[0]", "lacks `than`"),
        ("better: {path: straight}, than: {path: [straight, bent]}", "claims[0]", "share 4 cells"),
        (
            "better: {path: straight, target: displacement}, than: {path: bent}",
            "claims[0].better.target",
            "no cell has",
        ),
        ("better: {path: straight, path.s: 0.5}, than: {path: bent}", "claims[0]", "fits all of `better` at once"),
        ("better: {path: straight}, than: {path: bent}, by: 0.1", "claims[0].by", "such as 10%"),
        ("better: {path: straight}, than: {path: bent}, by: 100%", "claims[0].by", "between 0% and 100%"),
        ("better: {path: straight}, than: {path: bent}, margin: '1'", "claims[0].margin", "number > 0"),
        ("better: {path: straight}, than: {path: bent}, at: steps < 3", "claims[0].at", "nfe <= 20"),
        ("better: {path: straight}, than: {path: bent}, buy: 1%", "claims[0].buy", "Did you mean 'by'?"),
        ("better: {seed: 0}, than: {seed: 1}", "claims[0].better.seed", "of the same seed"),
        ("better: {path: {a: 1}}, than: {path: bent}", "claims[0].better.path", "a text, a number"),
        ("better: {path: straight}, than: {path: bent}, topic: path", "claims[0].topic", "Did you mean 'paths'?"),
        ("better: {path: straight}, than: {path: bent}, source: 7", "claims[0].source", "printable text"),
        ("where: {path: straight}", "claims[0]", "lacks `reaches`"),
        ("where: {path: strait}, reaches: 2 x floor", "claims[0].where.path", "Did you mean 'straight'?"),
        ("where: {path: straight}, reaches: 2 x floor, by: 1%", "claims[0].by", "Known: claim, metric, where, reaches"),
        ("where: {path: straight}, reaches: twice the floor", "claims[0].reaches", "`1.5 x floor at nfe <= 20`"),
        ("where: {path: straight}, reaches: 0 x floor", "claims[0].reaches", "a multiple of the floor"),
        ("where: {path: straight}, reaches: 1.5 x floor at nfe <= 0", "claims[0].reaches", "a multiple of the floor"),
    ],
)
def test_claims_that_cannot_be_judged(faults: Faults, line: str, key: str, message: str) -> None:
    found = faults(f"{GRID}claims: [{{claim: c, metric: wasserstein, {line}}}]\n")
    assert message in found[key]


SEVERAL = (
    "seeds: 2\n"
    "grid: {dataset: [checkerboard, two_moons], solver: [euler, {name: heun, steps: 7}],\n"
    "       path: {straight: linear, half: {name: noisy_bridge, s: 0.5}, one: {name: noisy_bridge, s: 1.0}}}\n"
)


@pytest.mark.parametrize(
    ("better", "than", "same"),
    [
        (
            "{path: half, dataset: [checkerboard, two_moons]}",
            "{path: straight, dataset: [two_moons, checkerboard]}",
            "dataset",
        ),
        (
            "{path: half, dataset.name: [two_moons, checkerboard]}",
            "{path: one, dataset.name: [two_moons, checkerboard]}",
            "dataset",
        ),
        ("{solver: euler, path: [half, one]}", "{solver.name: heun, path: [half, one]}", "path"),
        ("{solver: euler, path.name: noisy_bridge}", "{solver.name: heun, path.name: noisy_bridge}", "path"),
    ],
)
def test_what_both_selectors_say_is_matched_value_by_value(load: Load, better: str, than: str, same: str) -> None:
    made, suite = claim(load, SEVERAL, better, than)
    labels = suite.cells.labels
    assert {(labels[same][a], labels[same][b]) for a, b in made.pairs} == {
        (x, x) for x in {labels[same][a] for a, _ in made.pairs}
    }
    assert len(made.pairs) == 2 * 2 * 2, "two seeds, two values, and two of the axis that neither names"


def test_values_are_matched_where_axes_run_in_step_and_where_each_side_picks_its_steps(load: Load) -> None:
    step = "zip: {solver: [euler, euler, heun, heun], net.width: [8, 16, 8, 16]}\n"
    made, suite = claim(load, step, "{solver: heun, net.width: [8, 16]}", "{solver: euler, net.width: [8, 16]}")
    assert made.pairs == ((2, 0), (3, 1))
    grid = "grid: {path: [linear, noisy_bridge], solver: [heun, euler], solver.steps: [5, 10]}\n"
    both = "solver.name: [heun, euler]"
    made, suite = claim(load, grid, f"{{path: linear, {both}}}", f"{{path: noisy_bridge, {both}}}", ", at: nfe <= 20")
    solver = suite.cells.labels["solver"]
    assert len(made.pairs) == 2 * 2 * 2
    assert all(solver[a] == solver[b] for a, b in made.pairs)


NOISY = "grid: {solver: [{name: euler_maruyama, steps: 5}, {name: euler, steps: 5}]}\n"
SIZES = "grid: {sampling.n: {few: 128, many: 256}}\n"
STARTS = "grid: {sampling.start: [quasi, independent]}\n"


@pytest.mark.parametrize(
    ("block", "better", "than", "message"),
    [
        (SEVERAL, "{dataset: checkerboard}", "{dataset: two_moons}", "different laws (checkerboard with two_moons)"),
        (
            SEVERAL,
            "{path: half, dataset: [checkerboard, two_moons]}",
            "{path: one, dataset: two_moons}",
            "the same data sets",
        ),
        (SIZES, "{sampling.n: few}", "{sampling.n: many}", "128 and of 256 samples, which do not compare"),
        (NOISY, "{solver.name: euler}", "{solver.name: euler_maruyama}", "take wasserstein_excess"),
        (STARTS, "{sampling.start: quasi}", "{sampling.start: independent}", "sampling: {start: independent}"),
    ],
)
def test_what_does_not_compare_is_refused_with_a_remedy(
    faults: Faults, block: str, better: str, than: str, message: str
) -> None:
    found = faults(f"{block}claims: [{{claim: c, metric: wasserstein, better: {better}, than: {than}}}]\n")
    assert message in found["claims[0]"]


def test_what_does_compare_is_not_refused(load: Load) -> None:
    sides = "better: {solver.name: euler}, than: {solver.name: euler_maruyama}"
    for metric, more in (("wasserstein_excess", ""), ("wasserstein", "base: {sampling: {start: independent}}\n")):
        assert load(f"{more}{NOISY}claims: [{{claim: c, metric: {metric}, {sides}}}]\n").claims[0].pairs == ((1, 0),)
    drawn = "grid: {dataset: {fresh: two_moons, once: {name: two_moons, points: 100}}}\n"
    assert claim(load, drawn, "{dataset: fresh}", "{dataset: once}")[0].pairs == ((0, 1),), (
        "one law, trained on otherwise"
    )


def test_a_threshold_has_one_side(load: Load, faults: Faults) -> None:
    grid = "seeds: 2\ngrid: {solver: [heun, euler], solver.steps: [5, 10], path: [linear, vp]}\n"
    stated = "claims: [{claim: c, metric: %s, where: {solver: heun}, reaches: %s, source: a saying, topic: solvers}]\n"
    plain = load(grid + stated % ("wasserstein", "1.5 x floor")).claims[0]
    assert (plain.reaches, plain.at, plain.source, plain.topic) == (1.5, None, "a saying", "solvers")
    assert plain.pairs == tuple((cell, cell) for cell in range(8)), "each cell against its own floor"
    at = load(grid + stated % ("wasserstein", ".5×floor at nfe<=20")).claims[0]
    assert (at.reaches, at.at) == (0.5, "nfe <= 20")
    assert len(at.pairs) == 2 * 2 * 2 * 2, "of two numbers of steps the budget picks one, within seed and path"
    for metric in ("nfe", "wasserstein_excess"):
        assert (
            "has no floor to reach; take one of wasserstein"
            in faults(grid + stated % (metric, "2 x floor"))["claims[0].metric"]
        )


@pytest.mark.parametrize(("metric", "known"), [("mmd", False), ("wasserstein_excess", True), ("nfe", True)])
def test_a_claim_speaks_of_what_is_measured(load: Load, faults: Faults, metric: str, known: bool) -> None:
    text = f"{GRID}claims: [{{claim: c, metric: {metric}, better: {{path: straight}}, than: {{path: bent}}}}]\n"
    if known:
        assert load(text).claims[0].metric == metric
    else:
        assert "Known: wasserstein, wasserstein_excess, nfe" in faults(text)["claims[0].metric"]


def test_a_claim_may_speak_of_any_value_of_which_one_side_is_better_and_of_no_other(load: Load, faults: Faults) -> None:
    """By the one table: what is measured without being asked is treated like what metrics say."""
    text = f"{GRID}claims: [{{claim: c, metric: METRIC, better: {{path: straight}}, than: {{path: bent}}}}]\n"
    for name, about in AUTOMATIC.items():
        if about.better == "none":
            said = faults(text.replace("METRIC", name))["claims[0].metric"]
            assert said.startswith(f"of {name} neither more nor less is better")
            assert "take one of wasserstein, wasserstein_excess, nfe" in said
        else:
            assert load(text.replace("METRIC", name)).claims[0].metric == name
    mixed = text.replace("METRIC", "nearest_training_point").replace(
        "claims:", "metrics: [nearest_training_point]\nclaims:"
    )
    assert "neither more nor less is better" in faults(mixed)["claims[0].metric"]


def test_a_share_and_a_margin_are_two_questions(faults: Faults) -> None:
    sides = "better: {path: straight}, than: {path: bent}"
    text = f"{GRID}claims: [{{claim: c, metric: nfe, {sides}, by: 10%, margin: 1}}]\n"
    assert "make two claims" in faults(text)["claims[0].margin"]
