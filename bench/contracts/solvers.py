"""What a solver promises: its order or its tolerance, its count, its range, and the frames it is asked for."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.contracts.fields import Known, swing, swirl
from bench.contracts.require import Law, close, form, holds, no_cuda, significant, unchanged
from bench.diffusion import process_of
from bench.errors import ContractBroken
from bench.interfaces import Field, Mixture, Process, ProcessSolver, Solver
from bench.nets.oracle import OracleField
from bench.paths import Trigonometric
from bench.seeds import stream

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
FRAMES = torch.tensor([0.0, 0.1, 0.33, 0.5, 0.77, 1.0], dtype=torch.float64)

SWIRL = swirl(1.0)

SPEEDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Speeds of a field that a solver is refined on."""

SEEN = 1e-11
"""Errors below this are rounding."""


def keeps_shape_and_dtype(solver: Solver) -> str | None:
    """States are (F, B, *S) in the start's dtype, for points of the plane and for images."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((2,), (1, 8, 8)):
            x = _start(shape).to(dtype)
            states = solver.solve(lambda t, x: -x, x, FRAMES).states
            form(states, (len(FRAMES), *x.shape), dtype, "states")
    return None


def can_be_refined(solver: Solver) -> str | None:
    """A solver of fixed steps says how it is refined: twice the steps are of the same kind and ask twice as often."""
    if solver.adaptive:
        return "adapts its step"
    finer = [_refined(solver, times) for times in _doubled(solver)]
    holds(
        all(type(each) is type(solver) for each in finer),
        f"refined returns a {type(finer[0]).__name__}",
        "return this solver with more steps: dataclasses.replace(self, n=times * self.n)",
    )
    field, x = swirl(1.0).velocity, _start()
    once = _refined(solver, 1).solve(field, x, ENDS).states[-1]
    mend = "multiply the number of steps by `times`, and leave everything else as it is"
    close(once, solver.solve(field, x, ENDS).states[-1], 1e-9, "the end of refined(1)", mend)
    few, many = (_calls(each) for each in finer)
    holds(
        1.75 * few <= many <= 2.25 * few,
        f"twice refined it asks {many} times instead of {few}",
        "multiply the number of steps by `times`, and leave everything else as it is",
    )
    return None


def has_its_stated_order(solver: Solver) -> str | None:
    """Halving the step of a fixed-step solver divides its error by 2^order (float64, two fields with known flows)."""
    if solver.adaptive:
        return "adapts its step"
    for make in (swirl, swing):
        measured, errors, calls = _order(solver, make)
        low = make is swirl or measured < solver.order
        # One field may flatter a method by symmetry; the other one then shows its order.
        holds(
            abs(measured - solver.order) <= 0.2 or not low,
            f"from {calls[0]} to {calls[1]} evaluations the error falls from {significant(errors[0])} to "
            f"{significant(errors[1])}: that is order {measured:.2f}, not {solver.order}",
            "check the stages' times and weights, or state the order that it has",
        )
    return None


def meets_its_tolerance(solver: Solver) -> str | None:
    """An adaptive solver's error stays within 20 times its tolerance, and a smaller one gives a smaller error."""
    if not solver.adaptive:
        holds(solver.tightened(1e-3) is None, "tightened returns a solver, yet it does not adapt", "return None")
        return "has fixed steps"
    holds(solver.refined(2) is None, "refined returns a solver, yet it adapts", "return None from refined")
    x, errors, costs = _start(), [], []
    for tolerance in (1e-3, 1e-5):
        tight = solver.tightened(tolerance)
        if tight is None:
            raise ContractBroken(
                "an adaptive solver that nothing can tighten: its error cannot be measured; mend: call its parameters "
                "rtol and atol, or write tightened(tolerance): return dataclasses.replace(self, tol=tolerance)"
            )
        error = (tight.solve(SWIRL.velocity, x, ENDS).states[-1] - SWIRL.flow(x, 1.0)).abs().max()
        errors.append(float(error))
        costs.append(_calls(tight))
        holds(
            errors[-1] <= 20 * tolerance,
            f"at a tolerance of {tolerance:g} the error is {significant(errors[-1])}",
            "compare the error estimate with atol + rtol |x|, and shrink the step until it fits",
        )
    mend = "pass the tolerance on to the solver"
    holds(errors[1] < errors[0] and costs[1] > costs[0], "a smaller tolerance does not lower the error", mend)
    return None


def integrates_a_constant_field_exactly(solver: Solver) -> str | None:
    """With dx/dt = c the state at every asked time t is x + t c, and the first is the start itself."""
    x = _start()
    solution = solver.solve(lambda t, x: torch.full_like(x, 3.0), x, FRAMES)
    due = x + 3.0 * FRAMES[:, None, None]
    close(solution.states, due, 1e-9, "the state", "return the states at the asked times, in their order", FRAMES)
    holds(
        solution.rejected == 0, f"{solution.rejected} steps were rejected on a constant field", "count rejections only"
    )
    return None


