"""What a solver promises: its order or its tolerance, its count, its range, and the frames it is asked for."""

from __future__ import annotations

import dataclasses
import functools
import math

import torch
from torch import Tensor

from bench.contracts.require import Law, close, form, holds, no_cuda, significant, unchanged
from bench.diffusion import process_of
from bench.interfaces import Field, Process, ProcessSolver, Solver
from bench.paths import Trigonometric
from bench.seeds import stream

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
FRAMES = torch.tensor([0.0, 0.1, 0.33, 0.5, 0.77, 1.0], dtype=torch.float64)


def keeps_shape_and_dtype(solver: Solver) -> str | None:
    """States are (F, B, *S) in the start's dtype, for points of the plane and for images."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((2,), (1, 8, 8)):
            x = _start(shape).to(dtype)
            states = solver.solve(lambda t, x: -x, x, FRAMES).states
            form(states, (len(FRAMES), *x.shape), dtype, "states")
    return None


def has_its_stated_order(solver: Solver) -> str | None:
    """Halving the step of a fixed-step solver divides its error by 2^order (float64, a turning, growing field)."""
    if solver.adaptive:
        return "adapts its step"
    names = {field.name for field in dataclasses.fields(solver)}  # type: ignore[arg-type]
    if "steps" not in names:
        return "has no parameter `steps` to refine"
    x, steps = _start(), 40 if solver.order <= 4 else 10
    errors = []
    budget = {"nfe": None} if "nfe" in names else {}  # it follows from the steps
    for n in (steps, 2 * steps):
        finer: Solver = dataclasses.replace(solver, steps=n, **budget)  # type: ignore[type-var]
        errors.append(float((finer.solve(_swirl, x, ENDS).states[-1] - _turned(x, 1.0)).norm()))
    measured = math.log2(errors[0] / errors[1]) if min(errors) > 0 else math.inf
    holds(
        abs(measured - solver.order) <= 0.2,
        f"from {steps} to {2 * steps} steps the error falls from {significant(errors[0])} to "
        f"{significant(errors[1])}: that is order {measured:.2f}, not {solver.order}",
        "check the stages' times and weights, or state the order that it has",
    )
    return None


def meets_its_tolerance(solver: Solver) -> str | None:
    """An adaptive solver's error stays within 20 times its tolerance, and a smaller one gives a smaller error."""
    names = {field.name for field in dataclasses.fields(solver)}  # type: ignore[arg-type]
    if not solver.adaptive:
        return "has fixed steps"
    if not {"rtol", "atol"} <= names:
        return "has no parameters `rtol` and `atol`"
    x, errors = _start(), []
    for tolerance in (1e-3, 1e-5):
        tight: Solver = dataclasses.replace(solver, rtol=tolerance, atol=tolerance)  # type: ignore[type-var]
        errors.append(float((tight.solve(_swirl, x, ENDS).states[-1] - _turned(x, 1.0)).abs().max()))
        holds(
            errors[-1] <= 20 * tolerance,
            f"at rtol = atol = {tolerance:g} the error is {significant(errors[-1])}",
            "compare the error estimate with atol + rtol |x|, and shrink the step until it fits",
        )
    holds(errors[1] < errors[0], "a smaller tolerance does not lower the error", "pass rtol and atol on to the solver")
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
    first = solver.solve(lambda t, x: weight * _swirl(t, x), x, times).states
    again = solver.solve(_swirl, x, times).states
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


def agrees_on_a_gpu(solver: Solver) -> str | None:
    """A start on a GPU is integrated there, with the same result up to rounding."""
    if reason := no_cuda():
        return reason
    x = _start()
    there = solver.solve(_swirl, x.cuda(), FRAMES).states
    holds(there.is_cuda, f"the states are on {there.device}", "keep the states on the start's device")
    mend = "move tableaux and times to the start's device"
    close(there, solver.solve(_swirl, x, FRAMES).states, 1e-9, "the state on a GPU", mend, FRAMES)
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    has_its_stated_order,
    meets_its_tolerance,
    integrates_a_constant_field_exactly,
    frames_do_not_change_the_end,
    never_asks_outside_the_unit_interval,
    counts_its_evaluations,
    is_pure,
    simulation_keeps_a_standing_law,
    agrees_on_a_gpu,
)


def _start(shape: tuple[int, ...] = (2,)) -> Tensor:
    return torch.randn(16, *shape, generator=stream(0, "contract/solver"), dtype=torch.float64)


def _swirl(t: Tensor, x: Tensor) -> Tensor:
    """dx/dt = cos(3t) x + (1 + t) J x with J a quarter turn: grows and turns in closed form."""
    turned = torch.stack([-x[:, 1], x[:, 0]], dim=1)
    return torch.cos(3 * t) * x + (1 + t) * turned


def _turned(x: Tensor, t: float) -> Tensor:
    """Solution of `_swirl` at t: x exp(sin(3t) / 3), turned by t + t^2 / 2."""
    angle = t + t**2 / 2
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=x.dtype)
    return math.exp(math.sin(3 * t) / 3) * x @ turn


def _recording(asked: list[float]) -> Field:
    """`_swirl`, noting when it is asked."""

    def field(t: Tensor, x: Tensor) -> Tensor:
        """The swirl; notes when it is asked."""
        asked.append(float(t))
        return _swirl(t, x)

    return field