def frames_do_not_change_the_end(solver: Solver) -> str | None:
    """More report times leave the last state, the number of field calls and so the cost as they are."""
    x, ends, calls = _start(), [], []
    for times in (ENDS, FRAMES):
        asked: list[float] = []
        ends.append(solver.solve(_recording(asked), x, times).states[-1])
        calls.append(len(asked))
    close(ends[1], ends[0], 1e-9, "the end with frames", "interpolate at report times, and step as without them")
    holds(calls[0] == calls[1], f"{calls[0]} field calls become {calls[1]} with frames", "interpolate at report times")
    return None


def never_asks_outside_the_unit_interval(solver: Solver) -> str | None:
    """The field is asked at scalar times in [0, 1] only, whether it changes fast or hardly at all."""
    asked: list[Tensor] = []

    def wave(speed: float, t: Tensor, x: Tensor) -> Tensor:
        """dx/dt = w cos(w t) x, whose flow is known; notes when it is asked."""
        asked.append(t)
        return speed * torch.cos(speed * t) * x

    # A slow field invites long steps, past the end if nothing cuts them; a fast one asks for many.
    for speed in (1e-4, 6.0):
        solver.solve(functools.partial(wave, speed), _start(), ENDS)
    holds(bool(asked), "the field was never asked", "integrate the field")
    holds(
        all(isinstance(t, Tensor) and t.dim() == 0 for t in asked),
        f"the field was asked at a {type(asked[0]).__name__} that is no scalar tensor",
        "ask the field at a tensor of no dimensions",
    )
    low, high = min(map(float, asked)), max(map(float, asked))
    holds(
        low >= 0 and high <= 1,
        f"the field was asked at t from {low:.12g} to {high:.12g}",
        "cut the last step, and the trial step that sizes the first, at t = 1",
    )
    return None


def counts_its_evaluations(solver: Solver) -> str | None:
    """`evaluations()` is the number of times that the field is called."""
    due = solver.evaluations()
    if due is None:
        holds(solver.adaptive, "evaluations() is None, yet the solver does not adapt", "return stages times steps")
        return "adapts its step, so there is no formula"
    asked: list[float] = []
    solver.solve(_recording(asked), _start(), ENDS)
    holds(
        len(asked) == due,
        f"evaluations() says {due}, the field was called {len(asked)} times",
        "return stages times steps, and call the field no more often than that",
    )
    return None


def is_pure(solver: Solver) -> str | None:
    """Equal starts give equal solutions; the start and the times stay as they were; no graph is kept."""
    x, times = _start(), FRAMES.clone()
    before = x.clone()
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    first = solver.solve(lambda t, x: weight * SWIRL.velocity(t, x), x, times).states
    again = solver.solve(SWIRL.velocity, x, times).states
    unchanged(before, x, "the start x")
    unchanged(FRAMES, times, "times")
    holds(torch.equal(first.detach(), again), "the same start gives another solution", "keep no state between calls")
    holds(not first.requires_grad, "the states hold a graph", "integrate under torch.no_grad()")
    return None


def simulation_keeps_a_standing_law(solver: Solver) -> str | None:
    """Steps by score or ends keep N(0, I) on the path that keeps it; the same noise gives the same ways."""
    if not isinstance(solver, ProcessSolver):
        return "steps by the velocity alone"
    n = 20_000
    x = torch.randn(n, 2, generator=stream(0, "contract/standing"), dtype=torch.float64)
    asked: list[float] = []

    # The quarter circle to N(0, I): v = 0 and score = -x at all times.
    exact = process_of(Trigonometric())

    def score(t: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """As `Process.score`, noting when it is asked."""
        asked.append(float(t))
        return exact.score(t, x, v)

    def ends(t: Tensor, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As `Process.ends`, noting when they are asked."""
        asked.append(float(t))
        return exact.ends(t, x, v)

    def noise(step: int) -> Tensor:
        """Standard normals of a step, (n, 2)."""
        return torch.randn(n, 2, generator=stream(0, "contract/noise", step), dtype=torch.float64)

    process = Process(score, ends, exact.weights)
    first, again = (
        solver.simulate(lambda t, x: torch.zeros_like(x), process, noise, x, FRAMES).states for _ in range(2)
    )
    form(first, (len(FRAMES), n, 2), torch.float64, "states")
    holds(torch.equal(first, again), "the same noise gives other paths", "take every random number from noise(step)")
    holds(not asked or max(asked) < 1, "the process was asked at t = 1", "ask score and ends before t = 1 only")
    variance = first[-1].var(0)
    # Five standard errors, and the first-order bias of the default step.
    slack = 5 * math.sqrt(2 / n) + 0.03
    holds(
        bool(((variance - 1).abs() <= slack).all()),
        f"a standing N(0, 1) ends with variance {significant(float(variance.max()))}",
        "let the drift gain eps score where the noise has variance 2 eps dt",
    )
    return None


def simulation_takes_noise_to_data(solver: Solver) -> str | None:
    """Steps by score or ends take N(0, I) to a law whose velocity is known, up to 300 steps' bias (mean, variances).

    The law is narrow, so that a bound on the data, where a solver has one, leaves it as it is.
    """
    if not isinstance(solver, ProcessSolver):
        return "steps by the velocity alone"
    n, path = 4096, Trigonometric()
    mean, scale = torch.tensor([0.1, -0.05], dtype=torch.float64), torch.tensor([0.12, 0.1], dtype=torch.float64)
    law = Mixture(np.ones(1), mean[None].numpy(), np.diag(scale.numpy() ** 2)[None])
    module = OracleField(law, path)
    fine: Solver = _refined(solver, math.ceil(300 / _calls(solver)))
    assert isinstance(fine, ProcessSolver)

    def noise(step: int) -> Tensor:
        """Standard normals of a step, (n, 2)."""
        return torch.randn(n, 2, generator=stream(0, "contract/noise", step), dtype=torch.float64)

    x = torch.randn(n, 2, generator=stream(0, "contract/standing"), dtype=torch.float64)
    end = fine.simulate(lambda t, x: module(x, t.expand(len(x))), process_of(path), noise, x, ENDS).states[-1]
    apart = (end.mean(0) - mean).abs() / scale
    holds(
        bool((apart <= 5 / math.sqrt(n) + 0.1).all()),
        f"its samples' mean is {float(apart.max()):.2f} standard deviations from the law's",
        "step by the velocity as well: its drift is v + eps score, its ends those of `process`",
    )
    ratio = end.var(0) / scale**2
    holds(
        bool(((ratio - 1).abs() <= 5 * math.sqrt(2 / n) + 0.15).all()),
        f"its samples' variance is {[round(each, 3) for each in ratio.tolist()]} times the law's",
        "let the drift gain eps score where the noise has variance 2 eps dt",
    )
    return None


def agrees_on_a_gpu(solver: Solver) -> str | None:
    """A start on a GPU is integrated there, with the same result up to rounding."""
    if reason := no_cuda():
        return reason
    x = _start()
    there = solver.solve(SWIRL.velocity, x.cuda(), FRAMES).states
    holds(there.is_cuda, f"the states are on {there.device}", "keep the states on the start's device")
    mend = "move tableaux and times to the start's device"
    close(there, solver.solve(SWIRL.velocity, x, FRAMES).states, 1e-9, "the state on a GPU", mend, FRAMES)
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    can_be_refined,
    has_its_stated_order,
    meets_its_tolerance,
    integrates_a_constant_field_exactly,
    frames_do_not_change_the_end,
    never_asks_outside_the_unit_interval,
    counts_its_evaluations,
    is_pure,
    simulation_keeps_a_standing_law,
    simulation_takes_noise_to_data,
    agrees_on_a_gpu,
)


def _start(shape: tuple[int, ...] = (2,)) -> Tensor:
    return torch.randn(16, *shape, generator=stream(0, "contract/solver"), dtype=torch.float64)


def _refined(solver: Solver, times: int) -> Solver:
    finer = solver.refined(times)
    if finer is None:
        raise ContractBroken(
            "it cannot be refined, so its order cannot be measured; mend: call its parameter `steps`, or write "
            "refined(times): return dataclasses.replace(self, n=times * self.n)"
        )
    return finer


def _doubled(solver: Solver) -> tuple[int, int]:
    """Refinements at which it asks at least 64 times, and twice as often."""
    times = math.ceil(64 / _calls(solver))
    return times, 2 * times


def _calls(solver: Solver) -> int:
    """How often it asks the field."""
    asked: list[float] = []
    solver.solve(_recording(asked), _start(), ENDS)
    return max(1, len(asked))


def _order(solver: Solver, make: Callable[[float], Known]) -> tuple[float, list[float], list[int]]:
    """Order by the last two refinements whose error stands out from rounding, their errors and their evaluations.

    The field is made as fast as it must be for a method of this order to err at all.
    """
    x, times = _start() / 2, _doubled(solver)[0]
    finer = [_refined(solver, times * factor) for factor in (1, 2, 4)]
    errors: list[float] = []
    for speed in SPEEDS:
        known = make(speed)
        errors = [float((each.solve(known.velocity, x, ENDS).states[-1] - known.flow(x, 1.0)).norm()) for each in finer]
        if errors[1] > SEEN:
            break
    last = 2 if errors[2] > SEEN else 1
    pair = errors[last - 1 : last + 1]
    measured = math.log2(pair[0] / pair[1]) if min(pair) > 0 else math.inf
    return measured, pair, [_calls(each) for each in finer[last - 1 : last + 1]]


def _recording(asked: list[float]) -> Field:
    """The swirl, noting when it is asked."""

    def field(t: Tensor, x: Tensor) -> Tensor:
        """The swirl; notes when it is asked."""
        asked.append(float(t))
        return SWIRL.velocity(t, x)

    return field
